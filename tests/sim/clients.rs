//! Clients of the simulated server: what they send, what they expect, and the history of it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use ringdove::command::registry::Registry;
use ringdove::keyspace::Slot;

use crate::cluster::{Cluster, Wires};
use crate::linear::Event;
use crate::model::{Answer, Cmd, Key, Op, SetHow, Step, key_name, token};
use crate::wire::{parse, put_command, words};

/// No CLIENT PAUSE is as long.
const LONGEST_PAUSE_MS: u64 = 20;

/// What a run is like; drawn from its seed.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    shards: usize,
    pub(crate) keys: u8,
    pub(crate) databases: u8,
    clients: usize,
    /// How many times each client sends something.
    batches: u32,
    /// How likely a step ends a client's connection, in 1/10000.
    hangups: u32,
    /// How likely a batch has a CLIENT KILL, a CLIENT PAUSE, in 1/1000.
    kills: u32,
    pauses: u32,
    /// How likely a command is about whole databases, in 1/1000.
    globals: u32,
    /// Whether keys expire.
    expiry: bool,
    /// Whether some values are received into memory of their own.
    large: bool,
    /// How likely a step moves a slot, in 1/10000.
    slot_moves: u32,
    /// Whether clients mostly send pipelines of commands on one key, many of which go in volleys.
    volleys: bool,
    /// Ends a connection at this step and at no other.
    pub(crate) hangup_at: Option<u64>,
}

impl Setting {
    fn draw(rng: &mut fastrand::Rng) -> Self {
        Self {
            shards: rng.usize(2..=8),
            keys: rng.u8(1..=8),
            databases: rng.u8(1..=3),
            clients: rng.usize(2..=8),
            batches: rng.u32(2..=8),
            hangups: [0, 0, 5, 20][rng.usize(..4)],
            kills: [0, 0, 50][rng.usize(..3)],
            pauses: [0, 0, 30][rng.usize(..3)],
            globals: [0, 50, 300][rng.usize(..3)],
            expiry: rng.bool(),
            large: rng.u32(..8) == 0,
            slot_moves: 0,
            volleys: false,
            hangup_at: None,
        }
    }

    /// Few clients over few keys, who break off only when they are told to.
    pub(crate) fn small(volleys: bool) -> Self {
        Self {
            shards: 3,
            keys: 4,
            databases: 1,
            clients: 3,
            batches: 2,
            hangups: 0,
            kills: 0,
            pauses: 0,
            globals: 30,
            expiry: false,
            large: false,
            slot_moves: 0,
            volleys,
            hangup_at: None,
        }
    }
}

/// How a run went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// All is delivered and somebody still waits.
    Stuck(String),
    /// Something is left when all clients are gone.
    Leaked(String),
    /// An answer that is wrong whatever the state, or is none.
    Answer { client: usize, got: String },
    /// A connection that nobody ended has ended.
    Dropped(u32),
    /// Batches never cease.
    Endless,
}

/// What a request is answered with.
struct Expected {
    /// Its places in the history: WATCH has one for each key, for it registers key by key.
    events: Range<usize>,
    /// The answer, where there is only one.
    exact: Option<Answer>,
    /// There is none (CLIENT REPLY).
    silent: bool,
}

struct Client {
    connection: u32,
    socket: usize,
    db: u8,
    /// Has sent WATCH and nothing since that ends it.
    watches: bool,
    expected: VecDeque<Expected>,
    batches_left: u32,
    /// Somebody has asked for its end.
    may_end: bool,
}

pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) setting: Setting,
    clients: Vec<Client>,
    /// The one of them that moves slots and does nothing else, if slots move.
    mover: Option<usize>,
    pub(crate) history: Vec<Event>,
    rng: fastrand::Rng,
    pub(crate) step: u64,
    connections: u32,
    values: usize,
}

fn simple(text: &str) -> Answer {
    Answer::Simple(text.into())
}

