//! A shard's log is begun and ended while the server runs (`CONFIG SET appendonly`). When that happens
//! for all shards is decided in [`crate::server::logs`].
//!
//! A log that ends writes out what is in it, whatever `appendfsync` says. Until all logs have, what
//! tells of anything but sure reads waits in its connection: the client that has turned the logs off
//! hears of it when what it did before is durable, as on Redis, and so do those behind it.

use super::engine::Engine;
use super::session::flag;
use crate::log::Lsn;
use crate::log::pace::Policy;
use crate::log::shard_log::Refusal;
use crate::server::logs::Phase;

use super::journal::mark;

impl Engine {
    /// This shard takes part in the beginning of the logs, if they begin now.
    pub fn begin_log(&mut self) {
        if self.journal.is_none() && self.shard.node.logs.phase() == Phase::Starting {
            self.take_seat();
        }
    }

    /// All shards are held: their logs end here.
    pub fn stop_logs(&mut self) {
        let node = self.shard.node.clone();
        if node.logs.stop() {
            node.saver.cancel_base();
            self.log_units();
        }
        // Who waits for the logs is told that there are none.
        node.wake_all();
    }

    /// What was done is not logged: not yet, or not any more.
    pub(super) fn pass_over_units(&mut self) {
        let ends = self.shard.node.logs.phase() == Phase::Ending;
        let effects = &mut self.shard.effects;
        if !effects.is_held() {
            if effects.has_units() {
                effects.take_units(|_| ());
            }
            if ends && effects.is_on() && !effects.has_kept() {
                effects.listen(false);
            }
        }
        let Some(journal) = self.journal.as_mut().filter(|j| ends && !j.ending) else {
            return;
        };
        journal.ending = true;
        journal.log.set_policy(Policy::Always);
        self.mind_gates();
    }

    /// Says when this shard has written out its log, and closes it when all have.
    pub(super) fn mind_end_of_log(&mut self) {
        if self.shard.node.logs.phase() != Phase::Ending {
            return;
        }
        self.fail_stuck_log();
        let node = self.shard.node.clone();
        if let Some(journal) = &self.journal
            && (!journal.ending || self.shard.effects.is_on() || !journal.log.is_over())
        {
            return;
        }
        if node.logs.has_written_out(self.shard.id) && node.logs.have_all_written_out() {
            node.wake_all();
        }
        if node.logs.have_all_written_out() {
            self.close_log();
            if node.logs.has_closed(self.shard.id) {
                node.wake_all();
            }
        }
    }

    /// Where a log is to end that waits for space, nobody waits for that, as on Redis.
    pub(super) fn fail_stuck_log(&mut self) {
        if let Some(journal) = &mut self.journal
            && let Some(Refusal::NoSegment(error)) = journal.log.refusal()
            && journal.log.is_stuck()
        {
            journal.log.fail(error);
            let node = &self.shard.node;
            node.logs.say(self.shard.id, journal.log.refusal(), false);
            node.wake_all();
        }
    }

    /// Lets go of the log, and of all that has waited for its end.
    fn close_log(&mut self) {
        let Some(mut journal) = self.journal.take() else {
            return;
        };
        for (held, out) in journal.held.iter_mut().zip(&mut self.outgoing) {
            let later = std::mem::take(&mut out.buf);
            held.release(Lsn(u64::MAX), mark::SURE, &mut out.buf);
            out.buf.extend_from_slice(&later);
        }
        self.resumable.append(&mut journal.stalled);
        self.gates = false;
        self.log_closed = true;
        let mut released = Vec::new();
        for (conn, session) in (0..).zip(&mut self.sessions) {
            let Some(session) = session.as_deref_mut().filter(|s| s.is(flag::GATED)) else {
                continue;
            };
            session.flags &= !flag::GATED;
            let mut later = std::mem::take(&mut session.out);
            for (_, mut out) in std::mem::take(&mut session.info.gated) {
                session.out.append(&mut out);
            }
            session.out.append(&mut later);
            session.info.gated_bytes = 0;
            released.push(conn);
        }
        released.into_iter().for_each(|conn| self.mark_dirty(conn));
    }

    /// Whether a log was closed whose files are to be closed, for the reactor.
    pub fn take_closed_log(&mut self) -> bool {
        std::mem::take(&mut self.log_closed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ringdove_rig::Scratch;

    use super::*;
    use crate::command::FAMILIES;
    use crate::command::registry::Registry;
    use crate::mesh::ShardId;
    use crate::server::config::Config;
    use crate::server::recovery;
    use crate::shard::node::Node;
    use crate::shard::{Shard, Ticks};

    /// All is written out, and the shards are told that logs end while a transaction holds this one: it
    /// is the last that happens to the log but that the transaction ends.
    #[test]
    fn a_log_ends_with_the_turn_that_releases_it() {
        let folder = Scratch::new();
        let mut config = Config {
            shards: 1,
            ..Config::default()
        };
        config.dir.0 = folder.path().to_owned();
        let node = Node::new(config, [1, 2], String::new(), 0, vec![0; 1], |_| {});
        let (node, registry) = (Arc::new(node), Arc::new(Registry::new(FAMILIES)));
        let loading = recovery::begin(&node, &registry, 0).expect("a new folder");
        assert!(loading.is_none(), "there is nothing");
        let ticks = Ticks {
            read: || 0,
            per_us: 1,
        };
        let shard = Shard::new(ShardId(0), node.clone(), registry, ticks, None);
        let mut engine = Engine::new(shard);
        engine.take_up_log();
        assert_eq!(node.logs.phase(), Phase::Kept);

        engine.shard.effects.hold();
        engine.stop_logs();
        engine.mind_logs();
        engine.log_turn();
        assert_eq!(node.logs.phase(), Phase::Ending);
        engine.shard.effects.release();
        engine.log_turn();
        assert_eq!(node.logs.phase(), Phase::Off);
        assert!(engine.take_closed_log());
    }
}
