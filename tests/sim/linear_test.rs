//! The search finds an order where there is one, and only there.

use crate::linear::{Event, Found, explain};
use crate::model::{Answer, Cmd, Op, SetHow, Step};

/// What a connection did: sent and answered at these times, which are clock times, too.
fn event(connection: u32, sent: u64, answered: u64, op: Op, answer: Answer) -> Event {
    Event {
        connection,
        sent: (sent, sent),
        answered: Some((answered, answered)),
        answer: Some(answer),
        op,
    }
}

/// The same, never answered.
fn lost(connection: u32, sent: u64, op: Op) -> Event {
    Event {
        answered: None,
        answer: None,
        ..event(connection, sent, sent, op, Answer::Null)
    }
}

fn one(cmd: Cmd) -> Op {
    Op::One(Step { db: 0, cmd })
}

fn set(key: u8, value: &str) -> Op {
    one(Cmd::Set(key, value.into(), SetHow::Plain))
}

fn get(key: u8) -> Op {
    one(Cmd::Get(key))
}

fn bulk(value: &str) -> Answer {
    Answer::Bulk(value.into())
}

fn ok() -> Answer {
    Answer::Simple("OK".into())
}

#[track_caller]
fn possible(events: &[Event]) {
    assert_eq!(explain(events, 2, 8), Found::Order);
}

#[track_caller]
fn impossible(events: &[Event]) {
    let found = explain(events, 2, 8);
    assert!(matches!(found, Found::Nothing { .. }), "{found:?}");
}

#[test]
fn what_was_answered_is_seen_by_who_asks_afterwards() {
    let write = event(1, 1, 2, set(1, "a"), ok());
    possible(&[write.clone(), event(2, 3, 4, get(1), bulk("a"))]);
    impossible(&[write.clone(), event(2, 3, 4, get(1), Answer::Null)]);
    // Asked before it was answered: either.
    let early = event(1, 1, 9, set(1, "a"), ok());
    possible(&[early.clone(), event(2, 3, 4, get(1), bulk("a"))]);
    possible(&[early.clone(), event(2, 3, 4, get(1), Answer::Null)]);
    // But nobody sees less than somebody before him.
    impossible(&[
        early,
        event(2, 3, 4, get(1), bulk("a")),
        event(3, 5, 6, get(1), Answer::Null),
    ]);
}

#[test]
fn half_of_a_write_is_seen_by_nobody() {
    let pairs = vec![(1, b"a".to_vec()), (2, b"b".to_vec())];
    let write = event(1, 1, 9, one(Cmd::MSet(pairs)), ok());
    let both = one(Cmd::MGet(vec![1, 2]));
    let seen = |a: Answer, b: Answer| event(2, 2, 3, both.clone(), Answer::Array(vec![a, b]));
    possible(&[write.clone(), seen(bulk("a"), bulk("b"))]);
    possible(&[write.clone(), seen(Answer::Null, Answer::Null)]);
    impossible(&[write.clone(), seen(bulk("a"), Answer::Null)]);
    impossible(&[write, seen(Answer::Null, bulk("b"))]);
}

#[test]
fn two_reads_agree_on_the_order_of_two_writes() {
    let writes = [
        event(1, 1, 9, set(1, "a"), ok()),
        event(2, 1, 9, set(2, "b"), ok()),
    ];
    let read = |connection, a: Answer, b: Answer| {
        let both = one(Cmd::MGet(vec![1, 2]));
        event(connection, 2, 8, both, Answer::Array(vec![a, b]))
    };
    let mut history = writes.to_vec();
    history.push(read(3, bulk("a"), Answer::Null));
    possible(&history);
    history.push(read(4, Answer::Null, bulk("b")));
    impossible(&history);
}

#[test]
fn writes_of_one_connection_are_seen_in_their_order() {
    let writes = |other| [lost(1, 1, set(1, "job")), lost(other, 2, set(2, "queued"))];
    let looks = [
        event(3, 3, 4, get(2), bulk("queued")),
        event(3, 5, 6, get(1), Answer::Null),
    ];
    impossible(&[&writes(1)[..], &looks[..]].concat());
    possible(&[&writes(2)[..], &looks[..]].concat());
}

