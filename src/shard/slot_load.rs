//! What each slot costs: counters for CLUSTER SLOT-STATS, and a sample for RINGDOVE SLOTS BALANCE.
//!
//! Every shard keeps both for the commands that it has run, whoever owns the slot now or owned it then
//! (a transaction runs at its client's home); who asks adds up the shards, so nothing is lost or reset
//! when a slot moves.
//!
//! # What it costs a request
//! One subtraction and one branch. A shard has a credit of work; a command takes its time off it, and
//! something for its way in and out. The command that uses it up is looked at, and stands for all
//! that were not: this is a profiler that samples by time, and so the load is time, not requests.
//! The interval is drawn anew each time, so that no rhythm of a pipeline hides a slot. With
//! `cluster-slot-stats-enabled` there is never any credit, so every command is looked at.
//!
//! A command is charged to its only slot. One whose keys have several is charged to none: Redis
//! Cluster, whose counters these are, has no such commands.

use super::Shard;
use crate::command::keys::keys_of;
use crate::command::registry::RowId;
use crate::keyspace::{Pos, SLOTS, Slot};

/// Microseconds of work for which one sample stands, in the mean.
const SAMPLE_US: u64 = 64;
/// What a command costs besides its own time: parsing, the reply, a share of system calls.
const WAY_US: f64 = 0.5;
/// A sample's weight: loads are halved as they age, and few samples must not vanish at once.
const SAMPLE_WEIGHT: u64 = 256;
/// Loads count half after so long, in milliseconds. All shards halve at the same moments.
const HALF_LIFE_MS: u64 = 10_000;

/// What CLUSTER SLOT-STATS tells of a slot apart from its keys.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct SlotCounters {
    /// Time of its commands, in ticks of the shard.
    pub ticks: u64,
    /// Bytes of its commands as RESP has them.
    pub bytes_in: u64,
    /// Bytes of their replies.
    pub bytes_out: u64,
}

/// What the slots have cost this shard.
pub struct SlotLoads {
    /// Ticks of work until the next command is looked at.
    credit: i64,
    /// Ticks for [`WAY_US`].
    way: i64,
    /// Ticks for [`SAMPLE_US`].
    interval: u64,
    /// State of the generator that draws intervals (xorshift64).
    random: u64,
    /// Weights of samples of each slot, as old as `age`.
    loads: Box<[u32; SLOTS]>,
    /// Number of the half-life that `loads` was brought up to.
    age: u64,
    /// Exact counters, while they are kept.
    counters: Option<Box<[SlotCounters; SLOTS]>>,
}

impl SlotLoads {
    /// Nothing seen yet, on a shard with so many ticks in a microsecond.
    pub fn new(ticks_per_us: u64, seed: u64) -> Self {
        Self {
            credit: 0,
            way: (WAY_US * ticks_per_us as f64) as i64,
            interval: SAMPLE_US * ticks_per_us,
            random: seed | 1,
            loads: boxed(),
            age: 0,
            counters: None,
        }
    }

    /// Keeps exact counters, or drops them.
    pub fn set_exact(&mut self, exact: bool) {
        if exact != self.counters.is_some() {
            self.counters = exact.then(boxed);
            self.credit = 0; // what is left of it would hide the first commands
        }
    }

    /// CONFIG RESETSTAT.
    pub fn reset_counters(&mut self) {
        if let Some(counters) = &mut self.counters {
            counters.fill(SlotCounters::default());
        }
    }

    /// Whether a command that took so many ticks is to be looked at.
    #[inline]
    pub fn spend(&mut self, took: u64) -> bool {
        self.credit -= took as i64 + self.way;
        self.credit < 0
    }

    /// Fills the credit up again. How many samples lie in what has used it up: sampling moments are
    /// points in time, and a long command may hold several.
    fn sample(&mut self) -> u64 {
        /// Above this many the mean is as good as drawing each.
        const DRAWN_MAX: i64 = 64;
        let interval = self.interval as i64;
        let mut samples = 0;
        if self.credit < -DRAWN_MAX * interval {
            samples = self.credit.unsigned_abs() / self.interval;
            self.credit += (samples * self.interval) as i64;
        }
        while self.credit < 0 {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            self.credit += (self.interval / 2 + self.random % self.interval) as i64;
            samples += 1;
        }
        samples
    }

    fn age_to(&mut self, now_ms: u64) {
        let age = now_ms / HALF_LIFE_MS;
        if age > self.age {
            let halvings = (age - self.age).min(31) as u32;
            self.loads.iter_mut().for_each(|load| *load >>= halvings);
            self.age = age;
        }
    }

    /// The number of the half-life that it is now and the load of each slot, in a unit that is the same on all shards.
    pub fn loads(&mut self, now_ms: u64) -> (u64, &[u32; SLOTS]) {
        self.age_to(now_ms);
        (self.age, &self.loads)
    }

    /// Exact counters, if they are kept.
    pub fn counters(&self) -> Option<&[SlotCounters; SLOTS]> {
        self.counters.as_deref()
    }
}

/// An array that is never on the stack.
fn boxed<T: Clone + Default>() -> Box<[T; SLOTS]> {
    match vec![T::default(); SLOTS].into_boxed_slice().try_into() {
        Ok(array) => array,
        Err(_) => unreachable!("it has as many elements"),
    }
}

