//! XINFO.

use super::access::read_at;
use super::group::no_group;
use super::reply;
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::command::help;
use crate::resp::encode::Reply;
use crate::resp::number::parse_i64;
use crate::types::stream::{Consumer, Group, Log, Stream, StreamId};

const HELP: &[&str] = &[
    "CONSUMERS <key> <groupname>",
    "    Show consumers of <groupname>.",
    "GROUPS <key>",
    "    Show the stream consumer groups.",
    "STREAM <key> [FULL [COUNT <count>]",
    "    Show information about the stream.",
];

/// XINFO HELP
pub(super) fn help(ctx: &mut Ctx<'_>) -> Outcome {
    help::reply(&mut ctx.reply, "XINFO", HELP);
    Ok(())
}

/// The stream that the command is about, which must be there, and where the reply goes.
fn open<'a, 'o>(ctx: &'a mut Ctx<'o>) -> Result<(&'a Stream, &'a mut Reply<'o>), Error> {
    let Ctx { shard, reply, .. } = ctx;
    let stream = read_at(shard, ctx.caller, ctx.pos, ctx.args[2])?;
    Ok((stream.ok_or(Error::NO_SUCH_KEY)?, reply))
}

/// A number that may not be known.
fn number(reply: &mut Reply<'_>, number: Option<i64>) {
    match number {
        Some(number) => reply.integer(number),
        None => reply.null(),
    }
}

/// XINFO CONSUMERS
pub(super) fn consumers(ctx: &mut Ctx<'_>) -> Outcome {
    let (key, name, now_ms) = (ctx.args[2], ctx.args[3], ctx.now_ms());
    let (stream, reply) = open(ctx)?;
    let group = stream.group(name).ok_or_else(|| no_group(key, name))?;
    reply.array(group.consumers().len());
    for consumer in group.consumers() {
        reply.map(4);
        reply.bulk(b"name");
        reply.bulk(&consumer.name);
        reply.bulk(b"pending");
        reply.integer(consumer.pending().len() as i64);
        reply.bulk(b"idle");
        reply.integer(now_ms.saturating_sub(consumer.seen_ms) as i64);
        reply.bulk(b"inactive");
        let inactive = consumer
            .active_ms
            .map(|ms| now_ms.saturating_sub(ms) as i64);
        reply.integer(inactive.unwrap_or(-1));
    }
    Ok(())
}

/// XINFO GROUPS
pub(super) fn groups(ctx: &mut Ctx<'_>) -> Outcome {
    let (stream, reply) = open(ctx)?;
    reply.array(stream.groups().len());
    for group in stream.groups() {
        reply.map(6);
        reply.bulk(b"name");
        reply.bulk(&group.name);
        reply.bulk(b"consumers");
        reply.integer(group.consumers().len() as i64);
        reply.bulk(b"pending");
        reply.integer(group.pending().len() as i64);
        progress(reply, group, &stream.log);
    }
    Ok(())
}

/// How far a group is: three pairs.
fn progress(reply: &mut Reply<'_>, group: &Group, log: &Log) {
    reply.bulk(b"last-delivered-id");
    reply::id(reply, group.last_id);
    reply.bulk(b"entries-read");
    number(reply, group.entries_read.map(|read| read as i64));
    reply.bulk(b"lag");
    number(reply, group.lag(log));
}

