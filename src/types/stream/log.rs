//! The entries of a stream: appended at the end, read from both ends, deleted and trimmed.

use super::block::{Block, Entry, Found};
use super::id::StreamId;
use super::index::Index;

/// Most bytes of a block, and of an entry's fields and values (Redis's STREAM_LISTPACK_MAX_SIZE).
const BLOCK_BYTES_MAX: u64 = 1 << 30;

/// When a block is full: `stream-node-max-bytes` and `stream-node-max-entries`, 0 for no limit.
#[derive(Clone, Copy, Debug)]
pub struct BlockLimits {
    /// Bytes of a block.
    pub bytes: u64,
    /// Entries of a block, deleted ones included.
    pub entries: u64,
}

impl BlockLimits {
    fn bytes(self) -> usize {
        match self.bytes {
            1..BLOCK_BYTES_MAX => self.bytes as usize,
            _ => BLOCK_BYTES_MAX as usize,
        }
    }
}

/// The ID that a new entry is to have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewId {
    /// The time, or the last ID's successor where that is later.
    Auto {
        /// Unix time in milliseconds.
        now_ms: u64,
    },
    /// The next one of this millisecond.
    InMs(u64),
    /// This one.
    Given(StreamId),
}

/// Why an entry was not appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The last possible ID is taken.
    Exhausted,
    /// Its ID is not behind the last one.
    NotBehind,
    /// Its fields and values have more bytes than a block may have.
    TooLarge,
}

/// What is to be trimmed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trim {
    /// All but the last so many entries.
    MaxLen(u64),
    /// The entries before an ID.
    MinId(StreamId),
}

/// How exactly and how much at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrimLimits {
    /// Only whole blocks go.
    pub approximate: bool,
    /// At most so many entries; 0 for no limit.
    pub entries: u64,
}

/// The entries, and what is remembered of those that have gone.
#[derive(Clone, Default, Debug)]
pub struct Log {
    pub(super) index: Index,
    length: u64,
    last_id: StreamId,
    first_id: StreamId,
    max_deleted_id: StreamId,
    entries_added: u64,
}

