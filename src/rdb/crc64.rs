//! The checksum of RDB files and DUMP payloads: CRC-64 as David Jones gave it, polynomial
//! `0xad93d23594c935a9`, reflected, starting at 0, with nothing added at the end.

/// The polynomial, its bits reversed.
const REVERSED: u64 = 0x95ac_9329_ac4b_c9b5;
/// Bytes that are taken at once.
const LANES: usize = 8;

/// `TABLES[n][b]`: what byte `b` with `n` bytes of zeros behind it adds.
static TABLES: [[u64; 256]; LANES] = tables();

const fn tables() -> [[u64; 256]; LANES] {
    let mut tables = [[0; 256]; LANES];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u64, 0);
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { REVERSED } else { 0 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut lane = 1;
    while lane < LANES {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[lane - 1][byte];
            tables[lane][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        lane += 1;
    }
    tables
}

/// The checksum of what `crc` is the checksum of (0: nothing) and these bytes behind it.
pub fn crc64(mut crc: u64, bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(LANES);
    for chunk in &mut chunks {
        let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes")) ^ crc;
        crc = (0..LANES).fold(0, |sum, lane| {
            let byte = word >> (8 * lane) & 0xff;
            sum ^ TABLES[LANES - 1 - lane][byte as usize]
        });
    }
    for byte in chunks.remainder() {
        crc = (crc >> 8) ^ TABLES[0][((crc ^ u64::from(*byte)) & 0xff) as usize];
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_cut_anywhere() {
        assert_eq!(crc64(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        let bytes: Vec<u8> = (0..100u8).map(|n| n.wrapping_mul(37)).collect();
        let whole = crc64(0, &bytes);
        for at in 0..bytes.len() {
            assert_eq!(crc64(crc64(0, &bytes[..at]), &bytes[at..]), whole);
        }
    }
}
