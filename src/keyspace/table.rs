//! The table of a database: entries in the order of their positions, in segments that a directory
//! finds by the leading bits of a position.
//!
//! The top directory decodes up to 14 bits, the slot. A slot that has outgrown a segment gets a
//! directory of its own, of up to 12 bits, whose words may be directories again. A directory grows by
//! doubling, so the largest move is 128 KiB of words; a segment is at most some 7 KiB. No operation
//! moves more than one directory or one segment (a split and a merge: two), whatever the number of
//! keys; but while a log is read, and nobody is served, a segment splits into up to sixteen. Several
//! neighbouring words of a directory may name one segment (its depth says how many).
//!
//! A lookup touches a directory's word, one or two lines of a segment, and the entry.
//!
//! Invariants, checked by [`Table::verify`]: every word of a directory names a node; a segment of
//! depth d is named by all the words for its d leading bits and by no others; a directory below
//! another decodes at least one bit and has at least one deepest word.
#![expect(unsafe_code, reason = "owns nodes and entries by address")]

use super::entry::{self, EntryRef, Outside, OwnedEntry, Raw};
use super::hash::{Hasher, Pos};
use super::heap::Heap;
use super::node::{Node, prefetch};
use super::segment::{self, HEADER_WORDS, LINE_WORDS, LINES_MAX, NEVER};
use super::slot::SLOT_BITS;
use super::value::{NewValue, Object};
use crate::stdx::bytes::equal;
use std::rc::Rc;

/// Bits of a directory below the top one.
const LOWER_BITS_MAX: u32 = 12;
/// The top one, and below it as many as 34 bits need (the cursor's precision, hence of all order).
const LEVELS_MAX: usize = 4;
/// Segments are not split beyond this: the positions' bits end 16 bits later.
const DEPTH_MAX: u32 = SLOT_BITS + (LEVELS_MAX as u32 - 1) * LOWER_BITS_MAX - 2;
/// Bits by which a full segment splits where many more entries are to come: a split looks at every key,
/// and these would split again.
const GROWTH_BITS: u32 = 4;
/// Groups of slots that entries are counted in.
pub(super) const GROUP_BITS: u32 = 8;
/// Two neighbours of together no more entries than this become one: half of what splits, so that
/// splitting and merging do not alternate.
const MERGED_MAX: usize = 448;

/// Where an entry stands; valid until the table's next change.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    segment: Node,
    slot: usize,
}

/// The directories above a segment.
struct Path {
    levels: [(Node, u32); LEVELS_MAX],
    len: usize,
    segment: Node,
}

impl Path {
    /// The directory that names the segment, and the bits used above it.
    fn last(&self) -> (Node, u32) {
        self.levels[self.len - 1]
    }
}

/// A segment and the positions that it covers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) segment: Node,
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Span {
    /// The first position of a tag.
    #[inline]
    pub(super) fn pos_of(&self, tag: u64) -> u64 {
        self.first | tag << (u64::BITS - segment::TAG_BITS) >> self.segment.depth()
    }
}

/// What has expired of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gone {
    /// All of it: it is removed.
    Whole,
    /// Something inside its value. Its type's commands are to remove that, and to note when the next
    /// is due.
    Inside,
}

/// What a visit to a segment found.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Swept {
    pub(super) visited: usize,
    pub(super) removed: usize,
    /// Lower bound of the expiries that are left.
    pub(super) bound: u64,
}

/// Entries by position.
#[derive(Debug)]
pub(super) struct Table {
    heap: Rc<Heap>,
    hasher: Hasher,
    /// None until the first entry.
    top: Option<Node>,
    len: usize,
    /// Entries in each group of 64 slots, for drawing evenly; empty until the first entry.
    groups: Vec<u32>,
    /// Whether many more entries are to come, so that a split may do more than make room.
    grows: bool,
    /// Where `free_some` goes on; None as long as the table is in use.
    freed_to: Option<u64>,
}

