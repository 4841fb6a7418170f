//! Sorted sets by themselves, without protocol or network: time and instructions of one operation of
//! the structure and of one call of a command's function, and memory for each member.
//!
//! `cargo bench --bench zset -- time [members]` prints nanoseconds for each operation on a set of
//! that size; `-- memory [members]` bytes; `-- count [OPERATION]` the instructions of an operation at
//! every size (needs valgrind), `-- count OPERATION MEMBERS` at one. `-- depth` shows how they grow
//! with the set, from a thousand members to ten million: by a level of the tree, so with the
//! logarithm (some minutes, 2 GB).

mod alone;
mod counted;

use alone::{Alone, put_digits};
use ringdove::keyspace::{Hasher, Object};
use ringdove::types::zset::SortedSet;
use std::hint::black_box;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: ringdove::stdx::allocator::Mimalloc = ringdove::stdx::allocator::Mimalloc;

/// Operations of the structure.
const STRUCTURE: [&str; 9] = [
    "score",
    "rank",
    "rescore",
    "near",
    "add_pop",
    "remove_add",
    "select",
    "range10",
    "count",
];
/// Commands; `zrange` reads ten members anywhere, `zrevrange` the ten best with their scores.
const COMMANDS: [&str; 10] = [
    "zscore",
    "zadd",
    "zincrby",
    "zrem_zadd",
    "zrank",
    "zrevrank",
    "zrange",
    "zrevrange",
    "zcount",
    "zpopmin_zadd",
];
const GROUPS: [&[&str]; 2] = [&STRUCTURE, &COMMANDS];
const SIZES: [usize; 3] = [10, 10_000, 1_000_000];
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
            let mut bench = Bench::new(number(4, 10_000));
            bench.fill(&args[1]);
            counted::cases(&args, |name, calls| bench.run(name, calls));
        }
        Some("count") => {
            let filter = args.get(1).map_or("", String::as_str);
            let one = args.get(2).map(|_| number(2, 0));
            let sizes = one.map_or(SIZES.to_vec(), |size| vec![size]);
            counted::print(&GROUPS, &sizes, &counted::Calls::USUAL, filter);
        }
        Some("depth") => counted::print(&GROUPS, &DEPTHS, &counted::Calls::USUAL, ""),
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
    for name in STRUCTURE.into_iter().chain(COMMANDS) {
        // What pops or adds leaves the size as it was.
        bench.run(name, CALLS / 10);
        let began = Instant::now();
        bench.run(name, CALLS);
        let ns = began.elapsed().as_nanos() as f64 / CALLS as f64;
        println!("{name:12} {ns:8.1} ns over {members} members");
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
    /// Calls so far.
    calls: usize,
    sum: usize,
}

impl Bench {
    fn new(members: usize) -> Self {
        Self {
            set: SortedSet::new(Hasher::new([1, 2])),
            members,
            alone: Alone::new(),
            at: 0,
            calls: 0,
            sum: 0,
        }
    }

    /// Adds the members to what the named operations work on: the command's key or the structure.
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
            self.calls += 1;
            let member = member(self.at);
            if name.starts_with('z') {
                self.command(name, &member);
            } else {
                self.operation(name, &member);
            }
        }
        black_box(self.sum);
    }

    /// A score anywhere in the set, another one each time that a member has its turn.
    fn other_score(&self) -> usize {
        let turn = self.calls / self.members;
        mixed(self.at + (turn + 1) * self.members) as usize % self.members
    }

    fn operation(&mut self, name: &str, member: &[u8; 16]) {
        match name {
            "score" => self.sum += self.set.score(member).map_or(0, |s| s as usize),
            "rank" => {
                let found = self.set.find(member).expect("it is there");
                self.sum += self.set.rank(&found);
            }
            "rescore" => {
                let to = self.other_score() as f64;
                self.sum += self.set.set(member, to).map_or(0, |s| s as usize);
            }
            "near" => {
                let found = self.set.find(member).expect("it is there");
                self.set.rescore(found, member, found.score + 0.25);
            }
            "add_pop" => {
                let mut popped = [0; 16];
                self.set
                    .remove_range(0, 1, |(_, m)| popped.copy_from_slice(m));
                self.set.set(&popped, score(self.at, self.members));
            }
            "remove_add" => {
                let score = self.set.remove(member).expect("it is there");
                self.set.set(member, score);
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
            other => panic!("{other}: no such operation"),
        }
    }

    fn command(&mut self, name: &str, member: &[u8; 16]) {
        let (low, high) = (self.at.to_string(), (self.at + 9).to_string());
        let (low, high) = (low.as_bytes(), high.as_bytes());
        let other = self.other_score().to_string();
        let alone = &mut self.alone;
        match name {
            "zscore" => alone.call(&[b"zscore", b"z", member]),
            "zadd" => alone.call(&[b"zadd", b"z", other.as_bytes(), member]),
            "zincrby" => alone.call(&[b"zincrby", b"z", b"1", member]),
            "zrem_zadd" => {
                alone.call(&[b"zrem", b"z", member]);
                alone.call(&[b"zadd", b"z", low, member]);
            }
            "zrank" => alone.call(&[b"zrank", b"z", member]),
            "zrevrank" => alone.call(&[b"zrevrank", b"z", member]),
            "zrange" => alone.call(&[b"zrange", b"z", low, high]),
            "zrevrange" => alone.call(&[b"zrevrange", b"z", b"0", b"9", b"withscores"]),
            "zcount" => alone.call(&[b"zcount", b"z", b"100", high]),
            "zpopmin_zadd" => {
                alone.call(&[b"zpopmin", b"z"]);
                // *2, $16 and the member.
                let mut popped = [0; 16];
                popped.copy_from_slice(&alone.out.buf[9..25]);
                alone.call(&[b"zadd", b"z", low, &popped]);
            }
            other => panic!("{other}: no such command"),
        }
    }
}

/// `member:000000042`: 16 bytes.
fn member(n: usize) -> [u8; 16] {
    let mut text = *b"member:000000000";
    put_digits(&mut text[7..], n);
    text
}

/// Scores without a pattern, some of them equal. (Evenly spread ones would fill all leaves alike, and
/// at some sizes every change would split one.)
fn score(n: usize, members: usize) -> f64 {
    (mixed(n) % (members as u64 + 3)) as f64
}

/// A number that depends on all bits of another one (the finalizer of MurmurHash3).
fn mixed(n: usize) -> u64 {
    let mut n = n as u64;
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        n = (n ^ (n >> 33)).wrapping_mul(factor);
    }
    n ^ (n >> 33)
}
