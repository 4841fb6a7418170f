//! XADD, XTRIM, XSETID.

use super::access::{change, count, store, tell};
use super::effect::counter;
use super::{ids, reply};
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::resp::number::parse_i64;
use crate::server::config::Config;
use crate::shard::access::EventClass;
use crate::shard::effects::value::push_id;
use crate::types::stream::{
    BlockLimits, NewId, References, Refused, Stream, StreamId, Trim, TrimLimits,
};

/// The options of XADD and XTRIM that stand before the ID.
#[derive(Default)]
struct Options {
    no_create: bool,
    trim: Option<Trim>,
    approximate: bool,
    limit: Option<u64>,
    references: Option<References>,
}

/// `KEEPREF`, `DELREF` or `ACKED`.
pub(super) fn references(word: &[u8]) -> Option<References> {
    if word.eq_ignore_ascii_case(b"keepref") {
        Some(References::Keep)
    } else if word.eq_ignore_ascii_case(b"delref") {
        Some(References::Delete)
    } else if word.eq_ignore_ascii_case(b"acked") {
        Some(References::Acknowledged)
    } else {
        None
    }
}

impl Options {
    /// Reads the option at the head of `rest`, and what is left of it after that; None if there is
    /// none.
    fn read<'a, 'b>(
        &mut self,
        rest: &'a [&'b [u8]],
        adds: bool,
    ) -> Result<Option<&'a [&'b [u8]]>, Error> {
        let [word, after @ ..] = rest else {
            return Ok(None);
        };
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        if !after.is_empty() && (is("maxlen") || is("minid")) {
            return self.read_strategy(is("maxlen"), after).map(Some);
        }
        if let ([count, after @ ..], true) = (after, is("limit")) {
            let limit = parse_i64(count).ok_or(Error::NOT_INTEGER)?;
            let limit = u64::try_from(limit)
                .map_err(|_| Error::new("ERR The LIMIT argument must be >= 0."))?;
            self.limit = Some(limit);
            return Ok(Some(after));
        }
        if adds && is("nomkstream") {
            self.no_create = true;
            return Ok(Some(after));
        }
        let Some(references) = references(word) else {
            return Ok(None);
        };
        if self.references.replace(references).is_some() {
            return Err(Error::SYNTAX);
        }
        Ok(Some(after))
    }

    /// What follows MAXLEN or MINID.
    fn read_strategy<'a, 'b>(
        &mut self,
        by_length: bool,
        rest: &'a [&'b [u8]],
    ) -> Result<&'a [&'b [u8]], Error> {
        if self.trim.is_some() {
            return Err(Error::new(
                "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
            ));
        }
        let (approximate, threshold, rest) = match rest {
            [b"~", threshold, rest @ ..] => (true, threshold, rest),
            [b"=", threshold, rest @ ..] | [threshold, rest @ ..] => (false, threshold, rest),
            [] => return Err(Error::SYNTAX),
        };
        self.approximate = approximate;
        self.trim = Some(if by_length {
            let length = parse_i64(threshold).ok_or(Error::NOT_INTEGER)?;
            let length = u64::try_from(length)
                .map_err(|_| Error::new("ERR The MAXLEN argument must be >= 0."))?;
            Trim::MaxLen(length)
        } else {
            Trim::MinId(ids::strict(threshold, 0)?)
        });
        Ok(rest)
    }

    /// What to trim and how, after all options were read.
    fn trim(&self, config: &Config, adds: bool) -> Result<Option<(Trim, TrimLimits)>, Error> {
        /// Blocks that `~` looks at where no LIMIT is given.
        const BLOCKS: i64 = 100;
        const ENTRIES: u64 = 10_000;
        const ENTRIES_MAX: u64 = 1_000_000;
        let Some(trim) = self.trim else {
            return match self.limit {
                Some(1..) => Err(Error::new(
                    "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
                )),
                _ if !adds => Err(Error::new(
                    "ERR syntax error, XTRIM must be called with a trimming strategy",
                )),
                _ => Ok(None),
            };
        };
        let entries = match self.limit {
            Some(_) if !self.approximate => {
                return Err(Error::new(
                    "ERR syntax error, LIMIT cannot be used without the special ~ option",
                ));
            }
            Some(limit) => limit,
            None if !self.approximate => 0,
            None => match config.stream_node_max_entries.saturating_mul(BLOCKS) {
                ..=0 => ENTRIES,
                entries => (entries as u64).min(ENTRIES_MAX),
            },
        };
        let limits = TrimLimits {
            approximate: self.approximate,
            entries,
        };
        Ok(Some((trim, limits)))
    }
}

/// When a block is full, as the configuration says.
fn block_limits(config: &Config) -> BlockLimits {
    BlockLimits {
        bytes: config.stream_node_max_bytes,
        entries: config.stream_node_max_entries.max(0) as u64,
    }
}

