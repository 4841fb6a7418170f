//! MULTI, DISCARD, WATCH, UNWATCH and the queueing of commands, for a connection of this shard. EXEC
//! is in `block`.

use super::batch::{Batch, Command, RemoteCall};
use super::dispatch::{Flow, count};
use super::engine::Engine;
use super::errand::Errand;
use super::session::{ConnId, Stall, flag};
use super::transaction::{connection_of, own};
use crate::command::error::Error;
use crate::command::registry::{Route, RowId};
use crate::command::spec::{Flags, Run};
use crate::mesh::ShardId;
use crate::resp::encode::{Output, Reply};
use crate::shard::lending::{Wanted, Work};
use crate::txn::multi::{Control, MultiError, WatchedKey, owners};
use crate::txn::{Claim, Claims, Mode};

impl Engine {
    /// Keeps a command of an open block, or refuses it.
    pub(super) fn queue_command(&mut self, conn: ConnId, batch: &mut Batch, command: &Command) {
        if let Some(error) = self.why_not_queued(batch, command) {
            return self.reject(conn, command.row, &error);
        }
        let owned = own(batch, command);
        let session = self.session(conn);
        session.info.multi.queue(owned);
        let version = session.version;
        Reply::new(session.target(), version).simple("QUEUED");
    }

    /// Why a command may not be in a block. Redis asks in this order.
    fn why_not_queued(&self, batch: &Batch, command: &Command) -> Option<Error> {
        let args = batch.args_of(command);
        if command.row == RowId::UNKNOWN {
            return Some(Error::unknown_command(args));
        }
        let row = self.shard.registry.row(command.row);
        if row.route == Route::Container {
            return Some(match args {
                [_, sub, ..] => Error::unknown_subcommand(sub, row.spec.name),
                _ => Error::arity(row.spec.name),
            });
        }
        if !row.spec.arity_fits(args.len()) {
            return Some(Error::arity(&row.full_name));
        }
        let refused = row.spec.flags.has(Flags::NO_MULTI);
        refused.then(|| Error::new(MultiError::NotAllowed.text()))
    }

    /// Whether a block keeps this command instead of running it.
    pub(super) fn is_queued(&self, row: RowId) -> bool {
        row == RowId::UNKNOWN
            || Control::of(self.shard.registry.row(row).spec.name.as_bytes()).is_none()
    }

