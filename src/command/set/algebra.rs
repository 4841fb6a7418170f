//! Several sets: intersections, unions, differences, and storing them.
//!
//! All sets are looked up first, with Redis's rules, and their types checked; then nothing changes
//! until the result is there, so the sets are read where they lie.
use super::basic::{reply_all, reply_member};
use super::edit;
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::keyspace::{Expiry, Hasher, Kind, Pos};
use crate::resp::encode::Reply;
use crate::resp::number::parse_i64;
use crate::shard::Shard;
use crate::shard::access::EventClass;
use crate::shard::prefetch::GROUP_KEYS_MAX;
use crate::types::packed::Element;
use crate::types::set::{Builder, Set};
use smallvec::SmallVec;

/// Sets that a command names without an allocation.
const USUAL: usize = 8;

type Args<'a> = &'a [&'a [u8]];
type Sets<'a> = SmallVec<[Option<Set<'a>>; USUAL]>;

/// Looks keys up for reading; their positions. One of another type is the client's error.
fn look_up(ctx: &mut Ctx<'_>, keys: &[&[u8]]) -> Result<SmallVec<[Pos; USUAL]>, Error> {
    let mut positions = SmallVec::with_capacity(keys.len());
    for group in keys.chunks(GROUP_KEYS_MAX) {
        let found = ctx.shard.prefetch(ctx.caller.db, group.iter().copied());
        for (key, pos) in group.iter().zip(found) {
            match ctx.shard.read(ctx.caller, pos, key) {
                Some(entry) if entry.kind() != Kind::Set => return Err(Error::WRONG_TYPE),
                _ => positions.push(pos),
            }
        }
    }
    Ok(positions)
}

/// The sets under keys that were looked up; None where there is none.
fn sets_at<'a>(shard: &'a Shard, db: u16, keys: &[&[u8]], positions: &[Pos]) -> Sets<'a> {
    let db = shard.keyspace.db(usize::from(db));
    let set = |(key, pos): (&&[u8], &Pos)| {
        let entry = db.lookup(*pos, key, shard.now_ms).live()?;
        Some(Set::of(entry.value()))
    };
    keys.iter().zip(positions).map(set).collect()
}

