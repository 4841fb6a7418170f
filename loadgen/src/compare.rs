//! Two servers in turn: A B A B ..., the same workload; medians, spread, ratios, and whether the
//! difference stands out of the noise. With process ids, CPU time for each request and RSS for each
//! key: the figures that do not depend on who generates the load.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

use crate::bench::{self, Server, Stop};
use crate::clock::Clock;
use crate::config::Config;
use crate::dial::{Control, Target};
use crate::engine;
use crate::failure;
use crate::json;
use crate::live::Live;
use crate::machine::{self, Usage};
use crate::options::{Named, set_server};
use crate::os;
use crate::report;
use crate::significance::{Spread, Verdict, compare};
use crate::stats::RunStats;
use crate::workload::Workload;

/// Which direction is good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Better {
    More,
    Less,
}

/// One figure of both servers over all rounds.
struct Figure {
    name: String,
    better: Better,
    a: Vec<f64>,
    b: Vec<f64>,
}

/// One of the two.
struct Side {
    name: String,
    server: Server,
    pid: Option<u32>,
    runs: Vec<RunStats>,
    cpu_us_per_request: Vec<f64>,
    rss_per_key: Option<f64>,
}

/// The whole comparison; answers the exit code.
pub(crate) fn run(config: &Config, servers: &[Named; 2]) -> u8 {
    os::catch_interrupts();
    if let Err(text) = bench::enough_files(config) {
        eprintln!("ringdove-load: {text}");
        return failure::EXIT_USAGE;
    }
    let sides = match measure(config, servers) {
        Ok(sides) => sides,
        Err(Stop::Usage(text)) => {
            eprintln!("ringdove-load: {text}");
            return failure::EXIT_USAGE;
        }
        Err(Stop::Failed(failure)) => {
            eprintln!("ringdove-load: {failure}");
            return failure::EXIT_UNREACHABLE;
        }
    };
    let figures = figures(config, &sides);
    let text = table(&sides, &figures);
    let value = value(config, &sides, &figures);
    let saved = [
        config
            .out_file
            .as_ref()
            .map(|path| ("--out-file", path, text.clone())),
        config
            .json_out_file
            .as_ref()
            .map(|path| ("--json-out-file", path, format!("{value:#}\n"))),
        config
            .report
            .as_ref()
            .map(|path| ("--report", path, report::page(&value))),
    ];
    if config.out_file.is_none() {
        print!("{text}");
    }
    for (option, path, content) in saved.into_iter().flatten() {
        if let Err(error) = fs::write(path, content) {
            eprintln!("ringdove-load: {option} {path}: {error}");
            return failure::EXIT_USAGE;
        }
    }
    let runs = || sides.iter().flat_map(|side| &side.runs);
    if runs().any(RunStats::lost) {
        failure::EXIT_LOST
    } else if runs().any(|run| run.failures.total() > 0) {
        failure::EXIT_ERRORS
    } else {
        failure::EXIT_CLEAN
    }
}

fn measure(config: &Config, servers: &[Named; 2]) -> Result<[Side; 2], Stop> {
    if config.objective.is_some() || config.rates.len() > 1 || config.verify || config.verify_only {
        return Err(Stop::Usage(
            "compare goes without --slo, --verify and lists of rates".to_string(),
        ));
    }
    let workload = Workload::new(config).map_err(Stop::Usage)?;
    let clock = Clock::start();
    let mut a = reach(config, &servers[0], config.pids.0)?;
    let mut b = reach(config, &servers[1], config.pids.1)?;
    if config.preload {
        for side in [&mut a, &mut b] {
            load(config, side, clock)?;
        }
    }
    for round in 1..=config.rounds {
        for side in [&mut a, &mut b] {
            let plan = bench::plan(config, &side.server, workload.clone(), clock);
            let label = format!("{} round {round}/{}", side.name, config.rounds);
            let mut live = Live::new(config, &label, &plan);
            let before = side.pid.and_then(machine::usage_of);
            let run = engine::run(plan, |progress| live.show(progress))?;
            live.finish(&run);
            let after = side.pid.and_then(machine::usage_of);
            if let (Some(before), Some(after)) = (before, after) {
                let us = (after.cpu_seconds - before.cpu_seconds) * 1e6;
                side.cpu_us_per_request
                    .push(us / run.requests().max(1) as f64);
            }
            side.runs.push(run);
        }
        if os::interrupted() {
            break;
        }
    }
    Ok([a, b])
}

