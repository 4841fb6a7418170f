//! A shard's part of a snapshot: its databases as they were at one moment, as RDB.
//!
//! Shards begin together, while a transaction over all databases holds off every write
//! ([`crate::command::server::save`]), so that the moment is the same for all of them. Then each
//! tells its entries in slices beside its other work, those that are about to change first
//! ([`Keeper`]), into buffers that go to the thread that writes the file. Where that thread falls
//! behind, the walk waits; where writes fill more than [`BEHIND_BYTES_MAX`] meanwhile, the shard
//! waits, too: that is the memory that a snapshot takes.
//!
//! A long collection is told in parts. What is more than a buffer goes as pieces of its own
//! ([`Part::Piece`]), since other entries come in between; the writing thread puts them together. Who
//! would change one before it is told (its value, its expiry or its name) waits until the slices are
//! through with it, and nobody else does: commands, blocks and parts of transactions stand aside
//! ([`crate::txn`]) from the keys that [`Shard::tell_ahead`] has found to be told. What the server changes
//! by itself comes later: expiry passes by, waiting clients are served when it is over.
//!
//! A large string goes as it is, shared with the thread, which compresses and writes it. Who changes it
//! in place before that is done works on a copy.
//!
//! What holds up others all the same: a transaction that stands aside keeps what it holds at other shards.
//! And where nobody looked, the rest of a collection is told at once, which is always right and takes a
//! good part of a second for a million elements: commands of so many keys that they claim databases
//! instead, keys that wait under another name while SWAPDB runs, keys of which a watch has expired.
//! Those are counted (`rdb_values_told_at_once` in INFO).
//!
//! To keep what is changed apart would take a structure of its own for each type (a list's elements have
//! no names but their places, and the file has the number of elements first), and Redis copies its pages
//! then.

use super::Shard;
use super::lfu::Lfu;
use crate::keyspace::{CLOCK_BITS, EntryRef, Keeper, Pos, Value};
use crate::mesh::ShardId;
use crate::rdb::encode::put_select;
use crate::rdb::long::{Progress, is_long};
use crate::rdb::{Access, Encoder};
use crate::server::config::MaxmemoryPolicy;
use crate::server::snapshot::{BUFFER_BYTES, Part, Run};
use crate::txn::{Claim, DbIndex, Mode, Position};
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

/// Bytes after which a buffer goes to the writing thread. Most entries that come last fit behind.
const FULL_BYTES: usize = BUFFER_BYTES - 32 * 1024;
/// The same for a buffer of the shard's own, while there is none of the writing thread's: larger ones
/// would be memory that nobody has touched yet.
const SMALL_BYTES: usize = 1024;
/// Bytes that wait for the writing thread before the shard itself does.
const BEHIND_BYTES_MAX: usize = 16 << 20;
/// Strings of so many bytes are shared with the writing thread instead.
const SHARED_MIN: usize = 16 * 1024;
/// Those of so many are told one by one, as long collections are.
const LONG_STRING_MIN: usize = 256 * 1024;
/// Bytes of shared strings on their way with which the walk goes on.
const SHARED_BYTES_MAX: usize = 16 << 20;
/// The same for what is told because it is about to change: then the shard waits. It is memory as soon
/// as it has changed.
const CHANGED_BYTES_MAX: usize = 64 << 20;
/// Entries told between two looks at the clock.
const STEP: usize = 16;
/// Bytes of a step after which the next ones are of a single entry: collections that are not long
/// come in crowds, too.
const STEP_BYTES_MAX: u64 = 32 * 1024;
/// Ticks of a slice, in microseconds.
const SLICE_US: u64 = 100;

