//! Both forms of a sorted set under the same commands; the rest is compared with redis-server.
use crate::command::fixture::Fixture;

/// Runs lines of `command -> reply`.
fn check(fixture: &mut Fixture, lines: &str) {
    for line in lines.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let (command, reply) = line.split_once(" -> ").expect("command -> reply");
        assert_eq!(fixture.run(command), reply, "{command}");
    }
}

const LINES: &str = "
    ZADD z 1 a 2 b 3 c -> :3
    ZADD z CH 5 a 6 d -> :2
    ZRANGE z 0 -1 WITHSCORES -> *8 $1 b $1 2 $1 c $1 3 $1 a $1 5 $1 d $1 6
    ZREVRANGE z 0 1 -> *2 $1 d $1 a
    ZRANK z a -> :2
    ZREVRANK z a WITHSCORE -> *2 :1 $1 5
    ZRANK z nobody WITHSCORE -> *-1
    ZRANK z a WITHSCORES -> -ERR syntax error
    ZADD z GT INCR -1 a -> $-1
    ZADD z LT INCR -4.5 a -> $3 0.5
    ZCOUNT z (0.5 3 -> :2
    ZRANGEBYSCORE z -inf +inf LIMIT 1 2 -> *2 $1 b $1 c
    ZRANGE z 3 (0 BYSCORE REV LIMIT 0 2 -> *2 $1 c $1 b
    ZPOPMIN z -> *2 $1 a $3 0.5
    ZMPOP 2 none z MAX COUNT 2 -> *2 $1 z *2 *2 $1 d $1 6 *2 $1 c $1 3
    ZSCAN z 0 -> *2 $1 0 *2 $1 b $1 2
    ZSCAN z 0 NOSCORES -> *2 $1 0 *1 $1 b
    ZREM z b -> :1
    EXISTS z -> :0
";

#[test]
fn both_forms_answer_alike() {
    let mut small = Fixture::new();
    check(&mut small, LINES);
    let mut large = Fixture::new();
    let mut config = (*large.shard.config).clone();
    config.zset_max_listpack_entries = 0;
    large.shard.config = std::sync::Arc::new(config);
    check(&mut large, LINES);
    large.run("ZADD z 1 a");
    assert_eq!(large.encoding("z"), Some("skiplist"));
}

#[test]
fn forms_change_at_the_limits() {
    let mut fixture = Fixture::new();
    for n in 0..128 {
        fixture.run(&format!("ZADD z {n} m{n}"));
    }
    assert_eq!(fixture.run("OBJECT ENCODING z"), "$8 listpack");
    fixture.run("ZADD z 5 m127");
    assert_eq!(fixture.run("OBJECT ENCODING z"), "$8 listpack");
    fixture.run("ZADD z 5 m128");
    assert_eq!(fixture.run("OBJECT ENCODING z"), "$8 skiplist");
    assert_eq!(fixture.run("ZCARD z"), ":129");
    fixture.run("ZRANGESTORE y z 0 127");
    assert_eq!(fixture.run("OBJECT ENCODING y"), "$8 listpack");
    let long = "x".repeat(65);
    fixture.run(&format!("ZADD y 5 {long}"));
    assert_eq!(fixture.run("OBJECT ENCODING y"), "$8 skiplist");
    assert_eq!(fixture.run(&format!("ZADD new 1 a 5 {long}")), ":2");
    assert_eq!(fixture.run("OBJECT ENCODING new"), "$8 skiplist");
    fixture.shard.keyspace.verify();
}

#[test]
fn wide_limits_keep_the_name() {
    let mut fixture = Fixture::new();
    let mut config = (*fixture.shard.config).clone();
    config.zset_max_listpack_entries = 100_000;
    config.zset_max_listpack_value = 100_000;
    fixture.shard.config = std::sync::Arc::new(config);
    for n in 0..40 {
        let member = format!("{n}{}", "x".repeat(5_000));
        fixture.run(&format!("ZADD z {n} {member}"));
    }
    assert_eq!(fixture.run("OBJECT ENCODING z"), "$8 listpack");
    assert_eq!(fixture.run("ZCARD z"), ":40");
    let member = "y".repeat(100_001);
    fixture.run(&format!("ZADD z 1 {member}"));
    assert_eq!(fixture.run("OBJECT ENCODING z"), "$8 skiplist");
}

#[test]
fn random_members_are_distinct_where_asked() {
    let mut fixture = Fixture::new();
    for n in 0..300 {
        fixture.run(&format!("ZADD z {n} m{n}"));
    }
    for count in [1, 7, 299, 300, 500] {
        let reply = fixture.run(&format!("ZRANDMEMBER z {count}"));
        let mut members: Vec<&str> = reply.split(' ').filter(|w| w.starts_with('m')).collect();
        assert_eq!(members.len(), count.min(300));
        members.sort_unstable();
        members.dedup();
        assert_eq!(members.len(), count.min(300));
    }
    assert!(fixture.run("ZRANDMEMBER z -500").starts_with("*500 "));
    assert_eq!(fixture.run("ZRANDMEMBER none 5"), "*0");
}
