//! `CONFIG SET appendonly`: logs are turned on and off while the server runs.
//!
//! ```text
//!          turn_on, seat          all listen: keep          stop           all have closed
//!   Off ────────────────► Starting ──────────► Kept ─────────────► Ending ────────────► Off
//! ```
//!
//! Both turning points, [`keep`](Logs::keep) and [`stop`](Logs::stop), lie where one transaction holds
//! every database at every shard: whatever a shard does later is done by who has heard of it. So a
//! transaction is in all logs that it concerns or in none, and what is there when logs are stopped is a
//! cut.
//!
//! *On*: the logs begin under an epoch of their own beside those of before, with a base that is written
//! as for BGREWRITEAOF ([`crate::command::server`], `rewrite`). Until it is durable a start reads what it
//! would have read without them; then the manifest names the new ones alone, in one step. As on Redis
//! a base that cannot be written is tried again.
//!
//! *Off*: every shard writes out what it has logged. Only then its files are closed, and only then who
//! has turned it off is told ([`crate::net`], `log_switch`). The files stay: a later start with
//! `appendonly yes` comes back to that moment, as on Redis.

use std::sync::atomic::Ordering;

use super::{Logs, Seat, locked};
use crate::mesh::ShardId;
use crate::server::config::Config;
use crate::server::log;
use crate::server::recovery::log_path;
use crate::storage::directory::Directory;
use crate::storage::preparing::Preparer;

/// What is done with effects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Phase {
    /// They are logged nowhere.
    Off,
    /// Shards have begun to listen, not all of them: nothing is logged yet.
    Starting,
    /// They are logged.
    Kept,
    /// Nothing more is logged, and what was is written out.
    Ending,
}

/// How far a shard is with ending its log.
mod end {
    pub(super) const OPEN: u8 = 0;
    pub(super) const WRITTEN: u8 = 1;
    pub(super) const CLOSED: u8 = 2;
}

