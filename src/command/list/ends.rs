//! What happens at the ends of lists: pushing, popping, moving from one list to another.
use super::edit;
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::keyspace::{Expiry, Kind, Pos};
use crate::resp::encode::Reply;
use crate::resp::number::{I64_TEXT_MAX, format_i64, parse_i64};
use crate::shard::access::EventClass;
use crate::types::list::{End, List};
use crate::types::packed::Element;

/// LEFT or RIGHT.
pub(super) fn parse_end(text: &[u8]) -> Result<End, Error> {
    if text.eq_ignore_ascii_case(b"left") {
        Ok(End::Left)
    } else if text.eq_ignore_ascii_case(b"right") {
        Ok(End::Right)
    } else {
        Err(Error::SYNTAX)
    }
}

fn push_event(end: End) -> &'static str {
    match end {
        End::Left => "lpush",
        End::Right => "rpush",
    }
}

fn pop_event(end: End) -> &'static str {
    match end {
        End::Left => "lpop",
        End::Right => "rpop",
    }
}

/// An element as a bulk string.
#[inline]
pub(super) fn reply_element(reply: &mut Reply<'_>, element: Element<'_>) {
    match element {
        Element::Int(int) => reply.bulk_integer(int),
        Element::Bytes(bytes) => reply.bulk(bytes),
    }
}

/// Pushes onto the list under a key, and makes it if it may be new; its length, None if it is
/// missing and must not be made.
fn push_to(
    ctx: &mut Ctx<'_>,
    pos: Pos,
    key: &[u8],
    end: End,
    elements: &[&[u8]],
    may_be_new: bool,
) -> Result<Option<usize>, Error> {
    let limit = edit::limit(ctx);
    let (shard, caller) = (&mut *ctx.shard, ctx.caller);
    let len = match shard.write_kind(caller, pos, key, Kind::List)? {
        Some(mut entry) => {
            edit::push(&mut entry, end, elements, limit);
            List::of(entry.value()).len()
        }
        None if !may_be_new => return Ok(None),
        None => {
            edit::start(end, elements, limit, |value| {
                shard.store_at(caller, pos, key, None, value, Expiry::Clear);
            });
            elements.len()
        }
    };
    shard.changed(caller.db, pos, key, EventClass::List, push_event(end));
    Ok(Some(len))
}

fn push(ctx: &mut Ctx<'_>, end: End, may_be_new: bool) -> Outcome {
    let (args, pos) = (ctx.args, ctx.pos);
    let len = push_to(ctx, pos, args[1], end, &args[2..], may_be_new)?;
    ctx.reply.integer(len.unwrap_or(0) as i64);
    Ok(())
}

/// LPUSH
pub(super) fn lpush(ctx: &mut Ctx<'_>) -> Outcome {
    push(ctx, End::Left, true)
}

/// RPUSH
pub(super) fn rpush(ctx: &mut Ctx<'_>) -> Outcome {
    push(ctx, End::Right, true)
}

/// LPUSHX
pub(super) fn lpushx(ctx: &mut Ctx<'_>) -> Outcome {
    push(ctx, End::Left, false)
}

/// RPUSHX
pub(super) fn rpushx(ctx: &mut Ctx<'_>) -> Outcome {
    push(ctx, End::Right, false)
}

/// LPOP
pub(super) fn lpop(ctx: &mut Ctx<'_>) -> Outcome {
    pop(ctx, End::Left, "lpop")
}

/// RPOP
pub(super) fn rpop(ctx: &mut Ctx<'_>) -> Outcome {
    pop(ctx, End::Right, "rpop")
}

