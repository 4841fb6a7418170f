//! A block, or a single command on whole databases, that its home runs step by step while it holds
//! everything that it needs at every shard.
//!
//! Entries stay with their owners here, for a command such as DBSIZE among the steps must find them
//! there. A step runs where its keys live; one whose keys have several owners borrows the entries
//! for its own time; one that every shard takes part in sends out its parts. A SORT that looks other
//! keys up borrows its source first, and then what the elements lead to. The next step begins when
//! the last one is answered. Steps use the database, the protocol and CLIENT REPLY of the connection as
//! they are at that moment, which must not move on meanwhile: it waits (`flag::BARRIER`).
//!
//! MIGRATE borrows its keys, too, and the next step begins when its target has answered.
//!
//! Time stands still meanwhile, as it does on Redis: every step runs at the time at which everything
//! was held, and no shard expires anything by itself while it takes part.

use super::batch::RemoteCall;
use super::engine::Engine;
use super::errand::Errand;
use super::migrate::is_migrate;
use crate::command::context::caller;
use crate::command::registry::Route;
use crate::command::sort::{derived_keys, looks_up};
use crate::keyspace::OwnedEntry;
use crate::mesh::ShardId;
use crate::resp::encode::{Output, Reply};
use crate::shard::lending::{Ask, Carried, Loan, OwnedCommand, Wanted};
use crate::txn::{Loans, TxnId};

mod migrating;

/// Where a transaction stands that runs step by step.
pub(super) struct Steps {
    /// Whether the reply is an array: EXEC's.
    array: bool,
    commands: std::vec::IntoIter<OwnedCommand>,
    out: Output,
    /// What the participants lent: nothing, but it must go back to them.
    loans: Loans<Carried>,
    call: Option<RemoteCall>,
    /// The time at which everything was held, Unix milliseconds: all steps run at it, wherever.
    now_ms: u64,
    /// The step that waits for other shards, and for how many.
    current: Option<OwnedCommand>,
    missing: usize,
    /// Their answers, by shard.
    parts: Vec<Output>,
    /// Their entries.
    lent: Loans<Carried>,
    /// What is lent is a SORT's source: the keys that its elements lead to come next.
    leads_on: bool,
    /// What a target was sent by the step that waits for it.
    sent: Option<migrating::Sent>,
    /// Whether something is left for the log, anywhere.
    left: bool,
}

impl Steps {
    fn new(array: bool, commands: Vec<OwnedCommand>) -> Self {
        Self {
            array,
            commands: commands.into_iter(),
            out: Output::default(),
            loans: Loans::<Carried>::new(),
            call: None,
            now_ms: 0,
            current: None,
            missing: 0,
            parts: Vec::new(),
            lent: Loans::<Carried>::new(),
            leads_on: false,
            sent: None,
            left: false,
        }
    }

    /// The commands of an EXEC.
    pub(super) fn block(commands: Vec<OwnedCommand>) -> Self {
        Self::new(true, commands)
    }

    /// One command.
    pub(super) fn single(command: OwnedCommand) -> Self {
        Self::new(false, vec![command])
    }
}

impl Engine {
    /// Everything is held: the first step.
    pub(super) fn begin_steps(
        &mut self,
        txn: TxnId,
        call: RemoteCall,
        mut steps: Box<Steps>,
        loans: Loans<Carried>,
    ) {
        steps.loans = loans;
        steps.call = Some(call);
        steps.now_ms = self.shard.now_ms;
        if steps.array && !self.is_mute(&call) {
            let version = self.version_of(&call);
            Reply::new(&mut steps.out, version).array(steps.commands.len());
        }
        self.go_on(txn, steps);
    }

    /// Runs steps until one waits for other shards, or all are done.
    fn go_on(&mut self, txn: TxnId, mut steps: Box<Steps>) {
        while let Some(command) = steps.commands.next() {
            let now_ms = std::mem::replace(&mut self.shard.now_ms, steps.now_ms);
            self.shard.effects.hold();
            self.step(txn, &mut steps, command);
            self.shard.effects.release();
            self.keep_step(txn, &mut steps);
            self.shard.now_ms = now_ms;
            if steps.current.is_some() {
                self.stepping.insert(txn, steps);
                return self.start_conversations();
            }
        }
        let call = steps.call.expect("it has begun");
        let mut loans = steps.loans;
        self.shard.close_steps(txn, steps.left, &mut loans);
        self.shard.txns.executed(txn, loans);
        self.answer(&call, steps.out);
        self.work_off_transactions();
    }

