//! A disk that tears, loses, reorders and fails, and hands out files that were used before.
//!
//! Fault model: a write that has not been covered by a sync which completed is, after a crash, there
//! or not, sector by sector; and so is one that failed. A sync that fails drops what it was for: a
//! later one that succeeds does not bring it back. A new file holds zeros, or what an earlier file
//! held.

use std::collections::BTreeMap;

use ringdove::log::block::{BLOCK_BYTES, Block};

/// What a device writes at once.
const SECTOR_BYTES: usize = 512;

/// A segment: epoch, shard, number.
pub(crate) type Name = (u32, u16, u64);

/// A write that no sync has covered.
struct Write {
    offset: usize,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<Write>,
}

#[derive(Default)]
pub(crate) struct Disk {
    files: BTreeMap<Name, File>,
}

impl Disk {
    /// A new file, durable at once, of so many blocks: zeros, or a copy of an older file, behind a first
    /// block. It may take the place of one that is nothing but such a block.
    pub(crate) fn create(
        &mut self,
        name: Name,
        blocks: u32,
        first: &Block,
        rng: &mut fastrand::Rng,
    ) {
        let bytes = blocks as usize * BLOCK_BYTES;
        let mut durable = vec![0; bytes];
        if rng.bool() && !self.files.is_empty() {
            let older = self.files.values().nth(rng.usize(..self.files.len()));
            let older = &older.expect("in range").durable;
            let both = older.len().min(bytes);
            durable[..both].copy_from_slice(&older[..both]);
        }
        durable[..BLOCK_BYTES].copy_from_slice(&first.0);
        let file = File {
            durable,
            pending: Vec::new(),
        };
        let before = self.files.insert(name, file);
        assert!(
            before.is_none_or(|before| before.durable.len() == BLOCK_BYTES),
            "a segment is prepared once"
        );
    }

    pub(crate) fn write(&mut self, name: Name, position: u32, blocks: &[Block]) {
        let bytes = blocks.iter().flat_map(|block| block.0).collect();
        let file = self.files.get_mut(&name).expect("segments are prepared");
        let offset = position as usize * BLOCK_BYTES;
        assert!(offset + blocks.len() * BLOCK_BYTES <= file.durable.len());
        file.pending.push(Write { offset, bytes });
    }

    /// A sync that covers every write so far; a failed one leaves them to chance.
    pub(crate) fn sync(&mut self, name: Name, succeeds: bool, rng: &mut fastrand::Rng) {
        let file = self.files.get_mut(&name).expect("segments are prepared");
        file.settle(|| succeeds || rng.bool());
    }

    /// The power fails.
    pub(crate) fn crash(&mut self, rng: &mut fastrand::Rng) {
        for file in self.files.values_mut() {
            rng.shuffle(&mut file.pending);
            // Mostly torn at random, but now and then all there or all lost.
            let chance = [0, 10, 50, 90, 100][rng.usize(..5)];
            file.settle(|| rng.u32(..100) < chance);
        }
    }

    /// What a file holds after a crash.
    pub(crate) fn read(&self, name: Name) -> Option<&[u8]> {
        let file = self.files.get(&name)?;
        assert!(file.pending.is_empty(), "files are read after a crash");
        Some(&file.durable)
    }

    pub(crate) fn segments(&self, epoch: u32, shard: u16) -> Vec<u64> {
        let all = (epoch, shard, 0)..=(epoch, shard, u64::MAX);
        self.files.range(all).map(|(&(_, _, n), _)| n).collect()
    }
}

impl File {
    fn settle(&mut self, mut arrives: impl FnMut() -> bool) {
        for write in self.pending.drain(..) {
            for (index, sector) in write.bytes.chunks_exact(SECTOR_BYTES).enumerate() {
                if arrives() {
                    let at = write.offset + index * SECTOR_BYTES;
                    self.durable[at..at + SECTOR_BYTES].copy_from_slice(sector);
                }
            }
        }
    }
}
