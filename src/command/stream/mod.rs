//! Streams: the table of the group's commands. Entries are read straight from their blocks into the
//! reply; appending allocates nothing but room in the last block.
mod access;
mod add;
mod claim;
mod delete;
mod effect;
mod group;
mod ids;
mod info;
mod pending;
mod range;
mod read;
mod reply;

use super::spec::{Acl, Begin, Effect, Find, Flags, Group, KeyFlags, KeySpec, Run, Spec};

const READ_FAST: Spec = Spec {
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Acl::READ.or(Acl::STREAM).or(Acl::FAST),
    keys: &[KeySpec::one(1, KeyFlags::RO)],
    group: Group::Stream,
    since: "5.0.0",
    ..Spec::BASE
};

const READ_SLOW: Spec = Spec {
    flags: Flags::READONLY,
    acl: Acl::READ.or(Acl::STREAM).or(Acl::SLOW),
    keys: &[KeySpec::one(1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    ..READ_FAST
};

/// Changes its key and needs no memory for it.
const UPDATE_FAST: Spec = Spec {
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Acl::WRITE.or(Acl::STREAM).or(Acl::FAST),
    keys: &[KeySpec::one(1, KeyFlags::RW.or(KeyFlags::UPDATE))],
    ..READ_FAST
};

const DELETE_FAST: Spec = Spec {
    keys: &[KeySpec::one(1, KeyFlags::RW.or(KeyFlags::DELETE))],
    ..UPDATE_FAST
};

/// A subcommand of XGROUP.
const GROUP_SUB: Spec = Spec {
    flags: Flags::WRITE,
    acl: Acl::WRITE.or(Acl::STREAM).or(Acl::SLOW),
    ..READ_FAST
};

/// A subcommand of XINFO.
const INFO_SUB: Spec = Spec {
    keys: &[KeySpec::one(2, KeyFlags::RO.or(KeyFlags::ACCESS))],
    ..READ_SLOW
};

const HELP: Spec = Spec {
    name: "help",
    arity: 2,
    flags: Flags::LOADING.or(Flags::STALE),
    acl: Acl::STREAM.or(Acl::SLOW),
    group: Group::Stream,
    since: "5.0.0",
    summary: "Explains the subcommands.",
    ..Spec::BASE
};

/// The keys behind STREAMS, the first half of what stands there.
const fn streams(from: i16) -> KeySpec {
    KeySpec {
        flags: KeyFlags::RO.or(KeyFlags::ACCESS),
        begin: Begin::Keyword("STREAMS", from),
        find: Find::Range {
            last: -1,
            step: 1,
            limit: 2,
        },
    }
}

const TIPS: &[&str] = &["nondeterministic_output"];
const RANGE_COMPLEXITY: &str = "O(N) with N being the number of elements being returned. If N is constant (e.g. always asking for the first 10 elements with COUNT), you can consider it O(1).";
const EACH: &str = "O(1) for each ID.";

/// The commands of the group.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "xadd",
        arity: -5,
        flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
        complexity: "O(1) when adding a new entry, O(N) when trimming where N being the number of entries evicted.",
        summary: "Appends an entry to a stream; creates the key if missing.",
        syntax: "key [NOMKSTREAM] [KEEPREF | DELREF | ACKED] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field value [field value ...]",
        tips: TIPS,
        history: &[
            ("6.2.0", "`NOMKSTREAM`, `MINID` and `LIMIT`."),
            ("7.0.0", "IDs of the form `<ms>-*`."),
            ("8.2.0", "`KEEPREF`, `DELREF` and `ACKED`."),
        ],
        key_notes: &["UPDATE instead of INSERT because of the optional trimming feature"],
        effect: Effect::Own,
        run: Run::Keyed(add::xadd),
        ..UPDATE_FAST
    },
    Spec {
        name: "xtrim",
        arity: -4,
        flags: Flags::WRITE,
        acl: Acl::WRITE.or(Acl::STREAM).or(Acl::SLOW),
        complexity: "O(N), with N being the number of evicted entries. Whole blocks of entries go in one step.",
        summary: "Deletes entries from the start of a stream.",
        syntax: "key <MAXLEN | MINID> [= | ~] threshold [LIMIT count] [KEEPREF | DELREF | ACKED]",
        tips: TIPS,
        history: &[
            ("6.2.0", "`MINID` and `LIMIT`."),
            ("8.2.0", "`KEEPREF`, `DELREF` and `ACKED`."),
        ],
        effect: Effect::Own,
        run: Run::Keyed(add::xtrim),
        ..DELETE_FAST
    },
    Spec {
        name: "xsetid",
        arity: -3,
        flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
        summary: "Sets what a stream remembers of its last entry; for replication.",
        syntax: "key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]",
        history: &[("7.0.0", "`ENTRIESADDED` and `MAXDELETEDID`.")],
        effect: Effect::Verbatim,
        run: Run::Keyed(add::xsetid),
        ..UPDATE_FAST
    },
    Spec {
        name: "xlen",
        arity: 2,
        summary: "Returns the number of entries of a stream.",
        syntax: "key",
        run: Run::Keyed(range::xlen),
        ..READ_FAST
    },
    Spec {
        name: "xrange",
        arity: -4,
        complexity: RANGE_COMPLEXITY,
        summary: "Returns the entries of a stream from one ID to another.",
        syntax: "key start end [COUNT count]",
        history: &[("6.2.0", "Ranges that exclude an end.")],
        run: Run::Keyed(range::xrange),
        ..READ_SLOW
    },
    Spec {
        name: "xrevrange",
        arity: -4,
        complexity: RANGE_COMPLEXITY,
        summary: "Returns the entries of a stream from one ID to another, the last one first.",
        syntax: "key end start [COUNT count]",
        history: &[("6.2.0", "Ranges that exclude an end.")],
        run: Run::Keyed(range::xrevrange),
        ..READ_SLOW
    },
    Spec {
        name: "xread",
        arity: -4,
        flags: Flags::READONLY.or(Flags::BLOCKING).or(Flags::MOVABLEKEYS),
        acl: Acl::READ.or(Acl::STREAM).or(Acl::SLOW).or(Acl::BLOCKING),
        keys: &[streams(1)],
        complexity: RANGE_COMPLEXITY,
        summary: "Returns the entries of several streams behind the given IDs. Blocks until there are any, if told so.",
        syntax: "[COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]",
        history: &[("7.4.0", "`+` for the last entry.")],
        run: Run::Keyed(read::xread),
        ..READ_SLOW
    },
    Spec {
        name: "xreadgroup",
        arity: -7,
        flags: Flags::WRITE.or(Flags::BLOCKING).or(Flags::MOVABLEKEYS),
        acl: Acl::WRITE.or(Acl::STREAM).or(Acl::SLOW).or(Acl::BLOCKING),
        keys: &[streams(4)],
        complexity: RANGE_COMPLEXITY,
        summary: "Returns new entries of several streams to a consumer of a group, or those that it has not acknowledged. Blocks until there are any, if told so.",
        syntax: "GROUP group consumer [COUNT count] [BLOCK milliseconds] [CLAIM min-idle-time] [NOACK] STREAMS key [key ...] id [id ...]",
        history: &[("8.4.0", "`CLAIM`.")],
        effect: Effect::Own,
        run: Run::Keyed(read::xreadgroup),
        ..READ_SLOW
    },
    Spec {
        name: "xdel",
        arity: -3,
        complexity: EACH,
        summary: "Deletes entries of a stream and returns how many.",
        syntax: "key id [id ...]",
        effect: Effect::Verbatim,
        run: Run::Keyed(delete::xdel),
        ..DELETE_FAST
    },
    Spec {
        name: "xdelex",
        arity: -5,
        since: "8.2.0",
        complexity: EACH,
        summary: "Deletes entries of a stream, with a say in what becomes of groups' references to them.",
        syntax: "key [KEEPREF | DELREF | ACKED] IDS numids id [id ...]",
        effect: Effect::Verbatim,
        run: Run::Keyed(delete::xdelex),
        ..DELETE_FAST
    },
    Spec {
        name: "xackdel",
        arity: -6,
        keys: &[KeySpec::one(
            1,
            KeyFlags::RW.or(KeyFlags::UPDATE).or(KeyFlags::DELETE),
        )],
        since: "8.2.0",
        complexity: EACH,
        summary: "Acknowledges entries for a group and deletes them, with a say in what becomes of other groups' references.",
        syntax: "key group [KEEPREF | DELREF | ACKED] IDS numids id [id ...]",
        effect: Effect::Verbatim,
        run: Run::Keyed(delete::xackdel),
        ..DELETE_FAST
    },
    Spec {
        name: "xack",
        arity: -4,
        complexity: EACH,
        summary: "Acknowledges entries for a group: they are no longer pending.",
        syntax: "key group id [id ...]",
        effect: Effect::Verbatim,
        run: Run::Keyed(pending::xack),
        ..UPDATE_FAST
    },
    Spec {
        name: "xpending",
        arity: -3,
        complexity: "O(N) with N being the number of elements returned, O(M) with M being the number of entries scanned with IDLE; the summary takes a step for each consumer.",
        summary: "Tells what a group has got and not acknowledged.",
        syntax: "key group [[IDLE min-idle-time] start end count [consumer]]",
        tips: TIPS,
        history: &[("6.2.0", "`IDLE`, and ranges that exclude an end.")],
        run: Run::Keyed(pending::xpending),
        ..READ_SLOW
    },
    Spec {
        name: "xclaim",
        arity: -6,
        complexity: "O(log N) with N being the number of pending entries of the group.",
        summary: "Makes a consumer the owner of pending entries.",
        syntax: "key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds] [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]",
        tips: TIPS,
        effect: Effect::Own,
        run: Run::Keyed(claim::xclaim),
        ..UPDATE_FAST
    },
    Spec {
        name: "xautoclaim",
        arity: -6,
        since: "6.2.0",
        complexity: "O(1) if COUNT is small.",
        summary: "Makes a consumer the owner of entries that were pending for long.",
        syntax: "key group consumer min-idle-time start [COUNT count] [JUSTID]",
        tips: TIPS,
        history: &[(
            "7.0.0",
            "Replies the IDs of deleted entries that were pending, too.",
        )],
        effect: Effect::Own,
        run: Run::Keyed(claim::xautoclaim),
        ..DELETE_FAST
    },
    Spec {
        name: "xgroup",
        arity: -2,
        acl: Acl::SLOW,
        group: Group::Stream,
        since: "5.0.0",
        complexity: "Depends on the subcommand.",
        summary: "Makes, changes and removes consumer groups.",
        subcommands: XGROUP,
        ..Spec::BASE
    },
    Spec {
        name: "xinfo",
        arity: -2,
        acl: Acl::SLOW,
        group: Group::Stream,
        since: "5.0.0",
        complexity: "Depends on the subcommand.",
        summary: "Tells about streams, groups and consumers.",
        subcommands: XINFO,
        ..Spec::BASE
    },
];

