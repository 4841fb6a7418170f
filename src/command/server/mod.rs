//! The server's own commands: what it is, how it is configured, what it can do, what was slow, and
//! how it ends.
mod acl;
mod art;
mod catalog;
pub mod config;
mod docs;
mod info;
mod latency;
pub(super) mod record;
mod report;
mod rewrite;
mod role;
pub mod save;
pub mod shutdown;
mod slowlog;
pub mod sync;
mod time;

use super::context::HomeCtx;
use super::error::Outcome;
use super::spec::{Acl, Flags, Group, Spec};

/// The commands of the group.
pub const COMMANDS: &[Spec] = &[
    acl::SPEC,
    catalog::SPEC,
    config::SPEC,
    info::SPEC,
    latency::SPEC,
    art::SPEC,
    role::MODULE,
    role::REPLICAOF,
    role::SLAVEOF,
    role::ROLE,
    save::SAVE,
    save::BGSAVE,
    save::LASTSAVE,
    rewrite::BGREWRITEAOF,
    shutdown::SPEC,
    slowlog::SPEC,
    sync::SYNC,
    sync::PSYNC,
    sync::REPLCONF,
    time::SPEC,
];

/// A subcommand for everybody.
const fn sub(since: &'static str) -> Spec {
    Spec {
        flags: Flags::LOADING.or(Flags::STALE),
        acl: Acl::SLOW,
        group: Group::Server,
        since,
        ..Spec::BASE
    }
}

/// A subcommand for administrators.
const fn admin_only(since: &'static str) -> Spec {
    Spec {
        flags: Flags::ADMIN.or(Flags::LOADING).or(Flags::STALE),
        acl: Acl::ADMIN.or(Acl::SLOW).or(Acl::DANGEROUS),
        ..sub(since)
    }
}

/// A subcommand for administrators that scripts may not call.
const fn admin(since: &'static str) -> Spec {
    Spec {
        flags: admin_only(since).flags.or(Flags::NOSCRIPT),
        ..admin_only(since)
    }
}

/// The reply of a HELP subcommand.
fn help(ctx: &mut HomeCtx<'_>, command: &str, lines: &[&str]) -> Outcome {
    super::help::reply(&mut ctx.reply(), command, lines);
    Ok(())
}
