//! What Redis would answer: a few databases of strings with expiries, and who watches what.
//!
//! The model is given what was answered and says whether it could be the answer in its state. Most
//! answers can be only one; those that depend on an order or on chance (KEYS, RANDOMKEY, SCAN) are
//! compared with all that they could be.

use rustc_hash::FxHashMap;

/// What values are made of: symbols of one weight, so that no bitwise OR of two different values
/// looks like a third.
const SYMBOLS: [u8; 20] = *b"GKMNSUVYZ\\cefijlqrtx";
/// Symbols of a value that is written; APPEND makes longer ones of several.
pub(crate) const TOKEN: usize = 3;

/// The value of a number that no other has.
pub(crate) fn token(number: usize) -> [u8; TOKEN] {
    let base = SYMBOLS.len();
    assert!(number < base.pow(TOKEN as u32), "a run writes no more");
    let digit = |weight: usize| SYMBOLS[number / weight % base];
    [digit(base * base), digit(base), digit(1)]
}

/// Whether a value is made of tokens and nothing else: then each of them was written once.
pub(crate) fn is_of_tokens(value: &[u8]) -> bool {
    value.len().is_multiple_of(TOKEN) && value.iter().all(|byte| SYMBOLS.contains(byte))
}

/// A key's number.
pub(crate) type Key = u8;
/// A value's number in the [`Values`].
pub(crate) type ValueId = u32;

/// Values by number, so that a state is small and quickly compared.
pub(crate) struct Values {
    all: Vec<Vec<u8>>,
    numbers: FxHashMap<Vec<u8>, ValueId>,
}

impl Values {
    /// Number 0 is "no value".
    pub(crate) fn new() -> Self {
        Self {
            all: vec![Vec::new()],
            numbers: FxHashMap::default(),
        }
    }

    pub(crate) fn number(&mut self, value: Vec<u8>) -> ValueId {
        if let Some(number) = self.numbers.get(&value) {
            return *number;
        }
        let number = self.all.len() as ValueId;
        self.all.push(value.clone());
        self.numbers.insert(value, number);
        number
    }

    fn bytes(&self, number: ValueId) -> &[u8] {
        &self.all[number as usize]
    }
}

/// What a client was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Simple(String),
    Error(String),
    Number(i64),
    Bulk(Vec<u8>),
    Null,
    NullArray,
    Array(Vec<Answer>),
}

/// What SET is told besides key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetHow {
    Plain,
    IfAbsent,
    IfPresentGet,
    ExpireAt(u64),
    KeepTtl,
}

/// A command on keys of the selected database.
#[derive(Clone, Debug)]
pub(crate) enum Cmd {
    Get(Key),
    Set(Key, Vec<u8>, SetHow),
    Append(Key, Vec<u8>),
    Incr(Key),
    GetDel(Key),
    StrLen(Key),
    Exists(Vec<Key>),
    Touch(Vec<Key>),
    Del(Vec<Key>),
    Unlink(Vec<Key>),
    MGet(Vec<Key>),
    MSet(Vec<(Key, Vec<u8>)>),
    MSetNx(Vec<(Key, Vec<u8>)>),
    Rename(Key, Key),
    RenameNx(Key, Key),
    /// From, to, to which database, whether it may overwrite.
    Copy(Key, Key, u8, bool),
    Move(Key, u8),
    /// BITOP OR of two keys into the first.
    Or(Key, Key, Key),
    PExpireAt(Key, u64),
    Persist(Key),
    PExpireTime(Key),
    DbSize,
    Keys,
    RandomKey,
    /// SCAN from the beginning.
    Scan,
    FlushDb,
    FlushAll,
    SwapDb(u8, u8),
    /// SELECT, inside of a block.
    Select,
}

/// A command and the database that was selected when it ran.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) db: u8,
    pub(crate) cmd: Cmd,
}

/// What a client asks for as a whole.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    One(Step),
    /// MULTI ... EXEC.
    Block(Vec<Step>),
    /// WATCH, with its database.
    Watch(u8, Vec<Key>),
    /// What ends watches and does no more: UNWATCH, DISCARD, RESET, a refused EXEC.
    EndWatches,
    /// RINGDOVE SLOTS MOVE of the key's slot to another shard than its own: whoever watches the key
    /// finds it changed.
    MoveSlot(Key),
}

