//! What the shards of the process share about their logs: with what each begins its own, and
//! whether the logs let clients write. Looked at when the start is over, when something changes and
//! when INFO asks.

mod switch;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::log::manifest::Mark;
use crate::log::pace::Policy;
use crate::log::shard_log::Refusal;
use crate::log::{Identity, Lsn};
use crate::mesh::ShardId;
use crate::server::config::{Appendfsync, Config};
use crate::server::recovery::log_path;
use crate::storage::directory::Directory;
use crate::storage::folder::Folder;
use crate::storage::preparing::Preparer;

pub use switch::Phase;

/// What a slot that moves may take in the log: half of what a record holds, as it may grow between the
/// measuring and the move.
const SLOT_BYTES_MAX: u64 = 2 << 30;

/// The command that begins a rewriting ends at once: when the base is written it has long ended.
const SETTLE_MAX: Duration = Duration::from_secs(20);

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
    /// From where on its log counts: the base holds what is before.
    from: AtomicU64,
    /// Where its log ends, and up to where it is certain to survive.
    end: AtomicU64,
    certain: AtomicU64,
    /// How far its shard is with ending it.
    end_of_log: AtomicU8,
}

/// A base that is to be written.
#[derive(Debug)]
pub struct NextBase {
    /// Its number.
    pub number: u64,
    /// Where it is to be.
    pub path: PathBuf,
    /// By which the path goes, even where no log is kept any more.
    _folder: Folder,
}

/// Where the logs stood when the base that is being written began.
#[derive(Debug, Default)]
struct Marks {
    of_shards: Vec<Option<Mark>>,
    settled: bool,
}

/// How the logs were rewritten, for INFO and for who decides when it is time again.
#[derive(Clone, Copy, Default, Debug)]
pub struct Rewriting {
    /// Asked for while a snapshot was being taken.
    pub scheduled: bool,
    /// Unix time at which the last one began, seconds.
    pub last_try: u64,
    /// The client for which it did.
    pub by: u64,
    /// How long the last one took, seconds.
    pub took: Option<u64>,
    /// Whether the last one failed.
    pub failed: bool,
    /// Those that have ended.
    pub rewrites: u64,
    /// Those that have failed since the last one that did not.
    pub failures: u64,
    /// Bytes after the last one, or at the start.
    pub bytes: u64,
}

