//! XREAD and XREADGROUP.
//!
//! Both resolve the IDs of all streams first, so that an error leaves everything as it was, and then
//! serve stream by stream. A call with BLOCK to which nothing can be served waits.

use super::access::{edit, read_at};
use super::effect::Delivery;
use super::{ids, reply};
use crate::command::context::{Caller, Ctx};
use crate::command::error::{Error, Outcome};
use crate::command::wait::end_of;
use crate::keyspace::{Kind, Pos};
use crate::resp::encode::Reply;
use crate::resp::number::parse_i64;
use crate::shard::Shard;
use crate::shard::access::EventClass;
use crate::shard::blocking::{Nothing, Wait};
use crate::types::stream::{ConsumerId, Entry, Group, Log, Pending, Stream, StreamId};
use smallvec::SmallVec;

/// The arguments.
struct Request<'a> {
    /// Most entries of each stream; 0 for all.
    count: u64,
    no_ack: bool,
    /// CLAIM: milliseconds that an entry must have been pending for.
    claim_ms: Option<u64>,
    /// BLOCK: milliseconds to wait for; 0 for ever.
    block_ms: Option<u64>,
    /// Group and consumer.
    group: Option<(&'a [u8], &'a [u8])>,
    keys: &'a [&'a [u8]],
    ids: &'a [&'a [u8]],
}

/// From where a stream is read.
#[derive(Clone, Copy)]
enum From {
    /// Entries behind this one.
    Behind(StreamId),
    /// What was not delivered to the group yet.
    New,
    /// What is pending of the consumer, behind this ID.
    History(StreamId),
    /// Not at all: another shard's.
    Nowhere,
}

type Sources = SmallVec<[(Pos, From); 4]>;

