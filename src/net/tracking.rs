//! Client-side caching, seen from the connections: who of this shard tracks, and how it hears of what
//! has become invalid.
//!
//! Who may have which keys is known at the keys' owners ([`crate::shard::tracking`]), which send
//! what has changed to the homes of those who are to hear of it. Here it is checked against what
//! the connection has asked for by now, and becomes a push message, or a message on the channel
//! [`CHANNEL`] for the connection that it is redirected to, wherever that is. It stands behind
//! everything that its connection has asked for before; so it never comes between the replies of a
//! block, nor before the reply to the command that has caused it.
//!
//! A connection that others redirect to moves to no other shard any more ([`super::migration`]). If it is
//! just moving when it is first named, what it is to hear waits for it where it is going.
//!
//! What connections that broadcast are to hear is gathered during a turn and sent as one message for
//! each prefix, as on Redis. While the lane to their shard is full, changes are not named any more:
//! when there is room they hear that all keys are invalid, which is as true and of one size.
//!
//! FLUSHALL and FLUSHDB are told by every shard to every other. A connection hears of one when all
//! shards have told of it: then all replies from before are there.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::dispatch::OUTGOING_MAX;
use super::engine::Engine;
use super::pubsub::{Change, push};
use super::remote::{kind, wire};
use super::session::{ConnId, Session, flag};
use crate::command::registry::RowId;
use crate::mesh::ShardId;
use crate::resp::Version;
use crate::resp::encode::{Output, Reply};
use crate::shard::channels::Class;
use crate::shard::tracking::{Invalid, Stale};

/// The channel for connections that speak RESP2.
const CHANNEL: &[u8] = b"__redis__:invalidate";
/// Nothing, in the version of the connection that tracks.
const NULL: [&[u8]; 2] = [b"$-1\r\n", b"_\r\n"];

/// Another connection that hears in place of the one that tracks.
#[derive(Clone, Copy, Debug)]
pub struct Redirect {
    /// Its client's id.
    pub client: u64,
    /// Its shard, or the one that it is on its way to.
    pub home: ShardId,
    /// Its number there; None while it is not known to have come.
    pub conn: Option<ConnId>,
}

/// What another connection would hear, for one that has not come from another shard yet.
struct Waiting {
    to: u64,
    value: Box<[u8]>,
}

/// Which reads count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// All.
    #[default]
    All,
    /// Those behind CLIENT CACHING YES.
    OptIn,
    /// Those that are not behind CLIENT CACHING NO.
    OptOut,
    /// None: it hears of all keys with its prefixes.
    Broadcast,
}

/// What a connection has asked for with CLIENT TRACKING.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    /// Which reads count.
    pub mode: Mode,
    /// It does not want to hear of its own changes.
    pub noloop: bool,
    /// Who hears in its place.
    pub redirect: Option<Redirect>,
    /// That connection has gone.
    pub broken: bool,
    /// What it broadcasts.
    pub prefixes: BTreeSet<Rc<[u8]>>,
}

/// The connections of a shard that broadcast a prefix, and what they have not heard of.
#[derive(Default)]
struct Broadcast {
    conns: Vec<ConnId>,
    /// Keys, and who has changed them last.
    keys: BTreeMap<Box<[u8]>, u64>,
    /// Keys have changed whose names were not kept.
    all: bool,
}

/// The connections of a shard that track.
#[derive(Default)]
pub struct Trackers {
    by_client: FxHashMap<u64, ConnId>,
    broadcasts: BTreeMap<Rc<[u8]>, Broadcast>,
    /// Whether any of them has keys to tell of.
    to_broadcast: bool,
    /// What waits for connections that are on their way to this shard.
    waiting: Vec<Waiting>,
    /// Shards that are to be told that any key may have changed, when there is room.
    unnamed: Vec<ShardId>,
    /// How often each shard has been flushed, and how often connections were told.
    flushes: Vec<u64>,
    flushes_told: u64,
}

impl Trackers {
    /// Nobody, of so many shards.
    pub(super) fn new(shards: usize) -> Self {
        Self {
            flushes: vec![0; shards],
            ..Self::default()
        }
    }

    /// Connections that track.
    pub fn connections(&self) -> usize {
        self.by_client.len()
    }

