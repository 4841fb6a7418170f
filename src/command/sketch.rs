//! First sketches of server commands; each goes when its family comes.
use super::context::HomeCtx;
use super::error::Outcome;
use super::spec::{Run, Spec};

/// The commands of the group.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "command",
        arity: -1,
        run: Run::Home(command),
        ..Spec::BASE
    },
    Spec {
        name: "config",
        arity: -1,
        run: Run::Home(command),
        ..Spec::BASE
    },
    Spec {
        name: "info",
        arity: -1,
        run: Run::Home(info),
        ..Spec::BASE
    },
];

fn command(ctx: &mut HomeCtx<'_>) -> Outcome {
    ctx.reply().array(0);
    Ok(())
}
fn info(ctx: &mut HomeCtx<'_>) -> Outcome {
    let used = ctx.shard().keyspace.used_bytes();
    let text = format!(
        "redis_version:7.4.0\r\nprocess_id:{}\r\nused_memory:{used}\r\n",
        std::process::id()
    );
    ctx.reply().bulk(text.as_bytes());
    Ok(())
}
