//! How many changes since the last save each command counts (`rdb_changes_since_last_save`), which
//! is what save points go by.
use ringdove_rig::{Conn, Options, Server};

const LINES: &str = r#"
SET a 1
SET a 1 EX 100
SETEX a 100 x
PSETEX a 100000 x
SETNX a 1
SETNX b 1
GETSET a 2
GETEX a
GETEX a EX 50
GETEX a PERSIST
GETEX a EXAT 1
GETDEL b
GETDEL b
SET a 1 PXAT 1
SET a 1 GET
SET a 1 NX
MSET a 1 b 2 c 3
MSETNX a 1 b 2
MSETNX d 1 e 2
APPEND a x
APPEND a ""
SETRANGE a 3 xyz
SETRANGE a 3 ""
INCR n
INCRBY n 5
INCRBYFLOAT n 1.5
DECR m
SETBIT q 5 1
SETBIT q 5 1
SETBIT q 5 0
BITFIELD q SET u8 0 1 INCRBY u8 0 1 GET u8 0
BITFIELD q SET u8 0 1
BITFIELD q SET u8 0 1 SET u8 8 3 SET u8 16 4
BITFIELD q OVERFLOW FAIL INCRBY u2 0 100
BITFIELD q GET u8 0
BITOP AND z a q
BITOP AND z none none
BITOP AND z none none
DEL a b none
UNLINK c d
RENAME e f
RENAME f f
MSET k1 v k2 v
RENAME k1 k2
RENAMENX k2 k3
SET k4 v
RENAMENX k3 k4
MOVE k3 1
COPY k4 k5
COPY k4 k5
COPY k4 k5 REPLACE
EXPIRE k4 100
EXPIRE k4 100 NX
PEXPIRE k4 100000
EXPIREAT k4 9999999999
PERSIST k4
PERSIST k4
EXPIRE k4 -1
EXPIRE k4 -1
TOUCH k5
SWAPDB 0 1
SWAPDB 0 0
SWAPDB 0 1
FLUSHDB
MSET a 1 b 2 c 3
FLUSHDB
MSET a 1 b 2 c 3
FLUSHALL
XADD s 1-0 a 1
XADD s 2-0 a 1
XADD s MAXLEN 2 3-0 a 1
XADD s 4-0 a 1
XADD s 5-0 a 1
XADD s 0-1 a 1
XGROUP CREATE s g 0
XGROUP CREATE s g 0
XGROUP CREATE t g 0 MKSTREAM
XGROUP CREATECONSUMER s g c
XGROUP CREATECONSUMER s g c
XREADGROUP GROUP g c COUNT 3 STREAMS s >
XREADGROUP GROUP g c COUNT 3 STREAMS s 0
XACK s g 2-0 3-0 9-0
XCLAIM s g c 0 4-0 5-0
XAUTOCLAIM s g c 0 0
XSETID s 9-0
XDEL s 3-0 4-0 7-0
XTRIM s MAXLEN 9
XTRIM s MAXLEN 0
XGROUP SETID s g 0
XGROUP DELCONSUMER s g c
XGROUP DELCONSUMER s g c
XGROUP DESTROY s g
XGROUP DESTROY s g
PFADD h1 a b c
PFADD h1 a b
PFADD h1 a d
PFCOUNT h1
PFCOUNT h1
PFCOUNT h1 none
PFMERGE h2 h1
PFADD h3
PFADD h3
FLUSHALL ASYNC
"#;

struct Counted {
    server: Server,
    conn: Conn,
    last: u64,
}

impl Counted {
    fn start(options: &Options) -> Self {
        let server = Server::start(options);
        let conn = server.connect();
        Self {
            last: server.info_number("rdb_changes_since_last_save"),
            server,
            conn,
        }
    }

    /// The changes that a command counts.
    fn run(&mut self, line: &str) -> u64 {
        self.conn.run(line);
        let now = self.server.info_number("rdb_changes_since_last_save");
        now - std::mem::replace(&mut self.last, now)
    }
}

#[test]
fn are_counted_as_on_redis() {
    for shards in [1, 3] {
        let mut ours = Counted::start(&super::under_test(shards));
        let mut theirs = Counted::start(&Options::redis());
        for line in LINES.lines().filter(|line| !line.is_empty()) {
            assert_eq!(
                ours.run(line),
                theirs.run(line),
                "{line}, {shards} shard(s)"
            );
        }
    }
}
