//! Elements of a block's body, in the encoding of Redis's listpack, so that a block can be written
//! to and read from an RDB file as it is, and so that blocks are full at the very entry at which
//! Redis's are.
//!
//! | first byte | what follows |
//! | --- | --- |
//! | `0xxxxxxx` | an integer, 0 to 127 |
//! | `10xxxxxx` | a string of up to 63 bytes |
//! | `110xxxxx` | an integer of 13 bits, the lower 8 of them in the next byte |
//! | `1110xxxx` | a string of up to 4095 bytes, the lower 8 bits of its length in the next byte |
//! | `11110000` | length in 4 bytes, string |
//! | `11110001` to `11110100` | an integer of 2, 3, 4 or 8 bytes, little-endian |
//!
//! After each element stands its length, 7 bits a byte, to be read from the end: all bytes but the
//! first have the highest bit set.

use crate::resp::number::{I64_TEXT_MAX, format_i64, parse_i64};

/// An element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Element<'a> {
    /// A number, or a string that is the decimal of one.
    Int(i64),
    /// Any other string.
    Bytes(&'a [u8]),
}

impl<'a> Element<'a> {
    /// The element as a string; a number's decimal is written into `text`.
    pub fn bytes<'b>(self, text: &'b mut [u8; I64_TEXT_MAX]) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Self::Int(number) => format_i64(number, text),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// Whether it is what [`push_bytes`] makes of the string.
    #[inline]
    pub(super) fn is(self, string: &[u8]) -> bool {
        match self {
            Self::Bytes(bytes) => bytes == string,
            Self::Int(number) => parse_i64(string) == Some(number),
        }
    }

    /// The number; the element must be one.
    #[inline]
    pub(super) fn int(self) -> i64 {
        match self {
            Self::Int(number) => number,
            Self::Bytes(_) => unreachable!("a string where a block has a number"),
        }
    }
}

/// Most bytes that an element takes besides its string: head and length behind.
pub(super) const OVERHEAD_MAX: usize = 10;

/// Most bytes that a string of a length takes: as a number it takes no more than as text.
pub(super) fn len_max(len: usize) -> usize {
    len + match len {
        ..64 => 2,
        64..4096 => 4,
        _ => OVERHEAD_MAX,
    }
}

/// Bytes of an integer's encoding, length behind included.
pub(super) fn int_len(number: i64) -> usize {
    1 + match number {
        0..=127 => 1,
        -4096..=4095 => 2,
        -32768..=32767 => 3,
        -8_388_608..=8_388_607 => 4,
        -2_147_483_648..=2_147_483_647 => 5,
        _ => 9,
    }
}

/// Appends a number.
#[inline]
pub(super) fn push_int(body: &mut Vec<u8>, number: i64) {
    let at = body.len();
    match number {
        0..=127 => return body.extend_from_slice(&[number as u8, 1]),
        -4096..=4095 => {
            let bits = number as u16 & 0x1fff;
            body.extend_from_slice(&[0xc0 | (bits >> 8) as u8, bits as u8]);
        }
        _ => {
            let bytes = number.to_le_bytes();
            let (head, len) = match int_len(number) {
                4 => (0xf1, 2),
                5 => (0xf2, 3),
                6 => (0xf3, 4),
                _ => (0xf4, 8),
            };
            body.push(head);
            body.extend_from_slice(&bytes[..len]);
        }
    }
    push_back_len(body, body.len() - at);
}

/// Appends a string, as a number where it is the decimal of one.
#[inline]
pub(super) fn push_bytes(body: &mut Vec<u8>, string: &[u8]) {
    if string.len() <= I64_TEXT_MAX
        && let Some(number) = parse_i64(string)
    {
        return push_int(body, number);
    }
    let at = body.len();
    match string.len() {
        len @ ..64 => body.push(0x80 | len as u8),
        len @ 64..4096 => body.extend_from_slice(&[0xe0 | (len >> 8) as u8, len as u8]),
        len => {
            body.push(0xf0);
            body.extend_from_slice(&(len as u32).to_le_bytes());
        }
    }
    body.extend_from_slice(string);
    push_back_len(body, body.len() - at);
}

#[inline]
fn push_back_len(body: &mut Vec<u8>, len: usize) {
    if len < 128 {
        return body.push(len as u8);
    }
    let more = back_len_bytes(len);
    for at in (0..more).rev() {
        let bits = (len >> (7 * at)) as u8 & 127;
        body.push(if at == more - 1 { bits } else { bits | 128 });
    }
}

