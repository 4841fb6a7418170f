//! The dataset that the start reads: a snapshot, a log of Redis's ([`super::import`]), or our own
//! logs with the snapshot that they build on ([`super::recovery`]).
//!
//! One thread reads the files. Entries of a snapshot are decoded there and go to the shards that own
//! their slots, whatever the number of shards was when the file was written; the commands of a log
//! go where their keys are. Our own logs are read by as many threads as there are shards. The shards
//! take all that in slices beside their clients, who get LOADING errors meanwhile; none of them serves
//! the dataset before all have taken all of it and everything that was read was right.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::config::Config;
use super::import::commands::{self, Next};
use super::import::deal::Dealer;
use super::import::{Log, Source};
use super::log;
use super::recovery::Recovered;
use super::snapshot::Run;
use crate::command::registry::Registry;
use crate::command::sort;
use crate::keyspace::{Batch, CLOCK_BITS, Hasher, NewValue, OwnedEntry, SLOTS, Slot};
use crate::mesh::ShardId;
use crate::rdb::{Entry, Item, Limits, Reader};
use crate::resp::encode::Output;
use crate::shard::Shard;
use crate::shard::effects::replay::{InPayload, Ready, ReplayError, Target, target};
use crate::shard::lending::Wanted;
use crate::shard::lfu::Lfu;
use crate::shard::node::Node;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Batches on their way to a shard.
const BATCHES_MAX: usize = 4;
/// Effects that are looked at before the first of them is run.
const READY_MAX: usize = 16;
/// Commands of a log that failed and are logged, at each shard; the others are counted.
const FAILURES_LOGGED_MAX: u64 = 10;

/// Effects for a shard, all of them from one of our logs.
pub struct Effects {
    /// Whose log it is.
    pub recorder: Arc<Recorder>,
    /// Runs of effects, one behind the other.
    pub bytes: Vec<u8>,
    /// For each run its database and its end.
    pub runs: Vec<(u16, usize)>,
}

/// A shard of the process that has written a log.
#[derive(Clone, Debug)]
pub struct Recorder {
    /// The shard.
    pub shard: ShardId,
    /// The process.
    pub epoch: u32,
    /// The owner of each slot when the process began, if they were dealt evenly then: where it matters
    /// and they were not, its log says so.
    pub slot_map: Box<[ShardId; SLOTS]>,
    /// The number of the move by which each slot has come, 0 for none; no slots if none has come.
    pub moves: Vec<u32>,
}

impl Recorder {
    /// Since when a slot is told of by this log.
    fn since(&self, slot: Slot) -> Since {
        let number = self.moves.get(slot.index()).copied().unwrap_or(0);
        (self.epoch, number)
    }
}

/// The process whose log tells of a slot, and the number of the move by which it came there. Of
/// several, what the latest says is what counts.
type Since = (u32, u32);

impl Effects {
    /// Runs them. They were done here before, so that none of them can fail.
    /// Those on slots of which a later log has told already count no more.
    fn replay(&self, shard: &mut Shard, latest: &mut Vec<Since>) -> Result<(), ReplayError> {
        let recorder = &*self.recorder;
        // Those whose memory is on its way.
        let mut ready = Vec::with_capacity(READY_MAX);
        let mut out = Output::default();
        let mut from = 0;
        for &(db, end) in &self.runs {
            let mut db = db;
            let mut effects = InPayload::of(&self.bytes[from..end]);
            loop {
                if ready.len() == READY_MAX {
                    run(shard, &mut ready, &mut out)?;
                }
                let is_stale = |slot: Slot| {
                    let stale = |since: &Since| *since > recorder.since(slot);
                    latest.get(slot.index()).is_some_and(stale)
                };
                if let Some((key, value)) = effects.next_string() {
                    let slot = Slot::of(key);
                    if !is_stale(slot) {
                        ready.push(shard.ready_string(db, slot, key, value)?);
                    }
                    continue;
                }
                let Some(args) = effects.next().transpose()? else {
                    break;
                };
                match target(&shard.registry, &args)? {
                    Target::Select(other) => db = other,
                    Target::Slot(slot, row) => {
                        if !is_stale(slot) {
                            ready.push(shard.ready(db, row, |_| slot, args)?);
                        }
                    }
                    Target::Database => {
                        run(shard, &mut ready, &mut out)?;
                        shard.replay_databases(db, &args, |slot, then| {
                            let at = slot.index();
                            let owned = match then {
                                Some(then) => then.iter().any(|(a, b)| (*a..=*b).contains(&at)),
                                None => recorder.slot_map[at] == recorder.shard,
                            };
                            owned && latest.get(at).is_none_or(|l| *l <= recorder.since(slot))
                        })?;
                    }
                    Target::MovedIn(moved) => {
                        run(shard, &mut ready, &mut out)?;
                        let since = (recorder.epoch, moved.number);
                        latest.resize(SLOTS, Since::default());
                        shard.empty_slots(moved, |slot| latest[slot.index()] < since);
                        for latest in &mut latest[moved.first.index()..=moved.last.index()] {
                            *latest = since.max(*latest);
                        }
                    }
                }
            }
            from = end;
        }
        run(shard, &mut ready, &mut out)
    }
}

