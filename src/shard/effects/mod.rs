//! Effects: what the writes of this shard have done to its keys, as commands that do the same
//! wherever and whenever they are run. The log and replication live on them.
//!
//! # Words
//! - An *effect* is a command as a request (RESP, an array of bulk strings). It depends on nothing
//!   but the keys that it names and its arguments: not on time, chance, the configuration or other
//!   keys. SPOP's effect is SREM, EXPIRE's PEXPIREAT, INCRBYFLOAT's SET.
//! - A *unit* is what takes effect as one: a command, what an EXEC did here, an expiry. It is a
//!   database and a run of effects; `SELECT` stands between effects on different databases.
//! - A unit of a transaction over several shards names it and its participants ([`PartOf`]); each of
//!   them has a unit of its own with its part. Participants are all shards whose keys it has seen or
//!   changed, and the one that has run it: a part without effects says that what stands before it was
//!   there when the transaction ran, so that the log never holds what came of a write that it has lost.
//!
//! # What an effect names
//! One key of this shard; or several keys of one slot, which have one owner whatever the slot map
//! is; or a whole database (FLUSHDB, FLUSHALL, SWAPDB), by which those of the database's keys are
//! meant that the recording shard owned. A command on keys of several slots leaves an effect for
//! each key that it has written, if need be the key's whole value ([`value`]). So the units of one
//! shard, run in their order, give what that shard held, without regard to other shards; and they
//! can be dealt to any number of shards by the slots of the keys. (Rejected: commands whose keys
//! have one owner today as they were given. RENAME would be short, but two servers with different
//! numbers of shards could not run each other's logs key by key.)
//!
//! # Who has to do with it
//! - Whoever adds a command that writes gives its row an [`Effect`]; a test goes over the table.
//! - Whoever removes keys by itself (eviction) calls [`Shard::effect_del`] and [`Effects::close`].
//! - Slots that move have effects of their own ([`slots`]).
//! - Not recorded: who was last heard of in a group and when keys were last accessed, DEBUG POPULATE.
//!
//! # How it is run
//! [`Shard::replay`]: nothing expires meanwhile, as the expiry of a key or a field is an effect of
//! its own, and what depends on the present time takes it from the effect.
//!
//! # How it is recorded
//! Each row of the command table says what the command leaves behind ([`Effect`]). Where the row
//! says `Own`, the command's function calls [`Shard::effect`] after the change that it describes.
//! What has come together is closed as a unit when the command ends, or the block that it stands in.
//!
//! | where a write happens | where its effects go |
//! | --- | --- |
//! | a command here, a service to a client that waits | a unit |
//! | a block here | a unit, closed at its end |
//! | on entries that were lent | to the keys' owners with the entries; a unit when they are back |
//! | a step of a transaction | kept under the transaction's name; a unit when that is over |
//! | active expiry | a unit for each key |
//!
//! From the change until its unit is closed the keys are claimed by the transaction, if there is
//! one; so for each key the order of the units is the order of its changes.
//!
//! Nobody listens to begin with; then every command costs one branch (a read may expire a key). Once somebody listens
//! ([`Effects::listen`]) the arguments are copied once, into a buffer that is used again; whoever
//! listens takes the units at least once a turn.

pub mod replay;
pub mod slots;
#[cfg(test)]
mod tests;
pub mod value;
mod words;

use super::Shard;
use super::lending::Carried;
use crate::command::keys::{KeyAt, keys_of};
use crate::command::registry::RowId;
use crate::command::spec::{Effect, KeyFlags, Spec};
use crate::keyspace::Pos;
use crate::mesh::ShardId;
use crate::txn::{Loans, Position, TxnId};
pub use words::Words;
use words::put_request;

/// Room for units that is kept from one turn to the next, bytes: what a busy turn fills, and not what
/// one large value took.
const KEPT_BYTES_MAX: usize = 1 << 20;
/// The same for the keys of units.
const KEPT_KEYS_MAX: usize = 1 << 14;
/// Bytes of units that are joined: so many that what each costs by itself is lost in what its bytes
/// cost, and few enough that a record is soon whole on the disk.
pub const JOINED_BYTES_MAX: usize = 1 << 14;

/// A part of a transaction over several shards.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartOf {
    /// The transaction; every part names the same.
    pub txn: TxnId,
    /// All shards that have a part, in ascending order; at least two.
    pub participants: Box<[ShardId]>,
}

