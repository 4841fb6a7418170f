//! BITFIELD: integers of 1 to 64 bits at any offset of a string.
use super::parse_offset;
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::command::spec::KeyFlags;
use crate::resp::encode::Reply;
use crate::resp::number::{I64_TEXT_MAX, parse_i64};
use crate::shard::access::EventClass;

/// What happens with a number that its field cannot hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

/// An integer's place and form.
#[derive(Clone, Copy)]
struct Field {
    signed: bool,
    bits: u32,
    offset: u64,
}

#[derive(Clone, Copy)]
enum Action {
    Get,
    Set(i64, Overflow),
    Add(i64, Overflow),
}

#[derive(Clone, Copy)]
struct Step {
    field: Field,
    action: Action,
}

/// The steps of a command, and how long its writes need the string to be.
struct Plan {
    steps: Vec<Step>,
    len: usize,
}

/// What BITFIELD does with its key: without SET and INCRBY it only reads.
pub(super) fn key_flags(args: &[&[u8]]) -> KeyFlags {
    let writes =
        |arg: &&[u8]| arg.eq_ignore_ascii_case(b"set") || arg.eq_ignore_ascii_case(b"incrby");
    match args.get(2..).unwrap_or_default().iter().any(writes) {
        true => KeyFlags::RW | KeyFlags::ACCESS | KeyFlags::UPDATE,
        false => KeyFlags::RO | KeyFlags::ACCESS,
    }
}

/// BITFIELD
pub(super) fn bitfield(ctx: &mut Ctx<'_>) -> Outcome {
    let plan = parse(&ctx.args[2..], ctx.shard.string_bytes_max())?;
    if plan.len == 0 {
        return read_only(ctx, &plan);
    }
    let (caller, pos, key) = (ctx.caller, ctx.pos, ctx.args[1]);
    let reply = &mut ctx.reply;
    reply.array(plan.steps.len());
    let mut grown = false;
    let run = |bytes: &mut [u8], grew: bool| {
        grown = grew;
        let mut changes = 0;
        for step in &plan.steps {
            let written = run_step(bytes, *step, reply);
            changes += u64::from(written.is_some_and(|differs| grew || differs));
        }
        changes
    };
    let changes = ctx.shard.edit_string(caller, pos, key, plan.len, run)?;
    // A string may have grown though every write was refused; as on Redis, this is no event.
    if changes > 0 || grown {
        ctx.effect_verbatim();
    }
    if changes > 0 {
        ctx.shard
            .changed(caller.db, pos, key, EventClass::String, "setbit");
        ctx.shard.dirty += changes - 1;
    }
    Ok(())
}

/// BITFIELD_RO
pub(super) fn bitfield_ro(ctx: &mut Ctx<'_>) -> Outcome {
    let plan = parse(&ctx.args[2..], ctx.shard.string_bytes_max())?;
    if plan.len > 0 {
        return Err(Error::new(
            "ERR BITFIELD_RO only supports the GET subcommand",
        ));
    }
    read_only(ctx, &plan)
}

fn read_only(ctx: &mut Ctx<'_>, plan: &Plan) -> Outcome {
    let found = ctx.shard.read_string(ctx.caller, ctx.pos, ctx.args[1])?;
    let mut text = [0; I64_TEXT_MAX];
    let bytes = found.and_then(|value| value.bytes(&mut text));
    let bytes = bytes.unwrap_or_default();
    ctx.reply.array(plan.steps.len());
    for step in &plan.steps {
        ctx.reply.integer(step.field.read(bytes));
    }
    Ok(())
}

fn parse(args: &[&[u8]], len_max: u64) -> Result<Plan, Error> {
    let mut plan = Plan {
        steps: Vec::new(),
        len: 0,
    };
    let mut overflow = Overflow::Wrap;
    let mut rest = args;
    while let [name, after @ ..] = rest {
        let is = |text: &str| name.eq_ignore_ascii_case(text.as_bytes());
        rest = match after {
            [policy, rest @ ..] if is("overflow") => {
                overflow = parse_overflow(policy)?;
                rest
            }
            [form, offset, rest @ ..] if is("get") => {
                let field = parse_field(form, offset, len_max)?;
                let action = Action::Get;
                plan.steps.push(Step { field, action });
                rest
            }
            [form, offset, number, rest @ ..] if is("set") || is("incrby") => {
                let field = parse_field(form, offset, len_max)?;
                let number = parse_i64(number).ok_or(Error::NOT_INTEGER)?;
                let action = if is("set") {
                    Action::Set(number, overflow)
                } else {
                    Action::Add(number, overflow)
                };
                let last = field.offset + u64::from(field.bits) - 1;
                plan.len = plan.len.max((last / 8) as usize + 1);
                plan.steps.push(Step { field, action });
                rest
            }
            _ => return Err(Error::SYNTAX),
        };
    }
    Ok(plan)
}

