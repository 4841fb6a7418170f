//! Ranges by rank, score and member: ZRANGE and its relatives, ZCOUNT, ZLEXCOUNT, ZREMRANGEBY*.
use super::read::{put_head, put_scored};
use super::view::{Builder, Editor, View, read, removed};
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::resp::double::parse_bound;
use crate::resp::number::parse_i64;
use std::ops::Range;

const BAD_SCORE: Error = Error::fixed("ERR min or max is not a float");
const BAD_MEMBER: Error = Error::fixed("ERR min or max not valid string range item");
const LIMIT_BY_RANK: Error = Error::fixed(
    "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
);
const SCORES_BY_LEX: Error =
    Error::fixed("ERR syntax error, WITHSCORES not supported in combination with BYLEX");

/// What a range's bounds are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// A bound of scores.
#[derive(Clone, Copy)]
struct ScoreBound {
    score: f64,
    exclusive: bool,
}

impl ScoreBound {
    fn parse(text: &[u8]) -> Result<Self, Error> {
        let (number, exclusive) = match text {
            [b'(', rest @ ..] => (rest, true),
            text => (text, false),
        };
        let score = parse_bound(number).ok_or(BAD_SCORE)?;
        Ok(Self { score, exclusive })
    }
}

/// A bound of members.
#[derive(Clone, Copy)]
enum LexBound<'a> {
    Lowest,
    Highest,
    Inclusive(&'a [u8]),
    Exclusive(&'a [u8]),
}

impl<'a> LexBound<'a> {
    fn parse(text: &'a [u8]) -> Result<Self, Error> {
        match text {
            [b'-'] | [b'-', 0, ..] => Ok(Self::Lowest),
            [b'+'] | [b'+', 0, ..] => Ok(Self::Highest),
            [b'[', member @ ..] => Ok(Self::Inclusive(member)),
            [b'(', member @ ..] => Ok(Self::Exclusive(member)),
            _ => Err(BAD_MEMBER),
        }
    }

    /// As a lower bound: whether a member is in front of it.
    fn is_above(self, member: &[u8]) -> bool {
        match self {
            Self::Lowest => false,
            Self::Highest => true,
            Self::Inclusive(bound) => member < bound,
            Self::Exclusive(bound) => member <= bound,
        }
    }

    /// As an upper bound: whether it includes a member.
    fn includes(self, member: &[u8]) -> bool {
        match self {
            Self::Lowest => false,
            Self::Highest => true,
            Self::Inclusive(bound) => member <= bound,
            Self::Exclusive(bound) => member < bound,
        }
    }
}

/// A range of a sorted set.
#[derive(Clone, Copy)]
enum Span<'a> {
    /// First and last, negative ones from the end.
    Ranks(i64, i64),
    Scores(ScoreBound, ScoreBound),
    Members(LexBound<'a>, LexBound<'a>),
}

impl<'a> Span<'a> {
    fn parse(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Self, Error> {
        Ok(match by {
            By::Rank => {
                let number = |text| parse_i64(text).ok_or(Error::NOT_INTEGER);
                Self::Ranks(number(min)?, number(max)?)
            }
            By::Score => Self::Scores(ScoreBound::parse(min)?, ScoreBound::parse(max)?),
            By::Lex => Self::Members(LexBound::parse(min)?, LexBound::parse(max)?),
        })
    }

    /// The ranks of its elements, counted from the end that it is read from.
    fn find(self, set: View<'_>, downwards: bool) -> Range<usize> {
        let len = set.len();
        let range = match self {
            Self::Ranks(first, last) => {
                // These are counted from the reading end already.
                return ranks(first, last, len);
            }
            Self::Scores(min, max) => {
                let first = set.count_scores(|s| s < min.score || min.exclusive && s == min.score);
                let last = set.count_scores(|s| s < max.score || !max.exclusive && s == max.score);
                first..last
            }
            Self::Members(min, max) => members(set, min, max, downwards),
        };
        let range = range.start..range.end.max(range.start);
        if downwards {
            len - range.end..len - range.start
        } else {
            range
        }
    }
}

/// Redis's indices: negative ones from the end, and what is outside cut off.
fn ranks(first: i64, last: i64, len: usize) -> Range<usize> {
    let absolute = |n: i64| {
        if n < 0 {
            n.saturating_add(len as i64)
        } else {
            n
        }
    };
    let first = absolute(first).max(0) as usize;
    let last = absolute(last).min(len as i64 - 1);
    if last < 0 || first as i64 > last {
        return 0..0;
    }
    first..last as usize + 1
}

/// The ranks of the members between two bounds. Without equal scores the range is not defined; in
/// a small set the elements are then those that Redis finds, walking from the reading end.
fn members(set: View<'_>, min: LexBound<'_>, max: LexBound<'_>, downwards: bool) -> Range<usize> {
    if let View::Large(_) = set {
        let first = set.count_members(|m| min.is_above(m));
        return first..set.count_members(|m| max.includes(m));
    }
    let len = set.len();
    let (mut begun, mut ended) = (false, false);
    let (mut skipped, mut count) = (0, 0);
    let (mut first_included, mut last_reached) = (false, false);
    let mut rank = 0;
    let from = if downwards { len - 1 } else { 0 };
    set.visit(from, len, downwards, |_, member| {
        let (reached, included) = (!min.is_above(member), max.includes(member));
        let (starts, goes_on) = if downwards {
            (included, reached)
        } else {
            (reached, included)
        };
        begun |= starts;
        skipped += usize::from(!begun);
        ended |= begun && !goes_on;
        count += usize::from(begun && !ended);
        let at = if downwards { len - 1 - rank } else { rank };
        first_included |= at == 0 && included;
        last_reached |= at == len - 1 && reached;
        rank += 1;
    });
    if !(first_included && last_reached) {
        return 0..0;
    }
    if downwards {
        len - skipped - count..len - skipped
    } else {
        skipped..skipped + count
    }
}

/// What a command of the family is given besides its options.
#[derive(Clone, Copy)]
struct Form {
    /// Where the key stands; the bounds follow.
    key: usize,
    /// None: an option says it.
    by: Option<By>,
    /// None: an option says it.
    downwards: Option<bool>,
    store: bool,
}

/// A range as it was asked for.
struct Query<'a> {
    span: Span<'a>,
    downwards: bool,
    with_scores: bool,
    offset: i64,
    /// Negative: no limit.
    limit: i64,
}

