//! PFDEBUG and PFSELFTEST.

use super::{CORRUPTED, Sparse, encoding_to_write, raise_dense, sparse_of, store};
use crate::command::context::{Caller, Ctx};
use crate::command::error::{Error, Outcome};
use crate::keyspace::Pos;
use crate::resp::number::I64_TEXT_MAX;
use crate::shard::Shard;
use crate::types::hyperloglog::{
    self as hll, Encoding, HEAD_BYTES, REGISTERS, dense,
    sparse::{self, Hint, Raised},
};

/// PFDEBUG
pub(super) fn pfdebug(ctx: &mut Ctx<'_>) -> Outcome {
    let (caller, pos, name, key) = (ctx.caller, ctx.pos, ctx.args[1], ctx.args[2]);
    let encoding = encoding_to_write(ctx.shard, caller, pos, key)?
        .ok_or_else(|| Error::new("ERR The specified key does not exist"))?;
    match name.to_ascii_lowercase().as_slice() {
        b"getreg" => {
            make_dense(ctx.shard, caller, pos, key, encoding)?;
            let entry = ctx.shard.peek(caller, pos, key).expect("just looked up");
            let mut text = [0; I64_TEXT_MAX];
            let bytes = entry.value().bytes(&mut text).expect("a string");
            ctx.reply.array(REGISTERS);
            for index in 0..REGISTERS {
                let register = dense::get(&bytes[HEAD_BYTES..], index);
                ctx.reply.integer(i64::from(register));
            }
        }
        b"decode" => {
            if encoding != Encoding::Sparse {
                return Err(Error::new("ERR HLL encoding is not sparse"));
            }
            let string = sparse_of(ctx.shard, caller, pos, key);
            let shown = sparse::describe(&string[HEAD_BYTES..]);
            ctx.reply.bulk(shown.as_bytes());
        }
        b"encoding" => ctx.reply.simple(encoding.name()),
        b"todense" => {
            let made = make_dense(ctx.shard, caller, pos, key, encoding)?;
            ctx.reply.integer(i64::from(made));
        }
        _ => {
            let shown = String::from_utf8_lossy(name);
            return Err(Error::new(format!(
                "ERR Unknown PFDEBUG subcommand '{shown}'"
            )));
        }
    }
    Ok(())
}

/// Makes a sparse string dense; whether it was sparse.
fn make_dense(
    shard: &mut Shard,
    caller: Caller,
    pos: Pos,
    key: &[u8],
    encoding: Encoding,
) -> Result<bool, Error> {
    if encoding == Encoding::Dense {
        return Ok(false);
    }
    let string = sparse_of(shard, caller, pos, key);
    let with = hll::to_dense(&string).map_err(|_| CORRUPTED)?;
    store(shard, caller, pos, key, &with);
    raise_dense(shard, caller, pos, key, std::iter::empty());
    shard.effect_value(caller.db, pos, key);
    Ok(true)
}

/// PFSELFTEST: both forms are to hold the same registers, and to count within three times the
/// standard error. Redis counts ten million elements for some seconds; here they are fewer, since
/// the shard answers nobody meanwhile.
pub(super) fn pfselftest(ctx: &mut Ctx<'_>) -> Outcome {
    /// Elements that are counted.
    const ELEMENTS: u64 = 100_000;
    /// As long as that many are in it, the sparse form takes part.
    const SPARSE_ELEMENTS: u64 = 2_000;
    let seed = ctx.shard.random();
    let mut sparse = Sparse::from_slice(&hll::empty());
    let mut dense = vec![0; dense::BYTES];
    for n in 0..ELEMENTS {
        let (index, value) = hll::place(&(seed ^ n).to_le_bytes());
        dense::raise(&mut dense, index, value);
        if n < SPARSE_ELEMENTS && value <= 32 {
            let hint = &mut Hint::default();
            let raised = sparse::raise(&mut sparse, index, value, u64::MAX, hint);
            if raised.is_err() || raised == Ok(Raised::NeedsDense) {
                return Err(Error::new(
                    "ERR TESTFAILED the sparse form refuses a register",
                ));
            }
        }
        let counted = n + 1;
        if counted == SPARSE_ELEMENTS {
            let both = hll::to_dense(&sparse).is_ok_and(|with| with[HEAD_BYTES..] == dense);
            if !both {
                return Err(Error::new("ERR TESTFAILED sparse/dense disagree"));
            }
        }
        if counted.is_power_of_two() || counted == ELEMENTS {
            let estimate = hll::estimate(&dense::histogram(&dense));
            let error = estimate.abs_diff(counted);
            // 1.04 / sqrt(2^14), more than three times; small sets may miss by a few.
            let allowed = counted * 4 / 100 + 3;
            if error > allowed {
                return Err(Error::new(format!(
                    "ERR TESTFAILED Too big error. card:{counted} abserr:{error}"
                )));
            }
        }
    }
    ctx.reply.ok();
    Ok(())
}
