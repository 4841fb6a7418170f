//! Connections that move to the shard of their keys (`connection-migration`): nothing is lost, nothing
//! comes twice, order stays, and the connection is what it was.
use crate::Ctx;
use ringdove_rig::{Conn, Rng, Server, Value, encode, eventually};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

crate::cases!(run:
    a_connection_is_what_it_was,
    whoever_is_more_than_plain_stays,
    whoever_is_named_to_hear_hears_wherever_it_is,
    connections_and_slots_move_under_load,
);

const ON: &str = "--connection-migration yes";

/// Connections that have moved from one shard to another.
fn moved(conn: &mut Conn) -> usize {
    let info = conn.run("INFO shards").text();
    let counts = info.split("connections_moved_away=").skip(1);
    let digits = counts.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    digits
        .map(|n| n.and_then(|n| n.parse::<usize>().ok()).expect("a number"))
        .sum()
}

/// The shard that a connection is on, as CLIENT INFO tells.
fn shard_of(conn: &mut Conn) -> usize {
    let info = conn.run("CLIENT INFO").text();
    let (_, shard) = info.trim_end().rsplit_once("shard=").expect("its shard");
    shard.parse().expect("a number")
}

/// A key of a shard.
fn key_of(conn: &mut Conn, shard: usize) -> String {
    let map = conn.run("RINGDOVE SLOTS");
    let owner = |slot: i64| {
        let range = map.items().iter().map(|range| range.items());
        let mut found = range.filter(|r| (r[0].int()..=r[1].int()).contains(&slot));
        found.next().expect("every slot has an owner")[2].int()
    };
    let mut names = (0..).map(|n| format!("k{n}"));
    names
        .find(|name| owner(i64::from(crate::slots::slot_of(name))) == shard as i64)
        .expect("some key")
}

/// Counts a key up until the connection is on a shard.
fn count_until_on(conn: &mut Conn, key: &str, shard: usize) {
    let mut next = conn.run(&format!("INCR {key}")).int();
    eventually("the connection moves", 30, || {
        let many: Vec<u8> = (0..100).flat_map(|_| encode(&["INCR", key])).collect();
        conn.send_bytes(&many);
        for _ in 0..100 {
            next += 1;
            assert_eq!(conn.receive(), Value::Int(next));
        }
        (shard_of(conn) == shard).then_some(())
    });
}

fn a_connection_is_what_it_was(ctx: &Ctx) {
    if ctx.is_redis() {
        return;
    }
    let server = ctx.start_with(ON);
    let mut control = server.connect();
    let mut conn = server.connect();
    let id = conn.run("CLIENT ID");
    conn.run("HELLO 3 SETNAME walker");
    conn.run_ok("SELECT 5");
    conn.run_ok("CLIENT NO-EVICT on");
    let home = shard_of(&mut conn);
    for step in 1..=3 {
        let there = (home + step) % ctx.shards;
        let key = key_of(&mut control, there);
        count_until_on(&mut conn, &key, there);
        assert_eq!(conn.run("CLIENT ID"), id);
        assert_eq!(conn.run("CLIENT GETNAME"), Value::bulk("walker"));
        let info = conn.run("CLIENT INFO").text();
        for part in ["db=5", "resp=3", "name=walker", "flags=e"] {
            assert!(info.contains(part), "{part} in {info}");
        }
        let list = control.run("CLIENT LIST").text();
        let lines: Vec<&str> = list.lines().filter(|l| l.contains("name=walker")).collect();
        assert_eq!(lines.len(), 1, "{list}");
        assert!(lines[0].ends_with(&format!("shard={there}")), "{list}");
        server.await_info("connected_clients", 3); // who asks, too
    }
    assert_eq!(moved(&mut control), if ctx.shards == 1 { 0 } else { 3 });
    // What needs its place works where it is now.
    conn.run("SUBSCRIBE news");
    assert_eq!(control.run("PUBLISH news hello"), Value::Int(1));
    assert_eq!(conn.receive().items()[2], Value::bulk("hello"));
    conn.run("UNSUBSCRIBE news");
    conn.run_ok("WATCH w");
    control.run_ok("SELECT 5");
    control.run_ok("SET w 1");
    conn.run_ok("MULTI");
    conn.run("GET w");
    assert!(matches!(conn.run("EXEC"), Value::Null | Value::NilArray));
    let kill = format!("CLIENT KILL ID {}", id.int());
    assert_eq!(control.run(&kill), Value::Int(1));
    assert!(conn.is_closed());
    server.await_info("connected_clients", 2); // who asks, too
}

