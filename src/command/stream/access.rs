//! How the commands come to streams.

use crate::command::context::Ctx;
use crate::command::error::Error;
use crate::keyspace::{EntryMut, EntryRef, Expiry, Kind, NewValue, Object, Pos, Value};
use crate::shard::access::EventClass;
use crate::types::stream::Stream;

/// The stream of an entry, which is one.
fn of_object(object: &mut dyn Object) -> &mut Stream {
    let stream = object.as_any_mut().downcast_mut();
    stream.expect("an object of the kind Stream is one")
}

/// The stream of an entry; another type is the client's error.
fn of_entry(entry: EntryRef<'_>) -> Result<&Stream, Error> {
    match entry.value() {
        Value::Object(object) => object.as_any().downcast_ref().ok_or(Error::WRONG_TYPE),
        _ => Err(Error::WRONG_TYPE),
    }
}

/// The stream under the command's only key, for reading.
#[inline]
pub(super) fn read<'a>(ctx: &'a mut Ctx<'_>, key: &[u8]) -> Result<Option<&'a Stream>, Error> {
    let found = ctx.shard.read(ctx.caller, ctx.pos, key);
    found.map(of_entry).transpose()
}

/// The stream under the command's only key, looked up as one that is to be changed: a missing one is
/// not told.
pub(super) fn look<'a>(ctx: &'a mut Ctx<'_>, key: &[u8]) -> Result<Option<&'a Stream>, Error> {
    let found = ctx.shard.write(ctx.caller, ctx.pos, key);
    found.map(|entry| of_entry(entry.into_ref())).transpose()
}

/// The stream under a key, for reading.
pub(super) fn read_at<'a>(
    shard: &'a mut crate::shard::Shard,
    caller: crate::command::context::Caller,
    pos: Pos,
    key: &[u8],
) -> Result<Option<&'a Stream>, Error> {
    shard.read(caller, pos, key).map(of_entry).transpose()
}

/// Changes the stream of an entry whose kind was looked at.
#[inline]
pub(super) fn edit<R>(mut entry: EntryMut<'_>, change: impl FnOnce(&mut Stream) -> R) -> R {
    let changed = entry.edit_object(|object| change(of_object(object)));
    changed.expect("a stream is an object")
}

/// Changes the stream under the command's only key; None if it is missing.
#[inline]
pub(super) fn change<R>(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    change: impl FnOnce(&mut Stream) -> R,
) -> Result<Option<R>, Error> {
    let found = ctx
        .shard
        .write_kind(ctx.caller, ctx.pos, key, Kind::Stream)?;
    Ok(found.map(|entry| edit(entry, change)))
}

/// Stores a new stream under the command's only key, which is missing.
pub(super) fn store(ctx: &mut Ctx<'_>, key: &[u8], stream: Stream) {
    let value = NewValue::Object(Box::new(stream));
    let (caller, pos) = (ctx.caller, ctx.pos);
    ctx.shard
        .store_at(caller, pos, key, None, value, Expiry::Clear);
}

/// Tells that the command's only key was changed.
#[inline]
pub(super) fn tell(ctx: &mut Ctx<'_>, key: &[u8], event: &'static str) {
    let (db, pos) = (ctx.caller.db, ctx.pos);
    ctx.shard.changed(db, pos, key, EventClass::Stream, event);
}

/// Counts changes that have no event of their own, or more of them than the event told.
pub(super) fn count(ctx: &mut Ctx<'_>, changes: u64) {
    ctx.shard.dirty += changes;
}
