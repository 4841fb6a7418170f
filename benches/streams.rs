//! Commands on streams by themselves, without protocol or network: time and instructions of one call
//! of a command's function.
//!
//! `cargo bench --bench streams -- time` prints nanoseconds for each call over streams of 10, 10,000
//! and 1,000,000 entries. `-- once CASE CALLS ENTRIES` makes that many calls; under `valgrind
//! --tool=callgrind`, the difference between two numbers of calls is what a call costs in
//! instructions.

use ringdove::command::FAMILIES;
use ringdove::command::context::{Caller, Ctx, OwnedArgs};
use ringdove::command::registry::{Registry, Route};
use ringdove::command::spec::Run;
use ringdove::mesh::ShardId;
use ringdove::resp::Version;
use ringdove::resp::encode::{Output, Reply};
use ringdove::server::config::Config;
use ringdove::shard::node::Node;
use ringdove::shard::{Shard, Ticks};
use std::sync::Arc;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const VALUE: &[u8] = b"sixteen bytes...";
const CASES: [&str; 7] = [
    "xadd",
    "xadd_maxlen",
    "xrange_10",
    "xrevrange_10",
    "xread_10",
    "readgroup_ack",
    "xdel",
];
const SIZES: [usize; 3] = [10, 10_000, 1_000_000];

fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let number = |at: usize, default: usize| {
        args.get(at)
            .map_or(default, |a| a.parse().expect("a number"))
    };
    if args.first().is_some_and(|a| a == "once") {
        let case = args.get(1).map_or("xadd", String::as_str);
        return Bench::new(number(3, 10)).run(case, number(2, 1000));
    }
    for entries in SIZES {
        for case in CASES {
            let calls = 200_000.min(entries.max(1000));
            let mut bench = Bench::new(entries.max(calls));
            let began = Instant::now();
            bench.run(case, calls);
            let ns = began.elapsed().as_nanos() as f64 / calls as f64;
            println!("{case:14} {ns:8.1} ns a call, {entries} entries");
        }
    }
}

struct Bench {
    shard: Shard,
    out: Output,
    entries: usize,
}

impl Bench {
    /// A stream `s` of so many entries with IDs from 1-0 on, and a group that has read none.
    fn new(entries: usize) -> Self {
        let config = Config {
            shards: 1,
            ..Config::default()
        };
        let node = Node::new(config, [1, 2], String::new(), 0, vec![0], |_| {});
        let registry = Arc::new(Registry::new(FAMILIES));
        let ticks = Ticks {
            read: || 0,
            per_us: 1,
        };
        let mut shard = Shard::new(ShardId(0), Arc::new(node), registry, ticks, None);
        shard.now_ms = 1_700_000_000_000;
        let mut bench = Self {
            shard,
            out: Output::default(),
            entries,
        };
        for n in 1..=entries {
            bench.call(&[b"xadd", b"s", &text(n), b"field", VALUE]);
        }
        bench.call(&[b"xgroup", b"create", b"s", b"g", b"0"]);
        bench
    }

    fn run(&mut self, case: &str, calls: usize) {
        for n in 1..=calls {
            let id = text(1 + n.wrapping_mul(7_919_999) % self.entries);
            match case {
                "xadd" => self.call(&[b"xadd", b"s", b"*", b"field", VALUE]),
                "xadd_maxlen" => self.call(&[
                    b"xadd", b"s", b"maxlen", b"~", b"1000", b"*", b"field", VALUE,
                ]),
                "xrange_10" => self.call(&[b"xrange", b"s", &id, b"+", b"count", b"10"]),
                "xrevrange_10" => self.call(&[b"xrevrange", b"s", &id, b"-", b"count", b"10"]),
                "xread_10" => self.call(&[b"xread", b"count", b"10", b"streams", b"s", &id]),
                "readgroup_ack" => {
                    self.call(&[
                        b"xreadgroup",
                        b"group",
                        b"g",
                        b"c",
                        b"count",
                        b"1",
                        b"streams",
                        b"s",
                        b">",
                    ]);
                    self.call(&[b"xack", b"s", b"g", &text(n)]);
                }
                "xdel" => self.call(&[b"xdel", b"s", &text(n)]),
                other => panic!("{other}: no such case"),
            }
        }
    }

    fn call(&mut self, args: &[&[u8]]) {
        let row = self.shard.registry.resolve(args).expect("a known command");
        let (run, route) = {
            let row = self.shard.registry.row(row);
            (row.spec.run, row.route)
        };
        let Run::Keyed(function) = run else {
            panic!("runs at a shard")
        };
        let pos = match route {
            Route::OneKey(at) => self.shard.pos(args[usize::from(at)]),
            _ => Default::default(),
        };
        self.out.clear();
        let caller = Caller {
            client: 1,
            db: 0,
            flags: 0,
            home: self.shard.id,
        };
        function(&mut Ctx {
            shard: &mut self.shard,
            args,
            reply: Reply::new(&mut self.out, Version::Resp2),
            caller,
            pos,
            row,
            large: OwnedArgs {
                first: 0,
                owned: &mut Vec::new(),
            },
        })
        .expect("a command that works");
    }
}

fn text(n: usize) -> [u8; 12] {
    let mut text = *b"1000000000-0";
    for (at, digit) in text[1..10].iter_mut().rev().enumerate() {
        *digit = b'0' + (n / 10usize.pow(at as u32) % 10) as u8;
    }
    text
}
