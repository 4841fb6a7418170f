//! The coordinator's half: the transactions of this shard's own clients.
//!
//! A transaction gathers grants; with the last one it executes at once, so a wound that comes
//! later finds it gone and is ignored. Wounded before that, it gives back what that participant
//! lent and keeps its place in all queues. Cancelled, it stays known until each participant has
//! either confirmed or been paid back: a grant may be under way.
//!
//! Writes of one connection gather side by side and execute one behind the other, in the order in
//! which they began: who has everything and stands behind another one waits for an older one only,
//! and gives way like any other until it executes.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::ids::{ConnectionId, ShardId, TxnId};
use super::message::{Action, Body, Part, Parts, Types};
use super::outbox::Outbox;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Gathering,
    Executing,
    Cancelling,
}

#[derive(Debug)]
struct Participant<T: Types> {
    shard: ShardId,
    loan: Option<T::Loan>,
}

#[derive(Debug)]
struct Running<T: Types> {
    connection: ConnectionId,
    state: State,
    /// Participants without a loan here; while cancelling, those that have not answered.
    missing: usize,
    participants: SmallVec<[Participant<T>; 4]>,
    /// One of its connection that executes before it, and one that does behind it.
    behind: Option<TxnId>,
    next: Option<TxnId>,
}

impl<T: Types> Running<T> {
    fn participant(&mut self, shard: ShardId) -> &mut Participant<T> {
        self.participants
            .iter_mut()
            .find(|participant| participant.shard == shard)
            .expect("only participants answer")
    }
}

/// All transactions that this shard coordinates.
#[derive(Debug)]
pub(super) struct Coordinator<T: Types> {
    running: FxHashMap<TxnId, Running<T>>,
}

impl<T: Types> Coordinator<T> {
    pub(super) fn new() -> Self {
        Self {
            running: FxHashMap::default(),
        }
    }

    /// Begins a transaction, to be executed behind another one if that is not over; returns the part
    /// of the coordinator's own shard, which is queued there at once: before anything that the shard
    /// has to do yet.
    pub(super) fn begin(
        &mut self,
        txn: TxnId,
        connection: ConnectionId,
        parts: Parts<T>,
        behind: Option<TxnId>,
        out: &mut Outbox<T>,
    ) -> Option<Part<T>> {
        let behind = behind.filter(|before| self.put_behind(*before, txn, connection));
        let mut own = None;
        assert!(!parts.is_empty(), "a transaction has participants");
        let mut participants = SmallVec::new();
        for (shard, part) in parts {
            assert!(
                participants
                    .iter()
                    .all(|other: &Participant<T>| other.shard != shard),
                "one part for each participant"
            );
            participants.push(Participant { shard, loan: None });
            if shard == txn.coordinator {
                own = Some(part);
            } else {
                out.send(shard, Body::Acquire { txn, part });
            }
        }
        let running = Running {
            connection,
            state: State::Gathering,
            missing: participants.len(),
            participants,
            behind,
            next: None,
        };
        let before = self.running.insert(txn, running);
        assert!(before.is_none(), "a number is drawn once");
        own
    }

    /// Whether a transaction has to wait for one before it; then that one knows.
    fn put_behind(&mut self, before: TxnId, txn: TxnId, connection: ConnectionId) -> bool {
        let Some(running) = self.running.get_mut(&before) else {
            return false;
        };
        if running.state == State::Cancelling {
            return false;
        }
        assert!(
            before < txn && running.connection == connection,
            "it waits for an older one of its connection"
        );
        assert!(running.next.is_none(), "they stand one behind the other");
        running.next = Some(txn);
        true
    }

    /// Returns whether the grant ended the transaction because a watched key had changed.
    pub(super) fn granted(
        &mut self,
        from: ShardId,
        txn: TxnId,
        loan: T::Loan,
        dirty: bool,
        out: &mut Outbox<T>,
    ) -> bool {
        let running = self
            .running
            .get_mut(&txn)
            .expect("a grant finds its transaction");
        if running.state == State::Cancelling {
            out.send(from, Body::Release { txn, loan });
            self.answered(txn);
            return false;
        }
        assert_eq!(
            running.state,
            State::Gathering,
            "nothing is missing once it executes"
        );
        let participant = running.participant(from);
        assert!(participant.loan.is_none(), "a participant lends once");
        participant.loan = Some(loan);
        running.missing -= 1;
        if dirty {
            let connection = running.connection;
            out.act(Action::Dirty { txn, connection });
            self.stop(txn, out);
            return true;
        }
        self.execute_if_ready(txn, out);
        false
    }

