//! Lists, small and large.
//!
//! | form | where | OBJECT ENCODING |
//! | --- | --- | --- |
//! | [packed] block of elements | in the entry | `listpack` |
//! | [`LargeList`] | blocks of 4 KiB, numbered through in two levels | `quicklist` |
//!
//! A large list is a sequence of chunks, each a sequence of at most `CHUNK_BLOCKS_MAX` blocks with
//! its number of elements: an index is found by counting through chunks, then blocks, then elements,
//! each from the nearer end. Both ends are reached at once and change without moving anything.

mod block;
mod limit;

pub use limit::Limit;

use super::packed::{self, Element, Packed};
use crate::keyspace::{Kind, Object, Value};
use block::ListBlock;
use std::any::Any;
use std::collections::VecDeque;

/// Blocks of a chunk; a full one splits.
const CHUNK_BLOCKS_MAX: usize = 256;

/// The ends of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// LEFT
    Left,
    /// RIGHT
    Right,
}

#[derive(Clone, Debug, Default)]
struct Chunk {
    blocks: VecDeque<ListBlock>,
    /// Elements of all its blocks.
    count: usize,
}

/// A list of more than an entry holds.
#[derive(Clone, Debug, Default)]
pub struct LargeList {
    chunks: VecDeque<Chunk>,
    len: usize,
    /// Bytes that the blocks hold.
    held: usize,
    /// Blocks of all chunks.
    blocks: usize,
}

/// Where an element stands, until the list's next change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct At {
    chunk: usize,
    block: usize,
    offset: usize,
}

