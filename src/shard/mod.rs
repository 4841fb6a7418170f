//! What one core owns: its partition of the keyspace, its view of the configuration, its counters.
//! Pure state: the clock is set from outside once a turn, and chance comes from a seed.
pub mod access;
pub mod blocking;
pub mod channels;
pub mod cores;
pub mod effects;
pub mod expiry;
pub mod lending;
pub mod lfu;
pub mod node;
pub mod ownership;
pub mod prefetch;
pub mod rates;
pub mod slot_load;
pub mod snapshot;
pub mod stats;
pub mod tracking;
pub mod watch;

use std::sync::Arc;

use crate::command::registry::Registry;
use crate::keyspace::{Hasher, Keyspace, Pos, SLOTS, Supply};
use crate::mesh::ShardId;
use crate::rdb::Encoder;
use crate::server::config::{Config, NotifyFlags};
use crate::txn::Txns;
use blocking::Blocking;
use channels::{Channels, Class};
use effects::Effects;
use expiry::Expiry;
use lending::{Carried, Change};
use lfu::Lfu;
use node::Node;
use ownership::Ahead;
use slot_load::SlotLoads;
use snapshot::Snapshot;
use stats::Stats;
use tracking::Tracking;
use watch::Watch;

/// One core's state.
pub struct Shard {
    /// Its number.
    pub id: ShardId,
    /// What all shards of the process share.
    pub node: Arc<Node>,
    /// The configuration as this shard last saw it.
    pub config: Arc<Config>,
    /// The command table.
    pub registry: Arc<Registry>,
    /// The databases.
    pub keyspace: Keyspace,
    /// The owner of each slot.
    pub slot_map: Box<[ShardId; SLOTS]>,
    /// The part of a slot that has moved while the rest is still to move.
    pub ahead: Ahead,
    /// Counters.
    pub stats: Stats,
    /// What commands take, and those that were slow.
    pub watch: Watch,
    /// What slots cost.
    pub slot_loads: SlotLoads,
    /// Unix time in milliseconds, set once a turn.
    pub now_ms: u64,
    /// Unix time in microseconds, set once a turn.
    pub now_us: u64,
    /// CLIENT PAUSE: nothing expires or is evicted, so that the dataset stays as it is.
    pub paused: bool,
    /// Whether who reads leaves an expired key where it is.
    keeps_expired: bool,
    /// A counter that advances steadily, and how fast: see [`Ticks`].
    pub ticks: Ticks,
    /// Commands that need more than one shard, and what waits for them.
    pub txns: Txns<Carried>,
    /// While a transaction runs here with keys that were lent: what it has changed.
    pub(crate) changes: Option<Vec<Change>>,
    /// The counter when the last command ended.
    lap_at: u64,
    /// State of the random number generator.
    random: u64,
    /// Changes since the last save, as INFO reports them.
    pub dirty: u64,
    /// What writes leave behind.
    pub effects: Effects,
    /// While effects are run, for which `now_ms` is 0: the time that it really is.
    replaying_at_ms: Option<u64>,
    /// Active expiry and lazy freeing.
    pub expiry: Expiry,
    /// A snapshot that is being taken.
    pub snapshot: Option<Box<Snapshot>>,
    /// What values are dumped with.
    pub encoder: Encoder,
    /// Whether the checksum of what is restored is looked at.
    pub verifies_dumps: bool,
    /// What the access clock of entries means.
    pub lfu: Lfu,
    /// Who subscribes to what, for publishing.
    pub channels: Channels,
    /// Clients that wait for keys.
    pub blocking: Blocking,
    /// What clients may have in their caches.
    pub tracking: Tracking,
    /// The client whose command runs, or has run last; 0: the server itself.
    pub(crate) actor: u64,
    /// What a change must be told to besides: `notify-keyspace-events` if events go anywhere,
    /// [`NotifyFlags::WAITERS`] and [`NotifyFlags::TRACKED`].
    pub(crate) notices: NotifyFlags,
    /// Whether the command that has just run leaves something to do: messages to send, a client
    /// that waits, keys whose waiters are to be tried.
    pub(crate) aftermath: bool,
}

