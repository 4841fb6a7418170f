//! Volleys: pipelined commands of one connection that go to several owners together.
//!
//! Writes of one connection become visible in the order in which it sent them. Sent one after the
//! other to different owners, each change of owner would have to wait until the writes before it
//! are answered. So a stretch of a pipeline in which the writes change their owner is a volley: in
//! one round it claims the keys of all its commands at all their owners, as a transaction does
//! (see [`crate::txn`]). When everything is held the commands leave at once, as ordinary requests
//! that no claim stops, and behind them in the same lanes what releases the claims:
//!
//! ```text
//! home                          owners
//!   claim keys  ── Acquire ──►    hold them when they are free
//!   resume      ◄── Granted ──
//!   send        ── requests, Release ──►   run them, reply, let others in
//! ```
//!
//! # Why that is right
//! - From the moment at which everything is held until an owner has run its requests nobody sees or
//!   changes a key of the volley there, so for everybody else its commands happen together, in the
//!   order of the connection, at that moment; which lies between their requests and their replies.
//! - What the connection sends later, to whomever, is either behind the release in a lane, or finds
//!   at another owner no key of the volley; whoever looks from its effect back to the volley meets
//!   claims or what the volley wrote. So it need not wait for the volley's replies.
//! - What the connection has sent earlier must not be overtaken: a volley begins when no earlier
//!   command can be parked at an owner any more. Requests of a volley are never parked.
//! - Holding is not waiting for anybody: lanes drain whatever is claimed. So the order of ages that
//!   keeps transactions from deadlock covers volleys, too.
//! - A connection that ends in the middle has had the commands that were sent run, a beginning of
//!   the pipeline, and gives back what it holds.
//!
//! A stretch whose writes all have one owner, or leave the home once and for one owner only, is no
//! volley, and needs no claims.

use super::batch::{Batch, Command, Origin};
use super::engine::Engine;
use super::session::{ConnId, Stall, flag};
use super::transaction::{Job, Needs, Running, connection_of};
use crate::command::registry::{Route, RowId, Spread};
use crate::command::spec::Flags;
use crate::mesh::ShardId;
use crate::shard::lending::Carried;
use crate::txn::{Claims, Loans, TxnId};

/// A volley that holds its keys.
pub(super) struct Volley {
    txn: TxnId,
    loans: Loans<Carried>,
}

/// Where the commands of a volley stand in the batch.
struct Stretch {
    first: usize,
    end: usize,
}

/// What is known of the commands that were looked at.
#[derive(Default)]
struct Survey {
    /// The owner of the writes that leave the home.
    away: Option<ShardId>,
    /// Writes would become visible in another order than the connection's.
    crossing: bool,
    /// The first command for another shard.
    first: Option<usize>,
    /// Behind the last write.
    end: usize,
}

impl Survey {
    fn see(&mut self, at: usize, owner: ShardId, home: ShardId, write: bool) {
        if owner != home {
            self.first.get_or_insert(at);
        }
        if !write {
            return;
        }
        self.end = at + 1;
        match self.away {
            Some(away) => self.crossing |= owner != away,
            None if owner != home => self.away = Some(owner),
            None => {}
        }
    }

    /// The commands that must go together.
    fn stretch(&self) -> Option<Stretch> {
        let first = self.first.filter(|_| self.crossing)?;
        (first < self.end).then_some(Stretch {
            first,
            end: self.end,
        })
    }
}

impl Engine {
    /// Whether the command at `at` is the first of a volley; if so its connection waits until its
    /// keys are held. Looks at the commands that follow, each of them once.
    pub(super) fn begin_volley(
        &mut self,
        conn: ConnId,
        batch: &mut Batch,
        at: usize,
    ) -> Option<Stall> {
        if at < batch.surveyed {
            return None;
        }
        let stretch = self.survey_stretch(conn, batch, at)?;
        if stretch.first > at {
            // What runs here comes before.
            batch.surveyed = stretch.first;
            return None;
        }
        if self.session(conn).unsure > 0 {
            return Some(Stall::Unsure);
        }
        let db = self.session(conn).db;
        let mut needs = Needs::default();
        let mut claims = Claims::new();
        for command in &batch.commands[at..stretch.end] {
            let spec = self.shard.registry.row(command.row).spec;
            let owner = self.only_owner(batch, command).expect("it was surveyed");
            self.claim(db, spec, batch.args_of(command), command.pos, &mut claims);
            needs.part(owner).1.claims.append(&mut claims);
        }
        if let Some(stall) = self.no_room_for(conn, &needs) {
            return Some(stall);
        }
        let call = self.remote_call(conn, 0);
        let txn = self.shard.txns.begin(connection_of(&call), needs.parts);
        let job = Job::Volley((stretch.end - at) as u32);
        self.running.insert(txn, Running { call, job });
        self.session(conn).flags |= flag::VOLLEY;
        self.work_off_transactions();
        Some(Stall::Claims)
    }

