//! A block of entries: what Redis calls a macro node.
//!
//! The body is a row of [elements](super::element), only ever appended to:
//!
//! | elements | what |
//! | --- | --- |
//! | n, n fields, 0 | the master: the fields of the block's first entry |
//! | flags, ms, seq | an entry; its ID as the difference to the block's first, which the index holds |
//! | n, n times field and value | unless the flags say that its fields are the master's |
//! | n values | if they say so |
//! | number | of the entry's elements before this one: the way back |
//!
//! A deleted entry stays and is marked in its flags. The numbers of live and deleted entries, which
//! stand in front of a listpack of Redis's, are kept beside the body, where they change without
//! moving it; [`Block::packed_len`] counts them and the listpack's frame.

use super::element::{self, Element, OVERHEAD_MAX};
use super::id::StreamId;

/// Flags of an entry.
const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;

/// Head and end of a listpack in bytes.
const FRAME_BYTES: usize = 7;

/// A body that needs more room gets an eighth more than that, and at most so many bytes more. Most
/// streams have one block, so what it does not use counts: room that doubles was half of a stream
/// of 100 entries, whose block is full with a little over 4 KiB.
const SPARE_MAX: usize = 1 << 20;

/// The size of an allocator that holds so many bytes: four to a doubling.
fn room_for(bytes: usize) -> usize {
    let bytes = bytes.max(64);
    bytes.next_multiple_of((1 << (bytes - 1).ilog2()) / 4)
}

/// A block of entries.
#[derive(Clone, Debug)]
pub(super) struct Block {
    body: Vec<u8>,
    live: u32,
    dead: u32,
}

/// An entry as it stands in its block.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its ID.
    pub id: StreamId,
    body: &'a [u8],
    /// Where its first value, or field, stands.
    at: usize,
    fields: usize,
    same_fields: bool,
}

impl<'a> Entry<'a> {
    /// Number of its fields.
    pub fn len(&self) -> usize {
        self.fields
    }

    /// Whether it has no fields: never, but for a stranger's data.
    pub fn is_empty(&self) -> bool {
        self.fields == 0
    }

    /// Its fields and values in the order in which they were given.
    #[inline]
    pub fn pairs(&self) -> impl Iterator<Item = (Element<'a>, Element<'a>)> + use<'a> {
        let (body, same_fields, mut at) = (self.body, self.same_fields, self.at);
        let mut master = element::skip(body, 0);
        (0..self.fields).map(move |_| {
            let source = if same_fields { &mut master } else { &mut at };
            let (field, next) = element::read(body, *source);
            *source = next;
            let (value, next) = element::read(body, at);
            at = next;
            (field, value)
        })
    }
}

/// An entry's place in a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    /// The entry.
    pub(super) entry: Entry<'a>,
    /// Whether it was deleted.
    pub(super) deleted: bool,
    /// Where it begins.
    pub(super) start: usize,
    /// Where the next one begins.
    pub(super) end: usize,
}

impl Block {
    /// A block whose master has the fields of these pairs, with room for the first entry.
    pub(super) fn new(pairs: &[&[u8]]) -> Self {
        let bytes: usize = pairs.iter().map(|part| part.len() + 4).sum();
        let mut body = Vec::with_capacity(room_for(bytes + 16));
        element::push_int(&mut body, (pairs.len() / 2) as i64);
        let fields = pairs.iter().step_by(2);
        fields.for_each(|field| element::push_bytes(&mut body, field));
        element::push_int(&mut body, 0);
        Self {
            body,
            live: 0,
            dead: 0,
        }
    }

    /// The block with a body whose elements are whole and in their one form; None if they are not
    /// those of a block that begins at `first`. And the ID of its last entry.
    pub(super) fn of_body(first: StreamId, body: Vec<u8>) -> Option<(Self, StreamId)> {
        let (last, live, dead) = check(first, &body)?;
        Some((Self { body, live, dead }, last))
    }

    /// Its elements, and how many they are.
    pub(super) fn body(&self) -> (&[u8], usize) {
        let (mut at, mut count) = (0, 0);
        while at < self.body.len() {
            at = element::skip(&self.body, at);
            count += 1;
        }
        (&self.body, count)
    }

    /// Entries that were not deleted.
    pub(super) fn live(&self) -> usize {
        self.live as usize
    }

