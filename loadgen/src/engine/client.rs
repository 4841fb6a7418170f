//! One client: a stream of requests with random numbers and cursors of its own; and `Maker`, which
//! writes the next request of any client of a thread. `traffic` decides when, and where to.

use std::ops::Range;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Plan;
use super::conn::Pending;
use crate::keys::{Cursor, Distribution};
use crate::rng::Rng;
use crate::template::{Fill, Template};
use crate::verify::{Ledger, write_value};
use crate::workload::{Command, CommandKind, Mix, Workload};

/// A request that waits for its connection.
pub(super) struct Parked {
    pub(super) node: u16,
    pub(super) bytes: Vec<u8>,
    pub(super) pending: Pending,
    pub(super) asking: bool,
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
    pub(super) scan_cursor: u64,
    pub(super) scan_steps: u64,
    pub(super) number: u64,
    /// Requests begun, and how many there may be.
    pub(super) begun: u64,
    pub(super) limit: Option<u64>,
    pub(super) in_flight: u32,
    pub(super) since_connect: u64,
    /// It has no connection any more, and gets none.
    pub(super) dead: bool,
    pub(super) in_ready: bool,
    /// Its connection for each node.
    pub(super) conns: Vec<usize>,
    pub(super) parked: Vec<Parked>,
    /// Requests, bytes sent, bytes received.
    pub(super) totals: [u64; 3],
}

impl Client {
    /// Client number `number` of all threads' clients.
    pub(super) fn new(plan: &Plan, number: u64) -> Client {
        let workload = &plan.workload;
        let cursor =
            |c: &Command| Cursor::new(&c.keys, workload.range, number, plan.clients_total());
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
    }

    /// Requests that it may begin now.
    pub(super) fn room(&self, plan: &Plan) -> u64 {
        if self.dead || !self.parked.is_empty() {
            return 0;
        }
        let pipeline = u64::from(plan.pipeline.saturating_sub(self.in_flight));
        let limit = self
            .limit
            .map_or(u64::MAX, |l| l.saturating_sub(self.begun));
        let until_reconnect = match plan.reconnect_interval {
            0 => u64::MAX,
            interval => interval.saturating_sub(self.since_connect),
        };
        pipeline.min(limit).min(until_reconnect)
    }

    #[inline]
    fn next_command(&mut self, mix: &Mix) -> usize {
        match mix {
            Mix::Sequence(runs) => {
                let (command, times) = runs[self.run];
                self.sent_of_run += 1;
                if self.sent_of_run >= times {
                    self.sent_of_run = 0;
                    self.run += 1;
                    if self.run == runs.len() {
                        self.run = 0;
                    }
                }
                command
            }
            Mix::Random(sums) => {
                let total = sums[sums.len() - 1].1;
                let at = self.rng.below(total);
                sums[sums.partition_point(|(_, sum)| *sum <= at)].0
            }
        }
    }

    #[inline]
    fn next_template<'a>(&mut self, command: &'a Command) -> &'a Template {
        let variants = &command.variants;
        if let [only] = variants.as_slice() {
            return only;
        }
        self.next_variant = if command.random_variant {
            self.rng.below(variants.len() as u64) as usize
        } else {
            (self.next_variant + 1) % variants.len()
        };
        &variants[self.next_variant]
    }

    /// Verify: the key of the next request and the version to remember (written, or at least to be
    /// read); a write's value goes to `value`.
    fn choose_verified(
        &mut self,
        number: usize,
        workload: &Workload,
        ledger: &Ledger,
        value: &mut Vec<u8>,
    ) -> (u64, u32) {
        let command = &workload.commands[number];
        let cursor = &mut self.cursors[number];
        let key = command.keys.pick(workload.range, cursor, &mut self.rng);
        if command.kind != CommandKind::Write {
            return (key, ledger.floor(key));
        }
        let key = match command.keys {
            Distribution::Parallel | Distribution::Sequential => {
                self.walked += 1;
                ledger.nth_own_key(self.walked - 1, self.number)
            }
            _ => ledger.own_key(key, self.number),
        };
        let version = ledger.next_version(key);
        let size = workload.values.pick(key, &mut self.rng).len();
        write_value(key, version, size, value);
        (key, version)
    }
}

/// A request that was written.
pub(super) struct Made<'a> {
    pub(super) pending: Pending,
    /// Where in the output its key stands; nowhere, if the key never changes.
    pub(super) key: Range<usize>,
    pub(super) template: &'a Template,
}

/// Writes the requests of one thread.
pub(super) struct Maker {
    sequence: u64,
    sequence_step: u64,
    unix_base_ms: u64,
    value: Vec<u8>,
    scratch: Vec<u8>,
}

impl Maker {
    pub(super) fn new(plan: &Plan, thread: u64) -> Maker {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Maker {
            sequence: thread,
            sequence_step: u64::from(plan.threads),
            unix_base_ms: unix.as_millis() as u64 - plan.clock.now_ns() / 1_000_000,
            value: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Appends the client's next request to `out`. Inlined into the loop that fills a pipeline:
    /// as a call it costs a fifth of all the time that is not the kernel's.
    #[inline(always)]
    pub(super) fn make<'a>(
        &mut self,
        plan: &'a Plan,
        client: &mut Client,
        start_ns: u64,
        out: &mut Vec<u8>,
    ) -> Made<'a> {
        let workload = &plan.workload;
        let number = client.next_command(&workload.mix);
        let command = &workload.commands[number];
        let template = client.next_template(command);
        self.sequence = self.sequence.wrapping_add(self.sequence_step);
        let (chosen_key, version) = match &plan.ledger {
            None => (None, 0),
            Some(ledger) => {
                let (key, version) =
                    client.choose_verified(number, workload, ledger, &mut self.value);
                (Some(key), version)
            }
        };
        let before = out.len();
        let mut fill = Fill {
            prefix: &workload.prefix,
            keys: &command.keys,
            range: workload.range,
            cursor: &mut client.cursors[number],
            rng: &mut client.rng,
            values: &workload.values,
            chosen_key,
            chosen_data: plan.ledger.is_some().then_some(&self.value),
            client: client.number,
            sequence: self.sequence,
            unix_ms: self.unix_base_ms + start_ns / 1_000_000,
            scan_cursor: client.scan_cursor,
            last_key: client.last_key,
            scratch: &mut self.scratch,
        };
        let key = template.render(&mut fill, out);
        client.last_key = fill.last_key;
        Made {
            pending: Pending {
                start_ns,
                key: client.last_key,
                version,
                command: number as u32,
                request_bytes: (out.len() - before) as u32,
                hops: 0,
                asking: false,
            },
            key,
            template,
        }
    }
}

/// The clients of one thread, by their numbers among all.
pub(super) fn clients_of(plan: &Arc<Plan>, thread: u64) -> Vec<Client> {
    let each = u64::from(plan.clients);
    (thread * each..(thread + 1) * each)
        .map(|number| Client::new(plan, number))
        .collect()
}
