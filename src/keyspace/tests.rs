//! Model tests of a whole keyspace: random operations from a seed against std's maps.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

/// SplitMix64, so that a printed seed is all that a failure needs.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

const SEEDS: u64 = if cfg!(miri) { 1 } else { 3 };
const STEPS: u64 = if cfg!(miri) { 2_000 } else { 60_000 };

fn keyspace(seed: u64) -> Keyspace {
    Keyspace::new(16, Hasher::new([seed, 7]))
}

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

fn text(entry: &EntryRef<'_>) -> Vec<u8> {
    entry.string().expect("all are strings").into_owned()
}

fn value_bytes(random: &mut Random) -> Vec<u8> {
    match random.below(20) {
        0 => vec![b'v'; random.below(40_000) as usize],
        1..=4 => (random.next() as i64 >> random.below(64))
            .to_string()
            .into_bytes(),
        _ => vec![b'a' + random.below(26) as u8; random.below(100) as usize],
    }
}

/// One random operation on both, and the comparison of what it returns.
fn step(db: &mut Db, model: &mut Model, random: &mut Random, key: Vec<u8>, now: u64) {
    let pos = db.hasher().pos(&key);
    let later = now + 1 + random.below(1000);
    match random.below(16) {
        0..=5 => {
            let value = value_bytes(random);
            let expiry = [Expiry::Keep, Expiry::Clear, Expiry::At(later)][random.below(3) as usize];
            let new = db.set(pos, &key, NewValue::string(&value), expiry, 1);
            let old = model.insert(key.clone(), (value, None));
            assert_eq!(new, old.is_none());
            let at = match expiry {
                Expiry::Keep => old.and_then(|o| o.1),
                Expiry::Clear => None,
                Expiry::At(ms) => Some(ms),
            };
            model.get_mut(&key).expect("just stored").1 = at;
        }
        6..=8 => {
            assert_eq!(db.remove(pos, &key), model.remove(&key).is_some());
        }
        9 => match (db.lookup_mut(pos, &key, 0), model.get_mut(&key)) {
            (Lookup::Live(mut entry), Some(old)) => {
                let tail = value_bytes(random);
                old.0.extend_from_slice(&tail);
                assert_eq!(entry.append(&tail), old.0.len());
                assert!(entry.get().is_raw());
            }
            (Lookup::Missing, None) => {}
            other => panic!("{other:?}"),
        },
        10 => {
            if let Some(mut entry) = db.lookup_mut(pos, &key, 0).live() {
                let old = model.get_mut(&key).expect("in both");
                let at = random.below(600) as usize;
                entry.edit_string(at + 1, |bytes| bytes[at] = b'x');
                old.0.resize(old.0.len().max(at + 1), 0);
                old.0[at] = b'x';
            }
        }
        11 => {
            if let Some(mut entry) = db.lookup_mut(pos, &key, 0).live() {
                let at = (random.below(2) == 0).then_some(later);
                entry.set_expiry(at);
                model.get_mut(&key).expect("in both").1 = at;
            }
        }
        12 => {
            if let Some(owned) = db.take(pos, &key) {
                let (value, at) = model.remove(&key).expect("in both");
                assert_eq!(text(&owned.entry()), value);
                let moved = std::thread::scope(|s| {
                    let other = s.spawn(move || owned.renamed(b"moved").with_expiry(Some(later)));
                    other.join().expect("no panic")
                });
                let back = moved.renamed(&key).with_expiry(at);
                db.attach(pos, back);
                model.insert(key, (value, at));
            }
        }
        13 => {
            if let Some(mut entry) = db.lookup_mut(pos, &key, 0).live() {
                entry.set_int(random.next() as i64);
                entry.touch(0x12_3456);
                assert_eq!(entry.get().clock(), 0x12_3456);
                model.get_mut(&key).expect("in both").0 = text(&entry.get());
            }
        }
        _ => match (db.lookup(pos, &key, now), model.get(&key)) {
            (Lookup::Live(entry), Some((value, at))) => {
                assert_eq!(text(&entry), *value);
                assert_eq!(entry.expiry(), *at);
            }
            (Lookup::Expired, Some((_, Some(at)))) => assert!(*at <= now),
            (Lookup::Missing, None) => {}
            other => panic!("{other:?}"),
        },
    }
}

