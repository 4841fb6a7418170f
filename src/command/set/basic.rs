//! Members of one set: adding, removing, asking, listing; and moving one to another set.
use super::edit;
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::command::generic::scan::parse_cursor;
use crate::command::member_scan::MemberScan;
use crate::keyspace::{Expiry, Kind, Pos};
use crate::resp::encode::Reply;
use crate::resp::number::I64_TEXT_MAX;
use crate::shard::access::EventClass;
use crate::types::packed::Element;
use crate::types::set::Set;

/// The set under a key, for reading; a key of another type is the client's error.
#[inline]
pub(super) fn read<'a>(
    ctx: &'a mut Ctx<'_>,
    pos: Pos,
    key: &[u8],
) -> Result<Option<Set<'a>>, Error> {
    match ctx.shard.read(ctx.caller, pos, key) {
        Some(entry) if entry.kind() != Kind::Set => Err(Error::WRONG_TYPE),
        found => Ok(found.map(|entry| Set::of(entry.value()))),
    }
}

/// A member as a bulk string.
#[inline]
pub(super) fn reply_member(reply: &mut Reply<'_>, member: Element<'_>) {
    match member {
        Element::Int(int) => reply.bulk_integer(int),
        Element::Bytes(bytes) => reply.bulk(bytes),
    }
}

/// The set has lost its last member: the key goes.
pub(super) fn remove_empty(ctx: &mut Ctx<'_>, pos: Pos, key: &[u8]) {
    ctx.shard.remove(ctx.caller, pos, key);
    ctx.shard
        .changed(ctx.caller.db, pos, key, EventClass::Generic, "del");
}

/// Adds members to the set under a key, which is none or a set; how many are new.
fn add(ctx: &mut Ctx<'_>, pos: Pos, key: &[u8], members: &[&[u8]]) -> Result<usize, Error> {
    let limits = edit::limits(&ctx.shard.config);
    let hasher = edit::hasher(ctx);
    let (shard, caller) = (&mut *ctx.shard, ctx.caller);
    let added = match shard.write_kind(caller, pos, key, Kind::Set)? {
        Some(mut entry) => edit::add(&mut entry, members, limits, hasher),
        None => {
            let whole = edit::start(members, limits, hasher, |value| {
                shard.store_at(caller, pos, key, None, value, Expiry::Clear);
            });
            match shard.locate(caller.db, pos, key) {
                Some(place) if !whole => {
                    edit::add(&mut shard.at(caller.db, place), members, limits, hasher)
                }
                _ => 1,
            }
        }
    };
    if added > 0 {
        shard.changed(caller.db, pos, key, EventClass::Set, "sadd");
    }
    Ok(added)
}

/// SADD
pub(super) fn sadd(ctx: &mut Ctx<'_>) -> Outcome {
    let args = ctx.args;
    let added = add(ctx, ctx.pos, args[1], &args[2..])?;
    ctx.reply.integer(added as i64);
    Ok(())
}

/// SREM
pub(super) fn srem(ctx: &mut Ctx<'_>) -> Outcome {
    let (args, pos) = (ctx.args, ctx.pos);
    let removed = remove(ctx, pos, args[1], &args[2..])?;
    ctx.reply.integer(removed as i64);
    Ok(())
}

/// Removes members of the set under a key; how many were there.
fn remove(ctx: &mut Ctx<'_>, pos: Pos, key: &[u8], members: &[&[u8]]) -> Result<usize, Error> {
    let Some(mut entry) = ctx.shard.write_kind(ctx.caller, pos, key, Kind::Set)? else {
        return Ok(0);
    };
    let (removed, left) = edit::remove(&mut entry, members);
    if removed > 0 {
        let db = ctx.caller.db;
        ctx.shard.changed(db, pos, key, EventClass::Set, "srem");
        if left == 0 {
            remove_empty(ctx, pos, key);
        }
    }
    Ok(removed)
}

/// SISMEMBER
pub(super) fn sismember(ctx: &mut Ctx<'_>) -> Outcome {
    let (args, pos) = (ctx.args, ctx.pos);
    let is_member = read(ctx, pos, args[1])?.is_some_and(|set| set.contains(args[2]));
    ctx.reply.integer(i64::from(is_member));
    Ok(())
}

