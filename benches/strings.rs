//! The hottest commands by themselves, without protocol or network: time and instructions of one
//! call of a command's function.
//!
//! `cargo bench --bench strings -- time [keys]` prints nanoseconds for each call over random keys;
//! `-- count [PART OF A NAME]` instructions for each call (needs valgrind); `-- once COMMAND CALLS`
//! makes calls over few keys for a profiler.

mod alone;
mod counted;

use alone::{Alone, put_digits};
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: ringdove::stdx::allocator::Mimalloc = ringdove::stdx::allocator::Mimalloc;

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
        let mut bench = Bench::new(100);
        return counted::cases(&args, |name, calls| bench.run(name, calls, 100));
    }
    if args.first().is_some_and(|a| a == "count") {
        let filter = args.get(1).map_or("", String::as_str);
        // What one does to the values the next one would pay for.
        let alone: Vec<&[&str]> = COMMANDS.chunks(1).collect();
        return counted::print(&alone, &[], &counted::Calls::USUAL, filter);
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
    alone: Alone,
}

impl Bench {
    fn new(keys: usize) -> Self {
        let mut bench = Self {
            alone: Alone::new(),
        };
        for n in 0..keys {
            bench.alone.call(&[b"set", &key(n), VALUE]);
            bench.alone.call(&[b"set", &counter(n), b"1"]);
        }
        bench
    }

    fn run(&mut self, name: &str, calls: usize, keys: usize) {
        for n in 0..calls {
            let at = n.wrapping_mul(7_919_999) % keys;
            let key = key(at);
            match name {
                "get" => self.alone.call(&[b"get", &key]),
                "set" => self.alone.call(&[b"set", &key, VALUE]),
                "set_ex" => self.alone.call(&[b"set", &key, VALUE, b"ex", b"100"]),
                "incr" => self.alone.call(&[b"incr", &counter(at)]),
                "getbit" => self.alone.call(&[b"getbit", &key, b"100"]),
                "append" => self.alone.call(&[b"append", &key, b"x"]),
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
        self.alone.call(&args);
    }
}

fn key(n: usize) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    put_digits(&mut key[4..], n);
    key
}

fn counter(n: usize) -> [u8; 16] {
    let mut key = *b"num:000000000000";
    put_digits(&mut key[4..], n);
    key
}
