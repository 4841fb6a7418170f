//! A shard small enough to be obviously right but for the machine that it stands for: a table
//! of lists, sessions with pipelines, and `ringdove::txn`. It can be given a fault, which the
//! checks have to find.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use ringdove::txn::{
    Action, Body, Claim, Claims, ConnectionId, Message, Mode, Part, Parts, ShardId, TxnId, Txns,
    Types,
};

use crate::history::{Key, Value};
use crate::order::{Order, Step};
use crate::world::{Node, Op, Output, Reply};

/// What a node does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    None,
    /// Commands of one owner run though a transaction holds their keys.
    RunsUnasked,
    /// Commands of one owner run before an earlier one of their connection that is parked.
    Overtakes,
    /// A command for another owner is sent before the earlier ones are answered.
    SendsAhead,
    /// Wounds get lost.
    LosesWounds,
    /// Changes are not told to those who watch.
    ForgetsWatches,
    /// Changes of a transaction are not told to those who watch.
    ForgetsWatchesOfLoans,
    /// A read of several keys asks each owner by itself.
    SplitsReads,
    /// A block over several owners sends each its part by itself.
    SplitsBlocks,
    /// What a transaction changed is not put back when it comes from another shard.
    LosesLoans,
    /// A transaction of a client that is gone is not cancelled.
    ForgetsToCancel,
    /// A grant does not say that a watched key has changed.
    LosesDirty,
    /// An EXEC with one owner does not claim the keys that it watches.
    ForgetsWatchedClaims,
    /// Writes claim no more than reads do.
    ClaimsTooLittle,
}

#[derive(Debug)]
pub(crate) struct Toy;

impl Types for Toy {
    type Ask = Ask;
    type Loan = Loan;
    type Parked = Command;
}

/// The keys that a transaction wants of an owner, and whether it writes them.
#[derive(Default, Debug)]
pub(crate) struct Ask {
    keys: BTreeMap<Key, bool>,
    /// All keys of this owner, existing or not; true where they are written.
    all: Option<bool>,
}

#[derive(Debug)]
pub(crate) struct Loan {
    /// Copies of what is read, and what was taken out to be written.
    lists: BTreeMap<Key, Vec<Value>>,
    /// Keys whose entry is on loan, with whether it was changed.
    written: BTreeMap<Key, bool>,
    /// The whole table is on loan.
    whole: bool,
}

#[derive(Debug)]
pub(crate) struct Command {
    connection: ConnectionId,
    request: u64,
    op: Op,
    /// Keys of this owner that an EXEC depends on; reads like any other.
    watched: BTreeSet<Key>,
}

#[derive(Debug)]
pub(crate) enum Packet {
    Command(Command),
    Reply(u64, u64, Reply),
    Txn(Message<Toy>),
}

/// What a connection watches, by owner.
type Watching = BTreeMap<ShardId, BTreeSet<Key>>;

#[derive(Default)]
struct Session {
    order: Order,
    waiting: VecDeque<(u64, Op)>,
    /// Sent and not answered; how many answers are to come, and those that have.
    sent: HashMap<u64, (Step, Op, usize, Vec<Reply>)>,
    next_request: u64,
    next_reply: u64,
    ready: BTreeMap<u64, Reply>,
    running: Option<(TxnId, u64)>,
    watching: Watching,
}

pub(crate) struct ToyNode {
    id: ShardId,
    nodes: u16,
    fault: Fault,
    table: BTreeMap<Key, Vec<Value>>,
    txns: Txns<Toy>,
    sessions: HashMap<u64, Session>,
}

impl ToyNode {
    pub(crate) fn new(id: u16, nodes: u16, fault: Fault) -> Self {
        Self {
            id: ShardId(id),
            nodes,
            fault,
            table: BTreeMap::new(),
            txns: Txns::new(ShardId(id), 2),
            sessions: HashMap::new(),
        }
    }

    pub(crate) fn gave_way(&self) -> u64 {
        self.txns.totals().gave_way
    }

    pub(crate) fn parked(&self) -> u64 {
        self.txns.totals().parked
    }

    fn owner(&self, key: Key) -> ShardId {
        ShardId(u16::try_from(key % u32::from(self.nodes)).expect("few nodes"))
    }

