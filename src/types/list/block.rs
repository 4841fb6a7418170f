//! A block of a large list: packed elements with room at both ends.
//!
//! | bytes | what |
//! | --- | --- |
//! | ..start | free |
//! | start..end | a [packed] block, head and elements |
//! | end.. | free |
//!
//! What changes at an end moves nothing but the head's two bytes; in the middle, the shorter side
//! moves.

use crate::types::packed::{self, Block, Element, Packed};

/// Bytes of packed elements that a block has at most, unless a single one is longer.
pub(super) const BLOCK_BYTES_MAX: usize = 4096;
const SMALLEST: usize = 64;

/// See the head of the module.
#[derive(Clone, Debug)]
pub(super) struct ListBlock {
    bytes: Box<[u8]>,
    start: u32,
    end: u32,
}

/// The allocator's next size.
fn rounded(bytes: usize) -> usize {
    let bytes = bytes.max(SMALLEST);
    bytes.next_multiple_of((1 << (bytes - 1).ilog2()) / 4)
}

impl ListBlock {
    /// The block with these packed bytes.
    pub(super) fn of(packed: &[u8]) -> Self {
        let mut bytes = vec![0; rounded(packed.len())].into_boxed_slice();
        bytes[..packed.len()].copy_from_slice(packed);
        Self {
            bytes,
            start: 0,
            end: packed.len() as u32,
        }
    }

    /// An empty block.
    pub(super) fn new() -> Self {
        Self::of(&packed::EMPTY)
    }

    /// Its elements.
    #[inline]
    pub(super) fn packed(&self) -> Packed<'_> {
        Packed::new(&self.bytes[self.start as usize..self.end as usize])
    }

    #[inline]
    fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Number of elements.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.packed().len()
    }

    /// Bytes that it holds.
    #[inline]
    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether one more element fits.
    #[inline]
    pub(super) fn has_room(&self, element: &Element<'_>) -> bool {
        self.len() + element.packed_bytes() <= BLOCK_BYTES_MAX || self.count() == 0
    }

    /// Whether an element fits in the place of the one at an offset.
    pub(super) fn has_room_instead(&self, at: usize, element: &Element<'_>) -> bool {
        let goes = self.packed().next(at) - at;
        self.len() - goes + element.packed_bytes() <= BLOCK_BYTES_MAX || self.count() == 1
    }

    /// Whether it and another one are small enough to be one block.
    pub(super) fn merges_with(&self, other: &Self) -> bool {
        self.len() + other.len() <= BLOCK_BYTES_MAX / 2
    }

    /// Takes the elements of the block behind it over.
    pub(super) fn absorb(&mut self, other: &Self) {
        let more = &other.packed().bytes()[packed::HEAD_BYTES..];
        let count = self.count() + other.count();
        let at = self.len();
        self.splice(at, 0, more.len()).copy_from_slice(more);
        self.set_count(count);
    }

    fn set_count(&mut self, count: usize) {
        assert!(count <= packed::COUNT_MAX);
        self.block_mut()[..packed::HEAD_BYTES].copy_from_slice(&(count as u16).to_le_bytes());
    }

    /// Cuts it in two in front of the element at an offset; the second part.
    pub(super) fn split(&mut self, at: usize) -> Self {
        let packed = self.packed();
        let behind = packed.iter_between(at, packed.end()).count();
        let mut second = packed::EMPTY.to_vec();
        second.extend_from_slice(&packed.bytes()[at..]);
        let mut second = Self::of(&second);
        second.set_count(behind);
        let before = self.count() - behind;
        self.end = self.start + at as u32;
        self.set_count(before);
        self.fit();
        second
    }

    /// Gives spare room back if it is most of the buffer.
    pub(super) fn give_back(&mut self) {
        if rounded(self.len()) <= self.bytes.len() / 2 {
            self.fit();
        }
    }

    /// Gives spare room back.
    pub(super) fn fit(&mut self) {
        if rounded(self.len()) < self.bytes.len() {
            *self = Self::of(self.packed().bytes());
        }
    }

    /// Makes a larger buffer whose spare room is where `at` is nearer to.
    fn grow(&mut self, at: usize, more: usize) {
        let len = self.len();
        let needed = len + more;
        // Half as much again, as long as elements are short.
        let size = rounded(needed + (needed / 2).min(BLOCK_BYTES_MAX.saturating_sub(needed)));
        let mut bytes = vec![0; size].into_boxed_slice();
        let start = if at < len / 2 { size - len } else { 0 };
        bytes[start..start + len].copy_from_slice(self.packed().bytes());
        *self = Self {
            bytes,
            start: start as u32,
            end: (start + len) as u32,
        };
    }
}

impl Block for ListBlock {
    fn block(&self) -> &[u8] {
        &self.bytes[self.start as usize..self.end as usize]
    }

    fn block_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start as usize..self.end as usize]
    }

    #[inline]
    fn splice(&mut self, at: usize, remove: usize, insert: usize) -> &mut [u8] {
        let (mut start, mut end) = (self.start as usize, self.end as usize);
        let len = end - start;
        let more = insert.saturating_sub(remove);
        let front = at < len / 2;
        if more > if front { start } else { self.bytes.len() - end } {
            self.grow(at, more);
            (start, end) = (self.start as usize, self.end as usize);
        }
        if front {
            let new_start = start + remove - insert.min(start + remove);
            self.bytes.copy_within(start..start + at, new_start);
            start = new_start;
        } else {
            let tail = start + at + remove;
            self.bytes.copy_within(tail..end, start + at + insert);
            end = end + insert - remove;
        }
        (self.start, self.end) = (start as u32, end as u32);
        &mut self.bytes[start + at..start + at + insert]
    }
}
