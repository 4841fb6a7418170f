//! Taking elements from the ends: ZPOPMIN, ZPOPMAX, ZMPOP.
use super::read::put_scored;
use super::view::{Editor, removed};
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::command::spec::Effect;
use crate::command::wait::{until_of, wait_for};
use crate::keyspace::{Kind, Pos};
use crate::resp::encode::Reply;
use crate::resp::number::{I64_TEXT_MAX, format_i64, parse_i64};

/// The end that elements are taken from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

impl End {
    fn event(self) -> &'static str {
        match self {
            Self::Min => "zpopmin",
            Self::Max => "zpopmax",
        }
    }
}

/// Takes up to `count` elements from a key's set and shows them; `head` is called first, with their
/// number. Whether there was a set.
fn take(
    ctx: &mut Ctx<'_>,
    pos: Pos,
    key: &[u8],
    end: End,
    count: usize,
    head: impl FnOnce(&mut Reply<'_>, usize),
    mut put: impl FnMut(&mut Reply<'_>, f64, &[u8]),
) -> Result<bool, Error> {
    let caller = ctx.caller;
    let recorded = ctx.shard.registry.row(ctx.row).spec.effect == Effect::Verbatim;
    if ctx.shard.blocking.trying.is_some()
        && ctx
            .shard
            .write_kind(caller, pos, key, Kind::ZSet)?
            .is_some()
        && !ctx.may_serve()
    {
        return Ok(true);
    }
    let Some(mut set) = Editor::find(ctx.shard, caller, pos, key)? else {
        return Ok(false);
    };
    let reply = &mut ctx.reply;
    let view = set.view();
    let len = view.len();
    let taken = count.min(len);
    head(reply, taken);
    let downwards = end == End::Max;
    let from = if downwards { len - 1 } else { 0 };
    view.visit(from, taken, downwards, |score, member| {
        put(reply, score, member)
    });
    let empty = taken == len;
    if !empty {
        let first = if downwards { len - taken } else { 0 };
        set.remove_range(first, taken);
    }
    if !recorded {
        let name: &[u8] = if downwards { b"ZPOPMAX" } else { b"ZPOPMIN" };
        let mut text = [0; I64_TEXT_MAX];
        let taken = format_i64(taken as i64, &mut text);
        ctx.shard.effect(caller.db, pos, &[name, key, taken]);
    }
    // The last ones go with the key.
    removed(ctx.shard, caller, pos, key, end.event(), empty);
    Ok(true)
}

fn pop(ctx: &mut Ctx<'_>, end: End) -> Outcome {
    let count = match &ctx.args[2..] {
        [] => None,
        [count] => {
            let count = parse_i64(count).ok_or(Error::NOT_POSITIVE)?;
            Some(usize::try_from(count).map_err(|_| Error::NOT_POSITIVE)?)
        }
        _ => return Err(Error::SYNTAX),
    };
    let (pos, key) = (ctx.pos, ctx.args[1]);
    if count == Some(0) {
        Editor::find(ctx.shard, ctx.caller, pos, key)?;
        ctx.reply.array(0);
        return Ok(());
    }
    let nested = count.is_some() && ctx.reply.is_resp3();
    let found = take(
        ctx,
        pos,
        key,
        end,
        count.unwrap_or(1),
        |reply, taken| reply.array(if nested { taken } else { 2 * taken }),
        |reply, score, member| {
            if nested {
                reply.array(2);
            }
            reply.bulk(member);
            reply.double(score);
        },
    )?;
    if !found {
        ctx.reply.array(0);
    }
    Ok(())
}

/// ZPOPMIN
pub(super) fn zpopmin(ctx: &mut Ctx<'_>) -> Outcome {
    pop(ctx, End::Min)
}

/// ZPOPMAX
pub(super) fn zpopmax(ctx: &mut Ctx<'_>) -> Outcome {
    pop(ctx, End::Max)
}

/// BZPOPMIN
pub(super) fn bzpopmin(ctx: &mut Ctx<'_>) -> Outcome {
    pop_or_wait(ctx, End::Min)
}

/// BZPOPMAX
pub(super) fn bzpopmax(ctx: &mut Ctx<'_>) -> Outcome {
    pop_or_wait(ctx, End::Max)
}

fn pop_or_wait(ctx: &mut Ctx<'_>, end: End) -> Outcome {
    let [_, keys @ .., timeout] = ctx.args else {
        unreachable!("the arity says so")
    };
    let until_ms = until_of(timeout, ctx.now_ms())?;
    for key in keys {
        let pos = ctx.shard.pos(key);
        let head = |reply: &mut Reply<'_>, _| {
            reply.array(3);
            reply.bulk(key);
        };
        let rest = |reply: &mut Reply<'_>, score: f64, member: &[u8]| {
            reply.bulk(member);
            reply.double(score);
        };
        if take(ctx, pos, key, end, 1, head, rest)? {
            return Ok(());
        }
    }
    wait_for(ctx, 1, keys.len(), Kind::ZSet, until_ms)
}

