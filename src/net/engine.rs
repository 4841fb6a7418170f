//! A shard with its connections, as a state machine: bytes and messages in, bytes and messages
//! out. The reactor drives it with sockets and rings, a simulation with buffers.
//!
//! A turn: [`receive`](Engine::receive) and [`deliver`](Engine::deliver) collect commands in a
//! batch; [`run_batch`](Engine::run_batch) prefetches what they need and executes them; then
//! [`dirty`](Engine::dirty) lists the connections that have something to send and
//! [`outgoing`](Engine::outgoing) holds what goes to other shards.

use super::batch::{Batch, COMMANDS_MAX, Command, Input, Origin, lend};
use super::blocking::Ending;
use super::gather::Gathers;
use super::large::begin_large;
use super::session::{ConnId, Kept, KeptArg, Peer, Session, Stall, flag};
use super::steps::Steps;
use super::transaction::{Asking, Running};
use super::volley::Volley;
use crate::command::registry::{Route, RowId};
use crate::keyspace::Pos;
use crate::mesh::ShardId;
use crate::resp::decode::{Decoded, Frame, Limits, decode};
use crate::resp::encode::{Output, Reply};
use crate::server::load::Intake;
use crate::server::log;
use crate::shard::Shard;
use crate::txn::TxnId;
use rustc_hash::FxHashMap;

/// A connection that is stalled by other shards is not read from while it has this much input.
pub const STALLED_INPUT_MAX: usize = 1 << 20;
/// A connection is not read from while this much output waits: far above what any client that
/// sends a whole pipeline before it reads may need, and far below what endangers the machine.
pub const WAITING_OUTPUT_MAX: usize = 1 << 30;
/// Output buffers kept for reuse, and the largest that is.
const SPARE_BUFFERS: usize = 256;
const SPARE_BYTES_MAX: usize = 64 * 1024;
/// Commands of a stalled connection that are looked at when it may go on.
const RESUMED_COMMANDS_MAX: usize = 16;

