//! How long the turns of a shard's loop take, and which part of one that took too long.
//!
//! Nobody is served while a turn lasts, so a long one is a stall for every client of the shard.
//! Turns over `stall-threshold-ms` are counted and named in the log, at most one line a second. The
//! time is the wall's: a neighbour on the core lengthens a turn, too.

use crate::server::log;
use crate::shard::{Shard, Ticks};

/// Milliseconds between two lines in the log.
const LOG_PAUSE_MS: u64 = 1000;

/// Measures one turn after the other.
pub struct TurnWatch {
    ticks: Ticks,
    began: u64,
    part_began: u64,
    /// The longest part of this turn, in ticks, and its name.
    longest: (u64, &'static str),
    log_again_ms: u64,
}

impl TurnWatch {
    /// Reads its time from `ticks`.
    pub fn new(ticks: Ticks) -> Self {
        Self {
            ticks,
            began: 0,
            part_began: 0,
            longest: (0, ""),
            log_again_ms: 0,
        }
    }

    /// A turn begins.
    pub fn begin(&mut self) {
        self.began = (self.ticks.read)();
        self.part_began = self.began;
        self.longest = (0, "");
    }

    /// A part of the turn is over.
    pub fn part(&mut self, name: &'static str) {
        let now = (self.ticks.read)();
        let took = now.saturating_sub(self.part_began);
        if took > self.longest.0 {
            self.longest = (took, name);
        }
        self.part_began = now;
    }

    /// The turn is over.
    pub fn end(&mut self, shard: &mut Shard) {
        let took_us = self.ticks.to_us(self.part_began.saturating_sub(self.began));
        let stats = &mut shard.stats;
        stats.longest_turn_us = stats.longest_turn_us.max(took_us);
        let threshold_us = shard.config.stall_threshold_ms * 1000;
        if threshold_us == 0 || took_us < threshold_us {
            return;
        }
        stats.stalled_turns += 1;
        if shard.now_ms < self.log_again_ms {
            return;
        }
        self.log_again_ms = shard.now_ms + LOG_PAUSE_MS;
        let (id, (part, name)) = (shard.id.0, self.longest);
        log::warning(format_args!(
            "A turn of shard {id} took {} ms, {} ms of them with {name}.",
            took_us / 1000,
            self.ticks.to_us(part) / 1000,
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::fixture::Fixture;
    use std::sync::atomic::{AtomicU64, Ordering};

    static NOW_US: AtomicU64 = AtomicU64::new(0);

    #[test]
    fn long_turns_are_counted() {
        let mut shard = Fixture::new().shard;
        let mut watch = TurnWatch::new(Ticks {
            read: || NOW_US.load(Ordering::Relaxed),
            per_us: 1,
        });
        let mut turn = |parts_us: [u64; 2]| {
            watch.begin();
            for took_us in parts_us {
                NOW_US.fetch_add(took_us, Ordering::Relaxed);
                watch.part("a part");
            }
            watch.end(&mut shard);
            (shard.stats.stalled_turns, shard.stats.longest_turn_us)
        };
        assert_eq!(turn([100, 9000]), (0, 9100));
        assert_eq!(turn([5000, 5000]), (1, 10_000));
        assert_eq!(turn([1, 1]), (1, 10_000));
    }
}
