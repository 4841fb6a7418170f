//! One shard's thread: a turn of the loop, over and over.
//!
//! A turn: read completions → hand what was received to the engine, which executes it → take what
//! other shards have sent → hand over what goes to them → queue every send → one
//! `io_uring_enter`, which submits all that and, when there is nothing to do, sleeps.
//!
//! Sends are tried at once and complete only when something is left over, so a buffer is free
//! again as soon as the completions of the enter that submitted it have been read.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::log_writes::{Failure, LogWrites};
use super::ports::{Port, Ports};
use super::ring::{Completion, Ring, Space};
use super::{clock, socket};
use crate::log::block::Header;
use crate::mesh::{Endpoint, ShardId};
use crate::net::ebb::Ebb;
use crate::net::engine::{Engine, WAITING_OUTPUT_MAX};
use crate::net::migration::Departure;
use crate::net::session::{ConnId, Peer, flag};
use crate::resp::encode::Output;
use crate::server::log;
use crate::shard::Shard;
use crate::stdx::allocator;
use crate::storage::preparing::Orders;

/// What an operation was, in the top byte of its user data; the rest is a number.
mod op {
    pub(super) const ACCEPT: u64 = 1;
    pub(super) const RECEIVE: u64 = 2;
    pub(super) const SEND_NOW: u64 = 3;
    pub(super) const SEND_LATER: u64 = 4;
    pub(super) const DOORBELL: u64 = 5;
    pub(super) const CALL: u64 = 6;
    pub(super) const IGNORE: u64 = 7;
    pub(super) const RECEIVE_LARGE: u64 = 8;
    pub(super) const LOG: u64 = 9;
    pub(super) const fn with(kind: u64, number: u64) -> u64 {
        kind << 56 | number
    }
}

/// A send of what waits is cut into pieces of this size, so that none keeps the loop for long.
const PIECE_BYTES: usize = 256 * 1024;
/// Bytes of a large argument that one operation receives, at most.
const LARGE_BYTES: usize = 256 * 1024;
/// Milliseconds between two looks at what is left while the server stops.
const STOPPING_TICK_MS: u64 = 10;
/// Milliseconds for which the end waits for the log's last flush.
const LAST_FLUSH_MS: u64 = 30_000;
/// Bytes of a page of memory: what a receive of one or a few commands takes of its buffer.
const PAGE_BYTES: usize = 4096;
/// How long nothing larger must have come for the memory of the receive buffers to go back.
const BULK_PAUSE_US: u64 = 500_000;
/// Batches taken from one lane in one turn.
const BATCHES_A_TURN: usize = 16;

/// Bytes that the socket has not taken yet.
#[derive(Default)]
struct Backlog {
    chunks: VecDeque<Chunk>,
    sending: bool,
}

/// A part of what waits.
struct Chunk {
    bytes: Bytes,
    /// How many of them the socket has taken.
    sent: usize,
}

impl Chunk {
    fn new(bytes: Bytes) -> Self {
        Self { bytes, sent: 0 }
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }
}

/// A connection's socket.
struct Link {
    fd: RawFd,
    receiving: bool,
    /// Cancelled on purpose, to be taken up again.
    paused: bool,
    closing: bool,
    /// Memory of a large argument that the kernel is to receive into.
    space: Option<Box<Space>>,
    backlog: Option<Box<Backlog>>,
}

/// A buffer that the kernel has been asked to send at once.
struct Sending {
    conn: ConnId,
    buf: Vec<u8>,
}

/// What a shard's thread needs besides its engine.
pub struct Wiring {
    /// The shard's end of the mesh.
    pub endpoint: Endpoint,
    /// Ring descriptors of all shards, for doorbells; filled in as shards start.
    pub rings: Arc<[AtomicI32]>,
    /// The listening sockets. The first shard accepts, and each on its own port.
    pub ports: Arc<Ports>,
    /// An event descriptor by which other threads call the shard.
    pub calls: RawFd,
}

