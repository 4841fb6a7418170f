//! What all shards of the process share. Nothing here is touched on the way of a request.
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::keyspace::SLOTS;
use crate::mesh::ShardId;
use crate::server::config::Config;
use crate::server::logs::Logs;
use crate::server::placement::Placement;
use crate::server::snapshot::Saver;
use crate::shard::cores::Cores;
use crate::shard::even_slot_map;

/// Makes the process listen as a configuration says; the error is for the log.
type Listen = Box<dyn Fn(&Config) -> Result<(), String> + Send + Sync>;

/// Where a client is.
struct Place {
    /// Its shard, or the one that it is on its way to.
    shard: ShardId,
    /// The connection's number there, which it has none on its way.
    conn: Option<u32>,
    /// Whether another client's messages come to it there: it stays, or will when it is there.
    is_needed: bool,
}

/// Where the clients are.
#[derive(Default)]
struct Clients {
    places: HashMap<u64, Place>,
    /// Commands under way that go through the connections of all shards: none moves meanwhile.
    surveys: u32,
}

/// The process.
pub struct Node {
    /// Number of shards.
    pub shards: usize,
    /// The shards as nodes of a cluster, with `core-direct`.
    pub cores: Option<Cores>,
    /// The seed of every shard's hash function.
    pub hash_seed: [u64; 2],
    /// 40 hexadecimal digits, new with each start.
    pub run_id: String,
    /// Unix time of the start, milliseconds.
    pub started_ms: u64,
    /// The configuration; shards hold a copy of the pointer and fetch it anew when told.
    config: Mutex<Arc<Config>>,
    /// The next client's id.
    next_client: AtomicU64,
    /// Where each client is.
    clients: Mutex<Clients>,
    /// The next slow log entry's id.
    next_slow: AtomicU64,
    /// Bytes that each shard's part of the keyspace took when it last looked.
    used: Box<[AtomicU64]>,
    /// Changes of each shard since the last save when it last looked.
    changes: Box<[AtomicU64]>,
    /// The most bytes that all together took.
    used_peak: AtomicU64,
    /// Connections of each shard.
    connections: Box<[AtomicU32]>,
    /// Snapshots.
    pub saver: Saver,
    /// The shards' logs.
    pub logs: Logs,
    /// Where slots are, for the next start; not said: that is not kept.
    pub placement: OnceLock<Placement>,
    /// Whether a snapshot is written before the process ends; not said: if there are save points.
    pub saves_at_end: OnceLock<bool>,
    /// How far an end is that begins with a snapshot: see [`Ending`].
    ending: AtomicU8,
    /// Shards that serve no more, and have said what has changed since.
    at_end: Mutex<usize>,
    came_to_end: Condvar,
    /// Whether slots are being moved.
    moving: AtomicBool,
    /// Set when the server is to stop.
    pub stopping: AtomicBool,
    /// An event descriptor for each shard, by which other threads wake it.
    pub calls: Vec<i32>,
    /// How a shard is woken through its descriptor.
    wake: fn(i32),
    /// How the listening sockets follow the configuration.
    listen: OnceLock<Listen>,
}

/// The end of the server, where a snapshot comes first. If that fails the server goes on, as Redis does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Ending {
    /// There is none, or it was refused.
    No,
    /// A signal has asked for it: a shard is to run SHUTDOWN.
    Wanted,
    /// The snapshot is being taken.
    Begun,
    /// The snapshot is there: what has changed since is saved when no shard serves any more.
    Saved,
}

impl Node {
    /// A process of as many shards as the configuration says.
    pub fn new(
        config: Config,
        hash_seed: [u64; 2],
        run_id: String,
        started_ms: u64,
        calls: Vec<i32>,
        wake: fn(i32),
    ) -> Self {
        let shards = config.shards as usize;
        Self {
            shards,
            cores: Cores::of(&config),
            hash_seed,
            run_id,
            started_ms,
            config: Mutex::new(Arc::new(config)),
            next_client: AtomicU64::new(1),
            clients: Mutex::default(),
            next_slow: AtomicU64::new(0),
            used: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            changes: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            used_peak: AtomicU64::new(0),
            connections: (0..shards).map(|_| AtomicU32::new(0)).collect(),
            saver: Saver::new(started_ms / 1000),
            logs: Logs::new(shards),
            placement: OnceLock::new(),
            saves_at_end: OnceLock::new(),
            ending: AtomicU8::new(Ending::No as u8),
            at_end: Mutex::new(0),
            came_to_end: Condvar::new(),
            moving: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            calls,
            wake,
            listen: OnceLock::new(),
        }
    }

