#![expect(
    unsafe_code,
    reason = "a connection's descriptor is known as a number, and std duplicates only what it owns"
)]
//! A snapshot's way to a client that asked for it with SYNC: through a second descriptor of the
//! client's socket, by the thread that has written it.
//!
//! The connection stays with its shard, which sends nothing on it any more. When either of the two is
//! done with the socket it ends the connection, and the other finds it ended.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::log;

/// Bytes that are read and sent at once: all that a transfer takes of memory.
const CHUNK_BYTES: usize = 256 * 1024;
/// Transfers at a time: each has a thread, and a file that nobody else sees.
const TRANSFERS_MAX: usize = 8;

/// Those that there are.
static TRANSFERS: AtomicUsize = AtomicUsize::new(0);

/// A client that waits for a snapshot.
#[derive(Debug)]
pub struct Transfer {
    socket: TcpStream,
    /// What is sent first.
    greeting: Vec<u8>,
}

impl Transfer {
    /// To the client on the open socket `fd`, which gets `greeting` first. A client that takes
    /// nothing for `patience` is given up. An error also where there are too many already.
    pub fn new(fd: RawFd, greeting: Vec<u8>, patience: Duration) -> io::Result<Self> {
        if TRANSFERS.fetch_add(1, Ordering::Relaxed) >= TRANSFERS_MAX {
            TRANSFERS.fetch_sub(1, Ordering::Relaxed);
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let socket = duplicate(fd).map(TcpStream::from).and_then(|socket| {
            // Either kind of socket takes this option, and writes.
            socket.set_write_timeout(Some(patience))?;
            Ok(socket)
        });
        match socket {
            Ok(socket) => Ok(Self { socket, greeting }),
            Err(error) => {
                TRANSFERS.fetch_sub(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// Sends a file as a bulk payload, without the line's end behind it, and ends the connection.
    pub fn send_file(self, file: File) {
        let sent = file.metadata().and_then(|facts| {
            let length = facts.len();
            self.send(length, file)
        });
        self.log(sent);
    }

    /// The same with bytes.
    pub fn send_bytes(self, bytes: &[u8]) {
        let sent = self.send(bytes.len() as u64, bytes);
        self.log(sent);
    }

    fn log(&self, sent: io::Result<u64>) {
        match sent {
            Ok(bytes) => log::notice(format_args!("A snapshot was sent: {bytes} bytes")),
            Err(error) => log::warning(format_args!("A snapshot was not sent: {error}")),
        }
    }

    fn send(&self, length: u64, source: impl Read) -> io::Result<u64> {
        let mut socket = &self.socket;
        socket.set_nonblocking(false)?;
        socket.write_all(&self.greeting)?;
        socket.write_all(format!("${length}\r\n").as_bytes())?;
        let mut source = source.take(length);
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut sent = 0;
        while sent < length {
            let bytes = source.read(&mut chunk)?;
            if bytes == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            socket.write_all(&chunk[..bytes])?;
            sent += bytes as u64;
        }
        Ok(sent)
    }

    /// Tells the client why there is no snapshot, and ends the connection.
    pub fn refuse(self, why: &str) {
        let mut socket = &self.socket;
        // Whoever is gone need not be told.
        let _ = socket.write_all(format!("-ERR {why}\r\n").as_bytes());
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        // It may have ended already; otherwise the shard sees it end now.
        let _ = self.socket.shutdown(Shutdown::Both);
        TRANSFERS.fetch_sub(1, Ordering::Relaxed);
    }
}

fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the connection's shard calls, which has the socket open until after this turn.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    socket.as_fd().try_clone_to_owned()
}
