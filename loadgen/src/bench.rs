//! The phases of a run, one after the other: reach the server, set up, preload, the test (once,
//! several times, at several rates, or as a search), verify's last look, results.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::clock::{Clock, NS_PER_MS, NS_PER_SEC};
use crate::cluster::SlotMap;
use crate::config::{Config, Objective};
use crate::dial::Target;
use crate::engine::{self, Plan};
use crate::failure::{self, Failure, FailureKind};
use crate::keys::part_of;
use crate::knee::{Search, Step};
use crate::live::Live;
use crate::machine::{self, Facts};
use crate::stats::RunStats;
use crate::template::split_words;
use crate::verify::Ledger;
use crate::workload::Workload;
use crate::{os, results};

/// Requests under way for each client while preloading.
const PRELOAD_PIPELINE: u32 = 64;
/// Clients of all threads while preloading, at most.
const PRELOAD_CLIENTS_MAX: u32 = 16;
/// Points that a time series should have: enough to see, few enough to draw.
const POINTS: u64 = 120;
const INTERVAL_NS_MIN: u64 = 100 * NS_PER_MS;
/// The closed loop that a search measures first, to know where to begin.
const SCOUT_SECONDS: f64 = 2.0;
/// Steps of a search settle before they count, by this share of their time.
const SETTLE_SHARE: f64 = 0.2;

/// A server that was reached.
pub(crate) struct Server {
    pub(crate) target: Target,
    pub(crate) slots: Option<SlotMap>,
    pub(crate) facts: Facts,
}

/// Everything that a run has found.
pub(crate) struct Outcome {
    pub(crate) preload: Vec<RunStats>,
    pub(crate) runs: Vec<RunStats>,
    pub(crate) search: Option<(Objective, Vec<Step>)>,
    pub(crate) ledger: Option<Arc<Ledger>>,
    pub(crate) server_facts: Facts,
    pub(crate) client_facts: Facts,
}

impl Outcome {
    /// The exit code that tells what happened.
    pub(crate) fn exit_code(&self) -> u8 {
        if self.ledger.as_ref().is_some_and(|l| l.faults() > 0) {
            return failure::EXIT_FAULTS;
        }
        let all = || self.preload.iter().chain(&self.runs);
        if all().any(RunStats::lost) {
            return failure::EXIT_LOST;
        }
        if all().any(|run| run.failures.total() > 0) {
            return failure::EXIT_ERRORS;
        }
        failure::EXIT_CLEAN
    }
}

/// The whole program for one server; answers the exit code.
pub(crate) fn run(config: &Config) -> u8 {
    os::catch_interrupts();
    if let Err(text) = enough_files(config) {
        eprintln!("ringdove-load: {text}");
        return failure::EXIT_USAGE;
    }
    if config.show_config {
        eprintln!("{config:#?}");
    }
    match measure(config) {
        Ok(outcome) => {
            if let Err(text) = results::write(config, &outcome) {
                eprintln!("ringdove-load: {text}");
                return failure::EXIT_USAGE;
            }
            outcome.exit_code()
        }
        Err(Stop::Usage(text)) => {
            eprintln!("ringdove-load: {text}");
            failure::EXIT_USAGE
        }
        Err(Stop::Failed(failure)) => {
            eprintln!("ringdove-load: {failure}");
            failure::EXIT_UNREACHABLE
        }
    }
}

/// Why there are no results.
pub(crate) enum Stop {
    Usage(String),
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}

/// Descriptors for all clients, or the reason why not.
pub(crate) fn enough_files(config: &Config) -> Result<(), String> {
    let limit = os::raise_open_files();
    let needed = config.clients_total() + u64::from(config.threads) * 4 + 32;
    if needed > limit {
        return Err(format!(
            "{} clients want {needed} open files, the limit is {limit} (ulimit -n)",
            config.clients_total()
        ));
    }
    Ok(())
}

/// Connects once, asks who is there, and sends the setup commands.
pub(crate) fn reach(config: &Config, target: Target) -> Result<Server, Failure> {
    let mut control = target.control()?;
    let address = target.options.display();
    let failed =
        |e: std::io::Error| Failure::new(FailureKind::of_io(&e), format!("{address}: {e}"));
    let pong = control.ask(&[b"PING"]).map_err(failed)?;
    if let crate::reply::Reply::Error(text) = &pong {
        let kind = FailureKind::of_reply(text);
        if kind == FailureKind::Auth {
            let text = String::from_utf8_lossy(text).into_owned();
            return Err(Failure::new(kind, format!("{address}: {text}")));
        }
    }
    let slots = if config.cluster_mode {
        let reply = control.ask(&[b"CLUSTER", b"SLOTS"]).map_err(failed)?;
        let map = SlotMap::from_reply(&reply, &target.options.host);
        Some(map.map_err(|text| Failure::new(FailureKind::ClusterDown, text))?)
    } else {
        None
    };
    for line in &config.setup_commands {
        let words = split_words(line).map_err(|text| Failure::new(FailureKind::Other, text))?;
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        if words.is_empty() {
            continue;
        }
        let mut reply = control.ask(&words).map_err(failed)?;
        // On a cluster, the key's node answers.
        if let (Some(slots), crate::reply::Reply::Error(text)) = (&slots, &reply) {
            let from = target.options.host.clone();
            if let Some(redirection) = crate::cluster::Redirection::parse(text, &from) {
                assert!(!slots.nodes.is_empty(), "a map has nodes");
                reply = target
                    .node(&redirection.to)
                    .control()?
                    .ask(&words)
                    .map_err(failed)?;
            }
        }
        if config.debug {
            eprintln!("{line}: {reply:?}");
        }
    }
    let facts = machine::server_facts(&address, &mut control);
    Ok(Server {
        target,
        slots,
        facts,
    })
}