impl Shard {
    /// Charges a command that has used up the credit to its slot. Its key's position is `pos`, where it
    /// has exactly one; its reply has so many bytes.
    #[cold]
    pub fn charge_slot(&mut self, row: RowId, pos: Pos, args: &[&[u8]], took: u64, reply: usize) {
        let slot = match pos == Pos::default() {
            true => self.only_slot(row, args),
            false => Some(pos.slot()),
        };
        let exact = self.slot_loads.counters.is_some();
        let loads = &mut self.slot_loads;
        let weight = match exact {
            // Every command is looked at: each weighs what it took.
            true => {
                let spent = std::mem::take(&mut loads.credit).unsigned_abs();
                spent * SAMPLE_WEIGHT / loads.interval.max(1)
            }
            false => loads.sample() * SAMPLE_WEIGHT,
        };
        let Some(slot) = slot else { return };
        loads.age_to(self.now_ms);
        let load = &mut loads.loads[slot.index()];
        *load = load.saturating_add(u32::try_from(weight).unwrap_or(u32::MAX));
        if let Some(counters) = &mut loads.counters {
            let counters = &mut counters[slot.index()];
            counters.ticks += took;
            counters.bytes_in += request_bytes(args);
            counters.bytes_out += reply as u64;
        }
    }

    /// The slot of a command's keys, if they have just one.
    fn only_slot(&self, row: RowId, args: &[&[u8]]) -> Option<Slot> {
        let spec = self.registry.row(row).spec;
        let mut keys = Vec::new();
        keys_of(spec, args, &mut keys);
        let mut slots = keys.iter().map(|at| Slot::of(args[at.index]));
        let first = slots.next()?;
        slots.all(|slot| slot == first).then_some(first)
    }
}

/// Bytes of a command as an array of bulk strings.
fn request_bytes(args: &[&[u8]]) -> u64 {
    let line = |number: usize| 3 + u64::from(number.checked_ilog10().unwrap_or(0) + 1);
    let bulk = |arg: &&[u8]| line(arg.len()) + arg.len() as u64 + 2;
    line(args.len()) + args.iter().map(bulk).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_as_long_as_resp_has_them() {
        let bytes = |args: &[&[u8]]| request_bytes(args);
        assert_eq!(bytes(&[b"get", b"k"]), 4 + 9 + 7);
        assert_eq!(
            bytes(&[b"set", b"0123456789", b""]),
            4 + 9 + 17 + b"$0\r\n\r\n".len() as u64
        );
        let ten = [b"a".as_slice(); 10];
        assert_eq!(bytes(&ten), 5 + 70);
    }

    #[test]
    fn samples_stand_for_the_time_between_them() {
        let mut shard = crate::shard::testing::shard();
        shard.slot_loads = SlotLoads::new(100, 7);
        shard.now_ms = HALF_LIFE_MS * 5;
        let row = shard.registry.find(b"get").expect("a command");
        let keys = [b"a".as_slice(), b"b", b"c"];
        for turn in 0..300_000usize {
            // b takes twice and c three times as long as a.
            let key = keys[turn % 3];
            let took = 1000 * (turn % 3 + 1) as u64 - 50;
            if shard.slot_loads.spend(took) {
                let pos = shard.pos(key);
                shard.charge_slot(row, pos, &[b"get", key], took, 5);
            }
        }
        let now_ms = shard.now_ms;
        let load = |shard: &mut Shard, key: &[u8], now_ms| {
            let (_, loads) = shard.slot_loads.loads(now_ms);
            f64::from(loads[Slot::of(key).index()])
        };
        let a = load(&mut shard, b"a", now_ms);
        for (key, times) in [(b"b", 2.0), (b"c", 3.0)] {
            let ratio = load(&mut shard, key, now_ms) / a;
            assert!((ratio - times).abs() < 0.3, "{ratio} for {times}");
        }
        let later = load(&mut shard, b"a", now_ms + HALF_LIFE_MS);
        assert!((later - a / 2.0).abs() <= 1.0);
    }

    #[test]
    fn with_exact_counters_every_command_counts() {
        let mut shard = crate::shard::testing::shard();
        shard.slot_loads.set_exact(true);
        let row = shard.registry.find(b"mget").expect("a command");
        let args: [&[u8]; 3] = [b"mget", b"{a}1", b"{a}2"];
        for _ in 0..10 {
            assert!(shard.slot_loads.spend(3));
            shard.charge_slot(row, Pos::default(), &args, 3, 7);
        }
        let several: [&[u8]; 3] = [b"mget", b"a", b"b"];
        shard.charge_slot(row, Pos::default(), &several, 3, 7);
        let counters = shard.slot_loads.counters().expect("they are kept");
        let wanted = SlotCounters {
            ticks: 30,
            bytes_in: 10 * request_bytes(&args),
            bytes_out: 70,
        };
        assert_eq!(counters[Slot::of(b"a").index()], wanted);
        assert_eq!(counters[Slot::of(b"b").index()], SlotCounters::default());
        shard.slot_loads.set_exact(false);
        assert!(shard.slot_loads.counters().is_none());
    }
}
