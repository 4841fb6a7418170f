//! Commands of sets and lists by themselves, without protocol or network.
//!
//! `cargo bench --bench sets_lists -- time [elements]` prints nanoseconds for each call on a set and a
//! list of so many elements of 16 bytes (10, 10,000 and 1,000,000 by default). `-- once COMMAND CALLS
//! ELEMENTS` makes that many calls; under `valgrind --tool=callgrind`, the difference between two
//! numbers of calls is what a call costs in instructions.

use ringdove::command::FAMILIES;
use ringdove::command::context::{Caller, Ctx, OwnedArgs};
use ringdove::command::registry::Registry;
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

const COMMANDS: [&str; 10] = [
    "sadd",
    "sismember",
    "srandmember",
    "srem",
    "spop",
    "lpush",
    "lpop",
    "lindex",
    "lrange",
    "lset",
];

fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let number = |at: usize| args.get(at).map(|a| a.parse::<usize>().expect("a number"));
    if args.first().is_some_and(|a| a == "once") {
        let name = args.get(1).map_or("sadd", String::as_str);
        let elements = number(3).unwrap_or(10_000);
        return Bench::new(elements).run(name, number(2).unwrap_or(1000), elements);
    }
    let sizes = number(1).map_or(vec![10, 10_000, 1_000_000], |n| vec![n]);
    for elements in sizes {
        for name in COMMANDS {
            // What removes must not run out of elements.
            let calls = 1000.max(elements / 2);
            let mut bench = Bench::new(elements.max(2 * calls));
            let began = Instant::now();
            bench.run(name, calls, elements);
            let ns = began.elapsed().as_nanos() as f64 / calls as f64;
            println!("{name:12} {ns:8.1} ns a call on {elements} elements");
        }
    }
}

struct Bench {
    shard: Shard,
    out: Output,
}

impl Bench {
    fn new(elements: usize) -> Self {
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
        let shard = Shard::new(ShardId(0), Arc::new(node), registry, ticks, None);
        let out = Output::default();
        let mut bench = Self { shard, out };
        for n in 0..elements {
            bench.call(&[b"sadd", b"set", &element(n)]);
            bench.call(&[b"rpush", b"list", &element(n)]);
        }
        bench
    }

    fn run(&mut self, name: &str, calls: usize, elements: usize) {
        for n in 0..calls {
            let at = n.wrapping_mul(7_919_999) % elements;
            let index = at.to_string();
            let index = index.as_bytes();
            match name {
                "sadd" => self.call(&[b"sadd", b"set", &element(elements * 4 + n)]),
                "sismember" => self.call(&[b"sismember", b"set", &element(at)]),
                "srandmember" => self.call(&[b"srandmember", b"set"]),
                "srem" => self.call(&[b"srem", b"set", &element(at)]),
                "spop" => self.call(&[b"spop", b"set"]),
                "lpush" => self.call(&[b"lpush", b"list", &element(at)]),
                "lpop" => self.call(&[b"lpop", b"list"]),
                "lindex" => self.call(&[b"lindex", b"list", index]),
                "lrange" => self.call(&[b"lrange", b"list", b"0", b"99"]),
                "lset" => self.call(&[b"lset", b"list", index, &element(n)]),
                other => panic!("{other}: no such case"),
            }
        }
    }

    fn call(&mut self, args: &[&[u8]]) {
        let row = self.shard.registry.find(args[0]).expect("a known command");
        let Run::Keyed(function) = self.shard.registry.row(row).spec.run else {
            panic!("runs at a shard")
        };
        let pos = self.shard.pos(args[1]);
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

fn element(n: usize) -> [u8; 16] {
    let mut text = *b"element:00000000";
    let mut rest = n;
    for digit in text[8..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    text
}