/// What entries are told to.
#[derive(Debug)]
struct Teller {
    encoder: Encoder,
    /// One of the writing thread's, or what came before there was one.
    buffer: Vec<u8>,
    /// The database that the buffer is in.
    db: Option<u16>,
    full: VecDeque<Part>,
    full_bytes: usize,
    run: Arc<Run>,
    out: SyncSender<Part>,
    keys: u64,
    access: AccessOf,
    /// The writing thread is gone.
    lost: bool,
    shard: ShardId,
    /// Entries of which parts were told.
    long: Vec<Long>,
    /// Long entries that have begun.
    begun: u32,
    /// Bytes of all buffers.
    told_bytes: u64,
    /// Long entries of which the rest was told at once, for a change.
    at_once: u64,
}

/// An entry that is told in parts.
#[derive(Debug)]
struct Long {
    db: u16,
    key: Box<[u8]>,
    number: u32,
    progress: Progress,
    /// What was told and has not gone.
    bytes: Vec<u8>,
    /// Whether some has gone.
    in_pieces: bool,
}

/// How an entry's clock is told.
#[derive(Clone, Copy, Debug)]
enum AccessOf {
    Nothing,
    Idle { now_seconds: u32 },
    Frequency { lfu: Lfu, now_ms: u64 },
}

impl AccessOf {
    fn of(shard: &Shard) -> Self {
        if shard.lfu.on {
            return Self::Frequency {
                lfu: shard.lfu,
                now_ms: shard.now_ms,
            };
        }
        let policy = shard.config.maxmemory_policy;
        if matches!(
            policy,
            MaxmemoryPolicy::AllkeysLru | MaxmemoryPolicy::VolatileLru
        ) {
            return Self::Idle {
                now_seconds: (shard.now_ms / 1000) as u32,
            };
        }
        Self::Nothing
    }

    fn tell(self, clock: u32) -> Access {
        const MASK: u32 = (1 << CLOCK_BITS) - 1;
        match self {
            Self::Nothing => Access::Unknown,
            Self::Idle { now_seconds } => {
                Access::IdleSeconds(u64::from(now_seconds.wrapping_sub(clock) & MASK))
            }
            Self::Frequency { lfu, now_ms } => {
                Access::Frequency(lfu.frequency(clock, now_ms).min(255) as u8)
            }
        }
    }
}

impl Teller {
    /// Hands over what is full as far as there is room; whether all of it went.
    fn hand_over(&mut self) -> bool {
        while let Some(part) = self.full.pop_front() {
            let bytes = part.bytes();
            match self.out.try_send(part) {
                Ok(()) => self.full_bytes -= bytes,
                Err(TrySendError::Full(part)) => {
                    self.full.push_front(part);
                    return false;
                }
                Err(TrySendError::Disconnected(_)) => {
                    self.lost = true;
                    self.full.clear();
                    self.full_bytes = 0;
                }
            }
        }
        true
    }

    /// The buffer is full enough to go.
    fn turn_over(&mut self) {
        let full = std::mem::take(&mut self.buffer);
        self.db = None;
        if !full.is_empty() {
            self.go(Part::Bytes(full));
        }
    }

    /// Whether there is a buffer to tell in; takes one of the writing thread's.
    fn has_buffer(&mut self) -> bool {
        if self.buffer.capacity() < BUFFER_BYTES {
            let Some(mut buffer) = self.run.buffer() else {
                return false;
            };
            buffer.append(&mut self.buffer);
            self.buffer = buffer;
        }
        true
    }

    /// Something is to go; waits where too much is behind.
    fn go(&mut self, part: Part) {
        if self.lost {
            return;
        }
        self.full_bytes += part.bytes();
        self.full.push_back(part);
        self.hand_over();
        while self.full_bytes > BEHIND_BYTES_MAX {
            self.wait_for_room();
        }
    }

    /// Waits until the oldest part has gone.
    fn wait_for_room(&mut self) {
        if let Some(part) = self.full.pop_front() {
            self.full_bytes -= part.bytes();
            self.lost |= self.out.send(part).is_err();
        }
    }

    /// Waits until no more than so many bytes of shared strings are on their way.
    fn wait_for_strings(&mut self, most: usize) {
        /// How long a string may take to be written.
        const MOMENT: Duration = Duration::from_millis(1);
        while self.run.shared_bytes() > most && !self.lost && self.run.outcome().is_none() {
            self.hand_over();
            std::thread::sleep(MOMENT);
        }
    }

