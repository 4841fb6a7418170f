//! Sparse registers: runs of equal ones.
//!
//! | bytes | run |
//! | --- | --- |
//! | `00llllll` | 1 to 64 zeros |
//! | `01llllll llllllll` | 1 to 16384 zeros |
//! | `1vvvvvll` | 1 to 4 registers of the value 1 to 32 |
//!
//! Lengths and values are stored less one. A run that is written to is split as Redis splits it, and
//! the same neighbours are joined afterwards, so that the same elements in the same order make the
//! same bytes.

use super::{Corrupt, HEAD_BYTES, Histogram, REGISTERS};
use smallvec::{Array, SmallVec};

/// The runs of registers that are all zero.
pub const EMPTY: [u8; 2] = [0x7f, 0xff];
/// What a register can hold at the most.
const VALUE_MAX: u8 = 32;
/// Longest run of a value.
const VALUE_RUN_MAX: usize = 4;
/// Longest run of zeros in one byte.
const SHORT_ZEROS_MAX: usize = 64;
/// Runs from the one in front of a change on that are looked at to join them.
const JOIN_LOOKS: usize = 5;

/// A run as it stands at the start of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// Registers.
    pub len: usize,
    /// What they hold.
    pub value: u8,
    /// Bytes of the run.
    pub bytes: usize,
}

impl Run {
    /// The run at the start; None where it is cut off.
    #[inline]
    fn read(bytes: &[u8]) -> Option<Self> {
        let (value, len, size) = match *bytes {
            [first @ 0..0x40, ..] => (0, usize::from(first), 1),
            [first @ 0x40..0x80, second, ..] => {
                (0, usize::from(first & 0x3f) << 8 | usize::from(second), 2)
            }
            [first @ 0x80..=0xff, ..] => ((first >> 2 & 0x1f) + 1, usize::from(first & 3), 1),
            _ => return None,
        };
        Some(Self {
            len: len + 1,
            value,
            bytes: size,
        })
    }
}

/// The bytes that runs are replaced by.
type Pieces = SmallVec<[u8; 8]>;

fn put_zeros(pieces: &mut Pieces, len: usize) {
    match len {
        0 => {}
        1..=SHORT_ZEROS_MAX => pieces.push((len - 1) as u8),
        _ => pieces.extend([0x40 | ((len - 1) >> 8) as u8, (len - 1) as u8]),
    }
}

fn value_run(value: u8, len: usize) -> u8 {
    0x80 | (value - 1) << 2 | (len - 1) as u8
}

fn put_values(pieces: &mut Pieces, value: u8, len: usize) {
    if len > 0 {
        pieces.push(value_run(value, len));
    }
}

/// Visits all runs: their first register, length and value.
pub fn for_each_run(
    registers: &[u8],
    mut visit: impl FnMut(usize, usize, u8),
) -> Result<(), Corrupt> {
    let (mut at, mut first) = (0, 0);
    while at < registers.len() {
        let run = Run::read(&registers[at..]).ok_or(Corrupt)?;
        if first + run.len > REGISTERS {
            return Err(Corrupt);
        }
        visit(first, run.len, run.value);
        at += run.bytes;
        first += run.len;
    }
    if first == REGISTERS {
        Ok(())
    } else {
        Err(Corrupt)
    }
}

/// How many registers hold each value.
pub fn histogram(registers: &[u8]) -> Result<Histogram, Corrupt> {
    let mut histogram = [0; 64];
    for_each_run(registers, |_, len, value| {
        histogram[usize::from(value)] += len as u32;
    })?;
    Ok(histogram)
}

/// What became of a register that was to be raised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Raised {
    /// It held as much already.
    No,
    /// It was raised.
    Yes,
    /// The string would become too long, or the value is too large: only a dense one can.
    NeedsDense,
}

/// Where a walk along the runs may go on: the run in front of the one last written to, and its first
/// register. Registers that are raised in ascending order need one walk altogether.
#[derive(Clone, Copy, Default, Debug)]
pub struct Hint {
    at: usize,
    first: usize,
}

