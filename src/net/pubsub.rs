//! Publish and subscribe, seen from the connections: who of this shard subscribes to what, and how a
//! message reaches them.
//!
//! Where a message goes first, and why, is in [`crate::shard::channels`]. A subscription is known to
//! its connection's shard at once; the confirmation waits until the channel's owner (for a pattern:
//! every shard) knows it, too, so that nothing which is published after it is missed. A connection's
//! messages stand among its replies in the order in which they arrive; a message is encoded once for
//! all that are to have it, whichever protocol they speak: only the first byte differs.
//!
//! A message to many is not sent to all of them in one turn: what the kernel does for a send takes far
//! longer than what we do for a message, and publishers that have their answer would wait for it. Some
//! are sent what they are to have, then the loop looks around; whatever is published meanwhile goes to
//! those who come later with the same send. So the more is published, the fewer sends a message takes,
//! and the last one hears no later than if all had been sent to at once.

use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use bytes::Bytes;

use super::batch::RemoteCall;
use super::engine::Engine;
use super::errand::Errand;
use super::remote::{kind, wire};
use super::session::{ConnId, Session, flag};
use crate::keyspace::Slot;
use crate::mesh::ShardId;
use crate::resp::Version;
use crate::resp::encode::{Output, Reply, SHARED_MIN};
use crate::shard::channels::{Class, Published, is_notice};

/// Memory of an encoded message that is kept for the next one.
const LINE_KEPT_MAX: usize = 64 * 1024;

/// So many connections are sent in a turn what was published, or this part of all that wait for it,
/// whichever is more.
const HEARERS_MIN: usize = 16;
const TURNS_TO_TELL: usize = 8;
/// A connection that is to be sent so many bytes does not wait for others: a send of that size is worth
/// its price, and what waits stays below the limit of its output.
const HEARD_AT_ONCE_BYTES: usize = 16 * 1024;

/// What a connection subscribes to.
#[derive(Default)]
pub struct Subscriptions {
    /// By class.
    names: [HashSet<Rc<[u8]>>; 3],
}

impl Subscriptions {
    /// Names of a class.
    pub fn len(&self, class: Class) -> usize {
        self.names[class as usize].len()
    }

    /// What SUBSCRIBE and PSUBSCRIBE count together, and SSUBSCRIBE by itself.
    fn counted(&self, class: Class) -> usize {
        match class {
            Class::Shard => self.len(Class::Shard),
            _ => self.len(Class::Channel) + self.len(Class::Pattern),
        }
    }

    fn is_empty(&self) -> bool {
        self.names.iter().all(HashSet::is_empty)
    }
}

/// The connections of a shard that subscribe, and what waits for other shards.
#[derive(Default)]
pub struct Subscribers {
    /// By class: name, and who.
    by_name: [HashMap<Rc<[u8]>, Vec<ConnId>>; 3],
    /// Connections with a subscription.
    pub connections: u64,
    /// Confirmations that wait.
    confirming: Vec<Option<Confirming>>,
    /// The message that is being handed out.
    line: Output,
    /// Connections that have not been sent yet what was published; flagged HEARS.
    hearers: VecDeque<ConnId>,
}

impl Subscribers {
    /// Whether somebody has not been sent yet what was published.
    pub(super) fn are_behind(&self) -> bool {
        !self.hearers.is_empty()
    }
}

/// A confirmation that is sent when all owners know.
struct Confirming {
    conn: ConnId,
    /// Its place; None while the block that it is a part of is not done.
    seq: Option<u32>,
    reply: Output,
    missing: usize,
}

/// A subscription that begins or ends.
pub struct Change {
    pub(super) class: Class,
    pub(super) name: Rc<[u8]>,
    pub(super) on: bool,
}

/// What an owner is told: changes in names of one class, or of all for a connection that ends.
pub struct Told {
    /// Class, name, and whether it begins.
    pub changes: Vec<(Class, Box<[u8]>, bool)>,
    /// What to confirm; None if nobody waits.
    pub confirm: Option<u32>,
}