impl Object for LargeList {
    fn kind(&self) -> Kind {
        Kind::List
    }
    fn encoding(&self) -> &'static str {
        "quicklist"
    }
    fn heap_bytes(&self) -> usize {
        let heads = self.blocks * size_of::<ListBlock>() + self.chunks.len() * size_of::<Chunk>();
        size_of::<Self>() + heads + self.held
    }
    fn free_effort(&self) -> usize {
        self.blocks
    }
    fn free_some(&mut self, budget: usize) -> bool {
        for _ in 0..budget {
            let Some(chunk) = self.chunks.back_mut() else {
                return false;
            };
            if chunk.blocks.pop_back().is_none() {
                self.chunks.pop_back();
            }
        }
        !self.chunks.is_empty()
    }
    fn duplicate(&self) -> Box<dyn Object> {
        Box::new(self.clone())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl LargeList {
    /// The list with the elements of a small one.
    pub fn of(small: Packed<'_>) -> Self {
        let mut list = Self::default();
        for (_, element) in small.iter() {
            list.push(End::Right, element);
        }
        list
    }

    /// Elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that its elements would take in one packed block, or fewer than `enough` of them.
    pub fn packed_bytes(&self, enough: usize) -> usize {
        let mut bytes = packed::HEAD_BYTES;
        for block in self.chunks.iter().flat_map(|chunk| &chunk.blocks) {
            bytes += block.packed().end() - packed::HEAD_BYTES;
            if bytes >= enough {
                break;
            }
        }
        bytes
    }

    /// Its blocks, in order, none of them empty; and how many.
    pub fn packs(&self) -> (impl Iterator<Item = Packed<'_>>, usize) {
        let blocks = self.chunks.iter().flat_map(|chunk| &chunk.blocks);
        (blocks.map(ListBlock::packed), self.blocks)
    }

    /// Up to `count` of its blocks from a place on, and the place behind them; the first is (0, 0), and
    /// behind the last one there is nothing. Places hold until the list changes.
    pub fn packs_from(
        &self,
        (chunk, block): (usize, usize),
        count: usize,
    ) -> (impl Iterator<Item = Packed<'_>>, (usize, usize)) {
        let all = self.chunks.get(chunk).map(|chunk| &chunk.blocks);
        let blocks = all.map_or(0, VecDeque::len);
        let end = blocks.min(block + count);
        let next = if end == blocks {
            (chunk + 1, 0)
        } else {
            (chunk, end)
        };
        let some = all.into_iter().flat_map(move |all| all.range(block..end));
        (some.map(ListBlock::packed), next)
    }

    /// Whether there is nothing at a place of [`packs_from`](Self::packs_from).
    pub fn ends_at(&self, (chunk, _): (usize, usize)) -> bool {
        chunk >= self.chunks.len()
    }

    /// Its elements in one packed block.
    pub fn pack(&self) -> Vec<u8> {
        let mut bytes = packed::EMPTY.to_vec();
        self.range(0, self.len, |element| packed::push(&mut bytes, &[element]));
        bytes
    }

    /// Changes a block, and counts what it holds afterwards.
    #[inline]
    fn change<R>(
        &mut self,
        chunk: usize,
        block: usize,
        change: impl FnOnce(&mut ListBlock) -> R,
    ) -> R {
        let chunk = &mut self.chunks[chunk];
        let block = &mut chunk.blocks[block];
        let (bytes, count) = (block.heap_bytes(), block.count());
        let result = change(block);
        let (bytes_after, count_after) = (block.heap_bytes(), block.count());
        self.held = self.held + bytes_after - bytes;
        self.len = self.len + count_after - count;
        chunk.count = chunk.count + count_after - count;
        result
    }

    /// Adds an element at an end.
    #[inline]
    pub fn push(&mut self, end: End, element: Element<'_>) {
        let last = match end {
            End::Left => self.chunks.front().and_then(|chunk| chunk.blocks.front()),
            End::Right => self.chunks.back().and_then(|chunk| chunk.blocks.back()),
        };
        if !last.is_some_and(|block| block.has_room(&element)) {
            self.add_block(end);
        }
        let chunk = match end {
            End::Left => 0,
            End::Right => self.chunks.len() - 1,
        };
        let block = match end {
            End::Left => 0,
            End::Right => self.chunks[chunk].blocks.len() - 1,
        };
        self.change(chunk, block, |block| match end {
            End::Left => packed::insert(block, packed::HEAD_BYTES, &[element]),
            End::Right => packed::push(block, &[element]),
        });
    }

    /// Adds an empty block at an end.
    fn add_block(&mut self, end: End) {
        let full = |chunk: &Chunk| chunk.blocks.len() >= CHUNK_BLOCKS_MAX;
        let outer = match end {
            End::Left => self.chunks.front(),
            End::Right => self.chunks.back(),
        };
        if outer.is_none_or(full) {
            match end {
                End::Left => self.chunks.push_front(Chunk::default()),
                End::Right => self.chunks.push_back(Chunk::default()),
            }
        } else {
            // The block that was last does not grow any more.
            let chunk = if end == End::Left {
                0
            } else {
                self.chunks.len() - 1
            };
            let last = self.chunks[chunk].blocks.len() - 1;
            let block = if end == End::Left { 0 } else { last };
            self.change(chunk, block, ListBlock::fit);
        }
        let block = ListBlock::new();
        self.held += block.heap_bytes();
        self.blocks += 1;
        let chunk = match end {
            End::Left => self.chunks.front_mut(),
            End::Right => self.chunks.back_mut(),
        };
        let blocks = &mut chunk.expect("there is one by now").blocks;
        match end {
            End::Left => blocks.push_front(block),
            End::Right => blocks.push_back(block),
        }
    }

    /// Removes the element at an end, after `visit` has seen it; false if there is none.
    #[inline]
    pub fn pop(&mut self, end: End, visit: impl FnOnce(Element<'_>)) -> bool {
        if self.is_empty() {
            return false;
        }
        let chunk = match end {
            End::Left => 0,
            End::Right => self.chunks.len() - 1,
        };
        let block = match end {
            End::Left => 0,
            End::Right => self.chunks[chunk].blocks.len() - 1,
        };
        let left = self.change(chunk, block, |block| {
            let packed = block.packed();
            let at = match end {
                End::Left => packed.start(),
                End::Right => packed.prev(packed.end()).expect("no block is empty"),
            };
            visit(packed.get(at));
            packed::remove(block, at, 1);
            block.count()
        });
        if left == 0 {
            self.drop_block(chunk, block);
        }
        true
    }

    /// Drops a block, whatever is left in it.
    fn drop_block(&mut self, chunk_at: usize, block_at: usize) {
        let chunk = &mut self.chunks[chunk_at];
        let block = chunk.blocks.remove(block_at).expect("it is there");
        chunk.count -= block.count();
        self.len -= block.count();
        self.held -= block.heap_bytes();
        self.blocks -= 1;
        if chunk.blocks.is_empty() {
            self.chunks.remove(chunk_at);
        }
    }

    /// Where the element with an index stands.
    fn seek(&self, index: usize) -> At {
        assert!(index < self.len);
        let (chunk, index) = locate(self.chunks.len(), self.len, index, |i| self.chunks[i].count);
        let inner = &self.chunks[chunk];
        let (block, index) = locate(inner.blocks.len(), inner.count, index, |i| {
            inner.blocks[i].count()
        });
        let offset = inner.blocks[block].packed().nth(index);
        At {
            chunk,
            block,
            offset: offset.expect("the index is within the block"),
        }
    }

    fn packed(&self, at: At) -> Packed<'_> {
        self.chunks[at.chunk].blocks[at.block].packed()
    }

    /// The element with an index.
    pub fn get(&self, index: usize) -> Option<Element<'_>> {
        (index < self.len).then(|| {
            let at = self.seek(index);
            self.packed(at).get(at.offset)
        })
    }

    /// Calls `visit` for `count` elements from an index on, as far as there are any.
    pub fn range<'a>(&'a self, from: usize, count: usize, mut visit: impl FnMut(Element<'a>)) {
        let mut left = count;
        self.forward(from, |element| {
            if left > 0 {
                visit(element);
                left -= 1;
            }
            left > 0
        });
    }

    /// Calls `visit` for the elements from an index on, until it says false.
    pub fn forward<'a>(&'a self, from: usize, mut visit: impl FnMut(Element<'a>) -> bool) {
        if from >= self.len {
            return;
        }
        let mut at = self.seek(from);
        loop {
            let packed = self.packed(at);
            for (_, element) in packed.iter_between(at.offset, packed.end()) {
                if !visit(element) {
                    return;
                }
            }
            at.block += 1;
            if at.block == self.chunks[at.chunk].blocks.len() {
                (at.chunk, at.block) = (at.chunk + 1, 0);
                if at.chunk == self.chunks.len() {
                    return;
                }
            }
            at.offset = packed::HEAD_BYTES;
        }
    }

    /// Calls `visit` for the elements from an index on backwards, until it says false.
    pub fn backward<'a>(&'a self, from: usize, mut visit: impl FnMut(Element<'a>) -> bool) {
        if from >= self.len {
            return;
        }
        let mut at = self.seek(from);
        let mut end = self.packed(at).next(at.offset);
        loop {
            let packed = self.packed(at);
            for (_, element) in packed.iter_between(packed::HEAD_BYTES, end).rev() {
                if !visit(element) {
                    return;
                }
            }
            if at.block == 0 {
                if at.chunk == 0 {
                    return;
                }
                at.chunk -= 1;
                at.block = self.chunks[at.chunk].blocks.len();
            }
            at.block -= 1;
            end = self.packed(at).end();
        }
    }

    /// Replaces the element with an index.
    pub fn set(&mut self, index: usize, element: Element<'_>) {
        let At {
            chunk,
            block,
            offset,
        } = self.seek(index);
        if self.chunks[chunk].blocks[block].has_room_instead(offset, &element) {
            self.change(chunk, block, |block| {
                packed::replace(block, offset, 1, &[element]);
                block.give_back();
            });
            return self.tidy(chunk, block);
        }
        self.remove(index);
        self.insert(index, element);
    }

    /// Inserts an element in front of the one with an index, or at the end.
    pub fn insert(&mut self, index: usize, element: Element<'_>) {
        match index {
            0 => return self.push(End::Left, element),
            end if end == self.len => return self.push(End::Right, element),
            _ => {}
        }
        let At {
            chunk,
            block,
            offset,
        } = self.seek(index);
        if self.chunks[chunk].blocks[block].has_room(&element) {
            self.change(chunk, block, |block| {
                packed::insert(block, offset, &[element])
            });
            return;
        }
        // The block is cut where the element belongs, which then goes to the shorter half, or
        // between them.
        let mut place = block;
        if offset > packed::HEAD_BYTES {
            let second = self.change(chunk, block, |block| block.split(offset));
            self.put_block(chunk, block + 1, second);
            place = block + 1;
        }
        let mut own = ListBlock::new();
        packed::push(&mut own, &[element]);
        let blocks = &self.chunks[chunk].blocks;
        let before = blocks
            .get(place.wrapping_sub(1))
            .is_some_and(|b| b.has_room(&element));
        if before {
            self.change(chunk, place - 1, |block| packed::push(block, &[element]));
        } else if self.chunks[chunk].blocks[place].has_room(&element) {
            self.change(chunk, place, |block| {
                packed::insert(block, packed::HEAD_BYTES, &[element]);
            });
        } else {
            self.put_block(chunk, place, own);
        }
        self.split_chunk(chunk);
    }

    /// Puts a block with elements between others.
    fn put_block(&mut self, chunk: usize, at: usize, block: ListBlock) {
        self.held += block.heap_bytes();
        self.len += block.count();
        self.blocks += 1;
        let chunk = &mut self.chunks[chunk];
        chunk.count += block.count();
        chunk.blocks.insert(at, block);
    }

    fn split_chunk(&mut self, at: usize) {
        let chunk = &mut self.chunks[at];
        if chunk.blocks.len() > CHUNK_BLOCKS_MAX {
            let blocks = chunk.blocks.split_off(CHUNK_BLOCKS_MAX / 2);
            let count = blocks.iter().map(ListBlock::count).sum();
            chunk.count -= count;
            self.chunks.insert(at + 1, Chunk { blocks, count });
        }
    }

    /// Removes the element with an index.
    pub fn remove(&mut self, index: usize) {
        let At {
            chunk,
            block,
            offset,
        } = self.seek(index);
        self.change(chunk, block, |block| packed::remove(block, offset, 1));
        self.tidy(chunk, block);
    }

    /// Drops a block that is empty, merges one that is small.
    fn tidy(&mut self, chunk: usize, block: usize) {
        let blocks = &self.chunks[chunk].blocks;
        if blocks[block].count() == 0 {
            return self.drop_block(chunk, block);
        }
        let merges = |a: usize, b: usize| {
            blocks
                .get(a)
                .zip(blocks.get(b))
                .is_some_and(|(a, b)| a.merges_with(b))
        };
        let first = if merges(block, block + 1) {
            block
        } else if block > 0 && merges(block - 1, block) {
            block - 1
        } else {
            return;
        };
        let second = self.chunks[chunk].blocks[first + 1].clone();
        self.drop_block(chunk, first + 1);
        self.change(chunk, first, |block| block.absorb(&second));
    }

    /// Removes up to `count` elements that equal one, from an end on; how many.
    pub fn remove_equal(&mut self, wanted: Element<'_>, count: usize, end: End) -> usize {
        let mut removed = 0;
        let mut left = self.len;
        let mut next = 0;
        while left > 0 && removed < count {
            // Each round looks at one block: `next` is the index, from the end, of its first element.
            let index = match end {
                End::Left => next,
                End::Right => self.len - 1 - next,
            };
            let At { chunk, block, .. } = self.seek(index);
            let looked = self.chunks[chunk].blocks[block].count();
            let gone = self.change(chunk, block, |block| {
                remove_in_block(block, wanted, count - removed, end)
            });
            removed += gone;
            left -= looked;
            next += looked - gone;
            if gone > 0 {
                // Elements of a neighbour that merge in have been looked at, or will be in its turn:
                // indices count elements, not blocks.
                let empty = self.chunks[chunk].blocks[block].count() == 0;
                if empty {
                    self.drop_block(chunk, block);
                }
            }
        }
        if removed > 0 {
            self.merge_small();
        }
        removed
    }

    /// Merges small neighbours everywhere.
    fn merge_small(&mut self) {
        for chunk in 0..self.chunks.len() {
            let mut block = 0;
            while block + 1 < self.chunks[chunk].blocks.len() {
                let blocks = &self.chunks[chunk].blocks;
                if blocks[block].merges_with(&blocks[block + 1]) {
                    self.tidy(chunk, block);
                } else {
                    block += 1;
                }
            }
        }
    }

    /// Removes so many elements at an end, whole blocks at once.
    pub fn trim(&mut self, end: End, count: usize) {
        let mut left = count;
        while left > 0 {
            let chunk = match end {
                End::Left => 0,
                End::Right => self.chunks.len() - 1,
            };
            let block = match end {
                End::Left => 0,
                End::Right => self.chunks[chunk].blocks.len() - 1,
            };
            let held = self.chunks[chunk].blocks[block].count();
            if held <= left {
                self.drop_block(chunk, block);
                left -= held;
                continue;
            }
            self.change(chunk, block, |block| {
                let packed = block.packed();
                let at = match end {
                    End::Left => packed.start(),
                    End::Right => packed.nth(held - left).expect("there are more"),
                };
                packed::remove(block, at, left);
                block.fit();
            });
            left = 0;
        }
    }

    /// Panics unless every invariant holds; walks everything.
    pub fn verify(&self) {
        let (mut len, mut held, mut blocks) = (0, 0, 0);
        for chunk in &self.chunks {
            assert!((1..=CHUNK_BLOCKS_MAX).contains(&chunk.blocks.len()));
            let mut count = 0;
            for block in &chunk.blocks {
                let packed = block.packed();
                assert!(packed::is_sound(packed.bytes()));
                assert!(!packed.is_empty(), "a block is empty");
                assert!(packed.len() == 1 || packed.end() <= block::BLOCK_BYTES_MAX);
                count += packed.len();
                held += block.heap_bytes();
                blocks += 1;
            }
            assert_eq!(count, chunk.count);
            len += count;
        }
        assert_eq!((len, held, blocks), (self.len, self.held, self.blocks));
    }
}

