//! Slots move from shard to shard while the server runs (RINGDOVE SLOTS MOVE and BALANCE).
//!
//! Who owns a key is known everywhere without asking, and much that is under way rests on it: claims
//! of transactions, places in lanes, volleys. So a move does not race with any of it. It happens
//! between two moments of the whole process: no command is under way anywhere then, all shards change
//! their maps, and what belongs to the slots goes over as it is. Clients find their commands a little
//! later, under the new map, and nothing else.
//!
//! ```text
//! leader (home of the client that asks)        every shard
//!   Measure ─►   (the owner) ◄─ Measured: what may move in one pause
//!   Pause  ──►   takes up no command any more; puts off what ends by itself
//!   Ask    ──►   Told: whether its clients wait for nothing, and how much it has sent and received
//!     ... until all are quiet, and two rounds in a row show the same numbers, sent = received
//!   Take   ──►   changes its map; the owner sends what belongs to it: Cargo ──► new owner
//!          ◄──   Taken, and Arrived from the new owner
//!   Resume ──►   goes on
//!          ◄──   Resumed, when commands that waited have been taken up: the next step may begin
//! ```
//!
//! # Why it is right
//! - *Nothing is under way.* A quiet shard has answered all its clients, runs no transaction and
//!   coordinates none, and holds and parks nothing for others. What travels without an answer
//!   (a subscription that ends, a watch that ends, waiters that a change has made ready, and what
//!   these lead to) is counted where it is sent and where it arrives: sums that agree in two rounds
//!   one after the other, with nothing quiet in between disturbed, say that the lanes are empty of it
//!   (Mattern, "Algorithms for distributed termination detection", 1987, the four-counter method).
//!   Nothing new begins: commands wait in their connections, expiry rests as under CLIENT PAUSE,
//!   waits do not time out, and connections that end are let go of afterwards.
//! - *The maps agree* whenever commands run: Resume follows when all have changed theirs and the
//!   cargo has arrived.
//! - *The logs* tell of a move as a transaction of the old and the new owner, whose log then holds all
//!   that is in the slots ([`crate::shard::effects::slots`]).
//! - *What outlives its command*: entries go over as they are, expiries and access clocks included.
//!   Subscriber counts of channels go to the channel's new owner. Clients that wait for a key go over
//!   in their order, and their homes are told where they wait now. Whoever watches a key of the slot
//!   finds it changed, as when Redis Cluster moves a slot; whoever has one of its keys in a cache is
//!   told to ask again. While a snapshot is made slots stay where they are. SCAN's cursors name positions, not shards.
//!
//! # Bounds
//! A request is cut into steps, with everybody going on in between: a pause lasts for the longest
//! command under way, some rounds, and the move of [`STEP_SLOTS`] slots or [`STEP_KEYS`] keys,
//! whatever comes first (well under a microsecond a key at each end). A slot with more keys moves in
//! slices, in the order of positions; between two of them its keys have two owners, and commands on
//! several of them are transactions like others ([`crate::shard::ownership`]). What is in a key goes
//! over as an address, however large. While a log is kept, a slot moves whole (its positions are not the
//! next process's), and what is in it is written out within the pause: one record, which holds 4 GiB. A
//! slot that takes more than half of that is refused before. One request runs at a time, to its answer,
//! before which the map is made durable (`keep`).

mod keep;

use std::collections::VecDeque;
use std::sync::mpsc::Receiver;

use super::balance::{self, Stretch, Weights};
use super::engine::{Engine, slow};
use super::errand::Errand;
use super::session::{ConnId, flag};
use crate::command::error::Error;
use crate::keyspace::{OwnedEntry, SLOTS, Slot, cursor_slot, pos_cursor, slot_cursor};
use crate::mesh::ShardId;
use crate::shard::blocking::{Token, Waiter};
use crate::shard::channels::Owned;
use crate::shard::effects::slots::MovedIn;
use crate::shard::lending::Wanted;
use crate::shard::ownership::whole_slots;

