//! The final tables, in memtier's form where it has one.

use std::fmt::Write as _;

use crate::bench::Outcome;
use crate::config::Config;
use crate::knee;
use crate::os;
use crate::stats::{LineStats, RunStats, bottleneck};
use crate::verify::Fault;
use crate::workload::{Workload, mix_shares};

/// Everything that is printed at the end. (Writing to a String cannot fail: results are ignored.)
pub(crate) fn render(config: &Config, outcome: &Outcome) -> String {
    let mut text = String::new();
    head(&mut text, config);
    for run in &outcome.preload {
        let _ = writeln!(
            text,
            "{}: {} requests in {:.2} s, {:.0} per second",
            run.names.first().map_or("Preload", String::as_str),
            run.requests(),
            run.seconds(),
            run.rate()
        );
        errors(&mut text, run);
    }
    if let Some((objective, steps)) = &outcome.search {
        let _ = writeln!(
            text,
            "\nSearch for the highest rate with p{} < {:.3} ms\n{:>12} {:>12} {:>14}",
            objective.percentile,
            objective.limit_ns as f64 / 1e6,
            "rate",
            "achieved",
            format!("p{} ms", objective.percentile)
        );
        for step in steps {
            let _ = writeln!(
                text,
                "{:>12.0} {:>12.0} {:>14.3}  {}",
                step.rate,
                step.achieved,
                step.latency_ns as f64 / 1e6,
                if step.kept { "kept" } else { "missed" }
            );
        }
        let _ = match knee::best(steps) {
            Some(best) => writeln!(text, "Highest rate: {:.0} requests per second", best.rate),
            None => writeln!(text, "No rate keeps it"),
        };
    }
    let several = outcome.runs.len() > 1;
    let by_rate = config.rates.len() > 1;
    if several && !by_rate && outcome.search.is_none() {
        runs_of_the_same(&mut text, config, &outcome.runs);
    } else {
        for (number, run) in outcome.runs.iter().enumerate() {
            if outcome.search.is_some() && !config.print_all_runs {
                break;
            }
            let title = match run.target_rate {
                Some(rate) if several => format!("RATE {rate:.0}"),
                _ if several => format!("RUN #{}", number + 1),
                _ => "ALL STATS".to_string(),
            };
            run_table(&mut text, config, run, &title);
        }
    }
    if by_rate {
        rates(&mut text, config, &outcome.runs);
    }
    verify(&mut text, outcome);
    if !config.hide_histogram && !several {
        outcome
            .runs
            .iter()
            .for_each(|run| distribution(&mut text, run));
    }
    text
}

fn head(text: &mut String, config: &Config) {
    let _ = writeln!(
        text,
        "{:<9} Threads\n{:<9} Connections per thread\n{:<9} {}",
        config.threads,
        config.clients,
        match config.requests_of_client(0) {
            Some(count) => count.to_string(),
            None if config.objective.is_some() => config.step_time_sec.to_string(),
            None => format!("{}", config.test_time_sec),
        },
        if config.requests_of_client(0).is_some() {
            "Requests per client"
        } else {
            "Seconds"
        }
    );
    if let Ok(workload) = Workload::new(config) {
        let mut shares: Vec<(String, f64)> = mix_shares(&workload).into_iter().collect();
        shares.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let shares: Vec<String> = shares
            .iter()
            .map(|(name, share)| format!("{name} {:.1} %", share * 100.0))
            .collect();
        let _ = writeln!(text, "Mix: {}", shares.join(", "));
    }
}

/// memtier's: best, worst and average of several equal runs, or each of them.
fn runs_of_the_same(text: &mut String, config: &Config, runs: &[RunStats]) {
    let best = runs
        .iter()
        .enumerate()
        .max_by(|a, b| a.1.rate().total_cmp(&b.1.rate()));
    let worst = runs
        .iter()
        .enumerate()
        .min_by(|a, b| a.1.rate().total_cmp(&b.1.rate()));
    if config.print_all_runs {
        for (number, run) in runs.iter().enumerate() {
            run_table(text, config, run, &format!("RUN #{} RESULTS", number + 1));
        }
    } else {
        for (word, found) in [("BEST", best), ("WORST", worst)] {
            if let Some((number, run)) = found {
                run_table(
                    text,
                    config,
                    run,
                    &format!("{word} RUN RESULTS (#{})", number + 1),
                );
            }
        }
    }
    let mean = runs.iter().map(RunStats::rate).sum::<f64>() / runs.len() as f64;
    let _ = writeln!(
        text,
        "\nAGGREGATED AVERAGE RESULTS ({} runs): {mean:.2} Ops/sec",
        runs.len()
    );
}

fn run_table(text: &mut String, config: &Config, run: &RunStats, title: &str) {
    let mut columns: Vec<String> = ["Type", "Ops/sec", "Hits/sec", "Misses/sec", "Avg. Latency"]
        .map(str::to_string)
        .into();
    columns.extend(
        config
            .print_percentiles
            .iter()
            .map(|p| format!("p{p} Latency")),
    );
    columns.extend(["Max Latency", "KB/sec", "Errors"].map(str::to_string));
    let width = columns.iter().map(String::len).max().unwrap_or(0).max(12) + 1;
    let name_width = run
        .names
        .iter()
        .map(String::len)
        .max()
        .unwrap_or(0)
        .clamp(12, 60);
    let rule = "-".repeat(name_width + width * (columns.len() - 1));
    let _ = writeln!(text, "\n\n{title}\n{}", "=".repeat(rule.len()));
    let _ = write!(text, "{:<name_width$}", columns[0]);
    for column in &columns[1..] {
        let _ = write!(text, "{column:>width$}");
    }
    let _ = writeln!(text, "\n{rule}");
    let total = run.total();
    let rows = run
        .names
        .iter()
        .map(String::as_str)
        .zip(&run.lines)
        .chain([("Totals", &total)]);
    for (name, line) in rows {
        row(text, config, name, line, run.seconds(), name_width, width);
    }
    footer(text, run);
}

