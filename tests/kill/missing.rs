//! Files of a log that are gone, cut short or elsewhere when the server starts again: it does not begin
//! without what was acknowledged, and `--check-aof` says what is missing and cuts the log there.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

use ringdove_rig::{Scratch, free_ports};

use crate::{options, start};

const BLOCK_BYTES: u64 = 4096;

/// Starts a server, lets it take some writes on two shards, and kills it.
fn written() -> Scratch {
    let folder = Scratch::new();
    let server = start(2, &folder, "--appendfsync always");
    let mut conn = server.connect();
    for n in 0..100 {
        conn.run_ok(&format!("SET key:{n} value"));
    }
    drop(server); // kills it
    folder
}

fn logs(folder: &Scratch) -> PathBuf {
    folder.path().join("appendonlydir")
}

/// Runs `--check-aof`: whether it is content, and what it says.
fn check(args: &[&str], path: &Path) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringdove"));
    let output = command.arg("--check-aof").args(args).arg(path).output();
    let output = output.expect("it can be run");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

fn refused(folder: &Scratch, wanted: &str) {
    let (status, text) = options(2, folder, "").run_to_end(free_ports(1));
    assert!(!status.success() && text.contains(wanted), "{text}");
    assert_eq!(
        text.contains("--check-aof --fix"),
        !wanted.contains("manifest")
    );
    let (content, text) = check(&[], &logs(folder));
    assert!(!content && text.contains(wanted), "{text}");
}

fn keys(folder: &Scratch) -> i64 {
    let server = start(2, folder, "");
    server.connect().run("DBSIZE").int()
}

#[test]
fn a_log_that_is_not_whole_is_not_begun_with() {
    type Harm = fn(&Path);
    let gone: Harm = |logs| fs::remove_file(logs.join("1-1-0.log")).expect("it is there");
    let emptied: Harm = |logs| cut(&logs.join("1-1-0.log"), 0);
    let shortened: Harm = |logs| cut(&logs.join("1-1-0.log"), 5 * BLOCK_BYTES);
    let exchanged: Harm = |logs| {
        let [one, other, between] = ["1-0-0.log", "1-1-0.log", "x"].map(|name| logs.join(name));
        for (from, to) in [(&one, &between), (&other, &one), (&between, &other)] {
            fs::rename(from, to).expect("it is there");
        }
    };
    for (harm, wanted, some_left) in [
        (gone, "1-1-0.log: the log of shard 1 (epoch 1)", true),
        (emptied, "1-1-0.log: the log of shard 1 (epoch 1)", true),
        (shortened, "offset 20480: the end of the file", true),
        (exchanged, "a block that belongs elsewhere", false),
    ] {
        let folder = written();
        harm(&logs(&folder));
        refused(&folder, wanted);
        let (content, text) = check(&["--fix"], &logs(&folder));
        assert!(content, "{text}");
        let left = keys(&folder);
        assert_eq!(left > 0, some_left, "{left}: {text}");
    }
}

fn cut(path: &Path, bytes: u64) {
    let file = OpenOptions::new().write(true).open(path);
    file.and_then(|file| file.set_len(bytes))
        .expect("it is there");
}

#[test]
fn logs_without_their_manifest_are_not_passed_over() {
    let folder = written();
    let manifest = logs(&folder).join("ringdove.manifest");
    let bytes = fs::read(&manifest).expect("it is there");
    fs::remove_file(&manifest).expect("it is there");
    refused(&folder, "ringdove.manifest is missing");
    fs::write(&manifest, bytes).expect("there is room");
    assert_eq!(keys(&folder), 100);
}

#[test]
fn a_base_that_is_not_whole_is_told_and_never_cut() {
    let folder = written();
    let server = start(2, &folder, "");
    server.connect().run("BGREWRITEAOF");
    ringdove_rig::eventually("the log is rewritten", 20, || {
        (server.info("aof_rewrites") == "1").then_some(())
    });
    drop(server);
    let manifest = logs(&folder).join("ringdove.manifest");
    let (content, text) = check(&[], &manifest);
    assert!(content && text.contains("Base 1 is whole."), "{text}");
    let base = logs(&folder).join("1.base.rdb");
    let bytes = fs::read(&base).expect("it is there");
    for (harmed, wanted) in [
        (Some(&bytes[..bytes.len() - 20]), "cannot be repaired"),
        (None, "No such file"),
    ] {
        match harmed {
            Some(bytes) => fs::write(&base, bytes).expect("there is room"),
            None => fs::remove_file(&base).expect("it is there"),
        }
        for args in [&[][..], &["--fix"]] {
            let (content, text) = check(args, &logs(&folder));
            assert!(!content && text.contains(wanted), "{text}");
        }
        let (status, text) = options(2, &folder, "").run_to_end(free_ports(1));
        assert!(!status.success() && text.contains("1.base.rdb"), "{text}");
    }
    fs::write(&base, bytes).expect("there is room");
    assert_eq!(keys(&folder), 100);
}

/// The last flush of a log that was not ended orderly: a crash may have torn it, so it is given up; but
/// not without a word, and not where the configuration wants none of that.
#[test]
fn a_torn_last_block_is_told() {
    let folder = written();
    let log = logs(&folder).join("1-0-0.log");
    let mut bytes = fs::read(&log).expect("it is there");
    let last = bytes.iter().rposition(|byte| *byte != 0);
    bytes[last.expect("it was written to")] ^= 1;
    fs::write(&log, bytes).expect("there is room");
    let (content, text) = check(&[], &logs(&folder));
    assert!(content && text.contains("a write was cut off"), "{text}");
    let refusing = options(2, &folder, "--aof-load-truncated no");
    let (status, text) = refusing.run_to_end(free_ports(1));
    assert!(!status.success() && text.contains("torn end"), "{text}");
    let server = start(2, &folder, "");
    let left = server.connect().run("DBSIZE").int();
    assert!(left >= 98, "{left}"); // the last one alone, or what shared its block
    let log = server.log();
    assert!(log.contains("a torn block in segment 0"), "{log}");
}
