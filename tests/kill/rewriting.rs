//! BGREWRITEAOF: under load, by itself, and with a server that is killed meanwhile.

use ringdove_rig::{Scratch, Server, Value, eventually};
use std::time::Duration;

use crate::load::Load;
use crate::{digest, fill, start};

const STARTED: &str = "Background append only file rewriting started";

pub(crate) fn rewritten(server: &Server, times: u64) {
    eventually("the log is rewritten", 60, || {
        let done = server.info_number("aof_rewrites") >= times
            && server.info_number("aof_rewrite_in_progress") == 0;
        done.then_some(())
    });
    assert_eq!(server.info("aof_last_bgrewrite_status"), "ok");
}

/// Bytes of the log's files, but for what is prepared.
fn segments(folder: &Scratch) -> usize {
    let files = std::fs::read_dir(folder.path().join("appendonlydir")).expect("the log's folder");
    let names = files.map(|file| file.expect("an entry").file_name());
    names
        .filter(|name| name.to_string_lossy().ends_with(".log"))
        .count()
}

#[test]
fn what_the_base_holds_is_dropped() {
    let folder = Scratch::new();
    let server = start(3, &folder, "--appendfsync always");
    let mut conn = server.connect();
    let long = "x".repeat(5000);
    for round in 0..200 {
        for n in 0..5 {
            conn.call(&["SET", &format!("long:{n}"), &format!("{long}{round}")]);
        }
    }
    fill(&mut conn, 0);
    let (before, bytes) = (segments(&folder), server.info_number("aof_current_size"));
    assert_eq!(conn.run("BGREWRITEAOF"), Value::simple(STARTED));
    rewritten(&server, 1);
    let (after, fewer) = (segments(&folder), server.info_number("aof_current_size"));
    assert!(
        after < before && fewer * 5 < bytes,
        "{after} of {before} segments, {fewer} of {bytes}"
    );
    assert_eq!(server.info_number("aof_base_size"), fewer);
    conn.run_ok("SET after x");
    conn.run("DEL string:1 string:2 string:3");
    let mut wanted = digest(&mut conn);
    drop(server);
    for (round, shards) in [3, 2, 1].into_iter().enumerate() {
        let server = start(shards, &folder, "--appendfsync always");
        let mut conn = server.connect();
        assert_eq!(digest(&mut conn), wanted, "{}", server.log());
        conn.run("BGREWRITEAOF");
        fill(&mut conn, round);
        rewritten(&server, 1);
        wanted = digest(&mut conn);
        drop(server);
    }
    let server = start(3, &folder, "");
    assert_eq!(digest(&mut server.connect()), wanted);
}

#[test]
fn nothing_acknowledged_is_lost_while_it_is_rewritten() {
    let folder = Scratch::new();
    let mut load = Load::new();
    let options = "--appendfsync always --auto-aof-rewrite-min-size 64kb \
                   --auto-aof-rewrite-percentage 20";
    for round in 0..crate::kills(3) {
        let server = start(3, &folder, options);
        let mut conn = server.connect();
        load.check(&mut conn, None);
        conn.run("DEBUG POPULATE 3000 filler 200");
        conn.run("BGREWRITEAOF");
        load.run(
            &server,
            Duration::from_millis(20 + 330 * (round as u64 % 4)),
        );
        drop(server); // kills it
    }
    let server = start(2, &folder, options);
    load.check(&mut server.connect(), None);
}

#[test]
fn it_grows_and_is_rewritten_by_itself() {
    let folder = Scratch::new();
    let server = start(
        2,
        &folder,
        "--appendfsync no --auto-aof-rewrite-min-size 300kb",
    );
    let mut conn = server.connect();
    let long = "x".repeat(5000);
    for n in 0..100 {
        conn.call(&["SET", &format!("long:{}", n % 3), &long]);
    }
    rewritten(&server, 1);
    assert!(server.info_number("aof_current_size") < 300_000);
}

#[test]
fn it_waits_for_a_snapshot_and_holds_off_another() {
    let folder = Scratch::new();
    let server = start(2, &folder, "");
    let mut conn = server.connect();
    conn.run("DEBUG POPULATE 20000 key 300");
    assert!(conn.run("BGSAVE").text().contains("started"));
    let answer = conn.run("BGREWRITEAOF").text();
    assert!(
        answer.contains("scheduled") || answer.contains("started"),
        "{answer}"
    );
    rewritten(&server, 1);
}

/// Without a log it is what a later start with one begins with, as on Redis, and takes the place of an
/// earlier log.
#[test]
fn without_a_log_it_leaves_a_base() {
    let folder = Scratch::new();
    let server = start(2, &folder, "");
    fill(&mut server.connect(), 0);
    drop(server); // its log stays, and is not sealed
    let mut before = String::new();
    for (round, shards) in [(1, 3), (2, 2)] {
        let server = Server::start(&crate::options(shards, &folder, "--appendonly no"));
        let mut conn = server.connect();
        fill(&mut conn, round);
        assert_eq!(conn.run("BGREWRITEAOF"), Value::simple(STARTED));
        rewritten(&server, 1);
        before = digest(&mut conn);
        assert_eq!(server.info("aof_enabled"), "0");
        conn.run_ok("SET late x");
    }
    for shards in [1, 3] {
        let server = start(shards, &folder, "--appendfsync always");
        let mut conn = server.connect();
        assert_eq!(digest(&mut conn), before);
        conn.run_ok("SET new x");
        before = digest(&mut conn);
    }
}

