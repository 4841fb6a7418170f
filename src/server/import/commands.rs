//! The commands of a log of Redis's, read as its bytes arrive.
//!
//! ```text
//! *2\r\n$3\r\nDEL\r\n$1\r\nk\r\n     a command: an array of bulk strings
//! #TS:1795263218\r\n                 when what follows was done, seconds; passed over
//! ```
//!
//! Pure. Nothing that a length says is believed before the bytes are there.

use smallvec::SmallVec;

/// A line that tells a number, or a comment, is not longer (Redis reads them into a buffer of 128).
const LINE_BYTES_MAX: usize = 128;
/// Redis's own limit of a request's arguments, and of the bytes of one that a log may have.
const ARGUMENTS_MAX: i64 = i32::MAX as i64;

/// The arguments of a command.
pub type Args<'a> = SmallVec<[&'a [u8]; 8]>;

/// What the next bytes are.
#[derive(PartialEq, Eq, Debug)]
pub enum Next<'a> {
    /// A command, and where it ends.
    Command(Args<'a>, usize),
    /// Something to pass over, and where it ends.
    Comment(usize),
    /// Not whole yet; nothing at all if there are no bytes.
    More,
    /// No command.
    Bad,
}

/// Why there is no command.
enum Stop {
    More,
    Bad,
}

enum Line {
    Ends(usize),
    More,
    Bad,
}

/// The line at the start of `bytes`: where it ends, its `\r\n` not included.
fn line(bytes: &[u8]) -> Line {
    let looked_at = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    match looked_at.iter().position(|byte| *byte == b'\n') {
        Some(end) if end > 0 && bytes[end - 1] == b'\r' => Line::Ends(end - 1),
        Some(_) => Line::Bad,
        None if looked_at.len() < LINE_BYTES_MAX => Line::More,
        None => Line::Bad,
    }
}

/// A number behind `kind`: it, and where its line ends.
fn number(bytes: &[u8], kind: u8) -> Result<(i64, usize), Stop> {
    if bytes.first().is_some_and(|first| *first != kind) {
        return Err(Stop::Bad);
    }
    match line(bytes) {
        Line::Ends(end) => {
            let number = crate::resp::number::parse_i64(&bytes[1..end]).ok_or(Stop::Bad)?;
            Ok((number, end + 2))
        }
        Line::More => Err(Stop::More),
        Line::Bad => Err(Stop::Bad),
    }
}

/// Looks at the next bytes of a log.
pub fn next(bytes: &[u8]) -> Next<'_> {
    if bytes.first() == Some(&b'#') {
        return match line(bytes) {
            Line::Ends(end) => Next::Comment(end + 2),
            Line::More => Next::More,
            Line::Bad => Next::Bad,
        };
    }
    match command(bytes) {
        Ok((args, end)) => Next::Command(args, end),
        Err(Stop::More) => Next::More,
        Err(Stop::Bad) => Next::Bad,
    }
}

fn command(bytes: &[u8]) -> Result<(Args<'_>, usize), Stop> {
    let (count, mut at) = number(bytes, b'*')?;
    if !(1..=ARGUMENTS_MAX).contains(&count) {
        return Err(Stop::Bad);
    }
    let mut args = Args::new();
    for _ in 0..count {
        let (length, head) = number(&bytes[at..], b'$')?;
        let length = usize::try_from(length).map_err(|_| Stop::Bad)?;
        let from = at + head;
        let end = from.checked_add(length).ok_or(Stop::Bad)?;
        let after = end.checked_add(2).ok_or(Stop::Bad)?;
        args.push(bytes.get(from..end).ok_or(Stop::More)?);
        match bytes.get(end..after) {
            Some(b"\r\n") => at = after,
            Some(_) => return Err(Stop::Bad),
            None => return Err(Stop::More),
        }
    }
    Ok((args, at))
}

/// Appends a command, as it stands in a log.
pub fn put<'a>(words: impl ExactSizeIterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &[u8] = b"#TS:12\r\n*2\r\n$3\r\nDEL\r\n$2\r\n\r\n\r\n";

    #[test]
    fn commands_and_comments() {
        assert_eq!(next(LOG), Next::Comment(8));
        let Next::Command(args, end) = next(&LOG[8..]) else {
            panic!("a command")
        };
        assert_eq!((args.as_slice(), end), (&[&b"DEL"[..], b"\r\n"][..], 21));
        assert_eq!(next(b""), Next::More);
    }

    #[test]
    fn what_is_cut_short_is_not_wrong() {
        for end in 0..8 {
            assert_eq!(next(&LOG[..end]), Next::More, "{end}");
        }
        for end in 8..LOG.len() {
            assert_eq!(next(&LOG[8..end]), Next::More, "{end}");
        }
    }

    #[test]
    fn what_is_no_command_is_wrong() {
        for bytes in [
            &b"x"[..],
            b"*0\r\n",
            b"*-1\r\n",
            b"*x\r\n",
            b"*1\n",
            b"*1\r\n+OK\r\n",
            b"*1\r\n$-1\r\n",
            b"*1\r\n$1\r\nab\r\n",
            b"*99999999999\r\n",
            b"*1\r\n$9223372036854775807\r\n12",
            &[b'*'; 200],
            &[b'#'; 200],
        ] {
            let seen = next(bytes);
            let huge = bytes.starts_with(b"*1\r\n$922");
            assert_eq!(seen, if huge { Next::More } else { Next::Bad }, "{bytes:?}");
        }
    }
}