/// XADD
pub(super) fn xadd(ctx: &mut Ctx<'_>) -> Outcome {
    let (args, key) = (ctx.args, ctx.args[1]);
    let mut options = Options::default();
    let mut rest = &args[2..];
    let id = loop {
        match rest {
            [b"*", ..] => {
                break Some(NewId::Auto {
                    now_ms: ctx.now_ms(),
                });
            }
            [] => break None,
            _ => {}
        }
        match options.read(rest, true)? {
            Some(after) => rest = after,
            None => {
                break Some(match ids::of_new(rest[0])? {
                    ids::Given::Whole(id) => NewId::Given(id),
                    ids::Given::Ms(ms) => NewId::InMs(ms),
                });
            }
        }
    };
    let trim = options.trim(&ctx.shard.config, true)?;
    let (Some(id), [_, pairs @ ..]) = (id, rest) else {
        return Err(Error::arity("xadd"));
    };
    if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
        return Err(Error::arity("xadd"));
    }
    if id == NewId::Given(StreamId::MIN) {
        return Err(Error::new(
            "ERR The ID specified in XADD must be greater than 0-0",
        ));
    }
    let limits = block_limits(&ctx.shard.config);
    let references = options.references.unwrap_or_default();
    let add = |stream: &mut Stream| {
        let id = stream.log.append(id, pairs, limits)?;
        let trimmed = trim.map_or(0, |(trim, limits)| stream.trim(trim, limits, references));
        Ok((id, trimmed, stream.log.len()))
    };
    let added = match change(ctx, key, add)? {
        Some(added) => added,
        None if options.no_create => {
            ctx.reply.null();
            return Ok(());
        }
        None => {
            let mut stream = Stream::default();
            let added = add(&mut stream);
            if added.is_ok() {
                store(ctx, key, stream);
            }
            added
        }
    };
    let (id, trimmed, left) = added.map_err(refusal)?;
    reply::id(&mut ctx.reply, id);
    if let Some(mut words) = ctx.shard.words() {
        words.extend(&[b"XADD", key]);
        push_id(&mut words, id);
        words.extend(pairs);
        ctx.shard.effect_of(ctx.caller.db, ctx.pos, Some(words));
        if trimmed > 0 {
            effect_trim(ctx, left, references);
        }
    }
    tell(ctx, key, "xadd");
    if trimmed > 0 {
        let (db, pos, event) = (ctx.caller.db, ctx.pos, "xtrim");
        ctx.shard
            .also_changed(db, pos, key, EventClass::Stream, event);
    }
    Ok(())
}

/// Records a trimming by what it has left. It has taken the first entries, or the first ones that
/// could go; so the length tells which, whatever the strategy and however whole blocks were spared.
fn effect_trim(ctx: &mut Ctx<'_>, left: u64, references: References) {
    let Some(mut words) = ctx.shard.words() else {
        return;
    };
    words.extend(&[b"XTRIM", ctx.args[1], b"MAXLEN", b"="]);
    words.push_u64(left);
    match references {
        References::Keep => {}
        References::Delete => words.push(b"DELREF"),
        References::Acknowledged => words.push(b"ACKED"),
    }
    ctx.shard.effect_of(ctx.caller.db, ctx.pos, Some(words));
}

fn refusal(refused: Refused) -> Error {
    Error::new(match refused {
        Refused::Exhausted => {
            "ERR The stream has exhausted the last possible ID, unable to add more items"
        }
        Refused::NotBehind => {
            "ERR The ID specified in XADD is equal or smaller than the target stream top item"
        }
        Refused::TooLarge => "ERR Elements are too large to be stored",
    })
}

/// XTRIM
pub(super) fn xtrim(ctx: &mut Ctx<'_>) -> Outcome {
    let (args, key) = (ctx.args, ctx.args[1]);
    let mut options = Options::default();
    let mut rest = &args[2..];
    while !rest.is_empty() {
        rest = options.read(rest, false)?.ok_or(Error::SYNTAX)?;
    }
    let Some((trim, limits)) = options.trim(&ctx.shard.config, false)? else {
        return Err(Error::SYNTAX);
    };
    let references = options.references.unwrap_or_default();
    let trimmed = change(ctx, key, |stream| {
        let trimmed = stream.trim(trim, limits, references);
        (trimmed, stream.log.len())
    })?;
    let (trimmed, left) = trimmed.unwrap_or_default();
    if trimmed > 0 {
        effect_trim(ctx, left, references);
        tell(ctx, key, "xtrim");
        count(ctx, trimmed - 1);
    }
    ctx.reply.integer(trimmed as i64);
    Ok(())
}

/// XSETID
pub(super) fn xsetid(ctx: &mut Ctx<'_>) -> Outcome {
    let (args, key) = (ctx.args, ctx.args[1]);
    let id = ids::strict(args[2], 0)?;
    let (mut added, mut deleted) = (None, None);
    let mut rest = &args[3..];
    while let [option, after @ ..] = rest {
        let [value, after @ ..] = after else {
            return Err(Error::SYNTAX);
        };
        if option.eq_ignore_ascii_case(b"entriesadded") {
            let number = counter(ctx.shard, value).ok_or(Error::NOT_INTEGER)?;
            let number = u64::try_from(number)
                .map_err(|_| Error::new("ERR entries_added must be positive"))?;
            added = Some(number);
        } else if option.eq_ignore_ascii_case(b"maxdeletedid") {
            let max = ids::strict(value, 0)?;
            if id < max && !ctx.shard.replays() {
                return Err(Error::new(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                ));
            }
            deleted = Some(max).filter(|max| *max != StreamId::MIN);
        } else {
            return Err(Error::SYNTAX);
        }
        rest = after;
    }
    let replays = ctx.shard.replays();
    let set = change(ctx, key, |stream| {
        let log = &mut stream.log;
        if !log.is_empty() && id < log.last_entry_id() {
            return Err(
                "ERR The ID specified in XSETID is smaller than the target stream top item",
            );
        }
        if !log.is_empty() && added.is_some_and(|added| added < log.len()) && !replays {
            return Err(
                "ERR The entries_added specified in XSETID is smaller than the target stream length",
            );
        }
        log.set_id(id, added, deleted);
        Ok(())
    })?;
    set.ok_or(Error::NO_SUCH_KEY)?.map_err(Error::new)?;
    tell(ctx, key, "xsetid");
    ctx.reply.ok();
    Ok(())
}
