//! The shard's log on the way of its commands: what they leave behind goes into it, once a turn or
//! with each command, and with `appendfsync always` nothing leaves the shard that tells of what
//! could still be lost.
//!
//! # What waits
//! As on Redis, where no reply of a turn is sent before the log is synced; but for reads of keys
//! that nobody has written just now, which do not wait.
//!
//! | what | waits for |
//! | --- | --- |
//! | output of a connection | the end of this shard's log at the time at which it is to be sent; nothing, where it consists of reads that did not meet a write in flight, refusals, replies from other shards and what tells of no key |
//! | a reply, a message to subscribers, an invalidation for another shard | the same, at the shard that sends it; so whoever receives it need not wait for that shard's log |
//! | messages of the transaction machine | nothing: they tell clients nothing |
//!
//! A transaction over several shards leaves a part in the log of the shard that has run it, the home
//! of its client, and that log's watermark does not pass the part before all others are durable: so
//! the reply waits for the home's log alone. One that only reads leaves parts where something that
//! it has seen is in flight.
//!
//! Logs are turned on and off while the server runs ([`super::log_switch`]).
//!
//! # Faults
//! Without a segment to write to (no space), writes are refused at all shards until there is one.
//! After a failed write or sync they are refused for good, what waits is never told, and its
//! connections end: nobody knows whether what they did is there after a restart.

use std::collections::VecDeque;

use super::engine::{Engine, slow};
use super::remote::{kind, wire};
use super::session::{ConnId, Session, flag};
use crate::command::error::Error;
use crate::command::keys::keys_of;
use crate::command::spec::{Flags, Spec};
use crate::keyspace::Pos;
use crate::log::Lsn;
use crate::log::message::Message;
use crate::log::pace::Policy;
use crate::log::record::Kind;
use crate::log::shard_log::{Keys, Refusal, ShardLog, Stats, Unit};
use crate::log::writer::Flush;
use crate::mesh::ShardId;
use crate::resp::encode::Output;
use crate::server::config::reason;
use crate::server::log as words;
use crate::server::logs::{Seat, policy};
use crate::shard::effects;
use crate::shard::lending::Ask;

/// A shard's log, and what waits for it.
pub(super) struct Journal {
    pub(super) log: ShardLog<ConnId>,
    /// The epoch of the log.
    epoch: u32,
    /// For each shard what is to reach it once it is certain to survive.
    pub(super) held: Vec<Held>,
    /// Connections whose writes wait until the disk has caught up.
    pub(super) stalled: Vec<ConnId>,
    /// Nothing more is logged, and what tells of something leaves when all logs are closed.
    pub(super) ending: bool,
}

/// Messages for one shard that wait.
#[derive(Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    /// For each LSN that something waits for, where that ends, counted from the first byte ever.
    marks: VecDeque<(Lsn, u64)>,
    /// Bytes that have left.
    gone: u64,
}

/// Bits of a message's kind, above the kind itself.
pub(super) mod mark {
    /// It need not wait any more.
    pub(in crate::net) const SURE: u8 = 0x80;
    /// A reply that tells of what may be lost: its connection ends.
    pub(in crate::net) const LOST: u8 = 0x40;
    /// What is left is the kind.
    pub(in crate::net) const KIND: u8 = 0x3F;
}

/// Whether a message tells a client something, so that it may have to wait.
fn is_told(kind_of: u8) -> bool {
    matches!(
        kind_of,
        kind::REPLY
            | kind::SHOWN
            | kind::PUBLISHED
            | kind::INVALID
            | kind::CHANGED
            | kind::ALL_CHANGED
            | kind::FLUSHED
    )
}

/// Visits the messages of a batch: where each begins and ends.
fn each_message(batch: &mut [u8], mut visit: impl FnMut(&mut [u8])) {
    let mut rest = batch;
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest[..4].try_into().expect("four bytes")) as usize;
        let (message, behind) = rest.split_at_mut(4 + length);
        visit(message);
        rest = behind;
    }
}

impl Held {
    /// Whether something waits for no more than `watermark`.
    fn has_released(&self, watermark: Lsn) -> bool {
        self.marks.front().is_some_and(|(lsn, _)| *lsn <= watermark)
    }

