//! What the process's allocator can be asked for besides memory.
//!
//! Left alone it gives back to the system what was freed a second ago, in whichever thread calls it
//! next, and not at all while nobody does: what a dataset that has gone had taken would stall a shard
//! for tens of milliseconds, or stay resident while a server is idle. So a server forbids it that
//! ([`purge_only_when_asked`]) and has a thread that nobody waits for ask.
#![expect(unsafe_code, reason = "the allocator's own interface is C")]

use std::ffi::{c_int, c_long};

/// `mi_option_purge_delay` of mimalloc.h, which the bindings do not name.
const PURGE_DELAY: c_int = 15;
/// Milliseconds after which the allocator would do it all the same: a year. A delay below zero has it
/// forget what was freed.
const NEVER_MS: c_long = 365 * 24 * 3600 * 1000;

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
