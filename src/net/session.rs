//! A connection's state without its socket: what it has sent, what it is to be sent, in which
//! order, and what it has asked for with HELLO, SELECT, CLIENT and the like.
//!
//! # Order
//! Replies leave in the order of the requests. While a request is being answered elsewhere,
//! `held` keeps a place for it, and what is answered after it waits behind. `held` is empty for a
//! connection whose requests are all local, and its replies are written straight into `out`.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::batch::RemoteCall;
use super::blocking::Blocked;
use super::held::{Held, Request};
use super::large::Large;
use super::migration::Pull;
use super::pubsub::Subscriptions;
use super::tracking::Tracker;
use crate::command::context::caller;
use crate::command::registry::RowId;
use crate::command::server::sync::Wish;
use crate::keyspace::Keyspace;
use crate::log::Lsn;
use crate::mesh::ShardId;
use crate::resp::Version;
use crate::resp::decode::Frame;
use crate::resp::encode::Output;
use crate::shard::lending::Head;
use crate::txn::TxnId;
use crate::txn::multi::Multi;

/// Index of a connection among those of its home shard. Reused, but not while anything that was
/// asked on the connection's behalf is unanswered.
pub type ConnId = u32;

/// Requests of one connection that may wait for other shards; more are not taken up meanwhile.
pub const WAITING_MAX: usize = 4096;

/// Bytes of replies that wait for others of their volley, at most.
const GATHERED_BYTES_MAX: usize = 16 * 1024;

/// The other end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Peer {
    /// TCP: the peer's address and ours.
    Tcp(SocketAddr, SocketAddr),
    /// A UNIX socket, with its path.
    Unix(Box<str>),
}

impl Peer {
    /// The peer's address as CLIENT LIST prints it.
    pub fn addr(&self) -> String {
        match self {
            Self::Tcp(peer, _) => socket_text(peer),
            Self::Unix(path) => format!("{path}:0"),
        }
    }

    /// Our own address as CLIENT LIST prints it.
    pub fn laddr(&self) -> String {
        match self {
            Self::Tcp(_, own) => socket_text(own),
            Self::Unix(path) => format!("{path}:0"),
        }
    }

    /// Whether it is the server itself, which runs a command on its own behalf.
    pub fn is_own(&self) -> bool {
        matches!(self, Self::Unix(path) if path.is_empty())
    }

    /// Whether the peer is on this machine.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(peer, _) => match peer.ip() {
                std::net::IpAddr::V4(ip) => ip.is_loopback(),
                std::net::IpAddr::V6(ip) => {
                    ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback())
                }
            },
            Self::Unix(_) => true,
        }
    }
}

/// `1.2.3.4:5`, `[::1]:5`; an IPv4 address in IPv6 form is printed as IPv4.
fn socket_text(addr: &SocketAddr) -> String {
    match addr.ip() {
        std::net::IpAddr::V6(ip) if ip.to_ipv4_mapped().is_none() => {
            format!("[{ip}]:{}", addr.port())
        }
        ip => format!("{}:{}", ip.to_canonical(), addr.port()),
    }
}

