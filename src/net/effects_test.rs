//! What is recorded, run in an empty server with any number of shards, gives the same dataset:
//! several shards with their connections in one thread, random commands of every family, time that
//! passes, and messages between shards in an order that a seed decides.

#[path = "../../tests/diff/grammar.rs"]
mod grammar;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::Arc;

use grammar::Rule;
use ringdove_rig::Rng;

use super::blocking::Ending;
use super::engine::Engine;
use super::session::{ConnId, Peer, flag};
use crate::command::FAMILIES;
use crate::command::registry::Registry;
use crate::command::zset::view::View;
use crate::keyspace::{CURSOR_END, EntryRef, Kind, SLOTS, Slot, Value};
use crate::mesh::ShardId;
use crate::resp::encode::Output;
use crate::resp::number::I64_TEXT_MAX;
use crate::server::config::Config;
use crate::shard::effects::PartOf;
use crate::shard::effects::replay::{InPayload, Target, target};
use crate::shard::node::Node;
use crate::shard::{Shard, Ticks};
use crate::types::hash::HashRef;
use crate::types::list::List;
use crate::types::packed::Element;
use crate::types::set::Set;
use crate::types::stream::Stream;

/// What the grammars of the comparison with redis-server leave out: options that it does not know,
/// chance, commands that wait, whole databases.
const MORE: &str = "
SET key value IFEQ value
SET key value PX millis
SETEX key seconds value
GETEX key PX millis
INCRBYFLOAT key float
DELEX key IFEQ value
DELIFEQ key value
MSETEX 2 key value key value [PX millis|KEEPTTL]
SPOP key
SPOP key count
SMOVE key key int
SORT key STORE key
SORT key BY nosort STORE key
SORT key ALPHA GET # STORE key
BITOP (AND|OR|XOR) key key key
PFADD key value...
PFMERGE key key key
PFCOUNT key
PFDEBUG TODENSE key
GEOADD key lon lat member
GEOSEARCHSTORE key key FROMLONLAT 13 38 BYRADIUS 2000 km ASC
GEORADIUS key 13 38 2000 km STORE key
LMOVE key key (LEFT|RIGHT) (LEFT|RIGHT)
BLPOP key key 1
BRPOP key 1
BLMPOP 1 2 key key (LEFT|RIGHT) COUNT 2
BLMOVE key key (LEFT|RIGHT) (LEFT|RIGHT) 1
BZPOPMIN key key 1
BZMPOP 1 2 key key (MIN|MAX) COUNT 2
XREADGROUP GROUP group consumer BLOCK 300 STREAMS key key > >
XREADGROUP GROUP group consumer CLAIM 100 STREAMS key >
XREADGROUP GROUP group consumer STREAMS key 0
XADD key * name value
XADD key MAXLEN ~ 2 * name value
XADD key MAXLEN ~ 2 (DELREF|ACKED|KEEPREF) * name value
XTRIM key MINID ~ streamid
XTRIM key MAXLEN 1 (DELREF|ACKED|KEEPREF)
XDELEX key (DELREF|ACKED|KEEPREF) IDS 2 streamid streamid
XACKDEL key group (DELREF|ACKED|KEEPREF) IDS 1 streamid
XCLAIM key group consumer 0 streamid streamid FORCE
XAUTOCLAIM key group consumer 0 0 COUNT 2
XGROUP CREATE key group $ MKSTREAM
RPUSH list value value value
RPUSH list int int
SADD key int int value
ZADD key (score member)...
HSET key name value name value
HEXPIRE key 10 FIELDS 1 name
HPEXPIRE key 500 FIELDS 2 name name
HEXPIRE key 0 FIELDS 1 name
HEXPIREAT key at FIELDS 1 name
HPERSIST key FIELDS 2 name name
HINCRBY key name int
HINCRBYFLOAT key name float
HSETNX key name value
HDEL key name name
HSETEX key [FNX|FXX] [PX 700|KEEPTTL|EX 0] FIELDS 2 name value name value
HGETEX key [PX 300|PERSIST|EX 0] FIELDS 2 name name
HGETDEL key FIELDS 1 name
PEXPIRE key 400
EXPIRE key 3
PERSIST key
RENAME key key
RENAMENX key key
COPY key key [DB db] [REPLACE]
MOVE key db
SWAPDB 0 db
";
/// Rare, as they leave nothing.
const FLUSHES: &str = "
FLUSHDB
FLUSHALL
";
/// Changes the connection's database: most commands should meet in few.
const SELECTS: &str = "
SELECT (0|0|0|1)
";