/// Removes up to `count` elements of a block that equal one, from an end on; how many.
fn remove_in_block(block: &mut ListBlock, wanted: Element<'_>, count: usize, end: End) -> usize {
    let mut removed = 0;
    match end {
        End::Left => {
            let mut from = packed::HEAD_BYTES;
            while removed < count
                && let Some(at) = block.packed().find(wanted, from, 1)
            {
                packed::remove(block, at, 1);
                from = at;
                removed += 1;
            }
        }
        End::Right => {
            let mut to = block.packed().end();
            while removed < count {
                let packed = block.packed();
                let found = packed
                    .iter_between(packed.start(), to)
                    .rev()
                    .find(|(_, e)| *e == wanted);
                let Some((at, _)) = found else { break };
                packed::remove(block, at, 1);
                to = at;
                removed += 1;
            }
        }
    }
    removed
}

/// Which of `parts`, with `total` elements together, has the one with an index, and its index there;
/// counted from the nearer end.
fn locate(
    parts: usize,
    total: usize,
    index: usize,
    count: impl Fn(usize) -> usize,
) -> (usize, usize) {
    if index < total / 2 {
        let mut left = index;
        for part in 0..parts {
            match left.checked_sub(count(part)) {
                Some(less) => left = less,
                None => return (part, left),
            }
        }
    } else {
        let mut behind = total - index;
        for part in (0..parts).rev() {
            let held = count(part);
            if behind <= held {
                return (part, held - behind);
            }
            behind -= held;
        }
    }
    unreachable!("the index is below the total")
}

