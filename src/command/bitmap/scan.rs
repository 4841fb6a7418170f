//! BITCOUNT and BITPOS.
use std::ops::Range;

use super::bits;
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::resp::number::{I64_TEXT_MAX, parse_i64};

/// A part of a string as it was asked for.
struct Part {
    start: i64,
    /// None: to the end.
    end: Option<i64>,
    in_bits: bool,
}

impl Part {
    /// Reads `[start [end [BYTE | BIT]]]`. BITPOS looks at the unit before the end, as on Redis.
    fn parse(args: &[&[u8]], unit_first: bool) -> Result<Option<Self>, Error> {
        let number = |text: &[u8]| parse_i64(text).ok_or(Error::NOT_INTEGER);
        let (start, end, unit) = match *args {
            [] => return Ok(None),
            [start] => (start, None, None),
            [start, end] => (start, Some(end), None),
            [start, end, unit] => (start, Some(end), Some(unit)),
            _ => return Err(Error::SYNTAX),
        };
        let start = number(start)?;
        if !unit_first {
            end.map(number).transpose()?;
        }
        let in_bits = match unit {
            None => false,
            Some(unit) if unit.eq_ignore_ascii_case(b"bit") => true,
            Some(unit) if unit.eq_ignore_ascii_case(b"byte") => false,
            Some(_) => return Err(Error::SYNTAX),
        };
        Ok(Some(Self {
            start,
            end: end.map(number).transpose()?,
            in_bits,
        }))
    }

    /// The bits of a string of `len` bytes; an empty range if there are none.
    fn range(&self, len: usize) -> Range<u64> {
        let total = if self.in_bits { len * 8 } else { len } as i64;
        let place = |at: i64| {
            if at < 0 {
                at.saturating_add(total).max(0)
            } else {
                at
            }
        };
        let start = place(self.start);
        let end = self.end.map_or(total - 1, |end| place(end).min(total - 1));
        if start > end {
            return 0..0;
        }
        let unit = if self.in_bits { 1 } else { 8 };
        start as u64 * unit..(end as u64 + 1) * unit
    }
}

/// BITCOUNT
pub(super) fn bitcount(ctx: &mut Ctx<'_>) -> Outcome {
    let Some(value) = ctx.shard.read_string(ctx.caller, ctx.pos, ctx.args[1])? else {
        ctx.reply.integer(0); // before the arguments are looked at, as on Redis 7
        return Ok(());
    };
    let part = Part::parse(&ctx.args[2..], false)?;
    let mut text = [0; I64_TEXT_MAX];
    let bytes = value.bytes(&mut text).unwrap_or_default();
    let range = match part {
        None => 0..bytes.len() as u64 * 8,
        // Redis calls a range that is reversed at the end empty, before it moves it into the string.
        Some(Part {
            start,
            end: Some(end),
            ..
        }) if start < 0 && end < 0 && start > end => 0..0,
        Some(part) => part.range(bytes.len()),
    };
    let count = bits::count_range(bytes, range);
    ctx.reply.integer(count as i64);
    Ok(())
}

/// BITPOS
pub(super) fn bitpos(ctx: &mut Ctx<'_>) -> Outcome {
    let bit = match parse_i64(ctx.args[2]).ok_or(Error::NOT_INTEGER)? {
        0 => false,
        1 => true,
        _ => return Err(Error::new("ERR The bit argument must be 1 or 0.")),
    };
    let Some(value) = ctx.shard.read_string(ctx.caller, ctx.pos, ctx.args[1])? else {
        ctx.reply.integer(if bit { -1 } else { 0 });
        return Ok(());
    };
    let part = Part::parse(&ctx.args[3..], true)?;
    let mut text = [0; I64_TEXT_MAX];
    let bytes = value.bytes(&mut text).unwrap_or_default();
    let whole = 0..bytes.len() as u64 * 8;
    let range = part.as_ref().map_or(whole, |part| part.range(bytes.len()));
    // Without an end, the string counts as followed by clear bits.
    let open = part.is_none_or(|part| part.end.is_none());
    let found = match bits::find(bytes, range.clone(), bit) {
        None if open && !bit && !range.is_empty() => Some(range.end),
        found => found,
    };
    ctx.reply.integer(found.map_or(-1, |at| at as i64));
    Ok(())
}
