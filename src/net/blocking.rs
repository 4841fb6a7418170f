//! Blocking commands: how a client that waits is served, and how its wait ends otherwise.
//!
//! # The wait begins
//! A command that finds nothing leaves a [`Wait`] with its shard. If one shard owns all its keys,
//! the client becomes a waiter there at once, and the home is told (`Errand::Waits`). Otherwise
//! the command has run at the home with the keys of all owners held; the waiters travel with what
//! the owners get back, so nothing can come in between.
//!
//! # Service
//! After whatever has changed a key, its waiters are tried by running their commands again, here,
//! against the keys of this shard: those of other shards have had their own occasion. A command that
//! writes to a key of another shard (BLMOVE) is a transaction, and who waits behind it is tried when
//! that is over. So is a key that any transaction holds: it may be lent, and look empty. A wait may
//! also name a time at which it is tried again (XREADGROUP's CLAIM).
//!
//! # The end
//! Time, CLIENT UNBLOCK and the end of the connection are the home's: it takes the token and answers.
//! If somebody else has it, a reply is under way, or the news that there was nothing after all.

use std::collections::BTreeSet;
use std::sync::Arc;

use smallvec::SmallVec;

use super::batch::{Batch, Command, RemoteCall};
use super::dispatch::run_again;
use super::engine::Engine;
use super::errand::Errand;
use super::log_waits::put_answer;
use super::session::{ConnId, Stall, flag};
use super::transaction::{Needs, own};
use crate::command::error::Error;
use crate::command::registry::RowId;
use crate::keyspace::{Kind, Lookup};
use crate::log::Lsn;
use crate::mesh::ShardId;
use crate::resp::encode::{Output, Reply};
use crate::shard::blocking::{Place, Token, Trying, Wait, Waiter};
use crate::shard::lending::{Carried, OwnedCommand};
use crate::txn::{Claim, Claims, ConnectionId, Loans, Mode, TxnId};

/// When waits end, by time and connection.
pub(super) type Deadlines = BTreeSet<(u64, ConnId)>;

/// A connection's wait, as its home knows it.
#[derive(Debug)]
pub struct Blocked {
    seq: u32,
    token: Token,
    until_ms: Option<u64>,
    /// The shards that have it as a waiter.
    shards: SmallVec<[ShardId; 2]>,
    awaited: Awaited,
}

/// What a connection waits for.
#[derive(Clone, Debug)]
pub(super) enum Awaited {
    Keys,
    /// Copies on replicas (WAIT), which nobody makes.
    Replicas,
    /// Copies in the logs (WAITAOF), for each shard up to there, and perhaps on replicas.
    Logs(Arc<[Lsn]>),
}

/// What a shard tells the home of a wait that has begun there.
#[derive(Debug)]
pub struct Begun {
    conn: ConnId,
    blocked: Blocked,
    /// It had begun before; whoever served the client has found nothing.
    again: bool,
}

/// How a wait ends without service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// As if its time were over.
    TimedOut,
    /// With an error.
    Failed,
    /// The connection is gone.
    Gone,
}

impl Engine {
    /// What a command of this shard's connection has left to do.
    #[cold]
    pub(super) fn after_own(&mut self, conn: ConnId, batch: &mut Batch, command: &Command) {
        if let Some(wait) = self.shard.blocking.request.take() {
            let call = self.hold_here(conn, false);
            let owned = own(batch, command);
            self.begin_wait(call, owned, wait);
        }
        self.settle_aftermath();
    }

    /// What a command has left to do besides a wait: messages to send, waiters to try.
    #[inline]
    pub(super) fn settle_aftermath(&mut self) {
        if self.shard.aftermath {
            self.work_off_aftermath();
        }
    }

    #[cold]
    fn work_off_aftermath(&mut self) {
        // What is done here may leave something to do in turn, which the loop finds.
        if std::mem::replace(&mut self.settling, true) {
            return;
        }
        self.send_invalidations();
        self.send_publications();
        self.try_waiters();
        self.send_invalidations();
        self.send_publications();
        self.shard.aftermath = self.shard.blocking.has_ready();
        self.settling = false;
        // Services that have begun, and those whom they were put before.
        if !self.working_off && self.shard.txns.has_actions() {
            self.work_off_transactions();
        }
    }