/// A list, for reading.
#[derive(Clone, Copy, Debug)]
pub enum List<'a> {
    /// In an entry.
    Packed(Packed<'a>),
    /// In blocks.
    Large(&'a LargeList),
}

impl<'a> List<'a> {
    /// The list that a value is.
    #[inline]
    pub fn of(value: Value<'a>) -> Self {
        match value {
            Value::Packed(Kind::List, bytes) => Self::Packed(Packed::new(bytes)),
            Value::Object(object) => Self::Large(
                object
                    .as_any()
                    .downcast_ref()
                    .expect("the caller has looked at the type"),
            ),
            _ => unreachable!("the caller has looked at the type"),
        }
    }

    /// Elements.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Self::Packed(list) => list.len(),
            Self::Large(list) => list.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element with an index.
    pub fn get(&self, index: usize) -> Option<Element<'a>> {
        match self {
            Self::Packed(list) => list.nth(index).map(|at| list.get(at)),
            Self::Large(list) => list.get(index),
        }
    }

    /// Calls `visit` for the elements from an index on, until it says false.
    #[inline]
    pub fn forward(&self, from: usize, mut visit: impl FnMut(Element<'a>) -> bool) {
        match self {
            Self::Packed(list) => {
                let at = list.nth(from).unwrap_or(list.end());
                let mut elements = list.iter_between(at, list.end());
                elements.all(|(_, element)| visit(element));
            }
            Self::Large(list) => list.forward(from, visit),
        }
    }

    /// Calls `visit` for the elements from an index on backwards, until it says false.
    pub fn backward(&self, from: usize, mut visit: impl FnMut(Element<'a>) -> bool) {
        match self {
            Self::Packed(list) => {
                if let Some(at) = list.nth(from) {
                    let elements = list.iter_between(list.start(), list.next(at));
                    elements.rev().all(|(_, element)| visit(element));
                }
            }
            Self::Large(list) => list.backward(from, visit),
        }
    }
}

#[cfg(test)]
mod tests;