fn compare(db: &Db, model: &Model) {
    db.verify();
    let mut seen = Model::new();
    db.scan(0, CURSOR_END, usize::MAX, 0, |e| {
        assert!(
            seen.insert(e.key().to_vec(), (text(&e), e.expiry()))
                .is_none(),
            "seen twice"
        );
    });
    assert_eq!(seen.len(), model.len());
    assert!(seen == *model);
    let in_slots: usize = (0..SLOTS as u16)
        .map(|n| db.count_in_slot(Slot::new(n).expect("a slot")))
        .sum();
    assert_eq!(in_slots, model.len());
}

fn run_model(name: &str, key: impl Fn(u64) -> Vec<u8>, keys: u64) {
    for seed in 0..SEEDS {
        println!("{name}: seed {seed}");
        let mut random = Random(seed);
        let mut space = keyspace(seed);
        let mut model = Model::new();
        let mut now = 1;
        for n in 0..STEPS {
            // Grows, shrinks and grows again, so that every size is crossed both ways; with every other
            // seed room is made ahead.
            if n.is_multiple_of(STEPS / 12) {
                space.set_growing(seed % 2 == 1 && n.is_multiple_of(STEPS / 6));
            }
            let range = if (n / (STEPS / 6)).is_multiple_of(2) {
                keys
            } else {
                keys / 50 + 1
            };
            let key = key(random.below(range));
            step(space.db_mut(0), &mut model, &mut random, key, now);
            if n.is_multiple_of(1000) {
                now += random.below(100);
                let gone =
                    space
                        .db_mut(0)
                        .expire_slice(now, random.below(2000) as usize, |e, _| {
                            let (_, at) = model.remove(e.key()).expect("in both");
                            assert!(at.expect("it had one") <= now);
                        });
                assert!(gone.removed <= gone.visited);
            }
            if n.is_multiple_of(STEPS / 6) {
                compare(space.db(0), &model);
            }
        }
        compare(space.db(0), &model);
        for key in model.keys() {
            assert!(space.db_mut(0).remove(Hasher::new([seed, 7]).pos(key), key));
        }
        space.verify();
        assert!(space.db(0).is_empty());
        let empty = space.used_bytes();
        assert!(empty < 1024, "an emptied table keeps {empty} bytes");
    }
}

#[test]
fn model_of_spread_keys() {
    run_model("spread", |n| format!("key:{n:012}").into_bytes(), STEPS / 3);
}

#[test]
fn model_of_one_slot() {
    run_model(
        "one slot",
        |n| format!("{{tag}}{n}").into_bytes(),
        STEPS / 3,
    );
}

#[test]
fn model_of_long_keys() {
    run_model("long", |n| vec![b'k'; 200 + n as usize % 200], 200);
}

#[test]
fn one_slot_of_many_keys_gets_directories_of_its_own() {
    fill_one_slot(false);
}

#[test]
fn one_slot_that_grows_splits_ahead() {
    fill_one_slot(true);
}

fn fill_one_slot(grows: bool) {
    let keys = if cfg!(miri) { 2_000 } else { 300_000u64 };
    let mut space = keyspace(1);
    space.set_growing(grows);
    let name = |n: u64| format!("{{x}}{n}").into_bytes();
    for n in 0..keys {
        let key = name(n);
        let pos = space.pos(&key);
        assert!(
            space
                .db_mut(3)
                .set(pos, &key, NewValue::Int(n as i64), Expiry::Keep, 0)
        );
    }
    space.verify();
    assert_eq!(space.db(3).count_in_slot(Slot::of(b"x")), keys as usize);
    assert_eq!(space.db(3).count_in_slot(Slot::of(b"y")), 0);
    let mut some = 0;
    space
        .db(3)
        .for_each_in_slot(Slot::of(b"x"), 10, |_| some += 1);
    assert_eq!(some, 10);
    for n in 0..keys {
        let key = name(n);
        let pos = space.pos(&key);
        assert!(space.db_mut(3).remove(pos, &key));
    }
    space.verify();
}

