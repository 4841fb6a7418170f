//! Files that are written once, from their start to their end: with O_DIRECT where the file system has
//! it, so that a snapshot as large as the memory neither fills the page cache nor makes its dirty
//! pages everybody's at the next sync.
//!
//! By a thread that has nothing else to do, with ordinary calls: one write at a time of [`CHUNK_BYTES`]
//! keeps a device busy. An executor of glommio's would do the same through rings of its own. Its
//! maintained continuation (`glommio-ng` 0.12) needs a newer compiler than this project does, calls
//! itself a stopgap that ends with the next release under the old name, and locks memory for rings
//! that a single sequential writer has no use for.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::log::block::BLOCK_BYTES;

/// Bytes of a write. The kernel does not let go of the core while it submits one: with four times as
/// much a shard on the same core waited for milliseconds.
const CHUNK_BYTES: usize = 256 << 10;
/// Bytes after which what went through the page cache is made durable, so that the end does not have
/// to wait for all of it.
const SYNC_BYTES: u64 = 4 << 20;

const _: () = assert!(
    CHUNK_BYTES.is_multiple_of(BLOCK_BYTES),
    "O_DIRECT writes whole blocks"
);

/// See the head of the module.
#[derive(Debug)]
pub struct SequentialFile {
    file: File,
    direct: bool,
    /// The chunk that is being filled, at [`from`](Self::from), where it is aligned.
    memory: Vec<u8>,
    from: usize,
    filled: usize,
    length: u64,
    unsynced: u64,
}

impl SequentialFile {
    /// A new file; there must be none of that name.
    pub fn create(path: &Path) -> io::Result<Self> {
        let open = |flags| {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).custom_flags(flags);
            options.open(path)
        };
        let (file, direct) = match open(libc::O_DIRECT) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                // Some file systems have made the file all the same.
                let _ = std::fs::remove_file(path);
                (open(0)?, false)
            }
            opened => (opened?, true),
        };
        let memory = vec![0; CHUNK_BYTES + BLOCK_BYTES];
        let from = memory.as_ptr().align_offset(BLOCK_BYTES);
        assert!(from <= BLOCK_BYTES, "an aligned chunk is inside");
        Ok(Self {
            file,
            direct,
            memory,
            from,
            filled: 0,
            length: 0,
            unsynced: 0,
        })
    }

    /// Appends bytes.
    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.length += bytes.len() as u64;
        while !bytes.is_empty() {
            let at = self.from + self.filled;
            let count = bytes.len().min(CHUNK_BYTES - self.filled);
            let (now, later) = bytes.split_at(count);
            self.memory[at..at + count].copy_from_slice(now);
            self.filled += count;
            bytes = later;
            if self.filled == CHUNK_BYTES {
                self.flush(CHUNK_BYTES)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self, count: usize) -> io::Result<()> {
        let chunk = &self.memory[self.from..self.from + count];
        self.file.write_all(chunk)?;
        self.filled = 0;
        self.unsynced += count as u64;
        if !self.direct && self.unsynced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(())
    }

    /// Appends so many zeros, whole blocks of them, to a file that nothing else was written to.
    pub fn write_zeros(&mut self, bytes: u64) -> io::Result<()> {
        assert!(self.length == 0, "the chunk holds zeros");
        assert!(bytes.is_multiple_of(BLOCK_BYTES as u64), "whole blocks");
        while self.length < bytes {
            let piece = (bytes - self.length).min(CHUNK_BYTES as u64);
            self.flush(piece as usize)?;
            self.length += piece;
        }
        Ok(())
    }

    /// Ends the file and makes it durable.
    pub fn finish(mut self) -> io::Result<()> {
        let end = self.filled.next_multiple_of(BLOCK_BYTES);
        let rest = self.from + self.filled..self.from + end;
        self.memory[rest].fill(0);
        self.flush(end)?;
        self.file.set_len(self.length)?;
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::super::directory::tests::Folder;
    use super::*;

    #[test]
    fn a_file_is_what_was_written() {
        let folder = Folder::new("sequential");
        for (number, length) in [0, 1, 4096, CHUNK_BYTES, CHUNK_BYTES * 3 + 4097]
            .into_iter()
            .enumerate()
        {
            let path = folder.0.join(number.to_string());
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let mut file = SequentialFile::create(&path).expect("a new file");
            for piece in bytes.chunks(70_001) {
                file.write(piece).expect("there is room");
            }
            file.finish().expect("there is room");
            assert!(
                std::fs::read(&path).expect("it is there") == bytes,
                "{length}"
            );
            assert!(SequentialFile::create(&path).is_err(), "it is there");
        }
    }

    #[test]
    fn zeros_are_as_many_as_were_wanted() {
        let folder = Folder::new("zeros");
        for blocks in [1, 256, 300] {
            let path = folder.0.join(blocks.to_string());
            let mut file = SequentialFile::create(&path).expect("a new file");
            let bytes = blocks * BLOCK_BYTES;
            file.write_zeros(bytes as u64).expect("there is room");
            file.finish().expect("there is room");
            assert!(std::fs::read(&path).expect("it is there") == vec![0; bytes]);
        }
    }
}
