//! What the process's allocator does besides allocating.
#![expect(unsafe_code, reason = "the allocator's own interface is C")]

/// Gives back to the system what the calling thread has freed, and what it freed itself has aged.
/// The allocator does this only while it is being called, so what a table has outgrown would stay
/// resident while a server is idle. A few microseconds when there is nothing to give.
pub fn purge() {
    // SAFETY: it may be called by any thread at any time.
    unsafe { libmimalloc_sys::mi_collect(false) }
}
