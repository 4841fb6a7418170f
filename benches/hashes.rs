//! The hottest commands on hashes by themselves, without protocol or network: time and instructions
//! of one call of a command's function, on hashes of 10, 10,000 and 1,000,000 fields.
//!
//! `cargo bench --bench hashes -- time [fields]` prints nanoseconds for each call and bytes for each
//! field, `-- count [COMMAND]` the instructions of a call at every size (needs valgrind).

mod alone;
mod counted;

use alone::{Alone, put_digits};
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: ringdove::stdx::allocator::Mimalloc = ringdove::stdx::allocator::Mimalloc;

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
        let mut bench = Bench::new(number(4, 10));
        return counted::cases(&args, |name, calls| bench.run(name, calls));
    }
    if args.first().is_some_and(|a| a == "count") {
        let filter = args.get(1).map_or("", String::as_str);
        return counted::print(&[&COMMANDS], &SIZES, &counted::Calls::USUAL, filter);
    }
    let sizes = match args.get(1) {
        Some(_) => vec![number(1, 0)],
        None => SIZES.to_vec(),
    };
    for fields in sizes {
        let mut bench = Bench::new(fields);
        let bytes = bench.alone.shard.keyspace.used_bytes() as f64 / fields as f64 / 2.0;
        println!("{fields} fields of 16 bytes with 16 or 1: {bytes:.1} bytes a field");
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
    alone: Alone,
    fields: usize,
}

impl Bench {
    fn new(fields: usize) -> Self {
        let mut bench = Self {
            alone: Alone::new(),
            fields,
        };
        for n in 0..fields {
            bench.alone.call(&[b"hset", b"hash", &field(n), VALUE]);
            bench.alone.call(&[b"hset", b"numbers", &field(n), b"1"]);
        }
        bench
    }

    fn run(&mut self, name: &str, calls: usize) {
        for n in 0..calls {
            let at = n.wrapping_mul(7_919_999) % self.fields;
            let field = field(at);
            match name {
                "hget" => self.alone.call(&[b"hget", b"hash", &field]),
                "hset" => self.alone.call(&[b"hset", b"hash", &field, VALUE]),
                "hincrby" => self.alone.call(&[b"hincrby", b"numbers", &field, b"1"]),
                "hmget" => self
                    .alone
                    .call(&[b"hmget", b"hash", &field, b"none", &field]),
                "hrandfield" => self.alone.call(&[b"hrandfield", b"hash"]),
                "hdel_hset" => {
                    self.alone.call(&[b"hdel", b"hash", &field]);
                    self.alone.call(&[b"hset", b"hash", &field, VALUE]);
                }
                "hexpire" => {
                    self.alone
                        .call(&[b"hexpire", b"hash", b"1000", b"fields", b"1", &field]);
                }
                other => panic!("{other}: no such case"),
            }
        }
    }
}

fn field(n: usize) -> [u8; 16] {
    let mut field = *b"field:0000000000";
    put_digits(&mut field[6..], n);
    field
}