/// Keys that are there from the first call to the last are seen exactly once, whatever else comes
/// and goes meanwhile.
#[test]
fn scan_sees_what_stays_exactly_once() {
    for (prefix, count) in [("", 1), ("", 10), ("{t}", 7), ("", 1000)] {
        let seed = count as u64;
        let mut random = Random(seed);
        let mut space = keyspace(seed);
        let total = if cfg!(miri) { 300 } else { 20_000u64 };
        let stays: BTreeSet<Vec<u8>> = (0..total / 4)
            .map(|n| format!("{prefix}stay{n}").into_bytes())
            .collect();
        for key in &stays {
            let pos = space.pos(key);
            space
                .db_mut(0)
                .set(pos, key, NewValue::Int(1), Expiry::Keep, 0);
        }
        let mut seen = BTreeSet::new();
        let (mut cursor, mut calls, mut churn) = (0, 0u64, 0);
        loop {
            cursor = space.db(0).scan(cursor, CURSOR_END, count, 1, |e| {
                if e.key().windows(4).any(|w| w == b"stay") {
                    assert!(seen.insert(e.key().to_vec()), "seen twice");
                }
            });
            if cursor == CURSOR_END {
                break;
            }
            calls += 1;
            // Grow a lot, then remove it all again.
            let per_call = (total * count as u64 / total.min(2000)).clamp(1, 4000);
            for _ in 0..per_call {
                let key = format!("{prefix}other{churn}").into_bytes();
                let pos = space.pos(&key);
                if calls / 50 % 2 == 0 {
                    space
                        .db_mut(0)
                        .set(pos, &key, NewValue::Int(1), Expiry::Keep, 0);
                    churn += 1;
                } else if churn > 0 {
                    space.db_mut(0).remove(pos, &key);
                    churn -= 1;
                }
            }
            assert!(random.below(2) < 2);
        }
        assert_eq!(seen, stays);
        space.verify();
    }
}

#[test]
fn scan_of_one_shards_slots_ends_at_the_next_shards() {
    let mut space = keyspace(4);
    for n in 0..500u32 {
        let key = n.to_string().into_bytes();
        let pos = space.pos(&key);
        space
            .db_mut(0)
            .set(pos, &key, NewValue::Int(1), Expiry::Keep, 0);
    }
    let (start, end) = (slot_cursor(1000), slot_cursor(9000));
    let (mut cursor, mut seen) = (start, 0);
    while cursor < end {
        cursor = space.db(0).scan(cursor, end, 3, 1, |e| {
            assert!((1000..9000).contains(&Slot::of(e.key()).number()));
            seen += 1;
        });
    }
    assert_eq!(cursor, end);
    assert_eq!(cursor_slot(cursor).number(), 9000);
    let there =
        (0..500u32).filter(|n| (1000..9000).contains(&Slot::of(n.to_string().as_bytes()).number()));
    assert_eq!(seen, there.count());
}

#[test]
fn databases_are_apart_and_swap() {
    let mut space = keyspace(5);
    let pos = space.pos(b"k");
    for index in 0..16 {
        space
            .db_mut(index)
            .set(pos, b"k", NewValue::Int(index as i64), Expiry::Keep, 0);
    }
    space.swap(3, 12);
    let value = |space: &Keyspace, db: usize| {
        text(&space.db(db).lookup(pos, b"k", 1).live().expect("there"))
    };
    assert_eq!(value(&space, 3), b"12");
    assert_eq!(value(&space, 12), b"3");
    assert_eq!(value(&space, 0), b"0");
}