/// Runs effects in their order; `out` is memory for their replies.
fn run(shard: &mut Shard, ready: &mut Vec<Ready<'_>>, out: &mut Output) -> Result<(), ReplayError> {
    for effect in &*ready {
        effect.prefetch_entry(shard);
    }
    let mut effects = ready.drain(..);
    effects.try_for_each(|effect| shard.replay_ready(&effect, out))
}

/// A command that is run by itself.
type Words = Vec<Box<[u8]>>;

/// What a shard is to take in.
pub enum Part {
    /// Entries.
    Entries(Batch),
    /// Commands on keys that are here, in a database; as they stand in a log.
    Commands {
        /// The database.
        db: u16,
        /// The commands.
        bytes: Vec<u8>,
    },
    /// A command on whole databases (FLUSHALL).
    OnDatabases {
        /// The database that is selected.
        db: u16,
        /// The command.
        args: Words,
    },
    /// A SORT for which the names of the keys are wanted that it looks up.
    Derive {
        /// The database.
        db: u16,
        /// The command.
        args: Words,
        /// Where they go.
        to: Sender<Vec<Box<[u8]>>>,
    },
    /// Keys that another shard needs.
    Lend {
        /// Which.
        keys: Vec<Wanted>,
        /// Where their entries go.
        to: Sender<Vec<Option<OwnedEntry>>>,
    },
    /// A command on keys of several shards, with those that are not here.
    Run {
        /// The database.
        db: u16,
        /// The command.
        args: Words,
        /// The keys of others.
        keys: Vec<Wanted>,
        /// Their entries.
        entries: Vec<Option<OwnedEntry>>,
        /// Where the entries go then.
        to: Sender<Vec<Option<OwnedEntry>>>,
    },
    /// A key that was lent.
    Back(Wanted, Option<OwnedEntry>),
    /// Effects of our own log.
    Effects(Effects),
    /// All has come: the shard tells its part of this snapshot.
    Snapshot(Arc<Run>),
}

/// The ways to the shards.
pub struct Senders(pub Vec<SyncSender<Part>>);

impl Senders {
    /// Sends a shard something; waits while it has much to do.
    pub fn send(&self, shard: ShardId, part: Part) {
        // A shard that takes nothing has ended, and the start with it.
        let _ = self.0[shard.index()].send(part);
    }
}

/// Where a shard gets what there is for it.
pub struct Intake {
    /// The end is there when nobody sends any more.
    parts: Receiver<Part>,
    /// Told then, or what was wrong.
    done: Sender<Result<(), String>>,
    /// Commands that have failed.
    failures: u64,
    /// For each slot the latest log that has told of it; no slots while none has moved.
    latest: Vec<Since>,
}

impl Intake {
    /// Takes in what has come, for about `budget`; false once all of it has.
    pub fn slice(&mut self, shard: &mut Shard, budget: Duration) -> bool {
        /// How long a shard that has nothing else to do waits for more.
        const WAIT: Duration = Duration::from_millis(1);
        let began = Instant::now();
        let mut wait = WAIT;
        while began.elapsed() < budget {
            match self.parts.recv_timeout(wait) {
                Ok(part) => {
                    if let Err(why) = self.take(shard, part) {
                        self.end(shard, Err(why));
                        return false;
                    }
                }
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => {
                    self.end(shard, Ok(()));
                    return false;
                }
            }
            wait = Duration::ZERO;
        }
        true
    }

