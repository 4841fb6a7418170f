//! MIGRATE: keys go to a redis-server, come from one, and go from one of ours to the other.
use crate::Ctx;
use crate::start_stop::free_port;
use ringdove_rig::{Conn, Options, Server, Value, eventually};
use std::io::Read;
use std::net::TcpListener;
use std::time::{Duration, Instant};

crate::cases!(run:
    every_type_goes_there_and_back,
    between_two_of_ours,
    options_do_what_they_do_on_redis,
    errors_are_those_of_redis,
    a_block_waits_for_the_target,
    a_block_gives_up_a_silent_target,
    a_silent_target_stalls_nobody_else,
    what_changes_meanwhile_is_not_lost,
    sockets_are_kept,
    changes_are_told,
    many_wait_for_their_turn,
    keys_go_while_their_slot_moves,
);

/// Keys of every type and in several encodings, some with an expiry.
fn fill(conn: &mut Conn) -> Vec<String> {
    let mut keys = Vec::new();
    for size in [1, 3, 200, 2000] {
        let key = |kind: &str| format!("{kind}:{size}");
        for n in 0..size {
            let (text, long) = (n.to_string(), format!("element {n:060}"));
            conn.call(&["RPUSH", &key("list"), &text, &long]);
            conn.call(&["SADD", &key("ints"), &text]);
            conn.call(&["SADD", &key("set"), &long]);
            conn.call(&["HSET", &key("hash"), &text, &long]);
            conn.call(&["ZADD", &key("zset"), &text, &long]);
            conn.call(&["XADD", &key("stream"), &format!("{}-1", n + 1), "f", &text]);
            conn.call(&["PFADD", &key("hll"), &text]);
        }
        conn.call(&["SET", &key("string"), &"x".repeat(size * 40)]);
        conn.call(&["SET", &key("number"), &size.to_string()]);
        conn.call(&["XGROUP", "CREATE", &key("stream"), "g", "0"]);
        let names = [
            "list", "ints", "set", "hash", "zset", "stream", "hll", "string", "number",
        ];
        keys.extend(names.map(key));
        conn.call(&["PEXPIRE", &key("hash"), "1000000"]);
        conn.call(&["PEXPIRE", &key("string"), "2000000"]);
    }
    keys
}

fn digest(conn: &mut Conn) -> String {
    conn.run("DEBUG DIGEST").text()
}

fn migrate(conn: &mut Conn, to: &Server, more: &[&str]) -> Value {
    let port = to.port().to_string();
    let words = ["MIGRATE", "127.0.0.1", &port].into_iter();
    let words: Vec<&str> = words.chain(more.iter().copied()).collect();
    conn.call(&words)
}

/// All keys go, one by one and then many at once.
fn moves(from: &Server, to: &Server, keys: &[String]) {
    let (mut source, mut target) = (from.connect(), to.connect());
    let wanted = digest(&mut source);
    let (single, many) = keys.split_at(keys.len() / 3);
    for key in single {
        assert_eq!(migrate(&mut source, to, &[key, "0", "5000"]), Value::ok());
        assert_eq!(source.call(&["EXISTS", key]).int(), 0);
    }
    let mut words = vec!["", "0", "5000", "KEYS", "missing"];
    words.extend(many.iter().map(String::as_str));
    assert_eq!(migrate(&mut source, to, &words), Value::ok());
    assert_eq!(source.run("DBSIZE").int(), 0);
    assert_eq!(digest(&mut target), wanted);
    for (key, most) in [("hash:3", 1_000_000), ("string:200", 2_000_000)] {
        let left = target.call(&["PTTL", key]).int();
        assert!((most - 60_000..=most).contains(&left), "{key}: {left}");
    }
    assert_eq!(target.run("TTL set:1").int(), -1);
}

fn every_type_goes_there_and_back(ctx: &Ctx) {
    let (ours, redis) = (ctx.start(), Server::start(&Options::redis()));
    let keys = fill(&mut ours.connect());
    moves(&ours, &redis, &keys);
    moves(&redis, &ours, &keys);
}

fn between_two_of_ours(ctx: &Ctx) {
    let (one, other) = (ctx.start(), ctx.start());
    let keys = fill(&mut one.connect());
    moves(&one, &other, &keys);
    moves(&other, &one, &keys);
}

