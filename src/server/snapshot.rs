//! Snapshots as files: one at a time, written by a thread of its own from what the shards tell
//! ([`crate::shard::snapshot`]), and what is remembered of the last one.
//!
//! The file is written beside its name and takes it when it is whole and durable: under `dir` there
//! is always the last snapshot that succeeded, or none. A write that fails ends the snapshot, not the
//! server.
//!
//! One for a client ([`Target::Client`]) is written to a file, too, and sent from there when it is
//! whole: so a client that reads slowly costs a file, and never holds up a shard. It counts for
//! nothing else: LASTSAVE and the changes since then stay as they are.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::config::{Config, as_path};
use super::logs::NextBase;
use super::snapshot_file::Output;
use super::transfer::Transfer;
use super::{background, boot, log};
use crate::keyspace::{Places, touched_places};
use crate::mesh::ShardId;
use crate::rdb::Encoder;
use crate::rdb::crc64::crc64;
use crate::rdb::encode::{put_aux, put_length, put_signature};
use crate::rdb::format::opcode;
use crate::shard::Shard;
use crate::shard::node::{Ending, Node};
use crate::storage;
use crate::storage::directory::Directory;

/// Buffers that the shards may have on their way to the writing thread, all together.
const BUFFERS_MAX: usize = 32;
/// Buffers for each shard: what it fills while the disk is busy with others.
const BUFFERS_OF_A_SHARD: usize = 6;
/// Places that a shard may remember, changed ahead of its walk, before it needs more memory.
const PLACES: usize = 56 * 1024;
/// Longer strings are not compressed: it takes as much memory as is left of them.
const COMPRESSED_MAX: usize = 16 << 20;
/// Bytes that fit into a buffer.
pub const BUFFER_BYTES: usize = 256 * 1024;
/// How often the writing thread looks whether it was cancelled.
const LOOK: Duration = Duration::from_millis(50);
/// Shards begin at once or, where the client that asked for it is gone meanwhile, not at all.
const BEGIN_MAX: Duration = Duration::from_secs(20);

/// Where a snapshot goes.
#[derive(Debug)]
pub enum Target {
    /// To its usual place ([`path`]).
    Place,
    /// To another file.
    File(PathBuf),
    /// To a client.
    Client(Transfer),
    /// To a file that the logs will build on. Until it is whole its name is that of what
    /// the next start removes ([`storage::NEW`]).
    Base(PathBuf),
    /// The same, where the logs are running: they build on it then.
    NextBase(NextBase),
    /// To a base that replaces logs that are not running: BGREWRITEAOF with `appendonly no`.
    LoneBase(Box<Directory>),
}

/// What a snapshot is for, once it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    /// To come back to: what was changed before it is saved.
    Keep,
    Client,
    Base,
}

impl Target {
    fn purpose(&self) -> Purpose {
        match self {
            Self::Place | Self::File(_) => Purpose::Keep,
            Self::Client(_) => Purpose::Client,
            Self::Base(_) | Self::NextBase(_) | Self::LoneBase(_) => Purpose::Base,
        }
    }
}

/// What a shard tells the writing thread.
#[derive(Debug)]
pub enum Part {
    /// It has begun.
    Begin {
        /// Whether its values may hold something that expires by itself.
        expires_inside: bool,
    },
    /// Entries, each buffer beginning with their database.
    Bytes(Vec<u8>),
    /// A string, shared with the shard: to write it out, and to compress it, takes long.
    String {
        /// What stands in front of it, beginning with its database.
        head: Vec<u8>,
        /// The value.
        value: Bytes,
    },
    /// A piece of one long entry, which begins with its database; other parts may come in between.
    Piece {
        /// Which of its shard's long entries.
        of: (ShardId, u32),
        /// The bytes.
        bytes: Vec<u8>,
        /// Whether it is the last piece.
        last: bool,
    },
    /// It has told everything.
    End {
        /// How many keys that were.
        keys: u64,
    },
}

impl Part {
    /// Bytes that it holds by itself.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Bytes(bytes) | Self::Piece { bytes, .. } => bytes.len(),
            Self::String { head, .. } => head.len(),
            Self::Begin { .. } | Self::End { .. } => 0,
        }
    }
}

