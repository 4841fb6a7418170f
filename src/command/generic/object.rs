//! What is known of a value from outside: OBJECT; and waiting for copies of it: WAIT, WAITAOF.

use super::keys::encoding_name;
use crate::command::context::{Ctx, HomeCtx};
use crate::command::error::{Error, Outcome};
use crate::command::help;
use crate::command::wait::end_of;
use crate::keyspace::{EntryRef, Value};
use crate::net::log_waits::{NO_LOG, put_answer};
use crate::resp::number::parse_i64;

const NOT_LFU: Error = Error::fixed(
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that \
     when switching between policies at runtime LRU and LFU data will take some time to adjust.",
);
const NOT_LRU: Error = Error::fixed(
    "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when \
     switching between policies at runtime LRU and LFU data will take some time to adjust.",
);

const HELP: &[&str] = &[
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
];

pub(super) fn help(ctx: &mut Ctx<'_>) -> Outcome {
    help::reply(&mut ctx.reply, "OBJECT", HELP);
    Ok(())
}

/// The entry under the second argument.
fn entry<'a>(ctx: &'a mut Ctx<'_>) -> Option<EntryRef<'a>> {
    ctx.shard.inspect_quietly(ctx.caller, ctx.pos, ctx.args[2])
}

pub(super) fn encoding(ctx: &mut Ctx<'_>) -> Outcome {
    match entry(ctx).as_ref().map(encoding_name) {
        Some(name) => ctx.reply.bulk(name.as_bytes()),
        None => ctx.reply.null(),
    }
    Ok(())
}

pub(super) fn refcount(ctx: &mut Ctx<'_>) -> Outcome {
    match entry(ctx).as_ref().map(reference_count) {
        Some(count) => ctx.reply.integer(count),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// Values are never shared; small numbers are on Redis, and look as if they were.
fn reference_count(entry: &EntryRef<'_>) -> i64 {
    /// Redis's OBJ_SHARED_INTEGERS and OBJ_SHARED_REFCOUNT.
    const SHARED_INTEGERS: i64 = 10_000;
    const SHARED: i64 = i32::MAX as i64;
    match entry.value() {
        Value::Int(0..SHARED_INTEGERS) => SHARED,
        _ => 1,
    }
}

pub(super) fn idletime(ctx: &mut Ctx<'_>) -> Outcome {
    let Some(clock) = entry(ctx).map(|entry| entry.clock()) else {
        ctx.reply.null();
        return Ok(());
    };
    if ctx.shard.lfu.on {
        return Err(NOT_LRU);
    }
    ctx.reply.integer(i64::from(ctx.shard.idle_seconds(clock)));
    Ok(())
}

pub(super) fn freq(ctx: &mut Ctx<'_>) -> Outcome {
    let Some(clock) = entry(ctx).map(|entry| entry.clock()) else {
        ctx.reply.null();
        return Ok(());
    };
    if !ctx.shard.lfu.on {
        return Err(NOT_LFU);
    }
    let frequency = ctx.shard.lfu.frequency(clock, ctx.shard.now_ms);
    ctx.reply.integer(i64::from(frequency));
    Ok(())
}

/// When a wait of so many milliseconds ends, Unix milliseconds; None for `0`, which is for ever.
fn until_ms(ctx: &mut HomeCtx<'_>, text: &[u8]) -> Result<Option<u64>, Error> {
    let timeout = parse_i64(text).ok_or(Error::fixed(
        "ERR timeout is not an integer or out of range",
    ))?;
    let timeout = u64::try_from(timeout).map_err(|_| Error::fixed("ERR timeout is negative"))?;
    Ok(end_of(timeout, ctx.shard().now_ms))
}

/// There are no replicas: who asks for some hears so when its time is over.
pub(super) fn wait(ctx: &mut HomeCtx<'_>) -> Outcome {
    let replicas = parse_i64(ctx.args[1]).ok_or(Error::NOT_INTEGER)?;
    let until_ms = until_ms(ctx, ctx.args[2])?;
    if replicas <= 0 || ctx.in_exec {
        ctx.reply().integer(0);
    } else {
        ctx.engine.wait_for_replicas(ctx.conn, until_ms);
    }
    Ok(())
}

pub(super) fn waitaof(ctx: &mut HomeCtx<'_>) -> Outcome {
    let local = parse_i64(ctx.args[1]).ok_or(Error::NOT_INTEGER)?;
    if !(0..=1).contains(&local) {
        return Err(Error::new(
            "ERR value is out of range, value must between 0 and 1",
        ));
    }
    let replicas = parse_i64(ctx.args[2])
        .filter(|replicas| *replicas >= 0)
        .ok_or(Error::NOT_POSITIVE)?;
    let until_ms = until_ms(ctx, ctx.args[3])?;
    let kept = ctx.shard().node.logs.are_on();
    if local > 0 && !kept {
        return Err(NO_LOG);
    }
    let certain = kept && ctx.engine.are_logs_certain();
    let (local, replicas) = (local > 0, replicas > 0);
    if ctx.in_exec || !replicas && (certain || !local) {
        put_answer(&mut ctx.reply(), certain);
    } else {
        let engine = &mut *ctx.engine;
        engine.wait_for_copies(ctx.conn, local, replicas, until_ms);
    }
    Ok(())
}
