//! The memory of one shard's keyspace: entries and the tables' nodes, and the count of its bytes.
//!
//! Entries and the tables' nodes up to 8 KiB come from [`Pages`] in exact classes: steps of 8 bytes
//! up to 256, of 32 up to 512, above in sizes that divide a page and leave nothing of it, as segments
//! do. What is larger comes from the process's allocator, and is counted as that rounds: four sizes to a
//! doubling. So no allocator has to be asked for a size on the way of a request.
//!
//! A class costs a page as soon as one entry has it, and an entry that grows passes through all of
//! them; a coarse class costs every entry of it. With these sizes from 257 bytes to 8 KiB lose 3.8 % on
//! average.
#![expect(
    unsafe_code,
    reason = "hands out raw memory for entries and table nodes"
)]

use super::pages::{Pages, USABLE_BYTES, WIDE, WIDE_USABLE_BYTES};
use super::segment;
use super::supply::Supply;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;

/// Entries start at multiples of this.
const ENTRY_ALIGN: usize = 8;
/// Table nodes are whole cache lines.
pub(super) const LINE_BYTES: usize = 64;

/// Up to here classes are 8 bytes apart.
const FINE_MAX: usize = 256;
/// Nothing is smaller than a header and a few bytes.
const SMALLEST: usize = 16;
const FINE_CLASSES: usize = (FINE_MAX - SMALLEST) / ENTRY_ALIGN + 1;
/// Up to here they are [`MIDDLE_STEP`] apart.
const MIDDLE_MAX: usize = 512;
const MIDDLE_STEP: usize = 32;
const MIDDLE_CLASSES: usize = (MIDDLE_MAX - FINE_MAX) / MIDDLE_STEP;
/// Above, a class's blocks fill a page: from so many blocks ...
const BLOCKS_MAX: usize = fewer_blocks(USABLE_BYTES / MIDDLE_MAX);
/// ... to so many, and larger ones ...
const BLOCKS_MIN: usize = 33;
const NARROW_CLASSES: usize = steps(BLOCKS_MAX, BLOCKS_MIN);
/// Largest entry in pages that are not wide.
const NARROW_MAX: usize = parted(USABLE_BYTES, BLOCKS_MIN);
/// ... a wide page, from so many ...
const WIDE_BLOCKS_MAX: usize = 63;
/// ... to so many: with fewer the steps would be coarser than the general allocator's.
const WIDE_BLOCKS_MIN: usize = 16;
const PARTED_CLASSES: usize = NARROW_CLASSES + steps(WIDE_BLOCKS_MAX, WIDE_BLOCKS_MIN);
/// Largest entry in pages.
const PAGED_MAX: usize = parted(WIDE_USABLE_BYTES, WIDE_BLOCKS_MIN);
const FIRST_PARTED_CLASS: usize = FINE_CLASSES + MIDDLE_CLASSES;
/// Segments' classes stand behind the entries', one for each number of lines.
const FIRST_SEGMENT_CLASS: usize = FIRST_PARTED_CLASS + PARTED_CLASSES;
const CLASSES: usize = FIRST_SEGMENT_CLASS + segment::LINES_MAX + 1;

/// Bytes of a block of each parted class.
static PARTED_BYTES: [u16; PARTED_CLASSES] = parted_bytes();
/// The parted class of each size above [`MIDDLE_MAX`], in steps of [`ENTRY_ALIGN`].
static PARTED: [u8; (PAGED_MAX - MIDDLE_MAX) / ENTRY_ALIGN] = parted_classes();

/// One shard's memory. It stays on its thread (it is neither Send nor Sync where it is shared
/// through an Rc); what leaves the shard is copied out of it first.
#[derive(Debug)]
pub(super) struct Heap {
    used: Cell<usize>,
    pages: RefCell<Pages>,
}

impl Default for Heap {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Heap {
    /// An empty heap, whose chunks come from `supply` where it has one ready.
    pub(super) fn new(supply: Option<Supply>) -> Self {
        Self {
            used: Cell::new(0),
            pages: RefCell::new(Pages::new(CLASSES, supply)),
        }
    }

    /// Bytes in use: what was handed out, rounded as it is allocated, and what was charged.
    pub(super) fn used_bytes(&self) -> usize {
        self.used.get()
    }

    /// Bytes of the pages that entries and segments stand in, their free blocks included.
    pub(super) fn paged_bytes(&self) -> usize {
        self.pages.borrow().held_bytes()
    }