fn pop(ctx: &mut Ctx<'_>, end: End, name: &str) -> Outcome {
    let (args, pos) = (ctx.args, ctx.pos);
    let count = match args {
        [_, _] => None,
        [_, _, count] => Some(
            parse_i64(count)
                .and_then(|count| usize::try_from(count).ok())
                .ok_or(Error::NOT_POSITIVE)?,
        ),
        _ => return Err(Error::arity(name)),
    };
    let Some(entry) = ctx.shard.write_kind(ctx.caller, pos, args[1], Kind::List)? else {
        match count {
            None => ctx.reply.null(),
            Some(_) => ctx.reply.null_array(),
        }
        return Ok(());
    };
    if let Some(count) = count {
        let len = List::of(entry.value()).len();
        ctx.reply.array(count.min(len));
    }
    pop_from(ctx, pos, args[1], end, count.unwrap_or(1));
    Ok(())
}

/// Records that elements of a list were popped.
fn effect_pop(ctx: &mut Ctx<'_>, pos: Pos, key: &[u8], end: End, count: usize) {
    let name: &[u8] = match end {
        End::Left => b"LPOP",
        End::Right => b"RPOP",
    };
    let db = ctx.caller.db;
    if count == 1 {
        return ctx.shard.effect(db, pos, &[name, key]);
    }
    let mut text = [0; I64_TEXT_MAX];
    let count = format_i64(i64::try_from(count).unwrap_or(i64::MAX), &mut text);
    ctx.shard.effect(db, pos, &[name, key, count]);
}

/// As [`pop_from`], for commands whose row does not say what they leave behind.
pub(super) fn pop_and_record(ctx: &mut Ctx<'_>, pos: Pos, key: &[u8], end: End, count: usize) {
    pop_from(ctx, pos, key, end, count);
    effect_pop(ctx, pos, key, end, count);
}

/// Pops elements of a list that is there into the reply.
fn pop_from(ctx: &mut Ctx<'_>, pos: Pos, key: &[u8], end: End, count: usize) {
    let db = ctx.caller.db;
    let Some(place) = ctx.shard.locate(db, pos, key) else {
        unreachable!("the list was looked up")
    };
    if count == 0 {
        return;
    }
    let reply = &mut ctx.reply;
    let mut entry = ctx.shard.at(db, place);
    edit::pop(&mut entry, end, count, |element| {
        reply_element(reply, element)
    });
    ctx.shard
        .changed(db, pos, key, EventClass::List, pop_event(end));
    edit::settle(ctx, pos, key);
}

/// LMPOP
pub(super) fn lmpop(ctx: &mut Ctx<'_>) -> Outcome {
    if !FirstOf::parse(ctx.args, 1)?.pop(ctx)? {
        ctx.reply.null_array();
    }
    Ok(())
}

/// What LMPOP and BLMPOP ask for.
pub(super) struct FirstOf<'a> {
    pub(super) keys: &'a [&'a [u8]],
    end: End,
    count: usize,
}

impl<'a> FirstOf<'a> {
    /// From the arguments; the number of keys is the one at `at`.
    pub(super) fn parse(args: &'a [&'a [u8]], at: usize) -> Result<Self, Error> {
        let count = parse_i64(args[at])
            .filter(|count| *count > 0)
            .ok_or_else(|| Error::new("ERR numkeys should be greater than 0"))?;
        let split = usize::try_from(count).ok();
        let (keys, rest) = split
            .and_then(|count| args[at + 1..].split_at_checked(count))
            .ok_or(Error::SYNTAX)?;
        let [end, options @ ..] = rest else {
            return Err(Error::SYNTAX);
        };
        let end = parse_end(end)?;
        let count = match options {
            [] => 1,
            [option, count, rest @ ..] if option.eq_ignore_ascii_case(b"count") => {
                let count = parse_i64(count)
                    .and_then(|count| usize::try_from(count).ok())
                    .filter(|count| *count > 0)
                    .ok_or_else(|| Error::new("ERR count should be greater than 0"))?;
                if !rest.is_empty() {
                    return Err(Error::SYNTAX);
                }
                count
            }
            _ => return Err(Error::SYNTAX),
        };
        Ok(Self { keys, end, count })
    }

    /// Pops from the first list there is; nothing is replied and false returned if there is none.
    pub(super) fn pop(&self, ctx: &mut Ctx<'_>) -> Result<bool, Error> {
        for key in self.keys {
            let pos = ctx.shard.pos(key);
            let Some(entry) = ctx.shard.write_kind(ctx.caller, pos, key, Kind::List)? else {
                continue;
            };
            let len = List::of(entry.value()).len();
            if ctx.may_serve() {
                ctx.reply.array(2);
                ctx.reply.bulk(key);
                ctx.reply.array(self.count.min(len));
                pop_and_record(ctx, pos, key, self.end, self.count);
            }
            return Ok(true);
        }
        Ok(false)
    }
}

