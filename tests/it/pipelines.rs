//! Pipelines whose writes go to several shards: what their own connection and others may see of
//! them, and what is left when a client goes in the middle.
use crate::Ctx;
use ringdove_rig::{Options, Rng, Server, Value, encode};
use std::sync::atomic::{AtomicBool, Ordering};

crate::cases!(run:
    writes_are_seen_in_the_order_of_the_pipeline,
    pipelines_that_want_the_same_keys_lose_nothing,
    errors_stand_in_their_places,
    pipelines_meet_transactions,
    a_client_that_goes_leaves_a_beginning,
    a_killed_client_holds_nothing,
    a_paused_pipeline_goes_on,
    large_values_in_a_pipeline,
    what_goes_together_is_answered_one_by_one,
);

/// Keys that chance spreads over the shards.
const KEYS: usize = 12;

fn key(n: usize) -> String {
    format!("key:{n}")
}

/// One pipeline that sets all keys to `value`, in order.
fn set_all(value: usize) -> Vec<u8> {
    let value = value.to_string();
    (0..KEYS)
        .flat_map(|n| encode(&["SET", &key(n), &value]))
        .collect()
}

fn number(reply: &Value) -> usize {
    match reply {
        Value::Bulk(_) => reply.text().parse().expect("a number"),
        _ => 0,
    }
}

