//! Comparing short byte strings without a call.

/// Whether two byte strings are the same; inlined, since keys and names are short.
#[inline(always)]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    const MAX: usize = 64;
    if a.len() != b.len() {
        return false;
    }
    match a.len() {
        n if n > MAX => a == b,
        0..8 => word(a) == word(b),
        _ => {
            let words = a.chunks_exact(8).zip(b.chunks_exact(8));
            let differ = words.fold(0, |d, (x, y)| d | (load(x) ^ load(y)));
            // The last word overlaps the one before it.
            differ | (load(&a[a.len() - 8..]) ^ load(&b[b.len() - 8..])) == 0
        }
    }
}

/// The first eight bytes as a word.
#[inline(always)]
fn load(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
}

/// Up to eight bytes as a word, the first in the lowest byte, zeros above.
#[inline(always)]
pub fn word(bytes: &[u8]) -> u64 {
    let n = bytes.len();
    let half = |at: usize| {
        u64::from(u32::from_le_bytes(
            bytes[at..at + 4].try_into().expect("four bytes"),
        ))
    };
    match n {
        8.. => load(bytes),
        // Two halves that overlap say the same of the bytes that they share.
        4.. => half(0) | half(n - 4) << ((n - 4) * 8),
        2.. => {
            u64::from(bytes[0])
                | u64::from(bytes[1]) << 8
                | u64::from(bytes[n - 1]) << ((n - 1) * 8)
        }
        1 => u64::from(bytes[0]),
        0 => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_hold_every_byte() {
        for n in 0..=8 {
            let bytes: Vec<u8> = (1..=n as u8).map(|i| i * 31).collect();
            let mut padded = [0; 8];
            padded[..n].copy_from_slice(&bytes);
            assert_eq!(word(&bytes), u64::from_le_bytes(padded), "{n} bytes");
        }
    }

    #[test]
    fn a_difference_anywhere_is_seen() {
        for n in 0..100 {
            let a: Vec<u8> = (0..n).collect();
            assert!(equal(&a, &a.clone()));
            assert!(!equal(&a, &[&a[..], &[0]].concat()));
            for at in 0..a.len() {
                let mut b = a.clone();
                b[at] ^= 0x80;
                assert!(!equal(&a, &b), "{n} bytes, byte {at}");
            }
        }
    }
}
