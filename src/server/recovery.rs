//! What the start reads, and with `appendonly yes` how the logs begin.
//!
//! ```text
//! directory locked ─► base loaded ─► logs read, side by side ─► owners run the effects
//!                                         │ where each log ends
//!                                         ▼
//!          shards serve ◄── seats ◄── manifest: old logs end there, new ones begin
//! ```
//!
//! Until the new manifest is durable nothing in the directory has changed, and a start that fails
//! before leaves it as it was.
//!
//! Where there is no log of ours yet, what Redis has left is loaded ([`import`]), be it a log or a
//! snapshot, and the shards write it to a snapshot, the base that our logs build on, before they serve
//! it; Redis's files stay as they are. From then on our logs are the dataset.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use smallvec::SmallVec;

use super::config::{Config, as_path};
use super::import::{self, Source};
use super::load::{Effects, Loader, Loading, Part, Recorder};
use super::log;
use super::logs::Seat;
use super::snapshot;
use crate::command::registry::Registry;
use crate::keyspace::{SLOTS, Slot};
use crate::log::Lsn;
use crate::log::manifest::Generation;
use crate::log::record::{Kind, Record};
use crate::mesh::ShardId;
use crate::shard::effects::replay::{InPayload, Target, target};
use crate::shard::effects::slots::{MovedIn, brings_slots};
use crate::shard::even_slot_map;
use crate::shard::node::Node;
use crate::storage;
use crate::storage::directory::Directory;
use crate::storage::folder::shown;
use crate::storage::loading::{Loaded, load};
use crate::storage::preparing::Preparer;

/// Bytes of effects that go to a shard together.
const BATCH_BYTES: usize = 64 * 1024;

/// A directory whose logs were read, or are to build on what was imported.
pub struct Recovered {
    directory: Directory,
    /// On what the logs build.
    base: Option<u64>,
    /// Where the last logs end.
    cuts: Vec<Lsn>,
    /// Since when they are read, and how many records they have.
    read: Option<(Instant, u64)>,
}

impl Recovered {
    /// Says that what was read is there.
    pub(super) fn tell(&self) {
        if let Some((began, records)) = self.read {
            log::notice(format_args!(
                "DB loaded from append only file: {:.3} seconds, {records} records",
                began.elapsed().as_secs_f64(),
            ));
        }
    }

    /// Ends the old logs, begins new ones, and gives the shards their seats.
    pub fn begin(mut self, node: &Node) -> Result<(), String> {
        let blocks = node.config().segment_blocks();
        let shards = node.shards as u16;
        let moved = node.logs.have_slots_moved();
        let begun = self
            .directory
            .begin_from(self.base, &self.cuts, shards, blocks, moved);
        let generation = begun.map_err(|error| error.to_string())?.clone();
        let preparer = Preparer::start(self.directory.folder().clone())
            .map_err(|error| format!("Cannot start the thread that prepares segments: {error}"))?;
        let seats = (0..shards).map(ShardId).map(|shard| Seat {
            identity: generation.identity(shard),
            segment_blocks: blocks,
            first: generation.logs[shard.index()].from,
            preparer: preparer.clone(),
        });
        let seats = seats.collect();
        node.logs.begin(self.directory, seats);
        Ok(())
    }
}

/// Where logs are kept.
pub fn log_path(config: &Config) -> PathBuf {
    config.dir.0.join(as_path(&config.appenddirname))
}

/// Begins to load what the configuration names; None if there is nothing. Logs that are to be kept
/// begin when it is there, and have begun already where nothing is.
pub fn begin(
    node: &Arc<Node>,
    registry: &Arc<Registry>,
    now_ms: u64,
) -> Result<Option<Loading>, String> {
    let config = node.config();
    if !config.appendonly {
        return look(node, registry, now_ms);
    }
    let directory = Directory::open(&log_path(&config)).map_err(|error| error.to_string())?;
    if !directory.manifest().generations.is_empty() {
        return replay(node, registry, now_ms, directory).map(Some);
    }
    let Some(source) = import::find(&config)? else {
        let (base, cuts) = (None, Vec::new());
        let fresh = Recovered {
            directory,
            base,
            cuts,
            read: None,
        };
        fresh.begin(node)?;
        return Ok(None);
    };
    adopt(node, registry, now_ms, directory, source).map(Some)
}