fn parse_overflow(name: &[u8]) -> Result<Overflow, Error> {
    let is = |text: &str| name.eq_ignore_ascii_case(text.as_bytes());
    match name.len() {
        4 if is("wrap") => Ok(Overflow::Wrap),
        3 if is("sat") => Ok(Overflow::Saturate),
        4 if is("fail") => Ok(Overflow::Fail),
        _ => Err(Error::new("ERR Invalid OVERFLOW type specified")),
    }
}

fn parse_field(form: &[u8], offset: &[u8], len_max: u64) -> Result<Field, Error> {
    let (signed, digits, bits_max) = match form {
        [b'i', digits @ ..] => (true, digits, 64),
        [b'u', digits @ ..] => (false, digits, 63),
        _ => (false, &[][..], 0),
    };
    let bits = parse_i64(digits)
        .filter(|bits| (1..=bits_max).contains(bits))
        .ok_or_else(|| {
            Error::new(
                "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not \
                 supported but i64 is.",
            )
        })? as u32;
    Ok(Field {
        signed,
        bits,
        offset: parse_offset(offset, bits, len_max)?,
    })
}

/// Runs a step and replies to it. Whether what stands in the field afterwards differs from before;
/// None if nothing was written.
fn run_step(bytes: &mut [u8], step: Step, reply: &mut Reply<'_>) -> Option<bool> {
    let field = step.field;
    let before = field.read(bytes);
    let (wanted, overflow, is_set) = match step.action {
        Action::Get => {
            reply.integer(before);
            return None;
        }
        Action::Add(by, overflow) => (i128::from(before) + i128::from(by), overflow, false),
        Action::Set(number, Overflow::Saturate) if field.is_far_below(number) => {
            (field.bounds().1, Overflow::Saturate, true)
        }
        Action::Set(number, overflow) if field.signed => (i128::from(number), overflow, true),
        // A negative number is a very large one to an unsigned field.
        Action::Set(number, overflow) => (i128::from(number as u64), overflow, true),
    };
    let Some(after) = field.fit(wanted, overflow) else {
        reply.null();
        return None;
    };
    field.write(bytes, after);
    reply.integer(if is_set { before } else { after });
    Some(after != before)
}

impl Field {
    /// The smallest and the largest number that fits.
    fn bounds(self) -> (i128, i128) {
        if self.signed {
            let half = 1i128 << (self.bits - 1);
            (-half, half - 1)
        } else {
            (0, (1i128 << self.bits) - 1)
        }
    }

    /// Whether Redis's test, whose 64-bit difference to the largest number then wraps, takes a
    /// number for too large; SET saturates it at the upper end.
    fn is_far_below(self, number: i64) -> bool {
        self.signed && self.bits < 64 && self.bounds().1 - i128::from(number) > i128::from(i64::MAX)
    }

    /// The number as it can be stored; None: it does not fit, and that is to fail.
    fn fit(self, number: i128, overflow: Overflow) -> Option<i64> {
        let (min, max) = self.bounds();
        if (min..=max).contains(&number) {
            return Some(number as i64);
        }
        match overflow {
            Overflow::Fail => None,
            Overflow::Saturate => Some(number.clamp(min, max) as i64),
            Overflow::Wrap => Some(self.extend(number as u64)),
        }
    }

    /// The lowest bits as the number that they stand for.
    fn extend(self, bits: u64) -> i64 {
        let unused = 64 - self.bits;
        if self.signed {
            (bits << unused) as i64 >> unused
        } else {
            (bits << unused >> unused) as i64
        }
    }

    /// The bytes that the field lies in (up to 9), and how many bits follow it in the last one.
    fn place(self) -> (usize, usize, u32) {
        let end = self.offset + u64::from(self.bits);
        let (first, last) = (self.offset / 8, (end - 1) / 8);
        let after = (last + 1) * 8 - end;
        (first as usize, last as usize, after as u32)
    }

    /// The number in the field; behind the end of the string all bits are 0.
    fn read(self, bytes: &[u8]) -> i64 {
        let (first, last, after) = self.place();
        let wide = (first..=last).fold(0u128, |wide, at| {
            wide << 8 | u128::from(bytes.get(at).copied().unwrap_or(0))
        });
        self.extend((wide >> after) as u64)
    }

    /// Writes the number; the string is long enough.
    fn write(self, bytes: &mut [u8], number: i64) {
        let (first, last, after) = self.place();
        let mask = (u128::MAX >> (128 - self.bits)) << after;
        let value = (u128::from(number as u64) << after) & mask;
        for (at, byte) in bytes[first..=last].iter_mut().rev().enumerate() {
            let (mask, value) = ((mask >> (8 * at)) as u8, (value >> (8 * at)) as u8);
            *byte = *byte & !mask | value;
        }
    }
}
