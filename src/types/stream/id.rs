//! IDs of stream entries: a time and a sequence number, in the order in which entries are added.

use std::fmt;

/// An entry's ID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct StreamId {
    /// Unix time in milliseconds, or what the client takes for one.
    pub ms: u64,
    /// Number within the millisecond.
    pub seq: u64,
}

impl StreamId {
    /// `0-0`, which no entry has.
    pub const MIN: Self = Self { ms: 0, seq: 0 };
    /// The last possible ID.
    pub const MAX: Self = Self {
        ms: u64::MAX,
        seq: u64::MAX,
    };
    /// Longest text: two numbers of 20 digits and a dash.
    pub const TEXT_MAX: usize = 41;

    /// The next ID; None after the last.
    pub fn next(self) -> Option<Self> {
        match (self.ms, self.seq) {
            (u64::MAX, u64::MAX) => None,
            (ms, u64::MAX) => Some(Self { ms: ms + 1, seq: 0 }),
            (ms, seq) => Some(Self { ms, seq: seq + 1 }),
        }
    }

    /// The ID before; None before `0-0`.
    pub fn previous(self) -> Option<Self> {
        match (self.ms, self.seq) {
            (0, 0) => None,
            (ms, 0) => Some(Self {
                ms: ms - 1,
                seq: u64::MAX,
            }),
            (ms, seq) => Some(Self { ms, seq: seq - 1 }),
        }
    }

    /// Writes `ms-seq` at the end of `text`; the characters are what is returned.
    pub fn format(self, text: &mut [u8; Self::TEXT_MAX]) -> &[u8] {
        let mut at = text.len();
        for (number, dash) in [(self.seq, true), (self.ms, false)] {
            let mut left = number;
            loop {
                at -= 1;
                text[at] = b'0' + (left % 10) as u8;
                left /= 10;
                if left == 0 {
                    break;
                }
            }
            if dash {
                at -= 1;
                text[at] = b'-';
            }
        }
        &text[at..]
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_and_text() {
        let id = |ms, seq| StreamId { ms, seq };
        assert_eq!(id(1, u64::MAX).next(), Some(id(2, 0)));
        assert_eq!(id(2, 0).previous(), Some(id(1, u64::MAX)));
        assert_eq!(StreamId::MAX.next(), None);
        assert_eq!(StreamId::MIN.previous(), None);
        for id in [
            StreamId::MIN,
            StreamId::MAX,
            id(1_700_000_000_000, 7),
            id(10, 100),
        ] {
            let mut text = [0; StreamId::TEXT_MAX];
            assert_eq!(id.format(&mut text), id.to_string().as_bytes());
        }
    }
}