    /// Releases what waits for no more than `watermark`.
    pub(super) fn release(&mut self, watermark: Lsn, bits: u8, into: &mut Vec<u8>) {
        let mut end = self.gone;
        while let Some(&(lsn, until)) = self.marks.front()
            && lsn <= watermark
        {
            end = until;
            self.marks.pop_front();
        }
        let count = (end - self.gone) as usize;
        let from = into.len();
        into.extend(self.bytes.drain(..count));
        self.gone = end;
        each_message(&mut into[from..], |message| message[4] |= bits);
    }
}

impl Engine {
    /// The dataset is there: begins the shard's log, if it is to keep one. The reactor takes the seat.
    pub fn take_up_log(&mut self) {
        if self.take_seat() && self.shard.node.logs.taken_up() {
            self.shard.node.wake_all();
        }
    }

    /// Begins the shard's log, if there is a seat for it; whether there was.
    pub(super) fn take_seat(&mut self) -> bool {
        let Some(seat) = self.shard.node.logs.take_seat(self.shard.id) else {
            return false;
        };
        let policy = policy(self.shard.config.appendfsync);
        let log = ShardLog::new(seat.identity, seat.segment_blocks, seat.first, policy);
        self.journal = Some(Box::new(Journal {
            log,
            epoch: seat.identity.epoch,
            held: (0..self.outgoing.len()).map(|_| Held::default()).collect(),
            stalled: Vec::new(),
            ending: false,
        }));
        self.shard.effects.listen(true);
        self.log_seat = Some(seat);
        self.mind_logs();
        true
    }

    /// This shard is about to tell its part of a base: notes where its log stands.
    pub fn mark_log(&mut self) {
        self.log_units();
        let is_logged = !self.shard.effects.is_held() && !self.shard.effects.has_units();
        assert!(
            is_logged,
            "the base holds no more than the log before the mark"
        );
        if let Some(journal) = &self.journal {
            let mark = journal.log.mark();
            self.shard.node.logs.mark(self.shard.id, mark);
        }
    }

    /// The seat of a log that has just begun, for the reactor.
    pub fn take_log_seat(&mut self) -> Option<Seat> {
        self.log_seat.take()
    }

    /// Takes `appendfsync` as it is now.
    pub(super) fn mind_policy(&mut self) {
        let policy = policy(self.shard.config.appendfsync);
        if let Some(journal) = self.journal.as_mut().filter(|journal| !journal.ending) {
            journal.log.set_policy(policy);
        }
        self.mind_gates();
    }

    /// Finds out whether what leaves has to wait.
    pub(super) fn mind_gates(&mut self) {
        let waits = |journal: &Journal| {
            journal.log.policy() == Policy::Always
                && !matches!(journal.log.refusal(), Some(Refusal::Failed(_)))
        };
        let gates = self.journal.as_deref().is_some_and(waits);
        if gates && !self.gates {
            // What has gathered until now was not looked at.
            for session in self.sessions.iter_mut().flatten() {
                session.sure_bytes = 0;
            }
        }
        self.gates = gates;
    }

