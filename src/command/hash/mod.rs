//! Hashes: the table of the group's commands.
//!
//! HGET and HSET of one field are the hot ones: one probe of the keyspace, one of the hash, no
//! allocation but for a table's own growth. What a hash is made of is [`crate::types::hash`]'s affair;
//! `value` has the rules by which it changes its form.
mod extended;
mod read;
mod scan;
mod ttl;
mod value;
mod write;

pub use value::expire_fields;

use super::spec::{Acl, Deprecated, Effect, Flags, Group, KeyFlags, KeySpec, Run, Spec};

const READ_FAST: Spec = Spec {
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Acl::READ.or(Acl::HASH).or(Acl::FAST),
    keys: &[KeySpec::one(1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    group: Group::Hash,
    since: "2.0.0",
    ..Spec::BASE
};

const READ_SLOW: Spec = Spec {
    flags: Flags::READONLY,
    acl: Acl::READ.or(Acl::HASH).or(Acl::SLOW),
    ..READ_FAST
};

/// May take more memory.
const WRITE_FAST: Spec = Spec {
    effect: Effect::Verbatim,
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    acl: Acl::WRITE.or(Acl::HASH).or(Acl::FAST),
    keys: RW_UPDATE,
    group: Group::Hash,
    since: "2.0.0",
    ..Spec::BASE
};

/// Does not count as taking memory.
const CHANGE_FAST: Spec = Spec {
    effect: Effect::Own,
    flags: Flags::WRITE.or(Flags::FAST),
    ..WRITE_FAST
};

const RO: &[KeySpec] = &[KeySpec::one(1, KeyFlags::RO)];
const RW_UPDATE: &[KeySpec] = &[KeySpec::one(1, KeyFlags::RW.or(KeyFlags::UPDATE))];
const RW_INSERT: &[KeySpec] = &[KeySpec::one(1, KeyFlags::RW.or(KeyFlags::INSERT))];
const RW_DELETE: &[KeySpec] = &[KeySpec::one(1, KeyFlags::RW.or(KeyFlags::DELETE))];
const RW_ACCESS_UPDATE: &[KeySpec] = &[KeySpec::one(
    1,
    KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE),
)];
const RW_ACCESS_DELETE: &[KeySpec] = &[KeySpec::one(
    1,
    KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE),
)];

const OF_ALL_FIELDS: &str = "O(N) where N is the size of the hash.";
const OF_NAMED_FIELDS: &str = "O(N) where N is the number of specified fields";

