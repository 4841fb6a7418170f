//! Shards that write logs, from one seed: clients' writes on one shard and transactions over
//! several, whose parts are appended in any order; flushes that go on step by step; a crash at any
//! step; recovery, and the next process on what it left.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ringdove::log::block::{Block, Found, Head, Header, Place, examine};
use ringdove::log::commit::Settled;
use ringdove::log::message::Message as LogMessage;
use ringdove::log::pace::Policy;
use ringdove::log::record::{Kind, Participants};
use ringdove::log::recover::{Passed, Reader, cut};
use ringdove::log::shard_log::{ARBITER, Keys, ShardLog, Unit};
use ringdove::log::writer::{Flush, SEGMENT_BLOCKS_MIN};
use ringdove::log::{Identity, Lsn};
use ringdove::mesh::ShardId;
use ringdove::txn::TxnId;

use crate::disk::{Disk, Name};

/// A fault in what drives the log, which the checks must find.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    None,
    /// A flush counts as done when it is written.
    SyncsNothing,
    /// A transaction settles as soon as it is whole, whatever it stands behind.
    SettlesWhole,
    /// The tail is written again in its place.
    OverwritesTail,
    /// After a failed sync the log goes on as if nothing had happened.
    TriesAgain,
}

/// What went wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Wrong {
    Damaged(String),
    Lost {
        shard: usize,
        acknowledged: usize,
        recovered: usize,
    },
    Differs {
        shard: usize,
        index: usize,
    },
    Half(TxnId),
    Changed,
    Stuck,
    /// A record is gone that was so many milliseconds old.
    LostOld {
        shard: usize,
        age_ms: u64,
    },
}

/// One record as it was appended, or as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Item {
    kind: Kind,
    db: u16,
    payload: Vec<u8>,
    end: Lsn,
}

/// What one shard sends to another.
enum Message {
    /// The effects of a transaction at the receiver.
    Release {
        txn: TxnId,
        participants: Participants,
        payload: Vec<u8>,
    },
    /// Of their logs, as bytes.
    Log(Vec<u8>),
}

/// A flush that is being carried out.
struct UnderWay {
    flush: Flush,
    /// Extents that are not written yet.
    writes: Vec<usize>,
    syncs: Vec<u64>,
    failed: bool,
}

struct Shard {
    identity: Identity,
    /// What waits is the place in `appended`.
    log: ShardLog<usize>,
    /// What has been answered.
    answered: Vec<bool>,
    under_way: Vec<UnderWay>,
    appended: Vec<Item>,
    /// When each was.
    times: Vec<u64>,
    /// Where the block begins that the last flush left as the tail, and its place.
    tail: Option<(Lsn, Place)>,
    failed: bool,
}

/// What a process left: all that the manifest knows of it, and what is to be found.
struct Generation {
    epoch: u32,
    shards: u16,
    segment_blocks: u32,
    from: Vec<Lsn>,
    sealed: Option<Vec<Lsn>>,
    recovered: Vec<Vec<Item>>,
}

#[derive(Default, Debug)]
pub(crate) struct Tally {
    pub(crate) appended: usize,
    pub(crate) certain: usize,
    pub(crate) recovered: usize,
    pub(crate) transactions: usize,
    pub(crate) halves: usize,
    pub(crate) torn: usize,
    pub(crate) failures: usize,
    pub(crate) rewrites: usize,
    pub(crate) beside: usize,
    pub(crate) oldest_lost_ms: u64,
}

pub(crate) struct World {
    rng: fastrand::Rng,
    fault: Fault,
    disk: Disk,
    generations: Vec<Generation>,
    shards: Vec<Shard>,
    lanes: BTreeMap<(u16, u16), VecDeque<Message>>,
    policy: Policy,
    segment_blocks: u32,
    largest: usize,
    transactions: u32,
    failures: u32,
    now_ms: u64,
    next_txn: u64,
    pub(crate) tally: Tally,
}

