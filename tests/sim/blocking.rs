//! Clients that wait (BLPOP, BLMPOP, BLMOVE, BZPOPMIN and their kin) for keys of several shards, and
//! clients that push, inside MULTI and outside, that move and rename lists, end each other's waits
//! and break off at any step; against the real engines of a [`Cluster`].
//!
//! A run is a number of rounds. In each, clients act while time hardly moves, until nothing is left
//! to be done; then everything is looked at, and time goes on. What must hold:
//!
//! - An element is given to one client at most, and not left in a list besides.
//! - What was pushed is given or left. It may be missing only if a client has gone that had asked
//!   for elements and was not answered, and no more than it had asked for.
//! - A push that was never answered has happened whole or not at all.
//! - When nothing is left to be done, nobody waits for a key that holds something, or beyond its
//!   time (no lost wake-up); and nobody stops waiting before its time unless it was told to.
//! - Of two who wait for a key the one that was seen to wait in an earlier round is served first;
//!   and nobody takes anything from a key at once for which somebody has been seen to wait: what is
//!   pushed is given away before anybody else comes to it.
//! - Nothing goes on for ever: moves that wake moves come to an end.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use ringdove::command::registry::Registry;
use ringdove::keyspace::Slot;

use crate::cluster::{Cluster, Wires};
use crate::model::Answer;
use crate::wire::{parse, put_command, words};

/// More steps than the longest round takes.
const STEPS_MAX: usize = 200_000;
/// More rounds than the longest run takes: a wait is at most [`LONGEST_WAIT_MS`].
const ROUNDS_MAX: u32 = 300;
const LONGEST_WAIT_MS: u64 = 40;

/// What a run is like; drawn from its seed.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    shards: usize,
    /// Keys of each kind.
    keys: u8,
    clients: usize,
    /// How many times each client sends something.
    batches: u32,
    /// How likely a step ends a client's connection, in 1/10000.
    hangups: u32,
    /// How likely a request is a CLIENT UNBLOCK, a CLIENT KILL, in 1/1000.
    unblocks: u32,
    kills: u32,
    /// How likely a request pushes, in percent.
    pushes: u32,
    /// How likely a step moves a key's slot to another shard, in 1/10000.
    slot_moves: u32,
    /// Ends a connection at this step and at no other.
    pub(crate) hangup_at: Option<u64>,
}

impl Setting {
    fn draw(rng: &mut fastrand::Rng) -> Self {
        Self {
            shards: rng.usize(1..=6),
            keys: rng.u8(1..=5),
            clients: rng.usize(2..=10),
            batches: rng.u32(2..=12),
            hangups: [0, 0, 10, 40][rng.usize(..4)],
            unblocks: [0, 60][rng.usize(..2)],
            kills: [0, 0, 40][rng.usize(..3)],
            pushes: [25, 40, 60][rng.usize(..3)],
            slot_moves: 0,
            hangup_at: None,
        }
    }

