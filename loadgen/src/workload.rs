//! What clients send: the commands of a run with their templates, patterns and order.
//!
//! Made once by the configuration, then shared read-only by all threads.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::config::{CommandOrder, Config, Pattern};
use crate::keys::{Distribution, KeyRange, Zipf};
use crate::template::{Template, split_words};
use crate::values::Values;

/// What a reply's nulls mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CommandKind {
    /// SET and its like.
    Write,
    /// A null is a miss, anything else a hit.
    Read,
    /// Nulls mean nothing.
    Other,
}

/// One command of the mix.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    /// Index into `Workload::lines`: where its results are counted.
    pub(crate) line: usize,
    pub(crate) kind: CommandKind,
    /// More than one only for `__monitor_line@__`.
    pub(crate) variants: Vec<Template>,
    pub(crate) random_variant: bool,
    pub(crate) keys: Distribution,
}

/// The order in which a client takes the commands.
#[derive(Clone, Debug)]
pub(crate) enum Mix {
    /// Runs of (command, how often), over and over.
    Sequence(Vec<(usize, u64)>),
    /// (command, sum of the weights up to it); the last sum is the total.
    Random(Vec<(usize, u64)>),
}

/// All that clients need to make requests.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) commands: Vec<Command>,
    /// The names under which results are shown.
    pub(crate) lines: Vec<String>,
    pub(crate) mix: Mix,
    pub(crate) prefix: Vec<u8>,
    pub(crate) range: KeyRange,
    pub(crate) values: Values,
    /// SCAN iteration: replies are read for their cursor.
    pub(crate) scans: bool,
    pub(crate) scan_iterations_max: u64,
}

/// Runs of a sequence, at most, after `--wait-ratio` has been woven in.
const RUNS_MAX: usize = 1_000_000;

impl Workload {
    /// The workload of the test itself.
    pub(crate) fn new(config: &Config) -> Result<Workload, String> {
        let mut workload = Workload::empty(config);
        if config.commands.is_empty() {
            workload.add_memtier_mix(config)?;
        } else {
            workload.add_commands(config)?;
        }
        Ok(workload)
    }

    /// The workload that writes every key once, with `line` (or SET).
    pub(crate) fn preload(config: &Config, line: Option<&str>) -> Result<Workload, String> {
        let mut workload = Workload::empty(config);
        let set = set_words(config);
        let words = match line {
            Some(line) => split_words(line)?,
            None => set,
        };
        workload.add(
            "Preload",
            CommandKind::Write,
            &words,
            Distribution::Parallel,
        )?;
        workload.mix = Mix::Sequence(vec![(0, 1)]);
        Ok(workload)
    }

    /// GET of every key, for verify's last look.
    pub(crate) fn sweep(config: &Config) -> Result<Workload, String> {
        let mut workload = Workload::empty(config);
        let words = split_words("GET __key__")?;
        workload.add("Checks", CommandKind::Read, &words, Distribution::Parallel)?;
        workload.mix = Mix::Sequence(vec![(0, 1)]);
        Ok(workload)
    }

    fn empty(config: &Config) -> Workload {
        Workload {
            commands: Vec::new(),
            lines: Vec::new(),
            mix: Mix::Sequence(Vec::new()),
            prefix: config.key_prefix.clone().into_bytes(),
            range: config.key_range(),
            values: Values::new(
                config.sizes(),
                config.key_range(),
                config.random_data,
                config.seed,
            ),
            scans: config.scan_iteration,
            scan_iterations_max: config.scan_iterations_max,
        }
    }

    fn line(&mut self, name: &str) -> usize {
        match self.lines.iter().position(|l| l == name) {
            Some(at) => at,
            None => {
                self.lines.push(name.to_string());
                self.lines.len() - 1
            }
        }
    }

    fn add(
        &mut self,
        name: &str,
        kind: CommandKind,
        words: &[Vec<u8>],
        keys: Distribution,
    ) -> Result<usize, String> {
        let line = self.line(name);
        let variants = vec![Template::new(words, &self.prefix)?];
        self.commands.push(Command {
            line,
            kind,
            variants,
            random_variant: false,
            keys,
        });
        Ok(self.commands.len() - 1)
    }

