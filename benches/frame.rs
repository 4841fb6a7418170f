//! What every request passes, piece by piece: decoding, finding the command, encoding, the ring to
//! another shard, the table.
//!
//! `cargo bench --bench frame -- count [PART OF A NAME]` prints instructions for each call (needs
//! valgrind); `-- time` nanoseconds; `-- once CASE CALLS` makes calls for a profiler.

mod counted;

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use ringdove::command::FAMILIES;
use ringdove::command::registry::Registry;
use ringdove::keyspace::{Expiry, Hasher, Keyspace, NewValue};
use ringdove::mesh::{mesh, ring::ring};
use ringdove::resp::Version;
use ringdove::resp::decode::{Decoded, Frame, Limits, decode};
use ringdove::resp::encode::{Output, Reply};

#[global_allocator]
static ALLOCATOR: ringdove::stdx::allocator::Mimalloc = ringdove::stdx::allocator::Mimalloc;

/// Keys of the cases on a table that is there.
const KEYS: usize = 10_000;
const VALUE: &[u8] = &[b'v'; 64];

const CASES: [&str; 17] = [
    "decode_get",
    "decode_set",
    "decode_mset_of_10",
    "decode_inline",
    "decode_in_two_pieces",
    "find_command",
    "encode_ok",
    "encode_integer",
    "encode_bulk_64",
    "encode_large",
    "encode_array_of_10",
    "ring_push_pop",
    "lane_batch",
    "table_hit",
    "table_miss",
    "table_overwrite",
    "table_remove_insert",
];
/// Cases whose cost is an average over a growing or shrinking table.
const OVER_A_TABLE: [&str; 2] = ["table_grow", "table_grow_shrink"];

fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let text = |at: usize| args.get(at).map_or("", String::as_str);
    match text(0) {
        "once" => {
            counted::cases(&args, run);
        }
        "count" => {
            counted::print(&[&CASES], &[], &counted::Calls::USUAL, text(1));
            let calls = counted::Calls {
                few: 100_000,
                many: 300_000,
            };
            counted::print(&[&OVER_A_TABLE], &[], &calls, text(1));
        }
        _ => {
            const CALLS: usize = 1_000_000;
            for case in CASES.iter().chain(&OVER_A_TABLE) {
                let began = Instant::now();
                run(case, CALLS);
                let ns = began.elapsed().as_nanos() as f64 / CALLS as f64;
                println!("{case:24} {ns:8.1} ns a call");
            }
        }
    }
}

fn run(case: &str, calls: usize) {
    let (family, which) = case.split_once('_').unwrap_or((case, ""));
    match family {
        "decode" => decoding(which, calls),
        "find" => finding(calls),
        "encode" => encoding(which, calls),
        "ring" => ring_push_pop(calls),
        "lane" => lane_batch(calls),
        "table" => table(which, calls),
        other => panic!("{other}: no such case"),
    }
}

/// A request as clients encode it.
fn request(args: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn decoding(which: &str, calls: usize) {
    let key = key(42);
    let mut mset: Vec<&[u8]> = vec![b"MSET"];
    (0..10).for_each(|_| mset.extend([&key[..], VALUE]));
    let bytes = match which {
        "set" | "in_two_pieces" => request(&[b"SET", &key, VALUE]),
        "mset_of_10" => request(&mset),
        "inline" => b"SET key:000000000042 value\r\n".to_vec(),
        _ => request(&[b"GET", &key]),
    };
    let limits = Limits {
        bulk_max: 512 << 20,
        unauthenticated: false,
    };
    let cut = bytes.len() - 30.min(bytes.len());
    let mut found = 0;
    for _ in 0..calls {
        let mut frame = Frame::default();
        let mut each = |_: usize, length: usize| found += length;
        if which == "in_two_pieces" {
            let first = decode(&bytes[..cut], &mut frame, &limits, &mut each);
            assert!(matches!(first, Decoded::Incomplete));
        }
        let whole = decode(black_box(&bytes), &mut frame, &limits, &mut each);
        assert!(matches!(
            whole,
            Decoded::Command { .. } | Decoded::Inline { .. }
        ));
    }
    black_box(found);
}

fn finding(calls: usize) {
    let registry = Registry::new(FAMILIES);
    let names: [&[u8]; 4] = [b"GET", b"set", b"INCR", b"expire"];
    for call in 0..calls {
        black_box(registry.find(black_box(names[call % 4])));
    }
}

fn encoding(which: &str, calls: usize) {
    let large = Bytes::from(vec![b'x'; 100_000]);
    let mut out = Output::default();
    for call in 0..calls {
        out.clear();
        let mut reply = Reply::new(&mut out, Version::Resp2);
        match which {
            "ok" => reply.ok(),
            "integer" => reply.integer(call as i64),
            "bulk_64" => reply.bulk(black_box(VALUE)),
            "large" => reply.bulk_shared(&large),
            _ => {
                reply.array(10);
                (0..10).for_each(|_| reply.bulk(black_box(VALUE)));
            }
        }
        black_box(&out);
    }
}

fn ring_push_pop(calls: usize) {
    let (mut producer, mut consumer) = ring::<usize>(64);
    for call in 0..calls {
        assert!(producer.push(call).is_ok());
        assert_eq!(black_box(consumer.pop()), Some(call));
    }
}

/// A batch of 1 KiB there, and its buffer back.
fn lane_batch(calls: usize) {
    let mut ends = mesh(2);
    let mut peer = ends.pop().expect("two");
    let mut own = ends.pop().expect("two");
    let lane = own.lanes[1].as_mut().expect("a lane");
    let other = peer.lanes[0].as_mut().expect("a lane");
    let mut batch = Vec::new();
    for _ in 0..calls {
        batch.extend_from_slice(&[7; 1024]);
        assert!(lane.send(&mut batch));
        black_box(lane.must_wake());
        let got = other.receive().expect("just sent");
        other.give_back(black_box(got));
    }
}

fn key(n: usize) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    let mut rest = n;
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

fn put(space: &mut Keyspace, n: usize) {
    let key = key(n);
    let pos = space.pos(&key);
    let value = NewValue::Str {
        bytes: VALUE,
        raw: false,
    };
    space.db_mut(0).set(pos, &key, value, Expiry::Keep, 0);
}

fn remove(space: &mut Keyspace, n: usize) {
    let key = key(n);
    let pos = space.pos(&key);
    assert!(space.db_mut(0).remove(pos, &key));
}

fn find(space: &Keyspace, n: usize) -> bool {
    let key = key(n);
    let found = space.db(0).lookup(space.pos(&key), &key, 1).live();
    black_box(found.map(|entry| entry.value())).is_some()
}

fn table(which: &str, calls: usize) {
    let mut space = Keyspace::supplied(1, Hasher::new([1, 2]), None);
    let there = if which.starts_with("grow") { 0 } else { KEYS };
    (0..there).for_each(|n| put(&mut space, n));
    for call in 0..calls {
        let n = call.wrapping_mul(7919) % KEYS;
        match which {
            "hit" => assert!(find(&space, n)),
            "miss" => assert!(!find(&space, n + KEYS)),
            "overwrite" => put(&mut space, n),
            "remove_insert" => {
                remove(&mut space, n);
                put(&mut space, n);
            }
            _ => put(&mut space, call),
        }
    }
    if which == "grow_shrink" {
        (0..calls).for_each(|n| remove(&mut space, n));
    }
}
