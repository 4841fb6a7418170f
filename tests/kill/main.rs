//! The log under a real server: killed under load and started again, with as many shards or others,
//! without space and with writes that fail.
//!
//! `RINGDOVE_KILLS=100 cargo test --test kill` kills as often as that; a usual run kills a few times.
mod faults;
mod load;
mod migrating;
mod missing;
mod moving;
mod odd;
mod placing;
mod rewriting;
mod switching;

use ringdove_rig::{Conn, Options, Scratch, Server, Value, eventually, free_ports};
use std::time::Duration;

use load::Load;

const SIGTERM: i32 = 15;

/// Options of a server that keeps a log in a folder that outlives it. Segments are small, so that a
/// log has many.
pub(crate) fn options(shards: usize, folder: &Scratch, more: &str) -> Options {
    let dir = folder.path().display();
    let words = format!("--dir {dir} --appendonly yes --log-segment-size 256kb {more}");
    Options::new(env!("CARGO_BIN_EXE_ringdove"), shards).with(&words)
}

pub(crate) fn start(shards: usize, folder: &Scratch, more: &str) -> Server {
    Server::start(&options(shards, folder, more))
}

pub(crate) fn kills(usually: usize) -> usize {
    let wanted = std::env::var("RINGDOVE_KILLS").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(usually)
}

/// Writes under load, kill -9, start, and every acknowledged write must be there.
fn nothing_acknowledged_is_lost(shards: usize) {
    let folder = Scratch::new();
    let mut load = Load::new();
    for round in 0..kills(3) {
        let server = start(shards, &folder, "--appendfsync always");
        load.check(&mut server.connect(), None);
        load.run(
            &server,
            Duration::from_millis(150 + 70 * (round as u64 % 5)),
        );
        drop(server); // kills it
    }
    let server = start(shards, &folder, "--appendfsync always");
    load.check(&mut server.connect(), None);
    assert!(load.acknowledged() > 100, "there was a load");
}

#[test]
fn nothing_acknowledged_is_lost_on_one_shard() {
    nothing_acknowledged_is_lost(1);
}

#[test]
fn nothing_acknowledged_is_lost_on_three_shards() {
    nothing_acknowledged_is_lost(3);
}

/// A sync is due every second, for each shard by itself. A log that is cut before a transaction which
/// lacks a part elsewhere loses nothing older than that part (`tests/crash` knows the times), so it
/// stays a second; and a busy machine may be late.
const LATE: Duration = Duration::from_millis(2000);

#[test]
fn everysec_loses_the_last_moment_at_most() {
    let folder = Scratch::new();
    let mut load = Load::new();
    for _ in 0..kills(1) {
        let server = start(3, &folder, "--appendfsync everysec");
        load.check(&mut server.connect(), Some(LATE));
        load.run(&server, Duration::from_millis(5000));
    }
    let server = start(3, &folder, "");
    load.check(&mut server.connect(), Some(LATE));
}

pub(crate) fn fill(conn: &mut Conn, round: usize) {
    for n in 0..200 {
        conn.call(&["SET", &format!("string:{n}"), &format!("{round} {n}")]);
        conn.call(&["RPUSH", &format!("list:{}", n % 7), &n.to_string(), "x"]);
        conn.call(&["SADD", &format!("set:{}", n % 5), &n.to_string()]);
        conn.call(&[
            "ZADD",
            &format!("zset:{}", n % 3),
            &format!("{n}.5"),
            &n.to_string(),
        ]);
        conn.call(&["HSET", &format!("hash:{}", n % 9), &n.to_string(), "value"]);
        conn.call(&["XADD", &format!("stream:{}", n % 4), "*", "f", "v"]);
        conn.call(&["SPOP", &format!("set:{}", n % 5)]);
        let (from, to) = (format!("list:{}", n % 7), format!("moved:{}", n % 11));
        conn.call(&["LMOVE", &from, &to, "LEFT", "RIGHT"]);
        conn.call(&["SINTERSTORE", &format!("both:{n}"), "set:1", "set:2"]);
        conn.call(&["MSET", &format!("m:{n}"), "1", &format!("n:{n}"), "2"]);
    }
    conn.run("SET expires x PXAT 4102444800000");
    conn.run("SET gone x PX 1");
    conn.run("SELECT 9");
    conn.run("SET elsewhere y");
    conn.run("FLUSHDB");
    conn.run("SET elsewhere z");
    conn.run("SWAPDB 9 8");
    conn.run("SELECT 0");
    conn.run("RENAME string:7 renamed");
    conn.run("COPY string:8 copied DB 3");
}

pub(crate) fn digest(conn: &mut Conn) -> String {
    // What is due must be gone from both.
    while conn.run("EXISTS gone").int() > 0 {
        std::thread::yield_now();
    }
    conn.run("DEBUG DIGEST").text()
}

