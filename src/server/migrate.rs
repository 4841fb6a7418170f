//! MIGRATE's conversation with the target: by a thread of its own, with blocking calls, while the
//! shard that began it goes on.
//!
//! As on Redis sockets are kept for a while: many keys move to the same place one after the other.
//! One that has ended in the meantime shows so by its first error, and then a new one is tried, once.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::import::commands::put;
use crate::command::generic::migrate::{Login, Request};

/// Sockets that are kept, as many as Redis keeps.
const SOCKETS_MAX: usize = 64;
/// For how long they are kept, as on Redis.
const SOCKET_LIFE: Duration = Duration::from_secs(10);
/// A reply's line is not longer: the target's errors are a sentence.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// A key on its way.
#[derive(Debug)]
pub struct Parcel {
    /// The key.
    pub key: Box<[u8]>,
    /// Milliseconds that it has to live; 0: for ever.
    pub ttl_ms: u64,
    /// What DUMP gives.
    pub payload: Vec<u8>,
}

/// What came of it.
#[derive(PartialEq, Eq, Debug)]
pub struct Outcome {
    /// For each parcel whether the target has it.
    pub taken: Vec<bool>,
    /// The error for the client, if there is one.
    pub error: Option<String>,
}

impl Outcome {
    /// Of so many parcels, where there was nobody to send them to.
    pub fn not_connected(parcels: usize) -> Self {
        Self {
            taken: vec![false; parcels],
            error: Some(Failure::Connecting.text()),
        }
    }
}

/// Sends parcels.
pub fn send(request: &Request, parcels: &[Parcel]) -> Outcome {
    let mut taken = vec![false; parcels.len()];
    let mut result = attempt(request, parcels, &mut taken, take_kept(request));
    // An old socket may have been ended by the target long ago; silence is another thing.
    if let Err(Failure::Broken { old: true, .. }) = result
        && !taken.contains(&true)
    {
        result = attempt(request, parcels, &mut taken, None);
    }
    Outcome {
        taken,
        error: result.err().map(Failure::text),
    }
}

/// Why not all was sent.
enum Failure {
    Connecting,
    /// While it was written or read; `old`: the socket was a kept one, and did not just say nothing.
    Broken {
        doing: &'static str,
        old: bool,
    },
    /// The first error that the target has answered with.
    Refused(String),
}

impl Failure {
    /// Not because of an old socket.
    fn broken(doing: &'static str) -> Self {
        Self::Broken { doing, old: false }
    }

    fn text(self) -> String {
        match self {
            Self::Connecting => "IOERR error or timeout connecting to the client".into(),
            Self::Broken { doing, .. } => {
                format!("IOERR error or timeout {doing} to target instance")
            }
            Self::Refused(error) => format!("ERR Target instance replied with error: {error}"),
        }
    }
}

/// A connection to a target.
struct Socket {
    stream: BufReader<TcpStream>,
    /// The database that is selected there.
    db: i64,
    used: Instant,
}

type Name = (Vec<u8>, Vec<u8>);

/// Sockets that nobody uses, by host and port.
static KEPT: LazyLock<Mutex<HashMap<Name, Socket>>> = LazyLock::new(Mutex::default);

fn kept() -> std::sync::MutexGuard<'static, HashMap<Name, Socket>> {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    kept.retain(|_, socket| socket.used.elapsed() < SOCKET_LIFE);
    kept
}

/// How many sockets are kept. Those that have not been used for a while end.
pub fn sockets_kept() -> usize {
    kept().len()
}

fn take_kept(request: &Request) -> Option<Socket> {
    kept().remove(&(request.host.clone(), request.port.clone()))
}

