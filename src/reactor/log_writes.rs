//! The writes and syncs of one shard's log, in the shard's own ring.
//!
//! A [`Flush`] becomes one chain of operations: its writes, then its syncs, each of which begins when
//! the one before it has done all that it should. They leave with the turn's sends.
//!
//! A large one is a single write with RWF_DSYNC instead. The chain's sync begins only when the shard
//! comes by to see that the write is done, and again it learns of the sync when it comes by; with
//! much to flush it has much else to do. RWF_DSYNC goes on in the kernel, and needs no thread of
//! io_uring's to wait in. 50 clients with 16 requests each at a time had 6 to 14 % more throughput by
//! it and the machine 8 to 17 % less to do (three comparisons of 5 to 9 rounds, noisy). Small flushes
//! keep to the chain, since the kernel's worker that ends a write with RWF_DSYNC waits for its turn
//! where cores are busy: with 50 clients that wait for each answer the chain had a fifth to a half more
//! throughput, and alone on a core it took 117 microseconds and RWF_DSYNC 134.
//!
//! Its blocks stay in place until every operation has completed, whatever becomes of it. A write
//! that was short is a failure like any other: the writer stops, see [`crate::log::writer`].

use std::os::fd::AsRawFd;

use smallvec::SmallVec;

use super::ring::Ring;
use crate::log::block::BLOCK_BYTES;
use crate::log::writer::{FLUSHES_MAX, Flush};
use crate::storage::directory::Segment;

/// Why a flush failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The system's error.
    System(i32),
    /// Fewer bytes were written than there were.
    Short,
}

/// A flush of so many blocks is one write with RWF_DSYNC.
const DURABLY_BLOCKS_MIN: usize = 4;
/// Bits of an operation's number that tell which it is of its flush.
const OPERATION_BITS: u32 = 16;

/// Segments of a log that may be written to, and the flushes that are under way. Without one, letting
/// go of it closes them.
#[derive(Default)]
pub struct LogWrites {
    /// By number. Those that no flush names any more are closed.
    segments: SmallVec<[(u64, Segment); 4]>,
    under_way: [Option<UnderWay>; FLUSHES_MAX],
}

struct UnderWay {
    flush: Flush,
    /// What each operation is to complete with.
    wanted: SmallVec<[i32; 5]>,
    /// Operations that have not completed.
    left: usize,
    failure: Option<Failure>,
}

impl LogWrites {
    /// A segment has been prepared.
    pub fn add(&mut self, number: u64, segment: Segment) {
        let before = self.segments.last().map(|(number, _)| *number);
        assert!(before.is_none_or(|before| before < number), "in order");
        self.segments.push((number, segment));
    }

    /// Submits a flush. `token` gives the user data of its operation with a number.
    pub fn begin(&mut self, ring: &mut Ring, flush: Flush, token: impl Fn(u32) -> u64) {
        let free = self.under_way.iter().position(Option::is_none);
        let place = free.expect("the writer counts them");
        // What was written without a sync is still to be synced, in whichever segment.
        if let Some(&first) = flush.syncs.first() {
            let others = self.under_way.iter().flatten();
            let first = others.fold(first.min(flush.segment), |first, other| {
                let synced = other.flush.syncs.iter().copied();
                synced
                    .chain([other.flush.segment, first])
                    .fold(first, u64::min)
            });
            self.segments.retain(|(number, _)| *number >= first);
        }
        let token = |number: usize| token((place as u32) << OPERATION_BITS | number as u32);
        let fd = |wanted: u64| {
            let segment = self.segments.iter().find(|(number, _)| *number == wanted);
            let (_, segment) = segment.expect("segments are there before they are written to");
            segment.file.as_raw_fd()
        };
        let durably = flush.syncs_itself_only
            && flush.extents.len() == 1
            && flush.blocks.len() >= DURABLY_BLOCKS_MIN;
        let syncs = if durably { &[] } else { &flush.syncs[..] };
        let operations = flush.extents.len() + syncs.len();
        assert!(operations > 0, "a flush does something");
        assert!(operations < 1 << OPERATION_BITS, "and not too much");
        ring.reserve(operations);
        let mut wanted = SmallVec::new();
        for (position, range) in &flush.extents {
            let blocks = &flush.blocks[range.clone()];
            let offset = u64::from(*position) * BLOCK_BYTES as u64;
            let chained = wanted.len() + 1 < operations;
            let user_data = token(wanted.len());
            if durably {
                ring.write_durably(fd(flush.segment), blocks, offset, user_data);
            } else {
                ring.write_blocks(fd(flush.segment), blocks, offset, chained, user_data);
            }
            wanted.push((blocks.len() * BLOCK_BYTES) as i32);
        }
        for segment in syncs {
            let chained = wanted.len() + 1 < operations;
            ring.sync_data(fd(*segment), chained, token(wanted.len()));
            wanted.push(0);
        }
        self.under_way[place] = Some(UnderWay {
            flush,
            wanted,
            left: operations,
            failure: None,
        });
    }

