//! Connections from nothing to ready: resolve, connect, TLS, HELLO or AUTH, SELECT. All of it
//! blocks, so it runs before the loop of a thread or on a thread beside it, never in the loop.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::cluster::NodeAddress;
use crate::config::{Family, Protocol, ServerOptions};
use crate::failure::{Failure, FailureKind};
use crate::reply::Reply;

/// A handshake may be silent this long when `--connection-timeout` does not say otherwise.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// A reply to a question of ours (CLUSTER SLOTS, INFO) is never longer.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A server, ready to be dialled as often as needed.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) options: ServerOptions,
    tls: Option<Arc<ClientConfig>>,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn set_timeouts(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Socket::Tcp(s) => s
                .set_read_timeout(timeout)
                .and(s.set_write_timeout(timeout)),
            Socket::Unix(s) => s
                .set_read_timeout(timeout)
                .and(s.set_write_timeout(timeout)),
        }
    }

    fn into_fd(self) -> OwnedFd {
        match self {
            Socket::Tcp(s) => s.into(),
            Socket::Unix(s) => s.into(),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(s) => s.read(buf),
            Socket::Unix(s) => s.read(buf),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(s) => s.write(buf),
            Socket::Unix(s) => s.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection past its handshake, to be driven by a ring.
pub(crate) struct Link {
    pub(crate) fd: OwnedFd,
    pub(crate) tls: Option<Box<ClientConnection>>,
}

/// A connection past its handshake, for questions one at a time.
pub(crate) struct Control {
    socket: Socket,
    tls: Option<Box<ClientConnection>>,
    received: Vec<u8>,
}

impl Target {
    /// Reads certificates; does not connect yet.
    pub(crate) fn new(options: &ServerOptions) -> Result<Target, String> {
        let tls = if options.tls {
            Some(crate::tls::client_config(&options.tls_files)?)
        } else {
            None
        };
        Ok(Target {
            options: options.clone(),
            tls,
        })
    }

    /// The same server's neighbour in its cluster.
    pub(crate) fn node(&self, address: &NodeAddress) -> Target {
        let mut target = self.clone();
        target.options.host.clone_from(&address.host);
        target.options.port = address.port;
        target
    }

    /// Connects and shakes hands.
    pub(crate) fn dial(&self) -> Result<Link, Failure> {
        let control = self.control()?;
        if !control.received.is_empty() {
            return Err(Failure::new(
                FailureKind::Protocol,
                "bytes that nobody asked for",
            ));
        }
        control
            .socket
            .set_timeouts(None)
            .map_err(|e| self.failed(&e))?;
        Ok(Link {
            fd: control.socket.into_fd(),
            tls: control.tls,
        })
    }

    /// Connects and shakes hands, for questions.
    pub(crate) fn control(&self) -> Result<Control, Failure> {
        let timeout = match self.options.connection_timeout_ms {
            0 => HANDSHAKE_TIMEOUT,
            ms => Duration::from_millis(ms),
        };
        let socket = self.connect(timeout)?;
        socket
            .set_timeouts(Some(timeout))
            .map_err(|e| self.failed(&e))?;
        let tls = match &self.tls {
            None => None,
            Some(config) => {
                let name = self
                    .options
                    .tls_files
                    .sni
                    .as_ref()
                    .unwrap_or(&self.options.host);
                let name = ServerName::try_from(name.clone())
                    .map_err(|e| Failure::new(FailureKind::Tls, format!("{name}: {e}")))?;
                let session = ClientConnection::new(Arc::clone(config), name)
                    .map_err(|e| Failure::new(FailureKind::Tls, e.to_string()))?;
                Some(Box::new(session))
            }
        };
        let mut control = Control {
            socket,
            tls,
            received: Vec::new(),
        };
        self.shake_hands(&mut control)?;
        Ok(control)
    }

    fn failed(&self, error: &io::Error) -> Failure {
        let kind = match error.get_ref().is_some_and(|e| e.is::<rustls::Error>()) {
            true => FailureKind::Tls,
            false => FailureKind::of_io(error),
        };
        Failure::new(kind, format!("{}: {error}", self.options.display()))
    }

    fn connect(&self, timeout: Duration) -> Result<Socket, Failure> {
        if let Some(path) = &self.options.unix_socket {
            let stream = UnixStream::connect(path).map_err(|e| self.failed(&e))?;
            return Ok(Socket::Unix(stream));
        }
        let host = self.options.host.as_str();
        let resolved = (host, self.options.port)
            .to_socket_addrs()
            .map_err(|e| Failure::new(FailureKind::Network, format!("{host}: {e}")))?;
        let fits = |address: &SocketAddr| match self.options.family {
            Family::Any => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        };
        let mut last = Failure::new(
            FailureKind::Network,
            format!("{host}: no address of the wanted family"),
        );
        for address in resolved.filter(fits) {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(|e| self.failed(&e))?;
                    return Ok(Socket::Tcp(stream));
                }
                Err(error) => last = self.failed(&error),
            }
        }
        Err(last)
    }

    fn shake_hands(&self, control: &mut Control) -> Result<(), Failure> {
        let options = &self.options;
        let version: Option<&[u8]> = match options.protocol {
            Protocol::Plain => None,
            Protocol::Resp2 => Some(b"2"),
            Protocol::Resp3 => Some(b"3"),
        };
        let user = options.user.as_deref().unwrap_or("default").as_bytes();
        let mut ask = |words: &[&[u8]]| -> Result<(), Failure> {
            let reply = control.ask(words).map_err(|e| self.failed(&e))?;
            match reply {
                Reply::Error(text) => {
                    let shown = String::from_utf8_lossy(&text).into_owned();
                    let kind = match words[0] {
                        b"AUTH" => FailureKind::Auth,
                        _ => FailureKind::of_reply(&text),
                    };
                    Err(Failure::new(
                        kind,
                        format!("{}: {shown}", options.display()),
                    ))
                }
                _ => Ok(()),
            }
        };
        match (version, &options.password) {
            (Some(version), Some(password)) => {
                ask(&[b"HELLO", version, b"AUTH", user, password.as_bytes()])?;
            }
            (Some(version), None) => ask(&[b"HELLO", version])?,
            (None, Some(password)) if options.user.is_some() => {
                ask(&[b"AUTH", user, password.as_bytes()])?;
            }
            (None, Some(password)) => ask(&[b"AUTH", password.as_bytes()])?,
            (None, None) => {
                // TLS shakes hands with its first bytes: a bad certificate must show here.
                if self.tls.is_some() {
                    ask(&[b"PING"])?;
                }
            }
        }
        if options.select_db > 0 {
            ask(&[b"SELECT", options.select_db.to_string().as_bytes()])?;
        }
        Ok(())
    }
}

impl Control {
    /// Sends one command and reads its reply. Bytes that are not RESP are `InvalidData`.
    pub(crate) fn ask(&mut self, words: &[&[u8]]) -> io::Result<Reply> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        match &mut self.tls {
            Some(session) => {
                let mut stream = rustls::Stream::new(session.as_mut(), &mut self.socket);
                stream.write_all(&request)?;
                stream.flush()?;
            }
            None => self.socket.write_all(&request)?,
        }
        let mut chunk = [0u8; 16 * 1024];
        loop {
            match Reply::parse(&self.received) {
                Err(malformed) => {
                    let text = format!("not a Redis reply: {}", malformed.0);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
                Ok(Some((reply, used))) => {
                    self.received.drain(..used);
                    return Ok(reply);
                }
                Ok(None) if self.received.len() > ANSWER_BYTES_MAX => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "an endless reply",
                    ));
                }
                Ok(None) => {}
            }
            let read = match &mut self.tls {
                Some(session) => {
                    rustls::Stream::new(session.as_mut(), &mut self.socket).read(&mut chunk)?
                }
                None => self.socket.read(&mut chunk)?,
            };
            if read == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            self.received.extend_from_slice(&chunk[..read]);
        }
    }
}
