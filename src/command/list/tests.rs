//! Long runs against a model, and forms at the limits, which the reference names otherwise.
use crate::command::fixture::Fixture;
use std::collections::VecDeque;

/// A reply of elements, as words.
fn elements(reply: &str) -> Vec<String> {
    reply
        .split(' ')
        .skip(2)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn commands_agree_with_a_model_in_both_forms() {
    for (seed, usual) in [(1u64, 10usize), (2, 300), (3, 4000)] {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut fixture = Fixture::new();
        let mut model: VecDeque<String> = VecDeque::new();
        for step in 0..6000 {
            let grows = model.len() < usual;
            let value = match random.u8(..3) {
                0 => random.u32(..50).to_string(),
                _ => format!("v{}", "x".repeat(random.usize(..90))),
            };
            let index = random.usize(..model.len() + 2);
            match random.u8(..12) {
                0..3 if grows => {
                    fixture.run(&format!("LPUSH l {value} {value}1"));
                    model.push_front(value.clone());
                    model.push_front(format!("{value}1"));
                }
                3..6 if grows => {
                    fixture.run(&format!("RPUSH l {value}"));
                    model.push_back(value);
                }
                6 => {
                    let reply = fixture.run("LPOP l");
                    let popped = model.pop_front();
                    assert_eq!(reply.split(' ').nth(1), popped.as_deref());
                }
                7 => {
                    let count = random.usize(1..if grows { 2 } else { 40 });
                    let reply = fixture.run(&format!("RPOP l {count}"));
                    let popped: Vec<_> = (0..count).filter_map(|_| model.pop_back()).collect();
                    assert_eq!(elements(&reply), popped);
                }
                8 => {
                    let reply = fixture.run(&format!("LSET l {index} {value}"));
                    match model.get_mut(index) {
                        Some(element) => *element = value,
                        None => assert!(reply.starts_with("-ERR"), "{reply}"),
                    }
                }
                9 => {
                    let found = model.iter().position(|e| *e == value);
                    let reply = fixture.run(&format!("LINSERT l AFTER {value} new"));
                    match found {
                        Some(at) => model.insert(at + 1, "new".into()),
                        None => assert!(reply == ":-1" || reply == ":0", "{reply}"),
                    }
                }
                10 => {
                    let reply = fixture.run(&format!("LREM l 0 {value}"));
                    let before = model.len();
                    model.retain(|e| *e != value);
                    assert_eq!(reply, format!(":{}", before - model.len()));
                }
                _ => {
                    let reply = fixture.run(&format!("LRANGE l {index} {}", index + 20));
                    let wanted: Vec<_> = model.iter().skip(index).take(21).cloned().collect();
                    assert_eq!(elements(&reply), wanted);
                    let reply = fixture.run(&format!("LINDEX l {index}"));
                    assert_eq!(reply.split(' ').nth(1), model.get(index).map(|e| &e[..]));
                }
            }
            if step % 500 == 0 {
                assert_eq!(fixture.run("LLEN l"), format!(":{}", model.len()));
                let all = elements(&fixture.run("LRANGE l 0 -1"));
                assert!(all.iter().eq(model.iter()));
            }
        }
        let (from, to) = (model.len() / 3, model.len() / 2);
        fixture.run(&format!("LTRIM l {from} {to}"));
        let all = elements(&fixture.run("LRANGE l 0 -1"));
        assert!(all.iter().eq(model.iter().skip(from).take(to + 1 - from)));
        fixture.shard.keyspace.verify();
    }
}

#[test]
fn forms_change_at_the_limits() {
    let mut fixture = Fixture::new();
    let encoding = |fixture: &mut Fixture| fixture.encoding("l").unwrap_or("listpack");
    let element = "x".repeat(98);
    // 100 bytes each in a listpack; 7 for its head and end.
    for _ in 0..81 {
        fixture.run(&format!("RPUSH l {element}"));
    }
    assert_eq!(encoding(&mut fixture), "listpack");
    fixture.run(&format!("RPUSH l {element}"));
    assert_eq!(encoding(&mut fixture), "quicklist");
    while fixture.run("LLEN l") != ":41" {
        assert_eq!(encoding(&mut fixture), "quicklist");
        fixture.run("LPOP l");
    }
    fixture.run("LPOP l");
    assert_eq!(encoding(&mut fixture), "listpack");
    fixture.run(&format!("LSET l 0 {}", "y".repeat(9000)));
    assert_eq!(encoding(&mut fixture), "quicklist");
    fixture.run("LSET l 0 y");
    fixture.run("LTRIM l 0 2");
    assert_eq!(encoding(&mut fixture), "listpack");
    fixture.shard.keyspace.verify();
}

#[test]
fn lpos_counts_from_either_end() {
    let mut fixture = Fixture::new();
    fixture.run("RPUSH l a b c d 1 2 3 4 3 3 3");
    for (command, reply) in [
        ("LPOS l 3", ":6"),
        ("LPOS l 3 COUNT 0 RANK 2", "*3 :8 :9 :10"),
        ("LPOS l 3 COUNT 0 RANK -1", "*4 :10 :9 :8 :6"),
        ("LPOS l 3 COUNT 0 MAXLEN 7", "*1 :6"),
        ("LPOS l 3 COUNT 0 RANK -1 MAXLEN 2", "*2 :10 :9"),
        ("LPOS l 3 RANK -5", "$-1"),
        ("LPOS l x COUNT 1", "*0"),
    ] {
        assert_eq!(fixture.run(command), reply, "{command}");
    }
}
