//! Lists by index and by value: reading, replacing, inserting, removing, searching.
use super::edit;
use super::ends::reply_element;
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::keyspace::Kind;
use crate::resp::number::parse_i64;
use crate::shard::access::EventClass;
use crate::types::list::{End, List};
use crate::types::packed::{self, Block, Element, Packed};
use std::ops::Range;

/// The list under the first argument, for reading; borrows the shard alone.
macro_rules! read {
    ($ctx:ident) => {
        match $ctx.shard.read($ctx.caller, $ctx.pos, $ctx.args[1]) {
            Some(entry) if entry.kind() != Kind::List => return Err(Error::WRONG_TYPE),
            found => found.map(|entry| List::of(entry.value())),
        }
    };
}

fn parse_index(text: &[u8]) -> Result<i64, Error> {
    parse_i64(text).ok_or(Error::NOT_INTEGER)
}

/// The index that a number means: negative ones count from the end.
fn index_in(len: usize, index: i64) -> Option<usize> {
    let index = if index < 0 {
        index.checked_add(len as i64)?
    } else {
        index
    };
    usize::try_from(index).ok().filter(|index| *index < len)
}

/// The indices between two numbers, both included.
fn range_in(len: usize, start: i64, stop: i64) -> Range<usize> {
    let len = len as i64;
    let absolute = |index: i64| {
        if index < 0 {
            index.saturating_add(len)
        } else {
            index
        }
    };
    let (start, stop) = (absolute(start).max(0), absolute(stop).min(len - 1));
    if start > stop {
        return 0..0;
    }
    start as usize..stop as usize + 1
}

/// LLEN
pub(super) fn llen(ctx: &mut Ctx<'_>) -> Outcome {
    let len = read!(ctx).map_or(0, |list| list.len());
    ctx.reply.integer(len as i64);
    Ok(())
}

