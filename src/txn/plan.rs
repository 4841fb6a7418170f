//! Which shards a command needs: from the slots of its keys, by the slot map.

use smallvec::SmallVec;

use super::ids::ShardId;

/// Number of slots: Redis Cluster's.
pub const SLOTS: usize = 16384;

/// A slot: CRC16 of the key (or its hash tag) modulo [`SLOTS`].
pub type Slot = u16;

/// Which shard owns each slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotMap {
    owners: Box<[ShardId; SLOTS]>,
}

impl SlotMap {
    /// Deals the slots to so many shards in contiguous ranges whose lengths differ by at most
    /// one, as `redis-cli --cluster create` does.
    pub fn even(shards: u16) -> Self {
        assert!(
            (1..=SLOTS).contains(&usize::from(shards)),
            "each shard owns a slot"
        );
        let mut owners = Box::new([ShardId(0); SLOTS]);
        for (slot, owner) in owners.iter_mut().enumerate() {
            let shard = slot * usize::from(shards) / SLOTS;
            *owner = ShardId(u16::try_from(shard).expect("below the number of shards"));
        }
        Self { owners }
    }

    /// The owner of a slot below [`SLOTS`].
    #[inline]
    pub fn owner_of(&self, slot: Slot) -> ShardId {
        self.owners[usize::from(slot)]
    }

    /// Gives a slot to another shard.
    pub fn assign(&mut self, slot: Slot, owner: ShardId) {
        self.owners[usize::from(slot)] = owner;
    }
}

/// Indexes into the list of keys that a plan was made from, ascending.
pub type KeyIndexes = SmallVec<[u32; 8]>;

/// The shards that a command needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// It has no keys: the connection's home runs it.
    Home,
    /// One shard owns all keys and runs it at once.
    Single(ShardId),
    /// A transaction: each owner with the indexes of its keys, in the order in which the
    /// owners first appear among the keys.
    Multi(Vec<(ShardId, KeyIndexes)>),
}

/// Plans a command, or a whole MULTI/EXEC block with the keys that it watches, from the slots
/// of its keys. Looks at each slot once and allocates nothing for a single owner.
pub fn plan<I>(slots: I, map: &SlotMap) -> Plan
where
    I: IntoIterator<Item = Slot>,
    I::IntoIter: Clone,
{
    let slots = slots.into_iter();
    let mut owners = slots.clone().map(|slot| map.owner_of(slot));
    let Some(first) = owners.next() else {
        return Plan::Home;
    };
    if owners.all(|owner| owner == first) {
        return Plan::Single(first);
    }
    let mut parts: Vec<(ShardId, KeyIndexes)> = Vec::new();
    for (index, slot) in (0..).zip(slots) {
        let owner = map.owner_of(slot);
        match parts.iter_mut().find(|(shard, _)| *shard == owner) {
            Some((_, keys)) => keys.push(index),
            None => parts.push((owner, KeyIndexes::from_slice(&[index]))),
        }
    }
    Plan::Multi(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_dealt_evenly() {
        for shards in [1, 2, 3, 7, 64] {
            let map = SlotMap::even(shards);
            let mut owned = vec![0; usize::from(shards)];
            for slot in 0..16384 {
                owned[usize::from(map.owner_of(slot).0)] += 1;
            }
            let (least, most) = (owned.iter().min(), owned.iter().max());
            assert!(most.unwrap() - least.unwrap() <= 1);
        }
    }

    #[test]
    fn a_plan_names_each_owner_once() {
        let mut map = SlotMap::even(2);
        assert_eq!(plan([], &map), Plan::Home);
        assert_eq!(plan([1, 2, 1], &map), Plan::Single(ShardId(0)));
        assert_eq!(
            plan([9000, 1, 9001], &map),
            Plan::Multi(vec![
                (ShardId(1), KeyIndexes::from_slice(&[0, 2])),
                (ShardId(0), KeyIndexes::from_slice(&[1])),
            ])
        );
        map.assign(1, ShardId(1));
        assert_eq!(plan([9000, 1], &map), Plan::Single(ShardId(1)));
    }
}
