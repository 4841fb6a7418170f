//! XGROUP.

use super::access::{change, look, store, tell};
use super::effect::counter;
use super::ids;
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::command::help;
use crate::types::stream::{Group, Stream, StreamId};

const HELP: &[&str] = &[
    "CREATE <key> <groupname> <id|$> [option]",
    "    Create a new consumer group. Options are:",
    "    * MKSTREAM",
    "      Create the empty stream if it does not exist.",
    "    * ENTRIESREAD entries_read",
    "      Set the group's entries_read counter (internal use).",
    "CREATECONSUMER <key> <groupname> <consumer>",
    "    Create a new consumer in the specified group.",
    "DELCONSUMER <key> <groupname> <consumer>",
    "    Remove the specified consumer.",
    "DESTROY <key> <groupname>",
    "    Remove the specified group.",
    "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
    "    Set the current group ID and entries_read counter.",
];

/// XGROUP HELP
pub(super) fn help(ctx: &mut Ctx<'_>) -> Outcome {
    help::reply(&mut ctx.reply, "XGROUP", HELP);
    Ok(())
}

/// MKSTREAM and ENTRIESREAD.
#[derive(Default)]
struct Options {
    make: bool,
    entries_read: Option<u64>,
}

impl Options {
    fn parse(ctx: &Ctx<'_>, creates: bool) -> Result<Self, Error> {
        let mut options = Self::default();
        let mut rest = &ctx.args[5..];
        while let [option, after @ ..] = rest {
            rest = match after {
                after if creates && option.eq_ignore_ascii_case(b"mkstream") => {
                    options.make = true;
                    after
                }
                [read, after @ ..] if option.eq_ignore_ascii_case(b"entriesread") => {
                    let read = counter(ctx.shard, read).ok_or(Error::NOT_INTEGER)?;
                    if read < -1 {
                        return Err(Error::new(
                            "ERR value for ENTRIESREAD must be positive or -1",
                        ));
                    }
                    options.entries_read = u64::try_from(read).ok();
                    after
                }
                _ => return Err(Error::wrong_arguments(ctx.args[1], "XGROUP")),
            };
        }
        Ok(options)
    }
}

const NO_KEY: &str = "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.";

/// A key that is there without the group.
pub(super) fn no_group(key: &[u8], group: &[u8]) -> Error {
    let texts = ["NOGROUP No such consumer group '", "' for key name '", "'"];
    Error::quoting_two(texts, [group, key])
}

/// The ID that a group begins behind, `$` being the stream's last one; another is read by `parse`.
fn position(
    text: &[u8],
    stream: Option<&Stream>,
    parse: fn(&[u8], u64) -> Result<StreamId, Error>,
) -> Result<StreamId, Error> {
    match text {
        b"$" => Ok(stream.map_or(StreamId::MIN, |stream| stream.log.last_id())),
        id => parse(id, 0),
    }
}

/// XGROUP CREATE
pub(super) fn create(ctx: &mut Ctx<'_>) -> Outcome {
    let args = ctx.args;
    let (key, name) = (args[2], args[3]);
    let options = Options::parse(ctx, true)?;
    if args.len() > 8 {
        return Err(Error::wrong_arguments(args[1], "XGROUP"));
    }
    let stream = look(ctx, key)?;
    let missing = stream.is_none();
    if missing && !options.make {
        return Err(Error::new(NO_KEY));
    }
    let position = position(args[4], stream, ids::strict)?;
    let group = Group::new(name, position, options.entries_read);
    let added = if missing {
        let mut stream = Stream::default();
        let added = stream.add_group(group);
        store(ctx, key, stream);
        added
    } else {
        change(ctx, key, |stream| stream.add_group(group))?.unwrap_or(false)
    };
    if !added {
        return Err(Error::new("BUSYGROUP Consumer Group name already exists"));
    }
    tell(ctx, key, "xgroup-create");
    ctx.reply.ok();
    Ok(())
}

/// Changes a group that must be there.
fn change_group<R>(
    ctx: &mut Ctx<'_>,
    edit: impl FnOnce(&mut Stream, &[u8]) -> Option<R>,
) -> Result<R, Error> {
    let (key, name) = (ctx.args[2], ctx.args[3]);
    let found = change(ctx, key, |stream| edit(stream, name))?;
    found
        .ok_or(Error::new(NO_KEY))?
        .ok_or_else(|| no_group(key, name))
}

/// XGROUP SETID
pub(super) fn setid(ctx: &mut Ctx<'_>) -> Outcome {
    let (args, key) = (ctx.args, ctx.args[2]);
    let options = Options::parse(ctx, false)?;
    change_group(ctx, |stream, name| {
        stream.group(name)?;
        // Other than CREATE, it takes - and +, too.
        let id = match position(args[4], Some(stream), ids::lenient) {
            Ok(id) => id,
            Err(error) => return Some(Err(error)),
        };
        stream.edit_group(name, |_, group| {
            (group.last_id, group.entries_read) = (id, options.entries_read);
            Ok(())
        })
    })??;
    tell(ctx, key, "xgroup-setid");
    ctx.reply.ok();
    Ok(())
}

/// XGROUP DESTROY
pub(super) fn destroy(ctx: &mut Ctx<'_>) -> Outcome {
    let (key, name) = (ctx.args[2], ctx.args[3]);
    let removed = change(ctx, key, |stream| stream.remove_group(name))?;
    let removed = removed.ok_or(Error::new(NO_KEY))?;
    if removed {
        tell(ctx, key, "xgroup-destroy");
    }
    ctx.reply.integer(i64::from(removed));
    Ok(())
}

/// XGROUP CREATECONSUMER
pub(super) fn create_consumer(ctx: &mut Ctx<'_>) -> Outcome {
    let (key, consumer, now_ms) = (ctx.args[2], ctx.args[4], ctx.shard.present_ms());
    let created = change_group(ctx, |stream, name| {
        stream.edit_group(name, |_, group| group.create(consumer, now_ms).is_some())
    })?;
    if created {
        tell(ctx, key, "xgroup-createconsumer");
    }
    ctx.reply.integer(i64::from(created));
    Ok(())
}

/// XGROUP DELCONSUMER
pub(super) fn delete_consumer(ctx: &mut Ctx<'_>) -> Outcome {
    let (key, consumer) = (ctx.args[2], ctx.args[4]);
    let removed = change_group(ctx, |stream, name| {
        stream.edit_group(name, |_, group| group.remove(consumer))
    })?;
    if removed.is_some() {
        tell(ctx, key, "xgroup-delconsumer");
    }
    ctx.reply.integer(removed.unwrap_or(0) as i64);
    Ok(())
}
