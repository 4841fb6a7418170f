//! The search for the highest rate that keeps an objective: doubling until it is missed, then
//! halving the interval between the highest rate kept and the lowest one missed.

/// One measured rate.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Step {
    pub(crate) rate: f64,
    pub(crate) achieved: f64,
    /// The objective's percentile.
    pub(crate) latency_ns: u64,
    pub(crate) kept: bool,
}

/// Steps at most: 20 doublings are a factor of a million.
const STEPS_MAX: usize = 32;
/// The search ends when the bounds are this close.
const CLOSE_ENOUGH: f64 = 1.05;
/// A rate that is missed is tried once more: one hiccup of the machine must not end the search.
const TRIES: u32 = 2;

/// The state of a search.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    steps: Vec<Step>,
    next: f64,
    kept: Option<f64>,
    missed: Option<f64>,
    tries: u32,
}

impl Search {
    /// Begins at `start` requests per second.
    pub(crate) fn new(start: f64) -> Search {
        assert!(start > 0.0);
        Search {
            steps: Vec::new(),
            next: start,
            kept: None,
            missed: None,
            tries: 0,
        }
    }

    /// The rate to measure next; `None` when it is found, or when nothing keeps the objective.
    pub(crate) fn next_rate(&self) -> Option<f64> {
        let found = match (self.kept, self.missed) {
            (Some(kept), Some(missed)) => missed / kept <= CLOSE_ENOUGH,
            (None, Some(missed)) => missed < 1.0,
            _ => false,
        };
        (!found && self.steps.len() < STEPS_MAX).then_some(self.next)
    }

    /// Takes the result for `next_rate`.
    pub(crate) fn saw(&mut self, step: Step) {
        self.steps.push(step);
        if step.kept {
            self.tries = 0;
            self.kept = Some(step.rate);
        } else {
            self.tries += 1;
            // A rate far from reach needs no second look.
            let hopeless = step.achieved < step.rate * 0.9;
            if self.tries < TRIES && !hopeless {
                return;
            }
            self.tries = 0;
            self.missed = Some(step.rate);
        }
        self.next = match (self.kept, self.missed) {
            (Some(kept), Some(missed)) => (kept * missed).sqrt(),
            (Some(kept), None) => kept * 2.0,
            (None, Some(missed)) => missed / 4.0,
            (None, None) => step.rate,
        };
    }

    /// All measured rates in order.
    pub(crate) fn into_steps(self) -> Vec<Step> {
        self.steps
    }
}

/// The highest rate that was kept, below the lowest that was missed for good.
pub(crate) fn best(steps: &[Step]) -> Option<&Step> {
    steps
        .iter()
        .filter(|s| s.kept)
        .max_by(|a, b| a.rate.total_cmp(&b.rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(knee: f64, start: f64) -> (Option<f64>, usize) {
        let mut search = Search::new(start);
        while let Some(rate) = search.next_rate() {
            let kept = rate <= knee;
            search.saw(Step {
                rate,
                achieved: rate,
                latency_ns: 0,
                kept,
            });
        }
        let steps = search.into_steps();
        (best(&steps).map(|s| s.rate), steps.len())
    }

    #[test]
    fn the_knee_is_found_from_below_and_above() {
        for (knee, start) in [
            (50_000.0, 1_000.0),
            (50_000.0, 400_000.0),
            (1_234.0, 1_000.0),
        ] {
            let (found, steps) = find(knee, start);
            let found = found.expect("a rate");
            assert!(found <= knee && found * 1.06 > knee, "{found} of {knee}");
            assert!(steps < 24, "{steps} steps");
        }
    }

    #[test]
    fn nothing_is_found_where_nothing_holds() {
        assert_eq!(find(0.0, 1_000.0).0, None);
    }

    #[test]
    fn one_hiccup_does_not_end_the_search() {
        let mut search = Search::new(1_000.0);
        search.saw(Step {
            rate: 1_000.0,
            achieved: 1_000.0,
            latency_ns: 9,
            kept: false,
        });
        assert_eq!(search.next_rate(), Some(1_000.0));
    }
}
