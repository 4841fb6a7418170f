//! Values as bytes: DUMP and RESTORE.

use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::keyspace::Expiry;
use crate::rdb::{Limits, Payload, payload};
use crate::resp::number::parse_i64;
use crate::shard::Shard;
use crate::shard::access::EventClass;

const BUSY_KEY: Error = Error::fixed("BUSYKEY Target key name already exists.");
const BAD_TTL: Error = Error::fixed("ERR Invalid TTL value, must be >= 0");
const BAD_IDLE_TIME: Error = Error::fixed("ERR Invalid IDLETIME value, must be >= 0");
const BAD_FREQUENCY: Error = Error::fixed("ERR Invalid FREQ value, must be >= 0 and <= 255");
const BAD_FOOTER: Error = Error::fixed("ERR DUMP payload version or checksum are wrong");
const BAD_VALUE: Error = Error::fixed("ERR Bad data format");

pub(super) fn dump(ctx: &mut Ctx<'_>) -> Outcome {
    let mut encoder = std::mem::take(&mut ctx.shard.encoder);
    encoder.set_compression(ctx.shard.config.rdbcompression);
    let mut bytes = Vec::new();
    let found = ctx.shard.read(ctx.caller, ctx.pos, ctx.args[1]);
    let is_there = found.is_some();
    if let Some(entry) = found {
        payload::dump(&mut encoder, &entry.value(), &mut bytes);
    }
    ctx.shard.encoder = encoder;
    match is_there {
        true => ctx.reply.bulk(&bytes),
        false => ctx.reply.null(),
    }
    Ok(())
}

/// What stands behind RESTORE's payload.
#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle_seconds: Option<u64>,
    frequency: Option<u8>,
}

impl Options {
    fn parse(mut args: &[&[u8]]) -> Result<Self, Error> {
        let mut options = Self::default();
        while let [option, rest @ ..] = args {
            let is = |word: &[u8]| option.eq_ignore_ascii_case(word);
            args = match rest {
                rest if is(b"replace") => {
                    options.replace = true;
                    rest
                }
                rest if is(b"absttl") => {
                    options.absolute = true;
                    rest
                }
                [seconds, rest @ ..] if is(b"idletime") && options.frequency.is_none() => {
                    let seconds = parse_i64(seconds).ok_or(Error::NOT_INTEGER)?;
                    let seconds = u64::try_from(seconds).map_err(|_| BAD_IDLE_TIME)?;
                    options.idle_seconds = Some(seconds);
                    rest
                }
                [frequency, rest @ ..] if is(b"freq") && options.idle_seconds.is_none() => {
                    let frequency = parse_i64(frequency).ok_or(Error::NOT_INTEGER)?;
                    let frequency = u8::try_from(frequency).map_err(|_| BAD_FREQUENCY)?;
                    options.frequency = Some(frequency);
                    rest
                }
                _ => return Err(Error::SYNTAX),
            };
        }
        Ok(options)
    }
}

/// How values that come from outside are to be built at a shard.
fn limits(shard: &Shard, db: u16) -> Limits {
    let hasher = *shard.keyspace.db(usize::from(db)).hasher();
    Limits::of(&shard.config, hasher)
}

pub(super) fn restore(ctx: &mut Ctx<'_>) -> Outcome {
    let options = Options::parse(&ctx.args[4..])?;
    let (caller, pos, key) = (ctx.caller, ctx.pos, ctx.args[1]);
    let is_taken = if options.replace {
        ctx.shard.locate(caller.db, pos, key).is_some()
    } else if ctx.shard.write(caller, pos, key).is_some() {
        // The key counts as accessed, as on Redis.
        return Err(BUSY_KEY);
    } else {
        false
    };
    let ttl = parse_i64(ctx.args[2]).ok_or(Error::NOT_INTEGER)?;
    let ttl = u64::try_from(ttl).map_err(|_| BAD_TTL)?;
    let payload = Payload::open(ctx.args[3], ctx.shard.verifies_dumps).map_err(|_| BAD_FOOTER)?;
    let limits = limits(ctx.shard, caller.db);
    let value = payload.value(&limits).map_err(|_| BAD_VALUE)?;

    ctx.shard.remove(caller, pos, key);
    let expiry = match (ttl, options.absolute) {
        (0, _) => Expiry::Clear,
        (at, true) => Expiry::At(at),
        // Not beyond what the log can say of it.
        (ms, false) => Expiry::At(ctx.now_ms().saturating_add(ms).min(i64::MAX as u64)),
    };
    if matches!(expiry, Expiry::At(at) if at <= ctx.now_ms()) {
        if is_taken {
            ctx.shard
                .changed(caller.db, pos, key, EventClass::Generic, "del");
        }
        ctx.reply.ok();
        return Ok(());
    }
    let shard = &mut *ctx.shard;
    value.store(|value| shard.store_at(caller, pos, key, None, value, expiry));
    if let Some(clock) = shard.clock_of(options.idle_seconds, options.frequency)
        && let Some(place) = shard.locate(caller.db, pos, key)
    {
        shard.at(caller.db, place).touch(clock);
    }
    shard.changed(caller.db, pos, key, EventClass::Generic, "restore");
    ctx.reply.ok();
    Ok(())
}
