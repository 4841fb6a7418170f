//! When requests of an open loop are due: constant gaps or Poisson arrivals.
//!
//! A schedule does not wait for anybody: if clients are busy when a request is due, it is sent
//! later, but its latency counts from when it was due. So a stalled server cannot hide the
//! requests that it kept from being sent (coordinated omission).

use crate::clock::NS_PER_SEC;
use crate::config::Arrivals;
use crate::rng::Rng;

/// The schedule of one thread.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    gap_ns: f64,
    arrivals: Arrivals,
    /// When the next request is due. A float keeps fractions of nanoseconds: no drift.
    due_ns: f64,
}

impl Schedule {
    /// `rate` requests per second from `start_ns` on. Threads start at different `phase`s of a gap
    /// (0 to 1), so that together they are as even as one.
    pub(crate) fn new(
        rate: f64,
        arrivals: Arrivals,
        start_ns: u64,
        phase: f64,
        rng: &mut Rng,
    ) -> Schedule {
        assert!(rate > 0.0);
        let gap_ns = NS_PER_SEC as f64 / rate;
        let first = match arrivals {
            Arrivals::Constant => gap_ns * phase,
            Arrivals::Poisson => gap_ns * rng.exponential(),
        };
        Schedule {
            gap_ns,
            arrivals,
            due_ns: start_ns as f64 + first,
        }
    }

    /// When the next request is due.
    pub(crate) fn due_ns(&self) -> u64 {
        self.due_ns as u64
    }

    /// Goes on to the one after it.
    pub(crate) fn advance(&mut self, rng: &mut Rng) {
        self.due_ns += match self.arrivals {
            Arrivals::Constant => self.gap_ns,
            Arrivals::Poisson => self.gap_ns * rng.exponential(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(how: Arrivals, count: usize) -> Vec<u64> {
        let mut rng = Rng::new(3, 3);
        let mut schedule = Schedule::new(1000.0, how, 0, 0.0, &mut rng);
        (0..count)
            .map(|_| {
                let due = schedule.due_ns();
                schedule.advance(&mut rng);
                due
            })
            .collect()
    }

    #[test]
    fn constant_gaps_are_even_and_do_not_drift() {
        let times = arrivals(Arrivals::Constant, 1001);
        assert_eq!(
            (times[0], times[1], times[1000]),
            (0, 1_000_000, NS_PER_SEC)
        );
    }

    #[test]
    fn poisson_counts_have_the_variance_of_their_mean() {
        let times = arrivals(Arrivals::Poisson, 200_000);
        let mut counts = vec![0f64; (times[times.len() - 1] / 10_000_000) as usize];
        for time in &times {
            if let Some(count) = counts.get_mut((time / 10_000_000) as usize) {
                *count += 1.0;
            }
        }
        let mean = counts.iter().sum::<f64>() / counts.len() as f64;
        let variance = counts.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / counts.len() as f64;
        assert!((mean - 10.0).abs() < 0.1, "mean {mean}");
        assert!(
            (variance / mean - 1.0).abs() < 0.05,
            "variance {variance}, mean {mean}"
        );
    }
}
