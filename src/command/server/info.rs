//! INFO: the server's state as text, for the whole server. Names, order and number formats are
//! those of redis-server 7; the sections `Shards` and `Transactions` are our own.

use std::fmt::Write;

use super::report::Report;
use crate::command::context::{MergeCtx, PartCtx};
use crate::command::error::Outcome;
use crate::command::registry::Registry;
use crate::command::spec::{Acl, Flags, Group, Run, Spec};
use crate::mesh::ShardId;
use crate::net::session::flag;
use crate::server::boot::{REDIS_VERSION, VERSION};
use crate::server::config::{Config, Supervised, print_percentile};
use crate::server::facts;
use crate::shard::node::Node;
use crate::shard::watch::{Histogram, bucket_end};

pub(super) const SPEC: Spec = Spec {
    name: "info",
    arity: -1,
    flags: Flags::LOADING.or(Flags::STALE),
    acl: Acl::SLOW.or(Acl::DANGEROUS),
    group: Group::Server,
    since: "1.0.0",
    complexity: "O(1)",
    summary: "Returns information and statistics about the server.",
    history: &[("7.0.0", "Several sections.")],
    syntax: "[section [section ...]]",
    tips: &[
        "nondeterministic_output",
        "request_policy:all_shards",
        "response_policy:special",
    ],
    run: Run::Gather {
        prepare: None,
        part,
        merge,
    },
    ..Spec::BASE
};

/// A section: its name, whether it belongs to `default`, and whether to `all`.
type Section = (&'static str, bool, bool, fn(&mut Text<'_>));

/// In the order in which they are printed.
const SECTIONS: &[Section] = &[
    ("server", true, true, |t| t.server()),
    ("clients", true, true, |t| t.clients()),
    ("memory", true, true, |t| t.memory()),
    ("persistence", true, true, |t| t.persistence()),
    ("threads", true, true, |t| t.threads()),
    ("stats", true, true, |t| t.stats()),
    ("replication", true, true, |t| t.replication()),
    ("cpu", true, true, |t| t.cpu()),
    ("modules", true, false, |t| t.modules()),
    ("commandstats", false, true, |t| t.command_stats()),
    ("errorstats", true, true, |t| t.error_stats()),
    ("latencystats", false, true, |t| t.latency_stats()),
    ("cluster", true, true, |t| t.cluster()),
    ("keyspace", true, true, |t| t.keyspace()),
    ("shards", true, true, |t| t.shards()),
    ("transactions", true, true, |t| t.transactions()),
    ("debug", false, false, |t| t.debug()),
];

/// Which sections the arguments name, in the order of [`SECTIONS`].
fn wanted(args: &[&[u8]]) -> Vec<&'static Section> {
    let names = &args[1..];
    let is = |name: &str| {
        names
            .iter()
            .any(|n| n.eq_ignore_ascii_case(name.as_bytes()))
    };
    let default = names.is_empty() || is("default");
    let (all, everything) = (is("all"), is("everything"));
    SECTIONS
        .iter()
        .filter(|(name, in_default, in_all, _)| {
            let grouped =
                default && *in_default || all && *in_all || everything && (*in_default || *in_all);
            grouped || is(name)
        })
        .collect()
}

fn part(ctx: &mut PartCtx<'_>) -> Outcome {
    ctx.engine.shard.settle_snapshot();
    let per_command = wanted(ctx.args)
        .iter()
        .any(|(name, ..)| matches!(*name, "commandstats" | "latencystats"));
    Report::of(ctx.engine, per_command).put(&mut ctx.out.buf);
    Ok(())
}

fn merge(ctx: &mut MergeCtx<'_>) -> Outcome {
    let parts: Vec<Report> = ctx.parts.iter().map(|p| Report::read(&p.buf)).collect();
    let mut all = Report::default();
    parts.iter().for_each(|part| all.add(part));
    let core = ctx.engine.session(ctx.conn).is(flag::CORE);
    let shard = &ctx.engine.shard;
    let mut text = Text {
        core: core.then_some(shard.id),
        out: String::with_capacity(4096),
        config: &shard.config,
        node: &shard.node,
        registry: &shard.registry,
        now_us: shard.now_us,
        all: &all,
        parts: &parts,
    };
    for (at, (_, _, _, section)) in wanted(ctx.args).iter().enumerate() {
        if at > 0 {
            text.out.push_str("\r\n");
        }
        section(&mut text);
    }
    let text = text.out;
    ctx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// The text that is being written, and what it is written from.
struct Text<'a> {
    /// The shard that is spoken of, where it is one node of a cluster for the client.
    core: Option<ShardId>,
    out: String,
    config: &'a Config,
    node: &'a Node,
    registry: &'a Registry,
    now_us: u64,
    all: &'a Report,
    parts: &'a [Report],
}