impl Logs {
    /// What is done with effects now.
    #[inline]
    pub fn phase(&self) -> Phase {
        let phase = self.phase.load(Ordering::Acquire);
        let phases = [Phase::Off, Phase::Starting, Phase::Kept, Phase::Ending];
        phases[usize::from(phase)]
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Whether logs are kept.
    #[inline]
    pub fn are_kept(&self) -> bool {
        self.phase.load(Ordering::Acquire) == Phase::Kept as u8
    }

    /// Whether logs are kept or are about to be.
    pub fn are_on(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    /// Whether logs are on that no start would read yet: their first base is missing.
    pub fn is_without_base(&self) -> bool {
        self.are_on() && !self.based.load(Ordering::SeqCst)
    }

    /// Logs are to be kept from now on: takes their directory. They begin with the next rewriting,
    /// which is asked for. Writes and syncs the manifest, on the shard of who has asked, as Redis does.
    pub fn turn_on(&self, config: &Config) -> Result<(), String> {
        let mut directory = locked(&self.directory);
        if self.are_kept() {
            // They were to be turned off, and it has not come to that.
            self.wanted.store(true, Ordering::Release);
            return Ok(());
        }
        // Logs that are being ended have it still, unless `dir` is another one since.
        let path = log_path(config);
        if directory.as_ref().is_none_or(|known| known.name() != path) {
            let opened = Directory::open(&path).map_err(|error| error.to_string())?;
            *directory = Some(opened);
        }
        let reserved = directory.as_mut().map_or(Ok(()), Directory::reserve);
        if reserved.is_err() && self.phase() != Phase::Ending {
            *directory = None;
        }
        reserved.map_err(|error| error.to_string())?;
        let mut rewriting = locked(&self.rewriting);
        (rewriting.scheduled, rewriting.failures) = (true, 0);
        self.based.store(false, Ordering::SeqCst);
        self.wanted.store(true, Ordering::Release);
        Ok(())
    }

    /// What was asked for besides has failed: nothing is turned on, as long as nothing has begun.
    pub fn turn_on_undone(&self) {
        let mut directory = locked(&self.directory);
        match self.phase() {
            Phase::Off => *directory = None,
            Phase::Ending => {}
            Phase::Starting | Phase::Kept => return,
        }
        locked(&self.rewriting).scheduled = false;
        self.wanted.store(false, Ordering::Release);
    }

    /// Gives the shards their seats, for a rewriting that has begun, unless they have them.
    pub fn seat(&self, config: &Config) -> Result<(), String> {
        let mut directory = locked(&self.directory);
        let (Phase::Off, Some(directory)) = (self.phase(), directory.as_mut()) else {
            return Ok(());
        };
        let firsts = self.ends();
        let blocks = config.segment_blocks();
        let preparer = Preparer::start(directory.folder().clone())
            .map_err(|error| format!("Cannot start the thread that prepares segments: {error}"))?;
        let begun = directory.begin_beside(&firsts, blocks);
        let generation = begun.map_err(|error| error.to_string())?;
        for (word, first) in self.words.iter().zip(&firsts) {
            for lsn in [&word.from, &word.certain] {
                lsn.store(first.0, Ordering::Relaxed);
            }
        }
        self.before.store(0, Ordering::Relaxed);
        let seat = |(shard, &first)| Seat {
            identity: generation.identity(ShardId(shard)),
            segment_blocks: blocks,
            first,
            preparer: preparer.clone(),
        };
        *locked(&self.seats) = (0..).zip(&firsts).map(seat).map(Some).collect();
        self.enter(Phase::Starting);
        Ok(())
    }

    /// Every shard has begun to listen, and all of them are held: from here on effects are logged.
    pub(super) fn keep(&self) {
        if self.phase() == Phase::Starting {
            self.enter(Phase::Kept);
        }
    }

    /// All shards are held: from here on nothing is logged. Whether logs were.
    pub fn stop(&self) -> bool {
        let mut directory = locked(&self.directory);
        self.wanted.store(false, Ordering::Release);
        locked(&self.rewriting).scheduled = false;
        match self.phase() {
            Phase::Starting | Phase::Kept => {
                let open = |word: &super::Word| word.end_of_log.store(end::OPEN, Ordering::SeqCst);
                self.words.iter().for_each(open);
                self.open.store(self.words.len(), Ordering::SeqCst);
                self.enter(Phase::Ending);
                true
            }
            Phase::Off => {
                *directory = None;
                false
            }
            Phase::Ending => false,
        }
    }

    /// A shard has written out what it has logged, or never will; whether that is something new.
    pub fn has_written_out(&self, shard: ShardId) -> bool {
        let word = &self.words[shard.index()].end_of_log;
        let new =
            word.compare_exchange(end::OPEN, end::WRITTEN, Ordering::SeqCst, Ordering::SeqCst);
        new.is_ok()
    }

    /// Whether all shards have: nothing waits for a log any more.
    pub fn have_all_written_out(&self) -> bool {
        let mut words = self.words.iter();
        words.all(|word| word.end_of_log.load(Ordering::SeqCst) != end::OPEN)
    }

    /// A shard has closed its log. Whether all have: then logs can begin anew.
    pub fn has_closed(&self, shard: ShardId) -> bool {
        let word = &self.words[shard.index()].end_of_log;
        if word.swap(end::CLOSED, Ordering::SeqCst) == end::CLOSED
            || self.open.fetch_sub(1, Ordering::SeqCst) > 1
        {
            return false;
        }
        let mut directory = locked(&self.directory);
        if !self.are_on() {
            *directory = None;
        }
        for word in &self.words {
            word.no_segment.store(0, Ordering::Relaxed);
            word.full.store(false, Ordering::Relaxed);
        }
        self.failed.store(0, Ordering::Relaxed);
        self.enter(Phase::Off);
        log::notice(format_args!(
            "The log is closed. It stays as it is: a start with appendonly yes comes back to it."
        ));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Lsn;

    #[test]
    fn logs_close_when_all_shards_have() {
        let logs = Logs::new(2);
        assert!(!logs.stop(), "there is none");
        logs.enter(Phase::Starting);
        logs.keep();
        assert!(logs.are_kept());
        assert!(logs.stop() && !logs.stop());
        assert_eq!(logs.phase(), Phase::Ending);
        assert!(logs.has_written_out(ShardId(1)) && !logs.has_written_out(ShardId(1)));
        assert!(!logs.have_all_written_out());
        assert!(logs.has_written_out(ShardId(0)));
        assert!(logs.have_all_written_out());
        assert!(!logs.has_closed(ShardId(0)) && !logs.has_closed(ShardId(0)));
        assert!(logs.has_closed(ShardId(1)));
        assert_eq!(logs.phase(), Phase::Off);
        assert!(
            !logs.are_certain(&[Lsn(0), Lsn(0)]),
            "no start would read it"
        );
    }
}
