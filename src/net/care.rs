//! What a shard does for its connections besides commands: admission, limits, pauses, the slow
//! tick, the end.

use super::engine::{Engine, slow};
use super::session::{ConnId, Peer, Stall, flag};
use crate::server::load::Intake;
use crate::server::log;
use crate::shard::node::Ending;
use std::time::Duration;

/// Milliseconds between ticks.
const TICK_MS: u64 = 1000;

/// A shard logs its stalls at most so often; all are counted.
const STALL_LOG_PAUSE_MS: u64 = 1000;
/// Attacks are logged at most so often, since the log must not grow by what strangers send.
const ATTACK_LOG_PAUSE_MS: u64 = 60_000;
/// Redis's own text, which clients and scanners look for.
const PROTECTED: &str = "-DENIED Redis is running in protected mode because protected mode is \
enabled and no password is set for the default user. In this mode connections are only accepted \
from the loopback interface. If you want to connect from external computers to Redis you may \
adopt one of the following solutions: 1) Just disable protected mode sending the command \
'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from the same \
host the server is running, however MAKE SURE Redis is not publicly accessible from internet if \
you do so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable \
the protected mode by editing the Redis configuration file, and setting the protected mode option \
to 'no', and then restarting the server. 3) If you started the server manually just for testing, \
restart it with the '--protected-mode no' option. 4) Setup a an authentication password for the \
default user. NOTE: You only need to do one of the above things in order for the server to start \
accepting connections from the outside.\r\n";

impl Engine {
    /// Sets the clock; once a turn.
    pub fn set_clock(&mut self, now_us: u64) {
        self.shard.now_us = now_us;
        self.shard.now_ms = now_us / 1000;
        self.shard.stats.turns += 1;
        self.turn_begins();
    }

    /// From here on a turn, or a slice of background work, is timed.
    pub fn turn_begins(&mut self) {
        self.turn_began = (self.shard.ticks.read)();
        self.shard.watch.longest_call = None;
    }

    /// Everything that the turn had to do is done; what is over `stall-threshold-ms` is a stall.
    pub fn turn_ends(&mut self) {
        let took = (self.shard.ticks.read)().saturating_sub(self.turn_began);
        if took >= self.shard.watch.long_turn_ticks {
            self.note_long_turn(took);
        }
    }