/// A key's value and expiry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
struct Entry {
    value: ValueId,
    /// Unix time, milliseconds; 0: none.
    expires_ms: u64,
}

impl Entry {
    fn is_there(self) -> bool {
        self.value != 0
    }
}

/// A number for the watches of one connection that end together: WATCH registers under it, and
/// the EXEC or UNWATCH that comes next looks at these and at no others.
pub(crate) type Guard = u32;

/// That a key is watched.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
struct WatchOf {
    guard: Guard,
    place: u8,
    changed: bool,
}

/// Everything that a command can see.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct State {
    keys: u8,
    /// By database and key.
    entries: Vec<Entry>,
    /// Sorted.
    watches: Vec<WatchOf>,
}

pub(crate) fn key_name(key: Key) -> String {
    format!("k{key}")
}

impl State {
    pub(crate) fn empty(databases: u8, keys: u8) -> Self {
        Self {
            keys,
            entries: vec![Entry::default(); usize::from(databases) * usize::from(keys)],
            watches: Vec::new(),
        }
    }

    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.keys = other.keys;
        self.entries.clone_from(&other.entries);
        self.watches.clone_from(&other.watches);
    }

    /// Whether some key has a value.
    pub(crate) fn holds(&self, value: ValueId) -> bool {
        self.entries.iter().any(|entry| entry.value == value)
    }

    fn place(&self, db: u8, key: Key) -> usize {
        usize::from(db) * usize::from(self.keys) + usize::from(key)
    }

    fn of_db(&self, db: u8) -> std::ops::Range<usize> {
        let first = self.place(db, 0);
        first..first + usize::from(self.keys)
    }

    fn live(&self, db: u8) -> usize {
        let there = self.entries[self.of_db(db)].iter();
        there.filter(|e| e.is_there()).count()
    }

    fn touch(&mut self, place: usize) {
        for watch in &mut self.watches {
            watch.changed |= usize::from(watch.place) == place;
        }
    }

    fn put(&mut self, place: usize, entry: Entry) {
        self.entries[place] = entry;
        self.touch(place);
    }

    fn remove(&mut self, place: usize) -> Entry {
        let entry = std::mem::take(&mut self.entries[place]);
        if entry.is_there() {
            self.touch(place);
        }
        entry
    }

    /// What has expired by `now_ms` is gone.
    fn expire_until(&mut self, now_ms: u64) {
        for place in 0..self.entries.len() {
            let at = self.entries[place].expires_ms;
            if at > 0 && at < now_ms {
                self.remove(place);
            }
        }
    }

    /// The states that follow when one key expires that may have by `now_ms`.
    pub(crate) fn expiries(&self, now_ms: u64) -> Vec<State> {
        let due = |place: &usize| {
            let at = self.entries[*place].expires_ms;
            at > 0 && at <= now_ms
        };
        let expired = |place: usize| {
            let mut next = self.clone();
            next.remove(place);
            next
        };
        (0..self.entries.len()).filter(due).map(expired).collect()
    }

    /// Does what a connection asked for, at a time of the clock. Whether the answer, if it is
    /// known, is right.
    pub(crate) fn apply(
        &mut self,
        guard: Guard,
        op: &Op,
        answer: Option<&Answer>,
        now_ms: u64,
        values: &mut Values,
    ) -> bool {
        self.expire_until(now_ms);
        match op {
            Op::One(step) => self.step(step, answer, values),
            Op::Block(steps) => self.block(guard, steps, answer, now_ms, values),
            Op::Watch(db, keys) => {
                for key in keys {
                    let place = self.place(*db, *key) as u8;
                    let watches = |w: &WatchOf| w.guard == guard && w.place == place;
                    if !self.watches.iter().any(watches) {
                        self.watches.push(WatchOf {
                            guard,
                            place,
                            changed: false,
                        });
                    }
                }
                self.watches.sort_unstable();
                true
            }
            Op::EndWatches => {
                self.unwatch(guard);
                true
            }
            Op::MoveSlot(key) => {
                let databases = self.entries.len() / usize::from(self.keys);
                (0..databases).for_each(|db| self.touch(self.place(db as u8, *key)));
                true
            }
        }
    }

    fn unwatch(&mut self, guard: Guard) -> bool {
        let own = |w: &WatchOf| w.guard == guard;
        let changed = self.watches.iter().any(|w| own(w) && w.changed);
        self.watches.retain(|w| !own(w));
        changed
    }

    fn block(
        &mut self,
        guard: Guard,
        steps: &[Step],
        answer: Option<&Answer>,
        now_ms: u64,
        values: &mut Values,
    ) -> bool {
        if self.unwatch(guard) {
            return answer.is_none_or(|a| *a == Answer::NullArray);
        }
        let answers = match answer {
            None => None,
            Some(Answer::Array(answers)) if answers.len() == steps.len() => Some(answers),
            Some(_) => return false,
        };
        steps.iter().enumerate().all(|(at, step)| {
            let answer = answers.map(|answers| &answers[at]);
            self.expire_until(now_ms);
            self.step(step, answer, values)
        })
    }

    fn step(&mut self, step: &Step, answer: Option<&Answer>, values: &mut Values) -> bool {
        let db = step.db;
        let is = |want: Answer| answer.is_none_or(|a| *a == want);
        let number = |n: usize| is(Answer::Number(n as i64));
        let bulk = |values: &Values, entry: Entry| match entry.is_there() {
            true => Answer::Bulk(values.bytes(entry.value).to_vec()),
            false => Answer::Null,
        };
        let ok = || is(Answer::Simple("OK".into()));
        match &step.cmd {
            Cmd::Get(key) => is(bulk(values, self.entries[self.place(db, *key)])),
            Cmd::Set(key, value, how) => {
                let place = self.place(db, *key);
                let old = self.entries[place];
                let refused = match how {
                    SetHow::IfAbsent => old.is_there(),
                    SetHow::IfPresentGet => !old.is_there(),
                    _ => false,
                };
                if !refused {
                    let expires_ms = match how {
                        SetHow::ExpireAt(at) => *at,
                        SetHow::KeepTtl => old.expires_ms,
                        _ => 0,
                    };
                    let value = values.number(value.clone());
                    self.put(place, Entry { value, expires_ms });
                }
                match how {
                    SetHow::IfPresentGet => is(bulk(values, old)),
                    _ if refused => is(Answer::Null),
                    _ => ok(),
                }
            }
            Cmd::Append(key, more) => {
                let place = self.place(db, *key);
                let old = self.entries[place];
                let mut bytes = values.bytes(old.value).to_vec();
                bytes.extend_from_slice(more);
                let length = bytes.len();
                let value = values.number(bytes);
                self.put(place, Entry { value, ..old });
                number(length)
            }
            Cmd::Incr(key) => {
                let place = self.place(db, *key);
                let old = self.entries[place];
                let text = std::str::from_utf8(values.bytes(old.value)).unwrap_or("x");
                let before = if old.is_there() { text } else { "0" };
                match before.parse::<i64>() {
                    Ok(n) => {
                        let value = values.number((n + 1).to_string().into_bytes());
                        self.put(place, Entry { value, ..old });
                        is(Answer::Number(n + 1))
                    }
                    Err(_) => {
                        let text = "ERR value is not an integer or out of range";
                        is(Answer::Error(text.into()))
                    }
                }
            }
            Cmd::GetDel(key) => {
                let old = self.remove(self.place(db, *key));
                is(bulk(values, old))
            }
            Cmd::StrLen(key) => {
                let entry = self.entries[self.place(db, *key)];
                number(values.bytes(entry.value).len())
            }
            Cmd::Exists(keys) | Cmd::Touch(keys) => {
                let there = |key: &&Key| self.entries[self.place(db, **key)].is_there();
                number(keys.iter().filter(there).count())
            }
            Cmd::Del(keys) | Cmd::Unlink(keys) => {
                let mut gone = 0;
                for key in keys {
                    gone += usize::from(self.remove(self.place(db, *key)).is_there());
                }
                number(gone)
            }
            Cmd::MGet(keys) => {
                let entry = |key: &Key| bulk(values, self.entries[self.place(db, *key)]);
                is(Answer::Array(keys.iter().map(entry).collect()))
            }
            Cmd::MSet(pairs) => {
                self.set_all(db, pairs, values);
                ok()
            }
            Cmd::MSetNx(pairs) => {
                let there = |key: Key| self.entries[self.place(db, key)].is_there();
                let refused = pairs.iter().any(|(key, _)| there(*key));
                if !refused {
                    self.set_all(db, pairs, values);
                }
                number(usize::from(!refused))
            }
            Cmd::Rename(from, to) => match self.rename(db, *from, *to, true) {
                Some(_) => ok(),
                None => is(Answer::Error("ERR no such key".into())),
            },
            Cmd::RenameNx(from, to) => match self.rename(db, *from, *to, false) {
                Some(done) => number(usize::from(done)),
                None => is(Answer::Error("ERR no such key".into())),
            },
            Cmd::Copy(from, to, to_db, replace) => {
                let entry = self.entries[self.place(db, *from)];
                let to = self.place(*to_db, *to);
                let done = entry.is_there() && (*replace || !self.entries[to].is_there());
                if done {
                    self.put(to, entry);
                }
                number(usize::from(done))
            }
            Cmd::Move(key, to_db) => {
                let (from, to) = (self.place(db, *key), self.place(*to_db, *key));
                let done = self.entries[from].is_there() && !self.entries[to].is_there();
                if done {
                    let entry = self.remove(from);
                    self.put(to, entry);
                }
                number(usize::from(done))
            }
            Cmd::Or(to, one, other) => {
                let bytes = |key: Key| values.bytes(self.entries[self.place(db, key)].value);
                let (one, other) = (bytes(*one), bytes(*other));
                let or = |at: usize| {
                    one.get(at).copied().unwrap_or(0) | other.get(at).copied().unwrap_or(0)
                };
                let length = one.len().max(other.len());
                let result: Vec<u8> = (0..length).map(or).collect();
                let place = self.place(db, *to);
                if length == 0 {
                    self.remove(place);
                } else {
                    let value = values.number(result);
                    let expires_ms = 0;
                    self.put(place, Entry { value, expires_ms });
                }
                number(length)
            }
            Cmd::PExpireAt(key, at) => {
                let place = self.place(db, *key);
                let entry = self.entries[place];
                if entry.is_there() {
                    let expires_ms = *at;
                    self.put(
                        place,
                        Entry {
                            expires_ms,
                            ..entry
                        },
                    );
                }
                number(usize::from(entry.is_there()))
            }
            Cmd::Persist(key) => {
                let place = self.place(db, *key);
                let entry = self.entries[place];
                let done = entry.is_there() && entry.expires_ms > 0;
                if done {
                    let expires_ms = 0;
                    self.put(
                        place,
                        Entry {
                            expires_ms,
                            ..entry
                        },
                    );
                }
                number(usize::from(done))
            }
            Cmd::PExpireTime(key) => {
                let entry = self.entries[self.place(db, *key)];
                is(Answer::Number(match (entry.is_there(), entry.expires_ms) {
                    (false, _) => -2,
                    (true, 0) => -1,
                    (true, at) => at as i64,
                }))
            }
            // Counts what has expired and is still there, too.
            Cmd::DbSize => match answer {
                Some(Answer::Number(n)) => *n >= self.live(db) as i64,
                other => other.is_none(),
            },
            Cmd::Keys => match answer {
                Some(Answer::Array(names)) => {
                    names.len() == self.live(db) && self.are_live(db, names)
                }
                other => other.is_none(),
            },
            // With many expired keys Redis may find none.
            Cmd::RandomKey => match answer {
                Some(name @ Answer::Bulk(_)) => self.are_live(db, std::slice::from_ref(name)),
                Some(Answer::Null) => self.live(db) == 0 || self.expiries(u64::MAX).len() > 1,
                other => other.is_none(),
            },
            Cmd::Scan => match answer {
                Some(Answer::Array(parts)) => {
                    matches!(&parts[..], [Answer::Bulk(_), Answer::Array(names)]
                        if self.are_live(db, names))
                }
                other => other.is_none(),
            },
            Cmd::FlushDb => {
                self.of_db(db).for_each(|place| _ = self.remove(place));
                ok()
            }
            Cmd::FlushAll => {
                (0..self.entries.len()).for_each(|place| _ = self.remove(place));
                ok()
            }
            Cmd::SwapDb(one, other) => {
                for key in 0..self.keys {
                    let (a, b) = (self.place(*one, key), self.place(*other, key));
                    if a != b && (self.entries[a].is_there() || self.entries[b].is_there()) {
                        self.entries.swap(a, b);
                        self.touch(a);
                        self.touch(b);
                    }
                }
                ok()
            }
            Cmd::Select => ok(),
        }
    }

    fn set_all(&mut self, db: u8, pairs: &[(Key, Vec<u8>)], values: &mut Values) {
        for (key, value) in pairs {
            let value = values.number(value.clone());
            let expires_ms = 0;
            self.put(self.place(db, *key), Entry { value, expires_ms });
        }
    }

    /// None: the key is not there. Otherwise whether it was renamed.
    fn rename(&mut self, db: u8, from: Key, to: Key, overwrite: bool) -> Option<bool> {
        let (from, to) = (self.place(db, from), self.place(db, to));
        if !self.entries[from].is_there() {
            return None;
        }
        if from == to || (!overwrite && self.entries[to].is_there()) {
            return Some(from == to && overwrite);
        }
        let entry = self.remove(from);
        self.put(to, entry);
        Some(true)
    }

    /// Whether these are names of keys of the database, each once.
    fn are_live(&self, db: u8, names: &[Answer]) -> bool {
        let mut seen = 0u64;
        names.iter().all(|name| {
            let Answer::Bulk(name) = name else {
                return false;
            };
            let number = std::str::from_utf8(&name[1..]).ok();
            let Some(key) = number.and_then(|n| n.parse::<Key>().ok()) else {
                return false;
            };
            let first = seen & (1 << key) == 0;
            seen |= 1 << key;
            first && key < self.keys && self.entries[self.place(db, key)].is_there()
        })
    }
}

