//! A segment of a table of members: some 40 elements and what finds them, in one allocation.
//!
//! | bytes | what |
//! | --- | --- |
//! | 0.. | groups of 16 slots, 64 bytes each: 16 tags (u16), then 16 offsets (u16) |
//! | gap | free |
//! | arena.. | elements, the youngest first |
//!
//! | an element | what |
//! | --- | --- |
//! | 1 | length of the key; 255: the element stands outside |
//! | 0 or 1 | length of the payload, where elements have one |
//! | n | key, then payload; of an element outside, its index there (u16) |
//!
//! Slots are dense: slot `i` of `count` is in use, and the last one moves into a hole. What a removed
//! element took of the arena is only counted, and won back when the segment is next rebuilt. Sizes
//! are the allocator's own (four to a doubling), so that nothing is lost to rounding.

use smallvec::SmallVec;

/// Slots of a group.
const GROUP_SLOTS: usize = 16;
/// Bytes of a group.
const GROUP_BYTES: usize = GROUP_SLOTS * 4;
/// Where the offsets of a group stand.
const OFFSETS: usize = GROUP_SLOTS * 2;
/// The first byte of an element that stands outside.
const OUTSIDE: u8 = 255;
/// Longest key and payload, together, inside.
pub(super) const INSIDE_BYTES_MAX: usize = 250;
/// Bytes of an element that stands outside.
const OUTSIDE_BYTES: usize = 3;
/// Largest segment: an offset is a u16, and so is the end.
const SEGMENT_BYTES_MAX: usize = 56 * 1024;
const SMALLEST: usize = 64;

/// A key and what belongs to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Element<'a> {
    /// The member or field.
    pub key: &'a [u8],
    /// What is kept for it; empty in a table of keys alone.
    pub payload: &'a [u8],
}

impl Element<'_> {
    fn len(&self) -> usize {
        self.key.len() + self.payload.len()
    }
}

/// An element too long for a segment: length of the key (u32), key, payload.
type Long = Box<[u8]>;

fn long(element: Element<'_>) -> Long {
    let key_len = u32::try_from(element.key.len()).expect("strings are shorter than 4 GiB");
    let mut bytes = Vec::with_capacity(4 + element.len());
    bytes.extend_from_slice(&key_len.to_ne_bytes());
    bytes.extend_from_slice(element.key);
    bytes.extend_from_slice(element.payload);
    bytes.into_boxed_slice()
}

fn long_key_len(long: &[u8]) -> usize {
    u32::from_ne_bytes(long[..4].try_into().expect("4 bytes")) as usize
}

/// See the head of the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Segment<const PAYLOAD: bool> {
    bytes: Box<[u8]>,
    /// Elements outside; an empty one is free.
    #[expect(
        clippy::box_collection,
        reason = "nearly all segments have none, and it is 8 bytes then"
    )]
    outside: Option<Box<Vec<Long>>>,
    count: u16,
    /// Where the arena starts.
    arena: u16,
    /// Bytes of the arena that nothing uses.
    dead: u16,
}

const _: () = assert!(size_of::<Segment<true>>() == 32, "two to a cache line");

/// The allocator's next size.
fn rounded(bytes: usize) -> usize {
    let bytes = bytes.max(SMALLEST);
    bytes
        .next_multiple_of((1 << (bytes - 1).ilog2()) / 4)
        .min(SEGMENT_BYTES_MAX)
}

/// Bytes of the groups that so many slots take.
#[inline]
fn groups_bytes(slots: usize) -> usize {
    slots.div_ceil(GROUP_SLOTS) * GROUP_BYTES
}

#[inline]
fn tag_at(slot: usize) -> usize {
    slot / GROUP_SLOTS * GROUP_BYTES + slot % GROUP_SLOTS * 2
}

impl<const PAYLOAD: bool> Segment<PAYLOAD> {
    const HEAD_BYTES: usize = if PAYLOAD { 2 } else { 1 };

    /// A segment with room for elements that take `needed` bytes, slots included.
    fn with_room(needed: usize) -> Self {
        let size = rounded(needed);
        Self {
            bytes: vec![0; size].into_boxed_slice(),
            arena: size as u16,
            ..Self::default()
        }
    }

