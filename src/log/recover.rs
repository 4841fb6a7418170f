//! Recovery: the segments of all shards in, the records that survive out.
//!
//! Each shard's segments go through a [`Reader`] in order, on any thread. Records that were certain
//! to survive (the log says so itself, see [`super::block::Head::committed`]) are replayed as they
//! come; the few after them are held in a [`Tail`]. When all shards are read, [`cut`] decides on the
//! tails together: each log ends before its first transaction that is not whole.
//!
//! To repair is another reading ([`Reader::salvage`]): each log ends before the first damage, and what
//! depends on something behind such an end is given up too ([`longest_cut`]).
//!
//! A log is *sealed* when the cut is recorded: what stands behind is no part of it any more, and
//! everything before it must be there. So recovery comes to the same end however often it runs.
//!
//! Any bytes may stand in a segment. What is damaged is an error or lies behind the end of the log,
//! and then a [`Torn`] tells of it; nothing in the middle is passed over.

use std::fmt;
use std::ops::Range;

use rustc_hash::FxHashMap;

use super::block::{BLOCK_BYTES, Found, Head, Place, examine, payload};
use super::record::{Decoded, Kind, Participants, Record, decode};
use super::{Identity, Lsn};
use crate::mesh::ShardId;
use crate::txn::TxnId;

/// Bytes of records that are gathered before they are handed over: not a whole segment's, so that
/// they stay in the processor's cache.
const REPLAYED_BYTES: usize = 256 * 1024;

/// Something that was certain to survive is not there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Whose log.
    pub identity: Identity,
    /// Where it is, or the place after what is still right.
    pub place: Place,
    /// What is missing begins here.
    pub lsn: Lsn,
    /// Everything below this was there once.
    pub durable: Lsn,
    /// What was found instead.
    pub what: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = u64::from(self.place.position) * BLOCK_BYTES as u64;
        write!(
            f,
            "the log of shard {} (epoch {}) is damaged in segment {} at offset {offset}: {} where LSN \
             {} should be; it was written up to LSN {}",
            self.identity.shard.0,
            self.identity.epoch,
            self.place.segment,
            self.what,
            self.lsn,
            self.durable
        )
    }
}

/// What was found behind the end of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Torn {
    /// Where the log ends.
    pub lsn: Lsn,
    /// Bytes of the log behind it that were found and are given up. 0 where nothing of it can be read.
    pub bytes: u64,
    /// What stands where it ends.
    pub place: Place,
    /// What that is.
    pub what: &'static str,
}

impl fmt::Display for Torn {
    /// What stands there, and where.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { segment, position } = self.place;
        let offset = u64::from(position) * BLOCK_BYTES as u64;
        write!(f, "{} in segment {segment} at offset {offset}", self.what)
    }
}

/// Why the stream of a log goes no further.
#[derive(Clone, Copy, Debug)]
struct Hole {
    place: Place,
    what: &'static str,
}

/// Said of a file that is shorter than it was.
const CUT_OFF: &str = "the end of the file";

fn start_of(segment: u64) -> Place {
    Place {
        segment,
        position: 0,
    }
}

/// Reads the segments of one shard's log.
#[derive(Debug)]
pub struct Reader {
    identity: Identity,
    /// Blocks of a segment.
    segment_blocks: u32,
    /// Where the log ends, if that is settled.
    sealed: Option<Lsn>,
    first_segment: u64,
    next_segment: u64,
    /// The last segment that was read is nothing but a header so far.
    unfilled: bool,
    /// Bytes of the log from `from` on that are not replayed yet.
    bytes: Vec<u8>,
    from: Lsn,
    hole: Option<Hole>,
    /// What no crash leaves: see [`super`], faults.
    lost: Option<Hole>,
    /// A block that was being written when the log ended.
    torn: Option<Hole>,
    /// The last place that was read with success.
    last: Place,
    /// Bytes of blocks behind the hole.
    behind: u64,
    durable: Lsn,
    committed: Lsn,
    /// Damage ends the log instead of being an error.
    salvaging: bool,
}

