//! COMMAND DOCS: a row's summary, and its arguments as a tree that is read off the row's `syntax`.
//!
//! # Notation
//! ```text
//! word            an argument          WORD          a token, alone or before its value
//! [ ... ]         optional             a | b         one of several
//! < ... >         one, not optional    x [x ...]     x, several times
//! ""              the empty string
//! name:integer    of that type         [ ... ]#name  a group's name
//! [ ... ]*        a group, several times             [ ... ]*#name
//! ```

use crate::command::registry::{Registry, Row, RowId};
use crate::command::spec::Spec;
use crate::resp::encode::Reply;

use super::catalog::name_of;

/// The token that is nothing.
const EMPTY: &str = "\"\"";

/// What kind of argument it is, under Redis's names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Key,
    String,
    Integer,
    Double,
    Pattern,
    UnixTime,
    PureToken,
    OneOf,
    Block,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Double => "double",
            Self::Pattern => "pattern",
            Self::UnixTime => "unix-time",
            Self::PureToken => "pure-token",
            Self::OneOf => "oneof",
            Self::Block => "block",
        }
    }

    /// An argument's name and kind: what the name tells, unless a colon and the kind follow it.
    fn in_word(word: &str) -> (&str, Self) {
        let told = [Self::String, Self::Integer, Self::Double]
            .into_iter()
            .find_map(|kind| {
                let name = word.strip_suffix(kind.name())?.strip_suffix(':')?;
                Some((name, kind))
            });
        told.unwrap_or_else(|| (word, Self::of(word)))
    }

    /// The kind that an argument's name tells.
    fn of(name: &str) -> Self {
        let is = |words: &[&str]| words.contains(&name);
        if is(&[
            "key",
            "newkey",
            "source",
            "destination",
            "key1",
            "key2",
            "dst",
            "destkey",
        ]) {
            Self::Key
        } else if name.starts_with("unix-time") || name == "timestamp" {
            Self::UnixTime
        } else if name == "pattern" {
            Self::Pattern
        } else if is(&[
            "min", "max", "score", "weight", "radius", "width", "height", "timeout",
        ]) {
            Self::Double
        } else if is(&[
            "count",
            "numkeys",
            "seconds",
            "milliseconds",
            "offset",
            "start",
            "stop",
            "index",
            "cursor",
            "destination-db",
            "index1",
            "index2",
            "decrement",
            "bit",
            "ttl",
            "len",
            "threshold",
            "limit",
            "protover",
            "numlocal",
            "rank",
            "num-matches",
            "maxlen",
            "end",
            "min-match-len",
            "client-id",
        ]) {
            Self::Integer
        } else {
            Self::String
        }
    }
}

/// A node of the tree.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Argument {
    name: String,
    kind: Kind,
    token: Option<String>,
    optional: bool,
    multiple: bool,
    multiple_token: bool,
    inner: Vec<Argument>,
}

impl Argument {
    fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.to_string(),
            kind,
            token: None,
            optional: false,
            multiple: false,
            multiple_token: false,
            inner: Vec::new(),
        }
    }

    fn group(kind: Kind, inner: Vec<Argument>) -> Self {
        let names: Vec<&str> = inner.iter().map(|a| a.name.as_str()).collect();
        Self {
            inner: inner.clone(),
            ..Self::new(&names.join("_"), kind)
        }
    }

    fn token(word: &str) -> Self {
        if word == EMPTY {
            return Self {
                token: Some(String::new()),
                ..Self::new("empty-string", Kind::PureToken)
            };
        }
        let name = word.to_ascii_lowercase();
        let name = if name.is_empty() { word } else { &name };
        Self {
            token: Some(word.to_string()),
            ..Self::new(name, Kind::PureToken)
        }
    }
}