/// Calls `visit` for each member that all sets have, until it says false.
fn intersect<'a>(sets: &Sets<'a>, mut visit: impl FnMut(Element<'a>) -> bool) {
    let present: Option<SmallVec<[Set<'a>; USUAL]>> = sets.iter().copied().collect();
    let Some(mut sets) = present else {
        return;
    };
    // The fewest members to go through, and the likeliest to be missing to ask first.
    sets.sort_by_key(Set::len);
    if let [smallest, others @ ..] = &sets[..] {
        smallest.all(|member| !others.iter().all(|set| set.has(member)) || visit(member));
    }
}

/// The members of the first set that no other has.
fn subtract<'a>(sets: &Sets<'a>, hasher: Hasher, mut visit: impl FnMut(Element<'_>)) {
    let [Some(first), others @ ..] = &sets[..] else {
        return;
    };
    let mut others: SmallVec<[Set<'a>; USUAL]> = others.iter().flatten().copied().collect();
    // As Redis: either each member of the first set is looked for in all others, and found at once
    // half of the time, or all members of the others are taken out of a copy.
    let asked = first.len() * (others.len() + 1) / 2;
    let taken = first.len() + others.iter().map(Set::len).sum::<usize>();
    if asked <= taken {
        // The largest is the likeliest to have it.
        others.sort_by_key(|set| std::cmp::Reverse(set.len()));
        first.for_each(|member| {
            if !others.iter().any(|set| set.has(member)) {
                visit(member);
            }
        });
        return;
    }
    let mut rest = Builder::new(hasher);
    first.for_each(|member| {
        rest.insert(member);
    });
    for set in others {
        set.all(|member| {
            rest.remove(member);
            !rest.is_empty()
        });
    }
    rest.iter().for_each(|member| visit(Element::Bytes(member)));
}

/// Stores a result under a key, whatever was there; an empty one removes the key.
fn store(ctx: &mut Ctx<'_>, key: &[u8], result: Builder, event: &'static str) {
    let limits = edit::limits(&ctx.shard.config);
    let (shard, caller) = (&mut *ctx.shard, ctx.caller);
    let pos = shard.pos(key);
    let len = result.len();
    if result.is_empty() {
        if shard.remove(caller, pos, key) {
            shard.changed(caller.db, pos, key, EventClass::Generic, "del");
        }
    } else {
        result.finish(limits, |value| {
            shard.store(caller, pos, key, value, Expiry::Clear);
        });
        shard.changed(caller.db, pos, key, EventClass::Set, event);
    }
    ctx.reply.integer(len as i64);
}

/// SINTER
pub(super) fn sinter(ctx: &mut Ctx<'_>) -> Outcome {
    let keys = &ctx.args[1..];
    let positions = look_up(ctx, keys)?;
    let sets = sets_at(ctx.shard, ctx.caller.db, keys, &positions);
    ctx.reply.set_counted(|reply| {
        let mut count = 0;
        intersect(&sets, |member| {
            reply_member(reply, member);
            count += 1;
            true
        });
        count
    });
    Ok(())
}

/// SINTERSTORE
pub(super) fn sinterstore(ctx: &mut Ctx<'_>) -> Outcome {
    let keys = &ctx.args[2..];
    let positions = look_up(ctx, keys)?;
    let mut result = Builder::new(edit::hasher(ctx));
    let sets = sets_at(ctx.shard, ctx.caller.db, keys, &positions);
    intersect(&sets, |member| {
        result.insert(member);
        true
    });
    drop(sets);
    store(ctx, ctx.args[1], result, "sinterstore");
    Ok(())
}

/// The keys behind their number, and the arguments behind them.
fn counted_keys<'a>(args: Args<'a>) -> Result<(Args<'a>, Args<'a>), Error> {
    let count = parse_i64(args[0])
        .filter(|count| *count > 0)
        .ok_or_else(|| Error::new("ERR numkeys should be greater than 0"))?;
    let rest = &args[1..];
    usize::try_from(count)
        .ok()
        .and_then(|count| rest.split_at_checked(count))
        .ok_or_else(|| Error::new("ERR Number of keys can't be greater than number of args"))
}

/// SINTERCARD
pub(super) fn sintercard(ctx: &mut Ctx<'_>) -> Outcome {
    let (keys, mut options) = counted_keys(&ctx.args[1..])?;
    let mut limit = 0;
    while let [option, rest @ ..] = options {
        let [value, rest @ ..] = rest else {
            return Err(Error::SYNTAX);
        };
        if !option.eq_ignore_ascii_case(b"limit") {
            return Err(Error::SYNTAX);
        }
        limit = parse_i64(value)
            .and_then(|limit| usize::try_from(limit).ok())
            .ok_or_else(|| Error::new("ERR LIMIT can't be negative"))?;
        options = rest;
    }
    let positions = look_up(ctx, keys)?;
    let sets = sets_at(ctx.shard, ctx.caller.db, keys, &positions);
    let mut count = 0;
    intersect(&sets, |_| {
        count += 1;
        count != limit
    });
    ctx.reply.integer(count as i64);
    Ok(())
}

/// Writes the union's members as they are first seen; how many.
fn reply_union(reply: &mut Reply<'_>, sets: &Sets<'_>, hasher: Hasher) -> usize {
    let mut seen = Builder::new(hasher);
    for set in sets.iter().flatten() {
        set.for_each(|member| {
            if seen.insert(member) {
                reply_member(reply, member);
            }
        });
    }
    seen.len()
}

/// SUNION
pub(super) fn sunion(ctx: &mut Ctx<'_>) -> Outcome {
    let keys = &ctx.args[1..];
    let positions = look_up(ctx, keys)?;
    let hasher = edit::hasher(ctx);
    let sets = sets_at(ctx.shard, ctx.caller.db, keys, &positions);
    let mut present = sets.iter().flatten();
    match (present.next(), present.next()) {
        (only, None) => reply_all(&mut ctx.reply, only.copied()),
        _ => ctx
            .reply
            .set_counted(|reply| reply_union(reply, &sets, hasher)),
    }
    Ok(())
}

/// SUNIONSTORE
pub(super) fn sunionstore(ctx: &mut Ctx<'_>) -> Outcome {
    let keys = &ctx.args[2..];
    let positions = look_up(ctx, keys)?;
    let mut result = Builder::new(edit::hasher(ctx));
    for set in sets_at(ctx.shard, ctx.caller.db, keys, &positions)
        .iter()
        .flatten()
    {
        set.for_each(|member| {
            result.insert(member);
        });
    }
    store(ctx, ctx.args[1], result, "sunionstore");
    Ok(())
}

/// SDIFF
pub(super) fn sdiff(ctx: &mut Ctx<'_>) -> Outcome {
    let keys = &ctx.args[1..];
    let positions = look_up(ctx, keys)?;
    let hasher = edit::hasher(ctx);
    let sets = sets_at(ctx.shard, ctx.caller.db, keys, &positions);
    ctx.reply.set_counted(|reply| {
        let mut count = 0;
        subtract(&sets, hasher, |member| {
            reply_member(reply, member);
            count += 1;
        });
        count
    });
    Ok(())
}

/// SDIFFSTORE
pub(super) fn sdiffstore(ctx: &mut Ctx<'_>) -> Outcome {
    let keys = &ctx.args[2..];
    let positions = look_up(ctx, keys)?;
    let hasher = edit::hasher(ctx);
    let mut result = Builder::new(hasher);
    let sets = sets_at(ctx.shard, ctx.caller.db, keys, &positions);
    subtract(&sets, hasher, |member| {
        result.insert(member);
    });
    drop(sets);
    store(ctx, ctx.args[1], result, "sdiffstore");
    Ok(())
}