    /// Few clients that break off only when they are told to.
    pub(crate) fn small() -> Self {
        Self {
            shards: 3,
            keys: 2,
            clients: 4,
            batches: 3,
            hangups: 0,
            unblocks: 0,
            kills: 0,
            pushes: 40,
            slot_moves: 0,
            hangup_at: None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Kind {
    List,
    Sorted,
}

/// A key: its kind and number.
type Key = (Kind, u8);
/// An element's number: each is pushed once.
type Element = usize;

/// What a command on elements is.
#[derive(Clone, Debug)]
enum Cmd {
    Push {
        key: Key,
        front: bool,
        elements: Range<Element>,
    },
    /// Takes up to `most` from the first key that has any.
    Pop {
        kind: Kind,
        keys: Vec<u8>,
        front: bool,
        most: Option<usize>,
        wait: Wait,
    },
    Move {
        from: u8,
        to: u8,
        front: bool,
        wait: Wait,
    },
    /// RENAMENX of lists: it may bring a list to those who wait.
    Rename { from: u8, to: u8 },
}

/// Whether a command waits, and for how many milliseconds; 0: for ever.
type Wait = Option<u64>;

fn name((kind, number): Key) -> String {
    match kind {
        Kind::List => format!("l{number}"),
        Kind::Sorted => format!("z{number}"),
    }
}

fn element_name(element: Element) -> String {
    format!("e{element}")
}

/// Arguments for who reads them.
fn shown(args: &[Vec<u8>]) -> String {
    String::from_utf8_lossy(&args.join(&b' ')).into_owned()
}

/// An answer for who reads it.
fn shown_answer(answer: &Answer) -> String {
    match answer {
        Answer::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Answer::Array(parts) => {
            let parts: Vec<String> = parts.iter().map(shown_answer).collect();
            format!("[{}]", parts.join(" "))
        }
        other => format!("{other:?}"),
    }
}

/// A timeout as commands take it, in seconds.
fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

impl Cmd {
    fn args(&self) -> Vec<Vec<u8>> {
        let side = |front: &bool| if *front { "LEFT" } else { "RIGHT" };
        words(&match self {
            Self::Push {
                key,
                front,
                elements,
            } => {
                let command = match (key.0, front) {
                    (Kind::List, true) => "LPUSH",
                    (Kind::List, false) => "RPUSH",
                    (Kind::Sorted, _) => "ZADD",
                };
                let one = |element: Element| match key.0 {
                    Kind::List => format!(" {}", element_name(element)),
                    Kind::Sorted => format!(" {element} {}", element_name(element)),
                };
                let elements: String = elements.clone().map(one).collect();
                format!("{command} {}{elements}", name(*key))
            }
            Self::Pop {
                kind,
                keys,
                front,
                most,
                wait,
            } => {
                let names: Vec<String> = keys.iter().map(|key| name((*kind, *key))).collect();
                let names = names.join(" ");
                if let (None, Some(ms)) = (most, wait) {
                    let command = match (kind, front) {
                        (Kind::List, true) => "BLPOP",
                        (Kind::List, false) => "BRPOP",
                        (Kind::Sorted, true) => "BZPOPMIN",
                        (Kind::Sorted, false) => "BZPOPMAX",
                    };
                    format!("{command} {names} {}", seconds(*ms))
                } else {
                    let (command, end) = match (kind, front) {
                        (Kind::List, front) => ("LMPOP", side(front)),
                        (Kind::Sorted, true) => ("ZMPOP", "MIN"),
                        (Kind::Sorted, false) => ("ZMPOP", "MAX"),
                    };
                    let begin = match wait {
                        Some(ms) => format!("B{command} {}", seconds(*ms)),
                        None => command.into(),
                    };
                    let (count, most) = (keys.len(), most.unwrap_or(1));
                    format!("{begin} {count} {names} {end} COUNT {most}")
                }
            }
            Self::Move {
                from,
                to,
                front,
                wait,
            } => {
                let (from, to) = (name((Kind::List, *from)), name((Kind::List, *to)));
                match wait {
                    Some(ms) if !front => format!("BRPOPLPUSH {from} {to} {}", seconds(*ms)),
                    Some(ms) => format!("BLMOVE {from} {to} LEFT RIGHT {}", seconds(*ms)),
                    None => format!("LMOVE {from} {to} {} RIGHT", side(front)),
                }
            }
            Self::Rename { from, to } => format!(
                "RENAMENX {} {}",
                name((Kind::List, *from)),
                name((Kind::List, *to))
            ),
        })
    }

    /// The elements that it takes out at most.
    fn takes(&self, kind: Kind) -> usize {
        match self {
            Self::Pop { kind: of, most, .. } if *of == kind => most.unwrap_or(1),
            _ => 0,
        }
    }

    /// How long it waits, if it does.
    fn wait(&self) -> Wait {
        match self {
            Self::Pop { wait, .. } | Self::Move { wait, .. } => *wait,
            _ => None,
        }
    }

    /// The keys that it takes something from.
    fn sources(&self) -> Vec<Key> {
        match self {
            Self::Pop { kind, keys, .. } => keys.iter().map(|key| (*kind, *key)).collect(),
            Self::Move { from, .. } => vec![(Kind::List, *from)],
            _ => Vec::new(),
        }
    }
}

/// One or more commands that happen together.
#[derive(Debug)]
struct Request {
    cmds: Vec<Cmd>,
    /// MULTI ... EXEC, in which nothing waits.
    block: bool,
    sent_ms: u64,
    answered: bool,
    /// If it waits: the round in whose end it was first seen to, and the time then.
    waits_since: Option<(u32, u64)>,
}

/// What a client is to be answered.
#[derive(Clone, Debug)]
enum Expected {
    Exactly(Answer),
    Number,
    /// The request with this index.
    Request(usize),
    /// The content of a key.
    Content(Key),
}

struct Client {
    connection: u32,
    socket: usize,
    expected: VecDeque<Expected>,
    batches_left: u32,
    /// Somebody has sent CLIENT KILL, CLIENT UNBLOCK for it.
    may_end: bool,
    may_stop: bool,
}

pub(crate) struct World {
    cluster: Cluster,
    pub(crate) setting: Setting,
    /// The first looks at the keys between the rounds, and moves slots; nothing else.
    clients: Vec<Client>,
    requests: Vec<Request>,
    /// Who was given an element.
    given: HashMap<Element, u32>,
    /// What the keys held at the end of the last round.
    contents: HashMap<Key, Vec<Element>>,
    /// In this round: a key, a request that was served from it, and since which round it had waited;
    /// this one, if it was not seen to wait.
    served: Vec<(Key, usize, u32)>,
    /// What happened, for who reads a failure.
    pub(crate) story: Vec<String>,
    pub(crate) totals: Totals,
    rng: fastrand::Rng,
    round: u32,
    pub(crate) step: u64,
    connections: u32,
    elements: Element,
}

/// What happened in a run, counted.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Totals {
    pub(crate) requests: usize,
    pub(crate) pushed: usize,
    pub(crate) given: usize,
    pub(crate) moved: usize,
    /// Served after a wait that was seen at the end of a round.
    pub(crate) waited: usize,
    pub(crate) timed_out: usize,
    pub(crate) unblocked: usize,
    pub(crate) lost: usize,
}

impl Totals {
    pub(crate) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.pushed += other.pushed;
        self.given += other.given;
        self.moved += other.moved;
        self.waited += other.waited;
        self.timed_out += other.timed_out;
        self.unblocked += other.unblocked;
        self.lost += other.lost;
    }
}

/// Adds the elements that an answer names, in their order.
fn elements_in(answer: &Answer, all: &mut Vec<Element>) {
    match answer {
        Answer::Bulk(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            all.extend(
                text.strip_prefix('e')
                    .and_then(|n| n.parse::<Element>().ok()),
            );
        }
        Answer::Array(parts) => parts.iter().for_each(|part| elements_in(part, all)),
        _ => {}
    }
}

impl World {
    pub(crate) fn new(seed: u64, setting: Option<Setting>, registry: &Arc<Registry>) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut drawn = Setting::draw(&mut rng);
        // From a source of its own: what else a seed means stays.
        let slots_move = drawn.shards > 1 && fastrand::Rng::with_seed(!seed).u32(..4) == 0;
        drawn.slot_moves = if slots_move { 100 } else { 0 };
        let setting = setting.unwrap_or(drawn);
        let wires = Wires::draw(setting.shards, &mut rng);
        let cluster = Cluster::new(setting.shards, 1, wires, registry, rng.fork());
        let mut world = Self {
            cluster,
            setting,
            clients: Vec::new(),
            requests: Vec::new(),
            given: HashMap::new(),
            contents: HashMap::new(),
            served: Vec::new(),
            story: Vec::new(),
            totals: Totals::default(),
            rng,
            round: 0,
            step: 0,
            connections: 0,
            elements: 0,
        };
        let looker = world.connect(0);
        world.clients.push(looker);
        for _ in 0..world.setting.clients {
            let client = world.connect(world.setting.batches);
            world.clients.push(client);
        }
        world
    }

