//! Recovery of segments that were damaged: no input makes it panic, and nothing is passed over.
//! What it gives is a beginning of what was written; of a log that is known to end at some LSN it
//! gives everything or an error; and bytes that the log itself says were durable are there.

use fastrand::Rng;
use ringdove::log::block::{BLOCK_BYTES, Block, Found, Header, Place, examine};
use ringdove::log::record::Kind;
use ringdove::log::recover::{Damage, Passed, Reader, Torn, cut};
use ringdove::log::writer::{How, SEGMENT_BLOCKS_MIN, Writer};
use ringdove::log::{Identity, Lsn};
use ringdove::mesh::ShardId;
use ringdove::txn::TxnId;

const IDENTITY: Identity = Identity {
    shard: ShardId(0),
    shards: 2,
    epoch: 3,
};

/// A log as it was written: its segments, and what they hold.
struct Written {
    blocks: u32,
    segments: Vec<Vec<u8>>,
    payloads: Vec<Vec<u8>>,
    ends: Vec<Lsn>,
}

/// A log of records and flushes of some size, in recycled files.
fn write(rng: &mut Rng) -> Written {
    let blocks = rng.u32(SEGMENT_BLOCKS_MIN..12);
    let mut writer = Writer::new(IDENTITY, blocks, Lsn(0));
    let mut written = Written {
        blocks,
        segments: Vec::new(),
        payloads: Vec::new(),
        ends: Vec::new(),
    };
    let largest = [30, 500, 9000][rng.usize(..3)];
    for _ in 0..rng.usize(1..40) {
        let mut payload = vec![0; rng.usize(..largest)];
        rng.fill(&mut payload);
        let lsns = writer.append(1, &Kind::Effects, &payload);
        written.ends.push(lsns.expect("it is short").end);
        written.payloads.push(payload);
        if rng.bool() {
            flush(&mut writer, blocks, &mut written.segments);
        }
    }
    while writer.is_dirty() {
        flush(&mut writer, blocks, &mut written.segments);
    }
    written
}

fn flush(writer: &mut Writer, blocks: u32, segments: &mut Vec<Vec<u8>>) {
    if writer.next_segment() < writer.segment() + 2 {
        let recycled = segments.last().cloned();
        let bytes = blocks as usize * BLOCK_BYTES;
        let mut segment = recycled.unwrap_or_else(|| vec![0; bytes]);
        let first = Lsn(0);
        let header = Block::prepared(IDENTITY, writer.next_segment(), Header { first, blocks });
        segment[..BLOCK_BYTES].copy_from_slice(&header.0);
        segments.push(segment);
        writer.segment_prepared();
    }
    let Some(flush) = writer.begin(How::Sync, writer.durable()) else {
        return;
    };
    for (position, range) in &flush.extents {
        let mut at = *position as usize * BLOCK_BYTES;
        for block in &flush.blocks[range.clone()] {
            segments[flush.segment as usize][at..at + BLOCK_BYTES].copy_from_slice(&block.0);
            at += BLOCK_BYTES;
        }
    }
    writer.ended(flush, Ok(()));
}

/// One change. Whether it may have made something that passes for a part of the log.
fn damage(segments: &mut [Option<Vec<u8>>], rng: &mut Rng) -> bool {
    let at = rng.usize(..segments.len());
    let other = rng.usize(..segments.len());
    if rng.u8(..12) == 0 {
        segments.swap(at, other);
        return false;
    }
    let source = segments[other].clone().unwrap_or_default();
    let Some(bytes) = segments[at]
        .as_mut()
        .filter(|bytes| bytes.len() >= BLOCK_BYTES)
    else {
        return false;
    };
    let blocks = bytes.len() / BLOCK_BYTES;
    let from = rng.usize(..blocks) * BLOCK_BYTES;
    let block = from..from + BLOCK_BYTES;
    match rng.u8(..8) {
        0 => bytes[rng.usize(from..from + BLOCK_BYTES)] ^= 1 << rng.u8(..8),
        1 => rng.fill(&mut bytes[block]),
        2 => bytes[block].fill(0),
        3 => bytes.truncate(rng.usize(..bytes.len())),
        4 => segments[at] = None,
        5 if source.len() >= BLOCK_BYTES => {
            let to = rng.usize(..source.len() / BLOCK_BYTES) * BLOCK_BYTES;
            bytes[block].copy_from_slice(&source[to..to + BLOCK_BYTES]);
        }
        6 => {
            // A sector of an older version.
            let sector = from + rng.usize(..8) * 512;
            bytes[sector..sector + 512].fill(0);
        }
        _ => {
            // Fields of the head, or records, with a checksum that fits.
            let until = if rng.bool() { 52 } else { 90 };
            let field = from + 4 + rng.usize(..until);
            bytes[field] = [0, 1, 0xFF, rng.u8(..)][rng.usize(..4)];
            let sum = crc32c::crc32c(&bytes[from + 4..from + BLOCK_BYTES]);
            bytes[from..from + 4].copy_from_slice(&sum.to_le_bytes());
            return true;
        }
    }
    false
}