impl<'a> Request<'a> {
    fn parse(args: &'a [&'a [u8]], in_group: bool) -> Result<Self, Error> {
        let only_groups = |option: &str| {
            Error::new(format!(
                "ERR The {option} option is only supported by XREADGROUP. You called XREAD instead."
            ))
        };
        let mut request = Self {
            count: 0,
            no_ack: false,
            claim_ms: None,
            block_ms: None,
            group: None,
            keys: &[],
            ids: &[],
        };
        let mut rest = &args[1..];
        let streams = loop {
            let [option, after @ ..] = rest else {
                return Err(Error::SYNTAX);
            };
            let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
            rest = match after {
                [timeout, after @ ..] if is("block") => {
                    request.block_ms = Some(parse_timeout(timeout)?);
                    after
                }
                [count, after @ ..] if is("count") => {
                    let count = parse_i64(count).ok_or(Error::NOT_INTEGER)?;
                    request.count = u64::try_from(count).unwrap_or(0);
                    after
                }
                streams @ [_, ..] if is("streams") => break streams,
                [group, consumer, after @ ..] if is("group") => {
                    if !in_group {
                        return Err(only_groups("GROUP"));
                    }
                    request.group = Some((group, consumer));
                    after
                }
                [idle, after @ ..] if is("claim") => {
                    if !in_group {
                        return Err(only_groups("CLAIM"));
                    }
                    let idle = parse_i64(idle)
                        .ok_or_else(|| Error::new("ERR min-idle-time is not an integer"))?;
                    let idle = u64::try_from(idle)
                        .map_err(|_| Error::new("ERR min-idle-time must be a positive integer"))?;
                    request.claim_ms = Some(idle);
                    after
                }
                after if is("noack") => {
                    if !in_group {
                        return Err(only_groups("NOACK"));
                    }
                    request.no_ack = true;
                    after
                }
                _ => return Err(Error::SYNTAX),
            };
        };
        if !streams.len().is_multiple_of(2) {
            return Err(Error::new(
                "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.",
            ));
        }
        if in_group && request.group.is_none() {
            return Err(Error::new("ERR Missing GROUP option for XREADGROUP"));
        }
        (request.keys, request.ids) = streams.split_at(streams.len() / 2);
        Ok(request)
    }

    /// Leaves out the streams of other shards: what a wait is tried with.
    fn only_own(&self, shard: &Shard, index: usize) -> bool {
        shard.blocking.trying.is_none() || shard.owner_of_key(self.keys[index]) == shard.id
    }

    /// From where each stream is read.
    fn resolve(&self, shard: &mut Shard, caller: Caller) -> Result<Sources, Error> {
        let each = self.keys.iter().zip(self.ids).enumerate();
        each.map(|(index, (key, id))| {
            let pos = shard.pos(key);
            if !self.only_own(shard, index) {
                return Ok((pos, From::Nowhere));
            }
            let stream = read_at(shard, caller, pos, key)?;
            Ok((pos, self.resolve_one(stream, key, id)?))
        })
        .collect()
    }

    /// Whether there is anything to read, found without changing anything.
    fn has_news(&self, shard: &mut Shard, caller: Caller, sources: &Sources) -> bool {
        let mut each = self.keys.iter().zip(sources);
        let claims_until_ms = self.claims_until_ms(shard.now_ms);
        each.any(|(key, (pos, from))| {
            let stream = read_at(shard, caller, *pos, key).ok().flatten();
            let behind = match (stream, from) {
                (_, From::History(_)) => return true,
                (None, _) | (_, From::Nowhere) => return false,
                (Some(_), From::Behind(id)) => *id,
                (Some(stream), From::New) => {
                    let Some(group) = self.group_of(stream) else {
                        return false;
                    };
                    let mut old = claims_until_ms
                        .into_iter()
                        .flat_map(|until_ms| group.delivered_until(until_ms));
                    if old.any(|id| stream.log.get(id).is_some()) {
                        return true;
                    }
                    group.last_id
                }
            };
            stream.is_some_and(|s| !s.log.is_empty() && s.log.last_entry_id() > behind)
        })
    }

    fn group_of<'s>(&self, stream: &'s Stream) -> Option<&'s Group> {
        self.group.and_then(|(name, _)| stream.group(name))
    }

    /// Up to when a pending entry must have been delivered to be claimed; None if none is.
    fn claims_until_ms(&self, now_ms: u64) -> Option<u64> {
        self.claim_ms.and_then(|ms| now_ms.checked_sub(ms))
    }

    /// When the next pending entry will have been so for long enough to be claimed, if any will.
    fn next_claim_ms(&self, ctx: &mut Ctx<'_>, sources: &Sources) -> Option<u64> {
        let claim_ms = self.claim_ms?;
        let after_ms = self.claims_until_ms(ctx.now_ms());
        let new = self.keys.iter().zip(sources);
        let new = new.filter(|(_, (_, from))| matches!(from, From::New));
        let delivered_ms = new.filter_map(|(key, (pos, _))| {
            let stream = read_at(ctx.shard, ctx.caller, *pos, key).ok().flatten()?;
            self.group_of(stream)?.delivered_next(after_ms)
        });
        delivered_ms.min()?.checked_add(claim_ms)
    }

    /// What a call to which nothing can be served waits for.
    fn wait(&self, ctx: &mut Ctx<'_>, sources: &Sources, block_ms: u64) -> Wait {
        let first_id = ctx.args.len() - self.ids.len();
        let first_key = first_id - self.keys.len();
        // `$` means the last entry of now.
        let now = |(index, (id, (_, from))): (usize, (&&[u8], &(Pos, From)))| match from {
            From::Behind(behind) if matches!(*id, b"$" | b"+") => {
                let text = behind.to_string().into_bytes();
                Some(((first_id + index) as u32, text))
            }
            _ => None,
        };
        let ids = self.ids.iter().zip(sources).enumerate();
        Wait {
            until_ms: end_of(block_ms, ctx.now_ms()),
            again_ms: self.next_claim_ms(ctx, sources),
            keys: (first_key..first_id).map(|at| at as u32).collect(),
            kind: Kind::Stream,
            destination: None,
            even_if_gone: self.group.is_some(),
            rewritten: ids.filter_map(now).collect(),
            nothing: Nothing::NullArray,
        }
    }

    fn resolve_one(&self, stream: Option<&Stream>, key: &[u8], id: &[u8]) -> Result<From, Error> {
        if let Some((name, _)) = self.group {
            if stream.and_then(|stream| stream.group(name)).is_none() {
                let texts = [
                    "NOGROUP No such key '",
                    "' or consumer group '",
                    "' in XREADGROUP with GROUP option",
                ];
                return Err(Error::quoting_two(texts, [key, name]));
            }
            return match id {
                b"$" => Err(Error::new(
                    "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set.",
                )),
                b">" => Ok(From::New),
                // Redis takes the last possible ID for `>`, too.
                id => match ids::strict(id, 0)? {
                    StreamId::MAX => Ok(From::New),
                    id => Ok(From::History(id)),
                },
            };
        }
        let log = stream.map(|stream| &stream.log);
        match id {
            b"$" => Ok(From::Behind(log.map_or(StreamId::MIN, Log::last_id))),
            b"+" => {
                let last = log.map_or(StreamId::MIN, Log::last_entry_id);
                Ok(From::Behind(last.previous().unwrap_or_default()))
            }
            b">" => Err(Error::new(
                "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
            )),
            id => ids::strict(id, 0).map(From::Behind),
        }
    }
}

/// Milliseconds to wait for.
fn parse_timeout(text: &[u8]) -> Result<u64, Error> {
    let timeout = parse_i64(text)
        .ok_or_else(|| Error::new("ERR timeout is not an integer or out of range"))?;
    u64::try_from(timeout).map_err(|_| Error::fixed("ERR timeout is negative"))
}

