//! Single positions: GEOADD, GEOPOS, GEODIST, GEOHASH.
use super::args::{parse_point, parse_unit};
use super::cell::Point;
use super::{put_distance, put_position};
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::command::zset::{Rule, add_scored, read};
use smallvec::SmallVec;

/// GEOADD
pub(super) fn geoadd(ctx: &mut Ctx<'_>) -> Outcome {
    let mut rule = Rule::default();
    let mut count_changed = false;
    let mut first = 2;
    while let Some(option) = ctx.args.get(first) {
        let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
        match option.len() {
            2 if is(b"nx") => rule.missing = true,
            2 if is(b"xx") => rule.present = true,
            2 if is(b"ch") => count_changed = true,
            _ => break,
        }
        first += 1;
    }
    let triples = &ctx.args[first..];
    let whole = !triples.is_empty() && triples.len().is_multiple_of(3);
    if !whole || rule.missing && rule.present {
        return Err(Error::SYNTAX);
    }
    let mut elements = SmallVec::<[(f64, &[u8]); 8]>::new();
    for triple in triples.chunks_exact(3) {
        let point = parse_point(triple[0], triple[1])?;
        elements.push((point.score(), triple[2]));
    }
    add_scored(ctx, &elements, rule, count_changed)
}

/// GEOPOS
pub(super) fn geopos(ctx: &mut Ctx<'_>) -> Outcome {
    let set = read(ctx.shard, ctx.caller, ctx.pos, ctx.args[1])?;
    ctx.reply.array(ctx.args.len() - 2);
    for member in &ctx.args[2..] {
        match set.and_then(|set| set.score(member)) {
            Some(score) => put_position(&mut ctx.reply, Point::of_score(score)),
            None => ctx.reply.null_array(),
        }
    }
    Ok(())
}

/// GEODIST
pub(super) fn geodist(ctx: &mut Ctx<'_>) -> Outcome {
    let unit = match &ctx.args[4..] {
        [] => 1.0,
        [unit] => parse_unit(unit)?,
        _ => return Err(Error::SYNTAX),
    };
    let set = read(ctx.shard, ctx.caller, ctx.pos, ctx.args[1])?;
    let point = |member: &[u8]| Some(Point::of_score(set?.score(member)?));
    match (point(ctx.args[2]), point(ctx.args[3])) {
        (Some(from), Some(to)) => put_distance(&mut ctx.reply, from.distance(to) / unit),
        _ => ctx.reply.null(),
    }
    Ok(())
}

/// GEOHASH
pub(super) fn geohash(ctx: &mut Ctx<'_>) -> Outcome {
    let set = read(ctx.shard, ctx.caller, ctx.pos, ctx.args[1])?;
    ctx.reply.array(ctx.args.len() - 2);
    for member in &ctx.args[2..] {
        match set.and_then(|set| set.score(member)) {
            Some(score) => ctx.reply.bulk(&Point::of_score(score).geohash()),
            None => ctx.reply.null(),
        }
    }
    Ok(())
}
