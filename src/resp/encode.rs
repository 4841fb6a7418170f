//! Replies as bytes, in the version that the connection speaks.
//!
//! An [`Output`] is what a connection still has to send: one growing buffer, and now and then a
//! large value that is sent from where it lies instead of being copied into the buffer. A long reply
//! becomes a row of such values while it is written, chunks of [`CHUNK_BYTES`]: so a reply of a million
//! elements is never moved as a whole to make room for more of it, and each chunk's memory is free
//! as soon as it is sent.

use bytes::Bytes;
use std::ops::Range;

use super::Version;
use super::double::{F64_TEXT_MAX, format_f64};
use super::number::{I64_TEXT_MAX, format_i64};

/// Values of at least this many bytes are sent from where they lie. Below, a copy is cheaper than
/// another entry in the send list.
pub const SHARED_MIN: usize = 16 * 1024;

/// What a long reply is cut into while it is written. Bytes; as many as are sent at once.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// Bytes to be sent, in order: `buf`, with each of `shared` standing before the offset it names.
#[derive(Default, Debug)]
pub struct Output {
    /// Encoded replies.
    pub buf: Vec<u8>,
    /// Large values and the offsets in `buf` before which they are to be sent, ascending.
    pub shared: Vec<(usize, Bytes)>,
}

impl Output {
    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty() && self.shared.is_empty()
    }

    /// Bytes to be sent, large values included.
    pub fn len(&self) -> usize {
        self.buf.len() + self.shared.iter().map(|(_, b)| b.len()).sum::<usize>()
    }

    /// Empties it and keeps the buffer's memory.
    pub fn clear(&mut self) {
        self.buf.clear();
        self.shared.clear();
    }

    /// Appends everything that `other` holds.
    pub fn append(&mut self, other: &mut Output) {
        let base = self.buf.len();
        self.buf.extend_from_slice(&other.buf);
        self.shared
            .extend(other.shared.drain(..).map(|(at, b)| (base + at, b)));
        other.buf.clear();
    }

    /// Cuts back to a length of `buf` seen before; shared values after it go, too.
    pub fn truncate(&mut self, len: usize) {
        self.buf.truncate(len);
        self.shared.retain(|(at, _)| *at <= len);
    }
}

/// Longest line with a number: its kind, the digits, the line's end.
const HEADER_MAX: usize = I64_TEXT_MAX + 3;

/// Appends a line with a number. Short ones, which nearly all are, are made in a word that is
/// copied whole and cut to length: no call, no loop.
#[inline]
fn put_header(buf: &mut Vec<u8>, kind: u8, n: i64) {
    let digit = |d: i64| b'0' + d as u8;
    let at = buf.len();
    let (line, len) = match n {
        0..10 => ([kind, digit(n), b'\r', b'\n', 0, 0, 0, 0], 4),
        10..100 => (
            [kind, digit(n / 10), digit(n % 10), b'\r', b'\n', 0, 0, 0],
            5,
        ),
        100..1000 => {
            let (high, mid, low) = (digit(n / 100), digit(n / 10 % 10), digit(n % 10));
            ([kind, high, mid, low, b'\r', b'\n', 0, 0], 6)
        }
        _ => return put_long_header(buf, kind, n),
    };
    buf.extend_from_slice(&line);
    buf.truncate(at + len);
}

fn put_long_header(buf: &mut Vec<u8>, kind: u8, n: i64) {
    let mut text = [0; I64_TEXT_MAX];
    buf.push(kind);
    buf.extend_from_slice(format_i64(n, &mut text));
    buf.extend_from_slice(b"\r\n");
}

/// Encodes replies into an [`Output`].
pub struct Reply<'a> {
    out: &'a mut Output,
    version: Version,
    /// Bytes of the buffer from here on may become a chunk.
    chunk_from: usize,
    /// Length of the buffer at which they do.
    chunk_at: usize,
}

impl<'a> Reply<'a> {
    /// Replies in `version` go to the end of `out`, in one piece but for large values.
    pub fn new(out: &'a mut Output, version: Version) -> Self {
        Self {
            out,
            version,
            chunk_from: usize::MAX,
            chunk_at: usize::MAX,
        }
    }

