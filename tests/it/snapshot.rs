//! Snapshots as files: saved by one server and loaded by another, with as many shards or others,
//! Ringdove or redis-server; taken while clients write.
use crate::Ctx;
use crate::start_stop::free_port;
use ringdove_rig::{Conn, Options, Rng, Scratch, Server, Value, eventually};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

const SIGTERM: i32 = 15;

crate::cases!(run:
    save_points_save,
    the_end_saves,
    an_end_that_cannot_save_is_refused,
    the_end_saves_what_is_acknowledged_until_then,
    what_was_flushed_does_not_come_back,
    clients_are_told_of_loading,
    a_start_ends_in_order_while_it_loads,
    a_saved_dataset_is_there_after_the_start,
    files_go_to_redis_and_back,
    values_larger_than_what_is_left_of_a_buffer_are_saved,
    a_snapshot_is_of_one_moment,
    what_is_flushed_meanwhile_is_saved,
    long_values_are_saved_while_they_change,
    large_strings_are_saved_while_they_change,
    changes_are_counted_from_the_save,
    one_at_a_time_and_cancelled,
    a_failed_save_says_so,
    a_file_that_may_not_grow_fails_the_save,
    a_damaged_file_stops_the_start,
    a_file_is_checked,
    a_reload_does_as_its_options_say,
    a_reload_that_fails_leaves_a_server,
);

/// A server of so many shards in a folder that outlives it.
fn server(shards: usize, folder: &Scratch) -> Server {
    Server::start(&options(shards, folder))
}

fn options(shards: usize, folder: &Scratch) -> Options {
    let dir = folder.path().display();
    let options = Options::new(env!("CARGO_BIN_EXE_ringdove"), shards);
    options.with(&format!("--dir {dir}"))
}

fn redis(folder: &Scratch) -> Server {
    let dir = folder.path().display();
    Server::start(&Options::redis().with(&format!("--dir {dir}")))
}

fn fill(conn: &mut Conn) {
    for n in 0..300 {
        conn.call(&["SET", &format!("string:{n}"), &"value ".repeat(n % 40)]);
        conn.call(&["RPUSH", &format!("list:{}", n % 7), &n.to_string(), "x"]);
        conn.call(&["SADD", &format!("set:{}", n % 5), &n.to_string()]);
        conn.call(&[
            "ZADD",
            &format!("zset:{}", n % 3),
            &format!("{n}.5"),
            &n.to_string(),
        ]);
        conn.call(&["HSET", &format!("hash:{}", n % 9), &n.to_string(), "value"]);
        conn.call(&[
            "XADD",
            &format!("stream:{}", n % 4),
            &format!("{}-1", n + 1),
            "f",
            "v",
        ]);
    }
    conn.run("SET expires x PXAT 4102444800000");
    conn.run("SELECT 9");
    conn.run("SET elsewhere y");
    conn.run("SELECT 0");
}

fn digest(conn: &mut Conn) -> String {
    conn.run("DEBUG DIGEST").text()
}

fn a_saved_dataset_is_there_after_the_start(ctx: &Ctx) {
    let folder = Scratch::new();
    let mut wanted = String::new();
    for (round, shards) in [ctx.shards, 3, 1, 2].into_iter().enumerate() {
        let server = server(shards, &folder);
        let mut conn = server.connect();
        if round == 0 {
            fill(&mut conn);
            wanted = digest(&mut conn);
        }
        assert_eq!(digest(&mut conn), wanted, "{shards} shard(s)");
        assert_eq!(
            conn.run("PEXPIRETIME expires"),
            Value::Int(4_102_444_800_000)
        );
        if round % 2 == 0 {
            conn.run_ok("SAVE");
        } else {
            let before = server.info_number("rdb_saves");
            assert_eq!(
                conn.run("BGSAVE"),
                Value::simple("Background saving started")
            );
            server.await_info("rdb_saves", before + 1);
        }
        assert_eq!(server.info("rdb_last_bgsave_status"), "ok");
    }
    let left = std::fs::read_dir(folder.path()).expect("it is there");
    let names = left.map(|entry| entry.expect("a name").file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["dump.rdb"]);
}

