//! HSCAN, and HRANDFIELD.

use super::value::{hash_of, reply_element};
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::command::generic::scan::parse_cursor;
use crate::resp::Version;
use crate::resp::encode::{Output, Reply};
use crate::resp::number::{I64_TEXT_MAX, parse_i64};
use crate::stdx::glob;
use crate::types::hash::{HashRef, Small, Table, expired};
use crate::types::members::below;
use crate::types::packed::Element;
use std::collections::HashSet;

/// What HSCAN is to show.
struct Options<'a> {
    count: usize,
    pattern: Option<&'a [u8]>,
    values: bool,
}

impl<'a> Options<'a> {
    fn parse(mut options: &[&'a [u8]]) -> Result<Self, Error> {
        const COUNT_DEFAULT: usize = 10;
        let mut scan = Self {
            count: COUNT_DEFAULT,
            pattern: None,
            values: true,
        };
        while let [option, rest @ ..] = options {
            options = match (option.to_ascii_lowercase().as_slice(), rest) {
                (b"count", [count, rest @ ..]) => {
                    let count = parse_i64(count).ok_or(Error::NOT_INTEGER)?;
                    if count < 1 {
                        return Err(Error::SYNTAX);
                    }
                    scan.count = usize::try_from(count).unwrap_or(usize::MAX);
                    rest
                }
                (b"match", [pattern, rest @ ..]) => {
                    scan.pattern = (*pattern != b"*").then_some(*pattern);
                    rest
                }
                (b"novalues", rest) => {
                    scan.values = false;
                    rest
                }
                _ => return Err(Error::SYNTAX),
            };
        }
        Ok(scan)
    }

    fn wants(&self, field: Element<'_>) -> bool {
        self.pattern
            .is_none_or(|pattern| glob::matches(pattern, field.text(&mut [0; I64_TEXT_MAX]), false))
    }
}

/// HSCAN: a small hash comes at once, a table in the order of its hashes.
pub(super) fn hscan(ctx: &mut Ctx<'_>) -> Outcome {
    let cursor = parse_cursor(ctx.args[2]).ok_or(Error::BAD_CURSOR)?;
    let now = ctx.now_ms();
    let Some(entry) = ctx.shard.read(ctx.caller, ctx.pos, ctx.args[1]) else {
        ctx.reply.array(2);
        ctx.reply.bulk_integer(0);
        ctx.reply.array(0);
        return Ok(());
    };
    let hash = hash_of(entry)?;
    let options = Options::parse(&ctx.args[3..])?;
    let mut shown = Output::default();
    let mut list = Reply::new(&mut shown, Version::Resp2);
    let mut found = 0;
    let mut show = |field: Element<'_>, value: Element<'_>| {
        if options.wants(field) {
            reply_element(&mut list, field);
            found += 1;
            if options.values {
                reply_element(&mut list, value);
                found += 1;
            }
        }
    };
    let next = match hash {
        HashRef::Small(_) => {
            hash.for_each(now, show);
            0
        }
        HashRef::Table(table) => table.scan(cursor, options.count, |at| {
            if !expired(at.expiry, now) {
                show(Element::Bytes(at.field), Element::Bytes(at.value));
            }
        }),
    };
    ctx.reply.array(2);
    ctx.reply.bulk_integer(next as i64);
    ctx.reply.array(found);
    ctx.reply.output().append(&mut shown);
    Ok(())
}

/// HRANDFIELD
pub(super) fn hrandfield(ctx: &mut Ctx<'_>) -> Outcome {
    if ctx.args.len() == 2 {
        return one_field(ctx);
    }
    let count = parse_i64(ctx.args[2]).ok_or(Error::NOT_INTEGER)?;
    if count == i64::MIN {
        return Err(Error::new(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ));
    }
    let values = match &ctx.args[3..] {
        [] => false,
        [word] if word.eq_ignore_ascii_case(b"withvalues") => true,
        _ => return Err(Error::SYNTAX),
    };
    if values && !(-i64::MAX / 2..=i64::MAX / 2).contains(&count) {
        return Err(Error::new("ERR value is out of range"));
    }
    let now = ctx.now_ms();
    let mut random = stream(ctx.shard.random());
    let entry = ctx.shard.read(ctx.caller, ctx.pos, ctx.args[1]);
    let hash = entry.map(hash_of).transpose()?;
    let live = hash.map_or(0, |hash| hash.live_len(now));
    let Some(hash) = hash.filter(|_| live > 0 && count != 0) else {
        ctx.reply.array(0);
        return Ok(());
    };
    let mut list = Pairs {
        reply: &mut ctx.reply,
        values,
    };
    if count < 0 {
        let count = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        /// More could not be sent anyhow.
        const REPEATED_MAX: usize = 1 << 26;
        if count > REPEATED_MAX {
            return Err(Error::new("ERR value is out of range"));
        }
        list.head(count);
        let mut drawer = Drawer::new(hash, live, now);
        for _ in 0..count {
            drawer.draw(&mut random, |field, value| list.put(field, value));
        }
        return Ok(());
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(live);
    list.head(count);
    /// As long as fewer than one in so many are wanted, they are drawn; else passed through.
    const DRAW_BELOW: usize = 8;
    match hash {
        HashRef::Table(table) if count * DRAW_BELOW < table.len() && live * 2 > table.len() => {
            draw_distinct(table, count, now, &mut random, |field, value| {
                list.put(field, value);
            });
        }
        _ => choose(hash, live, count, now, &mut random, |field, value| {
            list.put(field, value);
        }),
    }
    Ok(())
}

fn one_field(ctx: &mut Ctx<'_>) -> Outcome {
    let now = ctx.now_ms();
    let mut random = stream(ctx.shard.random());
    let entry = ctx.shard.read(ctx.caller, ctx.pos, ctx.args[1]);
    let hash = entry.map(hash_of).transpose()?;
    let live = hash.map_or(0, |hash| hash.live_len(now));
    match hash.filter(|_| live > 0) {
        None => ctx.reply.null(),
        Some(hash) => Drawer::new(hash, live, now).draw(&mut random, |field, _| {
            reply_element(&mut ctx.reply, field);
        }),
    }
    Ok(())
}

/// Random numbers from a seed (SplitMix64), while the shard is borrowed.
fn stream(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }
}

/// A reply of fields, or of fields and values: in RESP2 one after the other, in RESP3 in pairs.
struct Pairs<'a, 'r> {
    reply: &'a mut Reply<'r>,
    values: bool,
}

impl Pairs<'_, '_> {
    fn head(&mut self, count: usize) {
        let flat = self.values && !self.reply.is_resp3();
        self.reply.array(if flat { 2 * count } else { count });
    }

