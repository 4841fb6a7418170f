//! Values and files as RDB: appended to a buffer that the caller drains.
//!
//! What is written is what Redis 7.0 loads ([`VERSION`]), with the types that it has: listpacks,
//! intsets, lists of listpacks, streams of version 2. Only a hash whose fields expire needs more, and
//! is [`Kind::HashMetadata`] of Redis 7.4, whether it is small or large. Strings are compressed
//! where that was asked for and saves four bytes, as Redis does it.

use super::blob::put_listpack;
use super::format::{Kind, Node, VERSION, VERSION_WITH_FIELD_EXPIRY, opcode};
use super::lzf::Compressor;
use crate::keyspace::{EntryRef, Kind as Type, Value};
use crate::resp::double::{F64_TEXT_MAX, format_f64};
use crate::resp::number::{I64_TEXT_MAX, format_i64};
use crate::types::hash::HashRef;
use crate::types::list::List;
use crate::types::packed::{self, Element, HEAD_BYTES, Packed};
use crate::types::set::{Set, intset::Intset};
use crate::types::stream::{Consumer, Group, Node as StreamNode, Pending, Stream, StreamId};
use crate::types::zset::SortedSet;
use crate::types::zset::small::Small as SmallZSet;

/// Shorter strings are not compressed.
const COMPRESSED_MIN: usize = 21;
/// What compressing must save.
const SAVED_MIN: usize = 4;
/// A longer string is no number.
const INT_TEXT_MAX: usize = 11;

/// See the head of the module.
#[derive(Debug, Default)]
pub struct Encoder {
    compresses: bool,
    /// Made with the first string that is to be compressed.
    compressor: Option<Box<Compressor>>,
    /// A collection's bytes, before they become a string.
    blob: Vec<u8>,
    packed: Vec<u8>,
}

/// How an entry is accessed, which eviction goes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Not told.
    Unknown,
    /// Seconds since the last access.
    IdleSeconds(u64),
    /// The logarithm of how often.
    Frequency(u8),
}

/// Whether it takes [`VERSION_WITH_FIELD_EXPIRY`] to write a value.
pub fn has_field_expiry(value: &Value<'_>) -> bool {
    let is_hash = match value {
        Value::Packed(kind, _) => *kind == Type::Hash,
        Value::Object(object) => object.kind() == Type::Hash,
        Value::Int(_) | Value::Str(_) | Value::Large(_) => false,
    };
    is_hash && HashRef::of(*value).is_some_and(|hash| earliest_expiry(hash).is_some())
}

/// When the first field of a hash expires. What a block remembers of it is a lower bound only.
fn earliest_expiry(hash: HashRef<'_>) -> Option<u64> {
    match hash {
        HashRef::Small(small) if !small.has_expiries() => None,
        HashRef::Small(small) => small.iter().filter_map(|entry| entry.expiry).min(),
        HashRef::Table(table) => table.next_due(),
    }
}

impl Encoder {
    /// `compress`: as `rdbcompression` says.
    pub fn new(compress: bool) -> Self {
        Self {
            compresses: compress,
            ..Self::default()
        }
    }

    /// `rdbcompression` was set.
    pub fn set_compression(&mut self, compress: bool) {
        self.compresses = compress;
    }

    /// Appends an entry as it stands in a file.
    pub fn entry(&mut self, entry: &EntryRef<'_>, access: Access, out: &mut Vec<u8>) {
        self.head(entry, access, out);
        self.value(&entry.value(), out);
    }

    /// Appends what stands in front of an entry's value.
    pub fn head(&mut self, entry: &EntryRef<'_>, access: Access, out: &mut Vec<u8>) {
        if let Some(ms) = entry.expiry() {
            out.push(opcode::EXPIRE_MS);
            out.extend_from_slice(&ms.to_le_bytes());
        }
        match access {
            Access::Unknown => {}
            Access::IdleSeconds(seconds) => {
                out.push(opcode::IDLE);
                put_length(seconds, out);
            }
            Access::Frequency(frequency) => out.extend_from_slice(&[opcode::FREQ, frequency]),
        }
        out.push(kind_of(&entry.value()) as u8);
        self.string(entry.key(), out);
    }

    /// Appends a value's type and itself: what DUMP's payload begins with.
    pub fn typed_value(&mut self, value: &Value<'_>, out: &mut Vec<u8>) {
        out.push(kind_of(value) as u8);
        self.value(value, out);
    }

