//! Commands that every shard takes part in: each shard runs its part, and the client's home puts
//! the parts together.

use smallvec::SmallVec;

use super::batch::{Batch, Command, RemoteCall};
use super::dispatch::{Flow, count, count_call};
use super::engine::Engine;
use super::session::{ConnId, Stall, flag};
use super::steps::Steps;
use super::transaction::{Job, Needs, connection_of, whole, whole_db};
use crate::command::context::{Caller, HomeCtx, MergeCtx, PartCtx};
use crate::command::error::{Error, Outcome};
use crate::command::registry::RowId;
use crate::command::server::save::LATER;
use crate::command::server::shutdown::ENDS;
use crate::command::spec::{Flags, Run, Spec};
use crate::mesh::ShardId;
use crate::resp::Version;
use crate::resp::encode::{Output, Reply};
use crate::shard::lending::{OwnedCommand, Questions, caller_of};
use crate::txn::Claim;

/// A command whose parts are being awaited.
struct Gather {
    conn: ConnId,
    seq: u32,
    row: RowId,
    caller: Caller,
    version: Version,
    args: Vec<Vec<u8>>,
    parts: Vec<Output>,
    missing: usize,
}

/// Bytes in front of what a part writes: whether it succeeded, and the ticks that it took.
const PART_HEAD: usize = 1 + size_of::<u64>();

/// The commands whose parts are being awaited.
#[derive(Default)]
pub(super) struct Gathers {
    slots: Vec<Option<Gather>>,
}

impl Gathers {
    /// Whether none is.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    fn add(&mut self, gather: Gather) -> u32 {
        let at = self.slots.iter().position(Option::is_none);
        let at = at.unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[at] = Some(gather);
        at as u32
    }
}

impl Engine {
    /// Starts a command that every shard takes part in. One that reads or writes the keyspace is a
    /// transaction over whole databases when there are several shards; another (about the process,
    /// say) asks each shard at its own time.
    pub(super) fn run_gather(
        &mut self,
        conn: ConnId,
        batch: &mut Batch,
        command: &Command,
        spec: &'static Spec,
    ) -> Flow {
        let (row, shards) = (command.row, self.shard.node.shards);
        let db = self.session(conn).db;
        let claims = if shards > 1 {
            whole(spec, batch.args_of(command), db)
        } else {
            SmallVec::new()
        };
        let write = spec.flags.has(Flags::WRITE);
        if !claims.is_empty()
            && let Some(stall) = self.not_yet(conn, write)
        {
            return Flow::Wait(stall);
        }
        // With one shard it is no transaction, which would wait behind its connection's parked commands.
        if shards == 1 && !self.shard.txns.is_idle() {
            let connection = connection_of(&self.remote_call(conn, 0));
            if self.shard.txns.holds_back(connection) {
                return Flow::Wait(Stall::Answers);
            }
        }
        let own = self.shard.id.index();
        let alone = shards == 1 || {
            let flags = self.session(conn).caller_flags();
            self.is_of_this_core(row, flags)
        };
        for peer in (0..shards).filter(|peer| *peer != own && !alone) {
            if let Some(stall) = self.no_room(conn, ShardId(peer as u16)) {
                return Flow::Wait(stall);
            }
        }
        if let Err(error) = self.prepare(conn, batch.args_of(command), row, false) {
            if error == LATER {
                self.saves_waiting.push(conn);
                return Flow::Wait(Stall::Paused);
            }
            if error == ENDS {
                return Flow::Done;
            }
            self.reject(conn, row, &error);
            return Flow::Done;
        }
        if !claims.is_empty() {
            let owned = super::transaction::own(batch, command);
            self.begin_gather(conn, owned, write, &claims, alone);
            return Flow::Done;
        }
        let args = batch.args_of(command);
        let call = self.remote_call(conn, 0);
        let (caller, version) = (caller_of(&call), call.version);
        let mut parts: Vec<Output> = (0..shards).map(|_| Output::default()).collect();
        if alone {
            let parts = &mut parts[..1];
            self.run_part(row, caller, version, args, &mut parts[0]);
            let mut output = Output::default();
            // Where the logs end, its client hears of it when they have.
            let keyless = !spec.flags.any(Flags::READONLY | Flags::WRITE);
            let tells_nothing = keyless && whole(spec, args, db).is_empty();
            self.merge(conn, row, caller, args, parts, version, &mut output);
            let session = self.session(conn);
            let unsent = session.unsent_bytes();
            session.target().append(&mut output);
            if tells_nothing {
                session.sure_since(unsent);
            }
            self.settle_aftermath();
            return Flow::Done;
        }
        let seq = self.session(conn).hold(false);
        self.run_part(row, caller, version, args, &mut parts[own]);
        let gather = Gather {
            conn,
            seq,
            row,
            caller,
            version,
            args: args.iter().map(|a| a.to_vec()).collect(),
            parts,
            missing: shards - 1,
        };
        let at = self.gathers.add(gather);
        self.put_parts(at, row, caller, version, args);
        Flow::Done
    }

