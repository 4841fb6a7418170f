//! MIGRATE: keys go to another server.
//!
//! It is a transaction that holds its keys for as long as the target takes to answer. Their owners
//! dump them when they are held, under the transaction's first round; a thread sends what they have
//! dumped ([`crate::server::migrate`]); and with the locks go the commands that delete what the target
//! has taken. So between the dump and the deletion nobody changes a key, and everything else goes
//! on: on Redis all clients wait meanwhile. Who wants one of the keys, or all of them (FLUSHALL, a
//! snapshot), waits for the target, or for its timeout.
//!
//! In a block it is a step ([`super::steps`]): the block goes on when the target has answered, and what
//! the block claims is held for so long.
//!
//! In the logs the deletions of all owners are one transaction: not for their own sake, as the target
//! has the keys whatever happens here, but so that with `appendfsync always` the client hears of them
//! when all of them are durable. A key may expire before it is deleted: its owner's part is empty then.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::batch::{Batch, Command, RemoteCall};
use super::dispatch::Flow;
use super::engine::Engine;
use super::session::ConnId;
use super::transaction::{Job, Needs};
use crate::command::generic::migrate::Request;
use crate::command::registry::RowId;
use crate::command::spec::{Flags, Spec};
use crate::keyspace::Pos;
use crate::mesh::ShardId;
use crate::resp::Version;
use crate::resp::encode::{Output, Reply};
use crate::resp::number::parse_i64;
use crate::server::log;
use crate::server::migrate::{Outcome, Parcel, send};
use crate::shard::effects::replay::row_of;
use crate::shard::lending::{Carried, Head, OwnedCommand, Questions};
use crate::txn::{Claim, Loans, Mode, TxnId};
use rustc_hash::FxHashMap;

/// A MIGRATE whose keys are being claimed.
pub(super) struct KeyMigration {
    request: Request,
    row: RowId,
    /// The keys and their owners, in their order.
    keys: Vec<(ShardId, Box<[u8]>)>,
}

/// One whose keys are held until the target has answered.
struct Held {
    call: RemoteCall,
    row: RowId,
    copy: bool,
    /// Parcels' keys and their owners.
    keys: Vec<(ShardId, Box<[u8]>)>,
    loans: Loans<Carried>,
}

/// Who waits for a target.
enum Asks {
    Command(Box<Held>),
    /// A step of a block.
    Step,
}

/// Conversations of a shard with targets at a time: each has a thread.
const CONVERSATIONS_MAX: usize = 16;

/// Those of a shard.
pub(super) struct KeyMigrations {
    held: FxHashMap<TxnId, Asks>,
    /// Threads that there are.
    conversations: usize,
    /// What waits for one of them to end; each is in `held`.
    waiting: VecDeque<(TxnId, Request, Vec<Parcel>)>,
    results: Receiver<(TxnId, Outcome)>,
    tell: Sender<(TxnId, Outcome)>,
}

impl Default for KeyMigrations {
    fn default() -> Self {
        let (tell, results) = channel();
        Self {
            held: FxHashMap::default(),
            conversations: 0,
            waiting: VecDeque::new(),
            results,
            tell,
        }
    }
}

