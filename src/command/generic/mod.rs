//! Keys and databases, whatever the keys hold.
mod dump;
pub mod expire;
pub mod keys;
pub mod migrate;
pub mod object;
pub mod scan;
pub mod whole;

use super::spec::{Acl, Begin, Effect, Find, Flags, Group, KeyFlags, KeySpec, Run, Spec};

/// On single keys, or several.
pub const KEYS: &[Spec] = &[
    Spec {
        name: "del",
        arity: -2,
        flags: Flags::WRITE,
        acl: Acl::KEYSPACE.or(Acl::WRITE).or(Acl::SLOW),
        keys: &[KeySpec::range(1, -1, 1, KeyFlags::RM.or(KeyFlags::DELETE))],
        complexity: "O(N) with N the number of keys; a big value is freed in slices afterwards.",
        summary: "Removes keys.",
        syntax: "key [key ...]",
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        effect: Effect::Own,
        run: Run::Keyed(keys::del),
        ..Spec::BASE
    },
    Spec {
        name: "unlink",
        arity: -2,
        flags: Flags::WRITE.or(Flags::FAST),
        acl: Acl::KEYSPACE.or(Acl::WRITE).or(Acl::FAST),
        keys: &[KeySpec::range(1, -1, 1, KeyFlags::RM.or(KeyFlags::DELETE))],
        since: "4.0.0",
        complexity: "O(1) for each key; a big value is freed in slices afterwards.",
        summary: "Removes keys and frees their values later.",
        syntax: "key [key ...]",
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        effect: Effect::Own,
        run: Run::Keyed(keys::del),
        ..Spec::BASE
    },
    Spec {
        name: "exists",
        arity: -2,
        flags: Flags::READONLY.or(Flags::FAST),
        acl: Acl::KEYSPACE.or(Acl::READ).or(Acl::FAST),
        keys: &[KeySpec::range(1, -1, 1, KeyFlags::RO)],
        complexity: "O(N) with N the number of keys.",
        summary: "Counts which of the keys exist.",
        history: &[("3.0.3", "Several keys.")],
        syntax: "key [key ...]",
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        run: Run::Keyed(keys::exists),
        ..Spec::BASE
    },
    Spec {
        name: "touch",
        arity: -2,
        flags: Flags::READONLY.or(Flags::FAST),
        acl: Acl::KEYSPACE.or(Acl::READ).or(Acl::FAST),
        keys: &[KeySpec::range(1, -1, 1, KeyFlags::RO)],
        since: "3.2.1",
        complexity: "O(N) with N the number of keys.",
        summary: "Counts which of the keys exist and marks them as accessed now.",
        syntax: "key [key ...]",
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        run: Run::Keyed(keys::touch),
        ..Spec::BASE
    },
    Spec {
        name: "type",
        arity: 2,
        flags: Flags::READONLY.or(Flags::FAST),
        acl: Acl::KEYSPACE.or(Acl::READ).or(Acl::FAST),
        keys: &[KeySpec::one(1, KeyFlags::RO)],
        summary: "Tells the type of a key's value.",
        syntax: "key",
        run: Run::Keyed(keys::type_),
        ..Spec::BASE
    },
    Spec {
        name: "rename",
        arity: 3,
        flags: Flags::WRITE,
        acl: Acl::KEYSPACE.or(Acl::WRITE).or(Acl::SLOW),
        keys: &[
            KeySpec::one(1, KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE)),
            KeySpec::one(2, KeyFlags::OW.or(KeyFlags::UPDATE)),
        ],
        complexity: "O(1); what is overwritten is freed in slices.",
        summary: "Gives a key another name, overwriting what has it.",
        syntax: "key newkey",
        effect: Effect::Keys,
        run: Run::Keyed(keys::rename),
        ..Spec::BASE
    },
    Spec {
        name: "renamenx",
        arity: 3,
        flags: Flags::WRITE.or(Flags::FAST),
        acl: Acl::KEYSPACE.or(Acl::WRITE).or(Acl::FAST),
        keys: &[
            KeySpec::one(1, KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE)),
            KeySpec::one(2, KeyFlags::OW.or(KeyFlags::INSERT)),
        ],
        summary: "Gives a key another name unless that is taken.",
        history: &[("3.2.0", "Both names may be the same.")],
        syntax: "key newkey",
        effect: Effect::Keys,
        run: Run::Keyed(keys::renamenx),
        ..Spec::BASE
    },
    Spec {
        name: "copy",
        arity: -3,
        flags: Flags::WRITE.or(Flags::DENYOOM),
        acl: Acl::KEYSPACE.or(Acl::WRITE).or(Acl::SLOW),
        keys: &[
            KeySpec::one(1, KeyFlags::RO.or(KeyFlags::ACCESS)),
            KeySpec::one(2, KeyFlags::OW.or(KeyFlags::UPDATE)),
        ],
        since: "6.2.0",
        complexity: "O(N) with N the number of elements of a collection, O(1) for a string.",
        summary: "Copies a key's value and expiry to another key.",
        syntax: "source destination [DB destination-db] [REPLACE]",
        effect: Effect::Keys,
        run: Run::Keyed(keys::copy),
        ..Spec::BASE
    },
    Spec {
        name: "move",
        arity: 3,
        flags: Flags::WRITE.or(Flags::FAST),
        acl: Acl::KEYSPACE.or(Acl::WRITE).or(Acl::FAST),
        keys: &[KeySpec::one(
            1,
            KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE),
        )],
        summary: "Moves a key to another database.",
        syntax: "key db:integer",
        effect: Effect::Verbatim,
        run: Run::Keyed(keys::move_),
        ..Spec::BASE
    },
    Spec {
        name: "dump",
        arity: 2,
        flags: Flags::READONLY,
        acl: Acl::KEYSPACE.or(Acl::READ).or(Acl::SLOW),
        keys: &[KeySpec::one(1, KeyFlags::RO.or(KeyFlags::ACCESS))],
        since: "2.6.0",
        complexity: "O(N) with N the number of elements of a collection and their bytes.",
        summary: "Returns a key's value as bytes that RESTORE takes, here and on other servers.",
        syntax: "key",
        tips: &["nondeterministic_output"],
        run: Run::Keyed(dump::dump),
        ..Spec::BASE
    },
    Spec {
        name: "restore",
        arity: -4,
        flags: Flags::WRITE.or(Flags::DENYOOM),
        acl: Acl::KEYSPACE
            .or(Acl::WRITE)
            .or(Acl::SLOW)
            .or(Acl::DANGEROUS),
        keys: &[KeySpec::one(1, KeyFlags::OW.or(KeyFlags::UPDATE))],
        since: "2.6.0",
        complexity: "O(N) with N the number of elements of a collection and their bytes, O(N*log(N)) for a sorted set.",
        summary: "Makes a key of what DUMP has returned, here or on another server.",
        history: &[
            ("3.0.0", "`REPLACE`."),
            ("5.0.0", "`ABSTTL`."),
            ("5.0.0", "`IDLETIME` and `FREQ`."),
        ],
        syntax: "key ttl:integer serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency:integer]",
        effect: Effect::Values,
        run: Run::Keyed(dump::restore),
        ..Spec::BASE
    },
    Spec {
        name: "migrate",
        arity: -6,
        flags: Flags::WRITE.or(Flags::MOVABLEKEYS),
        acl: Acl::KEYSPACE
            .or(Acl::WRITE)
            .or(Acl::SLOW)
            .or(Acl::DANGEROUS),
        keys: &[
            KeySpec::one(3, KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE)),
            KeySpec {
                flags: KeyFlags::RW
                    .or(KeyFlags::ACCESS)
                    .or(KeyFlags::DELETE)
                    .or(KeyFlags::INCOMPLETE),
                begin: Begin::Keyword("KEYS", -2),
                find: Find::Range {
                    last: -1,
                    step: 1,
                    limit: 0,
                },
            },
        ],
        since: "2.6.0",
        complexity: "O(N) here and there with N the number of elements of the values and their bytes.",
        summary: "Moves keys to another server.",
        history: &[
            ("3.0.0", "`COPY` and `REPLACE`."),
            ("3.0.6", "`KEYS`."),
            ("4.0.7", "`AUTH`."),
            ("6.0.0", "`AUTH2`."),
        ],
        syntax: "host port:integer <key | \"\"> destination-db timeout:integer [COPY] [REPLACE] [AUTH password | AUTH2 <username password>] [KEYS key [key ...]]",
        tips: &["nondeterministic_output"],
        secret: migrate::is_secret,
        effect: Effect::Own,
        run: Run::Keyed(migrate::at_once),
        ..Spec::BASE
    },
];