impl World {
    pub(crate) fn new(seed: u64, fault: Fault) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            fault,
            disk: Disk::default(),
            generations: Vec::new(),
            shards: Vec::new(),
            lanes: BTreeMap::new(),
            policy: Policy::Always,
            segment_blocks: SEGMENT_BLOCKS_MIN,
            largest: 0,
            transactions: 0,
            failures: 0,
            now_ms: 1_000_000,
            next_txn: 0,
            tally: Tally::default(),
        }
    }

    /// Some processes, one after the other, each on what the one before it left.
    pub(crate) fn run(&mut self) -> Result<(), Wrong> {
        for _ in 0..self.rng.u32(1..=4) {
            self.boot();
            let steps = [20, 100, 400][self.rng.usize(..3)];
            for _ in 0..self.rng.u32(..steps) {
                self.step();
            }
            if self.rng.u8(..8) == 0 {
                self.come_to_rest()?;
            }
            self.disk.crash(&mut self.rng);
            self.check_recovery()?;
        }
        Ok(())
    }

    /// With `everysec`, on a machine that is prompt: whatever the shards' syncs have to do with each
    /// other's, a crash costs no more than the last second and the time of some flushes: one that is
    /// under way when a sync is due, and those of the sync, which ends in a later segment.
    pub(crate) fn run_every_second(&mut self) -> Result<(), Wrong> {
        const TURN_MS: u64 = 10;
        const FLUSH_MS: u64 = 50;
        self.boot();
        (self.largest, self.failures) = (2000, 0);
        self.transactions = [0, 30, 80][self.rng.usize(..3)];
        for at in &mut self.shards {
            at.log.set_policy(Policy::EverySecond);
        }
        let mut begun = vec![0; self.shards.len()];
        for _ in 0..self.rng.u32(..600) {
            self.now_ms += TURN_MS;
            for _ in 0..self.rng.usize(..3) {
                let shard = self.rng.usize(..self.shards.len());
                self.write(shard);
            }
            while !self.lanes.is_empty() {
                self.deliver();
            }
            for (shard, begun) in begun.iter_mut().enumerate() {
                while self.shards[shard].log.wants_segment().is_some() {
                    self.prepare(shard);
                }
                if self.shards[shard].under_way.is_empty() {
                    self.begin_flush(shard);
                    *begun = self.now_ms;
                }
                let due = self.now_ms >= *begun + FLUSH_MS;
                while !self.shards[shard].under_way.is_empty() && (due || self.rng.bool()) {
                    self.go_on(shard);
                }
            }
        }
        self.disk.crash(&mut self.rng);
        let (_, recovered) = self.recover(0, true)?;
        for (shard, (at, items)) in self.shards.iter().zip(&recovered).enumerate() {
            let Some(first) = at.times.get(items.len()) else {
                continue;
            };
            let age_ms = self.now_ms - first;
            self.tally.oldest_lost_ms = self.tally.oldest_lost_ms.max(age_ms);
            if age_ms > 1000 + 4 * FLUSH_MS {
                return Err(Wrong::LostOld { shard, age_ms });
            }
        }
        self.check_recovery()
    }

    /// A process starts: with a new epoch, on any number of shards.
    fn boot(&mut self) {
        let rng = &mut self.rng;
        let count = [1, 2, 2, 3, 4, 6][rng.usize(..6)];
        self.policy = [
            Policy::Always,
            Policy::Always,
            Policy::EverySecond,
            Policy::No,
        ][rng.usize(..4)];
        self.segment_blocks = rng.u32(SEGMENT_BLOCKS_MIN..20);
        self.largest = [20, 200, 2000, 12_000][rng.usize(..4)];
        self.transactions = [0, 10, 40, 80][rng.usize(..4)];
        self.failures = [0, 0, 0, 1, 10][rng.usize(..5)];
        let epoch = self.generations.len() as u32 + 1;
        let before = self.generations.last();
        let from: Vec<Lsn> = (0..count)
            .map(|shard| before.and_then(|g| g.sealed.as_ref()?.get(shard).copied()))
            .map(Option::unwrap_or_default)
            .collect();
        let write_bytes = self.rng.usize(1..20_000);
        self.shards = (0..count as u16)
            .map(|shard| {
                let identity = Identity {
                    shard: ShardId(shard),
                    shards: count as u16,
                    epoch,
                };
                let first = from[usize::from(shard)];
                Shard {
                    identity,
                    log: ShardLog::new(identity, self.segment_blocks, first, self.policy)
                        .with_write_bytes(write_bytes),
                    answered: Vec::new(),
                    under_way: Vec::new(),
                    appended: Vec::new(),
                    times: Vec::new(),
                    tail: None,
                    failed: false,
                }
            })
            .collect();
        self.lanes.clear();
        let blocks = self.segment_blocks;
        for (shard, &first) in self.shards.iter().zip(&from) {
            let name = (epoch, shard.identity.shard.0, 0);
            let header = Block::header(shard.identity, 0, Header { first, blocks });
            self.disk.create(name, 1, &header, &mut self.rng);
        }
        self.generations.push(Generation {
            epoch,
            segment_blocks: blocks,
            shards: count as u16,
            from,
            sealed: None,
            recovered: Vec::new(),
        });
    }

    fn step(&mut self) {
        self.now_ms += self.rng.u64(..40);
        let shard = self.rng.usize(..self.shards.len());
        match self.rng.u8(..10) {
            0..=2 => self.write(shard),
            3 => self.prepare(shard),
            4 | 5 => self.begin_flush(shard),
            6 | 7 => self.go_on(shard),
            _ => self.deliver(),
        }
    }

    fn payload(&mut self) -> Vec<u8> {
        let size = self.rng.usize(..self.largest);
        let mut payload = vec![0; size];
        self.rng.fill(&mut payload);
        payload
    }

    /// A client's command: on one shard, or a transaction that this shard coordinates.
    fn write(&mut self, shard: usize) {
        if self.shards[shard].failed {
            return;
        }
        if self.rng.u32(..100) >= self.transactions || self.shards.len() == 1 {
            let payload = self.payload();
            return self.append(shard, Kind::Effects, payload);
        }
        let mut all: Vec<u16> = (0..self.shards.len() as u16).collect();
        self.rng.shuffle(&mut all);
        all.truncate(self.rng.usize(2..=all.len()));
        let participants: Participants = all.into_iter().map(ShardId).collect();
        self.next_txn += 1;
        self.tally.transactions += 1;
        let coordinator = ShardId(shard as u16);
        let txn = TxnId {
            number: self.next_txn,
            coordinator,
        };
        for &to in &participants {
            let payload = self.payload();
            let participants = participants.clone();
            let message = Message::Release {
                txn,
                participants,
                payload,
            };
            self.send(shard, to, message);
        }
    }

    fn send(&mut self, from: usize, to: ShardId, message: Message) {
        if usize::from(to.0) == from {
            return self.receive(from as u16, to.0, message);
        }
        let lane = self.lanes.entry((from as u16, to.0)).or_default();
        lane.push_back(message);
    }

    fn append(&mut self, shard: usize, kind: Kind, payload: Vec<u8>) {
        let db = self.rng.u16(..16);
        let at = &mut self.shards[shard];
        let key = self.rng.u64(..20);
        let any = self.rng.u8(..20) == 0;
        let unit = Unit {
            db,
            kind: &kind,
            keys: if any { Keys::Any } else { Keys::These(&[key]) },
            payload: &payload,
        };
        let end = at.log.append(&unit).expect("not too long");
        assert_eq!(at.log.in_flight().of_key(key), Some(end), "a read waits");
        at.log.wait(end, at.appended.len());
        at.answered.push(false);
        at.times.push(self.now_ms);
        at.appended.push(Item {
            kind,
            db,
            payload,
            end,
        });
        self.tally.appended += 1;
    }

    fn deliver(&mut self) {
        let busy: Vec<(u16, u16)> = self.lanes.keys().copied().collect();
        if busy.is_empty() {
            return;
        }
        let lane = busy[self.rng.usize(..busy.len())];
        let queue = self.lanes.get_mut(&lane).expect("it is there");
        let message = queue.pop_front().expect("empty lanes are dropped");
        if queue.is_empty() {
            self.lanes.remove(&lane);
        }
        self.receive(lane.0, lane.1, message);
    }

    fn receive(&mut self, from: u16, to: u16, message: Message) {
        match message {
            Message::Release {
                txn,
                participants,
                payload,
            } => {
                // Where the log has failed the effects are in memory, but not in it.
                if !self.shards[usize::from(to)].failed {
                    self.append(usize::from(to), Kind::Part { txn, participants }, payload);
                }
            }
            Message::Log(bytes) => {
                let message = LogMessage::decode(&mut &bytes[..]);
                let to = usize::from(to);
                self.shards[to].log.handle(ShardId(from), message);
                self.drain(to);
            }
        }
    }

    /// Carries out what a log has to say.
    fn drain(&mut self, shard: usize) {
        while let Some((to, message)) = self.shards[shard].log.next_message() {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            self.send(shard, to, Message::Log(bytes));
        }
        while let Some(index) = self.shards[shard].log.next_released() {
            let answered = &mut self.shards[shard].answered[index];
            assert!(!std::mem::replace(answered, true), "answered once");
        }
        while let Some(index) = self.shards[shard].log.next_lost() {
            assert!(!self.shards[shard].answered[index], "it is not answered");
        }
    }

    fn name(&self, shard: usize, segment: u64) -> Name {
        let identity = self.shards[shard].identity;
        (identity.epoch, identity.shard.0, segment)
    }

    fn prepare(&mut self, shard: usize) {
        let Some(next) = self.shards[shard].log.wants_segment() else {
            return;
        };
        let name = self.name(shard, next);
        let generation = self.generations.last().expect("it has booted");
        let (blocks, first) = (generation.segment_blocks, generation.from[shard]);
        let identity = self.shards[shard].identity;
        let header = Block::prepared(identity, next, Header { first, blocks });
        self.disk.create(name, blocks, &header, &mut self.rng);
        self.shards[shard].log.segment_prepared();
    }

    fn begin_flush(&mut self, shard: usize) {
        let Some(mut flush) = self.shards[shard].log.begin(self.now_ms * 1000) else {
            return;
        };
        self.note_tail(shard, &mut flush);
        let mut writes: Vec<usize> = (0..flush.extents.len()).collect();
        self.rng.shuffle(&mut writes);
        let syncs = flush.syncs.to_vec();
        let failed = false;
        let under_way = UnderWay {
            flush,
            writes,
            syncs,
            failed,
        };
        self.shards[shard].under_way.push(under_way);
        let beside = self.shards[shard].under_way.len() > 1;
        self.tally.beside += usize::from(beside);
    }

    /// Counts tails that are written again; the planted fault puts them where they stood.
    fn note_tail(&mut self, shard: usize, flush: &mut Flush) {
        let identity = self.shards[shard].identity;
        let before = self.shards[shard].tail.take();
        let mut blocks: Vec<(u32, usize)> = Vec::new();
        for (position, range) in &flush.extents {
            blocks.extend(
                range
                    .clone()
                    .map(|i| (position + i as u32 - range.start as u32, i)),
            );
        }
        let mut last: Option<(Head, Place)> = None;
        for (position, index) in blocks {
            let place = Place {
                segment: flush.segment,
                position,
            };
            let Found::Data(head) = examine(&flush.blocks[index].0, identity, place) else {
                continue; // the header
            };
            if let Some((lsn, old)) = before
                && lsn == head.lsn
                && old.segment == place.segment
            {
                self.tally.rewrites += 1;
                if self.fault == Fault::OverwritesTail && flush.extents[0].1.len() == 1 {
                    flush.extents[0].0 = old.position;
                    flush.blocks[index].seal(identity, old, head);
                }
            }
            if last.is_none_or(|(other, _)| other.lsn < head.lsn) {
                last = Some((head, place));
            }
        }
        self.shards[shard].tail = last.map(|(head, place)| (head.lsn, place));
    }

    /// The disk does one thing for one of a shard's flushes.
    fn go_on(&mut self, shard: usize) {
        let flushes = &mut self.shards[shard].under_way;
        if flushes.is_empty() {
            return;
        }
        let mut under_way = flushes.swap_remove(self.rng.usize(..flushes.len()));
        let fails = self.rng.u32(..1000) < self.failures;
        under_way.failed |= fails;
        if let Some(index) = under_way.writes.pop() {
            let (position, range) = under_way.flush.extents[index].clone();
            let blocks: &[Block] = &under_way.flush.blocks[range];
            let name = self.name(shard, under_way.flush.segment);
            self.disk.write(name, position, blocks);
            self.shards[shard].under_way.push(under_way);
            return;
        }
        if !under_way.failed
            && self.fault != Fault::SyncsNothing
            && let Some(segment) = under_way.syncs.pop()
        {
            self.disk
                .sync(self.name(shard, segment), true, &mut self.rng);
            self.shards[shard].under_way.push(under_way);
            return;
        }
        let segment = self.name(shard, under_way.flush.segment);
        if under_way.failed {
            self.disk.sync(segment, false, &mut self.rng);
        }
        self.flushed(shard, under_way);
    }

    fn flushed(&mut self, shard: usize, under_way: UnderWay) {
        let at = &mut self.shards[shard];
        let failed = under_way.failed && self.fault != Fault::TriesAgain;
        self.tally.failures += usize::from(under_way.failed);
        let result = if failed { Err(5) } else { Ok(()) };
        at.log.ended(under_way.flush, result, self.now_ms * 1000);
        at.failed |= failed;
        if self.fault == Fault::SettlesWhole {
            self.settle_whole(shard);
        }
        self.drain(shard);
    }

    /// The planted fault: what is durable at all participants is settled.
    fn settle_whole(&mut self, shard: usize) {
        let durable = |world: &Self, txn: &TxnId, shard: &ShardId| {
            let at = &world.shards[shard.index()];
            let part = |item: &&Item| matches!(&item.kind, Kind::Part { txn: t, .. } if t == txn);
            let part = at.appended.iter().find(part);
            part.is_some_and(|item| item.end <= at.log.stats().durable)
        };
        let parts: Vec<(TxnId, Participants)> = self.shards[shard]
            .appended
            .iter()
            .filter_map(|item| match &item.kind {
                Kind::Part { txn, participants } => Some((*txn, participants.clone())),
                _ => None,
            })
            .collect();
        for (txn, all) in parts {
            if !all.iter().all(|shard| durable(self, &txn, shard)) {
                continue;
            }
            for shard in &all {
                // Up to the first part that is not whole itself.
                let mut through = None;
                for item in &self.shards[shard.index()].appended {
                    if let Kind::Part { txn, participants } = &item.kind {
                        if !participants.iter().all(|s| durable(self, txn, s)) {
                            break;
                        }
                        through = Some(item.end);
                    }
                }
                if let Some(through) = through {
                    let message = LogMessage::Settled(Settled { through });
                    self.shards[shard.index()].log.handle(ARBITER, message);
                    self.drain(shard.index());
                }
            }
        }
    }

    /// Everything comes to its end; then, if nothing has failed, all is certain.
    fn come_to_rest(&mut self) -> Result<(), Wrong> {
        for _ in 0..20_000 {
            self.now_ms += 10_000;
            for shard in 0..self.shards.len() {
                self.prepare(shard);
                self.begin_flush(shard);
                self.go_on(shard);
            }
            self.deliver();
            let durable = |s: &Shard| s.log.stats().durable == s.log.stats().lsn;
            let quiet = |s: &Shard| s.failed || (durable(s) && s.under_way.is_empty());
            if self.shards.iter().all(quiet) && self.lanes.is_empty() {
                let certain = |s: &Shard| {
                    s.log.is_drained()
                        && s.log.in_flight().is_empty()
                        && s.answered.iter().all(|a| *a)
                };
                let failed = self.shards.iter().any(|s| s.failed);
                let at_rest = failed || self.shards.iter().all(certain);
                return if at_rest { Ok(()) } else { Err(Wrong::Stuck) };
            }
        }
        Err(Wrong::Stuck)
    }

    /// Recovers, and again, and seals, and again; with every earlier generation.
    fn check_recovery(&mut self) -> Result<(), Wrong> {
        let last = self.generations.len() - 1;
        let (cuts, recovered) = self.recover(last, true)?;
        let again = self.recover(last, false)?;
        if again != (cuts.clone(), recovered.clone()) {
            return Err(Wrong::Changed);
        }
        self.check_acknowledged(&recovered)?;
        self.check_whole(&recovered)?;
        self.generations[last].sealed = Some(cuts.clone());
        self.generations[last].recovered = recovered;
        for index in 0..=last {
            let (ends, recovered) = self.recover(index, false)?;
            let generation = &self.generations[index];
            if Some(ends) != generation.sealed || recovered != generation.recovered {
                return Err(Wrong::Changed);
            }
        }
        Ok(())
    }

    fn recover(&mut self, index: usize, count: bool) -> Result<(Vec<Lsn>, Vec<Vec<Item>>), Wrong> {
        let damaged = |damage: ringdove::log::recover::Damage| Wrong::Damaged(damage.to_string());
        let generation = &self.generations[index];
        let mut passed = Passed::default();
        let mut tails = Vec::new();
        let mut recovered = Vec::new();
        for shard in 0..generation.shards {
            let identity = Identity {
                shard: ShardId(shard),
                shards: generation.shards,
                epoch: generation.epoch,
            };
            let sealed = generation
                .sealed
                .as_ref()
                .map(|ends| ends[usize::from(shard)]);
            let first = generation.from[usize::from(shard)];
            let mut reader = Reader::new(identity, generation.segment_blocks, first, sealed);
            let mut items = Vec::new();
            for segment in self.disk.segments(generation.epoch, shard) {
                let bytes = self.disk.read((generation.epoch, shard, segment));
                let bytes = bytes.expect("it is listed");
                let mut replay = |record: &ringdove::log::record::Record<'_>| {
                    passed.saw(identity.shard, record);
                    items.push(item(record));
                };
                reader
                    .segment(segment, bytes, &mut replay)
                    .map_err(damaged)?;
            }
            tails.push(reader.finish().map_err(damaged)?);
            recovered.push(items);
        }
        let cuts = cut(&tails, &passed).map_err(damaged)?;
        for ((tail, &cut), items) in tails.iter().zip(&cuts).zip(&mut recovered) {
            tail.replay(cut, |record| items.push(item(record)));
            if count {
                self.tally.torn += usize::from(tail.torn().is_some());
                self.tally.halves += usize::from(cut < tail.end());
                self.tally.recovered += items.len();
            }
        }
        Ok((cuts, recovered))
    }

    /// Each log begins as it was written, and holds everything that was certain.
    fn check_acknowledged(&mut self, recovered: &[Vec<Item>]) -> Result<(), Wrong> {
        for (shard, (at, items)) in self.shards.iter().zip(recovered).enumerate() {
            let answered = at.answered.iter().filter(|answered| **answered).count();
            let certain = at.answered.partition_point(|answered| *answered);
            assert_eq!(answered, certain, "answers come in the order of the log");
            self.tally.certain += certain;
            if let Some(index) = (0..items.len()).find(|&i| at.appended.get(i) != Some(&items[i])) {
                return Err(Wrong::Differs { shard, index });
            }
            if items.len() < certain {
                return Err(Wrong::Lost {
                    shard,
                    acknowledged: certain,
                    recovered: items.len(),
                });
            }
        }
        Ok(())
    }

    fn check_whole(&self, recovered: &[Vec<Item>]) -> Result<(), Wrong> {
        let mut there: BTreeMap<TxnId, BTreeSet<u16>> = BTreeMap::new();
        let mut wanted: BTreeMap<TxnId, BTreeSet<u16>> = BTreeMap::new();
        for (shard, items) in (0..).zip(recovered) {
            for item in items {
                if let Kind::Part { txn, participants } = &item.kind {
                    there.entry(*txn).or_default().insert(shard);
                    wanted.insert(*txn, participants.iter().map(|s| s.0).collect());
                }
            }
        }
        match there.iter().find(|(txn, shards)| wanted[txn] != **shards) {
            Some((txn, _)) => Err(Wrong::Half(*txn)),
            None => Ok(()),
        }
    }
}

fn item(record: &ringdove::log::record::Record<'_>) -> Item {
    Item {
        kind: record.kind.clone(),
        db: record.db,
        payload: record.payload.to_vec(),
        end: record.end,
    }
}
