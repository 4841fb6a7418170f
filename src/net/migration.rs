//! Connections that move to the shard where their keys live (`connection-migration`).
//!
//! A connection of the common port is dealt to some shard, whatever it will ask for. When nearly all
//! of its commands hop to one other shard, it is better off there: its commands are local then, and
//! a hop's cost is gone at both ends.
//!
//! # When
//! Hops vote: one for the shard that it goes to, one against the shard that leads (Boyer and Moore,
//! "MJRTY", 1981), so two numbers are all that is kept. After each window of [`WINDOW_COMMANDS`]
//! commands the votes are looked at; if two windows in a row agree that [`SHARE_PERCENT`] of all
//! commands went to the same shard, the connection moves. It then rests for [`REST_MS`], and for twice
//! as long after each further move, so that one whose keys wander does not wander after them.
//!
//! # How
//! ```text
//! engine   LEAVING is set: nothing more is read, what was read is still executed and answered
//! reactor  cancels the receive, and waits for its end: what the kernel had is in the engine then
//! engine   everything answered and sent, nothing open? The session, input that is not whole
//!          included, goes as an errand to the other shard; else it stays, and reads on
//! there    gets a number and a receive of its own
//! ```
//! So no byte is read by two, none is lost (it stays in the socket), and nothing can overtake: there
//! is nothing under way when it leaves. Slots do not move while it is between two shards, since an
//! errand under way is counted (see `slots`).
//!
//! # Who stays
//! Whoever is more than a plain connection: in MULTI or with watched keys, blocked, subscribed,
//! tracking or the one that another's tracking is redirected to, monitoring, with replies switched off,
//! with output that its peer does not take. And connections of a shard's own port: they chose it. One that
//! becomes such a target between two shards stays where it is going; what it is to hear waits for it
//! there ([`super::tracking`]).
//!
//! # Who looks for it meanwhile
//! CLIENT LIST and CLIENT KILL ask every shard, each at another moment. While one of them is under way no
//! connection leaves its shard ([`Node::begin_survey`](crate::shard::node::Node::begin_survey)). One that
//! was between two shards when it began may come to the other only after that has answered, so the shard
//! that it has left answers for it, too: it keeps a [`Trace`] until it hears that the connection has
//! arrived, and for as long as a survey lasts that may have begun before. Who is found twice counts once,
//! by its id, as it is where it is. To be killed, it is sent word on the lane that it has gone by.

use super::engine::Engine;
use super::errand::Errand;
use super::session::{ConnId, Kept, Peer, Session, Stall, flag};
use crate::command::registry::RowId;
use crate::command::server::sync::Wish;
use crate::mesh::ShardId;
use crate::resp::Version;

/// Commands between two looks at the votes.
pub(super) const WINDOW_COMMANDS: u64 = 1024;
/// Percent of a window's commands that must have gone to one shard: a connection that stays gains
/// nothing, and one that moves turns its other commands into hops.
const SHARE_PERCENT: u64 = 75;
/// Milliseconds for which a connection stays after its first move.
const REST_MS: u64 = 100;
/// The longest rest: about a minute.
const REST_DOUBLINGS_MAX: u32 = 9;

/// What a session may be and still move.
const PLAIN: u32 = flag::NO_EVICT
    | flag::NO_TOUCH
    | flag::CAPA_REDIRECT
    | flag::DIRTY
    | flag::READ_PAUSED
    | flag::LEAVING;

/// Where a connection's keys live.
#[derive(Clone, Copy, Default, Debug)]
pub struct Pull {
    /// The shard that leads in this window, and its votes.
    to: ShardId,
    votes: u32,
    /// The shard that the last window was won by.
    last: Option<ShardId>,
    /// The number of commands at which the window ends.
    ends_at: u64,
    /// Times that it has moved, and until when it rests, Unix milliseconds.
    moves: u32,
    rest_until_ms: u64,
}

impl Pull {
    /// A command goes to another shard.
    #[inline]
    pub(super) fn hop(&mut self, to: ShardId) {
        if self.to == to {
            self.votes += 1;
        } else if self.votes == 0 {
            (self.to, self.votes) = (to, 1);
        } else {
            self.votes -= 1;
        }
    }

    /// So many commands have been executed since the connection came: whether the window is over.
    #[inline]
    fn is_over(&self, commands: u64) -> bool {
        commands >= self.ends_at
    }

