//! The small sorted set: pairs of member and score in one packed block, in order.
//!
//! A score is an integer where it is a whole number of at most 62 bits, and otherwise a byte string:
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 + up to 6 | decimals (1 to 22) with the sign in bit 7, then the digits as a number, little-endian |
//! | 9 | 0x80, then the double, little-endian |
//!
//! So 3.14 takes 5 bytes instead of the 20 of its text, and reading it is one division, which is
//! exact: both numbers are whole and below 2^53. Neither form begins as a decimal text does. A score
//! of -0 becomes 0, as it does in Redis's listpack.

use super::leaf::{Element, order};
use crate::resp::number::I64_TEXT_MAX;
use crate::types::packed::{self, Block, Packed};
use std::io::Write;

/// Elements of a block for each of the set.
const STRIDE: usize = 2;
/// Whole numbers beyond are not stored as integers (Redis's `double2ll`).
const INT_MAX: f64 = (i64::MAX / 2) as f64;
/// Begins a double that has no shorter form.
const RAW: u8 = 0x80;
const NEGATIVE: u8 = 0x80;
const RAW_BYTES: usize = 9;
const DECIMALS_MAX: usize = 22;
/// Bytes of a number of decimal digits; 6 stay below 2^53.
const DIGITS_BYTES_MAX: usize = 6;

const POWERS: [f64; DECIMALS_MAX + 1] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// A score as an element of the block; its bytes stand in `room`.
fn score_element(score: f64, room: &mut [u8; RAW_BYTES]) -> packed::Element<'_> {
    if score.abs() <= INT_MAX && score.trunc() == score {
        return packed::Element::Int(score as i64);
    }
    let len = match decimal(score) {
        Some((decimals, digits)) => {
            room[0] = decimals | if score < 0.0 { NEGATIVE } else { 0 };
            room[1..].copy_from_slice(&digits.to_le_bytes());
            1 + DIGITS_BYTES_MAX.min(8 - digits.leading_zeros() as usize / 8)
        }
        None => {
            room[0] = RAW;
            room[1..].copy_from_slice(&score.to_le_bytes());
            RAW_BYTES
        }
    };
    packed::Element::Bytes(&room[..len])
}

/// How many decimals a score has, and all its digits as a number, where these are few.
fn decimal(score: f64) -> Option<(u8, u64)> {
    /// A sign less, 17 digits, point and exponent.
    const TEXT_MAX: usize = 32;
    let mut text = [0u8; TEXT_MAX];
    let mut rest = &mut text[..];
    write!(rest, "{:e}", score.abs()).ok()?;
    let used = TEXT_MAX - rest.len();
    let text = std::str::from_utf8(&text[..used]).ok()?;
    let (mantissa, exponent) = text.split_once('e')?;
    let fraction = mantissa.split_once('.').map_or(0, |(_, f)| f.len());
    let exponent: i32 = exponent.parse().ok()?;
    let decimals = usize::try_from(fraction as i32 - exponent).ok()?;
    let digits = mantissa
        .bytes()
        .filter(u8::is_ascii_digit)
        .try_fold(0u64, |n, d| {
            n.checked_mul(10)?.checked_add(u64::from(d - b'0'))
        })?;
    let fits = (1..=DECIMALS_MAX).contains(&decimals) && digits >> (8 * DIGITS_BYTES_MAX) == 0;
    fits.then_some((decimals as u8, digits))
}

/// The score that an element of the block is.
#[inline]
fn score_of(element: packed::Element<'_>) -> f64 {
    match element {
        packed::Element::Int(number) => number as f64,
        packed::Element::Bytes([RAW, bytes @ ..]) => {
            f64::from_le_bytes(bytes.try_into().expect("eight bytes"))
        }
        packed::Element::Bytes(bytes) => {
            let (head, digits) = bytes.split_first().expect("a score is not empty");
            let digits = digits
                .iter()
                .rev()
                .fold(0u64, |n, b| n << 8 | u64::from(*b));
            let score = digits as f64 / POWERS[usize::from(head & !NEGATIVE)];
            if head & NEGATIVE == 0 { score } else { -score }
        }
    }
}

/// A block, for reading.
#[derive(Clone, Copy, Debug)]
pub struct Small<'a> {
    block: Packed<'a>,
}

/// A member that was found in a block.
#[derive(Clone, Copy, Debug)]
pub struct FoundSmall {
    at: usize,
    score_at: usize,
    /// Its score.
    pub score: f64,
}

