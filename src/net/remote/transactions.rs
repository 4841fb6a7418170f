//! The messages of the transaction machine ([`crate::txn`]) between shards.
//!
//! What they carry changes hands as a pointer: a loan is made by its owner and comes back to it, so
//! that no memory is taken on one shard and freed on another for it.

use super::wire::{self, Reader, put_u8, put_u16, put_u64};
use crate::mesh::ShardId;
use crate::shard::lending::{Carried, Loan};
use crate::txn::{Body, ConnectionId, Message, TxnId};

/// What a message says.
mod says {
    pub(super) const ACQUIRE: u8 = 0;
    pub(super) const GRANTED: u8 = 1;
    pub(super) const DIRTY: u8 = 2;
    pub(super) const WOUND: u8 = 3;
    pub(super) const YIELD: u8 = 4;
    pub(super) const RELEASE: u8 = 5;
    pub(super) const CANCEL: u8 = 6;
    pub(super) const CANCELLED: u8 = 7;
    pub(super) const UNWATCH: u8 = 8;
    pub(super) const LEAVE: u8 = 9;
}

/// Appends a message.
pub(super) fn put(buf: &mut Vec<u8>, message: Message<Carried>) {
    put_u64(buf, message.clock);
    match message.body {
        Body::Acquire { txn, part } => {
            put_txn(buf, says::ACQUIRE, txn);
            put_u64(buf, wire::pack(part));
        }
        Body::Granted { txn, loan, dirty } => {
            let kind = if dirty { says::DIRTY } else { says::GRANTED };
            put_loan(buf, kind, txn, loan);
        }
        Body::Wound { txn } => put_txn(buf, says::WOUND, txn),
        Body::Yield { txn, loan } => put_loan(buf, says::YIELD, txn, loan),
        Body::Release { txn, loan } => put_loan(buf, says::RELEASE, txn, loan),
        Body::Cancel { txn } => put_txn(buf, says::CANCEL, txn),
        Body::Cancelled { txn } => put_txn(buf, says::CANCELLED, txn),
        Body::Unwatch { connection } => put_connection(buf, says::UNWATCH, connection),
        Body::Leave { connection } => put_connection(buf, says::LEAVE, connection),
    }
}

fn put_loan(buf: &mut Vec<u8>, kind: u8, txn: TxnId, loan: Box<Loan>) {
    put_txn(buf, kind, txn);
    put_u64(buf, wire::pack_box(loan));
}

fn put_txn(buf: &mut Vec<u8>, kind: u8, txn: TxnId) {
    put_u8(buf, kind);
    put_u64(buf, txn.number);
    put_u16(buf, txn.coordinator.0);
}

fn put_connection(buf: &mut Vec<u8>, kind: u8, connection: ConnectionId) {
    put_u8(buf, kind);
    put_u64(buf, connection.number);
    put_u16(buf, connection.home.0);
}

/// Reads a message, once.
pub(super) fn read(reader: &mut Reader<'_>) -> Message<Carried> {
    let clock = reader.u64();
    let kind = reader.u8();
    // A transaction or a connection.
    let (number, shard) = (reader.u64(), ShardId(reader.u16()));
    let txn = TxnId {
        number,
        coordinator: shard,
    };
    let connection = ConnectionId {
        home: shard,
        number,
    };
    let mut loan = || wire::unpack_box(reader.u64());
    let body = match kind {
        says::ACQUIRE => Body::Acquire {
            txn,
            part: wire::unpack(reader.u64()),
        },
        says::GRANTED | says::DIRTY => Body::Granted {
            txn,
            loan: loan(),
            dirty: kind == says::DIRTY,
        },
        says::WOUND => Body::Wound { txn },
        says::YIELD => Body::Yield { txn, loan: loan() },
        says::RELEASE => Body::Release { txn, loan: loan() },
        says::CANCEL => Body::Cancel { txn },
        says::CANCELLED => Body::Cancelled { txn },
        says::UNWATCH => Body::Unwatch { connection },
        says::LEAVE => Body::Leave { connection },
        _ => unreachable!("a message says what `put` writes"),
    };
    Message { clock, body }
}