    fn put(&mut self, field: Element<'_>, value: Element<'_>) {
        if self.values && self.reply.is_resp3() {
            self.reply.array(2);
        }
        reply_element(self.reply, field);
        if self.values {
            reply_element(self.reply, value);
        }
    }
}

/// Draws fields that have not expired, each time with the same probability for each.
enum Drawer<'a> {
    Small(Small<'a>),
    Table(&'a Table, u64),
    /// Where others are few among expired ones.
    Listed(Vec<(Element<'a>, Element<'a>)>),
}

impl<'a> Drawer<'a> {
    fn new(hash: HashRef<'a>, live: usize, now: u64) -> Self {
        match hash {
            HashRef::Small(small) if live == small.len() => Self::Small(small),
            HashRef::Table(table) if live * 4 > table.len() => Self::Table(table, now),
            _ => {
                let mut listed = Vec::with_capacity(live);
                hash.for_each(now, |field, value| listed.push((field, value)));
                Self::Listed(listed)
            }
        }
    }

    fn draw(
        &mut self,
        mut random: &mut impl FnMut() -> u64,
        mut take: impl FnMut(Element<'a>, Element<'a>),
    ) {
        match self {
            Self::Small(small) => {
                let index = below(&mut random, small.len());
                let entry = small.nth(index).expect("the number is below the length");
                take(entry.field, entry.value);
            }
            Self::Table(table, now) => loop {
                let found = table.draw(&mut *random).expect("there are live fields");
                if !expired(found.expiry, *now) {
                    take(Element::Bytes(found.field), Element::Bytes(found.value));
                    break;
                }
            },
            Self::Listed(listed) => {
                let (field, value) = listed[below(&mut random, listed.len())];
                take(field, value);
            }
        }
    }
}

/// Draws `count` different fields, far fewer than there are.
fn draw_distinct<'a>(
    table: &'a Table,
    count: usize,
    now: u64,
    random: &mut impl FnMut() -> u64,
    mut take: impl FnMut(Element<'a>, Element<'a>),
) {
    let mut taken = HashSet::with_capacity(count);
    while taken.len() < count {
        let found = table.draw(&mut *random).expect("there are live fields");
        if !expired(found.expiry, now) && taken.insert(found.field) {
            take(Element::Bytes(found.field), Element::Bytes(found.value));
        }
    }
}

/// Takes `count` of the `live` fields, each set of them with the same probability, in one pass
/// (selection sampling: Knuth, TAOCP 3.4.2, algorithm S).
fn choose<'a>(
    hash: HashRef<'a>,
    live: usize,
    count: usize,
    now: u64,
    mut random: &mut impl FnMut() -> u64,
    mut take: impl FnMut(Element<'a>, Element<'a>),
) {
    let (mut left, mut wanted) = (live, count);
    hash.for_each(now, |field, value| {
        if below(&mut random, left) < wanted {
            take(field, value);
            wanted -= 1;
        }
        left -= 1;
    });
}