    /// Looks at the commands of a connection from `at` on that may go together.
    fn survey_stretch(&mut self, conn: ConnId, batch: &mut Batch, at: usize) -> Option<Stretch> {
        let Origin::Local(input) = batch.commands[at].origin else {
            unreachable!("a connection's own")
        };
        let home = self.shard.id;
        let session = self.session(conn);
        let mut survey = Survey {
            away: (session.writes_out > 0).then_some(ShardId(session.writes_at)),
            ..Survey::default()
        };
        let mut next = at;
        while let Some(command) = batch.commands.get(next)
            && matches!(command.origin, Origin::Local(other) if other == input)
            && let Some(owner) = self.only_owner(batch, command)
        {
            let spec = self.shard.registry.row(command.row).spec;
            survey.see(next, owner, home, spec.flags.has(Flags::WRITE));
            next += 1;
        }
        batch.surveyed = next.max(at + 1);
        survey.stretch()
    }

    /// The owner of all keys of a command that may be part of a volley.
    fn only_owner(&mut self, batch: &Batch, command: &Command) -> Option<ShardId> {
        if command.row == RowId::UNKNOWN {
            return None;
        }
        let row = self.shard.registry.row(command.row);
        let (route, spread, spec) = (row.route, row.spread, row.spec);
        if !spec.arity_fits(command.argc as usize) || spec.flags.has(Flags::BLOCKING) {
            return None;
        }
        match route {
            Route::OneKey(_) => Some(self.shard.owner(command.pos.slot())),
            // DEL, EXISTS and the like, of one key mostly.
            Route::ManyKeys if spread != Spread::Lend => {
                let owner = self.owner_of_all(batch.args_of(command), spec);
                owner.filter(|_| !self.key_scratch.is_empty())
            }
            _ => None,
        }
    }

    /// A volley holds all its keys: its connection goes on.
    pub(super) fn volley_is_held(
        &mut self,
        txn: TxnId,
        conn: ConnId,
        commands: u32,
        loans: Loans<Carried>,
    ) {
        self.volleys.insert(conn, Volley { txn, loans });
        let session = self.session(conn);
        if session.is(flag::CLOSING | flag::CLOSE_AFTER_REPLY) {
            return self.end_volley(conn);
        }
        assert_eq!(session.stall, Stall::Claims, "it waits for nothing else");
        session.volley_left = commands;
        self.resumable.push(conn);
    }

    /// A command of a volley has been taken up. After the last one others are let in.
    pub(super) fn volley_step(&mut self, conn: ConnId) {
        let session = self.session(conn);
        session.volley_left -= 1;
        if session.volley_left == 0 {
            self.end_volley(conn);
        }
    }

    /// Gives back what a volley holds, if it holds anything.
    pub(super) fn end_volley(&mut self, conn: ConnId) {
        let Some(Volley { txn, loans }) = self.volleys.remove(&conn) else {
            return;
        };
        let session = self.session(conn);
        session.volley_left = 0;
        session.flags &= !flag::VOLLEY;
        self.shard.txns.executed(txn, loans);
        self.work_off_transactions();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::dispatch::SEVERAL;

    /// Owners of a pipeline's commands, writes in capitals: h is the home.
    fn stretch(pipeline: &str, writes_at: Option<u16>) -> Option<(usize, usize)> {
        let home = ShardId(7);
        let mut survey = Survey {
            away: writes_at.map(ShardId),
            ..Survey::default()
        };
        for (at, letter) in pipeline.chars().enumerate() {
            let shard = letter.to_ascii_lowercase() as u16 - u16::from(b'a');
            survey.see(at, ShardId(shard), home, letter.is_ascii_uppercase());
        }
        survey.stretch().map(|stretch| (stretch.first, stretch.end))
    }

    #[test]
    fn only_what_would_be_seen_out_of_order_goes_together() {
        assert_eq!(stretch("HHhhHH", None), None);
        assert_eq!(stretch("AAaA", None), None);
        assert_eq!(stretch("HhHABba", None), Some((3, 5)));
        assert_eq!(
            stretch("HHAcAhA", None),
            None,
            "reads stand in nobody's way"
        );
        assert_eq!(stretch("HHaAhHb", None), Some((2, 6)));
        assert_eq!(stretch("bHA", None), None);
        assert_eq!(stretch("bHAB", None), Some((0, 4)));
    }

    #[test]
    fn writes_under_way_count() {
        assert_eq!(stretch("AA", Some(0)), None);
        assert_eq!(stretch("AAB", Some(0)), Some((0, 3)));
        assert_eq!(stretch("BB", Some(0)), Some((0, 2)));
        assert_eq!(stretch("Ha", Some(SEVERAL)), None);
    }
}
