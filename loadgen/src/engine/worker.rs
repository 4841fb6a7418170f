//! The loop of one thread: queue sends, one `enter`, drain everything, hand received bytes to
//! `traffic`, give buffers back. Also keeps time: the schedule of an open loop, the ends of
//! intervals, requests that time out, connections to dial again.
//!
//! Dialling blocks, so a lost connection is dialled by a thread beside this one.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::conn::State;
use super::traffic::Traffic;
use super::{Message, Plan, Start};
use crate::clock::{NS_PER_MS, NS_PER_SEC};
use crate::cluster::SlotMap;
use crate::dial::{Link, Target};
use crate::failure::{Failure, FailureKind};
use crate::os;
use crate::pace::Schedule;
use crate::ring::{Completion, Ring, SendMode};
use crate::rng::Rng;
use crate::stats::{Interval, ThreadEnd};

/// The longest sleep: ends of intervals and interrupts are noticed in this time.
const WAIT_NS_MAX: u64 = 20 * NS_PER_MS;
/// While a connection is being dialled, its thread's answer is looked for this often.
const DIAL_POLL_NS: u64 = NS_PER_MS;
/// Silence is looked for this often.
const TIMEOUT_CHECK_NS: u64 = 100 * NS_PER_MS;
/// The first wait before dialling again, and the longest.
const DIAL_WAIT_NS: u64 = 10 * NS_PER_MS;
const DIAL_WAIT_NS_MAX: u64 = 5 * NS_PER_SEC;
/// After the end, replies to what was sent are awaited this long.
const DRAIN_NS_MAX: u64 = 5 * NS_PER_SEC;
/// At the very end, operations of the ring are awaited this long.
const CLOSE_NS_MAX: u64 = 2 * NS_PER_SEC;

const OP_RECEIVE: u64 = 0;
const OP_SEND: u64 = 1;
const OP_SEND_WAIT: u64 = 2;
const OP_SHIFT: u32 = 56;

fn tag(op: u64, conn: usize) -> u64 {
    op << OP_SHIFT | conn as u64
}

/// What a dialling thread is asked, and answers.
type DialAsk = (usize, Target, Vec<Target>);
type DialAnswer = (usize, Result<Link, Failure>, Option<SlotMap>);

struct Dialler {
    ask: Sender<DialAsk>,
    answers: Receiver<DialAnswer>,
}

impl Dialler {
    /// A thread that dials until its worker is gone. When a cluster's node does not answer, it asks
    /// the others who owns its slots now.
    fn start() -> Dialler {
        let (ask, asked) = channel::<DialAsk>();
        let (answer, answers) = channel();
        std::thread::spawn(move || {
            for (conn, target, others) in asked {
                let result = target.dial();
                let map = match &result {
                    Err(_) => others.iter().find_map(super::slot_map),
                    Ok(_) => None,
                };
                if answer.send((conn, result, map)).is_err() {
                    break;
                }
            }
        });
        Dialler { ask, answers }
    }
}

pub(super) struct Worker {
    plan: Arc<Plan>,
    number: u64,
    ring: Ring,
    traffic: Traffic,
    completions: Vec<Completion>,
    messages: Sender<Message>,
    dialler: Option<Dialler>,
    /// Connections that are down or being dialled.
    down: usize,
    schedule: Option<Schedule>,
    rng: Rng,
    /// When results begin to count.
    measured_ns: u64,
    started: bool,
    cpu_start_ns: u64,
    next_timeout_check_ns: u64,
    lost: bool,
}

