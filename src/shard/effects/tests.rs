//! What single commands leave behind, beside what redis-server writes into its log for them; and
//! that every command that writes leaves something.

use super::replay::InPayload;
use super::{Effect, Words};
use crate::command::FAMILIES;
use crate::command::fixture::Fixture;
use crate::command::registry::{Registry, Route};
use crate::command::spec::{Flags, KeyFlags};
use ringdove_rig::{Options, Server};

/// A command; its effects, if they are not the command itself; and what redis-server writes, if that
/// is something else. `T` stands for a time. All on the same few keys, one after the other.
#[rustfmt::skip]
const CASES: &[(&str, &str, &str)] = &[
    ("SET k v", "", ""),
    ("SET k v EX 100", "SET k v PXAT T", ""),
    // What a condition or GET adds is over when the value is set.
    ("SET k w XX GET", "SET k w", "SET k w XX"),
    ("SET k v KEEPTTL", "", ""),
    ("SETNX n v", "SET n v", "SETNX n v"),
    ("SETNX n v", "-", ""),
    ("SETEX k 100 v", "SET k v PXAT T", ""),
    ("PSETEX k 5000 v", "SET k v PXAT T", ""),
    ("GETSET k w", "SET k w", ""),
    ("GETEX k EX 50", "PEXPIREAT k T", ""),
    ("GETEX k", "-", ""),
    ("GETEX k PERSIST", "PERSIST k", ""),
    ("APPEND k x", "", ""),
    ("INCR c", "", ""),
    ("DECRBY c 3", "", ""),
    ("INCRBYFLOAT c 1.5", "SET c -0.5 KEEPTTL", ""),
    ("SETRANGE k 1 zz", "", ""),
    ("SETBIT bits 7 1", "", ""),
    ("BITFIELD bits SET u8 0 9", "", ""),
    ("BITOP NOT {bits}2 bits", "", ""),
    // An effect names keys of one slot.
    ("MSET a 1 b 2", "SET a 1 & SET b 2", "MSET a 1 b 2"),
    ("MSETNX y 1 x 2", "SET y 1 & SET x 2", "MSETNX y 1 x 2"),
    ("GETDEL a", "DEL a", ""),
    ("DEL b nosuch y", "DEL b & DEL y", "DEL b nosuch y"),
    ("UNLINK x", "DEL x", "UNLINK x"),
    ("EXPIRE k 100", "PEXPIREAT k T", ""),
    ("PEXPIRE k 50000 GT", "-", ""),
    ("PEXPIRE k 200000 GT", "PEXPIREAT k T", "PEXPIREAT k T GT"),
    ("EXPIREAT k 4102444800", "PEXPIREAT k T", ""),
    ("PERSIST k", "", ""),
    ("EXPIRE k -1", "DEL k", ""),
    ("RPUSH l 1 2 3 4 5 6", "", ""),
    ("LPUSHX nosuch 1", "-", ""),
    ("LPOP l", "", ""),
    ("RPOP l 2", "", ""),
    ("LSET l 0 2", "", ""),
    ("LINSERT l BEFORE 3 z", "", ""),
    ("LREM l 1 z", "", ""),
    ("LTRIM l 0 1", "", ""),
    ("LMPOP 1 l LEFT COUNT 2", "LPOP l 2", ""),
    ("RPUSH l 1 2 3", "", ""),
    ("BLPOP l 1", "LPOP l", ""),
    ("LMOVE l {l}2 LEFT RIGHT", "", ""),
    ("RPOPLPUSH l {l}2", "LMOVE l {l}2 RIGHT LEFT", "RPOPLPUSH l {l}2"),
    ("SADD s a", "", ""),
    ("SADD s a", "-", ""),
    ("SPOP s", "SREM s a", ""),
    ("SADD s a b c d", "", ""),
    ("SREM s d nosuch", "", ""),
    ("SPOP s 9", "DEL s", ""),
    ("SADD s a b", "", ""),
    ("SMOVE s {s}2 a", "", ""),
    ("SUNIONSTORE {s}3 s {s}2", "", ""),
    ("SUNIONSTORE u {s}2", "DEL u & SADD u a", "SUNIONSTORE u {s}2"),
    ("SORT u ALPHA STORE {u}2", "DEL {u}2 & RPUSH {u}2 a", "SORT u ALPHA STORE {u}2"),
    ("ZADD z 1 a 2 b 3 c 4 d", "", ""),
    ("ZADD z INCR 5 a", "", ""),
    ("ZADD z GT 1 a", "-", ""),
    ("ZPOPMIN z", "", ""),
    ("ZREM z nosuch", "-", ""),
    ("ZMPOP 1 z MAX COUNT 2", "ZPOPMAX z 2", ""),
    ("BZPOPMIN z 1", "ZPOPMIN z 1", "ZPOPMIN z"),
    ("HSET h f 1", "", ""),
    ("HSETNX h g 1", "HSET h g 1", "HSETNX h g 1"),
    ("HINCRBY h f 2", "HSET h f 3", "HINCRBY h f 2"),
    ("HINCRBYFLOAT h f 0.5", "HSET h f 3.5", ""),
    ("HDEL h f nosuch", "HDEL h f", "HDEL h f nosuch"),
    ("HDEL h nosuch", "-", ""),
    ("PFADD p a", "", ""),
    ("PFADD p a", "-", ""),
    ("PFCOUNT p", "", ""),
    ("PFCOUNT p", "-", ""),
    ("XADD x * a 1", "XADD x T-0 a 1", ""),
    ("XADD x 9999999999999-1 a 1", "", ""),
    ("XADD x MAXLEN = 2 9999999999999-2 a 1", "XADD x 9999999999999-2 a 1 & XTRIM x MAXLEN = 2", "XADD x MAXLEN = 2 9999999999999-2 a 1"),
    ("XADD x MAXLEN ~ 1 9999999999999-3 a 1", "XADD x 9999999999999-3 a 1", "XADD x MAXLEN = 3 9999999999999-3 a 1"),
    ("XTRIM x MAXLEN 1", "XTRIM x MAXLEN = 1", "XTRIM x MAXLEN 1"),
    ("XTRIM x MAXLEN ~ 0", "XTRIM x MAXLEN = 0", ""),
    ("XADD x 9999999999999-4 a 1", "", ""),
    ("XGROUP CREATE x g 0", "", ""),
    // The consumer, and how many entries the group has read, are written, too.
    ("XREADGROUP GROUP g c STREAMS x >", "XGROUP CREATECONSUMER x g c & XCLAIM x g c 0 9999999999999-4 TIME T RETRYCOUNT 1 FORCE JUSTID & XGROUP SETID x g 9999999999999-4 ENTRIESREAD 5",
        "XCLAIM x g c 0 9999999999999-4 TIME T RETRYCOUNT 1 FORCE JUSTID LASTID 9999999999999-4"),
    ("XREADGROUP GROUP g c STREAMS x 0", "XCLAIM x g c 0 9999999999999-4 TIME T RETRYCOUNT 2 FORCE JUSTID", "-"),
    ("XCLAIM x g d 0 9999999999999-4", "XGROUP CREATECONSUMER x g d & XCLAIM x g d 0 9999999999999-4 TIME T RETRYCOUNT 3 FORCE JUSTID",
        "XCLAIM x g d 0 9999999999999-4 TIME T RETRYCOUNT 3 FORCE JUSTID LASTID 9999999999999-4"),
    ("XAUTOCLAIM x g c 0 0 JUSTID", "XCLAIM x g c 0 9999999999999-4 TIME T RETRYCOUNT 3 FORCE JUSTID",
        "XCLAIM x g c 0 9999999999999-4 TIME T RETRYCOUNT 3 FORCE JUSTID LASTID 9999999999999-4"),
    ("XACK x g 9999999999999-4", "", ""),
    ("XDEL x 9999999999999-4", "", ""),
    ("COPY z2 z3", "-", ""),
    ("RPUSH w 1 2", "", ""),
    ("RENAME w {w}2", "", ""),
    ("RENAME {w}2 v", "DEL {w}2 & DEL v & RPUSH v 1 2", "RENAME {w}2 v"),
    ("MOVE v 3", "", ""),
    ("SADD r a b", "", ""),
];

