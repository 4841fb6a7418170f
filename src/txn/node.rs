//! One lock: a key, or a database as a whole, with those who hold it and those who wait.
//!
//! Waiters stand in order of age. A waiter is *clear* when it is compatible with every holder
//! and with every waiter before it, and all those before it are clear too: the clear waiters
//! are a prefix of the queue. Nobody overtakes an older waiter, so every wait for a waiter is
//! a wait for an older one; waits for younger holders are ended by wounding (see `intents`).
//!
//! A key's node knows `Read` and `Write`. A database's node also knows the intentions of those
//! who claim keys inside it, so that FLUSHDB meets them without looking at each key.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::ids::{Mode, TxnId};

/// How a claim meets others on a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LockMode {
    /// Reads some key below this node.
    IntendRead = 0,
    /// Writes some key below this node.
    IntendWrite = 1,
    /// Reads all of this node.
    Read = 2,
    /// Writes all of this node.
    Write = 3,
}

/// Conflicts of each mode, as bits numbered by mode.
const CONFLICTS: [u8; 4] = [0b1000, 0b1100, 0b1010, 0b1111];

impl LockMode {
    /// The mode on a key's own node, or on a database that is claimed as a whole.
    pub(super) fn whole(mode: Mode) -> Self {
        match mode {
            Mode::Read => Self::Read,
            Mode::Write => Self::Write,
        }
    }

    /// The mode on the database of a key that is claimed.
    pub(super) fn intention(mode: Mode) -> Self {
        match mode {
            Mode::Read => Self::IntendRead,
            Mode::Write => Self::IntendWrite,
        }
    }

    /// Whether two claims of different owners cannot stand beside each other.
    pub(super) fn conflicts(self, other: Self) -> bool {
        CONFLICTS[self as usize] & (1 << other as u8) != 0
    }

    /// The weakest mode that allows what both allow.
    pub(super) fn join(self, other: Self) -> Self {
        use LockMode::{IntendRead, IntendWrite, Read, Write};
        match (self, other) {
            (a, b) if a == b => a,
            (IntendRead, b) => b,
            (a, IntendRead) => a,
            // Reading all while writing some has no mode of its own: it is rare.
            (IntendWrite | Read | Write, _) => Write,
        }
    }
}

/// How many claims there are of each mode.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(super) struct Tally([u32; 4]);

impl Tally {
    pub(super) fn add(&mut self, mode: LockMode) {
        self.0[mode as usize] += 1;
    }

    pub(super) fn sub(&mut self, mode: LockMode) {
        assert!(self.0[mode as usize] > 0, "a claim leaves only once");
        self.0[mode as usize] -= 1;
    }

    /// Whether a claim in this mode conflicts with any of them.
    pub(super) fn meets(&self, mode: LockMode) -> bool {
        let mask = CONFLICTS[mode as usize];
        (0..4).any(|other| mask & (1 << other) != 0 && self.0[other] > 0)
    }
}

/// Those who hold and those who wait for one key or one database.
#[derive(Default, Debug)]
pub(super) struct Node {
    held: Tally,
    /// Holders by name, for wounding; only where the caller asked for it.
    holders: SmallVec<[(TxnId, LockMode); 2]>,
    /// Oldest first.
    waiting: VecDeque<(TxnId, LockMode)>,
    /// Length of the clear prefix of `waiting`, and its modes.
    clear: usize,
    clear_modes: Tally,
    /// All of `waiting`.
    waiting_modes: Tally,
}

impl Node {
    /// Whether nobody holds or waits.
    pub(super) fn is_unused(&self) -> bool {
        self.waiting.is_empty() && self.held == Tally::default()
    }

    /// Whether a newcomer in this mode has to wait for anybody.
    pub(super) fn blocks(&self, mode: LockMode) -> bool {
        self.held.meets(mode) || self.waiting_modes.meets(mode)
    }

    /// Whether somebody holds what a claim in this mode has to wait for.
    pub(super) fn is_held_against(&self, mode: LockMode) -> bool {
        self.held.meets(mode)
    }

    /// Whether the service of a waiting client in this mode would meet a holder, or an earlier
    /// service. Everybody else that waits is younger.
    pub(super) fn blocks_service(&self, mode: LockMode) -> bool {
        let mut services = self.waiting.iter().take_while(|(txn, _)| txn.is_service());
        self.held.meets(mode) || services.any(|(_, other)| other.conflicts(mode))
    }

    /// Those who hold it by name.
    pub(super) fn holders(&self) -> &[(TxnId, LockMode)] {
        &self.holders
    }

    /// Queues a claim by its age. `changed` hears of every waiter that became clear (true) or
    /// is no longer (false), the new one included.
    pub(super) fn wait(
        &mut self,
        txn: TxnId,
        mode: LockMode,
        changed: &mut impl FnMut(TxnId, bool),
    ) {
        let at = self.waiting.partition_point(|&(other, _)| other < txn);
        assert!(
            self.waiting.get(at).is_none_or(|&(other, _)| other != txn),
            "a transaction waits once on a node"
        );
        self.waiting.insert(at, (txn, mode));
        self.waiting_modes.add(mode);
        if at < self.clear {
            if !self.held.meets(mode) && !self.clear_modes.meets(mode) {
                self.clear += 1;
                self.clear_modes.add(mode);
                changed(txn, true);
                return;
            }
            // The younger ones behind it have to think again.
            for &(other, other_mode) in self.waiting.range(at + 1..=self.clear) {
                self.clear_modes.sub(other_mode);
                changed(other, false);
            }
            self.clear = at;
        }
        self.extend(changed);
    }

