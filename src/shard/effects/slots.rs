//! Effects of slots that move from shard to shard while they are recorded.
//!
//! Each log says all of the slots that its shard owns at its end, without regard to other logs: with
//! a slot comes what is in it. So the log of the old owner need not be run before that of the new one.
//!
//! | effect | what it says |
//! | --- | --- |
//! | `@moved` number first last | from now on this log tells of the slots from `first` to `last`; they are empty, and what is in them follows in the same unit. What logs say of a slot by an earlier number (0 at the beginning) does not count any more, whether it was run before or comes later |
//! | `@of` ranges command ... | a command on whole databases, of keys in slots that the shard owned then (`0-99,200-200`); without it those of the map that a process begins with |
//!
//! A move is a transaction of the old and the new owner ([`super::PartOf`]). The old one's part has
//! no effects: it says that what stands before it must be there when the new one's counts. Names of
//! commands do not begin with `@`.

use smallvec::SmallVec;

use super::replay::{ReplayError, unknown};
use crate::keyspace::{SLOTS, Slot, slot_cursor};
use crate::mesh::ShardId;
use crate::resp::number::parse_i64;
use crate::shard::lending::Wanted;
use crate::shard::{Shard, slot_ranges};
use crate::txn::TxnId;

const MOVED: &[u8] = b"@moved";
const OF: &[u8] = b"@of";
/// How a unit begins with which slots have come: `@moved` has four words.
const MOVED_HEAD: &[u8] = b"*4\r\n$6\r\n@moved\r\n";

/// Slots that have come to a shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MovedIn {
    /// The number of the move; they rise within a process, from 1 on.
    pub number: u32,
    /// The first slot.
    pub first: Slot,
    /// The last one.
    pub last: Slot,
}

impl MovedIn {
    /// The transaction that the move is in the logs.
    fn txn(self, coordinator: ShardId) -> TxnId {
        TxnId::slot_move(self.number, coordinator)
    }

    /// Reads the effect; None if it is another.
    pub(super) fn of(args: &[&[u8]]) -> Option<Result<Self, ReplayError>> {
        if args.first() != Some(&MOVED) {
            return None;
        }
        let number = |at: usize| args.get(at).and_then(|text| parse_i64(text));
        let slot = |at| Slot::new(u16::try_from(number(at)?).ok()?);
        let read = || {
            let moved = Self {
                number: u32::try_from(number(1)?).ok()?,
                first: slot(2)?,
                last: slot(3)?,
            };
            (args.len() == 4 && moved.first <= moved.last).then_some(moved)
        };
        Some(read().ok_or_else(|| unknown(args)))
    }
}

/// Whether slots have come with a unit.
pub fn brings_slots(payload: &[u8]) -> bool {
    payload.starts_with(MOVED_HEAD)
}

/// Slots that a shard owned when it ran a command on whole databases.
pub type OwnedThen = SmallVec<[(usize, usize); 4]>;

/// A command on whole databases, and the slots that it was run for if they are named.
pub fn on_databases<'a, 'b>(
    args: &'b [&'a [u8]],
) -> Result<(Option<OwnedThen>, &'b [&'a [u8]]), ReplayError> {
    if args.first() != Some(&OF) {
        return Ok((None, args));
    }
    let [_, ranges, command @ ..] = args else {
        return Err(unknown(args));
    };
    let range = |text: &[u8]| {
        let at = text.iter().position(|byte| *byte == b'-')?;
        let slot = |text: &[u8]| {
            let slot = usize::try_from(parse_i64(text)?).ok()?;
            (slot < SLOTS).then_some(slot)
        };
        Some((slot(&text[..at])?, slot(&text[at + 1..])?))
    };
    let texts = ranges.split(|byte| *byte == b',').filter(|t| !t.is_empty());
    let owned: Option<OwnedThen> = texts.map(range).collect();
    match owned {
        Some(owned) if !command.is_empty() => Ok((Some(owned), command)),
        _ => Err(unknown(args)),
    }
}

impl Shard {
    /// Slots leave for another shard: records this shard's part of it.
    pub fn effect_moved_out(&mut self, moved: MovedIn, coordinator: ShardId, to: ShardId) {
        assert_ne!(to, self.id, "they leave");
        self.close_move(moved, coordinator, to);
    }

