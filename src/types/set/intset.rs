//! A small set of integers: sorted, in 2, 4 or 8 bytes each, whatever the widest one needs.
//!
//! | bytes | what |
//! | --- | --- |
//! | 2 | head: `MARK`, and the bytes of an integer |
//! | n | the integers, little-endian, ascending |
//!
//! The mark is the one that a [packed](crate::types::packed) block has clear, so that the two forms
//! of a small set are told apart by their first two bytes.

use crate::types::packed::Block;

/// The bit of the head that only such blocks have.
const MARK: u16 = 1 << 15;
const HEAD_BYTES: usize = 2;

/// Whether a small set's block is one of integers.
#[inline]
pub fn is_intset(bytes: &[u8]) -> bool {
    bytes[1] & 0x80 != 0
}

/// Bytes that an integer needs.
#[inline]
fn width_of(value: i64) -> usize {
    if i16::try_from(value).is_ok() {
        2
    } else if i32::try_from(value).is_ok() {
        4
    } else {
        8
    }
}

fn head(width: usize) -> [u8; HEAD_BYTES] {
    (MARK | width as u16).to_le_bytes()
}

/// A block, for reading.
#[derive(Clone, Copy, Debug)]
pub struct Intset<'a> {
    ints: &'a [u8],
    width: usize,
}

impl<'a> Intset<'a> {
    /// The block that these bytes are.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        assert!(is_intset(bytes));
        let width = usize::from(bytes[0]);
        assert!(matches!(width, 2 | 4 | 8));
        Self {
            ints: &bytes[HEAD_BYTES..],
            width,
        }
    }

    /// Integers.
    #[inline]
    pub fn len(&self) -> usize {
        self.ints.len() / self.width
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ints.is_empty()
    }

    /// Bytes of each integer.
    #[inline]
    pub fn width(&self) -> usize {
        self.width
    }

    /// The integers' bytes, little-endian, ascending.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.ints
    }

    /// The integer at an index in ascending order.
    #[inline]
    pub fn get(&self, index: usize) -> i64 {
        let bytes = &self.ints[index * self.width..][..self.width];
        match *bytes {
            [a, b] => i64::from(i16::from_le_bytes([a, b])),
            [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
            _ => i64::from_le_bytes(bytes.try_into().expect("8 bytes")),
        }
    }

    /// The index of an integer, or else where it belongs.
    pub fn find(&self, value: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        // Counted sets grow at their end.
        if high > 0 && value > self.get(high - 1) {
            return Err(high);
        }
        while low < high {
            let middle = (low + high) / 2;
            match self.get(middle).cmp(&value) {
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// All integers, ascending.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = i64> + ExactSizeIterator + 'a {
        (0..self.len()).map(move |index| self.get(index))
    }
}

fn write(value: i64, to: &mut [u8]) {
    to.copy_from_slice(&value.to_le_bytes()[..to.len()]);
}

/// The block with one integer, and its length in bytes.
pub fn single(value: i64) -> ([u8; HEAD_BYTES + 8], usize) {
    let width = width_of(value);
    let mut bytes = [0; HEAD_BYTES + 8];
    bytes[..HEAD_BYTES].copy_from_slice(&head(width));
    write(value, &mut bytes[HEAD_BYTES..HEAD_BYTES + width]);
    (bytes, HEAD_BYTES + width)
}

/// The block of these integers, which are ascending and all different.
pub fn of_sorted(ints: &[i64]) -> Vec<u8> {
    let width = ints.iter().map(|int| width_of(*int)).max().unwrap_or(2);
    let mut bytes = vec![0; HEAD_BYTES + ints.len() * width];
    bytes[..HEAD_BYTES].copy_from_slice(&head(width));
    for (int, to) in ints.iter().zip(bytes[HEAD_BYTES..].chunks_exact_mut(width)) {
        write(*int, to);
    }
    bytes
}

/// Adds an integer; whether it is new.
pub fn insert(block: &mut impl Block, value: i64) -> bool {
    let old = Intset::new(block.block());
    let Err(index) = old.find(value) else {
        return false;
    };
    let width = old.width;
    if width_of(value) > width {
        // It is lower or higher than all others: they become wider.
        let mut ints: Vec<i64> = old.iter().collect();
        ints.insert(index, value);
        let wider = of_sorted(&ints);
        let len = block.block().len();
        block.splice(0, len, wider.len()).copy_from_slice(&wider);
    } else {
        write(value, block.splice(HEAD_BYTES + index * width, 0, width));
    }
    true
}

/// Removes the integer at an index.
pub fn remove_at(block: &mut impl Block, index: usize) {
    let width = Intset::new(block.block()).width;
    block.splice(HEAD_BYTES + index * width, width, 0);
}

/// Whether bytes from outside are a block: integers ascending, none twice, of a possible width.
pub fn is_sound(bytes: &[u8]) -> bool {
    let [low, high, ints @ ..] = bytes else {
        return false;
    };
    let width = usize::from(*low);
    if *high != 0x80 || !matches!(width, 2 | 4 | 8) || !ints.len().is_multiple_of(width) {
        return false;
    }
    let set = Intset::new(bytes);
    (1..set.len()).all(|i| set.get(i - 1) < set.get(i))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_agrees_with_the_model() {
        let mut random = fastrand::Rng::with_seed(4);
        for bits in [8, 17, 40, 64] {
            let mut block = of_sorted(&[]);
            let mut model = BTreeSet::new();
            for _ in 0..3000 {
                let value = random.i64(..) >> (64 - random.u32(2..=bits));
                let index = Intset::new(&block).find(value);
                if random.bool() {
                    assert_eq!(insert(&mut block, value), model.insert(value));
                } else if let Ok(index) = index {
                    remove_at(&mut block, index);
                    assert!(model.remove(&value));
                } else {
                    assert!(!model.contains(&value));
                }
                assert!(is_sound(&block));
            }
            assert!(Intset::new(&block).iter().eq(model.iter().copied()));
            let ints: Vec<i64> = model.into_iter().collect();
            assert!(Intset::new(&of_sorted(&ints)).iter().eq(ints));
        }
    }

    #[test]
    fn one_integer_and_foreign_bytes() {
        for value in [0, -1, 32767, -32769, i64::from(i32::MAX) + 1, i64::MIN] {
            let (bytes, len) = single(value);
            assert_eq!(bytes[..len], of_sorted(&[value]));
        }
        for bad in [
            &[][..],
            &[2],
            &[3, 0x80],
            &[2, 0x80, 1],
            &[2, 0, 1, 0],
            &[2, 0x80, 1, 0, 1, 0],
        ] {
            assert!(!is_sound(bad), "{bad:?}");
        }
    }
}
