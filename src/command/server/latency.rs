//! LATENCY: histograms of the commands, and the events of the latency monitor, of all shards.

use std::collections::{BTreeMap, VecDeque};

use super::catalog::find_by_name;
use super::record::{Fields, put, put_bytes};
use super::report::{add_histograms, put_histograms, read_histograms};
use super::{admin, help, sub};
use crate::command::context::{MergeCtx, PartCtx};
use crate::command::error::{Error, Outcome};
use crate::command::registry::RowId;
use crate::command::spec::{Acl, Group, Run, Spec};
use crate::resp::encode::Reply;
use crate::shard::watch::{Event, Histogram, SAMPLES_MAX, bucket_end};

/// Columns of a graph; older samples are not drawn.
const GRAPH_COLUMNS: usize = 80;
/// Lines of a graph's bars.
const GRAPH_ROWS: u64 = 4;
/// The upper ends of Redis's histogram lie at powers of two of nanoseconds from here to 2^30.
const FIRST_POWER: u32 = 10;

const HELP: &[&str] = &[
    "DOCTOR",
    "    Return a human readable latency analysis report.",
    "GRAPH <event>",
    "    Return an ASCII latency graph for the <event> class.",
    "HISTORY <event>",
    "    Return time-latency samples for the <event> class.",
    "LATEST",
    "    Return the latest latency samples for all events.",
    "RESET [<event> ...]",
    "    Reset latency data of one or more <event> classes.",
    "    (default: reset all data for all event classes)",
    "HISTOGRAM [COMMAND ...]",
    "    Return a cumulative distribution of latencies in the format of a histogram for the specified command names.",
    "    If no commands are specified then all histograms are replied.",
];

const TIPS: &[&str] = &[
    "nondeterministic_output",
    "request_policy:all_nodes",
    "response_policy:special",
];

/// A subcommand that reads the events of all shards.
const fn events(name: &'static str, arity: i32, merge: fn(&mut MergeCtx<'_>) -> Outcome) -> Spec {
    Spec {
        name,
        arity,
        tips: TIPS,
        run: Run::Gather {
            prepare: None,
            part: events_part,
            merge,
        },
        ..admin("2.8.13")
    }
}

pub(super) const SPEC: Spec = Spec {
    name: "latency",
    arity: -2,
    acl: Acl::SLOW,
    group: Group::Server,
    since: "2.8.13",
    complexity: "Depends on subcommand.",
    summary: "A container for latency diagnostics commands.",
    subcommands: &[
        Spec {
            summary: "Returns a human-readable latency analysis report.",
            ..events("doctor", 2, doctor)
        },
        Spec {
            summary: "Returns a latency graph for an event.",
            syntax: "event",
            ..events("graph", 3, graph)
        },
        Spec {
            name: "histogram",
            arity: -2,
            complexity: "O(N) where N is the number of commands with latency information being retrieved.",
            summary: "Returns the cumulative distribution of latencies of a subset or all commands.",
            syntax: "[command [command ...]]",
            tips: TIPS,
            run: Run::Gather {
                prepare: None,
                part: histogram_part,
                merge: histogram,
            },
            ..admin("7.0.0")
        },
        Spec {
            summary: "Returns timestamp-latency samples for an event.",
            syntax: "event",
            ..events("history", 3, history)
        },
        Spec {
            summary: "Returns the latest latency samples for all events.",
            ..events("latest", 2, latest)
        },
        Spec {
            name: "reset",
            arity: -2,
            summary: "Resets the latency data for one or more events.",
            syntax: "[event [event ...]]",
            tips: &["request_policy:all_nodes", "response_policy:agg_sum"],
            run: Run::Gather {
                prepare: None,
                part: reset_part,
                merge: reset,
            },
            ..admin("2.8.13")
        },
        Spec {
            name: "help",
            arity: 2,
            summary: "Returns helpful text about the different subcommands.",
            run: Run::Home(|ctx| help(ctx, "LATENCY", HELP)),
            ..sub("2.8.13")
        },
    ],
    ..Spec::BASE
};

fn events_part(ctx: &mut PartCtx<'_>) -> Outcome {
    put_events(&ctx.engine.shard.watch.events, &mut ctx.out.buf);
    Ok(())
}

