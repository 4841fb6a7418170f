//! Consumer groups: how far a group has read, and what its consumers have not acknowledged yet.
//!
//! An entry that was delivered and not acknowledged stands twice: in the group with its owner, and
//! in its owner's own set. Consumers are named by a number that stays theirs as long as they live,
//! so that an entry's owner takes 4 bytes.

use super::id::StreamId;
use std::collections::{BTreeMap, BTreeSet};

/// A consumer's number in its group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ConsumerId(u32);

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pending {
    /// Its owner.
    pub consumer: ConsumerId,
    /// When it was delivered last: unix time in milliseconds.
    pub delivered_ms: u64,
    /// How often it was delivered.
    pub deliveries: u64,
}

/// A consumer.
#[derive(Clone, Debug)]
pub struct Consumer {
    /// Its name.
    pub name: Box<[u8]>,
    /// When it was last heard of: unix time in milliseconds.
    pub seen_ms: u64,
    /// When it last got or claimed an entry, if it ever did.
    pub active_ms: Option<u64>,
    pending: BTreeSet<StreamId>,
}

impl Consumer {
    /// The entries that it has not acknowledged.
    pub fn pending(&self) -> &BTreeSet<StreamId> {
        &self.pending
    }
}

/// A consumer group.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name.
    pub name: Box<[u8]>,
    /// The last entry that was delivered.
    pub last_id: StreamId,
    /// How many entries of the stream's whole life were read, where that is known.
    pub entries_read: Option<u64>,
    pending: BTreeMap<StreamId, Pending>,
    /// The same by the time of delivery, once somebody has asked in that order.
    by_time: Option<BTreeSet<(u64, StreamId)>>,
    consumers: Vec<Option<Consumer>>,
    /// Numbers of the consumers in the order of their names.
    by_name: Vec<ConsumerId>,
}

/// Bytes of an entry of a tree, about: nodes are some two thirds full.
const fn tree_bytes(element: usize) -> usize {
    element * 3 / 2
}
const PENDING_BYTES: usize =
    tree_bytes(size_of::<(StreamId, Pending)>()) + tree_bytes(size_of::<StreamId>());
const BY_TIME_BYTES: usize = tree_bytes(size_of::<(u64, StreamId)>());

impl Group {
    /// A group without consumers.
    pub fn new(name: &[u8], last_id: StreamId, entries_read: Option<u64>) -> Self {
        Self {
            name: name.into(),
            last_id,
            entries_read,
            pending: BTreeMap::new(),
            by_time: None,
            consumers: Vec::new(),
            by_name: Vec::new(),
        }
    }

    /// What was delivered and not acknowledged.
    pub fn pending(&self) -> &BTreeMap<StreamId, Pending> {
        &self.pending
    }

    /// Its consumers in the order of their names.
    pub fn consumers(&self) -> impl ExactSizeIterator<Item = &Consumer> {
        self.by_name.iter().map(|id| self.consumer(*id))
    }

    /// A consumer, which is there.
    pub fn consumer(&self, id: ConsumerId) -> &Consumer {
        let consumer = self.consumers[id.0 as usize].as_ref();
        consumer.expect("a number is used as long as its consumer lives")
    }

    fn consumer_mut(&mut self, id: ConsumerId) -> &mut Consumer {
        let consumer = self.consumers[id.0 as usize].as_mut();
        consumer.expect("a number is used as long as its consumer lives")
    }

    fn search(&self, name: &[u8]) -> Result<usize, usize> {
        self.by_name
            .binary_search_by(|id| (*self.consumer(*id).name).cmp(name))
    }

    /// The consumer of a name.
    pub fn find(&self, name: &[u8]) -> Option<ConsumerId> {
        self.search(name).ok().map(|at| self.by_name[at])
    }

    /// Makes a consumer; None if there is one of this name.
    pub fn create(&mut self, name: &[u8], now_ms: u64) -> Option<ConsumerId> {
        let at = self.search(name).err()?;
        let consumer = Consumer {
            name: name.into(),
            seen_ms: now_ms,
            active_ms: None,
            pending: BTreeSet::new(),
        };
        let has_gap = self.by_name.len() < self.consumers.len();
        let free = has_gap.then(|| self.consumers.iter().position(Option::is_none));
        let free = free.flatten();
        let number = free.unwrap_or(self.consumers.len());
        match free {
            Some(free) => self.consumers[free] = Some(consumer),
            None => self.consumers.push(Some(consumer)),
        }
        let id = ConsumerId(number as u32);
        self.by_name.insert(at, id);
        Some(id)
    }

    /// Removes a consumer with all that is pending of it; how many entries that were.
    pub fn remove(&mut self, name: &[u8]) -> Option<usize> {
        let at = self.search(name).ok()?;
        let id = self.by_name.remove(at);
        let consumer = self.consumers[id.0 as usize].take();
        let pending = consumer
            .map(|consumer| consumer.pending)
            .unwrap_or_default();
        for entry in &pending {
            if let Some(was) = self.pending.remove(entry) {
                self.forget_time(*entry, was.delivered_ms);
            }
        }
        Some(pending.len())
    }

    /// The consumer was heard of.
    pub fn saw(&mut self, id: ConsumerId, now_ms: u64) {
        self.consumer_mut(id).seen_ms = now_ms;
    }

