//! Blocks: 4 KiB that say what they are, so that stale, torn and misplaced ones are told apart. The
//! tables of bytes stand in [`super`].

use super::{Identity, Lsn};

/// Bytes of a block: what O_DIRECT takes everywhere, and the page of the usual device.
pub const BLOCK_BYTES: usize = 4096;
/// Bytes of a data block's head.
const HEAD_BYTES: usize = 56;
/// Bytes of records in a full block.
pub const PAYLOAD_BYTES: usize = BLOCK_BYTES - HEAD_BYTES;
/// The format of segments that this code writes and reads.
const VERSION: u16 = 1;

const DATA: [u8; 4] = *b"RDb1";
const SEGMENT: [u8; 4] = *b"RDs1";

/// A block in memory, aligned as O_DIRECT wants it.
#[derive(Clone)]
#[repr(C, align(4096))]
pub struct Block(pub [u8; BLOCK_BYTES]);

const _: () = assert!(size_of::<Block>() == BLOCK_BYTES && align_of::<Block>() == BLOCK_BYTES);

/// Where a block stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The segment's number.
    pub segment: u64,
    /// The block's index in it.
    pub position: u32,
}

/// What a data block says about the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Of the first byte of payload.
    pub lsn: Lsn,
    /// Bytes of payload.
    pub fill: u16,
    /// Everything below was durable when the block was written.
    pub durable: Lsn,
    /// Everything below was certain to survive when the block was written.
    pub committed: Lsn,
}

/// What a segment's header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Of the first byte in the segment.
    pub first: Lsn,
    /// Blocks in the segment, the header included.
    pub blocks: u32,
}

/// What stands in a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// A data block of this log, where it belongs.
    Data(Head),
    /// The header of this segment.
    Header(Header),
    /// Zeros: never written.
    Zero,
    /// Its checksum is wrong: torn or damaged.
    Torn,
    /// Left by an earlier use of the file.
    Stale,
    /// A whole block that does not belong here: of another shard, epoch, segment or position.
    Misplaced,
    /// A whole block in another version of the format, or one that makes no sense.
    Foreign,
}

impl Found {
    /// For messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Data(_) => "a block of the log",
            Self::Header(_) => "a segment's header",
            Self::Zero => "nothing but zeros",
            Self::Torn => "a torn block",
            Self::Stale => "a block of an earlier use of the file",
            Self::Misplaced => "a block that belongs elsewhere",
            Self::Foreign => "a block in an unknown format",
        }
    }
}

impl Block {
    /// An empty one.
    pub const ZERO: Self = Self([0; BLOCK_BYTES]);

    /// The part that holds records.
    pub fn payload(&mut self) -> &mut [u8] {
        &mut self.0[HEAD_BYTES..]
    }

    /// Completes a data block: its head and its checksum. What follows the payload is zeroed.
    pub fn seal(&mut self, identity: Identity, place: Place, head: Head) {
        let fill = usize::from(head.fill);
        assert!(fill <= PAYLOAD_BYTES, "payload keeps to its block");
        assert!(place.position > 0, "position 0 is the header's");
        assert!(
            head.committed <= head.durable && head.durable <= head.lsn.plus(fill),
            "what is certain is durable, what is durable is written"
        );
        self.0[HEAD_BYTES + fill..].fill(0);
        self.put_identity(DATA, identity, head.fill, place);
        self.put(28, &0u32.to_le_bytes());
        self.put(32, &head.lsn.0.to_le_bytes());
        self.put(40, &head.durable.0.to_le_bytes());
        self.put(48, &head.committed.0.to_le_bytes());
        self.put_checksum();
    }

    /// The header of a segment.
    pub fn header(identity: Identity, segment: u64, header: Header) -> Self {
        let mut block = Self::ZERO;
        let place = Place {
            segment,
            position: 0,
        };
        block.put_identity(SEGMENT, identity, identity.shards, place);
        block.put(28, &VERSION.to_le_bytes());
        block.put(32, &header.first.0.to_le_bytes());
        block.put(40, &header.blocks.to_le_bytes());
        block.put_checksum();
        block
    }