/// The loop of one shard.
pub struct Reactor {
    engine: Engine,
    ring: Ring,
    wiring: Wiring,
    links: Vec<Option<Link>>,
    completions: Vec<Completion>,
    sending: Vec<Sending>,
    /// The segments of the shard's log, and the flush that is under way.
    log_writes: LogWrites,
    /// Where the segments come from, if the shard keeps a log.
    orders: Option<Orders>,
    used_buffers: Vec<u16>,
    /// When a receive last took more than a page of its buffer, Unix time in microseconds; 0 once
    /// the buffers' memory went back to the system.
    bulk_us: u64,
    /// Connections whose receive must be taken up again once buffers are back.
    starved: Vec<ConnId>,
    /// Connections to look at again in the next turn.
    again: Vec<ConnId>,
    /// The listening sockets as this shard last saw them.
    ports: Vec<Port>,
    /// Listeners that stopped accepting for want of descriptors, to be tried again.
    deaf: Vec<u32>,
    /// When something last came from outside, Unix time in microseconds.
    active_us: u64,
    next_tick_ms: u64,
    /// When patience with connections that do not end is over, once the server stops.
    stop_at_ms: Option<u64>,
}

impl Reactor {
    /// Sets up the shard's ring on the calling thread.
    pub fn new(engine: Engine, wiring: Wiring) -> std::io::Result<Self> {
        let mut ring = Ring::new()?;
        wiring.rings[engine.shard.id.index()].store(ring.fd(), Ordering::Release);
        ring.poll(wiring.calls, op::with(op::CALL, 0));
        let mut reactor = Self {
            engine,
            ring,
            wiring,
            links: Vec::new(),
            completions: Vec::new(),
            sending: Vec::new(),
            log_writes: LogWrites::default(),
            orders: None,
            used_buffers: Vec::new(),
            bulk_us: 0,
            starved: Vec::new(),
            again: Vec::new(),
            ports: Vec::new(),
            deaf: Vec::new(),
            active_us: 0,
            next_tick_ms: 0,
            stop_at_ms: None,
        };
        reactor.take_up_ports();
        Ok(reactor)
    }

    /// Takes the listening sockets as they are now, and accepts on those that are new and its own
    /// or, for the first shard, common.
    fn take_up_ports(&mut self) {
        let before = std::mem::replace(&mut self.ports, self.wiring.ports.current());
        let own = self.engine.shard.id;
        for port in &self.ports {
            let accepts = port.core.unwrap_or(ShardId(0)) == own;
            if accepts && !before.iter().any(|known| known.number == port.number) {
                let user_data = op::with(op::ACCEPT, port.number.into());
                self.ring.accept(port.listener.fd(), user_data);
            }
        }
    }

    /// The shard, once it does not serve any more.
    pub fn shard(&mut self) -> &mut Shard {
        &mut self.engine.shard
    }

    /// A listening socket by its number.
    fn port(&self, number: u32) -> Option<&Port> {
        self.ports.iter().find(|port| port.number == number)
    }

    /// Serves until the process stops. Fails when the kernel refuses the ring: then this shard's
    /// connections are lost, and the process stops.
    pub fn run(&mut self) -> std::io::Result<()> {
        loop {
            self.turn();
            if let Some(error) = self.ring.failure() {
                for _ in self.links.iter().flatten() {
                    self.engine.shard.node.connection_gone(self.engine.shard.id);
                }
                self.engine.shard.node.stop();
                return Err(error);
            }
            if self.engine.shard.node.stopping.load(Ordering::Relaxed) && self.may_stop() {
                return Ok(());
            }
        }
    }

    fn turn(&mut self) {
        self.set_clock();
        self.work_off_completions();
        self.take_from_lanes();
        self.engine.end_what_is_due();
        self.engine.resume();
        if self.engine.shard.now_ms >= self.next_tick_ms {
            self.tick();
        }
        self.engine.log_turn();
        self.engine.hold_messages();
        let lanes_full = self.flush_lanes();
        self.flush_connections();
        self.flush_log();
        self.take_up_receives();
        self.engine.turn_ends();
        self.sleep(lanes_full);
    }

    fn set_clock(&mut self) {
        let now_us = clock::unix_us();
        self.engine.set_clock(now_us);
    }