/// What is run whole or not at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unit<'a> {
    /// The database of the first effect.
    pub db: u16,
    /// The effects: requests, one behind the other; at least one, but for a part of a transaction
    /// that has only read here.
    pub payload: &'a [u8],
    /// The keys that it has changed.
    pub keys: &'a [Position],
    /// Whether it has changed whole databases besides.
    pub whole: bool,
    /// The transaction that it is a part of, if it reaches beyond this shard.
    pub part_of: Option<&'a PartOf>,
}

/// Effects that have not become a unit yet.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Payload {
    bytes: Vec<u8>,
    /// Where it begins: what stands before has become units.
    start: usize,
    /// The database of the first effect, and that of the last one.
    first_db: u16,
    db: u16,
    /// The keys that are changed, and where those of this payload begin.
    keys: Vec<Position>,
    keys_start: usize,
    /// Whether whole databases are.
    whole: bool,
}

impl Payload {
    /// Whether there is no effect.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == self.start
    }

    /// The effects.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn select(&mut self, db: u16) {
        if self.is_empty() {
            self.first_db = db;
        } else if self.db != db {
            let mut select = Words::default();
            select.push(b"SELECT");
            select.push_int(i64::from(db));
            put_request(&mut self.bytes, select.iter());
        }
        self.db = db;
    }

    /// Adds an effect on keys of a database.
    fn put<'a>(&mut self, db: u16, words: impl ExactSizeIterator<Item = &'a [u8]>) {
        self.select(db);
        put_request(&mut self.bytes, words);
    }

    /// An effect on a key is about to be added.
    fn touch(&mut self, pos: Pos) {
        let position = pos.to_bits();
        if self.keys[self.keys_start..].last() != Some(&position) {
            self.keys.push(position);
        }
    }

    /// Adds the effects of another.
    pub(crate) fn append(&mut self, other: &Self) {
        if !other.is_empty() {
            self.select(other.first_db);
            self.bytes.extend_from_slice(other.bytes());
            self.db = other.db;
            self.keys.extend_from_slice(&other.keys[other.keys_start..]);
            self.whole |= other.whole;
        }
    }

    /// Forgets what has not become a unit.
    fn forget(&mut self) {
        self.bytes.truncate(self.start);
        self.keys.truncate(self.keys_start);
        self.whole = false;
    }
}

/// A unit that was closed: where its payload ends, and what is known of it.
#[derive(Debug)]
struct Closed {
    end: usize,
    keys_end: usize,
    whole: bool,
    /// The database of the first effect, and that of the last one.
    db: u16,
    last_db: u16,
    part_of: Option<Box<PartOf>>,
}

/// What the writes of a shard leave behind.
#[derive(Default, Debug)]
pub struct Effects {
    on: bool,
    /// The payloads of the closed units, and behind them the open one.
    open: Payload,
    units: Vec<Closed>,
    /// How many are in the way of closing the open unit: a block, a transaction.
    holds: u32,
    /// While a transaction runs here on entries that were lent: what is for other owners.
    away: Option<Vec<(ShardId, Payload)>>,
    /// Changes of lent entries, which are counted by their owners.
    pub(super) lent_changes: u64,
    /// What transactions that go on have done here so far.
    kept: Vec<(TxnId, Payload)>,
    /// Buffers to use again.
    spare: Vec<Words>,
    keys: Vec<KeyAt>,
}

impl Effects {
    /// From now on effects are recorded, or not any more. Between two turns.
    pub fn listen(&mut self, on: bool) {
        assert!(
            self.holds == 0 && self.kept.is_empty(),
            "nothing is half done"
        );
        *self = Self {
            on,
            ..Self::default()
        };
    }

    /// Whether anybody listens.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Whether something is being put together, so that no units can be taken.
    #[inline]
    pub fn is_held(&self) -> bool {
        self.holds > 0
    }

