//! The log is turned on and off while the server runs.

use std::time::Duration;

use ringdove_rig::{Conn, Options, Scratch, Server, Value, encode, eventually};

use crate::load::Load;
use crate::{digest, fill, kills, start};

const SIGTERM: i32 = 15;

fn certain(conn: &mut Conn) {
    let answer = conn.run("WAITAOF 1 0 0");
    assert_eq!(answer.items(), [Value::Int(1), Value::Int(0)]);
}

fn without(shards: usize, folder: &Scratch) -> Server {
    let dir = folder.path().display();
    let words = format!("--dir {dir} --appendonly no --log-segment-size 256kb --save");
    let options = Options::new(env!("CARGO_BIN_EXE_ringdove"), shards).with(&words);
    Server::start(&options.with_arg(""))
}

#[test]
fn what_was_there_and_what_comes_is_kept_once_it_is_on() {
    for shards in [1, 3] {
        let folder = Scratch::new();
        let server = without(shards, &folder);
        let mut conn = server.connect();
        assert!(conn.run("WAITAOF 1 0 0").is_error());
        fill(&mut conn, 0);
        conn.run_ok("CONFIG SET appendonly yes");
        assert_eq!(server.info("aof_enabled"), "1");
        fill(&mut conn, 1);
        certain(&mut conn);
        fill(&mut conn, 2);
        certain(&mut conn);
        assert_eq!(server.info("aof_rewrite_scheduled"), "0");
        assert_eq!(server.info("aof_last_bgrewrite_status"), "ok");
        let before = digest(&mut conn);
        drop(server); // kills it
        for shards in [2, shards] {
            let server = start(shards, &folder, "");
            assert_eq!(digest(&mut server.connect()), before, "{}", server.log());
        }
    }
}

/// Whoever has turned it on finds the first base begun.
#[test]
fn its_first_base_begins_with_it() {
    for shards in [1, 3] {
        let folder = Scratch::new();
        let server = without(shards, &folder);
        let mut conns: Vec<Conn> = (0..3).map(|_| server.connect()).collect();
        conns[0].run_ok("DEBUG POPULATE 100000");
        for (at, conn) in conns.iter_mut().enumerate() {
            // A second time it is on already.
            conn.send_bytes(
                b"CONFIG SET appendonly yes\r\nINFO persistence\r\nCONFIG SET appendonly yes\r\n",
            );
            assert_eq!(conn.receive(), Value::ok());
            let info = conn.receive().text();
            assert!(info.contains("aof_rewrite_scheduled:0"), "{info}");
            assert!(info.contains("aof_rewrite_in_progress:1"), "{info}");
            assert_eq!(conn.receive(), Value::ok());
            certain(conn);
            assert_eq!(server.info("aof_last_bgrewrite_status"), "ok");
            conn.run_ok("CONFIG SET appendonly no");
            let is_closed = || server.log().matches("The log is closed").count() == at + 1;
            eventually("the log is closed", 10, || is_closed().then_some(()));
        }
        // In a block it begins behind it.
        let conn = &mut conns[0];
        conn.run_ok("MULTI");
        conn.run("CONFIG SET appendonly yes");
        conn.run("EXEC");
        certain(conn);
        assert_eq!(server.info_number("aof_rewrites"), 4);
    }
}

#[test]
fn what_was_before_it_is_off_stays_and_what_comes_does_not() {
    for (shards, policy) in [(1, "everysec"), (3, "everysec"), (3, "no"), (3, "always")] {
        let folder = Scratch::new();
        let server = start(shards, &folder, &format!("--appendfsync {policy}"));
        let mut conn = server.connect();
        fill(&mut conn, 0);
        let before = digest(&mut conn);
        conn.run_ok("CONFIG SET appendonly no");
        drop(server.connect());
        assert_eq!(server.info("aof_enabled"), "0");
        assert!(conn.run("WAITAOF 1 0 0").is_error());
        fill(&mut conn, 1);
        let plain = conn.run("CONFIG GET appendonly").pairs();
        assert_eq!(plain[0].1, Value::bulk("no"));
        drop(server); // kills it
        // As with redis-server: the log comes back as it was.
        let server = start(2, &folder, "");
        assert_eq!(digest(&mut server.connect()), before, "{}", server.log());
    }
}

