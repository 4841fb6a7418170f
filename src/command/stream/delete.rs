//! XDEL, XDELEX, XACKDEL.

use super::access::{change, count, tell};
use super::{add, ids};
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::resp::number::parse_i64;
use crate::types::stream::{References, Stream, StreamId};

/// XDEL
pub(super) fn xdel(ctx: &mut Ctx<'_>) -> Outcome {
    let (args, key) = (ctx.args, ctx.args[1]);
    let deleted = change(ctx, key, |stream| {
        let ids = ids::list(&args[2..])?;
        Ok::<_, Error>(ids.iter().filter(|id| stream.log.delete(**id)).count())
    })?;
    let deleted = deleted.unwrap_or(Ok(0))?;
    if deleted > 0 {
        tell(ctx, key, "xdel");
        count(ctx, deleted as u64 - 1);
    }
    ctx.reply.integer(deleted as i64);
    Ok(())
}

/// What `[KEEPREF | DELREF | ACKED] IDS numids id [id ...]` says.
struct Wanted<'a> {
    references: References,
    ids: &'a [&'a [u8]],
}

impl<'a> Wanted<'a> {
    fn parse(mut rest: &'a [&'a [u8]]) -> Result<Self, Error> {
        let (mut references, mut found) = (None, None);
        while let [word, after @ ..] = rest {
            if let Some(named) = add::references(word) {
                if references.replace(named).is_some() {
                    return Err(Error::SYNTAX);
                }
                rest = after;
            } else if let ([count, after @ ..], true, None) =
                (after, word.eq_ignore_ascii_case(b"ids"), found)
            {
                let count = parse_i64(count)
                    .filter(|count| *count > 0)
                    .ok_or_else(|| Error::new("ERR Number of IDs must be a positive integer"))?;
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                if count > after.len() {
                    return Err(Error::new(
                        "ERR The `numids` parameter must match the number of arguments",
                    ));
                }
                found = Some(&after[..count]);
                rest = &after[count..];
            } else {
                return Err(Error::SYNTAX);
            }
        }
        Ok(Self {
            references: references.unwrap_or_default(),
            ids: found.ok_or(Error::SYNTAX)?,
        })
    }
}

/// What became of an ID.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Missing = -1,
    Deleted = 1,
    Referenced = 2,
}

/// Deletes an entry as far as its references allow. `changes` counts references that went though the
/// entry was gone before.
fn delete(stream: &mut Stream, id: StreamId, references: References, changes: &mut u64) -> Fate {
    if references == References::Acknowledged
        && stream.log.contains(id)
        && !stream.all_are_done_with(id)
    {
        return Fate::Referenced;
    }
    let forgotten = references == References::Delete && stream.forget(id);
    if stream.log.delete(id) {
        Fate::Deleted
    } else {
        *changes += u64::from(forgotten);
        Fate::Missing
    }
}

fn answer(ctx: &mut Ctx<'_>, fates: Option<Vec<Fate>>, asked: usize) {
    let key = ctx.args[1];
    let fates = fates.unwrap_or_else(|| vec![Fate::Missing; asked]);
    let deleted = fates.iter().filter(|fate| **fate == Fate::Deleted).count();
    if deleted > 0 {
        tell(ctx, key, "xdel");
        count(ctx, deleted as u64 - 1);
    }
    ctx.reply.array(asked);
    for fate in fates {
        ctx.reply.integer(fate as i64);
    }
}

/// XDELEX
pub(super) fn xdelex(ctx: &mut Ctx<'_>) -> Outcome {
    let (args, key) = (ctx.args, ctx.args[1]);
    let wanted = Wanted::parse(&args[2..])?;
    let ids = ids::list(wanted.ids)?;
    let mut changes = 0;
    let fates = change(ctx, key, |stream| {
        let delete = |id: &StreamId| delete(stream, *id, wanted.references, &mut changes);
        ids.iter().map(delete).collect::<Vec<_>>()
    })?;
    count(ctx, changes);
    answer(ctx, fates, ids.len());
    Ok(())
}

/// XACKDEL
pub(super) fn xackdel(ctx: &mut Ctx<'_>) -> Outcome {
    let (args, key, name) = (ctx.args, ctx.args[1], ctx.args[2]);
    let wanted = Wanted::parse(&args[3..])?;
    let ids = ids::list(wanted.ids)?;
    let mut acknowledged = 0;
    let fates = change(ctx, key, |stream| {
        let acknowledge = |id: &StreamId| {
            let was_pending = stream.edit_group(name, |_, group| group.acknowledge(*id));
            if was_pending != Some(true) {
                return Fate::Missing;
            }
            acknowledged += 1;
            match delete(stream, *id, wanted.references, &mut acknowledged) {
                // Acknowledged, and gone before: as good as deleted.
                Fate::Missing => Fate::Deleted,
                fate => fate,
            }
        };
        ids.iter().map(acknowledge).collect::<Vec<_>>()
    })?;
    count(ctx, acknowledged);
    answer(ctx, fates, ids.len());
    Ok(())
}