/// Slots that move in one pause, at most.
const STEP_SLOTS: usize = 16;
/// The same while logs are kept, each of which may write a block for a step.
const STEP_SLOTS_LOGGED: usize = 512;
/// Bytes that a step takes in the log, unless one slot takes more.
const STEP_BYTES_LOGGED: u64 = 32 << 20;
/// Keys that move in one pause, at most: some milliseconds.
pub(super) const STEP_KEYS: usize = 2048;

/// What moves in one pause: what `from` owns from the cursor `at` up to `end`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    at: u64,
    end: u64,
    from: ShardId,
    to: ShardId,
    /// Its number, for the logs.
    number: u32,
}

impl Step {
    /// What the logs say of it; they are told of whole slots alone.
    fn moved_in(&self) -> MovedIn {
        let last = (whole_slots(self.end) as u16).checked_sub(1);
        MovedIn {
            number: self.number,
            first: cursor_slot(self.at),
            last: last.and_then(Slot::new).expect("a slot has moved"),
        }
    }
}

/// What shards say to each other about it.
pub(super) enum SlotsMessage {
    /// Say what your slots weigh.
    Weigh,
    /// What they weigh.
    Weighed(Box<Weights>),
    /// Say how much of this may move in one pause.
    Measure { at: u64, end: u64 },
    /// Up to there; None: a slot there takes more in the log than one record may.
    Measured { end: Option<u64> },
    /// Take up nothing more.
    Pause,
    /// Say how things are with you.
    Ask,
    /// How things are.
    Told(Told),
    /// This moves, now.
    Take(Step),
    /// Done; whether cargo is on its way.
    Taken { cargo: bool },
    /// What belongs to it, and the shard that leads the move.
    Cargo {
        leader: ShardId,
        step: Step,
        cargo: Box<Cargo>,
    },
    /// Cargo is in its place: so many keys.
    Arrived { keys: usize },
    /// A client of yours waits at this shard now.
    WaitsAt {
        conn: ConnId,
        token: Token,
        shard: ShardId,
    },
    /// Go on.
    Resume,
    /// Commands that waited have been taken up.
    Resumed,
}

/// How things are with a shard.
#[derive(Clone, Copy, Default)]
pub(super) struct Told {
    quiet: bool,
    /// Messages without a reply of their own, since the start.
    sent: u64,
    received: u64,
}

/// What belongs to slots.
#[derive(Default)]
pub(super) struct Cargo {
    keys: Vec<Wanted>,
    entries: Vec<Option<OwnedEntry>>,
    channels: Vec<Owned>,
    waiters: Vec<Waiter>,
}

/// A shard's part in moves.
pub(super) struct Moves {
    /// Whether the shard has paused.
    paused: bool,
    /// Connections whose commands wait for the end of it.
    waiting: Vec<ConnId>,
    /// Connections that have ended meanwhile.
    gone: Vec<ConnId>,
    /// Who is to hear that the commands have been taken up.
    resumed: Option<ShardId>,
    /// Messages without a reply of their own, to and from other shards.
    pub(super) sent: u64,
    pub(super) received: u64,
    /// Keys that move from this shard in one pause, at most.
    pub(super) step_keys: usize,
    /// The move that this shard leads.
    leading: Option<Box<Leading>>,
}

impl Default for Moves {
    fn default() -> Self {
        Self {
            paused: false,
            waiting: Vec::new(),
            gone: Vec::new(),
            resumed: None,
            sent: 0,
            received: 0,
            step_keys: STEP_KEYS,
            leading: None,
        }
    }
}

/// What a client has asked for, and how it is answered.
pub(super) enum Request {
    /// SLOTS MOVE: with the number of keys that moved.
    Move,
    /// SLOTS BALANCE: with a report.
    Balance(Box<balance::Balance>),
}

