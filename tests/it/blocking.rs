//! Blocking commands over keys of all shards.
use crate::Ctx;
use ringdove_rig::{Conn, Rng, Server, Value, encode, eventually};
use std::collections::HashMap;
use std::time::{Duration, Instant};

crate::cases!(run:
    replies_are_redis_s,
    clients_are_served_in_the_order_in_which_they_began_to_wait,
    waits_end_with_their_time,
    a_client_waits_for_keys_of_several_shards_and_is_served_once,
    elements_move_from_list_to_list,
    what_follows_a_blocking_command_waits_for_it,
    client_unblock_and_kill,
    blocks_do_not_wait_and_serve_when_they_are_done,
    sorted_sets_and_streams,
    what_is_pending_is_claimed_as_soon_as_it_is_old_enough,
    keys_that_come_by_other_ways,
    no_element_is_lost_or_given_twice,
    who_waits_for_replicas_waits_for_nothing_but_time,
    who_waits_for_the_log_and_replicas_is_told_of_the_log,
);

fn blocked(server: &Server, count: u64) {
    server.await_info("blocked_clients", count);
}

fn pair(key: &str, element: &str) -> Value {
    Value::Array(vec![Value::bulk(key), Value::bulk(element)])
}

/// Begins a command and waits until it blocks, the `count`-th on the server.
fn begin(server: &Server, line: &str, count: u64) -> Conn {
    let mut conn = server.connect();
    conn.send_bytes(format!("{line}\r\n").as_bytes());
    blocked(server, count);
    conn
}

fn replies_are_redis_s(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    for (line, reply) in [
        ("BLPOP k x", "ERR timeout is not a float or out of range"),
        ("BLPOP k -1", "ERR timeout is negative"),
        ("BLPOP k 1e300", "ERR timeout is negative"),
        (
            "BLPOP k",
            "ERR wrong number of arguments for 'blpop' command",
        ),
        ("BLMOVE a b left up 1", "ERR syntax error"),
        ("BLMPOP 0 0 k LEFT", "ERR numkeys should be greater than 0"),
        ("BLMPOP x 0 k LEFT", "ERR numkeys should be greater than 0"),
        ("BLMPOP x 1 k FOO", "ERR syntax error"),
        ("BZMPOP x 0 k MIN", "ERR numkeys should be greater than 0"),
        (
            "BZMPOP x 1 k MIN COUNT 0",
            "ERR count should be greater than 0",
        ),
        (
            "BZMPOP 0 1 k MIN COUNT 0",
            "ERR count should be greater than 0",
        ),
        (
            "XREAD BLOCK x STREAMS s 0",
            "ERR timeout is not an integer or out of range",
        ),
        ("XREAD BLOCK -1 STREAMS s 0", "ERR timeout is negative"),
    ] {
        assert_eq!(conn.run(line), Value::error(reply), "{line}");
    }
    conn.run_ok("SET string x");
    let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
    assert_eq!(conn.run("BLPOP none string 0"), Value::error(wrong));
    conn.run("RPUSH list a b c d e");
    assert_eq!(conn.run("BLPOP none list 0"), pair("list", "a"));
    assert_eq!(conn.run("BRPOP none list 0"), pair("list", "e"));
    assert_eq!(conn.run("BLMOVE list other LEFT RIGHT 0"), Value::bulk("b"));
    assert_eq!(conn.run("BRPOPLPUSH list other 0"), Value::bulk("d"));
    let taken = Value::Array(vec![
        Value::bulk("list"),
        Value::Array(vec![Value::bulk("c")]),
    ]);
    assert_eq!(conn.run("BLMPOP 0 2 none list LEFT COUNT 10"), taken);
    assert_eq!(conn.run("BRPOPLPUSH other string 0"), Value::error(wrong));
    assert_eq!(conn.run("LRANGE other 0 -1"), pair("d", "b"));
    assert_eq!(conn.run("EXISTS list"), Value::Int(0));
}

