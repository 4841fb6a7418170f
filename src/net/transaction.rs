//! Commands that need several shards at once: the glue between the transaction machine
//! ([`crate::txn`]) and the shard.
//!
//! What a transaction does once it holds everything is its [`Job`]:
//!
//! | job | what the owners do | rounds before the reply |
//! | --- | --- | --- |
//! | `Lent` | lend entries; the home runs the command or the block, and sends them back | 1 |
//! | `InKeyOrder`, `Sum`, `Gathered`, `Answers` | answer for what they own, under read claims; the home puts the answers together | 1, rarely 2 (see Time) |
//! | `Apply` | nothing; they run their part when the locks are released | 1 |
//! | `Steps` | run one step after the other (see `steps`) | 1 + one for each step |
//! | `Migrate` | dump keys under their claims, delete them when another server has them (see `migrate`) | 1 + the target's answer |
//! | `Volley` | run the connection's next commands as they arrive (see `volley`) | 2 |
//!
//! Lent entries stand in the home's own tables while the command runs. Nothing else runs there
//! meanwhile, so nobody sees a foreign key.
//!
//! What is lent is claimed for writing, even by a command that only reads (BITOP's sources, SINTER):
//! the entry itself moves, and another reader would find the key missing. Readers that share a key
//! are those whose owners answer. A copy for reading would let more of them share, and cost as much
//! as the value is long.
//!
//! # Time
//! Each shard judges expiries by its own clock, which it reads once a turn; clocks differ by a turn at
//! most. A transaction runs at the time at which everything is held. What was lent is judged then. So
//! is what owners have answered before: if a key may have expired since, they are asked once more, for
//! that time. Steps run at that time wherever they run, while nothing expires by itself.
//!
//! # Order within a connection
//! The age of a transaction may be lower than the ticket of a command of the same connection that
//! is parked at an owner. So a transaction that writes waits until nothing of the connection can be
//! parked any more, and one that reads until no write is under way, nor a WATCH that what it reads
//! should be covered by. What comes after it is behind it in the lanes and finds its claims.
//!
//! A transaction of the same connection is older, and parked nowhere: the next one need not wait for
//! it. Those of a pipeline gather their locks side by side, in one round for all of them, and the
//! machine has those that write execute in their order. Commands that may wait for a key, and blocks
//! that are about the connection, are waited for: what comes behind them depends on what they do to it.

use smallvec::SmallVec;

use super::batch::{Batch, Command, RemoteCall};
use super::dispatch::{Flow, count};
use super::engine::Engine;
use super::errand::Errand;
use super::migrate::KeyMigration;
use super::session::{ConnId, Stall, flag};
use super::spread::Places;
use super::steps::Steps;
use crate::command::generic::keys::other_database;
use crate::command::keys::keys_of;
use crate::command::registry::{Route, RowId};
use crate::command::spec::{Flags, Spec};
use crate::keyspace::Pos;
use crate::mesh::ShardId;
use crate::resp::encode::{Output, Reply};
use crate::shard::blocking::Waiter;
use crate::shard::lending::{Carried, Head, Loan, OwnedCommand, Parked, Questions, Wanted, Work};
use crate::txn::{Action, Claim, Claims, ConnectionId, Loans, Mode, Part, Parts, TxnId};

/// A transaction that this shard coordinates.
pub(super) struct Running {
    pub(super) call: RemoteCall,
    pub(super) job: Job,
}

/// A transaction that holds everything and waits for answers that it has asked for again.
pub(super) struct Asking {
    running: Running,
    loans: Loans<Carried>,
    /// How many owners have not answered yet.
    missing: usize,
}

/// What is to be done when everything is held.
pub(super) enum Job {
    /// Run a command here, with the entries that were lent.
    Command(OwnedCommand),
    /// Run a block here, with the entries that were lent; and whether it flows.
    Block(Vec<OwnedCommand>, bool),
    /// Put the elements of the owners' arrays in the order of the keys of some commands.
    InKeyOrder(RowId, Places),
    /// Add up the owners' numbers.
    Sum(RowId),
    /// Put the parts of all shards together.
    Gathered(OwnedCommand),
    /// Put the answers to a block's commands in their order: for each command its participant.
    Answers(Vec<u16>),
    /// Let each owner run its part in the end. In the order of the participants; and how many
    /// commands of the client it is.
    Apply(RowId, Vec<Questions>, usize),
    /// Run step by step.
    Steps(Box<Steps>),
    /// Serve a client that has waited at this shard.
    Serve(Box<Waiter>),
    /// Send keys to another server.
    Migrate(Box<KeyMigration>),
    /// Let the connection send so many commands, whose keys are held.
    Volley(u32),
}

