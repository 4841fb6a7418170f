//! Chunks of memory that another thread has touched before a shard needs them.
//!
//! The first touch of fresh memory costs a fault for each page, and with huge pages one fault
//! clears 2 MiB: on a virtual machine that takes milliseconds, during which the shard would answer
//! nobody. So a shard that takes a chunk asks for the next, which a supplier's thread allocates and
//! touches meanwhile. A shard that grows faster than its supplier takes fresh memory as before. The
//! supplier's thread gives way to all others: on a core that a shard keeps busy, touching a chunk of
//! 8 MiB in one go would be the stall that it is there to prevent.
#![expect(unsafe_code, reason = "chunks are raw memory that changes threads")]

use bytes::Bytes;
use std::alloc::{Layout, alloc, dealloc};
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Chunks that may be ready or asked for.
const AHEAD: usize = 2;
/// Jobs that may wait for the supplier.
const JOBS_MAX: usize = 64;
/// Values of at least this many bytes are freed by the supplier.
pub(super) const DISPOSE_MIN: usize = 1 << 20;
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

/// What a shard asks its supplier for.
#[derive(Debug)]
enum Job {
    /// Another chunk.
    Chunk(Layout),
    /// To free a large value: giving hundreds of MiB back to the kernel takes milliseconds, too.
    Free(Bytes),
}

/// A shard's end.
#[derive(Debug)]
pub struct Supply {
    jobs: SyncSender<Job>,
    ready: Receiver<Touched>,
    /// Chunks asked for and not taken.
    asked: Cell<usize>,
}

/// A shard's way to have large values freed elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Disposer(SyncSender<Job>);

/// The other end, for a thread of its own.
#[derive(Debug)]
pub struct Supplier {
    jobs: Receiver<Job>,
    ready: SyncSender<Touched>,
}

/// The two ends.
pub fn supply() -> (Supply, Supplier) {
    let (jobs, asked) = sync_channel(JOBS_MAX);
    let (give, ready) = sync_channel(AHEAD);
    let supply = Supply {
        jobs,
        ready,
        asked: Cell::new(0),
    };
    (
        supply,
        Supplier {
            jobs: asked,
            ready: give,
        },
    )
}

impl Supply {
    /// A chunk if one is ready; the next is asked for in any case.
    pub(super) fn take(&self, layout: Layout) -> Option<Touched> {
        let taken = self.ready.try_recv().ok();
        let waiting = self.asked.get() - usize::from(taken.is_some());
        let asked = waiting < AHEAD && self.jobs.try_send(Job::Chunk(layout)).is_ok();
        self.asked.set(waiting + usize::from(asked));
        taken
    }

    pub(super) fn disposer(&self) -> Disposer {
        Disposer(self.jobs.clone())
    }
}

impl Disposer {
    /// Frees a value elsewhere; here, if the supplier is far behind.
    pub(super) fn free(&self, bytes: Bytes) {
        let _ = self.0.try_send(Job::Free(bytes));
    }
}

impl Supplier {
    /// Serves until the shard is gone.
    pub fn run(self) {
        while let Ok(job) = self.jobs.recv() {
            match job {
                Job::Free(bytes) => drop(bytes),
                Job::Chunk(layout) => {
                    let Some(chunk) = Touched::new(layout) else {
                        continue;
                    };
                    if self.ready.send(chunk).is_err() {
                        return;
                    }
                }
            }
        }
    }
}
