//! Many shards in one thread, from a seed: the transaction machine under every order of messages.
//!
//! `RINGDOVE_SIM_SEEDS=100000` sets how many seeds are run (default 1000), `RINGDOVE_SIM_SEED=7`
//! runs one and prints its history. A failure names its seed.

mod history;
mod history_test;
mod toy;
mod world;

use history::Anomaly;
use toy::{Fault, ToyNode};
use world::{Failure, Setting, World};

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number of seeds, or a seed"))
}

/// What was wrong with a run.
#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    Run(Failure),
    History(Anomaly),
}

/// Runs one seed.
fn run(seed: u64, fault: Fault, setting: Option<Setting>) -> (World<ToyNode>, Result<(), Wrong>) {
    let mut world = World::new(seed, setting, |id, setting| {
        ToyNode::new(id, setting.nodes, fault)
    });
    let result = world
        .run()
        .map_err(Wrong::Run)
        .and_then(|()| history::check(&world.history).map_err(Wrong::History));
    (world, result)
}

#[test]
fn every_history_is_strictly_serializable() {
    if let Some(seed) = number("RINGDOVE_SIM_SEED") {
        let (world, result) = run(seed, Fault::None, None);
        for (index, txn) in world.history.iter().enumerate() {
            println!("{index}: {txn:?}");
        }
        println!("{:?}", world.setting);
        return result.unwrap();
    }
    let seeds = number("RINGDOVE_SIM_SEEDS").unwrap_or(1000);
    let (mut gave_way, mut parked) = (0, 0);
    let mut ends = std::collections::BTreeMap::new();
    for seed in 0..seeds {
        let (world, result) = run(seed, Fault::None, None);
        if let Err(what) = result {
            panic!("RINGDOVE_SIM_SEED={seed}: {what:?}\n{:?}", world.setting);
        }
        gave_way += world.nodes.iter().map(ToyNode::gave_way).sum::<u64>();
        parked += world.nodes.iter().map(ToyNode::parked).sum::<u64>();
        for (end, count) in world::tally(&world.history) {
            *ends.entry(end).or_insert(0) += count;
        }
    }
    println!("{seeds} seeds: {ends:?}, {gave_way} gave way, {parked} parked");
    // A simulation in which nothing meets proves nothing.
    assert!(gave_way > 0 && parked > 0 && ends["refused"] > 0 && ends["unknown"] > 0);
}

/// Many clients over few keys, all lanes alike: nobody is overtaken without end.
#[test]
fn a_storm_starves_nobody() {
    let clients = 24;
    let mut most = 0;
    for seed in 0..20 {
        let setting = Setting {
            nodes: 4,
            keys: 4,
            clients,
            batches: 100,
            even: true,
            hangups: 0,
            flushes: 0,
        };
        let (world, result) = run(seed, Fault::None, Some(setting));
        result.unwrap_or_else(|what| panic!("seed {seed}: {what:?}"));
        most = most.max(world::most_overtaken(&world.history));
    }
    println!("at most {most} went ahead of one of {clients} clients");
    // Each of the others may have a pipeline of 6 under way, and begin another while a request
    // is on its way to its owners; more would be a queue that some can jump.
    assert!(most < 12 * clients, "{most} went ahead of one");
}

/// A fault in the node is found, and soon.
fn finds(fault: Fault, mut within: std::ops::Range<u64>) {
    let found = within.find_map(|seed| {
        let what = run(seed, fault, None).1.err()?;
        Some((seed, what))
    });
    let (seed, what) = found.unwrap_or_else(|| panic!("{fault:?} stays hidden"));
    println!("{fault:?}: seed {seed}: {what:?}");
}

#[test]
fn planted_faults_are_found() {
    for fault in [
        Fault::RunsUnasked,
        Fault::Overtakes,
        Fault::SendsAhead,
        Fault::LosesWounds,
        Fault::ForgetsWatches,
        Fault::ForgetsWatchesOfLoans,
        Fault::SplitsReads,
        Fault::SplitsBlocks,
        Fault::LosesLoans,
        Fault::ForgetsToCancel,
        Fault::LosesDirty,
        Fault::ClaimsTooLittle,
    ] {
        finds(fault, 0..300);
    }
    // A rare one: what found it first was a seed of a long run.
    finds(Fault::ForgetsWatchedClaims, 35_900..36_000);
}