    /// Starts a SORT that looks up keys of any shard: it takes a step of its own, while it holds the
    /// whole database.
    pub(super) fn run_sort(&mut self, conn: ConnId, batch: &mut Batch, command: &Command) -> Flow {
        if let Some(stall) = self.not_yet(conn, true) {
            return Flow::Wait(stall);
        }
        for peer in 0..self.shard.node.shards {
            let peer = ShardId(peer as u16);
            if peer != self.shard.id
                && let Some(stall) = self.no_room(conn, peer)
            {
                return Flow::Wait(stall);
            }
        }
        let db = self.session(conn).db;
        let owned = super::transaction::own(batch, command);
        self.begin_gather(conn, owned, true, &[whole_db(db)], false);
        Flow::Done
    }

    /// Begins a gather as a transaction: one that reads is answered with the grants, one that writes
    /// runs while all is held. One that is of this shard `alone` claims nothing elsewhere.
    fn begin_gather(
        &mut self,
        conn: ConnId,
        command: OwnedCommand,
        write: bool,
        claims: &[Claim],
        alone: bool,
    ) {
        let mut needs = Needs::default();
        if alone {
            let (_, part) = needs.part(self.shard.id);
            part.claims.extend_from_slice(claims);
        } else {
            self.claim_everywhere(&mut needs, claims);
        }
        if write {
            // Its steps take the database from the connection, which must not move on meanwhile.
            self.session(conn).flags |= flag::BARRIER;
            let steps = Box::new(Steps::single(command));
            return self.begin(conn, needs, Job::Steps(steps), true);
        }
        let call = self.remote_call(conn, 0);
        for (_, part) in &mut needs.parts {
            let commands = vec![command.clone()];
            part.ask.questions = Some(Box::new(Questions { call, commands }));
        }
        self.begin(conn, needs, Job::Gathered(command), false);
    }

    /// Awaits the registration of watches at so many owners.
    pub(super) fn await_watches(&mut self, call: &RemoteCall, row: RowId, owners: usize) -> u32 {
        let shards = self.shard.node.shards;
        self.gathers.add(Gather {
            conn: call.conn,
            seq: call.seq,
            row,
            caller: caller_of(call),
            version: call.version,
            args: Vec::new(),
            parts: (0..shards).map(|_| Output::default()).collect(),
            missing: owners,
        })
    }

    fn prepare(&mut self, conn: ConnId, args: &[&[u8]], row: RowId, in_exec: bool) -> Outcome {
        let spec = self.shard.registry.row(row).spec;
        let Run::Gather { prepare, .. } = spec.run else {
            unreachable!("routed by its kind")
        };
        prepare.map_or(Ok(()), |prepare| {
            prepare(&mut HomeCtx {
                engine: self,
                conn,
                args,
                row,
                in_exec,
            })
        })
    }

    /// What `prepare` has against a command of a block; counted.
    pub(super) fn prepare_owned(
        &mut self,
        call: &RemoteCall,
        command: &OwnedCommand,
    ) -> Option<Error> {
        let args: Vec<&[u8]> = command.args().collect();
        let row = command.command.row;
        let error = self.prepare(call.conn, &args, row, true).err()?;
        self.shard.stats.count_error(error.code());
        let took = self.shard.lap();
        count(&mut self.shard, row, took, true);
        Some(error)
    }

    /// Runs this shard's part of a command that has its own copy.
    pub(super) fn run_part_of(
        &mut self,
        call: &RemoteCall,
        command: &mut OwnedCommand,
        out: &mut Output,
    ) {
        let args: Vec<&[u8]> = command.args().collect();
        let row = command.command.row;
        self.run_part(row, caller_of(call), call.version, &args, out);
    }

    /// Puts the parts of such a command together.
    pub(super) fn merge_owned(
        &mut self,
        call: &RemoteCall,
        command: &OwnedCommand,
        parts: &mut [Output],
        out: &mut Output,
    ) {
        let args: Vec<&[u8]> = command.args().collect();
        let row = command.command.row;
        self.merge(
            call.conn,
            row,
            caller_of(call),
            &args,
            parts,
            call.version,
            out,
        );
    }

    /// Runs a command of a block that every shard takes part in, where there is only this one.
    pub(super) fn gather_alone(
        &mut self,
        call: &RemoteCall,
        command: &mut OwnedCommand,
        out: &mut Output,
    ) {
        if let Some(error) = self.prepare_owned(call, command) {
            return Reply::new(out, call.version).error(error.text());
        }
        let mut parts = [Output::default()];
        self.run_part_of(call, command, &mut parts[0]);
        let mut reply = Output::default();
        self.merge_owned(call, command, &mut parts, &mut reply);
        out.append(&mut reply);
    }

