//! Looking through the keyspace: SCAN, KEYS, RANDOMKEY.
//!
//! A cursor of SCAN is a position in the order of all keys, which begins with the slot: so it names
//! the shard to go on at. Each shard scans its run of slots to the end, and the cursor after that is
//! the first position of the next shard's slot. Since nothing of it depends on a table's size or on
//! how slots are dealt, an element that is there from start to end is returned whatever happens in
//! between, and once.

use crate::command::context::{Ctx, MergeCtx, PartCtx, caller};
use crate::command::error::{Error, Outcome};
use crate::keyspace::CURSOR_END;
use crate::mesh::ShardId;
use crate::resp::Version;
use crate::resp::encode::{Output, Reply};
use crate::resp::number::parse_i64;
use crate::shard::Shard;
use crate::stdx::glob;

/// Keys that SCAN looks at without COUNT.
const COUNT_DEFAULT: usize = 10;

/// A cursor as Redis reads it (strtoul): digits, possibly with a sign; an empty one is 0.
pub fn parse_cursor(text: &[u8]) -> Option<u64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        [] => return Some(0),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut cursor = 0u64;
    for digit in digits {
        let value = digit.wrapping_sub(b'0');
        if value > 9 {
            return None;
        }
        cursor = cursor.checked_mul(10)?.checked_add(u64::from(value))?;
    }
    Some(if negative {
        cursor.wrapping_neg()
    } else {
        cursor
    })
}

/// What SCAN is to show.
struct Scan<'a> {
    count: usize,
    pattern: Option<&'a [u8]>,
    kind: Option<&'a [u8]>,
}

