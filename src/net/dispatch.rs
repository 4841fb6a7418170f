//! What happens with a command once it has been parsed: refused, executed here, sent to the shard
//! that owns its key, or spread over several.
//!
//! # Order
//! Writes of one connection become visible in the order in which it sent them. Where the writes of
//! a pipeline change their owner, they go together (see `volley`); any other write waits while
//! earlier ones of the connection are under way to another shard than its own. Reads never wait;
//! they see the connection's own writes because a lane keeps the order of what it carries.

use super::batch::{Batch, Command, Origin, RemoteCall};
use super::engine::{Engine, slow};
use super::migrate::is_migrate;
use super::session::{ConnId, Stall, WAITING_MAX, flag};
use crate::command::context::{Caller, Ctx, HomeCtx, OwnedArgs, caller};
use crate::command::error::Error;
use crate::command::keys::keys_of;
use crate::command::registry::{Route, RowId, Spread};
use crate::command::sort::looks_up;
use crate::command::spec::{Flags, Run, Spec};
use crate::keyspace::Pos;
use crate::mesh::ShardId;
use crate::resp::Version;
use crate::resp::decode::Frame;
use crate::resp::encode::{Output, Reply};
use crate::shard::Shard;
use crate::shard::lending::{Change, OwnedCommand, What, caller_of};
use crate::shard::tracking::Holder;
use crate::txn::multi::Control;
use smallvec::SmallVec;

/// Bytes that may wait for a lane before connections that want to add to them are held back.
pub(super) const OUTGOING_MAX: usize = 1 << 20;
/// `writes_at` of a connection whose writes are under way to several shards.
pub(super) const SEVERAL: u16 = u16::MAX;

/// Whether a command was taken up or has to wait.
pub(super) enum Flow {
    Done,
    Wait(Stall),
}

/// A command ready to run, apart from where its reply goes.
pub(super) struct Call<'a> {
    pub row: RowId,
    pub spec: &'static Spec,
    pub args: &'a [&'a [u8]],
    pub pos: Pos,
    pub caller: Caller,
    pub version: Version,
}

impl Engine {
    /// Executes the batch's command at `at`, unless its connection has to wait.
    pub(super) fn execute(&mut self, batch: &mut Batch, at: usize) {
        let command = batch.commands[at];
        let input_at = match command.origin {
            Origin::Local(input) => input as usize,
            Origin::Remote(call) => return self.execute_for(batch, &command, call),
        };
        let input = &mut batch.inputs[input_at];
        if input.stopped {
            return;
        }
        let conn = input.conn;
        let session = self.sessions[conn as usize].as_deref_mut().expect("in use");
        let careful = session.is(flag::SLOW) || self.slow != 0;
        let in_volley = careful && session.volley_left > 0;
        let flow = if careful {
            self.execute_with_care(conn, batch, &command)
        } else if at >= batch.surveyed
            && let Some(stall) = self.begin_volley(conn, batch, at)
        {
            Flow::Wait(stall)
        } else {
            self.dispatch(conn, batch, &command)
        };
        let input = &mut batch.inputs[input_at];
        match flow {
            Flow::Done => {
                input.last_row = command.row;
                input.executed += 1;
                if careful {
                    if in_volley {
                        self.volley_step(conn);
                    }
                    if self.session(conn).is(flag::CACHING) {
                        self.caching_used(conn, command.row);
                    }
                }
            }
            Flow::Wait(stall) => {
                input.stopped = true;
                input.stalled_at = Some(command.start);
                input.frame = Frame::default();
                input.args.clear();
                self.session(conn).stall = stall;
                if stall == Stall::Room {
                    self.want_room.push(conn);
                }
                keep_large(batch, &command, input_at);
            }
        }
    }