/// What a transaction needs, owner by owner.
#[derive(Default)]
pub(super) struct Needs {
    pub(super) parts: Parts<Carried>,
}

impl Needs {
    /// The part of a shard, and its place among the participants.
    pub(super) fn part(&mut self, shard: ShardId) -> (u16, &mut Part<Carried>) {
        let place = match self.parts.iter().position(|(other, _)| *other == shard) {
            Some(place) => place,
            None => {
                let part = Part {
                    claims: Claims::new(),
                    ask: Default::default(),
                    watcher: None,
                    waits_for_snapshot: true,
                };
                self.parts.push((shard, part));
                self.parts.len() - 1
            }
        };
        (place as u16, &mut self.parts[place].1)
    }

    /// The parts as the transaction machine takes them.
    pub(super) fn into_parts(mut self) -> Parts<Carried> {
        for (_, part) in &mut self.parts {
            coarsen(&mut part.claims);
        }
        self.parts
    }
}

impl Engine {
    /// Runs a command whose keys have several owners.
    pub(super) fn run_transaction(
        &mut self,
        conn: ConnId,
        batch: &mut Batch,
        command: &Command,
        spec: &'static Spec,
    ) -> Flow {
        if let Some(stall) = self.not_yet(conn, spec.flags.has(Flags::WRITE)) {
            return Flow::Wait(stall);
        }
        let db = self.session(conn).db;
        let mut needs = Needs::default();
        let args = batch.args_of(command);
        self.lend_keys(&mut needs, db, spec, args);
        if let Some(stall) = self.no_room_for(conn, &needs) {
            return Flow::Wait(stall);
        }
        let bytes = batch.bytes_of(command);
        let job = Job::Command(own(batch, command));
        let write = spec.flags.has(Flags::WRITE);
        if spec.flags.has(Flags::BLOCKING) {
            self.begin(conn, needs, job, write);
        } else {
            self.begin_in_flow(conn, needs, job, write, bytes);
        }
        Flow::Done
    }

    /// Why a transaction of this connection must wait for what is under way.
    pub(super) fn not_yet(&mut self, conn: ConnId, write: bool) -> Option<Stall> {
        let session = self.session(conn);
        if session.flowing > 0 && session.flowing_bytes >= FLOWING_BYTES_MAX {
            return Some(Stall::Answers);
        }
        if write && session.unsure > session.flowing {
            return Some(Stall::Unsure);
        }
        if session.info.multi.watches() > 0 && session.waiting > 0 {
            return Some(Stall::Answers);
        }
        (session.writes_out > session.flowing_writes).then_some(Stall::Writes)
    }

    /// Why what a transaction needs cannot be asked for now.
    pub(super) fn no_room_for(&mut self, conn: ConnId, needs: &Needs) -> Option<Stall> {
        let mut shards = needs.parts.iter().map(|(shard, _)| *shard);
        shards.find_map(|shard| self.no_room(conn, shard))
    }

    /// Begins a transaction of a connection whose next one need not wait for it; `bytes`: of its
    /// commands.
    pub(super) fn begin_in_flow(
        &mut self,
        conn: ConnId,
        needs: Needs,
        job: Job,
        write: bool,
        bytes: usize,
    ) {
        let seq = self.session(conn).hold_in_flow(write, bytes);
        self.begin_at(conn, seq, needs, job, write);
    }

    /// Begins a transaction of a connection.
    pub(super) fn begin(&mut self, conn: ConnId, needs: Needs, job: Job, write: bool) {
        let seq = self.session(conn).hold(write);
        self.begin_at(conn, seq, needs, job, write);
    }

    /// The same where the place of the reply has been taken.
    pub(super) fn begin_at(
        &mut self,
        conn: ConnId,
        seq: u32,
        mut needs: Needs,
        job: Job,
        write: bool,
    ) {
        if let Job::Steps(_) = job {
            for (_, part) in &mut needs.parts {
                part.ask.timeless = true;
            }
        }
        if write {
            self.writes_everywhere(conn);
        }
        let call = self.remote_call(conn, seq);
        let own = self.shard.id;
        let hops = needs.parts.iter().filter(|(shard, _)| *shard != own);
        self.shard.stats.hops += hops.count() as u64;
        let info = &self.session(conn).info;
        let last = info.last_write.filter(|_| write);
        let (connection, parts) = (connection_of(&call), needs.into_parts());
        self.tell_own_part(&parts);
        let txn = self.shard.txns.begin_behind(connection, parts, last);
        self.running.insert(txn, Running { call, job });
        if write {
            self.session(conn).info.last_write = Some(txn);
        }
        self.work_off_transactions();
    }

