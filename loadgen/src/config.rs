//! What a run is asked to do: the values behind the options, their defaults, and which of them
//! exclude each other. `options` fills it from the command line.

use crate::keys::KeyRange;
use crate::values::{Sizes, VALUE_BYTES_MAX};

/// Which addresses of a name are used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Family {
    #[default]
    Any,
    V4,
    V6,
}

/// Which HELLO is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Protocol {
    /// None: whatever the server starts with (memtier's `redis`).
    #[default]
    Plain,
    Resp2,
    Resp3,
}

/// TLS as memtier's options describe it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct TlsFiles {
    pub(crate) cert: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) cacert: Option<String>,
    pub(crate) skip_verify: bool,
    pub(crate) sni: Option<String>,
    /// TLS 1.2 and 1.3, as allowed by `--tls-protocols`.
    pub(crate) versions: Option<(bool, bool)>,
}

/// The server and how to talk to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ServerOptions {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) unix_socket: Option<String>,
    pub(crate) family: Family,
    pub(crate) protocol: Protocol,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) select_db: u32,
    pub(crate) tls: bool,
    pub(crate) tls_files: TlsFiles,
    /// 0: the system's own limit.
    pub(crate) connection_timeout_ms: u64,
}

impl ServerOptions {
    /// The address as people write it.
    pub(crate) fn display(&self) -> String {
        match &self.unix_socket {
            Some(path) => path.clone(),
            None if self.host.contains(':') => format!("[{}]:{}", self.host, self.port),
            None => format!("{}:{}", self.host, self.port),
        }
    }
}

/// `-n`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Requests {
    /// Requests of each client.
    Count(u64),
    /// As many as the key range has keys.
    AllKeys,
}

/// One letter of `--key-pattern`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pattern {
    Random,
    Gaussian,
    Zipf,
    ScatteredZipf,
    HotSet,
    Sequential,
    Parallel,
    Insert,
    Latest,
}

impl Pattern {
    /// The pattern of a letter.
    pub(crate) fn of_letter(text: &str) -> Result<Pattern, String> {
        Ok(match text {
            "R" => Pattern::Random,
            "G" => Pattern::Gaussian,
            "Z" => Pattern::Zipf,
            "X" => Pattern::ScatteredZipf,
            "H" => Pattern::HotSet,
            "S" => Pattern::Sequential,
            "P" => Pattern::Parallel,
            "I" => Pattern::Insert,
            "L" => Pattern::Latest,
            _ => {
                return Err(format!(
                    "{text}: a key pattern is one of R G Z S P (memtier's), H X L I"
                ));
            }
        })
    }
}

/// One `--command` with what was said of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CommandSpec {
    pub(crate) line: String,
    pub(crate) ratio: u64,
    pub(crate) pattern: Pattern,
}

/// When requests of an open loop start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Arrivals {
    #[default]
    Constant,
    Poisson,
}

/// "p99.9 < 1 ms".
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Objective {
    /// In percent.
    pub(crate) percentile: f64,
    pub(crate) limit_ns: u64,
}

/// The order of several commands in one client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum CommandOrder {
    /// memtier's: the first command ratio times, then the second, and so on.
    #[default]
    Sequence,
    /// Each request drawn with the ratios as weights.
    Random,
}