    fn connection(&self, number: u64) -> ConnectionId {
        ConnectionId {
            home: self.id,
            number,
        }
    }

    /// Sends of a connection's commands what its order allows.
    fn advance(&mut self, number: u64, out: &mut Output<Packet>) {
        loop {
            let Some(session) = self.sessions.get(&number) else {
                return;
            };
            let Some((_, op)) = session.waiting.front() else {
                return;
            };
            let asks = self.asks(op, &session.watching);
            let step = match asks.len() {
                1 if writes(op) => Step::Write(*asks.keys().next().expect("one")),
                1 => Step::Read(*asks.keys().next().expect("one")),
                _ => Step::Transaction,
            };
            let step = match step {
                Step::Write(owner) if self.fault == Fault::SendsAhead => Step::Read(owner),
                step => step,
            };
            if !session.order.admits(step) {
                return;
            }
            let session = self.sessions.get_mut(&number).expect("found above");
            let (request, op) = session.waiting.pop_front().expect("found above");
            session.order.sent(step);
            self.start(number, request, op, step, asks, out);
        }
    }

    fn start(
        &mut self,
        number: u64,
        request: u64,
        op: Op,
        step: Step,
        asks: BTreeMap<ShardId, Ask>,
        out: &mut Output<Packet>,
    ) {
        let connection = self.connection(number);
        let split = match (&op, self.fault) {
            (Op::Watch(_), _) => true,
            (Op::Get(_), Fault::SplitsReads) | (Op::Exec(_), Fault::SplitsBlocks) => true,
            _ => asks.len() == 1,
        };
        let session = self.sessions.get_mut(&number).expect("the caller has it");
        let watching = match op {
            Op::Exec(_) => std::mem::take(&mut session.watching),
            Op::Watch(_) => {
                for (&owner, ask) in &asks {
                    let keys = session.watching.entry(owner).or_default();
                    keys.extend(ask.keys.keys());
                }
                BTreeMap::new()
            }
            _ => BTreeMap::new(),
        };
        let answers = if split { asks.len() } else { 1 };
        session
            .sent
            .insert(request, (step, op.clone(), answers, Vec::new()));
        if !split {
            let parts: Parts<Toy> = asks
                .into_iter()
                .map(|(owner, ask)| {
                    let part = Part {
                        claims: claims(&ask, self.fault),
                        ask,
                        watcher: watching.contains_key(&owner).then_some(connection),
                        waits_for_snapshot: true,
                    };
                    (owner, part)
                })
                .collect();
            let txn = self.txns.begin(connection, parts);
            let session = self.sessions.get_mut(&number).expect("the caller has it");
            session.running = Some((txn, request));
            return self.drain(out);
        }
        for (owner, ask) in asks {
            let op = match &op {
                Op::Watch(keys) => Op::Watch(
                    keys.iter()
                        .copied()
                        .filter(|key| ask.keys.contains_key(key))
                        .collect(),
                ),
                _ => op.clone(),
            };
            let command = Command {
                connection,
                request,
                op,
                watched: watching.get(&owner).cloned().unwrap_or_default(),
            };
            if owner == self.id {
                self.arrive(command, out);
            } else {
                out.packets.push((owner.0, Packet::Command(command)));
            }
        }
    }

    /// What an op wants of each owner.
    fn asks(&self, op: &Op, watching: &Watching) -> BTreeMap<ShardId, Ask> {
        let mut asks = BTreeMap::new();
        self.collect(op, &mut asks);
        if matches!(op, Op::Exec(_)) {
            for (&owner, keys) in watching {
                let ask = asks.entry(owner).or_default();
                for &key in keys {
                    ask.keys.entry(key).or_default();
                }
            }
        }
        asks
    }

    fn collect(&self, op: &Op, asks: &mut BTreeMap<ShardId, Ask>) {
        let mut want = |key: Key, write: bool| {
            let ask = asks.entry(self.owner(key)).or_default();
            *ask.keys.entry(key).or_default() |= write;
        };
        match op {
            Op::Append(key, _) => want(*key, true),
            Op::Get(keys) | Op::Watch(keys) => keys.iter().for_each(|&key| want(key, false)),
            Op::Keys | Op::Flush => {
                for id in 0..self.nodes {
                    let ask = asks.entry(ShardId(id)).or_default();
                    *ask.all.get_or_insert(false) |= matches!(op, Op::Flush);
                }
            }
            Op::Exec(ops) => ops.iter().for_each(|op| self.collect(op, asks)),
        }
    }

