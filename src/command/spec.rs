//! The row of the command table: everything that is known of a command before it runs.
//!
//! The fields are Valkey's own (`src/commands/README.md` there), so that COMMAND INFO, DOCS,
//! GETKEYS, routing over shards and, later, ACLs are all printed from this one row.

use super::context::{Ctx, HomeCtx, MergeCtx, PartCtx};
use super::error::Outcome;
use crate::mesh::ShardId;
use crate::shard::Shard;
use crate::txn::multi::Control;

/// A set of named bits.
macro_rules! bitset {
    ($(#[$doc:meta])* $name:ident: $repr:ty { $($(#[$fdoc:meta])* $flag:ident = $bit:expr, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
        pub struct $name(pub $repr);
        impl $name {
            /// No bit set.
            pub const NONE: Self = Self(0);
            $($(#[$fdoc])* pub const $flag: Self = Self(1 << $bit);)*
            /// Every bit with the name that Redis prints for it, in Redis's order.
            pub const NAMES: &'static [(Self, &'static str)] = &[$((Self::$flag, $text),)*];
            /// Both sets together; usable in constants.
            pub const fn or(self, other: Self) -> Self { Self(self.0 | other.0) }
            /// Whether every bit of `other` is set.
            pub const fn has(self, other: Self) -> bool { self.0 & other.0 == other.0 }
            /// Whether any bit of `other` is set.
            pub const fn any(self, other: Self) -> bool { self.0 & other.0 != 0 }
            /// The names of the bits that are set.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                Self::NAMES.iter().filter(move |(f, _)| self.has(*f)).map(|(_, n)| *n)
            }
        }
        impl std::ops::BitOr for $name {
            type Output = Self;
            fn bitor(self, o: Self) -> Self { self.or(o) }
        }
    };
}

bitset! {
    /// Command flags as in the second field of COMMAND INFO.
    Flags: u32 {
        /// Changes the keyspace.
        WRITE = 0, "write";
        /// Reads keys and changes none.
        READONLY = 1, "readonly";
        /// Refused when memory is short.
        DENYOOM = 2, "denyoom";
        /// For administrators.
        ADMIN = 3, "admin";
        /// Pub/sub.
        PUBSUB = 4, "pubsub";
        /// Not from scripts.
        NOSCRIPT = 5, "noscript";
        /// May block the client.
        BLOCKING = 6, "blocking";
        /// Allowed while the dataset loads.
        LOADING = 7, "loading";
        /// Allowed on a stale replica.
        STALE = 8, "stale";
        /// Not shown to MONITOR.
        SKIP_MONITOR = 9, "skip_monitor";
        /// Not entered in the slow log.
        SKIP_SLOWLOG = 10, "skip_slowlog";
        /// Implies ASKING in a cluster.
        ASKING = 11, "asking";
        /// Constant or logarithmic time.
        FAST = 12, "fast";
        /// Allowed before AUTH.
        NO_AUTH = 13, "no_auth";
        /// Written to replicas even where it changed nothing.
        MAY_REPLICATE = 14, "may_replicate";
        /// Not inside MULTI.
        NO_MULTI = 15, "no_multi";
        /// Keys stand where key specs alone do not tell.
        MOVABLEKEYS = 16, "movablekeys";
        /// Allowed while a script or a long command is busy.
        ALLOW_BUSY = 17, "allow_busy";
        /// Not while asynchronous loading goes on.
        NO_ASYNC_LOADING = 18, "no_async_loading";
        /// Keys have no meaning by themselves.
        NO_MANDATORY_KEYS = 19, "no_mandatory_keys";
    }
}

bitset! {
    /// ACL categories, printed by COMMAND INFO with `@` in front.
    Acl: u32 {
        /// keyspace
        KEYSPACE = 0, "keyspace";
        /// read
        READ = 1, "read";
        /// write
        WRITE = 2, "write";
        /// set
        SET = 3, "set";
        /// sortedset
        SORTEDSET = 4, "sortedset";
        /// list
        LIST = 5, "list";
        /// hash
        HASH = 6, "hash";
        /// string
        STRING = 7, "string";
        /// bitmap
        BITMAP = 8, "bitmap";
        /// hyperloglog
        HYPERLOGLOG = 9, "hyperloglog";
        /// geo
        GEO = 10, "geo";
        /// stream
        STREAM = 11, "stream";
        /// pubsub
        PUBSUB = 12, "pubsub";
        /// admin
        ADMIN = 13, "admin";
        /// fast
        FAST = 14, "fast";
        /// slow
        SLOW = 15, "slow";
        /// blocking
        BLOCKING = 16, "blocking";
        /// dangerous
        DANGEROUS = 17, "dangerous";
        /// connection
        CONNECTION = 18, "connection";
        /// transaction
        TRANSACTION = 19, "transaction";
        /// scripting
        SCRIPTING = 20, "scripting";
    }
}

