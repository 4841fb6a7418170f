//! Slots that move while clients are at work: nothing is lost, nothing comes twice, order stays.
use crate::Ctx;
use ringdove_rig::{Conn, Rng, Server, Value, encode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

crate::cases!(run:
    the_map,
    keys_go_along,
    watches_blocked_clients_and_subscribers,
    moves_under_load,
    keys_are_balanced,
    load_is_balanced,
);
crate::cases!(run_alone:
    a_slot_of_very_many_keys_moves_in_slices,
);

/// Moves a key's slot.
#[track_caller]
fn move_key(conn: &mut Conn, key: &str, to: usize) -> i64 {
    let slot = slot_of(key);
    let reply = conn.run(&format!("RINGDOVE SLOTS MOVE {slot} TO {to}"));
    reply.int()
}

/// CRC16/XMODEM of a key without a tag, bit by bit.
pub(crate) fn slot_of(key: &str) -> u16 {
    key.bytes().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            (crc << 1) ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 }
        })
    }) % 16384
}

fn the_map(ctx: &Ctx) {
    if ctx.is_redis() {
        return;
    }
    let server = ctx.start();
    let mut conn = server.connect();
    let ranges = |conn: &mut Conn| -> Vec<[i64; 3]> {
        let map = conn.run("RINGDOVE SLOTS");
        let numbers = |range: &Value| [0, 1, 2].map(|at| range.items()[at].int());
        map.items().iter().map(numbers).collect()
    };
    assert_eq!(ranges(&mut conn).len(), ctx.shards);
    let last = ctx.shards as i64 - 1;
    let moved = conn.run(&format!("RINGDOVE SLOTS MOVE 0-99 TO {last}"));
    assert_eq!(moved, Value::Int(0));
    assert_eq!(ranges(&mut conn)[0][2], last);
    assert_eq!(conn.run("RINGDOVE SLOTS MOVE 0-99 TO 0"), Value::Int(0));
    assert_eq!(ranges(&mut conn).len(), ctx.shards);
    for wrong in [
        "RINGDOVE SLOTS MOVE 16384 TO 0",
        "RINGDOVE SLOTS MOVE 5-4 TO 0",
        "RINGDOVE SLOTS MOVE 1 TO 99",
        "RINGDOVE SLOTS MOVE 1 TO -1",
        "RINGDOVE SLOTS MOVE 1 0",
        "RINGDOVE SLOTS NOSUCH",
        "RINGDOVE NOSUCH",
    ] {
        assert!(conn.run(wrong).is_error(), "{wrong}");
    }
    conn.run_ok("MULTI");
    assert!(conn.run("RINGDOVE SLOTS").is_error());
    assert!(conn.run("EXEC").is_error());
    assert!(conn.run("RINGDOVE HELP").items().len() > 4);
}

fn keys_go_along(ctx: &Ctx) {
    if ctx.is_redis() {
        return;
    }
    let server = ctx.start();
    let mut conn = server.connect();
    for line in [
        "SET k 1 EX 1000",
        "RPUSH l a b c",
        "HSET h f v",
        "ZADD z 1 m",
        "SADD s 1 2",
        "XADD x 1-1 f v",
    ] {
        conn.run(line);
    }
    conn.run_ok("SELECT 3");
    conn.run_ok("SET k three");
    conn.run_ok("SELECT 0");
    for round in 0..6 {
        let to = round % ctx.shards;
        for (key, count) in [("k", 2), ("l", 1), ("h", 1), ("z", 1), ("s", 1), ("x", 1)] {
            let moved = move_key(&mut conn, key, to);
            assert!(moved == count || moved == 0, "{key}: {moved}");
        }
        assert!((990..=1000).contains(&conn.run("TTL k").int()));
        assert_eq!(conn.run("LRANGE l 0 -1").items().len(), 3);
        assert_eq!(conn.run("HGET h f"), Value::bulk("v"));
        assert_eq!(conn.run("ZSCORE z m"), Value::bulk("1"));
        assert_eq!(conn.run("SCARD s"), Value::Int(2));
        assert_eq!(conn.run("XLEN x"), Value::Int(1));
        assert_eq!(conn.run("DBSIZE"), Value::Int(6));
        conn.run_ok("SELECT 3");
        assert_eq!(conn.run("GET k"), Value::bulk("three"));
        conn.run_ok("SELECT 0");
    }
    // All there are, in steps.
    let all = format!("RINGDOVE SLOTS MOVE 0-16383 TO {}", ctx.shards - 1);
    conn.run(&all);
    assert_eq!(conn.run("RINGDOVE SLOTS").items().len(), 1);
    assert_eq!(conn.run("DBSIZE"), Value::Int(6));
}