impl Text<'_> {
    fn head(&mut self, name: &str) {
        self.line(format_args!("# {name}"));
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        let _ = self.out.write_fmt(text); // writing to a String cannot fail
        self.out.push_str("\r\n");
    }

    fn field(&mut self, name: &str, value: impl std::fmt::Display) {
        self.line(format_args!("{name}:{value}"));
    }

    fn fields<V: std::fmt::Display>(&mut self, fields: &[(&str, V)]) {
        fields
            .iter()
            .for_each(|(name, value)| self.field(name, value));
    }

    /// Fields of what is not there: features of later, or of other servers, that monitoring reads.
    fn zeros(&mut self, names: &[&str]) {
        names.iter().for_each(|name| self.field(name, 0));
    }

    /// A number of bytes and the same for people.
    fn bytes(&mut self, name: &str, bytes: u64) {
        self.field(name, bytes);
        self.field(&format!("{name}_human"), human(bytes));
    }

    fn server(&mut self) {
        let uptime_s = (self.now_us / 1000).saturating_sub(self.node.started_ms) / 1000;
        let supervised = match self.config.supervised {
            Supervised::Systemd => "systemd",
            Supervised::Upstart => "upstart",
            Supervised::Auto if std::env::var_os("NOTIFY_SOCKET").is_some() => "systemd",
            Supervised::Auto if std::env::var_os("UPSTART_JOB").is_some() => "upstart",
            Supervised::Auto | Supervised::No => "no",
        };
        let config_file = self.config.config_file.as_ref();
        let config_file = config_file.map_or_else(String::new, |p| p.display().to_string());
        self.head("Server");
        self.field("redis_version", REDIS_VERSION);
        self.field("server_name", "ringdove");
        self.field("ringdove_version", VERSION);
        self.field("redis_git_sha1", "00000000");
        self.field("redis_git_dirty", 0);
        self.field("redis_build_id", "0000000000000000");
        let mode = match self.core {
            Some(_) => "cluster",
            None => "standalone",
        };
        self.field("redis_mode", mode);
        self.field("os", facts::system());
        self.field("arch_bits", usize::BITS);
        self.field("monotonic_clock", "time stamp counter");
        self.field("multiplexing_api", "io_uring");
        self.field("atomicvar_api", "rust");
        self.field("gcc_version", "0.0.0");
        self.field("process_id", std::process::id());
        self.field("process_supervised", supervised);
        self.field("run_id", &self.node.run_id);
        self.field("tcp_port", self.port());
        self.field("server_time_usec", self.now_us);
        self.field("uptime_in_seconds", uptime_s);
        self.field("uptime_in_days", uptime_s / (24 * 3600));
        self.field("hz", self.config.hz);
        self.field("configured_hz", self.config.hz);
        self.field("lru_clock", (self.now_us / 1_000_000) & 0xFF_FFFF);
        self.field("executable", facts::executable());
        self.field("config_file", config_file);
        self.field("io_threads_active", 0);
        self.field("shards", self.node.shards);
    }

    /// The port that the client speaks to.
    fn port(&self) -> u16 {
        match (self.core, &self.node.cores) {
            (Some(shard), Some(cores)) => cores.port(shard),
            _ => self.config.port,
        }
    }

    fn clients(&mut self) {
        let all = self.all;
        self.head("Clients");
        self.fields(&[
            ("connected_clients", all.counters.clients),
            ("cluster_connections", 0),
            ("maxclients", self.config.maxclients.into()),
            ("client_recent_max_input_buffer", all.input_bytes_max),
            ("client_recent_max_output_buffer", all.output_bytes_max),
            ("blocked_clients", all.counters.blocked),
        ]);
        self.field("tracking_clients", self.all.counters.trackers);
        self.field("pubsub_clients", self.all.counters.subscribers);
        self.field("watching_clients", self.all.counters.watching_clients);
        self.field("clients_in_timeout_table", 0);
        self.field("total_watched_keys", self.all.counters.watched_keys);
        self.field("total_blocking_keys", self.all.counters.blocking_keys);
        self.field("total_blocking_keys_on_nokey", 0);
    }

    fn memory(&mut self) {
        let c = &self.all.counters;
        let used = c.keyspace_bytes + c.client_bytes;
        let peak = self.node.used_peak(used);
        let rss = facts::resident_bytes();
        self.head("Memory");
        self.bytes("used_memory", used);
        self.bytes("used_memory_rss", rss);
        self.bytes("used_memory_peak", peak);
        self.field("used_memory_peak_perc", percent(used, peak));
        self.field("used_memory_overhead", c.client_bytes);
        self.field("used_memory_startup", 0);
        self.field("used_memory_dataset", c.keyspace_bytes);
        self.field("used_memory_dataset_perc", percent(c.keyspace_bytes, used));
        self.field("allocator_allocated", used);
        self.field("allocator_active", rss);
        self.field("allocator_resident", rss);
        self.bytes("total_system_memory", facts::memory_of_host());
        self.bytes("used_memory_lua", 0);
        self.field("used_memory_vm_eval", 0);
        self.field("used_memory_scripts_eval", 0);
        self.zeros(&[
            "number_of_cached_scripts",
            "number_of_functions",
            "number_of_libraries",
            "used_memory_vm_functions",
        ]);
        self.bytes("used_memory_vm_total", 0);
        self.field("used_memory_functions", 0);
        self.bytes("used_memory_scripts", 0);
        self.bytes("maxmemory", self.config.maxmemory);
        self.field("maxmemory_policy", self.config.maxmemory_policy.name());
        let beyond = rss as i64 - used as i64;
        self.field("allocator_frag_ratio", ratio(rss, used));
        self.field("allocator_frag_bytes", beyond);
        self.field("allocator_rss_ratio", "1.00");
        self.field("allocator_rss_bytes", 0);
        self.field("rss_overhead_ratio", "1.00");
        self.field("rss_overhead_bytes", 0);
        self.field("mem_fragmentation_ratio", ratio(rss, used));
        self.field("mem_fragmentation_bytes", beyond);
        self.zeros(&[
            "mem_not_counted_for_evict",
            "mem_replication_backlog",
            "mem_total_replication_buffers",
            "mem_clients_slaves",
        ]);
        self.field("mem_clients_normal", c.client_bytes);
        self.zeros(&["mem_cluster_links", "mem_aof_buffer"]);
        self.field("mem_allocator", "mimalloc");
        self.field("active_defrag_running", 0);
        self.field("lazyfree_pending_objects", c.lazy_pending);
        self.field("lazyfreed_objects", c.lazy_freed);
    }

    fn persistence(&mut self) {
        self.head("Persistence");
        let loading = &self.node.saver.loading;
        self.field("loading", u8::from(loading.is_under_way()));
        self.zeros(&[
            "async_loading",
            "current_cow_peak",
            "current_cow_size",
            "current_cow_size_age",
        ]);
        self.field("current_fork_perc", "0.00");
        self.zeros(&["current_save_keys_processed", "current_save_keys_total"]);
        self.field("rdb_changes_since_last_save", self.all.counters.dirty);
        let (facts, running) = (self.node.saver.facts(), self.node.saver.running());
        let (rewrites, running) = match running {
            Some(run) if run.is_for_logs() => (Some(run), None),
            other => (None, other),
        };
        let seconds = |seconds: Option<u64>| seconds.map_or(-1, |seconds| seconds as i64);
        let status = if facts.ok { "ok" } else { "err" };
        self.field("rdb_bgsave_in_progress", u8::from(running.is_some()));
        self.field("rdb_last_save_time", facts.last_save);
        self.field("rdb_last_bgsave_status", status);
        self.field("rdb_last_bgsave_time_sec", seconds(facts.took));
        let current = seconds(running.map(|run| run.seconds()));
        self.field("rdb_current_bgsave_time_sec", current);
        self.field("rdb_saves", facts.saves);
        let at_once = self.all.counters.told_at_once;
        self.field("rdb_values_told_at_once", at_once);
        self.field("rdb_last_cow_size", 0);
        let [loaded, expired] = facts.loaded;
        self.field("rdb_last_load_keys_expired", expired);
        self.field("rdb_last_load_keys_loaded", loaded);
        let kept = self.node.logs.are_kept();
        self.field("aof_enabled", u8::from(self.node.logs.are_on()));
        let rewriting = self.node.logs.rewriting();
        self.field("aof_rewrite_in_progress", u8::from(rewrites.is_some()));
        self.field("aof_rewrite_scheduled", u8::from(rewriting.scheduled));
        self.field("aof_last_rewrite_time_sec", seconds(rewriting.took));
        let current = seconds(rewrites.map(|run| run.seconds()));
        self.field("aof_current_rewrite_time_sec", current);
        let status = if rewriting.failed { "err" } else { "ok" };
        self.field("aof_last_bgrewrite_status", status);
        self.field("aof_rewrites", rewriting.rewrites);
        self.field("aof_rewrites_consecutive_failures", rewriting.failures);
        let writes = match self.node.logs.refusal() {
            None => "ok",
            Some(_) => "err",
        };
        self.field("aof_last_write_status", writes);
        self.zeros(&[
            "aof_last_cow_size",
            "module_fork_in_progress",
            "module_fork_last_cow_size",
        ]);
        if kept {
            self.logs();
        }
        if self.node.saver.loading.is_under_way() {
            self.loading();
        }
    }

    /// The logs: Redis's fields, and a line for each shard.
    fn logs(&mut self) {
        let counters = &self.all.counters;
        self.field("aof_current_size", self.node.logs.bytes());
        self.field("aof_base_size", self.node.logs.rewriting().bytes);
        self.zeros(&["aof_pending_rewrite"]);
        self.field("aof_buffer_length", counters.log_waiting);
        let unsynced = counters.log_durable < counters.log_lsn;
        self.field("aof_pending_bio_fsync", u8::from(unsynced));
        self.zeros(&["aof_delayed_fsync"]);
        for (at, part) in self.parts.iter().enumerate() {
            let c = &part.counters;
            let shard = self.core.map_or(at as u16, |core| core.0);
            let mean_us = c.log_flush_us.checked_div(c.log_flushes).unwrap_or(0);
            self.line(format_args!(
                "log_shard_{shard}:lsn={},durable={},certain={},segments={},flushes={},\
                 last_flush_usec={},mean_flush_usec={mean_us},waiting_bytes={}",
                c.log_lsn,
                c.log_durable,
                c.log_certain,
                c.log_segments,
                c.log_flushes,
                c.log_last_flush_us,
                c.log_waiting
            ));
        }
    }

    /// How far the start's reading is, with an estimate of what is left.
    fn loading(&mut self) {
        let [began, total, read] = self.node.saver.loading.facts();
        let elapsed = (self.now_us / 1_000_000).saturating_sub(began);
        let left = total.saturating_sub(read);
        let eta = (elapsed * left).checked_div(read).unwrap_or(0);
        self.field("loading_start_time", began);
        self.field("loading_total_bytes", total);
        self.field("loading_rdb_used_mem", 0);
        self.field("loading_loaded_bytes", read);
        let share = (100 * read) as f64 / total.max(1) as f64;
        self.field("loading_loaded_perc", format_args!("{share:.2}"));
        self.field("loading_eta_seconds", eta.max(1));
    }

    /// Redis 8's threads for I/O are the shards here.
    fn threads(&mut self) {
        self.head("Threads");
        for (at, part) in self.parts.iter().enumerate() {
            let c = &part.counters;
            self.line(format_args!(
                "io_thread_{at}:clients={},reads={},writes={}",
                c.clients, c.reads, c.writes
            ));
        }
    }

    fn stats(&mut self) {
        let c = &self.all.counters;
        let kib = |bytes: u64| format!("{:.2}", bytes as f64 / 1024.0);
        self.head("Stats");
        self.fields(&[
            ("total_connections_received", c.connections_received),
            ("total_commands_processed", c.commands),
            ("instantaneous_ops_per_sec", c.ops_per_s),
            ("total_net_input_bytes", c.bytes_in),
            ("total_net_output_bytes", c.bytes_out),
            ("total_net_repl_input_bytes", 0),
            ("total_net_repl_output_bytes", 0),
        ]);
        self.field("instantaneous_input_kbps", kib(c.bytes_in_per_s));
        self.field("instantaneous_output_kbps", kib(c.bytes_out_per_s));
        self.field("instantaneous_input_repl_kbps", kib(0));
        self.field("instantaneous_output_repl_kbps", kib(0));
        self.field("rejected_connections", c.connections_rejected);
        self.zeros(&["sync_full", "sync_partial_ok", "sync_partial_err"]);
        self.field("expired_keys", c.expired);
        self.field("expired_subkeys", c.expired_fields);
        self.field("expired_stale_perc", "0.00");
        self.zeros(&[
            "expired_time_cap_reached_count",
            "expire_cycle_cpu_milliseconds",
            "evicted_keys",
            "evicted_clients",
            "evicted_scripts",
            "total_eviction_exceeded_time",
            "current_eviction_exceeded_time",
        ]);
        self.fields(&[("keyspace_hits", c.hits), ("keyspace_misses", c.misses)]);
        self.fields(&[
            ("pubsub_channels", c.channels),
            ("pubsub_patterns", c.patterns),
            ("pubsubshard_channels", c.shard_channels),
        ]);
        self.zeros(&["latest_fork_usec", "total_forks"]);
        let sockets = crate::server::migrate::sockets_kept() as u64;
        self.fields(&[("migrate_cached_sockets", sockets)]);
        self.zeros(&[
            "slave_expires_tracked_keys",
            "active_defrag_hits",
            "active_defrag_misses",
            "active_defrag_key_hits",
            "active_defrag_key_misses",
            "total_active_defrag_time",
            "current_active_defrag_time",
        ]);
        self.fields(&[
            ("tracking_total_keys", c.tracked_keys),
            ("tracking_total_items", c.tracked_items),
            ("tracking_total_prefixes", c.tracked_prefixes),
            ("unexpected_error_replies", 0),
        ]);
        self.field("total_error_replies", c.error_replies);
        self.field("dump_payload_sanitizations", 0);
        self.field("total_reads_processed", c.reads);
        self.field("total_writes_processed", c.writes);
        self.zeros(&[
            "io_threaded_reads_processed",
            "io_threaded_writes_processed",
            "io_threaded_total_prefetch_batches",
            "io_threaded_total_prefetch_entries",
        ]);
        self.fields(&[
            (
                "client_query_buffer_limit_disconnections",
                c.query_limit_disconnections,
            ),
            (
                "client_output_buffer_limit_disconnections",
                c.output_limit_disconnections,
            ),
        ]);
        self.zeros(&[
            "reply_buffer_shrinks",
            "reply_buffer_expands",
            "acl_access_denied_auth",
            "acl_access_denied_cmd",
            "acl_access_denied_key",
            "acl_access_denied_channel",
        ]);
    }

    fn replication(&mut self) {
        self.head("Replication");
        self.field("role", "master");
        self.field("connected_slaves", 0);
        self.field("master_failover_state", "no-failover");
        self.field("master_replid", &self.node.run_id);
        self.field("master_replid2", "0".repeat(40));
        self.field("master_repl_offset", 0);
        self.field("second_repl_offset", -1);
        self.field("repl_backlog_active", 0);
        self.field("repl_backlog_size", self.config.repl_backlog_size);
        self.zeros(&["repl_backlog_first_byte_offset", "repl_backlog_histlen"]);
    }

    fn cpu(&mut self) {
        let (process, children, thread) = (
            facts::cpu_of_process(),
            facts::cpu_of_children(),
            facts::cpu_of_thread(),
        );
        self.head("CPU");
        for (name, seconds) in [
            ("used_cpu_sys", process.system),
            ("used_cpu_user", process.user),
            ("used_cpu_sys_children", children.system),
            ("used_cpu_user_children", children.user),
            ("used_cpu_sys_main_thread", thread.system),
            ("used_cpu_user_main_thread", thread.user),
        ] {
            self.line(format_args!("{name}:{seconds:.6}"));
        }
    }

    fn modules(&mut self) {
        self.head("Modules");
    }

    fn command_stats(&mut self) {
        self.head("Commandstats");
        for (id, c) in &self.all.calls {
            let name = &self.registry.rows[usize::from(*id)].full_name;
            let per_call = c.us as f64 / c.calls.max(1) as f64;
            self.line(format_args!(
                "cmdstat_{name}:calls={},usec={},usec_per_call={per_call:.2},\
                 rejected_calls={},failed_calls={}",
                c.calls, c.us, c.rejected, c.failed
            ));
        }
    }

    fn error_stats(&mut self) {
        self.head("Errorstats");
        for (code, count) in &self.all.errors {
            self.line(format_args!("errorstat_{code}:count={count}"));
        }
    }

    fn latency_stats(&mut self) {
        self.head("Latencystats");
        if !self.config.latency_tracking {
            return;
        }
        for (id, histogram) in &self.all.histograms {
            let name = &self.registry.rows[usize::from(*id)].full_name;
            let mut list = String::new();
            for p in &self.config.latency_tracking_info_percentiles.0 {
                let us = percentile(histogram, *p) as f64 / 1000.0;
                let comma = if list.is_empty() { "" } else { "," };
                let _ = write!(list, "{comma}p{}={us:.3}", print_percentile(*p));
            }
            self.line(format_args!("latency_percentiles_usec_{name}:{list}"));
        }
    }

    fn cluster(&mut self) {
        self.head("Cluster");
        self.field("cluster_enabled", u8::from(self.core.is_some()));
    }

    fn keyspace(&mut self) {
        self.head("Keyspace");
        for (at, db) in self.all.databases.iter().enumerate() {
            if db.keys > 0 {
                let ttl = db.ttl_ms_sum / db.ttl_draws.max(1);
                self.line(format_args!(
                    "db{at}:keys={},expires={},avg_ttl={ttl}",
                    db.keys, db.expires
                ));
            }
        }
    }

    fn shards(&mut self) {
        self.head("Shards");
        let first = self.core.map_or(0, ShardId::index);
        for (at, part) in (first..).zip(self.parts) {
            let c = &part.counters;
            self.line(format_args!(
                "shard{at}:connections={},keys={},used_memory={},ops_per_sec={},commands={},hops={},\
                 turns={},stalled_turns={},longest_turn_usec={},txns_running={},txns_held={},\
                 txns_waiting={},commands_parked={},connections_moved_away={}",
                c.clients,
                c.keys,
                c.keyspace_bytes + c.client_bytes,
                c.ops_per_s,
                c.commands,
                c.hops,
                c.turns,
                c.stalled_turns,
                part.longest_turn_us,
                c.txns_running,
                c.parts_held,
                c.parts_waiting,
                c.parked,
                c.migrated_away
            ));
        }
    }

    /// What commands and blocks over several shards have done so far.
    fn transactions(&mut self) {
        let c = &self.all.counters;
        self.head("Transactions");
        self.fields(&[
            ("txns_begun", c.txns_begun),
            ("txns_executed", c.txns_executed),
            ("txns_gave_way", c.txns_gave_way),
            ("txns_refused_by_watch", c.txns_dirty),
            ("txns_cancelled", c.txns_cancelled),
            ("commands_that_waited", c.txns_parked),
            ("txns_running", c.txns_running),
            ("txns_held", c.parts_held),
            ("txns_waiting", c.parts_waiting),
            ("commands_parked", c.parked),
        ]);
    }

    fn debug(&mut self) {
        self.head("Debug");
        self.field("eventloop_cycles", self.all.counters.turns);
        self.field("eventloop_stalls", self.all.counters.stalled_turns);
        self.field("eventloop_duration_max", self.all.longest_turn_us);
    }
}

