//! The clients of one thread: which request comes next, where it goes, what its reply means. Knows
//! connections as queues of bytes; the ring is `worker`'s business.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;

use super::Plan;
use super::conn::{Conn, Pending, State};
use crate::cluster::{Redirection, SlotMap, slot_of};
use crate::failure::FailureKind;
use crate::keys::{Cursor, Distribution};
use crate::reply::{Reply, Scanned};
use crate::rng::Rng;
use crate::stats::{Interval, latency_histogram};
use crate::template::Fill;
use crate::verify::write_value;
use crate::workload::{CommandKind, Mix};

/// Redirections of one request before it counts as failed.
const HOPS_MAX: u8 = 16;
const NO_CONN: usize = usize::MAX;
const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

/// A request that waits for its connection.
struct Parked {
    node: u16,
    bytes: Vec<u8>,
    pending: Pending,
    asking: bool,
}

/// One client: a stream of requests. Without a cluster it has one connection.
pub(super) struct Client {
    rng: Rng,
    cursors: Vec<Cursor>,
    /// Where in a sequence it stands: the run, and how often its command was sent.
    run: usize,
    sent_of_run: u64,
    next_variant: usize,
    last_key: u64,
    /// Verify: own keys written in turn, in sequential patterns.
    walked: u64,
    scan_cursor: u64,
    scan_steps: u64,
    number: u64,
    /// Requests begun, and how many there may be.
    pub(super) begun: u64,
    pub(super) limit: Option<u64>,
    pub(super) in_flight: u32,
    pub(super) since_connect: u64,
    /// It has no connection any more, and gets none.
    pub(super) dead: bool,
    in_ready: bool,
    /// Its connection for each node.
    pub(super) conns: Vec<usize>,
    parked: Vec<Parked>,
    /// Requests, bytes sent, bytes received.
    pub(super) totals: [u64; 3],
}

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
    sequence: u64,
    sequence_step: u64,
    unix_base_ms: u64,
    request: Vec<u8>,
    value: Vec<u8>,
    scratch: Vec<u8>,
    plain: Vec<u8>,
    same: Same,
}

/// Replies of one chunk that share line and latency, as a pipeline's mostly do: recorded at once.
#[derive(Default)]
struct Same {
    line: usize,
    latency_ns: u64,
    count: u64,
}

impl Same {
    fn record(&mut self, interval: &mut Interval) {
        if self.count > 0 {
            interval.lines[self.line].record_n(self.latency_ns, self.count);
            self.count = 0;
        }
    }
}

