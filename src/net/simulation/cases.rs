//! What was found once by a seed, or by thinking, step by step: each case delivers the batches in the
//! order that it is about.

use super::{SHARDS, World};
use crate::net::dispatch::OUTGOING_MAX;
use crate::net::engine::Engine;

/// The owner of the watched key lends before it expires, and another shard after it. The block would
/// run at a time at which the key is gone, so it must not run.
#[test]
fn a_watched_key_that_expires_while_exec_gathers_its_locks_refuses_it() {
    let (start, due) = (1_000_000, 1_000_010);
    for between in ["", "DBSIZE\r\n"] {
        for (late, refused) in [(start, false), (due, true)] {
            let mut world = World::new(1, 1);
            let home = world.clients[0].home;
            let (early, other) = ((home + 1) % SHARDS, (home + 2) % SHARDS);
            let (watched, written) = (world.key_of(early), world.key_of(other));
            world.set_clocks(start);
            world.send_text(0, &format!("SET {watched} v PXAT {due}\r\n"));
            world.send_text(0, &format!("WATCH {watched}\r\n"));
            assert_eq!(world.answers(), "+OK\r\n+OK\r\n");
            let block = format!("MULTI\r\n{between}GET {watched}\r\nINCR {written}\r\nEXEC\r\n");
            world.send_text(0, &block);
            world.deliver(home, early);
            world.set_clocks(late);
            let reply = world.answers();
            let last = if refused {
                "*-1\r\n"
            } else {
                "$1\r\nv\r\n:1\r\n"
            };
            assert!(reply.ends_with(last), "{between:?}, {refused}: {reply:?}");
            assert_eq!(world.value(&written), i64::from(!refused));
            for engine in &world.engines {
                assert!(engine.shard.txns.is_drained() && !engine.shard.txns.has_watches());
            }
        }
    }
}

/// Who reads keys of several owners, some of which answer while a key is there that expires before
/// all is held, sees them at one time: the key gone beside what was written after it had expired.
#[test]
fn a_key_that_expires_while_a_read_gathers_its_locks_is_not_seen() {
    let (start, due) = (1_000_000, 1_000_010);
    for (late, gone) in [(start, false), (due - 1, false), (due, true)] {
        let mut world = World::new(1, 1);
        let home = world.clients[0].home;
        let (early, other) = ((home + 1) % SHARDS, (home + 2) % SHARDS);
        let (k, m) = (world.key_of(early), world.key_of(other));
        world.set_clocks(start);
        world.send_text(0, &format!("SET {k} v PXAT {due}\r\nSET {m} w\r\n"));
        assert_eq!(world.answers(), "+OK\r\n+OK\r\n");
        let v = if gone { "$-1\r\n" } else { "$1\r\nv\r\n" };
        let both = 2 - i64::from(gone);
        for (ask, answer) in [
            (format!("MGET {k} {m}"), format!("*2\r\n{v}$1\r\nw\r\n")),
            (format!("EXISTS {m} {k}"), format!(":{both}\r\n")),
            (
                format!("MULTI\r\nGET {m}\r\nGET {k}\r\nEXEC"),
                format!("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n$1\r\nw\r\n{v}"),
            ),
            ("KEYS *".into(), format!("*{both}\r\n")),
        ] {
            world.set_clocks(start);
            world.send_text(0, &format!("{ask}\r\n"));
            world.deliver(home, early);
            world.set_clocks(late);
            let seen = world.answers();
            assert!(seen.starts_with(&answer), "{ask} at {late}: {seen:?}");
            assert!(world.engines.iter().all(Engine::is_drained));
            // What was found expired is gone, and comes back for the next.
            world.set_clocks(start);
            world.send_text(0, &format!("SET {k} v PXAT {due}\r\n"));
            assert_eq!(world.answers(), "+OK\r\n");
        }
    }
}

/// Three clients at three shards; `k` is a key of the first one's, `m` of the second one's.
fn three_clients() -> (World, String, String) {
    let world = World::new(1, 3);
    let homes: Vec<usize> = world.clients.iter().map(|client| client.home).collect();
    assert_eq!(homes, [0, 1, 2], "connections are dealt in turn");
    let (k, m) = (world.key_of(0), world.key_of(1));
    (world, k, m)
}