impl Reader {
    /// The log of a shard in an epoch, which begins at `first`, in segments of so many blocks. It ends
    /// at `sealed`, or where its bytes end.
    pub fn new(identity: Identity, segment_blocks: u32, first: Lsn, sealed: Option<Lsn>) -> Self {
        Self {
            identity,
            segment_blocks,
            sealed,
            first_segment: 0,
            next_segment: 0,
            unfilled: false,
            bytes: Vec::new(),
            from: first,
            hole: None,
            lost: None,
            torn: None,
            last: Place {
                segment: 0,
                position: 0,
            },
            behind: 0,
            durable: sealed.unwrap_or(first),
            committed: sealed.unwrap_or(first),
            salvaging: false,
        }
    }

    /// The same, of a log whose first segment that counts is this one.
    #[must_use]
    pub fn starting_in(self, segment: u64) -> Self {
        let last = Place {
            segment,
            position: 0,
        };
        Self {
            first_segment: segment,
            next_segment: segment,
            last,
            ..self
        }
    }

    /// Every record up to the first damage, whether it is certain or not.
    #[must_use]
    pub fn salvaging(self) -> Self {
        Self {
            committed: self.sealed.unwrap_or(Lsn(u64::MAX)),
            salvaging: true,
            ..self
        }
    }

    fn end(&self) -> Lsn {
        self.from.plus(self.bytes.len())
    }

