//! Models of the table against the standard library's collections.
use super::*;
use std::collections::{BTreeMap, HashMap, HashSet};

fn hasher() -> Hasher {
    Hasher::new([5, 6])
}

fn drawn(seed: u64) -> impl FnMut() -> u64 {
    let mut rng = fastrand::Rng::with_seed(seed);
    move || rng.u64(..)
}

/// A key of any of the lengths that are stored differently.
fn key(random: &mut fastrand::Rng, keys: usize) -> Vec<u8> {
    let number = random.usize(..keys);
    let mut key = format!("{number}:").into_bytes();
    let len = match number % 50 {
        0 => 249 + number % 5,
        1 => 1000,
        n => n,
    };
    key.resize(len.max(key.len()), b'x');
    if number == 7 { Vec::new() } else { key }
}

#[test]
fn a_map_agrees_with_the_model() {
    for (seed, keys) in [(1, 20), (2, 300), (3, 5000), (4, 30_000)] {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut map = MemberMap::new(hasher());
        let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for step in 0..keys * 8 {
            // First it mostly grows, then it mostly shrinks.
            let grows = step < keys * 4;
            let key = key(&mut random, keys);
            if random.u8(..10) < if grows { 7 } else { 2 } {
                let payload = vec![step as u8; random.usize(..20) * random.usize(..20)];
                let is_new = map.set(&key, &payload);
                assert_eq!(is_new, model.insert(key, payload).is_none());
            } else {
                assert_eq!(map.remove(&key), model.remove(&key).is_some());
            }
            if step % (keys / 2) == 0 {
                map.verify();
            }
        }
        map.verify();
        assert_eq!(map.len(), model.len());
        let found: BTreeMap<_, _> = map
            .iter()
            .map(|e| (e.key.to_vec(), e.payload.to_vec()))
            .collect();
        assert_eq!(found, model, "seed {seed}");
        for (key, payload) in &model {
            assert_eq!(map.get(key), Some(&payload[..]));
        }
        let copy = map.clone();
        for key in model.keys() {
            assert!(map.remove(key));
        }
        map.verify();
        assert_eq!((map.len(), map.segments), (0, 1));
        assert_eq!(copy.len(), model.len());
    }
}

#[test]
fn a_set_agrees_with_the_model_and_payloads_change_in_place() {
    let mut random = fastrand::Rng::with_seed(9);
    let mut set = MemberSet::new(hasher());
    let mut model = HashSet::new();
    for _ in 0..40_000 {
        let key = key(&mut random, 9000);
        assert_eq!(set.insert(&key), model.insert(key));
    }
    set.verify();
    assert!(model.iter().all(|key| set.contains(key)));
    assert!(!set.contains(b"not there"));
    let mut map = MemberMap::new(hasher());
    for (key, len) in [(&b"short"[..], 8), (b"long", 8000)] {
        map.set(key, &vec![0; len]);
        let at = map.find(key).expect("it is there");
        map.payload_mut(at)[len - 1] = 3;
        assert_eq!(map.get(key).and_then(|p| p.last()), Some(&3));
    }
    map.verify();
}

#[test]
fn a_scan_sees_what_stays_whatever_comes_and_goes() {
    for seed in 0..6 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut set = MemberSet::new(hasher());
        let stays: Vec<Vec<u8>> = (0..700)
            .map(|n| format!("stays:{n}").into_bytes())
            .collect();
        stays.iter().for_each(|key| assert!(set.insert(key)));
        let others = if seed % 2 == 0 { 20_000 } else { 300 };
        let other = |n: usize| format!("other:{n}").into_bytes();
        if seed % 3 == 0 {
            (0..others).for_each(|n| assert!(set.insert(&other(n))));
        }
        let (mut cursor, mut seen) = (0, HashMap::new());
        loop {
            cursor = set.scan(cursor, 10, |e| {
                *seen.entry(e.key.to_vec()).or_insert(0) += 1
            });
            if cursor == 0 {
                break;
            }
            for _ in 0..random.usize(..200) {
                let key = other(random.usize(..others));
                if seed % 3 == 0 || random.u8(..4) == 0 {
                    set.remove(&key);
                } else {
                    set.insert(&key);
                }
            }
        }
        set.verify();
        for key in &stays {
            assert_eq!(seen.get(key), Some(&1), "seed {seed}");
        }
    }
}

#[test]
fn a_scan_visits_as_many_as_asked() {
    let mut set = MemberSet::new(hasher());
    (0..10_000).for_each(|n| assert!(set.insert(format!("{n}").as_bytes())));
    let (mut cursor, mut calls) = (0, 0);
    loop {
        let mut visited = 0;
        cursor = set.scan(cursor, 10, |_| visited += 1);
        assert!(visited <= 11);
        calls += 1;
        if cursor == 0 {
            break;
        }
    }
    assert!((1000..1100).contains(&calls), "{calls}");
    assert_eq!(set.scan(u64::MAX, 10, |_| panic!("nothing is there")), 0);
}

#[test]
fn draws_are_even() {
    for len in [1usize, 50, 2000] {
        let mut set = MemberSet::new(hasher());
        (0..len).for_each(|n| assert!(set.insert(&n.to_le_bytes())));
        let mut random = drawn(3);
        let mut counts = vec![0f64; len];
        const EACH: usize = 200;
        for _ in 0..len * EACH {
            let at = set.draw(&mut random).expect("there are some");
            let key = set.at(at).key.try_into().expect("8 bytes");
            counts[usize::from_le_bytes(key)] += 1.0;
        }
        let expected = EACH as f64;
        let chi2: f64 = counts
            .iter()
            .map(|n| (n - expected).powi(2) / expected)
            .sum();
        // Five standard deviations of chi-squared with len - 1 degrees of freedom.
        let bound = len as f64 + 5.0 * (2.0 * len as f64).sqrt();
        assert!(chi2 < bound, "{len}: {chi2}");
    }
    assert_eq!(MemberSet::new(hasher()).draw(drawn(1)), None);
}

#[test]
fn draws_empty_the_table() {
    let mut set = MemberSet::new(hasher());
    (0..5000u32).for_each(|n| assert!(set.insert(&n.to_le_bytes())));
    let mut random = drawn(8);
    while let Some(at) = set.draw(&mut random) {
        set.remove_at(at);
        if set.len().is_multiple_of(500) {
            set.verify();
        }
    }
    assert!(set.is_empty());
}

#[test]
fn a_member_of_16_bytes_takes_less_than_38_and_a_field_less_than_52() {
    let mut set = MemberSet::new(hasher());
    let mut map = MemberMap::new(hasher());
    let count = 200_000;
    for n in 0..count {
        let key = format!("member:{n:09}");
        set.insert(key.as_bytes());
        map.set(key.as_bytes(), b"12345678");
        if n > 100_000 && n % 10_000 == 0 {
            let each = |bytes: usize| bytes as f64 / set.len() as f64;
            assert!(each(set.heap_bytes()) < 26.0, "{}", each(set.heap_bytes()));
            assert!(each(map.heap_bytes()) < 36.0, "{}", each(map.heap_bytes()));
        }
    }
}

#[test]
fn it_is_freed_in_slices() {
    let mut map = MemberMap::new(hasher());
    (0..10_000).for_each(|n: u32| {
        map.set(&n.to_le_bytes(), &[0; 300]);
    });
    let mut slices = 1;
    while map.free_some(100) {
        slices += 1;
    }
    assert!((70..200).contains(&slices), "{slices}");
}
