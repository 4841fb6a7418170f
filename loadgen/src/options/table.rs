//! All options. A row is an option: adding one touches this table and `Config`.
//!
//! Names, short forms and defaults marked `Memtier` are those of memtier_benchmark's usage text, so
//! that its command lines run unchanged; options of its that make no sense here are rows too, so
//! that a user is told which.

use super::value::{
    arrivals, authenticate, breakdown, command_order, cpus, host, in_range, key_pattern, last,
    number, objective, one_of, pair, percentiles, positive, protocol, range, rate, requests,
    seconds, set_server, size_list, small, tls_protocols, unix_nanos, zipf_exponent,
};
use crate::config::{CommandSpec, Config, Family, Pattern};

/// Whose option it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    Memtier,
    Own,
}

/// What an option does.
#[derive(Clone, Copy)]
pub(super) enum Action {
    Flag(fn(&mut Config)),
    /// The value's name for `--help`, and what takes it.
    Value(&'static str, fn(&mut Config, &str) -> Result<(), String>),
    /// An option of memtier's that does not exist here.
    Refuse {
        value: bool,
        why: &'static str,
    },
    Help,
    Version,
}

/// One option.
pub(super) struct Opt {
    pub(super) long: &'static str,
    pub(super) short: Option<char>,
    pub(super) origin: Origin,
    pub(super) group: &'static str,
    pub(super) action: Action,
    pub(super) help: &'static str,
}

impl Opt {
    pub(super) fn takes_value(&self) -> bool {
        matches!(
            self.action,
            Action::Value(..) | Action::Refuse { value: true, .. }
        )
    }
}

const fn row(
    group: &'static str,
    origin: Origin,
    short: Option<char>,
    long: &'static str,
    action: Action,
    help: &'static str,
) -> Opt {
    Opt {
        long,
        short,
        origin,
        group,
        action,
        help,
    }
}

use Action::{Flag, Refuse, Value};
use Origin::{Memtier, Own};

const CONNECTION: &str = "Connection";
const OUTPUT: &str = "Output";
const TEST: &str = "Test";
const OPEN: &str = "Open loop";
const COMMANDS: &str = "Commands";
const OBJECTS: &str = "Objects";
const KEYS: &str = "Keys";
const CHECKS: &str = "Preload and verify";
const COMPARE: &str = "Compare";

const NO_STATSD: Action = Refuse {
    value: true,
    why: "live figures go to the terminal, JSON and the report",
};
const NO_IMPORT: &str =
    "there is no import of memcached dumps; --verify checks what it writes itself";

/// Every option, in the order of `--help`.
#[rustfmt::skip] // A row is a line.
pub(super) const OPTIONS: &[Opt] = &[
    row(CONNECTION, Memtier, Some('h'), "host", Value("ADDR", |c, v| host(&mut c.server, v)), "server address (default: localhost); -h alone is --help"),
    row(CONNECTION, Memtier, Some('s'), "server", Value("ADDR", |c, v| host(&mut c.server, v)), "the same"),
    row(CONNECTION, Memtier, Some('p'), "port", Value("PORT", |c, v| { c.server.port = in_range(v, 1, 65535)? as u16; Ok(()) }), "server port (default: 6379)"),
    row(CONNECTION, Memtier, Some('S'), "unix-socket", Value("PATH", |c, v| { c.server.unix_socket = Some(v.into()); Ok(()) }), "UNIX domain socket"),
    row(CONNECTION, Memtier, Some('4'), "ipv4", Flag(|c| c.server.family = Family::V4), "use IPv4 addresses only"),
    row(CONNECTION, Memtier, Some('6'), "ipv6", Flag(|c| c.server.family = Family::V6), "use IPv6 addresses only"),
    row(CONNECTION, Memtier, Some('P'), "protocol", Value("NAME", protocol), "redis (default), resp2 or resp3 (the last two send HELLO)"),
    row(CONNECTION, Memtier, Some('a'), "authenticate", Value("[USER:]PASSWORD", authenticate), "AUTH with these credentials"),
    row(CONNECTION, Memtier, Some('u'), "uri", Value("URI", |c, v| set_server(&mut c.server, v)), "redis://user:password@host:port/db, rediss:// for TLS"),
    row(CONNECTION, Memtier, None, "tls", Flag(|c| c.server.tls = true), "TLS"),
    row(CONNECTION, Memtier, None, "cert", Value("FILE", |c, v| { c.server.tls_files.cert = Some(v.into()); Ok(()) }), "client certificate (PEM)"),
    row(CONNECTION, Memtier, None, "key", Value("FILE", |c, v| { c.server.tls_files.key = Some(v.into()); Ok(()) }), "its private key (PEM)"),
    row(CONNECTION, Memtier, None, "cacert", Value("FILE", |c, v| { c.server.tls_files.cacert = Some(v.into()); Ok(()) }), "certificates to trust (PEM; default: the system's)"),
    row(CONNECTION, Memtier, None, "tls-skip-verify", Flag(|c| c.server.tls_files.skip_verify = true), "accept any certificate"),
    row(CONNECTION, Memtier, None, "tls-protocols", Value("LIST", tls_protocols), "TLSv1.2, TLSv1.3 or both (older ones do not exist here)"),
    row(CONNECTION, Memtier, None, "sni", Value("NAME", |c, v| { c.server.tls_files.sni = Some(v.into()); Ok(()) }), "server name to ask for and to check"),
    row(CONNECTION, Memtier, None, "connection-timeout", Value("SECS", |c, v| { c.server.connection_timeout_ms = (seconds(v)? * 1e3) as u64; Ok(()) }), "for connecting and the handshake (default: 0, the system's)"),
    row(CONNECTION, Memtier, None, "cluster-mode", Flag(|c| c.cluster_mode = true), "send each key to its node, follow MOVED and ASK"),
    row(CONNECTION, Memtier, None, "select-db", Value("DB", |c, v| { c.server.select_db = number(v)? as u32; Ok(()) }), "database number"),
    row(CONNECTION, Memtier, None, "reconnect-interval", Value("NUM", |c, v| { c.reconnect_interval = number(v)?; Ok(()) }), "reconnect after this many requests"),
    row(CONNECTION, Memtier, None, "reconnect-on-error", Flag(|c| c.reconnect = true), "connect again when a connection is lost"),
    row(CONNECTION, Own, None, "reconnect", Flag(|c| c.reconnect = true), "the same"),
    row(CONNECTION, Memtier, None, "max-reconnect-attempts", Value("NUM", |c, v| { c.reconnect_attempts_max = number(v)?; Ok(()) }), "in a row, for each connection (default: 0, unlimited)"),
    row(CONNECTION, Memtier, None, "reconnect-backoff-factor", Value("NUM", |c, v| { c.reconnect_backoff = positive(v)?; Ok(()) }), "how much longer each next wait is (default: 0, waits of 10 ms)"),
    row(CONNECTION, Memtier, None, "thread-conn-start-min-jitter-micros", Value("NUM", |c, v| { c.start_jitter_us.0 = number(v)?; Ok(()) }), "shortest pause between connecting two clients"),
    row(CONNECTION, Memtier, None, "thread-conn-start-max-jitter-micros", Value("NUM", |c, v| { c.start_jitter_us.1 = number(v)?; Ok(()) }), "longest pause"),
    row(CONNECTION, Own, None, "request-timeout", Value("MS", |c, v| { c.request_timeout_ms = number(v)?; Ok(()) }), "give a connection up that is silent this long (default: 30000; 0: never)"),
    row(TEST, Memtier, Some('n'), "requests", Value("NUM|allkeys", requests), "requests of each client (default: 10000)"),
    row(TEST, Memtier, Some('c'), "clients", Value("NUM", |c, v| { c.clients = small(v)?; Ok(()) }), "clients of each thread (default: 50)"),
    row(TEST, Memtier, Some('t'), "threads", Value("NUM", |c, v| { c.threads = small(v)?; Ok(()) }), "threads (default: 4)"),
    row(TEST, Memtier, None, "test-time", Value("SECS", |c, v| { c.test_time_sec = seconds(v)?; Ok(()) }), "end after this time instead of a count"),
    row(TEST, Own, None, "warmup", Value("SECS", |c, v| { c.warmup_sec = seconds(v)?; Ok(()) }), "results of this time before the test are thrown away"),
    row(TEST, Memtier, None, "ratio", Value("SET:GET", |c, v| { c.ratio = pair(v, ':')?; Ok(()) }), "SETs to GETs (default: 1:10)"),
    row(TEST, Memtier, None, "pipeline", Value("NUM", |c, v| { c.pipeline = small(v)?; Ok(()) }), "requests under way for each client (default: 1)"),
    row(TEST, Memtier, None, "multi-key-get", Value("NUM", |c, v| { c.multi_key_get = in_range(v, 0, 100_000)?; Ok(()) }), "GETs become MGETs of up to NUM keys"),
    row(TEST, Memtier, Some('x'), "run-count", Value("NUM", |c, v| { c.run_count = in_range(v, 1, 10_000)? as u32; Ok(()) }), "do it so many times; best, worst and average are shown"),
    row(TEST, Memtier, None, "distinct-client-seed", Flag(|_| ()), "always so: each client has a random stream of its own"),
    row(TEST, Memtier, None, "randomize", Flag(|c| c.seed = unix_nanos()), "seed from the clock (default: the same every time)"),
    row(TEST, Own, None, "seed", Value("NUM", |c, v| { c.seed = number(v)?; Ok(()) }), "seed of all random streams"),
    row(TEST, Own, None, "cpus", Value("LIST", cpus), "pin thread n to the n-th CPU of the list (0,2 or 4-7)"),
    row(TEST, Memtier, None, "wait-ratio", Value("SET:WAIT", |c, v| { c.wait_ratio = Some(pair(v, ':')?); Ok(()) }), "WAITs after SETs (default: none)"),
    row(TEST, Memtier, None, "num-slaves", Value("MIN-MAX", |c, v| { c.num_slaves = range(v)?; Ok(()) }), "replicas that WAIT waits for"),
    row(TEST, Memtier, None, "wait-timeout", Value("MIN-MAX", |c, v| { c.wait_timeout_ms = range(v)?; Ok(()) }), "its timeout in ms"),
    row(OPEN, Memtier, None, "rate-limiting", Value("NUM", |c, v| { c.rate_limiting = number(v)?; Ok(()) }), "requests per second of each connection; latency counts from the intended time"),
    row(OPEN, Own, None, "rate", Value("LIST", |c, v| { c.rates = v.split(',').map(rate).collect::<Result<_, _>>()?; Ok(()) }), "requests per second of all clients: one, or a run for each of 10k,20k,50k"),
    row(OPEN, Own, None, "arrivals", Value("NAME", arrivals), "constant (default) or poisson"),
    row(OPEN, Own, None, "slo", Value("pP<TIME", |c, v| { c.objective = Some(objective(v)?); Ok(()) }), "find the highest rate that keeps it, like p99.9<1ms"),
    row(OPEN, Own, None, "rate-start", Value("NUM", |c, v| { c.rate_start = rate(v)?; Ok(()) }), "where the search begins (default: a twentieth of the closed loop's rate)"),
    row(OPEN, Own, None, "step-time", Value("SECS", |c, v| { c.step_time_sec = seconds(v)?; Ok(()) }), "each step of the search (default: 5)"),
    row(COMMANDS, Memtier, None, "command", Value("COMMAND", |c, v| { c.commands.push(CommandSpec { line: v.into(), ratio: 1, pattern: Pattern::Random }); Ok(()) }), "a command with __key__, __data__ and other placeholders; may be repeated"),
    row(COMMANDS, Memtier, None, "command-ratio", Value("NUM", |c, v| { last(c)?.ratio = in_range(v, 1, 1_000_000_000)?; Ok(()) }), "how often the command before it is sent in sequence"),
    row(COMMANDS, Memtier, None, "command-key-pattern", Value("LETTER", |c, v| { let p = Pattern::of_letter(v)?; last(c)?.pattern = p; Ok(()) }), "its key pattern (default: R)"),
    row(COMMANDS, Own, None, "command-order", Value("NAME", command_order), "sequence (default, memtier's) or random with the ratios as weights"),
    row(COMMANDS, Memtier, None, "command-stats-breakdown", Value("command|line", breakdown), "one line of results for each command name, or for each command"),
    row(COMMANDS, Memtier, None, "monitor-input", Value("FILE", |c, v| { c.monitor_input = Some(v.into()); Ok(()) }), "MONITOR output; __monitor_line1__ or __monitor_line@__ as --command"),
    row(COMMANDS, Memtier, None, "monitor-pattern", Value("S|R", |c, v| { c.monitor_random = one_of(v, "S", "R")?; Ok(()) }), "which line __monitor_line@__ takes"),
    row(COMMANDS, Memtier, None, "scan-incremental-iteration", Flag(|c| c.scan_iteration = true), "a SCAN 0 command follows its cursor"),
    row(COMMANDS, Memtier, None, "scan-incremental-max-iterations", Value("NUM", |c, v| { c.scan_iterations_max = number(v)?; Ok(()) }), "begin again after so many (default: 0, at the end)"),
    row(COMMANDS, Own, None, "scenario", Value("NAME", |c, v| { c.scenario = Some(v.into()); Ok(()) }), "a ready-made workload (ringdove-load scenarios lists them)"),
    row(COMMANDS, Own, None, "setup-command", Value("COMMAND", |c, v| { c.setup_commands.push(v.into()); Ok(()) }), "sent once before the run; errors are ignored; may be repeated"),
    row(OBJECTS, Memtier, Some('d'), "data-size", Value("BYTES", |c, v| { c.data_size = Some(number(v)?); Ok(()) }), "size of values (default: 32)"),
    row(OBJECTS, Memtier, None, "data-offset", Value("BYTES", |c, v| { c.data_offset = number(v)?; Ok(()) }), "SETRANGE and GETRANGE at this offset"),
    row(OBJECTS, Memtier, Some('R'), "random-data", Flag(|c| c.random_data = true), "random bytes"),
    row(OBJECTS, Memtier, None, "data-size-range", Value("MIN-MAX", |c, v| { c.data_size_range = Some(range(v)?); Ok(()) }), "sizes in this range"),
    row(OBJECTS, Memtier, None, "data-size-list", Value("LIST", size_list), "size:weight,..."),
    row(OBJECTS, Memtier, None, "data-size-pattern", Value("R|S", |c, v| { c.data_size_by_key = one_of(v, "R", "S")?; Ok(()) }), "with a range: random, or spread over the keys"),
    row(OBJECTS, Memtier, None, "expiry-range", Value("MIN-MAX", |c, v| { c.expiry_range = Some(range(v)?); Ok(()) }), "SETEX with a random TTL in seconds"),
    row(OBJECTS, Memtier, None, "data-import", Refuse { value: true, why: NO_IMPORT }, ""),
    row(OBJECTS, Memtier, None, "data-verify", Refuse { value: false, why: NO_IMPORT }, ""),
    row(OBJECTS, Memtier, None, "generate-keys", Refuse { value: false, why: NO_IMPORT }, ""),
    row(OBJECTS, Memtier, None, "no-expiry", Refuse { value: false, why: NO_IMPORT }, ""),
    row(KEYS, Memtier, None, "key-prefix", Value("TEXT", |c, v| { c.key_prefix = v.into(); Ok(()) }), "before each key number (default: memtier-)"),
    row(KEYS, Memtier, None, "key-minimum", Value("NUM", |c, v| { c.key_minimum = number(v)?; Ok(()) }), "smallest key number (default: 0)"),
    row(KEYS, Memtier, None, "key-maximum", Value("NUM", |c, v| { c.key_maximum = number(v)?; Ok(()) }), "largest key number (default: 10000000)"),
    row(KEYS, Memtier, None, "key-pattern", Value("SET:GET", key_pattern), "R uniform, G gaussian, Z Zipf, S sequential, P parallel; ours: H hot set, X Zipf scattered, I insert, L latest"),
    row(KEYS, Memtier, None, "key-stddev", Value("NUM", |c, v| { c.key_stddev = Some(positive(v)?); Ok(()) }), "of G (default: range / 6)"),
    row(KEYS, Memtier, None, "key-median", Value("NUM", |c, v| { c.key_median = Some(positive(v)?); Ok(()) }), "of G (default: the middle)"),
    row(KEYS, Memtier, None, "key-zipf-exp", Value("NUM", zipf_exponent), "of Z, X and L, between 0 and 5 (default: 1)"),
    row(KEYS, Own, None, "hot-keys", Value("SHARE", |c, v| { c.hot_keys = positive(v)?; Ok(()) }), "of H: the hot share of the keys (default: 0.2)"),
    row(KEYS, Own, None, "hot-traffic", Value("SHARE", |c, v| { c.hot_traffic = positive(v)?; Ok(()) }), "of H: the share of the requests that go there (default: 0.8)"),
    row(CHECKS, Own, None, "preload", Flag(|c| c.preload = true), "write every key once before the test"),
    row(CHECKS, Own, None, "no-preload", Flag(|c| { c.preload = false; c.preload_commands.clear(); }), "a scenario without its preload: the keys are there already"),
    row(CHECKS, Own, None, "preload-command", Value("COMMAND", |c, v| { c.preload = true; c.preload_commands.push(v.into()); Ok(()) }), "preload with this instead of SET; may be repeated"),
    row(CHECKS, Own, None, "verify", Flag(|c| c.verify = true), "values carry key and version; every reply is checked, all keys at the end"),
    row(CHECKS, Own, None, "verify-state", Value("FILE", |c, v| { c.verify_state = Some(v.into()); Ok(()) }), "write down what the server has acknowledged"),
    row(CHECKS, Memtier, None, "verify-only", Flag(|c| c.verify_only = true), "only check the keys against --verify-state, say after a restart"),
    row(OUTPUT, Memtier, Some('o'), "out-file", Value("FILE", |c, v| { c.out_file = Some(v.into()); Ok(()) }), "write the tables there instead of to stdout"),
    row(OUTPUT, Memtier, None, "json-out-file", Value("FILE", |c, v| { c.json_out_file = Some(v.into()); Ok(()) }), "results as JSON (memtier's fields and ours)"),
    row(OUTPUT, Memtier, None, "hdr-file-prefix", Value("PREFIX", |c, v| { c.hdr_file_prefix = Some(v.into()); Ok(()) }), "write .hgrm percentile files"),
    row(OUTPUT, Own, None, "report", Value("FILE", |c, v| { c.report = Some(v.into()); Ok(()) }), "write one self-contained HTML page with plots"),
    row(OUTPUT, Memtier, None, "client-stats", Value("FILE", |c, v| { c.client_stats = Some(v.into()); Ok(()) }), "write requests and bytes of each client as CSV"),
    row(OUTPUT, Memtier, None, "show-config", Flag(|c| c.show_config = true), "print the configuration first"),
    row(OUTPUT, Memtier, None, "hide-histogram", Flag(|c| c.hide_histogram = true), "no latency distribution on stdout"),
    row(OUTPUT, Memtier, None, "print-percentiles", Value("LIST", percentiles), "columns of the table (default: 50,99,99.9)"),
    row(OUTPUT, Memtier, None, "print-all-runs", Flag(|c| c.print_all_runs = true), "with --run-count: the table of each run"),
    row(OUTPUT, Own, Some('q'), "quiet", Flag(|c| c.quiet = true), "no live view"),
    row(OUTPUT, Memtier, Some('D'), "debug", Flag(|c| c.debug = true), "say more on stderr"),
    row(OUTPUT, Memtier, None, "help", Action::Help, "this text"),
    row(OUTPUT, Memtier, Some('v'), "version", Action::Version, "the version"),
    row(OUTPUT, Memtier, None, "statsd-host", NO_STATSD, ""),
    row(OUTPUT, Memtier, None, "statsd-port", NO_STATSD, ""),
    row(OUTPUT, Memtier, None, "statsd-prefix", NO_STATSD, ""),
    row(OUTPUT, Memtier, None, "statsd-run-label", NO_STATSD, ""),
    row(OUTPUT, Memtier, None, "graphite-port", NO_STATSD, ""),
    row(COMPARE, Own, None, "rounds", Value("NUM", |c, v| { c.rounds = in_range(v, 1, 1000)? as u32; Ok(()) }), "how often each server is measured, in turn (default: 5)"),
    row(COMPARE, Own, None, "pid-a", Value("PID", |c, v| { c.pids.0 = Some(small(v)?); Ok(()) }), "process of A: CPU per request, RSS per key"),
    row(COMPARE, Own, None, "pid-b", Value("PID", |c, v| { c.pids.1 = Some(small(v)?); Ok(()) }), "process of B"),
];
