//! Which bucket a hash belongs to, in tables that grow and shrink by one bucket at a time: spiral
//! storage (Martin, "Spiral storage: incrementally augmentable hash addressed storage", 1979).
//!
//! Linear hashing splits buckets in a fixed order, too, but there all buckets that wait for their
//! split are equally full, and all that had it are half as full: with a table that doubles, every
//! bucket goes through the same sizes at the same time, and an allocator is left with sparse pages
//! of every size that the table has outgrown. A million fields took 1.43 times the bytes of their
//! segments then, and take 1.01 times as many so. Here hashes are spread unevenly on purpose: with
//! `n` buckets they stand in a row of which the first has twice the load of the last, the first is
//! always the one to be split, and its two parts go to the row's end. So at every number of buckets
//! the same share of them has the same size, and what one outgrows the next one takes.
//!
//! | the row, with `n` buckets | |
//! | --- | --- |
//! | places | `n` to `2n - 1`; place `y` has `1/y` of the load, times a constant |
//! | a split | place `n` becomes places `2n` and `2n + 1`, and there are `n + 1` buckets |
//! | a hash's *position* | the fraction of 2^h, where h is the hash as a fraction of 1 |
//! | its place | the leading bits of 1.position that give a number in the row |
//! | a place's bucket | place `n` leaves its bucket to `2n`, and `2n + 1` gets the new one, so it is the place without its trailing zeros and the one before these |
//!
//! A bucket has one range of positions, and its parts the halves of that range: a walk in the
//! order of positions is complete whatever is split or merged meanwhile.

/// Quadratic part of the curve that stands for 2^h - 1, the linear part being the rest to 1: at most
/// 0.4 % off, and it ascends, which is all that matters.
const CURVE: u64 = (0.3435 * (1u128 << 64) as f64) as u64;

/// The position of a hash. It ascends with the hash; few hashes share one.
#[inline]
pub fn position(hash: u64) -> u64 {
    let slope = CURVE.wrapping_neg() + high(CURVE, hash);
    high(hash, slope)
}

#[inline]
fn high(a: u64, b: u64) -> u64 {
    ((u128::from(a) * u128::from(b)) >> 64) as u64
}

/// The bucket of a position, of `buckets`, and its depth: how many leading bits all its positions share.
#[inline]
pub fn bucket(position: u64, buckets: usize) -> (usize, u32) {
    let least = buckets.ilog2();
    let depth = least + u32::from(place(position, least) < buckets as u64);
    (bucket_of(place(position, depth)), depth)
}

/// The place of a position in rows where its place has `depth` bits behind the first.
#[inline]
fn place(position: u64, depth: u32) -> u64 {
    1 << depth | position >> 1 >> (u64::BITS - 1 - depth)
}

#[inline]
fn bucket_of(place: u64) -> usize {
    (place >> 1 >> place.trailing_zeros()) as usize
}

/// The bucket that is split next where there are `buckets`, and the depth of its parts: the first
/// stays, the one whose last bit of so many is set becomes the bucket of number `buckets`. When
/// there is one bucket more, they are merged again.
#[inline]
pub fn split(buckets: usize) -> (usize, u32) {
    (bucket_of(buckets as u64), buckets.ilog2() + 1)
}

/// The last position that shares `depth` leading bits with this one.
#[inline]
pub fn last(position: u64, depth: u32) -> u64 {
    position | u64::MAX >> depth
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_ascend_and_follow_the_curve() {
        let step = 1u64 << 52;
        let positions = (0..4096).map(|n| position(n * step));
        assert!(positions.is_sorted_by(|a, b| a < b));
        for n in 0..4096u64 {
            let exact = (n as f64 / 4096.0).exp2() - 1.0;
            let found = position(n * step) as f64 / (1u128 << 64) as f64;
            assert!((exact - found).abs() < 0.004, "{n}: {found} for {exact}");
        }
        assert!(position(u64::MAX) > u64::MAX - 8);
    }

    /// Splitting bucket by bucket gives what the look-up says, and loads of at most twice each other.
    #[test]
    fn buckets_are_split_as_they_are_found() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut positions: Vec<u64> = (0..20_000).map(|_| position(rng.u64(..))).collect();
        positions.extend([0, 1, u64::MAX, u64::MAX / 2, u64::MAX / 2 + 1]);
        let mut buckets = vec![positions];
        for count in 1..=130 {
            for (number, held) in buckets.iter().enumerate() {
                for &one in held {
                    let (found, depth) = bucket(one, count);
                    assert_eq!(found, number);
                    assert_eq!(bucket(last(one, depth), count), (number, depth));
                    let next = last(one, depth).checked_add(1);
                    assert!(next.is_none_or(|next| bucket(next, count).0 != number || count == 1));
                }
                let share = held.len() * count / 200;
                assert!(
                    count > 60 || (60..=170).contains(&share),
                    "{share} % of the mean load at {count}"
                );
            }
            let (from, depth) = split(count);
            let upper = |one: &u64| one >> (u64::BITS - depth) & 1 == 1;
            let moved: Vec<u64> = buckets[from].iter().copied().filter(upper).collect();
            buckets[from].retain(|one| !upper(one));
            buckets.push(moved);
        }
    }
}
