//! Keys whose last write is not certain to survive yet: a read of one is answered when it is.
//!
//! As on Redis nobody sees what could still be lost. There it holds because every reply waits for
//! the sync; here only those wait that would show what is in flight.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::Lsn;
use crate::txn::Position;

/// The keys of one shard that are in flight. Two keys with one hash only wait for each other
/// without need, and so do two of different databases.
#[derive(Debug, Default)]
pub struct InFlight {
    /// The end of the last record on each.
    keys: FxHashMap<Position, Lsn>,
    /// In the order of the log.
    order: VecDeque<(Lsn, Position)>,
    /// The end of the last record that named no keys (FLUSHALL), or too many.
    all: Lsn,
    /// The end of the last record.
    last: Lsn,
    watermark: Lsn,
}

impl InFlight {
    /// A log whose every record below `watermark` is certain to survive.
    pub fn new(watermark: Lsn) -> Self {
        Self {
            watermark,
            last: watermark,
            all: watermark,
            ..Self::default()
        }
    }

    /// A key was written by the record that ends at `end`.
    pub fn wrote(&mut self, key: Position, end: Lsn) {
        assert!(end >= self.last, "records come in order");
        self.last = end;
        if self.keys.insert(key, end) != Some(end) {
            self.order.push_back((end, key));
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
        while let Some(&(end, key)) = self.order.front() {
            if end > watermark {
                break;
            }
            self.order.pop_front();
            if self.keys.get(&key) == Some(&end) {
                self.keys.remove(&key);
            }
        }
    }

    /// Whether nothing is in flight: the one branch of a read while the log keeps up.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.last <= self.watermark
    }

    /// What the answer to a read of this key waits for.
    pub fn of_key(&self, key: Position) -> Option<Lsn> {
        let own = self.keys.get(&key).copied().unwrap_or_default();
        let end = own.max(self.all);
        (end > self.watermark).then_some(end)
    }

    /// What the answer to a read of any number of keys waits for.
    pub fn of_any(&self) -> Option<Lsn> {
        (self.last > self.watermark).then_some(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_waits_for_the_last_write_of_its_key() {
        let mut keys = InFlight::new(Lsn(10));
        assert!(keys.is_empty() && keys.of_any().is_none());
        keys.wrote(1, Lsn(20));
        keys.wrote(2, Lsn(20));
        keys.wrote(1, Lsn(30));
        assert_eq!(keys.of_key(1), Some(Lsn(30)));
        assert_eq!(keys.of_key(2), Some(Lsn(20)));
        assert_eq!(keys.of_key(3), None);
        keys.passed(Lsn(20));
        assert_eq!((keys.of_key(1), keys.of_key(2)), (Some(Lsn(30)), None));
        keys.wrote_all(Lsn(40));
        assert_eq!(keys.of_key(3), Some(Lsn(40)));
        assert_eq!((keys.of_any(), keys.is_empty()), (Some(Lsn(40)), false));
        keys.passed(Lsn(40));
        assert!(keys.is_empty() && keys.keys.is_empty() && keys.order.is_empty());
    }
}
