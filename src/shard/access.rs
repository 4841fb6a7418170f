//! How commands come to keys: the rules that Redis has for every look-up, in one place.
//!
//! - A look-up for reading counts a hit or a miss and remembers the access; one for writing does
//!   neither count.
//! - A key that is found expired is removed, and for everybody it was never there.
//! - An access is remembered in the entry's 24 bits: its time in seconds, or its frequency
//!   ([`super::lfu`]), as `maxmemory-policy` asks for.
//! - Whatever changes a key says so with [`Shard::changed`].

use super::Shard;
use super::lending::{Change, What};
use crate::command::context::{Caller, caller};
use crate::command::error::Error;
use crate::keyspace::{
    CLOCK_BITS, CLOCK_OF_NEW, EntryMut, EntryRef, Expiry, Kind, Lookup, NewValue, Place, Pos, Value,
};
use crate::server::config::NotifyFlags;
use bytes::Bytes;

/// Classes of keyspace events, as `notify-keyspace-events` names them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventClass {
    /// `g`
    Generic,
    /// `$`
    String,
    /// `l`
    List,
    /// `s`
    Set,
    /// `h`
    Hash,
    /// `z`
    SortedSet,
    /// `x`
    Expired,
    /// `e`
    Evicted,
    /// `t`
    Stream,
    /// `n`
    New,
    /// `m`
    Miss,
    /// `o`
    Overwritten,
    /// `c`
    TypeChanged,
    /// There is no event; caches and who watches the key are told.
    Unnamed,
}

impl EventClass {
    /// Its bit in `notify-keyspace-events`.
    #[inline]
    const fn bit(self) -> u32 {
        match self {
            Self::Generic => NotifyFlags::GENERIC,
            Self::String => NotifyFlags::STRING,
            Self::List => NotifyFlags::LIST,
            Self::Set => NotifyFlags::SET,
            Self::Hash => NotifyFlags::HASH,
            Self::SortedSet => NotifyFlags::ZSET,
            Self::Expired => NotifyFlags::EXPIRED,
            Self::Evicted => NotifyFlags::EVICTED,
            Self::Stream => NotifyFlags::STREAM,
            Self::New => NotifyFlags::NEW_KEY,
            Self::Miss => NotifyFlags::KEY_MISS,
            Self::Overwritten => NotifyFlags::OVERWRITTEN,
            Self::TypeChanged => NotifyFlags::TYPE_CHANGED,
            Self::Unnamed => 0,
        }
    }

    /// Whether it counts as a change since the last save: what tells more about another event does
    /// not, nor what the server removes by itself.
    #[inline]
    const fn counts(self) -> bool {
        !matches!(
            self,
            Self::New
                | Self::Miss
                | Self::Overwritten
                | Self::TypeChanged
                | Self::Expired
                | Self::Evicted
        )
    }
}

const CLOCK_MASK: u32 = (1 << CLOCK_BITS) - 1;

impl Shard {
    /// The clock to store a value with: the time in seconds, or a new key's frequency, which an
    /// entry that is there does not take over.
    #[inline]
    pub fn access_clock(&self) -> u32 {
        if self.lfu.on {
            return self.lfu.of_new(self.now_ms) | CLOCK_OF_NEW;
        }
        self.seconds()
    }

    /// The access clock as a time: seconds, the lower 24 bits.
    #[inline]
    fn seconds(&self) -> u32 {
        (self.now_ms / 1000) as u32 & CLOCK_MASK
    }

    /// Seconds since the access that an entry remembers as a time (OBJECT IDLETIME).
    pub fn idle_seconds(&self, clock: u32) -> u32 {
        self.seconds().wrapping_sub(clock) & CLOCK_MASK
    }

    /// What an entry is to remember that was accessed so long ago or so often elsewhere; None where
    /// that is not told, or not what entries remember here.
    pub fn clock_of(&self, idle_seconds: Option<u64>, frequency: Option<u8>) -> Option<u32> {
        if self.lfu.on {
            return frequency.map(|frequency| self.lfu.of_frequency(frequency, self.now_ms));
        }
        let idle = idle_seconds?.min(u64::from(CLOCK_MASK)) as u32;
        Some(self.seconds().wrapping_sub(idle) & CLOCK_MASK)
    }

    /// What an entry remembers after an access.
    #[inline]
    fn clock_after(&mut self, db: u16, place: Place) -> u32 {
        if self.lfu.on {
            return self.frequency_after(db, place);
        }
        self.seconds()
    }

