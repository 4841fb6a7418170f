//! Connection commands.
use super::context::{HomeCtx, MergeCtx, PartCtx};
use super::error::Outcome;
use super::spec::{Flags, Run, Spec};

/// The commands of the group.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "ping",
        arity: -1,
        flags: Flags::FAST,
        run: Run::Home(ping),
        ..Spec::BASE
    },
    Spec {
        name: "dbsize",
        arity: 1,
        run: Run::Gather {
            prepare: None,
            part: dbsize_part,
            merge: sum,
        },
        ..Spec::BASE
    },
    Spec {
        name: "flushall",
        arity: -1,
        flags: Flags::WRITE,
        run: Run::Gather {
            prepare: None,
            part: flush_part,
            merge: all_ok,
        },
        ..Spec::BASE
    },
];

fn ping(ctx: &mut HomeCtx<'_>) -> Outcome {
    let args = ctx.args;
    match args {
        [_] => ctx.reply().simple("PONG"),
        [_, text, ..] => ctx.reply().bulk(text),
        [] => {}
    }
    Ok(())
}
fn dbsize_part(ctx: &mut PartCtx<'_>) -> Outcome {
    let n = ctx.db().len() as u64;
    ctx.out.buf.extend_from_slice(&n.to_le_bytes());
    Ok(())
}
fn sum(ctx: &mut MergeCtx<'_>) -> Outcome {
    let n: u64 = ctx
        .parts
        .iter()
        .map(|p| u64::from_le_bytes(p.buf[..8].try_into().expect("eight")))
        .sum();
    ctx.reply.integer(n as i64);
    Ok(())
}
fn flush_part(ctx: &mut PartCtx<'_>) -> Outcome {
    ctx.engine.shard.keyspace.clear();
    Ok(())
}
fn all_ok(ctx: &mut MergeCtx<'_>) -> Outcome {
    ctx.reply.ok();
    Ok(())
}