    /// Begins the service of a client that has waited at this shard. The caller sees to it that
    /// [`work_off_transactions`](Self::work_off_transactions) is called when everything that has
    /// become ready is looked at: until then nobody may come to it.
    pub(super) fn begin_service(&mut self, needs: Needs, waiter: Waiter) {
        let call = waiter.call;
        let stand_in = self.stand_in(&call);
        let parts = needs.into_parts();
        self.tell_own_part(&parts);
        let txn = self.shard.txns.begin_service(stand_in, parts);
        let job = Job::Serve(Box::new(waiter));
        self.running.insert(txn, Running { call, job });
    }

    /// What a transaction that begins here will write to at this shard is told first, if a snapshot has
    /// to.
    fn tell_own_part(&mut self, parts: &Parts<Carried>) {
        let own = parts.iter().find(|(shard, _)| *shard == self.shard.id);
        if let Some((_, part)) = own {
            self.shard.tell_ahead(&part.claims);
        }
    }

    /// Claims the keys of a command and asks for their entries. Those of this shard stay where they
    /// are.
    pub(super) fn lend_keys(&mut self, needs: &mut Needs, db: u16, spec: &Spec, args: &[&[u8]]) {
        let own = self.shard.id;
        self.each_key(db, spec, args, |engine, db, pos, key| {
            let owner = engine.shard.owner_at(pos);
            let (_, part) = needs.part(owner);
            part.claims.push(Claim::Key {
                db,
                position: pos.to_bits(),
                mode: Mode::Write,
            });
            if owner != own {
                let key = key.into();
                part.ask.keys.push(Wanted { db, pos, key });
            }
        });
    }

    /// Visits every key of a command, in every database in which it may stand.
    pub(super) fn each_key(
        &mut self,
        db: u16,
        spec: &Spec,
        args: &[&[u8]],
        mut visit: impl FnMut(&mut Self, u16, Pos, &[u8]),
    ) {
        let mut keys = std::mem::take(&mut self.key_scratch);
        keys.clear();
        keys_of(spec, args, &mut keys);
        let other = other_database(spec.name, args, self.shard.keyspace.databases());
        for at in &keys {
            let key = args[at.index];
            let pos = self.shard.pos(key);
            visit(self, db, pos, key);
            if let Some(other) = other {
                visit(self, other, pos, key);
            }
        }
        self.key_scratch = keys;
    }

    /// Whether a command of this shard's keys must wait for a transaction. Asked only while one is
    /// in flight here.
    pub(super) fn must_park(
        &mut self,
        call: &RemoteCall,
        spec: &Spec,
        batch: &Batch,
        command: &Command,
    ) -> bool {
        let mut claims = Claims::new();
        self.claim(
            call.db,
            spec,
            batch.args_of(command),
            command.pos,
            &mut claims,
        );
        self.is_held_up(connection_of(call), &claims)
    }

    /// Whether something with these claims must wait here.
    pub(super) fn is_held_up(&mut self, connection: ConnectionId, claims: &[Claim]) -> bool {
        self.shard.tell_ahead(claims);
        let txns = &self.shard.txns;
        !claims.is_empty() && (txns.holds_back(connection) || !txns.admits(connection, claims))
    }

    /// What a command claims at the only owner of its keys; `pos` is that of its only key, where its
    /// row has exactly one.
    pub(super) fn claim(
        &mut self,
        db: u16,
        spec: &Spec,
        args: &[&[u8]],
        pos: Pos,
        claims: &mut Claims,
    ) {
        let mode = mode_of(spec);
        if pos != Pos::default() && spec.name != "move" {
            let position = pos.to_bits();
            return claims.push(Claim::Key { db, position, mode });
        }
        self.each_key(db, spec, args, |_, db, pos, _| {
            let position = pos.to_bits();
            claims.push(Claim::Key { db, position, mode });
        });
        if let crate::command::spec::Run::At { .. } = spec.run {
            claims.extend(whole(spec, args, db));
        }
    }

    /// Parks a command of a connection of this shard.
    pub(super) fn park_here(
        &mut self,
        conn: ConnId,
        spec: &'static Spec,
        batch: &mut Batch,
        command: &Command,
    ) -> Flow {
        let call = self.hold_here(conn, spec.flags.has(Flags::WRITE));
        self.park(call, batch, command);
        Flow::Done
    }

