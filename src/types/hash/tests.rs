//! Both forms against std's map, from seeds.

use super::*;
use crate::keyspace::{Hasher, Object};
use crate::types::packed;
use std::collections::BTreeMap;

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn text(&mut self, of: u64) -> Vec<u8> {
        let n = self.below(of);
        match n % 3 {
            0 => n.to_string().into_bytes(),
            1 => format!("field:{n}").into_bytes(),
            _ => vec![b'a' + (n % 26) as u8; (n % 400) as usize],
        }
    }
}

fn contents(hash: HashRef<'_>, now: u64) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut all = BTreeMap::new();
    hash.for_each(now, |field, value| {
        let old = all.insert(field.to_vec(), value.to_vec());
        assert!(old.is_none(), "a field stands there twice");
    });
    assert_eq!(hash.live_len(now), all.len());
    all
}

fn live(model: &Model, now: u64) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let live = model
        .iter()
        .filter(|(_, (_, expiry))| !expired(*expiry, now));
    live.map(|(field, (value, _))| (field.clone(), value.clone()))
        .collect()
}

fn compare(hash: HashRef<'_>, model: &Model, now: u64) {
    assert_eq!(hash.len(), model.len());
    assert_eq!(contents(hash, now), live(model, now));
    assert_eq!(contents(hash, 0).len(), model.len());
    for (field, (value, expiry)) in model {
        let is_live = !expired(*expiry, now);
        assert_eq!(hash.expiry(field, now), is_live.then_some(*expiry));
        let found = hash.get(field, now).map(|value| value.to_vec());
        assert_eq!(found, is_live.then(|| value.clone()));
    }
}

/// Removes what a step of active expiry removed of the hash.
fn drop_gone(hash: HashRef<'_>, model: &mut Model, now: u64) {
    model.retain(|field, (_, expiry)| !expired(*expiry, now) || hash.get(field, 0).is_some());
}

#[test]
fn a_table_is_a_map() {
    for seed in 0..2 {
        let mut random = Random(seed);
        let mut table = Table::new(Hasher::new([seed, 1]), false);
        let mut model = Model::new();
        let mut now = 1000;
        for step in 0..30_000u64 {
            // Grows first, then shrinks.
            let grows = step % 10_000 < 6_000;
            let field = random.text(6_000);
            match random.below(10) {
                0..=4 if grows => {
                    let value = random.text(1_000);
                    let ttl = [Ttl::Keep, Ttl::Clear, Ttl::At(now + random.below(4_000))];
                    let ttl = ttl[random.below(3) as usize];
                    let old = model.get(&field).map(|(_, expiry)| *expiry);
                    let is_new = old.is_none_or(|expiry| expired(expiry, now));
                    assert_eq!(table.set(&field, &value, ttl, now), is_new);
                    let kept = old.flatten().filter(|_| !is_new);
                    model.insert(field, (value, ttl.after(kept)));
                }
                5 => {
                    if let Some((_, expiry)) = model.get_mut(&field) {
                        *expiry = (random.below(2) == 0).then(|| now + random.below(4_000));
                        table.set_expiry(&field, *expiry);
                    }
                }
                6 => {
                    now += random.below(3);
                    let most = random.below(10) as usize;
                    let due = table.expired_len(now);
                    assert_eq!(table.remove_expired(now, most, |_| ()), due.min(most));
                    drop_gone(HashRef::Table(&table), &mut model, now);
                }
                _ => {
                    let old = model.get(&field).map(|(_, expiry)| *expiry);
                    let is_live = old.is_some_and(|expiry| !expired(expiry, now));
                    assert_eq!(table.remove(&field, now), is_live);
                    if is_live {
                        model.remove(&field);
                    }
                }
            }
            if step % 3_000 == 0 {
                table.verify();
                compare(HashRef::Table(&table), &model, now);
                let due = model.values().filter_map(|(_, expiry)| *expiry).min();
                assert_eq!(Object::due(&table), due);
            }
        }
        let copy = table.duplicate();
        let copied = copy.as_any().downcast_ref().expect("a table");
        compare(HashRef::Table(copied), &model, now);
        let mut seen = BTreeMap::new();
        let mut cursor = 0;
        loop {
            cursor = table.scan(cursor, 7, |found| {
                seen.insert(found.field.to_vec(), found.value.to_vec());
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(seen, contents(HashRef::Table(&table), 0));
        while table.free_some(100) {}
    }
}

#[test]
fn a_block_is_a_map() {
    for seed in 0..6 {
        let mut random = Random(seed);
        let mut block = packed::EMPTY.to_vec();
        let mut model = Model::new();
        let mut now = 1000;
        for step in 0..3_000u64 {
            let field = random.text(60);
            let found = Small::new(Packed::new(&block)).find(Element::of(&field));
            assert_eq!(found.is_some(), model.contains_key(&field));
            match random.below(8) {
                0..=3 => {
                    let value = random.text(1_000);
                    let mut expiry = (random.below(3) == 0).then(|| now + random.below(100));
                    // Blocks of half of the seeds never have expiries, the others from a step on.
                    expiry = expiry.filter(|_| seed % 2 == 1 && step > 500);
                    if expiry.is_some() && !Packed::new(&block).mark() {
                        block = with_expiries(Small::new(Packed::new(&block)));
                    }
                    let at = Small::new(Packed::new(&block)).find(Element::of(&field));
                    let (key, element) = (Element::of(&field), Element::of(&value));
                    set(&mut block, at, key, element, expiry);
                    if let Some(ms) = expiry {
                        note_due(&mut block, ms);
                    }
                    model.insert(field, (value, expiry));
                }
                4 => {
                    let at = Small::new(Packed::new(&block)).find(Element::of(&field));
                    if let (Some(at), true) = (at, Packed::new(&block).mark()) {
                        let expiry = (random.below(2) == 0).then(|| now + random.below(100));
                        set_expiry(&mut block, at, expiry);
                        if let Some(ms) = expiry {
                            note_due(&mut block, ms);
                        }
                        model.get_mut(&field).expect("found").1 = expiry;
                    }
                }
                5 => {
                    now += random.below(5);
                    let due = |block: &[u8]| Small::new(Packed::new(block)).due();
                    let first = model.values().filter_map(|(_, expiry)| *expiry).min();
                    assert!(due(&block).unwrap_or(u64::MAX) <= first.unwrap_or(u64::MAX));
                    remove_expired(&mut block, now, random.below(3) as usize, |_| ());
                    drop_gone(
                        HashRef::Small(Small::new(Packed::new(&block))),
                        &mut model,
                        now,
                    );
                    let first = model.values().filter_map(|(_, expiry)| *expiry).min();
                    assert_eq!(due(&block), first, "it is exact now");
                }
                _ => {
                    if let Some(at) = found {
                        remove(&mut block, at);
                        model.remove(&field);
                    }
                }
            }
            if step % 50 != 0 {
                continue;
            }
            assert!(packed::is_sound(&block));
            compare(HashRef::Small(Small::new(Packed::new(&block))), &model, now);
        }
    }
}
