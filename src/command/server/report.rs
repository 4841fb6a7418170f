//! What a shard contributes to INFO, and the sum over all shards.

use std::collections::BTreeMap;

use super::record::{Fields, put, put_bytes};
use crate::command::registry::RowId;
use crate::net::engine::Engine;
use crate::net::session::{Info, Session};
use crate::shard::channels::Class;
use crate::shard::watch::{Histogram, LATENCY_BUCKETS};

/// Keys that are drawn for the mean time to live of a database.
const TTL_DRAWS: usize = 16;

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// Numbers that are added up over the shards.
        #[derive(Clone, Default)]
        pub(super) struct Counters { $($(#[$doc])* pub(super) $field: u64,)* }
        impl Counters {
            fn put(&self, buf: &mut Vec<u8>) { $(put(buf, self.$field);)* }
            fn read(fields: &mut Fields<'_>) -> Self { Self { $($field: fields.number(),)* } }
            fn add(&mut self, other: &Self) { $(self.$field += other.$field;)* }
        }
    };
}

counters! {
    clients, blocked, blocking_keys, trackers, tracked_keys, tracked_items, tracked_prefixes, subscribers, channels, patterns, shard_channels,
    /** bytes */ keyspace_bytes,
    /** bytes */ client_bytes,
    lazy_pending, lazy_freed, dirty, keys,
    connections_received, connections_rejected, commands, bytes_in, bytes_out, reads, writes,
    ops_per_s, bytes_in_per_s, bytes_out_per_s,
    expired, expired_fields, hits, misses, error_replies, hops, migrated_away, told_at_once, turns, stalled_turns,
    query_limit_disconnections, output_limit_disconnections,
    watching_clients, watched_keys,
    txns_begun, txns_executed, txns_gave_way, txns_dirty, txns_cancelled, txns_parked,
    txns_running, parts_held, parts_waiting, parked,
    /** position in the log */ log_lsn, log_durable, log_certain,
    log_segments, log_flushes, log_last_flush_us, log_flush_us,
    /** bytes */ log_waiting,
}

/// Counters of one command, in microseconds.
#[derive(Clone, Default)]
pub(super) struct Calls {
    pub(super) calls: u64,
    pub(super) us: u64,
    pub(super) rejected: u64,
    pub(super) failed: u64,
}

/// A database: keys, keys that expire, and the sum and number of times to live that were drawn.
#[derive(Clone, Default)]
pub(super) struct Database {
    pub(super) keys: u64,
    pub(super) expires: u64,
    pub(super) ttl_ms_sum: u64,
    pub(super) ttl_draws: u64,
}

/// One shard's contribution, or that of all.
#[derive(Default)]
pub(super) struct Report {
    pub(super) counters: Counters,
    pub(super) input_bytes_max: u64,
    pub(super) output_bytes_max: u64,
    pub(super) longest_turn_us: u64,
    pub(super) databases: Vec<Database>,
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) calls: BTreeMap<u16, Calls>,
    pub(super) histograms: BTreeMap<u16, Box<Histogram>>,
}

impl Report {
    /// What this shard has to say; with `per_command` counters and histograms of each command.
    pub(super) fn of(engine: &mut Engine, per_command: bool) -> Self {
        let mut report = Self::default();
        report.look_at_clients(engine);
        report.look_at_databases(engine);
        let shard = &engine.shard;
        let stats = &shard.stats;
        let (totals, counts) = (shard.txns.totals(), shard.txns.counts());
        let log = engine.log_stats().unwrap_or_default();
        let [ops_per_s, bytes_in_per_s, bytes_out_per_s] = stats.rates.per_second();
        report.counters = Counters {
            blocking_keys: shard.blocking.keys() as u64,
            trackers: engine.trackers.connections() as u64,
            tracked_keys: shard.tracking.keys() as u64,
            tracked_items: shard.tracking.items() as u64,
            // Every shard knows all prefixes and patterns: one of them says so.
            tracked_prefixes: match shard.id.index() {
                0 => shard.tracking.prefixes() as u64,
                _ => 0,
            },
            subscribers: engine.subscribers.connections,
            channels: shard.channels.len(Class::Channel) as u64,
            patterns: match shard.id.index() {
                0 => shard.channels.len(Class::Pattern) as u64,
                _ => 0,
            },
            shard_channels: shard.channels.len(Class::Shard) as u64,
            keyspace_bytes: shard.keyspace.used_bytes() as u64,
            lazy_pending: shard.keyspace.lazy_pending() as u64,
            lazy_freed: shard.keyspace.lazy_freed(),
            dirty: shard.dirty,
            keys: report.databases.iter().map(|d| d.keys).sum(),
            connections_received: stats.connections_received,
            connections_rejected: stats.connections_rejected,
            commands: stats.commands_processed,
            bytes_in: stats.bytes_in,
            bytes_out: stats.bytes_out,
            reads: stats.reads,
            writes: stats.writes,
            ops_per_s,
            bytes_in_per_s,
            bytes_out_per_s,
            expired: stats.expired,
            expired_fields: stats.expired_fields,
            hits: stats.hits,
            misses: stats.misses,
            error_replies: stats.error_replies,
            hops: stats.hops,
            migrated_away: stats.migrated_away,
            told_at_once: stats.told_at_once,
            turns: stats.turns,
            stalled_turns: stats.stalled_turns,
            query_limit_disconnections: stats.query_buffer_limit_disconnections,
            output_limit_disconnections: stats.output_buffer_limit_disconnections,
            watched_keys: counts.watched_keys as u64,
            txns_begun: totals.begun,
            txns_executed: totals.executed,
            txns_gave_way: totals.gave_way,
            txns_dirty: totals.dirty,
            txns_cancelled: totals.cancelled,
            txns_parked: totals.parked,
            txns_running: counts.running as u64,
            parts_held: counts.held as u64,
            parts_waiting: counts.waiting as u64,
            parked: counts.parked as u64,
            log_lsn: log.lsn.0,
            log_durable: log.durable.0,
            log_certain: log.committed.0,
            log_segments: log.segments,
            log_flushes: log.flushes,
            log_last_flush_us: log.last_flush_us,
            log_flush_us: log.flush_us,
            log_waiting: log.waiting_bytes,
            ..report.counters
        };
        report.longest_turn_us = stats.longest_turn_us;
        report.errors = stats.errors.clone();
        if per_command {
            report.look_at_commands(engine);
        }
        report
    }

    fn look_at_clients(&mut self, engine: &Engine) {
        for (_, session) in engine.sessions() {
            let (input, output) = (session.input_bytes(), session.output_bytes());
            let own = size_of::<Session>() + size_of::<Info>() + session.info.name.capacity();
            self.counters.clients += 1;
            self.counters.watching_clients += u64::from(session.watches() > 0);
            self.counters.blocked += u64::from(session.info.blocked.is_some());
            self.counters.client_bytes +=
                (own + input + output.max(session.out.buf.capacity())) as u64;
            self.input_bytes_max = self.input_bytes_max.max(input as u64);
            self.output_bytes_max = self.output_bytes_max.max(output as u64);
        }
    }

    fn look_at_databases(&mut self, engine: &mut Engine) {
        let shard = &mut engine.shard;
        let now = shard.now_ms;
        for at in 0..shard.keyspace.databases() {
            let mut seed = shard.random();
            let db = shard.keyspace.db(at);
            let mut database = Database {
                keys: db.len() as u64,
                expires: db.expires() as u64,
                ..Database::default()
            };
            let draws = if db.expires() > 0 { TTL_DRAWS } else { 0 };
            for _ in 0..draws {
                let draw = || {
                    seed = seed.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
                    seed ^ seed >> 33
                };
                if let Some(expiry) = db.random(now, draw).and_then(|e| e.expiry()) {
                    let ttl = expiry.saturating_sub(now);
                    database.ttl_ms_sum = database.ttl_ms_sum.saturating_add(ttl);
                    database.ttl_draws += 1;
                }
            }
            self.databases.push(database);
        }
    }

    fn look_at_commands(&mut self, engine: &Engine) {
        let shard = &engine.shard;
        for (id, stats) in shard.stats.commands.iter().enumerate() {
            if stats.calls + stats.rejected + stats.failed > 0 {
                let calls = Calls {
                    calls: stats.calls,
                    us: shard.ticks.to_us(stats.ticks),
                    rejected: stats.rejected,
                    failed: stats.failed,
                };
                self.calls.insert(id as u16, calls);
            }
            if let Some(histogram) = &stats.latency {
                self.histograms.insert(id as u16, histogram.clone());
            }
        }
    }

    /// Writes it for the client's home.
    pub(super) fn put(&self, buf: &mut Vec<u8>) {
        self.counters.put(buf);
        put(buf, self.input_bytes_max);
        put(buf, self.output_bytes_max);
        put(buf, self.longest_turn_us);
        put(buf, self.databases.len() as u64);
        for d in &self.databases {
            [d.keys, d.expires, d.ttl_ms_sum, d.ttl_draws]
                .iter()
                .for_each(|n| put(buf, *n));
        }
        put(buf, self.errors.len() as u64);
        for (code, count) in &self.errors {
            put_bytes(buf, code.as_bytes());
            put(buf, *count);
        }
        put(buf, self.calls.len() as u64);
        for (id, c) in &self.calls {
            [u64::from(*id), c.calls, c.us, c.rejected, c.failed]
                .iter()
                .for_each(|n| put(buf, *n));
        }
        put_histograms(&self.histograms, buf);
    }

    /// Reads what another shard has written.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut fields = Fields(bytes);
        let mut report = Self {
            counters: Counters::read(&mut fields),
            input_bytes_max: fields.number(),
            output_bytes_max: fields.number(),
            longest_turn_us: fields.number(),
            ..Self::default()
        };
        for _ in 0..fields.number() {
            report.databases.push(Database {
                keys: fields.number(),
                expires: fields.number(),
                ttl_ms_sum: fields.number(),
                ttl_draws: fields.number(),
            });
        }
        for _ in 0..fields.number() {
            let code = fields.text();
            report.errors.insert(code, fields.number());
        }
        for _ in 0..fields.number() {
            let id = fields.number() as u16;
            let calls = Calls {
                calls: fields.number(),
                us: fields.number(),
                rejected: fields.number(),
                failed: fields.number(),
            };
            report.calls.insert(id, calls);
        }
        report.histograms = read_histograms(&mut fields);
        assert!(fields.is_empty(), "a report is read as it was written");
        report
    }

    /// Adds another shard's.
    pub(super) fn add(&mut self, other: &Self) {
        self.counters.add(&other.counters);
        self.input_bytes_max = self.input_bytes_max.max(other.input_bytes_max);
        self.output_bytes_max = self.output_bytes_max.max(other.output_bytes_max);
        self.longest_turn_us = self.longest_turn_us.max(other.longest_turn_us);
        self.databases
            .resize_with(other.databases.len(), Database::default);
        for (own, more) in self.databases.iter_mut().zip(&other.databases) {
            own.keys += more.keys;
            own.expires += more.expires;
            own.ttl_ms_sum = own.ttl_ms_sum.saturating_add(more.ttl_ms_sum);
            own.ttl_draws += more.ttl_draws;
        }
        for (code, count) in &other.errors {
            *self.errors.entry(code.clone()).or_default() += count;
        }
        for (id, more) in &other.calls {
            let own = self.calls.entry(*id).or_default();
            own.calls += more.calls;
            own.us += more.us;
            own.rejected += more.rejected;
            own.failed += more.failed;
        }
        add_histograms(&mut self.histograms, &other.histograms);
    }
}