#[test]
fn clearing_frees_in_slices_and_all() {
    let mut space = keyspace(6);
    let keys = if cfg!(miri) { 500 } else { 50_000u32 };
    for n in 0..keys {
        let key = format!("{}{n}", if n % 2 == 0 { "{t}" } else { "" }).into_bytes();
        let pos = space.pos(&key);
        space
            .db_mut(0)
            .set(pos, &key, NewValue::string(&[b'x'; 50]), Expiry::At(5), 0);
    }
    space.clear();
    assert!(space.db(0).is_empty());
    assert_eq!(space.lazy_pending(), keys as usize);
    let mut slices = 0;
    while space.free_some(1000) {
        slices += 1;
    }
    assert!(cfg!(miri) || slices > 20);
    assert_eq!((space.lazy_pending(), space.used_bytes()), (0, 0));
    assert_eq!(space.lazy_freed(), u64::from(keys));
}

#[test]
fn everything_that_expires_at_once_goes_in_slices() {
    let mut space = keyspace(8);
    let keys = if cfg!(miri) { 500 } else { 100_000u32 };
    for n in 0..keys {
        let key = n.to_string().into_bytes();
        let pos = space.pos(&key);
        let expiry = if n % 10 == 0 {
            Expiry::Keep
        } else {
            Expiry::At(1000)
        };
        space.db_mut(0).set(pos, &key, NewValue::Int(1), expiry, 0);
    }
    let db = space.db_mut(0);
    assert_eq!(
        db.expire_slice(999, 1_000_000, |_, _| panic!("too early"))
            .removed,
        0
    );
    let (mut removed, mut slices) = (0, 0);
    loop {
        let sweep = db.expire_slice(1000, 2000, |e, _| assert_eq!(e.expiry(), Some(1000)));
        removed += sweep.removed;
        slices += 1;
        if sweep.more {
            assert!(db.stale_ratio() > 0.0);
        } else {
            break;
        }
    }
    assert_eq!(removed, keys as usize * 9 / 10);
    assert!(cfg!(miri) || slices >= 30);
    assert_eq!((db.len(), db.expires()), (keys as usize / 10, 0));
    db.verify();
}

#[test]
fn random_keys_are_fairly_even() {
    let mut space = keyspace(9);
    // Half of the keys in one slot, the other half spread.
    let name = |n: u64| {
        if n.is_multiple_of(2) {
            format!("{{z}}{n}")
        } else {
            format!("k{n}")
        }
        .into_bytes()
    };
    let keys = if cfg!(miri) { 20 } else { 2_000u64 };
    for n in 0..keys {
        let key = name(n);
        let pos = space.pos(&key);
        let expiry = if n % 4 == 3 {
            Expiry::At(10)
        } else {
            Expiry::Keep
        };
        space.db_mut(0).set(pos, &key, NewValue::Int(1), expiry, 0);
    }
    let mut random = Random(1);
    let mut drawn = BTreeMap::new();
    for _ in 0..keys * 20 {
        let entry = space
            .db(0)
            .random(50, || random.next())
            .expect("there are keys");
        assert!(entry.expiry().is_none());
        *drawn.entry(entry.key().to_vec()).or_insert(0) += 1;
    }
    assert!(
        drawn.len() as u64 > keys * 3 / 4 * 95 / 100,
        "{} of {keys}",
        drawn.len()
    );
    assert!(keyspace(1).db(0).random(0, || random.next()).is_none());
}

