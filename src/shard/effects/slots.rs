//! Effects of slots that move from shard to shard while they are recorded.
//!
//! Each log says all of the slots that its shard owns at its end, without regard to other logs: with
//! a slot comes what is in it. So the log of the old owner need not be run before that of the new one.
//!
//! | effect | what it says |
//! | --- | --- |
//! | `@moved` number first last | from now on this log tells of the slots from `first` to `last`; they are empty, and what is in them follows in the same unit. What logs say of a slot by an earlier number (0 at the beginning) does not count any more, whether it was run before or comes later |
//! | `@of` ranges command ... | a command on whole databases, of keys in slots that the shard owned then (`0-99,200-200`); without it those that it owns while all are dealt evenly |
//!
//! A move is a transaction of the old and the new owner ([`super::PartOf`]). The old one's part has
//! no effects: it says that what stands before it must be there when the new one's counts. Names of
//! commands do not begin with `@`.

use smallvec::SmallVec;

use super::replay::{ReplayError, unknown};
use super::value::put;
use super::{Payload, Words};
use crate::keyspace::{EntryRef, Kind, SLOTS, Slot, Value, cursor_slot, slot_cursor};
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

/// What stands around a value: commands with their names and lengths, SELECT, an expiry.
const HEADS_BYTES: u64 = 256;

/// More than the effects that make an entry take, known without a look at its elements; none of what
/// tells a few bytes many times (the names of a stream's fields, fields that expire by themselves).
fn bytes_at_most(entry: &EntryRef<'_>, heads: u64) -> Option<u64> {
    /// The shortest elements, in two bytes, take six times as many as words: `$6 -32768`.
    const WORD_FACTOR: u64 = 8;
    /// Elements of two bytes that one command has ([`super::value`]), each of which names the key.
    const COMMAND_BYTES: u64 = 128;
    let held = match entry.value() {
        Value::Int(_) => return Some(heads),
        Value::Str(bytes) => return Some(heads + bytes.len() as u64),
        Value::Large(string) => return Some(heads + string.as_slice().len() as u64),
        Value::Packed(_, bytes) => bytes.len(),
        Value::Object(object) => {
            if object.kind() == Kind::Stream || object.due().is_some() {
                return None;
            }
            object.heap_bytes()
        }
    };
    let commands = (held as u64).div_ceil(COMMAND_BYTES);
    Some(heads + WORD_FACTOR * held as u64 + commands.saturating_mul(heads))
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

    /// How much of what is between two cursors, the first of a slot each, may move as one record of
    /// about `wanted` bytes: as many slots as fit, but one at least. None if that one would take more
    /// than `most`.
    pub fn loggable(&self, from: u64, end: u64, wanted: u64, most: u64) -> Option<u64> {
        let wanted = wanted.min(most);
        if self.bytes_in_log(from, end, bytes_at_most) <= wanted {
            return Some(end);
        }
        let (mut at, mut sum) = (from, 0u64);
        while at < end {
            let next = slot_cursor(cursor_slot(at).index() + 1);
            let mut bytes = self.bytes_in_log(at, next, bytes_at_most);
            if sum.saturating_add(bytes) > wanted {
                bytes = self.bytes_in_log(at, next, |_, _| None);
            }
            if at == from && bytes > most {
                return None;
            }
            sum = sum.saturating_add(bytes);
            if sum > wanted {
                return Some(if at == from { next } else { at });
            }
            at = next;
        }
        Some(end)
    }

    /// Bytes of the effects that make what is between two cursors; where `estimate` knows none of an
    /// entry, they are made and counted.
    fn bytes_in_log(
        &self,
        from: u64,
        end: u64,
        estimate: impl Fn(&EntryRef<'_>, u64) -> Option<u64>,
    ) -> u64 {
        let (mut made, mut words) = (Payload::default(), Words::default());
        let mut sum = 0u64;
        for (db, found) in (0..).zip(self.keyspace.iter()) {
            found.scan(from, end, usize::MAX, 0, |entry| {
                let heads = HEADS_BYTES + 3 * entry.key().len() as u64;
                let bytes = estimate(&entry, heads).unwrap_or_else(|| {
                    put(&mut made, db, &entry, &mut words);
                    let bytes = made.bytes().len() as u64;
                    made.forget();
                    bytes
                });
                sum = sum.saturating_add(bytes);
            });
        }
        sum
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

    /// What is estimated is never less than what is made.
    #[test]
    fn what_slots_take_in_the_log_is_known_before() {
        let mut fixture = crate::command::fixture::Fixture::new();
        let long = "x".repeat(3000);
        for n in 0..200 {
            let (n, far) = (n.to_string(), (i64::from(n) - 40_000).to_string());
            for key in ["a", "{b}", "c", &long] {
                fixture.run(&format!("RPUSH {key}:list {n} {far}"));
                fixture.run(&format!("SADD {key}:ints {n} {far}"));
                fixture.run(&format!("SADD {key}:set {n} member"));
                fixture.run(&format!("ZADD {key}:zset 0.1 {n} {far} z"));
                fixture.run(&format!("HSET {key}:hash {n} 1 {far} v"));
                fixture.run(&format!("XADD {key}:stream * {long} {n}"));
                fixture.run(&format!("SET {key}:int:{n} {far}"));
            }
        }
        fixture.run("HPEXPIRE a:hash 100000 FIELDS 2 1 2");
        let shard = &fixture.shard;
        for slot in 0..SLOTS {
            let (from, end) = (slot_cursor(slot), slot_cursor(slot + 1));
            let estimated = shard.bytes_in_log(from, end, bytes_at_most);
            let made = shard.bytes_in_log(from, end, |_, _| None);
            assert!(estimated >= made, "slot {slot}: {estimated} for {made}");
        }
        let slot = Slot::of(b"{b}").index();
        let (from, next) = (slot_cursor(slot), slot_cursor(slot + 1));
        let bytes = shard.bytes_in_log(from, next, |_, _| None);
        assert_eq!(shard.loggable(from, next, 1, bytes), Some(next));
        assert_eq!(shard.loggable(from, next, 1, bytes - 1), None);
        let all = slot_cursor(SLOTS);
        let most = u64::MAX;
        assert_eq!(shard.loggable(0, all, most, most), Some(all));
        // Steps of few bytes come to the end, slot by slot where these are larger.
        let (mut at, mut steps) = (0, 0);
        while at < all {
            at = shard.loggable(at, all, 10_000, most).expect("no limit");
            steps += 1;
        }
        assert!(steps > 10, "{steps}");
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
