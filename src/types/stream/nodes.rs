//! The number of nodes that Redis's radix tree has for a stream's blocks: XINFO STREAM tells it.

use super::id::StreamId;
use super::log::Log;

/// Beyond so many blocks the number is an estimate.
const EXACT_MAX: usize = 1024;
/// Bytes of a key: both halves of an ID, highest byte first.
const KEY_BYTES: usize = 16;

impl Log {
    /// Nodes of a radix tree over the blocks' first IDs whose chains of single children are one node
    /// each: one for the root, and for each place where keys part a node, for each key its end, and
    /// a chain wherever more than one byte lies between.
    pub fn radix_nodes(&self) -> usize {
        let blocks = self.blocks();
        if blocks > EXACT_MAX {
            return 2 * blocks + blocks / 128;
        }
        let mut firsts = self.index.iter().map(|(first, _)| first);
        let Some(mut previous) = firsts.next() else {
            return 1;
        };
        // Depths of the branches on the way to the previous key, each below the one before.
        let (mut branches, mut nodes) = (Vec::<usize>::new(), 1);
        let chain =
            |from: Option<&usize>, to: usize| usize::from(from.map_or(0, |from| from + 1) < to);
        for first in firsts {
            let depth = common(previous, first);
            // What hangs below the new branch is final: chains to it are counted as it is left.
            let mut below = KEY_BYTES;
            while let Some(last) = branches.last().filter(|last| **last > depth) {
                nodes += chain(Some(last), below);
                below = *last;
                branches.pop();
            }
            nodes += if branches.last() == Some(&depth) {
                chain(Some(&depth), below)
            } else {
                branches.push(depth);
                1 + chain(Some(&depth), below)
            };
            nodes += 1;
            previous = first;
        }
        let mut below = KEY_BYTES;
        while let Some(last) = branches.pop() {
            nodes += chain(Some(&last), below);
            below = last;
        }
        nodes + chain(None, below)
    }
}

/// Bytes that two keys have in common at their start.
fn common(a: StreamId, b: StreamId) -> usize {
    let differ =
        (u128::from(a.ms) << 64 | u128::from(a.seq)) ^ (u128::from(b.ms) << 64 | u128::from(b.seq));
    differ.leading_zeros() as usize / 8
}