    /// Takes in all of it; for a thread that has nothing else to do.
    pub fn drain(mut self, shard: &mut Shard) {
        while let Ok(part) = self.parts.recv() {
            if let Err(why) = self.take(shard, part) {
                return self.end(shard, Err(why));
            }
        }
        self.end(shard, Ok(()));
    }

    /// No more is taken: all of it was, or something was wrong.
    fn end(&mut self, shard: &mut Shard, taken: Result<(), String>) {
        shard.keyspace.set_growing(false);
        if self.failures > FAILURES_LOGGED_MAX {
            log::warning(format_args!(
                "{} commands of the append only file have failed",
                self.failures
            ));
        }
        // Where nobody listens any more the start has failed, and the process ends.
        let _ = self.done.send(taken);
    }

    fn take(&mut self, shard: &mut Shard, part: Part) -> Result<(), String> {
        match part {
            Part::Entries(batch) => batch.settle(&mut shard.keyspace),
            Part::Commands { db, bytes } => {
                let mut rest = &bytes[..];
                while let Next::Command(args, end) = commands::next(rest) {
                    self.run(shard, db, &args);
                    rest = &rest[end..];
                }
                assert!(rest.is_empty(), "whole commands were sent");
            }
            Part::OnDatabases { db, args } => {
                let result = shard.replay_databases(db, &words(&args), |_, _| true);
                result.unwrap_or_else(|error| self.failed(&error, &words(&args)));
            }
            Part::Derive { db, args, to } => {
                // Nobody waits for it where the start has failed; so below.
                let _ = to.send(sort::derived_keys(shard, db, &words(&args)));
            }
            Part::Lend { keys, to } => {
                let _ = to.send(shard.take_entries(&keys));
            }
            Part::Run {
                db,
                args,
                keys,
                mut entries,
                to,
            } => {
                shard.put_entries(&keys, &mut entries);
                self.run(shard, db, &words(&args));
                let _ = to.send(shard.take_entries(&keys));
            }
            Part::Back(key, entry) => shard.put_entries(&[key], &mut vec![entry]),
            Part::Effects(effects) => {
                shard.keyspace.set_growing(true);
                let replayed = effects.replay(shard, &mut self.latest);
                return replayed.map_err(|why| format!("Reading the log: {why}"));
            }
            Part::Snapshot(run) => shard.begin_snapshot(run),
        }
        Ok(())
    }

    fn run(&mut self, shard: &mut Shard, db: u16, args: &[&[u8]]) {
        if let Err(error) = shard.replay(db, args) {
            self.failed(&error, args);
        }
    }

    /// A command has failed. Redis goes on, too: it had failed there, or has changed nothing.
    fn failed(&mut self, error: &dyn std::fmt::Display, args: &[&[u8]]) {
        self.failures += 1;
        if self.failures <= FAILURES_LOGGED_MAX {
            let name = args[0].escape_ascii();
            log::warning(format_args!("'{name}' of the append only file: {error}"));
        }
    }
}

fn words(args: &Words) -> Vec<&[u8]> {
    args.iter().map(|arg| &arg[..]).collect()
}

/// A dataset that is being loaded.
pub struct Loading {
    /// For each shard.
    pub intakes: Vec<Intake>,
    done: Receiver<Result<(), String>>,
    thread: JoinHandle<Result<Option<Recovered>, String>>,
}

impl Loading {
    /// Begins to load a dataset.
    pub fn begin(
        node: &Arc<Node>,
        registry: &Arc<Registry>,
        now_ms: u64,
        source: Source,
    ) -> Result<Self, String> {
        node.saver.loading.begin(now_ms / 1000, source.bytes());
        let (thread_node, registry) = (node.clone(), registry.clone());
        Self::start(node, move |senders| {
            Loader::new(&thread_node, registry, now_ms, senders).load(&source)?;
            Ok(None)
        })
    }