/// The words and brackets of a syntax.
fn lex(syntax: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = syntax.trim_start();
    while !rest.is_empty() {
        let single = |c: char| matches!(c, '[' | ']' | '<' | '>' | '|') || c.is_whitespace();
        let end = match rest.find(single) {
            Some(0) => 1,
            Some(end) => end,
            None => rest.len(),
        };
        words.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    words
}

/// Reads the words one after the other.
struct Parser<'a> {
    words: Vec<&'a str>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    /// Everything up to `close`, as one or several sequences between bars.
    fn alternatives(&mut self, close: &str) -> Vec<Vec<Argument>> {
        let mut all = vec![Vec::new()];
        while let Some(word) = self.peek() {
            self.at += 1;
            let sequence = all.last_mut().expect("never empty");
            match word {
                word if word == close => break,
                "|" => all.push(Vec::new()),
                "[" if self.repeats() => repeat(sequence, self.repetition()),
                "[" => {
                    let inner = one(self.alternatives("]"));
                    if let Some(mut inner) = self.described(inner) {
                        inner.optional = true;
                        sequence.push(inner);
                    }
                }
                "<" => {
                    let inner = one(self.alternatives(">"));
                    if let Some(inner) = self.described(inner) {
                        push(sequence, inner);
                    }
                }
                word if is_token(word) => sequence.push(Argument::token(word)),
                word => {
                    let (name, kind) = Kind::in_word(word);
                    push(sequence, Argument::new(name, kind));
                }
            }
        }
        all
    }

    /// A group with what stands behind its bracket: `*`, and `#` with its name.
    fn described(&mut self, group: Option<Argument>) -> Option<Argument> {
        let mark = self.peek().filter(|word| word.starts_with(['*', '#']));
        let Some(mark) = mark else {
            return group;
        };
        self.at += 1;
        let mut group = group?;
        group.multiple |= mark.starts_with('*');
        if let Some((_, name)) = mark.split_once('#') {
            group.name = name.to_string();
        }
        Some(group)
    }

    /// Whether the bracket that was just opened holds `... ]` at its end and no further bracket.
    fn repeats(&self) -> bool {
        let rest = &self.words[self.at..];
        let close = rest.iter().position(|w| matches!(*w, "[" | "]"));
        close.is_some_and(|at| rest[at] == "]" && at > 0 && rest[at - 1] == "...")
    }

    /// The words of such a bracket, which is passed over.
    fn repetition(&mut self) -> Vec<&'a str> {
        let rest = &self.words[self.at..];
        let count = rest.iter().take_while(|w| **w != "...").count();
        let words = rest[..count].to_vec();
        self.at += count + 2;
        words
    }
}

fn is_token(word: &str) -> bool {
    !word.chars().any(|c| c.is_ascii_lowercase())
}

/// Appends an argument; a token before it becomes its own.
fn push(sequence: &mut Vec<Argument>, mut argument: Argument) {
    if let Some(before) = sequence.last()
        && before.kind == Kind::PureToken
        && !before.optional
        && argument.token.is_none()
    {
        argument.token.clone_from(&before.token);
        sequence.pop();
    }
    sequence.push(argument);
}

/// `x [x ...]`: what stands at the end of the sequence may stand there several times.
fn repeat(sequence: &mut Vec<Argument>, words: Vec<&str>) {
    let with_token = words.first().is_some_and(|w| is_token(w));
    let count = words.iter().filter(|w| !is_token(w)).count();
    if count > 1 && count <= sequence.len() {
        let mut inner = sequence.split_off(sequence.len() - count);
        let token = inner[0].token.take_if(|_| with_token);
        sequence.push(Argument {
            token,
            ..Argument::group(Kind::Block, inner)
        });
    }
    if let Some(last) = sequence.last_mut() {
        last.multiple = true;
        last.multiple_token = with_token;
    }
}

