//! Clients that write, and remember what they were told.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ringdove_rig::{Conn, Server};

/// Clients that write single keys, and keys of each.
const WRITERS: usize = 4;
const KEYS: usize = 16;
/// Clients that write several keys at once, by MSET or a block, and how many.
const TELLERS: usize = 2;
const AT_ONCE: usize = 5;
/// Commands in flight for each client.
const PIPELINE: usize = 8;

/// What is known of a key, whose values only rise.
#[derive(Clone, Copy)]
struct Known {
    /// The highest value that the server has acknowledged, and when.
    acknowledged: u64,
    /// The highest that was sent.
    sent: u64,
}

/// Who writes what, over all starts of the server.
pub struct Load {
    /// For each single key, and for each group of keys that are written at once.
    known: HashMap<String, Known>,
    /// When each value was acknowledged, for those that may be lost.
    times: HashMap<String, Vec<(Instant, u64)>>,
    /// When the server was killed.
    killed: Option<Instant>,
}

/// What one client was told: key, value, time.
type Told = Vec<(String, u64, Instant)>;
/// The highest value that it sent, by key.
type Sent = HashMap<String, u64>;

/// Stops the clients when it goes.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Load {
    pub fn new() -> Self {
        Self {
            known: HashMap::new(),
            times: HashMap::new(),
            killed: None,
        }
    }

    /// Values that were acknowledged, one for each key.
    pub fn acknowledged(&self) -> u64 {
        self.known.values().map(|known| known.acknowledged).sum()
    }

    /// Writes for some time, then kills the server in the middle of it.
    pub fn run(&mut self, server: &Server, time: Duration) {
        self.run_until(server, || std::thread::sleep(time));
    }

    /// Writes until this has returned, then kills the server in the middle of it.
    pub fn run_until(&mut self, server: &Server, over: impl FnOnce()) {
        let stopped = AtomicBool::new(false);
        let mut results = Vec::new();
        std::thread::scope(|scope| {
            let stopped = &stopped;
            // Where `over` panics the clients stop, too: else the test would hang.
            let _stop = Stop(stopped);
            let mut clients = Vec::new();
            for number in 0..WRITERS + TELLERS {
                let conn = server.connect();
                let from = self.next_value();
                clients.push(scope.spawn(move || write(conn, number, from, stopped)));
            }
            over();
            self.killed = Some(Instant::now());
            ringdove_rig::signal(server.pid(), 9);
            stopped.store(true, Ordering::Relaxed);
            for client in clients {
                results.push(client.join().expect("a client only stops"));
            }
        });
        for (told, sent) in results {
            for (key, value, at) in told {
                let known = self.known.entry(key.clone()).or_insert(Known {
                    acknowledged: 0,
                    sent: 0,
                });
                known.acknowledged = known.acknowledged.max(value);
                self.times.entry(key).or_default().push((at, value));
            }
            for (key, value) in sent {
                let known = self.known.entry(key).or_insert(Known {
                    acknowledged: 0,
                    sent: 0,
                });
                known.sent = known.sent.max(value);
            }
        }
    }

    /// Above everything that was sent.
    fn next_value(&self) -> u64 {
        self.known
            .values()
            .map(|known| known.sent)
            .max()
            .unwrap_or(0)
            + 1
    }

    /// The server has everything that it has acknowledged, but for what was within `late` of its
    /// end; nothing that nobody sent; and groups of keys as they were written, whole.
    pub fn check(&mut self, conn: &mut Conn, late: Option<Duration>) {
        let Some(killed) = self.killed else { return };
        for (key, known) in &mut self.known {
            let wanted = match late {
                None => known.acknowledged,
                Some(late) => {
                    let times = self.times.get(key).into_iter().flatten();
                    let safe = times.filter(|(at, _)| *at + late <= killed);
                    safe.map(|(_, value)| *value).max().unwrap_or(0)
                }
            };
            let found: Vec<u64> = match key.strip_prefix("group:") {
                None => vec![value_of(conn, key)],
                Some(group) => members(group)
                    .iter()
                    .map(|key| value_of(conn, key))
                    .collect(),
            };
            let first = found[0];
            assert!(
                found.iter().all(|value| *value == first),
                "{key} is not whole: {found:?}"
            );
            let age = || {
                let mut times = self.times.get(key).into_iter().flatten();
                times
                    .find(|(_, value)| *value >= first)
                    .map(|(at, _)| killed - *at)
            };
            assert!(
                (wanted..=known.sent).contains(&first),
                "{key} is {first}, {:?} old; {wanted} was acknowledged and {} sent",
                age(),
                known.sent
            );
            // What is there now was not lost, and must stay.
            known.acknowledged = first;
        }
        self.times.clear();
    }
}

fn value_of(conn: &mut Conn, key: &str) -> u64 {
    match conn.call(&["GET", key]) {
        ringdove_rig::Value::Bulk(bytes) => {
            String::from_utf8_lossy(&bytes).parse().expect("a number")
        }
        ringdove_rig::Value::NilBulk => 0,
        other => panic!("a value was expected, not {other:?}"),
    }
}

/// The keys of a group: they have several owners.
fn members(group: &str) -> Vec<String> {
    (0..AT_ONCE)
        .map(|at| format!("member:{group}:{at}"))
        .collect()
}

/// One client.
fn write(mut conn: Conn, number: usize, from: u64, stopped: &AtomicBool) -> (Told, Sent) {
    let (mut told, mut sent) = (Told::new(), Sent::new());
    let mut flying: Vec<(String, u64)> = Vec::new();
    let mut value = from;
    loop {
        let mut batch = Vec::new();
        let mut replies = Vec::new();
        for _ in 0..PIPELINE {
            value += 1;
            let key = command(number, value, &mut batch, &mut replies);
            sent.insert(key.clone(), value);
            flying.push((key, value));
        }
        if conn.try_send_bytes(&batch).is_err() {
            return (told, sent);
        }
        for ((key, value), count) in flying.drain(..).zip(replies) {
            for _ in 0..count {
                match conn.try_receive() {
                    Ok(reply) => assert!(!reply.is_error(), "{reply:?}"),
                    Err(_) => return (told, sent),
                }
            }
            told.push((key, value, Instant::now()));
        }
        if stopped.load(Ordering::Relaxed) {
            return (told, sent);
        }
    }
}

/// Adds a command, or a block of them, and how many replies it has. What it is remembered by.
fn command(number: usize, value: u64, batch: &mut Vec<u8>, replies: &mut Vec<usize>) -> String {
    let text = value.to_string();
    let mut put = |words: &[&str]| batch.extend_from_slice(&ringdove_rig::encode(words));
    if number < WRITERS {
        let key = format!("key:{number}:{}", value as usize % KEYS);
        put(&["SET", &key, &text]);
        replies.push(1);
        return key;
    }
    let group = format!("{number}");
    let keys = members(&group);
    if value.is_multiple_of(2) {
        let mut words = vec!["MSET"];
        keys.iter()
            .for_each(|key| words.extend([key.as_str(), &text]));
        put(&words);
        replies.push(1);
    } else {
        put(&["MULTI"]);
        keys.iter().for_each(|key| put(&["SET", key, &text]));
        put(&["EXEC"]);
        replies.push(2 + keys.len());
    }
    format!("group:{group}")
}