fn options_do_what_they_do_on_redis(ctx: &Ctx) {
    let theirs = Server::start(&Options::redis());
    for source in [&ctx.start(), &theirs] {
        let target = Server::start(&Options::redis());
        let (mut conn, mut there) = (source.connect(), target.connect());
        conn.run_ok("MSET a 1 b 2 c 3");
        there.run_ok("SET a old");
        let busy =
            "ERR Target instance replied with error: BUSYKEY Target key name already exists.";
        assert_eq!(
            migrate(&mut conn, &target, &["a", "0", "5000", "COPY"]),
            Value::error(busy)
        );
        let all = ["", "0", "5000", "COPY", "KEYS", "a", "b"];
        assert_eq!(migrate(&mut conn, &target, &all), Value::error(busy));
        let values = ["old", "2"].map(Value::bulk);
        assert_eq!(there.run("MGET a b"), Value::Array(values.to_vec()));
        let all = ["", "0", "5000", "COPY", "REPLACE", "KEYS", "a", "b"];
        assert_eq!(migrate(&mut conn, &target, &all), Value::ok());
        assert_eq!(there.run("MGET a b"), conn.run("MGET a b"));
        // Without COPY, those that the target has are gone here, and the others are not.
        let all = ["", "0", "5000", "KEYS", "a", "c"];
        assert_eq!(migrate(&mut conn, &target, &all), Value::error(busy));
        assert_eq!(conn.run("EXISTS a").int(), 1);
        assert_eq!(conn.run("EXISTS c").int(), 0);
        assert_eq!(
            migrate(&mut conn, &target, &["b", "7", "5000"]),
            Value::ok()
        );
        there.run_ok("SELECT 7");
        assert_eq!(there.run("GET b"), Value::bulk("2"));
        conn.run_ok("SELECT 3");
        conn.run_ok("SET here 1");
        assert_eq!(
            migrate(&mut conn, &target, &["here", "0", "5000"]),
            Value::ok()
        );
        there.run_ok("SELECT 0");
        assert_eq!(there.run("GET here"), Value::bulk("1"));

        there.run_ok("ACL SETUSER mover on >secret ~* +@all");
        there.run_ok("CONFIG SET requirepass pass");
        conn.run_ok("SET guarded 1");
        let bad = migrate(
            &mut conn,
            &target,
            &["guarded", "0", "5000", "AUTH", "wrong"],
        );
        let wrong = "ERR Target instance replied with error: WRONGPASS \
                     invalid username-password pair or user is disabled.";
        assert_eq!(bad, Value::error(wrong));
        assert_eq!(conn.run("EXISTS guarded").int(), 1);
        let good = migrate(
            &mut conn,
            &target,
            &["guarded", "0", "5000", "REPLACE", "AUTH", "pass"],
        );
        assert_eq!(good, Value::ok());
        conn.run_ok("SET guarded 2");
        let words = [
            "guarded", "0", "5000", "REPLACE", "AUTH2", "mover", "secret",
        ];
        assert_eq!(migrate(&mut conn, &target, &words), Value::ok());
        assert_eq!(there.run("GET guarded"), Value::bulk("2"));
    }
}

fn errors_are_those_of_redis(ctx: &Ctx) {
    let (ours, theirs) = (ctx.start(), Server::start(&Options::redis()));
    let target = Server::start(&Options::redis().with("--databases 2"));
    let (mut one, mut other) = (ours.connect(), theirs.connect());
    let (port, nobody) = (target.port(), free_port());
    for conn in [&mut one, &mut other] {
        conn.run_ok("SET k v");
    }
    for line in [
        "MIGRATE".to_string(),
        format!("MIGRATE 127.0.0.1 {port} k 0"),
        format!("MIGRATE 127.0.0.1 {port} missing 0 1000"),
        format!("MIGRATE 127.0.0.1 {port} \"\" 0 1000 KEYS no nothing"),
        format!("MIGRATE 127.0.0.1 {port} \"\" 0 1000 KEYS"),
        format!("MIGRATE 127.0.0.1 {port} k x 1000"),
        format!("MIGRATE 127.0.0.1 {port} k 0 x"),
        format!("MIGRATE 127.0.0.1 {port} k 0 1000 AUTH"),
        format!("MIGRATE 127.0.0.1 {port} k 0 1000 AUTH2 user"),
        format!("MIGRATE 127.0.0.1 {port} k 0 1000 NONSENSE"),
        format!("MIGRATE 127.0.0.1 {port} k 0 1000 KEYS k"),
        format!("MIGRATE 127.0.0.1 {port} k 5 1000"),
        format!("MIGRATE 127.0.0.1 {port} k -1 1000"),
        format!("MIGRATE 127.0.0.1 {port} k 0 1000 AUTH unwanted"),
        format!("MIGRATE 127.0.0.1 {nobody} k 0 1000"),
        "MIGRATE 127.0.0.1 x k 0 1000".into(),
        "COMMAND GETKEYS MIGRATE h 1 k 0 5 COPY".into(),
        "COMMAND GETKEYS MIGRATE h 1 \"\" 0 5 AUTH keys KEYS keys b".into(),
    ] {
        assert_eq!(one.run(&line), other.run(&line), "{line}");
    }
    assert_eq!(one.run("GET k"), Value::bulk("v"));
}