    /// Takes a waiter out of the queue without holding anything.
    pub(super) fn leave(&mut self, txn: TxnId, changed: &mut impl FnMut(TxnId, bool)) {
        self.dequeue(txn);
        self.extend(changed);
    }

    /// A clear waiter becomes a holder. `named` keeps its name for wounding.
    pub(super) fn hold(&mut self, txn: TxnId, named: bool) {
        let (mode, was_clear) = self.dequeue(txn);
        assert!(was_clear, "only a clear waiter may hold");
        self.held.add(mode);
        if named {
            self.holders.push((txn, mode));
        }
    }

    /// A holder leaves. The caller says `settle` when all of its changes here are made.
    pub(super) fn release(&mut self, txn: TxnId, mode: LockMode, named: bool) {
        self.held.sub(mode);
        if named {
            let at = self.holders.iter().position(|&(holder, _)| holder == txn);
            self.holders.swap_remove(at.expect("a holder is named"));
        }
    }

    /// Looks for waiters that a release has made clear.
    pub(super) fn settle(&mut self, changed: &mut impl FnMut(TxnId, bool)) {
        self.extend(changed);
    }

    /// How many wait here.
    pub(super) fn waiters(&self) -> usize {
        self.waiting.len()
    }

    /// Checks what must hold; for tests and the simulator.
    pub(super) fn verify(&self) {
        let mut clear = Tally::default();
        let mut all = Tally::default();
        for (at, &(txn, mode)) in self.waiting.iter().enumerate() {
            if at > 0 {
                assert!(self.waiting[at - 1].0 < txn, "waiters stand by age");
            }
            if at < self.clear {
                assert!(!self.held.meets(mode) && !clear.meets(mode));
                clear.add(mode);
            }
            if at == self.clear {
                assert!(
                    self.held.meets(mode) || clear.meets(mode),
                    "the prefix is full"
                );
            }
            all.add(mode);
        }
        assert_eq!(clear, self.clear_modes);
        assert_eq!(all, self.waiting_modes);
    }

    fn dequeue(&mut self, txn: TxnId) -> (LockMode, bool) {
        let at = self.waiting.partition_point(|&(other, _)| other < txn);
        let (found, mode) = self.waiting.remove(at).expect("the waiter is queued");
        assert_eq!(found, txn, "the waiter is queued");
        self.waiting_modes.sub(mode);
        let was_clear = at < self.clear;
        if was_clear {
            self.clear -= 1;
            self.clear_modes.sub(mode);
        }
        (mode, was_clear)
    }

    fn extend(&mut self, changed: &mut impl FnMut(TxnId, bool)) {
        while let Some(&(txn, mode)) = self.waiting.get(self.clear) {
            if self.held.meets(mode) || self.clear_modes.meets(mode) {
                return;
            }
            self.clear += 1;
            self.clear_modes.add(mode);
            changed(txn, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::txn::ids::ShardId;
    use LockMode::{IntendRead, IntendWrite, Read, Write};

    fn id(number: u64) -> TxnId {
        TxnId {
            number,
            coordinator: ShardId(0),
        }
    }

    fn wait(node: &mut Node, number: u64, mode: LockMode) -> Vec<(u64, bool)> {
        let mut seen = Vec::new();
        node.wait(id(number), mode, &mut |txn, clear| {
            seen.push((txn.number, clear));
        });
        node.verify();
        seen
    }

    #[test]
    fn conflicts_are_symmetric() {
        let modes = [IntendRead, IntendWrite, Read, Write];
        for a in modes {
            for b in modes {
                assert_eq!(a.conflicts(b), b.conflicts(a));
                let joined = a.join(b);
                for c in modes {
                    assert!(!(a.conflicts(c) || b.conflicts(c)) || joined.conflicts(c));
                }
            }
        }
    }

    #[test]
    fn an_older_writer_goes_before_clear_readers() {
        let mut node = Node::default();
        assert_eq!(wait(&mut node, 5, Read), [(5, true)]);
        assert_eq!(wait(&mut node, 7, Read), [(7, true)]);
        assert_eq!(wait(&mut node, 6, Write), [(7, false)]);
        assert_eq!(wait(&mut node, 4, Read), [(4, true)]);
        node.hold(id(4), true);
        node.hold(id(5), true);
        let mut seen = Vec::new();
        node.leave(id(6), &mut |txn, clear| seen.push((txn.number, clear)));
        assert_eq!(seen, [(7, true)]);
        node.verify();
    }

    #[test]
    fn releases_make_the_next_clear() {
        let mut node = Node::default();
        wait(&mut node, 1, Write);
        node.hold(id(1), true);
        assert_eq!(wait(&mut node, 2, Read), []);
        assert_eq!(wait(&mut node, 3, Read), []);
        assert_eq!(wait(&mut node, 4, Write), []);
        node.release(id(1), Write, true);
        let mut seen = Vec::new();
        node.settle(&mut |txn, clear| seen.push((txn.number, clear)));
        assert_eq!(seen, [(2, true), (3, true)]);
        assert!(node.blocks(Read) && !node.is_held_against(Write));
        node.verify();
    }
}