    fn execute_if_ready(&mut self, txn: TxnId, out: &mut Outbox<T>) {
        let running = self.running.get_mut(&txn).expect("the caller found it");
        let gathers = running.state == State::Gathering;
        if !gathers || running.missing > 0 || running.behind.is_some() {
            return;
        }
        running.state = State::Executing;
        let loans = running
            .participants
            .iter_mut()
            .map(|each| (each.shard, each.loan.take().expect("nothing is missing")))
            .collect();
        let connection = running.connection;
        out.act(Action::Execute {
            txn,
            connection,
            loans,
        });
    }

    /// What stood before a transaction is over.
    fn let_next(&mut self, next: Option<TxnId>, out: &mut Outbox<T>) {
        let Some(txn) = next else { return };
        self.running.get_mut(&txn).expect("it waits").behind = None;
        self.execute_if_ready(txn, out);
    }

    /// Returns whether it gave way.
    pub(super) fn wounded(&mut self, from: ShardId, txn: TxnId, out: &mut Outbox<T>) -> bool {
        let Some(running) = self.running.get_mut(&txn) else {
            return false;
        };
        if running.state != State::Gathering {
            return false;
        }
        let lent = running.participant(from).loan.take();
        let loan = lent.expect("a wound follows its grant");
        running.missing += 1;
        out.send(from, Body::Yield { txn, loan });
        true
    }

    pub(super) fn executed(
        &mut self,
        txn: TxnId,
        loans: impl IntoIterator<Item = (ShardId, T::Loan)>,
        out: &mut Outbox<T>,
    ) {
        let running = self.running.remove(&txn);
        let running = running.expect("a transaction executes once");
        assert_eq!(
            running.state,
            State::Executing,
            "it executes when it was told to"
        );
        let mut returned = 0;
        for (participant, (shard, loan)) in running.participants.iter().zip(loans) {
            assert_eq!(
                participant.shard, shard,
                "loans go back in the order in which they came"
            );
            out.send(shard, Body::Release { txn, loan });
            returned += 1;
        }
        assert_eq!(
            returned,
            running.participants.len(),
            "every participant is paid back"
        );
        self.let_next(running.next, out);
    }

    /// Gives up a transaction that has not executed. Returns false where there is none.
    pub(super) fn cancel(&mut self, txn: TxnId, out: &mut Outbox<T>) -> bool {
        let gathering = self
            .running
            .get(&txn)
            .is_some_and(|running| running.state == State::Gathering);
        if gathering {
            self.stop(txn, out);
        }
        gathering
    }

    /// A waiting part has left its queue.
    pub(super) fn answered(&mut self, txn: TxnId) {
        let running = self
            .running
            .get_mut(&txn)
            .expect("an answer finds its transaction");
        assert_eq!(
            running.state,
            State::Cancelling,
            "only a cancelled one is confirmed"
        );
        running.missing -= 1;
        if running.missing == 0 {
            self.running.remove(&txn);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    pub(super) fn each(&self, mut seen: impl FnMut(TxnId, ConnectionId, usize)) {
        for (&txn, running) in &self.running {
            seen(txn, running.connection, running.missing);
        }
    }

    fn stop(&mut self, txn: TxnId, out: &mut Outbox<T>) {
        let running = self.running.get_mut(&txn).expect("the caller looked");
        running.state = State::Cancelling;
        for participant in &mut running.participants {
            let body = match participant.loan.take() {
                Some(loan) => Body::Release { txn, loan },
                None => Body::Cancel { txn },
            };
            out.send(participant.shard, body);
        }
        let (before, next) = (running.behind.take(), running.next.take());
        if running.missing == 0 {
            self.running.remove(&txn);
        }
        let Some(before) = before else {
            return self.let_next(next, out);
        };
        self.running
            .get_mut(&before)
            .expect("it is waited for")
            .next = next;
        if let Some(next) = next {
            self.running.get_mut(&next).expect("it waits").behind = Some(before);
        }
    }

    /// Checks what must hold between calls.
    pub(super) fn verify(&self) {
        for (txn, running) in &self.running {
            if let Some(before) = running.behind {
                assert!(before < *txn, "it waits for an older one");
                assert_eq!(self.running[&before].next, Some(*txn), "which knows of it");
            }
            let ready = running.missing == 0 && running.behind.is_none();
            let executing = running.state == State::Executing;
            assert!(executing || !ready, "{txn:?} has everything and waits");
        }
    }
}
