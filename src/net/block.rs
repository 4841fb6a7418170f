//! EXEC: where a block runs, and how.
//!
//! - All keys, the watched ones included, have one owner, and nothing but that owner is needed: it
//!   runs the block at once, like a command.
//! - Otherwise the block is a transaction of its connection's home. If every command of it only
//!   reads and has one owner, the owners answer; else they lend the entries and the home runs it.
//! - If a command of it needs whole shards (DBSIZE, SCAN, FLUSHALL ...) or waits for another server
//!   (MIGRATE), everything is claimed and the home goes through the block step by step, see `steps`.
//!
//! A block that is a transaction flows with its connection's pipeline like a single command that is
//! one (see `transaction`), as long as it watches nothing and has commands on keys that they name.
//! Any other, one that runs in steps among them, stands alone: it looks at the connection as it is
//! then, so commands before it are answered first, and those behind it wait.

use smallvec::SmallVec;

use super::batch::{RemoteCall, lend};
use super::dispatch::{Call, Flow, count, run, run_quietly};
use super::engine::Engine;
use super::errand::Errand;
use super::migrate::is_migrate;
use super::multi::read_of;
use super::session::{ConnId, Stall, flag};
use super::steps::Steps;
use super::transaction::{Job, Needs, connection_of, owner_of, whole, whole_db};
use crate::command::context::{OwnedArgs, caller};
use crate::command::error::Error;
use crate::command::registry::{Route, RowId};
use crate::command::sort::looks_up;
use crate::command::spec::{Flags, Run, Spec};
use crate::keyspace::Pos;
use crate::mesh::ShardId;
use crate::resp::Version;
use crate::resp::encode::{Output, Reply};
use crate::shard::lending::{Block, Head, OwnedCommand, Questions, Wanted, Work, caller_of};
use crate::txn::multi::{Exec, Multi, MultiError, WatchedKey};
use crate::txn::{Claim, Claims, Mode};

/// What a block is made of.
struct Survey {
    /// The owner of all keys, if there is one and no other.
    owner: Owner,
    /// Some command has keys of several owners.
    crossing: bool,
    /// Some command needs the connection.
    home: bool,
    /// Some command needs other shards by itself.
    whole: bool,
    /// Some command may change the keyspace.
    write: bool,
    /// Every command with keys only reads.
    reads: bool,
    /// Nothing watches, every command has keys, and the connection is in no special state.
    plain: bool,
    /// Bytes of the commands.
    bytes: usize,
}

impl Survey {
    /// Whether it is a transaction that what its connection sends next need not wait for.
    fn flows(&self) -> bool {
        self.plain && !self.whole && self.owner == Owner::Several
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Nobody,
    One(ShardId),
    Several,
}

impl Owner {
    fn and(self, other: ShardId) -> Self {
        match self {
            Self::Nobody => Self::One(other),
            Self::One(owner) if owner == other => self,
            _ => Self::Several,
        }
    }
}

/// The arguments of a command in a list.
fn list(command: &OwnedCommand) -> SmallVec<[&[u8]; 8]> {
    command.args().collect()
}

impl Engine {
    /// Runs EXEC.
    pub(super) fn exec(&mut self, conn: ConnId, row: RowId) -> Flow {
        let multi = std::mem::take(&mut self.session(conn).info.multi);
        let mut survey = self.survey(&multi);
        survey.plain &= !self.session(conn).is(flag::SLOW & !flag::MULTI);
        let alone = survey.home || survey.whole || survey.owner == Owner::Several;
        let wait = multi.is_queueing() && self.session(conn).waiting > 0;
        if wait && (alone && !survey.flows() || multi.is_aborted()) {
            self.session(conn).info.multi = multi;
            return Flow::Wait(Stall::Answers);
        }
        if multi.is_queueing()
            && !multi.is_aborted()
            && let Some(stall) = self.exec_must_wait(conn, &survey)
        {
            self.session(conn).info.multi = multi;
            return Flow::Wait(stall);
        }
        let session = self.session(conn);
        session.info.multi = multi;
        let exec = session.info.multi.exec();
        self.mark_multi(conn);
        match exec {
            Exec::Run(block) => {
                self.feed_block(conn, &block.commands);
                self.run_exec(conn, row, &survey, block.commands, &block.watched)
            }
            Exec::Refuse(error, ended) => {
                self.unwatch(conn, &ended);
                self.refuse_exec(conn, row, error)
            }
        }
    }

