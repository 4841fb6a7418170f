//! COMMAND: the table of commands as clients ask for it, printed from the rows.

use super::{docs, help};
use crate::command::context::HomeCtx;
use crate::command::error::{Error, Outcome};
use crate::command::keys::{KeyAt, keys_of};
use crate::command::registry::{Registry, Row, RowId};
use crate::command::spec::{Acl, Begin, Find, Flags, Group, KeyFlags, KeySpec, Run, Spec};
use crate::resp::encode::Reply;
use crate::stdx::glob;

const HELP: &[&str] = &[
    "(no subcommand)",
    "    Return details about all Redis commands.",
    "COUNT",
    "    Return the total number of commands in this Redis server.",
    "LIST",
    "    Return a list of all commands in this Redis server.",
    "INFO [<command-name> ...]",
    "    Return details about multiple Redis commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "DOCS [<command-name> ...]",
    "    Return documentation details about multiple Redis commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "GETKEYS <full-command>",
    "    Return the keys from a full Redis command.",
    "GETKEYSANDFLAGS <full-command>",
    "    Return the keys and the access flags from a full Redis command.",
];

/// A subcommand of COMMAND.
const fn sub(name: &'static str, arity: i32, since: &'static str, run: Run) -> Spec {
    Spec {
        name,
        arity,
        flags: Flags::LOADING.or(Flags::STALE),
        acl: Acl::SLOW.or(Acl::CONNECTION),
        group: Group::Server,
        since,
        run,
        ..Spec::BASE
    }
}

const PER_NAME: &str = "O(N) where N is the number of commands to look up";
const PER_ARGUMENT: &str = "O(N) where N is the number of arguments to the command";
const NO_ORDER: &[&str] = &["nondeterministic_output_order"];

pub(super) const SPEC: Spec = Spec {
    complexity: "O(N) where N is the total number of Redis commands",
    summary: "Returns detailed information about all commands.",
    tips: NO_ORDER,
    subcommands: &[
        Spec {
            summary: "Returns a count of commands.",
            ..sub("count", 2, "2.8.13", Run::Home(count))
        },
        Spec {
            summary: "Returns documentary information about one, multiple or all commands.",
            complexity: PER_NAME,
            syntax: "[command-name [command-name ...]]",
            tips: NO_ORDER,
            ..sub("docs", -2, "7.0.0", Run::Home(docs))
        },
        Spec {
            summary: "Extracts the key names from an arbitrary command.",
            complexity: PER_ARGUMENT,
            syntax: "command [arg [arg ...]]",
            ..sub("getkeys", -4, "2.8.13", Run::Home(get_keys))
        },
        Spec {
            summary: "Extracts the key names and access flags for an arbitrary command.",
            complexity: PER_ARGUMENT,
            syntax: "command [arg [arg ...]]",
            ..sub(
                "getkeysandflags",
                -4,
                "7.0.0",
                Run::Home(get_keys_and_flags),
            )
        },
        Spec {
            summary: "Returns helpful text about the different subcommands.",
            ..sub(
                "help",
                2,
                "5.0.0",
                Run::Home(|ctx| help(ctx, "COMMAND", HELP)),
            )
        },
        Spec {
            summary: "Returns information about one, multiple or all commands.",
            history: &[("7.0.0", "Without a name: all commands.")],
            complexity: PER_NAME,
            syntax: "[command-name [command-name ...]]",
            tips: NO_ORDER,
            ..sub("info", -2, "2.8.13", Run::Home(info))
        },
        Spec {
            summary: "Returns a list of command names.",
            complexity: "O(N) where N is the total number of Redis commands",
            syntax: "[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>#filterby]",
            tips: NO_ORDER,
            ..sub("list", -2, "7.0.0", Run::Home(list))
        },
    ],
    ..sub("command", -1, "2.8.13", Run::Home(all))
};

/// The commands that can be called, without their subcommands.
fn commands(registry: &Registry) -> Vec<RowId> {
    (0..registry.rows.len() as u16)
        .map(RowId)
        .filter(|id| registry.row(*id).parent.is_none() && !registry.row(*id).called.is_empty())
        .collect()
}

/// Whether a row, or its container, has not been renamed away.
fn is_callable(registry: &Registry, id: RowId) -> bool {
    let row = registry.row(id);
    !registry.row(row.parent.unwrap_or(id)).called.is_empty()
}

/// The row of a name as INFO prints it: `get`, `config|get`.
pub(super) fn find_by_name(registry: &Registry, name: &[u8]) -> Option<RowId> {
    match name.iter().position(|b| *b == b'|') {
        None => registry.find(name),
        Some(at) => registry.find_child(registry.find(&name[..at])?, &name[at + 1..]),
    }
}

/// The name that clients know a row by.
pub(super) fn name_of(registry: &Registry, id: RowId) -> String {
    let row = registry.row(id);
    match row.parent {
        Some(parent) => format!("{}|{}", registry.row(parent).called, row.called),
        None => row.called.clone(),
    }
}

