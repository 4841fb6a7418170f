//! Who subscribes to what, as far as publishing needs it: how many connections of which shard.
//!
//! # Where it is known
//! A channel has an owner, the shard that owns the slot of its name. Its owner knows the number of
//! its subscribers on each shard, and every message of the channel passes through its owner: so all
//! subscribers see one order, the publisher learns the true count, and no shard without a subscriber
//! hears of it. Patterns match channels of any owner, so every shard knows all of them.
//!
//! The channels of keyspace notifications have no single publisher: each shard tells of its own keys.
//! So that this costs one hop, and the events of a key stand in their order, every shard knows the
//! subscribers of these channels ([`is_notice`]) as it knows the patterns.
//!
//! Which connections they are is known at the connections' own shards alone (`net::pubsub`).
//!
//! # Outbox
//! A command that publishes runs without a connection at hand: its messages are put into
//! an [`Outbox`], which the engine empties after each command.

use std::collections::HashMap;

use smallvec::SmallVec;

use crate::keyspace::Slot;
use crate::mesh::ShardId;
use crate::stdx::glob;

/// Prefixes of keys stand in [`super::tracking`].
const NO_MESSAGES: &str = "nothing is published under a prefix";

/// What a subscription names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Class {
    /// A channel (SUBSCRIBE).
    Channel,
    /// A pattern of channels (PSUBSCRIBE).
    Pattern,
    /// A shard channel (SSUBSCRIBE).
    Shard,
    /// A prefix of keys (CLIENT TRACKING BCAST); who knows of it is told as of a pattern.
    Prefix,
}

impl Class {
    /// Those of messages, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Channel, Self::Pattern, Self::Shard];
}

/// Number of subscribers for each shard that has any.
#[derive(Default, Debug)]
pub(super) struct Counts(SmallVec<[(ShardId, u32); 2]>);