/// Words as they are compared: the name in capitals, times as `T`.
fn shown<'a>(words: impl Iterator<Item = &'a [u8]>) -> String {
    const DIGITS: usize = 13;
    let is_time = |word: &[u8]| {
        word.len() == DIGITS && word.iter().all(u8::is_ascii_digit) && word != b"9999999999999"
    };
    let words: Vec<String> = words
        .enumerate()
        .map(|(at, word)| match word.strip_suffix(b"-0") {
            _ if at == 0 => String::from_utf8_lossy(word).to_ascii_uppercase(),
            _ if is_time(word) => "T".to_string(),
            Some(time) if is_time(time) => "T-0".to_string(),
            _ => String::from_utf8_lossy(word).into_owned(),
        })
        .collect();
    words.join(" ")
}

/// The effects of a payload, `SELECT` left out.
fn effects(payload: &[u8]) -> Vec<String> {
    let all = InPayload::of(payload).map(|args| shown(args.expect("a request").into_iter()));
    all.filter(|effect| !effect.starts_with("SELECT")).collect()
}

fn expected(text: &str) -> Vec<String> {
    match text {
        "-" => Vec::new(),
        text => text.split(" & ").map(str::to_string).collect(),
    }
}

fn ours<'a>(command: &'a str, ours: &'a str) -> &'a str {
    if ours.is_empty() { command } else { ours }
}