    fn value(&mut self, value: &Value<'_>, out: &mut Vec<u8>) {
        match *value {
            Value::Int(number) => self.int(number, out),
            Value::Str(bytes) => self.string(bytes, out),
            Value::Large(large) => self.string(large.as_slice(), out),
            Value::Packed(Type::List, _) => self.list(List::of(*value), out),
            Value::Packed(Type::Set, _) => self.set(Set::of(*value), out),
            Value::Packed(Type::ZSet, bytes) => self.small_zset(SmallZSet::new(bytes), out),
            Value::Packed(..) => self.hash(HashRef::of(*value).expect("a small hash"), out),
            Value::Object(object) => match object.kind() {
                Type::List => self.list(List::of(*value), out),
                Type::Set => self.set(Set::of(*value), out),
                Type::Hash => self.hash(HashRef::of(*value).expect("a hash"), out),
                Type::ZSet => {
                    let set = object.as_any().downcast_ref::<SortedSet>();
                    self.zset(set.expect("a sorted set"), out);
                }
                Type::Stream => {
                    let stream = object.as_any().downcast_ref::<Stream>();
                    self.stream(stream.expect("a stream"), out);
                }
                Type::String => unreachable!("a string is no object"),
            },
        }
    }

    /// Appends a string: as a number where it is short and the decimal of one, compressed where that
    /// pays.
    pub(super) fn string(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let rest = self.begin_string(bytes, out);
        out.extend_from_slice(rest);
    }

