//! Hashes as they stand under keys: which form they have, and what changes it.
//!
//! A hash is one packed block until a field or value is longer than `hash-max-listpack-value` or it
//! has more fields than `hash-max-listpack-entries`; then it is a table, for good. A block that would
//! not fit into an entry becomes a table early, and is a listpack for everybody who asks.

use crate::command::context::Ctx;
use crate::command::error::Error;
use crate::keyspace::{EntryMut, EntryRef, Expiry, Hasher, Kind, NewValue};
use crate::resp::encode::Reply;
use crate::resp::number::{I64_TEXT_MAX, format_i64};
use crate::server::config::Config;
use crate::shard::Shard;
use crate::shard::access::EventClass;
use crate::types::hash::{self, HashRef, Small, Table, Ttl, expired};
use crate::types::packed::{self, Block, Element, Packed};
use smallvec::SmallVec;

/// Up to where a hash is a listpack.
#[derive(Clone, Copy, Debug)]
struct Limits {
    fields: u64,
    bytes: u64,
}

impl Limits {
    fn of(config: &Config) -> Self {
        Self {
            fields: config.hash_max_listpack_entries,
            bytes: config.hash_max_listpack_value,
        }
    }

    fn hold(self, fields: usize, field: &[u8], value: &[u8]) -> bool {
        let longest = field.len().max(value.len());
        longest as u64 <= self.bytes && fields as u64 <= self.fields
    }
}

/// What it takes to write to hashes, read from the shard before an entry is borrowed from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writer {
    limits: Limits,
    hasher: Hasher,
    now: u64,
}

/// The hash of an entry; another type is the client's error.
#[inline]
pub(super) fn hash_of<'a>(entry: EntryRef<'a>) -> Result<HashRef<'a>, Error> {
    HashRef::of(entry.value()).ok_or(Error::WRONG_TYPE)
}

/// Reads the hash under the first key; None if it is missing.
#[inline]
pub(super) fn read<'a>(ctx: &'a mut Ctx<'_>) -> Result<Option<HashRef<'a>>, Error> {
    ctx.shard
        .read(ctx.caller, ctx.pos, ctx.args[1])
        .map(hash_of)
        .transpose()
}

/// Most bytes that one field more takes of a block besides its own and its value's: the lengths, and
/// the expiry.
fn most_bytes(field: Element<'_>, value: Element<'_>) -> usize {
    const EXPIRY_BYTES: usize = 10;
    packed::packed_bytes(&[field, value]) + EXPIRY_BYTES
}

/// Elements that one field takes of a block, at the most.
const ELEMENTS: usize = 3;

impl Writer {
    #[inline]
    pub(super) fn new(shard: &Shard) -> Self {
        Self {
            limits: Limits::of(&shard.config),
            hasher: *shard.keyspace.hasher(),
            now: shard.now_ms,
        }
    }

    /// The time by which fields have expired or not.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// Writes a field of the entry's hash; whether it is new.
    #[inline]
    pub(super) fn set(
        &self,
        entry: &mut EntryMut<'_>,
        field: &[u8],
        value: &[u8],
        ttl: Ttl,
    ) -> bool {
        let HashRef::Small(small) = HashRef::of(entry.value()).expect("a hash") else {
            return self.set_in_table(entry, field, value, ttl);
        };
        let (key, element) = (Element::of(field), Element::of(value));
        let at = small.find(key);
        let count = small.len() + usize::from(at.is_none());
        let fits = packed::has_room(small.block(), most_bytes(key, element), ELEMENTS);
        if !fits || !self.limits.hold(count, field, value) {
            self.make_table(entry);
            return self.set_in_table(entry, field, value, ttl);
        }
        let old = at.and_then(|at| small.expiry_at(at));
        let was_expired = expired(old, self.now);
        let expiry = ttl.after(old.filter(|_| !was_expired));
        if let Some(ms) = expiry
            && old.is_none()
        {
            return self.set_first_expiry(entry, field, value, ms) || at.is_none();
        }
        hash::set(&mut entry.edit_packed(), at, key, element, expiry);
        if let Some(ms) = expiry {
            hash::note_due(&mut entry.edit_packed(), ms);
            entry.note_due_inside();
        }
        at.is_none() || was_expired
    }

