//! A stream's blocks as snapshots have them: the elements of a listpack, of which the first two, the
//! numbers of live and deleted entries, stand apart here.

use super::block::Block;
use super::element;
use super::id::StreamId;
use super::log::Log;
use crate::types::packed;

/// A block, to be written.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    /// The ID of its first entry, deleted or not.
    pub first: StreamId,
    /// Entries that were not deleted.
    pub live: usize,
    /// Entries that were deleted.
    pub deleted: usize,
    /// All elements but the first two.
    pub body: &'a [u8],
    /// How many these are.
    pub elements: usize,
}

impl<'a> Node<'a> {
    fn of(first: StreamId, block: &'a Block) -> Self {
        let (body, elements) = block.body();
        Self {
            first,
            live: block.live(),
            deleted: block.entries() - block.live(),
            body,
            elements,
        }
    }
}

/// The elements of a block that is read, all but the first two.
#[derive(Debug, Default)]
pub struct Body {
    bytes: Vec<u8>,
}

impl Body {
    /// Adds an element.
    pub fn push(&mut self, element: packed::Element<'_>) {
        match element {
            packed::Element::Int(number) => element::push_int(&mut self.bytes, number),
            packed::Element::Bytes(text) => element::push_bytes(&mut self.bytes, text),
        }
    }
}

impl Log {
    /// Its blocks, in order.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = Node<'_>> {
        let mut blocks = self.index.iter();
        (0..self.blocks()).map(move |_| {
            let (first, block) = blocks.next().expect("as many as were counted");
            Node::of(first, block)
        })
    }

    /// The first block, or the one after the block that begins at `before`; None at the end.
    pub fn node_after(&self, before: Option<StreamId>) -> Option<Node<'_>> {
        let found = match before {
            Some(before) => self.index.after(before),
            None => self.index.first(),
        };
        found.map(|(first, block)| Node::of(first, block))
    }

    /// Adds a block behind all others that begins at `first`; None if it does not belong there, is
    /// not sound, or its numbers of live and deleted entries are others.
    pub fn restore_node(
        &mut self,
        first: StreamId,
        live: i64,
        deleted: i64,
        body: Body,
    ) -> Option<()> {
        let before = (self.blocks() > 0).then(|| self.last_id());
        let (block, last) = Block::of_body(first, body.bytes)?;
        let counts = (block.live() as i64, (block.entries() - block.live()) as i64);
        if before >= Some(first) || counts != (live, deleted) {
            return None;
        }
        self.add_block(first, block, last);
        Some(())
    }

    /// What is remembered besides, once all blocks are there; None if that cannot be.
    pub fn restore_ids(
        &mut self,
        last: StreamId,
        added: Option<u64>,
        max_deleted: StreamId,
    ) -> Option<()> {
        if self.blocks() > 0 && last < self.last_id() {
            return None;
        }
        let added = added.unwrap_or(self.len());
        self.set_id(last, Some(added), Some(max_deleted));
        Some(())
    }
}
