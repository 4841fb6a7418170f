//! Commands on streams by themselves, without protocol or network: time and instructions of one call
//! of a command's function.
//!
//! `cargo bench --bench streams -- time` prints nanoseconds for each call over streams of 10, 10,000
//! and 1,000,000 entries, `-- count [CASE]` the instructions at each of these sizes (needs valgrind).
//! What adds an entry also takes one away, except for `xadd`.

mod alone;
mod counted;

use alone::{Alone, put_digits};
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: ringdove::stdx::allocator::Mimalloc = ringdove::stdx::allocator::Mimalloc;

const VALUE: &[u8] = b"sixteen bytes...";
/// What a worker asks for.
const READ: [&[u8]; 9] = [
    b"xreadgroup",
    b"group",
    b"g",
    b"c",
    b"count",
    b"1",
    b"streams",
    b"s",
    b">",
];
const CASES: [&str; 7] = [
    "xadd",
    "xadd_maxlen",
    "xrange_10",
    "xrevrange_10",
    "xread_10",
    "xadd_xdel",
    "job",
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
        return counted::cases(&args, |case, calls| bench.run(case, calls));
    }
    if args.first().is_some_and(|a| a == "count") {
        let filter = args.get(1).map_or("", String::as_str);
        // Each changes the stream in a way of its own.
        let alone: Vec<&[&str]> = CASES.chunks(1).collect();
        return counted::print(&alone, &SIZES, &counted::Calls::USUAL, filter);
    }
    for entries in SIZES {
        for case in CASES {
            let calls = 200_000.min(entries.max(1000));
            let mut bench = Bench::new(entries);
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
    /// Entries that were ever added with an ID of ours.
    added: usize,
}

impl Bench {
    /// A stream `s` of so many entries whose IDs count up, and a group that has read all of them.
    fn new(entries: usize) -> Self {
        let mut bench = Self {
            alone: Alone::new(),
            entries,
            added: entries,
        };
        for n in 1..=entries {
            bench
                .alone
                .call(&[b"xadd", b"s", &text(n), b"field", VALUE]);
        }
        bench.alone.call(&[b"xgroup", b"create", b"s", b"g", b"$"]);
        bench
    }

    fn run(&mut self, case: &str, calls: usize) {
        for n in 1..=calls {
            self.added += 1;
            let (new, oldest) = (text(self.added), text(self.added - self.entries));
            let id = text(1 + n.wrapping_mul(7_919_999) % self.entries);
            let alone = &mut self.alone;
            match case {
                "xadd" => alone.call(&[b"xadd", b"s", b"*", b"field", VALUE]),
                "xadd_maxlen" => {
                    let most = self.entries.to_string();
                    let most = most.as_bytes();
                    alone.call(&[b"xadd", b"s", b"maxlen", b"~", most, b"*", b"field", VALUE]);
                }
                "xrange_10" => alone.call(&[b"xrange", b"s", &id, b"+", b"count", b"10"]),
                "xrevrange_10" => alone.call(&[b"xrevrange", b"s", &id, b"-", b"count", b"10"]),
                "xread_10" => alone.call(&[b"xread", b"count", b"10", b"streams", b"s", &id]),
                "xadd_xdel" => {
                    alone.call(&[b"xadd", b"s", &new, b"field", VALUE]);
                    alone.call(&[b"xdel", b"s", &oldest]);
                }
                "job" => {
                    alone.call(&[b"xadd", b"s", &new, b"field", VALUE]);
                    alone.call(&READ);
                    alone.call(&[b"xack", b"s", b"g", &new]);
                    alone.call(&[b"xdel", b"s", &oldest]);
                }
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
