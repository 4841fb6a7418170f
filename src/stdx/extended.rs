//! Numbers of x87's extended precision (C's `long double` on x86-64): a sign, 64 bits of mantissa
//! and 15 of exponent.
//!
//! Redis computes INCRBYFLOAT and HINCRBYFLOAT in this format, reads it with `strtold` and prints it
//! with `%.17Lf`; what clients see are its roundings, so they are computed here, in integers alone:
//! every reading, sum and printing is the exact result rounded once, to nearest, ties to even.
//!
//! Results too small for the normal range keep their full mantissa instead of losing bits gradually:
//! printed with 17 decimals, all of them are 0.

use std::cmp::Ordering;
use std::fmt::Write;

/// A finite number: `mantissa` times two to the power of `exponent`. The mantissa of any number but 0
/// has its highest bit set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extended {
    negative: bool,
    mantissa: u64,
    exponent: i32,
}

/// What reading a text gives that is a number in form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parsed {
    /// A number in range.
    Finite(Extended),
    /// `inf` or `infinity`, with or without a sign.
    Infinite,
}

/// The exponent of the largest numbers: 2^16384 is out of range.
const EXPONENT_MAX: i32 = 16383 - 63;
/// The exponent, with a full mantissa, of the smallest number that is not 0: 2^-16445.
const EXPONENT_MIN: i32 = -16445 - 63;
/// Decimals that are printed.
const DECIMALS: u32 = 17;
/// 5^13 is the largest power of 5 in 32 bits.
const FIVES_MAX: u32 = 13;
/// Longest text that is read, as `string2ld` has it.
const TEXT_MAX: usize = 5119;

impl Extended {
    const ZERO: Self = Self {
        negative: false,
        mantissa: 0,
        exponent: 0,
    };

    /// A whole number.
    pub fn from_i64(number: i64) -> Self {
        let parts = round(u128::from(number.unsigned_abs()), false, 0);
        Self {
            negative: number < 0,
            ..parts.expect("64 bits are in range")
        }
    }

