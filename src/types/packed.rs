//! The block that small collections are packed into: elements one behind the other, each an integer
//! in as few bytes as it needs or a byte string, walked from both ends.
//!
//! It stands inside an entry ([`Value::Packed`](crate::keyspace::Value::Packed), changed through
//! [`EntryMut`](crate::keyspace::EntryMut)) or in a `Vec<u8>`; [`Block`] is what the two have in
//! common, and the functions that change a block work on either. What the elements mean (pairs,
//! triples, an order) is the type's affair.
//!
//! | bytes | what |
//! | --- | --- |
//! | 2 | number of elements, little-endian; bit 15: they expire by themselves ([`Packed::due`]) |
//! | n | the elements |
//!
//! | element | bytes | its head |
//! | --- | --- | --- |
//! | integer 0 to 127 | 1 | `0vvvvvvv` |
//! | integer of 13 bits, signed | 2 | `110vvvvv vvvvvvvv` |
//! | integer of 16, 24, 32, 64 bits | 3, 4, 5, 9 | `0xF1` to `0xF4`, then little-endian |
//! | string up to 63 bytes | 1 + n | `10nnnnnn` |
//! | string up to 4095 bytes | 2 + n | `1110nnnn nnnnnnnn` |
//! | string up to 2^32 - 1 bytes | 5 + n | `0xF0`, then the length, little-endian |
//!
//! Behind each element stands its length so far, in 7 bits a byte, most significant byte first, all
//! but the first byte with the highest bit set: read backwards it says where the element begins.
//!
//! The elements are those of Redis's listpack byte for byte
//! (<https://github.com/antirez/listpack/blob/master/listpack.md>), so that a snapshot copies them;
//! only its head of 6 bytes and its end byte are not kept in memory. A text that is the canonical
//! decimal of an i64 is always stored as an integer ([`Element::of`]): each element has one form, and
//! looking for one compares bytes.

use crate::resp::number::{I64_TEXT_MAX, format_i64, parse_i64};
use smallvec::{Array, SmallVec};

/// Bytes in front of the first element.
pub const HEAD_BYTES: usize = 2;
/// Most elements that a block can have.
pub const COUNT_MAX: usize = (1 << 15) - 1;
/// Most bytes of a block inside an entry.
pub const ENTRY_BYTES_MAX: usize = u16::MAX as usize;
/// The block without elements.
pub const EMPTY: [u8; HEAD_BYTES] = [0; HEAD_BYTES];

/// Of the head's number: the bit that says that what is in the block expires by itself.
const MARK: u16 = 1 << 15;
/// The first element of a marked block in which nothing expires.
pub const NO_DUE: i64 = i64::MAX;

const STR6_LEN_MAX: usize = 63;
const STR12_LEN_MAX: usize = 4095;
const HEAD_STR32: u8 = 0xf0;
const HEAD_INT16: u8 = 0xf1;
const HEAD_INT24: u8 = 0xf2;
const HEAD_INT32: u8 = 0xf3;
const HEAD_INT64: u8 = 0xf4;

/// An element, as it is read or to be stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Element<'a> {
    /// The decimal of this number.
    Int(i64),
    /// A byte string that is the canonical decimal of no number.
    Bytes(&'a [u8]),
}

impl<'a> Element<'a> {
    /// The element for a text: a number where it is the canonical decimal of one.
    #[inline]
    pub fn of(text: &'a [u8]) -> Self {
        match parse_i64(text) {
            Some(number) => Self::Int(number),
            None => Self::Bytes(text),
        }
    }