const GRAMMARS: [(&str, &str); 10] = [
    (
        "strings",
        include_str!("../../tests/diff/grammar/strings.txt"),
    ),
    (
        "bitmaps",
        include_str!("../../tests/diff/grammar/bitmaps.txt"),
    ),
    ("lists", include_str!("../../tests/diff/grammar/lists.txt")),
    ("sets", include_str!("../../tests/diff/grammar/sets.txt")),
    (
        "hashes",
        include_str!("../../tests/diff/grammar/hashes.txt"),
    ),
    ("zset", include_str!("../../tests/diff/grammar/zset.txt")),
    (
        "streams",
        include_str!("../../tests/diff/grammar/streams.txt"),
    ),
    (
        "generic",
        include_str!("../../tests/diff/grammar/generic.txt"),
    ),
    ("geo", include_str!("../../tests/diff/grammar/geo.txt")),
    (
        "hyperloglog",
        include_str!("../../tests/diff/grammar/hyperloglog.txt"),
    ),
];

/// A unit as it was taken.
struct Recorded {
    db: u16,
    payload: Vec<u8>,
    part_of: Option<PartOf>,
}

const CLIENTS: usize = 4;

struct World {
    engines: Vec<Engine>,
    /// Batches from one shard to another.
    lanes: Vec<Vec<VecDeque<Vec<u8>>>>,
    /// The home and the connection of each client.
    clients: Vec<(usize, ConnId)>,
    recorded: Vec<Vec<Recorded>>,
    now_ms: u64,
}

/// Shards of a server with a key space of its own.
fn shards(count: usize) -> Vec<Shard> {
    let config = Config {
        shards: count as u32,
        // Small enough to be crossed.
        stream_node_max_entries: 3,
        hash_max_listpack_entries: 6,
        set_max_listpack_entries: 6,
        zset_max_listpack_entries: 6,
        list_max_listpack_size: 6,
        ..Config::default()
    };
    let node = Node::new(config, [1, 2], String::new(), 0, vec![0; count], |_| {});
    let (node, registry) = (Arc::new(node), Arc::new(Registry::new(FAMILIES)));
    let ticks = Ticks {
        read: || 0,
        per_us: 1,
    };
    let shard = |id| {
        Shard::new(
            ShardId(id as u16),
            node.clone(),
            registry.clone(),
            ticks,
            None,
        )
    };
    (0..count).map(shard).collect()
}

impl World {
    fn new(count: usize) -> Self {
        let mut engines: Vec<Engine> = shards(count).into_iter().map(Engine::new).collect();
        let lanes = |_| (0..count).map(|_| VecDeque::new()).collect();
        let mut clients = Vec::new();
        for client in 0..CLIENTS {
            let home = client % count;
            clients.push((home, engines[home].connect(Peer::Unix("/s".into()), 3)));
        }
        for engine in &mut engines {
            engine.shard.effects.listen(true);
        }
        Self {
            engines,
            lanes: (0..count).map(lanes).collect(),
            clients,
            recorded: (0..count).map(|_| Vec::new()).collect(),
            now_ms: 1_700_000_000_000,
        }
    }

    /// The rest of a shard's turn.
    fn end_turn(&mut self, at: usize) {
        let engine = &mut self.engines[at];
        engine.run_batch();
        engine.resume();
        engine.end_waits_that_are_due();
        for peer in 0..self.lanes.len() {
            let batch = std::mem::take(&mut engine.outgoing[peer].buf);
            if !batch.is_empty() {
                self.lanes[at][peer].push_back(batch);
            }
        }
        engine.room_again();
        for conn in std::mem::take(&mut engine.dirty) {
            engine.session(conn).out.clear();
            engine.clean(conn);
        }
        let recorded = &mut self.recorded[at];
        engine.shard.effects.take_units(|unit| {
            recorded.push(Recorded {
                db: unit.db,
                payload: unit.payload.to_vec(),
                part_of: unit.part_of.cloned(),
            });
        });
    }

    fn send(&mut self, client: usize, bytes: &[u8]) {
        let (home, conn) = self.clients[client];
        self.engines[home].receive(conn, bytes);
        self.engines[home].run_batch();
        self.end_turn(home);
    }