impl Op {
    /// The values that it writes.
    pub(crate) fn written(&self) -> Vec<&[u8]> {
        let steps = match self {
            Self::One(step) => std::slice::from_ref(step),
            Self::Block(steps) => steps,
            Self::Watch(..) | Self::EndWatches | Self::MoveSlot(_) => &[],
        };
        let mut written: Vec<&[u8]> = Vec::new();
        for step in steps {
            match &step.cmd {
                Cmd::Set(_, value, _) | Cmd::Append(_, value) => written.push(value),
                Cmd::MSet(pairs) | Cmd::MSetNx(pairs) => {
                    written.extend(pairs.iter().map(|(_, value)| &value[..]));
                }
                _ => {}
            }
        }
        written
    }

    /// The expiries that a block sets, which may have passed before its next command.
    pub(crate) fn expiries_within(&self) -> Vec<u64> {
        let Self::Block(steps) = self else {
            return Vec::new();
        };
        let set = |step: &Step| match step.cmd {
            Cmd::Set(_, _, SetHow::ExpireAt(at)) | Cmd::PExpireAt(_, at) => Some(at),
            _ => None,
        };
        steps.iter().filter_map(set).collect()
    }

    /// Whether it ends the watches of its connection.
    pub(crate) fn ends_watches(&self) -> bool {
        matches!(self, Self::Block(_) | Self::EndWatches)
    }

