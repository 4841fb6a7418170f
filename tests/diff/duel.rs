//! Two servers side by side: a command goes to both, and what differs is gathered.
use crate::differences;
use crate::normal;
use crate::script::Step;
use ringdove_rig::{Conn, Options, Server, Value};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Both versions of the protocol are compared.
pub(crate) const PROTOCOLS: [u8; 2] = [2, 3];
/// A run stops after so many differences: they tend to follow from each other.
const DIFFERENCES_MAX: usize = 40;

/// A server under test and the reference, with a connection to each.
pub(crate) struct Duel {
    left: Side,
    right: Side,
    proto: u8,
    sent: usize,
    deliberate: BTreeMap<&'static str, usize>,
    wrong: Vec<String>,
}

struct Side {
    conn: Conn,
    server: Server,
}

impl Side {
    fn start(options: &Options, proto: u8) -> Self {
        let server = Server::start(options);
        let conn = Self::connect(&server, proto);
        Self { conn, server }
    }

    fn connect(server: &Server, proto: u8) -> Conn {
        match proto {
            2 => server.connect(),
            _ => server.connect_resp3(),
        }
    }
}

/// A command as a line that can be read and sent again.
pub(crate) fn shown(args: &[Vec<u8>]) -> String {
    let words: Vec<String> = args
        .iter()
        .map(|a| {
            let plain = !a.is_empty() && a.iter().all(|b| b.is_ascii_graphic() && *b != b'"');
            match (plain, a.len() > 200) {
                (_, true) => format!("<{} bytes>", a.len()),
                (true, _) => String::from_utf8_lossy(a).into_owned(),
                _ => format!("\"{}\"", a.escape_ascii()),
            }
        })
        .collect();
    words.join(" ")
}

impl Duel {
    /// Starts both servers, empty.
    pub(crate) fn start(under_test: &Options, proto: u8) -> Self {
        Self {
            left: Side::start(under_test, proto),
            right: Side::start(&Options::redis(), proto),
            proto,
            sent: 0,
            deliberate: BTreeMap::new(),
            wrong: Vec::new(),
        }
    }

    /// Plays a script.
    pub(crate) fn run_script(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Wait(time) => std::thread::sleep(*time),
                Step::Command { args, .. } => self.send(args),
            }
        }
    }

    /// Sends a command to both and compares the replies.
    pub(crate) fn send(&mut self, args: &[Vec<u8>]) {
        if self.wrong.len() >= DIFFERENCES_MAX {
            return;
        }
        self.sent += 1;
        self.left.conn.send(args);
        self.right.conn.send(args);
        let left = self.left.conn.try_receive_raw();
        let right = self.right.conn.try_receive_raw();
        let difference = match (&left, &right) {
            (Ok((l, l_raw)), Ok((r, r_raw))) if l_raw == r_raw || normal::same(args, l, r) => None,
            (Ok((l, _)), Ok((r, _))) => Some((format!("{l:?}"), format!("{r:?}"))),
            (l, r) => Some((outcome(l), outcome(r))),
        };
        if let Some((l, r)) = difference {
            let reference = &mut self.right.conn;
            let type_of = || {
                let key = args.last().cloned().unwrap_or_default();
                Some(reference.call(&[b"TYPE".to_vec(), key]).text())
            };
            if let Some(reason) = differences::reason(args, &l, &r, type_of) {
                *self.deliberate.entry(reason).or_default() += 1;
                return;
            }
            let mut text = String::new();
            let _ = write!(
                text,
                "{}\n    redis {}\n    ours  {}",
                shown(args),
                cut(&r),
                cut(&l)
            );
            self.wrong.push(text);
        }
        if left.is_err() || right.is_err() {
            self.left.conn = Side::connect(&self.left.server, self.proto);
            self.right.conn = Side::connect(&self.right.server, self.proto);
        }
    }

    /// Compares what both hold in the end: every key with its type, value and expiry.
    pub(crate) fn compare_keyspaces(&mut self) {
        for db in 0..16 {
            let db = db.to_string();
            self.send(&[b"SELECT".to_vec(), db.into_bytes()]);
            self.send(&[b"DBSIZE".to_vec()]);
            let all = [b"KEYS".to_vec(), b"*".to_vec()];
            self.send(&all);
            let keys = self.right.conn.call(&all);
            for key in keys.items() {
                let key = key.text().into_bytes();
                self.send(&[b"TYPE".to_vec(), key.clone()]);
                self.send(&[b"OBJECT".to_vec(), b"ENCODING".to_vec(), key.clone()]);
                self.send(&[b"GET".to_vec(), key.clone()]);
                self.send(&[b"HGETALL".to_vec(), key.clone()]);
                self.send(&[b"SMEMBERS".to_vec(), key.clone()]);
                let elements: [&[u8]; 4] = [b"LRANGE", &key, b"0", b"-1"];
                self.send(&elements.map(<[u8]>::to_vec));
                let elements: [&[u8]; 5] = [b"ZRANGE", &key, b"0", b"-1", b"WITHSCORES"];
                self.send(&elements.map(<[u8]>::to_vec));
                let range = ["XRANGE", "", "-", "+"].map(|word| word.as_bytes().to_vec());
                let mut range = range.to_vec();
                range[1].clone_from(&key);
                self.send(&range);
                self.send(&[b"PEXPIRETIME".to_vec(), key]);
            }
        }
    }

    /// Fails with a summary where anything differed.
    pub(crate) fn finish(self, title: &str) {
        eprintln!("{title}: {} commands", self.sent);
        for (reason, count) in &self.deliberate {
            eprintln!("    {count} differ deliberately: {reason}");
        }
        let count = self.wrong.len();
        assert!(
            self.wrong.is_empty(),
            "{title}: {count} replies differ{}\n{}",
            if count >= DIFFERENCES_MAX {
                " (and then it stopped)"
            } else {
                ""
            },
            self.wrong.join("\n")
        );
    }
}

fn outcome(reply: &std::io::Result<(Value, Vec<u8>)>) -> String {
    match reply {
        Ok((value, _)) => format!("{value:?}"),
        Err(e) => format!("(no reply: {e})"),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(600) {
        Some((at, _)) => format!("{}... {} characters", &text[..at], text.len()),
        None => text.to_owned(),
    }
}