/// The arguments of a command.
fn args_of(cmd: &Cmd) -> Vec<Vec<u8>> {
    let k = |key: &Key| key_name(*key);
    let list = |name: &str, keys: &[Key]| {
        let mut all = words(name);
        all.extend(keys.iter().map(|key| k(key).into_bytes()));
        all
    };
    let pairs = |name: &str, pairs: &[(Key, Vec<u8>)]| {
        let mut all = words(name);
        for (key, value) in pairs {
            all.push(k(key).into_bytes());
            all.push(value.clone());
        }
        all
    };
    match cmd {
        Cmd::Get(key) => words(&format!("GET {}", k(key))),
        Cmd::Set(key, value, how) => {
            let mut args = words(&format!("SET {}", k(key)));
            args.push(value.clone());
            args.extend(match how {
                SetHow::Plain => Vec::new(),
                SetHow::IfAbsent => words("NX"),
                SetHow::IfPresentGet => words("XX GET"),
                SetHow::ExpireAt(at) => words(&format!("PXAT {at}")),
                SetHow::KeepTtl => words("KEEPTTL"),
            });
            args
        }
        Cmd::Append(key, more) => {
            let mut args = words(&format!("APPEND {}", k(key)));
            args.push(more.clone());
            args
        }
        Cmd::Incr(key) => words(&format!("INCR {}", k(key))),
        Cmd::GetDel(key) => words(&format!("GETDEL {}", k(key))),
        Cmd::StrLen(key) => words(&format!("STRLEN {}", k(key))),
        Cmd::Exists(keys) => list("EXISTS", keys),
        Cmd::Touch(keys) => list("TOUCH", keys),
        Cmd::Del(keys) => list("DEL", keys),
        Cmd::Unlink(keys) => list("UNLINK", keys),
        Cmd::MGet(keys) => list("MGET", keys),
        Cmd::MSet(values) => pairs("MSET", values),
        Cmd::MSetNx(values) => pairs("MSETNX", values),
        Cmd::Rename(a, b) => words(&format!("RENAME {} {}", k(a), k(b))),
        Cmd::RenameNx(a, b) => words(&format!("RENAMENX {} {}", k(a), k(b))),
        Cmd::Copy(a, b, db, replace) => {
            let replace = if *replace { " REPLACE" } else { "" };
            words(&format!("COPY {} {} DB {db}{replace}", k(a), k(b)))
        }
        Cmd::Move(key, db) => words(&format!("MOVE {} {db}", k(key))),
        Cmd::Or(to, a, b) => words(&format!("BITOP OR {} {} {}", k(to), k(a), k(b))),
        Cmd::PExpireAt(key, at) => words(&format!("PEXPIREAT {} {at}", k(key))),
        Cmd::Persist(key) => words(&format!("PERSIST {}", k(key))),
        Cmd::PExpireTime(key) => words(&format!("PEXPIRETIME {}", k(key))),
        Cmd::DbSize => words("DBSIZE"),
        Cmd::Keys => words("KEYS *"),
        Cmd::RandomKey => words("RANDOMKEY"),
        Cmd::Scan => words("SCAN 0 COUNT 100"),
        Cmd::FlushDb => words("FLUSHDB"),
        Cmd::FlushAll => words("FLUSHALL"),
        Cmd::SwapDb(a, b) => words(&format!("SWAPDB {a} {b}")),
        Cmd::Select => unreachable!("its database is not in it"),
    }
}

