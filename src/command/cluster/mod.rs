//! The shards as nodes of a Redis Cluster, for clients that came to a shard's own port: CLUSTER,
//! READONLY, READWRITE and ASKING. On the common port all of them say, as a server without cluster
//! does, that there is none.
//!
//! Every node is a master, up and without replicas, and there is no bus between nodes: what is asked
//! about those is answered with nothing. What would change the cluster is refused with what to use
//! instead.

mod refused;
mod slot_stats;
mod view;

use super::context::{Ctx, HomeCtx};
use super::error::{Error, Outcome};
use super::help;
use super::spec::{Acl, Flags, Group, Run, Spec};
use crate::keyspace::Slot;
use crate::mesh::ShardId;
use crate::net::session::flag;
use crate::resp::number::parse_i64;
use crate::shard::Shard;

const NONDETERMINISTIC: &[&str] = &["nondeterministic_output"];

/// What all subcommands have in common.
const SUB: Spec = Spec {
    arity: 2,
    flags: Flags::STALE,
    acl: Acl::SLOW,
    group: Group::Cluster,
    since: "3.0.0",
    ..Spec::BASE
};

/// Those that look at nodes.
const ABOUT_NODES: Spec = Spec {
    arity: 3,
    flags: Flags::ADMIN.or(Flags::STALE),
    acl: Acl::ADMIN.or(Acl::SLOW).or(Acl::DANGEROUS),
    tips: NONDETERMINISTIC,
    ..SUB
};

/// What a connection says of itself.
const MODE: Spec = Spec {
    arity: 1,
    flags: Flags::FAST.or(Flags::LOADING).or(Flags::STALE),
    acl: Acl::FAST.or(Acl::CONNECTION),
    ..SUB
};

/// The commands of the group.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "cluster",
        arity: -2,
        flags: Flags::NONE,
        complexity: "Depends on subcommand.",
        summary: "A container for Redis Cluster commands.",
        subcommands: SUBCOMMANDS,
        ..SUB
    },
    Spec {
        name: "asking",
        flags: Flags::FAST,
        summary: "Accepted: slots move at once, so nobody is sent here with ASK.",
        run: Run::Home(accept),
        ..MODE
    },
    Spec {
        name: "readonly",
        summary: "Accepted: there are no replicas whose reads could be allowed.",
        run: Run::Home(accept),
        ..MODE
    },
    Spec {
        name: "readwrite",
        summary: "Accepted: takes READONLY back.",
        run: Run::Home(accept),
        ..MODE
    },
];

