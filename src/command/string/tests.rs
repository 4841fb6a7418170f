//! What cannot be compared with the reference server, because it is newer or internal; the rest was
//! read off redis-server 7.0.15.
use crate::command::fixture::Fixture;

/// Runs lines of `command -> reply`.
fn check(lines: &str) {
    let mut fixture = Fixture::new();
    for line in lines.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let (command, reply) = line.split_once(" -> ").expect("command -> reply");
        assert_eq!(fixture.run(command), reply, "{command}");
    }
}

#[test]
fn set_takes_its_options() {
    check(
        "SET k 1 -> +OK
         SET k 2 NX -> $-1
         SET k 2 XX GET -> $1 1
         SET n 2 XX -> $-1
         SET n 2 GET NX -> $-1
         SET n 3 GET NX -> $1 2
         SET k 3 NX XX -> -ERR syntax error
         SET k 3 EX 10 PX 10 -> -ERR syntax error
         SET k 3 EX 10 KEEPTTL -> -ERR syntax error
         SET k 3 EX -> -ERR syntax error
         SET k 3 EX 0 -> -ERR invalid expire time in 'set' command
         SET k 3 EX x -> -ERR value is not an integer or out of range
         SET k 3 PERSIST -> -ERR syntax error
         SETEX k 9223372036854775807 1 -> -ERR invalid expire time in 'setex' command
         GET k -> $1 2",
    );
}

#[test]
fn set_compares_the_value_and_its_digest() {
    check(
        "SET k new IFEQ old -> $-1
         SET k new IFDEQ 0123456789abcdef -> $-1
         SET k v1 IFNE other -> +OK
         SET k v2 IFEQ v1 -> +OK
         SET k v3 IFEQ v1 -> $-1
         SET k v3 IFEQ v1 GET -> $2 v2
         SET k 10 IFNE v1 EX 100 -> +OK
         SET k 10 IFNE 10 -> $-1
         SET k 11 IFEQ 10 KEEPTTL -> +OK
         SET k x IFEQ 11 NX -> -ERR syntax error
         SET k x IFEQ -> -ERR syntax error
         SET k x IFDEQ abc -> -ERR must be exactly 16 hexadecimal characters
         SET k hello -> +OK
         DIGEST k -> $16 9555e8555c62dcfd
         SET k x IFDEQ 9555E8555C62DCFD -> +OK
         SET k y IFDNE 9555e8555c62dcfd GET -> $1 x
         DIGEST missing -> $-1",
    );
}

#[test]
fn deletes_on_conditions() {
    check(
        "SET k v -> +OK
         DELIFEQ k w -> :0
         DELIFEQ k v -> :1
         DELIFEQ k v -> :0
         SET k v -> +OK
         DELEX k IFEQ w -> :0
         DELEX k IFNE v -> :0
         DELEX k IFSO v -> -ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE
         DELEX k IFEQ -> -ERR wrong number of arguments for 'delex' command
         DELEX k IFNE w -> :1
         DELEX k IFNE w -> :0
         SET k v -> +OK
         DELEX k -> :1
         SET k hello -> +OK
         DELEX k IFDNE 9555e8555c62dcfd -> :0
         DELEX k IFDEQ 9555e8555c62dcfd -> :1",
    );
}

#[test]
fn msetex_sets_all_or_none() {
    check(
        "MSETEX 2 a 1 b 2 EX 100 NX -> :1
         MSETEX 2 b 3 c 3 NX -> :0
         MSETEX 2 b 3 c 3 XX -> :0
         MGET a b c -> *3 $1 1 $1 2 $-1
         MSETEX 2 a 5 b 6 XX KEEPTTL -> :1
         MGET a b -> *2 $1 5 $1 6
         MSETEX 0 a 1 -> -ERR invalid numkeys value
         MSETEX x a 1 -> -ERR invalid numkeys value
         MSETEX 2 a 1 -> -ERR wrong number of key-value pairs
         MSETEX 1 a 1 GET -> -ERR syntax error
         MSETEX 1 a 1 NX XX -> -ERR syntax error
         MSETEX 1 a 1 EX 0 -> -ERR invalid expire time in 'msetex' command",
    );
}