/// The word that confirms.
fn word(class: Class, on: bool) -> &'static [u8] {
    match (class, on) {
        (Class::Channel, true) => b"subscribe",
        (Class::Channel, false) => b"unsubscribe",
        (Class::Pattern, true) => b"psubscribe",
        (Class::Pattern, false) => b"punsubscribe",
        (Class::Shard, true) => b"ssubscribe",
        (Class::Shard, false) => b"sunsubscribe",
        (Class::Prefix, _) => unreachable!("CLIENT TRACKING has replies of its own"),
    }
}

impl Engine {
    /// SUBSCRIBE and the like.
    pub fn subscribe(&mut self, conn: ConnId, class: Class, names: &[&[u8]], in_exec: bool) {
        let mut reply = Output::default();
        let mut changes = Vec::new();
        for name in names {
            if let Some(name) = self.add_subscription(conn, class, name) {
                let on = true;
                changes.push(Change { class, name, on });
            }
            self.confirm(conn, class, true, Some(name), &mut reply);
        }
        self.tell_owners(conn, changes, reply, in_exec);
    }

    /// UNSUBSCRIBE and the like; from everything of the class without names.
    pub fn unsubscribe(&mut self, conn: ConnId, class: Class, names: &[&[u8]], in_exec: bool) {
        let all: Vec<Rc<[u8]>> = match &self.session(conn).info.subscriptions {
            Some(own) if names.is_empty() => own.names[class as usize].iter().cloned().collect(),
            _ => names.iter().map(|name| Rc::from(*name)).collect(),
        };
        let mut reply = Output::default();
        let mut changes = Vec::new();
        for name in &all {
            if self.drop_subscription(conn, class, name) {
                let (name, on) = (name.clone(), false);
                changes.push(Change { class, name, on });
            }
            self.confirm(conn, class, false, Some(name), &mut reply);
        }
        if all.is_empty() {
            self.confirm(conn, class, false, None, &mut reply);
        }
        self.forget_if_unsubscribed(conn);
        self.tell_owners(conn, changes, reply, in_exec);
    }

    /// Ends all subscriptions of a connection, without a word to it.
    pub fn unsubscribe_from_all(&mut self, conn: ConnId) {
        let Some(own) = &self.session(conn).info.subscriptions else {
            return;
        };
        let of = |class: Class| {
            let names = own.names[class as usize].iter();
            names.map(move |name| (class, name.clone()))
        };
        let all: Vec<_> = Class::ALL.into_iter().flat_map(of).collect();
        let mut changes = Vec::with_capacity(all.len());
        for (class, name) in all {
            self.drop_subscription(conn, class, &name);
            let on = false;
            changes.push(Change { class, name, on });
        }
        self.forget_if_unsubscribed(conn);
        self.tell(changes, None);
    }

    /// Adds a subscription; its name if it is new.
    fn add_subscription(&mut self, conn: ConnId, class: Class, name: &[u8]) -> Option<Rc<[u8]>> {
        let session = self.sessions[conn as usize].as_deref_mut().expect("in use");
        if session.info.subscriptions.is_none() {
            session.flags |= flag::PUBSUB;
            self.subscribers.connections += 1;
        }
        let own = session.info.subscriptions.get_or_insert_default();
        let own = &mut own.names[class as usize];
        if own.contains(name) {
            return None;
        }
        let table = &mut self.subscribers.by_name[class as usize];
        let name = match table.get_key_value(name) {
            Some((name, _)) => name.clone(),
            None => Rc::from(name),
        };
        own.insert(name.clone());
        table.entry(name.clone()).or_default().push(conn);
        Some(name)
    }

