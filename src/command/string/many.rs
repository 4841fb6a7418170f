//! Commands over several strings.
use super::options::{Accept, Condition, Options};
use super::read::reply_value;
use super::write::effect_set;
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::keyspace::{Expiry, Kind, NewValue};
use crate::resp::number::parse_i64;
use crate::shard::access::EventClass;
use crate::shard::prefetch::GROUP_KEYS_MAX;

/// MGET
pub(super) fn mget(ctx: &mut Ctx<'_>) -> Outcome {
    let keys = &ctx.args[1..];
    ctx.reply.array(keys.len());
    for group in keys.chunks(GROUP_KEYS_MAX) {
        let positions = ctx.shard.prefetch(ctx.caller.db, group.iter().copied());
        for (key, pos) in group.iter().zip(positions) {
            match ctx.shard.read(ctx.caller, pos, key) {
                Some(entry) if entry.kind() == Kind::String => {
                    reply_value(&mut ctx.reply, entry.value())?;
                }
                _ => ctx.reply.null(),
            }
        }
    }
    Ok(())
}

/// Stores the pairs that stand from argument `from` to `to`.
#[inline]
fn store_pairs(ctx: &mut Ctx<'_>, from: usize, to: usize, expiry: Expiry) {
    let (args, caller) = (ctx.args, ctx.caller);
    for first in (from..to).step_by(2 * GROUP_KEYS_MAX) {
        let group = &args[first..to.min(first + 2 * GROUP_KEYS_MAX)];
        let pairs = group.chunks_exact(2);
        let positions = ctx
            .shard
            .prefetch(caller.db, pairs.clone().map(|pair| pair[0]));
        for (at, (pair, pos)) in pairs.zip(positions).enumerate() {
            let key = pair[0];
            if ctx.shard.effects.is_on() {
                effect_set(ctx.shard, caller.db, pos, (key, pair[1]), expiry);
            }
            let value = match ctx.take_large(first + 2 * at + 1) {
                Some(memory) => NewValue::Large(memory.into()),
                None => NewValue::string(pair[1]),
            };
            ctx.shard.store(caller, pos, key, value, expiry);
            let db = caller.db;
            ctx.shard.changed(db, pos, key, EventClass::String, "set");
            if let Expiry::At(_) = expiry {
                ctx.shard
                    .also_changed(db, pos, key, EventClass::Generic, "expire");
            }
        }
    }
}

/// How many of the keys of the pairs from argument `from` to `to` exist: whether it is none, or
/// whether it is all.
fn all_are(ctx: &mut Ctx<'_>, from: usize, to: usize, present: bool) -> bool {
    let (args, db) = (ctx.args, ctx.caller.db);
    args[from..to].chunks(2 * GROUP_KEYS_MAX).all(|group| {
        let keys = group.iter().step_by(2).copied();
        let positions = ctx.shard.prefetch(db, keys.clone());
        keys.zip(positions)
            .all(|(key, pos)| ctx.shard.locate(db, pos, key).is_some() == present)
    })
}

/// MSET
pub(super) fn mset(ctx: &mut Ctx<'_>) -> Outcome {
    let end = ctx.args.len();
    if end.is_multiple_of(2) {
        return Err(Error::arity("mset"));
    }
    store_pairs(ctx, 1, end, Expiry::Clear);
    ctx.reply.ok();
    Ok(())
}

/// MSETNX
pub(super) fn msetnx(ctx: &mut Ctx<'_>) -> Outcome {
    let end = ctx.args.len();
    if end.is_multiple_of(2) {
        return Err(Error::arity("msetnx"));
    }
    let missing = all_are(ctx, 1, end, false);
    if missing {
        store_pairs(ctx, 1, end, Expiry::Clear);
    }
    ctx.reply.integer(i64::from(missing));
    Ok(())
}

/// MSETEX
pub(super) fn msetex(ctx: &mut Ctx<'_>) -> Outcome {
    const FIRST: usize = 2;
    let pairs = parse_i64(ctx.args[1])
        .and_then(|n| i32::try_from(n).ok())
        .and_then(|n| usize::try_from(n).ok())
        .filter(|n| *n > 0)
        .ok_or_else(|| Error::new("ERR invalid numkeys value"))?;
    let end = FIRST + 2 * pairs;
    if end > ctx.args.len() {
        return Err(Error::new("ERR wrong number of key-value pairs"));
    }
    let options = Options::parse(&ctx.args[end..], Accept::MsetEx)?;
    let expiry = options.expiry(ctx.now_ms(), "msetex")?;
    let holds = match options.condition {
        Condition::Missing => all_are(ctx, FIRST, end, false),
        Condition::Present => all_are(ctx, FIRST, end, true),
        _ => true,
    };
    if holds {
        store_pairs(ctx, FIRST, end, expiry);
    }
    ctx.reply.integer(i64::from(holds));
    Ok(())
}
