//! The time to live of fields.
//!
//! A time that has passed already removes the field at once. What a field's condition compares with
//! is its own expiry; none counts as one that never comes.

use super::value::{Writer, hash_of, read, remove_if_empty, tell, write};
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::keyspace::EntryMut;
use crate::resp::number::parse_i64;
use smallvec::SmallVec;

pub(super) const MS_PER_S: i64 = 1000;
/// The latest expiry of a field, unix milliseconds, that clients may give: 46 bits, as on Redis. One
/// that has come with a value may be later.
const EXPIRY_MS_MAX: i64 = (1 << 46) - 1;

const NO_FIELD: i64 = -2;
const NO_EXPIRY: i64 = -1;
const NOT_MET: i64 = 0;
const DONE: i64 = 1;
const REMOVED: i64 = 2;

const NO_FIELDS_WORD: &str =
    "ERR Mandatory argument FIELDS is missing or not at the right position";
const NOT_ALL_FIELDS: &str = "ERR The `numfields` parameter must match the number of arguments";

/// What a list of fields is called where its number is wrong.
pub(super) const NOT_POSITIVE: &str = "ERR Number of fields must be a positive integer";

/// Reads `FIELDS numfields field ...`; `refused` is the error for a number that is none.
pub(super) fn fields<'a, 'b>(
    args: &'b [&'a [u8]],
    refused: &'static str,
) -> Result<&'b [&'a [u8]], Error> {
    match args {
        [word, count, fields @ ..] if word.eq_ignore_ascii_case(b"fields") => {
            let count = parse_i64(count).filter(|count| *count > 0);
            let count = count.ok_or(Error::new(refused))?;
            if count != fields.len() as i64 {
                return Err(Error::new(NOT_ALL_FIELDS));
            }
            Ok(fields)
        }
        _ => Err(Error::new(NO_FIELDS_WORD)),
    }
}

/// An expiry, unix milliseconds, from a text in `unit` milliseconds after `base`.
pub(super) fn expiry(text: &[u8], unit: i64, base: u64, command: &str) -> Result<u64, Error> {
    expiry_up_to(EXPIRY_MS_MAX, text, unit, base, command)
}

fn expiry_up_to(
    latest: i64,
    text: &[u8],
    unit: i64,
    base: u64,
    command: &str,
) -> Result<u64, Error> {
    let time = parse_i64(text).ok_or(Error::NOT_INTEGER)?;
    if time < 0 {
        return Err(Error::new("ERR invalid expire time, must be >= 0"));
    }
    let at = time.checked_mul(unit);
    let at = at.and_then(|ms| ms.checked_add(base as i64));
    at.filter(|at| *at <= latest)
        .map(|at| at as u64)
        .ok_or_else(|| Error::invalid_expire(command))
}

/// When a field's expiry is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Condition {
    Always,
    Nx,
    Xx,
    Gt,
    Lt,
}

impl Condition {
    fn parse(word: &[u8]) -> Option<Self> {
        match word.to_ascii_lowercase().as_slice() {
            b"nx" => Some(Self::Nx),
            b"xx" => Some(Self::Xx),
            b"gt" => Some(Self::Gt),
            b"lt" => Some(Self::Lt),
            _ => None,
        }
    }

    fn holds(self, old: Option<u64>, new: u64) -> bool {
        match self {
            Self::Always => true,
            Self::Nx => old.is_none(),
            Self::Xx => old.is_some(),
            Self::Gt => old.is_some_and(|old| new > old),
            Self::Lt => old.is_none_or(|old| new < old),
        }
    }
}

/// HEXPIRE
pub(super) fn hexpire(ctx: &mut Ctx<'_>) -> Outcome {
    let now = ctx.now_ms();
    expire(ctx, "hexpire", MS_PER_S, now)
}

/// HPEXPIRE
pub(super) fn hpexpire(ctx: &mut Ctx<'_>) -> Outcome {
    let now = ctx.now_ms();
    expire(ctx, "hpexpire", 1, now)
}

/// HEXPIREAT
pub(super) fn hexpireat(ctx: &mut Ctx<'_>) -> Outcome {
    expire(ctx, "hexpireat", MS_PER_S, 0)
}

