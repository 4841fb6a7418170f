//! COMMAND against the reference's, for every command and subcommand that both have.
//!
//! Summaries, complexities and what history says in words are our own; later versions have added
//! tips, tokens and changes, so of these ours must have at least what the reference has.
use ringdove_rig::{Conn, Options, Server, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Rows that later versions have changed: the command and the place in COMMAND INFO's reply.
const NEWER: &[(&str, usize)] = &[
    ("wait", FLAGS), // blocking since 7.2
    ("wait", CATEGORIES),
    ("zrank", ARITY), // WITHSCORE since 7.2
    ("zrevrank", ARITY),
];
/// Groups whose rows tell their history.
const WITH_HISTORY: &[&str] = &[
    "string",
    "bitmap",
    "generic",
    "connection",
    "server",
    "stream",
];

/// Places in COMMAND INFO's reply.
const ARITY: usize = 1;
const FLAGS: usize = 2;
const CATEGORIES: usize = 6;
const TIPS: usize = 7;
const SUBCOMMANDS: usize = 9;

/// Command lines whose keys are asked for.
const LINES: &[&str] = &[
    "GET a",
    "GET",
    "SET a b",
    "SET a b GET",
    "SET a b NX GET EX 5",
    "SET a b BAD",
    "SET a",
    "MSET a 1 b 2",
    "MSET a",
    "MSETNX a 1 b 2",
    "MGET a b",
    "GETEX a",
    "GETDEL a",
    "LCS a b",
    "SETRANGE a 1 b",
    "SUBSTR a 1 2",
    "INCRBYFLOAT a 1",
    "STRLEN a",
    "BITOP AND d a b",
    "BITOP NOT d a",
    "BITOP NOT d",
    "BITFIELD k",
    "BITFIELD k GET u8 0",
    "BITFIELD k SET u8 0 1",
    "BITFIELD k GET u8 0 INCRBY u8 0 1",
    "BITFIELD_RO k GET u8 0",
    "BITPOS a 1",
    "BITCOUNT a",
    "SETBIT a 1 1",
    "GETBIT a 1",
    "RENAME a b",
    "RENAMENX a b",
    "COPY a b",
    "COPY a b DB 1",
    "DEL a b c",
    "UNLINK a",
    "EXISTS a b",
    "TOUCH a b",
    "TYPE a",
    "TTL a",
    "PERSIST a",
    "EXPIRE a 1",
    "MOVE a 1",
    "SCAN 0",
    "KEYS *",
    "RANDOMKEY",
    "SWAPDB 0 1",
    "OBJECT ENCODING a",
    "OBJECT HELP",
    "OBJECT NOSUCH a",
    "MEMORY USAGE a",
    "XADD a * b c",
    "XREAD COUNT 1 STREAMS a b 0 0",
    "XREAD STREAMS a",
    "XREADGROUP GROUP g c STREAMS a b > >",
    "XGROUP CREATE a g 0",
    "XINFO STREAM a",
    "WATCH a b",
    "MULTI",
    "EXEC",
    "PING",
    "ECHO a",
    "SELECT 0",
    "CLIENT LIST",
    "CONFIG GET a",
    "DEBUG OBJECT a",
    "COMMAND GETKEYS GET a",
    "NOSUCH a",
];

struct Pair {
    ours: Conn,
    theirs: Conn,
    _servers: [Server; 2],
}

impl Pair {
    fn start(shards: usize) -> Self {
        let (ours, theirs) = (
            Server::start(&super::under_test(shards)),
            Server::start(&Options::redis()),
        );
        Self {
            ours: ours.connect_resp3(),
            theirs: theirs.connect_resp3(),
            _servers: [ours, theirs],
        }
    }

    /// Both replies to a command.
    fn run(&mut self, line: &str) -> (Value, Value) {
        (self.ours.run(line), self.theirs.run(line))
    }

    /// Names that both have, subcommands included.
    fn names(&mut self) -> BTreeSet<String> {
        let (ours, theirs) = self.run("COMMAND LIST");
        texts(&ours)
            .intersection(&texts(&theirs))
            .cloned()
            .collect()
    }
}

fn texts(list: &Value) -> BTreeSet<String> {
    list.items().iter().map(Value::text).collect()
}

/// A reply with its sets in one order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Set(items) => {
            let mut items: Vec<Value> = items.iter().map(sorted).collect();
            items.sort();
            Value::Set(items)
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Map(pairs) => {
            Value::Map(pairs.iter().map(|(k, v)| (k.clone(), sorted(v))).collect())
        }
        other => other.clone(),
    }
}