impl<'a> Query<'a> {
    fn parse(args: &[&'a [u8]], form: Form) -> Result<Self, Error> {
        let (mut by, mut downwards) = (form.by, form.downwards);
        let (mut with_scores, mut offset, mut limit) = (false, 0, -1);
        let mut options = &args[form.key + 3..];
        while let [option, rest @ ..] = options {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            options = match rest {
                rest if !form.store && is(b"withscores") => {
                    with_scores = true;
                    rest
                }
                [first, count, rest @ ..] if is(b"limit") => {
                    offset = parse_i64(first).ok_or(Error::NOT_INTEGER)?;
                    limit = parse_i64(count).ok_or(Error::NOT_INTEGER)?;
                    rest
                }
                rest if downwards.is_none() && is(b"rev") => {
                    downwards = Some(true);
                    rest
                }
                rest if by.is_none() && is(b"bylex") => {
                    by = Some(By::Lex);
                    rest
                }
                rest if by.is_none() && is(b"byscore") => {
                    by = Some(By::Score);
                    rest
                }
                _ => return Err(Error::SYNTAX),
            };
        }
        let (by, downwards) = (by.unwrap_or(By::Rank), downwards.unwrap_or(false));
        if limit != -1 && by == By::Rank {
            return Err(LIMIT_BY_RANK);
        }
        if with_scores && by == By::Lex {
            return Err(SCORES_BY_LEX);
        }
        let (mut min, mut max) = (args[form.key + 1], args[form.key + 2]);
        if downwards && by != By::Rank {
            (min, max) = (max, min);
        }
        Ok(Self {
            span: Span::parse(by, min, max)?,
            downwards,
            with_scores,
            offset,
            limit,
        })
    }

    /// The ranks of the elements, counted from the end that is read from.
    fn find(&self, set: View<'_>) -> Range<usize> {
        let found = self.span.find(set, self.downwards);
        if matches!(self.span, Span::Ranks(..)) {
            return found;
        }
        let Ok(offset) = usize::try_from(self.offset) else {
            return 0..0;
        };
        let start = found.start.saturating_add(offset).min(found.end);
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        start..found.end.min(start.saturating_add(limit))
    }

    /// Shows the elements of a range that was found, in the order asked for.
    #[inline]
    fn visit(&self, set: View<'_>, range: Range<usize>, visit: impl FnMut(f64, &[u8])) {
        if range.is_empty() {
            return;
        }
        let first = if self.downwards {
            set.len() - 1 - range.start
        } else {
            range.start
        };
        set.visit(first, range.len(), self.downwards, visit);
    }
}

/// The rest of a range command that replies with the elements.
#[inline]
fn range(ctx: &mut Ctx<'_>, by: Option<By>, downwards: Option<bool>) -> Outcome {
    let form = Form {
        key: 1,
        by,
        downwards,
        store: false,
    };
    let query = Query::parse(ctx.args, form)?;
    let reply = &mut ctx.reply;
    let Some(set) = read(ctx.shard, ctx.caller, ctx.pos, ctx.args[1])? else {
        reply.array(0);
        return Ok(());
    };
    let found = query.find(set);
    put_head(reply, found.len(), query.with_scores);
    query.visit(set, found, |score, member| {
        if query.with_scores {
            put_scored(reply, score, member);
        } else {
            reply.bulk(member);
        }
    });
    Ok(())
}

/// ZRANGE
pub(super) fn zrange(ctx: &mut Ctx<'_>) -> Outcome {
    range(ctx, None, None)
}

/// ZREVRANGE
pub(super) fn zrevrange(ctx: &mut Ctx<'_>) -> Outcome {
    range(ctx, Some(By::Rank), Some(true))
}

/// ZRANGEBYSCORE
pub(super) fn zrangebyscore(ctx: &mut Ctx<'_>) -> Outcome {
    range(ctx, Some(By::Score), Some(false))
}

/// ZREVRANGEBYSCORE
pub(super) fn zrevrangebyscore(ctx: &mut Ctx<'_>) -> Outcome {
    range(ctx, Some(By::Score), Some(true))
}

/// ZRANGEBYLEX
pub(super) fn zrangebylex(ctx: &mut Ctx<'_>) -> Outcome {
    range(ctx, Some(By::Lex), Some(false))
}

/// ZREVRANGEBYLEX
pub(super) fn zrevrangebylex(ctx: &mut Ctx<'_>) -> Outcome {
    range(ctx, Some(By::Lex), Some(true))
}

/// ZRANGESTORE
pub(super) fn zrangestore(ctx: &mut Ctx<'_>) -> Outcome {
    let form = Form {
        key: 2,
        by: None,
        downwards: None,
        store: true,
    };
    let query = Query::parse(ctx.args, form)?;
    let caller = ctx.caller;
    let pos = ctx.shard.pos(ctx.args[2]);
    let set = read(ctx.shard, caller, pos, ctx.args[2])?;
    let len = set.map_or(0, |set| query.find(set).len());
    let mut result = Builder::new(ctx.shard, caller.db, len);
    let entry = ctx.shard.peek(caller, pos, ctx.args[2]);
    if let Some(set) = entry.map(View::of).transpose()? {
        query.visit(set, query.find(set), |score, member| {
            result.add(member, score)
        });
    }
    let len = result.store(ctx.shard, caller, ctx.args[1], "zrangestore");
    ctx.reply.integer(len as i64);
    Ok(())
}

fn count(ctx: &mut Ctx<'_>, by: By) -> Outcome {
    let span = Span::parse(by, ctx.args[2], ctx.args[3])?;
    let set = read(ctx.shard, ctx.caller, ctx.pos, ctx.args[1])?;
    let count = set.map_or(0, |set| span.find(set, false).len());
    ctx.reply.integer(count as i64);
    Ok(())
}

/// ZCOUNT
pub(super) fn zcount(ctx: &mut Ctx<'_>) -> Outcome {
    count(ctx, By::Score)
}

/// ZLEXCOUNT
pub(super) fn zlexcount(ctx: &mut Ctx<'_>) -> Outcome {
    count(ctx, By::Lex)
}

fn remove(ctx: &mut Ctx<'_>, by: By, event: &'static str) -> Outcome {
    let (caller, pos, key) = (ctx.caller, ctx.pos, ctx.args[1]);
    let span = Span::parse(by, ctx.args[2], ctx.args[3])?;
    let Some(mut set) = Editor::find(ctx.shard, caller, pos, key)? else {
        ctx.reply.integer(0);
        return Ok(());
    };
    let range = span.find(set.view(), false);
    let count = range.len();
    if count > 0 {
        let empty = count == set.view().len();
        if !empty {
            set.remove_range(range.start, count);
        }
        // A set of which nothing stays is freed as a whole, in slices.
        removed(ctx.shard, caller, pos, key, event, empty);
    }
    ctx.reply.integer(count as i64);
    Ok(())
}

/// ZREMRANGEBYRANK
pub(super) fn zremrangebyrank(ctx: &mut Ctx<'_>) -> Outcome {
    remove(ctx, By::Rank, "zremrangebyrank")
}

/// ZREMRANGEBYSCORE
pub(super) fn zremrangebyscore(ctx: &mut Ctx<'_>) -> Outcome {
    remove(ctx, By::Score, "zremrangebyscore")
}

/// ZREMRANGEBYLEX
pub(super) fn zremrangebylex(ctx: &mut Ctx<'_>) -> Outcome {
    remove(ctx, By::Lex, "zremrangebylex")
}