/// On the time that keys have left.
pub const EXPIRY: &[Spec] = &[
    Spec {
        name: "expire",
        arity: -3,
        flags: Flags::WRITE.or(Flags::FAST),
        acl: Acl::KEYSPACE.or(Acl::WRITE).or(Acl::FAST),
        keys: &[KeySpec::one(1, KeyFlags::RW.or(KeyFlags::UPDATE))],
        summary: "Lets a key expire after so many seconds.",
        history: &[("7.0.0", "`NX`, `XX`, `GT` and `LT`.")],
        syntax: "key seconds [NX | XX | GT | LT]#condition",
        effect: Effect::Own,
        run: Run::Keyed(expire::expire),
        ..Spec::BASE
    },
    Spec {
        name: "pexpire",
        arity: -3,
        flags: Flags::WRITE.or(Flags::FAST),
        acl: Acl::KEYSPACE.or(Acl::WRITE).or(Acl::FAST),
        keys: &[KeySpec::one(1, KeyFlags::RW.or(KeyFlags::UPDATE))],
        since: "2.6.0",
        summary: "Lets a key expire after so many milliseconds.",
        history: &[("7.0.0", "`NX`, `XX`, `GT` and `LT`.")],
        syntax: "key milliseconds [NX | XX | GT | LT]#condition",
        effect: Effect::Own,
        run: Run::Keyed(expire::pexpire),
        ..Spec::BASE
    },
    Spec {
        name: "expireat",
        arity: -3,
        flags: Flags::WRITE.or(Flags::FAST),
        acl: Acl::KEYSPACE.or(Acl::WRITE).or(Acl::FAST),
        keys: &[KeySpec::one(1, KeyFlags::RW.or(KeyFlags::UPDATE))],
        since: "1.2.0",
        summary: "Lets a key expire at a time, in seconds since 1970.",
        history: &[("7.0.0", "`NX`, `XX`, `GT` and `LT`.")],
        syntax: "key unix-time-seconds [NX | XX | GT | LT]#condition",
        effect: Effect::Own,
        run: Run::Keyed(expire::expireat),
        ..Spec::BASE
    },
    Spec {
        name: "pexpireat",
        arity: -3,
        flags: Flags::WRITE.or(Flags::FAST),
        acl: Acl::KEYSPACE.or(Acl::WRITE).or(Acl::FAST),
        keys: &[KeySpec::one(1, KeyFlags::RW.or(KeyFlags::UPDATE))],
        since: "2.6.0",
        summary: "Lets a key expire at a time, in milliseconds since 1970.",
        history: &[("7.0.0", "`NX`, `XX`, `GT` and `LT`.")],
        syntax: "key unix-time-milliseconds [NX | XX | GT | LT]#condition",
        effect: Effect::Own,
        run: Run::Keyed(expire::pexpireat),
        ..Spec::BASE
    },
    Spec {
        name: "expiretime",
        arity: 2,
        flags: Flags::READONLY.or(Flags::FAST),
        acl: Acl::KEYSPACE.or(Acl::READ).or(Acl::FAST),
        keys: &[KeySpec::one(1, KeyFlags::RO.or(KeyFlags::ACCESS))],
        since: "7.0.0",
        summary: "Tells when a key expires, in seconds since 1970.",
        syntax: "key",
        run: Run::Keyed(expire::expiretime),
        ..Spec::BASE
    },
    Spec {
        name: "pexpiretime",
        arity: 2,
        flags: Flags::READONLY.or(Flags::FAST),
        acl: Acl::KEYSPACE.or(Acl::READ).or(Acl::FAST),
        keys: &[KeySpec::one(1, KeyFlags::RO.or(KeyFlags::ACCESS))],
        since: "7.0.0",
        summary: "Tells when a key expires, in milliseconds since 1970.",
        syntax: "key",
        run: Run::Keyed(expire::pexpiretime),
        ..Spec::BASE
    },
    Spec {
        name: "ttl",
        arity: 2,
        flags: Flags::READONLY.or(Flags::FAST),
        acl: Acl::KEYSPACE.or(Acl::READ).or(Acl::FAST),
        keys: &[KeySpec::one(1, KeyFlags::RO.or(KeyFlags::ACCESS))],
        summary: "Tells how many seconds a key has left.",
        history: &[("2.8.0", "The reply -2.")],
        syntax: "key",
        tips: &["nondeterministic_output"],
        run: Run::Keyed(expire::ttl),
        ..Spec::BASE
    },
    Spec {
        name: "pttl",
        arity: 2,
        flags: Flags::READONLY.or(Flags::FAST),
        acl: Acl::KEYSPACE.or(Acl::READ).or(Acl::FAST),
        keys: &[KeySpec::one(1, KeyFlags::RO.or(KeyFlags::ACCESS))],
        since: "2.6.0",
        summary: "Tells how many milliseconds a key has left.",
        history: &[("2.8.0", "The reply -2.")],
        syntax: "key",
        tips: &["nondeterministic_output"],
        run: Run::Keyed(expire::pttl),
        ..Spec::BASE
    },
    Spec {
        name: "persist",
        arity: 2,
        flags: Flags::WRITE.or(Flags::FAST),
        acl: Acl::KEYSPACE.or(Acl::WRITE).or(Acl::FAST),
        keys: &[KeySpec::one(1, KeyFlags::RW.or(KeyFlags::UPDATE))],
        since: "2.2.0",
        summary: "Takes a key's expiry away.",
        syntax: "key",
        effect: Effect::Verbatim,
        run: Run::Keyed(expire::persist),
        ..Spec::BASE
    },
];