    /// The owner of each slot when the process begins.
    pub fn first_slot_map(&self) -> Box<[ShardId; SLOTS]> {
        match self.placement.get() {
            Some(placement) => Box::new(*placement.first()),
            None => even_slot_map(self.shards),
        }
    }

    /// How far an end is.
    pub fn ending(&self) -> Ending {
        let known = [Ending::No, Ending::Wanted, Ending::Begun, Ending::Saved];
        known[usize::from(self.ending.load(Ordering::SeqCst))]
    }

    /// It has got there.
    pub fn set_ending(&self, ending: Ending) {
        self.ending.store(ending as u8, Ordering::SeqCst);
    }

    /// A shard serves no more and has [reported](Self::report_changes) its changes: waits for all others;
    /// whether they have come.
    pub fn meet_at_end(&self) -> bool {
        /// They end at about the same time, but for one that has lost its ring.
        const PATIENCE: Duration = Duration::from_secs(5);
        let mut here = self.at_end.lock().unwrap_or_else(PoisonError::into_inner);
        *here += 1;
        self.came_to_end.notify_all();
        let missing = |here: &mut usize| *here < self.shards;
        let waited = self.came_to_end.wait_timeout_while(here, PATIENCE, missing);
        let (here, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *here == self.shards
    }

    /// Whether an end begins with a snapshot; `asked`: what SHUTDOWN says of that.
    pub fn saves_first(&self, asked: Option<bool>) -> bool {
        let wanted = asked.unwrap_or_else(|| !self.config().save.0.is_empty());
        wanted && !self.saver.loading.is_under_way()
    }

    /// Asks all shards to answer what they have taken up and to end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.wake_all();
    }

    /// Whether logs that were turned on are given their first base, or soon will be: an end of the server
    /// now would lose the dataset. Not where that has failed and is to be tried again.
    pub fn writes_first_base(&self) -> bool {
        let runs = || self.saver.running().is_some_and(|run| run.is_for_logs());
        let rewriting = self.logs.rewriting();
        let is_first_try = rewriting.scheduled && rewriting.failures == 0;
        self.logs.is_without_base() && (is_first_try || runs())
    }

    /// Has a shard look at what has come for it.
    pub fn wake(&self, shard: ShardId) {
        (self.wake)(self.calls[shard.index()]);
    }

    /// Has all shards look at what concerns them all.
    pub fn wake_all(&self) {
        self.calls.iter().for_each(|call| (self.wake)(*call));
    }

    /// Says how the listening sockets follow the configuration; once, before shards run.
    pub fn let_listen(
        &self,
        listen: impl Fn(&Config) -> Result<(), String> + Send + Sync + 'static,
    ) {
        let first = self.listen.set(Box::new(listen)).is_ok();
        assert!(first, "said once");
    }

    /// Listens as `config` says; on an error as before. The shards, which accept, are called in
    /// either case.
    pub fn listen_as(&self, config: &Config) -> Result<(), String> {
        let done = self.listen.get().map_or(Ok(()), |listen| listen(config));
        self.calls.iter().for_each(|call| (self.wake)(*call));
        done
    }

