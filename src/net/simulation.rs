//! Several shards with their connections in one thread: bytes from clients and batches between
//! shards arrive in an order that a seed decides, clients go away in the middle, and slots move from
//! shard to shard under all that.

mod cases;
mod redirected;
mod telling;
mod watcher;

use std::collections::VecDeque;
use std::sync::Arc;

use super::engine::Engine;
use super::migration::Departure;
use super::session::{ConnId, Peer, flag};
use crate::command::FAMILIES;
use crate::command::registry::Registry;
use crate::keyspace::{SLOTS, Slot};
use crate::mesh::ShardId;
use crate::resp::number::parse_i64;
use crate::server::config::Config;
use crate::shard::node::Node;
use crate::shard::{Shard, Ticks};

const SHARDS: usize = 3;
/// Keys that clients share, and keys of each client.
const KEYS: usize = 6;

/// What a client waits for, in order.
#[derive(Clone, Copy)]
enum Asked {
    /// INCR of a counter.
    Incr(usize),
    /// GET of a counter.
    Get(usize),
    /// SET of a key of its own.
    Set,
    /// GET of key `.1` of client `.0`, asked for alone.
    Look(usize, usize),
}

struct Client {
    home: usize,
    conn: Option<ConnId>,
    received: Vec<u8>,
    asked: VecDeque<Asked>,
    /// The last value that it saw of each counter.
    counters: [i64; KEYS],
    /// Pipelines sent.
    round: i64,
    /// Its id, by which it is found when it has moved.
    id: u64,
    /// What it has sent and the server has not read.
    socket: Vec<u8>,
    /// Whether it is on its way from one shard to another.
    away: bool,
    /// While it looks at another's keys, from the last to the first: the value of the last one.
    least: i64,
}

struct World {
    engines: Vec<Engine>,
    /// Batches from one shard to another.
    lanes: Vec<Vec<VecDeque<Vec<u8>>>>,
    clients: Vec<Client>,
    rng: fastrand::Rng,
    increments: i64,
    /// The connection that moves slots, if any do, and whether it waits for an answer.
    mover: Option<(usize, ConnId)>,
    moving: bool,
    moves: usize,
    /// Stands before the names of keys: a hash tag puts all of them into one slot.
    tag: &'static str,
    /// Lists and kills the others' connections.
    watcher: Option<watcher::Watcher>,
}

impl World {
    fn new(seed: u64, clients: usize) -> Self {
        let config = Config {
            shards: SHARDS as u32,
            ..Config::default()
        };
        let node = Node::new(config, [1, 2], String::new(), 0, vec![0; SHARDS], |_| {});
        let (node, registry) = (Arc::new(node), Arc::new(Registry::new(FAMILIES)));
        let ticks = Ticks {
            read: || 0,
            per_us: 1,
        };
        let engine = |id| {
            let id = ShardId(id as u16);
            let mut shard = Shard::new(id, node.clone(), registry.clone(), ticks, None);
            shard.now_ms = 1_000_000;
            Engine::new(shard)
        };
        let mut world = Self {
            engines: (0..SHARDS).map(engine).collect(),
            lanes: (0..SHARDS)
                .map(|_| (0..SHARDS).map(|_| VecDeque::new()).collect())
                .collect(),
            clients: Vec::new(),
            rng: fastrand::Rng::with_seed(seed),
            increments: 0,
            mover: None,
            moving: false,
            moves: 0,
            tag: "",
            watcher: None,
        };
        for _ in 0..clients {
            let home = node.place_connection().index();
            let conn = world.engines[home].connect(Peer::Unix("/s".into()), 3);
            world.clients.push(Client {
                home,
                conn: Some(conn),
                received: Vec::new(),
                asked: VecDeque::new(),
                counters: [0; KEYS],
                round: 0,
                id: world.engines[home].session(conn).id,
                socket: Vec::new(),
                away: false,
                least: 0,
            });
        }
        world
    }

    /// From now on slots move.
    fn let_slots_move(&mut self) {
        let home = self.rng.usize(..SHARDS);
        let conn = self.engines[home].connect(Peer::Unix("/mover".into()), 3);
        self.mover = Some((home, conn));
    }