    /// Begins the next window; the shard to move to, if it is time.
    fn look(&mut self, commands: u64, window: u64, now_ms: u64) -> Option<ShardId> {
        let seen = commands - (self.ends_at.saturating_sub(window)).min(commands);
        let won = u64::from(self.votes) * 100 >= seen * SHARE_PERCENT && self.votes > 0;
        let winner = won.then_some(self.to);
        let agreed = winner.filter(|to| self.last == Some(*to) && now_ms >= self.rest_until_ms);
        self.last = winner;
        self.votes = 0;
        self.ends_at = commands + window;
        agreed
    }

    /// The connection is on another shard now.
    fn moved(&mut self, now_ms: u64) {
        let doublings = self.moves.min(REST_DOUBLINGS_MAX);
        self.moves += 1;
        self.rest_until_ms = now_ms + (REST_MS << doublings);
        self.last = None;
        self.votes = 0;
    }
}

/// Whether a connection that is to leave may do so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Departure {
    /// Now.
    Ready,
    /// When something of it is done that goes on by itself.
    Later,
    /// Not at all: it has become more than a plain connection, and is read from again.
    Stays,
}

/// A connection between two shards: all that a plain one is.
pub struct Traveller {
    id: u64,
    peer: Peer,
    fd: i32,
    flags: u32,
    db: u16,
    version: Version,
    kept: Option<Box<Kept>>,
    pull: Pull,
    name: Vec<u8>,
    lib_name: Vec<u8>,
    lib_ver: Vec<u8>,
    created_ms: i64,
    active_ms: i64,
    last_row: RowId,
    bytes_in: u64,
    bytes_out: u64,
    commands: u64,
    watched: bool,
    wish: Wish,
}

impl Traveller {
    fn of(session: Session) -> Self {
        let info = *session.info;
        Self {
            id: session.id,
            peer: session.peer,
            fd: session.fd,
            flags: session.flags,
            db: session.db,
            version: session.version,
            kept: session.kept,
            pull: session.pull,
            name: info.name,
            lib_name: info.lib_name,
            lib_ver: info.lib_ver,
            created_ms: info.created_ms,
            active_ms: info.active_ms,
            last_row: info.last_row,
            bytes_in: info.bytes_in,
            bytes_out: info.bytes_out,
            commands: info.commands,
            watched: info.watched,
            wish: info.wish,
        }
    }

    fn into_session(self) -> Session {
        let mut session = Session::new(self.id, self.peer, self.fd, self.created_ms);
        session.flags = self.flags;
        session.db = self.db;
        session.version = self.version;
        session.kept = self.kept;
        session.pull = self.pull;
        let info = &mut *session.info;
        info.name = self.name;
        info.lib_name = self.lib_name;
        info.lib_ver = self.lib_ver;
        info.active_ms = self.active_ms;
        info.last_row = self.last_row;
        info.bytes_in = self.bytes_in;
        info.bytes_out = self.bytes_out;
        info.commands = self.commands;
        info.watched = self.watched;
        info.wish = self.wish;
        session
    }

    /// The client's id, unique in the process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its socket.
    pub fn fd(&self) -> i32 {
        self.fd
    }
}

/// What a shard knows of a connection that it has sent to another one.
struct Trace {
    to: ShardId,
    /// What it was, without its input and its pull.
    session: Box<Session>,
    /// It is there.
    has_arrived: bool,
    /// It was sent word that it is to end.
    is_killed: bool,
}

/// A shard's part in it.
pub struct Migration {
    /// Commands between two looks at the votes.
    pub(super) window: u64,
    /// Connections that have come from other shards and have no number here yet, and from where.
    pub arrived: Vec<(ShardId, Box<Traveller>)>,
    /// Those of them that are to end.
    killed: Vec<u64>,
    /// Connections that have gone to other shards, until somebody knows that they are there.
    traces: Vec<Trace>,
}

impl Default for Migration {
    fn default() -> Self {
        Self {
            window: WINDOW_COMMANDS,
            arrived: Vec::new(),
            killed: Vec::new(),
            traces: Vec::new(),
        }
    }
}

