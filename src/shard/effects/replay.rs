//! Running effects: what recovery, and a test that compares, does with units.
//!
//! A shard that replays is not in use otherwise. Its clock stands at 0, so that nothing expires by
//! itself and no time has passed yet; and it records nothing, tells nobody and counts nothing that
//! a client would see.

use smallvec::SmallVec;

use super::slots::{MovedIn, on_databases};

use crate::command::context::{Caller, Ctx, OwnedArgs};
use crate::command::keys::keys_of;
use crate::command::registry::{Registry, Route, RowId};
use crate::command::spec::Run;
use crate::keyspace::{CLOCK_OF_NEW, CURSOR_END, Expiry, NewValue, OwnedEntry, Pos, Slot};
use crate::resp::Version;
use crate::resp::encode::{Output, Reply};
use crate::resp::number::parse_i64;
use crate::shard::Shard;

/// Why a unit cannot be run. Its bytes come from a disk or another process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReplayError {
    /// The bytes at this offset of the payload are no request.
    Malformed(usize),
    /// There is no such command, or it leaves no effects.
    Unknown(String),
    /// It is on a database that is not there; of so many.
    NoDatabase(u16, usize),
    /// The command has failed with this error.
    Failed(String),
}

impl std::fmt::Display for ReplayError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(at) => write!(f, "no request at byte {at} of a unit"),
            Self::Unknown(name) => write!(f, "'{name}' is no effect"),
            Self::NoDatabase(db, databases) => write!(
                f,
                "it has a key in database {db}, and there are {databases} (see `databases`)"
            ),
            Self::Failed(error) => write!(f, "an effect has failed: {error}"),
        }
    }
}

impl std::error::Error for ReplayError {}

/// The arguments of an effect; most have no more than these.
pub type Args<'a> = SmallVec<[&'a [u8]; 6]>;

/// The effects of a payload, one by one; after an error there is nothing more.
pub struct InPayload<'a> {
    payload: &'a [u8],
    at: usize,
}

impl<'a> InPayload<'a> {
    /// Those of a unit.
    pub fn of(payload: &'a [u8]) -> Self {
        Self { payload, at: 0 }
    }

    /// The offset of the next effect.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The number behind `kind`, and its line's end.
    fn number(&mut self, kind: u8) -> Option<usize> {
        let rest = self.payload[self.at..].strip_prefix(&[kind])?;
        let mut number = 0usize;
        for (at, byte) in rest.iter().enumerate() {
            if *byte == b'\r' && at > 0 {
                self.at += at + 3;
                return (rest.get(at + 1) == Some(&b'\n')).then_some(number);
            }
            let digit = byte.is_ascii_digit().then_some(usize::from(byte & 15))?;
            number = number.checked_mul(10)?.checked_add(digit)?;
        }
        None
    }

    fn word(&mut self) -> Option<&'a [u8]> {
        let length = self.number(b'$')?;
        let end = self.at.checked_add(length)?;
        let word = self.payload.get(self.at..end)?;
        (self.payload.get(end..end.checked_add(2)?)? == b"\r\n").then_some(())?;
        self.at = end + 2;
        Some(word)
    }

    /// The key and the value of the next effect, if it stores a string and says nothing more of it.
    /// Most logs consist of little else: such effects need no row, and no command runs for them.
    pub fn next_string(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        const HEAD: &[u8] = b"*3\r\n$3\r\nSET\r\n";
        let before = self.at;
        if !self.payload[before..].starts_with(HEAD) {
            return None;
        }
        self.at += HEAD.len();
        let string = self.word().zip(self.word());
        if string.is_none() {
            self.at = before;
        }
        string
    }

    fn effect(&mut self) -> Option<Args<'a>> {
        let count = self.number(b'*').filter(|count| *count > 0)?;
        (0..count).map(|_| self.word()).collect()
    }
}

impl<'a> Iterator for InPayload<'a> {
    type Item = Result<Args<'a>, ReplayError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.payload.len() {
            return None;
        }
        let at = self.at;
        let effect = self.effect();
        if effect.is_none() {
            self.at = self.payload.len();
        }
        Some(effect.ok_or(ReplayError::Malformed(at)))
    }
}

/// Where an effect is to be run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// At the owner of a slot, by this row.
    Slot(Slot, RowId),
    /// At every shard, as far as keys are concerned that the recording shard owned.
    Database,
    /// Nowhere: the effects that follow are on this database.
    Select(u16),
    /// At the owners of these slots: the recording shard owns them from here on.
    MovedIn(MovedIn),
}

/// The row of an effect: by the name that commands have everywhere, whatever they are called here.
pub fn row_of(registry: &Registry, args: &[&[u8]]) -> Option<RowId> {
    let name = args.first()?;
    let is_it = |id: RowId| {
        let row = registry.row(id);
        row.parent.is_none() && row.spec.name.as_bytes().eq_ignore_ascii_case(name)
    };
    let all = || {
        (0..registry.rows.len() as u16)
            .map(RowId)
            .find(|id| is_it(*id))
    };
    let id = registry.find(name).filter(|id| is_it(*id)).or_else(all)?;
    if registry.row(id).children.is_empty() {
        return Some(id);
    }
    let child = args.get(1)?;
    let mut children = registry.row(id).children.clone().map(RowId);
    children.find(|id| {
        let spec = registry.row(*id).spec;
        spec.name.as_bytes().eq_ignore_ascii_case(child)
    })
}