    /// The long way: for connections in a special state.
    fn execute_with_care(&mut self, conn: ConnId, batch: &mut Batch, command: &Command) -> Flow {
        if batch.has_begun(command) {
            return Flow::Done;
        }
        let session = self.session(conn);
        if session.is(flag::CLOSING | flag::CLOSE_AFTER_REPLY) {
            if let Origin::Local(input) = command.origin {
                batch.inputs[input as usize].stopped = true;
            }
            return Flow::Done;
        }
        if session.is(flag::BLOCKED) {
            return Flow::Wait(Stall::Blocked);
        }
        if session.is(flag::BARRIER) {
            return Flow::Wait(Stall::Answers);
        }
        if session.is(flag::REPLY_SKIP_NEXT) {
            // Stays until the command has been taken up, though it may have to wait before.
            session.flags = session.flags & !flag::REPLY_SKIP_NEXT | flag::REPLY_SKIP;
        }
        let silent = session.is(flag::REPLY_OFF | flag::REPLY_SKIP);
        // What is wrong in itself is answered first, to anybody and at any time.
        if self.is_well_formed(command) {
            if let Some(refusal) = self.refusal(conn, command.row) {
                if !silent {
                    self.reject(conn, command.row, &refusal);
                }
                self.session(conn).flags &= !flag::REPLY_SKIP;
                return Flow::Done;
            }
            // What holds its keys goes on: others wait for them.
            let may_pause = self.slow & slow::PAUSE != 0 && self.session(conn).volley_left == 0;
            if may_pause && self.is_paused(conn, command.row) {
                return Flow::Wait(Stall::Paused);
            }
            if self.slow & slow::LOG_FULL != 0
                && self.session(conn).volley_left == 0
                && self.writes(conn, command.row)
            {
                self.wait_for_disk(conn);
                return Flow::Wait(Stall::Paused);
            }
            if self.slow & slow::SLOTS != 0 && self.waits_for_slots(conn) {
                return Flow::Wait(Stall::Paused);
            }
            if self.session(conn).is(flag::STRICT)
                && let Some(redirection) = self.misplaced(conn, batch, command)
            {
                return self.redirect(conn, command.row, &redirection, silent);
            }
            let queued = self.session(conn).is(flag::MULTI) && self.is_queued(command.row);
            if self.slow & slow::MONITORS != 0 && !queued {
                return self.dispatch_shown(conn, batch, command);
            }
        }
        self.dispatch_heard(conn, batch, command)
    }

    /// Runs a command, or keeps it for EXEC.
    fn dispatch_or_queue(&mut self, conn: ConnId, batch: &mut Batch, command: &Command) -> Flow {
        if self.session(conn).is(flag::MULTI) && self.is_queued(command.row) {
            self.queue_command(conn, batch, command);
            return Flow::Done;
        }
        self.dispatch(conn, batch, command)
    }

    /// Whether the command exists and has a right number of arguments.
    fn is_well_formed(&self, command: &Command) -> bool {
        command.row != RowId::UNKNOWN && {
            let row = self.shard.registry.row(command.row);
            row.route != Route::Container && row.spec.arity_fits(command.argc as usize)
        }
    }

