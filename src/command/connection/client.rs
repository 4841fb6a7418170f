//! CLIENT's table, and those of its subcommands that concern the caller alone.

use super::{ANYTIME, list, reach, tracking};
use crate::command::context::HomeCtx;
use crate::command::error::{Error, Outcome};
use crate::command::spec::{Acl, Flags, Group, Run, Spec};
use crate::net::session::flag;

/// For everybody.
const OPEN: Spec = Spec {
    flags: ANYTIME,
    acl: Acl::SLOW.or(Acl::CONNECTION),
    group: Group::Connection,
    ..Spec::BASE
};
/// For administrators.
const ADMIN: Spec = Spec {
    flags: ANYTIME.or(Flags::ADMIN),
    acl: OPEN.acl.or(Acl::ADMIN).or(Acl::DANGEROUS),
    complexity: "O(N) where N is the number of client connections",
    ..OPEN
};

/// The subcommands of CLIENT.
pub(super) const SUBCOMMANDS: &[Spec] = &[
    Spec {
        name: "caching",
        arity: 3,
        since: "6.0.0",
        summary: "Tells whether the keys of the next command are tracked.",
        syntax: "<YES | NO>#mode",
        run: Run::Home(tracking::caching),
        ..OPEN
    },
    Spec {
        name: "capa",
        arity: -3,
        since: "8.0.0",
        summary: "Says what the client is able to handle.",
        syntax: "capability [capability ...]",
        run: Run::Home(capa),
        ..OPEN
    },
    Spec {
        name: "getname",
        arity: 2,
        since: "2.6.9",
        summary: "Returns the name of the connection.",
        run: Run::Home(getname),
        ..OPEN
    },
    Spec {
        name: "getredir",
        arity: 2,
        since: "6.0.0",
        summary: "Returns the client id to which tracking notifications of the connection go.",
        run: Run::Home(tracking::getredir),
        ..OPEN
    },
    Spec {
        name: "help",
        arity: 2,
        flags: Flags::LOADING.or(Flags::STALE),
        since: "5.0.0",
        summary: "Returns helpful text about the subcommands.",
        run: Run::Home(help),
        ..OPEN
    },
    Spec {
        name: "id",
        arity: 2,
        since: "5.0.0",
        summary: "Returns the id of the connection.",
        run: Run::Home(id),
        ..OPEN
    },
    Spec {
        name: "import-source",
        arity: 3,
        since: "8.1.0",
        summary: "Marks the connection as a source of imported data.",
        syntax: "<ON | OFF>#enabled",
        run: Run::Home(import_source),
        ..OPEN
    },
    Spec {
        name: "info",
        arity: 2,
        since: "6.2.0",
        summary: "Returns information about the connection.",
        tips: &["nondeterministic_output"],
        run: Run::Home(list::info),
        ..OPEN
    },
    Spec {
        name: "kill",
        arity: -3,
        since: "2.4.0",
        summary: "Closes open connections.",
        history: &[
            ("2.8.12", "Filters."),
            ("2.8.12", "`ID`."),
            ("3.2.0", "`TYPE master`."),
            ("5.0.0", "`TYPE replica`; `slave` still does."),
            ("6.2.0", "`LADDR`."),
            ("7.4.0", "`MAXAGE`."),
            (
                "8.1.0",
                "Several ids, more filters, and `NOT-` before them.",
            ),
        ],
        syntax: "<ip:port | <[ID client-id [client-id ...]] | \
                 [TYPE <NORMAL | MASTER | SLAVE | REPLICA | PUBSUB>] | [USER username] | \
                 [ADDR ip:port] | [LADDR ip:port] | [SKIPME <YES | NO>] | [MAXAGE maxage]> \
                 [filter value ...]>",
        run: Run::Gather {
            prepare: Some(reach::kill),
            part: reach::kill_part,
            merge: reach::kill_merge,
        },
        ..ADMIN
    },
    Spec {
        name: "list",
        arity: -2,
        since: "2.4.0",
        summary: "Lists open connections.",
        history: &[
            ("2.8.12", "The field `id`."),
            ("5.0.0", "`TYPE`."),
            ("6.0.0", "The field `user`."),
            (
                "6.2.0",
                "`ID`, and the fields `argv-mem`, `tot-mem`, `laddr` and `redir`.",
            ),
            ("7.0.0", "The fields `resp`, `multi-mem`, `rbs` and `rbp`."),
            ("7.0.3", "The field `ssub`."),
            ("7.2.0", "The fields `lib-name` and `lib-ver`."),
            ("8.1.0", "The filters of `CLIENT KILL`."),
        ],
        syntax: "[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]] \
                 [filter value ...]",
        tips: &["nondeterministic_output"],
        run: Run::Gather {
            prepare: Some(list::list),
            part: list::list_part,
            merge: list::list_merge,
        },
        ..ADMIN
    },
    Spec {
        name: "no-evict",
        arity: 3,
        complexity: "O(1)",
        since: "7.0.0",
        summary: "Protects the connection from client eviction.",
        syntax: "<ON | OFF>#enabled",
        run: Run::Home(no_evict),
        ..ADMIN
    },
    Spec {
        name: "no-touch",
        arity: 3,
        since: "7.2.0",
        summary: "Lets the connection's reads leave the access clock of keys alone.",
        syntax: "<ON | OFF>#enabled",
        run: Run::Home(no_touch),
        ..OPEN
    },
    Spec {
        name: "pause",
        arity: -3,
        complexity: "O(1)",
        since: "2.9.50",
        summary: "Holds commands back for a time.",
        history: &[("6.2.0", "The modes `WRITE` and `ALL`.")],
        syntax: "timeout:integer [WRITE | ALL]#mode",
        run: Run::Gather {
            prepare: Some(reach::pause),
            part: reach::pause_part,
            merge: reach::ok_merge,
        },
        ..ADMIN
    },
    Spec {
        name: "reply",
        arity: 3,
        since: "3.2.0",
        summary: "Tells whether the connection wants replies.",
        syntax: "ON | OFF | SKIP",
        run: Run::Home(reply),
        ..OPEN
    },
    Spec {
        name: "setinfo",
        arity: 4,
        since: "7.2.0",
        summary: "Names the library that the client uses.",
        syntax: "LIB-NAME libname | LIB-VER libver",
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        run: Run::Home(setinfo),
        ..OPEN
    },
    Spec {
        name: "setname",
        arity: 3,
        since: "2.6.9",
        summary: "Names the connection.",
        syntax: "connection-name",
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        run: Run::Home(setname),
        ..OPEN
    },
    Spec {
        name: "tracking",
        arity: -3,
        since: "6.0.0",
        complexity: "O(1). Some options may introduce additional complexity.",
        summary: "Controls server-assisted client-side caching.",
        syntax: "<ON | OFF>#status [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] \
                 [OPTIN] [OPTOUT] [NOLOOP]",
        run: Run::Home(tracking::track),
        ..OPEN
    },
    Spec {
        name: "trackinginfo",
        arity: 2,
        since: "6.2.0",
        summary: "Returns what the connection has asked of client-side caching.",
        run: Run::Home(tracking::info),
        ..OPEN
    },
    Spec {
        name: "unblock",
        arity: -3,
        complexity: "O(log N) where N is the number of client connections",
        since: "5.0.0",
        summary: "Ends another connection's blocking command.",
        syntax: "client-id [TIMEOUT | ERROR]",
        run: Run::Gather {
            prepare: Some(reach::unblock),
            part: reach::unblock_part,
            merge: reach::unblock_merge,
        },
        ..ADMIN
    },
    Spec {
        name: "unpause",
        arity: 2,
        since: "6.2.0",
        complexity: "O(N) Where N is the number of paused clients",
        summary: "Ends CLIENT PAUSE.",
        run: Run::Gather {
            prepare: None,
            part: reach::unpause_part,
            merge: reach::ok_merge,
        },
        ..ADMIN
    },
];

