//! XCLAIM and XAUTOCLAIM: pending entries change their owner.

use super::access::{edit, read};
use super::effect::{Delivery, counter};
use super::pending::no_group;
use super::{ids, reply};
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::keyspace::Kind;
use crate::resp::encode::Reply;
use crate::resp::number::parse_i64;
use crate::shard::Shard;
use crate::shard::access::EventClass;
use crate::types::stream::{ConsumerId, Entry, Group, Log, Pending, StreamId};
use smallvec::SmallVec;

/// A number, or the error that names what it was for.
fn number(text: &[u8], what: &'static str) -> Result<i64, Error> {
    parse_i64(text).ok_or_else(|| Error::new(what))
}

/// The options behind the IDs of XCLAIM.
#[derive(Default)]
struct Options {
    force: bool,
    just_id: bool,
    delivered_ms: Option<i64>,
    deliveries: Option<u64>,
    last_id: StreamId,
}

impl Options {
    fn parse(shard: &Shard, mut rest: &[&[u8]], now_ms: i64) -> Result<Self, Error> {
        const BAD_COUNT: Error = Error::fixed("ERR Invalid RETRYCOUNT option argument for XCLAIM");
        let mut options = Self::default();
        while let [option, after @ ..] = rest {
            let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
            rest = match after {
                after if is("force") => {
                    options.force = true;
                    after
                }
                after if is("justid") => {
                    options.just_id = true;
                    after
                }
                [idle, after @ ..] if is("idle") => {
                    let idle = number(idle, "ERR Invalid IDLE option argument for XCLAIM")?;
                    options.delivered_ms = Some(now_ms.wrapping_sub(idle));
                    after
                }
                [time, after @ ..] if is("time") => {
                    let time = number(time, "ERR Invalid TIME option argument for XCLAIM")?;
                    options.delivered_ms = Some(time);
                    after
                }
                [count, after @ ..] if is("retrycount") => {
                    let count = counter(shard, count).ok_or(BAD_COUNT)?;
                    options.deliveries = u64::try_from(count).ok();
                    after
                }
                [id, after @ ..] if is("lastid") => {
                    options.last_id = ids::strict(id, 0)?;
                    after
                }
                _ => {
                    return Err(Error::quoting(
                        "ERR Unrecognized XCLAIM option '",
                        option,
                        "'",
                    ));
                }
            };
        }
        // A time that cannot be is taken for now; that of a value from elsewhere is what it is.
        let latest_ms = if shard.replays() { i64::MAX } else { now_ms };
        let possible = 0..=latest_ms;
        options.delivered_ms = options.delivered_ms.filter(|ms| possible.contains(ms));
        Ok(options)
    }
}

/// Makes the consumer where there is none of its name; whether it was made.
fn consumer(group: &mut Group, name: &[u8], now_ms: u64) -> Option<(ConsumerId, bool)> {
    let created = group.create(name, now_ms);
    let id = created.or_else(|| group.find(name))?;
    group.saw(id, now_ms);
    Some((id, created.is_some()))
}

/// What a claim has done.
struct Done {
    created: bool,
    changes: u64,
    delivery: Delivery,
}

/// XCLAIM
pub(super) fn xclaim(ctx: &mut Ctx<'_>) -> Outcome {
    let (args, now_ms) = (ctx.args, ctx.shard.present_ms());
    let (key, name) = (args[1], args[2]);
    let group = read(ctx, key)?.and_then(|stream| stream.group(name));
    if group.is_none() {
        return Err(no_group(key, name));
    }
    let min_idle = number(args[4], "ERR Invalid min-idle-time argument for XCLAIM")?;
    let min_idle = u64::try_from(min_idle).unwrap_or(0);
    let ids: SmallVec<[StreamId; 8]> = args[5..]
        .iter()
        .map_while(|text| ids::strict(text, 0).ok())
        .collect();
    let options = Options::parse(ctx.shard, &args[5 + ids.len()..], now_ms as i64)?;
    let delivered_ms = options.delivered_ms.map_or(now_ms, |ms| ms as u64);
    let replays = ctx.shard.replays();
    run(ctx, |reply, log, group, delivery| {
        let (created, changes) = (false, 0);
        let mut done = Done {
            created,
            changes,
            delivery,
        };
        if options.last_id > group.last_id {
            group.last_id = options.last_id;
            done.delivery.advanced(group);
            done.changes += 1;
        }
        let (consumer, created) = consumer(group, args[3], now_ms)?;
        done.created = created;
        reply.counted(ids.len(), Reply::array, |reply| {
            let mut count = 0;
            for id in &ids {
                let before = group.pending().get(id).copied();
                let found = log.get(*id);
                if found.is_none() && !replays {
                    if group.acknowledge(*id) {
                        done.delivery.acknowledged(*id);
                        done.changes += 1;
                    }
                    continue;
                }
                let deliveries = match before {
                    Some(pending) if idle(&pending, now_ms) < min_idle => continue,
                    Some(pending) => pending.deliveries,
                    None if options.force => 1,
                    None => continue,
                };
                let more = u64::from(!options.just_id);
                let deliveries = options.deliveries.unwrap_or(deliveries.wrapping_add(more));
                let pending = Pending {
                    consumer,
                    delivered_ms,
                    deliveries,
                };
                group.set_pending(*id, pending);
                done.delivery.pending(*id, &pending);
                if let Some(entry) = found {
                    write(reply, &entry, options.just_id);
                    count += 1;
                }
            }
            if count > 0 {
                group.was_active(consumer, now_ms);
            }
            done.changes += count as u64;
            count
        });
        Some(done)
    })
}