    /// Whether something is to be told before the loop may sleep.
    pub(super) fn has_broadcasts(&self) -> bool {
        self.to_broadcast || !self.unnamed.is_empty()
    }
}

impl Session {
    /// Sees to it that reads are remembered when they are to be.
    fn mind_tracking(&mut self) {
        let asked = self.is(flag::CACHING);
        let mode = self.info.tracker.as_ref().map(|tracker| tracker.mode);
        let tracks = match mode {
            None | Some(Mode::Broadcast) => false,
            Some(Mode::All) => true,
            Some(Mode::OptIn) => asked,
            Some(Mode::OptOut) => !asked,
        };
        self.set(flag::TRACKS, tracks);
    }

    /// CLIENT CACHING, in a mode that it fits to.
    pub fn cache_next(&mut self) {
        self.flags |= flag::CACHING;
        self.mind_tracking();
    }

    /// The command that CLIENT CACHING was for is over.
    pub(super) fn end_caching(&mut self) {
        self.flags &= !flag::CACHING;
        self.mind_tracking();
    }
}

impl Engine {
    /// CLIENT TRACKING ON: begins it, or changes its options. `prefixes` are those that are new. The
    /// reply leaves when all shards know of them.
    pub fn track(
        &mut self,
        conn: ConnId,
        tracker: Tracker,
        prefixes: Vec<Rc<[u8]>>,
        in_exec: bool,
    ) {
        let session = self.sessions[conn as usize].as_deref_mut().expect("in use");
        self.trackers.by_client.insert(session.id, conn);
        session.info.tracker = Some(Box::new(tracker));
        session.mind_tracking();
        let mut changes = Vec::new();
        for name in prefixes {
            let broadcast = self.trackers.broadcasts.entry(name.clone()).or_default();
            broadcast.conns.push(conn);
            changes.push(Change {
                class: Class::Prefix,
                name,
                on: true,
            });
        }
        let mut reply = Output::default();
        Reply::new(&mut reply, Version::Resp2).ok();
        self.tell_owners(conn, changes, reply, in_exec);
    }

    /// Ends what CLIENT TRACKING has begun, if anything.
    pub fn stop_tracking(&mut self, conn: ConnId) {
        let session = self.session(conn);
        let id = session.id;
        let Some(tracker) = session.info.tracker.take() else {
            return;
        };
        session.end_caching();
        self.trackers.by_client.remove(&id);
        let mut changes = Vec::new();
        for name in tracker.prefixes {
            let broadcasts = &mut self.trackers.broadcasts;
            let broadcast = broadcasts.get_mut(&name).expect("it broadcasts");
            let at = broadcast.conns.iter().position(|other| *other == conn);
            broadcast.conns.swap_remove(at.expect("it broadcasts"));
            if broadcast.conns.is_empty() {
                broadcasts.remove(&name);
            }
            changes.push(Change {
                class: Class::Prefix,
                name,
                on: false,
            });
        }
        self.tell(changes, None);
    }

    /// A command has been taken up after CLIENT CACHING.
    #[cold]
    pub(super) fn caching_used(&mut self, conn: ConnId, row: RowId) {
        let registry = &self.shard.registry;
        let client = row != RowId::UNKNOWN && registry.row(row).full_name.starts_with("client|");
        let session = self.session(conn);
        // A block that is under way elsewhere takes it along until it is done.
        if !client && !session.is(flag::MULTI | flag::BARRIER) {
            session.end_caching();
        }
    }

    /// Tells those who are to hear of keys that have changed.
    pub(super) fn send_invalidations(&mut self) {
        for invalid in self.shard.tracking.take_outbox() {
            let Invalid { key, actor, stale } = invalid;
            match stale {
                Stale::Held(holders) => {
                    let mut homes: Vec<(ShardId, Vec<u64>)> = Vec::new();
                    holders.each(|holder| {
                        match homes.iter_mut().find(|(home, _)| *home == holder.home) {
                            Some((_, clients)) => clients.push(holder.client),
                            None => homes.push((holder.home, vec![holder.client])),
                        }
                    });
                    for (home, clients) in homes {
                        self.send_invalid(home, actor, &clients, &key);
                    }
                }
                Stale::Broadcast(shards) => {
                    for shard in shards {
                        self.send_changed(shard, actor, &key);
                    }
                }
            }
        }
        self.tell_of_flushes();
    }

