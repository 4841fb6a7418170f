//! Dense registers: six bits each, from the lowest bits of the first byte on; four take three bytes.

use super::{Histogram, REGISTERS, Registers};

const BITS: usize = 6;
const MAX: u8 = (1 << BITS) - 1;
/// Bytes of all registers.
pub const BYTES: usize = REGISTERS * BITS / 8;
const GROUP_BYTES: usize = 3;

/// Four registers.
#[inline]
fn unpack(group: &[u8; GROUP_BYTES]) -> [u8; 4] {
    let [a, b, c] = *group;
    [
        a & MAX,
        a >> 6 | b << 2 & MAX,
        b >> 4 | c << 4 & MAX,
        c >> 2,
    ]
}

#[inline]
fn groups(registers: &[u8]) -> &[[u8; GROUP_BYTES]] {
    assert_eq!(registers.len(), BYTES);
    registers.as_chunks::<GROUP_BYTES>().0
}

/// A register.
#[inline]
pub fn get(registers: &[u8], index: usize) -> u8 {
    unpack(&groups(registers)[index / 4])[index % 4]
}

/// Raises a register to a value; whether it was less.
#[inline]
pub fn raise(registers: &mut [u8], index: usize, value: u8) -> bool {
    if get(registers, index) >= value {
        return false;
    }
    assert!(value <= MAX);
    let group = &mut registers.as_chunks_mut::<GROUP_BYTES>().0[index / 4];
    let [a, b, c] = *group;
    let shift = BITS * (index % 4);
    let word = u32::from_le_bytes([a, b, c, 0]);
    let word = word & !(u32::from(MAX) << shift) | u32::from(value) << shift;
    let [a, b, c, _] = word.to_le_bytes();
    *group = [a, b, c];
    true
}

/// How many registers hold each value.
pub fn histogram(registers: &[u8]) -> Histogram {
    // Four counts side by side: equal neighbours do not wait for each other.
    let mut counts = [[0u32; 1 << BITS]; 4];
    for group in groups(registers) {
        for (count, value) in counts.iter_mut().zip(unpack(group)) {
            count[usize::from(value)] += 1;
        }
    }
    let [mut sum, others @ ..] = counts;
    for other in others {
        sum.iter_mut().zip(other).for_each(|(sum, n)| *sum += n);
    }
    sum
}

/// Raises registers to dense ones.
pub fn merge(into: &mut Registers, registers: &[u8]) {
    for (into, group) in into
        .as_chunks_mut::<4>()
        .0
        .iter_mut()
        .zip(groups(registers))
    {
        let values = unpack(group);
        for (into, value) in into.iter_mut().zip(values) {
            *into = value.max(*into);
        }
    }
}