    /// memtier's own mix: SETs, GETs and WAITs by their ratios.
    fn add_memtier_mix(&mut self, config: &Config) -> Result<(), String> {
        let (sets, gets) = config.ratio;
        let mut make = Distributions::new(config);
        let set_keys = make.of(config.key_pattern.0);
        let get_keys = make.of(config.key_pattern.1);
        let set = self.add("Sets", CommandKind::Write, &set_words(config), set_keys)?;
        let batch = config.multi_key_get.max(1).min(gets.max(1));
        let mut get_runs = Vec::new();
        for (keys, count) in [
            (batch, gets / batch),
            (gets % batch, u64::from(gets % batch > 0)),
        ] {
            if keys == 0 || count == 0 {
                continue;
            }
            let words = get_words(config, keys)?;
            let get = self.add("Gets", CommandKind::Read, &words, get_keys.clone())?;
            get_runs.push((get, count));
        }
        let mut runs = Vec::new();
        match config.wait_ratio {
            Some((per_sets, waits)) if per_sets > 0 && waits > 0 && sets > 0 => {
                let words = split_words(&format!(
                    "WAIT __int:{}-{}__ __int:{}-{}__",
                    config.num_slaves.0,
                    config.num_slaves.1,
                    config.wait_timeout_ms.0,
                    config.wait_timeout_ms.1
                ))?;
                let wait = self.add("Waits", CommandKind::Other, &words, Distribution::Uniform)?;
                let mut since = 0;
                // The two ratios are in step again after this many rounds.
                for _ in 0..per_sets / gcd(sets, per_sets) {
                    let mut left = sets;
                    while left > 0 {
                        let part = left.min(per_sets - since);
                        runs.push((set, part));
                        since += part;
                        left -= part;
                        if since == per_sets {
                            runs.push((wait, waits));
                            since = 0;
                        }
                    }
                    runs.extend(get_runs.iter().copied());
                    if runs.len() > RUNS_MAX {
                        return Err("--ratio and --wait-ratio together repeat too late".to_string());
                    }
                }
            }
            _ => {
                runs.extend((sets > 0).then_some((set, sets)));
                runs.extend(get_runs);
            }
        }
        self.mix = Mix::Sequence(runs);
        Ok(())
    }

    fn add_commands(&mut self, config: &Config) -> Result<(), String> {
        let monitor = match &config.monitor_input {
            Some(path) => monitor_lines(path)?,
            None => Vec::new(),
        };
        let mut make = Distributions::new(config);
        let mut runs = Vec::new();
        for spec in &config.commands {
            let keys = make.of(spec.pattern);
            let line = spec.line.trim();
            let at = if line == "__monitor_line@__" {
                let variants: Vec<Template> = monitor
                    .iter()
                    .map(|words| Template::new(words, &self.prefix))
                    .collect::<Result<_, _>>()?;
                if variants.is_empty() {
                    return Err("__monitor_line@__ wants --monitor-input with commands".to_string());
                }
                let random_variant = config.monitor_random;
                let name = self.line("Monitor");
                self.commands.push(Command {
                    line: name,
                    kind: CommandKind::Other,
                    variants,
                    random_variant,
                    keys,
                });
                self.commands.len() - 1
            } else {
                let mut words = match monitor_number(line) {
                    Some(number) => number
                        .checked_sub(1)
                        .and_then(|at| monitor.get(at))
                        .cloned()
                        .ok_or_else(|| {
                            format!("{line}: --monitor-input has {} commands", monitor.len())
                        })?,
                    None => split_words(line)?,
                };
                if words.is_empty() {
                    return Err("--command is empty".to_string());
                }
                let verb = String::from_utf8_lossy(&words[0]).into_owned();
                if config.scan_iteration {
                    if !verb.eq_ignore_ascii_case("scan") || words.len() < 2 {
                        return Err(
                            "--scan-incremental-iteration wants --command=\"SCAN 0 ...\"".into(),
                        );
                    }
                    words[1] = b"__scan__".to_vec();
                }
                let name = if config.breakdown_by_line {
                    line.to_string()
                } else {
                    plural(&verb)
                };
                self.add(&name, kind_of(&verb), &words, keys)?
            };
            runs.push((at, spec.ratio));
        }
        self.mix = match config.command_order {
            CommandOrder::Sequence => Mix::Sequence(runs),
            CommandOrder::Random => {
                let mut sum = 0;
                Mix::Random(
                    runs.into_iter()
                        .map(|(at, weight)| {
                            sum += weight;
                            (at, sum)
                        })
                        .collect(),
                )
            }
        };
        Ok(())
    }
}

