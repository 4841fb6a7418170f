//! A database as it was at a moment, told entry by entry while it goes on changing.
//!
//! From [`Db::begin_tap`](super::Db::begin_tap) on a walk goes through the table in the order of
//! positions, in slices. Before an entry changes, comes or goes at a position that the walk has not
//! reached, the entries there are told at once, and the place is remembered so that the walk passes
//! over it. Places are cursors: the upper bits of a position, of which few entries share one. What is
//! remembered is a word for each place that was changed ahead of the walk, and is forgotten as the
//! walk comes by.
//!
//! A long entry is told in parts: the walk remembers it and goes on behind it, and tells part by part
//! before anything else. Who is about to change one has it told next
//! ([`Db::tell_ahead`](super::Db::tell_ahead)) and waits for that; changed all the same, the rest of it
//! is told at once.
//!
//! A database that is emptied meanwhile leaves its table to the walk. An entry that expires by itself
//! is not told if no part of it was, since whoever loads it would drop it; one that is being told stays
//! for so long.

use super::entry::EntryRef;
use rustc_hash::{FxBuildHasher, FxHashSet};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::rc::Rc;

/// Whom entries are told to; each once, as it was when the tap began.
pub trait Keeper: Debug {
    /// An entry of the database that had this number then.
    fn keep(&mut self, db: u16, entry: EntryRef<'_>);

    /// Whether it takes long to tell an entry, so that the walk does it with
    /// [`keep_part`](Self::keep_part).
    fn is_long(&self, entry: &EntryRef<'_>) -> bool;

    /// The next part of an entry; whether it was the last. Other entries, and parts of others, may
    /// come in between; the entry itself stays as it is.
    fn keep_part(&mut self, db: u16, entry: EntryRef<'_>) -> bool;

    /// All that was not told yet of an entry that takes long, which is about to change.
    fn keep_rest(&mut self, db: u16, entry: EntryRef<'_>) {
        while !self.keep_part(db, entry) {}
    }
}

/// Places that the walk has to pass over.
pub type Places = FxHashSet<u64>;

/// A set with room for so many places, all of its memory touched.
pub fn touched_places(count: usize) -> Places {
    let mut places = Places::with_capacity_and_hasher(count, FxBuildHasher);
    places.extend(0..count as u64);
    places.clear();
    places
}

/// How many remembered places are looked through at most before the next time.
const FORGET_MIN: usize = 1024;

/// See the head of the module.
#[derive(Debug)]
pub(super) struct Tap {
    pub(super) db: u16,
    pub(super) keeper: Rc<RefCell<dyn Keeper>>,
    /// The walk's cursor: what is before it was told.
    pub(super) reached: u64,
    /// Places from there on that were told.
    told: Places,
    forget_at: usize,
    /// Long entries at places that were told otherwise, with their places; part of the first one may be
    /// told. No more than the walk finds in one slice and somebody waits for: it stands still as long as
    /// there is one.
    pub(super) long: VecDeque<(u64, Box<[u8]>)>,
}

impl Tap {
    pub(super) fn new(db: u16, keeper: Rc<RefCell<dyn Keeper>>) -> Self {
        Self {
            db,
            keeper,
            reached: 0,
            told: Places::default(),
            forget_at: FORGET_MIN,
            long: VecDeque::new(),
        }
    }

    /// Whether a place was told.
    #[inline]
    pub(super) fn has_told(&self, place: u64) -> bool {
        place < self.reached || self.told.contains(&place)
    }

    /// Whether any place ahead of the walk was told.
    #[inline]
    pub(super) fn is_ahead(&self) -> bool {
        !self.told.is_empty()
    }

    /// Whether a long entry at a place is still to be told, or the rest of it.
    pub(super) fn holds(&self, place: u64) -> bool {
        self.long.iter().any(|(at, _)| *at == place)
    }

    /// A place was told.
    pub(super) fn note(&mut self, place: u64) {
        self.told.insert(place);
    }

    /// Goes on remembering places in this empty set, which has room.
    pub(super) fn remember_in(&mut self, mut places: Places) {
        places.extend(self.told.drain());
        self.told = places;
    }

    /// The walk has come to a place.
    pub(super) fn reach(&mut self, place: u64) {
        self.reached = place;
        if self.told.len() >= self.forget_at {
            self.told.retain(|told| *told >= place);
            self.forget_at = (2 * self.told.len()).max(FORGET_MIN);
        }
    }
}
