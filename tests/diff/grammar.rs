//! A grammar of commands: right ones in every combination of options, and wrong ones made of them.
//!
//! One command on a line, as its documentation writes it:
//!
//! | part | meaning |
//! | --- | --- |
//! | `SET`, `on` | any word that is no class: itself, now and then in small letters |
//! | `key`, `value`, `int` ... | a random value of that class ([`CLASSES`]) |
//! | `[NX\|EX seconds]` | one of these, or nothing |
//! | `(LEFT\|RIGHT)` | one of these |
//! | `key...` or `(key value)...` | one to three times |
use ringdove_rig::Rng;

/// So many values at the front of a class are usual: the rest comes four times less often.
const USUAL: usize = 5;

/// A part of a rule.
#[derive(Debug)]
enum Part {
    Word(String),
    Class(String),
    Choice { of: Vec<Vec<Part>>, optional: bool },
    Many(Box<Part>),
}

/// One command of a family.
#[derive(Debug)]
pub(crate) struct Rule(Vec<Part>);

/// Reads a grammar.
pub(crate) fn parse(name: &str, text: &str) -> Vec<Rule> {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let mut rest = line;
            let parts = sequence(&mut rest);
            assert!(rest.is_empty(), "{name}: {line}: left over: {rest}");
            Rule(parts)
        })
        .collect()
}

fn sequence(rest: &mut &str) -> Vec<Part> {
    let mut parts = Vec::new();
    loop {
        *rest = rest.trim_start();
        let mut part = match rest.chars().next() {
            None | Some(']' | ')' | '|') => return parts,
            Some(open @ ('[' | '(')) => choice(rest, open),
            Some(_) => word(rest),
        };
        if let Some(after) = rest.strip_prefix("...") {
            *rest = after;
            part = Part::Many(Box::new(part));
        }
        parts.push(part);
    }
}

fn choice(rest: &mut &str, open: char) -> Part {
    let mut of = Vec::new();
    loop {
        *rest = &rest[1..];
        of.push(sequence(rest));
        match rest.chars().next() {
            Some('|') => {}
            Some(_) => break,
            None => panic!("a group that is not closed"),
        }
    }
    *rest = &rest[1..];
    let optional = open == '[';
    Part::Choice { of, optional }
}

fn word(rest: &mut &str) -> Part {
    let ends = [rest.find([' ', '[', ']', '(', ')', '|']), rest.find("...")];
    let end = ends.into_iter().flatten().min().unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    *rest = after;
    if CLASSES.iter().any(|(class, _)| *class == word) {
        Part::Class(word.to_owned())
    } else {
        Part::Word(word.to_owned())
    }
}

/// The classes: first what is usual, then what lies at or past the edge of what is allowed.
const CLASSES: &[(&str, &[&str])] = &[
    ("key", &["a", "b", "c", "{a}1", "n", "list", ""]),
    (
        "value",
        &[
            "",
            "x",
            "10",
            "-3",
            "3.5",
            "hello world",
            "\u{e9}\n",
            "foobarfoobarfoobarfoobarfoobarfoobarfoobarfoobar",
        ],
    ),
    (
        "int",
        &[
            "0",
            "1",
            "-1",
            "7",
            "9223372036854775807",
            "-9223372036854775808",
            "1.5",
            "x",
        ],
    ),
    (
        "float",
        &[
            "0", "1.5", "-2.25", "1e3", "3", "inf", "nan", "0x10", "x", "",
        ],
    ),
    (
        "seconds",
        &["1000", "100000", "0", "-1", "9223372036854775807", "x"],
    ),
    (
        "millis",
        &[
            "1000000",
            "100000000",
            "0",
            "-1",
            "9223372036854775807",
            "1.0",
        ],
    ),
    (
        "at",
        &["4102444800", "1", "0", "-1", "9223372036854775", "x"],
    ),
    (
        "atms",
        &["4102444800000", "1", "0", "-1", "9223372036854775807", "x"],
    ),
    ("bit", &["0", "1", "0", "1", "2", "-1", "x"]),
    (
        "offset",
        &["0", "1", "7", "8", "100", "1000", "-1", "4294967296", "x"],
    ),
    (
        "index",
        &[
            "0",
            "1",
            "-1",
            "2",
            "5",
            "-3",
            "100",
            "-100",
            "9223372036854775807",
            "x",
        ],
    ),
    ("db", &["0", "1", "2", "15", "16", "-1", "x"]),
    (
        "pattern",
        &[
            "*", "a", "a*", "?", "[ab]", "[^a]", "\\*", "{a}*", "[a-c", "", "**x*",
        ],
    ),
    ("count", &["1", "5", "1000", "0", "-1", "x"]),
    (
        "field",
        &[
            "u1", "u8", "i8", "i5", "u63", "i64", "u64", "i65", "u0", "x",
        ],
    ),
    (
        "fieldoffset",
        &["0", "#0", "#1", "5", "100", "-1", "#x", "x"],
    ),
    (
        "streamid",
        &[
            "1-1",
            "2-1",
            "3-2",
            "3",
            "4-1",
            "0",
            "1-0",
            "5-3",
            "2",
            "3-1",
            "4-2",
            "4-3",
            "9",
            "-",
            "+",
            "1-*",
            "x",
            "18446744073709551615-18446744073709551615",
        ],
    ),
    (
        "nextid",
        &["3-*", "4-*", "1-*", "2-*", "4-*", "5-*", "5-1", "7-3", "x"],
    ),
    (
        "bound",
        &[
            "-", "+", "2", "(2-1", "3-1", "0", "(3", "(-", "9-9", "(0-0", "x", "",
        ],
    ),
    ("threshold", &["1", "2", "3", "0", "4", "2-1", "x", "-1"]),
    ("group", &["g", "h", "g", "h", "g", "nosuch", ""]),
    (
        "consumer",
        &["alice", "bob", "alice", "bob", "carol", "", "x"],
    ),
    (
        "name",
        &["a", "b", "a", "b", "a", "temperature", "1", "-70000", ""],
    ),
    ("word", &["x", "NX", "0", "", "hello"]),
    ("type", &["string", "list", "hash", "nosuch"]),
    (
        "score",
        &[
            "1", "2", "-1.5", "0", "3.25", "inf", "-inf", "1e17", "nan", "0x10", "x", "",
        ],
    ),
    (
        "member",
        &[
            "m",
            "n",
            "o",
            "10",
            "9",
            "",
            "m2",
            "0.5",
            "a long member: 64 bytes and one more byte than the usual limit is!",
        ],
    ),
    (
        "lon",
        &[
            "13.361389",
            "15.087269",
            "-179.9",
            "179.95",
            "0",
            "13.5",
            "180",
            "181",
            "x",
        ],
    ),
    (
        "lat",
        &[
            "38.115556",
            "37.502669",
            "-80",
            "70.5",
            "0",
            "85",
            "-85.05112878",
            "86",
            "x",
        ],
    ),
    (
        "reach",
        &[
            "100", "200", "5000", "0", "1.5", "20000", "100000", "-1", "x",
        ],
    ),
    ("unit", &["km", "m", "mi", "ft", "KM", "yd"]),
    (
        "bound",
        &[
            "0", "2", "(1", "-inf", "+inf", "(3.25", "-2", "", " 1", "x", "(", "inf",
        ],
    ),
    (
        "lexbound",
        &["-", "+", "[m", "(n", "[9", "[", "(", "m", "-x", ""],
    ),
];

