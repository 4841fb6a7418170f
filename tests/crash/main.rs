//! The log under crashes: its own writer, commit and recovery code on a simulated disk (`disk`) that
//! tears, loses, reorders and fails writes, returns files that were used before, and loses its power
//! at any step; with transactions over several shards (`world`), any number of shards from one
//! process to the next. After each crash: everything that was certain is there, byte for byte; no
//! transaction is there in part; recovery of what was recovered is the same.
//!
//! `RINGDOVE_CRASH_SEEDS=100000 cargo test --test crash` sets how many seeds are run (default 1000),
//! `RINGDOVE_CRASH_SEED=7` runs one. A failure names its seed.

mod disk;
mod world;

use world::{Fault, Tally, World, Wrong};

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number of seeds, or a seed"))
}

fn run(seed: u64, fault: Fault) -> (Tally, Result<(), Wrong>) {
    let mut world = World::new(seed, fault);
    let result = world.run();
    (world.tally, result)
}

/// Names the seed when something panics in its run.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("RINGDOVE_CRASH_SEED={}", self.0);
        }
    }
}

#[test]
fn what_was_certain_is_recovered() {
    if let Some(seed) = number("RINGDOVE_CRASH_SEED") {
        let (tally, result) = run(seed, Fault::None);
        println!("{tally:?}");
        return result.unwrap();
    }
    let seeds = number("RINGDOVE_CRASH_SEEDS").unwrap_or(1000);
    let mut sum = Tally::default();
    for seed in 0..seeds {
        let _named = Named(seed);
        let (tally, result) = run(seed, Fault::None);
        if let Err(wrong) = result {
            panic!("{wrong:?}");
        }
        sum.appended += tally.appended;
        sum.certain += tally.certain;
        sum.recovered += tally.recovered;
        sum.transactions += tally.transactions;
        sum.halves += tally.halves;
        sum.torn += tally.torn;
        sum.failures += tally.failures;
        sum.rewrites += tally.rewrites;
        sum.beside += tally.beside;
    }
    println!("{seeds} seeds: {sum:?}");
    // A simulation in which nothing goes wrong proves nothing.
    assert!(sum.certain > 0 && sum.halves > 0 && sum.torn > 0);
    assert!(sum.failures > 0 && sum.rewrites > 0 && sum.beside > 0);
}

/// What `everysec` may lose does not add up over the shards of a transaction: all that a log is cut for
/// came later than what is missing.
#[test]
fn a_crash_costs_the_last_second_with_everysec() {
    let (mut halves, mut oldest_ms) = (0, 0);
    for seed in 0..400 {
        let _named = Named(seed);
        let mut world = World::new(seed, Fault::None);
        if let Err(wrong) = world.run_every_second() {
            panic!("{wrong:?}");
        }
        halves += world.tally.halves;
        oldest_ms = oldest_ms.max(world.tally.oldest_lost_ms);
    }
    println!("{halves} logs were cut for transactions; the oldest that was lost: {oldest_ms} ms");
    assert!(halves > 50 && oldest_ms > 900, "{halves}, {oldest_ms} ms");
}

/// A fault in what drives the log is found, and soon.
#[test]
fn planted_faults_are_found() {
    for fault in [
        Fault::SyncsNothing,
        Fault::SettlesWhole,
        Fault::OverwritesTail,
        Fault::TriesAgain,
    ] {
        let found = (0..3000).find_map(|seed| Some((seed, run(seed, fault).1.err()?)));
        let (seed, wrong) = found.unwrap_or_else(|| panic!("{fault:?} stays hidden"));
        println!("{fault:?}: seed {seed}: {wrong:?}");
    }
}