#[test]
fn large_strings_are_shared_and_grow_cheaply() {
    let mut space = keyspace(10);
    let pos = space.pos(b"big");
    let buffer = bytes::Bytes::from(vec![b'x'; 100_000]);
    let address = buffer.as_ptr();
    space
        .db_mut(0)
        .set(pos, b"big", NewValue::Large(buffer), Expiry::Keep, 0);
    let Some(Value::Large(large)) = space.db(0).lookup(pos, b"big", 1).live().map(|e| e.value())
    else {
        panic!("it is large");
    };
    let reply = large.share();
    assert_eq!(reply.as_ptr(), address);
    assert!(space.used_bytes() > 100_000);
    let mut entry = space
        .db_mut(0)
        .lookup_mut(pos, b"big", 1)
        .live()
        .expect("there");
    assert_eq!(entry.get().encoding(), Some("raw"));
    assert_eq!(entry.append(b"y"), 100_001);
    assert_eq!(reply.len(), 100_000);
    space.db_mut(0).remove(pos, b"big");
    space.db_mut(0).clear();
    while space.free_some(10) {}

    // Growing from nothing by single bytes moves the string a logarithmic number of times.
    let pos = space.pos(b"grow");
    space
        .db_mut(0)
        .set(pos, b"grow", NewValue::string(b""), Expiry::Keep, 0);
    let steps = if cfg!(miri) { 1_000 } else { 100_000usize };
    let (mut moves, mut last) = (0, 0);
    for n in 0..steps {
        let mut entry = space
            .db_mut(0)
            .lookup_mut(pos, b"grow", 1)
            .live()
            .expect("there");
        assert_eq!(entry.append(b"z"), n + 1);
        let at = entry.edit_string(0, |bytes| bytes.as_ptr() as usize);
        moves += usize::from(at != last);
        last = at;
    }
    assert!(moves < 120, "{moves} moves");
}

#[test]
fn encodings_are_redis_names() {
    let mut space = keyspace(11);
    let pos = space.pos(b"k");
    for (value, name) in [
        ("12", "int"),
        ("012", "embstr"),
        (&"x".repeat(44), "embstr"),
        (&"x".repeat(45), "raw"),
    ] {
        space.db_mut(0).set(
            pos,
            b"k",
            NewValue::string(value.as_bytes()),
            Expiry::Keep,
            0,
        );
        let entry = space.db(0).lookup(pos, b"k", 1).live().expect("there");
        assert_eq!(entry.encoding(), Some(name));
        assert_eq!(text(&entry), value.as_bytes());
    }
}

