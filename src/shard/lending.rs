//! What the transaction machine carries between shards: what a transaction wants of an owner, and
//! what comes of it.
//!
//! A part of a transaction asks for any of three things:
//! - entries, which move to the transaction's home and back (`keys`);
//! - answers: commands that read and whose keys all have this owner, run here and answered
//!   (`questions`);
//! - nothing but its locks: commands that only write and cannot fail come with the release and are
//!   run here then (`apply`), or the home runs them step by step meanwhile.

use super::Shard;
use super::access::EventClass;
use super::blocking::Waiter;
use super::effects::Left;
use super::tracking::Holder;
use crate::command::context::Caller;
use crate::command::registry::RowId;
use crate::keyspace::{Lookup, OwnedEntry, Place, Pos};
use crate::mesh::ShardId;
use crate::net::batch::RemoteCall;
use crate::resp::encode::Output;
use crate::txn::multi::QueuedCommand;
use crate::txn::{ConnectionId, DbIndex, Position, Types};

/// The machine's types.
#[derive(Debug)]
pub struct Carried;

impl Types for Carried {
    type Ask = Ask;
    type Loan = Box<Loan>;
    type Parked = Box<Parked>;
}

/// What is known of a command whose arguments stand elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its row.
    pub row: RowId,
    /// The position of its only key, where the row has exactly one.
    pub pos: Pos,
}

/// A command with its own copy of its arguments.
pub type OwnedCommand = QueuedCommand<Head>;

/// A key that a transaction wants.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its database.
    pub db: u16,
    /// Its position.
    pub pos: Pos,
    /// The key.
    pub key: Box<[u8]>,
}

/// What a transaction wants of a participant.
#[derive(Debug, Default)]
pub struct Ask {
    /// Keys whose entries are to be lent.
    pub keys: Vec<Wanted>,
    /// Keys that the connection watches: to be expired first if they are due.
    pub watched: Vec<Wanted>,
    /// Commands that are to be answered, and on whose behalf.
    pub questions: Option<Box<Questions>>,
    /// Nothing is to expire by itself while this is lent.
    pub timeless: bool,
}

/// Commands that are run where their keys live, once these are held.
#[derive(Debug)]
pub struct Questions {
    /// On whose behalf.
    pub call: RemoteCall,
    /// The commands.
    pub commands: Vec<OwnedCommand>,
}

/// What a transaction has done with a lent key, told to the key's owner.
#[derive(Debug)]
pub struct Change {
    /// The key's database.
    pub db: u16,
    /// Its position.
    pub pos: Pos,
    /// The key.
    pub key: Box<[u8]>,
    /// The client whose command it was.
    pub actor: u64,
    /// What happened.
    pub what: What,
}

/// What a transaction has done with a lent key.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// It has changed it.
    Event {
        /// The event's class.
        class: EventClass,
        /// Its name.
        event: &'static str,
        /// Whether it is a change of its own, or another event of one.
        counts: bool,
    },
    /// It has read it for a client that tracks, of this shard.
    Read(ShardId),
}

/// What was lent, on its way there or back.
#[derive(Debug, Default)]
pub struct Loan {
    /// What was asked: it travels along, so that no name is copied.
    pub ask: Ask,
    /// For each key that was asked for its entry, if there is one.
    pub entries: Vec<Option<OwnedEntry>>,
    /// On the way there: the replies to the questions.
    pub answers: Vec<Output>,
    /// On the way there: Unix time in milliseconds before which the answers stay true, for no key of
    /// the owner expires earlier. None without questions, and where one of them does more than read
    /// (SAVE, FLUSHALL): that is done once.
    pub answers_until_ms: Option<u64>,
    /// On the way there, where nothing was asked for but locks: whether a client waits for a key
    /// that is held, or a snapshot has to tell it before it changes.
    pub waited_for: bool,
    /// On the way there: when the first of the watched keys expires, Unix milliseconds.
    pub watched_until_ms: Option<u64>,
    /// On the way there: whether something of it could still be lost (`appendfsync always`).
    pub unsettled: bool,
    /// On the way back: what was changed, in order.
    pub changes: Vec<Change>,
    /// On the way back: what this leaves behind for the log.
    pub left: Left,
    /// On the way back: commands to be run now.
    pub apply: Option<Box<Questions>>,
    /// On the way back: a client that waits for keys of the owner from now on.
    pub waiter: Option<Box<Waiter>>,
}

impl Loan {
    /// Whether a key may have expired by now since the questions were answered.
    pub fn is_outdated(&self, now_ms: u64) -> bool {
        self.answers_until_ms.is_some_and(|until| until <= now_ms)
    }
}

/// A command that waits for a transaction.
#[derive(Debug)]
pub struct Parked {
    /// On whose behalf.
    pub call: RemoteCall,
    /// What waits.
    pub work: Work,
}

/// What may wait for a transaction.
#[derive(Debug)]
pub enum Work {
    /// A command.
    Command(OwnedCommand),
    /// An EXEC all of whose keys have this owner.
    Block(Block),
    /// WATCH of keys of this shard; the number is the gather that its answer is for.
    Watch(u32, Vec<Wanted>),
}

/// The commands of an EXEC, and what it watches, at the only owner of all its keys.
#[derive(Debug)]
pub struct Block {
    /// The commands.
    pub commands: Vec<OwnedCommand>,
    /// The watched keys.
    pub watched: Vec<Wanted>,
}

impl Shard {
    /// Takes entries out of the tables.
    pub fn take_entries(&mut self, keys: &[Wanted]) -> Vec<Option<OwnedEntry>> {
        let take = |wanted: &Wanted| {
            let db = self.keyspace.db_mut(usize::from(wanted.db));
            db.take(wanted.pos, &wanted.key)
        };
        keys.iter().map(take).collect()
    }