fn clients_are_served_in_the_order_in_which_they_began_to_wait(ctx: &Ctx) {
    let server = ctx.start();
    let mut waiting: Vec<Conn> = (0..8)
        .map(|n| begin(&server, "BLPOP queue 0", n + 1))
        .collect();
    let mut conn = server.connect();
    assert_eq!(conn.run("RPUSH queue 0 1 2"), Value::Int(3));
    for (at, waiting) in waiting[..3].iter_mut().enumerate() {
        assert_eq!(waiting.receive(), pair("queue", &at.to_string()));
    }
    assert_eq!(conn.run("EXISTS queue"), Value::Int(0));
    for (at, waiting) in waiting.iter_mut().enumerate().skip(3) {
        conn.call(&["LPUSH", "queue", &at.to_string()]);
        assert_eq!(waiting.receive(), pair("queue", &at.to_string()));
    }
    blocked(&server, 0);
}

fn waits_end_with_their_time(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    for (line, nothing) in [
        ("BLPOP a b c 0.05", Value::NilArray),
        ("BLMOVE a b LEFT LEFT 0.05", Value::NilArray),
        ("BRPOPLPUSH a b 0.05", Value::NilArray),
        ("BLMPOP 0.05 2 a b LEFT", Value::NilArray),
        ("BZPOPMIN a b 0.05", Value::NilArray),
        ("BZMPOP 0.05 2 a b MAX", Value::NilArray),
        ("XREAD BLOCK 50 STREAMS a b $ 0", Value::NilArray),
    ] {
        let began = Instant::now();
        assert_eq!(conn.run(line), nothing, "{line}");
        assert!(began.elapsed() >= Duration::from_millis(50), "{line}");
    }
    let mut resp3 = server.connect_resp3();
    assert_eq!(resp3.run("BLPOP a b c 0.01"), Value::Null);
    // Who waits no more gets nothing.
    assert_eq!(conn.run("RPUSH a 1"), Value::Int(1));
    assert_eq!(conn.run("LLEN a"), Value::Int(1));
    blocked(&server, 0);
}

fn a_client_waits_for_keys_of_several_shards_and_is_served_once(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    for round in 0..20 {
        let keys: Vec<String> = (0..6).map(|n| format!("k{n}:{round}")).collect();
        let line = format!("BLPOP {} 0", keys.join(" "));
        let mut waiting = begin(&server, &line, 1);
        let mut bytes = Vec::new();
        for key in &keys {
            bytes.extend(encode(&["RPUSH", key, "x"]));
        }
        conn.send_bytes(&bytes);
        keys.iter()
            .for_each(|_| assert_eq!(conn.receive(), Value::Int(1)));
        let served = waiting.receive().items()[0].text();
        let left = keys.iter().filter(|key| {
            let len = conn.call(&["LLEN", key.as_str()]);
            assert_eq!(len == Value::Int(0), **key == served);
            len == Value::Int(1)
        });
        assert_eq!(left.count(), keys.len() - 1);
    }
}

fn elements_move_from_list_to_list(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    // A chain: each move wakes the next, whichever shards the lists are on.
    let chain: Vec<Conn> = (0..6)
        .map(|n| {
            let line = format!("BLMOVE chain:{n} chain:{} LEFT RIGHT 0", n + 1);
            begin(&server, &line, n + 1)
        })
        .collect();
    conn.run("RPUSH chain:0 element");
    for mut link in chain {
        assert_eq!(link.receive(), Value::bulk("element"));
    }
    assert_eq!(
        conn.run("LRANGE chain:6 0 -1"),
        Value::Array(vec![Value::bulk("element")])
    );
    // Onto itself, and onto what is no list.
    let mut same = begin(&server, "BLMOVE self self LEFT RIGHT 0", 1);
    conn.run("RPUSH self a");
    assert_eq!(same.receive(), Value::bulk("a"));
    conn.run_ok("SET string x");
    let mut wrong = begin(&server, "BRPOPLPUSH from string 0", 1);
    conn.run("RPUSH from a");
    assert!(wrong.receive().is_error());
    eventually("the element stays", 10, || {
        (conn.run("LLEN from") == Value::Int(1)).then_some(())
    });
    blocked(&server, 0);
}

fn what_follows_a_blocking_command_waits_for_it(ctx: &Ctx) {
    let server = ctx.start();
    let mut waiting = server.connect();
    waiting.send_bytes(b"BLPOP a b 0\r\nSET after yes\r\nGET after\r\n");
    blocked(&server, 1);
    let mut conn = server.connect();
    assert_eq!(conn.run("GET after"), Value::NilBulk);
    conn.run("RPUSH b x");
    assert_eq!(waiting.receive(), pair("b", "x"));
    assert_eq!(waiting.receive(), Value::ok());
    assert_eq!(waiting.receive(), Value::bulk("yes"));
}

