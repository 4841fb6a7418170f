//! BGREWRITEAOF: the logs are given a new base, and what they said before it is dropped.
//!
//! It is a snapshot ([`super::save`]) of one moment over all shards. Each shard that has begun its part
//! notes where its log stands ([`Engine::mark_log`]); when all have, and before any of them goes on, the
//! ends of the logs are the marks. So no transaction has parts on both sides: one that was run by a
//! shard that owns none of its keys has left its part there by then, and a later one has not begun. When the snapshot is durable the manifest names it and these places,
//! and the segments before them can be used again; until then nothing has changed, so a crash or a
//! failure costs nothing but the work.
//!
//! Logs that are turned on begin with such a base. `CONFIG SET appendonly yes` holds all that it takes,
//! and is a rewriting itself where one can begin. Where no logs are kept the base replaces what is there
//! of earlier ones, for a later start with `appendonly yes`, as on Redis.
//!
//! [`Engine::mark_log`]: crate::net::engine::Engine::mark_log

use crate::command::context::{HomeCtx, MergeCtx, PartCtx};
use crate::command::error::{Error, Outcome};
use crate::command::spec::{Acl, Flags, Group, Run, Spec};
use crate::server::log;
use crate::server::logs::Phase;
use crate::server::recovery::log_path;
use crate::server::snapshot::Target;
use crate::shard::node::Node;
use crate::storage;
use crate::storage::directory::Directory;

pub(super) const BGREWRITEAOF: Spec = Spec {
    name: "bgrewriteaof",
    arity: 1,
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::NO_ASYNC_LOADING),
    acl: Acl::ADMIN.or(Acl::SLOW).or(Acl::DANGEROUS),
    group: Group::Server,
    complexity: "O(1)",
    summary: "Rewrites the append-only log while clients go on.",
    run: Run::Gather {
        prepare: Some(begin),
        part,
        merge,
    },
    ..Spec::BASE
};

const IN_PROGRESS: Error =
    Error::fixed("ERR Background append only file rewriting already in progress");
/// Redis rewrites it in the new place; ours would stay where no start looks for it.
const LEFT_BEHIND: Error = Error::fixed(
    "ERR the log is still where 'dir' was before: CONFIG SET appendonly no, then yes, begins it anew",
);
/// Redis says no more; the log says why.
const FAILED: Error = Error::fixed(
    "ERR Can't execute an AOF background rewriting. Please check the server logs for more information.",
);

/// Begins it; while another snapshot is being taken it is to begin later, and so in a block: what that
/// has done is not in the log before its end.
fn begin(ctx: &mut HomeCtx<'_>) -> Outcome {
    let (in_exec, client) = (ctx.in_exec, ctx.session().id);
    let shard = ctx.shard();
    shard.settle_snapshot();
    let (node, now) = (shard.node.clone(), shard.now_ms / 1000);
    if !ctx.session().peer.is_own() && node.logs.left_behind(&node.config()).is_some() {
        return Err(LEFT_BEHIND);
    }
    if let Some(run) = node.saver.running() {
        if run.is_for_logs() {
            return Err(IN_PROGRESS);
        }
        node.logs.schedule_rewriting();
        return Ok(());
    }
    if in_exec || node.logs.phase() == Phase::Ending {
        node.logs.schedule_rewriting();
        return Ok(());
    }
    let target = target(&node).map_err(|why| {
        log::warning(format_args!("Cannot rewrite the log: {why}"));
        FAILED
    })?;
    match node.saver.begin(&node, now, true, target) {
        Ok(true) => {
            node.logs.rewriting_begins(now, client);
            node.logs.seat(&node.config()).map_err(|why| {
                node.saver.cancel_base();
                node.logs.schedule_rewriting();
                log::warning(format_args!("{why}"));
                FAILED
            })
        }
        Ok(false) => {
            node.logs.schedule_rewriting();
            Ok(())
        }
        Err(error) => {
            log::warning(format_args!("Cannot rewrite the log: {error}"));
            Err(FAILED)
        }
    }
}

/// Where the base goes.
fn target(node: &Node) -> Result<Target, storage::Error> {
    if let Some(base) = node.logs.next_base() {
        return Ok(Target::NextBase(base));
    }
    let directory = Directory::open(&log_path(&node.config()))?;
    Ok(Target::LoneBase(Box::new(directory)))
}

/// Begins the first base of logs that were just turned on.
pub(super) fn begin_first(ctx: &mut HomeCtx<'_>) {
    let logs = &ctx.shard().node.logs;
    if logs.is_without_base() && logs.rewriting().scheduled {
        // Where it cannot begin it stays scheduled, and the log says why.
        let _ = begin(ctx);
    }
}

/// A shard's part of that, unless it has begun its log already.
pub(super) fn first_part(ctx: &mut PartCtx<'_>) -> Outcome {
    let starts = ctx.engine.shard.node.logs.phase() == Phase::Starting;
    if starts && ctx.engine.log_stats().is_none() {
        return part(ctx);
    }
    Ok(())
}

fn part(ctx: &mut PartCtx<'_>) -> Outcome {
    let engine = &mut *ctx.engine;
    engine.shard.settle_snapshot();
    let run = engine.shard.node.saver.running();
    let rewriting = engine.shard.node.logs.rewriting();
    // All shards begin it for the same command, at the same moment. Another one is to begin later.
    let ours = rewriting.by == ctx.caller.client && !engine.shard.effects.is_held();
    let ended = engine.shard.node.logs.phase() == Phase::Ending;
    if let Some(run) = run.filter(|run| ours && !ended && run.is_for_logs()) {
        engine.begin_log();
        engine.mark_log();
        engine.shard.begin_snapshot(run);
    }
    Ok(())
}

fn merge(ctx: &mut MergeCtx<'_>) -> Outcome {
    let logs = &ctx.engine.shard.node.logs;
    logs.settle_marks();
    let scheduled = logs.rewriting().scheduled;
    ctx.reply.simple(if scheduled {
        "Background append only file rewriting scheduled"
    } else {
        "Background append only file rewriting started"
    });
    Ok(())
}
