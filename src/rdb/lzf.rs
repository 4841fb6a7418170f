//! LZF, the compression of strings in RDB.
//!
//! | first byte | what follows |
//! | --- | --- |
//! | `000nnnnn` | n + 1 bytes as they are |
//! | `nnnooooo` (n 1 to 6) | one byte, the lower 8 bits of o: copy n + 2 bytes from o + 1 bytes back |
//! | `111ooooo` | two bytes, m and the lower 8 bits of o: copy m + 9 bytes from o + 1 bytes back |
//!
//! The format is liblzf's; what is chosen to be copied is ours, so the bytes need not be Redis's.

/// Longest run of bytes as they are.
const RUN_MAX: usize = 32;
/// Longest copy.
const COPY_MAX: usize = 264;
/// A shorter copy is not worth it.
const COPY_MIN: usize = 3;
/// How far back a copy reaches.
const OFFSET_MAX: usize = 1 << 13;
/// Places in the table of a string that is not short, and in that of a short one, which stays in the
/// first-level cache: most strings are short, and most of those cannot be compressed.
const PLACES: usize = 1 << 14;
const PLACES_OF_SHORT: usize = 1 << 10;
const SHORT_MAX: usize = 512;
/// Where nothing is found the steps grow by a byte with so many in vain, as LZ4's do.
const VAIN_BITS: u32 = 5;
/// No byte of compressed input gives more: three bytes copy 264.
const EXPANSION_MAX: u64 = 88;

/// Whether compressed bytes can become so many: what a file says of it is checked before memory is
/// taken.
pub fn can_become(compressed: usize, len: u64) -> bool {
    len <= (compressed as u64).saturating_mul(EXPANSION_MAX)
}

/// Appends what compressed bytes stand for, which must be `len` bytes; None if they are not, or are
/// not sound. What was appended by then stays.
pub fn decompress(mut input: &[u8], len: usize, out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    let end = start + len;
    while let Some((&head, rest)) = input.split_first() {
        let head = usize::from(head);
        if head < RUN_MAX {
            let run = rest.get(..=head)?;
            if out.len() + run.len() > end {
                return None;
            }
            out.extend_from_slice(run);
            input = &rest[run.len()..];
            continue;
        }
        let (count, rest) = match head >> 5 {
            7 => {
                let (more, rest) = rest.split_first()?;
                (9 + usize::from(*more), rest)
            }
            short => (2 + short, rest),
        };
        let (low, rest) = rest.split_first()?;
        let back = ((head & 31) << 8 | usize::from(*low)) + 1;
        if back > out.len() - start || out.len() + count > end {
            return None;
        }
        copy(out, back, count);
        input = rest;
    }
    (out.len() == end).then_some(())
}

/// Appends `count` bytes from `back` bytes before the end; where it reaches into itself, it repeats.
fn copy(out: &mut Vec<u8>, back: usize, count: usize) {
    let from = out.len() - back;
    if back >= count {
        out.extend_from_within(from..from + count);
    } else {
        for at in from..from + count {
            out.push(out[at]);
        }
    }
}

/// Where three bytes were last seen. Kept from one string to the next: positions are counted through,
/// so that nothing has to be cleared.
#[derive(Debug)]
pub struct Compressor {
    seen: Box<[u32; PLACES]>,
    seen_in_short: Box<[u32; PLACES_OF_SHORT]>,
    /// The position of the next string's first byte; what is below is another string's.
    base: u32,
}

impl Default for Compressor {
    fn default() -> Self {
        Self {
            seen: Box::new([0; PLACES]),
            seen_in_short: Box::new([0; PLACES_OF_SHORT]),
            base: 1,
        }
    }
}

/// The three bytes at `at`, of at least four.
#[inline]
fn three(input: &[u8], at: usize) -> Option<u32> {
    let four = input.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*four) & 0x00FF_FFFF)
}

impl Compressor {
    /// Appends the compressed bytes if they are at most `most`; whether they are. Else nothing is
    /// appended.
    pub fn compress(&mut self, input: &[u8], most: usize, out: &mut Vec<u8>) -> bool {
        let Ok(len) = u32::try_from(input.len()) else {
            return false;
        };
        let Some(next) = self.base.checked_add(len) else {
            *self = Self::default();
            return self.compress(input, most, out);
        };
        let base = std::mem::replace(&mut self.base, next);
        if input.len() <= SHORT_MAX {
            compress(&mut self.seen_in_short, base, input, most, out)
        } else {
            compress(&mut self.seen, base, input, most, out)
        }
    }
}

