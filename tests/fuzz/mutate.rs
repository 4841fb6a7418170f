//! Mutations: of bytes, with the protocol's own tokens; of commands, argument by argument.
use ringdove_rig::{Rng, inline_args};

/// Tokens that a decoder treats specially.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"*",
    b"$",
    b"*0\r\n",
    b"*-1\r\n",
    b"*1\r\n",
    b"*2\r\n",
    b"$-1\r\n",
    b"$0\r\n\r\n",
    b"$1\r\n",
    b"$4\r\n",
    b"*99999999999999999999\r\n",
    b"$536870913\r\n",
    b"\"",
    b"'",
    b"\\x4",
    b" ",
    b"\0",
    b"-",
    b"+",
    b"PING",
    b"GET a",
    b"$5\r\nhello\r\n",
    b"*1\r\n$4\r\nPING\r\n",
];
/// Arguments at the edge of what commands take.
const ARGUMENTS: &[&str] = &[
    "",
    "0",
    "-1",
    "1",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "1.5",
    "x",
    "a",
    "b",
    "NX",
    "GET",
    "nan",
    "inf",
    "-0",
    "+1",
    " 1",
    "0x1",
];
/// An input does not grow past this by splicing.
const LEN_MAX: usize = 4096;

/// An input made from the corpus by a few mutations.
pub(crate) fn bytes(corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut input = rng.pick(corpus).clone();
    for _ in 0..1 + rng.below(4) {
        let at = rng.below(input.len() + 1);
        let end = (at + rng.below(8)).min(input.len());
        match rng.below(7) {
            0 => drop(input.drain(at..end)),
            1 => {
                let other = rng.pick(corpus);
                input.splice(at..at, other.iter().copied());
            }
            2 => {
                let copy = input[at..end].to_vec();
                input.splice(at..at, copy);
            }
            3 if at < input.len() => input[at] = rng.bits() as u8,
            4 if at < input.len() => input[at] ^= 1 << rng.below(8),
            5 => input.truncate(at),
            _ => {
                let token = *rng.pick(TOKENS);
                input.splice(at..at, token.iter().copied());
            }
        }
    }
    input.truncate(LEN_MAX);
    input
}

/// Up to five places at which an input of this length is cut into packets.
pub(crate) fn cuts(len: usize, rng: &mut Rng) -> Vec<usize> {
    let mut cuts: Vec<usize> = (0..rng.below(6)).map(|_| rng.below(len + 1)).collect();
    cuts.sort_unstable();
    cuts
}

/// The commands in the files of a corpus, one on a line.
pub(crate) fn lines(corpus: &[Vec<u8>]) -> Vec<Vec<Vec<u8>>> {
    let texts = corpus.iter().map(|file| String::from_utf8_lossy(file));
    texts
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| inline_args(&line))
        .collect()
}

/// One command of the corpus; every other time with arguments changed, dropped, added or borrowed.
pub(crate) fn command(lines: &[Vec<Vec<u8>>], rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut args = rng.pick(lines).clone();
    while rng.one_in(2) && args.len() > 1 {
        let at = 1 + rng.below(args.len() - 1);
        match rng.below(4) {
            0 => drop(args.remove(at)),
            1 => args.insert(at, rng.pick(ARGUMENTS).as_bytes().to_vec()),
            2 => args[at] = rng.pick(ARGUMENTS).as_bytes().to_vec(),
            _ => {
                let other = rng.pick(lines);
                args[at] = other[rng.below(other.len())].clone();
            }
        }
    }
    args
}
