//! DEBUG: what test suites and those who look for faults lean on, under Redis's names.
//!
//! A subcommand is parsed by every shard's part and by the merge, which is cheap, and keeps what it
//! does at each of them in one place: a setting is made at every shard, a key is looked at by its
//! owner. What is Redis's own inside (crashing, jemalloc's knobs) is refused as unknown; what waits
//! for another feature says so.

mod reload;

use super::context::{HomeCtx, MergeCtx, PartCtx};
use super::error::{Error, Outcome};
use super::generic::keys::encoding_name;
use super::generic::scan::{is_own, number};
use super::help;
use super::spec::{Acl, Flags, Group, Run, Spec};
use crate::keyspace::{CURSOR_END, EntryRef, Expiry, Lookup, NewValue, Value};
use crate::net::session::Peer;
use crate::resp::encode::{Output, Reply};
use crate::resp::number::parse_i64;
use crate::server::config::Allowed;
use crate::server::log;
use crate::shard::Shard;
use crate::shard::access::EventClass;
use crate::stdx::glob;
use crate::types::digest::{self, Digest};
use crate::types::packed::Packed;
use reload::Reload;
use std::time::Duration;

/// The command. On Redis it is no container: its subcommands have no rows.
pub const COMMANDS: &[Spec] = &[Spec {
    name: "debug",
    arity: -2,
    flags: Flags::ADMIN
        .or(Flags::NOSCRIPT)
        .or(Flags::LOADING)
        .or(Flags::STALE),
    acl: Acl::ADMIN.or(Acl::SLOW).or(Acl::DANGEROUS),
    group: Group::Server,
    complexity: "Depends on the subcommand.",
    summary: "Serves tests and those who look for faults.",
    internal: true,
    syntax: "subcommand [argument ...]",
    run: Run::Gather {
        prepare: Some(prepare),
        part,
        merge,
    },
    ..Spec::BASE
}];

const NOT_ALLOWED: Error = Error::fixed(
    "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can \
     run it from a local connection, otherwise you need to set this option in the configuration \
     file, and then restart the server.",
);
const BAD_PROTOCOL_TYPE: Error = Error::fixed(
    "ERR Wrong protocol type name. Please use one of the following: \
     string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
);
const BAD_THRESHOLD: Error =
    Error::fixed("ERR argument must be a memory value bigger than 1 and smaller than 4gb");
const BAD_DATABASE: Error = Error::fixed("ERR Out of range database");
const NO_LISTPACK: Error = Error::fixed("ERR Not a listpack encoded object.");
const NO_QUICKLIST: Error = Error::fixed("ERR Not a quicklist encoded object.");
const NO_SDS: Error = Error::fixed("ERR Not an sds encoded string.");
const NO_HASH_TABLE: Error = Error::fixed(
    "ERR The value stored at the specified key is not represented using an hash table",
);