fn put_events(events: &BTreeMap<&'static str, Event>, buf: &mut Vec<u8>) {
    for (name, event) in events {
        put_bytes(buf, name.as_bytes());
        put(buf, event.ms_max);
        put(buf, event.samples.len() as u64);
        for (unix_s, ms) in &event.samples {
            put(buf, *unix_s);
            put(buf, *ms);
        }
    }
}

/// The events of all shards: of each second the longest, the newest [`SAMPLES_MAX`] seconds.
fn all_events<'a>(parts: impl Iterator<Item = &'a [u8]>) -> BTreeMap<String, Event> {
    let mut all: BTreeMap<String, (u64, BTreeMap<u64, u64>)> = BTreeMap::new();
    for part in parts {
        let mut fields = Fields(part);
        while !fields.is_empty() {
            let (ms_max, samples) = all.entry(fields.text()).or_default();
            *ms_max = (*ms_max).max(fields.number());
            for _ in 0..fields.number() {
                let unix_s = fields.number();
                let longest = samples.entry(unix_s).or_default();
                *longest = (*longest).max(fields.number());
            }
        }
    }
    all.into_iter()
        .map(|(name, (ms_max, samples))| {
            let old = samples.len().saturating_sub(SAMPLES_MAX);
            let samples: VecDeque<_> = samples.into_iter().skip(old).collect();
            (name, Event { samples, ms_max })
        })
        .collect()
}

fn gathered(ctx: &MergeCtx<'_>) -> BTreeMap<String, Event> {
    all_events(ctx.parts.iter().map(|p| p.buf.as_slice()))
}

/// The event that the arguments name, without regard to case.
fn named(ctx: &MergeCtx<'_>) -> Option<(String, Event)> {
    let name = ctx.args[2];
    gathered(ctx)
        .into_iter()
        .find(|(n, _)| n.as_bytes().eq_ignore_ascii_case(name))
}

fn latest(ctx: &mut MergeCtx<'_>) -> Outcome {
    let events = gathered(ctx);
    ctx.reply.array(events.len());
    for (name, event) in events {
        let (unix_s, ms) = event.samples.back().copied().unwrap_or_default();
        ctx.reply.array(4);
        ctx.reply.bulk(name.as_bytes());
        ctx.reply.integer(unix_s as i64);
        ctx.reply.integer(ms as i64);
        ctx.reply.integer(event.ms_max as i64);
    }
    Ok(())
}

fn history(ctx: &mut MergeCtx<'_>) -> Outcome {
    let samples = named(ctx).map_or_else(VecDeque::new, |(_, event)| event.samples);
    ctx.reply.array(samples.len());
    for (unix_s, ms) in samples {
        ctx.reply.array(2);
        ctx.reply.integer(unix_s as i64);
        ctx.reply.integer(ms as i64);
    }
    Ok(())
}