/// Every few of them make a buffer grow, more often than there are buffers.
fn values_larger_than_what_is_left_of_a_buffer_are_saved(ctx: &Ctx) {
    let folder = Scratch::new();
    let first = server(ctx.shards, &folder);
    let mut conn = first.connect();
    conn.call(&["CONFIG", "SET", "rdbcompression", "no"]);
    let value = "v".repeat(100_000);
    for n in 0..150 {
        let key = n.to_string();
        assert_eq!(conn.call(&["HSET", &key, "field", &value]), Value::Int(1));
    }
    let wanted = digest(&mut conn);
    for _ in 0..2 {
        let before = first.info_number("rdb_saves");
        conn.run("BGSAVE");
        first.await_info("rdb_saves", before + 1);
    }
    conn.run_ok("SAVE");
    conn.run_ok("DEBUG RELOAD");
    assert_eq!(digest(&mut conn), wanted);
}

fn files_go_to_redis_and_back(ctx: &Ctx) {
    let folder = Scratch::new();
    let first = server(ctx.shards, &folder);
    let mut conn = first.connect();
    fill(&mut conn);
    let wanted = digest(&mut conn);
    conn.run_ok("DEBUG RELOAD");
    assert_eq!(digest(&mut conn), wanted);
    conn.run_ok("SAVE");
    drop(first);
    let theirs = redis(&folder);
    let mut conn = theirs.connect();
    assert_eq!(digest(&mut conn), wanted);
    conn.run_ok("CONFIG SET rdbcompression no");
    conn.run_ok("SAVE");
    drop(theirs);
    let again = server(ctx.shards, &folder);
    assert_eq!(digest(&mut again.connect()), wanted);
    assert!(again.info_number("rdb_last_load_keys_loaded") > 300);
}

/// Ends the writers, also where the case fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Pairs of keys of different shards are incremented together: in a snapshot they are equal.
fn a_snapshot_is_of_one_moment(ctx: &Ctx) {
    const PAIRS: usize = 40;
    let folder = Scratch::new();
    let first = server(ctx.shards, &folder);
    let mut conn = first.connect();
    conn.run_ok("DEBUG POPULATE 56000 filler 100");
    for n in 0..PAIRS {
        conn.call(&[
            "MSET",
            &format!("left:{n}"),
            "0",
            &format!("right:{n}"),
            "0",
        ]);
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let (first, stop) = (&first, &stop);
            scope.spawn(move || {
                let mut conn = first.connect();
                let mut at = writer;
                while !stop.load(Ordering::Relaxed) {
                    at = (at * 7 + 3) % PAIRS;
                    conn.run_ok("MULTI");
                    conn.call(&["INCR", &format!("left:{at}")]);
                    conn.call(&["INCR", &format!("right:{at}")]);
                    conn.run("EXEC");
                    // Moves through the table ahead of the walk and behind it.
                    conn.call(&["APPEND", &format!("filler:{}", at * 1400 + writer), "x"]);
                    conn.call(&["DEL", &format!("filler:{}", at * 1300 + writer)]);
                    conn.call(&["SET", &format!("new:{at}"), "x"]);
                }
            });
        }
        let _ends = StopAtEnd(&stop);
        for round in 1..=3 {
            assert_eq!(
                conn.run("BGSAVE"),
                Value::simple("Background saving started")
            );
            first.await_info("rdb_saves", round);
        }
    });
    drop(first);
    let second = server(1, &folder);
    let mut conn = second.connect();
    let mut total = 0;
    for n in 0..PAIRS {
        let left = conn.run(&format!("GET left:{n}"));
        assert_eq!(left, conn.run(&format!("GET right:{n}")), "pair {n}");
        total += left.text().parse::<u64>().expect("a number");
    }
    assert!(total > 0, "something was written before the last snapshot");
}

