//! The access clock as a frequency: what an entry's 24 bits hold while `maxmemory-policy` is one of
//! the LFU kind. The rules are Redis's (`src/evict.c` there):
//!
//! | bits | what |
//! | --- | --- |
//! | 0..8 | logarithmic counter of accesses |
//! | 8..24 | unix time of its last decrement, in minutes, lower 16 bits |
//!
//! The counter goes up with a chance of `1 / ((counter - 5) * lfu-log-factor + 1)`, and down by one
//! for every `lfu-decay-time` minutes since its last decrement.

use crate::server::config::{Config, MaxmemoryPolicy};

/// The counter of a new entry, so that it is not evicted at once.
const COUNTER_INITIAL: u32 = 5;
const COUNTER_MAX: u32 = 255;
const COUNTER_BITS: u32 = 8;
const MINUTES_MASK: u32 = 0xFFFF;

/// How frequencies are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lfu {
    /// Whether the access clock is a frequency; otherwise it is a time.
    pub on: bool,
    log_factor: u32,
    /// Minutes; 0: the counter never goes down.
    decay_minutes: u32,
}

impl Lfu {
    /// As the configuration says.
    pub fn of(config: &Config) -> Self {
        let policy = config.maxmemory_policy;
        Self {
            on: matches!(
                policy,
                MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu
            ),
            log_factor: config.lfu_log_factor,
            decay_minutes: config.lfu_decay_time,
        }
    }

    /// The clock of a new entry.
    pub fn of_new(self, now_ms: u64) -> u32 {
        minutes(now_ms) << COUNTER_BITS | COUNTER_INITIAL
    }

    /// The clock of an entry that has this frequency.
    pub fn of_frequency(self, frequency: u8, now_ms: u64) -> u32 {
        minutes(now_ms) << COUNTER_BITS | u32::from(frequency)
    }

    /// The counter as it has gone down by now (OBJECT FREQ).
    pub fn frequency(self, clock: u32, now_ms: u64) -> u32 {
        let counter = clock & COUNTER_MAX;
        let since = clock >> COUNTER_BITS & MINUTES_MASK;
        let elapsed = minutes(now_ms).wrapping_sub(since) & MINUTES_MASK;
        let down = elapsed.checked_div(self.decay_minutes).unwrap_or(0);
        counter.saturating_sub(down)
    }

    /// The clock after an access; `random` is any 64 bits.
    pub fn accessed(self, clock: u32, now_ms: u64, random: u64) -> u32 {
        let counter = self.frequency(clock, now_ms);
        let above = u64::from(counter.saturating_sub(COUNTER_INITIAL));
        let odds = above * u64::from(self.log_factor) + 1;
        let up = counter < COUNTER_MAX && random.is_multiple_of(odds);
        minutes(now_ms) << COUNTER_BITS | (counter + u32::from(up))
    }
}

fn minutes(now_ms: u64) -> u32 {
    (now_ms / 60_000) as u32 & MINUTES_MASK
}

#[cfg(test)]
mod tests {
    use super::*;

    const LFU: Lfu = Lfu {
        on: true,
        log_factor: 10,
        decay_minutes: 1,
    };

    #[test]
    fn counters_grow_ever_slower_and_decay_by_the_minute() {
        let mut state = 1u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut clock = LFU.of_new(0);
        assert_eq!(LFU.frequency(clock, 0), 5);
        for _ in 0..1000 {
            clock = LFU.accessed(clock, 0, random());
        }
        // The table of redis.conf: about 18 after a thousand hits with factor 10.
        assert!((14..=24).contains(&LFU.frequency(clock, 0)), "{clock:x}");
        let counter = LFU.frequency(clock, 0);
        assert_eq!(LFU.frequency(clock, 3 * 60_000), counter - 3);
        assert_eq!(LFU.frequency(clock, 1_000 * 60_000), 0);
        let never = Lfu {
            decay_minutes: 0,
            ..LFU
        };
        assert_eq!(never.frequency(clock, 1_000 * 60_000), counter);
    }

    #[test]
    fn minutes_wrap_around() {
        let before = 65_535 * 60_000;
        let clock = LFU.of_new(before);
        assert_eq!(LFU.frequency(clock, before + 2 * 60_000), 3);
        assert_eq!(LFU.accessed(255, 0, 0), 255, "the counter has an end");
    }
}
