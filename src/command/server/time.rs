//! TIME.
use super::{Acl, Flags, Group, HomeCtx, Outcome, Spec};
use crate::command::spec::Run;

/// TIME
pub(super) const SPEC: Spec = Spec {
    name: "time",
    arity: 1,
    flags: Flags::LOADING.or(Flags::STALE).or(Flags::FAST),
    acl: Acl::FAST,
    group: Group::Server,
    since: "2.6.0",
    summary: "Returns the server's time, in seconds and microseconds.",
    tips: &["nondeterministic_output"],
    run: Run::Home(time),
    ..Spec::BASE
};

/// Unix time: seconds, and the microseconds of the second that has begun.
fn time(ctx: &mut HomeCtx<'_>) -> Outcome {
    let now_us = ctx.shard().now_us;
    let mut reply = ctx.reply();
    reply.array(2);
    reply.bulk_integer((now_us / 1_000_000) as i64);
    reply.bulk_integer((now_us % 1_000_000) as i64);
    Ok(())
}
