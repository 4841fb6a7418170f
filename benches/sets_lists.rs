//! Commands of sets and lists by themselves, without protocol or network.
//!
//! `cargo bench --bench sets_lists -- time [elements]` prints nanoseconds for each call on a set and a
//! list of so many elements of 16 bytes (10, 10,000 and 1,000,000 by default), `-- count [COMMAND]` the
//! instructions at every size (needs valgrind). What adds also removes, so that the size stays.

mod alone;
mod counted;

use alone::{Alone, put_digits};
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: ringdove::stdx::allocator::Mimalloc = ringdove::stdx::allocator::Mimalloc;

const COMMANDS: [&str; 9] = [
    "sadd_srem",
    "sismember",
    "srandmember",
    "spop_sadd",
    "lpush_lpop",
    "rpush_lpop",
    "lindex",
    "lrange",
    "lset",
];
const SIZES: [usize; 3] = [10, 10_000, 1_000_000];

fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let number = |at: usize| args.get(at).map(|a| a.parse::<usize>().expect("a number"));
    if args.first().is_some_and(|a| a == "once") {
        let mut bench = Bench::new(number(4).unwrap_or(10_000));
        return counted::cases(&args, |name, calls| bench.run(name, calls));
    }
    if args.first().is_some_and(|a| a == "count") {
        let filter = args.get(1).map_or("", String::as_str);
        return counted::print(&[&COMMANDS], &SIZES, &counted::Calls::USUAL, filter);
    }
    let sizes = number(1).map_or(SIZES.to_vec(), |n| vec![n]);
    for elements in sizes {
        for name in COMMANDS {
            let calls = 1000.max(elements / 2);
            let mut bench = Bench::new(elements);
            let began = Instant::now();
            bench.run(name, calls);
            let ns = began.elapsed().as_nanos() as f64 / calls as f64;
            println!("{name:12} {ns:8.1} ns a call on {elements} elements");
        }
    }
}

struct Bench {
    alone: Alone,
    elements: usize,
    /// Elements that were added and taken away again: each is a new one.
    others: usize,
}

impl Bench {
    fn new(elements: usize) -> Self {
        let mut bench = Self {
            alone: Alone::new(),
            elements,
            others: elements,
        };
        for n in 0..elements {
            bench.alone.call(&[b"sadd", b"set", &element(n)]);
            bench.alone.call(&[b"rpush", b"list", &element(n)]);
        }
        bench
    }

    fn run(&mut self, name: &str, calls: usize) {
        for n in 0..calls {
            self.others += 1;
            let other = element(self.others);
            let at = n.wrapping_mul(7_919_999) % self.elements;
            let index = at.to_string();
            let index = index.as_bytes();
            match name {
                "sadd_srem" => {
                    self.alone.call(&[b"sadd", b"set", &other]);
                    self.alone.call(&[b"srem", b"set", &other]);
                }
                "sismember" => self.alone.call(&[b"sismember", b"set", &element(at)]),
                "srandmember" => self.alone.call(&[b"srandmember", b"set"]),
                "spop_sadd" => {
                    self.alone.call(&[b"spop", b"set"]);
                    self.alone.call(&[b"sadd", b"set", &other]);
                }
                "lpush_lpop" => {
                    self.alone.call(&[b"lpush", b"list", &element(at)]);
                    self.alone.call(&[b"lpop", b"list"]);
                }
                "rpush_lpop" => {
                    self.alone.call(&[b"rpush", b"list", &element(at)]);
                    self.alone.call(&[b"lpop", b"list"]);
                }
                "lindex" => self.alone.call(&[b"lindex", b"list", index]),
                "lrange" => self.alone.call(&[b"lrange", b"list", b"0", b"99"]),
                "lset" => self.alone.call(&[b"lset", b"list", index, &element(n)]),
                other => panic!("{other}: no such case"),
            }
        }
    }
}

fn element(n: usize) -> [u8; 16] {
    let mut text = *b"element:00000000";
    put_digits(&mut text[8..], n);
    text
}
