//! Random numbers: xoshiro256++ (Blackman and Vigna, 2019), seeded through SplitMix64.
//!
//! A generator of its own for each client: streams must not be shared, or all clients would
//! ask for the same keys in the same order and a server's caches would look better than they are.

/// One stream of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    state: [u64; 4],
    /// The polar method makes normal deviates in pairs; the second waits here.
    spare_normal: Option<f64>,
}

impl Rng {
    /// A stream for `seed`; `stream` keeps clients of one seed apart.
    pub(crate) fn new(seed: u64, stream: u64) -> Rng {
        let mut mix = seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
        let mut next = || {
            mix = mix.wrapping_add(0x9e37_79b9_7f4a_7c15);
            scramble(mix)
        };
        Rng {
            state: [next(), next(), next(), next()],
            spare_normal: None,
        }
    }

    #[inline]
    pub(crate) fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Uniform in `0..bound` (Lemire's multiplication; its bias of `bound / 2^64` is far below
    /// what any run can see).
    #[inline]
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        debug_assert!(bound > 0);
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in `0.0..1.0`, 53 bits.
    #[inline]
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A normal deviate with mean 0 and deviation 1 (Marsaglia's polar method).
    pub(crate) fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare_normal.take() {
            return spare;
        }
        loop {
            let u = 2.0 * self.unit() - 1.0;
            let v = 2.0 * self.unit() - 1.0;
            let s = u * u + v * v;
            if s > 0.0 && s < 1.0 {
                let scale = (-2.0 * s.ln() / s).sqrt();
                self.spare_normal = Some(v * scale);
                return u * scale;
            }
        }
    }

    /// The waiting time of a Poisson process with a mean of 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        // 1 - unit() is never zero, so the logarithm is finite.
        -(1.0 - self.unit()).ln()
    }
}

/// A bijection on 64 bits (SplitMix64's finisher): spreads neighbours far apart.
#[inline]
pub(crate) fn scramble(value: u64) -> u64 {
    let mut z = value;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        let mut a = Rng::new(1, 0);
        let mut b = Rng::new(1, 1);
        let mut a_again = Rng::new(1, 0);
        let first = a.next_u64();
        assert_eq!(first, a_again.next_u64());
        assert_ne!(first, b.next_u64());
    }

    #[test]
    fn normal_and_exponential_have_their_moments() {
        let mut rng = Rng::new(7, 7);
        let n = 200_000;
        let normals: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
        let mean = normals.iter().sum::<f64>() / n as f64;
        let variance = normals.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
        assert!(mean.abs() < 0.01, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.02, "variance {variance}");
        let wait = (0..n).map(|_| rng.exponential()).sum::<f64>() / n as f64;
        assert!((wait - 1.0).abs() < 0.01, "mean wait {wait}");
    }
}