    /// From now on all keys are of one slot, which moves a key at a time.
    fn let_one_slot_move_in_slices(&mut self) {
        self.tag = "{one}";
        self.let_slots_move();
        for engine in &mut self.engines {
            engine.moves.step_keys = 1;
        }
    }

    /// From now on connections go where their keys are: to the one shard that has them all just then.
    fn let_connections_follow(&mut self) {
        self.let_one_slot_move_in_slices();
        self.let_somebody_watch();
        for engine in &mut self.engines {
            Arc::make_mut(&mut engine.shard.config).connection_migration = true;
            engine.migration.window = 4;
        }
    }

    /// Moves the slot of some key, and perhaps its neighbours.
    fn move_some_slots(&mut self) {
        let Some((home, conn)) = self.mover.filter(|_| !self.moving) else {
            return;
        };
        let tag = self.tag;
        let key = match self.rng.bool() {
            true => format!("{tag}counter:{}", self.rng.usize(..KEYS)),
            false => {
                let whom = self.rng.usize(..self.clients.len());
                format!("{tag}own:{whom}:{}", self.rng.usize(..KEYS))
            }
        };
        let first = Slot::of(key.as_bytes()).index();
        let last = (first + self.rng.usize(..40)).min(SLOTS - 1);
        let to = self.rng.usize(..SHARDS);
        let text = format!("RINGDOVE SLOTS MOVE {first}-{last} TO {to}\r\n");
        self.moving = true;
        self.moves += 1;
        self.engines[home].receive(conn, text.as_bytes());
        self.end_turn(home);
    }

    /// The rest of a shard's turn.
    fn end_turn(&mut self, at: usize) {
        let engine = &mut self.engines[at];
        engine.run_batch();
        engine.resume();
        for peer in 0..SHARDS {
            let batch = std::mem::take(&mut engine.outgoing[peer].buf);
            if !batch.is_empty() {
                self.lanes[at][peer].push_back(batch);
            }
        }
        engine.room_again();
        engine.let_hear();
        for conn in std::mem::take(&mut engine.dirty) {
            let sent = std::mem::take(&mut engine.session(conn).out.buf);
            if self.mover == Some((at, conn)) && !sent.is_empty() {
                assert_eq!(sent[0], b':', "{}", String::from_utf8_lossy(&sent));
                self.moving = false;
            }
            if let Some(watcher) = self.watcher.as_mut().filter(|w| w.is_at(at, conn)) {
                watcher.received.extend_from_slice(&sent);
            }
            let closing = engine.session(conn).is(flag::CLOSING);
            let mut clients = self.clients.iter_mut();
            let client = clients.find(|c| c.home == at && c.conn == Some(conn));
            let Some(client) = client else {
                engine.clean(conn);
                continue;
            };
            client.received.extend_from_slice(&sent);
            engine.clean(conn);
            if closing {
                // Somebody has killed it.
                client.conn = None;
                client.asked.clear();
                client.socket.clear();
                engine.disconnected(conn);
            }
        }
        self.let_leave(at);
    }

    /// Connections that are to leave a shard do so, as in the reactor.
    fn let_leave(&mut self, at: usize) {
        let engine = &mut self.engines[at];
        for client in self.clients.iter_mut().filter(|c| c.home == at && !c.away) {
            let Some(conn) = client.conn else { continue };
            let leaving = engine.session(conn).is(flag::LEAVING);
            if leaving && engine.departure(conn) == Departure::Ready {
                client.away = engine.leave(conn);
            }
        }
        for (from, traveller) in std::mem::take(&mut engine.migration.arrived) {
            let id = traveller.id();
            let conn = engine.settle_in(from, *traveller);
            let mut clients = self.clients.iter_mut();
            let client = clients.find(|c| c.id == id).expect("a client");
            assert!(client.away, "it was nowhere");
            (client.home, client.conn, client.away) = (at, Some(conn), false);
        }
    }

    /// The server reads what a client has sent.
    fn read_socket(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let (home, Some(conn), false) = (client.home, client.conn, client.away) else {
            return;
        };
        if self.engines[home].session(conn).is(flag::LEAVING) {
            return;
        }
        let bytes = std::mem::take(&mut client.socket);
        if bytes.is_empty() {
            return;
        }
        self.engines[home].receive(conn, &bytes);
        self.engines[home].run_batch();
    }

