//! The owner's half: who holds and who waits for this shard's keys.
//!
//! Everything that waits here, a transaction's part or a parked command, is an entry with an
//! age. It is ready when all of its locks are clear (see `node`), and is granted when the shard has
//! done what it had to do before and it is ready still. It then takes all of them together, so a
//! part never holds half of what it needs at a shard; what is held is what has been lent. A parked
//! command that is granted runs at once and holds nothing.
//!
//! Most keys are wanted by one entry at a time. Such a key is [`KeyLock::One`]: a name in the map,
//! clear while it waits and held once its entry is. The second one that comes makes a node of it.
//!
//! No deadlock: an entry waits for older waiters, or for holders. It wounds the holders that
//! are younger when it queues (later it meets none: whoever is younger queues behind it). A
//! wounded transaction either executes, waiting for nobody, or gives the part back. What is
//! left are waits for older ones, which cannot form a circle, and the oldest never waits long.
//!
//! A snapshot may still have to tell a key's value as it was, which for a long one takes many slices. An
//! entry that would write to such a key stands *aside* meanwhile: it is in no queue, as if it had not come
//! yet, so that it is in nobody's way, neither of who reads the key nor of who wants the whole database.
//! Its connection's later commands must not pass it. Those that are parked stand in a line; what comes
//! behind a part stands aside with it where they conflict. (A part does not say whose it is, so this goes
//! by the shard that coordinates it.) When the key is told they queue, with the ages that they have.
//!
//! Bounds: parts are bounded by the requests that connections may have under way; parked commands
//! by the credit of the lane on which they came, which is not returned before they run.

use std::collections::{VecDeque, hash_map};

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::aside::Aside;
use super::ids::{Claim, ConnectionId, DbIndex, Mode, Position, ShardId, TxnId};
use super::lock::{Lock, Locks, locks};
use super::message::{Action, Body, Part, Types};
use super::node::{LockMode, Node};
use super::outbox::Outbox;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// A parked command behind another of its connection: not queued for its locks yet.
    Behind,
    /// Not queued for its locks before keys are told that it writes to.
    Aside,
    Waiting,
    /// A part that was granted. Wounded: its coordinator has been asked to give it back.
    Held {
        wounded: bool,
    },
}

#[derive(Debug)]
enum Work<T: Types> {
    Part {
        ask: T::Ask,
        watcher: Option<ConnectionId>,
        waits_for_snapshot: bool,
    },
    Parked {
        connection: ConnectionId,
        command: T::Parked,
    },
}

#[derive(Debug)]
struct Entry<T: Types> {
    state: State,
    locks: Locks,
    /// How many locks there are, and how many of them are clear.
    needs: usize,
    clear: usize,
    /// How many of them are keys that somebody else wants or wanted as well: those with a node.
    shared: usize,
    work: Work<T>,
}

/// A key that is held or waited for.
#[derive(Debug)]
enum KeyLock {
    /// By one entry, which nobody stands before.
    One { txn: TxnId, mode: LockMode },
    /// By several, now or before.
    Several(Box<Node>),
}

impl<T: Types> Entry<T> {
    fn is_held(&self) -> bool {
        matches!(self.state, State::Held { .. })
    }

    fn is_part(&self) -> bool {
        matches!(self.work, Work::Part { .. })
    }

    fn waits_for_snapshot(&self) -> bool {
        match self.work {
            Work::Part {
                waits_for_snapshot, ..
            } => waits_for_snapshot,
            Work::Parked { .. } => true,
        }
    }

    /// Where it has come from; `txn` is its name.
    fn home(&self, txn: TxnId) -> ShardId {
        match self.work {
            Work::Part { .. } => txn.coordinator,
            Work::Parked { connection, .. } => connection.home,
        }
    }
}

/// One thing that holds or waits, for INFO and debugging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Its age; for a parked command, the ticket that it drew here.
    pub txn: TxnId,
    /// The client's connection where this shard knows it: parked commands only.
    pub parked_for: Option<ConnectionId>,
    /// Granted and lent.
    pub held: bool,
    /// Asked to give way.
    pub wounded: bool,
    /// How many locks it needs here, databases included.
    pub locks: usize,
    /// How many of these nobody stands before it on.
    pub clear: usize,
}

