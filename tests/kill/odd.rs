//! Values that no command makes, or few do, taken with RESTORE or from a snapshot: what the server
//! holds is told by its log, whatever it is, and the next start has it.
use ringdove::rdb::crc64::crc64;
use ringdove_rig::{Conn, Scratch, Server, Value, free_ports};

use crate::rewriting::rewritten;
use crate::{digest, options, start};

const FAR: u64 = i64::MAX as u64;
const BEYOND: u64 = 1 << 63;

/// Types of RDB.
const ZSET: u8 = 5;
const STREAM: u8 = 19;
const HASH_VALKEY: u8 = 22;
const HASH: u8 = 24;
const HASH_LISTPACK: u8 = 25;

fn number(n: u64) -> Vec<u8> {
    [&[0x81][..], &n.to_be_bytes()].concat()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&number(bytes.len() as u64), bytes].concat()
}

fn raw_id((ms, seq): (u64, u64)) -> Vec<u8> {
    [ms.to_be_bytes(), seq.to_be_bytes()].concat()
}

/// Words of up to 62 bytes as a listpack.
fn listpack(words: &[&str]) -> Vec<u8> {
    let mut bytes = vec![0; 6];
    for word in words {
        bytes.push(0x80 | word.len() as u8);
        bytes.extend_from_slice(word.as_bytes());
        bytes.push(word.len() as u8 + 1);
    }
    bytes.push(0xff);
    let length = bytes.len() as u32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes[4..6].copy_from_slice(&(words.len() as u16).to_le_bytes());
    bytes
}

/// What is remembered of a stream beside its entries, and its groups.
struct Rest {
    length: u64,
    last: (u64, u64),
    max_deleted: (u64, u64),
    added: u64,
    groups: Vec<Vec<u8>>,
}

fn stream(blocks: &[((u64, u64), &[&str])], rest: Rest) -> Vec<u8> {
    let mut bytes = number(blocks.len() as u64);
    for (first, words) in blocks {
        bytes.extend(string(&raw_id(*first)));
        // Numbers as text are not what Redis writes, but what a listpack may hold.
        bytes.extend(string(&listpack(words)));
    }
    bytes.extend(number(rest.length));
    for (ms, seq) in [rest.last, (0, 0), rest.max_deleted] {
        bytes.extend(number(ms));
        bytes.extend(number(seq));
    }
    bytes.extend(number(rest.added));
    bytes.extend(number(rest.groups.len() as u64));
    rest.groups.iter().for_each(|group| bytes.extend(group));
    bytes
}

/// A group with one entry that is pending of one consumer.
fn group(name: &str, read: u64, pending: (u64, u64), delivered: u64, deliveries: u64) -> Vec<u8> {
    let mut bytes = string(name.as_bytes());
    bytes.extend([0, 0].map(number).concat());
    bytes.extend(number(read));
    bytes.extend(number(1));
    bytes.extend(raw_id(pending));
    bytes.extend(delivered.to_le_bytes());
    bytes.extend(number(deliveries));
    bytes.extend(number(1));
    bytes.extend(string(b"c"));
    bytes.extend(FAR.to_le_bytes());
    bytes.extend(number(1));
    bytes.extend(raw_id(pending));
    bytes
}

/// An entry `f v` at the block's ID, and the block that has it alone.
const ONE: &[&str] = &["1", "0", "1", "f", "0", "2", "0", "0", "v", "4"];

