//! Which slots to move so that shards bear the same (RINGDOVE SLOTS BALANCE): from what slots weigh to
//! a list of moves. Pure; `slots` collects the weights and carries out the moves.
//!
//! A slot weighs what its commands have cost of late, wherever they ran (see
//! [`crate::shard::slot_load`]), or its keys. The heaviest shard gives to the lightest, the largest slots
//! first that fit, until both bear no more than the tolerance from the mean, and so on with the next two.
//! That takes few slots; which of many slots of about the same weight is decided in the order of
//! their numbers, so that neighbours move together. A slot that outweighs what a shard should bear
//! stays alone at best: nothing divides it.

use crate::keyspace::SLOTS;
use crate::mesh::ShardId;
use crate::resp::encode::Reply;

/// Percent of the mean by which a shard may be off, unless the client says otherwise.
pub const TOLERANCE_PERCENT: u64 = 10;

/// Rounds in which a shard gives to another, for each shard: one or two bring it where it should be,
/// and what those leave is not worth the time.
const ROUNDS_A_SHARD: usize = 8;

/// Slots that are to be one shard's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stretch {
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) to: ShardId,
}

/// What makes a slot heavy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Metric {
    /// What its commands have cost of late.
    Load,
    /// Its keys.
    Keys,
}

/// What a client wants balanced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// What slots weigh.
    pub metric: Metric,
    /// By how many percent of the mean a shard may be off.
    pub tolerance_percent: u64,
    /// Say what would move, and move nothing.
    pub dry_run: bool,
}

/// What one shard knows of the slots.
pub(super) struct Weights {
    /// The age that the loads have been brought to: older ones count less.
    age: u64,
    loads: Box<[u32]>,
    /// Keys that the shard has of each slot.
    pub(super) keys: Box<[u64]>,
}

impl Weights {
    /// The loads of all slots at an age; no keys yet.
    pub(super) fn new(age: u64, loads: &[u32; SLOTS]) -> Self {
        Self {
            age,
            loads: Box::from(&loads[..]),
            keys: vec![0; SLOTS].into(),
        }
    }
}

/// A request to balance, from the first shard's weights to the report.
pub(super) struct Balance {
    wanted: Wanted,
    age: u64,
    loads: Vec<u64>,
    keys: Vec<u64>,
    /// Weights of the shards before and after the moves.
    before: Vec<u64>,
    after: Vec<u64>,
    /// What moves, and from where.
    moves: Vec<(Stretch, ShardId)>,
}

impl Balance {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            age: 0,
            loads: vec![0; SLOTS],
            keys: vec![0; SLOTS],
            before: Vec::new(),
            after: Vec::new(),
            moves: Vec::new(),
        }
    }

    /// Adds what a shard knows. Shards whose clocks lie on two sides of a half-life agree on the later.
    pub(super) fn add(&mut self, weights: &Weights) {
        let halved = |load: u64, by: u64| load.checked_shr(by as u32).unwrap_or(0);
        let age = self.age.max(weights.age);
        let (older, newer) = (age - self.age, age - weights.age);
        self.age = age;
        for (sum, load) in self.loads.iter_mut().zip(&weights.loads) {
            *sum = halved(*sum, older) + halved(u64::from(*load), newer);
        }
        for (sum, keys) in self.keys.iter_mut().zip(&weights.keys) {
            *sum += keys;
        }
    }

    /// Whether nothing is to move.
    pub(super) fn is_dry_run(&self) -> bool {
        self.wanted.dry_run
    }

    /// Decides what moves.
    pub(super) fn plan(&mut self, map: &[ShardId; SLOTS], shards: usize) -> Vec<Stretch> {
        let weights = match self.wanted.metric {
            Metric::Load => &self.loads,
            Metric::Keys => &self.keys,
        };
        let mut to = *map;
        self.before = borne(weights, map, shards);
        even_out(weights, &mut to, shards, self.wanted.tolerance_percent);
        self.after = borne(weights, &to, shards);
        self.moves = stretches(map, &to);
        let moves = self.moves.iter().map(|(stretch, _)| *stretch);
        moves.filter(|_| !self.wanted.dry_run).collect()
    }

    /// Writes what has moved, or would: `done` has the keys that moved with each stretch.
    pub(super) fn report(&self, done: &[usize], reply: &mut Reply<'_>) {
        reply.map(3);
        for (name, borne) in [("before", &self.before), ("after", &self.after)] {
            let whole = borne.iter().sum::<u64>().max(1);
            reply.bulk(name.as_bytes());
            reply.array(borne.len());
            for weight in borne {
                reply.integer((weight * 1000 / whole) as i64);
            }
        }
        reply.bulk(b"moves");
        reply.array(self.moves.len());
        for (at, (stretch, from)) in self.moves.iter().enumerate() {
            let there: u64 = self.keys[stretch.first..=stretch.last].iter().sum();
            let keys = done.get(at).map_or(there, |keys| *keys as u64);
            reply.array(5);
            let numbers = [
                stretch.first,
                stretch.last,
                from.index(),
                stretch.to.index(),
            ];
            numbers.iter().for_each(|n| reply.integer(*n as i64));
            reply.integer(keys as i64);
        }
    }
}