impl Table {
    pub(super) fn new(heap: Rc<Heap>, hasher: Hasher) -> Self {
        Self {
            heap,
            hasher,
            top: None,
            len: 0,
            groups: Vec::new(),
            grows: false,
            freed_to: None,
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn heap(&self) -> &Heap {
        &self.heap
    }

    pub(super) fn heap_shared(&self) -> Rc<Heap> {
        Rc::clone(&self.heap)
    }

    pub(super) fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// Prefetches the word of the top directory.
    #[inline]
    pub(super) fn prefetch_directory(&self, pos: Pos) {
        if let Some(top) = self.top {
            prefetch(top.word_pointer(top.index(pos.0, 0)));
        }
    }

    /// Prefetches the part of the segment that a search starts in.
    #[inline]
    pub(super) fn prefetch_segment(&self, pos: Pos) {
        if let Some(segment) = self.segment_of(pos) {
            let slots = segment::slots_in(segment.lines());
            let start = HEADER_WORDS + segment::home(slots, segment.tag(pos.0));
            prefetch(segment.word_pointer(start));
            // A search goes on for a few words, into the next line as often as not.
            prefetch(segment.word_pointer(start + 5));
        }
    }

    /// The same, and what inserting needs besides: the segment's header, and the line behind.
    #[inline]
    pub(super) fn prefetch_room(&self, pos: Pos) {
        if let Some(segment) = self.segment_of(pos) {
            let slots = segment::slots_in(segment.lines());
            let start = HEADER_WORDS + segment::home(slots, segment.tag(pos.0));
            prefetch(segment.word_pointer(0));
            for line in 0..3 {
                prefetch(segment.word_pointer(start + line * LINE_WORDS));
            }
        }
    }

    /// Prefetches the entry, if something of its tag is there.
    #[inline]
    pub(super) fn prefetch_entry(&self, pos: Pos) {
        if let Some(segment) = self.segment_of(pos) {
            // SAFETY: nodes named by the directory are alive, and &self keeps them unchanged.
            let slots = unsafe { segment.slots() };
            if let Some(address) = segment::first_of_tag(slots, segment.tag(pos.0)) {
                prefetch(std::ptr::with_exposed_provenance(address as usize));
            }
        }
    }

    /// Prefetches the entry of a slot's word, and what of a short value lies behind its first line.
    #[inline]
    pub(super) fn prefetch_whole(&self, word: u64) {
        let address = segment::address_of(word) as usize;
        for line in 0..2 {
            let at = address + line * LINE_WORDS * size_of::<u64>();
            prefetch(std::ptr::with_exposed_provenance(at));
        }
    }

    #[inline]
    fn segment_of(&self, pos: Pos) -> Option<Node> {
        let mut node = self.top?;
        let mut used = 0;
        while node.is_directory() {
            let bits = node.bits();
            // SAFETY: a directory of the table is alive, and the index is of its bits.
            node = unsafe { node.child(node.index(pos.0, used)) };
            used += bits;
        }
        Some(node)
    }

    #[inline]
    pub(super) fn find(&self, pos: Pos, key: &[u8]) -> Option<Place> {
        let segment = self.segment_of(pos)?;
        // SAFETY: nodes named by the directory are alive, and &self keeps them unchanged.
        let slots = unsafe { segment.slots() };
        let is_it = |address| {
            // SAFETY: slots name live entries, unchanged while &self is held.
            let entry = unsafe { EntryRef::new(Raw::at(address)) };
            equal(entry.key(), key)
        };
        let slot = segment::find(slots, segment.tag(pos.0), is_it)?;
        Some(Place { segment, slot })
    }

    #[inline]
    pub(super) fn raw(&self, place: Place) -> Raw {
        // SAFETY: a place names a slot of a live segment.
        let word = unsafe { place.segment.slots()[place.slot] };
        // SAFETY: slots name live entries.
        unsafe { Raw::at(segment::address_of(word)) }
    }

    #[inline]
    pub(super) fn entry(&self, place: Place) -> EntryRef<'_> {
        // SAFETY: entries of the table live, and are unchanged, as long as &self is held.
        unsafe { EntryRef::new(self.raw(place)) }
    }

    /// The entry of a place has moved there.
    #[inline]
    pub(super) fn set_raw(&mut self, place: Place, raw: Raw) {
        // SAFETY: a place names a live segment, and &mut self holds it exclusively.
        let words = unsafe { place.segment.words_mut() };
        let word = &mut words[HEADER_WORDS + place.slot];
        *word = segment::slot_word(segment::tag_of(*word), raw.address());
    }

    /// An entry of the place's segment expires then.
    #[inline]
    pub(super) fn note_expiry(&mut self, place: Place, at: u64) {
        note_expiry(place.segment, at);
    }

    /// Adds an entry whose key is not there. The table owns it from here on. When something inside
    /// its value expires.
    pub(super) fn insert(&mut self, pos: Pos, raw: Raw) -> Option<u64> {
        let address = raw.address();
        // SAFETY: the caller hands over a live entry.
        let entry = unsafe { EntryRef::new(raw) };
        let inside = entry.due_inside();
        let due = entry.expiry().into_iter().chain(inside).min();
        loop {
            let segment = match self.segment_of(pos) {
                Some(segment) => segment,
                None => self.plant(),
            };
            // SAFETY: the segment is alive, and &mut self holds it exclusively.
            let words = unsafe { segment.words_mut() };
            let (header, slots) = words.split_at_mut(HEADER_WORDS);
            let has_room = (header[0] as usize) < segment::room(slots.len());
            if has_room && segment::place(slots, segment::slot_word(segment.tag(pos.0), address)) {
                header[0] += 1;
                header[1] = header[1].min(due.unwrap_or(NEVER));
                self.len += 1;
                self.groups[group_of(pos.0)] += 1;
                return inside;
            }
            self.make_room(pos);
        }
    }

    /// Takes an entry out; it is the caller's from here on.
    pub(super) fn remove(&mut self, pos: Pos, place: Place) -> Raw {
        let raw = self.raw(place);
        // SAFETY: the segment is alive, and &mut self holds it exclusively.
        let words = unsafe { place.segment.words_mut() };
        let (header, slots) = words.split_at_mut(HEADER_WORDS);
        segment::remove(slots, place.slot);
        header[0] -= 1;
        self.len -= 1;
        self.groups[group_of(pos.0)] -= 1;
        let count = header[0] as usize;
        if count < slots.len() * 6 / 10 {
            self.give_room(pos, count);
        }
        raw
    }

    /// Frees an entry that was taken out; what it owned outside is the caller's.
    #[inline]
    pub(super) fn destroy(&self, raw: Raw) -> Outside {
        // SAFETY: `remove` gave it out: it is alive and in no table.
        unsafe { entry::destroy(&self.heap, raw) }
    }

    /// Makes an entry that was taken out independent of this shard.
    pub(super) fn detach(&self, raw: Raw) -> OwnedEntry {
        // SAFETY: as for `destroy`.
        unsafe { raw.detach(&self.heap) }
    }

    /// Replaces the value and expiry of an entry; what the old value owned outside is the caller's.
    #[inline]
    pub(super) fn replace(
        &mut self,
        place: Place,
        expiry: Option<u64>,
        value: NewValue<'_>,
    ) -> Outside {
        let old = self.raw(place);
        // SAFETY: the entry is alive, and its slot learns its new place.
        let (raw, outside) = unsafe { entry::replace(&self.heap, old, expiry, value) };
        // Most values keep their size class: the segment's line then stays clean.
        if raw != old {
            self.set_raw(place, raw);
        }
        outside
    }

    /// Sets or clears the expiry of an entry.
    pub(super) fn set_expiry(&mut self, place: Place, expiry: Option<u64>) {
        // SAFETY: the entry is alive, and its slot learns its new place.
        let raw = unsafe { entry::set_expiry(&self.heap, self.raw(place), expiry) };
        self.set_raw(place, raw);
    }

    /// Appends to a string; its new length.
    pub(super) fn append(&mut self, place: Place, tail: &[u8]) -> usize {
        // SAFETY: the entry is alive, &mut self holds it, and its slot learns its new place.
        let (raw, len) = unsafe { self.raw(place).append(&self.heap, tail) };
        self.set_raw(place, raw);
        len
    }

    /// Changes a string's bytes.
    pub(super) fn edit_string<R>(
        &mut self,
        place: Place,
        len: usize,
        change: impl FnOnce(&mut [u8]) -> R,
    ) -> R {
        // SAFETY: the entry is alive, &mut self holds it, and its slot learns its new place.
        let (raw, result) = unsafe { self.raw(place).edit_string(&self.heap, len, change) };
        self.set_raw(place, raw);
        result
    }

    /// The bytes of a packed collection, to be changed in place.
    #[inline]
    pub(super) fn packed_mut(&mut self, place: Place) -> &mut [u8] {
        // SAFETY: &mut self holds the entry exclusively.
        unsafe { self.raw(place).packed_mut() }
    }

    /// Takes bytes out of a packed collection and makes room for others, which is returned.
    pub(super) fn splice_packed(
        &mut self,
        place: Place,
        at: usize,
        remove: usize,
        insert: usize,
    ) -> &mut [u8] {
        let old = self.raw(place);
        // SAFETY: the entry is alive, &mut self holds it, and its slot learns its new place.
        let raw = unsafe { old.splice_packed(&self.heap, at, remove, insert) };
        if raw != old {
            self.set_raw(place, raw);
        }
        &mut self.packed_mut(place)[at..at + insert]
    }

    /// Changes an object.
    pub(super) fn edit_object<R>(
        &mut self,
        place: Place,
        change: impl FnOnce(&mut dyn Object) -> R,
    ) -> Option<R> {
        // SAFETY: &mut self holds the entry exclusively.
        let object = unsafe { self.raw(place).object_mut() }?;
        let before = object.heap_bytes() as isize;
        let result = change(object);
        let delta = object.heap_bytes() as isize - before;
        self.heap.charge(delta);
        Some(result)
    }

    /// The first nodes of the table.
    fn plant(&mut self) -> Node {
        let segment = Node::new_segment(&self.heap, segment::lines_for(0), 0);
        let top = Node::new_directory(&self.heap, 0);
        // SAFETY: just made.
        let words = unsafe { top.words_mut() };
        // One word, and it is deepest.
        words.copy_from_slice(&[segment.word(), 1]);
        self.top = Some(top);
        self.groups = vec![0; 1 << GROUP_BITS];
        segment
    }

    fn path(&self, pos: u64) -> Path {
        let mut node = self.top.expect("there is a segment, hence a directory");
        let mut levels = [(node, 0); LEVELS_MAX];
        let (mut len, mut used) = (0, 0);
        while node.is_directory() {
            levels[len] = (node, used);
            len += 1;
            let bits = node.bits();
            // SAFETY: a directory of the table is alive, and the index is of its bits.
            node = unsafe { node.child(node.index(pos, used)) };
            used += bits;
        }
        Path {
            levels,
            len,
            segment: node,
        }
    }

    /// Makes all words of the directory that stand for the leading `depth` bits name `node`.
    fn point(directory: (Node, u32), pos: u64, depth: u32, node: Node) {
        let (directory, used) = directory;
        let shared = used + directory.bits() - depth;
        let start = directory.index(pos, used) >> shared << shared;
        // SAFETY: the directory is alive, and only &mut self methods of the table come here.
        let words = unsafe { directory.words_mut() };
        words[start..start + (1 << shared)].fill(node.word());
    }

    /// Adds to the number of deepest words of a directory.
    fn add_deepest(directory: Node, delta: i64) -> u64 {
        // SAFETY: the directory is alive, and only &mut self methods of the table come here.
        let words = unsafe { directory.words_mut() };
        let deepest = words
            .last_mut()
            .expect("a directory has at least two words");
        *deepest = deepest
            .checked_add_signed(delta)
            .expect("no more words vanish than there were");
        *deepest
    }

    /// Makes room for entries at these positions, which ascend, in the segment of the first; how many
    /// of them it is for, at least one. A segment that they would overflow splits before they come.
    pub(super) fn reserve(&mut self, positions: &[Pos]) -> usize {
        let first = positions[0];
        loop {
            let Some(span) = self.span(first.0) else {
                self.plant();
                continue;
            };
            let coming = positions.partition_point(|pos| pos.0 <= span.last);
            let lines = segment::lines_for(self.count(&span) + coming);
            if lines > LINES_MAX && span.segment.depth() < DEPTH_MAX {
                self.halve(&self.path(first.0), first.0);
                continue;
            }
            if lines > span.segment.lines() {
                self.resize(&self.path(first.0), first.0, lines);
            }
            return coming;
        }
    }

    /// Lets the segment of a position take at least one more: a size up, or a split.
    fn make_room(&mut self, pos: Pos) {
        let path = self.path(pos.0);
        let segment = path.segment;
        if segment.lines() < LINES_MAX || segment.depth() >= DEPTH_MAX {
            self.resize(&path, pos.0, segment::lines_after(segment.lines()));
        } else if self.grows {
            let (_, used) = path.last();
            let full = used + bits_max(used);
            let depth = segment.depth() + GROWTH_BITS;
            // A directory more is a line more for each lookup: not for entries that may not come.
            let most = if segment.depth() < full {
                full
            } else {
                DEPTH_MAX
            };
            self.spread(pos.0, depth.min(most));
        } else {
            self.halve(&path, pos.0);
        }
    }

    /// Splits the segment of a position down to this depth. Empty ones stay whole: nothing is ever
    /// removed from them, so they would not become one again.
    fn spread(&mut self, pos: u64, depth: u32) {
        let path = self.path(pos);
        let at = path.segment.depth();
        // SAFETY: the segment is alive and not changed here.
        let count = unsafe { path.segment.words() }[0];
        if at < depth && count > 0 {
            self.halve(&path, pos);
            let bit = 1 << (u64::BITS - 1 - at);
            self.spread(pos & !bit, depth);
            self.spread(pos | bit, depth);
        }
    }

    /// Whether many more entries are to come.
    pub(super) fn set_growing(&mut self, grows: bool) {
        self.grows = grows;
    }

    /// Gives the segment of a path that many lines.
    fn resize(&mut self, path: &Path, pos: u64, lines: usize) {
        let segment = path.segment;
        let resized = self.rebuilt(segment, lines, segment.depth());
        Self::point(path.last(), pos, segment.depth(), resized);
        // SAFETY: no word names it any more.
        unsafe { segment.free(&self.heap) };
    }

    /// Makes two of the segment of a path.
    fn halve(&mut self, path: &Path, pos: u64) {
        let segment = path.segment;
        let (directory, used) = path.last();
        if segment.depth() < used + directory.bits() {
            self.split(path.last(), pos, segment);
        } else if directory.bits() < bits_max(used) {
            let double = self.doubled(directory);
            self.replace_directory(path, path.len - 1, pos, double);
            self.split((double, used), pos, segment);
        } else {
            // The segment becomes a directory of one bit; both of its words are the segment's.
            let lower = Node::new_directory(&self.heap, 1);
            // SAFETY: just made.
            let words = unsafe { lower.words_mut() };
            words.copy_from_slice(&[segment.word(), segment.word(), 0]);
            Self::point(path.last(), pos, segment.depth(), lower);
            self.split((lower, segment.depth()), pos, segment);
        }
    }

    /// A segment's entries in a new segment of that many lines (or more, if they do not fit).
    fn rebuilt(&self, old: Node, lines: usize, depth: u32) -> Node {
        // SAFETY: the segment is alive; the new one is another.
        let words = unsafe { old.words() };
        self.built(lines, depth, words[1], &words[HEADER_WORDS..])
    }

    /// A new segment of the words, those that are 0 left out.
    fn built(&self, lines: usize, depth: u32, bound: u64, words: &[u64]) -> Node {
        let mut lines = lines;
        let taken = || words.iter().copied().filter(|w| *w != 0);
        loop {
            let new = Node::new_segment(&self.heap, lines, depth);
            // SAFETY: just made.
            let (header, slots) = unsafe { new.words_mut() }.split_at_mut(HEADER_WORDS);
            if segment::fill(slots, taken()) {
                header[0] = taken().count() as u64;
                header[1] = bound;
                return new;
            }
            // SAFETY: nobody knows it yet.
            unsafe { new.free(&self.heap) };
            lines = segment::lines_after(lines);
        }
    }

    /// Splits a segment that shares words of its directory.
    fn split(&mut self, directory: (Node, u32), pos: u64, old: Node) {
        let depth = old.depth() + 1;
        // SAFETY: the segment is alive and not changed here.
        let words = unsafe { old.words() };
        let bound = words[1];
        let mut moved: Vec<u64> = words[HEADER_WORDS..]
            .iter()
            .copied()
            .filter(|w| *w != 0)
            .collect();
        for word in &moved {
            prefetch(std::ptr::with_exposed_provenance(
                segment::address_of(*word) as usize,
            ));
        }
        let upper = moved.partition_point(|w| segment::tag_of(*w) >> (segment::TAG_BITS - 1) == 0);
        for word in &mut moved {
            let address = segment::address_of(*word);
            // SAFETY: slots name live entries.
            let entry = unsafe { EntryRef::new(Raw::at(address)) };
            let pos = self.hasher.pos(entry.key()).0;
            *word = segment::slot_word(pos << depth >> (u64::BITS - segment::TAG_BITS), address);
        }
        let (low, high) = moved.split_at_mut(upper);
        let bit = 1 << (u64::BITS - depth);
        for (half, pos) in [(low, pos & !bit), (high, pos | bit)] {
            // In order but for neighbours of one old tag.
            half.sort_unstable_by_key(|w| segment::tag_of(*w));
            let lines = segment::lines_for(half.len());
            let new = self.built(
                lines,
                depth,
                if half.is_empty() { NEVER } else { bound },
                half,
            );
            Self::point(directory, pos, depth, new);
        }
        if depth == directory.1 + directory.0.bits() {
            Self::add_deepest(directory.0, 2);
        }
        // SAFETY: no word names it any more.
        unsafe { old.free(&self.heap) };
    }

    /// A directory of one more bit with the same words, each twice.
    fn doubled(&self, old: Node) -> Node {
        let new = Node::new_directory(&self.heap, old.bits() + 1);
        // SAFETY: both are alive, and they are different ones.
        let (from, to) = unsafe { (old.words(), new.words_mut()) };
        for (word, pair) in from[..1 << old.bits()]
            .iter()
            .zip(to.as_chunks_mut::<2>().0)
        {
            pair.fill(*word);
        }
        new
    }

    /// A directory of one bit less, every second word.
    fn halved(&self, old: Node, used: u32) -> Node {
        let new = Node::new_directory(&self.heap, old.bits() - 1);
        // SAFETY: both are alive, and they are different ones.
        let (from, to) = unsafe { (old.words(), new.words_mut()) };
        let (deepest, words) = to
            .split_last_mut()
            .expect("a directory has at least two words");
        for (word, pair) in words.iter_mut().zip(from.as_chunks::<2>().0) {
            assert_eq!(pair[0], pair[1], "no deepest word is left");
            *word = pair[0];
            let node = Node::from_word(*word);
            *deepest += u64::from(node.depth() == used + new.bits());
        }
        new
    }

    /// Puts another directory in the place of one of the path's.
    fn replace_directory(&mut self, path: &Path, level: usize, pos: u64, new: Node) {
        let (old, used) = path.levels[level];
        match level.checked_sub(1) {
            None => self.top = Some(new),
            Some(above) => Self::point(path.levels[above], pos, used, new),
        }
        // SAFETY: no word names it any more.
        unsafe { old.free(&self.heap) };
    }

    /// Lets the segment of a position shrink, or merge with its neighbour.
    fn give_room(&mut self, pos: Pos, count: usize) {
        if count.is_multiple_of(16) && self.merge_upwards(pos.0) {
            return;
        }
        let path = self.path(pos.0);
        let segment = path.segment;
        let lines = segment::lines_for(count);
        if lines < segment.lines() {
            self.resize(&path, pos.0, lines);
        }
    }

    /// Merges a segment with its neighbour, if both are of one depth and small.
    fn merge(&mut self, path: &Path, pos: u64, count: usize) -> bool {
        let (directory, used) = path.last();
        let segment = path.segment;
        let depth = segment.depth();
        if depth == used || count > MERGED_MAX {
            return false;
        }
        let bit = 1 << (u64::BITS - depth);
        // SAFETY: the directory is alive, and the index is of its bits.
        let other = unsafe { directory.child(directory.index(pos ^ bit, used)) };
        if other.is_directory() || other.depth() != depth {
            return false;
        }
        let (low, high) = if pos & bit == 0 {
            (segment, other)
        } else {
            (other, segment)
        };
        // SAFETY: both are alive and not changed here.
        let (low_words, high_words) = unsafe { (low.words(), high.words()) };
        let both = (low_words[0] + high_words[0]) as usize;
        if both > MERGED_MAX {
            return false;
        }
        let upper = 1 << (segment::TAG_BITS - 1);
        let halve = |bit: u64| {
            move |w: &u64| {
                segment::slot_word(segment::tag_of(*w) >> 1 | bit, segment::address_of(*w))
            }
        };
        let taken = |w: &&u64| **w != 0;
        let low_moved = low_words[HEADER_WORDS..].iter().filter(taken).map(halve(0));
        let high_moved = high_words[HEADER_WORDS..]
            .iter()
            .filter(taken)
            .map(halve(upper));
        let words: Vec<u64> = low_moved.chain(high_moved).collect();
        let bound = low_words[1].min(high_words[1]);
        let new = self.built(segment::lines_for(both), depth - 1, bound, &words);
        Self::point(path.last(), pos, depth - 1, new);
        if depth == used + directory.bits() {
            Self::add_deepest(directory, -2);
        }
        for old in [low, high] {
            // SAFETY: no word names it any more.
            unsafe { old.free(&self.heap) };
        }
        true
    }

    /// Halves the directories above a position that have no deepest word any more.
    fn shrink_directories(&mut self, pos: u64) {
        loop {
            let path = self.path(pos);
            let (directory, used) = path.last();
            if directory.bits() == 0 || Self::add_deepest(directory, 0) > 0 {
                return;
            }
            if directory.bits() == 1 && path.len > 1 {
                // One segment is left of it: that stands in its place.
                Self::point(path.levels[path.len - 2], pos, used, path.segment);
                // SAFETY: no word names it any more.
                unsafe { directory.free(&self.heap) };
            } else {
                let half = self.halved(directory, used);
                self.replace_directory(&path, path.len - 1, pos, half);
            }
        }
    }

    /// The segment of a position and what it covers; None in a table without segments.
    pub(super) fn span(&self, pos: u64) -> Option<Span> {
        let segment = self.segment_of(Pos(pos))?;
        let below = u64::MAX.checked_shr(segment.depth()).unwrap_or(0);
        Some(Span {
            segment,
            first: pos & !below,
            last: pos | below,
        })
    }

    /// Entries in each group of slots, in order; empty before the first entry.
    pub(super) fn groups(&self) -> &[u32] {
        &self.groups
    }

    /// How many entries a segment has.
    pub(super) fn count(&self, span: &Span) -> usize {
        // SAFETY: a span names a live segment.
        unsafe { span.segment.words()[0] as usize }
    }

    /// The lower bound of a segment's expiries.
    pub(super) fn bound(&self, span: &Span) -> u64 {
        // SAFETY: a span names a live segment.
        unsafe { span.segment.words()[1] }
    }

    /// The slots of a segment.
    pub(super) fn slots(&self, span: &Span) -> &[u64] {
        // SAFETY: a span names a live segment, unchanged while &self is held.
        unsafe { span.segment.slots() }
    }

    /// The entry of a slot's word.
    #[inline]
    pub(super) fn entry_of(&self, word: u64) -> EntryRef<'_> {
        assert_ne!(word, 0, "a free slot has no entry");
        // SAFETY: slots name live entries, unchanged while &self is held.
        unsafe { EntryRef::new(Raw::at(segment::address_of(word))) }
    }