impl Traffic {
    pub(super) fn new(plan: Arc<Plan>, thread: u64) -> Traffic {
        let workload = &plan.workload;
        let total = plan.clients_total();
        let clients = (0..u64::from(plan.clients))
            .map(|at| {
                let number = thread * u64::from(plan.clients) + at;
                let cursor = |c: &crate::workload::Command| {
                    Cursor::new(&c.keys, workload.range, number, total)
                };
                Client {
                    rng: Rng::new(plan.seed, number),
                    cursors: workload.commands.iter().map(cursor).collect(),
                    run: 0,
                    sent_of_run: 0,
                    next_variant: 0,
                    last_key: workload.range.min,
                    walked: 0,
                    scan_cursor: 0,
                    scan_steps: 0,
                    number,
                    begun: 0,
                    limit: plan.limit_of(number),
                    in_flight: 0,
                    since_connect: 0,
                    dead: false,
                    in_ready: false,
                    conns: Vec::new(),
                    parked: Vec::new(),
                    totals: [0; 3],
                }
            })
            .collect();
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let unix_base_ms = unix.as_millis() as u64 - plan.clock.now_ns() / 1_000_000;
        Traffic {
            clients,
            conns: Vec::new(),
            slots: plan.slots.clone(),
            interval: Interval::new(workload.lines.len()),
            lag: latency_histogram(),
            queue: Vec::new(),
            ready: VecDeque::new(),
            stopping: false,
            in_flight: 0,
            undialled: false,
            sequence: thread,
            sequence_step: u64::from(plan.threads),
            unix_base_ms,
            request: Vec::new(),
            value: Vec::new(),
            scratch: Vec::new(),
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

    /// The client may begin a request now.
    fn may_begin(&self, client: usize) -> bool {
        let c = &self.clients[client];
        let interval = self.plan.reconnect_interval;
        !self.stopping
            && !c.dead
            && c.parked.is_empty()
            && c.in_flight < self.plan.pipeline
            && c.limit.is_none_or(|limit| c.begun < limit)
            && (interval == 0 || c.since_connect < interval)
    }

    /// Nothing more will be sent or received for this client.
    pub(super) fn is_done(&self, client: usize) -> bool {
        let c = &self.clients[client];
        c.dead || (c.in_flight == 0 && c.limit.is_some_and(|limit| c.begun >= limit))
    }

    /// A client has room: in a closed loop it sends at once, in an open one it waits its turn.
    pub(super) fn refill(&mut self, client: usize, now_ns: u64) {
        if self.plan.rate.is_some() {
            if !self.clients[client].in_ready && self.may_begin(client) {
                self.clients[client].in_ready = true;
                self.ready.push_back((client, now_ns));
            }
            return;
        }
        while self.may_begin(client) {
            self.begin(client, now_ns);
        }
    }

    /// A client waits for something to do in an open loop.
    pub(super) fn anybody_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Begins the request that was due at `due_ns`; false if all clients are busy.
    pub(super) fn begin_due(&mut self, due_ns: u64, now_ns: u64) -> bool {
        while let Some((client, since_ns)) = self.ready.pop_front() {
            self.clients[client].in_ready = false;
            if !self.may_begin(client) {
                continue;
            }
            self.lag
                .saturating_record(now_ns.saturating_sub(due_ns.max(since_ns)));
            self.begin(client, due_ns);
            if self.may_begin(client) {
                self.clients[client].in_ready = true;
                self.ready.push_back((client, since_ns));
            }
            return true;
        }
        false
    }

    fn next_command(&mut self, client: usize) -> usize {
        let c = &mut self.clients[client];
        match &self.plan.workload.mix {
            Mix::Sequence(runs) => {
                let (command, times) = runs[c.run];
                c.sent_of_run += 1;
                if c.sent_of_run >= times {
                    c.sent_of_run = 0;
                    c.run = (c.run + 1) % runs.len();
                }
                command
            }
            Mix::Random(sums) => {
                let total = sums[sums.len() - 1].1;
                let at = c.rng.below(total);
                sums[sums.partition_point(|(_, sum)| *sum <= at)].0
            }
        }
    }

    /// Makes the client's next request and sends it on its way.
    fn begin(&mut self, client: usize, start_ns: u64) {
        let number = self.next_command(client);
        let plan = &self.plan;
        let workload = &plan.workload;
        let command = &workload.commands[number];
        self.sequence = self.sequence.wrapping_add(self.sequence_step);
        let c = &mut self.clients[client];
        let template = if command.variants.len() == 1 {
            &command.variants[0]
        } else if command.random_variant {
            &command.variants[c.rng.below(command.variants.len() as u64) as usize]
        } else {
            c.next_variant = (c.next_variant + 1) % command.variants.len();
            &command.variants[c.next_variant]
        };
        let mut pending = Pending {
            start_ns,
            key: 0,
            version: 0,
            command: number as u32,
            request_bytes: 0,
            hops: 0,
            asking: false,
        };
        let mut chosen_key = None;
        if let Some(ledger) = &plan.ledger {
            let mut key = command
                .keys
                .pick(workload.range, &mut c.cursors[number], &mut c.rng);
            if command.kind == CommandKind::Write {
                key = match command.keys {
                    Distribution::Parallel | Distribution::Sequential => {
                        c.walked += 1;
                        ledger.nth_own_key(c.walked - 1, c.number)
                    }
                    _ => ledger.own_key(key, c.number),
                };
                pending.version = ledger.next_version(key);
                let size = workload.values.pick(key, &mut c.rng).len();
                write_value(key, pending.version, size, &mut self.value);
            } else {
                pending.version = ledger.floor(key);
            }
            chosen_key = Some(key);
        }
        let mut fill = Fill {
            prefix: &workload.prefix,
            keys: &command.keys,
            range: workload.range,
            cursor: &mut c.cursors[number],
            rng: &mut c.rng,
            values: &workload.values,
            chosen_key,
            chosen_data: plan.ledger.is_some().then_some(&self.value),
            client: c.number,
            sequence: self.sequence,
            unix_ms: self.unix_base_ms + start_ns / 1_000_000,
            scan_cursor: c.scan_cursor,
            last_key: c.last_key,
            scratch: &mut self.scratch,
        };
        c.begun += 1;
        c.in_flight += 1;
        c.since_connect += 1;
        self.in_flight += 1;
        if self.slots.is_none() {
            // The common way: straight into the output of the client's only connection.
            let at = c.conns[0];
            let conn = &mut self.conns[at];
            let before = conn.out.len();
            template.render(&mut fill, &mut conn.out);
            c.last_key = fill.last_key;
            pending.key = c.last_key;
            pending.request_bytes = (conn.out.len() - before) as u32;
            c.totals[1] += u64::from(pending.request_bytes);
            if conn.pending.is_empty() {
                conn.silent_since_ns = plan.clock.now_ns();
            }
            conn.pending.push_back(pending);
            if !conn.queued {
                conn.queued = true;
                self.queue.push(at);
            }
            return;
        }
        let mut request = std::mem::take(&mut self.request);
        request.clear();
        let key_at = template.render(&mut fill, &mut request);
        c.last_key = fill.last_key;
        pending.key = c.last_key;
        pending.request_bytes = request.len() as u32;
        c.totals[1] += request.len() as u64;
        let key = if key_at.is_empty() {
            template.fixed_key()
        } else {
            Some(&request[key_at])
        };
        let node = match (&self.slots, key) {
            (Some(slots), Some(key)) => slots.owner(slot_of(key)),
            // Commands without a key go to any node.
            (Some(slots), None) => (c.begun % slots.nodes.len() as u64) as u16,
            (None, _) => 0,
        };
        self.send_to(client, node, &request, pending, false);
        self.request = request;
    }

    /// Queues request bytes for a node, or parks them until its connection is up (cluster only).
    fn send_to(&mut self, client: usize, node: u16, bytes: &[u8], pending: Pending, asking: bool) {
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
            conn.silent_since_ns = self.plan.clock.now_ns();
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
            self.send_to(client, one.node, &one.bytes, one.pending, one.asking);
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
    pub(super) fn received(
        &mut self,
        at: usize,
        bytes: &[u8],
        now_ns: u64,
    ) -> Result<(), (FailureKind, String)> {
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

    fn replies(
        &mut self,
        at: usize,
        bytes: &[u8],
        now_ns: u64,
    ) -> Result<(), (FailureKind, String)> {
        let result = self.each_reply(at, bytes, now_ns);
        self.same.record(&mut self.interval);
        result
    }

    fn each_reply(
        &mut self,
        at: usize,
        bytes: &[u8],
        now_ns: u64,
    ) -> Result<(), (FailureKind, String)> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.conns[at].scanner.next(&mut rest) {
                Ok(Some(scanned)) => self.reply(at, &scanned, now_ns)?,
                Ok(None) => break,
                Err(malformed) => {
                    return Err((
                        FailureKind::Protocol,
                        format!("not a Redis reply: {}", malformed.0),
                    ));
                }
            }
        }
        Ok(())
    }

    fn reply(
        &mut self,
        at: usize,
        scanned: &Scanned,
        now_ns: u64,
    ) -> Result<(), (FailureKind, String)> {
        if scanned.is_push() {
            return Ok(());
        }
        let conn = &mut self.conns[at];
        let Some(pending) = conn.pending.pop_front() else {
            return Err((FailureKind::Protocol, "a reply to no request".to_string()));
        };
        conn.replies += 1;
        if self.slots.is_some() {
            if scanned.is_error() && !pending.asking && self.redirected(at, &pending) {
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
        let latency_ns = now_ns.saturating_sub(pending.start_ns);
        if self.same.line != command.line || self.same.latency_ns != latency_ns {
            self.same.record(&mut self.interval);
            self.same.line = command.line;
            self.same.latency_ns = latency_ns;
        }
        self.same.count += 1;
        let line = &mut self.interval.lines[command.line];
        line.bytes_sent += u64::from(pending.request_bytes);
        line.bytes_received += scanned.bytes;
        if scanned.is_error() {
            line.errors += 1;
            let text = conn.scanner.error_text();
            self.interval
                .failures
                .add(FailureKind::of_reply(text), text);
        } else if command.kind == CommandKind::Read {
            line.misses += u64::from(scanned.nulls);
            line.hits += u64::from(scanned.leaves - scanned.nulls);
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
    fn redirected(&mut self, at: usize, pending: &Pending) -> bool {
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
        self.send_to(client, to, &bytes, pending, asking);
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