fn watches_blocked_clients_and_subscribers(ctx: &Ctx) {
    if ctx.is_redis() {
        return;
    }
    let server = ctx.start();
    let mut conn = server.connect();
    for to in (0..ctx.shards).chain(0..ctx.shards) {
        let mut watcher = server.connect();
        watcher.run_ok("WATCH w");
        let mut waiter = server.connect();
        waiter.send(&["BLPOP", "q", "other", "0"]);
        let mut second = server.connect();
        server.await_info("blocked_clients", 1);
        second.send(&["BLMOVE", "q", "dest", "LEFT", "LEFT", "0"]);
        server.await_info("blocked_clients", 2);
        let mut listener = server.connect();
        listener.run("SUBSCRIBE news");
        let before = conn.run("RINGDOVE SLOTS");
        for key in ["w", "q", "news", "dest"] {
            move_key(&mut conn, key, to);
        }
        let moved = conn.run("RINGDOVE SLOTS") != before;
        conn.run("RPUSH q one two");
        let popped = Value::Array(vec![Value::bulk("q"), Value::bulk("one")]);
        assert_eq!(waiter.receive(), popped, "first come, first served");
        assert_eq!(second.receive(), Value::bulk("two"));
        assert_eq!(conn.run("LPOP dest"), Value::bulk("two"));
        assert_eq!(conn.run("PUBLISH news hello"), Value::Int(1));
        assert_eq!(listener.receive().items()[2], Value::bulk("hello"));
        watcher.run_ok("MULTI");
        watcher.run("SET w 1");
        let done = watcher.run("EXEC");
        assert!(moved || done != Value::NilArray, "nothing has changed");
        // Watches anew, where the key is now.
        watcher.run_ok("WATCH w");
        watcher.run_ok("MULTI");
        watcher.run("SET w 2");
        assert_eq!(watcher.run("EXEC"), Value::Array(vec![Value::ok()]));
        drop(listener);
        server.await_info("pubsub_clients", 0);
        assert_eq!(conn.run("PUBLISH news nobody"), Value::Int(0));
    }
}

/// Counters, jobs before their queue entries, and transfers between accounts, verified while slots move.
fn moves_under_load(ctx: &Ctx) {
    if ctx.is_redis() {
        return;
    }
    let server = ctx.start();
    let done = AtomicBool::new(false);
    let mut conn = server.connect();
    for account in 0..10 {
        conn.run_ok(&format!("SET account:{account} 100"));
    }
    std::thread::scope(|scope| {
        let (server, done) = (&server, &done);
        let counters = scope.spawn(move || count(server, done));
        let transfers = scope.spawn(move || transfer(server, done));
        let jobs = scope.spawn(move || queue(server, done));
        let mut rng = Rng::new(77);
        let mut mover = server.connect();
        for _ in 0..150 {
            let (first, to) = (rng.below(16384 - 600), rng.below(ctx.shards));
            let last = first + rng.below(600);
            let reply = mover.run(&format!("RINGDOVE SLOTS MOVE {first}-{last} TO {to}"));
            assert!(matches!(reply, Value::Int(_)), "{reply:?}");
        }
        done.store(true, Ordering::Relaxed);
        let counted = counters.join().expect("counters");
        let made = transfers.join().expect("transfers");
        let sent = jobs.join().expect("jobs");
        assert!(
            counted > 0 && made > 0 && sent > 0,
            "{counted} {made} {sent}"
        );
    });
}

