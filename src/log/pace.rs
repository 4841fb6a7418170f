//! When a log is flushed: `appendfsync`.

use super::Lsn;
use super::writer::{How, Writer};

/// `appendfsync`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// Replies wait for the sync of what they did. Where there is enough for it, a flush begins beside
    /// those that are under way.
    Always,
    /// A sync in every second in which something was written.
    EverySecond,
    /// The device decides.
    No,
}

/// Milliseconds between two syncs of `everysec`.
const SECOND_MS: u64 = 1000;
/// The same for `no`: what Linux lets go by before it writes out what a program has not synced.
const SELDOM_MS: u64 = 30_000;
/// With this much in whole blocks a write begins before the sync is due, so that the sync has
/// little left to do and memory stays bounded: large enough that writes are cheap.
pub const WRITE_BYTES: usize = 256 * 1024;
/// A sync is due as well when so many such writes wait for one: 64 MiB. What no sync has covered a start
/// after a crash keeps in memory until it knows where all logs end.
const UNSYNCED_WRITES_MAX: usize = 256;

/// With `always` a flush begins beside another only when the last one has begun so many microseconds
/// before. A device that takes longer has several to carry out at once; with one that does not, what
/// comes meanwhile is as soon durable by one flush as by several, and each costs its share of the core.
const BESIDE_PAUSE_US: u64 = 300;
/// Nor does a flush of so many bytes wait for that: what it costs is lost in what its bytes do.
const BESIDE_BYTES: u64 = 64 * 1024;

impl Policy {
    fn pause_ms(self) -> u64 {
        match self {
            Self::Always => 0,
            Self::EverySecond => SECOND_MS,
            Self::No => SELDOM_MS,
        }
    }
}

/// When a shard's log is flushed.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// When the last sync began.
    synced_ms: u64,
    /// What it is to make durable. A flush ends at the end of its segment: it may take several.
    goal: Lsn,
    /// When the last flush of `always` began, in microseconds.
    begun_us: u64,
    write_bytes: usize,
}

impl Pace {
    /// Writes begin with so many bytes: [`WRITE_BYTES`], but for tests.
    pub fn new(write_bytes: usize) -> Self {
        Self {
            synced_ms: 0,
            goal: Lsn::default(),
            begun_us: 0,
            write_bytes,
        }
    }

    /// The flush that is due now, in Unix microseconds, if any. The caller begins it at once.
    pub fn due(&mut self, policy: Policy, writer: &Writer, now_us: u64) -> Option<How> {
        let now_ms = now_us / 1000;
        if policy == Policy::Always && writer.takes_another() {
            let due =
                now_us >= self.begun_us + BESIDE_PAUSE_US || writer.waiting_bytes() >= BESIDE_BYTES;
            return due.then(|| self.begins(now_us));
        }
        if now_ms >= self.next_ms(policy, writer)? {
            if !self.goes_on(writer) {
                self.synced_ms = now_ms;
                self.goal = self.goal.max(writer.end());
            }
            return Some(self.begins(now_us));
        }
        (writer.waiting_whole_bytes() >= self.write_bytes).then_some(How::Whole)
    }

    fn begins(&mut self, now_us: u64) -> How {
        self.begun_us = now_us;
        How::Sync
    }

    /// When the next sync is due, in Unix milliseconds.
    pub fn next_ms(&self, policy: Policy, writer: &Writer) -> Option<u64> {
        let due = writer.is_dirty() && !writer.is_flushing() && !writer.has_failed();
        let pause_ms = match self.goes_on(writer) || self.is_behind(writer) {
            true => 0,
            false => policy.pause_ms(),
        };
        due.then_some(self.synced_ms + pause_ms)
    }

    /// Whether more waits for a sync than a start should have to keep in memory.
    fn is_behind(&self, writer: &Writer) -> bool {
        let unsynced = writer.end().since(writer.durable());
        unsynced >= (self.write_bytes * UNSYNCED_WRITES_MAX) as u64 && !writer.is_starved()
    }

    /// Whether the sync that has begun last goes on: what is left of it waits for no other second.
    fn goes_on(&self, writer: &Writer) -> bool {
        writer.durable() < self.goal && !writer.is_starved()
    }
}
