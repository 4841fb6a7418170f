//! The keyspace by itself: time of each operation, its longest single case while the table grows and
//! is emptied, and memory for each key.
//!
//! `cargo bench --bench table -- time [keys]`, `-- latency [keys]`, `-- memory [keys] [value bytes]
//! [ttl]`, `-- once OPERATION` (under `valgrind --tool=callgrind --toggle-collect='*_one*'`, which
//! counts the instructions of a thousand operations).
#![expect(unsafe_code, reason = "reads the thread's CPU clock")]

use ringdove::keyspace::{CURSOR_END, Expiry, Hasher, Keyspace, NewValue, Slot};
use std::hint::black_box;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: ringdove::stdx::allocator::Mimalloc = ringdove::stdx::allocator::Mimalloc;

const DEFAULT_KEYS: u64 = 5_000_000;

fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let number = |i: usize, default: u64| {
        args.get(i)
            .map_or(default, |a| a.parse().expect("a number"))
    };
    match args.first().map(String::as_str) {
        Some("time") => time(number(1, DEFAULT_KEYS)),
        Some("latency") => latency(number(1, 20_000_000)),
        Some("memory") => memory(
            number(1, DEFAULT_KEYS),
            number(2, 64) as usize,
            number(3, 0) != 0,
        ),
        Some("once") => once(args.get(1).map_or("", String::as_str)),
        _ => {
            time(200_000);
            latency(1_000_000);
            memory(200_000, 64, false);
        }
    }
}

/// `key:000000000042`: 16 bytes.
fn key(n: u64) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    let mut rest = n;
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

/// A number that visits all below `total` in an order without pattern.
fn shuffled(n: u64, total: u64) -> u64 {
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c55;
    (u128::from(n) * u128::from(PRIME) % u128::from(total)) as u64
}

fn keyspace() -> Keyspace {
    let (supply, supplier) = ringdove::keyspace::supply();
    std::thread::spawn(|| supplier.run());
    Keyspace::supplied(16, Hasher::new([1, 2]), Some(supply))
}

fn put(space: &mut Keyspace, n: u64, value: &[u8], expiry: Expiry) {
    let key = key(n);
    let pos = space.pos(&key);
    let value = NewValue::Str {
        bytes: value,
        raw: false,
    };
    space.db_mut(0).set(pos, &key, value, expiry, 0);
}

fn filled(keys: u64, value: &[u8]) -> Keyspace {
    let mut space = keyspace();
    for n in 0..keys {
        put(&mut space, n, value, Expiry::Keep);
    }
    space
}

fn report(name: &str, count: u64, start: Instant) {
    println!(
        "{name:32} {:8.1} ns",
        start.elapsed().as_nanos() as f64 / count as f64
    );
}

fn time(keys: u64) {
    let value = [b'v'; 64];
    let start = Instant::now();
    for n in 0..keys {
        black_box(key(shuffled(n, keys)));
    }
    report("make key", keys, start);
    let start = Instant::now();
    for n in 0..keys {
        black_box(Slot::of(&key(shuffled(n, keys))));
    }
    report("make key, slot", keys, start);
    let hasher = Hasher::new([1, 2]);
    let start = Instant::now();
    for n in 0..keys {
        black_box(hasher.pos(&key(shuffled(n, keys))));
    }
    report("make key, position", keys, start);
    let start = Instant::now();
    let mut space = filled(keys, &value);
    report("insert while growing", keys, start);
    let start = Instant::now();
    for n in 0..keys {
        put(&mut space, shuffled(n, keys), &value, Expiry::Keep);
    }
    report("overwrite", keys, start);
    find(&space, keys, 0, "find hit");
    find(&space, keys, keys, "find miss");
    find_in_batches(&space, keys);
    let start = Instant::now();
    let mut cursor = 0;
    while cursor != CURSOR_END {
        cursor = space.db(0).scan(cursor, CURSOR_END, 10, 1, |e| {
            black_box(e.key());
        });
    }
    report("scan, 10 a call", keys, start);
    let mut draw = 1u64;
    let start = Instant::now();
    for _ in 0..keys / 10 {
        let next = || {
            draw = draw
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            draw ^ draw >> 29
        };
        black_box(space.db(0).random(1, next));
    }
    report("random key", keys / 10, start);
    let mut removed = 0;
    let start = Instant::now();
    for n in 0..keys {
        let key = key(shuffled(n, keys));
        let pos = space.pos(&key);
        removed += u64::from(space.db_mut(0).remove(pos, &key));
    }
    report("remove", keys, start);
    println!("{removed} of {keys} removed");
}

fn find(space: &Keyspace, keys: u64, offset: u64, name: &str) {
    let start = Instant::now();
    for n in 0..keys {
        let key = key(shuffled(n, keys) + offset);
        black_box(space.db(0).lookup(space.pos(&key), &key, 1).live());
    }
    report(name, keys, start);
}

fn find_in_batches(space: &Keyspace, keys: u64) {
    let db = space.db(0);
    let start = Instant::now();
    for batch in 0..keys / 16 {
        let keys: [[u8; 16]; 16] =
            std::array::from_fn(|i| key(shuffled(batch * 16 + i as u64, keys)));
        let positions = keys.map(|k| space.pos(&k));
        positions.iter().for_each(|p| db.prefetch_directory(*p));
        positions.iter().for_each(|p| db.prefetch_segment(*p));
        positions.iter().for_each(|p| db.prefetch_entry(*p));
        for (key, pos) in keys.iter().zip(positions) {
            black_box(db.lookup(pos, key, 1).live().map(|e| e.value()));
        }
    }
    report("find hit, prefetched by 16", keys, start);
}