    /// Why a connection in a special state may not use a command.
    fn refusal(&mut self, conn: ConnId, row: RowId) -> Option<Error> {
        let spec = self.shard.registry.row(row).spec;
        let flags = spec.flags;
        let protected = !self.shard.config.requirepass.is_empty();
        let session = self.session(conn);
        if protected && session.is(flag::NEED_AUTH) && !flags.has(Flags::NO_AUTH) {
            return Some(Error::NO_AUTH);
        }
        if self.slow & slow::LOADING != 0 && !flags.has(Flags::LOADING) {
            // Another shard may serve already: clients do not see the one before the other.
            self.end_loading();
            if self.slow & slow::LOADING != 0 {
                return Some(Error::LOADING);
            }
        }
        if self.slow & slow::UNLOGGED != 0
            && (spec.name == "ping" || self.writes(conn, row))
            && let Some(refusal) = self.log_refusal()
        {
            return Some(refusal);
        }
        let unsaved = self.slow & slow::UNSAVED != 0;
        if unsaved && (flags.has(Flags::WRITE) || spec.name == "ping") {
            return Some(Error::MISCONF_RDB);
        }
        let session = self.session(conn);
        if session.is(flag::PUBSUB)
            && session.version == Version::Resp2
            && !matches!(spec.run, Run::Home(_) if allowed_to_subscribers(spec.name))
        {
            let name = &self.shard.registry.row(row).full_name;
            return Some(Error::subscribed(name));
        }
        let session = self.session(conn);
        let touches = Flags::WRITE | Flags::READONLY | Flags::MAY_REPLICATE;
        (session.is(flag::MONITOR) && flags.any(touches)).then_some(Error::MONITOR_KEYSPACE)
    }

    /// Runs a command that monitors are shown.
    fn dispatch_shown(&mut self, conn: ConnId, batch: &mut Batch, command: &Command) -> Flow {
        let spec = self.shard.registry.row(command.row).spec;
        if spec.flags.any(Flags::SKIP_MONITOR | Flags::ADMIN) {
            return self.dispatch_heard(conn, batch, command);
        }
        if let Some(stall) = self.no_room_to_show(conn) {
            return Flow::Wait(stall);
        }
        // A command at home is shown as it leaves the connection: SELECT with the new database.
        // Others are formatted before they run, since large arguments may go with them.
        let at_home = matches!(spec.run, Run::Home(_));
        if !at_home {
            self.format_shown(conn, command.row, batch.args_of(command));
        }
        let flow = self.dispatch_heard(conn, batch, command);
        if let Flow::Done = flow {
            if at_home {
                self.format_shown(conn, command.row, batch.args_of(command));
            }
            self.feed_monitors();
        }
        flow
    }

    /// Runs a command whose reply the client may not want to hear.
    fn dispatch_heard(&mut self, conn: ConnId, batch: &mut Batch, command: &Command) -> Flow {
        if self.session(conn).is(flag::REPLY_OFF | flag::REPLY_SKIP)
            && !self.is_confirmed_by_push(conn, command.row)
        {
            self.dispatch_silently(conn, batch, command)
        } else {
            self.dispatch_or_queue(conn, batch, command)
        }
    }

    /// Whether a command answers with a push message, which CLIENT REPLY does not silence.
    fn is_confirmed_by_push(&mut self, conn: ConnId, row: RowId) -> bool {
        let resp3 = self.session(conn).version == Version::Resp3;
        resp3 && row != RowId::UNKNOWN && {
            let spec = self.shard.registry.row(row).spec;
            spec.flags.has(Flags::PUBSUB) && matches!(spec.run, Run::Home(_))
        }
    }

    /// CLIENT REPLY OFF and SKIP: the command runs and its reply is dropped.
    fn dispatch_silently(&mut self, conn: ConnId, batch: &mut Batch, command: &Command) -> Flow {
        let session = self.session(conn);
        let target = session.target();
        let (bytes, shared) = (target.buf.len(), target.shared.len());
        let places = session.held.len();
        session.flags |= flag::UNHEARD;
        let flow = self.dispatch_or_queue(conn, batch, command);
        let session = self.session(conn);
        session.flags &= !flag::UNHEARD;
        let mut heard = std::mem::take(&mut session.info.heard);
        if !session.is(flag::REPLY_OFF | flag::REPLY_SKIP) {
            session.target().append(&mut heard);
            return flow; // CLIENT REPLY ON answers
        }
        if session.held.len() == places {
            // Nothing was sent elsewhere; what was written here goes.
            let target = session.target();
            target.buf.truncate(bytes);
            target.shared.truncate(shared);
        }
        session.target().append(&mut heard);
        if let Flow::Done = flow {
            session.flags &= !flag::REPLY_SKIP;
        }
        flow
    }

