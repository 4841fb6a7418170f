//! One io_uring instance with a ring of provided receive buffers.
//!
//! Flags: SINGLE_ISSUER and DEFER_TASKRUN (completions are worked off where the thread enters the
//! kernel anyway), SUBMIT_ALL, NO_SQARRAY. On a kernel without one of them the ring is set up
//! without it.
#![expect(
    unsafe_code,
    reason = "submission entries name memory that the kernel reads and writes"
)]

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use crate::log::block::{BLOCK_BYTES, Block};

/// Submission entries: more are submitted in between.
const SQ_ENTRIES: u32 = 1024;
/// Completion entries.
const CQ_ENTRIES: u32 = 8192;
/// Receive buffers; a power of two.
const BUFFERS: u16 = 128;
/// Bytes of a receive buffer.
pub const BUFFER_BYTES: usize = 16 * 1024;
/// From the start of one buffer to the next: not a power of two, so that the first lines of all
/// buffers do not fall into the same sets of the cache.
const BUFFER_STRIDE: usize = BUFFER_BYTES + 192;
const BUFFER_GROUP: u16 = 0;
/// IORING_ENTER_GETEVENTS
const GETEVENTS: u32 = 1;

/// A completion.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    /// What was given with the submission.
    pub user_data: u64,
    /// A byte count or descriptor, or a negated errno.
    pub result: i32,
    flags: u32,
}

impl Completion {
    /// Whether a multishot operation goes on.
    pub fn more(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// The receive buffer that was filled.
    pub fn buffer(&self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }
}

/// A ring and its receive buffers.
pub struct Ring {
    ring: IoUring,
    buffers: Buffers,
    /// Whether operations complete only where the thread enters the kernel for them.
    deferred: bool,
    failure: Option<io::Error>,
}

/// Memory that the kernel receives into, behind the bytes that are in it.
pub struct Space {
    memory: Vec<u8>,
    /// Bytes that the next receive may add.
    want: usize,
}

impl Space {
    /// Room for `want` more bytes behind those of `memory`, which has it.
    pub fn new(memory: Vec<u8>, want: usize) -> Self {
        assert!(memory.capacity() - memory.len() >= want, "it has the room");
        Self { memory, want }
    }

    fn room(&mut self) -> (*mut u8, u32) {
        let spare = self.memory.spare_capacity_mut();
        (spare.as_mut_ptr().cast(), self.want as u32)
    }

    /// The memory after a receive of `count` bytes.
    pub fn filled(mut self, count: usize) -> Vec<u8> {
        assert!(count <= self.want, "the kernel keeps to the room");
        // SAFETY: the kernel has written so many bytes behind those that were there, within the
        // capacity, by the assertions here and in `new`.
        unsafe { self.memory.set_len(self.memory.len() + count) };
        self.memory
    }
}

/// Page-aligned anonymous memory.
struct Pages {
    at: *mut u8,
    bytes: usize,
}

impl Pages {
    fn new(bytes: usize) -> io::Result<Self> {
        let (prot, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, prot, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            at: at.cast(),
            bytes,
        })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one, and nothing refers to it any more.
        unsafe { libc::munmap(self.at.cast(), self.bytes) };
    }
}

struct Buffers {
    entries: Pages,
    memory: Pages,
    tail: u16,
}

impl Buffers {
    fn new() -> io::Result<Self> {
        let entries = Pages::new(usize::from(BUFFERS) * size_of::<BufRingEntry>())?;
        let memory = Pages::new(usize::from(BUFFERS) * BUFFER_STRIDE)?;
        let mut buffers = Self {
            entries,
            memory,
            tail: 0,
        };
        (0..BUFFERS).for_each(|id| buffers.add(id));
        buffers.publish();
        Ok(buffers)
    }

    fn address(&self, id: u16) -> *mut u8 {
        assert!(id < BUFFERS, "the kernel names buffers that it was given");
        // SAFETY: within the mapping, by the assertion.
        unsafe { self.memory.at.add(usize::from(id) * BUFFER_STRIDE) }
    }

    /// Gives the memory of all buffers back to the system, until it is written to again.
    fn forget(&self) {
        // SAFETY: the mapping is ours, and nothing refers to it or writes into it: see
        // `Ring::forget_received`.
        unsafe {
            libc::madvise(
                self.memory.at.cast(),
                self.memory.bytes,
                libc::MADV_DONTNEED,
            )
        };
    }

    /// Gives a buffer to the kernel, from the next `publish` on.
    fn add(&mut self, id: u16) {
        let address = self.address(id) as u64;
        let at = usize::from(self.tail & (BUFFERS - 1));
        // SAFETY: within the mapping; the kernel does not read it before the tail passes it.
        let entry = unsafe { &mut *self.entries.at.cast::<BufRingEntry>().add(at) };
        entry.set_addr(address);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        // SAFETY: the base of the ring of entries, which is initialised and page-aligned.
        let tail = unsafe { BufRingEntry::tail(self.entries.at.cast()) };
        // SAFETY: the kernel reads it as a 16-bit word; nobody else writes it.
        unsafe { &*tail.cast::<AtomicU16>() }.store(self.tail, Ordering::Release);
    }
}

