//! Sets: the table of the group's commands. What a set is made of is [`crate::types::set`].
mod algebra;
mod basic;
mod edit;
mod random;
#[cfg(test)]
mod tests;

use super::spec::{Acl, Begin, Effect, Find, Flags, Group, KeyFlags, KeySpec, Run, Spec};

const ACCESSED: KeyFlags = KeyFlags::RO.or(KeyFlags::ACCESS);

const READ_FAST: Spec = Spec {
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Acl::READ.or(Acl::SET).or(Acl::FAST),
    keys: &[KeySpec::one(1, KeyFlags::RO)],
    group: Group::Set,
    ..Spec::BASE
};

const READ_SLOW: Spec = Spec {
    flags: Flags::READONLY,
    acl: Acl::READ.or(Acl::SET).or(Acl::SLOW),
    keys: &[KeySpec::one(1, ACCESSED)],
    ..READ_FAST
};

const READ_MANY: Spec = Spec {
    arity: -2,
    keys: &[KeySpec::range(1, -1, 1, ACCESSED)],
    tips: &["nondeterministic_output_order"],
    ..READ_SLOW
};

const WRITE_FAST: Spec = Spec {
    effect: Effect::Verbatim,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Acl::WRITE.or(Acl::SET).or(Acl::FAST),
    group: Group::Set,
    ..Spec::BASE
};

/// Stores what it makes of the sets behind its first key.
const STORE: Spec = Spec {
    effect: Effect::Keys,
    arity: -3,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Acl::WRITE.or(Acl::SET).or(Acl::SLOW),
    keys: &[
        KeySpec::one(1, KeyFlags::OW.or(KeyFlags::UPDATE)),
        KeySpec::range(2, -1, 1, ACCESSED),
    ],
    syntax: "destination key [key ...]",
    group: Group::Set,
    ..Spec::BASE
};

const INTERSECTION: &str =
    "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets.";
const ALL_MEMBERS: &str = "O(N) where N is the total number of elements in all given sets.";

/// The commands of the group.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "sadd",
        arity: -3,
        flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
        keys: &[KeySpec::one(1, KeyFlags::RW.or(KeyFlags::INSERT))],
        complexity: "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.",
        summary: "Adds members to a set, and creates it if missing.",
        syntax: "key member [member ...]",
        run: Run::Keyed(basic::sadd),
        ..WRITE_FAST
    },
    Spec {
        name: "srem",
        arity: -3,
        keys: &[KeySpec::one(1, KeyFlags::RW.or(KeyFlags::DELETE))],
        complexity: "O(N) where N is the number of members to be removed.",
        summary: "Removes members from a set; an empty one is deleted.",
        syntax: "key member [member ...]",
        run: Run::Keyed(basic::srem),
        ..WRITE_FAST
    },
    Spec {
        name: "sismember",
        arity: 3,
        summary: "Tells whether something is a member of a set.",
        syntax: "key member",
        run: Run::Keyed(basic::sismember),
        ..READ_FAST
    },
    Spec {
        name: "smismember",
        arity: -3,
        keys: &[KeySpec::one(1, ACCESSED)],
        since: "6.2.0",
        complexity: "O(N) where N is the number of elements being checked for membership",
        summary: "Tells which of several things are members of a set.",
        syntax: "key member [member ...]",
        run: Run::Keyed(basic::smismember),
        ..READ_FAST
    },
    Spec {
        name: "smembers",
        arity: 2,
        complexity: "O(N) where N is the set cardinality.",
        summary: "Returns all members of a set.",
        syntax: "key",
        tips: &["nondeterministic_output_order"],
        run: Run::Keyed(basic::smembers),
        ..READ_SLOW
    },
    Spec {
        name: "scard",
        arity: 2,
        summary: "Returns the number of members of a set.",
        syntax: "key",
        run: Run::Keyed(basic::scard),
        ..READ_FAST
    },
    Spec {
        name: "spop",
        arity: -2,
        keys: &[KeySpec::one(
            1,
            KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE),
        )],
        complexity: "Without the count argument O(1), otherwise O(N) where N is the value of the passed count.",
        summary: "Removes random members from a set and returns them.",
        syntax: "key [count]",
        tips: &["nondeterministic_output"],
        effect: Effect::Own,
        run: Run::Keyed(random::spop),
        ..WRITE_FAST
    },
    Spec {
        name: "srandmember",
        arity: -2,
        complexity: "Without the count argument O(1), otherwise O(N) where N is the absolute value of the passed count.",
        summary: "Returns random members of a set.",
        syntax: "key [count]",
        tips: &["nondeterministic_output"],
        run: Run::Keyed(random::srandmember),
        ..READ_SLOW
    },
    Spec {
        name: "smove",
        arity: 4,
        keys: &[
            KeySpec::one(1, KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE)),
            KeySpec::one(2, KeyFlags::RW.or(KeyFlags::INSERT)),
        ],
        summary: "Moves a member from one set to another.",
        syntax: "source destination member",
        effect: Effect::Own,
        run: Run::Keyed(basic::smove),
        ..WRITE_FAST
    },
    Spec {
        name: "sinter",
        complexity: INTERSECTION,
        summary: "Returns the members that all of several sets have.",
        syntax: "key [key ...]",
        run: Run::Keyed(algebra::sinter),
        ..READ_MANY
    },
    Spec {
        name: "sintercard",
        arity: -3,
        flags: Flags::READONLY.or(Flags::MOVABLEKEYS),
        keys: &[KeySpec {
            flags: ACCESSED,
            begin: Begin::Index(1),
            find: Find::KeyNum {
                at: 0,
                first: 1,
                step: 1,
            },
        }],
        since: "7.0.0",
        complexity: INTERSECTION,
        summary: "Counts the members that all of several sets have.",
        syntax: "numkeys key [key ...] [LIMIT limit]",
        run: Run::Keyed(algebra::sintercard),
        ..READ_SLOW
    },
    Spec {
        name: "sinterstore",
        keys: &[
            KeySpec::one(1, KeyFlags::RW.or(KeyFlags::UPDATE)),
            KeySpec::range(2, -1, 1, ACCESSED),
        ],
        complexity: INTERSECTION,
        summary: "Stores the members that all of several sets have.",
        run: Run::Keyed(algebra::sinterstore),
        ..STORE
    },
    Spec {
        name: "sunion",
        complexity: ALL_MEMBERS,
        summary: "Returns the members that any of several sets has.",
        syntax: "key [key ...]",
        run: Run::Keyed(algebra::sunion),
        ..READ_MANY
    },
    Spec {
        name: "sunionstore",
        complexity: ALL_MEMBERS,
        summary: "Stores the members that any of several sets has.",
        run: Run::Keyed(algebra::sunionstore),
        ..STORE
    },
    Spec {
        name: "sdiff",
        complexity: ALL_MEMBERS,
        summary: "Returns the members of a set that no other of several sets has.",
        syntax: "key [key ...]",
        run: Run::Keyed(algebra::sdiff),
        ..READ_MANY
    },
    Spec {
        name: "sdiffstore",
        complexity: ALL_MEMBERS,
        summary: "Stores the members of a set that no other of several sets has.",
        run: Run::Keyed(algebra::sdiffstore),
        ..STORE
    },
    Spec {
        name: "sscan",
        arity: -3,
        since: "2.8.0",
        complexity: "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection.",
        summary: "Iterates over the members of a set.",
        syntax: "key cursor [MATCH pattern] [COUNT count]",
        tips: &["nondeterministic_output"],
        run: Run::Keyed(basic::sscan),
        ..READ_SLOW
    },
];
