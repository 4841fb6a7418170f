//! Where the halves of the machine put what is to be done, in order.

use std::collections::VecDeque;

use super::ids::{ShardId, TxnId};
use super::message::{Action, Body, Message, Types};

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Next<T: Types> {
    Act(Action<T>),
    /// Nobody stands before this entry any more. It is granted when its turn has come, if that is
    /// true still: what is done before may let an older one in.
    Ready(TxnId),
}

/// The actions that the shard has not taken yet, and the messages of the shard to itself.
#[derive(Debug)]
pub(super) struct Outbox<T: Types> {
    shard: ShardId,
    /// Lamport clock: above every number that this shard has drawn or seen.
    clock: u64,
    next: VecDeque<Next<T>>,
    /// A shard that takes part in its own transactions is a participant like any other; its
    /// messages wait here until the actions before them are done, so that what a lock state
    /// promises (an entry is back, say) is true when the shard sees it.
    own: VecDeque<Body<T>>,
}

impl<T: Types> Outbox<T> {
    pub(super) fn new(shard: ShardId) -> Self {
        Self {
            shard,
            clock: 0,
            next: VecDeque::new(),
            own: VecDeque::new(),
        }
    }

    /// Draws the next number: higher than all seen, lower than all to come.
    pub(super) fn draw(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Learns of a number drawn elsewhere.
    pub(super) fn saw(&mut self, clock: u64) {
        self.clock = self.clock.max(clock);
    }

    pub(super) fn act(&mut self, action: Action<T>) {
        self.next.push_back(Next::Act(action));
    }

    pub(super) fn ready(&mut self, txn: TxnId) {
        self.next.push_back(Next::Ready(txn));
    }

    pub(super) fn send(&mut self, to: ShardId, body: Body<T>) {
        if to == self.shard {
            self.own.push_back(body);
        } else {
            let clock = self.clock;
            self.act(Action::Send(to, Message { clock, body }));
        }
    }

    /// Sends in the place of the action that was taken last, before what came after it: a grant
    /// must not be overtaken by the wound that follows it.
    pub(super) fn send_now(&mut self, to: ShardId, body: Body<T>) {
        if to == self.shard {
            self.own.push_front(body);
        } else {
            let clock = self.clock;
            let send = Action::Send(to, Message { clock, body });
            self.next.push_front(Next::Act(send));
        }
    }

    pub(super) fn next(&mut self) -> Option<Next<T>> {
        self.next.pop_front()
    }

    pub(super) fn next_own(&mut self) -> Option<Body<T>> {
        self.own.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.next.is_empty() && self.own.is_empty()
    }
}