/// How many unused nodes are kept, so that usual transactions allocate none: enough for a few
/// dozen keys in flight, some 200 bytes each. More are freed.
const SPARE_NODES_MAX: usize = 64;
/// Room for so many keys is kept when none is wanted any more: a command of a million keys does not
/// leave the room for them behind.
const SPARE_KEYS_MAX: usize = 4096;

/// The locks of one shard.
#[derive(Debug)]
pub(super) struct Intents<T: Types> {
    keys: FxHashMap<(DbIndex, Position), KeyLock>,
    dbs: Box<[Node]>,
    entries: FxHashMap<TxnId, Entry<T>>,
    /// Parked commands of each connection in their order; the first one is queued.
    lines: FxHashMap<ConnectionId, VecDeque<TxnId>>,
    /// Nodes of keys that nobody wants any more, with the room that their queues have.
    #[expect(
        clippy::vec_box,
        reason = "the boxes come from keys and go back to them"
    )]
    spare: Vec<Box<Node>>,
    /// Entries whose last lock became clear; empty between calls.
    ready: Vec<TxnId>,
    /// Those who stand aside.
    aside: Aside,
}

impl<T: Types> Intents<T> {
    pub(super) fn new(databases: DbIndex) -> Self {
        Self {
            keys: FxHashMap::default(),
            dbs: (0..databases).map(|_| Node::default()).collect(),
            entries: FxHashMap::default(),
            lines: FxHashMap::default(),
            spare: Vec::new(),
            ready: Vec::new(),
            aside: Aside::default(),
        }
    }

    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.entries.is_empty() & !self.aside.tells()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A snapshot begins to tell keys.
    pub(super) fn begin_to_tell(&mut self) {
        self.aside.begin_to_tell();
    }

    /// A key takes long to tell: who writes to it stands aside.
    pub(super) fn stand_aside_from(&mut self, db: DbIndex, position: Position) {
        self.aside.insert(db, position);
    }

    /// Keys that waiting entries will write to.
    pub(super) fn to_be_written(&self) -> Vec<(DbIndex, Position)> {
        let waiting = self.entries.values().filter(|entry| !entry.is_held());
        let locks = waiting.flat_map(|entry| &entry.locks);
        let writes = locks.filter(|lock| lock.mode == LockMode::Write);
        writes
            .filter_map(|lock| Some((lock.db, lock.position?)))
            .collect()
    }

    /// Those that stood aside from keys that are told by now come to the queues; whether there was any
    /// such key.
    pub(super) fn told(
        &mut self,
        is_told: impl Fn(DbIndex, Position) -> bool,
        out: &mut Outbox<T>,
    ) -> bool {
        let any = self.aside.told(is_told);
        if any {
            self.come_back(out);
        }
        any
    }

    /// Nothing is told any more.
    pub(super) fn all_told(&mut self, out: &mut Outbox<T>) -> bool {
        let any = self.aside.all_told();
        if any {
            self.come_back(out);
        }
        any
    }

    /// Queues those that nothing keeps aside any more.
    fn come_back(&mut self, out: &mut Outbox<T>) {
        for txn in self.aside.take_line() {
            if self.has(txn) && !self.goes_aside(txn) {
                self.queue(txn, out);
            }
        }
        self.tell_ready(out);
    }

    /// Puts an entry aside that is in no queue, if it has to stand there; else it is waiting from now on.
    fn goes_aside(&mut self, txn: TxnId) -> bool {
        let entry = self.entries.get_mut(&txn).expect("the caller knows it");
        let aside = self.aside.is_needed()
            && entry.waits_for_snapshot()
            && self.aside.stops(entry.home(txn), &entry.locks);
        entry.state = if aside { State::Aside } else { State::Waiting };
        if aside {
            self.aside.enter(txn, entry.is_part(), &entry.locks);
        }
        aside
    }

    /// Whether something with these claims has to stand aside, which came from `home` behind those that do.
    fn stand_aside(&self, home: ShardId, claims: &[Claim]) -> bool {
        self.aside.is_needed() && self.aside.stops(home, &locks(claims, self.dbs.len()))
    }

