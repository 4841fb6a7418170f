//! The clients of one thread: which request comes next, where it goes, what its reply means. Knows
//! connections as queues of bytes; the ring is `worker`'s business.

use std::collections::VecDeque;
use std::sync::Arc;

use hdrhistogram::Histogram;

use super::Plan;
use super::client::{Client, Maker, Parked, clients_of};
use super::conn::{Conn, Pending, State};
use crate::cluster::{Redirection, SlotMap, slot_of};
use crate::failure::FailureKind;
use crate::reply::{Malformed, Reply, Scanned};
use crate::stats::{Interval, latency_histogram};
use crate::workload::{Command, CommandKind};

/// Redirections of one request before it counts as failed.
const HOPS_MAX: u8 = 16;
const NO_CONN: usize = usize::MAX;
const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

/// The traffic of one thread.
pub(super) struct Traffic {
    pub(super) plan: Arc<Plan>,
    pub(super) clients: Vec<Client>,
    pub(super) conns: Vec<Conn>,
    pub(super) slots: Option<SlotMap>,
    pub(super) interval: Interval,
    pub(super) lag: Histogram<u64>,
    /// Connections with output.
    pub(super) queue: Vec<usize>,
    /// Clients that may send in an open loop, with the time since when.
    ready: VecDeque<(usize, u64)>,
    /// No new requests.
    pub(super) stopping: bool,
    pub(super) in_flight: u64,
    /// A connection was made that nobody has dialled.
    pub(super) undialled: bool,
    maker: Maker,
    request: Vec<u8>,
    plain: Vec<u8>,
    same: Same,
}

/// Replies of one chunk that share line and latency, as a pipeline's mostly do: recorded at once.
#[derive(Default)]
struct Same {
    line: usize,
    latency_ns: u64,
    count: u64,
    hits: u64,
    misses: u64,
    bytes_sent: u64,
    bytes_received: u64,
}

impl Same {
    #[inline(always)]
    fn add(
        &mut self,
        interval: &mut Interval,
        command: &Command,
        pending: &Pending,
        scanned: &Scanned,
        now_ns: u64,
    ) {
        let latency_ns = now_ns.saturating_sub(pending.start_ns);
        if self.line != command.line || self.latency_ns != latency_ns {
            self.record(interval);
            self.line = command.line;
            self.latency_ns = latency_ns;
        }
        self.count += 1;
        self.bytes_sent += u64::from(pending.request_bytes);
        self.bytes_received += scanned.bytes;
        if command.kind == CommandKind::Read && !scanned.is_error() {
            self.misses += u64::from(scanned.nulls);
            self.hits += u64::from(scanned.leaves - scanned.nulls);
        }
    }

    fn record(&mut self, interval: &mut Interval) {
        if self.count == 0 {
            return;
        }
        let line = &mut interval.lines[self.line];
        line.record_n(self.latency_ns, self.count);
        line.hits += self.hits;
        line.misses += self.misses;
        line.bytes_sent += self.bytes_sent;
        line.bytes_received += self.bytes_received;
        *self = Same::default();
    }
}

/// What ends a connection.
type Fault = (FailureKind, String);

fn not_resp(malformed: Malformed) -> Fault {
    (
        FailureKind::Protocol,
        format!("not a Redis reply: {}", malformed.0),
    )
}

fn unasked() -> Fault {
    (FailureKind::Protocol, "a reply to no request".to_string())
}

fn count_error(interval: &mut Interval, command: &Command, text: &[u8]) {
    interval.lines[command.line].errors += 1;
    interval.failures.add(FailureKind::of_reply(text), text);
}

impl Traffic {
    pub(super) fn new(plan: Arc<Plan>, thread: u64) -> Traffic {
        Traffic {
            clients: clients_of(&plan, thread),
            conns: Vec::new(),
            slots: plan.slots.clone(),
            interval: Interval::new(plan.workload.lines.len()),
            lag: latency_histogram(),
            queue: Vec::new(),
            ready: VecDeque::new(),
            stopping: false,
            in_flight: 0,
            undialled: false,
            maker: Maker::new(&plan, thread),
            request: Vec::new(),
            plain: Vec::new(),
            same: Same::default(),
            plan,
        }
    }

