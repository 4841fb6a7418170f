//! CONFIG, over the table of directives in `server::config`.
//!
//! SET changes the node's configuration at the client's home, all pairs or none, applies what needs
//! the process, and then every shard takes the new one; OK follows when all have. Where it turns the
//! logs on or off ([`crate::server::logs`]) it is a transaction that holds everything.

use super::rewrite as rewriting;
use super::{admin, help, sub};
use crate::command::context::{HomeCtx, MergeCtx, PartCtx};
use crate::command::error::{Error, Outcome};
use crate::command::spec::{Acl, Group, Run, Spec};
use crate::server::config::{COMMAND_HELP, Config, Setter, is_sensitive, reason, set_failed};
use crate::server::{log, process};
use crate::shard::node::Node;
use crate::shard::stats::Stats;

/// Redis's texts for listening sockets that could not be opened.
const PORT_TAKEN: &str = "Unable to listen on this port. Check server logs.";
const ADDRESS_TAKEN: &str = "Failed to bind to specified addresses.";
/// The same for a log that cannot begin.
const NO_LOG: &str = "Unable to turn on AOF. Check server logs.";

const ALL_NODES: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

pub(super) const SPEC: Spec = Spec {
    name: "config",
    arity: -2,
    acl: Acl::SLOW,
    group: Group::Server,
    since: "2.0.0",
    complexity: "Depends on subcommand.",
    summary: "A container for server configuration commands.",
    subcommands: &[
        Spec {
            name: "get",
            arity: -3,
            complexity: "O(N) when N is the number of configuration parameters provided",
            summary: "Returns the effective values of configuration parameters.",
            history: &[("7.0.0", "Several patterns.")],
            syntax: "parameter [parameter ...]",
            run: Run::Home(get),
            ..admin("2.0.0")
        },
        Spec {
            name: "set",
            arity: -4,
            complexity: "O(N) when N is the number of configuration parameters provided",
            summary: "Sets configuration parameters in-flight.",
            history: &[("7.0.0", "Several parameters.")],
            syntax: "parameter value [parameter value ...]",
            secret: |args, at| at >= 3 && at % 2 == 1 && is_sensitive(args[at - 1]),
            tips: ALL_NODES,
            run: Run::Gather {
                prepare: Some(set),
                part: reload,
                merge: set_everywhere,
            },
            ..admin("2.0.0")
        },
        Spec {
            name: "rewrite",
            arity: 2,
            summary: "Persists the effective configuration to file.",
            tips: ALL_NODES,
            run: Run::Home(rewrite),
            ..admin("2.8.0")
        },
        Spec {
            name: "resetstat",
            arity: 2,
            summary: "Resets the server's statistics.",
            tips: ALL_NODES,
            run: Run::Gather {
                prepare: None,
                part: reset_stat,
                merge: all_ok,
            },
            ..admin("2.0.0")
        },
        Spec {
            name: "help",
            arity: 2,
            summary: "Returns helpful text about the different subcommands.",
            run: Run::Home(|ctx| help(ctx, "CONFIG", COMMAND_HELP)),
            ..sub("5.0.0")
        },
    ],
    ..Spec::BASE
};

fn get(ctx: &mut HomeCtx<'_>) -> Outcome {
    let found = ctx.shard().node.config().get(&ctx.args[2..]);
    let mut reply = ctx.reply();
    reply.map(found.len());
    for (name, value) in found {
        reply.bulk(&name);
        reply.bulk(&value);
    }
    Ok(())
}

fn set(ctx: &mut HomeCtx<'_>) -> Outcome {
    let pairs = &ctx.args[2..];
    if !pairs.len().is_multiple_of(2) {
        return Err(Error::SYNTAX);
    }
    let pairs: Vec<(&[u8], &[u8])> = pairs.chunks(2).map(|pair| (pair[0], pair[1])).collect();
    let setter = Setter {
        local: ctx.session().peer.is_local(),
        loading: false,
    };
    let node = ctx.shard().node.clone();
    let done = node.change_config(|config| {
        let before = config.clone();
        let changed = config.set(&pairs, setter)?;
        apply(&node, &before, config, &changed)
    });
    done.map_err(Error::new)?;
    if sets_logs(ctx.args) {
        rewriting::begin_first(ctx);
    }
    Ok(())
}

