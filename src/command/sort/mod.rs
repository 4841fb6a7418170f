//! SORT and SORT_RO: the elements of a list, set or sorted set in an order, with values of other keys
//! looked up for them.
//!
//! The keys that patterns lead to are known only when the elements are, and may belong to any shard.
//! A command with such patterns therefore runs as a step that holds the whole database
//! ([`crate::net`], `steps`): the source is lent first, then the keys that [`derived_keys`] finds, and
//! then the function here runs as it does where one shard owns everything.
mod options;

use super::context::{Caller, Ctx};
use super::error::{Error, Outcome};
use super::spec::{Acl, Begin, Effect, Find, Flags, Group, KeyFlags, KeySpec, Run, Spec};
use super::zset::view::View;
use crate::keyspace::{EntryRef, Expiry, Kind, NewValue};
use crate::resp::double::parse_f64;
use crate::resp::number::I64_TEXT_MAX;
use crate::shard::Shard;
use crate::shard::access::EventClass;
use crate::types::hash::HashRef;
use crate::types::list::List;
use crate::types::packed::Element;
use crate::types::set::Set;
use options::{By, Get, Options, Pattern};
use std::cmp::Ordering;
use std::ops::Range;

pub(crate) use options::store_key;

const COMPLEXITY: &str = "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the number of returned elements. When the elements are not sorted, complexity is O(N).";
const READ: KeyFlags = KeyFlags::RO.or(KeyFlags::ACCESS);
const LOOKED_UP: KeySpec = KeySpec {
    flags: READ,
    begin: Begin::Unknown,
    find: Find::Unknown,
};

/// The commands of the group.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "sort",
        key_notes: &[
            "",
            "For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the content of the key we sort",
            "For the optional STORE keyword. It is marked 'unknown' because the keyword can appear anywhere in the argument array",
        ],
        arity: -2,
        flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS),
        acl: Acl::WRITE
            .or(Acl::SET)
            .or(Acl::SORTEDSET)
            .or(Acl::LIST)
            .or(Acl::SLOW)
            .or(Acl::DANGEROUS),
        keys: &[
            KeySpec::one(1, READ),
            LOOKED_UP,
            // Behind STORE, which may stand anywhere.
            KeySpec {
                flags: KeyFlags::OW.or(KeyFlags::UPDATE),
                ..LOOKED_UP
            },
        ],
        complexity: COMPLEXITY,
        summary: "Sorts the elements of a list, set or sorted set, and returns or stores them.",
        syntax: "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA] [STORE destination]",
        effect: Effect::Values,
        run: Run::Keyed(sort),
        ..Spec::BASE
    },
    Spec {
        name: "sort_ro",
        key_notes: &[
            "",
            "For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the content of the key we sort",
        ],
        arity: -2,
        flags: Flags::READONLY.or(Flags::MOVABLEKEYS),
        acl: Acl::READ
            .or(Acl::SET)
            .or(Acl::SORTEDSET)
            .or(Acl::LIST)
            .or(Acl::SLOW)
            .or(Acl::DANGEROUS),
        keys: &[KeySpec::one(1, READ), LOOKED_UP],
        since: "7.0.0",
        complexity: COMPLEXITY,
        summary: "Returns the elements of a list, set or sorted set in an order.",
        syntax: "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA]",
        run: Run::Keyed(sort_ro),
        group: Group::Generic,
        ..Spec::BASE
    },
];

/// Whether a command is a SORT that looks other keys up.
pub fn looks_up(spec: &Spec, args: &[&[u8]]) -> bool {
    matches!(spec.name, "sort" | "sort_ro")
        && args.len() > 2
        && Options::parse(&args[2..], spec.name == "sort")
            .is_ok_and(|options| options.patterns().next().is_some())
}

/// The keys that a SORT looks up for the elements of its source, which is in the shard's tables.
pub fn derived_keys(shard: &Shard, db: u16, args: &[&[u8]]) -> Vec<Box<[u8]>> {
    let Ok(options) = Options::parse(&args[2..], true) else {
        return Vec::new();
    };
    let db = shard.keyspace.db(usize::from(db));
    let source = db.lookup(shard.pos(args[1]), args[1], shard.now_ms).live();
    let Some(Ok(elements)) = source.map(|entry| elements_of(entry, 0..usize::MAX, false)) else {
        return Vec::new();
    };
    let (mut keys, mut key) = (Vec::new(), Vec::new());
    for pattern in options.patterns() {
        keys.extend(elements.iter().map(|e| Box::from(pattern.key(e, &mut key))));
    }
    keys
}

