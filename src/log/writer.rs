//! The writer of one shard's log: records in, flushes out.
//!
//! Records are laid out in blocks as they come. [`Writer::begin`] turns what has gathered into a
//! [`Flush`]; what comes meanwhile shares the next (group commit). The reactor carries the flush out
//! and hands it back with [`Writer::ended`].
//!
//! Where replies wait for it, a few flushes may be under way at once ([`Writer::takes_another`]):
//! devices carry out several in the time of one, and what comes just after one has begun would wait
//! for two of them otherwise. They may end in any order; what is durable is what all flushes up to
//! it have made so.
//!
//! Positions of a segment are in one of these states:
//!
//! - *fresh*: not written in this use of the segment, from `fresh` on;
//! - *taken*: holds bytes that are nowhere else;
//! - *tail*: the block of the last flush when it was the only one and less than half full: the next
//!   flush writes its bytes again, to another position, with more behind them;
//! - *retired*: a tail of which another copy is written but not durable;
//! - *spare*: a tail of which another copy is durable. It is written before a fresh one is.
//!
//! Invariants: only fresh and spare positions are written, so the only durable copy of a byte never
//! is. There is at most one tail, one retired and one spare position, and the others that a flush has
//! written are at least half full taken together: hence the bound on the size of the log. No flush
//! begins beside another while there is a tail or a retired position.

use std::collections::VecDeque;
use std::ops::Range;

use smallvec::SmallVec;

use super::block::{Block, Head, Header, PAYLOAD_BYTES, Place};
use super::record::{self, Kind};
use super::{Identity, Lsn};
use crate::txn::DbIndex;

/// A last block with fewer bytes is written again with what comes next. Half of a block, head and
/// all: so blocks hold at most twice the bytes of their records.
const HALF_BYTES: usize = super::block::BLOCK_BYTES / 2;
/// Flushes under way, at most.
pub const FLUSHES_MAX: usize = 4;
/// Blocks in one flush, at most: 1 MiB is a millisecond or less, which what comes meanwhile waits.
pub const FLUSH_BLOCKS_MAX: usize = 256;
/// So many buffers are kept for flushes to come, 8 MiB in all: while the disk takes its time over one
/// flush, what comes fills others.
const KEPT_MAX: usize = 8;
/// A segment has at least so many blocks: its header, two positions for the tail, and one more.
pub const SEGMENT_BLOCKS_MIN: u32 = 4;

/// How a flush ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// Everything, with a sync: it is durable then.
    Sync,
    /// Whole blocks only, without a sync: a later `Sync` makes them durable.
    Whole,
}

/// What is to be written and synced.
pub struct Flush {
    /// The segment that is written to.
    pub segment: u64,
    /// Where to: position of the first block, and which of `blocks`. In any order, or together.
    pub extents: SmallVec<[(u32, Range<usize>); 3]>,
    /// What is written.
    pub blocks: Vec<Block>,
    /// Segments to sync when all is written.
    pub syncs: SmallVec<[u64; 2]>,
    /// Whether its own blocks are all that `syncs` has to make durable: no write before it waits for
    /// a sync. What writes and syncs at once does as well then.
    pub syncs_itself_only: bool,
    /// When it began, for who wants to know how long it takes: Unix time in microseconds.
    pub began_us: u64,
    number: u64,
}

/// A flush that has begun.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    number: u64,
    how: How,
    segment: u64,
    /// Where the log ends that is on the disk then.
    end: Lsn,
    /// Whether it has ended; those before it have not.
    ended: bool,
}

/// What a failure leaves: the writer has stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failed;

/// A record that is longer than a record may be: 4 GiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLong;

