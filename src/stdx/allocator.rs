//! What the process's allocator can be asked for besides memory. It gives back to the system what
//! was freed only while it is being called, so that what a table has outgrown, or a dataset that has
//! gone, would stay resident while a server is idle.
#![expect(unsafe_code, reason = "the allocator's own interface is C")]

/// Gives back what the calling thread has freed and what has aged since. It walks the thread's pages:
/// a few microseconds when there is little, milliseconds for each GiB of small objects.
pub fn purge() {
    // SAFETY: it may be called by any thread at any time.
    unsafe { libmimalloc_sys::mi_collect(false) }
}

/// The same, however short ago it was freed: for when somebody asks for it, or a great deal has been
/// freed.
pub fn purge_all() {
    // SAFETY: it may be called by any thread at any time.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