/// Runs all phases.
fn measure(config: &Config) -> Result<Outcome, Stop> {
    let target = Target::new(&config.server).map_err(Stop::Usage)?;
    // Mistakes in commands show before anything is sent.
    let workload = Workload::new(config).map_err(Stop::Usage)?;
    let server = reach(config, target)?;
    let clock = Clock::start();
    let mut outcome = Outcome {
        preload: Vec::new(),
        runs: Vec::new(),
        search: None,
        ledger: ledger(config)?,
        server_facts: server.facts.clone(),
        client_facts: machine::client_facts(),
    };
    if config.verify_only {
        let sweep = sweep(config, &server, clock, outcome.ledger.clone())?;
        outcome.runs.push(sweep);
        return Ok(outcome);
    }
    if config.preload {
        outcome.preload = preload(config, &server, clock, outcome.ledger.clone())?;
    }
    let test = |label: &str, change: &dyn Fn(&mut Plan)| -> Result<RunStats, Stop> {
        let mut plan = plan(config, &server, workload.clone(), clock);
        plan.ledger.clone_from(&outcome.ledger);
        change(&mut plan);
        let mut live = Live::new(config, label, &plan);
        let stats = engine::run(plan, |progress| live.show(progress))?;
        live.finish(&stats);
        Ok(stats)
    };
    if let Some(objective) = config.objective {
        let (runs, steps) = search(config, objective, &test)?;
        outcome.runs = runs;
        outcome.search = Some((objective, steps));
    } else if config.rates.len() > 1 {
        for rate in &config.rates {
            let label = format!("{rate:.0}/s");
            let run = test(&label, &|plan| plan.rate = Some((*rate, config.arrivals)))?;
            outcome.runs.push(run);
        }
    } else {
        for number in 1..=config.run_count {
            let label = if config.run_count > 1 {
                format!("run {number}")
            } else {
                String::new()
            };
            outcome.runs.push(test(&label, &|_| ())?);
            if os::interrupted() {
                break;
            }
        }
    }
    if config.verify && !os::interrupted() {
        let ledger = outcome.ledger.clone();
        let sweep = sweep(config, &server, clock, ledger)?;
        if sweep.failures.total() > 0 {
            outcome.preload.push(sweep);
        }
    }
    if let (Some(path), Some(ledger)) = (&config.verify_state, &outcome.ledger) {
        ledger
            .save(path)
            .map_err(|e| Stop::Usage(format!("--verify-state {path}: {e}")))?;
    }
    Ok(outcome)
}

fn ledger(config: &Config) -> Result<Option<Arc<Ledger>>, Stop> {
    let clients = config.clients_total();
    match (&config.verify_state, config.verify_only) {
        (Some(path), true) => {
            let ledger = Ledger::load(path, config.key_range(), clients)
                .map_err(|e| Stop::Usage(format!("--verify-state {path}: {e}")))?;
            Ok(Some(Arc::new(ledger)))
        }
        _ if config.verify => Ok(Some(Arc::new(Ledger::new(config.key_range(), clients)))),
        _ => Ok(None),
    }
}

/// The plan of the test itself.
pub(crate) fn plan(config: &Config, server: &Server, workload: Workload, clock: Clock) -> Plan {
    let limits = (0..config.clients_total())
        .map_while(|c| config.requests_of_client(c))
        .collect();
    let duration = (config.test_time_sec > 0.0).then_some(config.test_time_sec);
    let interval_ns = match duration {
        Some(seconds) => ((seconds * 1e9) as u64 / POINTS).max(INTERVAL_NS_MIN),
        None => 2 * INTERVAL_NS_MIN,
    };
    let rate = match (config.rates.first(), config.rate_limiting) {
        (Some(rate), _) => Some((*rate, config.arrivals)),
        (None, 0) => None,
        (None, each) => Some((each as f64 * config.clients_total() as f64, config.arrivals)),
    };
    Plan {
        workload,
        target: server.target.clone(),
        slots: server.slots.clone(),
        threads: config.threads,
        clients: config.clients,
        pipeline: config.pipeline,
        limits,
        duration_ns: duration.map(|seconds| (seconds * 1e9) as u64),
        warmup_ns: (config.warmup_sec * 1e9) as u64,
        rate,
        reconnect: config.reconnect,
        reconnect_interval: config.reconnect_interval,
        reconnect_attempts_max: config.reconnect_attempts_max,
        reconnect_backoff: config.reconnect_backoff,
        start_jitter_us: config.start_jitter_us,
        request_timeout_ns: config.request_timeout_ms * NS_PER_MS,
        interval_ns,
        seed: config.seed,
        cpus: config.cpus.clone(),
        ledger: None,
        clock,
        stop: AtomicBool::new(false),
    }
}

