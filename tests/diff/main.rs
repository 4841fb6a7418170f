//! The same commands to the server under test and to a real redis-server, in RESP2 and RESP3, with
//! one shard and with three: every reply must be the same, byte by byte.
//!
//! To add a family: `scripts/NAME.txt` (format: [`script`]) and, for generated sequences, its
//! commands in `grammar/NAME.txt` (format: [`grammar`]); then its name in `families!` below.
//! Where replies may differ says [`differences`]; what comes in no fixed order, or depends on time
//! or chance, says [`normal`]. Commands newer than the reference have scripts in `newer/` with the
//! documented replies in them, and run against Ringdove only. What commands tell of keys, and what
//! they make invalid in the caches of clients, compares [`events`].
mod catalog;
mod changes;
mod differences;
mod duel;
mod events;
mod grammar;
mod normal;
mod rdb;
mod script;

use duel::{Duel, PROTOCOLS};
use ringdove_rig::{Kind, Options, Rng, Server};

/// Commands of one generated run; `RINGDOVE_DIFF_COMMANDS` sets another number.
const GENERATED: usize = 4_000;

fn under_test(shards: usize) -> Options {
    Options::new(env!("CARGO_BIN_EXE_ringdove"), shards)
}

/// Runs a script of one family in every combination.
fn scripted(name: &str, text: &str) {
    let steps = script::parse(name, text);
    for shards in [1, 3] {
        for proto in PROTOCOLS {
            let mut duel = Duel::start(&under_test(shards), proto);
            duel.run_script(&steps);
            duel.finish(&format!("{name}, {shards} shard(s), RESP{proto}"));
        }
    }
}

/// Sends random commands of a family's grammar, and wrong ones made from them.
fn generated(name: &str, text: &str) {
    let rules = grammar::parse(name, text);
    let count = match std::env::var("RINGDOVE_DIFF_COMMANDS") {
        Ok(text) => text.parse().expect("RINGDOVE_DIFF_COMMANDS is a number"),
        Err(_) => GENERATED,
    };
    let seed = Rng::from_environment(0xd1ff);
    eprintln!("RINGDOVE_TEST_SEED={seed}");
    for shards in [1, 3] {
        for proto in PROTOCOLS {
            let mut rng = Rng::new(seed ^ (shards as u64) << 8 ^ u64::from(proto));
            let mut duel = Duel::start(&under_test(shards), proto);
            for line in grammar::errors(&rules) {
                duel.send(&line);
            }
            // What wrong commands leave behind may be what commands do not define: members of
            // several scores under BYLEX.
            duel.send(&[b"FLUSHALL".to_vec()]);
            for _ in 0..count {
                duel.send(&grammar::command(&rules, &mut rng));
            }
            duel.compare_keyspaces();
            duel.finish(&format!(
                "{name}, {shards} shard(s), RESP{proto}, seed {seed}"
            ));
        }
    }
}

/// Runs a script that carries its replies; the reference does not know these commands.
fn documented(name: &str, text: &str) {
    let steps = script::parse(name, text);
    for shards in [1, 3] {
        let options = under_test(shards);
        if options.kind == Kind::Redis {
            eprintln!("{name}: the reference knows none of these commands");
            return;
        }
        let server = Server::start(&options);
        script::check(&server, name, &steps);
    }
}

macro_rules! families {
    (scripts: $($script:ident)+; grammars: $($grammar:ident)+; newer: $($newer:ident)+;) => {
        mod scripts { $(#[test] fn $script() {
            super::scripted(stringify!($script), include_str!(concat!("scripts/", stringify!($script), ".txt")));
        })+ }
        mod generated { $(#[test] fn $grammar() {
            super::generated(stringify!($grammar), include_str!(concat!("grammar/", stringify!($grammar), ".txt")));
        })+ }
        mod newer { $(#[test] fn $newer() {
            super::documented(stringify!($newer), include_str!(concat!("newer/", stringify!($newer), ".txt")));
        })+ }
    };
}

families! {
    scripts: strings bitmaps generic connection tracking server config hashes zset streams sets lists geo hyperloglog sort transactions;
    grammars: strings bitmaps generic connection server hashes zset streams sets lists geo hyperloglog;
    newer: strings bitmaps hashes zset streams geo;
}
