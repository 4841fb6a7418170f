//! SCAN: what is there from start to end comes at least once, whatever else happens meanwhile.
use crate::Ctx;
use ringdove_rig::{Conn, Rng, Value};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

crate::cases!(run:
    sees_everything,
    filters,
    count_bounds_the_work,
    guarantee_while_the_table_grows_and_shrinks,
    stale_and_wild_cursors,
);

/// One whole iteration.
fn scan(conn: &mut Conn, more: &str) -> Vec<String> {
    let (mut cursor, mut seen) = ("0".to_owned(), Vec::new());
    loop {
        let reply = conn.run(&format!("SCAN {cursor} {more}"));
        let [next, keys] = reply.items() else {
            panic!("SCAN {cursor} {more}: {reply:?}");
        };
        seen.extend(keys.items().iter().map(Value::text));
        cursor = next.text();
        if cursor == "0" {
            return seen;
        }
        assert!(seen.len() < 10_000_000, "an iteration ends");
    }
}

fn sees_everything(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    assert_eq!(scan(&mut conn, ""), Vec::<String>::new());
    for count in [1, 2, 10, 1000, 100_000] {
        for i in 0..2000 {
            conn.run_ok(&format!("SET k{i} v"));
        }
        let seen = scan(&mut conn, &format!("COUNT {count}"));
        let distinct: HashSet<&String> = seen.iter().collect();
        assert_eq!(distinct.len(), 2000, "COUNT {count}");
        assert!(
            seen.len() < 2100,
            "nothing changed, so few come twice: {}",
            seen.len()
        );
    }
    conn.run_ok("SELECT 3");
    assert_eq!(scan(&mut conn, ""), Vec::<String>::new());
}

fn filters(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    for i in 0..500 {
        conn.run_ok(&format!(
            "SET {}:{i} v",
            if i % 2 == 0 { "even" } else { "odd" }
        ));
    }
    let distinct = |seen: Vec<String>| seen.into_iter().collect::<HashSet<_>>().len();
    assert_eq!(distinct(scan(&mut conn, "MATCH even:*")), 250);
    assert_eq!(distinct(scan(&mut conn, "MATCH odd:1 COUNT 7")), 1);
    assert_eq!(distinct(scan(&mut conn, "TYPE string")), 500);
    assert_eq!(distinct(scan(&mut conn, "TYPE hash")), 0);
    assert_eq!(distinct(scan(&mut conn, "type STRING match *")), 500);
}

fn count_bounds_the_work(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    for i in 0..5000 {
        conn.run_ok(&format!("SET k{i} v"));
    }
    for count in [1, 10, 100] {
        let reply = conn.run(&format!("SCAN 0 COUNT {count}"));
        let keys = reply.items()[1].items().len();
        // A step finishes the segment that it began, on each shard.
        assert!(keys <= 3 * count + 100, "COUNT {count} gave {keys}");
    }
}

/// Keys that nobody touches must all come, while others are added and removed by the ten thousand.
fn guarantee_while_the_table_grows_and_shrinks(ctx: &Ctx) {
    const STEADY: usize = 3000;
    let server = ctx.start();
    let mut conn = server.connect();
    for i in 0..STEADY {
        conn.run_ok(&format!("SET steady:{i} v"));
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut conn = server.connect();
            let mut round = 0;
            while !done.load(Ordering::Relaxed) {
                let keys: Vec<String> = (0..20_000).map(|i| format!("f{round}:{i}")).collect();
                for part in keys.chunks(1000) {
                    let mut args = vec!["MSET"];
                    args.extend(part.iter().flat_map(|key| [key.as_str(), "v"]));
                    assert_eq!(conn.call(&args), Value::ok());
                }
                for part in keys.chunks(1000) {
                    let mut args = vec!["DEL"];
                    args.extend(part.iter().map(String::as_str));
                    assert_eq!(conn.call(&args), Value::Int(1000));
                }
                round += 1;
            }
        });
        for count in [10, 50, 200, 10, 1000] {
            let seen: HashSet<String> = scan(&mut conn, &format!("COUNT {count}"))
                .into_iter()
                .collect();
            let missed: Vec<usize> = (0..STEADY)
                .filter(|i| !seen.contains(&format!("steady:{i}")))
                .collect();
            assert!(missed.is_empty(), "COUNT {count} missed {missed:?}");
        }
        done.store(true, Ordering::Relaxed);
    });
}

fn stale_and_wild_cursors(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    for i in 0..100 {
        conn.run_ok(&format!("SET k{i} v"));
    }
    let mut rng = Rng::new(3);
    for _ in 0..300 {
        let cursor = rng.bits() >> rng.below(64);
        let reply = conn.run(&format!("SCAN {cursor} COUNT 10"));
        assert_eq!(reply.items().len(), 2, "cursor {cursor}");
    }
    let invalid = Value::error("ERR invalid cursor");
    for wild in ["x", "1x", "99999999999999999999999"] {
        assert_eq!(conn.run(&format!("SCAN {wild}")), invalid, "{wild}");
    }
    assert_eq!(conn.run("SCAN 0 COUNT 0"), Value::error("ERR syntax error"));
    assert_eq!(conn.run("SCAN 0 MATCH"), Value::error("ERR syntax error"));
    conn.run_ok("FLUSHALL");
    // Each shard passes on to the next.
    let mut cursor = "77".to_string();
    for _ in 0..3 {
        let reply = conn.run(&format!("SCAN {cursor}"));
        assert!(reply.items()[1].items().is_empty());
        cursor = reply.items()[0].text();
        if cursor == "0" {
            return;
        }
    }
    panic!("an empty database has no end");
}