    /// Whether something was put aside for a transaction that goes on.
    pub fn has_kept(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Whether there are units to be taken.
    #[inline]
    pub fn has_units(&self) -> bool {
        !self.units.is_empty()
    }

    /// Gives the units that were closed since the last time, in the order in which they took effect,
    /// and forgets them.
    pub fn take_units(&mut self, visit: impl FnMut(Unit<'_>)) {
        self.take_joined(0, visit);
    }

    /// The same with neighbours joined up to so many bytes, which then are run whole or not at all
    /// together; not those that are parts of transactions.
    pub fn take_joined(&mut self, bytes_max: usize, mut visit: impl FnMut(Unit<'_>)) {
        assert!(self.holds == 0, "units are taken between commands");
        self.close();
        let (mut from, mut keys_from) = (0, 0);
        let mut units = self.units.drain(..).peekable();
        while let Some(mut closed) = units.next() {
            while closed.part_of.is_none()
                && let Some(next) = units.next_if(|next| {
                    next.part_of.is_none()
                        && next.db == closed.last_db
                        && next.end - from <= bytes_max
                })
            {
                (closed.end, closed.keys_end) = (next.end, next.keys_end);
                (closed.last_db, closed.whole) = (next.last_db, closed.whole | next.whole);
            }
            visit(Unit {
                db: closed.db,
                payload: &self.open.bytes[from..closed.end],
                keys: &self.open.keys[keys_from..closed.keys_end],
                whole: closed.whole,
                part_of: closed.part_of.as_deref(),
            });
            (from, keys_from) = (closed.end, closed.keys_end);
        }
        drop(units);
        self.open.bytes.clear();
        self.open.bytes.shrink_to(KEPT_BYTES_MAX);
        self.open.keys.clear();
        self.open.keys.shrink_to(KEPT_KEYS_MAX);
        (self.open.start, self.open.keys_start) = (0, 0);
    }

    /// What follows belongs together until [`release`](Self::release).
    pub(crate) fn hold(&mut self) {
        self.holds += 1;
    }

    /// Ends a [`hold`](Self::hold); the unit stays open.
    pub(crate) fn release(&mut self) {
        self.holds = self.holds.checked_sub(1).expect("it was held");
    }

    /// A command has ended: what it did becomes a unit, unless it is a part of something larger.
    #[inline]
    pub(crate) fn close(&mut self) {
        if self.holds == 0 && !self.open.is_empty() {
            self.close_as(None);
        }
    }

    fn close_as(&mut self, part_of: Option<Box<PartOf>>) {
        assert!(
            self.away.is_none(),
            "what is for others was not given to them"
        );
        self.units.push(Closed {
            end: self.open.bytes.len(),
            keys_end: self.open.keys.len(),
            whole: std::mem::take(&mut self.open.whole),
            db: self.open.first_db,
            last_db: self.open.db,
            part_of,
        });
        self.open.start = self.open.bytes.len();
        self.open.keys_start = self.open.keys.len();
    }

    /// What is recorded from now on goes to the owners of the keys.
    pub(crate) fn lend(&mut self) {
        assert!(self.away.is_none(), "one transaction runs at a time");
        self.hold();
        self.away = Some(Vec::new());
    }

    /// Ends [`lend`](Self::lend): what is for other owners. What is for this shard stays in the open
    /// unit.
    pub(crate) fn end_lending(&mut self) -> Vec<(ShardId, Payload)> {
        self.release();
        self.away.take().expect("it was begun")
    }

    /// Puts the open unit aside, as done by a transaction that goes on; whether there was anything.
    pub(crate) fn keep(&mut self, txn: TxnId) -> bool {
        assert!(self.holds == 0, "a step is over");
        if self.open.is_empty() {
            return false;
        }
        let at = self.kept_at(txn);
        let (kept, open) = (&mut self.kept[at].1, &mut self.open);
        kept.append(open);
        open.forget();
        true
    }

    /// The same with effects that were recorded at another shard.
    pub(crate) fn keep_payload(&mut self, txn: TxnId, payload: &Payload) {
        if !payload.is_empty() {
            let at = self.kept_at(txn);
            self.kept[at].1.append(payload);
        }
    }

    fn kept_at(&mut self, txn: TxnId) -> usize {
        let at = self.kept.iter().position(|(other, _)| *other == txn);
        at.unwrap_or_else(|| {
            self.kept.push((txn, Payload::default()));
            self.kept.len() - 1
        })
    }

    /// Opens the unit of a transaction again, with what it has done here so far.
    fn take_kept(&mut self, txn: TxnId) {
        if let Some(at) = self.kept.iter().position(|(other, _)| *other == txn) {
            let (_, payload) = self.kept.swap_remove(at);
            self.open.append(&payload);
        }
    }
}

/// What a transaction leaves behind at a shard, on its way there.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Left {
    /// What was done elsewhere to the shard's keys.
    pub payload: Payload,
    /// All participants of the transaction, in ascending order; none where it leaves nothing, not
    /// even that it was here.
    pub participants: Box<[ShardId]>,
}

impl Shard {
    /// Changes so far, those included that the owners of lent entries will count.
    #[inline]
    pub(crate) fn changes_so_far(&self) -> u64 {
        self.dirty.wrapping_add(self.effects.lent_changes)
    }

    /// Where effects on a key go.
    fn payload_of(&mut self, pos: Pos) -> &mut Payload {
        let owner = self.owner_at(pos);
        let payload = match &mut self.effects.away {
            Some(away) if owner != self.id => {
                let at = away.iter().position(|(other, _)| *other == owner);
                let at = at.unwrap_or_else(|| {
                    away.push((owner, Payload::default()));
                    away.len() - 1
                });
                &mut away[at].1
            }
            _ => &mut self.effects.open,
        };
        payload.touch(pos);
        payload
    }

    /// Records an effect on a key of this shard, or on one that was lent; nothing unless somebody
    /// listens. Several keys must be of one slot.
    #[inline]
    pub fn effect(&mut self, db: u16, pos: Pos, words: &[&[u8]]) {
        if self.effects.on {
            self.payload_of(pos).put(db, words.iter().copied());
        }
    }

    /// Records an effect on whole databases of this shard.
    pub fn effect_on_databases(&mut self, db: u16, words: &[&[u8]]) {
        if self.effects.on {
            self.put_on_databases(db, words);
            self.effects.open.whole = true;
        }
    }

    /// An empty list of arguments to put an effect together with; None if nobody listens.
    #[inline]
    pub fn words(&mut self) -> Option<Words> {
        self.effects.on.then(|| self.empty_words())
    }

    fn empty_words(&mut self) -> Words {
        self.effects.spare.pop().unwrap_or_default()
    }

    /// Records an effect that was put together. As [`effect`](Self::effect).
    #[inline]
    pub fn effect_of(&mut self, db: u16, pos: Pos, words: Option<Words>) {
        if let Some(words) = words {
            self.payload_of(pos).put(db, words.iter());
            self.give_back(words);
        }
    }

    /// Gives arguments back to be used again.
    pub fn give_back(&mut self, mut words: Words) {
        /// Buffers that are kept, and their size: what a usual command needs.
        const SPARE_MAX: usize = 4;
        const SPARE_BYTES_MAX: usize = 1 << 16;
        words.clear();
        if self.effects.spare.len() < SPARE_MAX && words.bytes_kept() <= SPARE_BYTES_MAX {
            self.effects.spare.push(words);
        }
    }

    /// Records the removal of a key.
    #[inline]
    pub fn effect_del(&mut self, db: u16, pos: Pos, key: &[u8]) {
        self.effect(db, pos, &[b"DEL", key]);
    }

    /// Records what stands under a key now.
    pub fn effect_value(&mut self, db: u16, pos: Pos, key: &[u8]) {
        if !self.effects.on {
            return;
        }
        let mut words = self.empty_words();
        let mut payload = std::mem::take(self.payload_of(pos));
        let found = self.keyspace.db(usize::from(db));
        match found.lookup(pos, key, 0).live() {
            Some(entry) => value::put(&mut payload, db, &entry, &mut words),
            None => payload.put(db, [&b"DEL"[..], key].into_iter()),
        }
        *self.payload_of(pos) = payload;
        self.give_back(words);
    }

    /// Records the command as it was given; its keys must be of one slot.
    pub fn effect_verbatim(&mut self, row: RowId, db: u16, pos: Pos, args: &[&[u8]]) {
        if !self.effects.on {
            return;
        }
        // By the name that it has everywhere, whatever it is called here.
        let rows = &self.registry;
        let mut name = rows.row(row);
        while let Some(parent) = name.parent {
            name = rows.row(parent);
        }
        let name = name.spec.name.as_bytes();
        let words = std::iter::once(name).chain(args[1..].iter().copied());
        let words = Counted {
            words,
            left: args.len(),
        };
        self.payload_of(pos).put(db, words);
    }

    /// A command has ended that has begun when there were so many
    /// [`changes_so_far`](Self::changes_so_far): records what its row says.
    pub(crate) fn command_ended(
        &mut self,
        row: RowId,
        spec: &Spec,
        db: u16,
        pos: Pos,
        args: &[&[u8]],
        changes: u64,
    ) {
        if self.changes_so_far() != changes {
            match spec.effect {
                Effect::None | Effect::Own => {}
                Effect::Verbatim => self.effect_verbatim(row, db, pos, args),
                Effect::Keys => self.effect_keys(row, spec, db, args, !self.keeps_expired),
                Effect::Values => self.effect_keys(row, spec, db, args, false),
            }
        }
        self.effects.close();
    }

    /// Records what a command on several keys has done; `verbatim`: by itself if its keys are of one
    /// slot.
    fn effect_keys(&mut self, row: RowId, spec: &Spec, db: u16, args: &[&[u8]], verbatim: bool) {
        let mut keys = std::mem::take(&mut self.effects.keys);
        keys.clear();
        keys_of(spec, args, &mut keys);
        let first = keys.first().expect("it has changed a key");
        let pos = self.pos(args[first.index]);
        let same = |at: &KeyAt| self.pos(args[at.index]).slot() == pos.slot();
        if verbatim && keys.iter().all(same) {
            self.effect_verbatim(row, db, pos, args);
        } else {
            let databases = self.keyspace.databases();
            let other = crate::command::generic::keys::other_database(spec.name, args, databases);
            for at in &keys {
                let key = args[at.index];
                let pos = self.pos(key);
                if at.flags.has(KeyFlags::OW) {
                    self.effect_value(other.unwrap_or(db), pos, key);
                } else if at.flags.any(KeyFlags::RW | KeyFlags::RM) {
                    self.effect_value(db, pos, key);
                }
            }
        }
        self.effects.keys = keys;
    }

    /// A transaction has run here with what it was lent: gives the owners what is theirs, and closes
    /// the unit of this shard.
    pub(crate) fn close_transaction(&mut self, txn: TxnId, loans: &mut Loans<Carried>) {
        if !self.effects.on {
            return;
        }
        let writes = !self.effects.open.is_empty()
            || loans.iter().any(|(_, loan)| !loan.left.payload.is_empty());
        self.settle_participants(txn, writes, loans);
    }

    /// A transaction will be run by all its participants, each of which will leave something.
    pub(crate) fn all_take_part(&mut self, txn: TxnId, loans: &mut Loans<Carried>) {
        if !self.effects.on {
            return;
        }
        let here = loans.iter().any(|(shard, _)| *shard == self.id);
        let participants = self.participants(true, loans);
        for (_, loan) in loans.iter_mut() {
            loan.left.participants = participants.clone().into();
        }
        if !here {
            self.close_part(txn, &participants); // else it does with its loan
        }
    }

    /// A transaction is over that was done by steps; whether it `writes`.
    pub(crate) fn close_steps(&mut self, txn: TxnId, writes: bool, loans: &mut Loans<Carried>) {
        if !self.effects.on {
            return;
        }
        self.effects.take_kept(txn);
        self.settle_participants(txn, writes, loans);
    }

    /// Tells the participants of each other, and closes the unit of this shard.
    fn settle_participants(&mut self, txn: TxnId, writes: bool, loans: &mut Loans<Carried>) {
        let participants = self.participants(writes, loans);
        for (shard, loan) in loans.iter_mut() {
            // This shard's part is closed here.
            if *shard != self.id && participants.contains(shard) {
                loan.left.participants = participants.clone().into();
            }
        }
        if participants.len() > 1 || !self.effects.open.is_empty() {
            self.close_part(txn, &participants);
        }
    }

    /// All whose logs are to hold a transaction or none of them: whose keys it has seen or changed,
    /// and this shard, which has run it. Of one that only reads, those whose keys may still be lost.
    fn participants(&self, writes: bool, loans: &Loans<Carried>) -> Vec<ShardId> {
        let own = self.id;
        let others = loans.iter().filter(|(shard, _)| *shard != own);
        let others = others.filter(|(_, loan)| writes || loan.unsettled);
        let mut participants: Vec<ShardId> = others.map(|(shard, _)| *shard).collect();
        participants.push(own);
        participants.sort_unstable();
        participants
    }

    /// A transaction is over: opens the unit of what it leaves here, with what is known of it; what
    /// is done until [`close_left`](Self::close_left) belongs to it.
    pub(crate) fn open_left(&mut self, txn: TxnId, left: &Left) {
        if self.effects.on {
            self.effects.take_kept(txn);
            self.effects.open.append(&left.payload);
        }
        self.effects.hold();
    }

    /// Closes this unit.
    pub(crate) fn close_left(&mut self, txn: TxnId, left: &Left) {
        self.effects.release();
        if self.effects.on && (!self.effects.open.is_empty() || left.participants.len() > 1) {
            self.close_part(txn, &left.participants);
        }
    }

    fn close_part(&mut self, txn: TxnId, participants: &[ShardId]) {
        // None are known of one that began before anybody listened.
        let known = participants.contains(&self.id) || participants.is_empty();
        assert!(known, "it has left something here");
        let part_of = (participants.len() > 1).then(|| {
            Box::new(PartOf {
                txn,
                participants: participants.into(),
            })
        });
        self.effects.close_as(part_of);
    }
}

/// Words of which the number is known.
struct Counted<I> {
    words: I,
    left: usize,
}

impl<'a, I: Iterator<Item = &'a [u8]>> Iterator for Counted<I> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.saturating_sub(1);
        self.words.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<'a, I: Iterator<Item = &'a [u8]>> ExactSizeIterator for Counted<I> {}
