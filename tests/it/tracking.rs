//! Client-side caching: who hears of which keys, when, and after what.
use crate::Ctx;
use ringdove_rig::{Conn, Rng, Server, Value, eventually};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

crate::cases!(run:
    what_was_read_and_changes_is_told_once,
    own_changes_are_told_after_the_reply,
    every_way_of_reading_counts,
    what_expires_is_told,
    flushes_are_told_as_one,
    blocks_tell_behind_their_reply,
    only_what_was_asked_for_is_remembered,
    prefixes_are_told_of_all_keys,
    another_connection_hears,
    what_is_ended_is_forgotten,
    no_more_is_remembered_than_allowed,
    silence_is_for_replies_alone,
    a_cache_is_right_in_the_end,
    a_block_s_subscription_is_known_when_it_is_answered,
);

/// Keys that are spread over all shards.
const KEYS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

fn tracking(server: &Server, options: &str) -> Conn {
    let mut conn = server.connect_resp3();
    conn.run_ok(format!("CLIENT TRACKING ON {options}").trim());
    conn
}

/// The keys of a push that says what is invalid; None: all.
#[track_caller]
fn invalid(value: &Value) -> Option<Vec<String>> {
    let Value::Push(items) = value else {
        panic!("{value:?} is no push");
    };
    assert_eq!(items[0], Value::bulk("invalidate"));
    match &items[1] {
        Value::Null => None,
        keys => Some(keys.items().iter().map(Value::text).collect()),
    }
}

#[track_caller]
fn hears(conn: &mut Conn, keys: &[&str]) {
    assert_eq!(invalid(&conn.receive()), Some(owned(keys)));
}