impl<'a> Small<'a> {
    /// The set that these bytes are.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            block: Packed::new(bytes),
        }
    }

    /// Elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.block.len() / STRIDE
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the block.
    pub fn bytes(&self) -> usize {
        self.block.end()
    }

    /// Looks a member up.
    #[inline]
    pub fn find(&self, member: &[u8]) -> Option<FoundSmall> {
        let wanted = packed::Element::of(member);
        let at = self.block.find(wanted, self.block.start(), STRIDE)?;
        let score_at = self.block.next(at);
        let score = score_of(self.block.get(score_at));
        Some(FoundSmall {
            at,
            score_at,
            score,
        })
    }

    /// How many elements are in front of one that was found.
    pub fn rank(&self, found: &FoundSmall) -> usize {
        self.block
            .iter_between(self.block.start(), found.at)
            .count()
            / STRIDE
    }

    /// The offset of the element of a rank; the end if there is none.
    fn offset(&self, rank: usize) -> usize {
        let at = self.block.nth(rank * STRIDE);
        at.unwrap_or(self.block.end())
    }

    /// Shows elements from an offset on, upwards, as long as `visit` says so.
    fn walk(&self, mut at: usize, mut visit: impl FnMut(usize, Element<'_>) -> bool) {
        while at < self.block.end() {
            let score_at = self.block.next(at);
            let score = score_of(self.block.get(score_at));
            let mut text = [0; I64_TEXT_MAX];
            let member = self.block.get(at);
            if !visit(at, (score, member.text(&mut text))) {
                break;
            }
            at = self.block.next(score_at);
        }
    }

    /// Shows up to `count` elements from a rank on, upwards or downwards.
    pub fn visit(
        &self,
        rank: usize,
        count: usize,
        downwards: bool,
        mut visit: impl FnMut(Element<'_>),
    ) {
        let mut left = count;
        if left == 0 || rank >= self.len() {
            return;
        }
        if !downwards {
            return self.walk(self.offset(rank), |_, element| {
                visit(element);
                left -= 1;
                left > 0
            });
        }
        let mut end = self.offset(rank + 1);
        while left > 0 {
            let Some(score_at) = self.block.prev(end) else {
                break;
            };
            let at = self.block.prev(score_at).expect("a pair");
            let score = score_of(self.block.get(score_at));
            let mut text = [0; I64_TEXT_MAX];
            visit((score, self.block.get(at).text(&mut text)));
            (end, left) = (at, left - 1);
        }
    }

    /// How many elements `before` holds for, which holds up to some element only.
    pub fn count_where(&self, before: impl Fn(Element<'_>) -> bool) -> usize {
        let mut count = 0;
        self.walk(self.block.start(), |_, element| {
            let holds = before(element);
            count += usize::from(holds);
            holds
        });
        count
    }

    /// How many elements have scores of which `before` holds, which holds up to some score only.
    pub fn count_scores(&self, before: impl Fn(f64) -> bool) -> usize {
        let mut at = self.block.start();
        let mut count = 0;
        while at < self.block.end() {
            let score_at = self.block.next(at);
            if !before(score_of(self.block.get(score_at))) {
                break;
            }
            count += 1;
            at = self.block.next(score_at);
        }
        count
    }

    /// Where an element belongs.
    fn place(&self, (score, member): Element<'_>) -> usize {
        let mut at = self.block.start();
        while at < self.block.end() {
            let score_at = self.block.next(at);
            let other = score_of(self.block.get(score_at));
            if other > score {
                break;
            }
            let mut text = [0; I64_TEXT_MAX];
            if other == score
                && order((other, self.block.get(at).text(&mut text)), (score, member)).is_ge()
            {
                break;
            }
            at = self.block.next(score_at);
        }
        at
    }

    /// Whether the block has room for another element.
    pub fn has_room(&self, member: &[u8]) -> bool {
        let bytes = packed::Element::of(member).packed_bytes() + RAW_BYTES + 2;
        packed::has_room(self.block, bytes, STRIDE)
    }
}

/// Adds a member that is not there; the block has room for it.
pub fn insert(block: &mut impl Block, (score, member): Element<'_>) {
    let at = Small::new(block.block()).place((score, member));
    let mut room = [0; RAW_BYTES];
    let pair = [packed::Element::of(member), score_element(score, &mut room)];
    packed::insert(block, at, &pair);
}

/// Gives a member that was found another score; the block has room for it.
pub fn rescore(block: &mut impl Block, found: FoundSmall, (score, member): Element<'_>) {
    let set = Small::new(block.block());
    let to = set.place((score, member));
    let behind = set.block.next(found.score_at);
    let mut room = [0; RAW_BYTES];
    if to == found.at || to == behind {
        let element = score_element(score, &mut room);
        return packed::replace(block, found.score_at, 1, &[element]);
    }
    packed::remove(block, found.at, STRIDE);
    insert(block, (score, member));
}

/// Removes a member that was found.
pub fn remove(block: &mut impl Block, found: FoundSmall) {
    packed::remove(block, found.at, STRIDE);
}

/// Removes up to `count` elements from a rank on.
pub fn remove_range(block: &mut impl Block, rank: usize, count: usize) {
    let set = Small::new(block.block());
    let count = count.min(set.len().saturating_sub(rank));
    let at = set.offset(rank);
    packed::remove(block, at, STRIDE * count);
}

/// Adds an element behind all others.
pub fn push(block: &mut impl Block, (score, member): Element<'_>) {
    let mut room = [0; RAW_BYTES];
    let pair = [packed::Element::of(member), score_element(score, &mut room)];
    packed::push(block, &pair);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_come_back_as_they_were() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut scores = vec![
            0.0,
            1.0,
            -1.0,
            3.15,
            -3.15,
            0.1,
            1e-22,
            1e-23,
            1e17,
            1e20,
            5e-324,
            f64::MAX,
            f64::INFINITY,
            f64::NEG_INFINITY,
            4.5e18,
            4.7e18,
            1e300,
            99.99,
            0.000_123,
        ];
        scores.extend((0..10_000).map(|_| f64::from_bits(rng.u64(..))));
        scores.extend((0..10_000).map(|_| (rng.f64() * 1e6).round() / 1e3));
        for score in scores.into_iter().filter(|s| !s.is_nan()) {
            let mut room = [0; RAW_BYTES];
            let element = score_element(score, &mut room);
            assert_eq!(score_of(element).to_bits(), score.to_bits(), "{score}");
            assert!(element.packed_bytes() <= RAW_BYTES + 2);
        }
        let mut room = [0; RAW_BYTES];
        assert_eq!(score_element(3.15, &mut room).packed_bytes(), 5);
    }

    #[test]
    fn agrees_with_a_sorted_list() {
        for seed in 0..20 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut block = packed::EMPTY.to_vec();
            let mut model: Vec<(f64, Vec<u8>)> = Vec::new();
            for _ in 0..500 {
                let member = rng.u32(0..40).to_string().into_bytes();
                let score = f64::from(rng.u32(0..10)) / 4.0;
                let found = Small::new(&block).find(&member);
                let known = model.iter().position(|(_, m)| *m == member);
                assert_eq!(found.map(|f| f.score), known.map(|at| model[at].0));
                assert_eq!(found.map(|f| Small::new(&block).rank(&f)), known);
                match (found, rng.bool()) {
                    (Some(found), true) => {
                        rescore(&mut block, found, (score, &member));
                        model[known.expect("found")].0 = score;
                    }
                    (Some(found), false) => {
                        remove(&mut block, found);
                        model.remove(known.expect("found"));
                    }
                    (None, _) => {
                        insert(&mut block, (score, &member));
                        model.push((score, member));
                    }
                }
                model.sort_by(|a, b| order((a.0, &a.1), (b.0, &b.1)));
                let set = Small::new(&block);
                for downwards in [false, true] {
                    let mut seen = Vec::new();
                    let from = if downwards {
                        set.len().wrapping_sub(1)
                    } else {
                        0
                    };
                    set.visit(from, usize::MAX, downwards, |(s, m)| {
                        seen.push((s, m.to_vec()))
                    });
                    if downwards {
                        seen.reverse();
                    }
                    assert_eq!(seen, model);
                }
                let below = model.iter().filter(|e| e.0 < 1.0).count();
                assert_eq!(set.count_scores(|s| s < 1.0), below);
                assert_eq!(set.count_where(|e| e.0 < 1.0), below);
            }
            remove_range(&mut block, 1, 3);
            assert_eq!(
                Small::new(&block).len(),
                model.len() - 3.min(model.len() - 1)
            );
        }
    }
}