    /// Removes the entries of a segment that have expired, each after `gone` has seen it, and makes
    /// the segment's bound exact. What an entry owned outside goes to `outside`.
    pub(super) fn sweep(
        &mut self,
        span: &Span,
        now: u64,
        stays: impl Fn(EntryRef<'_>) -> bool,
        mut gone: impl FnMut(EntryRef<'_>, Gone),
        mut outside: impl FnMut(Outside),
    ) -> Swept {
        let mut kept = Vec::with_capacity(self.count(span));
        let mut bound = NEVER;
        let mut swept = Swept {
            visited: self.count(span),
            removed: 0,
            bound: NEVER,
        };
        for word in self.slots(span).iter().filter(|w| **w != 0) {
            prefetch(std::ptr::with_exposed_provenance(
                segment::address_of(*word) as usize,
            ));
        }
        // SAFETY: the segment is alive, and is replaced only after the loop.
        let slots = unsafe { span.segment.slots() };
        for &word in slots.iter().filter(|w| **w != 0) {
            let entry = self.entry_of(word);
            match entry.expiry() {
                Some(at) if at <= now && !stays(entry) => {
                    gone(entry, Gone::Whole);
                    // SAFETY: slots name live entries; this one's word is dropped below.
                    outside(unsafe {
                        entry::destroy(&self.heap, Raw::at(segment::address_of(word)))
                    });
                    swept.removed += 1;
                    self.groups[group_of(span.pos_of(segment::tag_of(word)))] -= 1;
                }
                expiry => {
                    bound = bound.min(expiry.unwrap_or(NEVER));
                    match entry.due_inside() {
                        // Whoever is told notes when it is due next.
                        Some(at) if at <= now => gone(entry, Gone::Inside),
                        due => bound = bound.min(due.unwrap_or(NEVER)),
                    }
                    kept.push(word);
                }
            }
        }
        swept.bound = bound;
        self.len -= swept.removed;
        if swept.removed > 0 {
            self.refill(span, &kept, bound);
        } else {
            // SAFETY: the segment is alive, and &mut self holds it exclusively.
            unsafe { span.segment.words_mut()[1] = bound };
        }
        swept
    }

    /// Leaves only these words in a segment, in a size that fits, merged where it can be.
    fn refill(&mut self, span: &Span, kept: &[u64], bound: u64) {
        let path = self.path(span.first);
        let old = path.segment;
        assert_eq!(old, span.segment);
        let new = self.built(segment::lines_for(kept.len()), old.depth(), bound, kept);
        Self::point(path.last(), span.first, old.depth(), new);
        // SAFETY: no word names it any more.
        unsafe { old.free(&self.heap) };
        self.merge_upwards(span.first);
    }

    /// Merges the segment of a position with its neighbour as often as it can be; whether it could.
    fn merge_upwards(&mut self, pos: u64) -> bool {
        let mut merged = false;
        loop {
            let path = self.path(pos);
            // SAFETY: the segment is alive and not changed here.
            let count = unsafe { path.segment.words()[0] as usize };
            if !self.merge(&path, pos, count) {
                return merged;
            }
            merged = true;
            self.shrink_directories(pos);
        }
    }

    /// Frees about `budget` entries of a table that is used no more; whether any are left.
    pub(super) fn free_some(&mut self, budget: usize, mut outside: impl FnMut(Outside)) -> bool {
        let Some(top) = self.top else {
            return false;
        };
        let mut freed = 0;
        let mut pos = self.freed_to.unwrap_or(0);
        loop {
            let path = self.path(pos);
            let span = self.span(pos).expect("the table has segments");
            for word in self.slots(&span).iter().filter(|w| **w != 0) {
                prefetch(std::ptr::with_exposed_provenance(
                    segment::address_of(*word) as usize,
                ));
            }
            for word in self.slots(&span).iter().filter(|w| **w != 0) {
                // SAFETY: slots name live entries, and this segment is never read again.
                outside(unsafe { entry::destroy(&self.heap, Raw::at(segment::address_of(*word))) });
            }
            let count = self.count(&span);
            self.len -= count;
            freed += count.max(1);
            // SAFETY: the walk has passed it.
            unsafe { span.segment.free(&self.heap) };
            self.free_passed_directories(&path, span.last);
            match span.last.checked_add(1) {
                None => {
                    // SAFETY: everything below is freed.
                    unsafe { top.free(&self.heap) };
                    self.top = None;
                    self.freed_to = None;
                    assert_eq!(self.len, 0);
                    return false;
                }
                Some(next) => pos = next,
            }
            if freed >= budget {
                self.freed_to = Some(pos);
                return true;
            }
        }
    }

    /// Frees the directories, except the top one, whose last position has been passed.
    fn free_passed_directories(&self, path: &Path, last: u64) {
        for (directory, used) in &path.levels[1..path.len] {
            let below = u64::MAX >> used;
            if last & below == below {
                // SAFETY: the walk has passed all that it names.
                unsafe { directory.free(&self.heap) };
            }
        }
    }

    /// Panics unless every invariant holds; walks everything.
    pub(super) fn verify(&self) {
        assert!(self.freed_to.is_none());
        let Some(top) = self.top else {
            assert_eq!(self.len, 0);
            return;
        };
        assert_eq!(self.verify_directory(top, 0, 0), self.len);
        assert_eq!(
            self.groups.iter().map(|n| *n as usize).sum::<usize>(),
            self.len
        );
    }

    fn verify_directory(&self, directory: Node, used: u32, prefix: u64) -> usize {
        // SAFETY: directories of the table are alive, and &self keeps them unchanged.
        let words = unsafe { directory.words() };
        let (deepest, words) = words
            .split_last()
            .expect("a directory has at least two words");
        assert!(directory.bits() <= bits_max(used));
        assert!(used == 0 || directory.bits() > 0);
        assert!(
            directory.bits() == 0 || *deepest > 0,
            "it should have halved"
        );
        let full = used + directory.bits();
        let (mut total, mut at, mut seen_deepest) = (0, 0, 0);
        while at < words.len() {
            let node = Node::from_word(words[at]);
            let pos = if full == 0 {
                prefix
            } else {
                prefix | (at as u64) << (u64::BITS - full)
            };
            if node.is_directory() {
                assert_eq!(directory.bits(), bits_max(used));
                total += self.verify_directory(node, full, pos);
                seen_deepest += 1;
                at += 1;
                continue;
            }
            let shared = 1usize << (full - node.depth());
            assert!(at.is_multiple_of(shared));
            assert!(words[at..at + shared].iter().all(|w| *w == words[at]));
            seen_deepest += u64::from(node.depth() == full);
            total += self.verify_segment(node, pos);
            at += shared;
        }
        assert_eq!(*deepest, seen_deepest);
        total
    }

    fn verify_segment(&self, node: Node, first: u64) -> usize {
        let span = self.span(first).expect("the table has segments");
        assert_eq!((span.segment, span.first), (node, first));
        let count = self.count(&span);
        segment::verify(self.slots(&span), count);
        for &word in self.slots(&span).iter().filter(|w| **w != 0) {
            let entry = self.entry_of(word);
            let pos = self.hasher.pos(entry.key());
            assert!(
                span.first <= pos.0 && pos.0 <= span.last,
                "an entry stands in a foreign segment"
            );
            assert_eq!(node.tag(pos.0), segment::tag_of(word));
            assert!(
                entry.expiry().is_none_or(|at| at >= self.bound(&span)),
                "the bound is too high"
            );
        }
        count
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        while self.free_some(usize::MAX, entry::drop_outside) {}
    }
}

/// The group of slots that a position is in.
#[inline]
fn group_of(pos: u64) -> usize {
    (pos >> (u64::BITS - GROUP_BITS)) as usize
}

fn bits_max(used: u32) -> u32 {
    if used == 0 { SLOT_BITS } else { LOWER_BITS_MAX }
}

#[inline]
fn note_expiry(segment: Node, at: u64) {
    // SAFETY: a live segment of a table that the caller holds exclusively.
    let words = unsafe { segment.words_mut() };
    words[1] = words[1].min(at);
}