    /// Reads a whole text as `strtold` does, and as strictly as `string2ld`: no blanks, no NaN, not
    /// longer than 5119 bytes, neither too large nor, other than 0, too small.
    pub fn parse(text: &[u8]) -> Option<Parsed> {
        if text.len() > TEXT_MAX {
            return None;
        }
        let (negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        if digits.eq_ignore_ascii_case(b"inf") || digits.eq_ignore_ascii_case(b"infinity") {
            return Some(Parsed::Infinite);
        }
        let number = match digits {
            [b'0', b'x' | b'X', rest @ ..] => parse_hexadecimal(rest)?,
            _ => parse_decimal(digits)?,
        };
        Some(Parsed::Finite(Self { negative, ..number }))
    }

    /// The sum; None if it is out of range.
    pub fn plus(self, other: Self) -> Option<Self> {
        let (large, small) = match self.magnitude_cmp(&other) {
            Ordering::Less => (other, self),
            _ => (self, other),
        };
        if small.mantissa == 0 {
            // x87: -0 + -0 is -0, every other sum of zeros is 0.
            let negative = large.negative && (large.mantissa != 0 || small.negative);
            return Some(Self { negative, ..large });
        }
        // The larger mantissa stands in bits 62 to 125, so that a carry has room above it, and what
        // is shifted out below can be kept as one bit that says that something was there.
        const GUARD_BITS: i32 = 62;
        let apart = large.exponent - small.exponent;
        let high = u128::from(large.mantissa) << GUARD_BITS;
        let aligned = u128::from(small.mantissa) << GUARD_BITS;
        let (low, lost) = match u32::try_from(apart).expect("the larger is first") {
            0..128 => (aligned >> apart, aligned & ((1 << apart) - 1) != 0),
            _ => (0, true),
        };
        let exponent = large.exponent - GUARD_BITS;
        let sum = if large.negative == small.negative {
            round(high + low, lost, exponent)
        } else {
            // What was lost makes the difference smaller than the bits say.
            round(high - low - u128::from(lost), lost, exponent)
        }?;
        let negative = large.negative && sum.mantissa != 0;
        Some(Self { negative, ..sum })
    }

    fn magnitude_cmp(&self, other: &Self) -> Ordering {
        match (self.mantissa, other.mantissa) {
            (0, 0) => Ordering::Equal,
            (0, _) => Ordering::Less,
            (_, 0) => Ordering::Greater,
            (a, b) => self.exponent.cmp(&other.exponent).then(a.cmp(&b)),
        }
    }

    /// The text with at most 17 decimals and no zeros at the end, as Redis prints it for people.
    pub fn text(self) -> String {
        let mut text = String::new();
        if self.negative {
            text.push('-');
        }
        if self.exponent >= 0 {
            push_whole(&mut text, self.mantissa, self.exponent.unsigned_abs());
        } else {
            self.push_fraction(&mut text);
        }
        if text == "-0" {
            text.remove(0);
        }
        text
    }

    fn push_fraction(self, text: &mut String) {
        const UNIT: u128 = 10u128.pow(DECIMALS);
        let shift = self.exponent.unsigned_abs();
        let scaled = u128::from(self.mantissa) * UNIT; // below 2^121
        let units = if shift >= u128::BITS {
            0
        } else {
            let rest = scaled & ((1 << shift) - 1);
            let units = scaled >> shift;
            match rest.cmp(&(1 << (shift - 1))) {
                Ordering::Less => units,
                Ordering::Equal => units + (units & 1),
                Ordering::Greater => units + 1,
            }
        };
        let width = DECIMALS as usize;
        write!(text, "{}.{:0width$}", units / UNIT, units % UNIT).expect("a string takes it all");
        let kept = text.trim_end_matches('0').trim_end_matches('.').len();
        text.truncate(kept);
    }
}

/// The number nearest to `bits` (and a little more, if `sticky`) times two to the power of
/// `exponent`; None if it is out of range.
fn round(bits: u128, sticky: bool, exponent: i32) -> Option<Extended> {
    if bits == 0 {
        assert!(!sticky, "the callers keep at least one bit");
        return Some(Extended::ZERO);
    }
    let drop = 64 - bits.leading_zeros() as i32;
    let (mantissa, exponent) = if drop <= 0 {
        assert!(!sticky || drop == 0, "too few bits to round from");
        ((bits as u64) << -drop, exponent + drop)
    } else {
        let kept = (bits >> drop) as u64;
        let rest = bits & ((1 << drop) - 1);
        let half = 1u128 << (drop - 1);
        let up = rest > half || rest == half && (sticky || kept & 1 == 1);
        match kept.checked_add(u64::from(up)) {
            Some(mantissa) => (mantissa, exponent + drop),
            None => (1 << 63, exponent + drop + 1),
        }
    };
    (exponent <= EXPONENT_MAX).then_some(Extended {
        negative: false,
        mantissa,
        exponent,
    })
}

/// A number read from text: too small is refused as too large is, unless it is 0.
fn round_text(bits: u128, sticky: bool, exponent: i32) -> Option<Extended> {
    let number = round(bits, sticky, exponent)?;
    let rounds_to_zero = number.exponent < EXPONENT_MIN - 1
        || number.exponent == EXPONENT_MIN - 1 && number.mantissa == 1 << 63 && !sticky;
    (number.mantissa == 0 || !rounds_to_zero).then_some(number)
}

/// Digits with at most one point among them, and the exponent behind `mark` in them: the digits
/// alone, how many of them stand behind the point, and the exponent.
fn split(text: &[u8], mark: u8, is_digit: fn(&u8) -> bool) -> Option<(Vec<u8>, i32, i32)> {
    let at = text.iter().position(|b| b.to_ascii_lowercase() == mark);
    let (number, exponent) = match at {
        Some(at) => (&text[..at], parse_exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let point = number.iter().position(|b| *b == b'.');
    let (whole, fraction) = match point {
        Some(at) => (&number[..at], &number[at + 1..]),
        None => (number, &[][..]),
    };
    let digits = [whole, fraction].concat();
    let is_number = !digits.is_empty() && digits.iter().all(is_digit);
    is_number.then_some((digits, fraction.len() as i32, exponent))
}

/// An exponent; beyond what matters it stays at a large value.
fn parse_exponent(text: &[u8]) -> Option<i32> {
    /// Beyond this, and any number of digits that a text may have, all is too large or too small.
    const FAR: i32 = 100_000;
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits
        .iter()
        .fold(0, |n, d| (n * 10 + i32::from(d - b'0')).min(FAR));
    Some(if negative { -value } else { value })
}

fn parse_decimal(text: &[u8]) -> Option<Extended> {
    let (digits, decimals, exponent) = split(text, b'e', u8::is_ascii_digit)?;
    let from = digits.iter().position(|d| *d != b'0');
    let Some(from) = from else {
        return Some(Extended::ZERO);
    };
    let to = digits.iter().rposition(|d| *d != b'0').unwrap_or(from) + 1;
    let tens = exponent - decimals + (digits.len() - to) as i32;
    scale_decimal(&digits[from..to], tens)
}

/// `digits` times ten to the power of `tens`.
fn scale_decimal(digits: &[u8], tens: i32) -> Option<Extended> {
    /// Digits that fit into 64 bits, and the largest power of 5 that does.
    const SHORT_DIGITS: usize = 19;
    const SHORT_TENS: i32 = 27;
    /// Powers of ten between which the numbers of the format lie.
    const MAGNITUDE_MAX: i32 = 4933;
    const MAGNITUDE_MIN: i32 = -4952;
    if digits.len() <= SHORT_DIGITS && tens.abs() <= SHORT_TENS {
        let number = digits
            .iter()
            .fold(0u64, |n, d| n * 10 + u64::from(d - b'0'));
        let five = 5u128.pow(tens.unsigned_abs());
        if tens >= 0 {
            return round(u128::from(number) * five, false, tens);
        }
        // With the highest bit of 128 set, the quotient has at least 65 of them.
        let shift = u128::from(number).leading_zeros();
        let dividend = u128::from(number) << shift;
        let (bits, rest) = (dividend / five, dividend % five);
        return round(bits, rest != 0, tens - shift as i32);
    }
    let magnitude = digits.len() as i32 + tens;
    if !(MAGNITUDE_MIN..=MAGNITUDE_MAX).contains(&magnitude) {
        return None;
    }
    let mut number = Natural::default();
    for chunk in digits.chunks(9) {
        let value = chunk.iter().fold(0, |n, d| n * 10 + u32::from(d - b'0'));
        number.multiply_add(10u32.pow(chunk.len() as u32), value);
    }
    let fives = tens.unsigned_abs();
    let powers = (0..fives)
        .step_by(FIVES_MAX as usize)
        .map(|at| 5u32.pow(FIVES_MAX.min(fives - at)));
    if tens >= 0 {
        powers.for_each(|power| number.multiply_add(power, 0));
        let (bits, sticky, exponent) = number.top_bits();
        return round_text(bits, sticky, exponent + tens);
    }
    // Bits enough that the quotient has more than 128 of them; a power of 5 takes 2.33 each.
    let shift = fives * 7 / 3 + 160;
    let mut quotient = number.shifted(shift);
    let mut rest = false;
    for power in powers {
        rest |= quotient.divide(power) != 0;
    }
    let (bits, sticky, exponent) = quotient.top_bits();
    round_text(bits, sticky | rest, exponent + tens - shift as i32)
}

fn parse_hexadecimal(text: &[u8]) -> Option<Extended> {
    let (digits, decimals, exponent) = split(text, b'p', u8::is_ascii_hexdigit)?;
    let mut number = Natural::default();
    for digit in &digits {
        let value = (*digit as char).to_digit(16)?;
        number.multiply_add(16, value);
    }
    let (bits, sticky, more) = number.top_bits();
    round_text(bits, sticky, exponent - 4 * decimals + more)
}

/// Writes `mantissa` shifted left.
fn push_whole(text: &mut String, mantissa: u64, shift: u32) {
    let infallible = "a string takes it all";
    if shift <= 64 {
        return write!(text, "{}", u128::from(mantissa) << shift).expect(infallible);
    }
    const CHUNK: u32 = 1_000_000_000;
    let mut number = Natural::default();
    number.multiply_add(1, (mantissa >> 32) as u32);
    let mut number = number.shifted(32);
    number.multiply_add(1, mantissa as u32);
    let mut number = number.shifted(shift);
    let mut chunks = Vec::new();
    while !number.is_zero() {
        chunks.push(number.divide(CHUNK));
    }
    let first = chunks.pop().unwrap_or(0);
    write!(text, "{first}").expect(infallible);
    for chunk in chunks.iter().rev() {
        write!(text, "{chunk:09}").expect(infallible);
    }
}

/// A natural number of any size, for what does not fit into 128 bits. Lowest digit first, no zeros
/// at the end.
#[derive(Default)]
struct Natural(Vec<u32>);

impl Natural {
    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn multiply_add(&mut self, factor: u32, summand: u32) {
        let mut carry = u64::from(summand);
        for digit in &mut self.0 {
            carry += u64::from(*digit) * u64::from(factor);
            *digit = carry as u32;
            carry >>= 32;
        }
        if carry != 0 {
            self.0.push(carry as u32);
        }
    }

    /// Divides it; the rest.
    fn divide(&mut self, divisor: u32) -> u32 {
        let mut rest = 0u64;
        for digit in self.0.iter_mut().rev() {
            rest = rest << 32 | u64::from(*digit);
            *digit = (rest / u64::from(divisor)) as u32;
            rest %= u64::from(divisor);
        }
        self.trim();
        rest as u32
    }

    fn shifted(&self, bits: u32) -> Self {
        let (words, bits) = ((bits / 32) as usize, bits % 32);
        let mut digits = vec![0; words];
        let mut carry = 0;
        for digit in &self.0 {
            let wide = u64::from(*digit) << bits;
            digits.push(wide as u32 | carry);
            carry = (wide >> 32) as u32;
        }
        digits.push(carry);
        let mut shifted = Self(digits);
        shifted.trim();
        shifted
    }

    /// Its highest digits (at least 97 bits if there are so many), whether any bit below them is
    /// set, and how many bits are below them.
    fn top_bits(&self) -> (u128, bool, i32) {
        let below = self.0.len().saturating_sub(4);
        let (low, high) = self.0.split_at(below);
        let bits = high.iter().rev().fold(0, |n, d| n << 32 | u128::from(*d));
        (bits, low.iter().any(|d| *d != 0), below as i32 * 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Extended {
        match Extended::parse(text.as_bytes()) {
            Some(Parsed::Finite(number)) => number,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn sum(a: &str, b: &str) -> String {
        number(a).plus(number(b)).expect("in range").text()
    }

    #[test]
    fn sums_are_rounded_as_on_redis() {
        // Every expectation was read off redis-server 7.0.15.
        assert_eq!(sum("10.5", "0.1"), "10.6");
        assert_eq!(sum("3.0e3", "5.0e3"), "8000");
        assert_eq!(sum("1e-17", "0"), "0.00000000000000001");
        assert_eq!(sum("0x10", "1"), "17");
        assert_eq!(sum("1.", ".5"), "1.5");
        assert_eq!(sum("-0", "-0"), "0");
        assert_eq!(sum("1", "-1"), "0");
        assert_eq!(sum("1e18", "0.1"), "1000000000000000000.125");
        assert_eq!(
            sum("123456789012345678901234567890", "0"),
            "123456789012345678899921813504"
        );
    }

    #[test]
    fn the_long_way_agrees_with_the_short_one() {
        for (a, b) in [
            ("1e27", "1000000000000000000000000000.00000000000"),
            ("0.1", "0.1000000000000000000000000000000000000000000"),
            (
                "1.5e-20",
                "0.000000000000000000015000000000000000000000000000",
            ),
            ("7e-27", "0.000000000000000000000000007"),
        ] {
            assert_eq!(number(a), number(b));
        }
        // Digits that only the exact way can round.
        let long = scale_decimal(b"12345678901234567891", -19).expect("in range");
        let short = scale_decimal(b"1234567890123456789", -18).expect("in range");
        assert!(long.mantissa - short.mantissa <= 2);
        let halfway = "9223372036854775808.5"; // between two numbers of 64 bits
        assert_eq!(number(halfway).text(), "9223372036854775808");
        assert_eq!(
            number("9223372036854775809.5").text(),
            "9223372036854775810"
        );
        assert_eq!(
            number("9223372036854775808.50000000000000000000000001").text(),
            "9223372036854775809"
        );
    }

    #[test]
    fn only_numbers_in_range_are_read() {
        for text in [
            "", "-", ".", "e5", "1e", "1e+", " 1", "1 ", "nan", "0x", "1e5000", "1e-4951", "1..2",
        ] {
            assert_eq!(Extended::parse(text.as_bytes()), None, "{text:?}");
        }
        for text in ["1e4932", "1e-4950", "0e99999", "0x1p-3", "0xA.8"] {
            assert!(Extended::parse(text.as_bytes()).is_some(), "{text:?}");
        }
        assert_eq!(Extended::parse(b"-Infinity"), Some(Parsed::Infinite));
        assert!(number("1e4932").plus(number("1e4932")).is_none());
        assert_eq!(number("0xA.8").text(), "10.5");
    }
}
