//! Single elements: ZSCORE, ZMSCORE, ZCARD, ZRANK, ZREVRANK, ZRANDMEMBER, ZSCAN.
use super::view::{View, read};
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::command::generic::scan::parse_cursor;
use crate::resp::double::{F64_TEXT_MAX, format_f64};
use crate::resp::encode::{Output, Reply};
use crate::resp::number::parse_i64;
use crate::stdx::glob;

/// Elements that ZSCAN looks at without COUNT.
const SCAN_COUNT: usize = 10;

/// A member with its score: in RESP3 a pair.
#[inline]
pub(super) fn put_scored(reply: &mut Reply<'_>, score: f64, member: &[u8]) {
    if reply.is_resp3() {
        reply.array(2);
    }
    reply.bulk(member);
    reply.double(score);
}

/// The head of an array of `len` elements, with or without scores.
#[inline]
pub(super) fn put_head(reply: &mut Reply<'_>, len: usize, with_scores: bool) {
    let flat = with_scores && !reply.is_resp3();
    reply.array(if flat { 2 * len } else { len });
}

/// ZSCORE
pub(super) fn zscore(ctx: &mut Ctx<'_>) -> Outcome {
    let set = read(ctx.shard, ctx.caller, ctx.pos, ctx.args[1])?;
    match set.and_then(|set| set.score(ctx.args[2])) {
        Some(score) => ctx.reply.double(score),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// ZMSCORE
pub(super) fn zmscore(ctx: &mut Ctx<'_>) -> Outcome {
    let set = read(ctx.shard, ctx.caller, ctx.pos, ctx.args[1])?;
    ctx.reply.array(ctx.args.len() - 2);
    for member in &ctx.args[2..] {
        match set.and_then(|set| set.score(member)) {
            Some(score) => ctx.reply.double(score),
            None => ctx.reply.null(),
        }
    }
    Ok(())
}

/// ZCARD
pub(super) fn zcard(ctx: &mut Ctx<'_>) -> Outcome {
    let set = read(ctx.shard, ctx.caller, ctx.pos, ctx.args[1])?;
    ctx.reply.integer(set.map_or(0, |set| set.len()) as i64);
    Ok(())
}

/// ZRANK
pub(super) fn zrank(ctx: &mut Ctx<'_>) -> Outcome {
    rank(ctx, "zrank", |rank, _| rank)
}

/// ZREVRANK
pub(super) fn zrevrank(ctx: &mut Ctx<'_>) -> Outcome {
    rank(ctx, "zrevrank", |rank, len| len - 1 - rank)
}

#[inline]
fn rank(ctx: &mut Ctx<'_>, name: &str, shown: impl Fn(usize, usize) -> usize) -> Outcome {
    let with_score = match &ctx.args[3..] {
        [] => false,
        [option] if option.eq_ignore_ascii_case(b"withscore") => true,
        [_] => return Err(Error::SYNTAX),
        _ => return Err(Error::arity(name)),
    };
    let set = read(ctx.shard, ctx.caller, ctx.pos, ctx.args[1])?;
    let found = set.and_then(|set| Some((set.rank(ctx.args[2])?, set.len())));
    match found {
        Some(((rank, score), len)) => {
            if with_score {
                ctx.reply.array(2);
            }
            ctx.reply.integer(shown(rank, len) as i64);
            if with_score {
                ctx.reply.double(score);
            }
        }
        None if with_score => ctx.reply.null_array(),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// ZRANDMEMBER
pub(super) fn zrandmember(ctx: &mut Ctx<'_>) -> Outcome {
    let Some(count) = ctx.args.get(2) else {
        let random = ctx.shard.random();
        match read(ctx.shard, ctx.caller, ctx.pos, ctx.args[1])? {
            Some(set) => {
                let rank = random % set.len() as u64;
                set.visit(rank as usize, 1, false, |_, member| ctx.reply.bulk(member));
            }
            None => ctx.reply.null(),
        }
        return Ok(());
    };
    let count = parse_i64(count).ok_or(Error::NOT_INTEGER)?;
    if count == i64::MIN {
        return Err(Error::new(
            "ERR value is out of range, value must between -9223372036854775807 and \
             9223372036854775807",
        ));
    }
    let with_scores = match &ctx.args[3..] {
        [] => false,
        [option] if option.eq_ignore_ascii_case(b"withscores") => true,
        _ => return Err(Error::SYNTAX),
    };
    if with_scores && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(Error::new("ERR value is out of range"));
    }
    let seed = ctx.shard.random();
    let reply = &mut ctx.reply;
    let Some(set) = read(ctx.shard, ctx.caller, ctx.pos, ctx.args[1])? else {
        reply.array(0);
        return Ok(());
    };
    let put = |score: f64, member: &[u8], reply: &mut Reply<'_>| {
        if with_scores {
            put_scored(reply, score, member);
        } else {
            reply.bulk(member);
        }
    };
    let len = set.len();
    let wanted = count.unsigned_abs() as usize;
    if count >= 0 && wanted >= len {
        put_head(reply, len, with_scores);
        set.visit_all(|score, member| put(score, member, reply));
        return Ok(());
    }
    put_head(reply, wanted, with_scores);
    let mut draws = Draws(seed);
    if count < 0 {
        for _ in 0..wanted {
            let rank = draws.below(len);
            set.visit(rank, 1, false, |score, member| put(score, member, reply));
        }
        return Ok(());
    }
    for rank in draws.distinct(wanted, len) {
        set.visit(rank, 1, false, |score, member| put(score, member, reply));
    }
    Ok(())
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014) from a
/// number that the shard has drawn.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ mixed >> 31) % bound as u64) as usize
    }

    /// `count` of the numbers below `bound`, each subset equally likely (Floyd's algorithm), in
    /// random order.
    fn distinct(&mut self, count: usize, bound: usize) -> Vec<usize> {
        let mut chosen = std::collections::HashSet::with_capacity(count);
        let mut order = Vec::with_capacity(count);
        for top in bound - count..bound {
            let drawn = self.below(top + 1);
            let number = if chosen.insert(drawn) { drawn } else { top };
            chosen.insert(number);
            order.push(number);
        }
        for at in (1..count).rev() {
            let other = self.below(at + 1);
            order.swap(at, other);
        }
        order
    }
}