/// A random value of a class.
fn class(name: &str, rng: &mut Rng) -> Vec<u8> {
    let row = CLASSES.iter().find(|(class, _)| *class == name);
    let choices = row.expect("parse made classes of these names only").1;
    let end = if rng.one_in(4) {
        choices.len()
    } else {
        choices.len().min(USUAL)
    };
    choices[rng.below(end)].as_bytes().to_vec()
}

fn expand(parts: &[Part], rng: &mut Rng, every_option: bool, out: &mut Vec<Vec<u8>>) {
    for part in parts {
        match part {
            Part::Word(word) if rng.one_in(6) => out.push(word.to_lowercase().into_bytes()),
            Part::Word(word) => out.push(word.clone().into_bytes()),
            Part::Class(name) => out.push(class(name, rng)),
            Part::Choice { optional: true, .. } if !every_option && rng.one_in(2) => {}
            Part::Choice { of, .. } => expand(rng.pick::<Vec<Part>>(of), rng, every_option, out),
            Part::Many(part) => {
                for _ in 0..1 + rng.below(3) {
                    expand(std::slice::from_ref(part), rng, every_option, out);
                }
            }
        }
    }
}

/// A random command; one in six is then bent: a word doubled, dropped, replaced or added.
pub(crate) fn command(rules: &[Rule], rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut args = Vec::new();
    expand(&rng.pick(rules).0, rng, false, &mut args);
    if rng.one_in(6) {
        let at = rng.below(args.len());
        match rng.below(4) {
            0 => args.push(args[at].clone()),
            1 if at > 0 => drop(args.remove(at)),
            2 if at > 0 => args[at] = class("word", rng),
            _ => args.push(class("word", rng)),
        }
    }
    args
}

/// Every command with every prefix of its arguments, with one too many, with each argument
/// replaced by what it cannot be, and with each argument doubled.
pub(crate) fn errors(rules: &[Rule]) -> Vec<Vec<Vec<u8>>> {
    const WRONG: [&str; 9] = [
        "",
        "x",
        "-1",
        "0",
        "1.5",
        "99999999999999999999",
        " 1",
        "nan",
        "-9223372036854775809",
    ];
    let mut rng = Rng::new(1);
    let mut all = Vec::new();
    for rule in rules {
        let mut args = Vec::new();
        expand(&rule.0, &mut rng, true, &mut args);
        all.extend((1..=args.len()).map(|len| args[..len].to_vec()));
        for extra in ["x", "NX", ""] {
            let mut longer = args.clone();
            longer.push(extra.into());
            all.push(longer);
        }
        for at in 1..args.len() {
            for wrong in WRONG {
                let mut bent = args.clone();
                bent[at] = wrong.into();
                all.push(bent);
            }
            let mut doubled = args.clone();
            doubled.insert(at, args[at].clone());
            all.push(doubled);
        }
    }
    all
}