    fn refuse_exec(&mut self, conn: ConnId, row: RowId, error: MultiError) -> Flow {
        let error = Error::new(error.text());
        self.shard.stats.count_error(error.code());
        let took = self.shard.lap();
        count(&mut self.shard, row, took, true);
        let session = self.session(conn);
        let version = session.version;
        Reply::new(session.target(), version).error(error.text());
        Flow::Done
    }

    /// Shows a block's commands to those who monitor.
    fn feed_block(&mut self, conn: ConnId, commands: &[OwnedCommand]) {
        if self.slow & super::engine::slow::MONITORS == 0 {
            return;
        }
        for command in commands {
            self.format_shown(conn, command.command.row, &list(command));
            self.feed_monitors();
        }
    }

    fn exec_must_wait(&mut self, conn: ConnId, survey: &Survey) -> Option<Stall> {
        let session = self.session(conn);
        match survey.owner {
            _ if survey.whole => None,
            Owner::One(owner) => {
                let elsewhere = session.writes_out > 0 && session.writes_at != owner.0;
                if survey.write && elsewhere {
                    return Some(Stall::Writes);
                }
                if owner == self.shard.id {
                    return None;
                }
                self.no_room(conn, owner)
            }
            Owner::Nobody => None,
            Owner::Several => {
                if survey.flows()
                    && let Some(stall) = self.not_yet(conn, survey.write)
                {
                    return Some(stall);
                }
                let mut shards = (0..self.shard.node.shards).map(|at| ShardId(at as u16));
                shards.find_map(|shard| self.no_room(conn, shard))
            }
        }
    }

    /// Looks through a block once.
    fn survey(&mut self, multi: &Multi<Head>) -> Survey {
        let mut survey = Survey {
            owner: Owner::Nobody,
            crossing: false,
            home: false,
            whole: false,
            write: false,
            reads: true,
            plain: true,
            bytes: multi.queued_bytes(),
        };
        for key in multi.watched() {
            survey.owner = survey.owner.and(key.owner);
            survey.plain = false;
        }
        let alone = self.shard.node.shards == 1;
        for command in multi.commands() {
            let row = self.shard.registry.row(command.command.row);
            let (spec, route) = (row.spec, row.route);
            survey.write |= spec.flags.has(Flags::WRITE);
            survey.plain &= matches!(route, Route::OneKey(_) | Route::ManyKeys);
            match route {
                Route::OneKey(_) => {
                    let owner = self.shard.owner_at(command.command.pos);
                    survey.owner = survey.owner.and(owner);
                    survey.reads &= spec.flags.has(Flags::READONLY);
                }
                Route::ManyKeys => {
                    survey.whole |= is_migrate(spec);
                    survey.whole |= !alone && looks_up(spec, &list(command));
                    let mut own = Owner::Nobody;
                    self.each_key(0, spec, &list(command), |engine, _, pos, _| {
                        own = own.and(engine.shard.owner_at(pos));
                    });
                    survey.crossing |= own == Owner::Several;
                    survey.owner = match own {
                        Owner::Nobody => survey.owner,
                        Owner::One(owner) => survey.owner.and(owner),
                        Owner::Several => Owner::Several,
                    };
                    survey.reads &= spec.flags.has(Flags::READONLY);
                }
                Route::Here | Route::Control => {}
                Route::Home => survey.home = true,
                Route::At | Route::Gather => {
                    survey.home |= alone && route == Route::Gather;
                    survey.whole |= !alone;
                }
                Route::Container => unreachable!("it was not queued"),
            }
        }
        survey
    }

