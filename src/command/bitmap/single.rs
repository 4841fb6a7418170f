//! One bit of a string.
use super::parse_offset;
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::resp::number::{I64_TEXT_MAX, parse_i64};
use crate::shard::access::EventClass;

/// SETBIT
pub(super) fn setbit(ctx: &mut Ctx<'_>) -> Outcome {
    let (caller, pos, key) = (ctx.caller, ctx.pos, ctx.args[1]);
    let offset = parse_offset(ctx.args[2], 0, ctx.shard.string_bytes_max())?;
    let on = match parse_i64(ctx.args[3]) {
        Some(bit @ 0..=1) => bit == 1,
        _ => return Err(Error::new("ERR bit is not an integer or out of range")),
    };
    let at = (offset / 8) as usize;
    let mask = 0x80u8 >> (offset % 8);
    let set = |bytes: &mut [u8], grew: bool| {
        let before = bytes[at] & mask != 0;
        bytes[at] = if on {
            bytes[at] | mask
        } else {
            bytes[at] & !mask
        };
        (before, grew || before != on)
    };
    let (before, changed) = ctx.shard.edit_string(caller, pos, key, at + 1, set)?;
    if changed {
        ctx.shard
            .changed(caller.db, pos, key, EventClass::String, "setbit");
    }
    ctx.reply.integer(i64::from(before));
    Ok(())
}

/// GETBIT
pub(super) fn getbit(ctx: &mut Ctx<'_>) -> Outcome {
    let offset = parse_offset(ctx.args[2], 0, ctx.shard.string_bytes_max())?;
    let found = ctx.shard.read_string(ctx.caller, ctx.pos, ctx.args[1])?;
    let mut text = [0; I64_TEXT_MAX];
    let byte = found
        .and_then(|value| value.bytes(&mut text)?.get((offset / 8) as usize).copied())
        .unwrap_or(0);
    ctx.reply.integer(i64::from(byte >> (7 - offset % 8) & 1));
    Ok(())
}
