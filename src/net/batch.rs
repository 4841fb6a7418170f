//! The commands that one turn of the loop has parsed and not yet executed.
//!
//! Arguments are slices of the buffers in which they were received; nothing is copied. That is
//! sound because of one rule, which the [`Engine`](super::engine::Engine) keeps: from the first
//! command pushed until [`Batch::clear`], no buffer that an argument lies in is written, moved or
//! freed. The rule is why lifetimes are erased here, in [`lend`], and nowhere else.
#![expect(
    unsafe_code,
    reason = "arguments borrow receive buffers for the length of a batch"
)]

use super::session::{ConnId, KeptArg};
use crate::command::registry::RowId;
use crate::keyspace::Pos;
use crate::mesh::ShardId;
use crate::resp::Version;
use crate::resp::decode::Frame;

/// Commands of a batch, at most: enough to hide memory latency behind prefetching, few enough to
/// stay in the first-level cache.
pub const COMMANDS_MAX: usize = 128;
/// Room for so many arguments is kept from one batch to the next.
const ARGS_KEPT: usize = 1 << 16;

/// Erases the lifetime of bytes that stay in place until the batch is cleared.
pub fn lend(bytes: &[u8]) -> &'static [u8] {
    // SAFETY: the slice is used through Batch only, and the engine leaves the bytes in place until
    // the batch is cleared (the module's rule).
    unsafe { std::slice::from_raw_parts(bytes.as_ptr(), bytes.len()) }
}

/// Where a command came from.
#[derive(Clone, Copy, Debug)]
pub enum Origin {
    /// A connection of this shard: index into [`Batch::inputs`].
    Local(u32),
    /// Another shard, on behalf of one of its connections.
    Remote(RemoteCall),
}

/// What a shard that executes for another needs to know of the caller.
#[derive(Clone, Copy, Debug)]
pub struct RemoteCall {
    /// The connection's home.
    pub home: ShardId,
    /// The connection there.
    pub conn: ConnId,
    /// The place in the connection's order of replies.
    pub seq: u32,
    /// The database.
    pub db: u16,
    /// The protocol version of the reply.
    pub version: Version,
    /// [`Caller`](crate::command::context::Caller) flags.
    pub flags: u8,
    /// The client's id.
    pub client: u64,
}

/// A command that has been parsed.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// Where it came from.
    pub origin: Origin,
    /// Its row, or [`RowId::UNKNOWN`].
    pub row: RowId,
    /// First of its arguments in [`Batch::args`].
    pub args_at: u32,
    /// Number of its arguments, the name included.
    pub argc: u32,
    /// Position of its first key, where the row has exactly one.
    pub pos: Pos,
    /// Offset of its first byte in its input.
    pub start: usize,
    /// Offset after it.
    pub end: usize,
}

/// What a connection contributed to the batch.
pub struct Input {
    /// The connection.
    pub conn: ConnId,
    /// All bytes that were looked at, the start of an unfinished command included.
    pub bytes: &'static [u8],
    /// Whether the bytes lie in the session's own buffer (or in the receive buffer).
    pub kept: bool,
    /// Offset up to which whole commands have been parsed.
    pub parsed: usize,
    /// State of the unfinished command at `parsed`.
    pub frame: Frame,
    /// Offset of the first command that could not be executed yet.
    pub stalled_at: Option<usize>,
    /// Arguments of the unfinished command.
    pub args: Vec<KeptArg>,
    /// Nothing more of this input is to be executed.
    pub stopped: bool,
    /// Parsing stopped because the batch was full; whoever parses goes on after it.
    pub more: bool,
    /// The last command that was executed.
    pub last_row: RowId,
    /// Number of commands executed.
    pub executed: u32,
}

/// Parsed commands, their arguments and their sources.
#[derive(Default)]
pub struct Batch {
    /// Commands in the order of arrival.
    pub commands: Vec<Command>,
    /// Arguments of all commands.
    pub args: Vec<&'static [u8]>,
    /// Connections that contributed.
    pub inputs: Vec<Input>,
    /// Arguments that lie in memory of their own: index into `args`, and the memory.
    pub owned: Vec<(usize, Vec<u8>)>,
    /// Arguments that were decoded (inline commands): memory that `args` points into.
    pub decoded: Vec<Vec<u8>>,
    /// Commands before this one have been looked at for volleys.
    pub surveyed: usize,
    /// Commands before this one have been taken up, together with an earlier one.
    pub begun: usize,
}

impl Batch {
    /// Whether no more commands should be added before it runs.
    pub fn is_full(&self) -> bool {
        self.commands.len() >= COMMANDS_MAX
    }

    /// The arguments of a command.
    pub fn args_of(&self, command: &Command) -> &[&'static [u8]] {
        &self.args[command.args_at as usize..(command.args_at + command.argc) as usize]
    }

    /// Bytes of a command's arguments.
    pub fn bytes_of(&self, command: &Command) -> usize {
        self.args_of(command).iter().map(|arg| arg.len()).sum()
    }

    /// Where a command stands in `commands`.
    pub fn place_of(&self, command: &Command) -> usize {
        self.commands
            .partition_point(|other| other.args_at < command.args_at)
    }

    /// Whether a command has been taken up, together with an earlier one. Asked for those alone that
    /// could have been, so that a command of one key does not pay for it.
    pub fn has_begun(&self, command: &Command) -> bool {
        self.begun > 0 && self.place_of(command) < self.begun
    }

    /// Forgets everything; the buffers may be reused from now on. Whether a command had so many
    /// arguments that the room for them was not kept.
    pub fn clear(&mut self) -> bool {
        self.commands.clear();
        self.args.clear();
        self.inputs.clear();
        self.owned.clear();
        self.decoded.clear();
        self.surveyed = 0;
        self.begun = 0;
        let large = self.args.capacity() > ARGS_KEPT;
        if large {
            self.args = Vec::new();
        }
        large
    }
}
