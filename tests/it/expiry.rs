//! Expiry: never seen once expired, removed actively, and quickly where very many expire at once.
use crate::Ctx;
use ringdove_rig::{Conn, Server, Value, Watch, encode, eventually};
use std::time::{Duration, Instant};

crate::cases!(run:
    never_seen_once_expired,
    removed_without_being_asked_for,
    every_way_to_set_it,
    what_keeps_and_what_drops_it,
    conditions,
    active_expiry_can_be_switched_off,
    expires_in_the_past_delete,
);
crate::cases!(run_alone: half_a_million_at_once);

fn never_seen_once_expired(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    conn.run_ok("DEBUG SET-ACTIVE-EXPIRE 0");
    for i in 0..50 {
        conn.run_ok(&format!("SET e{i} v PX 60"));
    }
    conn.run_ok("SET stays v");
    let end = Instant::now() + Duration::from_millis(80);
    eventually("80 ms", 5, || (Instant::now() > end).then_some(()));
    for i in 0..50 {
        let key = format!("e{i}");
        let (wanted, line) = match i % 10 {
            0 => (Value::NilBulk, format!("GET {key}")),
            1 => (Value::Int(0), format!("EXISTS {key}")),
            2 => (Value::Int(-2), format!("TTL {key}")),
            3 => (Value::simple("none"), format!("TYPE {key}")),
            4 => (Value::Int(0), format!("DEL {key}")),
            5 => (Value::Int(1), format!("SETNX {key} new")),
            6 => (Value::Int(1), format!("APPEND {key} x")),
            7 => (Value::error("ERR no such key"), format!("RENAME {key} to")),
            8 => (Value::Int(0), format!("EXPIRE {key} 100")),
            _ => (Value::NilBulk, format!("OBJECT ENCODING {key}")),
        };
        assert_eq!(conn.run(&line), wanted, "{line}");
    }
    let keys = conn.run("KEYS *");
    assert_eq!(keys.items().len(), 11, "{keys:?}");
    for _ in 0..30 {
        assert!(!conn.run("RANDOMKEY").text().is_empty());
    }
}

fn removed_without_being_asked_for(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    for i in 0..1000 {
        conn.run_ok(&format!("SET e{i} v PX {}", 20 + i % 100));
    }
    conn.run_ok("SET stays v");
    eventually("expired keys are removed", 10, || {
        (conn.run("DBSIZE") == Value::Int(1)).then_some(())
    });
    assert_eq!(server.info_number("expired_keys"), 1000);
}

fn every_way_to_set_it(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    let ways = [
        "SET k v EX 100",
        "SET k v PX 100000",
        "SETEX k 100 v",
        "PSETEX k 100000 v",
        "EXPIRE k 100",
        "PEXPIRE k 100000",
        "GETEX k EX 100",
        "GETEX k PX 100000",
    ];
    for line in ways {
        conn.run_ok("SET k v");
        assert_eq!(conn.run("PTTL k"), Value::Int(-1));
        assert!(!conn.run(line).is_error(), "{line}");
        let left = conn.run("PTTL k").int();
        assert!((90_000..=100_000).contains(&left), "{line}: {left}");
    }
    for (line, at) in [
        ("SET k v EXAT 4102444800", 4_102_444_800_000),
        ("SET k v PXAT 4102444800123", 4_102_444_800_123),
        ("EXPIREAT k 4102444801", 4_102_444_801_000),
        ("PEXPIREAT k 4102444800456", 4_102_444_800_456),
        ("GETEX k PXAT 4102444800789", 4_102_444_800_789),
    ] {
        assert!(!conn.run(line).is_error(), "{line}");
        assert_eq!(conn.run("PEXPIRETIME k"), Value::Int(at), "{line}");
        assert_eq!(
            conn.run("EXPIRETIME k"),
            Value::Int((at + 500) / 1000),
            "{line}"
        );
    }
}

fn what_keeps_and_what_drops_it(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    let cases = [
        ("SET k 2", false),
        ("SET k 2 KEEPTTL", true),
        ("GETSET k 2", false),
        ("MSET k 2 other 1", false),
        ("APPEND k 1", true),
        ("INCR k", true),
        ("INCRBYFLOAT k 1", true),
        ("SETRANGE k 0 9", true),
        ("SETBIT k 0 0", true),
        ("GETEX k", true),
        ("GETEX k PERSIST", false),
        ("PERSIST k", false),
    ];
    for (line, kept) in cases {
        conn.run_ok("SET k 1 EX 1000");
        assert!(!conn.run(line).is_error(), "{line}");
        assert_eq!(conn.run("TTL k").int() > 0, kept, "{line}");
    }
    conn.run_ok("SET k 1 EX 1000");
    conn.run_ok("RENAME k moved");
    assert!(conn.run("TTL moved").int() > 0);
    assert_eq!(conn.run("COPY moved copied"), Value::Int(1));
    assert!(conn.run("TTL copied").int() > 0);
    assert_eq!(conn.run("MOVE moved 1"), Value::Int(1));
    conn.run_ok("SELECT 1");
    assert!(conn.run("TTL moved").int() > 0);
}

