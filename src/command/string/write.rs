//! Setting and changing one string.
use super::options::{Accept, Condition, Options, Ttl, Unit, expires_at};
use super::read::{reply_key, reply_value};
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::keyspace::{Expiry, Kind, NewValue, Place, Pos};
use crate::resp::number::{I64_TEXT_MAX, format_i64, parse_i64};
use crate::shard::Shard;
use crate::shard::access::EventClass;

/// Stores the argument at `value_at` under the command's key, where `place` was found, and tells.
#[inline]
fn store(ctx: &mut Ctx<'_>, value_at: usize, place: Option<Place>, expiry: Expiry) {
    let (caller, pos, key) = (ctx.caller, ctx.pos, ctx.args[1]);
    if ctx.shard.effects.is_on() {
        effect_set(ctx.shard, caller.db, pos, (key, ctx.args[value_at]), expiry);
    }
    let value = match ctx.take_large(value_at) {
        Some(memory) => NewValue::Large(memory.into()),
        None => NewValue::string(ctx.args[value_at]),
    };
    ctx.shard.store_at(caller, pos, key, place, value, expiry);
    let db = caller.db;
    ctx.shard.changed(db, pos, key, EventClass::String, "set");
    if let Expiry::At(_) = expiry {
        ctx.shard
            .also_changed(db, pos, key, EventClass::Generic, "expire");
    }
}

/// Records that a value is set.
pub(super) fn effect_set(
    shard: &mut Shard,
    db: u16,
    pos: Pos,
    (key, value): (&[u8], &[u8]),
    expiry: Expiry,
) {
    match expiry {
        Expiry::Clear => shard.effect(db, pos, &[b"SET", key, value]),
        Expiry::Keep => shard.effect(db, pos, &[b"SET", key, value, b"KEEPTTL"]),
        Expiry::At(at) => {
            let mut text = [0; I64_TEXT_MAX];
            let at = format_i64(at as i64, &mut text);
            shard.effect(db, pos, &[b"SET", key, value, b"PXAT", at]);
        }
    }
}

/// Where the command's key stands.
#[inline]
fn locate(ctx: &mut Ctx<'_>) -> Option<Place> {
    ctx.shard.locate(ctx.caller.db, ctx.pos, ctx.args[1])
}

/// SET
pub(super) fn set(ctx: &mut Ctx<'_>) -> Outcome {
    if ctx.args.len() > 3 {
        return set_with_options(ctx);
    }
    let place = locate(ctx);
    store(ctx, 2, place, Expiry::Clear);
    ctx.reply.ok();
    Ok(())
}

fn set_with_options(ctx: &mut Ctx<'_>) -> Outcome {
    let options = Options::parse(&ctx.args[3..], Accept::Set)?;
    let expiry = options.expiry(ctx.now_ms(), "set")?;
    if options.get {
        reply_key(ctx)?;
    }
    let place = locate(ctx);
    if options.condition != Condition::Always {
        let db = ctx.caller.db;
        let found = place.map(|place| ctx.shard.at(db, place).into_ref());
        if !options.condition.holds(found)? {
            if !options.get {
                ctx.reply.null();
            }
            return Ok(());
        }
    }
    store(ctx, 2, place, expiry);
    if !options.get {
        ctx.reply.ok();
    }
    Ok(())
}

/// SETNX
pub(super) fn setnx(ctx: &mut Ctx<'_>) -> Outcome {
    let missing = locate(ctx).is_none();
    if missing {
        store(ctx, 2, None, Expiry::Clear);
    }
    ctx.reply.integer(i64::from(missing));
    Ok(())
}

/// SETEX
pub(super) fn setex(ctx: &mut Ctx<'_>) -> Outcome {
    set_with_time(ctx, Unit::Seconds, "setex")
}

/// PSETEX
pub(super) fn psetex(ctx: &mut Ctx<'_>) -> Outcome {
    set_with_time(ctx, Unit::Milliseconds, "psetex")
}

fn set_with_time(ctx: &mut Ctx<'_>, unit: Unit, command: &str) -> Outcome {
    let at = expires_at(ctx.args[2], unit, ctx.now_ms(), command)?;
    let place = locate(ctx);
    store(ctx, 3, place, Expiry::At(at));
    ctx.reply.ok();
    Ok(())
}