/// A shard, its connections, and what is under way between them.
pub struct Engine {
    /// The shard.
    pub shard: Shard,
    /// Connections; a slot is free or in use.
    pub(super) sessions: Vec<Option<Box<Session>>>,
    pub(super) free: Vec<ConnId>,
    /// Commands that this turn has parsed.
    pub(super) batch: Batch,
    /// Scratch of `prefetch`: keys of this shard that the batch wants, with their databases.
    fetching: Vec<(usize, Pos)>,
    /// What goes to each shard with this turn's batch.
    pub outgoing: Vec<Output>,
    /// What may be joined there.
    pub(super) runs: super::remote::runs::Runs,
    /// Connections with something to send or to close, for the reactor; flagged DIRTY.
    pub dirty: Vec<ConnId>,
    /// Connections with a large argument that the reactor may receive straight into its memory.
    pub large: Vec<ConnId>,
    /// Connections that may go on with kept input.
    pub(super) resumable: Vec<ConnId>,
    /// Connections that wait for room in a lane.
    pub(super) want_room: Vec<ConnId>,
    /// Commands that every shard takes part in.
    pub(super) gathers: Gathers,
    /// Transactions that this shard coordinates.
    pub(super) running: FxHashMap<TxnId, Running>,
    /// Those of them that run step by step and wait for other shards.
    pub(super) stepping: FxHashMap<TxnId, Box<Steps>>,
    /// Those that wait for answers which they have asked for again.
    pub(super) asking: FxHashMap<TxnId, Asking>,
    /// Volleys that hold their keys, by connection.
    pub(super) volleys: FxHashMap<ConnId, Volley>,
    /// The keys of volleys.
    pub(super) rivals: super::volley::Rivals,
    /// Whether actions of the transaction machine are being carried out.
    pub(super) working_off: bool,
    /// Replies of a block that runs here, kept for reuse.
    pub(super) block_out: Output,
    /// Connections that another shard has dealt to this one: descriptor and listener.
    pub adopted: Vec<(i32, u32)>,
    /// Non-zero: commands do not take the short way. Bits of [`slow`].
    pub(super) slow: u32,
    /// Where what the start loads comes from, until all of it is there.
    pub(super) intake: Option<Intake>,
    /// The shard's log, if it keeps one.
    pub(super) journal: Option<Box<super::journal::Journal>>,
    /// Whether what leaves may have to wait for it (`appendfsync always`).
    pub(super) gates: bool,
    /// The seat of a log that has just begun, until the reactor takes it.
    pub(super) log_seat: Option<crate::server::logs::Seat>,
    /// A log was closed, until the reactor has closed its files.
    pub(super) log_closed: bool,
    /// Connections that wait for the logs.
    pub(super) log_waits: Vec<super::log_waits::LogWait>,
    /// Connections whose SAVE waits for a snapshot that is being taken.
    pub(super) saves_waiting: Vec<ConnId>,
    /// CLIENT PAUSE.
    pub(super) pause: super::pause::Pause,
    /// Slots on their way to other shards.
    pub(super) moves: super::slots::Moves,
    /// MIGRATE.
    pub(super) key_migrations: super::migrate::KeyMigrations,
    /// Connections on their way between shards.
    pub migration: super::migration::Migration,
    /// MONITOR.
    pub(super) monitors: super::monitor::Monitors,
    /// When connections of this shard stop waiting.
    pub(super) deadlines: super::blocking::Deadlines,
    /// Whether what commands have left to do is being worked off.
    pub(super) settling: bool,
    /// Connections with subscriptions.
    pub subscribers: super::pubsub::Subscribers,
    /// Connections that track.
    pub trackers: super::tracking::Trackers,
    /// For `timeout`.
    pub(super) idle: super::idle::IdleWatch,
    /// For the soft limits of `client-output-buffer-limit`.
    pub(super) over_soft: super::limits::OverSoft,
    /// When the turn began, in ticks.
    pub(super) turn_began: u64,
    /// When a stall was logged last, Unix time in milliseconds.
    pub(super) stall_logged_ms: u64,
    /// When an attack was logged last, Unix time in milliseconds.
    pub(super) attack_logged_ms: u64,
    /// When memory is to be given back to the system.
    pub(super) tide: super::ebb::Tide,
    /// Output buffers without a connection: an idle one holds none.
    spare: Vec<Vec<u8>>,
    /// Keys of a command with several, kept for reuse.
    pub(super) key_scratch: Vec<crate::command::keys::KeyAt>,
}

/// Bits of the engine's `slow`.
pub mod slow {
    /// CLIENT PAUSE.
    pub const PAUSE: u32 = 1;
    /// Somebody monitors.
    pub const MONITORS: u32 = 2;
    /// The dataset is being loaded.
    pub const LOADING: u32 = 4;
    /// The last snapshot failed, and nothing more is to be written (`stop-writes-on-bgsave-error`).
    pub const UNSAVED: u32 = 8;
    /// Slots move.
    pub const SLOTS: u32 = 16;
    /// The log cannot be written: writes are refused.
    pub const UNLOGGED: u32 = 32;
    /// The disk does not keep up: writes wait.
    pub const LOG_FULL: u32 = 64;
}

