//! Collections in the making, from the elements that a file has: each has the form in the end that
//! the limits of the configuration give it, whatever form it had where it was written.
//!
//! Nothing here is made as large as a file says it will be: it grows with the elements that come.

use super::error::Bad;
use crate::keyspace::{Hasher, Kind, NewValue, Object};
use crate::server::config::Config;
use crate::types::hash::{self, Small as SmallHash, Table, Ttl};
use crate::types::list::{End, LargeList, Limit};
use crate::types::packed::{self, Element, Packed};
use crate::types::set;
use crate::types::zset::SortedSet;
use crate::types::zset::small::{self as small_zset, Small as SmallZSet};
use bytes::Bytes;

const TWICE: Bad = Bad::Corrupt("an element stands twice in a collection");

/// Up to where collections are packed blocks, and what hashes their elements.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    hasher: Hasher,
    list: Limit,
    set: set::Limits,
    hash_entries: u64,
    hash_value: u64,
    zset_entries: u64,
    zset_value: u64,
}

impl Limits {
    /// As configured; `hasher` is the keyspace's.
    pub fn of(config: &Config, hasher: Hasher) -> Self {
        Self {
            hasher,
            list: Limit::of(config.list_max_listpack_size),
            set: set::Limits {
                intset_entries: config.set_max_intset_entries,
                listpack_entries: config.set_max_listpack_entries,
                listpack_value: config.set_max_listpack_value,
            },
            hash_entries: config.hash_max_listpack_entries,
            hash_value: config.hash_max_listpack_value,
            zset_entries: config.zset_max_listpack_entries,
            zset_value: config.zset_max_listpack_value,
        }
    }
}

/// A value that was read.
#[derive(Debug)]
pub enum Built {
    /// A string that is the decimal of this number.
    Int(i64),
    /// Any other string.
    Bytes(Vec<u8>),
    /// A small collection.
    Packed(Kind, Vec<u8>),
    /// A collection.
    Object(Box<dyn Object>),
}

impl Built {
    /// The value of a string.
    pub fn string(bytes: &[u8]) -> Self {
        match crate::keyspace::parse_int(bytes) {
            Some(number) => Self::Int(number),
            None => Self::Bytes(bytes.to_vec()),
        }
    }

    /// Gives the value to store to `store`.
    pub fn store<R>(self, store: impl FnOnce(NewValue<'_>) -> R) -> R {
        match self {
            Self::Int(number) => store(NewValue::Int(number)),
            Self::Bytes(bytes) if bytes.len() > crate::keyspace::INLINE_BYTES_MAX => {
                store(NewValue::Large(Bytes::from(bytes)))
            }
            Self::Bytes(bytes) => store(NewValue::Str {
                bytes: &bytes,
                raw: false,
            }),
            Self::Packed(kind, bytes) => store(NewValue::Packed(kind, &bytes)),
            Self::Object(object) => store(NewValue::Object(object)),
        }
    }
}

/// A list.
#[derive(Debug)]
pub(super) struct ListBuilder {
    limit: Limit,
    block: Vec<u8>,
    large: Option<Box<LargeList>>,
}

impl ListBuilder {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            limit: limits.list,
            block: packed::EMPTY.to_vec(),
            large: None,
        }
    }

    pub(super) fn push(&mut self, element: Element<'_>) {
        if let Some(list) = &mut self.large {
            return list.push(End::Right, element);
        }
        let block = Packed::new(&self.block);
        let bytes = self.block.len() + element.text_len();
        if self.limit.exceeded(bytes, block.len() + 1)
            || !packed::has_room(block, element.packed_bytes(), 1)
        {
            let mut list = LargeList::of(block);
            list.push(End::Right, element);
            self.large = Some(Box::new(list));
        } else {
            packed::push(&mut self.block, &[element]);
        }
    }

    pub(super) fn finish(self) -> Result<Built, Bad> {
        match self.large {
            Some(list) => Ok(Built::Object(list)),
            None if Packed::new(&self.block).is_empty() => Err(Bad::Empty),
            None => Ok(Built::Packed(Kind::List, self.block)),
        }
    }
}

/// A set.
#[derive(Debug)]
pub(super) struct SetBuilder {
    limits: set::Limits,
    members: set::Builder,
}

impl SetBuilder {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.set,
            members: set::Builder::new(limits.hasher),
        }
    }

    pub(super) fn add(&mut self, member: Element<'_>) -> Result<(), Bad> {
        if self.members.insert(member) {
            Ok(())
        } else {
            Err(TWICE)
        }
    }

    pub(super) fn finish(self) -> Result<Built, Bad> {
        if self.members.is_empty() {
            return Err(Bad::Empty);
        }
        Ok(self.members.finish(self.limits, |value| match value {
            NewValue::Packed(kind, bytes) => Built::Packed(kind, bytes.to_vec()),
            NewValue::Object(object) => Built::Object(object),
            NewValue::Int(_) | NewValue::Str { .. } | NewValue::Large(_) => {
                unreachable!("a set is a block or an object")
            }
        }))
    }
}

/// A sorted set.
#[derive(Debug)]
pub(super) struct ZSetBuilder {
    limits: Limits,
    block: Vec<u8>,
    large: Option<Box<SortedSet>>,
}

