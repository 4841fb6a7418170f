//! Where slots are, after servers that were killed: with a log and without one; and logs whose slots a
//! start puts somewhere else than they were.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ringdove_rig::{Conn, Options, Rng, Scratch, Server, Value, eventually};

use crate::load::Load;
use crate::rewriting::rewritten;
use crate::{digest, fill, kills, start};

const FILE: &str = "ringdove.slots";

/// First slot, last slot and shard of each range.
type Map = Vec<[i64; 3]>;

fn map(conn: &mut Conn) -> Map {
    let map = conn.run("RINGDOVE SLOTS");
    let numbers = |range: &Value| [0, 1, 2].map(|at| range.items()[at].int());
    map.items().iter().map(numbers).collect()
}

/// The map when slots have moved.
fn after(map: &Map, first: i64, last: i64, to: i64) -> Map {
    let owner = |slot: i64| {
        let range = map
            .iter()
            .find(|range| (range[0]..=range[1]).contains(&slot));
        range.expect("all slots are there")[2]
    };
    let mut after: Map = Vec::new();
    for slot in 0..16384 {
        let owner = if (first..=last).contains(&slot) {
            to
        } else {
            owner(slot)
        };
        match after.last_mut() {
            Some(range) if range[2] == owner => range[1] = slot,
            _ => after.push([slot, slot, owner]),
        }
    }
    after
}

/// What is known of the map when the server was killed.
struct Known {
    /// What was acknowledged last.
    acknowledged: Map,
    /// What was asked for then.
    asked: Map,
}

impl Known {
    #[track_caller]
    fn check(&self, server: &Server) {
        let found = map(&mut server.connect());
        let is_one = found == self.acknowledged || found == self.asked;
        assert!(is_one, "{found:?}\n{}", server.log());
    }
}

/// Moves slots until the server is gone, and counts how often it was told that they have.
fn move_until_killed(server: &Server, shards: usize, seed: u64, moved: &AtomicUsize) -> Known {
    let mut conn = server.connect();
    let mut rng = Rng::new(seed);
    let mut acknowledged = map(&mut conn);
    loop {
        let (first, to) = (rng.below(16000), rng.below(shards));
        let last = (first + rng.below(3000)).min(16383);
        let asked = after(&acknowledged, first as i64, last as i64, to as i64);
        let line = format!("RINGDOVE SLOTS MOVE {first}-{last} TO {to}\r\n");
        let sent = conn.try_send_bytes(line.as_bytes());
        let reply = sent.and_then(|()| conn.try_receive());
        match reply {
            Ok(Value::Int(_)) => acknowledged = asked,
            Ok(reply) => panic!("{reply:?}"),
            Err(_) => {
                return Known {
                    acknowledged,
                    asked,
                };
            }
        }
        moved.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn an_acknowledged_move_survives_with_a_log() {
    let folder = Scratch::new();
    let mut load = Load::new();
    let mut known: Option<Known> = None;
    let moved = AtomicUsize::new(0);
    for round in 0..kills(4) as u64 {
        let server = start(3, &folder, "--appendfsync always");
        load.check(&mut server.connect(), None);
        if let Some(known) = &known {
            known.check(&server);
        }
        let time = Duration::from_millis(200 + 170 * (round % 5));
        std::thread::scope(|scope| {
            let mover = scope.spawn(|| move_until_killed(&server, 3, round, &moved));
            load.run(&server, time);
            known = Some(mover.join().expect("it only stops"));
        });
        drop(server); // killed
    }
    let moved = moved.into_inner();
    assert!(moved > 0 && load.acknowledged() > 100, "{moved} moves");
    load.check(&mut start(2, &folder, "").connect(), None);
}

#[test]
fn an_acknowledged_move_survives_without_a_log() {
    let folder = Scratch::new();
    let dir = folder.path().display();
    let options = Options::new(env!("CARGO_BIN_EXE_ringdove"), 3).with(&format!("--dir {dir}"));
    let server = Server::start(&options);
    fill(&mut server.connect(), 0);
    server.connect().run_ok("SAVE");
    let saved = digest(&mut server.connect());
    drop(server);
    let mut known: Option<Known> = None;
    for round in 0..kills(6) as u64 {
        let server = Server::start(&options);
        assert_eq!(digest(&mut server.connect()), saved);
        if let Some(known) = &known {
            known.check(&server);
        }
        let moved = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let mover = scope.spawn(|| move_until_killed(&server, 3, 100 + round, &moved));
            eventually("slots have moved", 30, || {
                (moved.load(Ordering::Relaxed) > 2).then_some(())
            });
            // Nothing is waited for: the kill is to come at another moment of a move each time.
            std::thread::sleep(Duration::from_micros(3700 * (round % 5)));
            server.signal(9);
            known = Some(mover.join().expect("it only stops"));
        });
    }
}

