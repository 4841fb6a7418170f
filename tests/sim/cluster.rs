//! The server without threads, sockets and rings: the shards' real engines in one thread, with the
//! lanes between them and the byte streams of their clients.
//!
//! A turn of a shard is the reactor's turn: set the clock, hand over what clients have sent, run
//! it, hand over batches of other shards, let stalled connections go on, put what goes to others
//! into the lanes that have room, flush and end connections.
//!
//! Fault model: batches of one lane keep their order, and any lane may be slower than any other;
//! what a client sends arrives in packets of any size; a connection may end at any moment, by its
//! client (in one direction or in both) or by the server.

use std::collections::VecDeque;
use std::sync::Arc;

use ringdove::command::FAMILIES;
use ringdove::command::registry::Registry;
use ringdove::keyspace::Slot;
use ringdove::mesh::ShardId;
use ringdove::net::engine::Engine;
use ringdove::net::session::{ConnId, Peer, flag};
use ringdove::server::config::Config;
use ringdove::shard::node::Node;
use ringdove::shard::{Shard, Ticks};

/// Unix time at which every run begins, milliseconds.
pub(crate) const EPOCH_MS: u64 = 1_700_000_000_000;

/// A client's connection, as the network between it and its shard knows it.
pub(crate) struct Socket {
    home: usize,
    /// `None` when the server has let go of it.
    conn: Option<ConnId>,
    /// What the client has sent, packet by packet.
    inbound: VecDeque<Vec<u8>>,
    /// What it has been sent and has not looked at.
    pub(crate) received: Vec<u8>,
    /// The client has closed it, so it gets nothing more.
    deaf: bool,
    /// The server ends it in a later turn.
    ending: bool,
}

/// What a run's lanes are like.
#[derive(Clone, Debug)]
pub(crate) struct Wires {
    /// One in so many tries to deliver something on a lane succeeds; by sender and receiver.
    slow: Vec<u32>,
    /// Batches that a lane holds.
    room: usize,
}

impl Wires {
    pub(crate) fn draw(shards: usize, rng: &mut fastrand::Rng) -> Self {
        let even = rng.u32(..4) == 0;
        let speed = |rng: &mut fastrand::Rng| match even {
            true => 1,
            false => [1, 1, 2, 30][rng.usize(..4)],
        };
        Self {
            slow: (0..shards * shards).map(|_| speed(rng)).collect(),
            room: [1, 2, 64][rng.usize(..3)],
        }
    }
}

pub(crate) struct Cluster {
    pub(crate) engines: Vec<Engine>,
    node: Arc<Node>,
    wires: Wires,
    lanes: Vec<VecDeque<Vec<u8>>>,
    pub(crate) sockets: Vec<Socket>,
    pub(crate) now_ms: u64,
    rng: fastrand::Rng,
}

impl Cluster {
    pub(crate) fn new(
        shards: usize,
        databases: u32,
        wires: Wires,
        registry: &Arc<Registry>,
        mut rng: fastrand::Rng,
    ) -> Self {
        let config = Config {
            shards: shards as u32,
            databases,
            ..Config::default()
        };
        let seed = [rng.u64(..), rng.u64(..)];
        let node = Node::new(config, seed, "0".repeat(40), EPOCH_MS, Vec::new(), |_| ());
        let node = Arc::new(node);
        let ticks = Ticks {
            read: || 0,
            per_us: 1,
        };
        let engine = |id| {
            let id = ShardId(id as u16);
            let mut shard = Shard::new(id, node.clone(), registry.clone(), ticks, None);
            shard.now_ms = EPOCH_MS;
            Engine::new(shard)
        };
        Self {
            engines: (0..shards).map(engine).collect(),
            node: node.clone(),
            wires,
            lanes: (0..shards * shards).map(|_| VecDeque::new()).collect(),
            sockets: Vec::new(),
            now_ms: EPOCH_MS,
            rng,
        }
    }

    /// The command table; the same for all runs.
    pub(crate) fn registry() -> Arc<Registry> {
        Arc::new(Registry::new(FAMILIES))
    }

    /// A new connection, dealt to a shard as the server does it. Returns its index in `sockets`.
    pub(crate) fn connect(&mut self) -> usize {
        let home = self.node.place_connection().index();
        let peer = Peer::Unix("sim".into());
        self.engines[home].set_clock(self.now_ms * 1000);
        let conn = self.engines[home].connect(peer, 1);
        self.sockets.push(Socket {
            home,
            conn: Some(conn),
            inbound: VecDeque::new(),
            received: Vec::new(),
            deaf: false,
            ending: false,
        });
        self.sockets.len() - 1
    }