    fn run_exec(
        &mut self,
        conn: ConnId,
        row: RowId,
        survey: &Survey,
        commands: Vec<OwnedCommand>,
        watched: &[WatchedKey],
    ) -> Flow {
        let wanted = |key: &WatchedKey| Wanted {
            db: key.db,
            pos: Pos::from_bits(key.position),
            key: key.key.clone(),
        };
        let own = self.shard.id;
        let block = |commands| Block {
            commands,
            watched: watched.iter().map(wanted).collect(),
        };
        match survey.owner {
            _ if survey.whole => self.begin_whole(conn, survey, commands, watched),
            Owner::Nobody => self.run_block_here(conn, survey, block(commands)),
            Owner::One(owner) if owner == own => {
                self.run_block_here(conn, survey, block(commands));
            }
            Owner::One(owner) if !survey.home => {
                let session = self.session(conn);
                if survey.write {
                    session.writes_out += 1;
                    session.writes_at = owner.0;
                }
                let seq = session.hold(survey.write);
                let mut call = self.remote_call(conn, seq);
                call.flags |= caller::IN_EXEC;
                self.shard.stats.hops += 1;
                let block = block(commands);
                self.send_errand(owner, Errand::Block { call, block });
            }
            _ => self.begin_block(conn, survey, commands, watched),
        }
        let took = self.shard.lap();
        count(&mut self.shard, row, took, false);
        Flow::Done
    }

    /// A block that this shard can run by itself.
    fn run_block_here(&mut self, conn: ConnId, survey: &Survey, block: Block) {
        let mut call = self.remote_call(conn, 0);
        call.flags |= caller::IN_EXEC;
        if !self.shard.txns.is_idle() {
            let claims = self.block_claims(&call, &block);
            if self.is_held_up(connection_of(&call), &claims) {
                call.seq = self.hold_here(conn, survey.write).seq;
                // It takes the database from the connection, which must not move on meanwhile.
                self.session(conn).flags |= flag::BARRIER;
                return self.park_work(call, &claims, Work::Block(block));
            }
        }
        let mut out = std::mem::take(&mut self.block_out);
        self.run_block(&call, block, &mut out);
        if self.has_unconfirmed(conn) {
            call.seq = self.hold_here(conn, false).seq;
            self.answer(&call, std::mem::take(&mut out));
        } else {
            self.session(conn).target().append(&mut out);
        }
        self.block_out = out;
        self.settle_aftermath();
    }

    /// A block for another shard's connection.
    pub(super) fn block_arrived(&mut self, call: RemoteCall, block: Block) {
        if !self.shard.txns.is_idle() {
            let claims = self.block_claims(&call, &block);
            if self.is_held_up(connection_of(&call), &claims) {
                return self.park_work(call, &claims, Work::Block(block));
            }
        }
        let mut out = Output::default();
        self.run_block(&call, block, &mut out);
        self.answer(&call, out);
        self.settle_aftermath();
    }

    /// What a block claims at the only owner of its keys.
    fn block_claims(&mut self, call: &RemoteCall, block: &Block) -> Claims {
        let mut claims: Claims = block.watched.iter().map(read_of).collect();
        let mut db = call.db;
        for command in &block.commands {
            let spec = self.shard.registry.row(command.command.row).spec;
            let args = list(command);
            self.claim(db, spec, &args, command.command.pos, &mut claims);
            db = self.db_after(db, spec, &args);
        }
        claims
    }

    /// The database that is selected after a command of a block.
    fn db_after(&self, db: u16, spec: &Spec, args: &[&[u8]]) -> u16 {
        if spec.name != "select" {
            return db;
        }
        let number = args.get(1).and_then(|n| crate::resp::number::parse_i64(n));
        let databases = self.shard.keyspace.databases();
        match number.and_then(|n| u16::try_from(n).ok()) {
            Some(selected) if usize::from(selected) < databases => selected,
            _ => db,
        }
    }

    /// Begins a block whose keys have several owners, or that needs the connection besides another
    /// shard's keys.
    fn begin_block(
        &mut self,
        conn: ConnId,
        survey: &Survey,
        commands: Vec<OwnedCommand>,
        watched: &[WatchedKey],
    ) {
        let mut needs = Needs::default();
        if survey.reads && !survey.crossing && !survey.home {
            let order = self.ask_owners(conn, &mut needs, commands);
            return self.begin_exec(conn, needs, Job::Answers(order), watched, survey);
        }
        let mut db = self.session(conn).db;
        for command in &commands {
            let spec = self.shard.registry.row(command.command.row).spec;
            let args = list(command);
            self.lend_keys(&mut needs, db, spec, &args);
            db = self.db_after(db, spec, &args);
        }
        let job = Job::Block(commands, survey.flows());
        self.begin_exec(conn, needs, job, watched, survey);
    }