    /// Whether it changes no key in whatever state it is answered like this.
    pub(crate) fn changes_nothing(&self, answer: Option<&Answer>) -> bool {
        match self {
            Self::One(step) => step.changes_nothing(answer),
            Self::Block(steps) => match answer {
                Some(Answer::NullArray) => true,
                Some(Answer::Array(answers)) => {
                    let mut pairs = steps.iter().zip(answers);
                    pairs.all(|(step, answer)| step.changes_nothing(Some(answer)))
                }
                _ => steps.iter().all(|step| step.changes_nothing(None)),
            },
            Self::Watch(..) | Self::EndWatches => true,
            // What it does to watches may have to come late.
            Self::MoveSlot(_) => false,
        }
    }
}

impl Step {
    fn changes_nothing(&self, answer: Option<&Answer>) -> bool {
        match &self.cmd {
            Cmd::Get(_)
            | Cmd::StrLen(_)
            | Cmd::PExpireTime(_)
            | Cmd::Exists(_)
            | Cmd::Touch(_)
            | Cmd::MGet(_)
            | Cmd::DbSize
            | Cmd::Keys
            | Cmd::RandomKey
            | Cmd::Scan
            | Cmd::Select => true,
            Cmd::Append(..)
            | Cmd::MSet(_)
            | Cmd::Or(..)
            | Cmd::FlushDb
            | Cmd::FlushAll
            | Cmd::SwapDb(..) => false,
            Cmd::Rename(from, to) if from == to => true,
            _ => matches!(
                answer,
                Some(Answer::Number(0) | Answer::Null | Answer::Error(_))
            ),
        }
    }
}

