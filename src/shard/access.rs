//! How commands come to keys: the rules that Redis has for every look-up, in one place.
//!
//! - A look-up for reading counts a hit or a miss and remembers the access; one for writing does
//!   neither count.
//! - A key that is found expired is removed, and for everybody it was never there.
//! - Whatever changes a key says so with [`Shard::changed`].

use super::Shard;
use super::lending::Change;
use crate::command::context::{Caller, caller};
use crate::command::error::Error;
use crate::keyspace::{EntryMut, EntryRef, Kind, Lookup, Place, Pos};

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
}

impl Shard {
    /// The access clock's value now: seconds, of which an entry keeps the lower 24 bits.
    pub fn access_clock(&self) -> u32 {
        (self.now_ms / 1000) as u32
    }

    /// Looks a key up for reading.
    pub fn read(&mut self, caller: Caller, pos: Pos, key: &[u8]) -> Option<EntryRef<'_>> {
        let place = self.locate(caller.db, pos, key);
        let Some(place) = place else {
            self.stats.misses += 1;
            return None;
        };
        self.stats.hits += 1;
        let clock = self.access_clock();
        let mut entry = self.keyspace.db_mut(usize::from(caller.db)).at(place);
        if caller.flags & caller::NO_TOUCH == 0 {
            entry.touch(clock);
        }
        Some(entry.into_ref())
    }

    /// Looks a key up for reading without counting or remembering it (OBJECT, TYPE, TTL ...).
    pub fn peek(&mut self, caller: Caller, pos: Pos, key: &[u8]) -> Option<EntryRef<'_>> {
        let place = self.locate(caller.db, pos, key)?;
        Some(
            self.keyspace
                .db_mut(usize::from(caller.db))
                .at(place)
                .into_ref(),
        )
    }

    /// Looks a key up for writing.
    pub fn write(&mut self, caller: Caller, pos: Pos, key: &[u8]) -> Option<EntryMut<'_>> {
        let place = self.locate(caller.db, pos, key)?;
        let clock = self.access_clock();
        let mut entry = self.keyspace.db_mut(usize::from(caller.db)).at(place);
        if caller.flags & caller::NO_TOUCH == 0 {
            entry.touch(clock);
        }
        Some(entry)
    }

    /// Where a live key's entry stands; an expired one is removed.
    fn locate(&mut self, db: u16, pos: Pos, key: &[u8]) -> Option<Place> {
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

    /// Looks a key of one type up for writing; another type is the client's error.
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
            self.changed(db, pos, key, EventClass::Expired, "expired");
        }
    }

    /// A key was changed: to be called once for each event, after the change, with the name that
    /// Redis gives the event.
    pub fn changed(
        &mut self,
        db: u16,
        pos: Pos,
        key: &[u8],
        class: EventClass,
        event: &'static str,
    ) {
        if let Some(changes) = &mut self.changes {
            changes.push(Change {
                db,
                pos,
                key: key.into(),
                class,
                event,
            });
            return;
        }
        self.dirty += 1;
        self.txns.touched(db, pos.to_bits());
        let _ = (key, class, event);
    }
}