    /// Runs this shard's part. In front of what it writes stand one byte, whether it succeeded,
    /// and the ticks that it took; `merge` takes them off.
    pub(super) fn run_part(
        &mut self,
        row: RowId,
        caller: Caller,
        version: Version,
        args: &[&[u8]],
        out: &mut Output,
    ) {
        let spec = self.shard.registry.row(row).spec;
        let Run::Gather { part, .. } = spec.run else {
            unreachable!("routed by its kind")
        };
        self.shard.actor = caller.client;
        out.buf.push(1);
        out.buf.extend_from_slice(&[0; size_of::<u64>()]);
        let began = (self.shard.ticks.read)();
        // A change of whole databases is not told key by key, so watches are looked after here.
        let watches = spec.flags.has(Flags::WRITE) && self.shard.txns.has_watches();
        let claims = whole(spec, args, caller.db);
        let databases = self.shard.keyspace.databases();
        if let [Claim::Db { db: a, .. }, Claim::Db { db: b, .. }] = claims[..]
            && watches
            && usize::from(a.max(b)) < databases
        {
            self.shard.expire_before_swap(a, b);
        }
        let before = watches.then(|| self.shard.watched_and_there());
        let outcome = part(&mut PartCtx {
            engine: self,
            args,
            caller,
            version,
            out,
        });
        if let Some(before) = before {
            self.shard.touch_watched(before, |in_db| {
                claims.iter().any(|claim| match *claim {
                    Claim::Db { db, .. } | Claim::Key { db, .. } => db == in_db,
                    Claim::All { .. } => true,
                })
            });
        }
        self.shard.effects.close();
        if let Err(error) = outcome {
            out.clear();
            out.buf.extend_from_slice(&[0; PART_HEAD]);
            Reply::new(out, version).error(error.text());
        }
        let took = (self.shard.ticks.read)().saturating_sub(began);
        out.buf[1..PART_HEAD].copy_from_slice(&took.to_le_bytes());
        self.shard.watch.note_call(row, took);
    }

    /// A shard's part has come in.
    pub(super) fn gathered(&mut self, at: u32, from: ShardId, part: Output) {
        let slot = &mut self.gathers.slots[at as usize];
        let gather = slot.as_mut().expect("it is being awaited");
        gather.parts[from.index()] = part;
        gather.missing -= 1;
        if gather.missing > 0 {
            return;
        }
        let mut gather = slot.take().expect("just seen");
        if let Run::Control(_) = self.shard.registry.row(gather.row).spec.run {
            let version = gather.version;
            self.session(gather.conn)
                .complete(gather.seq, |out| Reply::new(out, version).ok());
            return self.answered(gather.conn);
        }
        let args: Vec<&[u8]> = gather.args.iter().map(Vec::as_slice).collect();
        let mut output = Output::default();
        self.merge(
            gather.conn,
            gather.row,
            gather.caller,
            &args,
            &mut gather.parts,
            gather.version,
            &mut output,
        );
        // What reads or writes keys is a transaction, so this need not wait for the log.
        let session = self.session(gather.conn);
        let unsent = session.unsent_bytes();
        session.complete(gather.seq, |out| out.append(&mut output));
        session.sure_since(unsent);
        self.answered(gather.conn);
    }

    /// Puts the parts together and takes the place of the reply in `out`.
    #[expect(clippy::too_many_arguments, reason = "all of it belongs to the gather")]
    fn merge(
        &mut self,
        conn: ConnId,
        row: RowId,
        caller: Caller,
        args: &[&[u8]],
        parts: &mut [Output],
        version: Version,
        out: &mut Output,
    ) {
        let spec = self.shard.registry.row(row).spec;
        let Run::Gather { merge, .. } = spec.run else {
            unreachable!("routed by its kind")
        };
        let mut longest = 0;
        for part in parts.iter_mut() {
            let head: Vec<u8> = part.buf.drain(..PART_HEAD).collect();
            let took = u64::from_le_bytes(head[1..].try_into().expect("eight bytes"));
            longest = longest.max(took);
            if head[0] == 0 {
                let code = part.buf[1..]
                    .split(|b| *b == b' ')
                    .next()
                    .unwrap_or_default();
                self.shard.stats.count_error(&String::from_utf8_lossy(code));
                count_call(&mut self.shard, row, longest, true, caller, args);
                return out.append(part);
            }
            part.shared.iter_mut().for_each(|(at, _)| *at -= PART_HEAD);
        }
        self.shard.lap();
        let reply = Reply::new(out, version);
        let outcome = merge(&mut MergeCtx {
            engine: self,
            conn,
            args,
            parts,
            reply,
        });
        // Parts run side by side: the longest of them is what the command took.
        let took = longest + self.shard.lap();
        let failed = outcome.is_err();
        count_call(&mut self.shard, row, took, failed, caller, args);
        if let Err(error) = outcome {
            self.shard.stats.count_error(error.code());
            out.clear();
            Reply::new(out, version).error(error.text());
        }
    }
}
