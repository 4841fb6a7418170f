//! A raw client: RESP2 and RESP3 read and written by hand, bytes sent in any pieces.
//!
//! Format: <https://github.com/redis/redis-specifications/blob/master/protocol/RESP3.md>.
use crate::os;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long a reply may take before a test says that none came.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// One reply, exactly as typed on the wire (a RESP2 null array is not a RESP3 null).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// `+`
    Simple(Vec<u8>),
    /// `-`
    Error(Vec<u8>),
    /// `:`
    Int(i64),
    /// `$`
    Bulk(Vec<u8>),
    /// `*`
    Array(Vec<Value>),
    /// `$-1`
    NilBulk,
    /// `*-1`
    NilArray,
    /// `_`
    Null,
    /// `#`
    Bool(bool),
    /// `,` as its text
    Double(Vec<u8>),
    /// `(` as its text
    BigNumber(Vec<u8>),
    /// `=`, the three letters of the format in front
    Verbatim(Vec<u8>),
    /// `%`
    Map(Vec<(Value, Value)>),
    /// `~`
    Set(Vec<Value>),
    /// `>`
    Push(Vec<Value>),
}

impl Value {
    /// `+OK`
    pub fn ok() -> Self {
        Self::Simple(b"OK".to_vec())
    }
    /// A simple string.
    pub fn simple(text: &str) -> Self {
        Self::Simple(text.as_bytes().to_vec())
    }
    /// A bulk string.
    pub fn bulk(text: impl AsRef<[u8]>) -> Self {
        Self::Bulk(text.as_ref().to_vec())
    }
    /// An error reply, its whole line without the minus sign.
    pub fn error(text: &str) -> Self {
        Self::Error(text.as_bytes().to_vec())
    }
    /// Whether this is an error reply.
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }
    /// The number of an integer reply.
    #[track_caller]
    pub fn int(&self) -> i64 {
        match self {
            Self::Int(n) => *n,
            other => panic!("an integer was expected, not {other:?}"),
        }
    }
    /// The text of a string, status, verbatim or error reply.
    #[track_caller]
    pub fn text(&self) -> String {
        match self {
            Self::Verbatim(b) => String::from_utf8_lossy(&b[4..]).into_owned(),
            Self::Simple(b) | Self::Bulk(b) | Self::Error(b) | Self::Double(b) => {
                String::from_utf8_lossy(b).into_owned()
            }
            other => panic!("a string was expected, not {other:?}"),
        }
    }
    /// The elements of an array, set or push.
    #[track_caller]
    pub fn items(&self) -> &[Value] {
        match self {
            Self::Array(v) | Self::Set(v) | Self::Push(v) => v,
            other => panic!("an array was expected, not {other:?}"),
        }
    }
    /// Key and value pairs of a map, or of a flat RESP2 array.
    #[track_caller]
    pub fn pairs(&self) -> Vec<(String, Value)> {
        match self {
            Self::Map(v) => v.iter().map(|(k, v)| (k.text(), v.clone())).collect(),
            other => other
                .items()
                .chunks(2)
                .map(|pair| (pair[0].text(), pair[1].clone()))
                .collect(),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Simple(b) => write!(f, "+{}", b.escape_ascii()),
            Self::Error(b) => write!(f, "-{}", b.escape_ascii()),
            Self::Int(n) => write!(f, ":{n}"),
            Self::Bulk(b) if b.len() > 2000 => write!(f, "\"...{} bytes\"", b.len()),
            Self::Bulk(b) => write!(f, "\"{}\"", b.escape_ascii()),
            Self::NilBulk => write!(f, "nil"),
            Self::NilArray => write!(f, "nil-array"),
            Self::Null => write!(f, "null"),
            Self::Bool(b) => write!(f, "#{b}"),
            Self::Double(b) => write!(f, ",{}", b.escape_ascii()),
            Self::BigNumber(b) => write!(f, "({}", b.escape_ascii()),
            Self::Verbatim(b) => write!(f, "=\"{}\"", b.escape_ascii()),
            Self::Array(v) => f.debug_list().entries(v).finish(),
            Self::Set(v) => {
                write!(f, "~")?;
                f.debug_list().entries(v).finish()
            }
            Self::Push(v) => {
                write!(f, ">")?;
                f.debug_list().entries(v).finish()
            }
            Self::Map(v) => {
                write!(f, "%")?;
                f.debug_map()
                    .entries(v.iter().map(|(k, v)| (k, v)))
                    .finish()
            }
        }
    }
}

/// A command as an array of bulk strings.
pub fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Splits a line as redis-cli does: blanks between arguments, `"..."` with `\n`, `\xff` and the
/// like, `'...'` as it stands.
#[track_caller]
pub fn inline_args(line: &str) -> Vec<Vec<u8>> {
    let b = line.as_bytes();
    let (mut args, mut at) = (Vec::new(), 0);
    while at < b.len() {
        if b[at] == b' ' {
            at += 1;
            continue;
        }
        let mut arg = Vec::new();
        while at < b.len() && b[at] != b' ' {
            match b[at] {
                quote @ (b'"' | b'\'') => {
                    at += 1;
                    while b[at] != quote {
                        at += take_quoted(&b[at..], quote, &mut arg);
                    }
                    at += 1;
                }
                plain => {
                    arg.push(plain);
                    at += 1;
                }
            }
        }
        args.push(arg);
    }
    args
}