    /// The same for one reply, which may be cut into chunks. Its first byte, and something behind each
    /// chunk, stay in the buffer, so that it is always clear which reply a chunk belongs to.
    pub fn long(out: &'a mut Output, version: Version) -> Self {
        let chunk_from = out.buf.len() + 1;
        Self {
            out,
            version,
            chunk_from,
            chunk_at: chunk_from + CHUNK_BYTES,
        }
    }

    /// Cuts off a chunk; called before something else is written.
    #[cold]
    fn cut(&mut self) {
        let last = self.out.shared.last().map_or(0, |(at, _)| *at);
        self.chunk_from = self.chunk_from.max(last);
        self.chunk_at = self.chunk_from + CHUNK_BYTES;
        if self.out.buf.len() < self.chunk_at {
            return;
        }
        let (buf, from) = (&mut self.out.buf, self.chunk_from);
        // Whole ones, since an allocator would round a little more up to a quarter more.
        let end = buf.len() - (buf.len() - from) % CHUNK_BYTES;
        for chunk in buf[from..end].chunks_exact(CHUNK_BYTES) {
            self.out.shared.push((from, Bytes::copy_from_slice(chunk)));
        }
        buf.drain(from..end);
    }

    /// The version that replies are encoded in.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether replies are RESP3.
    pub fn is_resp3(&self) -> bool {
        self.version == Version::Resp3
    }

    /// The output, for what is already encoded.
    pub fn output(&mut self) -> &mut Output {
        self.out
    }

