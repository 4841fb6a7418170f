//! Blocks of one size in pages of 64 or 128 KiB, pages in chunks: where short entries and segments
//! live.
//!
//! A general allocator rounds 88 bytes up to 96 and 56 to 64; entries are made in steps of 8 bytes
//! here and have no header, which is worth 8 to 10 bytes for each key. A page belongs to one size
//! class as long as a block of it is in use; an empty page goes back to its chunk, an empty chunk to
//! the system. Pages are taken in order, and touched by another thread before their turn
//! ([`super::supply`]). A class of large blocks has *wide* pages, two in one, of which the blocks' size
//! can be a finer part.
//!
//! | bytes of a page | what |
//! | --- | --- |
//! | 0..64 | [`PageHead`] |
//! | 64.. | blocks; a free one starts with the place of the next free one (u16, its offset in bytes, in a wide page in steps of 8; 0 at the end) |
#![expect(
    unsafe_code,
    reason = "an allocator: pages are raw memory, found by their blocks' addresses"
)]

use super::chunk::{CHUNK_BYTES, Chunk};
use super::supply::Supply;
use std::ptr::NonNull;

/// Bytes of a page, and what pages are aligned to.
pub(super) const PAGE_BYTES: usize = 64 * 1024;
/// How many times a page a wide one is.
pub(super) const WIDE: usize = 2;
const HEAD_BYTES: usize = 64;
/// Bytes of a page that blocks can have.
pub(super) const USABLE_BYTES: usize = PAGE_BYTES - HEAD_BYTES;
/// Bytes of a wide page that blocks can have.
pub(super) const WIDE_USABLE_BYTES: usize = WIDE * PAGE_BYTES - HEAD_BYTES;
/// Pages of a chunk.
const CHUNK_PAGES: usize = CHUNK_BYTES / PAGE_BYTES;
/// Pages that are touched ahead of need at once: 2 MiB, a huge page.
const STEP_PAGES: usize = 32;
const STEPS: usize = CHUNK_PAGES / STEP_PAGES;
/// Chunks for each step that is touched ahead. What is resident beyond what is used is small beside
/// a small dataset, and where much is written there is time to clear a page.
const CHUNKS_PER_STEP_AHEAD: usize = 32;
/// The page of a step at which a heap with fewer chunks has the next step touched: half a megabyte
/// before its end takes longer to fill than a huge page takes to clear.
const LATE_PAGE: usize = 24;
/// Pages that are touched ahead at once in a heap's first step. Small pages stand behind it, so that a
/// shard with a few keys, or one large collection, does not hold a huge page for them.
const SMALL_STEP_PAGES: usize = 4;

type PagePtr = NonNull<PageHead>;

/// What stands in front of a page's blocks.
#[derive(Debug)]
#[repr(C, align(64))]
struct PageHead {
    /// Neighbours in the list of its class's pages with room; both None when full or alone.
    next: Option<PagePtr>,
    prev: Option<PagePtr>,
    chunk: u32,
    class: u16,
    used: u16,
    /// Place of the first free block that was in use before; 0 if there is none.
    free: u16,
    /// Whether it stands in its class's list.
    listed: bool,
    /// 1, or [`WIDE`].
    pages: u8,
    /// Offset of the first block never used.
    fresh: u32,
    block_bytes: u32,
}
const _: () = assert!(size_of::<PageHead>() == HEAD_BYTES);

impl PageHead {
    #[inline]
    fn is_full<const PAGES: usize>(&self) -> bool {
        debug_assert_eq!(usize::from(self.pages), PAGES);
        self.free == 0 && (self.fresh + self.block_bytes) as usize > PAGES * PAGE_BYTES
    }
}

/// A chunk in use, or the place of one.
#[derive(Debug)]
struct Place {
    /// None once it was given back; its number is used again.
    chunk: Option<Chunk>,
    /// One bit for each free page.
    free: u128,
}

impl Place {
    /// The first free page; with `wide` the first of two that make a wide one.
    fn first(&self, wide: bool) -> Option<usize> {
        /// Every other page: a wide one is aligned to its size.
        const EVEN: u128 = u128::MAX / 3;
        let fit = if wide {
            self.free & self.free >> 1 & EVEN
        } else {
            self.free
        };
        (fit != 0).then(|| fit.trailing_zeros() as usize)
    }
}

