//! The commands of a log of Redis's, dealt to the owners of their keys, where they run in the order
//! in which they stand in the log.
//!
//! Each owner has a queue, so the order of all commands on a key is that of the log. A command whose
//! keys have several owners is taken apart where each part can be run for itself (DEL, MSET);
//! otherwise the keys of the other owners are lent to one of them, through this thread, and all of
//! it waits meanwhile.
//!
//! Nothing expires while a log is loaded, as on Redis: what has, the log itself removes later on. A
//! block (MULTI) is held back until its EXEC is there, so that a log which ends inside of it leaves
//! nothing of it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use super::commands::{self, Args, Next};
use crate::command::generic::keys::other_database;
use crate::command::keys::{KeyAt, keys_of};
use crate::command::registry::{Registry, Route, RowId};
use crate::command::sort;
use crate::command::spec::{Effect, Flags, KeyFlags, Spec};
use crate::keyspace::{Hasher, SLOTS};
use crate::mesh::ShardId;
use crate::resp::number::parse_i64;
use crate::server::load::{Part, Senders};
use crate::server::log;
use crate::shard::effects::replay::row_of;
use crate::shard::lending::Wanted;

/// Bytes of commands that go to a shard together.
const BATCH_BYTES: usize = 64 * 1024;

/// Commands on their way to a shard.
#[derive(Default)]
struct Queue {
    db: u16,
    bytes: Vec<u8>,
}

/// Deals the commands of a log.
pub struct Dealer<'a> {
    registry: Arc<Registry>,
    hasher: Hasher,
    slot_map: &'a [ShardId; SLOTS],
    databases: u16,
    now_ms: u64,
    senders: &'a Senders,
    queues: Vec<Queue>,
    /// The database that is selected.
    db: u16,
    /// The commands of a block that is not whole.
    block: Option<Vec<u8>>,
    functions: &'a mut Vec<Vec<u8>>,
    keys: Vec<KeyAt>,
    owners: Vec<ShardId>,
}

impl<'a> Dealer<'a> {
    /// Nothing was dealt; `functions`: the libraries that there are, which commands may change.
    pub fn new(
        registry: Arc<Registry>,
        hasher: Hasher,
        slot_map: &'a [ShardId; SLOTS],
        databases: u16,
        now_ms: u64,
        senders: &'a Senders,
        functions: &'a mut Vec<Vec<u8>>,
    ) -> Self {
        Self {
            registry,
            hasher,
            slot_map,
            databases,
            now_ms,
            queues: senders.0.iter().map(|_| Queue::default()).collect(),
            senders,
            db: 0,
            block: None,
            functions,
            keys: Vec::new(),
            owners: Vec::new(),
        }
    }

    /// Whether a block has begun that has not ended.
    pub fn is_in_block(&self) -> bool {
        self.block.is_some()
    }

    /// The next command of the log; `raw`: its bytes. What is wrong with it stops the start.
    pub fn command(&mut self, args: &Args<'_>, raw: &[u8]) -> Result<(), String> {
        let name = args[0];
        if name.eq_ignore_ascii_case(b"multi") {
            self.block.get_or_insert_default();
            return Ok(());
        }
        if name.eq_ignore_ascii_case(b"exec") {
            let block = self.block.take().unwrap_or_default();
            return self.run_block(&block);
        }
        if let Some(block) = &mut self.block {
            block.extend_from_slice(raw);
            return Ok(());
        }
        self.deal(args, raw)
    }

    fn run_block(&mut self, block: &[u8]) -> Result<(), String> {
        let mut at = 0;
        while let Next::Command(args, end) = commands::next(&block[at..]) {
            self.deal(&args, &block[at..at + end])?;
            at += end;
        }
        assert!(at == block.len(), "whole commands were put there");
        Ok(())
    }

    fn deal(&mut self, args: &Args<'_>, raw: &[u8]) -> Result<(), String> {
        let name = args[0];
        if name.eq_ignore_ascii_case(b"select") {
            return self.select(args);
        }
        if name.eq_ignore_ascii_case(b"function") {
            return self.function(args);
        }
        let registry = self.registry.clone();
        let id = row_of(&registry, args);
        let row = registry.row(id.unwrap_or(RowId(0)));
        if id.is_none() {
            let name = String::from_utf8_lossy(name);
            return Err(format!(
                "Unknown command '{name}' reading the append only file"
            ));
        }
        let spec = row.spec;
        if spec.effect == Effect::None {
            return Ok(()); // it changes no key: who reads here wants nothing to know
        }
        if !spec.arity_fits(args.len()) || spec.flags.has(Flags::BLOCKING) {
            let name = String::from_utf8_lossy(name);
            return Err(format!(
                "'{name}' as it stands in the append only file cannot be run"
            ));
        }
        match row.route {
            Route::OneKey(at) => {
                let owner = self.owner(args[usize::from(at)]);
                self.enqueue(owner, args, raw, spec);
                Ok(())
            }
            Route::ManyKeys => self.on_keys(spec, args, raw),
            _ => self.on_databases(args),
        }
    }

