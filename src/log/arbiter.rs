//! Which transactions over several shards are certain to survive: those that are whole, with
//! everything that their parts stand behind. One shard is the arbiter of all, by convention shard 0.
//!
//! A transaction settles when no transaction that lacks a part can be reached from it by going back
//! in any log that it has a part in, from transaction to transaction. Many settle together: those
//! reached. One that cannot settle waits on one transaction that lacks a part, and is looked at
//! again when that one is whole; everything on the way there waits on the same one, so no log is
//! walked twice for it.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::Lsn;
use super::commit::{Part, Report, Settled};
use super::record::Participants;
use crate::mesh::ShardId;
use crate::txn::TxnId;

/// A transaction of which at least one part is durable, and that is not settled.
#[derive(Debug)]
struct Pending {
    participants: Participants,
    /// Where its durable parts stand: the shard, and the number of the part in this shard's log.
    parts: Vec<(ShardId, u64)>,
    /// A transaction that lacked a part when it was looked at, and that this one stands behind.
    waits_on: Option<TxnId>,
    /// Those that wait on this one.
    waiting: Vec<TxnId>,
    /// The last search that came by.
    seen_by: u64,
    /// Found to be settled in this report: searches stop here.
    is_settled: bool,
}

impl Pending {
    fn is_whole(&self) -> bool {
        self.parts.len() == self.participants.len()
    }
}

/// The durable parts of one shard's log that are not settled, in order.
#[derive(Debug, Default)]
struct Log {
    parts: VecDeque<(TxnId, Lsn)>,
    /// The number of the first of them.
    base: u64,
}

/// Decides for all shards.
#[derive(Debug)]
pub struct Arbiter {
    logs: Vec<Log>,
    pending: FxHashMap<TxnId, Pending>,
    searches: u64,
}

impl Arbiter {
    /// For so many shards.
    pub fn new(shards: usize) -> Self {
        Self {
            logs: (0..shards).map(|_| Log::default()).collect(),
            pending: FxHashMap::default(),
            searches: 0,
        }
    }

    /// Whether all that was reported is settled.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes a shard's report; `send` gets what becomes of it, at most one message for each shard.
    pub fn report(
        &mut self,
        from: ShardId,
        report: Report,
        mut send: impl FnMut(ShardId, Settled),
    ) {
        let mut due = Vec::new();
        for part in report.parts {
            self.add(from, part, &mut due);
        }
        let mut settled = Vec::new();
        // In the order of the log: what a search meets has had its own, so that it ends there.
        for txn in due {
            self.settle(txn, &mut settled);
        }
        self.drop_settled(settled, &mut send);
    }

    /// Enters a part; `due` gets what may settle by it.
    fn add(&mut self, from: ShardId, part: Part, due: &mut Vec<TxnId>) {
        let log = &mut self.logs[from.index()];
        let number = log.base + log.parts.len() as u64;
        log.parts.push_back((part.txn, part.end));
        let pending = self.pending.entry(part.txn).or_insert_with(|| Pending {
            participants: part.participants.clone(),
            parts: Vec::new(),
            waits_on: None,
            waiting: Vec::new(),
            seen_by: 0,
            is_settled: false,
        });
        assert_eq!(pending.participants, part.participants, "all parts agree");
        assert!(
            pending.participants.contains(&from) && pending.parts.iter().all(|(s, _)| *s != from),
            "each participant has one part"
        );
        pending.parts.push((from, number));
        if pending.is_whole() {
            due.push(part.txn);
            due.append(&mut pending.waiting);
        }
    }