    /// An operation has completed. With the last of its flush, the flush and what became of it.
    pub fn completed(
        &mut self,
        operation: u32,
        result: i32,
    ) -> Option<(Flush, Result<(), Failure>)> {
        let place = &mut self.under_way[(operation >> OPERATION_BITS) as usize];
        let operation = operation & ((1 << OPERATION_BITS) - 1);
        let under_way = place.as_mut().expect("it was submitted");
        under_way.left -= 1;
        if result != under_way.wanted[operation as usize] {
            let failure = match result {
                0.. => Failure::Short,
                error => Failure::System(-error),
            };
            // What was cancelled because of another one says nothing.
            let cancelled = Failure::System(libc::ECANCELED);
            if under_way.failure.is_none_or(|known| known == cancelled) {
                under_way.failure = Some(failure);
            }
        }
        if under_way.left > 0 {
            return None;
        }
        let done = place.take()?;
        let result = done.failure.map_or(Ok(()), Err);
        Some((done.flush, result))
    }
}

#[cfg(test)]
mod tests {
    use super::super::ring::Completion;
    use super::*;
    use crate::log::block::Header;
    use crate::log::record::Kind;
    use crate::log::recover::Reader;
    use crate::log::writer::{Failed, How, Writer};
    use crate::log::{Identity, Lsn};
    use crate::mesh::ShardId;
    use crate::storage::directory::prepare;
    use std::fs;
    use std::path::PathBuf;

    const BLOCKS: u32 = 16;
    const IDENTITY: Identity = Identity {
        shard: ShardId(0),
        shards: 1,
        epoch: 1,
    };