    /// Takes the next place of a connection's replies for something that waits at this shard.
    pub(super) fn hold_here(&mut self, conn: ConnId, write: bool) -> RemoteCall {
        let here = self.shard.id.0;
        let session = self.session(conn);
        if write {
            session.writes_out += 1;
            session.writes_at = here;
        }
        let seq = session.hold(write);
        self.remote_call(conn, seq)
    }

    /// Parks a command until the transactions that it conflicts with are done.
    pub(super) fn park(&mut self, call: RemoteCall, batch: &mut Batch, command: &Command) {
        let spec = self.shard.registry.row(command.row).spec;
        let mut claims = Claims::new();
        self.claim(
            call.db,
            spec,
            batch.args_of(command),
            command.pos,
            &mut claims,
        );
        let work = Work::Command(own(batch, command));
        self.park_work(call, &claims, work);
    }

    /// Keeps something until its claims are free.
    pub(super) fn park_work(&mut self, call: RemoteCall, claims: &[Claim], work: Work) {
        let parked = Box::new(Parked { call, work });
        self.shard.txns.park(connection_of(&call), claims, parked);
        self.work_off_transactions();
    }

    /// Does what the transaction machine asks for. What this does may call it again; the outer call
    /// then goes on with what came of it, so that actions are carried out one after the other.
    pub(super) fn work_off_transactions(&mut self) {
        if self.settling || std::mem::replace(&mut self.working_off, true) {
            return;
        }
        while let Some(action) = self.shard.txns.next_action() {
            match action {
                Action::Send(to, message) => self.send_transaction(to, message),
                Action::Lend(txn) => self.lend(txn),
                Action::TakeBack(txn, loan) => self.take_back(txn, loan),
                Action::Run(parked) => self.run_parked(*parked),
                Action::Discard(parked) => self.discard(*parked),
                Action::Execute { txn, loans, .. } => self.run_job(txn, loans),
                Action::Dirty { txn, .. } => {
                    let running = self.running.remove(&txn).expect("begun here");
                    self.answer_dirty(&running.call);
                }
            }
        }
        self.working_off = false;
        // A service that was given up has left a key to those who wait behind it.
        self.settle_aftermath();
    }

    /// All of a transaction's claims here are free: gives what it asked for.
    fn lend(&mut self, txn: TxnId) {
        let (mut ask, _) = self.shard.txns.take_ask(txn);
        let watched_until_ms = self.shard.expire_due(&ask.watched);
        if ask.timeless {
            self.shard.set_timeless(true);
        }
        let entries = self.shard.take_entries(&ask.keys);
        let mut answers = Vec::new();
        let mut answers_until_ms = None;
        if let Some(questions) = &mut ask.questions {
            answers = self.answer_questions(questions);
            let row = |command: &OwnedCommand| self.shard.registry.row(command.command.row);
            let reads = |command| row(command).spec.flags.has(Flags::READONLY);
            if questions.commands.iter().all(reads) {
                // A lower bound that costs nothing to know.
                let soonest_ms = self.shard.keyspace.soonest_expiry();
                answers_until_ms = Some(soonest_ms.max(self.shard.now_ms + 1));
            }
        }
        let locks_only = ask.keys.is_empty() && ask.questions.is_none();
        let waited_for = locks_only && self.is_waited_for(txn);
        let unsettled = self.is_unsettled(&ask);
        let loan = Box::new(Loan {
            ask,
            entries,
            answers,
            answers_until_ms,
            waited_for,
            watched_until_ms,
            unsettled,
            ..Loan::default()
        });
        self.shard.txns.lent(txn, loan);
    }

    /// Whether a client waits for a key that a transaction holds here, or a snapshot tells one slice by
    /// slice.
    fn is_waited_for(&mut self, txn: TxnId) -> bool {
        let (blocking, txns) = (&self.shard.blocking, &self.shard.txns);
        if !blocking.is_empty() && blocking.waits_for_any(txns.claimed_keys(txn)) {
            return true;
        }
        self.shard.snapshot.is_some() && {
            let mut keys = txns.claimed_keys(txn);
            let keyspace = &mut self.shard.keyspace;
            keys.any(|(db, position)| {
                let db = keyspace.db_mut(usize::from(db));
                db.tell_ahead(Pos::from_bits(position))
            })
        }
    }