/// Raises a register of a whole string, its head included, to a value, as long as that does not make
/// it longer than `bytes_max`.
pub fn raise<A: Array<Item = u8>>(
    string: &mut SmallVec<A>,
    index: usize,
    value: u8,
    bytes_max: u64,
    hint: &mut Hint,
) -> Result<Raised, Corrupt> {
    if value > VALUE_MAX {
        return Ok(Raised::NeedsDense);
    }
    let from = if index < hint.first {
        Hint::default()
    } else {
        *hint
    };
    let found = match find(&string[HEAD_BYTES..], index, from)? {
        // The hint is the run itself: what is in front of it is not known.
        Found { before: None, .. } if from.at > 0 => {
            find(&string[HEAD_BYTES..], index, Hint::default())?
        }
        found => found,
    };
    let Found {
        at,
        first,
        before,
        run,
    } = found;
    if run.value >= value {
        return Ok(Raised::No);
    }
    let mut pieces = Pieces::new();
    let behind = first + run.len - 1 - index;
    if run.value == 0 {
        put_zeros(&mut pieces, index - first);
        put_values(&mut pieces, value, 1);
        put_zeros(&mut pieces, behind);
    } else {
        put_values(&mut pieces, run.value, index - first);
        put_values(&mut pieces, value, 1);
        put_values(&mut pieces, run.value, behind);
    }
    let longer = pieces.len() > run.bytes;
    if longer && (string.len() - run.bytes + pieces.len()) as u64 > bytes_max {
        return Ok(Raised::NeedsDense);
    }
    replace(string, HEAD_BYTES + at, run.bytes, &pieces);
    let (from, from_first) = before.unwrap_or((0, 0));
    *hint = Hint {
        at: from,
        first: from_first,
    };
    join(string, HEAD_BYTES + from);
    Ok(Raised::Yes)
}

/// A run, and the one in front of it.
struct Found {
    at: usize,
    first: usize,
    /// Where the run in front stands, and its first register; None if the walk began at this one.
    before: Option<(usize, usize)>,
    run: Run,
}

/// The run that a register belongs to.
fn find(registers: &[u8], index: usize, from: Hint) -> Result<Found, Corrupt> {
    let (mut at, mut first, mut before) = (from.at, from.first, None);
    while at < registers.len() {
        let run = Run::read(&registers[at..]).ok_or(Corrupt)?;
        if index < first + run.len {
            return Ok(Found {
                at,
                first,
                before,
                run,
            });
        }
        before = Some((at, first));
        at += run.bytes;
        first += run.len;
    }
    Err(Corrupt)
}

fn replace<A: Array<Item = u8>>(string: &mut SmallVec<A>, at: usize, remove: usize, pieces: &[u8]) {
    let common = remove.min(pieces.len());
    string[at..at + common].copy_from_slice(&pieces[..common]);
    if pieces.len() > common {
        string.insert_from_slice(at + common, &pieces[common..]);
    } else if remove > common {
        string.drain(at + common..at + remove);
    }
}

/// Joins neighbours of the same value, among a few runs from one on.
fn join<A: Array<Item = u8>>(string: &mut SmallVec<A>, from: usize) {
    let mut at = from;
    for _ in 0..JOIN_LOOKS {
        let Some(run) = string.get(at..).and_then(Run::read) else {
            return;
        };
        let next = if run.value > 0 {
            string.get(at + 1..).and_then(Run::read)
        } else {
            None
        };
        match next {
            Some(next) if next.value == run.value && run.len + next.len <= VALUE_RUN_MAX => {
                string.remove(at);
                string[at] = value_run(run.value, run.len + next.len);
            }
            _ => at += run.bytes,
        }
    }
}

/// The runs as PFDEBUG DECODE shows them.
pub fn describe(registers: &[u8]) -> String {
    let mut runs = Vec::new();
    let mut at = 0;
    while let Some(run) = registers.get(at..).and_then(Run::read) {
        runs.push(match (run.value, run.bytes) {
            (0, 1) => format!("z:{}", run.len),
            (0, _) => format!("Z:{}", run.len),
            (value, _) => format!("v:{value},{}", run.len),
        });
        at += run.bytes;
    }
    runs.join(" ")
}
