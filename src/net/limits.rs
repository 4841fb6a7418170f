//! Output limits: what a connection may leave unread, by its class, at once and for how long.

use super::engine::Engine;
use super::session::{ConnId, Session, flag};
use crate::server::config::OutputBufferLimit;
use crate::server::log;

/// Output that Redis keeps outside of its reply list and does not count.
const UNCOUNTED_BYTES: usize = 16 * 1024;

/// Connections over their soft limit: connection, client id, Unix time in milliseconds.
pub type OverSoft = Vec<(ConnId, u64, u64)>;

impl Engine {
    /// Closes a connection whose output is over its hard limit, and notes one over the soft limit.
    /// Called whenever output was added, before it is sent, and when the socket has not taken all.
    pub fn watch_output(&mut self, conn: ConnId) {
        let limits = self.shard.config.client_output_buffer_limit;
        let now_ms = self.shard.now_ms;
        let session = self.session(conn);
        if session.is(flag::CLOSING) {
            return;
        }
        let limit = if session.is(flag::PUBSUB) {
            limits.pubsub
        } else {
            limits.normal
        };
        if limit.hard == 0 && limit.soft == 0 {
            return;
        }
        if reaches(session, limit.hard) {
            return self.close_for_output(conn);
        }
        if is_over_soft(session, limit) && !session.is(flag::OVER_SOFT) {
            session.flags |= flag::OVER_SOFT;
            let id = session.id;
            self.over_soft.push((conn, id, now_ms));
        }
    }

    /// Looks again at those who were over their soft limit: closes, forgets or keeps them.
    pub(super) fn watch_soft_limits(&mut self) {
        let limits = self.shard.config.client_output_buffer_limit;
        let now_ms = self.shard.now_ms;
        for (conn, id, since_ms) in std::mem::take(&mut self.over_soft) {
            let Some(session) = self.session_if(conn).filter(|s| s.id == id) else {
                continue;
            };
            let limit = if session.is(flag::PUBSUB) {
                limits.pubsub
            } else {
                limits.normal
            };
            if !session.is_alive() || !is_over_soft(session, limit) {
                session.flags &= !flag::OVER_SOFT;
            } else if now_ms.saturating_sub(since_ms) / 1000 > limit.soft_seconds {
                self.close_for_output(conn);
            } else {
                self.over_soft.push((conn, id, since_ms));
            }
        }
    }

    fn close_for_output(&mut self, conn: ConnId) {
        let session = self.session(conn);
        log::warning(format_args!(
            "Client id={} addr={} closed for overcoming of output buffer limits.",
            session.id,
            session.peer.addr()
        ));
        self.shard.stats.output_buffer_limit_disconnections += 1;
        self.close(conn);
    }
}

/// Whether what a connection has not been sent reaches a limit; 0 is none.
fn reaches(session: &Session, limit_bytes: u64) -> bool {
    limit_bytes > 0 && session.output_bytes().saturating_sub(UNCOUNTED_BYTES) as u64 >= limit_bytes
}

fn is_over_soft(session: &Session, limit: OutputBufferLimit) -> bool {
    reaches(session, limit.soft)
}
