//! Listening sockets: TCP over IPv4 and IPv6, and UNIX.
#![expect(
    unsafe_code,
    reason = "sockets are set up with calls that std does not offer"
)]

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use super::socket::set_option;

/// A listening socket.
pub struct Listener {
    fd: OwnedFd,
    /// The path of a UNIX socket, removed at the end.
    path: Option<String>,
    /// Of a TCP socket: the address and port that were asked for.
    bound_to: Option<(String, u16)>,
}

impl Listener {
    /// The descriptor.
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// The path of a UNIX socket.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// The address, of a TCP socket.
    pub fn address(&self) -> Option<SocketAddr> {
        // SAFETY: the descriptor is a listening TCP socket; the wrapper gives it up again.
        let socket = unsafe { std::net::TcpListener::from_raw_fd(self.fd.as_raw_fd()) };
        let address = socket.local_addr();
        let _ = socket.into_raw_fd();
        if self.path.is_some() {
            None
        } else {
            address.ok()
        }
    }

    /// The address, as `bind` has it, and the port that a TCP socket was made for.
    pub fn bound_to(&self) -> Option<(&str, u16)> {
        self.bound_to.as_ref().map(|(name, port)| (&**name, *port))
    }

    /// Listens no more. Accepts that are under way end, and the address is free.
    pub fn stop(&self) {
        super::socket::shutdown(self.fd());
    }

    /// Listens on a TCP address: an IP address, a host name, or `*` and `::*` for all of one kind.
    /// A port that is in use is tried again for as long as `patience`.
    pub fn tcp(bind: &str, port: u16, backlog: i32, patience: Duration) -> io::Result<Self> {
        let address = match bind {
            "*" => SocketAddr::new(IpAddr::from([0u8; 4]), port),
            "::*" | "::" => SocketAddr::new(IpAddr::from([0u16; 8]), port),
            name => match name.parse::<IpAddr>() {
                Ok(ip) => SocketAddr::new(ip, port),
                Err(_) => (name, port)
                    .to_socket_addrs()?
                    .next()
                    .ok_or(io::ErrorKind::AddrNotAvailable)?,
            },
        };
        let began = Instant::now();
        loop {
            match listen(address, backlog) {
                Err(e) if e.kind() == io::ErrorKind::AddrInUse && began.elapsed() < patience => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                done => {
                    return Ok(Self {
                        fd: done?,
                        path: None,
                        bound_to: Some((bind.to_string(), port)),
                    });
                }
            }
        }
    }

    /// Listens on a UNIX socket; a stale one at the path is replaced. `mode` 0 leaves the mode as
    /// the umask makes it.
    pub fn unix(path: &str, mode: u32, backlog: i32) -> io::Result<Self> {
        let _ = std::fs::remove_file(path);
        let socket = UnixListener::bind(path)?;
        if mode != 0 {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        }
        // SAFETY: only sets the backlog of a socket that listens.
        unsafe { libc::listen(socket.as_raw_fd(), backlog) };
        Ok(Self {
            fd: socket.into(),
            path: Some(path.to_string()),
            bound_to: None,
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn listen(address: SocketAddr, backlog: i32) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is fresh and owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    // Connections that are accepted inherit it.
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    if address.is_ipv6() {
        set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    bind(fd, address)?;
    // SAFETY: no memory is passed.
    if unsafe { libc::listen(fd, backlog) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

fn bind(fd: RawFd, address: SocketAddr) -> io::Result<()> {
    let done = match address {
        SocketAddr::V4(v4) => {
            let name = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from(*v4.ip()).to_be(),
                },
                sin_zero: [0; 8],
            };
            let size = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            // SAFETY: the structure has the size that is passed.
            unsafe { libc::bind(fd, (&raw const name).cast(), size) }
        }
        SocketAddr::V6(v6) => {
            let name = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            };
            let size = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            // SAFETY: the structure has the size that is passed.
            unsafe { libc::bind(fd, (&raw const name).cast(), size) }
        }
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
