//! The simulated world: nodes, the lanes between them, and clients, all driven by one seed.
//!
//! Fault model: between an ordered pair of nodes packets keep their order; beyond that any
//! packet may be delayed past any number of others, and some lanes of a run are slower by far.
//! Connections end at any moment. Nodes do not fail: they are threads of one process.

use std::collections::{HashMap, VecDeque};

use crate::history::{End, Key, Step, Txn, Value};

/// A command, or a MULTI/EXEC block of commands.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Append(Key, Value),
    Get(Vec<Key>),
    /// Which keys exist: KEYS *.
    Keys,
    /// FLUSHALL; only inside `Exec`.
    Flush,
    Watch(Vec<Key>),
    Exec(Vec<Op>),
}

/// The answer to an `Op`.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Ok,
    Lists(Vec<Vec<Value>>),
    Keys(Vec<Key>),
    /// EXEC found a watched key changed.
    Null,
    Array(Vec<Reply>),
}

/// What a node sends during one call.
pub(crate) struct Output<P> {
    pub(crate) packets: Vec<(u16, P)>,
    /// To clients of this node; the replies of a connection in the order of its requests.
    pub(crate) replies: Vec<(u64, Reply)>,
}

/// One shard, as far as the simulator sees it.
pub(crate) trait Node {
    type Packet;
    fn request(&mut self, connection: u64, op: Op, out: &mut Output<Self::Packet>);
    fn disconnect(&mut self, connection: u64, out: &mut Output<Self::Packet>);
    fn deliver(&mut self, from: u16, packet: Self::Packet, out: &mut Output<Self::Packet>);
    /// Nothing is held, queued or awaited.
    fn is_drained(&self) -> bool;
    /// Asserts its invariants.
    fn verify(&self);
}

/// What one run is like; drawn from its seed, or set by a test.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) nodes: u16,
    pub(crate) keys: u32,
    pub(crate) clients: usize,
    /// How many batches of commands each client sends.
    pub(crate) batches: u32,
    /// All lanes are equally fast.
    pub(crate) even: bool,
    /// How likely a step ends a connection that waits for answers, in 1/1000.
    pub(crate) hangups: u32,
    /// How likely a batch is a MULTI block that flushes, in 1/1000.
    pub(crate) flushes: u32,
}

impl Setting {
    pub(crate) fn draw(rng: &mut fastrand::Rng) -> Self {
        Self {
            nodes: rng.u16(2..=8),
            keys: rng.u32(1..=12),
            clients: rng.usize(2..=12),
            even: rng.u32(..4) == 0,
            batches: rng.u32(3..=12),
            hangups: [0, 0, 5, 30][rng.usize(..4)],
            flushes: [0, 0, 20, 150][rng.usize(..4)],
        }
    }
}

/// How a run went wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// All is delivered and somebody still waits.
    Stuck(String),
    /// Something is held though nobody waits.
    Leaked(u16),
    /// EXEC (its place in the history) answered null though nobody can have touched a watched
    /// key.
    RefusedForNothing(usize),
    /// Packets never cease.
    Endless,
}

/// One request under way, and where its transaction stands in the history.
struct Pending {
    index: usize,
    op: Op,
}

struct Client {
    connection: u64,
    home: u16,
    batches_left: u32,
    pending: VecDeque<Pending>,
    /// Watched keys, when WATCH was sent, and what GET showed since.
    watched: Option<(Vec<Key>, u64, Vec<Step>)>,
}

pub(crate) struct World<N: Node> {
    pub(crate) nodes: Vec<N>,
    lanes: Vec<VecDeque<N::Packet>>,
    slow: Vec<u32>,
    clients: Vec<Client>,
    pub(crate) history: Vec<Txn>,
    /// For an EXEC that was refused: what it watched and since when.
    refused: Vec<(usize, Vec<Key>, u64)>,
    pub(crate) setting: Setting,
    rng: fastrand::Rng,
    now: u64,
    next_connection: u64,
    next_value: Value,
}