impl World {
    pub(crate) fn new(seed: u64, setting: Option<Setting>, registry: &Arc<Registry>) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut drawn = Setting::draw(&mut rng);
        // From a source of its own: what else a seed means stays.
        let mut more = fastrand::Rng::with_seed(!seed);
        drawn.slot_moves = if more.u32(..4) == 0 { 100 } else { 0 };
        if more.u32(..16) == 0 {
            // Fewer of them: long pipelines are a lot to explain.
            drawn.volleys = true;
            drawn.clients = drawn.clients.min(4);
            drawn.batches = drawn.batches.min(2);
        }
        let setting = setting.unwrap_or(drawn);
        let slots_move = setting.slot_moves > 0;
        let wires = Wires::draw(setting.shards, &mut rng);
        let databases = u32::from(setting.databases);
        let cluster = Cluster::new(setting.shards, databases, wires, registry, rng.fork());
        let mut world = Self {
            cluster,
            setting,
            clients: Vec::new(),
            mover: None,
            history: Vec::new(),
            rng,
            step: 0,
            connections: 0,
            values: 0,
        };
        for _ in 0..world.setting.clients {
            let client = world.connect(world.setting.batches);
            world.clients.push(client);
        }
        if slots_move {
            world.mover = Some(world.clients.len());
            let mover = world.connect(0);
            world.clients.push(mover);
        }
        world
    }

    /// Runs to the end. The history then ends with a look at every key.
    pub(crate) fn run(&mut self) -> Result<(), Failure> {
        self.drive()?;
        self.setting.hangups = 0;
        let reader = self.connect(0);
        self.clients.push(reader);
        let last = self.clients.len() - 1;
        let mut out = Vec::new();
        for db in 0..self.setting.databases {
            self.select(last, db, &mut out);
            let keys = (0..self.setting.keys).collect();
            self.ask(
                last,
                Op::One(Step {
                    db,
                    cmd: Cmd::MGet(keys),
                }),
                &mut out,
            );
            self.ask(last, Op::One(Step { db, cmd: Cmd::Keys }), &mut out);
        }
        self.cluster.send(self.clients[last].socket, &out);
        self.drive()?;
        for client in 0..self.clients.len() {
            self.cluster.hang_up(self.clients[client].socket);
        }
        self.settle()?;
        self.cluster
            .what_is_left()
            .map_or(Ok(()), |what| Err(Failure::Leaked(what)))
    }

    /// Lets the server do what is left for it to do.
    fn settle(&mut self) -> Result<(), Failure> {
        for _ in 0..LONGEST_PAUSE_MS {
            let mut steps = 0;
            while !self.cluster.is_quiet() {
                self.cluster.step();
                steps += 1;
                if steps > 100_000 {
                    return Err(Failure::Endless);
                }
            }
            // Somebody who has gone may have asked for a CLIENT PAUSE.
            self.cluster.now_ms += 1;
        }
        Ok(())
    }

    fn drive(&mut self) -> Result<(), Failure> {
        let mut quiet = 0;
        for _ in 0..1_000_000 {
            self.step += 1;
            let eager: Vec<usize> = (0..self.clients.len())
                .filter(|c| self.is_eager(*c))
                .collect();
            if self.cluster.is_quiet() && eager.is_empty() {
                let Some(client) = self.clients.iter().find(|c| !c.expected.is_empty()) else {
                    return Ok(());
                };
                // Only the end of a CLIENT PAUSE can be what it waits for.
                quiet += 1;
                if quiet > 100 {
                    let texts = self.cluster.engines.iter().map(|e| e.transactions_text());
                    let texts: String = texts.collect();
                    return Err(Failure::Stuck(format!("{}\n{texts}", client.connection)));
                }
                self.cluster.now_ms += 10;
            } else {
                let turn = self.rng.usize(..eager.len() + 3);
                match eager.get(turn) {
                    Some(client) => self.act(*client),
                    None => self.cluster.step(),
                }
                if self.rng.u32(..100) == 0 {
                    self.cluster.now_ms += self.rng.u64(1..=5);
                }
                let now = self.setting.hangup_at == Some(self.step);
                if now || self.rng.u32(..10_000) < self.setting.hangups {
                    let client = self.rng.usize(..self.clients.len());
                    if self.mover != Some(client) {
                        self.cluster.hang_up(self.clients[client].socket);
                        self.replace(client);
                    }
                }
                let moves = self.setting.slot_moves;
                if moves > 0 && self.rng.u32(..10_000) < moves {
                    self.move_a_slot();
                }
            }
            self.read_answers()?;
        }
        Err(Failure::Endless)
    }

    fn connect(&mut self, batches_left: u32) -> Client {
        self.connections += 1;
        Client {
            connection: self.connections,
            socket: self.cluster.connect(),
            db: 0,
            watches: false,
            expected: VecDeque::new(),
            batches_left,
            may_end: false,
        }
    }

    /// A new connection in a client's place.
    fn replace(&mut self, client: usize) {
        let fresh = self.connect(self.clients[client].batches_left);
        self.clients[client] = fresh;
    }

    fn is_eager(&self, client: usize) -> bool {
        let client = &self.clients[client];
        // Most wait for an answer; every third sends on without.
        let most = if client.connection.is_multiple_of(3) {
            4
        } else {
            1
        };
        client.batches_left > 0 && client.expected.len() < most
    }

    fn now(&self) -> (u64, u64) {
        (self.step, self.cluster.now_ms)
    }

    fn read_answers(&mut self) -> Result<(), Failure> {
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
                if !self.clients[client].may_end {
                    return Err(Failure::Dropped(self.clients[client].connection));
                }
                self.replace(client);
            }
        }
        Ok(())
    }

    fn answered(&mut self, client: usize, answer: Answer) -> Result<(), Failure> {
        let now = self.now();
        while let Some(expected) = self.clients[client].expected.pop_front() {
            for event in &mut self.history[expected.events.clone()] {
                event.answered = Some(now);
            }
            if expected.silent {
                continue;
            }
            if expected
                .exact
                .as_ref()
                .is_some_and(|exact| *exact != answer)
            {
                let got = format!("{answer:?} instead of {:?}", expected.exact);
                return Err(Failure::Answer { client, got });
            }
            for event in &mut self.history[expected.events] {
                event.answer = Some(answer.clone());
            }
            return Ok(());
        }
        let got = format!("{answer:?} to nothing");
        Err(Failure::Answer { client, got })
    }

    /// A client sends something.
    fn act(&mut self, client: usize) {
        self.clients[client].batches_left -= 1;
        let mut out = Vec::new();
        let long = self.rng.u32(..300) == 0;
        let volley = self.setting.volleys && self.rng.u32(..4) > 0;
        let count = match self.rng.u32(..3) {
            _ if long => 150,
            _ if volley => self.rng.usize(4..=9),
            0 => self.rng.usize(2..=6),
            _ => 1,
        };
        for _ in 0..count {
            if long && self.rng.u32(..10) > 0 {
                self.exactly(client, words("PING"), simple("PONG"), &mut out);
            } else if volley && self.rng.u32(..12) > 0 {
                let db = self.clients[client].db;
                let cmd = self.on_one_key();
                self.ask(client, Op::One(Step { db, cmd }), &mut out);
            } else {
                self.request(client, &mut out);
            }
        }
        if self.clients[client]
            .expected
            .back()
            .is_some_and(|e| e.silent)
        {
            self.exactly(client, words("PING"), simple("PONG"), &mut out);
        }
        self.cluster.send(self.clients[client].socket, &out);
    }

    fn request(&mut self, client: usize, out: &mut Vec<u8>) {
        if self.rng.u32(..1000) < self.setting.kills {
            return self.kill(client, out);
        }
        if self.rng.u32(..1000) < self.setting.pauses {
            let which = if self.rng.bool() { "WRITE" } else { "ALL" };
            let pause = words(&format!(
                "CLIENT PAUSE {} {which}",
                self.rng.u64(1..LONGEST_PAUSE_MS)
            ));
            return self.exactly(client, pause, simple("OK"), out);
        }
        let db = self.clients[client].db;
        match self.rng.u32(..100) {
            0..8 => {
                let keys = self.some_keys(3);
                let mut args = words("WATCH");
                args.extend(keys.iter().map(|key| key_name(*key).into_bytes()));
                self.clients[client].watches = true;
                self.ends(client, args, simple("OK"), Op::Watch(db, keys), out);
            }
            8..10 => {
                self.clients[client].watches = false;
                self.ends(client, words("UNWATCH"), simple("OK"), Op::EndWatches, out);
            }
            10..14 => {
                let db = self.rng.u8(..self.setting.databases);
                self.select(client, db, out);
            }
            14..16 => {
                self.clients[client].db = 0;
                self.clients[client].watches = false;
                self.ends(client, words("RESET"), simple("RESET"), Op::EndWatches, out);
            }
            16..18 => self.spoilt_block(client, out),
            18..20 => self.exactly(client, words("PING"), simple("PONG"), out),
            20..23 => {
                put_command(out, &words("CLIENT REPLY SKIP"));
                let cmd = self.cmd(db);
                self.ask(client, Op::One(Step { db, cmd }), out);
                let expected = self.clients[client].expected.back_mut();
                expected.expect("just sent").silent = true;
            }
            23..45 => self.block(client, out),
            _ => {
                let cmd = self.cmd(db);
                self.ask(client, Op::One(Step { db, cmd }), out);
            }
        }
    }

    /// Some key goes to another shard, if no key is on its way.
    fn move_a_slot(&mut self) {
        let Some(mover) = self
            .mover
            .filter(|at| self.clients[*at].expected.is_empty())
        else {
            return;
        };
        let key = self.key();
        let slot = Slot::of(key_name(key).as_bytes());
        let to = self.cluster.another_shard(slot);
        let text = format!("RINGDOVE SLOTS MOVE {} TO {to}", slot.index());
        let mut out = Vec::new();
        put_command(&mut out, &words(&text));
        self.log(mover, Op::MoveSlot(key), None);
        self.cluster.send(self.clients[mover].socket, &out);
    }

    fn select(&mut self, client: usize, db: u8, out: &mut Vec<u8>) {
        self.clients[client].db = db;
        self.exactly(client, words(&format!("SELECT {db}")), simple("OK"), out);
    }

    fn kill(&mut self, client: usize, out: &mut Vec<u8>) {
        let victim = self.rng.usize(..self.clients.len());
        let socket = self.clients[victim].socket;
        let Some(id) = self.cluster.client_id(socket) else {
            return;
        };
        if victim == client || self.mover == Some(victim) {
            return;
        }
        self.clients[victim].may_end = true;
        put_command(out, &words(&format!("CLIENT KILL ID {id}")));
        self.expect(client, 0..0, None);
    }

    /// A block that EXEC refuses, or that is dropped.
    fn spoilt_block(&mut self, client: usize, out: &mut Vec<u8>) {
        let db = self.clients[client].db;
        self.exactly(client, words("MULTI"), simple("OK"), out);
        let cmd = self.cmd(db);
        self.exactly(client, args_of(&cmd), simple("QUEUED"), out);
        self.clients[client].watches = false;
        match self.rng.u32(..3) {
            0 => self.ends(client, words("DISCARD"), simple("OK"), Op::EndWatches, out),
            1 => {
                self.clients[client].db = 0;
                self.ends(client, words("RESET"), simple("RESET"), Op::EndWatches, out);
            }
            _ => {
                let text = "ERR wrong number of arguments for 'get' command";
                self.exactly(client, words("GET"), Answer::Error(text.into()), out);
                let text = "EXECABORT Transaction discarded because of previous errors.";
                let refusal = Answer::Error(text.into());
                self.ends(client, words("EXEC"), refusal, Op::EndWatches, out);
            }
        }
    }

    fn block(&mut self, client: usize, out: &mut Vec<u8>) {
        self.exactly(client, words("MULTI"), simple("OK"), out);
        let mut steps = Vec::new();
        let before = self.clients[client].db;
        for _ in 0..self.rng.usize(..=5) {
            let db = self.clients[client].db;
            // Whether a block runs that watches is not known when the next thing is sent.
            let select = !self.clients[client].watches && self.rng.u32(..15) == 0;
            let (db, cmd, args) = match select {
                true => {
                    let db = self.rng.u8(..self.setting.databases);
                    self.clients[client].db = db;
                    (db, Cmd::Select, words(&format!("SELECT {db}")))
                }
                false => {
                    let cmd = self.cmd(db);
                    let args = args_of(&cmd);
                    (db, cmd, args)
                }
            };
            self.exactly(client, args, simple("QUEUED"), out);
            steps.push(Step { db, cmd });
        }
        assert!(before == self.clients[client].db || !self.clients[client].watches);
        self.clients[client].watches = false;
        put_command(out, &words("EXEC"));
        self.log(client, Op::Block(steps), None);
    }

    /// A command that has only one right answer.
    fn exactly(&mut self, client: usize, args: Vec<Vec<u8>>, answer: Answer, out: &mut Vec<u8>) {
        put_command(out, &args);
        self.expect(client, 0..0, Some(answer));
    }

    /// One that the history knows of, too.
    fn ends(
        &mut self,
        client: usize,
        args: Vec<Vec<u8>>,
        answer: Answer,
        op: Op,
        out: &mut Vec<u8>,
    ) {
        put_command(out, &args);
        self.log(client, op, Some(answer));
    }

    fn ask(&mut self, client: usize, op: Op, out: &mut Vec<u8>) {
        let Op::One(step) = &op else {
            unreachable!("a command by itself")
        };
        put_command(out, &args_of(&step.cmd));
        self.log(client, op, None);
    }

    fn log(&mut self, client: usize, op: Op, exact: Option<Answer>) {
        let first = self.history.len();
        let ops = match op {
            Op::Watch(db, keys) => keys.into_iter().map(|k| Op::Watch(db, vec![k])).collect(),
            op => vec![op],
        };
        for op in ops {
            self.step += 1;
            self.history.push(Event {
                connection: self.clients[client].connection,
                sent: self.now(),
                answered: None,
                answer: None,
                op,
            });
        }
        self.expect(client, first..self.history.len(), exact);
    }

    fn expect(&mut self, client: usize, events: Range<usize>, exact: Option<Answer>) {
        self.clients[client].expected.push_back(Expected {
            events,
            exact,
            silent: false,
        });
    }

    fn key(&mut self) -> Key {
        self.rng.u8(..self.setting.keys)
    }

    fn some_keys(&mut self, most: usize) -> Vec<Key> {
        (0..self.rng.usize(1..=most)).map(|_| self.key()).collect()
    }

    fn value(&mut self) -> Vec<u8> {
        self.values += 1;
        let mut value = token(self.values).to_vec();
        if self.setting.large && self.rng.u32(..8) == 0 {
            value.resize(70_000, b'0');
        }
        value
    }

    fn pairs(&mut self) -> Vec<(Key, Vec<u8>)> {
        let keys = self.some_keys(5);
        keys.into_iter().map(|key| (key, self.value())).collect()
    }

    /// A time at which something is to expire, soon.
    fn soon(&mut self) -> u64 {
        self.cluster.now_ms + self.rng.u64(1..=30)
    }

    fn cmd(&mut self, db: u8) -> Cmd {
        if self.rng.u32(..1000) < self.setting.globals {
            return self.global();
        }
        self.keyed(db)
    }

    fn on_one_key(&mut self) -> Cmd {
        let key = self.key();
        match self.rng.u32(..8) {
            0..4 => Cmd::Set(key, self.value(), SetHow::Plain),
            4 => Cmd::Append(key, self.value()),
            5 => Cmd::Del(vec![key]),
            6 => Cmd::MSet(vec![(key, self.value())]),
            _ => Cmd::Get(key),
        }
    }

    fn keyed(&mut self, db: u8) -> Cmd {
        let key = self.key();
        match self.rng.u32(..44) {
            0..5 => Cmd::Get(key),
            5..9 => {
                let how = match self.rng.u32(..8) {
                    0 => SetHow::IfAbsent,
                    1 => SetHow::IfPresentGet,
                    2 => SetHow::KeepTtl,
                    3..5 if self.setting.expiry => SetHow::ExpireAt(self.soon()),
                    _ => SetHow::Plain,
                };
                Cmd::Set(key, self.value(), how)
            }
            9..12 => Cmd::Append(key, self.value()),
            12 => Cmd::Incr(key),
            13 => Cmd::GetDel(key),
            14 => Cmd::StrLen(key),
            15 => Cmd::Exists(self.some_keys(4)),
            16 => Cmd::Touch(self.some_keys(4)),
            17..19 => Cmd::Del(self.some_keys(3)),
            19 => Cmd::Unlink(self.some_keys(3)),
            20..26 => Cmd::MGet(self.some_keys(6)),
            26..30 => Cmd::MSet(self.pairs()),
            30..32 => Cmd::MSetNx(self.pairs()),
            32..35 => Cmd::Rename(key, self.key()),
            35 => Cmd::RenameNx(key, self.key()),
            36..38 => {
                let (to, to_db) = (self.key(), self.rng.u8(..self.setting.databases));
                match (to, to_db) == (key, db) {
                    true => Cmd::Get(key),
                    false => Cmd::Copy(key, to, to_db, self.rng.bool()),
                }
            }
            38 => match self.rng.u8(..self.setting.databases) {
                same if same == db => Cmd::Get(key),
                to_db => Cmd::Move(key, to_db),
            },
            39..41 => Cmd::Or(key, self.key(), self.key()),
            41 if self.setting.expiry => Cmd::PExpireAt(key, self.soon()),
            42 if self.setting.expiry => Cmd::Persist(key),
            43 if self.setting.expiry => Cmd::PExpireTime(key),
            _ => Cmd::MGet(self.some_keys(3)),
        }
    }

    fn global(&mut self) -> Cmd {
        let databases = self.setting.databases;
        match self.rng.u32(..16) {
            0 => Cmd::FlushAll,
            1..3 => Cmd::FlushDb,
            3..6 => Cmd::SwapDb(self.rng.u8(..databases), self.rng.u8(..databases)),
            6..9 => Cmd::DbSize,
            9..12 => Cmd::Keys,
            12..14 => Cmd::RandomKey,
            _ => Cmd::Scan,
        }
    }
}

/// How many requests ended how, for the report of a run.
pub(crate) fn tally(history: &[Event]) -> [usize; 3] {
    let lost = history.iter().filter(|e| e.answered.is_none()).count();
    let null = |e: &&Event| e.answer == Some(Answer::NullArray);
    let refused = history.iter().filter(null).count();
    [history.len() - lost - refused, refused, lost]
}