    #[inline]
    pub(super) fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// Bytes that it holds.
    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.len()
            + self.outside.as_ref().map_or(0, |outside| {
                let longs: usize = outside.iter().map(|long| long.len()).sum();
                size_of::<Vec<Long>>() + outside.capacity() * size_of::<Long>() + longs
            })
    }

    /// Allocations that it holds.
    pub(super) fn effort(&self) -> usize {
        1 + self.outside.as_ref().map_or(0, |outside| outside.len())
    }

    /// The memory that a search reads first and last.
    pub(super) fn first_byte(&self) -> *const u8 {
        self.bytes.as_ptr()
    }

    #[inline]
    fn word(&self, at: usize) -> u16 {
        u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    #[inline]
    fn set_word(&mut self, at: usize, word: u16) {
        self.bytes[at..at + 2].copy_from_slice(&word.to_ne_bytes());
    }

    #[inline]
    fn offset(&self, slot: usize) -> usize {
        usize::from(self.word(tag_at(slot) + OFFSETS))
    }

    /// The element of a slot.
    #[inline]
    pub(super) fn element(&self, slot: usize) -> Element<'_> {
        assert!(slot < self.count());
        self.element_at(self.offset(slot))
    }

    #[inline]
    fn element_at(&self, at: usize) -> Element<'_> {
        let key_len = self.bytes[at];
        if key_len == OUTSIDE {
            let long = self.long(at);
            let (key, payload) = long[4..].split_at(long_key_len(long));
            return Element { key, payload };
        }
        let (key, rest) = self.bytes[at + Self::HEAD_BYTES..].split_at(usize::from(key_len));
        let payload = if PAYLOAD {
            &rest[..usize::from(self.bytes[at + 1])]
        } else {
            &[]
        };
        Element { key, payload }
    }

    #[cold]
    fn long(&self, at: usize) -> &[u8] {
        let index = usize::from(self.word(at + 1));
        &self.outside.as_ref().expect("it has elements outside")[index]
    }

    /// Bytes that an element takes of the arena.
    #[inline]
    fn span(&self, at: usize) -> usize {
        match self.bytes[at] {
            OUTSIDE => OUTSIDE_BYTES,
            key_len if PAYLOAD => 2 + usize::from(key_len) + usize::from(self.bytes[at + 1]),
            key_len => 1 + usize::from(key_len),
        }
    }

    /// The slot of a key.
    #[inline]
    pub(super) fn find(&self, tag: u16, key: &[u8]) -> Option<usize> {
        self.find_where(tag, |element| element.key == key)
    }

    /// The slot of an element with this tag that `accept` says is the one.
    #[inline]
    pub(super) fn find_where(
        &self,
        tag: u16,
        accept: impl Fn(Element<'_>) -> bool,
    ) -> Option<usize> {
        let groups = self.count().div_ceil(GROUP_SLOTS);
        for (group, bytes) in self.bytes.as_chunks::<GROUP_BYTES>().0[..groups]
            .iter()
            .enumerate()
        {
            let mut hits = tag_hits(bytes, tag);
            while hits != 0 {
                let slot = group * GROUP_SLOTS + hits.trailing_zeros() as usize;
                if slot >= self.count() {
                    break;
                }
                if accept(self.element_at(self.offset(slot))) {
                    return Some(slot);
                }
                hits &= hits - 1;
            }
        }
        None
    }

    /// Bytes in use: what a rebuilt segment needs.
    fn live_bytes(&self) -> usize {
        groups_bytes(self.count()) + self.live_arena()
    }

    /// Adds an element that is not there.
    #[inline]
    pub(super) fn insert(&mut self, tag: u16, element: Element<'_>) {
        let inside = Self::HEAD_BYTES + element.len();
        if element.len() > INSIDE_BYTES_MAX
            || self.live_bytes() + inside + GROUP_BYTES > SEGMENT_BYTES_MAX
        {
            return self.insert_outside(tag, element);
        }
        let at = self.take(inside);
        let (head, key) = (Self::HEAD_BYTES, element.key.len());
        let place = &mut self.bytes[at..at + inside];
        place[0] = key as u8;
        if PAYLOAD {
            place[1] = element.payload.len() as u8;
        }
        place[head..head + key].copy_from_slice(element.key);
        place[head + key..].copy_from_slice(element.payload);
        self.add_slot(tag, at);
    }

    #[cold]
    fn insert_outside(&mut self, tag: u16, element: Element<'_>) {
        let at = self.take(OUTSIDE_BYTES);
        let index = self.keep_outside(long(element));
        self.put_outside(at, index);
        self.add_slot(tag, at);
    }

    fn put_outside(&mut self, at: usize, index: u16) {
        self.bytes[at] = OUTSIDE;
        self.set_word(at + 1, index);
    }

    /// Keeps a long element; its index.
    fn keep_outside(&mut self, long: Long) -> u16 {
        let outside = self.outside.get_or_insert_default();
        let index = match outside.iter().position(|long| long.is_empty()) {
            Some(free) => {
                outside[free] = long;
                free
            }
            None => {
                outside.push(long);
                outside.len() - 1
            }
        };
        u16::try_from(index).expect("a segment has few elements")
    }

    /// Takes bytes of the arena, with room for one more slot; where they start.
    #[inline]
    fn take(&mut self, bytes: usize) -> usize {
        if groups_bytes(self.count() + 1) + bytes > usize::from(self.arena) {
            self.make_room(bytes);
        }
        self.arena -= bytes as u16;
        usize::from(self.arena)
    }

    /// Rebuilds the segment with room for so many bytes and a slot, and some.
    fn make_room(&mut self, bytes: usize) {
        let needed = groups_bytes(self.count() + 1) + self.live_arena() + bytes;
        self.resize(needed + needed / 32);
    }

    fn live_arena(&self) -> usize {
        self.bytes.len() - usize::from(self.arena) - usize::from(self.dead)
    }

    /// Rebuilds the segment in the size for so many bytes.
    fn resize(&mut self, needed: usize) {
        let mut new = Self::with_room(needed);
        let groups = groups_bytes(self.count());
        if self.dead == 0 {
            // All at once; the offsets move together.
            let shift = new.bytes.len().wrapping_sub(self.bytes.len()) as u16;
            let arena = usize::from(self.arena);
            new.arena = self.arena.wrapping_add(shift);
            let new_arena = usize::from(new.arena);
            assert!(groups <= new_arena && new_arena <= new.bytes.len());
            new.bytes[..groups].copy_from_slice(&self.bytes[..groups]);
            new.bytes[new_arena..].copy_from_slice(&self.bytes[arena..]);
            for group in new.bytes[..groups].as_chunks_mut::<GROUP_BYTES>().0 {
                for offset in group[OFFSETS..].as_chunks_mut::<2>().0 {
                    *offset = u16::from_ne_bytes(*offset)
                        .wrapping_add(shift)
                        .to_ne_bytes();
                }
            }
            new.count = self.count;
        } else {
            for slot in 0..self.count() {
                new.append_from(self, slot);
            }
        }
        new.outside = self.outside.take();
        *self = new;
    }

    /// Copies a slot of a segment whose elements outside are, or become, this one's.
    fn append_from(&mut self, from: &Self, slot: usize) {
        let at = from.offset(slot);
        let span = from.span(at);
        self.arena -= span as u16;
        let to = usize::from(self.arena);
        self.bytes[to..to + span].copy_from_slice(&from.bytes[at..at + span]);
        self.add_slot(from.word(tag_at(slot)), to);
    }

    #[inline]
    fn add_slot(&mut self, tag: u16, at: usize) {
        let slot = tag_at(self.count());
        self.set_word(slot, tag);
        self.set_word(slot + OFFSETS, at as u16);
        self.count += 1;
    }

    /// Forgets the bytes of an element, and frees what stands outside.
    #[inline]
    fn forget(&mut self, at: usize) {
        if self.bytes[at] == OUTSIDE {
            let index = usize::from(self.word(at + 1));
            let outside = self.outside.as_mut().expect("it has elements outside");
            outside[index] = Long::default();
            if outside.iter().all(|long| long.is_empty()) {
                self.outside = None;
            }
        }
        let span = self.span(at) as u16;
        if at == usize::from(self.arena) {
            self.arena += span;
        } else {
            self.dead += span;
        }
    }

    /// Removes the element of a slot.
    pub(super) fn remove(&mut self, slot: usize) {
        assert!(slot < self.count());
        self.forget(self.offset(slot));
        let last = self.count() - 1;
        let (tag, offset) = (self.word(tag_at(last)), self.word(tag_at(last) + OFFSETS));
        self.set_word(tag_at(slot), tag);
        self.set_word(tag_at(slot) + OFFSETS, offset);
        self.count -= 1;
        let live = self.live_bytes();
        if self.count == 0 {
            *self = Self::default();
        } else if live * 2 < self.bytes.len() && self.bytes.len() > SMALLEST {
            self.resize(live + live / 8);
        }
    }

    /// The payload of a slot, to be changed in place.
    pub(super) fn payload_mut(&mut self, slot: usize) -> &mut [u8] {
        assert!(PAYLOAD && slot < self.count());
        let at = self.offset(slot);
        let key_len = self.bytes[at];
        if key_len == OUTSIDE {
            let index = usize::from(self.word(at + 1));
            let long = &mut self.outside.as_mut().expect("it has elements outside")[index];
            let start = 4 + long_key_len(long);
            return &mut long[start..];
        }
        let start = at + Self::HEAD_BYTES + usize::from(key_len);
        let len = usize::from(self.bytes[at + 1]);
        &mut self.bytes[start..start + len]
    }

    /// Replaces the payload of a slot by one of another length; the key must be given.
    pub(super) fn replace(&mut self, slot: usize, element: Element<'_>) {
        assert!(PAYLOAD && slot < self.count());
        let at = self.offset(slot);
        if self.payload_mut(slot).len() == element.payload.len() {
            return self.payload_mut(slot).copy_from_slice(element.payload);
        }
        let tag = self.word(tag_at(slot));
        self.forget(at);
        // The slot that the new bytes get is the last one: it takes the old one's place.
        let last = self.count() - 1;
        for part in [0, OFFSETS] {
            let word = self.word(tag_at(last) + part);
            self.set_word(tag_at(slot) + part, word);
        }
        self.count -= 1;
        self.insert(tag, element);
    }

    /// Shares the elements out between this segment and a new one, which takes those that `goes` says.
    pub(super) fn split(&mut self, mut goes: impl FnMut(Element<'_>) -> bool) -> Self {
        if self.count == 0 {
            return Self::default();
        }
        let mut old = std::mem::take(self);
        let mut goes_there: SmallVec<[bool; SPLIT_USUAL]> = SmallVec::new();
        let (mut counts, mut bytes) = ([0; 2], [0; 2]);
        for slot in 0..old.count() {
            let at = old.offset(slot);
            let there = goes(old.element_at(at));
            goes_there.push(there);
            counts[usize::from(there)] += 1;
            bytes[usize::from(there)] += old.span(at);
        }
        let mut parts = [0, 1].map(|part| {
            if counts[part] == 0 {
                return Self::default();
            }
            // One more element fits at once.
            let needed = groups_bytes(counts[part] + 1) + bytes[part];
            Self::with_room(needed + needed / 32)
        });
        for (slot, there) in goes_there.iter().enumerate() {
            parts[usize::from(*there)].adopt(&mut old, slot);
        }
        let [stays, new] = parts;
        *self = stays;
        new
    }

    /// Takes a slot's element over, with what it has outside.
    fn adopt(&mut self, from: &mut Self, slot: usize) {
        self.append_from(from, slot);
        let at = usize::from(self.arena);
        if self.bytes[at] == OUTSIDE {
            let index = usize::from(self.word(at + 1));
            let outside = from.outside.as_mut().expect("it has elements outside");
            let long = std::mem::take(&mut outside[index]);
            let index = self.keep_outside(long);
            self.put_outside(at, index);
        }
    }

    /// Takes all elements of another segment over; false, and nothing is changed, if they are too many.
    pub(super) fn absorb(&mut self, other: &mut Self) -> bool {
        let count = self.count() + other.count();
        let needed = groups_bytes(count) + self.live_arena() + other.live_arena();
        if needed + needed / 32 > SEGMENT_BYTES_MAX {
            return false;
        }
        if other.count == 0 {
            return true;
        }
        self.resize(needed + needed / 32);
        for slot in 0..other.count() {
            self.adopt(other, slot);
        }
        *other = Self::default();
        true
    }

    /// Panics unless every rule of the head of this module holds; `tag_of` gives a key's tag.
    pub(super) fn verify(&self, tag_of: impl Fn(&[u8]) -> u16) {
        assert!(groups_bytes(self.count()) <= usize::from(self.arena));
        let mut spans = Vec::new();
        let mut outside = 0;
        for slot in 0..self.count() {
            let at = self.offset(slot);
            assert!(at >= usize::from(self.arena));
            spans.push((at, self.span(at)));
            outside += usize::from(self.bytes[at] == OUTSIDE);
            let element = self.element(slot);
            assert_eq!(self.word(tag_at(slot)), tag_of(element.key));
            assert!(PAYLOAD || element.payload.is_empty());
        }
        spans.sort_unstable();
        assert!(
            spans
                .windows(2)
                .all(|pair| pair[0].0 + pair[0].1 <= pair[1].0),
            "elements overlap"
        );
        let live: usize = spans.iter().map(|span| span.1).sum();
        assert_eq!(live, self.live_arena(), "dead bytes are miscounted");
        let kept = self
            .outside
            .as_ref()
            .map_or(0, |o| o.iter().filter(|long| !long.is_empty()).count());
        assert_eq!(kept, outside);
    }
}

/// Slots of a segment that splits; few have more.
const SPLIT_USUAL: usize = 96;

/// The slots of a group with this tag, one bit each.
#[inline]
fn tag_hits(group: &[u8; GROUP_BYTES], tag: u16) -> u32 {
    let (tags, _) = group[..OFFSETS].as_chunks::<2>();
    let mut hits = 0u16;
    for (slot, bytes) in tags.iter().enumerate() {
        let equal = u16::from(u16::from_ne_bytes(*bytes) == tag).wrapping_neg();
        hits |= equal & 1 << slot;
    }
    u32::from(hits)
}
