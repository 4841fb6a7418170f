//! The table of MULTI, EXEC, DISCARD, WATCH and UNWATCH. They act on the connection and on the
//! shards that its keys live on, so what they do stands in `net/multi` and `net/block`.
use super::spec::{Acl, Flags, Group, KeyFlags, KeySpec, Run, Spec};
use crate::txn::multi::Control;

const CONTROL: Spec = Spec {
    arity: 1,
    flags: Flags::NOSCRIPT
        .or(Flags::LOADING)
        .or(Flags::STALE)
        .or(Flags::FAST)
        .or(Flags::ALLOW_BUSY),
    acl: Acl::FAST.or(Acl::TRANSACTION),
    group: Group::Transactions,
    since: "1.2.0",
    ..Spec::BASE
};

/// The commands of the group.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "multi",
        summary: "Starts a transaction: the commands that follow are kept until EXEC.",
        run: Run::Control(Control::Multi),
        ..CONTROL
    },
    Spec {
        name: "exec",
        flags: Flags::NOSCRIPT
            .or(Flags::LOADING)
            .or(Flags::STALE)
            .or(Flags::SKIP_SLOWLOG),
        acl: Acl::SLOW.or(Acl::TRANSACTION),
        complexity: "Depends on commands in the transaction",
        summary: "Runs all commands of the transaction, unless a watched key has changed.",
        run: Run::Control(Control::Exec),
        ..CONTROL
    },
    Spec {
        name: "discard",
        since: "2.0.0",
        complexity: "O(N), when N is the number of queued commands",
        summary: "Drops the transaction and all watches.",
        run: Run::Control(Control::Discard),
        ..CONTROL
    },
    Spec {
        name: "watch",
        arity: -2,
        since: "2.2.0",
        keys: &[KeySpec::range(1, -1, 1, KeyFlags::RO)],
        complexity: "O(1) for every key.",
        summary: "Lets the next EXEC run only if these keys do not change until then.",
        syntax: "key [key ...]",
        run: Run::Control(Control::Watch),
        ..CONTROL
    },
    Spec {
        name: "unwatch",
        since: "2.2.0",
        summary: "Drops all watches of the connection.",
        run: Run::Control(Control::Unwatch),
        ..CONTROL
    },
];