    /// A command reaches the owner of all of its keys.
    fn arrive(&mut self, command: Command, out: &mut Output<Packet>) {
        if !self.txns.is_idle() && self.fault != Fault::RunsUnasked {
            let watched = match self.fault {
                Fault::ForgetsWatchedClaims => BTreeSet::new(),
                _ => command.watched.clone(),
            };
            let mut asks = self.asks(&command.op, &Watching::from([(self.id, watched)]));
            let ask = asks.remove(&self.id).expect("the keys are here");
            let connection = match self.fault {
                Fault::Overtakes => self.connection(u64::MAX - command.request),
                _ => command.connection,
            };
            let claims = claims(&ask, self.fault);
            if !self.txns.admits(connection, &claims) {
                self.txns.park(connection, &claims, command);
                return self.drain(out);
            }
        }
        self.run(command, out);
    }

    fn run(&mut self, command: Command, out: &mut Output<Packet>) {
        let Command {
            connection,
            request,
            op,
            watched,
        } = command;
        let dirty = !watched.is_empty() && self.txns.is_dirty(connection);
        if !watched.is_empty() {
            self.txns.unwatch(connection);
        }
        let reply = if dirty {
            Reply::Null
        } else if let Op::Watch(keys) = op {
            for key in keys {
                self.txns.watch(connection, 0, u64::from(key), &[]);
            }
            Reply::Ok
        } else {
            let mut touched = BTreeSet::new();
            let (id, nodes, split) = (self.id.0, self.nodes, self.fault == Fault::SplitsBlocks);
            let mine = move |key: Key| !split || key % u32::from(nodes) == u32::from(id);
            let reply = apply(&mut self.table, &op, &mine, &mut touched);
            self.touch(touched, Fault::ForgetsWatches);
            reply
        };
        if connection.home == self.id {
            self.answer(connection.number, request, reply, out);
        } else {
            let packet = Packet::Reply(connection.number, request, reply);
            out.packets.push((connection.home.0, packet));
        }
    }

    fn touch(&mut self, keys: impl IntoIterator<Item = Key>, unless: Fault) {
        for key in keys {
            if self.fault != unless {
                self.txns.touched(0, u64::from(key));
            }
        }
    }

    /// An owner has answered, or the transaction has run.
    fn answer(&mut self, number: u64, request: u64, reply: Reply, out: &mut Output<Packet>) {
        let Some(session) = self.sessions.get_mut(&number) else {
            return;
        };
        let sent = session.sent.get_mut(&request).expect("it was sent");
        sent.2 -= 1;
        sent.3.push(reply);
        if sent.2 > 0 {
            return;
        }
        let (step, op, _, replies) = session.sent.remove(&request).expect("found above");
        session.order.done(step);
        session.ready.insert(request, join(&op, replies));
        while let Some(reply) = session.ready.remove(&session.next_reply) {
            session.next_reply += 1;
            out.replies.push((number, reply));
        }
        self.advance(number, out);
    }