    /// The same in two pieces: what stands in front of the string's bytes is appended, and what is to
    /// follow is returned.
    pub fn begin_string<'a>(&'a mut self, bytes: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        if bytes.len() <= INT_TEXT_MAX
            && let Some(number) = crate::keyspace::parse_int(bytes)
            && put_int(number, out)
        {
            return &[];
        }
        if self.compresses && bytes.len() >= COMPRESSED_MIN {
            let compressor = self.compressor.get_or_insert_default();
            self.packed.clear();
            if compressor.compress(bytes, bytes.len() - SAVED_MIN, &mut self.packed) {
                out.push(0xc3);
                put_length(self.packed.len() as u64, out);
                put_length(bytes.len() as u64, out);
                return &self.packed;
            }
        }
        put_length(bytes.len() as u64, out);
        bytes
    }

    fn int(&mut self, number: i64, out: &mut Vec<u8>) {
        if !put_int(number, out) {
            self.string(format_i64(number, &mut [0; I64_TEXT_MAX]), out);
        }
    }

    fn element(&mut self, element: Element<'_>, out: &mut Vec<u8>) {
        match element {
            Element::Int(number) => self.int(number, out),
            Element::Bytes(bytes) => self.string(bytes, out),
        }
    }

    /// Appends a string that `fill` makes.
    fn blob(&mut self, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
        let mut blob = std::mem::take(&mut self.blob);
        blob.clear();
        fill(&mut blob);
        self.string(&blob, out);
        // A big one's memory is not kept.
        const KEPT_MAX: usize = 1 << 20;
        if blob.capacity() <= KEPT_MAX {
            self.blob = blob;
        }
    }

    pub(super) fn list_block(&mut self, block: Packed<'_>, out: &mut Vec<u8>) {
        put_length(Node::PACKED, out);
        self.listpack(block, out);
    }

    fn listpack(&mut self, block: Packed<'_>, out: &mut Vec<u8>) {
        self.blob(out, |blob| {
            put_listpack(&[&block.bytes()[HEAD_BYTES..]], block.len(), blob);
        });
    }

    fn list(&mut self, list: List<'_>, out: &mut Vec<u8>) {
        match list {
            List::Packed(block) => {
                put_length(1, out);
                self.list_block(block, out);
            }
            List::Large(list) => {
                let (blocks, count) = list.packs();
                put_length(count as u64, out);
                blocks.for_each(|block| self.list_block(block, out));
            }
        }
    }

    fn set(&mut self, set: Set<'_>, out: &mut Vec<u8>) {
        match set {
            Set::Ints(ints) => self.intset(ints, out),
            set => {
                put_length(set.len() as u64, out);
                set.for_each(|member| self.element(member, out));
            }
        }
    }

    fn intset(&mut self, ints: Intset<'_>, out: &mut Vec<u8>) {
        self.blob(out, |blob| {
            blob.extend_from_slice(&(ints.width() as u32).to_le_bytes());
            blob.extend_from_slice(&(ints.len() as u32).to_le_bytes());
            blob.extend_from_slice(ints.bytes());
        });
    }

    /// In memory scores have a form of their own: here they are numbers or text again.
    fn small_zset(&mut self, set: SmallZSet<'_>, out: &mut Vec<u8>) {
        let mut block = packed::EMPTY.to_vec();
        set.visit(0, usize::MAX, false, |(score, member)| {
            let mut text = [0; F64_TEXT_MAX];
            let pair = [Element::of(member), score_element(score, &mut text)];
            packed::push(&mut block, &pair);
        });
        self.listpack(Packed::new(&block), out);
    }

    /// From the highest score down, as Redis writes it.
    fn zset(&mut self, set: &SortedSet, out: &mut Vec<u8>) {
        put_length(set.len() as u64, out);
        for (score, member) in set.descend(set.len().saturating_sub(1)) {
            self.string(member, out);
            out.extend_from_slice(&score.to_le_bytes());
        }
    }

    fn hash(&mut self, hash: HashRef<'_>, out: &mut Vec<u8>) {
        let earliest = put_earliest(hash, out);
        let ttl = |expiry: Option<u64>, out: &mut Vec<u8>| put_ttl(expiry, earliest, out);
        match hash {
            HashRef::Small(small) if earliest.is_none() && !small.has_expiries() => {
                self.listpack(small.block(), out);
            }
            HashRef::Small(small) => {
                put_length(small.len() as u64, out);
                for entry in small.iter() {
                    ttl(entry.expiry, out);
                    self.element(entry.field, out);
                    self.element(entry.value, out);
                }
            }
            HashRef::Table(table) => {
                put_length(table.len() as u64, out);
                for found in table.iter() {
                    ttl(found.expiry, out);
                    self.string(found.field, out);
                    self.string(found.value, out);
                }
            }
        }
    }

    fn stream(&mut self, stream: &Stream, out: &mut Vec<u8>) {
        let log = &stream.log;
        let nodes = log.nodes();
        put_length(nodes.len() as u64, out);
        nodes.for_each(|node| self.stream_node(&node, out));
        self.stream_tail(stream, out);
    }

    pub(super) fn stream_node(&mut self, node: &StreamNode<'_>, out: &mut Vec<u8>) {
        self.string(&raw(node.first), out);
        self.blob(out, |blob| {
            let mut counts = packed::EMPTY.to_vec();
            let elements = [node.live, node.deleted].map(|n| Element::Int(n as i64));
            packed::push(&mut counts, &elements);
            let parts = [&counts[HEAD_BYTES..], node.body];
            put_listpack(&parts, node.elements + elements.len(), blob);
        });
    }

    /// What stands behind a stream's blocks.
    fn stream_tail(&mut self, stream: &Stream, out: &mut Vec<u8>) {
        put_stream_counts(stream, out);
        for group in stream.groups() {
            self.group_head(group, out);
            for (id, pending) in group.pending() {
                put_pending(*id, pending, out);
            }
            put_length(group.consumers().len() as u64, out);
            for consumer in group.consumers() {
                self.consumer_head(consumer, out);
                for id in consumer.pending() {
                    out.extend_from_slice(&raw(*id));
                }
            }
        }
    }

    /// A group up to what was delivered of it.
    pub(super) fn group_head(&mut self, group: &Group, out: &mut Vec<u8>) {
        self.string(&group.name, out);
        put_length(group.last_id.ms, out);
        put_length(group.last_id.seq, out);
        put_length(group.entries_read.unwrap_or(u64::MAX), out);
        put_length(group.pending().len() as u64, out);
    }

    /// A consumer up to what it has not acknowledged.
    pub(super) fn consumer_head(&mut self, consumer: &Consumer, out: &mut Vec<u8>) {
        self.string(&consumer.name, out);
        out.extend_from_slice(&consumer.seen_ms.to_le_bytes());
        put_length(consumer.pending().len() as u64, out);
    }
}

/// What stands between a stream's blocks and its groups.
pub(super) fn put_stream_counts(stream: &Stream, out: &mut Vec<u8>) {
    let log = &stream.log;
    put_length(log.len(), out);
    for id in [log.last_id(), log.first_id(), log.max_deleted_id()] {
        put_length(id.ms, out);
        put_length(id.seq, out);
    }
    put_length(log.entries_added(), out);
    put_length(stream.groups().len() as u64, out);
}

/// An entry that was delivered to a group.
pub(super) fn put_pending(id: StreamId, pending: &Pending, out: &mut Vec<u8>) {
    out.extend_from_slice(&raw(id));
    out.extend_from_slice(&pending.delivered_ms.to_le_bytes());
    put_length(pending.deliveries, out);
}

