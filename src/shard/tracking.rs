//! Client-side caching at the owner of the keys: which clients may have what in their caches.
//!
//! # Where it is known
//! A key's owner remembers who has read it on behalf of a client that tracks ([`Tracking::remember`]),
//! in the very turn in which the value is read. The first change of the key takes all of them out and
//! tells their homes. What a client reads and what makes it invalid travel on the same lane, in this
//! order, so that no reply that is older than an invalidation comes after it.
//!
//! As on Redis a key is remembered by its name alone, whatever its database, and a client that has
//! gone is noticed by its home when it would be told. At most `tracking-table-max-keys` are
//! remembered, an even part of them at each shard; whoever holds one that is forgotten to make room
//! is told as if it had changed.
//!
//! Clients that broadcast (BCAST) want to hear of all keys with a prefix. Every shard knows the
//! prefixes of all, and which shards have such clients.
//!
//! # Outbox
//! What is to be told waits here until the command or block that has changed the keys is done; the
//! engine empties it then (`net::tracking`).

use std::collections::HashSet;

use indexmap::IndexMap;
use smallvec::SmallVec;

use super::Shard;
use super::channels::Counts;
use crate::keyspace::Pos;
use crate::mesh::ShardId;
use crate::server::config::NotifyFlags;

/// Clients of a key that are kept in a list, which is looked through; more of them are a set.
const LISTED_MAX: usize = 8;

/// A client that may have a key in its cache.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Holder {
    /// The shard of its connection.
    pub home: ShardId,
    /// Its id.
    pub client: u64,
}

/// The holders of a key.
#[derive(Debug)]
pub enum Holders {
    /// A few.
    Few(SmallVec<[Holder; 1]>),
    /// More than [`LISTED_MAX`].
    Many(Box<HashSet<Holder>>),
}

impl Holders {
    /// Adds one; whether it is new.
    fn add(&mut self, holder: Holder) -> bool {
        match self {
            Self::Few(few) if few.contains(&holder) => return false,
            Self::Few(few) if few.len() < LISTED_MAX => few.push(holder),
            Self::Few(few) => {
                let all = few.iter().copied().chain([holder]);
                *self = Self::Many(Box::new(all.collect()));
            }
            Self::Many(many) => return many.insert(holder),
        }
        true
    }

    fn len(&self) -> usize {
        match self {
            Self::Few(few) => few.len(),
            Self::Many(many) => many.len(),
        }
    }

    /// Calls `visit` with each.
    pub fn each(&self, visit: impl FnMut(Holder)) {
        match self {
            Self::Few(few) => few.iter().copied().for_each(visit),
            Self::Many(many) => many.iter().copied().for_each(visit),
        }
    }
}

/// What is to be told.
#[derive(Debug)]
pub enum Stale {
    /// These may have a key that has changed.
    Held(Holders),
    /// These shards have clients that want to hear of all such keys.
    Broadcast(SmallVec<[ShardId; 4]>),
}

/// A key that has changed.
#[derive(Debug)]
pub struct Invalid {
    /// The key.
    pub key: Box<[u8]>,
    /// The client that has changed it; 0: the server itself.
    pub actor: u64,
    /// Who is told.
    pub stale: Stale,
}

/// What a shard remembers of the caches of clients.
#[derive(Default, Debug)]
pub struct Tracking {
    keys: IndexMap<Box<[u8]>, Holders>,
    /// Holders of all keys.
    items: usize,
    /// Prefixes of clients that broadcast, of all shards.
    prefixes: Vec<(Box<[u8]>, Counts)>,
    outbox: Vec<Invalid>,
}

impl Tracking {
    /// Whether a change of a key concerns nobody.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.prefixes.is_empty()
    }

    /// Keys that are remembered.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Pairs of a key and a client that are remembered.
    pub fn items(&self) -> usize {
        self.items
    }

    /// Prefixes of clients that broadcast, of all shards.
    pub fn prefixes(&self) -> usize {
        self.prefixes.len()
    }

    fn remember(&mut self, key: &[u8], holder: Holder) {
        let is_new = match self.keys.get_mut(key) {
            Some(holders) => holders.add(holder),
            None => {
                let few = SmallVec::from_elem(holder, 1);
                self.keys.insert(key.into(), Holders::Few(few));
                true
            }
        };
        self.items += usize::from(is_new);
    }

    /// Lets go of a key at an index; its holders are told.
    fn forget(&mut self, at: usize, actor: u64) {
        let (key, holders) = self.keys.swap_remove_index(at).expect("it is there");
        self.items -= holders.len();
        let stale = Stale::Held(holders);
        self.outbox.push(Invalid { key, actor, stale });
    }

    fn invalidate(&mut self, key: &[u8], actor: u64) {
        if let Some(at) = self.keys.get_index_of(key) {
            self.forget(at, actor);
        }
        let mut shards: SmallVec<[ShardId; 4]> = SmallVec::new();
        let fitting = self.prefixes.iter().filter(|(p, _)| key.starts_with(p));
        for shard in fitting.flat_map(|(_, counts)| counts.shards()) {
            if !shards.contains(&shard) {
                shards.push(shard);
            }
        }
        if !shards.is_empty() {
            let stale = Stale::Broadcast(shards);
            let key = key.into();
            self.outbox.push(Invalid { key, actor, stale });
        }
    }

    /// What is to be told, in order.
    pub fn take_outbox(&mut self) -> Vec<Invalid> {
        std::mem::take(&mut self.outbox)
    }
}

