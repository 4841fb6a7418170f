//! Deleting a string, with a look at it first.
use super::options::Condition;
use super::read::reply_key;
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::keyspace::Kind;
use crate::shard::access::EventClass;

/// Removes the command's key, which is there, and tells.
fn remove(ctx: &mut Ctx<'_>) {
    let (caller, pos, key) = (ctx.caller, ctx.pos, ctx.args[1]);
    if ctx.shard.remove(caller, pos, key) {
        ctx.effect(&[b"DEL", key]);
        ctx.shard
            .changed(caller.db, pos, key, EventClass::Generic, "del");
    }
}

/// GETDEL
pub(super) fn getdel(ctx: &mut Ctx<'_>) -> Outcome {
    if reply_key(ctx)? {
        remove(ctx);
    }
    Ok(())
}

/// Removes the key if it is there and the condition holds; replies how many keys that were.
fn remove_if(ctx: &mut Ctx<'_>, condition: Condition<'_>) -> Outcome {
    let found = ctx
        .shard
        .write(ctx.caller, ctx.pos, ctx.args[1])
        .map(|entry| entry.into_ref());
    let removed = found.is_some() && condition.holds(found)?;
    if removed {
        remove(ctx);
    }
    ctx.reply.integer(i64::from(removed));
    Ok(())
}

/// DELIFEQ
pub(super) fn delifeq(ctx: &mut Ctx<'_>) -> Outcome {
    let value = ctx.args[2];
    remove_if(ctx, Condition::Equal(value))
}

/// DELEX
pub(super) fn delex(ctx: &mut Ctx<'_>) -> Outcome {
    let (name, value) = match *ctx.args {
        [_, _] => return remove_if(ctx, Condition::Always),
        [_, _, name, value] => (name, value),
        _ => return Err(Error::arity("delex")),
    };
    let kind = ctx
        .shard
        .write(ctx.caller, ctx.pos, ctx.args[1])
        .map(|entry| entry.get().kind());
    if kind.is_some_and(|kind| kind != Kind::String) {
        return Err(Error::new(
            "ERR Key should be of string type if conditions are specified",
        ));
    }
    if kind.is_none() {
        ctx.reply.integer(0);
        return Ok(());
    }
    let condition = Condition::named(name, value)
        .ok_or_else(|| Error::new("ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE"))?;
    remove_if(ctx, condition)
}
