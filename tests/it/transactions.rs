//! Blocks and commands over several shards against a running server: nothing is made or lost while
//! clients are killed, nobody starves, and what is in flight can be seen.
use crate::Ctx;
use ringdove_rig::{Conn, Rng, Server, Value, encode};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

crate::cases!(run:
    money_is_neither_made_nor_lost,
    a_storm_leaves_other_keys_alone,
    what_is_in_flight_is_shown,
    a_pause_of_writes_holds_a_block_that_writes,
    a_flush_refuses_and_is_whole,
    a_watch_hears_of_what_is_given_to_who_waits,
    replies_are_turned_off_inside_a_block,
    what_waits_for_a_transaction_is_shown,
);

const ACCOUNTS: usize = 40;
const EACH: i64 = 1000;
/// Looks at a storm in which something is in flight most of the time: more than it ever takes.
const LOOKS_MAX: usize = 20_000;

fn account(n: usize) -> String {
    format!("account:{n}")
}

/// Sends a command and takes its reply, unless the connection is gone.
fn ask(conn: &mut Conn, args: &[&str]) -> io::Result<Value> {
    conn.try_send_bytes(&encode(args))?;
    conn.try_receive()
}

/// One transfer, in one of several ways. Whether it took place.
fn transfer(conn: &mut Conn, rng: &mut Rng) -> io::Result<bool> {
    let (from, to) = (rng.below(ACCOUNTS), rng.below(ACCOUNTS));
    if from == to {
        return Ok(false);
    }
    let (from, to) = (account(from), account(to));
    let amount = 1 + rng.below(20) as i64;
    if rng.one_in(3) {
        let amount = amount.to_string();
        ask(conn, &["MULTI"])?;
        ask(conn, &["DECRBY", &from, &amount])?;
        if rng.one_in(30) {
            return Err(io::ErrorKind::BrokenPipe.into()); // leaves in the middle
        }
        ask(conn, &["INCRBY", &to, &amount])?;
        return Ok(!matches!(ask(conn, &["EXEC"])?, Value::NilArray));
    }
    ask(conn, &["WATCH", &from, &to])?;
    let balances = ask(conn, &["MGET", &from, &to])?;
    let number = |at: usize| {
        balances.items()[at]
            .text()
            .parse::<i64>()
            .expect("a number")
    };
    let after = [
        (number(0) - amount).to_string(),
        (number(1) + amount).to_string(),
    ];
    let mut block = encode(&["MULTI"]);
    if rng.one_in(2) {
        block.extend(encode(&["MSET", &from, &after[0], &to, &after[1]]));
    } else {
        block.extend(encode(&["SET", &from, &after[0]]));
        block.extend(encode(&["SET", &to, &after[1]]));
    }
    let queued = if block.windows(4).any(|w| w == b"MSET") {
        1
    } else {
        2
    };
    block.extend(encode(&["EXEC"]));
    conn.try_send_bytes(&block)?;
    if rng.one_in(30) {
        return Err(io::ErrorKind::BrokenPipe.into()); // does not wait for the answer
    }
    for _ in 0..=queued {
        conn.try_receive()?;
    }
    Ok(!matches!(conn.try_receive()?, Value::NilArray))
}

fn total(conn: &mut Conn, block: bool) -> i64 {
    let names: Vec<String> = (0..ACCOUNTS).map(account).collect();
    let balances = if block {
        conn.run_ok("MULTI");
        for name in &names {
            assert_eq!(conn.call(&["GET", name]), Value::simple("QUEUED"));
        }
        conn.run("EXEC")
    } else {
        let mut args = vec!["MGET"];
        args.extend(names.iter().map(String::as_str));
        conn.call(&args)
    };
    let numbers = balances.items().iter().map(|b| b.text().parse::<i64>());
    numbers.map(|n| n.expect("a number")).sum()
}

/// Nothing may be left once everybody is done or gone.
fn assert_nothing_in_flight(server: &Server, ctx: &Ctx) {
    if ctx.is_redis() {
        return;
    }
    for field in [
        "txns_running",
        "txns_held",
        "txns_waiting",
        "commands_parked",
    ] {
        server.await_info(field, 0);
    }
    server.await_info("watching_clients", 0);
    server.await_info("total_watched_keys", 0);
}