fn reach(config: &Config, named: &Named, pid: Option<u32>) -> Result<Side, Stop> {
    let mut options = config.server.clone();
    set_server(&mut options, &named.address).map_err(Stop::Usage)?;
    if let Some(pid) = pid {
        if machine::usage_of(pid).is_none() {
            return Err(Stop::Usage(format!(
                "{}: no process {pid} on this machine",
                named.name
            )));
        }
        if config.warmup_sec > 0.0 {
            return Err(Stop::Usage(
                "--warmup and process ids exclude each other: the warm-up's CPU time would count"
                    .to_string(),
            ));
        }
    }
    let target = Target::new(&options).map_err(Stop::Usage)?;
    let server = bench::reach(config, target)?;
    Ok(Side {
        name: named.name.clone(),
        server,
        pid,
        runs: Vec::new(),
        cpu_us_per_request: Vec::new(),
        rss_per_key: None,
    })
}

fn keys_of(control: &mut Control) -> Option<i64> {
    control.ask(&[b"DBSIZE"]).ok()?.integer()
}

/// Preloads one side, and takes the RSS that each key has cost.
fn load(config: &Config, side: &mut Side, clock: Clock) -> Result<(), Stop> {
    let mut control = side.server.target.control()?;
    let rss = |pid: Option<u32>| pid.and_then(machine::usage_of).map(|u: Usage| u.rss_bytes);
    let before = (rss(side.pid), keys_of(&mut control));
    bench::preload(config, &side.server, clock, None)?;
    let after = (rss(side.pid), keys_of(&mut control));
    if let ((Some(rss_before), Some(keys_before)), (Some(rss_after), Some(keys_after))) =
        (before, after)
    {
        let keys = keys_after - keys_before;
        if keys > 0 {
            side.rss_per_key = Some((rss_after as f64 - rss_before as f64) / keys as f64);
        }
    }
    Ok(())
}

fn figures(config: &Config, sides: &[Side; 2]) -> Vec<Figure> {
    let [a, b] = sides;
    let each =
        |side: &Side, figure: &dyn Fn(&RunStats) -> f64| side.runs.iter().map(figure).collect();
    let mut figures = vec![Figure {
        name: "requests per second".to_string(),
        better: Better::More,
        a: each(a, &RunStats::rate),
        b: each(b, &RunStats::rate),
    }];
    for percentile in &config.print_percentiles {
        let figure =
            |run: &RunStats| run.total().latency.value_at_percentile(*percentile) as f64 / 1e6;
        figures.push(Figure {
            name: format!("p{percentile} ms"),
            better: Better::Less,
            a: each(a, &figure),
            b: each(b, &figure),
        });
    }
    if !a.cpu_us_per_request.is_empty() && !b.cpu_us_per_request.is_empty() {
        figures.push(Figure {
            name: "server CPU us per request".to_string(),
            better: Better::Less,
            a: a.cpu_us_per_request.clone(),
            b: b.cpu_us_per_request.clone(),
        });
    }
    figures.retain(|f| !f.a.is_empty() && !f.b.is_empty());
    figures
}

impl Figure {
    /// B's median as a multiple of A's.
    fn ratio(&self) -> f64 {
        Spread::of(&self.b).median / Spread::of(&self.a).median
    }