/// Elements, in their own order or against it.
fn elements_of(
    entry: EntryRef<'_>,
    range: Range<usize>,
    backwards: bool,
) -> Result<Vec<Vec<u8>>, Error> {
    let mut found = Vec::new();
    match entry.kind() {
        Kind::List => {
            let list = List::of(entry.value());
            let range = range.start..range.end.min(list.len());
            let mut left = range.len();
            if left == 0 {
                return Ok(found);
            }
            let visit = |element: Element<'_>| {
                found.push(element.to_vec());
                left -= 1;
                left > 0
            };
            match backwards {
                false => list.forward(range.start, visit),
                true => list.backward(list.len() - 1 - range.start, visit),
            }
        }
        // In no order.
        Kind::Set => {
            let set = Set::of(entry.value());
            let mut at = 0;
            set.all(|member| {
                if range.contains(&at) {
                    found.push(member.to_vec());
                }
                at += 1;
                at < range.end
            });
        }
        Kind::ZSet => {
            let set = View::of(entry)?;
            let range = range.start..range.end.min(set.len());
            if range.is_empty() {
                return Ok(found);
            }
            let first = match backwards {
                false => range.start,
                true => set.len() - 1 - range.start,
            };
            set.visit(first, range.len(), backwards, |_, member| {
                found.push(member.to_vec());
            });
        }
        _ => return Err(Error::WRONG_TYPE),
    }
    Ok(found)
}

fn len_of(entry: EntryRef<'_>) -> Result<usize, Error> {
    Ok(match entry.kind() {
        Kind::List => List::of(entry.value()).len(),
        Kind::Set => Set::of(entry.value()).len(),
        Kind::ZSet => View::of(entry)?.len(),
        _ => return Err(Error::WRONG_TYPE),
    })
}

/// What a pattern leads to for an element.
fn look_up(
    shard: &mut Shard,
    caller: Caller,
    pattern: Pattern<'_>,
    element: &[u8],
    key: &mut Vec<u8>,
) -> Option<Vec<u8>> {
    let key = pattern.key(element, key);
    let (pos, now) = (shard.pos(key), shard.now_ms);
    let value = shard.read(caller, pos, key)?.value();
    match pattern.field {
        Some(field) => Some(HashRef::of(value)?.get(field, now)?.to_vec()),
        None => Some(value.bytes(&mut [0; I64_TEXT_MAX])?.to_vec()),
    }
}

/// A number as C's strtod reads it to the text's end; an empty one is 0.
fn weight_of(text: &[u8]) -> Result<f64, Error> {
    let text = text.trim_ascii_start();
    if text.is_empty() {
        return Ok(0.0);
    }
    parse_f64(text)
        .filter(|number| !number.is_nan())
        .ok_or_else(|| Error::new("ERR One or more scores can't be converted into double"))
}

/// What an element is sorted by.
#[derive(Debug)]
enum Weight {
    Number(f64),
    Text(Option<Vec<u8>>),
    Itself,
}

fn compare(a: &(Vec<u8>, Weight), b: &(Vec<u8>, Weight)) -> Ordering {
    match (&a.1, &b.1) {
        (Weight::Number(x), Weight::Number(y)) => x
            .partial_cmp(y)
            .unwrap_or(Ordering::Equal)
            .then_with(|| a.0.cmp(&b.0)),
        (Weight::Text(x), Weight::Text(y)) => x.cmp(y),
        _ => a.0.cmp(&b.0),
    }
}

/// The indices that LIMIT leaves.
fn limited(limit: Option<(i64, i64)>, len: usize) -> Range<usize> {
    let Some((offset, count)) = limit else {
        return 0..len;
    };
    let start = usize::try_from(offset).unwrap_or(0).min(len);
    let count = usize::try_from(count).unwrap_or(len);
    start..start.saturating_add(count).min(len)
}

/// SORT
fn sort(ctx: &mut Ctx<'_>) -> Outcome {
    run(ctx, true)
}

/// SORT_RO
fn sort_ro(ctx: &mut Ctx<'_>) -> Outcome {
    run(ctx, false)
}

