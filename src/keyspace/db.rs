//! A database of a shard: its table, and what Redis says of a database: keys, expiries, a random
//! key, SCAN.
//!
//! Times are unix milliseconds and come from the caller, random numbers too. An expired key is never
//! given out as alive; who finds one on access gets [`Lookup::Expired`] and removes it through
//! [`Db::remove`], so that there is one place that notifies and logs.
//!
//! Active expiry goes round in passes: a pass looks at every segment once, in slices, and leaves
//! behind a lower bound of the time at which the next one will find anything ([`Db::due`]). So a
//! database in which nothing expires soon costs nothing, however many of its keys have an expiry.
//!
//! A cursor is the upper 48 bits of the position to go on at, hence below 2^53 (JavaScript clients
//! keep it whole), and valid on every shard, before and after growth, shrinking and moves of slots.

use super::entry::{self, EntryRef, OwnedEntry};
use super::hash::{Hasher, Pos};
use super::heap::Heap;
use super::lazy::Lazy;
use super::segment::{self, NEVER};
use super::slot::{SLOT_BITS, SLOTS, Slot};
use super::table::{GROUP_BITS, Gone, Place, Span, Table};
use super::tap::{Keeper, Places, Tap};
use super::value::{Kind, NewValue, Object, Value};
use crate::types::packed::Block;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Bits of a position that a cursor leaves out.
const CURSOR_SHIFT: u32 = 16;
/// The cursor behind the last position.
pub const CURSOR_END: u64 = 1 << (u64::BITS - CURSOR_SHIFT);

/// What is under a key.
#[derive(Debug)]
pub enum Lookup<E> {
    /// Nothing.
    Missing,
    /// An entry that has expired: to be removed by whoever may write, and missing for everybody.
    Expired,
    /// An entry.
    Live(E),
}

impl<E> Lookup<E> {
    /// The live entry, if there is one.
    #[inline]
    pub fn live(self) -> Option<E> {
        match self {
            Self::Live(entry) => Some(entry),
            Self::Missing | Self::Expired => None,
        }
    }
}

/// What storing a value does with the expiry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expiry {
    /// It stays as it is (none for a new key).
    Keep,
    /// There is none afterwards.
    Clear,
    /// The key expires then, unix milliseconds.
    At(u64),
}

/// Set in the clock that a value is stored with: the clock is for a new entry alone, and one that is
/// there keeps its own (an access counter outlives SET).
pub const CLOCK_OF_NEW: u32 = 1 << 31;

/// What a slice of active expiry did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sweep {
    /// Entries removed.
    pub removed: usize,
    /// Entries looked at.
    pub visited: usize,
    /// Whether the slice ended for its budget: the pass is still under way.
    pub more: bool,
}

/// One database.
#[derive(Debug)]
pub struct Db {
    table: Table,
    lazy: Rc<Lazy>,
    expires: usize,
    /// Whether values of entries may hold something that expires.
    inside: bool,
    /// Position that active expiry goes on at; 0 between passes.
    sweep_at: u64,
    /// Between passes: no entry expires earlier, unix milliseconds. During a pass: no entry whose
    /// expiry was set since it began.
    due: u64,
    /// Lower bound of the expiries in the segments that the pass has left behind.
    passed_due: u64,
    /// The earliest `due` of all databases of the shard, or earlier.
    soonest: Rc<Cell<u64>>,
    /// Expired among the looked at, in parts of 65536; moves by an eighth with each slice.
    stale: u32,
    /// Who is told the database as it was at a moment.
    tap: Option<Box<Tap>>,
    /// The database before it was emptied, as long as its tap has not been told all of it.
    emptied: Option<Box<Db>>,
}

impl Db {
    pub(super) fn new(
        heap: Rc<Heap>,
        hasher: Hasher,
        lazy: Rc<Lazy>,
        soonest: Rc<Cell<u64>>,
    ) -> Self {
        Self {
            table: Table::new(heap, hasher),
            lazy,
            expires: 0,
            inside: false,
            sweep_at: 0,
            due: NEVER,
            passed_due: NEVER,
            soonest,
            stale: 0,
            tap: None,
            emptied: None,
        }
    }

    /// Keys, those included that have expired and are still there.
    #[inline]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// What gives keys their positions.
    #[inline]
    pub fn hasher(&self) -> &Hasher {
        self.table.hasher()
    }

