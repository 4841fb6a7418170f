//! Transactions: how a command whose keys have several owners is atomic.
//!
//! A command or a MULTI/EXEC block whose keys have several owners is coordinated by the shard
//! of its client. In one round it takes intents on its keys at every owner, which lends it the
//! entries; it then runs as on a single shard, replies, and gives the entries back:
//!
//! ```text
//! coordinator                 participant
//!   begin    ── Acquire ──►   queue by age, lend when all is free
//!   execute  ◄── Granted ──
//!   reply    ── Release ──►   put back, serve the next
//! ```
//!
//! Commands with one owner never take intents. They run at once while nothing is in flight on
//! their shard, and otherwise wait only where they conflict.
//!
//! Strict serializability: a transaction takes effect when it executes, between its request and
//! its reply, while it holds everything that it reads or writes at every owner; a command with
//! one owner takes effect when it runs there, which a conflicting holder prevents.
//!
//! The transactions of a pipeline gather side by side, in one round for all of them, and those that
//! write execute in the order in which they were sent ([`Txns::begin_behind`]).
//!
//! Deadlock and starvation: ages decide (wound-wait), see `intents`.
//!
//! - [`multi`]: what a connection has queued and watches
//! - [`plan`]: which shards a command needs; [`order`]: when a connection's next command may
//!   leave its home
//! - [`machine`](Txns): the machine of one shard, of two halves: the coordinator of its own
//!   clients' transactions, and the owner of its keys with their locks and watches
//!
//! Nothing here does I/O, reads a clock or uses chance: `tests/sim` runs many shards in one
//! thread from a seed.
//!
//! Rejected: locking shards or keys in a fixed order (a round for each shard); a sequencer for
//! the whole process (a hop and a shared word for everybody); executing parts at the
//! participants (a command like SINTERSTORE would need a second language between shards).
mod coordinator;
pub mod ids;
mod intents;
mod machine;
#[cfg(test)]
mod machine_test;
mod message;
pub mod multi;
mod node;
pub mod order;
mod outbox;
pub mod plan;
mod watch;

pub use ids::{Claim, Claims, ConnectionId, DbIndex, Mode, Position, ShardId, TxnId};
pub use intents::Queued;
pub use machine::{Counts, Totals, Txns};
pub use message::{Action, Body, Loans, Message, Part, Parts, Types};