bitset! {
    /// Flags of one key spec.
    KeyFlags: u16 {
        /// Read and written.
        RW = 0, "RW";
        /// Read only.
        RO = 1, "RO";
        /// Overwritten without being read.
        OW = 2, "OW";
        /// Removed.
        RM = 3, "RM";
        /// The value is returned or copied.
        ACCESS = 4, "access";
        /// The value is changed, depending on the old one.
        UPDATE = 5, "update";
        /// Data is added, the old stays.
        INSERT = 6, "insert";
        /// Content is deleted.
        DELETE = 7, "delete";
        /// Not a key, but hashed as one.
        NOT_KEY = 8, "not_key";
        /// The spec does not find all keys.
        INCOMPLETE = 9, "incomplete";
        /// The flags depend on arguments.
        VARIABLE_FLAGS = 10, "variable_flags";
    }
}

/// Where the keys of a command begin.
#[derive(Clone, Copy, Debug)]
pub enum Begin {
    /// At this argument; 0 is the command's name.
    Index(u16),
    /// After the first argument equal to the keyword, searched from `from` (negative: from the end, backwards).
    Keyword(&'static str, i16),
    /// Not expressible.
    Unknown,
}

/// How the keys go on from there.
#[derive(Clone, Copy, Debug)]
pub enum Find {
    /// `last` relative to the first key (negative: counted from the end, -1 the last argument),
    /// every `step` arguments; `limit` 2 means the first half of what is left, 0 and 1 no limit.
    Range {
        /** last */
        last: i16,
        /** step */
        step: u16,
        /** limit */
        limit: u16,
    },
    /// A number of keys at `at` (relative to begin), the first key at `first`, every `step`.
    KeyNum {
        /** at */
        at: u16,
        /** first */
        first: u16,
        /** step */
        step: u16,
    },
    /// Not expressible.
    Unknown,
}

/// One group of keys of a command.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// What happens to these keys.
    pub flags: KeyFlags,
    /// Where they begin.
    pub begin: Begin,
    /// How they go on.
    pub find: Find,
}

impl KeySpec {
    /// One key at `index`.
    pub const fn one(index: u16, flags: KeyFlags) -> Self {
        Self::range(index, 0, 1, flags)
    }
    /// Keys from `first` to `last` (relative to `first`; negative: from the end) every `step`.
    pub const fn range(first: u16, last: i16, step: u16, flags: KeyFlags) -> Self {
        Self {
            flags,
            begin: Begin::Index(first),
            find: Find::Range {
                last,
                step,
                limit: 0,
            },
        }
    }
}

/// The group that COMMAND DOCS prints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Group {
    Generic,
    String,
    Bitmap,
    List,
    Set,
    SortedSet,
    Hash,
    Pubsub,
    Transactions,
    Connection,
    Server,
    Scripting,
    Hyperloglog,
    Cluster,
    Geo,
    Stream,
}

impl Group {
    /// The name as COMMAND DOCS prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::String => "string",
            Self::Bitmap => "bitmap",
            Self::List => "list",
            Self::Set => "set",
            Self::SortedSet => "sorted-set",
            Self::Hash => "hash",
            Self::Pubsub => "pubsub",
            Self::Transactions => "transactions",
            Self::Connection => "connection",
            Self::Server => "server",
            Self::Scripting => "scripting",
            Self::Hyperloglog => "hyperloglog",
            Self::Cluster => "cluster",
            Self::Geo => "geo",
            Self::Stream => "stream",
        }
    }
}