    /// Entries, deleted ones included.
    pub(super) fn entries(&self) -> usize {
        self.live as usize + self.dead as usize
    }

    /// Bytes of the listpack that Redis would have for it.
    pub(super) fn packed_len(&self) -> usize {
        let counts = element::int_len(self.live.into()) + element::int_len(self.dead.into());
        FRAME_BYTES + counts + self.body.len()
    }

    /// Bytes that it has taken from the allocator.
    pub(super) fn heap_bytes(&self) -> usize {
        self.body.capacity()
    }

    /// Gives spare room back: nothing more will be appended.
    pub(super) fn seal(&mut self) {
        self.body.shrink_to_fit();
    }

    /// Appends an entry: `delta` is what its ID is beyond the block's first, `pairs` are fields and
    /// values by turns.
    pub(super) fn append(&mut self, delta: StreamId, pairs: &[&[u8]]) {
        self.reserve(pairs);
        let same_fields = self.has_fields_of(pairs);
        let fields = (pairs.len() / 2) as i64;
        let body = &mut self.body;
        element::push_int(body, if same_fields { SAME_FIELDS } else { 0 });
        element::push_int(body, delta.ms as i64);
        element::push_int(body, delta.seq as i64);
        let count = if same_fields {
            let values = pairs.iter().skip(1).step_by(2);
            values.for_each(|value| element::push_bytes(body, value));
            fields + 3
        } else {
            element::push_int(body, fields);
            let parts = pairs.iter();
            parts.for_each(|part| element::push_bytes(body, part));
            2 * fields + 4
        };
        element::push_int(body, count);
        self.live += 1;
    }

    /// Makes room for an entry, and some.
    fn reserve(&mut self, pairs: &[&[u8]]) {
        /// Flags, both differences, number of fields and way back.
        const FRAME_MAX: usize = 2 + 3 * OVERHEAD_MAX + 6;
        let bytes: usize = pairs.iter().map(|part| element::len_max(part.len())).sum();
        let needed = self.body.len() + bytes + FRAME_MAX;
        if self.body.capacity() < needed {
            let room = room_for(needed + (needed / 8).min(SPARE_MAX));
            self.body.reserve_exact(room - self.body.len());
        }
    }

    /// Whether the fields of these pairs are the master's, in the same order.
    #[inline]
    fn has_fields_of(&self, pairs: &[&[u8]]) -> bool {
        let (count, mut at) = element::read(&self.body, 0);
        if count.int() != (pairs.len() / 2) as i64 {
            return false;
        }
        pairs.iter().step_by(2).all(|field| {
            let (master, next) = element::read(&self.body, at);
            at = next;
            master.is(field)
        })
    }

    /// Where the first entry begins.
    pub(super) fn first_at(&self) -> usize {
        let (count, mut at) = element::read(&self.body, 0);
        for _ in 0..=count.int() {
            at = element::skip(&self.body, at);
        }
        at
    }

    /// Where the last entry ends.
    pub(super) fn end_at(&self) -> usize {
        self.body.len()
    }

