//! Active expiry and lazy freeing: what a shard does on the side, in slices that its loop calls.
//!
//! Expiry goes in rounds. A round gives every database in which something is due one pass over its
//! segments, as many slices as that takes; then the shard waits until the earliest expiry that is
//! left, and not less than a while that grows with what the round has cost and shrinks where rounds
//! find much. So a burst of expiries is worked off at once, a thin stream of them in a large
//! database costs a bounded share of the core, and a server without anything to expire never
//! wakes up for it.
//!
//! Every key that goes is told through [`Shard::changed`], after the slice that removed it. A hash of
//! which fields have expired is put aside and worked off a step at a time, before the pass goes on.

use super::Shard;
use super::access::EventClass;
use crate::command::hash::expire_fields;
use crate::keyspace::{Gone, Lookup};
use std::collections::VecDeque;

/// Longest that one slice takes, microseconds, but for one segment or one object's step more.
const SLICE_US: u64 = 200;
/// Entries and segments between two looks at the time.
const STEP: usize = 128;
/// Shortest and longest time from one round's end to the next one's start, milliseconds.
const PAUSE_MS_MIN: u64 = 100;
const PAUSE_MS_MAX: u64 = 5_000;
/// A round that has removed a part of what it looked at no smaller than one in so many is followed
/// by the next one after the shortest time.
const PLENTY: u64 = 4;

/// Where the background work of a shard stands.
#[derive(Debug)]
pub struct Expiry {
    /// Whether keys are expired actively (DEBUG SET-ACTIVE-EXPIRE).
    pub active: bool,
    /// Whether nothing at all is done on the side (DEBUG PAUSE-CRON).
    pub paused: bool,
    /// Transactions that keys of this shard are lent to, and during which nothing is to expire.
    pub timeless: usize,
    /// The database that the round has come to; None between rounds.
    round_at: Option<usize>,
    /// The next round starts no earlier, unix milliseconds.
    not_before_ms: u64,
    round_ticks: u64,
    round_visited: u64,
    round_removed: u64,
    /// Keys that a slice has removed, one after the other, and where each ends.
    gone: Vec<u8>,
    gone_ends: Vec<usize>,
    /// Hashes of which fields have expired: database and key.
    hashes: VecDeque<(u16, Box<[u8]>)>,
}

impl Default for Expiry {
    fn default() -> Self {
        Self {
            active: true,
            paused: false,
            timeless: 0,
            round_at: None,
            not_before_ms: 0,
            round_ticks: 0,
            round_visited: 0,
            round_removed: 0,
            gone: Vec::new(),
            gone_ends: Vec::new(),
            hashes: VecDeque::new(),
        }
    }
}

impl Shard {
    /// Milliseconds until there is something to do on the side: 0 at once, None that nothing is
    /// foreseen.
    #[inline]
    pub fn background_in_ms(&self) -> Option<u64> {
        let snapshot = self.snapshot_in_ms();
        let expiry = self.expiry_in_ms();
        snapshot.into_iter().chain(expiry).min()
    }

    /// The same for expiry and freeing.
    #[inline]
    fn expiry_in_ms(&self) -> Option<u64> {
        if self.expiry.paused {
            return None;
        }
        if self.keyspace.has_lazy() {
            return Some(0);
        }
        let soonest = self.keyspace.soonest_expiry();
        let idle = soonest == u64::MAX && self.expiry.round_at.is_none();
        if idle || self.expiry_rests() {
            return None;
        }
        if self.expiry.round_at.is_some() {
            return Some(0);
        }
        let at = soonest.max(self.expiry.not_before_ms);
        Some(at.saturating_sub(self.now_ms))
    }

    /// Whether nothing is to expire by itself now.
    fn expiry_rests(&self) -> bool {
        !self.expiry.active || self.paused || self.expiry.timeless > 0
    }

    /// A slice of what [`background_in_ms`](Self::background_in_ms) says is due.
    pub fn background(&mut self) {
        self.actor = 0;
        if self.snapshot_in_ms().is_some() {
            self.snapshot_slice();
        }
        if self.expiry.paused {
            return;
        }
        let began = (self.ticks.read)();
        let budget = SLICE_US * self.ticks.per_us;
        let in_time = |shard: &Self| (shard.ticks.read)().wrapping_sub(began) < budget;
        while self.keyspace.has_lazy() && in_time(self) {
            self.keyspace.free_some(STEP);
        }
        let due = self.expiry.round_at.is_some()
            || self
                .keyspace
                .soonest_expiry()
                .max(self.expiry.not_before_ms)
                <= self.now_ms;
        if self.expiry_rests() || !due {
            return;
        }
        let expiry_began = (self.ticks.read)();
        let mut more = true;
        while more && in_time(self) {
            more = self.expire_step();
        }
        self.expiry.round_ticks += (self.ticks.read)().wrapping_sub(expiry_began);
        if !more {
            self.end_round();
        }
    }

