//! All databases of one shard.

use super::db::Db;
use super::hash::{Hasher, Pos};
use super::heap::Heap;
use super::lazy::Lazy;
use super::supply::Supply;
use bytes::Bytes;
use std::cell::Cell;
use std::rc::Rc;

/// The databases of a shard, and the memory that they share. It stays on its shard's thread; what
/// leaves it is an [`super::OwnedEntry`].
#[derive(Debug)]
pub struct Keyspace {
    dbs: Vec<Db>,
    lazy: Rc<Lazy>,
    heap: Rc<Heap>,
    hasher: Hasher,
    soonest: Rc<Cell<u64>>,
}

impl Keyspace {
    /// That many empty databases; an unused one costs its struct alone.
    pub fn new(databases: usize, hasher: Hasher) -> Self {
        Self::supplied(databases, hasher, None)
    }

    /// The same, with memory that another thread touches before it is needed.
    pub fn supplied(databases: usize, hasher: Hasher, supply: Option<Supply>) -> Self {
        let disposer = supply.as_ref().map(Supply::disposer);
        let heap = Rc::new(Heap::new(supply));
        let lazy = Rc::new(Lazy::new(disposer));
        let soonest = Rc::new(Cell::new(u64::MAX));
        let db = |_| {
            Db::new(
                Rc::clone(&heap),
                hasher,
                Rc::clone(&lazy),
                Rc::clone(&soonest),
            )
        };
        Self {
            dbs: (0..databases).map(db).collect(),
            lazy,
            heap,
            hasher,
            soonest,
        }
    }

    /// What gives keys their positions.
    #[inline]
    pub fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// The position of a key.
    #[inline]
    pub fn pos(&self, key: &[u8]) -> Pos {
        self.hasher.pos(key)
    }

    /// How many databases there are.
    pub fn databases(&self) -> usize {
        self.dbs.len()
    }

    /// A database; the index must be below [`Keyspace::databases`].
    #[inline]
    pub fn db(&self, index: usize) -> &Db {
        &self.dbs[index]
    }

    /// A database, for writing.
    #[inline]
    pub fn db_mut(&mut self, index: usize) -> &mut Db {
        &mut self.dbs[index]
    }

    /// Whether many more entries are to come, which room is made for ahead: while a log is read.
    /// A database that is emptied forgets it.
    pub fn set_growing(&mut self, grows: bool) {
        self.dbs.iter_mut().for_each(|db| db.set_growing(grows));
    }

    /// All databases, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Db> {
        self.dbs.iter()
    }

    /// Two databases change places (SWAPDB).
    pub fn swap(&mut self, a: usize, b: usize) {
        self.dbs.swap(a, b);
    }

    /// Empties all databases; the entries are freed by [`Keyspace::free_some`].
    pub fn clear(&mut self) {
        self.dbs
            .iter_mut()
            .filter(|db| !db.is_empty())
            .for_each(Db::clear);
    }

    /// No entry that active expiry has not come to yet expires earlier, unix milliseconds;
    /// `u64::MAX` if none does at all. One load, whatever the number of databases.
    #[inline]
    pub fn soonest_expiry(&self) -> u64 {
        self.soonest.get()
    }

    /// Makes [`Keyspace::soonest_expiry`] as exact as it can be: after passes of active expiry.
    pub fn refresh_soonest_expiry(&mut self) {
        let due = self.dbs.iter().map(Db::due);
        self.soonest.set(due.min().unwrap_or(u64::MAX));
    }

    /// Whether something waits to be freed.
    #[inline]
    pub fn has_lazy(&self) -> bool {
        !self.lazy.is_empty()
    }

    /// Bytes that entries, tables and objects take, by size classes; keys that wait to be freed are
    /// included, single objects that wait are not.
    pub fn used_bytes(&self) -> usize {
        self.heap.used_bytes()
    }

    /// Bytes of the pages that entries and segments stand in: beyond their share of
    /// [`Keyspace::used_bytes`] it is room for the next ones (fragmentation).
    pub fn paged_bytes(&self) -> usize {
        self.heap.paged_bytes()
    }

    /// Removed keys and objects that wait to be freed (INFO's `lazyfree_pending_objects`).
    pub fn lazy_pending(&self) -> usize {
        self.lazy.pending()
    }

    /// Keys and objects that were freed in slices (INFO's `lazyfreed_objects`).
    pub fn lazy_freed(&self) -> u64 {
        self.lazy.freed()
    }

    /// Lets go of bytes that a client sent or was sent. Large ones are freed by another thread:
    /// giving hundreds of MiB back to the kernel takes milliseconds.
    pub fn dispose(&self, bytes: Bytes) {
        self.lazy.dispose(bytes);
    }

    /// Has another thread give back to the system what the process has freed: that takes milliseconds
    /// for each hundred MiB. Whether there is such a thread.
    pub fn give_back(&self) -> bool {
        self.lazy.give_back()
    }

    /// Frees about `budget` allocations of what waits; whether anything is left.
    pub fn free_some(&mut self, budget: usize) -> bool {
        self.lazy.free_some(budget)
    }

    /// Panics unless every invariant of every database holds; walks everything.
    pub fn verify(&self) {
        self.dbs.iter().for_each(Db::verify);
    }
}
