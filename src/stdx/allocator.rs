//! The process's allocator: how memory is asked for, and what else it can be asked.
//!
//! All blocks of mimalloc of 16 bytes and more are aligned to 16, which is all that nearly everything
//! needs. Its functions that take an alignment do not rely on that: above a KiB they ask for a block
//! that is larger by the alignment, and so whatever fills a size class takes the next one, up to a
//! quarter more. [`Mimalloc`] uses them for greater alignments only.
//!
//! Left alone it gives back to the system what was freed a second ago, in whichever thread calls it
//! next, and not at all while nobody does: what a dataset that has gone had taken would stall a shard
//! for tens of milliseconds, or stay resident while a server is idle. So a server forbids it that
//! ([`purge_only_when_asked`]) and has a thread that nobody waits for ask.
#![expect(unsafe_code, reason = "the allocator's own interface is C")]

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::{c_int, c_long};

/// To what blocks that are not smaller are aligned: `MI_MAX_ALIGN_SIZE` of mimalloc's types.h.
const ALIGNED_ANYWAY: usize = 16;

/// `mi_option_purge_delay` of mimalloc.h, which the bindings do not name.
const PURGE_DELAY: c_int = 15;
/// Milliseconds after which the allocator would do it all the same: a year. A delay below zero has it
/// forget what was freed.
const NEVER_MS: c_long = 365 * 24 * 3600 * 1000;

/// The allocator of programs that serve or measure.
#[derive(Debug)]
pub struct Mimalloc;

/// Whether any block of this size is aligned as the layout says.
#[inline]
fn is_aligned_anyway(size: usize, align: usize) -> bool {
    align <= ALIGNED_ANYWAY && align <= size
}

// SAFETY: mimalloc's blocks have the size and the alignment that they were asked for, stay until
// they are freed, and a failure is a null pointer; no function of it unwinds.
unsafe impl GlobalAlloc for Mimalloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        if is_aligned_anyway(size, align) {
            // SAFETY: it may be called with any size.
            unsafe { libmimalloc_sys::mi_malloc(size) }.cast()
        } else {
            // SAFETY: a layout's alignment is a power of two.
            unsafe { libmimalloc_sys::mi_malloc_aligned(size, align) }.cast()
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        if is_aligned_anyway(size, align) {
            // SAFETY: it may be called with any size.
            unsafe { libmimalloc_sys::mi_zalloc(size) }.cast()
        } else {
            // SAFETY: a layout's alignment is a power of two.
            unsafe { libmimalloc_sys::mi_zalloc_aligned(size, align) }.cast()
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller promises that the block is one of this allocator, and in use.
        unsafe { libmimalloc_sys::mi_free(block.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if is_aligned_anyway(size, layout.align()) {
            // SAFETY: the caller promises that the block is one of this allocator, and in use.
            unsafe { libmimalloc_sys::mi_realloc(block.cast(), size) }.cast()
        } else {
            // SAFETY: the same; and a layout's alignment is a power of two.
            unsafe { libmimalloc_sys::mi_realloc_aligned(block.cast(), size, layout.align()) }
                .cast()
        }
    }
}

/// From now on memory goes back to the system in [`purge_all`] alone. To be called before there are
/// threads. Who has set MIMALLOC_PURGE_DELAY keeps that.
pub fn purge_only_when_asked() {
    // SAFETY: it may be called at any time by the only thread.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, NEVER_MS) }
}

/// Makes what the calling thread has freed fit for other uses, or for being given back. It walks the
/// thread's pages: a few microseconds when there is little, milliseconds for each GiB of small
/// objects.
pub fn collect() {
    // SAFETY: it may be called by any thread at any time.
    unsafe { libmimalloc_sys::mi_collect(false) }
}

/// Gives back to the system what the process has freed: tens of milliseconds for each GiB.
pub fn purge_all() {
    // SAFETY: it may be called by any thread at any time.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_and_as_large_as_their_class() {
        for size in (1..2000).chain([4096, 10_240, 16_384, 20_480, 100_000]) {
            for align in [1, 2, 4, 8, 16, 32, 64, 4096] {
                let layout = Layout::from_size_align(size, align).expect("small");
                // SAFETY: the size is not zero.
                let block = unsafe { Mimalloc.alloc_zeroed(layout) };
                assert!(!block.is_null() && block.addr().is_multiple_of(align));
                // SAFETY: the block is in use, with that layout.
                let block = unsafe { Mimalloc.realloc(block, layout, 2 * size) };
                assert!(!block.is_null() && block.addr().is_multiple_of(align));
                let layout = Layout::from_size_align(2 * size, align).expect("small");
                // SAFETY: the block is in use, with that layout.
                unsafe { Mimalloc.dealloc(block, layout) };
            }
        }
        for size in [1280, 10_240, 16_384, 57_344] {
            let layout = Layout::from_size_align(size, 8).expect("small");
            // SAFETY: the size is not zero.
            let block = unsafe { Mimalloc.alloc(layout) };
            // SAFETY: the block is in use.
            let usable = unsafe { libmimalloc_sys::mi_usable_size(block.cast()) };
            assert_eq!(usable, size, "a size that is a class takes no more");
            // SAFETY: the block is in use, with that layout.
            unsafe { Mimalloc.dealloc(block, layout) };
        }
    }
}