/// Takes one character of a quoted argument; says how many bytes of the line it took.
fn take_quoted(b: &[u8], quote: u8, arg: &mut Vec<u8>) -> usize {
    if quote == b'\'' || b[0] != b'\\' {
        arg.push(b[0]);
        return 1;
    }
    if b[1] == b'x' {
        let hex = std::str::from_utf8(&b[2..4]).expect("two hex digits");
        arg.push(u8::from_str_radix(hex, 16).expect("two hex digits"));
        return 4;
    }
    arg.push(match b[1] {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'a' => 7,
        b'b' => 8,
        other => other,
    });
    2
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection to a server.
pub struct Conn {
    stream: Stream,
    input: Vec<u8>,
    at: usize,
}

impl Conn {
    /// Connects over TCP.
    pub fn tcp(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
        Ok(Self::over(Stream::Tcp(stream)))
    }

    /// Connects over a UNIX socket.
    pub fn unix(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
        Ok(Self::over(Stream::Unix(stream)))
    }

    fn over(stream: Stream) -> Self {
        Self {
            stream,
            input: Vec::new(),
            at: 0,
        }
    }

    /// Our own address, as the server sees it.
    pub fn local_address(&self) -> SocketAddr {
        match &self.stream {
            Stream::Tcp(s) => s.local_addr().expect("a connected socket"),
            Stream::Unix(_) => panic!("a UNIX socket has no such address"),
        }
    }

    /// A second handle on the same socket, to write from one thread and read from another.
    pub fn split(&self) -> Self {
        Self::over(match &self.stream {
            Stream::Tcp(s) => Stream::Tcp(s.try_clone().expect("a descriptor")),
            Stream::Unix(s) => Stream::Unix(s.try_clone().expect("a descriptor")),
        })
    }

    /// Sends bytes as they are; an error where the server has closed.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(s) => s.write_all(bytes),
            Stream::Unix(s) => s.write_all(bytes),
        }
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.try_send_bytes(bytes).expect("the server reads");
    }

    /// Sends bytes in pieces, each in a packet of its own where the kernel is as quick as we are;
    /// `cuts` are positions in `bytes`, ascending.
    #[track_caller]
    pub fn send_split(&mut self, bytes: &[u8], cuts: &[usize]) {
        let mut from = 0;
        for &cut in cuts.iter().chain(std::iter::once(&bytes.len())) {
            self.send_bytes(&bytes[from..cut]);
            from = cut;
        }
    }

    /// Sends a command without waiting for its reply.
    #[track_caller]
    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        self.send_bytes(&encode(args));
    }

    /// Sends a command and waits for its reply.
    #[track_caller]
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        self.send(args);
        self.receive()
    }

    /// Sends a command written as one line (see [`inline_args`]) and waits for its reply.
    #[track_caller]
    pub fn run(&mut self, line: &str) -> Value {
        self.call(&inline_args(line))
    }

    /// Sends a command line that must answer `+OK`.
    #[track_caller]
    pub fn run_ok(&mut self, line: &str) {
        assert_eq!(self.run(line), Value::ok(), "{line}");
    }

    /// Waits for one reply.
    #[track_caller]
    pub fn receive(&mut self) -> Value {
        match self.try_receive() {
            Ok(value) => value,
            Err(e) => panic!("no reply: {e}"),
        }
    }

    /// Waits for one reply; an error where the connection ends or nothing comes in time.
    pub fn try_receive(&mut self) -> io::Result<Value> {
        self.forget_read();
        self.value(0)
    }

    /// Waits for one reply and gives its bytes with it.
    pub fn try_receive_raw(&mut self) -> io::Result<(Value, Vec<u8>)> {
        self.forget_read();
        let value = self.value(0)?;
        Ok((value, self.input[..self.at].to_vec()))
    }

    /// Reads until the server closes, and gives every byte that came; a reset counts as the end.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        loop {
            match self.more() {
                Ok(()) => {}
                Err(e) if ended(&e) => return self.input.split_off(self.at),
                Err(e) => panic!(
                    "the server did not close: {e}; it sent {:?}",
                    self.input[self.at..].escape_ascii().to_string()
                ),
            }
        }
    }

    /// Reads exactly `len` bytes.
    #[track_caller]
    pub fn read_bytes(&mut self, len: usize) -> Vec<u8> {
        self.forget_read();
        while self.input.len() < len {
            self.more().expect("the bytes asked for");
        }
        self.at = len;
        self.input[..len].to_vec()
    }

    /// Whether the server has closed this connection (waits for it to do so).
    pub fn is_closed(&mut self) -> bool {
        match self.more() {
            Ok(()) => false,
            Err(e) => ended(&e),
        }
    }

    /// Sends the end of the stream; replies can still be read. One that the server has closed
    /// already has nothing left to end.
    pub fn shut_write(&self) {
        let ended = match &self.stream {
            Stream::Tcp(s) => s.shutdown(Shutdown::Write),
            Stream::Unix(s) => s.shutdown(Shutdown::Write),
        };
        if let Err(e) = ended {
            assert_eq!(e.kind(), io::ErrorKind::NotConnected, "{e}");
        }
    }

    /// Closes at once with a reset.
    pub fn reset(self) {
        if let Stream::Tcp(s) = &self.stream {
            os::close_with_reset(s);
        }
    }

    /// Asks the kernel to keep few received bytes, so that a client that does not read is noticed.
    pub fn shrink_receive_buffer(&self) {
        if let Stream::Tcp(s) = &self.stream {
            os::receive_buffer(s, 4096);
        }
    }

    /// How long a read waits before it fails.
    pub fn set_timeout(&self, time: Duration) {
        match &self.stream {
            Stream::Tcp(s) => {
                s.set_read_timeout(Some(time)).expect("a time");
                s.set_write_timeout(Some(time)).expect("a time");
            }
            Stream::Unix(s) => {
                s.set_read_timeout(Some(time)).expect("a time");
                s.set_write_timeout(Some(time)).expect("a time");
            }
        }
    }

    /// Whether nothing arrives for `time`.
    pub fn is_quiet(&mut self, time: Duration) -> bool {
        if self.at < self.input.len() {
            return false;
        }
        self.set_timeout(time);
        let quiet = matches!(self.more(), Err(e) if !ended(&e));
        self.set_timeout(REPLY_TIMEOUT);
        quiet
    }

    fn forget_read(&mut self) {
        self.input.drain(..self.at);
        self.at = 0;
    }

    fn more(&mut self) -> io::Result<()> {
        let from = self.input.len();
        // A big reply is read in big pieces; a short one does not pay for a big buffer.
        let room = from.clamp(16 << 10, 4 << 20);
        self.input.resize(from + room, 0);
        let read = match &mut self.stream {
            Stream::Tcp(s) => s.read(&mut self.input[from..]),
            Stream::Unix(s) => s.read(&mut self.input[from..]),
        };
        self.input.truncate(from + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn line(&mut self) -> io::Result<(usize, usize)> {
        let start = self.at;
        let mut seen = start;
        loop {
            if let Some(i) = self.input[seen..].windows(2).position(|w| w == b"\r\n") {
                self.at = seen + i + 2;
                return Ok((start, seen + i));
            }
            seen = self.input.len().saturating_sub(1).max(start);
            self.more()?;
        }
    }

    fn value(&mut self, depth: usize) -> io::Result<Value> {
        if depth > 64 {
            return Err(malformed("a reply nested deeper than 64"));
        }
        let (start, end) = self.line()?;
        if start == end {
            return Err(malformed("an empty line where a reply should be"));
        }
        let kind = self.input[start];
        let rest = self.input[start + 1..end].to_vec();
        let number = || -> io::Result<i64> {
            std::str::from_utf8(&rest)
                .ok()
                .and_then(|t| t.parse().ok())
                .ok_or_else(|| malformed("a length or integer that is no number"))
        };
        Ok(match kind {
            b'+' => Value::Simple(rest),
            b'-' => Value::Error(rest),
            b':' => Value::Int(number()?),
            b',' => Value::Double(rest),
            b'(' => Value::BigNumber(rest),
            b'#' => match &rest[..] {
                b"t" => Value::Bool(true),
                b"f" => Value::Bool(false),
                _ => return Err(malformed("a boolean that is neither")),
            },
            b'_' if rest.is_empty() => Value::Null,
            b'$' if number()? == -1 => Value::NilBulk,
            b'*' if number()? == -1 => Value::NilArray,
            b'$' => Value::Bulk(self.body(number()?)?),
            b'=' => Value::Verbatim(self.body(number()?)?),
            b'*' => Value::Array(self.values(number()?, depth)?),
            b'~' => Value::Set(self.values(number()?, depth)?),
            b'>' => Value::Push(self.values(number()?, depth)?),
            b'%' => {
                let flat = self.values(2 * number()?, depth)?;
                let mut flat = flat.into_iter();
                let mut pairs = Vec::new();
                while let (Some(k), Some(v)) = (flat.next(), flat.next()) {
                    pairs.push((k, v));
                }
                Value::Map(pairs)
            }
            other => {
                return Err(malformed(&format!(
                    "a reply that begins with {:?}",
                    char::from(other)
                )));
            }
        })
    }

    fn values(&mut self, count: i64, depth: usize) -> io::Result<Vec<Value>> {
        if count < 0 {
            return Err(malformed("a negative count"));
        }
        (0..count).map(|_| self.value(depth + 1)).collect()
    }

    fn body(&mut self, len: i64) -> io::Result<Vec<u8>> {
        let len = usize::try_from(len).map_err(|_| malformed("a negative length"))?;
        while self.input.len() < self.at + len + 2 {
            self.more()?;
        }
        let body = self.input[self.at..self.at + len].to_vec();
        self.at += len + 2;
        if &self.input[self.at - 2..self.at] != b"\r\n" {
            return Err(malformed("a string without its end of line"));
        }
        Ok(body)
    }
}

fn ended(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
