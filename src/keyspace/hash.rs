//! Positions: where a key stands in the order of a table.
//!
//! A position is 64 bits: the slot (14 bits) and above 50 bits of a keyed hash. Tables are ordered by
//! it, hence slots are ranges of a table, and a SCAN cursor is simply the position to go on at.
//!
//! The hash is of the family of wyhash (products of 64 by 64 bits, both halves folded), keyed with
//! 256 secret bits drawn once for the process: all shards must agree on it, because a cursor that
//! one shard gave out is continued on another. It is not cryptographic; what it owes is that
//! somebody who cannot see hashes cannot find colliding keys, and no reply shows a hash (a cursor
//! shows one position's upper 34 hash bits, chosen by the table).

use super::slot::{SLOT_BITS, Slot};

/// A position: slot ++ 50 bits of the hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Pos(pub(super) u64);

impl Pos {
    /// Bits of a position that the slot leaves for the hash.
    pub(super) const HASH_BITS: u32 = u64::BITS - SLOT_BITS;

    /// All bits, for a message to another shard of the process.
    #[inline]
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The position with these bits.
    #[inline]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The slot of the key that stands here.
    #[inline]
    pub fn slot(self) -> Slot {
        Slot::new((self.0 >> Self::HASH_BITS) as u16).expect("14 bits are a slot")
    }

    /// The first position of a slot.
    #[inline]
    pub fn first_of(slot: Slot) -> Self {
        Self(u64::from(slot.number()) << Self::HASH_BITS)
    }

    /// The last position of a slot.
    #[inline]
    pub fn last_of(slot: Slot) -> Self {
        Self(Self::first_of(slot).0 | (u64::MAX >> SLOT_BITS))
    }
}

/// The keyed hash that gives keys their positions.
#[derive(Clone, Copy, Debug)]
pub struct Hasher {
    secret: [u64; 4],
}

impl Hasher {
    /// A hasher with this key; the same on all shards of a process, drawn at random by the caller.
    pub fn new(seed: [u64; 2]) -> Self {
        // Digits of pi: constants without a hidden meaning. Odd multipliers never fold to zero.
        let mut state = fold(
            seed[0] ^ 0x243f_6a88_85a3_08d3,
            seed[1] ^ 0x1319_8a2e_0370_7344,
        );
        let mut secret = [0; 4];
        for (word, pi) in secret.iter_mut().zip([
            0xa409_3822_299f_31d0u64,
            0x082e_fa98_ec4e_6c89,
            0x4528_21e6_38d0_1377,
            0xbe54_66cf_34e9_0c6c,
        ]) {
            state = fold(state ^ pi, seed[0] | 1).rotate_left(29) ^ fold(state ^ seed[1], pi | 1);
            *word = state;
        }
        Self { secret }
    }

    /// The position of a key.
    #[inline]
    pub fn pos(&self, key: &[u8]) -> Pos {
        self.pos_in(Slot::of(key), key)
    }

    /// The position of a key whose slot is known.
    #[inline]
    pub fn pos_in(&self, slot: Slot, key: &[u8]) -> Pos {
        Pos(Pos::first_of(slot).0 | (self.hash(key) >> SLOT_BITS))
    }

    /// The 64-bit hash of any bytes.
    #[inline]
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        let [s0, s1, s2, s3] = self.secret;
        let len = bytes.len();
        let (a, b, seed) = if len <= 16 {
            let (a, b) = ends(bytes);
            (a, b, s0)
        } else {
            let seed = self.fold_long(bytes);
            (word(bytes, len - 16), word(bytes, len - 8), seed)
        };
        let mixed = fold(a ^ s1, b ^ seed);
        fold(mixed ^ s2, s3 ^ len as u64)
    }

    /// All but the last 16 bytes of a longer key, two lanes of 16 bytes each.
    fn fold_long(&self, bytes: &[u8]) -> u64 {
        let [s0, s1, s2, s3] = self.secret;
        let (mut x, mut y) = (s0, s1);
        let body = &bytes[..bytes.len() - 1];
        let mut pairs = body.chunks_exact(32);
        for c in &mut pairs {
            x = fold(word(c, 0) ^ s2, word(c, 8) ^ x);
            y = fold(word(c, 16) ^ s3, word(c, 24) ^ y);
        }
        let rest = pairs.remainder();
        if rest.len() >= 16 {
            x = fold(word(rest, 0) ^ s2, word(rest, 8) ^ x);
        }
        x ^ y.rotate_left(32)
    }
}

/// 16 bytes or fewer as two words that together hold all of them.
#[inline]
fn ends(bytes: &[u8]) -> (u64, u64) {
    let len = bytes.len();
    if len >= 8 {
        (word(bytes, 0), word(bytes, len - 8))
    } else if len >= 4 {
        (half(bytes, 0), half(bytes, len - 4))
    } else if len > 0 {
        let three =
            u64::from(bytes[0]) << 16 | u64::from(bytes[len / 2]) << 8 | u64::from(bytes[len - 1]);
        (three, 0)
    } else {
        (0, 0)
    }
}

#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

#[inline]
fn half(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32::from_le_bytes(
        bytes[at..at + 4].try_into().expect("4 bytes"),
    ))
}

/// Both halves of the product, folded together.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn position_starts_with_the_slot() {
        let hasher = Hasher::new([1, 2]);
        for key in [
            &b"a"[..],
            b"foo",
            b"{tag}x",
            b"a key that is longer than sixteen bytes",
        ] {
            let pos = hasher.pos(key);
            assert_eq!(pos.slot(), Slot::of(key));
            assert!(Pos::first_of(pos.slot()) <= pos && pos <= Pos::last_of(pos.slot()));
        }
    }

    #[test]
    fn every_byte_of_every_length_counts() {
        let hasher = Hasher::new([7, 9]);
        let mut seen = HashSet::new();
        for len in 0..100usize {
            let mut key = vec![0u8; len];
            assert!(seen.insert(hasher.hash(&key)), "zeros of length {len}");
            for i in 0..len {
                key[i] = 1;
                assert!(seen.insert(hasher.hash(&key)), "length {len}, byte {i}");
                key[i] = 0;
            }
        }
    }

    #[test]
    fn bits_are_even_for_counted_keys() {
        let hasher = Hasher::new([3, 4]);
        let mut ones = [0u32; 64];
        for i in 0..20_000u32 {
            let h = hasher.hash(format!("key:{i:012}").as_bytes());
            for (bit, n) in ones.iter_mut().enumerate() {
                *n += (h >> bit & 1) as u32;
            }
        }
        // Six standard deviations of a fair coin thrown 20000 times.
        assert!(ones.iter().all(|n| n.abs_diff(10_000) < 6 * 71), "{ones:?}");
    }

    #[test]
    fn seeds_matter() {
        assert_ne!(
            Hasher::new([0, 0]).hash(b"foo"),
            Hasher::new([0, 1]).hash(b"foo")
        );
        assert_ne!(
            Hasher::new([0, 0]).hash(b"foo"),
            Hasher::new([1, 0]).hash(b"foo")
        );
    }
}
