//! Commands on whole databases: DBSIZE, FLUSHDB, FLUSHALL, SWAPDB.
//!
//! A flush takes the table away and leaves its entries to be freed in slices, with ASYNC and with
//! SYNC: other clients go on meanwhile, and nobody can see a key of it any more.

use super::keys::in_range;
use super::scan::number;
use crate::command::context::{HomeCtx, MergeCtx, PartCtx};
use crate::command::error::{Error, Outcome};
use crate::mesh::ShardId;
use crate::net::session::flag;
use crate::resp::number::parse_i64;
use crate::shard::Shard;

pub(super) fn dbsize_part(ctx: &mut PartCtx<'_>) -> Outcome {
    let count = ctx.db().len() as u64;
    ctx.out.buf.extend_from_slice(&count.to_le_bytes());
    Ok(())
}

pub(super) fn sum(ctx: &mut MergeCtx<'_>) -> Outcome {
    let total: u64 = ctx.parts.iter().map(|part| number(part, 0)).sum();
    ctx.reply.integer(total as i64);
    Ok(())
}

pub(super) fn all_ok(ctx: &mut MergeCtx<'_>) -> Outcome {
    ctx.reply.ok();
    Ok(())
}

pub(super) fn flush_options(ctx: &mut HomeCtx<'_>) -> Outcome {
    match ctx.args[1..] {
        [] => Ok(()),
        [mode] if mode.eq_ignore_ascii_case(b"async") || mode.eq_ignore_ascii_case(b"sync") => {
            Ok(())
        }
        _ => Err(Error::SYNTAX),
    }
}

/// Empties a database; whether there was anything in it.
fn flush(shard: &mut Shard, db: usize) -> bool {
    let keys = shard.keyspace.db(db).len();
    if keys > 0 {
        shard.keyspace.db_mut(db).clear();
        shard.flushed(db as u16, keys);
    }
    keys > 0
}

pub(super) fn flushdb_part(ctx: &mut PartCtx<'_>) -> Outcome {
    let (shard, db) = (&mut ctx.engine.shard, ctx.caller.db);
    if flush(shard, usize::from(db)) {
        shard.effect_on_databases(db, &[b"FLUSHDB"]);
    }
    ctx.engine.flushed_for_trackers();
    Ok(())
}

pub(super) fn flushall_part(ctx: &mut PartCtx<'_>) -> Outcome {
    let shard = &mut ctx.engine.shard;
    let mut any = false;
    for db in 0..shard.keyspace.databases() {
        any |= flush(shard, db);
    }
    if any {
        shard.effect_on_databases(0, &[b"FLUSHALL"]);
    }
    let saver = &shard.node.saver;
    if !shard.config.save.0.is_empty() && !saver.loading.is_under_way() {
        // What is being saved is of before, and what was must not come back.
        saver.cancel();
        saver.schedule();
    }
    ctx.engine.flushed_for_trackers();
    Ok(())
}

/// Both databases of SWAPDB.
fn swapped(shard: &Shard, args: &[&[u8]]) -> Result<(u16, u16), Error> {
    let number = |text: &[u8], error: &'static str| {
        parse_i64(text)
            .and_then(|n| i32::try_from(n).ok())
            .ok_or_else(|| Error::new(error))
    };
    let first = number(args[1], "ERR invalid first DB index")?;
    let second = number(args[2], "ERR invalid second DB index")?;
    Ok((in_range(shard, first)?, in_range(shard, second)?))
}

pub(super) fn swapdb_check(ctx: &mut HomeCtx<'_>) -> Outcome {
    let args = ctx.args;
    if ctx.session().is(flag::STRICT) {
        return Err(Error::new("ERR SWAPDB is not allowed in cluster mode"));
    }
    swapped(ctx.shard(), args).map(|_| ())
}

pub(super) fn swapdb_part(ctx: &mut PartCtx<'_>) -> Outcome {
    let shard = &mut ctx.engine.shard;
    let (a, b) = swapped(shard, ctx.args)?;
    // One change, whichever shards have keys there.
    shard.dirty += u64::from(shard.id == ShardId(0));
    if a != b {
        let is_empty = |db| shard.keyspace.db(usize::from(db)).is_empty();
        if !is_empty(a) || !is_empty(b) {
            shard.effect_on_databases(0, &[b"SWAPDB", ctx.args[1], ctx.args[2]]);
        }
        shard.keyspace.swap(usize::from(a), usize::from(b));
        shard.flushed(a, 0);
        shard.flushed(b, 0);
    }
    Ok(())
}