impl Engine {
    /// A connection has executed commands: begins to move it if that is wanted. To be asked only where
    /// `connection-migration` is set.
    pub(super) fn mind_pull(&mut self, conn: ConnId) {
        let (now_ms, window) = (self.shard.now_ms, self.migration.window);
        let own = self.shard.id;
        let session = self.session(conn);
        if !session.pull.is_over(session.info.commands) {
            return;
        }
        let commands = session.info.commands;
        let to = session.pull.look(commands, window, now_ms);
        let Some(to) = to.filter(|to| *to != own) else {
            return;
        };
        if session.flags & !(PLAIN | flag::IN_BATCH) == 0 && session.fd >= 0 {
            session.leaving_to = to;
            session.flags |= flag::LEAVING;
            self.mark_dirty(conn);
        }
    }

    /// Whether a connection may leave that nothing is read from any more.
    pub fn departure(&mut self, conn: ConnId) -> Departure {
        let moving_slots = self.is_moving_slots();
        let session = self.session(conn);
        let info = &session.info;
        let plain = session.flags & !(PLAIN | flag::GATED) == 0
            && info.multi.queued() < 0
            && info.multi.watches() == 0
            && info.blocked.is_none()
            && info.subscriptions.is_none()
            && info.tracker.is_none()
            && info.backlog_bytes == 0
            && session
                .kept
                .as_ref()
                .is_none_or(|kept| kept.large.is_none());
        let departure = if !plain || moving_slots || matches!(session.stall, Stall::Paused) {
            Departure::Stays
        } else if session.waiting > 0
            || session.stall != Stall::No
            || !session.out.is_empty()
            || !session.held.is_empty()
            || session.is(flag::GATED)
        {
            Departure::Later
        } else {
            Departure::Ready
        };
        if departure == Departure::Stays {
            self.session(conn).flags &= !flag::LEAVING;
        }
        departure
    }

    /// Sends a connection off that is [`Departure::Ready`]. False if somebody relies on its being here:
    /// then it stays.
    pub fn leave(&mut self, conn: ConnId) -> bool {
        assert_eq!(self.departure(conn), Departure::Ready);
        let own = self.shard.id;
        let session = self.session(conn);
        assert!(!session.is(flag::DIRTY), "the reactor is done with it");
        let open = (session.unsure, session.volley_left, session.writes_out);
        assert_eq!(open, (0, 0, 0), "all is answered");
        assert!(session.info.heard.is_empty(), "all is told");
        let (id, to) = (session.id, session.leaving_to);
        session.flags &= !flag::LEAVING;
        let node = self.shard.node.clone();
        if !node.client_leaves(id, to) {
            return false;
        }
        let mut session = self.sessions[conn as usize].take().expect("just seen");
        session.flags &= !flag::READ_PAUSED;
        self.migration.traces.push(Trace {
            to,
            session: Box::new(likeness(&session)),
            has_arrived: false,
            is_killed: false,
        });
        let traveller = Box::new(Traveller::of(*session));
        self.free.push(conn);
        node.count_connection(to);
        node.connection_gone(own);
        self.shard.stats.migrated_away += 1;
        self.send_errand(to, Errand::Migrated(traveller));
        true
    }

    /// Gives a connection that has come from another shard a number here.
    pub fn settle_in(&mut self, from: ShardId, traveller: Traveller) -> ConnId {
        let mut session = Box::new(traveller.into_session());
        session.pull.moved(self.shard.now_ms);
        let id = session.id;
        let conn = self.enter(session);
        self.shard.node.client_came(id, self.shard.id, conn);
        self.watch_idle(conn, id);
        self.send_errand(from, Errand::Arrived(id));
        self.hear_what_has_waited(conn, id);
        if let Some(at) = self.migration.killed.iter().position(|other| *other == id) {
            self.migration.killed.swap_remove(at);
            self.close(conn);
        }
        conn
    }

    /// A connection that went from here has arrived.
    pub(super) fn migration_ended(&mut self, id: u64) {
        let mut traces = self.migration.traces.iter_mut();
        // It may have gone the same way before.
        let found = traces.find(|trace| trace.session.id == id && !trace.has_arrived);
        found.expect("it was sent").has_arrived = true;
        self.forget_traces();
    }

    /// Forgets connections that have arrived elsewhere, unless somebody may have missed them there.
    pub(super) fn forget_traces(&mut self) {
        let traces = &mut self.migration.traces;
        if !traces.is_empty() && !self.shard.node.is_surveyed() {
            traces.retain(|trace| !trace.has_arrived);
        }
    }