    /// The entry that begins at an offset; None at the end. `first` is the block's first ID.
    #[inline]
    pub(super) fn entry_at(&self, first: StreamId, start: usize) -> Option<Found<'_>> {
        let body = &self.body[..];
        if start == body.len() {
            return None;
        }
        let (flags, at) = element::read(body, start);
        let (ms, at) = element::read(body, at);
        let (seq, mut at) = element::read(body, at);
        let flags = flags.int();
        let same_fields = flags & SAME_FIELDS != 0;
        let (fields, skipped) = if same_fields {
            let fields = element::read(body, 0).0.int() as usize;
            (fields, fields)
        } else {
            let (fields, next) = element::read(body, at);
            at = next;
            (fields.int() as usize, 2 * fields.int() as usize)
        };
        let mut end = at;
        for _ in 0..skipped {
            end = element::skip(body, end);
        }
        end = element::skip(body, end);
        let entry = Entry {
            id: StreamId {
                ms: first.ms.wrapping_add(ms.int() as u64),
                seq: first.seq.wrapping_add(seq.int() as u64),
            },
            body,
            at,
            fields,
            same_fields,
        };
        Some(Found {
            entry,
            deleted: flags & DELETED != 0,
            start,
            end,
        })
    }

    /// The entry that ends at an offset; None where the first one begins.
    pub(super) fn entry_before(&self, first: StreamId, end: usize) -> Option<Found<'_>> {
        if end == self.first_at() {
            return None;
        }
        let mut at = element::before(&self.body, end);
        for _ in 0..element::read(&self.body, at).0.int() {
            at = element::before(&self.body, at);
        }
        self.entry_at(first, at)
    }

    /// The entry with an ID, unless it was deleted.
    pub(super) fn find(&self, first: StreamId, id: StreamId) -> Option<Found<'_>> {
        let mut at = self.first_at();
        while let Some(found) = self.entry_at(first, at) {
            if found.entry.id >= id {
                return (found.entry.id == id && !found.deleted).then_some(found);
            }
            at = found.end;
        }
        None
    }

    /// Marks the entry that begins at an offset as deleted.
    pub(super) fn delete(&mut self, start: usize) {
        let flags = i64::from(self.body[start]);
        assert!(flags & !SAME_FIELDS == 0, "a live entry's flags");
        self.body[start] |= DELETED as u8;
        self.live -= 1;
        self.dead += 1;
    }

    /// Panics unless every invariant holds; the IDs of all entries, in order.
    pub(super) fn verify(&self, first: StreamId) -> Vec<StreamId> {
        let (mut at, mut live, mut ids) = (self.first_at(), 0, Vec::new());
        let mut ends = Vec::new();
        while let Some(found) = self.entry_at(first, at) {
            live += usize::from(!found.deleted);
            assert!(found.end > at);
            assert_eq!(found.start, at);
            ids.push(found.entry.id);
            at = found.end;
            ends.push(at);
        }
        assert_eq!(at, self.body.len());
        assert_eq!((live, ids.len()), (self.live(), self.entries()));
        assert_eq!(ids.first(), Some(&first), "a block is named by its first");
        assert!(ids.is_sorted_by(|a, b| a < b));
        for (end, id) in ends.iter().zip(&ids) {
            let found = self.entry_before(first, *end);
            assert_eq!(found.map(|f| f.entry.id), Some(*id));
        }
        ids
    }
}

/// The elements of a body, one after the other.
struct Walk<'a> {
    body: &'a [u8],
    at: usize,
}

impl Walk<'_> {
    fn skip(&mut self, count: usize) -> Option<()> {
        for _ in 0..count {
            if self.at == self.body.len() {
                return None;
            }
            self.at = element::skip(self.body, self.at);
        }
        Some(())
    }

    fn int(&mut self) -> Option<i64> {
        if self.at == self.body.len() {
            return None;
        }
        let (element, next) = element::read(self.body, self.at);
        self.at = next;
        match element {
            Element::Int(number) => Some(number),
            Element::Bytes(_) => None,
        }
    }

    fn count(&mut self) -> Option<usize> {
        usize::try_from(self.int()?).ok()
    }
}

/// Whether these elements are a block's: the ID of its last entry, and how many entries are live and
/// deleted. One at least must be live.
fn check(first: StreamId, body: &[u8]) -> Option<(StreamId, u32, u32)> {
    let mut walk = Walk { body, at: 0 };
    let master = walk.count()?;
    walk.skip(master)?;
    if walk.int()? != 0 {
        return None;
    }
    let (mut last, mut live, mut dead) = (None, 0u32, 0u32);
    while walk.at < body.len() {
        let flags = walk.int()?;
        if flags & !(DELETED | SAME_FIELDS) != 0 {
            return None;
        }
        let (ms, seq) = (walk.int()?, walk.int()?);
        let elements = if flags & SAME_FIELDS != 0 {
            walk.skip(master)?;
            master.checked_add(3)?
        } else {
            let parts = walk.count()?.checked_mul(2)?;
            walk.skip(parts)?;
            parts.checked_add(4)?
        };
        let id = StreamId {
            ms: first.ms.wrapping_add(ms as u64),
            seq: first.seq.wrapping_add(seq as u64),
        };
        let in_order = last.map_or(id == first, |last| id > last);
        if walk.count()? != elements || !in_order {
            return None;
        }
        last = Some(id);
        let counter = if flags & DELETED != 0 {
            &mut dead
        } else {
            &mut live
        };
        *counter = counter.checked_add(1)?;
    }
    last.filter(|_| live > 0).map(|last| (last, live, dead))
}