impl<N: Node> World<N> {
    pub(crate) fn new(
        seed: u64,
        setting: Option<Setting>,
        mut node: impl FnMut(u16, &Setting) -> N,
    ) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let drawn = Setting::draw(&mut rng);
        let setting = setting.unwrap_or(drawn);
        let count = usize::from(setting.nodes);
        let mut world = Self {
            nodes: (0..setting.nodes).map(|id| node(id, &setting)).collect(),
            lanes: (0..count * count).map(|_| VecDeque::new()).collect(),
            slow: (0..count * count)
                .map(|_| match setting.even {
                    true => 1,
                    false => [1, 1, 2, 30][rng.usize(..4)],
                })
                .collect(),
            clients: Vec::new(),
            history: Vec::new(),
            refused: Vec::new(),
            setting,
            rng,
            now: 0,
            next_connection: 0,
            next_value: 0,
        };
        for _ in 0..world.setting.clients {
            let client = world.connect(world.setting.batches);
            world.clients.push(client);
        }
        world
    }

    /// Runs to the end. The history then ends with a read of every key.
    pub(crate) fn run(&mut self) -> Result<(), Failure> {
        self.drive()?;
        self.setting.hangups = 0;
        let reader = self.connect(0);
        self.clients.push(reader);
        let last = self.clients.len() - 1;
        self.send(last, Op::Get((0..self.setting.keys).collect()));
        self.drive()?;
        for (id, node) in (0..).zip(&self.nodes) {
            if !node.is_drained() {
                return Err(Failure::Leaked(id));
            }
        }
        self.check_refusals()
    }

    fn drive(&mut self) -> Result<(), Failure> {
        for _ in 0..1_000_000 {
            self.now += 1;
            let busy: Vec<usize> = (0..self.lanes.len())
                .filter(|&lane| !self.lanes[lane].is_empty())
                .collect();
            let eager: Vec<usize> = (0..self.clients.len())
                .filter(|&at| self.is_eager(at))
                .collect();
            if busy.is_empty() && eager.is_empty() {
                return self.check_answered();
            }
            let turn = self.rng.usize(..busy.len() + eager.len());
            if let Some(&lane) = busy.get(turn) {
                if self.rng.u32(..self.slow[lane]) == 0 {
                    self.deliver(lane);
                }
            } else {
                self.client_turn(eager[turn - busy.len()]);
            }
            if self.rng.u32(..1000) < self.setting.hangups {
                self.hang_up();
            }
        }
        Err(Failure::Endless)
    }

    fn check_answered(&self) -> Result<(), Failure> {
        for client in &self.clients {
            if let Some(pending) = client.pending.front() {
                return Err(Failure::Stuck(format!(
                    "connection {} waits for {:?}",
                    client.connection, pending.op
                )));
            }
        }
        Ok(())
    }

    /// A null EXEC needs somebody who may have changed a key between its WATCH and its answer.
    fn check_refusals(&self) -> Result<(), Failure> {
        for (index, keys, since) in &self.refused {
            let End::Refused(answered) = self.history[*index].end else {
                unreachable!("it was refused");
            };
            let excused = self.history.iter().enumerate().any(|(other, txn)| {
                other != *index
                    && txn.invoked <= answered
                    && match txn.end {
                        End::Done(at) => at >= *since,
                        End::Unknown => true,
                        End::Refused(_) => false,
                    }
                    && txn.steps.iter().any(|step| match step {
                        Step::Append(key, _) => keys.contains(key),
                        Step::Flush => true,
                        _ => false,
                    })
            });
            if !excused {
                return Err(Failure::RefusedForNothing(*index));
            }
        }
        Ok(())
    }

    fn connect(&mut self, batches_left: u32) -> Client {
        self.next_connection += 1;
        Client {
            connection: self.next_connection,
            home: self.rng.u16(..self.setting.nodes),
            batches_left,
            pending: VecDeque::new(),
            watched: None,
        }
    }

    fn is_eager(&self, at: usize) -> bool {
        let client = &self.clients[at];
        client.pending.is_empty() && (client.batches_left > 0 || client.watched.is_some())
    }

    fn deliver(&mut self, lane: usize) {
        let count = self.nodes.len();
        let (from, to) = (lane / count, lane % count);
        let packet = self.lanes[lane].pop_front().expect("the lane is busy");
        let from = u16::try_from(from).expect("few nodes");
        self.call(to, |node, out| node.deliver(from, packet, out));
    }

    fn call(&mut self, at: usize, f: impl FnOnce(&mut N, &mut Output<N::Packet>)) {
        let mut out = Output {
            packets: Vec::new(),
            replies: Vec::new(),
        };
        f(&mut self.nodes[at], &mut out);
        self.nodes[at].verify();
        for (to, packet) in out.packets {
            assert_ne!(usize::from(to), at, "a node does not mail itself");
            self.lanes[at * self.nodes.len() + usize::from(to)].push_back(packet);
        }
        for (connection, reply) in out.replies {
            self.answered(connection, reply);
        }
    }

    fn client_turn(&mut self, at: usize) {
        if let Some((keys, since, seen)) = self.clients[at].watched.take() {
            if seen.is_empty() {
                self.clients[at].watched = Some((keys.clone(), since, seen));
                return self.send(at, Op::Get(keys));
            }
            self.clients[at].watched = Some((keys, since, seen));
            let block = self.block();
            return self.send(at, block);
        }
        self.clients[at].batches_left -= 1;
        match self.rng.u32(..10) {
            0..3 => {
                let op = self.simple();
                self.send(at, op);
            }
            3..6 => {
                for _ in 0..self.rng.u32(2..=6) {
                    let op = if self.rng.u32(..5) == 0 {
                        self.block()
                    } else {
                        self.simple()
                    };
                    self.send(at, op);
                }
            }
            6..8 => {
                let keys = self.some_keys(3);
                self.send(at, Op::Watch(keys));
            }
            _ => {
                let op = self.block();
                self.send(at, op);
            }
        }
    }

    fn some_keys(&mut self, most: usize) -> Vec<Key> {
        (0..self.rng.usize(1..=most))
            .map(|_| self.rng.u32(..self.setting.keys))
            .collect()
    }

    fn simple(&mut self) -> Op {
        match self.rng.u32(..10) {
            0..5 => self.append(),
            5..7 => Op::Get(self.some_keys(1)),
            7..9 => Op::Get(self.some_keys(6)),
            _ => Op::Keys,
        }
    }

    fn append(&mut self) -> Op {
        let key = self.rng.u32(..self.setting.keys);
        self.append_to(key)
    }

    fn append_to(&mut self, key: Key) -> Op {
        self.next_value += 1;
        Op::Append(key, self.next_value)
    }

    fn block(&mut self) -> Op {
        if self.rng.u32(..1000) < self.setting.flushes {
            let all: Vec<Key> = (0..self.setting.keys).collect();
            let mut ops = vec![Op::Get(all.clone()), Op::Flush];
            ops.extend(all.into_iter().map(|key| self.append_to(key)));
            return Op::Exec(ops);
        }
        let mut ops = Vec::new();
        if self.rng.u32(..12) == 0 {
            ops.push(Op::Keys);
        }
        for _ in 0..self.rng.u32(1..=5) {
            ops.push(match self.rng.u32(..3) {
                0 => Op::Get(self.some_keys(2)),
                _ => self.append(),
            });
        }
        Op::Exec(ops)
    }

    fn send(&mut self, at: usize, op: Op) {
        let (connection, home) = (self.clients[at].connection, self.clients[at].home);
        if let Op::Watch(keys) = &op {
            self.clients[at].watched = Some((keys.clone(), self.now, Vec::new()));
        }
        self.now += 1;
        let index = self.history.len();
        let mut steps = Vec::new();
        steps_of(&op, None, self.setting.keys, &mut steps);
        self.history.push(Txn {
            connection,
            invoked: self.now,
            end: End::Unknown,
            steps,
        });
        let pending = Pending {
            index,
            op: op.clone(),
        };
        self.clients[at].pending.push_back(pending);
        self.call(usize::from(home), |node, out| {
            node.request(connection, op, out);
        });
    }

    fn answered(&mut self, connection: u64, reply: Reply) {
        let client = self.clients.iter_mut().find(|c| c.connection == connection);
        let client = client.expect("nobody answers who has gone");
        let pending = client.pending.pop_front();
        let Pending { index, op } = pending.expect("an answer has its request");
        let txn = &mut self.history[index];
        // The next request may be sent in the same turn and is later all the same.
        self.now += 1;
        if matches!(reply, Reply::Null) {
            let (keys, since, _) = client.watched.take().expect("null needs a watch");
            txn.end = End::Refused(self.now);
            self.refused.push((index, keys, since));
            return;
        }
        txn.end = End::Done(self.now);
        let mut steps = Vec::new();
        if matches!(op, Op::Exec(_))
            && let Some((_, _, seen)) = client.watched.take()
        {
            // The EXEC ran, so nobody came between what GET showed and it.
            steps.extend(seen);
        }
        steps_of(&op, Some(&reply), self.setting.keys, &mut steps);
        if let (Op::Get(_), Some((_, _, seen))) = (&op, &mut client.watched) {
            seen.extend(steps.iter().cloned());
        }
        self.history[index].steps = steps;
    }

    /// Ends a connection that waits for answers. One that flushes is spared: the checker needs
    /// to know what a flush saw.
    fn hang_up(&mut self) {
        let at = self.rng.usize(..self.clients.len());
        let flushes = |pending: &Pending| match &pending.op {
            Op::Exec(ops) => ops.iter().any(|op| matches!(op, Op::Flush)),
            _ => false,
        };
        let client = &self.clients[at];
        if client.pending.iter().any(flushes) {
            return;
        }
        let (connection, home) = (client.connection, usize::from(client.home));
        let fresh = self.connect(client.batches_left);
        self.clients[at] = fresh;
        self.call(home, |node, out| node.disconnect(connection, out));
    }
}