    /// Runs to the end; what was wrong.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        loop {
            self.round += 1;
            self.act_until_quiet()?;
            self.look()?;
            self.check_waits()?;
            let finite = |r: &Request| r.cmds.iter().any(|cmd| cmd.wait() > Some(0));
            let goes_on = self.clients.iter().any(|client| {
                let waits = self
                    .waits(client)
                    .is_some_and(|id| finite(&self.requests[id]));
                waits || (client.batches_left > 0 && client.expected.is_empty())
            });
            if !goes_on {
                break;
            }
            if self.round > ROUNDS_MAX {
                return Err("waits never end".into());
            }
            self.cluster.now_ms += self.rng.u64(1..=LONGEST_WAIT_MS / 2);
        }
        self.check_elements()?;
        for client in 0..self.clients.len() {
            self.cluster.hang_up(self.clients[client].socket);
        }
        self.settle()?;
        self.cluster.what_is_left().map_or(Ok(()), Err)
    }

    /// Lets the server do what is left for it to do.
    fn settle(&mut self) -> Result<(), String> {
        let mut steps = 0;
        while !self.cluster.is_quiet() {
            self.cluster.step();
            steps += 1;
            if steps > STEPS_MAX {
                return Err("the server never comes to rest".into());
            }
        }
        Ok(())
    }

    fn act_until_quiet(&mut self) -> Result<(), String> {
        for _ in 0..STEPS_MAX {
            self.step += 1;
            let eager: Vec<usize> = (0..self.clients.len())
                .filter(|client| self.is_eager(*client))
                .collect();
            if eager.is_empty() && self.cluster.is_quiet() {
                return Ok(());
            }
            match eager.get(self.rng.usize(..eager.len() + 4)) {
                Some(client) => self.act(*client),
                None => self.cluster.step(),
            }
            let now = self.setting.hangup_at == Some(self.step);
            if now || self.rng.u32(..10_000) < self.setting.hangups {
                let client = self.rng.usize(1..self.clients.len());
                let connection = self.clients[client].connection;
                self.story.push(format!("c{connection} goes"));
                self.cluster.hang_up(self.clients[client].socket);
                self.replace(client);
            }
            let moves = self.setting.slot_moves;
            if moves > 0 && self.rng.u32(..10_000) < moves {
                self.move_a_slot();
            }
            self.read_answers()?;
        }
        Err("a round never ends".into())
    }

    /// Some key goes to another shard, if no key is on its way.
    fn move_a_slot(&mut self) {
        if !self.clients[0].expected.is_empty() {
            return;
        }
        let kind = [Kind::List, Kind::Sorted][self.rng.usize(..2)];
        let key = name((kind, self.key()));
        let slot = Slot::of(key.as_bytes());
        let to = self.cluster.another_shard(slot);
        let text = format!("RINGDOVE SLOTS MOVE {} TO {to}", slot.index());
        self.story.push(format!("{key} moves to shard {to}"));
        let mut out = Vec::new();
        put_command(&mut out, &words(&text));
        self.clients[0].expected.push_back(Expected::Number);
        self.cluster.send(self.clients[0].socket, &out);
    }

    fn connect(&mut self, batches_left: u32) -> Client {
        self.connections += 1;
        Client {
            connection: self.connections,
            socket: self.cluster.connect(),
            expected: VecDeque::new(),
            batches_left,
            may_end: false,
            may_stop: false,
        }
    }

    /// A new connection in a client's place.
    fn replace(&mut self, client: usize) {
        let fresh = self.connect(self.clients[client].batches_left);
        self.clients[client] = fresh;
    }

    /// Most wait for an answer; every third sends on without.
    fn is_eager(&self, client: usize) -> bool {
        let client = &self.clients[client];
        let most = if client.connection.is_multiple_of(3) {
            4
        } else {
            1
        };
        client.batches_left > 0 && client.expected.len() < most
    }

    /// The request that a client waits for, if it is one that waits.
    fn waits(&self, client: &Client) -> Option<usize> {
        match client.expected.front() {
            Some(Expected::Request(id)) => {
                let request = &self.requests[*id];
                (!request.block && request.cmds[0].wait().is_some()).then_some(*id)
            }
            _ => None,
        }
    }

    fn act(&mut self, client: usize) {
        self.clients[client].batches_left -= 1;
        let count = match self.rng.u32(..3) {
            0 => self.rng.usize(2..=4),
            _ => 1,
        };
        let mut out = Vec::new();
        for _ in 0..count {
            self.request(client, &mut out);
        }
        self.cluster.send(self.clients[client].socket, &out);
    }

    fn request(&mut self, client: usize, out: &mut Vec<u8>) {
        let chance = self.rng.u32(..1000);
        if chance < self.setting.unblocks {
            return self.reach_other(client, false, out);
        }
        if chance < self.setting.unblocks + self.setting.kills {
            return self.reach_other(client, true, out);
        }
        let block = self.rng.u32(..5) == 0;
        let count = if block { self.rng.usize(0..=4) } else { 1 };
        let cmds: Vec<Cmd> = (0..count).map(|_| self.cmd()).collect();
        let mut expect = |expected| self.clients[client].expected.push_back(expected);
        if block {
            put_command(out, &words("MULTI"));
            expect(Expected::Exactly(Answer::Simple("OK".into())));
        }
        for cmd in &cmds {
            put_command(out, &cmd.args());
            if block {
                expect(Expected::Exactly(Answer::Simple("QUEUED".into())));
            }
        }
        if block {
            put_command(out, &words("EXEC"));
        }
        let id = self.requests.len();
        expect(Expected::Request(id));
        let connection = self.clients[client].connection;
        let all: Vec<String> = cmds.iter().map(|cmd| shown(&cmd.args())).collect();
        let text = match block {
            true => format!("MULTI; {}; EXEC", all.join("; ")),
            false => all.join(""),
        };
        self.story.push(format!("c{connection} sends {id}: {text}"));
        self.requests.push(Request {
            cmds,
            block,
            sent_ms: self.cluster.now_ms,
            answered: false,
            waits_since: None,
        });
    }

    /// CLIENT UNBLOCK or CLIENT KILL of another.
    fn reach_other(&mut self, client: usize, kill: bool, out: &mut Vec<u8>) {
        let victim = self.rng.usize(1..self.clients.len());
        let id = self.cluster.client_id(self.clients[victim].socket);
        let Some(id) = id.filter(|_| victim != client) else {
            return;
        };
        let (connection, other) = (
            self.clients[client].connection,
            self.clients[victim].connection,
        );
        let text = if kill {
            self.clients[victim].may_end = true;
            format!("CLIENT KILL ID {id}")
        } else {
            self.clients[victim].may_stop = true;
            let how = if self.rng.bool() { "TIMEOUT" } else { "ERROR" };
            format!("CLIENT UNBLOCK {id} {how}")
        };
        self.story
            .push(format!("c{connection} sends {text} for c{other}"));
        put_command(out, &words(&text));
        self.clients[client].expected.push_back(Expected::Number);
    }

    fn key(&mut self) -> u8 {
        self.rng.u8(..self.setting.keys)
    }

    fn wait(&mut self) -> Wait {
        match self.rng.u32(..6) {
            0 => None,
            1 => Some(0),
            _ => Some(self.rng.u64(1..=LONGEST_WAIT_MS)),
        }
    }

    fn cmd(&mut self) -> Cmd {
        let kind = if self.rng.u32(..3) == 0 {
            Kind::Sorted
        } else {
            Kind::List
        };
        if self.rng.u32(..100) < self.setting.pushes {
            let first = self.elements;
            self.elements += self.rng.usize(1..=3);
            return Cmd::Push {
                key: (kind, self.key()),
                front: self.rng.bool(),
                elements: first..self.elements,
            };
        }
        match self.rng.u32(..10) {
            0..7 => {
                let count = self.rng.usize(1..=3);
                Cmd::Pop {
                    kind,
                    keys: (0..count).map(|_| self.key()).collect(),
                    front: self.rng.bool(),
                    most: self.rng.bool().then(|| self.rng.usize(1..=3)),
                    wait: self.wait(),
                }
            }
            7..9 => Cmd::Move {
                from: self.key(),
                to: self.key(),
                front: self.rng.bool(),
                wait: self.wait(),
            },
            _ => Cmd::Rename {
                from: self.key(),
                to: self.key(),
            },
        }
    }

    fn read_answers(&mut self) -> Result<(), String> {
        for client in 0..self.clients.len() {
            let socket = self.clients[client].socket;
            let received = std::mem::take(&mut self.cluster.sockets[socket].received);
            let mut rest = &received[..];
            while let Some((answer, length)) = parse(rest) {
                rest = &rest[length..];
                self.answered(client, answer)?;
            }
            self.cluster.sockets[socket].received = rest.to_vec();
            if self.cluster.is_ended(socket) {
                let Client {
                    connection,
                    may_end,
                    ..
                } = self.clients[client];
                if !may_end {
                    return Err(format!("c{connection} was dropped"));
                }
                self.story.push(format!("c{connection} is killed"));
                self.replace(client);
            }
        }
        Ok(())
    }

    fn answered(&mut self, client: usize, answer: Answer) -> Result<(), String> {
        let connection = self.clients[client].connection;
        let expected = self.clients[client].expected.pop_front();
        match &expected {
            Some(Expected::Exactly(exactly)) if *exactly == answer => Ok(()),
            Some(Expected::Number) if matches!(answer, Answer::Number(_)) => Ok(()),
            Some(Expected::Content(key)) => {
                let mut elements = Vec::new();
                elements_in(&answer, &mut elements);
                self.contents.insert(*key, elements);
                Ok(())
            }
            Some(Expected::Request(id)) => {
                let text = shown_answer(&answer);
                self.story
                    .push(format!("c{connection} is answered {id}: {text}"));
                self.requests[*id].answered = true;
                self.check_answer(client, *id, &answer)
                    .map_err(|what| format!("request {id} of c{connection}: {what}"))
            }
            _ => Err(format!("c{connection}: {answer:?} to {expected:?}")),
        }
    }

    /// Takes up what a request was answered.
    fn check_answer(&mut self, client: usize, id: usize, answer: &Answer) -> Result<(), String> {
        let cmds = self.requests[id].cmds.clone();
        if !self.requests[id].block {
            return self.check_one(client, id, &cmds[0], answer);
        }
        match answer {
            Answer::Array(answers) if answers.len() == cmds.len() => {
                let mut pairs = cmds.iter().zip(answers);
                pairs.try_for_each(|(cmd, answer)| self.check_one(client, id, cmd, answer))
            }
            other => Err(format!("EXEC answered {other:?}")),
        }
    }

    fn check_one(
        &mut self,
        client: usize,
        id: usize,
        cmd: &Cmd,
        answer: &Answer,
    ) -> Result<(), String> {
        let wrong = || Err(format!("{answer:?} to {cmd:?}"));
        let mut elements = Vec::new();
        elements_in(answer, &mut elements);
        match cmd {
            Cmd::Push { .. } => match answer {
                Answer::Number(1..) => Ok(()),
                _ => wrong(),
            },
            Cmd::Rename { .. } => match answer {
                Answer::Number(0 | 1) => Ok(()),
                Answer::Error(text) if text == "ERR no such key" => Ok(()),
                _ => wrong(),
            },
            Cmd::Pop { .. } | Cmd::Move { .. } if elements.is_empty() => match answer {
                Answer::Null | Answer::NullArray => self.stopped(client, id, cmd, answer),
                Answer::Error(text) if text.starts_with("UNBLOCKED") => {
                    self.stopped(client, id, cmd, answer)
                }
                _ => wrong(),
            },
            Cmd::Pop { kind, most, .. } => {
                let Answer::Array(parts) = answer else {
                    return wrong();
                };
                let key = cmd
                    .sources()
                    .into_iter()
                    .find(|key| parts.first() == Some(&Answer::Bulk(name(*key).into_bytes())));
                let Some(key) = key.filter(|_| elements.len() <= most.unwrap_or(1)) else {
                    return wrong();
                };
                self.was_served(id, key);
                for element in elements {
                    self.gave(client, element, *kind)?;
                }
                Ok(())
            }
            Cmd::Move { from, .. } => {
                self.was_served(id, (Kind::List, *from));
                self.totals.moved += 1;
                match elements[..] {
                    [element] if element < self.elements => Ok(()),
                    _ => wrong(),
                }
            }
        }
    }

    fn gave(&mut self, client: usize, element: Element, kind: Kind) -> Result<(), String> {
        let connection = self.clients[client].connection;
        if self.pushed_as(element) != Some(kind) {
            return Err(format!("e{element} was never pushed there"));
        }
        if let Some(other) = self.given.insert(element, connection) {
            return Err(format!("e{element} was given to c{other} before"));
        }
        Ok(())
    }

    /// What kind of key an element was sent to.
    fn pushed_as(&self, element: Element) -> Option<Kind> {
        let mut cmds = self.requests.iter().flat_map(|request| &request.cmds);
        cmds.find_map(|cmd| match cmd {
            Cmd::Push { key, elements, .. } if elements.contains(&element) => Some(key.0),
            _ => None,
        })
    }

    fn was_served(&mut self, id: usize, key: Key) {
        if self.requests[id].block {
            return; // it may take what it has pushed itself
        }
        let since = match self.requests[id].waits_since {
            Some((since, _)) => {
                self.totals.waited += 1;
                since
            }
            None => self.round,
        };
        self.served.push((key, id, since));
    }

    /// A command has found nothing, or its wait has ended.
    fn stopped(
        &mut self,
        client: usize,
        id: usize,
        cmd: &Cmd,
        answer: &Answer,
    ) -> Result<(), String> {
        let request = &self.requests[id];
        let Some(ms) = cmd.wait().filter(|_| !request.block) else {
            return Ok(());
        };
        let in_time = ms > 0 && self.cluster.now_ms >= request.sent_ms + ms;
        let told = self.clients[client].may_stop;
        if matches!(answer, Answer::Error(_)) || !in_time {
            self.totals.unblocked += 1;
            return match told {
                true => Ok(()),
                false => Err("it stops waiting too early".into()),
            };
        }
        self.totals.timed_out += 1;
        Ok(())
    }

    /// Reads every key.
    fn look(&mut self) -> Result<(), String> {
        let mut out = Vec::new();
        for key in 0..self.setting.keys {
            for (command, kind) in [("LRANGE", Kind::List), ("ZRANGE", Kind::Sorted)] {
                let key = (kind, key);
                put_command(&mut out, &words(&format!("{command} {} 0 -1", name(key))));
                self.clients[0].expected.push_back(Expected::Content(key));
            }
        }
        self.cluster.send(self.clients[0].socket, &out);
        self.settle()?;
        self.read_answers()?;
        match self.clients[0].expected.is_empty() {
            true => Ok(()),
            false => Err("who looks is not answered".into()),
        }
    }

    /// At rest: who waits has nothing to take, is in its time, and was not passed over.
    fn check_waits(&mut self) -> Result<(), String> {
        let (now_ms, round) = (self.cluster.now_ms, self.round);
        for client in &self.clients {
            let connection = client.connection;
            let Some(id) = self.waits(client) else {
                match client.expected.front() {
                    None => continue,
                    Some(what) => return Err(format!("c{connection} is not answered: {what:?}")),
                }
            };
            let cmd = &self.requests[id].cmds[0];
            let sources = cmd.sources();
            if let Some(key) = sources.iter().find(|key| !self.contents[key].is_empty()) {
                return Err(format!("c{connection} waits for {}", name(*key)));
            }
            let wait = cmd.wait().expect("it waits");
            let (since, since_ms) = *self.requests[id].waits_since.get_or_insert((round, now_ms));
            if wait > 0 && now_ms >= since_ms + wait {
                return Err(format!("c{connection} waits beyond its time"));
            }
            let later = |(key, _, of): &&(Key, usize, u32)| *of > since && sources.contains(key);
            if let Some((key, other, _)) = self.served.iter().find(later) {
                let key = name(*key);
                return Err(format!("{other} was served from {key} before {id}"));
            }
        }
        self.served.clear();
        let waiting: Vec<usize> = self.clients.iter().filter_map(|c| self.waits(c)).collect();
        let text = format!("round {round} ends at {now_ms} ms; {waiting:?} wait");
        self.story.push(text);
        Ok(())
    }

    /// At the end: every element is where it must be.
    fn check_elements(&mut self) -> Result<(), String> {
        let mut left: HashMap<Element, Key> = HashMap::new();
        for (key, elements) in &self.contents {
            for element in elements {
                if self.pushed_as(*element) != Some(key.0) {
                    return Err(format!("e{element} was never pushed to {}", name(*key)));
                }
                let twice = left.insert(*element, *key).is_some();
                if twice || self.given.contains_key(element) {
                    return Err(format!("e{element} is left in {} besides", name(*key)));
                }
            }
        }
        let is_there =
            |element: &Element| self.given.contains_key(element) || left.contains_key(element);
        for kind in [Kind::List, Kind::Sorted] {
            let mut missing = Vec::new();
            let mut may_miss = 0;
            for request in &self.requests {
                let pushed = request.cmds.iter().filter_map(|cmd| match cmd {
                    Cmd::Push { key, elements, .. } if key.0 == kind => Some(elements.clone()),
                    _ => None,
                });
                let pushed: Vec<Element> = pushed.flatten().collect();
                let of_other_kind = request.cmds.iter().filter_map(|cmd| match cmd {
                    Cmd::Push { key, elements, .. } if key.0 != kind => Some(elements.clone()),
                    _ => None,
                });
                let happened = request.answered
                    || pushed.iter().any(is_there)
                    || of_other_kind.flatten().any(|element| is_there(&element));
                if happened {
                    missing.extend(pushed.into_iter().filter(|element| !is_there(element)));
                }
                if !request.answered {
                    may_miss += request.cmds.iter().map(|c| c.takes(kind)).sum::<usize>();
                }
            }
            self.totals.lost += missing.len();
            if missing.len() > may_miss {
                return Err(format!("lost: {missing:?}, of which {may_miss} may be"));
            }
        }
        self.totals.requests = self.requests.len();
        self.totals.pushed = left.len() + self.given.len() + self.totals.lost;
        self.totals.given = self.given.len();
        Ok(())
    }
}