    fn owner(&self, key: &[u8]) -> ShardId {
        self.slot_map[self.hasher.pos(key).slot().index()]
    }

    fn select(&mut self, args: &Args<'_>) -> Result<(), String> {
        let number = args.get(1).and_then(|text| parse_i64(text));
        let number = number.and_then(|number| u16::try_from(number).ok());
        self.db = number.filter(|db| *db < self.databases).ok_or_else(|| {
            let text = args.get(1).copied().unwrap_or_default().escape_ascii();
            format!(
                "it selects database {text}, and there are {} (see `databases`)",
                self.databases
            )
        })?;
        Ok(())
    }

    /// A command all of whose keys have one owner.
    fn enqueue(&mut self, owner: ShardId, args: &Args<'_>, raw: &[u8], spec: &Spec) {
        if self.queues[owner.index()].db != self.db {
            self.send(owner);
            self.queues[owner.index()].db = self.db;
        }
        let now_ms = self.now_ms;
        let queue = &mut self.queues[owner.index()];
        match spec.name {
            "restore" => put_restore(args, now_ms, &mut queue.bytes),
            _ => queue.bytes.extend_from_slice(raw),
        }
        if queue.bytes.len() >= BATCH_BYTES {
            self.send(owner);
        }
    }

    fn on_keys(&mut self, spec: &'static Spec, args: &Args<'_>, raw: &[u8]) -> Result<(), String> {
        let mut keys = std::mem::take(&mut self.keys);
        keys.clear();
        keys_of(spec, args, &mut keys);
        let mut owners = std::mem::take(&mut self.owners);
        owners.clear();
        owners.extend(keys.iter().map(|at| self.owner(args[at.index])));
        let one = owners.first().copied().unwrap_or(ShardId(0));
        let looks_up = sort::looks_up(spec, args) && self.queues.len() > 1;
        let result = if owners.iter().all(|owner| *owner == one) && !looks_up {
            self.enqueue(one, args, raw, spec);
            Ok(())
        } else if let Some(step) = parts_of(spec, args) {
            for group in args[1..].chunks_exact(step) {
                let mut part = Vec::new();
                let words = std::iter::once(args[0]).chain(group.iter().copied());
                commands::put(words.collect::<Args<'_>>().into_iter(), &mut part);
                self.enqueue(self.owner(group[0]), args, &part, spec);
            }
            Ok(())
        } else {
            self.lend_and_run(spec, args, &keys, looks_up)
        };
        (self.keys, self.owners) = (keys, owners);
        result
    }

    /// Has a command run by the owner of its first key, to which those of the others are lent.
    fn lend_and_run(
        &mut self,
        spec: &Spec,
        args: &Args<'_>,
        keys: &[KeyAt],
        looks_up: bool,
    ) -> Result<(), String> {
        let runs = self.owner(args[keys[0].index]);
        let other = other_database(spec.name, args, usize::from(self.databases));
        let hasher = self.hasher;
        let wanted = |db: u16, key: &[u8]| Wanted {
            db,
            pos: hasher.pos(key),
            key: key.into(),
        };
        let mut all: Vec<Wanted> = Vec::new();
        for at in keys {
            let db = if at.flags.has(KeyFlags::OW) {
                other
            } else {
                None
            };
            all.push(wanted(db.unwrap_or(self.db), args[at.index]));
        }
        if looks_up {
            let (db, args) = (self.db, owned(args));
            let derived = self.ask(runs, |to| Part::Derive { db, args, to })?;
            all.extend(derived.iter().map(|key| wanted(db, key)));
        }
        let owner_of = |wanted: &Wanted| self.slot_map[wanted.pos.slot().index()];
        let (mut keys, mut entries) = (Vec::new(), Vec::new());
        for shard in (0..self.queues.len() as u16).map(ShardId) {
            let of_shard = all.iter().filter(|wanted| owner_of(wanted) == shard);
            let of_shard: Vec<Wanted> = of_shard.cloned().collect();
            if shard != runs && !of_shard.is_empty() {
                let lent = of_shard.clone();
                entries.extend(self.ask(shard, |to| Part::Lend { keys: lent, to })?);
                keys.extend(of_shard);
            }
        }
        let (db, args, lent) = (self.db, owned(args), keys.clone());
        let back = self.ask(runs, |to| Part::Run {
            db,
            args,
            keys: lent,
            entries,
            to,
        })?;
        for (wanted, entry) in keys.into_iter().zip(back) {
            let part = Part::Back(wanted.clone(), entry);
            self.senders
                .send(self.slot_map[wanted.pos.slot().index()], part);
        }
        Ok(())
    }

    /// Asks a shard for something, behind everything that it has got before.
    fn ask<T>(
        &mut self,
        shard: ShardId,
        question: impl FnOnce(std::sync::mpsc::Sender<T>) -> Part,
    ) -> Result<T, String> {
        self.send(shard);
        let (to, answer): (_, Receiver<T>) = channel();
        self.senders.send(shard, question(to));
        answer
            .recv()
            .map_err(|_| "The server stops before its dataset is loaded".into())
    }

    fn on_databases(&mut self, args: &Args<'_>) -> Result<(), String> {
        for shard in (0..self.queues.len() as u16).map(ShardId) {
            self.send(shard);
            let (db, args) = (self.db, owned(args));
            self.senders.send(shard, Part::OnDatabases { db, args });
        }
        Ok(())
    }

    /// Libraries of functions are kept, as those of a snapshot are.
    fn function(&mut self, args: &Args<'_>) -> Result<(), String> {
        let is = |at: usize, word: &[u8]| {
            args.get(at)
                .is_some_and(|arg| arg.eq_ignore_ascii_case(word))
        };
        if is(1, b"load") && args.len() > 2 {
            let code = args[args.len() - 1];
            self.forget_function(library_name(code));
            self.functions.push(code.to_vec());
        } else if is(1, b"delete") && args.len() == 3 {
            self.forget_function(args[2]);
        } else if is(1, b"flush") {
            self.functions.clear();
        } else {
            return Err("it has FUNCTION RESTORE, which is not known yet".into());
        }
        Ok(())
    }

    fn forget_function(&mut self, name: &[u8]) {
        self.functions
            .retain(|code| !library_name(code).eq_ignore_ascii_case(name));
    }

    fn send(&mut self, shard: ShardId) {
        let queue = &mut self.queues[shard.index()];
        if !queue.bytes.is_empty() {
            let bytes = std::mem::take(&mut queue.bytes);
            let db = queue.db;
            self.senders.send(shard, Part::Commands { db, bytes });
        }
    }

    /// The log has ended: what is under way arrives.
    pub fn finish(mut self) {
        if self.block.is_some() {
            log::warning(format_args!(
                "Revert incomplete MULTI/EXEC transaction from AOF file"
            ));
        }
        (0..self.queues.len() as u16).for_each(|shard| self.send(ShardId(shard)));
    }
}

fn owned(args: &Args<'_>) -> Vec<Box<[u8]>> {
    args.iter().map(|arg| Box::from(*arg)).collect()
}

/// Arguments of each part of a command that can be taken apart by its keys.
fn parts_of(spec: &Spec, args: &Args<'_>) -> Option<usize> {
    match spec.name {
        "del" | "unlink" => Some(1),
        "mset" if args.len() % 2 == 1 => Some(2),
        _ => None,
    }
}

/// Appends a RESTORE. Redis before 5.0 wrote how long the key has to live, and counted that from the
/// moment at which the log was loaded.
fn put_restore(args: &Args<'_>, now_ms: u64, out: &mut Vec<u8>) {
    let ttl = args.get(2).and_then(|text| parse_i64(text));
    let options = args.get(4..).unwrap_or_default();
    let absolute = options
        .iter()
        .any(|option| option.eq_ignore_ascii_case(b"absttl"));
    let at = ttl
        .filter(|ttl| *ttl > 0 && !absolute)
        .and_then(|ttl| ttl.checked_add_unsigned(now_ms))
        .map(|at| at.to_string());
    let mut args: Args<'_> = args.iter().copied().collect();
    if let Some(at) = &at {
        args[2] = at.as_bytes();
        args.push(b"ABSTTL");
    }
    commands::put(args.into_iter(), out);
}

/// The name in the first line of a library: `#!lua name=mylib`.
fn library_name(code: &[u8]) -> &[u8] {
    let line = code.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut words = line.split(|byte| byte.is_ascii_whitespace());
    words
        .find_map(|word| word.strip_prefix(b"name="))
        .unwrap_or_default()
}
