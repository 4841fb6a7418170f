//! What a command's function is given: the shard it runs on, its arguments, and where its reply
//! goes.
use super::error::Outcome;
use super::registry::RowId;
use crate::keyspace::{Db, Pos};
use crate::mesh::ShardId;
use crate::net::engine::Engine;
use crate::net::session::{ConnId, Session};
use crate::resp::Version;
use crate::resp::encode::{Output, Reply};
use crate::shard::Shard;
use crate::shard::blocking::{Nothing, Trying, Wait};

/// Bits of [`Caller::flags`].
pub mod caller {
    /// CLIENT NO-TOUCH: reads leave the access clock alone.
    pub const NO_TOUCH: u8 = 1;
    /// Runs inside EXEC.
    pub const IN_EXEC: u8 = 2;
    /// Part of a volley: no claim at its owner stops it.
    pub const HOLDS_KEYS: u8 = 4;
    /// CLIENT TRACKING: what is read is remembered.
    pub const TRACKS: u8 = 8;
    /// The client sees the shards as nodes of a cluster, and its home as the one it speaks to.
    pub const CORE: u8 = 16;
    /// The same with the limits of Redis Cluster: one slot for each command, one database.
    pub const STRICT: u8 = 32;
    /// Nobody wants its reply (CLIENT REPLY).
    pub const SILENT: u8 = 64;
}

/// On whose behalf a command runs; all that crosses to the shard that executes it.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The client's id.
    pub client: u64,
    /// The database.
    pub db: u16,
    /// Bits of [`caller`].
    pub flags: u8,
    /// The shard of the client's connection.
    pub home: ShardId,
}

impl Caller {
    /// Whether the limits of Redis Cluster hold for it.
    pub fn is_strict(self) -> bool {
        self.flags & caller::STRICT != 0
    }
}

const _: () = assert!(size_of::<Caller>() <= 16, "it is copied with each command");

/// Arguments that were received into memory of their own, by their index in the batch.
pub struct OwnedArgs<'a> {
    /// The index of the command's first argument in the batch.
    pub first: usize,
    /// Index in the batch, and memory.
    pub owned: &'a mut Vec<(usize, Vec<u8>)>,
}

/// For a command at the shard that owns its keys.
pub struct Ctx<'a> {
    /// The shard.
    pub shard: &'a mut Shard,
    /// The arguments; the first is the command's name as it was called.
    pub args: &'a [&'a [u8]],
    /// Where the reply goes. Nothing may be left in it when an error is returned.
    pub reply: Reply<'a>,
    /// On whose behalf.
    pub caller: Caller,
    /// The position of the only key, where the row has exactly one.
    pub pos: Pos,
    /// The command's row.
    pub row: RowId,
    /// Large arguments that can be taken instead of copied.
    pub large: OwnedArgs<'a>,
}

impl Ctx<'_> {
    /// The caller's database.
    pub fn db(&mut self) -> &mut Db {
        self.shard.keyspace.db_mut(usize::from(self.caller.db))
    }

    /// Unix time in milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.shard.now_ms
    }

    /// Nothing is there yet: the client waits. Inside EXEC it does not, and gets the reply
    /// for that. Nothing may be in the reply.
    pub fn wait(&mut self, wait: Wait) -> Outcome {
        if self.caller.flags & caller::IN_EXEC != 0 {
            match wait.nothing {
                Nothing::Null => self.reply.null(),
                Nothing::NullArray => self.reply.null_array(),
            }
            return Ok(());
        }
        self.shard.blocking.request = Some(wait);
        self.shard.aftermath = true;
        Ok(())
    }

    /// To be asked by a command that may wait, when it has found what it wants and before it changes
    /// anything: whether it may go on. It may not when the client's wait has ended meanwhile; then
    /// it returns without a reply.
    pub fn may_serve(&mut self) -> bool {
        let trying = self.shard.blocking.trying.as_mut();
        trying.is_none_or(Trying::win)
    }

    /// Records an effect on the command's only key, see [`Shard::effect`].
    #[inline]
    pub fn effect(&mut self, words: &[&[u8]]) {
        self.shard.effect(self.caller.db, self.pos, words);
    }

    /// Records the command as it was given as what it has done to its only key.
    #[inline]
    pub fn effect_verbatim(&mut self) {
        let (db, pos) = (self.caller.db, self.pos);
        self.shard.effect_verbatim(self.row, db, pos, self.args);
    }

    /// Takes the memory of the argument at `index` if it has its own. The argument is not to be
    /// looked at any more: what records it does so before.
    pub fn take_large(&mut self, index: usize) -> Option<Vec<u8>> {
        if self.large.owned.is_empty() {
            return None;
        }
        let wanted = self.large.first + index;
        let at = self.large.owned.iter().position(|(i, _)| *i == wanted)?;
        Some(self.large.owned.swap_remove(at).1)
    }
}

/// For a command that needs its connection, at the connection's home.
pub struct HomeCtx<'a> {
    /// The shard's whole state.
    pub engine: &'a mut Engine,
    /// The connection.
    pub conn: ConnId,
    /// The arguments; the first is the command's name as it was called.
    pub args: &'a [&'a [u8]],
    /// The command's row.
    pub row: RowId,
    /// Whether it runs inside EXEC, whose reply is not put off.
    pub in_exec: bool,
}

impl HomeCtx<'_> {
    /// The connection's state.
    pub fn session(&mut self) -> &mut Session {
        self.engine.session(self.conn)
    }

    /// The shard.
    pub fn shard(&mut self) -> &mut Shard {
        &mut self.engine.shard
    }

    /// Where the reply goes.
    pub fn reply(&mut self) -> Reply<'_> {
        let session = self.engine.session(self.conn);
        let version = session.version;
        Reply::new(session.target(), version)
    }
}

/// For a shard's part of a command that every shard takes part in.
pub struct PartCtx<'a> {
    /// The shard's whole state.
    pub engine: &'a mut Engine,
    /// The command's arguments.
    pub args: &'a [&'a [u8]],
    /// On whose behalf.
    pub caller: Caller,
    /// The protocol version of the client.
    pub version: Version,
    /// For `merge` at the client's home; any bytes.
    pub out: &'a mut Output,
}

impl PartCtx<'_> {
    /// The caller's database at this shard.
    pub fn db(&mut self) -> &mut Db {
        self.engine
            .shard
            .keyspace
            .db_mut(usize::from(self.caller.db))
    }
}

/// For putting together what all shards have answered, at the client's home.
pub struct MergeCtx<'a> {
    /// The home shard's whole state.
    pub engine: &'a mut Engine,
    /// The connection.
    pub conn: ConnId,
    /// The command's arguments.
    pub args: &'a [&'a [u8]],
    /// What each shard's part has written, in the order of the shards.
    pub parts: &'a mut [Output],
    /// Where the reply goes.
    pub reply: Reply<'a>,
}
