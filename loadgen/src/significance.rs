//! Whether two servers differ by more than the noise: exact, and honest about few rounds.
//!
//! Rounds alternate (A B A B ...), so that what drifts on the machine drifts for both. The test is
//! the exact permutation form of Mann and Whitney's U (1947): no assumption about the shape of the
//! noise, and every one of the few possible rankings is counted, so nothing is approximated.

/// The middle of some numbers, their extremes, and how far the middle half spreads.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(values: &[f64]) -> Spread {
        assert!(!values.is_empty());
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let median = (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0;
        Spread {
            median,
            min: sorted[0],
            max: sorted[n - 1],
        }
    }

    /// The width from the least to the greatest, as a share of the median.
    pub(crate) fn relative(&self) -> f64 {
        if self.median == 0.0 {
            0.0
        } else {
            (self.max - self.min) / self.median.abs()
        }
    }
}

/// What can be said about a difference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Stands out of the noise.
    Differs,
    /// Does not.
    Noise,
    /// So few rounds that even complete separation would be no proof.
    TooFewRounds,
}

impl Verdict {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Verdict::Differs => "differs",
            Verdict::Noise => "within noise",
            Verdict::TooFewRounds => "too few rounds to tell",
        }
    }
}

/// A chance of at most this that equal servers rank so.
const P_MAX: f64 = 0.05;
/// Beyond this many rounds the normal approximation stands in for counting.
const ROUNDS_EXACT_MAX: usize = 30;

/// The two-sided chance that equal servers separate at least as much, and the verdict.
pub(crate) fn compare(a: &[f64], b: &[f64]) -> (f64, Verdict) {
    let p = mann_whitney(a, b);
    let best = mann_whitney_p(0, a.len(), b.len());
    let verdict = if best > P_MAX {
        Verdict::TooFewRounds
    } else if p <= P_MAX {
        Verdict::Differs
    } else {
        Verdict::Noise
    };
    (p, verdict)
}

fn mann_whitney(a: &[f64], b: &[f64]) -> f64 {
    // Twice U, so that ties count a half each without fractions.
    let twice: usize = a
        .iter()
        .flat_map(|x| {
            b.iter()
                .map(move |y| if x > y { 2 } else { usize::from(x == y) })
        })
        .sum();
    let smaller = twice.min(2 * a.len() * b.len() - twice);
    // A tie is rounded to the less decided side.
    mann_whitney_p(smaller.div_ceil(2), a.len(), b.len())
}

/// The two-sided chance of a U of at most `u` with `m` and `n` values.
fn mann_whitney_p(u: usize, m: usize, n: usize) -> f64 {
    if m > ROUNDS_EXACT_MAX || n > ROUNDS_EXACT_MAX {
        let mean = (m * n) as f64 / 2.0;
        let deviation = ((m * n * (m + n + 1)) as f64 / 12.0).sqrt();
        let z = ((mean - u as f64).abs() - 0.5).max(0.0) / deviation;
        return (2.0 * normal_tail(z)).min(1.0);
    }
    let table = rankings(m, n);
    let total: f64 = table.iter().sum();
    let tail: f64 = table[..=u.min(m * n)].iter().sum();
    (2.0 * tail / total).min(1.0)
}

/// How many rankings of `m` and `n` values have each U: f(m, n, u) = f(m-1, n, u-n) + f(m, n-1, u).
fn rankings(m: usize, n: usize) -> Vec<f64> {
    let width = m * n + 1;
    // by_m[i] holds f(i, j, .) for the current j.
    let mut by_m: Vec<Vec<f64>> = vec![vec![0.0; width]; m + 1];
    for row in &mut by_m {
        row[0] = 1.0;
    }
    for j in 1..=n {
        for i in 1..=m {
            let mut next = by_m[i].clone();
            for at in j..width {
                next[at] += by_m[i - 1][at - j];
            }
            by_m[i] = next;
        }
    }
    by_m.swap_remove(m)
}

/// The chance of a normal deviate above `z` (Abramowitz and Stegun 26.2.17, error below 1e-7).
fn normal_tail(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let series = t
        * (0.319_381_530
            + t * (-0.356_563_782
                + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_are_those_of_the_tables() {
        assert_eq!(rankings(2, 2), [1.0, 1.0, 2.0, 1.0, 1.0]);
        assert_eq!(rankings(5, 5).iter().sum::<f64>(), 252.0);
        let (p, verdict) = compare(&[1.0, 2.0, 3.0, 4.0, 5.0], &[6.0, 7.0, 8.0, 9.0, 10.0]);
        assert!((p - 2.0 / 252.0).abs() < 1e-12 && verdict == Verdict::Differs);
        // The published critical value for two samples of 5 at 5 % is U = 2, for 8 it is 13.
        assert!(mann_whitney_p(2, 5, 5) <= 0.05 && mann_whitney_p(3, 5, 5) > 0.05);
        assert!(mann_whitney_p(13, 8, 8) <= 0.05 && mann_whitney_p(14, 8, 8) > 0.05);
    }

    #[test]
    fn noise_and_few_rounds_prove_nothing() {
        let (_, verdict) = compare(&[1.0, 3.0, 5.0, 7.0, 9.0], &[2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(verdict, Verdict::Noise);
        let (_, verdict) = compare(&[1.0, 2.0, 3.0], &[10.0, 20.0, 30.0]);
        assert_eq!(verdict, Verdict::TooFewRounds);
        assert_eq!(compare(&[5.0; 5], &[5.0; 5]).1, Verdict::Noise);
    }

    #[test]
    fn the_approximation_meets_the_exact_form() {
        let exact = mann_whitney_p(300, 30, 30);
        let near = 2.0 * normal_tail((450.0 - 300.0 - 0.5) / (30.0f64 * 30.0 * 61.0 / 12.0).sqrt());
        assert!((exact - near).abs() < 0.002, "{exact} {near}");
    }

    #[test]
    fn spreads() {
        let spread = Spread::of(&[3.0, 1.0, 2.0, 10.0]);
        assert_eq!((spread.median, spread.min, spread.max), (2.5, 1.0, 10.0));
        assert_eq!(spread.relative(), 3.6);
    }
}