impl Engine {
    /// A shard without connections.
    pub fn new(shard: Shard) -> Self {
        let shards = shard.node.shards;
        Self {
            shard,
            sessions: Vec::new(),
            free: Vec::new(),
            batch: Batch::default(),
            outgoing: (0..shards).map(|_| Output::default()).collect(),
            runs: super::remote::runs::Runs::new(shards),
            dirty: Vec::new(),
            fetching: Vec::new(),
            large: Vec::new(),
            resumable: Vec::new(),
            want_room: Vec::new(),
            gathers: Gathers::default(),
            running: FxHashMap::default(),
            stepping: FxHashMap::default(),
            asking: FxHashMap::default(),
            volleys: FxHashMap::default(),
            rivals: super::volley::Rivals::default(),
            working_off: false,
            block_out: Output::default(),
            adopted: Vec::new(),
            slow: 0,
            intake: None,
            journal: None,
            gates: false,
            log_seat: None,
            log_closed: false,
            log_waits: Vec::new(),
            saves_waiting: Vec::new(),
            pause: super::pause::Pause::default(),
            moves: super::slots::Moves::default(),
            key_migrations: super::migrate::KeyMigrations::default(),
            migration: super::migration::Migration::default(),
            monitors: super::monitor::Monitors::new(shards),
            deadlines: super::blocking::Deadlines::new(),
            settling: false,
            subscribers: super::pubsub::Subscribers::default(),
            trackers: super::tracking::Trackers::new(shards),
            idle: super::idle::IdleWatch::default(),
            over_soft: Vec::new(),
            turn_began: 0,
            stall_logged_ms: 0,
            attack_logged_ms: 0,
            tide: super::ebb::Tide::default(),
            spare: Vec::new(),
            key_scratch: Vec::new(),
        }
    }

    /// The state of a connection that is there.
    pub fn session(&mut self, conn: ConnId) -> &mut Session {
        self.sessions[conn as usize]
            .as_deref_mut()
            .expect("a connection that is in use")
    }

    /// The state of a connection, if it is there.
    pub fn session_if(&mut self, conn: ConnId) -> Option<&mut Session> {
        self.sessions.get_mut(conn as usize)?.as_deref_mut()
    }