    /// Replies must be kept whole: verify and SCAN iteration read them.
    pub(super) fn keeps_replies(&self) -> bool {
        self.plan.ledger.is_some() || self.plan.workload.scans
    }

    /// The connection of a client to a node; made (but not dialled) if there is none.
    pub(super) fn conn_of(&mut self, client: usize, node: u16) -> usize {
        let known = &mut self.clients[client].conns;
        if known.len() <= usize::from(node) {
            known.resize(usize::from(node) + 1, NO_CONN);
        }
        if known[usize::from(node)] == NO_CONN {
            known[usize::from(node)] = self.conns.len();
            let keep = self.keeps_replies();
            self.conns.push(Conn::new(client, node, keep));
            self.undialled = true;
        }
        self.clients[client].conns[usize::from(node)]
    }

    /// Requests that the client may begin now.
    fn room(&self, client: usize) -> u64 {
        if self.stopping {
            return 0;
        }
        self.clients[client].room(&self.plan)
    }

    /// Nothing more will be sent or received for this client.
    pub(super) fn is_done(&self, client: usize) -> bool {
        let c = &self.clients[client];
        c.dead || (c.in_flight == 0 && c.limit.is_some_and(|limit| c.begun >= limit))
    }

    /// A client has room: in a closed loop it sends at once, in an open one it waits its turn.
    pub(super) fn refill(&mut self, client: usize, now_ns: u64) {
        let room = self.room(client);
        if room == 0 {
            return;
        }
        if self.plan.rate.is_some() {
            if !self.clients[client].in_ready {
                self.clients[client].in_ready = true;
                self.ready.push_back((client, now_ns));
            }
            return;
        }
        self.begin(client, room, now_ns, now_ns);
    }

    /// A client waits for something to do in an open loop.
    pub(super) fn anybody_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Begins the request that was due at `due_ns`; false if all clients are busy.
    pub(super) fn begin_due(&mut self, due_ns: u64, now_ns: u64) -> bool {
        while let Some((client, since_ns)) = self.ready.pop_front() {
            self.clients[client].in_ready = false;
            if self.room(client) == 0 {
                continue;
            }
            self.lag
                .saturating_record(now_ns.saturating_sub(due_ns.max(since_ns)));
            self.begin(client, 1, due_ns, now_ns);
            if self.room(client) > 0 {
                self.clients[client].in_ready = true;
                self.ready.push_back((client, since_ns));
            }
            return true;
        }
        false
    }

    /// Makes the client's next `count` requests and sends them on their way. The client has room.
    fn begin(&mut self, client: usize, count: u64, start_ns: u64, now_ns: u64) {
        let c = &mut self.clients[client];
        c.in_flight += count as u32;
        c.since_connect += count;
        self.in_flight += count;
        if self.slots.is_some() {
            for _ in 0..count {
                self.begin_in_cluster(client, start_ns, now_ns);
            }
            return;
        }
        c.begun += count;
        // The common way: straight into the output of the client's only connection.
        let at = c.conns[0];
        let conn = &mut self.conns[at];
        if conn.pending.is_empty() {
            conn.silent_since_ns = now_ns;
        }
        let before = conn.out.len();
        for _ in 0..count {
            let made = self.maker.make(&self.plan, c, start_ns, &mut conn.out);
            conn.pending.push_back(made.pending);
        }
        c.totals[1] += (conn.out.len() - before) as u64;
        if !conn.queued {
            conn.queued = true;
            self.queue.push(at);
        }
    }