impl Counts {
    pub(super) fn change(&mut self, shard: ShardId, by: i32) {
        let at = self.0.iter().position(|(s, _)| *s == shard);
        match at {
            None => {
                assert_eq!(by, 1, "a subscription begins before it ends");
                self.0.push((shard, 1));
            }
            Some(at) => {
                let count = &mut self.0[at].1;
                *count = count.checked_add_signed(by).expect("it began before");
                if *count == 0 {
                    self.0.swap_remove(at);
                }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn shards(&self) -> impl Iterator<Item = ShardId> {
        self.0.iter().map(|(shard, _)| *shard)
    }

    fn total(&self) -> u64 {
        self.0.iter().map(|(_, count)| u64::from(*count)).sum()
    }
}

/// A message that is on its way: what an [`Outbox`] holds.
#[derive(Clone, Copy, Debug)]
pub struct Published<'a> {
    /// Channel or shard channel.
    pub class: Class,
    /// Its name.
    pub channel: &'a [u8],
    /// What was published.
    pub message: &'a [u8],
}

/// Messages whose shards have been found.
#[derive(Default, Debug)]
pub struct Outbox {
    /// Class, shards, and lengths of channel and message.
    heads: Vec<(Class, SmallVec<[ShardId; 8]>, usize, usize)>,
    /// Channels and messages, one after the other.
    bytes: Vec<u8>,
}

/// Memory of an outbox that is kept for the next messages.
const OUTBOX_KEPT_BYTES: usize = 64 * 1024;

impl Outbox {
    /// The messages, each with the shards that it goes to.
    pub fn messages(&self) -> impl Iterator<Item = (&[ShardId], Published<'_>)> {
        let mut rest = &self.bytes[..];
        self.heads
            .iter()
            .map(move |(class, shards, channel_len, message_len)| {
                let (channel, tail) = rest.split_at(*channel_len);
                let (message, tail) = tail.split_at(*message_len);
                rest = tail;
                let class = *class;
                let published = Published {
                    class,
                    channel,
                    message,
                };
                (&shards[..], published)
            })
    }

    fn clear(&mut self) {
        self.heads.clear();
        self.bytes.clear();
        self.bytes.shrink_to(OUTBOX_KEPT_BYTES);
    }
}

/// Whether a channel is one of keyspace notifications.
pub fn is_notice(channel: &[u8]) -> bool {
    channel.starts_with(b"__keyspace@") || channel.starts_with(b"__keyevent@")
}

fn change(table: &mut HashMap<Box<[u8]>, Counts>, name: &[u8], shard: ShardId, on: bool) {
    if !on {
        let counts = table.get_mut(name).expect("it began before");
        counts.change(shard, -1);
        if counts.is_empty() {
            table.remove(name);
        }
    } else if let Some(counts) = table.get_mut(name) {
        counts.change(shard, 1);
    } else {
        let mut counts = Counts::default();
        counts.change(shard, 1);
        table.insert(name.into(), counts);
    }
}

/// A channel with subscribers, on its way to another owner.
#[derive(Debug)]
pub struct Owned {
    class: Class,
    name: Box<[u8]>,
    counts: Counts,
}

/// What a shard knows of subscriptions.
#[derive(Default, Debug)]
pub struct Channels {
    /// Channels and shard channels that this shard owns.
    owned: [HashMap<Box<[u8]>, Counts>; 2],
    /// Patterns of all shards.
    patterns: HashMap<Box<[u8]>, Counts>,
    /// Channels of keyspace notifications, of all shards.
    notices: HashMap<Box<[u8]>, Counts>,
    outbox: Outbox,
}

impl Channels {
    fn table(&mut self, class: Class) -> &mut HashMap<Box<[u8]>, Counts> {
        match class {
            Class::Channel => &mut self.owned[0],
            Class::Shard => &mut self.owned[1],
            Class::Pattern => &mut self.patterns,
            Class::Prefix => unreachable!("{NO_MESSAGES}"),
        }
    }

    /// A connection of `shard` has begun (`on`) or ended a subscription; `owned` says whether this
    /// shard owns the channel.
    pub fn change(&mut self, class: Class, name: &[u8], shard: ShardId, on: bool, owned: bool) {
        if class == Class::Pattern || owned {
            change(self.table(class), name, shard, on);
        }
        if class == Class::Channel && is_notice(name) {
            change(&mut self.notices, name, shard, on);
        }
    }

    /// Publishes on a channel that this shard owns; the number of subscriptions that it reaches.
    pub fn publish(&mut self, class: Class, channel: &[u8], message: &[u8]) -> u64 {
        self.send(class, channel, message, false)
    }

    /// Publishes on a channel of keyspace notifications, whoever owns it.
    pub fn notify(&mut self, channel: &[u8], message: &[u8]) {
        self.send(Class::Channel, channel, message, true);
    }

    /// Puts a message into the outbox if anybody subscribes; the number of subscriptions.
    fn send(&mut self, class: Class, channel: &[u8], message: &[u8], notice: bool) -> u64 {
        let mut shards: SmallVec<[ShardId; 8]> = SmallVec::new();
        let mut reached = 0;
        let mut reach = |counts: &Counts| {
            reached += counts.total();
            for (shard, _) in &counts.0 {
                if !shards.contains(shard) {
                    shards.push(*shard);
                }
            }
        };
        let own = match class {
            Class::Channel if notice => &self.notices,
            Class::Channel => &self.owned[0],
            Class::Shard => &self.owned[1],
            Class::Pattern | Class::Prefix => unreachable!("messages have a channel"),
        };
        if let Some(counts) = own.get(channel) {
            reach(counts);
        }
        if class == Class::Channel {
            for (pattern, counts) in &self.patterns {
                if glob::matches(pattern, channel, false) {
                    reach(counts);
                }
            }
        }
        if !shards.is_empty() {
            let outbox = &mut self.outbox;
            outbox.bytes.extend_from_slice(channel);
            outbox.bytes.extend_from_slice(message);
            outbox
                .heads
                .push((class, shards, channel.len(), message.len()));
        }
        reached
    }

    /// Takes out the channels of slots that this shard owns no more.
    pub fn take_owned(&mut self, moved: impl Fn(Slot) -> bool) -> Vec<Owned> {
        let mut taken = Vec::new();
        for class in [Class::Channel, Class::Shard] {
            let gone = self
                .table(class)
                .extract_if(|name, _| moved(Slot::of(name)));
            taken.extend(gone.map(|(name, counts)| Owned {
                class,
                name,
                counts,
            }));
        }
        taken
    }

    /// Takes over channels of slots that this shard owns now.
    pub fn adopt_owned(&mut self, channels: Vec<Owned>) {
        for Owned {
            class,
            name,
            counts,
        } in channels
        {
            let before = self.table(class).insert(name, counts);
            assert!(before.is_none(), "a channel has one owner");
        }
    }

    /// Whether messages wait to be sent out.
    #[inline]
    pub fn has_outbox(&self) -> bool {
        !self.outbox.heads.is_empty()
    }

    /// The messages that wait, and the memory to give back with [`reuse`](Self::reuse).
    pub fn take_outbox(&mut self) -> Outbox {
        std::mem::take(&mut self.outbox)
    }

    /// Takes the memory of messages that have been sent.
    pub fn reuse(&mut self, mut outbox: Outbox) {
        if self.outbox.heads.is_empty() {
            outbox.clear();
            self.outbox = outbox;
        }
    }

    /// Names of a class that this shard owns and that have subscribers, matching `pattern` if
    /// there is one.
    pub fn names<'a>(
        &'a self,
        class: Class,
        pattern: Option<&'a [u8]>,
    ) -> impl Iterator<Item = &'a [u8]> {
        let table = match class {
            Class::Channel => &self.owned[0],
            Class::Shard => &self.owned[1],
            Class::Pattern => &self.patterns,
            Class::Prefix => unreachable!("{NO_MESSAGES}"),
        };
        let fits = move |name: &&[u8]| pattern.is_none_or(|p| glob::matches(p, name, false));
        table.keys().map(|name| &name[..]).filter(fits)
    }

