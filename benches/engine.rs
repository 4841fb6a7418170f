//! Requests through the engine: bytes in, reply bytes out, on one shard and on two, whose batches
//! are handed over by hand. What it costs to be one server on several shards shows here.
//!
//! `cargo bench --bench engine -- time` prints nanoseconds for each request, and in how many rounds
//! between the shards it is answered.
//! `-- once CASE CALLS` makes that many requests; under `valgrind --tool=callgrind`, the difference
//! between two numbers of calls is what a request costs in instructions.
//!
//! | case | shards | what is sent |
//! | --- | --- | --- |
//! | `get`, `get_miss`, `set` | 2 | a key of the connection's home, nothing in flight |
//! | `get_beside`, `get_miss_beside`, `set_beside` | 2 | the same while a transaction holds another key |
//! | `pipe`, `pipe_hop` | 2 | 16 GETs in one pipeline, of keys of the home and of the other shard |
//! | `mget1`, `mset1`, `multi1` | 1 | 10 keys; a block of four commands |
//! | `mget2`, `mset2`, `multi2` | 2 | the same, over both shards |
//! | `msets1`, `msets2` | 1, 2 | a pipeline of 16 such MSETs |
//! | `gets2` | 2 | a pipeline of 16 GETs, half of them of the other shard's keys |

use ringdove::command::FAMILIES;
use ringdove::command::registry::Registry;
use ringdove::keyspace::Slot;
use ringdove::mesh::ShardId;
use ringdove::net::engine::Engine;
use ringdove::net::session::{ConnId, Peer};
use ringdove::server::config::Config;
use ringdove::shard::node::Node;
use ringdove::shard::{Shard, Ticks, even_slot_map};
use std::sync::Arc;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: ringdove::stdx::allocator::Mimalloc = ringdove::stdx::allocator::Mimalloc;

const CASES: [&str; 17] = [
    "get",
    "pipe",
    "pipe_hop",
    "get_miss",
    "set",
    "get_beside",
    "get_miss_beside",
    "set_beside",
    "mget1",
    "mget2",
    "mset1",
    "mset2",
    "multi1",
    "multi2",
    "msets1",
    "msets2",
    "gets2",
];
/// Requests in a pipeline.
const PIPELINE: usize = 16;
const VALUE: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    if args.first().is_some_and(|a| a == "once") {
        let calls = args.get(2).map_or(1000, |n| n.parse().expect("a number"));
        return Bench::new(args.get(1).map_or("get", String::as_str)).run(calls);
    }
    const CALLS: usize = 100_000;
    for case in CASES {
        let mut bench = Bench::new(case);
        bench.run(CALLS / 10);
        let began = Instant::now();
        bench.run(CALLS);
        let ns = began.elapsed().as_nanos() as f64 / CALLS as f64;
        let rounds = bench.rounds as f64 / (CALLS + CALLS / 10) as f64;
        println!("{case:16} {ns:8.1} ns a request, {rounds:.0} rounds");
    }
}

struct Bench {
    engines: Vec<Engine>,
    conn: ConnId,
    request: Vec<u8>,
    /// Times that batches have gone there and back.
    rounds: usize,
}

/// A command as clients send it.
fn command(args: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend_from_slice(format!("${}\r\n{arg}\r\n", arg.len()).as_bytes());
    }
    bytes
}