/// Through the keyspace.
pub const SCAN: &[Spec] = &[
    Spec {
        name: "keys",
        arity: 2,
        flags: Flags::READONLY,
        acl: Acl::KEYSPACE.or(Acl::READ).or(Acl::SLOW).or(Acl::DANGEROUS),
        complexity: "O(N) with N the number of keys of the database.",
        summary: "Lists all keys whose names match a pattern.",
        syntax: "pattern",
        tips: &["request_policy:all_shards", "nondeterministic_output_order"],
        run: Run::Gather {
            prepare: None,
            part: scan::keys_part,
            merge: scan::keys_merge,
        },
        ..Spec::BASE
    },
    Spec {
        name: "scan",
        arity: -2,
        flags: Flags::READONLY,
        acl: Acl::KEYSPACE.or(Acl::READ).or(Acl::SLOW),
        since: "2.8.0",
        complexity: "O(COUNT) for each call, O(N) for a whole iteration over N keys.",
        summary: "Goes through the keys step by step.",
        history: &[("6.0.0", "`TYPE`.")],
        syntax: "cursor [MATCH pattern] [COUNT count] [TYPE type]",
        tips: &[
            "nondeterministic_output",
            "request_policy:special",
            "response_policy:special",
        ],
        run: Run::At {
            owner: scan::scan_owner,
            run: scan::scan,
        },
        ..Spec::BASE
    },
    Spec {
        name: "randomkey",
        arity: 1,
        flags: Flags::READONLY,
        acl: Acl::KEYSPACE.or(Acl::READ).or(Acl::SLOW),
        summary: "Returns the name of a random key.",
        tips: &[
            "request_policy:all_shards",
            "response_policy:special",
            "nondeterministic_output",
        ],
        run: Run::Gather {
            prepare: None,
            part: scan::randomkey_part,
            merge: scan::randomkey_merge,
        },
        ..Spec::BASE
    },
];