    pub(super) fn admits(&self, connection: ConnectionId, claims: &[Claim]) -> bool {
        let one_stops = |_, held: LockMode, mode| held.conflicts(mode);
        !self.lines.contains_key(&connection)
            && !self.stand_aside(connection.home, claims)
            && self.none_stops(claims, Node::blocks, one_stops)
    }

    /// Whether a waiting client may be served now that needs these claims.
    pub(super) fn admits_service(&self, claims: &[Claim]) -> bool {
        let untold = |claim: &Claim| match *claim {
            Claim::Key {
                db,
                position,
                mode: Mode::Write,
            } => self.aside.is_untold(db, position),
            _ => false,
        };
        if self.aside.is_needed() && claims.iter().any(untold) {
            return false;
        }
        let one_stops = |txn: TxnId, held: LockMode, mode| {
            let holds = || self.entries[&txn].is_held();
            held.conflicts(mode) && (txn.is_service() || holds())
        };
        self.none_stops(claims, Node::blocks_service, one_stops)
    }

    /// Whether claims meet no node that stops them, and no key of a single entry that does.
    fn none_stops(
        &self,
        claims: &[Claim],
        stops: impl Fn(&Node, LockMode) -> bool,
        one_stops: impl Fn(TxnId, LockMode, LockMode) -> bool,
    ) -> bool {
        claims.iter().all(|claim| match *claim {
            Claim::Key { db, position, mode } => {
                let whole = LockMode::whole(mode);
                !stops(&self.dbs[usize::from(db)], LockMode::intention(mode))
                    && match self.keys.get(&(db, position)) {
                        None => true,
                        Some(KeyLock::One { txn, mode: held }) => !one_stops(*txn, *held, whole),
                        Some(KeyLock::Several(node)) => !stops(node, whole),
                    }
            }
            Claim::Db { db, mode } => !stops(&self.dbs[usize::from(db)], LockMode::whole(mode)),
            Claim::All { mode } => {
                let mut dbs = self.dbs.iter();
                dbs.all(|node| !stops(node, LockMode::whole(mode)))
            }
        })
    }

    pub(super) fn holds_back(&self, connection: ConnectionId) -> bool {
        self.lines.contains_key(&connection)
    }

    /// Queues a part of a transaction.
    pub(super) fn acquire(&mut self, txn: TxnId, part: Part<T>, out: &mut Outbox<T>) {
        let Part {
            claims,
            ask,
            watcher,
            waits_for_snapshot,
        } = part;
        let work = Work::Part {
            ask,
            watcher,
            waits_for_snapshot,
        };
        self.insert(txn, State::Waiting, &claims, work);
        if !self.goes_aside(txn) {
            self.queue(txn, out);
            self.tell_ready(out);
        }
    }

    /// Keeps a command until it may run.
    pub(super) fn park(
        &mut self,
        ticket: TxnId,
        connection: ConnectionId,
        claims: &[Claim],
        command: T::Parked,
        out: &mut Outbox<T>,
    ) {
        let work = Work::Parked {
            connection,
            command,
        };
        let line = self.lines.entry(connection).or_default();
        line.push_back(ticket);
        if line.len() > 1 {
            self.insert(ticket, State::Behind, claims, work);
        } else {
            self.insert(ticket, State::Waiting, claims, work);
            if !self.goes_aside(ticket) {
                self.queue(ticket, out);
                self.tell_ready(out);
            }
        }
    }

    /// What the coordinator asked of a part, and the connection that watches.
    pub(super) fn ask_mut(&mut self, txn: TxnId) -> (&mut T::Ask, Option<ConnectionId>) {
        let entry = self.entries.get_mut(&txn).expect("the part is there");
        match &mut entry.work {
            Work::Part { ask, watcher, .. } => (ask, *watcher),
            Work::Parked { .. } => panic!("a parked command is asked for nothing"),
        }
    }

    /// The keys that a part claims one by one.
    pub(super) fn claimed_keys(&self, txn: TxnId) -> impl Iterator<Item = (DbIndex, Position)> {
        let locks = self.entries[&txn].locks.iter();
        locks.filter_map(|lock| Some((lock.db, lock.position?)))
    }

