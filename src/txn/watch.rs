//! WATCH at the owner of the keys: who watches what, and whose keys have changed.
//!
//! The mark stays here, with the key, and is read when an EXEC asks for its locks. Were it
//! sent to the connection's home as a message, EXEC could overtake it.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::ids::{ConnectionId, DbIndex, Position};

type Key = (DbIndex, Position);

#[derive(Default, Debug)]
struct Watcher {
    dirty: bool,
    keys: SmallVec<[Key; 4]>,
}

/// The watches of all connections on one shard's keys.
#[derive(Default, Debug)]
pub(super) struct Watches {
    watchers: FxHashMap<ConnectionId, Watcher>,
    keys: FxHashMap<Key, SmallVec<[ConnectionId; 2]>>,
}

impl Watches {
    pub(super) fn watch(&mut self, connection: ConnectionId, db: DbIndex, position: Position) {
        let watcher = self.watchers.entry(connection).or_default();
        if watcher.keys.contains(&(db, position)) {
            return;
        }
        watcher.keys.push((db, position));
        self.keys
            .entry((db, position))
            .or_default()
            .push(connection);
    }

    pub(super) fn forget(&mut self, connection: ConnectionId) {
        let Some(watcher) = self.watchers.remove(&connection) else {
            return;
        };
        for key in watcher.keys {
            let on_key = self.keys.get_mut(&key).expect("a watched key is listed");
            on_key.retain(|other| *other != connection);
            if on_key.is_empty() {
                self.keys.remove(&key);
            }
        }
    }

    pub(super) fn touched(&mut self, db: DbIndex, position: Position) {
        if self.keys.is_empty() {
            return;
        }
        if let Some(on_key) = self.keys.get(&(db, position)) {
            for connection in on_key {
                let watcher = self.watchers.get_mut(connection);
                watcher.expect("a watched key has watchers").dirty = true;
            }
        }
    }

    pub(super) fn touched_db(&mut self, db: DbIndex, mut hit: impl FnMut(Position) -> bool) {
        for (&(key_db, position), on_key) in &self.keys {
            if key_db == db && hit(position) {
                for connection in on_key {
                    let watcher = self.watchers.get_mut(connection);
                    watcher.expect("a watched key has watchers").dirty = true;
                }
            }
        }
    }

    pub(super) fn is_dirty(&self, connection: ConnectionId) -> bool {
        self.watchers
            .get(&connection)
            .is_some_and(|watcher| watcher.dirty)
    }

    pub(super) fn watchers(&self) -> usize {
        self.watchers.len()
    }

    pub(super) fn keys(&self) -> usize {
        self.keys.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::txn::ids::ShardId;

    #[test]
    fn a_change_marks_those_who_watch_the_key_until_they_forget() {
        let connection = |number| ConnectionId {
            home: ShardId(0),
            number,
        };
        let mut watches = Watches::default();
        watches.touched(0, 1);
        watches.watch(connection(1), 0, 1);
        watches.watch(connection(1), 0, 1);
        watches.watch(connection(2), 0, 2);
        watches.watch(connection(2), 3, 1);
        assert!(!watches.is_dirty(connection(1)));
        watches.touched(0, 1);
        assert!(watches.is_dirty(connection(1)) && !watches.is_dirty(connection(2)));
        watches.touched_db(3, |position| position == 2);
        assert!(!watches.is_dirty(connection(2)));
        watches.touched_db(3, |position| position == 1);
        assert!(watches.is_dirty(connection(2)));
        watches.forget(connection(1));
        watches.forget(connection(1));
        assert!(!watches.is_dirty(connection(1)));
        watches.forget(connection(2));
        assert_eq!((watches.watchers(), watches.keys()), (0, 0));
    }
}
