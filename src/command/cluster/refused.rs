//! What would change a cluster of separate servers. Here the nodes are the shards of one process:
//! who they are follows from the configuration. The rows are there so that COMMAND knows them and
//! that who uses them learns why not.

use super::SUB;
use crate::command::context::HomeCtx;
use crate::command::error::{Error, Outcome};
use crate::command::spec::{Acl, Flags, Run, Spec};

/// What all of them have in common.
const REFUSED: Spec = Spec {
    flags: Flags::ADMIN.or(Flags::STALE).or(Flags::NO_ASYNC_LOADING),
    acl: Acl::ADMIN.or(Acl::SLOW).or(Acl::DANGEROUS),
    run: Run::Home(refuse),
    ..SUB
};

fn refuse(ctx: &mut HomeCtx<'_>) -> Outcome {
    super::node(ctx)?;
    let name = String::from_utf8_lossy(ctx.args[1]).to_ascii_uppercase();
    Err(Error::quoting(
        "ERR CLUSTER ",
        name.as_bytes(),
        " is not allowed: the nodes of this cluster are the shards of one process",
    ))
}

pub(super) const ADDSLOTS: Spec = Spec {
    name: "addslots",
    arity: -3,
    summary: "Refused: every slot has an owner.",
    syntax: "slot [slot ...]",
    ..REFUSED
};
pub(super) const ADDSLOTSRANGE: Spec = Spec {
    name: "addslotsrange",
    arity: -4,
    since: "7.0.0",
    summary: "Refused: every slot has an owner.",
    syntax: "start-slot end-slot [start-slot end-slot ...]",
    ..REFUSED
};
pub(super) const BUMPEPOCH: Spec = Spec {
    name: "bumpepoch",
    summary: "Refused: nodes do not vote.",
    tips: super::NONDETERMINISTIC,
    ..REFUSED
};
pub(super) const DELSLOTS: Spec = Spec {
    name: "delslots",
    arity: -3,
    summary: "Refused: every slot has an owner.",
    syntax: "slot [slot ...]",
    ..REFUSED
};
pub(super) const DELSLOTSRANGE: Spec = Spec {
    name: "delslotsrange",
    arity: -4,
    since: "7.0.0",
    summary: "Refused: every slot has an owner.",
    syntax: "start-slot end-slot [start-slot end-slot ...]",
    ..REFUSED
};
pub(super) const FAILOVER: Spec = Spec {
    name: "failover",
    arity: -2,
    summary: "Refused: there are no replicas.",
    syntax: "[FORCE | TAKEOVER]#options",
    ..REFUSED
};
pub(super) const FLUSHSLOTS: Spec = Spec {
    name: "flushslots",
    summary: "Refused: every slot has an owner.",
    ..REFUSED
};
pub(super) const FORGET: Spec = Spec {
    name: "forget",
    arity: 3,
    summary: "Refused: the nodes are the shards.",
    syntax: "node-id",
    ..REFUSED
};
pub(super) const MEET: Spec = Spec {
    name: "meet",
    arity: -4,
    summary: "Refused: the nodes are the shards.",
    syntax: "ip port [cluster-bus-port]",
    ..REFUSED
};
pub(super) const REPLICATE: Spec = Spec {
    name: "replicate",
    arity: 3,
    summary: "Refused: every node is a master.",
    syntax: "node-id",
    ..REFUSED
};
pub(super) const RESET: Spec = Spec {
    name: "reset",
    arity: -2,
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::STALE),
    summary: "Refused: the nodes are the shards.",
    syntax: "[HARD | SOFT]#reset-type",
    ..REFUSED
};
pub(super) const SAVECONFIG: Spec = Spec {
    name: "saveconfig",
    summary: "Refused: there is no file of nodes.",
    ..REFUSED
};
pub(super) const SET_CONFIG_EPOCH: Spec = Spec {
    name: "set-config-epoch",
    arity: 3,
    summary: "Refused: nodes do not vote.",
    syntax: "config-epoch",
    ..REFUSED
};
pub(super) const SETSLOT: Spec = Spec {
    name: "setslot",
    arity: -4,
    summary: "Refused: slots do not move between servers.",
    syntax: "slot <IMPORTING node-id | MIGRATING node-id | NODE node-id | STABLE>#subcommand",
    ..REFUSED
};