/// Which places an op reads and which it may write, one bit for each, and what it has to do with
/// its connection's watches.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Reach {
    reads: u64,
    writes: u64,
    /// WATCH.
    watches: bool,
    /// EXEC, UNWATCH and the like.
    ends_watches: bool,
    guard: Guard,
}

impl Reach {
    pub(crate) fn of(op: &Op, guard: Guard, databases: u8, keys: u8) -> Self {
        assert!(
            u32::from(databases) * u32::from(keys) <= 64,
            "a bit for each"
        );
        let mut reach = Self {
            ends_watches: op.ends_watches(),
            guard,
            ..Self::default()
        };
        match op {
            Op::One(step) => reach.add(step, databases, keys),
            Op::Block(steps) => steps.iter().for_each(|s| reach.add(s, databases, keys)),
            Op::Watch(db, watched) => {
                reach.watches = true;
                let bits = watched.iter().map(|key| bit(*db, *key, keys));
                reach.reads = bits.fold(0, |all, bit| all | bit);
            }
            Op::EndWatches | Op::MoveSlot(_) => {}
        }
        reach
    }

    fn add(&mut self, step: &Step, databases: u8, keys: u8) {
        let db = step.db;
        let one = |key: &Key| bit(db, *key, keys);
        let many = |list: &[Key]| list.iter().fold(0, |all, key| all | one(key));
        let pairs = |list: &[(Key, Vec<u8>)]| list.iter().fold(0, |all, (key, _)| all | one(key));
        let whole = |db: u8| (0..keys).fold(0, |all, key| all | bit(db, key, keys));
        let (reads, writes) = match &step.cmd {
            Cmd::Get(key) | Cmd::StrLen(key) | Cmd::PExpireTime(key) => (one(key), 0),
            Cmd::Set(key, ..)
            | Cmd::Append(key, _)
            | Cmd::Incr(key)
            | Cmd::GetDel(key)
            | Cmd::PExpireAt(key, _)
            | Cmd::Persist(key) => (0, one(key)),
            Cmd::Exists(list) | Cmd::Touch(list) | Cmd::MGet(list) => (many(list), 0),
            Cmd::Del(list) | Cmd::Unlink(list) => (0, many(list)),
            Cmd::MSet(list) | Cmd::MSetNx(list) => (0, pairs(list)),
            Cmd::Rename(from, to) | Cmd::RenameNx(from, to) => (0, one(from) | one(to)),
            Cmd::Copy(from, to, to_db, _) => (one(from), bit(*to_db, *to, keys)),
            Cmd::Move(key, to_db) => (0, one(key) | bit(*to_db, *key, keys)),
            Cmd::Or(to, a, b) => (one(a) | one(b), one(to)),
            Cmd::DbSize | Cmd::Keys | Cmd::RandomKey => (whole(db), 0),
            // It looks at one shard, and which keys are there is the server's affair.
            Cmd::Scan => (0, 0),
            Cmd::FlushDb => (0, whole(db)),
            Cmd::FlushAll => (0, (0..databases).fold(0, |all, db| all | whole(db))),
            Cmd::SwapDb(a, b) if a == b => (0, 0),
            Cmd::SwapDb(a, b) => (0, whole(*a) | whole(*b)),
            Cmd::Select => (0, 0),
        };
        self.reads |= reads;
        self.writes |= writes;
    }

    /// Whether of two ops of one connection the one sent first comes first. Of two that only read
    /// either may: DESIGN lets reads between writes run side by side, and a block that only reads
    /// is a read.
    pub(crate) fn keeps_order_with(&self, later: &Self) -> bool {
        let (mine, its) = (self.reads | self.writes, later.reads | later.writes);
        let both_write = self.writes != 0 && later.writes != 0;
        let meet = self.writes & its != 0 || mine & later.writes != 0;
        // A read behind a WATCH of the same key sees what is watched, while it is. One in front of it
        // may see a change that the watch sees, too.
        let of_one_watch = self.watches && self.guard == later.guard;
        let looks = of_one_watch && mine & its != 0;
        let ends = of_one_watch && later.ends_watches;
        both_write || meet || looks || ends
    }
}

fn bit(db: u8, key: Key, keys: u8) -> u64 {
    1 << (u32::from(db) * u32::from(keys) + u32::from(key))
}
