//! Results as JSON. What memtier's JSON has stands under memtier's names, so that scripts which
//! read it go on working; everything else stands under `ringdove-load`.

use serde_json::{Map, Value, json};

use crate::bench::Outcome;
use crate::config::Config;
use crate::knee;
use crate::machine::Facts;
use crate::stats::{LineStats, RunStats, bottleneck};
use crate::verify::Fault;
use crate::{hgrm, os};

/// The whole outcome.
pub(crate) fn outcome(config: &Config, outcome: &Outcome) -> Value {
    let mut root = Map::new();
    root.insert("configuration".to_string(), configuration(config));
    let several = outcome.runs.len() > 1;
    for (number, run) in outcome.runs.iter().enumerate() {
        let name = match run.target_rate {
            _ if !several => "ALL STATS".to_string(),
            Some(rate) => format!("RATE {rate:.0} STATS #{}", number + 1),
            None => format!("RUN #{} STATS", number + 1),
        };
        root.insert(name, memtier_stats(config, run));
    }
    let runs: Vec<Value> = outcome
        .runs
        .iter()
        .map(|run| run_value(config, run))
        .collect();
    let mut own = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "command line": config.command_line,
        "server": facts(&outcome.server_facts),
        "client": facts(&outcome.client_facts),
        "exit code": outcome.exit_code(),
        "generator rss kib": os::rss_max_kib(),
        "runs": runs,
    });
    if !outcome.preload.is_empty() {
        let phases: Vec<Value> = outcome
            .preload
            .iter()
            .map(|run| run_value(config, run))
            .collect();
        own["preload"] = Value::from(phases);
    }
    if let Some((objective, steps)) = &outcome.search {
        let list: Vec<Value> = steps
            .iter()
            .map(|s| json!({"rate": s.rate, "achieved": s.achieved, "latency ms": ms(s.latency_ns), "kept": s.kept}))
            .collect();
        own["search"] = json!({
            "percentile": objective.percentile,
            "limit ms": ms(objective.limit_ns),
            "steps": list,
            "highest rate": knee::best(steps).map(|s| s.rate),
        });
    }
    if let Some(ledger) = &outcome.ledger {
        let mut verify = json!({"checked": ledger.checked(), "samples": ledger.samples()});
        for fault in Fault::ALL {
            verify[fault.name()] = Value::from(ledger.count(fault));
        }
        own["verify"] = verify;
    }
    root.insert("ringdove-load".to_string(), own);
    Value::Object(root)
}