    /// The configuration as it is now.
    pub fn config(&self) -> Arc<Config> {
        self.config
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Changes the configuration; nothing changes when `change` fails. Shards must be told.
    pub fn change_config<T, E>(
        &self,
        change: impl FnOnce(&mut Config) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut held = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let mut config = Config::clone(&held);
        let done = change(&mut config)?;
        *held = Arc::new(config);
        Ok(done)
    }

    /// An id for a new client.
    pub fn new_client_id(&self) -> u64 {
        self.next_client.fetch_add(1, Ordering::Relaxed)
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client has connected to a shard, or has moved there.
    pub fn client_came(&self, id: u64, shard: ShardId, conn: u32) {
        let mut clients = self.clients();
        let place = clients.places.entry(id).or_insert(Place {
            shard,
            conn: None,
            is_needed: false,
        });
        assert!(
            place.shard == shard && place.conn.is_none(),
            "it was to come"
        );
        place.conn = Some(conn);
    }

    /// A client has gone.
    pub fn client_left(&self, id: u64) {
        self.clients().places.remove(&id);
    }

    /// A client is about to move to another shard, where it will come; false, and it is still here, if
    /// somebody has asked where it is, or is going through all connections.
    pub fn client_leaves(&self, id: u64, to: ShardId) -> bool {
        let mut clients = self.clients();
        let surveyed = clients.surveys > 0;
        let place = clients.places.get_mut(&id);
        let Some(place) = place.filter(|place| !surveyed && !place.is_needed) else {
            return false;
        };
        assert!(place.conn.is_some(), "it is here");
        (place.shard, place.conn) = (to, None);
        true
    }

    /// The shard of a client, where it stays from now on, and the connection's number there; it has none
    /// before it has come there from another shard. None if there is no such client.
    pub fn find_client(&self, id: u64) -> Option<(ShardId, Option<u32>)> {
        let mut clients = self.clients();
        let place = clients.places.get_mut(&id)?;
        place.is_needed = true;
        Some((place.shard, place.conn))
    }

    /// Whether there is a client with this id, wherever it is.
    pub fn has_client(&self, id: u64) -> bool {
        self.clients().places.contains_key(&id)
    }

    /// Somebody goes through the connections of all shards: until the end of it none leaves its shard,
    /// and shards remember those that were on their way already.
    pub fn begin_survey(&self) {
        self.clients().surveys += 1;
    }

    /// Every shard has said what it has to.
    pub fn end_survey(&self) {
        let mut clients = self.clients();
        clients.surveys = clients.surveys.checked_sub(1).expect("it has begun");
    }

    /// Whether somebody goes through the connections of all shards.
    pub fn is_surveyed(&self) -> bool {
        self.clients().surveys > 0
    }

    /// An id for a new entry of the slow log.
    pub fn new_slow_id(&self) -> u64 {
        self.next_slow.fetch_add(1, Ordering::Relaxed)
    }

    /// A shard says how many changes it has had since the last save; called now and then.
    pub fn report_changes(&self, shard: ShardId, changes: u64) {
        self.changes[shard.index()].store(changes, Ordering::Relaxed);
    }

    /// Changes of all shards since the last save, as they were last reported.
    pub fn changes(&self) -> u64 {
        self.changes.iter().map(|c| c.load(Ordering::Relaxed)).sum()
    }

    /// A shard says how many bytes it uses; called now and then.
    pub fn report_used(&self, shard: ShardId, bytes: usize) {
        self.used[shard.index()].store(bytes as u64, Ordering::Relaxed);
        let all = self.used.iter().map(|u| u.load(Ordering::Relaxed)).sum();
        self.used_peak.fetch_max(all, Ordering::Relaxed);
    }

    /// The most bytes that were used, `now` included.
    pub fn used_peak(&self, now: u64) -> u64 {
        self.used_peak.fetch_max(now, Ordering::Relaxed).max(now)
    }

    /// Connections of all shards.
    pub fn connected(&self) -> usize {
        self.connections
            .iter()
            .map(|c| c.load(Ordering::Relaxed) as usize)
            .sum()
    }

    /// Chooses the shard with the fewest connections for a new one and counts it there.
    pub fn place_connection(&self) -> ShardId {
        let counts = self.connections.iter().map(|c| c.load(Ordering::Relaxed));
        let (at, _) = counts
            .enumerate()
            .min_by_key(|(_, n)| *n)
            .expect("at least one shard");
        self.connections[at].fetch_add(1, Ordering::Relaxed);
        ShardId(at as u16)
    }

    /// Slots are to be moved; false if some are already.
    pub fn begin_move(&self) -> bool {
        !self.moving.swap(true, Ordering::Relaxed)
    }

    /// Whether slots are being moved.
    pub fn is_moving(&self) -> bool {
        self.moving.load(Ordering::Relaxed)
    }

    /// The slots have moved.
    pub fn end_move(&self) {
        let before = self.moving.swap(false, Ordering::Relaxed);
        assert!(before, "a move ends once");
    }

    /// Counts a connection that a shard has accepted on its own port.
    pub fn count_connection(&self, shard: ShardId) {
        self.connections[shard.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// A connection of `shard` is gone.
    pub fn connection_gone(&self, shard: ShardId) {
        let before = self.connections[shard.index()].fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "a connection leaves once");
    }
}
