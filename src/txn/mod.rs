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
//! | part | what it is |
//! | --- | --- |
//! | [`Txns`] | the machine of one shard: calls and messages in, actions out |
//! | `coordinator` | its half for the transactions of this shard's clients: gathers grants, executes, gives way |
//! | `intents`, `node` | its half for this shard's keys: who holds and who waits, of a shard and of one key |
//! | `aside`, `lock` | who waits for a snapshot to tell a key, and what any of them needs |
//! | `watch` | who watches this shard's keys, and whose have changed |
//! | `message`, `outbox` | what travels and what the shard is to do, in order |
//! | [`multi`] | what a connection has queued and watches, at its home |
//! | [`ids`] | names, ages, claims |
//!
//! What is not here: which shards a command needs, what it claims and what it does when everything
//! is held (`net::transaction` and its kin), and when the next command of a connection may leave its
//! home (`net::dispatch`, `net::volley`). To follow one command: `MSET a 1 b 2` enters
//! `net::spread`, which claims the keys and calls [`Txns::begin_behind`]; each owner is told to lend
//! ([`Action::Lend`]), the home to execute ([`Action::Execute`]), each owner to take back
//! ([`Action::TakeBack`]), where the owner's part of the MSET runs.
//!
//! Nothing here does I/O, reads a clock or uses chance: `tests/sim` runs many shards in one
//! thread from a seed.
//!
//! Rejected: locking shards or keys in a fixed order (a round for each shard); a sequencer for
//! the whole process (a hop and a shared word for everybody); executing parts at the
//! participants (a command like SINTERSTORE would need a second language between shards).
mod aside;
mod coordinator;
pub mod ids;
mod intents;
mod lock;
mod machine;
#[cfg(test)]
mod machine_test;
mod message;
pub mod multi;
mod node;
mod outbox;
mod watch;

pub use ids::{Claim, Claims, ConnectionId, DbIndex, Mode, Position, ShardId, TxnId};
pub use intents::Queued;
pub use machine::{Counts, Totals, Txns};
pub use message::{Action, Body, Loans, Message, Part, Parts, Types};