    /// Routes a command of a connection in the ordinary state.
    fn dispatch(&mut self, conn: ConnId, batch: &mut Batch, command: &Command) -> Flow {
        if command.row == RowId::UNKNOWN {
            if self.is_attack(conn, batch.args_of(command)[0]) {
                return Flow::Done;
            }
            let error = Error::unknown_command(batch.args_of(command));
            self.reject(conn, command.row, &error);
            return Flow::Done;
        }
        let row = self.shard.registry.row(command.row);
        let (spec, route) = (row.spec, row.route);
        if !spec.arity_fits(command.argc as usize) {
            let error = Error::arity(&row.full_name);
            if matches!(spec.run, Run::Control(Control::Exec)) && self.watch_is_under_way(conn) {
                return Flow::Wait(Stall::Answers); // it ends the watches, too
            }
            self.reject(conn, command.row, &error);
            return Flow::Done;
        }
        match route {
            Route::OneKey(_) if self.shard.node.shards == 1 => {
                self.run_here(conn, batch, command, spec)
            }
            Route::OneKey(_) => {
                let owner = self.shard.owner_at(command.pos);
                if self.must_wait(conn, spec, owner) {
                    return Flow::Wait(Stall::Writes);
                }
                if owner == self.shard.id {
                    return self.run_here(conn, batch, command, spec);
                }
                self.forward(conn, batch, command, spec, owner)
            }
            Route::Here => self.run_here(conn, batch, command, spec),
            Route::ManyKeys if spec.flags.has(Flags::BLOCKING) => {
                self.run_blocking(conn, batch, command, spec)
            }
            Route::ManyKeys => self.run_many_keys(conn, batch, command, spec),
            Route::Home if spec.name == "reset" && self.watch_is_under_way(conn) => {
                Flow::Wait(Stall::Answers)
            }
            // WAIT and WAITAOF tell of all that the connection has done before: what a volley has sent,
            // too, which others need not wait for.
            Route::Home if spec.flags.has(Flags::BLOCKING) && self.session(conn).waiting > 0 => {
                Flow::Wait(Stall::Answers)
            }
            Route::Home => {
                self.run_home(conn, batch.args_of(command), command.row, spec, false);
                Flow::Done
            }
            Route::At => {
                let Run::At { owner, .. } = spec.run else {
                    unreachable!("routed by its kind")
                };
                let flags = self.session(conn).caller_flags();
                let owner = self.owner_at(owner, batch.args_of(command), spec, flags);
                if spec.flags.has(Flags::PUBSUB)
                    && let Some(stall) = self.must_wait_to_publish(conn)
                {
                    return Flow::Wait(stall);
                }
                if self.must_wait(conn, spec, owner) {
                    return Flow::Wait(Stall::Writes);
                }
                if owner == self.shard.id {
                    return self.run_here(conn, batch, command, spec);
                }
                self.forward(conn, batch, command, spec, owner)
            }
            Route::Gather => self.run_gather(conn, batch, command, spec),
            Route::Control => self.run_control(conn, batch, command),
            Route::Container => {
                let error = match batch.args_of(command) {
                    [_, sub, ..] => Error::unknown_subcommand(sub, spec.name),
                    _ => Error::arity(spec.name),
                };
                self.reject(conn, command.row, &error);
                Flow::Done
            }
        }
    }

    /// Whether a command must wait for earlier writes of its connection to other shards.
    #[inline]
    fn must_wait(&mut self, conn: ConnId, spec: &Spec, owner: ShardId) -> bool {
        spec.flags.has(Flags::WRITE) && {
            let session = self.session(conn);
            session.writes_out > 0 && session.writes_at != owner.0 && session.volley_left == 0
        }
    }