/// SMISMEMBER
pub(super) fn smismember(ctx: &mut Ctx<'_>) -> Outcome {
    let args = ctx.args;
    let set = match ctx.shard.read(ctx.caller, ctx.pos, args[1]) {
        Some(entry) if entry.kind() != Kind::Set => return Err(Error::WRONG_TYPE),
        found => found.map(|entry| Set::of(entry.value())),
    };
    ctx.reply.array(args.len() - 2);
    for member in &args[2..] {
        let is_member = set.is_some_and(|set| set.contains(member));
        ctx.reply.integer(i64::from(is_member));
    }
    Ok(())
}

/// SCARD
pub(super) fn scard(ctx: &mut Ctx<'_>) -> Outcome {
    let (args, pos) = (ctx.args, ctx.pos);
    let len = read(ctx, pos, args[1])?.map_or(0, |set| set.len());
    ctx.reply.integer(len as i64);
    Ok(())
}

/// SMEMBERS
pub(super) fn smembers(ctx: &mut Ctx<'_>) -> Outcome {
    let set = match ctx.shard.read(ctx.caller, ctx.pos, ctx.args[1]) {
        Some(entry) if entry.kind() != Kind::Set => return Err(Error::WRONG_TYPE),
        found => found.map(|entry| Set::of(entry.value())),
    };
    reply_all(&mut ctx.reply, set);
    Ok(())
}

/// All members, as a set.
pub(super) fn reply_all(reply: &mut Reply<'_>, set: Option<Set<'_>>) {
    reply.set(set.map_or(0, |set| set.len()));
    if let Some(set) = set {
        set.for_each(|member| reply_member(reply, member));
    }
}

/// SSCAN
pub(super) fn sscan(ctx: &mut Ctx<'_>) -> Outcome {
    let cursor = parse_cursor(ctx.args[2]).ok_or(Error::BAD_CURSOR)?;
    let set = match ctx.shard.read(ctx.caller, ctx.pos, ctx.args[1]) {
        None => {
            ctx.reply.array(2);
            ctx.reply.bulk(b"0");
            ctx.reply.array(0);
            return Ok(());
        }
        Some(entry) if entry.kind() != Kind::Set => return Err(Error::WRONG_TYPE),
        Some(entry) => Set::of(entry.value()),
    };
    let scan = MemberScan::parse(&ctx.args[3..])?;
    let mut found = 0;
    let mut list = crate::resp::encode::Output::default();
    let mut members = Reply::new(&mut list, ctx.reply.version());
    let mut text = [0; I64_TEXT_MAX];
    let mut visit = |member: Element<'_>| {
        let member = member.text(&mut text);
        if scan.wants(member) {
            found += 1;
            members.bulk(member);
        }
    };
    let next = match set {
        Set::Large(set) => set.members.scan(cursor, scan.count, |member| {
            visit(Element::Bytes(member.key))
        }),
        small => {
            small.for_each(visit);
            0
        }
    };
    ctx.reply.array(2);
    ctx.reply.bulk_integer(next as i64);
    ctx.reply.array(found);
    ctx.reply.raw(&list.buf);
    Ok(())
}

/// SMOVE
pub(super) fn smove(ctx: &mut Ctx<'_>) -> Outcome {
    let [_, from, to, member] = *ctx.args else {
        unreachable!("its arity is four")
    };
    let (from_pos, to_pos) = (ctx.shard.pos(from), ctx.shard.pos(to));
    let caller = ctx.caller;
    let Some(source) = ctx.shard.write(caller, from_pos, from) else {
        ctx.reply.integer(0);
        return Ok(());
    };
    if source.get().kind() != Kind::Set {
        return Err(Error::WRONG_TYPE);
    }
    let is_member = Set::of(source.value()).contains(member);
    ctx.shard.write_kind(caller, to_pos, to, Kind::Set)?;
    if is_member && from != to {
        remove(ctx, from_pos, from, &[member])?;
        add(ctx, to_pos, to, &[member])?;
        let (db, shard) = (caller.db, &mut *ctx.shard);
        if from_pos.slot() == to_pos.slot() {
            shard.effect(db, from_pos, &[b"SMOVE", from, to, member]);
        } else {
            shard.effect(db, from_pos, &[b"SREM", from, member]);
            shard.effect(db, to_pos, &[b"SADD", to, member]);
        }
    }
    ctx.reply.integer(i64::from(is_member));
    Ok(())
}