    /// Answers what is asked of this shard's keys, which are held.
    pub(super) fn answer_questions(&mut self, questions: &mut Questions) -> Vec<Output> {
        let mut answers = Vec::with_capacity(questions.commands.len());
        for command in &mut questions.commands {
            let mut answer = Output::default();
            self.answer_question(&questions.call, command, &mut answer);
            answers.push(answer);
        }
        answers
    }

    pub(super) fn answer_question(
        &mut self,
        call: &RemoteCall,
        command: &mut OwnedCommand,
        out: &mut Output,
    ) {
        match self.shard.registry.row(command.command.row).route {
            Route::Gather => self.run_part_of(call, command, out),
            _ => self.run_owned(call, command, out),
        }
    }

    /// A transaction is over, or gives way: takes back what it was lent.
    fn take_back(&mut self, txn: TxnId, mut loan: Box<Loan>) {
        if loan.ask.timeless {
            self.shard.set_timeless(false);
        }
        self.shard.put_entries(&loan.ask.keys, &mut loan.entries);
        self.shard.tell_changes(loan.changes);
        self.shard.open_left(txn, &loan.left);
        if let Some(mut apply) = loan.apply {
            let mut dropped = Output::default();
            for command in &mut apply.commands {
                self.run_owned(&apply.call, command, &mut dropped);
                dropped.clear();
            }
        }
        self.shard.close_left(txn, &loan.left);
        if let Some(waiter) = loan.waiter {
            self.waiter_arrived(*waiter);
        }
        self.shard.txns.put_ask(txn, loan.ask);
        self.settle_aftermath();
    }

    /// Runs what has waited long enough.
    fn run_parked(&mut self, parked: Parked) {
        let call = parked.call;
        let mut output = Output::default();
        match parked.work {
            Work::Command(mut command) => {
                self.run_owned_counted(&call, &mut command, &mut output);
                if let Some(wait) = self.shard.blocking.request.take() {
                    self.begin_wait(call, command, wait);
                    return self.settle_aftermath();
                }
            }
            Work::Block(block) => self.run_block(&call, block, &mut output),
            Work::Watch(gather, keys) => {
                self.shard.watch(connection_of(&call), &keys);
                return self.watch_answered(call.home, gather);
            }
        }
        self.answer(&call, output);
        self.settle_aftermath();
    }

    /// Drops what waited on behalf of a connection that is gone.
    fn discard(&mut self, parked: Parked) {
        match parked.work {
            Work::Watch(gather, _) => self.watch_answered(parked.call.home, gather),
            _ => self.answer(&parked.call, Output::default()),
        }
    }

    /// A watched key has changed: EXEC does nothing.
    fn answer_dirty(&mut self, call: &RemoteCall) {
        let mut output = Output::default();
        if !self.is_mute(call) {
            Reply::new(&mut output, call.version).null_array();
        }
        self.answer(call, output);
    }

    /// Everything is held: does what the transaction is for.
    fn run_job(&mut self, txn: TxnId, loans: Loans<Carried>) {
        let running = self.running.remove(&txn).expect("begun here");
        if self.a_watched_key_expired(&loans) {
            self.shard.txns.executed(txn, loans);
            return self.answer_dirty(&running.call);
        }
        let now_ms = self.shard.now_ms;
        if loans.iter().any(|(_, loan)| loan.is_outdated(now_ms)) {
            return self.ask_again(txn, running, loans);
        }
        self.do_job(txn, running, loans);
    }

    /// A key may have expired since an owner has answered: has those answer again who are concerned,
    /// for the time at which everything is held.
    #[cold]
    fn ask_again(&mut self, txn: TxnId, running: Running, mut loans: Loans<Carried>) {
        let now_ms = self.shard.now_ms;
        let mut missing = 0;
        for (owner, loan) in &mut loans {
            if !loan.is_outdated(now_ms) {
                continue;
            }
            let questions = loan.ask.questions.as_mut().expect("it has answered");
            if *owner == self.shard.id {
                loan.answers = self.answer_questions(questions);
                continue;
            }
            let questions = loan.ask.questions.take().expect("just seen");
            self.shard.stats.hops += 1;
            missing += 1;
            let errand = Errand::AskAgain {
                txn,
                questions,
                now_ms,
            };
            self.send_errand(*owner, errand);
        }
        if missing == 0 {
            return self.do_job(txn, running, loans);
        }
        let asking = Asking {
            running,
            loans,
            missing,
        };
        self.asking.insert(txn, asking);
    }

