//! What a key may hold, as it comes in ([`NewValue`]) and as it is read ([`Value`]).

use bytes::{Bytes, BytesMut};
use std::any::Any;
use std::fmt;

use crate::resp::number::{I64_TEXT_MAX, format_i64};
use crate::types::packed::Packed;

/// Longest string, in bytes, that stands inside its entry; longer ones get a buffer of their own
/// that replies share instead of copying. 16 KiB: below it a copy costs less than a reference count
/// and an output vector of its own.
pub const INLINE_BYTES_MAX: usize = 16 * 1024;

/// A string that grows (APPEND, SETRANGE) leaves its entry at this length already: from here on its
/// buffer doubles, so that growing byte by byte is not quadratic.
pub(super) const GROWING_INLINE_BYTES_MAX: usize = 512;

/// The types of Redis.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// TYPE `string`
    String,
    /// TYPE `list`
    List,
    /// TYPE `set`
    Set,
    /// TYPE `zset`
    ZSet,
    /// TYPE `hash`
    Hash,
    /// TYPE `stream`
    Stream,
}

impl Kind {
    pub(super) const ALL: [Self; 6] = [
        Self::String,
        Self::List,
        Self::Set,
        Self::ZSet,
        Self::Hash,
        Self::Stream,
    ];

    /// The name that TYPE replies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::ZSet => "zset",
            Self::Hash => "hash",
            Self::Stream => "stream",
        }
    }
}

/// A collection that has outgrown one packed block: the types' own structures implement it.
pub trait Object: Any + Send + fmt::Debug {
    /// Which type it is.
    fn kind(&self) -> Kind;
    /// The name that OBJECT ENCODING replies.
    fn encoding(&self) -> &'static str;
    /// Bytes it holds outside its entry, itself included.
    fn heap_bytes(&self) -> usize;
    /// How many steps of work freeing it takes (about one for each allocation).
    fn free_effort(&self) -> usize;
    /// Frees about `budget` steps; whether anything is left. After the first call it is only freed on.
    fn free_some(&mut self, budget: usize) -> bool;
    /// When something inside it next expires by itself, unix milliseconds; None if nothing does.
    fn due(&self) -> Option<u64> {
        None
    }
    /// A copy of its own (COPY).
    fn duplicate(&self) -> Box<dyn Object>;
    /// For downcasts by the type's commands.
    fn as_any(&self) -> &dyn Any;
    /// For downcasts by the type's commands.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

/// A string with a buffer of its own.
#[derive(Debug)]
pub struct LargeString {
    bytes: Bytes,
}

impl LargeString {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, given up.
    pub(super) fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The bytes, shared: a reply holds them without a copy, whatever happens to the key.
    pub fn share(&self) -> Bytes {
        self.bytes.clone()
    }

    /// Bytes it holds outside its entry, itself included. The spare room of a growing buffer is not
    /// known to `Bytes` and not counted.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.bytes.len()
    }

    /// Changes the bytes in place; copies them first only while a reply still shares them.
    pub(super) fn edit<R>(&mut self, change: impl FnOnce(&mut BytesMut) -> R) -> R {
        let mut own = std::mem::take(&mut self.bytes)
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        let result = change(&mut own);
        self.bytes = own.freeze();
        result
    }
}