    /// The client's id, for CLIENT KILL.
    pub(crate) fn client_id(&mut self, socket: usize) -> Option<u64> {
        let Socket { home, conn, .. } = self.sockets[socket];
        Some(self.engines[home].session(conn?).id)
    }

    /// A shard that does not own a slot, while none moves.
    pub(crate) fn another_shard(&mut self, slot: Slot) -> usize {
        let owner = self.engines[0].shard.slot_map[slot.index()].index();
        let shards = self.engines.len();
        match self.rng.usize(..shards.max(2) - 1) {
            below if below < owner => below,
            from if from + 1 < shards => from + 1,
            _ => 0,
        }
    }

    /// Whether the server has ended a connection.
    pub(crate) fn is_ended(&self, socket: usize) -> bool {
        self.sockets[socket].conn.is_none()
    }

    /// The client sends bytes, which arrive in packets of any size.
    pub(crate) fn send(&mut self, socket: usize, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = match self.rng.u32(..4) {
                0 => self.rng.usize(1..=rest.len()),
                _ => rest.len(),
            };
            let (packet, later) = rest.split_at(length);
            self.sockets[socket].inbound.push_back(packet.to_vec());
            rest = later;
        }
    }

    /// The client goes: what it has sent may be answered still, or nothing of it taken up any
    /// more.
    pub(crate) fn hang_up(&mut self, socket: usize) {
        let gentle = self.rng.bool();
        let link = &mut self.sockets[socket];
        link.deaf = true;
        let Some(conn) = link.conn else { return };
        if gentle {
            // Everything arrives, then the end of the stream.
            let all: Vec<u8> = link.inbound.drain(..).flatten().collect();
            let home = link.home;
            let engine = &mut self.engines[home];
            engine.set_clock(self.now_ms * 1000);
            if !all.is_empty() {
                engine.receive(conn, &all);
                engine.run_batch();
            }
            engine.hung_up(conn);
        } else {
            link.inbound.clear();
            let home = link.home;
            self.engines[home].close(conn);
        }
    }

    /// Something that could happen next: a shard, and which of its lanes has something for it.
    fn busy(&self) -> Vec<(usize, Option<usize>)> {
        let shards = self.engines.len();
        let mut busy = Vec::new();
        for (lane, batches) in self.lanes.iter().enumerate() {
            if !batches.is_empty() {
                busy.push((lane % shards, Some(lane / shards)));
            }
        }
        for (at, engine) in self.engines.iter().enumerate() {
            let packets = |s: &Socket| s.home == at && s.conn.is_some() && !s.inbound.is_empty();
            let input = self
                .sockets
                .iter()
                .any(|s| packets(s) && !self.is_paused(s));
            let outgoing = |peer: usize| {
                engine.has_outgoing(ShardId(peer as u16))
                    && self.lanes[at * shards + peer].len() < self.wires.room
            };
            let ending = self.sockets.iter().any(|s| s.home == at && s.ending);
            let due = engine.due_ms().is_some_and(|due| due <= self.now_ms);
            let background = engine.background_in_ms() == Some(0);
            if engine.has_work()
                || input
                || ending
                || due
                || background
                || (0..shards).any(outgoing)
            {
                busy.push((at, None));
            }
        }
        busy
    }

    fn is_paused(&self, socket: &Socket) -> bool {
        let conn = socket.conn.expect("asked for those that are there");
        let mut sessions = self.engines[socket.home].sessions();
        sessions.any(|(at, session)| at == conn && session.is(flag::READ_PAUSED))
    }

    /// Whether anything is left to do before time goes on.
    pub(crate) fn is_quiet(&self) -> bool {
        self.busy().is_empty()
    }

    /// One shard has one turn, if any has something to do.
    pub(crate) fn step(&mut self) {
        let busy = self.busy();
        if busy.is_empty() {
            return;
        }
        let (shard, lane) = busy[self.rng.usize(..busy.len())];
        if let Some(from) = lane {
            let slow = self.wires.slow[from * self.engines.len() + shard];
            if self.rng.u32(..slow) > 0 {
                return;
            }
        }
        self.turn(shard, lane);
    }

    fn turn(&mut self, at: usize, lane: Option<usize>) {
        self.engines[at].set_clock(self.now_ms * 1000);
        let packets = self.take_packets(at, lane.is_some());
        for (conn, bytes) in &packets {
            self.engines[at].receive(*conn, bytes);
        }
        self.engines[at].run_batch();
        drop(packets);
        if let Some(from) = lane {
            let lane = from * self.engines.len() + at;
            let most = 1 + self.rng.usize(..3);
            for _ in 0..most {
                let Some(batch) = self.lanes[lane].pop_front() else {
                    break;
                };
                self.engines[at].deliver(ShardId(from as u16), &batch);
                self.engines[at].run_batch();
            }
        }
        self.engines[at].end_what_is_due();
        self.engines[at].resume();
        self.flush_lanes(at);
        self.flush_connections(at);
        if self.rng.u32(..4) == 0 {
            self.engines[at].background();
        }
        self.engines[at].shard.txns.verify();
    }

    /// What some of a shard's connections have sent.
    fn take_packets(&mut self, at: usize, few: bool) -> Vec<(ConnId, Vec<u8>)> {
        let mut packets = Vec::new();
        for index in 0..self.sockets.len() {
            let socket = &self.sockets[index];
            let Some(conn) = socket.conn else { continue };
            if socket.home != at || socket.inbound.is_empty() || self.is_paused(socket) {
                continue;
            }
            if few && self.rng.u32(..4) > 0 {
                continue;
            }
            let most = 1 + self.rng.usize(..2);
            for _ in 0..most {
                if let Some(packet) = self.sockets[index].inbound.pop_front() {
                    packets.push((conn, packet));
                }
            }
        }
        packets
    }

    fn flush_lanes(&mut self, at: usize) {
        let shards = self.engines.len();
        for peer in 0..shards {
            let lane = &mut self.lanes[at * shards + peer];
            if self.engines[at].has_outgoing(ShardId(peer as u16)) && lane.len() < self.wires.room {
                assert_ne!(peer, at, "a shard does not mail itself");
                let out = &mut self.engines[at].outgoing[peer];
                assert!(out.shared.is_empty(), "a lane carries bytes");
                lane.push_back(std::mem::take(&mut out.buf));
            }
        }
        self.engines[at].room_again();
    }

    fn flush_connections(&mut self, at: usize) {
        for index in 0..self.sockets.len() {
            if self.sockets[index].home == at && self.sockets[index].ending {
                self.end(index);
            }
        }
        let mut dirty = std::mem::take(&mut self.engines[at].dirty);
        for conn in dirty.drain(..) {
            self.flush(at, conn);
            self.engines[at].clean(conn);
        }
        dirty.append(&mut self.engines[at].dirty);
        self.engines[at].dirty = dirty;
    }

    fn flush(&mut self, at: usize, conn: ConnId) {
        let of_conn = |s: &Socket| s.home == at && s.conn == Some(conn);
        let Some(index) = self.sockets.iter().position(of_conn) else {
            return; // it has ended, and is still listed
        };
        let session = self.engines[at].session(conn);
        let ends = session.is(flag::CLOSING) || {
            let out = std::mem::take(&mut session.out);
            if !self.sockets[index].deaf {
                let received = &mut self.sockets[index].received;
                let mut done = 0;
                for (before, bytes) in &out.shared {
                    received.extend_from_slice(&out.buf[done..*before]);
                    received.extend_from_slice(bytes);
                    done = *before;
                }
                received.extend_from_slice(&out.buf[done..]);
            }
            session.is(flag::CLOSE_AFTER_REPLY) && session.held.is_empty()
        };
        if ends && self.rng.bool() {
            self.end(index);
        } else if ends {
            self.sockets[index].ending = true;
        }
    }

    fn end(&mut self, index: usize) {
        let socket = &mut self.sockets[index];
        socket.ending = false;
        socket.inbound.clear();
        let conn = socket.conn.take().expect("it ends once");
        self.engines[socket.home].disconnected(conn);
    }

    /// Asserts that nothing is held, queued or kept by any shard, when all clients are gone.
    pub(crate) fn what_is_left(&self) -> Option<String> {
        let mut sessions = self.engines.iter().flat_map(Engine::sessions);
        if let Some((conn, session)) = sessions.next() {
            let (id, stall, waiting) = (session.id, session.stall, session.waiting);
            return Some(format!(
                "connection {conn}, client {id}: {stall:?}, {waiting} waiting, flags {:b}, \
                 {} bytes of input",
                session.flags,
                session.input_bytes()
            ));
        }
        for engine in &self.engines {
            let counts = engine.shard.txns.counts();
            if !engine.is_drained() || counts != Default::default() {
                let text = engine.transactions_text();
                return Some(format!("shard {}: {counts:?} {text}", engine.shard.id.0));
            }
        }
        (self.node.connected() > 0).then(|| "connections are counted that are gone".into())
    }
}