/// Counts in pipelines over many keys; each key's replies must be one more each time.
fn count(server: &Server, done: &AtomicBool) -> usize {
    let mut conn = server.connect();
    let mut rng = Rng::new(5);
    let mut counts = vec![0i64; 200];
    let mut total = 0;
    while !done.load(Ordering::Relaxed) {
        let keys: Vec<usize> = (0..20).map(|_| rng.below(counts.len())).collect();
        let bytes: Vec<u8> = keys
            .iter()
            .flat_map(|key| encode(&["INCR", &format!("count:{key}")]))
            .collect();
        conn.send_bytes(&bytes);
        for key in keys {
            counts[key] += 1;
            assert_eq!(conn.receive(), Value::Int(counts[key]), "count:{key}");
            total += 1;
        }
    }
    total
}

/// Moves money in blocks over several keys; a reader sees the same sum always.
fn transfer(server: &Server, done: &AtomicBool) -> usize {
    let (mut writer, mut reader) = (server.connect(), server.connect());
    let mut rng = Rng::new(6);
    let mut total = 0;
    let accounts: Vec<String> = (0..10).map(|n| format!("account:{n}")).collect();
    let mut all = vec!["MGET".to_owned()];
    all.extend(accounts.iter().cloned());
    while !done.load(Ordering::Relaxed) {
        let (from, to) = (rng.pick(&accounts).clone(), rng.pick(&accounts).clone());
        let mut block = encode(&["MULTI"]);
        block.extend(encode(&["DECR", &from]));
        block.extend(encode(&["INCR", &to]));
        block.extend(encode(&["EXEC"]));
        writer.send_bytes(&block);
        let seen = reader.call(&all);
        let sum: i64 = seen
            .items()
            .iter()
            .map(|v| v.text().parse::<i64>().expect("a number"))
            .sum();
        assert_eq!(sum, 1000, "{seen:?}");
        for _ in 0..3 {
            writer.receive();
        }
        assert_eq!(writer.receive().items().len(), 2);
        total += 1;
    }
    total
}

/// Sets a job and then names it in a queue, in one pipeline; who takes the name must find the job, in
/// the order in which they were sent.
fn queue(server: &Server, done: &AtomicBool) -> usize {
    let (mut sender, mut worker) = (server.connect(), server.connect());
    let mut total = 0;
    while !done.load(Ordering::Relaxed) {
        worker.send(&["BLPOP", "jobs", "20"]);
        let job = format!("job:{total}");
        let mut bytes = encode(&["SET", &job, "work"]);
        bytes.extend(encode(&["RPUSH", "jobs", &job]));
        sender.send_bytes(&bytes);
        let taken = worker.receive();
        assert_eq!(taken.items()[1], Value::bulk(&job));
        assert_eq!(worker.call(&["GETDEL", &job]), Value::bulk("work"));
        assert_eq!(sender.receive(), Value::ok());
        assert_eq!(sender.receive(), Value::Int(1));
        total += 1;
    }
    total
}

/// A report of RINGDOVE SLOTS BALANCE.
struct Balanced {
    before: Vec<i64>,
    after: Vec<i64>,
    moves: Vec<[i64; 5]>,
}

fn balance(conn: &mut Conn, options: &str) -> Balanced {
    let reply = conn.run(&format!("RINGDOVE SLOTS BALANCE {options}"));
    let parts = reply.items();
    let numbers = |value: &Value| value.items().iter().map(Value::int).collect::<Vec<i64>>();
    let names = [0, 2, 4].map(|at| parts[at].text());
    assert_eq!(names, ["before", "after", "moves"]);
    let moves = parts[5].items().iter().map(|one| {
        let numbers = numbers(one);
        numbers.try_into().expect("five numbers")
    });
    Balanced {
        before: numbers(&parts[1]),
        after: numbers(&parts[3]),
        moves: moves.collect(),
    }
}

