//! The forms that wait for an element: BLPOP, BRPOP, BLMPOP, BLMOVE, BRPOPLPUSH.
use super::ends::{FirstOf, move_element, parse_end, pop_and_record};
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::command::wait::{until_of, wait_for};
use crate::keyspace::Kind;
use crate::shard::blocking::{Nothing, Wait};
use crate::types::list::End;

/// BLPOP
pub(super) fn blpop(ctx: &mut Ctx<'_>) -> Outcome {
    pop(ctx, End::Left)
}

/// BRPOP
pub(super) fn brpop(ctx: &mut Ctx<'_>) -> Outcome {
    pop(ctx, End::Right)
}

fn pop(ctx: &mut Ctx<'_>, end: End) -> Outcome {
    let [_, keys @ .., timeout] = ctx.args else {
        unreachable!("the arity says so")
    };
    let until_ms = until_of(timeout, ctx.now_ms())?;
    for key in keys {
        let pos = ctx.shard.pos(key);
        let found = ctx.shard.write_kind(ctx.caller, pos, key, Kind::List)?;
        if found.is_none() {
            continue;
        }
        if ctx.may_serve() {
            ctx.reply.array(2);
            ctx.reply.bulk(key);
            pop_and_record(ctx, pos, key, end, 1);
        }
        return Ok(());
    }
    wait_for(ctx, 1, keys.len(), Kind::List, until_ms)
}

/// BLMPOP
pub(super) fn blmpop(ctx: &mut Ctx<'_>) -> Outcome {
    let wanted = FirstOf::parse(ctx.args, 2)?;
    let until_ms = until_of(ctx.args[1], ctx.now_ms())?;
    if wanted.pop(ctx)? {
        return Ok(());
    }
    wait_for(ctx, 3, wanted.keys.len(), Kind::List, until_ms)
}

/// BLMOVE
pub(super) fn blmove(ctx: &mut Ctx<'_>) -> Outcome {
    let (from, to) = (parse_end(ctx.args[3])?, parse_end(ctx.args[4])?);
    move_or_wait(ctx, from, to, 5)
}

/// BRPOPLPUSH
pub(super) fn brpoplpush(ctx: &mut Ctx<'_>) -> Outcome {
    move_or_wait(ctx, End::Right, End::Left, 3)
}

fn move_or_wait(ctx: &mut Ctx<'_>, from: End, to: End, timeout_at: usize) -> Result<(), Error> {
    let until_ms = until_of(ctx.args[timeout_at], ctx.now_ms())?;
    if move_element(ctx, from, to)? {
        return Ok(());
    }
    ctx.wait(Wait {
        until_ms,
        again_ms: None,
        keys: [1].into_iter().collect(),
        kind: Kind::List,
        destination: Some(2),
        even_if_gone: false,
        rewritten: Vec::new(),
        nothing: Nothing::Null,
    })
}