/// Time measured in the cheapest unit that there is (cycles of the time stamp counter).
#[derive(Clone, Copy)]
pub struct Ticks {
    /// Reads the counter.
    pub read: fn() -> u64,
    /// Ticks in a microsecond.
    pub per_us: u64,
}

impl Ticks {
    /// Whole microseconds of a number of ticks.
    pub fn to_us(self, ticks: u64) -> u64 {
        ticks / self.per_us
    }
}

/// The owner of each slot when `shards` shards share them evenly, in contiguous ranges.
pub fn even_slot_map(shards: usize) -> Box<[ShardId; SLOTS]> {
    let mut map = Box::new([ShardId(0); SLOTS]);
    for (slot, owner) in map.iter_mut().enumerate() {
        *owner = ShardId((slot * shards / SLOTS) as u16);
    }
    map
}

/// Neighbouring slots with one owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotRange {
    /// The first of them.
    pub first: usize,
    /// The last of them.
    pub last: usize,
    /// Their owner.
    pub owner: ShardId,
}

/// A slot map as ranges, in order.
pub fn slot_ranges(map: &[ShardId; SLOTS]) -> Vec<SlotRange> {
    let mut ranges: Vec<SlotRange> = Vec::new();
    for (slot, owner) in map.iter().enumerate() {
        match ranges.last_mut() {
            Some(range) if range.owner == *owner => range.last = slot,
            _ => ranges.push(SlotRange {
                first: slot,
                last: slot,
                owner: *owner,
            }),
        }
    }
    ranges
}

impl Shard {
    /// An empty shard; its memory comes from `supply` where that has some ready.
    pub fn new(
        id: ShardId,
        node: Arc<Node>,
        registry: Arc<Registry>,
        ticks: Ticks,
        supply: Option<Supply>,
    ) -> Self {
        let config = node.config();
        let hasher = Hasher::new(node.hash_seed);
        let mut slot_loads = SlotLoads::new(ticks.per_us, node.hash_seed[1] ^ u64::from(id.0));
        slot_loads.set_exact(config.cluster_slot_stats_enabled);
        Self {
            id,
            slot_map: node.first_slot_map(),
            ahead: Ahead::default(),
            keyspace: Keyspace::supplied(config.databases as usize, hasher, supply),
            stats: Stats::new(registry.rows.len()),
            watch: Watch::new(&config, ticks),
            slot_loads,
            txns: Txns::new(id, config.databases as u16),
            changes: None,
            lap_at: (ticks.read)(),
            random: node.hash_seed[0] ^ (u64::from(id.0) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
                | 1,
            lfu: Lfu::of(&config),
            effects: Effects::default(),
            replaying_at_ms: None,
            expiry: Expiry::default(),
            snapshot: None,
            encoder: Encoder::default(),
            verifies_dumps: true,
            channels: Channels::default(),
            blocking: Blocking::default(),
            tracking: Tracking::default(),
            actor: 0,
            notices: config.notify_keyspace_events.effective(),
            aftermath: false,
            node,
            config,
            registry,
            now_ms: 0,
            now_us: 0,
            paused: false,
            keeps_expired: false,
            ticks,
            dirty: 0,
        }
    }

    /// The position of a key.
    pub fn pos(&self, key: &[u8]) -> Pos {
        self.keyspace.pos(key)
    }

    /// Unix time in milliseconds, also while effects are run; for what tells when somebody was last
    /// heard of, and expires nothing.
    pub fn present_ms(&self) -> u64 {
        self.replaying_at_ms.unwrap_or(self.now_ms)
    }

    /// Whether what runs is an effect: it is taken at its word, where a client's command would be
    /// checked against what there is.
    pub fn replays(&self) -> bool {
        self.replaying_at_ms.is_some()
    }

    /// Bytes up to which a string may grow. Effects were within the limit of their time.
    pub fn string_bytes_max(&self) -> u64 {
        /// More than there is memory, and so little that to ask for it is no overflow.
        const REPLAYED_MAX: u64 = 1 << 42;
        let limit = self.config.proto_max_bulk_len;
        match self.replays() {
            true => limit.max(REPLAYED_MAX),
            false => limit,
        }
    }

    /// The next pseudo-random number (xorshift64*; Vigna, "An experimental exploration of
    /// Marsaglia's xorshift generators, scrambled", 2016).
    pub fn random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Ticks since the last call: commands are timed from end to end, with one reading for each.
    #[inline]
    pub fn lap(&mut self) -> u64 {
        let now = (self.ticks.read)();
        let took = now.saturating_sub(self.lap_at);
        self.lap_at = now;
        took
    }

    /// Takes the configuration as it is now.
    pub fn reload_config(&mut self) {
        self.config = self.node.config();
        self.watch.configure(&self.config, self.ticks);
        self.slot_loads
            .set_exact(self.config.cluster_slot_stats_enabled);
        self.lfu = Lfu::of(&self.config);
        self.limit_tracking();
        self.mind_listeners();
    }

    /// CLIENT PAUSE begins or ends.
    pub fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
        self.keeps_expired = paused || self.expiry.timeless > 0;
    }