fn keys_are_balanced(ctx: &Ctx) {
    if ctx.is_redis() {
        return;
    }
    let server = ctx.start();
    let mut conn = server.connect();
    conn.run("RINGDOVE SLOTS MOVE 0-16383 TO 0");
    for n in 0..3000 {
        conn.send(&["SET", &format!("k{n}"), "v"]);
    }
    (0..3000).for_each(|_| assert_eq!(conn.receive(), Value::ok()));
    let map = conn.run("RINGDOVE SLOTS");
    let dry = balance(&mut conn, "DRYRUN BY KEYS");
    assert_eq!(conn.run("RINGDOVE SLOTS"), map, "nothing has moved");
    let wet = balance(&mut conn, "BY KEYS");
    assert_eq!(wet.before, dry.before);
    assert_eq!(wet.after, dry.after);
    assert_eq!(wet.moves, dry.moves);
    let share = 1000 / ctx.shards as i64;
    for after in &wet.after {
        assert!((after - share).abs() <= share / 10 + 2, "{:?}", wet.after);
    }
    assert_eq!(wet.moves.is_empty(), ctx.shards == 1);
    let moved: i64 = wet.moves.iter().map(|one| one[4]).sum();
    let wanted = 3000 - 3000 / ctx.shards as i64;
    assert!((moved - wanted).abs() < 400, "{moved} keys moved");
    assert!(wet.moves.iter().all(|one| one[2] == 0 && one[3] != 0));
    let again = balance(&mut conn, "BY KEYS");
    assert_eq!(again.before, wet.after, "it is as was said");
    assert!(again.moves.is_empty());
    assert_eq!(conn.run("DBSIZE"), Value::Int(3000));
    for n in (0..3000).step_by(7) {
        assert_eq!(conn.run(&format!("GET k{n}")), Value::bulk("v"));
    }
    for wrong in ["BY", "BY x", "TOLERANCE 101", "NOW"] {
        let reply = conn.run(&format!("RINGDOVE SLOTS BALANCE {wrong}"));
        assert!(reply.is_error(), "{wrong}");
    }
}

fn load_is_balanced(ctx: &Ctx) {
    if ctx.is_redis() {
        return;
    }
    // Every command is looked at, so that some thousands tell as much as hours of samples.
    let server = ctx.start_with("--cluster-slot-stats-enabled yes");
    let mut conn = server.connect();
    let hot: Vec<String> = (0..60).map(|n| format!("hot{n}")).collect();
    for key in &hot {
        conn.run_ok(&format!("SET {key} v"));
    }
    let share = 1000 / ctx.shards as i64;
    let even = |report: &Balanced| {
        let near = |after: &i64| (after - share).abs() <= share / 5 + 2;
        report.after.iter().all(near)
    };
    // A slot whose command the machine has interrupted looks heavy; the more commands, the less so.
    let deadline = Instant::now() + Duration::from_secs(60);
    let report = loop {
        conn.run("RINGDOVE SLOTS MOVE 0-16383 TO 0");
        for _ in 0..300 {
            let bytes: Vec<u8> = hot.iter().flat_map(|key| encode(&["GET", key])).collect();
            conn.send_bytes(&bytes);
            hot.iter()
                .for_each(|_| assert_eq!(conn.receive(), Value::bulk("v")));
        }
        let report = balance(&mut conn, "TOLERANCE 20");
        assert_eq!(report.before[0], 1000);
        if even(&report) {
            break report;
        }
        assert!(Instant::now() < deadline, "{:?}", report.after);
    };
    let slots: i64 = report.moves.iter().map(|one| one[1] - one[0] + 1).sum();
    assert!(slots < 60, "only slots that somebody uses: {slots}");
    for key in &hot {
        assert_eq!(conn.run(&format!("GET {key}")), Value::bulk("v"));
    }
}

