//! Commands that every shard takes part in: each shard runs its part, and the client's home puts
//! the parts together.

use super::dispatch::{Flow, count_call};
use super::engine::Engine;
use super::session::{ConnId, flag};
use crate::command::context::{Caller, HomeCtx, MergeCtx, PartCtx, caller};
use crate::command::registry::RowId;
use crate::command::spec::{Flags, Run, Spec};
use crate::mesh::ShardId;
use crate::resp::Version;
use crate::resp::encode::{Output, Reply};

/// A command whose parts are being awaited.
struct Gather {
    conn: ConnId,
    seq: u32,
    row: RowId,
    caller: Caller,
    version: Version,
    args: Vec<Vec<u8>>,
    parts: Vec<Output>,
    missing: usize,
}

/// Bytes in front of what a part writes: whether it succeeded, and the ticks that it took.
const PART_HEAD: usize = 1 + size_of::<u64>();

/// The commands whose parts are being awaited.
#[derive(Default)]
pub(super) struct Gathers {
    slots: Vec<Option<Gather>>,
}

impl Engine {
    /// Starts a command that every shard takes part in.
    pub(super) fn run_gather(
        &mut self,
        conn: ConnId,
        args: &[&[u8]],
        row: RowId,
        spec: &'static Spec,
    ) -> Flow {
        let own = self.shard.id.index();
        let shards = self.shard.node.shards;
        for peer in (0..shards).filter(|peer| *peer != own) {
            if let Some(stall) = self.no_room(conn, ShardId(peer as u16)) {
                return Flow::Wait(stall);
            }
        }
        let Run::Gather { prepare, .. } = spec.run else {
            unreachable!("routed by its kind")
        };
        if let Some(prepare) = prepare
            && let Err(error) = prepare(&mut HomeCtx {
                engine: self,
                conn,
                args,
                row,
            })
        {
            self.reject(conn, row, &error);
            return Flow::Done;
        }
        let session = self.session(conn);
        let version = session.version;
        let caller = Caller {
            client: session.id,
            db: session.db,
            flags: if session.is(flag::NO_TOUCH) {
                caller::NO_TOUCH
            } else {
                0
            },
            home: self.shard.id,
        };
        let mut parts: Vec<Output> = (0..shards).map(|_| Output::default()).collect();
        if shards == 1 {
            self.run_part(row, caller, version, args, &mut parts[0]);
            let mut output = Output::default();
            self.merge(conn, row, caller, args, &mut parts, version, &mut output);
            self.session(conn).target().append(&mut output);
            return Flow::Done;
        }
        let write = spec.flags.has(Flags::WRITE);
        if write {
            self.writes_everywhere(conn);
        }
        let seq = self.session(conn).hold(write);
        self.run_part(row, caller, version, args, &mut parts[own]);
        let gather = Gather {
            conn,
            seq,
            row,
            caller,
            version,
            args: args.iter().map(|a| a.to_vec()).collect(),
            parts,
            missing: shards - 1,
        };
        let slots = &mut self.gathers.slots;
        let at = slots.iter().position(Option::is_none).unwrap_or_else(|| {
            slots.push(None);
            slots.len() - 1
        });
        slots[at] = Some(gather);
        self.put_parts(at as u32, row, caller, version, args);
        Flow::Done
    }

    /// Runs this shard's part. In front of what it writes stand one byte, whether it succeeded,
    /// and the ticks that it took; `merge` takes them off.
    pub(super) fn run_part(
        &mut self,
        row: RowId,
        caller: Caller,
        version: Version,
        args: &[&[u8]],
        out: &mut Output,
    ) {
        let spec = self.shard.registry.row(row).spec;
        let Run::Gather { part, .. } = spec.run else {
            unreachable!("routed by its kind")
        };
        out.buf.push(1);
        out.buf.extend_from_slice(&[0; size_of::<u64>()]);
        let began = (self.shard.ticks.read)();
        if let Err(error) = part(&mut PartCtx {
            engine: self,
            args,
            caller,
            version,
            out,
        }) {
            out.clear();
            out.buf.extend_from_slice(&[0; PART_HEAD]);
            Reply::new(out, version).error(&error.0);
        }
        let took = (self.shard.ticks.read)().saturating_sub(began);
        out.buf[1..PART_HEAD].copy_from_slice(&took.to_le_bytes());
    }

    /// A shard's part has come in.
    pub(super) fn gathered(&mut self, at: u32, from: ShardId, part: Output) {
        let slot = &mut self.gathers.slots[at as usize];
        let gather = slot.as_mut().expect("it is being awaited");
        gather.parts[from.index()] = part;
        gather.missing -= 1;
        if gather.missing > 0 {
            return;
        }
        let mut gather = slot.take().expect("just seen");
        let args: Vec<&[u8]> = gather.args.iter().map(Vec::as_slice).collect();
        let mut output = Output::default();
        self.merge(
            gather.conn,
            gather.row,
            gather.caller,
            &args,
            &mut gather.parts,
            gather.version,
            &mut output,
        );
        self.session(gather.conn)
            .complete(gather.seq, |out| out.append(&mut output));
        self.answered(gather.conn);
    }

    /// Puts the parts together and takes the place of the reply in `out`.
    #[expect(clippy::too_many_arguments, reason = "all of it belongs to the gather")]
    fn merge(
        &mut self,
        conn: ConnId,
        row: RowId,
        caller: Caller,
        args: &[&[u8]],
        parts: &mut [Output],
        version: Version,
        out: &mut Output,
    ) {
        let spec = self.shard.registry.row(row).spec;
        let Run::Gather { merge, .. } = spec.run else {
            unreachable!("routed by its kind")
        };
        let mut longest = 0;
        for part in parts.iter_mut() {
            let head: Vec<u8> = part.buf.drain(..PART_HEAD).collect();
            let took = u64::from_le_bytes(head[1..].try_into().expect("eight bytes"));
            longest = longest.max(took);
            if head[0] == 0 {
                let code = part.buf[1..]
                    .split(|b| *b == b' ')
                    .next()
                    .unwrap_or_default();
                self.shard.stats.count_error(&String::from_utf8_lossy(code));
                count_call(&mut self.shard, row, longest, true, caller, args);
                return out.append(part);
            }
            part.shared.iter_mut().for_each(|(at, _)| *at -= PART_HEAD);
        }
        self.shard.lap();
        let reply = Reply::new(out, version);
        let outcome = merge(&mut MergeCtx {
            engine: self,
            conn,
            args,
            parts,
            reply,
        });
        // Parts run side by side: the longest of them is what the command took.
        let took = longest + self.shard.lap();
        let failed = outcome.is_err();
        count_call(&mut self.shard, row, took, failed, caller, args);
        if let Err(error) = outcome {
            self.shard.stats.count_error(error.code());
            out.clear();
            Reply::new(out, version).error(&error.0);
        }
    }
}