/// On what is behind values.
pub const OBJECTS: &[Spec] = &[
    Spec {
        name: "object",
        arity: -2,
        acl: Acl::SLOW,
        since: "2.2.3",
        complexity: "Depends on the subcommand.",
        summary: "Tells what is known of a value from outside.",
        subcommands: OBJECT,
        ..Spec::BASE
    },
    Spec {
        name: "wait",
        arity: 3,
        flags: Flags::BLOCKING,
        acl: Acl::SLOW.or(Acl::BLOCKING).or(Acl::CONNECTION),
        since: "3.0.0",
        summary: "Waits until replicas have the connection's writes.",
        syntax: "numreplicas:integer timeout:integer",
        tips: &["request_policy:all_shards", "response_policy:agg_min"],
        run: Run::Home(object::wait),
        ..Spec::BASE
    },
    Spec {
        name: "waitaof",
        arity: 4,
        flags: Flags::BLOCKING,
        acl: Acl::SLOW.or(Acl::BLOCKING).or(Acl::CONNECTION),
        since: "7.2.0",
        summary: "Waits until the connection's writes are in the log, here and on replicas.",
        syntax: "numlocal numreplicas:integer timeout:integer",
        tips: &["request_policy:all_shards", "response_policy:agg_min"],
        run: Run::Home(object::waitaof),
        ..Spec::BASE
    },
];