/// The weight that each shard bears.
fn borne(weights: &[u64], map: &[ShardId; SLOTS], shards: usize) -> Vec<u64> {
    let mut sums = vec![0; shards];
    for (weight, owner) in weights.iter().zip(map) {
        sums[owner.index()] += weight;
    }
    sums
}

/// Changes the map until no shard's weight is farther from the mean than the tolerance, or nothing
/// helps any more.
fn even_out(weights: &[u64], map: &mut [ShardId; SLOTS], shards: usize, tolerance_percent: u64) {
    let mut sums = borne(weights, map, shards);
    let mean = sums.iter().sum::<u64>() / shards as u64;
    let slack = mean * tolerance_percent / 100;
    let (low, high) = (mean.saturating_sub(slack), mean + slack);
    for _ in 0..ROUNDS_A_SHARD * shards {
        let shard_with = |sum: Option<&u64>| sums.iter().position(|s| Some(s) == sum);
        let (Some(from), Some(to)) = (shard_with(sums.iter().max()), shard_with(sums.iter().min()))
        else {
            return;
        };
        if sums[from] <= high && sums[to] >= low {
            return;
        }
        let fits = (sums[from] - mean).min(mean - sums[to]);
        let needed = (sums[from].saturating_sub(high)).max(low.saturating_sub(sums[to]));
        let needed = needed.min(fits);
        let mut slots: Vec<usize> = (0..SLOTS)
            .filter(|slot| map[*slot].index() == from && weights[*slot] > 0)
            .collect();
        slots.sort_by_key(|slot| (std::cmp::Reverse(weights[*slot].ilog2()), *slot));
        let mut moved = 0;
        for slot in &slots {
            if moved >= needed && moved > 0 {
                break;
            }
            if moved + weights[*slot] <= fits {
                map[*slot] = ShardId(to as u16);
                moved += weights[*slot];
            }
        }
        if moved == 0 {
            // None fits; the lightest may still leave both better off.
            let lightest = slots.iter().min_by_key(|slot| weights[**slot]);
            let Some(slot) = lightest.filter(|slot| weights[**slot] < sums[from] - sums[to]) else {
                return;
            };
            map[*slot] = ShardId(to as u16);
            moved = weights[*slot];
        }
        sums[from] -= moved;
        sums[to] += moved;
    }
}

