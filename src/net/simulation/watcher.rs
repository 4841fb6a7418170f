//! Somebody who lists all connections, and kills some, while they move from shard to shard.

use std::collections::BTreeMap;

use super::{SHARDS, World};
use crate::net::session::{ConnId, Peer};
use crate::resp::number::parse_i64;

/// What is asked of the server.
enum Question {
    /// CLIENT LIST, and the clients that were there.
    List(Vec<u64>),
    /// CLIENT KILL ID of a client that was there.
    Kill(usize),
}

/// A connection that stays where it is.
pub(super) struct Watcher {
    home: usize,
    conn: ConnId,
    pub(super) received: Vec<u8>,
    asked: Option<Question>,
    killed: Vec<usize>,
    lists: usize,
}

impl Watcher {
    pub(super) fn is_at(&self, shard: usize, conn: ConnId) -> bool {
        (self.home, self.conn) == (shard, conn)
    }

    pub(super) fn waits(&self) -> bool {
        self.asked.is_some()
    }

    /// An answer that is whole.
    fn answer(&mut self) -> Option<String> {
        let line = self.received.windows(2).position(|pair| pair == b"\r\n")?;
        let length = match self.received[0] {
            b'$' => line + 2 + parse_i64(&self.received[1..line])? as usize + 2,
            _ => line + 2,
        };
        let whole = self.received.len() >= length;
        let answer = whole.then(|| self.received.drain(..length).collect())?;
        Some(String::from_utf8(answer).expect("text"))
    }
}

impl World {
    pub(super) fn let_somebody_watch(&mut self) {
        let home = self.rng.usize(..SHARDS);
        let conn = self.engines[home].connect(Peer::Unix("/watcher".into()), 3);
        self.watcher = Some(Watcher {
            home,
            conn,
            received: Vec::new(),
            asked: None,
            killed: Vec::new(),
            lists: 0,
        });
    }

    /// Whether the watcher is about to kill a client: it does not go by itself.
    pub(super) fn is_condemned(&self, at: usize) -> bool {
        let asked = self.watcher.as_ref().and_then(|w| w.asked.as_ref());
        matches!(asked, Some(Question::Kill(whom)) if *whom == at)
    }

    /// Clients that are there, between two shards or not.
    fn alive(&self) -> Vec<u64> {
        let alive = self.clients.iter().filter(|client| client.conn.is_some());
        alive.map(|client| client.id).collect()
    }

    /// The watcher reads an answer, and asks again if it may.
    pub(super) fn watch(&mut self, may_ask: bool) {
        let Some(mut watcher) = self.watcher.take() else {
            return;
        };
        if let Some(answer) = watcher.answer() {
            match watcher.asked.take().expect("it was asked for") {
                Question::List(before) => {
                    watcher.lists += 1;
                    self.check_list(&answer, &before);
                }
                Question::Kill(whom) => {
                    assert_eq!(answer, ":1\r\n", "client {whom} is found once");
                    watcher.killed.push(whom);
                }
            }
        }
        let (home, conn) = (watcher.home, watcher.conn);
        let mut text = String::new();
        if may_ask && watcher.asked.is_none() && self.rng.u8(..) < 100 {
            let whom = self.rng.usize(..self.clients.len());
            let is_there = whom > 0 && self.clients[whom].conn.is_some();
            if is_there && self.rng.u8(..) < 8 {
                watcher.asked = Some(Question::Kill(whom));
                text = format!("CLIENT KILL ID {}\r\n", self.clients[whom].id);
            } else {
                watcher.asked = Some(Question::List(self.alive()));
                text = "CLIENT LIST\r\n".into();
            }
        }
        self.watcher = Some(watcher);
        if !text.is_empty() {
            self.engines[home].receive(conn, text.as_bytes());
            self.end_turn(home);
        }
    }

    /// Who was there before and still is stands in a list once, and nobody twice.
    fn check_list(&self, answer: &str, before: &[u64]) {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for line in answer.lines().filter_map(|line| line.strip_prefix("id=")) {
            let (id, _) = line.split_once(' ').expect("more than an id");
            *counts.entry(id.parse().expect("a number")).or_default() += 1;
        }
        assert!(counts.values().all(|count| *count == 1), "{answer}");
        let now = self.alive();
        let stayed = before.iter().filter(|id| now.contains(id));
        stayed.for_each(|id| assert!(counts.contains_key(id), "client {id}: {answer}"));
    }

    /// Everything is over: whom the watcher has killed is gone.
    pub(super) fn watcher_is_content(&self, seed: u64) {
        let Some(watcher) = &self.watcher else {
            return;
        };
        assert!(watcher.lists > 0, "seed {seed}: it was answered");
        for whom in &watcher.killed {
            assert!(self.clients[*whom].conn.is_none(), "seed {seed}: {whom}");
        }
    }
}
