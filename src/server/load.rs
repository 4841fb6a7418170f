//! The snapshot that the start reads.
//!
//! One thread reads the file and decodes it into entries; each goes to the shard that owns its slot,
//! whatever the number of shards was when the file was written. The shards take them in slices
//! beside their clients, who get LOADING errors meanwhile; none of them serves the dataset before
//! all have taken all of it and the file's end was right.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::config::Config;
use super::{log, snapshot};
use crate::keyspace::{CLOCK_BITS, Hasher, OwnedEntry, Pos};
use crate::mesh::ShardId;
use crate::rdb::{Entry, Item, Limits, Reader};
use crate::shard::lfu::Lfu;
use crate::shard::node::Node;
use crate::shard::{Shard, even_slot_map};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Entries that go to a shard together.
const BATCH_ENTRIES: usize = 512;
/// Batches on their way to a shard.
const BATCHES_MAX: usize = 8;

/// Entries for a shard: database, position, entry.
pub type Batch = Vec<(u16, Pos, OwnedEntry)>;

/// Where a shard gets what there is for it.
pub struct Intake {
    /// The end is there when nobody sends any more.
    batches: Receiver<Batch>,
    /// Told then.
    done: Sender<()>,
}

impl Intake {
    /// Takes in what has come, for about `budget`; false once all of it has.
    pub fn slice(&self, shard: &mut Shard, budget: Duration) -> bool {
        /// How long a shard that has nothing else to do waits for more.
        const WAIT: Duration = Duration::from_millis(1);
        let began = Instant::now();
        let mut wait = WAIT;
        while began.elapsed() < budget {
            match self.batches.recv_timeout(wait) {
                Ok(batch) => {
                    for (db, pos, entry) in batch {
                        shard.keyspace.db_mut(usize::from(db)).attach(pos, entry);
                    }
                }
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => {
                    // Where nobody listens any more the start has failed, and the process ends.
                    let _ = self.done.send(());
                    return false;
                }
            }
            wait = Duration::ZERO;
        }
        true
    }
}

/// A file that is being loaded.
pub struct Loading {
    /// For each shard.
    pub intakes: Vec<Intake>,
    done: Receiver<()>,
    thread: JoinHandle<Result<(), String>>,
}

impl Loading {
    /// Begins to load the snapshot that the configuration names; None if there is none.
    pub fn begin(node: &Arc<Node>, now_ms: u64) -> Result<Option<Self>, String> {
        let path = snapshot::path(&node.config());
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("Cannot open {}: {error}", path.display())),
        };
        let (senders, batches): (Vec<_>, Vec<_>) =
            (0..node.shards).map(|_| sync_channel(BATCHES_MAX)).unzip();
        let (told, done) = channel();
        let intakes = batches.into_iter().map(|batches| Intake {
            batches,
            done: told.clone(),
        });
        let intakes = intakes.collect();
        let total = file.metadata().map_or(0, |facts| facts.len());
        node.saver.loading.begin(now_ms / 1000, total);
        let node = node.clone();
        let thread = std::thread::Builder::new()
            .name("loading".into())
            .spawn(move || Loader::new(&node, now_ms, senders).load(file, &path, &node))
            .map_err(|error| format!("Cannot start the loading thread: {error}"))?;
        Ok(Some(Self {
            intakes,
            done,
            thread,
        }))
    }

    /// Waits until all shards have what came for them, and lets them serve it; what was wrong.
    pub fn end(self, node: &Node) -> Result<(), String> {
        for _ in 0..node.shards {
            if self.done.recv().is_err() {
                return Err("The server stops before its dataset is loaded".into());
            }
        }
        let ended = self.thread.join();
        ended.unwrap_or_else(|_| Err("The loading thread has ended".into()))?;
        node.saver.loading.end();
        node.wake_all();
        Ok(())
    }
}

struct Loader {
    config: Arc<Config>,
    hasher: Hasher,
    slot_map: Box<[ShardId; crate::keyspace::SLOTS]>,
    lfu: Lfu,
    now_ms: u64,
    senders: Vec<SyncSender<Batch>>,
    waiting: Vec<Batch>,
    keys: u64,
    expired: u64,
}

impl Loader {
    fn new(node: &Node, now_ms: u64, senders: Vec<SyncSender<Batch>>) -> Self {
        let config = node.config();
        Self {
            hasher: Hasher::new(node.hash_seed),
            slot_map: even_slot_map(node.shards),
            lfu: Lfu::of(&config),
            now_ms,
            waiting: senders.iter().map(|_| Batch::new()).collect(),
            senders,
            keys: 0,
            expired: 0,
            config,
        }
    }

    fn load(mut self, mut file: File, path: &Path, node: &Node) -> Result<(), String> {
        let began = Instant::now();
        let limits = Limits::of(&self.config, self.hasher);
        let mut reader = Reader::new(&limits, self.config.rdbchecksum);
        let failed = |why: &dyn std::fmt::Display| format!("Loading {}: {why}", path.display());
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut functions = Vec::new();
        loop {
            let bytes = file.read(&mut chunk).map_err(|error| failed(&error))?;
            if bytes == 0 {
                reader.end().map_err(|error| failed(&error))?;
                break;
            }
            reader.feed(&chunk[..bytes]);
            node.saver.loading.read(reader.offset());
            while let Some(item) = reader.next_item().map_err(|error| failed(&error))? {
                match item {
                    Item::Entry(entry) => self.entry(entry).map_err(|why| failed(&why))?,
                    Item::Function(library) => functions.push(library),
                    Item::Aux(name, value) => note(&name, &value),
                    Item::Empty(key) => log::notice(format_args!(
                        "Loading passes over the empty key '{}'",
                        key.escape_ascii()
                    )),
                    Item::End => {}
                }
            }
        }
        for shard in 0..self.senders.len() {
            self.send(shard);
        }
        if !functions.is_empty() {
            log::notice(format_args!(
                "{} libraries of functions are kept, and cannot be called yet",
                functions.len()
            ));
        }
        node.saver.loaded(self.keys, self.expired, functions);
        log::notice(format_args!(
            "Done loading RDB, keys loaded: {}, keys expired: {}.",
            self.keys, self.expired
        ));
        let seconds = began.elapsed().as_secs_f64();
        log::notice(format_args!("DB loaded from disk: {seconds:.3} seconds"));
        Ok(())
    }

    fn entry(&mut self, entry: Entry) -> Result<(), String> {
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
        let pos = self.hasher.pos(&entry.key);
        let (key, expiry) = (entry.key, entry.expiry);
        let owned = entry
            .value
            .store(|value| OwnedEntry::new(&key, expiry, clock, value));
        let shard = self.slot_map[pos.slot().index()].index();
        self.waiting[shard].push((db, pos, owned));
        if self.waiting[shard].len() >= BATCH_ENTRIES {
            self.send(shard);
        }
        Ok(())
    }

    /// What the entry remembers of its last access.
    fn clock(&self, entry: &Entry) -> u32 {
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

    fn send(&mut self, shard: usize) {
        let batch = std::mem::take(&mut self.waiting[shard]);
        // A shard that takes nothing has ended, and the start with it.
        let _ = self.senders[shard].send(batch);
    }
}

fn note(name: &[u8], value: &[u8]) {
    if name == b"redis-ver" {
        log::notice(format_args!(
            "Loading RDB produced by version {}",
            value.escape_ascii()
        ));
    }
}