/// LMOVE
pub(super) fn lmove(ctx: &mut Ctx<'_>) -> Outcome {
    let (from, to) = (parse_end(ctx.args[3])?, parse_end(ctx.args[4])?);
    move_or_null(ctx, from, to)
}

/// RPOPLPUSH
pub(super) fn rpoplpush(ctx: &mut Ctx<'_>) -> Outcome {
    move_or_null(ctx, End::Right, End::Left)
}

fn move_or_null(ctx: &mut Ctx<'_>, from_end: End, to_end: End) -> Outcome {
    if !move_element(ctx, from_end, to_end)? {
        ctx.reply.null();
    }
    Ok(())
}

/// Records that an element has moved: by itself, where both lists are of one slot.
fn effect_move(
    ctx: &mut Ctx<'_>,
    (from_pos, from_end): (Pos, End),
    (to_pos, to_end): (Pos, End),
    element: &[u8],
) {
    let (from, to, db) = (ctx.args[1], ctx.args[2], ctx.caller.db);
    let name = |end| match end {
        End::Left => &b"LEFT"[..],
        End::Right => b"RIGHT",
    };
    if from_pos.slot() == to_pos.slot() {
        let words = [b"LMOVE", from, to, name(from_end), name(to_end)];
        return ctx.shard.effect(db, from_pos, &words);
    }
    effect_pop(ctx, from_pos, from, from_end, 1);
    let push: &[u8] = match to_end {
        End::Left => b"LPUSH",
        End::Right => b"RPUSH",
    };
    ctx.shard.effect(db, to_pos, &[push, to, element]);
}

/// Moves an element; false, without a reply, if there is none.
pub(super) fn move_element(ctx: &mut Ctx<'_>, from_end: End, to_end: End) -> Result<bool, Error> {
    let (from, to, caller) = (ctx.args[1], ctx.args[2], ctx.caller);
    let (from_pos, to_pos) = (ctx.shard.pos(from), ctx.shard.pos(to));
    let Some(source) = ctx.shard.write_kind(caller, from_pos, from, Kind::List)? else {
        return Ok(false);
    };
    let list = List::of(source.value());
    let index = match from_end {
        End::Left => 0,
        End::Right => list.len() - 1,
    };
    let element = list.get(index).expect("a list has elements").to_vec();
    if from != to {
        ctx.shard.write_kind(caller, to_pos, to, Kind::List)?;
    }
    if !ctx.may_serve() {
        return Ok(true);
    }
    // As on Redis, the element is gone from the one list before it comes to the other, while the
    // event of its coming is told first; a list that is left empty goes last.
    let place = ctx.shard.locate(caller.db, from_pos, from);
    let place = place.expect("the list was looked up");
    edit::pop(&mut ctx.shard.at(caller.db, place), from_end, 1, |_| ());
    push_to(ctx, to_pos, to, to_end, &[&element], true)?;
    ctx.reply.bulk(&element);
    if ctx.shard.effects.is_on() {
        effect_move(ctx, (from_pos, from_end), (to_pos, to_end), &element);
    }
    let event = pop_event(from_end);
    ctx.shard
        .changed(caller.db, from_pos, from, EventClass::List, event);
    edit::settle(ctx, from_pos, from);
    Ok(true)
}