/// EXEC waits for the target, and what it and the commands behind it answer is in order.
fn a_block_waits_for_the_target(ctx: &Ctx) {
    let (ours, theirs) = (ctx.start(), Server::start(&Options::redis()));
    let (target, nobody) = (Server::start(&Options::redis()), free_port());
    let (mut one, mut other) = (ours.connect(), theirs.connect());
    let mut there = target.connect();
    let port = target.port();
    for round in ["", "SELECT 3"] {
        for line in [
            round.to_string(),
            "MSET a 1 b 2 c 3 d 4 taken 5".into(),
            "PEXPIREAT b 4102444800000".into(),
            "WATCH a nothing".into(),
            "MULTI".into(),
            "INCR a".into(),
            format!("MIGRATE 127.0.0.1 {port} \"\" 0 5000 REPLACE KEYS a b c missing"),
            "EXISTS a b c d".into(),
            format!("MIGRATE 127.0.0.1 {port} d 0 5000 COPY REPLACE"),
            "APPEND d x".into(),
            "DBSIZE".into(),
            format!("MIGRATE 127.0.0.1 {port} missing 0 5000"),
            format!("MIGRATE 127.0.0.1 {nobody} d 0 1000"),
            format!("MIGRATE 127.0.0.1 {port} d 0 1000 NONSENSE"),
            format!("MIGRATE 127.0.0.1 {port} d 0 5000"),
            "SET a again".into(),
            "SORT none BY w_* GET a".into(),
            "EXEC".into(),
            "MGET a b c d".into(),
            "DEL a d".into(),
        ] {
            if line.is_empty() {
                continue;
            }
            assert_eq!(one.run(&line), other.run(&line), "{line}");
            if line == "EXEC" {
                let values = ["2", "2", "3", "4"].map(Value::bulk);
                assert_eq!(there.run("MGET a b c d").items(), values);
                // What is left of the time is sent, and has begun to pass.
                let due = there.run("PEXPIRETIME b").int();
                assert!((due - 4_102_444_800_000).abs() < 60_000, "{due}");
                // What the other of the two has sent is not in the way of the next round.
                there.run_ok("FLUSHALL");
            }
            if line.contains("COPY") || line.starts_with("MSET") {
                there.run("DEL d");
            }
        }
        there.run_ok("FLUSHALL");
    }
    // A pipeline behind it, and a watched key that has changed.
    one.run_ok("SET k v");
    let block = format!(
        "MULTI\r\nSET x 1\r\nMIGRATE 127.0.0.1 {port} k 0 5000\r\nEXEC\r\nGET x\r\nGET k\r\nPING\r\n"
    );
    one.send_bytes(block.as_bytes());
    (0..3).for_each(|_| assert!(!one.receive().is_error()));
    assert_eq!(one.receive().items(), [Value::ok(), Value::ok()]);
    assert_eq!(one.receive(), Value::bulk("1"));
    assert_eq!(one.receive(), Value::NilBulk);
    assert_eq!(one.receive(), Value::simple("PONG"));
    one.run_ok("SET k v");
    one.run_ok("WATCH k");
    let mut changes = ours.connect();
    changes.run_ok("SELECT 3");
    changes.run_ok("SET k w");
    one.run_ok("MULTI");
    one.run(&format!("MIGRATE 127.0.0.1 {port} k 0 5000 REPLACE"));
    assert!(matches!(one.run("EXEC"), Value::Null | Value::NilArray));
    assert_eq!(there.run("GET k"), Value::bulk("v"));
}