    /// The text. A number's decimal is written into `text`.
    #[inline]
    pub fn text<'b>(&self, text: &'b mut [u8; I64_TEXT_MAX]) -> &'b [u8]
    where
        'a: 'b,
    {
        match *self {
            Self::Int(number) => format_i64(number, text),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// The text, in memory of its own.
    pub fn to_vec(&self) -> Vec<u8> {
        self.text(&mut [0; I64_TEXT_MAX]).to_vec()
    }

    /// Bytes of the text.
    #[inline]
    pub fn text_len(&self) -> usize {
        self.text(&mut [0; I64_TEXT_MAX]).len()
    }

    /// The number, if it is one.
    #[inline]
    pub fn int(&self) -> Option<i64> {
        match *self {
            Self::Int(number) => Some(number),
            Self::Bytes(_) => None,
        }
    }

    /// Bytes that it takes in a block.
    #[inline]
    pub fn packed_bytes(&self) -> usize {
        let bytes = match *self {
            Self::Int(number) => int_bytes(number),
            Self::Bytes(bytes) => str_head_bytes(bytes.len()) + bytes.len(),
        };
        bytes + back_bytes(bytes)
    }

    /// Writes it at the start of `to`, which has room; the bytes written.
    #[inline]
    pub fn write(&self, to: &mut [u8]) -> usize {
        let bytes = match *self {
            Self::Int(number) => write_int(number, to),
            Self::Bytes(bytes) => {
                let head = write_str_head(bytes.len(), to);
                to[head..head + bytes.len()].copy_from_slice(bytes);
                head + bytes.len()
            }
        };
        bytes + write_back(bytes, &mut to[bytes..])
    }
}

#[inline]
fn int_bytes(number: i64) -> usize {
    match number {
        0..=127 => 1,
        -4096..=4095 => 2,
        -0x8000..=0x7fff => 3,
        -0x80_0000..=0x7f_ffff => 4,
        -0x8000_0000..=0x7fff_ffff => 5,
        _ => 9,
    }
}

#[inline]
fn write_int(number: i64, to: &mut [u8]) -> usize {
    let bytes = int_bytes(number);
    let low = number.to_le_bytes();
    match bytes {
        1 => to[0] = low[0],
        2 => (to[0], to[1]) = (0xc0 | low[1] & 0x1f, low[0]),
        n => {
            to[0] = match n {
                3 => HEAD_INT16,
                4 => HEAD_INT24,
                5 => HEAD_INT32,
                _ => HEAD_INT64,
            };
            to[1..n].copy_from_slice(&low[..n - 1]);
        }
    }
    bytes
}

#[inline]
fn str_head_bytes(len: usize) -> usize {
    match len {
        ..=STR6_LEN_MAX => 1,
        64..=STR12_LEN_MAX => 2,
        _ => 5,
    }
}

#[inline]
fn write_str_head(len: usize, to: &mut [u8]) -> usize {
    match str_head_bytes(len) {
        1 => to[0] = 0x80 | len as u8,
        2 => (to[0], to[1]) = (0xe0 | (len >> 8) as u8, len as u8),
        _ => {
            let len = u32::try_from(len).expect("arguments stay below 4 GiB");
            to[0] = HEAD_STR32;
            to[1..5].copy_from_slice(&len.to_le_bytes());
        }
    }
    str_head_bytes(len)
}

/// Bytes that the length behind an element of so many bytes takes. From two bytes on the largest
/// length that would fit takes one more: so it is in Redis, and so its readers expect it.
#[inline]
fn back_bytes(bytes: usize) -> usize {
    match bytes {
        ..0x80 => 1,
        0x80..0x3fff => 2,
        0x3fff..0x1f_ffff => 3,
        0x1f_ffff..0xfff_ffff => 4,
        _ => 5,
    }
}

#[inline]
fn write_back(bytes: usize, to: &mut [u8]) -> usize {
    let count = back_bytes(bytes);
    for (n, byte) in to[..count].iter_mut().rev().enumerate() {
        *byte = (bytes >> (7 * n) & 0x7f) as u8 | 0x80;
    }
    to[0] &= 0x7f;
    count
}

/// A block, for reading. Offsets are those of elements in it, from [`HEAD_BYTES`] to the block's end
/// (exclusive); a change behind an offset leaves it valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packed<'a> {
    bytes: &'a [u8],
}