    /// Writes a field that has no expiry yet and gets one; always false.
    #[cold]
    fn set_first_expiry(
        &self,
        entry: &mut EntryMut<'_>,
        field: &[u8],
        value: &[u8],
        ms: u64,
    ) -> bool {
        if !self.make_room_for_expiries(entry) {
            self.make_table(entry);
            self.set_in_table(entry, field, value, Ttl::At(ms));
            return false;
        }
        let (key, element) = (Element::of(field), Element::of(value));
        let mut block = entry.edit_packed();
        let small = Small::new(Packed::new(block.block()));
        if !packed::has_room(small.block(), most_bytes(key, element), ELEMENTS) {
            self.make_table(entry);
            self.set_in_table(entry, field, value, Ttl::At(ms));
            return false;
        }
        let at = small.find(key);
        hash::set(&mut block, at, key, element, Some(ms));
        hash::note_due(&mut block, ms);
        entry.note_due_inside();
        false
    }

    /// Gives a block room for expiries; false if it would be too large.
    fn make_room_for_expiries(&self, entry: &mut EntryMut<'_>) -> bool {
        let Some(HashRef::Small(small)) = HashRef::of(entry.value()) else {
            unreachable!("a small hash")
        };
        if small.has_expiries() {
            return true;
        }
        let with = hash::with_expiries(small);
        let fits =
            with.len() <= packed::ENTRY_BYTES_MAX && Packed::new(&with).len() <= packed::COUNT_MAX;
        if fits {
            entry.set(NewValue::Packed(Kind::Hash, &with), Expiry::Keep);
        }
        fits
    }

    /// Turns a block into a table, which is a listpack by the limits until [`set_in_table`] says
    /// otherwise.
    ///
    /// [`set_in_table`]: Self::set_in_table
    #[cold]
    fn make_table(&self, entry: &mut EntryMut<'_>) {
        let Some(HashRef::Small(small)) = HashRef::of(entry.value()) else {
            unreachable!("a small hash")
        };
        let table = table_of(small, self.hasher);
        entry.set(NewValue::Object(Box::new(table)), Expiry::Keep);
    }

    fn set_in_table(&self, entry: &mut EntryMut<'_>, field: &[u8], value: &[u8], ttl: Ttl) -> bool {
        let new = edit_table(entry, |table| {
            let new = table.set(field, value, ttl, self.now);
            if !self.limits.hold(table.len(), field, value) {
                table.exceed_limits();
            }
            new
        });
        if matches!(ttl, Ttl::At(_)) {
            entry.note_due_inside();
        }
        new
    }

    /// Sets or clears the expiry of a field that is there.
    pub(super) fn set_expiry(&self, entry: &mut EntryMut<'_>, field: &[u8], expiry: Option<u64>) {
        if expiry.is_some()
            && matches!(HashRef::of(entry.value()), Some(HashRef::Small(_)))
            && !self.make_room_for_expiries(entry)
        {
            self.make_table(entry);
        }
        match HashRef::of(entry.value()).expect("a hash") {
            HashRef::Table(_) => edit_table(entry, |table| table.set_expiry(field, expiry)),
            HashRef::Small(small) => {
                let key = Element::of(field);
                let at = small.find(key).expect("the field is there");
                let value = small.value_at(at);
                if !packed::has_room(small.block(), most_bytes(key, value), ELEMENTS) {
                    self.make_table(entry);
                    edit_table(entry, |table| table.set_expiry(field, expiry));
                } else {
                    let mut block = entry.edit_packed();
                    hash::set_expiry(&mut block, at, expiry);
                    if let Some(ms) = expiry {
                        hash::note_due(&mut block, ms);
                    }
                }
            }
        }
        entry.note_due_inside();
    }

