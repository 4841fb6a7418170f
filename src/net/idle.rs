//! Which connections have been silent for longer than `timeout`, without walking all of them.
//!
//! Each connection stands in one bucket, named by the second at which it would time out if it said
//! nothing more. When that second has passed, its bucket is looked at: a connection that did speak
//! moves on to the bucket where it belongs now. So a connection is looked at once in `timeout`
//! seconds, and there is nothing at all to do while `timeout` is 0.

use std::collections::BTreeMap;

use super::engine::Engine;
use super::session::{ConnId, Stall, flag};

/// Connections looked at in one tick; the rest waits for the next.
const LOOKED_AT_MAX: usize = 1024;

/// The buckets.
#[derive(Default)]
pub struct IdleWatch {
    /// The `timeout` that the buckets were made for, seconds.
    timeout: u32,
    /// Connection and client id by the second of their possible end.
    buckets: BTreeMap<u64, Vec<(ConnId, u64)>>,
    /// While connections that were there before are being entered: the next one, and the first
    /// client id that is entered when it connects.
    entering: Option<(ConnId, u64)>,
}

impl Engine {
    /// Enters a new connection.
    pub(super) fn watch_idle(&mut self, conn: ConnId, id: u64) {
        if self.idle.timeout > 0 {
            let due = self.shard.now_ms / 1000 + u64::from(self.idle.timeout) + 1;
            self.idle.buckets.entry(due).or_default().push((conn, id));
        }
    }

    /// Closes connections that have been silent for too long; a bounded number in one call.
    pub(super) fn close_idle(&mut self) {
        if self.idle.timeout != self.shard.config.timeout {
            self.idle.timeout = self.shard.config.timeout;
            self.idle.buckets.clear();
            let first_new = self.shard.node.new_client_id();
            self.idle.entering = (self.idle.timeout > 0).then_some((0, first_new));
        }
        self.enter_more();
        let now = self.shard.now_ms / 1000;
        for _ in 0..LOOKED_AT_MAX {
            let Some(mut bucket) = self.idle.buckets.first_entry() else {
                return;
            };
            if *bucket.key() > now {
                return;
            }
            match bucket.get_mut().pop() {
                Some((conn, id)) => self.look_at_idle(conn, id, now),
                None => {
                    bucket.remove();
                }
            }
        }
    }

    /// Enters connections that were there before `timeout` was set.
    fn enter_more(&mut self) {
        let Some((next, first_new)) = self.idle.entering else {
            return;
        };
        let end = (next as usize + LOOKED_AT_MAX).min(self.sessions.len());
        let due = self.shard.now_ms / 1000;
        let mut found = Vec::new();
        for conn in next as usize..end {
            if let Some(session) = self.sessions[conn].as_deref()
                && session.id < first_new
            {
                found.push((conn as ConnId, session.id));
            }
        }
        self.idle.buckets.entry(due).or_default().extend(found);
        self.idle.entering = (end < self.sessions.len()).then_some((end as ConnId, first_new));
    }

    fn look_at_idle(&mut self, conn: ConnId, id: u64, now: u64) {
        let timeout = u64::from(self.idle.timeout);
        let Some(session) = self.session_if(conn).filter(|s| s.id == id && s.is_alive()) else {
            return;
        };
        let exempt = flag::BLOCKED | flag::MONITOR | flag::PUBSUB;
        let spared = session.is(exempt) || session.stall == Stall::Paused;
        let end = session.info.active_ms as u64 / 1000 + timeout + 1;
        if end <= now && !spared {
            crate::server::log::verbose(format_args!("Closing idle client"));
            return self.close(conn);
        }
        let due = if spared { now + timeout } else { end };
        let due = due.max(now + 1);
        self.idle.buckets.entry(due).or_default().push((conn, id));
    }
}
