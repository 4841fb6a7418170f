//! A stream against a plain map: random operations from seeds.

use super::*;
use std::collections::BTreeMap;

/// xorshift64*.
struct Rng(u64);

impl Rng {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % end
    }
    fn id(&mut self, ms: u64) -> StreamId {
        StreamId {
            ms: self.below(ms + 2),
            seq: self.below(4),
        }
    }
}

type Pairs = Vec<Vec<u8>>;

fn pairs(rng: &mut Rng) -> Pairs {
    const TEXTS: [&str; 10] = [
        "a",
        "b",
        "temperature",
        "1",
        "-70000",
        "12.5",
        "",
        "007",
        "9223372036854775807",
        "x",
    ];
    let fields = if rng.below(3) > 0 {
        2
    } else {
        1 + rng.below(4)
    };
    let mut all = Vec::new();
    for n in 0..fields {
        let field = if rng.below(4) > 0 { n } else { rng.below(10) };
        all.push(TEXTS[field as usize].into());
        let value = TEXTS[rng.below(10) as usize];
        let times = if rng.below(10) > 0 { 1 } else { rng.below(300) };
        all.push(value.repeat(times as usize).into_bytes());
    }
    all
}

fn read(entry: &Entry<'_>) -> (StreamId, Pairs) {
    let text = |element: Element<'_>| element.bytes(&mut [0; 20]).to_vec();
    let pairs = entry.pairs().flat_map(|(f, v)| [text(f), text(v)]);
    (entry.id, pairs.collect())
}

#[derive(Default)]
struct Model {
    entries: BTreeMap<StreamId, Pairs>,
    last: StreamId,
    added: u64,
    deleted: StreamId,
}

fn compare(log: &Log, model: &Model) {
    let ids = log.verify();
    assert!(ids.iter().eq(model.entries.keys()));
    assert_eq!(log.len(), model.entries.len() as u64);
    assert_eq!(log.last_id(), model.last);
    assert_eq!(log.entries_added(), model.added);
    assert_eq!(log.max_deleted_id(), model.deleted);
    let last = model.entries.keys().next_back();
    assert_eq!(log.last_entry_id(), last.copied().unwrap_or(model.last));
}

#[test]
fn a_log_does_what_a_map_does() {
    for (seed, limits) in (1..40).zip(
        [(0, 0), (4096, 100), (1, 0), (300, 7), (0, 3)]
            .iter()
            .cycle(),
    ) {
        let mut rng = Rng(seed * 0x9E37_79B9);
        let limits = BlockLimits {
            bytes: limits.0,
            entries: limits.1,
        };
        let (mut log, mut model) = (Log::default(), Model::default());
        for step in 0..600 {
            let ms = model.last.ms;
            match rng.below(12) {
                0..7 => {
                    let pairs = pairs(&mut rng);
                    let given: Vec<&[u8]> = pairs.iter().map(|p| &p[..]).collect();
                    let wanted = match rng.below(4) {
                        0 => NewId::Auto {
                            now_ms: rng.below(ms + 5),
                        },
                        1 => NewId::InMs(rng.below(ms + 3)),
                        _ => NewId::Given(StreamId {
                            ms: ms + rng.below(2),
                            seq: rng.below(9),
                        }),
                    };
                    match log.append(wanted, &given, limits) {
                        Ok(id) => {
                            assert!(id > model.last);
                            model.last = id;
                            model.added += 1;
                            model.entries.insert(id, pairs);
                        }
                        Err(refused) => assert_eq!(refused, Refused::NotBehind, "{wanted:?}"),
                    }
                }
                7..10 => {
                    let id = rng.id(ms);
                    let was = model.entries.remove(&id).is_some();
                    assert_eq!(log.contains(id), was);
                    assert_eq!(log.delete(id), was);
                    if was {
                        model.deleted = model.deleted.max(id);
                    }
                }
                10 => {
                    let approximate = rng.below(2) == 0;
                    let entries = rng.below(3) * 10;
                    let limits = TrimLimits {
                        approximate,
                        entries,
                    };
                    let min = rng.id(ms);
                    let max = rng.below(model.entries.len() as u64 + 2);
                    let (trim, wanted) = if rng.below(2) == 0 {
                        (Trim::MinId(min), model.entries.range(..min).count())
                    } else {
                        (
                            Trim::MaxLen(max),
                            model.entries.len().saturating_sub(max as usize),
                        )
                    };
                    let gone = log.trim(trim, limits, None) as usize;
                    assert!(gone <= wanted && (entries == 0 || gone <= entries as usize));
                    assert!(gone == wanted || approximate || entries > 0);
                    (0..gone).for_each(|_| drop(model.entries.pop_first()));
                }
                _ => {
                    let (a, b) = (rng.id(ms), rng.id(ms));
                    for (a, b) in [(a, b), (StreamId::MIN, a), (a, StreamId::MAX)] {
                        let wanted: Vec<_> = match a <= b {
                            true => model
                                .entries
                                .range(a..=b)
                                .map(|(i, p)| (*i, p.clone()))
                                .collect(),
                            false => Vec::new(),
                        };
                        let found: Vec<_> = log.range(a, b, false).map(|e| read(&e)).collect();
                        assert_eq!(found, wanted, "seed {seed} step {step}");
                        let mut back: Vec<_> = log.range(a, b, true).map(|e| read(&e)).collect();
                        back.reverse();
                        assert_eq!(back, wanted, "seed {seed} step {step}");
                    }
                }
            }
            if step % 16 == 0 {
                compare(&log, &model);
            }
        }
        compare(&log, &model);
    }
}

