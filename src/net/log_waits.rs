//! WAITAOF: a connection waits until the logs of all shards durably hold what it has done. Who waits for
//! replicas besides, of which there are none, is answered when its time is over.
//!
//! When the command runs, all earlier writes of the connection have been answered, so their effects are
//! in the logs of their owners below the ends that these have told ([`crate::server::logs::Logs`]). The home
//! notes these ends and waits until each log is certain up to there. A log that gets on wakes the
//! shards while anybody waits, and only then.

use std::sync::Arc;

use super::blocking::Awaited;
use super::engine::Engine;
use super::session::{ConnId, Stall};
use crate::command::error::Error;
use crate::log::Lsn;
use crate::net::batch::RemoteCall;
use crate::resp::encode::{Output, Reply};
use crate::shard::blocking::Token;

/// A connection of this shard that waits.
pub(super) struct LogWait {
    call: RemoteCall,
    token: Token,
    /// For each shard how much of its log must be certain.
    ends: Arc<[Lsn]>,
    /// Replicas must have it, too: only the end of the logs ends this wait.
    replicas: bool,
}

impl Engine {
    /// Whether all logs are certain up to where they end now.
    pub fn are_logs_certain(&mut self) -> bool {
        self.log_units();
        let logs = &self.shard.node.logs;
        logs.are_certain(&logs.ends())
    }

    /// A connection waits for the logs, if they are `local`ly wanted, and for `replicas`, if any are; at
    /// most until then (Unix milliseconds).
    pub fn wait_for_copies(
        &mut self,
        conn: ConnId,
        local: bool,
        replicas: bool,
        until_ms: Option<u64>,
    ) {
        self.log_units();
        let ends: Arc<[Lsn]> = self.shard.node.logs.ends().into();
        let (call, token) = self.begin_wait_at_home(conn, until_ms, Awaited::Logs(ends.clone()));
        if !local {
            return;
        }
        if !replicas {
            self.shard.node.logs.waiter_came();
        }
        self.log_waits.push(LogWait {
            call,
            token,
            ends,
            replicas,
        });
        // Told before it was known that somebody waits, it would not be told again.
        self.end_log_waits();
    }

    /// Answers those whose logs have got far enough, and forgets those that wait no more.
    pub(super) fn end_log_waits(&mut self) {
        if self.log_waits.is_empty() {
            return;
        }
        let logs = self.shard.node.clone();
        let logs = &logs.logs;
        for wait in std::mem::take(&mut self.log_waits) {
            let certain = !wait.replicas && logs.are_certain(&wait.ends);
            if !wait.token.is_taken() && logs.are_on() && !certain {
                self.log_waits.push(wait);
                continue;
            }
            if !wait.replicas {
                logs.waiter_went();
            }
            if wait.token.take() {
                let mut output = Output::default();
                let mut reply = Reply::new(&mut output, wait.call.version);
                match logs.are_on() {
                    true => put_answer(&mut reply, true),
                    false => reply.error(NO_LOG.text()),
                }
                self.answer(&wait.call, output);
            }
        }
    }

    /// Lets SAVEs go on that nothing delays any more.
    pub(super) fn end_waits_for_snapshot(&mut self) {
        if self.saves_waiting.is_empty() {
            return;
        }
        let running = self.shard.node.saver.running();
        if running.is_some_and(|run| run.delays_save()) {
            return;
        }
        for conn in std::mem::take(&mut self.saves_waiting) {
            // Another connection may have the number of one that is gone.
            let session = self.session_if(conn);
            if session.is_some_and(|session| session.stall == Stall::Paused) {
                self.resumable.push(conn);
            }
        }
    }
}

/// There is no log that could be waited for, or not any more.
pub const NO_LOG: Error =
    Error::fixed("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.");

/// The answer: whether the local log has it all, and that no replica has.
pub fn put_answer(reply: &mut Reply<'_>, certain: bool) {
    reply.array(2);
    reply.integer(i64::from(certain));
    reply.integer(0);
}