const HELP: &[&str] = &[
    "CHANGE-REPL-ID",
    "    Accepted; there is no replication.",
    "DIGEST",
    "    Output a hex signature representing the current DB content.",
    "DIGEST-VALUE <key> [<key> ...]",
    "    Output a hex signature of the values of all the specified keys.",
    "ERROR <string>",
    "    Return a Redis protocol error with <string> as message. Useful for clients",
    "    unit tests to simulate Redis errors.",
    "HTSTATS <dbid>",
    "    Return statistics of the tables of the specified database.",
    "HTSTATS-KEY <key>",
    "    Like HTSTATS but for the hash table stored at <key>'s value.",
    "JMAP",
    "    Accepted; there is no memory map to write.",
    "LISTPACK <key>",
    "    Show low level info about the listpack encoding of <key>.",
    "LOG <message>",
    "    Write <message> to the server log.",
    "LOG-FAULT WRITE <errno>",
    "    Let the next write of the log fail with an error of the system.",
    "LOG-FAULT SPACE <0|1>",
    "    Setting it to 1 lets the disk be full for new segments of the log.",
    "LOG-FAULT SLOT <bytes>",
    "    Let a slot that moves take no more than this in the log.",
    "OBJECT <key>",
    "    Show low level info about `key` and associated value.",
    "PAUSE-CRON <0|1>",
    "    Stop periodic cron job processing.",
    "POPULATE <count> [<prefix>] [<size>]",
    "    Create <count> string keys named key:<num>. If <prefix> is specified then",
    "    it is used instead of the 'key' prefix.",
    "PROTOCOL <type>",
    "    Reply with a test value of the specified type. <type> can be: string,",
    "    integer, double, bignum, null, array, set, map, attrib, push, verbatim,",
    "    true, false.",
    "QUICKLIST <key> [<0|1>]",
    "    Show low level info about the quicklist of <key>.",
    "QUICKLIST-PACKED-THRESHOLD <size>",
    "    Accepted for the tests that set it; 1 byte to 4GB.",
    "REPLYBUFFER PEAK-RESET-TIME <NEVER||RESET|time>",
    "REPLYBUFFER RESIZING <0|1>",
    "    Accepted; reply buffers are not resized by a timer.",
    "RELOAD [option ...]",
    "    Turn every key into what a snapshot has of it, and back. No file is written.",
    "    Options:",
    "    * NOSAVE: Read the RDB file that is there instead.",
    "    * NOFLUSH: Keep what is in memory.",
    "    * MERGE: A key that is read takes the place of the one that is there; without it",
    "      such a key is an error.",
    "SDSLEN <key>",
    "    Show low level string info representing `key` and value.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    Setting it to 0 disables expiring keys in background when they are not",
    "    accessed (otherwise the Redis behavior). Setting it to 1 reenables back the",
    "    default.",
    "SET-DISABLE-DENY-SCRIPTS <0|1>",
    "    Accepted; there are no scripts yet.",
    "SET-SKIP-CHECKSUM-VALIDATION <0|1>",
    "    Enables or disables checksum checks for RESTORE's payload.",
    "SLEEP <seconds>",
    "    Stop the server for <seconds>. Decimals allowed.",
    "STRINGMATCH-LEN <pattern> <string>",
    "    Return 1 if <string> matches <pattern>, 0 otherwise.",
    "TRANSACTIONS",
    "    Show what every shard coordinates, and what holds or waits for its keys.",
];

/// Subcommands that need what is not there yet, and what that is.
const WAITING: &[(&[u8], &str)] = &[
    (
        b"loadaof",
        "reading the append-only log again while it runs",
    ),
    (b"aof-flush-sleep", "the append-only log"),
    (b"replicate", "replication"),
];