    /// Delivers a batch from one shard to another, if there is one.
    fn deliver(&mut self, from: usize, to: usize) {
        if let Some(batch) = self.lanes[from][to].pop_front() {
            self.engines[to].deliver(ShardId(from as u16), &batch);
            self.end_turn(to);
        }
    }

    /// One thing happens. Whether there was anything to do.
    fn step(&mut self, may_send: bool) -> bool {
        let (a, b) = (self.rng.usize(..SHARDS), self.rng.usize(..SHARDS));
        self.deliver(a, b);
        let at = self.rng.usize(..self.clients.len());
        self.read_replies(at);
        self.read_socket(at);
        if may_send && self.clients[at].conn.is_some() {
            self.send(at);
        }
        if self.engines[0].shard.config.connection_migration {
            // They rest after a move, and longer after each.
            self.set_clocks(self.engines[0].shard.now_ms + 200);
        }
        if may_send && self.rng.u8(..) < 40 {
            self.move_some_slots();
        }
        self.watch(may_send);
        let turns = self.rng.usize(..SHARDS);
        self.end_turn(turns);
        let waiting = self
            .clients
            .iter()
            .any(|c| c.conn.is_some() && !c.asked.is_empty());
        let watching = self.watcher.as_ref().is_some_and(watcher::Watcher::waits);
        waiting
            || watching
            || self.moving
            || self.lanes.iter().flatten().any(|lane| !lane.is_empty())
    }

    /// A client sends a pipeline, often before the one before it is answered, and may go.
    fn send(&mut self, at: usize) {
        let tag = self.tag;
        let others = self.clients.len();
        let client = &mut self.clients[at];
        let mut text = String::new();
        if self.rng.u8(..) < 60 {
            if !client.asked.is_empty() {
                return;
            }
            // Another's keys, each when the one before it is known.
            client.least = 0;
            let whom = self.rng.usize(..others);
            client.asked.push_back(Asked::Look(whom, KEYS - 1));
            text = format!("GET {tag}own:{whom}:{}\r\n", KEYS - 1);
        } else {
            client.round += 1;
            for own in 0..KEYS {
                for _ in 0..self.rng.usize(..3) {
                    let counter = self.rng.usize(..KEYS);
                    if self.rng.bool() {
                        text += &format!("INCR {tag}counter:{counter}\r\n");
                        client.asked.push_back(Asked::Incr(counter));
                        self.increments += 1;
                    } else {
                        text += &format!("GET {tag}counter:{counter}\r\n");
                        client.asked.push_back(Asked::Get(counter));
                    }
                }
                text += &format!("SET {tag}own:{at}:{own} {}\r\n", client.round);
                client.asked.push_back(Asked::Set);
            }
        }
        let bytes = text.into_bytes();
        let cut = self.rng.usize(..=bytes.len());
        for piece in [&bytes[..cut], &bytes[cut..]] {
            self.clients[at].socket.extend_from_slice(piece);
            self.read_socket(at);
        }
        let home = self.clients[at].home;
        self.end_turn(home);
        let Some(conn) = self.clients[at].conn else {
            return; // somebody has killed it
        };
        let stays = at == 0 || self.clients[at].away || self.is_condemned(at);
        if self.rng.u8(..) < 4 && !stays {
            self.clients[at].conn = None;
            self.clients[at].asked.clear();
            self.clients[at].socket.clear();
            self.engines[home].disconnected(conn);
            self.end_turn(home);
        }
    }

    fn read_replies(&mut self, at: usize) {
        let tag = self.tag;
        let client = &mut self.clients[at];
        while let Some((number, length)) = reply(&client.received) {
            client.received.drain(..length);
            if client.conn.is_none() {
                continue;
            }
            match client.asked.pop_front().expect("it was asked for") {
                Asked::Incr(counter) => {
                    assert!(number > client.counters[counter], "INCR gives a new number");
                    client.counters[counter] = number;
                }
                Asked::Get(counter) => {
                    assert!(number >= client.counters[counter], "its own INCR is seen");
                    client.counters[counter] = number;
                }
                Asked::Set => assert_eq!(number, 0),
                Asked::Look(whom, key) => {
                    assert!(number >= client.least, "key {key} of {whom}: {number}");
                    client.least = number;
                    if key == 0 {
                        continue;
                    }
                    let text = format!("GET {tag}own:{whom}:{}\r\n", key - 1);
                    client.asked.push_back(Asked::Look(whom, key - 1));
                    client.socket.extend_from_slice(text.as_bytes());
                    self.read_socket(at);
                    return;
                }
            }
        }
    }

