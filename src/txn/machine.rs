//! The transaction machine of one shard: calls and messages in, actions out.
//!
//! Called by the shard on its own core, between the session and the table:
//!
//! ```text
//! client command, keys of several owners:  begin ─► Send(Acquire) … Execute ─► executed
//! client command, keys of one owner:       is_idle? run : admits? run : park … Run
//! message from another shard:              handle ─► Lend ─► lent, TakeBack, Run …
//! ```
//!
//! After each call the shard drains [`Txns::next_action`]. The machine's state is ahead of the
//! actions that it has given out only in the safe direction: who waits is in the way of newcomers
//! until he is told to run or to lend, that is decided when he is told and not before, and
//! `TakeBack` is always the first action of what frees an entry. So while it carries out an action
//! (running a command that wakes another, say) the shard may call everything but `handle`.

use super::coordinator::Coordinator;
use super::ids::{Claim, ConnectionId, DbIndex, Position, ShardId, TxnId};
use super::intents::{Intents, Queued};
use super::message::{Action, Body, Message, Parts, Types};
use super::outbox::{Next, Outbox};
use super::watch::Watches;

/// What happened since the start; for INFO.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Transactions begun here.
    pub begun: u64,
    /// Transactions executed here.
    pub executed: u64,
    /// Times that a transaction of this shard gave a grant back to an older one.
    pub gave_way: u64,
    /// Transactions given up because a watched key had changed.
    pub dirty: u64,
    /// Transactions given up because the client was gone.
    pub cancelled: u64,
    /// Commands that had to wait for a transaction.
    pub parked: u64,
}

/// How much is in flight now; for INFO.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Transactions of this shard's clients that are not over.
    pub running: usize,
    /// Parts that hold this shard's keys.
    pub held: usize,
    /// Parts that wait for this shard's keys.
    pub waiting: usize,
    /// Commands that wait at this shard.
    pub parked: usize,
    /// Connections that watch keys of this shard.
    pub watchers: usize,
    /// Keys of this shard that are watched.
    pub watched_keys: usize,
}

/// The transaction machine of one shard.
#[derive(Debug)]
pub struct Txns<T: Types> {
    shard: ShardId,
    intents: Intents<T>,
    coordinator: Coordinator<T>,
    watches: Watches,
    out: Outbox<T>,
    /// Actions `Lend` that were given out and not answered: at most one.
    lending: Option<TxnId>,
    totals: Totals,
}

impl<T: Types> Txns<T> {
    /// The machine of a shard with so many databases.
    pub fn new(shard: ShardId, databases: DbIndex) -> Self {
        Self {
            shard,
            intents: Intents::new(databases),
            coordinator: Coordinator::new(),
            watches: Watches::default(),
            out: Outbox::new(shard),
            lending: None,
            totals: Totals::default(),
        }
    }

