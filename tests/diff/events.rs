//! The events of keys (`notify-keyspace-events`) that each command leads to, in their order, and the
//! keys that it makes invalid in the caches of clients. The script is `events.txt`:
//!
//! | line | meaning |
//! | --- | --- |
//! | `# text` | nothing |
//! | `SET key value` | sent to both; what it leads to is compared |
//! | `2> BLPOP key 0` | sent by client 2, which waits |
//! | `2<` | the reply that client 2 has waited for; compared |
//! | `@sleep 5` | lets so many milliseconds pass |
//! | `@wait 5` | the same; what it leads to is compared |
//! | `DEBUG ...` | sent to both; what it leads to is compared with the next |
//!
//! One shard must tell the very sequence that the reference tells; of several, each tells of its
//! own keys in their order.
use ringdove_rig::{Conn, Options, Server, Value, inline_args};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Beginnings of keys of all three shards; what is written to them marks the end of a command's
/// events.
const MARKS: [&str; 3] = ["{bar}", "{user}", "{foo}"];
/// Where the marks are written, and the database that a listener sees them in.
const MARKS_DB: &str = "9";

/// Commands that make keys invalid on one of the servers alone, and why.
const INVALID_DIFFERS: [&str; 1] = [
    // The reference tells of it as of an event, but not to caches, where XINFO may stand.
    "XSETID",
];

/// What a command has led to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    /// Keys, each with the kind of channel, the database and the event, in order.
    events: Vec<(String, String)>,
    /// Keys that caches must not keep; empty for all of them.
    invalid: BTreeSet<String>,
}

impl Told {
    /// The events of each key.
    fn by_key(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut keys: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (key, event) in &self.events {
            keys.entry(key).or_default().push(event);
        }
        keys
    }
}

struct Side {
    server: Server,
    conn: Conn,
    listener: Conn,
    cache: Conn,
    waiting: BTreeMap<char, Conn>,
    db: String,
    rounds: usize,
}

impl Side {
    fn start(options: &Options) -> Self {
        let server = Server::start(options);
        let mut conn = server.connect();
        conn.run_ok("CONFIG SET notify-keyspace-events KEAmn");
        let mut listener = server.connect();
        listener.run("PSUBSCRIBE __key*__:*");
        let mut cache = server.connect_resp3();
        cache.run_ok("CLIENT TRACKING ON BCAST");
        Self {
            server,
            conn,
            listener,
            cache,
            waiting: BTreeMap::new(),
            db: "0".into(),
            rounds: 0,
        }
    }

    /// Runs a line; its reply, if it is a command with one.
    fn run(&mut self, line: &str) -> Option<Value> {
        if let Some((_, ms)) = line
            .split_once(' ')
            .filter(|(word, _)| word.starts_with('@'))
        {
            std::thread::sleep(Duration::from_millis(ms.parse().expect("milliseconds")));
            return None;
        }
        let mut rest = line.chars();
        match (rest.next(), rest.next()) {
            (Some(client), Some('>')) => {
                let mut conn = self.server.connect();
                conn.send(&inline_args(rest.as_str().trim()));
                self.waiting.insert(client, conn);
                let waiting = self.waiting.len() as u64;
                self.server.await_info("blocked_clients", waiting);
                None
            }
            (Some(client), Some('<')) => {
                let conn = self.waiting.remove(&client);
                Some(conn.expect("it waits").receive())
            }
            _ => {
                if let Some(db) = line.strip_prefix("SELECT ") {
                    self.db = db.into();
                }
                Some(self.conn.call(&inline_args(line)))
            }
        }
    }

    /// Everything that is told up to now.
    fn told(&mut self) -> Told {
        self.rounds += 1;
        let marks = MARKS.map(|mark| format!("{mark}{}", self.rounds));
        self.conn.call(&["SELECT", MARKS_DB]);
        for mark in &marks {
            self.conn.call(&["SET", mark, ""]);
        }
        let db = self.db.clone();
        self.conn.call(&["SELECT", &db]);
        let mut told = Told::default();
        let mut ended = 0;
        while ended < marks.len() {
            let message = self.listener.receive();
            let (channel, what) = (message.items()[2].text(), message.items()[3].text());
            let (head, name) = channel.split_once(':').expect("a channel of events");
            let (kind, db) = head.trim_matches('_').split_once('@').expect("a database");
            if db == MARKS_DB {
                ended += usize::from(kind == "keyevent" && name == "set");
                continue;
            }
            let (key, event) = match kind {
                "keyspace" => (name.to_owned(), what),
                _ => (what, name.to_owned()),
            };
            told.events.push((key, format!("{kind} {db} {event}")));
        }
        let mut left = BTreeSet::from(marks);
        while !left.is_empty() {
            let Value::Push(items) = self.cache.receive() else {
                panic!("only invalidations come");
            };
            match &items[1] {
                Value::Null => drop(told.invalid.insert(String::new())),
                keys => {
                    let keys = keys.items().iter().map(Value::text);
                    told.invalid.extend(keys.filter(|key| !left.remove(key)));
                }
            }
        }
        told
    }
}

#[test]
fn are_told_as_on_redis() {
    let lines = include_str!("events.txt").lines().map(str::trim);
    let lines: Vec<&str> = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    for shards in [1, 3] {
        let mut ours = Side::start(&super::under_test(shards));
        let mut theirs = Side::start(&Options::redis());
        let mut wrong = Vec::new();
        for line in &lines {
            let replies = (ours.run(line), theirs.run(line));
            if replies.0 == Some(Value::simple("QUEUED"))
                || *line == "MULTI"
                || line.starts_with("@sleep")
                || line.starts_with("DEBUG")
            {
                continue;
            }
            if line.contains('<') && replies.0 != replies.1 {
                wrong.push(format!("{line}\n    {replies:?}"));
            }
            let (left, right) = (ours.told(), theirs.told());
            let same = match shards {
                1 => left.events == right.events,
                _ => left.by_key() == right.by_key(),
            };
            let known = INVALID_DIFFERS.iter().any(|word| line.starts_with(word));
            if !same || left.invalid != right.invalid && !known {
                wrong.push(format!("{line}\n    redis {right:?}\n    ours  {left:?}"));
            }
        }
        assert!(wrong.is_empty(), "{shards} shard(s):\n{}", wrong.join("\n"));
    }
}