fn what_is_flushed_meanwhile_is_saved(ctx: &Ctx) {
    let folder = Scratch::new();
    let first = server(ctx.shards, &folder);
    let mut conn = first.connect();
    conn.run_ok("DEBUG POPULATE 100000");
    conn.run_ok("SELECT 1");
    conn.run_ok("DEBUG POPULATE 1000 other");
    let wanted = digest(&mut conn);
    // In one packet, so that hardly anything was told before the databases are emptied.
    conn.send_bytes(b"BGSAVE\r\nSWAPDB 0 1\r\nFLUSHDB\r\nSELECT 0\r\nFLUSHDB\r\nSET new x\r\n");
    (0..6).for_each(|_| assert!(!conn.receive().is_error()));
    first.await_info("rdb_saves", 1);
    assert_eq!(conn.run("DBSIZE"), Value::Int(1));
    drop(first);
    let second = server(ctx.shards, &folder);
    assert_eq!(digest(&mut second.connect()), wanted);
}

/// Collections that take many slices to tell, changed ahead of the walk, in its middle and behind it.
fn long_values_are_saved_while_they_change(ctx: &Ctx) {
    let folder = Scratch::new();
    let first = server(ctx.shards, &folder);
    let mut conn = first.connect();
    let kinds = ["list", "set", "zset", "hash", "stream"];
    for kind in kinds {
        for n in (0..60_000).step_by(100) {
            let key = kind.to_string();
            let mut words = match kind {
                "list" => vec!["RPUSH".to_string(), key],
                "set" => vec!["SADD".to_string(), key],
                "zset" => vec!["ZADD".to_string(), key],
                "hash" => vec!["HSET".to_string(), key],
                _ => vec!["XADD".to_string(), key, format!("{}-0", n + 1)],
            };
            for member in n..n + 100 {
                match kind {
                    "list" | "set" => words.push(format!("member {member:040}")),
                    _ => words.extend([member.to_string(), member.to_string()]),
                }
            }
            assert!(!conn.call(&words).is_error());
        }
    }
    conn.run_ok("DEBUG POPULATE 30000 filler 100");
    let wanted = digest(&mut conn);
    // What is sent behind BGSAVE in one packet meets its beginning, and the rest all of it.
    let mut lines = String::from("BGSAVE\r\n");
    for round in 0..400 {
        lines.push_str(&format!("SET filler:{round} x\r\n"));
        if round % 80 == 79 {
            lines.push_str("RPUSH list new\r\nSREM set 1\r\nSADD set new\r\nZADD zset 0.5 new\r\n");
            lines.push_str("HSET hash new x\r\nXADD stream * new x\r\n");
        }
    }
    conn.send_bytes(lines.as_bytes());
    let replies = 1 + 400 + 5 * 6;
    (0..replies).for_each(|_| assert!(!conn.receive().is_error()));
    let mut rounds = 0;
    while first.info_number("rdb_saves") < 1 {
        for line in ["ZINCRBY zset 1 7", "LPOP list", "HDEL hash 7", "SPOP set"] {
            assert!(!conn.run(line).is_error());
        }
        conn.run("XTRIM stream MAXLEN 10");
        rounds += 1;
    }
    assert_eq!(first.info("rdb_last_bgsave_status"), "ok");
    // Whoever changed one of them has waited for the slices, and nobody for him.
    assert_eq!(first.info_number("rdb_values_told_at_once"), 0);
    drop(first);
    for other in [server(2, &folder), redis(&folder)] {
        assert_eq!(digest(&mut other.connect()), wanted, "{rounds} rounds");
    }
    let left = std::fs::read_dir(folder.path()).expect("it is there");
    let names = left.map(|entry| entry.expect("a name").file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["dump.rdb"]);
}

