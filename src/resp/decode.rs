//! Requests from bytes: multibulk and inline commands, in place and incrementally.
//!
//! [`decode`] reads one command. What it finds of an unfinished command stays in a [`Frame`], so
//! that no byte is looked at twice however small the pieces are in which they arrive. Limits and
//! error texts are those of Redis's `processMultibulkBuffer` and `processInlineBuffer`
//! (networking.c); after an error the connection is closed.

use super::number::parse_i64;

/// Longest line of a count, and longest inline command, as on Redis (PROTO_INLINE_MAX_SIZE).
pub const INLINE_MAX: usize = 64 * 1024;
/// An argument of which this many bytes have arrived, and which goes on, is received into memory
/// of its own. Its announcement alone allocates nothing.
pub const BIG_MIN: usize = 64 * 1024;

/// What a connection may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `proto-max-bulk-len`, bytes.
    pub bulk_max: u64,
    /// Whether the connection has not authenticated yet: small requests only.
    pub unauthenticated: bool,
}

/// A violation of the protocol; the text follows `Protocol error: `.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// A request line over [`INLINE_MAX`].
    InlineTooBig,
    /// Quotes in an inline command do not close.
    UnbalancedQuotes,
    /// The line after `*` is too long.
    CountTooBig,
    /// Not a number, or out of range, after `*`.
    BadCount,
    /// Too many arguments before authentication.
    UnauthenticatedCount,
    /// The line after `$` is too long.
    BulkCountTooBig,
    /// Something else where `$` must stand.
    ExpectedDollar(u8),
    /// Not a number, or out of range, after `$`.
    BadBulk,
    /// Too long an argument before authentication.
    UnauthenticatedBulk,
}

impl Violation {
    /// The line that Redis answers with, without the dash.
    pub fn text(self) -> Vec<u8> {
        let what: &[u8] = match self {
            Self::InlineTooBig => b"too big inline request",
            Self::UnbalancedQuotes => b"unbalanced quotes in request",
            Self::CountTooBig => b"too big mbulk count string",
            Self::BadCount => b"invalid multibulk length",
            Self::UnauthenticatedCount => b"unauthenticated multibulk length",
            Self::BulkCountTooBig => b"too big bulk count string",
            Self::ExpectedDollar(_) => b"expected '$', got '",
            Self::BadBulk => b"invalid bulk length",
            Self::UnauthenticatedBulk => b"unauthenticated bulk length",
        };
        let mut text = [b"ERR Protocol error: ", what].concat();
        if let Self::ExpectedDollar(got) = self {
            text.extend_from_slice(&[got, b'\'']);
        }
        text
    }
}

/// What is known of a command that has not arrived whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Frame {
    /// Arguments still to come, the one being read included; 0 while the head is missing.
    pub args_left: u32,
    /// Length of the argument being read, once its `$` line has been read.
    pub bulk: Option<u64>,
    /// Offset of the next byte to look at, from the start of the command.
    pub at: usize,
}

/// The outcome of [`decode`].
#[derive(PartialEq, Eq, Debug)]
pub enum Decoded {
    /// A command; its arguments have been pushed. Zero arguments: an empty line, to be skipped.
    Command {
        /// Offset after it.
        end: usize,
    },
    /// An inline command; its arguments are copies, since quotes and escapes were resolved.
    Inline {
        /// The arguments; none for an empty line, to be skipped.
        args: Vec<Vec<u8>>,
        /// Offset after it.
        end: usize,
    },
    /// More bytes are needed; `frame` says where to go on.
    Incomplete,
    /// The connection is to be told and closed.
    Violation(Violation),
}

/// A number line: from `at` to `\r\n`.
enum Line {
    Number(i64, usize),
    NotANumber,
    Incomplete,
    TooLong,
}

fn number_line(input: &[u8], at: usize) -> Line {
    // The common case first: one to three digits.
    let rest = &input[at..];
    let mut value = 0i64;
    for (i, &byte) in rest.iter().take(4).enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            value = value * 10 + i64::from(digit);
        } else if byte == b'\r' && i > 0 && rest.len() > i + 1 && (rest[0] != b'0' || i == 1) {
            return Line::Number(value, at + i + 2);
        } else {
            break;
        }
    }
    match line_end(rest, b'\r') {
        Ok(i) if i + 1 < rest.len() => match parse_i64(&rest[..i]) {
            Some(value) => Line::Number(value, at + i + 2),
            None => Line::NotANumber,
        },
        Err(_) if rest.len() > INLINE_MAX => Line::TooLong,
        _ => Line::Incomplete,
    }
}