    /// Lets a thread read, which sends the shards what is theirs.
    pub(super) fn start(
        node: &Node,
        read: impl FnOnce(Vec<SyncSender<Part>>) -> Result<Option<Recovered>, String> + Send + 'static,
    ) -> Result<Self, String> {
        let (senders, parts): (Vec<_>, Vec<_>) =
            (0..node.shards).map(|_| sync_channel(BATCHES_MAX)).unzip();
        let (told, done) = channel();
        let intakes = parts.into_iter().map(|parts| Intake {
            parts,
            done: told.clone(),
            failures: 0,
            latest: Vec::new(),
        });
        let intakes = intakes.collect();
        let thread = std::thread::Builder::new()
            .name("loading".into())
            .spawn(move || read(senders))
            .map_err(|error| format!("Cannot start the loading thread: {error}"))?;
        Ok(Self {
            intakes,
            done,
            thread,
        })
    }

    /// Waits until all shards have what came for them; what was wrong. Logs that were read, or are
    /// to build on what was, are returned.
    pub fn end(self, node: &Node) -> Result<Option<Recovered>, String> {
        for _ in 0..node.shards {
            match self.done.recv() {
                Ok(taken) => taken?,
                Err(_) => return Err("The server stops before its dataset is loaded".into()),
            }
        }
        let ended = self.thread.join();
        let recovered = ended.unwrap_or_else(|_| Err("The loading thread has ended".into()))?;
        if let Some(recovered) = &recovered {
            recovered.tell();
        }
        Ok(recovered)
    }
}

/// How a file of a log has ended.
enum End {
    Whole,
    /// After so many bytes, in the middle of a command or a block.
    Short(u64),
}

/// What stands next in a log.
enum Seen {
    /// Something that was taken, of so many bytes.
    Used(usize),
    /// Something that is not whole.
    More,
    /// No command.
    Bad,
}

/// Reads files and sends the shards what is theirs.
pub(super) struct Loader<'a> {
    node: &'a Node,
    registry: Arc<Registry>,
    config: Arc<Config>,
    hasher: Hasher,
    slot_map: Box<[ShardId; SLOTS]>,
    lfu: Lfu,
    now_ms: u64,
    senders: Senders,
    waiting: Vec<Batch>,
    keys: u64,
    expired: u64,
    functions: Vec<Vec<u8>>,
    /// Bytes of the files that were read before this one.
    bytes_before: u64,
}

impl<'a> Loader<'a> {
    pub(super) fn new(
        node: &'a Node,
        registry: Arc<Registry>,
        now_ms: u64,
        senders: Vec<SyncSender<Part>>,
    ) -> Self {
        let config = node.config();
        Self {
            node,
            registry,
            hasher: Hasher::new(node.hash_seed),
            slot_map: node.first_slot_map(),
            lfu: Lfu::of(&config),
            now_ms,
            waiting: senders.iter().map(|_| Batch::default()).collect(),
            senders: Senders(senders),
            keys: 0,
            expired: 0,
            functions: Vec::new(),
            bytes_before: 0,
            config,
        }
    }

    /// Loads a dataset.
    pub(super) fn load(mut self, source: &Source) -> Result<(), String> {
        let began = Instant::now();
        match source {
            Source::Snapshot(path) => {
                let end = self.file(path, true)?;
                assert!(
                    matches!(end, End::Whole),
                    "a snapshot that is not is an error"
                );
                let seconds = began.elapsed().as_secs_f64();
                log::notice(format_args!("DB loaded from disk: {seconds:.3} seconds"));
            }
            Source::Log(log) => {
                self.log(log)?;
                let seconds = began.elapsed().as_secs_f64();
                log::notice(format_args!(
                    "DB loaded from append only file: {seconds:.3} seconds"
                ));
            }
        }
        if !self.functions.is_empty() {
            log::notice(format_args!(
                "{} libraries of functions are kept, and cannot be called yet",
                self.functions.len()
            ));
        }
        let saver = &self.node.saver;
        saver.loaded(self.keys, self.expired, self.functions);
        Ok(())
    }