/// Strings that are shared with the thread that writes them: compressed, not to be compressed, and too
/// long for that.
fn large_strings_are_saved_while_they_change(ctx: &Ctx) {
    let folder = Scratch::new();
    let first = server(ctx.shards, &folder);
    let mut conn = first.connect();
    let mut rng = Rng::new(7);
    let noise: String = (0..17_000_000)
        .map(|_| char::from(b' ' + rng.below(95) as u8))
        .collect();
    let sizes = [17_000, 200_000, 300_000, 3_000_000, 17_000_000];
    for (at, size) in sizes.into_iter().enumerate() {
        for n in 0..4 {
            let value = match n % 2 {
                0 => &noise[..size],
                _ => &"value ".repeat(size / 6),
            };
            assert_eq!(
                conn.call(&["SET", &format!("{at}:{n}"), value]),
                Value::ok()
            );
        }
    }
    let wanted = digest(&mut conn);
    let mut lines = String::from("BGSAVE\r\n");
    for at in 0..sizes.len() {
        lines.push_str(&format!("APPEND {at}:0 x\r\nSETRANGE {at}:1 9 x\r\n"));
        lines.push_str(&format!("DEL {at}:2\r\nSET {at}:3 x EX 1000\r\n"));
    }
    conn.send_bytes(lines.as_bytes());
    (0..=4 * sizes.len()).for_each(|_| assert!(!conn.receive().is_error()));
    first.await_info("rdb_saves", 1);
    assert_eq!(first.info_number("rdb_values_told_at_once"), 0);
    let changed = digest(&mut conn);
    for other in [server(2, &folder), redis(&folder)] {
        assert_eq!(digest(&mut other.connect()), wanted);
    }
    conn.run_ok("SAVE");
    conn.run_ok("DEBUG RELOAD");
    assert_eq!(digest(&mut conn), changed);
}

fn changes_are_counted_from_the_save(ctx: &Ctx) {
    let folder = Scratch::new();
    let first = server(ctx.shards, &folder);
    let mut conn = first.connect();
    let before = conn.run("LASTSAVE").int();
    conn.run_ok("MSET a 1 b 2 c 3");
    assert_eq!(first.info_number("rdb_changes_since_last_save"), 3);
    conn.run_ok("SAVE");
    assert_eq!(first.info_number("rdb_changes_since_last_save"), 0);
    assert!(conn.run("LASTSAVE").int() >= before);
    conn.run_ok("SET a 2");
    assert_eq!(first.info_number("rdb_changes_since_last_save"), 1);
}

fn one_at_a_time_and_cancelled(ctx: &Ctx) {
    let folder = Scratch::new();
    let first = server(ctx.shards, &folder);
    let mut conn = first.connect();
    conn.run_ok("DEBUG POPULATE 30000 key 2000");
    conn.send_bytes(b"BGSAVE\r\nBGSAVE\r\nSAVE\r\nBGSAVE SCHEDULE\r\nBGSAVE CANCEL\r\n");
    assert_eq!(conn.receive(), Value::simple("Background saving started"));
    let busy = Value::error("ERR Background save already in progress");
    (0..3).for_each(|_| assert_eq!(conn.receive(), busy));
    assert_eq!(conn.receive(), Value::simple("Background saving cancelled"));
    first.await_info("rdb_bgsave_in_progress", 0);
    assert_eq!(first.info_number("rdb_saves"), 0);
    let none = "ERR Background saving is currently not in progress or scheduled";
    assert_eq!(conn.run("BGSAVE CANCEL"), Value::error(none));
    assert_eq!(conn.run("BGSAVE NOW"), Value::error("ERR syntax error"));
    let names = || {
        std::fs::read_dir(folder.path())
            .expect("it is there")
            .count()
    };
    eventually("nothing is left of it", 10, || (names() == 0).then_some(()));
    conn.run_ok("SAVE");
}