#[test]
fn encodings_are_redis_own() {
    let mut fixture = Fixture::new();
    let long = "x".repeat(45);
    for (command, encoding) in [
        ("SET k 10".to_string(), "int"),
        ("SET k 010".to_string(), "embstr"),
        ("SET k 12345678901234567890".to_string(), "embstr"),
        (format!("SET k {}", &long[1..]), "embstr"),
        (format!("SET k {long}"), "raw"),
        ("SET k 1".to_string(), "int"),
        ("APPEND k 0".to_string(), "raw"),
        ("INCR k".to_string(), "int"),
        ("INCRBYFLOAT k 1".to_string(), "embstr"),
        ("INCR k".to_string(), "int"),
        ("SETRANGE k 0 2".to_string(), "raw"),
        ("SET k 5".to_string(), "int"),
        ("SETBIT k 1 1".to_string(), "raw"),
        ("GETDEL k".to_string(), ""),
        ("APPEND k 7".to_string(), "int"),
        ("GETDEL k".to_string(), ""),
        ("SETRANGE k 1 a".to_string(), "raw"),
        ("MSET k 5".to_string(), "int"),
    ] {
        fixture.run(&command);
        assert_eq!(fixture.encoding("k").unwrap_or(""), encoding, "{command}");
    }
}

#[test]
fn expired_keys_were_never_there() {
    let mut fixture = Fixture::new();
    let later = |fixture: &mut Fixture| fixture.shard.now_ms += 1000;
    assert_eq!(fixture.run("SET k 5 PX 500"), "+OK");
    later(&mut fixture);
    assert_eq!(fixture.run("SET k 6 XX"), "$-1");
    assert_eq!(fixture.run("SET k 6 PX 500 NX"), "+OK");
    later(&mut fixture);
    assert_eq!(fixture.run("SET k 7 KEEPTTL"), "+OK");
    later(&mut fixture);
    assert_eq!(fixture.run("GETEX k PX 500"), "$1 7");
    later(&mut fixture);
    assert_eq!(fixture.run("INCR k"), ":1");
    assert_eq!(fixture.run("GETEX k PXAT 1"), "$1 1");
    assert_eq!(fixture.run("GET k"), "$-1");
    assert_eq!(fixture.shard.stats.expired, 3);
    fixture.shard.keyspace.verify();
}

#[test]
fn commands_over_many_keys_pass_every_group() {
    let mut fixture = Fixture::new();
    let pairs: Vec<String> = (0..50).map(|n| format!("key:{n} {n}")).collect();
    assert_eq!(fixture.run(&format!("MSETNX {}", pairs.join(" "))), ":1");
    assert_eq!(
        fixture.run(&format!("MSETNX x 1 {}", pairs.join(" "))),
        ":0"
    );
    let keys: Vec<String> = (0..51).map(|n| format!("key:{n}")).collect();
    let reply = fixture.run(&format!("MGET {}", keys.join(" ")));
    let values: Vec<&str> = reply.split(' ').collect();
    assert_eq!((values[0], values[100], values[101]), ("*51", "49", "$-1"));
    assert_eq!(fixture.shard.keyspace.db(0).len(), 50);
}

#[test]
fn large_strings_are_cut_and_compared() {
    let mut fixture = Fixture::new();
    let big = vec![b'a'; 100_000];
    fixture.run_args(&[b"SET", b"big", &big]);
    assert_eq!(fixture.run("GETRANGE big 99998 -1"), "$2 aa");
    assert_eq!(fixture.run("STRLEN big"), ":100000");
    assert_eq!(
        fixture.run_args(&[b"SET", b"big", b"x", b"IFEQ", &big]),
        b"+OK\r\n"
    );
    assert_eq!(fixture.run("GETRANGE big 0 -1"), "$1 x");
}

#[test]
fn lcs_replies_as_asked() {
    check(
        "MSET a ohmytext b mynewtext -> +OK
         LCS a b -> $6 mytext
         LCS a b LEN -> :6
         LCS a b IDX -> *4 $7 matches *2 *2 *2 :4 :7 *2 :5 :8 *2 *2 :2 :3 *2 :0 :1 $3 len :6
         LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN -> *4 $7 matches *1 *3 *2 :4 :7 *2 :5 :8 :4 $3 len :6
         LCS a missing -> $0
         LCS a b LEN IDX -> -ERR If you want both the length and indexes, please just use IDX.",
    );
}
