//! What the differential tests cannot see: active expiry, large hashes, chance.

use crate::command::fixture::Fixture;
use std::collections::BTreeMap;

fn background(fixture: &mut Fixture) {
    let mut slices = 0;
    while fixture.shard.background_in_ms() == Some(0) {
        fixture.shard.background();
        slices += 1;
        assert!(slices < 10_000, "it comes to an end");
    }
}

#[test]
fn fields_expire_actively_in_both_forms() {
    for fields in [3, 1_000] {
        let mut fixture = Fixture::new();
        for n in 0..fields {
            fixture.run(&format!("HSET h f{n} v"));
        }
        assert_eq!(fixture.shard.background_in_ms(), None);
        for n in 1..fields {
            let at = 1_000_100 + n % 2 * 100;
            fixture.run(&format!("HPEXPIREAT h {at} FIELDS 1 f{n}"));
        }
        assert_eq!(fixture.shard.background_in_ms(), Some(100));
        fixture.shard.now_ms += 100;
        background(&mut fixture);
        let left = 1 + fields / 2;
        assert_eq!(fixture.run("HLEN h"), format!(":{left}"));
        assert_eq!(fixture.shard.background_in_ms(), Some(100));
        fixture.shard.now_ms += 100;
        background(&mut fixture);
        assert_eq!(fixture.run("HGETALL h"), "*2 $2 f0 $1 v");
        assert_eq!(fixture.shard.background_in_ms(), None);
        assert_eq!(fixture.shard.stats.expired_fields, fields - 1);
        fixture.run("HPEXPIRE h 5 FIELDS 1 f0");
        fixture.shard.now_ms += 1_000;
        background(&mut fixture);
        assert_eq!(fixture.run("EXISTS h"), ":0");
        fixture.shard.keyspace.verify();
    }
}

#[test]
fn expiries_travel_with_the_value() {
    let mut fixture = Fixture::new();
    fixture.run("HSETEX h PX 500 FIELDS 1 f v");
    fixture.run("HSET h g v");
    fixture.run("RENAME h other");
    fixture.run("COPY other copy");
    fixture.run("PEXPIRE copy 100000");
    fixture.run("PERSIST copy");
    fixture.shard.now_ms += 1_000;
    background(&mut fixture);
    assert_eq!(fixture.run("HLEN other"), ":1");
    assert_eq!(fixture.run("HLEN copy"), ":1");
}

#[test]
fn a_block_that_an_entry_cannot_hold_is_still_a_listpack() {
    let mut fixture = Fixture::new();
    let mut config = (*fixture.shard.config).clone();
    config.hash_max_listpack_entries = 1 << 20;
    config.hash_max_listpack_value = 1 << 20;
    fixture.shard.config = config.into();
    let long = "v".repeat(1_000);
    for n in 0..100 {
        fixture.run(&format!("HSET h f{n} {long}"));
    }
    assert_eq!(fixture.run("OBJECT ENCODING h"), "$8 listpack");
    fixture.run("HEXPIRE h 100 FIELDS 1 f7");
    assert_eq!(fixture.run("OBJECT ENCODING h"), "$10 listpackex");
    let very_long = "w".repeat(100_000);
    fixture.run(&format!("HSET one f {very_long}"));
    assert_eq!(fixture.run("OBJECT ENCODING one"), "$8 listpack");
    assert_eq!(fixture.run("HSTRLEN one f"), ":100000");
    let longer = "w".repeat((1 << 20) + 1);
    fixture.run(&format!("HSET one f {longer}"));
    assert_eq!(fixture.run("OBJECT ENCODING one"), "$9 hashtable");
    // A block that has room for its fields and not for their expiries.
    for n in 0..7_000 {
        fixture.run(&format!("HSET many {n} v{n}"));
    }
    fixture.run("HEXPIRE many 100 FIELDS 1 5");
    assert_eq!(fixture.run("OBJECT ENCODING many"), "$10 listpackex");
    assert_eq!(fixture.run("HTTL many FIELDS 2 5 6"), "*2 :100 :-1");
    assert_eq!(fixture.run("HLEN many"), ":7000");
}

#[test]
fn draws_are_fair_and_distinct() {
    for fields in [10usize, 2_000] {
        let mut fixture = Fixture::new();
        for n in 0..fields {
            fixture.run(&format!("HSET h f{n} v{n}"));
        }
        // Half of them have expired.
        for n in (0..fields).step_by(2) {
            fixture.run(&format!("HPEXPIRE h 1 FIELDS 1 f{n}"));
        }
        fixture.shard.now_ms += 1;
        let mut counts = BTreeMap::new();
        let draws = 40 * fields;
        let reply = fixture.run(&format!("HRANDFIELD h -{draws}"));
        for field in reply.split(' ').filter(|word| word.starts_with('f')) {
            *counts.entry(field.to_owned()).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), fields / 2, "each that is left is drawn");
        assert!(counts.values().all(|n| (20..200).contains(n)), "{counts:?}");
        for count in [1, fields / 20, fields / 3, fields] {
            let reply = fixture.run(&format!("HRANDFIELD h {count} WITHVALUES"));
            let words: Vec<_> = reply.split(' ').skip(1).skip(1).step_by(2).collect();
            let pairs: BTreeMap<_, _> = words.chunks(2).map(|pair| (pair[0], pair[1])).collect();
            assert_eq!(pairs.len(), count.min(fields / 2));
            assert!(pairs.iter().all(|(f, v)| f[1..] == v[1..]));
        }
    }
}
