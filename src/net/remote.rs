//! Requests that cross to the shard that owns their key, and the replies that come back.
//!
//! # Format
//! A batch is a sequence of messages; all numbers little-endian, in machine words of this process
//! (batches never leave it):
//! ```text
//! u32 length of what follows | u8 kind | ...
//! REQUEST  u8 version | u8 flags | u16 db | u32 conn | u64 client, then once or more
//!          u32 seq | u16 row | u64 pos | u32 argc | argc * u32 length | arguments
//! REPLY    u32 conn | u32 seq | u32 count | u32 shared | bytes | shared * (u64 offset, u64 pointer)
//! PART     u32 gather | u8 version | u8 flags | u16 row | u16 db | u64 client | u32 argc | ...
//! ANSWER   u32 gather | u32 shared | bytes | shared * (u64 offset, u64 pointer)
//! CONNECTION u32 descriptor | u32 listener
//! MONITORS u32 number of the sender's monitors
//! SHOWN    a line for the receiver's monitors
//! PUBLISHED u8 class | u32 length | channel | message, for the receiver's subscribers
//! TRANSACTION u64 pointer to a message of the transaction machine
//! SLOW     u64 pointer to a slow call of a client of the receiver
//! ERRAND   u64 pointer to an errand
//! INVALID  u64 client that has changed it | u32 count | count * u64 client | key
//! CHANGED  u64 client that has changed it | key, for the receiver's broadcasts
//! FLUSHED
//! REDIRECTED u32 conn, or all ones | u64 client | u32 the sender's conn | u64 its client | value
//! REDIRECT_BROKEN u32 the receiver's conn | u64 its client
//! LOG      a message of the sender's log
//! ```
//! A REPLY answers `count` requests with places one after the other, the first of which is `seq`.
//!
//! A large argument, and a large value in a reply, crosses as a pointer to memory that changes
//! hands; the length of such an argument is `LARGE` and the pointer stands in its place.

use super::batch::{Batch, Command, Origin, RemoteCall};
use super::dispatch::{Call, run};
use super::engine::Engine;
use super::journal::mark;
use super::session::{Stall, flag};
use crate::command::context::{Caller, OwnedArgs, caller};
use crate::command::registry::RowId;
use crate::keyspace::Pos;
use crate::mesh::ShardId;
use crate::resp::Version;
use crate::resp::encode::Output;
use crate::shard::lending::Carried;
use crate::shard::watch::SlowCall;
use crate::txn::{Body, Message};
use runs::{Joined, Runs};
use wire::{Head, Packed, Reader, put_u8, put_u16, put_u32, put_u64};

pub(super) mod runs;
mod transactions;
pub(super) mod wire;

/// Kinds of messages.
pub(super) mod kind {
    pub(super) const REQUEST: u8 = 1;
    pub(in crate::net) const REPLY: u8 = 2;
    pub(super) const PART: u8 = 3;
    pub(super) const ANSWER: u8 = 4;
    pub(super) const CONNECTION: u8 = 5;
    pub(super) const TRANSACTION: u8 = 6;
    pub(in crate::net) const ERRAND: u8 = 9;
    pub(in crate::net) const MONITORS: u8 = 7;
    pub(in crate::net) const SHOWN: u8 = 8;
    pub(super) const SLOW: u8 = 10;
    pub(in crate::net) const PUBLISHED: u8 = 11;
    pub(in crate::net) const INVALID: u8 = 12;
    pub(in crate::net) const CHANGED: u8 = 13;
    pub(in crate::net) const FLUSHED: u8 = 14;
    pub(in crate::net) const REDIRECTED: u8 = 15;
    pub(in crate::net) const REDIRECT_BROKEN: u8 = 16;
    pub(in crate::net) const LOG: u8 = 17;
    pub(in crate::net) const ALL_CHANGED: u8 = 18;
}

/// Bytes that requests of a message have in common, bytes of each of them before the lengths of its
/// arguments, and bytes of a message with replies before their own bytes.
const CALLER_BYTES: usize = 16;
const REQUEST_BYTES: usize = 18;
const REPLY_HEAD: usize = 21;

/// The length that stands for a pointer.
pub(super) const LARGE: u32 = u32::MAX;

