//! LCS: the longest common subsequence of two strings.
//!
//! The lengths of the common subsequences of all prefixes form a table whose rows grow by 0 or 1
//! from one column to the next. So a row is kept as one bit for each column, and a row is made from
//! the one before 64 columns at a time (Hyyrö, "Bit-parallel LCS-length computation revisited",
//! 2004). The way back through the table needs nothing but these bits: where the bytes differ, a
//! row that grows at the column got its length from above, and otherwise from the left. This takes
//! a 32nd of the memory that Redis takes, and as much less time.

use std::ops::Range;

use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::keyspace::Kind;
use crate::resp::encode::Reply;
use crate::resp::number::parse_i64;

/// What is asked for.
#[derive(Default)]
struct Options {
    len_only: bool,
    ranges: bool,
    with_len: bool,
    len_min: usize,
}

/// LCS
pub(super) fn lcs(ctx: &mut Ctx<'_>) -> Outcome {
    let (Some(a), Some(b)) = (operand(ctx, 1), operand(ctx, 2)) else {
        return Err(Error::new(
            "ERR The specified keys must contain string values",
        ));
    };
    let options = parse(&ctx.args[3..])?;
    // What Redis would take for its table of 32-bit lengths, so that the same strings are refused.
    let cells = (a.len() as u128 + 1) * (b.len() as u128 + 1);
    if cells * 4 > u128::from(ctx.shard.config.proto_max_bulk_len) {
        return Err(Error::new(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }
    let table = Table::new(&a, &b, !options.len_only);
    if options.len_only {
        ctx.reply.integer(table.len() as i64);
    } else if options.ranges {
        reply_ranges(&mut ctx.reply, &options, &table, &a, &b);
    } else {
        let mut common = Vec::with_capacity(table.len());
        table.walk_back(&a, &b, |i, _| common.push(a[i]));
        common.reverse();
        ctx.reply.bulk(&common);
    }
    Ok(())
}

/// A copy of the string under a key, empty if it is missing; None for another type.
fn operand(ctx: &mut Ctx<'_>, at: usize) -> Option<Vec<u8>> {
    let key = ctx.args[at];
    let pos = ctx.shard.pos(key);
    match ctx.shard.read(ctx.caller, pos, key) {
        None => Some(Vec::new()),
        Some(entry) if entry.kind() == Kind::String => Some(entry.string()?.into_owned()),
        Some(_) => None,
    }
}

fn parse(args: &[&[u8]]) -> Result<Options, Error> {
    let mut options = Options::default();
    let mut args = args.iter();
    while let Some(option) = args.next() {
        if option.eq_ignore_ascii_case(b"idx") {
            options.ranges = true;
        } else if option.eq_ignore_ascii_case(b"len") {
            options.len_only = true;
        } else if option.eq_ignore_ascii_case(b"withmatchlen") {
            options.with_len = true;
        } else if option.eq_ignore_ascii_case(b"minmatchlen") {
            let number = args.next().ok_or(Error::SYNTAX)?;
            let number = parse_i64(number).ok_or(Error::NOT_INTEGER)?;
            options.len_min = usize::try_from(number).unwrap_or(0);
        } else {
            return Err(Error::SYNTAX);
        }
    }
    if options.ranges && options.len_only {
        return Err(Error::new(
            "ERR If you want both the length and indexes, please just use IDX.",
        ));
    }
    Ok(options)
}

fn reply_ranges(reply: &mut Reply<'_>, options: &Options, table: &Table, a: &[u8], b: &[u8]) {
    let mut ranges = runs(table, a, b);
    ranges.retain(|(range, _)| range.len() >= options.len_min);
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(ranges.len());
    for (in_a, in_b) in &ranges {
        reply.array(if options.with_len { 3 } else { 2 });
        for range in [in_a, in_b] {
            reply.array(2);
            reply.integer(range.start as i64);
            reply.integer(range.end as i64 - 1);
        }
        if options.with_len {
            reply.integer(in_a.len() as i64);
        }
    }
    reply.bulk(b"len");
    reply.integer(table.len() as i64);
}

/// The common subsequence as runs that are contiguous in both strings, from the last to the first.
fn runs(table: &Table, a: &[u8], b: &[u8]) -> Vec<(Range<usize>, Range<usize>)> {
    let mut runs: Vec<(Range<usize>, Range<usize>)> = Vec::new();
    table.walk_back(a, b, |i, j| match runs.last_mut() {
        Some((in_a, in_b)) if in_a.start == i + 1 && in_b.start == j + 1 => {
            (in_a.start, in_b.start) = (i, j);
        }
        _ => runs.push((i..i + 1, j..j + 1)),
    });
    runs
}

/// Where the rows of the table do not grow: a bit for each column. A row for each byte of the first
/// string, or the last row alone.
struct Table {
    rows: Vec<u64>,
    words: usize,
    columns: usize,
}

impl Table {
    fn new(a: &[u8], b: &[u8], keep_all: bool) -> Self {
        let words = b.len().div_ceil(64);
        let masks = Masks::new(a, b, words);
        let mut table = Self {
            rows: Vec::with_capacity(if keep_all { a.len() * words } else { 0 }),
            words,
            columns: b.len(),
        };
        let mut row = vec![u64::MAX; words];
        for byte in a {
            let mut carry = false;
            for (flat, mask) in row.iter_mut().zip(masks.of(*byte)) {
                let hit = *flat & mask;
                let (sum, over) = flat.overflowing_add(hit);
                let (sum, over_too) = sum.overflowing_add(u64::from(carry));
                carry = over || over_too;
                *flat = sum | (*flat & !mask);
            }
            if keep_all {
                table.rows.extend_from_slice(&row);
            }
        }
        if !keep_all || a.is_empty() {
            table.rows = row;
        }
        table
    }

    /// The length of the longest common subsequence.
    fn len(&self) -> usize {
        let last = &self.rows[self.rows.len() - self.words..];
        let grows = |column: &usize| last[column / 64] >> (column % 64) & 1 == 0;
        (0..self.columns).filter(grows).count()
    }

    fn grows(&self, row: usize, column: usize) -> bool {
        self.rows[row * self.words + column / 64] >> (column % 64) & 1 == 0
    }

    /// Visits the places of the subsequence's bytes in both strings, from the last to the first.
    fn walk_back(&self, a: &[u8], b: &[u8], mut visit: impl FnMut(usize, usize)) {
        let (mut i, mut j) = (a.len(), b.len());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                i -= 1;
                j -= 1;
                visit(i, j);
            } else if self.grows(i - 1, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
    }
}

/// For each byte of one string, the columns of the other that hold it.
struct Masks {
    bits: Vec<u64>,
    words: usize,
    /// Index of a byte's mask; bytes that do not occur have the first, empty one.
    index: [u16; 256],
}

impl Masks {
    fn new(a: &[u8], b: &[u8], words: usize) -> Self {
        let mut index = [0; 256];
        let mut count = 1;
        for byte in a {
            let index = &mut index[usize::from(*byte)];
            if *index == 0 {
                *index = count;
                count += 1;
            }
        }
        let mut bits = vec![0; usize::from(count) * words];
        for (column, byte) in b.iter().enumerate() {
            let mask = usize::from(index[usize::from(*byte)]) * words;
            bits[mask + column / 64] |= 1 << (column % 64);
        }
        // Bytes of `b` alone were collected in the first mask.
        bits[..words].fill(0);
        Self { bits, words, index }
    }

    fn of(&self, byte: u8) -> &[u64] {
        let at = usize::from(self.index[usize::from(byte)]) * self.words;
        &self.bits[at..at + self.words]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common(a: &[u8], b: &[u8]) -> Vec<u8> {
        let table = Table::new(a, b, true);
        let mut common = Vec::new();
        table.walk_back(a, b, |i, _| common.push(a[i]));
        common.reverse();
        assert_eq!(common.len(), table.len());
        assert_eq!(common.len(), Table::new(a, b, false).len());
        common
    }

    /// The way that the textbook, and Redis, has it.
    fn slowly(a: &[u8], b: &[u8]) -> Vec<u8> {
        let width = b.len() + 1;
        let mut len = vec![0; (a.len() + 1) * width];
        for i in 1..=a.len() {
            for j in 1..=b.len() {
                len[i * width + j] = if a[i - 1] == b[j - 1] {
                    len[(i - 1) * width + j - 1] + 1
                } else {
                    len[(i - 1) * width + j].max(len[i * width + j - 1])
                };
            }
        }
        let (mut i, mut j, mut common) = (a.len(), b.len(), Vec::new());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                (i, j) = (i - 1, j - 1);
                common.push(a[i]);
            } else if len[(i - 1) * width + j] > len[i * width + j - 1] {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        common.reverse();
        common
    }

    #[test]
    fn the_bits_give_the_subsequence_that_the_table_gives() {
        assert_eq!(common(b"ohmytext", b"mynewtext"), b"mytext");
        assert_eq!(common(b"", b"abc"), b"");
        assert_eq!(common(b"abc", b""), b"");
        let mut seed = 7u64;
        let mut text = |len: usize| -> Vec<u8> {
            (0..len)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    b'a' + (seed >> 60) as u8 % 5
                })
                .collect()
        };
        for len in [1, 2, 7, 63, 64, 65, 130, 200] {
            let (a, b) = (text(len), text(len * 3 / 2));
            assert_eq!(common(&a, &b), slowly(&a, &b));
            assert_eq!(common(&b, &a), slowly(&b, &a));
        }
    }
}
