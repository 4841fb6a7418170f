//! The checksum of RDB files and DUMP payloads: CRC-64 as David Jones gave it, polynomial
//! `0xad93d23594c935a9`, reflected, starting at 0, with nothing added at the end.

use crc_fast::{CrcAlgorithm, Digest};

/// The checksum of what `crc` is the checksum of (0: nothing) and these bytes behind it.
pub fn crc64(crc: u64, bytes: &[u8]) -> u64 {
    // With nothing added at the end, the state is the checksum.
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc64Redis, crc);
    digest.update(bytes);
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_cut_anywhere() {
        assert_eq!(crc64(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        let bytes: Vec<u8> = (0..1000u32).map(|n| n.wrapping_mul(37) as u8).collect();
        let whole = crc64(0, &bytes);
        for at in 0..bytes.len() {
            assert_eq!(crc64(crc64(0, &bytes[..at]), &bytes[at..]), whole);
        }
    }
}