/// The whole life of a thread.
pub(super) fn run(plan: Arc<Plan>, number: u64, messages: Sender<Message>, start: &Start) {
    if let Some(cpu) = plan.cpus.get(number as usize % plan.cpus.len().max(1))
        && let Err(error) = os::pin_to(*cpu)
    {
        start.fail(Failure::new(
            FailureKind::Other,
            format!("--cpus {cpu}: {error}"),
        ));
    }
    os::sharpen_timers();
    let worker = Worker::new(plan, number, messages).and_then(|mut worker| {
        worker.connect_all(start)?;
        Ok(worker)
    });
    let worker = match worker {
        Ok(worker) => Some(worker),
        Err(failure) => {
            start.fail(failure);
            None
        }
    };
    let start_ns = start.wait();
    if let (Some(mut worker), Some(start_ns)) = (worker, start_ns) {
        if let Err(error) = worker.drive(start_ns) {
            let failure = Failure::new(FailureKind::Other, format!("io_uring: {error}"));
            // The collector is gone only when the program ends.
            let _ = worker.messages.send(Message::Broken(failure));
        }
        worker.finish();
    }
}

impl Worker {
    fn new(plan: Arc<Plan>, number: u64, messages: Sender<Message>) -> Result<Worker, Failure> {
        let ring = Ring::new().map_err(|error| {
            Failure::new(
                FailureKind::Other,
                format!("io_uring: {error} (Linux 6.1 or newer, not forbidden by seccomp or kernel.io_uring_disabled)"),
            )
        })?;
        Ok(Worker {
            traffic: Traffic::new(Arc::clone(&plan), number),
            rng: Rng::new(plan.seed ^ 0x7363_6865_6475_6c65, number),
            plan,
            number,
            ring,
            completions: Vec::new(),
            messages,
            dialler: None,
            down: 0,
            schedule: None,
            measured_ns: 0,
            started: false,
            cpu_start_ns: 0,
            next_timeout_check_ns: 0,
            lost: false,
        })
    }

    fn target_of(&self, node: u16) -> Target {
        match &self.traffic.slots {
            Some(slots) => self.plan.target.node(&slots.nodes[usize::from(node)]),
            None => self.plan.target.clone(),
        }
    }

    fn connect_all(&mut self, start: &Start) -> Result<(), Failure> {
        let nodes = self.traffic.slots.as_ref().map_or(1, |s| s.nodes.len());
        let (jitter_min, jitter_max) = self.plan.start_jitter_us;
        for client in 0..self.traffic.clients.len() {
            if start.failed() {
                return Ok(());
            }
            for node in 0..nodes as u16 {
                let at = self.traffic.conn_of(client, node);
                let link = self.target_of(node).dial()?;
                let keep = self.traffic.keeps_replies();
                self.traffic.conns[at].connected(link, keep);
            }
            if jitter_max > 0 {
                let pause = jitter_min + self.rng.below(jitter_max.saturating_sub(jitter_min) + 1);
                std::thread::sleep(std::time::Duration::from_micros(pause));
            }
        }
        Ok(())
    }

    fn drive(&mut self, start_ns: u64) -> io::Result<()> {
        let plan = Arc::clone(&self.plan);
        let clock = plan.clock;
        self.measured_ns = start_ns + plan.warmup_ns;
        let end_ns = plan.duration_ns.map(|d| self.measured_ns + d);
        self.cpu_start_ns = os::thread_cpu_ns();
        self.started = plan.warmup_ns == 0;
        for at in 0..self.traffic.conns.len() {
            self.arm(at)?;
        }
        while clock.now_ns() < start_ns {
            std::hint::spin_loop();
        }
        if let Some((rate, arrivals)) = plan.rate {
            let share = rate / f64::from(plan.threads);
            let phase = self.number as f64 / f64::from(plan.threads);
            self.schedule = Some(Schedule::new(
                share,
                arrivals,
                start_ns,
                phase,
                &mut self.rng,
            ));
        }
        for client in 0..self.traffic.clients.len() {
            self.traffic.refill(client, clock.now_ns());
        }
        let mut drain_until_ns = u64::MAX;
        loop {
            let now_ns = clock.now_ns();
            self.keep_time(now_ns)?;
            let over =
                end_ns.is_some_and(|end| now_ns >= end) || os::interrupted() || plan.stopped();
            if over && !self.traffic.stopping {
                self.traffic.stopping = true;
                for client in 0..self.traffic.clients.len() {
                    self.traffic.fail_parked(client);
                }
                drain_until_ns = now_ns + DRAIN_NS_MAX;
            }
            if self.begin_due(now_ns) {
                continue;
            }
            self.flush()?;
            let idle = self.traffic.in_flight == 0;
            // Looked at only when it may be so: there can be thousands of clients.
            let all_done = (idle || self.lost)
                && (0..self.traffic.clients.len()).all(|c| self.traffic.is_done(c));
            if (self.traffic.stopping && (idle || now_ns >= drain_until_ns)) || all_done {
                break;
            }
            self.ring.enter(self.wait_ns(now_ns))?;
            self.drain()?;
            self.redial(clock.now_ns())?;
        }
        self.give_up_on_rest();
        Ok(())
    }