/// Bytes of the length behind an element. From two bytes on the largest length that would fit takes
/// one more: so it is in Redis, and so its readers expect it.
#[inline]
fn back_len_bytes(len: usize) -> usize {
    match len {
        ..128 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

/// The element at an offset, and the offset behind it.
#[inline]
pub(super) fn read(body: &[u8], at: usize) -> (Element<'_>, usize) {
    let head = body[at];
    let little = |len: usize| {
        let mut bytes = [0; 8];
        bytes[..len].copy_from_slice(&body[at + 1..=at + len]);
        i64::from_le_bytes(bytes)
    };
    // Sign-extends a number of so many bits.
    let signed = |number: i64, bits: u32| number << (64 - bits) >> (64 - bits);
    let (element, len) = match head {
        0..0x80 => return (Element::Int(i64::from(head)), at + 2),
        0x80..0xc0 => {
            let len = usize::from(head & 63);
            (Element::Bytes(&body[at + 1..at + 1 + len]), 1 + len)
        }
        0xc0..0xe0 => {
            let bits = i64::from(head & 31) << 8 | i64::from(body[at + 1]);
            (Element::Int(signed(bits, 13)), 2)
        }
        0xe0..0xf0 => {
            let len = usize::from(head & 15) << 8 | usize::from(body[at + 1]);
            (Element::Bytes(&body[at + 2..at + 2 + len]), 2 + len)
        }
        0xf0 => {
            let len = little(4) as usize;
            (Element::Bytes(&body[at + 5..at + 5 + len]), 5 + len)
        }
        0xf1 => (Element::Int(signed(little(2), 16)), 3),
        0xf2 => (Element::Int(signed(little(3), 24)), 4),
        0xf3 => (Element::Int(signed(little(4), 32)), 5),
        0xf4 => (Element::Int(little(8)), 9),
        other => unreachable!("no element begins with {other:#x}"),
    };
    (element, at + len + back_len_bytes(len))
}

/// The offset behind the element at an offset.
#[inline]
pub(super) fn skip(body: &[u8], at: usize) -> usize {
    match body[at] {
        0..0x80 => at + 2,
        // The whole of it, and so its length behind, is shorter than 128 bytes.
        head @ 0x80..0xc0 => at + 2 + usize::from(head & 63),
        _ => read(body, at).1,
    }
}

/// The offset of the element that ends at an offset.
#[inline]
pub(super) fn before(body: &[u8], end: usize) -> usize {
    let (mut len, mut shift, mut at) = (0, 0, end);
    loop {
        at -= 1;
        len |= usize::from(body[at] & 127) << shift;
        if body[at] & 128 == 0 {
            return end - len - (end - at);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_from_both_ends() {
        let numbers = [
            0,
            1,
            127,
            128,
            -1,
            4095,
            4096,
            -4096,
            -4097,
            32767,
            32768,
            -32768,
            -32769,
            8_388_607,
            8_388_608,
            -8_388_608,
            -8_388_609,
            2_147_483_647,
            2_147_483_648,
            -2_147_483_648,
            -2_147_483_649,
            i64::MAX,
            i64::MIN,
        ];
        let strings: Vec<Vec<u8>> = [
            0, 1, 63, 64, 125, 126, 127, 128, 4095, 4096, 16_384, 70_000, 2_100_000,
        ]
        .iter()
        .map(|len| vec![b'x'; *len])
        .collect();
        let mut body = Vec::new();
        for number in numbers {
            let before = body.len();
            push_int(&mut body, number);
            assert_eq!(body.len() - before, int_len(number), "{number}");
            assert!(int_len(number) <= len_max(number.to_string().len()));
        }
        for string in &strings {
            let before = body.len();
            push_bytes(&mut body, string);
            assert!(body.len() - before <= len_max(string.len()));
        }
        push_bytes(&mut body, b"-12345");
        push_bytes(&mut body, b"012");
        let mut wanted: Vec<Element<'_>> = numbers.iter().map(|n| Element::Int(*n)).collect();
        wanted.extend(strings.iter().map(|s| Element::Bytes(s)));
        wanted.extend([Element::Int(-12345), Element::Bytes(b"012")]);
        let (mut at, mut offsets) = (0, Vec::new());
        for element in &wanted {
            offsets.push(at);
            let (found, next) = read(&body, at);
            assert_eq!(found, *element);
            assert_eq!(skip(&body, at), next);
            at = next;
        }
        assert_eq!(at, body.len());
        for offset in offsets.iter().rev() {
            at = before(&body, at);
            assert_eq!(at, *offset);
        }
    }
}