/// LINDEX
pub(super) fn lindex(ctx: &mut Ctx<'_>) -> Outcome {
    let Some(list) = read!(ctx) else {
        ctx.reply.null();
        return Ok(());
    };
    let index = index_in(list.len(), parse_index(ctx.args[2])?);
    match index.and_then(|index| list.get(index)) {
        Some(element) => reply_element(&mut ctx.reply, element),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// LRANGE
pub(super) fn lrange(ctx: &mut Ctx<'_>) -> Outcome {
    let (start, stop) = (parse_index(ctx.args[2])?, parse_index(ctx.args[3])?);
    let list = read!(ctx);
    let range = list.map_or(0..0, |list| range_in(list.len(), start, stop));
    let mut left = range.len();
    ctx.reply.array(left);
    if let Some(list) = list
        && left > 0
    {
        let reply = &mut ctx.reply;
        list.forward(range.start, |element| {
            reply_element(reply, element);
            left -= 1;
            left > 0
        });
    }
    Ok(())
}

/// LSET
pub(super) fn lset(ctx: &mut Ctx<'_>) -> Outcome {
    let (args, pos, db) = (ctx.args, ctx.pos, ctx.caller.db);
    let limit = edit::limit(ctx);
    let Some(mut entry) = edit::write(ctx, pos, args[1])? else {
        return Err(Error::NO_SUCH_KEY);
    };
    let len = List::of(entry.value()).len();
    let index = index_in(len, parse_index(args[2])?).ok_or(Error::INDEX_OUT_OF_RANGE)?;
    edit::make_room(&mut entry, &[args[3]], limit);
    let element = Element::of(args[3]);
    edit::edit(
        &mut entry,
        |entry| {
            let mut block = entry.edit_packed();
            let at = Packed::new(block.block()).nth(index);
            packed::replace(
                &mut block,
                at.expect("the index is below the length"),
                1,
                &[element],
            );
        },
        |list| list.set(index, element),
    );
    edit::settle(ctx, pos, args[1]);
    ctx.shard
        .changed(db, pos, args[1], EventClass::List, "lset");
    ctx.reply.ok();
    Ok(())
}

/// LINSERT
pub(super) fn linsert(ctx: &mut Ctx<'_>) -> Outcome {
    let [_, key, place, pivot, text] = *ctx.args else {
        unreachable!("its arity is five")
    };
    let after = if place.eq_ignore_ascii_case(b"after") {
        true
    } else if place.eq_ignore_ascii_case(b"before") {
        false
    } else {
        return Err(Error::SYNTAX);
    };
    let (pos, db) = (ctx.pos, ctx.caller.db);
    let limit = edit::limit(ctx);
    let Some(mut entry) = edit::write(ctx, pos, key)? else {
        ctx.reply.integer(0);
        return Ok(());
    };
    let list = List::of(entry.value());
    let (pivot, mut index, mut found) = (Element::of(pivot), 0, false);
    list.forward(0, |element| {
        found = element == pivot;
        index += usize::from(!found);
        !found
    });
    if !found {
        ctx.reply.integer(-1);
        return Ok(());
    }
    let (index, len) = (index + usize::from(after), list.len() + 1);
    edit::make_room(&mut entry, &[text], limit);
    let element = Element::of(text);
    edit::edit(
        &mut entry,
        |entry| {
            let mut block = entry.edit_packed();
            let list = Packed::new(block.block());
            let at = list.nth(index).unwrap_or(list.end());
            packed::insert(&mut block, at, &[element]);
        },
        |list| list.insert(index, element),
    );
    ctx.shard.changed(db, pos, key, EventClass::List, "linsert");
    ctx.reply.integer(len as i64);
    Ok(())
}

/// LREM
pub(super) fn lrem(ctx: &mut Ctx<'_>) -> Outcome {
    let (args, pos, db) = (ctx.args, ctx.pos, ctx.caller.db);
    let count = parse_index(args[2])?;
    let Some(mut entry) = edit::write(ctx, pos, args[1])? else {
        ctx.reply.integer(0);
        return Ok(());
    };
    let end = if count < 0 { End::Right } else { End::Left };
    let most = match usize::try_from(count.unsigned_abs()) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(count) => count,
    };
    let wanted = Element::of(args[3]);
    let removed = edit::edit(
        &mut entry,
        |entry| remove_packed(&mut entry.edit_packed(), wanted, most, end),
        |list| list.remove_equal(wanted, most, end),
    );
    if removed > 0 {
        ctx.shard
            .changed(db, pos, args[1], EventClass::List, "lrem");
        edit::settle(ctx, pos, args[1]);
    }
    ctx.reply.integer(removed as i64);
    Ok(())
}

fn remove_packed(block: &mut impl Block, wanted: Element<'_>, most: usize, end: End) -> usize {
    let mut removed = 0;
    let (mut from, mut to) = (packed::HEAD_BYTES, block.block().len());
    while removed < most {
        let list = Packed::new(block.block());
        let at = match end {
            End::Left => list.find(wanted, from, 1),
            End::Right => {
                let mut elements = list.iter_between(list.start(), to).rev();
                elements.find(|(_, e)| *e == wanted).map(|(at, _)| at)
            }
        };
        let Some(at) = at else { break };
        packed::remove(block, at, 1);
        (from, to) = (at, at);
        removed += 1;
    }
    removed
}

/// LTRIM
pub(super) fn ltrim(ctx: &mut Ctx<'_>) -> Outcome {
    let (args, pos, db) = (ctx.args, ctx.pos, ctx.caller.db);
    let (start, stop) = (parse_index(args[2])?, parse_index(args[3])?);
    let Some(mut entry) = edit::write(ctx, pos, args[1])? else {
        ctx.reply.ok();
        return Ok(());
    };
    let len = List::of(entry.value()).len();
    let kept = range_in(len, start, stop);
    if kept.is_empty() {
        // The value goes as a whole, in slices if it is large.
        ctx.shard
            .changed(db, pos, args[1], EventClass::List, "ltrim");
        ctx.shard.remove(ctx.caller, pos, args[1]);
        ctx.shard
            .changed(db, pos, args[1], EventClass::Generic, "del");
        ctx.reply.ok();
        return Ok(());
    }
    edit::edit(
        &mut entry,
        |entry| {
            let mut block = entry.edit_packed();
            let end = Packed::new(block.block()).nth(kept.end);
            if let Some(end) = end {
                packed::remove(&mut block, end, len - kept.end);
            }
            packed::remove(&mut block, packed::HEAD_BYTES, kept.start);
        },
        |list| {
            list.trim(End::Right, len - kept.end);
            list.trim(End::Left, kept.start);
        },
    );
    ctx.shard
        .changed(db, pos, args[1], EventClass::List, "ltrim");
    edit::settle(ctx, pos, args[1]);
    ctx.reply.ok();
    Ok(())
}

/// What LPOS looks for.
struct Search {
    rank: i64,
    /// Matches to report; None reports one, by itself.
    count: Option<u64>,
    /// Comparisons; 0 for all.
    most: u64,
}

impl Search {
    fn parse(mut options: &[&[u8]]) -> Result<Self, Error> {
        let mut search = Self {
            rank: 1,
            count: None,
            most: 0,
        };
        let not_negative = |text: &[u8], error: &'static str| {
            parse_i64(text)
                .and_then(|n| u64::try_from(n).ok())
                .ok_or_else(|| Error::new(error))
        };
        while let [option, rest @ ..] = options {
            let [value, rest @ ..] = rest else {
                return Err(Error::SYNTAX);
            };
            if option.eq_ignore_ascii_case(b"rank") {
                search.rank = parse_index(value)?;
                if search.rank == 0 {
                    return Err(Error::new(
                        "ERR RANK can't be zero: use 1 to start from the first match, 2 from the \
                         second ... or use negative to start from the end of the list",
                    ));
                }
                if search.rank == i64::MIN {
                    return Err(Error::new(
                        "ERR value is out of range, value must between -9223372036854775807 and \
                         9223372036854775807",
                    ));
                }
            } else if option.eq_ignore_ascii_case(b"count") {
                search.count = Some(not_negative(value, "ERR COUNT can't be negative")?);
            } else if option.eq_ignore_ascii_case(b"maxlen") {
                search.most = not_negative(value, "ERR MAXLEN can't be negative")?;
            } else {
                return Err(Error::SYNTAX);
            }
            options = rest;
        }
        Ok(search)
    }

    /// Calls `found` with the index of each match that counts, until it says false.
    fn run(&self, list: List<'_>, wanted: Element<'_>, mut found: impl FnMut(usize) -> bool) {
        let len = list.len();
        let mut to_pass = self.rank.unsigned_abs() - 1;
        let mut looked = 0;
        let visit = |element: Element<'_>| {
            let index = looked;
            looked += 1;
            let goes_on = self.most == 0 || (looked as u64) < self.most;
            if element != wanted {
                return goes_on;
            }
            if to_pass > 0 {
                to_pass -= 1;
                return goes_on;
            }
            let index = if self.rank > 0 {
                index
            } else {
                len - 1 - index
            };
            found(index) && goes_on
        };
        if self.rank > 0 {
            list.forward(0, visit);
        } else {
            list.backward(len.wrapping_sub(1), visit);
        }
    }
}

/// LPOS
pub(super) fn lpos(ctx: &mut Ctx<'_>) -> Outcome {
    let search = Search::parse(&ctx.args[3..])?;
    let wanted = Element::of(ctx.args[2]);
    let list = read!(ctx);
    match search.count {
        None => {
            let mut first = None;
            if let Some(list) = list {
                search.run(list, wanted, |index| {
                    first = Some(index);
                    false
                });
            }
            match first {
                Some(index) => ctx.reply.integer(index as i64),
                None => ctx.reply.null(),
            }
        }
        Some(count) => ctx.reply.array_counted(|reply| {
            let mut matches = 0;
            if let Some(list) = list {
                search.run(list, wanted, |index| {
                    reply.integer(index as i64);
                    matches += 1;
                    matches as u64 != count
                });
            }
            matches
        }),
    }
    Ok(())
}