    /// How long the ring may sleep.
    fn wait_ns(&self, now_ns: u64) -> u64 {
        let mut wait = WAIT_NS_MAX;
        if self.down > 0 {
            wait = DIAL_POLL_NS;
        }
        if let Some(schedule) = &self.schedule
            && self.traffic.anybody_ready()
            && !self.traffic.stopping
        {
            wait = wait.min(schedule.due_ns().saturating_sub(now_ns));
        }
        let measured = self.measured_ns;
        let next_interval = match now_ns.checked_sub(measured) {
            Some(since) => measured + (since / self.plan.interval_ns + 1) * self.plan.interval_ns,
            None => measured,
        };
        wait.min(next_interval.saturating_sub(now_ns)).max(1)
    }

    /// Sends what an open loop has due. True when there was so much that time should be read again.
    fn begin_due(&mut self, now_ns: u64) -> bool {
        /// Requests in one go: replies are looked at between two goes.
        const BURST: usize = 64;
        let Some(schedule) = &mut self.schedule else {
            return false;
        };
        if self.traffic.stopping {
            return false;
        }
        for _ in 0..BURST {
            let due_ns = schedule.due_ns();
            if due_ns > now_ns || !self.traffic.begin_due(due_ns, now_ns) {
                return false;
            }
            schedule.advance(&mut self.rng);
        }
        false
    }

    /// Ends of intervals, the end of the warm-up, silent connections.
    fn keep_time(&mut self, now_ns: u64) -> io::Result<()> {
        if !self.started {
            if now_ns < self.measured_ns {
                return Ok(());
            }
            self.started = true;
            self.traffic.interval.reset();
            self.traffic.lag.reset();
            self.cpu_start_ns = os::thread_cpu_ns();
            for client in &mut self.traffic.clients {
                client.begun = 0;
                client.totals = [0; 3];
            }
            self.traffic.conns.iter_mut().for_each(|c| c.replies = 0);
        }
        let number = (now_ns - self.measured_ns) / self.plan.interval_ns;
        if number != self.traffic.interval.number {
            self.send_interval();
            self.traffic.interval.number = number;
        }
        if now_ns >= self.next_timeout_check_ns && self.plan.request_timeout_ns > 0 {
            self.next_timeout_check_ns = now_ns + TIMEOUT_CHECK_NS;
            let limit = self.plan.request_timeout_ns;
            for at in 0..self.traffic.conns.len() {
                let conn = &self.traffic.conns[at];
                let silent = now_ns.saturating_sub(conn.silent_since_ns);
                if conn.state == State::Up && !conn.pending.is_empty() && silent > limit {
                    let text = format!("no reply for {} ms", silent / NS_PER_MS);
                    self.fail(at, FailureKind::Timeout, &text)?;
                }
            }
        }
        Ok(())
    }

    fn send_interval(&mut self) {
        if self.traffic.interval.is_empty() {
            return;
        }
        let fresh = Interval::new(self.plan.workload.lines.len());
        let full = std::mem::replace(&mut self.traffic.interval, fresh);
        // The collector is gone only when the program ends.
        let _ = self.messages.send(Message::Interval(Box::new(full)));
    }

