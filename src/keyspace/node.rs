//! The nodes of a table, directories and segments, each named by one tagged word.
//!
//! | bits of the word | segment | directory |
//! | --- | --- | --- |
//! | 63 | 0 | 1 |
//! | 48..63 | cache lines | bits of position it decodes |
//! | 6..48 | address (nodes start on cache lines) | address |
//! | 0..6 | depth: leading bits of position that its entries share | 0 |
//!
//! So one load of a directory's word gives all that a lookup needs of the next node. A directory of
//! `b` bits is 2^b words and one more: how many of its words are deepest, that is, not shared with
//! the neighbour (at none, it halves).
#![expect(unsafe_code, reason = "words are addresses of nodes")]

use super::heap::{Heap, LINE_BYTES};
use super::segment::{HEADER_WORDS, LINE_WORDS, NEVER, TAG_BITS};

const DIRECTORY: u64 = 1 << 63;
const ADDRESS_MASK: u64 = (1 << 48) - LINE_BYTES as u64;
const DEPTH_MASK: u64 = LINE_BYTES as u64 - 1;

/// A node's word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Node(u64);

impl Node {
    /// A new, empty segment.
    pub(super) fn new_segment(heap: &Heap, lines: usize, depth: u32) -> Self {
        assert!(lines < 1 << 15 && u64::from(depth) <= DEPTH_MASK);
        let node = Self(address(heap, lines) | (lines as u64) << 48 | u64::from(depth));
        // SAFETY: just made; nobody else knows it.
        unsafe { node.words_mut()[1] = NEVER };
        node
    }

    /// A new directory of zeros.
    pub(super) fn new_directory(heap: &Heap, bits: u32) -> Self {
        Self(address(heap, directory_lines(bits)) | u64::from(bits) << 48 | DIRECTORY)
    }

    /// Gives its memory back; not that of the nodes below it.
    ///
    /// # Safety
    /// It was made with this heap, and nothing names it any more.
    pub(super) unsafe fn free(self, heap: &Heap) {
        let lines = if self.is_directory() {
            directory_lines(self.bits())
        } else {
            self.lines()
        };
        let ptr = std::ptr::NonNull::new(self.pointer()).expect("nodes have an address");
        // SAFETY: made by `alloc_lines` with that many lines; the rest is the caller's promise.
        unsafe { heap.free_lines(ptr, lines) }
    }

    /// The word, to be kept in a directory.
    #[inline]
    pub(super) fn word(self) -> u64 {
        self.0
    }

    /// The node of a directory's word.
    #[inline]
    pub(super) fn from_word(word: u64) -> Self {
        Self(word)
    }

    #[inline]
    pub(super) fn is_directory(self) -> bool {
        self.0 & DIRECTORY != 0
    }

    /// Bits that a directory decodes.
    #[inline]
    pub(super) fn bits(self) -> u32 {
        debug_assert!(self.is_directory());
        (self.0 >> 48 & 63) as u32
    }

    /// Cache lines of a segment.
    #[inline]
    pub(super) fn lines(self) -> usize {
        debug_assert!(!self.is_directory());
        (self.0 >> 48) as usize
    }

    /// Leading bits of position that a segment's entries share.
    #[inline]
    pub(super) fn depth(self) -> u32 {
        debug_assert!(!self.is_directory());
        (self.0 & DEPTH_MASK) as u32
    }

    /// The tag of a position in this segment.
    #[inline]
    pub(super) fn tag(self, pos: u64) -> u64 {
        pos << self.depth() >> (u64::BITS - TAG_BITS)
    }

    /// The word's index in this directory, of which `used` leading bits of the position stand above.
    #[inline]
    pub(super) fn index(self, pos: u64, used: u32) -> usize {
        // In two steps, since a directory may decode no bits at all.
        (pos << used >> 1 >> (u64::BITS - 1 - self.bits())) as usize
    }

    #[inline]
    fn pointer(self) -> *mut u64 {
        std::ptr::with_exposed_provenance_mut((self.0 & ADDRESS_MASK) as usize)
    }

    #[inline]
    fn len(self) -> usize {
        if self.is_directory() {
            (1 << self.bits()) + 1
        } else {
            self.lines() * LINE_WORDS
        }
    }

    /// Where a word of the node stands, for prefetching.
    #[inline]
    pub(super) fn word_pointer(self, index: usize) -> *const u64 {
        self.pointer().wrapping_add(index)
    }

    /// One word of a directory.
    ///
    /// # Safety
    /// The directory is alive, and the index one of its own.
    #[inline]
    pub(super) unsafe fn child(self, index: usize) -> Self {
        debug_assert!(index < 1 << self.bits());
        // SAFETY: the index is below the directory's length.
        Self(unsafe { self.pointer().add(index).read() })
    }

    /// All words.
    ///
    /// # Safety
    /// The node is alive, and not changed as long as the slice is used.
    #[inline]
    pub(super) unsafe fn words<'a>(self) -> &'a [u64] {
        // SAFETY: a live node has that many words.
        unsafe { std::slice::from_raw_parts(self.pointer(), self.len()) }
    }

    /// All words, for writing.
    ///
    /// # Safety
    /// The node is alive, and not used in another way as long as the slice is.
    #[inline]
    pub(super) unsafe fn words_mut<'a>(self) -> &'a mut [u64] {
        // SAFETY: a live node has that many words, and they are the caller's alone.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(), self.len()) }
    }

    /// The slots of a segment.
    ///
    /// # Safety
    /// As for `words`.
    #[inline]
    pub(super) unsafe fn slots<'a>(self) -> &'a [u64] {
        // SAFETY: the caller's promise is passed on.
        unsafe { &self.words()[HEADER_WORDS..] }
    }
}

fn directory_lines(bits: u32) -> usize {
    ((1usize << bits) + 1).div_ceil(LINE_WORDS)
}

fn address(heap: &Heap, lines: usize) -> u64 {
    let address = heap.alloc_lines(lines).as_ptr().expose_provenance() as u64;
    assert_eq!(
        address & !ADDRESS_MASK,
        0,
        "addresses are 48 bits, on cache lines"
    );
    address
}

/// Asks the processor for a cache line that will be read soon.
#[inline]
pub fn prefetch(address: *const u64) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch of any address is allowed.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}