    fn send_invalid(&mut self, home: ShardId, actor: u64, clients: &[u64], key: &[u8]) {
        if home == self.shard.id {
            let mut value = Output::default();
            key_list(&mut value, [key].into_iter());
            for client in clients {
                self.invalidate(*client, actor, &value.buf);
            }
            return;
        }
        self.shard.stats.hops += 1;
        let buf = &mut self.outgoing[home.index()].buf;
        let at = wire::begin(buf, kind::INVALID);
        wire::put_u64(buf, actor);
        wire::put_u32(buf, clients.len() as u32);
        clients
            .iter()
            .for_each(|client| wire::put_u64(buf, *client));
        buf.extend_from_slice(key);
        wire::end(buf, at);
    }

    /// An owner tells of a key that clients of this shard have read.
    pub(super) fn on_invalid(&mut self, reader: &mut wire::Reader<'_>) {
        let actor = reader.u64();
        let count = reader.u32() as usize;
        let mut clients = wire::Reader::new(reader.bytes(8 * count));
        let mut value = Output::default();
        key_list(&mut value, [reader.bytes(reader.left())].into_iter());
        for _ in 0..count {
            self.invalidate(clients.u64(), actor, &value.buf);
        }
    }

    /// Tells a client of a key, unless it has lost interest.
    fn invalidate(&mut self, client: u64, actor: u64, value: &[u8]) {
        let Some(&conn) = self.trackers.by_client.get(&client) else {
            return;
        };
        let tracker = self.session(conn).info.tracker.as_deref();
        let tracker = tracker.expect("it tracks");
        if tracker.mode != Mode::Broadcast && !(tracker.noloop && client == actor) {
            self.tell_tracker(conn, value);
        }
    }

    fn send_changed(&mut self, shard: ShardId, actor: u64, key: &[u8]) {
        if shard == self.shard.id {
            return self.changed_for_all(actor, key);
        }
        let is_unnamed = self.trackers.unnamed.contains(&shard);
        if is_unnamed || self.outgoing[shard.index()].buf.len() > OUTGOING_MAX {
            if !is_unnamed {
                self.trackers.unnamed.push(shard);
            }
            return;
        }
        self.shard.stats.hops += 1;
        let buf = &mut self.outgoing[shard.index()].buf;
        let at = wire::begin(buf, kind::CHANGED);
        wire::put_u64(buf, actor);
        buf.extend_from_slice(key);
        wire::end(buf, at);
    }

    /// Tells shards whose lanes have room again of changes that were not named.
    fn send_unnamed(&mut self) {
        let outgoing = &mut self.outgoing;
        self.trackers.unnamed.retain(|shard| {
            let buf = &mut outgoing[shard.index()].buf;
            let is_full = buf.len() > OUTGOING_MAX;
            if !is_full {
                let at = wire::begin(buf, kind::ALL_CHANGED);
                wire::end(buf, at);
            }
            is_full
        });
    }

    /// An owner tells that keys have changed which it does not name.
    pub(super) fn on_all_changed(&mut self) {
        for broadcast in self.trackers.broadcasts.values_mut() {
            broadcast.all = true;
            broadcast.keys.clear();
            self.trackers.to_broadcast = true;
        }
    }

    /// An owner tells of a key that clients of this shard broadcast.
    pub(super) fn on_changed(&mut self, reader: &mut wire::Reader<'_>) {
        let actor = reader.u64();
        let key = reader.bytes(reader.left());
        self.changed_for_all(actor, key);
    }

    fn changed_for_all(&mut self, actor: u64, key: &[u8]) {
        let trackers = &mut self.trackers;
        let broadcasts = trackers.broadcasts.iter_mut();
        for (_, broadcast) in broadcasts.filter(|(prefix, _)| key.starts_with(prefix)) {
            if !broadcast.all {
                broadcast.keys.insert(key.into(), actor);
            }
            trackers.to_broadcast = true;
        }
    }

    /// Tells those who broadcast of the keys that have changed during the turn.
    #[inline]
    pub(super) fn send_broadcasts(&mut self) {
        if self.trackers.has_broadcasts() {
            self.send_unnamed();
            self.empty_broadcasts();
        }
    }