#[test]
fn the_dataset_is_there_whatever_the_number_of_shards() {
    let folder = Scratch::new();
    let mut before = String::new();
    for (round, shards) in [1, 3, 2, 3, 1].into_iter().enumerate() {
        let server = start(shards, &folder, "--appendfsync always");
        let mut conn = server.connect();
        if round > 0 {
            assert_eq!(digest(&mut conn), before, "{}", server.log());
        }
        if round == 2 {
            conn.run_ok("FLUSHALL");
        }
        fill(&mut conn, round);
        before = digest(&mut conn);
        if round % 2 == 0 {
            drop(server);
        } else {
            let mut server = server;
            server.signal(SIGTERM);
            assert!(server.await_end().success(), "{}", server.log());
        }
    }
}

#[test]
fn an_orderly_end_loses_nothing_with_any_policy() {
    let folder = Scratch::new();
    for (round, policy) in ["everysec", "no", "always"].into_iter().enumerate() {
        let mut server = start(2, &folder, &format!("--appendfsync {policy}"));
        let mut conn = server.connect();
        assert_eq!(conn.run("DBSIZE").int(), 100 * round as i64);
        for n in 0..100 {
            conn.call(&["SET", &format!("{policy}:{n}"), "x"]);
        }
        assert_eq!(open_logs(&folder), 2);
        server.signal(SIGTERM);
        assert!(server.await_end().success(), "{}", server.log());
        assert_eq!(open_logs(&folder), 0, "it says where its logs end");
    }
}

/// Logs of which nobody has said yet where they end.
fn open_logs(folder: &Scratch) -> usize {
    let path = folder.path().join("appendonlydir/ringdove.manifest");
    let manifest = std::fs::read_to_string(path).expect("there is a manifest");
    let logs = manifest.lines().filter(|line| line.starts_with("shard "));
    logs.filter(|line| !line.contains(" to ")).count()
}

#[test]
fn a_snapshot_is_where_the_first_log_begins() {
    let folder = Scratch::new();
    let dir = folder.path().display();
    let plain = Options::new(env!("CARGO_BIN_EXE_ringdove"), 2).with(&format!("--dir {dir}"));
    let server = Server::start(&plain);
    let mut conn = server.connect();
    fill(&mut conn, 0);
    conn.run_ok("SAVE");
    let before = digest(&mut conn);
    drop(server);
    for shards in [2, 3] {
        let server = start(shards, &folder, "--appendfsync always");
        let mut conn = server.connect();
        assert_eq!(digest(&mut conn), before);
        assert_eq!(server.info("aof_enabled"), "1");
        conn.run("DEL before:2 before:3");
        assert!(server.info_number("aof_base_size") > 0);
    }
    let server = start(1, &folder, "--appendfsync always");
    let mut conn = server.connect();
    conn.run_ok("FLUSHALL");
    conn.run_ok("SET after x");
    drop(server);
    let server = start(3, &folder, "");
    let mut conn = server.connect();
    assert_eq!(conn.run("DBSIZE").int(), 1, "the base is old");
    assert_eq!(conn.run("GET after"), Value::bulk("x"));
}

#[test]
fn a_log_is_kept_unless_somebody_wants_none() {
    let folder = Scratch::new();
    let dir = folder.path().display();
    let options = Options::new(env!("CARGO_BIN_EXE_ringdove"), 2).without_defaults();
    let options = options.with(&format!("--bind 127.0.0.1 --dir {dir} --save"));
    let options = options.with_arg("");
    let mut server = Server::start(&options);
    let mut conn = server.connect();
    let shown = conn.run("CONFIG GET append*").pairs();
    let is = |name: &str, value: &str| shown.contains(&(name.into(), Value::bulk(value)));
    assert!(is("appendonly", "yes") && is("appendfsync", "everysec"));
    conn.run_ok("SET a 1");
    server.signal(SIGTERM);
    assert!(server.await_end().success(), "{}", server.log());
    let server = Server::start(&options);
    assert_eq!(server.connect().run("GET a"), Value::bulk("1"));
}

#[test]
fn a_directory_has_one_server() {
    let folder = Scratch::new();
    let server = start(1, &folder, "");
    let (status, text) = options(1, &folder, "").run_to_end(free_ports(1));
    assert!(!status.success());
    assert!(text.contains("Another server uses the log"), "{text}");
    drop(server);
    start(1, &folder, "");
}