/// Whoever sees a write of a pipeline sees the writes before it: read from the last key to the
/// first, one after the other, values never get smaller.
fn writes_are_seen_in_the_order_of_the_pipeline(ctx: &Ctx) {
    let server = ctx.start();
    let done = AtomicBool::new(false);
    let rounds = 1500;
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut conn = server.connect();
                while !done.load(Ordering::Relaxed) {
                    let mut least = 0;
                    for n in (0..KEYS).rev() {
                        let seen = number(&conn.call(&["GET", &key(n)]));
                        assert!(seen >= least, "key {n} is {seen}, a later one was {least}");
                        least = seen;
                    }
                }
            });
        }
        // Some pipelines are sent before the replies of those before them are read.
        let mut conn = server.connect();
        let mut unread = 0;
        for round in 1..=rounds {
            conn.send_bytes(&set_all(round));
            unread += KEYS;
            if round % 3 == 0 || round == rounds {
                for _ in 0..std::mem::take(&mut unread) {
                    assert_eq!(conn.receive(), Value::ok());
                }
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// Counters that many connections raise in pipelines, each in an order of its own.
fn pipelines_that_want_the_same_keys_lose_nothing(ctx: &Ctx) {
    let server = ctx.start();
    let (clients, rounds, counters) = (6, 150, 8);
    std::thread::scope(|scope| {
        for client in 0..clients {
            let server = &server;
            scope.spawn(move || {
                let mut rng = Rng::new(client);
                let mut conn = server.connect();
                let mut last = vec![0; counters];
                for _ in 0..rounds {
                    let mut bytes = Vec::new();
                    let mut asked = Vec::new();
                    for _ in 0..rng.below(40) + 1 {
                        let counter = rng.below(counters);
                        let write = !rng.one_in(4);
                        let name = if write { "INCR" } else { "GET" };
                        bytes.extend(encode(&[name, &format!("counter:{counter}")]));
                        asked.push((counter, write));
                    }
                    // A single command goes beside the pipelines now and then.
                    conn.send_bytes(&bytes);
                    for (counter, write) in asked {
                        let reply = conn.receive();
                        let seen = match reply {
                            Value::Int(n) => n as usize,
                            other => number(&other),
                        };
                        let least = last[counter] + usize::from(write);
                        assert!(seen >= least, "{seen} after {}", last[counter]);
                        last[counter] = seen;
                    }
                    conn.call(&["INCR", "single"]);
                }
            });
        }
    });
    let mut conn = server.connect();
    let singles = conn.call(&["GET", "single"]);
    assert_eq!(number(&singles), clients as usize * rounds);
    // Every increment is counted: as many as INCR was called.
    let calls: usize = conn
        .run("INFO commandstats")
        .text()
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_incr:calls="))
        .and_then(|rest| rest.split(',').next()?.parse().ok())
        .expect("INCR was called");
    let sum: usize = (0..counters)
        .map(|n| number(&conn.call(&["GET", &format!("counter:{n}")])))
        .sum();
    assert_eq!(sum + number(&singles), calls);
}

fn errors_stand_in_their_places(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    for n in 0..KEYS {
        conn.run_ok(&format!("SET {} text", key(n)));
    }
    for _ in 0..50 {
        let mut bytes = Vec::new();
        for n in 0..KEYS {
            bytes.extend(encode(&["SET", &format!("new:{n}"), "1"]));
            bytes.extend(encode(&["INCR", &key(n)]));
            bytes.extend(encode(&["INCR", &format!("new:{n}")]));
            bytes.extend(encode(&["SET", &key(n)]));
            bytes.extend(encode(&["NOSUCH", &key(n)]));
            bytes.extend(encode(&["DEL", &format!("new:{n}")]));
        }
        conn.send_bytes(&bytes);
        for _ in 0..KEYS {
            assert_eq!(conn.receive(), Value::ok());
            let not_a_number = "ERR value is not an integer or out of range";
            assert_eq!(conn.receive(), Value::error(not_a_number));
            assert_eq!(conn.receive(), Value::Int(2));
            let arity = "ERR wrong number of arguments for 'set' command";
            assert_eq!(conn.receive(), Value::error(arity));
            assert!(conn.receive().is_error());
            assert_eq!(conn.receive(), Value::Int(1));
        }
    }
}

/// MSET and MULTI over the same keys, beside pipelines: what they write together is seen together.
fn pipelines_meet_transactions(ctx: &Ctx) {
    let server = ctx.start();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let (server, done) = (&server, &done);
            scope.spawn(move || {
                let mut conn = server.connect();
                let mut value = 0;
                while !done.load(Ordering::Relaxed) {
                    value += 1;
                    let text = format!("{writer}:{value}");
                    let mut mset = vec!["MSET".to_owned()];
                    (0..KEYS).for_each(|n| mset.extend([key(n), text.clone()]));
                    let mut bytes = encode(&["SET", &format!("own:{writer}"), &text]);
                    bytes.extend(encode(&["SET", &format!("mine:{writer}"), &text]));
                    bytes.extend(encode(&mset));
                    bytes.extend(encode(&["GET", &format!("own:{writer}")]));
                    bytes.extend(encode(&["SET", &format!("own:{writer}"), "x"]));
                    bytes.extend(encode(&["SET", &format!("mine:{writer}"), "x"]));
                    conn.send_bytes(&bytes);
                    for _ in 0..3 {
                        assert_eq!(conn.receive(), Value::ok());
                    }
                    assert_eq!(conn.receive(), Value::bulk(&text));
                    assert_eq!(conn.receive(), Value::ok());
                    assert_eq!(conn.receive(), Value::ok());
                }
            });
        }
        let mut conn = server.connect();
        let mut mget = vec!["MGET".to_owned()];
        (0..KEYS).for_each(|n| mget.push(key(n)));
        for _ in 0..400 {
            let seen = conn.call(&mget);
            let items = seen.items();
            assert!(items.iter().all(|item| item == &items[0]), "{items:?}");
            conn.run_ok("MULTI");
            conn.send_bytes(&set_all(7));
            for _ in 0..KEYS {
                assert_eq!(conn.receive(), Value::simple("QUEUED"));
            }
            let replies = conn.run("EXEC");
            assert_eq!(replies.items().len(), KEYS);
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// A client that sends a pipeline and goes has a beginning of it executed, and others can use the
/// keys at once.
fn a_client_that_goes_leaves_a_beginning(ctx: &Ctx) {
    let server = ctx.start();
    let mut watcher = server.connect();
    let mut rng = Rng::new(5);
    for round in 1..=150 {
        let mut conn = server.connect();
        let bytes = set_all(round);
        let cut = if rng.one_in(2) {
            bytes.len()
        } else {
            rng.below(bytes.len())
        };
        conn.send_bytes(&bytes[..cut]);
        if rng.one_in(2) {
            conn.reset();
        } else {
            drop(conn);
        }
        let mut seen: Vec<usize> = (0..KEYS)
            .rev()
            .map(|n| number(&watcher.call(&["GET", &key(n)])))
            .collect();
        seen.reverse();
        // Read from the last to the first while the pipeline may still be under way.
        assert!(seen.is_sorted_by(|a, b| a >= b), "round {round}: {seen:?}");
    }
    watcher.send_bytes(&set_all(1000));
    for _ in 0..KEYS {
        assert_eq!(watcher.receive(), Value::ok());
    }
    server.await_info("connected_clients", 2);
}

fn a_killed_client_holds_nothing(ctx: &Ctx) {
    let server = ctx.start();
    let mut control = server.connect();
    for round in 1..=100 {
        let mut conn = server.connect();
        let id = conn.call(&["CLIENT", "ID"]).int().to_string();
        for _ in 0..4 {
            conn.send_bytes(&set_all(round));
        }
        let killed = control.call(&["CLIENT", "KILL", "ID", &id]);
        assert_eq!(killed, Value::Int(1));
        control.send_bytes(&set_all(0));
        for _ in 0..KEYS {
            assert_eq!(control.receive(), Value::ok());
        }
    }
}

/// CLIENT PAUSE falls into the middle of pipelines: they end, or wait and go on after it.
fn a_paused_pipeline_goes_on(ctx: &Ctx) {
    let server = ctx.start();
    let mut control = server.connect();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut conn = server.connect();
                for round in 0..200 {
                    conn.send_bytes(&set_all(round));
                    for _ in 0..KEYS {
                        assert_eq!(conn.receive(), Value::ok());
                    }
                }
            });
        }
        for _ in 0..20 {
            control.run_ok("CLIENT PAUSE 10000 WRITE");
            assert!(!control.run("GET key:1").is_error());
            control.run_ok("CLIENT UNPAUSE");
        }
    });
}

