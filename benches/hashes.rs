//! The hottest commands on hashes by themselves, without protocol or network: time and instructions
//! of one call of a command's function, on hashes of 10, 10,000 and 1,000,000 fields.
//!
//! `cargo bench --bench hashes -- time [fields]` prints nanoseconds for each call and bytes for each
//! field. `-- once COMMAND CALLS FIELDS` makes that many calls; under `valgrind --tool=callgrind`, the
//! difference between two numbers of calls is what a call costs in instructions.

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

const VALUE: &[u8] = &[b'v'; 16];
const COMMANDS: [&str; 7] = [
    "hget",
    "hset",
    "hincrby",
    "hmget",
    "hrandfield",
    "hdel_hset",
    "hexpire",
];

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
        let name = args.get(1).map_or("hget", String::as_str);
        return Bench::new(number(3, 10)).run(name, number(2, 1000));
    }
    let sizes = match args.get(1) {
        Some(_) => vec![number(1, 0)],
        None => vec![10, 10_000, 1_000_000],
    };
    for fields in sizes {
        let mut bench = Bench::new(fields);
        let bytes = bench.shard.keyspace.used_bytes() as f64 / fields as f64;
        println!("{fields} fields of 16 bytes with 16: {bytes:.1} bytes a field");
        for name in COMMANDS {
            let calls = 200_000;
            let began = Instant::now();
            bench.run(name, calls);
            let ns = began.elapsed().as_nanos() as f64 / calls as f64;
            println!("{name:10} {ns:8.1} ns a call");
        }
    }
}

struct Bench {
    shard: Shard,
    out: Output,
    fields: usize,
}

impl Bench {
    fn new(fields: usize) -> Self {
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
            fields,
        };
        for n in 0..fields {
            bench.call(&[b"hset", b"hash", &field(n), VALUE]);
        }
        bench
    }

    fn run(&mut self, name: &str, calls: usize) {
        for n in 0..calls {
            let at = n.wrapping_mul(7_919_999) % self.fields;
            let field = field(at);
            match name {
                "hget" => self.call(&[b"hget", b"hash", &field]),
                "hset" => self.call(&[b"hset", b"hash", &field, VALUE]),
                "hincrby" => self.call(&[b"hincrby", b"numbers", &field, b"1"]),
                "hmget" => self.call(&[b"hmget", b"hash", &field, b"none", &field]),
                "hrandfield" => self.call(&[b"hrandfield", b"hash"]),
                "hdel_hset" => {
                    self.call(&[b"hdel", b"hash", &field]);
                    self.call(&[b"hset", b"hash", &field, VALUE]);
                }
                "hexpire" => {
                    self.call(&[b"hexpire", b"hash", b"1000", b"fields", b"1", &field]);
                }
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

fn field(n: usize) -> [u8; 16] {
    let mut field = *b"field:0000000000";
    let mut rest = n;
    for digit in field.iter_mut().rev().take(10) {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    field
}