    /// A command all of whose keys have this owner has found nothing: its client waits here.
    pub(super) fn begin_wait(&mut self, call: RemoteCall, command: OwnedCommand, wait: Wait) {
        let token = Token::default();
        let begun = Begun::new(&call, &wait, &token, SmallVec::from_elem(self.shard.id, 1));
        let waiter = waiter(call, command, wait, token);
        let place = self.shard.last_place();
        self.shard.add_waiter(place, waiter);
        self.tell_home(&call, begun);
    }

    /// A command whose keys have several owners has found nothing: its client waits at each of them.
    /// Those of other shards begin to wait with what they get back.
    pub(super) fn begin_wait_at_owners(
        &mut self,
        call: RemoteCall,
        command: OwnedCommand,
        wait: Wait,
        loans: &mut Loans<Carried>,
    ) {
        let token = Token::default();
        let keys = wait.keys.iter().map(|at| command.arg(*at as usize));
        let mut shards: SmallVec<[ShardId; 2]> =
            keys.map(|key| self.shard.owner_of_key(key)).collect();
        shards.sort_unstable();
        shards.dedup();
        let begun = Begun::new(&call, &wait, &token, shards.clone());
        let waiter = waiter(call, command, wait, token);
        for shard in shards {
            if shard == self.shard.id {
                let place = self.shard.last_place();
                self.shard.add_waiter(place, waiter.clone());
                continue;
            }
            let loan = loans.iter_mut().find(|(other, _)| *other == shard);
            let (_, loan) = loan.expect("its key was claimed there");
            loan.waiter = Some(Box::new(waiter.clone()));
        }
        self.tell_home(&call, begun);
    }

    /// No replica ever answers a connection that waits for some.
    pub fn wait_for_replicas(&mut self, conn: ConnId, until_ms: Option<u64>) {
        self.begin_wait_at_home(conn, until_ms, Awaited::Replicas);
    }

    /// A command of a connection of this shard waits for something else than keys. Whoever has it
    /// answers, with the token.
    pub(super) fn begin_wait_at_home(
        &mut self,
        conn: ConnId,
        until_ms: Option<u64>,
        awaited: Awaited,
    ) -> (RemoteCall, Token) {
        let call = self.hold_here(conn, false);
        let token = Token::default();
        let blocked = Blocked {
            seq: call.seq,
            token: token.clone(),
            until_ms,
            shards: SmallVec::new(),
            awaited,
        };
        self.wait_begun(Begun {
            conn,
            blocked,
            again: false,
        });
        (call, token)
    }

    /// A waiter has come with what a transaction gives back.
    pub(super) fn waiter_arrived(&mut self, waiter: Waiter) {
        if !waiter.token.is_taken() {
            let place = self.shard.last_place();
            self.shard.add_waiter(place, waiter);
        }
    }

    fn tell_home(&mut self, call: &RemoteCall, begun: Begun) {
        if call.home == self.shard.id {
            self.wait_begun(begun);
        } else {
            self.send_errand(call.home, Errand::Waits(begun));
        }
    }

    /// A connection of this shard waits.
    pub(super) fn wait_begun(&mut self, begun: Begun) {
        let Begun {
            conn,
            blocked,
            again,
        } = begun;
        if again && !self.waits_with(conn, &blocked.token) {
            return; // it has been ended since, and the connection may be another
        }
        // Again: it may have been due in the meantime.
        if let Some(until_ms) = blocked.until_ms {
            self.deadlines.insert((until_ms, conn));
        }
        let session = self.session(conn);
        session.flags |= flag::BLOCKED;
        if !again {
            session.info.blocked = Some(Box::new(blocked));
        }
        let gone = session.fd < 0 || session.is(flag::CLOSING);
        if gone {
            self.end_wait(conn, Ending::Gone);
        } else {
            self.end_if_hung_up(conn);
        }
    }