/// Whether every byte is a printable ASCII character other than the blank, so that CLIENT LIST
/// can be split by blanks.
fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

/// Whether a connection may have this name.
pub(super) fn check_name(name: &[u8]) -> Outcome {
    if is_plain(name) {
        return Ok(());
    }
    let text = "ERR Client names cannot contain spaces, newlines or special characters.";
    Err(Error::new(text))
}

/// Names the connection; an empty name is none.
pub(super) fn set_name(ctx: &mut HomeCtx<'_>, name: &[u8]) -> Outcome {
    check_name(name)?;
    ctx.session().info.name = name.to_vec();
    Ok(())
}

fn setname(ctx: &mut HomeCtx<'_>) -> Outcome {
    set_name(ctx, ctx.args[2])?;
    ctx.reply().ok();
    Ok(())
}

fn getname(ctx: &mut HomeCtx<'_>) -> Outcome {
    let name = ctx.session().info.name.clone();
    let mut reply = ctx.reply();
    if name.is_empty() {
        reply.null();
    } else {
        reply.bulk(&name);
    }
    Ok(())
}

fn setinfo(ctx: &mut HomeCtx<'_>) -> Outcome {
    let (option, value) = (ctx.args[2], ctx.args[3]);
    let name = option.eq_ignore_ascii_case(b"lib-name");
    if !name && !option.eq_ignore_ascii_case(b"lib-ver") {
        return Err(Error::quoting("ERR Unrecognized option '", option, "'"));
    }
    if !is_plain(value) {
        return Err(Error::quoting(
            "ERR ",
            option,
            " cannot contain spaces, newlines or special characters.",
        ));
    }
    let info = &mut ctx.session().info;
    let field = if name {
        &mut info.lib_name
    } else {
        &mut info.lib_ver
    };
    *field = value.to_vec();
    ctx.reply().ok();
    Ok(())
}

fn id(ctx: &mut HomeCtx<'_>) -> Outcome {
    let id = ctx.session().id;
    ctx.reply().integer(id as i64);
    Ok(())
}