    fn begin_in_cluster(&mut self, client: usize, start_ns: u64, now_ns: u64) {
        let plan = Arc::clone(&self.plan);
        let c = &mut self.clients[client];
        c.begun += 1;
        let mut request = std::mem::take(&mut self.request);
        request.clear();
        let made = self.maker.make(&plan, c, start_ns, &mut request);
        c.totals[1] += request.len() as u64;
        let key = if made.key.is_empty() {
            made.template.fixed_key()
        } else {
            Some(&request[made.key])
        };
        let node = match (&self.slots, key) {
            (Some(slots), Some(key)) => slots.owner(slot_of(key)),
            // Commands without a key go to any node.
            (Some(slots), None) => (c.begun % slots.nodes.len() as u64) as u16,
            (None, _) => 0,
        };
        self.send_to(client, node, &request, made.pending, false, now_ns);
        self.request = request;
    }

    /// Queues request bytes for a node, or parks them until its connection is up (cluster only).
    fn send_to(
        &mut self,
        client: usize,
        node: u16,
        bytes: &[u8],
        pending: Pending,
        asking: bool,
        now_ns: u64,
    ) {
        let at = self.conn_of(client, node);
        let conn = &mut self.conns[at];
        if conn.state != State::Up {
            let parked = Parked {
                node,
                bytes: bytes.to_vec(),
                pending,
                asking,
            };
            self.clients[client].parked.push(parked);
            return;
        }
        if conn.pending.is_empty() {
            conn.silent_since_ns = now_ns;
        }
        if asking {
            conn.out.extend_from_slice(ASKING);
            conn.history.push(ASKING);
            let request_bytes = ASKING.len() as u32;
            conn.pending.push_back(Pending {
                asking: true,
                request_bytes,
                ..pending
            });
        }
        conn.out.extend_from_slice(bytes);
        conn.history.push(bytes);
        conn.pending.push_back(pending);
        if !conn.queued {
            conn.queued = true;
            self.queue.push(at);
        }
    }

    /// A connection is up, or the slot map has changed: what was parked may go.
    pub(super) fn unpark(&mut self, client: usize, now_ns: u64) {
        let parked = std::mem::take(&mut self.clients[client].parked);
        for mut one in parked {
            let dialable = |t: &Traffic, node: u16| {
                let at = t.clients[client].conns[usize::from(node)];
                t.conns[at].state == State::Up
            };
            if !dialable(self, one.node) && !one.asking {
                // Its node may have lost the slot meanwhile.
                if let Some(node) = self.owner_of_request(&one) {
                    one.node = node;
                }
            }
            self.send_to(
                client,
                one.node,
                &one.bytes,
                one.pending,
                one.asking,
                now_ns,
            );
        }
        self.refill(client, now_ns);
    }

    fn owner_of_request(&self, parked: &Parked) -> Option<u16> {
        let command = &self.plan.workload.commands[parked.pending.command as usize];
        let slots = self.slots.as_ref()?;
        if let Some(key) = command.variants[0].fixed_key() {
            return Some(slots.owner(slot_of(key)));
        }
        // The key as templates write it: prefix and number. Others go where they went before.
        let mut key = self.plan.workload.prefix.clone();
        key.extend_from_slice(parked.pending.key.to_string().as_bytes());
        let holds = parked.bytes.windows(key.len()).any(|w| w == key);
        holds.then(|| slots.owner(slot_of(&key)))
    }

    /// Bytes came in. Errors end the connection.
    pub(super) fn received(&mut self, at: usize, bytes: &[u8], now_ns: u64) -> Result<(), Fault> {
        let client = self.conns[at].client;
        self.conns[at].silent_since_ns = now_ns;
        self.clients[client].totals[2] += bytes.len() as u64;
        if self.conns[at].is_tls() {
            let mut plain = std::mem::take(&mut self.plain);
            plain.clear();
            let open = self.conns[at].decrypt(bytes, &mut plain);
            let result = self.replies(at, &plain, now_ns);
            self.plain = plain;
            if self.conns[at].tls_speaks() && !self.conns[at].queued {
                self.conns[at].queued = true;
                self.queue.push(at);
            }
            match open {
                Ok(true) => result?,
                Ok(false) => return Err((FailureKind::Gone, "TLS session ended".to_string())),
                Err(error) => return Err((FailureKind::Tls, error.to_string())),
            }
        } else {
            self.replies(at, bytes, now_ns)?;
        }
        self.refill(client, now_ns);
        Ok(())
    }

