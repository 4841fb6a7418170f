//! Random members: SPOP and SRANDMEMBER.
use super::basic::{remove_empty, reply_all, reply_member};
use super::edit;
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::keyspace::Kind;
use crate::resp::number::parse_i64;
use crate::shard::access::EventClass;
use crate::shard::effects::Words;
use crate::stdx::random::SplitMix;
use crate::types::packed::Element;
use crate::types::set::Set;

/// SPOP
pub(super) fn spop(ctx: &mut Ctx<'_>) -> Outcome {
    match ctx.args {
        [_, _] => spop_one(ctx),
        [_, _, count] => {
            let count = parse_i64(count)
                .and_then(|count| usize::try_from(count).ok())
                .ok_or(Error::NOT_POSITIVE)?;
            spop_many(ctx, count)
        }
        _ => Err(Error::SYNTAX),
    }
}

/// What SPOP leaves behind, but for the members; None if nobody listens.
#[inline]
fn begin_srem(ctx: &mut Ctx<'_>) -> Option<Words> {
    let mut words = ctx.shard.words()?;
    words.extend(&[b"SREM", ctx.args[1]]);
    Some(words)
}

/// Adds a member to it.
#[inline]
fn note_removed(srem: &mut Option<Words>, member: Element<'_>) {
    if let Some(srem) = srem {
        srem.push_element(member);
    }
}

fn spop_one(ctx: &mut Ctx<'_>) -> Outcome {
    let (key, pos, db) = (ctx.args[1], ctx.pos, ctx.caller.db);
    let mut random = SplitMix::new(ctx.shard.random());
    let mut removed = begin_srem(ctx);
    let Some(mut entry) = ctx.shard.write_kind(ctx.caller, pos, key, Kind::Set)? else {
        ctx.reply.null();
        return Ok(());
    };
    let reply = &mut ctx.reply;
    let mut draw = || random.draw();
    let left = edit::take_random(&mut entry, 1, &mut draw, |member| {
        note_removed(&mut removed, member);
        reply_member(reply, member)
    });
    ctx.shard.effect_of(db, pos, removed);
    ctx.shard.changed(db, pos, key, EventClass::Set, "spop");
    if left == 0 {
        remove_empty(ctx, pos, key);
    }
    Ok(())
}

fn spop_many(ctx: &mut Ctx<'_>, count: usize) -> Outcome {
    let (key, pos, db) = (ctx.args[1], ctx.pos, ctx.caller.db);
    let mut random = SplitMix::new(ctx.shard.random());
    let mut removed = begin_srem(ctx);
    let Some(mut entry) = ctx.shard.write_kind(ctx.caller, pos, key, Kind::Set)? else {
        ctx.reply.set(0);
        return Ok(());
    };
    if count == 0 {
        ctx.reply.set(0);
        return Ok(());
    }
    let set = Set::of(entry.value());
    let reply = &mut ctx.reply;
    if count >= set.len() {
        reply_all(reply, Some(set));
        ctx.effect(&[b"DEL", key]);
        ctx.shard.changed(db, pos, key, EventClass::Set, "spop");
        remove_empty(ctx, pos, key);
        return Ok(());
    }
    reply.set(count);
    let mut draw = || random.draw();
    edit::take_random(&mut entry, count, &mut draw, |member| {
        note_removed(&mut removed, member);
        reply_member(reply, member);
    });
    ctx.shard.effect_of(db, pos, removed);
    ctx.shard.changed(db, pos, key, EventClass::Set, "spop");
    Ok(())
}

/// SRANDMEMBER
pub(super) fn srandmember(ctx: &mut Ctx<'_>) -> Outcome {
    match ctx.args {
        [_, _] => {
            let mut random = SplitMix::new(ctx.shard.random());
            let set = match ctx.shard.read(ctx.caller, ctx.pos, ctx.args[1]) {
                Some(entry) if entry.kind() != Kind::Set => return Err(Error::WRONG_TYPE),
                None => {
                    ctx.reply.null();
                    return Ok(());
                }
                Some(entry) => Set::of(entry.value()),
            };
            reply_member(&mut ctx.reply, set.draw(&mut || random.draw()));
            Ok(())
        }
        [_, _, count] => {
            let count = parse_i64(count).ok_or(Error::NOT_INTEGER)?;
            if count == i64::MIN {
                return Err(Error::new(
                    "ERR value is out of range, value must between -9223372036854775807 and \
                     9223372036854775807",
                ));
            }
            srandmember_many(ctx, count)
        }
        _ => Err(Error::SYNTAX),
    }
}

/// Most members of a reply with repetitions: Redis would go on until memory ends, and a reply of so
/// many is of no use to anybody.
const REPEATED_MAX: u64 = 1 << 26;

fn srandmember_many(ctx: &mut Ctx<'_>, count: i64) -> Outcome {
    let mut random = SplitMix::new(ctx.shard.random());
    let set = match ctx.shard.read(ctx.caller, ctx.pos, ctx.args[1]) {
        Some(entry) if entry.kind() != Kind::Set => return Err(Error::WRONG_TYPE),
        Some(entry) if count != 0 => Set::of(entry.value()),
        _ => {
            ctx.reply.array(0);
            return Ok(());
        }
    };
    let reply = &mut ctx.reply;
    let mut draw = || random.draw();
    match usize::try_from(count) {
        Ok(count) => {
            let count = count.min(set.len());
            reply.array(count);
            set.sample(count, &mut draw, |member| reply_member(reply, member));
        }
        Err(_) if count.unsigned_abs() > REPEATED_MAX => return Err(Error::NOT_INTEGER),
        Err(_) => {
            let count = count.unsigned_abs() as usize;
            reply.array(count);
            for _ in 0..count {
                reply_member(reply, set.draw(&mut draw));
            }
        }
    }
    Ok(())
}