    fn work_off_completions(&mut self) {
        let mut completions = std::mem::take(&mut self.completions);
        completions.clear();
        self.ring.completions(&mut completions);
        // Short sends first: what is left of them goes before anything newer, and all other
        // buffers of the last turn are free.
        for done in completions
            .iter()
            .filter(|c| c.user_data >> 56 == op::SEND_NOW)
        {
            self.sent_short((done.user_data & 0xFFFF_FFFF) as usize, done.result);
        }
        while let Some(sent) = self.sending.pop() {
            self.engine.recycle(sent.buf);
        }
        for done in &completions {
            let number = done.user_data & 0xFF_FFFF_FFFF_FFFF;
            match done.user_data >> 56 {
                op::RECEIVE => self.received(number as ConnId, done),
                op::RECEIVE_LARGE => self.received_large(number as ConnId, done.result),
                op::SEND_LATER => self.sent_later(number as ConnId, done.result),
                op::ACCEPT => self.accepted(number as u32, done),
                op::CALL => self.called(done),
                op::LOG => self.log_written(number as u32, done.result),
                _ => {}
            }
        }
        self.engine.run_batch();
        self.turn_to_large();
        self.ring.give_back(&mut self.used_buffers);
        if !completions.is_empty() {
            self.active_us = self.engine.shard.now_us;
        }
        self.completions = completions;
    }

    fn received(&mut self, conn: ConnId, done: &Completion) {
        let Some(link) = self.links.get_mut(conn as usize).and_then(Option::as_mut) else {
            unreachable!("a socket outlives its operations");
        };
        if !done.more() {
            link.receiving = false;
        }
        let closing = link.closing;
        let paused = link.paused;
        if let Some(buffer) = done.buffer() {
            self.used_buffers.push(buffer);
            if done.result > 0 && !closing {
                let bytes = self.ring.received(buffer, done.result as usize);
                if bytes.len() > PAGE_BYTES {
                    self.bulk_us = self.engine.shard.now_us;
                }
                self.engine.receive(conn, bytes);
            }
        }
        if done.more() {
            return;
        }
        if paused {
            self.again.push(conn); // it may be what a connection that leaves has waited for
        }
        match -done.result {
            _ if closing => self.again.push(conn),
            libc::ENOBUFS => self.starved.push(conn),
            libc::ECANCELED if paused => {}
            libc::ECANCELED => self.starved.push(conn), // taken up again before it had stopped
            0 => self.engine.hung_up(conn),
            error if error > 0 => self.engine.close(conn),
            _ => self.starved.push(conn), // the kernel ended the multishot; go on
        }
    }

    /// What comes next of a large argument is in its memory.
    fn received_large(&mut self, conn: ConnId, result: i32) {
        let link = self.links[conn as usize]
            .as_mut()
            .expect("a socket outlives its operations");
        link.receiving = false;
        let space = link.space.take().expect("it was received into");
        let memory = space.filled(result.max(0) as usize);
        let closing = link.closing;
        self.engine.large_received(conn, memory);
        match -result {
            _ if closing => self.again.push(conn),
            0 => self.engine.hung_up(conn),
            libc::ECANCELED | libc::EAGAIN | libc::EINTR => self.starved.push(conn),
            error if error > 0 => self.engine.close(conn),
            _ => self.starved.push(conn),
        }
    }

    /// Connections with a large argument receive into its memory as soon as what fills the ring's
    /// buffers has ended.
    fn turn_to_large(&mut self) {
        for conn in std::mem::take(&mut self.engine.large) {
            if let Some(link) = self.links.get(conn as usize).and_then(Option::as_ref)
                && link.receiving
                && link.space.is_none()
            {
                let target = op::with(op::RECEIVE, conn.into());
                self.ring.cancel(target, op::with(op::IGNORE, 0));
            }
        }
    }

