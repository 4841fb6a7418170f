//! What a transaction's machine carries between shards: entries that are lent to the shard that
//! runs the command, and what became of them.

use super::Shard;
use super::access::EventClass;
use crate::command::registry::RowId;
use crate::keyspace::{OwnedEntry, Pos};
use crate::net::batch::RemoteCall;
use crate::txn::Types;

/// The machine's types.
#[derive(Debug)]
pub struct Carried;

impl Types for Carried {
    type Ask = Ask;
    type Loan = Loan;
    type Parked = Box<Parked>;
}

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
#[derive(Debug)]
pub struct Ask {
    /// Keys whose entries are to be lent, each once.
    pub keys: Vec<Wanted>,
}

/// A change that a transaction made to a lent key, told to the key's owner.
#[derive(Debug)]
pub struct Change {
    /// The key's database.
    pub db: u16,
    /// Its position.
    pub pos: Pos,
    /// The key.
    pub key: Box<[u8]>,
    /// The event's class.
    pub class: EventClass,
    /// The event's name.
    pub event: &'static str,
}

/// Lent entries on their way there or back.
#[derive(Debug, Default)]
pub struct Loan {
    /// Each key that was wanted, and its entry if there is one.
    pub keys: Vec<(Wanted, Option<OwnedEntry>)>,
    /// On the way back: what was changed, in order.
    pub changes: Vec<Change>,
}

/// A command that waits for a transaction.
#[derive(Debug)]
pub struct Parked {
    /// On whose behalf.
    pub call: RemoteCall,
    /// The command.
    pub row: RowId,
    /// Its arguments.
    pub args: Vec<Vec<u8>>,
    /// The position of its only key.
    pub pos: Pos,
}

impl Shard {
    /// Takes what a transaction wants out of the tables.
    pub fn lend(&mut self, ask: Vec<Wanted>) -> Loan {
        let mut keys = Vec::with_capacity(ask.len());
        for wanted in ask {
            let entry = self
                .keyspace
                .db_mut(usize::from(wanted.db))
                .take(wanted.pos, &wanted.key);
            let wanted = Wanted {
                db: wanted.db,
                pos: wanted.pos,
                key: wanted.key.clone(),
            };
            keys.push((wanted, entry));
        }
        Loan {
            keys,
            changes: Vec::new(),
        }
    }

    /// Puts what comes back into the tables, and tells of the changes.
    pub fn take_back(&mut self, loan: Loan) {
        self.put(loan.keys.into_iter());
        for change in loan.changes {
            self.changed(
                change.db,
                change.pos,
                &change.key,
                change.class,
                change.event,
            );
        }
    }

    /// Puts entries into the tables; the keys are what is left.
    pub fn put(&mut self, keys: impl Iterator<Item = (Wanted, Option<OwnedEntry>)>) -> Vec<Wanted> {
        keys.map(|(wanted, entry)| {
            if let Some(entry) = entry {
                self.keyspace
                    .db_mut(usize::from(wanted.db))
                    .attach(wanted.pos, entry);
            }
            wanted
        })
        .collect()
    }
}