    /// Tells a string without a copy.
    fn share(&mut self, db: u16, entry: &EntryRef<'_>, value: Bytes) {
        if self.lost {
            return;
        }
        self.wait_for_strings(CHANGED_BYTES_MAX);
        let mut head = Vec::new();
        put_select(db.into(), &mut head);
        let access = self.access.tell(entry.clock());
        self.encoder.head(entry, access, &mut head);
        self.told_bytes += (head.len() + value.len()) as u64;
        self.run.shares(value.len());
        self.go(Part::String { head, value });
        self.keys += 1;
    }

    fn begin_long(&mut self, db: u16, entry: &EntryRef<'_>) -> Long {
        self.begun += 1;
        let mut bytes = Vec::new();
        put_select(db.into(), &mut bytes);
        let access = self.access.tell(entry.clock());
        Long {
            db,
            key: entry.key().into(),
            number: self.begun,
            progress: self.encoder.begin_long(entry, access, &mut bytes),
            bytes,
            in_pieces: false,
        }
    }

    /// Tells some more of a long entry; whether it was the last.
    fn tell_more(&mut self, long: &mut Long, entry: &EntryRef<'_>) -> bool {
        let before = long.bytes.len();
        let (progress, bytes) = (&mut long.progress, &mut long.bytes);
        let last = self.encoder.go_on(&entry.value(), progress, bytes);
        self.told_bytes += (bytes.len() - before) as u64;
        if last && !long.in_pieces {
            // It was not so long after all: it goes with the others.
            self.buffer.append(bytes);
            self.db = Some(long.db);
        } else if last || bytes.len() >= FULL_BYTES {
            long.in_pieces = true;
            let bytes = std::mem::take(bytes);
            self.go(Part::Piece {
                of: (self.shard, long.number),
                bytes,
                last,
            });
        }
        if last {
            self.told();
        }
        last
    }

    /// An entry is told.
    fn told(&mut self) {
        self.keys += 1;
        let full = match self.buffer.capacity() {
            ..BUFFER_BYTES => SMALL_BYTES,
            _ => FULL_BYTES,
        };
        if self.buffer.len() >= full {
            self.turn_over();
        }
    }

    fn finish(&mut self) {
        assert!(self.lost || self.long.is_empty(), "all was told");
        self.turn_over();
        while !self.full.is_empty() {
            self.wait_for_room();
        }
        self.lost |= self.out.send(Part::End { keys: self.keys }).is_err();
    }
}

/// A string of at least so many bytes, if that is what an entry holds.
fn shared_string(entry: &EntryRef<'_>, least: usize) -> Option<Bytes> {
    match entry.value() {
        Value::Large(string) if string.as_slice().len() >= least => Some(string.share()),
        _ => None,
    }
}

impl Keeper for Teller {
    fn keep(&mut self, db: u16, entry: EntryRef<'_>) {
        if self.lost {
            return;
        }
        if let Some(value) = shared_string(&entry, SHARED_MIN) {
            return self.share(db, &entry, value);
        }
        if self.db != Some(db) {
            put_select(db.into(), &mut self.buffer);
            self.db = Some(db);
        }
        let access = self.access.tell(entry.clock());
        let before = self.buffer.len();
        self.encoder.entry(&entry, access, &mut self.buffer);
        self.told_bytes += (self.buffer.len() - before) as u64;
        self.told();
    }

    fn is_long(&self, entry: &EntryRef<'_>) -> bool {
        is_long(entry) || shared_string(entry, LONG_STRING_MIN).is_some()
    }

    fn keep_part(&mut self, db: u16, entry: EntryRef<'_>) -> bool {
        if self.lost {
            return true;
        }
        if let Some(value) = shared_string(&entry, SHARED_MIN) {
            self.share(db, &entry, value);
            return true;
        }
        let begun = |long: &Long| long.db == db && *long.key == *entry.key();
        let mut long = match self.long.iter().position(begun) {
            Some(at) => self.long.swap_remove(at),
            None => self.begin_long(db, &entry),
        };
        let last = self.tell_more(&mut long, &entry);
        if !last {
            self.long.push(long);
        }
        last
    }

