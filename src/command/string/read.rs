//! Reading one string.
use super::options::digest as digest_of;
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::keyspace::Value;
use crate::resp::encode::Reply;
use crate::resp::number::{I64_TEXT_MAX, parse_i64};

/// Replies with a string's bytes; another type is an error.
#[inline]
pub(super) fn reply_value(reply: &mut Reply<'_>, value: Value<'_>) -> Outcome {
    match value {
        Value::Str(bytes) => reply.bulk(bytes),
        Value::Int(number) => reply.bulk_integer(number),
        Value::Large(large) => reply.bulk_shared(&large.share()),
        Value::Packed(..) | Value::Object(_) => return Err(Error::WRONG_TYPE),
    }
    Ok(())
}

/// Replies with the string under the key, or null; whether it was there.
#[inline]
pub(super) fn reply_key(ctx: &mut Ctx<'_>) -> Result<bool, Error> {
    match ctx.shard.read(ctx.caller, ctx.pos, ctx.args[1]) {
        Some(entry) => reply_value(&mut ctx.reply, entry.value()).map(|()| true),
        None => {
            ctx.reply.null();
            Ok(false)
        }
    }
}

/// GET
pub(super) fn get(ctx: &mut Ctx<'_>) -> Outcome {
    reply_key(ctx).map(drop)
}

/// STRLEN
pub(super) fn strlen(ctx: &mut Ctx<'_>) -> Outcome {
    let found = ctx.shard.read_string(ctx.caller, ctx.pos, ctx.args[1])?;
    let len = found.and_then(|value| value.string_len()).unwrap_or(0);
    ctx.reply.integer(len as i64);
    Ok(())
}

/// GETRANGE, SUBSTR
pub(super) fn getrange(ctx: &mut Ctx<'_>) -> Outcome {
    let start = parse_i64(ctx.args[2]).ok_or(Error::NOT_INTEGER)?;
    let end = parse_i64(ctx.args[3]).ok_or(Error::NOT_INTEGER)?;
    let Some(value) = ctx.shard.read_string(ctx.caller, ctx.pos, ctx.args[1])? else {
        ctx.reply.bulk(b"");
        return Ok(());
    };
    let len = value.string_len().unwrap_or(0);
    let range = range_of(start, end, len);
    match value {
        Value::Large(large) => ctx.reply.bulk_shared(&large.share().slice(range)),
        value => {
            let mut text = [0; I64_TEXT_MAX];
            let bytes = value.bytes(&mut text).ok_or(Error::WRONG_TYPE)?;
            ctx.reply.bulk(&bytes[range]);
        }
    }
    Ok(())
}

/// The bytes from `start` to `end`, both included, negative ones counted from the end.
fn range_of(start: i64, end: i64, len: usize) -> std::ops::Range<usize> {
    let len = len as i64;
    if start < 0 && end < 0 && start > end {
        return 0..0;
    }
    let place = |at: i64| {
        if at < 0 {
            at.saturating_add(len).max(0)
        } else {
            at
        }
    };
    let (start, end) = (place(start), place(end).min(len - 1));
    if start > end {
        return 0..0;
    }
    start as usize..end as usize + 1
}

/// DIGEST
pub(super) fn digest(ctx: &mut Ctx<'_>) -> Outcome {
    match ctx.shard.read_string(ctx.caller, ctx.pos, ctx.args[1])? {
        None => ctx.reply.null(),
        Some(value) => {
            let mut text = [0; I64_TEXT_MAX];
            let bytes = value.bytes(&mut text).ok_or(Error::WRONG_TYPE)?;
            ctx.reply.bulk(&digest_of(bytes));
        }
    }
    Ok(())
}