    /// Reads the files of a log. The last may be cut short, where that is configured.
    fn log(&mut self, log: &Log) -> Result<(), String> {
        for (at, path) in log.files.iter().enumerate() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let began = Instant::now();
            let end = self.file(path, false)?;
            let seconds = began.elapsed().as_secs_f64();
            log::notice(format_args!(
                "DB loaded from file {name}: {seconds:.3} seconds"
            ));
            let End::Short(good) = end else { continue };
            if at + 1 < log.files.len() {
                return Err(format!(
                    "Fatal error: the truncated file {} is not the last file",
                    path.display()
                ));
            }
            if !self.config.aof_load_truncated {
                return Err(format!(
                    "Unexpected end of file reading the append only file {}. You can: 1) Make a \
                     backup of your AOF file, then use redis-check-aof --fix <filename.manifest>. \
                     2) Alternatively you can set the 'aof-load-truncated' configuration option to \
                     yes and restart the server.",
                    path.display()
                ));
            }
            log::warning(format_args!(
                "!!! Warning: short read while loading the AOF file {name}!!!"
            ));
            log::warning(format_args!(
                "AOF {name} loaded anyway because aof-load-truncated is enabled: what stands \
                 behind offset {good} is left out"
            ));
        }
        Ok(())
    }

    /// Reads a file: a snapshot, or commands, which may have a snapshot in front.
    fn file(&mut self, path: &Path, is_snapshot: bool) -> Result<End, String> {
        let mut file = Input::open(path)?;
        if is_snapshot || file.starts_with(b"REDIS")? {
            self.snapshot(&mut file)?;
        }
        let end = match is_snapshot {
            true => End::Whole,
            false => self.commands(&mut file)?,
        };
        self.bytes_before += file.offset();
        Ok(end)
    }

    fn snapshot(&mut self, file: &mut Input) -> Result<(), String> {
        let limits = Limits::of(&self.config, self.hasher);
        let mut reader = Reader::new(&limits, self.config.rdbchecksum);
        let (keys, expired) = (self.keys, self.expired);
        loop {
            reader.feed(&file.bytes);
            file.pass(file.bytes.len());
            self.node
                .saver
                .loading
                .read(self.bytes_before + reader.offset());
            while let Some(item) = reader.next_item().map_err(|error| file.failed(&error))? {
                match item {
                    Item::Entry(entry) => self.entry(entry).map_err(|why| file.failed(&why))?,
                    Item::Function(library) => self.functions.push(library),
                    Item::Aux(name, value) => note(&name, &value),
                    Item::Empty(key) => log::notice(format_args!(
                        "Loading passes over the empty key '{}'",
                        key.escape_ascii()
                    )),
                    Item::End => {}
                }
            }
            if reader.end().is_ok() {
                file.put_back(reader.unused());
                break;
            }
            if !file.read()? {
                reader.end().map_err(|error| file.failed(&error))?;
            }
        }
        for shard in (0..self.waiting.len() as u16).map(ShardId) {
            self.send(shard);
        }
        log::notice(format_args!(
            "Done loading RDB, keys loaded: {}, keys expired: {}.",
            self.keys - keys,
            self.expired - expired
        ));
        Ok(())
    }

    /// Reads commands up to the end of the file.
    fn commands(&mut self, file: &mut Input) -> Result<End, String> {
        let mut dealer = Dealer::new(
            self.registry.clone(),
            self.hasher,
            &self.slot_map,
            u16::try_from(self.config.databases).unwrap_or(u16::MAX),
            self.now_ms,
            &self.senders,
            &mut self.functions,
        );
        // Where the last whole command, or block of them, ends.
        let mut good = file.offset();
        let end = loop {
            let seen = match commands::next(&file.bytes) {
                Next::Command(args, used) => {
                    let raw = &file.bytes[..used];
                    dealer
                        .command(&args, raw)
                        .map_err(|why| file.failed(&why))?;
                    Seen::Used(used)
                }
                Next::Comment(used) => Seen::Used(used),
                Next::More => Seen::More,
                Next::Bad => Seen::Bad,
            };
            match seen {
                Seen::Used(used) => file.pass(used),
                Seen::More => {
                    self.node
                        .saver
                        .loading
                        .read(self.bytes_before + file.offset());
                    if file.read()? {
                        continue;
                    }
                    let whole = file.bytes.is_empty() && !dealer.is_in_block();
                    break if whole { End::Whole } else { End::Short(good) };
                }
                Seen::Bad => {
                    return Err(format!(
                        "Bad file format reading the append only file {} at offset {}: make a \
                         backup of your AOF file, then use redis-check-aof --fix \
                         <filename.manifest>",
                        file.path.display(),
                        file.offset()
                    ));
                }
            }
            if !dealer.is_in_block() {
                good = file.offset();
            }
        };
        dealer.finish();
        Ok(end)
    }

    fn entry(&mut self, entry: Entry<'_>) -> Result<(), String> {
        let databases = u64::from(self.config.databases);
        let db = u16::try_from(entry.db)
            .ok()
            .filter(|db| u64::from(*db) < databases);
        let Some(db) = db else {
            return Err(format!(
                "it has a key in database {}, and there are {databases} (see `databases`)",
                entry.db
            ));
        };
        if entry.expiry.is_some_and(|at| at <= self.now_ms) {
            self.expired += 1;
            return Ok(());
        }
        self.keys += 1;
        if let Ok(us @ 1..) = u64::try_from(self.config.key_load_delay) {
            std::thread::sleep(Duration::from_micros(us));
        }
        let clock = self.clock(&entry);
        let pos = self.hasher.pos(entry.key);
        let (key, expiry) = (entry.key, entry.expiry);
        let shard = self.slot_map[pos.slot().index()];
        let batch = &mut self.waiting[shard.index()];
        let put = |value: NewValue<'_>| batch.push(db, pos, key, expiry, clock, value);
        entry.value.store(put);
        if batch.is_full() {
            self.send(shard);
        }
        Ok(())
    }

    /// What the entry remembers of its last access.
    fn clock(&self, entry: &Entry<'_>) -> u32 {
        const MASK: u32 = (1 << CLOCK_BITS) - 1;
        match (self.lfu.on, entry.frequency) {
            (true, Some(frequency)) => self.lfu.of_frequency(frequency, self.now_ms),
            (true, None) => self.lfu.of_new(self.now_ms),
            (false, _) => {
                let idle = entry.idle_seconds.unwrap_or(0).min(u64::from(MASK));
                ((self.now_ms / 1000).saturating_sub(idle)) as u32 & MASK
            }
        }
    }

    fn send(&mut self, shard: ShardId) {
        let batch = std::mem::take(&mut self.waiting[shard.index()]);
        if !batch.is_empty() {
            self.senders.send(shard, Part::Entries(batch));
        }
    }
}