    /// The keys from one cursor up to another, in all databases.
    pub fn keys_between(&self, from: u64, end: u64) -> Vec<Wanted> {
        let mut keys = Vec::new();
        for (db, found) in self.keyspace.iter().enumerate() {
            let reached = found.scan(from, end, usize::MAX, 0, |entry| {
                keys.push(Wanted {
                    db: db as u16,
                    pos: self.keyspace.pos(entry.key()),
                    key: entry.key().into(),
                });
            });
            assert_eq!(reached, end, "nothing was left out");
        }
        keys
    }

    /// The end of a part that begins at `from`, is not beyond `end`, and has about `count` keys in all
    /// databases together, or fewer.
    pub fn part_of_keys(&self, from: u64, end: u64, count: usize) -> u64 {
        let (mut end, mut left) = (end, count);
        for db in self.keyspace.iter() {
            let mut seen = 0;
            end = db.scan(from, end, left.max(1), 0, |_| seen += 1);
            left = left.saturating_sub(seen);
        }
        assert!(end > from, "a part has something");
        end
    }

    /// Whoever watches a key that stands there finds it changed.
    pub fn touch_watched_in(&mut self, moved: impl Fn(Pos) -> bool) {
        let mut touched = Vec::new();
        self.txns.each_watched(|db, position, _| {
            if moved(Pos::from_bits(position)) {
                touched.push((db, position));
            }
        });
        for (db, position) in touched {
            self.txns.touched(db, position);
        }
    }

    /// Puts entries into the tables. A key that was asked for twice had its entry in its first
    /// place.
    pub fn put_entries(&mut self, keys: &[Wanted], entries: &mut Vec<Option<OwnedEntry>>) {
        for (wanted, entry) in keys.iter().zip(entries.drain(..)) {
            if let Some(entry) = entry {
                let db = self.keyspace.db_mut(usize::from(wanted.db));
                db.attach(wanted.pos, entry);
            }
        }
    }

    /// Tells of the changes that a transaction has made elsewhere to entries of this shard.
    pub fn tell_changes(&mut self, changes: Vec<Change>) {
        for change in changes {
            let Change { db, pos, key, .. } = change;
            self.actor = change.actor;
            match change.what {
                What::Event {
                    class,
                    event,
                    counts,
                } => self.tell(db, pos, &key, class, event, counts),
                What::Read(home) => {
                    let client = change.actor;
                    self.remember_read(&key, Holder { home, client });
                }
            }
        }
    }

    /// Removes those of these keys that have expired, so that whoever watches them hears of it.
    /// Returns when the first of the others expires, Unix milliseconds.
    pub fn expire_due(&mut self, keys: &[Wanted]) -> Option<u64> {
        self.actor = 0;
        let mut first: Option<u64> = None;
        for Wanted { db, pos, key } in keys {
            let found = self.keyspace.db_mut(usize::from(*db));
            match found.locate(*pos, key, self.now_ms) {
                Lookup::Expired => self.expire(*db, *pos, key),
                Lookup::Live(place) => {
                    let due = found.at(place).get().expiry();
                    first = [first, due].into_iter().flatten().min();
                }
                Lookup::Missing => {}
            }
        }
        self.effects.close();
        first
    }

    /// Registers a watch on keys of this shard.
    pub fn watch(&mut self, connection: ConnectionId, keys: &[Wanted]) {
        self.expire_due(keys);
        for Wanted { db, pos, key } in keys {
            self.txns.watch(connection, *db, pos.to_bits(), key);
        }
    }

    /// Two databases are about to change places. What has expired in one of them under the name of a
    /// key that is watched in the other goes before: it would seem to expire for who watches.
    pub fn expire_before_swap(&mut self, a: DbIndex, b: DbIndex) {
        let mut others = Vec::new();
        self.txns.each_watched(|db, position, key| {
            let other = if db == a { b } else { a };
            if db == a || db == b {
                let (pos, key) = (Pos::from_bits(position), key.into());
                others.push(Wanted {
                    db: other,
                    pos,
                    key,
                });
            }
        });
        self.expire_due(&others);
    }

    /// The watched keys that exist, or have expired since they were watched, for
    /// [`touch_watched`](Self::touch_watched).
    pub fn watched_and_there(&self) -> Vec<(DbIndex, Position)> {
        self.watched_that(|found| !matches!(found, Lookup::Missing))
    }

    fn watched_that(&self, is: impl Fn(Lookup<Place>) -> bool) -> Vec<(DbIndex, Position)> {
        let mut those = Vec::new();
        self.txns.each_watched(|db, position, key| {
            let found = self.keyspace.db(usize::from(db));
            if is(found.locate(Pos::from_bits(position), key, self.now_ms)) {
                those.push((db, position));
            }
        });
        those
    }

    /// Databases were emptied or exchanged: marks the watched keys in them that were there before
    /// it or are there now.
    pub fn touch_watched(&mut self, before: Vec<(DbIndex, Position)>, in_db: impl Fn(u16) -> bool) {
        let after = self.watched_that(|found| matches!(found, Lookup::Live(_)));
        for (db, position) in before.into_iter().chain(after) {
            if in_db(db) {
                self.txns.touched(db, position);
            }
        }
    }
}

/// The caller of a command that runs on behalf of `call`.
pub fn caller_of(call: &RemoteCall) -> Caller {
    Caller {
        home: call.home,
        client: call.client,
        db: call.db,
        flags: call.flags,
    }
}