    /// Whether a connection is in the wait that has this token.
    fn waits_with(&mut self, conn: ConnId, token: &Token) -> bool {
        let session = self.session_if(conn);
        let blocked = session.and_then(|session| session.info.blocked.as_ref());
        blocked.is_some_and(|blocked| blocked.token.is(token))
    }

    /// Tries those again who have waited for this time, and ends waits whose time is over.
    pub(super) fn end_waits_that_are_due(&mut self) {
        if self.is_moving_slots() {
            return;
        }
        self.shard.make_due_ready();
        self.settle_aftermath();
        while let Some(&(until_ms, conn)) = self.deadlines.first() {
            if until_ms > self.shard.now_ms {
                return;
            }
            self.deadlines.pop_first();
            self.end_wait(conn, Ending::TimedOut);
        }
    }

    /// When the next wait ends or is tried again, Unix time in milliseconds.
    pub(super) fn next_deadline_ms(&self) -> Option<u64> {
        let end_ms = self.deadlines.first().map(|(until_ms, _)| *until_ms);
        let again_ms = self.shard.blocking.next_again_ms();
        end_ms.into_iter().chain(again_ms).min()
    }

    /// Ends a connection's wait unless it is being served; whether it did.
    pub fn end_wait(&mut self, conn: ConnId, ending: Ending) -> bool {
        let Some(blocked) = self.session(conn).info.blocked.as_ref() else {
            return false;
        };
        if !blocked.token.take() {
            return false;
        }
        let (seq, awaited) = (blocked.seq, blocked.awaited.clone());
        let mut call = self.remote_call(conn, seq);
        call.home = self.shard.id;
        let mut output = Output::default();
        let mut reply = Reply::new(&mut output, call.version);
        match ending {
            Ending::Gone => {}
            Ending::Failed => reply.error(Error::UNBLOCKED.text()),
            // Whatever the command would answer with at once, as on Redis.
            Ending::TimedOut => match awaited {
                Awaited::Keys => reply.null_array(),
                Awaited::Replicas => reply.integer(0),
                Awaited::Logs(ends) => {
                    let certain = self.shard.node.logs.are_certain(&ends);
                    put_answer(&mut reply, certain);
                }
            },
        }
        self.forget_wait(conn, true);
        self.answer(&call, output);
        true
    }

    /// A key that a client of this shard waits for has moved to another shard, and the client with
    /// it. If its wait is over, that shard has to know.
    pub(super) fn waits_at(&mut self, conn: ConnId, token: Token, shard: ShardId) {
        let own = self.shard.id;
        let blocked = self
            .session_if(conn)
            .and_then(|session| session.info.blocked.as_mut())
            .filter(|blocked| blocked.token.is(&token));
        match blocked {
            Some(blocked) if blocked.shards.contains(&shard) => {}
            Some(blocked) => blocked.shards.push(shard),
            None if shard == own => self.shard.forget_waiter(&token),
            None => self.send_errand(shard, Errand::WaitEnded(token)),
        }
    }

    /// A connection waits no more. With `everywhere`, the shards that have it as a waiter are told;
    /// one that has served it alone knows.
    fn forget_wait(&mut self, conn: ConnId, everywhere: bool) {
        let session = self.session(conn);
        let Some(blocked) = session.info.blocked.take() else {
            return;
        };
        if let Some(until_ms) = blocked.until_ms {
            self.deadlines.remove(&(until_ms, conn));
        }
        if !everywhere && blocked.shards.len() == 1 {
            return;
        }
        for shard in blocked.shards {
            if shard == self.shard.id {
                self.shard.forget_waiter(&blocked.token);
            } else {
                self.send_errand(shard, Errand::WaitEnded(blocked.token.clone()));
            }
        }
    }