fn all(ctx: &mut HomeCtx<'_>) -> Outcome {
    match ctx.args {
        // A subcommand that exists has a row of its own.
        [_, other, ..] => Err(Error::unknown_subcommand(other, "command")),
        _ => put_all(ctx),
    }
}

fn put_all(ctx: &mut HomeCtx<'_>) -> Outcome {
    let registry = ctx.shard().registry.clone();
    let mut reply = ctx.reply();
    let ids = commands(&registry);
    reply.array(ids.len());
    ids.into_iter()
        .for_each(|id| put_row(&mut reply, &registry, id));
    Ok(())
}

fn count(ctx: &mut HomeCtx<'_>) -> Outcome {
    let n = commands(&ctx.shard().registry).len();
    ctx.reply().integer(n as i64);
    Ok(())
}

fn info(ctx: &mut HomeCtx<'_>) -> Outcome {
    if ctx.args.len() == 2 {
        return put_all(ctx);
    }
    let registry = ctx.shard().registry.clone();
    let names = &ctx.args[2..];
    let mut reply = ctx.reply();
    reply.array(names.len());
    for name in names {
        match find_by_name(&registry, name) {
            Some(id) => put_row(&mut reply, &registry, id),
            None => reply.null(),
        }
    }
    Ok(())
}

fn docs(ctx: &mut HomeCtx<'_>) -> Outcome {
    let registry = ctx.shard().registry.clone();
    let ids = match &ctx.args[2..] {
        [] => commands(&registry),
        names => names
            .iter()
            .filter_map(|name| find_by_name(&registry, name))
            .collect(),
    };
    let mut reply = ctx.reply();
    reply.map(ids.len());
    for id in ids {
        docs::put(&mut reply, &registry, id);
    }
    Ok(())
}

fn list(ctx: &mut HomeCtx<'_>) -> Outcome {
    let registry = ctx.shard().registry.clone();
    let is = |arg: &[u8], word: &str| arg.eq_ignore_ascii_case(word.as_bytes());
    let everything = || (0..registry.rows.len() as u16).map(RowId);
    let ids: Vec<RowId> = match ctx.args[2..] {
        [] => everything()
            .filter(|id| is_callable(&registry, *id))
            .collect(),
        [by, _, _] if !is(by, "filterby") => return Err(Error::SYNTAX),
        [_, kind, _] if is(kind, "module") => Vec::new(),
        [_, kind, name] if is(kind, "aclcat") => {
            let category = Acl::NAMES.iter().find(|(_, n)| is(name, n));
            everything()
                .filter(|id| category.is_some_and(|(bit, _)| registry.row(*id).spec.acl.has(*bit)))
                .collect()
        }
        [_, kind, pattern] if is(kind, "pattern") => everything()
            .filter(|id| glob::matches(pattern, name_of(&registry, *id).as_bytes(), true))
            .collect(),
        _ => return Err(Error::SYNTAX),
    };
    let mut reply = ctx.reply();
    reply.array(ids.len());
    for id in ids {
        reply.bulk(name_of(&registry, id).as_bytes());
    }
    Ok(())
}

fn get_keys(ctx: &mut HomeCtx<'_>) -> Outcome {
    let (_, keys) = keys_in(ctx)?;
    let line = &ctx.args[2..];
    let mut reply = ctx.reply();
    reply.array(keys.len());
    keys.iter().for_each(|key| reply.bulk(line[key.index]));
    Ok(())
}

fn get_keys_and_flags(ctx: &mut HomeCtx<'_>) -> Outcome {
    let (spec, keys) = keys_in(ctx)?;
    let line = &ctx.args[2..];
    let mut reply = ctx.reply();
    reply.array(keys.len());
    for key in keys {
        let flags = match spec.key_flags {
            Some(flags) if key.flags.has(KeyFlags::VARIABLE_FLAGS) => flags(line),
            _ => key.flags,
        };
        reply.array(2);
        reply.bulk(line[key.index]);
        put_names(&mut reply, flags.names(), "");
    }
    Ok(())
}

/// The command line that follows the subcommand: its row and its keys.
fn keys_in(ctx: &mut HomeCtx<'_>) -> Result<(&'static Spec, Vec<KeyAt>), Error> {
    let line = &ctx.args[2..];
    let registry = ctx.shard().registry.clone();
    let Some(id) = registry.resolve(line) else {
        return Err(Error::new("ERR Invalid command specified"));
    };
    let spec = registry.row(id).spec;
    if spec.keys.is_empty() {
        return Err(Error::new("ERR The command has no key arguments"));
    }
    if !spec.arity_fits(line.len()) {
        return Err(Error::new(
            "ERR Invalid number of arguments specified for command",
        ));
    }
    let mut keys = Vec::new();
    if !keys_of(spec, line, &mut keys) || keys.is_empty() && !takes_no_keys(spec) {
        return Err(Error::new("ERR Invalid arguments specified for command"));
    }
    Ok((spec, keys))
}

/// Whether a command may do without any key (EVAL, say).
fn takes_no_keys(spec: &Spec) -> bool {
    spec.flags.has(Flags::NO_MANDATORY_KEYS)
}