    /// Settles a transaction and all before it, unless one of these lacks a part; then it waits on
    /// that one.
    fn settle(&mut self, txn: TxnId, settled: &mut Vec<TxnId>) {
        self.searches += 1;
        let search = self.searches;
        let mut seen = Vec::new();
        let mut path = vec![txn];
        while let Some(at) = path.pop() {
            let Some(pending) = self.pending.get_mut(&at) else {
                continue;
            };
            if pending.is_settled || std::mem::replace(&mut pending.seen_by, search) == search {
                continue;
            }
            let obstacle = if pending.is_whole() {
                pending.waits_on
            } else {
                Some(at)
            };
            if let Some(obstacle) = obstacle
                && self.pending.get(&obstacle).is_some_and(|o| !o.is_whole())
            {
                return self.wait(txn, obstacle);
            }
            seen.push(at);
            for &(shard, number) in &self.pending[&at].parts {
                let log = &self.logs[shard.index()];
                if let Some(before) = number.checked_sub(log.base + 1) {
                    path.push(log.parts[before as usize].0);
                }
            }
        }
        for at in &seen {
            let pending = self.pending.get_mut(at);
            pending.expect("it was looked at").is_settled = true;
        }
        settled.extend(seen);
    }

    fn wait(&mut self, txn: TxnId, obstacle: TxnId) {
        let pending = self.pending.get_mut(&txn).expect("it was looked at");
        pending.waits_on = Some(obstacle);
        let obstacle = self.pending.get_mut(&obstacle).expect("it lacks a part");
        obstacle.waiting.push(txn);
    }