impl Log {
    /// Number of entries.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.index.len()
    }

    /// The greatest ID that an entry ever had, or that was set.
    pub fn last_id(&self) -> StreamId {
        self.last_id
    }

    /// The first entry's ID; `0-0` where there is none.
    pub fn first_id(&self) -> StreamId {
        self.first_id
    }

    /// The greatest ID that was deleted (and not trimmed).
    pub fn max_deleted_id(&self) -> StreamId {
        self.max_deleted_id
    }

    /// How many entries were ever added.
    pub fn entries_added(&self) -> u64 {
        self.entries_added
    }

    /// Adds a block behind all others whose last entry, deleted or not, has the ID `last`.
    pub(super) fn add_block(&mut self, first: StreamId, block: Block, last: StreamId) {
        let is_first = self.is_empty();
        self.length += block.live() as u64;
        self.last_id = last;
        self.index.push(first, block);
        if is_first {
            self.find_first();
        }
    }

    /// XSETID: sets what is remembered.
    pub fn set_id(&mut self, last: StreamId, added: Option<u64>, max_deleted: Option<StreamId>) {
        assert!(self.is_empty() || last >= self.last_entry_id());
        self.last_id = last;
        self.entries_added = added.unwrap_or(self.entries_added);
        self.max_deleted_id = max_deleted.unwrap_or(self.max_deleted_id);
    }

    /// The ID that the next entry would have, and whether it may be added.
    fn next_id(&self, wanted: NewId) -> Result<StreamId, Refused> {
        if self.last_id == StreamId::MAX {
            return Err(Refused::Exhausted);
        }
        let id = match wanted {
            NewId::Given(id) => id,
            NewId::Auto { now_ms } if now_ms > self.last_id.ms => StreamId { ms: now_ms, seq: 0 },
            NewId::Auto { .. } => self.last_id.next().ok_or(Refused::Exhausted)?,
            NewId::InMs(ms) if ms == self.last_id.ms => StreamId {
                ms,
                seq: self.last_id.seq.checked_add(1).ok_or(Refused::NotBehind)?,
            },
            NewId::InMs(ms) => StreamId { ms, seq: 0 },
        };
        if id > self.last_id {
            Ok(id)
        } else {
            Err(Refused::NotBehind)
        }
    }

    /// Appends an entry; `pairs` are fields and values by turns. Its ID.
    pub fn append(
        &mut self,
        wanted: NewId,
        pairs: &[&[u8]],
        limits: BlockLimits,
    ) -> Result<StreamId, Refused> {
        assert!(pairs.len().is_multiple_of(2) && !pairs.is_empty());
        let id = self.next_id(wanted)?;
        let bytes: usize = pairs.iter().map(|part| part.len()).sum();
        if bytes as u64 > BLOCK_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        let full = self.index.last().is_none_or(|(_, block)| {
            block.packed_len() + bytes >= limits.bytes()
                || (limits.entries > 0 && block.entries() as u64 >= limits.entries)
        });
        if full {
            self.index.push(id, Block::new(pairs));
        }
        let appended = self.index.edit_last(|first, block| {
            let delta = StreamId {
                ms: id.ms.wrapping_sub(first.ms),
                seq: id.seq.wrapping_sub(first.seq),
            };
            block.append(delta, pairs);
        });
        assert!(appended.is_some(), "there is a last block");
        self.length += 1;
        self.entries_added = self.entries_added.wrapping_add(1);
        self.last_id = id;
        if self.length == 1 {
            self.first_id = id;
        }
        Ok(id)
    }

    /// The entries from one ID to another, both included, from the first or from the last.
    pub fn range(&self, start: StreamId, end: StreamId, reverse: bool) -> Range<'_> {
        Range::new(&self.index, start, end, reverse)
    }

    /// The entry with an ID.
    pub fn get(&self, id: StreamId) -> Option<Entry<'_>> {
        let (first, block) = self.index.at_or_before(id)?;
        block.find(first, id).map(|found| found.entry)
    }

    /// Whether there is an entry with an ID.
    pub fn contains(&self, id: StreamId) -> bool {
        self.length > 0 && id >= self.first_id && id <= self.last_id && self.get(id).is_some()
    }

    /// The greatest ID of an entry that is there, or the last ID where there is none.
    pub fn last_entry_id(&self) -> StreamId {
        let last = self.range(StreamId::MIN, StreamId::MAX, true).next();
        last.map_or(self.last_id, |entry| entry.id)
    }

    /// Deletes an entry; whether it was there.
    pub fn delete(&mut self, id: StreamId) -> bool {
        if !self.take_out(id) {
            return false;
        }
        self.max_deleted_id = self.max_deleted_id.max(id);
        if self.length == 0 || id == self.first_id {
            self.find_first();
        }
        true
    }

    /// Takes an entry out of its block, and the block out where it was the last one in it.
    fn take_out(&mut self, id: StreamId) -> bool {
        let Some((first, block)) = self.index.at_or_before(id) else {
            return false;
        };
        let Some(start) = block.find(first, id).map(|found| found.start) else {
            return false;
        };
        if block.live() == 1 {
            self.index.remove(first);
        } else if let Some(block) = self.index.get_mut(first) {
            block.delete(start);
        }
        self.length -= 1;
        true
    }

    /// Looks for the first entry anew.
    fn find_first(&mut self) {
        let first = self.range(StreamId::MIN, StreamId::MAX, false).next();
        self.first_id = first.map_or(StreamId::MIN, |entry| entry.id);
    }

    /// Trims from the start; how many entries went. `may_go` is asked for each entry where it is
    /// given: what it refuses stays.
    pub fn trim(
        &mut self,
        trim: Trim,
        limits: TrimLimits,
        mut filter: Option<&mut dyn FnMut(StreamId) -> bool>,
    ) -> u64 {
        let before = self.length;
        let mut next = self.index.first().map(|(first, _)| first);
        while let Some(first) = next {
            if let Trim::MaxLen(max) = trim
                && self.length <= max
            {
                break;
            }
            if let Trim::MinId(id) = trim
                && first >= id
            {
                break;
            }
            let Some(block) = self.index.get_mut(first) else {
                break;
            };
            let live = block.live() as u64;
            if limits.entries > 0 && before - self.length + live > limits.entries {
                break;
            }
            let whole = match trim {
                Trim::MaxLen(max) => self.length - live >= max,
                Trim::MinId(id) => {
                    let last = block.entry_before(first, block.end_at());
                    last.is_none_or(|last| last.entry.id < id)
                }
            };
            next = self.index.after(first).map(|(first, _)| first);
            match &mut filter {
                None if whole => {
                    self.index.remove(first);
                    self.length -= live;
                }
                None if !limits.approximate => {
                    self.trim_block(first, trim, &mut |_| true);
                    break;
                }
                Some(may_go) if whole || !limits.approximate => {
                    self.trim_block(first, trim, &mut |id| may_go(id));
                }
                _ => break,
            }
        }
        if self.length < before {
            self.find_first();
        }
        before - self.length
    }

    /// Trims entry by entry within a block, which goes with its last live one.
    fn trim_block(
        &mut self,
        first: StreamId,
        trim: Trim,
        may_go: &mut dyn FnMut(StreamId) -> bool,
    ) {
        let Some(block) = self.index.get_mut(first) else {
            return;
        };
        let mut at = block.first_at();
        while let Some(found) = block.entry_at(first, at) {
            let (id, start, deleted) = (found.entry.id, found.start, found.deleted);
            at = found.end;
            let enough = match trim {
                Trim::MaxLen(max) => self.length <= max,
                Trim::MinId(min) => id >= min,
            };
            if enough {
                break;
            }
            if !deleted && may_go(id) {
                block.delete(start);
                self.length -= 1;
            }
        }
        if block.live() == 0 {
            self.index.remove(first);
        }
    }

    /// Frees a block; whether there was one. The log is only freed on afterwards.
    pub(super) fn free_block(&mut self) -> bool {
        let last = self.index.last().map(|(first, _)| first);
        last.is_some_and(|last| self.index.remove(last).is_some())
    }

    /// Bytes that it holds outside of itself.
    pub(super) fn heap_bytes(&self) -> usize {
        self.index.heap_bytes()
    }

    /// Panics unless every invariant holds; walks everything. The IDs of all entries.
    pub fn verify(&self) -> Vec<StreamId> {
        self.index.verify();
        let (mut previous, mut length) = (None, 0);
        for (first, block) in self.index.iter() {
            let ids = block.verify(first);
            assert!(previous < Some(first), "blocks do not overlap");
            previous = ids.last().copied();
            length += block.live() as u64;
        }
        let ids: Vec<_> = self
            .range(StreamId::MIN, StreamId::MAX, false)
            .map(|entry| entry.id)
            .collect();
        assert_eq!((ids.len() as u64, length), (self.length, self.length));
        assert_eq!(ids.first().copied().unwrap_or_default(), self.first_id);
        assert!(ids.last() <= Some(&self.last_id) || ids.is_empty());
        ids
    }
}

