//! Counters of one shard, summed over the shards when somebody asks.
use std::collections::BTreeMap;

use super::rates::Rates;
use super::watch::{Histogram, LATENCY_BUCKETS};

/// Distinct error codes that are counted; later ones are not, as on Redis (ERROR_STATS_NUMBER).
pub const ERROR_CODES_MAX: usize = 128;

/// Counters of one command.
#[derive(Clone, Default)]
pub struct CommandStats {
    /// Times that it ran.
    pub calls: u64,
    /// Ticks that it took.
    pub ticks: u64,
    /// Times that it was refused before it ran.
    pub rejected: u64,
    /// Times that it answered with an error.
    pub failed: u64,
    /// Calls by their duration, from the first call on that is tracked.
    pub latency: Option<Box<Histogram>>,
}

/// Counters of one shard.
#[derive(Clone, Default)]
pub struct Stats {
    /// One for each row of the command table.
    pub commands: Vec<CommandStats>,
    /// Error replies by code.
    pub errors: BTreeMap<String, u64>,
    /// Error replies.
    pub error_replies: u64,
    /// Commands executed here.
    pub commands_processed: u64,
    /// Connections accepted.
    pub connections_received: u64,
    /// Connections refused for `maxclients`.
    pub connections_rejected: u64,
    /// Lookups that found a key.
    pub hits: u64,
    /// Lookups that did not.
    pub misses: u64,
    /// Keys that expired.
    pub expired: u64,
    /// Fields of hashes that expired.
    pub expired_fields: u64,
    /// Bytes received from clients.
    pub bytes_in: u64,
    /// Bytes sent to clients.
    pub bytes_out: u64,
    /// Requests sent to other shards.
    pub hops: u64,
    /// Long values whose rest was told to a snapshot at once, since they were to change.
    pub told_at_once: u64,
    /// Connections that have moved to other shards.
    pub migrated_away: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// Turns longer than `stall-threshold`.
    pub stalled_turns: u64,
    /// The longest turn, microseconds.
    pub longest_turn_us: u64,
    /// Clients closed for their query buffer.
    pub query_buffer_limit_disconnections: u64,
    /// Clients closed for their output buffer.
    pub output_buffer_limit_disconnections: u64,
    /// Times that bytes came from a client.
    pub reads: u64,
    /// Times that bytes were handed to the kernel for a client.
    pub writes: u64,
    /// What happens in a second.
    pub rates: Rates,
}

impl CommandStats {
    /// Counts a call in the histogram.
    #[inline]
    pub fn track(&mut self, bucket: usize) {
        let histogram = self
            .latency
            .get_or_insert_with(|| Box::new([0; LATENCY_BUCKETS]));
        histogram[bucket] += 1;
    }
}

impl Stats {
    /// Zeros for a table of `rows` commands.
    pub fn new(rows: usize) -> Self {
        Self {
            commands: vec![CommandStats::default(); rows],
            ..Self::default()
        }
    }

    /// Counts an error reply.
    pub fn count_error(&mut self, code: &str) {
        self.error_replies += 1;
        if let Some(count) = self.errors.get_mut(code) {
            *count += 1;
        } else if self.errors.len() < ERROR_CODES_MAX {
            self.errors.insert(code.to_string(), 1);
        }
    }
}