/// Killed while it is turned on, the server comes back to what the log held before or to what was
/// there when it was turned on, never to a part of each.
#[test]
fn a_crash_leaves_the_old_log_or_the_new_one() {
    let folder = Scratch::new();
    let server = start(2, &folder, "");
    let mut conn = server.connect();
    fill(&mut conn, 0);
    let mut before = digest(&mut conn);
    drop((conn, server.connect()));
    let mut server = server;
    server.signal(SIGTERM);
    assert!(server.await_end().success(), "{}", server.log());
    let mut new = 0;
    for round in 0..kills(4).max(4) {
        let server = start([2, 3, 1][round % 3], &folder, "");
        let mut conn = server.connect();
        assert_eq!(digest(&mut conn), before, "{}", server.log());
        conn.run_ok("CONFIG SET appendonly no");
        fill(&mut conn, round + 1);
        conn.run("DEBUG POPULATE 20000 filler 100");
        let after = digest(&mut conn);
        conn.run_ok("CONFIG SET appendonly yes");
        std::thread::sleep(Duration::from_millis(80 + 40 * (round as u64 % 8)));
        if round % 4 == 3 {
            certain(&mut conn);
        }
        drop(server); // kills it
        let server = start(2, &folder, "");
        let found = digest(&mut server.connect());
        assert!(found == before || found == after, "{}", server.log());
        new += usize::from(found == after);
        before = found;
        let mut server = server;
        server.signal(SIGTERM);
        assert!(server.await_end().success(), "{}", server.log());
    }
    assert!(new > 0, "it was on in time when that was waited for");
}

/// Turns the log off and on until it is told to stop; it is on and whole then.
fn switch(server: &Server, rounds: usize) {
    let mut conn = server.connect();
    for round in 0..rounds {
        conn.run_ok("CONFIG SET appendonly no");
        if round % 2 == 0 {
            std::thread::sleep(Duration::from_millis(20 * (round as u64 % 4)));
        }
        conn.run_ok("CONFIG SET appendonly yes");
        if round % 3 == 0 {
            certain(&mut conn);
        }
    }
    certain(&mut conn);
}

fn under_load(shards: usize, more: &str) {
    let folder = Scratch::new();
    let mut load = Load::new();
    for round in 0..kills(2) {
        let options = format!("--appendfsync always {more}");
        let server = start(shards, &folder, &options);
        let mut conn = server.connect();
        load.check(&mut conn, None);
        std::thread::scope(|scope| {
            let switching = scope.spawn(|| switch(&server, 4));
            load.run_until(&server, || {
                switching.join().expect("it only switches");
                std::thread::sleep(Duration::from_millis(50 + 70 * (round as u64 % 4)));
            });
        });
        drop(server); // kills it
    }
    let server = start(2, &folder, "");
    load.check(&mut server.connect(), None);
    assert!(load.acknowledged() > 100, "there was a load");
}

#[test]
fn nothing_acknowledged_is_lost_once_it_is_on_again() {
    under_load(1, "");
    under_load(3, "");
}

#[test]
fn a_log_that_has_failed_begins_anew() {
    let folder = Scratch::new();
    let server = start(
        2,
        &folder,
        "--appendfsync always --enable-debug-command yes",
    );
    let mut conn = server.connect();
    conn.run_ok("SET a 1");
    conn.run("DEBUG LOG-FAULT WRITE 5");
    let _ = conn.try_send_bytes(&encode(&["SET", "b", "1"]));
    let _ = conn.try_receive();
    let mut conn = server.connect();
    eventually("writes are refused", 20, || {
        conn.run("SET c 1").is_error().then_some(())
    });
    conn.run_ok("CONFIG SET appendonly no");
    eventually("writes are taken", 20, || {
        (conn.run("SET c 2") == Value::ok()).then_some(())
    });
    conn.run_ok("CONFIG SET appendonly yes");
    conn.run_ok("SET d 3");
    certain(&mut conn);
    assert_eq!(server.info("aof_last_write_status"), "ok");
    drop(server); // kills it
    let server = start(2, &folder, "");
    let mut conn = server.connect();
    assert_eq!(conn.run("GET c"), Value::bulk("2"));
    assert_eq!(conn.run("GET d"), Value::bulk("3"));
}

