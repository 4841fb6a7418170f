//! Doubles as Redis reads and writes them: C's `strtod` and `%.17g`.

use std::io::Write;

/// Longest text of a double: sign, 17 digits, point, `e-308`.
pub const F64_TEXT_MAX: usize = 26;

/// From here on a whole number is written with an exponent.
const PLAIN_MAX: f64 = 1e17;
/// Digits that `%.17g` writes.
const DIGITS: usize = 17;

/// Reads a double as strictly as Redis's `getDoubleFromObject`: the whole text, no blank in front,
/// no NaN, neither too large nor, other than 0, too small.
#[inline]
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    if let Some(number) = parse_short(text) {
        return Some(number);
    }
    match read(text)? {
        Read::Infinite(number) => Some(number),
        Read::Finite(number, is_zero) => {
            let in_range = number.is_finite() && (number != 0.0 || is_zero);
            in_range.then_some(number)
        }
    }
}

/// Reads what Redis reads into a `long double`, whose exponents are wider: what only those of a double
/// have no room for becomes the nearest double that is finite and not 0. Hexadecimal numbers have a
/// double's range.
pub fn parse_wide(text: &[u8]) -> Option<f64> {
    /// Powers of ten between the two ranges, about.
    const APART: i64 = 4700;
    /// The largest and the least `long double`, moved by these.
    const MAX: f64 = 1.189_731_495_357_231_8e232;
    const LEAST: f64 = 3.645_199_531_882_474e-251;
    if let Some(number) = parse_f64(text) {
        return Some(number);
    }
    let Read::Finite(number, false) = read(text)? else {
        return None;
    };
    let text = std::str::from_utf8(text).ok()?;
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i64 = exponent.parse().ok()?;
    let moved = if number == 0.0 { APART } else { -APART };
    let exponent = exponent.checked_add(moved)?;
    let moved: f64 = format!("{mantissa}e{exponent}").parse().ok()?;
    let nearest = if number == 0.0 {
        (moved.abs() >= LEAST).then_some(f64::MIN_POSITIVE)
    } else {
        (moved.abs() <= MAX).then_some(f64::MAX)
    };
    Some(nearest?.copysign(number))
}

/// Reads a bound of scores as leniently as Redis does: what is too large is infinite, what is too
/// small is 0, blanks in front do not count, and nothing at all is 0.
pub fn parse_bound(text: &[u8]) -> Option<f64> {
    let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
    let text = &text[..end];
    if text.is_empty() {
        return Some(0.0);
    }
    let is_blank = |b: &u8| matches!(b, b' ' | b'\t'..=b'\r');
    let blanks = text.iter().take_while(|b| is_blank(b)).count();
    match read(&text[blanks..])? {
        Read::Infinite(number) | Read::Finite(number, _) => Some(number),
    }
}

/// A double as its text says.
enum Read {
    /// It says so itself.
    Infinite(f64),
    /// And whether all its digits are 0.
    Finite(f64, bool),
}

fn read(text: &[u8]) -> Option<Read> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let signed = |number: f64| if negative { -number } else { number };
    if digits.eq_ignore_ascii_case(b"inf") || digits.eq_ignore_ascii_case(b"infinity") {
        return Some(Read::Infinite(signed(f64::INFINITY)));
    }
    let (number, is_zero) = match digits {
        [b'0', b'x' | b'X', rest @ ..] => hexadecimal(rest)?,
        [b'0'..=b'9' | b'.', ..] => {
            let text = std::str::from_utf8(digits).ok()?;
            let number: f64 = text.parse().ok()?;
            let mantissa = digits.split(|b| matches!(b, b'e' | b'E')).next();
            let mantissa = mantissa.unwrap_or_default();
            (number, !mantissa.iter().any(|b| matches!(b, b'1'..=b'9')))
        }
        _ => return None,
    };
    Some(Read::Finite(signed(number), is_zero))
}

