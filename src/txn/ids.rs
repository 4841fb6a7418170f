//! The names that transactions use between shards: shards, connections, transactions, claims.
//!
//! Everything here is plain data that is copied into messages. The order of [`TxnId`] is the
//! order of age on which deadlock freedom rests, so it is derived here and nowhere else.

use smallvec::SmallVec;

pub use crate::mesh::ShardId;

/// A connection, named over the whole process: numbers are never used again on a shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId {
    /// The shard that does the connection's I/O.
    pub home: ShardId,
    /// Unique among all connections that this shard ever had.
    pub number: u64,
}

/// A transaction's identity and its age: a lower one is older and is served first.
///
/// The number comes from the coordinator's Lamport clock, which every message between shards
/// advances, so it follows real time closely enough that nobody is overtaken for ever. It is
/// kept for life: a transaction that had to give grants back does not lose its place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TxnId {
    /// The Lamport time at which the coordinator began it. At least 1.
    pub number: u64,
    /// The shard that runs it, the home of its client. Breaks ties between equal numbers.
    pub coordinator: ShardId,
}

/// A database's number, below the configured `databases`.
pub type DbIndex = u16;

/// A key's place in its owner's table: the 64-bit hash by which the table finds it. Two keys
/// with one position only wait for each other without need.
pub type Position = u64;

/// What a transaction may do with what it claims.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Shared with other reads. The entry stays with its owner, who lends a copy or an answer.
    Read,
    /// Alone. The entry itself may move to the coordinator and back.
    Write,
}

/// One thing that a command or a transaction needs at a shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// One key, which need not exist.
    Key {
        /// The key's database.
        db: DbIndex,
        /// The key's place in its owner's table.
        position: Position,
        /// Shared or alone.
        mode: Mode,
    },
    /// Every key that this shard has or could have in a database (FLUSHDB, DBSIZE, KEYS).
    Db {
        /// The database.
        db: DbIndex,
        /// Shared or alone.
        mode: Mode,
    },
    /// Every key of every database of this shard (FLUSHALL).
    All {
        /// Shared or alone.
        mode: Mode,
    },
}

/// The claims of one command at one shard. A key may be named more than once: the stronger
/// mode counts.
pub type Claims = SmallVec<[Claim; 4]>;

const _: () = assert!(size_of::<Claim>() <= 16);
const _: () = assert!(size_of::<TxnId>() <= 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_the_number_first_and_the_coordinator_second() {
        let id = |number, shard| TxnId {
            number,
            coordinator: ShardId(shard),
        };
        assert!(id(1, 9) < id(2, 0));
        assert!(id(2, 0) < id(2, 1));
    }
}