    fn drain(&mut self, out: &mut Output<Packet>) {
        while let Some(action) = self.txns.next_action() {
            match action {
                Action::Send(to, mut message) => {
                    if let Body::Granted { dirty, .. } = &mut message.body {
                        *dirty &= self.fault != Fault::LosesDirty;
                    }
                    let lost = matches!(message.body, Body::Wound { .. })
                        && self.fault == Fault::LosesWounds;
                    if !lost {
                        out.packets.push((to.0, Packet::Txn(message)));
                    }
                }
                Action::Lend(txn) => {
                    let (ask, _) = self.txns.take_ask(txn);
                    let loan = lend(&mut self.table, &ask);
                    self.txns.put_ask(txn, ask);
                    self.txns.lent(txn, loan);
                }
                Action::TakeBack(txn, loan) => self.take_back(txn, loan),
                Action::Run(command) => self.run(command, out),
                Action::Discard(_) => {}
                Action::Execute {
                    txn,
                    connection,
                    loans,
                } => {
                    if !self.sessions.contains_key(&connection.number) {
                        assert_eq!(self.fault, Fault::ForgetsToCancel);
                        continue;
                    }
                    let mut view = BTreeMap::new();
                    let mut shapes = Vec::new();
                    for (shard, mut loan) in loans {
                        view.append(&mut loan.lists);
                        shapes.push((shard, loan));
                    }
                    let session = self.sessions.get_mut(&connection.number);
                    let session = session.expect("a transaction without client is cancelled");
                    let (running, request) = session.running.take().expect("it runs");
                    assert_eq!(running, txn);
                    let op = session.sent[&request].1.clone();
                    let mut touched = BTreeSet::new();
                    let reply = apply(&mut view, &op, &|_| true, &mut touched);
                    let nodes = u32::from(self.nodes);
                    let loans = shapes.into_iter().map(|(shard, mut loan)| {
                        for (key, changed) in &mut loan.written {
                            *changed = touched.contains(key);
                        }
                        if loan.whole {
                            loan.written.extend(touched.iter().map(|&key| (key, true)));
                            loan.written
                                .retain(|key, _| key % nodes == u32::from(shard.0));
                        }
                        loan.lists = view
                            .iter()
                            .filter(|&(key, _)| {
                                key % nodes == u32::from(shard.0)
                                    && (loan.whole || loan.written.contains_key(key))
                            })
                            .map(|(&key, list)| (key, list.clone()))
                            .collect();
                        (shard, loan)
                    });
                    self.txns.executed(txn, loans.collect::<Vec<_>>());
                    self.answer(connection.number, request, reply, out);
                }
                Action::Dirty { txn, connection } => {
                    let Some(session) = self.sessions.get_mut(&connection.number) else {
                        assert_eq!(self.fault, Fault::ForgetsToCancel);
                        continue;
                    };
                    let (running, request) = session.running.take().expect("it runs");
                    assert_eq!(running, txn);
                    self.answer(connection.number, request, Reply::Null, out);
                }
            }
        }
    }

    fn take_back(&mut self, txn: TxnId, loan: Loan) {
        let lost = self.fault == Fault::LosesLoans && txn.coordinator != self.id;
        if loan.whole && !lost {
            if self.fault == Fault::None {
                assert!(self.table.is_empty(), "the whole table was on loan");
            }
            self.table = loan.lists;
        } else {
            for (&key, &changed) in &loan.written {
                let list = loan.lists.get(&key);
                if let Some(list) = list {
                    let mut list = list.clone();
                    if lost && changed {
                        list.pop();
                    }
                    let before = self.table.insert(key, list);
                    assert!(before.is_none() || self.fault != Fault::None);
                }
            }
        }
        let changed = loan.written.iter().filter(|&(_, &changed)| changed);
        let changed: Vec<Key> = changed.map(|(&key, _)| key).collect();
        match self.fault {
            Fault::ForgetsWatches => {}
            _ => self.touch(changed, Fault::ForgetsWatchesOfLoans),
        }
    }
}

impl Node for ToyNode {
    type Packet = Packet;

    fn request(&mut self, connection: u64, op: Op, out: &mut Output<Packet>) {
        let session = self.sessions.entry(connection).or_default();
        let request = session.next_request;
        session.next_request += 1;
        session.waiting.push_back((request, op));
        self.advance(connection, out);
        self.drain(out);
    }

    fn disconnect(&mut self, number: u64, out: &mut Output<Packet>) {
        let Some(session) = self.sessions.remove(&number) else {
            return;
        };
        if let Some((txn, _)) = session.running
            && self.fault != Fault::ForgetsToCancel
        {
            assert!(self.txns.cancel(txn), "a running one has not executed");
        }
        let connection = self.connection(number);
        for id in 0..self.nodes {
            self.txns.leave(ShardId(id), connection);
        }
        self.drain(out);
    }

    fn deliver(&mut self, from: u16, packet: Packet, out: &mut Output<Packet>) {
        match packet {
            Packet::Command(command) => self.arrive(command, out),
            Packet::Reply(connection, request, reply) => {
                self.answer(connection, request, reply, out);
            }
            Packet::Txn(message) => self.txns.handle(ShardId(from), message),
        }
        self.drain(out);
    }

    fn is_drained(&self) -> bool {
        let counts = self.txns.counts();
        self.txns.is_drained() && counts.running == 0 && counts.held == 0
    }

