//! Connections that came to a shard's own port (`core-direct`, see [`crate::shard::cores`]): what is
//! different for them.
//!
//! - CLUSTER and its like answer, as on a node of a cluster; everywhere else they say that there is
//!   none, as on a server without. So do HELLO's `mode` and INFO's `cluster_enabled`.
//! - What a cluster client asks every node of and then adds up (DBSIZE, KEYS, SCAN, FLUSHALL, INFO ...)
//!   speaks for this shard alone. The command table says which those are (their request policy).
//! - Keys of other shards are served as everywhere, by a hop or a transaction. With
//!   `core-direct-strict` they are redirected instead (MOVED), keys of several slots are refused
//!   (CROSSSLOT), and so are databases but the first, all in the words of Redis Cluster. Such
//!   connections take the long way in dispatch, so that the short one knows nothing of it.

use super::batch::{Batch, Command};
use super::dispatch::Flow;
use super::engine::Engine;
use super::session::{ConnId, Peer, flag};
use crate::command::context::caller;
use crate::command::error::Error;
use crate::command::keys::keys_of;
use crate::command::registry::RowId;
use crate::command::spec::{Flags, Group, Run, Spec};
use crate::keyspace::{Pos, Slot};
use crate::mesh::ShardId;
use crate::resp::encode::Reply;
use crate::shard::Shard;
use crate::shard::cores::Announced;
use crate::txn::multi::Control;

impl Engine {
    /// A new connection has come to this shard's own port.
    pub fn enter_core(&mut self, conn: ConnId) {
        let strict = self.shard.config.core_direct_strict;
        let session = self.session(conn);
        session.flags |= flag::CORE;
        session.set(flag::STRICT, strict);
    }

    /// Takes the configuration as it is now.
    pub fn reload_config(&mut self) {
        self.shard.reload_config();
        self.mind_policy();
        self.mind_failed_saves();
        let strict = self.shard.config.core_direct_strict;
        for session in self.sessions.iter_mut().flatten() {
            let core = session.is(flag::CORE);
            session.set(flag::STRICT, core && strict);
        }
    }

    /// How the nodes are named to a connection of this shard; None where there are none, and on the
    /// common port.
    pub fn announced(&mut self, conn: ConnId) -> Option<Announced> {
        let session = self.session(conn);
        if !session.is(flag::CORE) {
            return None;
        }
        let own = match &session.peer {
            Peer::Tcp(_, own) => Some(own.ip()),
            Peer::Unix(_) => None,
        };
        let cores = self.shard.node.cores.as_ref()?;
        Some(cores.announced(&self.shard.config, own))
    }

    /// Why a strict connection's command is not this shard's to run.
    pub(super) fn misplaced(
        &mut self,
        conn: ConnId,
        batch: &Batch,
        command: &Command,
    ) -> Option<Error> {
        let spec = self.shard.registry.row(command.row).spec;
        let mut slots = Slots::None;
        if let Run::Control(Control::Exec) = spec.run {
            let multi = std::mem::take(&mut self.session(conn).info.multi);
            for queued in multi.commands() {
                let spec = self.shard.registry.row(queued.command.row).spec;
                let args: Vec<&[u8]> = queued.args().collect();
                self.slots_of(spec, &args, queued.command.pos, &mut slots);
            }
            self.session(conn).info.multi = multi;
        } else {
            self.slots_of(spec, batch.args_of(command), command.pos, &mut slots);
        }
        match slots {
            Slots::None => None,
            Slots::One(slot) if self.shard.owner(slot) == self.shard.id => None,
            Slots::One(slot) => Some(self.moved(conn, slot)),
            Slots::Several => Some(Error::CROSS_SLOT),
        }
    }

    fn slots_of(&mut self, spec: &Spec, args: &[&[u8]], pos: Pos, slots: &mut Slots) {
        if pos != Pos::default() {
            return slots.add(pos.slot());
        }
        let mut keys = std::mem::take(&mut self.key_scratch);
        keys.clear();
        keys_of(spec, args, &mut keys);
        keys.iter()
            .for_each(|at| slots.add(Slot::of(args[at.index])));
        self.key_scratch = keys;
    }

    /// Sends a client to the shard that owns a slot.
    fn moved(&mut self, conn: ConnId, slot: Slot) -> Error {
        let owner = self.shard.owner(slot);
        let announced = self.announced(conn).expect("it came to a shard's own port");
        let endpoint = announced.endpoint().unwrap_or_default();
        let port = announced.port(owner);
        Error::new(format!("MOVED {} {endpoint}:{port}", slot.number()))
    }

    /// Answers a misplaced command. An EXEC ends its block.
    pub(super) fn redirect(
        &mut self,
        conn: ConnId,
        row: RowId,
        error: &Error,
        silent: bool,
    ) -> Flow {
        let spec = self.shard.registry.row(row).spec;
        let is_exec = matches!(spec.run, Run::Control(Control::Exec));
        if is_exec && self.watch_is_under_way(conn) {
            return Flow::Wait(super::session::Stall::Answers);
        }
        self.shard.stats.count_error(error.code());
        self.shard.stats.commands[row.index()].rejected += 1;
        if is_exec {
            self.exec_refused(conn, error);
        }
        let session = self.session(conn);
        session.info.multi.refused();
        session.flags &= !flag::REPLY_SKIP;
        if !silent {
            let version = session.version;
            Reply::new(session.target(), version).error(error.text());
        }
        Flow::Done
    }

    /// The shard at which a command runs that its arguments lead elsewhere than to a key. SCAN of a
    /// connection that sees one node goes through that node's keys.
    pub(super) fn owner_at(
        &self,
        owner: fn(&Shard, &[&[u8]]) -> ShardId,
        args: &[&[u8]],
        spec: &Spec,
        flags: u8,
    ) -> ShardId {
        if flags & caller::CORE != 0 && !spec.flags.has(Flags::PUBSUB) && is_of_every_node(spec) {
            return self.shard.id;
        }
        owner(&self.shard, args)
    }

    /// Whether a command that every shard takes part in concerns this shard alone, for a client that
    /// sees the shards as nodes. `flags` are the client's.
    pub(super) fn is_of_this_core(&self, row: RowId, flags: u8) -> bool {
        flags & caller::CORE != 0 && {
            let row = self.shard.registry.row(row);
            // The configuration is one for all, and all know of each slot.
            !["config|set", "cluster|slot-stats"].contains(&&*row.full_name)
                && is_of_every_node(row.spec)
        }
    }
}

/// Whether clients of a cluster ask every node and put the answers together.
fn is_of_every_node(spec: &Spec) -> bool {
    const POLICIES: [&str; 3] = [
        "request_policy:all_shards",
        "request_policy:all_nodes",
        "request_policy:special",
    ];
    spec.group == Group::Pubsub || spec.tips.iter().any(|tip| POLICIES.contains(tip))
}

/// The slots of a command's keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Slots {
    None,
    One(Slot),
    Several,
}

impl Slots {
    fn add(&mut self, slot: Slot) {
        *self = match *self {
            Self::None => Self::One(slot),
            Self::One(before) if before == slot => *self,
            _ => Self::Several,
        };
    }
}