/// What differs between two maps: slots in a row, and whose they were.
fn stretches(before: &[ShardId; SLOTS], after: &[ShardId; SLOTS]) -> Vec<(Stretch, ShardId)> {
    let mut found: Vec<(Stretch, ShardId)> = Vec::new();
    for (slot, (from, to)) in before.iter().zip(after).enumerate() {
        if from == to {
            continue;
        }
        match found.last_mut() {
            Some((stretch, owner))
                if stretch.last + 1 == slot && owner == from && stretch.to == *to =>
            {
                stretch.last = slot;
            }
            _ => {
                let (first, last, to) = (slot, slot, *to);
                found.push((Stretch { first, last, to }, *from));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::even_slot_map;

    fn balanced(weights: &[u64], shards: usize, percent: u64) -> (Vec<u64>, Vec<Stretch>) {
        let mut map = *even_slot_map(shards);
        let before = map;
        even_out(weights, &mut map, shards, percent);
        let moves = stretches(&before, &map).into_iter().map(|(s, _)| s);
        (borne(weights, &map, shards), moves.collect())
    }

    #[test]
    fn few_slots_move_and_the_rest_stays() {
        let mut weights = vec![0; SLOTS];
        // Four hot slots on the first of two shards: two go.
        for slot in [5, 900, 901, 7000] {
            weights[slot] = 100;
        }
        let (sums, moves) = balanced(&weights, 2, 10);
        assert_eq!(sums, [200, 200]);
        assert_eq!(moves.iter().map(|m| m.last - m.first + 1).sum::<usize>(), 2);
        // Even already, within the tolerance.
        weights[9000] = 190;
        weights[5] = 0;
        weights[7000] = 0;
        assert_eq!(balanced(&weights, 2, 10).1, []);
        assert!(balanced(&[0; SLOTS], 3, 0).1.is_empty());
    }

    #[test]
    fn neighbours_of_the_same_weight_move_together() {
        let mut weights = vec![0; SLOTS];
        weights[..8192].fill(3);
        let (sums, moves) = balanced(&weights, 2, 1);
        assert!(sums[0].abs_diff(sums[1]) < 500, "{sums:?}");
        assert_eq!(moves.len(), 1);
    }

    #[test]
    fn what_cannot_be_divided_stays_alone() {
        let mut weights = vec![0; SLOTS];
        weights[1] = 1000;
        weights[2] = 10;
        weights[3] = 10;
        let (sums, _) = balanced(&weights, 2, 10);
        assert_eq!(sums, [1000, 20]);
    }

    #[test]
    fn any_weights_end_within_the_tolerance_or_better_than_before() {
        let mut rng = fastrand::Rng::with_seed(3);
        for shards in [2, 3, 7] {
            for _ in 0..20 {
                let hot = rng.usize(..3000) + 200;
                let mut weights = vec![0; SLOTS];
                for _ in 0..hot {
                    weights[rng.usize(..SLOTS / 2)] += rng.u64(1..100);
                }
                let before = borne(&weights, &even_slot_map(shards), shards);
                let (sums, _) = balanced(&weights, shards, 10);
                let mean = sums.iter().sum::<u64>() / shards as u64;
                let off = |sums: &[u64]| sums.iter().map(|s| s.abs_diff(mean)).max();
                assert!(
                    off(&sums) <= Some(mean / 10 + 1) || off(&sums) < off(&before),
                    "{before:?} became {sums:?}"
                );
                assert!(off(&sums) <= Some(mean / 10 + 100), "{sums:?} of {mean}");
            }
        }
    }

    #[test]
    fn loads_of_two_ages_meet_at_the_later() {
        let wanted = Wanted {
            metric: Metric::Load,
            tolerance_percent: 10,
            dry_run: true,
        };
        let mut balance = Balance::new(wanted);
        let mut loads = [0; SLOTS];
        loads[7] = 80;
        balance.add(&Weights::new(4, &loads));
        balance.add(&Weights::new(5, &loads));
        balance.add(&Weights::new(4, &loads));
        assert_eq!(balance.loads[7], 40 + 80 + 40);
    }
}