const OBJECT: &[Spec] = &[
    Spec {
        name: "encoding",
        arity: 3,
        flags: Flags::READONLY,
        acl: Acl::KEYSPACE.or(Acl::READ).or(Acl::SLOW),
        keys: &[KeySpec::one(2, KeyFlags::RO)],
        since: "2.2.3",
        summary: "Tells how a value is stored.",
        syntax: "key",
        tips: &["nondeterministic_output"],
        run: Run::Keyed(object::encoding),
        ..Spec::BASE
    },
    Spec {
        name: "freq",
        arity: 3,
        flags: Flags::READONLY,
        acl: Acl::KEYSPACE.or(Acl::READ).or(Acl::SLOW),
        keys: &[KeySpec::one(2, KeyFlags::RO)],
        since: "4.0.0",
        summary: "Tells the logarithmic access frequency of a key.",
        syntax: "key",
        tips: &["nondeterministic_output"],
        run: Run::Keyed(object::freq),
        ..Spec::BASE
    },
    Spec {
        name: "idletime",
        arity: 3,
        flags: Flags::READONLY,
        acl: Acl::KEYSPACE.or(Acl::READ).or(Acl::SLOW),
        keys: &[KeySpec::one(2, KeyFlags::RO)],
        since: "2.2.3",
        summary: "Tells the seconds since a key was last accessed.",
        syntax: "key",
        tips: &["nondeterministic_output"],
        run: Run::Keyed(object::idletime),
        ..Spec::BASE
    },
    Spec {
        name: "refcount",
        arity: 3,
        flags: Flags::READONLY,
        acl: Acl::KEYSPACE.or(Acl::READ).or(Acl::SLOW),
        keys: &[KeySpec::one(2, KeyFlags::RO)],
        since: "2.2.3",
        summary: "Tells how many references a value has.",
        syntax: "key",
        tips: &["nondeterministic_output"],
        run: Run::Keyed(object::refcount),
        ..Spec::BASE
    },
    Spec {
        name: "help",
        arity: 2,
        flags: Flags::LOADING.or(Flags::STALE),
        acl: Acl::KEYSPACE.or(Acl::SLOW),
        since: "6.2.0",
        summary: "Explains the subcommands.",
        run: Run::Keyed(object::help),
        ..Spec::BASE
    },
];

/// On whole databases.
pub const WHOLE: &[Spec] = &[
    Spec {
        name: "dbsize",
        arity: 1,
        flags: Flags::READONLY.or(Flags::FAST),
        acl: Acl::KEYSPACE.or(Acl::READ).or(Acl::FAST),
        group: Group::Server,
        summary: "Counts the keys of the database.",
        tips: &["request_policy:all_shards", "response_policy:agg_sum"],
        run: Run::Gather {
            prepare: None,
            part: whole::dbsize_part,
            merge: whole::sum,
        },
        ..Spec::BASE
    },
    Spec {
        name: "flushdb",
        arity: -1,
        flags: Flags::WRITE,
        acl: Acl::KEYSPACE
            .or(Acl::WRITE)
            .or(Acl::SLOW)
            .or(Acl::DANGEROUS),
        group: Group::Server,
        complexity: "O(1); the keys are freed in slices afterwards.",
        summary: "Removes all keys of the database.",
        history: &[("4.0.0", "`ASYNC`."), ("6.2.0", "`SYNC`.")],
        syntax: "[ASYNC | SYNC]#async",
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        effect: Effect::Own,
        run: Run::Gather {
            prepare: Some(whole::flush_options),
            part: whole::flushdb_part,
            merge: whole::all_ok,
        },
        ..Spec::BASE
    },
    Spec {
        name: "flushall",
        arity: -1,
        flags: Flags::WRITE,
        acl: Acl::KEYSPACE
            .or(Acl::WRITE)
            .or(Acl::SLOW)
            .or(Acl::DANGEROUS),
        group: Group::Server,
        complexity: "O(1); the keys are freed in slices afterwards.",
        summary: "Removes all keys of all databases.",
        history: &[("4.0.0", "`ASYNC`."), ("6.2.0", "`SYNC`.")],
        syntax: "[ASYNC | SYNC]#async",
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        effect: Effect::Own,
        run: Run::Gather {
            prepare: Some(whole::flush_options),
            part: whole::flushall_part,
            merge: whole::all_ok,
        },
        ..Spec::BASE
    },
    Spec {
        name: "swapdb",
        arity: 3,
        flags: Flags::WRITE.or(Flags::FAST),
        acl: Acl::KEYSPACE
            .or(Acl::WRITE)
            .or(Acl::FAST)
            .or(Acl::DANGEROUS),
        group: Group::Server,
        since: "4.0.0",
        summary: "Exchanges two databases.",
        syntax: "index1 index2",
        effect: Effect::Own,
        run: Run::Gather {
            prepare: Some(whole::swapdb_check),
            part: whole::swapdb_part,
            merge: whole::all_ok,
        },
        ..Spec::BASE
    },
];
