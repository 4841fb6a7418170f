//! SLOWLOG: the calls that took long, of all shards. Each shard holds the entries of its own
//! clients; numbers given once for the whole server put them in order.

use super::record::{Fields, put, put_bytes};
use super::{admin_only, help, sub};
use crate::command::context::{HomeCtx, MergeCtx, PartCtx};
use crate::command::error::{Error, Outcome};
use crate::command::spec::{Acl, Group, Run, Spec};
use crate::resp::number::parse_i64;

/// Entries that GET shows when it is not told.
const SHOWN: u64 = 10;

const HELP: &[&str] = &[
    "GET [<count>]",
    "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
    "    Entries are made of:",
    "    id, timestamp, time in microseconds, arguments array, client IP and port,",
    "    client name",
    "LEN",
    "    Return the length of the slowlog.",
    "RESET",
    "    Reset the slowlog.",
];

pub(super) const SPEC: Spec = Spec {
    name: "slowlog",
    arity: -2,
    acl: Acl::SLOW,
    group: Group::Server,
    since: "2.2.12",
    complexity: "Depends on subcommand.",
    summary: "A container for slow log commands.",
    subcommands: &[
        Spec {
            name: "get",
            arity: -2,
            complexity: "O(N) where N is the number of entries returned",
            summary: "Returns the slow log's entries.",
            history: &[("4.0.0", "The client's address and name are in the reply.")],
            syntax: "[count]",
            tips: &["request_policy:all_nodes", "nondeterministic_output"],
            run: Run::Gather {
                prepare: Some(check),
                part,
                merge: get,
            },
            ..admin_only("2.2.12")
        },
        Spec {
            name: "len",
            arity: 2,
            summary: "Returns the number of entries in the slow log.",
            tips: &[
                "request_policy:all_nodes",
                "response_policy:agg_sum",
                "nondeterministic_output",
            ],
            run: Run::Gather {
                prepare: None,
                part,
                merge: len,
            },
            ..admin_only("2.2.12")
        },
        Spec {
            name: "reset",
            arity: 2,
            complexity: "O(N) where N is the number of entries in the slowlog",
            summary: "Clears all entries from the slow log.",
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            run: Run::Gather {
                prepare: None,
                part: reset,
                merge: |ctx| {
                    ctx.reply.ok();
                    Ok(())
                },
            },
            ..admin_only("2.2.12")
        },
        Spec {
            name: "help",
            arity: 2,
            summary: "Show helpful text about the different subcommands",
            run: Run::Home(|ctx| help(ctx, "SLOWLOG", HELP)),
            ..sub("6.2.0")
        },
    ],
    ..Spec::BASE
};

/// How many entries are asked for; None: all.
fn count(args: &[&[u8]]) -> Result<Option<u64>, Error> {
    match args[2..] {
        [] => Ok(Some(SHOWN)),
        [count] => match parse_i64(count) {
            Some(-1) => Ok(None),
            Some(n) if n >= 0 => Ok(Some(n as u64)),
            _ => Err(Error::new(
                "ERR count should be greater than or equal to -1",
            )),
        },
        _ => Err(Error::wrong_arguments(args[1], "SLOWLOG")),
    }
}

fn check(ctx: &mut HomeCtx<'_>) -> Outcome {
    count(ctx.args).map(drop)
}

/// The entries of this shard's clients; for LEN only their number.
fn part(ctx: &mut PartCtx<'_>) -> Outcome {
    ctx.engine.log_slow_calls();
    let entries = &ctx.engine.shard.watch.slow_log.entries;
    let buf = &mut ctx.out.buf;
    if ctx.args[1].eq_ignore_ascii_case(b"len") {
        put(buf, entries.len() as u64);
        return Ok(());
    }
    let wanted = count(ctx.args)?.unwrap_or(u64::MAX);
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    for entry in entries.iter().take(wanted) {
        let call = &entry.call;
        [call.id, call.unix_s, call.us, call.args.len() as u64]
            .iter()
            .for_each(|n| put(buf, *n));
        call.args.iter().for_each(|arg| put_bytes(buf, arg));
        put_bytes(buf, entry.addr.as_bytes());
        put_bytes(buf, &entry.name);
    }
    Ok(())
}

/// An entry as it came from its shard.
struct Shown<'a> {
    id: u64,
    unix_s: u64,
    us: u64,
    args: Vec<&'a [u8]>,
    addr: &'a [u8],
    name: &'a [u8],
}

fn get(ctx: &mut MergeCtx<'_>) -> Outcome {
    let mut entries = Vec::new();
    for part in ctx.parts.iter() {
        let mut fields = Fields(&part.buf);
        while !fields.is_empty() {
            entries.push(Shown {
                id: fields.number(),
                unix_s: fields.number(),
                us: fields.number(),
                args: (0..fields.number()).map(|_| fields.bytes()).collect(),
                addr: fields.bytes(),
                name: fields.bytes(),
            });
        }
    }
    entries.sort_unstable_by_key(|e| std::cmp::Reverse(e.id));
    let len_max = ctx.engine.shard.config.slowlog_max_len;
    let wanted = count(ctx.args)?.unwrap_or(u64::MAX).min(len_max);
    entries.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
    let reply = &mut ctx.reply;
    reply.array(entries.len());
    for entry in entries {
        reply.array(6);
        reply.integer(entry.id as i64);
        reply.integer(entry.unix_s as i64);
        reply.integer(entry.us as i64);
        reply.array(entry.args.len());
        entry.args.iter().for_each(|arg| reply.bulk(arg));
        reply.bulk(entry.addr);
        reply.bulk(entry.name);
    }
    Ok(())
}

fn len(ctx: &mut MergeCtx<'_>) -> Outcome {
    let parts = ctx.parts.iter();
    let all: u64 = parts.map(|p| Fields(&p.buf).number()).sum();
    let len_max = ctx.engine.shard.config.slowlog_max_len;
    ctx.reply.integer(all.min(len_max) as i64);
    Ok(())
}

fn reset(ctx: &mut PartCtx<'_>) -> Outcome {
    let watch = &mut ctx.engine.shard.watch;
    watch.slow_calls.clear();
    watch.slow_log.entries.clear();
    Ok(())
}