/// A plan that walks once through all keys.
fn walk(config: &Config, server: &Server, workload: Workload, clock: Clock) -> Plan {
    let mut plan = plan(config, server, workload, clock);
    // Verify's writers own keys by client number: there, the clients stay as they are.
    if !config.verify && !config.verify_only {
        // With more clients than keys some would share a key, and it would be written twice.
        let keys = u32::try_from(config.key_range().count()).unwrap_or(u32::MAX);
        let total = keys.min(PRELOAD_CLIENTS_MAX);
        plan.threads = config.threads.min(total);
        plan.clients = total / plan.threads;
    }
    plan.pipeline = PRELOAD_PIPELINE;
    let (range, clients) = (config.key_range(), plan.clients_total());
    plan.limits = (0..clients)
        .map(|c| part_of(range, c, clients).count())
        .collect();
    plan.duration_ns = None;
    plan.warmup_ns = 0;
    plan.rate = None;
    plan.reconnect_interval = 0;
    plan
}

/// Writes every key once.
pub(crate) fn preload(
    config: &Config,
    server: &Server,
    clock: Clock,
    ledger: Option<Arc<Ledger>>,
) -> Result<Vec<RunStats>, Stop> {
    let lines: Vec<Option<&str>> = match config.preload_commands.as_slice() {
        // A scenario says itself what it needs; some need nothing.
        [] if config.scenario.is_some() => Vec::new(),
        [] => vec![None],
        lines => lines.iter().map(|line| Some(line.as_str())).collect(),
    };
    let mut done = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let workload = Workload::preload(config, *line).map_err(Stop::Usage)?;
        let mut plan = walk(config, server, workload, clock);
        if let Some(ledger) = &ledger {
            plan.ledger = Some(Arc::clone(ledger));
            plan.limits = owned_counts(config);
        }
        let label = match lines.len() {
            1 => "preload".to_string(),
            of => format!("preload {}/{of}", number + 1),
        };
        let mut live = Live::new(config, &label, &plan);
        let stats = engine::run(plan, |progress| live.show(progress))?;
        live.finish(&stats);
        done.push(stats);
    }
    Ok(done)
}

/// Keys that each client owns in verify mode.
fn owned_counts(config: &Config) -> Vec<u64> {
    let (keys, clients) = (config.key_range().count(), config.clients_total());
    (0..clients)
        .map(|c| keys / clients + u64::from(c < keys % clients))
        .collect()
}

/// Verify's last look at every key.
fn sweep(
    config: &Config,
    server: &Server,
    clock: Clock,
    ledger: Option<Arc<Ledger>>,
) -> Result<RunStats, Stop> {
    let workload = Workload::sweep(config).map_err(Stop::Usage)?;
    let mut plan = walk(config, server, workload, clock);
    plan.ledger = ledger;
    let mut live = Live::new(config, "verify all keys", &plan);
    let stats = engine::run(plan, |progress| live.show(progress))?;
    live.finish(&stats);
    Ok(stats)
}

type Test<'a> = dyn Fn(&str, &dyn Fn(&mut Plan)) -> Result<RunStats, Stop> + 'a;

/// Looks for the highest rate that keeps the objective.
fn search(
    config: &Config,
    objective: Objective,
    test: &Test<'_>,
) -> Result<(Vec<RunStats>, Vec<Step>), Stop> {
    let start = if config.rate_start > 0.0 {
        config.rate_start
    } else {
        let scout = test("closed loop", &|plan| {
            plan.duration_ns = Some((SCOUT_SECONDS * 1e9) as u64);
            plan.limits.clear();
        })?;
        (scout.rate() / 20.0).max(10.0)
    };
    let mut search = Search::new(start);
    let mut runs = Vec::new();
    while let Some(rate) = search.next_rate() {
        let step_ns = (config.step_time_sec * 1e9) as u64;
        let run = test(&format!("{rate:.0}/s"), &|plan| {
            plan.rate = Some((rate, config.arrivals));
            plan.duration_ns = Some(step_ns);
            plan.warmup_ns = (step_ns as f64 * SETTLE_SHARE) as u64;
            plan.interval_ns = (step_ns / POINTS).clamp(INTERVAL_NS_MIN, NS_PER_SEC);
            plan.limits.clear();
        })?;
        let latency_ns = run
            .total()
            .latency
            .value_at_percentile(objective.percentile);
        let kept = run.rate() >= rate * 0.98 && latency_ns < objective.limit_ns;
        search.saw(Step {
            rate,
            achieved: run.rate(),
            latency_ns,
            kept,
        });
        let gone = run.lost();
        runs.push(run);
        if gone || os::interrupted() {
            break;
        }
    }
    Ok((runs, search.into_steps()))
}
