//! Another thread touches memory before a shard needs it, frees what is large, and gives back to the
//! system what was freed.
//!
//! The first touch of fresh memory costs a fault for each page, and with huge pages one fault
//! clears 2 MiB: on a virtual machine that takes milliseconds, during which the shard would answer
//! nobody. So a shard has the next part of a chunk touched while it uses the one before; where it
//! grows faster than that it meets the faults itself. The supplier's thread gives way to all
//! others: on a core that a shard keeps busy, touching much in one go would be the stall that it is
//! there to prevent.

use super::chunk::{Chunk, make_present};
use crate::stdx::allocator;
use bytes::Bytes;
use std::ptr::NonNull;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Jobs that may wait for the supplier.
const JOBS_MAX: usize = 64;
/// Values of at least this many bytes are freed by the supplier.
pub(super) const DISPOSE_MIN: usize = 1 << 20;

/// When so many bytes have been freed, they are given back to the system.
const PURGE_MIN: usize = 64 << 20;

/// What a shard asks its supplier for.
#[derive(Debug)]
enum Job {
    /// To have memory made present: its address, and its bytes.
    Touch(usize, usize),
    /// To have a chunk ready: the kernel lets one thread map memory at a time, and nobody while it
    /// clears a page for the supplier.
    Map,
    /// To give a chunk back.
    Unmap(Chunk),
    /// To free a large value: giving hundreds of MiB back to the kernel takes milliseconds, too.
    Free(Bytes),
    /// To give back to the system what the process has freed.
    GiveBack,
}

/// A shard's end.
#[derive(Debug)]
pub struct Supply {
    jobs: SyncSender<Job>,
    /// A chunk that is ready.
    chunks: Receiver<Chunk>,
}

/// A shard's way to have large values freed elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Disposer(SyncSender<Job>);

/// The other end, for a thread of its own.
#[derive(Debug)]
pub struct Supplier {
    jobs: Receiver<Job>,
    chunks: SyncSender<Chunk>,
}

/// The two ends.
pub fn supply() -> (Supply, Supplier) {
    let (jobs, asked) = sync_channel(JOBS_MAX);
    let (mapped, chunks) = sync_channel(1);
    let supplier = Supplier {
        jobs: asked,
        chunks: mapped,
    };
    (Supply { jobs, chunks }, supplier)
}

impl Supply {
    /// Has memory made present, some time; where the supplier is far behind it is not.
    pub(super) fn touch(&self, start: NonNull<u8>, bytes: usize) {
        let _ = self.jobs.try_send(Job::Touch(start.as_ptr().addr(), bytes));
    }

    /// A chunk, and has the next one made ready; where the supplier is far behind it is mapped here.
    pub(super) fn chunk(&self) -> Chunk {
        let chunk = self.chunks.try_recv().unwrap_or_else(|_| Chunk::map());
        let _ = self.jobs.try_send(Job::Map);
        chunk
    }

    /// Gives a chunk back elsewhere; here, if the supplier is far behind.
    pub(super) fn unmap(&self, chunk: Chunk) {
        let _ = self.jobs.try_send(Job::Unmap(chunk));
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

    /// Has freed memory given back to the system; not now, if the supplier is far behind.
    pub(super) fn give_back(&self) {
        let _ = self.0.try_send(Job::GiveBack);
    }
}

impl Supplier {
    /// Serves until the shard is gone.
    pub fn run(self) {
        let mut freed = 0;
        while let Ok(job) = self.jobs.recv() {
            match job {
                Job::Free(bytes) => {
                    freed += bytes.len();
                    drop(bytes);
                    if freed >= PURGE_MIN {
                        allocator::purge_all();
                        freed = 0;
                    }
                }
                // A short walk: this thread has nothing of its own.
                Job::GiveBack => allocator::purge_all(),
                Job::Touch(start, bytes) => make_present(start, bytes),
                Job::Map => {
                    let _ = self.chunks.try_send(Chunk::map());
                }
                Job::Unmap(chunk) => drop(chunk),
            }
        }
    }
}