/// Redis notices that a target refuses the connection when it writes to it, and its error says that.
fn connect(request: &Request, timeout: Duration) -> Result<Socket, Failure> {
    let host = std::str::from_utf8(&request.host).ok();
    // What is no port is one where nobody listens.
    let port = std::str::from_utf8(&request.port).ok();
    let port = port.and_then(|port| port.parse::<u16>().ok()).unwrap_or(0);
    let addresses = host.and_then(|host| (host, port).to_socket_addrs().ok());
    let mut failure = Failure::Connecting;
    for address in addresses.into_iter().flatten() {
        let connected = TcpStream::connect_timeout(&address, timeout).and_then(|stream| {
            stream.set_nodelay(true)?;
            Ok(stream)
        });
        match connected {
            Ok(stream) => {
                return Ok(Socket {
                    stream: BufReader::new(stream),
                    db: -1,
                    used: Instant::now(),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => failure = Failure::Connecting,
            Err(_) => failure = Failure::broken("writing"),
        }
    }
    Err(failure)
}

fn attempt(
    request: &Request,
    parcels: &[Parcel],
    taken: &mut [bool],
    old: Option<Socket>,
) -> Result<(), Failure> {
    let timeout = Duration::from_millis(request.timeout_ms);
    let is_old = old.is_some();
    let mut socket = match old {
        Some(socket) => socket,
        None => connect(request, timeout)?,
    };
    let broken = |doing| {
        move |error: io::Error| {
            let silent = matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            );
            Failure::Broken {
                doing,
                old: is_old && !silent,
            }
        }
    };
    let stream = socket.stream.get_ref();
    stream
        .set_read_timeout(Some(timeout))
        .and_then(|()| stream.set_write_timeout(Some(timeout)))
        .map_err(broken("writing"))?;
    let selects = socket.db != request.db;
    write(&mut socket, request, parcels, selects).map_err(broken("writing"))?;
    let mut refused = None;
    let mut reply = |socket: &mut Socket| -> Result<bool, Failure> {
        let line = read_line(socket).map_err(broken("reading"))?;
        let Some(error) = line.strip_prefix(b"-") else {
            return Ok(true);
        };
        refused.get_or_insert_with(|| String::from_utf8_lossy(error).into_owned());
        Ok(false)
    };
    let mut ready = true;
    if request.login.is_some() {
        ready &= reply(&mut socket)?;
    }
    if selects {
        ready &= reply(&mut socket)?;
    }
    for taken in taken.iter_mut() {
        // What went to the wrong database, or under another name, is not there.
        *taken = reply(&mut socket)? && ready;
    }
    if ready {
        socket.db = request.db;
        keep(request, socket);
    }
    refused.map_or(Ok(()), |error| Err(Failure::Refused(error)))
}

fn keep(request: &Request, mut socket: Socket) {
    socket.used = Instant::now();
    let mut kept = kept();
    if kept.len() < SOCKETS_MAX {
        kept.insert((request.host.clone(), request.port.clone()), socket);
    }
}

fn write(
    socket: &mut Socket,
    request: &Request,
    parcels: &[Parcel],
    selects: bool,
) -> io::Result<()> {
    /// What has come together is sent.
    const CHUNK_BYTES: usize = 64 * 1024;
    let mut stream = socket.stream.get_ref();
    let mut out = Vec::new();
    if let Some(Login { user, password }) = &request.login {
        let words = [Some(&b"AUTH"[..]), user.as_deref(), Some(password)];
        let words: Vec<&[u8]> = words.into_iter().flatten().collect();
        put(words.into_iter(), &mut out);
    }
    if selects {
        let db = request.db.to_string();
        put([&b"SELECT"[..], db.as_bytes()].into_iter(), &mut out);
    }
    for parcel in parcels {
        let ttl = parcel.ttl_ms.to_string();
        let words = [
            &b"RESTORE"[..],
            &parcel.key,
            ttl.as_bytes(),
            &parcel.payload,
        ];
        let replace = request.replace.then_some(&b"REPLACE"[..]);
        let words: Vec<&[u8]> = words.into_iter().chain(replace).collect();
        put(words.into_iter(), &mut out);
        if out.len() >= CHUNK_BYTES {
            stream.write_all(&out)?;
            out.clear();
        }
    }
    stream.write_all(&out)
}

/// A line of the target's, without its end.
fn read_line(socket: &mut Socket) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    io::Read::take(&mut socket.stream, LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}
