//! MEMORY: what memory is used for.
//!
//! Each shard counts the bytes of its own keyspace; what the process takes from the system is read
//! from `/proc`. Redis's field names are kept; fields of features that are not there are 0.

use super::context::{Ctx, MergeCtx, PartCtx};
use super::error::{Error, Outcome};
use super::generic::scan::number;
use super::help;
use super::spec::{Acl, Flags, Group, KeyFlags, KeySpec, Run, Spec};
use crate::resp::number::parse_i64;
use crate::server::process::resident_bytes;
use crate::stdx::allocator::purge_all;

/// The command.
pub const COMMANDS: &[Spec] = &[Spec {
    name: "memory",
    arity: -2,
    acl: Acl::SLOW,
    group: Group::Server,
    since: "4.0.0",
    complexity: "Depends on the subcommand.",
    summary: "Tells what memory is used for.",
    subcommands: SUBCOMMANDS,
    ..Spec::BASE
}];

const SUBCOMMANDS: &[Spec] = &[
    Spec {
        name: "doctor",
        arity: 2,
        acl: Acl::SLOW,
        group: Group::Server,
        since: "4.0.0",
        summary: "Says whether something about memory is odd.",
        tips: &[
            "nondeterministic_output",
            "request_policy:all_shards",
            "response_policy:special",
        ],
        run: Run::Gather {
            prepare: None,
            part: shard_numbers,
            merge: doctor,
        },
        ..Spec::BASE
    },
    Spec {
        name: "help",
        arity: 2,
        flags: Flags::LOADING.or(Flags::STALE),
        acl: Acl::SLOW,
        group: Group::Server,
        since: "4.0.0",
        summary: "Explains the subcommands.",
        run: Run::Keyed(help),
        ..Spec::BASE
    },
    Spec {
        name: "malloc-stats",
        arity: 2,
        acl: Acl::SLOW,
        group: Group::Server,
        since: "4.0.0",
        summary: "Tells what each shard has allocated.",
        tips: &[
            "nondeterministic_output",
            "request_policy:all_shards",
            "response_policy:special",
        ],
        run: Run::Gather {
            prepare: None,
            part: shard_numbers,
            merge: malloc_stats,
        },
        ..Spec::BASE
    },
    Spec {
        name: "purge",
        arity: 2,
        acl: Acl::SLOW,
        group: Group::Server,
        since: "4.0.0",
        summary: "Asks the allocator to give memory back.",
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        run: Run::Gather {
            prepare: None,
            part: purge,
            merge: purged,
        },
        ..Spec::BASE
    },
    Spec {
        name: "stats",
        arity: 2,
        acl: Acl::SLOW,
        group: Group::Server,
        since: "4.0.0",
        summary: "Tells in detail what memory is used for.",
        tips: &[
            "nondeterministic_output",
            "request_policy:all_shards",
            "response_policy:special",
        ],
        run: Run::Gather {
            prepare: None,
            part: shard_numbers,
            merge: stats,
        },
        ..Spec::BASE
    },
    Spec {
        name: "usage",
        arity: -3,
        flags: Flags::READONLY,
        acl: Acl::READ.or(Acl::SLOW),
        keys: &[KeySpec::one(2, KeyFlags::RO)],
        group: Group::Server,
        since: "4.0.0",
        summary: "Tells the bytes that a key and its value take.",
        syntax: "key [SAMPLES count]",
        run: Run::Keyed(usage),
        ..Spec::BASE
    },
];

const HELP: &[&str] = &[
    "DOCTOR",
    "    Return memory problems reports.",
    "MALLOC-STATS",
    "    Return internal statistics report from the memory allocator.",
    "PURGE",
    "    Attempt to purge dirty pages for reclamation by the allocator.",
    "STATS",
    "    Return information about the memory usage of the server.",
    "USAGE <key> [SAMPLES <count>]",
    "    Return memory in bytes used by <key> and its value. Nested values are",
    "    sampled up to <count> times (default: 5, 0 means sample all).",
];