    /// One message arrives, if there is one under way.
    fn step(&mut self, rng: &mut Rng) {
        let (a, b) = (rng.below(self.lanes.len()), rng.below(self.lanes.len()));
        if let Some(batch) = self.lanes[a][b].pop_front() {
            self.engines[b].deliver(ShardId(a as u16), &batch);
            self.engines[b].run_batch();
            drop(batch);
            self.end_turn(b);
        }
        self.end_turn(a);
    }

    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        for at in 0..self.engines.len() {
            let shard = &mut self.engines[at].shard;
            (shard.now_ms, shard.now_us) = (self.now_ms, self.now_ms * 1000);
            if shard.background_in_ms() == Some(0) {
                shard.background();
            }
            self.end_turn(at);
        }
    }

    fn is_quiet(&mut self) -> bool {
        let lanes = self.lanes.iter().flatten().all(VecDeque::is_empty);
        let engines = &mut self.engines;
        let mut clients = self.clients.iter();
        lanes
            && clients.all(|(home, conn)| {
                let session = engines[*home].session(*conn);
                session.waiting == 0 && !session.is(flag::BLOCKED)
            })
    }

    /// Lets everything come to its end.
    fn settle(&mut self, rng: &mut Rng) {
        for round in 0..100_000 {
            if self.is_quiet() {
                return;
            }
            self.step(rng);
            if round % 1000 == 999 {
                self.pass(100);
                // A timeout may have become 0.
                for (home, conn) in self.clients.clone() {
                    self.engines[home].end_wait(conn, Ending::TimedOut);
                    self.end_turn(home);
                }
            }
        }
        panic!("it comes to an end");
    }

    fn dataset(&self) -> BTreeMap<(usize, Vec<u8>), String> {
        dataset(self.engines.iter().map(|engine| &engine.shard))
    }
}

fn encode(args: &[Vec<u8>], out: &mut Vec<u8>) {
    out.extend_from_slice(&ringdove_rig::encode(args));
}

/// A client's next commands.
fn pipeline(world: &[&[Rule]], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    let command = |rng: &mut Rng| {
        let rules = match rng.below(200) {
            0 => world[2],
            1..=6 => world[3],
            7..=90 => world[1],
            _ => world[0],
        };
        grammar::command(rules, rng)
    };
    let word = |text: &str| {
        text.split(' ')
            .map(|word| word.as_bytes().to_vec())
            .collect::<Vec<_>>()
    };
    // Beyond what is received in place: its memory becomes the value.
    if rng.one_in(60) {
        let value = vec![b'a' + rng.below(26) as u8; 30_000 + rng.below(70_000)];
        let lines = [
            "SET a",
            "APPEND b",
            "MSET a x b y a",
            "MSETNX n",
            "GETSET c",
            "LPUSH list",
        ];
        let mut line = word(rng.pick::<&str>(&lines));
        line.push(value);
        encode(&line, &mut bytes);
        return bytes;
    }
    match rng.below(8) {
        0 => {
            if rng.one_in(3) {
                encode(&word("WATCH a c"), &mut bytes);
            }
            encode(&word("MULTI"), &mut bytes);
            for _ in 0..1 + rng.below(5) {
                encode(&command(rng), &mut bytes);
            }
            encode(&word("EXEC"), &mut bytes);
        }
        1 | 2 => {
            for _ in 0..2 + rng.below(5) {
                encode(&command(rng), &mut bytes);
            }
        }
        _ => encode(&command(rng), &mut bytes),
    }
    bytes
}

/// Everything that shards hold, expired or not, in words.
fn dataset<'a>(shards: impl Iterator<Item = &'a Shard>) -> BTreeMap<(usize, Vec<u8>), String> {
    let mut all = BTreeMap::new();
    for shard in shards {
        for number in 0..shard.keyspace.databases() {
            let db = shard.keyspace.db(number);
            db.scan(0, CURSOR_END, usize::MAX, 0, |entry| {
                all.insert((number, entry.key().to_vec()), described(&entry));
            });
        }
    }
    all
}

fn text(element: Element<'_>) -> String {
    element
        .text(&mut [0; I64_TEXT_MAX])
        .escape_ascii()
        .to_string()
}

