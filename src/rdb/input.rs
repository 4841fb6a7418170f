//! Bytes that have arrived so far, and what they are made of: lengths, strings, numbers.
//!
//! | first byte | a length |
//! | --- | --- |
//! | `00nnnnnn` | n |
//! | `01nnnnnn` | one more byte: n and it, the higher bits first |
//! | `0x80` | four bytes, big-endian |
//! | `0x81` | eight bytes, big-endian |
//! | `0xc0` to `0xc2` | of a string: an integer of 1, 2 or 4 bytes, little-endian |
//! | `0xc3` | of a string: length compressed, length, and the string [compressed](super::lzf) |

use super::error::Bad;
use super::lzf;
use crate::resp::number::{I64_TEXT_MAX, format_i64};
use crate::types::stream::StreamId;

/// Longest string that is taken, in bytes: far above `proto-max-bulk-len`, and below what the
/// structures can hold.
const STRING_BYTES_MAX: u64 = 1 << 31;

/// Why nothing more could be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stop {
    /// There must be at least so many bytes from the input's start on.
    More(usize),
    /// What there is can never be right.
    Bad(Bad),
}

impl From<Bad> for Stop {
    fn from(bad: Bad) -> Self {
        Self::Bad(bad)
    }
}

/// See the head of the module.
#[derive(Debug)]
pub struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A length, or in its place how a string is encoded.
enum Length {
    Plain(u64),
    Encoded(u8),
}

/// A string as it stands in the input.
#[derive(Clone, Copy, Debug)]
pub enum Text<'a> {
    /// Its bytes.
    Plain(&'a [u8]),
    /// The decimal of a number.
    Int(i64),
    /// Compressed bytes, and how many they stand for.
    Compressed(&'a [u8], usize),
}

impl<'a> Text<'a> {
    /// The string's bytes; those that do not stand in the input are written over what `room` holds.
    pub fn bytes<'b>(self, room: &'b mut Vec<u8>) -> Result<&'b [u8], Bad>
    where
        'a: 'b,
    {
        room.clear();
        match self {
            Self::Plain(bytes) => return Ok(bytes),
            Self::Int(number) => {
                room.extend_from_slice(format_i64(number, &mut [0; I64_TEXT_MAX]));
            }
            Self::Compressed(packed, len) => lzf::decompress(packed, len, room)
                .ok_or(Bad::Corrupt("a compressed string is damaged"))?,
        }
        Ok(room)
    }
}

impl<'a> Input<'a> {
    /// These bytes, from their start.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were read.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Goes back to where it was.
    pub fn back_to(&mut self, at: usize) {
        assert!(at <= self.at);
        self.at = at;
    }

    /// The next `count` bytes.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Stop> {
        let end = self.at + count;
        let taken = self.bytes.get(self.at..end).ok_or(Stop::More(end))?;
        self.at = end;
        Ok(taken)
    }

    /// The next bytes, as many as fit into the array.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("as many as were asked for"))
    }

    /// The next byte.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, Stop> {
        Ok(self.array::<1>()?[0])
    }

    /// A time in milliseconds: eight bytes, little-endian.
    pub fn time_ms(&mut self) -> Result<i64, Stop> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    #[inline]
    fn length_or_encoding(&mut self) -> Result<Length, Stop> {
        let head = self.byte()?;
        let low = u64::from(head & 63);
        Ok(match (head >> 6, head) {
            (0, _) => Length::Plain(low),
            (1, _) => Length::Plain(low << 8 | u64::from(self.byte()?)),
            (2, 0x80) => Length::Plain(u32::from_be_bytes(self.array()?).into()),
            (2, 0x81) => Length::Plain(u64::from_be_bytes(self.array()?)),
            (3, _) => Length::Encoded(head & 63),
            _ => return Err(Bad::Corrupt("a length has an unknown form").into()),
        })
    }

    /// A length, or any other number that is written as one.
    #[inline]
    pub fn length(&mut self) -> Result<u64, Stop> {
        match self.length_or_encoding()? {
            Length::Plain(length) => Ok(length),
            Length::Encoded(_) => {
                Err(Bad::Corrupt("a string stands where a length belongs").into())
            }
        }
    }

    fn string_bytes(&mut self, len: u64) -> Result<&'a [u8], Stop> {
        if len > STRING_BYTES_MAX {
            return Err(Bad::Corrupt("a string is too long").into());
        }
        self.take(len as usize)
    }

    /// A string.
    #[inline]
    pub fn string(&mut self) -> Result<Text<'a>, Stop> {
        Ok(match self.length_or_encoding()? {
            Length::Plain(len) => Text::Plain(self.string_bytes(len)?),
            Length::Encoded(0) => Text::Int(i8::from_le_bytes(self.array()?).into()),
            Length::Encoded(1) => Text::Int(i16::from_le_bytes(self.array()?).into()),
            Length::Encoded(2) => Text::Int(i32::from_le_bytes(self.array()?).into()),
            Length::Encoded(3) => {
                let (packed, len) = (self.length()?, self.length()?);
                let packed = self.string_bytes(packed)?;
                if len > STRING_BYTES_MAX || !lzf::can_become(packed.len(), len) {
                    return Err(Bad::Corrupt("a compressed string is too long").into());
                }
                Text::Compressed(packed, len as usize)
            }
            Length::Encoded(_) => {
                return Err(Bad::Corrupt("a string has an unknown encoding").into());
            }
        })
    }

    /// A score as text: one byte of length, or 253 to 255 for what is no number.
    pub fn score_text(&mut self) -> Result<f64, Stop> {
        Ok(match self.byte()? {
            253 => f64::NAN,
            254 => f64::INFINITY,
            255 => f64::NEG_INFINITY,
            len => {
                let text = self.take(usize::from(len))?;
                let number = std::str::from_utf8(text).ok().and_then(|t| t.parse().ok());
                number.ok_or(Bad::Corrupt("a score is no number"))?
            }
        })
    }

    /// A stream's ID as two lengths.
    pub fn stream_id(&mut self) -> Result<StreamId, Stop> {
        let (ms, seq) = (self.length()?, self.length()?);
        Ok(StreamId { ms, seq })
    }

    /// A stream's ID as sixteen bytes, big-endian.
    pub fn raw_stream_id(&mut self) -> Result<StreamId, Stop> {
        let (ms, seq) = (self.array()?, self.array()?);
        Ok(StreamId {
            ms: u64::from_be_bytes(ms),
            seq: u64::from_be_bytes(seq),
        })
    }
}
