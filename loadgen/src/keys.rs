//! Which key a request asks for: uniform, gaussian, Zipf, hot set, sequential, parallel.
//!
//! A `Distribution` is made once and shared by all clients; a `Cursor` belongs to one client and
//! one command, and holds what sequential patterns remember.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::rng::{Rng, scramble};

/// The inclusive range of key numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct KeyRange {
    pub(crate) min: u64,
    pub(crate) max: u64,
}

impl KeyRange {
    /// Keys in the range; at least 1.
    pub(crate) fn count(self) -> u64 {
        assert!(self.min <= self.max, "options refuse an empty range");
        (self.max - self.min).saturating_add(1)
    }
}

/// How keys are chosen. The letters are memtier's, H and the two of YCSB D are ours.
#[derive(Clone, Debug)]
pub(crate) enum Distribution {
    /// R: each key as likely as any other.
    Uniform,
    /// G: normal around `median`, redrawn when outside the range.
    Gaussian { median: f64, deviation: f64 },
    /// Z: key number `min + k` with a probability proportional to `1 / (k + 1)^exponent`.
    Zipf(Zipf),
    /// Z with the ranks scattered over the range, so that hot keys are not neighbours (YCSB).
    ScatteredZipf(Zipf),
    /// H: `traffic` of the requests go to the first `keys` keys.
    HotSet { keys: u64, traffic: f64 },
    /// S: each client walks through the whole range.
    Sequential,
    /// P: each client walks through its own part of the range.
    Parallel,
    /// Each request takes the next number after the range: YCSB's inserts.
    Insert(Arc<AtomicU64>),
    /// Zipf, counted backwards from the last insert: YCSB's "latest".
    Latest(Zipf, Arc<AtomicU64>),
}

/// Where one client stands in a sequential pattern.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    next: u64,
    part: KeyRange,
}

impl Cursor {
    /// The cursor of client number `client` of `clients`.
    pub(crate) fn new(how: &Distribution, range: KeyRange, client: u64, clients: u64) -> Cursor {
        assert!(client < clients);
        let part = match how {
            Distribution::Parallel => part_of(range, client, clients),
            _ => range,
        };
        Cursor {
            next: part.min,
            part,
        }
    }
}

/// The part of the range that client `client` of `clients` walks through in the parallel pattern.
/// Parts are as even as they can be; with more clients than keys, some share a key.
pub(crate) fn part_of(range: KeyRange, client: u64, clients: u64) -> KeyRange {
    let count = u128::from(range.count());
    let at = |n: u64| (count * u128::from(n) / u128::from(clients)) as u64;
    let (first, end) = (at(client), at(client + 1));
    let min = range.min + first;
    KeyRange {
        min,
        max: (range.min + end).saturating_sub(1).max(min),
    }
}

impl Distribution {
    /// The next key number.
    #[inline]
    pub(crate) fn pick(&self, range: KeyRange, cursor: &mut Cursor, rng: &mut Rng) -> u64 {
        match self {
            Distribution::Uniform => range.min + rng.below(range.count()),
            Distribution::Gaussian { median, deviation } => loop {
                let value = (median + deviation * rng.normal()).round();
                if value >= range.min as f64 && value <= range.max as f64 {
                    return value as u64;
                }
            },
            Distribution::Zipf(zipf) => range.min + zipf.rank(rng) - 1,
            Distribution::ScatteredZipf(zipf) => {
                range.min + scramble(zipf.rank(rng)) % range.count()
            }
            Distribution::HotSet { keys, traffic } => {
                let count = range.count();
                let hot = (*keys).clamp(1, count);
                if hot == count || rng.unit() < *traffic {
                    range.min + rng.below(hot)
                } else {
                    range.min + hot + rng.below(count - hot)
                }
            }
            Distribution::Sequential | Distribution::Parallel => {
                let key = cursor.next;
                cursor.next = if key == cursor.part.max {
                    cursor.part.min
                } else {
                    key + 1
                };
                key
            }
            Distribution::Insert(next) => next.fetch_add(1, Ordering::Relaxed),
            Distribution::Latest(zipf, next) => {
                let last = next.load(Ordering::Relaxed).saturating_sub(1);
                last.saturating_sub(zipf.rank(rng) - 1).max(range.min)
            }
        }
    }
}

