//! One face for both forms of a sorted set: how the commands read it and change it.
//!
//! Below the limits `zset-max-listpack-entries` and `zset-max-listpack-value` it is a packed block
//! ([`small`]), otherwise a [`SortedSet`]; conversions happen where Redis makes them. A block that
//! would outgrow its entry becomes a [`SortedSet`] in any case; OBJECT ENCODING then still says what
//! Redis would.

use crate::command::context::Caller;
use crate::command::error::Error;
use crate::keyspace::{EntryMut, EntryRef, Expiry, Hasher, Kind, NewValue, Pos, Value};
use crate::shard::Shard;
use crate::shard::access::EventClass;
use crate::types::packed;
use crate::types::zset::small::{self, Small};
use crate::types::zset::{Element, SortedSet};

/// Up to where a sorted set is a packed block.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Elements.
    pub entries: u64,
    /// Bytes of a member.
    pub value: u64,
}

impl Limits {
    /// As the shard is configured.
    pub fn of(shard: &Shard) -> Self {
        Self {
            entries: shard.config.zset_max_listpack_entries,
            value: shard.config.zset_max_listpack_value,
        }
    }

    fn allow(&self, len: usize, member: &[u8]) -> bool {
        len as u64 <= self.entries && member.len() as u64 <= self.value
    }
}

/// A sorted set, for reading.
#[derive(Clone, Copy, Debug)]
pub enum View<'a> {
    /// A packed block.
    Small(Small<'a>),
    /// Beyond that.
    Large(&'a SortedSet),
}

impl<'a> View<'a> {
    /// The sorted set of an entry; another type is the client's error.
    #[inline]
    pub fn of(entry: EntryRef<'a>) -> Result<Self, Error> {
        match entry.value() {
            Value::Packed(Kind::ZSet, bytes) => Ok(Self::Small(Small::new(bytes))),
            Value::Object(object) => match object.as_any().downcast_ref::<SortedSet>() {
                Some(set) => Ok(Self::Large(set)),
                None => Err(Error::WRONG_TYPE),
            },
            _ => Err(Error::WRONG_TYPE),
        }
    }

    /// Elements.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Self::Small(set) => set.len(),
            Self::Large(set) => set.len(),
        }
    }

    /// The score of a member.
    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            Self::Small(set) => set.find(member).map(|found| found.score),
            Self::Large(set) => set.score(member),
        }
    }

    /// How many elements are in front of a member, and its score.
    #[inline]
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match self {
            Self::Small(set) => {
                let found = set.find(member)?;
                Some((set.rank(&found), found.score))
            }
            Self::Large(set) => {
                let found = set.find(member)?;
                Some((set.rank(&found), found.score))
            }
        }
    }

    /// How many elements have scores of which `before` holds, which holds up to some score only.
    pub fn count_scores(&self, before: impl Fn(f64) -> bool) -> usize {
        match self {
            Self::Small(set) => set.count_scores(before),
            Self::Large(set) => set.count_scores(before),
        }
    }

    /// How many elements have members of which `before` holds, which holds up to some element only.
    pub fn count_members(&self, before: impl Fn(&[u8]) -> bool) -> usize {
        let before = |(_, member): Element<'_>| before(member);
        match self {
            Self::Small(set) => set.count_where(before),
            Self::Large(set) => set.count_where(before),
        }
    }

    /// Shows up to `count` elements from a rank on, upwards or downwards.
    #[inline]
    pub fn visit(
        &self,
        rank: usize,
        count: usize,
        downwards: bool,
        mut visit: impl FnMut(f64, &[u8]),
    ) {
        match self {
            Self::Small(set) => set.visit(rank, count, downwards, |(s, m)| visit(s, m)),
            Self::Large(set) if downwards => {
                let elements = set.descend(rank).take(count);
                elements.for_each(|(s, m)| visit(s, m));
            }
            Self::Large(set) => {
                let elements = set.ascend(rank).take(count);
                elements.for_each(|(s, m)| visit(s, m));
            }
        }
    }

    /// Shows every element, upwards.
    pub fn visit_all(&self, visit: impl FnMut(f64, &[u8])) {
        self.visit(0, usize::MAX, false, visit);
    }
}

