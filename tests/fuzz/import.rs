//! The import of a log of Redis's: the commands of the corpus as a log, bent.
//!
//! However the bytes arrive, the reader of commands sees the same in them. And the server, which loads
//! the log as its start does and writes what it has then (`--export-rdb`), ends by itself with a
//! message or with a snapshot that can be read, whatever the log holds.
use crate::rdb::{bend, read};
use crate::{corpus, iterations, mutate};
use ringdove::server::import::commands::{Next, next, put};
use ringdove_rig::{Rng, Scratch};
use std::fs;
use std::process::Command;

/// A log of some commands, with blocks, comments and what is selected.
fn log(lines: &[Vec<Vec<u8>>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut add = |words: &[&[u8]]| put(words.iter().copied(), &mut bytes);
    add(&[b"SELECT", b"0"]);
    for _ in 0..1 + rng.below(40) {
        match rng.below(12) {
            0 => add(&[b"SELECT", b"3"]),
            1 => add(&[b"MULTI"]),
            2 => add(&[b"EXEC"]),
            3 => add(&[b"DEL", b"a", b"b", b"c"]),
            4 => add(&[b"MSET", b"a", b"1", b"b", b"2", b"c", b"3"]),
            _ => {
                let command = mutate::command(lines, rng);
                let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
                if !words.is_empty() {
                    add(&words);
                }
            }
        }
    }
    if rng.below(4) == 0 {
        bytes.splice(0..0, b"#TS:1795263218\r\n".iter().copied());
    }
    bytes
}

/// What the reader of commands sees, when the bytes arrive in chunks: where each ends, and whether
/// what comes then is wrong.
fn seen(bytes: &[u8], chunk: usize) -> (Vec<usize>, bool) {
    let (mut ends, mut at, mut there) = (Vec::new(), 0, 0);
    loop {
        match next(&bytes[at..there]) {
            Next::Command(args, used) => {
                assert!(!args.is_empty() && used > 0);
                at += used;
                ends.push(at);
            }
            Next::Comment(used) => {
                assert!(used > 0);
                at += used;
                ends.push(at);
            }
            Next::Bad => return (ends, true),
            Next::More if there == bytes.len() => return (ends, false),
            Next::More => there = bytes.len().min(there + chunk),
        }
    }
}

/// See the head of the module.
pub(crate) fn commands(seed: u64) {
    let mut rng = Rng::new(seed);
    let lines = mutate::lines(&corpus("commands"));
    let logs: Vec<Vec<u8>> = (0..50).map(|_| log(&lines, &mut rng)).collect();
    let mut wrong = 0;
    for _ in 0..iterations() / 4 {
        let mut bytes = rng.pick(&logs).clone();
        bend(&mut bytes, &logs, &mut rng);
        let whole = seen(&bytes, bytes.len().max(1));
        let chunk = 1 + rng.below(300);
        let shown = bytes.escape_ascii();
        assert_eq!(seen(&bytes, chunk), whole, "\"{shown}\", {chunk}");
        wrong += usize::from(whole.1);
    }
    assert!(wrong > 0, "some must be wrong");
}

/// See the head of the module.
pub(crate) fn starts(seed: u64) {
    let mut rng = Rng::new(seed);
    let lines = mutate::lines(&corpus("commands"));
    let logs: Vec<Vec<u8>> = (0..50).map(|_| log(&lines, &mut rng)).collect();
    let (mut loaded, mut refused) = (0, 0);
    for round in 0..iterations() / 200 {
        let mut bytes = rng.pick(&logs).clone();
        if round >= 10 {
            bend(&mut bytes, &logs, &mut rng);
        }
        let (folder, shown) = (Scratch::new(), bytes.escape_ascii());
        fs::write(folder.path().join("appendonly.aof"), &bytes).expect("a log");
        let out = folder.path().join("out.rdb");
        let mut server = Command::new(env!("CARGO_BIN_EXE_ringdove"));
        server.arg("--export-rdb").arg(&out);
        server.arg("--dir").arg(folder.path());
        server.args(["--appendonly", "yes"]);
        server.args(["--shards", ["1", "3"][round % 2]]);
        let done = server.output().expect("it can be started");
        match done.status.code() {
            Some(0) => {
                let file = fs::read(&out).expect("the snapshot");
                assert!(read(&file, file.len()).is_some(), "\"{shown}\"");
                loaded += 1;
            }
            Some(1) => {
                assert!(!done.stderr.is_empty(), "it says why: \"{shown}\"");
                refused += 1;
            }
            code => panic!("{code:?} after \"{shown}\": {done:?}"),
        }
    }
    eprintln!("{loaded} logs were loaded, {refused} refused");
    assert!(loaded > 0 && refused > 0);
}
