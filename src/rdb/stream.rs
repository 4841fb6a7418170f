//! Streams of RDB as they are read.
//!
//! | what | as |
//! | --- | --- |
//! | number of blocks; each: first ID (a string of 16 bytes), listpack | length, strings |
//! | entries, last ID; since version 2: first ID, greatest deleted ID, entries added | lengths |
//! | number of groups; each: name, last ID; since version 2: entries read | lengths |
//! | what is pending: number; each: ID (16 bytes), time of delivery (8), deliveries | lengths |
//! | consumers: number; each: name, seen (8); since version 3: active (8); number of pending IDs, these (16 each) | lengths |

use super::blob;
use super::build::Built;
use super::error::Bad;
use super::format::Kind;
use super::input::{Input, Stop};
use crate::types::packed::Element;
use crate::types::stream::{Body, ConsumerId, Group, Pending, Stream, StreamId};
use std::collections::BTreeMap;

/// What comes next.
#[derive(Debug)]
enum Next {
    Blocks(Option<u64>),
    Facts,
    Groups(Option<u64>),
    Pending(u64),
    Consumers { left: Option<u64> },
    Owned { consumer: ConsumerId, left: u64 },
    End,
}

/// When an entry was delivered, and how often.
type Delivery = (u64, u64);

/// See the head of the module.
#[derive(Debug)]
pub(super) struct StreamDecoder {
    stream: Stream,
    next: Next,
    with_facts: bool,
    with_active: bool,
    groups_left: u64,
    consumers_left: u64,
    group: Option<Group>,
    /// What is pending in the group and has no owner yet.
    unowned: BTreeMap<StreamId, Delivery>,
}

/// A time that is no earlier than 1970.
fn time(ms: i64) -> u64 {
    ms.max(0) as u64
}