    /// Everything that a blocked connection has asked for is answered: it goes on.
    pub(super) fn unblocked(&mut self, conn: ConnId) {
        self.forget_wait(conn, false);
        let session = self.session(conn);
        session.flags &= !flag::BLOCKED;
        if session.stall == Stall::Blocked {
            self.resumable.push(conn);
        }
    }

    /// Tries the waiters of all keys that have changed.
    fn try_waiters(&mut self) {
        let mut postponed = Vec::new();
        while let Some((db, key)) = self.shard.blocking.next_ready() {
            if !self.try_waiters_of(db, &key) {
                postponed.push((db, key));
            }
        }
        for (db, key) in postponed {
            self.shard.blocking.postpone(db, key);
        }
    }

    /// Tries the waiters of a key in their order; false if a transaction is in the way.
    fn try_waiters_of(&mut self, db: u16, key: &[u8]) -> bool {
        let pos = self.shard.pos(key);
        let mut place = Place::default();
        while let Some(waiter) = self.shard.blocking.first_behind(db, key, place) {
            place = waiter.place;
            let (wanted, even_if_gone) = (waiter.wait.kind, waiter.wait.even_if_gone);
            // Before anything is looked up: what is lent would be missed.
            if !self.shard.txns.is_idle() {
                let claims = self.claims_of(waiter, db, key);
                self.shard.tell_ahead(&claims);
                // Who waits for them only is not asked: what a command brings is given away before
                // the next one comes to it.
                if !self.shard.txns.admits_service(&claims) {
                    return false;
                }
            }
            let now_ms = self.shard.now_ms;
            let entry = self.shard.keyspace.db(usize::from(db));
            let kind = match entry.lookup(pos, key, now_ms) {
                Lookup::Live(entry) => Some(entry.kind()),
                Lookup::Missing | Lookup::Expired => None,
            };
            if kind.is_none() && !self.shard.blocking.any_even_if_gone() {
                return true;
            }
            if (kind == Some(wanted) || even_if_gone) && !self.try_waiter(place, key) {
                return false;
            }
        }
        true
    }

    /// What a waiter's command needs here.
    fn claims_of(&self, waiter: &Waiter, db: u16, key: &[u8]) -> Claims {
        let mut keys: SmallVec<[&[u8]; 2]> = SmallVec::from_elem(key, 1);
        let destination = waiter.wait.destination;
        let destination = destination.map(|at| waiter.command.arg(at as usize));
        let own = |key: &&[u8]| self.shard.owner_of_key(key) == self.shard.id;
        keys.extend(destination.filter(own));
        let claim = |key: &&[u8]| Claim::Key {
            db,
            position: self.shard.pos(key).to_bits(),
            mode: Mode::Write,
        };
        keys.iter().map(claim).collect()
    }

    /// The connection that a service here is coordinated for: not the client's own, which is its
    /// home's.
    pub(super) fn stand_in(&self, call: &RemoteCall) -> ConnectionId {
        ConnectionId {
            home: self.shard.id,
            number: call.client,
        }
    }

    /// Runs a waiter's command again, for one of its keys. False if that is a transaction: those
    /// behind it have to wait for what it leaves.
    fn try_waiter(&mut self, place: Place, key: &[u8]) -> bool {
        let mut waiter = self.shard.take_waiter(place).expect("just found");
        if waiter.token.is_taken() {
            return true;
        }
        let own = self.shard.id;
        let destination = waiter.wait.destination;
        let destination = destination.map(|at| waiter.command.arg(at as usize));
        if destination.is_some_and(|key| self.shard.owner_of_key(key) != own) {
            return !self.serve_with_others(waiter);
        }
        let mut output = Output::default();
        self.shard.blocking.trying = Some(Trying {
            token: waiter.token.clone(),
            won: false,
        });
        let narrowed = narrowed(&waiter, key);
        let command = narrowed.as_ref().unwrap_or(&waiter.command);
        run_again(&mut self.shard, &waiter.call, command, &mut output);
        let mut trying = self.shard.blocking.trying.take().expect("set above");
        if let Some(wait) = self.shard.blocking.request.take() {
            waiter.wait.again_ms = wait.again_ms;
            self.shard.add_waiter(place, waiter);
            return true;
        }
        // An error has not asked for the token; without it somebody else answers.
        if !output.is_empty() && trying.win() {
            self.answer(&waiter.call, output);
        }
        true
    }