fn idle(pending: &Pending, now_ms: u64) -> u64 {
    now_ms.saturating_sub(pending.delivered_ms)
}

fn write(reply: &mut Reply<'_>, entry: &Entry<'_>, just_id: bool) {
    if just_id {
        reply::id(reply, entry.id);
    } else {
        reply::entry(reply, entry);
    }
}

/// Claims in the group that the command names, and tells what has become of it.
fn run(
    ctx: &mut Ctx<'_>,
    claim: impl FnOnce(&mut Reply<'_>, &Log, &mut Group, Delivery) -> Option<Done>,
) -> Outcome {
    let (args, caller, pos) = (ctx.args, ctx.caller, ctx.pos);
    let (key, name) = (args[1], args[2]);
    let Ctx { shard, reply, .. } = ctx;
    let delivery = Delivery::new(shard);
    let found = shard.write_kind(caller, pos, key, Kind::Stream)?;
    let done = found.and_then(|entry| {
        edit(entry, |stream| {
            stream.edit_group(name, |log, group| claim(reply, log, group, delivery))
        })
    });
    let mut done = done.flatten().ok_or_else(|| no_group(key, name))?;
    done.delivery.created(done.created);
    let names = (name, args[3]);
    done.delivery.record(shard, caller.db, (pos, key), names);
    if done.created {
        let event = "xgroup-createconsumer";
        shard.changed(caller.db, pos, key, EventClass::Stream, event);
    }
    shard.dirty += done.changes;
    Ok(())
}

/// XAUTOCLAIM
pub(super) fn xautoclaim(ctx: &mut Ctx<'_>) -> Outcome {
    /// Pending entries that are looked at for each one that may be claimed.
    const ATTEMPTS: usize = 10;
    const COUNT_MAX: i64 = i64::MAX / 16;
    let (args, now_ms) = (ctx.args, ctx.now_ms());
    let min_idle = number(args[4], "ERR Invalid min-idle-time argument for XAUTOCLAIM")?;
    let min_idle = u64::try_from(min_idle).unwrap_or(0);
    let start = ids::start(args[5])?;
    let (mut count, mut just_id) = (100, false);
    let mut rest = &args[6..];
    while let [option, after @ ..] = rest {
        rest = match after {
            [number, after @ ..] if option.eq_ignore_ascii_case(b"count") => {
                count = parse_i64(number)
                    .filter(|count| (1..=COUNT_MAX).contains(count))
                    .ok_or_else(|| Error::new("ERR COUNT must be > 0"))?;
                after
            }
            after if option.eq_ignore_ascii_case(b"justid") => {
                just_id = true;
                after
            }
            _ => return Err(Error::SYNTAX),
        };
    }
    let group = read(ctx, args[1])?.and_then(|stream| stream.group(args[2]));
    if group.is_none() {
        return Err(no_group(args[1], args[2]));
    }
    let count = count as usize;
    run(ctx, |reply, log, group, mut delivery| {
        let (consumer, created) = consumer(group, args[3], now_ms)?;
        let attempts = count.saturating_mul(ATTEMPTS);
        let (mut claimed, mut gone) = (Vec::new(), Vec::new());
        let mut cursor = StreamId::MIN;
        for (attempt, (id, pending)) in group.pending().range(start..).enumerate() {
            if attempt == attempts || claimed.len() + gone.len() == count {
                cursor = *id;
                break;
            }
            match log.get(*id) {
                None => gone.push(*id),
                Some(_) if idle(pending, now_ms) < min_idle => {}
                Some(entry) => claimed.push((entry, pending.deliveries)),
            }
        }
        reply.array(3);
        reply::id(reply, cursor);
        reply.array(claimed.len());
        for (entry, deliveries) in &claimed {
            let deliveries = deliveries.wrapping_add(u64::from(!just_id));
            let pending = Pending {
                consumer,
                delivered_ms: now_ms,
                deliveries,
            };
            group.set_pending(entry.id, pending);
            delivery.pending(entry.id, &pending);
            write(reply, entry, just_id);
        }
        if !claimed.is_empty() {
            group.was_active(consumer, now_ms);
        }
        reply.array(gone.len());
        for id in &gone {
            group.acknowledge(*id);
            delivery.acknowledged(*id);
            reply::id(reply, *id);
        }
        Some(Done {
            created,
            changes: (claimed.len() + gone.len()) as u64,
            delivery,
        })
    })
}