/// A target that says nothing holds up the block, and who wants its keys, for its time; nobody else.
fn a_block_gives_up_a_silent_target(ctx: &Ctx) {
    if ctx.is_redis() {
        return;
    }
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("bound").port();
    let server = ctx.start();
    let (mut conn, mut other) = (server.connect(), server.connect());
    conn.run_ok("MSET a 1 b 2 c 3");
    conn.run_ok("MULTI");
    conn.run(&format!("MIGRATE 127.0.0.1 {port} \"\" 0 700 KEYS a b c"));
    conn.run("INCR a");
    let began = Instant::now();
    conn.send(&["EXEC"]);
    let (_conversation, _) = silent.accept().expect("it asks");
    other.run_ok("SET elsewhere x");
    assert!(began.elapsed() < Duration::from_millis(700));
    assert_eq!(other.run("INCR b"), Value::Int(3));
    assert!(began.elapsed() >= Duration::from_millis(600));
    let replies = conn.receive();
    assert!(replies.items()[0].is_error(), "{replies:?}");
    assert_eq!(replies.items()[1], Value::Int(2));
    assert_eq!(other.run("DBSIZE"), Value::Int(4));
}

/// Who asks for one of the keys waits for the target, or until the time is over; all others go on.
fn a_silent_target_stalls_nobody_else(ctx: &Ctx) {
    if ctx.is_redis() {
        return;
    }
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("bound").port();
    let server = ctx.start();
    let (mut mover, mut waits) = (server.connect(), server.connect());
    let mut others = server.connect();
    others.run_ok("MSET held 1 a 1 b 2 c 3 d 4");
    let began = Instant::now();
    mover.send(&[
        "MIGRATE",
        "127.0.0.1",
        &port.to_string(),
        "held",
        "0",
        "700",
    ]);
    let (mut accepted, _) = silent.accept().expect("it connects");
    let mut byte = [0];
    accepted.read_exact(&mut byte).expect("it sends");
    waits.send(&["INCR", "held"]);
    for key in ["a", "b", "c", "d"] {
        others.call(&["INCR", key]);
    }
    assert!(mover.is_quiet(Duration::from_millis(1)), "nobody waits");
    let error = "IOERR error or timeout reading to target instance";
    assert_eq!(mover.receive(), Value::error(error));
    assert!(began.elapsed() >= Duration::from_millis(700));
    assert_eq!(waits.receive().int(), 2);
    // One whose client has gone keeps its key no longer than that, either.
    let mut gone = server.connect();
    gone.send(&[
        "MIGRATE",
        "127.0.0.1",
        &port.to_string(),
        "held",
        "0",
        "300",
    ]);
    let _second = silent.accept().expect("it connects");
    drop(gone);
    assert_eq!(waits.run("INCR held").int(), 3);
}

/// Increments go on while their keys move: each of them is here or there.
fn what_changes_meanwhile_is_not_lost(ctx: &Ctx) {
    let (server, target) = (ctx.start(), Server::start(&Options::redis()));
    let keys: Vec<String> = (0..60).map(|n| format!("count:{n}")).collect();
    let done = std::sync::atomic::AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|_| {
                let (mut conn, keys, done) = (server.connect(), &keys, &done);
                scope.spawn(move || {
                    let mut sent = 0;
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        for key in keys {
                            assert!(!conn.call(&["INCR", key]).is_error());
                            sent += 1;
                        }
                    }
                    sent
                })
            })
            .collect();
        let mut conn = server.connect();
        for keys in keys.chunks(5) {
            let here = || keys.iter().map(String::as_str);
            eventually("the keys are there", 10, || {
                let words: Vec<&str> = ["EXISTS"].into_iter().chain(here()).collect();
                (conn.call(&words).int() == 5).then_some(())
            });
            let words = ["", "0", "5000", "KEYS"].into_iter().chain(here());
            let words: Vec<&str> = words.collect();
            assert_eq!(migrate(&mut conn, &target, &words), Value::ok());
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        let sent = writers.into_iter().map(|w| w.join().expect("it counts"));
        sent.sum::<i64>()
    });
    let mut sum = 0;
    for server in [&server, &target] {
        let mut conn = server.connect();
        for key in &keys {
            sum += match conn.call(&["GET", key]) {
                Value::NilBulk => 0,
                value => value.text().parse::<i64>().expect("a number"),
            };
        }
    }
    assert_eq!(sum, sent);
}

