//! Payloads of RESTORE and snapshot files, from what a real redis-server has written, bent.
//!
//! A payload gets a footer that is right, so that what is behind it is reached. What Ringdove takes
//! of it must be sound: it is read and changed by the commands of its type, dumped again, and that
//! the reference must take with its deepest checks on.
use crate::{alive, corpus, iterations, mutate};
use ringdove::keyspace::{Hasher, OwnedEntry};
use ringdove::rdb::crc64::crc64;
use ringdove::rdb::{Item, Limits, Reader};
use ringdove::server::config::Config;
use ringdove::types::digest;
use ringdove_rig::{Conn, Options, Rng, Scratch, Server, Value};

const FOOTER_BYTES: usize = 10;
const SIGTERM: i32 = 15;

/// A redis-server with the values of the corpus.
fn reference() -> Server {
    let server = Server::start(&Options::redis().with("--sanitize-dump-payload yes"));
    let mut conn = server.connect();
    for args in mutate::lines(&corpus("rdb")) {
        let reply = conn.call(&args);
        assert!(!reply.is_error(), "{reply:?}");
    }
    server
}

fn payload(reply: Value) -> Vec<u8> {
    match reply {
        Value::Bulk(bytes) => bytes,
        other => panic!("a payload, not {other:?}"),
    }
}

/// Payloads of all keys.
fn payloads(conn: &mut Conn) -> Vec<Vec<u8>> {
    let keys = conn.run("KEYS *");
    let dump = |key: &Value| payload(conn.call(&["DUMP", &key.text()]));
    keys.items().iter().map(dump).collect()
}

/// Bytes at which lengths, encodings and frames turn.
const EDGES: &[u8] = &[
    0, 1, 2, 63, 64, 127, 128, 0x81, 0xc0, 0xc3, 0xf0, 0xf4, 0xfe, 0xff,
];

