//! MIGRATE as a step of a block. Its keys come here from their owners and are dumped; they stay out of
//! everybody's sight while a thread has its conversation with the target ([`crate::net::migrate`]), and go
//! back, without those that the target has taken, when it has answered.

use super::Steps;
use crate::command::generic::migrate::Request;
use crate::net::batch::RemoteCall;
use crate::net::engine::Engine;
use crate::net::migrate::parcel;
use crate::resp::Version;
use crate::resp::encode::{Output, Reply};
use crate::server::migrate::Outcome;
use crate::shard::lending::OwnedCommand;
use crate::txn::TxnId;

/// What a target was sent.
pub(super) struct Sent {
    keys: Vec<Box<[u8]>>,
    /// Whether they stay here.
    copy: bool,
}

impl Engine {
    /// Begins the step: borrows the keys.
    pub(super) fn begin_migrate_step(
        &mut self,
        txn: TxnId,
        steps: &mut Steps,
        call: &RemoteCall,
        command: OwnedCommand,
    ) {
        let args: Vec<&[u8]> = command.args().collect();
        if let Err(error) = Request::parse(&args) {
            self.shard.stats.count_error(error.code());
            self.count_migrate(command.command.row, true);
            let mut output = Output::default();
            Reply::new(&mut output, call.version).error(error.text());
            return self.say(steps, output);
        }
        let keys = self.keys_in(call.db, &command);
        self.borrow(txn, steps, keys);
        if steps.missing > 0 {
            steps.current = Some(command);
        } else {
            self.send_from_step(txn, steps, command);
            if steps.current.is_none() {
                self.give_back(txn, steps);
            }
        }
    }

    /// All keys are here: dumps them for the target. Without any the step is over.
    pub(super) fn send_from_step(&mut self, txn: TxnId, steps: &mut Steps, command: OwnedCommand) {
        let begun = steps.call.expect("it has begun");
        let call = self.remote_call(begun.conn, begun.seq);
        let args: Vec<&[u8]> = command.args().collect();
        let request = Request::parse(&args).expect("looked at when the step began");
        // Whatever the client speaks, what is dumped is for this shard.
        let version = Version::Resp2;
        let own = RemoteCall { version, ..call };
        let mut parcels = Vec::new();
        let mut loans = std::mem::take(&mut steps.lent);
        self.with_loans(&mut loans, |engine| {
            for key in args[request.keys_at..].iter().take(request.keys) {
                let dump = engine.ask_own(&own, b"DUMP", key);
                let expiry = engine.ask_own(&own, b"PEXPIRETIME", key);
                // For the target time has not stood still since the block began.
                let now_ms = engine.shard.now_us / 1000;
                parcels.extend(parcel(key, &dump, &expiry, now_ms));
            }
        });
        steps.lent = loans;
        if parcels.is_empty() {
            self.count_migrate(command.command.row, false);
            let mut output = Output::default();
            Reply::new(&mut output, call.version).simple("NOKEY");
            return self.say(steps, output);
        }
        steps.sent = Some(Sent {
            keys: parcels.iter().map(|parcel| parcel.key.clone()).collect(),
            copy: request.copy,
        });
        steps.current = Some(command);
        self.key_migrations.ask_for_step(txn, request, parcels);
    }

    /// The target has what it has: that is deleted here, and the next step begins.
    pub(in crate::net) fn migrate_stepped(&mut self, txn: TxnId, outcome: &Outcome) {
        let steps = self.stepping.remove(&txn);
        let mut steps = steps.expect("it waits for its target");
        let command = steps.current.take().expect("it waits");
        let sent = steps.sent.take().expect("it was sent something");
        assert_eq!(sent.keys.len(), outcome.taken.len(), "each has its answer");
        let begun = steps.call.expect("it has begun");
        let call = self.remote_call(begun.conn, begun.seq);
        let now_ms = std::mem::replace(&mut self.shard.now_ms, steps.now_ms);
        let mut loans = std::mem::take(&mut steps.lent);
        self.with_loans(&mut loans, |engine| {
            let taken = sent.keys.iter().zip(&outcome.taken);
            for (key, _) in taken.filter(|(_, taken)| **taken && !sent.copy) {
                engine.ask_own(&call, b"DEL", key);
            }
        });
        steps.lent = loans;
        self.keep_step(txn, &mut steps);
        self.shard.now_ms = now_ms;
        self.give_back(txn, &mut steps);
        let output = self.outcome_of(command.command.row, call.version, outcome);
        self.say(&mut steps, output);
        self.go_on(txn, steps);
    }

    /// Adds a step's reply, if the client wants to hear it.
    fn say(&mut self, steps: &mut Steps, mut output: Output) {
        let call = steps.call.expect("it has begun");
        if !self.is_mute(&call) {
            steps.out.append(&mut output);
        }
    }
}