fn a_failed_save_says_so(ctx: &Ctx) {
    let folder = Scratch::new();
    let first = server(ctx.shards, &folder);
    let mut conn = first.connect();
    conn.run_ok("SET a 1");
    // A folder where the file is to be.
    std::fs::create_dir_all(folder.path().join("dump.rdb/inside")).expect("a folder");
    assert!(conn.run("SAVE").is_error());
    assert_eq!(first.info("rdb_last_bgsave_status"), "ok");
    conn.call(&["CONFIG", "SET", "save", "3600 100"]);
    conn.run("BGSAVE");
    let status = || (first.info("rdb_last_bgsave_status") == "err").then_some(());
    eventually("the snapshot fails", 10, status);
    for line in ["SET b 2", "PING"] {
        let refused = || conn.run(line).text().starts_with("MISCONF").then_some(());
        eventually("writes are refused", 10, refused);
    }
    assert_eq!(conn.run("GET a"), Value::bulk("1"));
    std::fs::remove_dir_all(folder.path().join("dump.rdb")).expect("it goes");
    conn.run_ok("SAVE");
    assert_eq!(first.info("rdb_last_bgsave_status"), "ok");
    let taken = || (conn.run("SET a 2") == Value::ok()).then_some(());
    eventually("writes are taken again", 10, taken);
}

/// As on a full disk: files may only grow so far. What is on its way to the thread that writes is given
/// back, and shards that wait for that go on.
fn a_file_that_may_not_grow_fails_the_save(ctx: &Ctx) {
    let folder = Scratch::new();
    let blocks_of_512 = "ulimit -f 60000; exec \"$0\" \"$@\"";
    let options = options(ctx.shards, &folder).inside(&["sh", "-c", blocks_of_512]);
    let first = Server::start(&options);
    let mut conn = first.connect();
    let mut rng = Rng::new(8);
    let noise: String = (0..6_000_000)
        .map(|_| char::from(b' ' + rng.below(95) as u8))
        .collect();
    for n in 0..30 {
        assert_eq!(conn.call(&["SET", &n.to_string(), &noise]), Value::ok());
    }
    for _ in 0..2 {
        assert!(conn.run("SAVE").is_error());
        conn.run("BGSAVE");
        let ended = || (first.info_number("rdb_bgsave_in_progress") == 0).then_some(());
        eventually("the snapshot ends", 20, ended);
        assert_eq!(first.info("rdb_last_bgsave_status"), "err");
        conn.run_ok("SET small x");
    }
    conn.run_ok("FLUSHALL");
    conn.run_ok("SAVE");
}

fn a_damaged_file_stops_the_start(ctx: &Ctx) {
    let folder = Scratch::new();
    let first = server(ctx.shards, &folder);
    let mut conn = first.connect();
    fill(&mut conn);
    conn.run_ok("SAVE");
    drop(first);
    let path = folder.path().join("dump.rdb");
    let mut bytes = std::fs::read(&path).expect("the file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).expect("the file");
    let dir = folder.path().display();
    let options = Options::new(env!("CARGO_BIN_EXE_ringdove"), ctx.shards);
    let (status, log) = options
        .with(&format!("--dir {dir}"))
        .run_to_end(free_port());
    assert!(!status.success());
    assert!(log.contains("dump.rdb: at offset"), "{log}");
}

fn a_file_is_checked(ctx: &Ctx) {
    let folder = Scratch::new();
    let first = server(ctx.shards, &folder);
    let mut conn = first.connect();
    fill(&mut conn);
    conn.run_ok("SAVE");
    drop(first);
    let path = folder.path().join("dump.rdb");
    let check = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ringdove"));
        command.arg("--check-rdb").arg(&path);
        command.output().expect("it runs")
    };
    let output = check();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("stream: 4\n"),
        "{text}"
    );
    let bytes = std::fs::read(&path).expect("the file");
    std::fs::write(&path, &bytes[..bytes.len() - 9]).expect("the file");
    let output = check();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && text.contains("the end is missing"),
        "{text}"
    );
}

fn save_points_save(ctx: &Ctx) {
    let folder = Scratch::new();
    let first = server(ctx.shards, &folder);
    let mut conn = first.connect();
    conn.call(&["CONFIG", "SET", "save", "1 5"]);
    for n in 0..20 {
        conn.call(&["SET", &n.to_string(), "x"]);
    }
    first.await_info("rdb_saves", 1);
    first.await_info("rdb_changes_since_last_save", 0);
    assert!(folder.path().join("dump.rdb").exists());
    first.await_info("connected_clients", 2);
}

