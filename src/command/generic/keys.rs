//! Commands on keys whatever they hold: DEL, UNLINK, EXISTS, TOUCH, TYPE, RENAME, COPY, MOVE.
//!
//! A value that changes its key or database is detached and attached again, so that what it holds
//! outside its entry moves and is not copied; what is overwritten is freed in slices if it is big.

use crate::command::context::{Caller, Ctx, caller};
use crate::command::error::{Error, Outcome};
use crate::keyspace::{EntryRef, Kind, OwnedEntry, Pos, Value};
use crate::resp::number::parse_i64;
use crate::shard::Shard;
use crate::shard::access::EventClass;
use crate::shard::prefetch::GROUP_KEYS_MAX;
use crate::types::packed::Packed;
use crate::types::set::intset::is_intset;

/// Calls `visit` for each key of the arguments from the first on, a few of them prefetched together.
fn for_each_key(ctx: &mut Ctx<'_>, mut visit: impl FnMut(&mut Shard, Caller, Pos, &[u8])) {
    let caller = ctx.caller;
    for keys in ctx.args[1..].chunks(GROUP_KEYS_MAX) {
        let positions = ctx.shard.prefetch(caller.db, keys.iter().copied());
        for (key, pos) in keys.iter().zip(positions) {
            visit(ctx.shard, caller, pos, key);
        }
    }
}

/// DEL and UNLINK: what is big is freed in slices in either case.
pub(super) fn del(ctx: &mut Ctx<'_>) -> Outcome {
    let mut count = 0;
    for_each_key(ctx, |shard, caller, pos, key| {
        if shard.remove(caller, pos, key) {
            shard.effect_del(caller.db, pos, key);
            shard.changed(caller.db, pos, key, EventClass::Generic, "del");
            count += 1;
        }
    });
    ctx.reply.integer(count);
    Ok(())
}

pub(super) fn exists(ctx: &mut Ctx<'_>) -> Outcome {
    let mut count = 0;
    for_each_key(ctx, |shard, caller, pos, key| {
        count += i64::from(shard.inspect(caller, pos, key).is_some());
    });
    ctx.reply.integer(count);
    Ok(())
}

pub(super) fn touch(ctx: &mut Ctx<'_>) -> Outcome {
    let mut count = 0;
    for_each_key(ctx, |shard, caller, pos, key| {
        // TOUCH remembers the access even for CLIENT NO-TOUCH.
        let caller = Caller {
            flags: caller.flags & !caller::NO_TOUCH,
            ..caller
        };
        count += i64::from(shard.read(caller, pos, key).is_some());
    });
    ctx.reply.integer(count);
    Ok(())
}

pub(super) fn type_(ctx: &mut Ctx<'_>) -> Outcome {
    let entry = ctx.shard.inspect(ctx.caller, ctx.pos, ctx.args[1]);
    let name = entry.map_or("none", |entry| entry.kind().name());
    ctx.reply.simple(name);
    Ok(())
}

pub(super) fn rename(ctx: &mut Ctx<'_>) -> Outcome {
    rename_key(ctx, true)?;
    ctx.reply.ok();
    Ok(())
}

pub(super) fn renamenx(ctx: &mut Ctx<'_>) -> Outcome {
    let renamed = rename_key(ctx, false)?;
    ctx.reply.integer(i64::from(renamed));
    Ok(())
}

/// Renames; false if it would overwrite a key and must not. A key renamed to itself only has to exist.
fn rename_key(ctx: &mut Ctx<'_>, overwrite: bool) -> Result<bool, Error> {
    let (from, to) = (ctx.args[1], ctx.args[2]);
    let (shard, caller) = (&mut *ctx.shard, ctx.caller);
    let (from_pos, to_pos) = (shard.pos(from), shard.pos(to));
    shard
        .write(caller, from_pos, from)
        .ok_or(Error::NO_SUCH_KEY)?;
    if from == to {
        return Ok(false);
    }
    let is_new = shard.write(caller, to_pos, to).is_none();
    if !is_new && !overwrite {
        return Ok(false);
    }
    let db = shard.keyspace.db_mut(usize::from(caller.db));
    let entry = db.take(from_pos, from).expect("just seen");
    db.attach(to_pos, entry.renamed(to));
    // What is overwritten is deleted first, so the key counts as new in either case.
    shard.changed(caller.db, to_pos, to, EventClass::New, "new");
    shard.also_changed(
        caller.db,
        from_pos,
        from,
        EventClass::Generic,
        "rename_from",
    );
    shard.changed(caller.db, to_pos, to, EventClass::Generic, "rename_to");
    Ok(true)
}

/// The number of a database in an argument.
pub(super) fn database(shard: &Shard, text: &[u8]) -> Result<u16, Error> {
    let number = parse_i64(text).ok_or(Error::NOT_INTEGER)?;
    in_range(shard, i32::try_from(number).map_err(|_| Error::NOT_INT32)?)
}

/// A number as that of a database.
pub(super) fn in_range(shard: &Shard, number: i32) -> Result<u16, Error> {
    let known = usize::try_from(number).is_ok_and(|n| n < shard.keyspace.databases());
    known.then_some(number as u16).ok_or(Error::DB_OUT_OF_RANGE)
}

