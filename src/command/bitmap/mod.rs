//! Bitmaps: strings read as bits, the most significant bit of a byte first.
mod bits;
mod field;
mod op;
mod scan;
mod single;

use super::error::Error;
use super::spec::{Acl, Effect, Flags, Group, KeyFlags, KeySpec, Run, Spec};
use crate::resp::number::parse_i64;

const READ: Spec = Spec {
    flags: Flags::READONLY,
    acl: Acl::READ.or(Acl::BITMAP).or(Acl::SLOW),
    keys: &[KeySpec::one(1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    group: Group::Bitmap,
    complexity: "O(N) where N is the length of the string.",
    ..Spec::BASE
};

const READ_FAST: Spec = Spec {
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Acl::READ.or(Acl::BITMAP).or(Acl::FAST),
    complexity: "O(1)",
    ..READ
};

const WRITE: Spec = Spec {
    effect: Effect::Verbatim,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Acl::WRITE.or(Acl::BITMAP).or(Acl::SLOW),
    keys: &[KeySpec::one(
        1,
        KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE),
    )],
    group: Group::Bitmap,
    ..Spec::BASE
};

/// The commands of the group.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "setbit",
        arity: 4,
        since: "2.2.0",
        summary: "Sets or clears a bit of the string of a key and returns what it was.",
        syntax: "key offset value:integer",
        run: Run::Keyed(single::setbit),
        ..WRITE
    },
    Spec {
        name: "getbit",
        arity: 3,
        since: "2.2.0",
        summary: "Returns a bit of the string of a key.",
        syntax: "key offset",
        run: Run::Keyed(single::getbit),
        ..READ_FAST
    },
    Spec {
        name: "bitcount",
        arity: -2,
        since: "2.6.0",
        summary: "Counts the set bits of the string of a key, or of a part of it.",
        history: &[
            ("7.0.0", "`BYTE` and `BIT`."),
            ("8.1.0", "A start without an end."),
        ],
        syntax: "key [start [end [BYTE | BIT]#index_unit]#end_index]#index",
        run: Run::Keyed(scan::bitcount),
        ..READ
    },
    Spec {
        name: "bitpos",
        arity: -3,
        since: "2.8.7",
        summary: "Finds the first set or clear bit in the string of a key, or in a part of it.",
        history: &[("7.0.0", "`BYTE` and `BIT`.")],
        syntax: "key bit [start [end [BYTE | BIT]#index_unit]#end_index]#index",
        run: Run::Keyed(scan::bitpos),
        ..READ
    },
    Spec {
        name: "bitop",
        arity: -4,
        keys: &[
            KeySpec::one(2, KeyFlags::OW.or(KeyFlags::UPDATE)),
            KeySpec::range(3, -1, 1, KeyFlags::RO.or(KeyFlags::ACCESS)),
        ],
        since: "2.6.0",
        complexity: "O(N) where N is the length of the longest string.",
        summary: "Combines the bits of several strings and stores the result.",
        syntax: "<AND | OR | XOR | NOT | DIFF | DIFF1 | ANDOR | ONE>#operation destkey key [key ...]",
        effect: Effect::Keys,
        run: Run::Keyed(op::bitop),
        ..WRITE
    },
    Spec {
        name: "bitfield",
        arity: -2,
        keys: &[KeySpec::one(
            1,
            KeyFlags::RW
                .or(KeyFlags::ACCESS)
                .or(KeyFlags::UPDATE)
                .or(KeyFlags::VARIABLE_FLAGS),
        )],
        since: "3.2.0",
        complexity: "O(1) for each subcommand.",
        summary: "Reads and changes integers of any width in the string of a key.",
        key_notes: &["This command allows both access and modification of the key"],
        key_flags: Some(field::key_flags),
        syntax: "key [<GET encoding offset>#encoding_offset | <[OVERFLOW <WRAP | SAT | FAIL>] <<SET encoding offset value:integer>#encoding_offset_value | <INCRBY encoding offset increment:integer>#encoding_offset_increment>#write_operation>#write]*#operation",
        effect: Effect::Own,
        run: Run::Keyed(field::bitfield),
        ..WRITE
    },
    Spec {
        name: "bitfield_ro",
        arity: -2,
        since: "6.0.0",
        complexity: "O(1) for each subcommand.",
        summary: "Reads integers of any width in the string of a key.",
        syntax: "key [GET encoding offset [GET encoding offset ...]]",
        run: Run::Keyed(field::bitfield_ro),
        ..READ_FAST
    },
];

/// A bit's offset, in multiples of `width` after a `#` where that is not 0. A string must not grow
/// over `len_max` bytes for it.
fn parse_offset(text: &[u8], width: u32, len_max: u64) -> Result<u64, Error> {
    let (digits, factor) = match text {
        [b'#', rest @ ..] if width > 0 => (rest, i64::from(width)),
        text => (text, 1),
    };
    parse_i64(digits)
        .and_then(|n| n.checked_mul(factor))
        .and_then(|n| u64::try_from(n).ok())
        .filter(|offset| offset / 8 < len_max)
        .ok_or_else(|| Error::new("ERR bit offset is not an integer or out of range"))
}

#[cfg(test)]
mod tests;