/// Appends a request to what goes to the owner.
pub(super) fn put_request(
    out: &mut Output,
    runs: &mut Runs,
    owner: ShardId,
    call: &RemoteCall,
    command: &Command,
    batch: &mut Batch,
) {
    let buf = &mut out.buf;
    let caller = Packed::<CALLER_BYTES>::new()
        .with([call.version as u8, call.flags])
        .with(call.db.to_le_bytes())
        .with(call.conn.to_le_bytes())
        .with(call.client.to_le_bytes())
        .bytes();
    let request = Packed::<REQUEST_BYTES>::new()
        .with(call.seq.to_le_bytes())
        .with(command.row.0.to_le_bytes())
        .with(command.pos.to_bits().to_le_bytes())
        .with(command.argc.to_le_bytes())
        .bytes();
    let at = if let Some(message) = runs.request(owner, buf, &caller) {
        buf.extend_from_slice(&request);
        message
    } else {
        const HEAD: usize = wire::BEGIN_BYTES + CALLER_BYTES + REQUEST_BYTES;
        Head::<HEAD>::new(kind::REQUEST)
            .with(caller)
            .with(request)
            .put(buf)
    };
    if batch.owned.is_empty() {
        let args = batch.args_of(command);
        args.iter().for_each(|arg| put_u32(buf, arg.len() as u32));
        args.iter().for_each(|arg| buf.extend_from_slice(arg));
    } else {
        put_large_args(buf, batch, command.args_at as usize, command.argc as usize);
    }
    wire::end(buf, at);
    runs.requested(owner, at, buf.len());
}

/// Appends arguments of which some may lie in memory of their own, which changes hands.
fn put_large_args(buf: &mut Vec<u8>, batch: &mut Batch, first: usize, argc: usize) {
    let lengths = buf.len();
    buf.resize(lengths + 4 * argc, 0);
    for index in 0..argc {
        let owned = batch.owned.iter().position(|(i, _)| *i == first + index);
        let length = if let Some(at) = owned {
            put_u64(buf, wire::pack(batch.owned.swap_remove(at).1));
            LARGE
        } else {
            let arg = batch.args[first + index];
            buf.extend_from_slice(arg);
            arg.len() as u32
        };
        buf[lengths + 4 * index..][..4].copy_from_slice(&length.to_le_bytes());
    }
}

/// Reads arguments into a batch; they lie in the message, or in memory that changes hands here.
fn read_args(reader: &mut Reader<'_>, batch: &mut Batch) -> (usize, usize) {
    let argc = reader.u32() as usize;
    let (lengths, _) = reader.bytes(4 * argc).as_chunks::<4>();
    let first = batch.args.len();
    batch
        .args
        .extend(lengths.iter().enumerate().map(|(at, length)| {
            match u32::from_le_bytes(*length) {
                LARGE => {
                    let memory: Vec<u8> = wire::unpack(reader.u64());
                    let lent = super::batch::lend(&memory);
                    batch.owned.push((first + at, memory)); // what it points to stays in place
                    lent
                }
                length => super::batch::lend(reader.bytes(length as usize)),
            }
        }));
    (first, argc)
}

/// Appends the large values of `out` from `shared` on as pointers; the reply's bytes stand before.
fn put_shared(out: &mut Output, base: usize) -> u32 {
    let count = out.shared.len() as u32;
    for (at, bytes) in std::mem::take(&mut out.shared) {
        put_u64(&mut out.buf, (at - base) as u64);
        put_u64(&mut out.buf, wire::pack(bytes));
    }
    count
}

/// A reply that is being written.
pub(super) struct OpenReply {
    message: usize,
    /// Where the replies of the message begin.
    base: usize,
    /// Where the message began, or what was added to it.
    from: usize,
    /// Replies of the message, this one included.
    count: u32,
}

/// Starts a message with the reply to `call`; the reply itself follows.
pub(super) fn begin_reply(out: &mut Output, call: &RemoteCall) -> OpenReply {
    let message = Head::<REPLY_HEAD>::new(kind::REPLY)
        .with(call.conn.to_le_bytes())
        .with(call.seq.to_le_bytes())
        .with(1u32.to_le_bytes()) // replies: a run that goes on has more
        .with(0u32.to_le_bytes()) // large values: `end_reply` knows how many
        .put(&mut out.buf);
    OpenReply {
        message,
        base: out.buf.len(),
        from: message,
        count: 1,
    }
}