    fn replies(&mut self, at: usize, bytes: &[u8], now_ns: u64) -> Result<(), Fault> {
        let simple = self.slots.is_none() && !self.keeps_replies();
        let result = if simple {
            self.count_replies(at, bytes, now_ns)
        } else {
            self.each_reply(at, bytes, now_ns)
        };
        self.same.record(&mut self.interval);
        result
    }

    /// Replies that need only be counted.
    fn count_replies(&mut self, at: usize, bytes: &[u8], now_ns: u64) -> Result<(), Fault> {
        let conn = &mut self.conns[at];
        let commands = &self.plan.workload.commands;
        let mut rest = bytes;
        let mut done = 0;
        let result = loop {
            if rest.is_empty() {
                break Ok(());
            }
            let scanned = match conn.scanner.next(&mut rest) {
                Ok(Some(scanned)) => scanned,
                Ok(None) => break Ok(()),
                Err(malformed) => break Err(not_resp(malformed)),
            };
            if scanned.is_push() {
                continue;
            }
            let Some(pending) = conn.pending.pop_front() else {
                break Err(unasked());
            };
            let command = &commands[pending.command as usize];
            self.same
                .add(&mut self.interval, command, &pending, &scanned, now_ns);
            if scanned.is_error() {
                count_error(&mut self.interval, command, conn.scanner.error_text());
            }
            done += 1;
        };
        conn.replies += done;
        let c = &mut self.clients[conn.client];
        c.totals[0] += done;
        c.in_flight -= done as u32;
        self.in_flight -= done;
        result
    }