    /// An owner has answered once more.
    pub(super) fn answered_again(
        &mut self,
        txn: TxnId,
        from: ShardId,
        questions: Box<Questions>,
        answers: Vec<Output>,
    ) {
        let asking = self.asking.get_mut(&txn).expect("it waits for answers");
        let mut loans = asking.loans.iter_mut();
        let (_, loan) = loans
            .find(|(shard, _)| *shard == from)
            .expect("it was asked");
        loan.answers = answers;
        loan.ask.questions = Some(questions);
        asking.missing -= 1;
        if asking.missing == 0 {
            let asking = self.asking.remove(&txn).expect("just seen");
            self.do_job(txn, asking.running, asking.loans);
            self.work_off_transactions();
        }
    }

    fn do_job(&mut self, txn: TxnId, running: Running, mut loans: Loans<Carried>) {
        let Running { call, job } = running;
        let mut output = Output::default();
        match job {
            Job::Command(mut command) => {
                self.with_loans(&mut loans, |engine| {
                    engine.run_owned_counted(&call, &mut command, &mut output);
                });
                self.shard.close_transaction(txn, &mut loans);
                if let Some(wait) = self.shard.blocking.request.take() {
                    self.begin_wait_at_owners(call, command, wait, &mut loans);
                    return self.shard.txns.executed(txn, loans);
                }
            }
            Job::Serve(waiter) => {
                self.serve_with_loans(txn, *waiter, &mut loans);
                return self.shard.txns.executed(txn, loans);
            }
            Job::Block(commands, flows) => {
                self.with_loans(&mut loans, |engine| {
                    if flows {
                        engine.run_flowing(&call, commands, &mut output);
                    } else {
                        engine.run_commands(&call, commands, &mut output);
                    }
                });
                self.shard.close_transaction(txn, &mut loans);
            }
            Job::InKeyOrder(row, places) => {
                self.shard.close_transaction(txn, &mut loans);
                super::spread::in_key_order(call.version, &places, &mut loans, &mut output);
                self.count(row, places.commands());
            }
            Job::Sum(row) => {
                self.shard.close_transaction(txn, &mut loans);
                super::spread::sum(call.version, &mut loans, &mut output);
                self.count(row, 1);
            }
            Job::Gathered(command) => {
                self.shard.close_transaction(txn, &mut loans);
                let mut parts: Vec<Output> = Vec::with_capacity(loans.len());
                loans.sort_by_key(|(shard, _)| *shard);
                for (_, loan) in &mut loans {
                    parts.append(&mut loan.answers);
                }
                self.merge_owned(&call, &command, &mut parts, &mut output);
            }
            Job::Answers(owners) => {
                self.shard.close_transaction(txn, &mut loans);
                Reply::new(&mut output, call.version).array(owners.len());
                let mut taken = vec![0; loans.len()];
                for owner in owners {
                    let owner = usize::from(owner);
                    output.append(&mut loans[owner].1.answers[taken[owner]]);
                    taken[owner] += 1;
                }
            }
            Job::Apply(row, parts, commands) => {
                self.shard.all_take_part(txn, &mut loans);
                for ((_, loan), part) in loans.iter_mut().zip(parts) {
                    loan.apply = Some(Box::new(part));
                }
                for _ in 0..commands {
                    Reply::new(&mut output, call.version).ok();
                }
                self.count(row, commands);
            }
            Job::Steps(steps) => return self.begin_steps(txn, call, steps, loans),
            Job::Migrate(migration) => return self.migrate_held(txn, call, *migration, loans),
            Job::Volley(commands) => return self.volley_is_held(txn, call.conn, commands, loans),
        }
        self.shard.txns.executed(txn, loans);
        self.answer(&call, output);
    }

    /// Whether a watched key was there when its owner lent, and has expired since: the block, which
    /// would run without it, runs at the time at which everything is held.
    fn a_watched_key_expired(&self, loans: &Loans<Carried>) -> bool {
        let mut due = loans.iter().filter_map(|(_, loan)| loan.watched_until_ms);
        due.any(|at| at <= self.shard.now_ms)
    }