/// Reads a key that is to hold a sorted set: None if it is missing; another type is the client's error.
#[inline]
pub fn read<'a>(
    shard: &'a mut Shard,
    caller: Caller,
    pos: Pos,
    key: &[u8],
) -> Result<Option<View<'a>>, Error> {
    shard.read(caller, pos, key).map(View::of).transpose()
}

/// A sorted set of an entry, for writing.
pub struct Editor<'a> {
    entry: EntryMut<'a>,
    limits: Limits,
    hasher: Hasher,
}

impl<'a> Editor<'a> {
    /// The sorted set under a key: None if it is missing; another type is the client's error.
    #[inline]
    pub fn find(
        shard: &'a mut Shard,
        caller: Caller,
        pos: Pos,
        key: &[u8],
    ) -> Result<Option<Self>, Error> {
        let limits = Limits::of(shard);
        let hasher = *shard.keyspace.db(usize::from(caller.db)).hasher();
        let entry = shard.write_kind(caller, pos, key, Kind::ZSet)?;
        Ok(entry.map(|entry| Self {
            entry,
            limits,
            hasher,
        }))
    }

    /// The sorted set under a key; an empty one, which the caller fills, if there is none. `first`
    /// is the member that will be added.
    #[inline]
    pub fn find_or_create(
        shard: &'a mut Shard,
        caller: Caller,
        pos: Pos,
        key: &[u8],
        first: &[u8],
    ) -> Result<Self, Error> {
        let limits = Limits::of(shard);
        let hasher = *shard.keyspace.db(usize::from(caller.db)).hasher();
        let place = match shard.locate(caller.db, pos, key) {
            Some(place) => place,
            None => {
                let value = if limits.allow(1, first) {
                    NewValue::Packed(Kind::ZSet, &packed::EMPTY)
                } else {
                    NewValue::Object(Box::new(SortedSet::new(hasher)))
                };
                shard.store_at(caller, pos, key, None, value, Expiry::Clear);
                let place = shard.locate(caller.db, pos, key);
                place.expect("it was just stored")
            }
        };
        let entry = shard.write_at(caller, place);
        if entry.get().kind() != Kind::ZSet {
            return Err(Error::WRONG_TYPE);
        }
        Ok(Self {
            entry,
            limits,
            hasher,
        })
    }

    /// For reading.
    #[inline]
    pub fn view(&self) -> View<'_> {
        View::of(self.entry.get()).expect("looked at when it was found")
    }

    /// The large form, if it is one.
    #[inline]
    fn large<R>(&mut self, change: impl FnOnce(&mut SortedSet) -> R) -> Option<R> {
        self.entry.edit_object(|object| {
            let set = object.as_any_mut().downcast_mut::<SortedSet>();
            change(set.expect("a sorted set"))
        })
    }

    /// Gives a member the score, if any, that `decide` says, being told the present one, if any;
    /// what it was told.
    #[inline]
    pub fn update(
        &mut self,
        member: &[u8],
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> Option<f64> {
        let limits = self.limits;
        if let Value::Packed(_, bytes) = self.entry.value() {
            let set = Small::new(bytes);
            let found = set.find(member);
            let before = found.map(|found| found.score);
            let Some(score) = decide(before) else {
                return before;
            };
            if before == Some(score) {
                return before;
            }
            let fits =
                set.has_room(member) && (before.is_some() || limits.allow(set.len() + 1, member));
            if fits {
                let mut block = self.entry.edit_packed();
                match found {
                    Some(found) => small::rescore(&mut block, found, (score, member)),
                    None => small::insert(&mut block, (score, member)),
                }
                return before;
            }
            self.convert();
            self.large(|set| set.set(member, score));
            self.name(member);
            return before;
        }
        let updated = self.large(|set| {
            let before = set.update(member, decide);
            if set.is_listpack && !limits.allow(set.len(), member) {
                set.is_listpack = false;
            }
            before
        });
        updated.expect("what is not packed is an object")
    }

    /// Makes a large one of a small one.
    fn convert(&mut self) {
        let mut set = SortedSet::new(self.hasher);
        self.view()
            .visit_all(|score, member| set.insert(member, score));
        self.entry
            .set(NewValue::Object(Box::new(set)), Expiry::Keep);
    }

    /// After a conversion: which name it has now that `member` is in it.
    fn name(&mut self, member: &[u8]) {
        let limits = self.limits;
        self.large(|set| set.is_listpack = limits.allow(set.len(), member));
    }

    /// Removes a member; whether it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        if let Value::Packed(_, bytes) = self.entry.value() {
            let found = Small::new(bytes).find(member);
            if let Some(found) = found {
                small::remove(&mut self.entry.edit_packed(), found);
            }
            return found.is_some();
        }
        self.large(|set| set.remove(member).is_some())
            .expect("what is not packed is an object")
    }

    /// Removes up to `count` elements from a rank on.
    pub fn remove_range(&mut self, rank: usize, count: usize) {
        if self
            .large(|set| set.remove_range(rank, count, |_| ()))
            .is_none()
        {
            small::remove_range(&mut self.entry.edit_packed(), rank, count);
        }
    }
}