/// A whole number of up to 15 digits, which nearly all scores are.
#[inline]
fn parse_short(text: &[u8]) -> Option<f64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || digits.len() > 15 {
        return None;
    }
    let mut number = 0u64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + u64::from(digit);
    }
    let number = number as f64;
    Some(if negative { -number } else { number })
}

/// Hexadecimal digits with an optional point and binary exponent, rounded once; and whether all the
/// digits are 0.
fn hexadecimal(text: &[u8]) -> Option<(f64, bool)> {
    let (digits, exponent) = match text.iter().position(|b| matches!(b, b'p' | b'P')) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let (mut mantissa, mut scale, mut lost) = (0u64, 0i64, false);
    let (mut any, mut point) = (false, false);
    for byte in digits {
        if *byte == b'.' && !point {
            point = true;
            continue;
        }
        let digit = char::from(*byte).to_digit(16)?;
        any = true;
        if mantissa >> 60 == 0 {
            mantissa = mantissa << 4 | u64::from(digit);
            scale -= 4 * i64::from(point);
        } else {
            lost |= digit != 0;
            scale += 4 * i64::from(!point);
        }
    }
    if !any {
        return None;
    }
    if let Some(exponent) = exponent {
        let text = std::str::from_utf8(exponent).ok()?;
        let number: i64 = text.parse().ok()?;
        scale = scale.saturating_add(number.clamp(-100_000, 100_000));
    }
    if mantissa == 0 {
        return Some((0.0, true));
    }
    // A bit below the last one that counts says that something was cut off.
    mantissa |= u64::from(lost);
    Some((scaled(mantissa, scale), false))
}

/// `mantissa * 2^scale`, rounded once, to nearest, ties to even.
fn scaled(mantissa: u64, scale: i64) -> f64 {
    let top = 63 - i64::from(mantissa.leading_zeros());
    let exponent = top + scale;
    if exponent > 1023 {
        return f64::INFINITY;
    }
    // Bits that the result keeps: 53, fewer where it is subnormal.
    let kept = if exponent >= -1022 {
        53
    } else {
        53 - (-1022 - exponent)
    };
    let cut = top + 1 - kept;
    let (kept_bits, scale) = if cut <= 0 {
        (mantissa, scale)
    } else if cut > 64 {
        (0, 0)
    } else {
        let wide = u128::from(mantissa);
        let (high, rest) = (wide >> cut, wide & ((1 << cut) - 1));
        let half = 1u128 << (cut - 1);
        let up = rest > half || rest == half && high & 1 == 1;
        ((high + u128::from(up)) as u64, scale + cut)
    };
    // Two exact steps: neither factor is subnormal by itself.
    let half = (scale / 2) as i32;
    let rest = (scale - i64::from(half)) as i32;
    kept_bits as f64 * 2f64.powi(half) * 2f64.powi(rest)
}