fn described(entry: &EntryRef<'_>) -> String {
    let mut parts: Vec<String> = Vec::new();
    match entry.kind() {
        Kind::String => {
            let mut number = [0; I64_TEXT_MAX];
            let bytes = entry.value().bytes(&mut number).expect("a string").to_vec();
            parts.push(bytes.escape_ascii().to_string());
        }
        Kind::List => List::of(entry.value()).forward(0, |element| {
            parts.push(text(element));
            true
        }),
        Kind::Set => {
            Set::of(entry.value()).for_each(|member| parts.push(text(member)));
            parts.sort();
        }
        Kind::Hash => {
            let hash = HashRef::of(entry.value()).expect("a hash");
            hash.for_each(0, |field, value| {
                let name = field.text(&mut [0; I64_TEXT_MAX]).to_vec();
                let expiry = hash.expiry(&name, 0).flatten();
                parts.push(format!("{}={} {expiry:?}", text(field), text(value)));
            });
            parts.sort();
        }
        Kind::ZSet => View::of(*entry)
            .expect("a sorted set")
            .visit_all(|score, member| {
                parts.push(format!("{} {}", score.to_bits(), member.escape_ascii()));
            }),
        Kind::Stream => {
            let Value::Object(object) = entry.value() else {
                unreachable!("a stream is an object")
            };
            let stream: &Stream = object.as_any().downcast_ref().expect("a stream");
            stream.verify();
            parts.push(describe_stream(stream));
        }
    }
    format!("{:?} expires {:?}: {parts:?}", entry.kind(), entry.expiry())
}

fn describe_stream(stream: &Stream) -> String {
    let log = &stream.log;
    let mut text = format!(
        "length {} first {:?} last {:?} deleted {:?} added {}",
        log.len(),
        log.first_id(),
        log.last_id(),
        log.max_deleted_id(),
        log.entries_added()
    );
    for entry in log.range(crate::types::stream::StreamId::MIN, log.last_id(), false) {
        let _ = write!(text, "; {:?}", entry.id);
        for (field, value) in entry.pairs() {
            let (mut a, mut b) = ([0; I64_TEXT_MAX], [0; I64_TEXT_MAX]);
            let (field, value) = (field.bytes(&mut a), value.bytes(&mut b));
            let _ = write!(text, " {}={}", field.escape_ascii(), value.escape_ascii());
        }
    }
    for group in stream.groups() {
        let name = group.name.escape_ascii();
        let _ = write!(
            text,
            "; group {name} {:?} {:?}",
            group.last_id, group.entries_read
        );
        for consumer in group.consumers() {
            let _ = write!(text, " consumer {}", consumer.name.escape_ascii());
            for id in consumer.pending() {
                let pending = group.pending()[id];
                let (time, count) = (pending.delivered_ms, pending.deliveries);
                let _ = write!(text, " {id:?} {time} {count}");
            }
        }
    }
    text
}

/// Runs what was recorded in a server with so many shards; `owner` is the map that it was recorded
/// with.
fn replay(
    recorded: &[Vec<Recorded>],
    owner: &[ShardId; SLOTS],
    count: usize,
    now_ms: u64,
) -> Vec<Shard> {
    let mut shards = shards(count);
    shards.iter_mut().for_each(|shard| shard.now_ms = now_ms);
    for (log, units) in recorded.iter().enumerate() {
        let owned = |slot: Slot| owner[slot.index()].index() == log;
        for unit in units {
            let mut db = unit.db;
            let does = !unit.payload.is_empty() || unit.part_of.is_some();
            assert!(does, "only a part of a transaction may do nothing");
            let shown = || unit.payload.escape_ascii().to_string();
            let mut effects = InPayload::of(&unit.payload);
            loop {
                if let Some((key, value)) = effects.next_string() {
                    let slot = Slot::of(key);
                    assert!(owned(slot), "it is of the recording shard");
                    let at = shards[0].owner(slot).index();
                    let ready = shards[at].ready_string(db, slot, key, value);
                    let ready = ready.expect("the database exists");
                    let done = shards[at].replay_ready(&ready, &mut Output::default());
                    done.unwrap_or_else(|error| panic!("{error}: {}", shown()));
                    continue;
                }
                let Some(args) = effects.next() else { break };
                let args = args.expect("a request");
                match target(&shards[0].registry, &args).expect("an effect") {
                    Target::Select(other) => db = other,
                    Target::Slot(slot, _) => {
                        assert!(owned(slot), "it is of the recording shard");
                        let at = shards[0].owner(slot).index();
                        let done = shards[at].replay(db, &args);
                        done.unwrap_or_else(|error| panic!("{error}: {}", shown()));
                    }
                    Target::MovedIn(_) => unreachable!("no slots move"),
                    Target::Database => {
                        for shard in &mut shards {
                            let done = shard.replay_databases(db, &args, |slot, _| owned(slot));
                            done.unwrap_or_else(|error| panic!("{error}: {}", shown()));
                        }
                    }
                }
            }
        }
    }
    shards
}

