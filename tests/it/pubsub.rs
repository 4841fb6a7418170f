//! Publish and subscribe across shards.
use crate::Ctx;
use ringdove_rig::{Conn, Value, encode, eventually};

crate::cases!(run:
    replies_are_redis_s,
    a_channel_has_one_order_and_a_true_count,
    nothing_published_after_the_confirmation_is_missed,
    what_was_written_before_a_message_is_seen_with_it,
    who_leaves_is_forgotten,
    who_leaves_amid_messages_is_forgotten,
    messages_of_a_block,
    a_slow_subscriber_is_cut_off,
    large_messages,
    keys_tell_of_their_events,
    resp3_subscribers_use_ordinary_commands,
);

/// `kind`, `name` and what follows, as a message arrives.
fn message(parts: &[&str]) -> Value {
    Value::Array(parts.iter().map(Value::bulk).collect())
}

fn confirmation(word: &str, name: &str, count: i64) -> Value {
    Value::Array(vec![
        Value::bulk(word),
        Value::bulk(name),
        Value::Int(count),
    ])
}

fn subscribe(conn: &mut Conn, channel: &str) {
    let confirmed = conn.call(&["SUBSCRIBE", channel]);
    assert_eq!(confirmed.items()[1], Value::bulk(channel));
}

fn replies_are_redis_s(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    conn.send(&["SUBSCRIBE", "a", "b", "a"]);
    assert_eq!(conn.receive(), confirmation("subscribe", "a", 1));
    assert_eq!(conn.receive(), confirmation("subscribe", "b", 2));
    assert_eq!(conn.receive(), confirmation("subscribe", "a", 2));
    assert_eq!(
        conn.run("PSUBSCRIBE n*"),
        confirmation("psubscribe", "n*", 3)
    );
    assert_eq!(conn.run("SSUBSCRIBE s"), confirmation("ssubscribe", "s", 1));
    assert_eq!(
        conn.run("GET x"),
        Value::error(
            "ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
             RESET are allowed in this context"
        )
    );
    assert_eq!(conn.run("PING"), message(&["pong", ""]));
    assert_eq!(conn.run("PING x"), message(&["pong", "x"]));

    let mut other = server.connect();
    assert_eq!(other.run("PUBLISH a hi"), Value::Int(1));
    assert_eq!(conn.receive(), message(&["message", "a", "hi"]));
    assert_eq!(other.run("PUBLISH news hi"), Value::Int(1));
    assert_eq!(conn.receive(), message(&["pmessage", "n*", "news", "hi"]));
    assert_eq!(other.run("SPUBLISH s hi"), Value::Int(1));
    assert_eq!(conn.receive(), message(&["smessage", "s", "hi"]));
    assert_eq!(other.run("SPUBLISH a hi"), Value::Int(0));
    let counts = other.run("PUBSUB NUMSUB a b none");
    let wanted = [("a", 1), ("b", 1), ("none", 0)];
    let wanted = wanted.map(|(name, count)| (name.to_owned(), Value::Int(count)));
    assert_eq!(counts.pairs(), wanted);
    assert_eq!(other.run("PUBSUB NUMPAT"), Value::Int(1));
    assert_eq!(other.run("PUBSUB CHANNELS a*"), message(&["a"]));
    assert_eq!(other.run("PUBSUB SHARDCHANNELS"), message(&["s"]));
    assert_eq!(server.info_number("pubsub_channels"), 2);
    assert_eq!(server.info_number("pubsub_patterns"), 1);
    let list = other.run("CLIENT LIST TYPE pubsub").text();
    assert!(list.contains(" flags=P "), "{list}");
    assert!(list.contains(" sub=2 psub=1 "), "{list}");

    conn.send(&["UNSUBSCRIBE"]);
    let mut left = [conn.receive(), conn.receive()];
    left.sort_by_key(|reply| reply.items()[1].text());
    assert_eq!(
        left[0].items()[..2],
        message(&["unsubscribe", "a"]).items()[..]
    );
    assert_eq!(
        left[1].items()[..2],
        message(&["unsubscribe", "b"]).items()[..]
    );
    assert_eq!(
        conn.run("PUNSUBSCRIBE n*"),
        confirmation("punsubscribe", "n*", 0)
    );
    assert_eq!(
        conn.run("SUNSUBSCRIBE s"),
        confirmation("sunsubscribe", "s", 0)
    );
    assert_eq!(conn.run("GET x"), Value::NilBulk);
    let none = Value::Array(vec![
        Value::bulk("unsubscribe"),
        Value::NilBulk,
        Value::Int(0),
    ]);
    assert_eq!(conn.run("UNSUBSCRIBE"), none);
}