    /// The bytes that an entry of `size` takes.
    #[inline]
    pub(super) fn good_size(size: usize) -> usize {
        if size <= FINE_MAX {
            size.next_multiple_of(ENTRY_ALIGN).max(SMALLEST)
        } else if size <= MIDDLE_MAX {
            size.next_multiple_of(MIDDLE_STEP)
        } else if size <= PAGED_MAX {
            usize::from(PARTED_BYTES[parted_class(size)])
        } else {
            size.next_multiple_of((1 << (size - 1).ilog2()) / 4)
        }
    }

    /// The class of an entry of that good size, up to [`PAGED_MAX`].
    #[inline]
    fn class(good: usize) -> usize {
        if good <= FINE_MAX {
            (good - SMALLEST) / ENTRY_ALIGN
        } else if good <= MIDDLE_MAX {
            FINE_CLASSES + (good - FINE_MAX) / MIDDLE_STEP - 1
        } else {
            FIRST_PARTED_CLASS + parted_class(good)
        }
    }

    /// Counts memory that objects hold elsewhere.
    pub(super) fn charge(&self, delta: isize) {
        let used = self.used.get().checked_add_signed(delta);
        self.used
            .set(used.expect("no more is given back than was charged"));
    }

    /// Memory for an entry, 8-byte aligned, not initialised.
    #[inline]
    pub(super) fn alloc(&self, size: usize) -> NonNull<u8> {
        let good = Self::good_size(size);
        if good > NARROW_MAX {
            return self.alloc_more(good);
        }
        self.used.set(self.used.get() + good);
        let class = Self::class(good);
        self.pages.borrow_mut().alloc::<1>(class, good)
    }

    fn alloc_more(&self, good: usize) -> NonNull<u8> {
        if good > PAGED_MAX {
            return self.allocate(layout(good, ENTRY_ALIGN));
        }
        self.used.set(self.used.get() + good);
        let class = Self::class(good);
        self.pages.borrow_mut().alloc::<WIDE>(class, good)
    }

    /// Gives an entry's memory back.
    ///
    /// # Safety
    /// `ptr` came from `alloc` of this heap with a size of the same `good_size`, and is not used again.
    #[inline]
    pub(super) unsafe fn free(&self, ptr: NonNull<u8>, size: usize) {
        let good = Self::good_size(size);
        if good > NARROW_MAX {
            // SAFETY: the caller's promise is ours.
            return unsafe { self.free_more(ptr, good) };
        }
        self.used.set(self.used.get() - good);
        // SAFETY: what is not larger came from the pages, and none of them is wide.
        unsafe { self.pages.borrow_mut().free::<1>(ptr) }
    }

    unsafe fn free_more(&self, ptr: NonNull<u8>, good: usize) {
        if good > PAGED_MAX {
            // SAFETY: the caller of `free` promises that the block is of this size.
            return unsafe { self.deallocate(ptr, layout(good, ENTRY_ALIGN)) };
        }
        self.used.set(self.used.get() - good);
        // SAFETY: what is not larger came from the pages, and what is larger than `NARROW_MAX` from
        // wide ones.
        unsafe { self.pages.borrow_mut().free::<WIDE>(ptr) }
    }

    /// Zeroed memory for `lines` cache lines, aligned to them: a segment, or a directory.
    pub(super) fn alloc_lines(&self, lines: usize) -> NonNull<u64> {
        let bytes = lines * LINE_BYTES;
        let ptr = if lines <= segment::LINES_MAX {
            self.used.set(self.used.get() + bytes);
            self.pages
                .borrow_mut()
                .alloc::<1>(FIRST_SEGMENT_CLASS + lines, bytes)
        } else {
            self.allocate(layout(bytes, LINE_BYTES))
        };
        // SAFETY: just allocated with that many bytes.
        unsafe { ptr.write_bytes(0, bytes) };
        ptr.cast()
    }

    /// Gives lines back.
    ///
    /// # Safety
    /// `ptr` came from `alloc_lines` of this heap with the same arguments, and is not used again.
    pub(super) unsafe fn free_lines(&self, ptr: NonNull<u64>, lines: usize) {
        let bytes = lines * LINE_BYTES;
        if lines <= segment::LINES_MAX {
            self.used.set(self.used.get() - bytes);
            // SAFETY: it came from the pages; none of the segments' is wide.
            unsafe { self.pages.borrow_mut().free::<1>(ptr.cast()) }
        } else {
            // SAFETY: the caller's promise is ours.
            unsafe { self.deallocate(ptr.cast(), layout(bytes, LINE_BYTES)) }
        }
    }

