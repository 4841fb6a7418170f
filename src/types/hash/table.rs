//! A large hash: a table of fields, and the order in which they expire.
//!
//! | bytes of a payload | what |
//! | --- | --- |
//! | 1 | 1 if the field expires, else 0 |
//! | 0 or 8 | then, when: unix milliseconds |
//! | n | the value |
//!
//! Fields that expire stand, by time and hash, in an ordered set besides; so active expiry finds the
//! next one without a walk, and a hash without expiries pays one byte for each field.

use super::{Ttl, expired};
use crate::keyspace::{Hasher, Kind, Object};
use crate::types::members::{At, Element, MemberMap};
use smallvec::SmallVec;
use std::any::Any;
use std::collections::BTreeSet;

const PLAIN: u8 = 0;
const EXPIRES: u8 = 1;
const EXPIRY_BYTES: usize = 8;
/// What an expiry takes in the ordered set, with its part of the nodes.
const DUE_BYTES: usize = 24;

/// A large hash.
#[derive(Clone, Debug)]
pub struct Table {
    fields: MemberMap,
    /// When fields expire, and their hashes.
    due: BTreeSet<(u64, u64)>,
    /// It is here for its bytes alone: by the limits of the configuration it is still a listpack.
    within_limits: bool,
    /// Whether any field has had an expiry.
    had_expiries: bool,
}

/// A field as it stands in the table.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The field.
    pub field: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// When it expires.
    pub expiry: Option<u64>,
}

impl<'a> Found<'a> {
    #[inline]
    fn of(element: Element<'a>) -> Self {
        let (expiry, value) = read(element.payload);
        Self {
            field: element.key,
            value,
            expiry,
        }
    }
}

/// The parts of a payload.
#[inline]
fn read(payload: &[u8]) -> (Option<u64>, &[u8]) {
    match payload.split_first() {
        Some((&PLAIN, value)) => (None, value),
        Some((_, rest)) => {
            let (expiry, value) = rest.split_at(EXPIRY_BYTES);
            let expiry = expiry.try_into().expect("eight bytes");
            (Some(u64::from_ne_bytes(expiry)), value)
        }
        None => unreachable!("a payload begins with its kind"),
    }
}

/// A payload, on the stack where it is short.
#[inline]
fn payload(expiry: Option<u64>, value: &[u8]) -> SmallVec<[u8; 256]> {
    let mut payload = SmallVec::with_capacity(1 + EXPIRY_BYTES + value.len());
    match expiry {
        None => payload.push(PLAIN),
        Some(ms) => {
            payload.push(EXPIRES);
            payload.extend_from_slice(&ms.to_ne_bytes());
        }
    }
    payload.extend_from_slice(value);
    payload
}

impl Table {
    /// An empty hash; `within_limits`: by the configuration's limits it is to look like a listpack.
    pub fn new(hasher: Hasher, within_limits: bool) -> Self {
        Self {
            fields: MemberMap::new(hasher),
            due: BTreeSet::new(),
            within_limits,
            had_expiries: false,
        }
    }

    /// Fields, expired ones included.
    #[inline]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Fields that have expired by `now` and are still there.
    pub fn expired_len(&self, now: u64) -> usize {
        self.due.range(..=(now, u64::MAX)).count()
    }

    /// When the next field expires.
    pub fn next_due(&self) -> Option<u64> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The limits of the configuration are exceeded: from here on it is a table for everybody.
    pub fn exceed_limits(&mut self) {
        self.within_limits = false;
    }