/// Names and values as an object.
pub(crate) fn facts(facts: &Facts) -> Value {
    Value::Object(
        facts
            .iter()
            .map(|(k, v)| (k.clone(), Value::from(v.as_str())))
            .collect(),
    )
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

fn configuration(config: &Config) -> Value {
    json!({
        "server": config.server.host,
        "port": config.server.port,
        "unix socket": config.server.unix_socket,
        "address family": format!("{:?}", config.server.family),
        "protocol": format!("{:?}", config.server.protocol).to_lowercase(),
        "run_count": config.run_count,
        "requests": config.requests_of_client(0),
        "clients": config.clients,
        "threads": config.threads,
        "test_time": config.test_time_sec,
        "ratio": format!("{}:{}", config.ratio.0, config.ratio.1),
        "pipeline": config.pipeline,
        "data_size": config.data_size.unwrap_or(32),
        "data_offset": config.data_offset,
        "random_data": config.random_data,
        "key_prefix": config.key_prefix,
        "key_minimum": config.key_minimum,
        "key_maximum": config.key_maximum,
        "key_pattern": format!("{:?}:{:?}", config.key_pattern.0, config.key_pattern.1),
        "reconnect_interval": config.reconnect_interval,
        "multi_key_get": config.multi_key_get,
        "select-db": config.server.select_db,
        "cluster_mode": config.cluster_mode,
        "tls": config.server.tls,
        "scenario": config.scenario,
    })
}

/// One run in memtier's form.
fn memtier_stats(config: &Config, run: &RunStats) -> Value {
    let mut stats = Map::new();
    let total = run.total();
    let rows = run
        .names
        .iter()
        .map(String::as_str)
        .zip(&run.lines)
        .enumerate();
    for (number, (name, line)) in rows {
        stats.insert(
            name.to_string(),
            memtier_line(config, run, line, Some(number)),
        );
    }
    stats.insert(
        "Totals".to_string(),
        memtier_line(config, run, &total, None),
    );
    let finish = run.started_unix_ms + (run.seconds() * 1e3) as u64;
    stats.insert(
        "Runtime".to_string(),
        json!({
            "Start time": run.started_unix_ms,
            "Finish time": finish,
            "Total duration": (run.seconds() * 1e3) as u64,
            "Time unit": "MILLISECONDS",
        }),
    );
    Value::Object(stats)
}

fn memtier_line(config: &Config, run: &RunStats, line: &LineStats, number: Option<usize>) -> Value {
    let seconds = run.seconds();
    let mut percentiles = Map::new();
    for percentile in &config.print_percentiles {
        let value = ms(line.latency.value_at_percentile(*percentile));
        percentiles.insert(format!("p{percentile:.2}"), Value::from(value));
    }
    // memtier's time series has a second for each entry.
    let per_second = (1_000_000_000 / run.interval_ns).max(1) as usize;
    let mut series = Map::new();
    for (second, points) in run.series.chunks(per_second).enumerate() {
        let count: u64 = points
            .iter()
            .map(|p| number.map_or_else(|| p.count(), |at| p.counts[at]))
            .sum();
        series.insert(second.to_string(), json!({"Count": count}));
    }
    let bytes = (line.bytes_sent + line.bytes_received) as f64;
    json!({
        "Count": line.count(),
        "Ops/sec": line.count() as f64 / seconds,
        "Hits/sec": line.hits as f64 / seconds,
        "Misses/sec": line.misses as f64 / seconds,
        "Latency": line.latency.mean() / 1e6,
        "Average Latency": line.latency.mean() / 1e6,
        "Min Latency": ms(line.latency.min()),
        "Max Latency": ms(line.latency.max()),
        "KB/sec": bytes / 1024.0 / seconds,
        "Percentile Latencies": percentiles,
        "Time-Serie": series,
    })
}

/// One run with all that the page draws.
pub(crate) fn run_value(config: &Config, run: &RunStats) -> Value {
    let total = run.total();
    let errors: Map<String, Value> = run
        .failures
        .occurred()
        .map(|(kind, count, sample)| {
            (
                kind.name().to_string(),
                json!({"count": count, "first": sample}),
            )
        })
        .collect();
    let mut lines: Vec<Value> = run
        .names
        .iter()
        .zip(&run.lines)
        .map(|(name, line)| line_value(config, run, name, line))
        .collect();
    lines.push(line_value(config, run, "Totals", &total));
    let lag = run.lag();
    json!({
        "seconds": run.seconds(),
        "requests": run.requests(),
        "rate": run.rate(),
        "target rate": run.target_rate,
        "never sent": run.overdue(),
        "sent late p99 ms": ms(lag.value_at_quantile(0.99)),
        "errors": errors,
        "reconnects": run.reconnects,
        "moved": run.moved,
        "asked": run.asked,
        "nodes": run.by_node().into_iter().map(|(k, n)| (k, Value::from(n))).collect::<Map<String, Value>>(),
        "lost": run.lost(),
        "generator": {
            "cpu seconds": run.cpu_seconds(),
            "requests per cpu second": run.requests() as f64 / run.cpu_seconds().max(1e-9),
            "busiest thread": run.busiest_thread(),
            "bottleneck": bottleneck(run),
        },
        "lines": lines,
        "series": series(run),
    })
}

fn line_value(config: &Config, run: &RunStats, name: &str, line: &LineStats) -> Value {
    let wanted = config.print_percentiles.iter();
    let percentiles: Map<String, Value> = wanted
        .map(|p| {
            (
                format!("p{p}"),
                Value::from(ms(line.latency.value_at_percentile(*p))),
            )
        })
        .collect();
    let curve: Vec<Value> = hgrm::percentiles(&line.latency)
        .into_iter()
        .map(|(v, q, _)| json!([q, v]))
        .collect();
    json!({
        "name": name,
        "count": line.count(),
        "rate": line.count() as f64 / run.seconds(),
        "hits": line.hits,
        "misses": line.misses,
        "errors": line.errors,
        "bytes sent": line.bytes_sent,
        "bytes received": line.bytes_received,
        "mean ms": line.latency.mean() / 1e6,
        "min ms": ms(line.latency.min()),
        "max ms": ms(line.latency.max()),
        "percentiles": percentiles,
        "curve": curve,
    })
}

/// Rows of the heat map for each factor of ten.
const HEAT_ROWS_PER_DECADE: f64 = 8.0;
/// The lowest row of the heat map begins at one microsecond.
const HEAT_FLOOR_NS: f64 = 1e3;

/// The time series: rate, percentiles, and the latency heat map (row by logarithm, count).
fn series(run: &RunStats) -> Value {
    let seconds = run.interval_ns as f64 / 1e9;
    let whole = run.seconds();
    let mut points = Vec::new();
    for (number, point) in run.series.iter().enumerate() {
        let latency = point.latency();
        let mut heat: Vec<(u64, u64)> = Vec::new();
        for step in latency.iter_recorded() {
            let decades = (step.value_iterated_to() as f64 / HEAT_FLOOR_NS)
                .max(1.0)
                .log10();
            let row = (decades * HEAT_ROWS_PER_DECADE) as u64;
            match heat.last_mut() {
                Some((last, count)) if *last == row => *count += step.count_since_last_iteration(),
                _ => heat.push((row, step.count_since_last_iteration())),
            }
        }
        // The last interval may be short: its rate counts for the time that it had.
        let start = number as f64 * seconds;
        let span = seconds.min((whole - start).max(seconds / 10.0));
        points.push(json!({
            "at": start,
            "rate": point.count() as f64 / span,
            "counts": point.counts,
            "mb/s": point.bytes as f64 / span / 1e6,
            "errors": point.failures,
            "p50": ms(latency.value_at_quantile(0.5)),
            "p99": ms(latency.value_at_quantile(0.99)),
            "p99.9": ms(latency.value_at_quantile(0.999)),
            "max": ms(latency.max()),
            "heat": heat,
        }));
    }
    json!({
        "interval": seconds,
        "heat rows per decade": HEAT_ROWS_PER_DECADE,
        "heat floor ms": HEAT_FLOOR_NS / 1e6,
        "points": points,
    })
}
