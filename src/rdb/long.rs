//! Long collections, written in parts: so that a shard that tells one can do other things in between.
//!
//! Put together, the parts of an entry are the entry as [`Encoder::entry`] writes it, but for the order
//! of what has none. The value must not change between the first part and the last.

use super::encode::{
    Access, Encoder, put_earliest, put_length, put_pending, put_stream_counts, put_ttl, raw,
};
use crate::keyspace::{EntryRef, Kind, Value};
use crate::types::hash::HashRef;
use crate::types::list::List;
use crate::types::set::Set;
use crate::types::stream::{Group, Stream, StreamId};
use crate::types::zset::SortedSet;
use std::ops::Bound;

/// Elements, and blocks of elements, of a part.
const PART_ELEMENTS: usize = 32;
const PART_BLOCKS: usize = 4;
/// What has more than so many parts is long: a shorter one is told in a fraction of a turn.
const PARTS_MIN: usize = 8;

/// How far an entry is written.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    at: At,
    /// When the first field of a hash expires.
    earliest: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
enum At {
    /// A list's next block.
    Block((usize, usize)),
    /// Elements of a sorted set that are written, from its end.
    Rank(usize),
    /// The cursor of a table.
    Cursor(u64),
    /// The last block of a stream that is written.
    Node(Option<StreamId>),
    /// A place among a stream's groups.
    Group(InGroups),
}

/// A place among the groups of a stream.
#[derive(Clone, Copy, Debug)]
struct InGroups {
    /// The group, by its place.
    group: usize,
    at: InGroup,
}

#[derive(Clone, Copy, Debug)]
enum InGroup {
    /// In front of it.
    Head,
    /// The last entry that was delivered and is written.
    Pending(Option<StreamId>),
    /// In front of a consumer, by its place.
    Consumer(usize),
    /// The last of its entries that is written.
    Owned(usize, Option<StreamId>),
}

/// What of a tree stands behind an element.
fn behind(last: Option<StreamId>) -> (Bound<StreamId>, Bound<StreamId>) {
    (
        last.map_or(Bound::Unbounded, Bound::Excluded),
        Bound::Unbounded,
    )
}

/// Whether an entry is to be written in parts.
pub fn is_long(entry: &EntryRef<'_>) -> bool {
    let Value::Object(object) = entry.value() else {
        return false;
    };
    let value = entry.value();
    let (count, part) = match object.kind() {
        Kind::List => match List::of(value) {
            List::Large(list) => (list.packs().1, PART_BLOCKS),
            List::Packed(_) => return false,
        },
        Kind::Set => match Set::of(value) {
            Set::Large(set) => (set.members.len(), PART_ELEMENTS),
            Set::Ints(_) | Set::Packed(_) => return false,
        },
        Kind::Hash => match HashRef::of(value) {
            Some(HashRef::Table(table)) => (table.len(), PART_ELEMENTS),
            _ => return false,
        },
        Kind::ZSet => (sorted_set(&value).len(), PART_ELEMENTS),
        Kind::Stream => {
            let stream = stream(&value);
            // Each stands there twice: what was delivered, and to whom.
            let pending = stream
                .groups()
                .iter()
                .map(|group| group.pending().len() * 2);
            let parts = pending.sum::<usize>() / PART_ELEMENTS;
            (stream.log.nodes().len() + parts * PART_BLOCKS, PART_BLOCKS)
        }
        Kind::String => return false,
    };
    count > part * PARTS_MIN
}

fn sorted_set<'a>(value: &Value<'a>) -> &'a SortedSet {
    match value {
        Value::Object(object) => object.as_any().downcast_ref().expect("a sorted set"),
        _ => unreachable!("a long one is an object"),
    }
}

fn stream<'a>(value: &Value<'a>) -> &'a Stream {
    match value {
        Value::Object(object) => object.as_any().downcast_ref().expect("a stream"),
        _ => unreachable!("a long one is an object"),
    }
}

