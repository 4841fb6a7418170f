//! Commands on streams by themselves, without protocol or network: time and instructions of one call
//! of a command's function.
//!
//! `cargo bench --bench streams -- time` prints nanoseconds for each call over streams of 10, 10,000
//! and 1,000,000 entries. `-- once CASE CALLS ENTRIES` makes that many calls; under `valgrind
//! --tool=callgrind`, the difference between two numbers of calls is what a call costs in
//! instructions.

mod alone;
mod counted;

use alone::{Alone, put_digits};
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
        let mut bench = Bench::new(number(3, 10));
        return counted::region(|| bench.run(case, number(2, 1000)));
    }
    if args.first().is_some_and(|a| a == "count") {
        let filter = args.get(1).map_or("", String::as_str);
        return counted::print(&CASES, &SIZES, &counted::Calls::USUAL, filter);
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
    alone: Alone,
    entries: usize,
}

impl Bench {
    /// A stream `s` of so many entries with IDs from 1-0 on, and a group that has read none.
    fn new(entries: usize) -> Self {
        let mut bench = Self {
            alone: Alone::new(),
            entries,
        };
        for n in 1..=entries {
            bench
                .alone
                .call(&[b"xadd", b"s", &text(n), b"field", VALUE]);
        }
        bench.alone.call(&[b"xgroup", b"create", b"s", b"g", b"0"]);
        bench
    }

    fn run(&mut self, case: &str, calls: usize) {
        for n in 1..=calls {
            let id = text(1 + n.wrapping_mul(7_919_999) % self.entries);
            match case {
                "xadd" => self.alone.call(&[b"xadd", b"s", b"*", b"field", VALUE]),
                "xadd_maxlen" => self.alone.call(&[
                    b"xadd", b"s", b"maxlen", b"~", b"1000", b"*", b"field", VALUE,
                ]),
                "xrange_10" => self
                    .alone
                    .call(&[b"xrange", b"s", &id, b"+", b"count", b"10"]),
                "xrevrange_10" => {
                    self.alone
                        .call(&[b"xrevrange", b"s", &id, b"-", b"count", b"10"])
                }
                "xread_10" => self
                    .alone
                    .call(&[b"xread", b"count", b"10", b"streams", b"s", &id]),
                "readgroup_ack" => {
                    self.alone.call(&[
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
                    self.alone.call(&[b"xack", b"s", b"g", &text(n)]);
                }
                "xdel" => self.alone.call(&[b"xdel", b"s", &text(n)]),
                other => panic!("{other}: no such case"),
            }
        }
    }
}

fn text(n: usize) -> [u8; 12] {
    let mut text = *b"1000000000-0";
    put_digits(&mut text[1..10], n);
    text
}