    /// The consumer got or claimed an entry.
    pub fn was_active(&mut self, id: ConsumerId, now_ms: u64) {
        self.consumer_mut(id).active_ms = Some(now_ms);
    }

    fn forget_time(&mut self, entry: StreamId, at_ms: u64) {
        if let Some(by_time) = &mut self.by_time {
            by_time.remove(&(at_ms, entry));
        }
    }

    /// An entry is pending from now on, or pending otherwise than before.
    pub fn set_pending(&mut self, entry: StreamId, pending: Pending) {
        let before = self.pending.insert(entry, pending);
        if let Some(by_time) = &mut self.by_time {
            if let Some(before) = before {
                by_time.remove(&(before.delivered_ms, entry));
            }
            by_time.insert((pending.delivered_ms, entry));
        }
        match before {
            Some(before) if before.consumer == pending.consumer => return,
            Some(before) => {
                self.consumer_mut(before.consumer).pending.remove(&entry);
            }
            None => {}
        }
        self.consumer_mut(pending.consumer).pending.insert(entry);
    }

    /// An entry is no longer pending; whether it was.
    pub fn acknowledge(&mut self, entry: StreamId) -> bool {
        let Some(was) = self.pending.remove(&entry) else {
            return false;
        };
        self.forget_time(entry, was.delivered_ms);
        self.consumer_mut(was.consumer).pending.remove(&entry)
    }

    /// Entries that were delivered at a time or before, those of the earliest first. The order is
    /// kept from the first time on that somebody asks for it.
    pub fn longest_pending(&mut self, until_ms: u64) -> impl Iterator<Item = StreamId> {
        let by_time = self.by_time.get_or_insert_with(|| {
            let pending = self.pending.iter();
            pending.map(|(id, p)| (p.delivered_ms, *id)).collect()
        });
        by_time
            .range(..=(until_ms, StreamId::MAX))
            .map(|(_, id)| *id)
    }

    /// The same entries in any order, for who changes nothing.
    pub fn delivered_until(&self, until_ms: u64) -> impl Iterator<Item = StreamId> {
        let by_time = self.by_time.iter();
        let by_time = by_time.flat_map(move |times| times.range(..=(until_ms, StreamId::MAX)));
        let all = self.by_time.is_none().then_some(&self.pending);
        let all = all.into_iter().flatten();
        let old = all.filter(move |(_, pending)| pending.delivered_ms <= until_ms);
        by_time.map(|(_, id)| *id).chain(old.map(|(id, _)| *id))
    }

    /// When the first of the entries was delivered that were so after a time, if there are any.
    pub fn delivered_next(&self, after_ms: Option<u64>) -> Option<u64> {
        let from_ms = after_ms.map_or(Some(0), |ms| ms.checked_add(1))?;
        match &self.by_time {
            Some(times) => {
                let next = times.range((from_ms, StreamId::MIN)..).next();
                next.map(|(delivered_ms, _)| *delivered_ms)
            }
            None => {
                let times = self.pending.values().map(|pending| pending.delivered_ms);
                times.filter(|ms| *ms >= from_ms).min()
            }
        }
    }

    /// Whether every entry up to this one was delivered, and this one acknowledged.
    pub fn is_done_with(&self, entry: StreamId) -> bool {
        entry <= self.last_id && !self.pending.contains_key(&entry)
    }

    /// Bytes that it holds outside of itself.
    pub(super) fn heap_bytes(&self) -> usize {
        let consumers = self.consumers.len() * size_of::<Option<Consumer>>()
            + self.by_name.len() * size_of::<ConsumerId>();
        let times = self.by_time.as_ref().map_or(0, BTreeSet::len);
        self.name.len() + consumers + self.pending.len() * PENDING_BYTES + times * BY_TIME_BYTES
    }

    /// Allocations that freeing it takes, about.
    pub(super) fn free_effort(&self) -> usize {
        self.pending.len() / 4 + self.by_name.len() + 1
    }

    /// Frees up to `budget` entries; what is left of the budget. It is only freed on afterwards.
    pub(super) fn free_some(&mut self, mut budget: usize) -> usize {
        while budget > 0 {
            if let Some(Some(consumer)) = self.consumers.last_mut() {
                if consumer.pending.pop_first().is_none() {
                    self.consumers.pop();
                }
            } else if self.consumers.pop().is_some()
                || self
                    .by_time
                    .as_mut()
                    .is_some_and(|t| t.pop_first().is_some())
                || self.pending.pop_first().is_some()
            {
            } else {
                break;
            }
            budget -= 1;
        }
        budget
    }

    /// Panics unless every invariant holds.
    pub(super) fn verify(&self) {
        let consumers: Vec<_> = self.consumers().collect();
        assert!(consumers.is_sorted_by(|a, b| a.name < b.name));
        let alive = self.consumers.iter().flatten().count();
        assert_eq!(alive, consumers.len());
        let owned: usize = consumers.iter().map(|c| c.pending.len()).sum();
        assert_eq!(owned, self.pending.len());
        for (entry, pending) in &self.pending {
            assert!(self.consumer(pending.consumer).pending.contains(entry));
        }
        if let Some(by_time) = &self.by_time {
            let times: BTreeSet<_> = self
                .pending
                .iter()
                .map(|(id, p)| (p.delivered_ms, *id))
                .collect();
            assert_eq!(*by_time, times);
        }
    }
}
