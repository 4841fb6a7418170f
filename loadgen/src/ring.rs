#![expect(
    unsafe_code,
    reason = "io_uring: the kernel reads and writes memory that it was given"
)]
//! One thread's io_uring: receives into provided buffers, sends of a turn in one system call.
//!
//! Invariants:
//! - Only the thread that made the ring touches it (SINGLE_ISSUER).
//! - A `Completion` that carries a buffer lends it to the caller until `give_back`.
//! - Bytes passed to `send` stay where they are until the send is known to have ended: for
//!   `SendMode::Now` that is after the next `enter` and the completions it brought, for
//!   `SendMode::Wait` the completion itself.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

/// Sends and receives that one `enter` may carry; more are handed over in several.
const SQ_ENTRIES: u32 = 1024;
/// Completions that the kernel keeps for us before it has to spill.
const CQ_ENTRIES: u32 = 8192;
/// Receive buffers: 32 were measured to be as fast as 1024; 256 leave room for many clients.
const BUFFERS: u16 = 256;
const BUFFER_BYTES: usize = 16 * 1024;
const GROUP: u16 = 0;
const _: () = assert!(BUFFERS.is_power_of_two());

/// How a send behaves when the socket's buffer is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SendMode {
    /// Sends what fits at once. Silent when everything went; otherwise one completion.
    Now,
    /// Waits for room; always one completion.
    Wait,
}

/// One answer of the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    pub(crate) user_data: u64,
    /// Bytes, or a negated errno.
    pub(crate) result: i32,
    /// The provided buffer that holds received bytes.
    pub(crate) buffer: Option<u16>,
    /// A multishot receive goes on.
    pub(crate) more: bool,
}

/// The ring and its receive buffers.
pub(crate) struct Ring {
    uring: IoUring,
    /// `BUFFERS` entries, shared with the kernel; the first one's last field is the tail.
    entries: NonNull<BufRingEntry>,
    /// `BUFFERS * BUFFER_BYTES` bytes.
    memory: NonNull<u8>,
    tail: u16,
}

fn entries_layout() -> Layout {
    Layout::from_size_align(usize::from(BUFFERS) * size_of::<BufRingEntry>(), 4096)
        .expect("a constant layout")
}

fn memory_layout() -> Layout {
    Layout::from_size_align(usize::from(BUFFERS) * BUFFER_BYTES, 4096).expect("a constant layout")
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: both layouts have a size above zero.
    let pointer = unsafe { alloc_zeroed(layout) };
    NonNull::new(pointer).unwrap_or_else(|| handle_alloc_error(layout))
}

impl Ring {
    /// A ring for the calling thread. Fails where io_uring is forbidden (seccomp, a sysctl) or
    /// older than Linux 6.1.
    pub(crate) fn new() -> io::Result<Ring> {
        let build = |no_sqarray: bool| {
            let mut builder = IoUring::builder();
            builder
                .setup_cqsize(CQ_ENTRIES)
                .setup_submit_all()
                .setup_single_issuer()
                .setup_defer_taskrun();
            if no_sqarray {
                builder.setup_no_sqarray();
            }
            builder.build(SQ_ENTRIES)
        };
        // NO_SQARRAY came with Linux 6.6.
        let uring = build(true).or_else(|_| build(false))?;
        let entries = allocate(entries_layout()).cast::<BufRingEntry>();
        let memory = allocate(memory_layout());
        // From here on `Drop` frees both.
        let mut ring = Ring {
            uring,
            entries,
            memory,
            tail: 0,
        };
        // SAFETY: the entries are page aligned, BUFFERS long, and outlive the ring (see Drop).
        unsafe {
            ring.uring.submitter().register_buf_ring_with_flags(
                ring.entries.as_ptr() as u64,
                BUFFERS,
                GROUP,
                0,
            )?;
        }
        for id in 0..BUFFERS {
            ring.stage(id);
        }
        ring.publish();
        Ok(ring)
    }

