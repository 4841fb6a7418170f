//! The contiguous forms that small collections have in RDB, as elements: listpack, ziplist, zipmap.
//! Every length is checked against the bytes that are there.
//!
//! | form | head | element | end |
//! | --- | --- | --- | --- |
//! | listpack | bytes (4), elements (2; 65535: unknown) | as in [`packed`] | `0xff` |
//! | ziplist | bytes (4), offset of the last element (4), elements (2) | length of the one before (1, or `0xfe` and 4), then itself | `0xff` |
//! | zipmap | pairs (1; 254: unknown) | length (1, or `0xfe` and 4), key, length, n, value, n unused bytes | `0xff` |

use super::error::Bad;
use crate::types::packed::{self, Element};

const END: u8 = 0xff;
/// A listpack's head.
pub const LISTPACK_HEAD_BYTES: usize = 6;
/// The number of elements that says that they have to be counted.
const UNKNOWN_COUNT: u16 = u16::MAX;

type Read<T> = Result<T, Bad>;

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

const LISTPACK: Bad = Bad::Corrupt("a listpack is damaged");

/// Visits the elements of a listpack in order. A string that is the decimal of a number comes as
/// that number.
pub fn listpack<'a>(bytes: &'a [u8], visit: impl FnMut(Element<'a>) -> Read<()>) -> Read<()> {
    walk_listpack(bytes, visit).map(|_| ())
}

/// The same; whether every element stands in the one form that a packed block has for it.
pub fn walk_listpack<'a>(
    bytes: &'a [u8],
    mut visit: impl FnMut(Element<'a>) -> Read<()>,
) -> Read<bool> {
    let size = array(bytes, 0).map(u32::from_le_bytes).ok_or(LISTPACK)?;
    let count = array(bytes, 4).map(u16::from_le_bytes).ok_or(LISTPACK)?;
    if size as usize != bytes.len() || bytes.len() <= LISTPACK_HEAD_BYTES {
        return Err(LISTPACK);
    }
    let (mut at, mut seen, mut canonical) = (LISTPACK_HEAD_BYTES, 0usize, true);
    while bytes[at] != END {
        let (element, size) = packed::read_foreign(&bytes[at..]).ok_or(LISTPACK)?;
        let element = match element {
            Element::Bytes(text) => Element::of(text),
            int => int,
        };
        canonical &= element.packed_bytes() == size;
        visit(element)?;
        at += size;
        seen += 1;
        if at >= bytes.len() {
            return Err(LISTPACK);
        }
    }
    if at + 1 != bytes.len() || (count != UNKNOWN_COUNT && usize::from(count) != seen) {
        return Err(LISTPACK);
    }
    Ok(canonical)
}

const ZIPLIST: Bad = Bad::Corrupt("a ziplist is damaged");
const ZIPLIST_HEAD_BYTES: usize = 10;
const LONG_LENGTH: u8 = 0xfe;

/// Visits the elements of a ziplist in order.
pub fn ziplist<'a>(bytes: &'a [u8], mut visit: impl FnMut(Element<'a>) -> Read<()>) -> Read<()> {
    let size = array(bytes, 0).map(u32::from_le_bytes).ok_or(ZIPLIST)?;
    let tail = array(bytes, 4).map(u32::from_le_bytes).ok_or(ZIPLIST)?;
    let count = array(bytes, 8).map(u16::from_le_bytes).ok_or(ZIPLIST)?;
    if size as usize != bytes.len() {
        return Err(ZIPLIST);
    }
    let (mut at, mut before, mut last, mut seen) = (ZIPLIST_HEAD_BYTES, 0, ZIPLIST_HEAD_BYTES, 0);
    loop {
        match bytes.get(at) {
            Some(&END) => break,
            Some(_) => {}
            None => return Err(ZIPLIST),
        }
        let (element, len) = ziplist_element(bytes, at, before).ok_or(ZIPLIST)?;
        visit(element)?;
        (last, before) = (at, len);
        at += len;
        seen += 1usize;
    }
    let counted = count == UNKNOWN_COUNT || usize::from(count) == seen;
    if at + 1 != bytes.len() || tail as usize != last || !counted {
        return Err(ZIPLIST);
    }
    Ok(())
}

/// The element at an offset whose predecessor has `before` bytes, and its own bytes.
fn ziplist_element(bytes: &[u8], at: usize, before: usize) -> Option<(Element<'_>, usize)> {
    let (named, mut next) = match *bytes.get(at)? {
        LONG_LENGTH => (
            u32::from_le_bytes(array(bytes, at + 1)?) as usize,
            at.checked_add(5)?,
        ),
        short => (usize::from(short), at + 1),
    };
    if named != before {
        return None;
    }
    let head = *bytes.get(next)?;
    next += 1;
    let int_of = |count: usize, unused: u32| {
        let mut low = [0; 8];
        low[..count].copy_from_slice(bytes.get(next..next + count)?);
        Some((
            Element::Int(i64::from_le_bytes(low) << unused >> unused),
            next + count,
        ))
    };
    let (element, end) = match head {
        0xc0 => int_of(2, 48)?,
        0xd0 => int_of(4, 32)?,
        0xe0 => int_of(8, 0)?,
        0xf0 => int_of(3, 40)?,
        0xfe => int_of(1, 56)?,
        0xf1..=0xfd => (Element::Int(i64::from(head & 15) - 1), next),
        0..0xc0 => {
            let (len, start) = match head >> 6 {
                0 => (usize::from(head & 63), next),
                1 => (
                    usize::from(head & 63) << 8 | usize::from(*bytes.get(next)?),
                    next + 1,
                ),
                _ => (u32::from_be_bytes(array(bytes, next)?) as usize, next + 4),
            };
            let text = bytes.get(start..start.checked_add(len)?)?;
            (Element::of(text), start + len)
        }
        _ => return None,
    };
    Some((element, end - at))
}