    /// Reads the next segment that there is. `replay` gets the records that are certain.
    pub fn segment(
        &mut self,
        number: u64,
        bytes: &[u8],
        replay: &mut impl FnMut(&Record<'_>),
    ) -> Result<(), Damage> {
        if number != self.next_segment {
            self.lose(start_of(self.next_segment), "no file");
        }
        if self.unfilled {
            self.lose(start_of(self.first_segment), CUT_OFF); // the next one came after it was filled
        }
        self.next_segment = number.saturating_add(1);
        let (mut heads, obstacle) = self.survey(number, bytes);
        heads.sort_unstable_by_key(|(head, _)| (head.lsn, head.fill));
        for (head, position) in heads {
            self.take(head, number, position, bytes, obstacle);
            if self.bytes.len() >= REPLAYED_BYTES {
                self.replay(replay)?;
            }
        }
        self.check_size(number, bytes.len());
        self.replay(replay)
    }

    /// What the blocks of a segment say, and the first one that says nothing good.
    fn survey(&mut self, number: u64, bytes: &[u8]) -> (Vec<(Head, u32)>, Option<Hole>) {
        let mut heads = Vec::new();
        let mut obstacle = None;
        let mut torn: Option<Hole> = None;
        // The position up to which the segment has been written, if it has been.
        let mut written = None;
        for (position, block) in (0..).zip(bytes.chunks_exact(BLOCK_BYTES)) {
            let place = Place {
                segment: number,
                position,
            };
            let found = examine(block, self.identity, place);
            let hole = Hole {
                place,
                what: found.name(),
            };
            if found == Found::Torn {
                torn = torn.or(Some(hole));
            }
            match found {
                Found::Data(head) => {
                    if self.sealed.is_none() && !self.salvaging {
                        self.durable = self.durable.max(head.durable);
                        self.committed = self.committed.max(head.committed);
                    }
                    heads.push((head, position));
                    written = Some(position);
                }
                Found::Header(header) => {
                    if header.first > self.end() {
                        let what = "a segment that begins later";
                        self.stop(place, what);
                        if number == self.first_segment {
                            self.lose(place, what);
                        }
                    }
                    self.last = place;
                    written = Some(position);
                }
                Found::Zero | Found::Torn if position == 0 => {
                    self.stop(place, hole.what);
                    if number == self.first_segment {
                        self.lose(place, hole.what);
                    }
                }
                Found::Stale | Found::Misplaced | Found::Foreign if position == 0 => {
                    self.lose(place, hole.what);
                }
                Found::Torn | Found::Misplaced | Found::Foreign => {
                    obstacle = obstacle.or(Some(hole));
                }
                Found::Zero | Found::Stale => {}
            }
        }
        // Further behind it may have been left by an earlier use of the file.
        let next = written.map_or(0, |position| position + 1);
        let torn = torn.filter(|torn| torn.place.position <= next);
        if written.is_some() || torn.is_some() {
            self.torn = torn;
        }
        (heads, obstacle)
    }

    /// A segment gets its name when all of it is there; the first one begins as a header.
    fn check_size(&mut self, number: u64, bytes: usize) {
        let whole = self.segment_blocks as usize * BLOCK_BYTES;
        self.unfilled = number == self.first_segment && bytes == BLOCK_BYTES;
        if bytes < whole && !self.unfilled {
            let place = Place {
                segment: number,
                position: (bytes / BLOCK_BYTES) as u32,
            };
            self.lose(place, CUT_OFF);
        }
    }

    /// What a crash does not take away is not there.
    fn lose(&mut self, place: Place, what: &'static str) {
        self.stop(place, what);
        self.lost = self.lost.or(Some(Hole { place, what }));
    }

    /// The stream goes no further than this.
    fn stop(&mut self, place: Place, what: &'static str) {
        self.hole = self.hole.or(Some(Hole { place, what }));
    }

    /// The next block in the order of the log.
    fn take(
        &mut self,
        head: Head,
        segment: u64,
        position: u32,
        bytes: &[u8],
        obstacle: Option<Hole>,
    ) {
        let end = self.end();
        if head.lsn > end {
            let place = Place {
                segment: self.last.segment,
                position: self.last.position + 1,
            };
            let hole = obstacle.unwrap_or(Hole {
                place,
                what: "a gap",
            });
            self.stop(hole.place, hole.what);
        }
        if self.hole.is_some() {
            self.behind += u64::from(head.fill);
            return;
        }
        self.last = Place { segment, position };
        // A tail that was written again: the longer copy begins with the shorter one.
        let known = end.since(head.lsn);
        let block = &bytes[position as usize * BLOCK_BYTES..][..BLOCK_BYTES];
        if let Some(new) = payload(block, &head).get(known as usize..) {
            self.bytes.extend_from_slice(new);
        }
    }

    /// Hands over the records that are certain.
    fn replay(&mut self, replay: &mut impl FnMut(&Record<'_>)) -> Result<(), Damage> {
        let mut at = 0;
        loop {
            let lsn = self.from.plus(at);
            match decode(&self.bytes[at..], lsn) {
                Decoded::Record(record) if record.end <= self.committed => {
                    at += record.end.since(lsn) as usize;
                    replay(&record);
                }
                Decoded::Wrong(what) if self.salvaging => {
                    self.stop(self.last, what);
                    self.behind += self.end().since(lsn);
                    self.bytes.truncate(at);
                    break;
                }
                Decoded::Wrong(what) if lsn < self.committed => {
                    return Err(self.damage(lsn, what));
                }
                _ => break,
            }
        }
        self.bytes.drain(..at);
        self.from = self.from.plus(at);
        Ok(())
    }

    fn damage(&self, lsn: Lsn, what: &'static str) -> Damage {
        let place = self.hole.map_or(self.last, |hole| hole.place);
        Damage {
            identity: self.identity,
            place,
            lsn,
            durable: self.durable,
            what,
        }
    }

    /// All segments are read. What is left is what only all shards together can decide on.
    pub fn finish(mut self) -> Result<Tail, Damage> {
        let end = self.end();
        if self.salvaging {
            return Ok(self.into_tail());
        }
        if self.next_segment == self.first_segment {
            self.lose(start_of(self.first_segment), "no file");
        }
        if end < self.durable {
            let what = self.hole.map_or("the end of the file", |hole| hole.what);
            return Err(self.damage(end, what));
        }
        if let (Some(Hole { place, what }), None) = (self.lost, self.sealed) {
            let damage = self.damage(end, what);
            return Err(Damage { place, ..damage });
        }
        if self.sealed.is_some_and(|sealed| self.from != sealed) {
            return Err(self.damage(self.from, "a record that goes on"));
        }
        if let Decoded::Wrong(what) = self.first_odd() {
            return Err(self.damage(self.from, what));
        }
        Ok(self.into_tail())
    }

    /// The first thing in the tail that is no whole record.
    fn first_odd(&self) -> Decoded<'_> {
        let mut at = 0;
        loop {
            let lsn = self.from.plus(at);
            match decode(&self.bytes[at..], lsn) {
                Decoded::Record(record) => at += record.end.since(lsn) as usize,
                other => return other,
            }
        }
    }

    fn into_tail(self) -> Tail {
        let mut records = Vec::new();
        let mut at = 0;
        let open = self.sealed.is_none();
        // Behind the end of a sealed log nothing counts.
        let bytes = if open { &self.bytes[..] } else { &[] };
        while let Decoded::Record(record) = decode(&bytes[at..], self.from.plus(at)) {
            let lsn = record.lsn;
            let next = at + record.end.since(lsn) as usize;
            let part = match record.kind {
                Kind::Part { txn, participants } => Some((txn, participants)),
                _ => None,
            };
            records.push(Held {
                lsn,
                bytes: at..next,
                part,
            });
            at = next;
        }
        let lsn = self.from.plus(at);
        let rest = self.end().since(lsn) + self.behind;
        let torn = (open && (rest > 0 || self.torn.is_some())).then(|| {
            let begun = Hole {
                place: self.last,
                what: "the beginning of a record",
            };
            let Hole { place, what } = self.torn.or(self.hole).unwrap_or(begun);
            Torn {
                lsn,
                bytes: rest,
                place,
                what,
            }
        });
        Tail {
            identity: self.identity,
            place: self.last,
            end: lsn,
            bytes: self.bytes,
            records,
            torn,
        }
    }
}

/// A record that is not certain to survive.
#[derive(Debug)]
struct Held {
    lsn: Lsn,
    bytes: Range<usize>,
    part: Option<(TxnId, Participants)>,
}

/// The last records of a log, on which all shards decide together.
#[derive(Debug)]
pub struct Tail {
    identity: Identity,
    place: Place,
    end: Lsn,
    bytes: Vec<u8>,
    records: Vec<Held>,
    torn: Option<Torn>,
}

impl Tail {
    /// Whose log it is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// What was found behind the end of the log, if anything.
    pub fn torn(&self) -> Option<Torn> {
        self.torn
    }

