//! XACK and XPENDING.

use super::access::{change, count, read_at};
use super::{ids, reply};
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::resp::encode::Reply;
use crate::resp::number::parse_i64;
use crate::types::stream::{Consumer, Group, StreamId};

/// No key or no group, where both must be there.
pub(super) fn no_group(key: &[u8], group: &[u8]) -> Error {
    let texts = ["NOGROUP No such key '", "' or consumer group '", "'"];
    Error::quoting_two(texts, [key, group])
}

/// XACK
pub(super) fn xack(ctx: &mut Ctx<'_>) -> Outcome {
    let (args, key) = (ctx.args, ctx.args[1]);
    let acknowledged = change(ctx, key, |stream| {
        stream.edit_group(args[2], |_, group| {
            let ids = ids::list(&args[3..])?;
            Ok::<_, Error>(ids.iter().filter(|id| group.acknowledge(**id)).count())
        })
    })?;
    let acknowledged = acknowledged.flatten().unwrap_or(Ok(0))?;
    count(ctx, acknowledged as u64);
    ctx.reply.integer(acknowledged as i64);
    Ok(())
}

/// Which pending entries XPENDING lists.
struct Filter<'a> {
    idle_ms: u64,
    start: StreamId,
    end: StreamId,
    count: usize,
    consumer: Option<&'a [u8]>,
}

impl<'a> Filter<'a> {
    fn parse(rest: &[&'a [u8]]) -> Result<Self, Error> {
        let (idle_ms, rest) = match rest {
            [word, idle, after @ ..] if word.eq_ignore_ascii_case(b"idle") => {
                let idle = parse_i64(idle).ok_or(Error::NOT_INTEGER)?;
                (u64::try_from(idle).unwrap_or(0), after)
            }
            rest => (0, rest),
        };
        let [start, end, count, consumer @ ..] = rest else {
            return Err(Error::SYNTAX);
        };
        let count = parse_i64(count).ok_or(Error::NOT_INTEGER)?;
        Ok(Self {
            idle_ms,
            start: ids::start(start)?,
            end: ids::end(end)?,
            count: usize::try_from(count).unwrap_or(0),
            consumer: consumer.first().copied(),
        })
    }
}

/// XPENDING
pub(super) fn xpending(ctx: &mut Ctx<'_>) -> Outcome {
    let (args, now_ms) = (ctx.args, ctx.now_ms());
    let filter = match args.len() {
        3 => None,
        6..=9 => Some(Filter::parse(&args[3..])?),
        _ => return Err(Error::SYNTAX),
    };
    let Ctx { shard, reply, .. } = ctx;
    let stream = read_at(shard, ctx.caller, ctx.pos, args[1])?;
    let group = stream.and_then(|stream| stream.group(args[2]));
    let group = group.ok_or_else(|| no_group(args[1], args[2]))?;
    match filter {
        None => summary(reply, group),
        Some(filter) => list(reply, group, &filter, now_ms),
    }
    Ok(())
}

/// How much is pending, from where to where, and of whom.
fn summary(reply: &mut Reply<'_>, group: &Group) {
    let pending = group.pending();
    reply.array(4);
    reply.integer(pending.len() as i64);
    let ends = pending.keys().next().zip(pending.keys().next_back());
    let Some((first, last)) = ends else {
        reply.null();
        reply.null();
        return reply.null_array();
    };
    reply::id(reply, *first);
    reply::id(reply, *last);
    let busy = || group.consumers().filter(|c| !c.pending().is_empty());
    reply.array(busy().count());
    for consumer in busy() {
        reply.array(2);
        reply.bulk(&consumer.name);
        reply.bulk_integer(consumer.pending().len() as i64);
    }
}

/// The pending entries themselves.
fn list(reply: &mut Reply<'_>, group: &Group, filter: &Filter<'_>, now_ms: u64) {
    let consumer = filter.consumer.map(|name| group.find(name));
    if consumer == Some(None) || filter.start > filter.end {
        return reply.array(0);
    }
    let consumer: Option<&Consumer> = consumer.flatten().map(|id| group.consumer(id));
    let all = group.pending();
    let most = consumer.map_or(all.len(), |consumer| consumer.pending().len());
    let range = filter.start..=filter.end;
    reply.counted(most.min(filter.count), Reply::array, |reply| {
        let mut count = 0;
        let mut write = |id: &StreamId| {
            let Some(pending) = all.get(id) else {
                return false;
            };
            let idle = now_ms.saturating_sub(pending.delivered_ms);
            if idle >= filter.idle_ms {
                reply.array(4);
                reply::id(reply, *id);
                reply.bulk(&group.consumer(pending.consumer).name);
                reply.integer(idle as i64);
                reply.integer(pending.deliveries as i64);
                count += 1;
            }
            count == filter.count
        };
        if filter.count > 0 {
            // The first one with which the list is full ends the walk.
            let _full = match consumer {
                Some(consumer) => consumer.pending().range(range).any(&mut write),
                None => all.range(range).any(|(id, _)| write(id)),
            };
        }
        count
    });
}