pub(super) fn unknown(args: &[&[u8]]) -> ReplayError {
    let name = args.first().copied().unwrap_or_default();
    ReplayError::Unknown(String::from_utf8_lossy(name).into_owned())
}

/// Where an effect is to be run.
pub fn target(registry: &Registry, args: &[&[u8]]) -> Result<Target, ReplayError> {
    if let Some(moved) = MovedIn::of(args) {
        return moved.map(Target::MovedIn);
    }
    let (_, args) = on_databases(args)?;
    let id = row_of(registry, args).ok_or_else(|| unknown(args))?;
    let row = registry.row(id);
    if !row.spec.arity_fits(args.len()) {
        return Err(unknown(args));
    }
    match (row.spec.name, row.route) {
        ("select", _) => {
            let number = parse_i64(args[1]).and_then(|number| u16::try_from(number).ok());
            number.map(Target::Select).ok_or_else(|| unknown(args))
        }
        ("flushdb" | "flushall" | "swapdb", _) => Ok(Target::Database),
        (_, Route::OneKey(at)) => Ok(Target::Slot(Slot::of(args[usize::from(at)]), id)),
        (_, Route::ManyKeys) => {
            let mut keys = Vec::new();
            keys_of(row.spec, args, &mut keys);
            let first = keys.first().ok_or_else(|| unknown(args))?;
            Ok(Target::Slot(Slot::of(args[first.index]), id))
        }
        _ => Err(unknown(args)),
    }
}

/// An effect that is about to be run.
pub struct Ready<'a> {
    db: u16,
    /// Its key's, if it has exactly one.
    pos: Option<Pos>,
    what: What<'a>,
}

enum What<'a> {
    /// See [`InPayload::next_string`].
    String(&'a [u8], &'a [u8]),
    Command(RowId, Args<'a>),
}

impl Ready<'_> {
    /// Fetches its entry, a while after [`Shard::ready`].
    pub fn prefetch_entry(&self, shard: &Shard) {
        if let Some(pos) = self.pos {
            shard.keyspace.db(usize::from(self.db)).prefetch_entry(pos);
        }
    }
}