fn the_end_saves(ctx: &Ctx) {
    let folder = Scratch::new();
    for (round, (points, end)) in [
        ("", "SHUTDOWN SAVE"),
        ("3600 1", "SHUTDOWN"),
        ("3600 1", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let mut first = server(ctx.shards, &folder);
        let mut conn = first.connect();
        assert_eq!(conn.run("DBSIZE"), Value::Int(100 * round as i64));
        conn.call(&["CONFIG", "SET", "save", points]);
        for n in 0..100 {
            conn.call(&["SET", &format!("{round}:{n}"), "x"]);
        }
        match end {
            "" => first.signal(SIGTERM),
            end => conn.send(&end.split(' ').collect::<Vec<_>>()),
        }
        assert!(first.await_end().success());
    }
    let mut last = server(ctx.shards, &folder);
    let mut conn = last.connect();
    assert_eq!(conn.run("DBSIZE"), Value::Int(300));
    conn.run("SET more x");
    conn.call(&["CONFIG", "SET", "save", "3600 1"]);
    conn.send(&["SHUTDOWN", "NOSAVE"]);
    last.await_end();
    assert_eq!(
        server(ctx.shards, &folder).connect().run("DBSIZE"),
        Value::Int(300)
    );
}

/// Who wants a snapshot at the end and cannot have it goes on, as on Redis: what is in memory is nowhere
/// else.
fn an_end_that_cannot_save_is_refused(ctx: &Ctx) {
    let folder = Scratch::new();
    let in_the_way = folder.path().join("dump.rdb");
    let mut first = server(ctx.shards, &folder);
    let mut conn = first.connect();
    std::fs::create_dir(&in_the_way).expect("it can be made");
    for n in 0..100 {
        conn.call(&["SET", &n.to_string(), "x"]);
    }
    let refused = Value::error("ERR Errors trying to SHUTDOWN. Check logs.");
    assert_eq!(conn.run("SHUTDOWN SAVE"), refused);
    conn.call(&["CONFIG", "SET", "save", "3600 1"]);
    assert_eq!(conn.run("SHUTDOWN"), refused);
    assert_eq!(conn.run("SHUTDOWN NOW"), refused);
    first.signal(SIGTERM);
    first.await_log("Errors trying to shut down the server");
    assert_eq!(conn.run("GET 7"), Value::bulk("x"));
    std::fs::remove_dir(&in_the_way).expect("it is empty");
    conn.call(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]);
    conn.run_ok("SET last x");
    first.signal(SIGTERM);
    assert!(first.await_end().success());
    let mut second = server(ctx.shards, &folder);
    let mut conn = second.connect();
    assert_eq!(conn.run("DBSIZE"), Value::Int(101));
    std::fs::remove_file(&in_the_way).expect("it is there");
    std::fs::create_dir(&in_the_way).expect("the name is free");
    conn.send(&["SHUTDOWN", "SAVE", "FORCE"]);
    second.await_end();
}

/// What is taken after the snapshot that the end begins with is not lost either.
fn the_end_saves_what_is_acknowledged_until_then(ctx: &Ctx) {
    let folder = Scratch::new();
    let mut first = server(ctx.shards, &folder);
    first
        .connect()
        .call(&["CONFIG", "SET", "save", "3600 100000"]);
    first.connect().run_ok("SET before x");
    let mut conn = first.connect();
    let address = first.address();
    let writer = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).expect("it listens");
        let mut set = |n: usize| {
            stream.write_all(format!("SET key:{n} x\r\n").as_bytes())?;
            let mut answer = [0; 5];
            stream.read_exact(&mut answer)?;
            Ok::<_, std::io::Error>(answer == *b"+OK\r\n")
        };
        (0..).take_while(|n| set(*n).unwrap_or(false)).count() as i64
    });
    eventually("it writes", 20, || {
        (conn.run("DBSIZE").int() > 1000).then_some(())
    });
    conn.send(&["SHUTDOWN"]);
    assert!(first.await_end().success());
    let acknowledged = writer.join().expect("no panic");
    let second = server(ctx.shards, &folder);
    let found = second.connect().run("DBSIZE").int();
    // The last one may have been taken without an answer.
    assert!(found > acknowledged, "{found} {acknowledged}");
}