impl Encoder {
    /// Appends the first part of a long entry: all that stands in front of its elements.
    pub fn begin_long(
        &mut self,
        entry: &EntryRef<'_>,
        access: Access,
        out: &mut Vec<u8>,
    ) -> Progress {
        assert!(is_long(entry), "it is written at once");
        self.head(entry, access, out);
        let value = entry.value();
        let mut earliest = None;
        let (at, length) = match entry.kind() {
            Kind::List => match List::of(value) {
                List::Large(list) => (At::Block((0, 0)), list.packs().1),
                List::Packed(_) => unreachable!("it is long"),
            },
            Kind::Set => (At::Cursor(0), Set::of(value).len()),
            Kind::Hash => {
                let hash = HashRef::of(value).expect("a hash");
                earliest = put_earliest(hash, out);
                match hash {
                    HashRef::Table(table) => (At::Cursor(0), table.len()),
                    HashRef::Small(_) => unreachable!("it is long"),
                }
            }
            Kind::ZSet => (At::Rank(0), sorted_set(&value).len()),
            Kind::Stream => (At::Node(None), stream(&value).log.nodes().len()),
            Kind::String => unreachable!("it is long"),
        };
        put_length(length as u64, out);
        Progress { at, earliest }
    }

    /// Appends the next part of an entry's value; whether it was the last.
    pub fn go_on(&mut self, value: &Value<'_>, progress: &mut Progress, out: &mut Vec<u8>) -> bool {
        let earliest = progress.earliest;
        match &mut progress.at {
            At::Block(at) => {
                let List::Large(list) = List::of(*value) else {
                    unreachable!("it was long before");
                };
                let (blocks, next) = list.packs_from(*at, PART_BLOCKS);
                blocks.for_each(|block| self.list_block(block, out));
                *at = next;
                list.ends_at(next)
            }
            At::Rank(written) => {
                let set = sorted_set(value);
                let from = set.len() - 1 - *written;
                for (score, member) in set.descend(from).take(PART_ELEMENTS) {
                    self.string(member, out);
                    out.extend_from_slice(&score.to_le_bytes());
                    *written += 1;
                }
                *written == set.len()
            }
            At::Cursor(cursor) => {
                *cursor = if let Some(hash) = HashRef::of(*value) {
                    let HashRef::Table(table) = hash else {
                        unreachable!("it was long before");
                    };
                    table.scan(*cursor, PART_ELEMENTS, |found| {
                        put_ttl(found.expiry, earliest, out);
                        self.string(found.field, out);
                        self.string(found.value, out);
                    })
                } else {
                    let Set::Large(set) = Set::of(*value) else {
                        unreachable!("it was long before");
                    };
                    set.members.scan(*cursor, PART_ELEMENTS, |member| {
                        self.string(member.key, out);
                    })
                };
                *cursor == 0
            }
            At::Node(last) => {
                let stream = stream(value);
                for _ in 0..PART_BLOCKS {
                    let Some(node) = stream.log.node_after(*last) else {
                        put_stream_counts(stream, out);
                        progress.at = At::Group(InGroups {
                            group: 0,
                            at: InGroup::Head,
                        });
                        return stream.groups().is_empty();
                    };
                    self.stream_node(&node, out);
                    *last = Some(node.first);
                }
                false
            }
            At::Group(place) => {
                let groups = stream(value).groups();
                let mut left = PART_ELEMENTS;
                while left > 0 && place.group < groups.len() {
                    left -= self.go_on_in_groups(groups, place, left, out);
                }
                place.group == groups.len()
            }
        }
    }

    /// Appends what stands next among the groups of a stream, up to `most` elements; how many it was, at
    /// least one.
    fn go_on_in_groups(
        &mut self,
        groups: &[Group],
        place: &mut InGroups,
        most: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        let group = &groups[place.group];
        match &mut place.at {
            InGroup::Head => {
                self.group_head(group, out);
                place.at = InGroup::Pending(None);
            }
            InGroup::Pending(last) => {
                let from = *last;
                let mut written = 0;
                for (id, pending) in group.pending().range(behind(from)).take(most) {
                    put_pending(*id, pending, out);
                    *last = Some(*id);
                    written += 1;
                }
                if written < most {
                    put_length(group.consumers().len() as u64, out);
                    place.at = InGroup::Consumer(0);
                }
                return written.max(1);
            }
            InGroup::Consumer(at) => match group.consumers().nth(*at) {
                Some(consumer) => {
                    self.consumer_head(consumer, out);
                    place.at = InGroup::Owned(*at, None);
                }
                None => {
                    place.group += 1;
                    place.at = InGroup::Head;
                }
            },
            InGroup::Owned(at, last) => {
                let consumer = group.consumers().nth(*at).expect("it has begun");
                let from = *last;
                let mut written = 0;
                for id in consumer.pending().range(behind(from)).take(most) {
                    out.extend_from_slice(&raw(*id));
                    *last = Some(*id);
                    written += 1;
                }
                if written < most {
                    place.at = InGroup::Consumer(*at + 1);
                }
                return written.max(1);
            }
        }
        1
    }
}