impl<'a> Packed<'a> {
    /// The block that these bytes are. They must be sound ([`is_sound`]): what comes from outside is
    /// to be checked first.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        assert!(bytes.len() >= HEAD_BYTES, "a block has a head");
        Self { bytes }
    }

    /// Its bytes.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(head(self.bytes) & !MARK)
    }

    /// Whether there are no elements.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == HEAD_BYTES
    }

    /// Whether the first element says when something in the block expires. False in a new block.
    #[inline]
    pub fn mark(&self) -> bool {
        head(self.bytes) & MARK != 0
    }

    /// When something in the block next expires, or a lower bound of it, unix milliseconds. Where
    /// the block has the [mark](Self::mark) this is its first element ([`NO_DUE`]: nothing does).
    #[inline]
    pub fn due(&self) -> Option<u64> {
        if !self.mark() || self.is_empty() {
            return None;
        }
        let due = self.get(HEAD_BYTES).int()?;
        (due != NO_DUE).then_some(due as u64)
    }

    /// Offset of the first element; [`end`](Self::end) if there is none.
    #[inline]
    pub fn start(&self) -> usize {
        HEAD_BYTES
    }

    /// The offset behind the last element.
    #[inline]
    pub fn end(&self) -> usize {
        self.bytes.len()
    }

    /// Offset of the element behind the one at `at`, or [`end`](Self::end).
    #[inline]
    pub fn next(&self, at: usize) -> usize {
        let bytes = self.element_bytes(at);
        at + bytes + back_bytes(bytes)
    }

    /// Offset of the element `count` elements behind `at`, or [`end`](Self::end).
    #[inline]
    pub fn skip(&self, mut at: usize, count: usize) -> usize {
        for _ in 0..count {
            if at == self.end() {
                break;
            }
            at = self.next(at);
        }
        at
    }

    /// Offset of the element in front of `at` (which may be the end), or None at the start.
    #[inline]
    pub fn prev(&self, at: usize) -> Option<usize> {
        if at == HEAD_BYTES {
            return None;
        }
        let (mut bytes, mut shift, mut count) = (0, 0, 0);
        loop {
            let byte = self.bytes[at - 1 - count];
            bytes |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            count += 1;
            if byte & 0x80 == 0 {
                return Some(at - count - bytes);
            }
        }
    }

    /// Bytes of the element at `at` without the length behind it.
    #[inline]
    fn element_bytes(&self, at: usize) -> usize {
        let head = self.bytes[at];
        match head {
            0..0x80 => 1,
            0x80..0xc0 => 1 + usize::from(head & 0x3f),
            0xc0..0xe0 => 2,
            0xe0..HEAD_STR32 => 2 + self.str12_len(at),
            HEAD_STR32 => 5 + self.str32_len(at),
            HEAD_INT16 => 3,
            HEAD_INT24 => 4,
            HEAD_INT32 => 5,
            HEAD_INT64 => 9,
            _ => unreachable!("a block's bytes are sound"),
        }
    }

    #[inline]
    fn str12_len(&self, at: usize) -> usize {
        usize::from(self.bytes[at] & 0xf) << 8 | usize::from(self.bytes[at + 1])
    }

    #[inline]
    fn str32_len(&self, at: usize) -> usize {
        let [_, a, b, c, d] = self.bytes[at..at + 5] else {
            unreachable!("five bytes")
        };
        u32::from_le_bytes([a, b, c, d]) as usize
    }

    /// The element at `at`.
    #[inline]
    pub fn get(&self, at: usize) -> Element<'a> {
        let head = self.bytes[at];
        let string = |start: usize, len: usize| Element::Bytes(&self.bytes[start..start + len]);
        match head {
            0..0x80 => Element::Int(i64::from(head)),
            0x80..0xc0 => string(at + 1, usize::from(head & 0x3f)),
            0xc0..0xe0 => {
                let bits = u16::from(head & 0x1f) << 8 | u16::from(self.bytes[at + 1]);
                // The sign stands in bit 12.
                Element::Int(i64::from((bits << 3).cast_signed() >> 3))
            }
            0xe0..HEAD_STR32 => string(at + 2, self.str12_len(at)),
            HEAD_STR32 => string(at + 5, self.str32_len(at)),
            _ => Element::Int(self.long_int(at)),
        }
    }

    fn long_int(&self, at: usize) -> i64 {
        let count = self.element_bytes(at) - 1;
        let mut low = [0; 8];
        low[..count].copy_from_slice(&self.bytes[at + 1..at + 1 + count]);
        let unused = 64 - 8 * count as u32;
        i64::from_le_bytes(low) << unused >> unused
    }

    /// Offset of the element with this index, walked to from the nearer end; None past the end.
    pub fn nth(&self, index: usize) -> Option<usize> {
        let len = self.len();
        if index >= len {
            return None;
        }
        if index <= len / 2 {
            return Some(self.skip(HEAD_BYTES, index));
        }
        (index..len).try_fold(self.end(), |at, _| self.prev(at))
    }

    /// Offset of the first element that equals `wanted` among those at `from` and then every
    /// `stride` elements (2 for the fields of pairs).
    #[inline]
    pub fn find(&self, wanted: Element<'_>, from: usize, stride: usize) -> Option<usize> {
        let mut at = from;
        match wanted {
            Element::Bytes(wanted) if wanted.len() <= STR6_LEN_MAX => {
                let head = 0x80 | wanted.len() as u8;
                while at < self.end() {
                    if self.bytes[at] == head && self.bytes[at + 1..].starts_with(wanted) {
                        return Some(at);
                    }
                    at = self.skip(at, stride);
                }
                None
            }
            wanted => {
                while at < self.end() {
                    if self.get(at) == wanted {
                        return Some(at);
                    }
                    at = self.skip(at, stride);
                }
                None
            }
        }
    }

    /// All elements with their offsets, from either end.
    pub fn iter(&self) -> Iter<'a> {
        self.iter_between(HEAD_BYTES, self.end())
    }

    /// The elements from one offset up to another (exclusive), from either end.
    pub fn iter_between(&self, from: usize, to: usize) -> Iter<'a> {
        Iter {
            block: *self,
            from,
            to,
        }
    }
}