#[test]
fn what_was_lost_happened_whole_or_not() {
    let block = vec![
        Step {
            db: 0,
            cmd: Cmd::Set(1, b"a".to_vec(), SetHow::Plain),
        },
        Step {
            db: 1,
            cmd: Cmd::Set(2, b"b".to_vec(), SetHow::Plain),
        },
    ];
    let other = |answer| {
        let step = Step {
            db: 1,
            cmd: Cmd::Get(2),
        };
        event(2, 5, 6, Op::One(step), answer)
    };
    let block = lost(1, 1, Op::Block(block));
    possible(&[
        block.clone(),
        event(2, 3, 4, get(1), bulk("a")),
        other(bulk("b")),
    ]);
    impossible(&[
        block.clone(),
        event(2, 3, 4, get(1), bulk("a")),
        other(Answer::Null),
    ]);
    possible(&[
        block,
        event(2, 3, 4, get(1), Answer::Null),
        other(Answer::Null),
    ]);
}

#[test]
fn a_watched_key_that_changed_and_only_that_refuses() {
    let watch = event(1, 1, 2, Op::Watch(0, vec![1]), ok());
    let block = || {
        let cmd = Cmd::Set(2, b"b".to_vec(), SetHow::Plain);
        Op::Block(vec![Step { db: 0, cmd }])
    };
    let ran = event(1, 5, 6, block(), Answer::Array(vec![ok()]));
    let refused = event(1, 5, 6, block(), Answer::NullArray);
    let write = event(2, 3, 4, set(1, "a"), ok());
    possible(&[watch.clone(), ran.clone()]);
    impossible(&[watch.clone(), refused.clone()]);
    possible(&[watch.clone(), write.clone(), refused.clone()]);
    impossible(&[watch.clone(), write.clone(), ran.clone()]);
    // A write that changes nothing refuses nothing.
    let absent = event(2, 3, 4, one(Cmd::Del(vec![1])), Answer::Number(0));
    possible(&[watch.clone(), absent, ran.clone()]);
    // Neither does what came before, or what ends the watch.
    let early = event(2, 0, 0, set(1, "a"), ok());
    impossible(&[early, watch.clone(), refused]);
    let unwatch = event(1, 4, 5, Op::EndWatches, ok());
    possible(&[
        watch,
        write,
        unwatch,
        event(1, 6, 7, block(), Answer::Array(vec![ok()])),
    ]);
}

#[test]
fn a_key_expires_in_its_time() {
    let how = SetHow::ExpireAt(10);
    let write = event(1, 1, 2, one(Cmd::Set(1, b"a".to_vec(), how)), ok());
    possible(&[write.clone(), event(2, 3, 4, get(1), bulk("a"))]);
    impossible(&[write.clone(), event(2, 3, 4, get(1), Answer::Null)]);
    possible(&[write.clone(), event(2, 12, 13, get(1), Answer::Null)]);
    impossible(&[write.clone(), event(2, 12, 13, get(1), bulk("a"))]);
    // Asked before and answered after: either, but it does not come back.
    possible(&[write.clone(), event(2, 9, 13, get(1), bulk("a"))]);
    possible(&[write.clone(), event(2, 9, 13, get(1), Answer::Null)]);
    impossible(&[
        write.clone(),
        event(2, 7, 12, get(1), Answer::Null),
        event(3, 13, 14, get(1), bulk("a")),
    ]);
    // An expiry refuses, as any change does.
    let watch = event(1, 3, 4, Op::Watch(0, vec![1]), ok());
    let block = |answer| event(1, 12, 13, Op::Block(Vec::new()), answer);
    possible(&[write.clone(), watch.clone(), block(Answer::NullArray)]);
    impossible(&[write, watch, block(Answer::Array(Vec::new()))]);
}

