//! HyperLogLog: the table of the group's commands, and PFADD, PFCOUNT and PFMERGE.
//!
//! A HyperLogLog is a string in Redis's form ([`crate::types::hyperloglog`]). A dense one is changed in
//! place; a sparse one, at most `hll-sparse-max-bytes` long, is copied, changed and stored.
mod debug;

use super::context::{Caller, Ctx};
use super::error::{Error, Outcome};
use super::spec::{Acl, Effect, Flags, Group, KeyFlags, KeySpec, Run, Spec};
use crate::keyspace::{EntryRef, Expiry, Kind, NewValue, Pos};
use crate::resp::number::I64_TEXT_MAX;
use crate::shard::Shard;
use crate::shard::access::EventClass;
use crate::types::hyperloglog::{
    self as hll, Corrupt, DENSE_BYTES, Encoding, HEAD_BYTES, REGISTERS, dense,
    sparse::{self, Hint, Raised},
};
use smallvec::SmallVec;

const BASE: Spec = Spec {
    group: Group::Hyperloglog,
    since: "2.8.9",
    ..Spec::BASE
};

const TESTING: Acl = Acl::HYPERLOGLOG
    .or(Acl::ADMIN)
    .or(Acl::SLOW)
    .or(Acl::DANGEROUS);

/// The commands of the group.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "pfadd",
        arity: -2,
        flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
        acl: Acl::WRITE.or(Acl::HYPERLOGLOG).or(Acl::FAST),
        keys: &[KeySpec::one(1, KeyFlags::RW.or(KeyFlags::INSERT))],
        complexity: "O(1) to add every element.",
        summary: "Adds elements to a HyperLogLog, which is made if it is missing.",
        syntax: "key [element [element ...]]",
        effect: Effect::Verbatim,
        run: Run::Keyed(pfadd),
        ..BASE
    },
    Spec {
        name: "pfcount",
        key_notes: &[
            "RW because it may change the internal representation of the key, and propagate to replicas",
        ],
        arity: -2,
        flags: Flags::READONLY.or(Flags::MAY_REPLICATE),
        acl: Acl::READ.or(Acl::HYPERLOGLOG).or(Acl::SLOW),
        keys: &[KeySpec::range(1, -1, 1, KeyFlags::RW.or(KeyFlags::ACCESS))],
        complexity: "O(1) with a very small average constant time when called with a single key. O(N) with N being the number of keys, and much bigger constant times, when called with multiple keys.",
        summary: "Tells about how many different elements HyperLogLogs have seen together.",
        syntax: "key [key ...]",
        effect: Effect::Own,
        run: Run::Keyed(pfcount),
        ..BASE
    },
    Spec {
        name: "pfmerge",
        arity: -2,
        flags: Flags::WRITE.or(Flags::DENYOOM),
        acl: Acl::WRITE.or(Acl::HYPERLOGLOG).or(Acl::SLOW),
        keys: &[
            KeySpec::one(1, KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::INSERT)),
            KeySpec::range(2, -1, 1, KeyFlags::RO.or(KeyFlags::ACCESS)),
        ],
        complexity: "O(N) to merge N HyperLogLogs, but with high constant times.",
        summary: "Merges HyperLogLogs into one.",
        syntax: "destkey [sourcekey [sourcekey ...]]",
        effect: Effect::Keys,
        run: Run::Keyed(pfmerge),
        ..BASE
    },
    Spec {
        name: "pfdebug",
        internal: true,
        arity: 3,
        flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::ADMIN),
        acl: Acl::WRITE.or(TESTING),
        keys: &[KeySpec::one(2, KeyFlags::RW.or(KeyFlags::ACCESS))],
        complexity: "N/A",
        summary: "Shows the inside of a HyperLogLog.",
        syntax: "subcommand key",
        effect: Effect::Own,
        run: Run::Keyed(debug::pfdebug),
        ..BASE
    },
    Spec {
        name: "pfselftest",
        internal: true,
        arity: 1,
        flags: Flags::ADMIN,
        acl: TESTING,
        complexity: "N/A",
        summary: "Tests HyperLogLogs.",
        run: Run::Keyed(debug::pfselftest),
        ..BASE
    },
];

const NOT_VALID: Error = Error::fixed("WRONGTYPE Key is not a valid HyperLogLog string value.");
const CORRUPTED: Error = Error::fixed("INVALIDOBJ Corrupted HLL object detected");

impl From<Corrupt> for Error {
    fn from(_: Corrupt) -> Self {
        CORRUPTED
    }
}

/// A sparse string while it is changed; longer ones than usual leave the stack.
type Sparse = SmallVec<[u8; 4096]>;