#[test]
fn groups_keep_both_of_their_lists_in_step() {
    for seed in 1..30 {
        let mut rng = Rng(seed * 0x51_7C_C1_B7);
        let mut stream = Stream::default();
        let limits = BlockLimits {
            bytes: 4096,
            entries: 5,
        };
        for name in ["b", "a", "c", "a"] {
            let group = Group::new(name.as_bytes(), StreamId::MIN, None);
            assert_eq!(
                stream.add_group(group),
                stream.groups().len() < 3 || name != "a"
            );
        }
        let mut model: BTreeMap<(usize, StreamId), Pending> = BTreeMap::new();
        for now_ms in 0..500 {
            let at = rng.below(3) as usize;
            let name = [b"a", b"b", b"c"][at];
            let who = [b'0' + rng.below(5) as u8];
            let id = rng.id(20);
            match rng.below(9) {
                0 => {
                    let ms = NewId::Given(rng.id(20));
                    let _taken = stream.log.append(ms, &[b"f", b"v"], limits).is_ok();
                }
                1..5 => {
                    let pending = stream.edit_group(name, |_, group| {
                        let made = group.create(&who, now_ms);
                        let consumer = made.or(group.find(&who)).expect("there is one now");
                        let pending = Pending {
                            consumer,
                            delivered_ms: now_ms,
                            deliveries: 1,
                        };
                        group.set_pending(id, pending);
                        pending
                    });
                    model.insert((at, id), pending.expect("the group is there"));
                }
                5 => {
                    let was = model.remove(&(at, id)).is_some();
                    let acked = stream.edit_group(name, |_, group| group.acknowledge(id));
                    assert_eq!(acked, Some(was));
                }
                6 => {
                    let removed = stream.edit_group(name, |_, group| {
                        let consumer = group.find(&who);
                        (consumer, group.remove(&who))
                    });
                    if let Some((Some(consumer), Some(count))) = removed {
                        let before = model.len();
                        model.retain(|(group, _), p| *group != at || p.consumer != consumer);
                        assert_eq!(before - model.len(), count);
                    }
                }
                7 => {
                    stream.edit_group(name, |_, group| {
                        let old: Vec<_> = group.longest_pending(now_ms / 2).collect();
                        let times: Vec<_> = old
                            .iter()
                            .map(|id| group.pending()[id].delivered_ms)
                            .collect();
                        assert!(times.is_sorted() && times.iter().all(|ms| *ms <= now_ms / 2));
                        let wanted = group
                            .pending()
                            .values()
                            .filter(|p| p.delivered_ms <= now_ms / 2);
                        assert_eq!(old.len(), wanted.count());
                    });
                }
                _ => {
                    let any = stream.forget(id);
                    let before = model.len();
                    model.retain(|(_, entry), _| *entry != id);
                    assert_eq!(any, model.len() < before);
                    assert!(
                        stream
                            .groups()
                            .iter()
                            .all(|g| !g.pending().contains_key(&id))
                    );
                }
            }
            if now_ms % 16 == 0 {
                stream.verify();
                for (at, group) in stream.groups().iter().enumerate() {
                    let wanted = model.range((at, StreamId::MIN)..=(at, StreamId::MAX));
                    let wanted = wanted.map(|((_, id), pending)| (id, pending));
                    assert!(group.pending().iter().eq(wanted));
                }
            }
        }
        let copy = stream.duplicate();
        // What a copy has less is the room of the last blocks to grow.
        assert!(copy.heap_bytes() <= stream.heap_bytes());
        let copy: Option<&Stream> = copy.as_any().downcast_ref();
        copy.expect("a stream").verify();
        while stream.free_some(3) {}
        assert!(stream.groups().is_empty() && stream.log.blocks() == 0);
    }
}