/// ZSCAN
pub(super) fn zscan(ctx: &mut Ctx<'_>) -> Outcome {
    let cursor = parse_cursor(ctx.args[2]).ok_or(Error::BAD_CURSOR)?;
    let reply = &mut ctx.reply;
    let Some(set) = read(ctx.shard, ctx.caller, ctx.pos, ctx.args[1])? else {
        reply.array(2);
        reply.bulk(b"0");
        reply.array(0);
        return Ok(());
    };
    let scan = Scan::parse(&ctx.args[3..])?;
    let mut found = Output::default();
    let mut list = Reply::new(&mut found, reply.version());
    let mut count = 0;
    let mut put = |score: f64, member: &[u8]| {
        let matches = |pattern: &[u8]| glob::matches(pattern, member, false);
        if !scan.pattern.is_none_or(matches) {
            return;
        }
        list.bulk(member);
        count += 1;
        if scan.with_scores {
            count += 1;
            let mut text = [0; F64_TEXT_MAX];
            match set {
                // As the text that stands in Redis's listpack.
                View::Small(_)
                    if score.trunc() == score && score.abs() <= (i64::MAX / 2) as f64 =>
                {
                    list.bulk_integer(score as i64)
                }
                _ => list.bulk(format_f64(score, &mut text)),
            }
        }
    };
    let next = match set {
        View::Small(_) => {
            set.visit_all(&mut put);
            0
        }
        View::Large(set) => set.scan(cursor, scan.count, |(score, member)| put(score, member)),
    };
    reply.array(2);
    reply.bulk_integer(next as i64);
    reply.array(count);
    reply.raw(&found.buf);
    Ok(())
}

/// What ZSCAN is to show.
struct Scan<'a> {
    count: usize,
    pattern: Option<&'a [u8]>,
    with_scores: bool,
}

impl<'a> Scan<'a> {
    fn parse(mut options: &[&'a [u8]]) -> Result<Self, Error> {
        let mut scan = Self {
            count: SCAN_COUNT,
            pattern: None,
            with_scores: true,
        };
        while let [option, rest @ ..] = options {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            options = match rest {
                [count, rest @ ..] if is(b"count") => {
                    let count = parse_i64(count).ok_or(Error::NOT_INTEGER)?;
                    if count < 1 {
                        return Err(Error::SYNTAX);
                    }
                    scan.count = usize::try_from(count).unwrap_or(usize::MAX);
                    rest
                }
                [pattern, rest @ ..] if is(b"match") => {
                    scan.pattern = (*pattern != b"*").then_some(*pattern);
                    rest
                }
                rest if is(b"noscores") => {
                    scan.with_scores = false;
                    rest
                }
                _ if is(b"novalues") => {
                    return Err(Error::new("ERR NOVALUES option can only be used in HSCAN"));
                }
                _ => return Err(Error::SYNTAX),
            };
        }
        Ok(scan)
    }
}