    /// Deals a block's commands, which only read, to the owners of their keys. For each command its
    /// participant.
    fn ask_owners(
        &mut self,
        conn: ConnId,
        needs: &mut Needs,
        commands: Vec<OwnedCommand>,
    ) -> Vec<u16> {
        let mut call = self.remote_call(conn, 0);
        call.flags |= caller::IN_EXEC;
        let mut order = Vec::with_capacity(commands.len());
        for command in commands {
            let spec = self.shard.registry.row(command.command.row).spec;
            let mut claims = Claims::new();
            let mut owner = self.shard.id;
            self.each_key(call.db, spec, &list(&command), |engine, db, pos, _| {
                owner = engine.shard.owner_at(pos);
                let (position, mode) = (pos.to_bits(), Mode::Read);
                claims.push(Claim::Key { db, position, mode });
            });
            let (place, part) = needs.part(owner);
            part.claims.extend(claims);
            let questions = part.ask.questions.get_or_insert_with(|| {
                let commands = Vec::new();
                Box::new(Questions { call, commands })
            });
            questions.commands.push(command);
            order.push(place);
        }
        order
    }

    /// Begins a block with commands that need whole shards.
    fn begin_whole(
        &mut self,
        conn: ConnId,
        survey: &Survey,
        commands: Vec<OwnedCommand>,
        watched: &[WatchedKey],
    ) {
        let mut needs = Needs::default();
        let session = self.session(conn);
        let (mut db, flags) = (session.db, session.caller_flags());
        for command in &commands {
            let row = self.shard.registry.row(command.command.row);
            let (spec, route) = (row.spec, row.route);
            let args = list(command);
            if matches!(route, Route::At | Route::Gather) {
                self.claim_everywhere(&mut needs, &whole(spec, &args, db));
            } else if looks_up(spec, &args) {
                self.claim_everywhere(&mut needs, &[whole_db(db)]);
            } else {
                // A command over several shards borrows the entries, though it only reads them.
                let mode = match self.owner_of_command(command, db, flags) {
                    Some(_) => super::transaction::mode_of(spec),
                    None => Mode::Write,
                };
                self.each_key(db, spec, &args, |engine, db, pos, _| {
                    let owner = engine.shard.owner_at(pos);
                    let position = pos.to_bits();
                    let claim = Claim::Key { db, position, mode };
                    needs.part(owner).1.claims.push(claim);
                });
            }
            db = self.db_after(db, spec, &args);
        }
        let steps = Box::new(Steps::block(commands));
        self.begin_exec(conn, needs, Job::Steps(steps), watched, survey);
    }

    /// Claims the same at every shard. A database that does not exist is left out: inside a block it
    /// is the command that says so, and not what was looked at before.
    pub(super) fn claim_everywhere(&mut self, needs: &mut Needs, claims: &[Claim]) {
        let databases = self.shard.keyspace.databases();
        let is_known = |claim: &Claim| match *claim {
            Claim::Db { db, .. } | Claim::Key { db, .. } => usize::from(db) < databases,
            Claim::All { .. } => true,
        };
        let claims: SmallVec<[Claim; 2]> = claims.iter().copied().filter(is_known).collect();
        if claims.is_empty() {
            return;
        }
        for shard in 0..self.shard.node.shards {
            let (_, part) = needs.part(ShardId(shard as u16));
            part.claims.extend_from_slice(&claims);
        }
    }

