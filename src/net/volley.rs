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
//! # When there is none
//! Where a stretch's writes would wait but once or twice for those before them, that is cheaper than
//! claims. And where several connections want the same keys, waiting for one's own writes lets the
//! others go on, while claims do not: keys that two volleys of a shard want at once are left out of
//! volleys for a while. So are keys that a client waits for in a blocking command: it is served when
//! the push is done, before the next command of the pipeline, which a volley that holds the key would
//! not let happen. And so are long values that a snapshot has to tell before they change: their writers
//! wait for it one by one, and hold nothing that others want.

use super::batch::{Batch, Command, Origin};
use super::engine::Engine;
use super::session::{ConnId, Stall, flag};
use super::transaction::{Job, Needs, Running, connection_of};
use crate::command::registry::{Route, RowId, Spread};
use crate::command::spec::Flags;
use crate::mesh::ShardId;
use crate::shard::lending::Carried;
use crate::txn::{Claim, Claims, DbIndex, Loans, Position, TxnId};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// A stretch in which writes would have to wait so many times for those before them is a volley.
/// With fewer, the claims cost more than they save.
const WAITS_MIN: u32 = 3;
/// For how long keys that several volleys wanted at once are left to single commands.
const HOT_MS: u64 = 200;
/// So many hot keys are remembered.
const HOT_KEYS_MAX: usize = 4096;

/// A key by its database and position.
type KeyId = (DbIndex, Position);

/// Keys of this shard's volleys, and those that are wanted by several at once. While a volley holds
/// its keys nobody else comes to them, so that volleys over the same few keys would run one after
/// the other, a round for each, where single commands only wait for their own connection's earlier
/// ones.
#[derive(Default)]
pub(super) struct Rivals {
    /// How many commands of volleys under way have the key.
    wanted: FxHashMap<KeyId, u32>,
    /// The keys of each volley under way.
    of_volley: FxHashMap<ConnId, SmallVec<[KeyId; 16]>>,
    /// Unix time in milliseconds until which a key takes part in no volley.
    hot: FxHashMap<KeyId, u64>,
}

impl Rivals {
    /// Takes the keys of a volley that is about to begin; none if one of them is hot, or becomes so
    /// because another volley has it.
    fn take(&mut self, conn: ConnId, keys: SmallVec<[KeyId; 16]>, now_ms: u64) -> bool {
        let mut cold = true;
        for key in &keys {
            if self.hot.get(key).is_some_and(|until| *until > now_ms) {
                cold = false;
            } else if self.wanted.contains_key(key) {
                cold = false;
                heat(&mut self.hot, *key, now_ms);
            }
        }
        if cold {
            for key in &keys {
                *self.wanted.entry(*key).or_default() += 1;
            }
            let before = self.of_volley.insert(conn, keys);
            assert!(before.is_none(), "a connection has one volley at a time");
        }
        cold
    }

    /// The keys of a connection's volley take part in none for a while.
    fn leave_out(&mut self, conn: ConnId, now_ms: u64) {
        for key in self.of_volley.get(&conn).into_iter().flatten() {
            heat(&mut self.hot, *key, now_ms);
        }
    }

    /// The volley of a connection is over, or will not be.
    fn give(&mut self, conn: ConnId) {
        for key in self.of_volley.remove(&conn).unwrap_or_default() {
            let count = self.wanted.get_mut(&key).expect("it was taken");
            *count -= 1;
            if *count == 0 {
                self.wanted.remove(&key);
            }
        }
    }
}

/// Notes that a key is to take part in no volley for a while.
fn heat(hot: &mut FxHashMap<KeyId, u64>, key: KeyId, now_ms: u64) {
    if hot.len() >= HOT_KEYS_MAX {
        hot.clear();
    }
    hot.insert(key, now_ms + HOT_MS);
}

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
    /// The owner of the writes that are under way.
    away: Option<ShardId>,
    /// How often a write would have to wait for the answers to those before it.
    waits: u32,
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
        if self.away.is_some_and(|away| away != owner) {
            self.waits += 1;
            self.away = None;
        }
        if owner != home {
            self.away = Some(owner);
        }
    }

    /// The commands that must go together.
    fn stretch(&self) -> Option<Stretch> {
        let first = self.first.filter(|_| self.waits >= WAITS_MIN)?;
        (first < self.end).then_some(Stretch {
            first,
            end: self.end,
        })
    }
}

impl Engine {
    /// Whether a batch is worth a look at all: one shard and a few commands are not.
    #[inline]
    pub(super) fn may_hold_volleys(&self, batch: &Batch) -> bool {
        batch.commands.len() >= WAITS_MIN as usize && self.shard.node.shards > 1
    }

