//! Replies of the server, RESP2 and RESP3.
//!
//! Two readers. `Scanner` is on the hot path: it finds where each reply ends, in chunks of any
//! size, without copying payloads. `Reply` is the whole reply as a tree, for connections that ask
//! questions (handshake, CLUSTER SLOTS, INFO) and for verify mode.
//!
//! Neither trusts the server: lengths are bounded, and anything else than RESP is `Malformed`.

/// The longest line (a type byte, a number or text, CRLF) that is accepted.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// The longest bulk string, Redis's own upper limit for `proto-max-bulk-len`.
const BULK_BYTES_MAX: u64 = 1 << 40;
/// Elements of one reply, all levels together.
const ELEMENTS_MAX: u64 = 1 << 40;
/// Levels of nesting in a parsed reply.
const DEPTH_MAX: usize = 32;

/// The bytes are not RESP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// What the scanner knows about one whole reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Scanned {
    /// The type byte of the reply itself (`+ - : $ * % ~ > ...`).
    pub(crate) kind: u8,
    /// Nulls in it, at any level.
    pub(crate) nulls: u32,
    /// Leaf elements in it, nulls included.
    pub(crate) leaves: u32,
    /// Bytes on the wire.
    pub(crate) bytes: u64,
}

impl Scanned {
    pub(crate) fn is_error(&self) -> bool {
        matches!(self.kind, b'-' | b'!')
    }

    /// Out of band (RESP3 push): nobody asked for it.
    pub(crate) fn is_push(&self) -> bool {
        self.kind == b'>'
    }
}

/// Finds the ends of replies in a stream.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    /// Elements of the reply under way that are still to come; 0 between two replies.
    open: u64,
    /// Payload bytes, CRLF included, to pass over.
    skip: u64,
    /// The beginning of a line that a chunk's end cut.
    line: Vec<u8>,
    kind: u8,
    /// The reply began with an attribute; the reply proper is still to come.
    attributed: bool,
    nulls: u32,
    leaves: u32,
    bytes: u64,
    /// The text of the last error reply, without `-`.
    error: Vec<u8>,
    /// Raw bytes of the reply under way, when `keep` is on.
    kept: Vec<u8>,
    keep: bool,
}

impl Scanner {
    /// A scanner that keeps the bytes of each reply if `keep`.
    pub(crate) fn new(keep: bool) -> Scanner {
        Scanner {
            keep,
            ..Scanner::default()
        }
    }

    /// The text of the last error reply.
    pub(crate) fn error_text(&self) -> &[u8] {
        &self.error
    }

    /// The bytes of the reply that `next` has just found (only when keeping).
    pub(crate) fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// Passes over the next reply in `input`. `None`: the input is used up in the middle of one.
    #[inline]
    pub(crate) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Scanned>, Malformed> {
        if self.open == 0 && self.line.is_empty() {
            if self.keep {
                self.kept.clear();
            } else if let Some((scanned, rest)) = quick(input) {
                *input = rest;
                return Ok(Some(scanned));
            }
        }
        loop {
            if self.skip > 0 {
                let part = usize::try_from(self.skip)
                    .unwrap_or(usize::MAX)
                    .min(input.len());
                self.take(input, part);
                self.skip -= part as u64;
                if self.skip > 0 {
                    return Ok(None);
                }
                if let Some(done) = self.leaf_done() {
                    return Ok(Some(done));
                }
                continue;
            }
            let Some(end) = input.iter().position(|b| *b == b'\n') else {
                let rest = input.len();
                self.line.extend_from_slice(input);
                self.take(input, rest);
                if self.line.len() > LINE_BYTES_MAX {
                    return Err(Malformed("a line without an end"));
                }
                return Ok(None);
            };
            let line_end = *input;
            self.take(input, end + 1);
            let done = if self.line.is_empty() {
                self.header(&line_end[..end])?
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(&line_end[..end]);
                let done = self.header(&line)?;
                line.clear();
                self.line = line;
                done
            };
            if done {
                return Ok(Some(self.finish()));
            }
        }
    }

    #[inline]
    fn take(&mut self, input: &mut &[u8], len: usize) {
        let (part, rest) = input.split_at(len);
        if self.keep {
            self.kept.extend_from_slice(part);
        }
        self.bytes += len as u64;
        *input = rest;
    }