    /// Serves a waiter whose command writes to a key of another shard, as a transaction of this one;
    /// false if somebody else serves it.
    fn serve_with_others(&mut self, waiter: Waiter) -> bool {
        if !waiter.token.take() {
            return false;
        }
        let mut needs = Needs::default();
        let row: RowId = waiter.command.command.row;
        let spec = self.shard.registry.row(row).spec;
        let args: Vec<&[u8]> = waiter.command.args().collect();
        self.lend_keys(&mut needs, waiter.call.db, spec, &args);
        self.begin_service(needs, waiter);
        true
    }

    /// The transaction of [`serve_with_others`](Self::serve_with_others) holds everything. If there
    /// was nothing after all, the wait goes on in its old place.
    pub(super) fn serve_with_loans(
        &mut self,
        txn: TxnId,
        waiter: Waiter,
        loans: &mut Loans<Carried>,
    ) {
        let mut output = Output::default();
        self.with_loans(loans, |engine| {
            run_again(
                &mut engine.shard,
                &waiter.call,
                &waiter.command,
                &mut output,
            );
        });
        self.shard.close_transaction(txn, loans);
        if self.shard.blocking.request.take().is_none() {
            return self.answer(&waiter.call, output);
        }
        waiter.token.give_back();
        let shards = SmallVec::from_elem(self.shard.id, 1);
        let mut begun = Begun::new(&waiter.call, &waiter.wait, &waiter.token, shards);
        begun.again = true;
        let (call, place) = (waiter.call, waiter.place);
        self.shard.add_waiter(place, waiter);
        self.tell_home(&call, begun);
    }
}

impl Begun {
    fn new(call: &RemoteCall, wait: &Wait, token: &Token, shards: SmallVec<[ShardId; 2]>) -> Self {
        Self {
            conn: call.conn,
            blocked: Blocked {
                seq: call.seq,
                token: token.clone(),
                until_ms: wait.until_ms,
                shards,
                awaited: Awaited::Keys,
            },
            again: false,
        }
    }
}

/// The command of one who waits for several keys, with this one in the place of each. As on Redis
/// who is served because of a key takes from that one, though another of his keys may have come to
/// hold something besides: those who have waited for that one before him are asked first. Who reads
/// streams takes nothing from anybody.
fn narrowed(waiter: &Waiter, key: &[u8]) -> Option<OwnedCommand> {
    let Wait { keys, kind, .. } = &waiter.wait;
    let several = keys.len() > 1 && *kind != Kind::Stream;
    several.then(|| {
        let is_key = |at: usize| keys.iter().any(|index| *index as usize == at);
        with_args(&waiter.command, |at| is_key(at).then_some(key))
    })
}

/// A command with some of its arguments replaced.
fn with_args<'a>(
    command: &'a OwnedCommand,
    new: impl Fn(usize) -> Option<&'a [u8]>,
) -> OwnedCommand {
    let all = 0..command.len();
    let args: Vec<&[u8]> = all
        .map(|at| new(at).unwrap_or_else(|| command.arg(at)))
        .collect();
    OwnedCommand::new(command.command, args.iter().copied(), Vec::new())
}

/// A waiter whose command has the arguments that it is to have from now on.
fn waiter(call: RemoteCall, mut command: OwnedCommand, mut wait: Wait, token: Token) -> Waiter {
    let rewritten = std::mem::take(&mut wait.rewritten);
    if !rewritten.is_empty() {
        command = with_args(&command, |at| {
            let new = rewritten.iter().find(|(index, _)| *index as usize == at);
            new.map(|(_, bytes)| &bytes[..])
        });
    }
    Waiter {
        call,
        command,
        wait,
        token,
        keys: SmallVec::new(),
        place: Place::default(),
    }
}
