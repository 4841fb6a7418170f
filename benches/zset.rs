//! Sorted sets by themselves, without protocol or network: time and instructions of one operation of
//! the structure and of one call of a command's function, and memory for each member.
//!
//! `cargo bench --bench zset -- time [members]` prints nanoseconds for each operation on a set of
//! that size; `-- memory [members]` bytes; `-- count [OPERATION]` the instructions of an operation at
//! every size (needs valgrind), `-- count OPERATION MEMBERS` at one. `-- depth` shows how those of the
//! structure grow with the set, from a thousand members to ten million: by a level of the tree, so
//! with the logarithm.

mod alone;
mod counted;

use alone::{Alone, put_digits};
use ringdove::keyspace::{Hasher, Object};
use ringdove::types::zset::SortedSet;
use std::hint::black_box;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Of the structure, then of commands.
const OPERATIONS: [&str; 14] = [
    "score",
    "rank",
    "rescore",
    "near",
    "add_pop",
    "remove_add",
    "select",
    "range10",
    "count",
    "zadd",
    "zincrby",
    "zrevrank",
    "zrevrange",
    "zpopmin",
];
const SIZES: [usize; 3] = [10, 10_000, 1_000_000];

/// What grows with the depth: ZRANK, ZADD of a member that is there, ZREM and ZADD, ZRANGE by rank (of
/// one and of ten), ZCOUNT (each of its two bounds).
const DEEP: [&str; 6] = [
    "rank",
    "rescore",
    "remove_add",
    "select",
    "range10",
    "count",
];
const DEPTHS: [usize; 5] = [1000, 10_000, 100_000, 1_000_000, 10_000_000];

fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let number = |at: usize, default: usize| {
        args.get(at)
            .map_or(default, |a| a.parse().expect("a number"))
    };
    match args.first().map(String::as_str) {
        Some("once") => {
            let name = args.get(1).map_or("score", String::as_str);
            let mut bench = Bench::new(number(3, 10_000));
            bench.fill(name);
            counted::region(|| bench.run(name, number(2, 1000)));
        }
        Some("count") => {
            let filter = args.get(1).map_or("", String::as_str);
            let one = args.get(2).map(|_| number(2, 0));
            let sizes = one.map_or(SIZES.to_vec(), |size| vec![size]);
            counted::print(&OPERATIONS, &sizes, &counted::Calls::USUAL, filter);
        }
        Some("depth") => counted::print(&DEEP, &DEPTHS, &counted::Calls::USUAL, ""),
        Some("time") => time(number(1, 1_000_000)),
        Some("memory") => memory(number(1, 1_000_000)),
        _ => {
            SIZES.into_iter().for_each(time);
            memory(1_000_000);
        }
    }
}

fn time(members: usize) {
    const CALLS: usize = 300_000;
    let mut bench = Bench::new(members);
    bench.fill("score");
    bench.fill("zadd");
    for name in OPERATIONS {
        // What pops or adds leaves the size as it was.
        bench.run(name, CALLS / 10);
        let began = Instant::now();
        bench.run(name, CALLS);
        let ns = began.elapsed().as_nanos() as f64 / CALLS as f64;
        println!("{name:10} {ns:8.1} ns over {members} members");
    }
}

fn memory(members: usize) {
    let mut set = SortedSet::new(Hasher::new([1, 2]));
    let began = Instant::now();
    for n in 0..members {
        set.set(&member(n), score(n, members));
    }
    let ns = began.elapsed().as_nanos() as f64 / members as f64;
    let bytes = set.heap_bytes() as f64 / members as f64;
    println!("{bytes:.1} bytes a member, {ns:.0} ns to add one, {members} members");
}

struct Bench {
    set: SortedSet,
    members: usize,
    alone: Alone,
    /// Steps through the members without a pattern.
    at: usize,
    sum: usize,
}

impl Bench {
    fn new(members: usize) -> Self {
        Self {
            set: SortedSet::new(Hasher::new([1, 2])),
            members,
            alone: Alone::new(),
            at: 0,
            sum: 0,
        }
    }

    /// Adds the members to what an operation works on: the command's key or the structure.
    fn fill(&mut self, name: &str) {
        for n in 0..self.members {
            let score = score(n, self.members);
            if name.starts_with('z') {
                let text = score.to_string();
                self.alone
                    .call(&[b"zadd", b"z", text.as_bytes(), &member(n)]);
            } else {
                self.set.set(&member(n), score);
            }
        }
    }

    fn run(&mut self, name: &str, calls: usize) {
        for _ in 0..calls {
            self.at = (self.at + 7_919_999) % self.members;
            let member = member(self.at);
            match name {
                "score" => self.sum += self.set.score(&member).map_or(0, |s| s as usize),
                "rank" => {
                    let found = self.set.find(&member).expect("it is there");
                    self.sum += self.set.rank(&found);
                }
                "rescore" => {
                    let to = (self.at * 31 % self.members) as f64;
                    self.sum += self.set.set(&member, to).map_or(0, |s| s as usize);
                }
                "near" => {
                    let found = self.set.find(&member).expect("it is there");
                    self.set.rescore(found, &member, found.score + 0.25);
                }
                "add_pop" => {
                    let mut popped = [0; 16];
                    self.set
                        .remove_range(0, 1, |(_, m)| popped.copy_from_slice(m));
                    self.set.set(&popped, score(self.at, self.members));
                }
                "remove_add" => {
                    let score = self.set.remove(&member).expect("it is there");
                    self.set.set(&member, score);
                }
                "select" => self.sum += self.set.at(self.at).0 as usize,
                "range10" => {
                    let elements = self.set.ascend(self.at).take(10);
                    self.sum += elements.map(|(_, m)| m.len()).sum::<usize>();
                }
                "count" => {
                    let bound = self.at as f64;
                    self.sum += self.set.count_scores(|s| s < bound);
                }
                "zadd" => {
                    let text = (self.at * 31 % self.members).to_string();
                    self.alone.call(&[b"zadd", b"z", text.as_bytes(), &member]);
                }
                "zincrby" => self.alone.call(&[b"zincrby", b"z", b"1", &member]),
                "zrevrank" => self.alone.call(&[b"zrevrank", b"z", &member]),
                "zrevrange" => self
                    .alone
                    .call(&[b"zrevrange", b"z", b"0", b"9", b"withscores"]),
                "zpopmin" => {
                    self.alone.call(&[b"zpopmin", b"z"]);
                    let at = self.alone.out.buf.len() - 2;
                    let member = self.alone.out.buf[9..25].to_vec();
                    assert!(at > 25);
                    let text = score(self.at, self.members).to_string();
                    self.alone.call(&[b"zadd", b"z", text.as_bytes(), &member]);
                }
                other => panic!("{other}: no such operation"),
            }
        }
        black_box(self.sum);
    }
}

/// `member:000000042`: 16 bytes.
fn member(n: usize) -> [u8; 16] {
    let mut text = *b"member:000000000";
    put_digits(&mut text[7..], n);
    text
}

/// Scores in an order without pattern, some of them equal.
fn score(n: usize, members: usize) -> f64 {
    (n * 7_919 % (members + 3)) as f64
}