impl Request {
    /// Whether it moves anything, or only says what it would.
    fn moves(&self) -> bool {
        match self {
            Self::Move => true,
            Self::Balance(balance) => !balance.is_dry_run(),
        }
    }
}

/// A request that is being carried out.
struct Leading {
    conn: ConnId,
    seq: u32,
    request: Request,
    /// What is still to move; the first of it from the cursor `at` on.
    stretches: VecDeque<Stretch>,
    at: u64,
    /// What moves now.
    step: Option<Step>,
    /// Shards that have not answered yet.
    missing: usize,
    /// Their answers so far, and the sums of the round before if all were quiet in it.
    told: Told,
    before: Option<(u64, u64)>,
    /// Cargo that was announced less cargo that has arrived.
    cargo: isize,
    /// Keys that have moved: of each stretch that is done, and of the present one.
    done: Vec<usize>,
    keys: usize,
    /// All have; where they are is being written, and this is told when it is.
    keeping: Option<Receiver<Result<(), String>>>,
}

impl Engine {
    /// Begins to move the slots from `first` to `last`; the reply is the number of keys that moved.
    pub fn move_slots(
        &mut self,
        conn: ConnId,
        first: Slot,
        last: Slot,
        to: ShardId,
    ) -> Result<(), Error> {
        let stretch = Stretch {
            first: first.index(),
            last: last.index(),
            to,
        };
        self.lead(conn, Request::Move, VecDeque::from([stretch]))?;
        self.next_stretch();
        Ok(())
    }

    /// Begins to make what slots weigh even over the shards.
    pub fn balance_slots(&mut self, conn: ConnId, wanted: balance::Wanted) -> Result<(), Error> {
        let balance = Box::new(balance::Balance::new(wanted));
        self.lead(conn, Request::Balance(balance), VecDeque::new())?;
        let leading = self.moves.leading.as_mut().expect("it leads");
        leading.missing = self.shard.node.shards;
        self.tell_all(|| SlotsMessage::Weigh);
        Ok(())
    }

    fn lead(
        &mut self,
        conn: ConnId,
        request: Request,
        stretches: VecDeque<Stretch>,
    ) -> Result<(), Error> {
        if let Some(error) = self.log_refusal() {
            return Err(error);
        }
        if !self.shard.node.begin_move() {
            return Err(Error::new("ERR slots are being moved already"));
        }
        // Looked at after the move is known: who begins a snapshot looks the other way round.
        if self.shard.node.saver.running().is_some() {
            self.shard.node.end_move();
            return Err(Error::new(
                "ERR a snapshot is being made: slots can move when it is done",
            ));
        }
        let session = self.session(conn);
        session.flags |= flag::BARRIER;
        let seq = session.hold(false);
        self.moves.leading = Some(Box::new(Leading {
            conn,
            seq,
            request,
            stretches,
            at: 0,
            step: None,
            missing: 0,
            told: Told::default(),
            before: None,
            cargo: 0,
            done: Vec::new(),
            keys: 0,
            keeping: None,
        }));
        Ok(())
    }

    /// What the slots of this shard weigh, and what they have cost here.
    fn weigh(&mut self) -> Weights {
        let shard = &mut self.shard;
        let (age, loads) = shard.slot_loads.loads(shard.now_ms);
        let mut weights = Weights::new(age, loads);
        let used: Vec<_> = shard.keyspace.iter().filter(|db| !db.is_empty()).collect();
        for slot in (0..).map_while(Slot::new) {
            let count = used.iter().map(|db| db.count_in_slot(slot));
            weights.keys[slot.index()] = count.sum::<usize>() as u64;
        }
        weights
    }