/// The value of an entry, as it stands there.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A string that is the decimal of this number.
    Int(i64),
    /// A string inside its entry.
    Str(&'a [u8]),
    /// A string with a buffer of its own.
    Large(&'a LargeString),
    /// A small collection, packed into one block inside its entry.
    Packed(Kind, &'a [u8]),
    /// A collection.
    Object(&'a dyn Object),
}

impl<'a> Value<'a> {
    /// The bytes of a string; None for other types. A number's decimal is written into `text`.
    #[inline]
    pub fn bytes<'b>(&self, text: &'b mut [u8; I64_TEXT_MAX]) -> Option<&'b [u8]>
    where
        'a: 'b,
    {
        match *self {
            Self::Str(bytes) => Some(bytes),
            Self::Int(number) => Some(format_i64(number, text)),
            Self::Large(large) => Some(large.as_slice()),
            Self::Packed(..) | Self::Object(_) => None,
        }
    }

    /// When something inside it next expires by itself, or a lower bound of it, unix milliseconds;
    /// None if nothing does. A packed block says it with its first element, where it has the mark.
    #[inline]
    pub fn due(&self) -> Option<u64> {
        match self {
            Self::Int(_) | Self::Str(_) | Self::Large(_) => None,
            Self::Packed(_, bytes) => Packed::new(bytes).due(),
            Self::Object(object) => object.due(),
        }
    }

    /// Bytes of a string; None for other types.
    #[inline]
    pub fn string_len(&self) -> Option<usize> {
        self.bytes(&mut [0; I64_TEXT_MAX]).map(<[u8]>::len)
    }
}

/// A value to store.
#[derive(Debug)]
pub enum NewValue<'a> {
    /// A string that is the decimal of this number.
    Int(i64),
    /// A string; `raw` marks one that was modified in place (OBJECT ENCODING says `raw`).
    Str {
        /// Its bytes; beyond [`INLINE_BYTES_MAX`] they are copied into a buffer of their own.
        bytes: &'a [u8],
        /// Whether it was modified in place.
        raw: bool,
    },
    /// A string in a buffer of its own, taken over without a copy. Worth it beyond [`INLINE_BYTES_MAX`].
    Large(Bytes),
    /// A small collection as one block of at most 65535 bytes.
    Packed(Kind, &'a [u8]),
    /// A collection.
    Object(Box<dyn Object>),
}

impl<'a> NewValue<'a> {
    /// A string as SET stores it: as a number where it is the decimal of one.
    #[inline]
    pub fn string(bytes: &'a [u8]) -> Self {
        match parse_int(bytes) {
            Some(number) => Self::Int(number),
            None => Self::Str { bytes, raw: false },
        }
    }
}

/// The number whose canonical decimal this is: no plus, no leading zeros, no spaces, within i64.
#[inline]
pub fn parse_int(bytes: &[u8]) -> Option<i64> {
    /// `-9223372036854775808`.
    const LONGEST: usize = 20;
    let (negative, digits) = match bytes {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        _ if bytes.len() > LONGEST => None,
        [b'0'] if !negative => Some(0),
        [b'1'..=b'9', ..] => {
            let mut number = 0i64;
            for &digit in digits {
                let value = digit.wrapping_sub(b'0');
                if value > 9 {
                    return None;
                }
                // Downwards, since the lowest number has no positive twin.
                number = number.checked_mul(10)?.checked_sub(i64::from(value))?;
            }
            if negative {
                Some(number)
            } else {
                number.checked_neg()
            }
        }
        _ => None,
    }
}

/// A number's decimal, in a buffer on the stack.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    bytes: [u8; 20],
    start: u8,
}

impl Decimal {
    /// The decimal of a number.
    pub fn new(number: i64) -> Self {
        let mut decimal = Self {
            bytes: [0; 20],
            start: 20,
        };
        let mut rest = number.unsigned_abs();
        loop {
            decimal.push_front(b'0' + (rest % 10) as u8);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if number < 0 {
            decimal.push_front(b'-');
        }
        decimal
    }

    fn push_front(&mut self, byte: u8) {
        self.start -= 1;
        self.bytes[usize::from(self.start)] = byte;
    }

    /// Its characters.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_decimals_are_numbers() {
        for n in [0, 1, -1, 9, 10, 12_345, i64::MAX, i64::MIN, i64::MIN + 1] {
            assert_eq!(parse_int(n.to_string().as_bytes()), Some(n));
            assert_eq!(Decimal::new(n).as_bytes(), n.to_string().as_bytes());
        }
        for text in [
            "",
            "-",
            "+1",
            "01",
            "-0",
            " 1",
            "1 ",
            "1a",
            "9223372036854775808",
        ] {
            assert_eq!(parse_int(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse_int(b"-9223372036854775809"), None);
        assert_eq!(parse_int(b"123456789012345678901"), None);
    }

    #[test]
    fn an_edit_copies_only_what_a_reply_still_holds() {
        let mut large = LargeString::new(Bytes::from(vec![b'a'; 100]));
        let shared = large.share();
        large.edit(|b| b.extend_from_slice(b"b"));
        assert_eq!(shared.len(), 100);
        assert_eq!(large.as_slice().len(), 101);
        drop(shared);
        large.edit(|b| b.reserve(1000));
        let before = large.as_slice().as_ptr();
        large.edit(|b| b.extend_from_slice(&[b'c'; 900]));
        assert_eq!(large.as_slice().as_ptr(), before);
    }
}
