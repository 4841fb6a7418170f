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
            return Err(Error::quoting(
                "ERR Unknown PFDEBUG subcommand '",
                name,
                "'",
            ));
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

/// PFSELFTEST: what Redis's does. Registers keep what is put into them; then ten million elements
/// are counted in the dense form and in one that begins sparse, which must agree, and not be further
/// off than six standard errors. As on Redis nobody else is answered meanwhile (some tenths of a
/// second): it is an administrator's command.
pub(super) fn pfselftest(ctx: &mut Ctx<'_>) -> Outcome {
    test_registers(|| ctx.shard.random())?;
    test_counts(ctx.shard.random())?;
    ctx.reply.ok();
    Ok(())
}

/// Registers filled at random are compared with an array.
fn test_registers(mut random: impl FnMut() -> u64) -> Outcome {
    /// How often all are filled.
    const ROUNDS: usize = 1000;
    /// The greatest rank that six bits hold.
    const VALUES: u64 = 64;
    let mut expected = [0; REGISTERS];
    let mut seed = random();
    for _ in 0..ROUNDS {
        let mut registers = vec![0; dense::BYTES];
        for (index, expected) in expected.iter_mut().enumerate() {
            // Knuth's generator: good enough for values, and quick.
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            *expected = (seed >> 33) as u8 % VALUES as u8;
            dense::raise(&mut registers, index, *expected);
        }
        let same = |(index, expected): (usize, &u8)| dense::get(&registers, index) == *expected;
        if let Some(wrong) = expected.iter().enumerate().position(|one| !same(one)) {
            return Err(Error::new(format!(
                "ERR TESTFAILED Register {wrong} should be {} but is {}",
                expected[wrong],
                dense::get(&registers, wrong)
            )));
        }
    }
    Ok(())
}

/// Elements are counted in both forms and compared at every power of ten.
fn test_counts(seed: u64) -> Outcome {
    /// Bytes up to which the second form is sparse: the default, whatever is configured.
    const SPARSE_BYTES_MAX: u64 = 3000;
    /// Elements that are counted.
    const ELEMENTS: u64 = 10_000_000;
    /// The standard error is 1.04 divided by the root of the number of registers.
    const STANDARD_ERROR: f64 = 1.04 / 128.0;
    const _: () = assert!(128 * 128 == REGISTERS);
    let failed = |what: String| Err(Error::new(format!("ERR TESTFAILED {what}")));
    let mut dense_only = vec![0; dense::BYTES];
    let mut sparse_first = Some(Sparse::from_slice(&hll::empty()));
    let mut other = vec![0; dense::BYTES];
    let mut hint = Hint::default();
    let mut checkpoint = 1;
    for n in 1..=ELEMENTS {
        let (index, value) = hll::place(&(seed ^ n).to_le_bytes());
        dense::raise(&mut dense_only, index, value);
        match &mut sparse_first {
            Some(string) => {
                let raised = sparse::raise(string, index, value, SPARSE_BYTES_MAX, &mut hint);
                if !matches!(raised, Ok(Raised::No | Raised::Yes)) {
                    let Ok(with) = hll::to_dense(string) else {
                        return failed("sparse form corrupted".into());
                    };
                    other.copy_from_slice(&with[HEAD_BYTES..]);
                    dense::raise(&mut other, index, value);
                    sparse_first = None;
                }
            }
            None => {
                dense::raise(&mut other, index, value);
            }
        }
        if n != checkpoint {
            continue;
        }
        let counted = hll::estimate(&dense::histogram(&dense_only));
        let histogram = match &sparse_first {
            Some(string) => sparse::histogram(&string[HEAD_BYTES..]),
            None => Ok(dense::histogram(&other)),
        };
        if sparse_first.is_none() && n < SPARSE_BYTES_MAX / 2 {
            return failed("sparse encoding not used".into());
        }
        if histogram.map(|histogram| hll::estimate(&histogram)) != Ok(counted) {
            return failed("dense/sparse disagree".into());
        }
        let error = counted.abs_diff(n);
        // Of ten elements two may easily share a register.
        let allowed = match n {
            10 => 1,
            _ => (STANDARD_ERROR * 6.0 * n as f64).ceil() as u64,
        };
        if error > allowed {
            return failed(format!("Too big error. card:{n} abserr:{error}"));
        }
        checkpoint *= 10;
    }
    Ok(())
}
