//! What travels between the transaction machines of two shards, and what a machine asks of
//! the shard that it lives in.
//!
//! Between an ordered pair of shards messages arrive in the order in which they were sent;
//! between different pairs anything may overtake anything. Every message carries its sender's
//! Lamport clock.

use std::fmt::Debug;

use smallvec::SmallVec;

use super::ids::{Claims, ConnectionId, ShardId, TxnId};

/// What the machine carries without looking inside.
pub trait Types {
    /// What the coordinator wants of a participant: the key names, and how to answer.
    type Ask: Debug + Default;
    /// What is lent and comes back: entries, 'absent' marks, copies or answers for reads, and
    /// on the way back what was modified.
    type Loan: Debug;
    /// A command that waits at its owner.
    type Parked: Debug;
}

/// One participant's part of a transaction.
#[derive(Debug)]
pub struct Part<T: Types> {
    /// What the transaction needs at this shard, the watched keys (as reads) included.
    pub claims: Claims,
    /// What the shard needs to know in order to lend.
    pub ask: T::Ask,
    /// The connection whose WATCH at this shard decides whether the transaction may run. The
    /// registration ends with the transaction, whatever becomes of it.
    pub watcher: Option<ConnectionId>,
    /// Whether it waits for keys that a snapshot has to tell before it writes to them. Who does not looks
    /// for itself, and gives them back unchanged.
    pub waits_for_snapshot: bool,
}

/// A participant each, with its part. No shard stands in it twice.
pub type Parts<T> = Vec<(ShardId, Part<T>)>;

/// A participant each, with what it lent or what it gets back.
pub type Loans<T> = SmallVec<[(ShardId, <T as Types>::Loan); 4]>;

/// A message from one shard's machine to another's.
#[derive(Debug)]
pub struct Message<T: Types> {
    /// The sender's Lamport clock.
    pub clock: u64,
    /// What it says.
    pub body: Body<T>,
}

/// What a message says. C is the coordinator, P a participant.
#[derive(Debug)]
pub enum Body<T: Types> {
    /// C to P: queue this part; lend when all of it is free.
    Acquire {
        /// The transaction.
        txn: TxnId,
        /// What is wanted of P.
        part: Part<T>,
    },
    /// P to C: all of the part is held for the transaction, and this is lent.
    Granted {
        /// The transaction.
        txn: TxnId,
        /// What P lends.
        loan: T::Loan,
        /// A key that the connection watches at P has changed: the transaction must not run.
        dirty: bool,
    },
    /// P to C: an older one wants what the transaction holds at P.
    Wound {
        /// The transaction that should give way unless it can run.
        txn: TxnId,
    },
    /// C to P: the loan comes back unmodified; the part queues again with its old age.
    Yield {
        /// The transaction.
        txn: TxnId,
        /// What P lent.
        loan: T::Loan,
    },
    /// C to P: the transaction is over; the loan comes back, modified or not.
    Release {
        /// The transaction.
        txn: TxnId,
        /// What P gets back.
        loan: T::Loan,
    },
    /// C to P: the transaction will not run. A part that waits leaves and is confirmed by
    /// `Cancelled`; a part whose grant is under way stays until C has sent it back.
    Cancel {
        /// The transaction.
        txn: TxnId,
    },
    /// P to C: the waiting part has left the queue.
    Cancelled {
        /// The transaction.
        txn: TxnId,
    },
    /// Home to owner: the connection watches nothing any more.
    Unwatch {
        /// The connection.
        connection: ConnectionId,
    },
    /// Home to owner: the connection is gone, with its watches and its parked commands.
    Leave {
        /// The connection.
        connection: ConnectionId,
    },
}

/// What the shard has to do next. Actions are carried out in the order in which
/// [`Txns::next_action`](super::Txns::next_action) gives them, and all of them before the next
/// message is handed in.
#[derive(Debug)]
pub enum Action<T: Types> {
    /// Hand a message to another shard, in order.
    Send(ShardId, Message<T>),
    /// Everything of the transaction's part is free. Expire its watched keys that are due
    /// (saying `touched`), take out what `Txns::take_ask` names, and call `Txns::lent` before the
    /// next action is asked for.
    Lend(TxnId),
    /// Put back what was lent, and with `Txns::put_ask` what was asked; call `Txns::touched` for each key that was modified.
    TakeBack(TxnId, T::Loan),
    /// Run a parked command now: nothing that it conflicts with is held.
    Run(T::Parked),
    /// Drop a parked command, whose connection is gone, without running it.
    Discard(T::Parked),
    /// Every participant has lent: run the transaction, reply, and call `Txns::executed`.
    Execute {
        /// The transaction.
        txn: TxnId,
        /// The client's connection.
        connection: ConnectionId,
        /// What each participant lent.
        loans: Loans<T>,
    },
    /// A watched key has changed: EXEC answers null. Nothing is left to do for it.
    Dirty {
        /// The transaction.
        txn: TxnId,
        /// The client's connection.
        connection: ConnectionId,
    },
}