    /// Keys with an expiry.
    #[inline]
    pub fn expires(&self) -> usize {
        self.expires
    }

    /// First of three passes over a batch of keys before they are looked up: each pass prefetches
    /// what the next one reads.
    #[inline]
    pub fn prefetch_directory(&self, pos: Pos) {
        self.table.prefetch_directory(pos);
    }

    /// Second pass.
    #[inline]
    pub fn prefetch_segment(&self, pos: Pos) {
        self.table.prefetch_segment(pos);
    }

    /// The same for a key that will probably be inserted.
    #[inline]
    pub fn prefetch_room(&self, pos: Pos) {
        self.table.prefetch_room(pos);
    }

    /// Third pass.
    #[inline]
    pub fn prefetch_entry(&self, pos: Pos) {
        self.table.prefetch_entry(pos);
    }

    /// What is under the key, for reading.
    #[inline]
    pub fn lookup(&self, pos: Pos, key: &[u8], now: u64) -> Lookup<EntryRef<'_>> {
        match self.table.find(pos, key) {
            None => Lookup::Missing,
            Some(place) => {
                let entry = self.table.entry(place);
                if entry.expired(now) {
                    Lookup::Expired
                } else {
                    Lookup::Live(entry)
                }
            }
        }
    }

    /// What is under the key, for writing.
    #[inline]
    pub fn lookup_mut(&mut self, pos: Pos, key: &[u8], now: u64) -> Lookup<EntryMut<'_>> {
        match self.table.find(pos, key) {
            None => Lookup::Missing,
            Some(place) if self.table.entry(place).expired(now) => Lookup::Expired,
            Some(place) => Lookup::Live(EntryMut { db: self, place }),
        }
    }

    /// Where a key's entry stands, without borrowing it.
    #[inline]
    pub fn locate(&self, pos: Pos, key: &[u8], now: u64) -> Lookup<Place> {
        match self.table.find(pos, key) {
            None => Lookup::Missing,
            Some(place) if self.table.entry(place).expired(now) => Lookup::Expired,
            Some(place) => Lookup::Live(place),
        }
    }

    /// The entry at a place that was located since the database's last change.
    #[inline]
    pub fn at(&mut self, place: Place) -> EntryMut<'_> {
        EntryMut { db: self, place }
    }

    /// Stores a value, whatever was there; true if the key is new. An expired entry counts as there,
    /// its expiry must not be kept: remove it first where that matters.
    #[inline]
    pub fn set(
        &mut self,
        pos: Pos,
        key: &[u8],
        value: NewValue<'_>,
        expiry: Expiry,
        clock: u32,
    ) -> bool {
        match self.table.find(pos, key) {
            Some(place) => {
                let mut entry = EntryMut { db: self, place };
                entry.set(value, expiry);
                if clock & CLOCK_OF_NEW == 0 {
                    entry.touch(clock);
                }
                false
            }
            None => {
                let at = match expiry {
                    Expiry::At(ms) => Some(ms),
                    Expiry::Keep | Expiry::Clear => None,
                };
                self.insert(pos, key, value, at, clock);
                true
            }
        }
    }

    /// Stores a value under a key that was looked up and is not there, expired or not.
    #[inline]
    pub fn insert(
        &mut self,
        pos: Pos,
        key: &[u8],
        value: NewValue<'_>,
        expiry: Option<u64>,
        clock: u32,
    ) {
        debug_assert!(self.table.find(pos, key).is_none());
        self.tell_before(pos);
        let raw = entry::create(self.table.heap(), key, expiry, clock, value);
        if let Some(ms) = expiry {
            self.expires += 1;
            self.note_due(ms);
        }
        let inside = self.table.insert(pos, raw);
        self.note_inside(inside);
    }

    /// Removes a key, expired or not; whether it was there.
    #[inline]
    pub fn remove(&mut self, pos: Pos, key: &[u8]) -> bool {
        self.remove_with(pos, key, |_| ()).is_some()
    }

    /// Removes a key, expired or not, after `last_look` has seen its entry; None if it was not there.
    pub fn remove_with<R>(
        &mut self,
        pos: Pos,
        key: &[u8],
        last_look: impl FnOnce(EntryRef<'_>) -> R,
    ) -> Option<R> {
        let place = self.table.find(pos, key)?;
        self.tell_before(pos);
        let entry = self.table.entry(place);
        let result = last_look(entry);
        self.expires -= usize::from(entry.expiry().is_some());
        let raw = self.table.remove(pos, place);
        self.lazy.discard(self.table.destroy(raw));
        Some(result)
    }

    /// Detaches a key's entry, expired or not, as it is.
    pub fn take(&mut self, pos: Pos, key: &[u8]) -> Option<OwnedEntry> {
        let place = self.table.find(pos, key)?;
        self.tell_before(pos);
        self.expires -= usize::from(self.table.entry(place).expiry().is_some());
        let raw = self.table.remove(pos, place);
        Some(self.table.detach(raw))
    }

    /// Attaches an entry under its key, whose position `pos` must be. What was under the key goes.
    pub fn attach(&mut self, pos: Pos, entry: OwnedEntry) {
        let key = entry.entry().key();
        assert_eq!(
            pos,
            self.table.hasher().pos(key),
            "the position is another key's"
        );
        self.tell_before(pos);
        self.remove(pos, key);
        if let Some(ms) = entry.entry().expiry() {
            self.expires += 1;
            self.note_due(ms);
        }
        let raw = entry.settle(self.table.heap());
        let inside = self.table.insert(pos, raw);
        self.note_inside(inside);
    }

    /// Makes room for entries at these positions, which ascend, in the segment of the first; how many
    /// of them it is for, at least one.
    pub(super) fn reserve(&mut self, positions: &[Pos]) -> usize {
        self.table.reserve(positions)
    }

    /// Whether many more entries are to come, which room is made for ahead.
    pub(super) fn set_growing(&mut self, grows: bool) {
        self.table.set_growing(grows);
    }

    /// A key that has not expired, nearly evenly drawn; None if a fair number of draws found none.
    pub fn random(&self, now: u64, mut draw: impl FnMut() -> u64) -> Option<EntryRef<'_>> {
        /// Draws before giving up where (nearly) all keys have expired, as Redis's RANDOMKEY does.
        const DRAWS_MAX: usize = 100;
        if self.is_empty() {
            return None;
        }
        (0..DRAWS_MAX)
            .map(|_| self.draw_one(&mut draw))
            .find(|entry| !entry.expired(now))
    }

    /// Exactly even over groups of slots, and over the segments of a group by what they hold; within
    /// a slot of many segments, these count as equally full.
    fn draw_one(&self, draw: &mut impl FnMut() -> u64) -> EntryRef<'_> {
        let weight = |left: &mut u64, n: u64| match left.checked_sub(n) {
            Some(less) => {
                *left = less;
                false
            }
            None => true,
        };
        let mut left = draw() % self.len() as u64;
        let groups = self.table.groups();
        let group = groups.iter().position(|n| weight(&mut left, u64::from(*n)));
        let first = (group.expect("the groups hold all keys") as u64) << (u64::BITS - GROUP_BITS);
        let last = first | u64::MAX >> GROUP_BITS;
        self.draw_from(self.draw_segment(first, last, draw), first, last, draw)
    }

    /// A segment of a range of positions, in proportion to what it holds.
    fn draw_segment(&self, first: u64, last: u64, draw: &mut impl FnMut() -> u64) -> Span {
        let (mut pos, mut total, mut chosen) = (first, 0, None);
        loop {
            let mut span = self.span(pos);
            let mut count = self.table.count(&span) as u64;
            let mut end = span.last;
            if span.segment.depth() > SLOT_BITS {
                // A slot of many segments: one of them stands for all.
                end = Pos::last_of(Pos(pos).slot()).0;
                span = self.span(pos | draw() >> SLOT_BITS);
                count = (self.table.count(&span) as u64) << (span.segment.depth() - SLOT_BITS);
            }
            total += count;
            if count > 0 && draw() % total < count {
                chosen = Some(span);
            }
            if end >= last {
                break;
            }
            pos = end + 1;
        }
        // Only a slot of many segments, drawn at an empty one, gives nothing.
        chosen.unwrap_or_else(|| self.next_populated(first))
    }

    /// An entry of a segment that stands between two positions, which have one between them.
    fn draw_from(
        &self,
        span: Span,
        first: u64,
        last: u64,
        draw: &mut impl FnMut() -> u64,
    ) -> EntryRef<'_> {
        let slots = self.table.slots(&span);
        let within = |w: u64| w != 0 && (first..=last).contains(&span.pos_of(segment::tag_of(w)));
        // A segment of many groups may hold few entries of this one.
        for _ in 0..slots.len() {
            let word = slots[(draw() % slots.len() as u64) as usize];
            if within(word) {
                return self.table.entry_of(word);
            }
        }
        let any = slots.iter().copied().find(|w| within(*w));
        let any = any.or_else(|| slots.iter().copied().find(|w| *w != 0));
        self.table.entry_of(any.expect("the segment holds entries"))
    }

    fn span(&self, pos: u64) -> Span {
        self.table
            .span(pos)
            .expect("a table with entries has segments")
    }

    /// The first segment with entries from a position on, or from the start.
    fn next_populated(&self, mut pos: u64) -> Span {
        loop {
            let span = self.span(pos);
            if self.table.count(&span) > 0 {
                return span;
            }
            pos = span.last.wrapping_add(1);
        }
    }

    /// Visits about `count` entries in the order of positions, from `cursor` (0 at first) up to
    /// `end` (exclusive; [`CURSOR_END`], or [`slot_cursor`] of a slot that is another shard's), and
    /// returns the cursor to go on at: `end` when all is seen. Entries expired by `now` are passed
    /// over; `now` 0 shows all. Whatever is there from the first call to the last is visited, and
    /// nothing twice. Of a call at most `count` and one tag's entries are visited.
    pub fn scan(
        &self,
        cursor: u64,
        end: u64,
        count: usize,
        now: u64,
        mut visit: impl FnMut(EntryRef<'_>),
    ) -> u64 {
        assert!(end <= CURSOR_END);
        /// Empty or foreign segments to pass in one call for each entry asked for.
        const SEGMENTS_PER_ENTRY: usize = 10;
        let mut segments_left = count
            .saturating_mul(SEGMENTS_PER_ENTRY)
            .max(SEGMENTS_PER_ENTRY);
        let mut left = count.max(1);
        let mut cursor = cursor;
        while cursor < end {
            if self.is_empty() {
                return end;
            }
            if left == 0 || segments_left == 0 {
                return cursor;
            }
            segments_left -= 1;
            cursor = self.scan_segment(cursor, end, &mut left, now, &mut visit);
        }
        end
    }

    /// Visits a segment's entries from a cursor on until `left` is used up; the next cursor.
    fn scan_segment(
        &self,
        cursor: u64,
        end: u64,
        left: &mut usize,
        now: u64,
        visit: &mut impl FnMut(EntryRef<'_>),
    ) -> u64 {
        /// Entries whose memory is on its way while one is visited: they stand anywhere.
        const AHEAD: usize = 16;
        let span = self.span(cursor << CURSOR_SHIFT);
        let start = (cursor << CURSOR_SHIFT).max(span.first);
        let first_tag = span.segment.tag(start);
        let slots = self.table.slots(&span);
        let mut group = u64::MAX;
        let mut visited_to = cursor;
        // A call that goes on where this one ends finds the first ones fetched.
        let is_asked_for = |word: &u64| span.pos_of(segment::tag_of(*word)) >> CURSOR_SHIFT < end;
        let mut coming = segment::from_tag(slots, first_tag).take_while(is_asked_for);
        let first = coming.by_ref().take(AHEAD);
        first.for_each(|word| self.table.prefetch_whole(word));
        for word in segment::from_tag(slots, first_tag) {
            if let Some(next) = coming.next() {
                self.table.prefetch_whole(next);
            }
            let tag = segment::tag_of(word);
            let entry = self.table.entry_of(word);
            // A tag's group is never broken, unless it holds several cursors (or the end).
            if tag != group {
                let at = span.pos_of(tag) >> CURSOR_SHIFT;
                if at >= end {
                    return end;
                }
                if *left == 0 && at > visited_to {
                    return at;
                }
                visited_to = at;
                group = tag;
            }
            // The group that the cursor points into may begin in front of it.
            if tag == first_tag && self.table.hasher().pos(entry.key()).0 < start {
                continue;
            }
            *left = left.saturating_sub(1);
            if !entry.expired(now) {
                visit(entry);
            }
        }
        (span.last >> CURSOR_SHIFT) + 1
    }

    /// Visits up to `max` entries of a slot, expired ones included.
    pub fn for_each_in_slot(&self, slot: Slot, max: usize, mut visit: impl FnMut(EntryRef<'_>)) {
        let mut left = max;
        let mut cursor = slot_cursor(slot.index());
        let end = slot_cursor(slot.index() + 1);
        while left > 0 && cursor < end {
            cursor = self.scan(cursor, end, left, 0, |entry| {
                if left > 0 {
                    left -= 1;
                    visit(entry);
                }
            });
        }
    }

    /// Keys in a slot, expired ones included.
    pub fn count_in_slot(&self, slot: Slot) -> usize {
        if self.is_empty() {
            return 0;
        }
        let (first, last) = (Pos::first_of(slot).0, Pos::last_of(slot).0);
        let (mut pos, mut total) = (first, 0);
        loop {
            let span = self.span(pos);
            total += if span.first >= first && span.last <= last {
                self.table.count(&span)
            } else {
                let (low, high) = (span.segment.tag(first), span.segment.tag(last));
                segment::from_tag(self.table.slots(&span), low)
                    .take_while(|w| segment::tag_of(*w) <= high)
                    .count()
            };
            if span.last >= last {
                return total;
            }
            pos = span.last + 1;
        }
    }

    /// No entry expires earlier than this, unix milliseconds; `u64::MAX` if none does at all, and 0
    /// while a pass of active expiry is under way.
    #[inline]
    pub fn due(&self) -> u64 {
        if self.sweep_at == 0 { self.due } else { 0 }
    }

    /// An entry expires then.
    #[inline]
    fn note_due(&mut self, at: u64) {
        self.due = self.due.min(at);
        if at < self.soonest.get() {
            self.soonest.set(at);
        }
    }

    /// Something inside an entry's value expires then.
    #[inline]
    fn note_inside(&mut self, due: Option<u64>) {
        if let Some(at) = due {
            self.inside = true;
            self.note_due(at);
        }
    }

    /// Active expiry: looks at about `budget` entries and segments, removes what has expired by
    /// `now`, each after `gone` has seen it, tells of what has expired inside of entries, and goes on
    /// there at the next call, until the pass has come round.
    pub fn expire_slice(
        &mut self,
        now: u64,
        budget: usize,
        mut gone: impl FnMut(EntryRef<'_>, Gone),
    ) -> Sweep {
        let mut sweep = Sweep {
            more: true,
            ..Sweep::default()
        };
        if self.sweep_at == 0 {
            (self.due, self.passed_due) = (NEVER, NEVER);
        }
        let mut left = budget;
        while left > 0 && sweep.more {
            if self.expires == 0 && !self.inside {
                (self.sweep_at, self.due, self.passed_due) = (0, NEVER, NEVER);
                sweep.more = false;
                break;
            }
            let span = self.span(self.sweep_at);
            left -= 1;
            let mut bound = self.table.bound(&span);
            if bound <= now {
                let (lazy, tap, hasher) = (&self.lazy, self.tap.as_ref(), *self.table.hasher());
                let stays = |entry: EntryRef<'_>| {
                    let place = || hasher.pos(entry.key()).0 >> CURSOR_SHIFT;
                    tap.is_some_and(|tap| !tap.long.is_empty() && tap.holds(place()))
                };
                let discard = |outside| lazy.discard(outside);
                let swept = self.table.sweep(&span, now, stays, &mut gone, discard);
                bound = swept.bound;
                self.expires -= swept.removed;
                sweep.removed += swept.removed;
                sweep.visited += swept.visited;
                left = left.saturating_sub(swept.visited);
            }
            self.passed_due = self.passed_due.min(bound);
            self.sweep_at = span.last.wrapping_add(1);
            if self.sweep_at == 0 {
                self.due = self.due.min(self.passed_due);
                self.inside &= self.due != NEVER;
                sweep.more = false;
            }
        }
        let found = (sweep.removed as u64 * 65536)
            .checked_div(sweep.visited as u64)
            .unwrap_or(0);
        self.stale = (self.stale * 7 + found as u32) / 8;
        sweep
    }

    /// Estimate of the part of keys that have expired and are still there, 0 to 1 (INFO's
    /// `expired_stale_perc`, over 100).
    pub fn stale_ratio(&self) -> f64 {
        f64::from(self.stale) / 65536.0
    }

    /// Empties the database. The entries are freed in slices, by [`super::Keyspace::free_some`].
    pub fn clear(&mut self) {
        let empty = Table::new(self.table.heap_shared(), *self.table.hasher());
        let old = std::mem::replace(&mut self.table, empty);
        if self.tap.is_some() {
            // What was there is still to be told.
            let (lazy, soonest) = (Rc::clone(&self.lazy), Rc::new(Cell::new(NEVER)));
            let mut emptied = Self::new(old.heap_shared(), *old.hasher(), lazy, soonest);
            emptied.table = old;
            emptied.tap = self.tap.take();
            assert!(self.emptied.is_none(), "its tap would still be there");
            self.emptied = Some(Box::new(emptied));
        } else {
            self.lazy.discard_table(old);
        }
        self.expires = 0;
        self.inside = false;
        self.sweep_at = 0;
        (self.due, self.passed_due) = (NEVER, NEVER);
        self.stale = 0;
    }

    /// Whether values may hold something that expires by itself (fields of hashes).
    pub fn may_expire_inside(&self) -> bool {
        self.inside
    }

    /// From now on `keeper` is told the entries as they are at this moment: by
    /// [`tap_slice`](Self::tap_slice), and before they change. `number` is the database's.
    pub fn begin_tap(&mut self, number: u16, keeper: Rc<RefCell<dyn Keeper>>) {
        assert!(!self.is_tapped(), "one tap at a time");
        if !self.is_empty() {
            self.tap = Some(Box::new(Tap::new(number, keeper)));
        }
    }

    /// Lends the tap an empty set with room ([`touched_places`](super::touched_places)) for what it has
    /// to remember.
    pub fn lend_places(&mut self, places: Places) {
        if let Some(tap) = &mut self.tap {
            tap.remember_in(places);
        }
    }

    /// Whether there is something left to tell.
    #[inline]
    pub fn is_tapped(&self) -> bool {
        self.tap.is_some() || self.emptied.is_some()
    }

    /// Nobody wants to know any more.
    pub fn end_tap(&mut self) {
        self.tap = None;
        if let Some(emptied) = self.emptied.take() {
            self.lazy.discard_table(emptied.table);
        }
    }

    /// Tells about `count` entries on, or a part of a long one; whether anything is left.
    pub fn tap_slice(&mut self, count: usize) -> bool {
        if let Some(emptied) = &mut self.emptied {
            if !emptied.tap_slice(count) {
                self.end_tap();
            }
            return self.is_tapped();
        }
        let Some(mut tap) = self.tap.take() else {
            return false;
        };
        let reached = if tap.long.is_empty() {
            self.walk_on(&mut tap, count)
        } else {
            self.tell_part(&mut tap);
            tap.reached
        };
        if reached < CURSOR_END || !tap.long.is_empty() {
            tap.reach(reached);
            self.tap = Some(tap);
        }
        self.is_tapped()
    }

    /// Tells entries; how far that went. Long ones are remembered.
    fn walk_on(&self, tap: &mut Tap, count: usize) -> u64 {
        let keeper = tap.keeper.clone();
        let mut keeper = keeper.borrow_mut();
        let mut long = std::mem::take(&mut tap.long);
        let reached = self.scan(tap.reached, CURSOR_END, count, 0, |entry| {
            if tap.is_ahead() && tap.has_told(self.place_of(entry.key())) {
                return;
            }
            if keeper.is_long(&entry) {
                long.push_back((self.place_of(entry.key()), entry.key().into()));
            } else {
                keeper.keep(tap.db, entry);
            }
        });
        tap.long = long;
        reached
    }

    /// Tells the next part of the first long entry that was put off, and forgets it with the last.
    fn tell_part(&self, tap: &mut Tap) {
        let (_, key) = &tap.long[0];
        let last = tap.keeper.borrow_mut().keep_part(tap.db, self.put_off(key));
        if last {
            tap.long.pop_front();
        }
    }

    /// An entry that was put off, or told in part.
    fn put_off(&self, key: &[u8]) -> EntryRef<'_> {
        let place = self.table.find(self.hasher().pos(key), key);
        self.table.entry(place.expect("it is told before it goes"))
    }

    /// Where a key stands, as taps remember it.
    fn place_of(&self, key: &[u8]) -> u64 {
        self.hasher().pos(key).0 >> CURSOR_SHIFT
    }

    /// To be called before anything changes, comes or goes at a position.
    #[inline]
    fn tell_before(&mut self, pos: Pos) {
        if self.tap.is_some() {
            self.tell_place(pos.0 >> CURSOR_SHIFT);
        }
    }

    /// The same for an entry that is there.
    #[inline]
    fn tell_entry(&mut self, place: Place) {
        if self.tap.is_some() {
            self.tell_place(self.place_of(self.table.entry(place).key()));
        }
    }

    #[cold]
    fn tell_place(&mut self, place: u64) {
        let Some(mut tap) = self.tap.take() else {
            return;
        };
        self.tell_short(&mut tap, place);
        while let Some(index) = tap.long.iter().position(|(at, _)| *at == place) {
            let (_, key) = tap.long.remove(index).expect("just found");
            tap.keeper
                .borrow_mut()
                .keep_rest(tap.db, self.put_off(&key));
        }
        self.tap = Some(tap);
    }

    /// Tells what stands at a place, and puts off what takes long.
    fn tell_short(&self, tap: &mut Tap, place: u64) {
        if tap.has_told(place) {
            return;
        }
        let keeper = tap.keeper.clone();
        let mut keeper = keeper.borrow_mut();
        self.scan(place, place + 1, usize::MAX, 0, |entry| {
            // A tag may stand for more places than this one.
            if self.place_of(entry.key()) != place {
                return;
            }
            if keeper.is_long(&entry) {
                tap.long.push_back((place, entry.key().into()));
            } else {
                keeper.keep(tap.db, entry);
            }
        });
        tap.note(place);
    }

    /// Somebody is about to change what stands at a position. Whether it takes long to tell and is not
    /// told yet: then that comes next, in slices, and who waits while
    /// [`is_told_in_parts`](Self::is_told_in_parts) holds up nobody.
    pub fn tell_ahead(&mut self, pos: Pos) -> bool {
        let Some(mut tap) = self.tap.take() else {
            return false;
        };
        self.tell_short(&mut tap, pos.0 >> CURSOR_SHIFT);
        self.tap = Some(tap);
        self.is_told_in_parts(pos)
    }

    /// Whether something at a position takes long to tell, and parts of it are still to come.
    pub fn is_told_in_parts(&self, pos: Pos) -> bool {
        let place = pos.0 >> CURSOR_SHIFT;
        self.tap.as_ref().is_some_and(|tap| tap.holds(place))
    }

    /// Panics unless every invariant holds; walks everything.
    pub fn verify(&self) {
        self.table.verify();
        let (mut keys, mut expires) = (0, 0);
        let end = self.scan(0, CURSOR_END, usize::MAX, 0, |entry| {
            keys += 1;
            expires += usize::from(entry.expiry().is_some());
        });
        assert_eq!(end, CURSOR_END);
        assert_eq!((keys, expires), (self.len(), self.expires));
    }
}

/// The cursor of a slot's first position; of [`SLOTS`], the end.
pub fn slot_cursor(slot: usize) -> u64 {
    assert!(slot <= SLOTS);
    (slot as u64) << (Pos::HASH_BITS - CURSOR_SHIFT)
}

/// The first position that a cursor below [`CURSOR_END`] stands for.
pub fn cursor_pos(cursor: u64) -> Pos {
    assert!(cursor < CURSOR_END);
    Pos(cursor << CURSOR_SHIFT)
}

/// The cursor that a position is reached with.
pub fn pos_cursor(pos: Pos) -> u64 {
    pos.0 >> CURSOR_SHIFT
}

/// The slot that a cursor below [`CURSOR_END`] points into: whose shard it is to be continued on.
pub fn cursor_slot(cursor: u64) -> Slot {
    assert!(cursor < CURSOR_END);
    Pos(cursor << CURSOR_SHIFT).slot()
}

/// An entry for writing. It may move in memory as it changes; its place in the table stays.
#[derive(Debug)]
pub struct EntryMut<'a> {
    db: &'a mut Db,
    place: Place,
}

