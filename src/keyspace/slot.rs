//! Slots: Redis Cluster's own function from a key to one of 16384 groups.
//!
//! CRC16/XMODEM (polynomial 0x1021, initial value 0, not reflected) of the key, or of its hash tag,
//! modulo 16384 (Redis Cluster specification, "Keys distribution model" and "Hash tags"). It decides
//! the owner of a key, so every request computes it: eight bytes a step, through eight tables.

use std::ops::RangeInclusive;

/// How many slots there are.
pub const SLOTS: usize = 1 << SLOT_BITS;
/// Bits in a slot number.
pub const SLOT_BITS: u32 = 14;

/// A slot number, always below [`SLOTS`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(u16);

impl Slot {
    /// Every slot there is.
    pub const ALL: RangeInclusive<Self> = Self(0)..=Self((SLOTS - 1) as u16);

    /// The slot of that number, if there is one.
    pub const fn new(number: u16) -> Option<Self> {
        if (number as usize) < SLOTS {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The slot of a key, by its hash tag where it has one.
    #[inline]
    pub fn of(key: &[u8]) -> Self {
        Self(crc16(hash_tag(key)) & (SLOTS - 1) as u16)
    }

    /// The number.
    #[inline]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The number as an index.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The part of a key that is hashed: what stands between the first `{` and the first `}` after it,
/// if that is not empty; otherwise the whole key.
#[inline]
pub fn hash_tag(key: &[u8]) -> &[u8] {
    if !contains(key, b'{') {
        return key;
    }
    let Some(open) = key.iter().position(|&b| b == b'{') else {
        return key;
    };
    let rest = &key[open + 1..];
    match rest.iter().position(|&b| b == b'}') {
        Some(len) if len > 0 => &rest[..len],
        _ => key,
    }
}

/// Whether `byte` occurs; eight bytes a step, since nearly no key has a tag.
#[inline]
fn contains(bytes: &[u8], byte: u8) -> bool {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let has = |word: u64| {
        let x = word ^ (LOW * u64::from(byte));
        x.wrapping_sub(LOW) & !x & HIGH != 0
    };
    let (words, tail) = bytes.as_chunks::<8>();
    words.iter().any(|w| has(u64::from_le_bytes(*w))) || tail.contains(&byte)
}

/// `TABLES[n][b]`: the remainder of byte `b` followed by `n` zero bytes.
static TABLES: [[u16; 256]; 8] = tables();

const fn tables() -> [[u16; 256]; 8] {
    let mut t = [[0u16; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 {
                (crc << 1) ^ 0x1021
            } else {
                crc << 1
            };
            bit += 1;
        }
        t[0][byte] = crc;
        byte += 1;
    }
    let mut n = 1;
    while n < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = t[n - 1][byte];
            t[n][byte] = (before << 8) ^ t[0][(before >> 8) as usize];
            byte += 1;
        }
        n += 1;
    }
    t
}

/// CRC16/XMODEM.
#[inline]
pub fn crc16(bytes: &[u8]) -> u16 {
    let (words, tail) = bytes.as_chunks::<8>();
    let mut crc = 0u16;
    for w in words {
        let [high, low] = crc.to_be_bytes();
        crc = TABLES[7][usize::from(w[0] ^ high)]
            ^ TABLES[6][usize::from(w[1] ^ low)]
            ^ TABLES[5][usize::from(w[2])]
            ^ TABLES[4][usize::from(w[3])]
            ^ TABLES[3][usize::from(w[4])]
            ^ TABLES[2][usize::from(w[5])]
            ^ TABLES[1][usize::from(w[6])]
            ^ TABLES[0][usize::from(w[7])];
    }
    for &b in tail {
        let [high, _] = crc.to_be_bytes();
        crc = (crc << 8) ^ TABLES[0][usize::from(high ^ b)];
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, one bit at a time.
    fn crc16_by_bits(bytes: &[u8]) -> u16 {
        let mut crc = 0u16;
        for &b in bytes {
            crc ^= u16::from(b) << 8;
            for _ in 0..8 {
                crc = if crc & 0x8000 != 0 {
                    (crc << 1) ^ 0x1021
                } else {
                    crc << 1
                };
            }
        }
        crc
    }

    #[test]
    fn known_values_of_redis_cluster() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(Slot::of(b"foo").number(), 12182);
        assert_eq!(Slot::of(b"").number(), 0);
        assert_eq!(Slot::of(b"somekey").number(), 11058);
    }

    #[test]
    fn every_length_agrees_with_the_definition() {
        let bytes: Vec<u8> = (0..200u32).map(|i| (i * 37 + 11) as u8).collect();
        for len in 0..bytes.len() {
            assert_eq!(
                crc16(&bytes[..len]),
                crc16_by_bits(&bytes[..len]),
                "length {len}"
            );
        }
    }

    #[test]
    fn hash_tags_as_the_specification_has_them() {
        assert_eq!(hash_tag(b"{user1000}.following"), b"user1000");
        assert_eq!(hash_tag(b"foo{}{bar}"), b"foo{}{bar}");
        assert_eq!(hash_tag(b"foo{{bar}}zap"), b"{bar");
        assert_eq!(hash_tag(b"foo{bar}{zap}"), b"bar");
        assert_eq!(
            hash_tag(b"a longer key without any tag}"),
            b"a longer key without any tag}"
        );
        assert_eq!(
            hash_tag(b"a longer key with an open {tag"),
            b"a longer key with an open {tag"
        );
    }
}
