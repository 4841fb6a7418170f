//! Whatever removes a large value leaves it to be freed in slices.
use super::fixture::Fixture;

/// Elements of each value: more than may be freed at once, whatever it is made of.
const ELEMENTS: usize = 10_000;
/// Steps of a slice here.
const BUDGET: usize = 16;

/// A large value under `big`.
fn fill(fixture: &mut Fixture, kind: &str) {
    let element = |n: usize| match kind {
        "HSET" => format!("{n} field:{n} value"),
        "ZADD" => format!("{n} {n} member:{n}"),
        _ => format!("{n} element:{n}:{}", "x".repeat(90)),
    };
    for n in 0..ELEMENTS {
        let element = element(n);
        let (_, words) = element.split_once(' ').expect("a number first");
        match kind {
            "XADD" => fixture.run(&format!("XADD big {}-1 field {words}", n + 1)),
            _ => fixture.run(&format!("{kind} big {words}")),
        };
    }
}

#[test]
fn what_removes_a_large_value_frees_it_in_slices() {
    for kind in ["HSET", "SADD", "ZADD", "RPUSH", "XADD"] {
        for remover in [
            "DEL big",
            "UNLINK big",
            "PEXPIREAT big 1",
            "SET big value",
            "MSET other value big value",
            "RENAME text big",
            "COPY text big REPLACE",
            "BITOP OR big text text",
            "SUNIONSTORE big set",
            "SINTERSTORE big set missing",
            "ZUNIONSTORE big 1 board",
            "ZRANGESTORE big board 0 -1",
            "GEOSEARCHSTORE big board FROMMEMBER a BYRADIUS 1 km",
            "SORT set ALPHA STORE big",
            "EXISTS big",
        ] {
            let mut fixture = Fixture::new();
            fixture.run("SET text value");
            fixture.run("SADD set a b");
            fixture.run("ZADD board 1 a 2 b");
            fill(&mut fixture, kind);
            if remover == "EXISTS big" {
                assert_eq!(fixture.run("PEXPIRE big 10"), ":1");
                fixture.shard.now_ms += 11;
            }
            let reply = fixture.run(remover);
            assert!(!reply.starts_with('-'), "{remover}: {reply}");
            let keyspace = &mut fixture.shard.keyspace;
            assert_eq!(keyspace.lazy_pending(), 1, "{remover} after {kind}");
            let mut slices = 1;
            while keyspace.free_some(BUDGET) {
                slices += 1;
            }
            assert!(slices > 3, "{remover} after {kind}: {slices} slices");
            assert_eq!(keyspace.lazy_pending(), 0);
        }
    }
}
