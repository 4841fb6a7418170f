//! The blocks of a stream by their first IDs.
//!
//! The last block, the only one that grows, stands outside of the tree of the others: appending
//! costs the same however long the stream is, and a stream of one block has no tree.

use super::block::Block;
use super::id::StreamId;
use std::collections::BTreeMap;
use std::ops::Bound;

/// Bytes that a block takes in the tree, about: the tree's nodes are some two thirds full.
const TREE_BYTES: usize = (size_of::<StreamId>() + size_of::<Block>()) * 3 / 2;

/// Blocks in the order of their first IDs.
#[derive(Default, Debug)]
pub(super) struct Index {
    tree: BTreeMap<StreamId, Block>,
    last: Option<(StreamId, Block)>,
    /// Bytes of the blocks' bodies.
    body_bytes: usize,
}

impl Clone for Index {
    fn clone(&self) -> Self {
        let mut copy = Self {
            tree: self.tree.clone(),
            last: self.last.clone(),
            body_bytes: 0,
        };
        // The copies of bodies have no room to grow.
        copy.body_bytes = copy.iter().map(|(_, block)| block.heap_bytes()).sum();
        copy
    }
}

impl Index {
    /// Number of blocks.
    pub(super) fn len(&self) -> usize {
        self.tree.len() + usize::from(self.last.is_some())
    }

    /// Bytes that it holds outside of itself.
    pub(super) fn heap_bytes(&self) -> usize {
        self.body_bytes + self.tree.len() * TREE_BYTES
    }

    /// The last block.
    pub(super) fn last(&self) -> Option<(StreamId, &Block)> {
        self.last.as_ref().map(|(first, block)| (*first, block))
    }

    /// Puts a block behind all others.
    pub(super) fn push(&mut self, first: StreamId, block: Block) {
        self.body_bytes += block.heap_bytes();
        if let Some((before, mut full)) = self.last.replace((first, block)) {
            assert!(before < first);
            self.body_bytes -= full.heap_bytes();
            full.seal();
            self.body_bytes += full.heap_bytes();
            self.tree.insert(before, full);
        }
    }

    /// Changes the last block.
    #[inline]
    pub(super) fn edit_last<R>(
        &mut self,
        edit: impl FnOnce(StreamId, &mut Block) -> R,
    ) -> Option<R> {
        let (first, block) = self.last.as_mut()?;
        let before = block.heap_bytes();
        let result = edit(*first, block);
        self.body_bytes = self.body_bytes - before + block.heap_bytes();
        Some(result)
    }

    /// A block whose size does not change with what is done to it.
    pub(super) fn get_mut(&mut self, first: StreamId) -> Option<&mut Block> {
        match &mut self.last {
            Some((last, block)) if *last == first => Some(block),
            _ => self.tree.get_mut(&first),
        }
    }

    /// The first block.
    pub(super) fn first(&self) -> Option<(StreamId, &Block)> {
        let in_tree = self.tree.first_key_value();
        in_tree.map(|(first, b)| (*first, b)).or(self.last())
    }

    /// The last block that begins at an ID or before it.
    #[inline]
    pub(super) fn at_or_before(&self, id: StreamId) -> Option<(StreamId, &Block)> {
        match self.last() {
            Some((first, block)) if first <= id => Some((first, block)),
            _ => {
                let (first, block) = self.tree.range(..=id).next_back()?;
                Some((*first, block))
            }
        }
    }

    /// The block after the one that begins at an ID.
    pub(super) fn after(&self, first: StreamId) -> Option<(StreamId, &Block)> {
        let beyond = (Bound::Excluded(first), Bound::Unbounded);
        let in_tree = self.tree.range(beyond).next();
        in_tree
            .map(|(first, block)| (*first, block))
            .or(self.last().filter(|(last, _)| *last > first))
    }

    /// The block before the one that begins at an ID.
    pub(super) fn before(&self, first: StreamId) -> Option<(StreamId, &Block)> {
        let (first, block) = self.tree.range(..first).next_back()?;
        Some((*first, block))
    }

    /// Takes a block out. The one before the last becomes the last again, and may grow again.
    pub(super) fn remove(&mut self, first: StreamId) -> Option<Block> {
        let block = match &self.last {
            Some((last, _)) if *last == first => {
                let before = self.tree.pop_last();
                std::mem::replace(&mut self.last, before).map(|(_, block)| block)
            }
            _ => self.tree.remove(&first),
        }?;
        self.body_bytes -= block.heap_bytes();
        Some(block)
    }

    /// All blocks, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (StreamId, &Block)> {
        let in_tree = self.tree.iter().map(|(first, block)| (*first, block));
        in_tree.chain(self.last())
    }

    /// Panics unless every invariant holds.
    pub(super) fn verify(&self) {
        let bytes: usize = self.iter().map(|(_, block)| block.heap_bytes()).sum();
        assert_eq!(bytes, self.body_bytes);
        assert!(self.iter().is_sorted_by(|a, b| a.0 < b.0));
        assert!(self.last.is_some() || self.tree.is_empty());
    }
}