    #[cold]
    fn empty_broadcasts(&mut self) {
        self.trackers.to_broadcast = false;
        let mut due = Vec::new();
        let mut unnamed = Vec::new();
        for broadcast in self.trackers.broadcasts.values_mut() {
            if std::mem::take(&mut broadcast.all) {
                unnamed.extend_from_slice(&broadcast.conns);
            } else if !broadcast.keys.is_empty() {
                due.push((broadcast.conns.clone(), std::mem::take(&mut broadcast.keys)));
            }
        }
        unnamed.sort_unstable();
        unnamed.dedup();
        for conn in unnamed {
            self.tell_of_all(conn);
        }
        for (conns, keys) in due {
            let mut all = Output::default();
            key_list(&mut all, keys.keys().map(|key| &key[..]));
            for conn in conns {
                let session = self.session(conn);
                let id = session.id;
                let noloop = session.info.tracker.as_ref().is_some_and(|t| t.noloop);
                if !noloop {
                    self.tell_tracker(conn, &all.buf);
                    continue;
                }
                let others: Vec<&[u8]> = keys
                    .iter()
                    .filter(|(_, actor)| **actor != id)
                    .map(|(key, _)| &key[..])
                    .collect();
                if !others.is_empty() {
                    let mut value = Output::default();
                    key_list(&mut value, others.into_iter());
                    self.tell_tracker(conn, &value.buf);
                }
            }
        }
    }

    /// This shard has done its part of a FLUSHALL or FLUSHDB.
    pub fn flushed_for_trackers(&mut self) {
        self.shard.forget_reads();
        let own = self.shard.id.index();
        self.trackers.flushes[own] += 1;
        for shard in (0..self.outgoing.len()).filter(|shard| *shard != own) {
            let buf = &mut self.outgoing[shard].buf;
            let at = wire::begin(buf, kind::FLUSHED);
            wire::end(buf, at);
        }
        self.shard.aftermath = true;
    }

    /// Another shard has done its part.
    pub(super) fn on_flushed(&mut self, from: ShardId) {
        self.trackers.flushes[from.index()] += 1;
        self.tell_of_flushes();
    }

    /// Tells all who track of flushes that all shards have told of.
    fn tell_of_flushes(&mut self) {
        let done = self.trackers.flushes.iter().min().copied().unwrap_or(0);
        while self.trackers.flushes_told < done {
            self.trackers.flushes_told += 1;
            let conns: Vec<ConnId> = self.trackers.by_client.values().copied().collect();
            conns.into_iter().for_each(|conn| self.tell_of_all(conn));
        }
    }

    /// Tells a connection that tracks that all keys are invalid.
    fn tell_of_all(&mut self, conn: ConnId) {
        let resp3 = self.session(conn).version == Version::Resp3;
        self.tell_tracker(conn, NULL[usize::from(resp3)]);
    }

    /// Tells a connection that tracks, or the one that hears in its place. `value` is a list of keys,
    /// or nothing for all of them.
    fn tell_tracker(&mut self, conn: ConnId, value: &[u8]) {
        let own = self.shard.id;
        let session = self.session(conn);
        let client = session.id;
        let tracker = session.info.tracker.as_deref().expect("it tracks");
        let Some(mut to) = tracker.redirect else {
            if session.version == Version::Resp3 {
                self.push_invalid(conn, value);
            }
            return;
        };
        if to.conn.is_none() {
            to = self.locate(conn, to);
        }
        if to.home == own {
            if !self.hear_for_another(to.conn, to.client, value) {
                self.redirect_broken(conn, client);
            }
            return;
        }
        self.shard.stats.hops += 1;
        let buf = &mut self.outgoing[to.home.index()].buf;
        let at = wire::begin(buf, kind::REDIRECTED);
        wire::put_u32(buf, to.conn.unwrap_or(ConnId::MAX));
        wire::put_u64(buf, to.client);
        wire::put_u32(buf, conn);
        wire::put_u64(buf, client);
        buf.extend_from_slice(value);
        wire::end(buf, at);
    }

    /// Looks whether the connection that `conn` redirects to has come to where it was going.
    #[cold]
    fn locate(&mut self, conn: ConnId, mut to: Redirect) -> Redirect {
        if let Some((home, number)) = self.shard.node.find_client(to.client) {
            assert_eq!(home, to.home, "it stays since it was found first");
            to.conn = number;
            let tracker = self.session(conn).info.tracker.as_deref_mut();
            tracker.expect("it tracks").redirect = Some(to);
        }
        to
    }

