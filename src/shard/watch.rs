//! What a shard notices about the time that its commands take: histograms, slow calls, events of
//! the latency monitor.
//!
//! On the way of a request stands one compare, of its duration with [`Watch::slow_ticks`], and one
//! increment in a histogram. Everything else happens for slow calls alone.

use std::collections::{BTreeMap, VecDeque};

use super::{Shard, Ticks};
use crate::command::context::Caller;
use crate::command::registry::RowId;
use crate::command::spec::{Flags, Spec};
use crate::mesh::ShardId;
use crate::server::config::Config;

/// Buckets for each power of two, as a power of two itself.
const SUB_BITS: u32 = 2;
/// Buckets of a histogram: up to 2^34 ns, that is 17 s; the last one holds what is longer.
pub const LATENCY_BUCKETS: usize = 128;
/// Samples that are kept of an event (Redis's LATENCY_TS_LEN).
pub const SAMPLES_MAX: usize = 160;

/// Calls by duration: four buckets for each power of two of nanoseconds.
pub type Histogram = [u64; LATENCY_BUCKETS];

/// The bucket of a duration in nanoseconds.
#[inline]
pub fn bucket_of(ns: u64) -> usize {
    let ns = ns.max(1 << SUB_BITS);
    let shift = 63 - SUB_BITS - ns.leading_zeros();
    let bucket = (shift << SUB_BITS | (ns >> shift) as u32 & ((1 << SUB_BITS) - 1)) as usize;
    bucket.min(LATENCY_BUCKETS - 1)
}

/// The duration in nanoseconds before which all calls of a bucket ended.
pub fn bucket_end(bucket: usize) -> u64 {
    let (shift, sub) = (bucket >> SUB_BITS, bucket & ((1 << SUB_BITS) - 1));
    ((1 << SUB_BITS) + sub as u64 + 1) << shift
}

/// One shard's observation of its commands.
pub struct Watch {
    /// Ticks from which a call is looked at closely; `u64::MAX`: never.
    pub slow_ticks: u64,
    /// Ticks from which a turn of the loop is looked at closely: it is a stall, or the longest yet.
    pub long_turn_ticks: u64,
    /// The longest call of this turn among those that were looked at closely.
    pub longest_call: Option<(RowId, u64)>,
    /// Whether histograms are kept.
    pub tracking: bool,
    /// Nanoseconds in a tick, with 32 binary places.
    ns_per_tick: u64,
    /// Slow calls that the slow log has not taken yet.
    pub slow_calls: Vec<SlowCall>,
    /// The slow log's entries of this shard's clients.
    pub slow_log: SlowLog,
    /// Events of the latency monitor.
    pub events: BTreeMap<&'static str, Event>,
}

/// A call that was slow, at the shard that executed it.
pub struct SlowCall {
    /// The number of its entry.
    pub id: u64,
    /// Unix time, seconds.
    pub unix_s: u64,
    /// How long it took.
    pub us: u64,
    /// The client.
    pub client: u64,
    /// The client's home.
    pub home: ShardId,
    /// The arguments as the slow log shows them.
    pub args: Vec<Vec<u8>>,
}

/// An entry of the slow log.
pub struct SlowEntry {
    /// The call.
    pub call: SlowCall,
    /// The client's address; empty if it has gone before the entry was made.
    pub addr: String,
    /// The client's name.
    pub name: Vec<u8>,
}

/// The newest entries first, at most `slowlog-max-len`.
#[derive(Default)]
pub struct SlowLog {
    /// The entries.
    pub entries: VecDeque<SlowEntry>,
}

impl SlowLog {
    /// Adds an entry; the oldest beyond `len_max` go. Entries of calls that other shards executed
    /// may come late.
    pub fn add(&mut self, entry: SlowEntry, len_max: u64) {
        let newer = |e: &SlowEntry| e.call.id > entry.call.id;
        let at = self.entries.iter().take_while(|e| newer(e)).count();
        self.entries.insert(at, entry);
        self.entries
            .truncate(usize::try_from(len_max).unwrap_or(usize::MAX));
    }
}