/// CPU time of this thread, which a neighbour on the core does not lengthen.
fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a timespec of ours.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(done, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What each operation of a phase took at best over several runs of the same operations: what the
/// machine does to one run (interrupts, a neighbour on a virtual machine) does not come again at the
/// same operation, but what the table does is the same in each.
struct Best {
    name: &'static str,
    /// Nanoseconds of each operation.
    ns: Vec<u32>,
    /// The next operation of this run.
    next: usize,
    /// The longest of the first run, in nanoseconds.
    longest_of_first: u32,
}

impl Best {
    const LIMITS_US: [u32; 4] = [10, 100, 500, 1000];

    fn new(name: &'static str) -> Self {
        Self {
            name,
            ns: Vec::new(),
            next: 0,
            longest_of_first: 0,
        }
    }

    fn measured<R>(&mut self, operation: impl FnOnce() -> R) -> R {
        let start = cpu_time();
        let result = operation();
        let took = (cpu_time() - start).as_nanos().min(u128::from(u32::MAX)) as u32;
        match self.ns.get_mut(self.next) {
            Some(best) => *best = took.min(*best),
            None => {
                self.ns.push(took);
                self.longest_of_first = self.longest_of_first.max(took);
            }
        }
        self.next += 1;
        result
    }

    fn run_ends(&mut self) {
        assert_eq!(self.next, self.ns.len(), "each run does the same");
        self.next = 0;
    }

    fn print(mut self) {
        let over = Self::LIMITS_US.map(|us| self.ns.iter().filter(|ns| **ns >= us * 1000).count());
        let count = self.ns.len();
        self.ns.sort_unstable();
        let worst: Vec<u32> = self.ns.iter().rev().take(10).map(|ns| ns / 1000).collect();
        println!(
            "{}: {count} operations; at least {:?} us: {over:?}; longest, us: {worst:?} (of one run: {})",
            self.name,
            Self::LIMITS_US,
            self.longest_of_first / 1000
        );
    }
}

fn latency(keys: u64) {
    const RUNS: usize = 3;
    let mut insert = Best::new("insert");
    let mut remove = Best::new("remove");
    let mut expire = Best::new("expire, budget 2000");
    let mut free = Best::new("free, budget 2000");
    for _ in 0..RUNS {
        let mut space = keyspace();
        for n in 0..keys {
            insert.measured(|| put(&mut space, n, &[b'v'; 16], Expiry::At(1000 + n % 2)));
        }
        for n in 0..keys / 2 {
            remove.measured(|| remove_one(&mut space, n));
        }
        while !space.db(0).is_empty() {
            expire.measured(|| {
                space.db_mut(0).expire_slice(2000, 2000, |e, _| {
                    black_box(e);
                });
            });
        }
        for n in 0..keys {
            put(&mut space, n, &[b'v'; 16], Expiry::Keep);
        }
        space.clear();
        while free.measured(|| space.free_some(2000)) {}
        for phase in [&mut insert, &mut remove, &mut expire, &mut free] {
            phase.run_ends();
        }
    }
    for phase in [insert, remove, expire, free] {
        phase.print();
    }
}

fn rss_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = statm
        .split(' ')
        .nth(1)
        .expect("two fields")
        .parse()
        .expect("a number");
    pages * 4096
}

fn memory(keys: u64, value_bytes: usize, ttl: bool) {
    let before = rss_bytes();
    let mut space = keyspace();
    let expiry = if ttl {
        Expiry::At(1 << 41)
    } else {
        Expiry::Keep
    };
    let value = vec![b'v'; value_bytes];
    let step = (keys / 20).max(1);
    for n in 0..keys {
        put(&mut space, n, &value, expiry);
        if (n + 1) % step == 0 {
            let count = (n + 1) as f64;
            println!(
                "{:>10} keys of 16 B, values of {value_bytes} B, ttl {ttl}: RSS {:.1}, used {:.1}, pages {:.1} bytes each",
                n + 1,
                (rss_bytes() - before) as f64 / count,
                space.used_bytes() as f64 / count,
                space.paged_bytes() as f64 / count,
            );
        }
    }
}

/// A thousand operations, each a function of its own for the profiler.
fn once(operation: &str) {
    const KEYS: u64 = 100_000;
    let mut space = filled(KEYS, &[b'v'; 64]);
    for n in 0..1000 {
        let n = shuffled(n, KEYS);
        match operation {
            "hit" => find_one(&space, n),
            "miss" => find_one(&space, n + KEYS),
            "overwrite" => put_one(&mut space, n),
            "insert" => put_one(&mut space, n + KEYS),
            "remove" => remove_one(&mut space, n),
            other => panic!("no operation {other:?}"),
        }
    }
}

#[inline(never)]
fn find_one(space: &Keyspace, n: u64) {
    let key = key(n);
    black_box(space.db(0).lookup(space.pos(&key), &key, 1).live());
}

#[inline(never)]
fn put_one(space: &mut Keyspace, n: u64) {
    put(space, n, &[b'w'; 64], Expiry::Clear);
}

#[inline(never)]
fn remove_one(space: &mut Keyspace, n: u64) {
    let key = key(n);
    let pos = space.pos(&key);
    black_box(space.db_mut(0).remove(pos, &key));
}
