//! What the next start says of a log that it cannot take.
use ringdove_rig::{Scratch, free_ports};

use crate::{options, start};

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