/// Everything that the command line says.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Config {
    pub(crate) server: ServerOptions,
    pub(crate) cluster_mode: bool,
    pub(crate) clients: u32,
    pub(crate) threads: u32,
    pub(crate) pipeline: u32,
    pub(crate) requests: Option<Requests>,
    pub(crate) test_time_sec: f64,
    pub(crate) warmup_sec: f64,
    pub(crate) run_count: u32,
    pub(crate) ratio: (u64, u64),
    pub(crate) wait_ratio: Option<(u64, u64)>,
    pub(crate) num_slaves: (u64, u64),
    pub(crate) wait_timeout_ms: (u64, u64),
    pub(crate) multi_key_get: u64,
    pub(crate) commands: Vec<CommandSpec>,
    pub(crate) command_order: CommandOrder,
    pub(crate) preload_commands: Vec<String>,
    pub(crate) setup_commands: Vec<String>,
    pub(crate) monitor_input: Option<String>,
    pub(crate) monitor_random: bool,
    pub(crate) breakdown_by_line: bool,
    pub(crate) scan_iteration: bool,
    pub(crate) scan_iterations_max: u64,
    pub(crate) data_size: Option<u64>,
    pub(crate) data_offset: u64,
    pub(crate) data_size_range: Option<(u64, u64)>,
    pub(crate) data_size_list: Option<Vec<(u64, u64)>>,
    pub(crate) data_size_by_key: bool,
    pub(crate) random_data: bool,
    pub(crate) expiry_range: Option<(u64, u64)>,
    pub(crate) key_prefix: String,
    pub(crate) key_minimum: u64,
    pub(crate) key_maximum: u64,
    pub(crate) key_pattern: (Pattern, Pattern),
    pub(crate) key_stddev: Option<f64>,
    pub(crate) key_median: Option<f64>,
    pub(crate) key_zipf_exponent: f64,
    pub(crate) hot_keys: f64,
    pub(crate) hot_traffic: f64,
    pub(crate) seed: u64,
    pub(crate) rate_limiting: u64,
    pub(crate) rates: Vec<f64>,
    pub(crate) arrivals: Arrivals,
    pub(crate) objective: Option<Objective>,
    pub(crate) rate_start: f64,
    pub(crate) step_time_sec: f64,
    pub(crate) reconnect: bool,
    pub(crate) reconnect_interval: u64,
    pub(crate) reconnect_attempts_max: u64,
    pub(crate) reconnect_backoff: f64,
    pub(crate) start_jitter_us: (u64, u64),
    pub(crate) request_timeout_ms: u64,
    pub(crate) preload: bool,
    pub(crate) verify: bool,
    pub(crate) verify_only: bool,
    pub(crate) verify_state: Option<String>,
    pub(crate) scenario: Option<String>,
    pub(crate) cpus: Vec<usize>,
    pub(crate) out_file: Option<String>,
    pub(crate) client_stats: Option<String>,
    pub(crate) json_out_file: Option<String>,
    pub(crate) hdr_file_prefix: Option<String>,
    pub(crate) report: Option<String>,
    pub(crate) show_config: bool,
    pub(crate) hide_histogram: bool,
    pub(crate) print_percentiles: Vec<f64>,
    pub(crate) print_all_runs: bool,
    pub(crate) quiet: bool,
    pub(crate) debug: bool,
    pub(crate) rounds: u32,
    pub(crate) pids: (Option<u32>, Option<u32>),
    /// The command line, for reports.
    pub(crate) command_line: String,
}

impl Default for Config {
    /// memtier's defaults, where it has the option.
    fn default() -> Config {
        Config {
            server: ServerOptions {
                host: "localhost".to_string(),
                port: 6379,
                unix_socket: None,
                family: Family::Any,
                protocol: Protocol::Plain,
                user: None,
                password: None,
                select_db: 0,
                tls: false,
                tls_files: TlsFiles::default(),
                connection_timeout_ms: 0,
            },
            cluster_mode: false,
            clients: 50,
            threads: 4,
            pipeline: 1,
            requests: None,
            test_time_sec: 0.0,
            warmup_sec: 0.0,
            run_count: 1,
            ratio: (1, 10),
            wait_ratio: None,
            num_slaves: (1, 1),
            wait_timeout_ms: (0, 0),
            multi_key_get: 0,
            commands: Vec::new(),
            command_order: CommandOrder::Sequence,
            preload_commands: Vec::new(),
            setup_commands: Vec::new(),
            monitor_input: None,
            monitor_random: false,
            breakdown_by_line: false,
            scan_iteration: false,
            scan_iterations_max: 0,
            data_size: None,
            data_offset: 0,
            data_size_range: None,
            data_size_list: None,
            data_size_by_key: false,
            random_data: false,
            expiry_range: None,
            key_prefix: "memtier-".to_string(),
            key_minimum: 0,
            key_maximum: 10_000_000,
            key_pattern: (Pattern::Random, Pattern::Random),
            key_stddev: None,
            key_median: None,
            key_zipf_exponent: 1.0,
            hot_keys: 0.2,
            hot_traffic: 0.8,
            seed: 0x5249_4e47,
            rate_limiting: 0,
            rates: Vec::new(),
            arrivals: Arrivals::Constant,
            objective: None,
            rate_start: 0.0,
            step_time_sec: 5.0,
            reconnect: false,
            reconnect_interval: 0,
            reconnect_attempts_max: 0,
            reconnect_backoff: 0.0,
            start_jitter_us: (0, 0),
            request_timeout_ms: 30_000,
            preload: false,
            verify: false,
            verify_only: false,
            verify_state: None,
            scenario: None,
            cpus: Vec::new(),
            out_file: None,
            client_stats: None,
            json_out_file: None,
            hdr_file_prefix: None,
            report: None,
            show_config: false,
            hide_histogram: false,
            print_percentiles: vec![50.0, 99.0, 99.9],
            print_all_runs: false,
            quiet: false,
            debug: false,
            rounds: 5,
            pids: (None, None),
            command_line: String::new(),
        }
    }
}