    #[cold]
    fn allocate(&self, layout: Layout) -> NonNull<u8> {
        assert!(layout.size() > 0);
        // SAFETY: the size is not zero.
        let ptr = unsafe { alloc(layout) };
        self.used.set(self.used.get() + layout.size());
        NonNull::new(ptr).unwrap_or_else(|| handle_alloc_error(layout))
    }

    #[cold]
    unsafe fn deallocate(&self, ptr: NonNull<u8>, layout: Layout) {
        self.used.set(self.used.get() - layout.size());
        // SAFETY: the caller promises that this layout is the one of the allocation.
        unsafe { dealloc(ptr.as_ptr(), layout) }
    }
}

/// The parted class of a size above [`MIDDLE_MAX`], up to [`PAGED_MAX`].
#[inline]
fn parted_class(size: usize) -> usize {
    usize::from(PARTED[(size - MIDDLE_MAX - 1) / ENTRY_ALIGN])
}

/// How many blocks a page holds of the class above the one of which it holds `blocks`: steps are of 3
/// to 6 %. Numbers up to 63 are odd, since a value of 1000 bytes with its key needs 63 of 1032 bytes.
const fn fewer_blocks(blocks: usize) -> usize {
    match blocks {
        64.. => blocks - 4,
        32.. => blocks - 2,
        _ => blocks - 1,
    }
}

/// Classes of at most and at least so many blocks.
const fn steps(mut most: usize, least: usize) -> usize {
    let mut steps = 1;
    while most > least {
        most = fewer_blocks(most);
        steps += 1;
    }
    steps
}

/// Bytes of a block of which so many have so much room.
const fn parted(room: usize, blocks: usize) -> usize {
    room / blocks / ENTRY_ALIGN * ENTRY_ALIGN
}

const fn parted_bytes() -> [u16; PARTED_CLASSES] {
    let mut bytes = [0; PARTED_CLASSES];
    let (mut class, mut blocks) = (0, BLOCKS_MAX);
    while class < PARTED_CLASSES {
        let room = if class < NARROW_CLASSES {
            USABLE_BYTES
        } else {
            WIDE_USABLE_BYTES
        };
        if class == NARROW_CLASSES {
            blocks = WIDE_BLOCKS_MAX;
        }
        bytes[class] = parted(room, blocks) as u16;
        blocks = fewer_blocks(blocks);
        class += 1;
    }
    bytes
}

const fn parted_classes() -> [u8; (PAGED_MAX - MIDDLE_MAX) / ENTRY_ALIGN] {
    let bytes = parted_bytes();
    let mut classes = [0; (PAGED_MAX - MIDDLE_MAX) / ENTRY_ALIGN];
    let (mut class, mut step) = (0, 0);
    while step < classes.len() {
        if MIDDLE_MAX + (step + 1) * ENTRY_ALIGN > bytes[class] as usize {
            class += 1;
        }
        classes[step] = class as u8;
        step += 1;
    }
    classes
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("sizes stay far below isize::MAX")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::pages::USABLE_BYTES;

    #[test]
    fn classes_are_numbered_without_gaps_and_hold_what_they_should() {
        let mut last = (0, 0);
        for size in 1..=PAGED_MAX {
            let good = Heap::good_size(size);
            let class = Heap::class(good);
            assert!(
                good >= size && good.is_multiple_of(ENTRY_ALIGN) && class < FIRST_SEGMENT_CLASS
            );
            assert!(
                size <= SMALLEST || good - size < 8.max(size / 7),
                "{size} takes {good}"
            );
            assert!((good, class) == last || (good > last.0 && class <= last.1 + 1));
            last = (good, class);
        }
        assert_eq!(last.1, FIRST_SEGMENT_CLASS - 1);
    }

    #[test]
    fn segments_fill_their_pages() {
        for count in 0..800 {
            let bytes = segment::lines_for(count) * LINE_BYTES;
            let lost = USABLE_BYTES % bytes;
            assert!(
                lost * 20 < USABLE_BYTES,
                "{bytes}: {lost} bytes of a page are lost"
            );
        }
    }
}