    /// Runs MULTI, EXEC, DISCARD, WATCH or UNWATCH.
    pub(super) fn run_control(
        &mut self,
        conn: ConnId,
        batch: &mut Batch,
        command: &Command,
    ) -> Flow {
        let Run::Control(control) = self.shard.registry.row(command.row).spec.run else {
            unreachable!("routed by its kind")
        };
        let ends_watches = matches!(control, Control::Discard | Control::Unwatch);
        if ends_watches && self.watch_is_under_way(conn) {
            return Flow::Wait(Stall::Answers);
        }
        let multi = &mut self.session(conn).info.multi;
        let outcome = match control {
            Control::Exec => return self.exec(conn, command.row),
            Control::Watch => match multi.may_watch() {
                Ok(()) => return self.watch(conn, batch, command),
                Err(error) => Err(error),
            },
            Control::Multi => multi.multi(),
            Control::Discard => multi.discard().map(|ended| self.unwatch(conn, &ended)),
            Control::Unwatch => {
                let ended = multi.unwatch();
                self.unwatch(conn, &ended);
                Ok(())
            }
            Control::Reset | Control::Quit => unreachable!("the connection family runs them"),
        };
        self.mark_multi(conn);
        let session = self.session(conn);
        let version = session.version;
        let mut reply = Reply::new(session.target(), version);
        match outcome {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error.text().as_bytes()),
        }
        if outcome.is_err() {
            self.shard.stats.count_error("ERR");
        }
        let took = self.shard.lap();
        count(&mut self.shard, command.row, took, outcome.is_err());
        Flow::Done
    }

    /// Whether a WATCH has not been answered, so that a message that ends it could come before it.
    pub(super) fn watch_is_under_way(&mut self, conn: ConnId) -> bool {
        let session = self.session(conn);
        session.waiting > 0 && session.info.multi.watches() > 0
    }

    /// Lets commands of a connection take the way that its block, open or not, requires.
    pub(super) fn mark_multi(&mut self, conn: ConnId) {
        let session = self.session(conn);
        if session.info.multi.is_queueing() {
            session.flags |= flag::MULTI;
        } else {
            session.flags &= !flag::MULTI;
        }
    }

    /// RESET: no block, no watches.
    pub fn end_multi(&mut self, conn: ConnId) {
        let ended = self.session(conn).info.multi.reset();
        self.mark_multi(conn);
        self.unwatch(conn, &ended);
    }

    /// EXEC was refused itself, with this reason: the block and the watches are gone.
    pub(super) fn exec_refused(&mut self, conn: ConnId, error: &Error) -> Error {
        let ended = self.session(conn).info.multi.exec_refused();
        self.mark_multi(conn);
        self.unwatch(conn, &ended);
        let reason = error.text().strip_prefix(b"ERR ").unwrap_or(error.text());
        Error::of_bytes([crate::txn::multi::EXEC_REFUSED.as_bytes(), reason].concat())
    }

    /// Tells the owners that watches have ended.
    pub(super) fn unwatch(&mut self, conn: ConnId, ended: &[WatchedKey]) {
        if ended.is_empty() {
            return;
        }
        let connection = connection_of(&self.remote_call(conn, 0));
        for owner in owners(ended) {
            self.shard.txns.unwatch_at(owner, connection);
        }
        self.work_off_transactions();
    }

    /// WATCH: registers at each owner of the keys. The reply leaves when all have done so.
    fn watch(&mut self, conn: ConnId, batch: &mut Batch, command: &Command) -> Flow {
        let db = self.session(conn).db;
        let mut shares: Vec<(ShardId, Vec<Wanted>)> = Vec::new();
        let mut watched = Vec::new();
        for key in &batch.args_of(command)[1..] {
            let pos = self.shard.pos(key);
            let owner = self.shard.owner_at(pos);
            watched.push(WatchedKey {
                db,
                owner,
                position: pos.to_bits(),
                key: (*key).into(),
            });
            let key = (*key).into();
            let wanted = Wanted { db, pos, key };
            match shares.iter_mut().find(|(shard, _)| *shard == owner) {
                Some((_, keys)) => keys.push(wanted),
                None => shares.push((owner, vec![wanted])),
            }
        }
        for (owner, _) in &shares {
            if let Some(stall) = self.no_room(conn, *owner) {
                return Flow::Wait(stall);
            }
        }
        let info = &mut self.session(conn).info;
        info.watched = true;
        for key in watched {
            info.multi.watch(key);
        }
        let seq = self.session(conn).hold(false);
        let call = self.remote_call(conn, seq);
        let gather = self.await_watches(&call, command.row, shares.len());
        for (owner, keys) in shares {
            if owner == self.shard.id {
                self.register(call, gather, keys);
            } else {
                self.send_errand(owner, Errand::Watch { call, gather, keys });
            }
        }
        let took = self.shard.lap();
        count(&mut self.shard, command.row, took, false);
        Flow::Done
    }

    /// Registers watches on keys of this shard, now or when those who hold the keys are done.
    pub(super) fn register(&mut self, call: RemoteCall, gather: u32, keys: Vec<Wanted>) {
        let connection = connection_of(&call);
        if !self.shard.txns.is_idle() {
            let claims: Claims = keys.iter().map(read_of).collect();
            if self.is_held_up(connection, &claims) {
                return self.park_work(call, &claims, Work::Watch(gather, keys));
            }
        }
        self.shard.watch(connection, &keys);
        self.watch_answered(call.home, gather);
    }

    /// Tells the home that watches are registered.
    pub(super) fn watch_answered(&mut self, home: ShardId, gather: u32) {
        if home == self.shard.id {
            self.gathered(gather, home, Output::default());
        } else {
            self.send_errand(home, Errand::Watched { gather });
        }
    }
}

/// The claim of what only reads a key.
pub(super) fn read_of(wanted: &Wanted) -> Claim {
    Claim::Key {
        db: wanted.db,
        position: wanted.pos.to_bits(),
        mode: Mode::Read,
    }
}
