//! Strings.
use super::context::Ctx;
use super::error::{Error, Outcome};
use super::spec::{Acl, Flags, Group, KeyFlags, KeySpec, Run, Spec};
use crate::keyspace::{Expiry, Kind, NewValue, Value};

const STRING: Spec = Spec {
    group: Group::String,
    ..Spec::BASE
};

/// The commands of the group.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "get",
        arity: 2,
        flags: Flags::READONLY.or(Flags::FAST),
        acl: Acl::READ.or(Acl::STRING).or(Acl::FAST),
        keys: &[KeySpec::one(1, KeyFlags::RO.or(KeyFlags::ACCESS))],
        summary: "Returns the string value of a key.",
        syntax: "key",
        run: Run::Keyed(get),
        ..STRING
    },
    Spec {
        name: "set",
        arity: -3,
        flags: Flags::WRITE.or(Flags::DENYOOM),
        acl: Acl::WRITE.or(Acl::STRING).or(Acl::SLOW),
        keys: &[KeySpec::one(
            1,
            KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE),
        )],
        syntax: "key value",
        run: Run::Keyed(set),
        ..STRING
    },
    Spec {
        name: "incr",
        arity: 2,
        flags: Flags::WRITE.or(Flags::DENYOOM),
        keys: &[KeySpec::one(
            1,
            KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE),
        )],
        run: Run::Keyed(incr),
        ..STRING
    },
    Spec {
        name: "mset",
        arity: -3,
        flags: Flags::WRITE.or(Flags::DENYOOM),
        keys: &[KeySpec::range(1, -1, 2, KeyFlags::OW.or(KeyFlags::UPDATE))],
        run: Run::Keyed(mset),
        ..STRING
    },
];

fn get(ctx: &mut Ctx<'_>) -> Outcome {
    let (pos, now) = (ctx.pos, ctx.shard.now_ms);
    let db = ctx.shard.keyspace.db_mut(usize::from(ctx.caller.db));
    let Some(mut entry) = db.lookup_mut(pos, ctx.args[1], now).live() else {
        ctx.shard.stats.misses += 1;
        ctx.reply.null();
        return Ok(());
    };
    entry.touch((now / 1000) as u32);
    match entry.value() {
        Value::Str(bytes) => ctx.reply.bulk(bytes),
        Value::Int(n) => ctx.reply.bulk_integer(n),
        Value::Large(large) => ctx.reply.bulk_shared(&large.share()),
        _ => return Err(Error::WRONG_TYPE),
    }
    ctx.shard.stats.hits += 1;
    Ok(())
}

fn set(ctx: &mut Ctx<'_>) -> Outcome {
    let (pos, key, value) = (ctx.pos, ctx.args[1], ctx.args[2]);
    let clock = (ctx.shard.now_ms / 1000) as u32;
    let expiry = match ctx.args.get(3..) {
        Some([option, n]) if option.eq_ignore_ascii_case(b"ex") => {
            let n = crate::resp::number::parse_i64(n).ok_or(Error::NOT_INTEGER)?;
            Expiry::At(ctx.shard.now_ms + n as u64 * 1000)
        }
        _ => Expiry::Clear,
    };
    let value = match ctx.take_large(2) {
        Some(memory) => NewValue::Large(memory.into()),
        None => NewValue::string(value),
    };
    ctx.db().set(pos, key, value, expiry, clock);
    ctx.reply.ok();
    Ok(())
}

fn incr(ctx: &mut Ctx<'_>) -> Outcome {
    let (pos, key, now) = (ctx.pos, ctx.args[1], ctx.shard.now_ms);
    let db = ctx.shard.keyspace.db_mut(usize::from(ctx.caller.db));
    let n = match db.lookup_mut(pos, key, now).live() {
        Some(mut entry) => {
            if entry.get().kind() != Kind::String {
                return Err(Error::WRONG_TYPE);
            }
            let n = entry.value().as_int().ok_or(Error::NOT_INTEGER)?;
            let n = n.checked_add(1).ok_or(Error::OVERFLOW)?;
            entry.set_int(n);
            n
        }
        None => {
            db.set(
                pos,
                key,
                NewValue::Int(1),
                Expiry::Clear,
                (now / 1000) as u32,
            );
            1
        }
    };
    ctx.reply.integer(n);
    Ok(())
}

fn mset(ctx: &mut Ctx<'_>) -> Outcome {
    if ctx.args.len().is_multiple_of(2) {
        return Err(Error::arity("mset"));
    }
    let clock = (ctx.shard.now_ms / 1000) as u32;
    let db = ctx.shard.keyspace.db_mut(usize::from(ctx.caller.db));
    let hasher = *db.hasher();
    let pairs = ctx.args[1..].chunks_exact(2);
    for chunk in ctx.args[1..].chunks(32) {
        let mut places = [crate::keyspace::Pos::default(); 16];
        let keys = chunk.len() / 2;
        for (at, pair) in chunk.chunks_exact(2).enumerate() {
            places[at] = hasher.pos(pair[0]);
            db.prefetch_directory(places[at]);
        }
        places[..keys]
            .iter()
            .for_each(|pos| db.prefetch_segment(*pos));
        places[..keys]
            .iter()
            .for_each(|pos| db.prefetch_entry(*pos));
        for (pair, pos) in chunk.chunks_exact(2).zip(places) {
            db.set(
                pos,
                pair[0],
                NewValue::string(pair[1]),
                Expiry::Clear,
                clock,
            );
        }
    }
    let _ = pairs;
    ctx.reply.ok();
    Ok(())
}
