//! What is stored: how long values are, and their bytes.

use crate::keys::KeyRange;
use crate::rng::Rng;

/// The largest value that can be asked for, Redis's own limit for a string.
pub(crate) const VALUE_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Random values are windows into a pool that is this much longer than the longest value.
const RANDOM_SPARE_BYTES: usize = 1024 * 1024;

/// How long values are.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Sizes {
    Fixed(u64),
    /// Any size in the range, each as likely.
    Range {
        min: u64,
        max: u64,
    },
    /// The sizes of the range spread evenly over the key range.
    RangeByKey {
        min: u64,
        max: u64,
    },
    /// Sizes with their weights.
    List(Vec<(u64, u64)>),
}

impl Sizes {
    /// The largest size.
    pub(crate) fn max(&self) -> u64 {
        match self {
            Sizes::Fixed(size) => *size,
            Sizes::Range { max, .. } | Sizes::RangeByKey { max, .. } => *max,
            Sizes::List(list) => list.iter().map(|(size, _)| *size).max().unwrap_or(0),
        }
    }

    fn pick(&self, key: u64, keys: KeyRange, rng: &mut Rng) -> u64 {
        match self {
            Sizes::Fixed(size) => *size,
            Sizes::Range { min, max } => min + rng.below(max - min + 1),
            Sizes::RangeByKey { min, max } => {
                let at = key.clamp(keys.min, keys.max) - keys.min;
                let share = u128::from(at) * u128::from(max - min + 1) / u128::from(keys.count());
                min + share as u64
            }
            Sizes::List(list) => {
                let total: u64 = list.iter().map(|(_, weight)| weight).sum();
                let mut at = rng.below(total);
                for (size, weight) in list {
                    if at < *weight {
                        return *size;
                    }
                    at -= weight;
                }
                unreachable!("the weights sum to the total")
            }
        }
    }
}

/// All values of a run, as windows into one block of bytes.
#[derive(Clone, Debug)]
pub(crate) struct Values {
    sizes: Sizes,
    keys: KeyRange,
    pool: Vec<u8>,
    random: bool,
}

impl Values {
    pub(crate) fn new(sizes: Sizes, keys: KeyRange, random: bool, seed: u64) -> Values {
        assert!(sizes.max() <= VALUE_BYTES_MAX, "options refuse larger ones");
        let longest = sizes.max() as usize;
        let pool = if random {
            let mut rng = Rng::new(seed, u64::MAX);
            let mut pool = Vec::with_capacity(longest + RANDOM_SPARE_BYTES + 8);
            while pool.len() < longest + RANDOM_SPARE_BYTES {
                pool.extend_from_slice(&rng.next_u64().to_le_bytes());
            }
            pool
        } else {
            vec![b'x'; longest]
        };
        Values {
            sizes,
            keys,
            pool,
            random,
        }
    }

    /// The value for a request on `key`.
    #[inline]
    pub(crate) fn pick(&self, key: u64, rng: &mut Rng) -> &[u8] {
        let size = self.sizes.pick(key, self.keys, rng) as usize;
        let start = if self.random {
            rng.below((self.pool.len() - size + 1) as u64) as usize
        } else {
            0
        };
        &self.pool[start..start + size]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: KeyRange = KeyRange { min: 0, max: 999 };

    #[test]
    fn sizes_follow_their_rule() {
        let mut rng = Rng::new(1, 1);
        let list = Sizes::List(vec![(10, 3), (1000, 1)]);
        let long = (0..40_000)
            .filter(|_| list.pick(0, KEYS, &mut rng) == 1000)
            .count();
        assert!((9_500..10_500).contains(&long), "a quarter, got {long}");
        let by_key = Sizes::RangeByKey { min: 1, max: 10 };
        assert_eq!(by_key.pick(0, KEYS, &mut rng), 1);
        assert_eq!(by_key.pick(999, KEYS, &mut rng), 10);
        let range = Sizes::Range { min: 4, max: 6 };
        assert!((0..1000).all(|_| (4..=6).contains(&range.pick(0, KEYS, &mut rng))));
    }

    #[test]
    fn random_values_differ_and_plain_ones_do_not() {
        let mut rng = Rng::new(1, 1);
        let random = Values::new(Sizes::Fixed(64), KEYS, true, 9);
        assert_ne!(
            random.pick(1, &mut rng).to_vec(),
            random.pick(1, &mut rng).to_vec()
        );
        let plain = Values::new(Sizes::Fixed(64), KEYS, false, 9);
        assert_eq!(plain.pick(1, &mut rng), [b'x'; 64]);
    }
}
