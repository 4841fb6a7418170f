//! Ringdove: an in-memory data structure server that speaks the Redis protocol, one shard for each
//! core. This page is the guide to its architecture; the README says how to use it.
//!
//! A *shard* is one pinned thread with everything that it works on: a part of the keyspace, the
//! connections that were dealt to it, and an io_uring instance that it sleeps in and nowhere else.
//! Nothing on the way of a request is shared between shards. What one needs of another crosses as
//! bytes in a batch.
//!
//! ```text
//!   socket            shard of the connection (home)                    shard of the key (owner)
//!             ┌─────────────────────────────────────────┐         ┌─────────────────────────────┐
//!             │ reactor   one io_uring, one turn a time │         │ reactor                     │
//!             │    │                              ▲     │         │                             │
//!  request ──►│    ▼ bytes                        │     │         │                             │
//!             │ net     session, batch        replies   │  mesh   │  net                        │
//!             │    │    (resp decodes)       in order   │ request │   │                         │
//!             │    ▼                              │     │  lane   │   │                         │
//!             │ command   row of the table, slot ─┼── not ours ──►│   │                         │
//!             │    │                              │     │  reply  │   ▼                         │
//!             │    │ ours                         ◄─────┼──lane───┤ command                     │
//!             │    ▼                              │     │         │   │                         │
//!             │ shard ► keyspace ► resp encodes ──┘     │         │   ▼                         │
//!             │    ▲                                    │         │ shard ► keyspace            │
//!             │    └─ txn: keys of several owners are   │◄ ─ ─ ─ ►│   ▲                         │
//!             │       claimed there, run here           │         │   └─ txn                    │
//!             └─────────────────────────────────────────┘         └─────────────────────────────┘
//! ```
//!
//! # Modules, in the order data travels
//!
//! | module | its part |
//! | --- | --- |
//! | [`reactor`] | the shard's thread: ring, receive buffers, sockets, doorbells, clocks. The only place on the way of a request that calls the system. [`reactor::run`] is the loop |
//! | [`net`] | the client side: sessions, the batch of a turn, dispatch, the order of replies, limits. A state machine: [`net::engine`] has bytes and messages in, bytes and messages out |
//! | [`resp`] | the protocol: requests decoded in place, replies encoded in the connection's version |
//! | [`command`] | one row and one function for each command. The row says where keys stand and where it runs; COMMAND, routing and checks are all read from it |
//! | [`txn`] | commands and blocks whose keys have several owners: intents, ages, watches |
//! | [`mesh`] | between shards: a bounded ring for each ordered pair, without a word of the domain |
//! | [`shard`] | what one core owns: databases, clock, counters, expiry; how commands come to keys |
//! | [`keyspace`] | the tables: entries in the order of slot and hash, in bounded segments |
//! | [`types`] | the structures that collections are made of |
//! | [`rdb`] | snapshots: their format, read and written |
//! | [`log`] | what outlives the process: records of what writes did, in blocks; what is certain to survive; recovery. A state machine like [`net`]: buffers to write come out, results go in |
//! | [`storage`] | the files of the logs: directory, lock, manifest, segments; looking at them when no server runs |
//! | [`server`] | around it all: start and end, configuration, messages, what the host offers |
//! | [`stdx`] | what the standard library lacks |
//!
//! # One turn of the loop
//!
//! 1. Completions are read. Received bytes stay in the ring's buffers; whole commands in them become
//!    entries of the batch, their arguments slices of the buffer.
//! 2. The batch is prefetched in passes (directory, segment, entry), so that the cache misses of
//!    many commands overlap, and executed in order. Buffers go back to the kernel.
//! 3. Batches of other shards are taken from the lanes and executed the same way.
//! 4. What goes to other shards is handed over, one batch a lane. A shard that sleeps is woken by a
//!    message to its ring; one that is awake is not.
//! 5. The sends of all connections are queued, and one `io_uring_enter` submits everything. If
//!    nothing is left to do it also sleeps, otherwise background work (expiry, freeing) has a slice.
//!
//! The first three need no system call, and the last one is shared by all requests of the turn.
//!
//! # Where a command runs
//!
//! A key's slot is Redis Cluster's (CRC16 of the hash tag or key, modulo 16384); the slot map gives
//! the slot's owner. Slot and hash are computed once, where the command is parsed, and travel with it.
//!
//! - *One owner*: at once, there. The price of another shard is a copy of the arguments into a batch
//!   and of the reply into another.
//! - *Several owners* ([`txn`]): in one round the home takes intents on the keys at every owner and
//!   has the entries lent; it runs the ordinary command or block on them and gives them back. A
//!   command with one owner waits only where it conflicts with such a transaction; with none in
//!   flight that costs one branch.
//! - *The connection itself* (CLIENT, SELECT): at home.
//! - *The owner of a channel* (PUBLISH): all messages of a channel pass through the shard that owns
//!   the slot of its name, which knows who has subscribers ([`shard::channels`], [`net::pubsub`]).
//! - *In a client's cache* (CLIENT TRACKING): a key's owner remembers who has read it, and tells them
//!   of its next change on the lane that has carried the reply ([`shard::tracking`],
//!   [`net::tracking`]).
//! - *Later* (BLPOP): who finds nothing waits at every owner of its keys, and is tried again by
//!   whatever changes one of them ([`shard::blocking`], [`net::blocking`]).
//! - *Every shard* (FLUSHALL, DBSIZE, INFO): a part at each, the parts put together at home.
//!
//! With `core-direct` each shard also listens on a port of its own, as a node of a Redis Cluster
//! ([`shard::cores`], [`net::cores`]): a cluster client then asks the owner itself. Slots move from
//! shard to shard between two moments at which nothing is under way ([`net::slots`]), and the next start
//! finds them where they are ([`server::placement`]).
//!
//! # Snapshots
//!
//! All shards begin at one moment, under a transaction that holds every database ([`command::server`],
//! `save`). Then each tells its table in slices, in the order of positions; before an entry that was
//! not told yet changes, it is told ([`keyspace::Keeper`]); without a snapshot that is one branch for
//! a change. What is told goes in buffers to a thread that writes the file ([`shard::snapshot`],
//! [`server::snapshot`]). At the start a thread decodes the file, and each entry goes to the owner of
//! its slot; until all are there clients get LOADING errors ([`server::load`]).
//!
//! # What always holds
//!
//! **Who owns what.** Only its owner touches a key, an entry or a table; only its home touches a
//! session or a socket. Counters are per shard and summed when somebody asks. What is shared by the
//! process ([`shard::node::Node`]) is looked at when connections come and go, when the configuration
//! changes and when INFO asks, and not on the way of a request. The one exception is a flag for each
//! client that waits in a blocking command: who takes it may serve the client.
//!
//! **What crosses.** Batches of messages, as bytes. A large argument or value crosses as a pointer to
//! memory that changes hands with it, and so do entries that are lent. A batch's buffer is filled,
//! freed and reused by the shard that sends it. Lanes are bounded: when one is full, the connections
//! that fill it are not read from until there is room; the shard itself never waits for another.
//!
//! **Order of replies.** As the requests came. A request that is answered elsewhere keeps its place,
//! and later answers wait behind it.
//!
//! **Order of writes.** Writes of one connection become visible in the order in which they were sent,
//! whichever shards own their keys. The writes of a pipeline that go to several shards claim their
//! keys together and leave when all are held ([`net`], `volley`); another write waits while earlier
//! ones are under way to another shard than its own. A read sees its connection's earlier writes, because a lane keeps its order.
//!
//! **Atomicity.** A command on keys, and a block of them, takes effect at one point between its
//! request and its reply, on however many shards. Transactions are ordered by age, and only waits for older ones last: nothing
//! deadlocks, the oldest is never passed over.
//!
//! **What a write leaves behind.** Effects: commands on the keys that it has changed, which do the same
//! wherever and whenever they are run ([`shard::effects`]). Each row of the command table says which.
//! With `appendonly` they go into the shard's log in the order in which they took effect
//! ([`net`], `journal`): with `appendfsync always` nothing that tells of a write leaves the process
//! before the write is durable in the logs of all shards that it concerns. The start replays the logs
//! ([`server`], `recovery`). When they have grown, a snapshot becomes the base that they build on, and
//! what they said before it is dropped ([`command::server`], `rewrite`).
//!
//! **No pause.** No operation moves more than one directory (128 KiB of words) or one or two segments
//! (7 KiB each) of a table, however many keys there are. Expiry, flushing and freeing are slices
//! with a budget.
//!
//! **A pure core.** Below the reactor nothing reads a clock or draws a random number by itself, and
//! nothing there waits: time is set once a turn, chance comes from a seed. So tests drive the very
//! code that serves. (Messages ([`server::log`]) and what INFO asks of the host are the exceptions; neither changes
//! what a key holds.)
//!
//! **Hostile input.** What a client sends is answered or ends its connection; it is never a reason
//! to panic. A panic is a bug of ours and stops the process. Input and output of each connection
//! are bounded.
//!
//! # Where unsafe code is, and why
//!
//! It is denied; each file that needs it says so at its top with the reason, and each use says why it
//! is sound.
//!
//! - `keyspace` (entry, node, table, heap, pages, supply): an entry is one allocation of variable
//!   length, and tables name entries by 48-bit addresses; this is what a key's few bytes rest on.
//!   Behind [`keyspace::Keyspace`] it is safe, and model tests compare it with the standard maps.
//! - `net::batch`: arguments borrow receive buffers from parsing to the end of the batch, a lifetime
//!   that Rust's types cannot say across the engine's calls. One function lends, one rule keeps it sound.
//! - `mesh::ring`: the slots of a ring are handed from one thread to the other by position.
//! - `net::remote::wire`: memory that changes hands with a message.
//! - `reactor`, parts of `server` and `storage`: io_uring and system calls.
//! - `command::bitmap::bits`: code for CPU features that are found at run time.
//!
//! # Where to read on
//!
//! [`reactor::run`], [`net::engine`] and [`net::dispatch`] are a request's way; `command::string` is
//! a family to copy for a new command; [`keyspace`] has the formats as byte tables; [`txn`] has the
//! protocol between shards, and `tests/sim` runs it under every order of messages.
pub mod command;
pub mod keyspace;
pub mod log;
pub mod mesh;
pub mod net;
pub mod rdb;
pub mod reactor;
pub mod resp;
pub mod server;
pub mod shard;
pub mod stdx;
pub mod storage;
pub mod txn;
pub mod types;
