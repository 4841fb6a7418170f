//! Commands that do two things at once: HGETEX, HSETEX and HGETDEL.

use super::ttl::{
    MS_PER_S, NOT_POSITIVE, Outcomes, effect_expiries, expiry, fields, set_expiries, tell_expiries,
};
use super::value::{Writer, effect_set, hash_of, reply_element, set_all, tell, write};
use super::write::remove_all;
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::resp::number::parse_i64;
use crate::types::hash::Ttl;

/// What HGETEX does with the expiries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Change {
    Nothing,
    Persist,
    At(u64),
}

/// The unit and base of an option that sets an expiry.
fn unit_of(option: &[u8], now: u64) -> Option<(i64, u64)> {
    match option.to_ascii_lowercase().as_slice() {
        b"ex" => Some((MS_PER_S, now)),
        b"px" => Some((1, now)),
        b"exat" => Some((MS_PER_S, 0)),
        b"pxat" => Some((1, 0)),
        _ => None,
    }
}

/// HGETEX
pub(super) fn hgetex(ctx: &mut Ctx<'_>) -> Outcome {
    let (now, args) = (ctx.now_ms(), ctx.args);
    write(ctx)?;
    let (change, rest) = match unit_of(args[2], now) {
        Some((unit, base)) => {
            let at = expiry(args[3], unit, base, "hgetex")?;
            (Change::At(at), &args[4..])
        }
        None if args[2].eq_ignore_ascii_case(b"persist") => (Change::Persist, &args[3..]),
        None => (Change::Nothing, &args[2..]),
    };
    let fields = fields(rest, NOT_POSITIVE)?;
    reply_values(ctx, fields)?;
    let at = match change {
        Change::Nothing => return Ok(()),
        Change::Persist => None,
        Change::At(at) => Some(at),
    };
    let writer = Writer::new(ctx.shard);
    let outcomes = match write(ctx)? {
        None => Outcomes::default(),
        Some(mut entry) => set_expiries(&writer, &mut entry, fields, at)?,
    };
    effect_expiries(ctx, fields, &outcomes.results, at);
    if change == Change::Persist && outcomes.set > 0 {
        tell(ctx, "hpersist");
    } else {
        tell_expiries(ctx, &outcomes);
    }
    Ok(())
}

/// Replies with the values of fields of the first key, which is missing or a hash.
fn reply_values(ctx: &mut Ctx<'_>, fields: &[&[u8]]) -> Outcome {
    let now = ctx.now_ms();
    let entry = ctx.shard.read(ctx.caller, ctx.pos, ctx.args[1]);
    let hash = entry.map(hash_of).transpose()?;
    ctx.reply.array(fields.len());
    for field in fields {
        match hash.and_then(|hash| hash.get(field, now)) {
            Some(value) => reply_element(&mut ctx.reply, value),
            None => ctx.reply.null(),
        }
    }
    Ok(())
}

/// HGETDEL
pub(super) fn hgetdel(ctx: &mut Ctx<'_>) -> Outcome {
    let args = ctx.args;
    write(ctx)?;
    let fields = fields(&args[2..], NOT_POSITIVE)?;
    // A field that is named twice is gone the second time.
    let now = ctx.now_ms();
    let mut removed = 0;
    let entry = ctx.shard.read(ctx.caller, ctx.pos, ctx.args[1]);
    let hash = entry.map(hash_of).transpose()?;
    ctx.reply.array(fields.len());
    for (n, field) in fields.iter().enumerate() {
        let value = hash.and_then(|hash| hash.get(field, now));
        match value.filter(|_| !fields[..n].contains(field)) {
            Some(value) => {
                reply_element(&mut ctx.reply, value);
                removed += 1;
            }
            None => ctx.reply.null(),
        }
    }
    if removed > 0 {
        remove_all(ctx, fields)?;
    }
    Ok(())
}

/// When HSETEX writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fields {
    Any,
    /// FNX: none of the fields is there.
    None,
    /// FXX: all of them are.
    All,
}

/// What HSETEX was given.
struct Order<'a, 'b> {
    /// NX and XX: whether the key may exist, or has to.
    key: Option<bool>,
    fields: Fields,
    ttl: Ttl,
    pairs: &'b [&'a [u8]],
}