const UNDER_WAY: u8 = 0;
const SAVED: u8 = 1;
const FAILED: u8 = 2;
/// It was written, and is nothing that counts as saved.
const GIVEN_AWAY: u8 = 3;

/// Memory that goes empty from the writing thread to the shards, and full back. The thread makes it
/// and touches it first: the system may take milliseconds over that, since it clears 2 MiB at once,
/// and a shard's clients would wait for them. It is kept for the next snapshot.
#[derive(Debug, Default)]
struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// Makes what is missing of so many.
    fn make(&self, wanted: usize) {
        while locked(&self.0).len() < wanted {
            let buffer = Self::touched();
            locked(&self.0).push(buffer);
        }
    }

    fn touched() -> Vec<u8> {
        let mut buffer = vec![0xFF; BUFFER_BYTES]; // not zeros, which the system has already
        buffer.clear();
        buffer
    }

    /// Takes one back, unless there are as many as are wanted. Another one comes for one that an entry
    /// has made grow: shards that wait for a buffer get one for each that they have told.
    fn give_back(&self, mut buffer: Vec<u8>, wanted: usize) {
        if buffer.capacity() < BUFFER_BYTES || locked(&self.0).len() >= wanted {
            return; // a shard's own, from when there was none, or one too many
        }
        if buffer.capacity() > BUFFER_BYTES {
            buffer = Self::touched();
        }
        buffer.clear();
        locked(&self.0).push(buffer);
    }

    /// An empty one, if one is there; never waits.
    fn take(&self) -> Option<Vec<u8>> {
        self.0.try_lock().ok()?.pop()
    }
}

/// A snapshot that is being taken.
#[derive(Debug)]
pub struct Run {
    parts: SyncSender<Part>,
    buffers: Arc<Buffers>,
    /// One for each shard that has not taken it; the writing thread's memory, too.
    places: Mutex<Vec<Places>>,
    /// Bytes of shared strings on their way to the writing thread.
    shared: AtomicUsize,
    /// Whether clients go on meanwhile: INFO tells of those alone.
    background: bool,
    purpose: Purpose,
    began: Instant,
    cancelled: AtomicBool,
    outcome: AtomicU8,
}

impl Run {
    /// Where a shard tells its part.
    pub fn parts(&self) -> SyncSender<Part> {
        self.parts.clone()
    }

    /// An empty buffer of [`BUFFER_BYTES`] for a shard to tell in, if there is one now.
    pub fn buffer(&self) -> Option<Vec<u8>> {
        self.buffers.take()
    }

    /// What a shard may remember places in, if it is there already; one for each.
    pub fn places(&self) -> Option<Places> {
        self.places.try_lock().ok()?.pop()
    }

    /// A string of so many bytes is about to be shared.
    pub fn shares(&self, bytes: usize) {
        self.shared.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of shared strings on their way to the writing thread: memory of the snapshot's where the
    /// shards have let go of them.
    pub fn shared_bytes(&self) -> usize {
        self.shared.load(Ordering::Relaxed)
    }

    /// Whether nobody wants it any more.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Whether it goes to a client.
    pub fn is_for_client(&self) -> bool {
        self.purpose == Purpose::Client
    }

    /// Whether the logs will build on it.
    pub fn is_for_logs(&self) -> bool {
        self.purpose == Purpose::Base
    }

    /// Whether a SAVE waits until it is over. Others are what Redis, too, refuses it for.
    pub fn delays_save(&self) -> bool {
        self.is_for_logs() || !self.background || self.is_cancelled()
    }

    /// Whether the file was written and stays, once that is known.
    pub fn outcome(&self) -> Option<bool> {
        match self.outcome.load(Ordering::Acquire) {
            UNDER_WAY => None,
            outcome => Some(outcome == SAVED),
        }
    }

    /// Since when.
    pub fn seconds(&self) -> u64 {
        self.began.elapsed().as_secs()
    }
}

/// What INFO and LASTSAVE tell.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Unix time of the last snapshot that succeeded, or of the start; seconds.
    pub last_save: u64,
    /// Unix time of the last attempt, seconds.
    pub last_try: u64,
    /// Whether the last one in the background succeeded.
    pub ok: bool,
    /// How long the last one in the background took, seconds.
    pub took: Option<u64>,
    /// Snapshots that succeeded since the start.
    pub saves: u64,
    /// Keys that were read last, and those that had expired.
    pub loaded: [u64; 2],
}