/// Bits of [`Session::flags`].
pub mod flag {
    /// AUTH is required first.
    pub const NEED_AUTH: u32 = 1 << 0;
    /// To be closed when everything has been sent.
    pub const CLOSE_AFTER_REPLY: u32 = 1 << 1;
    /// The connection is gone or going; nothing of it is executed any more.
    pub const CLOSING: u32 = 1 << 2;
    /// CLIENT REPLY OFF.
    pub const REPLY_OFF: u32 = 1 << 3;
    /// CLIENT REPLY SKIP: this command's reply is dropped.
    pub const REPLY_SKIP: u32 = 1 << 4;
    /// CLIENT REPLY SKIP: the next command's reply is dropped.
    pub const REPLY_SKIP_NEXT: u32 = 1 << 5;
    /// CLIENT NO-EVICT.
    pub const NO_EVICT: u32 = 1 << 6;
    /// CLIENT NO-TOUCH.
    pub const NO_TOUCH: u32 = 1 << 7;
    /// MONITOR.
    pub const MONITOR: u32 = 1 << 8;
    /// Inside MULTI.
    pub const MULTI: u32 = 1 << 9;
    /// In a blocking command.
    pub const BLOCKED: u32 = 1 << 10;
    /// The engine has this connection's bytes in the current batch.
    pub const IN_BATCH: u32 = 1 << 11;
    /// Listed for the reactor: something to send, or to close.
    pub const DIRTY: u32 = 1 << 12;
    /// No more is read from it until its input has been worked off.
    pub const READ_PAUSED: u32 = 1 << 13;
    /// The peer sends no more.
    pub const HUNG_UP: u32 = 1 << 14;
    /// Has a subscription.
    pub const PUBSUB: u32 = 1 << 15;
    /// CLIENT CAPA REDIRECT.
    pub const CAPA_REDIRECT: u32 = 1 << 16;
    /// MONITOR is to be answered.
    pub const MONITOR_NEW: u32 = 1 << 18;
    /// Over its soft output limit, and listed for it.
    pub const OVER_SOFT: u32 = 1 << 17;
    /// An EXEC is under way that stands alone: what follows it waits.
    pub const BARRIER: u32 = 1 << 19;
    /// Has a volley that asks for keys or holds them.
    pub const VOLLEY: u32 = 1 << 20;
    /// CLIENT TRACKING: what it reads now is remembered.
    pub const TRACKS: u32 = 1 << 21;
    /// CLIENT CACHING was called for the command to come.
    pub const CACHING: u32 = 1 << 22;
    /// A command of it is running whose reply is dropped.
    pub const UNHEARD: u32 = 1 << 23;
    /// Has come to a shard's own port: sees the shards as the nodes of a cluster.
    pub const CORE: u32 = 1 << 24;
    /// The same, and what is not the shard's is redirected or refused (`core-direct-strict`).
    pub const STRICT: u32 = 1 << 25;
    /// Some of its output waits for the log.
    pub const GATED: u32 = 1 << 26;
    /// To move to another shard as soon as nothing of it is under way (`connection-migration`).
    pub const LEAVING: u32 = 1 << 27;
    /// Listed for what was published.
    pub const HEARS: u32 = 1 << 28;
    /// Any of these, and a command does not take the short way.
    pub const SLOW: u32 = NEED_AUTH
        | CLOSE_AFTER_REPLY
        | CLOSING
        | REPLY_OFF
        | REPLY_SKIP
        | REPLY_SKIP_NEXT
        | MONITOR
        | MULTI
        | PUBSUB
        | BARRIER
        | STRICT
        | BLOCKED
        | VOLLEY
        | CACHING;
}

/// Why a connection's input is not being worked off.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Stall {
    /// It is.
    #[default]
    No,
    /// A write must not become visible before earlier ones on other shards.
    Writes,
    /// Everything before it must be answered first.
    Answers,
    /// Everything before it that an owner may have parked must be answered first.
    Unsure,
    /// Its volley asks for its keys.
    Claims,
    /// The lane to another shard is full, or [`WAITING_MAX`] requests wait.
    Room,
    /// CLIENT PAUSE, or something else that the server does, which takes its time.
    Paused,
    /// A blocking command.
    Blocked,
}

impl Stall {
    /// Whether other shards are what is waited for.
    pub fn is_by_shards(self) -> bool {
        matches!(
            self,
            Self::Writes | Self::Answers | Self::Unsure | Self::Claims | Self::Room
        )
    }
}

/// The beginning of a command that has not arrived whole, and what came after a stall.
#[derive(Default)]
pub struct Kept {
    /// Received bytes; those before `start` are done with.
    pub buf: Vec<u8>,
    /// Offset of the next command.
    pub start: usize,
    /// State of the unfinished command, relative to `start`.
    pub frame: Frame,
    /// Its arguments so far.
    pub args: Vec<KeptArg>,
    /// Bytes of those that lie in memory of their own.
    pub owned_bytes: usize,
    /// A large argument that is being received into memory of its own.
    pub large: Large,
}