/// Does what a change means for the process; when it fails, nothing of it stays done.
fn apply(
    node: &Node,
    before: &Config,
    config: &Config,
    changed: &[&'static str],
) -> Result<(), String> {
    let is = |name: &str| changed.contains(&name);
    if is("maxclients") && config.maxclients > before.maxclients {
        let room = process::make_room_for_clients(config.maxclients, config.shards)
            .map_err(|why| set_failed("maxclients", &why))?;
        if room.maxclients < config.maxclients {
            return Err(set_failed(
                "maxclients",
                &process::too_many_clients(room.maxclients),
            ));
        }
    }
    if is("dir") {
        std::env::set_current_dir(&config.dir.0)
            .map_err(|error| set_failed("dir", &reason(&error)))?;
    }
    let undo = || {
        if is("dir") {
            // It was there when the server came here; the failure to be told of is the other one.
            let _ = std::env::set_current_dir(&before.dir.0);
        }
    };
    let turns_on = is("appendonly") && config.appendonly;
    if turns_on && let Err(why) = node.logs.turn_on(config) {
        log::warning(format_args!("Unable to turn on the log: {why}"));
        undo();
        return Err(set_failed("appendonly", NO_LOG));
    }
    // Last of what may fail: it undoes itself.
    let address = [("port", PORT_TAKEN), ("bind", ADDRESS_TAKEN)];
    if let Some((name, why)) = address.into_iter().find(|(name, _)| is(name))
        && node.listen_as(config).is_err()
    {
        undo();
        if turns_on {
            node.logs.turn_on_undone();
        }
        return Err(set_failed(name, why));
    }
    if let Some(place) = node.logs.left_behind(config).filter(|_| is("dir")) {
        log::warning(format_args!(
            "The log stays in {}, where the next start will not look for it, until appendonly is \
             turned off and on",
            place.display()
        ));
    }
    if is("loglevel") {
        log::configure(config);
    }
    Ok(())
}

/// Whether this is CONFIG SET of whether logs are kept. It holds all databases at every shard: that is
/// where logs begin and end.
pub fn sets_logs(args: &[&[u8]]) -> bool {
    let mut names = args.iter().skip(2).step_by(2);
    names.any(|name| name.eq_ignore_ascii_case(b"appendonly"))
}

fn set_everywhere(ctx: &mut MergeCtx<'_>) -> Outcome {
    let node = &ctx.engine.shard.node;
    if sets_logs(ctx.args) {
        node.logs.settle_marks();
        if node.logs.is_without_base() && node.logs.rewriting().scheduled {
            node.wake_all(); // one of them sees to it
        }
    }
    // It may have been turned on again meanwhile.
    if sets_logs(ctx.args) && node.logs.are_on() && !node.config().appendonly {
        ctx.engine.stop_logs();
    }
    all_ok(ctx)
}

fn reload(ctx: &mut PartCtx<'_>) -> Outcome {
    ctx.engine.reload_config();
    if sets_logs(ctx.args) {
        rewriting::first_part(ctx)?;
    }
    Ok(())
}

fn rewrite(ctx: &mut HomeCtx<'_>) -> Outcome {
    match ctx.shard().node.config().rewrite(None) {
        Ok(()) => {
            log::notice(format_args!("CONFIG REWRITE executed with success."));
            ctx.reply().ok();
            Ok(())
        }
        Err(why) => {
            log::warning(format_args!("CONFIG REWRITE failed: {why}"));
            Err(Error::new(why))
        }
    }
}

fn reset_stat(ctx: &mut PartCtx<'_>) -> Outcome {
    let shard = &mut ctx.engine.shard;
    shard.stats = Stats::new(shard.registry.rows.len());
    shard.slot_loads.reset_counters();
    Ok(())
}

fn all_ok(ctx: &mut MergeCtx<'_>) -> Outcome {
    ctx.reply.ok();
    Ok(())
}