/// A list that somebody waits for is lent on, to who does nothing with it, before the push that
/// filled it is served. While it is lent it looks empty, and when it is back nothing has changed.
#[test]
fn a_key_that_is_lent_is_not_taken_for_empty_by_who_waits_for_it() {
    let (mut world, k, m) = three_clients();
    world.send_text(0, &format!("BLPOP {k} 0\r\n"));
    world.send_text(1, &format!("MULTI\r\nRPUSH {k} a\r\nSET {m} x\r\nEXEC\r\n"));
    world.deliver(1, 0);
    world.send_text(2, &format!("RENAMENX {k} {m}\r\n"));
    world.deliver(2, 0);
    world.deliver(0, 1);
    let element = format!("*2\r\n${}\r\n{k}\r\n$1\r\na\r\n", k.len());
    assert_eq!(world.answers(), element);
}

/// The service of the first is a transaction, for it writes to another shard's key. The second does
/// not take the element meanwhile.
#[test]
fn who_waits_behind_a_move_to_another_shard_does_not_pass_it() {
    let (mut world, k, m) = three_clients();
    world.send_text(0, &format!("BLMOVE {k} {m} LEFT RIGHT 0\r\n"));
    assert_eq!(world.answers(), "");
    world.send_text(2, &format!("BLPOP {k} 0\r\n"));
    assert_eq!(world.answers(), "");
    let other = format!("{{{m}}}");
    world.send_text(
        1,
        &format!("MULTI\r\nRPUSH {k} a\r\nSET {other} x\r\nEXEC\r\n"),
    );
    assert_eq!(world.answers(), "$1\r\na\r\n");
}

/// Two that wait for a transaction to end: a push, and a pop by somebody else. What the push brings
/// goes to who has waited for it before, though that takes a transaction, and not to the pop.
#[test]
fn a_push_is_given_away_before_the_next_command_runs() {
    let mut world = World::new(1, 5);
    let (k, m) = (world.key_of(0), world.key_of(1));
    world.send_text(0, &format!("BLMOVE {k} {m} LEFT RIGHT 0\r\n"));
    assert_eq!(world.answers(), "");
    // Clients 2, 3 and 4 are of shards 2, 0 and 1.
    world.send_text(2, &format!("RENAMENX {k} {m}\r\n"));
    world.deliver(2, 0);
    world.send_text(4, &format!("RPUSH {k} a\r\n"));
    world.deliver(1, 0);
    world.send_text(3, &format!("LPOP {k}\r\n"));
    assert_eq!(world.answers(), "$1\r\na\r\n");
    let popped = std::mem::take(&mut world.clients[3].received);
    assert_eq!(String::from_utf8_lossy(&popped), "$-1\r\n");
    assert!(world.engines.iter().all(Engine::is_drained));
}

/// As on Redis, a command of a pipeline does not find what the one before it has brought to somebody
/// who waits.
#[test]
fn a_pipeline_over_shards_gives_to_who_waits() {
    for wait in ["BLPOP {k} 0\r\n", "BLMOVE {k} {m} LEFT RIGHT 0\r\n"] {
        let (mut world, k, m) = three_clients();
        let wait = wait.replace("{k}", &k).replace("{m}", &m);
        world.send_text(0, &wait);
        assert_eq!(world.answers(), "");
        let (near, far) = (format!("n{{{m}}}"), format!("f{{{k}}}"));
        let pipeline = format!(
            "SET {near} 1\r\nRPUSH {k} a\r\nSET {near} 2\r\nLPOP {k}\r\n\
             SET {near} 3\r\nSET {far} 1\r\nSET {near} 4\r\nSET {far} 2\r\n"
        );
        world.send_text(1, &pipeline);
        assert!(world.answers().ends_with("$1\r\na\r\n"), "{wait}");
        let answers = std::mem::take(&mut world.clients[1].received);
        let answers = String::from_utf8(answers).expect("text");
        assert_eq!(
            answers,
            "+OK\r\n:1\r\n+OK\r\n$-1\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n"
        );
        assert!(world.engines.iter().all(Engine::is_drained));
    }
}

/// The client of a service that waits for another shard goes: who waits behind it is served.
#[test]
fn a_service_that_is_given_up_leaves_the_key_to_the_next() {
    let (mut world, k, m) = three_clients();
    world.send_text(0, &format!("BLMOVE {k} {m} LEFT RIGHT 0\r\n"));
    world.send_text(2, &format!("BLPOP {k} 0\r\n"));
    assert_eq!(world.answers(), "");
    world.send_text(1, &format!("RPUSH {k} a\r\n"));
    world.deliver(1, 0);
    let conn = world.clients[0].conn.take().expect("it waits");
    world.engines[0].disconnected(conn);
    world.end_turn(0);
    assert_eq!(world.answers(), "");
    let element = format!("*2\r\n${}\r\n{k}\r\n$1\r\na\r\n", k.len());
    let answers = std::mem::take(&mut world.clients[2].received);
    assert_eq!(String::from_utf8_lossy(&answers), element);
    assert!(world.engines.iter().all(Engine::is_drained));
}

