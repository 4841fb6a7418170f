//! Slow calls on their way to the slow log: the shard that executed a call gives it to the
//! client's home, which knows address and name. And what a shard looks at once a tick.

use super::engine::Engine;
use crate::shard::watch::{SlowCall, SlowEntry};

impl Engine {
    /// Gives the slow calls of this shard to their clients' homes.
    #[cold]
    pub fn log_slow_calls(&mut self) {
        for call in std::mem::take(&mut self.shard.watch.slow_calls) {
            if call.home == self.shard.id {
                self.log_slow_call(call);
            } else {
                self.send_slow_call(call);
            }
        }
    }

    /// Enters a call of one of this shard's clients in the slow log.
    pub(super) fn log_slow_call(&mut self, call: SlowCall) {
        assert!(call.home == self.shard.id, "a slow call goes to its home");
        let client = self.sessions().find(|(_, s)| s.id == call.client);
        let (addr, name) = client.map_or_else(Default::default, |(_, session)| {
            (session.peer.addr(), session.info.name.clone())
        });
        let entry = SlowEntry { call, addr, name };
        let len_max = self.shard.config.slowlog_max_len;
        self.shard.watch.slow_log.add(entry, len_max);
    }

    /// Looks at rates and memory, and at slow calls that no batch has logged.
    pub(super) fn observe(&mut self) {
        let shard = &mut self.shard;
        let stats = &mut shard.stats;
        let counters = [stats.commands_processed, stats.bytes_in, stats.bytes_out];
        stats.rates.look(shard.now_ms, counters);
        shard
            .node
            .report_used(shard.id, shard.keyspace.used_bytes());
        self.log_slow_calls();
    }
}