    fn arm(&mut self, at: usize) -> io::Result<()> {
        let conn = &mut self.traffic.conns[at];
        if conn.state == State::Up && !conn.receiving {
            conn.receiving = true;
            self.ring.receive(conn.fd(), tag(OP_RECEIVE, at))?;
        }
        Ok(())
    }

    /// Queues a send for every connection with output.
    fn flush(&mut self) -> io::Result<()> {
        let mut queue = std::mem::take(&mut self.traffic.queue);
        for at in queue.drain(..) {
            let conn = &mut self.traffic.conns[at];
            conn.queued = false;
            // While a send waits for room, its completion queues the connection again.
            if conn.state != State::Up || conn.send_waits {
                continue;
            }
            let fd = conn.fd();
            match conn.take_off() {
                Ok([]) => {}
                Ok(bytes) => self.ring.send(fd, bytes, SendMode::Now, tag(OP_SEND, at))?,
                Err(error) => self.fail(at, FailureKind::Tls, &error.to_string())?,
            }
        }
        // A failed connection may have queued others meanwhile: keep both.
        if self.traffic.queue.is_empty() {
            self.traffic.queue = queue;
        }
        Ok(())
    }

    fn drain(&mut self) -> io::Result<()> {
        let mut completions = std::mem::take(&mut self.completions);
        self.ring.drain(&mut completions);
        for completion in completions.drain(..) {
            self.complete(completion)?;
        }
        self.completions = completions;
        Ok(())
    }

    fn complete(&mut self, completion: Completion) -> io::Result<()> {
        let at = (completion.user_data & ((1 << OP_SHIFT) - 1)) as usize;
        match completion.user_data >> OP_SHIFT {
            OP_RECEIVE => self.received(at, completion),
            op => self.sent(at, completion.result, op == OP_SEND_WAIT),
        }
    }

    fn received(&mut self, at: usize, completion: Completion) -> io::Result<()> {
        if !completion.more {
            self.traffic.conns[at].receiving = false;
        }
        let up = self.traffic.conns[at].state == State::Up;
        let mut failed = None;
        if let Some(buffer) = completion.buffer {
            if up && completion.result > 0 {
                let now_ns = self.plan.clock.now_ns();
                let bytes = self.ring.received(buffer, completion.result as usize);
                failed = self.traffic.received(at, bytes, now_ns).err();
            }
            self.ring.give_back(buffer);
        }
        if !up {
            self.settle(at);
            return Ok(());
        }
        if let Some((kind, text)) = failed {
            return self.fail(at, kind, &text);
        }
        match completion.result {
            0 => self.fail(at, FailureKind::Gone, "the server closed the connection"),
            // Out of buffers: those of this batch are back by the time the ring is entered.
            result if result > 0 || result == -libc::ENOBUFS => {
                let client = self.traffic.conns[at].client;
                self.after_reply(at, client)?;
                self.arm(at)
            }
            result => {
                let error = io::Error::from_raw_os_error(-result);
                self.fail(at, FailureKind::of_io(&error), &error.to_string())
            }
        }
    }

    /// `--reconnect-interval`: the client has sent its share over this connection.
    fn after_reply(&mut self, at: usize, client: usize) -> io::Result<()> {
        let interval = self.plan.reconnect_interval;
        let c = &mut self.traffic.clients[client];
        let more = c.limit.is_none_or(|limit| c.begun < limit) && !self.traffic.stopping;
        if interval > 0 && c.since_connect >= interval && c.in_flight == 0 && more {
            c.since_connect = 0;
            self.traffic.interval.reconnects += 1;
            self.traffic.conns[at].shut_down();
            self.down += 1;
            self.settle(at);
        }
        Ok(())
    }

