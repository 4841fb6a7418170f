//! SAVE, BGSAVE, LASTSAVE: snapshots of the dataset ([`crate::server::snapshot`]).
//!
//! All shards begin their parts while a transaction holds every database at each of them: nothing is
//! under way between two shards then, and what each has at that moment is the dataset at one.
//!
//! There is one snapshot at a time. A SAVE that finds the logs being rewritten waits in its connection
//! for the end of that, where Redis writes both files side by side; and so it does for the SAVE of
//! another client, for which all others wait on Redis.

use crate::command::context::{HomeCtx, MergeCtx, PartCtx};
use crate::command::error::{Error, Outcome};
use crate::command::spec::{Acl, Flags, Group, Run, Spec};
use crate::server::log;
use crate::server::snapshot::Target;

const ADMIN: Acl = Acl::ADMIN.or(Acl::SLOW).or(Acl::DANGEROUS);
const ADMIN_FLAGS: Flags = Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::NO_ASYNC_LOADING);

pub(super) const SAVE: Spec = Spec {
    name: "save",
    arity: 1,
    flags: ADMIN_FLAGS.or(Flags::NO_MULTI),
    acl: ADMIN,
    group: Group::Server,
    complexity: "O(N) where N is the total number of keys in all databases",
    summary: "Writes a snapshot of the dataset; clients wait meanwhile.",
    run: Run::Gather {
        prepare: Some(begin_save),
        part: save_part,
        merge: save_merge,
    },
    ..Spec::BASE
};

pub(super) const BGSAVE: Spec = Spec {
    name: "bgsave",
    arity: -1,
    flags: ADMIN_FLAGS,
    acl: ADMIN,
    group: Group::Server,
    complexity: "O(1)",
    summary: "Writes a snapshot of the dataset while clients go on.",
    history: &[("3.2.2", "`SCHEDULE`."), ("8.1.0", "`CANCEL` (Valkey).")],
    syntax: "[SCHEDULE | CANCEL]#operation",
    run: Run::Gather {
        prepare: Some(begin_or_cancel),
        part: bgsave_part,
        merge: bgsave_merge,
    },
    ..Spec::BASE
};

pub(super) const LASTSAVE: Spec = Spec {
    name: "lastsave",
    arity: 1,
    flags: Flags::LOADING.or(Flags::STALE).or(Flags::FAST),
    acl: Acl::ADMIN.or(Acl::FAST).or(Acl::DANGEROUS),
    group: Group::Server,
    summary: "Tells when the last snapshot was written, in seconds since 1970.",
    tips: &["nondeterministic_output"],
    run: Run::Home(lastsave),
    ..Spec::BASE
};

const IN_PROGRESS: Error = Error::fixed("ERR Background save already in progress");
const REWRITING: Error = Error::fixed(
    "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order \
     to schedule a BGSAVE whenever possible.",
);
const NOT_IN_PROGRESS: Error =
    Error::fixed("ERR Background saving is currently not in progress or scheduled");
pub(super) const SLOTS_MOVE: Error =
    Error::fixed("ERR Slots are being moved: try again when they have");
/// To whoever runs SAVE, not to its client: it is to be tried again when no snapshot is in its way.
pub const LATER: Error = Error::fixed("ERR Another snapshot is being taken");
/// Redis says no more; the log says why.
const FAILED: Error = Error::fixed("ERR");

pub(super) fn begin_save(ctx: &mut HomeCtx<'_>) -> Outcome {
    begin(ctx, false)
}

fn begin(ctx: &mut HomeCtx<'_>, background: bool) -> Outcome {
    let shard = ctx.shard();
    shard.settle_snapshot();
    let node = shard.node.clone();
    match node
        .saver
        .begin(&node, shard.now_ms / 1000, background, Target::Place)
    {
        Ok(true) => Ok(()),
        Ok(false) => match node.saver.running() {
            Some(run) if !background && run.delays_save() => Err(LATER),
            Some(run) if run.is_for_logs() => Err(REWRITING),
            Some(_) => Err(IN_PROGRESS),
            None => begin(ctx, background), // it has just ended
        },
        Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => Err(SLOTS_MOVE),
        Err(error) => {
            log::warning(format_args!("Cannot start a snapshot: {error}"));
            Err(FAILED)
        }
    }
}