    fn keep_rest(&mut self, db: u16, entry: EntryRef<'_>) {
        self.at_once += u64::from(is_long(&entry));
        while !self.keep_part(db, entry) {}
    }
}

/// A shard's part of a snapshot that is being taken.
#[derive(Debug)]
pub struct Snapshot {
    run: Arc<Run>,
    teller: Rc<RefCell<Teller>>,
    /// Changes since the last save when it began: they are saved by it.
    dirty: u64,
    /// All was told; the file is not finished yet.
    told: bool,
    /// The writing thread has no room before this time, unix milliseconds.
    not_before_ms: u64,
    /// Entries of the next step.
    step: usize,
    /// Whether it has the memory for places that the writing thread lends.
    has_places: bool,
}

impl Shard {
    /// Begins to tell everything as it is now.
    pub fn begin_snapshot(&mut self, run: Arc<Run>) {
        assert!(self.snapshot.is_none(), "one at a time");
        let out = run.parts();
        let expires_inside = self.keyspace.iter().any(|db| db.may_expire_inside());
        let lost = out.send(Part::Begin { expires_inside }).is_err();
        let teller = Teller {
            encoder: Encoder::new(self.config.rdbcompression),
            buffer: Vec::new(),
            db: None,
            full: VecDeque::new(),
            full_bytes: 0,
            run: run.clone(),
            out,
            keys: 0,
            access: AccessOf::of(self),
            lost,
            shard: self.id,
            long: Vec::new(),
            begun: 0,
            told_bytes: 0,
            at_once: 0,
        };
        let teller = Rc::new(RefCell::new(teller));
        for db in 0..self.keyspace.databases() {
            let keeper = teller.clone();
            self.keyspace.db_mut(db).begin_tap(db as u16, keeper);
        }
        self.snapshot = Some(Box::new(Snapshot {
            run,
            teller,
            dirty: self.dirty,
            told: false,
            not_before_ms: 0,
            step: STEP,
            has_places: false,
        }));
        for (db, position) in self.txns.begin_to_tell() {
            self.tell_key_ahead(db, position);
        }
    }

    /// Something has come that claims these: what it will write to and a snapshot takes long to tell is
    /// told next, and whoever comes to it waits until that is done.
    #[inline]
    pub fn tell_ahead(&mut self, claims: &[Claim]) {
        if self
            .snapshot
            .as_ref()
            .is_some_and(|snapshot| !snapshot.told)
        {
            self.tell_claims_ahead(claims);
        }
    }

    #[cold]
    fn tell_claims_ahead(&mut self, claims: &[Claim]) {
        for claim in claims {
            if let Claim::Key {
                db,
                position,
                mode: Mode::Write,
            } = *claim
            {
                self.tell_key_ahead(db, position);
            }
        }
    }

    fn tell_key_ahead(&mut self, db: DbIndex, position: Position) {
        let keys = self.keyspace.db_mut(usize::from(db));
        if keys.tell_ahead(Pos::from_bits(position)) {
            self.txns.stand_aside_from(db, position);
        }
    }

    /// Lets those go on who have waited for what is told by now.
    fn let_writers_go_on(&mut self) {
        let keyspace = &self.keyspace;
        self.aftermath |= self.txns.told(|db, position| {
            let db = keyspace.db(usize::from(db));
            !db.is_told_in_parts(Pos::from_bits(position))
        });
    }

    /// The snapshot that this shard takes part in.
    pub fn snapshot_run(&self) -> Option<Arc<Run>> {
        self.snapshot.as_ref().map(|snapshot| snapshot.run.clone())
    }

    /// Milliseconds until a snapshot has something to do here; None if it has nothing.
    #[inline]
    pub(super) fn snapshot_in_ms(&self) -> Option<u64> {
        let snapshot = self.snapshot.as_ref().filter(|snapshot| !snapshot.told)?;
        Some(snapshot.not_before_ms.saturating_sub(self.now_ms))
    }