fn help(ctx: &mut Ctx<'_>) -> Outcome {
    help::reply(&mut ctx.reply, "MEMORY", HELP);
    Ok(())
}

/// Bytes of its table that an entry takes: a word, with segments nine tenths full at most and about
/// three quarters on average.
const TABLE_BYTES_PER_KEY: usize = 11;

/// The bytes are known exactly, so SAMPLES is checked and has no other effect.
fn usage(ctx: &mut Ctx<'_>) -> Outcome {
    let mut options = &ctx.args[3..];
    while let [option, count, rest @ ..] = options {
        if !option.eq_ignore_ascii_case(b"samples") {
            return Err(Error::SYNTAX);
        }
        if parse_i64(count).ok_or(Error::NOT_INTEGER)? < 0 {
            return Err(Error::SYNTAX);
        }
        options = rest;
    }
    if !options.is_empty() {
        return Err(Error::SYNTAX);
    }
    let entry = ctx.shard.peek(ctx.caller, ctx.pos, ctx.args[2]);
    match entry.map(|entry| entry.memory_bytes() + TABLE_BYTES_PER_KEY) {
        Some(bytes) => ctx.reply.integer(bytes as i64),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// A shard's numbers: bytes of its keyspace, objects that wait to be freed, then for each database
/// keys and keys with an expiry.
fn shard_numbers(ctx: &mut PartCtx<'_>) -> Outcome {
    let space = &ctx.engine.shard.keyspace;
    let mut put = |n: usize| ctx.out.buf.extend_from_slice(&(n as u64).to_le_bytes());
    put(space.used_bytes());
    put(space.lazy_pending());
    for db in space.iter() {
        put(db.len());
        put(db.expires());
    }
    Ok(())
}

/// All shards' numbers.
struct Numbers {
    /// Bytes of each shard's keyspace.
    used: Vec<u64>,
    /// Objects of each shard that wait to be freed.
    pending: Vec<u64>,
    /// Keys and keys with an expiry of each database.
    databases: Vec<(u64, u64)>,
}

impl Numbers {
    fn of(ctx: &MergeCtx<'_>) -> Self {
        let count = ctx.engine.shard.keyspace.databases();
        let column = |at: usize| ctx.parts.iter().map(move |part| number(part, 8 * at));
        let database = |db: usize| {
            let keys = column(2 + 2 * db).sum();
            (keys, column(3 + 2 * db).sum())
        };
        Self {
            used: column(0).collect(),
            pending: column(1).collect(),
            databases: (0..count).map(database).collect(),
        }
    }

    fn used(&self) -> u64 {
        self.used.iter().sum()
    }

    fn keys(&self) -> u64 {
        self.databases.iter().map(|(keys, _)| keys).sum()
    }
}

fn doctor(ctx: &mut MergeCtx<'_>) -> Outcome {
    /// Below so much there is nothing to diagnose; as on Redis.
    const USED_MIN: u64 = 5 * 1024 * 1024;
    const FRAGMENTED: u64 = 2;
    let numbers = Numbers::of(ctx);
    let resident = resident_bytes().unwrap_or(0);
    let text = if numbers.used() < USED_MIN {
        "This instance is empty or is using very little memory: there is nothing to diagnose yet."
    } else if resident > numbers.used() * FRAGMENTED {
        "The process holds more than twice the memory that keys and values take. If keys were \
         removed lately, the allocator keeps that memory for new ones. If it stays so, look at the \
         number of clients and the size of their buffers."
    } else {
        "No memory issue found."
    };
    ctx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn malloc_stats(ctx: &mut MergeCtx<'_>) -> Outcome {
    let numbers = Numbers::of(ctx);
    let mut text = format!(
        "resident bytes of the process: {}\n",
        resident_bytes().unwrap_or(0)
    );
    for (shard, (used, pending)) in numbers.used.iter().zip(&numbers.pending).enumerate() {
        text.push_str(&format!(
            "shard {shard}: {used} bytes of keys and values, {pending} objects waiting to be freed\n"
        ));
    }
    ctx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn purge(_: &mut PartCtx<'_>) -> Outcome {
    purge_all();
    Ok(())
}

fn purged(ctx: &mut MergeCtx<'_>) -> Outcome {
    ctx.reply.ok();
    Ok(())
}

fn stats(ctx: &mut MergeCtx<'_>) -> Outcome {
    let numbers = Numbers::of(ctx);
    let used = numbers.used();
    let peak = ctx.engine.shard.node.used_peak(used);
    let keys = numbers.keys();
    let resident = resident_bytes().unwrap_or(used);
    let populated: Vec<(usize, (u64, u64))> = numbers
        .databases
        .iter()
        .copied()
        .enumerate()
        .filter(|(_, (keys, _))| *keys > 0)
        .collect();
    let tables = keys * TABLE_BYTES_PER_KEY as u64;
    let dataset = used.saturating_sub(tables);
    let ratio = |a: u64, b: u64| if b == 0 { 0.0 } else { a as f64 / b as f64 };
    let count = |n: u64| Field::Count(n);
    let head = [
        ("peak.allocated", count(peak)),
        ("total.allocated", count(used)),
        ("startup.allocated", count(0)),
        ("replication.backlog", count(0)),
        ("clients.slaves", count(0)),
        ("clients.normal", count(0)),
        ("cluster.links", count(0)),
        ("aof.buffer", count(0)),
        ("lua.caches", count(0)),
        ("functions.caches", count(0)),
    ];
    let tail = [
        ("overhead.total", count(tables)),
        ("keys.count", count(keys)),
        (
            "keys.bytes-per-key",
            count(used.checked_div(keys).unwrap_or(0)),
        ),
        ("dataset.bytes", count(dataset)),
        (
            "dataset.percentage",
            Field::Ratio(100.0 * ratio(dataset, used)),
        ),
        ("peak.percentage", Field::Ratio(100.0 * ratio(used, peak))),
        ("allocator.allocated", count(used)),
        ("allocator.active", count(resident)),
        ("allocator.resident", count(resident)),
        (
            "allocator-fragmentation.ratio",
            Field::Ratio(ratio(resident, used)),
        ),
        (
            "allocator-fragmentation.bytes",
            count(resident.saturating_sub(used)),
        ),
        ("allocator-rss.ratio", Field::Ratio(1.0)),
        ("allocator-rss.bytes", count(0)),
        ("rss-overhead.ratio", Field::Ratio(1.0)),
        ("rss-overhead.bytes", count(0)),
        ("fragmentation", Field::Ratio(ratio(resident, used))),
        ("fragmentation.bytes", count(resident.saturating_sub(used))),
    ];
    ctx.reply.map(head.len() + populated.len() + tail.len());
    head.iter().for_each(|(name, field)| put(ctx, name, field));
    for (db, (keys, expires)) in populated {
        ctx.reply.bulk(format!("db.{db}").as_bytes());
        ctx.reply.map(2);
        put(
            ctx,
            "overhead.hashtable.main",
            &count(keys * TABLE_BYTES_PER_KEY as u64),
        );
        put(ctx, "overhead.hashtable.expires", &count(expires * 8));
    }
    tail.iter().for_each(|(name, field)| put(ctx, name, field));
    Ok(())
}

/// A value of MEMORY STATS.
enum Field {
    Count(u64),
    Ratio(f64),
}

fn put(ctx: &mut MergeCtx<'_>, name: &str, field: &Field) {
    ctx.reply.bulk(name.as_bytes());
    match field {
        Field::Count(n) => ctx.reply.integer(*n as i64),
        Field::Ratio(ratio) => ctx.reply.double_text(&ratio.to_string()),
    }
}
