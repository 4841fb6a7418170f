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
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use smallvec::SmallVec;

use super::Shard;
use super::lending::OwnedCommand;
use crate::keyspace::Kind;
use crate::net::batch::RemoteCall;

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
}

/// All that wait at a shard.
#[derive(Default, Debug)]
pub struct Blocking {
    /// By database and key: the waiters' numbers.
    by_key: HashMap<u16, HashMap<Box<[u8]>, BTreeSet<u64>>>,
    /// By number, which is the order.
    waiters: HashMap<u64, Waiter>,
    /// By the address of their token.
    by_token: HashMap<usize, u64>,
    next_number: u64,
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

    /// A number behind all that wait.
    pub fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
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

    /// The first waiter of a key from a number on.
    pub fn first_from(&self, db: u16, key: &[u8], number: u64) -> Option<(u64, &Waiter)> {
        let numbers = self.by_key.get(&db)?.get(key)?;
        let number = *numbers.range(number..).next()?;
        Some((number, &self.waiters[&number]))
    }

    fn is_waited_for(&self, db: u16, key: &[u8]) -> bool {
        self.by_key.get(&db).is_some_and(|k| k.contains_key(key))
    }
}

impl Shard {
    /// Lets a client wait for those of its keys that are of this shard, in the place of `number`.
    pub fn add_waiter(&mut self, number: u64, mut waiter: Waiter) {
        let keys = waiter.wait.keys.iter();
        let keys = keys.map(|at| waiter.command.arg(*at as usize));
        let own = keys.filter(|key| self.owner_of_key(key) == self.id);
        waiter.keys = own.map(Box::from).collect();
        let by_key = self.blocking.by_key.entry(waiter.call.db).or_default();
        for key in &waiter.keys {
            by_key.entry(key.clone()).or_default().insert(number);
        }
        self.blocking.even_if_gone += usize::from(waiter.wait.even_if_gone);
        let address = waiter.token.address();
        self.blocking.by_token.insert(address, number);
        let before = self.blocking.waiters.insert(number, waiter);
        assert!(before.is_none(), "a number is drawn once");
        self.mind_listeners();
    }

    /// Takes a waiter out.
    pub fn take_waiter(&mut self, number: u64) -> Option<Waiter> {
        let waiter = self.blocking.waiters.remove(&number)?;
        let by_key = self.blocking.by_key.get_mut(&waiter.call.db);
        let by_key = by_key.expect("it waits there");
        for key in &waiter.keys {
            // A key that it names twice is gone at the second time.
            if let Some(numbers) = by_key.get_mut(key) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    by_key.remove(key);
                }
            }
        }
        self.blocking.by_token.remove(&waiter.token.address());
        self.blocking.even_if_gone -= usize::from(waiter.wait.even_if_gone);
        self.mind_listeners();
        Some(waiter)
    }

    /// Takes the waiter with a token out, if it is there.
    pub fn forget_waiter(&mut self, token: &Token) {
        if let Some(number) = self.blocking.by_token.get(&token.address()).copied() {
            self.take_waiter(number);
        }
    }

    /// Takes out those who wait for a key that this shard owns no more, in their order. Who
    /// waits for other keys of this shard, too, stays for these, in its place.
    pub fn take_waiters_of(&mut self, moved: impl Fn(&[u8]) -> bool) -> Vec<Waiter> {
        let waits = |waiter: &Waiter| waiter.keys.iter().any(|key| moved(key));
        let all = self.blocking.waiters.iter();
        let mut numbers: Vec<u64> = all.filter(|(_, w)| waits(w)).map(|(n, _)| *n).collect();
        numbers.sort_unstable();
        let mut taken = Vec::with_capacity(numbers.len());
        for number in numbers {
            let waiter = self.take_waiter(number).expect("just seen");
            if waiter.token.is_taken() {
                continue;
            }
            if waiter.keys.iter().any(|key| !moved(key)) {
                self.add_waiter(number, waiter.clone());
            }
            taken.push(waiter);
        }
        taken
    }

    /// Lets a client wait for keys that have come to this shard, besides those that it waits for here
    /// already.
    pub fn adopt_waiter(&mut self, waiter: Waiter) {
        if waiter.token.is_taken() {
            return;
        }
        let before = self.blocking.by_token.get(&waiter.token.address()).copied();
        let number = before.unwrap_or_else(|| self.blocking.number());
        self.take_waiter(number);
        self.add_waiter(number, waiter);
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

    /// A database has been emptied or exchanged for another: all its waiters are to be tried.
    pub(super) fn make_all_ready(&mut self, db: u16) {
        let keys = self.blocking.by_key.get(&db);
        let keys: Vec<Box<[u8]>> = keys.map_or(Vec::new(), |k| k.keys().cloned().collect());
        keys.iter().for_each(|key| self.make_ready(db, key));
    }
}