    #[cold]
    fn frequency_after(&mut self, db: u16, place: Place) -> u32 {
        let random = self.random();
        let entry = self.keyspace.db_mut(usize::from(db)).at(place);
        self.lfu.accessed(entry.get().clock(), self.now_ms, random)
    }

    /// Looks a key up for reading.
    #[inline]
    pub fn read(&mut self, caller: Caller, pos: Pos, key: &[u8]) -> Option<EntryRef<'_>> {
        let place = self.locate_to_read(caller.db, pos, key);
        let Some(place) = place else {
            self.missed(caller.db, key);
            return None;
        };
        self.stats.hits += 1;
        let clock = self.clock_after(caller.db, place);
        let mut entry = self.keyspace.db_mut(usize::from(caller.db)).at(place);
        if caller.flags & caller::NO_TOUCH == 0 {
            entry.touch(clock);
        }
        Some(entry.into_ref())
    }

    /// Looks a key up for reading; it is counted, but not remembered (TYPE, TTL, EXISTS ...).
    pub fn inspect(&mut self, caller: Caller, pos: Pos, key: &[u8]) -> Option<EntryRef<'_>> {
        match self.locate_to_read(caller.db, pos, key) {
            Some(place) => Some(self.inspected(caller.db, place)),
            None => {
                self.missed(caller.db, key);
                None
            }
        }
    }

    /// The same without an event if the key is missing (OBJECT).
    pub fn inspect_quietly(
        &mut self,
        caller: Caller,
        pos: Pos,
        key: &[u8],
    ) -> Option<EntryRef<'_>> {
        match self.locate_to_read(caller.db, pos, key) {
            Some(place) => Some(self.inspected(caller.db, place)),
            None => {
                self.stats.misses += 1;
                None
            }
        }
    }

    fn inspected(&mut self, db: u16, place: Place) -> EntryRef<'_> {
        self.stats.hits += 1;
        self.at(db, place).into_ref()
    }

    /// Looks a key up for reading without counting or remembering it.
    pub fn peek(&mut self, caller: Caller, pos: Pos, key: &[u8]) -> Option<EntryRef<'_>> {
        let place = self.locate_to_read(caller.db, pos, key)?;
        Some(
            self.keyspace
                .db_mut(usize::from(caller.db))
                .at(place)
                .into_ref(),
        )
    }

    /// Looks a key up for writing.
    #[inline]
    pub fn write(&mut self, caller: Caller, pos: Pos, key: &[u8]) -> Option<EntryMut<'_>> {
        let place = self.locate(caller.db, pos, key)?;
        Some(self.write_at(caller, place))
    }

    /// The entry at a place that was located since the database's last change, for writing.
    #[inline]
    pub fn write_at(&mut self, caller: Caller, place: Place) -> EntryMut<'_> {
        let clock = self.clock_after(caller.db, place);
        let mut entry = self.keyspace.db_mut(usize::from(caller.db)).at(place);
        if caller.flags & caller::NO_TOUCH == 0 {
            entry.touch(clock);
        }
        entry
    }

    /// Where a live key's entry stands; an expired one is removed, unless CLIENT PAUSE or a
    /// transaction keeps the dataset as it is.
    #[inline]
    fn locate_to_read(&mut self, db: u16, pos: Pos, key: &[u8]) -> Option<Place> {
        let found = self.keyspace.db(usize::from(db));
        match found.locate(pos, key, self.now_ms) {
            Lookup::Live(place) => Some(place),
            Lookup::Missing => None,
            Lookup::Expired => {
                self.expire_for_reader(db, pos, key);
                None
            }
        }
    }

    /// A reader has found an expired key: it goes, unless that is to wait. Who tells it to a snapshot in
    /// slices has it go later; a writer waits for them.
    #[cold]
    fn expire_for_reader(&mut self, db: u16, pos: Pos, key: &[u8]) {
        let stays = self.keeps_expired || self.keyspace.db_mut(usize::from(db)).tell_ahead(pos);
        if !stays {
            self.expire(db, pos, key);
        }
    }

    /// Where a live key's entry stands, for [`at`](Self::at) and [`store_at`](Self::store_at); an
    /// expired one is removed. Neither counted nor remembered.
    #[inline]
    pub fn locate(&mut self, db: u16, pos: Pos, key: &[u8]) -> Option<Place> {
        match self
            .keyspace
            .db(usize::from(db))
            .locate(pos, key, self.now_ms)
        {
            Lookup::Live(place) => Some(place),
            Lookup::Missing => None,
            Lookup::Expired => {
                self.expire(db, pos, key);
                None
            }
        }
    }

    /// The entry at a place that was located since the database's last change.
    #[inline]
    pub fn at(&mut self, db: u16, place: Place) -> EntryMut<'_> {
        self.keyspace.db_mut(usize::from(db)).at(place)
    }

    /// Stores a value, whatever was there.
    #[inline]
    pub fn store(
        &mut self,
        caller: Caller,
        pos: Pos,
        key: &[u8],
        value: NewValue<'_>,
        expiry: Expiry,
    ) {
        let place = self.locate(caller.db, pos, key);
        self.store_at(caller, pos, key, place, value, expiry);
    }

    /// Stores a value under a key that was just looked up: `place` is what
    /// [`locate`](Self::locate) has found.
    #[inline]
    pub fn store_at(
        &mut self,
        caller: Caller,
        pos: Pos,
        key: &[u8],
        place: Option<Place>,
        value: NewValue<'_>,
        expiry: Expiry,
    ) {
        let clock = self.access_clock();
        let told = self
            .notices
            .has(NotifyFlags::OVERWRITTEN | NotifyFlags::TYPE_CHANGED);
        let db = self.keyspace.db_mut(usize::from(caller.db));
        match place {
            Some(place) => {
                let mut entry = db.at(place);
                let before = told.then(|| entry.get().kind());
                entry.set(value, expiry);
                if clock & CLOCK_OF_NEW == 0 {
                    entry.touch(clock);
                }
                if let Some(before) = before {
                    let after = self.at(caller.db, place).get().kind();
                    self.replaced(caller.db, pos, key, before != after);
                }
            }
            None => {
                let expiry = match expiry {
                    Expiry::At(ms) => Some(ms),
                    Expiry::Keep | Expiry::Clear => None,
                };
                db.insert(pos, key, value, expiry, clock);
                self.changed(caller.db, pos, key, EventClass::New, "new");
            }
        }
    }

    /// Tells that another value stands under a key.
    #[cold]
    fn replaced(&mut self, db: u16, pos: Pos, key: &[u8], by_another_type: bool) {
        self.changed(db, pos, key, EventClass::Overwritten, "overwritten");
        if by_another_type {
            self.changed(db, pos, key, EventClass::TypeChanged, "type_changed");
        }
    }

    /// Changes a string's bytes in place after making it at least `len` long with zeros; a missing
    /// key becomes such a string. `change` is told whether the string became longer. Another type is
    /// the client's error.
    pub fn edit_string<R>(
        &mut self,
        caller: Caller,
        pos: Pos,
        key: &[u8],
        len: usize,
        change: impl FnOnce(&mut [u8], bool) -> R,
    ) -> Result<R, Error> {
        if let Some(mut entry) = self.write_kind(caller, pos, key, Kind::String)? {
            let grows = entry.value().string_len().is_some_and(|old| old < len);
            return Ok(entry.edit_string(len, |bytes| change(bytes, grows)));
        }
        /// A longer one is made in a buffer of its own, which then is the value.
        const SHORT_BYTES_MAX: usize = 512;
        let mut short = [0; SHORT_BYTES_MAX];
        if len <= SHORT_BYTES_MAX {
            let bytes = &mut short[..len];
            let result = change(bytes, true);
            let value = NewValue::Str { bytes, raw: true };
            self.store_at(caller, pos, key, None, value, Expiry::Clear);
            return Ok(result);
        }
        let mut bytes = vec![0; len];
        let result = change(&mut bytes, true);
        let value = NewValue::Large(Bytes::from(bytes));
        self.store_at(caller, pos, key, None, value, Expiry::Clear);
        Ok(result)
    }

    /// Reads a key that is to hold a string: its value, or None if it is missing. Another type is
    /// the client's error.
    #[inline]
    pub fn read_string(
        &mut self,
        caller: Caller,
        pos: Pos,
        key: &[u8],
    ) -> Result<Option<Value<'_>>, Error> {
        match self.read(caller, pos, key) {
            Some(entry) if entry.kind() != Kind::String => Err(Error::WRONG_TYPE),
            found => Ok(found.map(|entry| entry.value())),
        }
    }

    /// Looks a key of one type up for writing; another type is the client's error.
    #[inline]
    pub fn write_kind(
        &mut self,
        caller: Caller,
        pos: Pos,
        key: &[u8],
        kind: Kind,
    ) -> Result<Option<EntryMut<'_>>, Error> {
        match self.write(caller, pos, key) {
            Some(entry) if entry.get().kind() != kind => Err(Error::WRONG_TYPE),
            found => Ok(found),
        }
    }

    /// Removes a key; whether it was there. The caller says what happened with
    /// [`changed`](Self::changed).
    pub fn remove(&mut self, caller: Caller, pos: Pos, key: &[u8]) -> bool {
        self.locate(caller.db, pos, key).is_some()
            && self
                .keyspace
                .db_mut(usize::from(caller.db))
                .remove(pos, key)
    }

    /// Removes a key that has expired, and tells.
    pub fn expire(&mut self, db: u16, pos: Pos, key: &[u8]) {
        if self.keyspace.db_mut(usize::from(db)).remove(pos, key) {
            self.stats.expired += 1;
            self.effect_del(db, pos, key);
            self.changed(db, pos, key, EventClass::Expired, "expired");
        }
    }

    /// A key was changed: to be called once for each event, after the change, with the name that
    /// Redis gives the event. It counts as one change since the last save; a command that Redis
    /// counts by its elements adds the others to `dirty` itself.
    #[inline]
    pub fn changed(
        &mut self,
        db: u16,
        pos: Pos,
        key: &[u8],
        class: EventClass,
        event: &'static str,
    ) {
        self.tell(db, pos, key, class, event, class.counts());
    }

    /// Another event of a change that has been told, or will be, with [`changed`](Self::changed):
    /// the expiry that came with a SET, the old name of a RENAME.
    #[inline]
    pub fn also_changed(
        &mut self,
        db: u16,
        pos: Pos,
        key: &[u8],
        class: EventClass,
        event: &'static str,
    ) {
        self.tell(db, pos, key, class, event, false);
    }

    /// Tells of an event; `counts` says whether it is a change of its own.
    #[inline]
    pub(super) fn tell(
        &mut self,
        db: u16,
        pos: Pos,
        key: &[u8],
        class: EventClass,
        event: &'static str,
        counts: bool,
    ) {
        if let Some(changes) = &mut self.changes {
            self.effects.lent_changes += u64::from(counts);
            changes.push(Change {
                db,
                pos,
                key: key.into(),
                actor: self.actor,
                what: What::Event {
                    class,
                    event,
                    counts,
                },
            });
            return;
        }
        self.dirty += u64::from(counts);
        self.txns.touched(db, pos.to_bits());
        const OTHERS: u32 = NotifyFlags::WAITERS | NotifyFlags::TRACKED;
        if self.notices.has(class.bit() | OTHERS) {
            self.tell_listeners(db, key, class, event);
        }
    }

    #[cold]
    fn tell_listeners(&mut self, db: u16, key: &[u8], class: EventClass, event: &str) {
        if self.notices.has(class.bit()) {
            self.notify(db, key, event);
        }
        if self.notices.has(NotifyFlags::WAITERS) {
            self.make_ready(db, key);
        }
        // What happens to a stream's groups does not change what is read of the stream.
        if self.notices.has(NotifyFlags::TRACKED) && !event.starts_with("xgroup-") {
            self.invalidate(key);
        }
    }

    /// Tells those who subscribe to keyspace notifications.
    #[cold]
    fn notify(&mut self, db: u16, key: &[u8], event: &str) {
        let mut channel = Vec::with_capacity(32 + key.len());
        if self.notices.has(NotifyFlags::KEYSPACE) {
            channel.extend_from_slice(format!("__keyspace@{db}__:").as_bytes());
            channel.extend_from_slice(key);
            self.channels.notify(&channel, event.as_bytes());
        }
        if self.notices.has(NotifyFlags::KEYEVENT) {
            channel.clear();
            channel.extend_from_slice(format!("__keyevent@{db}__:{event}").as_bytes());
            self.channels.notify(&channel, key);
        }
        self.aftermath |= self.channels.has_outbox();
    }

    /// A look-up has found nothing.
    #[inline]
    fn missed(&mut self, db: u16, key: &[u8]) {
        self.stats.misses += 1;
        if self.notices.has(NotifyFlags::KEY_MISS) {
            self.notify(db, key, "keymiss");
        }
    }

    /// A database has been emptied of `keys` keys, or exchanged for another: to be called after it,
    /// once for each.
    pub fn flushed(&mut self, db: u16, keys: usize) {
        self.dirty += keys as u64;
        if self.notices.has(NotifyFlags::WAITERS) {
            self.make_all_ready(db);
        }
    }
}
