//! HyperLogLog, byte for byte in Redis's form: a string that a redis-server has written can be counted
//! and merged here, and the other way round.
//!
//! 2^14 registers; the lower 14 bits of an element's hash (MurmurHash64A) choose one, the number of
//! zeros that follow above them, and one more, is what it holds at the most.
//!
//! | bytes of the string | what |
//! | --- | --- |
//! | 4 | `HYLL` |
//! | 1 | encoding: 0 [dense], 1 [sparse] |
//! | 3 | unused |
//! | 8 | the cardinality last counted, little-endian; the highest bit says that it holds no more |
//! | n | the registers |
//!
//! The format is described in Redis's `src/hyperloglog.c`; the estimator is Ertl's ("New cardinality
//! estimation algorithms for HyperLogLog sketches", arXiv:1702.01284).

pub mod dense;
mod estimate;
mod murmur;
pub mod sparse;

pub use estimate::{Histogram, estimate};

/// Bits of a hash that choose a register.
const INDEX_BITS: u32 = 14;
/// Registers.
pub const REGISTERS: usize = 1 << INDEX_BITS;
/// Bits of a hash that are left to count zeros in.
const RANK_BITS: u32 = u64::BITS - INDEX_BITS;
/// What a register holds at the most.
const RANK_MAX: usize = RANK_BITS as usize + 1;

/// Bytes in front of the registers.
pub const HEAD_BYTES: usize = 16;
/// Bytes of a dense string.
pub const DENSE_BYTES: usize = HEAD_BYTES + dense::BYTES;
const MAGIC: &[u8; 4] = b"HYLL";
const ENCODING_AT: usize = 4;
const CARDINALITY_AT: usize = 8;
/// Of the last byte of the cardinality: it holds no more.
const STALE: u8 = 1 << 7;

/// Each register's value in a byte of its own.
pub type Registers = [u8; REGISTERS];

/// How the registers stand in a string.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// Six bits each.
    Dense,
    /// Runs of equal ones.
    Sparse,
}

impl Encoding {
    /// The name that PFDEBUG ENCODING replies.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Sparse => "sparse",
        }
    }
}

/// The runs of a sparse string do not cover the registers exactly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Corrupt;

/// How the registers stand in this string; None if it is no HyperLogLog. That its runs are right is
/// not looked at.
pub fn encoding_of(string: &[u8]) -> Option<Encoding> {
    if string.len() < HEAD_BYTES || !string.starts_with(MAGIC) {
        return None;
    }
    match string[ENCODING_AT] {
        0 if string.len() == DENSE_BYTES => Some(Encoding::Dense),
        1 => Some(Encoding::Sparse),
        _ => None,
    }
}

/// The string without elements.
pub fn empty() -> [u8; HEAD_BYTES + sparse::EMPTY.len()] {
    let mut string = [0; HEAD_BYTES + sparse::EMPTY.len()];
    string[..MAGIC.len()].copy_from_slice(MAGIC);
    string[ENCODING_AT] = 1;
    string[HEAD_BYTES..].copy_from_slice(&sparse::EMPTY);
    string
}

/// The cardinality that was counted last, if it still holds.
pub fn cached(string: &[u8]) -> Option<u64> {
    let bytes: [u8; 8] = string[CARDINALITY_AT..HEAD_BYTES]
        .try_into()
        .expect("eight bytes");
    (bytes[7] & STALE == 0).then(|| u64::from_le_bytes(bytes))
}

/// Keeps a cardinality.
pub fn cache(string: &mut [u8], cardinality: u64) {
    string[CARDINALITY_AT..HEAD_BYTES].copy_from_slice(&cardinality.to_le_bytes());
}

/// The registers have changed: the cardinality that was counted holds no more.
pub fn invalidate(string: &mut [u8]) {
    string[HEAD_BYTES - 1] |= STALE;
}

/// The register that an element belongs to, and what it asks of it.
#[inline]
pub fn place(element: &[u8]) -> (usize, u8) {
    let hash = murmur::hash(element);
    let index = hash as usize & (REGISTERS - 1);
    // A bit above the hash, so that it ends.
    let rest = hash >> INDEX_BITS | 1 << RANK_BITS;
    (index, rest.trailing_zeros() as u8 + 1)
}

/// How many registers hold each value.
pub fn histogram(string: &[u8], encoding: Encoding) -> Result<Histogram, Corrupt> {
    let registers = &string[HEAD_BYTES..];
    match encoding {
        Encoding::Dense => Ok(dense::histogram(registers)),
        Encoding::Sparse => sparse::histogram(registers),
    }
}

/// Raises registers to those of a string.
pub fn merge(into: &mut Registers, string: &[u8], encoding: Encoding) -> Result<(), Corrupt> {
    let registers = &string[HEAD_BYTES..];
    match encoding {
        Encoding::Dense => {
            dense::merge(into, registers);
            Ok(())
        }
        Encoding::Sparse => sparse::for_each_run(registers, |first, len, value| {
            for register in &mut into[first..first + len] {
                *register = value.max(*register);
            }
        }),
    }
}

/// The dense string with the registers and the cardinality of a sparse one.
pub fn to_dense(string: &[u8]) -> Result<Vec<u8>, Corrupt> {
    let mut with = vec![0; DENSE_BYTES];
    with[..HEAD_BYTES].copy_from_slice(&string[..HEAD_BYTES]);
    with[ENCODING_AT] = 0;
    let registers = &mut with[HEAD_BYTES..];
    sparse::for_each_run(&string[HEAD_BYTES..], |first, len, value| {
        for index in first..first + len {
            dense::raise(registers, index, value);
        }
    })?;
    Ok(with)
}

#[cfg(test)]
mod tests;