    /// The connections on their way from this shard to another one, and some that are there already: for
    /// those who ask every shard, and count each once.
    pub fn departed(&self) -> impl Iterator<Item = &Session> {
        let traces = self.migration.traces.iter();
        let there = |trace: &&Trace| self.shard.node.has_client(trace.session.id);
        let traces = traces.filter(|trace| !trace.is_killed).filter(there);
        traces.map(|trace| &*trace.session)
    }

    /// Has the connection of a client closed that has gone from here.
    pub fn kill_departed(&mut self, id: u64) {
        let mut told = Vec::new();
        for trace in &mut self.migration.traces {
            if trace.session.id == id && !std::mem::replace(&mut trace.is_killed, true) {
                told.push(trace.to);
            }
        }
        for to in told {
            self.send_errand(to, Errand::Kill(id));
        }
    }

    /// A connection that was sent here is to end. It is here, or about to get a number, or has gone on, or
    /// has ended.
    pub(super) fn kill_arrived(&mut self, id: u64) {
        let mut arrived = self.migration.arrived.iter();
        if arrived.any(|(_, traveller)| traveller.id == id) {
            return self.migration.killed.push(id);
        }
        let here = self.sessions().find(|(_, session)| session.id == id);
        match here.map(|(conn, _)| conn) {
            Some(conn) => self.close(conn),
            None => self.kill_departed(id),
        }
    }
}

/// What CLIENT LIST shows of a connection that leaves.
fn likeness(session: &Session) -> Session {
    let (info, peer) = (&session.info, session.peer.clone());
    let mut like = Session::new(session.id, peer, session.fd, info.created_ms);
    like.flags = session.flags;
    like.db = session.db;
    like.version = session.version;
    let own = &mut *like.info;
    own.name.clone_from(&info.name);
    own.lib_name.clone_from(&info.lib_name);
    own.lib_ver.clone_from(&info.lib_ver);
    own.active_ms = info.active_ms;
    own.last_row = info.last_row;
    own.bytes_in = info.bytes_in;
    own.bytes_out = info.bytes_out;
    own.commands = info.commands;
    like
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u64 = 100;

    /// Windows of so many hops to each of two shards and the rest local; where it goes after each.
    fn windows(pull: &mut Pull, now_ms: u64, hops: &[(u64, u64)]) -> Vec<Option<ShardId>> {
        let mut commands = pull.ends_at - WINDOW;
        let mut went = Vec::new();
        for (one, two) in hops {
            for n in 0..one.max(two) * 2 {
                let (to, limit) = if n % 2 == 0 { (1, one) } else { (2, two) };
                if n / 2 < *limit {
                    pull.hop(ShardId(to));
                }
            }
            commands += WINDOW;
            assert!(pull.is_over(commands));
            went.push(pull.look(commands, WINDOW, now_ms));
        }
        went
    }

    #[test]
    fn two_windows_must_agree() {
        let mut pull = Pull::default();
        pull.look(0, WINDOW, 0);
        let (one, two) = (Some(ShardId(1)), Some(ShardId(2)));
        assert_eq!(
            windows(
                &mut pull,
                0,
                &[(100, 0), (0, 100), (0, 90), (74, 0), (80, 0)]
            ),
            [None, None, two, None, None]
        );
        assert_eq!(windows(&mut pull, 0, &[(95, 5)]), [one]);
        assert_eq!(windows(&mut pull, 0, &[(50, 50), (40, 0)]), [None, None]);
    }

    #[test]
    fn it_rests_longer_after_each_move() {
        let mut pull = Pull::default();
        pull.look(0, WINDOW, 0);
        for (now, rest) in [(0, REST_MS), (10_000, 2 * REST_MS), (20_000, 4 * REST_MS)] {
            pull.moved(now);
            let early = windows(&mut pull, now + rest - 1, &[(100, 0); 3]);
            assert_eq!(early, [None; 3]);
            assert_eq!(
                windows(&mut pull, now + rest, &[(100, 0)]),
                [Some(ShardId(1))]
            );
        }
        for _ in 0..100 {
            pull.moved(0);
        }
        assert!(pull.rest_until_ms <= 60_000);
    }
}