#[test]
fn each_command_leaves_what_it_should() {
    let mut fixture = Fixture::new();
    fixture.shard.now_ms = 1_700_000_000_000;
    fixture.shard.effects.listen(true);
    for (command, effect, _) in CASES {
        let reply = fixture.run(command);
        assert!(!reply.starts_with('-'), "{command}: {reply}");
        let mut got = Vec::new();
        fixture.shard.effects.take_units(|unit| {
            assert!(got.is_empty(), "{command}: one unit");
            assert_eq!((unit.db, unit.part_of), (0, None));
            got = effects(unit.payload);
        });
        assert_eq!(got, expected(ours(command, effect)), "{command}");
    }
}

#[test]
fn redis_server_writes_the_same_but_for_what_the_table_says() {
    let words = "--appendonly yes --aof-use-rdb-preamble no --appendfsync no";
    let options = Options::redis().with(words);
    let server = Server::start(&options);
    let mut conn = server.connect();
    let mut wanted = Vec::new();
    for (command, effect, theirs) in CASES {
        let reply = conn.run(command);
        assert!(!reply.is_error(), "{command}: {reply:?}");
        let theirs = if theirs.is_empty() {
            ours(command, effect)
        } else {
            theirs
        };
        wanted.extend(expected(theirs));
    }
    let folder = server.dir().join("appendonlydir");
    let files = std::fs::read_dir(&folder).expect("the folder of the log");
    let mut paths = files.map(|file| file.expect("a file").path());
    let log = paths.find(|path| path.to_string_lossy().ends_with(".incr.aof"));
    let bytes = std::fs::read(log.expect("the log")).expect("the log is readable");
    assert_eq!(effects(&bytes), wanted);
}

#[test]
fn every_command_that_writes_leaves_something() {
    let registry = Registry::new(FAMILIES);
    for row in &registry.rows {
        let (spec, name) = (row.spec, &row.full_name);
        if row.route == Route::Container {
            continue;
        }
        if spec.flags.has(Flags::WRITE) {
            assert_ne!(spec.effect, Effect::None, "{name} writes");
        } else {
            // PFCOUNT keeps its result in the string.
            let writes = spec.effect != Effect::None;
            assert_eq!(writes, *name == "pfcount", "{name} does not write");
        }
        match spec.effect {
            Effect::Verbatim => {
                let one = matches!(row.route, Route::OneKey(_));
                assert!(one, "{name} names other keys, too");
            }
            Effect::Keys | Effect::Values => {
                let written = KeyFlags::RW | KeyFlags::OW | KeyFlags::RM;
                let some = spec.keys.iter().any(|key| key.flags.any(written));
                assert!(some, "{name} does not say which keys it writes to");
            }
            Effect::None | Effect::Own => {}
        }
    }
}