    /// What stands in the header's place of a segment that has been prepared: in the first one of a log
    /// the header, in the others zeros, since nobody knows yet what they begin with.
    pub fn prepared(identity: Identity, segment: u64, header: Header) -> Self {
        match segment {
            0 => Self::header(identity, segment, header),
            _ => Self::ZERO,
        }
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn put_identity(&mut self, magic: [u8; 4], identity: Identity, field: u16, place: Place) {
        self.put(4, &magic);
        self.put(8, &identity.epoch.to_le_bytes());
        self.put(12, &identity.shard.0.to_le_bytes());
        self.put(14, &field.to_le_bytes());
        self.put(16, &place.segment.to_le_bytes());
        self.put(24, &place.position.to_le_bytes());
    }

    fn put_checksum(&mut self) {
        let crc = crc32c::crc32c(&self.0[4..]);
        self.put(0, &crc.to_le_bytes());
    }
}

/// The records in a block that [`examine`] has found to be one of data.
pub fn payload<'a>(block: &'a [u8], head: &Head) -> &'a [u8] {
    &block[HEAD_BYTES..HEAD_BYTES + usize::from(head.fill)]
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// What the 4 KiB in a place of this log are. Any bytes may stand there.
pub fn examine(bytes: &[u8], identity: Identity, place: Place) -> Found {
    assert_eq!(bytes.len(), BLOCK_BYTES, "whole blocks are read");
    if u32_at(bytes, 0) != crc32c::crc32c(&bytes[4..]) {
        let zero = bytes.iter().all(|&byte| byte == 0);
        return if zero { Found::Zero } else { Found::Torn };
    }
    let data = bytes[4..8] == DATA;
    if !data && (bytes[4..8] != SEGMENT || u16_at(bytes, 28) != VERSION) {
        return Found::Foreign;
    }
    let shard = u16_at(bytes, 12) == identity.shard.0;
    let (epoch, segment) = (u32_at(bytes, 8), u64_at(bytes, 16));
    let earlier =
        epoch < identity.epoch || (shard && epoch == identity.epoch && segment < place.segment);
    if earlier {
        return Found::Stale;
    }
    if !shard
        || epoch != identity.epoch
        || segment != place.segment
        || u32_at(bytes, 24) != place.position
        || data != (place.position > 0)
    {
        return Found::Misplaced;
    }
    if data {
        let fill = u16_at(bytes, 14);
        let lsn = Lsn(u64_at(bytes, 32));
        let fits = usize::from(fill) <= PAYLOAD_BYTES && lsn.0.checked_add(fill.into()).is_some();
        let head = Head {
            lsn,
            fill,
            durable: Lsn(u64_at(bytes, 40)),
            committed: Lsn(u64_at(bytes, 48)),
        };
        return if fits {
            Found::Data(head)
        } else {
            Found::Foreign
        };
    }
    if u16_at(bytes, 14) != identity.shards {
        return Found::Foreign;
    }
    Found::Header(Header {
        first: Lsn(u64_at(bytes, 32)),
        blocks: u32_at(bytes, 40),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::ShardId;

    const IDENTITY: Identity = Identity {
        shard: ShardId(3),
        shards: 4,
        epoch: 7,
    };
    const PLACE: Place = Place {
        segment: 5,
        position: 9,
    };

    fn block() -> (Block, Head) {
        let mut block = Block::ZERO;
        block.payload()[..3].copy_from_slice(b"abc");
        let head = Head {
            lsn: Lsn(1000),
            fill: 3,
            durable: Lsn(1001),
            committed: Lsn(900),
        };
        block.seal(IDENTITY, PLACE, head);
        (block, head)
    }

    #[test]
    fn a_block_is_known_in_its_place_only() {
        let (block, head) = block();
        assert_eq!(examine(&block.0, IDENTITY, PLACE), Found::Data(head));
        assert_eq!(payload(&block.0, &head), b"abc");
        let at = |identity, place| examine(&block.0, identity, place);
        let (segment, position) = (PLACE.segment, PLACE.position);
        let later = Identity {
            epoch: 8,
            shard: ShardId(0),
            ..IDENTITY
        };
        assert_eq!(at(later, PLACE), Found::Stale);
        let next = Place {
            segment: segment + 1,
            position,
        };
        assert_eq!(at(IDENTITY, next), Found::Stale);
        let other = Identity {
            shard: ShardId(2),
            ..IDENTITY
        };
        for (identity, segment, position) in [
            (other, segment, position),
            (IDENTITY, segment - 1, position),
            (IDENTITY, segment, position + 1),
            (IDENTITY, segment, 0),
        ] {
            let place = Place { segment, position };
            assert_eq!(at(identity, place), Found::Misplaced);
        }
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let (block, _) = block();
        for bit in 0..BLOCK_BYTES * 8 {
            let mut torn = block.clone();
            torn.0[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(examine(&torn.0, IDENTITY, PLACE), Found::Torn, "bit {bit}");
        }
        assert_eq!(examine(&Block::ZERO.0, IDENTITY, PLACE), Found::Zero);
    }

    #[test]
    fn a_header_says_where_the_segment_begins() {
        let header = Header {
            first: Lsn(77),
            blocks: 16,
        };
        let block = Block::header(IDENTITY, 5, header);
        let place = Place {
            segment: 5,
            position: 0,
        };
        assert_eq!(examine(&block.0, IDENTITY, place), Found::Header(header));
        let fewer = Identity {
            shards: 3,
            ..IDENTITY
        };
        assert_eq!(examine(&block.0, fewer, place), Found::Foreign);
    }
}