    /// Why a message cannot be published now: an earlier write of its connection is under way, or a
    /// shard is behind with what it is sent.
    fn must_wait_to_publish(&mut self, conn: ConnId) -> Option<Stall> {
        if self.session(conn).writes_out > 0 {
            return Some(Stall::Writes);
        }
        let own = self.shard.id.index();
        let mut others = (0..self.outgoing.len()).filter(|shard| *shard != own);
        others.find_map(|shard| self.no_room(conn, ShardId(shard as u16)))
    }

    /// A command that may wait: whatever its connection sends after it waits for its answer.
    fn run_blocking(
        &mut self,
        conn: ConnId,
        batch: &mut Batch,
        command: &Command,
        spec: &'static Spec,
    ) -> Flow {
        let before = self.session(conn).waiting;
        let flow = self.run_many_keys(conn, batch, command, spec);
        let session = self.session(conn);
        if session.waiting > before {
            session.flags |= flag::BLOCKED;
        }
        flow
    }

    /// A command whose keys may have several owners.
    fn run_many_keys(
        &mut self,
        conn: ConnId,
        batch: &mut Batch,
        command: &Command,
        spec: &'static Spec,
    ) -> Flow {
        if is_migrate(spec) {
            return self.run_migrate(conn, batch, command, spec);
        }
        if self.shard.node.shards == 1 {
            return self.run_here(conn, batch, command, spec);
        }
        if batch.has_begun(command) {
            return Flow::Done;
        }
        if looks_up(spec, batch.args_of(command)) {
            return self.run_sort(conn, batch, command);
        }
        match self.owner_of_all(batch.args_of(command), spec) {
            Some(owner) => {
                if self.must_wait(conn, spec, owner) {
                    return Flow::Wait(Stall::Writes);
                }
                if owner == self.shard.id {
                    return self.run_here(conn, batch, command, spec);
                }
                self.forward(conn, batch, command, spec, owner)
            }
            None => match self.shard.registry.row(command.row).spread {
                Spread::Lend => self.run_transaction(conn, batch, command, spec),
                spread => self.run_spread(conn, batch, command, spec, spread),
            },
        }
    }

    /// The shard that owns all keys of a command, or this shard if there are none; None: several.
    pub(super) fn owner_of_all(&mut self, args: &[&[u8]], spec: &Spec) -> Option<ShardId> {
        let mut keys = std::mem::take(&mut self.key_scratch);
        keys.clear();
        crate::command::keys::keys_of(spec, args, &mut keys);
        let mut owners = keys.iter().map(|k| self.shard.owner_of_key(args[k.index]));
        let first = owners.next().unwrap_or(self.shard.id);
        let same = owners.all(|owner| owner == first);
        self.key_scratch = keys;
        same.then_some(first)
    }

    /// Runs a command on this shard, for a connection of this shard.
    pub(super) fn run_here(
        &mut self,
        conn: ConnId,
        batch: &mut Batch,
        command: &Command,
        spec: &'static Spec,
    ) -> Flow {
        if !self.shard.txns.is_idle() && self.session(conn).volley_left == 0 {
            let call = self.remote_call(conn, 0);
            if self.must_park(&call, spec, batch, command) {
                return self.park_here(conn, spec, batch, command);
            }
        }
        let session = self.sessions[conn as usize].as_deref_mut().expect("in use");
        let unsent = if self.gates {
            session.unsent_bytes()
        } else {
            0
        };
        let call = Call {
            row: command.row,
            spec,
            args: &batch.args[command.args_at as usize..(command.args_at + command.argc) as usize],
            pos: command.pos,
            caller: Caller {
                client: session.id,
                db: session.db,
                flags: session.caller_flags(),
                home: self.shard.id,
            },
            version: session.version,
        };
        self.shard.actor = call.caller.client;
        let large = OwnedArgs {
            first: command.args_at as usize,
            owned: &mut batch.owned,
        };
        run(&mut self.shard, call, large, session.target());
        if self.gates {
            self.answered_here(conn, batch, command, spec, unsent);
        }
        if self.shard.aftermath {
            self.after_own(conn, batch, command);
        }
        Flow::Done
    }