    /// Where the whole records end.
    pub fn end(&self) -> Lsn {
        self.end
    }

    /// Records that begin before `cut`, the result of [`cut`].
    pub fn replay(&self, cut: Lsn, mut replay: impl FnMut(&Record<'_>)) {
        for held in self.records.iter().take_while(|held| held.lsn < cut) {
            let Decoded::Record(record) = decode(&self.bytes[held.bytes.clone()], held.lsn) else {
                unreachable!("it was decoded before");
            };
            replay(&record);
        }
    }

    /// Its parts, in order.
    fn parts(&self) -> Vec<PartAt> {
        let part = |held: &Held| {
            let (txn, participants) = held.part.as_ref()?;
            Some((held.lsn, *txn, participants.clone()))
        };
        self.records.iter().filter_map(part).collect()
    }
}

/// Transactions of which some but not all parts have been replayed, in one epoch.
#[derive(Debug, Default)]
pub struct Passed {
    transactions: FxHashMap<TxnId, (Participants, Participants)>,
}

impl Passed {
    /// A record of a shard has been replayed as certain.
    pub fn saw(&mut self, shard: ShardId, record: &Record<'_>) {
        let Kind::Part { txn, participants } = &record.kind else {
            return;
        };
        let (all, seen) = self
            .transactions
            .entry(*txn)
            .or_insert_with(|| (participants.clone(), Participants::new()));
        seen.push(shard);
        if seen.len() == all.len() {
            self.transactions.remove(txn);
        }
    }