/// The writer of one shard's log in one epoch.
pub struct Writer {
    identity: Identity,
    /// Blocks of a segment.
    segment_blocks: u32,
    segment: u64,
    /// Segments that may be written to: below this number.
    prepared: u64,
    /// Whether the segment's header has been given to a flush, or was written before.
    opened: bool,
    fresh: u32,
    spare: Option<u32>,
    retired: Option<u32>,
    /// Where the bytes at the start of `filling` are durable already.
    tail: Option<u32>,
    /// What is to be written, a flush each: every block but the last of all is full.
    filling: VecDeque<Vec<Block>>,
    /// Of the first byte in `filling`.
    filling_from: Lsn,
    /// Bytes in the last block of `filling`.
    fill: usize,
    /// Where the log ends.
    end: Lsn,
    /// Up to where it has been given to a flush.
    begun: Lsn,
    durable: Lsn,
    /// The last segment whose header is durable.
    durable_segment: u64,
    /// Segments with bytes that no sync has covered yet.
    unsynced: SmallVec<[u64; 2]>,
    /// Flushes that have begun, in their order, from the first on that has not ended.
    under_way: VecDeque<UnderWay>,
    /// Flushes that have begun.
    flushes: u64,
    failed: bool,
    /// Memory for the next flushes, empty.
    kept: Vec<Vec<Block>>,
}

impl Writer {
    /// The writer of a log that begins at `first` with segment 0, whose header is there already.
    pub fn new(identity: Identity, segment_blocks: u32, first: Lsn) -> Self {
        assert!(segment_blocks >= SEGMENT_BLOCKS_MIN, "room for a tail");
        Self {
            identity,
            segment_blocks,
            segment: 0,
            prepared: 0,
            opened: true,
            fresh: 1,
            spare: None,
            retired: None,
            tail: None,
            filling: VecDeque::new(),
            filling_from: first,
            fill: 0,
            end: first,
            begun: first,
            durable: first,
            durable_segment: 0,
            unsynced: SmallVec::new(),
            under_way: VecDeque::with_capacity(FLUSHES_MAX),
            flushes: 0,
            failed: false,
            kept: Vec::new(),
        }
    }

    /// Whose log it is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Where the log ends: what the next record's LSN is.
    pub fn end(&self) -> Lsn {
        self.end
    }

    /// Everything below is durable.
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// Bytes that no flush has taken yet.
    pub fn waiting_bytes(&self) -> u64 {
        self.end.since(self.begun)
    }

    /// Bytes in whole blocks that no flush has taken yet.
    pub fn waiting_whole_bytes(&self) -> usize {
        let blocks: usize = self.filling.iter().map(Vec::len).sum();
        blocks.saturating_sub(1) * PAYLOAD_BYTES
    }

    /// Whether a sync has something to do.
    pub fn is_dirty(&self) -> bool {
        self.durable < self.end
    }

