//! What blocking commands have in common: their timeouts, and what they wait for.
use super::context::Ctx;
use super::error::{Error, Outcome};
use crate::keyspace::Kind;
use crate::resp::double::parse_wide;
use crate::shard::blocking::{Nothing, Wait};

/// The time at which a wait of so many seconds ends, Unix milliseconds; None for `0`, which is for
/// ever. A fraction of a millisecond counts as a whole one.
pub fn until_of(text: &[u8], now_ms: u64) -> Result<Option<u64>, Error> {
    let seconds = parse_wide(text)
        .filter(|seconds| !seconds.is_nan())
        .ok_or_else(|| Error::fixed("ERR timeout is not a float or out of range"))?;
    let ms = (seconds * 1000.0).ceil();
    // What is too much for Redis's 64 bits wraps around there.
    if ms < 0.0 || ms >= i64::MAX as f64 {
        return Err(Error::fixed("ERR timeout is negative"));
    }
    Ok(end_of(ms as u64, now_ms))
}

/// The same for milliseconds. What would end in a far future never ends.
pub fn end_of(ms: u64, now_ms: u64) -> Option<u64> {
    if ms == 0 {
        return None;
    }
    now_ms.checked_add(ms).filter(|end| *end <= i64::MAX as u64)
}

/// Lets the client wait until one of the keys, which are the arguments from `first` on, holds
/// something of a kind.
pub fn wait_for(
    ctx: &mut Ctx<'_>,
    first: usize,
    keys: usize,
    kind: Kind,
    until_ms: Option<u64>,
) -> Outcome {
    ctx.wait(Wait {
        until_ms,
        again_ms: None,
        keys: (first..first + keys).map(|at| at as u32).collect(),
        kind,
        destination: None,
        even_if_gone: false,
        rewritten: Vec::new(),
        nothing: Nothing::NullArray,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_rounded_up_to_milliseconds() {
        assert_eq!(until_of(b"0", 5), Ok(None));
        assert_eq!(until_of(b"0.0001", 5), Ok(Some(6)));
        assert_eq!(until_of(b"1.5", 5), Ok(Some(1505)));
        assert_eq!(until_of(b"1e-400", 5), Ok(Some(6)));
        assert_eq!(until_of(b"9007199254740991", i64::MAX as u64), Ok(None));
        for text in [
            &b"x"[..],
            b"",
            b"nan",
            b"-1",
            b"1e300",
            b"inf",
            b"9223372036854776",
        ] {
            assert!(until_of(text, 5).is_err(), "{text:?}");
        }
        let error = |text: &[u8]| until_of(text, 5).unwrap_err();
        assert_eq!(error(b"1e400").text(), b"ERR timeout is negative");
        assert_eq!(error(b"-1e400").text(), b"ERR timeout is negative");
        let out_of_range = b"ERR timeout is not a float or out of range";
        assert_eq!(error(b"1e5000").text(), out_of_range);
        assert_eq!(error(b"1e-5000").text(), out_of_range);
    }
}