    /// Whether a part or a parked command of this age is here.
    pub(super) fn has(&self, txn: TxnId) -> bool {
        self.entries.contains_key(&txn)
    }

    /// A held part goes back to its place in the queues.
    pub(super) fn give_way(&mut self, txn: TxnId, out: &mut Outbox<T>) {
        let entry = self.entries.get_mut(&txn).expect("a holder is an entry");
        assert!(entry.is_held(), "only what is held comes back");
        entry.state = State::Waiting;
        entry.clear = 0;
        let shared = std::mem::take(&mut entry.shared) > 0;
        let locks = self.locks_of(txn);
        for lock in &locks {
            if let Some(node) = node_of(&mut self.keys, &mut self.dbs, lock) {
                node.release(txn, lock.mode, lock.position.is_some());
            }
        }
        self.put_locks(txn, locks);
        self.queue(txn, out);
        // Older ones may have been waiting for nothing but this.
        let locks = self.locks_of(txn);
        self.settle(&locks, shared);
        self.put_locks(txn, locks);
        self.tell_ready(out);
    }

    /// A held part is over.
    pub(super) fn release(&mut self, txn: TxnId, out: &mut Outbox<T>) {
        let entry = self.entries.remove(&txn).expect("a holder is an entry");
        assert!(entry.is_held(), "only what is held comes back");
        for lock in &entry.locks {
            leave(&mut self.keys, &mut self.dbs, txn, lock, |node| {
                node.release(txn, lock.mode, lock.position.is_some());
            });
        }
        let shared = entry.shared > 0;
        self.settle(&entry.locks, shared);
        self.prune(&entry.locks, shared);
        self.tell_ready(out);
    }

    /// Takes out a waiting part. Returns whether it waited; a held one stays.
    pub(super) fn cancel(&mut self, txn: TxnId, out: &mut Outbox<T>) -> bool {
        let entry = self.entries.get(&txn).expect("a cancel finds the part");
        match entry.state {
            State::Waiting => {
                self.leave_queues(txn);
                self.entries.remove(&txn);
                self.tell_ready(out);
            }
            State::Aside => {
                let entry = self.entries.remove(&txn).expect("just seen");
                self.aside.part_leaves(txn, &entry.locks);
                self.come_back(out); // who stood behind it
            }
            State::Behind | State::Held { .. } => return false,
        }
        true
    }

    /// Drops the watch of a held part whose transaction was cancelled.
    pub(super) fn take_watcher(&mut self, txn: TxnId) -> Option<ConnectionId> {
        match &mut self.entries.get_mut(&txn)?.work {
            Work::Part { watcher, .. } => watcher.take(),
            Work::Parked { .. } => None,
        }
    }

    /// Discards the parked commands of a connection.
    pub(super) fn discard(&mut self, connection: ConnectionId, out: &mut Outbox<T>) {
        let Some(line) = self.lines.remove(&connection) else {
            return;
        };
        for ticket in line {
            match self.entries[&ticket].state {
                State::Waiting => self.leave_queues(ticket),
                State::Aside | State::Behind | State::Held { .. } => {}
            }
            let entry = self.entries.remove(&ticket);
            let entry = entry.expect("a line lists entries");
            let Work::Parked { command, .. } = entry.work else {
                panic!("a line lists parked commands");
            };
            out.act(Action::Discard(command));
        }
        self.tell_ready(out);
    }

    pub(super) fn each(&self, mut seen: impl FnMut(Queued)) {
        for (&txn, entry) in &self.entries {
            seen(Queued {
                txn,
                parked_for: match entry.work {
                    Work::Parked { connection, .. } => Some(connection),
                    Work::Part { .. } => None,
                },
                held: entry.is_held(),
                wounded: entry.state == State::Held { wounded: true },
                locks: entry.needs,
                clear: entry.clear,
            });
        }
    }