#[inline]
fn head(bytes: &[u8]) -> u16 {
    u16::from_le_bytes([bytes[0], bytes[1]])
}

#[inline]
fn set_head(bytes: &mut [u8], head: u16) {
    bytes[..HEAD_BYTES].copy_from_slice(&head.to_le_bytes());
}

/// See [`Packed::iter`].
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    block: Packed<'a>,
    from: usize,
    to: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (usize, Element<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.from >= self.to {
            return None;
        }
        let at = self.from;
        self.from = self.block.next(at);
        Some((at, self.block.get(at)))
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.from >= self.to {
            return None;
        }
        self.to = self.block.prev(self.to)?;
        Some((self.to, self.block.get(self.to)))
    }
}

/// Where a block stands that may be changed.
pub trait Block {
    /// Its bytes.
    fn block(&self) -> &[u8];
    /// Its bytes, to be changed in place.
    fn block_mut(&mut self) -> &mut [u8];
    /// Takes `remove` bytes out at `at` and makes room for `insert` there: returns that room, which
    /// the caller fills.
    fn splice(&mut self, at: usize, remove: usize, insert: usize) -> &mut [u8];
}

impl Block for Vec<u8> {
    fn block(&self) -> &[u8] {
        self
    }

    fn block_mut(&mut self) -> &mut [u8] {
        self
    }

    fn splice(&mut self, at: usize, remove: usize, insert: usize) -> &mut [u8] {
        let (tail, old) = (at + remove, self.len());
        if insert > remove {
            self.resize(old + insert - remove, 0);
            self.copy_within(tail..old, at + insert);
        } else {
            self.copy_within(tail..old, at + insert);
            self.truncate(old - (remove - insert));
        }
        &mut self[at..at + insert]
    }
}

impl<A: Array<Item = u8>> Block for SmallVec<A> {
    fn block(&self) -> &[u8] {
        self
    }

    fn block_mut(&mut self) -> &mut [u8] {
        self
    }

    fn splice(&mut self, at: usize, remove: usize, insert: usize) -> &mut [u8] {
        let (tail, old) = (at + remove, self.len());
        self.resize(old.max(old - remove + insert), 0);
        self.copy_within(tail..old, at + insert);
        self.truncate(old - remove + insert);
        &mut self[at..at + insert]
    }
}

