//! CRC32C (Castagnoli, as in RFC 3720) of the records of the log.
//!
//! A record is mostly a hundred bytes at any address. The library that sees to the blocks first goes
//! byte by byte to an aligned address, which for so few bytes is most of the work; the processor's
//! instruction takes eight bytes wherever they stand.
#![expect(unsafe_code, reason = "calls a function for processors with SSE 4.2")]

/// From so many bytes on the library is faster: it computes three parts side by side.
const LONG_BYTES: usize = 1024;

/// The checksum of bytes whose beginning has the checksum `crc`, 0 for none, and whose rest is `bytes`.
#[inline]
pub fn append(crc: u32, bytes: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() < LONG_BYTES && std::arch::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the processor has the instructions, as just seen.
        return unsafe { short(crc, bytes) };
    }
    crc32c::crc32c_append(crc, bytes)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn short(crc: u32, bytes: &[u8]) -> u32 {
    use std::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u32, _mm_crc32_u64};
    let (words, mut rest) = bytes.as_chunks::<8>();
    let mut wide = u64::from(!crc);
    for word in words {
        wide = _mm_crc32_u64(wide, u64::from_le_bytes(*word));
    }
    let mut crc = wide as u32;
    if let Some((word, behind)) = rest.split_first_chunk::<4>() {
        crc = _mm_crc32_u32(crc, u32::from_le_bytes(*word));
        rest = behind;
    }
    for byte in rest {
        crc = _mm_crc32_u8(crc, *byte);
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_library_s() {
        let bytes: Vec<u8> = (0..3000u32).map(|n| ((n * 7919) >> 3) as u8).collect();
        for length in (0..300).chain([LONG_BYTES - 1, LONG_BYTES, 2900]) {
            for from in [0, 1, 7, 64] {
                let bytes = &bytes[from..from + length];
                assert_eq!(append(0, bytes), crc32c::crc32c(bytes));
                let (one, other) = bytes.split_at(length / 3);
                assert_eq!(append(append(0, one), other), crc32c::crc32c(bytes));
            }
        }
        assert_eq!(append(0, b"123456789"), 0xE306_9283);
    }
}