fn sockets_are_kept(ctx: &Ctx) {
    let (server, target) = (ctx.start(), Server::start(&Options::redis()));
    let mut conn = server.connect();
    let mut there = target.connect();
    // Each look at them counts as one itself.
    let connections = || target.info_number("total_connections_received");
    let before = connections();
    for n in 0..5 {
        conn.call(&["SET", &n.to_string(), "v"]);
        let moved = migrate(&mut conn, &target, &[&n.to_string(), "0", "5000"]);
        assert_eq!(moved, Value::ok());
    }
    assert_eq!(connections() - before, 2, "one moves them all");
    assert_eq!(server.info_number("migrate_cached_sockets"), 1);
    // One that the target has ended is replaced.
    there.run("CLIENT KILL TYPE normal SKIPME yes");
    conn.run_ok("SET again v");
    assert_eq!(
        migrate(&mut conn, &target, &["again", "0", "5000"]),
        Value::ok()
    );
    server.await_info("migrate_cached_sockets", 0);
}

fn changes_are_told(ctx: &Ctx) {
    let target = Server::start(&Options::redis());
    let server = ctx.start_with("--notify-keyspace-events KEA");
    let (mut conn, mut listener) = (server.connect(), server.connect());
    let mut watcher = server.connect();
    conn.run_ok("SET k v");
    watcher.run_ok("WATCH k");
    listener.run("SUBSCRIBE __keyspace@0__:k");
    assert_eq!(
        migrate(&mut conn, &target, &["k", "0", "5000"]),
        Value::ok()
    );
    let event = listener.receive();
    assert_eq!(event.items()[2], Value::bulk("del"));
    watcher.run_ok("MULTI");
    watcher.run("PING");
    assert_eq!(watcher.run("EXEC"), Value::NilArray);
}

/// More at a time than there are threads for.
fn many_wait_for_their_turn(ctx: &Ctx) {
    let (server, target) = (ctx.start(), Server::start(&Options::redis()));
    let port = target.port().to_string();
    let mut conns: Vec<Conn> = (0..60).map(|_| server.connect()).collect();
    for (n, conn) in conns.iter_mut().enumerate() {
        conn.call(&["SET", &format!("key:{n}"), "v"]);
    }
    for (n, conn) in conns.iter_mut().enumerate() {
        conn.send(&[
            "MIGRATE",
            "127.0.0.1",
            &port,
            &format!("key:{n}"),
            "0",
            "5000",
        ]);
    }
    for conn in &mut conns {
        assert_eq!(conn.receive(), Value::ok());
    }
    assert_eq!(target.connect().run("DBSIZE").int(), 60);
    assert_eq!(conns[0].run("DBSIZE").int(), 0);
}

/// A slot with many keys goes from shard to shard, in slices, while its keys go to another server.
fn keys_go_while_their_slot_moves(ctx: &Ctx) {
    const KEYS: usize = 6000;
    if ctx.shards == 1 || ctx.is_redis() {
        return;
    }
    let (server, target) = (ctx.start(), Server::start(&Options::redis()));
    let mut conn = server.connect();
    let keys: Vec<String> = (0..KEYS).map(|n| format!("{{one}}:{n}")).collect();
    for keys in keys.chunks(500) {
        let words = keys.iter().flat_map(|key| [key.as_str(), "v"]);
        let words: Vec<&str> = ["MSET"].into_iter().chain(words).collect();
        assert_eq!(conn.call(&words), Value::ok());
    }
    let slot = 9084; // of `one`
    let done = std::sync::atomic::AtomicBool::new(false);
    let moved = std::thread::scope(|scope| {
        let mover = scope.spawn(|| {
            let (mut conn, mut moved) = (server.connect(), 0);
            for to in (0..ctx.shards).cycle() {
                if done.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                moved += conn
                    .run(&format!("RINGDOVE SLOTS MOVE {slot} TO {to}"))
                    .int();
            }
            moved
        });
        for keys in keys.chunks(150) {
            let words = keys.iter().map(String::as_str);
            let words = ["", "0", "5000", "KEYS"].into_iter().chain(words);
            let words: Vec<&str> = words.collect();
            assert_eq!(migrate(&mut conn, &target, &words), Value::ok());
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        mover.join().expect("it only moves slots")
    });
    assert!(moved > 0, "the slot has not moved");
    assert_eq!(conn.run("DBSIZE").int(), 0);
    assert_eq!(target.connect().run("DBSIZE").int(), KEYS as i64);
}