    /// Asks for a key when nothing else is under way.
    fn value(&mut self, key: &str) -> i64 {
        let text = format!("GET {key}\r\n");
        self.clients[0].socket.extend_from_slice(text.as_bytes());
        loop {
            self.read_socket(0);
            self.end_turn(self.clients[0].home);
            let received = &mut self.clients[0].received;
            if let Some((number, length)) = reply(received) {
                received.drain(..length);
                return number;
            }
            for (from, to) in (0..SHARDS * SHARDS).map(|n| (n / SHARDS, n % SHARDS)) {
                self.deliver(from, to);
            }
        }
    }

    /// A client sends something and waits for nothing.
    fn send_text(&mut self, at: usize, text: &str) {
        let (home, conn) = (self.clients[at].home, self.clients[at].conn.expect("stays"));
        self.engines[home].receive(conn, text.as_bytes());
        self.end_turn(home);
    }

    /// Delivers everything, and returns what the first client was sent.
    fn answers(&mut self) -> String {
        while self.lanes.iter().flatten().any(|lane| !lane.is_empty()) {
            for (from, to) in (0..SHARDS * SHARDS).map(|n| (n / SHARDS, n % SHARDS)) {
                self.deliver(from, to);
            }
        }
        let received = std::mem::take(&mut self.clients[0].received);
        String::from_utf8(received).expect("text")
    }

    fn set_clocks(&mut self, now_ms: u64) {
        for engine in &mut self.engines {
            engine.set_clock(now_ms * 1000);
        }
    }

    /// A key of a shard.
    fn key_of(&self, shard: usize) -> String {
        let owner = |key: &String| super::transaction::owner_of(&self.engines[0], key.as_bytes());
        let mut keys = (0..).map(|n| format!("k{n}"));
        let found = keys.find(|key| owner(key).index() == shard);
        found.expect("every shard has keys")
    }
}

/// The number in a whole reply, 0 for others, and the reply's length.
fn reply(bytes: &[u8]) -> Option<(i64, usize)> {
    let line = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    match (bytes[0], parse_i64(&bytes[1..line])) {
        (b'+', _) | (b'$', Some(-1)) => Some((0, line + 2)),
        (b':', Some(number)) => Some((number, line + 2)),
        (b'$', Some(length)) => {
            let (from, end) = (line + 2, line + 2 + length as usize);
            let text = bytes.get(from..end + 2)?;
            Some((parse_i64(&text[..length as usize])?, end + 2))
        }
        other => panic!("a reply of kind {other:?}"),
    }
}

#[test]
fn pipelines_over_shards_in_any_order_of_events() {
    let (volleys, moves) = run_seeds(60, |_| ());
    assert!(volleys > 500, "{volleys} pipelines went in volleys");
    assert_eq!(moves, 0);
}

#[test]
fn slots_move_under_pipelines_in_any_order_of_events() {
    let (volleys, moves) = run_seeds(60, World::let_slots_move);
    assert!(volleys > 500, "{volleys} pipelines went in volleys");
    assert!(moves > 100, "{moves} moves");
}

#[test]
fn a_slot_moves_in_slices_under_pipelines_in_any_order_of_events() {
    let (volleys, moves) = run_seeds(60, World::let_one_slot_move_in_slices);
    assert!(volleys > 20, "{volleys} pipelines went in volleys");
    assert!(moves > 50, "{moves} moves of the slot");
}

#[test]
fn connections_follow_their_keys_in_any_order_of_events() {
    let (_, moves) = run_seeds(60, World::let_connections_follow);
    assert!(moves > 50, "{moves} moves of the slot");
}