    /// A shard has weighed its slots. When all have, what is to move is known.
    fn weighed(&mut self, weights: &Weights) {
        let leading = self.moves.leading.as_mut().expect("it leads");
        leading.missing -= 1;
        let Request::Balance(balance) = &mut leading.request else {
            unreachable!("nothing is weighed for a move")
        };
        balance.add(weights);
        if leading.missing > 0 {
            return;
        }
        let stretches = balance.plan(&self.shard.slot_map, self.shard.node.shards);
        leading.stretches = stretches.into();
        self.next_stretch();
    }

    fn next_stretch(&mut self) {
        let leading = self.moves.leading.as_mut().expect("it leads");
        let Some(stretch) = leading.stretches.front() else {
            return self.end_move();
        };
        leading.at = slot_cursor(stretch.first);
        self.next_step();
    }

    /// Whether a command must wait for the end of a move; if so its connection is remembered.
    pub(super) fn waits_for_slots(&mut self, conn: ConnId) -> bool {
        let waits = self.moves.paused && self.session(conn).volley_left == 0;
        if waits {
            self.moves.waiting.push(conn);
        }
        waits
    }

    /// Whether what ends by itself is to be put off.
    pub(super) fn is_moving_slots(&self) -> bool {
        self.moves.paused
    }

    /// A connection has ended during a move: it is let go of afterwards.
    pub(super) fn put_off_end(&mut self, conn: ConnId) {
        self.moves.gone.push(conn);
    }

    /// Expiry rests while clients are paused or slots move.
    pub(super) fn rest_if_paused(&mut self) {
        let paused = self.slow & (slow::PAUSE | slow::SLOTS) != 0;
        self.shard.set_paused(paused);
    }

    /// Skips what is at its place already, and asks the owner of the next how much of it may move.
    fn next_step(&mut self) {
        let leading = self.moves.leading.as_mut().expect("it leads");
        let stretch = leading.stretches.front().expect("it has something to move");
        let (to, end) = (stretch.to, slot_cursor(stretch.last + 1));
        let shard = &self.shard;
        while leading.at < end && shard.owner_of_cursor(leading.at) == to {
            leading.at = shard.end_of_stretch(leading.at);
        }
        if leading.at >= end {
            leading.stretches.pop_front();
            leading.done.push(std::mem::take(&mut leading.keys));
            return self.next_stretch();
        }
        let at = leading.at;
        let from = shard.owner_of_cursor(at);
        let first = cursor_slot(at).index();
        let slots = match shard.effects.is_on() {
            true => STEP_SLOTS_LOGGED,
            false => STEP_SLOTS,
        };
        let most = end.min(slot_cursor((first + slots).min(SLOTS)));
        let mut end = at;
        while end < most && shard.owner_of_cursor(end) == from {
            end = shard.end_of_stretch(end);
        }
        leading.step = Some(Step {
            at,
            end,
            from,
            to,
            number: 0,
        });
        self.tell_shard(from, SlotsMessage::Measure { at, end });
    }

    /// How much is to move is known: pauses everybody.
    fn measured(&mut self, end: u64) {
        let leading = self.moves.leading.as_mut().expect("it leads");
        let step = leading.step.as_mut().expect("it was measured");
        assert!(step.at < end && end <= step.end, "a part of what was asked");
        step.end = end;
        step.number = self.shard.node.logs.next_slot_move();
        leading.before = None;
        self.tell_all(|| SlotsMessage::Pause);
        self.ask_all();
    }

    fn ask_all(&mut self) {
        let leading = self.moves.leading.as_mut().expect("it leads");
        leading.missing = self.shard.node.shards;
        leading.told = Told {
            quiet: true,
            ..Told::default()
        };
        self.tell_all(|| SlotsMessage::Ask);
    }

    fn tell_all(&mut self, message: impl Fn() -> SlotsMessage) {
        for shard in 0..self.shard.node.shards {
            self.tell_shard(ShardId(shard as u16), message());
        }
    }

    fn tell_shard(&mut self, to: ShardId, message: SlotsMessage) {
        if to == self.shard.id {
            return self.on_slots(to, message);
        }
        self.send_errand(to, Errand::Slots(message));
    }