fn conditions(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    let mut step =
        |line: &str, wanted: i64| assert_eq!(conn.run(line), Value::Int(wanted), "{line}");
    step("SETNX k v", 1);
    step("EXPIRE k 100 XX", 0);
    step("EXPIRE k 100 GT", 0);
    step("EXPIRE k 100 LT", 1);
    step("EXPIRE k 50 NX", 0);
    step("EXPIRE k 200 LT", 0);
    step("EXPIRE k 200 GT", 1);
    step("EXPIRE k 10 GT", 0);
    step("EXPIRE k 10 XX", 1);
    step("PERSIST k", 1);
    step("PERSIST k", 0);
    step("EXPIRE k 10 NX", 1);
    let both = "ERR NX and XX, GT or LT options at the same time are not compatible";
    assert_eq!(conn.run("EXPIRE k 10 NX XX"), Value::error(both));
    let both = "ERR GT and LT options at the same time are not compatible";
    assert_eq!(conn.run("EXPIRE k 10 GT LT"), Value::error(both));
}

fn active_expiry_can_be_switched_off(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    conn.run_ok("DEBUG SET-ACTIVE-EXPIRE 0");
    for i in 0..100 {
        conn.run_ok(&format!("SET e{i} v PX 10"));
    }
    let end = Instant::now() + Duration::from_millis(400);
    eventually("400 ms", 5, || (Instant::now() > end).then_some(()));
    assert_eq!(conn.run("DBSIZE"), Value::Int(100));
    conn.run_ok("DEBUG SET-ACTIVE-EXPIRE 1");
    eventually("they go", 10, || {
        (conn.run("DBSIZE") == Value::Int(0)).then_some(())
    });
}

fn expires_in_the_past_delete(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    for line in [
        "EXPIRE k -1",
        "PEXPIRE k 0",
        "EXPIREAT k 1",
        "PEXPIREAT k 1",
    ] {
        conn.run_ok("SET k v");
        assert_eq!(conn.run(line), Value::Int(1), "{line}");
        assert_eq!(conn.run("EXISTS k"), Value::Int(0), "{line}");
    }
    let invalid = Value::error("ERR invalid expire time in 'set' command");
    assert_eq!(conn.run("SET k v EX 0"), invalid);
    assert_eq!(conn.run("SET k v EX 9223372036854775807"), invalid);
}

fn half_a_million_at_once(ctx: &Ctx) {
    // Writes of one connection wait at each change of shard, so several shards are filled slowly.
    let (keys, seconds) = if ctx.shards == 1 {
        (480_000, 8)
    } else {
        (80_000, 20)
    };
    let server = ctx.start();
    let mut conn = server.connect();
    let now: i64 = conn.run("TIME").items()[0].text().parse().expect("seconds");
    let at = (now + seconds).to_string();
    fill(&server, keys, &at);
    assert!(
        conn.run("DBSIZE").int() as usize >= keys,
        "filled before they expire"
    );
    let watch = Watch::start(&server, 16);
    eventually("all have expired and are gone", 30, || {
        (conn.run("DBSIZE").int() <= 16).then_some(())
    });
    let seen = watch.stop();
    let late = conn.run("TIME").items()[0]
        .text()
        .parse::<i64>()
        .expect("seconds")
        - now
        - seconds;
    eprintln!(
        "{keys} keys gone {late} s after they expired, {} shard(s): {seen:?}",
        ctx.shards
    );
    assert!(seen.p99 < Duration::from_millis(40), "{seen:?}");
    assert!(seen.max < Duration::from_millis(120), "{seen:?}");
}

/// Several connections, since the writes of one wait for each other where shards take turns.
fn fill(server: &Server, keys: usize, at: &str) {
    let mut conns: Vec<Conn> = (0..8).map(|_| server.connect()).collect();
    for first in (0..keys).step_by(80_000) {
        let from = |i: usize| first + i * 10_000;
        for (i, conn) in conns
            .iter_mut()
            .enumerate()
            .filter(|(i, _)| from(*i) < keys)
        {
            fill_some(conn, from(i), at);
        }
        for (_, conn) in conns
            .iter_mut()
            .enumerate()
            .filter(|(i, _)| from(*i) < keys)
        {
            assert_eq!(conn.read_bytes(50_000), b"+OK\r\n".repeat(10_000));
        }
    }
}

fn fill_some(conn: &mut Conn, from: usize, at: &str) {
    let bytes: Vec<u8> = (from..from + 10_000)
        .flat_map(|i| encode(&["SET", &format!("e:{i}"), "v", "EXAT", at]))
        .collect();
    conn.send_bytes(&bytes);
}