    /// A slice of the walk.
    pub(super) fn snapshot_slice(&mut self) {
        /// How soon the writing thread may have made room.
        const ROOM_MS: u64 = 1;
        if self.snapshot_in_ms() != Some(0) {
            return;
        }
        let began = (self.ticks.read)();
        let budget = SLICE_US * self.ticks.per_us;
        loop {
            if !self.snapshot_step() {
                let until = self.now_ms + ROOM_MS;
                if let Some(snapshot) = &mut self.snapshot {
                    snapshot.not_before_ms = until;
                }
                break;
            }
            if (self.ticks.read)().wrapping_sub(began) >= budget {
                break;
            }
        }
        self.let_writers_go_on();
    }

    /// Tells a few entries; false if there is no room for more now.
    fn snapshot_step(&mut self) -> bool {
        let Some(snapshot) = self.snapshot.as_mut().filter(|snapshot| !snapshot.told) else {
            return false;
        };
        // A thread that has failed takes nothing any more, nor what was shared with it.
        let run = &snapshot.run;
        if run.is_cancelled() || run.outcome().is_some() || snapshot.teller.borrow().lost {
            self.end_taps();
            return false;
        }
        let mut teller = snapshot.teller.borrow_mut();
        let has_room = teller.hand_over() && teller.run.shared_bytes() <= SHARED_BYTES_MAX;
        if !has_room || !teller.has_buffer() {
            return false;
        }
        drop(teller);
        let databases = 0..self.keyspace.databases();
        let tapped = databases
            .into_iter()
            .find(|db| self.keyspace.db(*db).is_tapped());
        match tapped {
            Some(db) => {
                if !snapshot.has_places
                    && let Some(places) = snapshot.run.places()
                {
                    snapshot.has_places = true;
                    self.keyspace.db_mut(db).lend_places(places);
                }
                let before = snapshot.teller.borrow().told_bytes;
                self.keyspace.db_mut(db).tap_slice(snapshot.step);
                let bytes = snapshot.teller.borrow().told_bytes - before;
                snapshot.step = if bytes > STEP_BYTES_MAX { 1 } else { STEP };
            }
            None => {
                snapshot.teller.borrow_mut().finish();
                self.end_taps();
            }
        }
        true
    }

    /// Nothing more is told.
    fn end_taps(&mut self) {
        for db in 0..self.keyspace.databases() {
            self.keyspace.db_mut(db).end_tap();
        }
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.told = true;
            let mut teller = snapshot.teller.borrow_mut();
            self.stats.told_at_once += std::mem::take(&mut teller.at_once);
            drop(teller);
            self.aftermath |= self.txns.all_told();
        }
    }

    /// Tells all of it at once (SAVE).
    pub fn finish_snapshot(&mut self) {
        while self
            .snapshot
            .as_ref()
            .is_some_and(|snapshot| !snapshot.told)
        {
            if !self.snapshot_step()
                && let Some(snapshot) = self.snapshot.as_ref().filter(|snapshot| !snapshot.told)
            {
                let mut teller = snapshot.teller.borrow_mut();
                teller.wait_for_room();
                teller.wait_for_strings(SHARED_BYTES_MAX);
                // Or a buffer is what was missing: then it is one of its own.
                if teller.buffer.capacity() < BUFFER_BYTES {
                    let told = teller.buffer.len();
                    teller.buffer.reserve_exact(BUFFER_BYTES - told);
                }
            }
        }
    }

    /// Takes note of a file that is finished.
    pub fn settle_snapshot(&mut self) {
        let Some(saved) = self.snapshot.as_ref().and_then(|s| s.run.outcome()) else {
            return;
        };
        self.end_taps();
        if let Some(snapshot) = self.snapshot.take()
            && saved
        {
            self.dirty = self.dirty.saturating_sub(snapshot.dirty);
        }
    }
}