/// Runs worlds from so many seeds; how many pipelines have gone in volleys, and how many times slots
/// have moved.
fn run_seeds(seeds: u64, prepare: fn(&mut World)) -> (u64, usize) {
    let (mut volleys, mut moves, mut migrated) = (0, 0, 0);
    let mut follow = false;
    for seed in 0..seeds {
        let mut world = World::new(seed, 5);
        prepare(&mut world);
        let tag = world.tag;
        for _ in 0..600 {
            world.step(true);
        }
        let mut steps = 0;
        while world.step(false) {
            steps += 1;
            assert!(steps < 1_000_000, "seed {seed}: it comes to an end");
        }
        for at in 0..world.clients.len() {
            world.read_replies(at);
            assert!(world.clients[at].asked.is_empty(), "seed {seed}");
        }
        for engine in &world.engines {
            assert!(
                engine.shard.txns.is_drained(),
                "seed {seed}: nothing is held"
            );
            assert!(engine.volleys.is_empty(), "seed {seed}");
            volleys += engine.shard.txns.totals().executed;
            migrated += engine.shard.stats.migrated_away;
            follow = engine.shard.config.connection_migration;
            assert!(engine.migration.arrived.is_empty(), "seed {seed}");
            for (_, session) in engine.sessions() {
                assert_eq!(
                    (session.waiting, session.unsure, session.writes_out),
                    (0, 0, 0)
                );
                assert!(session.held.is_empty());
            }
        }
        let sum: i64 = (0..KEYS)
            .map(|n| world.value(&format!("{tag}counter:{n}")))
            .sum();
        world.watcher_is_content(seed);
        let all_stayed = world.clients.iter().all(|client| client.conn.is_some());
        assert!(sum <= world.increments, "seed {seed}: each counts once");
        assert!(
            !all_stayed || sum == world.increments,
            "seed {seed}: each counts"
        );
        for at in 0..world.clients.len() {
            let own: Vec<i64> = (0..KEYS)
                .map(|n| world.value(&format!("{tag}own:{at}:{n}")))
                .collect();
            assert!(own.is_sorted_by(|a, b| a >= b), "seed {seed}: {own:?}");
        }
        moves += world.moves;
        let map = world.engines[0].shard.slot_map.clone();
        for engine in &world.engines {
            assert!(engine.shard.slot_map == map, "seed {seed}: one map");
            let db = engine.shard.keyspace.db(0);
            let foreign = (0..SLOTS as u16)
                .filter_map(Slot::new)
                .filter(|slot| map[slot.index()] != engine.shard.id);
            let keys: usize = foreign.map(|slot| db.count_in_slot(slot)).sum();
            assert_eq!(keys, 0, "seed {seed}: keys are where the map says");
        }
    }
    // None leaves while somebody goes through all of them, and somebody often does.
    assert_eq!(migrated > 50, follow, "{migrated} connections have moved");
    (volleys, moves)
}