    /// A field, expired or not.
    #[inline]
    pub fn find(&self, field: &[u8]) -> Option<Found<'_>> {
        self.fields
            .find(field)
            .map(|at| Found::of(self.fields.at(at)))
    }

    /// A field's value, unless it has expired.
    #[inline]
    pub fn get(&self, field: &[u8], now: u64) -> Option<&[u8]> {
        let found = self.find(field)?;
        (!expired(found.expiry, now)).then_some(found.value)
    }

    /// All fields, expired ones included.
    pub fn iter(&self) -> impl Iterator<Item = Found<'_>> {
        self.fields.iter().map(Found::of)
    }

    /// Visits about `count` fields from a cursor on, expired ones included; the cursor to go on at,
    /// 0 at the end.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(Found<'_>)) -> u64 {
        self.fields
            .scan(cursor, count, |element| visit(Found::of(element)))
    }

    /// A field, each with the same probability, expired or not; None if there is none.
    pub fn draw(&self, random: impl FnMut() -> u64) -> Option<Found<'_>> {
        let at = self.fields.draw(random)?;
        Some(Found::of(self.fields.at(at)))
    }

    /// Writes a field; whether it is new (or had expired).
    #[inline]
    pub fn set(&mut self, field: &[u8], value: &[u8], ttl: Ttl, now: u64) -> bool {
        let hash = self.fields.hash(field);
        let Some(at) = self.fields.find_hashed(hash, field) else {
            let expiry = ttl.after(None);
            self.note(hash, None, expiry);
            let payload = payload(expiry, value);
            self.fields.insert_new(hash, field, &payload);
            return true;
        };
        let old = Found::of(self.fields.at(at));
        let was_expired = expired(old.expiry, now);
        let before = old.expiry;
        let after = ttl.after(before.filter(|_| !was_expired));
        if before.is_none() && after.is_none() && old.value.len() == value.len() {
            self.fields.payload_mut(at)[1..].copy_from_slice(value);
            return false;
        }
        self.note(hash, before, after);
        let payload = payload(after, value);
        self.fields.set_at(at, hash, field, &payload);
        was_expired
    }

    /// Sets or clears the expiry of a field that is there.
    pub fn set_expiry(&mut self, field: &[u8], expiry: Option<u64>) {
        let hash = self.fields.hash(field);
        let at = self.fields.find_hashed(hash, field);
        let at = at.expect("the field is there");
        let old = Found::of(self.fields.at(at));
        let (before, payload) = (old.expiry, payload(expiry, old.value));
        self.note(hash, before, expiry);
        self.fields.set_at(at, hash, field, &payload);
    }

    /// The expiry of the field with that hash changes.
    #[inline]
    fn note(&mut self, hash: u64, before: Option<u64>, after: Option<u64>) {
        if before == after {
            return;
        }
        if let Some(at) = before {
            self.due.remove(&(at, hash));
        }
        if let Some(at) = after {
            self.due.insert((at, hash));
            self.had_expiries = true;
        }
    }

    /// Removes a field; whether it was there and had not expired.
    pub fn remove(&mut self, field: &[u8], now: u64) -> bool {
        let hash = self.fields.hash(field);
        let Some(at) = self.fields.find_hashed(hash, field) else {
            return false;
        };
        let expiry = Found::of(self.fields.at(at)).expiry;
        if expired(expiry, now) {
            return false;
        }
        self.remove_at(hash, at, expiry);
        true
    }

    fn remove_at(&mut self, hash: u64, at: At, expiry: Option<u64>) {
        self.note(hash, expiry, None);
        self.fields.remove_at(at);
    }

    /// Removes up to `most` fields that have expired by `now`, after `gone` has seen each; how many.
    pub fn remove_expired(&mut self, now: u64, most: usize, mut gone: impl FnMut(&[u8])) -> usize {
        for removed in 0..most {
            let Some(&(due, hash)) = self.due.first().filter(|(at, _)| *at <= now) else {
                return removed;
            };
            let found = self
                .fields
                .find_where(hash, |element| read(element.payload).0 == Some(due));
            let at = found.expect("what is due stands in the table");
            gone(self.fields.at(at).key);
            self.remove_at(hash, at, Some(due));
        }
        most
    }

    /// Panics unless every invariant holds; walks everything.
    pub fn verify(&self) {
        self.fields.verify();
        let expiring = self.fields.iter().filter_map(|element| {
            let expiry = read(element.payload).0?;
            Some((expiry, self.fields.hash(element.key)))
        });
        let expiring: BTreeSet<_> = expiring.collect();
        assert_eq!(expiring, self.due);
        assert!(self.had_expiries || self.due.is_empty());
    }
}

impl Object for Table {
    fn kind(&self) -> Kind {
        Kind::Hash
    }

    fn encoding(&self) -> &'static str {
        match (self.within_limits, self.had_expiries) {
            (false, _) => "hashtable",
            (true, false) => "listpack",
            (true, true) => "listpackex",
        }
    }

    fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.fields.heap_bytes() + self.due.len() * DUE_BYTES
    }

    fn free_effort(&self) -> usize {
        self.fields.free_effort() + self.due.len()
    }

    fn free_some(&mut self, budget: usize) -> bool {
        for _ in 0..budget {
            if self.due.pop_first().is_none() {
                return self.fields.free_some(budget);
            }
        }
        true
    }

    fn duplicate(&self) -> Box<dyn Object> {
        Box::new(self.clone())
    }

    fn due(&self) -> Option<u64> {
        self.next_due()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