/// Keys that verify keeps two counters for, at most: 8 bytes each, half a GiB.
pub(crate) const VERIFY_KEYS_MAX: u64 = 64 * 1024 * 1024;
/// Values in verify mode hold at least a key number, a version, a writer and a checksum.
pub(crate) const VERIFY_BYTES_MIN: u64 = 40;
/// Threads and clients for each, at most: beyond them memory and descriptors run out first.
const THREADS_MAX: u32 = 1024;
const CLIENTS_MAX: u32 = 1_000_000;
const PIPELINE_MAX: u32 = 1_000_000;

impl Config {
    /// The range of key numbers.
    pub(crate) fn key_range(&self) -> KeyRange {
        KeyRange {
            min: self.key_minimum,
            max: self.key_maximum,
        }
    }

    /// Clients of all threads together.
    pub(crate) fn clients_total(&self) -> u64 {
        u64::from(self.clients) * u64::from(self.threads)
    }

    /// How long values are.
    pub(crate) fn sizes(&self) -> Sizes {
        match (&self.data_size_list, self.data_size_range) {
            (Some(list), _) => Sizes::List(list.clone()),
            (None, Some((min, max))) if self.data_size_by_key => Sizes::RangeByKey { min, max },
            (None, Some((min, max))) => Sizes::Range { min, max },
            (None, None) => Sizes::Fixed(self.data_size.unwrap_or(32)),
        }
    }

    /// Requests of each client, if the run ends by count.
    pub(crate) fn requests_of_client(&self, client: u64) -> Option<u64> {
        match self.requests {
            None if self.test_time_sec > 0.0 || self.objective.is_some() => None,
            None => Some(10_000),
            Some(Requests::Count(count)) => Some(count),
            Some(Requests::AllKeys) => Some(if self.walks_in_parallel() {
                let part = crate::keys::part_of(self.key_range(), client, self.clients_total());
                part.count()
            } else {
                self.key_range().count()
            }),
        }
    }

    fn walks_in_parallel(&self) -> bool {
        if self.commands.is_empty() {
            let (set, get) = self.key_pattern;
            set == Pattern::Parallel && get == Pattern::Parallel
        } else {
            self.commands.iter().all(|c| c.pattern == Pattern::Parallel)
        }
    }