/// Several publishers, subscribers on all shards, by channel and by pattern.
fn a_channel_has_one_order_and_a_true_count(ctx: &Ctx) {
    const PUBLISHERS: usize = 4;
    const MESSAGES: usize = 300;
    let server = ctx.start();
    let mut subscribers: Vec<Conn> = (0..6).map(|_| server.connect()).collect();
    for (at, conn) in subscribers.iter_mut().enumerate() {
        let line = ["SUBSCRIBE room", "PSUBSCRIBE r*m"][at % 2];
        conn.run(line);
    }
    let threads: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let mut conn = server.connect();
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                for n in 0..MESSAGES {
                    bytes.extend(encode(&["PUBLISH", "room", &format!("{publisher}:{n}")]));
                }
                conn.send_bytes(&bytes);
                for _ in 0..MESSAGES {
                    assert_eq!(conn.receive(), Value::Int(6));
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|t| t.join().expect("published"));
    let mut orders = subscribers.iter_mut().map(|conn| {
        let text = |_| conn.receive().items().last().expect("a message").text();
        (0..PUBLISHERS * MESSAGES).map(text).collect::<Vec<_>>()
    });
    let first = orders.next().expect("a subscriber");
    assert!(orders.all(|order| order == first), "one order for all");
    for publisher in 0..PUBLISHERS {
        let prefix = format!("{publisher}:");
        let own: Vec<_> = first.iter().filter(|m| m.starts_with(&prefix)).collect();
        let sent: Vec<_> = (0..MESSAGES).map(|n| format!("{publisher}:{n}")).collect();
        assert!(own.into_iter().eq(&sent), "the publisher's order is kept");
    }
}

fn nothing_published_after_the_confirmation_is_missed(ctx: &Ctx) {
    let server = ctx.start();
    let mut publishers: Vec<Conn> = (0..3).map(|_| server.connect()).collect();
    for round in 0..200 {
        let channel = format!("channel:{round}");
        let mut conn = server.connect();
        let command = ["SUBSCRIBE", "PSUBSCRIBE"][round % 2];
        conn.call(&[command, &channel]);
        for publisher in &mut publishers {
            assert_eq!(publisher.call(&["PUBLISH", &channel, "x"]), Value::Int(1));
        }
        for _ in &publishers {
            assert_eq!(conn.receive().items().last(), Some(&Value::bulk("x")));
        }
        // And nothing after the confirmation that it has ended.
        let end = ["UNSUBSCRIBE", "PUNSUBSCRIBE"][round % 2];
        assert_eq!(
            conn.call(&[end, &channel]),
            confirmation(&end.to_lowercase(), &channel, 0)
        );
        assert_eq!(
            publishers[0].call(&["PUBLISH", &channel, "x"]),
            Value::Int(0)
        );
    }
}

fn what_was_written_before_a_message_is_seen_with_it(ctx: &Ctx) {
    let server = ctx.start();
    let mut subscriber = server.connect();
    subscribe(&mut subscriber, "jobs");
    let (mut writer, mut reader) = (server.connect(), server.connect());
    const JOBS: usize = 300;
    let mut bytes = Vec::new();
    for job in 0..JOBS {
        bytes.extend(encode(&["SET", &format!("job:{job}"), "there"]));
        bytes.extend(encode(&["PUBLISH", "jobs", &format!("job:{job}")]));
    }
    writer.send_bytes(&bytes);
    for _ in 0..JOBS {
        let job = subscriber.receive().items()[2].text();
        assert_eq!(reader.call(&["GET", &job]), Value::bulk("there"), "{job}");
    }
}