    /// A connection of another shard redirects what it would hear to one of this shard.
    pub(super) fn on_redirected(&mut self, from: ShardId, reader: &mut wire::Reader<'_>) {
        let (to, client) = (reader.u32(), reader.u64());
        let to = Some(to).filter(|to| *to != ConnId::MAX);
        let (tracker, tracker_client) = (reader.u32(), reader.u64());
        let value = reader.bytes(reader.left());
        if !self.hear_for_another(to, client, value) {
            let buf = &mut self.outgoing[from.index()].buf;
            let at = wire::begin(buf, kind::REDIRECT_BROKEN);
            wire::put_u32(buf, tracker);
            wire::put_u64(buf, tracker_client);
            wire::end(buf, at);
        }
    }

    /// Tells a connection of this shard what another one would hear, be it when it has come; false if it
    /// has gone.
    fn hear_for_another(&mut self, conn: Option<ConnId>, client: u64, value: &[u8]) -> bool {
        let conn = match conn {
            Some(conn) => conn,
            None => match self.shard.node.find_client(client) {
                Some((home, found)) => {
                    assert_eq!(home, self.shard.id, "it stays since it was found first");
                    let Some(conn) = found else {
                        let value = value.into();
                        self.trackers.waiting.push(Waiting { to: client, value });
                        return true;
                    };
                    conn
                }
                None => return false,
            },
        };
        let session = self.session_if(conn);
        let Some(session) = session.filter(|s| s.id == client && s.fd >= 0) else {
            return false;
        };
        if session.version == Version::Resp3 {
            self.push_invalid(conn, value);
        } else if session.is(flag::PUBSUB) {
            self.push_message(conn, 3, &[b"message", CHANNEL], value);
        }
        true
    }

    /// A connection has come from another shard: what others would have heard meanwhile is told.
    pub(super) fn hear_what_has_waited(&mut self, conn: ConnId, client: u64) {
        if self.trackers.waiting.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut self.trackers.waiting);
        for told in waiting {
            match told.to == client {
                true => _ = self.hear_for_another(Some(conn), client, &told.value),
                false => self.trackers.waiting.push(told),
            }
        }
    }

    /// The connection that another one redirects to has gone.
    pub(super) fn on_redirect_broken(&mut self, reader: &mut wire::Reader<'_>) {
        let (conn, client) = (reader.u32(), reader.u64());
        self.redirect_broken(conn, client);
    }

    fn redirect_broken(&mut self, conn: ConnId, client: u64) {
        let Some(session) = self.session_if(conn).filter(|s| s.id == client) else {
            return;
        };
        let resp3 = session.version == Version::Resp3;
        let Some(tracker) = session.info.tracker.as_deref_mut() else {
            return;
        };
        let Some(to) = tracker.redirect else {
            return;
        };
        tracker.broken = true;
        if resp3 {
            let mut id = Output::default();
            Reply::new(&mut id, Version::Resp3).integer(to.client as i64);
            self.push_message(conn, 2, &[b"tracking-redir-broken"], &id.buf);
        }
    }

    fn push_invalid(&mut self, conn: ConnId, value: &[u8]) {
        self.push_message(conn, 2, &[b"invalidate"], value);
    }

    /// Pushes a message of `len` elements, of which `value` is the last, as it is encoded.
    fn push_message(&mut self, conn: ConnId, len: usize, head: &[&[u8]], value: &[u8]) {
        let mut line = Output::default();
        let mut reply = Reply::new(&mut line, Version::Resp3);
        reply.push(len);
        head.iter().for_each(|part| reply.bulk(part));
        line.buf.extend_from_slice(value);
        if push(self.session(conn), &line) {
            self.mark_dirty(conn);
        }
    }
}

/// An array of keys, which is the same in both versions.
fn key_list<'a>(out: &mut Output, keys: impl ExactSizeIterator<Item = &'a [u8]>) {
    let mut reply = Reply::new(out, Version::Resp2);
    reply.array(keys.len());
    keys.for_each(|key| reply.bulk(key));
}
