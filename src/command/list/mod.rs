//! Lists: the table of the group's commands. What a list is made of is [`crate::types::list`].
mod blocking;
mod edit;
mod ends;
mod inner;
#[cfg(test)]
mod tests;

use super::spec::{
    Acl, Begin, Deprecated, Effect, Find, Flags, Group, KeyFlags, KeySpec, Run, Spec,
};

const READ_SLOW: Spec = Spec {
    flags: Flags::READONLY,
    acl: Acl::READ.or(Acl::LIST).or(Acl::SLOW),
    keys: &[KeySpec::one(1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    group: Group::List,
    ..Spec::BASE
};

const WRITE_SLOW: Spec = Spec {
    effect: Effect::Verbatim,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Acl::WRITE.or(Acl::LIST).or(Acl::SLOW),
    group: Group::List,
    ..Spec::BASE
};

const PUSH: Spec = Spec {
    effect: Effect::Verbatim,
    arity: -3,
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    acl: Acl::WRITE.or(Acl::LIST).or(Acl::FAST),
    keys: &[KeySpec::one(1, KeyFlags::RW.or(KeyFlags::INSERT))],
    complexity: "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.",
    syntax: "key element [element ...]",
    ..WRITE_SLOW
};

const BLOCKING_ACL: Acl = Acl::WRITE.or(Acl::LIST).or(Acl::SLOW).or(Acl::BLOCKING);

const BLOCKING_MOVE: Flags = Flags::WRITE
    .or(Flags::DENYOOM)
    .or(Flags::NOSCRIPT)
    .or(Flags::BLOCKING);

const TAKEN: KeyFlags = KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE);

const POP: Spec = Spec {
    effect: Effect::Verbatim,
    arity: -2,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Acl::WRITE.or(Acl::LIST).or(Acl::FAST),
    keys: &[KeySpec::one(1, TAKEN)],
    complexity: "O(N) where N is the number of elements returned",
    syntax: "key [count]",
    ..WRITE_SLOW
};

/// Removes elements by their place or value.
const CUT: Spec = Spec {
    effect: Effect::Verbatim,
    arity: 4,
    flags: Flags::WRITE,
    keys: &[KeySpec::one(1, KeyFlags::RW.or(KeyFlags::DELETE))],
    ..WRITE_SLOW
};

const MOVE: Spec = Spec {
    effect: Effect::Own,
    keys: &[
        KeySpec::one(1, TAKEN),
        KeySpec::one(2, KeyFlags::RW.or(KeyFlags::INSERT)),
    ],
    ..WRITE_SLOW
};

/// The commands of the group.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "lpush",
        summary: "Adds elements in front of a list, and creates it if missing.",
        run: Run::Keyed(ends::lpush),
        ..PUSH
    },
    Spec {
        name: "rpush",
        summary: "Adds elements to the end of a list, and creates it if missing.",
        run: Run::Keyed(ends::rpush),
        ..PUSH
    },
    Spec {
        name: "lpushx",
        since: "2.2.0",
        summary: "Adds elements in front of a list that exists.",
        run: Run::Keyed(ends::lpushx),
        ..PUSH
    },
    Spec {
        name: "rpushx",
        since: "2.2.0",
        summary: "Adds elements to the end of a list that exists.",
        run: Run::Keyed(ends::rpushx),
        ..PUSH
    },
    Spec {
        name: "lpop",
        summary: "Removes the first elements of a list and returns them.",
        run: Run::Keyed(ends::lpop),
        ..POP
    },
    Spec {
        name: "rpop",
        summary: "Removes the last elements of a list and returns them.",
        run: Run::Keyed(ends::rpop),
        ..POP
    },
    Spec {
        name: "lmpop",
        arity: -4,
        flags: Flags::WRITE.or(Flags::MOVABLEKEYS),
        keys: &[KeySpec {
            flags: TAKEN,
            begin: Begin::Index(1),
            find: Find::KeyNum {
                at: 0,
                first: 1,
                step: 1,
            },
        }],
        since: "7.0.0",
        complexity: "O(N+M) where N is the number of provided keys and M is the number of elements returned.",
        summary: "Removes elements of the first of several lists that exists, and returns them.",
        syntax: "numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
        effect: Effect::Own,
        run: Run::Keyed(ends::lmpop),
        ..WRITE_SLOW
    },
    Spec {
        name: "lmove",
        arity: 5,
        since: "6.2.0",
        summary: "Moves an element from an end of a list to an end of another, and returns it.",
        syntax: "source destination <LEFT | RIGHT> <LEFT | RIGHT>",
        run: Run::Keyed(ends::lmove),
        ..MOVE
    },
    Spec {
        name: "rpoplpush",
        deprecated: Some(Deprecated {
            since: "6.2.0",
            instead: "`LMOVE` with the `RIGHT` and `LEFT` arguments",
        }),
        arity: 3,
        since: "1.2.0",
        summary: "Moves the last element of a list to the front of another, and returns it.",
        syntax: "source destination",
        run: Run::Keyed(ends::rpoplpush),
        ..MOVE
    },
    Spec {
        name: "blpop",
        arity: -3,
        flags: Flags::WRITE.or(Flags::NOSCRIPT).or(Flags::BLOCKING),
        acl: BLOCKING_ACL,
        keys: &[KeySpec::range(1, -2, 1, TAKEN)],
        since: "2.0.0",
        complexity: "O(N) where N is the number of provided keys.",
        summary: "Removes the first element of the first of several lists that has any, and waits for it if need be.",
        syntax: "key [key ...] timeout",
        effect: Effect::Own,
        run: Run::Keyed(blocking::blpop),
        ..WRITE_SLOW
    },
    Spec {
        name: "brpop",
        arity: -3,
        flags: Flags::WRITE.or(Flags::NOSCRIPT).or(Flags::BLOCKING),
        acl: BLOCKING_ACL,
        keys: &[KeySpec::range(1, -2, 1, TAKEN)],
        since: "2.0.0",
        complexity: "O(N) where N is the number of provided keys.",
        summary: "Removes the last element of the first of several lists that has any, and waits for it if need be.",
        syntax: "key [key ...] timeout",
        effect: Effect::Own,
        run: Run::Keyed(blocking::brpop),
        ..WRITE_SLOW
    },
    Spec {
        name: "blmpop",
        arity: -5,
        flags: Flags::WRITE.or(Flags::BLOCKING).or(Flags::MOVABLEKEYS),
        acl: BLOCKING_ACL,
        keys: &[KeySpec {
            flags: TAKEN,
            begin: Begin::Index(2),
            find: Find::KeyNum {
                at: 0,
                first: 1,
                step: 1,
            },
        }],
        since: "7.0.0",
        complexity: "O(N+M) where N is the number of provided keys and M is the number of elements returned.",
        summary: "Removes elements of the first of several lists that has any, and waits for them if need be.",
        syntax: "timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
        effect: Effect::Own,
        run: Run::Keyed(blocking::blmpop),
        ..WRITE_SLOW
    },
    Spec {
        name: "blmove",
        arity: 6,
        flags: BLOCKING_MOVE,
        acl: BLOCKING_ACL,
        since: "6.2.0",
        summary: "Moves an element from an end of a list to an end of another, and waits for it if need be.",
        syntax: "source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout",
        run: Run::Keyed(blocking::blmove),
        ..MOVE
    },
    Spec {
        name: "brpoplpush",
        deprecated: Some(Deprecated {
            since: "6.2.0",
            instead: "`BLMOVE` with the `RIGHT` and `LEFT` arguments",
        }),
        arity: 4,
        flags: BLOCKING_MOVE,
        acl: BLOCKING_ACL,
        since: "2.2.0",
        summary: "Moves the last element of a list to the front of another, and waits for it if need be.",
        syntax: "source destination timeout",
        run: Run::Keyed(blocking::brpoplpush),
        ..MOVE
    },
    Spec {
        name: "llen",
        arity: 2,
        flags: Flags::READONLY.or(Flags::FAST),
        acl: Acl::READ.or(Acl::LIST).or(Acl::FAST),
        keys: &[KeySpec::one(1, KeyFlags::RO)],
        summary: "Returns the length of a list.",
        syntax: "key",
        run: Run::Keyed(inner::llen),
        ..READ_SLOW
    },
    Spec {
        name: "lindex",
        arity: 3,
        complexity: "O(N) where N is the number of elements to traverse to get to the element at index. This makes asking for the first or the last element of the list O(1).",
        summary: "Returns the element of a list with an index.",
        syntax: "key index",
        run: Run::Keyed(inner::lindex),
        ..READ_SLOW
    },
    Spec {
        name: "lrange",
        arity: 4,
        complexity: "O(S+N) where S is the distance of start offset from HEAD for small lists, from nearest end (HEAD or TAIL) for large lists; and N is the number of elements in the specified range.",
        summary: "Returns the elements of a list between two indices.",
        syntax: "key start stop",
        run: Run::Keyed(inner::lrange),
        ..READ_SLOW
    },
    Spec {
        name: "lpos",
        arity: -3,
        since: "6.0.6",
        complexity: "O(N) where N is the number of elements in the list, for the average case. When searching for elements near the head or the tail of the list, or when the MAXLEN option is provided, the command may run in constant time.",
        summary: "Returns the indices of elements of a list that equal one.",
        syntax: "key element [RANK rank] [COUNT num-matches] [MAXLEN len]",
        run: Run::Keyed(inner::lpos),
        ..READ_SLOW
    },
    Spec {
        name: "lset",
        arity: 4,
        keys: &[KeySpec::one(1, KeyFlags::RW.or(KeyFlags::UPDATE))],
        complexity: "O(N) where N is the length of the list. Setting either the first or the last element of the list is O(1).",
        summary: "Replaces the element of a list with an index.",
        syntax: "key index element",
        run: Run::Keyed(inner::lset),
        ..WRITE_SLOW
    },
    Spec {
        name: "linsert",
        arity: 5,
        keys: &[KeySpec::one(1, KeyFlags::RW.or(KeyFlags::INSERT))],
        since: "2.2.0",
        complexity: "O(N) where N is the number of elements to traverse before seeing the value pivot. This means that inserting somewhere on the left end on the list (head) can be considered O(1) and inserting somewhere on the right end (tail) is O(N).",
        summary: "Inserts an element before or after another one of a list.",
        syntax: "key <BEFORE | AFTER> pivot element",
        run: Run::Keyed(inner::linsert),
        ..WRITE_SLOW
    },
    Spec {
        name: "lrem",
        complexity: "O(N+M) where N is the length of the list and M is the number of elements removed.",
        summary: "Removes elements of a list that equal one.",
        syntax: "key count element",
        run: Run::Keyed(inner::lrem),
        ..CUT
    },
    Spec {
        name: "ltrim",
        complexity: "O(N) where N is the number of elements to be removed by the operation.",
        summary: "Removes all elements of a list but those between two indices.",
        syntax: "key start stop",
        run: Run::Keyed(inner::ltrim),
        ..CUT
    },
];

/// Gives the value of a new list to `store`: what other commands store as one. `max_listpack_size` is
/// the configuration's.
pub(super) fn with_new_list(
    elements: &[&[u8]],
    max_listpack_size: i32,
    store: impl FnOnce(crate::keyspace::NewValue<'_>),
) {
    let limit = crate::types::list::Limit::of(max_listpack_size);
    edit::start(crate::types::list::End::Right, elements, limit, store);
}
