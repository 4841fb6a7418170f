//! The table of a large collection's members: sets, the fields of hashes, the member index of
//! sorted sets.
//!
//! Segments of some 40 elements in spiral storage ([`super::spiral`]), so that it grows and shrinks
//! by splitting or merging one segment at a time, in step with the number of elements: no operation
//! moves more than one segment, nothing is ever rehashed as a whole, and segments have the same
//! sizes whatever the number of elements. Each segment has a range of positions, and a walk in the
//! order of positions is complete whatever splits or merges meanwhile. That order is the scan's, and
//! its cursor is the upper half of the position to go on at.
//!
//! Elements are keys ([`MemberSet`]) or keys with a payload of any length ([`MemberMap`]). A key of
//! 16 bytes takes 24 to 25 bytes in a large table, all in. Long elements (over 250 bytes) have an
//! allocation of their own.
//!
//! Chance comes from the caller, as a function that draws 64 random bits. The hasher is the
//! keyspace's: it must be the same for all that touches a table, on any shard.

mod segment;

pub use segment::Element;

use super::spiral;
use crate::keyspace::Hasher;
use segment::Segment;

/// A table of keys.
pub type MemberSet = Members<false>;
/// A table of keys with something kept for each.
pub type MemberMap = Members<true>;

/// Elements for each segment, on average, from which on one more segment is made.
const GROW_AT: usize = 40;
/// Elements for each segment, on average, below which one segment goes.
const SHRINK_AT: usize = 24;
/// Segments are kept in pieces of so many, so that none of the table's own memory has to move. A piece
/// of 8 KiB is small to the allocator, as the segments themselves are: larger ones begin a page of
/// half a megabyte each time one is full.
const PIECE_SEGMENTS: usize = 256;
/// Up to so many segments a draw counts through them; above it guesses.
const DRAW_EXACTLY: usize = 8;
/// Bits of a position that a cursor leaves out.
const CURSOR_SHIFT: u32 = 32;

/// Where an element stands, until the table's next change.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct At {
    segment: usize,
    slot: usize,
}

/// See the head of the module.
#[derive(Clone, Debug)]
pub struct Members<const PAYLOAD: bool> {
    hasher: Hasher,
    pieces: Vec<Vec<Segment<PAYLOAD>>>,
    segments: usize,
    len: usize,
    /// Bytes that the segments hold.
    held: usize,
    /// No segment has ever had more elements: what a draw guesses against.
    fullest: usize,
}

#[inline]
fn tag_of(hash: u64) -> u16 {
    (hash >> 4) as u16
}

impl<const PAYLOAD: bool> Members<PAYLOAD> {
    /// An empty table.
    pub fn new(hasher: Hasher) -> Self {
        Self {
            hasher,
            pieces: vec![vec![Segment::default()]],
            segments: 1,
            len: 0,
            held: 0,
            fullest: 0,
        }
    }