/// Elements that become the value of a key (ZRANGESTORE, ZUNIONSTORE ...).
pub struct Builder {
    limits: Limits,
    hasher: Hasher,
    /// In order, as long as they are few and short.
    block: Vec<u8>,
    large: Option<Box<SortedSet>>,
}

impl Builder {
    /// An empty one for a database of a shard, which `len` elements will be added to.
    pub fn new(shard: &Shard, db: u16, len: usize) -> Self {
        let limits = Limits::of(shard);
        let hasher = *shard.keyspace.db(usize::from(db)).hasher();
        let is_large = len as u64 > limits.entries;
        Self {
            limits,
            hasher,
            block: packed::EMPTY.to_vec(),
            large: is_large.then(|| Box::new(SortedSet::new(hasher))),
        }
    }

    /// Elements so far.
    pub fn len(&self) -> usize {
        match &self.large {
            Some(set) => set.len(),
            None => Small::new(&self.block).len(),
        }
    }

    /// Adds a member that is not there, or gives it this score.
    pub fn add(&mut self, member: &[u8], score: f64) {
        if self.large.is_none() {
            let set = Small::new(&self.block);
            let found = set.find(member);
            let len = set.len() + usize::from(found.is_none());
            if self.limits.allow(len, member) && set.has_room(member) {
                match found {
                    Some(found) => small::rescore(&mut self.block, found, (score, member)),
                    None => small::insert(&mut self.block, (score, member)),
                }
                return;
            }
            let mut large = Box::new(SortedSet::new(self.hasher));
            set.visit(0, usize::MAX, false, |(s, m)| large.insert(m, s));
            large.is_listpack = true;
            self.large = Some(large);
        }
        if let Some(set) = &mut self.large {
            set.set(member, score);
            set.is_listpack &= self.limits.allow(set.len(), member);
        }
    }

    /// Makes it the value of a key, whatever was there; without elements the key is removed. Its
    /// length.
    pub fn store(
        self,
        shard: &mut Shard,
        caller: Caller,
        key: &[u8],
        event: &'static str,
    ) -> usize {
        let pos = shard.pos(key);
        let len = self.len();
        if len == 0 {
            if shard.remove(caller, pos, key) {
                shard.changed(caller.db, pos, key, EventClass::Generic, "del");
            }
            return 0;
        }
        let value = match self.large {
            Some(set) => NewValue::Object(set),
            None => NewValue::Packed(Kind::ZSet, &self.block),
        };
        shard.store(caller, pos, key, value, Expiry::Clear);
        shard.changed(caller.db, pos, key, EventClass::SortedSet, event);
        len
    }
}

/// After elements were removed: says so, and removes a key that has none left.
pub fn removed(
    shard: &mut Shard,
    caller: Caller,
    pos: Pos,
    key: &[u8],
    event: &'static str,
    empty: bool,
) {
    shard.changed(caller.db, pos, key, EventClass::SortedSet, event);
    if empty {
        shard.remove(caller, pos, key);
        shard.changed(caller.db, pos, key, EventClass::Generic, "del");
    }
}