    /// The turn was the longest until now, or a stall.
    #[cold]
    fn note_long_turn(&mut self, took: u64) {
        let us = self.shard.ticks.to_us(took);
        let shard = &mut self.shard;
        shard.stats.longest_turn_us = shard.stats.longest_turn_us.max(us);
        shard.watch.set_long_turn(&shard.config, shard.ticks, us);
        let longest = shard.watch.longest_call.take();
        let threshold_ms = shard.config.stall_threshold_ms;
        if threshold_ms == 0 || us < threshold_ms.saturating_mul(1000) {
            return;
        }
        shard.stats.stalled_turns += 1;
        if shard.now_ms < self.stall_logged_ms + STALL_LOG_PAUSE_MS {
            return;
        }
        self.stall_logged_ms = shard.now_ms;
        let part = match longest {
            Some((row, ticks)) => format!(
                "its longest command was {} with {} us",
                shard.registry.row(row).full_name,
                shard.ticks.to_us(ticks)
            ),
            None => "no single command was long".to_string(),
        };
        log::warning(format_args!(
            "Shard {} was not to be reached for {us} us: {part}",
            shard.id.0
        ));
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

    /// Work that is due now and then: timeouts, soft limits. Milliseconds until the next tick.
    pub fn tick(&mut self) -> u64 {
        self.observe();
        self.mind_failed_saves();
        self.end_if_wanted();
        self.save_if_due();
        self.rewrite_if_due();
        if self.shard.id.0 == 0 {
            crate::server::migrate::sockets_kept(); // ends old ones
        }
        if !self.shard.expiry.paused {
            self.close_idle();
            self.watch_soft_limits();
        }
        TICK_MS
    }

    /// The dataset comes from there: until it is all there, clients get errors.
    pub fn load(&mut self, intake: Intake) {
        self.intake = Some(intake);
        self.slow |= slow::LOADING;
    }

    /// Refuses writes while snapshots are wanted and fail, where that is configured.
    pub(super) fn mind_failed_saves(&mut self) {
        let config = &self.shard.config;
        let wanted = config.stop_writes_on_bgsave_error && !config.save.0.is_empty();
        if wanted && !self.shard.node.saver.facts().ok {
            self.slow |= slow::UNSAVED;
        } else {
            self.slow &= !slow::UNSAVED;
        }
    }

    /// Begins a snapshot where one was scheduled or a save point (`save`) is reached. One shard looks, for
    /// all of them.
    fn save_if_due(&mut self) {
        /// After a failure the next attempt waits, as on Redis.
        const RETRY_SECONDS: u64 = 5;
        let shard = &self.shard;
        let (node, now) = (&shard.node, shard.now_ms / 1000);
        node.report_changes(shard.id, shard.dirty);
        let loading = self.slow & slow::LOADING != 0;
        if shard.id.0 != 0 || loading {
            return;
        }
        if node.saver.is_scheduled() && node.saver.running().is_none() {
            return self.run_own(b"BGSAVE\r\n");
        }
        let (facts, changes) = (node.saver.facts(), node.changes());
        let since = now.saturating_sub(facts.last_save);
        let may = facts.ok || now.saturating_sub(facts.last_try) > RETRY_SECONDS;
        let mut points = shard.config.save.0.iter();
        let reached = points.find(|point| changes >= point.changes && since > point.seconds);
        if let Some(point) = reached
            && may
            && node.saver.running().is_none()
        {
            log::notice(format_args!(
                "{} changes in {} seconds. Saving...",
                point.changes, point.seconds
            ));
            self.run_own(b"BGSAVE\r\n");
        }
    }

    /// Begins to rewrite the logs where they have grown as far as is configured, or where it was asked
    /// for while it could not be. One shard looks, for all of them.
    fn rewrite_if_due(&mut self) {
        /// After a failure the next attempt waits: what is missing, space mostly, may come back.
        const RETRY_SECONDS: u64 = 60;
        let shard = &self.shard;
        let (node, config) = (&shard.node, &shard.config);
        let idle = node.saver.running().is_none() && self.slow & slow::LOADING == 0;
        if shard.id.0 != 0 || !idle || node.is_moving() {
            return;
        }
        let (rewriting, on) = (node.logs.rewriting(), node.logs.are_on());
        if !on && !rewriting.scheduled {
            return;
        }
        if on && !node.config().appendonly {
            // Who has turned it off has gone before all shards were held.
            return self.run_own(b"CONFIG SET appendonly no\r\n");
        }
        let since = (shard.now_ms / 1000).saturating_sub(rewriting.last_try);
        if rewriting.failures > 0 && since < RETRY_SECONDS {
            return;
        }
        let (bytes, before) = (node.logs.bytes(), rewriting.bytes.max(1));
        let percent = bytes.saturating_sub(before).saturating_mul(100) / before;
        let wanted = u64::from(config.auto_aof_rewrite_percentage);
        let grown =
            on && wanted > 0 && percent >= wanted && bytes > config.auto_aof_rewrite_min_size;
        if grown {
            log::notice(format_args!(
                "Starting automatic rewriting of the log on {percent}% growth"
            ));
        }
        if grown || rewriting.scheduled {
            self.run_own(b"BGREWRITEAOF\r\n");
        }
    }

    /// A signal asks the server to end with a snapshot. One shard looks, for all of them.
    fn end_if_wanted(&mut self) {
        if self.shard.id.0 == 0 && self.shard.node.ending() == Ending::Wanted {
            self.run_own(b"SHUTDOWN\r\n");
        }
    }

    /// Whether the next tick is not to wait for its time: an end is wanted, or the first base of logs
    /// could not begin when they were turned on, in a block, beside a snapshot, or while those before them
    /// ended.
    pub fn is_tick_due(&self) -> bool {
        let node = &self.shard.node;
        self.shard.id.0 == 0
            && (node.ending() == Ending::Wanted
                || node.logs.is_without_base() && {
                    let rewriting = node.logs.rewriting();
                    rewriting.scheduled && rewriting.failures == 0
                })
    }

    /// Runs a command on the server's own behalf, as that of a client without a socket.
    fn run_own(&mut self, line: &'static [u8]) {
        self.shard.node.count_connection(self.shard.id);
        let conn = self.connect(Peer::Unix(Box::default()), -1);
        self.shard.stats.connections_received -= 1;
        self.session(conn).flags &= !flag::NEED_AUTH;
        self.receive(conn, line);
        self.run_batch();
        if self.session(conn).stall != Stall::No {
            // It would have to wait for room to another shard: it is tried again with the next tick.
            self.disconnected(conn);
        } else {
            self.mark_dirty(conn);
        }
    }

    /// Milliseconds until [`background`](Self::background) has something to do: 0 at once, None
    /// that nothing is foreseen.
    pub fn background_in_ms(&self) -> Option<u64> {
        if self.intake.is_some() {
            return Some(0);
        }
        self.shard.background_in_ms()
    }

    /// A bounded slice of background work: expiry, freeing.
    pub fn background(&mut self) {
        self.note_memory();
        /// What is loaded goes before all else: clients can only wait for it.
        const INTAKE_SLICE: Duration = Duration::from_millis(2);
        if let Some(mut intake) = self.intake.take() {
            if intake.slice(&mut self.shard, INTAKE_SLICE) {
                self.intake = Some(intake);
            }
            return;
        }
        self.shard.background();
        self.settle_aftermath();
    }

    /// Ends what was to last until now.
    pub fn end_what_is_due(&mut self) {
        if self.shard.snapshot.is_some() {
            self.shard.settle_snapshot();
            self.settle_aftermath();
            if self.shard.snapshot.is_none() {
                self.mind_failed_saves();
            }
        }
        self.end_loading();
        self.end_key_migrations();
        self.end_kept_move();
        self.forget_traces();
        self.end_pause_if_due();
        self.end_waits_that_are_due();
    }

    /// Serves the dataset from now on, if all of it is there and every shard logs what is done.
    pub(super) fn end_loading(&mut self) {
        let loading = self.slow & slow::LOADING != 0;
        if loading && !self.shard.node.saver.loading.is_under_way() {
            self.take_up_log();
            if self.shard.node.logs.are_taken_up() {
                self.slow &= !slow::LOADING;
            }
        }
    }

    /// Unix time in milliseconds at which a turn is due though nothing happens, if there is one.
    pub fn due_ms(&self) -> Option<u64> {
        let times = [
            self.pause_end_ms(),
            self.next_deadline_ms(),
            self.flush_due_ms(),
        ];
        times.into_iter().flatten().min()
    }

    /// Whether the loop must not sleep. What goes to other shards may have come up when the lanes
    /// had their turn already: a connection that ended leaves its transactions and subscriptions.
    pub fn has_work(&self) -> bool {
        !self.resumable.is_empty()
            || !self.dirty.is_empty()
            || self.subscribers.are_behind()
            || self.trackers.has_broadcasts()
            || self.outgoing.iter().any(|out| !out.buf.is_empty())
    }

    /// HTTP's first words are no commands but a browser that was sent here: the connection ends.
    pub(super) fn is_attack(&mut self, conn: ConnId, name: &[u8]) -> bool {
        let attack = name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:");
        if attack && self.shard.now_ms >= self.attack_logged_ms + ATTACK_LOG_PAUSE_MS {
            self.attack_logged_ms = self.shard.now_ms;
            let from = self.session(conn).peer.addr();
            log::warning(format_args!(
                "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or \
                 Host: commands to Ringdove from {from}. This is likely due to an attacker \
                 attempting to use Cross Protocol Scripting. Connection aborted."
            ));
        }
        if attack {
            self.close(conn);
        }
        attack
    }

    /// Ends all connections once what they asked for is answered.
    pub fn stop_serving(&mut self) {
        self.fail_stuck_log();
        let all: Vec<ConnId> = self.sessions().map(|(conn, _)| conn).collect();
        for conn in all {
            let session = self.session(conn);
            session.stall = Stall::No;
            session.flags |= flag::CLOSE_AFTER_REPLY;
            self.mark_dirty(conn);
        }
    }
}
