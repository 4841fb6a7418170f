//! Several sets together: ZUNION, ZINTER, ZDIFF, their STORE forms, and ZINTERCARD.
use super::read::{put_head, put_scored};
use super::view::{Builder, View};
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::keyspace::{Db, EntryRef, Kind};
use crate::resp::double::parse_f64;
use crate::resp::number::{I64_TEXT_MAX, parse_i64};
use crate::types::set::Set;
use crate::types::zset::order;
use std::collections::HashMap;

const BAD_WEIGHT: Error = Error::fixed("ERR weight value is not a float");
const BAD_LIMIT: Error = Error::fixed("ERR LIMIT can't be negative");

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Inter,
    Diff,
}

#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            // Infinities of both signs.
            Self::Sum if (a + b).is_nan() => 0.0,
            Self::Sum => a + b,
            Self::Min if b < a => b,
            Self::Max if b > a => b,
            Self::Min | Self::Max => a,
        }
    }
}

/// What a key holds.
#[derive(Clone, Copy)]
enum Input<'a> {
    Missing,
    Sorted(View<'a>),
    /// Each member counts as having the score 1.
    Plain(Set<'a>),
}

/// The score of a plain set's members.
const PLAIN_SCORE: f64 = 1.0;

/// One of the inputs.
#[derive(Clone, Copy)]
struct Source<'a> {
    input: Input<'a>,
    weight: f64,
}

impl<'a> Source<'a> {
    /// What a key holds; other types are the client's error.
    fn of(entry: Option<EntryRef<'a>>) -> Result<Self, Error> {
        let input = match entry {
            None => Input::Missing,
            Some(entry) if entry.kind() == Kind::Set => Input::Plain(Set::of(entry.value())),
            Some(entry) => Input::Sorted(View::of(entry)?),
        };
        Ok(Self { input, weight: 1.0 })
    }

    fn len(&self) -> usize {
        match self.input {
            Input::Missing => 0,
            Input::Sorted(set) => set.len(),
            Input::Plain(set) => set.len(),
        }
    }

    fn score(&self, member: &[u8]) -> Option<f64> {
        let score = match self.input {
            Input::Missing => return None,
            Input::Sorted(set) => set.score(member)?,
            Input::Plain(set) => set.contains(member).then_some(PLAIN_SCORE)?,
        };
        Some(self.weighted(score))
    }

    fn weighted(&self, score: f64) -> f64 {
        let score = self.weight * score;
        // Infinity without weight.
        if score.is_nan() { 0.0 } else { score }
    }

    fn visit(&self, mut visit: impl FnMut(f64, &[u8])) {
        match self.input {
            Input::Missing => {}
            Input::Sorted(set) => {
                set.visit_all(|score, member| visit(self.weighted(score), member));
            }
            Input::Plain(set) => set.for_each(|member| {
                let mut text = [0; I64_TEXT_MAX];
                visit(self.weighted(PLAIN_SCORE), member.text(&mut text));
            }),
        }
    }
}

/// What a command of the family takes.
#[derive(Clone, Copy)]
struct Form {
    operation: Operation,
    /// Where the number of keys stands.
    at: usize,
    name: &'static str,
    /// ZINTERCARD
    counts: bool,
}

/// The options behind the keys.
struct Query {
    keys: usize,
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    /// 0: none.
    limit: usize,
}

impl Query {
    fn keys(args: &[&[u8]], form: Form) -> Result<usize, Error> {
        let keys = parse_i64(args[form.at]).ok_or(Error::NOT_INTEGER)?;
        if keys < 1 {
            return Err(Error::new(format!(
                "ERR at least 1 input key is needed for '{}' command",
                form.name
            )));
        }
        let behind = args.len() - form.at - 1;
        let keys = usize::try_from(keys).unwrap_or(usize::MAX);
        if keys > behind {
            return Err(Error::SYNTAX);
        }
        Ok(keys)
    }