    /// Checks what must hold between calls.
    pub(super) fn verify(&self) {
        assert!(self.ready.is_empty());
        let mut waiting_locks = 0;
        for (txn, entry) in &self.entries {
            assert_eq!(entry.needs, entry.locks.len());
            if !matches!(entry.state, State::Behind | State::Aside) {
                let keys = entry
                    .locks
                    .iter()
                    .filter_map(|lock| Some((lock.db, lock.position?)));
                let several = keys.filter(|key| matches!(self.keys[key], KeyLock::Several(_)));
                assert_eq!(entry.shared, several.count());
            }
            match entry.state {
                State::Held { .. } => assert!(matches!(entry.work, Work::Part { .. })),
                State::Waiting => {
                    assert!(entry.clear < entry.needs, "{txn:?} could run and waits");
                    waiting_locks += entry.needs;
                }
                State::Behind => assert_eq!(entry.clear, 0),
                State::Aside => {
                    assert_eq!((entry.clear, entry.shared), (0, 0), "it is in no queue");
                }
            }
        }
        let aside = self.entries.iter();
        let aside = aside.filter(|(_, entry)| entry.state == State::Aside);
        self.aside
            .verify(aside.map(|(txn, entry)| (*txn, entry.is_part().then_some(&entry.locks[..]))));
        let mut waiters = 0;
        for key in self.keys.values() {
            match key {
                KeyLock::One { txn, .. } => {
                    let entry = &self.entries[txn];
                    let queued = !matches!(entry.state, State::Behind | State::Aside);
                    assert!(queued, "it stands where it is listed");
                    waiters += usize::from(!entry.is_held());
                }
                KeyLock::Several(node) => {
                    assert!(!node.is_unused(), "unused nodes are dropped");
                    node.verify();
                    waiters += node.waiters();
                }
            }
        }
        for node in &self.dbs {
            node.verify();
            waiters += node.waiters();
        }
        assert_eq!(waiters, waiting_locks);
        for line in self.lines.values() {
            for (at, ticket) in line.iter().enumerate() {
                assert_eq!(self.entries[ticket].state == State::Behind, at > 0);
            }
        }
    }

    fn insert(&mut self, txn: TxnId, state: State, claims: &[Claim], work: Work<T>) {
        let locks = locks(claims, self.dbs.len());
        let needs = locks.len();
        assert!(needs > 0, "what waits has claims");
        let entry = Entry {
            state,
            locks,
            needs,
            clear: 0,
            shared: 0,
            work,
        };
        let before = self.entries.insert(txn, entry);
        assert!(before.is_none(), "an age is used once at a shard");
    }

    /// Puts an entry into the queues of its locks and wounds the younger ones in its way.
    fn queue(&mut self, txn: TxnId, out: &mut Outbox<T>) {
        let locks = self.locks_of(txn);
        // Keys that nobody else wants.
        let mut alone = 0;
        for lock in &locks {
            if lock.position.is_some() && self.stand_alone(txn, lock) {
                alone += 1;
                continue;
            }
            let node = node_of(&mut self.keys, &mut self.dbs, lock);
            let node = node.expect("a key of several has a node");
            node.wait(
                txn,
                lock.mode,
                &mut note(&mut self.entries, &mut self.ready),
            );
            if node.is_held_against(lock.mode) {
                self.wound_for(txn, lock, out);
            }
        }
        let entry = self.entries.get_mut(&txn).expect("the caller knows it");
        entry.clear += alone;
        if alone > 0 && entry.clear == entry.needs {
            self.ready.push(txn);
        }
        entry.shared = locks.iter().filter(|lock| lock.position.is_some()).count() - alone;
        entry.locks = locks;
    }

    /// Lists an entry at a key if it is the only one that wants it, and says whether it is. If somebody
    /// else does, the key has a node from now on, for the caller to queue at.
    fn stand_alone(&mut self, txn: TxnId, lock: &Lock) -> bool {
        let position = lock.position.expect("the caller looked");
        let key = match self.keys.entry((lock.db, position)) {
            hash_map::Entry::Vacant(place) => {
                let mode = lock.mode;
                place.insert(KeyLock::One { txn, mode });
                return true;
            }
            hash_map::Entry::Occupied(key) => key.into_mut(),
        };
        let KeyLock::One { txn: first, mode } = *key else {
            return false;
        };
        if first == txn {
            return true; // it gave way, and nobody has come since
        }
        let entry = self
            .entries
            .get_mut(&first)
            .expect("who is listed is an entry");
        entry.shared += 1;
        let mut node = self.spare.pop().unwrap_or_default();
        node.wait(first, mode, &mut |_, _| ());
        if entry.is_held() {
            node.hold(first, true);
        }
        *key = KeyLock::Several(node);
        false
    }