const ALL_FREE: u128 = u128::MAX;
const _: () = assert!(CHUNK_PAGES == u128::BITS as usize);

/// The pages of a heap.
#[derive(Debug)]
pub(super) struct Pages {
    /// First page with room, for each class.
    with_room: Vec<Option<PagePtr>>,
    places: Vec<Place>,
    /// Chunks with free pages, the last one first.
    available: Vec<u32>,
    /// The next chunk, whose first pages are being touched.
    next: Option<Chunk>,
    /// Who touches pages ahead of need, if anybody does.
    supply: Option<Supply>,
}

impl Pages {
    pub(super) fn new(classes: usize, supply: Option<Supply>) -> Self {
        Self {
            with_room: vec![None; classes],
            places: Vec::new(),
            available: Vec::new(),
            next: None,
            supply,
        }
    }

    /// A block of the class; `bytes` is always the same for a class, and a multiple of 8, and so is
    /// `PAGES`: 1, or [`WIDE`].
    #[inline]
    pub(super) fn alloc<const PAGES: usize>(&mut self, class: usize, bytes: usize) -> NonNull<u8> {
        let mut page = match self.with_room[class] {
            Some(page) => page,
            None => self.new_page(class, bytes, PAGES),
        };
        // SAFETY: pages in the lists are alive, and &mut self holds them exclusively.
        let head = unsafe { page.as_mut() };
        let offset = if head.free != 0 {
            let offset = usize::from(head.free) * unit::<PAGES>();
            // SAFETY: the offset is of a free block, which starts with a u16.
            head.free = unsafe { page.cast::<u8>().add(offset).cast::<u16>().read() };
            offset
        } else {
            let offset = head.fresh as usize;
            head.fresh += head.block_bytes;
            offset
        };
        debug_assert!(offset >= HEAD_BYTES && offset + bytes <= PAGES * PAGE_BYTES);
        head.used += 1;
        if head.is_full::<PAGES>() {
            self.unlist(page);
        }
        // SAFETY: the block lies inside the page.
        unsafe { page.cast::<u8>().add(offset) }
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// It came from `alloc` of these pages, with the same `PAGES`, and is not used again.
    #[inline]
    pub(super) unsafe fn free<const PAGES: usize>(&mut self, block: NonNull<u8>) {
        let offset = block.as_ptr().addr() % (PAGES * PAGE_BYTES);
        // SAFETY: pages are aligned to their size, so this is the block's page.
        let mut page = unsafe { block.sub(offset).cast::<PageHead>() };
        // SAFETY: a page with a block in use is alive, and &mut self holds it exclusively.
        let head = unsafe { page.as_mut() };
        debug_assert!(head.used > 0);
        // SAFETY: the block is ours again, and every block has room for a u16.
        unsafe { block.cast::<u16>().write(head.free) };
        head.free = (offset / unit::<PAGES>()) as u16;
        head.used -= 1;
        if head.used == 0 {
            self.retire(page);
        } else if !head.listed {
            self.list(page);
        }
    }

    fn list(&mut self, mut page: PagePtr) {
        // SAFETY: the page is alive, and &mut self holds it exclusively.
        let head = unsafe { page.as_mut() };
        let first = &mut self.with_room[usize::from(head.class)];
        (head.next, head.prev, head.listed) = (*first, None, true);
        if let Some(mut next) = *first {
            // SAFETY: another page of the list, alive.
            unsafe { next.as_mut() }.prev = Some(page);
        }
        *first = Some(page);
    }

    fn unlist(&mut self, mut page: PagePtr) {
        // SAFETY: the page is alive, and &mut self holds it exclusively.
        let head = unsafe { page.as_mut() };
        assert!(head.listed);
        let (next, prev) = (head.next.take(), head.prev.take());
        head.listed = false;
        match prev {
            // SAFETY: another page of the list, alive.
            Some(mut prev) => unsafe { prev.as_mut() }.next = next,
            None => self.with_room[usize::from(head.class)] = next,
        }
        if let Some(mut next) = next {
            // SAFETY: another page of the list, alive.
            unsafe { next.as_mut() }.prev = prev;
        }
    }

    #[cold]
    fn new_page(&mut self, class: usize, bytes: usize, pages: usize) -> PagePtr {
        assert!(bytes.is_multiple_of(8) && bytes <= pages * PAGE_BYTES - HEAD_BYTES);
        let (number, index) = self.find_free(pages > 1);
        let place = &mut self.places[number as usize];
        let taken = page_bits(pages, index);
        assert_eq!(place.free & taken, taken);
        place.free &= !taken;
        if place.free == 0 {
            self.available.retain(|n| *n != number);
        }
        let start = place
            .chunk
            .as_ref()
            .expect("available chunks are there")
            .start();
        self.touch_ahead(number, start, index);
        let page = page_of(start, index).cast::<PageHead>();
        let head = PageHead {
            next: None,
            prev: None,
            chunk: number,
            class: class as u16,
            used: 0,
            free: 0,
            listed: false,
            pages: pages as u8,
            fresh: HEAD_BYTES as u32,
            block_bytes: bytes as u32,
        };
        // SAFETY: the page is free, aligned and large enough.
        unsafe { page.write(head) };
        self.list(page);
        page
    }

    /// A free page of the chunk that became available last, or the first of two: its chunk's number,
    /// and its own there.
    fn find_free(&mut self, wide: bool) -> (u32, usize) {
        /// Chunks that are searched for two pages; where single ones are left over in so many, a new
        /// chunk does not add much to them.
        const LOOKED_AT_MAX: usize = 16;
        let places = &self.places;
        let last = self.available.iter().rev().take(LOOKED_AT_MAX);
        let found = last
            .filter_map(|&number| Some((number, places[number as usize].first(wide)?)))
            .next();
        found.unwrap_or_else(|| (self.new_chunk(), 0))
    }

    /// An empty page goes back to its chunk, and the chunk, if that is empty and another has free
    /// pages, to the system.
    #[cold]
    fn retire(&mut self, page: PagePtr) {
        // SAFETY: the page is alive until here.
        let head = unsafe { page.as_ref() };
        let (number, listed, pages) = (head.chunk, head.listed, usize::from(head.pages));
        if listed {
            self.unlist(page);
        }
        let place = &mut self.places[number as usize];
        let start = place.chunk.as_ref().expect("it has a page in use").start();
        let index = (page.as_ptr().addr() - start.as_ptr().addr()) / PAGE_BYTES;
        if place.free == 0 {
            self.available.push(number);
        }
        place.free |= page_bits(pages, index);
        // One empty chunk stays, so that an entry coming and going does not make and free chunks.
        if place.free == ALL_FREE && self.available.len() > 1 {
            let empty = place.chunk.take();
            self.available.retain(|n| *n != number);
            if let Some((supply, empty)) = self.supply.as_ref().zip(empty) {
                supply.unmap(empty);
            }
        }
    }

    /// At the beginning of a step, or late in it where the heap is small, has one that comes later
    /// touched, of this chunk or of the next.
    fn touch_ahead(&mut self, number: u32, chunk: NonNull<u8>, page: usize) {
        let Some(supply) = &self.supply else { return };
        if number == 0 && page.is_multiple_of(SMALL_STEP_PAGES) {
            let next = page + SMALL_STEP_PAGES;
            if next < STEP_PAGES {
                supply.touch(page_of(chunk, next), SMALL_STEP_PAGES * PAGE_BYTES);
            }
        }
        let is_small = self.places.len() < CHUNKS_PER_STEP_AHEAD;
        if page % STEP_PAGES != if is_small { LATE_PAGE } else { 0 } {
            return;
        }
        let ahead = (self.places.len() / CHUNKS_PER_STEP_AHEAD).clamp(1, STEPS - 1);
        let (chunk, step) = match page / STEP_PAGES + ahead {
            step @ ..STEPS => (chunk, step),
            _ if self.available.len() > 1 => return,
            step => {
                let next = self.next.get_or_insert_with(|| supply.chunk());
                (next.start(), step - STEPS)
            }
        };
        let start = page_of(chunk, step * STEP_PAGES);
        supply.touch(start, STEP_PAGES * PAGE_BYTES);
    }

    fn new_chunk(&mut self) -> u32 {
        let chunk = self.next.take().unwrap_or_else(Chunk::map);
        if self.places.is_empty() {
            chunk.begin_small();
        }
        let place = Place {
            chunk: Some(chunk),
            free: ALL_FREE,
        };
        let number = match self.places.iter().position(|p| p.chunk.is_none()) {
            Some(number) => {
                self.places[number] = place;
                number
            }
            None => {
                self.places.push(place);
                self.places.len() - 1
            }
        };
        self.available.push(number as u32);
        number as u32
    }

    /// Bytes of all pages that hold a block in use.
    pub(super) fn held_bytes(&self) -> usize {
        let used = |p: &Place| (ALL_FREE & !p.free).count_ones() as usize;
        self.places
            .iter()
            .filter(|p| p.chunk.is_some())
            .map(used)
            .sum::<usize>()
            * PAGE_BYTES
    }
}

/// Bytes of a step in which a block's place in a page is counted.
const fn unit<const PAGES: usize>() -> usize {
    if PAGES == 1 { 1 } else { 8 }
}

/// The bits of one page or of two in a chunk.
fn page_bits(pages: usize, index: usize) -> u128 {
    ((1 << pages) - 1) << index
}

/// Where a page of a chunk starts.
fn page_of(chunk: NonNull<u8>, page: usize) -> NonNull<u8> {
    assert!(page < CHUNK_PAGES);
    // SAFETY: the page lies inside the chunk.
    unsafe { chunk.add(page * PAGE_BYTES) }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let in_use = |p: &Place| p.chunk.is_some() && p.free != ALL_FREE;
        assert!(!self.places.iter().any(in_use), "a block outlives its heap");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_do_not_overlap_and_pages_go_back() {
        let mut pages = Pages::new(4, None);
        let sizes = [16usize, 88, 7232, 2568];
        const WIDE_CLASS: usize = 3;
        let mut blocks: Vec<(NonNull<u8>, usize, u8)> = Vec::new();
        let mut state = 7u64;
        let steps = if cfg!(miri) { 500 } else { 50_000 };
        for step in 0..steps {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let random = (state >> 33) as usize;
            if random % 5 < 3 {
                let class = random / 5 % 4;
                let block = match class {
                    WIDE_CLASS => pages.alloc::<WIDE>(class, sizes[class]),
                    _ => pages.alloc::<1>(class, sizes[class]),
                };
                // SAFETY: the block has that many bytes.
                unsafe { block.write_bytes(step as u8, sizes[class]) };
                blocks.push((block, sizes[class], step as u8));
            } else if !blocks.is_empty() {
                let (block, size, mark) = blocks.swap_remove(random / 5 % blocks.len());
                // SAFETY: the block is in use and was filled with its mark.
                let bytes = unsafe { NonNull::slice_from_raw_parts(block, size).as_ref() };
                assert!(bytes.iter().all(|b| *b == mark));
                // SAFETY: it is not used again.
                unsafe { give_back(&mut pages, block, size) };
            }
        }
        assert!(pages.held_bytes() > 0);
        for (block, size, _) in blocks {
            // SAFETY: it is not used again.
            unsafe { give_back(&mut pages, block, size) };
        }
        assert_eq!(pages.held_bytes(), 0);
    }
    /// # Safety
    /// The block is in use, of that size, and not used again.
    unsafe fn give_back(pages: &mut Pages, block: NonNull<u8>, size: usize) {
        if size == 2568 {
            // SAFETY: the caller's promise; this size has wide pages.
            unsafe { pages.free::<WIDE>(block) }
        } else {
            // SAFETY: the caller's promise.
            unsafe { pages.free::<1>(block) }
        }
    }

    #[test]
    fn single_pages_are_no_wide_one() {
        let mut place = Place {
            chunk: None,
            free: 0b0110,
        };
        assert_eq!((place.first(false), place.first(true)), (Some(1), None));
        place.free |= 0b1_1000;
        assert_eq!((place.first(false), place.first(true)), (Some(1), Some(2)));
        assert_eq!(page_bits(WIDE, 2), 0b1100);
        place.free = 0;
        assert_eq!((place.first(false), place.first(true)), (None, None));
    }
}
