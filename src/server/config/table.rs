//! The directives, one row each: every one of redis.conf through Redis 8 and Valkey 9, and Ringdove's
//! own. A new directive is a new row here and nothing else.
//!
//! Names, defaults and limits are those that redis-server 7.0.15 reports; those of later versions
//! come from their documentation. Where the two projects name one thing differently, one name is the
//! row's and the other its alias.

use super::choice::*;
use super::compound::*;
use super::shape::{
    HIDDEN, IMMUTABLE, MULTI, Meaning, NOT_LOADING, PROTECTED, Row, SENSITIVE, Shape, Unit,
    directives,
};

directives! {
    // What Ringdove adds.
    /// Number of shards, that is of pinned threads. Default: the cores that the process may use.
    shards: u32 = default_shards(), "shards", IMMUTABLE, Acts, number(1, 1024);
    /// Microseconds for which an idle shard polls before it sleeps in its ring.
    spin_before_sleep_us: u64 = 0, "spin-before-sleep-us", 0, Acts, number(0, 1_000_000);
    /// Milliseconds above which a turn of a shard counts as a stall and is named in the log; 0: never.
    stall_threshold_ms: u64 = 10, "stall-threshold-ms", 0, Acts, number(0, i32::MAX);
    /// Let each shard listen on a port of its own, too, as one node of a Redis Cluster.
    core_direct: bool = false, "core-direct", IMMUTABLE, Acts, yes_no;
    /// Port of the first shard, the others follow; 0: the one after `port`.
    core_direct_port_base: u16 = 0, "core-direct-port-base", IMMUTABLE, Acts, number(0, 65_535);
    /// Redirect a key of another shard that comes to a shard's own port (MOVED), and refuse keys of
    /// several slots (CROSSSLOT) and databases but 0 there, as Redis Cluster does, instead of serving
    /// them.
    core_direct_strict: bool = false, "core-direct-strict", 0, Acts, yes_no;
    /// Ports of the shards as clients reach them, where they are mapped: separated by commas, and
    /// counted on from the last. Empty: those that the shards listen on.
    core_direct_announce_ports: Text = Text::new(), "core-direct-announce-ports", 0, Acts, text(check_announced_ports);
    /// What node ids are made of; empty: the working directory and the ports.
    core_direct_seed: Text = Text::new(), "core-direct-seed", IMMUTABLE, Acts, text;
    /// File in `dir` that says which shard owns which slots, once slots have moved.
    slot_placement_file: Text = b"ringdove.slots".to_vec(), "slot-placement-file", IMMUTABLE, Acts, text(check_slot_placement_file);
    /// Bytes of a segment of the log; each shard has two prepared.
    log_segment_size: u64 = 16 << 20, "log-segment-size", IMMUTABLE, Acts, memory(64 << 10, 1 << 30);
    /// Let a connection of the common port move to the shard on which nearly all of its keys live.
    connection_migration: bool = false, "connection-migration", 0, Acts, yes_no;

    // Network.
    /// Addresses to listen on.
    bind: Addresses = Addresses::of(&["*", "-::*"]), "bind", MULTI, Acts, compound;
    /// TCP port; 0: none.
    port: u16 = 6379, "port", 0, Acts, number(0, 65_535);
    /// Length of the queue of connections that wait to be accepted.
    tcp_backlog: i32 = 511, "tcp-backlog", IMMUTABLE, Acts, number(0, i32::MAX);
    /// Path of the UNIX socket; empty: none.
    unixsocket: Text = Text::new(), "unixsocket", IMMUTABLE, Acts, text;
    /// Permissions of the UNIX socket; 0: those that umask gives.
    unixsocketperm: u32 = 0, "unixsocketperm", IMMUTABLE, Acts, octal(0, 0o777);
    /// Group of the UNIX socket.
    unixsocketgroup: Text = Text::new(), "unixsocketgroup", IMMUTABLE, Later, text;
    /// Seconds after which an idle client is closed; 0: never.
    timeout: u32 = 0, "timeout", 0, Acts, number(0, i32::MAX);
    /// Seconds between keepalive probes of client sockets; 0: none.
    tcp_keepalive: u32 = 300, "tcp-keepalive", 0, Acts, number(0, i32::MAX);
    /// Probes without an answer after which a peer counts as dead.
    tcp_keepalive_probes: u32 = 3, "tcp-keepalive-probes", 0, Acts, number(1, i32::MAX);
    /// Mark of the listening sockets; 0: none.
    socket_mark_id: u32 = 0, "socket-mark-id", IMMUTABLE, Later, number(0, u32::MAX);
    /// Without a password, serve clients of this host alone.
    protected_mode: bool = true, "protected-mode", 0, Acts, yes_no;
    /// Local address of outgoing connections.
    bind_source_addr: Text = Text::new(), "bind-source-addr", 0, Later, text;
    /// Most clients at a time.
    maxclients: u32 = 10_000, "maxclients", 0, Acts, number(1, u32::MAX);
    /// Connections accepted in one turn.
    max_new_connections_per_cycle: u32 = 10, "max-new-connections-per-cycle", 0, Nothing, number(1, 1000);
    /// TLS connections accepted in one turn.
    max_new_tls_connections_per_cycle: u32 = 1, "max-new-tls-connections-per-cycle", 0, Nothing, number(1, 1000);
    /// Listen for multipath TCP.
    mptcp: bool = false, "mptcp", IMMUTABLE, Nothing, yes_no;
    /// Output that a client may leave unread, by class.
    client_output_buffer_limit: OutputBufferLimits = OutputBufferLimits::DEFAULT, "client-output-buffer-limit", MULTI, Acts, compound;
    /// Bytes of input that a client may have pending.
    client_query_buffer_limit: u64 = 1 << 30, "client-query-buffer-limit", 0, Acts, memory(1 << 20, i64::MAX);
    /// Bytes of the longest argument.
    proto_max_bulk_len: u64 = 512 << 20, "proto-max-bulk-len", 0, Acts, memory(1 << 20, i64::MAX);
    /// Bytes that all clients together may use; negative: percent of maxmemory; 0: no limit.
    maxmemory_clients: i64 = 0, "maxmemory-clients", 0, Later, memory_or_percent(-100, i64::MAX);

    // Process, log and files.
    /// Go to the background.
    daemonize: bool = false, "daemonize", IMMUTABLE, Acts, yes_no;
    /// Who is told that the server is ready.
    supervised: Supervised = Supervised::No, "supervised", IMMUTABLE, Acts, choice;
    /// File that holds the process id.
    pidfile: Text = Text::new(), "pidfile", IMMUTABLE, Acts, text;
    /// What is logged at least.
    loglevel: LogLevel = LogLevel::Notice, "loglevel", 0, Acts, choice;
    /// File that the log goes to; empty: standard output.
    logfile: Text = Text::new(), "logfile", IMMUTABLE, Acts, text;
    /// Form of a line of the log.
    log_format: LogFormat = LogFormat::Legacy, "log-format", 0, Later, choice;
    /// Form of the time in a line of the log.
    log_timestamp_format: LogTimestamp = LogTimestamp::Legacy, "log-timestamp-format", 0, Later, choice;
    /// Log to syslog too.
    syslog_enabled: bool = false, "syslog-enabled", IMMUTABLE, Acts, yes_no;
    /// Identity for syslog.
    syslog_ident: Text = b"redis".to_vec(), "syslog-ident", IMMUTABLE, Acts, text;
    /// Facility for syslog.
    syslog_facility: SyslogFacility = SyslogFacility::Local0, "syslog-facility", IMMUTABLE, Acts, choice;
    /// Log a report when the process crashes.
    crash_log_enabled: bool = true, "crash-log-enabled", 0, Later, yes_no;
    /// Test the memory after a crash.
    crash_memcheck_enabled: bool = true, "crash-memcheck-enabled", 0, Nothing, yes_no;
    /// Exit, not abort, on a failed assertion.
    use_exit_on_panic: bool = false, "use-exit-on-panic", HIDDEN, Nothing, yes_no;
    /// Show the logo in the log.
    always_show_logo: bool = false, "always-show-logo", IMMUTABLE, Nothing, yes_no;
    /// Keep clients' data out of the log, which never holds any here.
    hide_user_data_from_log: bool = true, "hide-user-data-from-log", 0, Nothing, yes_no;
    /// Let the process title tell address and mode.
    set_proc_title: bool = true, "set-proc-title", IMMUTABLE, Later, yes_no;
    /// Form of the process title.
    proc_title_template: Text = b"{title} {listen-addr} {server-mode}".to_vec(), "proc-title-template", 0, Later, text(check_title);
    /// Locale of string comparisons.
    locale_collate: Text = Text::new(), "locale-collate", 0, Later, text;
    /// Answer as Redis where Valkey differs.
    extended_redis_compatibility: bool = false, "extended-redis-compatibility", 0, Nothing, yes_no;
    /// Kernel problems to start in spite of.
    ignore_warnings: Text = Text::new(), "ignore-warnings", 0, Nothing, text;
    /// Zone that the server says it is in.
    availability_zone: Text = Text::new(), "availability-zone", 0, Later, text;
    /// Seed of the hash function.
    hash_seed: Text = Text::new(), "hash-seed", IMMUTABLE, Later, text;
    /// Keep transparent huge pages off, because of fork: there is no fork here.
    disable_thp: bool = true, "disable-thp", IMMUTABLE, Nothing, yes_no;
    /// Whether to set the kernel's out-of-memory score.
    oom_score_adj: OomScoreAdj = OomScoreAdj::No, "oom-score-adj", 0, Later, choice;
    /// Scores of a master, a replica and a child.
    oom_score_adj_values: OomScores = OomScores([0, 200, 800]), "oom-score-adj-values", MULTI, Later, compound;
    /// Working directory.
    dir: Directory = Directory::current(), "dir", PROTECTED | NOT_LOADING, Acts, compound;
    /// Seconds for which a shutdown waits for replicas.
    shutdown_timeout: u32 = 10, "shutdown-timeout", 0, Acts, number(0, i32::MAX);
    /// How SIGINT shuts down.
    shutdown_on_sigint: ShutdownOn = ShutdownOn(0), "shutdown-on-sigint", MULTI, Later, compound;
    /// How SIGTERM shuts down.
    shutdown_on_sigterm: ShutdownOn = ShutdownOn(0), "shutdown-on-sigterm", MULTI, Later, compound;
    /// Milliseconds of the software watchdog; `stall-threshold-ms` does its work here.
    watchdog_period: u32 = 0, "watchdog-period", HIDDEN, Nothing, number(0, i32::MAX);

    // Security.
    /// Password of the default user; empty: none.
    requirepass: Text = Text::new(), "requirepass", SENSITIVE, Acts, text;
    /// File of the ACL users.
    aclfile: Text = Text::new(), "aclfile", IMMUTABLE, Later, text;
    /// Entries of the ACL log.
    acllog_max_len: u64 = 128, "acllog-max-len", 0, Later, number(0, i64::MAX);
    /// Channels of a new user.
    acl_pubsub_default: PubsubDefault = PubsubDefault::Resetchannels, "acl-pubsub-default", 0, Later, choice;
    /// Who may set protected directives.
    enable_protected_configs: Allowed = Allowed::No, "enable-protected-configs", IMMUTABLE, Acts, choice;
    /// Who may use DEBUG.
    enable_debug_command: Allowed = Allowed::No, "enable-debug-command", IMMUTABLE, Acts, choice;
    /// Who may use MODULE.
    enable_module_command: Allowed = Allowed::No, "enable-module-command", IMMUTABLE, Nothing, choice;

    // Keyspace, expiry and memory.
    /// Number of databases.
    databases: u32 = 16, "databases", IMMUTABLE, Acts, number(1, i32::MAX);
    /// Background slices a second, kept between 1 and 500; here they come when there is work for them.
    hz: u32 = 10, "hz", 0, Nothing, number(0, i32::MAX);
    /// Adapt hz to the number of clients.
    dynamic_hz: bool = true, "dynamic-hz", 0, Nothing, yes_no;
    /// How much work goes into expiring keys in the background.
    active_expire_effort: u32 = 1, "active-expire-effort", 0, Acts, number(1, 10);
    /// Expire keys that a script names by itself.
    lazyexpire_nested_arbitrary_keys: bool = true, "lazyexpire-nested-arbitrary-keys", HIDDEN, Nothing, yes_no;
    /// Rehash in idle time: tables grow in bounded steps here.
    activerehashing: bool = true, "activerehashing", 0, Nothing, yes_no;
    /// Free evicted values in slices: what is large is always freed so here.
    lazyfree_lazy_eviction: bool = false, "lazyfree-lazy-eviction", 0, Nothing, yes_no;
    /// Free expired values in slices, as always here.
    lazyfree_lazy_expire: bool = false, "lazyfree-lazy-expire", 0, Nothing, yes_no;
    /// Free overwritten values in slices, as always here.
    lazyfree_lazy_server_del: bool = false, "lazyfree-lazy-server-del", 0, Nothing, yes_no;
    /// DEL behaves as UNLINK, as always here.
    lazyfree_lazy_user_del: bool = false, "lazyfree-lazy-user-del", 0, Nothing, yes_no;
    /// FLUSHALL and FLUSHDB are ASYNC unless told otherwise: they always free in slices here.
    lazyfree_lazy_user_flush: bool = false, "lazyfree-lazy-user-flush", 0, Nothing, yes_no;
    /// Bytes that the data may use; 0: no limit.
    maxmemory: u64 = 0, "maxmemory", 0, Later, memory(0, u64::MAX);
    /// What is evicted above maxmemory. Until then it tells what keys remember of accesses (OBJECT FREQ,
    /// OBJECT IDLETIME).
    maxmemory_policy: MaxmemoryPolicy = MaxmemoryPolicy::Noeviction, "maxmemory-policy", 0, Later, choice;
    /// Keys looked at for each eviction.
    maxmemory_samples: u32 = 5, "maxmemory-samples", 0, Later, number(1, i32::MAX);
    /// How long one round of evictions may take.
    maxmemory_eviction_tenacity: u32 = 10, "maxmemory-eviction-tenacity", 0, Later, number(0, 100);
    /// How slowly the access counter saturates.
    lfu_log_factor: u32 = 10, "lfu-log-factor", 0, Acts, number(0, i32::MAX);
    /// Minutes after which the access counter decays.
    lfu_decay_time: u32 = 1, "lfu-decay-time", 0, Acts, number(0, i32::MAX);
    /// Keep a histogram of the memory of keys.
    key_memory_histograms: bool = false, "key-memory-histograms", 0, Later, yes_no;
    /// Commands of a pipeline parsed ahead: all complete ones are here.
    lookahead: u32 = 16, "lookahead", 0, Nothing, number(1, i32::MAX);
    /// Commands whose keys are prefetched together.
    prefetch_batch_max_size: u32 = 16, "prefetch-batch-max-size", 0, Nothing, number(0, 128);
    /// Defragment memory in the background.
    activedefrag: bool = false, "activedefrag", 0, Nothing, yes_no;
    /// Microseconds of one slice of defragmentation.
    active_defrag_cycle_us: u32 = 500, "active-defrag-cycle-us", 0, Nothing, number(0, 100_000);
    /// Waste below which there is no defragmentation.
    active_defrag_ignore_bytes: u64 = 100 << 20, "active-defrag-ignore-bytes", 0, Nothing, memory(1, i64::MAX);
    /// Percent of waste at which defragmentation starts.
    active_defrag_threshold_lower: u32 = 10, "active-defrag-threshold-lower", 0, Nothing, number(0, 1000);
    /// Percent of waste at which it works hardest.
    active_defrag_threshold_upper: u32 = 100, "active-defrag-threshold-upper", 0, Nothing, number(0, 1000);
    /// Least percent of CPU for defragmentation.
    active_defrag_cycle_min: u32 = 1, "active-defrag-cycle-min", 0, Nothing, number(1, 99);
    /// Most percent of CPU for defragmentation.
    active_defrag_cycle_max: u32 = 25, "active-defrag-cycle-max", 0, Nothing, number(1, 99);
    /// Elements above which a value is defragmented apart.
    active_defrag_max_scan_fields: u64 = 1000, "active-defrag-max-scan-fields", 0, Nothing, number(1, i64::MAX);
    /// jemalloc's background thread.
    jemalloc_bg_thread: bool = true, "jemalloc-bg-thread", 0, Nothing, yes_no;

    // Encodings.
    /// Fields up to which a hash is a listpack.
    hash_max_listpack_entries: u64 = 512, "hash-max-listpack-entries" | "hash-max-ziplist-entries", 0, Acts, number(0, i64::MAX);
    /// Bytes of the longest item in it.
    hash_max_listpack_value: u64 = 64, "hash-max-listpack-value" | "hash-max-ziplist-value", 0, Acts, memory(0, i64::MAX);
    /// Items of a list node, or -1 to -5: 4 to 64 KiB.
    list_max_listpack_size: i32 = -2, "list-max-listpack-size" | "list-max-ziplist-size", 0, Acts, number(i32::MIN, i32::MAX);
    /// Nodes at each end of a list that stay uncompressed; 0: all. Nothing is compressed here: a
    /// node is 8 KiB, and the price would be paid by whoever reads or trims the middle, within a turn.
    list_compress_depth: u32 = 0, "list-compress-depth", 0, Nothing, number(0, i32::MAX);
    /// Members up to which a set of integers is an intset.
    set_max_intset_entries: u64 = 512, "set-max-intset-entries", 0, Acts, number(0, i64::MAX);
    /// Members up to which a set is a listpack.
    set_max_listpack_entries: u64 = 128, "set-max-listpack-entries", 0, Acts, number(0, i64::MAX);
    /// Bytes of the longest member in it.
    set_max_listpack_value: u64 = 64, "set-max-listpack-value", 0, Acts, memory(0, i64::MAX);
    /// Members up to which a sorted set is a listpack.
    zset_max_listpack_entries: u64 = 128, "zset-max-listpack-entries" | "zset-max-ziplist-entries", 0, Acts, number(0, i64::MAX);
    /// Bytes of the longest member in it.
    zset_max_listpack_value: u64 = 64, "zset-max-listpack-value" | "zset-max-ziplist-value", 0, Acts, memory(0, i64::MAX);
    /// Bytes up to which a HyperLogLog is sparse.
    hll_sparse_max_bytes: u64 = 3000, "hll-sparse-max-bytes", 0, Acts, memory(0, i64::MAX);
    /// Bytes of a stream node.
    stream_node_max_bytes: u64 = 4096, "stream-node-max-bytes", 0, Acts, memory(0, i64::MAX);
    /// Entries of a stream node.
    stream_node_max_entries: i64 = 100, "stream-node-max-entries", 0, Acts, number(0, i64::MAX);
    /// Seconds for which a stream remembers the ids of idempotent producers.
    stream_idmp_duration: u64 = 100, "stream-idmp-duration", 0, Later, number(1, 86_400);
    /// Ids of an idempotent producer that a stream remembers.
    stream_idmp_maxsize: u64 = 100, "stream-idmp-maxsize", 0, Later, number(1, 10_000);
    /// Items of one slice of an array.
    array_slice_size: u32 = 4096, "array-slice-size", 0, Later, number(1, i32::MAX);
    /// Above this an array slice becomes dense.
    array_sparse_kmax: u32 = 10, "array-sparse-kmax", 0, Later, number(0, i32::MAX);
    /// Below this an array slice becomes sparse.
    array_sparse_kmin: u32 = 5, "array-sparse-kmin", 0, Later, number(0, i32::MAX);
    /// Run vector set commands without threads.
    vset_force_single_threaded_execution: bool = false, "vset-force-single-threaded-execution", 0, Nothing, yes_no;

    // Observation.
    /// Microseconds from which a command is slow; negative: no slow log.
    slowlog_log_slower_than: i64 = 10_000, "slowlog-log-slower-than" | "commandlog-execution-slower-than", 0, Acts, number(-1, i64::MAX);
    /// Entries of the slow log.
    slowlog_max_len: u64 = 128, "slowlog-max-len" | "commandlog-slow-execution-max-len", 0, Acts, number(0, i64::MAX);
    /// Arguments kept in an entry of the slow log.
    slowlog_entry_max_argc: u32 = 32, "slowlog-entry-max-argc", 0, Acts, number(2, i32::MAX);
    /// Bytes kept of an argument in the slow log.
    slowlog_entry_max_string_len: u32 = 128, "slowlog-entry-max-string-len", 0, Acts, number(1, i32::MAX);
    /// Bytes from which a request is large; negative: no such log.
    commandlog_request_larger_than: i64 = 1 << 20, "commandlog-request-larger-than", 0, Later, number(-1, i64::MAX);
    /// Entries of the log of large requests.
    commandlog_large_request_max_len: u64 = 128, "commandlog-large-request-max-len", 0, Later, number(0, i64::MAX);
    /// Bytes from which a reply is large; negative: no such log.
    commandlog_reply_larger_than: i64 = 1 << 20, "commandlog-reply-larger-than", 0, Later, number(-1, i64::MAX);
    /// Entries of the log of large replies.
    commandlog_large_reply_max_len: u64 = 128, "commandlog-large-reply-max-len", 0, Later, number(0, i64::MAX);
    /// Milliseconds from which LATENCY keeps an event; 0: none.
    latency_monitor_threshold: u64 = 0, "latency-monitor-threshold", 0, Acts, number(0, i64::MAX);
    /// Keep a histogram of the latency of each command.
    latency_tracking: bool = true, "latency-tracking", 0, Acts, yes_no;
    /// Percentiles that INFO shows.
    latency_tracking_info_percentiles: Percentiles = Percentiles(vec![50.0, 99.0, 99.9]), "latency-tracking-info-percentiles", MULTI, Acts, compound;
    /// Events that are published.
    notify_keyspace_events: NotifyFlags = NotifyFlags(0), "notify-keyspace-events", 0, Acts, compound;
    /// Keys that client-side caching remembers; 0: no limit.
    tracking_table_max_keys: u64 = 1_000_000, "tracking-table-max-keys", 0, Acts, number(0, i64::MAX);
    /// Milliseconds from which a script is slow and others get BUSY.
    busy_reply_threshold: u64 = 5000, "busy-reply-threshold" | "lua-time-limit", 0, Later, number(0, i64::MAX);
    /// Give scripts the functions of Lua that are not safe.
    lua_enable_insecure_api: bool = false, "lua-enable-insecure-api" | "lua-enable-deprecated-api", IMMUTABLE, Later, yes_no;

    // Durability.
    /// When a snapshot is due by itself.
    save: SavePoints = SavePoints::of(&[(3600, 1), (300, 100), (60, 10_000)]), "save", MULTI, Acts, compound;
    /// Name of the snapshot file.
    dbfilename: Text = b"dump.rdb".to_vec(), "dbfilename", PROTECTED, Acts, text(check_dbfilename);
    /// Compress strings in snapshots.
    rdbcompression: bool = true, "rdbcompression", 0, Acts, yes_no;
    /// Put a checksum at the end of snapshots.
    rdbchecksum: bool = true, "rdbchecksum", IMMUTABLE, Acts, yes_no;
    /// Whether a snapshot of a newer version is refused.
    rdb_version_check: RdbVersionCheck = RdbVersionCheck::Strict, "rdb-version-check", 0, Later, choice;
    /// Sync a snapshot while it is written.
    rdb_save_incremental_fsync: bool = true, "rdb-save-incremental-fsync", 0, Nothing, yes_no;
    /// Delete the snapshot files that replication made.
    rdb_del_sync_files: bool = false, "rdb-del-sync-files", 0, Nothing, yes_no;
    /// Microseconds to sleep after each saved key, for tests.
    rdb_key_save_delay: i32 = 0, "rdb-key-save-delay", HIDDEN, Later, number(i32::MIN, i32::MAX);
    /// Microseconds to sleep after each loaded key, for tests.
    key_load_delay: i32 = 0, "key-load-delay", HIDDEN, Acts, number(i32::MIN, i32::MAX);
    /// Bytes between two looks at the clients while loading.
    loading_process_events_interval_bytes: u64 = 2 << 20, "loading-process-events-interval-bytes", HIDDEN, Nothing, number(1024, i32::MAX);
    /// Whose payloads are checked in depth.
    sanitize_dump_payload: SanitizePayload = SanitizePayload::No, "sanitize-dump-payload", 0, Later, choice;
    /// Refuse writes after a failed snapshot.
    stop_writes_on_bgsave_error: bool = true, "stop-writes-on-bgsave-error", 0, Acts, yes_no;
    /// Keep a log of the writes. Redis has it off by default.
    appendonly: bool = true, "appendonly", NOT_LOADING, Acts, yes_no;
    /// Base name of the log.
    appendfilename: Text = b"appendonly.aof".to_vec(), "appendfilename", IMMUTABLE, Later, text(check_appendfilename);
    /// Directory of the log's files.
    appenddirname: Text = b"appendonlydir".to_vec(), "appenddirname", IMMUTABLE, Acts, text(check_appenddirname);
    /// When the log is made durable.
    appendfsync: Appendfsync = Appendfsync::Everysec, "appendfsync", 0, Acts, choice;
    /// Do not sync the log while a child saves.
    no_appendfsync_on_rewrite: bool = false, "no-appendfsync-on-rewrite", 0, Nothing, yes_no;
    /// Growth in percent at which the log is rewritten.
    auto_aof_rewrite_percentage: u32 = 100, "auto-aof-rewrite-percentage", 0, Acts, number(0, i32::MAX);
    /// Bytes below which the log is not rewritten.
    auto_aof_rewrite_min_size: u64 = 64 << 20, "auto-aof-rewrite-min-size", 0, Acts, memory(0, i64::MAX);
    /// Start although the log lacks its end.
    aof_load_truncated: bool = true, "aof-load-truncated", 0, Acts, yes_no;
    /// Bytes of a damaged end of the log that are cut off.
    aof_load_corrupt_tail_max_size: u64 = 0, "aof-load-corrupt-tail-max-size", 0, Later, memory(0, i64::MAX);
    /// Write the base of the log as a snapshot.
    aof_use_rdb_preamble: bool = true, "aof-use-rdb-preamble", 0, Nothing, yes_no;
    /// Put times into the log.
    aof_timestamp_enabled: bool = false, "aof-timestamp-enabled", 0, Nothing, yes_no;
    /// Sync the base while it is written.
    aof_rewrite_incremental_fsync: bool = true, "aof-rewrite-incremental-fsync", 0, Nothing, yes_no;
    /// Keep the files of the log that are no longer needed.
    aof_disable_auto_gc: bool = false, "aof-disable-auto-gc", 0, Later, yes_no;

    // Replication.
    /// The master.
    replicaof: ReplicaOf = ReplicaOf(None), "replicaof" | "slaveof", IMMUTABLE | MULTI, Later, compound;
    /// The master's password.
    masterauth: Text = Text::new(), "masterauth" | "primaryauth", SENSITIVE, Later, text;
    /// The master's user.
    masteruser: Text = Text::new(), "masteruser" | "primaryuser", SENSITIVE, Later, text;
    /// Serve while the master is away.
    replica_serve_stale_data: bool = true, "replica-serve-stale-data" | "slave-serve-stale-data", 0, Later, yes_no;
    /// A replica takes no writes.
    replica_read_only: bool = true, "replica-read-only" | "slave-read-only", 0, Later, yes_no;
    /// A replica evicts nothing by itself.
    replica_ignore_maxmemory: bool = true, "replica-ignore-maxmemory" | "slave-ignore-maxmemory", 0, Later, yes_no;
    /// Free the old data in slices at a full synchronization.
    replica_lazy_flush: bool = false, "replica-lazy-flush" | "slave-lazy-flush", 0, Later, yes_no;
    /// Priority at a failover; 0: never a master.
    replica_priority: u32 = 100, "replica-priority" | "slave-priority", 0, Later, number(0, i32::MAX);
    /// Be seen by Sentinel.
    replica_announced: bool = true, "replica-announced", 0, Later, yes_no;
    /// Address that a replica announces.
    replica_announce_ip: Text = Text::new(), "replica-announce-ip" | "slave-announce-ip", 0, Later, text;
    /// Port that a replica announces.
    replica_announce_port: u16 = 0, "replica-announce-port" | "slave-announce-port", 0, Later, number(0, 65_535);
    /// A replica goes on when it cannot write to disk.
    replica_ignore_disk_write_errors: bool = false, "replica-ignore-disk-write-errors", 0, Later, yes_no;
    /// Bytes that a replica buffers during a full synchronization.
    replica_full_sync_buffer_limit: u64 = 0, "replica-full-sync-buffer-limit", 0, Later, memory(0, i64::MAX);
    /// Send snapshots without a file.
    repl_diskless_sync: bool = true, "repl-diskless-sync", 0, Later, yes_no;
    /// Seconds to wait for more replicas.
    repl_diskless_sync_delay: u32 = 5, "repl-diskless-sync-delay", 0, Later, number(0, i32::MAX);
    /// Replicas that are waited for at most; 0: no such number.
    repl_diskless_sync_max_replicas: u32 = 0, "repl-diskless-sync-max-replicas", 0, Later, number(0, i32::MAX);
    /// How a replica loads a snapshot.
    repl_diskless_load: DisklessLoad = DisklessLoad::Disabled, "repl-diskless-load", NOT_LOADING, Later, choice;
    /// Send the snapshot over a connection of its own.
    repl_rdb_channel: bool = false, "repl-rdb-channel" | "dual-channel-replication-enabled", 0, Later, yes_no;
    /// Seconds between pings to replicas.
    repl_ping_replica_period: u32 = 10, "repl-ping-replica-period" | "repl-ping-slave-period", 0, Later, number(1, i32::MAX);
    /// Seconds after which a link counts as broken.
    repl_timeout: u32 = 60, "repl-timeout", 0, Later, number(1, i32::MAX);
    /// Let the kernel gather small packets for replicas.
    repl_disable_tcp_nodelay: bool = false, "repl-disable-tcp-nodelay", 0, Later, yes_no;
    /// Replicate over multipath TCP.
    repl_mptcp: bool = false, "repl-mptcp", 0, Nothing, yes_no;
    /// Bytes of the backlog.
    repl_backlog_size: u64 = 1 << 20, "repl-backlog-size", 0, Later, memory(1, i64::MAX);
    /// Seconds after which the backlog of a master without replicas is freed.
    repl_backlog_ttl: u64 = 3600, "repl-backlog-ttl", 0, Later, number(0, i64::MAX);
    /// Replicas without which writes are refused.
    min_replicas_to_write: u32 = 0, "min-replicas-to-write" | "min-slaves-to-write", 0, Later, number(0, i32::MAX);
    /// Seconds that such a replica may lag.
    min_replicas_max_lag: u32 = 10, "min-replicas-max-lag" | "min-slaves-max-lag", 0, Later, number(0, i32::MAX);
    /// What a replicated command that fails does.
    propagation_error_behavior: PropagationError = PropagationError::Ignore, "propagation-error-behavior", 0, Later, choice;
    /// Expire and evict nothing while data is imported.
    import_mode: bool = false, "import-mode", 0, Later, yes_no;

    // Cluster.
    /// Be a node of a cluster.
    cluster_enabled: bool = false, "cluster-enabled", IMMUTABLE, Later, yes_no;
    /// Number of databases of a cluster.
    cluster_databases: u32 = 1, "cluster-databases", IMMUTABLE, Later, number(1, i32::MAX);
    /// File that the node keeps the cluster in.
    cluster_config_file: Text = b"nodes.conf".to_vec(), "cluster-config-file", IMMUTABLE, Later, text(check_cluster_config_file);
    /// What a failure to write that file does.
    cluster_config_save_behavior: ClusterConfigSave = ClusterConfigSave::Sync, "cluster-config-save-behavior", 0, Later, choice;
    /// Port of the cluster bus; 0: port + 10000.
    cluster_port: u16 = 0, "cluster-port", IMMUTABLE, Later, number(0, 65_535);
    /// Milliseconds after which a node counts as failed.
    cluster_node_timeout: u64 = 15_000, "cluster-node-timeout", 0, Later, number(0, i64::MAX);
    /// Milliseconds between pings of the bus.
    cluster_ping_interval: u64 = 1000, "cluster-ping-interval", HIDDEN, Later, number(0, i64::MAX);
    /// Percent of the nodes that a message gossips about.
    cluster_message_gossip_perc: u32 = 10, "cluster-message-gossip-perc", 0, Later, number(1, 100);
    /// Seconds for which a forgotten node stays forgotten.
    cluster_blacklist_ttl: u64 = 60, "cluster-blacklist-ttl", 0, Later, number(0, i64::MAX);
    /// Milliseconds that a manual failover may take.
    cluster_manual_failover_timeout: u64 = 5000, "cluster-manual-failover-timeout", 0, Later, number(1, i32::MAX);
    /// How old the data of a replica that takes over may be.
    cluster_replica_validity_factor: u32 = 10, "cluster-replica-validity-factor" | "cluster-slave-validity-factor", 0, Later, number(0, i32::MAX);
    /// Replicas that a master keeps before one migrates.
    cluster_migration_barrier: u32 = 1, "cluster-migration-barrier", 0, Later, number(0, i32::MAX);
    /// Let replicas migrate to masters without any.
    cluster_allow_replica_migration: bool = true, "cluster-allow-replica-migration", 0, Later, yes_no;
    /// Serve only while every slot is covered.
    cluster_require_full_coverage: bool = true, "cluster-require-full-coverage", 0, Later, yes_no;
    /// Never take over by itself.
    cluster_replica_no_failover: bool = false, "cluster-replica-no-failover" | "cluster-slave-no-failover", 0, Later, yes_no;
    /// Serve reads while the cluster is down.
    cluster_allow_reads_when_down: bool = false, "cluster-allow-reads-when-down", 0, Later, yes_no;
    /// Serve sharded channels while the cluster is down.
    cluster_allow_pubsubshard_when_down: bool = true, "cluster-allow-pubsubshard-when-down", 0, Later, yes_no;
    /// Bytes that a link of the bus may buffer; 0: no limit.
    cluster_link_sendbuf_limit: u64 = 0, "cluster-link-sendbuf-limit", 0, Later, memory(0, u64::MAX);
    /// Address that the node announces.
    cluster_announce_ip: Text = Text::new(), "cluster-announce-ip", 0, Acts, text(check_announced_ip);
    /// IPv4 address for clients.
    cluster_announce_client_ipv4: Text = Text::new(), "cluster-announce-client-ipv4", 0, Later, text;
    /// IPv6 address for clients.
    cluster_announce_client_ipv6: Text = Text::new(), "cluster-announce-client-ipv6", 0, Later, text;
    /// Host name that the node announces.
    cluster_announce_hostname: Text = Text::new(), "cluster-announce-hostname", 0, Acts, text(check_hostname);
    /// Name of the node in logs.
    cluster_announce_human_nodename: Text = Text::new(), "cluster-announce-human-nodename", 0, Later, text(check_nodename);
    /// Port that the node announces.
    cluster_announce_port: u16 = 0, "cluster-announce-port", 0, Later, number(0, 65_535);
    /// TLS port that the node announces.
    cluster_announce_tls_port: u16 = 0, "cluster-announce-tls-port", 0, Later, number(0, 65_535);
    /// Bus port that the node announces.
    cluster_announce_bus_port: u16 = 0, "cluster-announce-bus-port", 0, Later, number(0, 65_535);
    /// Port for clients.
    cluster_announce_client_port: u16 = 0, "cluster-announce-client-port", 0, Later, number(0, 65_535);
    /// TLS port for clients.
    cluster_announce_client_tls_port: u16 = 0, "cluster-announce-client-tls-port", 0, Later, number(0, 65_535);
    /// How clients are told to find a node.
    cluster_preferred_endpoint_type: EndpointType = EndpointType::Ip, "cluster-preferred-endpoint-type", 0, Acts, choice;
    /// Count what each slot costs.
    cluster_slot_stats_enabled: bool = false, "cluster-slot-stats-enabled", 0, Acts, yes_no;
    /// Percent of commands checked for use on a cluster.
    cluster_compatibility_sample_ratio: u32 = 0, "cluster-compatibility-sample-ratio", 0, Later, number(0, 100);
    /// Lag at which a slot is handed over.
    cluster_slot_migration_handoff_max_lag_bytes: u64 = 1 << 20, "cluster-slot-migration-handoff-max-lag-bytes", 0, Later, memory(0, i64::MAX);
    /// Milliseconds for which writes may pause for that.
    cluster_slot_migration_write_pause_timeout: u64 = 10_000, "cluster-slot-migration-write-pause-timeout", 0, Later, number(0, i64::MAX);
    /// Milliseconds that draining the buffer may take.
    cluster_slot_migration_sync_buffer_drain_timeout: u64 = 60_000, "cluster-slot-migration-sync-buffer-drain-timeout", HIDDEN, Later, number(0, i64::MAX);
    /// Finished migrations that are remembered.
    cluster_slot_migration_max_archived_tasks: u32 = 32, "cluster-slot-migration-max-archived-tasks", HIDDEN, Later, number(1, i32::MAX);
    /// Lag at which a migrated slot fails over; -1: any.
    slot_migration_max_failover_repl_bytes: i64 = 0, "slot-migration-max-failover-repl-bytes", 0, Later, memory(-1, i64::MAX);
    /// Entries of the log of slot migrations.
    cluster_slot_migration_log_max_len: u64 = 1000, "cluster-slot-migration-log-max-len", 0, Later, number(0, i64::MAX);

    // TLS and RDMA.
    /// TLS port; 0: none.
    tls_port: u16 = 0, "tls-port", 0, Later, number(0, 65_535);
    /// Certificate.
    tls_cert_file: Text = Text::new(), "tls-cert-file", 0, Later, text;
    /// Its key.
    tls_key_file: Text = Text::new(), "tls-key-file", 0, Later, text;
    /// Password of the key.
    tls_key_file_pass: Text = Text::new(), "tls-key-file-pass", SENSITIVE, Later, text;
    /// Certificate of outgoing connections.
    tls_client_cert_file: Text = Text::new(), "tls-client-cert-file", 0, Later, text;
    /// Its key.
    tls_client_key_file: Text = Text::new(), "tls-client-key-file", 0, Later, text;
    /// Password of that key.
    tls_client_key_file_pass: Text = Text::new(), "tls-client-key-file-pass", SENSITIVE, Later, text;
    /// Diffie-Hellman parameters.
    tls_dh_params_file: Text = Text::new(), "tls-dh-params-file", 0, Later, text;
    /// Certificates of authorities.
    tls_ca_cert_file: Text = Text::new(), "tls-ca-cert-file", 0, Later, text;
    /// Directory of such certificates.
    tls_ca_cert_dir: Text = Text::new(), "tls-ca-cert-dir", 0, Later, text;
    /// Versions of TLS.
    tls_protocols: Text = Text::new(), "tls-protocols", 0, Later, text;
    /// Ciphers up to TLS 1.2.
    tls_ciphers: Text = Text::new(), "tls-ciphers", 0, Later, text;
    /// Ciphers of TLS 1.3.
    tls_ciphersuites: Text = Text::new(), "tls-ciphersuites", 0, Later, text;
    /// Whether clients need a certificate.
    tls_auth_clients: TlsAuthClients = TlsAuthClients::Yes, "tls-auth-clients", 0, Later, choice;
    /// The certificate's field that names the user.
    tls_auth_clients_user: TlsAuthUser = TlsAuthUser::Off, "tls-auth-clients-user", 0, Later, choice;
    /// Replicate over TLS.
    tls_replication: bool = false, "tls-replication", 0, Later, yes_no;
    /// Use TLS on the cluster bus.
    tls_cluster: bool = false, "tls-cluster", 0, Later, yes_no;
    /// Prefer the server's order of ciphers.
    tls_prefer_server_ciphers: bool = false, "tls-prefer-server-ciphers", 0, Later, yes_no;
    /// Remember sessions.
    tls_session_caching: bool = true, "tls-session-caching", 0, Later, yes_no;
    /// Sessions remembered; 0: no limit.
    tls_session_cache_size: u32 = 20_480, "tls-session-cache-size", 0, Later, number(0, i32::MAX);
    /// Seconds for which they are remembered.
    tls_session_cache_timeout: u32 = 300, "tls-session-cache-timeout", 0, Later, number(0, i32::MAX);
    /// Seconds between looks for new certificates; 0: none.
    tls_auto_reload_interval: u32 = 0, "tls-auto-reload-interval", 0, Later, number(0, i32::MAX);
    /// RDMA port; 0: none.
    rdma_port: u16 = 0, "rdma-port", IMMUTABLE, Nothing, number(0, 65_535);
    /// Addresses for RDMA.
    rdma_bind: Text = Text::new(), "rdma-bind", IMMUTABLE, Nothing, text;
    /// Receive buffer of an RDMA connection.
    rdma_rx_size: u32 = 1 << 20, "rdma-rx-size", IMMUTABLE, Nothing, memory(65_536, 16 << 20);
    /// Completion vector; -1: any.
    rdma_completion_vector: i32 = -1, "rdma-completion-vector", IMMUTABLE, Nothing, number(-1, 1024);

    // Threads of Redis and Valkey: here the shards are the threads.
    /// Threads for I/O.
    io_threads: u32 = 1, "io-threads", IMMUTABLE, Nothing, number(1, 256);
    /// Read in those threads too.
    io_threads_do_reads: bool = false, "io-threads-do-reads", IMMUTABLE, Nothing, yes_no;
    /// Keep them awake.
    io_threads_always_active: bool = false, "io-threads-always-active", HIDDEN, Nothing, yes_no;
    /// Events that wake a further thread.
    events_per_io_thread: u32 = 2, "events-per-io-thread", HIDDEN, Nothing, number(0, i32::MAX);
    /// Threads from which replies are not copied.
    min_io_threads_avoid_copy_reply: u32 = 7, "min-io-threads-avoid-copy-reply" | "min-io-threads-copy-avoidance", HIDDEN, Nothing, number(0, i32::MAX);
    /// Bytes from which a reply is not copied.
    min_string_size_avoid_copy_reply: u64 = 16_384, "min-string-size-avoid-copy-reply" | "min-string-size-copy-avoidance", HIDDEN, Nothing, number(0, i64::MAX);
    /// The same with I/O threads.
    min_string_size_avoid_copy_reply_threaded: u64 = 65_536, "min-string-size-avoid-copy-reply-threaded" | "min-string-size-copy-avoidance-threaded", HIDDEN, Nothing, number(0, i64::MAX);
    /// CPUs of Redis's server threads or processes: each shard is pinned to a core of its own.
    server_cpulist: Text = Text::new(), "server_cpulist" | "server-cpulist", IMMUTABLE, Nothing, text;
    /// CPUs of Redis's bio threads or processes: each shard is pinned to a core of its own.
    bio_cpulist: Text = Text::new(), "bio_cpulist" | "bio-cpulist", IMMUTABLE, Nothing, text;
    /// CPUs of Redis's aof-rewrite threads or processes: each shard is pinned to a core of its own.
    aof_rewrite_cpulist: Text = Text::new(), "aof_rewrite_cpulist" | "aof-rewrite-cpulist", IMMUTABLE, Nothing, text;
    /// CPUs of Redis's bgsave threads or processes: each shard is pinned to a core of its own.
    bgsave_cpulist: Text = Text::new(), "bgsave_cpulist" | "bgsave-cpulist", IMMUTABLE, Nothing, text;
}