impl Ring {
    /// Sets up a ring on the calling thread, which alone may use it.
    pub fn new() -> io::Result<Self> {
        let (ring, deferred) = match build(true) {
            Ok(ring) => (ring, true),
            Err(_) => (build(false)?, false),
        };
        let buffers = Buffers::new()?;
        // SAFETY: both mappings outlive the ring: fields are dropped in order.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                buffers.entries.at as u64,
                BUFFERS,
                BUFFER_GROUP,
                0,
            )?;
        }
        Ok(Self {
            ring,
            buffers,
            deferred,
            failure: None,
        })
    }

    /// The descriptor, for other rings' doorbells.
    pub fn fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: whoever builds an entry keeps what it names in place until it completes; see the
        // functions below.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.enter(0, None);
            if self.failure.is_some() {
                return; // nothing is submitted any more
            }
        }
    }

    /// Accepts connections until cancelled.
    pub fn accept(&mut self, listener: RawFd, user_data: u64) {
        let entry = opcode::AcceptMulti::new(Fd(listener))
            .flags(libc::SOCK_CLOEXEC)
            .build();
        self.push(entry.user_data(user_data));
    }

    /// Receives into the ring's buffers until the connection ends or buffers run out.
    pub fn receive(&mut self, socket: RawFd, user_data: u64) {
        self.push(
            opcode::RecvMulti::new(Fd(socket), BUFFER_GROUP)
                .build()
                .user_data(user_data),
        );
    }

    /// Receives once into memory of the caller, who keeps it until the completion.
    pub fn receive_into(&mut self, socket: RawFd, space: &mut Space, user_data: u64) {
        let (at, len) = space.room();
        let entry = opcode::Recv::new(Fd(socket), at, len).build();
        self.push(entry.user_data(user_data));
    }

    /// Sends at once what the socket takes at once. No completion if that is everything; the bytes
    /// must stay in place until the next [`enter`](Self::enter) has returned and its completions
    /// have been read.
    pub fn send_now(&mut self, socket: RawFd, bytes: &[u8], user_data: u64) {
        let flags = libc::MSG_WAITALL | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let entry = opcode::Send::new(Fd(socket), bytes.as_ptr(), bytes.len() as u32)
            .flags(flags)
            .build();
        self.push(
            entry
                .flags(squeue::Flags::SKIP_SUCCESS)
                .user_data(user_data),
        );
    }

    /// Sends when the socket has room; completes with the number of bytes sent. The bytes must stay
    /// in place until then.
    pub fn send_later(&mut self, socket: RawFd, bytes: &[u8], user_data: u64) {
        let entry = opcode::Send::new(Fd(socket), bytes.as_ptr(), bytes.len() as u32)
            .flags(libc::MSG_NOSIGNAL)
            .build();
        self.push(entry.user_data(user_data));
    }

    /// Completes whenever the descriptor can be read.
    pub fn poll(&mut self, fd: RawFd, user_data: u64) {
        let entry = opcode::PollAdd::new(Fd(fd), libc::POLLIN as u32)
            .multi(true)
            .build();
        self.push(entry.user_data(user_data));
    }

    /// Ends the operation that was submitted with `target`.
    pub fn cancel(&mut self, target: u64, user_data: u64) {
        self.push(
            opcode::AsyncCancel::new(target)
                .build()
                .user_data(user_data),
        );
    }

    /// Wakes the thread that sleeps in another ring.
    pub fn ring_doorbell(&mut self, other: RawFd, user_data: u64, failed: u64) {
        let entry = opcode::MsgRingData::new(Fd(other), 0, user_data, None).build();
        self.push(entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(failed));
    }

    /// Sees to it that the next so many operations are submitted together: a chain of them is one
    /// only then.
    pub fn reserve(&mut self, operations: usize) {
        assert!(operations < SQ_ENTRIES as usize, "a chain fits the ring");
        while self.failure.is_none() {
            let sq = self.ring.submission();
            if sq.capacity() - sq.len() >= operations {
                return;
            }
            drop(sq);
            self.enter(0, None);
        }
    }

    /// Writes blocks to a file from this byte on; completes with the number of bytes written. The
    /// blocks must stay in place until then. With `chained` the next operation begins when all of it
    /// is written, and is cancelled if it is not.
    pub fn write_blocks(
        &mut self,
        file: RawFd,
        blocks: &[Block],
        offset: u64,
        chained: bool,
        user_data: u64,
    ) {
        let entry = write(file, blocks, offset).build();
        self.push(entry.flags(link(chained)).user_data(user_data));
    }

    /// The same for blocks that are durable when the operation completes.
    pub fn write_durably(&mut self, file: RawFd, blocks: &[Block], offset: u64, user_data: u64) {
        let entry = write(file, blocks, offset).rw_flags(libc::RWF_DSYNC);
        self.push(entry.build().user_data(user_data));
    }

    /// Makes what has been written to a file durable; `chained` as above.
    pub fn sync_data(&mut self, file: RawFd, chained: bool, user_data: u64) {
        let entry = opcode::Fsync::new(Fd(file))
            .flags(FsyncFlags::DATASYNC)
            .build();
        self.push(entry.flags(link(chained)).user_data(user_data));
    }

    /// Submits everything and, with `wait`, sleeps until something completes or the time is over.
    pub fn enter(&mut self, want: usize, timeout: Option<std::time::Duration>) {
        let (submitter, mut sq, _) = self.ring.split();
        sq.sync();
        let pending = sq.len() as u32;
        let done = if let (true, Some(timeout)) = (want > 0, timeout) {
            let time = Timespec::from(timeout);
            submitter
                .submit_with_args(want, &SubmitArgs::new().timespec(&time))
                .map(drop)
        } else {
            // SAFETY: no argument is passed.
            unsafe { submitter.enter::<libc::sigset_t>(pending, want as u32, GETEVENTS, None) }
                .map(drop)
        };
        sq.sync();
        if let Err(error) = done
            && !passes(&error)
        {
            self.failure.get_or_insert(error);
        }
    }

    /// Why the ring is of no use any more: no operation that is under way can be relied on.
    pub fn failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// Appends all completions that are there. When the kernel had more than fit, it is entered
    /// again for the rest.
    pub fn completions(&mut self, into: &mut Vec<Completion>) {
        loop {
            let (submitter, mut sq, mut cq) = self.ring.split();
            cq.sync();
            into.extend(cq.by_ref().map(|c| Completion {
                user_data: c.user_data(),
                result: c.result(),
                flags: c.flags(),
            }));
            cq.sync();
            sq.sync();
            if !sq.cq_overflow() {
                return;
            }
            // SAFETY: no argument is passed.
            if unsafe { submitter.enter::<libc::sigset_t>(0, 0, GETEVENTS, None) }.is_err() {
                return; // tried again with the next turn
            }
        }
    }

    /// The bytes that a completed receive has put into a buffer. They stay in place until
    /// [`give_back`](Self::give_back).
    pub fn received(&self, buffer: u16, bytes: usize) -> &[u8] {
        assert!(bytes <= BUFFER_BYTES, "the kernel keeps to the buffer");
        // SAFETY: the kernel has filled these bytes and does not touch the buffer until it is
        // given back.
        unsafe { std::slice::from_raw_parts(self.buffers.address(buffer), bytes) }
    }

    /// Gives buffers back to the kernel.
    pub fn give_back(&mut self, buffers: &mut Vec<u16>) {
        if buffers.is_empty() {
            return;
        }
        buffers.drain(..).for_each(|id| self.buffers.add(id));
        self.buffers.publish();
    }

    /// Gives the memory of the buffers, 2 MiB when all were filled, back to the system; false, and it
    /// stays, if there may be bytes in them. All buffers have been given back before.
    pub fn forget_received(&mut self) -> bool {
        let mut cq = self.ring.completion();
        cq.sync();
        // Nothing can be received between the look and the call: that would be work for an enter.
        let quiet = self.deferred && cq.is_empty();
        if quiet {
            self.buffers.forget();
        }
        quiet
    }
}