    /// Begins a transaction that stands alone in its connection.
    fn begin_exec(
        &mut self,
        conn: ConnId,
        mut needs: Needs,
        job: Job,
        watched: &[WatchedKey],
        survey: &Survey,
    ) {
        let connection = connection_of(&self.remote_call(conn, 0));
        for key in watched {
            let (_, part) = needs.part(key.owner);
            let wanted = Wanted {
                db: key.db,
                pos: Pos::from_bits(key.position),
                key: key.key.clone(),
            };
            part.claims.push(read_of(&wanted));
            part.ask.watched.push(wanted);
            part.watcher = Some(connection);
        }
        let own = self.shard.id;
        for (shard, part) in &mut needs.parts {
            if part.claims.is_empty() {
                part.claims.push(NOTHING);
            }
            assert!(
                *shard != own || part.ask.keys.is_empty(),
                "own entries stay"
            );
        }
        if needs.parts.is_empty() {
            needs.part(own).1.claims.push(NOTHING);
        }
        if survey.flows() {
            assert!(!matches!(job, Job::Steps(_)), "it looks at the connection");
            return self.begin_in_flow(conn, needs, job, survey.write, survey.bytes);
        }
        let session = self.session(conn);
        session.flags |= flag::BARRIER;
        let seq = session.hold(survey.write);
        if survey.home && session.is(flag::REPLY_OFF) && !session.is(flag::REPLY_SKIP) {
            // A CLIENT REPLY ON may be among the commands; who is not to be heard leaves nothing.
            session.let_be_heard();
        }
        self.begin_at(conn, seq, needs, job, survey.write);
    }

    /// Runs a block here, unless a watched key has changed.
    pub(super) fn run_block(&mut self, call: &RemoteCall, block: Block, out: &mut Output) {
        self.shard.effects.hold();
        self.run_unless_dirty(call, block, out);
        self.shard.effects.release();
        self.shard.effects.close();
    }

    fn run_unless_dirty(&mut self, call: &RemoteCall, block: Block, out: &mut Output) {
        if !block.watched.is_empty() {
            let connection = connection_of(call);
            self.shard.expire_due(&block.watched);
            let dirty = self.shard.txns.is_dirty(connection);
            self.shard.txns.unwatch(connection);
            if dirty {
                return Reply::new(out, call.version).null_array();
            }
        }
        self.run_commands(call, block.commands, out);
    }

    /// Runs commands one after the other, with the head of EXEC's reply.
    pub(super) fn run_commands(
        &mut self,
        call: &RemoteCall,
        commands: Vec<OwnedCommand>,
        out: &mut Output,
    ) {
        if !self.is_mute(call) {
            Reply::new(out, self.version_of(call)).array(commands.len());
        }
        for mut command in commands {
            self.run_in_block(call, &mut command, out);
        }
    }

    /// Runs the commands of a block that flows: its connection may have moved on.
    pub(super) fn run_flowing(
        &mut self,
        call: &RemoteCall,
        commands: Vec<OwnedCommand>,
        out: &mut Output,
    ) {
        let mut call = *call;
        call.flags |= caller::IN_EXEC;
        Reply::new(out, call.version).array(commands.len());
        for mut command in commands {
            self.run_owned_counted(&call, &mut command, out);
        }
    }

    /// Whether the connection does not want replies at this point of its block (CLIENT REPLY).
    pub(super) fn is_mute(&mut self, call: &RemoteCall) -> bool {
        call.home == self.shard.id
            && self
                .session(call.conn)
                .is(flag::REPLY_OFF | flag::REPLY_SKIP)
    }

    /// The version of replies, which a block can change.
    pub(super) fn version_of(&mut self, call: &RemoteCall) -> Version {
        if call.home == self.shard.id {
            self.session(call.conn).version
        } else {
            call.version
        }
    }

