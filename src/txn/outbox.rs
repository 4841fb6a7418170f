//! Where the halves of the machine put what is to be done, in order.

use std::collections::VecDeque;

use super::ids::ShardId;
use super::message::{Action, Body, Message, Types};

/// The actions that the shard has not taken yet, and the messages of the shard to itself.
#[derive(Debug)]
pub(super) struct Outbox<T: Types> {
    shard: ShardId,
    /// Lamport clock: above every number that this shard has drawn or seen.
    clock: u64,
    actions: VecDeque<Action<T>>,
    /// How many of them let a parked command run.
    runs: usize,
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
            actions: VecDeque::new(),
            runs: 0,
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

    /// Whether a parked command may run and has not been told yet. Its locks are gone already,
    /// but whoever comes now must not overtake it.
    #[inline]
    pub(super) fn has_runs(&self) -> bool {
        self.runs > 0
    }

    pub(super) fn act(&mut self, action: Action<T>) {
        self.runs += usize::from(matches!(action, Action::Run(_)));
        self.actions.push_back(action);
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
            self.actions
                .push_front(Action::Send(to, Message { clock, body }));
        }
    }

    pub(super) fn next_action(&mut self) -> Option<Action<T>> {
        let action = self.actions.pop_front()?;
        self.runs -= usize::from(matches!(action, Action::Run(_)));
        Some(action)
    }

    pub(super) fn next_own(&mut self) -> Option<Body<T>> {
        self.own.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.actions.is_empty() && self.own.is_empty()
    }
}