    fn sent(&mut self, at: usize, result: i32, waited: bool) -> io::Result<()> {
        let conn = &mut self.traffic.conns[at];
        if waited {
            conn.send_waits = false;
        }
        if conn.state != State::Up {
            self.settle(at);
            return Ok(());
        }
        if result < 0 && result != -libc::EAGAIN && result != -libc::EINTR {
            let error = io::Error::from_raw_os_error(-result);
            return self.fail(at, FailureKind::of_io(&error), &error.to_string());
        }
        let fd = conn.fd();
        let rest = conn.landed(usize::try_from(result).unwrap_or(0));
        if !rest.is_empty() {
            self.ring
                .send(fd, rest, SendMode::Wait, tag(OP_SEND_WAIT, at))?;
            self.traffic.conns[at].send_waits = true;
        } else if !conn.out.is_empty() && !conn.queued {
            conn.queued = true;
            self.traffic.queue.push(at);
        }
        Ok(())
    }

    /// The connection has failed: its requests are lost; it is dialled again, or its client ends.
    fn fail(&mut self, at: usize, kind: FailureKind, text: &str) -> io::Result<()> {
        self.traffic.lost(at, kind, text);
        self.traffic.conns[at].shut_down();
        self.down += 1;
        self.settle(at);
        Ok(())
    }

    /// The ring may have let go of a connection that was shut down.
    fn settle(&mut self, at: usize) {
        if !self.traffic.conns[at].settle() {
            return;
        }
        let client = self.traffic.conns[at].client;
        let planned =
            self.plan.reconnect_interval > 0 && self.traffic.clients[client].since_connect == 0;
        if self.plan.reconnect || planned {
            let wait = if planned { 0 } else { DIAL_WAIT_NS };
            self.traffic.conns[at].dial_at_ns = self.plan.clock.now_ns() + wait;
        } else {
            self.give_client_up(client);
        }
    }

    fn give_client_up(&mut self, client: usize) {
        self.traffic.bury(client);
        let all_dead = self.traffic.clients.iter().all(|c| c.dead);
        if all_dead && !self.traffic.stopping {
            self.lost = true;
        }
    }

    /// Sends connections that are due to the dialling thread, and takes its answers.
    fn redial(&mut self, now_ns: u64) -> io::Result<()> {
        if (self.down == 0 && !self.traffic.undialled) || self.traffic.stopping {
            return Ok(());
        }
        self.traffic.undialled = false;
        for at in 0..self.traffic.conns.len() {
            let conn = &self.traffic.conns[at];
            let client = conn.client;
            if conn.state != State::Down
                || conn.dial_at_ns > now_ns
                || self.traffic.clients[client].dead
            {
                continue;
            }
            let target = self.target_of(conn.node);
            let others = match &self.traffic.slots {
                Some(slots) if self.plan.reconnect => {
                    let node = usize::from(conn.node);
                    let others = slots.nodes.iter().enumerate().filter(|(n, _)| *n != node);
                    others
                        .map(|(_, address)| self.plan.target.node(address))
                        .collect()
                }
                _ => Vec::new(),
            };
            self.traffic.conns[at].state = State::Dialling;
            let dialler = self.dialler.get_or_insert_with(Dialler::start);
            // The thread ends only with this one.
            let _ = dialler.ask.send((at, target, others));
        }
        while let Some((at, result, map)) = self
            .dialler
            .as_ref()
            .and_then(|dialler| dialler.answers.try_recv().ok())
        {
            self.dialled(at, result, map, now_ns)?;
        }
        self.down = self
            .traffic
            .conns
            .iter()
            .filter(|c| matches!(c.state, State::Down | State::Dialling | State::Closing))
            .count();
        Ok(())
    }