pub(crate) fn bend(bytes: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut Rng) {
    for _ in 0..1 + rng.below(3) {
        let at = rng.below(bytes.len() + 1);
        let end = (at + rng.below(6)).min(bytes.len());
        match rng.below(7) {
            0 => drop(bytes.drain(at..end)),
            1 if at < bytes.len() => bytes[at] = rng.bits() as u8,
            2 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            3 if at < bytes.len() => bytes[at] = *rng.pick(EDGES),
            4 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            5 => {
                let other = rng.pick(others);
                let from = rng.below(other.len());
                let to = (from + rng.below(20)).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            _ => bytes.insert(at, *rng.pick(EDGES)),
        }
    }
}

/// A payload of the corpus, bent, with a footer that is right.
fn bent(corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = rng.pick(corpus).clone();
    bytes.truncate(bytes.len() - FOOTER_BYTES);
    bend(&mut bytes, corpus, rng);
    bytes.extend_from_slice(&[[10, 0], [12, 0], [80, 0]][rng.below(3)]);
    let crc = crc64(0, &bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// What the commands of each type make of a value; replies do not matter.
const USES: &[&str] = &[
    "TYPE k",
    "OBJECT ENCODING k",
    "GET k",
    "APPEND k x",
    "LRANGE k 0 -1",
    "LPUSH k a",
    "RPOP k",
    "LINSERT k BEFORE a b",
    "SMEMBERS k",
    "SADD k a 77",
    "SREM k a",
    "SPOP k",
    "ZRANGE k 0 -1 WITHSCORES",
    "ZADD k 3.25 a",
    "ZPOPMIN k",
    "HGETALL k",
    "HSET k a b",
    "HDEL k a",
    "XRANGE k - +",
    "XINFO STREAM k FULL",
    "XADD k * a b",
    "XREADGROUP GROUP g1 c STREAMS k >",
    "XACK k g1 1-1",
    "XDEL k 1-1",
    "XTRIM k MAXLEN 1",
    "COPY k l REPLACE",
];

#[test]
fn restore() {
    let seed = Rng::from_environment(0xdb1);
    eprintln!("RINGDOVE_TEST_SEED={seed}");
    let mut rng = Rng::new(seed);
    let reference = reference();
    let mut theirs = reference.connect();
    let corpus = payloads(&mut theirs);
    let ours = Server::start(&Options::new(env!("CARGO_BIN_EXE_ringdove"), 1));
    let mut conn = ours.connect();
    let mut taken = 0;
    for _ in 0..iterations() / 2 {
        let bytes = bent(&corpus, &mut rng);
        let words: [&[u8]; 5] = [b"RESTORE", b"k", b"0", &bytes, b"REPLACE"];
        conn.send(&words);
        let Ok(reply) = conn.try_receive() else {
            panic!("dead after \"{}\"", bytes.escape_ascii());
        };
        if reply != Value::ok() {
            assert_eq!(reply, Value::error("ERR Bad data format"));
            continue;
        }
        taken += 1;
        let again = payload(conn.run("DUMP k"));
        let version = again[again.len() - FOOTER_BYTES];
        if version == 10 {
            let words: [&[u8]; 5] = [b"RESTORE", b"k", b"0", &again, b"REPLACE"];
            assert_eq!(theirs.call(&words), Value::ok(), "{}", bytes.escape_ascii());
            let digest = "DEBUG DIGEST-VALUE k";
            assert_eq!(
                conn.run(digest),
                theirs.run(digest),
                "{}",
                bytes.escape_ascii()
            );
        }
        for line in USES {
            conn.send(&ringdove_rig::inline_args(line));
            let answered = conn.try_receive();
            assert!(
                answered.is_ok(),
                "{line}: dead after \"{}\"",
                bytes.escape_ascii()
            );
        }
    }
    eprintln!("{taken} payloads were taken");
    assert!(taken > 0, "some must be right");
    alive(&ours, b"all of it");
}

/// What was taken is told by the log, by values and by what changes them: the next start has it.
#[test]
fn restored_and_replayed() {
    let seed = Rng::from_environment(0xdb3);
    eprintln!("RINGDOVE_TEST_SEED={seed}");
    let mut rng = Rng::new(seed);
    let corpus = payloads(&mut reference().connect());
    let folder = Scratch::new();
    let dir = folder.path().display();
    let words = format!("--dir {dir} --appendonly yes");
    let options = Options::new(env!("CARGO_BIN_EXE_ringdove"), 1).with(&words);
    let mut ours = Server::start(&options);
    let mut conn = ours.connect();
    let mut taken = 0;
    for n in 0..iterations() / 10 {
        let bytes = bent(&corpus, &mut rng);
        let (key, copy) = (format!("k{n}"), format!("copy{n}"));
        let words: [&[u8]; 4] = [b"RESTORE", key.as_bytes(), b"0", &bytes];
        if conn.call(&words) != Value::ok() {
            continue;
        }
        let again = payload(conn.call(&["DUMP", &key]));
        if again[again.len() - FOOTER_BYTES] != 10 {
            conn.call(&["DEL", &key]); // some field expires, and may do so before the end
            continue;
        }
        taken += 1;
        conn.call(&["COPY", &key, &copy]);
        conn.call(&["RENAME", &key, &format!("renamed{n}")]);
        for group in ["g1", "g2"] {
            conn.call(&["XREADGROUP", "GROUP", group, "c", "STREAMS", &copy, ">"]);
            conn.call(&["XAUTOCLAIM", &copy, group, "d", "0", "0"]);
        }
    }
    eprintln!("{taken} payloads were taken");
    assert!(taken > 0, "some must be right");
    let wanted = state(&ours);
    ours.signal(SIGTERM);
    assert!(ours.await_end().success(), "{}", ours.log());
    let ours = Server::start(&options);
    for (now, wanted) in state(&ours).iter().zip(&wanted) {
        assert_eq!(now, wanted);
    }
}

/// The keys with what they hold, and of streams what their digest does not tell.
fn state(server: &Server) -> Vec<String> {
    let mut conn = server.connect();
    let all = conn.run("DEBUG DIGEST").text();
    let keys = conn.run("KEYS *");
    let mut keys: Vec<String> = keys.items().iter().map(Value::text).collect();
    keys.sort();
    let mut states = vec![format!("{all} {}", keys.len())];
    for key in &keys {
        let digest = conn.call(&["DEBUG", "DIGEST-VALUE", key]);
        let groups = conn.call(&["XINFO", "GROUPS", key]);
        let mut pending = Vec::new();
        for group in ["g1", "g2"] {
            pending.push(conn.call(&["XPENDING", key, group]));
        }
        states.push(format!("{key} {digest:?} {groups:?} {pending:?}"));
    }
    states.rotate_left(1); // a key says more
    states
}

/// Reads a file as the start does; the digests of its entries, or None where it is refused.
pub(crate) fn read(bytes: &[u8], chunk: usize) -> Option<Vec<digest::Digest>> {
    let limits = Limits::of(&Config::default(), Hasher::new([5, 6]));
    let mut reader = Reader::new(&limits, true);
    let mut digests = Vec::new();
    for chunk in bytes.chunks(chunk) {
        reader.feed(chunk);
        while let Some(item) = reader.next_item().ok()? {
            if let Item::Entry(entry) = item {
                let (key, expiry) = (entry.key, entry.expiry);
                let owned = entry.value.store(|v| OwnedEntry::new(key, expiry, 0, v));
                digests.push(digest::of_key(&owned.entry()));
            }
        }
    }
    reader.end().ok().map(|()| digests)
}

#[test]
fn files() {
    let seed = Rng::from_environment(0xdb2);
    eprintln!("RINGDOVE_TEST_SEED={seed}");
    let mut rng = Rng::new(seed);
    let reference = reference();
    let mut files = Vec::new();
    for compresses in ["yes", "no"] {
        let mut conn = reference.connect();
        conn.call(&["CONFIG", "SET", "rdbcompression", compresses]);
        conn.run_ok("SAVE");
        let file = std::fs::read(reference.dir().join("dump.rdb")).expect("the file");
        assert!(read(&file, 100).is_some_and(|digests| digests.len() > 20));
        files.push(file);
    }
    for _ in 0..iterations() / 4 {
        let mut bytes = rng.pick(&files).clone();
        bytes.truncate(bytes.len() - 8);
        bend(&mut bytes, &files, &mut rng);
        let crc = crc64(0, &bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        let whole = read(&bytes, bytes.len());
        let chunk = 1 + rng.below(300);
        assert_eq!(
            read(&bytes, chunk),
            whole,
            "\"{}\", {chunk}",
            bytes.escape_ascii()
        );
    }
}