/// The bytes of a HyperLogLog, and their encoding; another string is the client's error.
#[inline]
fn sketch<'a>(
    entry: EntryRef<'a>,
    text: &'a mut [u8; I64_TEXT_MAX],
) -> Result<(&'a [u8], Encoding), Error> {
    let bytes = entry.value().bytes(text).ok_or(Error::WRONG_TYPE)?;
    let encoding = hll::encoding_of(bytes).ok_or(NOT_VALID)?;
    Ok((bytes, encoding))
}

/// The key's encoding, None if it is missing; what has it is a string of its own afterwards, as on
/// Redis (OBJECT ENCODING says `raw`).
#[inline]
fn encoding_to_write(
    shard: &mut Shard,
    caller: Caller,
    pos: Pos,
    key: &[u8],
) -> Result<Option<Encoding>, Error> {
    let Some(mut entry) = shard.write(caller, pos, key) else {
        return Ok(None);
    };
    let (_, encoding) = sketch(entry.get(), &mut [0; I64_TEXT_MAX])?;
    if !entry.get().is_raw() {
        entry.edit_string(0, |_| ());
    }
    Ok(Some(encoding))
}

/// A copy of the sparse string under a key.
fn sparse_of(shard: &mut Shard, caller: Caller, pos: Pos, key: &[u8]) -> Sparse {
    let entry = shard.peek(caller, pos, key).expect("just looked up");
    let mut text = [0; I64_TEXT_MAX];
    let bytes = entry.value().bytes(&mut text).expect("a string");
    Sparse::from_slice(bytes)
}

fn store(shard: &mut Shard, caller: Caller, pos: Pos, key: &[u8], bytes: &[u8]) {
    let value = NewValue::Str { bytes, raw: true };
    shard.store(caller, pos, key, value, Expiry::Keep);
}

/// Raises registers of the dense string under a key; how many were less.
fn raise_dense(
    shard: &mut Shard,
    caller: Caller,
    pos: Pos,
    key: &[u8],
    places: impl Iterator<Item = (usize, u8)>,
) -> usize {
    let entry = shard.write(caller, pos, key);
    let mut entry = entry.expect("just looked up");
    entry.edit_string(DENSE_BYTES, |bytes| {
        let registers = &mut bytes[HEAD_BYTES..];
        let raised = places
            .filter(|(index, value)| dense::raise(registers, *index, *value))
            .count();
        if raised > 0 {
            hll::invalidate(bytes);
        }
        raised
    })
}

/// PFADD
fn pfadd(ctx: &mut Ctx<'_>) -> Outcome {
    let (caller, pos, key, elements) = (ctx.caller, ctx.pos, ctx.args[1], &ctx.args[2..]);
    let encoding = encoding_to_write(ctx.shard, caller, pos, key)?;
    let mut places = elements.iter().map(|element| hll::place(element));
    let raised = match encoding {
        Some(Encoding::Dense) => raise_dense(ctx.shard, caller, pos, key, places),
        _ => {
            let mut string = match encoding {
                None => Sparse::from_slice(&hll::empty()),
                Some(_) => sparse_of(ctx.shard, caller, pos, key),
            };
            let added = add_sparse(ctx.shard, &mut string, &mut places)?;
            let mut raised = added.raised + usize::from(encoding.is_none());
            if raised > 0 || added.left.is_some() {
                hll::invalidate(&mut string);
                store(ctx.shard, caller, pos, key, &string);
            }
            if let Some(first) = added.left {
                let left = std::iter::once(first).chain(places);
                raised += raise_dense(ctx.shard, caller, pos, key, left);
            }
            raised
        }
    };
    if raised > 0 {
        ctx.shard
            .changed(caller.db, pos, key, EventClass::String, "pfadd");
        // Each register counts, and a new key.
        ctx.shard.dirty += raised as u64 - 1;
    }
    ctx.reply.integer(i64::from(raised > 0));
    Ok(())
}

/// What became of places that were to be raised in a sparse string.
struct Added {
    /// How many were less.
    raised: usize,
    /// The string is dense now, and this place is still to be raised in it.
    left: Option<(usize, u8)>,
}

/// Raises registers of a sparse string until it has to become dense.
fn add_sparse(
    shard: &Shard,
    string: &mut Sparse,
    places: &mut impl Iterator<Item = (usize, u8)>,
) -> Result<Added, Error> {
    let bytes_max = shard.config.hll_sparse_max_bytes;
    let mut raised = 0;
    for (index, value) in places {
        match sparse::raise(string, index, value, bytes_max, &mut Hint::default())? {
            Raised::No => {}
            Raised::Yes => raised += 1,
            Raised::NeedsDense => {
                *string = Sparse::from_vec(hll::to_dense(string)?);
                let left = Some((index, value));
                return Ok(Added { raised, left });
            }
        }
    }
    Ok(Added { raised, left: None })
}