    /// Removes a field; whether it was there.
    #[inline]
    pub(super) fn remove(&self, entry: &mut EntryMut<'_>, field: &[u8]) -> bool {
        let HashRef::Small(small) = HashRef::of(entry.value()).expect("a hash") else {
            return edit_table(entry, |table| table.remove(field, self.now));
        };
        let Some(at) = small.find(Element::of(field)) else {
            return false;
        };
        if expired(small.expiry_at(at), self.now) {
            return false;
        }
        hash::remove(&mut entry.edit_packed(), at);
        true
    }

    /// Stores a new hash of these fields and values, which may repeat fields, under the first key,
    /// which is not there; how many fields it has.
    pub(super) fn create(&self, ctx: &mut Ctx<'_>, pairs: &[&[u8]], expiry: Option<u64>) -> usize {
        let mut block = SmallVec::<[u8; 512]>::from_slice(&packed::EMPTY);
        if expiry.is_some() {
            let marked = hash::with_expiries(Small::new(Packed::new(&packed::EMPTY)));
            block = SmallVec::from_slice(&marked);
        }
        for (written, pair) in pairs.chunks_exact(2).enumerate() {
            let (field, value) = (Element::of(pair[0]), Element::of(pair[1]));
            let small = Small::new(Packed::new(&block));
            let at = small.find(field);
            let count = small.len() + usize::from(at.is_none());
            let fits = packed::has_room(small.block(), most_bytes(field, value), ELEMENTS);
            if !fits || !self.limits.hold(count, pair[0], pair[1]) {
                let mut table = table_of(small, self.hasher);
                self.fill(&mut table, &pairs[2 * written..], expiry);
                let fields = table.len();
                store_new(ctx, NewValue::Object(Box::new(table)));
                return fields;
            }
            hash::set(&mut block, at, field, value, expiry);
        }
        if let Some(ms) = expiry {
            hash::note_due(&mut block, ms);
        }
        store_new(ctx, NewValue::Packed(Kind::Hash, &block));
        Small::new(Packed::new(&block)).len()
    }

    fn fill(&self, table: &mut Table, pairs: &[&[u8]], expiry: Option<u64>) {
        let ttl = expiry.map_or(Ttl::Clear, Ttl::At);
        for pair in pairs.chunks_exact(2) {
            table.set(pair[0], pair[1], ttl, self.now);
            if !self.limits.hold(table.len(), pair[0], pair[1]) {
                table.exceed_limits();
            }
        }
    }
}

fn store_new(ctx: &mut Ctx<'_>, value: NewValue<'_>) {
    let (caller, pos, key) = (ctx.caller, ctx.pos, ctx.args[1]);
    ctx.shard
        .store_at(caller, pos, key, None, value, Expiry::Clear);
}

/// The same hash as a table.
fn table_of(small: Small<'_>, hasher: Hasher) -> Table {
    let mut table = Table::new(hasher, true);
    for entry in small.iter() {
        let (mut field_text, mut value_text) = Default::default();
        table.set(
            entry.field.text(&mut field_text),
            entry.value.text(&mut value_text),
            entry.expiry.map_or(Ttl::Clear, Ttl::At),
            0,
        );
    }
    table
}

/// Changes the table of an entry that has one.
fn edit_table<R>(entry: &mut EntryMut<'_>, change: impl FnOnce(&mut Table) -> R) -> R {
    let result = entry.edit_object(|object| {
        let table = object.as_any_mut().downcast_mut::<Table>();
        change(table.expect("a hash that is no block is a table"))
    });
    result.expect("a hash that is no block is an object")
}

/// Writes fields of the hash under the first key, which is made if it is missing; how many are new.
pub(super) fn set_all(ctx: &mut Ctx<'_>, pairs: &[&[u8]], ttl: Ttl) -> Result<usize, Error> {
    let writer = Writer::new(ctx.shard);
    let found = write(ctx)?;
    let Some(mut entry) = found else {
        let expiry = ttl.after(None);
        return Ok(writer.create(ctx, pairs, expiry));
    };
    let mut new = 0;
    for pair in pairs.chunks_exact(2) {
        new += usize::from(writer.set(&mut entry, pair[0], pair[1], ttl));
    }
    Ok(new)
}

