//! RINGDOVE: what no other server has a command for.
//!
//! `RINGDOVE SLOTS` shows which shard owns which slots, `RINGDOVE SLOTS MOVE` changes it, and
//! `RINGDOVE SLOTS BALANCE` changes it so that all shards bear the same.

use super::context::HomeCtx;
use super::error::{Error, Outcome};
use super::help;
use super::spec::{Acl, Flags, Group, Run, Spec};
use crate::keyspace::Slot;
use crate::mesh::ShardId;
use crate::net::balance::{Metric, TOLERANCE_PERCENT, Wanted};
use crate::resp::number::parse_i64;
use crate::shard::slot_ranges;

/// The commands of the group.
pub const COMMANDS: &[Spec] = &[Spec {
    name: "ringdove",
    arity: -2,
    acl: Acl::SLOW,
    group: Group::Server,
    complexity: "Depends on subcommand.",
    summary: "A container for commands about the shards of this server.",
    subcommands: &[
        Spec {
            name: "help",
            arity: 2,
            flags: Flags::LOADING.or(Flags::STALE),
            acl: Acl::SLOW,
            group: Group::Server,
            summary: "Describes the subcommands.",
            run: Run::Home(help),
            ..Spec::BASE
        },
        Spec {
            name: "slots",
            arity: -2,
            flags: Flags::ADMIN
                .or(Flags::NOSCRIPT)
                .or(Flags::STALE)
                .or(Flags::NO_MULTI),
            acl: Acl::ADMIN.or(Acl::SLOW).or(Acl::DANGEROUS),
            group: Group::Server,
            complexity: "O(N) with N the number of slots, or of keys that move.",
            summary: "Shows which shard owns which slots, moves slots to a shard, or balances the shards.",
            syntax: "[MOVE range TO shard | BALANCE [BY <LOAD | KEYS>] [TOLERANCE percent:integer] [DRYRUN]]#operation",
            run: Run::Home(slots),
            ..Spec::BASE
        },
    ],
    ..Spec::BASE
}];

fn slots(ctx: &mut HomeCtx<'_>) -> Outcome {
    match &ctx.args[2..] {
        [] => {
            show(ctx);
            Ok(())
        }
        [word, range, to, shard]
            if word.eq_ignore_ascii_case(b"move") && to.eq_ignore_ascii_case(b"to") =>
        {
            let (first, last) = parse_range(range)
                .ok_or_else(|| Error::new("ERR slots are a number or a range below 16384"))?;
            let shards = ctx.shard().node.shards;
            let to = parse_i64(shard)
                .and_then(|n| usize::try_from(n).ok())
                .filter(|n| *n < shards)
                .ok_or_else(|| {
                    Error::new(format!("ERR shards are numbered from 0 to {}", shards - 1))
                })?;
            ctx.engine
                .move_slots(ctx.conn, first, last, ShardId(to as u16))
        }
        [word, options @ ..] if word.eq_ignore_ascii_case(b"balance") => {
            let wanted = parse_balance(options)?;
            ctx.engine.balance_slots(ctx.conn, wanted)
        }
        _ => Err(Error::SYNTAX),
    }
}

/// `[BY LOAD | KEYS] [TOLERANCE percent] [DRYRUN]`, in any order.
fn parse_balance(mut options: &[&[u8]]) -> Result<Wanted, Error> {
    let mut wanted = Wanted {
        metric: Metric::Load,
        tolerance_percent: TOLERANCE_PERCENT,
        dry_run: false,
    };
    while let [word, rest @ ..] = options {
        options = match (&word.to_ascii_lowercase()[..], rest) {
            (b"dryrun", _) => {
                wanted.dry_run = true;
                rest
            }
            (b"by", [metric, rest @ ..]) => {
                wanted.metric = match &metric.to_ascii_lowercase()[..] {
                    b"load" => Metric::Load,
                    b"keys" => Metric::Keys,
                    _ => return Err(Error::SYNTAX),
                };
                rest
            }
            (b"tolerance", [percent, rest @ ..]) => {
                let percent = parse_i64(percent).and_then(|n| u64::try_from(n).ok());
                wanted.tolerance_percent = percent
                    .filter(|n| *n <= 100)
                    .ok_or_else(|| Error::new("ERR a tolerance is a percentage, 0 to 100"))?;
                rest
            }
            _ => return Err(Error::SYNTAX),
        };
    }
    Ok(wanted)
}

/// For each range of slots its first, its last and their shard.
fn show(ctx: &mut HomeCtx<'_>) {
    let ranges = slot_ranges(&ctx.shard().slot_map);
    let mut reply = ctx.reply();
    reply.array(ranges.len());
    for range in ranges {
        reply.array(3);
        reply.integer(range.first as i64);
        reply.integer(range.last as i64);
        reply.integer(range.owner.0.into());
    }
}

/// `7` or `7-12`.
fn parse_range(text: &[u8]) -> Option<(Slot, Slot)> {
    let slot = |text: &[u8]| Slot::new(u16::try_from(parse_i64(text)?).ok()?);
    let dash = text.iter().position(|b| *b == b'-');
    let (first, last) = match dash {
        Some(at) => (slot(&text[..at])?, slot(&text[at + 1..])?),
        None => (slot(text)?, slot(text)?),
    };
    (first <= last).then_some((first, last))
}

fn help(ctx: &mut HomeCtx<'_>) -> Outcome {
    help::reply(
        &mut ctx.reply(),
        "RINGDOVE",
        &[
            "SLOTS",
            "    Return ranges of slots: first, last and the shard that owns them.",
            "SLOTS MOVE <first>[-<last>] TO <shard>",
            "    Move slots with their keys to a shard. Return the number of keys that moved.",
            "SLOTS BALANCE [BY LOAD|KEYS] [TOLERANCE <percent>] [DRYRUN]",
            "    Move the fewest slots after which no shard bears more than <percent> (10) more or less",
            "    than the mean of what slots have cost of late (LOAD), or of their KEYS. Return what each",
            "    shard bore before and bears after, in thousandths of the whole, and what has moved, or",
            "    would (DRYRUN): first and last slot, from which shard, to which, and how many keys.",
        ],
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_balance_is_read() {
        let parse = |line: &str| {
            let options: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
            parse_balance(&options).ok()
        };
        let wanted = |metric, tolerance_percent, dry_run| {
            Some(Wanted {
                metric,
                tolerance_percent,
                dry_run,
            })
        };
        assert_eq!(parse(""), wanted(Metric::Load, TOLERANCE_PERCENT, false));
        assert_eq!(
            parse("dryrun TOLERANCE 0 by keys"),
            wanted(Metric::Keys, 0, true)
        );
        for wrong in [
            "BY",
            "BY x",
            "TOLERANCE",
            "TOLERANCE 101",
            "TOLERANCE -1",
            "NOW",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn ranges_are_read() {
        let range = |text: &str| {
            parse_range(text.as_bytes()).map(|(first, last)| (first.number(), last.number()))
        };
        assert_eq!(range("7"), Some((7, 7)));
        assert_eq!(range("0-16383"), Some((0, 16383)));
        for wrong in ["", "-", "5-", "-5", "6-5", "16384", "0-16384", "a", "1-2-3"] {
            assert_eq!(range(wrong), None, "{wrong}");
        }
    }
}