/// GETSET
pub(super) fn getset(ctx: &mut Ctx<'_>) -> Outcome {
    reply_key(ctx)?;
    let place = locate(ctx);
    store(ctx, 2, place, Expiry::Clear);
    Ok(())
}

/// GETEX
pub(super) fn getex(ctx: &mut Ctx<'_>) -> Outcome {
    let options = Options::parse(&ctx.args[2..], Accept::GetEx)?;
    let (caller, pos, key, now) = (ctx.caller, ctx.pos, ctx.args[1], ctx.now_ms());
    let Some(value) = ctx.shard.read_string(caller, pos, key)? else {
        ctx.reply.null();
        return Ok(());
    };
    // Redis looks at the number only where there is something to expire.
    let expiry = options.expiry(now, "getex")?;
    reply_value(&mut ctx.reply, value)?;
    let Some(mut entry) = ctx.shard.write(caller, pos, key) else {
        return Ok(());
    };
    let event = match (options.ttl, expiry) {
        (Ttl::Time(..), Expiry::At(at)) if at > now => {
            entry.set_expiry(Some(at));
            let mut text = [0; I64_TEXT_MAX];
            ctx.effect(&[b"PEXPIREAT", key, format_i64(at as i64, &mut text)]);
            "expire"
        }
        (Ttl::Time(..), _) => {
            ctx.shard.remove(caller, pos, key);
            ctx.effect(&[b"DEL", key]);
            "del"
        }
        (Ttl::Persist, _) if entry.get().expiry().is_some() => {
            entry.set_expiry(None);
            ctx.effect(&[b"PERSIST", key]);
            "persist"
        }
        (Ttl::Persist | Ttl::Keep | Ttl::Unset, _) => return Ok(()),
    };
    ctx.shard
        .changed(caller.db, pos, key, EventClass::Generic, event);
    Ok(())
}

/// SETRANGE
pub(super) fn setrange(ctx: &mut Ctx<'_>) -> Outcome {
    let (caller, pos, key, part) = (ctx.caller, ctx.pos, ctx.args[1], ctx.args[3]);
    let offset = parse_i64(ctx.args[2]).ok_or(Error::NOT_INTEGER)?;
    let offset = usize::try_from(offset).map_err(|_| Error::new("ERR offset is out of range"))?;
    if part.is_empty() {
        let found = ctx.shard.write_kind(caller, pos, key, Kind::String)?;
        let len = found.and_then(|entry| entry.value().string_len());
        ctx.reply.integer(len.unwrap_or(0) as i64);
        return Ok(());
    }
    let end = offset.saturating_add(part.len());
    if end as u64 > ctx.shard.string_bytes_max() {
        ctx.shard.write_kind(caller, pos, key, Kind::String)?; // the type is looked at first
        return Err(Error::STRING_TOO_LONG);
    }
    let len = ctx.shard.edit_string(caller, pos, key, end, |bytes, _| {
        bytes[offset..end].copy_from_slice(part);
        bytes.len()
    })?;
    ctx.shard
        .changed(caller.db, pos, key, EventClass::String, "setrange");
    ctx.reply.integer(len as i64);
    Ok(())
}

/// APPEND
pub(super) fn append(ctx: &mut Ctx<'_>) -> Outcome {
    let (caller, pos, key, tail) = (ctx.caller, ctx.pos, ctx.args[1], ctx.args[2]);
    let len_max = ctx.shard.string_bytes_max();
    let len = match ctx.shard.write_kind(caller, pos, key, Kind::String)? {
        Some(mut entry) => {
            let len = entry.value().string_len().unwrap_or(0);
            if (len + tail.len()) as u64 > len_max {
                return Err(Error::STRING_TOO_LONG);
            }
            let len = entry.append(tail);
            ctx.effect_verbatim();
            len
        }
        None => {
            ctx.effect_verbatim();
            let value = match ctx.take_large(2) {
                Some(memory) => NewValue::Large(memory.into()),
                None => NewValue::string(tail),
            };
            ctx.shard
                .store_at(caller, pos, key, None, value, Expiry::Clear);
            tail.len()
        }
    };
    ctx.shard
        .changed(caller.db, pos, key, EventClass::String, "append");
    ctx.reply.integer(len as i64);
    Ok(())
}
