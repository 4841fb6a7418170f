//! Connection commands.
use super::context::HomeCtx;
use super::error::Outcome;
use super::spec::{Flags, Run, Spec};

/// The commands of the group.
pub const COMMANDS: &[Spec] = &[Spec {
    name: "ping",
    arity: -1,
    flags: Flags::FAST,
    run: Run::Home(ping),
    ..Spec::BASE
}];

fn ping(ctx: &mut HomeCtx<'_>) -> Outcome {
    let args = ctx.args;
    match args {
        [_] => ctx.reply().simple("PONG"),
        [_, text, ..] => ctx.reply().bulk(text),
        [] => {}
    }
    Ok(())
}
