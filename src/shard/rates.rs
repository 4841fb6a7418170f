//! What happens in a second, from counters that are looked at now and then: INFO's
//! `instantaneous_*` fields.

/// Intervals that a rate is the mean of (Redis's STATS_METRIC_SAMPLES).
const SAMPLES: usize = 16;
/// Milliseconds between two looks, at least.
const INTERVAL_MS: u64 = 100;
/// Commands, bytes in, bytes out.
pub const COUNTERS: usize = 3;

/// The rates of [`COUNTERS`] counters.
#[derive(Clone, Default)]
pub struct Rates {
    samples: [[u64; COUNTERS]; SAMPLES],
    next: usize,
    last_ms: u64,
    last: [u64; COUNTERS],
}

impl Rates {
    /// Takes the counters as they are now.
    pub fn look(&mut self, now_ms: u64, counters: [u64; COUNTERS]) {
        let elapsed_ms = now_ms.saturating_sub(self.last_ms);
        if self.last_ms != 0 && elapsed_ms < INTERVAL_MS {
            return;
        }
        if self.last_ms != 0 {
            for (at, now) in counters.iter().enumerate() {
                // Counters fall when they are reset.
                let more = now.saturating_sub(self.last[at]);
                self.samples[self.next][at] = more * 1000 / elapsed_ms;
            }
            self.next = (self.next + 1) % SAMPLES;
        }
        self.last_ms = now_ms;
        self.last = counters;
    }

    /// Each counter's growth in a second.
    pub fn per_second(&self) -> [u64; COUNTERS] {
        std::array::from_fn(|at| self.samples.iter().map(|s| s[at]).sum::<u64>() / SAMPLES as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_the_mean_of_the_last_intervals() {
        let mut rates = Rates::default();
        for turn in 0..=16u64 {
            rates.look(1000 + turn * 100, [turn * 10, turn, 0]);
            rates.look(1000 + turn * 100 + 1, [u64::MAX; 3]);
        }
        assert_eq!(rates.per_second(), [100, 10, 0]);
        rates.look(10_000, [0; 3]);
        assert!(rates.per_second()[0] < 100);
    }
}