/// One argument of what a bracket holds; None: nothing.
fn one(mut alternatives: Vec<Vec<Argument>>) -> Option<Argument> {
    if alternatives.len() == 1 {
        return block(alternatives.remove(0));
    }
    let inner: Vec<Argument> = alternatives.into_iter().filter_map(block).collect();
    (!inner.is_empty()).then(|| Argument::group(Kind::OneOf, inner))
}

/// A sequence as one argument: itself, or a block, whose token is that of its first element.
fn block(mut sequence: Vec<Argument>) -> Option<Argument> {
    if sequence.len() <= 1 {
        return sequence.pop();
    }
    let first = &mut sequence[0];
    let token = if first.kind != Kind::PureToken && !first.multiple_token {
        first.token.take()
    } else {
        None
    };
    let mut block = Argument::group(Kind::Block, sequence);
    if let Some(token) = token {
        block.name = token.to_ascii_lowercase();
        block.token = Some(token);
    }
    Some(block)
}

fn arguments(syntax: &str) -> Vec<Argument> {
    let mut parser = Parser {
        words: lex(syntax),
        at: 0,
    };
    let mut alternatives = parser.alternatives("");
    match alternatives.len() {
        1 => alternatives.remove(0),
        _ => one(alternatives).into_iter().collect(),
    }
}

/// Name and documentation of a command, as a pair of COMMAND DOCS's map.
pub(super) fn put(reply: &mut Reply<'_>, registry: &Registry, id: RowId) {
    let row = registry.row(id);
    let spec = row.spec;
    let list = arguments(spec.syntax);
    reply.bulk(name_of(registry, id).as_bytes());
    let flags: Vec<&str> = [
        (spec.deprecated.is_some(), "deprecated"),
        (spec.internal, "syscmd"),
    ]
    .iter()
    .filter_map(|(set, name)| set.then_some(*name))
    .collect();
    let texts = [
        ("summary", spec.summary),
        ("since", spec.since),
        ("group", spec.group.name()),
        ("complexity", spec.complexity),
    ];
    let texts = texts.iter().filter(|(_, text)| !text.is_empty());
    reply.map(
        texts.clone().count()
            + usize::from(!flags.is_empty())
            + if spec.deprecated.is_some() { 2 } else { 0 }
            + usize::from(!spec.history.is_empty())
            + usize::from(!list.is_empty())
            + usize::from(!row.children.is_empty()),
    );
    for (name, text) in texts {
        reply.bulk(name.as_bytes());
        reply.bulk(text.as_bytes());
    }
    if !flags.is_empty() {
        reply.bulk(b"doc_flags");
        reply.set(flags.len());
        flags.iter().for_each(|flag| reply.simple(flag));
    }
    if let Some(deprecated) = spec.deprecated {
        reply.bulk(b"deprecated_since");
        reply.bulk(deprecated.since.as_bytes());
        reply.bulk(b"replaced_by");
        reply.bulk(deprecated.instead.as_bytes());
    }
    if !spec.history.is_empty() {
        reply.bulk(b"history");
        reply.set(spec.history.len());
        for (version, change) in spec.history {
            reply.array(2);
            reply.bulk(version.as_bytes());
            reply.bulk(change.as_bytes());
        }
    }
    if !list.is_empty() {
        reply.bulk(b"arguments");
        put_arguments(reply, &list, spec, &mut 0);
    }
    put_children(reply, registry, row);
}

fn put_children(reply: &mut Reply<'_>, registry: &Registry, row: &Row) {
    if row.children.is_empty() {
        return;
    }
    reply.bulk(b"subcommands");
    reply.map(row.children.len());
    for child in row.children.clone() {
        put(reply, registry, RowId(child));
    }
}