    /// Takes settled transactions out of the logs.
    fn drop_settled(&mut self, settled: Vec<TxnId>, send: &mut impl FnMut(ShardId, Settled)) {
        let mut last: Vec<Option<u64>> = vec![None; self.logs.len()];
        for txn in settled {
            let pending = self.pending.remove(&txn);
            let pending = pending.expect("one search has settled it");
            assert!(pending.is_whole(), "a transaction settles whole");
            for (shard, number) in pending.parts {
                let last = &mut last[shard.index()];
                *last = (*last).max(Some(number));
            }
        }
        for (index, last) in last.into_iter().enumerate() {
            let Some(last) = last else { continue };
            let log = &mut self.logs[index];
            let count = (last + 1 - log.base) as usize;
            let through = log.parts[count - 1].1;
            for (txn, _) in log.parts.drain(..count) {
                assert!(
                    !self.pending.contains_key(&txn),
                    "all before it settled too"
                );
            }
            log.base += count as u64;
            send(ShardId(index as u16), Settled { through });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u64, participants: &[u16], end: u64) -> Part {
        Part {
            txn: TxnId {
                number,
                coordinator: ShardId(0),
            },
            participants: participants.iter().copied().map(ShardId).collect(),
            end: Lsn(end),
        }
    }

    fn report(arbiter: &mut Arbiter, from: u16, parts: &[Part]) -> Vec<(u16, u64)> {
        let mut sent = Vec::new();
        let parts = parts.to_vec();
        arbiter.report(ShardId(from), Report { parts }, |to, settled| {
            sent.push((to.0, settled.through.0));
        });
        sent
    }

    #[test]
    fn a_transaction_waits_for_all_parts() {
        let mut arbiter = Arbiter::new(3);
        assert_eq!(report(&mut arbiter, 0, &[part(1, &[0, 2], 10)]), []);
        let sent = report(&mut arbiter, 2, &[part(1, &[0, 2], 7)]);
        assert_eq!(sent, [(0, 10), (2, 7)]);
        assert!(arbiter.is_idle());
    }

    /// 3 is whole, but stands behind 2, which stands behind 1, which lacks a part.
    #[test]
    fn a_chain_over_shards_holds_back_what_stands_behind_it() {
        let mut arbiter = Arbiter::new(4);
        let (one, two, three) = (&[0, 1], &[1, 2], &[2, 3]);
        let sent = report(&mut arbiter, 1, &[part(1, one, 5), part(2, two, 10)]);
        assert_eq!(sent, []);
        let sent = report(&mut arbiter, 2, &[part(2, two, 5), part(3, three, 10)]);
        assert_eq!(sent, []);
        assert_eq!(report(&mut arbiter, 3, &[part(3, three, 5)]), []);
        let sent = report(&mut arbiter, 0, &[part(1, one, 5)]);
        assert_eq!(sent, [(0, 5), (1, 10), (2, 10), (3, 5)]);
        assert!(arbiter.is_idle());
    }

    #[test]
    fn two_that_stand_behind_each_other_settle_together() {
        let mut arbiter = Arbiter::new(2);
        let both = &[0, 1];
        assert_eq!(
            report(&mut arbiter, 0, &[part(1, both, 5), part(2, both, 9)]),
            []
        );
        assert_eq!(report(&mut arbiter, 1, &[part(2, both, 4)]), []);
        let sent = report(&mut arbiter, 1, &[part(1, both, 8)]);
        assert_eq!(sent, [(0, 9), (1, 8)]);
        assert!(arbiter.is_idle());
    }

    /// A second's worth of transactions comes at once: no search passes what another has passed.
    #[test]
    fn many_settle_in_few_steps() {
        const COUNT: u64 = 100_000;
        let mut arbiter = Arbiter::new(3);
        let all = |number| part(number, &[0, 1, 2], number);
        let parts: Vec<Part> = (1..=COUNT).map(all).collect();
        assert_eq!(report(&mut arbiter, 0, &parts), []);
        assert_eq!(report(&mut arbiter, 1, &parts), []);
        let sent = report(&mut arbiter, 2, &parts);
        assert_eq!(sent, [(0, COUNT), (1, COUNT), (2, COUNT)]);
        assert!(arbiter.is_idle());
    }

    /// Against the definition, on random logs of which ever more becomes durable.
    #[test]
    fn what_settles_is_the_greatest_cut() {
        let mut rng = fastrand::Rng::with_seed(11);
        for _ in 0..2000 {
            let shards = rng.usize(2..6);
            let mut logs: Vec<Vec<Part>> = vec![Vec::new(); shards];
            for number in 0..rng.u64(1..30) {
                let mut all: Vec<u16> = (0..shards as u16).collect();
                rng.shuffle(&mut all);
                all.truncate(rng.usize(2..=shards));
                for &shard in &all {
                    let log = &mut logs[usize::from(shard)];
                    let at = log.len() - rng.usize(..=log.len().min(3));
                    log.insert(at, part(number, &all, 0));
                }
            }
            for log in &mut logs {
                for (at, part) in log.iter_mut().enumerate() {
                    part.end = Lsn(at as u64 + 1);
                }
            }
            let mut arbiter = Arbiter::new(shards);
            let (mut durable, mut settled) = (vec![0; shards], vec![0; shards]);
            while durable.iter().zip(&logs).any(|(d, log)| *d < log.len()) {
                let shard = rng.usize(..shards);
                let more = rng.usize(0..=3).min(logs[shard].len() - durable[shard]);
                let from = durable[shard];
                durable[shard] += more;
                let parts = &logs[shard][from..durable[shard]];
                for (to, through) in report(&mut arbiter, shard as u16, parts) {
                    settled[usize::from(to)] = through as usize;
                }
                assert_eq!(settled, greatest_cut(&logs, &durable));
            }
            assert!(arbiter.is_idle());
        }
    }

    fn greatest_cut(logs: &[Vec<Part>], durable: &[usize]) -> Vec<usize> {
        let mut cut = durable.to_vec();
        loop {
            let there = |part: &Part| {
                part.participants.iter().all(|shard| {
                    let shard = shard.index();
                    logs[shard][..cut[shard]].iter().any(|p| p.txn == part.txn)
                })
            };
            let shorter: Vec<usize> = (0..logs.len())
                .map(|shard| {
                    let log = &logs[shard][..cut[shard]];
                    log.iter()
                        .position(|part| !there(part))
                        .unwrap_or(log.len())
                })
                .collect();
            if shorter == cut {
                return cut;
            }
            cut = shorter;
        }
    }
}
