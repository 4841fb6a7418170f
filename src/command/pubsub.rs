//! Publish and subscribe: the commands. What they do stands in [`crate::net::pubsub`] and
//! [`crate::shard::channels`].

use super::context::{Ctx, HomeCtx, MergeCtx, PartCtx};
use super::error::{Error, Outcome};
use super::help;
use super::spec::{Acl, Flags, Group, KeyFlags, KeySpec, Run, Spec};
use crate::keyspace::Slot;
use crate::mesh::ShardId;
use crate::shard::Shard;
use crate::shard::channels::Class;

const ANYTIME: Flags = Flags::PUBSUB.or(Flags::LOADING).or(Flags::STALE);

/// What all commands here have in common.
const BASE: Spec = Spec {
    flags: ANYTIME.or(Flags::NOSCRIPT),
    acl: Acl::PUBSUB.or(Acl::SLOW),
    group: Group::Pubsub,
    since: "2.0.0",
    ..Spec::BASE
};

/// Of PUBLISH and SPUBLISH.
const PUBLISH: Spec = Spec {
    arity: 3,
    flags: ANYTIME.or(Flags::FAST).or(Flags::MAY_REPLICATE),
    acl: Acl::PUBSUB.or(Acl::FAST),
    ..BASE
};

/// Of the subcommands of PUBSUB.
const ASKING: Spec = Spec {
    flags: ANYTIME,
    since: "2.8.0",
    ..BASE
};

/// The commands of the group.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "publish",
        complexity: "O(N+M) with N the subscribers of the channel and M all patterns.",
        summary: "Publishes a message on a channel.",
        syntax: "channel message",
        run: Run::At {
            owner: channel_owner,
            run: publish,
        },
        ..PUBLISH
    },
    Spec {
        name: "spublish",
        keys: &[KeySpec::one(1, KeyFlags::NOT_KEY)],
        since: "7.0.0",
        complexity: "O(N) with N the subscribers of the shard channel.",
        summary: "Publishes a message on a shard channel.",
        syntax: "shardchannel message",
        run: Run::At {
            owner: channel_owner,
            run: spublish,
        },
        ..PUBLISH
    },
    Spec {
        name: "subscribe",
        arity: -2,
        complexity: "O(N) with N the number of channels.",
        summary: "Subscribes to channels.",
        syntax: "channel [channel ...]",
        run: Run::Home(|ctx| begin(ctx, Class::Channel)),
        ..BASE
    },
    Spec {
        name: "unsubscribe",
        arity: -1,
        complexity: "O(N) with N the number of channels.",
        summary: "Ends subscriptions to channels, or to all of them.",
        syntax: "[channel [channel ...]]",
        run: Run::Home(|ctx| end(ctx, Class::Channel)),
        ..BASE
    },
    Spec {
        name: "psubscribe",
        arity: -2,
        complexity: "O(N) with N the number of patterns.",
        summary: "Subscribes to all channels that match one of the patterns.",
        syntax: "pattern [pattern ...]",
        run: Run::Home(|ctx| begin(ctx, Class::Pattern)),
        ..BASE
    },
    Spec {
        name: "punsubscribe",
        arity: -1,
        complexity: "O(N) with N the number of patterns.",
        summary: "Ends subscriptions to patterns, or to all of them.",
        syntax: "[pattern [pattern ...]]",
        run: Run::Home(|ctx| end(ctx, Class::Pattern)),
        ..BASE
    },
    Spec {
        name: "ssubscribe",
        arity: -2,
        keys: &[KeySpec::range(1, -1, 1, KeyFlags::NOT_KEY)],
        since: "7.0.0",
        complexity: "O(N) with N the number of shard channels.",
        summary: "Subscribes to shard channels.",
        syntax: "shardchannel [shardchannel ...]",
        run: Run::Home(|ctx| begin(ctx, Class::Shard)),
        ..BASE
    },
    Spec {
        name: "sunsubscribe",
        arity: -1,
        keys: &[KeySpec::range(1, -1, 1, KeyFlags::NOT_KEY)],
        since: "7.0.0",
        complexity: "O(N) with N the number of shard channels.",
        summary: "Ends subscriptions to shard channels, or to all of them.",
        syntax: "[shardchannel [shardchannel ...]]",
        run: Run::Home(|ctx| end(ctx, Class::Shard)),
        ..BASE
    },
    Spec {
        name: "pubsub",
        arity: -2,
        flags: Flags::NONE,
        acl: Acl::SLOW,
        since: "2.8.0",
        complexity: "Depends on subcommand.",
        summary: "A container for commands about publish and subscribe.",
        subcommands: SUBCOMMANDS,
        run: Run::Container,
        ..BASE
    },
];