/// What the latency monitor has seen of one kind of event.
#[derive(Default, Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Unix time in seconds, and the longest duration in that second, in milliseconds; oldest
    /// first, at most [`SAMPLES_MAX`].
    pub samples: VecDeque<(u64, u64)>,
    /// The longest of all times, milliseconds.
    pub ms_max: u64,
}

impl Event {
    /// Adds a sample; of one second only the longest is kept.
    pub fn add(&mut self, unix_s: u64, ms: u64) {
        self.ms_max = self.ms_max.max(ms);
        match self.samples.back_mut() {
            Some((last, longest)) if *last == unix_s => *longest = ms.max(*longest),
            _ => {
                if self.samples.len() == SAMPLES_MAX {
                    self.samples.pop_front();
                }
                self.samples.push_back((unix_s, ms));
            }
        }
    }
}

impl Watch {
    /// Nothing seen yet.
    pub fn new(config: &Config, ticks: Ticks) -> Self {
        let mut watch = Self {
            slow_ticks: u64::MAX,
            long_turn_ticks: 0,
            longest_call: None,
            tracking: true,
            ns_per_tick: (1000 << 32) / ticks.per_us,
            slow_calls: Vec::new(),
            slow_log: SlowLog::default(),
            events: BTreeMap::new(),
        };
        watch.configure(config, ticks);
        watch
    }

    /// Takes the thresholds of the configuration.
    pub fn configure(&mut self, config: &Config, ticks: Ticks) {
        let slow_us = u64::try_from(config.slowlog_log_slower_than).unwrap_or(u64::MAX);
        let monitor_us = match config.latency_monitor_threshold {
            0 => u64::MAX,
            ms => ms.saturating_mul(1000),
        };
        let stall_us = stall_us(config);
        let close_us = slow_us.min(monitor_us).min(stall_us);
        self.slow_ticks = close_us.saturating_mul(ticks.per_us);
        self.long_turn_ticks = 0;
        self.tracking = config.latency_tracking;
        let len_max = usize::try_from(config.slowlog_max_len).unwrap_or(usize::MAX);
        self.slow_log.entries.truncate(len_max);
    }

    /// Remembers a call that may be the turn's longest.
    pub fn note_call(&mut self, row: RowId, took: u64) {
        if took >= self.slow_ticks && self.longest_call.is_none_or(|(_, most)| took > most) {
            self.longest_call = Some((row, took));
        }
    }

    /// The longest turn took `longest_us` until now.
    pub fn set_long_turn(&mut self, config: &Config, ticks: Ticks, longest_us: u64) {
        let us = longest_us.saturating_add(1).min(stall_us(config));
        self.long_turn_ticks = us.saturating_mul(ticks.per_us);
    }

    /// The bucket of a duration in ticks.
    #[inline]
    pub fn bucket(&self, ticks: u64) -> usize {
        bucket_of(((u128::from(ticks) * u128::from(self.ns_per_tick)) >> 32) as u64)
    }
}

/// Microseconds that make a turn a stall.
fn stall_us(config: &Config) -> u64 {
    match config.stall_threshold_ms {
        0 => u64::MAX,
        ms => ms.saturating_mul(1000),
    }
}

