//! A snapshot's file while it is written: its checksum, and long entries that arrive in pieces.
//!
//! An entry must stand in the file in one piece, and pieces of several arrive mixed with whole entries.
//! So each is put together apart: in memory while it is small, else in a file without a name. That
//! costs writing a long entry twice, and neither memory nor a shard's time.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::mesh::ShardId;
use crate::rdb::crc64::crc64;
use crate::rdb::format::opcode;
use crate::storage::sequential::SequentialFile;

/// Bytes of a long entry that are kept in memory.
const KEPT_BYTES_MAX: usize = 1 << 20;
/// Bytes that are copied at once.
const COPIED_BYTES: usize = 256 * 1024;

/// See the head of the module.
pub(super) struct Output {
    file: SequentialFile,
    path: PathBuf,
    checks: bool,
    crc: u64,
    long: HashMap<(ShardId, u32), Spool>,
}

impl Output {
    /// A new file; `checks`: whether it is to have a checksum.
    pub(super) fn create(path: &Path, checks: bool) -> io::Result<Self> {
        Ok(Self {
            file: SequentialFile::create(path)?,
            path: path.to_owned(),
            checks,
            crc: 0,
            long: HashMap::new(),
        })
    }

    /// Appends bytes.
    pub(super) fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.checks {
            self.crc = crc64(self.crc, bytes);
        }
        self.file.write(bytes)
    }

    /// Takes a piece of a long entry: which one's, and whether it is the last.
    pub(super) fn put_piece(
        &mut self,
        of: (ShardId, u32),
        bytes: Vec<u8>,
        last: bool,
    ) -> io::Result<()> {
        let mut spool = self.long.remove(&of).unwrap_or_default();
        spool.put(bytes, &self.path)?;
        if last {
            return spool.copy_to(self);
        }
        self.long.insert(of, spool);
        Ok(())
    }

    /// Ends the file and makes it durable.
    pub(super) fn finish(mut self) -> io::Result<()> {
        assert!(self.long.is_empty(), "every shard has told its last piece");
        self.put(&[opcode::END])?;
        self.file.write(&self.crc.to_le_bytes())?;
        self.file.finish()
    }
}

/// A long entry as far as it has arrived.
#[derive(Default)]
struct Spool {
    /// What came first, if that was too much for memory.
    file: Option<File>,
    bytes: Vec<u8>,
}

impl Spool {
    fn put(&mut self, bytes: Vec<u8>, snapshot: &Path) -> io::Result<()> {
        if self.bytes.is_empty() {
            self.bytes = bytes;
        } else {
            self.bytes.extend_from_slice(&bytes);
        }
        if self.bytes.len() > KEPT_BYTES_MAX {
            let file = match &mut self.file {
                Some(file) => file,
                none => none.insert(nameless(snapshot)?),
            };
            file.write_all(&self.bytes)?;
            self.bytes.clear();
        }
        Ok(())
    }

    fn copy_to(mut self, output: &mut Output) -> io::Result<()> {
        if let Some(mut file) = self.file.take() {
            file.rewind()?;
            let mut chunk = vec![0; COPIED_BYTES];
            loop {
                let count = file.read(&mut chunk)?;
                if count == 0 {
                    break;
                }
                output.put(&chunk[..count])?;
            }
        }
        output.put(&self.bytes)
    }
}

/// A file beside the snapshot that goes when it is closed.
fn nameless(snapshot: &Path) -> io::Result<File> {
    let path = snapshot.with_extension("part");
    let mut options = File::options();
    let file = options
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}