    /// Whether the command at `at`, which has not been surveyed, is the first of a volley; if so its connection waits until its
    /// keys are held. Looks at the commands that follow, each of them once.
    pub(super) fn begin_volley(
        &mut self,
        conn: ConnId,
        batch: &mut Batch,
        at: usize,
    ) -> Option<Stall> {
        if !self.may_hold_a_volley(batch, at) {
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
        let mut keys = SmallVec::new();
        for command in &batch.commands[at..stretch.end] {
            let spec = self.shard.registry.row(command.row).spec;
            let owner = self.only_owner(batch, command).expect("it was surveyed");
            self.claim(db, spec, batch.args_of(command), command.pos, &mut claims);
            keys.extend(claims.iter().filter_map(|claim| match claim {
                Claim::Key { db, position, .. } => Some((*db, *position)),
                _ => None,
            }));
            let (_, part) = needs.part(owner);
            part.claims.append(&mut claims);
            part.waits_for_snapshot = false;
        }
        if let Some(stall) = self.no_room_for(conn, &needs) {
            return Some(stall);
        }
        if !self.rivals.take(conn, keys, self.shard.now_ms) {
            return None;
        }
        let call = self.remote_call(conn, 0);
        let txn = self
            .shard
            .txns
            .begin(connection_of(&call), needs.into_parts());
        let job = Job::Volley((stretch.end - at) as u32);
        self.running.insert(txn, Running { call, job });
        self.session(conn).flags |= flag::VOLLEY;
        self.work_off_transactions();
        Some(Stall::Claims)
    }

    /// Whether there are enough writes from `at` on: a single command and a pipeline of reads do not
    /// pay for a survey.
    #[inline]
    fn may_hold_a_volley(&self, batch: &mut Batch, at: usize) -> bool {
        let rest = &batch.commands[at..];
        let may = rest.len() >= WAITS_MIN as usize && {
            let registry = &self.shard.registry;
            let is_write = |command: &&Command| {
                let known = command.row != RowId::UNKNOWN;
                known && registry.row(command.row).spec.flags.has(Flags::WRITE)
            };
            let writes = rest.iter().filter(is_write).take(WAITS_MIN as usize);
            writes.count() == WAITS_MIN as usize
        };
        if !may {
            batch.surveyed = batch.commands.len();
        }
        may
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
            Route::OneKey(_) => Some(self.shard.owner_at(command.pos)),
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
        let waited_for = loans.iter().any(|(_, loan)| loan.waited_for);
        self.volleys.insert(conn, Volley { txn, loans });
        let session = self.session(conn);
        if session.is(flag::CLOSING | flag::CLOSE_AFTER_REPLY) {
            return self.end_volley(conn);
        }
        if waited_for {
            self.rivals.leave_out(conn, self.shard.now_ms);
            self.end_volley(conn);
            // Its commands go one by one, as those do whose keys are hot.
            self.session(conn).stall = Stall::Writes;
            return self.resumable.push(conn);
        }
        let session = self.session(conn);
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
        self.rivals.give(conn);
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
    fn what_would_wait_several_times_goes_together() {
        assert_eq!(stretch("HHhhHH", None), None);
        assert_eq!(stretch("AAaA", None), None);
        assert_eq!(stretch("HAHAH", None), None, "it waits twice");
        assert_eq!(stretch("HAHAHAH", None), Some((1, 7)));
        assert_eq!(stretch("HhABAHba", None), Some((2, 6)));
        assert_eq!(
            stretch("HHAcAhAcA", None),
            None,
            "reads stand in nobody's way"
        );
        assert_eq!(stretch("HHaAhHbAHBHb", None), Some((2, 11)));
        assert_eq!(stretch("bHABAB", None), Some((0, 6)));
    }

    #[test]
    fn writes_under_way_count() {
        assert_eq!(stretch("AABA", Some(0)), None);
        assert_eq!(stretch("AABAB", Some(0)), Some((0, 5)));
        assert_eq!(stretch("BBAB", Some(0)), Some((0, 4)));
        assert_eq!(stretch("Ha", Some(SEVERAL)), None);
    }

    #[test]
    fn keys_that_several_want_are_left_out_for_a_while() {
        let key = |n| (0, n);
        let mut rivals = Rivals::default();
        assert!(rivals.take(1, smallvec::smallvec![key(1), key(2), key(1)], 10));
        assert!(rivals.take(2, smallvec::smallvec![key(3)], 10));
        assert!(!rivals.take(3, smallvec::smallvec![key(4), key(1)], 10));
        rivals.give(3); // it has none
        rivals.give(1);
        assert!(rivals.take(1, smallvec::smallvec![key(2), key(4)], 11));
        assert!(
            !rivals.take(4, smallvec::smallvec![key(1)], 11),
            "still hot"
        );
        assert!(rivals.take(4, smallvec::smallvec![key(1)], 10 + HOT_MS));
        for conn in [1, 2, 4] {
            rivals.give(conn);
        }
        assert!(rivals.wanted.is_empty() && rivals.of_volley.is_empty());
    }
}
