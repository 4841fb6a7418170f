//! A chunk: memory from the kernel for the pages of a heap.
//!
//! It is mapped apart from the process's allocator, which would write a head of its own into each
//! chunk and so have the shard wait while the kernel clears 2 MiB for it.
#![expect(
    unsafe_code,
    reason = "memory is mapped and made present by system calls"
)]

use std::alloc::{Layout, handle_alloc_error};
use std::ptr::NonNull;

/// Bytes of a chunk: four huge pages.
pub(super) const CHUNK_BYTES: usize = 8 << 20;
/// Bytes of a huge page, and what a chunk is aligned to.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// The only owner of a chunk.
#[derive(Debug)]
pub(super) struct Chunk(NonNull<u8>);

// SAFETY: the memory belongs to whoever has the chunk.
unsafe impl Send for Chunk {}

impl Chunk {
    /// Address space for a chunk; there is no memory behind it until it is touched.
    pub(super) fn map() -> Self {
        let layout = Layout::from_size_align(CHUNK_BYTES, HUGE_PAGE_BYTES).expect("fixed sizes");
        // A kernel that does not align large mappings by itself is asked for more than is needed.
        let start = map(CHUNK_BYTES)
            .and_then(|start| match start.as_ptr().addr() % HUGE_PAGE_BYTES {
                0 => Some(start),
                _ => {
                    unmap(start, CHUNK_BYTES);
                    map_aligned()
                }
            })
            .unwrap_or_else(|| handle_alloc_error(layout));
        // SAFETY: a hint for memory of ours; where it is not heard, pages are small.
        unsafe { libc::madvise(start.as_ptr().cast(), CHUNK_BYTES, libc::MADV_HUGEPAGE) };
        Self(start)
    }

    /// Has small pages stand behind the first huge page's place.
    pub(super) fn begin_small(&self) {
        let start = self.0.as_ptr().cast();
        // SAFETY: a hint for memory of ours; where it is not heard, the page is huge.
        unsafe { libc::madvise(start, HUGE_PAGE_BYTES, libc::MADV_NOHUGEPAGE) };
    }

    /// The first byte; the memory reads as zeros at first.
    pub(super) fn start(&self) -> NonNull<u8> {
        self.0
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        unmap(self.0, CHUNK_BYTES);
    }
}

fn map(bytes: usize) -> Option<NonNull<u8>> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, which touches no other.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, kind, -1, 0) };
    match start {
        libc::MAP_FAILED => None,
        start => NonNull::new(start.cast()),
    }
}

fn map_aligned() -> Option<NonNull<u8>> {
    let bytes = CHUNK_BYTES + HUGE_PAGE_BYTES;
    let all = map(bytes)?;
    let before = all.as_ptr().align_offset(HUGE_PAGE_BYTES);
    // SAFETY: less than a huge page into a mapping that has one to spare.
    let start = unsafe { all.add(before) };
    if before > 0 {
        unmap(all, before);
    }
    // SAFETY: the chunk ends inside the mapping, since `before` is less than a huge page.
    let end = unsafe { start.add(CHUNK_BYTES) };
    unmap(end, HUGE_PAGE_BYTES - before);
    Some(start)
}

/// Gives whole pages of a mapping of ours back.
fn unmap(start: NonNull<u8>, bytes: usize) {
    // SAFETY: callers own the range, and nothing refers to it any more.
    let done = unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
    // Where the kernel cannot split a mapping, the rest of it stays.
    debug_assert_eq!(done, 0);
}

/// Has the kernel back a range with memory as a write would; what stands in it stays.
pub(super) fn make_present(start: usize, bytes: usize) {
    let start = std::ptr::without_provenance_mut(start);
    // SAFETY: it reads and writes nothing. Where the shard has given the range back meanwhile, it is
    // present for whoever has it now, or the call fails, as it does on a kernel that does not know it.
    unsafe { libc::madvise(start, bytes, libc::MADV_POPULATE_WRITE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_aligned_zero_and_can_be_written() {
        for chunk in [Chunk::map(), Chunk(map_aligned().expect("address space"))] {
            let start = chunk.start();
            assert_eq!(start.as_ptr().addr() % HUGE_PAGE_BYTES, 0);
            make_present(start.as_ptr().addr(), HUGE_PAGE_BYTES);
            for at in [0, HUGE_PAGE_BYTES, CHUNK_BYTES - 1] {
                // SAFETY: inside the chunk.
                let byte = unsafe { start.add(at) };
                // SAFETY: ours, mapped, and zero at first.
                assert_eq!(unsafe { byte.read() }, 0);
                // SAFETY: the same.
                unsafe { byte.write(7) };
            }
        }
    }
}
