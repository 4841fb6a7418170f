//! The hottest commands by themselves, without protocol or network: time and instructions of one
//! call of a command's function.
//!
//! `cargo bench --bench strings -- time [keys]` prints nanoseconds for each call over random keys;
//! `-- count [PART OF A NAME]` instructions for each call (needs valgrind); `-- once COMMAND CALLS`
//! makes calls over few keys for a profiler.

mod counted;

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

const VALUE: &[u8] = &[b'x'; 64];
/// Keys of one MGET or MSET.
const MANY: usize = 10;
const COMMANDS: [&str; 8] = [
    "get", "set", "set_ex", "incr", "mget", "mset", "getbit", "append",
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
        let name = args.get(1).map_or("get", String::as_str);
        return Bench::new(100).run(name, number(2, 1000), 100);
    }
    if args.first().is_some_and(|a| a == "count") {
        let filter = args.get(1).map_or("", String::as_str);
        return counted::print(&COMMANDS, &counted::Calls::USUAL, filter);
    }
    let keys = number(1, 200_000);
    for name in COMMANDS {
        let mut bench = Bench::new(keys);
        let calls = keys;
        let began = Instant::now();
        bench.run(name, calls, keys);
        let ns = began.elapsed().as_nanos() as f64 / calls as f64;
        println!("{name:8} {ns:8.1} ns a call over {keys} keys");
    }
}

struct Bench {
    shard: Shard,
    out: Output,
}

impl Bench {
    fn new(keys: usize) -> Self {
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
        };
        for n in 0..keys {
            bench.call(&[b"set", &key(n), VALUE]);
            bench.call(&[b"set", &counter(n), b"1"]);
        }
        bench
    }

    fn run(&mut self, name: &str, calls: usize, keys: usize) {
        for n in 0..calls {
            let at = n.wrapping_mul(7_919_999) % keys;
            let key = key(at);
            match name {
                "get" => self.call(&[b"get", &key]),
                "set" => self.call(&[b"set", &key, VALUE]),
                "set_ex" => self.call(&[b"set", &key, VALUE, b"ex", b"100"]),
                "incr" => self.call(&[b"incr", &counter(at)]),
                "getbit" => self.call(&[b"getbit", &key, b"100"]),
                "append" => self.call(&[b"append", &key, b"x"]),
                "mget" => self.many(b"mget", at, keys, false),
                "mset" => self.many(b"mset", at, keys, true),
                other => panic!("{other}: no such case"),
            }
        }
    }

    fn many(&mut self, name: &[u8], at: usize, keys: usize, with_values: bool) {
        let several: [_; MANY] = std::array::from_fn(|i| key((at + i * 104_729) % keys));
        let mut args = Vec::with_capacity(1 + 2 * MANY);
        args.push(name);
        for key in &several {
            args.push(key);
            if with_values {
                args.push(VALUE);
            }
        }
        self.call(&args);
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

fn key(n: usize) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    digits(&mut key[4..], n);
    key
}

fn counter(n: usize) -> [u8; 16] {
    let mut key = *b"num:000000000000";
    digits(&mut key[4..], n);
    key
}

fn digits(text: &mut [u8], mut n: usize) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (n % 10) as u8;
        n /= 10;
    }
}
