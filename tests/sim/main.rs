//! Many shards in one thread, from a seed, under every order of messages.
//!
//! Two worlds. In one (`cluster`, `clients`) the real engines serve clients that use commands on
//! one key, several and whole databases, blocks, WATCH, pipelines, expiries, and break off at any
//! moment; every history is explained by a server that does one thing after the other (`linear`,
//! `model`), or found impossible. In the other (`world`, `toy`) the transaction machine drives a
//! toy shard, in which faults can be planted, and its histories are checked without a search
//! (`history`).
//!
//! `RINGDOVE_SIM_SEEDS=100000` sets how many seeds are run (default 1000), `RINGDOVE_SIM_FIRST` the
//! first of them with engines, `RINGDOVE_SIM_SEED=7` runs one and prints its history. A failure
//! names its seed.

mod clients;
mod cluster;
mod history;
mod history_test;
mod linear;
mod linear_test;
mod model;
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

/// Names the seed when something panics in its run.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("RINGDOVE_SIM_SEED={}", self.0);
        }
    }
}

/// Runs one seed with real engines. `Ok(false)`: the search for an order would take too long.
fn run_engines(world: &mut clients::World) -> Result<bool, String> {
    world.run().map_err(|failure| format!("{failure:?}"))?;
    let (databases, keys) = (world.setting.databases, world.setting.keys);
    match linear::explain(&world.history, databases, keys) {
        linear::Found::Order => Ok(true),
        linear::Found::Undecided => Ok(false),
        nothing => {
            let first = linear::first_impossible(&world.history, databases, keys);
            Err(format!("{nothing:?}, no order from answer {first:?} on"))
        }
    }
}

#[test]
fn the_engines_are_one_server() {
    let registry = cluster::Cluster::registry();
    if let Some(seed) = number("RINGDOVE_SIM_SEED") {
        let mut world = clients::World::new(seed, &registry);
        let result = run_engines(&mut world);
        for (index, event) in world.history.iter().enumerate() {
            println!("{index}: {event:?}");
        }
        println!("{:?}", world.setting);
        assert_eq!(result, Ok(true));
        return;
    }
    let seeds = number("RINGDOVE_SIM_SEEDS").unwrap_or(1000);
    let first = number("RINGDOVE_SIM_FIRST").unwrap_or(0);
    let mut ends = [0; 3];
    let (mut undecided, mut failed) = (0, 0);
    let (mut gave_way, mut parked, mut cancelled) = (0, 0, 0);
    for seed in first..first + seeds {
        let _named = Named(seed);
        let mut world = clients::World::new(seed, &registry);
        match run_engines(&mut world) {
            Ok(decided) => undecided += u64::from(!decided),
            Err(what) => {
                println!("RINGDOVE_SIM_SEED={seed}: {what}\n{:?}", world.setting);
                failed += 1;
            }
        }
        for engine in &world.cluster.engines {
            let totals = engine.shard.txns.totals();
            gave_way += totals.gave_way;
            parked += totals.parked;
            cancelled += totals.cancelled;
        }
        for (sum, count) in ends.iter_mut().zip(clients::tally(&world.history)) {
            *sum += count;
        }
    }
    let [done, refused, lost] = ends;
    println!(
        "{seeds} seeds from {first}: {done} answered, {refused} refused by WATCH, {lost} lost; \
         {gave_way} gave way, {parked} parked, {cancelled} cancelled; {undecided} undecided"
    );
    assert_eq!(failed, 0, "seeds that are no one server");
    assert!(gave_way > 0 && parked > 0 && cancelled > 0 && refused > 0 && lost > 0);
    assert!(undecided * 50 <= seeds, "too many are undecided");
}
