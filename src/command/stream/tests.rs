//! What a comparison with redis-server cannot show: IDs made of the clock, ages, memory.
use crate::command::fixture::Fixture;

#[test]
fn ids_follow_the_clock_and_never_go_back() {
    let mut shard = Fixture::new();
    assert_eq!(shard.run("xadd s * a 1"), "$9 1000000-0");
    assert_eq!(shard.run("xadd s * a 1"), "$9 1000000-1");
    shard.shard.now_ms -= 10;
    assert_eq!(shard.run("xadd s * a 1"), "$9 1000000-2");
    shard.shard.now_ms += 20;
    assert_eq!(shard.run("xadd s * a 1"), "$9 1000010-0");
    assert_eq!(shard.run("xadd s 1000010-* a 1"), "$9 1000010-1");
    assert_eq!(
        shard.run("xadd s nomkstream maxlen = 2 * a 1"),
        "$9 1000010-2"
    );
    assert_eq!(shard.run("xlen s"), ":2");
    assert_eq!(shard.run("xadd none nomkstream * a 1"), "$-1");
    assert_eq!(
        shard
            .run("xadd s 18446744073709551615-18446744073709551615 a 1")
            .len(),
        45
    );
    assert_eq!(
        shard.run("xadd s * a 1"),
        "-ERR The stream has exhausted the last possible ID, unable to add more items"
    );
    assert_eq!(shard.encoding("s"), Some("stream"));
}

#[test]
fn ages_are_told_and_minded() {
    let mut shard = Fixture::new();
    shard.run("xadd s 1-0 a 1");
    shard.run("xadd s 2-0 a 2");
    shard.run("xgroup create s g 0");
    shard.run("xreadgroup group g alice count 1 streams s >");
    shard.shard.now_ms += 50;
    let entry = "*4 $3 1-0 $5 alice :50 :1";
    assert_eq!(shard.run("xpending s g - + 10"), format!("*1 {entry}"));
    assert_eq!(
        shard.run("xpending s g idle 50 - + 10"),
        format!("*1 {entry}")
    );
    assert_eq!(shard.run("xpending s g idle 51 - + 10"), "*0");
    assert_eq!(
        shard.run("xautoclaim s g bob 51 0 justid"),
        "*3 $3 0-0 *0 *0"
    );
    assert_eq!(
        shard.run("xinfo consumers s g"),
        "*2 *8 $4 name $5 alice $7 pending :1 $4 idle :50 $8 inactive :50 \
         *8 $4 name $3 bob $7 pending :0 $4 idle :0 $8 inactive :-1"
    );
    // What was pending for long comes first, with its age and how often it had been delivered; what is
    // new has neither.
    assert_eq!(
        shard.run("xreadgroup group g bob claim 50 streams s >"),
        "*1 *2 $1 s *2 *4 $3 1-0 *2 $1 a $1 1 :50 :1 *4 $3 2-0 *2 $1 a $1 2 :0 :0"
    );
    shard.shard.now_ms += 5;
    assert_eq!(shard.run("xclaim s g bob 6 1-0 justid"), "*0");
    assert_eq!(
        shard.run("xclaim s g bob 5 1-0 idle 1000 justid"),
        "*1 $3 1-0"
    );
    assert_eq!(
        shard.run("xpending s g - + 1"),
        "*1 *4 $3 1-0 $3 bob :1000 :2"
    );
    assert_eq!(shard.run("xreadgroup group g bob streams s >"), "*-1");
}

#[test]
fn changes_without_an_event_are_counted() {
    let mut shard = Fixture::new();
    let mut counts = |line: &str| {
        let before = shard.shard.dirty;
        shard.run(line);
        shard.shard.dirty - before
    };
    assert_eq!(counts("xadd s 1-0 a 1"), 1);
    assert_eq!(counts("xadd s 2-0 a 1"), 1);
    assert_eq!(counts("xadd s 3-0 a 1"), 1);
    assert_eq!(counts("xgroup create s g 0"), 1);
    assert_eq!(counts("xreadgroup group g c streams s >"), 2);
    assert_eq!(counts("xack s g 1-0 2-0 9-0"), 2);
    assert_eq!(counts("xdel s 1-0 2-0"), 2);
    assert_eq!(counts("xtrim s maxlen 5"), 0);
    assert_eq!(counts("xtrim s maxlen 0"), 1);
}