/// Zipf's law on ranks `1..=count` with any exponent above 0, in constant time and memory:
/// rejection-inversion after Hörmann and Derflinger, "Rejection-inversion to generate variates
/// from monotone discrete distributions" (1996).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zipf {
    count: f64,
    exponent: f64,
    integral_first: f64,
    integral_last: f64,
    shortcut: f64,
}

impl Zipf {
    /// Ranks `1..=count`, `exponent > 0`.
    pub(crate) fn new(count: u64, exponent: f64) -> Zipf {
        assert!(count > 0 && exponent > 0.0);
        let mut zipf = Zipf {
            count: count as f64,
            exponent,
            integral_first: 0.0,
            integral_last: 0.0,
            shortcut: 0.0,
        };
        zipf.integral_first = zipf.integral(1.5) - 1.0;
        zipf.integral_last = zipf.integral(zipf.count + 0.5);
        zipf.shortcut = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.density(2.0));
        zipf
    }

    fn density(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    /// The integral of the density, up to a constant.
    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        grow((1.0 - self.exponent) * log) * log
    }

    fn inverse(&self, y: f64) -> f64 {
        let t = (y * (1.0 - self.exponent)).max(-1.0);
        (shrink(t) * y).exp()
    }

    /// The next rank, 1 being the most frequent.
    #[inline]
    pub(crate) fn rank(&self, rng: &mut Rng) -> u64 {
        loop {
            let u = self.integral_last + rng.unit() * (self.integral_first - self.integral_last);
            let x = self.inverse(u);
            let k = x.round().clamp(1.0, self.count);
            if k - x <= self.shortcut || u >= self.integral(k + 0.5) - self.density(k) {
                return k as u64;
            }
        }
    }
}

/// `(e^t - 1) / t`, continuous at 0.
fn grow(t: f64) -> f64 {
    if t.abs() > 1e-8 {
        t.exp_m1() / t
    } else {
        1.0 + t / 2.0
    }
}