fn client_unblock_and_kill(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    let mut waiting = server.connect();
    let id = waiting.run("CLIENT ID").int().to_string();
    for (how, reply) in [
        ("TIMEOUT", Value::NilArray),
        (
            "ERROR",
            Value::error("UNBLOCKED client unblocked via CLIENT UNBLOCK"),
        ),
    ] {
        waiting.send(&["BLPOP", "a", "b", "c", "0"]);
        blocked(&server, 1);
        assert_eq!(conn.call(&["CLIENT", "UNBLOCK", &id, how]), Value::Int(1));
        assert_eq!(waiting.receive(), reply);
        assert_eq!(conn.call(&["CLIENT", "UNBLOCK", &id, how]), Value::Int(0));
    }
    waiting.send(&["BLPOP", "a", "b", "c", "0"]);
    blocked(&server, 1);
    assert!(conn.run("CLIENT LIST").text().contains(" flags=b "));
    assert_eq!(conn.call(&["CLIENT", "KILL", "ID", &id]), Value::Int(1));
    assert!(waiting.is_closed());
    blocked(&server, 0);
    // Connections that end take nothing with them.
    for round in 0..10 {
        let gone = begin(&server, "BLPOP a b c 0", 1);
        match round % 2 {
            0 => drop(gone),
            _ => gone.reset(),
        }
        blocked(&server, 0);
        for key in ["a", "b", "c"] {
            assert_eq!(conn.call(&["RPUSH", key, "x"]), Value::Int(1));
            assert_eq!(conn.call(&["DEL", key]), Value::Int(1));
        }
    }
}

fn blocks_do_not_wait_and_serve_when_they_are_done(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    conn.run_ok("MULTI");
    for line in [
        "BLPOP a b 0",
        "BLMOVE a b LEFT LEFT 0",
        "XREAD BLOCK 0 STREAMS s $",
    ] {
        assert_eq!(conn.run(line), Value::simple("QUEUED"));
    }
    let nothing = vec![Value::NilArray, Value::NilBulk, Value::NilArray];
    assert_eq!(conn.run("EXEC"), Value::Array(nothing));

    // What a block takes back nobody gets; what it leaves goes to who waits.
    let mut waiting = begin(&server, "BLPOP list other 0", 1);
    conn.run_ok("MULTI");
    for line in [
        "RPUSH list a",
        "LPOP list",
        "RPUSH other b c",
        "SET x y",
        "RPUSH list d",
        "DEL list",
    ] {
        conn.run(line);
    }
    conn.run("EXEC");
    assert_eq!(waiting.receive(), pair("other", "b"));
    assert_eq!(
        conn.run("LRANGE other 0 -1"),
        Value::Array(vec![Value::bulk("c")])
    );
}

fn sorted_sets_and_streams(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    let mut waiting = begin(&server, "BZPOPMIN z1 z2 0", 1);
    conn.run("ZADD z2 2 b 1 a");
    let triple = ["z2", "a", "1"].map(Value::bulk).to_vec();
    assert_eq!(waiting.receive(), Value::Array(triple));
    let mut waiting = begin(&server, "BZMPOP 0 2 z1 z3 MAX COUNT 2", 1);
    conn.run("ZADD z3 1 a 2 b 3 c");
    let reply = waiting.receive();
    assert_eq!(reply.items()[0], Value::bulk("z3"));
    assert_eq!(reply.items()[1].items()[0], pair("c", "3"));

    // `$` is the last entry of the time at which the wait began.
    conn.run("XADD s2 1-1 old entry");
    let mut waiting = begin(&server, "XREAD BLOCK 0 STREAMS s1 s2 $ $", 1);
    conn.run("XADD s2 2-1 new entry");
    let streams = waiting.receive();
    let entry = Value::Array(vec![Value::bulk("2-1"), pair("new", "entry")]);
    let wanted = Value::Array(vec![Value::bulk("s2"), Value::Array(vec![entry])]);
    assert_eq!(streams, Value::Array(vec![wanted]));

    conn.run_ok("XGROUP CREATE s1 g $ MKSTREAM");
    conn.run_ok("XGROUP CREATE s2 g $");
    let line = "XREADGROUP GROUP g c BLOCK 0 STREAMS s1 s2 > >";
    let mut first = begin(&server, line, 1);
    let mut second = begin(&server, line, 2);
    conn.run("XADD s1 3-1 f v");
    assert_eq!(first.receive().items()[0].items()[0], Value::bulk("s1"));
    conn.run("XADD s2 3-1 f v");
    assert_eq!(second.receive().items()[0].items()[0], Value::bulk("s2"));
    assert_eq!(conn.run("XPENDING s1 g").items()[0], Value::Int(1));
    // The group goes away.
    let mut waiting = begin(&server, line, 1);
    conn.run("XGROUP DESTROY s2 g");
    assert!(waiting.receive().is_error());
    blocked(&server, 0);
}