impl Kept {
    /// Lets go of it all.
    pub fn discard(self, keyspace: &Keyspace) {
        let owned = self.args.into_iter().filter_map(|arg| match arg {
            KeptArg::Owned(memory) => Some(memory),
            KeptArg::At(..) => None,
        });
        let large = match self.large {
            Large::Here(memory) => Some(memory),
            Large::None | Large::Away(_) => None,
        };
        for memory in owned.chain(large) {
            keyspace.dispose(memory.into());
        }
    }
}

/// An argument of an unfinished command.
pub enum KeptArg {
    /// Offset from the command's start, and length.
    At(usize, usize),
    /// In memory of its own.
    Owned(Vec<u8>),
}

/// A connection without its socket.
pub struct Session {
    /// The client's id, unique in the process.
    pub id: u64,
    /// The other end.
    pub peer: Peer,
    /// File descriptor, for CLIENT LIST.
    pub fd: i32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// The database.
    pub db: u16,
    /// The protocol version.
    pub version: Version,
    /// Why its input waits.
    pub stall: Stall,
    /// What it is to be sent.
    pub out: Output,
    /// Places for replies that are not there yet, and what waits behind them.
    pub held: Held,
    /// Places in `held` that wait.
    pub waiting: u32,
    /// Those of them whose command may be parked by its owner, so that a transaction could
    /// overtake it.
    pub unsure: u32,
    /// Those of them whose command is a transaction that the next one need not wait for, and how many
    /// of these write.
    pub flowing: u32,
    /// The second number.
    pub flowing_writes: u32,
    /// Bytes of their commands; those of answered ones count until none is under way.
    pub flowing_bytes: usize,
    /// Commands from here on whose keys the connection's volley holds.
    pub volley_left: u32,
    /// Writes that wait for other shards.
    pub writes_out: u32,
    /// The shard of those writes; meaningless without.
    pub writes_at: u16,
    /// While output waits for the log: bytes in `out` and `held` that need not.
    pub sure_bytes: usize,
    /// Input that is kept.
    pub kept: Option<Box<Kept>>,
    /// Where its keys live, for `connection-migration`.
    pub pull: Pull,
    /// Where it is going; meaningless unless LEAVING.
    pub leaving_to: ShardId,
    /// Seldom used settings and counters.
    pub info: Box<Info>,
}

/// What CLIENT LIST and the like report, apart from the hot fields.
#[derive(Default)]
pub struct Info {
    /// The last transaction that was begun for it and writes.
    pub last_write: Option<TxnId>,
    /// CLIENT SETNAME.
    pub name: Vec<u8>,
    /// CLIENT SETINFO LIB-NAME.
    pub lib_name: Vec<u8>,
    /// CLIENT SETINFO LIB-VER.
    pub lib_ver: Vec<u8>,
    /// Unix time of the connection, milliseconds.
    pub created_ms: i64,
    /// Unix time of its last command, milliseconds.
    pub active_ms: i64,
    /// The last command.
    pub last_row: RowId,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes handed to the kernel.
    pub bytes_out: u64,
    /// Commands executed.
    pub commands: u64,
    /// MULTI and WATCH.
    pub multi: Multi<Head>,
    /// What it waits for, if it is in a blocking command.
    pub blocked: Option<Box<Blocked>>,
    /// What it subscribes to, if anything.
    pub subscriptions: Option<Box<Subscriptions>>,
    /// What it has asked for with CLIENT TRACKING, if it tracks.
    pub tracker: Option<Box<Tracker>>,
    /// Push messages that have come up while a command runs whose reply is dropped.
    pub heard: Output,
    /// Whether it has ever watched a key.
    pub watched: bool,
    /// Output that waits for the log, and up to which LSN; before everything in `out`.
    pub gated: VecDeque<(Lsn, Output)>,
    /// Bytes of it.
    pub gated_bytes: usize,
    /// What it has asked for with REPLCONF.
    pub wish: Wish,
    /// Bytes that the kernel has not taken yet, as the reactor knows them.
    pub backlog_bytes: usize,
}

