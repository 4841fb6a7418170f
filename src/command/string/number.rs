//! Strings that are numbers.
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::keyspace::{Expiry, Kind, NewValue, Value};
use crate::resp::number::parse_i64;
use crate::shard::access::EventClass;
use crate::stdx::extended::{Extended, Parsed};

/// INCR
pub(super) fn incr(ctx: &mut Ctx<'_>) -> Outcome {
    add(ctx, 1)
}

/// DECR
pub(super) fn decr(ctx: &mut Ctx<'_>) -> Outcome {
    add(ctx, -1)
}

/// INCRBY
pub(super) fn incrby(ctx: &mut Ctx<'_>) -> Outcome {
    let by = parse_i64(ctx.args[2]).ok_or(Error::NOT_INTEGER)?;
    add(ctx, by)
}

/// DECRBY
pub(super) fn decrby(ctx: &mut Ctx<'_>) -> Outcome {
    let by = parse_i64(ctx.args[2]).ok_or(Error::NOT_INTEGER)?;
    let by = by
        .checked_neg()
        .ok_or_else(|| Error::new("ERR decrement would overflow"))?;
    add(ctx, by)
}

/// Adds to the key's integer: one probe of the table, and in place where an integer stands.
#[inline]
fn add(ctx: &mut Ctx<'_>, by: i64) -> Outcome {
    let (caller, pos, key) = (ctx.caller, ctx.pos, ctx.args[1]);
    let sum = match ctx.shard.write(caller, pos, key) {
        Some(mut entry) => {
            let before = match entry.value() {
                Value::Int(number) => number,
                other => other_int(other)?,
            };
            let sum = before.checked_add(by).ok_or(Error::OVERFLOW)?;
            entry.set_int(sum);
            sum
        }
        None => {
            let value = NewValue::Int(by);
            ctx.shard
                .store_at(caller, pos, key, None, value, Expiry::Clear);
            by
        }
    };
    ctx.shard
        .changed(caller.db, pos, key, EventClass::String, "incrby");
    ctx.reply.integer(sum);
    Ok(())
}

/// The integer of a value that is not stored as one.
#[cold]
fn other_int(value: Value<'_>) -> Result<i64, Error> {
    match value {
        Value::Packed(..) | Value::Object(_) => Err(Error::WRONG_TYPE),
        string => string.as_int().ok_or(Error::NOT_INTEGER),
    }
}

/// INCRBYFLOAT
pub(super) fn incrbyfloat(ctx: &mut Ctx<'_>) -> Outcome {
    let (caller, pos, key) = (ctx.caller, ctx.pos, ctx.args[1]);
    let found = ctx.shard.write_kind(caller, pos, key, Kind::String)?;
    let before = match found.as_ref().map(|entry| entry.value()) {
        None => Parsed::Finite(Extended::from_i64(0)),
        Some(Value::Int(number)) => Parsed::Finite(Extended::from_i64(number)),
        Some(Value::Str(bytes)) => Extended::parse(bytes).ok_or(Error::NOT_FLOAT)?,
        Some(Value::Large(large)) => Extended::parse(large.as_slice()).ok_or(Error::NOT_FLOAT)?,
        Some(Value::Packed(..) | Value::Object(_)) => return Err(Error::WRONG_TYPE),
    };
    let by = Extended::parse(ctx.args[2]).ok_or(Error::NOT_FLOAT)?;
    let sum = match (before, by) {
        (Parsed::Finite(before), Parsed::Finite(by)) => before.plus(by),
        _ => None,
    };
    let sum = sum
        .ok_or_else(|| Error::new("ERR increment would produce NaN or Infinity"))?
        .text();
    let value = NewValue::Str {
        bytes: sum.as_bytes(),
        raw: false,
    };
    match found {
        Some(mut entry) => entry.set(value, Expiry::Keep),
        None => ctx
            .shard
            .store_at(caller, pos, key, None, value, Expiry::Clear),
    }
    ctx.effect(&[b"SET", key, sum.as_bytes(), b"KEEPTTL"]);
    ctx.shard
        .changed(caller.db, pos, key, EventClass::String, "incrbyfloat");
    ctx.reply.bulk(sum.as_bytes());
    Ok(())
}
