//! Strings: the table of the group's commands. GET, SET, INCR, MGET and MSET are the hottest code
//! of the server: one probe of the table for each key, no allocation, options looked at only where
//! there are any.
mod delete;
mod lcs;
mod many;
mod number;
mod options;
mod read;
mod write;

use super::spec::{
    Acl, Begin, Deprecated, Effect, Find, Flags, Group, KeyFlags, KeySpec, Run, Spec,
};

const READ_FAST: Spec = Spec {
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Acl::READ.or(Acl::STRING).or(Acl::FAST),
    keys: &[KeySpec::one(1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    group: Group::String,
    ..Spec::BASE
};

const READ_SLOW: Spec = Spec {
    flags: Flags::READONLY,
    acl: Acl::READ.or(Acl::STRING).or(Acl::SLOW),
    ..READ_FAST
};

/// Reads and changes its key in constant time.
const UPDATE_FAST: Spec = Spec {
    effect: Effect::Verbatim,
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    acl: Acl::WRITE.or(Acl::STRING).or(Acl::FAST),
    keys: &[KeySpec::one(
        1,
        KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE),
    )],
    group: Group::String,
    ..Spec::BASE
};

/// Overwrites its key.
const WRITE_SLOW: Spec = Spec {
    effect: Effect::Own,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Acl::WRITE.or(Acl::STRING).or(Acl::SLOW),
    keys: &[KeySpec::one(1, KeyFlags::OW.or(KeyFlags::UPDATE))],
    group: Group::String,
    ..Spec::BASE
};

const WRITE_MANY: Spec = Spec {
    arity: -3,
    keys: &[KeySpec::range(1, -1, 2, KeyFlags::OW.or(KeyFlags::UPDATE))],
    since: "1.0.1",
    complexity: "O(N) where N is the number of keys to set.",
    ..WRITE_SLOW
};

const RANGE_COMPLEXITY: &str = "O(N) where N is the length of the returned string.";

/// The commands of the group.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "get",
        arity: 2,
        summary: "Returns the string value of a key.",
        syntax: "key",
        run: Run::Keyed(read::get),
        ..READ_FAST
    },
    Spec {
        name: "set",
        arity: -3,
        keys: &[KeySpec::one(
            1,
            KeyFlags::RW
                .or(KeyFlags::ACCESS)
                .or(KeyFlags::UPDATE)
                .or(KeyFlags::VARIABLE_FLAGS),
        )],
        summary: "Sets the string value of a key, whatever its type was, and creates it if missing.",
        history: &[
            ("2.6.12", "`EX`, `PX`, `NX` and `XX`."),
            ("6.0.0", "`KEEPTTL`."),
            ("6.2.0", "`GET`, `EXAT` and `PXAT`."),
            ("7.0.0", "`NX` and `GET` together."),
            ("8.1.0", "`IFEQ`."),
            ("8.4.0", "`IFNE`, `IFDEQ` and `IFDNE`."),
        ],
        key_notes: &["RW and ACCESS due to the optional `GET` argument"],
        key_flags: Some(options::key_flags),
        syntax: "key value [NX | XX | IFEQ ifeq-value | IFNE ifne-value | IFDEQ ifdeq-digest | IFDNE ifdne-digest]#condition [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]#expiration",
        run: Run::Keyed(write::set),
        ..WRITE_SLOW
    },
    Spec {
        name: "setnx",
        arity: 3,
        keys: &[KeySpec::one(1, KeyFlags::OW.or(KeyFlags::INSERT))],
        summary: "Sets the string value of a key that does not exist.",
        syntax: "key value",
        effect: Effect::Own,
        run: Run::Keyed(write::setnx),
        ..UPDATE_FAST
    },
    Spec {
        name: "setex",
        arity: 4,
        since: "2.0.0",
        summary: "Sets the string value of a key and its time to live in seconds.",
        syntax: "key seconds value",
        run: Run::Keyed(write::setex),
        ..WRITE_SLOW
    },
    Spec {
        name: "psetex",
        arity: 4,
        since: "2.6.0",
        summary: "Sets the string value of a key and its time to live in milliseconds.",
        syntax: "key milliseconds value",
        run: Run::Keyed(write::psetex),
        ..WRITE_SLOW
    },
    Spec {
        name: "getset",
        arity: 3,
        summary: "Sets the string value of a key and returns the one it had.",
        deprecated: Some(Deprecated {
            since: "6.2.0",
            instead: "`SET` with the `!GET` argument",
        }),
        syntax: "key value",
        effect: Effect::Own,
        run: Run::Keyed(write::getset),
        ..UPDATE_FAST
    },
    Spec {
        name: "getdel",
        arity: 2,
        flags: Flags::WRITE.or(Flags::FAST),
        keys: &[KeySpec::one(
            1,
            KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE),
        )],
        since: "6.2.0",
        summary: "Returns the string value of a key and deletes the key.",
        syntax: "key",
        effect: Effect::Own,
        run: Run::Keyed(delete::getdel),
        ..UPDATE_FAST
    },
    Spec {
        name: "getex",
        arity: -2,
        flags: Flags::WRITE.or(Flags::FAST),
        since: "6.2.0",
        summary: "Returns the string value of a key and sets or removes its expiry.",
        key_notes: &["RW and UPDATE because it changes the TTL"],
        syntax: "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]#expiration",
        effect: Effect::Own,
        run: Run::Keyed(write::getex),
        ..UPDATE_FAST
    },
    Spec {
        name: "getrange",
        arity: 4,
        since: "2.4.0",
        complexity: RANGE_COMPLEXITY,
        summary: "Returns a part of the string of a key.",
        syntax: "key start end",
        run: Run::Keyed(read::getrange),
        ..READ_SLOW
    },
    Spec {
        name: "substr",
        arity: 4,
        complexity: RANGE_COMPLEXITY,
        summary: "Returns a part of the string of a key; the old name of GETRANGE.",
        deprecated: Some(Deprecated {
            since: "2.0.0",
            instead: "`GETRANGE`",
        }),
        syntax: "key start end",
        run: Run::Keyed(read::getrange),
        ..READ_SLOW
    },
    Spec {
        name: "strlen",
        arity: 2,
        keys: &[KeySpec::one(1, KeyFlags::RO)],
        since: "2.2.0",
        summary: "Returns the length of the string of a key.",
        syntax: "key",
        run: Run::Keyed(read::strlen),
        ..READ_FAST
    },
    Spec {
        name: "digest",
        arity: 2,
        since: "8.4.0",
        complexity: "O(N) where N is the length of the string value.",
        summary: "Returns the XXH3 hash of the string of a key, in hexadecimal.",
        syntax: "key",
        run: Run::Keyed(read::digest),
        ..READ_FAST
    },
    Spec {
        name: "setrange",
        arity: 4,
        keys: &[KeySpec::one(1, KeyFlags::RW.or(KeyFlags::UPDATE))],
        since: "2.2.0",
        complexity: "O(1), not counting the copy of the new part: O(M) where M is its length.",
        summary: "Overwrites a part of the string of a key; creates the key if missing.",
        syntax: "key offset value",
        effect: Effect::Verbatim,
        run: Run::Keyed(write::setrange),
        ..WRITE_SLOW
    },
    Spec {
        name: "append",
        arity: 3,
        keys: &[KeySpec::one(1, KeyFlags::RW.or(KeyFlags::INSERT))],
        since: "2.0.0",
        complexity: "O(1), amortized for short appended values.",
        summary: "Appends to the string of a key; creates the key if missing.",
        syntax: "key value",
        effect: Effect::Own,
        run: Run::Keyed(write::append),
        ..UPDATE_FAST
    },
    Spec {
        name: "incr",
        arity: 2,
        summary: "Adds one to the integer of a key; a missing key counts as 0.",
        syntax: "key",
        run: Run::Keyed(number::incr),
        ..UPDATE_FAST
    },
    Spec {
        name: "decr",
        arity: 2,
        summary: "Subtracts one from the integer of a key; a missing key counts as 0.",
        syntax: "key",
        run: Run::Keyed(number::decr),
        ..UPDATE_FAST
    },
    Spec {
        name: "incrby",
        arity: 3,
        summary: "Adds to the integer of a key; a missing key counts as 0.",
        syntax: "key increment:integer",
        run: Run::Keyed(number::incrby),
        ..UPDATE_FAST
    },
    Spec {
        name: "decrby",
        arity: 3,
        summary: "Subtracts from the integer of a key; a missing key counts as 0.",
        syntax: "key decrement",
        run: Run::Keyed(number::decrby),
        ..UPDATE_FAST
    },
    Spec {
        name: "incrbyfloat",
        arity: 3,
        since: "2.6.0",
        summary: "Adds to the floating point number of a key; a missing key counts as 0.",
        syntax: "key increment:double",
        effect: Effect::Own,
        run: Run::Keyed(number::incrbyfloat),
        ..UPDATE_FAST
    },
    Spec {
        name: "mget",
        arity: -2,
        keys: &[KeySpec::range(1, -1, 1, KeyFlags::RO.or(KeyFlags::ACCESS))],
        complexity: "O(N) where N is the number of keys to retrieve.",
        summary: "Returns the string values of several keys.",
        syntax: "key [key ...]",
        tips: &["request_policy:multi_shard"],
        run: Run::Keyed(many::mget),
        ..READ_FAST
    },
    Spec {
        name: "mset",
        summary: "Sets the string values of several keys in one step.",
        syntax: "key value [key value ...]",
        tips: &[
            "request_policy:multi_shard",
            "response_policy:all_succeeded",
        ],
        run: Run::Keyed(many::mset),
        ..WRITE_MANY
    },
    Spec {
        name: "msetnx",
        keys: &[KeySpec::range(1, -1, 2, KeyFlags::OW.or(KeyFlags::INSERT))],
        summary: "Sets the string values of several keys if none of them exists.",
        syntax: "key value [key value ...]",
        tips: &["request_policy:multi_shard", "response_policy:agg_min"],
        run: Run::Keyed(many::msetnx),
        ..WRITE_MANY
    },
    Spec {
        name: "msetex",
        arity: -4,
        flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS),
        keys: &[KeySpec {
            flags: KeyFlags::OW.or(KeyFlags::UPDATE),
            begin: Begin::Index(1),
            find: Find::KeyNum {
                at: 0,
                first: 1,
                step: 2,
            },
        }],
        since: "8.4.0",
        summary: "Sets the string values of several keys in one step, with one expiry for all.",
        syntax: "numkeys key value [key value ...] [NX | XX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]#expiration",
        tips: &[
            "request_policy:multi_shard",
            "response_policy:all_succeeded",
        ],
        run: Run::Keyed(many::msetex),
        ..WRITE_MANY
    },
    Spec {
        name: "lcs",
        arity: -3,
        keys: &[KeySpec::range(1, 1, 1, KeyFlags::RO.or(KeyFlags::ACCESS))],
        since: "7.0.0",
        complexity: "O(N*M) where N and M are the lengths of the strings.",
        summary: "Finds the longest common subsequence of two strings.",
        syntax: "key1 key2 [LEN] [IDX] [MINMATCHLEN len] [WITHMATCHLEN]",
        run: Run::Keyed(lcs::lcs),
        ..READ_SLOW
    },
    Spec {
        name: "delifeq",
        arity: 3,
        flags: Flags::WRITE,
        keys: &[KeySpec::one(
            1,
            KeyFlags::RM.or(KeyFlags::ACCESS).or(KeyFlags::DELETE),
        )],
        since: "9.0.0",
        summary: "Deletes a key if its string is equal to a value.",
        syntax: "key value",
        run: Run::Keyed(delete::delifeq),
        ..WRITE_SLOW
    },
    Spec {
        name: "delex",
        arity: -2,
        flags: Flags::WRITE.or(Flags::FAST),
        keys: &[KeySpec::one(
            1,
            KeyFlags::RW
                .or(KeyFlags::DELETE)
                .or(KeyFlags::VARIABLE_FLAGS),
        )],
        since: "8.4.0",
        complexity: "O(1) for IFEQ and IFNE, O(N) for IFDEQ and IFDNE where N is the length of the string value.",
        summary: "Deletes a key, on a condition on its string if one is given.",
        syntax: "key [IFEQ ifeq-value | IFNE ifne-value | IFDEQ ifdeq-digest | IFDNE ifdne-digest]",
        effect: Effect::Own,
        run: Run::Keyed(delete::delex),
        ..UPDATE_FAST
    },
];

#[cfg(test)]
mod tests;