    /// Whether a flush is being carried out.
    pub fn is_flushing(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Whether a flush with a sync may begin though others are under way: if there is enough for it,
    /// and it does not depend on what becomes of those.
    pub fn takes_another(&self) -> bool {
        (1..FLUSHES_MAX).contains(&self.under_way.len())
            && self.under_way.iter().all(|flush| flush.how == How::Sync)
            && self.tail.is_none()
            && self.retired.is_none()
            && self.waiting_bytes() >= HALF_BYTES as u64
            && self.has_room()
            && !self.failed
    }

    /// Whether a flush has failed: nothing is written any more.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// The segment that is written to now.
    pub fn segment(&self) -> u64 {
        self.segment
    }

    /// The last segment whose header is durable: all that is not durable goes there or further.
    pub fn durable_segment(&self) -> u64 {
        self.durable_segment
    }

    /// The number of the segment that is to be prepared next.
    pub fn next_segment(&self) -> u64 {
        self.prepared
    }

    /// The segment [`next_segment`](Self::next_segment) is there: a file of the right size, of
    /// zeros or of blocks of an earlier use, with zeros in the header's place, or, in segment 0, with
    /// the header.
    pub fn segment_prepared(&mut self) {
        self.prepared += 1;
    }

    /// Whether what waits cannot be written for want of a segment.
    pub fn is_starved(&self) -> bool {
        !self.is_flushing() && self.waiting_bytes() > 0 && !self.has_room()
    }

    /// Whether what waits and `bytes` more do not fit into the segments that there are.
    pub fn is_nearly_full(&self, bytes: u64) -> bool {
        let blocks = match self.prepared.saturating_sub(self.segment) {
            0 => 0,
            count => {
                let others = (count - 1) * u64::from(self.segment_blocks - 1);
                u64::from(self.segment_blocks - self.fresh) + others
            }
        };
        blocks * (PAYLOAD_BYTES as u64) < self.waiting_bytes() + bytes
    }

    fn has_room(&self) -> bool {
        self.segment < self.prepared
            && (self.fresh < self.segment_blocks
                || self.spare.is_some()
                || self.segment + 1 < self.prepared)
    }

    /// Appends a record. Returns its LSN and that of the byte after it; a reply waits for the
    /// latter.
    pub fn append(
        &mut self,
        db: DbIndex,
        kind: &Kind,
        payload: &[u8],
    ) -> Result<Range<Lsn>, TooLong> {
        let from = self.end;
        let head = record::head(from, db, kind, payload).ok_or(TooLong)?;
        self.put(&head);
        self.put(payload);
        Ok(from..self.end)
    }

    fn put(&mut self, mut bytes: &[u8]) {
        self.end = self.end.plus(bytes.len());
        while !bytes.is_empty() {
            if self.filling.is_empty() || self.fill == PAYLOAD_BYTES {
                self.add_block();
            }
            let last = self.filling.back_mut().and_then(|blocks| blocks.last_mut());
            let block = last.expect("just seen to");
            let room = &mut block.payload()[self.fill..];
            let (now, later) = bytes.split_at(bytes.len().min(room.len()));
            room[..now.len()].copy_from_slice(now);
            self.fill += now.len();
            bytes = later;
        }
    }

    fn add_block(&mut self) {
        self.fill = 0;
        match self.filling.back_mut() {
            Some(blocks) if blocks.len() < FLUSH_BLOCKS_MAX => blocks.push(Block::ZERO),
            _ => {
                // Behind a full one it will be full, too: it does not grow by copying.
                let wanted = match self.filling.is_empty() {
                    true => 1,
                    false => FLUSH_BLOCKS_MAX,
                };
                let mut blocks = self.kept.pop().unwrap_or_default();
                blocks.reserve_exact(wanted);
                blocks.push(Block::ZERO);
                self.filling.push_back(blocks);
            }
        }
    }

    /// Begins a flush of what has gathered. `None`: one is under way beside which none may be, there
    /// is nothing to do, there is no segment, or the writer has failed.
    ///
    /// `committed` is what the blocks say of the whole: everything below is certain to survive.
    pub fn begin(&mut self, how: How, committed: Lsn) -> Option<Flush> {
        if self.failed || self.is_flushing() && !(how == How::Sync && self.takes_another()) {
            return None;
        }
        let last = self.filling.len() == 1;
        let mut blocks = match (self.filling.front(), how) {
            (Some(first), How::Whole) if last && self.fill < PAYLOAD_BYTES => first.len() - 1,
            (Some(first), _) if self.begun < self.end => first.len(),
            _ => 0,
        };
        if blocks == 0 {
            return self.begin_sync(how);
        }
        if self.fresh == self.segment_blocks && self.spare.is_none() {
            if self.segment + 1 >= self.prepared {
                return self.begin_sync(how);
            }
            self.roll();
        }
        if self.segment >= self.prepared {
            return None;
        }
        let room = (self.segment_blocks - self.fresh) as usize;
        // A spare position takes the tail's next copy, or a flush of a single block: then it is one
        // write. A longer one goes to fresh positions as a whole.
        let to_spare = self.spare.is_some() && (self.tail.is_some() || blocks == 1 || room == 0);
        blocks = blocks.min(room + usize::from(to_spare));
        assert!(blocks > 0, "there is room");
        Some(self.take(blocks, to_spare, how, committed))
    }

    /// A flush without blocks, when all is written and a sync is due.
    fn begin_sync(&mut self, how: How) -> Option<Flush> {
        if how != How::Sync || self.unsynced.is_empty() {
            return None;
        }
        assert!(!self.is_flushing(), "what it would sync may not be written");
        Some(Flush {
            segment: self.segment,
            extents: SmallVec::new(),
            blocks: Vec::new(),
            syncs: std::mem::take(&mut self.unsynced),
            syncs_itself_only: false,
            began_us: 0,
            number: self.begins(how, self.begun),
        })
    }

    /// A flush begins; its number.
    fn begins(&mut self, how: How, end: Lsn) -> u64 {
        self.flushes += 1;
        self.under_way.push_back(UnderWay {
            number: self.flushes,
            how,
            segment: self.segment,
            end,
            ended: false,
        });
        self.flushes
    }

    /// Goes on in the next segment. What the tail holds is written again there: its copy in the old
    /// one stays.
    fn roll(&mut self) {
        self.segment += 1;
        self.opened = false;
        self.fresh = 1;
        (self.spare, self.retired, self.tail) = (None, None, None);
    }

    /// The flush of so many blocks.
    fn take(&mut self, count: usize, to_spare: bool, how: How, committed: Lsn) -> Flush {
        let mut blocks = self.filling.pop_front().expect("blocks are there");
        if count < blocks.len() {
            let mut later = self.kept.pop().unwrap_or_default();
            later.extend(blocks.drain(count..));
            self.filling.push_front(later);
        }
        let from = self.filling_from;
        let all = self.filling.is_empty();
        let last = if all { self.fill } else { PAYLOAD_BYTES };
        let end = from.plus((count - 1) * PAYLOAD_BYTES + last);
        assert_eq!(all, end == self.end, "every block but the last is full");
        let mut extents = SmallVec::<[(u32, Range<usize>); 3]>::new();
        let fresh = usize::from(to_spare)..count;
        if to_spare {
            extents.push((self.spare.take().expect("there is one"), 0..1));
        }
        if !fresh.is_empty() {
            extents.push((self.fresh, fresh.clone()));
        }
        for (position, range) in &extents {
            for (at, index) in range.clone().enumerate() {
                let place = Place {
                    segment: self.segment,
                    position: position + at as u32,
                };
                let head = Head {
                    lsn: from.plus(index * PAYLOAD_BYTES),
                    fill: if index + 1 == count {
                        last
                    } else {
                        PAYLOAD_BYTES
                    } as u16,
                    durable: self.durable.min(end),
                    committed: committed.min(self.durable),
                };
                blocks[index].seal(self.identity, place, head);
            }
        }
        let (last_at, range) = extents.last().expect("at least one block");
        let last_at = last_at + range.len() as u32 - 1;
        self.fresh += fresh.len() as u32;
        if let Some(tail) = self.tail.take() {
            assert!(self.retired.is_none(), "one tail is followed by one copy");
            self.retired = Some(tail);
        }
        self.filling_from = end;
        if all && count == 1 && last < HALF_BYTES && how == How::Sync {
            self.tail = Some(last_at);
            self.filling_from = from.plus((count - 1) * PAYLOAD_BYTES);
            self.add_block();
            self.fill = last;
            let again = self.filling.back_mut().and_then(|blocks| blocks.last_mut());
            again.expect("just added").clone_from(&blocks[count - 1]);
        } else if all {
            self.fill = 0;
        }
        if !self.opened {
            self.opened = true;
            let header = Header {
                first: from,
                blocks: self.segment_blocks,
            };
            extents.push((0, count..count + 1));
            blocks.push(Block::header(self.identity, self.segment, header));
        }
        let syncs_itself_only = self.unsynced.is_empty() && how == How::Sync;
        if self.unsynced.last() != Some(&self.segment) {
            self.unsynced.push(self.segment);
        }
        let syncs = match how {
            How::Sync => std::mem::take(&mut self.unsynced),
            How::Whole => SmallVec::new(),
        };
        self.begun = end;
        Flush {
            segment: self.segment,
            extents,
            blocks,
            syncs,
            syncs_itself_only,
            began_us: 0,
            number: self.begins(how, end),
        }
    }

    /// A flush has been carried out: every byte of it written and every sync completed, or not.
    /// Any failure is final.
    pub fn ended(&mut self, flush: Flush, result: Result<(), Failed>) {
        let mut flushes = self.under_way.iter_mut();
        let ended = flushes.find(|known| known.number == flush.number);
        ended.expect("it was under way").ended = true;
        self.failed |= result.is_err();
        while let Some(first) = self.under_way.front().copied().filter(|first| first.ended) {
            self.under_way.pop_front();
            if first.how == How::Sync && !self.failed {
                self.durable_segment = first.segment;
                self.made_durable(first.end);
            }
        }
        if self.failed {
            return;
        }
        let mut blocks = flush.blocks;
        if self.kept.len() < KEPT_MAX && blocks.capacity() <= FLUSH_BLOCKS_MAX {
            blocks.clear();
            self.kept.push(blocks);
        }
    }

    /// Everything below is durable now.
    fn made_durable(&mut self, end: Lsn) {
        assert!(end >= self.durable, "flushes begin one after the other");
        self.durable = end;
        if let Some(retired) = self.retired.take() {
            assert!(self.spare.is_none(), "its copy went to the spare position");
            self.spare = Some(retired);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::block::{BLOCK_BYTES, Found, examine};
    use crate::log::recover::Reader;
    use crate::mesh::ShardId;

    const IDENTITY: Identity = Identity {
        shard: ShardId(1),
        shards: 2,
        epoch: 4,
    };

    fn prepared(segment: u64, blocks: u32) -> Vec<u8> {
        let first = Lsn(0);
        let block = Block::prepared(IDENTITY, segment, Header { first, blocks });
        let mut file = vec![0; blocks as usize * BLOCK_BYTES];
        file[..BLOCK_BYTES].copy_from_slice(&block.0);
        file
    }

    fn write_to(files: &mut Vec<Vec<u8>>, blocks: u32, flush: &Flush) {
        let at = flush.segment as usize;
        for segment in files.len()..=at {
            files.push(prepared(segment as u64, blocks));
        }
        for (position, range) in &flush.extents {
            for (index, block) in flush.blocks[range.clone()].iter().enumerate() {
                let from = (*position as usize + index) * BLOCK_BYTES;
                files[at][from..from + BLOCK_BYTES].copy_from_slice(&block.0);
            }
        }
    }

    fn read(files: &[Vec<u8>]) -> (Vec<Vec<u8>>, Lsn) {
        let blocks = files.first().map_or(0, |file| file.len() / BLOCK_BYTES) as u32;
        let mut reader = Reader::new(IDENTITY, blocks, Lsn(0), None);
        let mut payloads = Vec::new();
        for (number, bytes) in (0..).zip(files) {
            reader
                .segment(number, bytes, &mut |r| payloads.push(r.payload.to_vec()))
                .expect("nothing is damaged");
        }
        let tail = reader.finish().expect("nothing is damaged");
        assert_eq!(tail.torn(), None);
        tail.replay(tail.end(), |r| payloads.push(r.payload.to_vec()));
        (payloads, tail.end())
    }

    /// The log of flushes of every size: what the files hold at any moment is what was written, and
    /// no segment takes more than twice the bytes of its records, and one block.
    #[test]
    fn small_flushes_take_at_most_twice_the_bytes_of_the_records() {
        let mut rng = fastrand::Rng::with_seed(3);
        for (round, largest) in [10, 100, 700, 2100, 3000, 5000, 20_000, 300_000]
            .into_iter()
            .cycle()
            .take(48)
            .enumerate()
        {
            let blocks = rng.u32(SEGMENT_BLOCKS_MIN..60);
            let mut writer = Writer::new(IDENTITY, blocks, Lsn(0));
            let (mut files, mut wanted) = (Vec::new(), Vec::new());
            for step in 0..300 {
                for _ in 0..rng.usize(1..4) {
                    let payload = vec![step as u8; rng.usize(..largest)];
                    writer.append(0, &Kind::Effects, &payload).expect("short");
                    wanted.push(payload);
                }
                while writer.next_segment() < writer.segment() + 2 {
                    writer.segment_prepared();
                }
                let how = match rng.u8(..4) {
                    0 if round % 2 == 1 => How::Whole,
                    _ => How::Sync,
                };
                let Some(flush) = writer.begin(how, writer.durable()) else {
                    continue;
                };
                write_to(&mut files, blocks, &flush);
                writer.ended(flush, Ok(()));
            }
            while writer.is_dirty() {
                writer.segment_prepared();
                let flush = writer.begin(How::Sync, writer.durable()).expect("due");
                write_to(&mut files, blocks, &flush);
                writer.ended(flush, Ok(()));
            }
            let (payloads, end) = read(&files);
            assert_eq!((payloads.len(), end), (wanted.len(), writer.end()));
            assert!(payloads == wanted);
            let taken = |file: &Vec<u8>| {
                let zero = |block: &&[u8]| block.iter().any(|&byte| byte != 0);
                file.chunks_exact(BLOCK_BYTES).skip(1).filter(zero).count()
            };
            let bytes: usize = files.iter().map(|file| taken(file) * BLOCK_BYTES).sum();
            let over = 2 * files.len() * BLOCK_BYTES; // the tail and the spare position of each
            assert!(
                bytes as u64 <= 2 * end.0 + over as u64,
                "{bytes} bytes for {end} of records, flushes of up to {largest}"
            );
        }
    }

    /// Between two flushes every block that was durable and not superseded stays as it is.
    #[test]
    fn the_only_durable_copy_is_never_overwritten() {
        let mut rng = fastrand::Rng::with_seed(5);
        let blocks = 24;
        let mut writer = Writer::new(IDENTITY, blocks, Lsn(0));
        let (mut files, mut ends) = (vec![prepared(0, blocks)], Vec::new());
        for _ in 0..3000 {
            let largest = [60, 900, 9000][rng.usize(..3)];
            let payload = vec![7; rng.usize(..largest)];
            ends.push(
                writer
                    .append(0, &Kind::Effects, &payload)
                    .expect("short")
                    .end,
            );
            while writer.next_segment() < writer.segment() + 2 {
                writer.segment_prepared();
            }
            let Some(flush) = writer.begin(How::Sync, writer.durable()) else {
                continue;
            };
            // As if every byte of the flush were torn: all that was durable is still there.
            let mut torn = files.clone();
            let durable = writer.durable();
            if let Some(file) = torn.get_mut(flush.segment as usize) {
                for (position, range) in &flush.extents {
                    let from = *position as usize * BLOCK_BYTES;
                    file[from..from + range.len() * BLOCK_BYTES].fill(0xAA);
                }
            }
            let mut reader = Reader::new(IDENTITY, blocks, Lsn(0), None);
            for (number, bytes) in (0..).zip(&torn) {
                reader.segment(number, bytes, &mut |_| {}).expect("whole");
            }
            let whole = ends.partition_point(|end| *end <= durable);
            let wanted = whole.checked_sub(1).map_or(Lsn(0), |last| ends[last]);
            assert_eq!(reader.finish().expect("whole").end(), wanted);
            write_to(&mut files, blocks, &flush);
            writer.ended(flush, Ok(()));
            if files.len() > 4 {
                return;
            }
        }
    }

    #[test]
    fn a_failure_is_final() {
        let mut writer = Writer::new(IDENTITY, 8, Lsn(0));
        writer.segment_prepared();
        writer.append(0, &Kind::Effects, b"x").expect("short");
        let flush = writer.begin(How::Sync, Lsn(0)).expect("due");
        assert!(writer.begin(How::Sync, Lsn(0)).is_none(), "one at a time");
        writer.ended(flush, Err(Failed));
        assert!(writer.has_failed() && writer.begin(How::Sync, Lsn(0)).is_none());
        assert_eq!(writer.durable(), Lsn(0));
    }

    #[test]
    fn without_a_segment_it_waits() {
        let mut writer = Writer::new(IDENTITY, 4, Lsn(0));
        writer
            .append(0, &Kind::Effects, &[1; 40_000])
            .expect("short");
        assert!(writer.is_starved() && writer.begin(How::Sync, Lsn(0)).is_none());
        let mut files = Vec::new();
        for segment in 0..4 {
            writer.segment_prepared();
            assert!(!writer.is_starved());
            let flush = writer.begin(How::Sync, Lsn(0)).expect("there is room");
            assert_eq!(flush.segment, segment);
            write_to(&mut files, 4, &flush);
            writer.ended(flush, Ok(()));
        }
        assert_eq!(writer.durable(), writer.end());
        let place = Place {
            segment: 3,
            position: 0,
        };
        let found = examine(&files[3][..BLOCK_BYTES], IDENTITY, place);
        assert!(matches!(found, Found::Header(_)));
        assert_eq!(read(&files).0, [vec![1; 40_000]]);
    }
}