/// Where a line ends, or the place from which to look for its end when more has come. Redis looks
/// with `strchr`: a zero byte hides everything behind it.
fn line_end(line: &[u8], end: u8) -> Result<usize, usize> {
    match line.iter().position(|&b| b == end || b == 0) {
        Some(at) if line[at] == end => Ok(at),
        Some(zero) => Err(zero),
        None => Err(line.len()),
    }
}

/// Reads one command from `input`, which starts at the command's first byte, going on where
/// `frame` says. Each argument found is handed to `arg` as (offset, length) in `input`.
pub fn decode(
    input: &[u8],
    frame: &mut Frame,
    limits: &Limits,
    mut arg: impl FnMut(usize, usize),
) -> Decoded {
    let mut at = frame.at;
    let mut left = frame.args_left;
    let mut bulk = frame.bulk;
    if left == 0 {
        match input.first() {
            None => return Decoded::Incomplete,
            Some(b'*') => {}
            Some(_) => return inline(input, frame),
        }
        match number_line(input, 1) {
            Line::Number(n, next) => {
                if n > i64::from(i32::MAX) {
                    return Decoded::Violation(Violation::BadCount);
                }
                if n > 10 && limits.unauthenticated {
                    return Decoded::Violation(Violation::UnauthenticatedCount);
                }
                if n <= 0 {
                    return Decoded::Command { end: next };
                }
                left = n as u32;
                at = next;
            }
            Line::NotANumber => return Decoded::Violation(Violation::BadCount),
            Line::TooLong => return Decoded::Violation(Violation::CountTooBig),
            Line::Incomplete => return Decoded::Incomplete,
        }
    }
    while left > 0 {
        let len = match bulk {
            Some(len) => len,
            None => {
                match input.get(at) {
                    Some(b'$') => {}
                    // Redis looks for the line's end before it looks at the line.
                    Some(&other) => match number_line(input, at) {
                        Line::Incomplete => break,
                        Line::TooLong => return Decoded::Violation(Violation::BulkCountTooBig),
                        _ => return Decoded::Violation(Violation::ExpectedDollar(other)),
                    },
                    None => break,
                }
                match number_line(input, at + 1) {
                    Line::Number(n, next) => {
                        if n < 0 || n as u64 > limits.bulk_max {
                            return Decoded::Violation(Violation::BadBulk);
                        }
                        if n > 16384 && limits.unauthenticated {
                            return Decoded::Violation(Violation::UnauthenticatedBulk);
                        }
                        at = next;
                        n as u64
                    }
                    Line::NotANumber => return Decoded::Violation(Violation::BadBulk),
                    Line::TooLong => return Decoded::Violation(Violation::BulkCountTooBig),
                    Line::Incomplete => break,
                }
            }
        };
        if ((input.len() - at) as u64) < len + 2 {
            bulk = Some(len);
            break;
        }
        bulk = None;
        arg(at, len as usize);
        at += len as usize + 2;
        left -= 1;
    }
    if left == 0 {
        return Decoded::Command { end: at };
    }
    *frame = Frame {
        args_left: left,
        bulk,
        at,
    };
    Decoded::Incomplete
}

fn inline(input: &[u8], frame: &mut Frame) -> Decoded {
    let from = frame.at.min(input.len());
    let newline = match line_end(&input[from..], b'\n') {
        Ok(at) => from + at,
        Err(_) if input.len() > INLINE_MAX => {
            return Decoded::Violation(Violation::InlineTooBig);
        }
        Err(seen) => {
            frame.at = from + seen;
            return Decoded::Incomplete;
        }
    };
    let line = &input[..newline];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match split_args(line) {
        Some(args) => Decoded::Inline {
            args,
            end: newline + 1,
        },
        None => Decoded::Violation(Violation::UnbalancedQuotes),
    }
}

