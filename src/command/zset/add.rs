//! ZADD, ZINCRBY, ZREM: elements come, change and go.
use super::view::{Editor, removed};
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::resp::double::parse_f64;
use crate::shard::access::EventClass;
use smallvec::SmallVec;

const NOT_A_NUMBER: Error = Error::fixed("ERR resulting score is not a number (NaN)");
const XX_AND_NX: Error = Error::fixed("ERR XX and NX options at the same time are not compatible");
const GT_LT_NX: Error =
    Error::fixed("ERR GT, LT, and/or NX options at the same time are not compatible");
const ONE_PAIR: Error = Error::fixed("ERR INCR option supports a single increment-element pair");

/// What an element must be like to be added or changed.
#[derive(Clone, Copy, Default)]
pub(in crate::command) struct Rule {
    /// NX
    pub missing: bool,
    /// XX
    pub present: bool,
    /// GT
    pub greater: bool,
    /// LT
    pub less: bool,
    /// INCR
    pub increment: bool,
}

/// What became of an element.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    /// It has this score, as before.
    Kept(f64),
    Added(f64),
    Changed(f64),
    /// The rule forbids the change.
    Refused,
    NotANumber,
}

impl Rule {
    /// Takes an option of ZADD; false if it is none of a rule's.
    #[inline]
    fn read(&mut self, option: &[u8]) -> bool {
        let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
        match option.len() {
            2 if is(b"nx") => self.missing = true,
            2 if is(b"xx") => self.present = true,
            2 if is(b"gt") => self.greater = true,
            2 if is(b"lt") => self.less = true,
            4 if is(b"incr") => self.increment = true,
            _ => return false,
        }
        true
    }

    /// Puts a score to a member.
    #[inline]
    fn apply(self, set: &mut Editor<'_>, member: &[u8], score: f64) -> Fate {
        let mut fate = Fate::Refused;
        set.update(member, |before| {
            let Some(before) = before else {
                if self.present {
                    return None;
                }
                fate = Fate::Added(score);
                return Some(score);
            };
            if self.missing {
                return None;
            }
            let score = if self.increment {
                before + score
            } else {
                score
            };
            if score.is_nan() {
                fate = Fate::NotANumber;
                return None;
            }
            if self.less && score >= before || self.greater && score <= before {
                return None;
            }
            if score == before {
                fate = Fate::Kept(before);
                return None;
            }
            fate = Fate::Changed(score);
            Some(score)
        });
        fate
    }
}

/// ZADD
pub(super) fn zadd(ctx: &mut Ctx<'_>) -> Outcome {
    let mut rule = Rule::default();
    let mut count_changed = false;
    let mut first = 2;
    while let Some(option) = ctx.args.get(first) {
        if !rule.read(option) {
            if !option.eq_ignore_ascii_case(b"ch") {
                break;
            }
            count_changed = true;
        }
        first += 1;
    }
    let pairs = &ctx.args[first..];
    if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
        return Err(Error::SYNTAX);
    }
    if rule.missing && rule.present {
        return Err(XX_AND_NX);
    }
    if rule.greater && (rule.missing || rule.less) || rule.less && rule.missing {
        return Err(GT_LT_NX);
    }
    if rule.increment && pairs.len() > 2 {
        return Err(ONE_PAIR);
    }
    add(ctx, first, rule, count_changed)
}

/// ZINCRBY
pub(super) fn zincrby(ctx: &mut Ctx<'_>) -> Outcome {
    let mut rule = Rule {
        increment: true,
        ..Rule::default()
    };
    // Redis reads its arguments as those of ZADD, so an option leaves too few of them.
    if rule.read(ctx.args[2]) || ctx.args[2].eq_ignore_ascii_case(b"ch") {
        return Err(Error::SYNTAX);
    }
    add(ctx, 2, rule, false)
}

/// Adds the pairs from argument `first` on.
fn add(ctx: &mut Ctx<'_>, first: usize, rule: Rule, count_changed: bool) -> Outcome {
    // All of them are read before anything is changed.
    let mut elements = SmallVec::<[(f64, &[u8]); 8]>::new();
    for pair in ctx.args[first..].chunks_exact(2) {
        let score = parse_f64(pair[0]).ok_or(Error::NOT_FLOAT)?;
        elements.push((score, pair[1]));
    }
    add_scored(ctx, &elements, rule, count_changed)
}

/// Adds elements, at least one, to the set of the first argument, and replies as ZADD does.
pub(in crate::command) fn add_scored(
    ctx: &mut Ctx<'_>,
    elements: &[(f64, &[u8])],
    rule: Rule,
    count_changed: bool,
) -> Outcome {
    let (caller, pos, key) = (ctx.caller, ctx.pos, ctx.args[1]);
    let found = if rule.present {
        Editor::find(ctx.shard, caller, pos, key)?
    } else {
        let first = elements[0].1;
        Some(Editor::find_or_create(ctx.shard, caller, pos, key, first)?)
    };
    let Some(mut set) = found else {
        if rule.increment {
            ctx.reply.null();
        } else {
            ctx.reply.integer(0);
        }
        return Ok(());
    };
    let (mut added, mut changed) = (0, 0);
    let mut result = None;
    for (score, member) in elements {
        result = match rule.apply(&mut set, member, *score) {
            Fate::Kept(score) => Some(score),
            Fate::Added(score) => {
                added += 1;
                Some(score)
            }
            Fate::Changed(score) => {
                changed += 1;
                Some(score)
            }
            Fate::Refused => None,
            Fate::NotANumber => return Err(NOT_A_NUMBER),
        };
    }
    if added + changed > 0 {
        let event = if rule.increment { "zincr" } else { "zadd" };
        ctx.shard
            .changed(caller.db, pos, key, EventClass::SortedSet, event);
    }
    match (rule.increment, result) {
        (true, Some(score)) => ctx.reply.double(score),
        (true, None) => ctx.reply.null(),
        (false, _) if count_changed => ctx.reply.integer(added + changed),
        (false, _) => ctx.reply.integer(added),
    }
    Ok(())
}

/// ZREM
pub(super) fn zrem(ctx: &mut Ctx<'_>) -> Outcome {
    let (caller, pos, key) = (ctx.caller, ctx.pos, ctx.args[1]);
    let mut gone = 0;
    let mut empty = false;
    if let Some(mut set) = Editor::find(ctx.shard, caller, pos, key)? {
        for member in &ctx.args[2..] {
            gone += i64::from(set.remove(member));
            empty = set.view().len() == 0;
            if empty {
                break;
            }
        }
    }
    if gone > 0 {
        removed(ctx.shard, caller, pos, key, "zrem", empty);
    }
    ctx.reply.integer(gone);
    Ok(())
}