/// One shard for each core that the process may use.
fn default_shards() -> u32 {
    crate::server::cpus::usable().try_into().unwrap_or(u32::MAX)
}

fn is_file_name(text: &[u8]) -> bool {
    !text.contains(&b'/')
}

fn check_dbfilename(text: &[u8]) -> Result<(), &'static str> {
    is_file_name(text)
        .then_some(())
        .ok_or("dbfilename can't be a path, just a filename")
}

fn check_appendfilename(text: &[u8]) -> Result<(), &'static str> {
    match text {
        b"" => Err("appendfilename can't be empty"),
        _ => is_file_name(text)
            .then_some(())
            .ok_or("appendfilename can't be a path, just a filename"),
    }
}

fn check_appenddirname(text: &[u8]) -> Result<(), &'static str> {
    match text {
        b"" => Err("appenddirname can't be empty"),
        _ => is_file_name(text)
            .then_some(())
            .ok_or("appenddirname can't be a path, just a dirname"),
    }
}

fn check_slot_placement_file(text: &[u8]) -> Result<(), &'static str> {
    match text {
        b"" => Err("slot-placement-file can't be empty"),
        _ => is_file_name(text)
            .then_some(())
            .ok_or("slot-placement-file can't be a path, just a filename"),
    }
}

fn check_cluster_config_file(text: &[u8]) -> Result<(), &'static str> {
    (!text.is_empty())
        .then_some(())
        .ok_or("cluster-config-file can't be empty")
}