    /// A command of a connection of this shard has run here, whose output had so many bytes before.
    fn answered_here(
        &mut self,
        conn: ConnId,
        batch: &Batch,
        command: &Command,
        spec: &'static Spec,
        unsent: usize,
    ) {
        if self.is_sure(spec, command.pos, batch.args_of(command)) {
            self.session(conn).sure_since(unsent);
        }
    }

    /// Runs a command that needs its connection.
    pub(super) fn run_home(
        &mut self,
        conn: ConnId,
        args: &[&[u8]],
        row: RowId,
        spec: &'static Spec,
        in_exec: bool,
    ) {
        let Run::Home(function) = spec.run else {
            unreachable!("routed by its kind")
        };
        let unsent = self.session(conn).unsent_bytes();
        let target = self.session(conn).target();
        let (bytes, shared) = (target.buf.len(), target.shared.len());
        let outcome = function(&mut HomeCtx {
            engine: self,
            conn,
            args,
            row,
            in_exec,
        });
        let took = self.shard.lap();
        let failed = outcome.is_err();
        if let Err(error) = outcome {
            self.shard.stats.count_error(error.code());
            let session = self.session(conn);
            let version = session.version;
            let target = session.target();
            target.buf.truncate(bytes);
            target.shared.truncate(shared);
            Reply::new(target, version).error(error.text());
        }
        let session = self.session(conn);
        if !in_exec {
            session.sure_since(unsent); // it tells nothing of keys
        }
        let caller = Caller {
            client: session.id,
            db: session.db,
            flags: 0,
            home: self.shard.id,
        };
        count_call(&mut self.shard, row, took, failed, caller, args);
    }

    /// Sends a command to the shard that owns its keys.
    fn forward(
        &mut self,
        conn: ConnId,
        batch: &mut Batch,
        command: &Command,
        spec: &Spec,
        owner: ShardId,
    ) -> Flow {
        if let Some(stall) = self.no_room(conn, owner) {
            return Flow::Wait(stall);
        }
        // A message that was published is followed by writes elsewhere only when it is out.
        let write = spec.flags.has(Flags::WRITE) || spec.flags.has(Flags::PUBSUB);
        self.lend_held_buffer(conn);
        let home = self.shard.id;
        let session = self.session(conn);
        session.pull.hop(owner);
        let in_volley = session.volley_left > 0;
        let seq = if in_volley {
            session.hold_sure()
        } else {
            if write {
                session.writes_out += 1;
                session.writes_at = owner.0;
            }
            session.hold(write)
        };
        let mut call = session.remote_call(home, conn, seq);
        if in_volley {
            call.flags |= caller::HOLDS_KEYS;
        }
        if session.is(flag::REPLY_OFF | flag::REPLY_SKIP) {
            call.flags |= caller::SILENT;
        }
        self.shard.stats.hops += 1;
        let out = &mut self.outgoing[owner.index()];
        super::remote::put_request(out, &mut self.runs, owner, &call, command, batch);
        Flow::Done
    }

    /// On whose behalf a connection's command runs elsewhere or later.
    pub(super) fn remote_call(&mut self, conn: ConnId, seq: u32) -> RemoteCall {
        let home = self.shard.id;
        self.session(conn).remote_call(home, conn, seq)
    }

    /// Why nothing more may be sent to `owner` on behalf of this connection now.
    pub(super) fn no_room(&mut self, conn: ConnId, owner: ShardId) -> Option<Stall> {
        if self.outgoing[owner.index()].buf.len() > OUTGOING_MAX {
            return Some(Stall::Room);
        }
        (self.session(conn).waiting as usize >= WAITING_MAX).then_some(Stall::Writes)
    }

