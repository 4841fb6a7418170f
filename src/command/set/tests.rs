//! What the reference server cannot tell: forms at the limits, chance, and long runs against a model.
use crate::command::fixture::Fixture;
use std::collections::BTreeSet;

/// The members in an SMEMBERS reply of words.
fn members(reply: &str) -> BTreeSet<String> {
    let mut words = reply.split(' ').skip(1);
    let mut found = BTreeSet::new();
    while let Some(head) = words.next() {
        assert!(head.starts_with('$'), "{head}");
        assert!(
            found.insert(words.next().expect("a member").to_owned()),
            "twice"
        );
    }
    found
}

#[test]
fn forms_change_at_the_limits() {
    let mut fixture = Fixture::new();
    let encoding = |fixture: &mut Fixture| {
        fixture
            .run_args(&[b"OBJECT", b"ENCODING", b"s"])
            .split(|b| *b == b'\n')
            .nth(1)
            .map(|line| String::from_utf8_lossy(line).trim_end().to_owned())
            .unwrap_or_default()
    };
    for n in 0..512 {
        fixture.run(&format!("SADD s {n}"));
    }
    assert_eq!(encoding(&mut fixture), "intset");
    fixture.run("SADD s 512");
    assert_eq!(encoding(&mut fixture), "hashtable");
    fixture.run("SPOP s 600");
    fixture.run("SADD s 1");
    fixture.run("SADD s x");
    assert_eq!(encoding(&mut fixture), "listpack");
    for n in 0..126 {
        fixture.run(&format!("SADD s w{n}"));
    }
    assert_eq!(encoding(&mut fixture), "listpack");
    fixture.run("SADD s one-more");
    assert_eq!(encoding(&mut fixture), "hashtable");
    assert_eq!(fixture.run("SCARD s"), ":129");
    fixture.run("SPOP s 600");
    fixture.run(&format!("SADD s {}", "x".repeat(65)));
    assert_eq!(encoding(&mut fixture), "hashtable");
    fixture.run("SPOP s");
    assert_eq!(encoding(&mut fixture), "");
    fixture.run("SADD s 1 2 3 a");
    assert_eq!(encoding(&mut fixture), "listpack");
    fixture.shard.keyspace.verify();
}

#[test]
fn commands_agree_with_a_model_in_every_form() {
    for (seed, keys) in [(1u64, 30), (2, 300), (3, 3000)] {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut fixture = Fixture::new();
        let mut model = BTreeSet::new();
        for step in 0..keys * 6 {
            let n = random.usize(..keys);
            let member = match (seed + step as u64 / keys as u64) % 2 {
                0 => n.to_string(),
                _ => format!("member:{n}"),
            };
            match random.u8(..10) {
                0..5 => {
                    let is_new = model.insert(member.clone());
                    let reply = fixture.run(&format!("SADD s {member}"));
                    assert_eq!(reply, format!(":{}", u8::from(is_new)));
                }
                5..8 => {
                    let was = model.remove(&member);
                    let reply = fixture.run(&format!("SREM s {member}"));
                    assert_eq!(reply, format!(":{}", u8::from(was)));
                }
                8 => {
                    let reply = fixture.run(&format!("SISMEMBER s {member}"));
                    assert_eq!(reply, format!(":{}", u8::from(model.contains(&member))));
                }
                _ => {
                    let popped = fixture.run("SPOP s 2");
                    for member in members(&popped) {
                        assert!(model.remove(&member), "{member} was popped");
                    }
                }
            }
            if step % keys == 0 {
                assert_eq!(members(&fixture.run("SMEMBERS s")), model);
                assert_eq!(fixture.run("SCARD s"), format!(":{}", model.len()));
            }
        }
        fixture.shard.keyspace.verify();
    }
}

#[test]
fn algebra_agrees_with_a_model() {
    let mut random = fastrand::Rng::with_seed(5);
    let mut fixture = Fixture::new();
    for _ in 0..150 {
        let mut sets: Vec<BTreeSet<String>> = Vec::new();
        for key in ["a", "b", "c"] {
            fixture.run(&format!("DEL {key}"));
            let count = [0, 5, 100, 1500][random.usize(..4)];
            let words = random.bool();
            let mut set = BTreeSet::new();
            for _ in 0..count {
                let n = random.usize(..count * 2);
                set.insert(if words && n.is_multiple_of(2) {
                    format!("w{n}")
                } else {
                    n.to_string()
                });
            }
            for member in &set {
                fixture.run(&format!("SADD {key} {member}"));
            }
            sets.push(set);
        }
        let [a, b, c] = &sets[..] else {
            unreachable!("three sets")
        };
        let inter: BTreeSet<String> = a
            .iter()
            .filter(|m| b.contains(*m) && c.contains(*m))
            .cloned()
            .collect();
        let union: BTreeSet<String> = a | &(b | c);
        let diff: BTreeSet<String> = &(a - b) - c;
        for (name, wanted) in [("INTER", inter), ("UNION", union), ("DIFF", diff)] {
            assert_eq!(members(&fixture.run(&format!("S{name} a b c"))), wanted);
            let stored = fixture.run(&format!("S{name}STORE d a b c"));
            assert_eq!(stored, format!(":{}", wanted.len()));
            assert_eq!(members(&fixture.run("SMEMBERS d")), wanted);
            if name == "INTER" {
                assert_eq!(
                    fixture.run("SINTERCARD 3 a b c"),
                    format!(":{}", wanted.len())
                );
            }
        }
    }
    fixture.shard.keyspace.verify();
}

#[test]
fn a_scan_goes_through_a_large_set() {
    let mut fixture = Fixture::new();
    for n in 0..5000 {
        fixture.run(&format!("SADD s member:{n}"));
    }
    let (mut cursor, mut seen) = ("0".to_owned(), BTreeSet::new());
    loop {
        let reply = fixture.run(&format!("SSCAN s {cursor} COUNT 50"));
        let words: Vec<&str> = reply.split(' ').collect();
        cursor = words[2].to_owned();
        seen.extend(members(&words[3..].join(" ")));
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), 5000);
}