fn owned(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

/// Nothing has been told to a connection that it has not received.
#[track_caller]
fn hears_nothing(conn: &mut Conn) {
    assert_eq!(conn.run("PING"), Value::simple("PONG"));
    assert!(conn.is_quiet(Duration::from_millis(20)));
}

fn what_was_read_and_changes_is_told_once(ctx: &Ctx) {
    let server = ctx.start();
    let (mut one, mut two) = (tracking(&server, ""), tracking(&server, ""));
    let mut other = server.connect();
    for key in KEYS {
        one.call(&["GET", key]);
        two.call(&["GET", key]);
        two.call(&["GET", key]);
    }
    assert_eq!(server.info_number("tracking_clients"), 2);
    assert_eq!(server.info_number("tracking_total_keys"), 8);
    assert_eq!(server.info_number("tracking_total_items"), 16);
    for key in KEYS {
        other.call(&["SET", key, "1"]);
        hears(&mut one, &[key]);
        hears(&mut two, &[key]);
        other.call(&["SET", key, "2"]);
    }
    hears_nothing(&mut one);
    hears_nothing(&mut two);
    assert_eq!(server.info_number("tracking_total_keys"), 0);
    // The name counts, whatever the database.
    one.run("GET a");
    other.run("SELECT 3");
    other.run("SET a 1");
    hears(&mut one, &["a"]);
    // A command on keys of several shards, and one whose entries move.
    one.run("MGET a b c d");
    other.run("SELECT 0");
    other.run("MSET a 1 c 1 none 1");
    let mut told = [one.receive(), one.receive()].map(|push| invalid(&push));
    told.sort();
    assert_eq!(told, [Some(owned(&["a"])), Some(owned(&["c"]))]);
    other.run("RENAME b z");
    hears(&mut one, &["b"]);
    one.run("SINTER s t u v");
    other.run("SADD u 1");
    hears(&mut one, &["u"]);
    other.run("SUNIONSTORE v u t");
    hears(&mut one, &["v"]);
    // What changes nothing tells nothing.
    other.run("DEL none2 t");
    other.run("SETNX d 1");
    other.run("EXPIRE t 100");
    hears_nothing(&mut one);
    let list = other.run("CLIENT LIST").text();
    assert_eq!(list.matches(" flags=t ").count(), 2, "{list}");
    assert_eq!(list.matches(" redir=0 ").count(), 2, "{list}");
}

fn own_changes_are_told_after_the_reply(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = tracking(&server, "");
    for key in KEYS {
        conn.call(&["GET", key]);
        assert_eq!(conn.call(&["SET", key, "1"]), Value::ok());
        hears(&mut conn, &[key]);
    }
    let mut conn = tracking(&server, "NOLOOP");
    let mut other = server.connect();
    for key in KEYS {
        conn.call(&["GET", key]);
        conn.call(&["SET", key, "1"]);
        conn.call(&["GET", key]);
        other.call(&["SET", key, "1"]);
        hears(&mut conn, &[key]);
    }
    conn.run("MGET a b c d e f g h");
    conn.run("MSET a 2 b 2 c 2 d 2 e 2 f 2 g 2 h 2");
    conn.run("SUNION s t u");
    conn.run("SADD t 1");
    conn.run("SDIFFSTORE u t s");
    hears_nothing(&mut conn);
}

fn every_way_of_reading_counts(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = tracking(&server, "");
    let mut other = server.connect();
    for line in [
        "GET k",
        "STRLEN k",
        "EXISTS x y k z",
        "MGET x y k z",
        "TYPE k",
        "TTL k",
        "LLEN k",
        "SINTER x y k",
        "SDIFF x y k",
        "ZUNION 3 x y k",
        "XREAD STREAMS x k 0 0",
        "SORT_RO k",
        "SORT_RO k BY w_* GET o_*",
        "TOUCH k x y",
    ] {
        assert!(!conn.run(line).is_error(), "{line}");
        other.run("SET k 1");
        hears(&mut conn, &["k"]);
        // Its type may be wrong: what is read then is an error, which can change as well.
        conn.run(line);
        other.run("DEL k");
        hears(&mut conn, &["k"]);
    }
    // Commands that write remember nothing, though they read.
    for line in ["GETSET k 1", "GETDEL k", "INCR k", "LPOP l", "SORT l"] {
        conn.run(line);
    }
    other.run("SET k 1");
    other.run("RPUSH l 1");
    hears_nothing(&mut conn);
    // Pipelines over all shards, and blocks that only read.
    let mut lines = Vec::new();
    for key in KEYS {
        lines.extend(ringdove_rig::encode(&["GET", key]));
    }
    conn.send_bytes(&lines);
    KEYS.iter().for_each(|_| drop(conn.receive()));
    other.run("DEL a b c d e f g h");
    for key in KEYS {
        other.call(&["SET", key, "1"]);
    }
    let mut told: Vec<_> = KEYS.iter().map(|_| invalid(&conn.receive())).collect();
    told.sort();
    assert_eq!(told, KEYS.map(|key| Some(owned(&[key]))));
    conn.run("MULTI");
    for key in KEYS {
        conn.call(&["GET", key]);
    }
    conn.run("EXEC");
    for key in KEYS {
        other.call(&["APPEND", key, "1"]);
        hears(&mut conn, &[key]);
    }
}

fn what_expires_is_told(ctx: &Ctx) {
    let server = ctx.start();
    let (mut conn, mut other) = (tracking(&server, ""), server.connect());
    for key in KEYS {
        other.call(&["SET", key, "1", "PX", "500"]);
        conn.call(&["GET", key]);
    }
    let mut told: Vec<_> = KEYS.iter().map(|_| invalid(&conn.receive())).collect();
    told.sort();
    assert_eq!(told, KEYS.map(|key| Some(owned(&[key]))));
    other.run_ok("DEBUG SET-ACTIVE-EXPIRE 0");
    other.run("SET k 1 PX 100");
    conn.run("GET k");
    eventually("the key expires", 5, || {
        (other.run("EXISTS k") == Value::Int(0)).then_some(())
    });
    hears(&mut conn, &["k"]);
}

fn flushes_are_told_as_one(ctx: &Ctx) {
    let server = ctx.start();
    let mut conns = ["", "NOLOOP", "OPTIN", "BCAST PREFIX x"].map(|o| tracking(&server, o));
    let mut other = server.connect();
    for line in ["FLUSHALL", "FLUSHDB", "FLUSHALL ASYNC"] {
        for key in KEYS {
            other.call(&["SET", key, "1"]);
            conns[0].call(&["GET", key]);
        }
        assert_eq!(other.run(line), Value::ok());
        for conn in &mut conns {
            assert_eq!(invalid(&conn.receive()), None);
            hears_nothing(conn);
        }
        assert_eq!(server.info_number("tracking_total_keys"), 0);
    }
    // One's own is told behind the reply.
    for at in 0..conns.len() {
        assert_eq!(conns[at].run("FLUSHALL"), Value::ok());
        for conn in &mut conns {
            assert_eq!(invalid(&conn.receive()), None);
        }
    }
    let mut conn = tracking(&server, "");
    conn.run("MULTI");
    conn.run("FLUSHALL");
    conn.run("SET a 1");
    assert_eq!(conn.run("EXEC").items(), [Value::ok(), Value::ok()]);
    assert_eq!(invalid(&conn.receive()), None);
    conn.run("SWAPDB 0 1");
    hears_nothing(&mut conn);
}

fn blocks_tell_behind_their_reply(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = tracking(&server, "");
    for keys in [["{k}1", "{k}2"], ["a", "b"], ["a", "c"]] {
        conn.run("MULTI");
        for key in keys {
            conn.call(&["GET", key]);
            conn.call(&["SET", key, "1"]);
        }
        assert_eq!(conn.run("EXEC").items().len(), 4);
        let mut told = [conn.receive(), conn.receive()].map(|push| invalid(&push));
        told.sort();
        assert_eq!(told, keys.map(|key| Some(owned(&[key]))));
        // What is read behind the change is remembered.
        conn.run("MULTI");
        for key in keys {
            conn.call(&["SET", key, "1"]);
            conn.call(&["GET", key]);
        }
        assert_eq!(conn.run("EXEC").items().len(), 4);
        hears_nothing(&mut conn);
        for key in keys {
            conn.call(&["DEL", key]);
            hears(&mut conn, &[key]);
        }
    }
    // Another client's block, and the commands in it that need whole shards.
    let mut other = server.connect();
    conn.run("MGET a b c");
    other.run("MULTI");
    for line in ["SET a 1", "DBSIZE", "SET b 1", "DEL none"] {
        other.run(line);
    }
    other.run("EXEC");
    let mut told = [conn.receive(), conn.receive()].map(|push| invalid(&push));
    told.sort();
    assert_eq!(told, ["a", "b"].map(|key| Some(owned(&[key]))));
    hears_nothing(&mut conn);
}

fn only_what_was_asked_for_is_remembered(ctx: &Ctx) {
    let server = ctx.start();
    let mut other = server.connect();
    let mut conn = tracking(&server, "OPTIN");
    conn.run("GET a");
    other.run("SET a 1");
    for key in KEYS {
        conn.run_ok("CLIENT CACHING YES");
        conn.call(&["GET", key]);
        conn.call(&["GET", "not"]);
        other.run("SET not 1");
        other.call(&["SET", key, "1"]);
        hears(&mut conn, &[key]);
    }
    // For a whole block, wherever it runs.
    for keys in [["{k}1", "{k}2"], ["a", "b"], ["a", "c"]] {
        conn.run_ok("CLIENT CACHING YES");
        conn.run("MULTI");
        conn.call(&["GET", keys[0]]);
        conn.call(&["GET", keys[1]]);
        conn.run("PING");
        conn.run("EXEC");
        conn.run("GET not");
        other.run("SET not 1");
        for key in keys {
            other.call(&["SET", key, "1"]);
            hears(&mut conn, &[key]);
        }
    }
    let mut conn = tracking(&server, "OPTOUT");
    for key in KEYS {
        conn.run_ok("CLIENT CACHING NO");
        conn.call(&["GET", "not"]);
        conn.call(&["GET", key]);
        other.run("SET not 1");
        other.call(&["SET", key, "1"]);
        hears(&mut conn, &[key]);
    }
}

fn prefixes_are_told_of_all_keys(ctx: &Ctx) {
    let server = ctx.start();
    let mut other = server.connect();
    let mut some = tracking(&server, "BCAST PREFIX user: PREFIX job:");
    let mut all = tracking(&server, "BCAST NOLOOP");
    assert_eq!(server.info_number("tracking_total_prefixes"), 3);
    other.run("SET user:1 x");
    hears(&mut some, &["user:1"]);
    hears(&mut all, &["user:1"]);
    other.run("SET other x");
    hears(&mut all, &["other"]);
    // Several keys of a shard that change together come together.
    other.run("MSET user:{a}2 x user:{a}1 x job:{a} x x{a} x");
    hears(&mut some, &["job:{a}"]);
    hears(&mut some, &["user:{a}1", "user:{a}2"]);
    hears(&mut all, &["job:{a}", "user:{a}1", "user:{a}2", "x{a}"]);
    // One's own changes, and who does not want to hear of them.
    some.run_ok("SET user:3 x");
    hears(&mut some, &["user:3"]);
    hears(&mut all, &["user:3"]);
    all.run_ok("SET user:4 x");
    hears(&mut some, &["user:4"]);
    hears_nothing(&mut all);
    let list = other.run("CLIENT LIST").text();
    assert_eq!(list.matches(" flags=tB ").count(), 2, "{list}");
    some.run_ok("CLIENT TRACKING OFF");
    drop(all);
    server.await_info("tracking_total_prefixes", 0);
    assert_eq!(server.info_number("tracking_clients"), 0);
    other.run("SET user:1 y");
    hears_nothing(&mut some);
}

fn another_connection_hears(ctx: &Ctx) {
    const CHANNEL: &str = "__redis__:invalidate";
    let server = ctx.start();
    let mut other = server.connect();
    // Wherever the two connections are.
    for _ in 0..4 {
        let (mut listener, mut conn) = (server.connect(), server.connect());
        let id = listener.run("CLIENT ID").int();
        listener.call(&["SUBSCRIBE", CHANNEL]);
        conn.run_ok(&format!("CLIENT TRACKING ON REDIRECT {id}"));
        assert_eq!(conn.run("CLIENT GETREDIR"), Value::Int(id));
        let info = conn.run("CLIENT INFO").text();
        assert!(info.contains(&format!(" redir={id} ")), "{info}");
        for key in KEYS {
            conn.call(&["GET", key]);
            other.call(&["SET", key, "1"]);
            let message = listener.receive();
            assert_eq!(message.items()[0], Value::bulk("message"));
            assert_eq!(message.items()[1], Value::bulk(CHANNEL));
            assert_eq!(message.items()[2], Value::Array(vec![Value::bulk(key)]));
        }
        other.run("FLUSHALL");
        assert_eq!(listener.receive().items()[2], Value::NilBulk);
        // One that speaks RESP3 hears without a subscription.
        let mut pushed = server.connect_resp3();
        let id = pushed.run("CLIENT ID").int();
        conn.run_ok(&format!("CLIENT TRACKING ON REDIRECT {id}"));
        conn.run("GET a");
        other.run("SET a 2");
        hears(&mut pushed, &["a"]);
        drop(pushed);
        eventually("the connection is gone", 5, || {
            let list = other.run("CLIENT LIST").text();
            (!list.contains(&format!("id={id} "))).then_some(())
        });
        conn.run("HELLO 3");
        conn.run("GET a");
        other.run("SET a 3");
        let broken = vec![Value::bulk("tracking-redir-broken"), Value::Int(id)];
        assert_eq!(conn.receive(), Value::Push(broken));
        let info = conn.run("CLIENT INFO").text();
        assert!(info.contains(" flags=tR "), "{info}");
        let refused = other.run(&format!("CLIENT TRACKING ON REDIRECT {id}"));
        assert!(refused.is_error(), "{refused:?}");
    }
}

fn what_is_ended_is_forgotten(ctx: &Ctx) {
    let server = ctx.start();
    let mut other = server.connect();
    let mut conn = tracking(&server, "");
    for end in ["CLIENT TRACKING OFF", "RESET"] {
        for key in KEYS {
            conn.call(&["GET", key]);
        }
        conn.run(end);
        conn.run("HELLO 3");
        assert_eq!(conn.run("CLIENT GETREDIR"), Value::Int(-1));
        for key in KEYS {
            other.call(&["SET", key, "1"]);
        }
        hears_nothing(&mut conn);
        conn.run_ok("CLIENT TRACKING ON");
    }
    conn.run("GET a");
    conn.run("GET b");
    drop(conn);
    server.await_info("tracking_clients", 0);
    assert_eq!(server.info_number("tracking_total_keys"), 2);
    other.run("SET a 2");
    assert_eq!(server.info_number("tracking_total_keys"), 1);
    other.run("FLUSHALL");
    assert_eq!(server.info_number("tracking_total_keys"), 0);
}

fn no_more_is_remembered_than_allowed(ctx: &Ctx) {
    let server = ctx.start_with("--tracking-table-max-keys 30");
    let mut conn = tracking(&server, "");
    for n in 0..300 {
        conn.send(&["GET", &n.to_string()]);
    }
    // Whoever holds what is forgotten is told, so that it can be forgotten.
    let (mut replies, mut told) = (0, 0);
    while replies < 300 || told < 270 {
        match conn.receive() {
            Value::Null => replies += 1,
            push => told += invalid(&push).map_or(0, |keys| keys.len()),
        }
    }
    let kept = server.info_number("tracking_total_keys");
    assert!(kept <= 30, "{kept}");
    server
        .connect()
        .run_ok("CONFIG SET tracking-table-max-keys 3");
    // Redis looks at its limit when the next command comes.
    eventually("more is forgotten", 5, || {
        (server.info_number("tracking_total_keys") <= 3).then_some(())
    });
}

fn silence_is_for_replies_alone(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = tracking(&server, "");
    conn.send(&["CLIENT", "REPLY", "OFF"]);
    for key in KEYS {
        conn.send(&["GET", key]);
        conn.send(&["SET", key, "1"]);
        hears(&mut conn, &[key]);
    }
    conn.run_ok("CLIENT REPLY ON");
    for key in KEYS {
        conn.call(&["GET", key]);
        conn.send(&["CLIENT", "REPLY", "SKIP"]);
        conn.send(&["SET", key, "2"]);
        hears(&mut conn, &[key]);
    }
}

/// A client caches what it reads while others write all kinds of things; when they are done, and it
/// has heard all, what it has in its cache is what the server has.
fn a_cache_is_right_in_the_end(ctx: &Ctx) {
    const WRITERS: u64 = 3;
    const NAMES: usize = 24;
    let server = ctx.start();
    let seed = Rng::from_environment(0x7_2ac);
    eprintln!("RINGDOVE_TEST_SEED={seed}");
    let done = AtomicBool::new(false);
    let name = |rng: &mut Rng| format!("k{}", rng.below(NAMES));
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let mut conn = server.connect();
                scope.spawn(move || {
                    let mut rng = Rng::new(seed ^ (writer + 1));
                    for n in 0..400 {
                        let (a, b, value) = (name(&mut rng), name(&mut rng), n.to_string());
                        match rng.below(12) {
                            0..5 => drop(conn.call(&["SET", &a, &value])),
                            5 => drop(conn.call(&["SET", &a, &value, "PX", "3"])),
                            6 => drop(conn.call(&["DEL", &a, &b])),
                            7 => drop(conn.call(&["MSET", &a, &value, &b, &value])),
                            8 => drop(conn.call(&["RENAME", &a, &b])),
                            9 => drop(conn.call(&["COPY", &a, &b, "REPLACE"])),
                            10 if n % 50 == 0 => drop(conn.call(&["FLUSHALL"])),
                            _ => {
                                conn.run("MULTI");
                                conn.call(&["SET", &a, &value]);
                                conn.call(&["GET", &b]);
                                conn.call(&["APPEND", &b, &value]);
                                conn.run("EXEC");
                            }
                        }
                    }
                })
            })
            .collect();
        let readers: Vec<_> = (0..3)
            .map(|reader| {
                let (mut conn, done) = (tracking(&server, ""), &done);
                scope.spawn(move || {
                    let mut rng = Rng::new(seed ^ (reader + 100));
                    let mut cache: HashMap<String, Value> = HashMap::new();
                    while !done.load(Ordering::Acquire) {
                        let names: Vec<String> =
                            (0..1 + rng.below(6)).map(|_| name(&mut rng)).collect();
                        read(&mut conn, &mut cache, &names, rng.below(3));
                    }
                    (conn, cache)
                })
            })
            .collect();
        for writer in writers {
            writer.join().expect("a writer ends");
        }
        done.store(true, Ordering::Release);
        let mut other = server.connect();
        for key in (0..NAMES).map(|n| format!("k{n}")) {
            eventually("what expires is gone", 5, || {
                (other.call(&["PTTL", &key]).int() < 0).then_some(())
            });
        }
        for reader in readers {
            let (mut conn, mut cache) = reader.join().expect("a reader ends");
            // One key of each shard, whose change is told behind everything that was before.
            let last = ["{bar}last", "{user}last", "{foo}last"].map(str::to_owned);
            read(&mut conn, &mut cache, &last, 0);
            for key in &last {
                other.call(&["SET", key, "1"]);
            }
            while last.iter().any(|key| cache.contains_key(key)) {
                take(&conn.receive(), &mut cache);
            }
            for (key, value) in cache {
                let now = match other.call(&["GET", &key]) {
                    Value::NilBulk => Value::Null,
                    value => value,
                };
                assert_eq!(value, now, "{key}, seed {seed}");
            }
        }
    });
}