    /// Elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What gives keys their hashes.
    pub fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// The hash of a key, for the functions that take one: computed once, used for several.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash(key)
    }

    /// The number of the segment that a hash belongs to.
    #[inline]
    fn index(&self, hash: u64) -> usize {
        spiral::bucket(spiral::position(hash), self.segments).0
    }

    #[inline]
    fn segment(&self, index: usize) -> &Segment<PAYLOAD> {
        &self.pieces[index / PIECE_SEGMENTS][index % PIECE_SEGMENTS]
    }

    #[inline]
    fn segment_mut(&mut self, index: usize) -> &mut Segment<PAYLOAD> {
        &mut self.pieces[index / PIECE_SEGMENTS][index % PIECE_SEGMENTS]
    }

    /// Changes a segment, and counts what it holds afterwards.
    #[inline]
    fn change<R>(&mut self, index: usize, change: impl FnOnce(&mut Segment<PAYLOAD>) -> R) -> R {
        let segment = self.segment_mut(index);
        let before = segment.heap_bytes();
        let result = change(segment);
        let (after, count) = (segment.heap_bytes(), segment.count());
        self.held = self.held + after - before;
        self.fullest = self.fullest.max(count);
        result
    }

    /// First of two passes over keys before they are looked up: asks for what the next one reads.
    #[inline]
    pub fn prefetch_segment(&self, hash: u64) {
        prefetch(std::ptr::from_ref(self.segment(self.index(hash))).cast());
    }

    /// Second pass: asks for the part of the segment that a search starts in.
    #[inline]
    pub fn prefetch_tags(&self, hash: u64) {
        prefetch(self.segment(self.index(hash)).first_byte());
    }

    /// Where a key's element stands.
    #[inline]
    pub fn find(&self, key: &[u8]) -> Option<At> {
        self.find_hashed(self.hash(key), key)
    }

    /// Where a key's element stands; the hash is the key's.
    #[inline]
    pub fn find_hashed(&self, hash: u64, key: &[u8]) -> Option<At> {
        let segment = self.index(hash);
        let slot = self.segment(segment).find(tag_of(hash), key)?;
        Some(At { segment, slot })
    }

    /// Whether the key is there.
    #[inline]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.find(key).is_some()
    }

    /// Where an element with this hash stands that `accept` says is the one.
    pub fn find_where(&self, hash: u64, accept: impl Fn(Element<'_>) -> bool) -> Option<At> {
        let segment = self.index(hash);
        let wanted = |element: Element<'_>| accept(element) && self.hash(element.key) == hash;
        let slot = self.segment(segment).find_where(tag_of(hash), wanted)?;
        Some(At { segment, slot })
    }

    /// The element of a place.
    #[inline]
    pub fn at(&self, at: At) -> Element<'_> {
        self.segment(at.segment).element(at.slot)
    }

    /// Removes the element of a place.
    pub fn remove_at(&mut self, at: At) {
        self.change(at.segment, |segment| segment.remove(at.slot));
        self.len -= 1;
        if self.segments > 1 && self.len < self.segments * SHRINK_AT {
            self.merge_last();
        }
    }

    /// Removes a key; whether it was there.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let found = self.find(key);
        if let Some(at) = found {
            self.remove_at(at);
        }
        found.is_some()
    }

    /// Adds an element whose key is known not to be there; the hash is the key's.
    #[inline]
    fn add(&mut self, hash: u64, element: Element<'_>) {
        let index = self.index(hash);
        self.change(index, |segment| segment.insert(tag_of(hash), element));
        self.len += 1;
        if self.len > self.segments * GROW_AT {
            self.split_next();
        }
    }

    /// Splits the segment whose turn it is.
    fn split_next(&mut self) {
        let new = self.segments;
        let (from, depth) = spiral::split(new);
        let hasher = self.hasher;
        let goes =
            |e: Element<'_>| spiral::position(hasher.hash(e.key)) >> (u64::BITS - depth) & 1 == 1;
        let moved = self.change(from, |segment| segment.split(goes));
        self.held += moved.heap_bytes();
        if new.is_multiple_of(PIECE_SEGMENTS) {
            self.pieces.push(Vec::with_capacity(PIECE_SEGMENTS));
        }
        self.pieces[new / PIECE_SEGMENTS].push(moved);
        self.segments += 1;
    }

    /// Merges the last segment with the one that it was split from.
    fn merge_last(&mut self) {
        let last = self.segments - 1;
        let (into, _) = spiral::split(last);
        let piece = &mut self.pieces[last / PIECE_SEGMENTS];
        let mut segment = piece.pop().expect("it is the last one");
        let before = segment.heap_bytes();
        if !self.change(into, |other| other.absorb(&mut segment)) {
            // Far longer elements than usual: the segments stay apart.
            self.pieces[last / PIECE_SEGMENTS].push(segment);
            return;
        }
        self.held -= before;
        self.segments = last;
        if self.pieces[last / PIECE_SEGMENTS].is_empty() {
            self.pieces.pop();
        }
    }

    /// An element, each with the same probability; None if there are none.
    pub fn draw(&self, mut random: impl FnMut() -> u64) -> Option<At> {
        if self.is_empty() {
            return None;
        }
        if self.segments <= DRAW_EXACTLY {
            return self.nth(below(&mut random, self.len));
        }
        // Each pair of a segment and a slot number is drawn with the same probability, and those
        // that exist are taken.
        loop {
            let segment = below(&mut random, self.segments);
            let slot = below(&mut random, self.fullest);
            if slot < self.segment(segment).count() {
                return Some(At { segment, slot });
            }
        }
    }

    /// The element of that number, counted in an order that the next change may upset.
    fn nth(&self, number: usize) -> Option<At> {
        let mut slot = number;
        for (segment, one) in self.all_segments().enumerate() {
            if slot < one.count() {
                return Some(At { segment, slot });
            }
            slot -= one.count();
        }
        None
    }

    fn all_segments(&self) -> impl Iterator<Item = &Segment<PAYLOAD>> {
        self.pieces.iter().flatten()
    }

    /// All elements, in an order of the table's own.
    pub fn iter(&self) -> impl Iterator<Item = Element<'_>> {
        self.all_segments()
            .flat_map(|segment| (0..segment.count()).map(|slot| segment.element(slot)))
    }

    /// Visits about `count` elements in the order of their positions, from `cursor` (0 at first) on; the
    /// cursor to go on at, 0 when all is seen. What is there from the first call to the last is
    /// visited, and nothing twice, however the table changes between calls.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(Element<'_>)) -> u64 {
        /// Empty segments to pass for each element asked for.
        const SEGMENTS_PER_ELEMENT: usize = 10;
        if cursor > u64::MAX >> CURSOR_SHIFT {
            return 0;
        }
        let mut left = count.max(1);
        let mut segments_left = left.saturating_mul(SEGMENTS_PER_ELEMENT);
        let mut pos = cursor << CURSOR_SHIFT;
        loop {
            let (index, depth) = spiral::bucket(pos, self.segments);
            let last = spiral::last(pos, depth);
            if let Some(next) = self.scan_segment(index, pos, &mut left, &mut visit) {
                return next;
            }
            segments_left -= 1;
            match last.checked_add(1) {
                None => return 0,
                Some(next) => pos = next,
            }
            if left == 0 || segments_left == 0 {
                return pos >> CURSOR_SHIFT;
            }
        }
    }

    /// Visits a segment's elements from a position on; where to go on, if that is in this segment.
    fn scan_segment(
        &self,
        index: usize,
        from: u64,
        left: &mut usize,
        visit: &mut impl FnMut(Element<'_>),
    ) -> Option<u64> {
        let segment = self.segment(index);
        let mut order: smallvec::SmallVec<[(u64, usize); 64]> = (0..segment.count())
            .map(|slot| {
                let hash = self.hash(segment.element(slot).key);
                (spiral::position(hash), slot)
            })
            .filter(|(position, _)| *position >= from)
            .collect();
        order.sort_unstable();
        let mut passed = None;
        for (position, slot) in order {
            // What has one cursor is visited in one call.
            if *left == 0 && passed != Some(position >> CURSOR_SHIFT) {
                return Some(position >> CURSOR_SHIFT);
            }
            visit(segment.element(slot));
            *left = left.saturating_sub(1);
            passed = Some(position >> CURSOR_SHIFT);
        }
        None
    }

    /// Bytes that it holds outside itself.
    pub fn heap_bytes(&self) -> usize {
        let pieces = self.pieces.len().saturating_sub(1) * PIECE_SEGMENTS
            + self.pieces.last().map_or(0, Vec::capacity);
        self.held
            + pieces * size_of::<Segment<PAYLOAD>>()
            + self.pieces.capacity() * size_of::<Vec<Segment<PAYLOAD>>>()
    }

    /// Steps that freeing takes, about one for each allocation.
    pub fn free_effort(&self) -> usize {
        // Elements outside are told by what they hold at least.
        self.segments + self.held / 4096
    }

    /// Frees about `budget` steps; whether anything is left. It is only freed on afterwards.
    pub fn free_some(&mut self, budget: usize) -> bool {
        let mut left = budget.max(1);
        while let Some(piece) = self.pieces.last_mut() {
            let Some(segment) = piece.pop() else {
                self.pieces.pop();
                continue;
            };
            let effort = segment.effort();
            drop(segment);
            if effort >= left {
                return true;
            }
            left -= effort;
        }
        (self.len, self.segments, self.held) = (0, 0, 0);
        false
    }

    /// Panics unless every invariant holds; walks everything.
    pub fn verify(&self) {
        let (mut len, mut held, mut segments) = (0, 0, 0);
        for (index, segment) in self.all_segments().enumerate() {
            segment.verify(|key| tag_of(self.hash(key)));
            for slot in 0..segment.count() {
                let hash = self.hash(segment.element(slot).key);
                assert_eq!(
                    self.index(hash),
                    index,
                    "an element stands in a foreign segment"
                );
            }
            assert!(segment.count() <= self.fullest);
            len += segment.count();
            held += segment.heap_bytes();
            segments += 1;
        }
        assert_eq!((len, held, segments), (self.len, self.held, self.segments));
        let full = self.pieces.split_last().map_or(&[][..], |(_, full)| full);
        assert!(full.iter().all(|piece| piece.len() == PIECE_SEGMENTS));
    }
}

