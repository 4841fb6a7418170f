//! Runs a workload: a thread with its ring for each core, a collector that adds up what they saw.
//!
//! A run: every thread connects its clients; when all are ready they start at the same moment; each
//! sends its finished intervals to the collector (the calling thread), and its end.

mod client;
mod conn;
mod traffic;
mod worker;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::clock::{Clock, NS_PER_MS};
use crate::cluster::SlotMap;
use crate::config::Arrivals;
use crate::dial::Target;
use crate::failure::Failure;
use crate::stats::{Interval, RunStats, ThreadEnd};
use crate::verify::Ledger;
use crate::workload::Workload;

/// All that the threads of one run share.
pub(crate) struct Plan {
    pub(crate) workload: Workload,
    pub(crate) target: Target,
    pub(crate) slots: Option<SlotMap>,
    pub(crate) threads: u32,
    /// Of each thread.
    pub(crate) clients: u32,
    pub(crate) pipeline: u32,
    /// Requests of each client, by its number; empty: no limit.
    pub(crate) limits: Vec<u64>,
    pub(crate) duration_ns: Option<u64>,
    pub(crate) warmup_ns: u64,
    /// Requests per second of all threads, for an open loop.
    pub(crate) rate: Option<(f64, Arrivals)>,
    pub(crate) reconnect: bool,
    pub(crate) reconnect_interval: u64,
    pub(crate) reconnect_attempts_max: u64,
    pub(crate) reconnect_backoff: f64,
    pub(crate) start_jitter_us: (u64, u64),
    pub(crate) request_timeout_ns: u64,
    pub(crate) interval_ns: u64,
    pub(crate) seed: u64,
    pub(crate) cpus: Vec<usize>,
    pub(crate) ledger: Option<Arc<Ledger>>,
    pub(crate) clock: Clock,
    pub(crate) stop: AtomicBool,
}

impl Plan {
    pub(crate) fn clients_total(&self) -> u64 {
        u64::from(self.clients) * u64::from(self.threads)
    }

    fn limit_of(&self, client: u64) -> Option<u64> {
        self.limits.get(client as usize).copied()
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// What a thread tells the collector.
enum Message {
    Interval(Box<Interval>),
    End(Box<ThreadEnd>),
    Broken(Failure),
}

/// How far a run is, for whoever shows it.
pub(crate) struct Progress<'a> {
    pub(crate) stats: &'a RunStats,
    pub(crate) elapsed_ns: u64,
    /// Intervals that all threads have finished.
    pub(crate) whole_intervals: u64,
}

/// The moment at which all threads begin.
pub(super) struct Start {
    ready: Barrier,
    begun: Barrier,
    failure: Mutex<Option<Failure>>,
    at_ns: AtomicU64,
    clock: Clock,
}

/// Between the last thread's readiness and the first request.
const START_DELAY_NS: u64 = NS_PER_MS;

impl Start {
    fn new(threads: u32, clock: Clock) -> Start {
        Start {
            ready: Barrier::new(threads as usize),
            begun: Barrier::new(threads as usize),
            failure: Mutex::new(None),
            at_ns: AtomicU64::new(0),
            clock,
        }
    }

    fn fail(&self, failure: Failure) {
        if let Ok(mut first) = self.failure.lock() {
            first.get_or_insert(failure);
        }
    }

    fn failed(&self) -> bool {
        self.failure.lock().is_ok_and(|f| f.is_some())
    }

    /// Waits for all threads; the common start, or nothing if one of them failed.
    fn wait(&self) -> Option<u64> {
        if self.ready.wait().is_leader() {
            self.at_ns
                .store(self.clock.now_ns() + START_DELAY_NS, Ordering::SeqCst);
        }
        self.begun.wait();
        if self.failed() {
            None
        } else {
            Some(self.at_ns.load(Ordering::SeqCst))
        }
    }
}

/// Asks a node of a cluster for the slot map.
pub(crate) fn slot_map(target: &Target) -> Option<SlotMap> {
    let mut control = target.control().ok()?;
    let reply = control.ask(&[b"CLUSTER", b"SLOTS"]).ok()?;
    SlotMap::from_reply(&reply, &target.options.host).ok()
}

/// Runs the plan to its end. `watch` is called several times a second. The error is a failure to
/// start: nothing was measured.
pub(crate) fn run(plan: Plan, mut watch: impl FnMut(&Progress<'_>)) -> Result<RunStats, Failure> {
    let plan = Arc::new(plan);
    let start = Start::new(plan.threads, plan.clock);
    let (messages, inbox) = channel();
    let mut stats = RunStats::new(&plan.workload.lines, plan.interval_ns);
    stats.target_rate = plan.rate.map(|(rate, _)| rate);
    let unix = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    stats.started_unix_ms = unix.as_millis() as u64;
    let mut broken = None;
    std::thread::scope(|scope| {
        for number in 0..u64::from(plan.threads) {
            let (plan, messages, start) = (Arc::clone(&plan), messages.clone(), &start);
            let name = format!("load-{number}");
            let spawned = std::thread::Builder::new()
                .name(name)
                .spawn_scoped(scope, move || worker::run(plan, number, messages, start));
            assert!(spawned.is_ok(), "the system refuses threads");
        }
        drop(messages);
        loop {
            match inbox.recv_timeout(Duration::from_millis(100)) {
                Ok(Message::Interval(interval)) => stats.take(&interval),
                Ok(Message::End(end)) => stats.threads.push(*end),
                Ok(Message::Broken(failure)) => broken = Some(failure),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let at_ns = start.at_ns.load(Ordering::SeqCst);
            let measured_ns = at_ns + plan.warmup_ns;
            if at_ns > 0 {
                let elapsed_ns = plan.clock.now_ns().saturating_sub(measured_ns);
                // Half an interval of grace: threads send theirs within a few milliseconds.
                let whole = elapsed_ns.saturating_sub(plan.interval_ns / 2) / plan.interval_ns;
                watch(&Progress {
                    stats: &stats,
                    elapsed_ns,
                    whole_intervals: whole,
                });
            }
        }
    });
    let failure = start.failure.into_inner().ok().flatten();
    match failure.or(broken) {
        Some(failure) => Err(failure),
        None => Ok(stats),
    }
}
