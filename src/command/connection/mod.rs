//! Commands about the connection itself: who it is, which database and protocol it uses, and what
//! an administrator does with other connections.
//!
//! All of them run at the connection's home. CLIENT LIST, KILL, PAUSE, UNPAUSE and UNBLOCK and
//! MONITOR speak to every shard; each shard looks at its own connections only.

mod auth;
mod client;
mod filter;
mod list;
mod reach;
mod tracking;

use super::context::HomeCtx;
use super::error::{Error, Outcome};
use super::spec::{Acl, Flags, Group, Run, Spec};
use crate::net::session::flag;
use crate::resp::Version;
use crate::resp::number::parse_i64;

/// Of nearly all commands here.
const ANYTIME: Flags = Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE);
/// Of those that work before AUTH.
const BEFORE_AUTH: Flags = ANYTIME
    .or(Flags::FAST)
    .or(Flags::NO_AUTH)
    .or(Flags::ALLOW_BUSY);

const FAST: Spec = Spec {
    acl: Acl::FAST.or(Acl::CONNECTION),
    group: Group::Connection,
    ..Spec::BASE
};

/// The commands of the group, and MONITOR.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "auth",
        arity: -2,
        flags: BEFORE_AUTH,
        complexity: "O(N) where N is the number of passwords defined for the user",
        summary: "Authenticates the connection.",
        history: &[("6.0.0", "Takes a user name, too.")],
        syntax: "[username] password",
        secret: |_, at| at >= 1,
        run: Run::Home(auth::auth),
        ..FAST
    },
    Spec {
        name: "client",
        arity: -2,
        acl: Acl::SLOW,
        since: "2.4.0",
        complexity: "Depends on subcommand.",
        summary: "A container for client connection commands.",
        subcommands: client::SUBCOMMANDS,
        run: Run::Container,
        ..FAST
    },
    Spec {
        name: "echo",
        arity: 2,
        flags: Flags::LOADING.or(Flags::STALE).or(Flags::FAST),
        summary: "Returns the given string.",
        syntax: "message",
        run: Run::Home(echo),
        ..FAST
    },
    Spec {
        name: "hello",
        arity: -1,
        flags: BEFORE_AUTH,
        since: "6.0.0",
        summary: "Greets the server: chooses the protocol, and may authenticate and name the connection.",
        history: &[(
            "6.2.0",
            "May be called without arguments: nothing changes, and the reply says how things are.",
        )],
        syntax: "[protover [AUTH username password]#username_password [SETNAME clientname]]#arguments",
        secret: auth::is_login,
        run: Run::Home(auth::hello),
        ..FAST
    },
    Spec {
        name: "ping",
        arity: -1,
        flags: Flags::FAST,
        summary: "Returns PONG, or the given string.",
        syntax: "[message]",
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        run: Run::Home(ping),
        ..FAST
    },
    Spec {
        name: "quit",
        arity: -1,
        flags: BEFORE_AUTH,
        summary: "Closes the connection.",
        run: Run::Home(quit),
        ..FAST
    },
    Spec {
        name: "reset",
        arity: 1,
        flags: BEFORE_AUTH,
        since: "6.2.0",
        summary: "Makes the connection as it was when it was new.",
        run: Run::Home(auth::reset),
        ..FAST
    },
    Spec {
        name: "select",
        arity: 2,
        flags: Flags::LOADING.or(Flags::STALE).or(Flags::FAST),
        summary: "Changes the database of the connection.",
        syntax: "index",
        run: Run::Home(select),
        ..FAST
    },
    Spec {
        name: "monitor",
        arity: 1,
        flags: ANYTIME.or(Flags::ADMIN),
        acl: Acl::ADMIN.or(Acl::SLOW).or(Acl::DANGEROUS),
        group: Group::Server,
        complexity: "",
        summary: "Shows every command that the server executes, in real time.",
        run: Run::Gather {
            prepare: Some(reach::monitor),
            part: reach::monitor_part,
            merge: reach::monitor_merge,
        },
        ..FAST
    },
];

fn echo(ctx: &mut HomeCtx<'_>) -> Outcome {
    let text = ctx.args[1];
    ctx.reply().bulk(text);
    Ok(())
}

fn ping(ctx: &mut HomeCtx<'_>) -> Outcome {
    let args = ctx.args;
    if args.len() > 2 {
        return Err(Error::arity("ping"));
    }
    let session = ctx.session();
    if session.is(flag::PUBSUB) && session.version == Version::Resp2 {
        let mut reply = ctx.reply();
        reply.array(2);
        reply.bulk(b"pong");
        reply.bulk(args.get(1).copied().unwrap_or_default());
        return Ok(());
    }
    match args.get(1) {
        Some(text) => ctx.reply().bulk(text),
        None => ctx.reply().simple("PONG"),
    }
    Ok(())
}

fn quit(ctx: &mut HomeCtx<'_>) -> Outcome {
    ctx.reply().ok();
    ctx.session().flags |= flag::CLOSE_AFTER_REPLY;
    Ok(())
}

fn select(ctx: &mut HomeCtx<'_>) -> Outcome {
    let index = parse_i64(ctx.args[1]).ok_or(Error::NOT_INTEGER)?;
    i32::try_from(index).map_err(|_| Error::NOT_INT32)?;
    if index != 0 && ctx.session().is(flag::STRICT) {
        return Err(Error::new("ERR SELECT is not allowed in cluster mode"));
    }
    let databases = ctx.shard().keyspace.databases();
    let db = u16::try_from(index)
        .ok()
        .filter(|db| usize::from(*db) < databases);
    ctx.session().db = db.ok_or(Error::DB_OUT_OF_RANGE)?;
    ctx.reply().ok();
    Ok(())
}