    fn parse(args: &[&[u8]], form: Form, keys: usize) -> Result<Self, Error> {
        let mut query = Self {
            keys,
            weights: Vec::new(),
            aggregate: Aggregate::Sum,
            with_scores: false,
            limit: 0,
        };
        let scores = form.operation != Operation::Diff && !form.counts;
        let stores = form.at == 2;
        let mut options = &args[form.at + 1 + keys..];
        while let [option, rest @ ..] = options {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            options = match rest {
                rest if scores && rest.len() >= keys && is(b"weights") => {
                    let (weights, rest) = rest.split_at(keys);
                    query.weights.clear();
                    for weight in weights {
                        query.weights.push(parse_f64(weight).ok_or(BAD_WEIGHT)?);
                    }
                    rest
                }
                [which, rest @ ..] if scores && is(b"aggregate") => {
                    let which = which.to_ascii_lowercase();
                    query.aggregate = match which.as_slice() {
                        b"sum" => Aggregate::Sum,
                        b"min" => Aggregate::Min,
                        b"max" => Aggregate::Max,
                        _ => return Err(Error::SYNTAX),
                    };
                    rest
                }
                rest if !stores && !form.counts && is(b"withscores") => {
                    query.with_scores = true;
                    rest
                }
                [limit, rest @ ..] if form.counts && is(b"limit") => {
                    let limit = parse_i64(limit).ok_or(BAD_LIMIT)?;
                    query.limit = usize::try_from(limit).map_err(|_| BAD_LIMIT)?;
                    rest
                }
                _ => return Err(Error::SYNTAX),
            };
        }
        Ok(query)
    }
}

/// Elements of a result, in order.
type Elements = Vec<(f64, Vec<u8>)>;

fn sorted(mut elements: Elements) -> Elements {
    elements.sort_unstable_by(|a, b| order((a.0, &a.1), (b.0, &b.1)));
    elements
}

