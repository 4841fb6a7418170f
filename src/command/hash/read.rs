//! Commands that read fields.

use super::value::{read, reply_element};
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::types::hash::HashRef;

/// HGET
pub(super) fn hget(ctx: &mut Ctx<'_>) -> Outcome {
    let (now, field) = (ctx.now_ms(), ctx.args[2]);
    let entry = ctx.shard.read(ctx.caller, ctx.pos, ctx.args[1]);
    let Some(entry) = entry else {
        ctx.reply.null();
        return Ok(());
    };
    let hash = HashRef::of(entry.value()).ok_or(Error::WRONG_TYPE)?;
    match hash.get(field, now) {
        Some(value) => reply_element(&mut ctx.reply, value),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// HMGET
pub(super) fn hmget(ctx: &mut Ctx<'_>) -> Outcome {
    let (now, fields) = (ctx.now_ms(), &ctx.args[2..]);
    let entry = ctx.shard.read(ctx.caller, ctx.pos, ctx.args[1]);
    let hash = entry
        .map(|entry| HashRef::of(entry.value()).ok_or(Error::WRONG_TYPE))
        .transpose()?;
    ctx.reply.array(fields.len());
    for field in fields {
        match hash.and_then(|hash| hash.get(field, now)) {
            Some(value) => reply_element(&mut ctx.reply, value),
            None => ctx.reply.null(),
        }
    }
    Ok(())
}

/// HGETALL
pub(super) fn hgetall(ctx: &mut Ctx<'_>) -> Outcome {
    reply_all(ctx, true, true)
}

/// HKEYS
pub(super) fn hkeys(ctx: &mut Ctx<'_>) -> Outcome {
    reply_all(ctx, true, false)
}

/// HVALS
pub(super) fn hvals(ctx: &mut Ctx<'_>) -> Outcome {
    reply_all(ctx, false, true)
}

fn reply_all(ctx: &mut Ctx<'_>, fields: bool, values: bool) -> Outcome {
    let now = ctx.now_ms();
    let entry = ctx.shard.read(ctx.caller, ctx.pos, ctx.args[1]);
    let hash = entry
        .map(|entry| HashRef::of(entry.value()).ok_or(Error::WRONG_TYPE))
        .transpose()?;
    let reply = &mut ctx.reply;
    let count = hash.map_or(0, |hash| hash.live_len(now));
    if fields && values {
        reply.map(count);
    } else {
        reply.array(count);
    }
    if let Some(hash) = hash {
        hash.for_each(now, |field, value| {
            if fields {
                reply_element(reply, field);
            }
            if values {
                reply_element(reply, value);
            }
        });
    }
    Ok(())
}

/// HLEN
pub(super) fn hlen(ctx: &mut Ctx<'_>) -> Outcome {
    let len = read(ctx)?.map_or(0, |hash| hash.len());
    ctx.reply.integer(len as i64);
    Ok(())
}

/// HEXISTS
pub(super) fn hexists(ctx: &mut Ctx<'_>) -> Outcome {
    let (now, field) = (ctx.now_ms(), ctx.args[2]);
    let found = read(ctx)?.is_some_and(|hash| hash.get(field, now).is_some());
    ctx.reply.integer(i64::from(found));
    Ok(())
}

/// HSTRLEN
pub(super) fn hstrlen(ctx: &mut Ctx<'_>) -> Outcome {
    let (now, field) = (ctx.now_ms(), ctx.args[2]);
    let value = read(ctx)?.and_then(|hash| hash.get(field, now));
    let len = value.map_or(0, |value| value.text_len());
    ctx.reply.integer(len as i64);
    Ok(())
}