/// How far the start's reading is.
#[derive(Debug, Default)]
pub struct Progress {
    under_way: AtomicBool,
    began: AtomicU64,
    total: AtomicU64,
    read: AtomicU64,
}

impl Progress {
    /// It begins, at `now` (unix seconds), with a file of so many bytes.
    pub fn begin(&self, now: u64, total: u64) {
        self.began.store(now, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        self.under_way.store(true, Ordering::Release);
    }

    /// So many bytes more were read.
    pub fn read_more(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many bytes were read.
    pub fn read(&self, bytes: u64) {
        self.read.store(bytes, Ordering::Relaxed);
    }

    /// The dataset is there.
    pub fn end(&self) {
        self.under_way.store(false, Ordering::Release);
    }

    /// Whether the dataset is still being loaded.
    pub fn is_under_way(&self) -> bool {
        self.under_way.load(Ordering::Acquire)
    }

    /// Unix time at which it began, bytes in all, bytes read.
    pub fn facts(&self) -> [u64; 3] {
        [&self.began, &self.total, &self.read].map(|fact| fact.load(Ordering::Relaxed))
    }
}

/// The process's snapshots.
#[derive(Debug)]
pub struct Saver {
    /// The start's reading.
    pub loading: Progress,
    running: Mutex<Option<Arc<Run>>>,
    buffers: Arc<Buffers>,
    /// Whether the last one succeeded.
    saved: AtomicBool,
    ended: Condvar,
    facts: Mutex<Facts>,
    /// Libraries of functions that the start has read: they are kept as they are.
    functions: Mutex<Vec<Vec<u8>>>,
    numbers: AtomicU64,
    /// The client whose BGSAVE has begun the last one.
    by: AtomicU64,
    /// Whether one is to begin when the logs have been rewritten.
    scheduled: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Saver {
    /// Nothing was saved since the start, which was at `now` (unix seconds).
    pub fn new(now: u64) -> Self {
        Self {
            loading: Progress::default(),
            running: Mutex::default(),
            buffers: Arc::default(),
            saved: AtomicBool::new(true),
            ended: Condvar::new(),
            facts: Mutex::new(Facts {
                last_save: now,
                last_try: 0,
                ok: true,
                took: None,
                saves: 0,
                loaded: [0, 0],
            }),
            functions: Mutex::default(),
            numbers: AtomicU64::new(0),
            by: AtomicU64::new(0),
            scheduled: AtomicBool::new(false),
        }
    }

    /// What is known.
    pub fn facts(&self) -> Facts {
        *locked(&self.facts)
    }

    /// Keys that the start has read, and those that had expired; libraries of functions.
    pub fn loaded(&self, keys: u64, expired: u64, functions: Vec<Vec<u8>>) {
        locked(&self.facts).loaded = [keys, expired];
        *locked(&self.functions) = functions;
    }

    /// Keys that a client has let be read again, and those that had expired.
    pub fn reloaded(&self, keys: u64, expired: u64) {
        locked(&self.facts).loaded = [keys, expired];
    }

    /// Whether the last one succeeded, in the background or not.
    pub fn has_saved(&self) -> bool {
        self.saved.load(Ordering::Acquire)
    }

    /// The snapshot that is being taken.
    pub fn running(&self) -> Option<Arc<Run>> {
        locked(&self.running).clone()
    }

    /// A snapshot of the libraries of functions alone.
    pub fn functions_alone(&self, now: u64) -> Vec<u8> {
        let mut file = self.head(false, now);
        file.push(opcode::END);
        let crc = crc64(0, &file);
        file.extend_from_slice(&crc.to_le_bytes());
        file
    }

    /// What stands in front of a snapshot's entries.
    fn head(&self, with_field_expiry: bool, now: u64) -> Vec<u8> {
        let mut head = Vec::new();
        put_signature(with_field_expiry, &mut head);
        put_aux("redis-ver", boot::REDIS_VERSION.as_bytes(), &mut head);
        put_aux("redis-bits", b"64", &mut head);
        put_aux("ctime", now.to_string().as_bytes(), &mut head);
        put_aux("ringdove-ver", boot::VERSION.as_bytes(), &mut head);
        put_aux("aof-base", b"0", &mut head);
        for library in locked(&self.functions).iter() {
            head.push(opcode::FUNCTION);
            put_length(library.len() as u64, &mut head);
            head.extend_from_slice(library);
        }
        head
    }

    /// Ends the one that is being taken, but for a base; whether there was one.
    pub fn cancel(&self) -> bool {
        let running = self.running().filter(|run| !run.is_for_logs());
        if let Some(run) = &running {
            run.cancelled.store(true, Ordering::Relaxed);
        }
        self.scheduled.swap(false, Ordering::Relaxed) || running.is_some()
    }

    /// One is to begin when the logs have been rewritten.
    pub fn schedule(&self) {
        self.by.store(0, Ordering::Relaxed);
        self.scheduled.store(true, Ordering::Relaxed);
    }

    /// Whether one is to begin.
    pub fn is_scheduled(&self) -> bool {
        self.scheduled.load(Ordering::Relaxed)
    }

    /// A client's BGSAVE has begun the one that is being taken: none is to begin any more.
    pub fn begun_by(&self, client: u64) {
        self.by.store(client, Ordering::Relaxed);
        self.scheduled.store(false, Ordering::Relaxed);
    }

    /// Whether that client was the last whose BGSAVE has begun one, and none was scheduled since.
    pub fn is_by(&self, client: u64) -> bool {
        self.by.load(Ordering::Relaxed) == client
    }

    /// Ends the base that is being written: the logs that were to build on it are turned off.
    pub fn cancel_base(&self) {
        if let Some(run) = self.running().filter(|run| run.is_for_logs()) {
            run.cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// Waits for the one that is being taken; whether it was written.
    pub fn wait(&self, run: &Run) -> bool {
        let mut running = locked(&self.running);
        while run.outcome().is_none() {
            let waited = self.ended.wait_timeout(running, LOOK);
            running = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        run.outcome.load(Ordering::Acquire) != FAILED
    }

    /// Starts one, whose file a thread writes; false if there is one already. Then every shard is to
    /// begin its part. While slots move the error is `ResourceBusy`.
    pub fn begin(
        &self,
        node: &Arc<Node>,
        now: u64,
        background: bool,
        target: Target,
    ) -> io::Result<bool> {
        let mut running = locked(&self.running);
        if running.is_some() {
            return Ok(false);
        }
        if node.is_moving() {
            // An entry that moved could be told twice, or by nobody.
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (parts, received) = sync_channel(BUFFERS_MAX);
        let run = Arc::new(Run {
            parts,
            buffers: self.buffers.clone(),
            places: Mutex::default(),
            shared: AtomicUsize::new(0),
            background,
            purpose: target.purpose(),
            began: Instant::now(),
            cancelled: AtomicBool::new(false),
            outcome: AtomicU8::new(UNDER_WAY),
        });
        if run.purpose == Purpose::Keep {
            locked(&self.facts).last_try = now;
        }
        let (thread_node, thread_run) = (node.clone(), run.clone());
        let thread = std::thread::Builder::new().name("snapshot".into());
        thread.spawn(move || {
            background::give_way(background::Share::Tenth);
            for _ in 0..thread_node.shards {
                locked(&thread_run.places).push(touched_places(PLACES));
            }
            thread_run
                .buffers
                .make(thread_node.shards * BUFFERS_OF_A_SHARD);
            take(&thread_node, &thread_run, &received, number, now, target);
        })?;
        *running = Some(run);
        Ok(true)
    }

    fn end(&self, node: &Node, run: &Run, result: &io::Result<u64>, now: u64) {
        let saved = result.is_ok();
        let took = run.seconds();
        let keeps = run.purpose == Purpose::Keep;
        let what = match run.purpose {
            Purpose::Keep => "DB",
            Purpose::Client => "Snapshot for a client",
            Purpose::Base => "Base of the log",
        };
        match result {
            Ok(keys) => log::notice(format_args!("{what} saved on disk: {keys} keys, {took} s")),
            Err(_) if run.is_cancelled() => log::notice(format_args!("The snapshot was cancelled")),
            Err(error) => log::warning(format_args!("{what} could not be saved: {error}")),
        }
        if keeps {
            let mut facts = locked(&self.facts);
            if run.background && !run.is_cancelled() {
                (facts.ok, facts.took) = (saved, Some(took));
            }
            if saved {
                facts.ok = true;
                facts.last_save = now + took;
                facts.saves += 1;
            }
        }
        let mut running = locked(&self.running);
        let outcome = match (saved, keeps) {
            (true, true) => SAVED,
            (true, false) => GIVEN_AWAY,
            (false, _) => FAILED,
        };
        if keeps {
            self.saved.store(saved, Ordering::Release);
        }
        run.outcome.store(outcome, Ordering::Release);
        *running = None;
        self.ended.notify_all();
        drop(running);
        node.wake_all();
    }
}

/// A shard's part of the last snapshot, once no shard serves any more, where there is to be one.
/// One that is still being taken is given up. Whether it was written, or nothing had to be.
pub fn save_at_end(shard: &mut Shard) -> bool {
    let node = shard.node.clone();
    if node.ending() == Ending::Saved {
        shard.settle_snapshot();
        node.report_changes(shard.id, shard.dirty);
        if node.meet_at_end() && node.changes() == 0 {
            return true; // what SHUTDOWN has saved
        }
    }
    if let Some(earlier) = shard.snapshot_run() {
        earlier.cancelled.store(true, Ordering::Relaxed);
        node.saver.wait(&earlier);
        shard.settle_snapshot();
    }
    let asked = node.saves_at_end.get().copied();
    let wanted = asked.unwrap_or(!shard.config.save.0.is_empty());
    if !wanted || node.saver.loading.is_under_way() {
        return true;
    }
    // The first shard begins it, and finds it begun where another one was first.
    if let Err(error) = node
        .saver
        .begin(&node, shard.now_ms / 1000, false, Target::Place)
    {
        log::warning(format_args!("Cannot start a snapshot: {error}"));
        return false;
    }
    let Some(run) = node.saver.running() else {
        return node.saver.has_saved();
    };
    shard.begin_snapshot(run.clone());
    shard.finish_snapshot();
    node.saver.wait(&run)
}

/// The file's name.
pub fn path(config: &Config) -> PathBuf {
    config.dir.0.join(as_path(&config.dbfilename))
}

/// What the thread does that a snapshot has.
fn take(node: &Node, run: &Run, parts: &Receiver<Part>, number: u64, now: u64, target: Target) {
    let config = node.config();
    let path = match &target {
        Target::File(path) | Target::Base(path) => path.clone(),
        Target::NextBase(base) => base.path.clone(),
        Target::LoneBase(directory) => directory.base_path(directory.next_base()),
        Target::Place | Target::Client(_) => path(&config),
    };
    let temporary = match &target {
        Target::Base(_) | Target::NextBase(_) | Target::LoneBase(_) => unfinished(&path),
        _ => path.with_file_name(format!("temp-{}-{number}.rdb", std::process::id())),
    };
    let head = |expires| node.saver.head(expires, now);
    let written = write_to(&temporary, node.shards, &config, run, parts, head);
    match target {
        Target::Place | Target::File(_) | Target::Base(_) => {
            let result = written.and_then(|keys| put_in_place(&temporary, &path).map(|()| keys));
            if result.is_err() {
                // What is left of it is of no use; it may not be there at all.
                let _ = fs::remove_file(&temporary);
            }
            node.saver.end(node, run, &result, now);
        }
        Target::NextBase(base) => {
            let place = || {
                put_in_place(&temporary, &path)?;
                node.logs.rebase(base.number).map_err(io::Error::other)
            };
            base_written(node, run, now, &temporary, written, place);
        }
        Target::LoneBase(mut directory) => {
            let place = || {
                put_in_place(&temporary, &path)?;
                let (base, shards) = (directory.next_base(), node.shards as u16);
                let replaced = directory.replace_by_base(base, shards, config.segment_blocks());
                replaced.map_err(io::Error::other)
            };
            base_written(node, run, now, &temporary, written, place);
        }
        Target::Client(transfer) => {
            let file = File::open(&temporary);
            let _ = fs::remove_file(&temporary); // as above; who has it open reads it all the same
            node.saver.end(node, run, &written, now);
            match written.and(file) {
                Ok(file) => transfer.send_file(file),
                Err(_) => transfer.refuse("the snapshot could not be written"),
            }
        }
    }
}

/// A rewriting ends: its base is given its place, if it was written.
fn base_written(
    node: &Node,
    run: &Run,
    now: u64,
    temporary: &Path,
    written: io::Result<u64>,
    place: impl FnOnce() -> io::Result<()>,
) {
    let result = written.and_then(|keys| place().map(|()| keys));
    if result.is_err() {
        let _ = fs::remove_file(temporary); // what is left of it is of no use
    }
    if !run.is_cancelled() {
        node.logs.rewritten(run.seconds(), &result);
    }
    node.saver.end(node, run, &result, now);
}

/// The name of a file of the log's directory that is being made.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", storage::NEW));
    name.into()
}

/// Gives a file that is whole and durable its name.
fn put_in_place(temporary: &Path, path: &Path) -> io::Result<()> {
    fs::rename(temporary, path)?;
    if let Some(folder) = path.parent() {
        // The folder of a mere name is where the process is.
        let here = folder.as_os_str().is_empty();
        File::open(if here { Path::new(".") } else { folder })?.sync_all()?;
    }
    Ok(())
}

fn write_to(
    path: &Path,
    shards: usize,
    config: &Config,
    run: &Run,
    parts: &Receiver<Part>,
    head: impl Fn(bool) -> Vec<u8>,
) -> io::Result<u64> {
    let mut output = Output::create(path, config.rdbchecksum)?;
    let mut encoder = Encoder::new(config.rdbcompression);
    let mut put = |output: &mut Output, part| match part {
        Part::Bytes(bytes) => {
            let put = output.put(&bytes);
            run.buffers.give_back(bytes, shards * BUFFERS_OF_A_SHARD);
            put
        }
        Part::String { mut head, value } => {
            encoder.set_compression(config.rdbcompression && value.len() <= COMPRESSED_MAX);
            let rest = encoder.begin_string(&value, &mut head);
            output.put(&head).and_then(|()| output.put(rest))
        }
        Part::Piece { of, bytes, last } => output.put_piece(of, bytes, last),
        Part::Begin { .. } | Part::End { .. } => unreachable!("they bring nothing"),
    };
    let until = Instant::now() + BEGIN_MAX;
    let (mut begun, mut ended, mut keys) = (0, 0, 0);
    // What comes before the last shard has begun, and so before the version is known.
    let (mut early, mut expires) = (Vec::new(), false);
    while ended < shards {
        let part = match parts.recv_timeout(LOOK) {
            Ok(part) => part,
            Err(RecvTimeoutError::Timeout) if !run.is_cancelled() => {
                if begun < shards && Instant::now() >= until {
                    return Err(io::Error::other("not all shards have begun"));
                }
                continue;
            }
            Err(_) => return Err(io::Error::other("it was not told to its end")),
        };
        if run.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        if let Part::String { value, .. } = &part {
            // Before it is written: a shard may wait for that, and others begin only then.
            run.shared.fetch_sub(value.len(), Ordering::Relaxed);
        }
        match part {
            Part::Begin { expires_inside } => {
                begun += 1;
                expires |= expires_inside;
                if begun == shards {
                    output.put(&head(expires))?;
                    early
                        .drain(..)
                        .try_for_each(|part| put(&mut output, part))?;
                }
            }
            Part::End { keys: told } => {
                ended += 1;
                keys += told;
            }
            part if begun < shards => early.push(part),
            part => {
                put(&mut output, part)?;
                // A shard on the same core has its turn before the next one.
                std::thread::yield_now();
            }
        }
    }
    output.finish()?;
    Ok(keys)
}