/// Whether this is BGSAVE CANCEL, which begins nothing.
pub fn is_cancel(args: &[&[u8]]) -> bool {
    matches!(args, [_, option] if option.eq_ignore_ascii_case(b"cancel"))
}

fn begin_or_cancel(ctx: &mut HomeCtx<'_>) -> Outcome {
    let args = ctx.args;
    let may_wait = match args {
        [_] => false,
        [_, option] if option.eq_ignore_ascii_case(b"schedule") => true,
        _ if is_cancel(args) => {
            let cancelled = ctx.shard().node.saver.cancel();
            return cancelled.then_some(()).ok_or(NOT_IN_PROGRESS);
        }
        _ => return Err(Error::SYNTAX),
    };
    let client = ctx.session().id;
    let result = begin(ctx, true);
    let saver = &ctx.shard().node.saver;
    if result == Err(REWRITING) && may_wait {
        saver.schedule();
        return Ok(());
    }
    result.map(|()| saver.begun_by(client))
}

/// Begins a shard's part.
fn begin_part(ctx: &mut PartCtx<'_>) -> Outcome {
    let shard = &mut ctx.engine.shard;
    shard.settle_snapshot();
    let run = shard.node.saver.running();
    let run = run.filter(|run| !run.is_for_logs()).ok_or(FAILED)?;
    shard.begin_snapshot(run);
    Ok(())
}

/// The home goes on until all have begun: what is told before would have to be kept in memory.
pub(super) fn save_part(ctx: &mut PartCtx<'_>) -> Outcome {
    begin_part(ctx)?;
    let shard = &mut ctx.engine.shard;
    if shard.id != ctx.caller.home {
        shard.finish_snapshot();
    }
    Ok(())
}

fn save_merge(ctx: &mut MergeCtx<'_>) -> Outcome {
    if !is_saved(ctx) {
        return Err(FAILED);
    }
    ctx.reply.ok();
    Ok(())
}

/// Waits for the end of what all shards have begun; whether it was written.
pub(super) fn is_saved(ctx: &mut MergeCtx<'_>) -> bool {
    let shard = &mut ctx.engine.shard;
    // Not what is running when all is told: that may be another one, which this shard has no part in.
    let run = shard.snapshot_run();
    shard.finish_snapshot();
    let saver = &shard.node.saver;
    let saved = match run {
        Some(run) => saver.wait(&run),
        None => saver.has_saved(),
    };
    shard.settle_snapshot();
    saved
}

/// What has come before it in a pipeline may still be under way, and what comes after it may have
/// happened: it may be cancelled already.
fn bgsave_part(ctx: &mut PartCtx<'_>) -> Outcome {
    let saver = &ctx.engine.shard.node.saver;
    let run = saver.running().filter(|run| !run.is_for_logs());
    if is_cancel(ctx.args) || run.is_none() || !saver.is_by(ctx.caller.client) {
        return Ok(());
    }
    begin_part(ctx)
}

fn bgsave_merge(ctx: &mut MergeCtx<'_>) -> Outcome {
    let client = ctx.engine.session(ctx.conn).id;
    ctx.reply.simple(if is_cancel(ctx.args) {
        "Background saving cancelled"
    } else if ctx.engine.shard.node.saver.is_by(client) {
        "Background saving started"
    } else {
        "Background saving scheduled"
    });
    Ok(())
}

fn lastsave(ctx: &mut HomeCtx<'_>) -> Outcome {
    let last = ctx.shard().node.saver.facts().last_save;
    ctx.reply().integer(last as i64);
    Ok(())
}