    /// In words.
    fn verdict(&self, sides: &[Side; 2]) -> String {
        let (p, verdict) = compare(&self.a, &self.b);
        match verdict {
            Verdict::Differs => {
                let b_is_better = (self.ratio() > 1.0) == (self.better == Better::More);
                let winner = &sides[usize::from(b_is_better)].name;
                format!("{winner} is better (p = {p:.3})")
            }
            other => format!("{} (p = {p:.3})", other.name()),
        }
    }
}

/// The table. (Writing to a String cannot fail: results are ignored.)
fn table(sides: &[Side; 2], figures: &[Figure]) -> String {
    let mut text = String::new();
    let [a, b] = sides;
    let _ = writeln!(
        text,
        "A = {}, {}\nB = {}, {}",
        a.name,
        a.server.target.options.display(),
        b.name,
        b.server.target.options.display()
    );
    let _ = writeln!(
        text,
        "\n{:<28} {:>14} {:>9} {:>14} {:>9} {:>8}  difference",
        "median of rounds", "A", "spread", "B", "spread", "B / A"
    );
    let _ = writeln!(text, "{}", "-".repeat(118));
    for figure in figures {
        let (a, b) = (Spread::of(&figure.a), Spread::of(&figure.b));
        let _ = writeln!(
            text,
            "{:<28} {:>14.3} {:>7.1} % {:>14.3} {:>7.1} % {:>8.3}  {}",
            figure.name,
            a.median,
            a.relative() * 100.0,
            b.median,
            b.relative() * 100.0,
            figure.ratio(),
            figure.verdict(sides)
        );
    }
    if let (Some(rss_a), Some(rss_b)) = (a.rss_per_key, b.rss_per_key) {
        let _ = writeln!(
            text,
            "{:<28} {:>14.1} {:>9} {:>14.1} {:>9} {:>8.3}  measured once",
            "RSS bytes per key",
            rss_a,
            "",
            rss_b,
            "",
            rss_b / rss_a
        );
    }
    for side in sides {
        let mut failures = crate::failure::Tally::default();
        side.runs
            .iter()
            .for_each(|run| failures.merge(&run.failures));
        for (kind, count, sample) in failures.occurred() {
            let _ = writeln!(
                text,
                "{}: errors: {count} x {} ({sample})",
                side.name,
                kind.name()
            );
        }
        let why = side.runs.iter().find_map(crate::stats::bottleneck);
        if let Some(why) = why {
            let _ = writeln!(text, "WARNING: {}: {why}", side.name);
        }
    }
    text
}

fn value(config: &Config, sides: &[Side; 2], figures: &[Figure]) -> Value {
    let list: Vec<Value> = figures
        .iter()
        .map(|figure| {
            let (a, b) = (Spread::of(&figure.a), Spread::of(&figure.b));
            let (p, verdict) = compare(&figure.a, &figure.b);
            let side = |spread: Spread, rounds: &[f64]| {
                json!({"median": spread.median, "min": spread.min, "max": spread.max,
                    "spread": spread.relative(), "rounds": rounds})
            };
            json!({
                "name": figure.name,
                "better": if figure.better == Better::More { "more" } else { "less" },
                "a": side(a, &figure.a),
                "b": side(b, &figure.b),
                "ratio": figure.ratio(),
                "p": p,
                "verdict": verdict.name(),
                "in words": figure.verdict(sides),
            })
        })
        .collect();
    let servers: Vec<Value> = sides
        .iter()
        .map(|side| {
            let runs: Vec<Value> = side
                .runs
                .iter()
                .map(|r| json::run_value(config, r))
                .collect();
            json!({
                "name": side.name,
                "server": json::facts(&side.server.facts),
                "pid": side.pid,
                "rss bytes per key": side.rss_per_key,
                "runs": runs,
            })
        })
        .collect();
    json!({
        "ringdove-load": {
            "version": env!("CARGO_PKG_VERSION"),
            "command line": config.command_line,
            "client": json::facts(&machine::client_facts()),
        },
        "compare": {"figures": list, "servers": servers},
    })
}