    /// Keeps what a step has done here until the transaction is over.
    fn keep_step(&mut self, txn: TxnId, steps: &mut Steps) {
        steps.left |= self.shard.effects.keep(txn);
    }

    /// Runs a step, or sends out what it needs.
    fn step(&mut self, txn: TxnId, steps: &mut Steps, mut command: OwnedCommand) {
        let begun = steps.call.expect("it has begun");
        let mut call = self.remote_call(begun.conn, begun.seq);
        call.flags |= caller::IN_EXEC;
        let row = self.shard.registry.row(command.command.row);
        let (spec, route) = (row.spec, row.route);
        if route == Route::Gather {
            let shards = self.shard.node.shards;
            if shards == 1 || self.is_of_this_core(command.command.row, call.flags) {
                return self.gather_alone(&call, &mut command, &mut steps.out);
            }
            if let Some(error) = self.prepare_owned(&call, &command) {
                return Reply::new(&mut steps.out, call.version).error(error.text());
            }
            steps.parts = (0..shards).map(|_| Output::default()).collect();
            let own = self.shard.id;
            for peer in (0..shards)
                .map(|at| ShardId(at as u16))
                .filter(|p| *p != own)
            {
                let (command, now_ms) = (command.clone(), steps.now_ms);
                self.shard.stats.hops += 1;
                let errand = Errand::Step {
                    txn,
                    call,
                    command,
                    now_ms,
                };
                self.send_errand(peer, errand);
            }
            self.run_part_of(&call, &mut command.clone(), &mut steps.parts[own.index()]);
            steps.missing = shards - 1;
            steps.current = Some(command);
            return;
        }
        if is_migrate(spec) {
            return self.begin_migrate_step(txn, steps, &call, command);
        }
        let args: Vec<&[u8]> = command.args().collect();
        if looks_up(spec, &args) {
            self.borrow(txn, steps, [(call.db, Box::from(args[1]))]);
            steps.leads_on = true;
            if steps.missing == 0 {
                self.lead_on(txn, steps, &command);
            }
            if steps.missing == 0 {
                return self.run_in_block(&begun, &mut command, &mut steps.out);
            }
            steps.current = Some(command);
            return;
        }
        match self.owner_of_command(&command, call.db, call.flags) {
            Some(owner) if owner == self.shard.id => {
                self.run_in_block(&begun, &mut command, &mut steps.out);
            }
            Some(owner) => {
                steps.missing = 1;
                self.shard.stats.hops += 1;
                let errand = Errand::Step {
                    txn,
                    call,
                    command: command.clone(),
                    now_ms: steps.now_ms,
                };
                self.send_errand(owner, errand);
                steps.current = Some(command);
            }
            None => {
                assert!(!matches!(route, Route::Home), "it needs no keys");
                let keys = self.keys_in(call.db, &command);
                self.borrow(txn, steps, keys);
                steps.current = Some(command);
            }
        }
    }

    /// The keys that a command names, with their databases.
    fn keys_in(&mut self, db: u16, command: &OwnedCommand) -> Vec<(u16, Box<[u8]>)> {
        let spec = self.shard.registry.row(command.command.row).spec;
        let args: Vec<&[u8]> = command.args().collect();
        let mut keys = Vec::new();
        self.each_key(db, spec, &args, |_, db, _, key| keys.push((db, key.into())));
        keys
    }

    /// Asks the owners of keys for their entries, but for those that are here already.
    fn borrow(
        &mut self,
        txn: TxnId,
        steps: &mut Steps,
        keys: impl IntoIterator<Item = (u16, Box<[u8]>)>,
    ) {
        let own = self.shard.id;
        let mut lenders: Vec<(ShardId, Vec<Wanted>)> = Vec::new();
        for (db, key) in keys {
            let pos = self.shard.pos(&key);
            let owner = self.shard.owner_at(pos);
            let is_lent = steps.lent.iter().any(|(_, loan)| {
                let mut keys = loan.ask.keys.iter();
                keys.any(|lent| lent.db == db && lent.pos == pos && lent.key == key)
            });
            if owner == own || is_lent {
                continue;
            }
            let wanted = Wanted { db, pos, key };
            match lenders.iter_mut().find(|(shard, _)| *shard == owner) {
                Some((_, keys)) => keys.push(wanted),
                None => lenders.push((owner, vec![wanted])),
            }
        }
        steps.missing = lenders.len();
        for (owner, keys) in lenders {
            self.shard.stats.hops += 1;
            self.send_errand(owner, Errand::Lend { txn, keys });
        }
    }