/// A subcommand and what it was given.
enum Order<'a> {
    Help,
    /// Accepted, and has no effect here.
    Nothing,
    /// What is in flight over several shards.
    Transactions,
    Protocol(&'a [u8]),
    ActiveExpire(bool),
    PauseCron(bool),
    Sleep(Duration),
    Error(&'a [u8]),
    Log(&'a [u8]),
    /// An error of the system with which the next write of the log fails.
    WriteFault(i32),
    /// Whether there is no space for new segments of the log.
    SpaceFault(bool),
    /// Bytes that a slot that moves may take in the log.
    SlotFault(u64),
    Populate {
        count: i64,
        prefix: &'a [u8],
        /// Bytes of each value; 0: as long as it comes.
        size: i64,
    },
    TableStats(usize),
    Match(&'a [u8], &'a [u8]),
    /// Looks at a key.
    Key(View, &'a [u8]),
    /// Of all keys.
    Digest,
    /// Of the values of the keys that the arguments name.
    ValueDigests,
    SkipChecksums(bool),
    Reload(Reload),
}

/// What is to be told of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    Object,
    Sds,
    HashTable,
    Listpack,
    Quicklist,
}

/// A number as C's atoi reads it.
fn lenient(text: &[u8]) -> i64 {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    parse_i64(&text[..digits]).unwrap_or(0)
}

/// Seconds as C's strtod reads them, as far as there is a use for: anything else is 0.
fn seconds(text: &[u8]) -> Duration {
    let number = std::str::from_utf8(text)
        .ok()
        .and_then(|t| t.trim().parse::<f64>().ok())
        .unwrap_or(0.0);
    Duration::try_from_secs_f64(number).unwrap_or(Duration::ZERO)
}

/// Bytes with a unit, `1kb`, as Redis's memtoull reads them.
fn memory(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let number = parse_i64(&text[..digits])?;
    let unit: u64 = match text[digits..].to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    u64::try_from(number).ok()?.checked_mul(unit)
}

impl<'a> Order<'a> {
    fn parse(args: &[&'a [u8]], databases: usize) -> Result<Self, Error> {
        let name = args[1].to_ascii_lowercase();
        let rest = &args[2..];
        let positive = |text: &[u8]| {
            let number = parse_i64(text).filter(|n| *n >= 0);
            number.ok_or(Error::NOT_POSITIVE)
        };
        Ok(match (name.as_slice(), rest) {
            (b"help", []) => Self::Help,
            (b"protocol", [kind]) => Self::Protocol(kind),
            (b"set-active-expire", [on]) => Self::ActiveExpire(lenient(on) != 0),
            (b"pause-cron", [on]) => Self::PauseCron(lenient(on) != 0),
            (b"sleep", [time]) => Self::Sleep(seconds(time)),
            (b"error", [text]) => Self::Error(text),
            (b"log", [text]) => Self::Log(text),
            (b"log-fault", [what, errno]) if what.eq_ignore_ascii_case(b"write") => {
                let errno = parse_i64(errno).filter(|errno| (1..4096).contains(errno));
                Self::WriteFault(errno.ok_or(Error::NOT_INTEGER)? as i32)
            }
            (b"log-fault", [what, on]) if what.eq_ignore_ascii_case(b"space") => {
                Self::SpaceFault(lenient(on) != 0)
            }
            (b"log-fault", [what, bytes]) if what.eq_ignore_ascii_case(b"slot") => {
                Self::SlotFault(positive(bytes)? as u64)
            }
            (b"transactions", []) => Self::Transactions,
            (b"change-repl-id" | b"jmap", []) => Self::Nothing,
            (b"set-disable-deny-scripts", [_]) => Self::Nothing,
            (b"set-skip-checksum-validation", [skip]) => Self::SkipChecksums(lenient(skip) != 0),
            (b"reload", options) => Self::Reload(Reload::parse(options)?),
            (b"digest", []) => Self::Digest,
            (b"digest-value", _) => Self::ValueDigests,
            (b"replybuffer", [what, _])
                if what.eq_ignore_ascii_case(b"peak-reset-time")
                    || what.eq_ignore_ascii_case(b"resizing") =>
            {
                Self::Nothing
            }
            (b"quicklist-packed-threshold", [size]) => {
                const THRESHOLD_MAX: u64 = 4 << 30;
                memory(size)
                    .filter(|size| *size <= THRESHOLD_MAX)
                    .ok_or(BAD_THRESHOLD)?;
                Self::Nothing
            }
            (b"populate", [count, options @ ..]) if options.len() <= 2 => Self::Populate {
                count: positive(count)?,
                size: match options {
                    [_, size] => positive(size)?,
                    _ => 0,
                },
                prefix: options.first().copied().unwrap_or(b"key"),
            },
            (b"htstats", [db]) => {
                let db = parse_i64(db).ok_or(Error::NOT_INTEGER)?;
                let known = usize::try_from(db).ok().filter(|db| *db < databases);
                Self::TableStats(known.ok_or(BAD_DATABASE)?)
            }
            (b"htstats-key", [key]) => Self::Key(View::HashTable, key),
            (b"stringmatch-len", [pattern, text]) => Self::Match(pattern, text),
            (b"object", [key]) => Self::Key(View::Object, key),
            (b"sdslen", [key]) => Self::Key(View::Sds, key),
            (b"listpack", [key]) => Self::Key(View::Listpack, key),
            // Redis tells more to its standard output with a second argument.
            (b"quicklist", [key] | [key, _]) => Self::Key(View::Quicklist, key),
            (name, _) => return Err(refusal(name, args[1])),
        })
    }
}

/// Whether this is DEBUG RELOAD, which needs all databases at every shard.
pub fn is_reload(args: &[&[u8]]) -> bool {
    args.get(1)
        .is_some_and(|name| name.eq_ignore_ascii_case(b"reload"))
}

fn refusal(name: &[u8], given: &[u8]) -> Error {
    if let Some((name, missing)) = WAITING.iter().find(|(waiting, _)| *waiting == name) {
        let name = String::from_utf8_lossy(name).to_ascii_uppercase();
        return Error::new(format!(
            "ERR DEBUG {name} is not supported yet: it needs {missing}, which this server does not have"
        ));
    }
    Error::wrong_arguments(given, "DEBUG")
}

fn prepare(ctx: &mut HomeCtx<'_>) -> Outcome {
    let args = ctx.args;
    let allowed = match ctx.shard().config.enable_debug_command {
        Allowed::No => false,
        Allowed::Yes => true,
        Allowed::Local => Peer::is_local(&ctx.session().peer),
    };
    if !allowed {
        return Err(NOT_ALLOWED);
    }
    let databases = ctx.shard().keyspace.databases();
    let order = Order::parse(args, databases)?;
    if matches!(order, Order::Reload(_)) && ctx.shard().node.saver.loading.is_under_way() {
        // What is still to come may need what is there.
        return Err(Error::LOADING);
    }
    Ok(())
}

fn part(ctx: &mut PartCtx<'_>) -> Outcome {
    let order = Order::parse(ctx.args, ctx.engine.shard.keyspace.databases())?;
    if let Order::Transactions = order {
        let shard = ctx.engine.shard.id.0;
        for line in ctx.engine.transactions_text().lines() {
            let line = format!("shard={shard} {line}\n");
            ctx.out.buf.extend_from_slice(line.as_bytes());
        }
        return Ok(());
    }
    if let Order::Reload(reload) = order {
        let told = reload.run(ctx.engine)?;
        for n in [told.keys, told.expired] {
            ctx.out.buf.extend_from_slice(&n.to_le_bytes());
        }
        return Ok(());
    }
    let shard = &mut ctx.engine.shard;
    let out = &mut ctx.out.buf;
    match order {
        Order::ActiveExpire(on) => shard.expiry.active = on,
        Order::PauseCron(on) => shard.expiry.paused = on,
        Order::Sleep(time) => std::thread::sleep(time),
        Order::Populate {
            count,
            prefix,
            size,
        } => populate(shard, ctx.caller.db, count, prefix, size),
        Order::TableStats(db) => {
            let db = shard.keyspace.db(db);
            for n in [db.len() as u64, db.expires() as u64] {
                out.extend_from_slice(&n.to_le_bytes());
            }
        }
        Order::SkipChecksums(skip) => shard.verifies_dumps = !skip,
        Order::SpaceFault(on) => shard.node.logs.fill_disk(on),
        Order::SlotFault(bytes) => shard.node.logs.limit_slots(bytes),
        Order::Reload(_) => unreachable!("done above"),
        Order::Digest => {
            for db in 0..shard.keyspace.databases() {
                let db = shard.keyspace.db(db);
                let mut sum = Digest::default();
                db.scan(0, CURSOR_END, usize::MAX, 0, |entry| {
                    sum.xor(&digest::of_key(&entry));
                });
                out.push(u8::from(!db.is_empty()));
                out.extend_from_slice(&sum.0);
            }
        }
        Order::ValueDigests => {
            for key in &ctx.args[2..] {
                out.extend_from_slice(&value_digest(shard, ctx.caller.db, key).0);
            }
        }
        Order::Key(view, key) if is_own(shard, key) => {
            out.extend_from_slice(&look(shard, ctx.caller.db, view, key)?);
        }
        Order::Key(..)
        | Order::Help
        | Order::Nothing
        | Order::Transactions
        | Order::Protocol(_)
        | Order::Error(_)
        | Order::Log(_)
        | Order::WriteFault(_)
        | Order::Match(..) => {}
    }
    Ok(())
}

fn merge(ctx: &mut MergeCtx<'_>) -> Outcome {
    let databases = ctx.engine.shard.keyspace.databases();
    match Order::parse(ctx.args, databases)? {
        Order::Help => help::reply(&mut ctx.reply, "DEBUG", HELP),
        Order::Protocol(kind) => return protocol(&mut ctx.reply, kind),
        Order::Error(text) => ctx.reply.error(text),
        Order::Log(text) => {
            let text = String::from_utf8_lossy(text);
            log::warning(format_args!("DEBUG LOG: {text}"));
            ctx.reply.ok();
        }
        Order::WriteFault(errno) => {
            ctx.engine.shard.node.logs.fail_next_write(errno);
            ctx.reply.ok();
        }
        Order::Transactions => {
            let lines = ctx.parts.iter().map(|part| &part.buf[..]);
            let text: Vec<u8> = lines.collect::<Vec<_>>().concat();
            ctx.reply.verbatim("txt", &text);
        }
        Order::TableStats(_) => table_stats(ctx),
        Order::Reload(_) => {
            let sum = |at| ctx.parts.iter().map(|part| number(part, at)).sum();
            let (keys, expired) = (sum(0), sum(8));
            ctx.engine.shard.node.saver.reloaded(keys, expired);
            log::warning(format_args!("DB reloaded by DEBUG RELOAD"));
            ctx.reply.ok();
        }
        Order::Match(pattern, text) => {
            let matches = glob::matches(pattern, text, false);
            ctx.reply.integer(i64::from(matches));
        }
        Order::Key(view, _) => {
            let told = ctx.parts.iter().find(|part| !part.buf.is_empty());
            let told = told.expect("one shard is the owner");
            match view {
                View::HashTable => ctx.reply.verbatim("txt", &told.buf),
                View::Object | View::Sds | View::Listpack | View::Quicklist => {
                    ctx.reply.simple(&String::from_utf8_lossy(&told.buf));
                }
            }
        }
        Order::Digest => ctx
            .reply
            .simple(&dataset_digest(ctx.parts, databases).to_hex()),
        Order::ValueDigests => {
            let keys = ctx.args.len() - 2;
            ctx.reply.array(keys);
            for at in 0..keys {
                let digest = sum(ctx.parts, at * DIGEST_BYTES);
                ctx.reply.simple(&digest.to_hex());
            }
        }
        Order::Nothing
        | Order::SkipChecksums(_)
        | Order::SpaceFault(_)
        | Order::SlotFault(_)
        | Order::ActiveExpire(_)
        | Order::PauseCron(_)
        | Order::Sleep(_)
        | Order::Populate { .. } => ctx.reply.ok(),
    }
    Ok(())
}

const DIGEST_BYTES: usize = size_of::<Digest>();

/// The digest of the value under a key, expired or not; of none, and of another shard's, nothing.
fn value_digest(shard: &Shard, db: u16, key: &[u8]) -> Digest {
    if !is_own(shard, key) {
        return Digest::default();
    }
    let pos = shard.pos(key);
    match shard.keyspace.db(usize::from(db)).lookup(pos, key, 0) {
        Lookup::Live(entry) => digest::of_value(&entry),
        Lookup::Missing | Lookup::Expired => Digest::default(),
    }
}

/// The parts' digests at an offset, put together.
fn sum(parts: &[Output], at: usize) -> Digest {
    let mut sum = Digest::default();
    for part in parts {
        let bytes = &part.buf[at..at + DIGEST_BYTES];
        sum.xor(&Digest(bytes.try_into().expect("as many as a digest has")));
    }
    sum
}

/// The digest of all databases: of each, every part says whether it has keys, and their digest.
fn dataset_digest(parts: &[Output], databases: usize) -> Digest {
    let mut digest = Digest::default();
    for db in 0..databases {
        let at = db * (1 + DIGEST_BYTES);
        if parts.iter().any(|part| part.buf[at] != 0) {
            digest.begin_database(db as u32);
            digest.xor(&sum(parts, at + 1));
        }
    }
    digest
}

/// Stores the keys that are this shard's; those that are there stay as they are.
fn populate(shard: &mut Shard, db: u16, count: i64, prefix: &[u8], size: i64) {
    let clock = shard.access_clock();
    let mut key = prefix.to_vec();
    key.push(b':');
    let stem = key.len();
    for n in 0..count {
        key.truncate(stem);
        key.extend_from_slice(n.to_string().as_bytes());
        if !is_own(shard, &key) {
            continue;
        }
        let pos = shard.pos(&key);
        let now = shard.now_ms;
        let target = shard.keyspace.db_mut(usize::from(db));
        if target.lookup(pos, &key, now).live().is_some() {
            continue;
        }
        let mut value = format!("value:{n}").into_bytes();
        if size > 0 {
            value.resize(size as usize, 0);
        }
        let value = NewValue::Str {
            bytes: &value,
            raw: false,
        };
        target.set(pos, &key, value, Expiry::Clear, clock);
        shard.changed(db, pos, &key, EventClass::New, "new");
    }
}

/// What is told of a key by its owner.
fn look(shard: &Shard, db: u16, view: View, key: &[u8]) -> Result<Vec<u8>, Error> {
    let pos = shard.pos(key);
    let found = shard.keyspace.db(usize::from(db)).lookup(pos, key, 0);
    let Lookup::Live(entry) = found else {
        return Err(Error::NO_SUCH_KEY);
    };
    match view {
        View::Object => Ok(describe(shard, &entry).into_bytes()),
        View::Sds => lengths(&entry).map(String::into_bytes),
        View::HashTable => hash_table(&entry).map(String::into_bytes),
        View::Listpack => listpack(&entry).map(String::into_bytes),
        View::Quicklist => quicklist(&entry).map(String::into_bytes),
    }
}

fn describe(shard: &Shard, entry: &EntryRef<'_>) -> String {
    let idle = if shard.lfu.on {
        0
    } else {
        shard.idle_seconds(entry.clock())
    };
    format!(
        "Value at:{:p} refcount:1 encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{idle}",
        entry.key().as_ptr(),
        encoding_name(entry),
        serialized_bytes(entry),
        entry.clock(),
    )
}

/// What is told of a long list.
fn quicklist(entry: &EntryRef<'_>) -> Result<String, Error> {
    match entry.value() {
        Value::Object(object) if object.encoding() == "quicklist" => {
            Ok(format!("Quicklist of {} bytes", object.heap_bytes()))
        }
        _ => Err(NO_QUICKLIST),
    }
}

/// What is told of a collection that looks like a hash table.
fn hash_table(entry: &EntryRef<'_>) -> Result<String, Error> {
    match entry.value() {
        Value::Object(object) if object.encoding() == "hashtable" => Ok(format!(
            "[Dictionary HT]\nHash table 0 stats (main hash table):\n bytes: {}\n",
            object.heap_bytes()
        )),
        _ => Err(NO_HASH_TABLE),
    }
}

/// What is told of a collection that is one block.
fn listpack(entry: &EntryRef<'_>) -> Result<String, Error> {
    match entry.value() {
        Value::Packed(_, bytes) if encoding_name(entry).starts_with("listpack") => {
            let elements = Packed::new(bytes).len();
            Ok(format!(
                "Listpack of {elements} elements in {} bytes",
                bytes.len()
            ))
        }
        Value::Object(object) if object.encoding().starts_with("listpack") => Ok(format!(
            "Listpack that is kept as a table of {} bytes",
            object.heap_bytes()
        )),
        _ => Err(NO_LISTPACK),
    }
}

/// Bytes of the value in a snapshot, before compression.
fn serialized_bytes(entry: &EntryRef<'_>) -> usize {
    /// A listpack has 6 bytes in front and one behind, a block in memory 2 in front.
    const LISTPACK_MORE_BYTES: usize = 5;
    let with_length = |len: usize| match len {
        0..64 => len + 1,
        64..16384 => len + 2,
        _ => len + 5,
    };
    match entry.value() {
        Value::Int(n) if i8::try_from(n).is_ok() => 2,
        Value::Int(n) if i16::try_from(n).is_ok() => 3,
        Value::Int(n) if i32::try_from(n).is_ok() => 5,
        Value::Int(n) => with_length(n.to_string().len()),
        Value::Str(bytes) => with_length(bytes.len()),
        Value::Packed(_, bytes) => with_length(bytes.len() + LISTPACK_MORE_BYTES),
        Value::Large(large) => with_length(large.as_slice().len()),
        Value::Object(object) => object.heap_bytes(),
    }
}

fn lengths(entry: &EntryRef<'_>) -> Result<String, Error> {
    let value = match entry.value() {
        Value::Str(bytes) => bytes.len(),
        Value::Large(large) => large.as_slice().len(),
        Value::Int(_) | Value::Packed(..) | Value::Object(_) => return Err(NO_SDS),
    };
    let key = entry.key().len();
    Ok(format!(
        "key_sds_len:{key}, key_sds_avail:0, key_zmalloc: {key}, val_sds_len:{value}, \
         val_sds_avail:0, val_zmalloc: {value}"
    ))
}

fn table_stats(ctx: &mut MergeCtx<'_>) {
    let mut text = String::new();
    for (at, heading) in ["[Dictionary HT]", "[Expires HT]"].iter().enumerate() {
        let counts = ctx.parts.iter().map(|part| number(part, 8 * at));
        let counts: Vec<u64> = counts.collect();
        text.push_str(&format!(
            "{heading}\nHash table 0 stats (main hash table):\n"
        ));
        let total: u64 = counts.iter().sum();
        if total == 0 {
            text.push_str("No stats available for empty dictionaries\n");
            continue;
        }
        text.push_str(&format!(" number of elements: {total}\n"));
        for (shard, count) in counts.iter().enumerate() {
            text.push_str(&format!(" elements of shard {shard}: {count}\n"));
        }
    }
    ctx.reply.verbatim("txt", text.as_bytes());
}

/// A test value of a type of the protocol.
fn protocol(reply: &mut Reply<'_>, kind: &[u8]) -> Outcome {
    match kind.to_ascii_lowercase().as_slice() {
        b"string" => reply.bulk(b"Hello World"),
        b"integer" => reply.integer(12345),
        b"double" => reply.double_text("3.141"),
        b"null" => reply.null(),
        b"array" => {
            reply.array(3);
            (0..3).for_each(|n| reply.integer(n));
        }
        b"set" => {
            reply.set(3);
            (0..3).for_each(|n| reply.integer(n));
        }
        b"map" => {
            reply.map(3);
            for n in 0..3 {
                reply.integer(n);
                reply.boolean(n == 1);
            }
        }
        b"attrib" => {
            if reply.is_resp3() {
                reply.raw(b"|1\r\n");
                reply.bulk(b"key-popularity");
                reply.array(2);
                reply.bulk(b"key:123");
                reply.integer(90);
            }
            reply.bulk(b"Some real reply following the attribute");
        }
        b"push" => {
            if !reply.is_resp3() {
                return Err(Error::new("ERR RESP2 is not supported by this command"));
            }
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.integer(42);
            reply.bulk(b"Some real reply following the push reply");
        }
        b"verbatim" => reply.verbatim("txt", b"This is a verbatim\nstring"),
        b"true" => reply.boolean(true),
        b"false" => reply.boolean(false),
        b"bignum" => reply.big_number("1234567999999999999999999999999999999"),
        _ => return Err(BAD_PROTOCOL_TYPE),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_as_leniently_as_on_redis() {
        assert_eq!((lenient(b"1"), lenient(b"x"), lenient(b"0x")), (1, 0, 0));
        assert_eq!(seconds(b"0.25"), Duration::from_millis(250));
        assert_eq!(
            (seconds(b"x"), seconds(b"-1")),
            (Duration::ZERO, Duration::ZERO)
        );
        assert_eq!(
            (memory(b"1kb"), memory(b"2g")),
            (Some(1024), Some(2_000_000_000))
        );
        assert_eq!(
            (memory(b"x"), memory(b"1q"), memory(b"-1")),
            (None, None, None)
        );
    }

    #[test]
    fn what_is_missing_says_so() {
        let parse = |line: &str| {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            Order::parse(&args, 16)
                .err()
                .map(|e| String::from_utf8_lossy(e.text()).into_owned())
        };
        assert!(parse("debug loadaof").is_some_and(|e| e.contains("log")));
        assert!(parse("debug sleep").is_some_and(|e| e.starts_with("ERR unknown subcommand")));
        assert_eq!(parse("debug populate 10 p 5"), None);
        assert_eq!(parse("debug quicklist list 1"), None);
        assert_eq!(
            parse("debug quicklist-packed-threshold 5gb"),
            Some(String::from_utf8_lossy(BAD_THRESHOLD.text()).into_owned())
        );
    }
}