/// PFCOUNT
fn pfcount(ctx: &mut Ctx<'_>) -> Outcome {
    if ctx.args.len() > 2 {
        return count_union(ctx);
    }
    let (caller, key) = (ctx.caller, ctx.args[1]);
    let pos = ctx.shard.pos(key);
    let Some(entry) = ctx.shard.read(caller, pos, key) else {
        ctx.reply.integer(0);
        return Ok(());
    };
    let mut text = [0; I64_TEXT_MAX];
    let (bytes, encoding) = sketch(entry, &mut text)?;
    let cached = hll::cached(bytes);
    let is_raw = entry.is_raw();
    let count = match cached {
        Some(count) => count,
        None => hll::estimate(&hll::histogram(bytes, encoding)?),
    };
    if cached.is_none() || !is_raw {
        let entry = ctx.shard.write(caller, pos, key);
        let mut entry = entry.expect("just looked up");
        entry.edit_string(0, |bytes| hll::cache(bytes, count));
        // To clients it reads only; but the string has changed, without an event.
        ctx.shard
            .changed(caller.db, pos, key, EventClass::Unnamed, "");
        ctx.shard.effect(caller.db, pos, &[b"PFCOUNT", key]);
    }
    ctx.reply.integer(count as i64);
    Ok(())
}

/// The count of what several keys have seen together. It is kept nowhere.
fn count_union(ctx: &mut Ctx<'_>) -> Outcome {
    let mut registers = [0; REGISTERS];
    for key in &ctx.args[1..] {
        merge_key(ctx, key, &mut registers)?;
    }
    let mut histogram = [0; 64];
    for value in registers {
        histogram[usize::from(value)] += 1;
    }
    ctx.reply.integer(hll::estimate(&histogram) as i64);
    Ok(())
}

/// Raises registers to those under a key; its encoding, None if it is missing.
fn merge_key(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    registers: &mut hll::Registers,
) -> Result<Option<Encoding>, Error> {
    let pos = ctx.shard.pos(key);
    let Some(entry) = ctx.shard.read(ctx.caller, pos, key) else {
        return Ok(None);
    };
    let mut text = [0; I64_TEXT_MAX];
    let (bytes, encoding) = sketch(entry, &mut text)?;
    hll::merge(registers, bytes, encoding)?;
    Ok(Some(encoding))
}

/// PFMERGE
fn pfmerge(ctx: &mut Ctx<'_>) -> Outcome {
    let (caller, keys) = (ctx.caller, &ctx.args[1..]);
    let mut registers = [0; REGISTERS];
    let mut to_dense = false;
    for key in keys {
        to_dense |= merge_key(ctx, key, &mut registers)? == Some(Encoding::Dense);
    }
    let key = keys[0];
    let pos = ctx.shard.pos(key);
    let encoding = encoding_to_write(ctx.shard, caller, pos, key)?;
    let mut places = registers
        .iter()
        .enumerate()
        .filter(|(_, value)| **value > 0)
        .map(|(index, value)| (index, *value));
    if encoding != Some(Encoding::Dense) {
        let mut string = match encoding {
            None => Sparse::from_slice(&hll::empty()),
            Some(_) => sparse_of(ctx.shard, caller, pos, key),
        };
        if to_dense {
            string = Sparse::from_vec(hll::to_dense(&string)?);
        } else {
            let bytes_max = ctx.shard.config.hll_sparse_max_bytes;
            write_sparse(&mut string, &mut places, bytes_max)?;
        }
        hll::invalidate(&mut string);
        store(ctx.shard, caller, pos, key, &string);
    }
    let written = ctx.shard.write_kind(caller, pos, key, Kind::String)?;
    let mut written = written.expect("it was there, or was stored");
    written.edit_string(0, |bytes| {
        // What a string that has just become dense lacks.
        if hll::encoding_of(bytes) == Some(Encoding::Dense) {
            for (index, value) in registers.iter().enumerate() {
                dense::raise(&mut bytes[HEAD_BYTES..], index, *value);
            }
        }
        hll::invalidate(bytes);
    });
    ctx.shard
        .changed(caller.db, pos, key, EventClass::String, "pfadd");
    ctx.reply.ok();
    Ok(())
}

/// Raises registers, in ascending order, of a sparse string until it has to become dense.
fn write_sparse(
    string: &mut Sparse,
    places: &mut impl Iterator<Item = (usize, u8)>,
    bytes_max: u64,
) -> Result<(), Error> {
    let mut hint = Hint::default();
    for (index, value) in places {
        if sparse::raise(string, index, value, bytes_max, &mut hint)? == Raised::NeedsDense {
            *string = Sparse::from_vec(hll::to_dense(string)?);
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