fn whoever_is_more_than_plain_stays(ctx: &Ctx) {
    if ctx.is_redis() || ctx.shards == 1 {
        return;
    }
    let server = ctx.start_with(ON);
    let mut control = server.connect();
    for how in ["WATCH w", "CLIENT TRACKING ON", "SUBSCRIBE c", "none"] {
        let mut conn = server.connect();
        conn.run("HELLO 3");
        let home = shard_of(&mut conn);
        let there = (home + 1) % ctx.shards;
        let key = key_of(&mut control, there);
        if how != "none" {
            conn.run(how);
        }
        let mut target = server.connect();
        if how == "none" {
            // Another's tracking is redirected to it.
            let id = conn.run("CLIENT ID").int();
            target.run_ok(&format!("CLIENT TRACKING ON REDIRECT {id}"));
            target.run(&format!("GET {key}x"));
        }
        for _ in 0..60 {
            let many: Vec<u8> = (0..100).flat_map(|_| encode(&["GET", &key])).collect();
            conn.send_bytes(&many);
            (0..100).for_each(|_| assert!(!conn.receive().is_error()));
        }
        assert_eq!(shard_of(&mut conn), home, "{how}");
        if how == "none" {
            control.run(&format!("SET {key}x 1"));
            let told = conn.receive();
            assert_eq!(told.items()[0], Value::bulk("invalidate"), "{told:?}");
        }
    }
    assert_eq!(moved(&mut control), 0);
}

/// Connections are named as the ones that hear for others (CLIENT TRACKING REDIRECT) just when they
/// move: each is found, and hears of the change, before it moves, after it, or in between.
fn whoever_is_named_to_hear_hears_wherever_it_is(ctx: &Ctx) {
    const TARGETS: usize = 300;
    if ctx.is_redis() || ctx.shards == 1 {
        return;
    }
    let server = ctx.start_with(ON);
    let (mut control, mut writer) = (server.connect(), server.connect());
    let mut rng = Rng::new(21);
    let keys: Vec<String> = (0..ctx.shards).map(|at| key_of(&mut control, at)).collect();
    for round in 0..TARGETS {
        let (mut target, mut tracker) = (server.connect_resp3(), server.connect());
        let id = target.run("CLIENT ID").int();
        let there = (shard_of(&mut target) + 1 + round % (ctx.shards - 1)) % ctx.shards;
        // Two windows and some more: it moves before all of them are answered, or soon after.
        let many = 2100 + rng.below(200);
        let gets = encode(&["GET", &keys[there]]).repeat(many);
        let cut = rng.below(gets.len());
        target.send_bytes(&gets[..cut]);
        target.send_bytes(&gets[cut..]);
        // Nothing is waited for: the target is to be named at any moment of its move.
        std::thread::sleep(Duration::from_micros(rng.below(8000) as u64));
        let named = tracker.run(&format!("CLIENT TRACKING ON REDIRECT {id}"));
        assert_eq!(named, Value::ok(), "{round}");
        for change in 0..3 {
            let key = format!("{}:{round}", keys[rng.below(ctx.shards)]);
            tracker.run(&format!("GET {key}"));
            writer.run_ok(&format!("SET {key} {change}"));
            if change == 0 {
                let mut pushed = None;
                let mut replies = 0;
                while replies < many || pushed.is_none() {
                    match target.receive() {
                        Value::Push(push) => pushed = Some(Value::Push(push)),
                        reply => {
                            assert!(!reply.is_error(), "{reply:?}");
                            replies += 1;
                        }
                    }
                }
                assert_eq!(
                    pushed.expect("it was told").items()[1].items()[0].text(),
                    key
                );
                continue;
            }
            let told = target.receive();
            assert_eq!(told.items()[1].items()[0].text(), key, "{told:?}");
        }
        assert_eq!(tracker.run("CLIENT GETREDIR"), Value::Int(id));
    }
    assert!(moved(&mut control) > 0);
}

