//! Against a model: a BTreeSet in the same order, and a HashMap.
use super::*;
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

#[derive(Clone, PartialEq, Debug)]
struct Entry(f64, Vec<u8>);

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        order((self.0, &self.1), (other.0, &other.1))
    }
}

#[derive(Default)]
struct Model {
    order: BTreeSet<Entry>,
    scores: HashMap<Vec<u8>, f64>,
}

impl Model {
    fn set(&mut self, member: &[u8], score: f64) {
        if let Some(old) = self.scores.insert(member.to_vec(), score) {
            self.order.remove(&Entry(old, member.to_vec()));
        }
        self.order.insert(Entry(score, member.to_vec()));
    }

    fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let old = self.scores.remove(member)?;
        self.order.remove(&Entry(old, member.to_vec()));
        Some(old)
    }
}

fn seeds() -> impl Iterator<Item = u64> {
    let base = match std::env::var("RINGDOVE_TEST_SEED") {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => 1,
    };
    base..base + 6
}

fn new_set(seed: u64) -> SortedSet {
    SortedSet::new(Hasher::new([seed, 7]))
}

/// Members of many lengths, some of them longer than a leaf packs.
fn member(n: u64) -> Vec<u8> {
    let mut bytes = format!("member:{n}").into_bytes();
    if n.is_multiple_of(97) {
        bytes.resize(bytes.len() + (n % 1000) as usize, b'x');
    }
    bytes
}

fn same(set: &SortedSet, model: &Model) {
    set.verify();
    assert_eq!(set.len(), model.order.len());
    let upwards = set.ascend(0).map(|(s, m)| Entry(s, m.to_vec()));
    assert!(upwards.eq(model.order.iter().cloned()));
    let downwards = set
        .descend(set.len().wrapping_sub(1))
        .map(|(s, m)| Entry(s, m.to_vec()));
    assert!(downwards.eq(model.order.iter().rev().cloned()));
}

/// Random changes; scores from a range of `scores`, members from a range of `members`.
fn play(seed: u64, steps: usize, members: u64, scores: u64, grows: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut set, mut model) = (new_set(seed), Model::default());
    for step in 0..steps {
        let name = member(rng.u64(0..members));
        let score = rng.u64(0..scores) as f64 - 10.0;
        // The set grows and shrinks in turn.
        let growing = (step as u64 / grows).is_multiple_of(2);
        match rng.u32(0..10) {
            0..=5 if growing => {
                assert_eq!(set.set(&name, score), model.scores.get(&name).copied());
                model.set(&name, score);
            }
            6..=7 => {
                if let Some(found) = set.find(&name) {
                    let score = found.score + rng.u32(0..5) as f64 - 2.0;
                    set.rescore(found, &name, score);
                    model.set(&name, score);
                } else {
                    assert!(!model.scores.contains_key(&name));
                }
            }
            8 if !growing && !set.is_empty() => {
                let from = rng.usize(0..set.len());
                let count = rng.usize(0..20);
                let mut gone = Vec::new();
                set.remove_range(from, count, |(_, m)| gone.push(m.to_vec()));
                let expected: Vec<_> = model.order.iter().skip(from).take(count).cloned().collect();
                assert_eq!(gone.len(), expected.len());
                for (gone, Entry(_, expected)) in gone.iter().zip(&expected) {
                    assert_eq!(gone, expected);
                    model.remove(gone);
                }
            }
            _ => assert_eq!(set.remove(&name), model.remove(&name)),
        }
        if step % (steps / 20).max(1) == 0 {
            same(&set, &model);
        }
    }
    same(&set, &model);
    // Emptied from either end.
    while !set.is_empty() {
        let rank = if rng.bool() { 0 } else { set.len() - 1 };
        let (_, member) = set.at(rank);
        model.remove(member);
        set.remove_range(rank, 1, |_| ());
        if set.len().is_multiple_of(500) {
            same(&set, &model);
        }
    }
    assert!(model.scores.is_empty());
    set.verify();
}

