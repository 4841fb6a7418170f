//! CLIENT PAUSE: commands of a kind wait at their connection's home until a time, or until
//! CLIENT UNPAUSE. Every shard keeps its own note of it; expiry and eviction rest meanwhile, so
//! that the dataset stays as it is.

use super::engine::{Engine, slow};
use super::session::{ConnId, flag};
use crate::command::registry::RowId;
use crate::command::spec::{Flags, Run};
use crate::txn::multi::Control;

/// A pause that is in force, and who waits for its end.
#[derive(Default)]
pub struct Pause {
    /// Unix time of its end, milliseconds; 0: there is none.
    until_ms: u64,
    /// Whether it holds every command, or only those that write.
    all: bool,
    waiting: Vec<ConnId>,
}

impl Engine {
    /// Pauses clients for `timeout_ms`. A pause that is in force is never shortened nor narrowed,
    /// as on Redis.
    pub fn pause(&mut self, timeout_ms: u64, all: bool) {
        self.end_pause_if_due();
        let until_ms = self.shard.now_ms.saturating_add(timeout_ms);
        self.pause.all |= all;
        self.pause.until_ms = self.pause.until_ms.max(until_ms);
        self.slow |= slow::PAUSE;
        self.rest_if_paused();
    }

    /// Ends the pause.
    pub fn unpause(&mut self) {
        self.pause.until_ms = 0;
        self.pause.all = false;
        self.slow &= !slow::PAUSE;
        self.rest_if_paused();
        self.resumable.append(&mut self.pause.waiting);
    }

    /// Ends the pause when its time has come.
    pub(super) fn end_pause_if_due(&mut self) {
        if self.slow & slow::PAUSE != 0 && self.shard.now_ms >= self.pause.until_ms {
            self.unpause();
        }
    }

    /// Unix time at which the pause ends, milliseconds.
    pub(super) fn pause_end_ms(&self) -> Option<u64> {
        (self.slow & slow::PAUSE != 0).then_some(self.pause.until_ms)
    }

    /// Whether a command is held back; if so its connection waits.
    pub(super) fn is_paused(&mut self, conn: ConnId, row: RowId) -> bool {
        self.end_pause_if_due();
        if self.slow & slow::PAUSE == 0 || self.session(conn).is(flag::MONITOR) {
            return false;
        }
        let held = self.pause.all || self.may_write(conn, row);
        if held {
            self.pause.waiting.push(conn);
        }
        held
    }

    /// Whether a command may write, or publish.
    fn may_write(&mut self, conn: ConnId, row: RowId) -> bool {
        self.does(conn, row, Flags::WRITE | Flags::MAY_REPLICATE)
    }

    /// Whether a command may write.
    pub(super) fn writes(&mut self, conn: ConnId, row: RowId) -> bool {
        self.does(conn, row, Flags::WRITE)
    }

    /// Whether a command does any of these: EXEC does what its block does.
    fn does(&mut self, conn: ConnId, row: RowId, writes: Flags) -> bool {
        let registry = self.shard.registry.clone();
        let spec = registry.row(row).spec;
        if !matches!(spec.run, Run::Control(Control::Exec)) {
            return spec.flags.any(writes);
        }
        let commands = self.session(conn).info.multi.commands();
        let mut rows = commands.iter().map(|queued| queued.command.row);
        rows.any(|row| registry.row(row).spec.flags.any(writes))
    }
}