/// Who moves the folder takes the log along, and another server in its place has its own.
#[test]
fn a_log_stays_in_its_folder_wherever_that_goes() {
    let scratch = Scratch::new();
    let [place, moved] = ["place", "moved"].map(|name| scratch.path().join(name));
    let starts_in = |folder: &std::path::Path| {
        std::fs::create_dir_all(folder).expect("it can be made");
        let words = "--appendonly yes --appendfsync always --log-segment-size 256kb";
        let options = Options::new(env!("CARGO_BIN_EXE_ringdove"), 1);
        Server::start(&options.with(&format!("--dir {} {words}", folder.display())))
    };
    let first = starts_in(&place);
    let mut conn = first.connect();
    conn.run_ok("SET first x");
    std::fs::rename(&place, &moved).expect("it can be moved");
    let second = starts_in(&place);
    let mut other = second.connect();
    let long = "x".repeat(20_000);
    for n in 0..40 {
        other.call(&["SET", &format!("second:{n}"), &long]);
        conn.call(&["SET", &format!("first:{n}"), &long]); // more than one segment
        if n == 20 {
            conn.run("BGREWRITEAOF");
            eventually("it is rewritten", 20, || {
                (first.info("aof_rewrites") == "1").then_some(())
            });
        }
    }
    drop((first, second));
    for (folder, keys) in [(&moved, 41), (&place, 40)] {
        let server = starts_in(folder);
        assert_eq!(server.connect().run("DBSIZE").int(), keys);
    }
}

#[test]
fn damage_stops_the_start_and_is_named() {
    let folder = Scratch::new();
    let server = start(1, &folder, "--appendfsync always");
    let mut conn = server.connect();
    for n in 0..20 {
        conn.call(&["SET", &format!("k{n}"), &"x".repeat(3000)]);
    }
    drop(server);
    let path = folder.path().join("appendonlydir/1-0-0.log");
    let mut bytes = std::fs::read(&path).expect("the first segment");
    bytes[5 * 4096 + 100] ^= 1;
    std::fs::write(&path, bytes).expect("it can be written");
    let (status, text) = options(1, &folder, "").run_to_end(free_ports(1));
    assert!(!status.success());
    let wanted = "1-0-0.log: the log of shard 0 (epoch 1) is damaged in segment 0 at offset 20480";
    assert!(text.contains(wanted), "{text}");
}

#[test]
fn clients_are_told_of_the_log() {
    let folder = Scratch::new();
    let server = start(2, &folder, "--appendfsync everysec");
    let mut conn = server.connect();
    conn.run_ok("CONFIG SET appendfsync always");
    conn.run_ok("SET a 1");
    conn.run_ok("MSET a 1 b 2 c 3 d 4");
    let text = server.info("log_shard_0");
    assert!(
        text.contains("durable=") && text.contains("flushes="),
        "{text}"
    );
    assert_eq!(server.info("aof_last_write_status"), "ok");
    assert_eq!(server.info("aof_pending_bio_fsync"), "0");
    conn.run_ok("CONFIG SET appendfsync no");
}

fn waitaof(conn: &mut Conn, timeout_ms: u32) -> Vec<i64> {
    let answer = conn.run(&format!("WAITAOF 1 0 {timeout_ms}"));
    answer.items().iter().map(Value::int).collect()
}

#[test]
fn waitaof_waits_for_the_logs_of_all_shards() {
    let folder = Scratch::new();
    for round in 0..3 {
        let server = start(3, &folder, "--appendfsync everysec");
        let mut conn = server.connect();
        assert_eq!(conn.run("DBSIZE").int(), 50 * round);
        for n in 0..50 {
            conn.send(&["SET", &format!("{round}:{n}"), "x"]);
        }
        conn.send(&["WAITAOF", "1", "0", "0"]);
        (0..50).for_each(|_| assert_eq!(conn.receive(), Value::ok()));
        let answer = conn.receive();
        assert_eq!(answer.items(), [Value::Int(1), Value::Int(0)]);
        drop(server); // kills it
    }
}

#[test]
fn waitaof_gives_up_in_time_and_never_waits_in_a_block() {
    let folder = Scratch::new();
    let server = start(2, &folder, "--appendfsync no");
    let mut conn = server.connect();
    assert_eq!(
        waitaof(&mut conn, 0),
        [1, 0],
        "there is nothing to wait for"
    );
    conn.run_ok("SET a 1");
    conn.run_ok("SET b 1");
    waitaof(&mut conn, 5000); // the first sync of a log is due at once
    conn.run_ok("MSET a 2 b 2 c 2");
    assert_eq!(waitaof(&mut conn, 30), [0, 0]);
    conn.run_ok("MULTI");
    conn.run("WAITAOF 1 0 0");
    assert_eq!(conn.run("EXEC").items()[0].items()[0], Value::Int(0));
    conn.send(&["WAITAOF", "1", "0", "0"]);
    let mut other = server.connect();
    eventually("it waits", 20, || {
        (server.info("blocked_clients") == "1").then_some(())
    });
    other.run_ok("CONFIG SET appendfsync always");
    assert_eq!(conn.receive().items()[0], Value::Int(1));
}
