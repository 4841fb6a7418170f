//! The table of members by itself: memory, time and instructions.
//!
//! `cargo bench --bench members -- time [members]` prints nanoseconds and resident bytes for each
//! member of 16 bytes. `-- once OPERATION CALLS MEMBERS` makes that many calls; under
//! `valgrind --tool=callgrind`, the difference between two numbers of calls is what a call costs in
//! instructions.

use ringdove::keyspace::Hasher;
use ringdove::types::members::{MemberMap, MemberSet};
use std::hint::black_box;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: ringdove::stdx::allocator::Mimalloc = ringdove::stdx::allocator::Mimalloc;

const OPERATIONS: [&str; 7] = ["insert", "find", "miss", "draw", "scan", "iter", "pop"];

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
        let name = args.get(1).map_or("find", String::as_str);
        let mut set = filled(number(3, 10_000));
        return run(&mut set, name, number(2, 1000));
    }
    let members = number(1, 1_000_000);
    println!(
        "set: {:.1} resident bytes a member",
        resident(members, filled)
    );
    let fields = |count: usize| {
        let mut map = MemberMap::new(Hasher::new([1, 2]));
        (0..count).for_each(|n| assert!(map.set(&member(n), b"value:00")));
        map
    };
    println!(
        "map: {:.1} resident bytes a field with 8 bytes",
        resident(members, fields)
    );
    let mut set = filled(members);
    println!(
        "{:.1} bytes a member by its own count",
        set.heap_bytes() as f64 / members as f64
    );
    for name in OPERATIONS {
        let began = Instant::now();
        let calls = members / 2;
        run(&mut set, name, calls);
        println!(
            "{name:8} {:8.1} ns",
            began.elapsed().as_nanos() as f64 / calls as f64
        );
    }
}

fn member(n: usize) -> [u8; 16] {
    let mut text = *b"member:000000000";
    let mut rest = n;
    for digit in text.iter_mut().rev().take(9) {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    text
}

fn filled(members: usize) -> MemberSet {
    let mut set = MemberSet::new(Hasher::new([1, 2]));
    (0..members).for_each(|n| assert!(set.insert(&member(n))));
    set
}

/// Resident bytes that each element of what `make` makes adds to the process.
fn resident<T>(members: usize, make: impl Fn(usize) -> T) -> f64 {
    let before = resident_bytes();
    let made = make(members);
    let after = resident_bytes();
    black_box(&made);
    (after - before) as f64 / members as f64
}

fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = text
        .split(' ')
        .nth(1)
        .and_then(|n| n.parse().ok())
        .expect("a number");
    pages * 4096
}

fn run(set: &mut MemberSet, name: &str, calls: usize) {
    let len = set.len().max(1);
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    let mut cursor = 0;
    match name {
        "iter" => {
            black_box(set.iter().take(calls).map(|e| e.key.len()).sum::<usize>());
        }
        "scan" => {
            for _ in 0..calls / 10 {
                cursor = set.scan(cursor, 10, |e| {
                    black_box(e.key);
                });
            }
        }
        _ => {
            for call in 0..calls {
                match name {
                    "insert" => assert!(set.insert(&member(len + call))),
                    "find" => assert!(set.contains(&member(random() as usize % len))),
                    "miss" => {
                        assert!(!set.contains(&member(500_000_000 + random() as usize % len)))
                    }
                    "draw" => drop(black_box(set.draw(&mut random))),
                    "pop" => {
                        let at = set.draw(&mut random).expect("there are enough");
                        set.remove_at(at);
                    }
                    other => panic!("no operation {other}"),
                }
            }
        }
    }
}
