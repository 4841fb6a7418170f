//! Clients that wait for a key of this shard to have something for them (BLPOP, XREAD BLOCK ...).
//!
//! A blocking command is tried like any other; one that finds nothing leaves a [`Wait`] behind, and
//! the client becomes a [`Waiter`] at every shard that owns one of the keys, before anybody else can
//! change them. Whatever changes such a key makes it ready, and when the command that changed it is
//! done its waiters are tried again, in the order in which they began to wait.
//!
//! A client may wait at several shards, and its home ends the wait when its time is over. Who serves
//! it decides the [`Token`]: whoever takes it first does.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::Shard;
use super::lending::OwnedCommand;
use crate::keyspace::Kind;
use crate::net::batch::RemoteCall;
use crate::txn::{DbIndex, Position};

/// The reply of a command that finds nothing and may not wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nothing {
    /// A missing value.
    Null,
    /// A missing array.
    NullArray,
}

/// What a command that has found nothing waits for.
#[derive(Clone, Debug)]
pub struct Wait {
    /// Unix time at which it gives up, milliseconds; None: never.
    pub until_ms: Option<u64>,
    /// Unix time at which it is tried again though nothing has changed, milliseconds (XREADGROUP's
    /// CLAIM: what is pending gets old enough).
    pub again_ms: Option<u64>,
    /// The arguments that are the keys it waits for.
    pub keys: SmallVec<[u32; 4]>,
    /// What they must hold.
    pub kind: Kind,
    /// The argument that is a key it writes to besides.
    pub destination: Option<u32>,
    /// Whether it is tried again also when the key is gone or holds another type, to find its error
    /// (XREADGROUP).
    pub even_if_gone: bool,
    /// Arguments that are to be others from now on (XREAD's `$`).
    pub rewritten: Vec<(u32, Vec<u8>)>,
    /// The reply where it may not wait, inside EXEC.
    pub nothing: Nothing,
}

/// The right to end a client's wait, by serving it or otherwise.
#[derive(Clone, Debug, Default)]
pub struct Token(Arc<AtomicBool>);

