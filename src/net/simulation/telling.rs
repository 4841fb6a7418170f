//! Long values that a snapshot tells while clients want to change them.

use std::cell::Cell;
use std::path::PathBuf;

use super::{SHARDS, World};
use crate::server::snapshot::Target;
use crate::shard::Ticks;

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(0) };
}

/// A clock of which each reading takes so long that a slice has room for one step.
fn slow_clock() -> u64 {
    const READING_US: u64 = 300;
    NOW.set(NOW.get() + READING_US);
    NOW.get()
}

/// The folder that a snapshot is written to.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringdove-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl World {
    /// Every shard begins to tell what it has, a step in a slice.
    fn begin_snapshot(&mut self, name: &str) -> Folder {
        let folder = Folder::new(name);
        let node = self.engines[0].shard.node.clone();
        let target = Target::File(folder.0.join("dump.rdb"));
        let begun = node.saver.begin(&node, 0, true, target);
        assert!(begun.expect("a thread starts"), "it is the first");
        let run = node.saver.running().expect("just begun");
        for engine in &mut self.engines {
            engine.shard.ticks = Ticks {
                read: slow_clock,
                per_us: 1,
            };
            engine.shard.begin_snapshot(run.clone());
        }
        folder
    }

    /// A slice of background work at every shard.
    fn background(&mut self) {
        for at in 0..SHARDS {
            // Where the thread that writes has no room, the next millisecond may bring some.
            let shard = &mut self.engines[at].shard;
            shard.now_ms += 1;
            self.engines[at].background();
            self.end_turn(at);
        }
        self.answers_of_all();
    }

    /// Whether a shard has something of the snapshot left to tell.
    fn tells(&self) -> bool {
        let mut engines = self.engines.iter();
        engines.any(|engine| (0..16).any(|db| engine.shard.keyspace.db(db).is_tapped()))
    }

    /// Delivers everything.
    fn answers_of_all(&mut self) {
        while self.lanes.iter().flatten().any(|lane| !lane.is_empty()) {
            for (from, to) in (0..SHARDS * SHARDS).map(|n| (n / SHARDS, n % SHARDS)) {
                self.deliver(from, to);
            }
        }
    }

    /// What a client was sent.
    fn received(&mut self, client: usize) -> String {
        self.answers_of_all();
        let bytes = std::mem::take(&mut self.clients[client].received);
        String::from_utf8(bytes).expect("text")
    }

    /// What a client is sent for a request.
    fn ask(&mut self, client: usize, text: &str) -> String {
        self.send_text(client, &format!("{text}\r\n"));
        self.received(client)
    }

    /// A long value of each type, all of shard 0; their keys.
    fn long_values(&mut self) -> Vec<(&'static str, String)> {
        let tag = format!("{{{}}}", self.key_of(0));
        let kinds = ["list", "set", "zset", "hash", "stream"];
        let named = kinds.map(|kind| (kind, format!("{tag}{kind}")));
        let long = "x".repeat(500);
        for (kind, key) in &named {
            for first in (0..4000).step_by(100) {
                let mut text = String::new();
                for n in first..first + 100 {
                    text += &match *kind {
                        "list" => format!("RPUSH {key} {n}{long}\r\n"),
                        "set" => format!("SADD {key} member:{n}\r\n"),
                        "zset" => format!("ZADD {key} {n} {n}\r\n"),
                        "hash" => format!("HSET {key} {n} {n}\r\n"),
                        _ => format!("XADD {key} {}-0 f {n}\r\n", n + 1),
                    };
                }
                self.send_text(0, &text);
            }
        }
        assert!(!self.received(0).contains("-ERR"), "all is there");
        named.into()
    }

    fn told_at_once(&self) -> u64 {
        let stats = self.engines.iter().map(|engine| &engine.shard.stats);
        stats.map(|stats| stats.told_at_once).sum()
    }
}

/// Whoever changes a long value waits while it is told slice by slice; everybody else, those who read
/// it and those who go through the whole database included, is answered in between.
#[test]
fn only_who_changes_a_long_value_waits_for_it() {
    let mut world = World::new(1, 3);
    let values = world.long_values();
    let other = world.key_of(0);
    let folder = world.begin_snapshot("told-in-slices");
    for (kind, key) in values {
        let change = match kind {
            "list" => "LSET 7 new",
            "set" => "SREM member:7",
            "zset" => "ZINCRBY 5 7",
            "hash" => "HDEL 7",
            _ => "XTRIM MAXLEN 10",
        };
        let (name, arguments) = change.split_once(' ').expect("both");
        let length = match kind {
            "list" => "LLEN",
            "set" => "SCARD",
            "zset" => "ZCARD",
            "hash" => "HLEN",
            _ => "XLEN",
        };
        // One of another shard, and one of this one in a block.
        let change = format!("{name} {key} {arguments}\r\n");
        world.send_text(1, &format!("{change}{length} {key}\r\n"));
        world.send_text(0, &format!("MULTI\r\nEXPIRE {key} 1000\r\nEXEC\r\n"));
        assert_eq!(world.received(0), "+OK\r\n+QUEUED\r\n", "{kind}");
        let mut slices = 0;
        while world.received(1).is_empty() {
            let read = world.ask(
                2,
                &format!("{length} {key}\r\nSET {other} {slices}\r\nDBSIZE"),
            );
            assert_eq!(read, ":4000\r\n+OK\r\n:6\r\n", "{kind}");
            world.background();
            slices += 1;
            assert!(slices < 100_000, "{kind}: it comes to an end");
        }
        assert_eq!(world.received(0), "*1\r\n:1\r\n", "{kind}");
        assert!(slices > 8, "{kind}: {slices} slices");
    }
    while world.tells() {
        world.background();
    }
    assert_eq!(world.told_at_once(), 0);
    assert!(
        world
            .engines
            .iter()
            .all(|engine| engine.shard.txns.is_drained())
    );
    drop(folder);
}