    /// Whether nothing holds or waits at this shard, and nothing is told to a snapshot: the one branch
    /// of a command whose keys have one owner.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.intents.is_idle()
    }

    /// Whether a command with these claims may run now. True for every command while
    /// [`is_idle`](Self::is_idle).
    ///
    /// It may not when a claim meets one that is held; when it meets one that waits, so that a
    /// storm of commands does not starve a transaction; or when an earlier command of the same
    /// connection is parked here, whatever it needs.
    pub fn admits(&self, connection: ConnectionId, claims: &[Claim]) -> bool {
        self.intents.admits(connection, claims)
    }

    /// Whether a client that has waited may be served now by a command with these claims, before
    /// everybody that waits for them: nobody holds one of them, and no earlier service waits.
    pub fn admits_service(&self, claims: &[Claim]) -> bool {
        self.intents.admits_service(claims)
    }

    /// A snapshot begins to tell the shard's keys: who comes is looked at until
    /// [`all_told`](Self::all_told). Returns the keys that those who wait will write to; they have to
    /// be looked at, too.
    pub fn begin_to_tell(&mut self) -> Vec<(DbIndex, Position)> {
        self.intents.begin_to_tell();
        self.intents.to_be_written()
    }

    /// A key's value takes long to tell and must not change before: whoever writes to it, and has not
    /// been granted it, waits until it is [`told`](Self::told), and is in nobody's way.
    pub fn stand_aside_from(&mut self, db: DbIndex, position: Position) {
        self.intents.stand_aside_from(db, position);
    }

    /// Lets those go on that waited for keys which are told by now; whether there may be any.
    pub fn told(&mut self, is_told: impl Fn(DbIndex, Position) -> bool) -> bool {
        self.intents.told(is_told, &mut self.out)
    }

    /// The snapshot has told everything, or is given up; whether somebody may have waited for it.
    pub fn all_told(&mut self) -> bool {
        self.intents.all_told(&mut self.out)
    }

    /// Whether a command of this connection waits here, so that all later ones of it must.
    pub fn holds_back(&self, connection: ConnectionId) -> bool {
        self.intents.holds_back(connection)
    }

    /// Keeps a command that was not admitted; it comes back as [`Action::Run`]. The ticket that
    /// it draws puts it before every transaction that begins from now on. Commands of one
    /// connection come back in the order in which they were parked.
    pub fn park(&mut self, connection: ConnectionId, claims: &[Claim], command: T::Parked) {
        let ticket = self.draw();
        self.totals.parked += 1;
        self.intents
            .park(ticket, connection, claims, command, &mut self.out);
    }

    /// Begins a transaction of a client of this shard. It ends with [`Action::Execute`],
    /// [`Action::Dirty`] or a call of [`cancel`](Self::cancel).
    pub fn begin(&mut self, connection: ConnectionId, parts: Parts<T>) -> TxnId {
        self.begin_behind(connection, parts, None)
    }

    /// The same for a write of a connection that has begun others: it gathers beside them and
    /// executes behind the last of them, whatever comes of that. Transactions of one connection are
    /// to be [cancelled](Self::cancel) from the last one on, or one would execute without those
    /// before it.
    pub fn begin_behind(
        &mut self,
        connection: ConnectionId,
        parts: Parts<T>,
        last: Option<TxnId>,
    ) -> TxnId {
        let txn = self.draw();
        self.begin_as(txn, connection, parts, last)
    }

    /// Begins the service of a client that has waited at this shard: like
    /// [`begin`](Self::begin), but before everybody who is no service. From the moment of this call
    /// nobody comes to its keys at this shard, not even who had been told to run.
    pub fn begin_service(&mut self, connection: ConnectionId, parts: Parts<T>) -> TxnId {
        let txn = TxnId::service(self.out.draw(), self.shard);
        self.begin_as(txn, connection, parts, None)
    }

    fn begin_as(
        &mut self,
        txn: TxnId,
        connection: ConnectionId,
        parts: Parts<T>,
        behind: Option<TxnId>,
    ) -> TxnId {
        assert_eq!(connection.home, self.shard, "the home shard coordinates");
        self.totals.begun += 1;
        let coordinator = &mut self.coordinator;
        if let Some(part) = coordinator.begin(txn, connection, parts, behind, &mut self.out) {
            self.intents.acquire(txn, part, &mut self.out);
        }
        txn
    }

    /// The transaction of [`Action::Execute`] has run: gives the loans back, for every
    /// participant and in the order in which they came.
    pub fn executed(&mut self, txn: TxnId, loans: impl IntoIterator<Item = (ShardId, T::Loan)>) {
        self.totals.executed += 1;
        self.coordinator.executed(txn, loans, &mut self.out);
    }

    /// Gives up a transaction whose client is gone. One that has executed already stays so;
    /// then this does nothing and returns false.
    pub fn cancel(&mut self, txn: TxnId) -> bool {
        let cancelled = self.coordinator.cancel(txn, &mut self.out);
        self.totals.cancelled += u64::from(cancelled);
        cancelled
    }

    /// Takes what is wanted of this shard in [`Action::Lend`], and the watcher whose keys are to be
    /// expired before the loan is made. It travels with the loan, or comes back at once.
    pub fn take_ask(&mut self, txn: TxnId) -> (T::Ask, Option<ConnectionId>) {
        let (ask, watcher) = self.intents.ask_mut(txn);
        (std::mem::take(ask), watcher)
    }

    /// The keys that a part claims here one by one; those of a database that is claimed as a whole
    /// are not among them.
    pub fn claimed_keys(&self, txn: TxnId) -> impl Iterator<Item = (DbIndex, Position)> {
        self.intents.claimed_keys(txn)
    }

    /// Puts back what [`take_ask`](Self::take_ask) took: with [`Action::TakeBack`], whose part may
    /// be lent to again.
    pub fn put_ask(&mut self, txn: TxnId, ask: T::Ask) {
        if self.intents.has(txn) {
            *self.intents.ask_mut(txn).0 = ask;
        }
    }

    /// Answers [`Action::Lend`].
    pub fn lent(&mut self, txn: TxnId, loan: T::Loan) {
        assert_eq!(self.lending.take(), Some(txn), "a loan answers its Lend");
        let (_, watcher) = self.intents.ask_mut(txn);
        let dirty = watcher.is_some_and(|connection| self.watches.is_dirty(connection));
        self.out
            .send_now(txn.coordinator, Body::Granted { txn, loan, dirty });
    }

    /// Registers a watch on a key of this shard. WATCH is a read of the key: it is admitted or
    /// parked like one. A key that has expired is to be removed before.
    pub fn watch(&mut self, connection: ConnectionId, db: DbIndex, position: Position, key: &[u8]) {
        self.watches.watch(connection, db, position, key);
    }

    /// Drops all watches of a connection at this shard (EXEC, DISCARD, UNWATCH, RESET).
    pub fn unwatch(&mut self, connection: ConnectionId) {
        self.watches.forget(connection);
    }

    /// Drops all watches of a connection at another shard or at this one.
    pub fn unwatch_at(&mut self, owner: ShardId, connection: ConnectionId) {
        self.out.send(owner, Body::Unwatch { connection });
    }

    /// Whether a key that the connection watches at this shard has changed: for an EXEC all of
    /// whose keys, watched ones included, are of this shard. It claims the watched keys as reads
    /// like any others: one that is lent may have changed already, at its borrower.
    pub fn is_dirty(&self, connection: ConnectionId) -> bool {
        self.watches.is_dirty(connection)
    }

    /// A key of this shard has changed: written, removed, expired or evicted.
    #[inline]
    pub fn touched(&mut self, db: DbIndex, position: Position) {
        self.watches.touched(db, position);
    }

    /// Every key of this shard that is watched. When a database is emptied or swapped,
    /// [`touched`](Self::touched) is due for those that were there before or are there after it.
    pub fn each_watched(&self, seen: impl FnMut(DbIndex, Position, &[u8])) {
        self.watches.each(seen);
    }

    /// Whether any key of this shard is watched.
    pub fn has_watches(&self) -> bool {
        self.watches.keys() > 0
    }

    /// Tells an owner that a connection of this shard is gone. Its commands that are parked
    /// there are discarded, its watches dropped. Its transaction is to be cancelled besides.
    pub fn leave(&mut self, owner: ShardId, connection: ConnectionId) {
        assert_eq!(connection.home, self.shard, "the home shard knows it first");
        self.out.send(owner, Body::Leave { connection });
    }

    /// Takes a message from another shard. Every action of the call before has been drained.
    pub fn handle(&mut self, from: ShardId, message: Message<T>) {
        assert_ne!(from, self.shard, "a shard does not mail itself");
        assert!(
            self.out.is_empty() && self.lending.is_none(),
            "actions are drained before the next message"
        );
        self.out.saw(message.clock);
        self.accept(from, message.body);
    }

    /// What the shard is to do next; `None` when all is done.
    pub fn next_action(&mut self) -> Option<Action<T>> {
        assert!(self.lending.is_none(), "a Lend is answered at once");
        loop {
            match self.out.next() {
                Some(Next::Act(action)) => return Some(action),
                Some(Next::Ready(txn)) => {
                    let Some(action) = self.intents.grant(txn, &mut self.out) else {
                        continue;
                    };
                    if let Action::Lend(txn) = action {
                        self.lending = Some(txn);
                    }
                    return Some(action);
                }
                None => {
                    let own = self.out.next_own()?;
                    self.accept(self.shard, own);
                }
            }
        }
    }

    /// Whether the shard has something to do for the machine.
    pub fn has_actions(&self) -> bool {
        !self.out.is_empty()
    }

    /// Whether nothing is in flight: neither at this shard nor for its clients. A shutdown
    /// begins nothing more and waits for it.
    pub fn is_drained(&self) -> bool {
        self.intents.is_empty() && self.coordinator.len() == 0 && self.out.is_empty()
    }

    /// What happened since the start.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// How much is in flight. Counts by walking: for INFO, not for every command.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            running: self.coordinator.len(),
            watchers: self.watches.watchers(),
            watched_keys: self.watches.keys(),
            ..Counts::default()
        };
        self.intents.each(|queued| {
            let count = match queued {
                Queued { held: true, .. } => &mut counts.held,
                Queued {
                    parked_for: Some(_),
                    ..
                } => &mut counts.parked,
                Queued { .. } => &mut counts.waiting,
            };
            *count += 1;
        });
        counts
    }

    /// Everything that holds or waits at this shard, oldest first.
    pub fn queued(&self) -> Vec<Queued> {
        let mut all = Vec::new();
        self.intents.each(|queued| all.push(queued));
        all.sort_unstable_by_key(|queued| queued.txn);
        all
    }

    /// Every transaction of this shard's clients with the number of participants that it still
    /// waits for, oldest first.
    pub fn running(&self) -> Vec<(TxnId, ConnectionId, usize)> {
        let mut all = Vec::new();
        self.coordinator
            .each(|txn, connection, missing| all.push((txn, connection, missing)));
        all.sort_unstable_by_key(|&(txn, _, _)| txn);
        all
    }

    /// Checks what must hold between calls: for tests and the simulator.
    pub fn verify(&self) {
        self.intents.verify();
        self.coordinator.verify();
    }

    fn draw(&mut self) -> TxnId {
        TxnId::ordinary(self.out.draw(), self.shard)
    }

    fn accept(&mut self, from: ShardId, body: Body<T>) {
        match body {
            Body::Acquire { txn, part } => {
                assert_eq!(from, txn.coordinator, "the coordinator acquires");
                self.intents.acquire(txn, part, &mut self.out);
            }
            Body::Granted { txn, loan, dirty } => {
                let ended = self
                    .coordinator
                    .granted(from, txn, loan, dirty, &mut self.out);
                self.totals.dirty += u64::from(ended);
            }
            Body::Wound { txn } => {
                let gave_way = self.coordinator.wounded(from, txn, &mut self.out);
                self.totals.gave_way += u64::from(gave_way);
            }
            Body::Yield { txn, loan } => {
                self.out.act(Action::TakeBack(txn, loan));
                self.intents.give_way(txn, &mut self.out);
            }
            Body::Release { txn, loan } => {
                // Before the changes are made: a transaction does not touch its own watch.
                self.drop_watch(txn);
                self.out.act(Action::TakeBack(txn, loan));
                self.intents.release(txn, &mut self.out);
            }
            Body::Cancel { txn } => {
                // At once, also for a part that is held: the connection may watch again before
                // the loan is back.
                self.drop_watch(txn);
                if self.intents.cancel(txn, &mut self.out) {
                    self.out.send(from, Body::Cancelled { txn });
                }
            }
            Body::Cancelled { txn } => self.coordinator.answered(txn),
            Body::Unwatch { connection } => self.watches.forget(connection),
            Body::Leave { connection } => {
                self.watches.forget(connection);
                self.intents.discard(connection, &mut self.out);
            }
        }
    }

    fn drop_watch(&mut self, txn: TxnId) {
        if let Some(connection) = self.intents.take_watcher(txn) {
            self.watches.forget(connection);
        }
    }
}
