//! What the server says of replication, as a master without replicas; and of modules, which it does
//! not have.

use super::{admin, help, sub};
use crate::command::context::HomeCtx;
use crate::command::error::{Error, Outcome};
use crate::command::spec::{Acl, Deprecated, Flags, Group, Run, Spec};
use crate::resp::number::parse_i64;

pub(super) const ROLE: Spec = Spec {
    name: "role",
    arity: 1,
    flags: Flags::NOSCRIPT
        .or(Flags::LOADING)
        .or(Flags::STALE)
        .or(Flags::FAST),
    acl: Acl::ADMIN.or(Acl::FAST).or(Acl::DANGEROUS),
    group: Group::Server,
    since: "2.8.12",
    summary: "Returns the replication role.",
    run: Run::Home(role),
    ..Spec::BASE
};

pub(super) const REPLICAOF: Spec = Spec {
    name: "replicaof",
    arity: 3,
    flags: Flags::ADMIN
        .or(Flags::NOSCRIPT)
        .or(Flags::STALE)
        .or(Flags::NO_ASYNC_LOADING),
    acl: Acl::ADMIN.or(Acl::SLOW).or(Acl::DANGEROUS),
    group: Group::Server,
    since: "5.0.0",
    summary: "Configures a server as replica of another, or promotes it to a master.",
    syntax: "<<host port:integer>#host-port | <NO ONE>#no-one>#args",
    run: Run::Home(replica_of),
    ..Spec::BASE
};

pub(super) const SLAVEOF: Spec = Spec {
    name: "slaveof",
    since: "1.0.0",
    summary: "Sets a server as a replica of another, or promotes it to being a master.",
    deprecated: Some(Deprecated {
        since: "5.0.0",
        instead: "`REPLICAOF`",
    }),
    ..REPLICAOF
};

const MODULE_HELP: &[&str] = &["LIST", "    Return a list of loaded modules."];

pub(super) const MODULE: Spec = Spec {
    name: "module",
    arity: -2,
    acl: Acl::SLOW,
    group: Group::Server,
    since: "4.0.0",
    complexity: "Depends on subcommand.",
    summary: "A container for module commands.",
    subcommands: &[
        Spec {
            name: "list",
            arity: 2,
            flags: Flags::ADMIN.or(Flags::NOSCRIPT),
            complexity: "O(N) where N is the number of loaded modules.",
            summary: "Returns all loaded modules.",
            tips: &["nondeterministic_output_order"],
            run: Run::Home(|ctx| {
                ctx.reply().array(0);
                Ok(())
            }),
            ..admin("4.0.0")
        },
        Spec {
            name: "help",
            arity: 2,
            summary: "Returns helpful text about the different subcommands.",
            run: Run::Home(|ctx| help(ctx, "MODULE", MODULE_HELP)),
            ..sub("5.0.0")
        },
    ],
    ..Spec::BASE
};

fn role(ctx: &mut HomeCtx<'_>) -> Outcome {
    let mut reply = ctx.reply();
    reply.array(3);
    reply.bulk(b"master");
    reply.integer(0);
    reply.array(0);
    Ok(())
}

fn replica_of(ctx: &mut HomeCtx<'_>) -> Outcome {
    let is = |at: usize, word: &str| ctx.args[at].eq_ignore_ascii_case(word.as_bytes());
    if is(1, "no") && is(2, "one") {
        ctx.reply().ok();
        return Ok(());
    }
    match parse_i64(ctx.args[2]) {
        Some(0..=65_535) => Err(Error::new(
            "ERR replication is not supported yet: this server cannot be a replica",
        )),
        _ => Err(Error::new("ERR Invalid master port")),
    }
}