fn money_is_neither_made_nor_lost(ctx: &Ctx) {
    let server = ctx.start();
    let mut setup = server.connect();
    for n in 0..ACCOUNTS {
        setup.run_ok(&format!("SET {} {EACH}", account(n)));
    }
    const WRITERS: usize = 4;
    let ids: [AtomicU64; WRITERS] = std::array::from_fn(|_| AtomicU64::new(0));
    let (done, refused, looks, kills) = (
        AtomicU64::new(0),
        AtomicU64::new(0),
        AtomicU64::new(0),
        AtomicU64::new(0),
    );
    let over = AtomicBool::new(false);
    let enough = || {
        let counts = [(&done, 600), (&looks, 200), (&kills, 30)];
        counts
            .iter()
            .all(|(count, least)| count.load(Ordering::Relaxed) >= *least)
    };
    std::thread::scope(|scope| {
        for (at, id) in ids.iter().enumerate() {
            let (server, over, done, refused) = (&server, &over, &done, &refused);
            scope.spawn(move || {
                let mut rng = Rng::new(100 + at as u64);
                while !over.load(Ordering::Relaxed) {
                    let mut conn = server.connect();
                    let Ok(Value::Int(own)) = ask(&mut conn, &["CLIENT", "ID"]) else {
                        continue;
                    };
                    id.store(own as u64, Ordering::Relaxed);
                    while !over.load(Ordering::Relaxed) {
                        match transfer(&mut conn, &mut rng) {
                            Ok(true) => done.fetch_add(1, Ordering::Relaxed),
                            Ok(false) => refused.fetch_add(1, Ordering::Relaxed),
                            Err(_) => break, // killed, or gone by itself
                        };
                    }
                }
            });
        }
        for block in [false, true] {
            let (server, over, looks) = (&server, &over, &looks);
            scope.spawn(move || {
                let mut conn = server.connect();
                while !over.load(Ordering::Relaxed) {
                    let seen = total(&mut conn, block);
                    if seen != ACCOUNTS as i64 * EACH {
                        over.store(true, Ordering::Relaxed);
                        panic!("{seen} in all accounts");
                    }
                    looks.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut rng = Rng::new(7);
        let mut killer = server.connect();
        while !enough() && !over.load(Ordering::Relaxed) {
            let id = rng.pick(&ids).swap(0, Ordering::Relaxed);
            let before = done.load(Ordering::Relaxed);
            if id > 0 {
                let killed = killer
                    .call(&["CLIENT", "KILL", "ID", &id.to_string()])
                    .int();
                kills.fetch_add(killed as u64, Ordering::Relaxed);
            }
            // Somebody gets on between two kills.
            while done.load(Ordering::Relaxed) < before + 5 && !over.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(refused.load(Ordering::Relaxed) > 0, "nobody met anybody");
    assert_eq!(total(&mut setup, false), ACCOUNTS as i64 * EACH);
    assert_nothing_in_flight(&server, ctx);
}

/// Progress is counted: a storm on hot keys comes to an end, and so do commands on other keys
/// meanwhile.
fn a_storm_leaves_other_keys_alone(ctx: &Ctx) {
    let server = ctx.start();
    const STORMERS: usize = 6;
    let rounds: [AtomicU64; STORMERS] = std::array::from_fn(|_| AtomicU64::new(0));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (at, rounds) in rounds.iter().enumerate() {
            let (server, over) = (&server, &over);
            scope.spawn(move || {
                let mut conn = server.connect();
                let value = at.to_string();
                while !over.load(Ordering::Relaxed) {
                    let hot = ["h1", "h2", "h3", "h4", "h5", "h6"];
                    let pairs = hot.iter().flat_map(|key| [*key, &value[..]]);
                    let args: Vec<&str> = std::iter::once("MSET").chain(pairs).collect();
                    assert_eq!(conn.call(&args), Value::ok());
                    let mut look = vec!["MGET"];
                    look.extend(hot);
                    let seen = conn.call(&look);
                    let first = &seen.items()[0];
                    assert!(
                        seen.items().iter().all(|v| v == first),
                        "half of an MSET: {seen:?}"
                    );
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut conn = server.connect();
        let mut commands = 0u64;
        while commands < 2000 || rounds.iter().any(|r| r.load(Ordering::Relaxed) < 50) {
            let key = format!("cold:{}", commands % 50);
            let value = commands.to_string();
            assert_eq!(conn.call(&["SET", &key, &value]), Value::ok());
            assert_eq!(conn.call(&["GET", &key]), Value::bulk(&value));
            commands += 2;
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_nothing_in_flight(&server, ctx);
}

fn what_is_in_flight_is_shown(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    let mut other = server.connect();
    let own = conn.run("CLIENT ID").int();
    let fields = |other: &mut Conn| {
        let line = other
            .call(&["CLIENT", "LIST", "ID", &own.to_string()])
            .text();
        let field = |name: &str| {
            let found = line.split(' ').find_map(|field| field.strip_prefix(name));
            found.expect("a field of CLIENT LIST").to_owned()
        };
        (field("multi="), field("watch="))
    };
    if !ctx.is_redis() {
        assert_eq!(fields(&mut other), ("-1".into(), "0".into()));
    }
    conn.run_ok("WATCH a b c d");
    conn.run_ok("MULTI");
    conn.run("SET a 1");
    conn.run("SET b 1");
    if ctx.is_redis() {
        return;
    }
    assert_eq!(fields(&mut other), ("2".into(), "4".into()));
    assert_eq!(server.info_number("watching_clients"), 1);
    assert_eq!(server.info_number("total_watched_keys"), 4);
    assert_eq!(conn.run("EXEC").items().len(), 2);
    assert_eq!(fields(&mut other), ("-1".into(), "0".into()));
    assert_nothing_in_flight(&server, ctx);
    assert!(server.info_number("txns_begun") >= server.info_number("txns_executed"));
    assert_eq!(
        other.run("DEBUG TRANSACTIONS").text(),
        "",
        "nothing is in flight"
    );
}

fn a_pause_of_writes_holds_a_block_that_writes(ctx: &Ctx) {
    let server = ctx.start();
    let (mut writer, mut reader) = (server.connect(), server.connect());
    let mut boss = server.connect();
    for keys in [&["x"][..], &["x", "y", "z"]] {
        writer.run_ok("MULTI");
        for key in keys {
            writer.run(&format!("SET {key} {}", keys.len()));
        }
        reader.run_ok("MULTI");
        reader.run("GET nosuch");
        boss.run_ok("CLIENT PAUSE 100000 WRITE");
        writer.send(&["EXEC"]);
        assert_eq!(
            reader.run("EXEC").items(),
            [Value::NilBulk],
            "it only reads"
        );
        assert!(writer.is_quiet(Duration::from_millis(100)), "it writes");
        assert_ne!(boss.run("GET x"), Value::bulk(keys.len().to_string()));
        boss.run_ok("CLIENT UNPAUSE");
        assert_eq!(writer.receive().items().len(), keys.len());
        assert_eq!(boss.run("GET x"), Value::bulk(keys.len().to_string()));
    }
}

/// Blocks that fill all keys, flushes between them: nobody sees a part of either.
fn a_flush_refuses_and_is_whole(ctx: &Ctx) {
    let server = ctx.start();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for at in 0..2 {
            let (server, over) = (&server, &over);
            scope.spawn(move || {
                let mut conn = server.connect();
                while !over.load(Ordering::Relaxed) {
                    conn.run_ok("MULTI");
                    for key in 0..8 {
                        conn.run(&format!("SET key:{key} {at}"));
                    }
                    conn.run("DBSIZE");
                    let seen = conn.run("EXEC");
                    assert_eq!(seen.items().last(), Some(&Value::Int(8)));
                }
            });
        }
        let flusher = (&server, &over);
        scope.spawn(move || {
            let (server, over) = flusher;
            let mut conn = server.connect();
            while !over.load(Ordering::Relaxed) {
                conn.run_ok("FLUSHALL");
            }
        });
        let mut conn = server.connect();
        for _ in 0..300 {
            let size = conn.run("DBSIZE").int();
            assert!(size == 0 || size == 8, "{size} keys of a block");
        }
        over.store(true, Ordering::Relaxed);
    });
    let mut conn = server.connect();
    conn.run_ok("SET a 1");
    conn.run_ok("WATCH a");
    server.connect().run_ok("FLUSHALL");
    conn.run_ok("MULTI");
    conn.run("SET a 2");
    assert_eq!(conn.run("EXEC"), Value::NilArray);
    assert_nothing_in_flight(&server, ctx);
}

/// What a blocked client's service changes, a watch of it hears of; also where it leaves nothing.
fn a_watch_hears_of_what_is_given_to_who_waits(ctx: &Ctx) {
    let server = ctx.start();
    let (mut conn, mut pusher) = (server.connect(), server.connect());
    for (wait, watched) in [
        ("BLMOVE from to LEFT RIGHT 0", "to"),
        ("BLMOVE from to LEFT RIGHT 0", "from"),
        ("BLPOP other from 0", "from"),
        ("BZPOPMIN sorted 0", "sorted"),
    ] {
        let mut waiting = server.connect();
        waiting.send_bytes(format!("{wait}\r\n").as_bytes());
        server.await_info("blocked_clients", 1);
        conn.run_ok(&format!("WATCH {watched} another"));
        pusher.run("ZADD sorted 1 a");
        pusher.run("RPUSH from a");
        assert_ne!(waiting.receive(), Value::NilArray);
        conn.run_ok("MULTI");
        conn.run("SET x 1");
        conn.run("SET y 1");
        assert_eq!(conn.run("EXEC"), Value::NilArray, "{wait}, {watched}");
        pusher.run_ok("FLUSHALL");
    }
    assert_nothing_in_flight(&server, ctx);
}

/// The array's head belongs to EXEC, the elements to their commands; a SKIP reaches behind EXEC.
fn replies_are_turned_off_inside_a_block(ctx: &Ctx) {
    let server = ctx.start();
    let queued = |count: usize| "+OK\r\n".to_owned() + &"+QUEUED\r\n".repeat(count);
    for (sent, seen) in [
        (
            "MULTI;CLIENT REPLY OFF;SET a 1;SET b 1;EXEC;GET a;CLIENT REPLY ON;GET b",
            queued(3) + "*3\r\n+OK\r\n$1\r\n1\r\n",
        ),
        (
            "MULTI;SET a 2;CLIENT REPLY SKIP;GET b;GET a;EXEC;GET a;PING",
            queued(4) + "*4\r\n+OK\r\n$1\r\n1\r\n$1\r\n2\r\n+PONG\r\n",
        ),
        (
            "CLIENT REPLY OFF;MULTI;SET a 5;CLIENT REPLY ON;GET a;GET b;EXEC;GET a",
            "+OK\r\n$1\r\n5\r\n$1\r\n1\r\n$1\r\n5\r\n".to_owned(),
        ),
        (
            "CLIENT REPLY SKIP;MULTI;SET b 6;SET a 6;EXEC;GET b",
            "+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n+OK\r\n$1\r\n6\r\n".to_owned(),
        ),
        (
            "MULTI;SET a 7;SET b 7;CLIENT REPLY SKIP;EXEC;GET b;GET a",
            queued(3) + "*3\r\n+OK\r\n+OK\r\n$1\r\n7\r\n",
        ),
    ] {
        let mut conn = server.connect();
        let sent = sent.replace(';', "\r\n") + "\r\nQUIT\r\n";
        conn.send_bytes(sent.as_bytes());
        let all = String::from_utf8(conn.read_to_end()).expect("text");
        assert_eq!(all, seen + "+OK\r\n", "{sent}");
    }
}

/// A storm over few keys is looked at until a transaction is seen to hold something and another one to
/// wait for it.
fn what_waits_for_a_transaction_is_shown(ctx: &Ctx) {
    if ctx.is_redis() || ctx.shards == 1 {
        return; // one shard never waits
    }
    let server = ctx.start();
    let over = AtomicBool::new(false);
    let mut unseen = vec!["coordinates txn=", "held txn=", "waits txn="];
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (server, over) = (&server, &over);
            scope.spawn(move || {
                let mut conn = server.connect();
                let block = "MSET a 1 b 2 c 3 d 4\r\nMGET d c b a\r\n".repeat(50);
                while !over.load(Ordering::Relaxed) {
                    conn.send_bytes(block.as_bytes());
                    (0..100).for_each(|_| drop(conn.receive()));
                }
            });
        }
        let mut conn = server.connect();
        for _ in 0..LOOKS_MAX {
            let text = conn.run("DEBUG TRANSACTIONS").text();
            for line in text.lines() {
                assert!(line.starts_with("shard="), "{line}");
                unseen.retain(|what| !line.contains(what));
            }
            if unseen.is_empty() {
                break;
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(unseen.is_empty(), "never seen: {unseen:?}");
    assert_nothing_in_flight(&server, ctx);
}
