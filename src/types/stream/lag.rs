//! How far a group is behind: known as long as nothing was deleted from the middle of what is still
//! to be read (Redis 7's rules).

use super::group::Group;
use super::id::StreamId;
use super::log::Log;

impl Log {
    /// Whether an entry from `start` on may have been deleted from the middle.
    fn has_tombstones_from(&self, start: StreamId) -> bool {
        let deleted = self.max_deleted_id();
        !self.is_empty()
            && deleted != StreamId::MIN
            && self.first_id() <= deleted
            && start <= deleted
    }

    /// How many entries of the stream's whole life there were up to an ID, where that is known.
    pub fn entries_up_to(&self, id: StreamId) -> Option<u64> {
        let (added, length) = (self.entries_added(), self.len());
        if added == 0 {
            return Some(0);
        }
        if (length == 0 && id <= self.last_id()) || id == self.last_id() {
            return Some(added);
        }
        if id > self.last_id() {
            return None;
        }
        let deleted = self.max_deleted_id();
        if deleted != StreamId::MIN && deleted >= self.first_id() {
            return None;
        }
        match id.cmp(&self.first_id()) {
            std::cmp::Ordering::Less => Some(added.wrapping_sub(length)),
            std::cmp::Ordering::Equal => Some(added.wrapping_sub(length).wrapping_add(1)),
            std::cmp::Ordering::Greater => None,
        }
    }
}

impl Group {
    /// An entry behind the last one was delivered.
    pub fn advance(&mut self, log: &Log, id: StreamId) {
        if id <= self.last_id {
            return;
        }
        self.entries_read = match self.entries_read {
            Some(read) if !log.has_tombstones_from(id) => Some(read.wrapping_add(1)),
            read if log.entries_added() == 0 => read,
            _ => log.entries_up_to(id),
        };
        // As on Redis, where a counter that has come so far is -1, this is no number.
        self.entries_read = self.entries_read.filter(|read| *read != u64::MAX);
        self.last_id = id;
    }

    /// Entries that are still to be delivered, where that is known. It may be below zero where
    /// counters were set by hand.
    pub fn lag(&self, log: &Log) -> Option<i64> {
        if log.entries_added() == 0 {
            return Some(0);
        }
        let read = match self.entries_read {
            Some(read) if !log.has_tombstones_from(self.last_id) => Some(read),
            _ => log.entries_up_to(self.last_id),
        };
        read.map(|read| log.entries_added().wrapping_sub(read) as i64)
    }
}
