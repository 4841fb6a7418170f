//! What a shard does for its connections besides commands: admission, limits, pauses, the slow
//! tick, the end.

use super::engine::Engine;
use super::session::{ConnId, Peer, Stall, flag};
use crate::command::registry::RowId;
use crate::server::log;

/// Milliseconds between ticks.
const TICK_MS: u64 = 1000;

const PROTECTED: &str = "-DENIED Ringdove is running in protected mode because protected mode is \
enabled and no password is set for the default user. In this mode connections are only accepted \
from the loopback interface. If you want to connect from external computers to Ringdove you may \
adopt one of the following solutions: 1) Just disable protected mode sending the command \
'CONFIG SET protected-mode no' from the loopback interface by connecting to Ringdove from the same \
host the server is running, however MAKE SURE Ringdove is not publicly accessible from internet if \
you do so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable \
the protected mode by editing the configuration file, and setting the protected mode option to \
'no', and then restarting the server. 3) If you started the server manually just for testing, \
restart it with the '--protected-mode no' option. 4) Set up an authentication password for the \
default user. NOTE: You only need to do one of the above things in order for the server to start \
accepting connections from the outside.\r\n";

impl Engine {
    /// Sets the clock; once a turn.
    pub fn set_clock(&mut self, now_us: u64) {
        self.shard.now_us = now_us;
        self.shard.now_ms = now_us / 1000;
        self.shard.stats.turns += 1;
    }

    /// Why a connection that was counted already must be turned away, as the line to say.
    pub fn refuses(&mut self, peer: &Peer) -> Option<&'static str> {
        if self.shard.node.connected() > self.shard.config.maxclients as usize {
            self.shard.stats.connections_rejected += 1;
            return Some("-ERR max number of clients reached\r\n");
        }
        let open = !self.shard.config.protected_mode || !self.shard.config.requirepass.is_empty();
        (!open && !peer.is_local()).then_some(PROTECTED)
    }

    /// The kernel could not accept a connection.
    pub fn accept_failed(&mut self, errno: i32) {
        let error = std::io::Error::from_raw_os_error(errno);
        log::warning(format_args!("Accepting client connection: {error}"));
    }

    /// Closes a connection whose output has grown over its limits.
    pub fn watch_output(&mut self, conn: ConnId) {
        let hard = self.shard.config.client_output_buffer_limit.normal.hard as usize;
        let session = self.session(conn);
        if hard > 0 && session.output_bytes() > hard {
            self.shard.stats.output_buffer_limit_disconnections += 1;
            self.close(conn);
        }
    }

    /// Work that is due now and then: timeouts. Milliseconds until the next tick.
    pub fn tick(&mut self) -> u64 {
        if !self.shard.expiry.paused {
            self.close_idle();
        }
        TICK_MS
    }

    /// Milliseconds until [`background`](Self::background) has something to do: 0 at once, None
    /// that nothing is foreseen.
    pub fn background_in_ms(&self) -> Option<u64> {
        self.shard.background_in_ms()
    }

    /// A bounded slice of background work: expiry, freeing.
    pub fn background(&mut self) {
        self.shard.background();
    }

    fn close_idle(&mut self) {
        let timeout_ms = i64::from(self.shard.config.timeout) * 1000;
        if timeout_ms == 0 {
            return;
        }
        let now = self.shard.now_ms as i64;
        let idle = |s: &super::session::Session| now - s.info.active_ms > timeout_ms;
        let idle: Vec<ConnId> = self
            .sessions()
            .filter(|(_, s)| !s.is(flag::BLOCKED | flag::MONITOR) && idle(s))
            .map(|(conn, _)| conn)
            .collect();
        idle.into_iter().for_each(|conn| self.close(conn));
    }

    /// Whether the loop must not sleep.
    pub fn has_work(&self) -> bool {
        !self.resumable.is_empty() || !self.dirty.is_empty()
    }

    /// Whether CLIENT PAUSE holds this command back.
    pub(super) fn is_paused(&mut self, _conn: ConnId, _row: RowId) -> bool {
        false
    }

    /// Shows a command to those who monitor.
    pub(super) fn feed_monitors(&mut self, _conn: ConnId, _row: RowId, _args: &[&[u8]]) {}

    /// Ends all connections once what they asked for is answered.
    pub fn stop_serving(&mut self) {
        let all: Vec<ConnId> = self.sessions().map(|(conn, _)| conn).collect();
        for conn in all {
            let session = self.session(conn);
            session.stall = Stall::No;
            session.flags |= flag::CLOSE_AFTER_REPLY;
            self.mark_dirty(conn);
        }
    }
}