fn row(
    text: &mut String,
    config: &Config,
    name: &str,
    line: &LineStats,
    seconds: f64,
    name_width: usize,
    width: usize,
) {
    let ms = |ns: u64| format!("{:.5}", ns as f64 / 1e6);
    let shown: String = name.chars().take(name_width).collect();
    let _ = write!(text, "{shown:<name_width$}");
    let mut cells = vec![
        format!("{:.2}", line.count() as f64 / seconds),
        format!("{:.2}", line.hits as f64 / seconds),
        format!("{:.2}", line.misses as f64 / seconds),
        format!("{:.5}", line.latency.mean() / 1e6),
    ];
    let percentiles = config.print_percentiles.iter();
    cells.extend(percentiles.map(|p| ms(line.latency.value_at_percentile(*p))));
    cells.push(ms(line.latency.max()));
    let bytes = (line.bytes_sent + line.bytes_received) as f64;
    cells.push(format!("{:.2}", bytes / 1024.0 / seconds));
    cells.push(line.errors.to_string());
    for cell in cells {
        let _ = write!(text, "{cell:>width$}");
    }
    let _ = writeln!(text);
}

fn errors(text: &mut String, run: &RunStats) {
    for (kind, count, sample) in run.failures.occurred() {
        let _ = writeln!(text, "Errors: {count} x {} ({sample})", kind.name());
    }
}

/// What the table's lines do not hold: errors, nodes, the generator itself.
fn footer(text: &mut String, run: &RunStats) {
    errors(text, run);
    if run.reconnects > 0 {
        let _ = writeln!(text, "Reconnects: {}", run.reconnects);
    }
    let nodes = run.by_node();
    if nodes.len() > 1 {
        let all: u64 = nodes.iter().map(|(_, n)| n).sum();
        for (name, count) in nodes {
            let share = count as f64 * 100.0 / all.max(1) as f64;
            let _ = writeln!(text, "Node {name}: {count} requests, {share:.1} %");
        }
    }
    if run.moved + run.asked > 0 {
        let _ = writeln!(text, "Redirections: {} MOVED, {} ASK", run.moved, run.asked);
    }
    if run.target_rate.is_some() {
        let lag = run.lag();
        let _ = writeln!(
            text,
            "Open loop: latencies count from the intended time; sent late by p50 {:.3} ms, p99 {:.3} ms; {} never sent",
            lag.value_at_quantile(0.5) as f64 / 1e6,
            lag.value_at_quantile(0.99) as f64 / 1e6,
            run.overdue()
        );
    }
    let cpu = run.cpu_seconds();
    let _ = writeln!(
        text,
        "Generator: {:.2} CPU s in {:.2} s, {:.0} requests per CPU second, busiest thread {:.0} %, {:.1} MiB at most",
        cpu,
        run.seconds(),
        run.requests() as f64 / cpu.max(1e-9),
        run.busiest_thread() * 100.0,
        os::rss_max_kib() as f64 / 1024.0
    );
    if let Some(why) = bottleneck(run) {
        let _ = writeln!(text, "WARNING: {why}");
    }
    if run.lost() {
        let _ = writeln!(
            text,
            "WARNING: all connections of a thread were lost before the end"
        );
    }
}

fn rates(text: &mut String, config: &Config, runs: &[RunStats]) {
    let _ = write!(text, "\nRATES\n{:>12} {:>12}", "rate", "achieved");
    for percentile in &config.print_percentiles {
        let _ = write!(text, " {:>12}", format!("p{percentile} ms"));
    }
    let _ = writeln!(text, " {:>12}", "max ms");
    for run in runs {
        let latency = run.total().latency;
        let _ = write!(
            text,
            "{:>12.0} {:>12.0}",
            run.target_rate.unwrap_or(0.0),
            run.rate()
        );
        for percentile in &config.print_percentiles {
            let _ = write!(
                text,
                " {:>12.3}",
                latency.value_at_percentile(*percentile) as f64 / 1e6
            );
        }
        let _ = writeln!(text, " {:>12.3}", latency.max() as f64 / 1e6);
    }
}

fn verify(text: &mut String, outcome: &Outcome) {
    let Some(ledger) = &outcome.ledger else {
        return;
    };
    let counts: Vec<String> = Fault::ALL
        .iter()
        .map(|f| format!("{} {}", ledger.count(*f), f.name()))
        .collect();
    let _ = writeln!(
        text,
        "\nVerify: {} replies checked: {}",
        ledger.checked(),
        counts.join(", ")
    );
    for sample in ledger.samples() {
        let _ = writeln!(text, "  {sample}");
    }
}

/// memtier's "Request Latency Distribution".
fn distribution(text: &mut String, run: &RunStats) {
    let _ = writeln!(
        text,
        "\n\nRequest Latency Distribution\nType     <= msec         Percent\n{}",
        "-".repeat(72)
    );
    for (name, line) in run.names.iter().zip(&run.lines) {
        let short = name.trim_end_matches('s').to_ascii_uppercase();
        for (ms, quantile, _) in crate::hgrm::percentiles(&line.latency) {
            let _ = writeln!(text, "{short:<12} {ms:>10.5} {:>12.5}", quantile * 100.0);
        }
        let _ = writeln!(text, "---");
    }
}
