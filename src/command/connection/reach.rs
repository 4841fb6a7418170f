//! What reaches connections of every shard: CLIENT KILL, PAUSE, UNPAUSE and UNBLOCK, and MONITOR.

use super::filter::{Filter, Use};
use crate::command::context::{HomeCtx, MergeCtx, PartCtx};
use crate::command::error::{Error, Outcome};
use crate::net::blocking::Ending;
use crate::net::session::{Session, flag};
use crate::resp::encode::Output;
use crate::resp::number::parse_i64;

/// The sum of what the parts have counted.
fn total(parts: &[Output]) -> u64 {
    let count = |part: &Output| {
        let bytes = part.buf.first_chunk::<8>().expect("a part counts");
        u64::from_le_bytes(*bytes)
    };
    parts.iter().map(count).sum()
}

/// CLIENT KILL: whether the filters are right.
pub(super) fn kill(ctx: &mut HomeCtx<'_>) -> Outcome {
    let databases = ctx.shard().keyspace.databases();
    Filter::parse(&ctx.args[2..], Use::Kill, databases)?;
    ctx.shard().node.begin_survey();
    Ok(())
}

/// Closes those of a shard's connections that match, those on their way to another one included, and
/// lists their clients' ids. The caller's own ends after the reply, and takes up nothing more from now
/// on.
pub(super) fn kill_part(ctx: &mut PartCtx<'_>) -> Outcome {
    let databases = ctx.engine.shard.keyspace.databases();
    let filter = Filter::parse(&ctx.args[2..], Use::Kill, databases)?;
    let now_ms = ctx.engine.shard.now_ms as i64;
    let caller = ctx.caller.client;
    let matches = |s: &Session| s.is_alive() && filter.matches(s, caller, now_ms);
    let here = ctx.engine.sessions().filter(|(_, s)| matches(s));
    let found: Vec<_> = here.map(|(conn, s)| (conn, s.id)).collect();
    let away = ctx.engine.departed().filter(|s| matches(s));
    let departed: Vec<u64> = away.map(|s| s.id).collect();
    for (conn, id) in &found {
        if *id == caller {
            ctx.engine.session(*conn).flags |= flag::CLOSE_AFTER_REPLY;
        } else {
            ctx.engine.close(*conn);
        }
    }
    for id in &departed {
        ctx.engine.kill_departed(*id);
    }
    let ids = found.iter().map(|(_, id)| id).chain(&departed);
    ids.for_each(|id| ctx.out.buf.extend_from_slice(&id.to_le_bytes()));
    Ok(())
}

pub(super) fn kill_merge(ctx: &mut MergeCtx<'_>) -> Outcome {
    ctx.engine.shard.node.end_survey();
    let ids = ctx.parts.iter().flat_map(|part| part.buf.chunks_exact(8));
    let killed = ids.collect::<std::collections::BTreeSet<_>>().len();
    if ctx.args.len() > 3 {
        ctx.reply.integer(killed as i64);
    } else if killed == 0 {
        return Err(Error::new("ERR No such client"));
    } else {
        ctx.reply.ok();
    }
    Ok(())
}

/// Milliseconds and whether every command is meant.
fn pause_of(args: &[&[u8]]) -> Result<(u64, bool), Error> {
    let all = match args {
        [_, _, _] => true,
        [_, _, _, mode] if mode.eq_ignore_ascii_case(b"all") => true,
        [_, _, _, mode] if mode.eq_ignore_ascii_case(b"write") => false,
        [_, _, _, _] => return Err(Error::new("ERR CLIENT PAUSE mode must be WRITE or ALL")),
        _ => return Err(Error::wrong_arguments(args[1], "CLIENT")),
    };
    let timeout = parse_i64(args[2])
        .ok_or_else(|| Error::new("ERR timeout is not an integer or out of range"))?;
    let timeout = u64::try_from(timeout).map_err(|_| Error::new("ERR timeout is negative"))?;
    Ok((timeout, all))
}

/// CLIENT PAUSE `timeout [WRITE | ALL]`
pub(super) fn pause(ctx: &mut HomeCtx<'_>) -> Outcome {
    pause_of(ctx.args).map(|_| ())
}

pub(super) fn pause_part(ctx: &mut PartCtx<'_>) -> Outcome {
    let (timeout_ms, all) = pause_of(ctx.args)?;
    ctx.engine.pause(timeout_ms, all);
    Ok(())
}

pub(super) fn unpause_part(ctx: &mut PartCtx<'_>) -> Outcome {
    ctx.engine.unpause();
    Ok(())
}

pub(super) fn ok_merge(ctx: &mut MergeCtx<'_>) -> Outcome {
    ctx.reply.ok();
    Ok(())
}

/// Whom CLIENT UNBLOCK `client-id [TIMEOUT | ERROR]` means, and how the wait is to end.
fn unblock_of(args: &[&[u8]]) -> Result<(u64, Ending), Error> {
    let ending = match &args[3..] {
        [] => Ending::TimedOut,
        [why] if why.eq_ignore_ascii_case(b"timeout") => Ending::TimedOut,
        [why] if why.eq_ignore_ascii_case(b"error") => Ending::Failed,
        [_] => {
            let text = "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR";
            return Err(Error::new(text));
        }
        _ => return Err(Error::wrong_arguments(args[1], "CLIENT")),
    };
    let id = parse_i64(args[2]).ok_or(Error::NOT_INTEGER)?;
    Ok((id as u64, ending))
}

/// CLIENT UNBLOCK
pub(super) fn unblock(ctx: &mut HomeCtx<'_>) -> Outcome {
    unblock_of(ctx.args).map(|_| ())
}

/// Ends the wait of a connection of this shard.
pub(super) fn unblock_part(ctx: &mut PartCtx<'_>) -> Outcome {
    let (id, ending) = unblock_of(ctx.args)?;
    let waits = |s: &Session| s.id == id && s.info.blocked.is_some();
    let found = ctx.engine.sessions().find(|(_, s)| waits(s));
    let found = found.map(|(conn, _)| conn);
    let ended = found.is_some_and(|conn| ctx.engine.end_wait(conn, ending));
    let count = u64::from(ended);
    ctx.out.buf.extend_from_slice(&count.to_le_bytes());
    Ok(())
}

pub(super) fn unblock_merge(ctx: &mut MergeCtx<'_>) -> Outcome {
    ctx.reply.integer(total(ctx.parts) as i64);
    Ok(())
}

/// MONITOR. All shards are told before the parts reach them. One that monitors already is not
/// even answered, as on Redis.
pub(super) fn monitor(ctx: &mut HomeCtx<'_>) -> Outcome {
    let conn = ctx.conn;
    if ctx.in_exec {
        let text = "ERR MONITOR isn't allowed for DENY BLOCKING client";
        return Err(Error::new(text));
    }
    if !ctx.session().is(flag::MONITOR) {
        ctx.session().flags |= flag::MONITOR_NEW;
        ctx.engine.start_monitor(conn);
    }
    Ok(())
}

pub(super) fn monitor_part(_: &mut PartCtx<'_>) -> Outcome {
    Ok(())
}

pub(super) fn monitor_merge(ctx: &mut MergeCtx<'_>) -> Outcome {
    let session = ctx.engine.session(ctx.conn);
    if session.is(flag::MONITOR_NEW) {
        session.flags &= !flag::MONITOR_NEW;
        ctx.reply.ok();
    }
    Ok(())
}