/// Connections of whose keys most live together count in pipelines that are cut anywhere, while the
/// slots of their keys move from shard to shard and the connections after them. Every reply is the next
/// number of its key: none is lost, none comes twice, and all are in order. The rest of the keys lie
/// in slots of all shards, so that pipelines are local and remote at once.
fn connections_and_slots_move_under_load(ctx: &Ctx) {
    const CLIENTS: usize = 6;
    const MOVES: usize = 60;
    if ctx.is_redis() || ctx.shards == 1 {
        return;
    }
    let server = ctx.start_with(ON);
    let mut control = server.connect();
    let (done, total) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let (server, done, total) = (&server, &done, &total);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|at| scope.spawn(move || count(server, at, done, total)))
            .collect();
        let mut rng = Rng::new(8);
        let mut seen = 0;
        for _ in 0..MOVES {
            let tag = format!("tag{}", rng.below(CLIENTS));
            let slot = crate::slots::slot_of(&tag);
            let to = rng.below(ctx.shards);
            let reply = control.run(&format!("RINGDOVE SLOTS MOVE {slot} TO {to}"));
            assert!(!reply.is_error(), "{reply:?}");
            // Enough for somebody to notice.
            eventually("work goes on", 60, || {
                (total.load(Ordering::Relaxed) >= seen + 20_000).then_some(())
            });
            seen = total.load(Ordering::Relaxed);
        }
        done.store(true, Ordering::Relaxed);
        clients
            .into_iter()
            .for_each(|client| client.join().expect("a client"));
    });
    let moved = moved(&mut control);
    assert!(moved >= 5, "{moved} connections have moved");
    server.await_info("connected_clients", 2); // who asks, too
    eventually(
        "each is counted where it is, and only control is left",
        20,
        || {
            let all = control.run("INFO shards").text();
            let connections = |shard| {
                let head = format!("shard{shard}:connections=");
                let (_, rest) = all.split_once(&head).expect("a line");
                let digits = rest.split(',').next().expect("a number");
                digits.parse::<usize>().expect("a number")
            };
            let sum: usize = (0..ctx.shards).map(connections).sum();
            (sum == 1).then_some(())
        },
    );
}

fn count(server: &Server, at: usize, done: &AtomicBool, total: &AtomicUsize) {
    let mut conn = server.connect();
    let mut rng = Rng::new(at as u64 + 1);
    let mut counts = [0i64; 20];
    let name = |key: usize| match key {
        0..2 => format!("elsewhere{key}:{at}"),
        _ => format!("{{tag{at}}}{key}"),
    };
    while !done.load(Ordering::Relaxed) {
        let keys: Vec<usize> = (0..16).map(|_| rng.below(counts.len())).collect();
        let bytes: Vec<u8> = keys
            .iter()
            .flat_map(|key| encode(&["INCR", &name(*key)]))
            .collect();
        let cut = rng.below(bytes.len());
        conn.send_bytes(&bytes[..cut]);
        conn.send_bytes(&bytes[cut..]);
        for key in keys {
            counts[key] += 1;
            assert_eq!(conn.receive(), Value::Int(counts[key]), "key {key}");
        }
        total.fetch_add(16, Ordering::Relaxed);
    }
    for (key, count) in counts.into_iter().enumerate().filter(|(_, n)| *n > 0) {
        let stored = conn.run(&format!("GET {}", name(key)));
        assert_eq!(stored, Value::bulk(count.to_string()), "key {key}");
    }
}