impl Token {
    /// Takes it; false if somebody has.
    pub fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Whether somebody has taken it.
    pub fn is_taken(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Gives it back: the service has found nothing after all.
    pub fn give_back(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// Whether both are the same wait's.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Where it stands in memory: another one's is another while both are there.
    fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

/// A place in the order of those who wait: when the wait began, and at which shard. So it means
/// something at another shard, too, when a key moves there with those who wait for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Place {
    /// Unix time in 1/65536 milliseconds; later for one shard's next.
    time: u64,
    shard: u16,
}

/// A client that waits.
#[derive(Clone, Debug)]
pub struct Waiter {
    /// On whose behalf, and where the reply goes.
    pub call: RemoteCall,
    /// The command.
    pub command: OwnedCommand,
    /// What it waits for.
    pub wait: Wait,
    /// Who may end it.
    pub token: Token,
    /// Those of its keys that are of the shard where it stands.
    pub keys: SmallVec<[Box<[u8]>; 4]>,
    /// Where it stands there.
    pub place: Place,
}

/// All that wait at a shard.
#[derive(Default, Debug)]
pub struct Blocking {
    /// By database and key: the waiters' places.
    by_key: HashMap<u16, HashMap<Box<[u8]>, BTreeSet<Place>>>,
    waiters: HashMap<Place, Waiter>,
    /// By the address of their token.
    by_token: HashMap<usize, Place>,
    /// Who is to be tried again at a time.
    again: BTreeSet<(u64, Place)>,
    /// How many wait for a key at a database and position.
    at: FxHashMap<(DbIndex, Position), usize>,
    /// Behind nobody who waits here.
    last: Place,
    /// Waiters that are tried though their key is gone.
    even_if_gone: usize,
    /// Keys whose waiters are to be tried.
    ready: VecDeque<(u16, Box<[u8]>)>,
    /// What the command that has just run waits for.
    pub request: Option<Wait>,
    /// While a waiter is tried.
    pub trying: Option<Trying>,
}

/// A waiter that is being tried.
#[derive(Debug)]
pub struct Trying {
    /// Its token.
    pub token: Token,
    /// Whether it was taken for this service.
    pub won: bool,
}

impl Trying {
    /// Takes the token, if nobody else has.
    pub fn win(&mut self) -> bool {
        self.won = self.won || self.token.take();
        self.won
    }
}

impl Blocking {
    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Keys that somebody waits for.
    pub fn keys(&self) -> usize {
        self.by_key.values().map(HashMap::len).sum()
    }

    /// Whether anybody waits for keys to disappear.
    pub fn any_even_if_gone(&self) -> bool {
        self.even_if_gone > 0
    }

    /// Whether anybody waits for one of these keys.
    pub fn waits_for_any(&self, mut keys: impl Iterator<Item = (DbIndex, Position)>) -> bool {
        !self.at.is_empty() && keys.any(|key| self.at.contains_key(&key))
    }

    /// When the next waiter is tried again though nothing has changed, Unix time in milliseconds.
    pub fn next_again_ms(&self) -> Option<u64> {
        self.again.first().map(|(again_ms, _)| *again_ms)
    }

    /// Whether there are keys whose waiters are to be tried.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next of these keys.
    pub fn next_ready(&mut self) -> Option<(u16, Box<[u8]>)> {
        self.ready.pop_front()
    }

    /// Tries the waiters of a key again later.
    pub fn postpone(&mut self, db: u16, key: Box<[u8]>) {
        self.ready.push_back((db, key));
    }

    /// The first waiter of a key behind a place.
    pub fn first_behind(&self, db: u16, key: &[u8], place: Place) -> Option<&Waiter> {
        let places = self.by_key.get(&db)?.get(key)?;
        let behind = (Bound::Excluded(place), Bound::Unbounded);
        let first = places.range(behind).next()?;
        Some(&self.waiters[first])
    }

    fn is_waited_for(&self, db: u16, key: &[u8]) -> bool {
        self.by_key.get(&db).is_some_and(|k| k.contains_key(key))
    }
}

impl Shard {
    /// The place behind all that wait here.
    pub fn last_place(&mut self) -> Place {
        let now = self.now_ms << 16;
        let time = now.max(self.blocking.last.time + 1);
        let shard = self.id.0;
        self.blocking.last = Place { time, shard };
        self.blocking.last
    }

    /// Lets a client wait for those of its keys that are of this shard.
    pub fn add_waiter(&mut self, place: Place, mut waiter: Waiter) {
        waiter.place = place;
        let keys = waiter.wait.keys.iter();
        let keys = keys.map(|at| waiter.command.arg(*at as usize));
        let own = keys.filter(|key| self.owner_of_key(key) == self.id);
        waiter.keys = own.map(Box::from).collect();
        for key in &waiter.keys {
            let at = (waiter.call.db, self.pos(key).to_bits());
            *self.blocking.at.entry(at).or_default() += 1;
        }
        let by_key = self.blocking.by_key.entry(waiter.call.db).or_default();
        for key in &waiter.keys {
            by_key.entry(key.clone()).or_default().insert(place);
        }
        self.blocking.even_if_gone += usize::from(waiter.wait.even_if_gone);
        let again = waiter.wait.again_ms.map(|again_ms| (again_ms, place));
        self.blocking.again.extend(again);
        let address = waiter.token.address();
        self.blocking.by_token.insert(address, place);
        let before = self.blocking.waiters.insert(place, waiter);
        assert!(before.is_none(), "a place is one waiter's");
        self.mind_listeners();
    }

    /// Takes a waiter out.
    pub fn take_waiter(&mut self, place: Place) -> Option<Waiter> {
        let waiter = self.blocking.waiters.remove(&place)?;
        for key in &waiter.keys {
            let at = (waiter.call.db, self.pos(key).to_bits());
            let count = self.blocking.at.get_mut(&at).expect("it waits there");
            *count -= 1;
            if *count == 0 {
                self.blocking.at.remove(&at);
            }
        }
        let by_key = self.blocking.by_key.get_mut(&waiter.call.db);
        let by_key = by_key.expect("it waits there");
        for key in &waiter.keys {
            // A key that it names twice is gone at the second time.
            if let Some(places) = by_key.get_mut(key) {
                places.remove(&place);
                if places.is_empty() {
                    by_key.remove(key);
                }
            }
        }
        self.blocking.by_token.remove(&waiter.token.address());
        self.blocking.even_if_gone -= usize::from(waiter.wait.even_if_gone);
        if let Some(again_ms) = waiter.wait.again_ms {
            self.blocking.again.remove(&(again_ms, place));
        }
        self.mind_listeners();
        Some(waiter)
    }

    /// Takes the waiter with a token out, if it is there.
    pub fn forget_waiter(&mut self, token: &Token) {
        if let Some(place) = self.blocking.by_token.get(&token.address()).copied() {
            self.take_waiter(place);
        }
    }

    /// Takes out those who wait for a key that this shard owns no more, in their order. Who
    /// waits for other keys of this shard, too, stays for these, in its place.
    pub fn take_waiters_of(&mut self, moved: impl Fn(&[u8]) -> bool) -> Vec<Waiter> {
        let waits = |waiter: &Waiter| waiter.keys.iter().any(|key| moved(key));
        let all = self.blocking.waiters.iter();
        let mut places: Vec<Place> = all.filter(|(_, w)| waits(w)).map(|(at, _)| *at).collect();
        places.sort_unstable();
        let mut taken = Vec::with_capacity(places.len());
        for place in places {
            let waiter = self.take_waiter(place).expect("just seen");
            if waiter.token.is_taken() {
                continue;
            }
            if waiter.keys.iter().any(|key| !moved(key)) {
                self.add_waiter(place, waiter.clone());
            }
            taken.push(waiter);
        }
        taken
    }

    /// Lets a client wait for keys that have come to this shard, besides those that it waits for here
    /// already; in the place that it had where they were, or has here.
    pub fn adopt_waiter(&mut self, waiter: Waiter) {
        if waiter.token.is_taken() {
            return;
        }
        let before = self.blocking.by_token.get(&waiter.token.address()).copied();
        let place = before.unwrap_or(waiter.place);
        self.blocking.last = self.blocking.last.max(place);
        self.take_waiter(place);
        self.add_waiter(place, waiter);
    }

    /// A key has changed: its waiters are to be tried.
    pub(super) fn make_ready(&mut self, db: u16, key: &[u8]) {
        let blocking = &mut self.blocking;
        let is_new = |r: &(u16, Box<[u8]>)| r.0 != db || &*r.1 != key;
        if blocking.is_waited_for(db, key) && blocking.ready.iter().all(is_new) {
            blocking.ready.push_back((db, key.into()));
            self.aftermath = true;
        }
    }

    /// Those whose time it is are to be tried again.
    pub fn make_due_ready(&mut self) {
        while let Some(&(again_ms, place)) = self.blocking.again.first() {
            if again_ms > self.now_ms {
                return;
            }
            self.blocking.again.pop_first();
            let waiter = &self.blocking.waiters[&place];
            let (db, keys) = (waiter.call.db, waiter.keys.clone());
            keys.iter().for_each(|key| self.make_ready(db, key));
        }
    }

    /// A database has been emptied or exchanged for another: all its waiters are to be tried.
    pub(super) fn make_all_ready(&mut self, db: u16) {
        let keys = self.blocking.by_key.get(&db);
        let keys: Vec<Box<[u8]>> = keys.map_or(Vec::new(), |k| k.keys().cloned().collect());
        keys.iter().for_each(|key| self.make_ready(db, key));
    }
}