    /// Lets `run` see lent entries in this shard's tables, and takes them out again.
    pub(super) fn with_loans(&mut self, loans: &mut Loans<Carried>, run: impl FnOnce(&mut Self)) {
        for (_, loan) in loans.iter_mut() {
            self.shard.put_entries(&loan.ask.keys, &mut loan.entries);
        }
        self.shard.changes = Some(Vec::new());
        self.shard.effects.lend();
        run(self);
        let left = self.shard.effects.end_lending();
        for (owner, payload) in left {
            let loan = loans.iter_mut().find(|(shard, _)| *shard == owner);
            let (_, loan) = loan.expect("what was changed was lent");
            loan.left.payload.append(&payload);
        }
        let mut changes = self.shard.changes.take().expect("set above");
        for (shard, loan) in loans.iter_mut() {
            loan.entries = self.shard.take_entries(&loan.ask.keys);
            let owner = |pos: Pos| self.shard.owner_at(pos);
            let theirs = changes.extract_if(.., |change| owner(change.pos) == *shard);
            loan.changes.extend(theirs);
        }
        self.shard.tell_changes(changes);
    }

    /// Counts commands that ran together.
    fn count(&mut self, row: RowId, commands: usize) {
        let took = self.shard.lap() / commands as u64;
        for _ in 0..commands {
            count(&mut self.shard, row, took, false);
        }
    }

    /// Sends a reply to the connection that it is for, here or at another shard.
    pub(super) fn answer(&mut self, call: &RemoteCall, mut output: Output) {
        if call.home == self.shard.id {
            if self.has_unconfirmed(call.conn) {
                return self.put_off(call, output);
            }
            self.session(call.conn)
                .complete(call.seq, |out| out.append(&mut output));
            return self.answered(call.conn);
        }
        super::remote::put_reply(&mut self.outgoing[call.home.index()], call, &mut output);
    }

    /// Every transaction that this shard coordinates and everything that holds or waits for its
    /// keys, a line each, oldest first: for a debugging command.
    pub fn transactions_text(&self) -> String {
        use std::fmt::Write;
        let mut text = String::new();
        for (txn, connection, missing) in self.shard.txns.running() {
            let (number, client) = (txn.time(), connection.number);
            let _ = writeln!(
                text,
                "coordinates txn={number} client={client} missing={missing}"
            );
        }
        for queued in self.shard.txns.queued() {
            let state = match (queued.held, queued.parked_for) {
                (true, _) => "held",
                (false, Some(_)) => "parked",
                (false, None) => "waits",
            };
            let _ = writeln!(
                text,
                "{state} txn={} coordinator={} locks={} clear={} wounded={}",
                queued.txn.time(),
                queued.txn.coordinator.0,
                queued.locks,
                queued.clear,
                u8::from(queued.wounded),
            );
        }
        text
    }

    /// Whether nothing is under way between this shard and others, or waits here.
    pub fn is_drained(&self) -> bool {
        let jobs = self.running.is_empty() && self.stepping.is_empty() && self.asking.is_empty();
        let own = jobs && self.key_migrations.is_empty() && self.gathers.is_empty();
        own && self.shard.txns.is_drained() && self.outgoing.iter().all(Output::is_empty)
    }

    /// A connection is gone: gives up its transactions that have not executed, what it has parked
    /// anywhere, and its watches.
    pub(super) fn abandon(&mut self, conn: ConnId) {
        let session = self.session(conn);
        let may_watch = session.info.watched;
        session.info.multi.reset();
        if session.waiting == 0 && !may_watch && !session.is(flag::VOLLEY) {
            return;
        }
        self.end_volley(conn);
        let connection = connection_of(&self.remote_call(conn, 0));
        let home = self.shard.id;
        let own = self.running.iter();
        let own = own.filter(|(_, r)| r.call.conn == conn && r.call.home == home);
        let mut own: Vec<TxnId> = own.map(|(txn, _)| *txn).collect();
        // From the last one on: none is to execute without those before it.
        own.sort_unstable();
        for txn in own.into_iter().rev() {
            if self.shard.txns.cancel(txn) {
                let running = self.running.remove(&txn).expect("just seen");
                if !matches!(running.job, Job::Volley(_)) {
                    self.answer(&running.call, Output::default());
                }
            }
        }
        for shard in 0..self.shard.node.shards {
            self.shard.txns.leave(ShardId(shard as u16), connection);
        }
        self.work_off_transactions();
    }
}

/// Copies a command out of its batch, but for large arguments, whose memory moves.
pub(super) fn own(batch: &mut Batch, command: &Command) -> OwnedCommand {
    let first = command.args_at as usize;
    let range = first..first + command.argc as usize;
    let large = if batch.owned.is_empty() {
        Vec::new()
    } else {
        let moved = batch
            .owned
            .extract_if(.., |(index, _)| range.contains(index));
        moved
            .map(|(index, memory)| (index - first, memory))
            .collect()
    };
    let head = Head {
        row: command.row,
        pos: command.pos,
    };
    OwnedCommand::new(head, batch.args[range].iter().copied(), large)
}