/// The commands of the group.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "hset",
        arity: -4,
        complexity: "O(1) for each field/value pair added, so O(N) to add N field/value pairs when the command is called with multiple field/value pairs.",
        summary: "Sets fields of a hash, which is made if it is missing.",
        syntax: "key field value [field value ...]",
        run: Run::Keyed(write::hset),
        ..WRITE_FAST
    },
    Spec {
        name: "hsetnx",
        arity: 4,
        keys: RW_INSERT,
        summary: "Sets a field of a hash unless it is there.",
        syntax: "key field value",
        effect: Effect::Own,
        run: Run::Keyed(write::hsetnx),
        ..WRITE_FAST
    },
    Spec {
        name: "hmset",
        deprecated: Some(Deprecated {
            since: "4.0.0",
            instead: "`HSET` with multiple field-value pairs",
        }),
        arity: -4,
        complexity: "O(N) where N is the number of fields being set.",
        summary: "Sets fields of a hash, as HSET does.",
        syntax: "key field value [field value ...]",
        run: Run::Keyed(write::hmset),
        ..WRITE_FAST
    },
    Spec {
        name: "hget",
        arity: 3,
        summary: "Returns the value of a field.",
        syntax: "key field",
        run: Run::Keyed(read::hget),
        ..READ_FAST
    },
    Spec {
        name: "hmget",
        arity: -3,
        complexity: "O(N) where N is the number of fields being requested.",
        summary: "Returns the values of fields.",
        syntax: "key field [field ...]",
        run: Run::Keyed(read::hmget),
        ..READ_FAST
    },
    Spec {
        name: "hgetall",
        arity: 2,
        complexity: OF_ALL_FIELDS,
        summary: "Returns all fields of a hash and their values.",
        syntax: "key",
        tips: &["nondeterministic_output_order"],
        run: Run::Keyed(read::hgetall),
        ..READ_SLOW
    },
    Spec {
        name: "hkeys",
        arity: 2,
        complexity: OF_ALL_FIELDS,
        summary: "Returns all fields of a hash.",
        syntax: "key",
        tips: &["nondeterministic_output_order"],
        run: Run::Keyed(read::hkeys),
        ..READ_SLOW
    },
    Spec {
        name: "hvals",
        arity: 2,
        complexity: OF_ALL_FIELDS,
        summary: "Returns all values of a hash.",
        syntax: "key",
        tips: &["nondeterministic_output_order"],
        run: Run::Keyed(read::hvals),
        ..READ_SLOW
    },
    Spec {
        name: "hlen",
        arity: 2,
        keys: RO,
        summary: "Returns the number of fields of a hash.",
        syntax: "key",
        run: Run::Keyed(read::hlen),
        ..READ_FAST
    },
    Spec {
        name: "hexists",
        arity: 3,
        keys: RO,
        summary: "Tells whether a hash has a field.",
        syntax: "key field",
        run: Run::Keyed(read::hexists),
        ..READ_FAST
    },
    Spec {
        name: "hstrlen",
        arity: 3,
        keys: RO,
        since: "3.2.0",
        summary: "Returns the length of a field's value.",
        syntax: "key field",
        run: Run::Keyed(read::hstrlen),
        ..READ_FAST
    },
    Spec {
        name: "hdel",
        arity: -3,
        keys: RW_DELETE,
        complexity: "O(N) where N is the number of fields to be removed.",
        summary: "Removes fields, and the key with the last one.",
        syntax: "key field [field ...]",
        run: Run::Keyed(write::hdel),
        ..CHANGE_FAST
    },
    Spec {
        name: "hincrby",
        arity: 4,
        keys: RW_ACCESS_UPDATE,
        summary: "Adds to the integer value of a field, 0 if it is missing.",
        syntax: "key field increment",
        effect: Effect::Own,
        run: Run::Keyed(write::hincrby),
        ..WRITE_FAST
    },
    Spec {
        name: "hincrbyfloat",
        arity: 4,
        keys: RW_ACCESS_UPDATE,
        since: "2.6.0",
        summary: "Adds to the floating-point value of a field, 0 if it is missing.",
        syntax: "key field increment",
        effect: Effect::Own,
        run: Run::Keyed(write::hincrbyfloat),
        ..WRITE_FAST
    },
    Spec {
        name: "hrandfield",
        arity: -2,
        since: "6.2.0",
        complexity: "O(N) where N is the number of fields returned",
        summary: "Returns fields drawn at random.",
        syntax: "key [count [WITHVALUES]]",
        tips: &["nondeterministic_output"],
        run: Run::Keyed(scan::hrandfield),
        ..READ_SLOW
    },
    Spec {
        name: "hscan",
        arity: -3,
        since: "2.8.0",
        complexity: "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection.",
        summary: "Goes through fields and values, a part at each call.",
        syntax: "key cursor [MATCH pattern] [COUNT count] [NOVALUES]",
        tips: &["nondeterministic_output"],
        run: Run::Keyed(scan::hscan),
        ..READ_SLOW
    },
    Spec {
        name: "hexpire",
        arity: -6,
        since: "7.4.0",
        complexity: OF_NAMED_FIELDS,
        summary: "Lets fields expire in so many seconds.",
        syntax: "key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        run: Run::Keyed(ttl::hexpire),
        ..CHANGE_FAST
    },
    Spec {
        name: "hpexpire",
        arity: -6,
        since: "7.4.0",
        complexity: OF_NAMED_FIELDS,
        summary: "Lets fields expire in so many milliseconds.",
        syntax: "key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        run: Run::Keyed(ttl::hpexpire),
        ..CHANGE_FAST
    },
    Spec {
        name: "hexpireat",
        arity: -6,
        since: "7.4.0",
        complexity: OF_NAMED_FIELDS,
        summary: "Lets fields expire at a time in seconds.",
        syntax: "key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        run: Run::Keyed(ttl::hexpireat),
        ..CHANGE_FAST
    },
    Spec {
        name: "hpexpireat",
        arity: -6,
        since: "7.4.0",
        complexity: OF_NAMED_FIELDS,
        summary: "Lets fields expire at a time in milliseconds.",
        syntax: "key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        run: Run::Keyed(ttl::hpexpireat),
        ..CHANGE_FAST
    },
    Spec {
        name: "httl",
        arity: -5,
        since: "7.4.0",
        complexity: OF_NAMED_FIELDS,
        summary: "Tells how many seconds fields have to live.",
        syntax: "key FIELDS numfields field [field ...]",
        tips: &["nondeterministic_output"],
        run: Run::Keyed(ttl::httl),
        ..READ_FAST
    },
    Spec {
        name: "hpttl",
        arity: -5,
        since: "7.4.0",
        complexity: OF_NAMED_FIELDS,
        summary: "Tells how many milliseconds fields have to live.",
        syntax: "key FIELDS numfields field [field ...]",
        tips: &["nondeterministic_output"],
        run: Run::Keyed(ttl::hpttl),
        ..READ_FAST
    },
    Spec {
        name: "hexpiretime",
        arity: -5,
        since: "7.4.0",
        complexity: OF_NAMED_FIELDS,
        summary: "Tells when fields expire, in seconds.",
        syntax: "key FIELDS numfields field [field ...]",
        run: Run::Keyed(ttl::hexpiretime),
        ..READ_FAST
    },
    Spec {
        name: "hpexpiretime",
        arity: -5,
        since: "7.4.0",
        complexity: OF_NAMED_FIELDS,
        summary: "Tells when fields expire, in milliseconds.",
        syntax: "key FIELDS numfields field [field ...]",
        run: Run::Keyed(ttl::hpexpiretime),
        ..READ_FAST
    },
    Spec {
        name: "hpersist",
        arity: -5,
        since: "7.4.0",
        complexity: OF_NAMED_FIELDS,
        summary: "Lets fields live forever.",
        syntax: "key FIELDS numfields field [field ...]",
        run: Run::Keyed(ttl::hpersist),
        ..CHANGE_FAST
    },
    Spec {
        name: "hgetex",
        arity: -5,
        keys: RW_ACCESS_UPDATE,
        since: "8.0.0",
        complexity: OF_NAMED_FIELDS,
        summary: "Returns the values of fields, and sets or clears their expiry.",
        syntax: "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] FIELDS numfields field [field ...]",
        run: Run::Keyed(extended::hgetex),
        ..CHANGE_FAST
    },
    Spec {
        name: "hsetex",
        arity: -6,
        since: "8.0.0",
        complexity: "O(N) where N is the number of fields being set.",
        summary: "Sets fields and their expiry, if none or all of them are there as is asked for.",
        syntax: "key [NX | XX] [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL] FIELDS numfields field value [field value ...]",
        effect: Effect::Own,
        run: Run::Keyed(extended::hsetex),
        ..WRITE_FAST
    },
    Spec {
        name: "hgetdel",
        arity: -5,
        keys: RW_ACCESS_DELETE,
        since: "8.0.0",
        complexity: OF_NAMED_FIELDS,
        summary: "Returns the values of fields and removes them.",
        syntax: "key FIELDS numfields field [field ...]",
        run: Run::Keyed(extended::hgetdel),
        ..CHANGE_FAST
    },
];

#[cfg(test)]
mod tests;