    fn verify(&self) {
        self.txns.verify();
    }
}

fn claims(ask: &Ask, fault: Fault) -> Claims {
    let mode = |write: bool| match write && fault != Fault::ClaimsTooLittle {
        true => Mode::Write,
        false => Mode::Read,
    };
    let keys = ask.keys.iter().map(|(&key, &write)| Claim::Key {
        db: 0,
        position: u64::from(key),
        mode: mode(write),
    });
    let all = ask.all.map(|write| match write {
        true => Claim::All { mode: Mode::Write },
        false => Claim::Db {
            db: 0,
            mode: Mode::Read,
        },
    });
    keys.chain(all).collect()
}

fn writes(op: &Op) -> bool {
    match op {
        Op::Append(..) | Op::Flush | Op::Exec(_) => true,
        Op::Get(_) | Op::Keys | Op::Watch(_) => false,
    }
}

fn lend(table: &mut BTreeMap<Key, Vec<Value>>, ask: &Ask) -> Loan {
    let written = |(&key, &write): (&Key, &bool)| write.then_some((key, false));
    let mut loan = Loan {
        lists: BTreeMap::new(),
        written: ask.keys.iter().filter_map(written).collect(),
        whole: ask.all == Some(true),
    };
    if loan.whole {
        loan.lists = std::mem::take(table);
        return loan;
    }
    if ask.all.is_some() {
        loan.lists = table.clone();
    }
    for (&key, &write) in &ask.keys {
        let list = if write {
            table.remove(&key)
        } else {
            table.get(&key).cloned()
        };
        loan.lists.extend(list.map(|list| (key, list)));
    }
    loan
}

/// The one place that knows what commands do.
fn apply(
    view: &mut BTreeMap<Key, Vec<Value>>,
    op: &Op,
    mine: &dyn Fn(Key) -> bool,
    touched: &mut BTreeSet<Key>,
) -> Reply {
    match op {
        Op::Append(key, value) => {
            if mine(*key) {
                view.entry(*key).or_default().push(*value);
                touched.insert(*key);
            }
            Reply::Ok
        }
        Op::Get(keys) => Reply::Lists(
            keys.iter()
                .map(|key| view.get(key).cloned().unwrap_or_default())
                .collect(),
        ),
        Op::Keys => Reply::Keys(view.keys().copied().collect()),
        Op::Flush => {
            touched.extend(view.keys());
            view.clear();
            Reply::Ok
        }
        Op::Exec(ops) => Reply::Array(
            ops.iter()
                .map(|op| apply(view, op, mine, touched))
                .collect(),
        ),
        Op::Watch(_) => unreachable!("WATCH is the owner's"),
    }
}

/// One answer of several owners' (only WATCH has several, unless a fault splits more).
fn join(op: &Op, mut replies: Vec<Reply>) -> Reply {
    if replies.len() == 1 {
        return replies.remove(0);
    }
    if replies.iter().any(|reply| matches!(reply, Reply::Null)) {
        return Reply::Null;
    }
    match op {
        Op::Watch(_) => Reply::Ok,
        Op::Keys => Reply::Keys(
            replies
                .into_iter()
                .flat_map(|reply| match reply {
                    Reply::Keys(keys) => keys,
                    other => unreachable!("{other:?}"),
                })
                .collect(),
        ),
        // Each owner has shown its own keys and nothing for the others.
        Op::Get(keys) => Reply::Lists(
            (0..keys.len())
                .map(|at| {
                    replies
                        .iter()
                        .map(|reply| match reply {
                            Reply::Lists(lists) => lists[at].clone(),
                            other => unreachable!("{other:?}"),
                        })
                        .find(|list| !list.is_empty())
                        .unwrap_or_default()
                })
                .collect(),
        ),
        Op::Exec(ops) => Reply::Array(
            ops.iter()
                .enumerate()
                .map(|(at, op)| {
                    let each = replies.iter().map(|reply| match reply {
                        Reply::Array(answers) => answers[at].clone(),
                        other => unreachable!("{other:?}"),
                    });
                    join(op, each.collect())
                })
                .collect(),
        ),
        Op::Append(..) | Op::Flush => Reply::Ok,
    }
}