const XGROUP: &[Spec] = &[
    Spec {
        name: "create",
        arity: -5,
        flags: Flags::WRITE.or(Flags::DENYOOM),
        keys: &[KeySpec::one(2, KeyFlags::RW.or(KeyFlags::INSERT))],
        summary: "Makes a group.",
        syntax: "key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]",
        history: &[("7.0.0", "`ENTRIESREAD`.")],
        effect: Effect::Verbatim,
        run: Run::Keyed(group::create),
        ..GROUP_SUB
    },
    Spec {
        name: "createconsumer",
        arity: 5,
        flags: Flags::WRITE.or(Flags::DENYOOM),
        keys: &[KeySpec::one(2, KeyFlags::RW.or(KeyFlags::INSERT))],
        since: "6.2.0",
        summary: "Makes a consumer in a group.",
        syntax: "key group consumer",
        effect: Effect::Verbatim,
        run: Run::Keyed(group::create_consumer),
        ..GROUP_SUB
    },
    Spec {
        name: "delconsumer",
        arity: 5,
        keys: &[KeySpec::one(2, KeyFlags::RW.or(KeyFlags::DELETE))],
        summary: "Removes a consumer, and what is pending of it, from a group.",
        syntax: "key group consumer",
        effect: Effect::Verbatim,
        run: Run::Keyed(group::delete_consumer),
        ..GROUP_SUB
    },
    Spec {
        name: "destroy",
        arity: 4,
        keys: &[KeySpec::one(2, KeyFlags::RW.or(KeyFlags::DELETE))],
        complexity: "O(N) where N is the number of pending entries of the group.",
        summary: "Removes a group.",
        syntax: "key group",
        effect: Effect::Verbatim,
        run: Run::Keyed(group::destroy),
        ..GROUP_SUB
    },
    Spec {
        run: Run::Keyed(group::help),
        ..HELP
    },
    Spec {
        name: "setid",
        arity: -5,
        keys: &[KeySpec::one(2, KeyFlags::RW.or(KeyFlags::UPDATE))],
        summary: "Sets the last entry that counts as delivered to a group.",
        syntax: "key group <id | $> [ENTRIESREAD entries-read]",
        history: &[("7.0.0", "`ENTRIESREAD`.")],
        effect: Effect::Verbatim,
        run: Run::Keyed(group::setid),
        ..GROUP_SUB
    },
];

