//! GEOSEARCH, GEOSEARCHSTORE, GEORADIUS, GEORADIUSBYMEMBER and their read-only twins.
use super::args::{Form, Search, Sort};
use super::cell::Point;
use super::shape::Shape;
use super::{put_distance, put_position};
use crate::command::context::Ctx;
use crate::command::error::Outcome;
use crate::command::zset::{Builder, View, read};

/// A position that was found.
struct Hit {
    member: Vec<u8>,
    score: f64,
    point: Point,
    /// Metres from the centre.
    distance: f64,
}

/// The positions in a shape, cell by cell; with a `limit` other than 0 the first ones alone.
fn find(set: View<'_>, center: Point, shape: &Shape, limit: usize) -> Vec<Hit> {
    let mut hits = Vec::new();
    let is_full = |hits: &Vec<Hit>| limit > 0 && hits.len() >= limit;
    for cell in shape.cells(center) {
        if is_full(&hits) {
            break;
        }
        let (from, to) = cell.scores();
        let first = set.count_scores(|score| score < from);
        let last = set.count_scores(|score| score < to);
        set.visit(first, last - first, false, |score, member| {
            if is_full(&hits) {
                return;
            }
            let point = Point::of_score(score);
            if let Some(distance) = shape.distance(center, point) {
                hits.push(Hit {
                    member: member.to_vec(),
                    score,
                    point,
                    distance,
                });
            }
        });
    }
    hits
}

fn sort(hits: &mut [Hit], sort: Sort) {
    match sort {
        Sort::None => {}
        Sort::Nearest => hits.sort_by(|a, b| a.distance.total_cmp(&b.distance)),
        Sort::Farthest => hits.sort_by(|a, b| b.distance.total_cmp(&a.distance)),
    }
}

fn search(ctx: &mut Ctx<'_>, form: Form) -> Outcome {
    let args = ctx.args;
    let (caller, key) = (ctx.caller, args[form.key()]);
    let pos = ctx.shard.pos(key);
    let set = read(ctx.shard, caller, pos, key)?;
    let search = Search::parse(args, form, set)?;
    let mut hits = match (set, search.center, &search.shape) {
        (Some(set), Some(center), Some(shape)) => {
            let limit = if search.any { search.count } else { 0 };
            find(set, center, shape, limit)
        }
        _ => Vec::new(),
    };
    // The nearest ones are meant where nothing is said.
    let order = match search.sort {
        Sort::None if search.count > 0 && !search.any => Sort::Nearest,
        order => order,
    };
    sort(&mut hits, order);
    if search.count > 0 {
        hits.truncate(search.count);
    }
    match search.store {
        Some(to) => store(ctx, &search, form, hits, to),
        None => reply(ctx, &search, &hits),
    }
    Ok(())
}

fn reply(ctx: &mut Ctx<'_>, search: &Search<'_>, hits: &[Hit]) {
    let reply = &mut ctx.reply;
    let extras = [search.with_distance, search.with_hash, search.with_position];
    let extras = extras.into_iter().filter(|with| *with).count();
    reply.array(hits.len());
    for hit in hits {
        if extras > 0 {
            reply.array(1 + extras);
        }
        reply.bulk(&hit.member);
        if search.with_distance {
            put_distance(reply, hit.distance / search.unit);
        }
        if search.with_hash {
            reply.integer(hit.score as i64);
        }
        if search.with_position {
            put_position(reply, hit.point);
        }
    }
}

fn store(ctx: &mut Ctx<'_>, search: &Search<'_>, form: Form, hits: Vec<Hit>, to: &[u8]) {
    let mut result = Builder::new(ctx.shard, ctx.caller.db, hits.len());
    for hit in hits {
        let score = if search.store_distance {
            hit.distance / search.unit
        } else {
            hit.score
        };
        result.add(&hit.member, score);
    }
    let event = match form {
        Form::Search | Form::SearchStore => "geosearchstore",
        Form::Radius { .. } | Form::Member { .. } => "georadiusstore",
    };
    let len = result.store(ctx.shard, ctx.caller, to, event);
    ctx.reply.integer(len as i64);
}

/// GEOSEARCH
pub(super) fn geosearch(ctx: &mut Ctx<'_>) -> Outcome {
    search(ctx, Form::Search)
}

/// GEOSEARCHSTORE
pub(super) fn geosearchstore(ctx: &mut Ctx<'_>) -> Outcome {
    search(ctx, Form::SearchStore)
}

/// GEORADIUS
pub(super) fn georadius(ctx: &mut Ctx<'_>) -> Outcome {
    search(ctx, Form::Radius { stores: true })
}

/// GEORADIUS_RO
pub(super) fn georadius_ro(ctx: &mut Ctx<'_>) -> Outcome {
    search(ctx, Form::Radius { stores: false })
}

/// GEORADIUSBYMEMBER
pub(super) fn georadiusbymember(ctx: &mut Ctx<'_>) -> Outcome {
    search(ctx, Form::Member { stores: true })
}

/// GEORADIUSBYMEMBER_RO
pub(super) fn georadiusbymember_ro(ctx: &mut Ctx<'_>) -> Outcome {
    search(ctx, Form::Member { stores: false })
}
