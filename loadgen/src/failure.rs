//! What can go wrong during a run, by kind, and the exit codes.

use std::fmt;

/// The kinds that are counted apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
#[repr(usize)]
pub(crate) enum FailureKind {
    Refused,
    Gone,
    Timeout,
    Protocol,
    Auth,
    Oom,
    Loading,
    ReadOnly,
    ClusterDown,
    Redirect,
    WrongType,
    Busy,
    Tls,
    Network,
    Other,
}

impl FailureKind {
    pub(crate) const ALL: [FailureKind; 15] = [
        FailureKind::Refused,
        FailureKind::Gone,
        FailureKind::Timeout,
        FailureKind::Protocol,
        FailureKind::Auth,
        FailureKind::Oom,
        FailureKind::Loading,
        FailureKind::ReadOnly,
        FailureKind::ClusterDown,
        FailureKind::Redirect,
        FailureKind::WrongType,
        FailureKind::Busy,
        FailureKind::Tls,
        FailureKind::Network,
        FailureKind::Other,
    ];

    /// The name in JSON and in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            FailureKind::Refused => "refused",
            FailureKind::Gone => "server-gone",
            FailureKind::Timeout => "timeout",
            FailureKind::Protocol => "protocol",
            FailureKind::Auth => "auth",
            FailureKind::Oom => "oom",
            FailureKind::Loading => "loading",
            FailureKind::ReadOnly => "readonly",
            FailureKind::ClusterDown => "clusterdown",
            FailureKind::Redirect => "redirect",
            FailureKind::WrongType => "wrongtype",
            FailureKind::Busy => "busy",
            FailureKind::Tls => "tls",
            FailureKind::Network => "network",
            FailureKind::Other => "error-reply",
        }
    }

    /// The kind of an error reply, from its first word (without the `-`).
    pub(crate) fn of_reply(text: &[u8]) -> FailureKind {
        let word = text.split(|b| *b == b' ').next().unwrap_or(text);
        match word {
            b"NOAUTH" | b"WRONGPASS" | b"NOPERM" => FailureKind::Auth,
            b"OOM" => FailureKind::Oom,
            b"LOADING" => FailureKind::Loading,
            b"READONLY" => FailureKind::ReadOnly,
            b"CLUSTERDOWN" | b"TRYAGAIN" | b"CROSSSLOT" | b"MASTERDOWN" => FailureKind::ClusterDown,
            b"MOVED" | b"ASK" => FailureKind::Redirect,
            b"WRONGTYPE" => FailureKind::WrongType,
            b"BUSY" => FailureKind::Busy,
            _ => FailureKind::Other,
        }
    }

    /// The kind of a failed system call on a connection.
    pub(crate) fn of_io(error: &std::io::Error) -> FailureKind {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::NotFound => FailureKind::Refused,
            ErrorKind::ConnectionReset
            | ErrorKind::BrokenPipe
            | ErrorKind::ConnectionAborted
            | ErrorKind::UnexpectedEof => FailureKind::Gone,
            ErrorKind::TimedOut | ErrorKind::WouldBlock => FailureKind::Timeout,
            ErrorKind::InvalidData => FailureKind::Protocol,
            _ => FailureKind::Network,
        }
    }
}

/// One failure with what was said about it.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, text: impl Into<String>) -> Failure {
        Failure {
            kind,
            text: text.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.text)
    }
}

/// Failures by kind, with the first text of each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    counts: [u64; FailureKind::ALL.len()],
    samples: Vec<Failure>,
}

impl Tally {
    pub(crate) fn add(&mut self, kind: FailureKind, text: &[u8]) {
        self.counts[kind as usize] += 1;
        if self.counts[kind as usize] == 1 {
            let text = String::from_utf8_lossy(&text[..text.len().min(200)]).into_owned();
            self.samples.push(Failure { kind, text });
        }
    }

    pub(crate) fn merge(&mut self, other: &Tally) {
        for sample in &other.samples {
            if self.counts[sample.kind as usize] == 0 {
                self.samples.push(sample.clone());
            }
        }
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(crate) fn count(&self, kind: FailureKind) -> u64 {
        self.counts[kind as usize]
    }

    /// The kinds that occurred, with their count and their first text.
    pub(crate) fn occurred(&self) -> impl Iterator<Item = (FailureKind, u64, &str)> {
        FailureKind::ALL
            .into_iter()
            .filter(|kind| self.count(*kind) > 0)
            .map(|kind| {
                let sample = self.samples.iter().find(|s| s.kind == kind);
                (
                    kind,
                    self.count(kind),
                    sample.map_or("", |s| s.text.as_str()),
                )
            })
    }
}

/// Everything went well.
pub(crate) const EXIT_CLEAN: u8 = 0;
/// The run came to its end, but errors were counted.
pub(crate) const EXIT_ERRORS: u8 = 1;
/// The command line is wrong.
pub(crate) const EXIT_USAGE: u8 = 2;
/// The server could not be reached, or refused the credentials, at the start.
pub(crate) const EXIT_UNREACHABLE: u8 = 3;
/// Verify found a wrong, stale or lost reply.
pub(crate) const EXIT_FAULTS: u8 = 4;
/// All connections were lost before the end.
pub(crate) const EXIT_LOST: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_have_kinds() {
        assert_eq!(
            FailureKind::of_reply(b"OOM command not allowed"),
            FailureKind::Oom
        );
        assert_eq!(
            FailureKind::of_reply(b"NOAUTH Authentication required."),
            FailureKind::Auth
        );
        assert_eq!(
            FailureKind::of_reply(b"ERR unknown command"),
            FailureKind::Other
        );
    }

    #[test]
    fn all_is_in_the_order_of_the_discriminants() {
        for (at, kind) in FailureKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
        }
    }

    #[test]
    fn merging_keeps_the_first_text() {
        let mut a = Tally::default();
        let mut b = Tally::default();
        b.add(FailureKind::Oom, b"first");
        b.add(FailureKind::Oom, b"second");
        a.merge(&b);
        let found: Vec<_> = a.occurred().collect();
        assert_eq!(found, [(FailureKind::Oom, 2, "first")]);
    }
}
