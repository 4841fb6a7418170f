//! What the allocator can be asked for besides memory.
#![expect(unsafe_code, reason = "asks mimalloc, which is a C library")]

/// Gives the system back what the calling thread has freed and the allocator has kept. It walks
/// all pages of the thread: for when somebody asks for it, or a great deal has been freed.
pub fn give_back() {
    // SAFETY: it may be called by any thread at any time.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