impl Members<false> {
    /// Adds a key; whether it is new.
    #[inline]
    pub fn insert(&mut self, key: &[u8]) -> bool {
        let hash = self.hash(key);
        self.insert_hashed(hash, key)
    }

    /// Adds a key whose hash is known; whether it is new.
    #[inline]
    pub fn insert_hashed(&mut self, hash: u64, key: &[u8]) -> bool {
        let is_new = self.find_hashed(hash, key).is_none();
        if is_new {
            self.add(hash, Element { key, payload: &[] });
        }
        is_new
    }
}

impl Members<true> {
    /// Stores a payload under a key; whether the key is new.
    #[inline]
    pub fn set(&mut self, key: &[u8], payload: &[u8]) -> bool {
        let hash = self.hash(key);
        self.set_hashed(hash, key, payload)
    }

    /// Stores a payload under a key whose hash is known; whether the key is new.
    #[inline]
    pub fn set_hashed(&mut self, hash: u64, key: &[u8], payload: &[u8]) -> bool {
        let element = Element { key, payload };
        let found = self.find_hashed(hash, key);
        match found {
            Some(at) => self.change(at.segment, |segment| segment.replace(at.slot, element)),
            None => self.add(hash, element),
        }
        found.is_none()
    }

    /// Adds a key that is not there, with its payload; the hash is the key's.
    #[inline]
    pub fn insert_new(&mut self, hash: u64, key: &[u8], payload: &[u8]) {
        debug_assert!(self.find_hashed(hash, key).is_none());
        self.add(hash, Element { key, payload });
    }

    /// Replaces the payload of a place, where the key with that hash stands.
    #[inline]
    pub fn set_at(&mut self, at: At, hash: u64, key: &[u8], payload: &[u8]) {
        debug_assert_eq!(self.find_hashed(hash, key), Some(at));
        let element = Element { key, payload };
        self.change(at.segment, |segment| segment.replace(at.slot, element));
    }

    /// The payload of a key.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.find(key).map(|at| self.at(at).payload)
    }

    /// The payload of a place, to be changed in place.
    #[inline]
    pub fn payload_mut(&mut self, at: At) -> &mut [u8] {
        self.segment_mut(at.segment).payload_mut(at.slot)
    }
}

/// A number below `end`, nearly evenly drawn (to one in 2^32; Lemire, "Fast random integer
/// generation in an interval", 2019, without its rejection).
#[inline]
pub fn below(random: &mut impl FnMut() -> u64, end: usize) -> usize {
    ((u128::from(random()) * end as u128) >> 64) as usize
}

#[inline]
fn prefetch(address: *const u8) {
    crate::keyspace::prefetch(address.cast());
}

#[cfg(test)]
mod tests;