/// The same, for somebody who only reads: no log begins, and nothing in the directory changes.
pub fn look(
    node: &Arc<Node>,
    registry: &Arc<Registry>,
    now_ms: u64,
) -> Result<Option<Loading>, String> {
    let config = node.config();
    let path = log_path(&config);
    let failed = |error: storage::Error| error.to_string();
    if config.appendonly && Directory::is_in(&path).map_err(failed)? {
        let directory = Directory::open(&path).map_err(failed)?;
        if !directory.manifest().generations.is_empty() {
            return replay(node, registry, now_ms, directory).map(Some);
        }
    }
    let source = import::find(&config)?;
    let loading = source.map(|source| Loading::begin(node, registry, now_ms, source));
    loading.transpose()
}

/// Begins to load what Redis has left, or a snapshot, and to write the base of our logs from it.
fn adopt(
    node: &Arc<Node>,
    registry: &Arc<Registry>,
    now_ms: u64,
    directory: Directory,
    source: Source,
) -> Result<Loading, String> {
    const BASE: u64 = 1;
    node.saver.loading.begin(now_ms / 1000, source.bytes());
    let (thread_node, registry) = (node.clone(), registry.clone());
    Loading::start(node, move |senders| {
        let node = &thread_node;
        Loader::new(node, registry, now_ms, senders.clone()).load(&source)?;
        let failed = |why: &dyn std::fmt::Display| format!("Cannot write the log's base: {why}");
        let target = snapshot::Target::Base(directory.base_path(BASE));
        let begun = node.saver.begin(node, now_ms / 1000, false, target);
        begun.map_err(|error| failed(&error))?;
        let run = node.saver.running();
        let run = run.ok_or_else(|| failed(&"it ended before it began"))?;
        // The shards go on to it when they have everything: this is the last that they are sent.
        for sender in senders {
            let _ = sender.send(Part::Snapshot(run.clone())); // who has ended says why
        }
        if !node.saver.wait(&run) {
            return Err(failed(&"the log says why"));
        }
        Ok(Some(Recovered {
            directory,
            base: Some(BASE),
            cuts: Vec::new(),
            read: None,
        }))
    })
}

/// Begins to read our own logs, with what they build on.
fn replay(
    node: &Arc<Node>,
    registry: &Arc<Registry>,
    now_ms: u64,
    directory: Directory,
) -> Result<Loading, String> {
    let total = bytes_of(&directory)?;
    node.saver.loading.begin(now_ms / 1000, total);
    let (thread_node, registry) = (node.clone(), registry.clone());
    Loading::start(node, move |senders| {
        recover(&thread_node, &registry, directory, now_ms, senders).map(Some)
    })
}

/// How much there is to read.
fn bytes_of(directory: &Directory) -> Result<u64, String> {
    let mut total = 0;
    if let Some(base) = directory.manifest().base {
        let path = shown(&directory.base_path(base));
        let facts = std::fs::metadata(&path);
        total += facts
            .map_err(|error| format!("Cannot open {}: {error}", path.display()))?
            .len();
    }
    for generation in &directory.manifest().generations {
        for (shard, log) in (0..).map(ShardId).zip(&generation.logs) {
            total += match log.to {
                Some(to) => to.since(log.from),
                None => directory
                    .log_bytes(generation, shard)
                    .map_err(|error| error.to_string())?,
            };
        }
    }
    Ok(total)
}

fn recover(
    node: &Node,
    registry: &Arc<Registry>,
    directory: Directory,
    now_ms: u64,
    senders: Vec<SyncSender<Part>>,
) -> Result<Recovered, String> {
    let began = Instant::now();
    if let Some(base) = directory.manifest().base {
        let loader = Loader::new(node, registry.clone(), now_ms, senders.clone());
        loader.load(&Source::Snapshot(shown(&directory.base_path(base))))?;
    }
    let dealer = Dealer::new(node, registry, senders, &directory.manifest().generations);
    let loaded = load(&directory, node.shards, &|generation, shard, record| {
        dealer.deal(generation, shard, record);
    });
    let loaded = loaded.map_err(|error| refused(&error, &directory))?;
    dealer.end()?;
    say_what_was_cut(&node.config(), &shown(directory.folder().path()), &loaded)?;
    Ok(Recovered {
        base: directory.manifest().base,
        directory,
        cuts: loaded.cuts,
        read: Some((began, loaded.records)),
    })
}