    const HEADER: Header = Header {
        first: Lsn(0),
        blocks: BLOCKS,
    };

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ringdove-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a temporary folder");
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).expect("it is ours");
        }
    }

    fn carry_out(
        writes: &mut LogWrites,
        ring: &mut Ring,
        flush: Flush,
    ) -> (Flush, Result<(), Failure>) {
        writes.begin(ring, flush, u64::from);
        loop {
            if let Some(end) = completed(writes, ring).pop() {
                return end;
            }
        }
    }

    /// Waits for something, and takes the flushes that have ended with it.
    fn completed(writes: &mut LogWrites, ring: &mut Ring) -> Vec<(Flush, Result<(), Failure>)> {
        ring.enter(1, None);
        let mut completions = Vec::new();
        ring.completions(&mut completions);
        let ended = |done: &Completion| writes.completed(done.user_data as u32, done.result);
        completions.iter().filter_map(ended).collect()
    }

    #[test]
    fn flushes_of_any_size_reach_the_files() {
        let folder = Folder::new("log-writes");
        let mut ring = Ring::new().expect("io_uring");
        let mut writes = LogWrites::default();
        let mut writer = Writer::new(IDENTITY, BLOCKS, Lsn(0));
        let mut rng = fastrand::Rng::with_seed(9);
        let (mut wanted, mut beside) = (Vec::new(), 0);
        for step in 0..200 {
            let largest = [50, 1000, 9000][rng.usize(..3)];
            let payload = vec![step as u8; rng.usize(..largest)];
            writer.append(0, &Kind::Effects, &payload).expect("short");
            wanted.push(payload);
            while writer.next_segment() < writer.segment() + 2 {
                let number = writer.next_segment();
                let segment = prepare(&folder.0, IDENTITY, number, HEADER).expect("room");
                writes.add(number, segment);
                writer.segment_prepared();
            }
            let how = if rng.bool() { How::Sync } else { How::Whole };
            while let Some(flush) = writer.begin(how, writer.durable()) {
                writes.begin(&mut ring, flush, u64::from);
                let payload = vec![step as u8; rng.usize(..largest)];
                writer.append(0, &Kind::Effects, &payload).expect("short");
                wanted.push(payload);
                if writer.takes_another() && rng.bool() {
                    beside += 1;
                    continue;
                }
                while writer.is_flushing() {
                    for (flush, result) in completed(&mut writes, &mut ring) {
                        assert_eq!(result, Ok(()));
                        writer.ended(flush, Ok(()));
                    }
                }
                if rng.u8(..8) == 0 {
                    break;
                }
            }
            while writer.is_flushing() {
                for (flush, result) in completed(&mut writes, &mut ring) {
                    assert_eq!(result, Ok(()));
                    writer.ended(flush, Ok(()));
                }
            }
        }
        assert!(writer.segment() > 1, "more than one segment");
        let mut payloads = Vec::new();
        let mut reader = Reader::new(IDENTITY, BLOCKS, Lsn(0), None);
        for number in 0..=writer.segment() {
            let bytes = fs::read(folder.0.join(format!("1-0-{number}.log"))).expect("there");
            let mut replay = |r: &crate::log::record::Record<'_>| payloads.push(r.payload.to_vec());
            reader.segment(number, &bytes, &mut replay).expect("whole");
        }
        let tail = reader.finish().expect("whole");
        tail.replay(tail.end(), |r| payloads.push(r.payload.to_vec()));
        assert!(wanted.starts_with(&payloads));
        assert!(tail.end() >= writer.durable() || tail.torn().is_some());
        assert!(payloads.len() > 150, "{}", payloads.len());
        assert!(beside > 10, "{beside}");
    }

    #[test]
    fn what_was_written_without_a_sync_can_be_synced_from_the_next_segment() {
        let folder = Folder::new("log-writes-whole");
        let mut ring = Ring::new().expect("io_uring");
        let mut writes = LogWrites::default();
        let mut writer = Writer::new(IDENTITY, BLOCKS, Lsn(0));
        for number in 0..3 {
            let segment = prepare(&folder.0, IDENTITY, number, HEADER).expect("room");
            writes.add(number, segment);
            writer.segment_prepared();
        }
        // More than a segment holds, and less than two.
        let payload = [7; BLOCK_BYTES];
        for _ in 0..BLOCKS + BLOCKS / 2 {
            writer.append(0, &Kind::Effects, &payload).expect("short");
        }
        for how in [How::Whole, How::Whole, How::Sync] {
            while let Some(flush) = writer.begin(how, Lsn(0)) {
                let (flush, result) = carry_out(&mut writes, &mut ring, flush);
                assert_eq!(result, Ok(()));
                writer.ended(flush, Ok(()));
            }
        }
        assert_eq!(writer.durable(), writer.end());
        assert_eq!(writer.segment(), 1);
    }

    #[test]
    fn a_failed_write_cancels_the_sync_and_says_why() {
        let (operations, failed) = write_where_none_may(b"x");
        assert_eq!((operations, failed), (2, true));
    }

    #[test]
    fn a_large_flush_that_fails_says_why() {
        let payload = vec![b'x'; DURABLY_BLOCKS_MIN * BLOCK_BYTES];
        let (operations, failed) = write_where_none_may(&payload);
        assert_eq!((operations, failed), (1, true));
    }

    /// Flushes a record to a file that may only be read: how many operations that takes, and whether the
    /// writer has stopped.
    fn write_where_none_may(payload: &[u8]) -> (usize, bool) {
        let folder = Folder::new(&format!("log-writes-fail-{}", payload.len()));
        let mut ring = Ring::new().expect("io_uring");
        let mut writes = LogWrites::default();
        let mut writer = Writer::new(IDENTITY, BLOCKS, Lsn(0));
        let segment = prepare(&folder.0, IDENTITY, 0, HEADER).expect("room");
        writes.add(0, segment);
        writer.segment_prepared();
        writer.append(0, &Kind::Effects, b"first").expect("short");
        let flush = writer.begin(How::Sync, Lsn(0)).expect("due");
        let (flush, result) = carry_out(&mut writes, &mut ring, flush);
        assert_eq!(result, Ok(()));
        writer.ended(flush, Ok(()));
        let file = fs::File::open(folder.0.join("1-0-0.log")).expect("for reading only");
        writes.segments[0].1.file = file;
        writer.append(0, &Kind::Effects, payload).expect("short");
        let flush = writer.begin(How::Sync, Lsn(0)).expect("due");
        writes.begin(&mut ring, flush, u64::from);
        let operations = writes.under_way[0].as_ref().map_or(0, |flush| flush.left);
        let (flush, result) = loop {
            if let Some(end) = completed(&mut writes, &mut ring).pop() {
                break end;
            }
        };
        assert_eq!(result, Err(Failure::System(libc::EBADF)));
        writer.ended(flush, Err(Failed));
        (operations, writer.has_failed())
    }
}