/// HPEXPIREAT
pub(super) fn hpexpireat(ctx: &mut Ctx<'_>) -> Outcome {
    expire(ctx, "hpexpireat", 1, 0)
}

/// What became of several fields.
#[derive(Clone, Default, Debug)]
pub(super) struct Outcomes {
    /// Of each field.
    pub(super) results: SmallVec<[i64; 16]>,
    /// Fields whose expiry was set.
    pub(super) set: usize,
    /// Fields that were removed.
    pub(super) removed: usize,
}

fn expire(ctx: &mut Ctx<'_>, command: &str, unit: i64, base: u64) -> Outcome {
    let args = ctx.args;
    let is_hash = write(ctx)?.is_some();
    let latest = match ctx.shard.replays() {
        true => i64::MAX,
        false => EXPIRY_MS_MAX,
    };
    let at = expiry_up_to(latest, args[2], unit, base, command)?;
    let (condition, rest) = match Condition::parse(args[3]) {
        Some(condition) => (condition, &args[4..]),
        None => (Condition::Always, &args[3..]),
    };
    let fields = fields(rest, "ERR Parameter `numFields` should be greater than 0")?;
    let writer = Writer::new(ctx.shard);
    let mut results = SmallVec::<[i64; 16]>::new();
    let mut outcomes = Outcomes::default();
    if is_hash && let Some(mut entry) = write(ctx)? {
        for field in fields {
            results.push(expire_field(&writer, &mut entry, field, at, condition)?);
        }
    } else {
        results.resize(fields.len(), NO_FIELD);
    }
    outcomes.set = results.iter().filter(|result| **result == DONE).count();
    outcomes.removed = results.iter().filter(|result| **result == REMOVED).count();
    effect_expiries(ctx, fields, &results, Some(at));
    tell_expiries(ctx, &outcomes);
    ctx.reply.array(results.len());
    results.iter().for_each(|result| ctx.reply.integer(*result));
    Ok(())
}

/// Sets the expiry of one field; its part of the reply.
fn expire_field(
    writer: &Writer,
    entry: &mut EntryMut<'_>,
    field: &[u8],
    at: u64,
    condition: Condition,
) -> Result<i64, Error> {
    let Some(old) = hash_of(entry.get())?.expiry(field, writer.now()) else {
        return Ok(NO_FIELD);
    };
    if !condition.holds(old, at) {
        return Ok(NOT_MET);
    }
    Ok(set_or_remove(writer, entry, field, at))
}

/// Sets the expiry of a field that is there, or removes it where the time has passed.
fn set_or_remove(writer: &Writer, entry: &mut EntryMut<'_>, field: &[u8], at: u64) -> i64 {
    if at <= writer.now() {
        writer.remove(entry, field);
        return REMOVED;
    }
    writer.set_expiry(entry, field, Some(at));
    DONE
}

/// Sets the expiries of those of the fields that are there, or clears them.
pub(super) fn set_expiries(
    writer: &Writer,
    entry: &mut EntryMut<'_>,
    fields: &[&[u8]],
    at: Option<u64>,
) -> Result<Outcomes, Error> {
    let mut outcomes = Outcomes::default();
    for field in fields {
        let result = match (at, hash_of(entry.get())?.expiry(field, writer.now())) {
            (Some(at), Some(_)) => set_or_remove(writer, entry, field, at),
            (None, Some(Some(_))) => {
                writer.set_expiry(entry, field, None);
                DONE
            }
            (None, Some(None)) | (_, None) => NO_FIELD,
        };
        outcomes.results.push(result);
        outcomes.set += usize::from(result == DONE);
        outcomes.removed += usize::from(result == REMOVED);
    }
    Ok(outcomes)
}