    /// Drops a subscription; whether it was there.
    fn drop_subscription(&mut self, conn: ConnId, class: Class, name: &[u8]) -> bool {
        let own = &mut self.session(conn).info.subscriptions;
        let there = own
            .as_mut()
            .is_some_and(|own| own.names[class as usize].remove(name));
        if there {
            let table = &mut self.subscribers.by_name[class as usize];
            let conns = table.get_mut(name).expect("its connection subscribes");
            let at = conns.iter().position(|c| *c == conn);
            conns.swap_remove(at.expect("it subscribes"));
            if conns.is_empty() {
                table.remove(name);
            }
        }
        there
    }

    fn forget_if_unsubscribed(&mut self, conn: ConnId) {
        let session = self.session(conn);
        let own = &mut session.info.subscriptions;
        if own.take_if(|own| own.is_empty()).is_some() {
            session.flags &= !flag::PUBSUB;
            self.subscribers.connections -= 1;
        }
    }

    fn confirm(
        &mut self,
        conn: ConnId,
        class: Class,
        on: bool,
        name: Option<&[u8]>,
        out: &mut Output,
    ) {
        let session = self.session(conn);
        let own = session.info.subscriptions.as_deref();
        let count = own.map_or(0, |own| own.counted(class));
        let mut reply = Reply::new(out, session.version);
        reply.push(3);
        reply.bulk(word(class, on));
        match name {
            Some(name) => reply.bulk(name),
            None => reply.null(),
        }
        reply.integer(count as i64);
    }

    /// Tells those who must know of changes; the reply follows when they do. Inside EXEC it is the
    /// block's reply that waits for them.
    pub(super) fn tell_owners(
        &mut self,
        conn: ConnId,
        changes: Vec<Change>,
        mut reply: Output,
        in_exec: bool,
    ) {
        let pushes = changes.iter().all(|change| change.class != Class::Prefix);
        let open = in_exec.then(|| self.unconfirmed(conn)).flatten();
        let slots = &mut self.subscribers.confirming;
        let free = || slots.iter().position(Option::is_none);
        let at = open.or_else(free).unwrap_or(slots.len());
        let missing = self.tell(changes, Some(at as u32));
        if missing == 0 || in_exec {
            self.session(conn).target().append(&mut reply);
        }
        if missing == 0 {
            return;
        }
        if at == self.subscribers.confirming.len() {
            self.subscribers.confirming.push(None);
        }
        if in_exec {
            let new = || Confirming {
                conn,
                seq: None,
                reply: Output::default(),
                missing: 0,
            };
            let slot = &mut self.subscribers.confirming[at];
            slot.get_or_insert_with(new).missing += missing;
            return;
        }
        let session = self.session(conn);
        let seq = Some(session.hold(false));
        if session.version == Version::Resp3 && pushes {
            session.let_be_heard();
        }
        self.subscribers.confirming[at] = Some(Confirming {
            conn,
            seq,
            reply,
            missing,
        });
    }

    /// The slot of what a connection's block has told and owners have not confirmed.
    fn unconfirmed(&self, conn: ConnId) -> Option<usize> {
        let mut slots = self.subscribers.confirming.iter();
        slots.position(|slot| {
            let slot = slot.as_ref();
            slot.is_some_and(|slot| slot.conn == conn && slot.seq.is_none())
        })
    }

    /// Whether the reply to a connection's block has to wait for owners.
    #[inline]
    pub(super) fn has_unconfirmed(&self, conn: ConnId) -> bool {
        !self.subscribers.confirming.is_empty() && self.unconfirmed(conn).is_some()
    }

    /// Puts the reply to a block off until the owners have confirmed.
    pub(super) fn put_off(&mut self, call: &RemoteCall, reply: Output) {
        let at = self.unconfirmed(call.conn).expect("the caller looked");
        let slot = self.subscribers.confirming[at].as_mut();
        let slot = slot.expect("just found");
        slot.seq = Some(call.seq);
        slot.reply = reply;
    }