fn what_is_pending_is_claimed_as_soon_as_it_is_old_enough(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    for key in ["s1", "s2", "s3"] {
        conn.run_ok(&format!("XGROUP CREATE {key} g $ MKSTREAM"));
    }
    conn.run("XADD s2 1-1 f v");
    conn.run("XADD s2 2-1 f v");
    let began = Instant::now();
    conn.run("XREADGROUP GROUP g crashed STREAMS s2 >");
    // What is deleted is not claimed.
    conn.run("XDEL s2 1-1");
    let mut line = "XREADGROUP GROUP g c BLOCK 0 CLAIM 200 STREAMS s1 s2 s3 > > >";
    for deliveries in [1, 2] {
        let streams = conn.run(line);
        assert_eq!(streams.items().len(), 1);
        assert_eq!(streams.items()[0].items()[0], Value::bulk("s2"));
        let entries = streams.items()[0].items()[1].items();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].items()[0], Value::bulk("2-1"));
        assert_eq!(entries[0].items()[3], Value::Int(deliveries as i64));
        assert!(began.elapsed() >= Duration::from_millis(199) * deliveries);
        line = "XREADGROUP GROUP g other BLOCK 0 CLAIM 200 STREAMS s2 >";
    }
    // A new entry goes to the first who waits, and to the second when the first has not acknowledged it.
    let line = "XREADGROUP GROUP g a BLOCK 0 CLAIM 100 STREAMS s1 >";
    let mut first = begin(&server, line, 1);
    let mut second = begin(&server, &line.replace("g a", "g b"), 2);
    conn.run("XADD s1 3-1 f v");
    let deliveries = |reply: Value| reply.items()[0].items()[1].items()[0].items()[3].clone();
    assert_eq!(deliveries(first.receive()), Value::Int(0));
    assert_eq!(deliveries(second.receive()), Value::Int(1));
    // Nothing gets old enough in time.
    let line = "XREADGROUP GROUP g a BLOCK 50 CLAIM 100000 STREAMS s1 >";
    assert_eq!(conn.run(line), Value::NilArray);
    blocked(&server, 0);
}

fn keys_that_come_by_other_ways(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    conn.run("RPUSH source a b c d e f");
    let mut waiting = begin(&server, "BLPOP target none 0", 1);
    conn.run_ok("SET target string");
    conn.run("DEL target");
    conn.run("ZADD target 1 a");
    conn.run("DEL target");
    blocked(&server, 1);
    assert_eq!(conn.run("COPY source target"), Value::Int(1));
    assert_eq!(waiting.receive(), pair("target", "a"));
    conn.run("DEL target");
    let mut waiting = begin(&server, "BLPOP target none 0", 1);
    conn.run_ok("RENAME source target");
    assert_eq!(waiting.receive(), pair("target", "a"));
    let mut waiting = begin(&server, "BLPOP other none 0", 1);
    conn.run_ok("SELECT 1");
    conn.run("RPUSH other a");
    assert_eq!(conn.run("MOVE other 0"), Value::Int(1));
    assert_eq!(waiting.receive(), pair("other", "a"));
    let mut waiting = begin(&server, "BLPOP other none 0", 1);
    conn.run("RPUSH other swapped");
    conn.run_ok("SWAPDB 0 1");
    assert_eq!(waiting.receive(), pair("other", "swapped"));
    blocked(&server, 0);
}