/// Splits a line into arguments as Redis's `sdssplitargs`: blanks separate, `"..."` with escapes
/// `\n \r \t \b \a \xHH`, `'...'` with `\'`. None: unbalanced quotes.
pub fn split_args(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut args = Vec::new();
    let mut at = 0;
    loop {
        while at < line.len() && is_blank(line[at]) {
            at += 1;
        }
        if at >= line.len() || line[at] == 0 {
            return Some(args);
        }
        let mut word = Vec::new();
        // Vertical tabs and form feeds separate arguments, but do not end one.
        while at < line.len() && !matches!(line[at], b' ' | b'\t' | b'\n' | b'\r' | 0) {
            match line[at] {
                quote @ (b'"' | b'\'') => {
                    at = quoted(line, at + 1, quote, &mut word)?;
                    if at < line.len() && !is_blank(line[at]) {
                        return None; // a closing quote must end the argument
                    }
                    break;
                }
                byte => {
                    word.push(byte);
                    at += 1;
                }
            }
        }
        args.push(word);
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Reads up to the closing quote; the offset after it is returned.
fn quoted(line: &[u8], mut at: usize, quote: u8, word: &mut Vec<u8>) -> Option<usize> {
    loop {
        let byte = *line.get(at)?;
        if byte == quote {
            return Some(at + 1);
        }
        if byte == b'\\' && quote == b'"' && at + 1 < line.len() {
            let hex = |i: usize| line.get(i).and_then(|b| (*b as char).to_digit(16));
            if let (b'x', Some(high), Some(low)) = (line[at + 1], hex(at + 2), hex(at + 3)) {
                word.push((high * 16 + low) as u8);
                at += 4;
                continue;
            }
            word.push(match line[at + 1] {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'b' => 8,
                b'a' => 7,
                other => other,
            });
            at += 2;
        } else if byte == b'\\' && line.get(at + 1) == Some(&b'\'') {
            word.push(b'\'');
            at += 2;
        } else {
            word.push(byte);
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        bulk_max: 512 << 20,
        unauthenticated: false,
    };

    /// Decodes everything in `input` as it arrives in the given pieces.
    fn run(pieces: &[&[u8]]) -> (Vec<Vec<Vec<u8>>>, Option<Violation>) {
        let (mut buffer, mut frame, mut args, mut found) =
            (Vec::new(), Frame::default(), Vec::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                let mut new = Vec::new();
                let step = decode(&buffer, &mut frame, &LIMITS, |at, len| {
                    new.push(buffer[at..at + len].to_vec())
                });
                args.append(&mut new);
                match step {
                    Decoded::Command { end } => {
                        found.push(std::mem::take(&mut args));
                        buffer.drain(..end);
                    }
                    Decoded::Inline { args, end } => {
                        found.push(args);
                        buffer.drain(..end);
                    }
                    Decoded::Incomplete => break,
                    Decoded::Violation(v) => return (found, Some(v)),
                }
                frame = Frame::default();
            }
        }
        (found, None)
    }

    #[test]
    fn any_split_gives_the_same_commands() {
        let input = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$12\r\nhello\r\nworld\r\n*0\r\nGET a\r\n*1\r\n$4\r\nPING\r\n\r\n*2\r\n$0\r\n\r\n$1\r\nx\r\n";
        let whole = run(&[input]);
        assert_eq!(whole.1, None);
        assert_eq!(whole.0.len(), 6);
        for cut in 0..=input.len() {
            assert_eq!(run(&[&input[..cut], &input[cut..]]), whole, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(run(&bytes), whole);
    }

    #[test]
    fn violations_are_named_as_redis_names_them() {
        let is = |input: &[u8], v: Violation| {
            assert_eq!(
                run(&[input]).1,
                Some(v),
                "{:?}",
                String::from_utf8_lossy(input)
            )
        };
        is(b"*x\r\n", Violation::BadCount);
        is(b"*2147483648\r\n", Violation::BadCount);
        is(b"*1\r\nfoo\r\n", Violation::ExpectedDollar(b'f'));
        is(b"*1\r\n$-1\r\n", Violation::BadBulk);
        is(b"*1\r\n$01\r\n", Violation::BadBulk);
        is(b"*1\r\n$536870913\r\n", Violation::BadBulk);
        is(b"get \"a\r\n", Violation::UnbalancedQuotes);
        is(
            &[b"*".as_slice(), &[b'1'; 70_000]].concat(),
            Violation::CountTooBig,
        );
        is(&[b'a'; 70_000], Violation::InlineTooBig);
        assert_eq!(run(&[b"*-5\r\n*1\r\n$1\r\na\r\n"]).0.len(), 2);
    }

    #[test]
    fn inline_quotes_and_escapes() {
        let split = |line: &str| split_args(line.as_bytes());
        let words = |w: &[&[u8]]| Some(w.iter().map(|b| b.to_vec()).collect::<Vec<_>>());
        assert_eq!(
            split(r#"set "a\x41\n" 'b\'c'"#),
            words(&[b"set", b"aA\n", b"b'c"])
        );
        assert_eq!(split(r#""a"b"#), None);
        assert_eq!(split(r#"'a"#), None);
        assert_eq!(split("  "), words(&[]));
    }
}