/// Writes histograms: for each the row, and its buckets.
pub(super) fn put_histograms(histograms: &BTreeMap<u16, Box<Histogram>>, buf: &mut Vec<u8>) {
    put(buf, histograms.len() as u64);
    for (id, histogram) in histograms {
        put(buf, u64::from(*id));
        histogram.iter().for_each(|n| put(buf, *n));
    }
}

/// Reads what [`put_histograms`] has written.
pub(super) fn read_histograms(fields: &mut Fields<'_>) -> BTreeMap<u16, Box<Histogram>> {
    (0..fields.number())
        .map(|_| {
            let id = RowId(fields.number() as u16);
            let mut histogram = Box::new([0; LATENCY_BUCKETS]);
            histogram.iter_mut().for_each(|n| *n = fields.number());
            (id.0, histogram)
        })
        .collect()
}

/// Adds histograms of another shard.
pub(super) fn add_histograms(
    to: &mut BTreeMap<u16, Box<Histogram>>,
    from: &BTreeMap<u16, Box<Histogram>>,
) {
    for (id, more) in from {
        let own = to
            .entry(*id)
            .or_insert_with(|| Box::new([0; LATENCY_BUCKETS]));
        own.iter_mut().zip(more.iter()).for_each(|(a, b)| *a += b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_comes_over_whole_and_adds_up() {
        let mut report = Report::default();
        report.counters.clients = 3;
        report.output_bytes_max = 7;
        report.databases = vec![
            Database::default(),
            Database {
                keys: 5,
                ..Database::default()
            },
        ];
        report.errors.insert("ERR".into(), 2);
        report.calls.insert(
            4,
            Calls {
                calls: 9,
                us: 1,
                rejected: 0,
                failed: 2,
            },
        );
        report.histograms.insert(4, Box::new([1; LATENCY_BUCKETS]));
        let mut buf = Vec::new();
        report.put(&mut buf);
        let mut sum = Report::read(&buf);
        sum.add(&report);
        assert_eq!((sum.counters.clients, sum.output_bytes_max), (6, 7));
        assert_eq!(
            (
                sum.databases[1].keys,
                sum.errors["ERR"],
                sum.calls[&4].failed
            ),
            (10, 4, 4)
        );
        assert_eq!(sum.histograms[&4][9], 2);
    }
}
