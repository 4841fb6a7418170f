//! SHUTDOWN: ends the server in order. Where a snapshot is to be written first it is a SAVE, and the
//! server goes on if that fails. A signal is a SHUTDOWN of the server's own.

use super::save;
use crate::command::context::{HomeCtx, MergeCtx};
use crate::command::error::{Error, Outcome};
use crate::command::spec::{Acl, Flags, Group, Run, Spec};
use crate::net::session::flag;
use crate::server::log;
use crate::shard::node::{Ending, Node};

pub(super) const SPEC: Spec = Spec {
    name: "shutdown",
    arity: -1,
    flags: Flags::ADMIN
        .or(Flags::NOSCRIPT)
        .or(Flags::LOADING)
        .or(Flags::STALE)
        .or(Flags::NO_MULTI)
        .or(Flags::ALLOW_BUSY),
    acl: Acl::ADMIN.or(Acl::SLOW).or(Acl::DANGEROUS),
    group: Group::Server,
    since: "1.0.0",
    complexity: "O(N) when saving, where N is the total number of keys in all databases when saving data, otherwise O(1)",
    summary: "Synchronously saves the database(s) to disk and shuts down the server.",
    history: &[("7.0.0", "`NOW`, `FORCE` and `ABORT`.")],
    syntax: "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]",
    run: Run::Gather {
        prepare: Some(begin),
        part: save::save_part,
        merge,
    },
    ..Spec::BASE
};

/// What the options ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wish {
    /// And whether a snapshot is written, where that is said; whether by force.
    Stop(Option<bool>, bool),
    Abort,
}

fn parse(options: &[&[u8]]) -> Result<Wish, Error> {
    let (mut save, mut no_save, mut abort) = (false, false, false);
    let (mut now, mut force) = (false, false);
    for option in options {
        match option.to_ascii_lowercase().as_slice() {
            b"save" => save = true,
            b"nosave" => no_save = true,
            b"now" => now = true,
            b"force" => force = true,
            b"abort" => abort = true,
            _ => return Err(Error::SYNTAX),
        }
    }
    if abort && (save || no_save || now || force) || save && no_save {
        return Err(Error::SYNTAX);
    }
    Ok(match (abort, save, no_save) {
        (true, ..) => Wish::Abort,
        (_, true, _) => Wish::Stop(Some(true), force),
        (_, _, true) => Wish::Stop(Some(false), force),
        _ => Wish::Stop(None, force),
    })
}

/// To whoever runs SHUTDOWN, not to its client: the server ends, and there is nothing to reply.
pub const ENDS: Error = Error::fixed("ERR The server ends");
const REFUSED: Error = Error::fixed("ERR Errors trying to SHUTDOWN. Check logs.");

fn begin(ctx: &mut HomeCtx<'_>) -> Outcome {
    let Wish::Stop(saves, force) = parse(&ctx.args[1..])? else {
        // Nothing here makes a shutdown wait, so none can be in progress while commands run.
        return Err(Error::new("ERR No shutdown in progress."));
    };
    let own = ctx.session().peer.is_own();
    if !own {
        log::warning(format_args!("User requested shutdown..."));
    }
    let node = ctx.shard().node.clone();
    if !force && node.writes_first_base() {
        log::warning(format_args!("Writing initial AOF, can't exit."));
        return Err(refused(&node, own));
    }
    if !force && node.saves_first(saves) {
        return begin_save(ctx);
    }
    if let Some(saves) = saves {
        // Who asked first is heard.
        let _ = node.saves_at_end.set(saves);
    }
    // No reply: the end of the connection says that it is done, as on Redis.
    ctx.session().flags |= flag::CLOSE_AFTER_REPLY;
    node.stop();
    Err(ENDS)
}

/// Nothing else is worth writing now: what is being written is given up, and waited for.
fn begin_save(ctx: &mut HomeCtx<'_>) -> Outcome {
    let own = ctx.session().peer.is_own();
    let node = ctx.shard().node.clone();
    node.saver.cancel();
    node.saver.cancel_base();
    let begun = save::begin_save(ctx);
    if begun == Err(save::LATER) || own && begun == Err(save::SLOTS_MOVE) {
        return Err(save::LATER); // a signal's stays wanted
    }
    begun.map_err(|_| not_saved(&node, own))?;
    if own {
        node.set_ending(Ending::Begun);
    }
    Ok(())
}

fn merge(ctx: &mut MergeCtx<'_>) -> Outcome {
    let saved = save::is_saved(ctx);
    let mut own = false;
    // Who has asked may be gone.
    if let Some(session) = ctx.engine.session_if(ctx.conn) {
        session.set(flag::CLOSE_AFTER_REPLY, saved);
        own = session.peer.is_own();
    }
    let node = &ctx.engine.shard.node;
    if !saved {
        return Err(not_saved(node, own));
    }
    let _ = node.saves_at_end.set(true);
    node.set_ending(Ending::Saved);
    node.stop();
    Ok(())
}

fn not_saved(node: &Node, own: bool) -> Error {
    log::warning(format_args!("Error trying to save the DB, can't exit."));
    refused(node, own)
}

fn refused(node: &Node, own: bool) -> Error {
    node.set_ending(Ending::No);
    if own {
        log::warning(format_args!(
            "Errors trying to shut down the server. Check the logs for more information."
        ));
    }
    REFUSED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_contradict_are_refused() {
        let parse = |line: &str| {
            let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
            parse(&words)
        };
        assert_eq!(parse(""), Ok(Wish::Stop(None, false)));
        assert_eq!(parse("save"), Ok(Wish::Stop(Some(true), false)));
        assert_eq!(parse("NoSave now FORCE"), Ok(Wish::Stop(Some(false), true)));
        assert_eq!(parse("abort"), Ok(Wish::Abort));
        for wrong in ["foo", "save nosave", "abort now", "abort save"] {
            assert_eq!(parse(wrong), Err(Error::SYNTAX), "{wrong}");
        }
    }
}