/// One row in COMMAND's form of ten elements.
fn put_row(reply: &mut Reply<'_>, registry: &Registry, id: RowId) {
    let row = registry.row(id);
    let spec = row.spec;
    let (first, last, step) = key_range(spec.keys);
    reply.array(10);
    reply.bulk(name_of(registry, id).as_bytes());
    reply.integer(spec.arity.into());
    put_names(reply, shown_flags(spec), "");
    [first, last, step].iter().for_each(|n| reply.integer(*n));
    put_names(reply, spec.acl.names(), "@");
    reply.set(spec.tips.len());
    spec.tips.iter().for_each(|tip| reply.bulk(tip.as_bytes()));
    reply.set(spec.keys.len());
    for (at, key) in spec.keys.iter().enumerate() {
        put_key_spec(
            reply,
            key,
            spec.key_notes.get(at).copied().unwrap_or_default(),
        );
    }
    put_children(reply, registry, row);
}

fn put_children(reply: &mut Reply<'_>, registry: &Registry, row: &Row) {
    // Redis says "none" with a set and some with an array.
    match row.children.len() {
        0 => reply.set(0),
        n => reply.array(n),
    }
    for child in row.children.clone() {
        put_row(reply, registry, RowId(child));
    }
}

/// The flags that a command is shown with: Redis keeps `may_replicate` to itself.
fn shown_flags(spec: &Spec) -> impl Iterator<Item = &'static str> {
    let names = spec.flags.names();
    names.filter(|name| *name != "may_replicate")
}

fn put_names(reply: &mut Reply<'_>, names: impl Iterator<Item = &'static str>, mark: &str) {
    let names: Vec<&str> = names.collect();
    reply.set(names.len());
    names
        .iter()
        .for_each(|name| reply.simple(&format!("{mark}{name}")));
}

/// First key, last key and step in the form of before key specs: the range that covers those specs
/// that are plain ranges (Redis's populateCommandLegacyRangeSpec).
fn key_range(specs: &[KeySpec]) -> (i64, i64, i64) {
    let mut range: Option<(i64, i64, i64)> = None;
    for spec in specs {
        let (Begin::Index(begin), Find::Range { last, step, .. }) = (spec.begin, spec.find) else {
            continue;
        };
        let first = i64::from(begin);
        let last = match last {
            last if last >= 0 => first + i64::from(last),
            last => i64::from(last),
        };
        let step = i64::from(step);
        range = match range {
            None => Some((first, last, step)),
            // Only neighbours make one range.
            Some((from, to, 1)) if step == 1 && to >= 0 && to + 1 == first => Some((from, last, 1)),
            same => same,
        };
    }
    range.unwrap_or((0, 0, 0))
}

fn put_key_spec(reply: &mut Reply<'_>, spec: &KeySpec, notes: &str) {
    reply.map(3 + usize::from(!notes.is_empty()));
    if !notes.is_empty() {
        reply.bulk(b"notes");
        reply.bulk(notes.as_bytes());
    }
    reply.bulk(b"flags");
    put_names(reply, spec.flags.names(), "");
    reply.bulk(b"begin_search");
    match spec.begin {
        Begin::Index(at) => put_search(reply, "index", &[("index", at.into())]),
        Begin::Keyword(word, from) => {
            put_head(reply, "keyword");
            reply.map(2);
            reply.bulk(b"keyword");
            reply.bulk(word.as_bytes());
            reply.bulk(b"startfrom");
            reply.integer(from.into());
        }
        Begin::Unknown => put_search(reply, "unknown", &[]),
    }
    reply.bulk(b"find_keys");
    match spec.find {
        Find::Range { last, step, limit } => put_search(
            reply,
            "range",
            &[
                ("lastkey", last.into()),
                ("keystep", step.into()),
                ("limit", limit.into()),
            ],
        ),
        Find::KeyNum { at, first, step } => put_search(
            reply,
            "keynum",
            &[
                ("keynumidx", at.into()),
                ("firstkey", first.into()),
                ("keystep", step.into()),
            ],
        ),
        Find::Unknown => put_search(reply, "unknown", &[]),
    }
}

fn put_head(reply: &mut Reply<'_>, kind: &str) {
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
}

fn put_search(reply: &mut Reply<'_>, kind: &str, numbers: &[(&str, i64)]) {
    put_head(reply, kind);
    reply.map(numbers.len());
    for (name, n) in numbers {
        reply.bulk(name.as_bytes());
        reply.integer(*n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_range_covers_neighbouring_specs() {
        const RW: KeyFlags = KeyFlags::RW;
        assert_eq!(key_range(&[]), (0, 0, 0));
        assert_eq!(key_range(&[KeySpec::one(1, RW)]), (1, 1, 1));
        assert_eq!(key_range(&[KeySpec::range(1, -1, 2, RW)]), (1, -1, 2));
        assert_eq!(
            key_range(&[KeySpec::one(1, RW), KeySpec::one(2, RW)]),
            (1, 2, 1)
        );
        let bitop = [KeySpec::one(2, RW), KeySpec::range(3, -1, 1, RW)];
        assert_eq!(key_range(&bitop), (2, -1, 1));
    }
}