    /// What excludes each other, and what is out of range. The text names the options.
    pub(crate) fn check(&self) -> Result<(), String> {
        let refuse = |wrong: bool, text: &str| if wrong { Err(text.to_string()) } else { Ok(()) };
        refuse(
            self.threads == 0 || self.threads > THREADS_MAX,
            "--threads: 1 to 1024",
        )?;
        refuse(
            self.clients == 0 || self.clients > CLIENTS_MAX,
            "--clients: 1 to 1000000",
        )?;
        refuse(
            self.pipeline == 0 || self.pipeline > PIPELINE_MAX,
            "--pipeline: 1 to 1000000",
        )?;
        refuse(
            self.key_minimum > self.key_maximum,
            "--key-minimum is above --key-maximum",
        )?;
        refuse(self.sizes().max() > VALUE_BYTES_MAX, "values above 512 MiB")?;
        refuse(
            self.data_size.is_some() as u8
                + self.data_size_range.is_some() as u8
                + self.data_size_list.is_some() as u8
                > 1,
            "--data-size, --data-size-range and --data-size-list exclude each other",
        )?;
        refuse(
            self.data_size_by_key && self.data_size_range.is_none(),
            "--data-size-pattern=S wants --data-size-range",
        )?;
        refuse(
            self.data_offset > 0 && self.expiry_range.is_some(),
            "--data-offset and --expiry-range exclude each other",
        )?;
        refuse(
            self.ratio == (0, 0) && self.commands.is_empty(),
            "--ratio=0:0 leaves nothing to do",
        )?;
        refuse(
            self.test_time_sec > 0.0 && matches!(self.requests, Some(Requests::Count(_))),
            "--test-time and --requests exclude each other",
        )?;
        refuse(
            self.cluster_mode && self.server.unix_socket.is_some(),
            "--cluster-mode and --unix-socket exclude each other",
        )?;
        refuse(
            self.cluster_mode && self.multi_key_get > 1,
            "--cluster-mode and --multi-key-get exclude each other: keys of one command live on one node",
        )?;
        refuse(
            self.cluster_mode && self.wait_ratio.is_some(),
            "--cluster-mode and --wait-ratio exclude each other",
        )?;
        refuse(
            self.cluster_mode && self.server.select_db > 0,
            "--cluster-mode and --select-db exclude each other: a cluster has database 0 only",
        )?;
        refuse(
            self.reconnect_interval > 0 && self.cluster_mode,
            "--reconnect-interval and --cluster-mode exclude each other",
        )?;
        refuse(
            self.scan_iteration && self.pipeline > 1,
            "--scan-incremental-iteration wants --pipeline 1",
        )?;
        refuse(
            self.rate_limiting > 0 && !self.rates.is_empty(),
            "--rate-limiting (for each connection) and --rate (for all) exclude each other",
        )?;
        refuse(
            self.objective.is_some() && (self.rate_limiting > 0 || !self.rates.is_empty()),
            "--slo looks for the rate itself: leave --rate and --rate-limiting out",
        )?;
        refuse(
            self.rates.len() > 1 && self.run_count > 1,
            "--run-count and a list of rates exclude each other",
        )?;
        refuse(
            self.hot_traffic > 1.0 || self.hot_keys <= 0.0 || self.hot_keys > 1.0,
            "--hot-keys and --hot-traffic are shares between 0 and 1",
        )?;
        let verify = self.verify || self.verify_only;
        refuse(
            verify && (!self.commands.is_empty() || self.scenario.is_some()),
            "--verify checks SET and GET: leave --command and --scenario out",
        )?;
        refuse(
            verify
                && (self.multi_key_get > 1 || self.data_offset > 0 || self.expiry_range.is_some()),
            "--verify goes without --multi-key-get, --data-offset and --expiry-range",
        )?;
        refuse(
            verify && self.key_range().count() > VERIFY_KEYS_MAX,
            "--verify follows each key: --key-maximum at most 64 Mi above --key-minimum",
        )?;
        refuse(
            verify && self.key_range().count() < self.clients_total(),
            "--verify gives each client keys of its own: it wants at least as many keys as clients",
        )?;
        refuse(
            self.verify_only && self.verify_state.is_none(),
            "--verify-only checks what an earlier --verify wrote: name its --verify-state file",
        )?;
        refuse(
            self.preload
                && self.scenario.is_none()
                && !self.commands.is_empty()
                && self.preload_commands.is_empty(),
            "--preload with --command wants --preload-command: what is to be loaded?",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_sound_and_memtiers() {
        let config = Config::default();
        assert_eq!(config.check(), Ok(()));
        assert_eq!(config.requests_of_client(0), Some(10_000));
        assert_eq!(config.sizes(), Sizes::Fixed(32));
    }

    #[test]
    fn allkeys_in_parallel_covers_the_range_once() {
        let config = Config {
            requests: Some(Requests::AllKeys),
            key_minimum: 1,
            key_maximum: 1000,
            key_pattern: (Pattern::Parallel, Pattern::Parallel),
            ..Config::default()
        };
        let total: u64 = (0..config.clients_total())
            .filter_map(|c| config.requests_of_client(c))
            .sum();
        assert_eq!(total, 1000);
    }

    #[test]
    fn contradictions_are_refused() {
        let cluster = Config {
            cluster_mode: true,
            multi_key_get: 5,
            ..Config::default()
        };
        assert!(cluster.check().is_err());
        let range = Config {
            key_minimum: 5,
            key_maximum: 4,
            ..Config::default()
        };
        assert!(range.check().is_err());
    }
}