pub(super) fn copy(ctx: &mut Ctx<'_>) -> Outcome {
    let (from, to) = (ctx.args[1], ctx.args[2]);
    let (mut replace, mut to_db) = (false, ctx.caller.db);
    let mut rest = &ctx.args[3..];
    loop {
        rest = match rest {
            [] => break,
            [option, rest @ ..] if option.eq_ignore_ascii_case(b"replace") => {
                replace = true;
                rest
            }
            [option, number, rest @ ..] if option.eq_ignore_ascii_case(b"db") => {
                to_db = database(ctx.shard, number)?;
                rest
            }
            _ => return Err(Error::SYNTAX),
        };
    }
    if to_db != 0 && ctx.caller.is_strict() {
        let text = "ERR Copying to another database is not allowed in cluster mode";
        return Err(Error::new(text));
    }
    if from == to && to_db == ctx.caller.db {
        return Err(Error::SAME_OBJECT);
    }
    let copied = copy_key(ctx, from, to, to_db, replace);
    ctx.reply.integer(i64::from(copied));
    Ok(())
}

fn copy_key(ctx: &mut Ctx<'_>, from: &[u8], to: &[u8], to_db: u16, replace: bool) -> bool {
    let (shard, caller) = (&mut *ctx.shard, ctx.caller);
    let (from_pos, to_pos) = (shard.pos(from), shard.pos(to));
    let target = Caller {
        db: to_db,
        ..caller
    };
    if shard.read(caller, from_pos, from).is_none() {
        return false;
    }
    if shard.write(target, to_pos, to).is_some() && !replace {
        return false;
    }
    let clock = shard.access_clock();
    let source = shard.peek(caller, from_pos, from).expect("just seen");
    let copy = OwnedEntry::new(to, source.expiry(), clock, source.duplicate());
    let db = shard.keyspace.db_mut(usize::from(to_db));
    db.attach(to_pos, copy);
    shard.changed(to_db, to_pos, to, EventClass::New, "new");
    shard.changed(to_db, to_pos, to, EventClass::Generic, "copy_to");
    true
}

pub(super) fn move_(ctx: &mut Ctx<'_>) -> Outcome {
    let (key, pos, caller) = (ctx.args[1], ctx.pos, ctx.caller);
    if caller.is_strict() {
        return Err(Error::new("ERR MOVE is not allowed in cluster mode"));
    }
    let shard = &mut *ctx.shard;
    let to_db = database(shard, ctx.args[2])?;
    if to_db == caller.db {
        return Err(Error::SAME_OBJECT);
    }
    let target = Caller {
        db: to_db,
        ..caller
    };
    let may = shard.write(caller, pos, key).is_some() && shard.write(target, pos, key).is_none();
    if may {
        let entry = shard.keyspace.db_mut(usize::from(caller.db)).take(pos, key);
        let entry = entry.expect("just seen");
        shard.keyspace.db_mut(usize::from(to_db)).attach(pos, entry);
        shard.changed(to_db, pos, key, EventClass::New, "new");
        shard.also_changed(caller.db, pos, key, EventClass::Generic, "move_from");
        shard.changed(to_db, pos, key, EventClass::Generic, "move_to");
    }
    ctx.reply.integer(i64::from(may));
    Ok(())
}

/// The database that a command line names besides its caller's (COPY's DB, MOVE's), whose keys the
/// command touches, too. Where it names none, or a wrong one, the command's own checks will tell.
pub fn other_database(command: &str, args: &[&[u8]], databases: usize) -> Option<u16> {
    let number = match command {
        "move" => args.get(2),
        "copy" => {
            let mut options = args.get(3..).unwrap_or_default().iter();
            let mut last = None;
            while let Some(option) = options.next() {
                if option.eq_ignore_ascii_case(b"db") {
                    last = options.next();
                }
            }
            last
        }
        _ => None,
    };
    let number = usize::try_from(parse_i64(number?)?).ok()?;
    (number < databases).then_some(number as u16)
}

/// The name that OBJECT ENCODING replies.
pub fn encoding_name(entry: &EntryRef<'_>) -> &'static str {
    match entry.value() {
        Value::Packed(Kind::Hash, block) if Packed::new(block).mark() => "listpackex",
        Value::Packed(Kind::Set, bytes) if is_intset(bytes) => "intset",
        _ => entry.encoding().unwrap_or("listpack"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_database_is_the_one_that_counts() {
        let other = |line: &str| {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            other_database(&line[..4], &args, 16)
        };
        assert_eq!(other("move key 3"), Some(3));
        assert_eq!(other("move key 16"), None);
        assert_eq!(other("copy a b"), None);
        assert_eq!(other("copy a b replace DB 2"), Some(2));
        assert_eq!(other("copy a b db 1 replace db 5"), Some(5));
        assert_eq!(other("copy a b db"), None);
        assert_eq!(other("copy db 7"), None);
        assert_eq!(other("type key"), None);
    }
}