fn write(file: RawFd, blocks: &[Block], offset: u64) -> opcode::Write {
    let bytes = (blocks.len() * BLOCK_BYTES) as u32;
    opcode::Write::new(Fd(file), blocks.as_ptr().cast(), bytes).offset(offset)
}

fn link(chained: bool) -> squeue::Flags {
    if chained {
        squeue::Flags::IO_LINK
    } else {
        squeue::Flags::empty()
    }
}

/// Whether entering may be tried again in the next turn, with nothing lost: the time was over, a
/// signal came, the kernel is short of memory, or completions have to be read first. Others, such
/// as EBADR for completions that were dropped, leave the ring without a known state.
fn passes(error: &io::Error) -> bool {
    use libc::{EAGAIN, EBUSY, EINTR, ENOMEM, ETIME};
    matches!(
        error.raw_os_error(),
        Some(ETIME | EINTR | EAGAIN | EBUSY | ENOMEM)
    )
}

fn build(all_flags: bool) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder
        .setup_cqsize(CQ_ENTRIES)
        .setup_submit_all()
        .dontfork();
    if all_flags {
        builder
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_no_sqarray();
    } else {
        builder.setup_coop_taskrun();
    }
    let mut ring = builder.build(SQ_ENTRIES)?;
    // Entering by index saves a look-up of the descriptor each time; older kernels lack it.
    let _ = ring.submitter().register_ring_fd();
    let _ = &mut ring;
    Ok(ring)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_loses_nothing_is_tried_again() {
        let error = io::Error::from_raw_os_error;
        assert!(passes(&error(libc::EINTR)) && passes(&error(libc::ENOMEM)));
        for lost in [libc::EBADR, libc::EBADF, libc::EBADFD, libc::EINVAL] {
            assert!(!passes(&error(lost)));
        }
    }
}