/// Forgets what a push says.
fn take(push: &Value, cache: &mut HashMap<String, Value>) {
    match invalid(push) {
        None => cache.clear(),
        Some(keys) => keys.iter().for_each(|key| drop(cache.remove(key))),
    }
}

/// Reads keys, one by one, together, or in a block, and keeps what comes.
fn read(conn: &mut Conn, cache: &mut HashMap<String, Value>, names: &[String], way: usize) {
    let next = |conn: &mut Conn, cache: &mut HashMap<String, Value>| loop {
        match conn.receive() {
            push @ Value::Push(_) => take(&push, cache),
            reply => return reply,
        }
    };
    if way == 1 {
        let mut args = vec!["MGET".to_owned()];
        args.extend_from_slice(names);
        conn.send(&args);
        let values = next(conn, cache);
        for (name, value) in names.iter().zip(values.items()) {
            cache.insert(name.clone(), value.clone());
        }
        return;
    }
    let block = way == 2;
    if block {
        conn.send(&["MULTI"]);
    }
    for name in names {
        conn.send(&["GET", name]);
    }
    if block {
        conn.send(&["EXEC"]);
        for _ in 0..=names.len() {
            next(conn, cache);
        }
        let values = next(conn, cache);
        for (name, value) in names.iter().zip(values.items()) {
            cache.insert(name.clone(), value.clone());
        }
        return;
    }
    for name in names {
        let value = next(conn, cache);
        cache.insert(name.clone(), value);
    }
}

/// What is published when the reply to an EXEC that subscribes has come reaches the subscriber.
fn a_block_s_subscription_is_known_when_it_is_answered(ctx: &Ctx) {
    let server = ctx.start();
    let mut publishers: Vec<Conn> = (0..3).map(|_| server.connect()).collect();
    for round in 0..60 {
        let channel = format!("c{round}");
        let mut conn = server.connect_resp3();
        conn.run("MULTI");
        conn.call(&["SUBSCRIBE", &channel]);
        conn.run(["PING", "DBSIZE", "GET a"][round % 3]);
        conn.run("EXEC");
        let publisher = &mut publishers[round % 3];
        assert_eq!(publisher.call(&["PUBLISH", &channel, "x"]), Value::Int(1));
    }
}