fn run(ctx: &mut Ctx<'_>, may_store: bool) -> Outcome {
    let (args, caller) = (ctx.args, ctx.caller);
    let pos = ctx.shard.pos(args[1]);
    let mut options = Options::parse(&args[2..], may_store)?;
    if caller.is_strict()
        && let Some(option) = options.refused_by_clusters()
    {
        let text = format!("ERR {option} option of SORT denied in Cluster mode.");
        return Err(Error::new(text));
    }
    let source = ctx.shard.read(caller, pos, args[1]);
    let sorted = match source {
        None => Vec::new(),
        Some(entry) => {
            let range = limited(options.limit, len_of(entry)?);
            if options.store.is_some()
                && matches!(options.by, By::Nothing)
                && entry.kind() == Kind::Set
            {
                // What is stored must not depend on the order in which a set happens to be.
                (options.by, options.alpha) = (By::Element, true);
            }
            if let By::Nothing = options.by {
                elements_of(entry, range, options.descending)?
            } else {
                let elements = elements_of(entry, 0..usize::MAX, false)?;
                let mut sorted = in_order(ctx.shard, caller, &options, elements)?;
                sorted.truncate(range.end);
                sorted.drain(..range.start);
                sorted
            }
        }
    };
    match options.store {
        None => {
            reply(ctx, &options, &sorted);
            Ok(())
        }
        Some(key) => {
            store(ctx, key, &options, &sorted);
            Ok(())
        }
    }
}

/// Elements in the order that the options ask for.
fn in_order(
    shard: &mut Shard,
    caller: Caller,
    options: &Options<'_>,
    elements: Vec<Vec<u8>>,
) -> Result<Vec<Vec<u8>>, Error> {
    let mut key = Vec::new();
    let mut weighed = Vec::with_capacity(elements.len());
    for element in elements {
        let looked_up = match options.by {
            By::Lookup(pattern) => Some(look_up(shard, caller, pattern, &element, &mut key)),
            By::Element | By::Nothing => None,
        };
        let weight = match looked_up {
            Some(text) if options.alpha => Weight::Text(text),
            Some(None) => Weight::Number(0.0),
            Some(Some(text)) => Weight::Number(weight_of(&text)?),
            None if options.alpha => Weight::Itself,
            None => Weight::Number(weight_of(&element)?),
        };
        weighed.push((element, weight));
    }
    if options.descending {
        weighed.sort_by(|a, b| compare(b, a));
    } else {
        weighed.sort_by(compare);
    }
    Ok(weighed.into_iter().map(|(element, _)| element).collect())
}

/// Shows what GET asks for of each element, or the elements.
fn each_value(
    shard: &mut Shard,
    caller: Caller,
    options: &Options<'_>,
    elements: &[Vec<u8>],
    mut show: impl FnMut(Option<&[u8]>),
) {
    let mut key = Vec::new();
    for element in elements {
        if options.get.is_empty() {
            show(Some(element));
        }
        for get in &options.get {
            match get {
                Get::Element => show(Some(element)),
                Get::Nothing => show(None),
                Get::Lookup(pattern) => {
                    show(look_up(shard, caller, *pattern, element, &mut key).as_deref());
                }
            }
        }
    }
}

fn reply(ctx: &mut Ctx<'_>, options: &Options<'_>, elements: &[Vec<u8>]) {
    let reply = &mut ctx.reply;
    reply.array(elements.len() * options.get.len().max(1));
    each_value(
        ctx.shard,
        ctx.caller,
        options,
        elements,
        |value| match value {
            Some(value) => reply.bulk(value),
            None => reply.null(),
        },
    );
}

/// Stores the values as a list, a missing one as an empty string; without any the key goes.
fn store(ctx: &mut Ctx<'_>, key: &[u8], options: &Options<'_>, elements: &[Vec<u8>]) {
    let mut values: Vec<Vec<u8>> = Vec::new();
    each_value(ctx.shard, ctx.caller, options, elements, |value| {
        values.push(value.unwrap_or_default().to_vec());
    });
    let (shard, caller) = (&mut *ctx.shard, ctx.caller);
    let pos = shard.pos(key);
    if values.is_empty() {
        if shard.remove(caller, pos, key) {
            shard.changed(caller.db, pos, key, EventClass::Generic, "del");
        }
    } else {
        let texts: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let size = shard.config.list_max_listpack_size;
        super::list::with_new_list(&texts, size, |value: NewValue<'_>| {
            shard.store(caller, pos, key, value, Expiry::Clear);
        });
        shard.changed(caller.db, pos, key, EventClass::List, "sortstore");
    }
    ctx.reply.integer(values.len() as i64);
}

#[cfg(test)]
mod tests;
