//! IDs as they are given: `ms-seq`, `ms`, and the special ones.

use crate::command::error::Error;
use crate::resp::number::parse_i64;
use crate::types::stream::StreamId;

const INVALID: Error = Error::fixed("ERR Invalid stream ID specified as stream command argument");

/// Longest text that is looked at (Redis's buffer).
const TEXT_MAX: usize = 127;

/// A number as Redis reads it here: where it is no strict integer, the way that C's `strtoull` does.
fn number(text: &[u8]) -> Option<u64> {
    if let Some(number) = parse_i64(text) {
        return u64::try_from(number).ok();
    }
    let text = text.trim_ascii_start();
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let number = digits.iter().try_fold(0u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })?;
    Some(if negative {
        number.wrapping_neg()
    } else {
        number
    })
}

/// Both parts of an ID's text; the second is None where there is no dash.
fn parts(text: &[u8]) -> Result<(u64, Option<&[u8]>), Error> {
    if text.len() > TEXT_MAX {
        return Err(INVALID);
    }
    // To Redis it is a C string.
    let end = text.iter().position(|byte| *byte == 0);
    let text = &text[..end.unwrap_or(text.len())];
    let dash = text.iter().position(|byte| *byte == b'-');
    let (ms, seq) = match dash {
        Some(dash) => (&text[..dash], Some(&text[dash + 1..])),
        None => (text, None),
    };
    Ok((number(ms).ok_or(INVALID)?, seq))
}

/// An ID; where only milliseconds are given the second number is `missing_seq`.
pub(super) fn strict(text: &[u8], missing_seq: u64) -> Result<StreamId, Error> {
    let (ms, seq) = parts(text)?;
    let seq = match seq {
        Some(seq) => number(seq).ok_or(INVALID)?,
        None => missing_seq,
    };
    Ok(StreamId { ms, seq })
}

/// An ID, or `-` or `+` for the first and the last possible one.
pub(super) fn lenient(text: &[u8], missing_seq: u64) -> Result<StreamId, Error> {
    match text {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        text => strict(text, missing_seq),
    }
}

/// The ID of a new entry: whole, or milliseconds alone (`ms-*`).
pub(super) enum Given {
    Whole(StreamId),
    Ms(u64),
}

/// The ID that is given for a new entry.
pub(super) fn of_new(text: &[u8]) -> Result<Given, Error> {
    match parts(text)? {
        (ms, Some(b"*")) => Ok(Given::Ms(ms)),
        (ms, None) => Ok(Given::Whole(StreamId { ms, seq: 0 })),
        (ms, Some(seq)) => {
            let seq = number(seq).ok_or(INVALID)?;
            Ok(Given::Whole(StreamId { ms, seq }))
        }
    }
}

/// The first ID of an interval; `(` in front excludes it.
pub(super) fn start(text: &[u8]) -> Result<StreamId, Error> {
    match text {
        [b'(', id @ ..] if text.len() > 1 => strict(id, 0)?
            .next()
            .ok_or_else(|| Error::new("ERR invalid start ID for the interval")),
        text => lenient(text, 0),
    }
}

/// The last ID of an interval; `(` in front excludes it.
pub(super) fn end(text: &[u8]) -> Result<StreamId, Error> {
    match text {
        [b'(', id @ ..] if text.len() > 1 => strict(id, u64::MAX)?
            .previous()
            .ok_or_else(|| Error::new("ERR invalid end ID for the interval")),
        text => lenient(text, u64::MAX),
    }
}

/// All IDs of a list, so that nothing is done where one of them is none. The first few need no
/// memory.
pub(super) fn list(texts: &[&[u8]]) -> Result<smallvec::SmallVec<[StreamId; 8]>, Error> {
    texts.iter().map(|text| strict(text, 0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_that_redis_takes() {
        let id = |ms, seq| Ok(StreamId { ms, seq });
        assert_eq!(strict(b"5", 7), id(5, 7));
        assert_eq!(strict(b"5-3", 7), id(5, 3));
        assert_eq!(strict(b"007- 3", 7), id(7, 3));
        assert_eq!(strict(b"1--05", 0), id(1, u64::MAX - 4));
        assert_eq!(strict(b"5\x00junk", 7), id(5, 7));
        assert_eq!(strict(b"18446744073709551615", 0), id(u64::MAX, 0));
        for bad in [
            "",
            "-",
            "+",
            "-1",
            "1-",
            "x",
            "1--5",
            "18446744073709551616",
            "1-*",
            "(1",
        ] {
            assert_eq!(strict(bad.as_bytes(), 0), Err(INVALID), "{bad}");
        }
        assert_eq!(start(b"(5"), id(5, 1));
        assert_eq!(end(b"(5-0"), id(4, u64::MAX));
        assert_eq!(start(b"-"), id(0, 0));
        assert!(start(b"(-").is_err() && end(b"(0-0").is_err() && start(b"(").is_err());
    }
}