/// The reply goes on with a message of the replies before it.
fn join_reply(out: &Output, joined: Joined) -> OpenReply {
    OpenReply {
        message: joined.message,
        base: joined.message + REPLY_HEAD,
        from: out.buf.len(),
        count: joined.count + 1,
    }
}

/// Ends the message.
#[inline]
pub(super) fn end_reply(out: &mut Output, open: &OpenReply) {
    if open.count > 1 {
        out.buf[open.base - 8..open.base - 4].copy_from_slice(&open.count.to_le_bytes());
    }
    if !out.shared.is_empty() {
        let shared = put_shared(out, open.base);
        out.buf[open.base - 4..open.base].copy_from_slice(&shared.to_le_bytes());
    }
    wire::end(&mut out.buf, open.message);
}

/// Appends a whole reply to `call`.
pub(super) fn put_reply(out: &mut Output, call: &RemoteCall, reply: &mut Output) {
    let open = begin_reply(out, call);
    out.append(reply);
    end_reply(out, &open);
}

/// Reads an encoded output: bytes, then pointers to large values.
fn read_output(reader: &mut Reader<'_>, shared: u32, out: &mut Output) {
    let bytes = reader.bytes(reader.left() - 16 * shared as usize);
    let base = out.buf.len();
    out.buf.extend_from_slice(bytes);
    for _ in 0..shared {
        let at = reader.u64() as usize;
        out.shared.push((base + at, wire::unpack(reader.u64())));
    }
}

impl Engine {
    /// A batch from another shard. Its bytes must stay in place until
    /// [`run_batch`](Self::run_batch) has run, which this may do by itself.
    pub fn deliver(&mut self, from: ShardId, bytes: &[u8]) {
        let mut rest = Reader::new(bytes);
        while rest.left() > 0 {
            let length = rest.u32() as usize;
            let mut reader = Reader::new(rest.bytes(length));
            let marked = reader.u8();
            match marked & mark::KIND {
                kind::REQUEST => self.on_request(from, &mut reader),
                kind::REPLY => self.on_reply(&mut reader, marked & mark::LOST != 0),
                kind::LOG => self.on_log(from, reader.bytes(reader.left())),
                kind::PART => self.on_part(from, &mut reader),
                kind::ANSWER => self.on_answer(from, &mut reader),
                kind::TRANSACTION => {
                    self.run_batch(); // what came before is executed before
                    let message = transactions::read(&mut reader);
                    self.moves.received += 1;
                    if let Body::Acquire { part, .. } = &message.body {
                        self.shard.tell_ahead(&part.claims);
                    }
                    self.shard.txns.handle(from, message);
                    self.work_off_transactions();
                    self.settle_aftermath();
                }
                kind::SLOW => {
                    let call = wire::unpack(reader.u64());
                    self.log_slow_call(call);
                }
                kind::ERRAND => {
                    self.run_batch(); // what came before is executed before
                    let errand = wire::unpack(reader.u64());
                    self.run_errand(from, errand);
                    self.work_off_transactions();
                    self.settle_aftermath();
                }
                kind::MONITORS => self.know_monitors(from, reader.u32()),
                kind::SHOWN => {
                    let line = reader.bytes(reader.left());
                    self.show(line);
                }
                kind::PUBLISHED => {
                    self.run_batch(); // what came before is executed before
                    self.on_published(&mut reader);
                }
                kind::INVALID => {
                    self.run_batch(); // what came before is executed before
                    self.on_invalid(&mut reader);
                }
                kind::CHANGED => self.on_changed(&mut reader),
                kind::ALL_CHANGED => self.on_all_changed(),
                kind::FLUSHED => {
                    self.run_batch(); // what came before is executed before
                    self.on_flushed(from);
                }
                kind::REDIRECTED => {
                    self.run_batch(); // what came before is executed before
                    self.on_redirected(from, &mut reader);
                }
                kind::REDIRECT_BROKEN => self.on_redirect_broken(&mut reader),
                kind::CONNECTION => self.adopted.push((reader.u32() as i32, reader.u32())),
                other => unreachable!("a message of kind {other}"),
            }
        }
    }