/// How a command claims its keys.
pub(super) fn mode_of(spec: &Spec) -> Mode {
    if spec.flags.has(Flags::WRITE) {
        Mode::Write
    } else {
        Mode::Read
    }
}

/// A whole database, for entries that move.
pub(super) fn whole_db(db: u16) -> Claim {
    let mode = Mode::Write;
    Claim::Db { db, mode }
}

/// What a command on whole databases claims at every shard; nothing for one that neither reads nor
/// writes the keyspace as far as the command table says.
pub(super) fn whole(spec: &Spec, args: &[&[u8]], db: u16) -> SmallVec<[Claim; 2]> {
    let mode = mode_of(spec);
    if spec.name == "set" {
        let mode = Mode::Write;
        let claims = crate::command::server::config::sets_logs(args).then_some(Claim::All { mode });
        return claims.into_iter().collect();
    }
    if matches!(
        spec.name,
        "save" | "bgsave" | "bgrewriteaof" | "shutdown" | "sync" | "psync"
    ) {
        // Entries that were lent for reading would be missing in a snapshot that begins meanwhile.
        let cancels = crate::command::server::save::is_cancel(args);
        let mode = Mode::Write;
        return (!cancels)
            .then_some(Claim::All { mode })
            .into_iter()
            .collect();
    }
    if spec.name == "debug" {
        let mode = Mode::Write;
        let claims = crate::command::debug::is_reload(args).then_some(Claim::All { mode });
        return claims.into_iter().collect();
    }
    if mode == Mode::Read {
        let reads = spec.flags.has(Flags::READONLY);
        return reads
            .then_some(Claim::Db { db, mode })
            .into_iter()
            .collect();
    }
    let number = |at: usize| crate::resp::number::parse_i64(args.get(at)?);
    match spec.name {
        "flushdb" => SmallVec::from_iter([Claim::Db { db, mode }]),
        "swapdb" if number(1) == number(2) => SmallVec::new(), // changes nothing
        "swapdb" => [1, 2]
            .into_iter()
            .filter_map(number)
            .map(|db| Claim::Db {
                db: db as u16,
                mode,
            })
            .collect(),
        _ => SmallVec::from_iter([Claim::All { mode }]),
    }
}

/// A connection whose transactions under way have so many bytes of commands waits for their answers:
/// what it sends meanwhile stays with its input, which is bounded.
const FLOWING_BYTES_MAX: usize = 1 << 20;

/// A part that claims more keys claims their databases instead: the locks of a million keys would
/// take longer than the command itself, and the shard has nothing else to give meanwhile.
const KEYS_CLAIMED_MAX: usize = 4096;

/// Makes few claims of very many.
fn coarsen(claims: &mut Claims) {
    if claims.len() <= KEYS_CLAIMED_MAX {
        return;
    }
    let mut coarse = Claims::new();
    let mut last = None;
    for claim in claims.iter() {
        let claim = match *claim {
            Claim::Key { db, mode, .. } => Claim::Db { db, mode },
            other => other,
        };
        if last != Some(claim) && !coarse.contains(&claim) {
            coarse.push(claim);
        }
        last = Some(claim);
    }
    *claims = coarse;
}

/// The connection as the transaction machine knows it.
pub(super) fn connection_of(call: &RemoteCall) -> ConnectionId {
    ConnectionId {
        home: call.home,
        number: call.client,
    }
}

/// The shard that owns a key.
pub(super) fn owner_of(engine: &Engine, key: &[u8]) -> ShardId {
    engine.shard.owner_of_key(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn very_many_keys_are_claimed_with_their_database() {
        let key = |n: usize, db, mode| Claim::Key {
            db,
            position: n as u64,
            mode,
        };
        let some = || (0..KEYS_CLAIMED_MAX).map(|n| key(n, 3, Mode::Read));
        let mut few: Claims = some().collect();
        coarsen(&mut few);
        assert_eq!(few.len(), KEYS_CLAIMED_MAX);
        let more = [key(9, 3, Mode::Write), key(9, 4, Mode::Write)];
        let mut many: Claims = some().chain(more).chain(some()).collect();
        coarsen(&mut many);
        let db = |db, mode| Claim::Db { db, mode };
        let wanted = [db(3, Mode::Read), db(3, Mode::Write), db(4, Mode::Write)];
        assert_eq!(many[..], wanted);
    }
}