    /// Slots have come from another shard, with these keys: records them with what they hold.
    pub fn effect_moved_in(
        &mut self,
        moved: MovedIn,
        coordinator: ShardId,
        from: ShardId,
        keys: &[Wanted],
    ) {
        assert_ne!(from, self.id, "they come");
        if !self.effects.on {
            return;
        }
        assert!(self.effects.open.is_empty(), "no command is under way");
        let numbers = [
            u64::from(moved.number),
            moved.first.index() as u64,
            moved.last.index() as u64,
        ];
        let numbers = numbers.map(|number| number.to_string());
        let [number, first, last] = numbers.each_ref().map(|text| text.as_bytes());
        self.effects
            .open
            .put(0, [MOVED, number, first, last].into_iter());
        // What the old owner has deleted and may lose is seen nowhere: nobody reads before it is sure.
        self.effects.open.whole = true;
        for key in keys {
            self.effect_value(key.db, key.pos, &key.key);
        }
        self.close_move(moved, coordinator, from);
    }

    fn close_move(&mut self, moved: MovedIn, coordinator: ShardId, other: ShardId) {
        if self.effects.on {
            let mut participants = [self.id, other];
            participants.sort_unstable();
            self.close_part(moved.txn(coordinator), &participants);
        }
    }

    /// Adds a command on whole databases to the open unit, with the slots that are meant if slots have
    /// moved.
    pub(super) fn put_on_databases(&mut self, db: u16, words: &[&[u8]]) {
        if !self.node.logs.have_slots_moved() {
            return self.effects.open.put(db, words.iter().copied());
        }
        let own = slot_ranges(&self.slot_map)
            .into_iter()
            .filter(|range| range.owner == self.id)
            .map(|range| format!("{}-{}", range.first, range.last));
        let ranges = own.collect::<Vec<_>>().join(",");
        let mut all: SmallVec<[&[u8]; 8]> = SmallVec::from_slice(&[OF, ranges.as_bytes()]);
        all.extend_from_slice(words);
        self.effects.open.put(db, all.into_iter());
    }

    /// Empties slots as far as `meant` says.
    pub fn empty_slots(&mut self, moved: MovedIn, meant: impl Fn(Slot) -> bool) {
        let (from, end) = (
            slot_cursor(moved.first.index()),
            slot_cursor(moved.last.index() + 1),
        );
        let mut keys = self.keys_between(from, end);
        keys.retain(|key| meant(key.pos.slot()));
        drop(self.take_entries(&keys));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&[u8]> {
        text.split(' ').map(str::as_bytes).collect()
    }

    #[test]
    fn slots_that_came_are_read() {
        let moved = MovedIn::of(&words("@moved 7 16382 16383")).expect("it is one");
        let moved = moved.expect("it is right");
        assert_eq!((moved.number, moved.first.index()), (7, 16382));
        assert_eq!(moved.last.index(), 16383);
        assert_eq!(MovedIn::of(&words("SET a b")), None);
        for wrong in [
            "@moved",
            "@moved 7 1",
            "@moved 7 2 1",
            "@moved -1 1 2",
            "@moved 4294967296 1 2",
            "@moved 7 1 16384",
            "@moved 7 1 x",
            "@moved 7 1 2 3",
        ] {
            assert!(
                MovedIn::of(&words(wrong)).is_some_and(|read| read.is_err()),
                "{wrong}"
            );
        }
    }

    #[test]
    fn commands_on_databases_name_slots_or_do_not() {
        let plain = words("SWAPDB 1 2");
        assert_eq!(on_databases(&plain), Ok((None, &plain[..])));
        let named = words("@of 0-99,200-200 FLUSHDB");
        let (then, command) = on_databases(&named).expect("it is right");
        assert_eq!(then.as_deref(), Some(&[(0, 99), (200, 200)][..]));
        assert_eq!(command, [b"FLUSHDB"]);
        let none = words("@of  FLUSHDB");
        let (then, _) = on_databases(&none).expect("a shard may own nothing");
        assert_eq!(then.as_deref(), Some(&[][..]));
        for wrong in [
            "@of",
            "@of 0-1",
            "@of 0 FLUSHDB",
            "@of 0-16384 FLUSHDB",
            "@of x-1 FLUSHDB",
        ] {
            assert!(on_databases(&words(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_unit_with_which_slots_come_is_told_by_its_beginning() {
        let mut fixture = crate::command::fixture::Fixture::new();
        let shard = &mut fixture.shard;
        shard.effects.listen(true);
        let moved = MovedIn {
            number: 3,
            first: Slot::of(b"a"),
            last: Slot::of(b"a"),
        };
        shard.effect_moved_in(moved, ShardId(0), ShardId(1), &[]);
        let mut payloads = Vec::new();
        shard.effects.take_units(|unit| {
            assert!(unit.whole && unit.part_of.is_some());
            payloads.push(unit.payload.to_vec());
        });
        assert_eq!(payloads.len(), 1);
        assert!(brings_slots(&payloads[0]));
    }
}