const SUBCOMMANDS: &[Spec] = &[
    refused::ADDSLOTS,
    refused::ADDSLOTSRANGE,
    refused::BUMPEPOCH,
    Spec {
        name: "count-failure-reports",
        complexity: "O(N) where N is the number of nodes",
        summary: "Counts who holds a node for failed: nobody.",
        syntax: "node-id",
        run: Run::Home(|ctx| {
            known_node(ctx)?;
            ctx.reply().integer(0);
            Ok(())
        }),
        ..ABOUT_NODES
    },
    Spec {
        name: "countkeysinslot",
        arity: 3,
        summary: "Counts the keys of a slot.",
        syntax: "slot",
        run: Run::At {
            owner: slot_owner,
            run: count_keys,
        },
        ..SUB
    },
    refused::DELSLOTS,
    refused::DELSLOTSRANGE,
    refused::FAILOVER,
    refused::FLUSHSLOTS,
    refused::FORGET,
    Spec {
        name: "getkeysinslot",
        arity: 4,
        complexity: "O(N) where N is the number of keys asked for",
        summary: "Returns keys of a slot.",
        syntax: "slot count",
        tips: NONDETERMINISTIC,
        run: Run::At {
            owner: slot_owner,
            run: get_keys,
        },
        ..SUB
    },
    Spec {
        name: "help",
        flags: Flags::LOADING.or(Flags::STALE),
        since: "5.0.0",
        summary: "Describes the subcommands.",
        run: Run::Home(help),
        ..SUB
    },
    Spec {
        name: "info",
        summary: "Describes the state of the cluster.",
        tips: NONDETERMINISTIC,
        run: Run::Home(view::info),
        ..SUB
    },
    Spec {
        name: "keyslot",
        arity: 3,
        complexity: "O(N) where N is the number of bytes in the key",
        summary: "Returns the slot of a key.",
        syntax: "key",
        run: Run::Home(key_slot),
        ..SUB
    },
    Spec {
        name: "links",
        since: "7.0.0",
        summary: "Lists the links to other nodes: there are none, for nodes share a process.",
        tips: NONDETERMINISTIC,
        run: Run::Home(|ctx| {
            node(ctx)?;
            ctx.reply().array(0);
            Ok(())
        }),
        ..SUB
    },
    refused::MEET,
    Spec {
        name: "myid",
        summary: "Returns the id of the node.",
        run: Run::Home(my_id),
        ..SUB
    },
    Spec {
        name: "myshardid",
        since: "7.2.0",
        summary: "Returns the id of the node's shard: a node and its replicas, of which there are none.",
        tips: NONDETERMINISTIC,
        run: Run::Home(my_id),
        ..SUB
    },
    Spec {
        name: "nodes",
        complexity: "O(N) where N is the number of slots",
        summary: "Describes the nodes, a line each.",
        tips: NONDETERMINISTIC,
        run: Run::Home(view::nodes),
        ..SUB
    },
    Spec {
        name: "replicas",
        since: "5.0.0",
        complexity: "O(N) where N is the number of nodes",
        summary: "Lists the replicas of a node: there are none.",
        syntax: "node-id",
        run: Run::Home(no_replicas),
        ..ABOUT_NODES
    },
    refused::REPLICATE,
    refused::RESET,
    refused::SAVECONFIG,
    refused::SET_CONFIG_EPOCH,
    refused::SETSLOT,
    Spec {
        name: "shards",
        since: "7.0.0",
        complexity: "O(N) where N is the number of slots",
        summary: "Maps slots to shards and their nodes.",
        tips: NONDETERMINISTIC,
        run: Run::Home(view::shards),
        ..SUB
    },
    Spec {
        name: "slaves",
        complexity: "O(N) where N is the number of nodes",
        summary: "Lists the replicas of a node: there are none.",
        syntax: "node-id",
        deprecated: Some(super::spec::Deprecated {
            since: "5.0.0",
            instead: "`CLUSTER REPLICAS`",
        }),
        run: Run::Home(no_replicas),
        ..ABOUT_NODES
    },
    slot_stats::SPEC,
    Spec {
        name: "slots",
        complexity: "O(N) where N is the number of slots",
        summary: "Maps ranges of slots to nodes.",
        deprecated: Some(super::spec::Deprecated {
            since: "7.0.0",
            instead: "`CLUSTER SHARDS`",
        }),
        tips: NONDETERMINISTIC,
        run: Run::Home(view::slots),
        ..SUB
    },
];

/// The shard that the client speaks to as a node; an error on the common port.
fn node(ctx: &mut HomeCtx<'_>) -> Result<ShardId, Error> {
    if ctx.session().is(flag::CORE) {
        return Ok(ctx.shard().id);
    }
    Err(Error::NO_CLUSTER)
}

fn accept(ctx: &mut HomeCtx<'_>) -> Outcome {
    node(ctx)?;
    ctx.reply().ok();
    Ok(())
}

/// The node that the argument names.
fn known_node(ctx: &mut HomeCtx<'_>) -> Result<ShardId, Error> {
    node(ctx)?;
    let id = ctx.args[2];
    let cores = ctx.shard().node.cores.as_ref();
    let found = cores.and_then(|cores| cores.find(id));
    found.ok_or_else(|| Error::quoting("ERR Unknown node ", id, ""))
}

fn no_replicas(ctx: &mut HomeCtx<'_>) -> Outcome {
    known_node(ctx)?;
    ctx.reply().array(0);
    Ok(())
}

