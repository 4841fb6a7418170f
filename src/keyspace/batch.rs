//! Entries that come to a shard many at a time: a loading thread gathers them, the shard takes them in.
//!
//! Strings, of which most datasets are full, lie one behind the other in one buffer, and the shard
//! makes their entries where they are to stand: no allocation changes threads. What has a structure
//! of its own comes as an [`OwnedEntry`].
//!
//! A batch is taken in by position. So a segment gets all that is for it at once and grows or splits
//! before, not on the way; that matters most where a file is itself in the order of slots, as ours
//! are: entry by entry, all of a slot would crowd at one end of a segment that is to split ten times.

use super::databases::Keyspace;
use super::db::{Db, Expiry};
use super::entry::OwnedEntry;
use super::hash::Pos;
use super::value::{INLINE_BYTES_MAX, NewValue};

/// Entries that go together: enough that those of a slot mostly do.
const ENTRIES: usize = 4096;
/// Bytes of keys and values that go together.
const BYTES: usize = 1 << 20;
/// How many entries ahead the segment of one is fetched.
const AHEAD: usize = 12;

/// See the head of the module.
#[derive(Debug, Default)]
pub struct Batch {
    arrivals: Vec<Arrival>,
    /// Keys and values of strings.
    bytes: Vec<u8>,
    /// Bytes of what comes as it is.
    other_bytes: usize,
}

#[derive(Debug)]
struct Arrival {
    db: u16,
    pos: Pos,
    what: What,
}

#[derive(Debug)]
enum What {
    /// A key and, behind it, a string.
    String {
        at: u32,
        key_bytes: u32,
        value_bytes: u32,
        clock: u32,
        expiry: Option<u64>,
    },
    Entry(OwnedEntry),
    /// It was taken in.
    Taken,
}

impl Batch {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// Whether it is to go.
    pub fn is_full(&self) -> bool {
        self.arrivals.len() >= ENTRIES || self.bytes.len() + self.other_bytes >= BYTES
    }

    /// Adds an entry for a database; its key's position is `pos`.
    pub fn push(
        &mut self,
        db: u16,
        pos: Pos,
        key: &[u8],
        expiry: Option<u64>,
        clock: u32,
        value: NewValue<'_>,
    ) {
        /// Longer keys go by themselves, so that a full batch's offsets fit.
        const KEY_BYTES_MAX: usize = 64 * 1024;
        let what = match value {
            NewValue::Str { bytes, raw: false }
                if bytes.len() <= INLINE_BYTES_MAX && key.len() <= KEY_BYTES_MAX =>
            {
                let at = self.bytes.len() as u32;
                self.bytes.extend_from_slice(key);
                self.bytes.extend_from_slice(bytes);
                What::String {
                    at,
                    key_bytes: key.len() as u32,
                    value_bytes: bytes.len() as u32,
                    clock,
                    expiry,
                }
            }
            value => {
                let entry = OwnedEntry::new(key, expiry, clock, value);
                self.other_bytes += entry.entry().memory_bytes();
                What::Entry(entry)
            }
        };
        self.arrivals.push(Arrival { db, pos, what });
    }

    /// Puts everything into the databases; of two under one key the later stays.
    pub fn settle(mut self, keyspace: &mut Keyspace) {
        let order = |(at, arrival): (usize, &Arrival)| (arrival.db, arrival.pos.0, at as u32);
        let mut order: Vec<_> = self.arrivals.iter().enumerate().map(order).collect();
        order.sort_unstable();
        for same_db in order.chunk_by(|a, b| a.0 == b.0) {
            let db = keyspace.db_mut(usize::from(same_db[0].0));
            let positions: Vec<Pos> = same_db.iter().map(|(_, pos, _)| Pos(*pos)).collect();
            let mut reserved = 0;
            for (n, (_, _, at)) in same_db.iter().enumerate() {
                if n == reserved {
                    reserved += db.reserve(&positions[n..]);
                }
                if let Some(pos) = positions.get(n + AHEAD) {
                    db.prefetch_room(*pos);
                }
                let arrival = &mut self.arrivals[*at as usize];
                let what = std::mem::replace(&mut arrival.what, What::Taken);
                what.settle(positions[n], &self.bytes, db);
            }
        }
    }
}

impl What {
    fn settle(self, pos: Pos, bytes: &[u8], db: &mut Db) {
        match self {
            Self::String {
                at,
                key_bytes,
                value_bytes,
                clock,
                expiry,
            } => {
                let (key, rest) = bytes[at as usize..].split_at(key_bytes as usize);
                let value = NewValue::Str {
                    bytes: &rest[..value_bytes as usize],
                    raw: false,
                };
                db.set(
                    pos,
                    key,
                    value,
                    expiry.map_or(Expiry::Clear, Expiry::At),
                    clock,
                );
            }
            Self::Entry(entry) => db.attach(pos, entry),
            Self::Taken => unreachable!("every arrival stands once in the order"),
        }
    }
}