/// Every part of a transaction is where all its parts say that one is.
fn check_parts(recorded: &[Vec<Recorded>]) -> usize {
    let mut parts: BTreeMap<_, Vec<(usize, &PartOf)>> = BTreeMap::new();
    for (at, units) in recorded.iter().enumerate() {
        for part in units.iter().filter_map(|unit| unit.part_of.as_ref()) {
            parts.entry(part.txn).or_default().push((at, part));
        }
    }
    for found in parts.values() {
        let at: Vec<usize> = found.iter().map(|(at, _)| *at).collect();
        for (_, part) in found {
            let named: Vec<usize> = part.participants.iter().map(|p| p.index()).collect();
            assert!(named.len() > 1, "{part:?}");
            assert_eq!(named, at, "{part:?}");
        }
    }
    parts.len()
}

fn run(name: &str, text: &str, count: usize, seed: u64) -> usize {
    let rules = grammar::parse(name, text);
    let more = grammar::parse("more", MORE);
    let (flushes, selects) = (
        grammar::parse("flush", FLUSHES),
        grammar::parse("select", SELECTS),
    );
    let world_rules: [&[Rule]; 4] = [&rules, &more, &flushes, &selects];
    let mut rng = Rng::new(seed);
    let mut world = World::new(count);
    world.pass(0);
    if seed == 0 {
        for command in grammar::errors(&rules) {
            let mut bytes = Vec::new();
            encode(&command, &mut bytes);
            world.send(0, &bytes);
            world.settle(&mut rng);
        }
    }
    for _ in 0..500 {
        let bytes = pipeline(&world_rules, &mut rng);
        world.send(rng.below(CLIENTS), &bytes);
        for _ in 0..rng.below(30) {
            world.step(&mut rng);
        }
        match rng.below(20) {
            0 => world.pass(2_000),
            1..=4 => world.pass(200),
            _ => world.pass(1),
        }
    }
    world.settle(&mut rng);
    let title = format!("{name}, {count} shard(s), seed {seed}");
    let parts = check_parts(&world.recorded);
    let wanted = world.dataset();
    let owner = &world.engines[0].shard.slot_map;
    for other in [1, 2, count] {
        let replayed = replay(&world.recorded, owner, other, world.now_ms);
        let got = dataset(replayed.iter());
        for (key, value) in &wanted {
            let shown = (key.0, key.1.escape_ascii().to_string());
            let got = got.get(key);
            assert_eq!(got, Some(value), "{title}, on {other}: {shown:?}");
        }
        assert_eq!(got.len(), wanted.len(), "{title}, on {other}: {got:?}");
    }
    // The value of each key as effects is the same value.
    let values: Vec<Recorded> = values(&mut world);
    let values = [values];
    let everything = [ShardId(0); SLOTS];
    let got = dataset(replay(&values, &everything, 2, world.now_ms).iter());
    assert_eq!(got, wanted, "{title}: whole values");
    parts
}

/// All keys of all shards as whole values.
fn values(world: &mut World) -> Vec<Recorded> {
    let keys: Vec<(usize, Vec<u8>)> = world.dataset().into_keys().collect();
    let mut recorded = Vec::new();
    for (db, key) in keys {
        let slot = Slot::of(&key);
        let at = world.engines[0].shard.owner(slot).index();
        let shard = &mut world.engines[at].shard;
        let pos = shard.pos(&key);
        shard.effect_value(db as u16, pos, &key);
        shard.effects.take_units(|unit| {
            recorded.push(Recorded {
                db: unit.db,
                payload: unit.payload.to_vec(),
                part_of: None,
            });
        });
    }
    recorded
}

fn family(at: usize) {
    let (name, text) = GRAMMARS[at];
    let mut parts = 0;
    for seed in 0..seeds() {
        run(name, text, 1, seed);
        parts += run(name, text, 3, seed);
    }
    assert!(parts > 0, "some are over several shards");
}

/// `RINGDOVE_EFFECTS_SEEDS` runs more of them.
fn seeds() -> u64 {
    match std::env::var("RINGDOVE_EFFECTS_SEEDS") {
        Ok(text) => text.parse().expect("RINGDOVE_EFFECTS_SEEDS is a number"),
        Err(_) => 2,
    }
}

macro_rules! families {
    ($($name:ident $at:literal)+) => { $(#[test] fn $name() { family($at); })+ };
}
families! { strings 0 bitmaps 1 lists 2 sets 3 hashes 4 zset 5 streams 6 generic 7 geo 8 hyperloglog 9 }