    /// A step of the round; whether there is more of it.
    fn expire_step(&mut self) -> bool {
        if let Some((db, key)) = self.expiry.hashes.pop_front() {
            if self.put_off_inside(db, &key) {
                return true;
            }
            let removed = expire_fields(self, db, &key, STEP);
            self.effects.close();
            self.expiry.round_visited += removed as u64;
            self.expiry.round_removed += removed as u64;
            if removed == STEP {
                self.expiry.hashes.push_front((db, key));
            }
            return true;
        }
        let now = self.now_ms;
        let mut db = self.expiry.round_at.unwrap_or(0);
        while db < self.keyspace.databases() && self.keyspace.db(db).due() > now {
            db += 1;
        }
        if db == self.keyspace.databases() {
            return false;
        }
        let (gone, ends) = (&mut self.expiry.gone, &mut self.expiry.gone_ends);
        let hashes = &mut self.expiry.hashes;
        let target = self.keyspace.db_mut(db);
        let sweep = target.expire_slice(now, STEP, |entry, what| match what {
            Gone::Whole => {
                gone.extend_from_slice(entry.key());
                ends.push(gone.len());
            }
            Gone::Inside => hashes.push_back((db as u16, entry.key().into())),
        });
        self.expiry.round_visited += sweep.visited as u64;
        self.expiry.round_removed += sweep.removed as u64;
        self.expiry.round_at = Some(if sweep.more { db } else { db + 1 });
        self.tell_gone(db as u16);
        true
    }

    /// Whether a hash has to be told to a snapshot before its fields expire, which takes slices: a later
    /// round finds it again.
    fn put_off_inside(&mut self, db: u16, key: &[u8]) -> bool {
        let (pos, now) = (self.pos(key), self.now_ms);
        let db = self.keyspace.db_mut(usize::from(db));
        let put_off = db.tell_ahead(pos);
        if put_off && let Lookup::Live(mut entry) = db.lookup_mut(pos, key, now) {
            entry.note_due_inside();
        }
        put_off
    }

    /// Tells of the keys that a step has removed.
    fn tell_gone(&mut self, db: u16) {
        if self.expiry.gone_ends.is_empty() {
            return;
        }
        let mut gone = std::mem::take(&mut self.expiry.gone);
        let mut ends = std::mem::take(&mut self.expiry.gone_ends);
        self.stats.expired += ends.len() as u64;
        let mut start = 0;
        for &end in &ends {
            let key = &gone[start..end];
            let pos = self.pos(key);
            self.effect_del(db, pos, key);
            self.effects.close();
            self.changed(db, pos, key, EventClass::Expired, "expired");
            start = end;
        }
        gone.clear();
        ends.clear();
        (self.expiry.gone, self.expiry.gone_ends) = (gone, ends);
    }

    fn end_round(&mut self) {
        let expiry = &mut self.expiry;
        let cost_ms = expiry.round_ticks / (self.ticks.per_us * 1000);
        let effort = u64::from(self.config.active_expire_effort).clamp(1, 10);
        let plenty = expiry.round_removed * PLENTY >= expiry.round_visited;
        let pause = if plenty {
            PAUSE_MS_MIN
        } else {
            (cost_ms * (11 - effort)).clamp(PAUSE_MS_MIN, PAUSE_MS_MAX)
        };
        expiry.not_before_ms = self.now_ms + pause;
        expiry.round_at = None;
        (
            expiry.round_ticks,
            expiry.round_visited,
            expiry.round_removed,
        ) = (0, 0, 0);
        self.keyspace.refresh_soonest_expiry();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::shard;
    use crate::keyspace::{Expiry, NewValue};

    fn fill(shard: &mut crate::shard::Shard, db: usize, keys: u32, at: u64) {
        for n in 0..keys {
            let key = format!("key:{n}").into_bytes();
            let pos = shard.pos(&key);
            shard
                .keyspace
                .db_mut(db)
                .set(pos, &key, NewValue::Int(1), Expiry::At(at), 0);
        }
    }

    #[test]
    fn nothing_to_expire_is_nothing_to_do() {
        let mut shard = shard();
        shard.now_ms = 1_000_000;
        assert_eq!(shard.background_in_ms(), None);
        fill(&mut shard, 3, 5000, 2_000_000);
        assert_eq!(shard.background_in_ms(), Some(1_000_000));
        shard.now_ms = 2_000_000;
        assert_eq!(shard.background_in_ms(), Some(0));
        shard.expiry.active = false;
        assert_eq!(shard.background_in_ms(), None);
        shard.background();
        assert_eq!(shard.keyspace.db(3).len(), 5000);
        shard.expiry.active = true;
        let mut slices = 0;
        while shard.background_in_ms() == Some(0) {
            shard.background();
            slices += 1;
            assert!(slices < 5000, "it comes to an end");
        }
        assert!(shard.keyspace.db(3).is_empty());
        assert_eq!((shard.stats.expired, shard.dirty), (5000, 0));
        assert_eq!(shard.background_in_ms(), None);
    }

    #[test]
    fn a_round_leaves_what_is_not_due_and_knows_when_it_will_be() {
        let mut shard = shard();
        fill(&mut shard, 0, 1000, 500);
        fill(&mut shard, 1, 1000, 10_000);
        shard.now_ms = 600;
        while shard.background_in_ms() == Some(0) {
            shard.background();
        }
        assert!(shard.keyspace.db(0).is_empty());
        assert_eq!(shard.keyspace.db(1).len(), 1000);
        assert_eq!(shard.background_in_ms(), Some(9_400));
        fill(&mut shard, 0, 1, 700);
        assert_eq!(shard.background_in_ms(), Some(100), "a sooner one is noted");
    }

    #[test]
    fn a_flushed_database_is_freed_in_slices() {
        let mut shard = shard();
        fill(&mut shard, 0, 50_000, 1 << 40);
        shard.keyspace.db_mut(0).clear();
        assert_eq!(shard.keyspace.lazy_pending(), 50_000);
        let mut slices = 0;
        while shard.background_in_ms() == Some(0) {
            shard.background();
            slices += 1;
        }
        assert!(slices >= 1 && shard.keyspace.lazy_pending() == 0);
        assert_eq!(shard.keyspace.lazy_freed(), 50_000);
    }
}
