//! What several shards must not change: the order of replies, the order in which one connection's
//! writes become visible, commands over many keys, and who is on which shard.
use crate::Ctx;
use ringdove_rig::{Conn, Rng, Value, encode};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

crate::cases!(run:
    pipelines_keep_the_reply_order,
    a_read_sees_the_connections_own_writes,
    writes_become_visible_in_order,
    commands_over_many_keys,
    whole_keyspace_commands,
    hash_tags_stay_together,
    connections_are_dealt_evenly,
    a_slow_reader_does_not_hold_the_others,
);

fn pipelines_keep_the_reply_order(ctx: &Ctx) {
    let server = ctx.start();
    let mut rng = Rng::new(21);
    let mut conn = server.connect();
    let mut model: HashMap<String, String> = HashMap::new();
    for round in 0..40 {
        let (mut bytes, mut wanted) = (Vec::new(), Vec::new());
        for step in 0..500 {
            let key = format!("key:{}", rng.below(200));
            match rng.below(5) {
                0 | 1 => {
                    let value = format!("{round}:{step}");
                    bytes.extend(encode(&["SET", &key, &value]));
                    model.insert(key, value);
                    wanted.push(Value::ok());
                }
                2 => {
                    bytes.extend(encode(&["DEL", &key]));
                    wanted.push(Value::Int(model.remove(&key).is_some().into()));
                }
                3 => {
                    let marker = format!("{round}/{step}");
                    bytes.extend(encode(&["ECHO", &marker]));
                    wanted.push(Value::bulk(marker));
                }
                _ => {
                    bytes.extend(encode(&["GET", &key]));
                    wanted.push(model.get(&key).map_or(Value::NilBulk, Value::bulk));
                }
            }
        }
        conn.send_bytes(&bytes);
        for (step, wanted) in wanted.iter().enumerate() {
            assert_eq!(&conn.receive(), wanted, "round {round}, step {step}");
        }
    }
}

fn a_read_sees_the_connections_own_writes(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    for round in 0..300 {
        let (a, b) = (format!("a{round}"), format!("b{round}"));
        let mut bytes = encode(&["SET", &a, "1"]);
        bytes.extend(encode(&["SET", &b, "2"]));
        bytes.extend(encode(&["MGET", &b, &a]));
        bytes.extend(encode(&["DEL", &a, &b]));
        bytes.extend(encode(&["EXISTS", &a, &b]));
        conn.send_bytes(&bytes);
        assert_eq!(conn.receive(), Value::ok());
        assert_eq!(conn.receive(), Value::ok());
        let both = Value::Array(vec![Value::bulk("2"), Value::bulk("1")]);
        assert_eq!(conn.receive(), both);
        assert_eq!(conn.receive(), Value::Int(2));
        assert_eq!(conn.receive(), Value::Int(0));
    }
}