/// FLUSHALL is saved where there are save points, also beside a snapshot of what was before.
fn what_was_flushed_does_not_come_back(ctx: &Ctx) {
    let folder = Scratch::new();
    let first = server(ctx.shards, &folder);
    let mut conn = first.connect();
    conn.run_ok("SET a x");
    conn.run_ok("SAVE");
    conn.call(&["CONFIG", "SET", "save", "3600 1"]);
    let saved = first.info_number("rdb_saves");
    conn.run("BGSAVE");
    conn.run_ok("FLUSHALL");
    eventually("it is saved", 20, || {
        let done = first.info_number("rdb_bgsave_in_progress") == 0
            && first.info_number("rdb_saves") > saved
            && first.info_number("rdb_changes_since_last_save") == 0;
        done.then_some(())
    });
    drop(first); // kills it
    let second = server(ctx.shards, &folder);
    assert_eq!(second.connect().run("DBSIZE"), Value::Int(0));
}

fn clients_are_told_of_loading(ctx: &Ctx) {
    let folder = Scratch::new();
    let first = server(ctx.shards, &folder);
    first.connect().run_ok("DEBUG POPULATE 2000");
    let wanted = digest(&mut first.connect());
    first.connect().run_ok("SAVE");
    drop(first);
    let slow = format!("--dir {} --key-load-delay 2000", folder.path().display());
    let second = Server::spawn(&ctx.options().with(&slow), free_port());
    let loading = Value::error("LOADING Redis is loading the dataset in memory");
    // Who comes while the server begins to listen may be turned away once.
    let told = || {
        let mut conn = Conn::tcp(second.address()).ok()?;
        conn.try_send_bytes(b"GET key:1\r\n").ok()?;
        (conn.try_receive().ok()? == loading).then_some(conn)
    };
    let mut conn = eventually("it says that it is loading", 20, told);
    for line in ["SET new x", "PING", "DBSIZE", "SAVE", "DEBUG RELOAD NOSAVE"] {
        assert_eq!(conn.run(line), loading, "{line}");
    }
    assert_eq!(second.info("loading"), "1");
    assert!(second.info_number("loading_total_bytes") > 10_000);
    let ready = || (conn.run("DBSIZE") == Value::Int(2000)).then_some(());
    eventually("it is loaded", 20, ready);
    assert_eq!(second.info("loading"), "0");
    assert_eq!(digest(&mut second.connect()), wanted);
}

fn a_start_ends_in_order_while_it_loads(ctx: &Ctx) {
    let folder = Scratch::new();
    let first = server(ctx.shards, &folder);
    first.connect().run_ok("DEBUG POPULATE 2000");
    first.connect().run_ok("SAVE");
    drop(first);
    let slow = format!("--dir {} --key-load-delay 5000", folder.path().display());
    let mut second = Server::spawn(&ctx.options().with(&slow), free_port());
    let loads = || {
        let mut conn = Conn::tcp(second.address()).ok()?;
        conn.try_send_bytes(b"PING\r\n").ok()?;
        let told = conn.try_receive().ok()?.text();
        told.starts_with("LOADING").then_some(())
    };
    eventually("it says that it is loading", 20, loads);
    second.signal(SIGTERM);
    assert!(second.await_end().success(), "{}", second.log());
    let third = server(ctx.shards, &folder);
    assert_eq!(third.connect().run("DBSIZE"), Value::Int(2000));
}

const NOT_LOADED: &str = "ERR Error trying to load the RDB dump";

