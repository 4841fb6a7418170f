//! Loading: every log in a directory, from the oldest to the newest. The logs of one process are read
//! side by side; those of the next begin when all of them are done, since their keys may have had
//! other owners.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Error;
use super::directory::Directory;
use crate::log::Lsn;
use crate::log::manifest::Generation;
use crate::log::record::{Kind, Record};
use crate::log::recover::{Passed, Tail, Torn, cut};
use crate::mesh::ShardId;

/// What was loaded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Loaded {
    /// Where the logs of the last process end: for [`Directory::begin`].
    pub cuts: Vec<Lsn>,
    /// Ends that were torn; whoever waited for what stood there was never answered.
    pub torn: Vec<(ShardId, Torn)>,
    /// Logs that were cut before a transaction that is not whole, and the bytes behind the cut.
    pub unfinished: Vec<(ShardId, u64)>,
    /// Records that were replayed.
    pub records: u64,
}

/// Replays all logs of a directory on up to so many threads. Records of one log come in order, on
/// one thread at a time; the shard is the one that wrote them, of as many as the generation had.
pub fn load(
    directory: &Directory,
    threads: usize,
    replay: &(impl Fn(&Generation, ShardId, &Record<'_>) + Sync),
) -> Result<Loaded, Error> {
    let mut loaded = Loaded::default();
    for generation in &directory.manifest().generations {
        let records = AtomicU64::new(0);
        let (tails, passed) = read(directory, generation, threads, &|shard, record| {
            records.fetch_add(1, Ordering::Relaxed);
            replay(generation, shard, record);
        })?;
        let cuts = cut(&tails, &passed).map_err(|damage| directory.damaged(damage))?;
        loaded.records += records.into_inner();
        for (tail, &cut) in tails.iter().zip(&cuts) {
            let shard = tail.identity().shard;
            tail.replay(cut, |record| {
                loaded.records += 1;
                replay(generation, shard, record);
            });
            loaded.torn.extend(tail.torn().map(|torn| (shard, torn)));
            if cut < tail.end() {
                loaded.unfinished.push((shard, tail.end().since(cut)));
            }
        }
        loaded.cuts = cuts;
    }
    Ok(loaded)
}

/// Reads the logs of one process.
fn read(
    directory: &Directory,
    generation: &Generation,
    threads: usize,
    replay: &(impl Fn(ShardId, &Record<'_>) + Sync),
) -> Result<(Vec<Tail>, Passed), Error> {
    let count = generation.logs.len();
    let next = AtomicUsize::new(0);
    // Both are taken once for a log, or for a part of a transaction. A thread that panics ends the
    // process.
    let passed = Mutex::new(Passed::default());
    let tails = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, count) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    let shard = ShardId(index as u16);
                    let tail = directory.read_log(generation, shard, |record| {
                        if matches!(record.kind, Kind::Part { .. }) {
                            let passed = passed.lock();
                            let mut passed = passed.unwrap_or_else(PoisonError::into_inner);
                            passed.saw(shard, record);
                        }
                        replay(shard, record);
                    });
                    let mut tails = tails.lock().unwrap_or_else(PoisonError::into_inner);
                    tails.push((shard, tail));
                }
            });
        }
    });
    let mut tails = tails.into_inner().unwrap_or_else(PoisonError::into_inner);
    tails.sort_unstable_by_key(|(shard, _)| *shard);
    let tails: Result<Vec<Tail>, Error> = tails.into_iter().map(|(_, tail)| tail).collect();
    let passed = passed.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok((tails?, passed))
}

#[cfg(test)]
mod tests {
    use super::super::directory::tests::{BLOCKS, Folder, effects, write_log};
    use super::*;
    use crate::txn::TxnId;

    #[test]
    fn all_generations_are_replayed_in_order() {
        let folder = Folder::new("loading");
        let mut directory = Directory::open(&folder.0).expect("a new directory");
        let mut cuts = Vec::new();
        let mut wanted = Vec::new();
        for (run, shards) in [3, 1, 4].into_iter().enumerate() {
            let begun = directory.begin(&cuts, shards, BLOCKS);
            begun.expect("it can be written");
            for shard in 0..shards {
                let records: Vec<_> = (0..50).map(|i| effects(&format!("{run} {i}"))).collect();
                write_log(&directory, ShardId(shard), &records);
                wanted.extend((0..50).map(|i| (run as u32 + 1, shard, format!("{run} {i}"))));
            }
            let seen = Mutex::new(Vec::new());
            let loaded = load(&directory, 2, &|generation: &Generation, shard, record| {
                let text = String::from_utf8_lossy(record.payload).into_owned();
                let mut seen = seen.lock().expect("no panic");
                seen.push((generation.epoch, shard.0, text));
            });
            let loaded = loaded.expect("nothing is damaged");
            assert_eq!(loaded.records as usize, wanted.len());
            let mut seen = seen.into_inner().expect("no panic");
            let epochs: Vec<u32> = seen.iter().map(|(epoch, ..)| *epoch).collect();
            assert!(epochs.is_sorted(), "one process after the other");
            seen.sort_by_key(|(epoch, shard, _)| (*epoch, *shard)); // stable: a log keeps its order
            assert_eq!(seen, wanted);
            cuts = loaded.cuts;
        }
    }

    #[test]
    fn a_transaction_that_is_not_whole_is_given_up() {
        let folder = Folder::new("loading-cut");
        let mut directory = Directory::open(&folder.0).expect("a new directory");
        directory.begin(&[], 2, BLOCKS).expect("it can be written");
        let txn = TxnId {
            number: 1,
            coordinator: ShardId(1),
        };
        let participants = [ShardId(0), ShardId(1)].into_iter().collect();
        let part = (Kind::Part { txn, participants }, b"part".to_vec());
        let generation = directory.manifest().generations[0].clone();
        // The writer calls what is durable certain; here its last flush has the part.
        write_log(&directory, ShardId(0), &[effects("a"), part]);
        write_log(&directory, ShardId(1), &[effects("b")]);
        let loaded = load(&directory, 1, &|_: &Generation, _, _| {}).expect("whole");
        assert_eq!(loaded.records, 2);
        assert_eq!(loaded.unfinished.len(), 1);
        let tail = directory.read_log(&generation, ShardId(0), |_| {});
        assert!(loaded.cuts[0] < tail.expect("whole").end());
    }
}