/// The steps of an op with what its reply shows.
fn steps_of(op: &Op, reply: Option<&Reply>, keys: u32, steps: &mut Vec<Step>) {
    match op {
        Op::Append(key, value) => steps.push(Step::Append(*key, *value)),
        Op::Get(names) => {
            for (at, key) in names.iter().enumerate() {
                let list = reply.map(|reply| match reply {
                    Reply::Lists(lists) => lists[at].clone(),
                    other => panic!("GET answered {other:?}"),
                });
                steps.push(Step::Read(*key, list));
            }
        }
        Op::Keys => {
            for key in 0..keys {
                let exists = reply.map(|reply| match reply {
                    Reply::Keys(names) => names.contains(&key),
                    other => panic!("KEYS answered {other:?}"),
                });
                steps.push(Step::Exists(key, exists));
            }
        }
        Op::Flush => steps.push(Step::Flush),
        Op::Watch(_) => {}
        Op::Exec(ops) => {
            let replies: Option<&Vec<Reply>> = reply.map(|reply| match reply {
                Reply::Array(replies) => replies,
                other => panic!("EXEC answered {other:?}"),
            });
            for (at, op) in ops.iter().enumerate() {
                steps_of(op, replies.map(|replies| &replies[at]), keys, steps);
            }
        }
    }
}

/// The most that any transaction was overtaken: by how many that were sent after its request and
/// answered before it.
pub(crate) fn most_overtaken(history: &[Txn]) -> usize {
    let spans = |txn: &Txn| match txn.end {
        End::Done(at) => Some((txn.invoked, at)),
        _ => None,
    };
    let spans: Vec<(u64, u64)> = history.iter().filter_map(spans).collect();
    let overtaken = spans.iter().map(|&(sent, answered)| {
        let by = |&&(s, a): &&(u64, u64)| s > sent && a < answered;
        spans.iter().filter(by).count()
    });
    overtaken.max().unwrap_or(0)
}

/// How many transactions ended how; for the report of a run.
pub(crate) fn tally(history: &[Txn]) -> HashMap<&'static str, usize> {
    let mut tally = HashMap::new();
    for txn in history {
        let end = match txn.end {
            End::Done(_) => "done",
            End::Refused(_) => "refused",
            End::Unknown => "unknown",
        };
        *tally.entry(end).or_default() += 1;
    }
    tally
}