impl Session {
    /// A fresh connection.
    pub fn new(id: u64, peer: Peer, fd: i32, now_ms: i64) -> Self {
        Self {
            id,
            peer,
            fd,
            flags: 0,
            db: 0,
            version: Version::Resp2,
            stall: Stall::No,
            out: Output::default(),
            held: Held::default(),
            waiting: 0,
            unsure: 0,
            flowing: 0,
            flowing_writes: 0,
            flowing_bytes: 0,
            volley_left: 0,
            writes_out: 0,
            writes_at: 0,
            sure_bytes: 0,
            kept: None,
            pull: Pull::default(),
            leaving_to: ShardId(0),
            info: Box::new(Info {
                created_ms: now_ms,
                active_ms: now_ms,
                ..Info::default()
            }),
        }
    }

    /// Whether the socket is there and stays there: what CLIENT LIST shows and CLIENT KILL finds.
    pub fn is_alive(&self) -> bool {
        self.fd >= 0 && !self.is(flag::CLOSING)
    }

    /// Sets or clears bits of [`flag`].
    pub fn set(&mut self, flags: u32, on: bool) {
        if on {
            self.flags |= flags;
        } else {
            self.flags &= !flags;
        }
    }

    /// Whether any of these bits of [`flag`] is set.
    pub fn is(&self, flags: u32) -> bool {
        self.flags & flags != 0
    }

    /// What those who run its commands need to know of it: bits of [`caller`].
    #[inline]
    pub fn caller_flags(&self) -> u8 {
        const SAID: [(u32, u8); 4] = [
            (flag::NO_TOUCH, caller::NO_TOUCH),
            (flag::TRACKS, caller::TRACKS),
            (flag::CORE, caller::CORE),
            (flag::STRICT, caller::STRICT),
        ];
        if !self.is(flag::NO_TOUCH | flag::TRACKS | flag::CORE | flag::STRICT) {
            return 0;
        }
        let said = SAID.iter().filter(|(of_session, _)| self.is(*of_session));
        said.fold(0, |flags, (_, of_caller)| flags | of_caller)
    }

    /// On whose behalf a command of this connection runs elsewhere or later.
    #[inline]
    pub(super) fn remote_call(&self, home: ShardId, conn: ConnId, seq: u32) -> RemoteCall {
        RemoteCall {
            home,
            conn,
            seq,
            db: self.db,
            version: self.version,
            flags: self.caller_flags(),
            client: self.id,
        }
    }

    /// Where the next local reply goes.
    pub fn target(&mut self) -> &mut Output {
        if self.held.is_empty() {
            return &mut self.out;
        }
        self.held.target()
    }

    /// Takes the next place in the order of replies for a request that is answered elsewhere.
    pub fn hold(&mut self, write: bool) -> u32 {
        self.unsure += 1;
        self.take_place(write, false, false)
    }

    /// The same for a transaction that the connection's next one need not wait for.
    pub fn hold_in_flow(&mut self, write: bool, bytes: usize) -> u32 {
        self.unsure += 1;
        if self.flowing == 0 {
            self.flowing_bytes = 0;
        }
        self.flowing_bytes += bytes;
        self.flowing += 1;
        self.flowing_writes += u32::from(write);
        self.take_place(write, false, true)
    }

    /// The same for a command whose keys the connection holds: it runs as soon as it arrives.
    pub fn hold_sure(&mut self) -> u32 {
        self.take_place(false, true, false)
    }

    fn take_place(&mut self, write: bool, sure: bool, flows: bool) -> u32 {
        self.waiting += 1;
        let silent = self.is(flag::REPLY_OFF | flag::REPLY_SKIP);
        self.held.push(Request {
            write,
            sure,
            flows,
            silent,
        })
    }

    /// The place that was just taken is for a push message, which CLIENT REPLY does not silence.
    pub fn let_be_heard(&mut self) {
        self.held.let_last_be_heard();
    }

    /// The reply for the place `seq`, written by `fill`, and whatever may leave behind it now.
    pub fn complete(&mut self, seq: u32, fill: impl FnOnce(&mut Output)) {
        let request = self.held.complete(seq, &mut self.out, fill);
        self.waiting -= 1;
        self.unsure -= u32::from(!request.sure);
        self.writes_out -= u32::from(request.write);
        self.flowing -= u32::from(request.flows);
        self.flowing_writes -= u32::from(request.flows && request.write);
    }