impl KeyMigrations {
    /// A step of a block has dumped its keys.
    pub(super) fn ask_for_step(&mut self, txn: TxnId, request: Request, parcels: Vec<Parcel>) {
        self.held.insert(txn, Asks::Step);
        self.waiting.push_back((txn, request, parcels));
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

/// Whether a command is MIGRATE.
pub(super) fn is_migrate(spec: &Spec) -> bool {
    spec.flags.has(Flags::MOVABLEKEYS) && spec.name == "migrate"
}

/// A command by the name that it has everywhere.
fn head(engine: &Engine, name: &[u8], key: &[u8]) -> Head {
    let args = [name, key, key, key];
    let row = row_of(&engine.shard.registry, &args).expect("it is in the table");
    let pos = engine.shard.pos(key);
    Head { row, pos }
}

impl Engine {
    /// Begins one: claims its keys, and has their owners dump them.
    pub(super) fn run_migrate(
        &mut self,
        conn: ConnId,
        batch: &mut Batch,
        command: &Command,
        spec: &'static Spec,
    ) -> Flow {
        assert!(
            spec.flags.has(Flags::WRITE),
            "the connection's writes wait for it"
        );
        let args = batch.args_of(command);
        let request = match Request::parse(args) {
            Ok(request) => request,
            Err(error) => {
                self.reject(conn, command.row, &error);
                return Flow::Done;
            }
        };
        if let Some(stall) = self.not_yet(conn, true) {
            return Flow::Wait(stall);
        }
        // Whatever the client speaks, what the owners answer is for this shard.
        let mut call = self.remote_call(conn, 0);
        call.version = Version::Resp2;
        let (mut needs, mut keys) = (Needs::default(), Vec::new());
        for key in args[request.keys_at..].iter().take(request.keys) {
            let pos: Pos = self.shard.pos(key);
            let owner = self.shard.owner_at(pos);
            let (_, part) = needs.part(owner);
            part.claims.push(Claim::Key {
                db: call.db,
                position: pos.to_bits(),
                mode: Mode::Write,
            });
            let questions = part.ask.questions.get_or_insert_with(|| {
                let commands = Vec::new();
                Box::new(Questions { call, commands })
            });
            for name in [&b"DUMP"[..], b"PEXPIRETIME"] {
                let words = [name, key].into_iter();
                let question = OwnedCommand::new(head(self, name, key), words, Vec::new());
                questions.commands.push(question);
            }
            keys.push((owner, Box::from(*key)));
        }
        if let Some(stall) = self.no_room_for(conn, &needs) {
            return Flow::Wait(stall);
        }
        if keys.is_empty() {
            let session = self.session(conn);
            let version = session.version;
            Reply::new(session.target(), version).simple("NOKEY");
            return Flow::Done;
        }
        let migration = KeyMigration {
            request,
            row: command.row,
            keys,
        };
        self.begin(conn, needs, Job::Migrate(Box::new(migration)), true);
        Flow::Done
    }

    /// Everything is held and dumped: a thread sends it.
    pub(super) fn migrate_held(
        &mut self,
        txn: TxnId,
        call: RemoteCall,
        migration: KeyMigration,
        mut loans: Loans<Carried>,
    ) {
        let KeyMigration { request, row, keys } = migration;
        let mut answers: FxHashMap<ShardId, std::vec::IntoIter<Output>> = loans
            .iter_mut()
            .map(|(shard, loan)| (*shard, std::mem::take(&mut loan.answers).into_iter()))
            .collect();
        let (mut found, mut parcels) = (Vec::new(), Vec::new());
        for (owner, key) in keys {
            let answers = answers.get_mut(&owner).expect("every owner has answered");
            let (dump, expiry) = (answers.next(), answers.next());
            let (dump, expiry) = dump.zip(expiry).expect("both were asked for");
            if let Some(parcel) = parcel(&key, &dump, &expiry, self.shard.now_ms) {
                parcels.push(parcel);
                found.push((owner, key));
            }
        }
        if parcels.is_empty() {
            let mut output = Output::default();
            Reply::new(&mut output, call.version).simple("NOKEY");
            self.count_migrate(row, false);
            self.shard.txns.executed(txn, loans);
            return self.answer(&call, output);
        }
        let held = Held {
            call,
            row,
            copy: request.copy,
            keys: found,
            loans,
        };
        let asks = Asks::Command(Box::new(held));
        self.key_migrations.held.insert(txn, asks);
        self.key_migrations
            .waiting
            .push_back((txn, request, parcels));
        self.start_conversations();
    }

    /// Starts what waits, as far as there may be more.
    pub(super) fn start_conversations(&mut self) {
        while self.key_migrations.conversations < CONVERSATIONS_MAX
            && let Some((txn, request, parcels)) = self.key_migrations.waiting.pop_front()
        {
            let (tell, node) = (self.key_migrations.tell.clone(), self.shard.node.clone());
            let (shard, count) = (self.shard.id, parcels.len());
            let thread = std::thread::Builder::new().name("migrate".into());
            let begun = thread.spawn(move || {
                let outcome = send(&request, &parcels);
                // Where the shard has ended nobody wants to know.
                let _ = tell.send((txn, outcome));
                node.wake(shard);
            });
            match begun {
                Ok(_) => self.key_migrations.conversations += 1,
                Err(error) => {
                    log::warning(format_args!("Cannot start a thread for MIGRATE: {error}"));
                    self.migrated(txn, Outcome::not_connected(count));
                }
            }
        }
    }

    /// Ends those whose target has answered.
    pub(super) fn end_key_migrations(&mut self) {
        if self.key_migrations.held.is_empty() {
            return;
        }
        while let Ok((txn, outcome)) = self.key_migrations.results.try_recv() {
            self.key_migrations.conversations -= 1;
            self.migrated(txn, outcome);
        }
        self.start_conversations();
        self.work_off_transactions();
    }

    /// The target has what it has: that is deleted here, and the locks go.
    fn migrated(&mut self, txn: TxnId, outcome: Outcome) {
        let asks = self.key_migrations.held.remove(&txn);
        let held = match asks.expect("it is answered once") {
            Asks::Command(held) => held,
            Asks::Step => return self.migrate_stepped(txn, &outcome),
        };
        let Held {
            call,
            row,
            copy,
            keys,
            mut loans,
        } = *held;
        assert!(
            keys.len() == outcome.taken.len(),
            "each parcel has its answer"
        );
        if !copy && outcome.taken.contains(&true) {
            self.shard.all_take_part(txn, &mut loans);
        }
        let taken = keys.into_iter().zip(&outcome.taken);
        for ((owner, key), _) in taken.filter(|(_, taken)| **taken && !copy) {
            let delete = OwnedCommand::new(
                head(self, b"DEL", &key),
                [&b"DEL"[..], &key].into_iter(),
                Vec::new(),
            );
            let loan = loans.iter_mut().find(|(shard, _)| *shard == owner);
            let (_, loan) = loan.expect("every owner takes part");
            let apply = loan.apply.get_or_insert_with(|| {
                let commands = Vec::new();
                Box::new(Questions { call, commands })
            });
            apply.commands.push(delete);
        }
        let output = self.outcome_of(row, call.version, &outcome);
        self.shard.txns.executed(txn, loans);
        self.answer(&call, output);
    }

    /// The reply that tells what has come of one, which is counted.
    pub(super) fn outcome_of(&mut self, row: RowId, version: Version, outcome: &Outcome) -> Output {
        let mut output = Output::default();
        let mut reply = Reply::new(&mut output, version);
        match &outcome.error {
            Some(error) => {
                reply.error(error.as_bytes());
                let ioerr = error.starts_with("IOERR");
                let code = if ioerr { "IOERR" } else { "ERR" };
                self.shard.stats.count_error(code);
            }
            None => reply.ok(),
        }
        self.count_migrate(row, outcome.error.is_some());
        output
    }

    /// What a command on one key answers here, which is part of a MIGRATE.
    pub(super) fn ask_own(&mut self, call: &RemoteCall, name: &[u8], key: &[u8]) -> Output {
        let words = [name, key].into_iter();
        let mut command = OwnedCommand::new(head(self, name, key), words, Vec::new());
        let mut output = Output::default();
        self.run_owned(call, &mut command, &mut output);
        output
    }

    pub(super) fn count_migrate(&mut self, row: RowId, failed: bool) {
        let took = self.shard.lap();
        super::dispatch::count(&mut self.shard, row, took, failed);
    }
}

/// What goes to the target of a key, from the answers to DUMP and PEXPIRETIME; None without a value.
pub(super) fn parcel(key: &[u8], dump: &Output, expiry: &Output, now_ms: u64) -> Option<Parcel> {
    let payload = bulk(dump)?;
    let due_ms = u64::try_from(number(expiry).unwrap_or(-1)).ok();
    Some(Parcel {
        key: key.into(),
        ttl_ms: due_ms.map_or(0, |at| at.saturating_sub(now_ms).max(1)),
        payload,
    })
}

/// What stands in a bulk reply; None for a null or an error.
fn bulk(output: &Output) -> Option<Vec<u8>> {
    let line = output.buf.iter().position(|byte| *byte == b'\n')?;
    let head = output.buf[..line].strip_prefix(b"$")?.strip_suffix(b"\r")?;
    let length = usize::try_from(parse_i64(head)?).ok()?;
    let from = line + 1;
    match output.shared.first() {
        Some((at, bytes)) if *at == from => Some(bytes.to_vec()),
        _ => Some(output.buf.get(from..from + length)?.to_vec()),
    }
}

fn number(output: &Output) -> Option<i64> {
    parse_i64(output.buf.strip_prefix(b":")?.strip_suffix(b"\r\n")?)
}