/// XREAD
pub(super) fn xread(ctx: &mut Ctx<'_>) -> Outcome {
    run(ctx, false)
}

/// XREADGROUP
pub(super) fn xreadgroup(ctx: &mut Ctx<'_>) -> Outcome {
    run(ctx, true)
}

fn run(ctx: &mut Ctx<'_>, in_group: bool) -> Outcome {
    let request = Request::parse(ctx.args, in_group)?;
    let sources = request.resolve(ctx.shard, ctx.caller)?;
    let tried = ctx.shard.blocking.trying.is_some();
    let may_be = !tried || request.has_news(ctx.shard, ctx.caller, &sources);
    if may_be {
        if !ctx.may_serve() || serve(ctx, &request, &sources) {
            return Ok(());
        }
        assert!(!tried, "what it was told of is there");
    }
    match request.block_ms {
        Some(ms) => {
            let wait = request.wait(ctx, &sources, ms);
            ctx.wait(wait)
        }
        None => {
            ctx.reply.null_array();
            Ok(())
        }
    }
}

/// Replies what there is to read now; whether there was anything.
fn serve(ctx: &mut Ctx<'_>, request: &Request<'_>, sources: &Sources) -> bool {
    let Ctx {
        shard,
        reply,
        caller,
        ..
    } = ctx;
    let begin = reply.output().buf.len();
    let head = |reply: &mut Reply<'_>, count| {
        if reply.is_resp3() {
            reply.map(count);
        } else {
            reply.array(count);
        }
    };
    let served = reply.counted(request.keys.len(), head, |reply| {
        let each = request.keys.iter().zip(sources);
        each.filter(|(key, (pos, from))| match (request.group, from) {
            (_, From::Nowhere) => false,
            (Some(group), from) => {
                serve_group(shard, reply, *caller, request, group, (key, *pos), *from)
            }
            (None, From::Behind(id)) => {
                let stream = read_at(shard, *caller, *pos, key).ok().flatten();
                stream.is_some_and(|stream| serve_log(reply, request, key, &stream.log, *id))
            }
            (None, _) => false,
        })
        .count()
    });
    if served == 0 {
        reply.output().truncate(begin);
    }
    served > 0
}

/// The head of one stream's part: in RESP3 the parts are a map.
fn name(reply: &mut Reply<'_>, key: &[u8]) {
    if !reply.is_resp3() {
        reply.array(2);
    }
    reply.bulk(key);
}

/// Replies the entries behind an ID; whether there are any.
fn serve_log(
    reply: &mut Reply<'_>,
    request: &Request<'_>,
    key: &[u8],
    log: &Log,
    behind: StreamId,
) -> bool {
    let Some(start) = behind.next().filter(|_| !log.is_empty()) else {
        return false;
    };
    if log.last_id() <= behind || log.last_entry_id() <= behind {
        return false;
    }
    name(reply, key);
    let entries = log.range(start, StreamId::MAX, false);
    reply::entries(reply, entries, request.count, log.len());
    true
}

/// Replies what a consumer is to get of one stream; whether there is anything.
fn serve_group(
    shard: &mut Shard,
    reply: &mut Reply<'_>,
    caller: Caller,
    request: &Request<'_>,
    (name, consumer_name): (&[u8], &[u8]),
    (key, pos): (&[u8], Pos),
    from: From,
) -> bool {
    let (now_ms, delivery) = (shard.now_ms, Delivery::new(shard));
    let Ok(Some(entry)) = shard.write_kind(caller, pos, key, Kind::Stream) else {
        return false;
    };
    let outcome = edit(entry, |stream| {
        stream.edit_group(name, |log, group| {
            let created = group.create(consumer_name, now_ms);
            let consumer = created.or_else(|| group.find(consumer_name))?;
            group.saw(consumer, now_ms);
            let mut reader = Reader {
                request,
                log,
                group,
                consumer,
                now_ms,
                reply,
                delivery,
            };
            reader.delivery.created(created.is_some());
            let served = match from {
                From::History(behind) => reader.history(key, behind),
                _ => reader.new_entries(key),
            };
            Some((created.is_some(), served, reader.delivery))
        })
    });
    let Some((created, served, delivery)) = outcome.flatten() else {
        return false;
    };
    let names = (name, consumer_name);
    delivery.record(shard, caller.db, (pos, key), names);
    if created {
        let event = "xgroup-createconsumer";
        shard.changed(caller.db, pos, key, EventClass::Stream, event);
    }
    shard.dirty += u64::from(served);
    served
}

/// A consumer that reads a stream.
struct Reader<'a, 'r, 'o> {
    request: &'a Request<'a>,
    log: &'a Log,
    group: &'a mut Group,
    consumer: ConsumerId,
    now_ms: u64,
    reply: &'r mut Reply<'o>,
    delivery: Delivery,
}