/// 300,000 keys with one hash tag, moved there and back under load on that slot and on others; nobody
/// waits for the whole of it.
fn a_slot_of_very_many_keys_moves_in_slices(ctx: &Ctx) {
    const KEYS: usize = 300_000;
    if ctx.is_redis() || ctx.shards == 1 {
        return;
    }
    let server = ctx.start();
    let mut conn = server.connect();
    for first in (0..KEYS).step_by(1000) {
        let mut words = vec!["MSET".to_owned()];
        words.extend((first..first + 1000).flat_map(|n| [format!("{{big}}{n}"), n.to_string()]));
        assert_eq!(conn.call(&words), Value::ok());
    }
    let slot = slot_of("big");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (server, done) = (&server, &done);
        let counters = scope.spawn(move || count(server, done));
        let readers = scope.spawn(move || read_big(server, done, KEYS));
        let probe = scope.spawn(move || longest_ping(server, done));
        conn.run_ok("CONFIG RESETSTAT");
        let began = Instant::now();
        for to in [0, 1, 2] {
            let reply = conn.run(&format!("RINGDOVE SLOTS MOVE {slot} TO {to}"));
            assert!([0, KEYS as i64].contains(&reply.int()), "{reply:?}");
            let scanned = conn.run("DBSIZE").int();
            assert!(scanned >= KEYS as i64);
        }
        let took = began.elapsed();
        let info = conn.run("INFO shards").text();
        done.store(true, Ordering::Relaxed);
        let counted = counters.join().expect("counters");
        let read = readers.join().expect("readers");
        let longest = probe.join().expect("the probe");
        println!(
            "{took:?} for the moves, {longest:?} for the longest PING; {counted} {read}\n{info}"
        );
        assert!(counted > 0 && read > 0);
        assert!(longest < took / 4, "{longest:?} of {took:?}");
    });
    let slot_keys = |conn: &mut Conn| {
        let mut count = 0;
        let mut cursor = "0".to_owned();
        loop {
            let page = conn.run(&format!("SCAN {cursor} MATCH {{big}}* COUNT 5000"));
            count += page.items()[1].items().len();
            cursor = page.items()[0].text();
            if cursor == "0" {
                return count;
            }
        }
    };
    assert_eq!(slot_keys(&mut conn), KEYS);
}

/// Reads and writes back keys of the slot that moves, alone, in pipelines and several in a command.
fn read_big(server: &Server, done: &AtomicBool, keys: usize) -> usize {
    let mut conn = server.connect();
    let mut rng = Rng::new(9);
    let mut total = 0;
    while !done.load(Ordering::Relaxed) {
        let picked: Vec<usize> = (0..8).map(|_| rng.below(keys)).collect();
        let names: Vec<String> = picked.iter().map(|n| format!("{{big}}{n}")).collect();
        let mut bytes = Vec::new();
        for (name, n) in names.iter().zip(&picked) {
            bytes.extend(encode(&["GET", name]));
            bytes.extend(encode(&["SET", name, &n.to_string()]));
        }
        let mut all = vec!["MGET".to_owned()];
        all.extend(names.iter().cloned());
        bytes.extend(encode(&all));
        conn.send_bytes(&bytes);
        let values: Vec<Value> = picked.iter().map(|n| Value::bulk(n.to_string())).collect();
        for value in &values {
            assert_eq!(conn.receive(), *value);
            assert_eq!(conn.receive(), Value::ok());
        }
        assert_eq!(conn.receive(), Value::Array(values));
        total += picked.len();
    }
    total
}

/// The longest that a PING took.
fn longest_ping(server: &Server, done: &AtomicBool) -> Duration {
    let mut conn = server.connect();
    let mut longest = Duration::ZERO;
    while !done.load(Ordering::Relaxed) {
        let began = Instant::now();
        assert_eq!(conn.run("PING"), Value::simple("PONG"));
        longest = longest.max(began.elapsed());
    }
    longest
}
