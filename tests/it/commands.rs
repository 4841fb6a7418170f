//! What the differential tests cannot say of commands: big values, many keys, effects that are
//! seen by another connection.
use crate::Ctx;
use ringdove_rig::Value;
use std::collections::HashSet;

crate::cases!(run:
    counters_from_many_connections,
    a_value_grows_to_megabytes,
    setbit_far_out,
    many_keys_in_one_command,
    random_keys_are_spread,
    copies_are_independent,
    debug_populate,
    flush_frees_every_database,
);

fn counters_from_many_connections(ctx: &Ctx) {
    let server = ctx.start();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut conn = server.connect();
                for i in 0..500 {
                    assert!(conn.run(&format!("INCR counter:{}", i % 5)).int() > 0);
                }
            });
        }
    });
    let mut conn = server.connect();
    for i in 0..5 {
        assert_eq!(conn.run(&format!("GET counter:{i}")), Value::bulk("600"));
    }
}

fn a_value_grows_to_megabytes(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    let part = "0123456789".repeat(1000);
    for i in 1..=500 {
        assert_eq!(conn.call(&["APPEND", "log", &part]), Value::Int(i * 10_000));
    }
    assert_eq!(
        conn.run("GETRANGE log 4999990 -1"),
        Value::bulk("0123456789")
    );
    assert_eq!(conn.call(&["GET", "log"]), Value::bulk(part.repeat(500)));
    assert_eq!(conn.run("SETRANGE log 8000000 end"), Value::Int(8_000_003));
    assert_eq!(
        conn.run("GETRANGE log 7999999 8000002"),
        Value::bulk("\0end")
    );
}

fn setbit_far_out(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    assert_eq!(conn.run("SETBIT far 100000000 1"), Value::Int(0));
    assert_eq!(conn.run("STRLEN far"), Value::Int(12_500_001));
    assert_eq!(conn.run("BITPOS far 1"), Value::Int(100_000_000));
    assert_eq!(conn.run("BITCOUNT far"), Value::Int(1));
    assert_eq!(conn.run("BITOP NOT not far"), Value::Int(12_500_001));
    assert_eq!(conn.run("BITCOUNT not"), Value::Int(8 * 12_500_001 - 1));
    let range = Value::error("ERR bit offset is not an integer or out of range");
    assert_eq!(conn.run("SETBIT far 4294967296 1"), range);
}

fn many_keys_in_one_command(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    let mut args = vec!["MSET".to_owned()];
    for i in 0..50_000 {
        args.extend([format!("k{i}"), i.to_string()]);
    }
    assert_eq!(conn.call(&args), Value::ok());
    let keys = (0..50_000).map(|i| format!("k{i}"));
    let mget: Vec<String> = std::iter::once("MGET".to_owned())
        .chain(keys.clone())
        .collect();
    let reply = conn.call(&mget);
    let values = reply.items().iter().enumerate();
    assert!(
        values
            .into_iter()
            .all(|(i, v)| *v == Value::bulk(i.to_string()))
    );
    let del: Vec<String> = std::iter::once("DEL".to_owned()).chain(keys).collect();
    assert_eq!(conn.call(&del), Value::Int(50_000));
}

fn random_keys_are_spread(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    for i in 0..20 {
        conn.run_ok(&format!("SET r{i} v"));
    }
    let seen: HashSet<String> = (0..2000).map(|_| conn.run("RANDOMKEY").text()).collect();
    assert_eq!(seen.len(), 20);
}

fn copies_are_independent(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    for i in 0..30 {
        conn.run_ok(&format!("SET from{i} old"));
        assert_eq!(conn.run(&format!("COPY from{i} to{i}")), Value::Int(1));
        conn.run(&format!("APPEND from{i} er"));
        assert_eq!(conn.run(&format!("GET to{i}")), Value::bulk("old"));
        assert_eq!(conn.run(&format!("COPY from{i} to{i} DB 3")), Value::Int(1));
    }
    conn.run_ok("SELECT 3");
    assert_eq!(conn.run("GET to29"), Value::bulk("older"));
    assert_eq!(conn.run("DBSIZE"), Value::Int(30));
}

fn debug_populate(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    conn.run_ok("DEBUG POPULATE 1000");
    assert_eq!(conn.run("DBSIZE"), Value::Int(1000));
    assert_eq!(conn.run("GET key:7"), Value::bulk("value:7"));
    conn.run_ok("DEBUG POPULATE 500 other 20");
    assert_eq!(conn.run("STRLEN other:3"), Value::Int(20));
    assert_eq!(conn.run("DBSIZE"), Value::Int(1500));
}

fn flush_frees_every_database(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    for db in 0..16 {
        conn.run_ok(&format!("SELECT {db}"));
        conn.run_ok("MSET a 1 b 2 c 3");
    }
    conn.run_ok("FLUSHDB");
    assert_eq!(conn.run("DBSIZE"), Value::Int(0));
    conn.run_ok("SELECT 4");
    assert_eq!(conn.run("DBSIZE"), Value::Int(3));
    conn.run_ok("FLUSHALL");
    for db in 0..16 {
        conn.run_ok(&format!("SELECT {db}"));
        assert_eq!(conn.run("DBSIZE"), Value::Int(0));
    }
}