    /// All connections.
    pub fn sessions(&self) -> impl Iterator<Item = (ConnId, &Session)> {
        let there = |(i, s): (usize, &'_ Option<Box<Session>>)| s.is_some().then_some(i as ConnId);
        self.sessions
            .iter()
            .enumerate()
            .filter_map(move |(i, s)| there((i, s)).zip(s.as_deref()))
    }

    /// A new connection.
    pub fn connect(&mut self, peer: Peer, fd: i32) -> ConnId {
        let id = self.shard.node.new_client_id();
        let mut session = Box::new(Session::new(id, peer, fd, self.shard.now_ms as i64));
        if !self.shard.config.requirepass.is_empty() {
            session.flags |= flag::NEED_AUTH;
        }
        self.shard.stats.connections_received += 1;
        let conn = self.enter(session);
        self.shard.node.client_came(id, self.shard.id, conn);
        self.watch_idle(conn, id);
        conn
    }

    /// Gives a session a number.
    pub(super) fn enter(&mut self, session: Box<Session>) -> ConnId {
        match self.free.pop() {
            Some(conn) => {
                assert!(self.sessions[conn as usize].is_none(), "a free slot");
                self.sessions[conn as usize] = Some(session);
                conn
            }
            None => {
                self.sessions.push(Some(session));
                (self.sessions.len() - 1) as ConnId
            }
        }
    }

    /// Lists a connection for the reactor: it has something to send, or is to be closed.
    pub fn mark_dirty(&mut self, conn: ConnId) {
        let session = self.session(conn);
        if !session.is(flag::DIRTY) {
            session.flags |= flag::DIRTY;
            self.dirty.push(conn);
        }
    }

    /// Closes a connection as soon as the reactor comes to it, without sending what waits.
    pub fn close(&mut self, conn: ConnId) {
        let session = self.session(conn);
        session.flags |= flag::CLOSING;
        if !session.is(flag::IN_BATCH) {
            session.kept = None; // else arguments of the batch lie there, and settle drops it
        }
        self.mark_dirty(conn);
    }

    /// The reactor has let go of the connection's socket. The slot is freed once nothing that was
    /// asked on its behalf is unanswered.
    pub fn disconnected(&mut self, conn: ConnId) {
        let session = self.session(conn);
        assert!(
            !session.is(flag::IN_BATCH),
            "batches end before connections"
        );
        session.flags |= flag::CLOSING;
        if self.is_moving_slots() {
            return self.put_off_end(conn);
        }
        let session = self.session(conn);
        let id = session.id;
        let kept = session.kept.take();
        let out = std::mem::take(&mut session.out);
        session.fd = -1;
        self.shard.node.client_left(id);
        if let Some(kept) = kept {
            kept.discard(&self.shard.keyspace);
        }
        for (_, bytes) in out.shared {
            self.shard.keyspace.dispose(bytes);
        }
        self.stop_monitor(conn);
        self.unsubscribe_from_all(conn);
        self.stop_tracking(conn);
        self.end_wait(conn, Ending::Gone);
        if self.session_if(conn).is_none() {
            return;
        }
        self.abandon(conn);
        self.settle_aftermath();
        if self.session_if(conn).is_some() {
            self.free_if_done(conn);
        }
    }

    /// Frees the slot of a connection that is gone if nothing waits for it.
    pub(super) fn free_if_done(&mut self, conn: ConnId) {
        let session = self.session(conn);
        let listed = session.is(flag::DIRTY | flag::HEARS);
        if session.fd == -1 && session.waiting == 0 && !listed {
            self.sessions[conn as usize] = None;
            self.free.push(conn);
            self.shard.node.connection_gone(self.shard.id);
        }
    }

    /// The reactor is done with a connection of [`dirty`](Self::dirty).
    pub fn clean(&mut self, conn: ConnId) {
        self.session(conn).flags &= !flag::DIRTY;
        self.free_if_done(conn);
    }

    fn limits(&self, session: &Session) -> Limits {
        Limits {
            bulk_max: self.shard.config.proto_max_bulk_len,
            unauthenticated: session.is(flag::NEED_AUTH)
                && !self.shard.config.requirepass.is_empty(),
        }
    }

    /// Bytes that a connection has sent. They must stay in place until
    /// [`run_batch`](Self::run_batch) has run, which this may do by itself.
    pub fn receive(&mut self, conn: ConnId, data: &[u8]) {
        if self.session(conn).is(flag::IN_BATCH) {
            self.run_batch();
        }
        let now_ms = self.shard.now_ms as i64;
        let session = self.session(conn);
        session.info.bytes_in += data.len() as u64;
        session.info.active_ms = now_ms;
        let closing = session.is(flag::CLOSING | flag::CLOSE_AFTER_REPLY);
        let kept = session.kept.is_some() || session.stall != Stall::No;
        self.shard.stats.bytes_in += data.len() as u64;
        self.shard.stats.reads += 1;
        if closing {
            return;
        }
        if kept {
            self.keep(conn, data);
            if self.session(conn).stall == Stall::No {
                self.parse_kept(conn);
            }
            return self.watch_input(conn);
        }
        let mut rest = data;
        loop {
            let (parsed, full) = self.parse(conn, lend(rest), None, Frame::default(), Vec::new());
            if !full {
                return;
            }
            self.run_batch();
            rest = &rest[parsed..];
            let session = self.session(conn);
            if session.is(flag::CLOSING | flag::CLOSE_AFTER_REPLY) {
                return;
            }
            if session.stall != Stall::No {
                return; // the batch has kept everything from the stall on
            }
        }
    }

    /// Appends bytes to what is kept of a connection.
    fn keep(&mut self, conn: ConnId, data: &[u8]) {
        let session = self.session(conn);
        let kept = session.kept.get_or_insert_with(Default::default);
        let rest = kept.fill_large(data);
        kept.buf.extend_from_slice(rest);
    }

    /// Closes a connection whose input grows over its limit; stops reading from one that waits.
    pub(super) fn watch_input(&mut self, conn: ConnId) {
        let limit = self.shard.config.client_query_buffer_limit as usize;
        let session = self.session(conn);
        let bytes = session.input_bytes();
        if bytes > limit {
            log::warning(format_args!(
                "Closing client that reached max query buffer length: id={} addr={} qbuf={bytes}",
                session.id,
                session.peer.addr()
            ));
            self.shard.stats.query_buffer_limit_disconnections += 1;
            self.close(conn);
        } else if bytes > STALLED_INPUT_MAX
            && session.stall.is_by_shards()
            && !session.is(flag::READ_PAUSED)
        {
            session.flags |= flag::READ_PAUSED;
            self.mark_dirty(conn);
        }
    }

    /// Goes on with what is kept of a connection.
    pub(super) fn parse_kept(&mut self, conn: ConnId) {
        let mut after_volley = false;
        loop {
            let session = self.session(conn);
            let room = match session.volley_left as usize {
                0 if after_volley => COMMANDS_MAX, // the next volley, mostly
                0 => RESUMED_COMMANDS_MAX,
                left => left,
            };
            after_volley |= session.volley_left > 0;
            let Some(kept) = session.kept.as_deref_mut() else {
                return;
            };
            if !kept.large.is_none() {
                return;
            }
            let bytes = lend(&kept.buf[kept.start..]);
            let frame = std::mem::take(&mut kept.frame);
            let args = std::mem::take(&mut kept.args);
            let (_, full) = self.parse(conn, bytes, Some(room), frame, args);
            if !full {
                return;
            }
            self.run_batch();
            let session = self.session(conn);
            if session.stall != Stall::No || session.is(flag::CLOSING | flag::CLOSE_AFTER_REPLY) {
                return;
            }
        }
    }

    /// Parses whole commands of `bytes` into the batch; at most so many of bytes that lie in the
    /// session's own buffer. Returns the offset up to which it came,
    /// and whether it stopped because the batch is full.
    fn parse(
        &mut self,
        conn: ConnId,
        bytes: &'static [u8],
        kept: Option<usize>,
        mut frame: Frame,
        mut kept_args: Vec<KeptArg>,
    ) -> (usize, bool) {
        let limits = self.limits(self.sessions[conn as usize].as_deref().expect("in use"));
        let mut batch = std::mem::take(&mut self.batch);
        let input_at = batch.inputs.len() as u32;
        let room = kept.unwrap_or(usize::MAX);
        let kept = kept.is_some();
        let (mut at, mut count) = (0, 0);
        let mut violation = None;
        let mut full = false;
        loop {
            if batch.is_full() || count >= room {
                full = at < bytes.len();
                break;
            }
            let args_at = batch.args.len();
            let input = &bytes[at..];
            let decoded = if kept_args.is_empty() {
                let args = &mut batch.args;
                decode(input, &mut frame, &limits, |offset, len| {
                    args.push(&input[offset..offset + len])
                })
            } else {
                // What has been found of it is looked at again only when it is whole, so that a
                // command of a million arguments costs no more in a thousand pieces than in one.
                let decoded = if frame.args_left == 0 {
                    Decoded::Command { end: frame.at } // its last argument was a large one
                } else {
                    decode(input, &mut frame, &limits, |offset, len| {
                        kept_args.push(KeptArg::At(offset, len));
                    })
                };
                match decoded {
                    Decoded::Incomplete => break,
                    Decoded::Violation(_) => kept_args.clear(),
                    _ => take_kept(&mut batch, &mut kept_args, input),
                }
                decoded
            };
            let end = match decoded {
                Decoded::Command { end } => end,
                Decoded::Inline { args, end } => {
                    for arg in args {
                        batch.args.push(lend(&arg));
                        batch.decoded.push(arg);
                    }
                    end
                }
                Decoded::Incomplete => {
                    kept_args = keep_args(&mut batch, args_at, input);
                    break;
                }
                Decoded::Violation(what) => {
                    batch.args.truncate(args_at);
                    violation = Some(what);
                    break;
                }
            };
            frame = Frame::default();
            if batch.args.len() > args_at {
                let command = self.command(&batch, Origin::Local(input_at), args_at, at, at + end);
                batch.commands.push(command);
                count += 1;
            }
            at += end;
        }
        if let Some(what) = violation {
            self.batch = batch;
            self.push_input(conn, bytes, kept, at, Frame::default(), Vec::new());
            self.run_batch(); // what came before is answered first
            if self.session(conn).stall == Stall::No {
                self.violate(conn, &what.text());
            } // else the bytes were kept, and it is found again when what came before is done
            return (at, false);
        }
        self.batch = batch;
        self.push_input(conn, bytes, kept, at, frame, kept_args);
        if full {
            self.batch.inputs.last_mut().expect("just pushed").more = true;
        }
        (at, full)
    }

    fn push_input(
        &mut self,
        conn: ConnId,
        bytes: &'static [u8],
        kept: bool,
        parsed: usize,
        frame: Frame,
        args: Vec<KeptArg>,
    ) {
        self.lend_output_buffer(conn);
        self.session(conn).flags |= flag::IN_BATCH;
        self.batch.inputs.push(Input {
            conn,
            bytes,
            kept,
            parsed,
            frame,
            args,
            stalled_at: None,
            stopped: false,
            more: false,
            last_row: RowId::UNKNOWN,
            executed: 0,
        });
    }

    /// Answers a violation of the protocol and closes.
    fn violate(&mut self, conn: ConnId, text: &[u8]) {
        if self
            .session(conn)
            .is(flag::CLOSING | flag::CLOSE_AFTER_REPLY)
        {
            return;
        }
        self.shard.stats.count_error("ERR");
        let session = self.session(conn);
        let version = session.version;
        if !session.is(flag::REPLY_OFF) {
            Reply::new(session.target(), version).error(text);
        }
        session.kept = None;
        session.flags |= flag::CLOSE_AFTER_REPLY;
        self.mark_dirty(conn);
    }

    /// The batch's next command, with its arguments from `args_at` on.
    fn command(
        &self,
        batch: &Batch,
        origin: Origin,
        args_at: usize,
        start: usize,
        end: usize,
    ) -> Command {
        let args = &batch.args[args_at..];
        let registry = &self.shard.registry;
        let mut row = registry.find(args[0]).unwrap_or(RowId::UNKNOWN);
        let mut pos = Pos::default();
        if row != RowId::UNKNOWN {
            match registry.row(row).route {
                Route::OneKey(at) => {
                    if let Some(key) = args.get(usize::from(at)) {
                        pos = self.shard.pos(key);
                    }
                }
                Route::Container | Route::Home if args.len() > 1 => {
                    if let Some(child) = registry.find_child(row, args[1]) {
                        row = child;
                        if let Route::OneKey(at) = registry.row(row).route
                            && let Some(key) = args.get(usize::from(at))
                        {
                            pos = self.shard.pos(key);
                        }
                    }
                }
                _ => {}
            }
        }
        Command {
            origin,
            row,
            args_at: args_at as u32,
            argc: args.len() as u32,
            pos,
            start,
            end,
        }
    }

    /// Executes everything that was collected.
    pub fn run_batch(&mut self) {
        if self.batch.inputs.is_empty() && self.batch.commands.is_empty() {
            return;
        }
        let mut batch = std::mem::take(&mut self.batch);
        self.prefetch(&batch);
        if !self.may_hold_volleys(&batch) {
            batch.surveyed = usize::MAX;
        }
        self.shard.lap();
        self.runs.begin();
        for at in 0..batch.commands.len() {
            self.execute(&mut batch, at);
        }
        self.runs.end();
        for at in 0..batch.inputs.len() {
            self.settle(&mut batch.inputs[at]);
        }
        for (_, memory) in batch.owned.drain(..) {
            self.shard.keyspace.dispose(memory.into());
        }
        let large = batch.clear();
        self.batch = batch;
        if large {
            self.large_command_has_run();
        }
        self.settle_aftermath();
        if !self.shard.watch.slow_calls.is_empty() {
            self.log_slow_calls();
        }
    }

    /// Brings what the commands will look up into the cache, in passes, so that the misses of
    /// many commands overlap.
    fn prefetch(&mut self, batch: &Batch) {
        if batch.commands.len() < 2 {
            return;
        }
        let mut own = std::mem::take(&mut self.fetching);
        own.clear();
        let keyed = batch.commands.iter().filter(|c| c.pos != Pos::default());
        own.extend(keyed.filter_map(|command| {
            let db = match command.origin {
                Origin::Local(input) => {
                    if self.shard.owner_at(command.pos) != self.shard.id {
                        return None; // its owner does
                    }
                    let conn = batch.inputs[input as usize].conn;
                    let session = self.sessions[conn as usize].as_deref();
                    session.map_or(0, |session| session.db)
                }
                Origin::Remote(call) => call.db,
            };
            Some((usize::from(db), command.pos))
        }));
        let keyspace = &self.shard.keyspace;
        for (db, pos) in &own {
            keyspace.db(*db).prefetch_directory(*pos);
        }
        for (db, pos) in &own {
            keyspace.db(*db).prefetch_segment(*pos);
        }
        for (db, pos) in &own {
            keyspace.db(*db).prefetch_entry(*pos);
        }
        self.fetching = own;
    }

    /// After the batch: keeps what a connection has not had executed.
    fn settle(&mut self, input: &mut Input) {
        let session = self.sessions[input.conn as usize]
            .as_deref_mut()
            .expect("in use");
        session.flags &= !flag::IN_BATCH;
        if input.executed > 0 {
            session.info.last_row = input.last_row;
            session.info.commands += u64::from(input.executed);
        }
        let gone = session.is(flag::CLOSING | flag::CLOSE_AFTER_REPLY);
        let stalled = input.stalled_at.is_some();
        let from = input.stalled_at.unwrap_or(input.parsed);
        if gone {
            session.kept = None;
        } else if input.kept {
            let kept = session.kept.as_deref_mut().expect("it lies there");
            kept.start += from;
            kept.frame = input.frame;
            kept.args = std::mem::take(&mut input.args);
            if stalled || from > 0 {
                kept.owned_bytes = owned_bytes(&kept.args); // of another command, or back again
            }
            tidy(session);
            if begin_large(session) {
                self.large.push(input.conn);
            }
        } else if stalled || !input.more {
            let rest = &input.bytes[from..];
            if !rest.is_empty() {
                let args = std::mem::take(&mut input.args);
                session.kept = Some(Box::new(Kept {
                    buf: rest.to_vec(),
                    frame: input.frame,
                    owned_bytes: owned_bytes(&args),
                    args,
                    ..Kept::default()
                }));
                if begin_large(session) {
                    self.large.push(input.conn);
                }
            }
        }
        if session.has_to_send() {
            self.mark_dirty(input.conn);
        } else if session.out.is_empty() {
            let unused = std::mem::take(&mut session.out.buf);
            self.recycle(unused);
        }
        if self.shard.config.connection_migration {
            self.mind_pull(input.conn);
        }
        self.end_if_hung_up(input.conn);
    }

    /// The peer sends no more. What it has asked for is still answered, then the connection ends.
    pub fn hung_up(&mut self, conn: ConnId) {
        self.session(conn).flags |= flag::HUNG_UP;
        if !self.session(conn).is(flag::IN_BATCH) {
            self.end_if_hung_up(conn);
        }
    }

    /// Ends a connection whose peer sends no more once everything has been answered.
    pub(super) fn end_if_hung_up(&mut self, conn: ConnId) {
        let session = self.session(conn);
        if session.is(flag::HUNG_UP) && session.info.blocked.is_some() {
            return self.close(conn);
        }
        if session.is(flag::HUNG_UP)
            && !session.is(flag::CLOSING | flag::CLOSE_AFTER_REPLY)
            && session.waiting == 0
            && matches!(session.stall, Stall::No | Stall::Blocked)
        {
            session.flags |= flag::CLOSE_AFTER_REPLY;
            self.mark_dirty(conn);
        }
    }

    /// Lets connections go on whose reason to wait is gone, and sends what has been gathered during the
    /// turn. Whether there were any.
    pub fn resume(&mut self) -> bool {
        let any = !self.resumable.is_empty();
        while let Some(conn) = self.resumable.pop() {
            let Some(session) = self.session_if(conn) else {
                continue;
            };
            if session.is(flag::CLOSING | flag::CLOSE_AFTER_REPLY) {
                self.end_volley(conn);
                continue;
            }
            let asks_for_keys = session.stall == Stall::Claims && session.volley_left == 0;
            if session.stall == Stall::No || asks_for_keys {
                continue; // listed for something that is over
            }
            session.stall = Stall::No;
            if session.is(flag::IN_BATCH) {
                self.run_batch();
            }
            self.parse_kept(conn);
            self.run_batch();
            let session = self.session(conn);
            // What is left without a stall is the beginning of a command, however long it is.
            let goes_on =
                !session.stall.is_by_shards() || session.input_bytes() < STALLED_INPUT_MAX / 2;
            if session.is(flag::READ_PAUSED) && goes_on {
                session.flags &= !flag::READ_PAUSED;
                self.mark_dirty(conn);
            }
        }
        self.send_broadcasts();
        self.tell_resumed();
        any
    }

    /// Connections that waited for room in a lane try again; called after lanes were flushed.
    pub fn room_again(&mut self) {
        self.resumable.append(&mut self.want_room);
    }

    /// Sees to it that replies which have to wait find memory.
    pub(super) fn lend_held_buffer(&mut self, conn: ConnId) {
        let session = self.sessions[conn as usize].as_deref_mut().expect("in use");
        if session.held.wants_buffer()
            && let Some(spare) = self.spare.pop()
        {
            session.held.lend_buffer(spare);
        }
    }

    /// Sees to it that replies find memory: a connection without any to send has none.
    #[inline]
    pub(super) fn lend_output_buffer(&mut self, conn: ConnId) {
        let session = self.sessions[conn as usize].as_deref_mut().expect("in use");
        if session.out.buf.capacity() == 0
            && let Some(spare) = self.spare.pop()
        {
            session.out.buf = spare;
        }
    }

    /// Takes an output buffer back that has been sent.
    pub fn recycle(&mut self, mut buf: Vec<u8>) {
        let fits = (1..=SPARE_BYTES_MAX).contains(&buf.capacity());
        if fits && self.spare.len() < SPARE_BUFFERS {
            buf.clear();
            self.spare.push(buf);
        }
    }

    /// Whether something goes to `peer`.
    pub fn has_outgoing(&self, peer: ShardId) -> bool {
        !self.outgoing[peer.index()].buf.is_empty()
    }
}

/// Puts the arguments of a command that has come in pieces into the batch.
fn take_kept(batch: &mut Batch, kept: &mut Vec<KeptArg>, input: &'static [u8]) {
    for arg in kept.drain(..) {
        match arg {
            KeptArg::At(offset, len) => batch.args.push(&input[offset..offset + len]),
            KeptArg::Owned(memory) => {
                let index = batch.args.len();
                batch.args.push(lend(&memory));
                batch.owned.push((index, memory));
            }
        }
    }
}

/// Takes the arguments of an unfinished command out of the batch.
fn keep_args(batch: &mut Batch, args_at: usize, input: &[u8]) -> Vec<KeptArg> {
    let base = input.as_ptr() as usize;
    let mut args = Vec::with_capacity(batch.args.len() - args_at);
    for index in args_at..batch.args.len() {
        if let Some(at) = batch.owned.iter().position(|(i, _)| *i == index) {
            args.push(KeptArg::Owned(batch.owned.swap_remove(at).1));
        } else {
            let arg = batch.args[index];
            args.push(KeptArg::At(arg.as_ptr() as usize - base, arg.len()));
        }
    }
    batch.args.truncate(args_at);
    args
}

/// Bytes of the arguments that lie in memory of their own.
fn owned_bytes(args: &[KeptArg]) -> usize {
    let owned = args.iter().filter_map(|arg| match arg {
        KeptArg::Owned(memory) => Some(memory.len()),
        KeptArg::At(..) => None,
    });
    owned.sum()
}

/// Drops what is done with of the kept input.
fn tidy(session: &mut Session) {
    let Some(kept) = session.kept.as_deref_mut() else {
        return;
    };
    if kept.start == kept.buf.len() && kept.frame == Frame::default() && kept.args.is_empty() {
        session.kept = None;
        return;
    }
    if kept.start * 2 > kept.buf.len() {
        kept.buf.drain(..kept.start);
        kept.start = 0;
    }
}