    /// A transaction during which nothing is to expire has begun or ended to hold keys here.
    pub fn set_timeless(&mut self, begins: bool) {
        let count = &mut self.expiry.timeless;
        *count = count
            .checked_add_signed(if begins { 1 } else { -1 })
            .expect("it began before");
        self.keeps_expired = self.paused || self.expiry.timeless > 0;
    }

    /// Publishes on a channel that this shard owns; the number of subscriptions that it reaches.
    pub fn publish(&mut self, class: Class, channel: &[u8], message: &[u8]) -> u64 {
        let reached = self.channels.publish(class, channel, message);
        self.aftermath |= self.channels.has_outbox();
        reached
    }

    /// Sets what changes are told to.
    fn mind_listeners(&mut self) {
        self.notices = self.config.notify_keyspace_events.effective();
        if !self.blocking.is_empty() {
            self.notices.0 |= NotifyFlags::WAITERS;
        }
        if !self.tracking.is_empty() {
            self.notices.0 |= NotifyFlags::TRACKED;
        }
    }
}

#[cfg(test)]
pub mod testing {
    //! A shard by itself.
    use super::*;

    /// The only shard of a process with the default configuration.
    pub fn shard() -> Shard {
        let registry = Registry::new(crate::command::FAMILIES);
        let config = Config {
            shards: 1,
            ..Config::default()
        };
        let node = Node::new(config, [1, 2], "0".repeat(40), 0, Vec::new(), |_| ());
        let ticks = Ticks {
            read: || {
                static BEGAN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
                let began = BEGAN.get_or_init(std::time::Instant::now);
                began.elapsed().as_micros() as u64
            },
            per_us: 1,
        };
        Shard::new(ShardId(0), Arc::new(node), Arc::new(registry), ticks, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_all_slots_in_order() {
        let mut map = even_slot_map(3);
        map[100] = ShardId(2);
        let ranges = slot_ranges(&map);
        assert_eq!(ranges.len(), 5);
        assert_eq!((ranges[1].first, ranges[1].last), (100, 100));
        assert!(ranges.windows(2).all(|w| w[0].last + 1 == w[1].first));
        assert_eq!(ranges[4].last, SLOTS - 1);
    }

    #[test]
    fn slots_are_shared_evenly() {
        for shards in 1..=9 {
            let map = even_slot_map(shards);
            let mut counts = vec![0usize; shards];
            map.iter().for_each(|owner| counts[owner.index()] += 1);
            let (least, most) = (counts.iter().min().copied(), counts.iter().max().copied());
            assert!(
                most.zip(least).is_some_and(|(m, l)| m - l <= 1),
                "{counts:?}"
            );
        }
    }
}