    /// A message about moves.
    pub(super) fn on_slots(&mut self, from: ShardId, message: SlotsMessage) {
        match message {
            SlotsMessage::Pause => {
                self.moves.paused = true;
                self.slow |= slow::SLOTS;
                self.rest_if_paused();
            }
            SlotsMessage::Ask => {
                let told = Told {
                    quiet: self.is_quiet(),
                    sent: self.moves.sent,
                    received: self.moves.received,
                };
                self.tell_shard(from, SlotsMessage::Told(told));
            }
            SlotsMessage::Told(told) => self.told(told),
            SlotsMessage::Weigh => {
                let weights = Box::new(self.weigh());
                self.tell_shard(from, SlotsMessage::Weighed(weights));
            }
            SlotsMessage::Weighed(weights) => self.weighed(&weights),
            SlotsMessage::Measure { at, end } => {
                let mut end = self.shard.part_of_keys(at, end, self.moves.step_keys);
                if self.shard.effects.is_on() {
                    let next = cursor_slot(at).index() + 1;
                    end = slot_cursor(whole_slots(end).max(next));
                    let most = self.shard.node.logs.slot_bytes_max();
                    let end = self.shard.loggable(at, end, STEP_BYTES_LOGGED, most);
                    return self.tell_shard(from, SlotsMessage::Measured { end });
                }
                let end = Some(end);
                self.tell_shard(from, SlotsMessage::Measured { end });
            }
            SlotsMessage::Measured { end: Some(end) } => self.measured(end),
            SlotsMessage::Measured { end: None } => self.end_move(),
            SlotsMessage::Take(step) => {
                let cargo = self.take(from, step);
                self.tell_shard(from, SlotsMessage::Taken { cargo });
            }
            SlotsMessage::Taken { cargo } => {
                let leading = self.moves.leading.as_mut().expect("it leads");
                leading.missing -= 1;
                leading.cargo += isize::from(cargo);
                self.resume_if_moved();
            }
            SlotsMessage::Cargo {
                leader,
                step,
                cargo,
            } => {
                assert_eq!(step.to, self.shard.id, "cargo has one address");
                // It may come before the word of the leader.
                self.shard.give(step.at, step.end, step.to);
                let keys = self.unload(leader, step, *cargo);
                self.tell_shard(leader, SlotsMessage::Arrived { keys });
            }
            SlotsMessage::Arrived { keys } => {
                let leading = self.moves.leading.as_mut().expect("it leads");
                leading.cargo -= 1;
                leading.keys += keys;
                self.resume_if_moved();
            }
            SlotsMessage::WaitsAt { conn, token, shard } => self.waits_at(conn, token, shard),
            SlotsMessage::Resume => {
                self.end_slots_pause();
                self.moves.resumed = Some(from);
            }
            SlotsMessage::Resumed => {
                let leading = self.moves.leading.as_mut().expect("it leads");
                leading.missing -= 1;
                if leading.missing == 0 {
                    self.next_step();
                }
            }
        }
    }

    /// Whether no command of this shard's clients is under way, nor anything for others here.
    fn is_quiet(&self) -> bool {
        let leading = self.moves.leading.as_ref().map(|leading| leading.conn);
        let own = self.running.is_empty()
            && self.stepping.is_empty()
            && self.volleys.is_empty()
            && self.gathers.is_empty();
        own && self.shard.txns.is_drained()
            && !self.shard.blocking.has_ready()
            && self.sessions().all(|(conn, session)| {
                // A client that waits for a key, or for this move, has one place taken by that.
                let waits = session.info.blocked.is_some() || leading == Some(conn);
                session.waiting == u32::from(waits)
            })
    }

