//! Those who stand aside: they would write to a key that a snapshot is telling, or came behind one
//! who would (see [`super::intents`]).
//!
//! Whoever comes while a key is told asks whether to stand here too, so that question is a lookup for each
//! of its locks, however many stand here.

use rustc_hash::{FxHashMap, FxHashSet};

use super::ids::{DbIndex, Position, ShardId, TxnId};
use super::lock::Lock;
use super::node::{LockMode, Tally};

/// A key, or a database (None).
type Place = (DbIndex, Option<Position>);

#[derive(Default, Debug)]
pub(super) struct Aside {
    /// Whether a snapshot has keys to tell, so that whoever comes has to be looked at.
    tells: bool,
    /// Keys that are being told.
    untold: FxHashSet<(DbIndex, Position)>,
    /// In the order in which they came. Who has left since is listed still.
    line: Vec<TxnId>,
    /// What the parts among them claim, for each shard that coordinates some.
    claimed: FxHashMap<(ShardId, Place), Tally>,
}

impl Aside {
    pub(super) fn begin_to_tell(&mut self) {
        self.tells = true;
    }

    #[inline]
    pub(super) fn tells(&self) -> bool {
        self.tells
    }

    /// This key takes long to tell.
    pub(super) fn insert(&mut self, db: DbIndex, position: Position) {
        assert!(self.tells, "a snapshot tells it");
        self.untold.insert((db, position));
    }

    /// Whether any key is being told.
    #[inline]
    pub(super) fn is_needed(&self) -> bool {
        !self.untold.is_empty()
    }

    /// Forgets keys that have been told; whether there was any.
    pub(super) fn told(&mut self, is_told: impl Fn(DbIndex, Position) -> bool) -> bool {
        let before = self.untold.len();
        self.untold
            .retain(|(db, position)| !is_told(*db, *position));
        self.untold.len() < before
    }

    /// Nothing is told any more; whether any key was.
    pub(super) fn all_told(&mut self) -> bool {
        self.tells = false;
        self.told(|_, _| true)
    }

    pub(super) fn is_untold(&self, db: DbIndex, position: Position) -> bool {
        self.untold.contains(&(db, position))
    }

    /// Whether something with these locks has to stand aside, which came from `home` behind those that do.
    pub(super) fn stops(&self, home: ShardId, locks: &[Lock]) -> bool {
        let untold = |lock: &Lock| {
            let told = |position| !self.is_untold(lock.db, position);
            lock.mode == LockMode::Write && !lock.position.is_none_or(told)
        };
        let claimed = |lock: &Lock| {
            let others = self.claimed.get(&(home, (lock.db, lock.position)));
            others.is_some_and(|others| others.meets(lock.mode))
        };
        locks.iter().any(|lock| untold(lock) || claimed(lock))
    }

    /// One stands here from now on; if it is a part, so do its claims, for what comes from there.
    pub(super) fn enter(&mut self, txn: TxnId, part: bool, locks: &[Lock]) {
        self.line.push(txn);
        if part {
            for lock in locks {
                let place = (txn.coordinator, (lock.db, lock.position));
                self.claimed.entry(place).or_default().add(lock.mode);
            }
        }
    }

    /// A part leaves. Whatever else leaves does so in silence.
    pub(super) fn part_leaves(&mut self, txn: TxnId, locks: &[Lock]) {
        for lock in locks {
            let place = (txn.coordinator, (lock.db, lock.position));
            let claims = self.claimed.get_mut(&place).expect("it was entered");
            claims.sub(lock.mode);
            if *claims == Tally::default() {
                self.claimed.remove(&place);
            }
        }
    }

    /// Empties the line: everybody is looked at anew. Who has left in silence is among them.
    pub(super) fn take_line(&mut self) -> Vec<TxnId> {
        self.claimed.clear();
        std::mem::take(&mut self.line)
    }

    /// Checks what must hold between calls. `standing`: those who stand aside, with the locks of parts.
    pub(super) fn verify<'a>(&self, standing: impl Iterator<Item = (TxnId, Option<&'a [Lock]>)>) {
        let mut claims: FxHashMap<(ShardId, Place), Tally> = FxHashMap::default();
        for (txn, locks) in standing {
            assert!(self.tells && self.is_needed(), "nobody waits for nothing");
            assert_eq!(self.line.iter().filter(|other| **other == txn).count(), 1);
            for lock in locks.into_iter().flatten() {
                let place = (txn.coordinator, (lock.db, lock.position));
                claims.entry(place).or_default().add(lock.mode);
            }
        }
        assert_eq!(claims, self.claimed);
        assert!(self.tells || self.untold.is_empty());
    }
}
