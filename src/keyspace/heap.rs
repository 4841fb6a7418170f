//! The memory of one shard's keyspace: entries and the tables' blocks, and the count of its bytes.
#![expect(
    unsafe_code,
    reason = "hands out raw memory for entries and table blocks"
)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::NonNull;

/// Entries start at multiples of this.
const ENTRY_ALIGN: usize = 8;
/// Table blocks are whole cache lines.
pub(super) const LINE_BYTES: usize = 64;

/// One shard's memory. It stays on its thread (it is neither Send nor Sync where it is shared
/// through an Rc); what leaves the shard is copied out of it first.
#[derive(Debug, Default)]
pub(super) struct Heap {
    used: Cell<usize>,
}

impl Heap {
    /// Bytes in use: what was handed out, rounded as it is allocated, and what was charged.
    pub(super) fn used_bytes(&self) -> usize {
        self.used.get()
    }

    /// The bytes that an allocation of `size` takes.
    #[inline]
    pub(super) fn good_size(size: usize) -> usize {
        size.next_multiple_of(ENTRY_ALIGN)
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
        self.allocate(layout(Self::good_size(size), ENTRY_ALIGN))
    }

    /// Gives an entry's memory back.
    ///
    /// # Safety
    /// `ptr` came from `alloc` of this heap with a size of the same `good_size`, and is not used again.
    #[inline]
    pub(super) unsafe fn free(&self, ptr: NonNull<u8>, size: usize) {
        // SAFETY: the caller's promise is ours.
        unsafe { self.deallocate(ptr, layout(Self::good_size(size), ENTRY_ALIGN)) }
    }

    /// Zeroed memory for `lines` cache lines, aligned to them.
    pub(super) fn alloc_lines(&self, lines: usize) -> NonNull<u64> {
        let ptr = self.allocate(layout(lines * LINE_BYTES, LINE_BYTES));
        // SAFETY: just allocated with that many bytes.
        unsafe { ptr.write_bytes(0, lines * LINE_BYTES) };
        ptr.cast()
    }

    /// Gives lines back.
    ///
    /// # Safety
    /// `ptr` came from `alloc_lines` of this heap with the same `lines`, and is not used again.
    pub(super) unsafe fn free_lines(&self, ptr: NonNull<u64>, lines: usize) {
        // SAFETY: the caller's promise is ours.
        unsafe { self.deallocate(ptr.cast(), layout(lines * LINE_BYTES, LINE_BYTES)) }
    }

    #[inline]
    fn allocate(&self, layout: Layout) -> NonNull<u8> {
        assert!(layout.size() > 0);
        // SAFETY: the size is not zero.
        let ptr = unsafe { alloc(layout) };
        self.used.set(self.used.get() + layout.size());
        NonNull::new(ptr).unwrap_or_else(|| handle_alloc_error(layout))
    }

    #[inline]
    unsafe fn deallocate(&self, ptr: NonNull<u8>, layout: Layout) {
        self.used.set(self.used.get() - layout.size());
        // SAFETY: the caller promises that this layout is the one of the allocation.
        unsafe { dealloc(ptr.as_ptr(), layout) }
    }
}

#[inline]
fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("sizes stay far below isize::MAX")
}