    /// One line without its LF; true when it ends the reply.
    #[inline]
    fn header(&mut self, line: &[u8]) -> Result<bool, Malformed> {
        let (&kind, rest) = line.split_first().ok_or(Malformed("an empty line"))?;
        let rest = rest.strip_suffix(b"\r").ok_or(Malformed("LF without CR"))?;
        if self.open == 0 {
            self.open = 1;
            self.nulls = 0;
            self.leaves = 0;
            self.kind = kind;
            self.attributed = kind == b'|';
        } else if self.attributed && self.open == 1 {
            self.kind = kind;
            self.attributed = kind == b'|';
        }
        match kind {
            b'+' | b':' | b',' | b'#' | b'(' => Ok(self.leaf_done_flag()),
            b'_' => {
                self.nulls += 1;
                Ok(self.leaf_done_flag())
            }
            b'-' => {
                self.error.clear();
                self.error.extend_from_slice(rest);
                Ok(self.leaf_done_flag())
            }
            b'$' | b'=' | b'!' => match length(rest, BULK_BYTES_MAX)? {
                None => {
                    self.nulls += 1;
                    Ok(self.leaf_done_flag())
                }
                Some(bytes) => {
                    if kind == b'!' {
                        self.error.clear();
                        self.error.extend_from_slice(b"ERR (a bulk error)");
                    }
                    self.skip = bytes + 2;
                    Ok(false)
                }
            },
            b'*' | b'~' | b'>' | b'%' | b'|' => {
                let each = if matches!(kind, b'%' | b'|') { 2 } else { 1 };
                match length(rest, ELEMENTS_MAX)? {
                    None => {
                        self.nulls += 1;
                        Ok(self.leaf_done_flag())
                    }
                    Some(count) => {
                        self.open += count * each;
                        if self.open > ELEMENTS_MAX {
                            return Err(Malformed("too many elements"));
                        }
                        if kind != b'|' {
                            self.open -= 1;
                        }
                        Ok(self.open == 0)
                    }
                }
            }
            _ => Err(Malformed("an unknown type byte")),
        }
    }

    #[inline]
    fn leaf_done_flag(&mut self) -> bool {
        self.open -= 1;
        self.leaves += 1;
        self.open == 0
    }

    #[inline]
    fn leaf_done(&mut self) -> Option<Scanned> {
        self.leaf_done_flag().then(|| self.finish())
    }

    #[inline]
    fn finish(&mut self) -> Scanned {
        let bytes = std::mem::take(&mut self.bytes);
        Scanned {
            kind: self.kind,
            nulls: self.nulls,
            leaves: self.leaves,
            bytes,
        }
    }
}

/// The commonest replies, when all of one is there: a status, an integer, a short string, RESP2's
/// null string. Whatever else it is, malformed replies too, is left to the scanner.
#[inline]
fn quick(input: &[u8]) -> Option<(Scanned, &[u8])> {
    /// Digits that a quick length or integer may have.
    const DIGITS_MAX: usize = 7;
    let kind = *input.first()?;
    let mut nulls = 0;
    let len = match kind {
        b'+' if input.starts_with(b"+OK\r\n") => 5,
        b'$' if input.starts_with(b"$-1\r\n") => {
            nulls = 1;
            5
        }
        b'$' | b':' => {
            let mut value = 0;
            let mut at = 1;
            loop {
                match *input.get(at)? {
                    digit @ b'0'..=b'9' if at <= DIGITS_MAX => {
                        value = value * 10 + usize::from(digit - b'0');
                        at += 1;
                    }
                    b'\r' if at > 1 && input.get(at + 1) == Some(&b'\n') => break,
                    _ => return None,
                }
            }
            at + 2 + if kind == b'$' { value + 2 } else { 0 }
        }
        _ => return None,
    };
    let rest = input.get(len..)?;
    let scanned = Scanned {
        kind,
        nulls,
        leaves: 1,
        bytes: len as u64,
    };
    Some((scanned, rest))
}

/// A length: `None` for -1 (RESP2's null).
#[inline]
fn length(digits: &[u8], max: u64) -> Result<Option<u64>, Malformed> {
    if digits == b"-1" {
        return Ok(None);
    }
    if digits.is_empty() || digits.len() > 13 {
        return Err(Malformed("a length out of range"));
    }
    let mut value = 0u64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(Malformed("a length that is no number"));
        }
        value = value * 10 + u64::from(digit - b'0');
    }
    if value > max {
        return Err(Malformed("a length out of range"));
    }
    Ok(Some(value))
}

/// A whole reply.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Reply {
    /// `+`, and RESP3's verbatim text, doubles, big numbers and booleans as they were written.
    Text(Vec<u8>),
    Error(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    /// Arrays, sets and pushes; maps as a flat list of keys and values.
    List(Vec<Reply>),
}

impl Reply {
    /// Parses one whole reply at the start of `input`; `None` if bytes are missing.
    pub(crate) fn parse(input: &[u8]) -> Result<Option<(Reply, usize)>, Malformed> {
        let mut cursor = input;
        match parse_at(&mut cursor, 0)? {
            Some(reply) => Ok(Some((reply, input.len() - cursor.len()))),
            None => Ok(None),
        }
    }

    /// The bytes of a string reply.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Reply::Text(bytes) | Reply::Bulk(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The number of an integer reply, or of a string that spells one.
    pub(crate) fn integer(&self) -> Option<i64> {
        match self {
            Reply::Integer(value) => Some(*value),
            _ => std::str::from_utf8(self.bytes()?).ok()?.parse().ok(),
        }
    }

    /// The elements of a list reply.
    pub(crate) fn list(&self) -> Option<&[Reply]> {
        match self {
            Reply::List(items) => Some(items),
            _ => None,
        }
    }
}