/// Clients that wait for elements of queues, clients that push them, subscribers and publishers, all
/// while the slots of queues and channels move.
#[test]
fn those_who_wait_and_subscribe_follow_the_slots() {
    const QUEUES: usize = 4;
    for seed in 0..60 {
        let mut world = World::new(seed, 8);
        world.let_slots_move();
        // The first half waits and subscribes, one queue or several at a time.
        let subscriber = world.clients.len() - 1;
        let (mut pushed, mut heard) = (0i64, 0usize);
        let mut popped: Vec<i64> = Vec::new();
        let mut waits = [false; 4];
        let mut published = 0;
        world.say(subscriber, "SUBSCRIBE news:0 news:1 news:2\r\n");
        world.settle();
        world.clients[subscriber].received.clear();
        for _ in 0..400 {
            let waiter = world.rng.usize(..4);
            if !waits[waiter] {
                waits[waiter] = true;
                let first = world.rng.usize(..QUEUES);
                let queues: String = (0..=world.rng.usize(..2))
                    .map(|n| format!(" q:{}", (first + n) % QUEUES))
                    .collect();
                world.say(waiter, &format!("BLPOP{queues} 0\r\n"));
            }
            if world.rng.u8(..) < 100 {
                pushed += 1;
                let (by, queue) = (4 + world.rng.usize(..3), world.rng.usize(..QUEUES));
                world.say(by, &format!("RPUSH q:{queue} {pushed}\r\n"));
            }
            if world.rng.u8(..) < 60 {
                published += 1;
                let (by, channel) = (4 + world.rng.usize(..3), world.rng.usize(..3));
                world.say(by, &format!("PUBLISH news:{channel} m\r\n"));
            }
            if world.rng.u8(..) < 60 && !world.moving {
                let key = match world.rng.bool() {
                    true => format!("q:{}", world.rng.usize(..QUEUES)),
                    false => format!("news:{}", world.rng.usize(..3)),
                };
                let slot = Slot::of(key.as_bytes()).index();
                let to = world.rng.usize(..SHARDS);
                let (home, conn) = world.mover.expect("slots move");
                let text = format!("RINGDOVE SLOTS MOVE {slot} TO {to}\r\n");
                world.moving = true;
                world.engines[home].receive(conn, text.as_bytes());
                world.end_turn(home);
            }
            for _ in 0..world.rng.usize(..12) {
                world.pass_something();
            }
            for (at, waits) in waits.iter_mut().enumerate() {
                world.take_popped(at, &mut popped, waits);
            }
        }
        world.settle();
        for (at, waits) in waits.iter_mut().enumerate() {
            world.take_popped(at, &mut popped, waits);
        }
        heard += count(&world.clients[subscriber].received, b"$7\r\nmessage\r\n");
        assert_eq!(heard, published, "seed {seed}: every message is heard once");
        // Everybody still waits, or everything has been popped.
        let mut left: Vec<i64> = Vec::new();
        if waits.iter().any(|waits| !waits) {
            for queue in 0..QUEUES {
                loop {
                    world.clients[4].received.clear();
                    world.say(4, &format!("LPOP q:{queue}\r\n"));
                    world.settle();
                    match reply(&world.clients[4].received) {
                        Some((0, _)) | None => break,
                        Some((number, _)) => left.push(number),
                    }
                }
            }
        }
        popped.append(&mut left);
        popped.sort_unstable();
        let all: Vec<i64> = (1..=pushed).collect();
        let waiting = waits.iter().filter(|waits| **waits).count();
        assert_eq!(popped, all, "seed {seed}: {waiting} wait");
    }
}

/// How often `what` stands in `bytes`.
fn count(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).filter(|w| *w == what).count()
}

impl World {
    /// A client sends commands, whatever it has asked for before.
    fn say(&mut self, at: usize, text: &str) {
        let (home, conn) = (self.clients[at].home, self.clients[at].conn.expect("stays"));
        self.engines[home].receive(conn, text.as_bytes());
        self.end_turn(home);
    }

    /// One batch arrives somewhere, and some shard has a turn.
    fn pass_something(&mut self) {
        let (a, b) = (self.rng.usize(..SHARDS), self.rng.usize(..SHARDS));
        if let Some(batch) = self.lanes[a][b].pop_front() {
            self.engines[b].deliver(ShardId(a as u16), &batch);
            self.engines[b].run_batch();
            drop(batch);
            self.end_turn(b);
        }
        let at = self.rng.usize(..SHARDS);
        self.end_turn(at);
    }

    /// Lets everything arrive.
    fn settle(&mut self) {
        let mut steps = 0;
        while self.moving || self.lanes.iter().flatten().any(|lane| !lane.is_empty()) {
            self.pass_something();
            steps += 1;
            assert!(steps < 1_000_000, "it comes to an end");
        }
        (0..SHARDS).for_each(|at| self.end_turn(at));
        if self.lanes.iter().flatten().any(|lane| !lane.is_empty()) {
            self.settle();
        }
    }

    /// Takes the answer of a BLPOP, if there is one: a queue and a number.
    fn take_popped(&mut self, at: usize, popped: &mut Vec<i64>, waits: &mut bool) {
        let received = &mut self.clients[at].received;
        if received.is_empty() {
            return;
        }
        let text = String::from_utf8_lossy(received).into_owned();
        let words: Vec<&str> = text.split("\r\n").collect();
        assert_eq!(words[0], "*2", "{text}");
        popped.push(words[4].parse().expect("a number"));
        assert_eq!(words.len(), 6, "one answer: {text}");
        received.clear();
        *waits = false;
    }
}