/// ON or OFF.
pub(super) fn on_or_off(arg: &[u8]) -> Result<bool, Error> {
    match () {
        () if arg.eq_ignore_ascii_case(b"on") => Ok(true),
        () if arg.eq_ignore_ascii_case(b"off") => Ok(false),
        () => Err(Error::SYNTAX),
    }
}

/// Sets a bit of [`flag`] as the argument says.
fn switch(ctx: &mut HomeCtx<'_>, bit: u32) -> Outcome {
    let on = on_or_off(ctx.args[2])?;
    ctx.session().set(bit, on);
    ctx.reply().ok();
    Ok(())
}

fn no_evict(ctx: &mut HomeCtx<'_>) -> Outcome {
    switch(ctx, flag::NO_EVICT)
}

fn no_touch(ctx: &mut HomeCtx<'_>) -> Outcome {
    switch(ctx, flag::NO_TOUCH)
}

/// CLIENT REPLY. Only ON is answered; SKIP means nothing while replies are off.
fn reply(ctx: &mut HomeCtx<'_>) -> Outcome {
    let mode = ctx.args[2];
    let session = ctx.session();
    if mode.eq_ignore_ascii_case(b"on") {
        session.flags &= !(flag::REPLY_OFF | flag::REPLY_SKIP);
        ctx.reply().ok();
    } else if mode.eq_ignore_ascii_case(b"off") {
        session.flags |= flag::REPLY_OFF;
    } else if mode.eq_ignore_ascii_case(b"skip") {
        if !session.is(flag::REPLY_OFF) {
            session.flags |= flag::REPLY_SKIP_NEXT;
        }
    } else {
        return Err(Error::SYNTAX);
    }
    Ok(())
}

fn capa(ctx: &mut HomeCtx<'_>) -> Outcome {
    let asked = |arg: &&[u8]| arg.eq_ignore_ascii_case(b"redirect");
    if ctx.args[2..].iter().any(asked) {
        ctx.session().flags |= flag::CAPA_REDIRECT;
    }
    ctx.reply().ok();
    Ok(())
}

/// CLIENT IMPORT-SOURCE: there is no import mode here, so it can only be off.
fn import_source(ctx: &mut HomeCtx<'_>) -> Outcome {
    if !ctx.args[2].eq_ignore_ascii_case(b"off") {
        return Err(Error::new("ERR Server is not in import mode"));
    }
    ctx.reply().ok();
    Ok(())
}

fn help(ctx: &mut HomeCtx<'_>) -> Outcome {
    let mut reply = ctx.reply();
    reply.array(HELP.len());
    HELP.iter().for_each(|line| reply.simple(line));
    Ok(())
}

const HELP: &[&str] = &[
    "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CACHING (YES|NO)",
    "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
    "CAPA <option> [options...]",
    "    Say what the client can handle. Options are:",
    "    * REDIRECT",
    "      The client follows redirections.",
    "GETREDIR",
    "    Return the client ID we are redirecting to when tracking is enabled.",
    "GETNAME",
    "    Return the name of the current connection.",
    "ID",
    "    Return the ID of the current connection.",
    "INFO",
    "    Return information about the current client connection.",
    "KILL <ip:port>",
    "    Kill connection made from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Kill connections. Options are those of LIST, and NOT- before any but SKIPME.",
    "    SKIPME is yes by default.",
    "LIST [options ...]",
    "    Return information about client connections. Options:",
    "    * ADDR (<ip:port>|<unixsocket>:0), LADDR (<ip:port>|<unixsocket>:0), IP <ip>",
    "      By the peer's or the local address.",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      By type.",
    "    * ID <client-id> [<client-id> ...], USER <username>, NAME <name>",
    "      By who they are.",
    "    * LIB-NAME <name>, LIB-VER <version>, CAPA <letters>, FLAGS <letters>, DB <db>",
    "      By what they have asked for.",
    "    * MAXAGE <seconds>, IDLE <seconds>",
    "      At least so old, or silent for so long.",
    "    * SKIPME (YES|NO)",
    "      Leave out the current connection (default: no).",
    "UNPAUSE",
    "    Stop the current client pause, resuming traffic.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Suspend all, or just write, clients for <timeout> milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Control the replies sent to the current connection.",
    "SETINFO <option> <value>",
    "    Name the client's library. Options are LIB-NAME and LIB-VER.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
    "UNBLOCK <clientid> [TIMEOUT|ERROR]",
    "    Unblock the specified blocked client.",
    "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
    "         [OPTIN] [OPTOUT] [NOLOOP]",
    "    Control server assisted client side caching.",
    "TRACKINGINFO",
    "    Report tracking status for the current connection.",
    "NO-EVICT (ON|OFF)",
    "    Protect current client connection from eviction.",
    "NO-TOUCH (ON|OFF)",
    "    Will not touch LRU/LFU stats when this mode is on.",
    "IMPORT-SOURCE (ON|OFF)",
    "    Mark this connection as an import source.",
    "HELP",
    "    Print this help.",
];
