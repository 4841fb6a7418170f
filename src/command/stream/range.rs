//! XLEN, XRANGE, XREVRANGE.

use super::access::read_at;
use super::{access, ids, reply};
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::resp::number::parse_i64;

/// XLEN
pub(super) fn xlen(ctx: &mut Ctx<'_>) -> Outcome {
    let key = ctx.args[1];
    let length = access::read(ctx, key)?.map_or(0, |stream| stream.log.len());
    ctx.reply.integer(length as i64);
    Ok(())
}

/// XRANGE
pub(super) fn xrange(ctx: &mut Ctx<'_>) -> Outcome {
    range(ctx, false)
}

/// XREVRANGE
pub(super) fn xrevrange(ctx: &mut Ctx<'_>) -> Outcome {
    range(ctx, true)
}

fn range(ctx: &mut Ctx<'_>, reverse: bool) -> Outcome {
    let (first, last) = if reverse { (3, 2) } else { (2, 3) };
    let start = ids::start(ctx.args[first])?;
    let end = ids::end(ctx.args[last])?;
    let mut count = None;
    let mut rest = &ctx.args[4..];
    while let [option, after @ ..] = rest {
        let [number, after @ ..] = after else {
            return Err(Error::SYNTAX);
        };
        if !option.eq_ignore_ascii_case(b"count") {
            return Err(Error::SYNTAX);
        }
        let number = parse_i64(number).ok_or(Error::NOT_INTEGER)?;
        count = Some(u64::try_from(number).unwrap_or(0));
        rest = after;
    }
    let Ctx { shard, reply, .. } = ctx;
    match read_at(shard, ctx.caller, ctx.pos, ctx.args[1])? {
        None => reply.array(0),
        Some(_) if count == Some(0) => reply.null_array(),
        Some(stream) => {
            let entries = stream.log.range(start, end, reverse);
            reply::entries(reply, entries, count.unwrap_or(0), stream.log.len());
        }
    }
    Ok(())
}
