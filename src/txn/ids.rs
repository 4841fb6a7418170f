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
///
/// Whoever serves a client that has waited is older than everybody else ([`TxnId::is_service`]): on
/// Redis, what a command brings is given to those who wait for it before the next command runs.
/// Each service ends a wait that had begun before, so that none of the others is passed over for
/// ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TxnId {
    /// The Lamport time at which the coordinator began it, at least 1; with the highest bit set
    /// where it is no service.
    pub number: u64,
    /// The shard that runs it, the home of its client. Breaks ties between equal numbers.
    pub coordinator: ShardId,
}

/// Set in the number of a move of slots, which no clock reaches.
const SLOT_MOVE: u64 = 1 << 62;
/// Set in the number of whatever is no service.
const ORDINARY: u64 = 1 << 63;

impl TxnId {
    /// A client's transaction or parked command.
    pub(super) fn ordinary(time: u64, coordinator: ShardId) -> Self {
        assert!(time < SLOT_MOVE, "a clock does not come so far");
        let number = time | ORDINARY;
        Self {
            number,
            coordinator,
        }
    }

    /// The service of a client that has waited.
    pub(super) fn service(time: u64, coordinator: ShardId) -> Self {
        assert!(time < SLOT_MOVE, "a clock does not come so far");
        Self {
            number: time,
            coordinator,
        }
    }

    /// A move of slots, for the logs alone: moves have numbers of their own.
    pub fn slot_move(number: u32, coordinator: ShardId) -> Self {
        Self {
            number: SLOT_MOVE | u64::from(number),
            coordinator,
        }
    }

    /// Whether it serves a client that has waited.
    pub fn is_service(self) -> bool {
        self.number < ORDINARY
    }

    /// The Lamport time at which it began.
    pub fn time(self) -> u64 {
        self.number & !ORDINARY
    }
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

    #[test]
    fn a_service_goes_before_everybody_else() {
        let (early, late) = (
            TxnId::ordinary(1, ShardId(0)),
            TxnId::service(9, ShardId(3)),
        );
        assert!(late < early && late.is_service() && !early.is_service());
        assert_eq!((early.time(), late.time()), (1, 9));
    }
}
