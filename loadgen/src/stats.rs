//! What is measured: a histogram of latencies for each line of results and interval, made by the
//! threads, added up by the collector.
//!
//! A thread records into its current interval only, and sends it off whole when the interval ends;
//! nothing is shared while requests run.

use hdrhistogram::Histogram;

use crate::failure::Tally;

/// Latencies are recorded to three digits, between these bounds in nanoseconds; longer ones count
/// as the bound.
const LATENCY_NS_MIN: u64 = 128;
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
const DIGITS: u8 = 3;

/// An empty histogram of nanoseconds.
pub(crate) fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, DIGITS)
        .expect("the bounds are constants")
}

/// Results of one line.
#[derive(Clone, Debug)]
pub(crate) struct LineStats {
    pub(crate) latency: Histogram<u64>,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    /// Error replies (they are in the histogram too: they took their time).
    pub(crate) errors: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
}

impl LineStats {
    pub(crate) fn new() -> LineStats {
        LineStats {
            latency: latency_histogram(),
            hits: 0,
            misses: 0,
            errors: 0,
            bytes_sent: 0,
            bytes_received: 0,
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.latency.len()
    }

    /// `count` requests took `latency_ns` each.
    #[inline]
    pub(crate) fn record_n(&mut self, latency_ns: u64, count: u64) {
        self.latency.saturating_record_n(latency_ns, count);
    }

    pub(crate) fn add(&mut self, other: &LineStats) {
        // Histograms of one shape always add.
        let added = self.latency.add(&other.latency);
        assert!(added.is_ok(), "all histograms have the same bounds");
        self.hits += other.hits;
        self.misses += other.misses;
        self.errors += other.errors;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
    }

    fn reset(&mut self) {
        self.latency.reset();
        self.hits = 0;
        self.misses = 0;
        self.errors = 0;
        self.bytes_sent = 0;
        self.bytes_received = 0;
    }
}

/// What one thread saw in one interval.
#[derive(Clone, Debug)]
pub(crate) struct Interval {
    /// Counted from the start of the measured time; the same on all threads.
    pub(crate) number: u64,
    pub(crate) lines: Vec<LineStats>,
    pub(crate) failures: Tally,
    pub(crate) moved: u64,
    pub(crate) asked: u64,
    pub(crate) reconnects: u64,
}

impl Interval {
    pub(crate) fn new(lines: usize) -> Interval {
        Interval {
            number: 0,
            lines: (0..lines).map(|_| LineStats::new()).collect(),
            failures: Tally::default(),
            moved: 0,
            asked: 0,
            reconnects: 0,
        }
    }

    /// Nothing happened in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.iter().all(|l| l.count() == 0)
            && self.failures.total() == 0
            && self.moved + self.asked + self.reconnects == 0
    }

    /// Empties it for reuse.
    pub(crate) fn reset(&mut self) {
        self.lines.iter_mut().for_each(LineStats::reset);
        self.failures = Tally::default();
        self.moved = 0;
        self.asked = 0;
        self.reconnects = 0;
    }
}

/// One point of the time series: an interval of all threads. Histograms would be 200 KiB each, so
/// only what was recorded is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Point {
    /// Latencies in nanoseconds with their counts, unordered; a latency may occur several times.
    recorded: Vec<(u64, u64)>,
    /// Requests of each line.
    pub(crate) counts: Vec<u64>,
    pub(crate) failures: u64,
    pub(crate) bytes: u64,
}

impl Point {
    fn add(&mut self, number: usize, line: &LineStats) {
        let recorded = line.latency.iter_recorded();
        self.recorded
            .extend(recorded.map(|r| (r.value_iterated_to(), r.count_at_value())));
        self.counts[number] += line.count();
        self.bytes += line.bytes_sent + line.bytes_received;
    }

    /// All latencies of the interval.
    pub(crate) fn latency(&self) -> Histogram<u64> {
        let mut histogram = latency_histogram();
        for (value, count) in &self.recorded {
            histogram.saturating_record_n(*value, *count);
        }
        histogram
    }

    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// A thread's last words.
#[derive(Clone, Debug)]
pub(crate) struct ThreadEnd {
    pub(crate) started_ns: u64,
    pub(crate) ended_ns: u64,
    pub(crate) cpu_ns: u64,
    /// How late an open loop's requests were sent though a client was free.
    pub(crate) lag: Histogram<u64>,
    /// Requests by cluster node.
    pub(crate) by_node: Vec<(String, u64)>,
    /// Requests, bytes sent and bytes received of each client.
    pub(crate) clients: Vec<[u64; 3]>,
    /// All connections were lost before the end.
    pub(crate) lost: bool,
    /// Requests that the schedule had due but that were never sent, as the time ran out.
    pub(crate) overdue: u64,
}

/// Results of one run, all threads together.
#[derive(Clone, Debug)]
pub(crate) struct RunStats {
    pub(crate) names: Vec<String>,
    pub(crate) lines: Vec<LineStats>,
    pub(crate) failures: Tally,
    pub(crate) moved: u64,
    pub(crate) asked: u64,
    pub(crate) reconnects: u64,
    pub(crate) series: Vec<Point>,
    pub(crate) interval_ns: u64,
    pub(crate) threads: Vec<ThreadEnd>,
    /// Unix time of the start.
    pub(crate) started_unix_ms: u64,
    /// The rate that was asked for, in an open loop.
    pub(crate) target_rate: Option<f64>,
}

/// Points of a time series, at most; later ones are added to the last.
const POINTS_MAX: usize = 100_000;

impl RunStats {
    pub(crate) fn new(names: &[String], interval_ns: u64) -> RunStats {
        RunStats {
            names: names.to_vec(),
            lines: names.iter().map(|_| LineStats::new()).collect(),
            failures: Tally::default(),
            moved: 0,
            asked: 0,
            reconnects: 0,
            series: Vec::new(),
            interval_ns,
            threads: Vec::new(),
            started_unix_ms: 0,
            target_rate: None,
        }
    }

