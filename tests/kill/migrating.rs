//! Keys that go to another server.

use ringdove_rig::{Options, Scratch, Server, Value};

use crate::{kills, start};

/// Who is told that keys have gone finds them gone after a crash, whichever shards they were at.
#[test]
fn what_another_server_has_taken_does_not_come_back() {
    let (folder, target) = (Scratch::new(), Server::start(&Options::redis()));
    let keys: Vec<String> = (0..30).map(|n| format!("key:{n}")).collect();
    let port = target.port().to_string();
    for round in 0..kills(5) {
        let server = start(3, &folder, "--appendfsync always");
        let mut conn = server.connect();
        assert_eq!(conn.run("DBSIZE").int(), 0, "{}", server.log());
        let words = keys.iter().flat_map(|key| [key.as_str(), "v"]);
        let words: Vec<&str> = ["MSET"].into_iter().chain(words).collect();
        assert_eq!(conn.call(&words), Value::ok());
        let (copy, gone) = (round % 3 == 2, keys.len() as i64);
        let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "REPLACE"];
        if copy {
            words.push("COPY");
        }
        words.push("KEYS");
        words.extend(keys.iter().map(String::as_str));
        assert_eq!(conn.call(&words), Value::ok());
        ringdove_rig::signal(server.pid(), 9);
        drop(server);
        let server = start(2, &folder, "--appendfsync always");
        let mut conn = server.connect();
        let left = if copy { gone } else { 0 };
        assert_eq!(conn.run("DBSIZE").int(), left, "{}", server.log());
        conn.run_ok("FLUSHALL");
    }
}