/// It stands in replies that are lines, and in CLUSTER NODES between blanks and commas.
fn check_announced_ip(text: &[u8]) -> Result<(), &'static str> {
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || b".:-_%".contains(b);
    text.iter()
        .all(allowed)
        .then_some(())
        .ok_or("cluster-announce-ip must be an IP address")
}

fn check_announced_ports(text: &[u8]) -> Result<(), &'static str> {
    crate::shard::cores::parse_announced_ports(text)
        .map(|_| ())
        .ok_or("argument must be ports between 1 and 65535, separated by commas")
}

fn check_hostname(text: &[u8]) -> Result<(), &'static str> {
    if text.len() >= 256 {
        return Err("Hostnames must be less than 256 characters");
    }
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    text.iter()
        .all(allowed)
        .then_some(())
        .ok_or("Hostnames may only contain alphanumeric characters, hyphens or dots")
}

fn check_nodename(text: &[u8]) -> Result<(), &'static str> {
    let allowed = |b: &u8| b.is_ascii_graphic() && !b"\"'\\,=!@#%^&*()".contains(b);
    text.iter()
        .all(allowed)
        .then_some(())
        .ok_or("Announced human node name contained invalid character")
}

/// The variables that a process title may name (redis.conf, `proc-title-template`).
fn check_title(text: &[u8]) -> Result<(), &'static str> {
    const VARIABLES: [&[u8]; 7] = [
        b"title",
        b"listen-addr",
        b"server-mode",
        b"port",
        b"tls-port",
        b"unixsocket",
        b"config-file",
    ];
    let mut rest = text;
    while let Some(open) = rest.iter().position(|&b| b == b'{') {
        let tail = &rest[open + 1..];
        let close = tail.iter().position(|&b| b == b'}');
        let Some(close) = close.filter(|&at| VARIABLES.contains(&&tail[..at])) else {
            return Err("template format is invalid or contains unknown variables");
        };
        rest = &tail[close + 1..];
    }
    // A title of nothing, or of blanks alone, would hide the process.
    let blank = text.iter().all(|b| b.is_ascii_whitespace());
    (!blank)
        .then_some(())
        .ok_or("template format is invalid or contains unknown variables")
}