/// The duration in nanoseconds within which `percent` of the calls ended.
fn percentile(histogram: &Histogram, percent: f64) -> u64 {
    let calls: u64 = histogram.iter().sum();
    let rank = ((calls as f64 * percent / 100.0).ceil() as u64).max(1);
    let mut below = 0;
    for (bucket, count) in histogram.iter().enumerate() {
        below += count;
        if below >= rank {
            return bucket_end(bucket) - 1;
        }
    }
    0
}

/// Bytes for people, as Redis writes them: `894.93K`.
pub(super) fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit < UNITS.len() - 1 {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.2}{}", UNITS[unit])
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.2}%", part as f64 * 100.0 / whole.max(1) as f64)
}

fn ratio(a: u64, b: u64) -> String {
    format!("{:.2}", a as f64 / b.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_chosen_by_name_and_group() {
        let names = |line: &str| -> Vec<&str> {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            wanted(&args).iter().map(|(name, ..)| *name).collect()
        };
        assert_eq!(names("info CPU server"), ["server", "cpu"]);
        assert!(names("info nosuch").is_empty());
        assert!(!names("info").contains(&"commandstats"));
        assert!(names("info all").contains(&"latencystats"));
        assert!(!names("info all").contains(&"modules"));
        assert!(names("info everything").contains(&"modules"));
        assert!(names("info default commandstats").contains(&"commandstats"));
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(human(0), "0B");
        assert_eq!(human(916_408), "894.93K");
        assert_eq!(human(25_276_514_304), "23.54G");
        assert_eq!(percent(1, 3), "33.33%");
        let mut histogram = [0; crate::shard::watch::LATENCY_BUCKETS];
        (histogram[40], histogram[60]) = (99, 1);
        assert_eq!(percentile(&histogram, 99.0), bucket_end(40) - 1);
        assert_eq!(percentile(&histogram, 99.9), bucket_end(60) - 1);
    }
}
