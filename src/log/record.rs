//! Records: what one atomic unit did to one shard, as bytes in the log. The table of bytes stands in
//! [`super`].

use smallvec::SmallVec;

use super::{Lsn, checksum};
use crate::mesh::ShardId;
use crate::txn::{DbIndex, TxnId};

/// Bytes before what a record holds.
pub const HEAD_BYTES: usize = 20;
/// Bytes after the head, at most: what the length field holds.
pub const BODY_BYTES_MAX: usize = u32::MAX as usize;

const EFFECTS: u8 = 1;
const PART: u8 = 2;
const BASE: u8 = 3;

/// The shards of a transaction.
pub type Participants = SmallVec<[ShardId; 8]>;

/// What a record is, besides its payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The effects of one unit, all of them on this shard.
    Effects,
    /// This shard's part of a transaction over several. It counts when all parts are there.
    Part {
        /// The transaction; unique within the epoch.
        txn: TxnId,
        /// The shards that have a part, this one among them, each once.
        participants: Participants,
    },
    /// What stands before this is also held by a base (a snapshot).
    Base {
        /// Which.
        number: u64,
    },
}

/// A record as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// Of its first byte.
    pub lsn: Lsn,
    /// Of the byte after it.
    pub end: Lsn,
    /// The database that its commands begin in.
    pub db: DbIndex,
    /// What it is.
    pub kind: Kind,
    /// RESP commands.
    pub payload: &'a [u8],
}

/// What stands before a record's payload.
pub type Head = SmallVec<[u8; 64]>;

/// The bytes before the payload of a record that will stand at `lsn`; `None` when it is too long.
pub fn head(lsn: Lsn, db: DbIndex, kind: &Kind, payload: &[u8]) -> Option<Head> {
    let mut head = Head::from_slice(&[0; HEAD_BYTES]);
    let code = match kind {
        Kind::Effects => EFFECTS,
        Kind::Part { txn, participants } => {
            assert!(participants.len() > 1, "others are not parts");
            head.extend_from_slice(&txn.number.to_le_bytes());
            head.extend_from_slice(&txn.coordinator.0.to_le_bytes());
            head.extend_from_slice(&(participants.len() as u16).to_le_bytes());
            for shard in participants {
                head.extend_from_slice(&shard.0.to_le_bytes());
            }
            PART
        }
        Kind::Base { number } => {
            assert!(payload.is_empty(), "a marker has no payload");
            head.extend_from_slice(&number.to_le_bytes());
            BASE
        }
    };
    let body = head.len() - HEAD_BYTES + payload.len();
    if body > BODY_BYTES_MAX {
        return None;
    }
    head[4..8].copy_from_slice(&(body as u32).to_le_bytes());
    head[8..16].copy_from_slice(&lsn.0.to_le_bytes());
    head[16] = code;
    head[18..20].copy_from_slice(&db.to_le_bytes());
    let crc = checksum::append(checksum::append(0, &head[4..]), payload);
    head[..4].copy_from_slice(&crc.to_le_bytes());
    Some(head)
}

/// What stands at the start of some bytes of the log.
#[derive(Debug)]
pub enum Decoded<'a> {
    /// A whole record.
    Record(Record<'a>),
    /// The beginning of one, or nothing.
    Partial,
    /// Not a record.
    Wrong(&'static str),
}

/// Decodes the record at the start of `bytes`, which is to stand at `lsn`.
pub fn decode(bytes: &[u8], lsn: Lsn) -> Decoded<'_> {
    let Some((head, rest)) = bytes.split_at_checked(HEAD_BYTES) else {
        return Decoded::Partial;
    };
    let number =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if u64::from(number(8)) | u64::from(number(12)) << 32 != lsn.0 {
        return Decoded::Wrong("a record that belongs elsewhere");
    }
    let Some(body) = rest.get(..number(4) as usize) else {
        return Decoded::Partial;
    };
    let end = HEAD_BYTES + body.len();
    if checksum::append(0, &bytes[4..end]) != number(0) {
        return Decoded::Wrong("a record whose checksum is wrong");
    }
    let Some((kind, payload)) = decode_kind(head[16], body) else {
        return Decoded::Wrong("a record of an unknown kind");
    };
    Decoded::Record(Record {
        lsn,
        end: lsn.plus(end),
        db: u16::from_le_bytes([head[18], head[19]]),
        kind,
        payload,
    })
}

fn decode_kind(code: u8, body: &[u8]) -> Option<(Kind, &[u8])> {
    match code {
        EFFECTS => Some((Kind::Effects, body)),
        PART => {
            let (number, rest) = body.split_first_chunk()?;
            let (coordinator, rest) = rest.split_first_chunk()?;
            let (count, rest) = rest.split_first_chunk()?;
            let shards = usize::from(u16::from_le_bytes(*count)) * 2;
            let (shards, payload) = rest.split_at_checked(shards)?;
            let shard = |bytes: &[u8]| ShardId(u16::from_le_bytes([bytes[0], bytes[1]]));
            let txn = TxnId {
                number: u64::from_le_bytes(*number),
                coordinator: ShardId(u16::from_le_bytes(*coordinator)),
            };
            let participants = shards.chunks_exact(2).map(shard).collect();
            Some((Kind::Part { txn, participants }, payload))
        }
        BASE => {
            let number = u64::from_le_bytes(body.try_into().ok()?);
            Some((Kind::Base { number }, &[]))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(lsn: Lsn, db: DbIndex, kind: &Kind, payload: &[u8]) -> Vec<u8> {
        let mut bytes = head(lsn, db, kind, payload).expect("short").to_vec();
        bytes.extend_from_slice(payload);
        bytes
    }

    fn kinds() -> [Kind; 3] {
        let txn = TxnId {
            number: 1 << 40,
            coordinator: ShardId(9),
        };
        let participants = [ShardId(1), ShardId(300)].into_iter().collect();
        [
            Kind::Effects,
            Kind::Part { txn, participants },
            Kind::Base { number: 12 },
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        for kind in kinds() {
            let payload: &[u8] = match kind {
                Kind::Base { .. } => b"",
                _ => b"*1\r\n$4\r\nPING\r\n",
            };
            let lsn = Lsn(1 << 33);
            let bytes = encode(lsn, 15, &kind, payload);
            for part in 0..bytes.len() {
                assert!(matches!(decode(&bytes[..part], lsn), Decoded::Partial));
            }
            let Decoded::Record(record) = decode(&bytes, lsn) else {
                panic!("{kind:?}");
            };
            let end = lsn.plus(bytes.len());
            let wanted = Record {
                lsn,
                end,
                db: 15,
                kind,
                payload,
            };
            assert_eq!(record, wanted);
            assert!(matches!(decode(&bytes, Lsn(5)), Decoded::Wrong(_)));
        }
    }

    #[test]
    fn no_flipped_bit_passes() {
        for kind in kinds() {
            let bytes = encode(Lsn(3), 0, &kind, b"");
            for bit in 0..bytes.len() * 8 {
                let mut bad = bytes.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(!matches!(decode(&bad, Lsn(3)), Decoded::Record(_)));
            }
        }
    }
}