fn streams() -> Vec<(&'static str, Vec<u8>)> {
    let rest = |length| Rest {
        length,
        last: (1, 1),
        max_deleted: (0, 0),
        added: length,
        groups: Vec::new(),
    };
    let one: &[((u64, u64), &[&str])] = &[((1, 1), ONE)];
    let bare: &[&str] = &["1", "0", "0", "0", "2", "0", "0", "3"];
    let deleted: &[&str] = &[
        "1", "1", "1", "f", "0", "3", "0", "0", "v", "4", "2", "1", "0", "w", "4",
    ];
    let huge = vec![group("g", BEYOND + 7, (1, 1), FAR, BEYOND + 5)];
    let nearly = vec![
        group("g", FAR, (1, 1), 5, FAR),
        group("h", 0, (7, 7), 0, u64::MAX),
    ];
    let unknown = vec![group("", u64::MAX, (0, 0), 1, 0)];
    vec![
        (
            "added",
            stream(
                one,
                Rest {
                    added: u64::MAX,
                    ..rest(1)
                },
            ),
        ),
        (
            "fewer",
            stream(
                one,
                Rest {
                    added: 0,
                    ..rest(1)
                },
            ),
        ),
        (
            "last",
            stream(
                &[((FAR, u64::MAX), ONE)],
                Rest {
                    last: (u64::MAX, u64::MAX),
                    ..rest(1)
                },
            ),
        ),
        (
            "bare",
            stream(
                &[((1, 1), bare)],
                Rest {
                    groups: huge.clone(),
                    ..rest(1)
                },
            ),
        ),
        (
            "zero",
            stream(
                &[((0, 0), ONE)],
                Rest {
                    max_deleted: (9, 9),
                    ..rest(1)
                },
            ),
        ),
        (
            "tombstone",
            stream(
                &[((1, 1), deleted)],
                Rest {
                    last: (2, 1),
                    max_deleted: (1, 1),
                    ..rest(1)
                },
            ),
        ),
        (
            "ahead",
            stream(
                one,
                Rest {
                    max_deleted: (u64::MAX, 9),
                    ..rest(1)
                },
            ),
        ),
        (
            "empty",
            stream(
                &[],
                Rest {
                    last: (0, 0),
                    added: BEYOND,
                    groups: huge.clone(),
                    ..rest(0)
                },
            ),
        ),
        (
            "groups",
            stream(
                one,
                Rest {
                    groups: huge,
                    ..rest(1)
                },
            ),
        ),
        (
            "nearly",
            stream(
                one,
                Rest {
                    added: FAR,
                    groups: nearly,
                    ..rest(1)
                },
            ),
        ),
        (
            "unknown",
            stream(
                one,
                Rest {
                    groups: unknown,
                    ..rest(1)
                },
            ),
        ),
    ]
}

/// A name, a type of RDB, a version that has it, and the value.
fn values() -> Vec<(&'static str, u8, u8, Vec<u8>)> {
    let mut hash = (FAR - 9).to_le_bytes().to_vec();
    hash.extend(number(3));
    for (ttl, field) in [(8, "late"), (0, "never"), (1, "")] {
        hash.extend(number(ttl));
        hash.extend(string(field.as_bytes()));
        hash.extend(string(b""));
    }
    let mut valkey = number(2);
    for (field, at) in [("f", 1i64 << 46), ("g", -1)] {
        valkey.extend(string(field.as_bytes()));
        valkey.extend(string(b"v"));
        valkey.extend(at.to_le_bytes());
    }
    let at = (1u64 << 50).to_string();
    let mut packed = (1u64 << 50).to_le_bytes().to_vec();
    packed.extend(string(&listpack(&["f", "v", &at, "g", "w", "0"])));
    let mut zset = number(6);
    let scores = [
        -0.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        5e-324,
        f64::MAX,
        0.1,
    ];
    for (member, score) in ["", "a", "b", "c", "d", "-0"].iter().zip(scores) {
        zset.extend(string(member.as_bytes()));
        zset.extend(score.to_le_bytes());
    }
    let streams = streams().into_iter();
    let mut all: Vec<_> = streams
        .map(|(name, value)| (name, STREAM, 10, value))
        .collect();
    all.push(("hash", HASH, 12, hash));
    all.push(("valkey", HASH_VALKEY, 80, valkey));
    all.push(("packed", HASH_LISTPACK, 12, packed));
    all.push(("zset", ZSET, 10, zset));
    all
}