fn parse_at(cursor: &mut &[u8], depth: usize) -> Result<Option<Reply>, Malformed> {
    if depth > DEPTH_MAX {
        return Err(Malformed("nested too deep"));
    }
    let Some(end) = cursor.iter().position(|b| *b == b'\n') else {
        return Ok(None);
    };
    let line = cursor[..end]
        .strip_suffix(b"\r")
        .ok_or(Malformed("LF without CR"))?;
    let (&kind, rest) = line.split_first().ok_or(Malformed("an empty line"))?;
    *cursor = &cursor[end + 1..];
    match kind {
        b'+' | b',' | b'#' | b'(' => Ok(Some(Reply::Text(rest.to_vec()))),
        b'-' => Ok(Some(Reply::Error(rest.to_vec()))),
        b'_' => Ok(Some(Reply::Null)),
        b':' => {
            let text = std::str::from_utf8(rest).map_err(|_| Malformed("an integer"))?;
            let value = text.parse().map_err(|_| Malformed("an integer"))?;
            Ok(Some(Reply::Integer(value)))
        }
        b'$' | b'=' | b'!' => {
            let Some(len) = length(rest, BULK_BYTES_MAX)? else {
                return Ok(Some(Reply::Null));
            };
            let len = len as usize;
            if cursor.len() < len + 2 {
                return Ok(None);
            }
            let bytes = cursor[..len].to_vec();
            *cursor = &cursor[len + 2..];
            Ok(Some(if kind == b'!' {
                Reply::Error(bytes)
            } else {
                Reply::Bulk(bytes)
            }))
        }
        b'*' | b'~' | b'>' | b'%' | b'|' => {
            let Some(count) = length(rest, ELEMENTS_MAX)? else {
                return Ok(Some(Reply::Null));
            };
            let count = if matches!(kind, b'%' | b'|') {
                count * 2
            } else {
                count
            };
            let mut items = Vec::new();
            for _ in 0..count {
                match parse_at(cursor, depth + 1)? {
                    Some(item) => items.push(item),
                    None => return Ok(None),
                }
            }
            if kind == b'|' {
                return parse_at(cursor, depth + 1);
            }
            Ok(Some(Reply::List(items)))
        }
        _ => Err(Malformed("an unknown type byte")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"+OK\r\n:12\r\n$5\r\nhe\nlo\r\n$-1\r\n*2\r\n$1\r\na\r\n*1\r\n$-1\r\n*0\r\n*-1\r\n\
        -ERR no\r\n%1\r\n+k\r\n_\r\n~1\r\n#t\r\n,1.5\r\n|1\r\n+ttl\r\n:3\r\n:7\r\n>2\r\n+a\r\n+b\r\n(123\r\n";

    fn scan_in_chunks(chunk: usize) -> Vec<Scanned> {
        let mut scanner = Scanner::new(true);
        let mut without_keeping = Scanner::new(false);
        let mut found_without_keeping = Vec::new();
        let mut found = Vec::new();
        for piece in STREAM.chunks(chunk) {
            let mut input = piece;
            while let Some(done) = scanner.next(&mut input).expect("well formed") {
                let (_, used) = Reply::parse(scanner.kept())
                    .expect("well formed")
                    .expect("whole");
                assert_eq!(used, scanner.kept().len());
                assert_eq!(used as u64, done.bytes);
                found.push(done);
            }
            let mut input = piece;
            while let Some(done) = without_keeping.next(&mut input).expect("well formed") {
                found_without_keeping.push(done);
            }
        }
        assert_eq!(found_without_keeping, found, "chunks of {chunk}");
        found
    }

    #[test]
    fn any_chunking_finds_the_same_replies() {
        let whole = scan_in_chunks(STREAM.len());
        let kinds: Vec<u8> = whole.iter().map(|s| s.kind).collect();
        assert_eq!(kinds, b"+:$$***-%~,:>(");
        let nulls: Vec<u32> = whole.iter().map(|s| s.nulls).collect();
        assert_eq!(nulls, [0, 0, 0, 1, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0]);
        for chunk in 1..STREAM.len() {
            assert_eq!(scan_in_chunks(chunk), whole, "chunks of {chunk}");
        }
    }

    #[test]
    fn what_is_not_resp_is_refused() {
        for bad in [
            &b"HTTP/1.1 400\r\n"[..],
            b"$x\r\n",
            b"+OK\n",
            b"*99999999999999\r\n",
            b"$\r\n\r\n",
            b"$99999999999999\r\n",
            b"\n",
        ] {
            let mut input = bad;
            assert!(Scanner::new(false).next(&mut input).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn error_text_is_kept() {
        let mut scanner = Scanner::new(false);
        let mut input = &b"-MOVED 1 h:2\r\n"[..];
        assert!(
            scanner
                .next(&mut input)
                .expect("well formed")
                .expect("whole")
                .is_error()
        );
        assert_eq!(scanner.error_text(), b"MOVED 1 h:2");
    }
}