/// What is rewritten stays where the log is: who has changed `dir` is told, and how it moves.
#[test]
fn a_log_does_not_follow_dir_by_itself() {
    let [folder, other] = [Scratch::new(), Scratch::new()];
    let server = start(2, &folder, "--enable-protected-configs yes");
    let mut conn = server.connect();
    fill(&mut conn, 0);
    conn.run_ok(&format!("CONFIG SET dir {}", other.path().display()));
    let log = server.log();
    assert!(log.contains("The log stays in"), "{log}");
    let answer = conn.run("BGREWRITEAOF");
    assert!(answer.is_error(), "{answer:?}");
    conn.run_ok("CONFIG SET appendonly no");
    conn.run_ok("CONFIG SET appendonly yes");
    rewritten(&server, 1);
    assert!(!conn.run("BGREWRITEAOF").is_error());
    rewritten(&server, 2);
    let before = digest(&mut conn);
    drop(server);
    let server = start(1, &other, "");
    assert_eq!(digest(&mut server.connect()), before);
}

/// BGSAVE is refused meanwhile, and with SCHEDULE begins behind it.
#[test]
fn a_snapshot_is_scheduled_behind_a_rewriting() {
    for shards in [1, 3] {
        let folder = Scratch::new();
        let server = start(shards, &folder, "--appendfsync no");
        let mut conn = server.connect();
        conn.run_ok("DEBUG POPULATE 300000");
        conn.send_bytes(
            b"BGREWRITEAOF\r\nBGSAVE\r\nBGSAVE SCHEDULE\r\nBGSAVE CANCEL\r\nBGSAVE SCHEDULE\r\n",
        );
        assert_eq!(conn.receive(), Value::simple(STARTED));
        let refused = conn.receive().text();
        assert!(refused.contains("Use BGSAVE SCHEDULE"), "{refused}");
        let scheduled = Value::simple("Background saving scheduled");
        assert_eq!(conn.receive(), scheduled);
        assert_eq!(conn.receive(), Value::simple("Background saving cancelled"));
        assert_eq!(conn.receive(), scheduled);
        server.await_info("rdb_saves", 1);
        assert_eq!(server.info_number("aof_rewrites"), 1);
        assert!(folder.path().join("dump.rdb").exists());
    }
}

/// SAVE comes behind it, for whoever is still there.
#[test]
fn a_save_waits_for_a_rewriting() {
    for shards in [1, 3] {
        let folder = Scratch::new();
        let server = start(shards, &folder, "--appendfsync no");
        let mut conn = server.connect();
        conn.run_ok("DEBUG POPULATE 300000");
        let mut others: Vec<_> = (0..3).map(|_| server.connect()).collect();
        let ids: Vec<_> = others
            .iter_mut()
            .map(|c| c.run("CLIENT ID").int())
            .collect();
        conn.send_bytes(b"BGREWRITEAOF\r\nSAVE\r\nPING\r\nSAVE\r\n");
        assert_eq!(conn.receive(), Value::simple(STARTED));
        for other in &mut others {
            other.send(&["SAVE"]);
        }
        let mut killer = server.connect();
        killer.run(&format!("CLIENT KILL ID {}", ids[0]));
        drop(others.remove(1));
        assert_eq!(conn.receive(), Value::ok());
        assert_eq!(conn.receive(), Value::simple("PONG"));
        assert_eq!(conn.receive(), Value::ok());
        assert_eq!(others[1].receive(), Value::ok());
        assert!(others[0].is_closed());
        assert_eq!(server.info_number("aof_rewrites"), 1);
        assert_eq!(server.info("aof_last_bgrewrite_status"), "ok");
        assert!(server.info_number("rdb_saves") >= 3);
        let wanted = digest(&mut conn);
        drop(server);
        let options = crate::options(1, &folder, "--appendonly no");
        let server = Server::start(&options);
        assert_eq!(digest(&mut server.connect()), wanted, "{}", server.log());
    }
}

/// The log leads to what DEBUG RELOAD has read.
#[test]
fn what_was_read_again_is_in_the_log() {
    let folder = Scratch::new();
    let server = start(3, &folder, "--appendfsync always");
    let mut conn = server.connect();
    fill(&mut conn, 0);
    conn.run_ok("SAVE");
    conn.run("FLUSHALL");
    conn.run("RPUSH string:1 no string");
    conn.run_ok("SET elsewhere x");
    conn.run_ok("DEBUG RELOAD NOSAVE NOFLUSH MERGE");
    conn.run("APPEND string:1 more");
    conn.run("RENAME string:2 string:3");
    let merged = digest(&mut conn);
    drop(server); // kills it
    let server = start(2, &folder, "--appendfsync always");
    let mut conn = server.connect();
    assert_eq!(digest(&mut conn), merged, "{}", server.log());
    conn.run_ok("DEBUG RELOAD NOSAVE");
    assert_eq!(conn.run("EXISTS elsewhere"), Value::Int(0));
    conn.run("RENAME string:2 string:3");
    let before = digest(&mut conn);
    drop(server);
    let server = start(1, &folder, "");
    assert_eq!(digest(&mut server.connect()), before, "{}", server.log());
}

/// An expiry far beyond what the log can say is the last that it can.
#[test]
fn a_restored_key_may_expire_in_any_time() {
    let folder = Scratch::new();
    let server = start(2, &folder, "--appendfsync always");
    let mut conn = server.connect();
    conn.run_ok("SET a x");
    let payload = conn.run("DUMP a");
    let Value::Bulk(payload) = payload else {
        panic!("{payload:?}");
    };
    let ttl = i64::MAX.to_string();
    assert_eq!(
        conn.call(&[&b"RESTORE"[..], b"b", ttl.as_bytes(), &payload]),
        Value::ok()
    );
    let before = digest(&mut conn);
    drop(server);
    let server = start(1, &folder, "");
    assert_eq!(digest(&mut server.connect()), before, "{}", server.log());
}