    fn on_request(&mut self, home: ShardId, reader: &mut Reader<'_>) {
        let mut head = reader.head::<CALLER_BYTES>();
        let version = version_of(head.u8());
        let flags = head.u8();
        let db = head.u16();
        let conn = head.u32();
        let client = head.u64();
        while reader.left() > 0 {
            if self.batch.is_full() {
                self.run_batch();
            }
            let mut request = reader.head::<{ REQUEST_BYTES - 4 }>();
            let seq = request.u32();
            let row = RowId(request.u16());
            let pos = Pos::from_bits(request.u64());
            let (args_at, argc) = read_args(reader, &mut self.batch);
            let call = RemoteCall {
                home,
                conn,
                seq,
                db,
                version,
                flags,
                client,
            };
            self.batch.commands.push(Command {
                origin: Origin::Remote(call),
                row,
                args_at: args_at as u32,
                argc: argc as u32,
                pos,
                start: 0,
                end: 0,
            });
        }
    }

    /// Executes a command for another shard's connection; its reply goes into that shard's batch.
    pub(super) fn execute_for(&mut self, batch: &mut Batch, command: &Command, call: RemoteCall) {
        if !self.shard.txns.is_idle() && call.flags & caller::HOLDS_KEYS == 0 {
            let spec = self.shard.registry.row(command.row).spec;
            if self.must_park(&call, spec, batch, command) {
                return self.park(call, batch, command);
            }
        }
        let out = &mut self.outgoing[call.home.index()];
        // What waits for the log waits message by message, and what is dropped is dropped so.
        let alone = self.gates || call.flags & caller::SILENT != 0;
        let joined = self
            .runs
            .reply(call.home, out.buf.len(), call.conn, call.seq);
        let open = match joined.filter(|_| !alone) {
            Some(joined) => join_reply(out, joined),
            None => begin_reply(out, &call),
        };
        let run_as = Call {
            row: command.row,
            spec: self.shard.registry.row(command.row).spec,
            args: &batch.args[command.args_at as usize..(command.args_at + command.argc) as usize],
            pos: command.pos,
            caller: Caller {
                client: call.client,
                db: call.db,
                flags: call.flags,
                home: call.home,
            },
            version: call.version,
        };
        self.shard.actor = call.client;
        let large = OwnedArgs {
            first: command.args_at as usize,
            owned: &mut batch.owned,
        };
        run(&mut self.shard, run_as, large, out);
        if self.shard.aftermath
            && let Some(wait) = self.shard.blocking.request.take()
        {
            self.outgoing[call.home.index()].truncate(open.from);
            let owned = super::transaction::own(batch, command);
            return self.begin_wait(call, owned, wait);
        }
        let out = &mut self.outgoing[call.home.index()];
        let large = !out.shared.is_empty();
        end_reply(out, &open);
        if !alone && !large {
            let extent = (open.message, out.buf.len());
            self.runs
                .replied(call.home, extent, (call.conn, call.seq), open.count);
        }
        if self.gates {
            let spec = self.shard.registry.row(command.row).spec;
            if self.is_sure(spec, command.pos, batch.args_of(command)) {
                self.outgoing[call.home.index()].buf[open.message + 4] |= mark::SURE;
            }
        }
        self.settle_aftermath();
    }

    fn on_reply(&mut self, reader: &mut Reader<'_>, lost: bool) {
        let mut head = reader.head::<{ REPLY_HEAD - wire::BEGIN_BYTES }>();
        let (conn, seq) = (head.u32(), head.u32());
        let (count, shared) = (head.u32(), head.u32());
        if lost && self.session(conn).is_alive() {
            self.close(conn);
        }
        self.lend_output_buffer(conn);
        let gates = self.gates;
        let session = self.session(conn);
        let unsent = if gates { session.unsent_bytes() } else { 0 };
        session.complete_run(seq, count, |out| read_output(reader, shared, out));
        if gates {
            // It has waited where it comes from.
            session.sure_since(unsent);
        }
        // Within a pipeline: others are still to come, and nothing waits for this one.
        let within = session.waiting > 0 && session.stall == Stall::No;
        if within && !session.is(flag::HUNG_UP) {
            if session.has_to_send() {
                self.mark_dirty(conn);
            }
            return;
        }
        self.answered(conn);
    }