#[test]
fn neighbours_are_joined_where_one_follows_the_other() {
    let mut fixture = Fixture::new();
    fixture.shard.effects.listen(true);
    let mut joined = |lines: &[&str], bytes_max| {
        for line in lines {
            fixture.run(line);
        }
        let mut got = Vec::new();
        fixture.shard.effects.take_joined(bytes_max, |unit| {
            got.push((unit.db, effects(unit.payload).join(" & "), unit.keys.len()));
        });
        got
    };
    let lines = ["SET a 1", "SET b 2", "MOVE a 3", "DEL b"];
    let all = "SET a 1 & SET b 2 & MOVE a 3 & DEL b".to_string();
    assert_eq!(joined(&lines, 1 << 20), [(0, all, 4)]);
    let one_by_one = joined(&lines[..2], 0);
    assert_eq!(one_by_one[1], (0, "SET b 2".to_string(), 1));
    // Up to a size, which one that is longer passes.
    let long = format!("SET c {}", "x".repeat(200));
    let some = joined(&["SET a 1", "SET b 2", &long, "SET d 4"], 100);
    let lengths: Vec<usize> = some.iter().map(|(_, text, _)| text.len()).collect();
    assert_eq!(
        lengths,
        ["SET a 1 & SET b 2".len(), long.len(), "SET d 4".len()]
    );
}

#[test]
fn nobody_listens_to_begin_with() {
    let mut fixture = Fixture::new();
    fixture.run("SET k v");
    fixture.run("SADD s a");
    fixture.run("SPOP s");
    assert!(!fixture.shard.effects.has_units());
    assert!(fixture.shard.words().is_none());
}

#[test]
fn bytes_that_are_no_effects_are_refused() {
    let whole = b"*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n";
    assert_eq!(InPayload::of(whole).count(), 1);
    for end in 1..whole.len() {
        let all: Vec<_> = InPayload::of(&whole[..end]).collect();
        assert!(matches!(all[..], [Err(_)]), "{end}");
    }
    for bad in [
        "x",
        "*0\r\n",
        "*-1\r\n",
        "*1\r\n$99999999999\r\nx\r\n",
        "*1\r\n$1\r\nxy\r\n",
    ] {
        let all: Vec<_> = InPayload::of(bad.as_bytes()).collect();
        assert!(matches!(all[..], [Err(_)]), "{bad}");
    }
    let mut fixture = Fixture::new();
    let mut refused = |line: &str| {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        fixture.shard.replay(0, &args).expect_err(line)
    };
    for line in [
        "NOSUCH k",
        "FLUSHALL",
        "SET k",
        "SELECT 3",
        "XGROUP",
        "XGROUP NOSUCH k",
        "LSET k 0 v",
    ] {
        refused(line);
    }
    assert!(fixture.shard.replay(99, &[b"SET", b"k", b"v"]).is_err());
    let known = |args: &[&[u8]], shard: &mut crate::shard::Shard| {
        shard.replay_databases(0, args, |_, _| true).is_err()
    };
    assert!(known(&[b"SWAPDB", b"0", b"99"], &mut fixture.shard));
    assert!(known(&[b"DEL", b"k"], &mut fixture.shard));
}

#[test]
fn buffers_are_used_again() {
    let mut fixture = Fixture::new();
    fixture.shard.effects.listen(true);
    let mut words = fixture.shard.words().expect("somebody listens");
    assert!(words.is_empty());
    words.extend(&[b"SREM", b"k"]);
    words.push_int(-7);
    words.push_u64(u64::MAX);
    let all: Vec<&[u8]> = words.iter().collect();
    assert_eq!(all, [&b"SREM"[..], b"k", b"-7", b"18446744073709551615"]);
    assert_eq!(words.len(), 4);
    fixture.shard.give_back(words);
    let again = fixture.shard.words().expect("somebody listens");
    assert_eq!(again, Words::default());
    assert!(again.bytes_kept() > 0, "the same buffers");
}