/// Records that a field has this value now, and the expiry that it has in the hash.
pub(super) fn effect_set(ctx: &mut Ctx<'_>, field: &[u8], value: &[u8]) {
    if !ctx.shard.effects.is_on() {
        return;
    }
    let (caller, pos, key) = (ctx.caller, ctx.pos, ctx.args[1]);
    let entry = ctx.shard.peek(caller, pos, key);
    let hash = entry.and_then(|entry| HashRef::of(entry.value()));
    let expiry = hash.and_then(|hash| hash.expiry(field, 0)).flatten();
    match expiry {
        None => ctx.effect(&[b"HSET", key, field, value]),
        Some(at) => {
            let mut text = [0; I64_TEXT_MAX];
            let at = format_i64(at as i64, &mut text);
            ctx.effect(&[b"HSETEX", key, b"PXAT", at, b"FIELDS", b"1", field, value]);
        }
    }
}

/// Looks the first key up for writing to its hash.
#[inline]
pub(super) fn write<'a>(ctx: &'a mut Ctx<'_>) -> Result<Option<EntryMut<'a>>, Error> {
    ctx.shard
        .write_kind(ctx.caller, ctx.pos, ctx.args[1], Kind::Hash)
}

/// Tells of an event at the first key.
#[inline]
pub(super) fn tell(ctx: &mut Ctx<'_>, event: &'static str) {
    ctx.shard
        .changed(ctx.caller.db, ctx.pos, ctx.args[1], EventClass::Hash, event);
}

/// Replies with an element's text.
#[inline]
pub(super) fn reply_element(reply: &mut Reply<'_>, element: Element<'_>) {
    match element {
        Element::Int(number) => reply.bulk_integer(number),
        Element::Bytes(bytes) => reply.bulk(bytes),
    }
}

/// Removes the first key if its hash has no field left, and tells of it.
pub(super) fn remove_if_empty(ctx: &mut Ctx<'_>) {
    let (caller, pos, key) = (ctx.caller, ctx.pos, ctx.args[1]);
    let shard = &mut *ctx.shard;
    let entry = shard.peek(caller, pos, key);
    let is_empty = entry
        .and_then(|entry| HashRef::of(entry.value()))
        .is_some_and(|hash| hash.is_empty());
    if is_empty && shard.remove(caller, pos, key) {
        shard.changed(caller.db, pos, key, EventClass::Generic, "del");
    }
}

/// Removes up to `most` fields of a hash that have expired, and the key with its last one; how many.
/// Where it is fewer, the next one is noted to be expired in its time.
pub fn expire_fields(shard: &mut Shard, db: u16, key: &[u8], most: usize) -> usize {
    let pos = shard.pos(key);
    let now = shard.now_ms;
    let Some(place) = shard.locate(db, pos, key) else {
        return 0;
    };
    let mut words = shard.words();
    if let Some(words) = &mut words {
        words.extend(&[b"HDEL", key]);
    }
    let mut note = |field: Element<'_>| {
        if let Some(words) = &mut words {
            words.push_element(field);
        }
    };
    let mut entry = shard.at(db, place);
    let removed = match HashRef::of(entry.value()) {
        None => return 0,
        Some(HashRef::Small(_)) => {
            hash::remove_expired(&mut entry.edit_packed(), now, most, &mut note)
        }
        Some(HashRef::Table(_)) => edit_table(&mut entry, |table| {
            table.remove_expired(now, most, |field| note(Element::Bytes(field)))
        }),
    };
    let is_empty = HashRef::of(entry.value()).is_some_and(|hash| hash.is_empty());
    if removed < most {
        entry.note_due_inside();
    }
    if removed == 0 {
        return 0;
    }
    shard.stats.expired_fields += removed as u64;
    shard.effect_of(db, pos, words);
    shard.changed(db, pos, key, EventClass::Hash, "hexpired");
    if is_empty && shard.keyspace.db_mut(usize::from(db)).remove(pos, key) {
        shard.changed(db, pos, key, EventClass::Generic, "del");
    }
    removed
}