    /// Subscribers of a channel that this shard owns.
    pub fn subscribers(&mut self, class: Class, name: &[u8]) -> u64 {
        self.table(class).get(name).map_or(0, Counts::total)
    }

    /// Names of a class that have subscribers: all patterns, and the channels that this shard owns.
    pub fn len(&self, class: Class) -> usize {
        match class {
            Class::Channel => self.owned[0].len(),
            Class::Shard => self.owned[1].len(),
            Class::Pattern => self.patterns.len(),
            Class::Prefix => unreachable!("{NO_MESSAGES}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_goes_once_to_each_shard_that_has_somebody() {
        let (a, b) = (ShardId(0), ShardId(1));
        let mut channels = Channels::default();
        channels.change(Class::Channel, b"news", a, true, true);
        channels.change(Class::Channel, b"news", a, true, true);
        channels.change(Class::Channel, b"news", b, true, true);
        channels.change(Class::Pattern, b"n*", b, true, true);
        channels.change(Class::Shard, b"news", b, true, true);
        assert_eq!(channels.publish(Class::Channel, b"news", b"hi"), 4);
        assert_eq!(channels.publish(Class::Channel, b"none", b"hi"), 1);
        assert_eq!(channels.publish(Class::Channel, b"other", b"hi"), 0);
        assert_eq!(channels.publish(Class::Shard, b"news", b"shard"), 1);
        let outbox = channels.take_outbox();
        let sent: Vec<_> = outbox
            .messages()
            .map(|(shards, m)| (shards.to_vec(), m.channel, m.message))
            .collect();
        assert_eq!(
            sent,
            [
                (vec![a, b], &b"news"[..], &b"hi"[..]),
                (vec![b], b"none", b"hi"),
                (vec![b], b"news", b"shard"),
            ]
        );
        channels.reuse(outbox);
        assert!(!channels.has_outbox());
    }

    #[test]
    fn notices_go_out_from_any_shard() {
        let mut channels = Channels::default();
        channels.change(
            Class::Channel,
            b"__keyevent@0__:set",
            ShardId(1),
            true,
            false,
        );
        assert_eq!(channels.len(Class::Channel), 0, "another shard's");
        channels.notify(b"__keyevent@0__:set", b"key");
        channels.notify(b"__keyevent@0__:del", b"key");
        let outbox = channels.take_outbox();
        assert_eq!(outbox.messages().count(), 1);
    }

    #[test]
    fn what_nobody_subscribes_to_is_forgotten() {
        let mut channels = Channels::default();
        for class in Class::ALL {
            channels.change(class, b"x", ShardId(0), true, true);
            channels.change(class, b"x", ShardId(1), true, true);
            assert_eq!(channels.subscribers(class, b"x"), 2);
            assert_eq!(channels.names(class, Some(b"y*")).count(), 0);
            channels.change(class, b"x", ShardId(0), false, true);
            assert_eq!(channels.names(class, None).count(), 1);
            channels.change(class, b"x", ShardId(1), false, true);
            assert_eq!(
                (channels.len(class), channels.subscribers(class, b"x")),
                (0, 0)
            );
        }
    }
}
