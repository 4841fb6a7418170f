//! Which shard owns what: a map of slots, and while a slot with very many keys moves in slices, the
//! part of it that has moved.
//!
//! A slot's slices move in the order of positions, so the part that is at its new place is always
//! one range from the slot's first position on. Nothing but that range need be known besides the
//! map, in which the slot stays its old owner's until the last slice: channels, what cluster clients
//! are told and everything else that goes by the slot is the old owner's until then.
//!
//! All shards have the same map and the same part whenever commands run ([`crate::net`], `slots`).

use super::Shard;
use crate::keyspace::{
    CURSOR_END, Pos, SLOTS, Slot, cursor_pos, cursor_slot, pos_cursor, slot_cursor,
};
use crate::mesh::ShardId;

/// The beginning of a slot, at its new owner already.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Ahead {
    /// The slot's first position.
    first: u64,
    /// How many positions; 0: no slot is in between.
    length: u64,
    to: ShardId,
}

impl Shard {
    /// The shard that owns a slot: what belongs to the slot and not to a key.
    pub fn owner(&self, slot: Slot) -> ShardId {
        self.slot_map[slot.index()]
    }

    /// The shard that owns the key at a position.
    #[inline]
    pub fn owner_at(&self, pos: Pos) -> ShardId {
        let into = pos.to_bits().wrapping_sub(self.ahead.first);
        if into < self.ahead.length {
            return self.ahead.to;
        }
        self.slot_map[pos.slot().index()]
    }

    /// The shard that owns a key.
    pub fn owner_of_key(&self, key: &[u8]) -> ShardId {
        match self.ahead.length {
            0 => self.owner(Slot::of(key)), // spares the key's hash
            _ => self.owner_at(self.pos(key)),
        }
    }

    /// The shard that a cursor below [`CURSOR_END`] is to be continued on.
    pub fn owner_of_cursor(&self, cursor: u64) -> ShardId {
        self.owner_at(cursor_pos(cursor))
    }

    /// The next cursor after this one at which the owner may be another.
    pub fn end_of_stretch(&self, cursor: u64) -> u64 {
        let slot = cursor_slot(cursor);
        let end = slot_cursor(slot.index() + 1);
        let ahead = Pos::from_bits(self.ahead.first + self.ahead.length);
        match self.ahead.length > 0 && ahead.slot() == slot {
            true if cursor < pos_cursor(ahead) => pos_cursor(ahead),
            _ => end,
        }
    }

    /// Makes `to` the owner of everything from one cursor up to another. What begins within a slot
    /// continues where it was left off; doing it twice is doing it once.
    pub fn give(&mut self, from: u64, end: u64, to: ShardId) {
        assert!(from < end && end <= CURSOR_END);
        assert!(to.index() < self.node.shards);
        let (first, whole) = (cursor_slot(from).index(), whole_slots(end));
        if first < whole {
            self.slot_map[first..whole].fill(to);
        }
        let begins = slot_cursor(whole);
        self.ahead = match end > begins {
            true => Ahead {
                first: cursor_pos(begins).to_bits(),
                length: cursor_pos(end).to_bits() - cursor_pos(begins).to_bits(),
                to,
            },
            false => Ahead::default(),
        };
    }
}

/// How many slots end before a cursor or there.
pub fn whole_slots(end: u64) -> usize {
    if end == CURSOR_END {
        return SLOTS;
    }
    cursor_slot(end).index()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shard that believes there are others.
    fn shard() -> Shard {
        let mut shard = crate::shard::testing::shard();
        let mut node = crate::shard::node::Node::new(
            crate::server::config::Config {
                shards: 3,
                ..Default::default()
            },
            [1, 2],
            "0".repeat(40),
            0,
            vec![0; 3],
            |_| (),
        );
        node.shards = 3;
        shard.node = std::sync::Arc::new(node);
        shard
    }

    #[test]
    fn a_slot_moves_from_its_first_position_on() {
        let mut shard = shard();
        let (one, slot) = (ShardId(1), Slot::of(b"a"));
        let (from, end) = (slot_cursor(slot.index()), slot_cursor(slot.index() + 1));
        let middle = from + (end - from) / 2;
        for _ in 0..2 {
            shard.give(from, middle, one);
            assert_eq!(shard.owner(slot), ShardId(0), "the rest is where it was");
            assert_eq!(shard.owner_of_cursor(from), one);
            assert_eq!(shard.owner_of_cursor(middle - 1), one);
            assert_eq!(shard.owner_of_cursor(middle), ShardId(0));
            assert_eq!(shard.owner_of_cursor(from - 1), ShardId(0));
            assert_eq!(shard.end_of_stretch(from), middle);
            assert_eq!(shard.end_of_stretch(middle), end);
            assert_eq!(shard.end_of_stretch(from - 1), from);
        }
        let keys: Vec<String> = (0..200).map(|n| format!("{{a}}{n}")).collect();
        let moved = |shard: &Shard| {
            let owned = keys.iter().map(|key| shard.owner_of_key(key.as_bytes()));
            owned.filter(|owner| *owner == one).count()
        };
        assert!((60..140).contains(&moved(&shard)));
        for key in &keys {
            let pos = shard.pos(key.as_bytes());
            assert_eq!(shard.owner_at(pos), shard.owner_of_key(key.as_bytes()));
        }
        shard.give(middle, end, one);
        assert_eq!(shard.owner(slot), one);
        assert_eq!(moved(&shard), keys.len());
        assert_eq!(shard.ahead, Ahead::default());
    }

    #[test]
    fn slots_and_the_beginning_of_another_move_together() {
        let mut shard = shard();
        let two = ShardId(2);
        shard.give(slot_cursor(5), slot_cursor(8) + 10, two);
        let map: Vec<u16> = shard.slot_map[4..9].iter().map(|owner| owner.0).collect();
        assert_eq!(map, [0, 2, 2, 2, 0]);
        assert_eq!(shard.owner_of_cursor(slot_cursor(8) + 9), two);
        assert_eq!(shard.owner_of_cursor(slot_cursor(8) + 10), ShardId(0));
        shard.give(slot_cursor(8) + 10, CURSOR_END, two);
        assert!(shard.slot_map[8..].iter().all(|owner| *owner == two));
        assert_eq!(whole_slots(CURSOR_END), SLOTS);
    }
}