/// A transaction over shards waits as a whole, what its connection sends behind it sees what it has
/// done, and others go on.
#[test]
fn a_transaction_waits_for_what_is_told_of_it() {
    let mut world = World::new(1, 3);
    let values = world.long_values();
    let (_, set) = &values[1];
    let (m, third) = (world.key_of(1), world.key_of(2));
    let other = format!("{{{m}}}other");
    let folder = world.begin_snapshot("told-to-transactions");
    // Client 1 is of the shard that owns `m`; what it reads is of shard 0 and not in its way.
    world.send_text(
        1,
        &format!("MULTI\r\nSADD {set} new\r\nSET {m} x\r\nEXEC\r\nSCARD {set}\r\n"),
    );
    assert_eq!(world.received(1), "+OK\r\n+QUEUED\r\n+QUEUED\r\n");
    world.send_text(2, &format!("SUNIONSTORE {third} {set} {m}2\r\n"));
    let mut slices = 0;
    let mut answered = String::new();
    while answered.is_empty() {
        assert_eq!(world.ask(0, &format!("SCARD {set}")), ":4000\r\n");
        assert_eq!(
            world.ask(0, &format!("INCR {other}")),
            format!(":{}\r\n", slices + 1)
        );
        world.background();
        answered = world.received(1);
        slices += 1;
        assert!(slices < 100_000, "it comes to an end");
    }
    assert!(slices > 8, "{slices} slices");
    assert_eq!(answered, "*2\r\n:1\r\n+OK\r\n:4001\r\n");
    assert_eq!(world.received(2), ":4001\r\n");
    while world.tells() {
        world.background();
    }
    assert_eq!(world.told_at_once(), 0);
    assert!(
        world
            .engines
            .iter()
            .all(|engine| engine.shard.txns.is_drained())
    );
    drop(folder);
}

/// Nobody waits for what a database was before it was emptied, nor for a client that has gone.
#[test]
fn who_waits_goes_on_when_there_is_nothing_to_wait_for() {
    let mut world = World::new(1, 3);
    let values = world.long_values();
    let (_, set) = &values[1];
    let folder = world.begin_snapshot("told-for-nothing");
    world.send_text(1, &format!("SADD {set} new\r\nSADD {set} more\r\n"));
    world.send_text(2, &format!("SADD {set} other\r\n"));
    assert_eq!(world.received(1), "");
    let (home, conn) = (world.clients[1].home, world.clients[1].conn.take());
    world.engines[home].disconnected(conn.expect("it was there"));
    world.end_turn(home);
    assert_eq!(world.ask(0, "FLUSHALL"), "+OK\r\n");
    world.background();
    assert_eq!(world.received(2), ":1\r\n");
    assert_eq!(
        world.ask(0, &format!("SMEMBERS {set}")),
        "*1\r\n$5\r\nother\r\n"
    );
    while world.tells() {
        world.background();
    }
    assert_eq!(world.told_at_once(), 0);
    assert!(
        world
            .engines
            .iter()
            .all(|engine| engine.shard.txns.is_drained())
    );
    drop(folder);
}

/// A value that expires while it is told is gone for who reads it, and goes when it is told.
#[test]
fn what_expires_while_it_is_told_is_gone_for_everybody() {
    let mut world = World::new(1, 3);
    let values = world.long_values();
    let (_, set) = &values[1];
    let due = world.engines[0].shard.now_ms + 10_000;
    world.send_text(0, &format!("PEXPIREAT {set} {due}\r\n"));
    assert_eq!(world.received(0), ":1\r\n");
    let folder = world.begin_snapshot("told-and-expired");
    world.send_text(1, &format!("SADD {set} new\r\n"));
    world.set_clocks(due);
    let mut answered = String::new();
    while answered.is_empty() {
        assert_eq!(world.ask(0, &format!("SCARD {set}")), ":0\r\n");
        world.background();
        answered = world.received(1);
    }
    assert_eq!(answered, ":1\r\n");
    assert_eq!(world.ask(0, &format!("SCARD {set}")), ":1\r\n");
    while world.tells() {
        world.background();
    }
    assert_eq!(world.told_at_once(), 0);
    drop(folder);
}

/// The locks that BGSAVE takes at every shard are gathered while a key expires: who reads would be
/// answered once more by those who were asked before, but what they have begun is not begun again.
#[test]
fn a_snapshot_begins_once_whatever_expires_meanwhile() {
    let (start, due) = (1_000_000, 1_000_010);
    let mut world = World::new(1, 1);
    let folder = Folder::new("begun-once");
    let node = world.engines[0].shard.node.clone();
    let moved = node.change_config(|config| {
        config.dir.0 = folder.0.clone();
        Ok::<(), ()>(())
    });
    moved.expect("nothing is in the way");
    let home = world.clients[0].home;
    let early = (home + 1) % SHARDS;
    world.set_clocks(start);
    for shard in 0..SHARDS {
        let key = world.key_of(shard);
        assert_eq!(world.ask(0, &format!("SET {key} v PXAT {due}")), "+OK\r\n");
    }
    world.send_text(0, "BGSAVE\r\n");
    for other in 0..SHARDS {
        world.deliver(home, other);
        world.deliver(other, home);
        if other == early {
            world.set_clocks(due);
        }
    }
    assert_eq!(world.answers(), "+Background saving started\r\n");
    while world.tells() {
        world.background();
    }
    drop(folder);
}
