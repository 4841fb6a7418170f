//! SYNC, PSYNC and REPLCONF as far as they serve who wants a snapshot over the connection
//! (`redis-cli --rdb`). There is no replication yet: who says that it is a replica is refused.
//!
//! A client gets the snapshot as a bulk payload of known length and the connection ends, as on Redis
//! after `REPLCONF rdb-only 1`; what it sends meanwhile is not answered.

use std::time::Duration;

use crate::command::context::{HomeCtx, MergeCtx, PartCtx};
use crate::command::error::{Error, Outcome};
use crate::command::spec::{Acl, Flags, Group, Run, Spec};
use crate::net::session::flag;
use crate::resp::number::parse_i64;
use crate::server::log;
use crate::server::snapshot::Target;
use crate::server::transfer::Transfer;

const FLAGS: Flags = Flags::ADMIN
    .or(Flags::NOSCRIPT)
    .or(Flags::NO_ASYNC_LOADING)
    .or(Flags::NO_MULTI);
const ACL: Acl = Acl::ADMIN.or(Acl::SLOW).or(Acl::DANGEROUS);

pub(super) const SYNC: Spec = Spec {
    name: "sync",
    arity: 1,
    flags: FLAGS,
    acl: ACL,
    group: Group::Server,
    complexity: "",
    summary: "An internal command used in replication.",
    run: Run::Gather {
        prepare: Some(begin),
        part,
        merge,
    },
    ..Spec::BASE
};

pub(super) const PSYNC: Spec = Spec {
    name: "psync",
    arity: -3,
    since: "2.8.0",
    syntax: "replicationid offset:integer",
    ..SYNC
};

pub(super) const REPLCONF: Spec = Spec {
    name: "replconf",
    arity: -1,
    flags: Flags::ADMIN
        .or(Flags::NOSCRIPT)
        .or(Flags::LOADING)
        .or(Flags::STALE)
        .or(Flags::ALLOW_BUSY),
    acl: ACL,
    group: Group::Server,
    since: "3.0.0",
    summary: "An internal configuration command for replication.",
    internal: true,
    run: Run::Home(replconf),
    ..Spec::BASE
};

/// What a client has said with REPLCONF of the snapshot that it wants.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Wish {
    /// It wants to be a replica.
    replica: bool,
    /// It wants libraries of functions and no keys.
    functions_only: bool,
}

const NO_REPLICATION: Error = Error::fixed(
    "ERR replication is not supported yet: this server gives snapshots, and has no replicas",
);

fn replconf(ctx: &mut HomeCtx<'_>) -> Outcome {
    let options = &ctx.args[1..];
    if !options.len().is_multiple_of(2) {
        return Err(Error::SYNTAX);
    }
    let mut wish = ctx.session().info.wish;
    for pair in options.chunks_exact(2) {
        let (option, value) = (pair[0], pair[1]);
        let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
        if is("listening-port") || is("ip-address") {
            wish.replica = true;
        } else if is("rdb-filter-only") {
            let words = value.split(|byte| byte.is_ascii_whitespace());
            let mut words = words.filter(|word| !word.is_empty());
            let mut functions = false;
            for word in &mut words {
                if !word.eq_ignore_ascii_case(b"functions") {
                    let word = String::from_utf8_lossy(word);
                    return Err(Error::new(format!(
                        "ERR Unsupported rdb-filter-only option: {word}"
                    )));
                }
                functions = true;
            }
            wish.functions_only = functions;
        } else if is("rdb-only") {
            parse_i64(value).ok_or(Error::NOT_INTEGER)?;
        } else if is("ack") || is("getack") {
            return Ok(()); // not answered on Redis either
        } else if !(is("capa") || is("version")) {
            let option = String::from_utf8_lossy(option);
            return Err(Error::new(format!(
                "ERR Unrecognized REPLCONF option: {option}"
            )));
        }
    }
    ctx.session().info.wish = wish;
    ctx.reply().ok();
    Ok(())
}

fn begin(ctx: &mut HomeCtx<'_>) -> Outcome {
    let session = ctx.session();
    let (wish, fd) = (session.info.wish, session.fd);
    if session.waiting > 0 || session.info.backlog_bytes > 0 || !session.out.shared.is_empty() {
        return Err(Error::fixed(
            "ERR what was asked before must be answered first",
        ));
    }
    if wish.replica {
        return Err(NO_REPLICATION);
    }
    let partial = ctx.args.len() > 1;
    let shard = ctx.shard();
    shard.settle_snapshot();
    let node = shard.node.clone();
    if !wish.functions_only && node.saver.running().is_some() {
        return Err(Error::fixed(
            "ERR a snapshot is being taken: try again when it is written",
        ));
    }
    let now = shard.now_ms / 1000;
    let patience = Duration::from_secs(shard.config.repl_timeout.max(1).into());
    // Replies that have not left yet leave the other way.
    let mut greeting = ctx.session().out.buf.clone();
    if partial {
        greeting.extend_from_slice(format!("+FULLRESYNC {} 0\r\n", node.run_id).as_bytes());
    }
    let begun = Transfer::new(fd, greeting, patience).and_then(|transfer| {
        if wish.functions_only {
            let bytes = node.saver.functions_alone(now);
            let thread = std::thread::Builder::new().name("snapshot".into());
            thread
                .spawn(move || transfer.send_bytes(&bytes))
                .map(|_| true)
        } else {
            node.saver.begin(&node, now, true, Target::Client(transfer))
        }
    });
    match begun {
        Ok(true) => {
            // From here on the socket's other descriptor alone is written to.
            let session = ctx.session();
            session.flags |= flag::REPLY_OFF;
            session.out.buf.clear();
            Ok(())
        }
        Ok(false) => Err(Error::fixed("ERR a snapshot is being taken: try again")),
        Err(error) => {
            log::warning(format_args!(
                "Cannot start a snapshot for a client: {error}"
            ));
            Err(Error::fixed(
                "ERR a snapshot cannot be sent now: the log says why",
            ))
        }
    }
}

/// A shard's part, where there is a snapshot for a client that it has not begun.
fn part(ctx: &mut PartCtx<'_>) -> Outcome {
    let shard = &mut ctx.engine.shard;
    shard.settle_snapshot();
    if let Some(run) = shard.node.saver.running()
        && run.is_for_client()
        && shard.snapshot.is_none()
    {
        shard.begin_snapshot(run);
    }
    Ok(())
}

/// The reply is the snapshot, which comes another way.
fn merge(_: &mut MergeCtx<'_>) -> Outcome {
    Ok(())
}
