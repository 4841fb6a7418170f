//! The digest of a dataset: equal for equal datasets, whatever order and form they are held in, and
//! equal to that of redis-server (DEBUG DIGEST, DEBUG DIGEST-VALUE; Redis's `debug.c`).
//!
//! Digests are 20 bytes. To *add* bytes to one is to XOR it with their SHA-1: order does not
//! matter. To *mix* them in is to add them and to replace the digest by its own SHA-1: order does.
//! What is ordered (lists, streams, a pair) is mixed, what is not (sets, pairs of a hash, keys of a
//! database) is added. An expiry counts as one, whenever it is.

use super::hash::HashRef;
use super::list::List;
use super::packed::Element;
use super::set::Set;
use super::stream::Stream;
use super::zset::SortedSet;
use super::zset::small::Small as SmallZSet;
use crate::keyspace::{EntryRef, Kind, Value};
use crate::resp::double::{F64_TEXT_MAX, format_f64};
use crate::resp::number::I64_TEXT_MAX;
use sha1::{Digest as _, Sha1};

const BYTES: usize = 20;

/// See the head of the module.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Digest(pub [u8; BYTES]);

impl Digest {
    /// Adds bytes: order does not matter.
    pub fn add(&mut self, bytes: &[u8]) {
        self.xor(&Self(Sha1::digest(bytes).into()));
    }

    /// Mixes bytes in: order matters.
    pub fn mix(&mut self, bytes: &[u8]) {
        self.add(bytes);
        self.0 = Sha1::digest(self.0).into();
    }

    /// Puts together what was added here and there.
    pub fn xor(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a ^= b);
    }

    fn mix_element(&mut self, element: Element<'_>) {
        self.mix(element.text(&mut [0; I64_TEXT_MAX]));
    }

    /// In hexadecimal.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Begins a database that has keys, the lowest first, before the digests of its keys are added
    /// with [`xor`](Self::xor).
    pub fn begin_database(&mut self, number: u32) {
        self.mix(&number.to_be_bytes());
    }
}

/// What a key adds to the digest of its database.
pub fn of_key(entry: &EntryRef<'_>) -> Digest {
    let mut digest = Digest::default();
    digest.mix(entry.key());
    mix_value(&mut digest, entry);
    let mut added = Digest::default();
    added.add(&digest.0);
    added
}

/// The digest of a key's value and expiry, whatever its key is.
pub fn of_value(entry: &EntryRef<'_>) -> Digest {
    let mut digest = Digest::default();
    mix_value(&mut digest, entry);
    digest
}

fn mix_value(digest: &mut Digest, entry: &EntryRef<'_>) {
    digest.mix(&type_number(entry.kind()).to_be_bytes());
    let value = entry.value();
    match entry.kind() {
        Kind::String => {
            let mut text = [0; I64_TEXT_MAX];
            digest.mix(value.bytes(&mut text).expect("a string has bytes"));
        }
        Kind::List => List::of(value).forward(0, |element| {
            digest.mix_element(element);
            true
        }),
        Kind::Set => Set::of(value).for_each(|member| {
            digest.add(member.text(&mut [0; I64_TEXT_MAX]));
        }),
        Kind::ZSet => mix_zset(digest, value),
        Kind::Hash => mix_hash(digest, value),
        Kind::Stream => mix_stream(digest, value),
    }
    if entry.expiry().is_some() {
        digest.add(b"!!expire!!");
    }
}

/// Redis's OBJ_STRING and so on.
fn type_number(kind: Kind) -> u32 {
    match kind {
        Kind::String => 0,
        Kind::List => 1,
        Kind::Set => 2,
        Kind::ZSet => 3,
        Kind::Hash => 4,
        Kind::Stream => 6,
    }
}

fn mix_zset(digest: &mut Digest, value: Value<'_>) {
    let mut pair = |score: f64, member: &[u8]| {
        let mut element = Digest::default();
        element.mix(member);
        element.mix(format_f64(score, &mut [0; F64_TEXT_MAX]));
        digest.add(&element.0);
    };
    match value {
        Value::Packed(_, bytes) => {
            SmallZSet::new(bytes)
                .visit(0, usize::MAX, false, |(score, member)| pair(score, member));
        }
        Value::Object(object) => {
            let set = object.as_any().downcast_ref::<SortedSet>();
            let set = set.expect("a sorted set");
            set.ascend(0)
                .for_each(|(score, member)| pair(score, member));
        }
        Value::Int(_) | Value::Str(_) | Value::Large(_) => unreachable!("a sorted set"),
    }
}

fn mix_hash(digest: &mut Digest, value: Value<'_>) {
    let mut pair = |field: Element<'_>, value: Element<'_>, expires: bool| {
        let mut element = Digest::default();
        element.mix_element(field);
        element.mix_element(value);
        if expires {
            element.add(b"!!hexpire!!");
        }
        digest.add(&element.0);
    };
    match HashRef::of(value).expect("a hash") {
        HashRef::Small(small) => small
            .iter()
            .for_each(|entry| pair(entry.field, entry.value, entry.expiry.is_some())),
        HashRef::Table(table) => table.iter().for_each(|found| {
            let (field, value) = (Element::Bytes(found.field), Element::Bytes(found.value));
            pair(field, value, found.expiry.is_some());
        }),
    }
}

fn mix_stream(digest: &mut Digest, value: Value<'_>) {
    let Value::Object(object) = value else {
        unreachable!("a stream is an object")
    };
    let stream = object.as_any().downcast_ref::<Stream>();
    let log = &stream.expect("a stream").log;
    for entry in log.range(
        super::stream::StreamId::MIN,
        super::stream::StreamId::MAX,
        false,
    ) {
        digest.mix(format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
        for (field, value) in entry.pairs() {
            digest.mix(field.bytes(&mut [0; I64_TEXT_MAX]));
            digest.mix(value.bytes(&mut [0; I64_TEXT_MAX]));
        }
    }
}
