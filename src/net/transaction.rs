//! Commands whose keys have several owners: the glue between the transaction machine
//! ([`crate::txn`]) and the shard.
//!
//! The owners lend the entries to the client's home, which puts them into its own tables, runs the
//! ordinary command, takes them out again and sends them back. Between the two nothing else runs
//! here, so nobody sees a foreign key.

use super::batch::{Batch, Command, RemoteCall};
use super::dispatch::{Call, Flow, run};
use super::engine::Engine;
use super::remote::{begin_reply, end_reply};
use super::session::{ConnId, Stall};
use crate::command::context::{Caller, OwnedArgs};
use crate::command::generic::keys::other_database;
use crate::command::keys::keys_of;
use crate::command::registry::RowId;
use crate::command::spec::{Flags, Spec};
use crate::keyspace::Pos;
use crate::mesh::ShardId;
use crate::resp::encode::Output;
use crate::shard::lending::{Ask, Carried, Parked, Wanted};
use crate::txn::{Action, Claim, Claims, ConnectionId, Loans, Mode, Part, Parts, TxnId};

/// A transaction that this shard coordinates.
pub(super) struct Running {
    txn: TxnId,
    call: RemoteCall,
    row: RowId,
    args: Vec<Vec<u8>>,
}

impl Engine {
    /// Begins a command whose keys have several owners.
    pub(super) fn run_transaction(
        &mut self,
        conn: ConnId,
        batch: &mut Batch,
        command: &Command,
        spec: &'static Spec,
    ) -> Flow {
        let write = spec.flags.has(Flags::WRITE);
        if write && self.session(conn).writes_out > 0 {
            return Flow::Wait(Stall::Writes);
        }
        let args = batch.args_of(command);
        let db = self.session(conn).db;
        let parts = self.parts(db, args, spec);
        for (shard, _) in &parts {
            if let Some(stall) = self.no_room(conn, *shard) {
                return Flow::Wait(stall);
            }
        }
        let args = args.iter().map(|a| a.to_vec()).collect();
        if write {
            self.writes_everywhere(conn);
        }
        let seq = self.session(conn).hold(write);
        let call = self.remote_call(conn, seq);
        let connection = connection_of(&call);
        let txn = self.shard.txns.begin(connection, parts);
        self.running.push(Running {
            txn,
            call,
            row: command.row,
            args,
        });
        self.work_off_transactions();
        Flow::Done
    }

    /// What a command needs of each owner of its keys: of the caller's database, and of the other
    /// one where it names one.
    fn parts(&mut self, db: u16, args: &[&[u8]], spec: &Spec) -> Parts<Carried> {
        let mut keys = std::mem::take(&mut self.key_scratch);
        keys.clear();
        keys_of(spec, args, &mut keys);
        let other = other_database(spec.name, args, self.shard.keyspace.databases());
        let mut parts: Parts<Carried> = Parts::new();
        for at in &keys {
            let key = args[at.index];
            let pos = self.shard.pos(key);
            let owner = self.shard.owner(pos.slot());
            let place = match parts.iter().position(|(shard, _)| *shard == owner) {
                Some(place) => place,
                None => {
                    let ask = Ask { keys: Vec::new() };
                    parts.push((
                        owner,
                        Part {
                            claims: Claims::new(),
                            ask,
                            watcher: None,
                        },
                    ));
                    parts.len() - 1
                }
            };
            let part = &mut parts[place].1;
            for db in [Some(db), other].into_iter().flatten() {
                let there = |wanted: &Wanted| wanted.db == db && *wanted.key == *key;
                if part.ask.keys.iter().any(there) {
                    continue;
                }
                part.claims.push(Claim::Key {
                    db,
                    position: pos.to_bits(),
                    mode: Mode::Write,
                });
                part.ask.keys.push(Wanted {
                    db,
                    pos,
                    key: key.into(),
                });
            }
        }
        self.key_scratch = keys;
        parts
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
        let connection = connection_of(call);
        if self.shard.txns.holds_back(connection) {
            return true;
        }
        let claims = self.claims(call.db, spec, batch.args_of(command));
        !claims.is_empty() && !self.shard.txns.admits(connection, &claims)
    }

    fn claims(&mut self, db: u16, spec: &Spec, args: &[&[u8]]) -> Claims {
        let mode = if spec.flags.has(Flags::WRITE) {
            Mode::Write
        } else {
            Mode::Read
        };
        let mut keys = std::mem::take(&mut self.key_scratch);
        keys.clear();
        keys_of(spec, args, &mut keys);
        let other = other_database(spec.name, args, self.shard.keyspace.databases());
        let mut claims = Claims::new();
        for at in &keys {
            let position = self.shard.pos(args[at.index]).to_bits();
            for db in [Some(db), other].into_iter().flatten() {
                claims.push(Claim::Key { db, position, mode });
            }
        }
        self.key_scratch = keys;
        claims
    }

