//! What an entry needs at a shard, in the words of its nodes.

use smallvec::SmallVec;

use super::ids::{Claim, DbIndex, Position};
use super::node::LockMode;

/// One lock that an entry needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lock {
    /// None: the database itself.
    pub(super) position: Option<Position>,
    pub(super) db: DbIndex,
    pub(super) mode: LockMode,
}

pub(super) type Locks = SmallVec<[Lock; 6]>;

/// The locks of some claims: each node once, with the strongest mode that was claimed.
pub(super) fn locks(claims: &[Claim], databases: usize) -> Locks {
    let mut locks = Locks::new();
    // Where the last database stands: the keys of one command are mostly of one, which is not
    // listed, nor looked for, once for each.
    let mut last_database = None;
    let mut add = |db: DbIndex, position: Option<Position>, mode: LockMode| {
        let listed = last_database.filter(|_| position.is_none());
        match listed.map(|at: usize| &mut locks[at]) {
            Some(last) if last.db == db => last.mode = last.mode.join(mode),
            _ => {
                if position.is_none() {
                    last_database = Some(locks.len());
                }
                locks.push(Lock { position, db, mode });
            }
        }
    };
    for claim in claims {
        match *claim {
            Claim::Key { db, position, mode } => {
                add(db, None, LockMode::intention(mode));
                add(db, Some(position), LockMode::whole(mode));
            }
            Claim::Db { db, mode } => add(db, None, LockMode::whole(mode)),
            Claim::All { mode } => {
                let databases = DbIndex::try_from(databases).expect("databases are numbered");
                (0..databases).for_each(|db| add(db, None, LockMode::whole(mode)));
            }
        }
    }
    locks.sort_unstable_by_key(|lock| (lock.db, lock.position));
    locks.dedup_by(|next, kept| {
        let same = (next.db, next.position) == (kept.db, kept.position);
        if same {
            kept.mode = kept.mode.join(next.mode);
        }
        same
    });
    locks
}
