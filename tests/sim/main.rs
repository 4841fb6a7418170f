//! Many shards in one thread, from a seed, under every order of messages.
//!
//! Three worlds. In one (`cluster`, `clients`) the real engines serve clients that use commands on
//! one key, several and whole databases, blocks, WATCH, pipelines, expiries, and break off at any
//! moment; every history is explained by a server that does one thing after the other (`linear`,
//! `model`), or found impossible. In another (`blocking`) clients of the same engines wait for lists
//! and sorted sets, push and move elements and break off; no element may be lost or given twice, no
//! wake-up be lost, nobody be passed over. In the third (`world`, `toy`) the transaction machine
//! drives a toy shard, in which faults can be planted, and its histories are checked without a
//! search (`history`).
//!
//! `RINGDOVE_SIM_SEEDS=100000` sets how many seeds are run (1000 where it is not set, 400 of those
//! that wait), `RINGDOVE_SIM_FIRST` the first of them with engines, `RINGDOVE_SIM_SEED=7` runs one
//! and prints its history. A failure names its seed, a long run tells how far it is:
//!
//! ```text
//! RINGDOVE_SIM_SEEDS=100000 cargo test --release --test sim the_engines -- --nocapture
//! RINGDOVE_SIM_SEEDS=20000 cargo test --release --test sim who_waits -- --nocapture
//! RINGDOVE_SIM_SEED=14608 cargo test --test sim the_engines -- --nocapture
//! ```

mod blocking;
mod clients;
mod cluster;
mod history;
mod history_test;
mod linear;
mod linear_test;
mod model;
mod order;
mod toy;
mod wire;
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
    finds(Fault::ForgetsWatchedClaims, 71_000..71_100);
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

/// Tells who waits for a long run how far it is.
fn report(done: u64, of: u64, failed: u64) {
    if done.is_multiple_of(10_000) && done < of {
        println!("{done} of {of} seeds, {failed} failed");
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
        let mut world = clients::World::new(seed, None, &registry);
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
        let mut world = clients::World::new(seed, None, &registry);
        match run_engines(&mut world) {
            Ok(decided) => undecided += u64::from(!decided),
            Err(what) => {
                println!("RINGDOVE_SIM_SEED={seed}: {what}\n{:?}", world.setting);
                failed += 1;
            }
        }
        report(seed - first + 1, seeds, failed);
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

/// The same few clients again and again: in each run one of them goes, one step later, whatever its
/// transactions and volleys have come to by then.
#[test]
fn a_client_may_go_in_any_phase() {
    let registry = cluster::Cluster::registry();
    let mut runs = 0;
    for (seed, volleys) in [(0, false), (1, false), (2, true), (3, true)] {
        let mut setting = clients::Setting::small(volleys);
        let mut last = u64::MAX;
        for step in 1.. {
            if step > last {
                break;
            }
            let _named = Named(seed);
            setting.hangup_at = Some(step);
            let mut world = clients::World::new(seed, Some(setting.clone()), &registry);
            if let Err(what) = run_engines(&mut world) {
                panic!("seed {seed}, step {step}: {what}");
            }
            last = world.step;
            runs += 1;
        }
    }
    println!("{runs} runs");
}

/// Runs one seed with clients that wait.
fn run_blocking(world: &mut blocking::World) -> Result<(), String> {
    let result = world.run();
    result.map_err(|what| format!("{what}\n{:?}", world.setting))
}

#[test]
fn who_waits_is_served_once_and_in_order() {
    let registry = cluster::Cluster::registry();
    if let Some(seed) = number("RINGDOVE_SIM_SEED") {
        let mut world = blocking::World::new(seed, None, &registry);
        let result = run_blocking(&mut world);
        println!("{}", world.story.join("\n"));
        assert_eq!(result, Ok(()));
        return;
    }
    let seeds = number("RINGDOVE_SIM_SEEDS").unwrap_or(400);
    let first = number("RINGDOVE_SIM_FIRST").unwrap_or(0);
    let mut totals = blocking::Totals::default();
    let mut failed = 0;
    for seed in first..first + seeds {
        let _named = Named(seed);
        let mut world = blocking::World::new(seed, None, &registry);
        if let Err(what) = run_blocking(&mut world) {
            println!("RINGDOVE_SIM_SEED={seed}: {what}");
            failed += 1;
        }
        totals.add(&world.totals);
        report(seed - first + 1, seeds, failed);
    }
    println!("{seeds} seeds from {first}: {totals:?}");
    assert_eq!(failed, 0, "seeds in which somebody is served wrongly");
    assert!(totals.waited > 0 && totals.timed_out > 0 && totals.moved > 0);
    assert!(totals.unblocked > 0 && totals.lost > 0);
}

/// The same few clients again and again: in each run one of them goes, one step later.
#[test]
fn a_client_may_go_at_any_step() {
    let registry = cluster::Cluster::registry();
    let mut runs = 0;
    for seed in 0..3 {
        let mut setting = blocking::Setting::small();
        let mut last = u64::MAX;
        for step in 1.. {
            if step > last {
                break;
            }
            let _named = Named(seed);
            setting.hangup_at = Some(step);
            let mut world = blocking::World::new(seed, Some(setting.clone()), &registry);
            if let Err(what) = run_blocking(&mut world) {
                panic!("seed {seed}: {what}\n{}", world.story.join("\n"));
            }
            last = world.step;
            runs += 1;
        }
    }
    println!("{runs} runs");
}
