//! CLUSTER SLOT-STATS: what the slots of the node hold and cost, in the words of Valkey 8 and Redis
//! 8.2 (cluster_slot_stats.c there).
//!
//! Every shard is asked, not the node alone: a transaction over several shards runs at its client's
//! home, and a slot that has moved was another shard's before. So the counters go on where Redis
//! Cluster's begin anew.

use crate::command::context::{HomeCtx, MergeCtx, PartCtx};
use crate::command::error::{Error, Outcome};
use crate::command::server::record::{Fields, put};
use crate::command::spec::{Flags, Run, Spec};
use crate::keyspace::{SLOTS, Slot};
use crate::resp::encode::Reply;
use crate::resp::number::parse_i64;

use super::{SUB, node};

pub(super) const SPEC: Spec = Spec {
    name: "slot-stats",
    arity: -4,
    flags: Flags::LOADING.or(Flags::STALE),
    since: "8.0.0",
    complexity: "O(N) where N is the total number of slots based on arguments. O(N*log(N)) with ORDERBY subcommand.",
    summary: "Tells keys, time and traffic of slots.",
    syntax: "<SLOTSRANGE start-slot end-slot | ORDERBY metric [LIMIT limit] [ASC | DESC]>",
    tips: &["nondeterministic_output", "request_policy:all_shards"],
    run: Run::Gather {
        prepare: Some(prepare),
        part,
        merge,
    },
    ..SUB
};

/// What is told of a slot, in the order of the reply. The first needs no counters.
const METRICS: [&str; 4] = [
    "key-count",
    "cpu-usec",
    "network-bytes-in",
    "network-bytes-out",
];

/// One slot's numbers, as [`METRICS`].
type Numbers = [u64; METRICS.len()];

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Query {
    Range {
        first: usize,
        last: usize,
    },
    Ordered {
        metric: usize,
        limit: usize,
        descending: bool,
    },
}

fn slot_number(text: &[u8]) -> Result<usize, Error> {
    let number = parse_i64(text).and_then(|n| u16::try_from(n).ok());
    let slot = number.and_then(Slot::new);
    slot.map(Slot::index)
        .ok_or_else(|| Error::new("ERR Invalid or out of range slot"))
}

fn parse(args: &[&[u8]], counted: bool) -> Result<Query, Error> {
    let is = |text: &[u8], word: &str| text.eq_ignore_ascii_case(word.as_bytes());
    match &args[2..] {
        [word, first, last] if is(word, "slotsrange") => {
            let (first, last) = (slot_number(first)?, slot_number(last)?);
            if first > last {
                return Err(Error::new(format!(
                    "ERR Start slot number {first} is greater than end slot number {last}"
                )));
            }
            Ok(Query::Range { first, last })
        }
        [word, metric, filters @ ..] if is(word, "orderby") => {
            let there = if counted { METRICS.len() } else { 1 };
            let metric = METRICS[..there].iter().position(|name| is(metric, name));
            let metric =
                metric.ok_or_else(|| Error::new("ERR Unrecognized sort metric for ORDERBY."))?;
            let (limit, descending) = parse_filters(filters)?;
            Ok(Query::Ordered {
                metric,
                limit,
                descending,
            })
        }
        _ => Err(Error::wrong_arguments(args[1], "CLUSTER")),
    }
}

/// `[LIMIT limit] [ASC | DESC]` in any order: how many, and whether the largest come first.
fn parse_filters(mut filters: &[&[u8]]) -> Result<(usize, bool), Error> {
    let (mut limit, mut descending) = (None, None);
    while let [word, rest @ ..] = filters {
        filters = rest;
        let word = word.to_ascii_lowercase();
        let twice = match (&word[..], rest) {
            (b"limit", [count, rest @ ..]) => {
                filters = rest;
                let count = parse_i64(count)
                    .filter(|n| (1..=SLOTS as i64).contains(n))
                    .ok_or_else(|| {
                        Error::new(
                            "ERR Limit has to lie in between 1 and 16384 (maximum number of slots).",
                        )
                    })?;
                limit.replace(count as usize).is_some()
            }
            (b"asc" | b"desc", _) => descending.replace(word == b"desc").is_some(),
            _ => return Err(Error::SYNTAX),
        };
        if twice {
            return Err(Error::new(
                "ERR Multiple filters of the same type are disallowed.",
            ));
        }
    }
    Ok((limit.unwrap_or(SLOTS), descending.unwrap_or(true)))
}

fn prepare(ctx: &mut HomeCtx<'_>) -> Outcome {
    node(ctx)?;
    let counted = ctx.shard().config.cluster_slot_stats_enabled;
    parse(ctx.args, counted).map(|_| ())
}

