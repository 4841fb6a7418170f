//! ACL as far as there is one user, `default`, who may do everything and whose password is
//! `requirepass`.

use sha2::{Digest, Sha256};

use super::catalog::name_of;
use super::{admin, help, sub};
use crate::command::context::HomeCtx;
use crate::command::error::{Error, Outcome};
use crate::command::registry::RowId;
use crate::command::spec::{Acl, Flags, Group, Run, Spec};

const HELP: &[&str] = &[
    "CAT [<category>]",
    "    List all commands that belong to <category>, or all command categories",
    "    when no category is specified.",
    "GETUSER <username>",
    "    Get the user's details.",
    "LIST",
    "    Show users details in config file format.",
    "USERS",
    "    List all the registered usernames.",
    "WHOAMI",
    "    Return the current connection username.",
];

/// A subcommand that everybody may use, but no script.
const fn open(since: &'static str) -> Spec {
    Spec {
        flags: sub(since).flags.or(Flags::NOSCRIPT),
        ..sub(since)
    }
}

pub(super) const SPEC: Spec = Spec {
    name: "acl",
    arity: -2,
    acl: Acl::SLOW,
    group: Group::Server,
    since: "6.0.0",
    complexity: "Depends on subcommand.",
    summary: "A container for Access List Control commands.",
    subcommands: &[
        Spec {
            name: "cat",
            arity: -2,
            complexity: "O(1) since the categories and commands are a fixed set.",
            summary: "Lists the ACL categories, or the commands inside a category.",
            syntax: "[categoryname]",
            run: Run::Home(cat),
            ..open("6.0.0")
        },
        Spec {
            name: "getuser",
            arity: 3,
            complexity: "O(N). Where N is the number of password, command and pattern rules that the user has.",
            summary: "Lists the ACL rules of a user.",
            history: &[
                ("6.2.0", "Channel patterns are in the reply."),
                (
                    "7.0.0",
                    "Selectors are in the reply, and patterns in the form of rules.",
                ),
            ],
            syntax: "username",
            secret: |_, at| at >= 2,
            run: Run::Home(get_user),
            ..admin("6.0.0")
        },
        Spec {
            name: "list",
            arity: 2,
            complexity: "O(N). Where N is the number of configured users.",
            summary: "Dumps the effective rules in ACL file format.",
            run: Run::Home(list),
            ..admin("6.0.0")
        },
        Spec {
            name: "users",
            arity: 2,
            complexity: "O(N). Where N is the number of configured users.",
            summary: "Lists all ACL users.",
            run: Run::Home(users),
            ..admin("6.0.0")
        },
        Spec {
            name: "whoami",
            arity: 2,
            summary: "Returns the authenticated username of the current connection.",
            run: Run::Home(who_am_i),
            ..open("6.0.0")
        },
        Spec {
            name: "help",
            arity: 2,
            summary: "Returns helpful text about the different subcommands.",
            run: Run::Home(|ctx| help(ctx, "ACL", HELP)),
            ..sub("6.0.0")
        },
    ],
    ..Spec::BASE
};

/// SHA-256 of the password in hexadecimal, as ACL LIST shows it, without its `#`.
fn password_hash(ctx: &mut HomeCtx<'_>) -> Option<String> {
    let password = &ctx.shard().config.requirepass;
    (!password.is_empty()).then(|| format!("{:x}", Sha256::digest(password)))
}

fn cat(ctx: &mut HomeCtx<'_>) -> Outcome {
    let registry = ctx.shard().registry.clone();
    match ctx.args[2..] {
        [] => {
            let mut reply = ctx.reply();
            reply.array(Acl::NAMES.len());
            for (_, name) in Acl::NAMES {
                reply.bulk(name.as_bytes());
            }
            Ok(())
        }
        [category] => {
            let is = |name: &str| name.as_bytes().eq_ignore_ascii_case(category);
            let Some((bit, _)) = Acl::NAMES.iter().find(|(_, name)| is(name)) else {
                return Err(Error::quoting("ERR Unknown category '", category, "'"));
            };
            let ids: Vec<RowId> = (0..registry.rows.len() as u16)
                .map(RowId)
                .filter(|id| registry.row(*id).spec.acl.has(*bit))
                .collect();
            let mut reply = ctx.reply();
            reply.array(ids.len());
            for id in ids {
                reply.bulk(name_of(&registry, id).as_bytes());
            }
            Ok(())
        }
        [_, cat, ..] => Err(Error::wrong_arguments(cat, "ACL")),
    }
}

fn get_user(ctx: &mut HomeCtx<'_>) -> Outcome {
    if ctx.args[2] != b"default" {
        ctx.reply().null();
        return Ok(());
    }
    let password = password_hash(ctx);
    let mut reply = ctx.reply();
    reply.map(6);
    reply.bulk(b"flags");
    let flags: &[&str] = match password {
        Some(_) => &["on"],
        None => &["on", "nopass"],
    };
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"passwords");
    reply.array(usize::from(password.is_some()));
    if let Some(hash) = &password {
        reply.bulk(hash.as_bytes());
    }
    for (name, rule) in [("commands", "+@all"), ("keys", "~*"), ("channels", "&*")] {
        reply.bulk(name.as_bytes());
        reply.bulk(rule.as_bytes());
    }
    reply.bulk(b"selectors");
    reply.array(0);
    Ok(())
}

fn list(ctx: &mut HomeCtx<'_>) -> Outcome {
    let password = match password_hash(ctx) {
        Some(hash) => format!("#{hash}"),
        None => "nopass".into(),
    };
    let line = format!("user default on {password} ~* &* +@all");
    let mut reply = ctx.reply();
    reply.array(1);
    reply.bulk(line.as_bytes());
    Ok(())
}

fn users(ctx: &mut HomeCtx<'_>) -> Outcome {
    let mut reply = ctx.reply();
    reply.array(1);
    reply.bulk(b"default");
    Ok(())
}

fn who_am_i(ctx: &mut HomeCtx<'_>) -> Outcome {
    ctx.reply().bulk(b"default");
    Ok(())
}
