//! Another thread touches memory before a shard needs it, and frees what is large.
//!
//! The first touch of fresh memory costs a fault for each page, and with huge pages one fault
//! clears 2 MiB: on a virtual machine that takes milliseconds, during which the shard would answer
//! nobody. So a shard has the next part of a chunk touched while it uses the one before; where it
//! grows faster than that it meets the faults itself. The supplier's thread gives way to all
//! others: on a core that a shard keeps busy, touching much in one go would be the stall that it is
//! there to prevent.
#![expect(unsafe_code, reason = "a system call on memory that the shard owns")]

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
    /// To free a large value: giving hundreds of MiB back to the kernel takes milliseconds, too.
    Free(Bytes),
}

/// A shard's end.
#[derive(Debug)]
pub struct Supply {
    jobs: SyncSender<Job>,
}

/// A shard's way to have large values freed elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Disposer(SyncSender<Job>);

/// The other end, for a thread of its own.
#[derive(Debug)]
pub struct Supplier {
    jobs: Receiver<Job>,
}

/// The two ends.
pub fn supply() -> (Supply, Supplier) {
    let (jobs, asked) = sync_channel(JOBS_MAX);
    (Supply { jobs }, Supplier { jobs: asked })
}

impl Supply {
    /// Has memory made present, some time; where the supplier is far behind it is not.
    pub(super) fn touch(&self, start: NonNull<u8>, bytes: usize) {
        let _ = self.jobs.try_send(Job::Touch(start.as_ptr().addr(), bytes));
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
        let mut freed = 0;
        while let Ok(job) = self.jobs.recv() {
            match job {
                Job::Free(bytes) => {
                    freed += bytes.len();
                    drop(bytes);
                    if freed >= PURGE_MIN {
                        allocator::purge_all(); // a short walk: this thread has nothing of its own
                        freed = 0;
                    }
                }
                Job::Touch(start, bytes) => make_present(start, bytes),
            }
        }
    }
}

/// Has the kernel back a range with memory as a write would; what stands in it stays.
fn make_present(start: usize, bytes: usize) {
    let start = std::ptr::without_provenance_mut(start);
    // SAFETY: it reads and writes nothing. Where the shard has given the range back meanwhile, it is
    // present for whoever has it now, or the call fails, as it does on a kernel that does not know it.
    unsafe { libc::madvise(start, bytes, libc::MADV_POPULATE_WRITE) };
}