impl<'a> EntryMut<'a> {
    /// For reading.
    #[inline]
    pub fn get(&self) -> EntryRef<'_> {
        self.db.table.entry(self.place)
    }

    /// For reading, as long as the database was borrowed.
    #[inline]
    pub fn into_ref(self) -> EntryRef<'a> {
        self.db.table.entry(self.place)
    }

    /// Remembers an access; the lower 24 bits count.
    #[inline]
    pub fn touch(&mut self, clock: u32) {
        self.db.table.raw(self.place).touch(clock);
    }

    /// Replaces the value, of whichever type it was.
    pub fn set(&mut self, value: NewValue<'_>, expiry: Expiry) {
        self.db.tell_entry(self.place);
        let before = self.get().expiry();
        let after = match expiry {
            Expiry::Keep => before,
            Expiry::Clear => None,
            Expiry::At(ms) => Some(ms),
        };
        let outside = self.db.table.replace(self.place, after, value);
        self.db.lazy.discard(outside);
        self.count_expiry(before, after);
        self.note_due_inside();
    }

    /// Takes note of when something inside the value expires: to be called after a change that may
    /// have brought that forward.
    #[inline]
    pub fn note_due_inside(&mut self) {
        let due = self.get().due_inside();
        if let Some(at) = due {
            self.db.table.note_expiry(self.place, at);
            self.db.note_inside(due);
        }
    }

    /// Replaces the value by a number's decimal; in place where a number stands (INCR).
    #[inline]
    pub fn set_int(&mut self, number: i64) {
        self.db.tell_entry(self.place);
        if !self.db.table.raw(self.place).overwrite_int(number) {
            self.set(NewValue::Int(number), Expiry::Keep);
        }
    }

    /// Sets or clears the expiry, unix milliseconds.
    pub fn set_expiry(&mut self, expiry: Option<u64>) {
        self.db.tell_entry(self.place);
        let before = self.get().expiry();
        self.db.table.set_expiry(self.place, expiry);
        self.count_expiry(before, expiry);
    }

    #[inline]
    fn count_expiry(&mut self, before: Option<u64>, after: Option<u64>) {
        self.db.expires -= usize::from(before.is_some());
        self.db.expires += usize::from(after.is_some());
        if let Some(at) = after {
            self.db.table.note_expiry(self.place, at);
            self.db.note_due(at);
        }
    }

    /// Appends to a string; its new length. Amortised, it costs what is appended. The entry must be
    /// a string, and the caller has checked `proto-max-bulk-len`.
    pub fn append(&mut self, tail: &[u8]) -> usize {
        assert_eq!(self.get().kind(), Kind::String);
        self.db.tell_entry(self.place);
        self.db.table.append(self.place, tail)
    }

    /// Changes a string's bytes in place after making it at least `len` long with zeros (SETRANGE,
    /// SETBIT, BITFIELD). The entry must be a string.
    pub fn edit_string<R>(&mut self, len: usize, change: impl FnOnce(&mut [u8]) -> R) -> R {
        assert_eq!(self.get().kind(), Kind::String);
        self.db.tell_entry(self.place);
        self.db.table.edit_string(self.place, len, change)
    }

    /// The block of a packed collection, to be changed through [`crate::types::packed`]. The entry
    /// must be one.
    #[inline]
    pub fn edit_packed(&mut self) -> PackedMut<'_> {
        assert!(
            matches!(self.value(), Value::Packed(..)),
            "the value is no packed collection"
        );
        self.db.tell_entry(self.place);
        PackedMut {
            db: &mut *self.db,
            place: self.place,
        }
    }

    /// Changes an object; None if the value is none. Its change of size is accounted for.
    pub fn edit_object<R>(&mut self, change: impl FnOnce(&mut dyn Object) -> R) -> Option<R> {
        self.db.tell_entry(self.place);
        self.db.table.edit_object(self.place, change)
    }

    /// The value.
    pub fn value(&self) -> Value<'_> {
        self.get().value()
    }
}

/// The block of a packed collection inside its entry, at most 65535 bytes. A change costs the bytes
/// behind it, and a copy of the entry where that leaves its size class; nothing else is allocated.
#[derive(Debug)]
pub struct PackedMut<'a> {
    db: &'a mut Db,
    place: Place,
}

impl Block for PackedMut<'_> {
    #[inline]
    fn block(&self) -> &[u8] {
        match self.db.table.entry(self.place).value() {
            Value::Packed(_, bytes) => bytes,
            _ => unreachable!("looked at when it was made"),
        }
    }

    #[inline]
    fn block_mut(&mut self) -> &mut [u8] {
        self.db.table.packed_mut(self.place)
    }

    fn splice(&mut self, at: usize, remove: usize, insert: usize) -> &mut [u8] {
        self.db.table.splice_packed(self.place, at, remove, insert)
    }
}