fn who_leaves_is_forgotten(ctx: &Ctx) {
    let server = ctx.start();
    let mut other = server.connect();
    for round in 0..30 {
        let mut conn = server.connect();
        subscribe(&mut conn, &format!("c{round}"));
        conn.run("PSUBSCRIBE p*");
        match round % 3 {
            0 => drop(conn),
            1 => conn.reset(),
            _ => {
                assert_eq!(conn.run("RESET"), Value::simple("RESET"));
                assert_eq!(conn.run("PING"), Value::simple("PONG"));
            }
        }
    }
    eventually("all are forgotten", 10, || {
        let none = other.run("PUBSUB CHANNELS").items().is_empty();
        (none && other.run("PUBSUB NUMPAT") == Value::Int(0)).then_some(())
    });
    if !ctx.is_redis() {
        assert_eq!(server.info_number("pubsub_clients"), 0);
    }
}

/// Many are sent to a few at a time: of two hundred that a pipeline of messages is on its way to, half
/// go before it has come to them. The others hear everything, in order.
fn who_leaves_amid_messages_is_forgotten(ctx: &Ctx) {
    const MESSAGES: i64 = 200;
    let server = ctx.start();
    let mut publisher = server.connect();
    for round in 0..3 {
        let mut leaving = Vec::new();
        let mut staying = Vec::new();
        for n in 0..200 {
            let mut conn = server.connect();
            subscribe(&mut conn, "news");
            match n % 2 {
                0 => leaving.push(conn),
                _ => staying.push(conn),
            }
        }
        for n in 0..MESSAGES {
            publisher.send(&["PUBLISH", "news", &n.to_string()]);
        }
        for (n, mut conn) in leaving.into_iter().enumerate() {
            match (n + round) % 3 {
                0 => conn.reset(),
                1 => conn.send(&["UNSUBSCRIBE"]),
                _ => conn.send(&["RESET"]),
            }
        }
        for n in 0..MESSAGES {
            let heard = publisher.receive().int();
            assert!((100..=200).contains(&heard), "message {n}: {heard}");
        }
        for conn in &mut staying {
            for n in 0..MESSAGES {
                assert_eq!(
                    conn.receive(),
                    message(&["message", "news", &n.to_string()])
                );
            }
            assert_eq!(conn.run("PING x"), message(&["pong", "x"]));
        }
        drop(staying);
        eventually("all are forgotten", 10, || {
            let none = publisher.run("PUBSUB NUMSUB news").pairs();
            (none[0].1 == Value::Int(0)).then_some(())
        });
    }
    assert_eq!(publisher.run("PING"), Value::simple("PONG"));
}

fn messages_of_a_block(ctx: &Ctx) {
    let server = ctx.start();
    let mut subscriber = server.connect();
    subscribe(&mut subscriber, "q");
    let mut conn = server.connect();
    for _ in 0..50 {
        conn.run_ok("MULTI");
        for line in [
            "SET k1 1",
            "SET k2 2",
            "PUBLISH q m",
            "INCR k1",
            "PUBLISH none m",
        ] {
            assert_eq!(conn.run(line), Value::simple("QUEUED"));
        }
        let replies = [
            Value::ok(),
            Value::ok(),
            Value::Int(1),
            Value::Int(2),
            Value::Int(0),
        ];
        assert_eq!(conn.run("EXEC"), Value::Array(replies.to_vec()));
        assert_eq!(subscriber.receive(), message(&["message", "q", "m"]));
    }
}

fn a_slow_subscriber_is_cut_off(ctx: &Ctx) {
    let server = ctx.start_with("--client-output-buffer-limit pubsub 1mb 0 0");
    let mut slow = server.connect();
    slow.shrink_receive_buffer();
    subscribe(&mut slow, "flood");
    let mut keen = server.connect();
    subscribe(&mut keen, "flood");
    let mut conn = server.connect();
    let text = "x".repeat(10_000);
    eventually("the slow one is cut off", 30, || {
        let reached = conn.call(&["PUBLISH", "flood", &text]);
        if reached == Value::Int(1) {
            return Some(());
        }
        assert_eq!(keen.receive().items()[2].text().len(), text.len());
        None
    });
    assert_eq!(keen.receive().items()[2].text().len(), text.len());
    if !ctx.is_redis() {
        assert!(server.info_number("client_output_buffer_limit_disconnections") >= 1);
    }
}

