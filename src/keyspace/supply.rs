//! Chunks of memory that another thread has touched before a shard needs them.
//!
//! The first touch of fresh memory costs a fault for each page, and with huge pages one fault
//! clears 2 MiB: on a virtual machine that takes milliseconds, during which the shard would answer
//! nobody. So a shard that takes a chunk asks for the next, which a supplier's thread allocates and
//! touches meanwhile. A shard that grows faster than its supplier takes fresh memory as before.
#![expect(unsafe_code, reason = "chunks are raw memory that changes threads")]

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Chunks that may be ready or asked for.
const AHEAD: usize = 2;
/// The smallest page that a kernel maps.
const TOUCH_BYTES: usize = 4096;

/// Memory that has been touched and belongs to whoever holds it.
#[derive(Debug)]
pub(super) struct Touched {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the memory is referred to by nobody else.
unsafe impl Send for Touched {}

impl Touched {
    fn new(layout: Layout) -> Option<Self> {
        // SAFETY: chunks have a size.
        let start = NonNull::new(unsafe { alloc(layout) })?;
        for at in (0..layout.size()).step_by(TOUCH_BYTES) {
            // SAFETY: inside the allocation; volatile, since nobody reads it.
            unsafe { start.add(at).write_volatile(0) };
        }
        Some(Self { start, layout })
    }

    /// Hands the memory over; it is to be freed with the layout that was asked for.
    pub(super) fn into_start(self) -> NonNull<u8> {
        let start = self.start;
        std::mem::forget(self);
        start
    }
}

impl Drop for Touched {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and not handed over.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// A shard's end.
#[derive(Debug)]
pub struct Supply {
    wanted: SyncSender<Layout>,
    ready: Receiver<Touched>,
}

/// The other end, for a thread of its own.
#[derive(Debug)]
pub struct Supplier {
    wanted: Receiver<Layout>,
    ready: SyncSender<Touched>,
}

/// The two ends.
pub fn supply() -> (Supply, Supplier) {
    let (wanted, asked) = sync_channel(AHEAD);
    let (give, ready) = sync_channel(AHEAD);
    (
        Supply { wanted, ready },
        Supplier {
            wanted: asked,
            ready: give,
        },
    )
}

impl Supply {
    /// A chunk if one is ready; the next is asked for in any case.
    pub(super) fn take(&self, layout: Layout) -> Option<Touched> {
        let _ = self.wanted.try_send(layout); // full: enough are on their way
        self.ready.try_recv().ok()
    }
}

impl Supplier {
    /// Serves until the shard is gone.
    pub fn run(self) {
        while let Ok(layout) = self.wanted.recv() {
            let Some(chunk) = Touched::new(layout) else {
                continue;
            };
            if self.ready.send(chunk).is_err() {
                return;
            }
        }
    }
}
