//! What a shard keeps: databases of keys and their values, in memory.
//!
//! A command comes here on its owner's core with the key's position ([`Hasher::pos`], computed once
//! for each request) and finds, changes, stores or removes an [entry](EntryRef) in a [`Db`]. Nothing
//! here reads a clock, draws a random number or does I/O.
//!
//! From the outside in: [`Keyspace`] (the databases of a shard) has [`Db`]s (expiry, SCAN, counts),
//! each of which has a table (directory and segments, ordered by position) of entries (one
//! allocation each: key, expiry, clock, value) in the shard's heap.

mod batch;
mod chunk;
mod databases;
mod db;
mod entry;
mod hash;
mod heap;
mod lazy;
mod node;
mod pages;
mod segment;
mod slot;
mod supply;
mod table;
mod tap;
mod value;

pub use batch::Batch;
pub use databases::Keyspace;
pub use db::{
    CLOCK_OF_NEW, CURSOR_END, Db, EntryMut, Expiry, Lookup, PackedMut, Sweep, cursor_pos,
    cursor_slot, pos_cursor, slot_cursor,
};
pub use entry::{CLOCK_BITS, EntryRef, OwnedEntry};
pub use hash::{Hasher, Pos};
pub use node::prefetch;
pub use slot::{SLOT_BITS, SLOTS, Slot, crc16, hash_tag};
pub use supply::{Supplier, Supply, supply};
pub use table::{Gone, Place};
pub use tap::{Keeper, Places, touched_places};
pub use value::{Decimal, INLINE_BYTES_MAX, Kind, LargeString, NewValue, Object, Value, parse_int};

#[cfg(test)]
mod tests;