impl<'a> Reader<'a, '_, '_> {
    fn limit(&self) -> usize {
        match self.request.count {
            0 => usize::MAX,
            count => usize::try_from(count).unwrap_or(usize::MAX),
        }
    }

    /// What is pending of the consumer behind an ID. An entry that was deleted has no fields.
    fn history(&mut self, key: &[u8], behind: StreamId) -> bool {
        name(self.reply, key);
        let pending = self.group.consumer(self.consumer).pending();
        let ids: SmallVec<[StreamId; 16]> = match behind.next() {
            Some(start) => pending.range(start..).take(self.limit()).copied().collect(),
            None => SmallVec::new(),
        };
        self.reply.array(ids.len());
        for id in ids {
            match self.log.get(id) {
                Some(entry) => {
                    reply::entry(self.reply, &entry);
                    self.deliver_again(id);
                }
                None => {
                    self.reply.array(2);
                    reply::id(self.reply, id);
                    self.reply.null_array();
                }
            }
        }
        true
    }

    /// Counts another delivery of a pending entry.
    fn deliver_again(&mut self, id: StreamId) {
        if let Some(before) = self.group.pending().get(&id).copied() {
            let now = Pending {
                consumer: self.consumer,
                delivered_ms: self.now_ms,
                deliveries: before.deliveries.wrapping_add(1),
            };
            self.group.set_pending(id, now);
            self.delivery.pending(id, &now);
        }
    }

    /// What nobody of the group has got yet, and before it what was pending for too long.
    fn new_entries(&mut self, key: &[u8]) -> bool {
        let claimed = self.claimable();
        let (log, last) = (self.log, self.group.last_id);
        let any = !log.is_empty() && log.last_id() > last && log.last_entry_id() > last;
        if !any && claimed.is_empty() {
            return false;
        }
        self.group.was_active(self.consumer, self.now_ms);
        name(self.reply, key);
        let left = self.limit() - claimed.len();
        let new = if any { left.min(log.len() as usize) } else { 0 };
        let Self {
            group,
            consumer,
            now_ms,
            request,
            reply,
            delivery,
            ..
        } = self;
        let deliver = |deliveries| Pending {
            consumer: *consumer,
            delivered_ms: *now_ms,
            deliveries,
        };
        reply.counted(claimed.len() + new, Reply::array, |reply| {
            for (entry, before) in &claimed {
                let idle_ms = now_ms.saturating_sub(before.delivered_ms);
                entry_with_delivery(reply, entry, idle_ms, before.deliveries);
                let deliveries = before.deliveries.wrapping_add(1);
                let pending = deliver(deliveries);
                group.set_pending(entry.id, pending);
                delivery.pending(entry.id, &pending);
            }
            let behind = last.next().unwrap_or(StreamId::MAX);
            let entries = log.range(behind, StreamId::MAX, false).take(new);
            let delivered = entries.map(|entry| {
                match request.claim_ms {
                    None => reply::entry(reply, &entry),
                    Some(_) => entry_with_delivery(reply, &entry, 0, 0),
                }
                group.advance(log, entry.id);
                if !request.no_ack {
                    group.set_pending(entry.id, deliver(1));
                    delivery.pending(entry.id, &deliver(1));
                }
            });
            claimed.len() + delivered.count()
        });
        if any {
            self.delivery.advanced(self.group);
        }
        true
    }

    /// CLAIM: entries that were pending for long enough, longest first. What is no longer in the
    /// stream is no longer pending either.
    fn claimable(&mut self) -> Vec<(Entry<'a>, Pending)> {
        let Some(until) = self.request.claims_until_ms(self.now_ms) else {
            return Vec::new();
        };
        let (log, limit) = (self.log, self.limit());
        let (mut gone, mut found) = (Vec::new(), Vec::new());
        for id in self.group.longest_pending(until) {
            if found.len() == limit {
                break;
            }
            match log.get(id) {
                Some(entry) => found.push(entry),
                None => gone.push(id),
            }
        }
        for id in gone {
            self.group.acknowledge(id);
            self.delivery.acknowledged(id);
        }
        let known = |entry: Entry<'a>| Some((entry, *self.group.pending().get(&entry.id)?));
        found.into_iter().filter_map(known).collect()
    }
}

/// An entry of a read with CLAIM: how long ago it was delivered and how often; a new one never was.
fn entry_with_delivery(reply: &mut Reply<'_>, entry: &Entry<'_>, idle_ms: u64, deliveries: u64) {
    reply.array(4);
    reply::id(reply, entry.id);
    reply::pairs(reply, entry);
    reply.integer(idle_ms as i64);
    reply.integer(deliveries as i64);
}