impl Shard {
    /// Looks at an effect of this row, on keys of this shard and in a database that exists, and begins
    /// to fetch what it needs.
    ///
    /// `slot` says the slot of a key, which may be known.
    pub fn ready<'a>(
        &self,
        db: u16,
        row: RowId,
        slot: impl FnOnce(&[u8]) -> Slot,
        args: Args<'a>,
    ) -> Result<Ready<'a>, ReplayError> {
        let (spec, route) = {
            let row = self.registry.row(row);
            (row.spec, row.route)
        };
        if !spec.arity_fits(args.len()) {
            return Err(unknown(&args));
        }
        self.has_database(db)?;
        let pos = match route {
            Route::OneKey(at) => {
                let key = args[usize::from(at)];
                Some(self.keyspace.hasher().pos_in(slot(key), key))
            }
            _ => None,
        };
        if let Some(pos) = pos {
            self.keyspace.db(usize::from(db)).prefetch_room(pos);
        }
        let what = What::Command(row, args);
        Ok(Ready { db, pos, what })
    }

    /// The same for one that stores a [string](InPayload::next_string) under a key of this slot.
    pub fn ready_string<'a>(
        &self,
        db: u16,
        slot: Slot,
        key: &'a [u8],
        value: &'a [u8],
    ) -> Result<Ready<'a>, ReplayError> {
        self.has_database(db)?;
        let pos = self.keyspace.hasher().pos_in(slot, key);
        self.keyspace.db(usize::from(db)).prefetch_room(pos);
        let (pos, what) = (Some(pos), What::String(key, value));
        Ok(Ready { db, pos, what })
    }

    fn has_database(&self, db: u16) -> Result<(), ReplayError> {
        let databases = self.keyspace.databases();
        match usize::from(db) < databases {
            true => Ok(()),
            false => Err(ReplayError::NoDatabase(db, databases)),
        }
    }

    /// Runs an effect on keys of this shard, in a database that exists.
    pub fn replay(&mut self, db: u16, args: &[&[u8]]) -> Result<(), ReplayError> {
        let row = row_of(&self.registry, args).ok_or_else(|| unknown(args))?;
        let ready = self.ready(db, row, Slot::of, args.into())?;
        self.replay_ready(&ready, &mut Output::default())
    }

    /// Runs an effect. Its reply is of no use; `out` is memory for it.
    pub fn replay_ready(
        &mut self,
        effect: &Ready<'_>,
        out: &mut Output,
    ) -> Result<(), ReplayError> {
        let (db, pos) = (effect.db, effect.pos);
        let (row, args) = match &effect.what {
            What::String(key, value) => {
                let clock = self.access_clock() & !CLOCK_OF_NEW;
                let pos = pos.expect("it has a key");
                let value = NewValue::string(value);
                let db = self.keyspace.db_mut(usize::from(db));
                db.set(pos, key, value, Expiry::Clear, clock);
                return Ok(());
            }
            What::Command(row, args) => (*row, &args[..]),
        };
        let spec = self.registry.row(row).spec;
        let Run::Keyed(function) = spec.run else {
            return Err(unknown(args));
        };
        let now = (self.now_ms, self.now_us, self.dirty);
        (self.now_ms, self.now_us) = (0, 0);
        self.replaying_at_ms = Some(now.0);
        let home = self.id;
        let recorded = std::mem::replace(&mut self.effects.on, false);
        out.clear();
        let outcome = function(&mut Ctx {
            shard: self,
            args,
            reply: Reply::new(out, Version::Resp2),
            caller: Caller {
                client: 0,
                db,
                flags: 0,
                home,
            },
            pos: pos.unwrap_or_default(),
            row,
            large: OwnedArgs {
                first: 0,
                owned: &mut Vec::new(),
            },
        });
        self.effects.on = recorded;
        self.replaying_at_ms = None;
        (self.now_ms, self.now_us, self.dirty) = now;
        self.touch_replayed(row, db, pos, args);
        outcome.map_err(|error| {
            ReplayError::Failed(String::from_utf8_lossy(error.text()).into_owned())
        })
    }

    /// The keys of an effect were accessed now, and not at the time 0 at which it ran.
    fn touch_replayed(&mut self, row: RowId, db: u16, pos: Option<Pos>, args: &[&[u8]]) {
        let clock = self.access_clock() & !CLOCK_OF_NEW;
        let hasher = *self.keyspace.hasher();
        let db = self.keyspace.db_mut(usize::from(db));
        let mut touch = |pos, key: &[u8]| {
            if let Some(mut entry) = db.lookup_mut(pos, key, 0).live() {
                entry.touch(clock);
            }
        };
        let row = self.registry.row(row);
        if let (Some(pos), Route::OneKey(at)) = (pos, row.route) {
            return touch(pos, args[usize::from(at)]);
        }
        let mut keys = Vec::new();
        keys_of(row.spec, args, &mut keys);
        for at in keys {
            let key = args[at.index];
            touch(hasher.pos(key), key);
        }
    }

    /// Runs an effect on whole databases, as far as keys are concerned whose slot `owned` by the
    /// recording shard says; if the effect names slots, those in them.
    pub fn replay_databases(
        &mut self,
        db: u16,
        args: &[&[u8]],
        owned: impl Fn(Slot, Option<&[(usize, usize)]>) -> bool,
    ) -> Result<(), ReplayError> {
        let (then, args) = on_databases(args)?;
        let owned = |slot: Slot| owned(slot, then.as_deref());
        let number = |at: usize| {
            let number = args.get(at).and_then(|text| parse_i64(text));
            let number = number.and_then(|number| u16::try_from(number).ok());
            let number = number.ok_or_else(|| unknown(args))?;
            self.has_database(number).map(|()| number)
        };
        let name = args.first().copied().unwrap_or_default();
        if name.eq_ignore_ascii_case(b"swapdb") {
            let (a, b) = (number(1)?, number(2)?);
            let (from_a, from_b) = (self.take_owned(a, &owned), self.take_owned(b, &owned));
            self.attach_all(b, from_a);
            self.attach_all(a, from_b);
        } else if name.eq_ignore_ascii_case(b"flushall") {
            for db in 0..self.keyspace.databases() {
                drop(self.take_owned(db as u16, &owned));
            }
        } else if name.eq_ignore_ascii_case(b"flushdb") {
            self.has_database(db)?;
            drop(self.take_owned(db, &owned));
        } else {
            return Err(unknown(args));
        }
        Ok(())
    }

    /// Takes the entries of some slots of a database out of it.
    fn take_owned(&mut self, db: u16, owned: &impl Fn(Slot) -> bool) -> Vec<(Pos, OwnedEntry)> {
        let db = self.keyspace.db_mut(usize::from(db));
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        db.scan(0, CURSOR_END, usize::MAX, 0, |entry| {
            if owned(Slot::of(entry.key())) {
                keys.push(entry.key().into());
            }
        });
        let take = |key: Box<[u8]>| {
            let pos = db.hasher().pos(&key);
            Some((pos, db.take(pos, &key)?))
        };
        keys.into_iter().filter_map(take).collect()
    }

    fn attach_all(&mut self, db: u16, entries: Vec<(Pos, OwnedEntry)>) {
        let db = self.keyspace.db_mut(usize::from(db));
        entries
            .into_iter()
            .for_each(|(pos, entry)| db.attach(pos, entry));
    }
}