#[test]
fn references_are_minded_where_that_is_asked_for() {
    let make = || {
        let mut stream = Stream::default();
        let limits = BlockLimits {
            bytes: 0,
            entries: 3,
        };
        for ms in 1..=10 {
            let id = NewId::Given(StreamId { ms, seq: 0 });
            assert!(stream.log.append(id, &[b"f", b"v"], limits).is_ok());
        }
        let last = StreamId { ms: 8, seq: 0 };
        assert!(stream.add_group(Group::new(b"g", last, None)));
        stream.edit_group(b"g", |_, group| {
            let consumer = group.create(b"c", 0).expect("new");
            for ms in [2, 5] {
                let pending = Pending {
                    consumer,
                    delivered_ms: 0,
                    deliveries: 1,
                };
                group.set_pending(StreamId { ms, seq: 0 }, pending);
            }
        });
        stream
    };
    let run = |trim, approximate, references| {
        let mut stream = make();
        let gone = stream.trim(
            trim,
            TrimLimits {
                approximate,
                entries: 0,
            },
            references,
        );
        stream.verify();
        let left: Vec<u64> = stream.log.verify().iter().map(|id| id.ms).collect();
        (gone, left, stream.groups()[0].pending().len())
    };
    let max = Trim::MaxLen(4);
    assert_eq!(run(max, false, References::Keep), (6, vec![7, 8, 9, 10], 2));
    assert_eq!(
        run(max, false, References::Delete),
        (6, vec![7, 8, 9, 10], 0)
    );
    // 1, 3, 4, 6, 7 and 8 may go.
    assert_eq!(
        run(max, false, References::Acknowledged),
        (6, vec![2, 5, 9, 10], 2)
    );
    assert_eq!(
        run(Trim::MaxLen(0), false, References::Acknowledged).1,
        vec![2, 5, 9, 10]
    );
    let min = Trim::MinId(StreamId { ms: 4, seq: 0 });
    assert_eq!(
        run(min, false, References::Acknowledged).1,
        vec![2, 4, 5, 6, 7, 8, 9, 10]
    );
    assert_eq!(run(Trim::MaxLen(7), true, References::Keep).0, 3);
    assert_eq!(
        run(Trim::MaxLen(7), true, References::Acknowledged).1.len(),
        8
    );
}

#[test]
fn memory_is_counted_and_little() {
    let mut stream = Stream::default();
    let limits = BlockLimits {
        bytes: 4096,
        entries: 100,
    };
    for ms in 1..=100_000 {
        let id = NewId::Given(StreamId { ms, seq: 0 });
        let added = stream
            .log
            .append(id, &[b"field", b"sixteen bytes..."], limits);
        assert!(added.is_ok());
    }
    stream.verify();
    assert!(
        stream.heap_bytes() / 100_000 <= 27,
        "{}",
        stream.heap_bytes()
    );
    let copy = stream.clone();
    while stream.log.free_block() {}
    assert_eq!(stream.log.heap_bytes(), 0);
    assert!(copy.log.radix_nodes() > copy.log.blocks());
}