    /// Adds a thread's interval.
    pub(crate) fn take(&mut self, interval: &Interval) {
        let at = usize::try_from(interval.number)
            .unwrap_or(usize::MAX)
            .min(POINTS_MAX - 1);
        while self.series.len() <= at {
            let counts = vec![0; self.names.len()];
            self.series.push(Point {
                counts,
                ..Point::default()
            });
        }
        let point = &mut self.series[at];
        for (number, line) in interval.lines.iter().enumerate() {
            if line.count() == 0 {
                continue;
            }
            self.lines[number].add(line);
            point.add(number, line);
        }
        point.failures += interval.failures.total();
        self.failures.merge(&interval.failures);
        self.moved += interval.moved;
        self.asked += interval.asked;
        self.reconnects += interval.reconnects;
    }

    /// All lines together.
    pub(crate) fn total(&self) -> LineStats {
        let mut total = LineStats::new();
        self.lines.iter().for_each(|line| total.add(line));
        total
    }

    /// The measured time: from the first thread's start to the last one's end.
    pub(crate) fn seconds(&self) -> f64 {
        let start = self.threads.iter().map(|t| t.started_ns).min().unwrap_or(0);
        let end = self.threads.iter().map(|t| t.ended_ns).max().unwrap_or(0);
        (end.saturating_sub(start) as f64 / 1e9).max(1e-9)
    }

    pub(crate) fn requests(&self) -> u64 {
        self.lines.iter().map(LineStats::count).sum()
    }

    pub(crate) fn rate(&self) -> f64 {
        self.requests() as f64 / self.seconds()
    }

    /// CPU seconds of the generator's threads.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.threads.iter().map(|t| t.cpu_ns).sum::<u64>() as f64 / 1e9
    }

    /// The share of its time that the busiest thread had its CPU.
    pub(crate) fn busiest_thread(&self) -> f64 {
        self.threads
            .iter()
            .map(|t| t.cpu_ns as f64 / (t.ended_ns - t.started_ns).max(1) as f64)
            .fold(0.0, f64::max)
    }

    /// How late an open loop sent, over all threads.
    pub(crate) fn lag(&self) -> Histogram<u64> {
        let mut lag = latency_histogram();
        for thread in &self.threads {
            let added = lag.add(&thread.lag);
            assert!(added.is_ok(), "all histograms have the same bounds");
        }
        lag
    }

    pub(crate) fn overdue(&self) -> u64 {
        self.threads.iter().map(|t| t.overdue).sum()
    }

    /// Some thread lost all its connections.
    pub(crate) fn lost(&self) -> bool {
        self.threads.iter().any(|t| t.lost)
    }

    /// Requests by cluster node, over all threads.
    pub(crate) fn by_node(&self) -> Vec<(String, u64)> {
        let mut nodes: Vec<(String, u64)> = Vec::new();
        for (name, count) in self.threads.iter().flat_map(|t| &t.by_node) {
            match nodes.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += count,
                None => nodes.push((name.clone(), *count)),
            }
        }
        nodes
    }
}

/// A thread this busy is not waiting for the server: the generator is what is measured.
pub(crate) const BUSY_SHARE: f64 = 0.9;

/// Why these results may say more about the generator than about the server.
pub(crate) fn bottleneck(run: &RunStats) -> Option<String> {
    let busy = run.busiest_thread();
    if busy > BUSY_SHARE {
        return Some(format!(
            "the generator was the bottleneck: its busiest thread used {:.0} % of its CPU; add --threads, \
             or take a CPU from nobody else",
            busy * 100.0
        ));
    }
    let target = run.target_rate?;
    if run.rate() < target * 0.98 {
        return Some(format!(
            "{:.0} requests per second were asked for, {:.0} were done: latencies grow with the length of \
             the run",
            target,
            run.rate()
        ));
    }
    let lag = run.lag().value_at_quantile(0.99);
    let p99 = run.total().latency.value_at_quantile(0.99);
    (lag * 5 > p99 && lag > 1_000_000).then(|| {
        format!(
            "the generator itself sent late: p99 of {:.3} ms is in these latencies",
            lag as f64 / 1e6
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_are_kept_from_a_microsecond_to_an_hour() {
        let mut histogram = latency_histogram();
        for value in [1_000u64, 123_456, 50_000_000, 3_599_000_000_000] {
            histogram.reset();
            histogram.saturating_record(value);
            let read = histogram.value_at_quantile(1.0);
            let error = (read as f64 - value as f64).abs() / value as f64;
            assert!(
                error < 0.001 || read.abs_diff(value) <= 128,
                "{value} read as {read}"
            );
        }
        histogram.saturating_record(u64::MAX);
        assert!(histogram.max() >= LATENCY_NS_MAX);
    }

    #[test]
    fn intervals_of_threads_add_up() {
        let mut run = RunStats::new(&["Sets".to_string(), "Gets".to_string()], 1_000_000_000);
        for number in [0, 0, 1] {
            let mut interval = Interval::new(2);
            interval.number = number;
            interval.lines[1].record_n(1_000_000, 1);
            interval.lines[1].hits = 1;
            run.take(&interval);
        }
        assert_eq!(run.requests(), 3);
        assert_eq!(run.series.len(), 2);
        assert_eq!((run.series[0].counts[1], run.series[1].counts[1]), (2, 1));
        assert_eq!(run.lines[1].hits, 3);
    }
}
