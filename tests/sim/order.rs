//! The order of one connection's commands in the toy world: the simplest rule that keeps what
//! DESIGN promises. (The server's own is finer, see its `net::dispatch`, `volley` and
//! `transaction`; the world of the real engines judges that one.)
//!
//! The home shard asks [`Order::admits`] before it sends the next command of a pipeline. Lanes
//! between two shards keep their order, and an owner that parks a command holds back the later
//! ones of the same connection; so commands to one owner need not wait for each other. What is
//! left to be kept here:
//!
//! - a write waits until the connection's writes at *other* owners are answered, or somebody
//!   could see it without them;
//! - a transaction waits until everything is answered, and everything waits for it: its parts
//!   are not in the line of single commands at the owners;
//! - a read waits for transactions only: its own earlier writes are before it in the lane.
//!
//! A command without keys is not asked for; its reply takes its place in the reply queue.

use ringdove::mesh::ShardId;

/// What a command means to the order of its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Changes nothing; all its keys have this owner. WATCH is one.
    Read(ShardId),
    /// May change something; all its keys have this owner. So is an EXEC with one owner.
    Write(ShardId),
    /// Goes through [`Txns::begin`](ringdove::txn::Txns::begin).
    Transaction,
}

/// What of one connection is under way.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    reads: u32,
    writes: u32,
    /// The owner of the writes under way.
    writes_at: Option<ShardId>,
    transaction: bool,
}

impl Order {
    /// Whether the connection's next command may be sent now; if not, it and all behind it
    /// wait until [`done`](Self::done) was called again.
    #[inline]
    pub(crate) fn admits(&self, step: Step) -> bool {
        match step {
            Step::Read(_) => !self.transaction,
            Step::Write(owner) => {
                !self.transaction && self.writes_at.is_none_or(|other| other == owner)
            }
            Step::Transaction => self.is_empty(),
        }
    }

    /// A command that was admitted is on its way.
    #[inline]
    pub(crate) fn sent(&mut self, step: Step) {
        debug_assert!(self.admits(step), "only what is admitted is sent");
        match step {
            Step::Read(_) => self.reads += 1,
            Step::Write(owner) => {
                self.writes += 1;
                self.writes_at = Some(owner);
            }
            Step::Transaction => self.transaction = true,
        }
    }

    /// The answer to a command is there.
    #[inline]
    pub(crate) fn done(&mut self, step: Step) {
        match step {
            Step::Read(_) => {
                assert!(self.reads > 0, "an answer has its command");
                self.reads -= 1;
            }
            Step::Write(owner) => {
                assert_eq!(self.writes_at, Some(owner), "an answer has its command");
                self.writes -= 1;
                if self.writes == 0 {
                    self.writes_at = None;
                }
            }
            Step::Transaction => {
                assert!(self.transaction, "an answer has its command");
                self.transaction = false;
            }
        }
    }

    /// Whether nothing is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.reads == 0 && self.writes == 0 && !self.transaction
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ShardId = ShardId(0);
    const B: ShardId = ShardId(1);

    #[test]
    fn writes_to_one_owner_flow_and_to_another_wait() {
        let mut order = Order::default();
        order.sent(Step::Write(A));
        order.sent(Step::Write(A));
        assert!(order.admits(Step::Read(B)) && !order.admits(Step::Write(B)));
        order.done(Step::Write(A));
        assert!(!order.admits(Step::Write(B)));
        order.done(Step::Write(A));
        assert!(order.admits(Step::Write(B)) && order.is_empty());
    }

    #[test]
    fn a_transaction_stands_alone() {
        let mut order = Order::default();
        order.sent(Step::Read(A));
        assert!(!order.admits(Step::Transaction));
        order.done(Step::Read(A));
        order.sent(Step::Transaction);
        for step in [Step::Read(A), Step::Write(A), Step::Transaction] {
            assert!(!order.admits(step));
        }
        order.done(Step::Transaction);
        assert!(order.is_empty());
    }
}
