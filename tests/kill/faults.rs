//! Disks that are full, and writes that fail.

use ringdove_rig::{Scratch, Value, eventually};

use crate::rewriting::rewritten;
use crate::start;

const MISCONF_SPACE: &str = "MISCONF Errors writing to the AOF file: No space left on device";
const MISCONF_EIO: &str = "MISCONF Errors writing to the AOF file: Input/output error";

/// Without space writes are refused, at every shard, and reads go on; with space they go on.
#[test]
fn a_full_disk_stops_writes_until_there_is_space() {
    let folder = Scratch::new();
    for policy in ["everysec", "always"] {
        let server = start(3, &folder, &format!("--appendfsync {policy}"));
        let mut conn = server.connect();
        conn.run_ok("SET first x");
        conn.run_ok("DEBUG LOG-FAULT SPACE 1");
        // Another client fills what is prepared, and with always waits for what cannot be written.
        let mut filler = server.connect();
        let long = "x".repeat(60_000);
        for n in 0..40 {
            filler.send(&["SET", &format!("fill:{n}"), &long]);
        }
        eventually("writes are refused", 20, || {
            let refused = conn.run("PING");
            (refused == Value::error(MISCONF_SPACE)).then_some(())
        });
        assert_eq!(conn.run("SET second x"), Value::error(MISCONF_SPACE));
        assert_eq!(conn.run("MSET a 1 b 2 c 3"), Value::error(MISCONF_SPACE));
        assert_eq!(conn.run("GET first"), Value::bulk("x"));
        assert_eq!(server.info("aof_last_write_status"), "err");
        conn.run_ok("DEBUG LOG-FAULT SPACE 0");
        eventually("writes go on", 20, || {
            (conn.run("SET third x") == Value::ok()).then_some(())
        });
        for _ in 0..40 {
            filler.receive();
        }
        assert_eq!(server.info("aof_last_write_status"), "ok");
        drop(server);
    }
    let server = start(2, &folder, "");
    let mut conn = server.connect();
    assert_eq!(conn.run("GET third"), Value::bulk("x"));
}

/// Who writes one by one is refused while there is still room for what was taken: nothing waits for
/// space, nobody is kept from reading or from the remedy, and the server stops when it is told to.
#[test]
fn a_disk_that_fills_up_keeps_nobody_waiting() {
    for (shards, policy, segment) in [
        (1, "always", "256kb"),
        (3, "always", "256kb"),
        (1, "everysec", "4mb"), // more than what waits before it is written
    ] {
        let folder = Scratch::new();
        let more = format!("--appendfsync {policy} --log-segment-size {segment}");
        let mut server = start(shards, &folder, &more);
        let mut conn = server.connect();
        let long = "x".repeat(10_000);
        let mut set = |n: i64| conn.call(&["SET", &format!("fill:{n}"), &long]);
        (0..30).for_each(|n| assert_eq!(set(n), Value::ok()));
        // Every shard has a segment then.
        server.connect().run("WAITAOF 1 0 0");
        server.connect().run_ok("DEBUG LOG-FAULT SPACE 1");
        let taken = (30..10_000).find(|n| {
            let answer = set(*n);
            let refused = answer.is_error();
            assert!(!refused || answer == Value::error(MISCONF_SPACE));
            refused
        });
        let taken = taken.expect("it is refused in the end");
        assert_eq!(conn.run("DBSIZE"), Value::Int(taken));
        assert_eq!(conn.run("KEYS *").items().len(), taken as usize);
        assert_eq!(conn.run("MULTI"), Value::ok());
        conn.run("GET fill:0");
        assert_eq!(conn.run("EXEC").items(), [Value::bulk(&long)]);
        assert!(!conn.run("BGREWRITEAOF").is_error());
        server.signal(crate::SIGTERM);
        assert!(server.await_end().success(), "{}", server.log());
        let server = start(2, &folder, "");
        assert_eq!(server.connect().run("DBSIZE"), Value::Int(taken));
    }
}

/// What was taken before it was known that there is no space waits for that, but does not keep the
/// server from its end.
#[test]
fn a_write_that_waits_for_space_does_not_hold_up_the_end() {
    for shards in [1, 3] {
        let folder = Scratch::new();
        let mut server = start(shards, &folder, "--appendfsync always");
        let mut conn = server.connect();
        (0..30).for_each(|n| conn.run_ok(&format!("SET before:{n} x")));
        conn.run_ok("DEBUG LOG-FAULT SPACE 1");
        let mut waits = server.connect();
        waits.send(&["SET", "large", &"x".repeat(2_000_000)]);
        // Who writes to find out may wait behind it.
        eventually("there is no space", 20, || {
            (server.info("aof_last_write_status") == "err").then_some(())
        });
        let began = std::time::Instant::now();
        server.signal(crate::SIGTERM);
        server.await_end();
        assert!(began.elapsed().as_secs() < 8, "{}", server.log());
        assert!(
            waits.is_closed(),
            "it is never told that the write succeeded"
        );
        let server = start(shards, &folder, "");
        assert_eq!(server.connect().run("DBSIZE"), Value::Int(30));
    }
}

/// After a failed write none is taken until the next start, and nobody who waits is answered.
#[test]
fn a_failed_write_stops_writes_for_good() {
    for shards in [1, 3] {
        let folder = Scratch::new();
        let server = start(shards, &folder, "--appendfsync always");
        let mut conn = server.connect();
        conn.run_ok("SET before x");
        conn.run_ok("DEBUG LOG-FAULT WRITE 5");
        let mut waits = server.connect();
        waits.send(&["SET", "lost", "x"]);
        assert!(
            waits.is_closed(),
            "it is never told that the write succeeded"
        );
        assert_eq!(conn.run("SET after x"), Value::error(MISCONF_EIO));
        assert_eq!(conn.run("PING"), Value::error(MISCONF_EIO));
        assert_eq!(conn.run("GET before"), Value::bulk("x"));
        let block = ["MULTI", "INCR before"].map(|line| conn.run(line));
        assert_eq!(block[1], Value::error(MISCONF_EIO));
        conn.run("DISCARD");
        assert_eq!(server.info("aof_last_write_status"), "err");
        server.await_log("Writes are refused until the server is started again");
        drop(server);
        let server = start(shards, &folder, "--appendfsync always");
        let mut conn = server.connect();
        assert_eq!(conn.run("GET before"), Value::bulk("x"));
        conn.run_ok("SET after x");
    }
}

/// What did not wait for the log is not lost in silence, and BGREWRITEAOF saves it.
#[test]
fn what_a_failed_log_lacks_is_told_at_the_end() {
    for saved in [false, true] {
        let folder = Scratch::new();
        let mut server = start(2, &folder, "--appendfsync everysec");
        let mut conn = server.connect();
        conn.run_ok("DEBUG LOG-FAULT WRITE 5");
        conn.run_ok("SET taken x");
        server.await_log("unless BGREWRITEAOF saves it before");
        assert_eq!(conn.run("SET refused x"), Value::error(MISCONF_EIO));
        if saved {
            conn.run("BGREWRITEAOF");
            rewritten(&server, 1);
        }
        server.signal(crate::SIGTERM);
        server.await_end();
        assert_eq!(server.log().contains("it lacks the last"), !saved);
        if saved {
            let server = start(1, &folder, "");
            assert_eq!(server.connect().run("GET taken"), Value::bulk("x"));
        }
    }
}