    fn stage(&mut self, id: u16) {
        assert!(id < BUFFERS);
        let slot = usize::from(self.tail & (BUFFERS - 1));
        // SAFETY: slot < BUFFERS, the length of the allocation.
        let entry = unsafe { self.entries.add(slot).as_mut() };
        // SAFETY: id < BUFFERS, so the offset stays inside the allocation.
        let start = unsafe { self.memory.add(usize::from(id) * BUFFER_BYTES) };
        entry.set_addr(start.as_ptr() as u64);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        // SAFETY: the ring of entries is live, and its first entry holds the tail.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: the tail is an aligned u16 in live memory; the kernel only reads it.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    /// The bytes that a completion brought.
    pub(crate) fn received(&self, id: u16, len: usize) -> &[u8] {
        assert!(id < BUFFERS && len <= BUFFER_BYTES);
        // SAFETY: id < BUFFERS, so the offset stays inside the allocation.
        let start = unsafe { self.memory.add(usize::from(id) * BUFFER_BYTES) };
        // SAFETY: the kernel has handed this buffer over and writes to it again only after
        // `give_back`, which needs `&mut self`; the bytes were initialised at allocation.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), len) }
    }

    /// Returns a buffer to the kernel.
    pub(crate) fn give_back(&mut self, id: u16) {
        self.stage(id);
        self.publish();
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: every entry points to memory that its caller keeps until completion (the
            // module's invariant), or to no memory at all.
            if unsafe { self.uring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.submit()?;
        }
    }

    /// Receives on `fd` until it closes or the buffers run out.
    pub(crate) fn receive(&mut self, fd: RawFd, user_data: u64) -> io::Result<()> {
        self.push(
            &opcode::RecvMulti::new(Fd(fd), GROUP)
                .build()
                .user_data(user_data),
        )
    }

    /// Sends `bytes`; the caller keeps them in place (see the module's invariants).
    pub(crate) fn send(
        &mut self,
        fd: RawFd,
        bytes: &[u8],
        mode: SendMode,
        user_data: u64,
    ) -> io::Result<()> {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        let send = opcode::Send::new(Fd(fd), bytes.as_ptr(), len);
        let entry = match mode {
            SendMode::Now => send
                .flags(flags | libc::MSG_DONTWAIT)
                .build()
                .flags(squeue::Flags::SKIP_SUCCESS),
            SendMode::Wait => send.flags(flags).build(),
        };
        self.push(&entry.user_data(user_data))
    }

    /// Hands over what is queued, without waiting.
    pub(crate) fn submit(&mut self) -> io::Result<()> {
        match self.uring.submit() {
            Ok(_) => Ok(()),
            Err(error) if passing(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Hands over what is queued and waits for a completion, at most `wait_ns`.
    pub(crate) fn enter(&mut self, wait_ns: u64) -> io::Result<()> {
        let wait = Timespec::new()
            .sec(wait_ns / 1_000_000_000)
            .nsec((wait_ns % 1_000_000_000) as u32);
        let args = SubmitArgs::new().timespec(&wait);
        match self.uring.submitter().submit_with_args(1, &args) {
            Ok(_) => Ok(()),
            Err(error) if passing(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Moves all waiting completions to `into`.
    pub(crate) fn drain(&mut self, into: &mut Vec<Completion>) {
        for entry in self.uring.completion() {
            let flags = entry.flags();
            into.push(Completion {
                user_data: entry.user_data(),
                result: entry.result(),
                buffer: cqueue::buffer_select(flags),
                more: cqueue::more(flags),
            });
        }
    }
}

/// The wait ended (time, signal) or the kernel is behind with completions: go on and drain.
fn passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)
    )
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The kernel lets go of the buffers here; receives were ended by the sockets' shutdown.
        // A failure means that the group was never registered: nothing to undo.
        let _ = self.uring.submitter().unregister_buf_ring(GROUP);
        // SAFETY: allocated in `new` with this layout; nothing refers to it any more.
        unsafe { dealloc(self.entries.as_ptr().cast(), entries_layout()) };
        // SAFETY: as above.
        unsafe { dealloc(self.memory.as_ptr(), memory_layout()) };
    }
}