/// Appends when the first field of a hash expires, if any does.
pub(super) fn put_earliest(hash: HashRef<'_>, out: &mut Vec<u8>) -> Option<u64> {
    let earliest = earliest_expiry(hash);
    if let Some(earliest) = earliest {
        out.extend_from_slice(&earliest.to_le_bytes());
    }
    earliest
}

/// Appends when a field expires, where any field of its hash does.
pub(super) fn put_ttl(expiry: Option<u64>, earliest: Option<u64>, out: &mut Vec<u8>) {
    if let Some(earliest) = earliest {
        put_length(expiry.map_or(0, |at| at - earliest + 1), out);
    }
}

/// The type that a value is written as.
fn kind_of(value: &Value<'_>) -> Kind {
    if has_field_expiry(value) {
        return Kind::HashMetadata;
    }
    match value {
        Value::Int(_) | Value::Str(_) | Value::Large(_) => Kind::String,
        Value::Packed(Type::List, _) => Kind::ListQuicklist2,
        Value::Packed(Type::ZSet, _) => Kind::ZSetListpack,
        Value::Packed(Type::Set, _) => match Set::of(*value) {
            Set::Ints(_) => Kind::SetIntset,
            _ => Kind::Set,
        },
        Value::Packed(_, bytes) if Packed::new(bytes).mark() => Kind::Hash,
        Value::Packed(..) => Kind::HashListpack,
        Value::Object(object) => match object.kind() {
            Type::List => Kind::ListQuicklist2,
            Type::Set => Kind::Set,
            Type::ZSet => Kind::ZSet2,
            Type::Hash => Kind::Hash,
            Type::Stream => Kind::Stream2,
            Type::String => unreachable!("a string is no object"),
        },
    }
}

/// A score as Redis's listpack has it: a number where it is a whole one.
fn score_element(score: f64, text: &mut [u8; F64_TEXT_MAX]) -> Element<'_> {
    /// Redis's `double2ll`.
    const INT_MAX: f64 = (i64::MAX / 2) as f64;
    if score.abs() <= INT_MAX && score.trunc() == score {
        return Element::Int(score as i64);
    }
    Element::of(format_f64(score, text))
}

/// An ID as sixteen bytes, big-endian.
pub(super) fn raw(id: StreamId) -> [u8; 16] {
    (u128::from(id.ms) << 64 | u128::from(id.seq)).to_be_bytes()
}

/// Appends a length.
pub fn put_length(length: u64, out: &mut Vec<u8>) {
    match length {
        0..64 => out.push(length as u8),
        64..0x4000 => out.extend_from_slice(&(0x4000 | length as u16).to_be_bytes()),
        _ => match u32::try_from(length) {
            Ok(length) => {
                out.push(0x80);
                out.extend_from_slice(&length.to_be_bytes());
            }
            Err(_) => {
                out.push(0x81);
                out.extend_from_slice(&length.to_be_bytes());
            }
        },
    }
}

/// Appends a string as a number of up to four bytes; false if it needs more.
fn put_int(number: i64, out: &mut Vec<u8>) -> bool {
    if let Ok(number) = i8::try_from(number) {
        out.extend_from_slice(&[0xc0, number as u8]);
    } else if let Ok(number) = i16::try_from(number) {
        out.push(0xc1);
        out.extend_from_slice(&number.to_le_bytes());
    } else if let Ok(number) = i32::try_from(number) {
        out.push(0xc2);
        out.extend_from_slice(&number.to_le_bytes());
    } else {
        return false;
    }
    true
}

/// The start of a file.
pub fn put_signature(with_field_expiry: bool, out: &mut Vec<u8>) {
    let version = if with_field_expiry {
        VERSION_WITH_FIELD_EXPIRY
    } else {
        VERSION
    };
    out.extend_from_slice(format!("REDIS{version:04}").as_bytes());
}

/// Appends something that is known of the file.
pub fn put_aux(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.push(opcode::AUX);
    let mut encoder = Encoder::new(false);
    encoder.string(name.as_bytes(), out);
    encoder.string(value, out);
}

/// Says which database follows.
pub fn put_select(number: u64, out: &mut Vec<u8>) {
    out.push(opcode::SELECT_DB);
    put_length(number, out);
}

/// The same, with its keys and how many of them expire, which readers may make room for.
pub fn put_database(number: u64, keys: u64, expires: u64, out: &mut Vec<u8>) {
    put_select(number, out);
    out.push(opcode::RESIZE_DB);
    put_length(keys, out);
    put_length(expires, out);
}
