//! CLUSTER SLOTS, SHARDS, NODES and INFO: who owns which slot and where to find it, in the shapes
//! of redis-server 7 (cluster.c there), which are the same facts four times over.

use std::fmt::Write;

use crate::command::context::HomeCtx;
use crate::command::error::{Error, Outcome};
use crate::keyspace::SLOTS;
use crate::mesh::ShardId;
use crate::resp::encode::Reply;
use crate::server::config::EndpointType;
use crate::shard::cores::{Announced, Cores};
use crate::shard::{Shard, SlotRange, slot_ranges};

/// The configuration epoch of a node, which must differ between nodes.
fn epoch(shard: ShardId) -> usize {
    shard.index() + 1
}

/// Everything that the views are made of.
struct View<'a> {
    shard: &'a Shard,
    cores: &'a Cores,
    announced: Announced,
    ranges: Vec<SlotRange>,
}

/// Writes a view where the client is connected to a node.
fn with_view(ctx: &mut HomeCtx<'_>, write: impl FnOnce(&View<'_>, &mut Reply<'_>)) -> Outcome {
    let conn = ctx.conn;
    let announced = ctx.engine.announced(conn).ok_or(Error::NO_CLUSTER)?;
    let version = ctx.session().version;
    let mut out = crate::resp::encode::Output::default();
    let shard = &ctx.engine.shard;
    let view = View {
        shard,
        cores: shard.node.cores.as_ref().ok_or(Error::NO_CLUSTER)?,
        announced,
        ranges: slot_ranges(&shard.slot_map),
    };
    write(&view, &mut Reply::new(&mut out, version));
    ctx.reply().raw(&out.buf);
    Ok(())
}

impl View<'_> {
    fn shards(&self) -> impl Iterator<Item = ShardId> {
        (0..self.shard.node.shards).map(|at| ShardId(at as u16))
    }

    fn ranges_of(&self, shard: ShardId) -> impl Iterator<Item = &SlotRange> + Clone {
        self.ranges.iter().filter(move |range| range.owner == shard)
    }

    fn endpoint(&self, reply: &mut Reply<'_>) {
        match self.announced.endpoint() {
            Some(endpoint) => reply.bulk(endpoint.as_bytes()),
            None => reply.null(),
        }
    }

    /// Endpoint, port, id, and the addresses that the endpoint is not.
    fn node_of_slots(&self, shard: ShardId, reply: &mut Reply<'_>) {
        let (ip, hostname) = (&self.announced.ip, &self.announced.hostname);
        let by = self.announced.endpoint;
        let with_ip = by != EndpointType::Ip;
        let with_hostname = by != EndpointType::Hostname && !hostname.is_empty();
        reply.array(4);
        self.endpoint(reply);
        reply.integer(self.announced.port(shard).into());
        reply.bulk(self.cores.id(shard).as_bytes());
        reply.map(usize::from(with_ip) + usize::from(with_hostname));
        if with_ip {
            reply.bulk(b"ip");
            reply.bulk(ip.as_bytes());
        }
        if with_hostname {
            reply.bulk(b"hostname");
            reply.bulk(hostname.as_bytes());
        }
    }

    fn node_of_shards(&self, shard: ShardId, reply: &mut Reply<'_>) {
        let text = |reply: &mut Reply<'_>, name: &str, value: &str| {
            reply.bulk(name.as_bytes());
            reply.bulk(value.as_bytes());
        };
        let hostname = &self.announced.hostname;
        reply.map(7 + usize::from(!hostname.is_empty()));
        text(reply, "id", self.cores.id(shard));
        reply.bulk(b"port");
        reply.integer(self.announced.port(shard).into());
        text(reply, "ip", &self.announced.ip);
        reply.bulk(b"endpoint");
        self.endpoint(reply);
        if !hostname.is_empty() {
            text(reply, "hostname", hostname);
        }
        text(reply, "role", "master");
        reply.bulk(b"replication-offset");
        reply.integer(0);
        text(reply, "health", "online");
    }

    /// A line of CLUSTER NODES: `id ip:port@bus-port[,hostname] flags master ping-sent pong-received
    /// epoch link slot ...`. There is no bus, so its port is 0.
    fn line(&self, shard: ShardId, text: &mut String) {
        let announced = &self.announced;
        let own = shard == self.shard.id;
        let (flags, pong_ms) = match own {
            true => ("myself,master", 0),
            false => ("master", self.shard.now_ms),
        };
        let _ = write!(
            text,
            "{} {}:{}@0",
            self.cores.id(shard),
            announced.ip,
            announced.port(shard)
        );
        if !announced.hostname.is_empty() {
            let _ = write!(text, ",{}", announced.hostname);
        }
        let _ = write!(text, " {flags} - 0 {pong_ms} {} connected", epoch(shard));
        for SlotRange { first, last, .. } in self.ranges_of(shard) {
            let _ = match first == last {
                true => write!(text, " {first}"),
                false => write!(text, " {first}-{last}"),
            };
        }
        text.push('\n');
    }
}

/// CLUSTER SLOTS
pub(super) fn slots(ctx: &mut HomeCtx<'_>) -> Outcome {
    with_view(ctx, |view, reply| {
        reply.array(view.ranges.len());
        for range in &view.ranges {
            reply.array(3);
            reply.integer(range.first as i64);
            reply.integer(range.last as i64);
            view.node_of_slots(range.owner, reply);
        }
    })
}

/// CLUSTER SHARDS
pub(super) fn shards(ctx: &mut HomeCtx<'_>) -> Outcome {
    with_view(ctx, |view, reply| {
        reply.array(view.shards().count());
        for shard in view.shards() {
            let ranges = view.ranges_of(shard);
            reply.map(2);
            reply.bulk(b"slots");
            reply.array(2 * ranges.clone().count());
            for range in ranges {
                reply.integer(range.first as i64);
                reply.integer(range.last as i64);
            }
            reply.bulk(b"nodes");
            reply.array(1);
            view.node_of_shards(shard, reply);
        }
    })
}

/// CLUSTER NODES
pub(super) fn nodes(ctx: &mut HomeCtx<'_>) -> Outcome {
    with_view(ctx, |view, reply| {
        let mut text = String::new();
        view.shards().for_each(|shard| view.line(shard, &mut text));
        reply.verbatim("txt", text.as_bytes());
    })
}

/// CLUSTER INFO
pub(super) fn info(ctx: &mut HomeCtx<'_>) -> Outcome {
    with_view(ctx, |view, reply| {
        let nodes = view.shards().count();
        let with_slots = view.shards().filter(|s| view.ranges_of(*s).count() > 0);
        let fields = [
            ("cluster_slots_assigned", SLOTS),
            ("cluster_slots_ok", SLOTS),
            ("cluster_slots_pfail", 0),
            ("cluster_slots_fail", 0),
            ("cluster_known_nodes", nodes),
            ("cluster_size", with_slots.count()),
            ("cluster_current_epoch", nodes),
            ("cluster_my_epoch", epoch(view.shard.id)),
            ("cluster_stats_messages_sent", 0),
            ("cluster_stats_messages_received", 0),
            ("total_cluster_links_buffer_limit_exceeded", 0),
        ];
        let mut text = String::from("cluster_state:ok\r\n");
        for (name, value) in fields {
            let _ = write!(text, "{name}:{value}\r\n"); // writing to a String cannot fail
        }
        reply.verbatim("txt", text.as_bytes());
    })
}
