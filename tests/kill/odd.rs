//! Values that no command makes, or few do, taken with RESTORE or from a snapshot: what the server
//! holds is told by its log, whatever it is, and the next start has it.
use ringdove_rig::{Scratch, free_ports};

use crate::{digest, options, start};

#[test]
fn limits_for_clients_do_not_hold_for_the_log() {
    let folder = Scratch::new();
    let server = start(2, &folder, "--appendfsync always");
    let mut conn = server.connect();
    conn.call(&["SET", "k", &"x".repeat(3 << 19)]);
    conn.run("APPEND k yyyy");
    conn.run("SETRANGE k 1500000 z");
    conn.run("SETBIT k 12000000 1");
    conn.run("BITFIELD k SET u8 12000008 7");
    let before = digest(&mut conn);
    drop(server);
    let more = "--proto-max-bulk-len 1mb --maxmemory 1 --client-query-buffer-limit 1mb";
    let server = start(1, &folder, more);
    assert_eq!(digest(&mut server.connect()), before);
}

#[test]
fn too_few_databases_are_named() {
    for last in ["SET k v", "RPUSH k v", "FLUSHDB", "SWAPDB 9 8"] {
        let folder = Scratch::new();
        let server = start(2, &folder, "--appendfsync always");
        let mut conn = server.connect();
        conn.run_ok("SELECT 9");
        conn.run("SADD other x");
        conn.run_ok("FLUSHALL");
        assert!(!conn.run(last).is_error());
        drop(server);
        let more = "--databases 8";
        let (status, text) = options(2, &folder, more).run_to_end(free_ports(1));
        assert!(!status.success());
        let wanted =
            "Reading the log: it has a key in database 9, and there are 8 (see `databases`)";
        assert!(text.contains(wanted), "{text}");
        assert!(!text.contains("DB loaded from append only file"), "{text}");
    }
}