fn large_values_in_a_pipeline(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    let mut rng = Rng::new(9);
    for _ in 0..8 {
        let sizes: Vec<usize> = (0..KEYS)
            .map(|_| *rng.pick(&[3, 15_000, 70_000, 300_000]))
            .collect();
        let mut bytes = Vec::new();
        for (n, size) in sizes.iter().enumerate() {
            bytes.extend(encode(&["SET", &key(n), &"v".repeat(*size)]));
            bytes.extend(encode(&["GET", &key(n)]));
            bytes.extend(encode(&["STRLEN", &key(n)]));
        }
        let mut sender = conn.split();
        std::thread::scope(|scope| {
            scope.spawn(move || sender.send_bytes(&bytes));
            for size in &sizes {
                assert_eq!(conn.receive(), Value::ok());
                assert_eq!(conn.receive().text().len(), *size);
                assert_eq!(conn.receive(), Value::Int(*size as i64));
            }
        });
    }
}

/// Commands of several owners, and blocks, go on their way together; whatever stands between them,
/// each is answered as if it had come alone.
fn what_goes_together_is_answered_one_by_one(ctx: &Ctx) {
    // A single shard has nothing that goes together.
    let twin = Options::new(env!("CARGO_BIN_EXE_ringdove"), 1);
    let (server, twin) = (ctx.start(), Server::start(&twin));
    let (mut piped, mut single) = (server.connect(), twin.connect());
    let mut rng = Rng::new(5);
    for round in 0..150 {
        let mut commands: Vec<Vec<String>> = Vec::new();
        for _ in 0..rng.below(12) + 1 {
            // Several of a kind in a row.
            let kind = rng.below(9);
            for _ in 0..rng.below(6) + 1 {
                push_some(kind, &mut rng, &mut commands);
            }
        }
        // The end is heard again, in the database that both began with.
        commands.extend([words(&["CLIENT", "REPLY", "ON"]), words(&["SELECT", "0"])]);
        commands.push(words(&["ECHO", "end"]));
        let bytes: Vec<u8> = commands.iter().flat_map(|words| encode(words)).collect();
        piped.send_bytes(&bytes);
        single.send_bytes(&bytes);
        for at in 0.. {
            let (one, other) = (piped.receive(), single.receive());
            assert_eq!(one, other, "reply {at} of round {round} to {commands:?}");
            if one == Value::Bulk(b"end".to_vec()) {
                break;
            }
        }
    }
    let calls = |text: &str| -> Vec<(String, String)> {
        let lines = text.lines().filter_map(|line| line.split_once(":calls="));
        let lines = lines.map(|(name, rest)| (name, rest.split(',').next().expect("a number")));
        lines
            .map(|(name, n)| (name.to_owned(), n.to_owned()))
            .collect()
    };
    let [one, other] = [&mut piped, &mut single].map(|conn| {
        let mut calls = calls(&conn.call(&["INFO", "commandstats"]).text());
        calls.sort();
        calls
    });
    assert!(one.iter().any(|(name, _)| name == "cmdstat_mset"));
    assert_eq!(one, other, "each is counted");
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// One command or one block of a kind, over a few keys.
fn push_some(kind: usize, rng: &mut Rng, commands: &mut Vec<Vec<String>>) {
    let some_key = |rng: &mut Rng| key(rng.below(KEYS));
    let many = |name: &str, values: bool, rng: &mut Rng| {
        let mut command = words(&[name]);
        for _ in 0..rng.below(6) + 1 {
            command.push(some_key(rng));
            if values {
                command.push(rng.below(100).to_string());
            }
        }
        command
    };
    match kind {
        0 | 1 => commands.push(many("MSET", true, rng)),
        2 | 3 => commands.push(many("MGET", false, rng)),
        4 => commands.push(many("EXISTS", false, rng)),
        5 => commands.push(many("DEL", false, rng)),
        6 => commands.push(words(&["SELECT", ["0", "1"][rng.below(2)]])),
        7 => {
            commands.push(words(&["MULTI"]));
            for _ in 0..rng.below(4) + 1 {
                match rng.below(5) {
                    0 => commands.push(many("MGET", false, rng)),
                    _ if rng.one_in(10) => {
                        let how =
                            [&["BY", "key:*"][..], &["GET", "key:*"], &["ALPHA"]][rng.below(3)];
                        let mut sort = words(&["SORT", &some_key(rng)]);
                        sort.extend(words(how));
                        commands.push(sort);
                    }
                    1 => commands.push(many("MSET", true, rng)),
                    2 => commands.push(words(&["GET", &some_key(rng)])),
                    3 => commands.push(words(&["APPEND", &some_key(rng), "7"])),
                    _ if rng.one_in(8) => commands.push(words(&["SELECT", "1"])),
                    _ => commands.push(words(&["LPUSH", &some_key(rng), "wrong type or not"])),
                }
            }
            commands.push(words(&["EXEC"]));
        }
        _ => {
            let how = if rng.one_in(4) { "OFF" } else { "SKIP" };
            if rng.one_in(3) {
                commands.push(words(&["CLIENT", "REPLY", how]));
            }
            commands.push(words(&["APPEND", &some_key(rng), "8"]));
        }
    }
}