/// Producers and consumers by chance, consumers that are cut off while they wait: what went in comes
/// out once, or is still there.
fn no_element_is_lost_or_given_twice(ctx: &Ctx) {
    const ELEMENTS: usize = 600;
    let server = ctx.start();
    let keys: Vec<String> = (0..5).map(|n| format!("queue:{n}")).collect();
    let producers: Vec<_> = (0..3)
        .map(|producer| {
            let (mut conn, keys) = (server.connect(), keys.clone());
            std::thread::spawn(move || {
                let mut rng = Rng::new(producer);
                for n in 0..ELEMENTS {
                    let element = format!("{producer}:{n}");
                    let key = rng.pick(&keys);
                    let push = ["LPUSH", "RPUSH"][rng.below(2)];
                    assert!(conn.call(&[push, key, &element]).int() > 0);
                }
            })
        })
        .collect();
    let consumers: Vec<_> = (0..6)
        .map(|consumer| {
            let (mut conn, keys) = (server.connect(), keys.clone());
            let mut again = server.connect();
            std::thread::spawn(move || {
                let mut rng = Rng::new(100 + consumer);
                let mut taken = Vec::new();
                loop {
                    let (a, b) = (rng.pick(&keys).clone(), rng.pick(&keys).clone());
                    let reply = match rng.below(3) {
                        0 => conn.call(&["BLPOP", &a, &b, "0.5"]),
                        1 => conn.call(&["BRPOP", &a, "0.5"]),
                        _ => match conn.call(&["BLMOVE", &a, &b, "LEFT", "RIGHT", "0.1"]) {
                            Value::NilArray | Value::Bulk(_) => continue,
                            other => panic!("{other:?}"),
                        },
                    };
                    match reply {
                        Value::Array(items) => taken.push(items[1].text()),
                        _ if keys
                            .iter()
                            .all(|k| again.call(&["LLEN", k]) == Value::Int(0)) =>
                        {
                            return taken;
                        }
                        _ => {}
                    }
                }
            })
        })
        .collect();
    let mut rng = Rng::new(7);
    for _ in 0..40 {
        // Who is cut off may have been served already; so these wait for keys of their own.
        let mut gone = server.connect();
        let own = format!("own:{}", rng.below(1000));
        gone.send(&["BLPOP", own.as_str(), "none", "0"]);
        if rng.one_in(2) {
            gone.reset();
        }
    }
    producers
        .into_iter()
        .for_each(|p| p.join().expect("produced"));
    let mut counts: HashMap<String, usize> = HashMap::new();
    for consumer in consumers {
        for element in consumer.join().expect("consumed") {
            *counts.entry(element).or_default() += 1;
        }
    }
    let mut conn = server.connect();
    for key in &keys {
        for element in conn.call(&["LRANGE", key, "0", "-1"]).items() {
            *counts.entry(element.text()).or_default() += 1;
        }
    }
    assert_eq!(counts.len(), 3 * ELEMENTS);
    assert!(counts.values().all(|count| *count == 1));
    blocked(&server, 0);
}