    /// A send that should have been done at once was not: what is left is sent as the socket
    /// takes it.
    fn sent_short(&mut self, at: usize, result: i32) {
        let Sending { conn, buf } = &mut self.sending[at];
        let conn = *conn;
        let mut rest = Chunk::new(Bytes::from(std::mem::take(buf)));
        if result < 0 && !matches!(-result, libc::EAGAIN | libc::EINTR) {
            self.engine.close(conn);
            return;
        }
        rest.sent = result.max(0) as usize;
        if rest.rest().is_empty() {
            return;
        }
        let link = self.links[conn as usize]
            .as_mut()
            .expect("a socket outlives its operations");
        let backlog = link.backlog.get_or_insert_with(Default::default);
        self.engine.session(conn).info.backlog_bytes += rest.rest().len();
        backlog.chunks.push_front(rest);
        self.send_backlog(conn);
        self.engine.watch_output(conn);
    }

    fn sent_later(&mut self, conn: ConnId, result: i32) {
        let link = self.links[conn as usize]
            .as_mut()
            .expect("a socket outlives its operations");
        let backlog = link.backlog.as_mut().expect("it is being sent");
        backlog.sending = false;
        if link.closing {
            self.again.push(conn);
            return;
        }
        if result < 0 && !matches!(-result, libc::EAGAIN | libc::EINTR) {
            self.engine.close(conn);
            return;
        }
        let mut left = result.max(0) as usize;
        self.engine.session(conn).info.backlog_bytes -= left;
        while left > 0 {
            let first = backlog.chunks.front_mut().expect("what was sent was there");
            let n = left.min(first.rest().len());
            first.sent += n;
            left -= n;
            if first.rest().is_empty()
                && let Some(done) = backlog.chunks.pop_front()
            {
                self.engine.shard.keyspace.dispose(done.bytes);
            }
        }
        self.send_backlog(conn);
    }

    /// Sends the next piece of what waits; without any, the connection is as others again.
    fn send_backlog(&mut self, conn: ConnId) {
        let link = self.links[conn as usize].as_mut().expect("in use");
        let Some(backlog) = link.backlog.as_mut() else {
            return;
        };
        if backlog.sending || link.closing {
            return;
        }
        match backlog.chunks.front() {
            Some(first) => {
                let rest = first.rest();
                let piece = &rest[..rest.len().min(PIECE_BYTES)];
                backlog.sending = true;
                self.ring
                    .send_later(link.fd, piece, op::with(op::SEND_LATER, conn.into()));
            }
            None => {
                link.backlog = None;
                let waiting = self.engine.session(conn).info.backlog_bytes;
                assert_eq!(waiting, 0, "what waits is counted as it comes and goes");
                self.again.push(conn);
            }
        }
    }

    fn accepted(&mut self, port: u32, done: &Completion) {
        if -done.result == libc::EINVAL {
            return; // it listens no more: CONFIG SET has closed it
        }
        if !done.more() {
            self.deaf.push(port);
        }
        if done.result >= 0 && self.stop_at_ms.is_some() {
            socket::close(done.result);
        } else if done.result >= 0 && self.port(port).is_some_and(|port| port.core.is_some()) {
            let node = &self.engine.shard.node;
            node.count_connection(self.engine.shard.id);
            self.adopt(done.result, port);
        } else if done.result >= 0 {
            let shard = self.engine.shard.node.place_connection();
            if shard == self.engine.shard.id {
                self.adopt(done.result, port);
            } else {
                self.engine.send_connection(shard, done.result, port);
            }
        } else {
            self.engine.accept_failed(-done.result);
        }
    }