impl<'a> Scan<'a> {
    fn parse(mut options: &[&'a [u8]]) -> Result<Self, Error> {
        let mut scan = Self {
            count: COUNT_DEFAULT,
            pattern: None,
            kind: None,
        };
        while let [option, rest @ ..] = options {
            options = match (option.to_ascii_lowercase().as_slice(), rest) {
                (b"count", [count, rest @ ..]) => {
                    let count = parse_i64(count).ok_or(Error::NOT_INTEGER)?;
                    if count < 1 {
                        return Err(Error::SYNTAX);
                    }
                    scan.count = usize::try_from(count).unwrap_or(usize::MAX);
                    rest
                }
                (b"match", [pattern, rest @ ..]) => {
                    // The pattern that matches everything need not be asked.
                    scan.pattern = (*pattern != b"*").then_some(*pattern);
                    rest
                }
                (b"type", [kind, rest @ ..]) => {
                    scan.kind = Some(kind);
                    rest
                }
                (b"novalues", _) => {
                    return Err(Error::new("ERR NOVALUES option can only be used in HSCAN"));
                }
                _ => return Err(Error::SYNTAX),
            };
        }
        Ok(scan)
    }
}

/// The shard that a cursor is to be continued on.
pub(super) fn scan_owner(shard: &Shard, args: &[&[u8]]) -> ShardId {
    match parse_cursor(args[1]) {
        Some(cursor) if cursor < CURSOR_END => shard.owner_of_cursor(cursor),
        _ => shard.id,
    }
}

/// The first cursor from this one on that is this shard's.
fn begin_of_run(shard: &Shard, mut cursor: u64) -> u64 {
    while cursor < CURSOR_END && shard.owner_of_cursor(cursor) != shard.id {
        cursor = shard.end_of_stretch(cursor);
    }
    cursor
}

/// The first cursor from this one on that is of another shard than it.
fn end_of_run(shard: &Shard, cursor: u64) -> u64 {
    let owner = shard.owner_of_cursor(cursor);
    let mut end = cursor;
    while end < CURSOR_END && shard.owner_of_cursor(end) == owner {
        end = shard.end_of_stretch(end);
    }
    end
}

pub(super) fn scan(ctx: &mut Ctx<'_>) -> Outcome {
    let mut cursor = parse_cursor(ctx.args[1]).ok_or(Error::BAD_CURSOR)?;
    let scan = Scan::parse(&ctx.args[2..])?;
    let shard = &*ctx.shard;
    let one_node = ctx.caller.flags & caller::CORE != 0;
    if one_node && cursor < CURSOR_END {
        cursor = begin_of_run(shard, cursor);
    }
    let mut found = 0;
    let mut keys = Output::default();
    let mut next = CURSOR_END;
    if cursor < CURSOR_END {
        let mut list = Reply::new(&mut keys, Version::Resp2);
        let db = shard.keyspace.db(usize::from(ctx.caller.db));
        let end = end_of_run(shard, cursor);
        next = db.scan(cursor, end, scan.count, shard.now_ms, |entry| {
            let wanted = scan
                .pattern
                .is_none_or(|pattern| glob::matches(pattern, entry.key(), false))
                && scan
                    .kind
                    .is_none_or(|kind| kind.eq_ignore_ascii_case(entry.kind().name().as_bytes()));
            if wanted {
                found += 1;
                list.bulk(entry.key());
            }
        });
    }
    if one_node && next < CURSOR_END {
        next = begin_of_run(shard, next);
    }
    let next = if next >= CURSOR_END { 0 } else { next };
    ctx.reply.array(2);
    ctx.reply.bulk_integer(next as i64);
    ctx.reply.array(found);
    ctx.reply.raw(&keys.buf);
    Ok(())
}

/// A shard's part of KEYS: how many, then the keys encoded.
pub(super) fn keys_part(ctx: &mut PartCtx<'_>) -> Outcome {
    let pattern = ctx.args[1];
    let all = pattern == b"*";
    let shard = &ctx.engine.shard;
    let db = shard.keyspace.db(usize::from(ctx.caller.db));
    let head = ctx.out.buf.len();
    ctx.out.buf.extend_from_slice(&[0; 8]);
    let mut found = 0u64;
    let mut list = Reply::new(ctx.out, Version::Resp2);
    db.scan(0, CURSOR_END, usize::MAX, shard.now_ms, |entry| {
        if all || glob::matches(pattern, entry.key(), false) {
            found += 1;
            list.bulk(entry.key());
        }
    });
    ctx.out.buf[head..head + 8].copy_from_slice(&found.to_le_bytes());
    Ok(())
}

pub(super) fn keys_merge(ctx: &mut MergeCtx<'_>) -> Outcome {
    let counts = ctx.parts.iter().map(|part| number(part, 0));
    ctx.reply.array(counts.sum::<u64>() as usize);
    for part in ctx.parts.iter() {
        ctx.reply.raw(&part.buf[8..]);
    }
    Ok(())
}

/// The number that stands in a part's answer at an offset.
pub fn number(part: &Output, at: usize) -> u64 {
    let bytes = part.buf[at..at + 8].try_into();
    u64::from_le_bytes(bytes.expect("eight bytes"))
}

/// A shard's part of RANDOMKEY: its number of keys, and one of them; nothing if it found none.
pub(super) fn randomkey_part(ctx: &mut PartCtx<'_>) -> Outcome {
    let shard = &mut ctx.engine.shard;
    let mut state = shard.random() | 1;
    let draw = || {
        // SplitMix64: any seed will do.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    };
    let db = shard.keyspace.db(usize::from(ctx.caller.db));
    if let Some(entry) = db.random(shard.now_ms, draw) {
        let count = db.len() as u64;
        ctx.out.buf.extend_from_slice(&count.to_le_bytes());
        ctx.out.buf.extend_from_slice(entry.key());
    }
    Ok(())
}

/// Takes one shard's key, each with the chance of its share of all keys.
pub(super) fn randomkey_merge(ctx: &mut MergeCtx<'_>) -> Outcome {
    let found = || ctx.parts.iter().filter(|part| !part.buf.is_empty());
    let total: u64 = found().map(|part| number(part, 0)).sum();
    if total == 0 {
        ctx.reply.null();
        return Ok(());
    }
    let mut drawn = ctx.engine.shard.random() % total;
    for part in found() {
        let count = number(part, 0);
        if drawn < count {
            ctx.reply.bulk(&part.buf[8..]);
            return Ok(());
        }
        drawn -= count;
    }
    unreachable!("the number drawn is below the sum")
}

/// Whether a key belongs to this shard.
pub fn is_own(shard: &Shard, key: &[u8]) -> bool {
    shard.owner_of_key(key) == shard.id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::slot_cursor;

    #[test]
    fn cursors_are_read_as_redis_reads_them() {
        assert_eq!(parse_cursor(b"0"), Some(0));
        assert_eq!(parse_cursor(b""), Some(0));
        assert_eq!(parse_cursor(b"-1"), Some(u64::MAX));
        assert_eq!(parse_cursor(b"+7"), Some(7));
        assert_eq!(parse_cursor(b"18446744073709551615"), Some(u64::MAX));
        for bad in ["18446744073709551616", " 1", "1 ", "1x", "-", "x", "\0"] {
            assert_eq!(parse_cursor(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_run_ends_where_the_next_owners_begins() {
        let mut shard = crate::shard::testing::shard();
        assert_eq!(end_of_run(&shard, 0), CURSOR_END);
        shard.slot_map[100..200].fill(ShardId(1));
        assert_eq!(end_of_run(&shard, 0), slot_cursor(100));
        assert_eq!(end_of_run(&shard, slot_cursor(150) + 3), slot_cursor(200));
        assert_eq!(end_of_run(&shard, slot_cursor(200)), CURSOR_END);
        assert_eq!(scan_owner(&shard, &[b"scan", b"nonsense"]), ShardId(0));
        let cursor = slot_cursor(150).to_string();
        assert_eq!(
            scan_owner(&shard, &[b"scan", cursor.as_bytes()]),
            ShardId(1)
        );
    }
}