    fn has(&self, txn: &TxnId, shard: ShardId) -> bool {
        let seen = self.transactions.get(txn).map(|(_, seen)| seen);
        seen.is_some_and(|seen| seen.contains(&shard))
    }
}

/// A part of a transaction in a log: its LSN, the transaction, the shards that have parts.
pub type PartAt = (Lsn, TxnId, Participants);

/// Where each log ends: `tails` are those of all shards of an epoch, in their order. The longest
/// logs such that every transaction in them is there whole.
pub fn cut(tails: &[Tail], passed: &Passed) -> Result<Vec<Lsn>, Damage> {
    let ends = tails.iter().map(|tail| tail.end).collect();
    let logs: Vec<Vec<PartAt>> = tails.iter().map(Tail::parts).collect();
    let cuts = longest_cut(ends, &logs, |txn, shard| passed.has(txn, shard));
    check_passed(tails, passed, &logs, &cuts)?;
    Ok(cuts)
}

/// Where logs with these ends and these parts, in order, are cut so that every transaction in them
/// is whole. `passed` tells of parts that are there besides.
///
/// Each transaction that is not whole cuts the logs that have a part of it, and each part behind a
/// cut makes its transaction one of these: every part is looked at once.
pub fn longest_cut(
    ends: Vec<Lsn>,
    logs: &[Vec<PartAt>],
    passed: impl Fn(&TxnId, ShardId) -> bool,
) -> Vec<Lsn> {
    let mut cuts = ends;
    let mut found: FxHashMap<&TxnId, Vec<(ShardId, Lsn)>> = FxHashMap::default();
    for (shard, log) in (0..).map(ShardId).zip(logs) {
        for (lsn, txn, _) in log {
            found.entry(txn).or_default().push((shard, *lsn));
        }
    }
    let mut work: Vec<(ShardId, Lsn)> = Vec::new();
    for (shard, log) in (0..).map(ShardId).zip(logs) {
        for (lsn, txn, participants) in log {
            let there =
                |shard: &ShardId| found[txn].iter().any(|(s, _)| s == shard) || passed(txn, *shard);
            if !participants.iter().all(there) {
                work.push((shard, *lsn));
            }
        }
    }
    while let Some((shard, at)) = work.pop() {
        let before = std::mem::replace(&mut cuts[shard.index()], at);
        if at >= before {
            cuts[shard.index()] = before;
            continue;
        }
        let log = &logs[shard.index()];
        let first = log.partition_point(|(lsn, ..)| *lsn < at);
        for (_, txn, _) in log[first..].iter().take_while(|(lsn, ..)| *lsn < before) {
            work.extend(found[txn].iter().filter(|(s, _)| *s != shard));
        }
    }
    cuts
}

/// A transaction that one log knows to survive survives in all.
fn check_passed(
    tails: &[Tail],
    passed: &Passed,
    logs: &[Vec<PartAt>],
    cuts: &[Lsn],
) -> Result<(), Damage> {
    let mut there: FxHashMap<(&TxnId, ShardId), bool> = FxHashMap::default();
    for ((shard, log), cut) in (0..).map(ShardId).zip(logs).zip(cuts) {
        for (lsn, txn, _) in log {
            there.insert((txn, shard), lsn < cut);
        }
    }
    for (txn, (all, seen)) in &passed.transactions {
        let survives = |shard: &&ShardId| {
            seen.contains(shard) || there.get(&(txn, **shard)).copied().unwrap_or(false)
        };
        let Some(missing) = all.iter().find(|shard| !survives(shard)) else {
            continue;
        };
        let Some(tail) = tails.get(missing.index()).or(tails.first()) else {
            continue;
        };
        return Err(Damage {
            identity: tail.identity,
            place: tail.place,
            lsn: tail.end,
            durable: tail.end,
            what: "the end of a log that lacks its part of a transaction of which another log has one",
        });
    }
    Ok(())
}