impl StreamDecoder {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            stream: Stream::default(),
            next: Next::Blocks(None),
            with_facts: kind != Kind::Stream,
            with_active: kind == Kind::Stream3,
            groups_left: 0,
            consumers_left: 0,
            group: None,
            unowned: BTreeMap::new(),
        }
    }

    /// See [`Decoder::read`](super::decode::Decoder::read).
    pub(super) fn read(&mut self, input: &mut Input<'_>, room: &mut Vec<u8>) -> Result<(), Stop> {
        while !matches!(self.next, Next::End) {
            let mark = input.at();
            match self.step(input, room) {
                Ok(next) => self.next = next,
                Err(stop) => {
                    input.back_to(mark);
                    return Err(stop);
                }
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Built, Bad> {
        Ok(Built::Object(Box::new(self.stream)))
    }

    /// Reads one part; what comes next.
    fn step(&mut self, input: &mut Input<'_>, room: &mut Vec<u8>) -> Result<Next, Stop> {
        Ok(match self.next {
            Next::Blocks(None) => Next::Blocks(Some(input.length()?)),
            Next::Blocks(Some(0)) => Next::Facts,
            Next::Blocks(Some(left)) => {
                self.block(input, room)?;
                Next::Blocks(Some(left - 1))
            }
            Next::Facts => {
                self.facts(input)?;
                Next::Groups(None)
            }
            Next::Groups(None) => Next::Groups(Some(input.length()?)),
            Next::Groups(Some(0)) => Next::End,
            Next::Groups(Some(left)) => {
                let pending = self.group(input, room)?;
                self.groups_left = left - 1;
                Next::Pending(pending)
            }
            Next::Pending(0) => Next::Consumers { left: None },
            Next::Pending(left) => {
                self.pending(input)?;
                Next::Pending(left - 1)
            }
            Next::Consumers { left: None } => Next::Consumers {
                left: Some(input.length()?),
            },
            Next::Consumers { left: Some(0) } => {
                self.end_group()?;
                Next::Groups(Some(self.groups_left))
            }
            Next::Consumers { left: Some(left) } => {
                let (consumer, owned) = self.consumer(input, room)?;
                self.consumers_left = left - 1;
                Next::Owned {
                    consumer,
                    left: owned,
                }
            }
            Next::Owned { left: 0, .. } => Next::Consumers {
                left: Some(self.consumers_left),
            },
            Next::Owned { consumer, left } => {
                self.own(input, consumer)?;
                Next::Owned {
                    consumer,
                    left: left - 1,
                }
            }
            Next::End => Next::End,
        })
    }

    fn block(&mut self, input: &mut Input<'_>, room: &mut Vec<u8>) -> Result<(), Stop> {
        const DAMAGED: Bad = Bad::Corrupt("a stream's block is damaged");
        let (first, listpack) = (input.string()?, input.string()?);
        let first: [u8; 16] = first.bytes(room)?.try_into().map_err(|_| DAMAGED)?;
        let first = Input::new(&first).raw_stream_id()?;
        let mut counts = [None; 2];
        let (mut body, mut seen) = (Body::default(), 0);
        blob::listpack(listpack.bytes(room)?, |element| {
            match (counts.get_mut(seen), element) {
                (Some(count), Element::Int(number)) => *count = Some(number),
                (Some(_), Element::Bytes(_)) => return Err(DAMAGED),
                (None, element) => body.push(element),
            }
            seen += 1;
            Ok(())
        })?;
        let [Some(live), Some(deleted)] = counts else {
            return Err(DAMAGED.into());
        };
        let log = &mut self.stream.log;
        Ok(log
            .restore_node(first, live, deleted, body)
            .ok_or(DAMAGED)?)
    }

    fn facts(&mut self, input: &mut Input<'_>) -> Result<(), Stop> {
        let (len, last) = (input.length()?, input.stream_id()?);
        let (mut added, mut max_deleted) = (None, StreamId::MIN);
        if self.with_facts {
            // The first ID is where the first entry is.
            input.stream_id()?;
            max_deleted = input.stream_id()?;
            added = Some(input.length()?);
        }
        let log = &mut self.stream.log;
        if log.len() != len || log.restore_ids(last, added, max_deleted).is_none() {
            return Err(Bad::Corrupt("a stream's entries are not those that it counts").into());
        }
        Ok(())
    }

    /// Begins a group; how much is pending in it.
    fn group(&mut self, input: &mut Input<'_>, room: &mut Vec<u8>) -> Result<u64, Stop> {
        let (name, last) = (input.string()?, input.stream_id()?);
        let read = if self.with_facts {
            // -1: it is not known.
            Some(input.length()?).filter(|read| *read != u64::MAX)
        } else {
            self.stream.log.entries_up_to(last)
        };
        let pending = input.length()?;
        self.group = Some(Group::new(name.bytes(room)?, last, read));
        self.unowned.clear();
        Ok(pending)
    }

    fn pending(&mut self, input: &mut Input<'_>) -> Result<(), Stop> {
        let (id, delivered, count) = (input.raw_stream_id()?, input.time_ms()?, input.length()?);
        match self.unowned.insert(id, (time(delivered), count)) {
            None => Ok(()),
            Some(_) => Err(Bad::Corrupt("an entry is pending twice in a group").into()),
        }
    }

    fn present(&mut self) -> &mut Group {
        self.group.as_mut().expect("a group has begun")
    }

    /// Begins a consumer; and how many entries are its own.
    fn consumer(
        &mut self,
        input: &mut Input<'_>,
        room: &mut Vec<u8>,
    ) -> Result<(ConsumerId, u64), Stop> {
        let (name, seen) = (input.string()?, time(input.time_ms()?));
        // Before version 3 it is taken to be the time at which the consumer was last seen.
        let active = if self.with_active {
            u64::try_from(input.time_ms()?).ok()
        } else {
            Some(seen)
        };
        let owned = input.length()?;
        let name = name.bytes(room)?;
        let group = self.present();
        let id = group
            .create(name, seen)
            .ok_or(Bad::Corrupt("a consumer stands twice in a group"))?;
        if let Some(active) = active {
            group.was_active(id, active);
        }
        Ok((id, owned))
    }

    fn own(&mut self, input: &mut Input<'_>, consumer: ConsumerId) -> Result<(), Stop> {
        let id = input.raw_stream_id()?;
        let (delivered_ms, deliveries) = self.unowned.remove(&id).ok_or(Bad::Corrupt(
            "a consumer has an entry that is not pending, or another's",
        ))?;
        let pending = Pending {
            consumer,
            delivered_ms,
            deliveries,
        };
        self.present().set_pending(id, pending);
        Ok(())
    }

    fn end_group(&mut self) -> Result<(), Bad> {
        if !self.unowned.is_empty() {
            return Err(Bad::Corrupt("a pending entry has no consumer"));
        }
        let group = self.group.take().expect("a group has begun");
        if self.stream.add_group(group) {
            Ok(())
        } else {
            Err(Bad::Corrupt("a group stands twice in a stream"))
        }
    }
}