impl Bench {
    fn new(case: &str) -> Self {
        let shards = if case.ends_with('1') { 1 } else { 2 };
        let config = Config {
            shards: shards as u32,
            ..Config::default()
        };
        let node = Node::new(config, [1, 2], String::new(), 0, Vec::new(), |_| {});
        let (node, registry) = (Arc::new(node), Arc::new(Registry::new(FAMILIES)));
        let ticks = Ticks {
            read: || 0,
            per_us: 1,
        };
        let engine = |id| {
            let id = ShardId(id as u16);
            let mut engine =
                Engine::new(Shard::new(id, node.clone(), registry.clone(), ticks, None));
            engine.set_clock(1_700_000_000_000_000);
            engine
        };
        let mut engines: Vec<Engine> = (0..shards).map(engine).collect();
        let conn = engines[0].connect(Peer::Unix("bench".into()), 3);
        let mut bench = Self {
            engines,
            conn,
            request: Vec::new(),
            rounds: 0,
        };
        let keys: Vec<String> = (0..10).map(|n| format!("key:{n:08}")).collect();
        for key in &keys {
            bench.ask(&command(&["SET", key, VALUE]));
        }
        let owned = |shard: usize, prefix: &str| {
            let map = even_slot_map(shards);
            let mut names = (0..).map(|n| format!("{prefix}:{n:08}"));
            let is_own = |name: &String| map[Slot::of(name.as_bytes()).index()].index() == shard;
            names.find(is_own).expect("some key is its own")
        };
        let (own, far) = (owned(0, "own"), owned(shards - 1, "far"));
        bench.ask(&command(&["SET", &own, VALUE]));
        bench.ask(&command(&["SET", &far, VALUE]));
        if case.ends_with("_beside") {
            // The other shard never hears of it, so its part here is held for ever.
            let asker = bench.engines[0].connect(Peer::Unix("other".into()), 4);
            let block = command(&["MSET", &owned(0, "held"), "1", &owned(1, "held"), "1"]);
            bench.engines[0].receive(asker, &block);
            bench.engines[0].run_batch();
            assert_eq!(bench.engines[0].shard.txns.counts().held, 1);
        }
        let pairs = keys.iter().flat_map(|key| [&key[..], VALUE]);
        let several = |name| std::iter::once(name).chain(keys.iter().map(String::as_str));
        bench.request = match case
            .trim_end_matches("_beside")
            .trim_end_matches(['1', '2'])
        {
            "get" => command(&["GET", &own]),
            "get_miss" => command(&["GET", &owned(0, "none")]),
            "set" => command(&["SET", &own, VALUE]),
            "pipe" => command(&["GET", &own]).repeat(PIPELINE),
            "pipe_hop" => command(&["GET", &far]).repeat(PIPELINE),
            "mget" => command(&several("MGET").collect::<Vec<_>>()),
            "mset" => command(&std::iter::once("MSET").chain(pairs).collect::<Vec<_>>()),
            "msets" => {
                command(&std::iter::once("MSET").chain(pairs).collect::<Vec<_>>()).repeat(PIPELINE)
            }
            "gets" => [command(&["GET", &own]), command(&["GET", &owned(1, "far")])]
                .concat()
                .repeat(PIPELINE / 2),
            "multi" => [
                command(&["MULTI"]),
                command(&["SET", &keys[0], VALUE]),
                command(&["GET", &keys[1]]),
                command(&["SET", &keys[2], VALUE]),
                command(&["GET", &keys[3]]),
                command(&["EXEC"]),
            ]
            .concat(),
            other => panic!("{other}: no such case"),
        };
        bench.rounds = 0;
        bench
    }

    fn run(&mut self, calls: usize) {
        let request = std::mem::take(&mut self.request);
        for _ in 0..calls {
            self.ask(&request);
        }
        self.request = request;
    }

    /// A turn of the home, and turns of both shards until nothing is under way.
    fn ask(&mut self, request: &[u8]) {
        self.engines[0].receive(self.conn, request);
        self.engines[0].run_batch();
        let replies = |engine: &mut Engine, conn| !engine.session(conn).out.is_empty();
        while self.engines.len() > 1 && !self.is_answered() {
            self.rounds += 1;
            for (from, to) in [(0, 1), (1, 0)] {
                let batch = std::mem::take(&mut self.engines[from].outgoing[to].buf);
                if !batch.is_empty() {
                    self.engines[to].deliver(ShardId(from as u16), &batch);
                    self.engines[to].run_batch();
                    self.engines[to].resume();
                }
            }
        }
        assert!(replies(&mut self.engines[0], self.conn));
        self.engines[0].session(self.conn).out.clear();
        let dirty = std::mem::take(&mut self.engines[0].dirty);
        dirty.iter().for_each(|conn| self.engines[0].clean(*conn));
    }

    fn is_answered(&mut self) -> bool {
        let beside = !self.engines[0].shard.txns.is_idle();
        let session = self.engines[0].session(self.conn);
        let answered = session.waiting == 0 && session.kept.is_none();
        answered && (beside || !self.engines[0].has_outgoing(ShardId(1)))
    }
}
