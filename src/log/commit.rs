//! What of a shard's log is certain to survive: its watermark.
//!
//! Without transactions that is what is durable. A record behind a part of a transaction survives
//! only if the transaction does, and that only if all its parts do, and if what stands before each
//! of these parts does: recovery cuts a log before the first transaction that is not whole, which
//! may cost another log a transaction that was, and so on. So it is not enough that all parts of a
//! transaction are durable. The chain may run through any number of shards, and parts of two
//! transactions may stand in different orders in two logs, so that each waits for the other. One
//! shard that sees all of it decides, the [`arbiter`](super::arbiter); only transactions over
//! several shards come there, in one message for each flush.
//!
//! ```text
//! shard                                arbiter
//!   part appended, flushed, durable
//!        ── Report: its parts ──►      whole, and all that they stand behind?
//!   watermark  ◄── Settled ──
//! ```

use std::collections::VecDeque;

use super::Lsn;
use super::record::Participants;
use crate::txn::TxnId;

/// A part of a transaction in the log of one shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// The transaction.
    pub txn: TxnId,
    /// The shards that have a part of it.
    pub participants: Participants,
    /// Of the byte after the part.
    pub end: Lsn,
}

/// A shard to the arbiter: these parts of its log are durable now, in their order. Every part is
/// reported once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// At least one.
    pub parts: Vec<Part>,
}

/// The arbiter to a shard: the parts up to this LSN, the end of one of them, are certain to survive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settled {
    /// The end of the last of them.
    pub through: Lsn,
}

/// The watermark of one shard.
#[derive(Debug)]
pub struct Commit {
    durable: Lsn,
    watermark: Lsn,
    /// Parts that are not settled, in the order of the log: where each begins and ends.
    unsettled: VecDeque<(Lsn, Lsn)>,
    /// Of these, the ones that are not durable yet and so not reported.
    unreported: VecDeque<Part>,
}

impl Commit {
    /// A log of which everything below `from` is certain to survive.
    pub fn new(from: Lsn) -> Self {
        Self {
            durable: from,
            watermark: from,
            unsettled: VecDeque::new(),
            unreported: VecDeque::new(),
        }
    }

    /// Everything below is certain to survive.
    #[inline]
    pub fn watermark(&self) -> Lsn {
        self.watermark
    }

    /// A part has been appended that begins at `from`.
    pub fn appended(&mut self, from: Lsn, part: Part) {
        let last = self.unsettled.back().map_or(self.durable, |&(_, end)| end);
        assert!(from >= last && part.end > from, "parts come in order");
        self.unsettled.push_back((from, part.end));
        self.unreported.push_back(part);
    }

    /// Everything below `durable` is durable. What the arbiter is to be told of it.
    pub fn flushed(&mut self, durable: Lsn) -> Option<Report> {
        assert!(durable >= self.durable, "what is durable stays so");
        self.durable = durable;
        self.advance();
        let count = self.unreported.partition_point(|part| part.end <= durable);
        let parts: Vec<Part> = self.unreported.drain(..count).collect();
        (!parts.is_empty()).then_some(Report { parts })
    }

    /// The arbiter's answer.
    pub fn settled(&mut self, settled: Settled) {
        assert!(settled.through <= self.durable, "it was reported before");
        let count = self
            .unsettled
            .partition_point(|&(_, end)| end <= settled.through);
        self.unsettled.drain(..count);
        self.advance();
    }

    fn advance(&mut self) {
        let before = self
            .unsettled
            .front()
            .map_or(Lsn(u64::MAX), |&(from, _)| from);
        let watermark = self.durable.min(before);
        assert!(watermark >= self.watermark, "what is certain stays so");
        self.watermark = watermark;
    }
}