fn graph(ctx: &mut MergeCtx<'_>) -> Outcome {
    let Some((name, event)) = named(ctx) else {
        return Err(Error::quoting(
            "ERR No samples available for event '",
            ctx.args[2],
            "'",
        ));
    };
    let text = draw(&name, &event, ctx.engine.shard.now_ms / 1000);
    ctx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// Bars of the samples, and below each, read downwards, how long ago it was.
fn draw(name: &str, event: &Event, now_s: u64) -> String {
    let skipped = event.samples.len().saturating_sub(GRAPH_COLUMNS);
    let shown: Vec<(u64, u64)> = event.samples.iter().skip(skipped).copied().collect();
    let high = shown.iter().map(|s| s.1).max().unwrap_or(0);
    let low = shown.iter().map(|s| s.1).min().unwrap_or(0);
    let mut text = format!(
        "{name} - high {high} ms, low {low} ms (all time high {} ms)\n{}\n",
        event.ms_max,
        "-".repeat(GRAPH_COLUMNS)
    );
    // Half steps: `_` is the lower half of a cell, `#` a full top, `|` what stands below it.
    let steps = GRAPH_ROWS * 2;
    let height = |ms: u64| 1 + (ms - low) * (steps - 1) / (high - low).max(1);
    for row in (0..GRAPH_ROWS).rev() {
        let cell = |(_, ms): &(u64, u64)| match height(*ms) {
            h if h <= row * 2 => ' ',
            h if h == row * 2 + 1 => '_',
            h if h == row * 2 + 2 => '#',
            _ => '|',
        };
        let line: String = shown.iter().map(cell).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push('\n');
    let labels: Vec<String> = shown
        .iter()
        .map(|(s, _)| ago(now_s.saturating_sub(*s)))
        .collect();
    let longest = labels.iter().map(String::len).max().unwrap_or(0);
    for at in 0..longest {
        let line: String = labels
            .iter()
            .map(|label| label.as_bytes().get(at).map_or(' ', |b| char::from(*b)))
            .collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn ago(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn doctor(ctx: &mut MergeCtx<'_>) -> Outcome {
    let config = ctx.engine.shard.config.clone();
    let text = advice(
        &gathered(ctx),
        config.latency_monitor_threshold,
        config.slowlog_log_slower_than,
    );
    ctx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn advice(events: &BTreeMap<String, Event>, threshold_ms: u64, slower_than_us: i64) -> String {
    if threshold_ms == 0 {
        return "The latency monitor is off, so there is nothing to examine. Turn it on with \
                \"CONFIG SET latency-monitor-threshold <milliseconds>\".\n"
            .into();
    }
    if events.is_empty() {
        return format!(
            "Nothing took {threshold_ms} ms or more since the monitor was turned on or reset.\n"
        );
    }
    let mut text = String::from("These events took longer than the monitor's threshold:\n\n");
    for (at, (name, event)) in events.iter().enumerate() {
        let count = event.samples.len() as u64;
        let mean = event.samples.iter().map(|s| s.1).sum::<u64>() / count.max(1);
        let deviation = event
            .samples
            .iter()
            .map(|s| s.1.abs_diff(mean))
            .sum::<u64>()
            / count.max(1);
        let first = event.samples.front().map_or(0, |s| s.0);
        let last = event.samples.back().map_or(0, |s| s.0);
        let period = (last - first) / count.saturating_sub(1).max(1);
        text.push_str(&format!(
            "{}. {name}: {count} samples (average {mean} ms, mean deviation {deviation} ms, one in \
             {period} s). Worst of all time: {} ms.\n",
            at + 1,
            event.ms_max
        ));
    }
    text.push_str("\nWhat to do:\n\n");
    if slower_than_us < 0 || slower_than_us as u64 / 1000 > threshold_ms {
        text.push_str(&format!(
            "- The slow log does not see these commands. Use \"CONFIG SET slowlog-log-slower-than \
             {}\" to see which they are.\n",
            threshold_ms * 1000
        ));
    } else {
        text.push_str("- Look at SLOWLOG GET to see which commands they are.\n");
    }
    text.push_str(
        "- A command over very many elements holds its shard while it runs: use the SCAN family, \
         ranges and UNLINK in place of KEYS, whole collections and DEL.\n\
         - Look at stalled_turns and longest_turn_usec in \"INFO shards\", and at what \
         `ringdove --check-system` says of the host.\n",
    );
    text
}

/// Removes the events that are named, or all; the part names those that it removed.
fn reset_part(ctx: &mut PartCtx<'_>) -> Outcome {
    let names = &ctx.args[2..];
    let is_named = |event: &str| {
        names.is_empty()
            || names
                .iter()
                .any(|n| n.eq_ignore_ascii_case(event.as_bytes()))
    };
    let buf = &mut ctx.out.buf;
    ctx.engine.shard.watch.events.retain(|name, _| {
        let goes = is_named(name);
        if goes {
            put_bytes(buf, name.as_bytes());
        }
        !goes
    });
    Ok(())
}

fn reset(ctx: &mut MergeCtx<'_>) -> Outcome {
    let mut names = std::collections::BTreeSet::new();
    for part in ctx.parts.iter() {
        let mut fields = Fields(&part.buf);
        while !fields.is_empty() {
            names.insert(fields.bytes());
        }
    }
    let count = names.len() as i64;
    ctx.reply.integer(count);
    Ok(())
}

fn histogram_part(ctx: &mut PartCtx<'_>) -> Outcome {
    let commands = ctx.engine.shard.stats.commands.iter().enumerate();
    let histograms = commands
        .filter_map(|(id, stats)| Some((id as u16, stats.latency.clone()?)))
        .collect();
    put_histograms(&histograms, &mut ctx.out.buf);
    Ok(())
}

fn histogram(ctx: &mut MergeCtx<'_>) -> Outcome {
    let mut all = BTreeMap::new();
    for part in ctx.parts.iter() {
        add_histograms(&mut all, &read_histograms(&mut Fields(&part.buf)));
    }
    let registry = ctx.engine.shard.registry.clone();
    let mut shown: Vec<u16> = Vec::new();
    if ctx.args.len() == 2 {
        shown.extend(all.keys());
    }
    for name in &ctx.args[2..] {
        if let Some(id) = find_by_name(&registry, name) {
            let children = registry.row(id).children.clone();
            let own = if children.is_empty() {
                Some(id.0)
            } else {
                None
            };
            shown.extend(
                own.into_iter()
                    .chain(children)
                    .filter(|i| all.contains_key(i)),
            );
        }
    }
    ctx.reply.map(shown.len());
    for id in shown {
        let name = registry.row(RowId(id)).full_name.as_bytes();
        ctx.reply.bulk(name);
        put_histogram(&mut ctx.reply, &all[&id]);
    }
    Ok(())
}

/// Redis's form: the number of calls, and of each power of two, if calls ended there, how many
/// ended up to it.
fn put_histogram(reply: &mut Reply<'_>, histogram: &Histogram) {
    let calls: u64 = histogram.iter().sum();
    let mut points: Vec<(u64, u64)> = Vec::new();
    let (mut bucket, mut up_to, mut power) = (0, 0, FIRST_POWER);
    while up_to < calls {
        let before = up_to;
        while bucket < histogram.len() && bucket_end(bucket) <= 1 << power {
            up_to += histogram[bucket];
            bucket += 1;
        }
        if power >= 34 {
            up_to = calls; // the last bucket holds all that is longer
        }
        if up_to > before {
            points.push((microseconds(power), up_to));
        }
        power += 1;
    }
    reply.map(2);
    reply.bulk(b"calls");
    reply.integer(calls as i64);
    reply.bulk(b"histogram_usec");
    reply.map(points.len());
    for (us, up_to) in points {
        reply.integer(us as i64);
        reply.integer(up_to as i64);
    }
}

/// The microseconds by which Redis names a power of two of nanoseconds: its histograms have two
/// significant digits, so the end lies 1/128 above.
fn microseconds(power: u32) -> u64 {
    ((1u64 << power) + (1 << power.saturating_sub(7)) - 1) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Version;
    use crate::resp::encode::Output;
    use crate::shard::watch::{LATENCY_BUCKETS, bucket_of};

    #[test]
    fn histograms_have_the_points_of_redis() {
        let names: Vec<u64> = (FIRST_POWER..20).map(microseconds).collect();
        assert_eq!(names, [1, 2, 4, 8, 16, 33, 66, 132, 264, 528]);
        let mut histogram = [0; LATENCY_BUCKETS];
        for ns in [500, 1500, 1600, 40_000, 1 << 40] {
            histogram[bucket_of(ns)] += 1;
        }
        let mut out = Output::default();
        put_histogram(&mut Reply::new(&mut out, Version::Resp2), &histogram);
        let text = String::from_utf8(out.buf)
            .expect("text")
            .replace("\r\n", " ");
        assert!(
            text.starts_with("*4 $5 calls :5 $14 histogram_usec *8 :1 :1 :2 :3 :66 :4 "),
            "{text}"
        );
    }

    #[test]
    fn events_of_shards_become_one_series() {
        let mut event = Event::default();
        event.add(10, 5);
        let mut other = Event::default();
        other.add(10, 8);
        other.add(9, 1);
        let buf = |event: Event| {
            let mut buf = Vec::new();
            put_events(&BTreeMap::from([("command", event)]), &mut buf);
            buf
        };
        let (a, b) = (buf(event), buf(other));
        let all = all_events([a.as_slice(), b.as_slice()].into_iter());
        assert_eq!(all["command"].samples, [(9, 1), (10, 8)]);
        assert_eq!(all["command"].ms_max, 8);
        let drawn = draw("command", &all["command"], 71);
        assert!(drawn.starts_with("command - high 8 ms, low 1 ms (all time high 8 ms)\n"));
        assert!(drawn.contains("\n #\n |\n |\n_|\n\n11\nmm\n"), "{drawn}");
    }

    #[test]
    fn advice_fits_the_state() {
        assert!(advice(&BTreeMap::new(), 0, 0).contains("is off"));
        assert!(advice(&BTreeMap::new(), 9, 0).contains("Nothing took 9 ms"));
        let mut event = Event::default();
        event.add(10, 50);
        let events = BTreeMap::from([("command".to_string(), event)]);
        assert!(advice(&events, 9, -1).contains("slowlog-log-slower-than 9000"));
    }
}