impl Shard {
    /// A client that tracks has read a key of this shard.
    pub(crate) fn remember_read(&mut self, key: &[u8], holder: Holder) {
        self.tracking.remember(key, holder);
        self.limit_tracking();
        if !self.notices.has(NotifyFlags::TRACKED) {
            self.mind_listeners();
        }
    }

    /// Forgets keys at random until no more than the configuration allows are remembered.
    pub(super) fn limit_tracking(&mut self) {
        let all = self.config.tracking_table_max_keys;
        let max = match all {
            0 => return,
            all => all.div_ceil(self.node.shards as u64),
        };
        while self.tracking.keys() as u64 > max {
            let at = (self.random() % self.tracking.keys() as u64) as usize;
            self.tracking.forget(at, 0);
            self.aftermath = true;
        }
    }

    /// A key of this shard has changed.
    #[cold]
    pub(super) fn invalidate(&mut self, key: &[u8]) {
        self.tracking.invalidate(key, self.actor);
        self.aftermath |= !self.tracking.outbox.is_empty();
        if self.tracking.is_empty() {
            self.mind_listeners();
        }
    }

    /// Databases have been emptied: nothing that was read holds any more.
    pub fn forget_reads(&mut self) {
        self.tracking.keys = IndexMap::new();
        self.tracking.items = 0;
        self.mind_listeners();
    }

    /// Slots go to another shard: who has read a key of them is told as if it had changed.
    pub fn forget_reads_in(&mut self, is_moved: impl Fn(Pos) -> bool) {
        for at in (0..self.tracking.keys()).rev() {
            let (key, _) = self.tracking.keys.get_index(at).expect("within");
            if is_moved(self.keyspace.pos(key)) {
                self.tracking.forget(at, 0);
                self.aftermath = true;
            }
        }
        self.mind_listeners();
    }

    /// A connection of a shard has begun (`on`) or ended to broadcast keys with a prefix.
    pub fn change_prefix(&mut self, prefix: &[u8], shard: ShardId, on: bool) {
        let prefixes = &mut self.tracking.prefixes;
        let at = match prefixes.iter().position(|(other, _)| **other == *prefix) {
            Some(at) => at,
            None => {
                assert!(on, "it began before");
                prefixes.push((prefix.into(), Counts::default()));
                prefixes.len() - 1
            }
        };
        let counts = &mut prefixes[at].1;
        counts.change(shard, if on { 1 } else { -1 });
        if counts.is_empty() {
            prefixes.swap_remove(at);
        }
        self.mind_listeners();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::shard;
    use super::*;

    fn holder(client: u64) -> Holder {
        let home = ShardId((client % 3) as u16);
        Holder { home, client }
    }

    #[test]
    fn who_has_read_a_key_is_told_once() {
        let mut shard = shard();
        for client in 0..20 {
            shard.remember_read(b"k", holder(client));
            shard.remember_read(b"k", holder(client));
        }
        assert_eq!((shard.tracking.keys(), shard.tracking.items()), (1, 20));
        shard.actor = 7;
        shard.invalidate(b"other");
        shard.invalidate(b"k");
        shard.invalidate(b"k");
        let told = shard.tracking.take_outbox();
        assert_eq!((told.len(), told[0].actor), (1, 7));
        let Stale::Held(holders) = &told[0].stale else {
            panic!("they hold it");
        };
        let mut clients = Vec::new();
        holders.each(|holder| clients.push(holder.client));
        clients.sort_unstable();
        assert_eq!(clients, (0..20).collect::<Vec<_>>());
        assert!(shard.tracking.is_empty() && shard.tracking.items() == 0);
    }

    #[test]
    fn no_more_keys_are_remembered_than_allowed() {
        let mut shard = shard();
        let config = std::sync::Arc::make_mut(&mut shard.config);
        config.tracking_table_max_keys = 10;
        for n in 0..100_u32 {
            shard.remember_read(&n.to_le_bytes(), holder(1));
        }
        assert_eq!((shard.tracking.keys(), shard.tracking.items()), (10, 10));
        assert_eq!(shard.tracking.take_outbox().len(), 90);
        assert!(shard.aftermath);
    }

    #[test]
    fn prefixes_concern_the_shards_that_want_them() {
        let mut shard = shard();
        let (a, b) = (ShardId(0), ShardId(1));
        shard.change_prefix(b"", a, true);
        shard.change_prefix(b"user:", b, true);
        shard.change_prefix(b"u", b, true);
        shard.invalidate(b"user:1");
        shard.invalidate(b"x");
        shard.change_prefix(b"", a, false);
        shard.invalidate(b"x");
        let told = shard.tracking.take_outbox();
        let shards: Vec<_> = told
            .iter()
            .map(|invalid| match &invalid.stale {
                Stale::Broadcast(shards) => shards.to_vec(),
                Stale::Held(_) => panic!("nobody holds it"),
            })
            .collect();
        assert_eq!(shards, [vec![a, b], vec![a]]);
        shard.change_prefix(b"user:", b, false);
        shard.change_prefix(b"u", b, false);
        assert!(shard.tracking.is_empty());
    }
}