/// `ln(1 + t) / t`, continuous at 0.
fn shrink(t: f64) -> f64 {
    if t.abs() > 1e-8 {
        t.ln_1p() / t
    } else {
        1.0 - t / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: KeyRange = KeyRange { min: 100, max: 199 };

    fn draw(how: &Distribution, range: KeyRange, n: usize) -> Vec<u64> {
        let mut rng = Rng::new(42, 3);
        let mut cursor = Cursor::new(how, range, 0, 1);
        (0..n)
            .map(|_| how.pick(range, &mut cursor, &mut rng))
            .collect()
    }

    /// Pearson's statistic of `keys` against the expected probability of each key in the range.
    fn chi_square(keys: &[u64], range: KeyRange, probability: impl Fn(u64) -> f64) -> f64 {
        let mut seen = vec![0u64; range.count() as usize];
        for key in keys {
            seen[(key - range.min) as usize] += 1;
        }
        seen.iter()
            .enumerate()
            .map(|(at, count)| {
                let expected = probability(at as u64) * keys.len() as f64;
                (*count as f64 - expected).powi(2) / expected
            })
            .sum()
    }

    /// The 99.9 % point of chi square with 99 degrees of freedom.
    const CHI_99_DEGREES: f64 = 148.2;

    #[test]
    fn uniform_passes_chi_square() {
        let keys = draw(&Distribution::Uniform, RANGE, 200_000);
        let chi = chi_square(&keys, RANGE, |_| 0.01);
        assert!(chi < CHI_99_DEGREES, "chi square {chi}");
    }

    #[test]
    fn zipf_passes_chi_square_at_several_exponents() {
        for exponent in [0.5, 0.99, 1.0, 1.4, 3.0] {
            let how = Distribution::Zipf(Zipf::new(RANGE.count(), exponent));
            let keys = draw(&how, RANGE, 300_000);
            let weight = |rank: u64| ((rank + 1) as f64).powf(-exponent);
            let total: f64 = (0..RANGE.count()).map(weight).sum();
            let chi = chi_square(&keys, RANGE, |at| weight(at) / total);
            assert!(
                chi < CHI_99_DEGREES,
                "exponent {exponent}: chi square {chi}"
            );
        }
    }

    #[test]
    fn hot_set_passes_chi_square() {
        let how = Distribution::HotSet {
            keys: 20,
            traffic: 0.8,
        };
        let keys = draw(&how, RANGE, 200_000);
        let chi = chi_square(
            &keys,
            RANGE,
            |at| if at < 20 { 0.8 / 20.0 } else { 0.2 / 80.0 },
        );
        assert!(chi < CHI_99_DEGREES, "chi square {chi}");
    }

    #[test]
    fn gaussian_has_its_median_and_deviation() {
        let range = KeyRange {
            min: 0,
            max: 100_000,
        };
        let how = Distribution::Gaussian {
            median: 40_000.0,
            deviation: 5_000.0,
        };
        let keys = draw(&how, range, 100_000);
        let mean = keys.iter().sum::<u64>() as f64 / keys.len() as f64;
        let variance =
            keys.iter().map(|k| (*k as f64 - mean).powi(2)).sum::<f64>() / keys.len() as f64;
        assert!((mean - 40_000.0).abs() < 80.0, "mean {mean}");
        assert!(
            (variance.sqrt() - 5_000.0).abs() < 60.0,
            "deviation {}",
            variance.sqrt()
        );
        let within = keys
            .iter()
            .filter(|k| (**k as f64 - 40_000.0).abs() < 5_000.0)
            .count();
        assert!((within as f64 / keys.len() as f64 - 0.6827).abs() < 0.01);
    }

    #[test]
    fn sequential_wraps_and_parallel_parts_cover_the_range_once() {
        let keys = draw(&Distribution::Sequential, KeyRange { min: 5, max: 7 }, 7);
        assert_eq!(keys, [5, 6, 7, 5, 6, 7, 5]);
        let range = KeyRange { min: 3, max: 1002 };
        let mut next = range.min;
        for client in 0..7 {
            let part = part_of(range, client, 7);
            assert_eq!(part.min, next);
            next = part.max + 1;
        }
        assert_eq!(next, range.max + 1);
    }

    #[test]
    fn scattered_zipf_keeps_the_skew_and_spreads_the_keys() {
        let range = KeyRange { min: 0, max: 9_999 };
        let keys = draw(
            &Distribution::ScatteredZipf(Zipf::new(10_000, 0.99)),
            range,
            100_000,
        );
        let mut seen = vec![0u64; 10_000];
        keys.iter().for_each(|k| seen[*k as usize] += 1);
        let hottest = seen
            .iter()
            .enumerate()
            .max_by_key(|(_, n)| **n)
            .expect("keys");
        assert!(
            *hottest.1 > 8_000,
            "the first rank has about 9.8 % of the requests"
        );
        assert!(keys.iter().filter(|k| **k < 5_000).count() > 30_000);
    }

    #[test]
    fn latest_follows_the_inserts() {
        let next = Arc::new(AtomicU64::new(200));
        let insert = Distribution::Insert(Arc::clone(&next));
        assert_eq!(draw(&insert, RANGE, 3), [200, 201, 202]);
        let latest = draw(
            &Distribution::Latest(Zipf::new(100, 0.99), next),
            RANGE,
            10_000,
        );
        assert!(latest.iter().all(|k| (100..=202).contains(k)));
        assert!(latest.iter().filter(|k| **k == 202).count() > 1_000);
    }
}