fn base_bytes(directory: &Directory) -> u64 {
    let base = directory.manifest().base;
    let facts = base.and_then(|base| std::fs::metadata(directory.base_path(base)).ok());
    facts.map_or(0, |facts| facts.len())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panics ends the process.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The logs of the process.
pub struct Logs {
    /// Kept open: it is locked as long as it is.
    directory: Mutex<Option<Directory>>,
    phase: AtomicU8,
    /// Whether logs are to be kept.
    wanted: AtomicBool,
    /// Whether a start would read the logs that are kept, since they have a base or begin empty.
    based: AtomicBool,
    /// Shards that have not closed their logs yet, while they end.
    open: AtomicUsize,
    rewriting: Mutex<Rewriting>,
    /// Bytes of the base, and of the logs of processes before this one.
    before: AtomicU64,
    seats: Mutex<Vec<Option<Seat>>>,
    /// Shards that have not begun their logs yet.
    missing: AtomicUsize,
    /// The number of the last move of slots, which those of processes before this one count as one of; 0:
    /// all are where they would be dealt. None moves while a base is written.
    slot_moves: AtomicU32,
    /// Clients that wait for logs to become certain.
    waiters: AtomicUsize,
    /// Where each log stood when its shard told its part of the base that is being written.
    marks: Mutex<Marks>,
    words: Box<[Word]>,
    /// The error with which a write or sync has failed; 0: none has.
    failed: AtomicI32,
    /// DEBUG LOG-FAULT: the error with which the next write is to fail; 0: with none.
    write_fault: AtomicI32,
    /// DEBUG LOG-FAULT: whether there is no space for segments.
    space_fault: AtomicBool,
    /// What a slot that moves may take in the log, bytes.
    slot_bytes_max: AtomicU64,
}

impl Logs {
    /// Of so many shards, none of which keeps a log yet.
    pub fn new(shards: usize) -> Self {
        Self {
            directory: Mutex::default(),
            phase: AtomicU8::new(Phase::Off as u8),
            wanted: AtomicBool::new(false),
            based: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            rewriting: Mutex::default(),
            before: AtomicU64::new(0),
            seats: Mutex::default(),
            missing: AtomicUsize::new(0),
            slot_moves: AtomicU32::new(0),
            waiters: AtomicUsize::new(0),
            marks: Mutex::default(),
            words: (0..shards).map(|_| Word::default()).collect(),
            failed: AtomicI32::new(0),
            write_fault: AtomicI32::new(0),
            space_fault: AtomicBool::new(false),
            slot_bytes_max: AtomicU64::new(SLOT_BYTES_MAX),
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

    /// What a slot that moves may take in the log, bytes.
    pub fn slot_bytes_max(&self) -> u64 {
        self.slot_bytes_max.load(Ordering::Relaxed)
    }

    /// DEBUG LOG-FAULT: lets it be less.
    pub fn limit_slots(&self, bytes: u64) {
        let bytes = bytes.min(SLOT_BYTES_MAX);
        self.slot_bytes_max.store(bytes, Ordering::Relaxed);
    }

    /// Whether it is to be.
    pub fn is_disk_filled(&self) -> bool {
        self.space_fault.load(Ordering::Relaxed)
    }

    /// The logs are to begin, in this directory, with these seats in the order of the shards.
    pub fn begin(&self, directory: Directory, seats: Vec<Seat>) {
        assert_eq!(seats.len(), self.words.len(), "a seat for each shard");
        let mut held = locked(&self.seats);
        self.missing.store(seats.len(), Ordering::Release);
        for (word, seat) in self.words.iter().zip(&seats) {
            for lsn in [&word.from, &word.end, &word.certain] {
                lsn.store(seat.first.0, Ordering::Relaxed);
            }
        }
        *held = seats.into_iter().map(Some).collect();
        let logs = directory
            .manifest()
            .generations
            .iter()
            .flat_map(|g| &g.logs);
        let older: u64 = logs.filter_map(|log| Some(log.to?.since(log.from))).sum();
        self.before
            .store(base_bytes(&directory) + older, Ordering::Relaxed);
        let before = locked(&self.directory).replace(directory);
        assert!(before.is_none(), "they begin once");
        locked(&self.rewriting).bytes = self.bytes();
        self.wanted.store(true, Ordering::Release);
        self.based.store(true, Ordering::Release);
        self.enter(Phase::Kept);
    }

    /// Slots are about to move: the number of the move, for the logs.
    pub fn next_slot_move(&self) -> u32 {
        self.slot_moves.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The process begins with slots that were moved before.
    pub fn slots_have_moved_before(&self) {
        let before = self.next_slot_move();
        assert_eq!(before, 1, "said before any moves");
    }

    /// Whether slots have moved from where they would be dealt, be it before the start.
    pub fn have_slots_moved(&self) -> bool {
        self.slot_moves.load(Ordering::Relaxed) > 0
    }

    /// Bytes of the base and all logs.
    pub fn bytes(&self) -> u64 {
        let own = |word: &Word| {
            let from = word.from.load(Ordering::Relaxed);
            word.end.load(Ordering::Relaxed).saturating_sub(from)
        };
        self.before.load(Ordering::Relaxed) + self.words.iter().map(own).sum::<u64>()
    }

    /// How the logs were rewritten.
    pub fn rewriting(&self) -> Rewriting {
        *locked(&self.rewriting)
    }

    /// The logs are to be rewritten as soon as no snapshot is being taken.
    pub fn schedule_rewriting(&self) {
        locked(&self.rewriting).scheduled = true;
    }

    /// The next base, for a rewriting that begins.
    pub fn next_base(&self) -> Option<NextBase> {
        let directory = locked(&self.directory);
        let directory = directory.as_ref()?;
        let number = directory.next_base();
        Some(NextBase {
            number,
            path: directory.base_path(number),
            _folder: directory.folder().clone(),
        })
    }

    /// Where the logs are kept, if that is not where `dir` is now.
    pub fn left_behind(&self, config: &Config) -> Option<PathBuf> {
        let directory = locked(&self.directory);
        let name = directory.as_ref()?.name();
        (name != log_path(config)).then(|| name.to_owned())
    }

    /// A shard begins to tell its part of a base; all that its keys' log says later is not in it.
    pub fn mark(&self, shard: ShardId, mark: Mark) {
        let mut marks = locked(&self.marks);
        marks.of_shards.resize(self.words.len(), None);
        marks.of_shards[shard.index()] = Some(mark);
    }

    /// Every shard has marked its log and none has gone on: the marks move to where the logs end, and
    /// logs that begin with this base are kept from now on. Nothing happens where they were not marked.
    pub fn settle_marks(&self) {
        let mut marks = locked(&self.marks);
        let marked = marks.of_shards.iter().flatten().count() == self.words.len();
        if !marked || marks.settled {
            return;
        }
        for (mark, end) in marks.of_shards.iter_mut().flatten().zip(self.ends()) {
            assert!(mark.lsn <= end, "a log only grows");
            mark.lsn = end;
        }
        marks.settled = true;
        self.keep();
    }

    /// The marks, as soon as they are settled.
    fn settled_marks(&self) -> Result<Vec<Mark>, String> {
        let until = Instant::now() + SETTLE_MAX;
        loop {
            let marks = locked(&self.marks);
            if marks.settled {
                return Ok(marks.of_shards.iter().copied().flatten().collect());
            }
            drop(marks);
            if Instant::now() >= until {
                return Err("not all shards have told their part of it".into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The base is durable, to which every shard has told its part: the logs build on it from now on.
    /// Called by the thread that has written it.
    pub fn rebase(&self, number: u64) -> Result<(), String> {
        let marks = self.settled_marks()?;
        let mut directory = locked(&self.directory);
        if !self.are_kept() {
            return Err("the log was turned off".into());
        }
        let directory = directory.as_mut().ok_or("no log is kept")?;
        directory
            .rebase(number, &marks, self.have_slots_moved())
            .map_err(|error| error.to_string())?;
        for (word, mark) in self.words.iter().zip(&marks) {
            word.from.store(mark.lsn.0, Ordering::Relaxed);
        }
        self.before.store(base_bytes(directory), Ordering::Relaxed);
        self.based.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// A rewriting begins, for a client.
    pub fn rewriting_begins(&self, now: u64, client: u64) {
        *locked(&self.marks) = Marks::default();
        let mut rewriting = locked(&self.rewriting);
        (rewriting.scheduled, rewriting.last_try, rewriting.by) = (false, now, client);
    }

    /// It has ended, after so many seconds.
    pub fn rewritten(&self, seconds: u64, result: &io::Result<u64>) {
        let bytes = self.bytes();
        let mut rewriting = locked(&self.rewriting);
        rewriting.took = Some(seconds);
        rewriting.failed = result.is_err();
        rewriting.rewrites += 1;
        rewriting.failures += 1;
        if result.is_ok() {
            (rewriting.failures, rewriting.bytes) = (0, bytes);
        }
        // Without its first base the log is none: it is tried again.
        rewriting.scheduled |= self.is_without_base();
    }

    /// A shard's seat, once.
    pub fn take_seat(&self, shard: ShardId) -> Option<Seat> {
        let mut held = locked(&self.seats);
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

    /// Whether each log is certain to survive up to there; none is that a start would not read.
    pub fn are_certain(&self, ends: &[Lsn]) -> bool {
        let mut logs = self.words.iter().zip(ends);
        let read = self.are_kept() && self.based.load(Ordering::SeqCst);
        read && logs.all(|(word, end)| word.certain.load(Ordering::SeqCst) >= end.0)
    }

    /// Bytes of the logs that are not certain to survive, nor in the base.
    pub fn lacking_bytes(&self) -> u64 {
        if !self.are_kept() {
            return 0;
        }
        let lacking = |word: &Word| {
            let [from, certain, end] = [&word.from, &word.certain, &word.end];
            let kept = from
                .load(Ordering::SeqCst)
                .max(certain.load(Ordering::SeqCst));
            end.load(Ordering::SeqCst).saturating_sub(kept)
        };
        self.words.iter().map(lacking).sum()
    }

    /// No shard writes any more: the logs end here, if all of them is certain to survive. The next
    /// start then need not find that out, and hands over what it reads as it reads it.
    pub fn seal(&self) -> Result<(), String> {
        let ends = self.ends();
        if !self.are_certain(&ends) {
            return Ok(());
        }
        let mut directory = locked(&self.directory);
        let sealed = directory.as_mut().map_or(Ok(()), |held| held.seal(&ends));
        sealed.map_err(|error| error.to_string())
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