    fn each_reply(&mut self, at: usize, bytes: &[u8], now_ns: u64) -> Result<(), Fault> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.conns[at].scanner.next(&mut rest) {
                Ok(Some(scanned)) => self.reply(at, &scanned, now_ns)?,
                Ok(None) => break,
                Err(malformed) => return Err(not_resp(malformed)),
            }
        }
        Ok(())
    }

    fn reply(&mut self, at: usize, scanned: &Scanned, now_ns: u64) -> Result<(), Fault> {
        if scanned.is_push() {
            return Ok(());
        }
        let conn = &mut self.conns[at];
        let Some(pending) = conn.pending.pop_front() else {
            return Err(unasked());
        };
        conn.replies += 1;
        if self.slots.is_some() {
            if scanned.is_error() && !pending.asking && self.redirected(at, &pending, now_ns) {
                return Ok(());
            }
            self.conns[at]
                .history
                .pop(pending.request_bytes as usize, |_| ());
            if pending.asking {
                return Ok(());
            }
        }
        let conn = &self.conns[at];
        let client = conn.client;
        let plan = &self.plan;
        let command = &plan.workload.commands[pending.command as usize];
        self.same
            .add(&mut self.interval, command, &pending, scanned, now_ns);
        if scanned.is_error() {
            count_error(&mut self.interval, command, conn.scanner.error_text());
        }
        if let Some(ledger) = &plan.ledger {
            let own = self.slots.is_none() && ledger.owns(pending.key, self.clients[client].number);
            match (command.kind, Reply::parse(conn.scanner.kept())) {
                (_, Ok(Some((Reply::Error(_), _)))) => {}
                (CommandKind::Write, _) => ledger.acknowledge(pending.key, pending.version),
                (_, Ok(Some((reply, _)))) => {
                    // One connection answers in order: the own writes before this read are
                    // acknowledged by now, the ones after it are not.
                    let now = if own { ledger.floor(pending.key) } else { 0 };
                    let floor = pending.version.max(now);
                    match &reply {
                        Reply::Null => ledger.check(pending.key, floor, None),
                        Reply::Bulk(value) => ledger.check(pending.key, floor, Some(value)),
                        _ => ledger.strange(pending.key, "not a string reply"),
                    }
                }
                _ => ledger.strange(pending.key, "not a whole reply"),
            }
        }
        if plan.workload.scans {
            self.follow_scan(at, client);
        }
        let c = &mut self.clients[client];
        c.totals[0] += 1;
        c.in_flight -= 1;
        self.in_flight -= 1;
        Ok(())
    }

    /// SCAN iteration: the reply's cursor is the next request's.
    fn follow_scan(&mut self, at: usize, client: usize) {
        let cursor = match Reply::parse(self.conns[at].scanner.kept()) {
            Ok(Some((reply, _))) => reply
                .list()
                .and_then(|items| items.first())
                .and_then(Reply::integer)
                .unwrap_or(0),
            _ => 0,
        };
        let c = &mut self.clients[client];
        c.scan_cursor = u64::try_from(cursor).unwrap_or(0);
        c.scan_steps = if c.scan_cursor == 0 {
            0
        } else {
            c.scan_steps + 1
        };
        let most = self.plan.workload.scan_iterations_max;
        if most > 0 && c.scan_steps > most {
            c.scan_cursor = 0;
            c.scan_steps = 0;
        }
    }

    /// Follows MOVED, ASK and TRYAGAIN; true when the request is on its way again.
    fn redirected(&mut self, at: usize, pending: &Pending, now_ns: u64) -> bool {
        let conn = &self.conns[at];
        let (client, node) = (conn.client, conn.node);
        let text = conn.scanner.error_text();
        if pending.hops >= HOPS_MAX || self.stopping {
            return false;
        }
        let again = text.starts_with(b"TRYAGAIN");
        let from = self
            .slots
            .as_ref()
            .map_or("", |s| s.nodes[usize::from(node)].host.as_str());
        let redirection = Redirection::parse(text, from);
        let (to, asking) = match (redirection, &mut self.slots) {
            (Some(redirection), Some(slots)) => {
                let Ok(to) = slots.node_number(redirection.to) else {
                    return false;
                };
                if redirection.ask {
                    self.interval.asked += 1;
                } else {
                    self.interval.moved += 1;
                    slots.set_owner(redirection.slot, to);
                }
                (to, redirection.ask)
            }
            _ if again => (node, false),
            _ => return false,
        };
        let mut bytes = std::mem::take(&mut self.request);
        bytes.clear();
        let len = pending.request_bytes as usize;
        self.conns[at]
            .history
            .pop(len, |request| bytes.extend_from_slice(request));
        let pending = Pending {
            hops: pending.hops + 1,
            ..*pending
        };
        self.send_to(client, to, &bytes, pending, asking, now_ns);
        self.request = bytes;
        true
    }

    /// The connection is lost: its requests fail.
    pub(super) fn lost(&mut self, at: usize, kind: FailureKind, text: &str) {
        let conn = &mut self.conns[at];
        let client = conn.client;
        let failed = conn.pending.iter().filter(|p| !p.asking).count() as u64;
        conn.pending.clear();
        for _ in 0..failed.max(1) {
            self.interval.failures.add(kind, text.as_bytes());
        }
        let c = &mut self.clients[client];
        c.in_flight -= failed as u32;
        c.scan_cursor = 0;
        self.in_flight -= failed;
    }

    /// The client will get no connection any more.
    pub(super) fn bury(&mut self, client: usize) {
        self.clients[client].dead = true;
        self.fail_parked(client);
    }

    /// What waits for a connection waits no longer.
    pub(super) fn fail_parked(&mut self, client: usize) {
        let c = &mut self.clients[client];
        let parked = c.parked.len() as u64;
        c.parked.clear();
        c.in_flight -= parked as u32;
        self.in_flight -= parked;
        for _ in 0..parked {
            self.interval
                .failures
                .add(FailureKind::Gone, b"no connection to the key's node");
        }
    }
}