    /// Runs a command of a block here.
    pub(super) fn run_in_block(
        &mut self,
        call: &RemoteCall,
        command: &mut OwnedCommand,
        out: &mut Output,
    ) {
        let (bytes, shared) = (out.buf.len(), out.shared.len());
        let mut call = *call;
        if call.home == self.shard.id {
            let now = self.remote_call(call.conn, call.seq);
            call.db = now.db;
            call.version = now.version;
            call.flags = now.flags | caller::IN_EXEC;
        }
        let row = self.shard.registry.row(command.command.row);
        let (spec, route) = (row.spec, row.route);
        match route {
            Route::OneKey(_) | Route::ManyKeys | Route::Here | Route::At => {
                self.run_owned_counted(&call, command, out);
            }
            Route::Home => self.run_home_into(&call, command, spec, out),
            Route::Gather => self.gather_alone(&call, command, out),
            Route::Control => {
                Reply::new(out, call.version).ok(); // UNWATCH, when nothing is watched any more
                let took = self.shard.lap();
                count(&mut self.shard, command.command.row, took, false);
            }
            Route::Container => unreachable!("it was not queued"),
        }
        if self.is_mute(&call) {
            out.buf.truncate(bytes);
            out.shared.truncate(shared);
        }
    }

    /// Runs a command that needs its connection, with the reply at the end of `out`.
    fn run_home_into(
        &mut self,
        call: &RemoteCall,
        command: &OwnedCommand,
        spec: &'static Spec,
        out: &mut Output,
    ) {
        let conn = call.conn;
        let session = self.session(conn);
        let held = std::mem::take(&mut session.held);
        std::mem::swap(&mut session.out, out);
        self.run_home(conn, &list(command), command.command.row, spec, true);
        let session = self.session(conn);
        std::mem::swap(&mut session.out, out);
        assert!(session.held.is_empty(), "inside EXEC nothing is put off");
        session.held = held;
    }

    /// Runs a command of its own copy here, counted like any command.
    pub(super) fn run_owned_counted(
        &mut self,
        call: &RemoteCall,
        command: &mut OwnedCommand,
        out: &mut Output,
    ) {
        self.run_owned_by(call, command, out, run);
    }

    /// Runs a part of a command here, which its home counts.
    pub(super) fn run_owned(
        &mut self,
        call: &RemoteCall,
        command: &mut OwnedCommand,
        out: &mut Output,
    ) {
        if call.flags & caller::IN_EXEC != 0 {
            return self.run_owned_by(call, command, out, run);
        }
        self.run_owned_by(call, command, out, run_quietly);
    }

    fn run_owned_by(
        &mut self,
        call: &RemoteCall,
        command: &mut OwnedCommand,
        out: &mut Output,
        run: fn(&mut crate::shard::Shard, Call<'_>, OwnedArgs<'_>, &mut Output),
    ) {
        let head = command.command;
        let args: SmallVec<[&'static [u8]; 24]> = command.args().map(lend).collect();
        let spec = self.shard.registry.row(head.row).spec;
        let call = Call {
            row: head.row,
            spec,
            args: &args,
            pos: head.pos,
            caller: caller_of(call),
            version: call.version,
        };
        let owned = &mut command.take_large();
        self.shard.actor = call.caller.client;
        run(&mut self.shard, call, OwnedArgs { first: 0, owned }, out);
        if self.shard.blocking.request.is_some() {
            command.put_large(std::mem::take(owned));
        }
        self.send_publications();
    }

    /// The only owner of a command's keys; `flags` are the client's.
    pub(super) fn owner_of_command(
        &mut self,
        command: &OwnedCommand,
        db: u16,
        flags: u8,
    ) -> Option<ShardId> {
        let row = self.shard.registry.row(command.command.row);
        let (spec, route) = (row.spec, row.route);
        match route {
            Route::OneKey(at) => Some(owner_of(self, command.arg(usize::from(at)))),
            Route::At => {
                let Run::At { owner, .. } = spec.run else {
                    unreachable!("routed by its kind")
                };
                Some(self.owner_at(owner, &list(command), spec, flags))
            }
            Route::ManyKeys => {
                let mut all = Owner::Nobody;
                self.each_key(db, spec, &list(command), |engine, _, pos, _| {
                    all = all.and(engine.shard.owner_at(pos));
                });
                match all {
                    Owner::Nobody => Some(self.shard.id),
                    Owner::One(owner) => Some(owner),
                    Owner::Several => None,
                }
            }
            _ => Some(self.shard.id),
        }
    }
}

/// What a part claims that needs nothing: a key that nobody has.
const NOTHING: Claim = Claim::Key {
    db: 0,
    position: u64::MAX,
    mode: Mode::Read,
};
