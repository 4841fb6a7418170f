//! The log of one shard as the shard sees it: units in; flushes, messages and released replies out.
//!
//! In a turn of the shard's loop: what is answered by what it did is told to
//! [`append`](ShardLog::append) and waits ([`wait`](ShardLog::wait)) if `appendfsync` is `always`;
//! then [`begin`](ShardLog::begin) gives what is to be written with the turn's sends, and
//! [`ended`](ShardLog::ended) takes what became of it. After each call the shard drains
//! [`next_message`](ShardLog::next_message) and [`next_released`](ShardLog::next_released).
//!
//! `W` is what waits: a reply, or a place for one.

use std::collections::{BTreeMap, VecDeque};

use super::arbiter::Arbiter;
use super::block::BLOCK_BYTES;
use super::commit::{Commit, Part};
use super::in_flight::InFlight;
use super::manifest::Mark;
use super::message::Message;
use super::pace::{Pace, Policy, WRITE_BYTES};
use super::record::Kind;
use super::writer::{Failed, Flush, TooLong, Writer};
use super::{Identity, Lsn};
use crate::mesh::ShardId;
use crate::txn::{DbIndex, Position};

/// The shard whose log decides for all.
pub const ARBITER: ShardId = ShardId(0);
/// Bytes that wait for a flush, at most: far above what comes in one. A disk that does not keep up
/// holds back the connections that write.
pub const WAITING_BYTES_MAX: u64 = 64 << 20;
/// Room for what comes before writes are refused for want of space, or a quarter of a segment if that
/// is less.
const SPARE_BYTES: u64 = 1 << 20;

/// What one atomic unit did to this shard.
#[derive(Clone, Copy, Debug)]
pub struct Unit<'a> {
    /// The database that its commands begin in.
    pub db: DbIndex,
    /// Whether it is part of a transaction.
    pub kind: &'a Kind,
    /// The keys that it wrote.
    pub keys: Keys<'a>,
    /// Its effects, as RESP commands.
    pub payload: &'a [u8],
}

/// Keys that a unit wrote.
#[derive(Clone, Copy, Debug)]
pub enum Keys<'a> {
    /// These.
    These(&'a [Position]),
    /// Perhaps every one.
    Any,
}

/// Why writes are refused. It holds the system's error, which Redis's MISCONF tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// There is no segment to write to: for want of space, mostly. Over when there is one.
    NoSegment(i32),
    /// A write or sync has failed, here or in another shard's log. Only a restart ends it: nobody
    /// knows what is on the disk.
    Failed(i32),
}

/// For INFO.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Stats {
    /// Where the log ends.
    pub lsn: Lsn,
    /// Everything below is durable.
    pub durable: Lsn,
    /// Everything below is certain to survive.
    pub committed: Lsn,
    /// Segments that were begun in this epoch.
    pub segments: u64,
    /// Flushes that were carried out.
    pub flushes: u64,
    /// Microseconds that the last of them took.
    pub last_flush_us: u64,
    /// Microseconds that all of them took.
    pub flush_us: u64,
    /// Bytes that wait for a flush.
    pub waiting_bytes: u64,
}

/// The log of one shard.
pub struct ShardLog<W> {
    writer: Writer,
    commit: Commit,
    in_flight: InFlight,
    pace: Pace,
    policy: Policy,
    /// What waits for each LSN.
    waiting: BTreeMap<Lsn, Vec<W>>,
    released: VecDeque<W>,
    messages: VecDeque<(ShardId, Message)>,
    /// At the shard that is the arbiter.
    arbiter: Option<Arbiter>,
    refusal: Option<Refusal>,
    /// Why there is no segment behind the one written to, since it was last tried.
    no_segment: Option<i32>,
    /// With so much room left, bytes, writes are refused where there is no such segment.
    spare_bytes: u64,
    stats: Stats,
}