/// A field of a snapshot.
fn note(name: &[u8], value: &[u8]) {
    if name == b"redis-ver" {
        log::notice(format_args!(
            "Loading RDB produced by version {}",
            value.escape_ascii()
        ));
    }
}

/// A file that is read from its start to its end.
struct Input {
    path: PathBuf,
    file: File,
    /// What was read and not used yet.
    bytes: Bytes,
    before: u64,
}

impl Input {
    fn open(path: &Path) -> Result<Self, String> {
        let failed = |error| format!("Cannot open {}: {error}", path.display());
        Ok(Self {
            path: path.to_owned(),
            file: File::open(path).map_err(failed)?,
            bytes: Bytes::default(),
            before: 0,
        })
    }

    fn failed(&self, why: &dyn std::fmt::Display) -> String {
        format!("Loading {}: {why}", self.path.display())
    }

    /// Bytes that were used.
    fn offset(&self) -> u64 {
        self.before
    }

    fn pass(&mut self, count: usize) {
        self.bytes.from += count;
        self.before += count as u64;
    }

    /// Takes bytes back that were passed over last.
    fn put_back(&mut self, bytes: &[u8]) {
        self.bytes.put_back(bytes);
        self.before -= bytes.len() as u64;
    }

    /// Reads more; whether there was any.
    fn read(&mut self) -> Result<bool, String> {
        let read = self.bytes.read(&mut self.file);
        read.map_err(|error| self.failed(&error))
    }

    /// Whether the file begins with these bytes; at its start.
    fn starts_with(&mut self, prefix: &[u8]) -> Result<bool, String> {
        while self.bytes.len() < prefix.len() && self.read()? {}
        Ok(self.bytes.starts_with(prefix))
    }
}

/// Bytes that are added at one end and used from the other.
#[derive(Default)]
struct Bytes {
    all: Vec<u8>,
    from: usize,
}

impl Bytes {
    fn read(&mut self, file: &mut File) -> std::io::Result<bool> {
        self.all.drain(..self.from);
        self.from = 0;
        // A command that is longer than a chunk is looked at again whenever as much was added.
        let chunk = CHUNK_BYTES.max(self.all.len()) as u64;
        Ok(file.take(chunk).read_to_end(&mut self.all)? > 0)
    }

    fn put_back(&mut self, bytes: &[u8]) {
        self.all.splice(..self.from, bytes.iter().copied());
        self.from = 0;
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.all[self.from..]
    }
}