    /// The replies for so many places from `seq` on, none of them silent or of a transaction.
    pub fn complete_run(&mut self, seq: u32, count: u32, fill: impl FnOnce(&mut Output)) {
        if count == 1 {
            return self.complete(seq, fill);
        }
        let (mut unsure, mut writes) = (0, 0);
        let asked = |request: Request| {
            assert!(!request.flows, "a transaction is answered by itself");
            unsure += u32::from(!request.sure);
            writes += u32::from(request.write);
        };
        self.held
            .complete_run(seq, count, &mut self.out, fill, asked);
        self.waiting -= count;
        self.unsure -= unsure;
        self.writes_out -= writes;
    }

    /// Whether the reactor has something to do for it now. What can be sent waits, up to a size, for
    /// the other replies of a volley that is under way: they come by themselves, and a pipeline
    /// that is answered at once is sent at once and goes on at once.
    pub fn has_to_send(&self) -> bool {
        if self.is(flag::CLOSING | flag::CLOSE_AFTER_REPLY) {
            return true;
        }
        let more_to_come = self.waiting > self.unsure || self.stall == Stall::Claims;
        let enough = if more_to_come { GATHERED_BYTES_MAX } else { 1 };
        self.out.len() >= enough
    }

    /// CLIENT LIST's `multi`: commands that wait for EXEC, -1 outside of MULTI.
    pub fn queued(&self) -> i64 {
        self.info.multi.queued()
    }

    /// CLIENT LIST's `watch`: watched keys.
    pub fn watches(&self) -> usize {
        self.info.multi.watches()
    }

    /// CLIENT LIST's `multi-mem`: bytes of what waits for EXEC.
    pub fn queued_bytes(&self) -> usize {
        self.info.multi.queued_bytes()
    }

    /// Bytes of input that are kept, for `client-query-buffer-limit`.
    pub fn input_bytes(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| {
            kept.buf.len() - kept.start + kept.large.bytes() + kept.owned_bytes
        })
    }

    /// Bytes of output that have not been looked at for sending.
    pub fn unsent_bytes(&self) -> usize {
        self.out.len() + self.held.bytes()
    }

    /// What has come since there were `before` unsent bytes need not wait for the log.
    pub fn sure_since(&mut self, before: usize) {
        if !self.is(flag::REPLY_OFF | flag::REPLY_SKIP) {
            self.sure_bytes += self.unsent_bytes().saturating_sub(before);
        }
    }

    /// Bytes of output that wait anywhere, for `client-output-buffer-limit`.
    pub fn output_bytes(&self) -> usize {
        self.unsent_bytes() + self.info.gated_bytes + self.info.backlog_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        Session::new(1, Peer::Unix("/s".into()), 3, 0)
    }

    #[test]
    fn replies_leave_in_the_order_of_the_requests() {
        let mut s = session();
        s.target().buf.push(b'0');
        let first = s.hold(false);
        s.target().buf.push(b'2');
        s.target().buf.push(b'3');
        let second = s.hold(false);
        s.target().buf.push(b'5');
        s.complete(second, |o| o.buf.push(b'4'));
        assert_eq!(s.out.buf, b"0");
        s.complete(first, |o| o.buf.push(b'1'));
        assert_eq!(s.out.buf, b"012345");
        assert!(s.held.is_empty() && s.waiting == 0);
        let third = s.hold(false);
        s.complete(third, |o| o.buf.push(b'6'));
        assert_eq!(s.out.buf, b"0123456");
    }

    #[test]
    fn addresses_print_as_on_redis() {
        let addr = |text: &str| socket_text(&text.parse().expect("an address"));
        assert_eq!(addr("127.0.0.1:6379"), "127.0.0.1:6379");
        assert_eq!(addr("[::1]:6379"), "[::1]:6379");
        assert_eq!(addr("[::ffff:10.0.0.1]:1"), "10.0.0.1:1");
    }
}