impl<'a, 'b> Order<'a, 'b> {
    fn parse(mut args: &'b [&'a [u8]], now: u64) -> Result<Self, Error> {
        let mut order = Self {
            key: None,
            fields: Fields::Any,
            ttl: Ttl::Clear,
            pairs: &[],
        };
        while let [option, rest @ ..] = args {
            let name = option.to_ascii_lowercase();
            args = match (name.as_slice(), rest) {
                (b"fields", rest) => {
                    order.pairs = pairs(rest)?;
                    return Ok(order);
                }
                (b"fnx" | b"fxx", rest) => {
                    order.set_fields(if name == b"fnx" {
                        Fields::None
                    } else {
                        Fields::All
                    })?;
                    rest
                }
                (b"nx" | b"xx", rest) => {
                    if order.key.is_some() {
                        return Err(Error::SYNTAX);
                    }
                    order.key = Some(name == b"xx");
                    rest
                }
                (b"keepttl", rest) => {
                    order.set_ttl(Ttl::Keep)?;
                    rest
                }
                (name, rest) => {
                    let Some((unit, base)) = unit_of(name, now) else {
                        return Err(Error::quoting("ERR unknown argument: ", option, ""));
                    };
                    order.set_ttl(Ttl::Clear)?;
                    let [time, rest @ ..] = rest else {
                        return Err(Error::new("ERR missing expire time"));
                    };
                    order.ttl = Ttl::At(expiry(time, unit, base, "hsetex")?);
                    rest
                }
            };
        }
        Err(Error::arity("hsetex"))
    }

    fn set_fields(&mut self, fields: Fields) -> Result<(), Error> {
        if self.fields != Fields::Any {
            return Err(Error::new(
                "ERR Only one of FXX or FNX arguments can be specified",
            ));
        }
        self.fields = fields;
        Ok(())
    }

    fn set_ttl(&mut self, ttl: Ttl) -> Result<(), Error> {
        if self.ttl != Ttl::Clear {
            return Err(Error::new(
                "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified",
            ));
        }
        self.ttl = ttl;
        Ok(())
    }
}

/// Reads `numfields field value ...`.
fn pairs<'a, 'b>(args: &'b [&'a [u8]]) -> Result<&'b [&'a [u8]], Error> {
    let [count, pairs @ ..] = args else {
        return Err(Error::arity("hsetex"));
    };
    if pairs.len() < 2 {
        return Err(Error::arity("hsetex"));
    }
    let count = parse_i64(count).filter(|count| (1..=i64::from(i32::MAX)).contains(count));
    let count = count.ok_or_else(|| Error::new("ERR invalid number of fields"))?;
    if pairs.len() as i64 != 2 * count {
        return Err(Error::arity("hsetex"));
    }
    Ok(pairs)
}

/// Records that fields were written. Of one that is named twice the last value counts, as it did.
fn effect_pairs(ctx: &mut Ctx<'_>, pairs: &[&[u8]]) {
    for pair in pairs.chunks_exact(2) {
        effect_set(ctx, pair[0], pair[1]);
    }
}

/// HSETEX
pub(super) fn hsetex(ctx: &mut Ctx<'_>) -> Outcome {
    let now = ctx.now_ms();
    let order = Order::parse(&ctx.args[2..], now)?;
    let names = || order.pairs.iter().step_by(2);
    let is_met = match write(ctx)? {
        None => order.key != Some(true) && order.fields != Fields::All,
        Some(entry) => {
            let hash = hash_of(entry.get())?;
            let is_there = |field: &&[u8]| hash.get(field, now).is_some();
            order.key != Some(false)
                && match order.fields {
                    Fields::Any => true,
                    Fields::None => !names().any(is_there),
                    Fields::All => names().all(is_there),
                }
        }
    };
    if !is_met {
        ctx.reply.integer(0);
        return Ok(());
    }
    let passed = match order.ttl {
        Ttl::At(at) => at <= now,
        Ttl::Keep | Ttl::Clear => false,
    };
    if passed {
        set_all(ctx, order.pairs, Ttl::Keep)?;
        effect_pairs(ctx, order.pairs);
        tell(ctx, "hset");
        let fields: Vec<&[u8]> = names().copied().collect();
        remove_all(ctx, &fields)?;
    } else {
        set_all(ctx, order.pairs, order.ttl)?;
        effect_pairs(ctx, order.pairs);
        tell(ctx, "hset");
        if let Ttl::At(_) = order.ttl {
            tell(ctx, "hexpire");
        }
    }
    ctx.reply.integer(1);
    Ok(())
}