/// BZMPOP
pub(super) fn bzmpop(ctx: &mut Ctx<'_>) -> Outcome {
    let wanted = FirstOf::parse(ctx.args, 2)?;
    let until_ms = until_of(ctx.args[1], ctx.now_ms())?;
    if wanted.take(ctx)? {
        return Ok(());
    }
    wait_for(ctx, 3, wanted.keys.len(), Kind::ZSet, until_ms)
}

/// ZMPOP
pub(super) fn zmpop(ctx: &mut Ctx<'_>) -> Outcome {
    if !FirstOf::parse(ctx.args, 1)?.take(ctx)? {
        ctx.reply.null_array();
    }
    Ok(())
}

/// What ZMPOP and BZMPOP ask for.
struct FirstOf<'a> {
    keys: &'a [&'a [u8]],
    end: End,
    count: usize,
}

impl<'a> FirstOf<'a> {
    /// From the arguments; the number of keys is the one at `at`.
    fn parse(args: &'a [&'a [u8]], at: usize) -> Result<Self, Error> {
        let number = |text: &[u8], refusal: &'static str| {
            let number = parse_i64(text).filter(|n| *n > 0);
            let number = number.ok_or_else(|| Error::new(refusal))?;
            Ok::<_, Error>(usize::try_from(number).unwrap_or(usize::MAX))
        };
        let keys = number(args[at], "ERR numkeys should be greater than 0")?;
        let split = args[at + 1..].split_at_checked(keys);
        let Some((keys, [end, options @ ..])) = split else {
            return Err(Error::SYNTAX);
        };
        let end = if end.eq_ignore_ascii_case(b"min") {
            End::Min
        } else if end.eq_ignore_ascii_case(b"max") {
            End::Max
        } else {
            return Err(Error::SYNTAX);
        };
        let count = match options {
            [] => 1,
            [option, count, rest @ ..] if option.eq_ignore_ascii_case(b"count") => {
                let count = number(count, "ERR count should be greater than 0")?;
                if !rest.is_empty() {
                    return Err(Error::SYNTAX);
                }
                count
            }
            _ => return Err(Error::SYNTAX),
        };
        Ok(Self { keys, end, count })
    }

    /// Takes elements from the first set there is; nothing is replied and false returned if there is
    /// none.
    fn take(&self, ctx: &mut Ctx<'_>) -> Result<bool, Error> {
        for key in self.keys {
            let pos = ctx.shard.pos(key);
            let head = |reply: &mut Reply<'_>, taken: usize| {
                reply.array(2);
                reply.bulk(key);
                reply.array(taken);
            };
            let pair = |reply: &mut Reply<'_>, score: f64, member: &[u8]| {
                if !reply.is_resp3() {
                    reply.array(2);
                }
                put_scored(reply, score, member);
            };
            if take(ctx, pos, key, self.end, self.count, head, pair)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