impl<W> ShardLog<W> {
    /// The log of a shard in an epoch that begins at `first`.
    pub fn new(identity: Identity, segment_blocks: u32, first: Lsn, policy: Policy) -> Self {
        let shards = usize::from(identity.shards);
        Self {
            writer: Writer::new(identity, segment_blocks, first),
            commit: Commit::new(first),
            in_flight: InFlight::new(first),
            pace: Pace::new(WRITE_BYTES),
            policy,
            waiting: BTreeMap::new(),
            released: VecDeque::new(),
            messages: VecDeque::new(),
            arbiter: (identity.shard == ARBITER).then(|| Arbiter::new(shards)),
            refusal: None,
            no_segment: None,
            spare_bytes: SPARE_BYTES.min(u64::from(segment_blocks) * BLOCK_BYTES as u64 / 4),
            stats: Stats::default(),
        }
    }

    /// Writes that no sync asks for begin with so many bytes, for tests with small segments.
    #[must_use]
    pub fn with_write_bytes(self, write_bytes: usize) -> Self {
        Self {
            pace: Pace::new(write_bytes),
            ..self
        }
    }

    /// `appendfsync`.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// `CONFIG SET appendfsync`. Replies that wait go on waiting.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Why a write must be refused before it runs, if it must.
    #[inline]
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// Whether writes must wait until the disk has caught up.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.writer.waiting_bytes() > WAITING_BYTES_MAX
    }

    /// Logs a unit. Returns the LSN that a reply to it, or a reader of what it wrote, waits for.
    pub fn append(&mut self, unit: &Unit<'_>) -> Result<Lsn, TooLong> {
        let lsns = self.writer.append(unit.db, unit.kind, unit.payload)?;
        let end = lsns.end;
        match unit.keys {
            Keys::These(keys) => self.in_flight.wrote(keys, end),
            Keys::Any => self.in_flight.wrote_all(end),
        }
        if let Kind::Part { txn, participants } = unit.kind {
            let part = Part {
                txn: *txn,
                participants: participants.clone(),
                end,
            };
            self.commit.appended(lsns.start, part);
        }
        Ok(end)
    }

    /// Everything below is certain to survive.
    #[inline]
    pub fn watermark(&self) -> Lsn {
        self.commit.watermark()
    }

    /// Keys whose last write is not certain to survive.
    pub fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// Keeps what waits for an LSN; it comes back by [`next_released`](Self::next_released).
    pub fn wait(&mut self, lsn: Lsn, waiter: W) {
        assert!(lsn <= self.writer.end(), "it was logged before");
        if lsn <= self.watermark() {
            self.released.push_back(waiter);
        } else {
            self.waiting.entry(lsn).or_default().push(waiter);
        }
    }

    /// What waits no more, in the order of the log.
    pub fn next_released(&mut self) -> Option<W> {
        self.released.pop_front()
    }

    /// After a failure: what waits in vain. What it did may be there after a restart, or not.
    pub fn next_lost(&mut self) -> Option<W> {
        if !matches!(self.refusal, Some(Refusal::Failed(_))) {
            return None;
        }
        let mut first = self.waiting.first_entry()?;
        let waiter = first.get_mut().pop();
        if first.get().is_empty() {
            first.remove();
        }
        waiter
    }

    /// The segment that is to be prepared, if one is: always one ahead of the one written to, and of those
    /// that what waits will take.
    pub fn wants_segment(&self) -> Option<u64> {
        let next = self.writer.next_segment();
        let wanted =
            next <= self.writer.segment() + 1 || self.writer.is_nearly_full(self.spare_bytes);
        (wanted && !self.writer.has_failed()).then_some(next)
    }

    /// The segment that was wanted is there.
    pub fn segment_prepared(&mut self) {
        self.writer.segment_prepared();
        self.no_segment = None;
        if matches!(self.refusal, Some(Refusal::NoSegment(_))) {
            self.refusal = None;
        }
    }

    /// The segment that was wanted could not be prepared. Writes are refused as soon as there is little
    /// room in what is left.
    pub fn segment_failed(&mut self, error: i32) {
        self.no_segment = Some(error);
        self.mind_room();
    }

    /// Refuses writes before the last segment is full: what a turn brings before that is known still
    /// has room, so that nobody waits for space who was not refused.
    fn mind_room(&mut self) {
        if let Some(error) = self.no_segment
            && self.refusal.is_none()
            && self.writer.is_nearly_full(self.spare_bytes)
        {
            self.refusal = Some(Refusal::NoSegment(error));
        }
    }

    /// Whether what was logged will not be written before there is space, or never.
    pub fn is_stuck(&self) -> bool {
        match self.refusal {
            Some(Refusal::Failed(_)) => true,
            Some(Refusal::NoSegment(_)) => self.writer.is_starved(),
            None => false,
        }
    }

    /// The log of another shard has failed: transactions with it will never be whole, so this log
    /// stops too.
    pub fn fail(&mut self, error: i32) {
        self.refusal = Some(Refusal::Failed(error));
    }

    /// What is to be written now, if anything. Time is Unix time in microseconds.
    pub fn begin(&mut self, now_us: u64) -> Option<Flush> {
        if matches!(self.refusal, Some(Refusal::Failed(_))) {
            return None;
        }
        self.mind_room();
        let how = self.pace.due(self.policy, &self.writer, now_us)?;
        let mut flush = self.writer.begin(how, self.commit.watermark())?;
        flush.began_us = now_us;
        Some(flush)
    }

    /// When to ask again at the latest, in Unix milliseconds.
    pub fn next_ms(&self) -> Option<u64> {
        self.pace.next_ms(self.policy, &self.writer)
    }

    /// A flush has been carried out, or has failed with an error of the system.
    pub fn ended(&mut self, flush: Flush, result: Result<(), i32>, now_us: u64) {
        let began_us = flush.began_us;
        self.writer.ended(flush, result.map_err(|_| Failed));
        if let Err(error) = result {
            return self.fail(error);
        }
        if self.writer.has_failed() {
            return; // one before it has
        }
        self.stats.flushes += 1;
        self.stats.last_flush_us = now_us.saturating_sub(began_us);
        self.stats.flush_us += self.stats.last_flush_us;
        if let Some(report) = self.commit.flushed(self.writer.durable()) {
            let own = self.writer.identity().shard;
            let message = Message::Report(report);
            if own == ARBITER {
                self.handle(own, message);
            } else {
                self.messages.push_back((ARBITER, message));
            }
        }
        self.release();
    }

    /// A message from the log of another shard.
    pub fn handle(&mut self, from: ShardId, message: Message) {
        match message {
            Message::Settled(settled) => {
                self.commit.settled(settled);
                self.release();
            }
            Message::Report(report) => {
                let own = self.writer.identity().shard;
                let mut arbiter = self.arbiter.take().expect("reports go to the arbiter");
                let mut settled_here = None;
                arbiter.report(from, report, |to, settled| {
                    if to == own {
                        settled_here = Some(settled);
                    } else {
                        self.messages.push_back((to, Message::Settled(settled)));
                    }
                });
                self.arbiter = Some(arbiter);
                if let Some(settled) = settled_here {
                    self.commit.settled(settled);
                    self.release();
                }
            }
        }
    }

    /// What goes to the log of another shard.
    pub fn next_message(&mut self) -> Option<(ShardId, Message)> {
        self.messages.pop_front()
    }

    fn release(&mut self) {
        let watermark = self.commit.watermark();
        self.in_flight.passed(watermark);
        while let Some(first) = self.waiting.first_entry()
            && *first.key() <= watermark
        {
            self.released.extend(first.remove());
        }
    }

    /// Whether all that was logged is certain to survive, and nothing is under way.
    pub fn is_drained(&self) -> bool {
        self.watermark() == self.writer.end()
            && !self.writer.is_flushing()
            && self.messages.is_empty()
            && self.arbiter.as_ref().is_none_or(Arbiter::is_idle)
    }

    /// Nothing more will be appended: whether nothing is under way any more, since all of it is
    /// certain to survive or because it has failed.
    pub fn is_over(&self) -> bool {
        let failed = matches!(self.refusal, Some(Refusal::Failed(_)));
        self.is_drained() || failed && !self.writer.is_flushing()
    }

    /// Where the log stands: between two records.
    pub fn mark(&self) -> Mark {
        Mark {
            lsn: self.writer.end(),
            // What waits is written to this segment or a later one; and it is there after a crash.
            segment: self.writer.durable_segment(),
        }
    }

    /// For INFO.
    pub fn stats(&self) -> Stats {
        Stats {
            lsn: self.writer.end(),
            durable: self.writer.durable(),
            committed: self.watermark(),
            segments: self.writer.segment() + 1,
            waiting_bytes: self.writer.waiting_bytes(),
            ..self.stats
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::txn::TxnId;

    fn log(shard: u16, shards: u16, policy: Policy) -> ShardLog<u32> {
        let identity = Identity {
            shard: ShardId(shard),
            shards,
            epoch: 1,
        };
        let mut log = ShardLog::new(identity, 8, Lsn(0), policy);
        log.segment_prepared();
        log
    }

    fn write(log: &mut ShardLog<u32>, kind: &Kind, key: Position, waiter: u32) {
        let unit = Unit {
            db: 0,
            kind,
            keys: Keys::These(&[key]),
            payload: b"SET",
        };
        let end = log.append(&unit).expect("short");
        log.wait(end, waiter);
    }

    fn released(log: &mut ShardLog<u32>) -> Vec<u32> {
        std::iter::from_fn(|| log.next_released()).collect()
    }

    /// A record that is worth a flush of its own beside others.
    fn write_much(log: &mut ShardLog<u32>, waiter: u32) {
        let unit = Unit {
            db: 0,
            kind: &Kind::Effects,
            keys: Keys::These(&[u64::from(waiter)]),
            payload: &[b'x'; 3000],
        };
        let end = log.append(&unit).expect("short");
        log.wait(end, waiter);
    }

    #[test]
    fn flushes_go_side_by_side_and_replies_keep_their_order() {
        let mut log = log(0, 1, Policy::Always);
        let flushes: Vec<Flush> = (1..=4)
            .map(|waiter| {
                write_much(&mut log, waiter);
                log.begin(u64::from(waiter) * 1000)
                    .expect("enough for another")
            })
            .collect();
        write_much(&mut log, 5);
        assert!(log.begin(10_000).is_none(), "as many as may be");
        let mut flushes = flushes.into_iter();
        let first = flushes.next().expect("four");
        flushes.for_each(|flush| log.ended(flush, Ok(()), 20));
        assert_eq!(released(&mut log), []);
        assert_eq!(log.stats().durable, Lsn(0));
        log.ended(first, Ok(()), 30);
        assert_eq!(released(&mut log), [1, 2, 3, 4]);
        let flush = log.begin(40_000).expect("due");
        log.ended(flush, Ok(()), 50);
        assert_eq!(released(&mut log), [5]);
        assert!(log.is_drained());
    }

    #[test]
    fn what_stands_behind_a_flush_that_fails_is_lost_with_it() {
        let mut log = log(0, 1, Policy::Always);
        let mut begin = |waiter| {
            write_much(&mut log, waiter);
            log.begin(u64::from(waiter) * 1000)
                .expect("enough for another")
        };
        let (first, second, third) = (begin(1), begin(2), begin(3));
        log.ended(first, Ok(()), 20);
        log.ended(third, Ok(()), 20);
        log.ended(second, Err(5), 20);
        assert_eq!(released(&mut log), [1]);
        let mut lost: Vec<u32> = std::iter::from_fn(|| log.next_lost()).collect();
        lost.sort_unstable();
        assert_eq!(lost, [2, 3]);
        assert!(log.is_over() && log.begin(30).is_none());
    }

    #[test]
    fn a_flush_beside_another_begins_after_a_moment_or_with_much() {
        let identity = log(0, 1, Policy::Always).writer.identity();
        let mut log = ShardLog::new(identity, 64, Lsn(0), Policy::Always);
        log.segment_prepared();
        write_much(&mut log, 1);
        let first = log.begin(1000).expect("due");
        write_much(&mut log, 2);
        assert!(log.begin(1200).is_none(), "the first has just begun");
        let second = log.begin(1300).expect("the device takes its time");
        for waiter in 3..25 {
            assert!(log.begin(1301).is_none(), "there is not much yet");
            write_much(&mut log, waiter);
        }
        let third = log.begin(1301).expect("64 KiB");
        for flush in [first, second, third] {
            log.ended(flush, Ok(()), 1400);
        }
        assert!(log.is_drained());
    }

    #[test]
    fn little_waits_for_the_flush_that_is_under_way() {
        let mut log = log(0, 1, Policy::Always);
        write_much(&mut log, 1);
        let flush = log.begin(10).expect("due");
        write(&mut log, &Kind::Effects, 9, 2);
        assert!(log.begin(11).is_none());
        log.ended(flush, Ok(()), 20);
        // A single block that is less than half full is written again: nothing beside it.
        let flush = log.begin(21).expect("due");
        write_much(&mut log, 3);
        assert!(log.begin(22).is_none());
        log.ended(flush, Ok(()), 30);
        assert!(log.begin(31).is_some());
    }

    #[test]
    fn writes_that_come_during_a_flush_share_the_next() {
        let mut log = log(0, 1, Policy::Always);
        write(&mut log, &Kind::Effects, 1, 1);
        let flush = log.begin(10).expect("due");
        write(&mut log, &Kind::Effects, 2, 2);
        write(&mut log, &Kind::Effects, 3, 3);
        assert!(log.begin(20).is_none());
        assert_eq!(released(&mut log), []);
        log.ended(flush, Ok(()), 150);
        assert_eq!(released(&mut log), [1]);
        assert!(log.in_flight().of_key(1).is_none() && log.in_flight().of_key(2).is_some());
        let flush = log.begin(160).expect("due");
        log.ended(flush, Ok(()), 300);
        assert_eq!(released(&mut log), [2, 3]);
        assert!(log.is_drained() && log.begin(310).is_none());
        let stats = log.stats();
        assert_eq!(
            (stats.flushes, stats.last_flush_us, stats.flush_us),
            (2, 140, 280)
        );
    }

    #[test]
    fn a_transaction_is_released_when_both_parts_are_durable() {
        let mut logs = [log(0, 2, Policy::Always), log(1, 2, Policy::Always)];
        let txn = TxnId {
            number: 1,
            coordinator: ShardId(0),
        };
        let participants = [ShardId(0), ShardId(1)].into_iter().collect();
        let kind = Kind::Part { txn, participants };
        for log in &mut logs {
            write(log, &kind, 1, 1);
            write(log, &Kind::Effects, 2, 2);
        }
        let flush = logs[1].begin(0).expect("due");
        logs[1].ended(flush, Ok(()), 0);
        let (to, message) = logs[1].next_message().expect("a report");
        assert_eq!(to, ARBITER);
        logs[0].handle(ShardId(1), message);
        assert!(released(&mut logs[1]).is_empty() && logs[0].next_message().is_none());
        let flush = logs[0].begin(0).expect("due");
        logs[0].ended(flush, Ok(()), 0);
        assert_eq!(released(&mut logs[0]), [1, 2]);
        let (to, message) = logs[0].next_message().expect("an answer");
        assert_eq!(to, ShardId(1));
        logs[1].handle(ShardId(0), message);
        assert_eq!(released(&mut logs[1]), [1, 2]);
        assert!(logs.iter().all(ShardLog::is_drained));
    }

    #[test]
    fn after_a_failure_writes_are_refused_for_good() {
        let mut log = log(0, 1, Policy::Always);
        write(&mut log, &Kind::Effects, 1, 1);
        let flush = log.begin(0).expect("due");
        assert_eq!(log.next_lost(), None);
        log.ended(flush, Err(libc::EIO), 0);
        assert_eq!(log.refusal(), Some(Refusal::Failed(libc::EIO)));
        assert_eq!((log.next_lost(), log.next_lost()), (Some(1), None));
        log.segment_prepared();
        assert_eq!(log.refusal(), Some(Refusal::Failed(libc::EIO)));
        assert!(log.wants_segment().is_none());
    }

    #[test]
    fn without_space_writes_are_refused_until_there_is_some() {
        let mut log = log(0, 1, Policy::Always);
        assert_eq!(log.wants_segment(), Some(1));
        let unit = |payload| Unit {
            db: 0,
            kind: &Kind::Effects,
            keys: Keys::Any,
            payload,
        };
        log.segment_failed(libc::ENOSPC);
        assert_eq!(log.refusal(), None, "there is room in the first segment");
        log.append(&unit(&[0; 21_000])).expect("short");
        let flush = log.begin(0).expect("due");
        assert_eq!(log.refusal(), Some(Refusal::NoSegment(libc::ENOSPC)));
        log.ended(flush, Ok(()), 0);
        assert!(
            log.is_drained() && !log.is_stuck(),
            "nobody waits for space"
        );
        // What came before that was known, and was more.
        log.append(&unit(&[0; 21_000])).expect("short");
        let flush = log.begin(1000).expect("due");
        log.ended(flush, Ok(()), 1000);
        assert!(log.begin(1000).is_none() && log.is_stuck());
        log.segment_prepared();
        assert!(log.refusal().is_none() && !log.is_stuck());
        let flush = log.begin(2000).expect("it goes on");
        log.ended(flush, Ok(()), 2000);
        assert!(log.is_drained());
    }

    /// What does not fit into the segment any more goes to the next one at once.
    #[test]
    fn a_sync_goes_on_in_the_next_segment() {
        let mut log = log(0, 1, Policy::EverySecond);
        let second = 1_000_000;
        log.segment_prepared();
        let unit = |payload| Unit {
            db: 0,
            kind: &Kind::Effects,
            keys: Keys::Any,
            payload,
        };
        log.append(&unit(&[0; 20_000])).expect("short");
        log.append(&unit(&[0; 20_000])).expect("short");
        let flush = log.begin(5 * second).expect("none for long");
        log.ended(flush, Ok(()), 5 * second);
        assert!(!log.is_drained(), "it is more than a segment");
        assert_eq!(log.next_ms(), Some(5000), "and goes on");
        let flush = log.begin(5 * second).expect("it goes on");
        log.ended(flush, Ok(()), 5 * second);
        assert!(log.is_drained());
        log.append(&unit(b"SET")).expect("short");
        assert_eq!(log.next_ms(), Some(6000));
        assert!(log.begin(5 * second + 900_000).is_none());
    }

    #[test]
    fn every_second_has_one_sync() {
        let mut log = log(0, 1, Policy::EverySecond);
        let second = 1_000_000;
        write(&mut log, &Kind::Effects, 1, 1);
        let flush = log.begin(5 * second).expect("none for long");
        log.ended(flush, Ok(()), 5 * second);
        write(&mut log, &Kind::Effects, 1, 2);
        assert!(log.begin(5 * second + 999_000).is_none());
        assert_eq!(log.next_ms(), Some(6000));
        let flush = log.begin(6 * second).expect("a second later");
        log.ended(flush, Ok(()), 6 * second);
        assert_eq!(released(&mut log), [1, 2]);
        assert_eq!(log.next_ms(), None, "nothing to do");
    }

    /// A start after a crash has to keep in memory what no sync has covered.
    #[test]
    fn much_is_synced_before_its_time() {
        let mut log = log(0, 1, Policy::No).with_write_bytes(64);
        let mut flush = |at| {
            write(&mut log, &Kind::Effects, 1, 1);
            let flush = log.begin(at);
            flush.map(|flush| {
                let synced = !flush.syncs.is_empty();
                log.ended(flush, Ok(()), at);
                synced
            })
        };
        let second = 1_000_000;
        assert_eq!(flush(50 * second), Some(true), "the first in half a minute");
        let early = (0..800).filter(|_| flush(51 * second) == Some(true));
        let early = early.count();
        assert!((1..=3).contains(&early), "{early} for some 25 KB");
    }
}