    /// A reply has come in for a connection: it may have something to send, or may go on.
    pub(super) fn answered(&mut self, conn: super::session::ConnId) {
        let session = self.session(conn);
        if session.waiting == 0 && session.is(flag::BLOCKED) {
            self.unblocked(conn);
        }
        let session = self.session(conn);
        if session.waiting == 0 && session.is(flag::BARRIER) {
            session.flags &= !flag::BARRIER;
            if session.is(flag::REPLY_SKIP_NEXT) {
                session.flags = session.flags & !flag::REPLY_SKIP_NEXT | flag::REPLY_SKIP;
            }
            if session.is(flag::CACHING) && !session.is(flag::MULTI) {
                session.end_caching();
            }
        }
        let goes_on = match session.stall {
            Stall::Writes => session.writes_out == 0,
            Stall::Answers => session.waiting == 0,
            Stall::Unsure => session.unsure == 0,
            _ => false,
        };
        let buffer = session.held.take_buffer();
        if goes_on {
            self.resumable.push(conn);
        }
        if let Some(buffer) = buffer {
            self.recycle(buffer);
        }
        let session = self.session(conn);
        if session.has_to_send() || session.is(flag::LEAVING) {
            self.mark_dirty(conn);
        }
        self.end_if_hung_up(conn);
        self.free_if_done(conn);
    }

    /// Sends a message of the transaction machine.
    pub(super) fn send_transaction(&mut self, to: ShardId, message: Message<Carried>) {
        self.moves.sent += 1;
        let buf = &mut self.outgoing[to.index()].buf;
        let at = wire::begin(buf, kind::TRANSACTION);
        transactions::put(buf, message);
        wire::end(buf, at);
    }

    /// Sends a slow call to its client's home.
    pub(super) fn send_slow_call(&mut self, call: SlowCall) {
        let buf = &mut self.outgoing[call.home.index()].buf;
        let at = wire::begin(buf, kind::SLOW);
        put_u64(buf, wire::pack(call));
        wire::end(buf, at);
    }

    /// Sends a fresh connection to the shard that it was dealt to.
    pub fn send_connection(&mut self, shard: ShardId, fd: i32, listener: u32) {
        let buf = &mut self.outgoing[shard.index()].buf;
        let at = wire::begin(buf, kind::CONNECTION);
        put_u32(buf, fd as u32);
        put_u32(buf, listener);
        wire::end(buf, at);
    }

    /// Sends every other shard its part of a command.
    pub(super) fn put_parts(
        &mut self,
        gather: u32,
        row: RowId,
        caller: Caller,
        version: Version,
        args: &[&[u8]],
    ) {
        for shard in 0..self.outgoing.len() {
            if shard == self.shard.id.index() {
                continue;
            }
            self.shard.stats.hops += 1;
            let buf = &mut self.outgoing[shard].buf;
            let at = wire::begin(buf, kind::PART);
            put_u32(buf, gather);
            put_u8(buf, version as u8);
            put_u8(buf, caller.flags);
            put_u16(buf, row.0);
            put_u16(buf, caller.db);
            put_u64(buf, caller.client);
            put_u32(buf, args.len() as u32);
            args.iter().for_each(|arg| put_u32(buf, arg.len() as u32));
            args.iter().for_each(|arg| buf.extend_from_slice(arg));
            wire::end(buf, at);
        }
    }

    fn on_part(&mut self, home: ShardId, reader: &mut Reader<'_>) {
        self.run_batch(); // what came before is executed before
        let gather = reader.u32();
        let version = version_of(reader.u8());
        let flags = reader.u8();
        let row = RowId(reader.u16());
        let caller = Caller {
            db: reader.u16(),
            flags,
            client: reader.u64(),
            home,
        };
        let mut batch = Batch::default();
        read_args(reader, &mut batch);
        let mut output = Output::default();
        self.run_part(row, caller, version, &batch.args, &mut output);
        let out = &mut self.outgoing[home.index()];
        let at = wire::begin(&mut out.buf, kind::ANSWER);
        put_u32(&mut out.buf, gather);
        put_u32(&mut out.buf, output.shared.len() as u32);
        out.buf.extend_from_slice(&output.buf);
        for (offset, bytes) in output.shared {
            put_u64(&mut out.buf, offset as u64);
            put_u64(&mut out.buf, wire::pack(bytes));
        }
        wire::end(&mut out.buf, at);
        self.settle_aftermath();
    }

    fn on_answer(&mut self, from: ShardId, reader: &mut Reader<'_>) {
        let gather = reader.u32();
        let shared = reader.u32();
        let mut output = Output::default();
        read_output(reader, shared, &mut output);
        self.gathered(gather, from, output);
    }
}

fn version_of(byte: u8) -> Version {
    if byte == Version::Resp3 as u8 {
        Version::Resp3
    } else {
        Version::Resp2
    }
}