/// Makes distributions; all I and L patterns of a run share the count of inserts.
struct Distributions<'a> {
    config: &'a Config,
    inserted: Arc<AtomicU64>,
}

impl<'a> Distributions<'a> {
    fn new(config: &'a Config) -> Distributions<'a> {
        let next = config.key_maximum.saturating_add(1);
        Distributions {
            config,
            inserted: Arc::new(AtomicU64::new(next)),
        }
    }

    fn of(&mut self, pattern: Pattern) -> Distribution {
        let range = self.config.key_range();
        let zipf = || Zipf::new(range.count(), self.config.key_zipf_exponent);
        match pattern {
            Pattern::Random => Distribution::Uniform,
            Pattern::Gaussian => {
                let spread = range.count() as f64;
                let middle = (range.min as f64 + range.max as f64) / 2.0;
                let median = self
                    .config
                    .key_median
                    .filter(|m| *m > 0.0)
                    .unwrap_or(middle);
                Distribution::Gaussian {
                    median: median.clamp(range.min as f64, range.max as f64),
                    deviation: self
                        .config
                        .key_stddev
                        .filter(|d| *d > 0.0)
                        .unwrap_or(spread / 6.0),
                }
            }
            Pattern::Zipf => Distribution::Zipf(zipf()),
            Pattern::ScatteredZipf => Distribution::ScatteredZipf(zipf()),
            Pattern::HotSet => Distribution::HotSet {
                keys: (range.count() as f64 * self.config.hot_keys) as u64,
                traffic: self.config.hot_traffic,
            },
            Pattern::Sequential => Distribution::Sequential,
            Pattern::Parallel => Distribution::Parallel,
            Pattern::Insert => Distribution::Insert(Arc::clone(&self.inserted)),
            Pattern::Latest => Distribution::Latest(zipf(), Arc::clone(&self.inserted)),
        }
    }
}

fn set_words(config: &Config) -> Vec<Vec<u8>> {
    let line = if config.data_offset > 0 {
        format!("SETRANGE __key__ {} __data__", config.data_offset)
    } else if let Some((min, max)) = config.expiry_range {
        format!("SETEX __key__ __int:{min}-{max}__ __data__")
    } else {
        "SET __key__ __data__".to_string()
    };
    split_words(&line).expect("no quotes in it")
}

fn get_words(config: &Config, keys: u64) -> Result<Vec<Vec<u8>>, String> {
    if config.data_offset > 0 {
        let end = config.data_offset + config.sizes().max().max(1) - 1;
        return split_words(&format!("GETRANGE __key__ {} {end}", config.data_offset));
    }
    if config.multi_key_get == 0 {
        return split_words("GET __key__");
    }
    let mut words = vec![b"MGET".to_vec()];
    words.extend((0..keys).map(|_| b"__key__".to_vec()));
    Ok(words)
}

/// memtier's names of results: SET becomes Sets.
fn plural(verb: &str) -> String {
    let mut name = verb.to_ascii_lowercase();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    name.push('s');
    name
}

fn kind_of(verb: &str) -> CommandKind {
    let reads = [
        "GET", "HGET", "MGET", "HMGET", "GETRANGE", "GETEX", "ZSCORE", "ZRANK", "ZREVRANK",
        "LINDEX",
    ];
    if reads.iter().any(|r| verb.eq_ignore_ascii_case(r)) {
        CommandKind::Read
    } else {
        CommandKind::Other
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// 17 of `__monitor_line17__`.
fn monitor_number(line: &str) -> Option<usize> {
    line.strip_prefix("__monitor_line")?
        .strip_suffix("__")?
        .parse()
        .ok()
}

/// The commands of MONITOR's output: `1339518083.107412 [0 127.0.0.1:60866] "set" "a" "b"`.
fn monitor_lines(path: &str) -> Result<Vec<Vec<Vec<u8>>>, String> {
    let text = std::fs::read(path).map_err(|e| format!("--monitor-input {path}: {e}"))?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut lines = Vec::new();
    for line in text.lines() {
        if let Some(at) = line.find("] \"") {
            lines.push(split_words(&line[at + 2..])?);
        }
    }
    Ok(lines)
}

/// Names of lines that also count toward a total: all. Kept apart for reports.
pub(crate) fn mix_shares(workload: &Workload) -> HashMap<String, f64> {
    let mut shares = HashMap::new();
    let counts: Vec<(usize, u64)> = match &workload.mix {
        Mix::Sequence(runs) => runs.clone(),
        Mix::Random(sums) => {
            let mut before = 0;
            sums.iter()
                .map(|(at, sum)| (*at, sum - std::mem::replace(&mut before, *sum)))
                .collect()
        }
    };
    let total: u64 = counts.iter().map(|(_, n)| n).sum();
    for (at, count) in counts {
        let line = &workload.lines[workload.commands[at].line];
        *shares.entry(line.clone()).or_insert(0.0) += count as f64 / total.max(1) as f64;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CommandSpec;

    fn spec(line: &str, ratio: u64) -> CommandSpec {
        CommandSpec {
            line: line.to_string(),
            ratio,
            pattern: Pattern::Random,
        }
    }

    #[test]
    fn memtiers_mix_follows_ratio_and_multi_get() {
        let config = Config {
            ratio: (2, 10),
            multi_key_get: 4,
            ..Config::default()
        };
        let workload = Workload::new(&config).expect("a workload");
        let Mix::Sequence(runs) = &workload.mix else {
            panic!("a sequence")
        };
        assert_eq!(runs, &[(0, 2), (1, 2), (2, 1)]);
        assert_eq!(workload.lines, ["Sets", "Gets"]);
    }

    #[test]
    fn waits_keep_their_own_ratio() {
        let config = Config {
            ratio: (2, 1),
            wait_ratio: Some((3, 1)),
            ..Config::default()
        };
        let workload = Workload::new(&config).expect("a workload");
        let Mix::Sequence(runs) = &workload.mix else {
            panic!("a sequence")
        };
        let count = |name: &str| -> u64 {
            runs.iter()
                .filter(|(at, _)| workload.lines[workload.commands[*at].line] == name)
                .map(|(_, n)| n)
                .sum()
        };
        assert_eq!((count("Sets"), count("Waits"), count("Gets")), (6, 2, 3));
    }

    #[test]
    fn commands_of_one_name_share_a_line_of_results() {
        let config = Config {
            commands: vec![
                spec("get __key__", 1),
                spec("GET fixed", 3),
                spec("zadd z 1 a", 1),
            ],
            command_order: CommandOrder::Random,
            ..Config::default()
        };
        let workload = Workload::new(&config).expect("a workload");
        assert_eq!(workload.lines, ["Gets", "Zadds"]);
        assert!(matches!(&workload.mix, Mix::Random(sums) if sums.last() == Some(&(2, 5))));
        assert!((mix_shares(&workload)["Gets"] - 0.8).abs() < 1e-9);
    }

    #[test]
    fn scenarios_make_workloads() {
        for scenario in crate::scenario::SCENARIOS {
            let args = [format!("--scenario={}", scenario.name)];
            let asked = crate::options::parse(&args).expect("options");
            let crate::options::Asked::Run(config) = asked else {
                panic!("a run")
            };
            Workload::new(&config).expect(scenario.name);
            for line in &config.preload_commands {
                Workload::preload(&config, Some(line)).expect(scenario.name);
            }
        }
    }
}
