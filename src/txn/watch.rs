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

/// Who watches a key, and its name.
#[derive(Debug)]
struct Watched {
    key: Box<[u8]>,
    by: SmallVec<[ConnectionId; 2]>,
}

/// The watches of all connections on one shard's keys.
#[derive(Default, Debug)]
pub(super) struct Watches {
    watchers: FxHashMap<ConnectionId, Watcher>,
    keys: FxHashMap<Key, Watched>,
}

impl Watches {
    pub(super) fn watch(
        &mut self,
        connection: ConnectionId,
        db: DbIndex,
        position: Position,
        key: &[u8],
    ) {
        let watcher = self.watchers.entry(connection).or_default();
        if watcher.keys.contains(&(db, position)) {
            return;
        }
        watcher.keys.push((db, position));
        let watched = self.keys.entry((db, position)).or_insert_with(|| Watched {
            key: key.into(),
            by: SmallVec::new(),
        });
        watched.by.push(connection);
    }

    pub(super) fn forget(&mut self, connection: ConnectionId) {
        let Some(watcher) = self.watchers.remove(&connection) else {
            return;
        };
        for key in watcher.keys {
            let on_key = self.keys.get_mut(&key).expect("a watched key is listed");
            on_key.by.retain(|other| *other != connection);
            if on_key.by.is_empty() {
                self.keys.remove(&key);
            }
        }
    }

    pub(super) fn touched(&mut self, db: DbIndex, position: Position) {
        if self.keys.is_empty() {
            return;
        }
        if let Some(on_key) = self.keys.get(&(db, position)) {
            for connection in &on_key.by {
                let watcher = self.watchers.get_mut(connection);
                watcher.expect("a watched key has watchers").dirty = true;
            }
        }
    }

    pub(super) fn each(&self, mut seen: impl FnMut(DbIndex, Position, &[u8])) {
        for (&(db, position), watched) in &self.keys {
            seen(db, position, &watched.key);
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
        watches.watch(connection(1), 0, 1, b"a");
        watches.watch(connection(1), 0, 1, b"a");
        watches.watch(connection(2), 0, 2, b"b");
        watches.watch(connection(2), 3, 1, b"a");
        assert!(!watches.is_dirty(connection(1)));
        watches.touched(0, 1);
        assert!(watches.is_dirty(connection(1)) && !watches.is_dirty(connection(2)));
        let mut seen = Vec::new();
        watches.each(|db, position, key| seen.push((db, position, key.to_vec())));
        seen.sort();
        assert_eq!(seen.last(), Some(&(3, 1, b"a".to_vec())));
        watches.touched(3, 1);
        assert!(watches.is_dirty(connection(2)));
        watches.forget(connection(1));
        watches.forget(connection(1));
        assert!(!watches.is_dirty(connection(1)));
        watches.forget(connection(2));
        assert_eq!((watches.watchers(), watches.keys()), (0, 0));
    }
}
