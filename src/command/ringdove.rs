//! RINGDOVE: what no other server has a command for.
//!
//! `RINGDOVE SLOTS` shows which shard owns which slots, `RINGDOVE SLOTS MOVE` changes it.

use super::context::HomeCtx;
use super::error::{Error, Outcome};
use super::help;
use super::spec::{Acl, Flags, Group, Run, Spec};
use crate::keyspace::Slot;
use crate::mesh::ShardId;
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
            summary: "Shows which shard owns which slots, or moves slots to a shard.",
            syntax: "[MOVE range TO shard]#move",
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
        _ => Err(Error::SYNTAX),
    }
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
        ],
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