    fn wound_for(&mut self, txn: TxnId, lock: &Lock, out: &mut Outbox<T>) {
        let in_way: SmallVec<[TxnId; 8]> = match lock.position {
            Some(position) => several(&self.keys[&(lock.db, position)])
                .holders()
                .iter()
                .filter(|&&(holder, mode)| holder > txn && mode.conflicts(lock.mode))
                .map(|&(holder, _)| holder)
                .collect(),
            None => self
                .entries
                .iter()
                .filter(|&(&holder, entry)| {
                    holder > txn
                        && entry.is_held()
                        && entry.locks.iter().any(|held| {
                            held.position.is_none()
                                && held.db == lock.db
                                && held.mode.conflicts(lock.mode)
                        })
                })
                .map(|(&holder, _)| holder)
                .collect(),
        };
        for holder in in_way {
            let entry = self.entries.get_mut(&holder);
            let entry = entry.expect("a holder is an entry");
            if entry.state == (State::Held { wounded: false }) {
                entry.state = State::Held { wounded: true };
                out.send(holder.coordinator, Body::Wound { txn: holder });
            }
        }
    }

    /// The turn of an entry has come that was ready: grants it, unless it has gone since or an
    /// older one has come before it.
    pub(super) fn grant(&mut self, txn: TxnId, out: &mut Outbox<T>) -> Option<Action<T>> {
        let entry = self.entries.get_mut(&txn)?;
        if entry.state != State::Waiting || entry.clear < entry.needs {
            return None;
        }
        if self.aside.is_needed() && self.leaves_for_aside(txn) {
            self.tell_ready(out);
            return None;
        }
        let entry = self.entries.get_mut(&txn).expect("just seen");
        if let Work::Parked { .. } = entry.work {
            return Some(Action::Run(self.unpark(txn, out)));
        }
        entry.state = State::Held { wounded: false };
        let shared = entry.shared > 0;
        for lock in &entry.locks {
            if !shared && lock.position.is_some() {
                continue; // its own, held by what its state says
            }
            if let Some(node) = node_of(&mut self.keys, &mut self.dbs, lock) {
                node.hold(txn, lock.position.is_some());
            }
        }
        Some(Action::Lend(txn))
    }

    /// Takes an entry out of the queues that a snapshot has met there, if it has to stand aside.
    fn leaves_for_aside(&mut self, txn: TxnId) -> bool {
        let entry = &self.entries[&txn];
        if !entry.waits_for_snapshot() || !self.aside.stops(entry.home(txn), &entry.locks) {
            return false;
        }
        self.leave_queues(txn);
        let entry = self.entries.get_mut(&txn).expect("just seen");
        (entry.clear, entry.shared) = (0, 0);
        let aside = self.goes_aside(txn);
        assert!(aside, "nothing was told meanwhile");
        true
    }

    /// Lists what has become ready.
    fn tell_ready(&mut self, out: &mut Outbox<T>) {
        self.ready.drain(..).for_each(|txn| out.ready(txn));
    }

    /// Takes out a parked command that is about to run; the next of its connection queues.
    fn unpark(&mut self, ticket: TxnId, out: &mut Outbox<T>) -> T::Parked {
        self.leave_queues(ticket);
        let entry = self.entries.remove(&ticket);
        let Work::Parked {
            connection,
            command,
        } = entry.expect("the caller found it").work
        else {
            panic!("only parked commands run");
        };
        let line = self.lines.get_mut(&connection).expect("it has a line");
        assert_eq!(line.pop_front(), Some(ticket), "the first of a line runs");
        match line.front().copied() {
            Some(next) => {
                if !self.goes_aside(next) {
                    self.queue(next, out);
                }
            }
            None => {
                self.lines.remove(&connection);
            }
        }
        self.tell_ready(out);
        command
    }