/// The same with a table of this size, in which what is below `base` is of other strings.
fn compress<const PLACES: usize>(
    seen: &mut [u32; PLACES],
    base: u32,
    input: &[u8],
    most: usize,
    out: &mut Vec<u8>,
) -> bool {
    let place = |three: u32| {
        let bits = PLACES.trailing_zeros();
        (three.wrapping_mul(0x9e37_79b1) >> (32 - bits)) as usize & (PLACES - 1)
    };
    let start = out.len();
    // Where it stands, where the bytes begin that are in no copy, and how often nothing was found.
    let (mut at, mut run, mut vain) = (0, 0, 0);
    while let Some(wanted) = three(input, at) {
        let earlier = std::mem::replace(&mut seen[place(wanted)], base + at as u32);
        // Another string's comes out far behind.
        let from = earlier.wrapping_sub(base) as usize;
        if from >= at || at - from > OFFSET_MAX || three(input, from) != Some(wanted) {
            at += 1 + (vain >> VAIN_BITS);
            vain += 1;
            continue;
        }
        let same = input[from..]
            .iter()
            .zip(&input[at..])
            .take(COPY_MAX)
            .take_while(|(a, b)| a == b)
            .count();
        put_run(&input[run..at], out);
        put_copy(at - from, same, out);
        at += same;
        (run, vain) = (at, 0);
        if out.len() - start > most {
            break;
        }
    }
    let rest = &input[run..];
    let fits = out.len() - start + rest.len() + rest.len().div_ceil(RUN_MAX) <= most;
    if fits {
        put_run(rest, out);
    } else {
        out.truncate(start);
    }
    fits
}

fn put_run(run: &[u8], out: &mut Vec<u8>) {
    for part in run.chunks(RUN_MAX) {
        out.push(part.len() as u8 - 1);
        out.extend_from_slice(part);
    }
}

fn put_copy(back: usize, count: usize, out: &mut Vec<u8>) {
    assert!((1..=OFFSET_MAX).contains(&back) && (COPY_MIN..=COPY_MAX).contains(&count));
    let offset = back - 1;
    let high = (offset >> 8) as u8;
    match count - 2 {
        short @ ..7 => out.push((short as u8) << 5 | high),
        long => out.extend_from_slice(&[7 << 5 | high, (long - 7) as u8]),
    }
    out.push(offset as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compressed_comes_back() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut compressor = Compressor::default();
        for round in 0..3000 {
            let len = random.usize(..if round % 50 == 0 { 40_000 } else { 600 });
            let letters = random.u8(1..=40);
            let mut input: Vec<u8> = (0..len).map(|_| random.u8(..letters)).collect();
            if random.bool() {
                let part = input[..len / 3].to_vec();
                input.extend(part.repeat(random.usize(..5)));
            }
            let mut packed = b"before".to_vec();
            let fits = compressor.compress(&input, input.len(), &mut packed);
            if !fits {
                assert_eq!(packed, b"before");
                continue;
            }
            let packed = &packed[6..];
            assert!(can_become(packed.len(), input.len() as u64));
            let mut output = b"x".to_vec();
            decompress(packed, input.len(), &mut output).expect("sound");
            assert_eq!(output[1..], input);
            assert!(decompress(packed, input.len() + 1, &mut Vec::new()).is_none());
            if !input.is_empty() {
                assert!(decompress(packed, input.len() - 1, &mut Vec::new()).is_none());
            }
        }
        let mut packed = Vec::new();
        assert!(compressor.compress(&[b'a'; 10_000], 200, &mut packed));
    }

    #[test]
    fn any_bytes_are_taken_without_harm() {
        let mut random = fastrand::Rng::with_seed(8);
        for _ in 0..20_000 {
            let input: Vec<u8> = (0..random.usize(..40)).map(|_| random.u8(..)).collect();
            let len = random.usize(..300);
            let mut out = Vec::new();
            let sound = decompress(&input, len, &mut out).is_some();
            assert!(out.len() == len || (!sound && out.len() < len));
        }
    }
}