const XINFO: &[Spec] = &[
    Spec {
        name: "consumers",
        arity: 4,
        summary: "Lists the consumers of a group.",
        syntax: "key group",
        tips: TIPS,
        history: &[("7.2.0", "`inactive` in the reply.")],
        run: Run::Keyed(info::consumers),
        ..INFO_SUB
    },
    Spec {
        name: "groups",
        arity: 3,
        summary: "Lists the groups of a stream.",
        syntax: "key",
        history: &[("7.0.0", "`entries-read` and `lag` in the reply.")],
        run: Run::Keyed(info::groups),
        ..INFO_SUB
    },
    Spec {
        run: Run::Keyed(info::help),
        ..HELP
    },
    Spec {
        name: "stream",
        arity: -3,
        summary: "Tells about a stream, with FULL about its groups and consumers, too.",
        syntax: "key [FULL [COUNT count]]",
        history: &[
            ("6.0.0", "`FULL`."),
            (
                "7.0.0",
                "`max-deleted-entry-id`, `entries-added`, `recorded-first-entry-id`, `entries-read` and `lag` in the reply.",
            ),
            ("7.2.0", "`active-time` in the reply."),
        ],
        run: Run::Keyed(info::stream),
        ..INFO_SUB
    },
];

#[cfg(test)]
mod tests;
