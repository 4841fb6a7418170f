//! Sorted sets: members with scores, in order.
//!
//! `view` is what the commands see of both forms of a sorted set ([`crate::types::zset`]).
mod add;
mod combine;
mod pop;
mod range;
mod read;
pub(crate) mod view;

pub(in crate::command) use add::{Rule, add_scored};
pub(in crate::command) use view::{Builder, View, read};

use super::spec::{
    Acl, Begin, Deprecated, Effect, Find, Flags, Group, KeyFlags, KeySpec, Run, Spec,
};

const READ: Spec = Spec {
    flags: Flags::READONLY,
    acl: Acl::READ.or(Acl::SORTEDSET).or(Acl::SLOW),
    keys: &[KeySpec::one(1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    group: Group::SortedSet,
    ..Spec::BASE
};

const READ_FAST: Spec = Spec {
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Acl::READ.or(Acl::SORTEDSET).or(Acl::FAST),
    ..READ
};

const ADD: Spec = Spec {
    effect: Effect::Verbatim,
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    acl: Acl::WRITE.or(Acl::SORTEDSET).or(Acl::FAST),
    keys: &[KeySpec::one(1, KeyFlags::RW.or(KeyFlags::UPDATE))],
    ..READ
};

const STORE: Spec = Spec {
    effect: Effect::Keys,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Acl::WRITE.or(Acl::SORTEDSET).or(Acl::SLOW),
    ..READ
};

const REMOVE: Spec = Spec {
    effect: Effect::Verbatim,
    flags: Flags::WRITE,
    acl: Acl::WRITE.or(Acl::SORTEDSET).or(Acl::SLOW),
    keys: &[KeySpec::one(1, KeyFlags::RW.or(KeyFlags::DELETE))],
    ..READ
};

const REMOVE_FAST: Spec = Spec {
    effect: Effect::Verbatim,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Acl::WRITE.or(Acl::SORTEDSET).or(Acl::FAST),
    ..REMOVE
};

/// What is taken is returned, too.
const TAKEN: KeyFlags = KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE);

const POP: Spec = Spec {
    effect: Effect::Verbatim,
    keys: &[KeySpec::one(1, TAKEN)],
    ..REMOVE_FAST
};

/// A number of keys at an index, and the keys behind it.
const fn counted(index: u16, flags: KeyFlags) -> KeySpec {
    KeySpec {
        flags,
        begin: Begin::Index(index),
        find: Find::KeyNum {
            at: 0,
            first: 1,
            step: 1,
        },
    }
}

const MPOP: Spec = Spec {
    effect: Effect::Own,
    flags: Flags::WRITE.or(Flags::MOVABLEKEYS),
    keys: &[counted(1, TAKEN)],
    ..REMOVE
};

const BLOCKING_POP: Spec = Spec {
    effect: Effect::Own,
    flags: Flags::WRITE
        .or(Flags::NOSCRIPT)
        .or(Flags::FAST)
        .or(Flags::BLOCKING),
    acl: Acl::WRITE
        .or(Acl::SORTEDSET)
        .or(Acl::FAST)
        .or(Acl::BLOCKING),
    keys: &[KeySpec::range(1, -2, 1, TAKEN)],
    ..REMOVE
};

const COMBINE: Spec = Spec {
    flags: Flags::READONLY.or(Flags::MOVABLEKEYS),
    keys: &[counted(1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    ..READ
};

const COMBINE_STORE: Spec = Spec {
    effect: Effect::Keys,
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS),
    keys: &[
        KeySpec::one(1, KeyFlags::OW.or(KeyFlags::UPDATE)),
        counted(2, KeyFlags::RO.or(KeyFlags::ACCESS)),
    ],
    ..STORE
};

/// The commands of the group.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "zadd",
        arity: -4,
        since: "1.2.0",
        complexity: "O(log(N)) for each element, where N is the number of elements.",
        summary: "Adds members to a sorted set, or changes their scores.",
        syntax: "key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]",
        run: Run::Keyed(add::zadd),
        ..ADD
    },
    Spec {
        name: "zincrby",
        arity: 4,
        keys: &[KeySpec::one(
            1,
            KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE),
        )],
        since: "1.2.0",
        complexity: "O(log(N)) where N is the number of elements.",
        summary: "Adds to the score of a member.",
        syntax: "key increment member",
        run: Run::Keyed(add::zincrby),
        ..ADD
    },
    Spec {
        name: "zrem",
        arity: -3,
        since: "1.2.0",
        complexity: "O(M*log(N)) for M members of N.",
        summary: "Removes members from a sorted set; the last one takes the key with it.",
        syntax: "key member [member ...]",
        run: Run::Keyed(add::zrem),
        ..REMOVE_FAST
    },
    Spec {
        name: "zscore",
        arity: 3,
        since: "1.2.0",
        complexity: "O(1)",
        summary: "Returns the score of a member.",
        syntax: "key member",
        run: Run::Keyed(read::zscore),
        ..READ_FAST
    },
    Spec {
        name: "zmscore",
        arity: -3,
        since: "6.2.0",
        complexity: "O(N) where N is the number of members asked for.",
        summary: "Returns the scores of several members.",
        syntax: "key member [member ...]",
        run: Run::Keyed(read::zmscore),
        ..READ_FAST
    },
    Spec {
        name: "zcard",
        arity: 2,
        keys: &[KeySpec::one(1, KeyFlags::RO)],
        since: "1.2.0",
        complexity: "O(1)",
        summary: "Returns the number of elements of a sorted set.",
        syntax: "key",
        run: Run::Keyed(read::zcard),
        ..READ_FAST
    },
    Spec {
        name: "zcount",
        arity: 4,
        since: "2.0.0",
        complexity: "O(log(N)) where N is the number of elements.",
        summary: "Counts the elements with scores within a range.",
        syntax: "key min max",
        run: Run::Keyed(range::zcount),
        ..READ_FAST
    },
    Spec {
        name: "zlexcount",
        arity: 4,
        since: "2.8.9",
        complexity: "O(log(N)) where N is the number of elements.",
        summary: "Counts the elements with members within a range.",
        syntax: "key min max",
        run: Run::Keyed(range::zlexcount),
        ..READ_FAST
    },
    Spec {
        name: "zrank",
        arity: -3,
        since: "2.0.0",
        complexity: "O(log(N)) where N is the number of elements.",
        summary: "Returns how many elements are in front of a member.",
        syntax: "key member [WITHSCORE]",
        run: Run::Keyed(read::zrank),
        ..READ_FAST
    },
    Spec {
        name: "zrevrank",
        arity: -3,
        since: "2.0.0",
        complexity: "O(log(N)) where N is the number of elements.",
        summary: "Returns how many elements are behind a member.",
        syntax: "key member [WITHSCORE]",
        run: Run::Keyed(read::zrevrank),
        ..READ_FAST
    },
    Spec {
        name: "zrange",
        arity: -4,
        since: "1.2.0",
        complexity: "O(log(N)+M) where N is the number of elements and M that of those returned.",
        summary: "Returns a range of elements, by rank, score or member.",
        syntax: "key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
        run: Run::Keyed(range::zrange),
        ..READ
    },
    Spec {
        name: "zrangestore",
        arity: -5,
        keys: &[
            KeySpec::one(1, KeyFlags::OW.or(KeyFlags::UPDATE)),
            KeySpec::one(2, KeyFlags::RO.or(KeyFlags::ACCESS)),
        ],
        since: "6.2.0",
        complexity: "O(log(N)+M) where N is the number of elements and M that of those stored.",
        summary: "Stores a range of a sorted set under another key.",
        syntax: "dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
        run: Run::Keyed(range::zrangestore),
        ..STORE
    },
    Spec {
        name: "zrevrange",
        deprecated: Some(Deprecated {
            since: "6.2.0",
            instead: "`ZRANGE` with the `REV` argument",
        }),
        arity: -4,
        since: "1.2.0",
        complexity: "O(log(N)+M) where N is the number of elements and M that of those returned.",
        summary: "Returns a range of elements by rank, highest first.",
        syntax: "key start stop [WITHSCORES]",
        run: Run::Keyed(range::zrevrange),
        ..READ
    },
    Spec {
        name: "zrangebyscore",
        deprecated: Some(Deprecated {
            since: "6.2.0",
            instead: "`ZRANGE` with the `BYSCORE` argument",
        }),
        arity: -4,
        since: "1.0.5",
        complexity: "O(log(N)+M) where N is the number of elements and M that of those returned.",
        summary: "Returns the elements with scores within a range.",
        syntax: "key min max [WITHSCORES] [LIMIT offset count]",
        run: Run::Keyed(range::zrangebyscore),
        ..READ
    },
    Spec {
        name: "zrevrangebyscore",
        deprecated: Some(Deprecated {
            since: "6.2.0",
            instead: "`ZRANGE` with the `REV` and `BYSCORE` arguments",
        }),
        arity: -4,
        since: "2.2.0",
        complexity: "O(log(N)+M) where N is the number of elements and M that of those returned.",
        summary: "Returns the elements with scores within a range, highest first.",
        syntax: "key max min [WITHSCORES] [LIMIT offset count]",
        run: Run::Keyed(range::zrevrangebyscore),
        ..READ
    },
    Spec {
        name: "zrangebylex",
        deprecated: Some(Deprecated {
            since: "6.2.0",
            instead: "`ZRANGE` with the `BYLEX` argument",
        }),
        arity: -4,
        since: "2.8.9",
        complexity: "O(log(N)+M) where N is the number of elements and M that of those returned.",
        summary: "Returns the elements with members within a range, where all scores are equal.",
        syntax: "key min max [LIMIT offset count]",
        run: Run::Keyed(range::zrangebylex),
        ..READ
    },
    Spec {
        name: "zrevrangebylex",
        deprecated: Some(Deprecated {
            since: "6.2.0",
            instead: "`ZRANGE` with the `REV` and `BYLEX` arguments",
        }),
        arity: -4,
        since: "2.8.9",
        complexity: "O(log(N)+M) where N is the number of elements and M that of those returned.",
        summary: "Returns the elements with members within a range, highest first, where all scores are equal.",
        syntax: "key max min [LIMIT offset count]",
        run: Run::Keyed(range::zrevrangebylex),
        ..READ
    },
    Spec {
        name: "zremrangebyrank",
        arity: 4,
        since: "2.0.0",
        complexity: "O(M*log(N)) where N is the number of elements and M that of those removed.",
        summary: "Removes a range of elements by rank.",
        syntax: "key start stop",
        run: Run::Keyed(range::zremrangebyrank),
        ..REMOVE
    },
    Spec {
        name: "zremrangebyscore",
        arity: 4,
        since: "1.2.0",
        complexity: "O(M*log(N)) where N is the number of elements and M that of those removed.",
        summary: "Removes the elements with scores within a range.",
        syntax: "key min max",
        run: Run::Keyed(range::zremrangebyscore),
        ..REMOVE
    },
    Spec {
        name: "zremrangebylex",
        arity: 4,
        since: "2.8.9",
        complexity: "O(M*log(N)) where N is the number of elements and M that of those removed.",
        summary: "Removes the elements with members within a range.",
        syntax: "key min max",
        run: Run::Keyed(range::zremrangebylex),
        ..REMOVE
    },
    Spec {
        name: "zpopmin",
        arity: -2,
        since: "5.0.0",
        complexity: "O(log(N)*M) where N is the number of elements and M that of those taken.",
        summary: "Takes the elements with the lowest scores.",
        syntax: "key [count]",
        run: Run::Keyed(pop::zpopmin),
        ..POP
    },
    Spec {
        name: "zpopmax",
        arity: -2,
        since: "5.0.0",
        complexity: "O(log(N)*M) where N is the number of elements and M that of those taken.",
        summary: "Takes the elements with the highest scores.",
        syntax: "key [count]",
        run: Run::Keyed(pop::zpopmax),
        ..POP
    },
    Spec {
        name: "zmpop",
        arity: -4,
        since: "7.0.0",
        complexity: "O(K)+O(M*log(N)) where K is the number of keys, N that of elements and M that of those taken.",
        summary: "Takes elements from an end of the first set that has any.",
        syntax: "numkeys key [key ...] <MIN | MAX> [COUNT count]",
        run: Run::Keyed(pop::zmpop),
        ..MPOP
    },
    Spec {
        name: "bzpopmin",
        arity: -3,
        since: "5.0.0",
        complexity: "O(log(N)) with N being the number of elements in the sorted set.",
        summary: "Takes the element with the lowest score of the first set that has any, and waits for it if need be.",
        syntax: "key [key ...] timeout",
        run: Run::Keyed(pop::bzpopmin),
        ..BLOCKING_POP
    },
    Spec {
        name: "bzpopmax",
        arity: -3,
        since: "5.0.0",
        complexity: "O(log(N)) with N being the number of elements in the sorted set.",
        summary: "Takes the element with the highest score of the first set that has any, and waits for it if need be.",
        syntax: "key [key ...] timeout",
        run: Run::Keyed(pop::bzpopmax),
        ..BLOCKING_POP
    },
    Spec {
        name: "bzmpop",
        arity: -5,
        flags: Flags::WRITE.or(Flags::BLOCKING).or(Flags::MOVABLEKEYS),
        acl: Acl::WRITE
            .or(Acl::SORTEDSET)
            .or(Acl::SLOW)
            .or(Acl::BLOCKING),
        keys: &[counted(2, TAKEN)],
        since: "7.0.0",
        complexity: "O(K)+O(M*log(N)) where K is the number of keys, N that of elements and M that of those taken.",
        summary: "Takes elements from an end of the first set that has any, and waits for them if need be.",
        syntax: "timeout numkeys key [key ...] <MIN | MAX> [COUNT count]",
        run: Run::Keyed(pop::bzmpop),
        ..MPOP
    },
    Spec {
        name: "zrandmember",
        arity: -2,
        tips: &["nondeterministic_output"],
        since: "6.2.0",
        complexity: "O(N*log(M)) where N is the number of elements returned of M.",
        summary: "Returns random elements.",
        syntax: "key [count [WITHSCORES]]",
        run: Run::Keyed(read::zrandmember),
        ..READ
    },
    Spec {
        name: "zunion",
        arity: -3,
        since: "6.2.0",
        complexity: "O(N)+O(M*log(M)) where N is the number of all elements and M that of the result.",
        summary: "Returns the union of sorted sets.",
        syntax: "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
        run: Run::Keyed(combine::zunion),
        ..COMBINE
    },
    Spec {
        name: "zinter",
        arity: -3,
        since: "6.2.0",
        complexity: "O(N*K)+O(M*log(M)) where N is the size of the smallest of K sets and M that of the result.",
        summary: "Returns the intersection of sorted sets.",
        syntax: "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
        run: Run::Keyed(combine::zinter),
        ..COMBINE
    },
    Spec {
        name: "zdiff",
        arity: -3,
        since: "6.2.0",
        complexity: "O(N*K) where N is the size of the first of K sets.",
        summary: "Returns the elements of the first sorted set that are in no other one.",
        syntax: "numkeys key [key ...] [WITHSCORES]",
        run: Run::Keyed(combine::zdiff),
        ..COMBINE
    },
    Spec {
        name: "zunionstore",
        arity: -4,
        since: "2.0.0",
        complexity: "O(N)+O(M*log(M)) where N is the number of all elements and M that of the result.",
        summary: "Stores the union of sorted sets.",
        syntax: "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]",
        run: Run::Keyed(combine::zunionstore),
        ..COMBINE_STORE
    },
    Spec {
        name: "zinterstore",
        arity: -4,
        since: "2.0.0",
        complexity: "O(N*K)+O(M*log(M)) where N is the size of the smallest of K sets and M that of the result.",
        summary: "Stores the intersection of sorted sets.",
        syntax: "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]",
        run: Run::Keyed(combine::zinterstore),
        ..COMBINE_STORE
    },
    Spec {
        name: "zdiffstore",
        arity: -4,
        since: "6.2.0",
        complexity: "O(N*K) where N is the size of the first of K sets.",
        summary: "Stores the elements of the first sorted set that are in no other one.",
        syntax: "destination numkeys key [key ...]",
        run: Run::Keyed(combine::zdiffstore),
        ..COMBINE_STORE
    },
    Spec {
        name: "zintercard",
        arity: -3,
        since: "7.0.0",
        complexity: "O(N*K) where N is the size of the smallest of K sets.",
        summary: "Counts the elements that are in all of the sorted sets.",
        syntax: "numkeys key [key ...] [LIMIT limit]",
        run: Run::Keyed(combine::zintercard),
        ..COMBINE
    },
    Spec {
        name: "zscan",
        arity: -3,
        tips: &["nondeterministic_output"],
        since: "2.8.0",
        complexity: "O(1) for each call, O(N) for all of N elements.",
        summary: "Goes through the elements of a sorted set.",
        syntax: "key cursor [MATCH pattern] [COUNT count] [NOSCORES]",
        run: Run::Keyed(read::zscan),
        ..READ
    },
];

#[cfg(test)]
mod tests;