/// Writes slot and numbers of each slot that is asked for and has any here.
fn part(ctx: &mut PartCtx<'_>) -> Outcome {
    let shard = &ctx.engine.shard;
    let asked = match parse(ctx.args, true)? {
        Query::Range { first, last } => first..last + 1,
        Query::Ordered { .. } => 0..SLOTS,
    };
    let used: Vec<_> = shard.keyspace.iter().filter(|db| !db.is_empty()).collect();
    for slot in asked.filter_map(|slot| Slot::new(slot as u16)) {
        let keys: usize = used.iter().map(|db| db.count_in_slot(slot)).sum();
        let counters = shard.slot_loads.counters();
        let counters = counters.map_or_else(Default::default, |all| all[slot.index()]);
        let numbers: Numbers = [
            keys as u64,
            shard.ticks.to_us(counters.ticks),
            counters.bytes_in,
            counters.bytes_out,
        ];
        if numbers != Numbers::default() {
            put(&mut ctx.out.buf, slot.number().into());
            numbers.iter().for_each(|n| put(&mut ctx.out.buf, *n));
        }
    }
    Ok(())
}

fn merge(ctx: &mut MergeCtx<'_>) -> Outcome {
    let shard = &ctx.engine.shard;
    let counted = shard.config.cluster_slot_stats_enabled;
    let query = parse(ctx.args, counted)?;
    let mut all = vec![Numbers::default(); SLOTS];
    for part in ctx.parts.iter() {
        let mut fields = Fields(&part.buf);
        while !fields.is_empty() {
            let slot = fields.number() as usize;
            all[slot].iter_mut().for_each(|n| *n += fields.number());
        }
    }
    let own = |slot: &usize| shard.slot_map[*slot] == shard.id;
    let slots: Vec<usize> = match query {
        Query::Range { first, last } => (first..=last).filter(own).collect(),
        Query::Ordered {
            metric,
            limit,
            descending,
        } => {
            let mut slots: Vec<usize> = (0..SLOTS).filter(own).collect();
            let key = |slot: &usize| all[*slot][metric];
            // Stable: the lower slot comes first among equals, whichever way the order goes.
            match descending {
                true => slots.sort_by_key(|slot| std::cmp::Reverse(key(slot))),
                false => slots.sort_by_key(key),
            }
            slots.truncate(limit);
            slots
        }
    };
    ctx.reply.array(slots.len());
    for slot in slots {
        put_slot(&mut ctx.reply, slot, &all[slot], counted);
    }
    Ok(())
}

fn put_slot(reply: &mut Reply<'_>, slot: usize, numbers: &Numbers, counted: bool) {
    let shown = if counted { METRICS.len() } else { 1 };
    reply.array(2);
    reply.integer(slot as i64);
    reply.map(shown);
    for (name, number) in METRICS.iter().zip(numbers).take(shown) {
        reply.bulk(name.as_bytes());
        reply.integer(*number as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(line: &str, counted: bool) -> Result<Query, String> {
        let line = format!("cluster slot-stats {line}");
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        parse(&args, counted).map_err(|e| String::from_utf8_lossy(e.text()).into_owned())
    }

    #[test]
    fn queries_are_read_as_by_valkey() {
        let range = |first, last| Ok(Query::Range { first, last });
        assert_eq!(query("SlotsRange 0 16383", false), range(0, 16383));
        let ordered = |metric, limit, descending| {
            Ok(Query::Ordered {
                metric,
                limit,
                descending,
            })
        };
        assert_eq!(query("ORDERBY key-count", false), ordered(0, SLOTS, true));
        assert_eq!(
            query("ORDERBY CPU-usec asc LIMIT 5", true),
            ordered(1, 5, false)
        );
        for (line, why) in [
            ("SLOTSRANGE 1 16384", "ERR Invalid or out of range slot"),
            ("SLOTSRANGE -1 4", "ERR Invalid or out of range slot"),
            (
                "SLOTSRANGE 5 4",
                "ERR Start slot number 5 is greater than end slot number 4",
            ),
            (
                "ORDERBY cpu-usec",
                "ERR Unrecognized sort metric for ORDERBY.",
            ),
            ("ORDERBY key-count LIMIT", "ERR syntax error"),
            ("ORDERBY key-count 1", "ERR syntax error"),
            (
                "ORDERBY key-count LIMIT 0",
                "ERR Limit has to lie in between 1 and 16384 (maximum number of slots).",
            ),
            (
                "ORDERBY key-count ASC DESC",
                "ERR Multiple filters of the same type are disallowed.",
            ),
            (
                "SLOTSRANGE 1",
                "ERR unknown subcommand or wrong number of arguments for 'slot-stats'. Try CLUSTER HELP.",
            ),
        ] {
            assert_eq!(query(line, false), Err(why.to_owned()), "{line}");
        }
    }
}
