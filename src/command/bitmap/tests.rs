//! What the reference server, redis-server 7.0.15, cannot be asked, and a few of its own answers.
use crate::command::fixture::Fixture;

fn bits(fixture: &mut Fixture, operation: &str, sources: &str) -> Vec<u8> {
    let reply = fixture.run(&format!("BITOP {operation} out {sources}"));
    assert!(reply.starts_with(':'), "{operation}: {reply}");
    let got = fixture.run_args(&[b"GET", b"out"]);
    let at = got.iter().position(|b| *b == b'\n').map_or(0, |at| at + 1);
    got[at..got.len() - 2].to_vec()
}

#[test]
fn operations_on_several_strings() {
    let mut fixture = Fixture::new();
    fixture.run_args(&[
        b"MSET",
        b"x",
        b"\xf0\xff",
        b"y",
        b"\x3c",
        b"z",
        b"\x55\x0f\x01",
    ]);
    let mut of = |operation, sources| bits(&mut fixture, operation, sources);
    assert_eq!(of("AND", "x y z"), [0x10, 0, 0]);
    assert_eq!(of("OR", "x y z"), [0xfd, 0xff, 1]);
    assert_eq!(of("XOR", "x y z"), [0x99, 0xf0, 1]);
    assert_eq!(of("NOT", "x"), [0x0f, 0]);
    assert_eq!(of("DIFF", "x y z"), [0x80, 0xf0, 0]);
    assert_eq!(of("DIFF1", "x y z"), [0x0d, 0, 1]);
    assert_eq!(of("ANDOR", "x y z"), [0x70, 0x0f, 0]);
    assert_eq!(of("ONE", "x y z"), [0x89, 0xf0, 1]);
    assert_eq!(of("ONE", "x"), [0xf0, 0xff]);
    assert_eq!(
        fixture.run("BITOP DIFF out x"),
        "-ERR BITOP DIFF must be called with at least two source keys."
    );
    assert_eq!(
        fixture.run("BITOP NOT out x y"),
        "-ERR BITOP NOT must be called with a single source key."
    );
    assert_eq!(fixture.run("BITOP NAND out x y"), "-ERR syntax error");
    assert_eq!(fixture.run("BITOP AND out none"), ":0");
    assert_eq!(fixture.run("GET out"), "$-1");
}

#[test]
fn an_end_may_be_left_out() {
    let mut fixture = Fixture::new();
    fixture.run("SET k foobar");
    assert_eq!(fixture.run("BITCOUNT k"), ":26");
    assert_eq!(fixture.run("BITCOUNT k 1"), ":22");
    assert_eq!(fixture.run("BITCOUNT k 5 30 BIT"), ":17");
    assert_eq!(fixture.run("BITPOS k 0 1"), ":8");
}

#[test]
fn fields_overflow_as_told() {
    let mut fixture = Fixture::new();
    assert_eq!(
        fixture.run("BITFIELD k INCRBY u2 100 1 OVERFLOW SAT INCRBY u2 102 1"),
        "*2 :1 :1"
    );
    assert_eq!(
        fixture.run("BITFIELD k SET i8 0 200 GET u8 0 OVERFLOW FAIL SET i8 0 200"),
        "*3 :0 :200 $-1"
    );
    assert_eq!(
        fixture.run("BITFIELD k OVERFLOW SAT SET u8 #1 -5 GET u8 #1 GET i64 1"),
        "*3 :0 :255 :-7926898294125494272"
    );
    assert_eq!(
        fixture.run("BITFIELD_RO k SET u8 0 1"),
        "-ERR BITFIELD_RO only supports the GET subcommand"
    );
    assert_eq!(fixture.encoding("k"), Some("raw"));
}
