//! A hash: fields, their values, and when fields expire.
//!
//! Small hashes are one packed block ([`Small`]), large ones a [`Table`]; [`HashRef`] reads both. A
//! field that has expired is not there for anybody who reads or writes, whether or not it has been
//! removed yet; only the number of fields still counts it, as on Redis.
//!
//! Times are unix milliseconds and come from the caller.

mod small;
mod table;

pub use small::{Entry, Small, note_due, remove, remove_expired, set, set_expiry, with_expiries};
pub use table::{Found, Table};

use super::packed::{Element, Packed};
use crate::keyspace::{Kind, Value};

/// What writing a field does with its expiry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ttl {
    /// It stays as it is (none for a new field).
    Keep,
    /// There is none afterwards.
    Clear,
    /// The field expires then.
    At(u64),
}

impl Ttl {
    /// The expiry afterwards of a field that had `old`.
    pub fn after(self, old: Option<u64>) -> Option<u64> {
        match self {
            Self::Keep => old,
            Self::Clear => None,
            Self::At(ms) => Some(ms),
        }
    }
}

/// Whether something with this expiry has expired by `now`.
#[inline]
pub fn expired(expiry: Option<u64>, now: u64) -> bool {
    expiry.is_some_and(|at| at <= now)
}

/// A hash, for reading. Values of a table come as [`Element::Bytes`], even where they are the decimal
/// of a number.
#[derive(Clone, Copy, Debug)]
pub enum HashRef<'a> {
    /// One block.
    Small(Small<'a>),
    /// A table.
    Table(&'a Table),
}

impl<'a> HashRef<'a> {
    /// The hash that a value is; None for other types.
    #[inline]
    pub fn of(value: Value<'a>) -> Option<Self> {
        match value {
            Value::Packed(Kind::Hash, bytes) => Some(Self::Small(Small::new(Packed::new(bytes)))),
            Value::Object(object) => object.as_any().downcast_ref().map(Self::Table),
            _ => None,
        }
    }

    /// Fields, those included that have expired and are still there.
    pub fn len(&self) -> usize {
        match self {
            Self::Small(small) => small.len(),
            Self::Table(table) => table.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fields that have not expired.
    pub fn live_len(&self, now: u64) -> usize {
        match self {
            Self::Small(small) => small.live_len(now),
            Self::Table(table) => table.len() - table.expired_len(now),
        }
    }

    /// A field's value.
    #[inline]
    pub fn get(&self, field: &[u8], now: u64) -> Option<Element<'a>> {
        match self {
            Self::Small(small) => small.get(field, now),
            Self::Table(table) => table.get(field, now).map(Element::Bytes),
        }
    }

    /// When a field expires, None inside where it does not; None where there is no such field.
    pub fn expiry(&self, field: &[u8], now: u64) -> Option<Option<u64>> {
        let expiry = match self {
            Self::Small(small) => small.expiry_at(small.find(Element::of(field))?),
            Self::Table(table) => table.find(field)?.expiry,
        };
        (!expired(expiry, now)).then_some(expiry)
    }

    /// Visits all fields that have not expired, and their values.
    pub fn for_each(&self, now: u64, mut visit: impl FnMut(Element<'a>, Element<'a>)) {
        match self {
            Self::Small(small) => small
                .iter()
                .filter(|entry| !expired(entry.expiry, now))
                .for_each(|entry| visit(entry.field, entry.value)),
            Self::Table(table) => table
                .iter()
                .filter(|found| !expired(found.expiry, now))
                .for_each(|found| visit(Element::Bytes(found.field), Element::Bytes(found.value))),
        }
    }
}

#[cfg(test)]
mod tests;