    /// A shard has told how things are with it.
    fn told(&mut self, told: Told) {
        let leading = self.moves.leading.as_mut().expect("it leads");
        leading.missing -= 1;
        leading.told.quiet &= told.quiet;
        leading.told.sent += told.sent;
        leading.told.received += told.received;
        if leading.missing > 0 {
            return;
        }
        let Told {
            quiet,
            sent,
            received,
        } = leading.told;
        let still = (quiet && sent == received).then_some((sent, received));
        if still.is_none() || still != leading.before {
            leading.before = still;
            return self.ask_all();
        }
        let step = leading.step.take().expect("it was measured");
        leading.at = step.end;
        leading.missing = self.shard.node.shards;
        self.tell_all(|| SlotsMessage::Take(step));
    }

    /// Changes the map; the owner sends off what moves. Whether it has.
    fn take(&mut self, leader: ShardId, step: Step) -> bool {
        let Step {
            at, end, from, to, ..
        } = step;
        assert_ne!(from, to, "what is there does not move");
        let keys = match from == self.shard.id {
            true => self.shard.keys_between(at, end),
            false => Vec::new(),
        };
        self.shard.give(at, end, to);
        if from != self.shard.id {
            return false;
        }
        let entries = self.shard.take_entries(&keys);
        if self.shard.effects.is_on() {
            self.shard.effect_moved_out(step.moved_in(), leader, to);
        }
        let is_moved = |pos| (at..end).contains(&pos_cursor(pos));
        self.shard.touch_watched_in(is_moved);
        self.shard.forget_reads_in(is_moved);
        let hasher = *self.shard.keyspace.hasher();
        let waiters = self.shard.take_waiters_of(|key| is_moved(hasher.pos(key)));
        // What belongs to a slot and not to a key goes with the slot's last part.
        let slots = cursor_slot(at).index()..whole_slots(end);
        let channels = self
            .shard
            .channels
            .take_owned(|slot| slots.contains(&slot.index()));
        for waiter in &waiters {
            let (conn, token) = (waiter.call.conn, waiter.token.clone());
            let shard = to;
            self.tell_shard(
                waiter.call.home,
                SlotsMessage::WaitsAt { conn, token, shard },
            );
        }
        let cargo = Box::new(Cargo {
            keys,
            entries,
            channels,
            waiters,
        });
        self.tell_shard(
            to,
            SlotsMessage::Cargo {
                leader,
                step,
                cargo,
            },
        );
        true
    }

    /// Puts what belongs to slots into its place; how many keys.
    fn unload(&mut self, leader: ShardId, step: Step, cargo: Cargo) -> usize {
        let Cargo {
            keys,
            mut entries,
            channels,
            waiters,
        } = cargo;
        let count = entries.iter().flatten().count();
        self.shard.put_entries(&keys, &mut entries);
        if self.shard.effects.is_on() {
            let (moved, from) = (step.moved_in(), step.from);
            self.shard.effect_moved_in(moved, leader, from, &keys);
        }
        self.shard.channels.adopt_owned(channels);
        waiters
            .into_iter()
            .for_each(|waiter| self.shard.adopt_waiter(waiter));
        count
    }

    fn resume_if_moved(&mut self) {
        let leading = self.moves.leading.as_mut().expect("it leads");
        if leading.missing == 0 && leading.cargo == 0 {
            leading.missing = self.shard.node.shards;
            self.tell_all(|| SlotsMessage::Resume);
        }
    }

    /// Connections have gone on: whoever leads a move may want to hear of it.
    pub(super) fn tell_resumed(&mut self) {
        if let Some(leader) = self.moves.resumed.take() {
            self.tell_shard(leader, SlotsMessage::Resumed);
        }
    }

    fn end_slots_pause(&mut self) {
        self.moves.paused = false;
        self.slow &= !slow::SLOTS;
        self.rest_if_paused();
        self.resumable.append(&mut self.moves.waiting);
        for conn in std::mem::take(&mut self.moves.gone) {
            self.disconnected(conn);
        }
    }
}