impl ZSetBuilder {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            limits: *limits,
            block: packed::EMPTY.to_vec(),
            large: None,
        }
    }

    fn allow(&self, len: usize, member: &[u8]) -> bool {
        len as u64 <= self.limits.zset_entries && member.len() as u64 <= self.limits.zset_value
    }

    pub(super) fn add(&mut self, member: &[u8], score: f64) -> Result<(), Bad> {
        if score.is_nan() {
            return Err(Bad::Corrupt("a score is no number"));
        }
        if self.large.is_none() {
            let set = SmallZSet::new(&self.block);
            if set.find(member).is_some() {
                return Err(TWICE);
            }
            if self.allow(set.len() + 1, member) && set.has_room(member) {
                small_zset::insert(&mut self.block, (score, member));
                return Ok(());
            }
            let mut large = Box::new(SortedSet::new(self.limits.hasher));
            set.visit(0, usize::MAX, false, |(s, m)| large.insert(m, s));
            large.is_listpack = true;
            self.large = Some(large);
        }
        let Some(mut set) = self.large.take() else {
            unreachable!("it was just made")
        };
        let before = set.set(member, score);
        set.is_listpack &= self.allow(set.len(), member);
        self.large = Some(set);
        match before {
            None => Ok(()),
            Some(_) => Err(TWICE),
        }
    }

    pub(super) fn finish(self) -> Result<Built, Bad> {
        match self.large {
            Some(set) => Ok(Built::Object(set)),
            None if SmallZSet::new(&self.block).is_empty() => Err(Bad::Empty),
            None => Ok(Built::Packed(Kind::ZSet, self.block)),
        }
    }
}

/// A hash.
#[derive(Debug)]
pub(super) struct HashBuilder {
    limits: Limits,
    block: Vec<u8>,
    table: Option<Box<Table>>,
}

/// What an expiry, and the earliest one in front, add to a block at most.
const EXPIRY_BYTES: usize = 2 * 10;

impl HashBuilder {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            limits: *limits,
            block: packed::EMPTY.to_vec(),
            table: None,
        }
    }

    /// Adds a field that expires at a time in unix milliseconds, or does not.
    pub(super) fn add(
        &mut self,
        field: Element<'_>,
        value: Element<'_>,
        expiry: Option<u64>,
    ) -> Result<(), Bad> {
        // An expiry stands in a block as a signed number above 0.
        let expiry = expiry.map(|ms| ms.clamp(1, i64::MAX as u64 - 1));
        let longest = field.text_len().max(value.text_len()) as u64;
        if self.table.is_none() {
            let small = SmallHash::new(Packed::new(&self.block));
            if small.find(field).is_some() {
                return Err(TWICE);
            }
            let allowed = longest <= self.limits.hash_value
                && (small.len() as u64) < self.limits.hash_entries;
            let bytes = field.packed_bytes() + value.packed_bytes() + EXPIRY_BYTES;
            let room = if expiry.is_some() && !small.has_expiries() {
                bytes + EXPIRY_BYTES * (small.len() + 1)
            } else {
                bytes
            };
            if allowed && packed::has_room(small.block(), room, 3 * (small.len() + 2)) {
                self.add_small(field, value, expiry);
                return Ok(());
            }
            self.table = Some(Box::new(table_of(small, self.limits.hasher)));
        }
        let Some(table) = &mut self.table else {
            unreachable!("it was just made")
        };
        let (mut field_text, mut value_text) = Default::default();
        let ttl = expiry.map_or(Ttl::Clear, Ttl::At);
        let field = field.text(&mut field_text);
        let is_new = table.set(field, value.text(&mut value_text), ttl, 0);
        let len = table.len() as u64;
        if longest > self.limits.hash_value || len > self.limits.hash_entries {
            table.exceed_limits();
        }
        if is_new { Ok(()) } else { Err(TWICE) }
    }

    fn add_small(&mut self, field: Element<'_>, value: Element<'_>, expiry: Option<u64>) {
        let small = SmallHash::new(Packed::new(&self.block));
        if expiry.is_some() && !small.has_expiries() {
            self.block = hash::with_expiries(small);
        }
        hash::set(&mut self.block, None, field, value, expiry);
        if let Some(ms) = expiry {
            hash::note_due(&mut self.block, ms);
        }
    }

    pub(super) fn finish(self) -> Result<Built, Bad> {
        match self.table {
            Some(table) => Ok(Built::Object(table)),
            None if SmallHash::new(Packed::new(&self.block)).is_empty() => Err(Bad::Empty),
            None => Ok(Built::Packed(Kind::Hash, self.block)),
        }
    }
}

/// The same hash as a table.
fn table_of(small: SmallHash<'_>, hasher: Hasher) -> Table {
    let mut table = Table::new(hasher, true);
    for entry in small.iter() {
        let (mut field_text, mut value_text) = Default::default();
        let ttl = entry.expiry.map_or(Ttl::Clear, Ttl::At);
        let field = entry.field.text(&mut field_text);
        table.set(field, entry.value.text(&mut value_text), ttl, 0);
    }
    table
}