/// Whatever a start finds in the file, the dataset is what it was: an older placement, none, another one,
/// a torn one; through moves, flushes, swaps, rewritings of the log and logs that are turned off and on.
#[test]
fn the_dataset_is_the_same_wherever_a_start_puts_its_slots() {
    for seed in 0..kills(2) as u64 {
        let folder = Scratch::new();
        let path = folder.path().join(FILE);
        let mut rng = Rng::new(seed);
        let mut before = String::new();
        let mut older: Vec<Vec<u8>> = Vec::new();
        for round in 0..6 {
            let shards = *rng.pick(&[2, 3, 3, 3]);
            let server = start(shards, &folder, "--appendfsync everysec");
            let mut conn = server.connect();
            if round > 0 {
                assert_eq!(
                    digest(&mut conn),
                    before,
                    "{seed} {round}: {}",
                    server.log()
                );
            }
            let mut step = |conn: &mut Conn| {
                match rng.below(10) {
                    0 => fill(conn, round),
                    1 => {
                        conn.run("SELECT 5");
                        conn.run("SET in:5 x");
                        conn.run("MSET a 1 b 2 c 3 d 4 e 5 f 6");
                        conn.run("SELECT 0");
                    }
                    2 => {
                        conn.run("SWAPDB 0 5");
                        conn.run("SWAPDB 5 7");
                    }
                    3 => conn.run_ok("SELECT 7"),
                    4 => conn.run_ok("FLUSHDB"),
                    5 => {
                        conn.run("RINGDOVE SLOTS BALANCE BY KEYS");
                    }
                    6 if rng.below(2) == 0 => {
                        let done = server.info_number("aof_rewrites");
                        conn.run("BGREWRITEAOF");
                        rewritten(&server, done + 1);
                    }
                    7 if rng.below(3) == 0 => {
                        conn.run_ok("CONFIG SET appendonly no");
                        conn.run("SET unlogged x");
                        let done = server.info_number("aof_rewrites");
                        conn.run_ok("CONFIG SET appendonly yes");
                        rewritten(&server, done + 1);
                    }
                    _ => {
                        let first = rng.below(16000);
                        let last = (first + rng.below(8000)).min(16383);
                        let to = rng.below(shards);
                        conn.run(&format!("RINGDOVE SLOTS MOVE {first}-{last} TO {to}"));
                    }
                }
                conn.run("SELECT 0");
                conn.run("INCR counter");
                conn.run("DEL string:3 a list:1");
            };
            fill(&mut conn, round);
            (0..8).for_each(|_| step(&mut conn));
            before = digest(&mut conn);
            conn.run_ok("CONFIG SET appendfsync always"); // it need not wait for its second
            let durable = conn.run("WAITAOF 1 0 0");
            assert_eq!(durable.items()[0], Value::Int(1));
            drop(server); // kills it
            let whole = fs::read(&path).ok();
            let found: Option<Vec<u8>> = match rng.below(6) {
                0 => None,
                1 => whole
                    .as_ref()
                    .map(|bytes| bytes[..bytes.len() / 2].to_vec()),
                2 if !older.is_empty() => Some(rng.pick(&older).clone()),
                _ => whole.clone(),
            };
            older.extend(whole);
            match found {
                Some(bytes) => fs::write(&path, bytes).expect("writable"),
                None => _ = fs::remove_file(&path), // there may be none
            }
        }
        let server = start(1, &folder, "");
        assert_eq!(digest(&mut server.connect()), before, "{seed}");
    }
}