    fn dialled(
        &mut self,
        at: usize,
        result: Result<Link, Failure>,
        map: Option<SlotMap>,
        now_ns: u64,
    ) -> io::Result<()> {
        let client = self.traffic.conns[at].client;
        match result {
            Ok(link) => {
                let keep = self.traffic.keeps_replies();
                self.traffic.conns[at].connected(link, keep);
                if self.plan.reconnect_interval == 0 {
                    self.traffic.interval.reconnects += 1;
                }
                self.traffic.clients[client].since_connect = 0;
                self.arm(at)?;
                self.traffic.unpark(client, now_ns);
            }
            Err(failure) => {
                self.traffic
                    .interval
                    .failures
                    .add(failure.kind, failure.text.as_bytes());
                let conn = &mut self.traffic.conns[at];
                conn.state = State::Down;
                conn.attempts += 1;
                let factor = self
                    .plan
                    .reconnect_backoff
                    .max(1.0)
                    .powf((conn.attempts - 1) as f64);
                let wait = (DIAL_WAIT_NS as f64 * factor).min(DIAL_WAIT_NS_MAX as f64) as u64;
                conn.dial_at_ns = now_ns + wait;
                let most = self.plan.reconnect_attempts_max;
                let hopeless = most > 0 && conn.attempts >= most;
                if !self.plan.reconnect || hopeless {
                    self.give_client_up(client);
                }
            }
        }
        if let (Some(new), Some(slots)) = (map, &mut self.traffic.slots) {
            for slot in 0..crate::cluster::SLOTS {
                let address = new.nodes[usize::from(new.owner(slot))].clone();
                if let Ok(node) = slots.node_number(address) {
                    slots.set_owner(slot, node);
                }
            }
            for client in 0..self.traffic.clients.len() {
                self.traffic.unpark(client, now_ns);
            }
        }
        Ok(())
    }

    /// What is still unanswered at the end has timed out.
    fn give_up_on_rest(&mut self) {
        for at in 0..self.traffic.conns.len() {
            if !self.traffic.conns[at].pending.is_empty() {
                self.traffic
                    .lost(at, FailureKind::Timeout, "no reply by the end of the run");
            }
        }
    }

    /// Closes everything and reports.
    fn finish(mut self) {
        let ended_ns = self.plan.clock.now_ns();
        let cpu_ns = os::thread_cpu_ns().saturating_sub(self.cpu_start_ns);
        self.send_interval();
        self.traffic.stopping = true;
        for at in 0..self.traffic.conns.len() {
            if self.traffic.conns[at].state == State::Up {
                self.traffic.conns[at].shut_down();
            }
        }
        let until_ns = ended_ns + CLOSE_NS_MAX;
        while self.plan.clock.now_ns() < until_ns {
            for conn in &mut self.traffic.conns {
                conn.settle();
            }
            if self.traffic.conns.iter().all(|c| c.state != State::Closing) {
                break;
            }
            if self
                .ring
                .enter(WAIT_NS_MAX)
                .and_then(|()| self.drain())
                .is_err()
            {
                break;
            }
        }
        let node_name = |node: u16| match &self.traffic.slots {
            Some(slots) => {
                let address = &slots.nodes[usize::from(node)];
                format!("{}:{}", address.host, address.port)
            }
            None => self.plan.target.options.display(),
        };
        let mut by_node: Vec<(String, u64)> = Vec::new();
        for conn in &self.traffic.conns {
            let name = node_name(conn.node);
            match by_node.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += conn.replies,
                None => by_node.push((name, conn.replies)),
            }
        }
        let overdue =
            self.schedule
                .as_ref()
                .zip(self.plan.duration_ns)
                .map_or(0, |(s, duration)| {
                    let end = self.measured_ns + duration;
                    let late = end.saturating_sub(s.due_ns()) as f64;
                    let share =
                        self.plan.rate.map_or(0.0, |(rate, _)| rate) / f64::from(self.plan.threads);
                    (late * share / NS_PER_SEC as f64) as u64
                });
        let end = ThreadEnd {
            started_ns: self.measured_ns.min(ended_ns),
            ended_ns,
            cpu_ns,
            lag: self.traffic.lag.clone(),
            by_node,
            clients: self.traffic.clients.iter().map(|c| c.totals).collect(),
            lost: self.lost,
            overdue,
        };
        // The collector is gone only when the program ends.
        let _ = self.messages.send(Message::End(Box::new(end)));
    }
}