#[test]
fn exec_ends_the_watches_sent_before_it_and_no_others() {
    let block = |sent, key, answer: Answer| {
        let cmd = Cmd::Get(key);
        event(1, sent, 9, Op::Block(vec![Step { db: 0, cmd }]), answer)
    };
    let ran = |value: Answer| Answer::Array(vec![value]);
    let watch = event(1, 2, 4, Op::Watch(0, vec![1]), ok());
    let write = |at| event(2, at, at + 1, set(1, "a"), ok());
    // Of one pipeline: a block that reads what is written after the watch is registered...
    let first = block(1, 1, ran(bulk("a")));
    // ... does not end that watch, which the write has spoilt for the next.
    let pipeline = |answer| [first.clone(), watch.clone(), block(7, 2, answer), write(5)];
    possible(&pipeline(Answer::NullArray));
    impossible(&pipeline(ran(Answer::Null)));
    // The second ends what stands before the first no more.
    let earlier = event(1, 0, 4, Op::Watch(0, vec![1]), ok());
    let two = |one, other| {
        [
            earlier.clone(),
            write(5),
            block(6, 2, one),
            block(7, 2, other),
        ]
    };
    possible(&two(Answer::NullArray, ran(Answer::Null)));
    impossible(&two(ran(Answer::Null), Answer::NullArray));
    impossible(&two(Answer::NullArray, Answer::NullArray));
}

#[test]
fn reads_of_a_pipeline_may_change_places_but_not_with_its_writes() {
    let write = event(2, 4, 5, set(1, "a"), ok());
    let step = |cmd| Step { db: 0, cmd };
    let block = |cmd, answer| {
        event(
            1,
            1,
            9,
            Op::Block(vec![step(cmd)]),
            Answer::Array(vec![answer]),
        )
    };
    let read = event(1, 2, 9, get(1), Answer::Null);
    possible(&[write.clone(), block(Cmd::Get(1), bulk("a")), read.clone()]);
    let append = block(Cmd::Append(1, b"b".to_vec()), Answer::Number(2));
    impossible(&[write.clone(), append, read.clone()]);
    // Behind a WATCH of the key it sees what is watched.
    let watch = event(1, 1, 9, Op::Watch(0, vec![1]), ok());
    let ran = event(1, 10, 11, Op::Block(Vec::new()), Answer::Array(Vec::new()));
    let seen = event(1, 2, 9, get(1), bulk("a"));
    possible(&[write.clone(), watch.clone(), seen, ran.clone()]);
    impossible(&[write.clone(), watch.clone(), read, ran.clone()]);
    // Behind the EXEC it is not watched any more, and what only reads may change places.
    let step = step(Cmd::Get(1));
    let block = event(
        1,
        2,
        9,
        Op::Block(vec![step]),
        Answer::Array(vec![bulk("a")]),
    );
    let behind = event(1, 3, 9, get(1), Answer::Null);
    possible(&[write, watch, block, behind]);
}

#[test]
fn what_flushes_is_not_taken_too_early() {
    // Nothing is there when it is asked for, and what it empties comes later.
    let flush = event(1, 1, 9, one(Cmd::FlushAll), ok());
    possible(&[
        flush.clone(),
        event(2, 2, 3, set(1, "a"), ok()),
        event(2, 4, 5, get(1), Answer::Null),
    ]);
    // Answered before: too late.
    let early = event(1, 0, 1, one(Cmd::FlushAll), ok());
    impossible(&[
        early,
        event(2, 2, 3, set(1, "a"), ok()),
        event(2, 4, 5, get(1), Answer::Null),
    ]);
}

#[test]
fn whole_databases_are_seen_as_they_are() {
    let write = event(1, 1, 2, set(1, "a"), ok());
    let keys = |names: &[&str]| {
        let names = names.iter().map(|n| bulk(n)).collect();
        event(2, 3, 4, one(Cmd::Keys), Answer::Array(names))
    };
    possible(&[write.clone(), keys(&["k1"])]);
    impossible(&[write.clone(), keys(&[])]);
    impossible(&[write.clone(), keys(&["k1", "k2"])]);
    impossible(&[write.clone(), keys(&["k1", "k1"])]);
    let random = |answer| event(2, 3, 4, one(Cmd::RandomKey), answer);
    possible(&[write.clone(), random(bulk("k1"))]);
    impossible(&[write.clone(), random(bulk("k2"))]);
    impossible(&[write.clone(), random(Answer::Null)]);
    let swapped = event(1, 3, 4, one(Cmd::SwapDb(0, 1)), ok());
    possible(&[
        write,
        swapped,
        event(2, 5, 6, one(Cmd::DbSize), Answer::Number(0)),
    ]);
}