/// Why the logs are not begun with, and what can be done about it.
fn refused(error: &storage::Error, directory: &Directory) -> String {
    let storage::Error::Damage { .. } = error else {
        return error.to_string();
    };
    let path = shown(directory.folder().path());
    format!(
        "{error}. Make a backup of {path}, then `ringdove --check-aof --fix {path}` cuts the log there.",
        path = path.display()
    )
}

/// Tells of torn ends; an error where the configuration wants none.
fn say_what_was_cut(config: &Config, path: &Path, loaded: &Loaded) -> Result<(), String> {
    for (shard, torn) in &loaded.torn {
        log::warning(format_args!(
            "The log of shard {} ends at LSN {}, where a write was cut off: {torn} and {} bytes of the \
             log behind it are given up",
            shard.0, torn.lsn, torn.bytes
        ));
    }
    for (shard, bytes) in &loaded.unfinished {
        log::warning(format_args!(
            "The log of shard {} is cut before a transaction that is not whole: {bytes} bytes, of \
             which nobody was told that they are durable, are given up",
            shard.0
        ));
    }
    if config.aof_load_truncated || loaded.torn.is_empty() {
        return Ok(());
    }
    Err(format!(
        "The log in {} has a torn end, and aof-load-truncated is off. Look at it with `ringdove \
         --check-aof {}`, or set 'aof-load-truncated' to yes.",
        path.display(),
        path.display()
    ))
}

/// Gives the effects of records to the owners of their keys.
struct Dealer<'a> {
    node: &'a Node,
    registry: &'a Registry,
    senders: Vec<SyncSender<Part>>,
    /// The owner of each slot now.
    slot_map: Box<[ShardId; SLOTS]>,
    /// What is gathered, for each process that has written logs.
    processes: Vec<Process>,
    /// The process whose logs are being read.
    current: AtomicUsize,
    /// Held to go on to the next.
    turning: Mutex<()>,
    /// The first thing that was wrong.
    wrong: Mutex<Option<String>>,
}

/// The logs of one process.
struct Process {
    epoch: u32,
    /// For each log what is gathered of it. A log is read by one thread at a time: nobody waits.
    logs: Vec<Mutex<Outbox>>,
}

/// What is gathered of one log: a batch for each shard.
struct Outbox {
    /// Whether all keys so far are those of the shard with the same number now.
    straight: bool,
    recorder: Arc<Recorder>,
    batches: Vec<Runs>,
}

/// Runs of effects ([`Effects`]).
#[derive(Default)]
struct Runs {
    bytes: Vec<u8>,
    runs: Vec<(u16, usize)>,
}