fn large_messages(ctx: &Ctx) {
    let server = ctx.start();
    let mut subscribers: Vec<Conn> = (0..4).map(|_| server.connect()).collect();
    subscribers
        .iter_mut()
        .for_each(|conn| subscribe(conn, "big"));
    let mut conn = server.connect();
    for bytes in [16_383, 16_384, 100_000, 3_000_000] {
        let text: String = (0..bytes)
            .map(|at| char::from(b'a' + (at % 26) as u8))
            .collect();
        assert_eq!(conn.call(&["PUBLISH", "big", &text]), Value::Int(4));
        for subscriber in &mut subscribers {
            assert_eq!(subscriber.receive(), message(&["message", "big", &text]));
        }
    }
}

/// The order is Redis's for each key; keys of different shards tell side by side.
fn keys_tell_of_their_events(ctx: &Ctx) {
    let server = ctx.start_with("--notify-keyspace-events KEAmn");
    let mut subscriber = server.connect();
    subscriber.run("PSUBSCRIBE __keyspace@0__:{k}*");
    let mut by_event = server.connect();
    by_event.run("SUBSCRIBE __keyevent@0__:expired");
    let mut conn = server.connect();
    let mut heard = |key: &str, events: &[&str]| {
        for event in events {
            let channel = format!("__keyspace@0__:{{k}}{key}");
            let pattern = "__keyspace@0__:{k}*";
            let wanted = message(&["pmessage", pattern, &channel, event]);
            assert_eq!(subscriber.receive(), wanted);
        }
    };
    conn.run_ok("SET {k}a 1");
    heard("a", &["new", "set"]);
    conn.run("INCR {k}a");
    heard("a", &["incrby"]);
    conn.run("GET {k}none");
    heard("none", &["keymiss"]);
    conn.run("APPEND {k}a x");
    heard("a", &["append"]);
    conn.run_ok("MULTI");
    conn.run("SET {k}b 1 EX 100");
    conn.run("SET other x");
    conn.run("DEL {k}a");
    conn.run("EXEC");
    heard("b", &["new", "set", "expire"]);
    heard("a", &["del"]);
    conn.run_ok("RENAME {k}b {k}c");
    heard("c", &["new"]);
    heard("b", &["rename_from"]);
    heard("c", &["rename_to"]);
    conn.run("PEXPIRE {k}c 1");
    heard("c", &["expire", "expired"]);
    let wanted = message(&["message", "__keyevent@0__:expired", "{k}c"]);
    assert_eq!(by_event.receive(), wanted);
    conn.run_ok("CONFIG SET notify-keyspace-events \"\"");
    conn.run_ok("SET {k}a 1");
    conn.run_ok("CONFIG SET notify-keyspace-events KA");
    conn.run("DEL {k}a");
    heard("a", &["del"]);
}

fn resp3_subscribers_use_ordinary_commands(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect_resp3();
    let mut other = server.connect();
    let pushed = |value: Value, parts: &[&str]| match value {
        Value::Push(items) => assert_eq!(Value::Array(items), message(parts)),
        other => panic!("{other:?} is no push"),
    };
    conn.send(&["SUBSCRIBE", "a"]);
    assert!(matches!(conn.receive(), Value::Push(_)));
    assert_eq!(conn.run("SET k v"), Value::ok());
    assert_eq!(other.run("PUBLISH a hi"), Value::Int(1));
    pushed(conn.receive(), &["message", "a", "hi"]);
    assert_eq!(conn.run("GET k"), Value::bulk("v"));
    // CLIENT REPLY silences replies, not messages.
    conn.send(&["CLIENT", "REPLY", "OFF"]);
    conn.send(&["SUBSCRIBE", "b"]);
    assert!(matches!(conn.receive(), Value::Push(_)));
    assert_eq!(other.run("PUBLISH b hi"), Value::Int(1));
    pushed(conn.receive(), &["message", "b", "hi"]);
}