    /// Marks a connection's writes as under way to several shards.
    pub(super) fn writes_everywhere(&mut self, conn: ConnId) {
        let session = self.session(conn);
        session.writes_out += 1;
        session.writes_at = SEVERAL;
    }

    /// Answers with an error a command that did not run.
    pub(super) fn reject(&mut self, conn: ConnId, row: RowId, error: &Error) {
        self.shard.stats.count_error(error.code());
        if row != RowId::UNKNOWN {
            self.shard.stats.commands[row.index()].rejected += 1;
        }
        let is_exec = row != RowId::UNKNOWN
            && matches!(
                self.shard.registry.row(row).spec.run,
                Run::Control(Control::Exec)
            );
        let refused = is_exec.then(|| self.exec_refused(conn, error));
        let session = self.session(conn);
        session.info.multi.refused();
        let (version, unsent) = (session.version, session.unsent_bytes());
        Reply::new(session.target(), version).error(refused.as_ref().unwrap_or(error).text());
        session.sure_since(unsent);
    }
}

/// Whether a RESP2 connection with subscriptions may use a command.
fn allowed_to_subscribers(name: &str) -> bool {
    const ALLOWED: [&str; 9] = [
        "subscribe",
        "ssubscribe",
        "sunsubscribe",
        "unsubscribe",
        "psubscribe",
        "punsubscribe",
        "ping",
        "quit",
        "reset",
    ];
    ALLOWED.contains(&name)
}

/// Runs a command's function on `shard`, with its reply at the end of `out`.
pub(super) fn run(shard: &mut Shard, call: Call<'_>, large: OwnedArgs<'_>, out: &mut Output) {
    let (Run::Keyed(function) | Run::At { run: function, .. }) = call.spec.run else {
        unreachable!("routed by its kind")
    };
    run_function(shard, function, call, large, out);
}

/// The same for a part of a command that is counted elsewhere.
pub(super) fn run_quietly(
    shard: &mut Shard,
    call: Call<'_>,
    large: OwnedArgs<'_>,
    out: &mut Output,
) {
    let (Run::Keyed(function) | Run::At { run: function, .. }) = call.spec.run else {
        unreachable!("routed by its kind")
    };
    // Whoever asked for it takes its reply apart, which therefore is in one piece.
    invoke::<false>(shard, function, &call, large, out);
}

/// Runs a command of its own copy again, which may have waited meanwhile; it was counted before.
pub(super) fn run_again(
    shard: &mut Shard,
    call: &RemoteCall,
    command: &OwnedCommand,
    out: &mut Output,
) {
    let args: SmallVec<[&[u8]; 16]> = command.args().collect();
    let row = command.command.row;
    let call = Call {
        row,
        spec: shard.registry.row(row).spec,
        args: &args,
        pos: command.command.pos,
        caller: caller_of(call),
        version: call.version,
    };
    let owned = &mut Vec::new();
    run_quietly(shard, call, OwnedArgs { first: 0, owned }, out);
}