/// `keys` counts the keys that were printed: the first belongs to the first key spec, and so on.
fn put_arguments(reply: &mut Reply<'_>, list: &[Argument], spec: &Spec, keys: &mut usize) {
    reply.array(list.len());
    for argument in list {
        let flags: Vec<&str> = [
            (argument.optional, "optional"),
            (argument.multiple, "multiple"),
            (argument.multiple_token, "multiple_token"),
        ]
        .iter()
        .filter_map(|(set, name)| set.then_some(*name))
        .collect();
        let key_spec = argument.kind == Kind::Key && !spec.keys.is_empty();
        let fields = 2
            + usize::from(key_spec)
            + usize::from(argument.token.is_some())
            + usize::from(!flags.is_empty())
            + usize::from(!argument.inner.is_empty());
        reply.map(fields);
        reply.bulk(b"name");
        reply.bulk(argument.name.as_bytes());
        reply.bulk(b"type");
        reply.bulk(argument.kind.name().as_bytes());
        if key_spec {
            reply.bulk(b"key_spec_index");
            reply.integer((*keys).min(spec.keys.len() - 1) as i64);
            *keys += 1;
        }
        if let Some(token) = &argument.token {
            reply.bulk(b"token");
            reply.bulk(token.trim_matches('"').as_bytes());
        }
        if !flags.is_empty() {
            reply.bulk(b"flags");
            reply.set(flags.len());
            flags.iter().for_each(|flag| reply.simple(flag));
        }
        if !argument.inner.is_empty() {
            reply.bulk(b"arguments");
            put_arguments(reply, &argument.inner, spec, keys);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree in a short form: `name:kind=TOKEN?*(...)`.
    fn shown(syntax: &str) -> String {
        fn text(list: &[Argument]) -> String {
            let one = |a: &Argument| {
                let mut s = format!("{}:{}", a.name, a.kind.name());
                if let Some(token) = &a.token {
                    s += &format!("={token}");
                }
                s += if a.optional { "?" } else { "" };
                s += if a.multiple { "*" } else { "" };
                s += if a.multiple_token { "T" } else { "" };
                if !a.inner.is_empty() {
                    s += &format!("({})", text(&a.inner));
                }
                s
            };
            list.iter().map(one).collect::<Vec<_>>().join(" ")
        }
        text(&arguments(syntax))
    }

    #[test]
    fn syntax_becomes_arguments() {
        assert_eq!(shown(""), "");
        assert_eq!(shown("key [key ...]"), "key:key*");
        assert_eq!(
            shown("key value [NX | XX] [EX seconds | KEEPTTL]"),
            "key:key value:string nx_xx:oneof?(nx:pure-token=NX xx:pure-token=XX) \
             seconds_keepttl:oneof?(seconds:integer=EX keepttl:pure-token=KEEPTTL)"
        );
        assert_eq!(
            shown("key value [key value ...]"),
            "key_value:block*(key:key value:string)"
        );
        assert_eq!(
            shown("numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN>]"),
            "numkeys:integer key:key* weight:double=WEIGHTS?* \
             sum_min:oneof=AGGREGATE?(sum:pure-token=SUM min:pure-token=MIN)"
        );
        assert_eq!(
            shown("key [LIMIT offset count] [GET pattern [GET pattern ...]]"),
            "key:key limit:block=LIMIT?(offset:integer count:integer) pattern:pattern=GET?*T"
        );
        assert_eq!(shown("[section [section ...]]"), "section:string?*");
        assert_eq!(
            shown("ON | OFF"),
            "on_off:oneof(on:pure-token=ON off:pure-token=OFF)"
        );
        assert_eq!(
            shown("key [GET type offset [GET type offset ...]]"),
            "key:key type_offset:block=GET?*T(type:string offset:integer)"
        );
        assert_eq!(
            shown("by:double [A | B]#letter [X x | Y]*"),
            "by:double letter:oneof?(a:pure-token=A b:pure-token=B) \
             x_y:oneof?*(x:string=X y:pure-token=Y)"
        );
        // Nothing that a row may hold by mistake breaks it.
        for odd in ["[", "]", "<", "[...]", "| |", "[ ]", "x [y z ...]", "..."] {
            shown(odd);
        }
    }
}