    /// Takes over a connection that was dealt to this shard and counted there.
    fn adopt(&mut self, fd: RawFd, port: u32) {
        let port = self.port(port);
        let is_core = port.is_some_and(|port| port.core.is_some());
        let peer = match port.and_then(|port| port.listener.path()) {
            Some(path) => Peer::Unix(path.into()),
            None => match socket::addresses(fd) {
                Some((peer, own)) => Peer::Tcp(peer, own),
                None => {
                    // The peer has gone already.
                    socket::close(fd);
                    self.engine.shard.node.connection_gone(self.engine.shard.id);
                    return;
                }
            },
        };
        if let Some(refusal) = self.engine.refuses(&peer) {
            socket::say(fd, refusal.as_bytes());
            socket::close(fd);
            self.engine.shard.node.connection_gone(self.engine.shard.id);
            return;
        }
        if matches!(peer, Peer::Tcp(..)) {
            let seconds = self.engine.shard.config.tcp_keepalive as i32;
            if seconds > 0 {
                let _ = socket::set_option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
                let _ = socket::set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, seconds);
                let _ = socket::set_option(
                    fd,
                    libc::IPPROTO_TCP,
                    libc::TCP_KEEPINTVL,
                    (seconds / 3).max(1),
                );
                let probes = self.engine.shard.config.tcp_keepalive_probes as i32;
                let _ = socket::set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, probes);
            }
        }
        let conn = self.engine.connect(peer, fd);
        if is_core {
            self.engine.enter_core(conn);
        }
        self.link(conn, fd);
    }

    /// Begins to receive from a connection.
    fn link(&mut self, conn: ConnId, fd: RawFd) {
        if self.links.len() <= conn as usize {
            self.links.resize_with(conn as usize + 1, || None);
        }
        let link = Link {
            fd,
            receiving: true,
            paused: false,
            closing: false,
            space: None,
            backlog: None,
        };
        self.links[conn as usize] = Some(link);
        self.ring.receive(fd, op::with(op::RECEIVE, conn.into()));
    }

    /// Another thread has written to the event descriptor.
    fn called(&mut self, done: &Completion) {
        socket::drain_event(self.wiring.calls);
        if !done.more() {
            self.ring.poll(self.wiring.calls, op::with(op::CALL, 0));
        }
        self.take_up_ports();
        self.take_segments();
        self.engine.mind_logs();
        if self.engine.is_tick_due() {
            self.next_tick_ms = 0;
        }
    }

    /// Submits what the log wants written.
    fn flush_log(&mut self) {
        if self.engine.take_closed_log() {
            self.orders = None;
            self.log_writes = LogWrites::default();
        }
        if let Some(seat) = self.engine.take_log_seat() {
            let header = Header {
                first: seat.first,
                blocks: seat.segment_blocks,
            };
            self.orders = Some(Orders::new(seat.preparer, seat.identity, header));
            self.want_segment();
        }
        if let Some(flush) = self.engine.begin_flush() {
            let token = |number: u32| op::with(op::LOG, number.into());
            self.log_writes.begin(&mut self.ring, flush, token);
        }
        self.want_segment();
    }

    /// An operation of a flush has completed.
    fn log_written(&mut self, operation: u32, result: i32) {
        let Some((flush, result)) = self.log_writes.completed(operation, result) else {
            return;
        };
        let result = result.map_err(|failure| match failure {
            Failure::System(error) => error,
            Failure::Short => libc::EIO,
        });
        let fault = self.engine.shard.node.logs.take_write_fault();
        self.engine.flush_ended(flush, fault.map_or(result, Err));
        self.want_segment();
    }

    /// Has the next segment of the log prepared, if it is time.
    fn want_segment(&mut self) {
        let call = self.wiring.calls;
        if let Some(orders) = &mut self.orders
            && let Some(segment) = self.engine.wanted_segment()
        {
            if self.engine.shard.node.logs.is_disk_filled() && !orders.is_under_way() {
                return self.engine.segment_came(Err(libc::ENOSPC));
            }
            let now_ms = self.engine.shard.now_ms;
            orders.want(segment, now_ms, move || socket::signal_event(call));
        }
    }

    /// Takes what has been prepared.
    fn take_segments(&mut self) {
        let Some(orders) = &mut self.orders else {
            return;
        };
        while let Some((number, prepared)) = orders.take(self.engine.shard.now_ms) {
            match prepared {
                Ok(segment) => {
                    self.log_writes.add(number, segment);
                    self.engine.segment_came(Ok(()));
                }
                Err(error) => {
                    log::warning(format_args!("{error}"));
                    self.engine.segment_came(Err(error.errno()));
                }
            }
        }
        self.want_segment();
    }

    /// Writes what is left of the log, once no client is served.
    pub fn finish_log(&mut self) {
        let until = clock::unix_us() / 1000 + LAST_FLUSH_MS;
        loop {
            self.set_clock();
            let mut completions = std::mem::take(&mut self.completions);
            completions.clear();
            self.ring.completions(&mut completions);
            for done in &completions {
                let number = done.user_data & 0xFF_FFFF_FFFF_FFFF;
                match done.user_data >> 56 {
                    op::LOG => self.log_written(number as u32, done.result),
                    op::CALL => self.called(done),
                    _ => {}
                }
            }
            self.completions = completions;
            if self.engine.log_is_finished() || self.engine.shard.now_ms >= until {
                return;
            }
            self.flush_log();
            self.ring
                .enter(1, Some(Duration::from_millis(STOPPING_TICK_MS)));
        }
    }

    fn take_from_lanes(&mut self) {
        for peer in 0..self.wiring.endpoint.lanes.len() {
            for _ in 0..BATCHES_A_TURN {
                let Some(lane) = self.wiring.endpoint.lanes[peer].as_mut() else {
                    break;
                };
                let Some(batch) = lane.receive() else { break };
                self.engine.deliver(ShardId(peer as u16), &batch);
                self.engine.run_batch();
                lane.give_back(batch);
            }
        }
        for (fd, listener) in std::mem::take(&mut self.engine.adopted) {
            self.adopt(fd, listener);
        }
        for (from, traveller) in std::mem::take(&mut self.engine.migration.arrived) {
            let fd = traveller.fd();
            let conn = self.engine.settle_in(from, *traveller);
            self.link(conn, fd);
        }
    }

    /// Hands over what goes to other shards, and wakes those that sleep. Whether a lane was full.
    fn flush_lanes(&mut self) -> bool {
        let mut full = false;
        for peer in 0..self.wiring.endpoint.lanes.len() {
            let Some(lane) = self.wiring.endpoint.lanes[peer].as_mut() else {
                continue;
            };
            let batch = &mut self.engine.outgoing[peer].buf;
            if batch.is_empty() {
                continue;
            }
            if !lane.send(batch) {
                full = true;
                continue;
            }
            if lane.must_wake() {
                let ring = self.wiring.rings[peer].load(Ordering::Acquire);
                self.ring
                    .ring_doorbell(ring, op::with(op::DOORBELL, 0), op::with(op::IGNORE, 0));
            }
        }
        self.engine.room_again();
        full
    }

    fn flush_connections(&mut self) {
        self.engine.let_hear();
        let mut dirty = std::mem::take(&mut self.engine.dirty);
        for conn in dirty.drain(..) {
            self.flush(conn);
            self.engine.clean(conn);
            self.let_leave(conn);
        }
        std::mem::swap(&mut dirty, &mut self.engine.dirty);
        self.engine.dirty.append(&mut dirty);
        for conn in std::mem::take(&mut self.again) {
            if self.links.get(conn as usize).is_some_and(Option::is_some) {
                self.engine.mark_dirty(conn);
            }
        }
    }

    /// Queues what a connection has to send; ends it if it is to end; pauses or resumes reading.
    fn flush(&mut self, conn: ConnId) {
        // A client of the server's own has no socket.
        let Some(link) = self.links.get_mut(conn as usize).and_then(Option::as_mut) else {
            return;
        };
        let session = self.engine.session(conn);
        if session.is(flag::CLOSING) || link.closing {
            return self.end(conn);
        }
        if session.is(flag::GATED) || self.engine.gates() {
            self.engine.gate_output(conn);
        }
        let session = self.engine.session(conn);
        if !session.out.is_empty() {
            self.engine.watch_output(conn);
            let session = self.engine.session(conn);
            if session.is(flag::CLOSING) {
                return self.end(conn);
            }
            if session.out.shared.is_empty() && link.backlog.is_none() {
                let buf = std::mem::take(&mut session.out.buf);
                session.info.bytes_out += buf.len() as u64;
                self.engine.shard.stats.bytes_out += buf.len() as u64;
                self.engine.shard.stats.writes += 1;
                let user_data = op::with(op::SEND_NOW, self.sending.len() as u64);
                self.ring.send_now(link.fd, &buf, user_data);
                self.sending.push(Sending { conn, buf });
            } else {
                let out = std::mem::take(&mut session.out);
                session.info.bytes_out += out.len() as u64;
                session.info.backlog_bytes += out.len();
                self.engine.shard.stats.bytes_out += out.len() as u64;
                self.engine.shard.stats.writes += 1;
                let backlog = link.backlog.get_or_insert_with(Default::default);
                into_chunks(out, &mut backlog.chunks);
                self.send_backlog(conn);
            }
        }
        let Some(link) = self.links[conn as usize].as_mut() else {
            return;
        };
        let session = self.engine.session(conn);
        if session.is(flag::CLOSE_AFTER_REPLY) {
            // Whatever is missing marks the connection again when it is there.
            let sending = self.sending.iter().any(|s| s.conn == conn);
            let gated = session.is(flag::GATED);
            let sent = session.held.is_empty() && session.out.is_empty() && !gated;
            if sent && link.backlog.is_none() {
                if sending {
                    self.again.push(conn);
                } else {
                    self.end(conn);
                }
            }
            return;
        }
        let want_paused = session.is(flag::READ_PAUSED | flag::LEAVING)
            || session.output_bytes() > WAITING_OUTPUT_MAX;
        if want_paused != link.paused {
            link.paused = want_paused;
            if want_paused && link.receiving {
                let target = op::with(op::RECEIVE, conn.into());
                self.ring.cancel(target, op::with(op::IGNORE, 0));
            } else if !want_paused && !link.receiving {
                self.starved.push(conn);
            }
        }
    }

    /// Sends a connection off to another shard if it is to go there and may. Its socket goes along: no
    /// operation of this ring is under way on it.
    fn let_leave(&mut self, conn: ConnId) {
        let leaving = self.engine.session_if(conn);
        if leaving.is_none_or(|session| !session.is(flag::LEAVING)) {
            return;
        }
        let Some(link) = self.links.get(conn as usize).and_then(Option::as_ref) else {
            return;
        };
        let busy = link.receiving || link.closing || link.backlog.is_some();
        if link.receiving && link.space.is_none() || link.closing {
            return; // its end marks the connection again
        }
        let sending = self.sending.iter().any(|s| s.conn == conn);
        let departure = match self.engine.departure(conn) {
            Departure::Ready if busy || sending => Departure::Later,
            departure => departure,
        };
        let left = departure == Departure::Ready && self.engine.leave(conn);
        if left {
            let link = self.links[conn as usize].take().expect("just seen");
            assert!(link.space.is_none(), "nothing is received into memory");
        } else if departure != Departure::Later || self.engine.session(conn).waiting == 0 {
            self.again.push(conn); // else the answer that it waits for marks it again
        }
    }

    /// Ends a connection: first both directions, then, when no operation is under way, the socket.
    fn end(&mut self, conn: ConnId) {
        let link = self.links[conn as usize].as_mut().expect("in use");
        if !link.closing {
            link.closing = true;
            socket::shutdown(link.fd);
        }
        let sending = link.backlog.as_ref().is_some_and(|b| b.sending);
        if link.receiving || sending || self.sending.iter().any(|s| s.conn == conn) {
            if !link.receiving && !sending {
                self.again.push(conn);
            }
            return;
        }
        socket::close(link.fd);
        let link = self.links[conn as usize].take();
        let backlog = link.and_then(|link| link.backlog).unwrap_or_default();
        for chunk in backlog.chunks {
            self.engine.shard.keyspace.dispose(chunk.bytes);
        }
        self.engine.disconnected(conn);
    }

    /// Takes up receives that ended for want of buffers, and listeners that ran out of
    /// descriptors.
    fn take_up_receives(&mut self) {
        for conn in std::mem::take(&mut self.starved) {
            if let Some(link) = self.links.get_mut(conn as usize).and_then(Option::as_mut)
                && !link.receiving
                && !link.closing
                && !link.paused
            {
                link.receiving = true;
                match self.engine.lend_large(conn) {
                    Some((memory, missing)) => {
                        let space = Space::new(memory, missing.min(LARGE_BYTES));
                        let space = link.space.insert(Box::new(space));
                        let user_data = op::with(op::RECEIVE_LARGE, conn.into());
                        self.ring.receive_into(link.fd, space, user_data);
                    }
                    None => self
                        .ring
                        .receive(link.fd, op::with(op::RECEIVE, conn.into())),
                }
            }
        }
    }

    fn tick(&mut self) {
        let again_in_ms = self.engine.tick();
        self.want_segment(); // again, where there was no space
        self.next_tick_ms = self.engine.shard.now_ms + again_in_ms;
        self.give_back_memory();
        for port in std::mem::take(&mut self.deaf) {
            if let Some(Port { listener, .. }) = self.port(port) {
                let fd = listener.fd();
                self.ring.accept(fd, op::with(op::ACCEPT, port.into()));
            }
        }
    }

    /// Gives memory back to the system: that of the receive buffers when nothing large has come for
    /// a while, and what was freed, at once where it is much. What has gathered in a tick one shard sees
    /// to for all of them: memory that was freed a moment ago is likely to be wanted again.
    fn give_back_memory(&mut self) {
        let quiet_us = self.engine.shard.now_us.saturating_sub(self.bulk_us);
        if self.bulk_us > 0 && quiet_us >= BULK_PAUSE_US {
            assert!(self.used_buffers.is_empty(), "the turn's batch has run");
            if self.ring.forget_received() {
                self.bulk_us = 0;
            }
        }
        let ebb = self.engine.memory_ebbs();
        if ebb != Ebb::Unknown {
            allocator::collect();
        }
        let sees_to_it = self.engine.shard.id.0 == 0;
        if (ebb == Ebb::Much || sees_to_it) && !self.engine.shard.keyspace.give_back() {
            allocator::purge_all();
        }
    }

    /// Submits, and sleeps if there is nothing to do. Background work has its turn when everything
    /// that clients wait for is on its way.
    fn sleep(&mut self, lanes_full: bool) {
        let background = self.engine.background_in_ms();
        if background == Some(0) {
            self.ring.enter(0, None);
            self.engine.turn_begins();
            self.engine.background();
            return self.engine.turn_ends();
        }
        let lanes = &self.wiring.endpoint.lanes;
        let inbound = || lanes.iter().flatten().any(crate::mesh::Lane::has_inbound);
        let busy = lanes_full || self.engine.has_work() || !self.again.is_empty() || inbound();
        let now_us = self.engine.shard.now_us;
        if busy {
            self.active_us = now_us;
            return self.ring.enter(0, None);
        }
        let spin_us = self.engine.shard.config.spin_before_sleep_us;
        if spin_us > 0 && now_us.saturating_sub(self.active_us) < spin_us {
            return self.ring.enter(0, None);
        }
        self.wiring.endpoint.bedside.going_to_sleep();
        if inbound() {
            self.wiring.endpoint.bedside.awake();
            return self.ring.enter(0, None);
        }
        let due_ms = self.engine.due_ms().unwrap_or(u64::MAX);
        let until_tick = self
            .next_tick_ms
            .min(due_ms)
            .saturating_sub(self.engine.shard.now_ms)
            .min(background.unwrap_or(u64::MAX))
            .max(1);
        self.ring.enter(1, Some(Duration::from_millis(until_tick)));
        self.wiring.endpoint.bedside.awake();
    }

    /// While stopping: whether no shard has a connection any more, or patience is over. Until then
    /// the shard serves the others, whose connections may wait for it.
    fn may_stop(&mut self) -> bool {
        let now_ms = self.engine.shard.now_ms;
        let patience_ms = u64::from(self.engine.shard.config.shutdown_timeout) * 1000;
        let until = *self.stop_at_ms.get_or_insert(now_ms + patience_ms);
        self.engine.stop_serving();
        self.next_tick_ms = now_ms + STOPPING_TICK_MS;
        self.engine.shard.node.connected() == 0 || now_ms >= until
    }
}

/// Cuts an output into what is sent piece by piece.
fn into_chunks(out: Output, chunks: &mut VecDeque<Chunk>) {
    let mut rest = Bytes::from(out.buf);
    let mut done = 0;
    for (at, bytes) in out.shared {
        let before = rest.split_to(at - done);
        done = at;
        if !before.is_empty() {
            chunks.push_back(Chunk::new(before));
        }
        chunks.push_back(Chunk::new(bytes));
    }
    if !rest.is_empty() {
        chunks.push_back(Chunk::new(rest));
    }
}