fn payload(kind: u8, version: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = [&[kind], value, &[version, 0]].concat();
    let crc = crc64(0, &bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// What there is of a key, but for what is not recorded: how blocks are cut, and when consumers were
/// last heard of.
fn facts(conn: &mut Conn, key: &str) -> String {
    let kept = |name: &str| {
        !name.starts_with("radix-tree") && !name.starts_with("seen") && !name.starts_with("active")
    };
    fn shown(value: &Value, kept: &dyn Fn(&str) -> bool) -> String {
        let Value::Map(pairs) = value else {
            return match value {
                Value::Array(items) => {
                    let items: Vec<_> = items.iter().map(|item| shown(item, kept)).collect();
                    format!("[{}]", items.join(" "))
                }
                other => format!("{other:?}"),
            };
        };
        let pairs = pairs.iter().filter(|(name, _)| kept(&name.text()));
        let pairs: Vec<_> = pairs
            .map(|(name, value)| format!("{}: {}", name.text(), shown(value, kept)))
            .collect();
        format!("{{{}}}", pairs.join(" "))
    }
    let details = match conn.call(&["TYPE", key]).text().as_str() {
        "stream" => conn.call(&["XINFO", "STREAM", key, "FULL", "COUNT", "0"]),
        "hash" => conn.call(&["HPEXPIRETIME", key, "FIELDS", "4", "f", "g", "late", ""]),
        _ => Value::Null,
    };
    let expiry = conn.call(&["PEXPIRETIME", key]);
    let value = conn.call(&["DEBUG", "DIGEST-VALUE", key]);
    format!("{key}: {} {expiry:?} {value:?}", shown(&details, &kept))
}

fn all_facts(server: &Server) -> Vec<String> {
    let mut conn = server.connect_resp3();
    let keys = conn.run("KEYS *");
    let mut keys: Vec<String> = keys.items().iter().map(Value::text).collect();
    keys.sort();
    keys.iter().map(|key| facts(&mut conn, key)).collect()
}

/// Lets effects tell the whole value, and changes of it.
fn use_all(conn: &mut Conn, round: usize) {
    for (name, ..) in values() {
        // Each name is in a slot of its own.
        let (copy, moved) = (
            format!("copy:{round}:{name}"),
            format!("moved:{round}:{name}"),
        );
        assert_eq!(conn.call(&["COPY", name, &copy]), Value::Int(1), "{name}");
        assert_eq!(conn.call(&["COPY", &copy, &moved]), Value::Int(1), "{name}");
        conn.call(&["RENAME", &moved, &format!("again:{round}:{name}")]);
        // Replies do not matter: some streams are full, others have no groups.
        conn.call(&["XGROUP", "CREATE", &copy, "new", "0"]);
        for group in ["g", "h", "", "new"] {
            conn.call(&["XREADGROUP", "GROUP", group, "c", "STREAMS", &copy, ">"]);
            conn.call(&["XREADGROUP", "GROUP", group, "c", "STREAMS", &copy, "0"]);
            conn.call(&["XCLAIM", &copy, group, "d", "0", "1-1"]);
            conn.call(&["XAUTOCLAIM", &copy, group, "e", "0", "0"]);
        }
        conn.call(&["XADD", &copy, "NOMKSTREAM", "*", "f", "v"]);
        conn.call(&["HSET", &copy, "f", "w"]);
        conn.call(&["ZINCRBY", &copy, "1", "d"]);
    }
}

/// Commands that reckon with what is held; what they reply does not matter.
const LOOKS: &[&str] = &[
    "TTL",
    "PTTL",
    "EXPIRETIME",
    "HTTL * FIELDS 2 f late",
    "HPTTL * FIELDS 2 f late",
    "HEXPIRETIME * FIELDS 2 f late",
    "XINFO STREAM *",
    "XINFO GROUPS *",
    "XINFO CONSUMERS * g",
    "XPENDING * g",
    "XPENDING * g IDLE 1 - + 9",
    "XPENDING * h IDLE 1 - + 9",
    "OBJECT IDLETIME *",
    "MEMORY USAGE *",
    "DEBUG OBJECT *",
];

fn look(conn: &mut Conn) {
    for (name, ..) in values() {
        for line in LOOKS {
            let line = match line.contains('*') {
                true => line.replace('*', name),
                false => format!("{line} {name}"),
            };
            conn.run(&line);
        }
    }
    conn.run("INFO everything");
}

fn same(server: &Server, wanted: &[String]) {
    let now = all_facts(server);
    for (now, wanted) in now.iter().zip(wanted) {
        assert_eq!(now, wanted);
    }
    assert_eq!(now.len(), wanted.len());
}

#[test]
fn whatever_is_held_is_there_after_a_start() {
    let folder = Scratch::new();
    let server = start(2, &folder, "--appendfsync always");
    let mut conn = server.connect();
    for (name, kind, version, value) in values() {
        let bytes = payload(kind, version, &value);
        let words: [&[u8]; 4] = [b"RESTORE", name.as_bytes(), b"0", &bytes];
        assert_eq!(conn.call(&words), Value::ok(), "{name}");
    }
    conn.call(&["SET", "string", "", "PXAT", &FAR.to_string()]);
    conn.call(&["SADD", "set", "", "-0", "9223372036854775808"]);
    conn.call(&["RPUSH", "list", "", "-9223372036854775808"]);
    for key in ["set", "list"] {
        conn.call(&["PEXPIREAT", key, &FAR.to_string()]);
        conn.call(&["COPY", key, &format!("{key}:2")]);
    }
    conn.run("COPY string string:2");
    LOOKS
        .iter()
        .take(3)
        .for_each(|line| drop(conn.run(&format!("{line} string"))));
    look(&mut conn);
    use_all(&mut conn, 0);
    let before = all_facts(&server);
    drop(server); // kills it
    let server = start(3, &folder, "--appendfsync always");
    same(&server, &before);
    use_all(&mut server.connect(), 1);
    let before = all_facts(&server);
    server.connect().run("BGREWRITEAOF");
    rewritten(&server, 1);
    drop(server);
    same(&start(1, &folder, ""), &before);
}

/// A snapshot is taken as it is; from then on the log tells.
#[test]
fn whatever_a_snapshot_holds_is_there_after_a_start() {
    let folder = Scratch::new();
    let mut file = b"REDIS0012\xfe\x00".to_vec();
    // Type 22 is another's in this version.
    for (name, kind, _, value) in values().iter().filter(|(_, kind, ..)| *kind != HASH_VALKEY) {
        file.push(0xfc);
        file.extend_from_slice(&FAR.to_le_bytes());
        file.push(*kind);
        file.extend(string(name.as_bytes()));
        file.extend(value);
    }
    file.push(0xff);
    let crc = crc64(0, &file);
    file.extend_from_slice(&crc.to_le_bytes());
    std::fs::write(folder.path().join("dump.rdb"), file).expect("it can be written");
    let server = start(2, &folder, "--appendfsync always");
    let mut conn = server.connect();
    let keys = conn.run("KEYS *");
    for key in keys.items().iter().map(Value::text) {
        conn.call(&["RENAME", &key, &format!("renamed:{key}")]);
    }
    let before = all_facts(&server);
    assert_eq!(before.len(), values().len() - 1);
    drop(server);
    same(&start(3, &folder, ""), &before);
}

/// Counters that commands lift over what commands take.
#[test]
fn counters_that_have_grown_are_there_after_a_start() {
    let folder = Scratch::new();
    let server = start(2, &folder, "--appendfsync always");
    let mut conn = server.connect();
    conn.run("XADD k 1-1 a b");
    conn.run_ok("XGROUP CREATE k g 0");
    conn.run("XREADGROUP GROUP g c STREAMS k >");
    conn.run(&format!("XCLAIM k g c 0 1-1 RETRYCOUNT {FAR}"));
    conn.run("XREADGROUP GROUP g c STREAMS k 0");
    conn.run("XCLAIM k g c 0 1-1");
    conn.run("XAUTOCLAIM k g c 0 0");
    conn.run_ok(&format!("XSETID k 5-0 ENTRIESADDED {FAR} MAXDELETEDID 0-0"));
    conn.run("XADD k * a b");
    conn.run_ok(&format!("XGROUP SETID k g 0 ENTRIESREAD {FAR}"));
    conn.run("XREADGROUP GROUP g c STREAMS k >");
    conn.run("COPY k k2");
    let before = all_facts(&server);
    drop(server);
    same(&start(1, &folder, ""), &before);
}

#[test]
fn limits_for_clients_do_not_hold_for_the_log() {
    let folder = Scratch::new();
    let server = start(2, &folder, "--appendfsync always");
    let mut conn = server.connect();
    conn.call(&["SET", "k", &"x".repeat(3 << 19)]);
    conn.run("APPEND k yyyy");
    conn.run("SETRANGE k 1500000 z");
    conn.run("SETBIT k 12000000 1");
    conn.run("BITFIELD k SET u8 12000008 7");
    let before = digest(&mut conn);
    drop(server);
    let more = "--proto-max-bulk-len 1mb --maxmemory 1 --client-query-buffer-limit 1mb";
    let server = start(1, &folder, more);
    assert_eq!(digest(&mut server.connect()), before);
}

#[test]
fn too_few_databases_are_named() {
    for last in ["SET k v", "RPUSH k v", "FLUSHDB", "SWAPDB 9 8"] {
        let folder = Scratch::new();
        let server = start(2, &folder, "--appendfsync always");
        let mut conn = server.connect();
        conn.run_ok("SELECT 9");
        conn.run("SADD other x");
        conn.run_ok("FLUSHALL");
        assert!(!conn.run(last).is_error());
        drop(server);
        let more = "--databases 8";
        let (status, text) = options(2, &folder, more).run_to_end(free_ports(1));
        assert!(!status.success());
        let wanted =
            "Reading the log: it has a key in database 9, and there are 8 (see `databases`)";
        assert!(text.contains(wanted), "{text}");
        assert!(!text.contains("DB loaded from append only file"), "{text}");
    }
}