    /// Logs what has become a unit since the last time.
    pub fn log_units(&mut self) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        if !self.shard.node.logs.are_kept() {
            return self.pass_over_units();
        }
        let effects = &mut self.shard.effects;
        if !effects.has_units() || effects.is_held() {
            return;
        }
        let mut too_long = false;
        let gates = self.gates;
        // A record for each command would cost more than what it says.
        effects.take_joined(effects::JOINED_BYTES_MAX, |unit| {
            too_long |= !journal.append(&unit, gates);
        });
        let end = journal.log.stats().lsn;
        self.shard.node.logs.logged(self.shard.id, end);
        if too_long {
            // A record holds 4 GiB; without it the log would not be what the shard holds.
            journal.log.fail(libc::EFBIG);
            self.log_changed();
        }
    }

    /// The end of a turn: logs what it has left behind, and ends the log if it is to end. A turn may
    /// have released what kept it open, and nothing else may happen to the log after that.
    pub fn log_turn(&mut self) {
        self.log_units();
        self.mind_end_of_log();
    }

    /// What the log wants written now.
    pub fn begin_flush(&mut self) -> Option<Flush> {
        let journal = self.journal.as_mut()?;
        let before = journal.log.refusal();
        let flush = journal.log.begin(self.shard.now_us);
        if journal.log.refusal() != before {
            self.log_changed();
        }
        flush
    }

    /// It has been written, or an error of the system has prevented it.
    pub fn flush_ended(&mut self, flush: Flush, result: Result<(), i32>) {
        let journal = self.journal.as_mut().expect("it has begun the flush");
        if let Err(error) = result {
            words::warning(format_args!(
                "The log of shard {} cannot be written ({}). Writes are refused until the server \
                 is started again. What was acknowledged without waiting for the log may be lost \
                 then, unless BGREWRITEAOF saves it before.",
                self.shard.id.0,
                reason(&std::io::Error::from_raw_os_error(error))
            ));
        }
        journal.log.ended(flush, result, self.shard.now_us);
        self.log_changed();
    }

    /// Unix time in milliseconds at which a flush is due though nothing happens.
    pub(super) fn flush_due_ms(&self) -> Option<u64> {
        self.journal.as_ref()?.log.next_ms()
    }

    /// The segment that is to be prepared.
    pub fn wanted_segment(&self) -> Option<u64> {
        self.journal.as_ref()?.log.wants_segment()
    }

    /// It is there, or could not be prepared.
    pub fn segment_came(&mut self, result: Result<(), i32>) {
        let journal = self.journal.as_mut().expect("it has asked for one");
        match result {
            Ok(()) => journal.log.segment_prepared(),
            Err(error) => journal.log.segment_failed(error),
        }
        self.log_changed();
    }

    /// No client is served any more: all that is left is written at once. Whether that is done, or
    /// will never be.
    pub fn log_is_finished(&mut self) -> bool {
        self.log_units();
        let Some(journal) = &mut self.journal else {
            return true;
        };
        journal.log.set_policy(Policy::Always);
        let stats = journal.log.stats();
        stats.durable == stats.lsn || journal.log.is_stuck()
    }

    /// For INFO.
    pub fn log_stats(&self) -> Option<Stats> {
        self.journal.as_ref().map(|journal| journal.log.stats())
    }

    /// Something has happened to the log: carries out what that means.
    pub(super) fn log_changed(&mut self) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        while let Some((to, message)) = journal.log.next_message() {
            let buf = &mut self.outgoing[to.index()].buf;
            let at = wire::begin(buf, kind::LOG);
            buf.extend_from_slice(&journal.epoch.to_le_bytes());
            message.encode(buf);
            wire::end(buf, at);
        }
        let watermark = journal.log.watermark();
        for (held, out) in journal.held.iter_mut().zip(&mut self.outgoing) {
            if held.has_released(watermark) {
                self.runs.end(); // they move
                // What was told later stands behind: a subscriber gets messages in their order.
                let later = std::mem::take(&mut out.buf);
                held.release(watermark, mark::SURE, &mut out.buf);
                out.buf.extend_from_slice(&later);
            }
        }
        let (refusal, full) = (journal.log.refusal(), journal.log.is_full());
        while let Some(conn) = self.journal.as_mut().and_then(|j| j.log.next_released()) {
            if self.session_if(conn).is_some() {
                self.mark_dirty(conn);
            }
        }
        let logs = &self.shard.node.logs;
        let waited_for = logs.got_certain(self.shard.id, watermark);
        if logs.say(self.shard.id, refusal, full) || waited_for {
            self.shard.node.wake_all();
        }
        self.mind_end_of_log();
    }

    /// The log of another shard says something. One that was ended without success may have left words
    /// on their way to the one after it.
    pub(super) fn on_log(&mut self, from: ShardId, bytes: &[u8]) {
        let (epoch, mut message) = bytes.split_first_chunk().expect("an epoch stands first");
        let message = Message::decode(&mut message);
        let epoch = u32::from_le_bytes(*epoch);
        if let Some(journal) = self
            .journal
            .as_mut()
            .filter(|journal| journal.epoch == epoch)
        {
            journal.log.handle(from, message);
        }
        self.log_changed();
    }

    /// The logs of the process let clients write, or do not any more.
    pub fn mind_logs(&mut self) {
        self.log_units();
        let kept = self.shard.node.logs.are_kept();
        let refusal = self.shard.node.logs.refusal();
        let full = kept && self.shard.node.logs.are_full();
        if let Some(journal) = &mut self.journal
            && let Some(Refusal::Failed(error)) = refusal
            && !matches!(journal.log.refusal(), Some(Refusal::Failed(_)))
        {
            journal.log.fail(error);
        }
        if matches!(refusal, Some(Refusal::Failed(_))) {
            self.give_up_waiting();
        }
        self.end_log_waits();
        self.end_waits_for_snapshot();
        self.set_slow(slow::UNLOGGED, kept && refusal.is_some());
        self.set_slow(slow::LOG_FULL, full);
        if !full && let Some(journal) = &mut self.journal {
            self.resumable.append(&mut journal.stalled);
        }
        self.mind_gates();
        self.mind_end_of_log();
    }

    fn set_slow(&mut self, bit: u32, on: bool) {
        if on {
            self.slow |= bit;
        } else {
            self.slow &= !bit;
        }
    }

    /// What waits will never be certain to survive: its connections end.
    fn give_up_waiting(&mut self) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        for (held, out) in journal.held.iter_mut().zip(&mut self.outgoing) {
            held.release(Lsn(u64::MAX), mark::SURE | mark::LOST, &mut out.buf);
        }
        let mut lost = Vec::new();
        while let Some(conn) = journal.log.next_lost() {
            lost.push(conn);
        }
        lost.retain(|conn| self.session_if(*conn).is_some_and(|s| s.is(flag::GATED)));
        if self.gates {
            // Answers that have not been looked at yet, behind one that is missing.
            for (conn, session) in (0..).zip(&self.sessions) {
                let unsure = |session: &Session| session.unsent_bytes() > session.sure_bytes;
                if session.as_deref().is_some_and(unsure) && !lost.contains(&conn) {
                    lost.push(conn);
                }
            }
        }
        for conn in lost {
            self.close(conn);
        }
    }

    /// Why the logs refuse a command that writes, as Redis says it.
    pub(super) fn log_refusal(&self) -> Option<Error> {
        if !self.shard.node.logs.are_kept() {
            return None;
        }
        let (Refusal::NoSegment(error) | Refusal::Failed(error)) =
            self.shard.node.logs.refusal()?;
        let why = reason(&std::io::Error::from_raw_os_error(error));
        Some(Error::new(format!(
            "MISCONF Errors writing to the AOF file: {why}"
        )))
    }

    /// A write waits until the disk has caught up.
    pub(super) fn wait_for_disk(&mut self, conn: ConnId) {
        if let Some(journal) = &mut self.journal {
            journal.stalled.push(conn);
        }
    }

    /// Whether a command that has run may be answered at once: it only reads, and met nothing that
    /// could still be lost. Asked while output [waits](Self::gates).
    pub(super) fn is_sure(&mut self, spec: &Spec, pos: Pos, args: &[&[u8]]) -> bool {
        if !spec.flags.has(Flags::READONLY) {
            return self.journal.is_none();
        }
        self.log_units();
        let Some(journal) = &self.journal else {
            return true;
        };
        if self.shard.effects.has_units() {
            return false;
        }
        let in_flight = journal.log.in_flight();
        if in_flight.is_empty() {
            return true;
        }
        if pos != Pos::default() {
            return in_flight.of_key(pos.to_bits()).is_none();
        }
        self.keys_are_sure(spec, args)
    }

    fn keys_are_sure(&self, spec: &Spec, args: &[&[u8]]) -> bool {
        let Some(journal) = &self.journal else {
            return true;
        };
        let mut keys = Vec::new();
        keys_of(spec, args, &mut keys);
        let sure = |key: &[u8]| {
            let position = self.shard.pos(key).to_bits();
            journal.log.in_flight().of_key(position).is_none()
        };
        !keys.is_empty() && keys.iter().all(|at| sure(args[at.index]))
    }

    /// Whether something of what a transaction is lent could still be lost.
    pub(super) fn is_unsettled(&mut self, ask: &Ask) -> bool {
        if !self.gates {
            return false;
        }
        self.log_units();
        let Some(journal) = &self.journal else {
            return false;
        };
        let in_flight = journal.log.in_flight();
        if in_flight.is_empty() {
            return false;
        }
        let mut lent = ask.keys.iter().map(|wanted| wanted.pos.to_bits());
        if lent.any(|position| in_flight.of_key(position).is_some()) {
            return true;
        }
        match &ask.questions {
            Some(questions) => !questions.commands.iter().all(|command| {
                let spec = self.shard.registry.row(command.command.row).spec;
                let args: Vec<&[u8]> = command.args().collect();
                self.keys_are_sure(spec, &args)
            }),
            None => ask.keys.is_empty(),
        }
    }

    /// Whether the output of connections may have to wait.
    #[inline]
    pub fn gates(&self) -> bool {
        self.gates
    }

    /// Keeps back what a connection is to be sent and may not be yet; what is left in its output may
    /// leave.
    pub fn gate_output(&mut self, conn: ConnId) {
        let gates = self.gates;
        let session = self.sessions[conn as usize].as_deref_mut().expect("in use");
        let Some(journal) = &mut self.journal else {
            return;
        };
        let watermark = journal.log.watermark();
        let gated = &mut session.info.gated;
        if !session.out.is_empty() {
            let sure = session.sure_bytes == session.out.len() + session.held.bytes();
            let needs = match journal.ending {
                _ if sure || !gates => Lsn::default(),
                true => Lsn(u64::MAX),
                false => journal.log.stats().lsn,
            };
            // What is behind waits for what is before it.
            session.sure_bytes = session.held.bytes();
            if needs > watermark || !gated.is_empty() {
                let before = gated.back().map_or(watermark, |(lsn, _)| *lsn);
                let out = std::mem::take(&mut session.out);
                session.info.gated_bytes += out.len();
                gated.push_back((needs.max(before), out));
                session.flags |= flag::GATED;
                if needs > before && !journal.ending {
                    journal.log.wait(needs, conn);
                }
            }
        }
        while let Some((lsn, _)) = gated.front()
            && *lsn <= watermark
        {
            let (_, mut out) = gated.pop_front().expect("just seen");
            session.info.gated_bytes -= out.len();
            if session.out.is_empty() {
                session.out = out;
            } else {
                session.out.append(&mut out);
            }
        }
        if gated.is_empty() {
            session.flags &= !flag::GATED;
        }
    }

    /// Keeps back what other shards are to be told and may not be yet; before lanes are flushed.
    pub fn hold_messages(&mut self) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        let (end, watermark) = (journal.log.stats().lsn, journal.log.watermark());
        if !self.gates || end <= watermark {
            return;
        }
        for (held, out) in journal.held.iter_mut().zip(&mut self.outgoing) {
            held.take(end, out);
        }
    }
}