    /// Parks a command of a connection of this shard.
    pub(super) fn park_here(
        &mut self,
        conn: ConnId,
        spec: &'static Spec,
        batch: &mut Batch,
        command: &Command,
    ) -> Flow {
        let write = spec.flags.has(Flags::WRITE);
        let here = self.shard.id.0;
        let session = self.session(conn);
        if write {
            session.writes_out += 1;
            session.writes_at = here;
        }
        let seq = session.hold(write);
        let call = self.remote_call(conn, seq);
        self.park(call, batch, command);
        Flow::Done
    }

    /// Parks a command until the transactions that it conflicts with are done.
    pub(super) fn park(&mut self, call: RemoteCall, batch: &mut Batch, command: &Command) {
        let spec = self.shard.registry.row(command.row).spec;
        let claims = self.claims(call.db, spec, batch.args_of(command));
        let args = batch.args_of(command).iter().map(|a| a.to_vec()).collect();
        let parked = Parked {
            call,
            row: command.row,
            args,
            pos: command.pos,
        };
        self.shard
            .txns
            .park(connection_of(&call), &claims, Box::new(parked));
        self.work_off_transactions();
    }

    /// Does what the transaction machine asks for.
    pub(super) fn work_off_transactions(&mut self) {
        while let Some(action) = self.shard.txns.next_action() {
            match action {
                Action::Send(to, message) => self.send_transaction(to, message),
                Action::Lend(txn) => {
                    let wanted = self.shard.txns.ask(txn).0.keys.clone();
                    let loan = self.shard.lend(wanted);
                    self.shard.txns.lent(txn, loan);
                }
                Action::TakeBack(_, loan) => self.shard.take_back(loan),
                Action::Run(parked) => self.run_parked(*parked),
                Action::Discard(parked) => self.answer(&parked.call, Output::default()),
                Action::Execute { txn, loans, .. } => self.run_with_loans(txn, loans),
                Action::Dirty { txn, .. } => {
                    let at = self
                        .running
                        .iter()
                        .position(|r| r.txn == txn)
                        .expect("begun here");
                    let running = self.running.swap_remove(at);
                    self.answer(&running.call, Output::default());
                }
            }
        }
    }

    /// Runs a command whose wait is over.
    fn run_parked(&mut self, parked: Parked) {
        let args: Vec<&[u8]> = parked.args.iter().map(Vec::as_slice).collect();
        let mut output = Output::default();
        self.run_for(&parked.call, parked.row, &args, parked.pos, &mut output);
        self.answer(&parked.call, output);
    }

    /// Runs a transaction with everything that it was lent.
    fn run_with_loans(&mut self, txn: TxnId, loans: Loans<Carried>) {
        let at = self
            .running
            .iter()
            .position(|r| r.txn == txn)
            .expect("begun here");
        let running = self.running.swap_remove(at);
        let mut lenders: Vec<(ShardId, Vec<Wanted>)> = Vec::with_capacity(loans.len());
        for (shard, loan) in loans {
            lenders.push((shard, self.shard.put(loan.keys.into_iter())));
        }
        self.shard.changes = Some(Vec::new());
        let args: Vec<&[u8]> = running.args.iter().map(Vec::as_slice).collect();
        let mut output = Output::default();
        self.run_for(
            &running.call,
            running.row,
            &args,
            Pos::default(),
            &mut output,
        );
        let mut changes = self.shard.changes.take().expect("set above");
        let mut back = Loans::<Carried>::new();
        for (shard, keys) in lenders {
            let mut loan = self.shard.lend(keys);
            let owner = |pos: Pos| self.shard.owner(pos.slot());
            loan.changes = changes
                .extract_if(.., |change| owner(change.pos) == shard)
                .collect();
            back.push((shard, loan));
        }
        assert!(
            changes.is_empty(),
            "a command changes only the keys that it names"
        );
        self.shard.txns.executed(txn, back);
        self.answer(&running.call, output);
    }

    fn run_for(
        &mut self,
        call: &RemoteCall,
        row: RowId,
        args: &[&[u8]],
        pos: Pos,
        out: &mut Output,
    ) {
        let call = Call {
            row,
            spec: self.shard.registry.row(row).spec,
            args,
            pos,
            caller: Caller {
                client: call.client,
                db: call.db,
                flags: call.flags,
                home: call.home,
            },
            version: call.version,
        };
        run(
            &mut self.shard,
            call,
            OwnedArgs {
                first: 0,
                owned: &mut Vec::new(),
            },
            out,
        );
    }

    /// Sends a reply to the connection that it is for, here or at another shard.
    fn answer(&mut self, call: &RemoteCall, mut output: Output) {
        if call.home == self.shard.id {
            self.session(call.conn)
                .complete(call.seq, |out| out.append(&mut output));
            return self.answered(call.conn);
        }
        let out = &mut self.outgoing[call.home.index()];
        let open = begin_reply(out, call);
        out.append(&mut output);
        end_reply(out, open);
    }
}

/// The connection as the transaction machine knows it.
fn connection_of(call: &RemoteCall) -> ConnectionId {
    ConnectionId {
        home: call.home,
        number: call.client,
    }
}