fn my_id(ctx: &mut HomeCtx<'_>) -> Outcome {
    let own = node(ctx)?;
    let node = ctx.shard().node.clone();
    let cores = node.cores.as_ref().ok_or(Error::NO_CLUSTER)?;
    ctx.reply().bulk(cores.id(own).as_bytes());
    Ok(())
}

fn key_slot(ctx: &mut HomeCtx<'_>) -> Outcome {
    node(ctx)?;
    let slot = Slot::of(ctx.args[2]);
    ctx.reply().integer(slot.number().into());
    Ok(())
}

fn parse_slot(text: &[u8]) -> Result<Option<Slot>, Error> {
    let number = parse_i64(text).ok_or(Error::NOT_INTEGER)?;
    Ok(u16::try_from(number).ok().and_then(Slot::new))
}

/// Where the keys of the slot are that the argument names; what names none fails anywhere.
fn slot_owner(shard: &Shard, args: &[&[u8]]) -> ShardId {
    match args.get(2).map(|text| parse_slot(text)) {
        Some(Ok(Some(slot))) => shard.owner(slot),
        _ => shard.id,
    }
}

fn only_on_nodes(ctx: &Ctx<'_>) -> Outcome {
    let core = ctx.caller.flags & super::context::caller::CORE != 0;
    core.then_some(()).ok_or(Error::NO_CLUSTER)
}

fn count_keys(ctx: &mut Ctx<'_>) -> Outcome {
    only_on_nodes(ctx)?;
    let slot = parse_slot(ctx.args[2])?.ok_or_else(|| Error::new("ERR Invalid slot"))?;
    let count = ctx.db().count_in_slot(slot);
    ctx.reply.integer(count as i64);
    Ok(())
}

fn get_keys(ctx: &mut Ctx<'_>) -> Outcome {
    only_on_nodes(ctx)?;
    let slot = parse_slot(ctx.args[2])?;
    let max = parse_i64(ctx.args[3]).ok_or(Error::NOT_INTEGER)?;
    let (Some(slot), Ok(max)) = (slot, usize::try_from(max)) else {
        return Err(Error::new("ERR Invalid slot or number of keys"));
    };
    let db = ctx.shard.keyspace.db(usize::from(ctx.caller.db));
    ctx.reply.array(db.count_in_slot(slot).min(max));
    db.for_each_in_slot(slot, max, |entry| ctx.reply.bulk(entry.key()));
    Ok(())
}

fn help(ctx: &mut HomeCtx<'_>) -> Outcome {
    node(ctx)?;
    help::reply(
        &mut ctx.reply(),
        "CLUSTER",
        &[
            "COUNT-FAILURE-REPORTS <node-id>",
            "    Return number of failure reports for <node-id>.",
            "COUNTKEYSINSLOT <slot>",
            "    Return the number of keys in <slot>.",
            "GETKEYSINSLOT <slot> <count>",
            "    Return key names stored by current node in a slot.",
            "INFO",
            "    Return information about the cluster.",
            "KEYSLOT <key>",
            "    Return the hash slot for <key>.",
            "MYID",
            "    Return the node id.",
            "MYSHARDID",
            "    Return the node's shard id.",
            "NODES",
            "    Return cluster configuration seen by node. Output format:",
            "    <id> <ip:port> <flags> <master> <pings> <pongs> <epoch> <link> <slot> ...",
            "REPLICAS <node-id>",
            "    Return <node-id> replicas.",
            "SLOT-STATS SLOTSRANGE <start-slot> <end-slot>",
            "    Return what slots of the node hold and cost.",
            "SLOT-STATS ORDERBY <metric> [LIMIT <limit>] [ASC|DESC]",
            "    The same, ordered by one of the metrics.",
            "SLOTS",
            "    Return information about slots range mappings. Each range is made of:",
            "    start, end, master and replicas IP addresses, ports and ids",
            "SHARDS",
            "    Return information about slot range mappings and the nodes associated with them.",
            "LINKS",
            "    Return information about all network links between this node and its peers.",
            "    Output format is an array where each array element is a map containing attributes of a link",
        ],
    );
    Ok(())
}