impl Process {
    /// `moved_now`: slots are elsewhere now than dealt evenly.
    fn new(generation: &Generation, shards_now: usize, moved_now: bool) -> Self {
        let shards = generation.logs.len();
        let moved = generation.moved || moved_now;
        let outbox = |shard| {
            Mutex::new(Outbox {
                straight: shards == shards_now && !moved,
                recorder: Arc::new(Recorder {
                    shard: ShardId(shard),
                    epoch: generation.epoch,
                    slot_map: even_slot_map(shards),
                    moves: Vec::new(),
                }),
                batches: (0..shards_now).map(|_| Runs::default()).collect(),
            })
        };
        Self {
            epoch: generation.epoch,
            logs: (0..shards as u16).map(outbox).collect(),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panics ends the process.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Dealer<'a> {
    fn new(
        node: &'a Node,
        registry: &'a Registry,
        senders: Vec<SyncSender<Part>>,
        generations: &[Generation],
    ) -> Self {
        let moved = node.logs.have_slots_moved();
        let process = |generation| Process::new(generation, node.shards, moved);
        Self {
            node,
            registry,
            senders,
            slot_map: node.first_slot_map(),
            processes: generations.iter().map(process).collect(),
            current: AtomicUsize::new(0),
            turning: Mutex::new(()),
            wrong: Mutex::default(),
        }
    }

    /// The process that writes under an epoch. What is left of the one before goes to the shards
    /// first: its keys may have had other owners.
    fn process(&self, epoch: u32) -> &Process {
        loop {
            let at = self.current.load(Ordering::Acquire);
            let process = &self.processes[at];
            if process.epoch == epoch {
                return process;
            }
            let _turning = locked(&self.turning);
            if self.current.load(Ordering::Acquire) == at {
                self.send_all(process);
                self.current.store(at + 1, Ordering::Release);
            }
        }
    }

    fn deal(&self, generation: &Generation, shard: ShardId, record: &Record<'_>) {
        if matches!(record.kind, Kind::Base { .. }) {
            return;
        }
        let bytes = record.end.since(record.lsn);
        self.node.saver.loading.read_more(bytes);
        let process = self.process(generation.epoch);
        let mut outbox = locked(&process.logs[shard.index()]);
        outbox.straight &= !brings_slots(record.payload);
        if outbox.straight {
            return self.put(&mut outbox, shard.index(), record.db, record.payload);
        }
        let mut db = record.db;
        let mut effects = InPayload::of(record.payload);
        loop {
            let from = effects.at();
            if let Some((key, _)) = effects.next_string() {
                let owner = self.slot_map[Slot::of(key).index()];
                let run = &record.payload[from..effects.at()];
                self.put(&mut outbox, owner.index(), db, run);
                continue;
            }
            let Some(effect) = effects.next() else { return };
            let run = &record.payload[from..effects.at()];
            match effect.and_then(|args| target(self.registry, &args)) {
                Ok(Target::Select(other)) => db = other,
                Ok(Target::Slot(slot, _)) => {
                    let owner = self.slot_map[slot.index()];
                    self.put(&mut outbox, owner.index(), db, run);
                }
                Ok(Target::MovedIn(moved)) => {
                    self.moved_in(&mut outbox, moved);
                    let slots = &self.slot_map[moved.first.index()..=moved.last.index()];
                    let mut owners: SmallVec<[ShardId; 8]> = slots.iter().copied().collect();
                    owners.sort_unstable();
                    owners.dedup();
                    for to in owners {
                        self.put(&mut outbox, to.index(), db, run);
                    }
                }
                Ok(Target::Database) => {
                    (0..self.node.shards).for_each(|to| self.put(&mut outbox, to, db, run));
                }
                Err(why) => {
                    let mut wrong = locked(&self.wrong);
                    let (shard, lsn) = (shard.0, record.lsn);
                    wrong.get_or_insert(format!("The log of shard {shard} at LSN {lsn}: {why}"));
                    return;
                }
            }
        }
    }

    /// From here on a log tells of these slots.
    fn moved_in(&self, outbox: &mut Outbox, moved: MovedIn) {
        (0..self.senders.len()).for_each(|to| self.send(outbox, to));
        let recorder = Arc::make_mut(&mut outbox.recorder);
        recorder.moves.resize(SLOTS, 0);
        recorder.moves[moved.first.index()..=moved.last.index()].fill(moved.number);
    }

    fn put(&self, outbox: &mut Outbox, to: usize, db: u16, run: &[u8]) {
        /// Room that lets most batches stay where they began.
        const ROOM_BYTES: usize = BATCH_BYTES + BATCH_BYTES / 8;
        let batch = &mut outbox.batches[to];
        if batch.bytes.capacity() == 0 {
            batch.bytes.reserve(ROOM_BYTES.max(run.len()));
        }
        batch.bytes.extend_from_slice(run);
        batch.runs.push((db, batch.bytes.len()));
        if batch.bytes.len() >= BATCH_BYTES {
            self.send(outbox, to);
        }
    }

    fn send(&self, outbox: &mut Outbox, to: usize) {
        let Runs { bytes, runs } = std::mem::take(&mut outbox.batches[to]);
        if runs.is_empty() {
            return;
        }
        let effects = Effects {
            recorder: outbox.recorder.clone(),
            bytes,
            runs,
        };
        // A shard that takes nothing has said why.
        let _ = self.senders[to].send(Part::Effects(effects));
    }

    /// Sends what is left of a process.
    fn send_all(&self, process: &Process) {
        for log in &process.logs {
            let mut outbox = locked(log);
            (0..self.senders.len()).for_each(|to| self.send(&mut outbox, to));
        }
    }

    /// Sends what is left; what was wrong.
    fn end(self) -> Result<(), String> {
        let at = self.current.load(Ordering::Acquire);
        if let Some(process) = self.processes.get(at) {
            self.send_all(process);
        }
        locked(&self.wrong).take().map_or(Ok(()), Err)
    }
}