#[test]
fn info() {
    let mut pair = Pair::start(1);
    let mut wrong = Vec::new();
    for name in pair.names() {
        let (ours, theirs) = pair.run(&format!("COMMAND INFO {name}"));
        let (ours, theirs) = (ours.items()[0].clone(), theirs.items()[0].clone());
        for (at, (mine, wanted)) in ours.items().iter().zip(theirs.items()).enumerate() {
            let newer = NEWER.contains(&(name.as_str(), at)) || matches!(at, TIPS | SUBCOMMANDS);
            if !newer && sorted(mine) != sorted(wanted) {
                wrong.push(format!("{name}, place {at}: {mine:?}, redis {wanted:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The tokens of an argument tree.
fn tokens(arguments: &Value, found: &mut BTreeSet<String>) {
    for argument in arguments.items() {
        for (field, value) in argument.pairs() {
            match field.as_str() {
                "token" => drop(found.insert(value.text())),
                "arguments" => tokens(&value, found),
                _ => {}
            }
        }
    }
}

/// What two documentations of a command must have in common, ours at least.
fn shape(doc: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let mut shape = BTreeMap::new();
    let group = doc.pairs().into_iter().find(|(name, _)| name == "group");
    let group = group.expect("a group").1.text();
    for (name, value) in doc.pairs() {
        let what = match name.as_str() {
            "since" | "group" | "deprecated_since" | "replaced_by" => [value.text()].into(),
            "doc_flags" => texts(&value),
            "history" if WITH_HISTORY.contains(&group.as_str()) => {
                let versions = value.items().iter().map(|change| change.items()[0].text());
                versions.collect()
            }
            "arguments" => {
                let mut found = BTreeSet::new();
                tokens(&value, &mut found);
                found
            }
            _ => continue,
        };
        shape.insert(name, what);
    }
    shape
}

#[test]
fn docs() {
    let mut pair = Pair::start(1);
    let mut wrong = Vec::new();
    for name in pair.names() {
        let (ours, theirs) = pair.run(&format!("COMMAND DOCS {name}"));
        let (ours, theirs) = (shape(&ours.pairs()[0].1), shape(&theirs.pairs()[0].1));
        for (field, wanted) in theirs {
            let mine = ours.get(&field).cloned().unwrap_or_default();
            let exact = !matches!(field.as_str(), "arguments" | "history");
            if !mine.is_superset(&wanted) || exact && mine != wanted {
                wrong.push(format!("{name} {field}: {mine:?}, redis {wanted:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn keys() {
    for shards in [1, 3] {
        let mut pair = Pair::start(shards);
        for line in LINES {
            for what in ["GETKEYS", "GETKEYSANDFLAGS"] {
                let (ours, theirs) = pair.run(&format!("COMMAND {what} {line}"));
                assert_eq!(sorted(&ours), sorted(&theirs), "{what} {line}");
            }
        }
    }
}

#[test]
fn list() {
    let mut pair = Pair::start(1);
    let both = pair.names();
    let categories = pair.theirs.run("ACL CAT");
    let filters = texts(&categories)
        .into_iter()
        .map(|category| format!("FILTERBY ACLCAT {category}"))
        .chain(
            [
                "FILTERBY ACLCAT nosuch",
                "FILTERBY PATTERN *et*",
                "FILTERBY MODULE x",
            ]
            .map(Into::into),
        )
        .chain(["", "FILTERBY PATTERN config|*", "FILTERBY PATTERN [a-d]*"].map(Into::into));
    for filter in filters {
        let (ours, theirs) = pair.run(&format!("COMMAND LIST {filter}"));
        let known = |list: &Value| -> BTreeSet<String> {
            let newer = |name: &String| {
                filter.contains("ACLCAT") && NEWER.contains(&(name.as_str(), CATEGORIES))
            };
            let names = texts(list).into_iter();
            names
                .filter(|name| both.contains(name) && !newer(name))
                .collect()
        };
        assert_eq!(known(&ours), known(&theirs), "{filter}");
    }
    for wrong in ["FILTERBY", "FILTERBY X y", "x", "FILTERBY ACLCAT a b"] {
        let (ours, theirs) = pair.run(&format!("COMMAND LIST {wrong}"));
        assert_eq!(ours, theirs, "{wrong}");
    }
}