fn who_waits_for_replicas_waits_for_nothing_but_time(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    for (line, reply) in [
        ("WAIT x 0", "ERR value is not an integer or out of range"),
        ("WAIT 1 x", "ERR timeout is not an integer or out of range"),
        ("WAIT 1 -1", "ERR timeout is negative"),
    ] {
        assert_eq!(conn.run(line), Value::error(reply), "{line}");
    }
    for line in ["WAIT 0 0", "WAIT -1 0"] {
        assert_eq!(conn.run(line), Value::Int(0), "{line}");
    }
    let began = Instant::now();
    assert_eq!(conn.run("WAIT 1 50"), Value::Int(0));
    assert!(began.elapsed() >= Duration::from_millis(50));

    // What stands before it is answered, what stands behind it waits.
    let mut waiting = server.connect();
    let id = waiting.run("CLIENT ID").int().to_string();
    waiting.send_bytes(b"SET a 1\r\nSET b 2\r\nWAIT 2 0\r\nSET after yes\r\n");
    assert_eq!(waiting.receive(), Value::ok());
    assert_eq!(waiting.receive(), Value::ok());
    blocked(&server, 1);
    assert!(conn.run("CLIENT LIST").text().contains(" flags=b "));
    assert_eq!(conn.run("GET after"), Value::NilBulk);
    assert_eq!(conn.call(&["CLIENT", "UNBLOCK", &id]), Value::Int(1));
    assert_eq!(waiting.receive(), Value::Int(0));
    assert_eq!(waiting.receive(), Value::ok());
    waiting.send(&["WAIT", "1", "9223372036854775807"]);
    blocked(&server, 1);
    let unblock = conn.call(&["CLIENT", "UNBLOCK", &id, "ERROR"]);
    assert_eq!(unblock, Value::Int(1));
    let unblocked = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
    assert_eq!(waiting.receive(), Value::error(unblocked));
    waiting.send(&["WAIT", "1", "0"]);
    blocked(&server, 1);
    assert_eq!(conn.call(&["CLIENT", "KILL", "ID", &id]), Value::Int(1));
    assert!(waiting.is_closed());
    blocked(&server, 0);
    for round in 0..4 {
        let gone = begin(&server, "WAIT 1 0", 1);
        match round % 2 {
            0 => drop(gone),
            _ => gone.reset(),
        }
        blocked(&server, 0);
    }

    conn.run_ok("MULTI");
    assert_eq!(conn.run("WAIT 1 0"), Value::simple("QUEUED"));
    assert_eq!(conn.run("EXEC"), Value::Array(vec![Value::Int(0)]));
}

fn who_waits_for_the_log_and_replicas_is_told_of_the_log(ctx: &Ctx) {
    if ctx.is_redis() {
        return; // WAITAOF is newer
    }
    let answer = |local| Value::Array(vec![Value::Int(local), Value::Int(0)]);
    let no_log = "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";
    let server = ctx.start();
    let mut conn = server.connect();
    assert_eq!(conn.run("WAITAOF 1 1 0"), Value::error(no_log));
    assert_eq!(conn.run("WAITAOF 0 0 0"), answer(0));
    let began = Instant::now();
    assert_eq!(conn.run("WAITAOF 0 1 50"), answer(0));
    assert!(began.elapsed() >= Duration::from_millis(50));

    let server = ctx.start_with("--appendonly yes");
    let mut conn = server.connect();
    let mut waiting = server.connect();
    let id = waiting.run("CLIENT ID").int().to_string();
    for line in ["WAITAOF 0 1 0", "WAITAOF 1 1 0"] {
        waiting.run_ok("SET key value");
        assert_eq!(waiting.run("WAITAOF 1 0 0"), answer(1));
        waiting.send_bytes(format!("{line}\r\n").as_bytes());
        blocked(&server, 1);
        assert_eq!(conn.call(&["CLIENT", "UNBLOCK", &id]), Value::Int(1));
        assert_eq!(waiting.receive(), answer(1), "{line}");
    }
    let began = Instant::now();
    assert_eq!(conn.run("WAITAOF 1 1 50"), answer(1));
    assert!(began.elapsed() >= Duration::from_millis(50));
    conn.run_ok("MULTI");
    assert_eq!(conn.run("WAITAOF 0 1 0"), Value::simple("QUEUED"));
    assert_eq!(conn.run("EXEC"), Value::Array(vec![answer(1)]));

    // Without a log only who wants it stops to wait.
    waiting.send_bytes(b"WAITAOF 1 1 0\r\n");
    blocked(&server, 1);
    let mut replicas = begin(&server, "WAITAOF 0 1 0", 2);
    conn.run_ok("CONFIG SET appendonly no");
    assert_eq!(waiting.receive(), Value::error(no_log));
    blocked(&server, 1);
    let id = "CLIENT UNBLOCK ".to_owned() + &client_of(&mut conn, "waitaof");
    assert_eq!(conn.run(&id), Value::Int(1));
    assert_eq!(replicas.receive(), answer(0));
}

/// The number of the client whose last command this was.
fn client_of(conn: &mut Conn, command: &str) -> String {
    let list = conn.run("CLIENT LIST").text();
    let mut lines = list.lines().filter(|line| line.contains(" flags=b "));
    let line = lines.find(|line| line.contains(&format!(" cmd={command} ")));
    let id = line.and_then(|line| line.strip_prefix("id=")?.split(' ').next());
    id.expect("it is blocked").to_owned()
}