impl Shard {
    /// A call was slow: keeps it for the slow log, and counts it as an event, as configured.
    #[cold]
    pub fn note_slow(&mut self, row: RowId, took: u64, caller: Caller, args: &[&[u8]]) {
        let us = self.ticks.to_us(took);
        self.watch.note_call(row, took);
        let unix_s = self.now_ms / 1000;
        let spec = self.registry.row(row).spec;
        let threshold_ms = self.config.latency_monitor_threshold;
        if threshold_ms > 0 && us / 1000 >= threshold_ms {
            let event = match spec.flags.has(Flags::FAST) {
                true => "fast-command",
                false => "command",
            };
            let events = &mut self.watch.events;
            events.entry(event).or_default().add(unix_s, us / 1000);
        }
        let slow_us = u64::try_from(self.config.slowlog_log_slower_than).unwrap_or(u64::MAX);
        if us < slow_us || spec.flags.has(Flags::SKIP_SLOWLOG) || self.config.slowlog_max_len == 0 {
            return;
        }
        self.watch.slow_calls.push(SlowCall {
            id: self.node.new_slow_id(),
            unix_s,
            us,
            client: caller.client,
            home: caller.home,
            args: shown(spec, args, &self.config),
        });
    }
}

/// The arguments as the slow log shows them: secrets hidden, the many and the long ones cut.
fn shown(spec: &Spec, args: &[&[u8]], config: &Config) -> Vec<Vec<u8>> {
    let (argc_max, bytes_max) = (
        config.slowlog_entry_max_argc as usize,
        config.slowlog_entry_max_string_len as usize,
    );
    let cut = args.len() > argc_max;
    let whole = if cut { argc_max - 1 } else { args.len() };
    let mut list: Vec<Vec<u8>> = args[..whole]
        .iter()
        .enumerate()
        .map(|(at, arg)| match arg.len().checked_sub(bytes_max) {
            _ if (spec.secret)(args, at) => b"(redacted)".to_vec(),
            None | Some(0) => arg.to_vec(),
            Some(more) => {
                let mut text = arg[..bytes_max].to_vec();
                text.extend_from_slice(format!("... ({more} more bytes)").as_bytes());
                text
            }
        })
        .collect();
    if cut {
        let more = args.len() - whole;
        list.push(format!("... ({more} more arguments)").into_bytes());
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::registry::Registry;

    #[test]
    fn buckets_lie_between_their_ends() {
        let mut last = 0;
        for ns in (0..100_000u64).chain((20..40).map(|n| 1 << n)) {
            let bucket = bucket_of(ns);
            assert!(bucket >= last, "{ns}");
            last = bucket;
            if bucket < LATENCY_BUCKETS - 1 && ns >= 4 {
                assert!(ns < bucket_end(bucket), "{ns}");
                assert!(bucket == 0 || ns >= bucket_end(bucket - 1), "{ns}");
            }
        }
        assert_eq!(bucket_end(bucket_of(1023)), 1024);
    }

    #[test]
    fn secrets_and_long_lists_are_hidden() {
        let config = Config::default();
        let registry = Registry::new(crate::command::FAMILIES);
        let text = |line: &str| {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let row = registry.resolve(&args).expect("a command");
            let shown = shown(registry.row(row).spec, &args, &config);
            String::from_utf8(shown.join(&b' ')).expect("text")
        };
        assert_eq!(text("auth me pass"), "auth (redacted) (redacted)");
        assert_eq!(
            text("hello 3 auth me pass setname x"),
            "hello 3 auth (redacted) (redacted) setname x"
        );
        assert_eq!(
            text("config set requirepass x port 1"),
            "config set requirepass (redacted) port 1"
        );
        let many = format!("mget{}", " a".repeat(39));
        assert!(text(&many).ends_with("a ... (9 more arguments)"));
        let long = format!("set k {}", "v".repeat(130));
        assert!(text(&long).ends_with("v... (2 more bytes)"));
    }

    #[test]
    fn an_event_keeps_the_longest_of_a_second() {
        let mut event = Event::default();
        for (s, ms) in [(1, 5), (1, 9), (1, 2), (2, 3)] {
            event.add(s, ms);
        }
        assert_eq!(event.samples, [(1, 9), (2, 3)]);
        (3..400).for_each(|s| event.add(s, 1));
        assert_eq!((event.samples.len(), event.ms_max), (SAMPLES_MAX, 9));
    }
}