/// An object that counts the steps of its freeing.
#[derive(Debug)]
struct Steps {
    left: usize,
    log: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl Object for Steps {
    fn kind(&self) -> Kind {
        Kind::Hash
    }
    fn encoding(&self) -> &'static str {
        "hashtable"
    }
    fn heap_bytes(&self) -> usize {
        self.left * 100
    }
    fn free_effort(&self) -> usize {
        self.left
    }
    fn free_some(&mut self, budget: usize) -> bool {
        self.left = self.left.saturating_sub(budget);
        self.left > 0
    }
    fn duplicate(&self) -> Box<dyn Object> {
        Box::new(Self {
            left: self.left,
            log: self.log.clone(),
        })
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn std::any::Any {
        self
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.log.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn objects_are_counted_moved_and_freed_once_and_big_ones_in_slices() {
    use std::sync::atomic::Ordering::Relaxed;
    let log = std::sync::Arc::default();
    let object = |left| -> NewValue<'static> {
        NewValue::Object(Box::new(Steps {
            left,
            log: std::sync::Arc::clone(&log),
        }))
    };
    let mut space = keyspace(12);
    let [small, big] = [b"small", b"large"].map(|k| (space.pos(k), k));
    let db = space.db_mut(0);
    db.set(small.0, small.1, object(10), Expiry::At(99), 0);
    db.set(big.0, big.1, object(1000), Expiry::Keep, 0);
    assert!(space.used_bytes() >= 101_000);
    let mut entry = space
        .db_mut(0)
        .lookup_mut(big.0, big.1, 1)
        .live()
        .expect("there");
    assert_eq!(
        (entry.get().kind(), entry.get().encoding()),
        (Kind::Hash, Some("hashtable"))
    );
    entry.edit_object(|o| {
        o.as_any_mut()
            .downcast_mut::<Steps>()
            .expect("its type")
            .left = 2000
    });
    assert!(space.used_bytes() >= 201_000);

    let moved = space
        .db_mut(0)
        .take(big.0, big.1)
        .expect("there")
        .renamed(b"other");
    assert!(space.used_bytes() < 10_000);
    let pos = space.pos(b"other");
    space.db_mut(1).attach(pos, moved);
    assert_eq!(log.load(Relaxed), 0);

    assert!(space.db_mut(0).remove(small.0, small.1));
    assert_eq!(log.load(Relaxed), 1, "a small object goes at once");
    assert!(space.db_mut(1).remove(pos, b"other"));
    assert_eq!((log.load(Relaxed), space.lazy_pending()), (1, 1));
    assert!(space.free_some(1000));
    assert!(!space.free_some(1000));
    assert_eq!((log.load(Relaxed), space.lazy_freed()), (2, 1));
    space.verify();
}

/// What a tap is told, for comparison.
#[derive(Debug, Default)]
struct Told {
    all: BTreeMap<Name, (Vec<u8>, Option<u64>)>,
    /// Entries that are told in parts, as they were at the first, and how many there were.
    parts: BTreeMap<Name, (Vec<u8>, Option<u64>, usize)>,
}

/// Database and key.
type Name = (u16, Vec<u8>);

impl Keeper for Told {
    fn keep(&mut self, db: u16, entry: EntryRef<'_>) {
        let key = (db, entry.key().to_vec());
        let before = self.all.insert(key, (text(&entry), entry.expiry()));
        assert!(before.is_none(), "told twice: {entry:?}");
    }

    fn is_long(&self, entry: &EntryRef<'_>) -> bool {
        entry.key().ends_with(b"7")
    }

    fn keep_part(&mut self, db: u16, entry: EntryRef<'_>) -> bool {
        const PARTS: usize = 5;
        let name = (db, entry.key().to_vec());
        let (value, expiry) = (text(&entry), entry.expiry());
        let first = (value.clone(), expiry, 0);
        let part = self.parts.entry(name.clone()).or_insert(first);
        assert_eq!((&part.0, part.1), (&value, expiry), "it stays as it is");
        part.2 += 1;
        if part.2 < PARTS {
            return false;
        }
        self.parts.remove(&name);
        self.keep(db, entry);
        true
    }
}

/// An entry of which a part was told stays until all of it is, though it has expired.
#[test]
fn what_is_told_in_parts_does_not_expire_meanwhile() {
    use std::cell::RefCell;
    use std::rc::Rc;
    let mut keyspace = keyspace(1);
    let (due, late) = (10, 20);
    for n in 0..30 {
        let key = format!("key:{n}").into_bytes();
        let pos = keyspace.pos(&key);
        let db = keyspace.db_mut(0);
        db.set(pos, &key, NewValue::Int(n), Expiry::At(due), 0);
    }
    let told = Rc::new(RefCell::new(Told::default()));
    keyspace.db_mut(0).begin_tap(0, told.clone());
    let mut last = 0;
    while keyspace.db_mut(0).tap_slice(30) {
        while keyspace.db_mut(0).expire_slice(late, 100, |_, _| ()).more {}
        keyspace.verify();
        let left = keyspace.db(0).len();
        assert!(
            left <= 3 && left >= last.min(1),
            "those that end with 7: {left}"
        );
        last = left;
    }
    while keyspace.db_mut(0).expire_slice(late, 100, |_, _| ()).more {}
    assert!(keyspace.db(0).is_empty());
    let long = |(_, key): &&Name| key.ends_with(b"7");
    assert_eq!(told.borrow().all.keys().filter(long).count(), 3);
}

/// Whatever happens meanwhile, a tap is told the databases as they were when it began.
#[test]
fn a_tap_is_told_what_there_was() {
    use std::cell::RefCell;
    use std::rc::Rc;
    for seed in 0..SEEDS * 4 {
        eprintln!("seed {seed}");
        let mut random = Random(seed);
        let mut keyspace = keyspace(seed);
        let mut models = [Model::new(), Model::new()];
        let keys = if cfg!(miri) { 60 } else { 3000 };
        let now = 1;
        let key = |random: &mut Random| format!("key:{}", random.below(keys)).into_bytes();
        for at in 0..2 * keys {
            let db = (at % 2) as usize;
            let key = key(&mut random);
            step(keyspace.db_mut(db), &mut models[db], &mut random, key, now);
        }
        let told = Rc::new(RefCell::new(Told::default()));
        let mut wanted = Told::default();
        for (db, model) in models.iter().enumerate() {
            keyspace.db_mut(db).begin_tap(db as u16, told.clone());
            for (key, value) in model {
                wanted.all.insert((db as u16, key.clone()), value.clone());
            }
        }
        let mut more = true;
        while more {
            for _ in 0..random.below(30) {
                let db = random.below(2) as usize;
                let key = key(&mut random);
                match random.below(200) {
                    0 => {
                        keyspace.db_mut(db).clear();
                        models[db].clear();
                    }
                    1 => {
                        keyspace.swap(0, 1);
                        models.swap(0, 1);
                    }
                    2..12 => {
                        let target = keyspace.db_mut(db);
                        let pos = target.hasher().pos(&key);
                        if let Some(entry) = target.take(pos, &key) {
                            step(target, &mut models[db], &mut random, b"other".to_vec(), now);
                            keyspace.db_mut(db).attach(pos, entry);
                        }
                    }
                    // Whether somebody waits for it or not.
                    12..40 => {
                        let target = keyspace.db_mut(db);
                        let pos = target.hasher().pos(&key);
                        let put_off = target.tell_ahead(pos);
                        assert_eq!(put_off, target.is_told_in_parts(pos));
                    }
                    _ => step(keyspace.db_mut(db), &mut models[db], &mut random, key, now),
                }
            }
            more = false;
            for db in 0..2 {
                more |= keyspace.db_mut(db).tap_slice(1 + random.below(20) as usize);
            }
        }
        assert!(told.borrow().all == wanted.all, "seed {seed}");
        assert!(told.borrow().parts.is_empty(), "seed {seed}");
        keyspace.verify();
        while keyspace.free_some(1000) {}
    }
}

/// Batches of keys in whatever order, in that of slots, of few slots, with keys that come twice and
/// with every kind of value, into databases that have some already.
#[test]
fn batches_settle_as_if_set_one_by_one() {
    const COUNT: u64 = if cfg!(miri) { 600 } else { 30_000 };
    for seed in 0..SEEDS * 2 {
        let mut random = Random(seed);
        let mut keyspace = keyspace(seed);
        let mut models = [Model::new(), Model::new()];
        let mut keys: Vec<Vec<u8>> = (0..COUNT)
            .map(|_| match seed % 3 {
                0 => format!("key:{}", random.below(COUNT)).into_bytes(),
                1 => format!("{{{}}}{}", random.below(3), random.below(COUNT)).into_bytes(),
                _ => format!("{}", random.next()).into_bytes(),
            })
            .collect();
        if seed % 2 == 0 {
            keys.sort_by_key(|key| Slot::of(key));
        }
        keys.push(vec![b'k'; 70_000]);
        let mut batch = Batch::default();
        for (n, key) in keys.iter().enumerate() {
            let db = random.below(2) as u16;
            let value = value_bytes(&mut random);
            let expiry = (random.below(4) == 0).then(|| 1 + random.below(1000));
            let pos = keyspace.pos(key);
            batch.push(db, pos, key, expiry, 1, NewValue::string(&value));
            models[usize::from(db)].insert(key.clone(), (value, expiry));
            // The last ones of some are waited for, those of others are not.
            if batch.is_full() || random.below(5000) == 0 || n + 1 == keys.len() {
                assert!(!batch.is_empty());
                std::mem::take(&mut batch).settle(&mut keyspace);
            }
        }
        for (at, model) in models.iter().enumerate() {
            let db = keyspace.db(at);
            db.verify();
            assert_eq!(db.len(), model.len());
            let expire = model.values().filter(|(_, expiry)| expiry.is_some());
            assert_eq!(db.expires(), expire.count());
            for (key, (value, expiry)) in model {
                let entry = db.lookup(db.hasher().pos(key), key, 0).live();
                let entry = entry.expect("it was put there");
                assert_eq!((&text(&entry), entry.expiry()), (value, *expiry));
            }
        }
        keyspace.clear();
        while keyspace.free_some(1000) {}
    }
}