/// Where and how a command runs.
#[derive(Clone, Copy)]
pub enum Run {
    /// At the owner of its keys (or, without keys, at the client's home); sees no connection.
    Keyed(fn(&mut Ctx<'_>) -> Outcome),
    /// At the client's home shard, with the connection at hand.
    Home(fn(&mut HomeCtx<'_>) -> Outcome),
    /// At the shard that the arguments name otherwise than by a key (SCAN's cursor).
    At {
        /// Which shard it is, seen from the client's home.
        owner: fn(&Shard, &[&[u8]]) -> ShardId,
        /// Runs there.
        run: fn(&mut Ctx<'_>) -> Outcome,
    },
    /// A part at every shard, and the parts put together at the client's home.
    Gather {
        /// Runs at home before anything is sent to the shards; an error ends the command.
        prepare: Option<fn(&mut HomeCtx<'_>) -> Outcome>,
        /// Runs at each shard; what it writes is for `merge` alone. An error that any shard's part
        /// returns is the command's reply.
        part: fn(&mut PartCtx<'_>) -> Outcome,
        /// Makes the reply of all parts, in the order of the shards.
        merge: fn(&mut MergeCtx<'_>) -> Outcome,
    },
    /// Acts on the connection's transaction (MULTI and the like).
    Control(Control),
    /// Has subcommands only.
    Container,
}

/// What a command leaves behind when it has changed something, see [`crate::shard::effects`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// It changes no key.
    None,
    /// The command as it was given. It names one key, and what it does depends on nothing else.
    Verbatim,
    /// The command as it was given where all its keys are of one slot; otherwise the whole values of
    /// the keys that it writes to. What it does depends on its keys alone.
    Keys,
    /// The whole values of the keys that it writes to.
    Values,
    /// What its function says with [`Shard::effect`](crate::shard::Shard::effect).
    Own,
}

/// Tells from a command's arguments what it does with its keys.
pub type KeyFlagsOf = fn(&[&[u8]]) -> KeyFlags;

/// That a command should not be used any more.
#[derive(Clone, Copy, Debug)]
pub struct Deprecated {
    /// The version that says so.
    pub since: &'static str,
    /// What to use instead.
    pub instead: &'static str,
}

/// One command or subcommand.
#[derive(Clone, Copy)]
pub struct Spec {
    /// Lower-case name; of a subcommand, its own part only.
    pub name: &'static str,
    /// Number of arguments with the name; negative: at least so many.
    pub arity: i32,
    /// What COMMAND INFO prints as flags.
    pub flags: Flags,
    /// ACL categories; READ, WRITE, SLOW, FAST and the like must be given, too.
    pub acl: Acl,
    /// Where keys stand.
    pub keys: &'static [KeySpec],
    /// The group that COMMAND DOCS prints.
    pub group: Group,
    /// The version of Redis (or Valkey) that first had it.
    pub since: &'static str,
    /// What it costs, as COMMAND DOCS prints it.
    pub complexity: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// Arguments after the name in the notation of the documentation, `key value [NX | XX]`, which
    /// `command::server::docs` describes.
    pub syntax: &'static str,
    /// Versions that changed it after its first, and how, oldest first.
    pub history: &'static [(&'static str, &'static str)],
    /// What took its place, where it is kept for old clients only.
    pub deprecated: Option<Deprecated>,
    /// For servers and their developers, not for clients (COMMAND DOCS' `syscmd`).
    pub internal: bool,
    /// Of each key spec, a remark that COMMAND INFO prints with it; specs without one may be left
    /// out at the end.
    pub key_notes: &'static [&'static str],
    /// Where a key spec has VARIABLE_FLAGS: what the arguments at hand do with the keys.
    pub key_flags: Option<KeyFlagsOf>,
    /// Command tips such as `request_policy:all_shards`.
    pub tips: &'static [&'static str],
    /// Subcommands.
    pub subcommands: &'static [Spec],
    /// Whether the argument at an index is a secret, which MONITOR and the slow log do not show.
    pub secret: fn(&[&[u8]], usize) -> bool,
    /// What it leaves behind for the log; for every command that writes, not [`Effect::None`].
    pub effect: Effect,
    /// Where and how it runs.
    pub run: Run,
}

impl Spec {
    /// A row to take the fields from that a command does not set.
    pub const BASE: Self = Self {
        name: "",
        arity: 0,
        flags: Flags::NONE,
        acl: Acl::NONE,
        keys: &[],
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "",
        syntax: "",
        history: &[],
        deprecated: None,
        internal: false,
        key_notes: &[],
        key_flags: None,
        tips: &[],
        subcommands: &[],
        secret: |_, _| false,
        effect: Effect::None,
        run: Run::Container,
    };

    /// Whether `argc` arguments, the name included, are a right number.
    pub fn arity_fits(&self, argc: usize) -> bool {
        let argc = argc as i64;
        let arity = i64::from(self.arity);
        if arity >= 0 {
            argc == arity
        } else {
            argc >= -arity
        }
    }
}
