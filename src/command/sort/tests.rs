//! Sorting on one shard; over several it is compared with the reference server.
use super::*;
use crate::command::fixture::Fixture;

fn check(lines: &str) {
    let mut fixture = Fixture::new();
    for line in lines.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let (command, reply) = line.split_once(" -> ").expect("command -> reply");
        assert_eq!(fixture.run(command), reply, "{command}");
    }
}

#[test]
fn elements_are_sorted_by_what_is_asked() {
    check(
        "RPUSH l 3 1 10 2 -> :4
         SORT l -> *4 $1 1 $1 2 $1 3 $2 10
         SORT l DESC LIMIT 1 2 -> *2 $1 3 $1 2
         SORT l ALPHA -> *4 $1 1 $2 10 $1 2 $1 3
         MSET w_1 9 w_2 8 w_3 7 w_10 6 o_1 a o_2 b -> +OK
         SORT l BY w_* -> *4 $2 10 $1 3 $1 2 $1 1
         SORT l BY w_* GET # GET o_* GET x -> *12 $2 10 $-1 $-1 $1 3 $-1 $-1 $1 2 $1 b $-1 $1 1 $1 a $-1
         SORT l BY nosort DESC LIMIT 0 2 -> *2 $1 2 $2 10
         SORT l BY o_* ALPHA DESC LIMIT 0 2 -> *2 $1 2 $1 1
         SORT l GET o_* STORE d -> :4
         LRANGE d 0 -1 -> *4 $1 a $1 b $0  $0 
         SORT none STORE d -> :0
         EXISTS d -> :0
         ZADD z 5 a 4 b 3 c -> :3
         SORT z BY nosort -> *3 $1 c $1 b $1 a
         SORT z BY nosort DESC LIMIT 0 1 -> *1 $1 a
         SORT z -> -ERR One or more scores can't be converted into double",
    );
}

#[test]
fn keys_that_patterns_lead_to_are_found() {
    let mut fixture = Fixture::new();
    fixture.run("SADD s 1 2");
    let line: Vec<&[u8]> = b"SORT s BY w_* GET h_*->f GET #"
        .split(|b| *b == b' ')
        .collect();
    let mut keys = derived_keys(&fixture.shard, 0, &line);
    keys.sort();
    let wanted: [&[u8]; 4] = [b"h_1", b"h_2", b"w_1", b"w_2"];
    assert!(keys.iter().map(|key| &**key).eq(wanted));
    assert!(looks_up(&COMMANDS[0], &line));
    assert!(!looks_up(
        &COMMANDS[0],
        &[b"SORT", b"s", b"BY", b"nosort", b"GET", b"#"]
    ));
    assert!(!looks_up(
        &COMMANDS[1],
        &[b"SORT_RO", b"s", b"BY", b"w_*", b"STORE", b"d"]
    ));
}
