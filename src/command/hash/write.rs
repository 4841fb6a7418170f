//! Commands that write and remove fields.

use super::value::{Writer, effect_set, hash_of, remove_if_empty, set_all, tell, write};
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::resp::number::{I64_TEXT_MAX, format_i64, parse_i64};
use crate::stdx::extended::{Extended, Parsed};
use crate::types::hash::Ttl;
use crate::types::packed::Element;

/// HSET
pub(super) fn hset(ctx: &mut Ctx<'_>) -> Outcome {
    let new = set_pairs(ctx, "hset")?;
    ctx.reply.integer(new as i64);
    Ok(())
}

/// HMSET
pub(super) fn hmset(ctx: &mut Ctx<'_>) -> Outcome {
    set_pairs(ctx, "hmset")?;
    ctx.reply.ok();
    Ok(())
}

#[inline]
fn set_pairs(ctx: &mut Ctx<'_>, command: &str) -> Result<usize, Error> {
    let pairs = &ctx.args[2..];
    if !pairs.len().is_multiple_of(2) {
        return Err(Error::arity(command));
    }
    let new = set_all(ctx, pairs, Ttl::Clear)?;
    tell(ctx, "hset");
    Ok(new)
}

/// HSETNX
pub(super) fn hsetnx(ctx: &mut Ctx<'_>) -> Outcome {
    let (now, field) = (ctx.now_ms(), ctx.args[2]);
    let is_there = match write(ctx)? {
        Some(entry) => hash_of(entry.get())?.get(field, now).is_some(),
        None => false,
    };
    if !is_there {
        set_all(ctx, &ctx.args[2..4], Ttl::Clear)?;
        ctx.effect(&[b"HSET", ctx.args[1], field, ctx.args[3]]);
        tell(ctx, "hset");
    }
    ctx.reply.integer(i64::from(!is_there));
    Ok(())
}

/// HDEL
pub(super) fn hdel(ctx: &mut Ctx<'_>) -> Outcome {
    let fields = &ctx.args[2..];
    let removed = remove_all(ctx, fields)?;
    ctx.reply.integer(removed as i64);
    Ok(())
}

/// Removes fields of the hash under the first key, and the key with the last one, and tells of it;
/// how many were there.
pub(super) fn remove_all(ctx: &mut Ctx<'_>, fields: &[&[u8]]) -> Result<usize, Error> {
    let writer = Writer::new(ctx.shard);
    let mut words = ctx.shard.words();
    if let Some(words) = &mut words {
        words.extend(&[b"HDEL", ctx.args[1]]);
    }
    let Some(mut entry) = write(ctx)? else {
        return Ok(0);
    };
    let mut removed = 0;
    for field in fields {
        if writer.remove(&mut entry, field) {
            removed += 1;
            if let Some(words) = &mut words {
                words.push(field);
            }
        }
    }
    if removed > 0 {
        let (db, pos) = (ctx.caller.db, ctx.pos);
        ctx.shard.effect_of(db, pos, words);
        tell(ctx, "hdel");
        remove_if_empty(ctx);
    }
    Ok(removed)
}

/// HINCRBY
pub(super) fn hincrby(ctx: &mut Ctx<'_>) -> Outcome {
    let (now, field) = (ctx.now_ms(), ctx.args[2]);
    let by = parse_i64(ctx.args[3]).ok_or(Error::NOT_INTEGER)?;
    let before = match write(ctx)? {
        None => 0,
        Some(entry) => match hash_of(entry.get())?.get(field, now) {
            None => 0,
            Some(Element::Int(number)) => number,
            Some(Element::Bytes(text)) => {
                parse_i64(text).ok_or_else(|| Error::new("ERR hash value is not an integer"))?
            }
        },
    };
    let sum = before.checked_add(by).ok_or(Error::OVERFLOW)?;
    let mut text = [0; I64_TEXT_MAX];
    let sum_text = format_i64(sum, &mut text);
    set_all(ctx, &[field, sum_text], Ttl::Keep)?;
    effect_set(ctx, field, sum_text);
    tell(ctx, "hincrby");
    ctx.reply.integer(sum);
    Ok(())
}

/// HINCRBYFLOAT
pub(super) fn hincrbyfloat(ctx: &mut Ctx<'_>) -> Outcome {
    let (now, field) = (ctx.now_ms(), ctx.args[2]);
    let by = match Extended::parse(ctx.args[3]).ok_or(Error::NOT_FLOAT)? {
        Parsed::Finite(by) => by,
        Parsed::Infinite => return Err(Error::new("ERR value is NaN or Infinity")),
    };
    let before = match write(ctx)? {
        None => Parsed::Finite(Extended::from_i64(0)),
        Some(entry) => match hash_of(entry.get())?.get(field, now) {
            None => Parsed::Finite(Extended::from_i64(0)),
            Some(Element::Int(number)) => Parsed::Finite(Extended::from_i64(number)),
            Some(Element::Bytes(text)) => {
                Extended::parse(text).ok_or_else(|| Error::new("ERR hash value is not a float"))?
            }
        },
    };
    let sum = match before {
        Parsed::Finite(before) => before.plus(by),
        Parsed::Infinite => None,
    };
    let sum = sum
        .ok_or_else(|| Error::new("ERR increment would produce NaN or Infinity"))?
        .text();
    set_all(ctx, &[field, sum.as_bytes()], Ttl::Keep)?;
    effect_set(ctx, field, sum.as_bytes());
    tell(ctx, "hincrbyfloat");
    ctx.reply.bulk(sum.as_bytes());
    Ok(())
}