/// Puts the sources together.
fn combine(sources: &mut [Source<'_>], form: Form, query: &Query) -> Elements {
    if form.operation != Operation::Diff {
        // Looking up begins with the smallest; and sums of doubles depend on the order.
        sources.sort_by_key(Source::len);
    }
    match form.operation {
        Operation::Union => union(sources, query.aggregate),
        Operation::Inter => {
            let mut elements = Vec::new();
            inter(sources, query.aggregate, |score, member| {
                elements.push((score, member.to_vec()));
                true
            });
            sorted(elements)
        }
        Operation::Diff => {
            let mut elements = Vec::new();
            let (first, others) = sources.split_first().expect("at least one key");
            first.visit(|score, member| {
                if others.iter().all(|other| other.score(member).is_none()) {
                    elements.push((score, member.to_vec()));
                }
            });
            sorted(elements)
        }
    }
}

fn union(sources: &[Source<'_>], aggregate: Aggregate) -> Elements {
    let total = sources.iter().map(Source::len).sum();
    let mut elements = Elements::with_capacity(total);
    let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
    let last = sources.iter().rposition(|source| source.len() > 0);
    for (number, source) in sources.iter().enumerate() {
        source.visit(|score, member| {
            if let Some(at) = places.get(member) {
                let element: &mut (f64, Vec<u8>) = &mut elements[*at];
                element.0 = aggregate.of(element.0, score);
                return;
            }
            // Nobody asks again for what the last source adds.
            if Some(number) != last {
                places.insert(member.to_vec(), elements.len());
            }
            elements.push((score, member.to_vec()));
        });
    }
    sorted(elements)
}

/// Shows the elements that are in all sources, the smallest of which is the first, as long as `found`
/// says so.
fn inter(sources: &[Source<'_>], aggregate: Aggregate, mut found: impl FnMut(f64, &[u8]) -> bool) {
    let (first, others) = sources.split_first().expect("at least one key");
    let mut goes_on = true;
    first.visit(|score, member| {
        if !goes_on {
            return;
        }
        let mut score = score;
        for other in others {
            match other.score(member) {
                Some(more) => score = aggregate.of(score, more),
                None => return,
            }
        }
        goes_on = found(score, member);
    });
}

/// Reads the keys behind the number at `form.at`, and the options; `then` has the sources.
fn with_sources<R>(
    ctx: &mut Ctx<'_>,
    form: Form,
    then: impl FnOnce(&mut [Source<'_>], &Query) -> R,
) -> Result<(R, Query), Error> {
    let count = Query::keys(ctx.args, form)?;
    let keys = &ctx.args[form.at + 1..][..count];
    let caller = ctx.caller;
    // Expired keys go and accesses are counted first; then all of them are looked at together.
    for key in keys {
        let pos = ctx.shard.pos(key);
        let entry = ctx.shard.read(caller, pos, key);
        Source::of(entry)?;
    }
    let query = Query::parse(ctx.args, form, count)?;
    let shard = &*ctx.shard;
    let db: &Db = shard.keyspace.db(usize::from(caller.db));
    let mut sources = Vec::with_capacity(count);
    for (at, key) in keys.iter().enumerate() {
        let entry = db.lookup(shard.pos(key), key, shard.now_ms).live();
        let mut source = Source::of(entry)?;
        source.weight = query.weights.get(at).copied().unwrap_or(1.0);
        sources.push(source);
    }
    assert_eq!(sources.len(), query.keys);
    Ok((then(&mut sources, &query), query))
}

fn show(ctx: &mut Ctx<'_>, operation: Operation, name: &'static str) -> Outcome {
    let form = Form {
        operation,
        at: 1,
        name,
        counts: false,
    };
    let (elements, query) =
        with_sources(ctx, form, |sources, query| combine(sources, form, query))?;
    let reply = &mut ctx.reply;
    put_head(reply, elements.len(), query.with_scores);
    for (score, member) in &elements {
        if query.with_scores {
            put_scored(reply, *score, member);
        } else {
            reply.bulk(member);
        }
    }
    Ok(())
}

fn store(ctx: &mut Ctx<'_>, operation: Operation, name: &'static str) -> Outcome {
    let form = Form {
        operation,
        at: 2,
        name,
        counts: false,
    };
    let (elements, _) = with_sources(ctx, form, |sources, query| combine(sources, form, query))?;
    let mut result = Builder::new(ctx.shard, ctx.caller.db, elements.len());
    for (score, member) in &elements {
        result.add(member, *score);
    }
    let len = result.store(ctx.shard, ctx.caller, ctx.args[1], name);
    ctx.reply.integer(len as i64);
    Ok(())
}

/// ZUNION
pub(super) fn zunion(ctx: &mut Ctx<'_>) -> Outcome {
    show(ctx, Operation::Union, "zunion")
}

/// ZINTER
pub(super) fn zinter(ctx: &mut Ctx<'_>) -> Outcome {
    show(ctx, Operation::Inter, "zinter")
}

/// ZDIFF
pub(super) fn zdiff(ctx: &mut Ctx<'_>) -> Outcome {
    show(ctx, Operation::Diff, "zdiff")
}

/// ZUNIONSTORE
pub(super) fn zunionstore(ctx: &mut Ctx<'_>) -> Outcome {
    store(ctx, Operation::Union, "zunionstore")
}

/// ZINTERSTORE
pub(super) fn zinterstore(ctx: &mut Ctx<'_>) -> Outcome {
    store(ctx, Operation::Inter, "zinterstore")
}

/// ZDIFFSTORE
pub(super) fn zdiffstore(ctx: &mut Ctx<'_>) -> Outcome {
    store(ctx, Operation::Diff, "zdiffstore")
}

/// ZINTERCARD
pub(super) fn zintercard(ctx: &mut Ctx<'_>) -> Outcome {
    let form = Form {
        operation: Operation::Inter,
        at: 1,
        name: "zintercard",
        counts: true,
    };
    let (count, _) = with_sources(ctx, form, |sources, query| {
        sources.sort_by_key(Source::len);
        let mut count = 0;
        inter(sources, query.aggregate, |_, _| {
            count += 1;
            query.limit == 0 || count < query.limit
        });
        count
    })?;
    ctx.reply.integer(count as i64);
    Ok(())
}
