//! Keys whose last write is not certain to survive yet: a read of one is answered when it is.
//!
//! As on Redis nobody sees what could still be lost. There it holds because every reply waits for
//! the sync; here only those wait that would show what is in flight.
//!
//! What is kept is a table of LSNs, where a key has its place by its hash. Two keys with one place wait
//! for each other without need; a write costs one store, and nothing is to be done when it is durable.

use super::Lsn;
use crate::txn::Position;

/// Places: a few thousand writes in flight make one read in some dozens wait without need. 512 KiB,
/// once a write has been noted.
const PLACES: usize = 1 << 16;

/// The keys of one shard that are in flight.
#[derive(Debug)]
pub struct InFlight {
    /// For each place, the end of the last record on a key that has it; none before the first.
    ends: Box<[Lsn]>,
    /// The end of the last record that named no keys (FLUSHALL).
    all: Lsn,
    /// The end of the last record.
    last: Lsn,
    watermark: Lsn,
}

/// A key's place. Its position is a hash whose upper bits say its slot, which are few at one shard.
#[inline]
fn place(key: Position) -> usize {
    (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - PLACES.trailing_zeros())) as usize
}

impl InFlight {
    /// A log whose every record below `watermark` is certain to survive.
    pub fn new(watermark: Lsn) -> Self {
        Self {
            ends: Box::default(),
            all: Lsn::default(),
            last: watermark,
            watermark,
        }
    }

    /// Keys were written by the record that ends at `end`.
    pub fn wrote(&mut self, keys: &[Position], end: Lsn) {
        assert!(end >= self.last, "records come in order");
        if keys.is_empty() {
            return;
        }
        self.last = end;
        if self.ends.is_empty() {
            self.ends = vec![Lsn::default(); PLACES].into();
        }
        for key in keys {
            self.ends[place(*key)] = end;
        }
    }

    /// Any key may have been written by the record that ends at `end`.
    pub fn wrote_all(&mut self, end: Lsn) {
        assert!(end >= self.last, "records come in order");
        (self.last, self.all) = (end, end);
    }

    /// Everything below `watermark` is certain to survive.
    pub fn passed(&mut self, watermark: Lsn) {
        assert!(watermark >= self.watermark, "what is certain stays so");
        self.watermark = watermark;
    }

    /// Whether nothing is in flight: the one branch of a read while the log keeps up.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.last <= self.watermark
    }

    /// What the answer to a read of this key waits for.
    pub fn of_key(&self, key: Position) -> Option<Lsn> {
        let own = self.ends.get(place(key)).copied().unwrap_or_default();
        let end = own.max(self.all);
        (end > self.watermark).then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_waits_for_the_last_write_of_its_key() {
        let mut keys = InFlight::new(Lsn(10));
        assert!(keys.is_empty() && keys.of_key(1).is_none());
        keys.wrote(&[1, 2], Lsn(20));
        keys.wrote(&[], Lsn(25));
        keys.wrote(&[1], Lsn(30));
        assert_eq!(keys.of_key(1), Some(Lsn(30)));
        assert_eq!(keys.of_key(2), Some(Lsn(20)));
        assert_eq!(keys.of_key(3), None);
        keys.passed(Lsn(20));
        assert_eq!((keys.of_key(1), keys.of_key(2)), (Some(Lsn(30)), None));
        keys.wrote_all(Lsn(40));
        assert_eq!(keys.of_key(3), Some(Lsn(40)));
        assert!(!keys.is_empty());
        keys.passed(Lsn(40));
        assert!(keys.is_empty() && keys.of_key(1).is_none());
    }

    /// Few keys share a place, whichever of their bits differ.
    #[test]
    fn keys_are_spread_over_the_places() {
        for shift in [0, 16, 32, 48] {
            let mut places: Vec<usize> = (0..1000).map(|key| place(key << shift)).collect();
            places.sort_unstable();
            places.dedup();
            assert!(places.len() > 950, "{} of 1000 at {shift}", places.len());
        }
    }
}