/// Writes a double as `%.17g` does, `inf` and `-inf` included; the text.
pub fn format_f64(number: f64, text: &mut [u8; F64_TEXT_MAX]) -> &[u8] {
    if number.is_infinite() {
        return if number > 0.0 { b"inf" } else { b"-inf" };
    }
    if number.trunc() == number && number.abs() < PLAIN_MAX {
        if number == 0.0 && number.is_sign_negative() {
            return b"-0";
        }
        let mut digits = [0; super::number::I64_TEXT_MAX];
        let digits = super::number::format_i64(number as i64, &mut digits);
        text[..digits.len()].copy_from_slice(digits);
        return &text[..digits.len()];
    }
    let mut scientific = [0u8; 40];
    let mut rest = &mut scientific[..];
    // Room for every double: the buffer cannot be too short.
    let written = write!(rest, "{:.*e}", DIGITS - 1, number.abs());
    let left = rest.len();
    assert!(written.is_ok());
    let used = scientific.len() - left;
    let (digits, exponent) = split_scientific(&scientific[..used]);
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        text[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    if number < 0.0 {
        put(b"-");
    }
    let significant = DIGITS - digits.iter().rev().take_while(|d| **d == b'0').count();
    let digits = &digits[..significant.max(1)];
    if !(-4..DIGITS as i32).contains(&exponent) {
        put(&digits[..1]);
        if digits.len() > 1 {
            put(b".");
            put(&digits[1..]);
        }
        put(if exponent < 0 { b"e-" } else { b"e+" });
        let size = exponent.unsigned_abs();
        if size >= 100 {
            put(&[b'0' + (size / 100) as u8]);
        }
        put(&[b'0' + (size / 10 % 10) as u8, b'0' + (size % 10) as u8]);
    } else if exponent < 0 {
        put(b"0.");
        put(&b"000"[..exponent.unsigned_abs() as usize - 1]);
        put(digits);
    } else {
        let whole = exponent as usize + 1;
        if digits.len() <= whole {
            put(digits);
            put(&b"00000000000000000"[..whole - digits.len()]);
        } else {
            put(&digits[..whole]);
            put(b".");
            put(&digits[whole..]);
        }
    }
    &text[..at]
}

/// The digits and the exponent of `d.dddde-x`.
fn split_scientific(text: &[u8]) -> ([u8; DIGITS], i32) {
    let mut digits = [b'0'; DIGITS];
    digits[0] = text[0];
    digits[1..].copy_from_slice(&text[2..DIGITS + 1]);
    let exponent = super::number::parse_i64(&text[DIGITS + 2..]);
    (digits, exponent.expect("an exponent") as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(number: f64) -> String {
        let mut buffer = [0; F64_TEXT_MAX];
        String::from_utf8(format_f64(number, &mut buffer).to_vec()).expect("ascii")
    }

    #[test]
    fn doubles_are_written_with_17_digits() {
        // Read off redis-server 7.0.15.
        for (number, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-17.0, "-17"),
            (3.15, "3.1499999999999999"),
            (0.1, "0.10000000000000001"),
            (1e-5, "1.0000000000000001e-05"),
            (0.0001, "0.0001"),
            (0.00025, "0.00025000000000000001"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (123_456_789_012_345_678.0, "1.2345678901234568e+17"),
            (1e20, "1e+20"),
            (1.5e300, "1.5000000000000001e+300"),
            (-2.5e-300, "-2.5e-300"),
            (123_456.789, "123456.789"),
            (2_251_799_813_685_249.5, "2251799813685249.5"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "4.9406564584124654e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(text(number), expected);
            assert_eq!(parse_f64(expected.as_bytes()), Some(number));
        }
    }

    #[test]
    fn bounds_are_read_leniently() {
        for (text, expected) in [
            ("", 0.0),
            (" 1.5", 1.5),
            ("1e999", f64::INFINITY),
            ("-1e999", f64::NEG_INFINITY),
            ("1e-999", 0.0),
            ("+inf", f64::INFINITY),
        ] {
            assert_eq!(parse_bound(text.as_bytes()), Some(expected), "{text}");
        }
        for text in [" ", "x", "1x", "nan", "1 "] {
            assert_eq!(parse_bound(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn texts_are_read_as_by_strtod() {
        for (text, expected) in [
            ("+5", 5.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e5", 1e5),
            ("0x10", 16.0),
            ("-0x1.8p1", -3.0),
            ("0xffffffffffffffffff", 4_722_366_482_869_645_213_696.0),
            ("0x1p-1074", 5e-324),
            ("0x0p99999", 0.0),
            ("Infinity", f64::INFINITY),
            ("-INF", f64::NEG_INFINITY),
            ("0e99999", 0.0),
            ("123456789012345678901234567890", 1.2345678901234568e29),
        ] {
            assert_eq!(parse_f64(text.as_bytes()), Some(expected), "{text}");
        }
        for text in [
            "",
            "-",
            "+",
            ".",
            " 1",
            "1 ",
            "nan",
            "1e",
            "1e400",
            "1e-400",
            "0x",
            "0xg",
            "1x",
            "--1",
            "0x1p99999",
            "1e5.5",
            "\u{1F}",
        ] {
            assert_eq!(parse_f64(text.as_bytes()), None, "{text:?}");
        }
    }
}
