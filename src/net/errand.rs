//! What one shard asks of another apart from single commands and the messages of the transaction
//! machine. An errand crosses as a pointer; it is carried out at once, in its place among what the
//! lane carries.

use super::batch::RemoteCall;
use super::blocking::Begun;
use super::engine::Engine;
use super::migration::Traveller;
use super::pubsub::Told;
use super::remote::{kind, wire};
use super::slots::SlotsMessage;
use crate::keyspace::OwnedEntry;
use crate::mesh::ShardId;
use crate::resp::encode::Output;
use crate::shard::blocking::Token;
use crate::shard::effects::Payload;
use crate::shard::lending::{Block, Change, OwnedCommand, Questions, Wanted};
use crate::txn::TxnId;

/// An errand, or the answer to one.
pub(super) enum Errand {
    /// Run an EXEC all of whose keys are yours, when they are free; reply to the connection.
    Block { call: RemoteCall, block: Block },
    /// Register watches on your keys, when they are free.
    Watch {
        call: RemoteCall,
        gather: u32,
        keys: Vec<Wanted>,
    },
    /// They are registered.
    Watched { gather: u32 },
    /// Run a command, or your part of it, whose transaction holds what it needs.
    Step {
        txn: TxnId,
        call: RemoteCall,
        command: OwnedCommand,
        /// The time of the transaction, Unix milliseconds.
        now_ms: u64,
    },
    /// What it answers.
    Stepped {
        txn: TxnId,
        output: Output,
        /// Whether it leaves anything behind for the log.
        left: bool,
    },
    /// Answer once more: your keys, which the transaction holds, may have expired since.
    AskAgain {
        txn: TxnId,
        questions: Box<Questions>,
        /// The time of the transaction, Unix milliseconds.
        now_ms: u64,
    },
    /// The answers, with what was asked.
    AnsweredAgain {
        txn: TxnId,
        questions: Box<Questions>,
        answers: Vec<Output>,
    },
    /// Lend entries to a transaction that holds them.
    Lend { txn: TxnId, keys: Vec<Wanted> },
    /// These are they.
    Lent {
        txn: TxnId,
        keys: Vec<Wanted>,
        entries: Vec<Option<OwnedEntry>>,
    },
    /// Here they are again.
    Back {
        keys: Vec<Wanted>,
        entries: Vec<Option<OwnedEntry>>,
        changes: Vec<Change>,
        /// For which transaction, and what it has done to them.
        txn: TxnId,
        payload: Payload,
    },
    /// My connections have begun or ended subscriptions.
    Subscriptions(Told),
    /// I know of the subscriptions that you have told me with this number.
    Subscribed(u32),
    /// A connection of yours waits here.
    Waits(Begun),
    /// The wait that has this token has ended.
    WaitEnded(Token),
    /// About slots that move.
    Slots(SlotsMessage),
    /// This connection is yours from now on.
    Migrated(Box<Traveller>),
    /// The connection of this client, which was yours, is here.
    Arrived(u64),
    /// The connection of this client, which I have sent you, is to end.
    Kill(u64),
}

impl Engine {
    /// Sends an errand to another shard.
    pub(super) fn send_errand(&mut self, to: ShardId, errand: Errand) {
        assert_ne!(to, self.shard.id, "a shard sends itself nothing");
        self.moves.sent += u64::from(!matches!(errand, Errand::Slots(_)));
        let buf = &mut self.outgoing[to.index()].buf;
        let at = wire::begin(buf, kind::ERRAND);
        wire::put_u64(buf, wire::pack(errand));
        wire::end(buf, at);
    }

    /// Carries out an errand of another shard.
    pub(super) fn run_errand(&mut self, from: ShardId, errand: Errand) {
        self.moves.received += u64::from(!matches!(errand, Errand::Slots(_)));
        match errand {
            Errand::Block { call, block } => self.block_arrived(call, block),
            Errand::Watch { call, gather, keys } => self.register(call, gather, keys),
            Errand::Watched { gather } => self.gathered(gather, from, Output::default()),
            Errand::Step {
                txn,
                call,
                mut command,
                now_ms,
            } => {
                let mut output = Output::default();
                let own_ms = std::mem::replace(&mut self.shard.now_ms, now_ms);
                self.shard.effects.hold();
                self.answer_question(&call, &mut command, &mut output);
                self.shard.effects.release();
                let left = self.shard.effects.keep(txn);
                self.shard.now_ms = own_ms;
                self.send_errand(from, Errand::Stepped { txn, output, left });
            }
            Errand::Stepped { txn, output, left } => self.stepped(txn, from, output, left),
            Errand::AskAgain {
                txn,
                mut questions,
                now_ms,
            } => {
                let own_ms = std::mem::replace(&mut self.shard.now_ms, now_ms);
                let answers = self.answer_questions(&mut questions);
                self.shard.now_ms = own_ms;
                let errand = Errand::AnsweredAgain {
                    txn,
                    questions,
                    answers,
                };
                self.send_errand(from, errand);
            }
            Errand::AnsweredAgain {
                txn,
                questions,
                answers,
            } => self.answered_again(txn, from, questions, answers),
            Errand::Lend { txn, keys } => {
                let entries = self.shard.take_entries(&keys);
                self.send_errand(from, Errand::Lent { txn, keys, entries });
            }
            Errand::Lent { txn, keys, entries } => self.lent_to_step(txn, from, keys, entries),
            Errand::Back {
                keys,
                mut entries,
                changes,
                txn,
                payload,
            } => {
                self.shard.put_entries(&keys, &mut entries);
                self.shard.tell_changes(changes);
                self.shard.effects.keep_payload(txn, &payload);
            }
            Errand::Subscriptions(told) => self.subscriptions_changed(from, told),
            Errand::Subscribed(number) => self.subscribed(number),
            Errand::Waits(begun) => self.wait_begun(begun),
            Errand::WaitEnded(token) => self.shard.forget_waiter(&token),
            Errand::Slots(message) => self.on_slots(from, message),
            Errand::Migrated(traveller) => self.migration.arrived.push((from, traveller)),
            Errand::Arrived(id) => self.migration_ended(id),
            Errand::Kill(id) => self.kill_arrived(id),
        }
    }
}