impl Held {
    /// Takes out of a batch what waits for `end`.
    fn take(&mut self, end: Lsn, batch: &mut Output) {
        let waits = |message: &[u8]| message[4] & mark::SURE == 0 && is_told(message[4]);
        let mut any = false;
        each_message(&mut batch.buf, |message| any |= waits(message));
        if !any {
            return;
        }
        let mut left = Vec::with_capacity(batch.buf.capacity());
        each_message(&mut batch.buf, |message| {
            let to = if waits(message) {
                &mut self.bytes
            } else {
                &mut left
            };
            to.extend_from_slice(message);
        });
        batch.buf = left;
        self.marks
            .push_back((end, self.gone + self.bytes.len() as u64));
    }
}

impl Journal {
    /// Appends a unit; false if it is longer than a record may be. Its keys matter where somebody
    /// waits for them.
    fn append(&mut self, unit: &effects::Unit<'_>, with_keys: bool) -> bool {
        let kind = match unit.part_of {
            None => Kind::Effects,
            Some(part) => Kind::Part {
                txn: part.txn,
                participants: part.participants.iter().copied().collect(),
            },
        };
        let keys = match (with_keys, unit.whole) {
            (true, true) => Keys::Any,
            (true, false) => Keys::These(unit.keys),
            (false, _) => Keys::These(&[]),
        };
        let unit = Unit {
            db: unit.db,
            kind: &kind,
            keys,
            payload: unit.payload,
        };
        self.log.append(&unit).is_ok()
    }
}