#[test]
fn agrees_with_a_model() {
    for seed in seeds() {
        eprintln!("RINGDOVE_TEST_SEED={seed}");
        play(seed, 2_000, 50, 20, 300);
        play(seed, 10_000, 3_000, 100_000, 3_000);
        play(seed, 10_000, 3_000, 3, 3_000);
    }
}

#[test]
fn agrees_with_a_model_when_it_is_large() {
    play(9, 120_000, 40_000, 1_000_000, 60_000);
}

#[test]
fn counts_and_ranks_agree() {
    for seed in seeds() {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut set = new_set(seed);
        let mut model = Model::default();
        for n in 0..5_000 {
            let score = rng.u32(0..200) as f64;
            set.set(&member(n), score);
            model.set(&member(n), score);
        }
        for bound in -1..202 {
            let bound = f64::from(bound);
            let below = model.order.iter().filter(|e| e.0 < bound).count();
            assert_eq!(set.count_scores(|s| s < bound), below);
            let upto = model.order.iter().filter(|e| e.0 <= bound).count();
            assert_eq!(set.count_scores(|s| s <= bound), upto);
        }
        for (rank, entry) in model.order.iter().enumerate() {
            assert_eq!(set.at(rank), (entry.0, &entry.1[..]));
            let before = |e: Element<'_>| order(e, (entry.0, &entry.1)).is_lt();
            assert_eq!(set.count_where(before), rank);
        }
    }
}

#[test]
fn elements_in_order_fill_their_leaves() {
    for step in [1.0, -1.0] {
        let mut set = new_set(1);
        for n in 0..6_400 {
            set.set(&member(n), n as f64 * step);
        }
        set.verify();
        // Two inner nodes below a root.
        assert!((103..=105).contains(&set.tree.nodes()));
    }
}

#[test]
fn a_scan_shows_what_stays() {
    for seed in seeds() {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut set = new_set(seed);
        for n in 0..4_000 {
            set.set(&member(n), rng.f64());
        }
        let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut cursor = 0;
        let mut next_new = 10_000;
        let mut growing = true;
        loop {
            cursor = set.scan(cursor, 10, |(_, m)| {
                *seen.entry(m.to_vec()).or_default() += 1
            });
            if cursor == 0 {
                break;
            }
            for _ in 0..40 {
                if growing {
                    set.set(&member(next_new), rng.f64());
                    next_new += 1;
                } else if next_new > 10_000 {
                    next_new -= 1;
                    set.remove(&member(next_new));
                }
                // Elements that stay change their places.
                set.set(&member(rng.u64(0..4_000)), rng.f64());
            }
            growing = next_new < 10_000 || growing && next_new < 18_000;
        }
        for n in 0..4_000 {
            assert_eq!(seen.get(&member(n)), Some(&1), "{n}");
        }
        set.verify();
    }
}

#[test]
fn zeros_are_equal_and_infinities_are_ends() {
    let mut set = new_set(1);
    for (member, score) in [
        (&b"b"[..], 0.0),
        (b"a", -0.0),
        (b"c", f64::INFINITY),
        (b"d", f64::NEG_INFINITY),
    ] {
        set.set(member, score);
    }
    let members: Vec<&[u8]> = set.ascend(0).map(|(_, m)| m).collect();
    assert_eq!(members, [&b"d"[..], b"a", b"b", b"c"]);
    assert_eq!(set.set(b"b", -0.0), Some(0.0));
    assert_eq!(set.score(b"b").map(f64::to_bits), Some(0));
}

#[test]
fn it_is_freed_in_slices() {
    let mut set = new_set(1);
    for n in 0..20_000 {
        set.set(&member(n), (n * 7919 % 20_000) as f64);
    }
    assert!(set.free_effort() > 300);
    let mut slices = 0;
    while set.free_some(10) {
        slices += 1;
    }
    assert!(slices > 30);
}

#[test]
fn a_million_members_are_small() {
    let mut set = new_set(1);
    for n in 0..100_000u64 {
        let score = (n * 7919 % 1_000_003) as f64;
        set.set(format!("member:{n:09}").as_bytes(), score);
    }
    let each = set.heap_bytes() as f64 / set.len() as f64;
    assert!(each < 56.0, "{each} bytes a member");
}