type Recovered = (Vec<Vec<u8>>, Lsn, Option<Torn>);

fn recover(
    segments: &[Option<Vec<u8>>],
    blocks: u32,
    sealed: Option<Lsn>,
) -> Result<Recovered, Damage> {
    let mut payloads = Vec::new();
    let mut passed = Passed::default();
    let mut reader = Reader::new(IDENTITY, blocks, Lsn(0), sealed);
    for (number, bytes) in (0..).zip(segments) {
        if let Some(bytes) = bytes {
            reader.segment(number, bytes, &mut |record| {
                passed.saw(IDENTITY.shard, record);
                payloads.push(record.payload.to_vec());
            })?;
        }
    }
    let tail = reader.finish()?;
    let torn = tail.torn();
    let tails = [tail];
    let end = cut(&tails, &passed)?[0];
    tails[0].replay(end, |record| payloads.push(record.payload.to_vec()));
    Ok((payloads, end, torn))
}

/// What the blocks that can still be read say was durable.
fn claimed(segments: &[Option<Vec<u8>>]) -> Lsn {
    let mut claimed = Lsn(0);
    for (segment, bytes) in (0..).zip(segments) {
        let blocks = bytes
            .iter()
            .flat_map(|bytes| bytes.chunks_exact(BLOCK_BYTES));
        for (position, block) in (0..).zip(blocks) {
            let place = Place { segment, position };
            if let Found::Data(head) = examine(block, IDENTITY, place) {
                claimed = claimed.max(head.durable);
            }
        }
    }
    claimed
}

/// Runs so many damaged logs.
pub(crate) fn recovery(seed: u64, iterations: usize) {
    let mut rng = Rng::with_seed(seed);
    let (mut refused, mut shorter, mut whole) = (0, 0, 0);
    for _ in 0..iterations {
        let state = rng.get_seed();
        let written = write(&mut rng);
        let end = *written.ends.last().expect("at least one record");
        let mut segments: Vec<_> = written.segments.iter().cloned().map(Some).collect();
        let mut forged = false;
        for _ in 0..rng.usize(1..4) {
            forged |= damage(&mut segments, &mut rng);
        }
        let known = recover(&segments, written.blocks, Some(end));
        let open = recover(&segments, written.blocks, None);
        if forged {
            continue; // it came to an end, and nothing more can be said
        }
        if let Ok((payloads, ..)) = known {
            assert!(payloads == written.payloads, "seed {state}: a sealed log");
        }
        let Ok((payloads, recovered, torn)) = open else {
            refused += 1;
            continue;
        };
        assert!(
            written.payloads.starts_with(&payloads),
            "seed {state}: a beginning"
        );
        let certain = claimed(&segments);
        let least = written.ends.partition_point(|end| *end <= certain);
        assert!(
            payloads.len() >= least,
            "seed {state}: durable up to {certain}"
        );
        assert!(
            torn.is_none_or(|torn| torn.lsn == recovered),
            "seed {state}"
        );
        if recovered < end {
            shorter += 1
        } else {
            whole += 1
        }
    }
    println!("{iterations} logs: {refused} refused, {shorter} cut, {whole} whole");
    assert!(refused > 0 && shorter > 0 && whole > 0);
}

/// Records that make sense to the checksum and to nobody else.
pub(crate) fn strange_transactions() {
    let txn = TxnId {
        number: 7,
        coordinator: ShardId(60_000),
    };
    let participants = [ShardId(0), ShardId(40_000), ShardId(0)];
    let kind = Kind::Part {
        txn,
        participants: participants.into_iter().collect(),
    };
    let mut writer = Writer::new(IDENTITY, 8, Lsn(0));
    let mut segments = Vec::new();
    for _ in 0..3 {
        writer.append(0, &kind, b"x").expect("it is short");
        flush(&mut writer, 8, &mut segments);
    }
    let segments: Vec<_> = segments.into_iter().map(Some).collect();
    // What the log calls certain is not there on the other shard, which does not exist.
    assert!(recover(&segments, 8, None).is_err());
}
