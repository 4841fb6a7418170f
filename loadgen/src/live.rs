//! The view while a run goes on: one line that is rewritten on a terminal, a plain line each second
//! elsewhere. On stderr, so that results can be redirected.

use std::io::{IsTerminal, Write};

use crate::clock::NS_PER_SEC;
use crate::config::Config;
use crate::engine::{Plan, Progress};
use crate::stats::{RunStats, latency_histogram};

/// Between two lines where there is no terminal, and between two rewrites where there is one.
const LINE_NS: u64 = NS_PER_SEC;
const REWRITE_NS: u64 = NS_PER_SEC / 4;

pub(crate) struct Live {
    quiet: bool,
    terminal: bool,
    label: String,
    /// Requests of the whole run, or its time, for the share that is done.
    requests: u64,
    duration_ns: u64,
    shown_ns: u64,
    shown_interval: u64,
    wrote: bool,
}

impl Live {
    pub(crate) fn new(config: &Config, label: &str, plan: &Plan) -> Live {
        Live {
            quiet: config.quiet,
            terminal: std::io::stderr().is_terminal(),
            label: if label.is_empty() {
                String::new()
            } else {
                format!("{label}: ")
            },
            requests: plan.limits.iter().sum(),
            duration_ns: plan.duration_ns.unwrap_or(0),
            shown_ns: 0,
            shown_interval: 0,
            wrote: false,
        }
    }

    /// Shows where the run stands, if it is time to.
    pub(crate) fn show(&mut self, progress: &Progress<'_>) {
        let pause = if self.terminal { REWRITE_NS } else { LINE_NS };
        if self.quiet || progress.elapsed_ns < self.shown_ns + pause {
            return;
        }
        let stats = progress.stats;
        let to = progress.whole_intervals.min(stats.series.len() as u64);
        if to <= self.shown_interval {
            return;
        }
        let mut latency = latency_histogram();
        let mut count = 0;
        for point in &stats.series[self.shown_interval as usize..to as usize] {
            count += point.count();
            let added = latency.add(point.latency());
            assert!(added.is_ok(), "all histograms have the same bounds");
        }
        let seconds = ((to - self.shown_interval) * stats.interval_ns) as f64 / 1e9;
        self.shown_interval = to;
        self.shown_ns = progress.elapsed_ns;
        let share = self.share(stats, progress.elapsed_ns);
        let failures = stats.failures.total();
        let line = format!(
            "{}{share}{:6.1} s  {:>9.0} req/s  p50 {}  p99 {}  p99.9 {}  max {}  errors {failures}",
            self.label,
            progress.elapsed_ns as f64 / 1e9,
            count as f64 / seconds,
            milliseconds(latency.value_at_quantile(0.5)),
            milliseconds(latency.value_at_quantile(0.99)),
            milliseconds(latency.value_at_quantile(0.999)),
            milliseconds(latency.max()),
        );
        self.write(&line);
    }

    fn share(&self, stats: &RunStats, elapsed_ns: u64) -> String {
        let share = if self.duration_ns > 0 {
            elapsed_ns as f64 / self.duration_ns as f64
        } else if self.requests > 0 {
            stats.requests() as f64 / self.requests as f64
        } else {
            return String::new();
        };
        let percent = (share * 100.0).clamp(0.0, 100.0);
        if !self.terminal {
            return format!("{percent:3.0} % ");
        }
        let full = (percent / 5.0) as usize;
        format!(
            "[{}{}] {percent:3.0} % ",
            "#".repeat(full),
            ".".repeat(20 - full)
        )
    }

    fn write(&mut self, line: &str) {
        let mut stderr = std::io::stderr().lock();
        // A closed stderr is no reason to end a run.
        let _ = if self.terminal {
            write!(stderr, "\r\x1b[K{line}")
        } else {
            writeln!(stderr, "{line}")
        };
        let _ = stderr.flush();
        self.wrote = true;
    }

    /// The last line of a phase.
    pub(crate) fn finish(&mut self, stats: &RunStats) {
        if self.quiet {
            return;
        }
        let line = format!(
            "{}{} requests in {:.2} s: {:.0} req/s, errors {}",
            self.label,
            stats.requests(),
            stats.seconds(),
            stats.rate(),
            stats.failures.total()
        );
        self.write(&line);
        if self.terminal {
            eprintln!();
        }
    }
}

/// Milliseconds with a fixed width.
fn milliseconds(ns: u64) -> String {
    format!("{:>7.3} ms", ns as f64 / 1e6)
}