const ZIPMAP: Bad = Bad::Corrupt("a zipmap is damaged");

/// Visits the keys and values of a zipmap.
pub fn zipmap<'a>(
    bytes: &'a [u8],
    mut visit: impl FnMut(&'a [u8], &'a [u8]) -> Read<()>,
) -> Read<()> {
    let length = |at: usize| match *bytes.get(at)? {
        END => None,
        LONG_LENGTH => Some((
            u32::from_le_bytes(array(bytes, at + 1)?) as usize,
            at.checked_add(5)?,
        )),
        short => Some((usize::from(short), at + 1)),
    };
    let pair = |at: usize| {
        let (len, start) = length(at)?;
        let key = bytes.get(start..start.checked_add(len)?)?;
        let (value_len, start) = length(start + len)?;
        let unused = usize::from(*bytes.get(start)?);
        let start = start + 1;
        let value = bytes.get(start..start.checked_add(value_len)?)?;
        Some((key, value, start + value_len + unused))
    };
    let count = *bytes.first().ok_or(ZIPMAP)?;
    let (mut at, mut seen) = (1, 0usize);
    loop {
        match bytes.get(at) {
            Some(&END) => break,
            Some(_) => {}
            None => return Err(ZIPMAP),
        }
        let (key, value, next) = pair(at).ok_or(ZIPMAP)?;
        visit(key, value)?;
        at = next;
        seen += 1;
    }
    let counted = count >= LONG_LENGTH || usize::from(count) == seen;
    if at + 1 != bytes.len() || !counted {
        return Err(ZIPMAP);
    }
    Ok(())
}

/// Appends the listpack with these elements, `count` of them, as they stand in a packed block.
pub fn put_listpack(elements: &[&[u8]], count: usize, out: &mut Vec<u8>) {
    let len: usize = elements.iter().map(|part| part.len()).sum();
    let size = u32::try_from(LISTPACK_HEAD_BYTES + len + 1).expect("blocks stay below 4 GiB");
    out.reserve(size as usize);
    out.extend_from_slice(&size.to_le_bytes());
    let count = u16::try_from(count).unwrap_or(UNKNOWN_COUNT);
    out.extend_from_slice(&count.to_le_bytes());
    elements.iter().for_each(|part| out.extend_from_slice(part));
    out.push(END);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collected(
        bytes: &[u8],
        walk: impl Fn(&[u8], &mut dyn FnMut(Element<'_>) -> Read<()>) -> Read<()>,
    ) -> Read<Vec<Vec<u8>>> {
        let mut found = Vec::new();
        walk(bytes, &mut |element| {
            found.push(element.to_vec());
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn a_listpack_is_the_block_in_another_frame() {
        let texts: [&[u8]; 7] = [
            b"a",
            b"17",
            b"-5000",
            b"",
            b"9223372036854775807",
            b"07",
            &[b'x'; 16_381],
        ];
        let mut block = packed::EMPTY.to_vec();
        for text in texts {
            packed::push(&mut block, &[Element::of(text)]);
        }
        let mut bytes = Vec::new();
        put_listpack(&[&block[2..]], texts.len(), &mut bytes);
        assert_eq!(
            collected(&bytes, |b, v| listpack(b, v)).expect("sound"),
            texts
        );
        assert!(walk_listpack(&bytes, |_| Ok(())).expect("sound"));
        for cut in [0, 1, 7, 9, 15, bytes.len() - 1] {
            assert!(listpack(&bytes[..cut], |_| Ok(())).is_err());
        }
    }

    #[test]
    fn a_ziplist_and_a_zipmap_as_written_by_hand() {
        // "a", 4096, 12, "hello".
        let mut bytes = vec![0, 0, 0, 0, 0, 0, 0, 0, 4, 0];
        bytes.extend_from_slice(&[0, 1, b'a', 3, 0xc0, 0, 16, 4, 0xfd, 2, 5]);
        let last = bytes.len() - 2;
        bytes.extend_from_slice(b"hello");
        bytes.push(END);
        let len = bytes.len() as u32;
        bytes[..4].copy_from_slice(&len.to_le_bytes());
        bytes[4..8].copy_from_slice(&(last as u32).to_le_bytes());
        let found = collected(&bytes, |b, v| ziplist(b, v)).expect("sound");
        assert_eq!(found, [&b"a"[..], b"4096", b"12", b"hello"]);
        bytes[10] = 1;
        assert!(ziplist(&bytes, |_| Ok(())).is_err());

        let map = b"\x02\x03foo\x03\x00bar\x01k\x02\x01vvx\xff";
        let mut found = Vec::new();
        zipmap(map, |key, value| {
            found.push((key, value));
            Ok(())
        })
        .expect("sound");
        assert_eq!(found, [(&b"foo"[..], &b"bar"[..]), (b"k", b"vv")]);
    }

    #[test]
    fn any_bytes_are_taken_without_harm() {
        let mut random = fastrand::Rng::with_seed(9);
        for _ in 0..50_000 {
            let mut bytes: Vec<u8> = (0..random.usize(..40)).map(|_| random.u8(..)).collect();
            if bytes.len() > 12 {
                let len = bytes.len() as u32;
                bytes[..4].copy_from_slice(&len.to_le_bytes());
                bytes[4..6].copy_from_slice(&[0xff; 2]);
                let _ = listpack(&bytes, |_| Ok(()));
                bytes[4..10].copy_from_slice(&[10, 0, 0, 0, 0xff, 0xff]);
                let _ = ziplist(&bytes, |_| Ok(()));
            }
            let _ = zipmap(&bytes, |_, _| Ok(()));
        }
    }
}