    /// A SORT has its source: borrows what the elements lead to, and what else it names.
    fn lead_on(&mut self, txn: TxnId, steps: &mut Steps, command: &OwnedCommand) {
        steps.leads_on = false;
        let begun = steps.call.expect("it has begun");
        let db = self.remote_call(begun.conn, begun.seq).db;
        let mut keys = self.keys_in(db, command);
        let args: Vec<&[u8]> = command.args().collect();
        let mut loans = std::mem::take(&mut steps.lent);
        self.with_loans(&mut loans, |engine| {
            let derived = derived_keys(&engine.shard, db, &args);
            keys.extend(derived.into_iter().map(|key| (db, key)));
        });
        steps.lent = loans;
        self.borrow(txn, steps, keys);
    }

    /// A shard has answered a step.
    pub(super) fn stepped(&mut self, txn: TxnId, from: ShardId, mut output: Output, left: bool) {
        let mut steps = self.stepping.remove(&txn).expect("a step is answered once");
        steps.left |= left;
        let call = steps.call.expect("it has begun");
        steps.missing -= 1;
        if steps.parts.is_empty() {
            steps.current = None;
            if !self.is_mute(&call) {
                steps.out.append(&mut output);
            }
            return self.go_on(txn, steps);
        }
        steps.parts[from.index()] = output;
        if steps.missing > 0 {
            self.stepping.insert(txn, steps);
            return;
        }
        let command = steps.current.take().expect("it waited");
        let mut parts = std::mem::take(&mut steps.parts);
        let mut reply = Output::default();
        let version = self.version_of(&call);
        let call = RemoteCall { version, ..call };
        self.merge_owned(&call, &command, &mut parts, &mut reply);
        if !self.is_mute(&call) {
            steps.out.append(&mut reply);
        }
        self.go_on(txn, steps);
    }

    /// A shard has lent entries to a step.
    pub(super) fn lent_to_step(
        &mut self,
        txn: TxnId,
        from: ShardId,
        keys: Vec<Wanted>,
        entries: Vec<Option<OwnedEntry>>,
    ) {
        let mut steps = self.stepping.remove(&txn).expect("a step is lent to once");
        let ask = Ask {
            keys,
            ..Ask::default()
        };
        let loan = Loan {
            ask,
            entries,
            ..Loan::default()
        };
        steps.lent.push((from, Box::new(loan)));
        steps.missing -= 1;
        if steps.missing > 0 {
            self.stepping.insert(txn, steps);
            return;
        }
        let call = steps.call.expect("it has begun");
        let mut command = steps.current.take().expect("it waited");
        if steps.leads_on {
            self.lead_on(txn, &mut steps, &command);
            self.keep_step(txn, &mut steps);
            if steps.missing > 0 {
                steps.current = Some(command);
                self.stepping.insert(txn, steps);
                return;
            }
        }
        let now_ms = std::mem::replace(&mut self.shard.now_ms, steps.now_ms);
        if is_migrate(self.shard.registry.row(command.command.row).spec) {
            self.send_from_step(txn, &mut steps, command);
        } else {
            let mut loans = std::mem::take(&mut steps.lent);
            self.with_loans(&mut loans, |engine| {
                engine.run_in_block(&call, &mut command, &mut steps.out);
            });
            steps.lent = loans;
        }
        self.keep_step(txn, &mut steps);
        self.shard.now_ms = now_ms;
        if steps.current.is_some() {
            self.stepping.insert(txn, steps);
            return self.start_conversations();
        }
        self.give_back(txn, &mut steps);
        self.go_on(txn, steps);
    }

    /// Gives back what a step was lent.
    fn give_back(&mut self, txn: TxnId, steps: &mut Steps) {
        for (shard, loan) in std::mem::take(&mut steps.lent) {
            steps.left |= !loan.left.payload.is_empty();
            let errand = Errand::Back {
                keys: loan.ask.keys,
                entries: loan.entries,
                changes: loan.changes,
                txn,
                payload: loan.left.payload,
            };
            self.send_errand(shard, errand);
        }
    }
}
