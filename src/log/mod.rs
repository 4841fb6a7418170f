//! The log that makes writes outlive the process: one for each shard. (What the server tells people
//! in words is [`crate::server::log`].)
//!
//! On the way of a write it stands between the shard, which hands it what a command did as a
//! [`record`], and the reactor, which carries out the writes and syncs that it asks for. Everything
//! here is pure: bytes, LSNs and results come in, buffers and LSNs go out. `tests/crash` runs this
//! very code on a disk that tears, loses and fails.
//!
//! ```text
//!  effects ──► Writer ── Flush ──► reactor ──► disk      recover::Reader ◄── segments
//!                │ durable LSN  ◄── result                     │ records    │ Tail
//!                ▼                                             ▼            ▼
//!  parts ────► Commit ── Report ──► Arbiter (shard 0)       replay ◄── recover::cut
//!                │ watermark ◄── Settled ┘
//!                ▼
//!  replies, reads of keys in flight (InFlight)
//! ```
//!
//! # Bytes
//!
//! A shard's log is a stream of records. An [`Lsn`] is an offset in this stream; a record's LSN is
//! that of its first byte. The stream is cut into *blocks* of 4 KiB, each of which holds a range of
//! it, and blocks stand in *segments*, files of a fixed size. Numbers are little-endian.
//!
//! A process writes under an *epoch* of its own, one higher than that of the process before it, and
//! only into segments that it has begun itself. So two histories never share an epoch, and nothing
//! that an earlier process left behind a cut can be taken for a part of this one.
//!
//! ## Segment
//!
//! Block 0 is the header; it is written with the first data of the segment, so it is there when
//! anything in the segment is durable. That of segment 0 is there before the manifest names the log:
//! where it is missing, a start knows that it is. Until they get theirs, segments have zeros there.
//!
//! | bytes | field | why |
//! | --- | --- | --- |
//! | 0..4 | CRC32C of bytes 4..4096 | a torn header |
//! | 4..8 | `RDs1` | what it is |
//! | 8..12 | epoch | whose it is: a recycled file holds the blocks of an earlier use |
//! | 12..14 | shard | |
//! | 14..16 | number of shards | in this epoch |
//! | 16..24 | segment | its number in this shard and epoch, from 0 |
//! | 24..28 | 0 | position, as in a data block |
//! | 28..30 | format version, 1 | |
//! | 30..32 | 0 | |
//! | 32..40 | LSN | of the first byte in the segment |
//! | 40..44 | blocks | size of the segment, this one included |
//! | 44..4096 | 0 | |
//!
//! ## Data block
//!
//! | bytes | field | why |
//! | --- | --- | --- |
//! | 0..4 | CRC32C of bytes 4..4096 | a device writes sectors of 512 bytes: a block can be torn |
//! | 4..8 | `RDb1` | |
//! | 8..12 | epoch | with shard and segment: tells stale blocks of a recycled file |
//! | 12..14 | shard | |
//! | 14..16 | fill | bytes of payload |
//! | 16..24 | segment | |
//! | 24..28 | position | its index in the segment: a write that went elsewhere |
//! | 28..32 | 0 | |
//! | 32..40 | LSN | of the first byte of payload; blocks are put in order by it |
//! | 40..48 | durable | everything below was durable when this was written: a hole below it is damage, one above it the torn end |
//! | 48..56 | committed | everything below was certain to survive when this was written: recovery need not look at it twice |
//! | 56..4096 | payload | |
//!
//! ## Record
//!
//! | bytes | field |
//! | --- | --- |
//! | 0..4 | CRC32C of the rest of the record |
//! | 4..8 | bytes after the head |
//! | 8..16 | LSN of the record |
//! | 16 | kind: 1 effects, 2 part of a transaction, 3 base marker |
//! | 17 | 0 |
//! | 18..20 | database |
//! | 20.. | kind 1: payload. Kind 2: transaction number (8), coordinator (2), participants (2), their shards (2 each), payload. Kind 3: number of the base (8) |
//!
//! The payload is opaque here: RESP commands.
//!
//! # The tail
//!
//! A flush of few bytes fills a part of a block. The next one must not overwrite that block, which
//! may be the only copy of acknowledged bytes, and must not leave it as it is, or a log of small
//! flushes would be padding. So a block less than half full is written again, with what came since,
//! to *another* position, and the old one is free when the new copy is durable: two positions are
//! written in turn. A block that is half full or more stays as it is. Hence a segment never takes
//! more than twice the bytes of its records, and one block. Blocks are not in the order of their
//! positions; their LSNs put them in order, and where two hold the same bytes, the longer one counts.
//!
//! # Faults
//!
//! What is expected of the disk: a completed sync makes what was written before it durable; until
//! then each sector of a write may be old or new, in any combination. What is read may be damaged
//! anywhere. Then:
//!
//! - bytes missing above everything that was known to be durable: the torn end. It is cut off, and
//!   recovery says how much;
//! - bytes missing below: damage. Recovery stops with file, offset and LSN;
//! - a file gone or cut short, the first header of a log gone, or another segment in the place of one:
//!   damage as well, since no crash does that;
//! - a block torn where the last flush went: the torn end, though nobody can tell it from a block that
//!   was damaged later;
//! - a write or sync that fails: the writer stops for good. Nobody knows what is on the disk then,
//!   and a second sync that succeeds would not mean that the first one's bytes are there.
//!
//! # Rejected
//!
//! Padding each flush to a block (a log of small flushes is forty times its records); overwriting
//! the tail in place (a torn write loses what was acknowledged); a double-write area (each flush
//! written twice); numbering records instead of bytes (a position in the stream orders blocks too).
pub mod arbiter;
pub mod block;
mod checksum;
pub mod commit;
pub mod in_flight;
pub mod manifest;
pub mod message;
pub mod pace;
pub mod record;
pub mod recover;
pub mod shard_log;
pub mod writer;

use crate::mesh::ShardId;

/// An offset in the log of one shard, in bytes of records. Goes on counting over epochs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The LSN so many bytes later.
    #[must_use]
    pub fn plus(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }

    /// Bytes from `earlier` to this one.
    pub fn since(self, earlier: Self) -> u64 {
        assert!(self >= earlier, "the log counts upwards");
        self.0 - earlier.0
    }
}

impl std::fmt::Display for Lsn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Whose log it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Identity {
    /// The shard that writes it.
    pub shard: ShardId,
    /// How many shards there are in this epoch.
    pub shards: u16,
    /// The process that writes it: one more than the one before.
    pub epoch: u32,
}