/// Bytes that elements take in a block.
#[inline]
pub fn packed_bytes(elements: &[Element<'_>]) -> usize {
    elements.iter().map(Element::packed_bytes).sum()
}

/// Whether the block has room for so many more bytes and elements inside an entry.
#[inline]
pub fn has_room(block: Packed<'_>, bytes: usize, elements: usize) -> bool {
    block.end() + bytes <= ENTRY_BYTES_MAX && block.len() + elements <= COUNT_MAX
}

/// Puts elements where the `remove` elements at `at` were (none: they are inserted there; `at` may be
/// the end). Inside an entry the caller has checked [`has_room`].
pub fn replace(block: &mut impl Block, at: usize, remove: usize, elements: &[Element<'_>]) {
    let old = Packed::new(block.block());
    let removed = old.skip(at, remove) - at;
    let count = old.len() - remove + elements.len();
    let mark = head(old.bytes) & MARK;
    assert!(count <= COUNT_MAX, "a block of {count} elements");
    let mut room = block.splice(at, removed, packed_bytes(elements));
    for element in elements {
        let written = element.write(room);
        room = &mut room[written..];
    }
    assert!(room.is_empty());
    set_head(block.block_mut(), count as u16 | mark);
}

/// Puts elements in front of the one at `at`, or at the end.
#[inline]
pub fn insert(block: &mut impl Block, at: usize, elements: &[Element<'_>]) {
    replace(block, at, 0, elements);
}

/// Puts elements at the end.
#[inline]
pub fn push(block: &mut impl Block, elements: &[Element<'_>]) {
    replace(block, block.block().len(), 0, elements);
}

/// Takes `count` elements out, the one at `at` and those behind it.
#[inline]
pub fn remove(block: &mut impl Block, at: usize, count: usize) {
    replace(block, at, count, &[]);
}

/// Sets the mark.
pub fn set_mark(block: &mut impl Block, mark: bool) {
    let bytes = block.block_mut();
    let count = head(bytes) & !MARK;
    set_head(bytes, if mark { count | MARK } else { count });
}

/// Whether bytes from outside are a block: every element whole, in its one form, with the right
/// length behind it, and as many of them as the head says.
pub fn is_sound(bytes: &[u8]) -> bool {
    if bytes.len() < HEAD_BYTES {
        return false;
    }
    let (mut at, mut count) = (HEAD_BYTES, 0);
    while at < bytes.len() {
        let Some(size) = sound_element(&bytes[at..]) else {
            return false;
        };
        at += size;
        count += 1;
    }
    count == Packed::new(bytes).len()
}

/// Bytes of the element that stands at the start of these bytes, the length behind it included, if
/// it is whole and in its one form.
fn sound_element(bytes: &[u8]) -> Option<usize> {
    let (element, size) = read_foreign(bytes)?;
    let canonical = match element {
        Element::Int(_) => element,
        Element::Bytes(bytes) => Element::of(bytes),
    };
    // No number takes as many bytes in two forms.
    (canonical.packed_bytes() == size).then_some(size)
}

/// The element at the start of bytes from outside, and its bytes with the length behind it; None if
/// it is not whole, or that length is not its own. Its form need not be the one that a block has for
/// it ([`Element::packed_bytes`] tells: no two forms take the same bytes).
#[inline]
pub fn read_foreign(bytes: &[u8]) -> Option<(Element<'_>, usize)> {
    /// A head, and the 8 bytes of the longest integer.
    const LONGEST_HEAD: usize = 9;
    /// See [`back_bytes`].
    const BACK_BYTES_MAX: usize = 5;
    let mut start = [0; LONGEST_HEAD];
    let known = bytes.len().min(LONGEST_HEAD);
    start[..known].copy_from_slice(&bytes[..known]);
    if known == 0 || start[0] > HEAD_INT64 {
        return None;
    }
    let size = Packed { bytes: &start }.element_bytes(0);
    let whole = bytes.get(..size + back_bytes(size))?;
    let mut back = [0; BACK_BYTES_MAX];
    let count = write_back(size, &mut back);
    let element = Packed { bytes: whole }.get(0);
    (whole[size..] == back[..count]).then_some((element, whole.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// xorshift64, from a seed that failures print.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) as usize % bound
        }

        fn text(&mut self) -> Vec<u8> {
            match self.below(6) {
                0 => (self.below(300) as i64 - 100).to_string().into_bytes(),
                1 => {
                    let bits = self.below(64);
                    let number = (self.0 >> bits) as i64;
                    if self.below(2) == 0 {
                        number.wrapping_neg()
                    } else {
                        number
                    }
                    .to_string()
                    .into_bytes()
                }
                2 => vec![b'x'; [0, 63, 64, 126, 127, 128, 4095, 4096][self.below(8)]],
                _ => {
                    let len = self.below(30);
                    (0..len).map(|_| self.below(256) as u8).collect()
                }
            }
        }
    }

    fn verify(block: &[u8], model: &[Vec<u8>]) {
        assert!(is_sound(block));
        let packed = Packed::new(block);
        assert_eq!(packed.len(), model.len());
        assert_eq!(packed.is_empty(), model.is_empty());
        let forwards: Vec<_> = packed.iter().map(|(_, e)| e.to_vec()).collect();
        assert_eq!(forwards, model);
        let mut backwards: Vec<_> = packed.iter().rev().map(|(_, e)| e.to_vec()).collect();
        backwards.reverse();
        assert_eq!(backwards, model);
    }

    #[test]
    fn it_is_a_sequence() {
        for seed in 1..30 {
            let mut random = Random(0x9E37_79B9_7F4A_7C15u64.wrapping_mul(seed));
            let (mut block, mut model) = (EMPTY.to_vec(), Vec::<Vec<u8>>::new());
            for step in 0..300 {
                let index = random.below(model.len() + 1);
                let at = Packed::new(&block).nth(index).unwrap_or(block.len());
                let gone = random.below(3).min(model.len() - index);
                let new: Vec<_> = (0..random.below(4)).map(|_| random.text()).collect();
                let elements: Vec<_> = new.iter().map(|t| Element::of(t)).collect();
                replace(&mut block, at, gone, &elements);
                model.splice(index..index + gone, new);
                set_mark(&mut block, step % 2 == 0);
                verify(&block, &model);
                assert_eq!(Packed::new(&block).mark(), step % 2 == 0, "seed {seed}");
            }
        }
    }

    #[test]
    fn every_element_is_found_and_nothing_else() {
        let mut random = Random(77);
        for _ in 0..100 {
            let texts: Vec<_> = (0..random.below(20)).map(|_| random.text()).collect();
            let mut block = EMPTY.to_vec();
            for text in &texts {
                push(&mut block, &[Element::of(text)]);
            }
            let packed = Packed::new(&block);
            for wanted in texts.iter().cloned().chain([random.text()]) {
                for stride in 1..4 {
                    let expected = (0..texts.len())
                        .step_by(stride)
                        .find(|n| texts[*n] == wanted)
                        .and_then(|n| packed.nth(n));
                    let found = packed.find(Element::of(&wanted), packed.start(), stride);
                    assert_eq!(found, expected, "{wanted:?} among {texts:?}");
                }
            }
        }
    }

    #[test]
    fn elements_are_those_of_a_listpack() {
        let cases: [(&str, &[u8]); 12] = [
            ("0", b"\x00\x01"),
            ("127", b"\x7f\x01"),
            ("128", b"\xc0\x80\x02"),
            ("-1", b"\xdf\xff\x02"),
            ("-4096", b"\xd0\x00\x02"),
            ("4096", b"\xf1\x00\x10\x03"),
            ("-32769", b"\xf2\xff\x7f\xff\x04"),
            ("8388608", b"\xf3\x00\x00\x80\x00\x05"),
            ("2147483648", b"\xf4\x00\x00\x00\x80\x00\x00\x00\x00\x09"),
            ("", b"\x80\x01"),
            ("ab", b"\x82ab\x03"),
            ("007", b"\x83007\x04"),
        ];
        for (text, bytes) in cases {
            let mut block = EMPTY.to_vec();
            push(&mut block, &[Element::of(text.as_bytes())]);
            assert_eq!(&block[HEAD_BYTES..], bytes, "{text}");
        }
        let long = vec![b'y'; 200];
        let mut block = EMPTY.to_vec();
        push(&mut block, &[Element::of(&long)]);
        assert_eq!(&block[2..4], b"\xe0\xc8");
        assert_eq!(&block[204..], b"\x01\xca");
        // A head of 5 bytes: 16382, 16383 and 16384 in all.
        for (len, behind) in [
            (16377, &b"\x7f\xfe"[..]),
            (16378, b"\x00\xff\xff"),
            (16379, b"\x01\x80\x80"),
        ] {
            let long = vec![b'y'; len];
            let mut block = EMPTY.to_vec();
            push(&mut block, &[Element::of(&long)]);
            assert_eq!(&block[HEAD_BYTES + 5 + len..], behind);
            assert_eq!(Packed::new(&block).prev(block.len()), Some(HEAD_BYTES));
        }
    }

    #[test]
    fn hostile_bytes_are_no_block() {
        let mut random = Random(5);
        let mut block = EMPTY.to_vec();
        for _ in 0..6 {
            push(&mut block, &[Element::of(&random.text())]);
        }
        assert!(is_sound(&block) && is_sound(&EMPTY) && !is_sound(&[0]));
        for len in 0..block.len() {
            assert!(!is_sound(&block[..len]) || len == block.len());
        }
        for _ in 0..100_000 {
            let mut bytes = block.clone();
            let at = random.below(bytes.len());
            bytes[at] = random.below(256) as u8;
            if is_sound(&bytes) {
                let packed = Packed::new(&bytes);
                assert_eq!(packed.iter().rev().count(), packed.len());
            }
        }
        assert!(!is_sound(b"\x01\x00\xc0\x05\x02"), "5 has a shorter form");
        assert!(!is_sound(b"\x01\x00\x815\x02"), "5 is a number");
    }
}