    /// Tells those who must know of changes; how many other shards that are.
    pub(super) fn tell(&mut self, changes: Vec<Change>, confirm: Option<u32>) -> usize {
        let own = self.shard.id;
        let shards = self.shard.node.shards;
        let mut told: Vec<(ShardId, Told)> = Vec::new();
        for Change { class, name, on } in changes {
            let concerned = match class {
                Class::Pattern | Class::Prefix => 0..shards,
                Class::Channel if is_notice(&name) => 0..shards,
                Class::Channel | Class::Shard => {
                    let owner = self.shard.owner(Slot::of(&name)).index();
                    owner..owner + 1
                }
            };
            for shard in concerned.map(|at| ShardId(at as u16)) {
                if shard == own {
                    self.know_subscription(own, class, &name, on);
                    continue;
                }
                let change = (class, Box::from(&name[..]), on);
                match told.iter_mut().find(|(s, _)| *s == shard) {
                    Some((_, told)) => told.changes.push(change),
                    None => {
                        let changes = vec![change];
                        told.push((shard, Told { changes, confirm }));
                    }
                }
            }
        }
        let count = told.len();
        for (shard, told) in told {
            self.shard.stats.hops += 1;
            self.send_errand(shard, Errand::Subscriptions(told));
        }
        count
    }

    /// A connection of a shard has begun or ended a subscription.
    fn know_subscription(&mut self, of: ShardId, class: Class, name: &[u8], on: bool) {
        if class == Class::Prefix {
            return self.shard.change_prefix(name, of, on);
        }
        let owned = self.shard.owner(Slot::of(name)) == self.shard.id;
        self.shard.channels.change(class, name, of, on, owned);
    }

    /// Another shard's connections have begun or ended subscriptions.
    pub(super) fn subscriptions_changed(&mut self, from: ShardId, told: Told) {
        for (class, name, on) in told.changes {
            self.know_subscription(from, class, &name, on);
        }
        if let Some(at) = told.confirm {
            self.send_errand(from, Errand::Subscribed(at));
        }
    }

    /// An owner knows of a subscription.
    pub(super) fn subscribed(&mut self, at: u32) {
        let slot = &mut self.subscribers.confirming[at as usize];
        let confirming = slot.as_mut().expect("it is being confirmed");
        confirming.missing -= 1;
        if confirming.missing > 0 {
            return;
        }
        let mut done = slot.take().expect("just seen");
        if let Some(seq) = done.seq {
            self.session(done.conn)
                .complete(seq, |out| out.append(&mut done.reply));
            self.answered(done.conn);
        }
    }

    /// Sends what has been published, and told of keys, to the shards that have subscribers.
    #[inline]
    pub(super) fn send_publications(&mut self) {
        if self.shard.channels.has_outbox() {
            self.empty_outbox();
        }
    }

    #[cold]
    fn empty_outbox(&mut self) {
        let outbox = self.shard.channels.take_outbox();
        let own = self.shard.id;
        for (shards, published) in outbox.messages() {
            for &shard in shards.iter().filter(|shard| **shard != own) {
                self.shard.stats.hops += 1;
                let buf = &mut self.outgoing[shard.index()].buf;
                let at = wire::begin(buf, kind::PUBLISHED);
                wire::put_u8(buf, published.class as u8);
                wire::put_u32(buf, published.channel.len() as u32);
                buf.extend_from_slice(published.channel);
                buf.extend_from_slice(published.message);
                wire::end(buf, at);
            }
            if shards.contains(&own) {
                self.hand_out(published);
            }
        }
        self.shard.channels.reuse(outbox);
    }

    /// A message from a channel's owner.
    pub(super) fn on_published(&mut self, reader: &mut wire::Reader<'_>) {
        let class = match reader.u8() {
            c if c == Class::Shard as u8 => Class::Shard,
            _ => Class::Channel,
        };
        let length = reader.u32() as usize;
        let channel = reader.bytes(length);
        let message = reader.bytes(reader.left());
        self.hand_out(Published {
            class,
            channel,
            message,
        });
    }