    fn leave_queues(&mut self, txn: TxnId) {
        let locks = self.locks_of(txn);
        for lock in &locks {
            let mut changed = note(&mut self.entries, &mut self.ready);
            leave(&mut self.keys, &mut self.dbs, txn, lock, |node| {
                node.leave(txn, &mut changed);
            });
        }
        self.prune(&locks, true);
        self.put_locks(txn, locks);
    }

    /// Looks for waiters that a release has made clear; `shared`: at the keys as well.
    fn settle(&mut self, locks: &Locks, shared: bool) {
        for lock in locks {
            if !shared && lock.position.is_some() {
                continue;
            }
            if let Some(node) = node_of(&mut self.keys, &mut self.dbs, lock) {
                node.settle(&mut note(&mut self.entries, &mut self.ready));
            }
        }
    }

    /// Forgets the keys that nobody wants any more; `shared`: those with a node as well.
    fn prune(&mut self, locks: &Locks, shared: bool) {
        for lock in locks.iter().filter(|_| shared) {
            if let Some(position) = lock.position
                && let hash_map::Entry::Occupied(key) = self.keys.entry((lock.db, position))
                && let KeyLock::Several(node) = key.get()
                && node.is_unused()
                && let KeyLock::Several(node) = key.remove()
                && self.spare.len() < SPARE_NODES_MAX
            {
                self.spare.push(node);
            }
        }
        if self.keys.is_empty() && self.keys.capacity() > SPARE_KEYS_MAX {
            self.keys = FxHashMap::default();
        }
    }

    /// Takes an entry's locks out for a walk during which other entries change.
    fn locks_of(&mut self, txn: TxnId) -> Locks {
        let entry = self.entries.get_mut(&txn).expect("the caller knows it");
        std::mem::take(&mut entry.locks)
    }

    fn put_locks(&mut self, txn: TxnId, locks: Locks) {
        let entry = self.entries.get_mut(&txn).expect("the caller knows it");
        entry.locks = locks;
    }
}

/// Keeps count of an entry's clear locks.
fn note<'a, T: Types>(
    entries: &'a mut FxHashMap<TxnId, Entry<T>>,
    ready: &'a mut Vec<TxnId>,
) -> impl FnMut(TxnId, bool) + 'a {
    move |txn, clear| {
        let entry = entries.get_mut(&txn).expect("a waiter is an entry");
        if clear {
            entry.clear += 1;
            if entry.clear == entry.needs {
                ready.push(txn);
            }
        } else {
            entry.clear -= 1;
        }
    }
}

/// The node of a lock; None for a key that one entry wants alone.
fn node_of<'a>(
    keys: &'a mut FxHashMap<(DbIndex, Position), KeyLock>,
    dbs: &'a mut [Node],
    lock: &Lock,
) -> Option<&'a mut Node> {
    let Some(position) = lock.position else {
        return Some(&mut dbs[usize::from(lock.db)]);
    };
    match keys.get_mut(&(lock.db, position)) {
        Some(KeyLock::Several(node)) => Some(node),
        _ => None,
    }
}

/// An entry that held or waited for a lock is gone: forgets a key that nobody else wants, and has
/// a node told.
fn leave(
    keys: &mut FxHashMap<(DbIndex, Position), KeyLock>,
    dbs: &mut [Node],
    txn: TxnId,
    lock: &Lock,
    tell: impl FnOnce(&mut Node),
) {
    let Some(position) = lock.position else {
        return tell(&mut dbs[usize::from(lock.db)]);
    };
    let hash_map::Entry::Occupied(mut key) = keys.entry((lock.db, position)) else {
        panic!("what is wanted is listed");
    };
    match key.get_mut() {
        KeyLock::One { txn: only, .. } => {
            assert_eq!(*only, txn, "nobody else wants it");
            key.remove();
        }
        KeyLock::Several(node) => tell(node),
    }
}

fn several(key: &KeyLock) -> &Node {
    match key {
        KeyLock::Several(node) => node,
        KeyLock::One { .. } => panic!("somebody else wants it"),
    }
}