const SUBCOMMANDS: &[Spec] = &[
    Spec {
        name: "channels",
        arity: -2,
        complexity: "O(N) with N the number of channels that have subscribers.",
        summary: "Lists the channels that have subscribers.",
        syntax: "[pattern]",
        run: Run::Gather {
            prepare: Some(check_list),
            part: |ctx| list_part(ctx, Class::Channel),
            merge: list_merge,
        },
        ..ASKING
    },
    Spec {
        name: "numsub",
        arity: -2,
        complexity: "O(N) with N the number of channels asked for.",
        summary: "Counts the subscribers of channels.",
        syntax: "[channel [channel ...]]",
        run: Run::Gather {
            prepare: None,
            part: |ctx| count_part(ctx, Class::Channel),
            merge: count_merge,
        },
        ..ASKING
    },
    Spec {
        name: "numpat",
        arity: 2,
        summary: "Counts the patterns that somebody subscribes to.",
        run: Run::Home(patterns),
        ..ASKING
    },
    Spec {
        name: "shardchannels",
        arity: -2,
        since: "7.0.0",
        complexity: "O(N) with N the number of shard channels that have subscribers.",
        summary: "Lists the shard channels that have subscribers.",
        syntax: "[pattern]",
        run: Run::Gather {
            prepare: Some(check_list),
            part: |ctx| list_part(ctx, Class::Shard),
            merge: list_merge,
        },
        ..ASKING
    },
    Spec {
        name: "shardnumsub",
        arity: -2,
        since: "7.0.0",
        complexity: "O(N) with N the number of shard channels asked for.",
        summary: "Counts the subscribers of shard channels.",
        syntax: "[shardchannel [shardchannel ...]]",
        run: Run::Gather {
            prepare: None,
            part: |ctx| count_part(ctx, Class::Shard),
            merge: count_merge,
        },
        ..ASKING
    },
    Spec {
        name: "help",
        arity: 2,
        flags: Flags::LOADING.or(Flags::STALE),
        acl: Acl::SLOW,
        since: "6.2.0",
        summary: "Describes the subcommands.",
        run: Run::Home(help),
        ..ASKING
    },
];

/// The shard that every message of a channel passes through.
fn channel_owner(shard: &Shard, args: &[&[u8]]) -> ShardId {
    shard.owner(Slot::of(args[1]))
}

fn publish(ctx: &mut Ctx<'_>) -> Outcome {
    publish_on(ctx, Class::Channel)
}

fn spublish(ctx: &mut Ctx<'_>) -> Outcome {
    publish_on(ctx, Class::Shard)
}

fn publish_on(ctx: &mut Ctx<'_>, class: Class) -> Outcome {
    let (channel, message) = (ctx.args[1], ctx.args[2]);
    let reached = ctx.shard.publish(class, channel, message);
    ctx.reply.integer(reached as i64);
    Ok(())
}

fn begin(ctx: &mut HomeCtx<'_>, class: Class) -> Outcome {
    let in_exec = ctx.in_exec;
    ctx.engine
        .subscribe(ctx.conn, class, &ctx.args[1..], in_exec);
    Ok(())
}

fn end(ctx: &mut HomeCtx<'_>, class: Class) -> Outcome {
    let in_exec = ctx.in_exec;
    ctx.engine
        .unsubscribe(ctx.conn, class, &ctx.args[1..], in_exec);
    Ok(())
}

/// At most one pattern.
fn check_list(ctx: &mut HomeCtx<'_>) -> Outcome {
    if ctx.args.len() > 3 {
        return Err(Error::wrong_arguments(ctx.args[1], "PUBSUB"));
    }
    Ok(())
}

/// The names that a shard owns: u32 length and bytes of each.
fn list_part(ctx: &mut PartCtx<'_>, class: Class) -> Outcome {
    let pattern = ctx.args.get(2).copied();
    let buf = &mut ctx.out.buf;
    for name in ctx.engine.shard.channels.names(class, pattern) {
        buf.extend_from_slice(&(name.len() as u32).to_le_bytes());
        buf.extend_from_slice(name);
    }
    Ok(())
}

fn list_merge(ctx: &mut MergeCtx<'_>) -> Outcome {
    let mut names: Vec<&[u8]> = Vec::new();
    for part in ctx.parts.iter() {
        let mut rest = &part.buf[..];
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let (name, after) = after.split_at(u32::from_le_bytes(*length) as usize);
            names.push(name);
            rest = after;
        }
    }
    ctx.reply.array(names.len());
    names.iter().for_each(|name| ctx.reply.bulk(name));
    Ok(())
}

/// How many subscribers a shard knows of each channel that is asked for: u64 each.
fn count_part(ctx: &mut PartCtx<'_>, class: Class) -> Outcome {
    for name in &ctx.args[2..] {
        let count = ctx.engine.shard.channels.subscribers(class, name);
        ctx.out.buf.extend_from_slice(&count.to_le_bytes());
    }
    Ok(())
}

/// Each channel with the sum of what the shards know: its owner alone knows any.
fn count_merge(ctx: &mut MergeCtx<'_>) -> Outcome {
    let names = &ctx.args[2..];
    ctx.reply.array(2 * names.len());
    for (at, name) in names.iter().enumerate() {
        let count = |buf: &[u8]| {
            let bytes = buf[8 * at..].first_chunk::<8>().expect("one for each");
            u64::from_le_bytes(*bytes)
        };
        let total: u64 = ctx.parts.iter().map(|part| count(&part.buf)).sum();
        ctx.reply.bulk(name);
        ctx.reply.integer(total as i64);
    }
    Ok(())
}

fn patterns(ctx: &mut HomeCtx<'_>) -> Outcome {
    let count = ctx.shard().channels.len(Class::Pattern);
    ctx.reply().integer(count as i64);
    Ok(())
}

fn help(ctx: &mut HomeCtx<'_>) -> Outcome {
    help::reply(
        &mut ctx.reply(),
        "PUBSUB",
        &[
            "CHANNELS [<pattern>]",
            "    Return the currently active channels matching a <pattern> (default: '*').",
            "NUMPAT",
            "    Return number of subscriptions to patterns.",
            "NUMSUB [<channel> ...]",
            "    Return the number of subscribers for the specified channels, excluding",
            "    pattern subscriptions(default: no channels).",
            "SHARDCHANNELS [<pattern>]",
            "    Return the currently active shard level channels matching a <pattern> (default: '*').",
            "SHARDNUMSUB [<shardchannel> ...]",
            "    Return the number of subscribers for the specified shard level channel(s)",
        ],
    );
    Ok(())
}