/// XINFO STREAM
pub(super) fn stream(ctx: &mut Ctx<'_>) -> Outcome {
    /// Entries, and pending ones of each list, that FULL shows unless COUNT says otherwise.
    const COUNT: u64 = 10;
    let args = ctx.args;
    let (stream, reply) = open(ctx)?;
    let is = |at: usize, name: &str| args[at].eq_ignore_ascii_case(name.as_bytes());
    let count = match args.len() {
        3 => None,
        4 if is(3, "full") => Some(COUNT),
        6 if is(3, "full") && is(4, "count") => {
            let count = parse_i64(args[5]).ok_or(Error::NOT_INTEGER)?;
            Some(u64::try_from(count).unwrap_or(COUNT))
        }
        _ => return Err(Error::wrong_arguments(args[1], "XINFO")),
    };
    let log = &stream.log;
    reply.map(if count.is_some() { 9 } else { 10 });
    reply.bulk(b"length");
    reply.integer(log.len() as i64);
    reply.bulk(b"radix-tree-keys");
    reply.integer(log.blocks() as i64);
    reply.bulk(b"radix-tree-nodes");
    reply.integer(log.radix_nodes() as i64);
    reply.bulk(b"last-generated-id");
    reply::id(reply, log.last_id());
    reply.bulk(b"max-deleted-entry-id");
    reply::id(reply, log.max_deleted_id());
    reply.bulk(b"entries-added");
    reply.integer(log.entries_added() as i64);
    reply.bulk(b"recorded-first-entry-id");
    reply::id(reply, log.first_id());
    match count {
        Some(count) => full(reply, stream, count),
        None => ends(reply, stream),
    }
    Ok(())
}

/// The last three pairs of the short form.
fn ends(reply: &mut Reply<'_>, stream: &Stream) {
    reply.bulk(b"groups");
    reply.integer(stream.groups().len() as i64);
    for (name, reverse) in [("first-entry", false), ("last-entry", true)] {
        reply.bulk(name.as_bytes());
        let mut entries = stream.log.range(StreamId::MIN, StreamId::MAX, reverse);
        match entries.next() {
            Some(entry) => reply::entry(reply, &entry),
            None => reply.null(),
        }
    }
}

/// The last two pairs of the long form.
fn full(reply: &mut Reply<'_>, stream: &Stream, count: u64) {
    let log = &stream.log;
    reply.bulk(b"entries");
    let entries = log.range(StreamId::MIN, StreamId::MAX, false);
    reply::entries(reply, entries, count, log.len());
    reply.bulk(b"groups");
    reply.array(stream.groups().len());
    let most = if count == 0 {
        usize::MAX
    } else {
        count as usize
    };
    for group in stream.groups() {
        full_group(reply, group, log, most);
    }
}

fn full_group(reply: &mut Reply<'_>, group: &Group, log: &Log, most: usize) {
    let pending = group.pending();
    reply.map(7);
    reply.bulk(b"name");
    reply.bulk(&group.name);
    progress(reply, group, log);
    reply.bulk(b"pel-count");
    reply.integer(pending.len() as i64);
    reply.bulk(b"pending");
    reply.array(pending.len().min(most));
    for (id, pending) in pending.iter().take(most) {
        reply.array(4);
        reply::id(reply, *id);
        reply.bulk(&group.consumer(pending.consumer).name);
        reply.integer(pending.delivered_ms as i64);
        reply.integer(pending.deliveries as i64);
    }
    reply.bulk(b"consumers");
    reply.array(group.consumers().len());
    for consumer in group.consumers() {
        full_consumer(reply, group, consumer, most);
    }
}

fn full_consumer(reply: &mut Reply<'_>, group: &Group, consumer: &Consumer, most: usize) {
    reply.map(5);
    reply.bulk(b"name");
    reply.bulk(&consumer.name);
    reply.bulk(b"seen-time");
    reply.integer(consumer.seen_ms as i64);
    reply.bulk(b"active-time");
    reply.integer(consumer.active_ms.map_or(-1, |ms| ms as i64));
    reply.bulk(b"pel-count");
    reply.integer(consumer.pending().len() as i64);
    reply.bulk(b"pending");
    reply.array(consumer.pending().len().min(most));
    for id in consumer.pending().iter().take(most) {
        reply.array(3);
        reply::id(reply, *id);
        let pending = group.pending().get(id);
        reply.integer(pending.map_or(0, |pending| pending.delivered_ms as i64));
        reply.integer(pending.map_or(0, |pending| pending.deliveries as i64));
    }
}