/// Each round sets a job and then counts it, in one pipeline, on keys that chance spreads over the
/// shards: a reader that sees the count must see the job.
fn writes_become_visible_in_order(ctx: &Ctx) {
    let server = ctx.start();
    let done = AtomicBool::new(false);
    let rounds = 3000;
    std::thread::scope(|scope| {
        for reader in 0..3 {
            let (server, done) = (&server, &done);
            scope.spawn(move || {
                let mut conn = server.connect();
                let mut checks = 0;
                while !done.load(Ordering::Relaxed) {
                    let queue = format!("queue:{reader}");
                    let seen = conn.call(&["GET", &queue]);
                    let Value::Bulk(_) = &seen else { continue };
                    let job = format!("job:{}", seen.text());
                    let last = format!("last:{}", seen.text());
                    assert_eq!(conn.call(&["GET", &job]), Value::bulk("there"));
                    assert_eq!(conn.call(&["EXISTS", &last]), Value::Int(1));
                    checks += 1;
                }
                assert!(checks > 0, "the reader saw nothing");
            });
        }
        let mut conn = server.connect();
        for round in 1..=rounds {
            let n = round.to_string();
            let mut bytes = encode(&["SET", &format!("job:{n}"), "there"]);
            bytes.extend(encode(&["GET", &format!("noise:{n}")]));
            bytes.extend(encode(&["MSET", &format!("last:{n}"), "x", "other", &n]));
            for reader in 0..3 {
                bytes.extend(encode(&["INCR", &format!("queue:{reader}")]));
            }
            conn.send_bytes(&bytes);
            // Every other round the next pipeline is sent before these replies are read.
            if round % 2 == 0 {
                drain(&mut conn, 12);
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

fn drain(conn: &mut Conn, count: usize) {
    for _ in 0..count {
        let reply = conn.receive();
        assert!(!reply.is_error(), "{reply:?}");
    }
}

fn commands_over_many_keys(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    let keys: Vec<String> = (0..100).map(|i| format!("many:{i}")).collect();
    let with = |name: &str| -> Vec<String> {
        std::iter::once(name.to_owned())
            .chain(keys.iter().cloned())
            .collect()
    };
    let mut mset = vec!["MSET".to_owned()];
    for (i, key) in keys.iter().enumerate() {
        mset.extend([key.clone(), format!("v{i}")]);
    }
    assert_eq!(conn.call(&mset), Value::ok());
    mset[0] = "MSETNX".to_owned();
    assert_eq!(conn.call(&mset), Value::Int(0));
    let values = (0..100).map(|i| Value::bulk(format!("v{i}"))).collect();
    assert_eq!(conn.call(&with("MGET")), Value::Array(values));
    assert_eq!(conn.call(&with("EXISTS")), Value::Int(100));
    assert_eq!(conn.call(&with("TOUCH")), Value::Int(100));
    for i in 0..50 {
        let (from, to) = (&keys[i], &keys[i + 50]);
        assert_eq!(conn.call(&["RENAMENX", from, to]), Value::Int(0));
        assert_eq!(conn.call(&["COPY", from, to]), Value::Int(0));
        assert_eq!(conn.call(&["COPY", from, to, "REPLACE"]), Value::Int(1));
        assert_eq!(
            conn.call(&["RENAME", from, &format!("new:{i}")]),
            Value::ok()
        );
        assert_eq!(conn.call(&["GET", to]), Value::bulk(format!("v{i}")));
        assert_eq!(conn.call(&["EXISTS", from]), Value::Int(0));
    }
    assert_eq!(conn.call(&with("UNLINK")), Value::Int(50));
    assert_eq!(conn.run("DBSIZE"), Value::Int(50));
    assert_eq!(conn.call(&mset), Value::Int(1));
    assert_eq!(conn.call(&with("DEL")), Value::Int(100));
    // The same key twice counts as Redis counts it.
    conn.run_ok("SET twice 1");
    assert_eq!(conn.run("EXISTS twice twice x"), Value::Int(2));
    assert_eq!(conn.run("DEL twice twice"), Value::Int(1));
    conn.run_ok("MSET dup 1 other 2 dup 3");
    assert_eq!(conn.run("GET dup"), Value::bulk("3"));
}

fn whole_keyspace_commands(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    for i in 0..300 {
        conn.run_ok(&format!("SET all:{i} v"));
    }
    let mut others: Vec<Conn> = (0..5).map(|_| server.connect()).collect();
    for other in &mut others {
        assert_eq!(other.run("DBSIZE"), Value::Int(300));
        assert_eq!(other.run("KEYS all:*").items().len(), 300);
        assert!(other.run("RANDOMKEY").text().starts_with("all:"));
    }
    let mut seen = std::collections::HashSet::new();
    for _ in 0..3000 {
        seen.insert(conn.run("RANDOMKEY").text());
    }
    assert!(seen.len() > 200, "RANDOMKEY gave {} of 300", seen.len());
    others[0].run_ok("FLUSHDB SYNC");
    assert_eq!(conn.run("DBSIZE"), Value::Int(0));
    assert_eq!(conn.run("RANDOMKEY"), Value::NilBulk);
    conn.run_ok("SET a 1");
    conn.run_ok("SELECT 5");
    conn.run_ok("SET a 1");
    others[1].run_ok("FLUSHALL ASYNC");
    assert_eq!(conn.run("DBSIZE"), Value::Int(0));
}

fn hash_tags_stay_together(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    for i in 0..50 {
        conn.run_ok(&format!("MSET {{tag{i}}}a 1 {{tag{i}}}b 2"));
        assert_eq!(
            conn.run(&format!("MGET {{tag{i}}}b {{tag{i}}}a")),
            Value::Array(vec![Value::bulk("2"), Value::bulk("1")])
        );
        conn.run_ok(&format!("RENAME {{tag{i}}}a {{tag{i}}}b"));
    }
    assert_eq!(conn.run("DBSIZE"), Value::Int(50));
}

/// INFO names the connections of each shard: `shard0:...,connections=4,...`.
fn connections_are_dealt_evenly(ctx: &Ctx) {
    let server = ctx.start();
    let conns: Vec<Conn> = (0..61).map(|_| server.connect()).collect();
    if ctx.is_redis() {
        return;
    }
    server.await_info("connected_clients", conns.len() as u64 + 1);
    let text = server.connect().run("INFO everything").text();
    let counts: Vec<u64> = text
        .lines()
        .filter(|line| line.starts_with("shard") && line.contains("connections="))
        .map(|line| {
            let after = line.split("connections=").nth(1).expect("the field");
            let digits = after.split(',').next().expect("its value");
            digits.parse().expect("a number")
        })
        .collect();
    assert_eq!(counts.len(), ctx.shards, "a line for each shard:\n{text}");
    let (low, high) = (counts.iter().min(), counts.iter().max());
    let spread = high.expect("shards") - low.expect("shards");
    // The asking connections come and go while this is counted.
    assert!(spread <= 2, "connections of the shards: {counts:?}");
}

fn a_slow_reader_does_not_hold_the_others(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    assert_eq!(
        conn.call(&["SET", "big", &"x".repeat(1 << 20)]),
        Value::ok()
    );
    let mut slow: Vec<Conn> = (0..6).map(|_| server.connect()).collect();
    for conn in &mut slow {
        // More than the kernel keeps for a client that does not read.
        for _ in 0..20 {
            conn.send(&["GET", "big"]);
        }
    }
    for i in 0..2000 {
        let key = format!("k{}", i % 50);
        assert_eq!(conn.call(&["SET", &key, "v"]), Value::ok());
    }
    for conn in &mut slow {
        for _ in 0..20 {
            assert_eq!(conn.receive().text().len(), 1 << 20);
        }
    }
}
