//! What the shards of the process share about their logs: with what each begins its own, and
//! whether the logs let clients write. Looked at when the start is over, when something changes and
//! when INFO asks.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::log::pace::Policy;
use crate::log::shard_log::Refusal;
use crate::log::{Identity, Lsn};
use crate::mesh::ShardId;
use crate::server::config::Appendfsync;
use crate::storage::directory::Directory;
use crate::storage::preparing::Preparer;

/// With what a shard begins its log.
#[derive(Clone)]
pub struct Seat {
    /// Whose log it is.
    pub identity: Identity,
    /// Blocks of a segment.
    pub segment_blocks: u32,
    /// The first LSN.
    pub first: Lsn,
    /// Who prepares its segments.
    pub preparer: Preparer,
}

/// What one shard has to say that concerns all.
#[derive(Debug, Default)]
struct Word {
    /// The error for which there is no segment to write to; 0: there is one.
    no_segment: AtomicI32,
    /// Whether its disk does not keep up.
    full: AtomicBool,
    /// Where its log ends, and up to where it is certain to survive.
    end: AtomicU64,
    certain: AtomicU64,
}

/// The logs of the process.
pub struct Logs {
    /// Kept open: it is locked as long as it is.
    directory: OnceLock<Directory>,
    seats: Mutex<Vec<Option<Seat>>>,
    /// Shards that have not begun their logs yet.
    missing: AtomicUsize,
    /// Clients that wait for logs to become certain.
    waiters: AtomicUsize,
    words: Box<[Word]>,
    /// The error with which a write or sync has failed; 0: none has.
    failed: AtomicI32,
    /// DEBUG LOG-FAULT: the error with which the next write is to fail; 0: with none.
    write_fault: AtomicI32,
    /// DEBUG LOG-FAULT: whether there is no space for segments.
    space_fault: AtomicBool,
}

impl Logs {
    /// Of so many shards, none of which keeps a log yet.
    pub fn new(shards: usize) -> Self {
        Self {
            directory: OnceLock::new(),
            seats: Mutex::default(),
            missing: AtomicUsize::new(0),
            waiters: AtomicUsize::new(0),
            words: (0..shards).map(|_| Word::default()).collect(),
            failed: AtomicI32::new(0),
            write_fault: AtomicI32::new(0),
            space_fault: AtomicBool::new(false),
        }
    }

    /// Lets the next write fail, of whichever log.
    pub fn fail_next_write(&self, errno: i32) {
        self.write_fault.store(errno, Ordering::Relaxed);
    }

    /// The error with which a write is to fail that has just been carried out.
    pub fn take_write_fault(&self) -> Option<i32> {
        // Looked at first: it is asked for with every flush.
        if self.write_fault.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Some(self.write_fault.swap(0, Ordering::Relaxed)).filter(|errno| *errno != 0)
    }

    /// Lets the disk be full for new segments, or not any more.
    pub fn fill_disk(&self, full: bool) {
        self.space_fault.store(full, Ordering::Relaxed);
    }

    /// Whether it is to be.
    pub fn is_disk_filled(&self) -> bool {
        self.space_fault.load(Ordering::Relaxed)
    }

    /// The logs are to begin, in this directory, with these seats in the order of the shards.
    pub fn begin(&self, directory: Directory, seats: Vec<Seat>) {
        assert_eq!(seats.len(), self.words.len(), "a seat for each shard");
        let mut held = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        self.missing.store(seats.len(), Ordering::Release);
        *held = seats.into_iter().map(Some).collect();
        let first = self.directory.set(directory).is_ok();
        assert!(first, "they begin once");
    }

    /// Whether logs are kept.
    pub fn are_kept(&self) -> bool {
        self.directory.get().is_some()
    }

    /// Bytes of the snapshot that the logs build on; 0 without one.
    pub fn base_bytes(&self) -> u64 {
        let directory = self.directory.get();
        let path = directory.and_then(|d| Some(d.base_path(d.manifest().base?)));
        path.and_then(|path| std::fs::metadata(path).ok())
            .map_or(0, |facts| facts.len())
    }

    /// A shard's seat, once.
    pub fn take_seat(&self, shard: ShardId) -> Option<Seat> {
        let mut held = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        held.get_mut(shard.index()).and_then(Option::take)
    }

    /// A shard has taken its seat and logs what is done from now on; whether it was the last.
    pub fn taken_up(&self) -> bool {
        self.missing.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Whether every shard logs what is done, or none is to: before that none may serve the dataset,
    /// since a command may run at any of them.
    pub fn are_taken_up(&self) -> bool {
        self.missing.load(Ordering::Acquire) == 0
    }

    /// A shard says how its log is; whether that is something new, which all shards are to be told.
    pub fn say(&self, shard: ShardId, refusal: Option<Refusal>, full: bool) -> bool {
        let word = &self.words[shard.index()];
        let mut new = word.full.swap(full, Ordering::Relaxed) != full;
        match refusal {
            Some(Refusal::Failed(error)) => {
                new |= self.failed.swap(error, Ordering::Relaxed) == 0;
            }
            Some(Refusal::NoSegment(error)) => {
                new |= word.no_segment.swap(error, Ordering::Relaxed) != error;
            }
            None => new |= word.no_segment.swap(0, Ordering::Relaxed) != 0,
        }
        new
    }

    /// A shard's log ends there now. It is told before anybody hears of what was logged.
    pub fn logged(&self, shard: ShardId, end: Lsn) {
        self.words[shard.index()]
            .end
            .store(end.0, Ordering::Release);
    }

    /// A shard's log is certain to survive up to there; whether somebody waits for that.
    pub fn got_certain(&self, shard: ShardId, certain: Lsn) -> bool {
        let word = &self.words[shard.index()];
        // Before it is looked whether somebody waits; who begins to looks the other way round.
        word.certain.store(certain.0, Ordering::SeqCst);
        self.waiters.load(Ordering::SeqCst) > 0
    }

    /// Where the log of each shard ends.
    pub fn ends(&self) -> Box<[Lsn]> {
        let end = |word: &Word| Lsn(word.end.load(Ordering::Acquire));
        self.words.iter().map(end).collect()
    }

    /// Whether each log is certain to survive up to there.
    pub fn are_certain(&self, ends: &[Lsn]) -> bool {
        let mut logs = self.words.iter().zip(ends);
        logs.all(|(word, end)| word.certain.load(Ordering::SeqCst) >= end.0)
    }

    /// A client waits for the logs to become certain.
    pub fn waiter_came(&self) {
        self.waiters.fetch_add(1, Ordering::SeqCst);
    }

    /// It does not any more.
    pub fn waiter_went(&self) {
        self.waiters.fetch_sub(1, Ordering::SeqCst);
    }

    /// Why no shard takes writes, if that is so.
    pub fn refusal(&self) -> Option<Refusal> {
        let failed = self.failed.load(Ordering::Relaxed);
        if failed != 0 {
            return Some(Refusal::Failed(failed));
        }
        let mut errors = self
            .words
            .iter()
            .map(|w| w.no_segment.load(Ordering::Relaxed));
        errors.find(|error| *error != 0).map(Refusal::NoSegment)
    }

    /// Whether writes wait for the disk.
    pub fn are_full(&self) -> bool {
        self.words
            .iter()
            .any(|word| word.full.load(Ordering::Relaxed))
    }
}

/// `appendfsync` as the log knows it.
pub fn policy(appendfsync: Appendfsync) -> Policy {
    match appendfsync {
        Appendfsync::Always => Policy::Always,
        Appendfsync::Everysec => Policy::EverySecond,
        Appendfsync::No => Policy::No,
    }
}