/// Runs `function` for a command; counts it, and writes its error.
fn run_function(
    shard: &mut Shard,
    function: fn(&mut Ctx<'_>) -> crate::command::error::Outcome,
    call: Call<'_>,
    large: OwnedArgs<'_>,
    out: &mut Output,
) {
    let (bytes, shared) = (out.buf.len(), out.shared.len());
    let failed = !invoke::<true>(shard, function, &call, large, out);
    let took = shard.lap();
    count_call(shard, call.row, took, failed, call.caller, call.args);
    if shard.slot_loads.spend(took) {
        let large: usize = out.shared[shared..].iter().map(|(_, b)| b.len()).sum();
        let reply = out.buf.len() - bytes + large;
        shard.charge_slot(call.row, call.pos, call.args, took, reply);
    }
}

/// Calls `function` for a command, writes its error, and records what it leaves behind; whether it
/// has succeeded. With `LONG` the reply may come in chunks.
#[inline]
fn invoke<const LONG: bool>(
    shard: &mut Shard,
    function: fn(&mut Ctx<'_>) -> crate::command::error::Outcome,
    call: &Call<'_>,
    large: OwnedArgs<'_>,
    out: &mut Output,
) -> bool {
    let (bytes, shared) = (out.buf.len(), out.shared.len());
    let changes = shard.changes_so_far();
    let reply = if LONG {
        Reply::long(out, call.version)
    } else {
        Reply::new(out, call.version)
    };
    let outcome = function(&mut Ctx {
        shard,
        args: call.args,
        reply,
        caller: call.caller,
        pos: call.pos,
        row: call.row,
        large,
    });
    if call.caller.flags & caller::TRACKS != 0 {
        remember_reads(shard, call.spec, call.args, call.caller);
    }
    if shard.effects.is_on() {
        let (row, db, pos) = (call.row, call.caller.db, call.pos);
        shard.command_ended(row, call.spec, db, pos, call.args, changes);
    }
    let Err(error) = outcome else {
        return true;
    };
    shard.stats.count_error(error.code());
    out.buf.truncate(bytes);
    out.shared.truncate(shared);
    Reply::new(out, call.version).error(error.text());
    false
}

/// A command has run for a client that tracks: remembers what it has read, though it found
/// nothing, or an error.
#[cold]
fn remember_reads(shard: &mut Shard, spec: &Spec, args: &[&[u8]], caller: Caller) {
    if !spec.flags.has(Flags::READONLY) {
        return;
    }
    let (home, client) = (caller.home, caller.client);
    let mut keys = Vec::new();
    keys_of(spec, args, &mut keys);
    for key in keys.iter().map(|at| args[at.index]) {
        match &mut shard.changes {
            // The keys may be lent: their owners remember it when they get them back.
            Some(changes) => changes.push(Change {
                db: caller.db,
                pos: shard.keyspace.pos(key),
                key: key.into(),
                actor: client,
                what: What::Read(home),
            }),
            None => shard.remember_read(key, Holder { home, client }),
        }
    }
}

/// Counts a command that ran.
pub(super) fn count_call(
    shard: &mut Shard,
    row: RowId,
    took: u64,
    failed: bool,
    caller: Caller,
    args: &[&[u8]],
) {
    count(shard, row, took, failed);
    if took >= shard.watch.slow_ticks {
        shard.note_slow(row, took, caller, args);
    }
}

/// Counts a command that ran, without an entry in the slow log: what only coordinates others.
#[inline]
pub(super) fn count(shard: &mut Shard, row: RowId, took: u64, failed: bool) {
    shard.stats.commands_processed += 1;
    let stats = &mut shard.stats.commands[row.index()];
    stats.calls += 1;
    stats.ticks += took;
    stats.failed += u64::from(failed);
    if shard.watch.tracking {
        stats.track(shard.watch.bucket(took));
    }
}

/// A stalled command with arguments in memory of their own keeps them, since they no longer stand
/// in the input. Such a command is always the first of its input.
fn keep_large(batch: &mut Batch, command: &Command, input_at: usize) {
    let args = command.args_at as usize..(command.args_at + command.argc) as usize;
    if !batch.owned.iter().any(|(index, _)| args.contains(index)) {
        return;
    }
    let input = &mut batch.inputs[input_at];
    let base = input.bytes.as_ptr() as usize + command.start;
    input.frame = Frame {
        args_left: 0,
        bulk: None,
        at: command.end - command.start,
    };
    input.args = args
        .map(
            |index| match batch.owned.iter().position(|(i, _)| *i == index) {
                Some(at) => super::session::KeptArg::Owned(batch.owned.swap_remove(at).1),
                None => {
                    let arg = batch.args[index];
                    super::session::KeptArg::At(arg.as_ptr() as usize - base, arg.len())
                }
            },
        )
        .collect();
}