/// Records the expiries that were set, or cleared, and the fields that this removed.
pub(super) fn effect_expiries(
    ctx: &mut Ctx<'_>,
    fields: &[&[u8]],
    results: &[i64],
    at: Option<u64>,
) {
    if !ctx.shard.effects.is_on() {
        return;
    }
    let with = |result: i64| {
        let named = fields.iter().zip(results);
        let with: SmallVec<[&[u8]; 16]> = named
            .filter(|(_, r)| **r == result)
            .map(|(field, _)| *field)
            .collect();
        with
    };
    let (db, pos, key) = (ctx.caller.db, ctx.pos, ctx.args[1]);
    let set = with(DONE);
    if !set.is_empty()
        && let Some(mut words) = ctx.shard.words()
    {
        match at {
            Some(at) => {
                words.extend(&[b"HPEXPIREAT", key]);
                words.push_u64(at);
            }
            None => words.extend(&[b"HPERSIST", key]),
        }
        words.push(b"FIELDS");
        words.push_int(set.len() as i64);
        words.extend(&set);
        ctx.shard.effect_of(db, pos, Some(words));
    }
    let removed = with(REMOVED);
    if !removed.is_empty()
        && let Some(mut words) = ctx.shard.words()
    {
        words.extend(&[b"HDEL", key]);
        words.extend(&removed);
        ctx.shard.effect_of(db, pos, Some(words));
    }
}

/// Tells that expiries were set, and what that removed.
pub(super) fn tell_expiries(ctx: &mut Ctx<'_>, outcomes: &Outcomes) {
    if outcomes.set > 0 {
        tell(ctx, "hexpire");
    }
    if outcomes.removed > 0 {
        tell(ctx, "hdel");
        remove_if_empty(ctx);
    }
}

/// HPERSIST
pub(super) fn hpersist(ctx: &mut Ctx<'_>) -> Outcome {
    let args = ctx.args;
    let is_hash = write(ctx)?.is_some();
    let fields = fields(&args[2..], NOT_POSITIVE)?;
    let writer = Writer::new(ctx.shard);
    let mut results = SmallVec::<[i64; 16]>::new();
    if is_hash && let Some(mut entry) = write(ctx)? {
        for field in fields {
            results.push(match hash_of(entry.get())?.expiry(field, writer.now()) {
                None => NO_FIELD,
                Some(None) => NO_EXPIRY,
                Some(Some(_)) => {
                    writer.set_expiry(&mut entry, field, None);
                    DONE
                }
            });
        }
    } else {
        results.resize(fields.len(), NO_FIELD);
    }
    effect_expiries(ctx, fields, &results, None);
    if results.contains(&DONE) {
        tell(ctx, "hpersist");
    }
    ctx.reply.array(results.len());
    results.iter().for_each(|result| ctx.reply.integer(*result));
    Ok(())
}

/// HTTL
pub(super) fn httl(ctx: &mut Ctx<'_>) -> Outcome {
    let now = ctx.now_ms();
    reply_times(ctx, |at| seconds(at - now))
}

/// HPTTL
pub(super) fn hpttl(ctx: &mut Ctx<'_>) -> Outcome {
    let now = ctx.now_ms();
    reply_times(ctx, |at| (at - now) as i64)
}

/// HEXPIRETIME
pub(super) fn hexpiretime(ctx: &mut Ctx<'_>) -> Outcome {
    reply_times(ctx, seconds)
}

/// HPEXPIRETIME
pub(super) fn hpexpiretime(ctx: &mut Ctx<'_>) -> Outcome {
    reply_times(ctx, |at| at as i64)
}

/// Milliseconds as seconds, rounded up.
fn seconds(ms: u64) -> i64 {
    ms.div_ceil(MS_PER_S as u64) as i64
}

/// Replies what `time` makes of the expiry of each field, which is later than now.
fn reply_times(ctx: &mut Ctx<'_>, time: impl Fn(u64) -> i64) -> Outcome {
    let (now, args) = (ctx.now_ms(), ctx.args);
    let hash = read(ctx)?;
    let fields = fields(&args[2..], NOT_POSITIVE)?;
    let results: SmallVec<[i64; 16]> = fields
        .iter()
        .map(
            |field| match hash.and_then(|hash| hash.expiry(field, now)) {
                None => NO_FIELD,
                Some(None) => NO_EXPIRY,
                Some(Some(at)) => time(at),
            },
        )
        .collect();
    ctx.reply.array(results.len());
    results.iter().for_each(|result| ctx.reply.integer(*result));
    Ok(())
}