    /// Bytes that are already encoded.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.buf.extend_from_slice(bytes);
    }

    #[inline]
    fn header(&mut self, kind: u8, n: i64) {
        put_header(&mut self.out.buf, kind, n);
    }

    /// `+OK`
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    /// A status such as `+PONG`; must not contain line ends.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text);
    }

    /// An error line, `text` with its code and without the leading dash. Line ends become blanks.
    pub fn error(&mut self, text: &[u8]) {
        let buf = &mut self.out.buf;
        buf.push(b'-');
        buf.extend(
            text.iter()
                .map(|&b| if b == b'\r' || b == b'\n' { b' ' } else { b }),
        );
        buf.extend_from_slice(b"\r\n");
    }

    fn line(&mut self, kind: u8, text: &str) {
        let buf = &mut self.out.buf;
        buf.reserve(text.len() + 3);
        buf.push(kind);
        buf.extend_from_slice(text.as_bytes());
        buf.extend_from_slice(b"\r\n");
    }

    /// An integer.
    pub fn integer(&mut self, n: i64) {
        self.header(b':', n);
    }

    /// A binary-safe string.
    pub fn bulk(&mut self, bytes: &[u8]) {
        if self.out.buf.len() >= self.chunk_at {
            self.cut();
        }
        let buf = &mut self.out.buf;
        buf.reserve(bytes.len() + HEADER_MAX + 2);
        put_header(buf, b'$', bytes.len() as i64);
        buf.extend_from_slice(bytes);
        buf.extend_from_slice(b"\r\n");
    }

    /// A binary-safe string that is sent from where it lies if it is large.
    pub fn bulk_shared(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_MIN {
            return self.bulk(bytes);
        }
        self.header(b'$', bytes.len() as i64);
        self.out.shared.push((self.out.buf.len(), bytes.clone()));
        self.raw(b"\r\n");
    }

    /// An integer as a bulk string, as GET replies for a counter.
    pub fn bulk_integer(&mut self, n: i64) {
        let mut text = [0; I64_TEXT_MAX];
        self.bulk(format_i64(n, &mut text));
    }

    /// A missing value: `$-1` or `_`.
    pub fn null(&mut self) {
        self.raw(if self.is_resp3() {
            b"_\r\n"
        } else {
            b"$-1\r\n"
        });
    }

    /// A missing array: `*-1` or `_`.
    pub fn null_array(&mut self) {
        self.raw(if self.is_resp3() {
            b"_\r\n"
        } else {
            b"*-1\r\n"
        });
    }

    /// The head of an array of `n` elements.
    pub fn array(&mut self, n: usize) {
        self.header(b'*', n as i64);
    }

    /// The head of a map of `n` pairs; in RESP2 an array of twice as many.
    pub fn map(&mut self, n: usize) {
        if self.is_resp3() {
            self.header(b'%', n as i64)
        } else {
            self.header(b'*', 2 * n as i64)
        }
    }

    /// The head of a set of `n` elements; in RESP2 an array.
    pub fn set(&mut self, n: usize) {
        self.header(if self.is_resp3() { b'~' } else { b'*' }, n as i64);
    }

    /// A set whose elements are counted as they are written: `write` returns how many they were.
    pub fn set_counted(&mut self, write: impl FnOnce(&mut Self) -> usize) {
        self.counted(0, Self::set, write);
    }

    /// An array whose elements are counted as they are written: `write` returns how many they were.
    pub fn array_counted(&mut self, write: impl FnOnce(&mut Self) -> usize) {
        self.counted(0, Self::array, write);
    }

    /// What `head` begins, and whose length is known when it is written: `write` says it. `expected`
    /// is an estimate; nothing is moved where it is right.
    pub fn counted(
        &mut self,
        expected: usize,
        head: impl Fn(&mut Self, usize),
        write: impl FnOnce(&mut Self) -> usize,
    ) -> usize {
        let (start, shared) = (self.out.buf.len(), self.out.shared.len());
        head(self, expected);
        let head_end = self.out.buf.len();
        // The head stays in the buffer until it is right.
        let outer = self.chunk_from;
        self.chunk_from = outer.max(head_end);
        self.chunk_at = self.chunk_from.saturating_add(CHUNK_BYTES);
        let count = write(self);
        self.chunk_from = outer;
        self.chunk_at = outer.saturating_add(CHUNK_BYTES);
        if count != expected {
            self.correct_head(start..head_end, shared, |reply| head(reply, count));
        }
        count
    }

    /// Writes a head anew; what stands behind it moves, and so do the places of the large values from
    /// number `shared` on.
    fn correct_head(&mut self, old: Range<usize>, shared: usize, head: impl Fn(&mut Self)) {
        let end = self.out.buf.len();
        head(self);
        let mut right = [0; HEADER_MAX];
        let len = self.out.buf.len() - end;
        right[..len].copy_from_slice(&self.out.buf[end..]);
        self.out.buf.truncate(end);
        let old_len = old.len();
        self.out.buf.splice(old, right[..len].iter().copied());
        for (offset, _) in &mut self.out.shared[shared..] {
            *offset = *offset + len - old_len;
        }
    }

    /// The head of a push message; in RESP2 an array.
    pub fn push(&mut self, n: usize) {
        self.header(if self.is_resp3() { b'>' } else { b'*' }, n as i64);
    }

    /// A boolean; in RESP2 an integer.
    pub fn boolean(&mut self, yes: bool) {
        match (self.is_resp3(), yes) {
            (true, true) => self.raw(b"#t\r\n"),
            (true, false) => self.raw(b"#f\r\n"),
            (false, yes) => self.integer(i64::from(yes)),
        }
    }

    /// A double whose text is already made (Redis's own form); in RESP2 a bulk string.
    pub fn double_text(&mut self, text: &str) {
        if self.is_resp3() {
            self.line(b',', text)
        } else {
            self.bulk(text.as_bytes())
        }
    }

    /// A double, with 17 digits; in RESP2 a bulk string.
    pub fn double(&mut self, number: f64) {
        let mut text = [0; F64_TEXT_MAX];
        let text = format_f64(number, &mut text);
        if self.is_resp3() {
            let buf = &mut self.out.buf;
            buf.push(b',');
            buf.extend_from_slice(text);
            buf.extend_from_slice(b"\r\n");
        } else {
            self.bulk(text);
        }
    }

    /// A big number; in RESP2 a bulk string.
    pub fn big_number(&mut self, text: &str) {
        if self.is_resp3() {
            self.line(b'(', text)
        } else {
            self.bulk(text.as_bytes())
        }
    }

    /// Text with a three-letter format; in RESP2 a bulk string.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        if !self.is_resp3() {
            return self.bulk(text);
        }
        assert_eq!(format.len(), 3, "a verbatim format has three letters");
        self.header(b'=', (text.len() + 4) as i64);
        self.raw(format.as_bytes());
        self.raw(b":");
        self.raw(text);
        self.raw(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(version: Version, f: impl FnOnce(&mut Reply<'_>)) -> String {
        let mut out = Output::default();
        f(&mut Reply::new(&mut out, version));
        String::from_utf8(out.buf).expect("ascii")
    }

    #[test]
    fn types_that_resp2_lacks_become_its_own() {
        let both = |f: fn(&mut Reply<'_>)| (encoded(Version::Resp2, f), encoded(Version::Resp3, f));
        assert_eq!(both(|r| r.null()), ("$-1\r\n".into(), "_\r\n".into()));
        assert_eq!(both(|r| r.null_array()), ("*-1\r\n".into(), "_\r\n".into()));
        assert_eq!(both(|r| r.map(3)), ("*6\r\n".into(), "%3\r\n".into()));
        assert_eq!(both(|r| r.set(12)), ("*12\r\n".into(), "~12\r\n".into()));
        assert_eq!(
            both(|r| r.boolean(true)),
            (":1\r\n".into(), "#t\r\n".into())
        );
        assert_eq!(
            both(|r| r.double_text("1.5")),
            ("$3\r\n1.5\r\n".into(), ",1.5\r\n".into())
        );
        assert_eq!(
            both(|r| r.verbatim("txt", b"hi")),
            ("$2\r\nhi\r\n".into(), "=6\r\ntxt:hi\r\n".into())
        );
        assert_eq!(
            both(|r| r.bulk_integer(-42)),
            ("$3\r\n-42\r\n".into(), "$3\r\n-42\r\n".into())
        );
    }

    /// All bytes in the order in which they are sent.
    fn sent(out: &Output) -> Vec<u8> {
        let (mut all, mut from) = (Vec::new(), 0);
        for (at, bytes) in &out.shared {
            all.extend_from_slice(&out.buf[from..*at]);
            all.extend_from_slice(bytes);
            from = *at;
        }
        all.extend_from_slice(&out.buf[from..]);
        all
    }

    /// Long replies with heads of any kind among large values are what they would be in one piece.
    #[test]
    fn a_long_reply_is_cut_into_chunks() {
        let large = Bytes::from(vec![b'x'; 3 * SHARED_MIN]);
        let value = |n: usize| vec![b'v'; n * 7919 % 900];
        let write = |reply: &mut Reply<'_>| {
            reply.array(4);
            reply.bulk(b"first");
            reply.array_counted(|reply| {
                (0..1500).for_each(|n| reply.bulk(&value(n)));
                reply.bulk_shared(&large);
                (0..300).for_each(|n| reply.bulk_integer(n));
                1801
            });
            reply.counted(5, Reply::map, |reply| {
                let inner = |reply: &mut Reply<'_>| {
                    (0..2000).for_each(|n| reply.bulk(&value(n)));
                    2000
                };
                assert_eq!(reply.counted(2000, Reply::set, inner), 2000);
                (0..999).for_each(|n| reply.bulk(&value(n)));
                500
            });
            reply.bulk(b"last");
        };
        let (mut long, mut whole) = (Output::default(), Output::default());
        for out in [&mut long, &mut whole] {
            out.buf.extend_from_slice(b"+before\r\n");
        }
        let mark = (long.buf.len(), long.shared.len());
        write(&mut Reply::long(&mut long, Version::Resp3));
        write(&mut Reply::new(&mut whole, Version::Resp3));
        assert_eq!(whole.shared.len(), 1);
        assert!(long.shared.len() > 7 && long.buf.len() < 2 * CHUNK_BYTES);
        assert!(long.shared.is_sorted_by_key(|(at, _)| *at));
        assert!(
            long.shared
                .iter()
                .all(|(at, _)| *at > mark.0 && *at < long.buf.len())
        );
        assert_eq!(long.len(), whole.len());
        assert_eq!(sent(&long), sent(&whole));
        long.buf.truncate(mark.0);
        long.shared.truncate(mark.1);
        assert_eq!(sent(&long), b"+before\r\n");
    }

    #[test]
    fn a_head_is_corrected() {
        for (expected, count) in [(3, 3), (9, 3), (1000, 2), (0, 12)] {
            let text = encoded(Version::Resp2, |reply| {
                reply.raw(b"before");
                reply.counted(expected, Reply::array, |reply| {
                    (0..count).for_each(|_| reply.integer(7));
                    count
                });
            });
            assert_eq!(
                text,
                format!("before*{count}\r\n{}", ":7\r\n".repeat(count))
            );
        }
    }

    #[test]
    fn an_error_never_breaks_the_line() {
        assert_eq!(
            encoded(Version::Resp2, |r| r.error(b"ERR a\r\nb")),
            "-ERR a  b\r\n"
        );
    }
}
