//! Slots that move while logs are kept.

use std::time::Duration;

use ringdove_rig::{Scratch, Server, Value, encode};

use crate::load::Load;
use crate::{digest, fill, kills, start};

/// Moves slots from shard to shard, again and again, until the server is gone. How often.
fn move_until_killed(server: &Server, shards: usize) -> usize {
    let mut conn = server.connect();
    let mut moved = 0;
    for round in 0.. {
        let first = round * 5000 % 14000;
        let (slots, to) = (
            format!("{first}-{}", first + 2000),
            (round % shards).to_string(),
        );
        let words = ["RINGDOVE", "SLOTS", "MOVE", &slots, "TO", &to];
        if conn.try_send_bytes(&encode(&words)).is_err() {
            break;
        }
        match conn.try_receive() {
            Ok(Value::Int(_)) => moved += 1,
            // The log is being rewritten.
            Ok(reply) => assert!(reply.text().contains("snapshot"), "{reply:?}"),
            Err(_) => break,
        }
    }
    moved
}

fn under_load(options: &str) {
    let folder = Scratch::new();
    let mut load = Load::new();
    let mut moved = 0;
    for (round, shards) in [3, 2, 3, 1, 4, 4]
        .into_iter()
        .cycle()
        .take(kills(6))
        .enumerate()
    {
        let server = start(shards, &folder, options);
        let mut conn = server.connect();
        load.check(&mut conn, None);
        conn.run("SET filler x");
        let time = Duration::from_millis(300 + 130 * (round as u64 % 5));
        std::thread::scope(|scope| {
            let mover = scope.spawn(|| move_until_killed(&server, shards));
            load.run(&server, time);
            moved += mover.join().expect("it only stops");
        });
        drop(server); // killed
    }
    let server = start(2, &folder, options);
    load.check(&mut server.connect(), None);
    assert!(moved > 3, "slots have moved {moved} times");
    assert!(load.acknowledged() > 100, "there was a load");
}

#[test]
fn nothing_acknowledged_is_lost_while_slots_move() {
    under_load("--appendfsync always");
}

#[test]
fn nothing_acknowledged_is_lost_while_slots_move_and_the_log_is_rewritten() {
    under_load(
        "--appendfsync always --auto-aof-rewrite-min-size 64kb --auto-aof-rewrite-percentage 20",
    );
}

#[test]
fn the_dataset_is_the_same_wherever_its_slots_have_been() {
    let folder = Scratch::new();
    let mut before = String::new();
    for (round, shards) in [3, 3, 2, 3, 1].into_iter().enumerate() {
        let server = start(shards, &folder, "--appendfsync always");
        let mut conn = server.connect();
        if round > 0 {
            assert_eq!(digest(&mut conn), before, "{round}: {}", server.log());
        }
        fill(&mut conn, round);
        let moved = |conn: &mut ringdove_rig::Conn, first: u16, last: u16, to: usize| {
            let text = format!("RINGDOVE SLOTS MOVE {first}-{last} TO {}", to % shards);
            let reply = conn.run(&text);
            assert!(matches!(reply, Value::Int(_)), "{reply:?}");
        };
        // There and back, with what is deleted and flushed at each place.
        conn.run("MSET {there}a 1 {there}b 2 {back}a 3 {back}b 4");
        moved(&mut conn, 0, 16383, 0);
        conn.run("DEL {there}a string:1 string:2 list:1 before:base");
        conn.run("SELECT 5");
        conn.run("SET in:5 x");
        conn.run("SELECT 0");
        moved(&mut conn, 0, 9000, 1);
        conn.run("DEL {there}b string:3 string:4 list:2");
        conn.run("APPEND string:5 more");
        conn.run("SELECT 5");
        conn.run("FLUSHDB");
        conn.run("SET in:5 y");
        conn.run("SELECT 0");
        moved(&mut conn, 4000, 16383, 2);
        fill(&mut conn, round + 1);
        if round % 2 == 1 {
            // What follows builds on a base that was written when slots were elsewhere.
            conn.run("SET before:base x");
            let rewritten = server.info_number("aof_rewrites");
            conn.run("BGREWRITEAOF");
            super::rewriting::rewritten(&server, rewritten + 1);
            fill(&mut conn, round + 2);
            conn.run("SWAPDB 0 5");
            conn.run("SWAPDB 5 0");
        }
        moved(&mut conn, 0, 5000, 0);
        conn.run("DEL {back}a string:9");
        conn.run("APPEND string:5 even");
        if round == 3 {
            conn.run_ok("FLUSHALL");
            conn.run("SET after:flush x");
            moved(&mut conn, 0, 16383, 1);
        }
        before = digest(&mut conn);
        drop(server); // kills it
    }
    let server = start(4, &folder, "");
    assert_eq!(digest(&mut server.connect()), before);
}

/// A slot is one record of the log: one that would be too long stays where it is, and the log goes on.
#[test]
fn a_slot_that_the_log_cannot_take_is_refused() {
    let folder = Scratch::new();
    let server = start(2, &folder, "--appendfsync always");
    let mut conn = server.connect();
    conn.run_ok("DEBUG LOG-FAULT SLOT 20000");
    let long = "x".repeat(30_000);
    conn.call(&["SET", "{b}:long", &long]);
    conn.call(&["RPUSH", "{a}:list", "1", "2", "3"]);
    let slot = 3300; // of `b`
    for to in [0, 1, 0] {
        let reply = conn.run(&format!("RINGDOVE SLOTS MOVE 0-16383 TO {to}"));
        if reply.is_error() {
            let wanted = format!("slot {slot} holds more than the log takes at once");
            assert!(reply.text().contains(&wanted), "{reply:?}");
        }
    }
    let own = conn.run(&format!("RINGDOVE SLOTS MOVE {slot} TO 0"));
    let other = conn.run(&format!("RINGDOVE SLOTS MOVE {slot} TO 1"));
    assert!(own.is_error() != other.is_error(), "{own:?} {other:?}");
    conn.run_ok("SET after x");
    assert_eq!(server.info("aof_last_write_status"), "ok");
    let before = digest(&mut conn);
    drop(server); // kills it
    let server = start(2, &folder, "--appendfsync always");
    let mut conn = server.connect();
    assert_eq!(digest(&mut conn), before, "{}", server.log());
    let moved = |conn: &mut ringdove_rig::Conn| {
        let replies = [0, 1].map(|to| conn.run(&format!("RINGDOVE SLOTS MOVE {slot} TO {to}")));
        assert!(replies.iter().all(|reply| matches!(reply, Value::Int(_))));
    };
    moved(&mut conn);
    conn.run_ok("DEBUG LOG-FAULT SLOT 20000");
    conn.run_ok("CONFIG SET appendonly no");
    moved(&mut conn);
    assert_eq!(digest(&mut conn), before);
}
