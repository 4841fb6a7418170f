//! Fuzzing from a corpus with mutations and a printed seed, against a redis-server beside it.
//!
//! Only the stable toolchain is asked for, so there is no coverage to steer by; what steers instead
//! is the corpus (one file for each way into the decoder), mutations that know the protocol's
//! grammar, and an oracle that a crash finder lacks: a real redis-server gets the same bytes and
//! must answer the same and close at the same place. `RINGDOVE_FUZZ_ITERATIONS` and
//! `RINGDOVE_TEST_SEED` run more of it, or one again; a finding prints its input, escaped, and
//! belongs in the corpus afterwards.
#[path = "../diff/differences.rs"]
mod differences;
mod import;
mod log;
mod mutate;
mod rdb;

use ringdove_rig::{Options, Rng, Server, Value};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Inputs of a normal run, which takes some seconds; `tests/long` has more.
const ITERATIONS: usize = 20_000;

fn iterations() -> usize {
    match std::env::var("RINGDOVE_FUZZ_ITERATIONS") {
        Ok(text) => text.parse().expect("RINGDOVE_FUZZ_ITERATIONS is a number"),
        Err(_) => ITERATIONS,
    }
}

/// The corpus of a target, in the order of the names.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(target);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .expect("the corpus")
        .map(|entry| entry.expect("a file of the corpus").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths
        .iter()
        .map(|path| fs::read(path).expect("a file of the corpus"))
        .collect()
}

struct Pair {
    ours: Server,
    reference: Server,
}

impl Pair {
    fn start(shards: usize) -> Self {
        let ours = Options::new(env!("CARGO_BIN_EXE_ringdove"), shards);
        // What would end the server or stop it for a while is taken from the fuzzer's reach.
        let tame = |options: Options| {
            [
                "SHUTDOWN",
                "DEBUG",
                "MONITOR",
                "REPLICAOF",
                "HELLO",
                "CONFIG",
            ]
            .iter()
            .fold(options, without)
        };
        let ours = Server::start(&tame(ours));
        // Text may become the name of a command that is not built yet.
        let names = |server: &Server| -> BTreeSet<String> {
            let all = server.connect().run("COMMAND LIST");
            let names = all.items().iter().map(Value::text);
            names.filter(|name| !name.contains('|')).collect()
        };
        let reference = Server::start(&tame(Options::redis()));
        let missing: Vec<String> = names(&reference)
            .difference(&names(&ours))
            .cloned()
            .collect();
        drop(reference);
        let reference = missing
            .iter()
            .map(String::as_str)
            .fold(tame(Options::redis()), |o, name| without(o, &name));
        Self {
            ours,
            reference: Server::start(&reference),
        }
    }
}

fn without(options: Options, name: &&str) -> Options {
    options.with_line(format!("rename-command {name} \"\""))
}

/// Sends `input` in pieces, ends the stream, and gives everything that came back until the server
/// closed: whole requests are answered, the one that the end cuts off is not.
fn answer(server: &Server, input: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut conn = server.connect();
    let mut from = 0;
    for &cut in cuts.iter().chain(std::iter::once(&input.len())) {
        if conn.try_send_bytes(&input[from..cut]).is_err() {
            break;
        }
        from = cut;
    }
    conn.shut_write();
    conn.read_to_end()
}

fn alive(server: &Server, input: &[u8]) {
    let mut conn = server.connect();
    let answered = conn.try_send_bytes(b"PING\r\n").is_ok()
        && conn.try_receive().ok() == Some(Value::simple("PONG"));
    assert!(answered, "dead after \"{}\"", input.escape_ascii());
}

/// The bytes of any input, in any pieces, have the same effect as on the reference.
#[test]
fn resp() {
    let seed = Rng::from_environment(0xf022);
    eprintln!("RINGDOVE_TEST_SEED={seed}");
    let mut rng = Rng::new(seed);
    let corpus = corpus("resp");
    for shards in [1, 3] {
        let pair = Pair::start(shards);
        for i in 0..iterations() / 2 {
            let input = if i < corpus.len() {
                corpus[i].clone()
            } else {
                mutate::bytes(&corpus, &mut rng)
            };
            let cuts = mutate::cuts(input.len(), &mut rng);
            let wanted = answer(&pair.reference, &input, &[]);
            let got = answer(&pair.ours, &input, &cuts);
            assert_eq!(
                String::from_utf8_lossy(&got),
                String::from_utf8_lossy(&wanted),
                "{shards} shard(s), input \"{}\", cuts {cuts:?}",
                input.escape_ascii()
            );
        }
        alive(&pair.ours, b"all of it");
        assert_eq!(size(&pair.ours), size(&pair.reference));
    }
}

fn size(server: &Server) -> Value {
    server.connect().run("DBSIZE")
}

/// Command sequences from the corpus, spliced and bent, in one pipeline each, checked reply by
/// reply.
#[test]
fn commands() {
    let seed = Rng::from_environment(0xc0de);
    eprintln!("RINGDOVE_TEST_SEED={seed}");
    let mut rng = Rng::new(seed);
    let lines = mutate::lines(&corpus("commands"));
    for shards in [1, 3] {
        let pair = Pair::start(shards);
        let (mut ours, mut reference) = (pair.ours.connect(), pair.reference.connect());
        for _ in 0..iterations() / 20 {
            let sequence: Vec<Vec<Vec<u8>>> = (0..1 + rng.below(60))
                .map(|_| mutate::command(&lines, &mut rng))
                .collect();
            let bytes: Vec<u8> = sequence
                .iter()
                .flat_map(|args| ringdove_rig::encode(args))
                .collect();
            ours.send_bytes(&bytes);
            reference.send_bytes(&bytes);
            for args in &sequence {
                let (got, wanted) = (ours.receive(), reference.receive());
                let shown: Vec<String> =
                    args.iter().map(|a| a.escape_ascii().to_string()).collect();
                // In the middle of a pipeline nobody can be asked for a key's type.
                let (l, r) = (format!("{got:?}"), format!("{wanted:?}"));
                if differences::reason(args, &l, &r, || None).is_none() {
                    assert_eq!(got, wanted, "{shards} shard(s), {shown:?}");
                }
            }
        }
        alive(&pair.ours, b"all of it");
        assert_eq!(size(&pair.ours), size(&pair.reference));
    }
}

/// Segments of a log, damaged.
#[test]
fn log_recovery() {
    let seed = Rng::from_environment(0x10c);
    eprintln!("RINGDOVE_TEST_SEED={seed}");
    log::recovery(seed, iterations());
    log::strange_transactions();
}

/// Logs of Redis's, damaged.
#[test]
fn import_of_commands() {
    let seed = Rng::from_environment(0xa0f);
    eprintln!("RINGDOVE_TEST_SEED={seed}");
    import::commands(seed);
    import::starts(seed);
}