/// Entries of a range, from the first or from the last.
#[derive(Debug)]
pub struct Range<'a> {
    index: &'a Index,
    block: Option<(StreamId, &'a Block)>,
    /// Offset of the next entry's start, or of its end where the range is reverse.
    at: usize,
    start: StreamId,
    end: StreamId,
    reverse: bool,
}

impl<'a> Range<'a> {
    fn new(index: &'a Index, start: StreamId, end: StreamId, reverse: bool) -> Self {
        let from = if reverse { end } else { start };
        let mut block = index.at_or_before(from);
        if block.is_none() && !reverse {
            block = index.first();
        }
        let at = block.map_or(0, |(_, block)| Self::begin(block, reverse));
        Self {
            index,
            block: block.filter(|_| start <= end),
            at,
            start,
            end,
            reverse,
        }
    }

    fn begin(block: &Block, reverse: bool) -> usize {
        if reverse {
            block.end_at()
        } else {
            block.first_at()
        }
    }

    /// The next entry's place, deleted or not, whichever block it is in.
    #[inline]
    fn step(&mut self) -> Option<Found<'a>> {
        loop {
            let (first, block) = self.block?;
            let found = if self.reverse {
                block.entry_before(first, self.at)
            } else {
                block.entry_at(first, self.at)
            };
            if let Some(found) = found {
                self.at = if self.reverse { found.start } else { found.end };
                return Some(found);
            }
            self.block = if self.reverse {
                self.index.before(first)
            } else {
                self.index.after(first)
            };
            self.at = self
                .block
                .map_or(0, |(_, block)| Self::begin(block, self.reverse));
        }
    }
}

impl<'a> Iterator for Range<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        while let Some(Found { entry, deleted, .. }) = self.step() {
            let id = entry.id;
            let beyond = if self.reverse {
                id < self.start
            } else {
                id > self.end
            };
            if beyond {
                self.block = None;
                break;
            }
            if !deleted && id >= self.start && id <= self.end {
                return Some(entry);
            }
        }
        None
    }
}
