//! The time to live of keys.
//!
//! A time that has passed already deletes the key at once; the event is then `del`, as on Redis.

use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::keyspace::EntryRef;
use crate::resp::number::{I64_TEXT_MAX, format_i64, parse_i64};
use crate::shard::access::EventClass;

const MS_PER_S: i64 = 1000;

/// When an expiry is set, compared to the one that is there.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Condition {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Condition {
    fn parse(options: &[&[u8]]) -> Result<Self, Error> {
        let mut found = Self::default();
        for option in options {
            match option.to_ascii_lowercase().as_slice() {
                b"nx" => found.nx = true,
                b"xx" => found.xx = true,
                b"gt" => found.gt = true,
                b"lt" => found.lt = true,
                _ => {
                    return Err(Error::quoting("ERR Unsupported option ", option, ""));
                }
            }
        }
        if found.nx && (found.xx || found.gt || found.lt) {
            return Err(Error::new(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if found.gt && found.lt {
            return Err(Error::new(
                "ERR GT and LT options at the same time are not compatible",
            ));
        }
        Ok(found)
    }

    /// Whether `new` may take the place of `old`; no expiry counts as one that never comes.
    fn holds(self, old: Option<i64>, new: i64) -> bool {
        !(self.nx && old.is_some()
            || self.xx && old.is_none()
            || self.gt && old.is_none_or(|old| new <= old)
            || self.lt && old.is_some_and(|old| new >= old))
    }
}

pub(super) fn expire(ctx: &mut Ctx<'_>) -> Outcome {
    let now = ctx.now_ms() as i64;
    set_expiry(ctx, "expire", now, MS_PER_S)
}

pub(super) fn pexpire(ctx: &mut Ctx<'_>) -> Outcome {
    let now = ctx.now_ms() as i64;
    set_expiry(ctx, "pexpire", now, 1)
}

pub(super) fn expireat(ctx: &mut Ctx<'_>) -> Outcome {
    set_expiry(ctx, "expireat", 0, MS_PER_S)
}

pub(super) fn pexpireat(ctx: &mut Ctx<'_>) -> Outcome {
    set_expiry(ctx, "pexpireat", 0, 1)
}

/// Sets the expiry to the second argument, in `unit` milliseconds from `base`, unix milliseconds.
fn set_expiry(ctx: &mut Ctx<'_>, command: &str, base: i64, unit: i64) -> Outcome {
    let (key, pos, caller) = (ctx.args[1], ctx.pos, ctx.caller);
    let condition = Condition::parse(&ctx.args[3..])?;
    let at = parse_i64(ctx.args[2]).ok_or(Error::NOT_INTEGER)?;
    let at = at
        .checked_mul(unit)
        .and_then(|at| at.checked_add(base))
        .ok_or_else(|| Error::invalid_expire(command))?;
    let now = ctx.now_ms() as i64;
    let shard = &mut *ctx.shard;
    let Some(mut entry) = shard.write(caller, pos, key) else {
        ctx.reply.integer(0);
        return Ok(());
    };
    if !condition.holds(entry.get().expiry().map(|ms| ms as i64), at) {
        ctx.reply.integer(0);
        return Ok(());
    }
    if at <= now {
        shard.remove(caller, pos, key);
        shard.effect_del(caller.db, pos, key);
        shard.changed(caller.db, pos, key, EventClass::Generic, "del");
    } else {
        entry.set_expiry(Some(at as u64));
        let mut text = [0; I64_TEXT_MAX];
        let at = format_i64(at, &mut text);
        shard.effect(caller.db, pos, &[b"PEXPIREAT", key, at]);
        shard.changed(caller.db, pos, key, EventClass::Generic, "expire");
    }
    ctx.reply.integer(1);
    Ok(())
}

pub(super) fn persist(ctx: &mut Ctx<'_>) -> Outcome {
    let (key, pos, caller) = (ctx.args[1], ctx.pos, ctx.caller);
    let entry = ctx.shard.write(caller, pos, key);
    let had = match entry {
        Some(mut entry) if entry.get().expiry().is_some() => {
            entry.set_expiry(None);
            true
        }
        _ => false,
    };
    if had {
        ctx.shard
            .changed(caller.db, pos, key, EventClass::Generic, "persist");
    }
    ctx.reply.integer(i64::from(had));
    Ok(())
}

/// Replies what `time` makes of the expiry; -1 without one, -2 without the key.
fn reply_time(ctx: &mut Ctx<'_>, time: impl FnOnce(i64, i64) -> i64) -> Outcome {
    let now = ctx.now_ms() as i64;
    let entry = ctx.shard.inspect(ctx.caller, ctx.pos, ctx.args[1]);
    let reply = match entry.as_ref().map(EntryRef::expiry) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => time(at as i64, now),
    };
    ctx.reply.integer(reply);
    Ok(())
}

/// Milliseconds, not negative, as seconds, rounded as Redis does.
fn seconds(ms: i64) -> i64 {
    // Half a second more than the largest i64 is still a u64.
    ((ms.unsigned_abs() + MS_PER_S.unsigned_abs() / 2) / MS_PER_S.unsigned_abs()) as i64
}

pub(super) fn ttl(ctx: &mut Ctx<'_>) -> Outcome {
    reply_time(ctx, |at, now| seconds((at - now).max(0)))
}

pub(super) fn pttl(ctx: &mut Ctx<'_>) -> Outcome {
    reply_time(ctx, |at, now| (at - now).max(0))
}

pub(super) fn expiretime(ctx: &mut Ctx<'_>) -> Outcome {
    reply_time(ctx, |at, _| seconds(at))
}

pub(super) fn pexpiretime(ctx: &mut Ctx<'_>) -> Outcome {
    reply_time(ctx, |at, _| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_compare_with_the_expiry_that_is_there() {
        let parse = |text: &str| {
            let options: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
            Condition::parse(&options)
        };
        let holds = |text, old, new| parse(text).expect("valid").holds(old, new);
        assert!(holds("nx", None, 5) && !holds("NX", Some(1), 5));
        assert!(!holds("xx", None, 5) && holds("xx", Some(1), 5));
        assert!(!holds("gt", None, 5) && holds("gt", Some(4), 5) && !holds("gt", Some(5), 5));
        assert!(holds("lt", None, 5) && !holds("lt", Some(5), 5) && holds("lt", Some(6), 5));
        assert!(!holds("xx lt", None, 5) && holds("xx gt", Some(1), 5));
        assert!(parse("nx gt").is_err() && parse("gt lt").is_err() && parse("zz").is_err());
    }

    #[test]
    fn seconds_are_rounded_to_the_nearest() {
        assert_eq!(
            (seconds(0), seconds(499), seconds(500), seconds(1499)),
            (0, 0, 1, 1)
        );
        assert_eq!(seconds(i64::MAX), i64::MAX / 1000 + 1);
    }
}