    /// Gives a message to all connections of this shard that subscribe.
    fn hand_out(&mut self, published: Published<'_>) {
        let Published {
            class,
            channel,
            message,
        } = published;
        let shared = (message.len() >= SHARED_MIN).then(|| Bytes::copy_from_slice(message));
        let kind: &[u8] = match class {
            Class::Shard => b"smessage",
            _ => b"message",
        };
        let table = &self.subscribers.by_name[class as usize];
        if let Some(conns) = table.get(channel).cloned() {
            self.encode(&[kind, channel], message, shared.as_ref());
            self.push_line(&conns);
        }
        if class == Class::Shard {
            return;
        }
        let patterns = &self.subscribers.by_name[Class::Pattern as usize];
        let matching: Vec<_> = patterns
            .iter()
            .filter(|(pattern, _)| crate::stdx::glob::matches(pattern, channel, false))
            .map(|(pattern, conns)| (pattern.clone(), conns.clone()))
            .collect();
        for (pattern, conns) in matching {
            self.encode(&[b"pmessage", &pattern, channel], message, shared.as_ref());
            self.push_line(&conns);
        }
    }

    /// Encodes a message for RESP3; for RESP2 its first byte is another.
    fn encode(&mut self, head: &[&[u8]], message: &[u8], shared: Option<&Bytes>) {
        let line = &mut self.subscribers.line;
        line.clear();
        line.buf.shrink_to(LINE_KEPT_MAX);
        let mut reply = Reply::new(line, Version::Resp3);
        reply.push(head.len() + 1);
        head.iter().for_each(|part| reply.bulk(part));
        match shared {
            Some(shared) => reply.bulk_shared(shared),
            None => reply.bulk(message),
        }
    }

    /// Appends the encoded message to what connections are sent.
    fn push_line(&mut self, conns: &[ConnId]) {
        let line = std::mem::take(&mut self.subscribers.line);
        for &conn in conns {
            let session = self.session(conn);
            if !push(session, &line) {
                continue;
            }
            if session.out.len() >= HEARD_AT_ONCE_BYTES {
                self.mark_dirty(conn);
            } else if !session.is(flag::HEARS) {
                session.flags |= flag::HEARS;
                self.subscribers.hearers.push_back(conn);
            }
        }
        self.subscribers.line = line;
    }

    /// Lists those connections for the reactor that are sent in this turn what was published.
    pub fn let_hear(&mut self) {
        let waiting = self.subscribers.hearers.len();
        let now = (waiting / TURNS_TO_TELL).max(HEARERS_MIN).min(waiting);
        for _ in 0..now {
            let conn = self.subscribers.hearers.pop_front();
            let conn = conn.expect("no more than there are");
            self.session(conn).flags &= !flag::HEARS;
            self.mark_dirty(conn);
        }
    }
}

/// Appends an encoded message to what a connection is sent, unless it is not to hear it.
pub(super) fn push(session: &mut Session, line: &Output) -> bool {
    // CLIENT REPLY does not silence RESP3's pushes.
    let silent = flag::REPLY_OFF | flag::REPLY_SKIP;
    let resp2 = session.version == Version::Resp2;
    if session.is(flag::CLOSING | flag::CLOSE_AFTER_REPLY) || resp2 && session.is(silent) {
        return false;
    }
    // Who waits in a blocking command hears at once; everything before it has been answered.
    let at_once = session.is(flag::BLOCKED) && session.held.len() == 1;
    let target = match () {
        () if session.is(flag::UNHEARD) => &mut session.info.heard,
        () if at_once => &mut session.out,
        () => session.target(),
    };
    let at = target.buf.len();
    target.buf.extend_from_slice(&line.buf);
    if resp2 {
        target.buf[at] = b'*';
    }
    let shared = line.shared.iter();
    target
        .shared
        .extend(shared.map(|(offset, bytes)| (at + offset, bytes.clone())));
    true
}