#[test]
fn it_is_off_and_on_in_blocks_and_stays_so_in_the_file() {
    let folder = Scratch::new();
    let options = Options::new(env!("CARGO_BIN_EXE_ringdove"), 3).without_defaults();
    let options = options.with_line("appendonly no").with("--bind 127.0.0.1");
    let options = options.with(&format!("--dir {}", folder.path().display()));
    let mut server = Server::start(&options);
    let mut conn = server.connect();
    conn.run_ok("SET a 1");
    conn.run_ok("MULTI");
    conn.run("CONFIG SET appendonly yes");
    conn.run("CONFIG REWRITE");
    conn.run("SET b 2");
    assert!(
        conn.run("EXEC")
            .items()
            .iter()
            .all(|reply| !reply.is_error())
    );
    certain(&mut conn);
    conn.run_ok("MULTI");
    conn.run("SET a 5");
    conn.run("CONFIG SET appendonly no");
    conn.run("SET b 6");
    assert!(
        conn.run("EXEC")
            .items()
            .iter()
            .all(|reply| !reply.is_error())
    );
    assert_eq!(server.info("aof_enabled"), "0");
    server.signal(SIGTERM);
    assert!(server.await_end().success(), "{}", server.log());
    let file = server.dir().join("test.conf");
    let text = std::fs::read_to_string(&file).expect("it is there");
    assert!(text.contains("appendonly yes"), "{text}");
    let server = start(2, &folder, "");
    let mut conn = server.connect();
    assert_eq!(conn.run("GET a"), Value::bulk("1"));
    assert_eq!(conn.run("GET b"), Value::bulk("2"), "{}", server.log());
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let folder = Scratch::new();
    let other = start(1, &folder, "");
    let server = without(2, &folder);
    let mut conn = server.connect();
    let answer = conn.run("CONFIG SET appendonly yes").text();
    let wanted = "ERR CONFIG SET failed (possibly related to argument 'appendonly') - Unable to turn \
                  on AOF. Check server logs.";
    assert!(answer.contains(wanted), "{answer}");
    assert_eq!(server.info("aof_enabled"), "0");
    let shown = conn.run("CONFIG GET appendonly").pairs();
    assert_eq!(shown[0].1, Value::bulk("no"));
    assert!(server.log().contains("Another server uses the log"));
    drop(other);
    conn.run_ok("CONFIG SET appendonly yes");
    certain(&mut conn);
}

/// Without its first base the server would come back without its dataset.
/// From when the client is told that the log is on, not only from when its base is being written.
#[test]
fn a_first_base_is_waited_for_at_once() {
    for shards in [1, 3] {
        let folder = Scratch::new();
        let server = without(shards, &folder);
        let mut conn = server.connect();
        fill(&mut conn, 0);
        conn.run_ok("DEBUG POPULATE 200000 key 200"); // to write them takes a while
        let before = digest(&mut conn);
        conn.send_bytes(b"CONFIG SET appendonly yes\r\nSHUTDOWN\r\n");
        assert_eq!(conn.receive(), Value::ok());
        let answer = conn.receive().text();
        assert!(answer.contains("Errors trying to SHUTDOWN"), "{answer}");
        server.signal(SIGTERM);
        server.await_log("can't exit: SIGTERM received");
        certain(&mut conn);
        drop(server); // kills it
        let server = start(shards, &folder, "");
        assert_eq!(digest(&mut server.connect()), before, "{}", server.log());
    }
}

#[test]
fn the_first_base_is_waited_for() {
    let folder = Scratch::new();
    let server = without(2, &folder);
    let mut conn = server.connect();
    conn.run("DEBUG POPULATE 300000 key 200");
    conn.run_ok("CONFIG SET appendonly yes");
    let answer = conn.run("CONFIG SET appendonly no");
    assert_eq!(answer, Value::ok());
    conn.run_ok("CONFIG SET appendonly yes");
    eventually("it begins", 20, || {
        (server.info("aof_rewrite_in_progress") == "1").then_some(())
    });
    let answer = conn.run("SHUTDOWN NOSAVE").text();
    assert!(answer.contains("Errors trying to SHUTDOWN"), "{answer}");
    server.signal(SIGTERM);
    certain(&mut conn);
    assert_eq!(conn.run("DBSIZE").int(), 300_000);
    drop(server); // kills it
    let server = start(3, &folder, "");
    assert_eq!(server.connect().run("DBSIZE").int(), 300_000);
}