/// Who waits for several keys is served from the one that came to hold something first, as on Redis,
/// and takes nothing from another for which somebody has waited before him.
#[test]
fn who_waits_for_several_keys_passes_nobody_at_the_others() {
    let mut world = World::new(1, 4);
    let k = world.key_of(0);
    let (from, to) = (format!("from{{{k}}}"), format!("to{{{k}}}"));
    let waits = [
        format!("BRPOPLPUSH {from} {to} 0\r\n"),
        format!("BLPOP {to} 0\r\n"),
        format!("BLPOP {to} {from} 0\r\n"),
    ];
    for (client, wait) in waits.iter().enumerate() {
        world.send_text(client, wait);
        assert_eq!(world.answers(), "");
    }
    world.send_text(3, &format!("RPUSH {from} a b\r\n"));
    assert_eq!(world.answers(), "$1\r\nb\r\n");
    let mut received = |client: usize| {
        String::from_utf8(std::mem::take(&mut world.clients[client].received)).expect("text")
    };
    assert!(received(1).ends_with("$1\r\nb\r\n"));
    assert!(received(2).ends_with("$1\r\na\r\n"));
}

/// Transactions of a pipeline gather their locks side by side: all of them are answered after one
/// round, in their order, and a read among them sees what was written before it and no more.
#[test]
fn transactions_of_a_pipeline_take_one_round() {
    let mut world = World::new(1, 1);
    let home = world.clients[0].home;
    let (near, far) = ((home + 1) % SHARDS, (home + 2) % SHARDS);
    let (k, m) = (world.key_of(near), world.key_of(far));
    let write = |n| format!("MSET {k} {n} {m} {n}\r\n");
    let other = format!("MSET a{{{k}}} x b{{{m}}} x\r\n");
    let read = format!("MGET {k} {m}\r\n");
    let renamed = format!("RENAME a{{{k}}} b{{{m}}}\r\n");
    let pipeline = [write(1), read.clone(), other, write(2), renamed, read].concat();
    world.send_text(0, &pipeline);
    for peer in [near, far] {
        world.deliver(home, peer);
    }
    let seen = |n| format!("*2\r\n$1\r\n{n}\r\n$1\r\n{n}\r\n");
    let ok = "+OK\r\n";
    // The locks of what conflicts are free when those before it are released: a round for these.
    let answers = world.answers();
    let wanted = [ok, &seen(1), ok, ok, ok, &seen(2)].concat();
    assert_eq!(answers, wanted);
    // Without a conflict everything is there after one.
    let pairs: Vec<String> = (0..8)
        .map(|n| format!("MSET {n}{{{k}}} {n} {n}{{{m}}} {n}\r\n"))
        .collect();
    world.send_text(0, &pairs.concat());
    for peer in [near, far] {
        world.deliver(home, peer);
    }
    for peer in [near, far] {
        world.deliver(peer, home);
    }
    let received = std::mem::take(&mut world.clients[0].received);
    assert_eq!(String::from_utf8_lossy(&received), ok.repeat(8));
    world.answers();
    assert!(world.engines.iter().all(Engine::is_drained));
}

/// What a client that broadcasts is to hear of does not grow without bound while the lane to its
/// shard is full.
#[test]
fn changes_that_a_full_lane_has_no_room_for_are_told_as_one() {
    let (mut world, _, m) = three_clients();
    world.send_text(0, "HELLO 3\r\nCLIENT TRACKING ON BCAST\r\n");
    world.answers();
    let key = |n: usize| format!("{{{m}}}{n}{}", "x".repeat(64 * 1024));
    let (home, conn) = (1, world.clients[1].conn.expect("stays"));
    for n in 0..100 {
        let text = key(n);
        let set = format!(
            "*3\r\n$3\r\nSET\r\n${}\r\n{text}\r\n$1\r\nv\r\n",
            text.len()
        );
        world.engines[home].receive(conn, set.as_bytes());
        world.engines[home].run_batch();
    }
    let waiting = world.engines[home].outgoing[0].buf.len();
    assert!(waiting < 2 * OUTGOING_MAX, "{waiting}");
    world.end_turn(home);
    assert!(world.engines[home].has_work(), "it has more to tell");
    world.end_turn(home);
    let heard = world.answers();
    assert!(heard.contains(&key(0)) && !heard.contains(&key(99)));
    let all = ">2\r\n$10\r\ninvalidate\r\n_\r\n";
    assert!(heard.ends_with(all) && heard.matches(all).count() == 1);
    assert!(!world.engines[home].has_work());
    world.send_text(1, &format!("SET {m} v\r\n"));
    assert!(world.answers().contains(&m), "keys are named again");
}