fn a_reload_does_as_its_options_say(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    let unknown = "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.";
    for options in ["FOO", "nosave FOO", "MERGE NOFLUSH NOSAVE FOO"] {
        let line = format!("DEBUG RELOAD {options}");
        assert_eq!(conn.run(&line), Value::error(unknown), "{line}");
    }
    fill(&mut conn);
    let wanted = digest(&mut conn);
    let keys = conn.run("DBSIZE").int() as u64 + 1;
    conn.run_ok("SET goes x PX 1000");
    conn.run_ok("SAVE");
    let gone = || (conn.run("EXISTS goes") == Value::Int(0)).then_some(());
    eventually("it expires", 10, gone);

    // What is there beside the file, and instead of what is in it.
    conn.run_ok("SET string:1 changed");
    conn.run_ok("SET beside x");
    conn.run("DEL list:0");
    conn.run_ok("DEBUG RELOAD NOFLUSH merge NOSAVE");
    assert_eq!(conn.run("DEL beside"), Value::Int(1));
    assert_eq!(digest(&mut conn), wanted);
    conn.run_ok("FLUSHALL");
    conn.run_ok("SET beside x");
    conn.run_ok("DEBUG RELOAD NOSAVE NOFLUSH");
    assert_eq!(conn.run("DEL beside"), Value::Int(1));
    assert_eq!(digest(&mut conn), wanted);
    conn.run_ok("SET beside x");
    conn.run_ok("DEBUG RELOAD nosave nosave");
    assert_eq!(digest(&mut conn), wanted);
    assert_eq!(server.info_number("rdb_last_load_keys_loaded"), keys);
    assert_eq!(server.info_number("rdb_last_load_keys_expired"), 1);

    // Who watches a key that goes and comes back finds it changed.
    for (options, dirty) in [
        ("", true),
        ("NOSAVE", true),
        ("NOSAVE NOFLUSH MERGE", false),
    ] {
        conn.run_ok("WATCH string:1");
        conn.run_ok(format!("DEBUG RELOAD {options}").trim_end());
        conn.run_ok("MULTI");
        conn.run("EXISTS string:1");
        let done = match dirty {
            true => Value::NilArray,
            false => Value::Array(vec![Value::Int(1)]),
        };
        assert_eq!(conn.run("EXEC"), done, "{options}");
    }
    conn.run_ok("MULTI");
    conn.run("SET beside x");
    conn.run("DEBUG RELOAD NOSAVE");
    conn.run("EXISTS beside string:1");
    let done = vec![Value::ok(), Value::ok(), Value::Int(1)];
    assert_eq!(conn.run("EXEC"), Value::Array(done));
    conn.run_ok("DEBUG RELOAD NOFLUSH MERGE");
    assert_eq!(digest(&mut conn), wanted);
}

fn a_reload_that_fails_leaves_a_server(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    fill(&mut conn);
    let wanted = digest(&mut conn);
    let failed = Value::error(NOT_LOADED);
    assert_eq!(conn.run("DEBUG RELOAD NOSAVE NOFLUSH"), failed);
    assert_eq!(digest(&mut conn), wanted);
    assert_eq!(conn.run("DEBUG RELOAD NOSAVE"), failed);
    assert_eq!(conn.run("DBSIZE"), Value::Int(0));
    if ctx.is_redis() {
        return; // the rest ends it
    }
    fill(&mut conn);
    conn.run_ok("SAVE");
    for options in ["NOFLUSH", "NOFLUSH NOSAVE"] {
        assert_eq!(conn.run(&format!("DEBUG RELOAD {options}")), failed);
        assert_eq!(digest(&mut conn), wanted);
    }
    let path = server.dir().join("dump.rdb");
    let mut bytes = std::fs::read(&path).expect("the file");
    bytes.truncate(bytes.len() - 9);
    std::fs::write(&path, &bytes).expect("the file");
    assert_eq!(conn.run("DEBUG RELOAD NOSAVE"), failed);
    std::fs::write(&path, b"REDIS0011 and nothing more").expect("the file");
    assert_eq!(conn.run("DEBUG RELOAD NOSAVE MERGE"), failed);
    assert_eq!(conn.run("DBSIZE"), Value::Int(0));
    conn.run_ok("SET a x");
}
