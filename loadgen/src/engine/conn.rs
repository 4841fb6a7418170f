//! One connection on a thread's ring: what is to be sent, what is under way, whose replies are
//! awaited. Replies come in the order of the requests, so `pending` is a queue.
//!
//! Two output buffers: `out` is being filled, `flight` is in the kernel's hands and is not touched
//! until its send has ended.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};

use crate::dial::Link;
use crate::reply::Scanner;

/// A request whose reply has not come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    /// When it was sent, or was due in an open loop.
    pub(super) start_ns: u64,
    pub(super) key: u64,
    /// Verify: the version written, or the oldest version that may be read.
    pub(super) version: u32,
    pub(super) command: u32,
    pub(super) request_bytes: u32,
    /// Redirections that it went through.
    pub(super) hops: u8,
    /// The ASKING before a redirected request: its reply is nobody's.
    pub(super) asking: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Not connected; waits to be dialled, or for ever.
    Down,
    Dialling,
    Up,
    /// Shut down; operations of the ring still have to end.
    Closing,
}

/// Request bytes in the order of `pending`, to send again after a redirection.
#[derive(Debug, Default)]
pub(super) struct History {
    bytes: Vec<u8>,
    head: usize,
}

/// Bytes of dead history that are worth moving the rest down for.
const HISTORY_SLACK_BYTES: usize = 64 * 1024;

impl History {
    pub(super) fn push(&mut self, request: &[u8]) {
        self.bytes.extend_from_slice(request);
    }

    /// Drops the oldest `len` bytes, after showing them to `see`.
    pub(super) fn pop(&mut self, len: usize, mut see: impl FnMut(&[u8])) {
        let end = self.head + len;
        assert!(end <= self.bytes.len(), "history is as long as pending");
        see(&self.bytes[self.head..end]);
        self.head = end;
        if self.head == self.bytes.len() {
            self.bytes.clear();
            self.head = 0;
        } else if self.head > HISTORY_SLACK_BYTES && self.head > self.bytes.len() / 2 {
            self.bytes.drain(..self.head);
            self.head = 0;
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.head = 0;
    }
}

pub(super) struct Conn {
    pub(super) client: usize,
    pub(super) node: u16,
    pub(super) state: State,
    link: Option<Link>,
    pub(super) out: Vec<u8>,
    flight: Vec<u8>,
    flight_sent: usize,
    /// A send that waits for room is in the ring.
    pub(super) send_waits: bool,
    /// The multishot receive is in the ring.
    pub(super) receiving: bool,
    /// It stands in the list of connections with output.
    pub(super) queued: bool,
    pub(super) pending: VecDeque<Pending>,
    pub(super) history: History,
    pub(super) scanner: Scanner,
    /// Since when replies are overdue: the last byte received, or the first request of a batch.
    pub(super) silent_since_ns: u64,
    /// Failed dials in a row.
    pub(super) attempts: u64,
    pub(super) dial_at_ns: u64,
    pub(super) replies: u64,
}

impl Conn {
    pub(super) fn new(client: usize, node: u16, keep_replies: bool) -> Conn {
        Conn {
            client,
            node,
            state: State::Down,
            link: None,
            out: Vec::new(),
            flight: Vec::new(),
            flight_sent: 0,
            send_waits: false,
            receiving: false,
            queued: false,
            pending: VecDeque::new(),
            history: History::default(),
            scanner: Scanner::new(keep_replies),
            silent_since_ns: 0,
            attempts: 0,
            dial_at_ns: 0,
            replies: 0,
        }
    }

    /// Takes a connection past its handshake.
    pub(super) fn connected(&mut self, link: Link, keep_replies: bool) {
        assert!(self.link.is_none() && !self.receiving && !self.send_waits);
        self.scanner = Scanner::new(keep_replies);
        self.out.clear();
        self.history.clear();
        self.pending.clear();
        self.attempts = 0;
        self.link = Some(link);
        self.state = State::Up;
        if let Some(tls) = self.link.as_mut().and_then(|l| l.tls.as_mut()) {
            // The pipeline bounds what is written; rustls need not.
            tls.set_buffer_limit(None);
        }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.link.as_ref().map_or(-1, |link| link.fd.as_raw_fd())
    }

    pub(super) fn is_tls(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.tls.is_some())
    }

    /// Moves the output to the flight buffer (through TLS, if any) and shows it for sending. Only
    /// when the flight before has ended.
    pub(super) fn take_off(&mut self) -> io::Result<&[u8]> {
        assert!(!self.send_waits, "one flight at a time");
        self.flight_sent = 0;
        match self.link.as_mut().and_then(|link| link.tls.as_mut()) {
            None => {
                self.flight.clear();
                std::mem::swap(&mut self.out, &mut self.flight);
            }
            Some(tls) => {
                tls.writer().write_all(&self.out)?;
                self.out.clear();
                self.flight.clear();
                while tls.wants_write() {
                    tls.write_tls(&mut self.flight)?;
                }
            }
        }
        Ok(&self.flight)
    }

    /// `sent` more bytes of the flight have gone; shows what is left.
    pub(super) fn landed(&mut self, sent: usize) -> &[u8] {
        self.flight_sent = (self.flight_sent + sent).min(self.flight.len());
        &self.flight[self.flight_sent..]
    }

    /// Decrypts received bytes onto `plain`. False at the peer's end of the session.
    pub(super) fn decrypt(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>) -> io::Result<bool> {
        let Some(tls) = self.link.as_mut().and_then(|link| link.tls.as_mut()) else {
            plain.extend_from_slice(bytes);
            return Ok(true);
        };
        let mut open = true;
        while !bytes.is_empty() {
            tls.read_tls(&mut bytes)?;
            let state = tls.process_new_packets().map_err(io::Error::other)?;
            let ready = state.plaintext_bytes_to_read();
            open &= !state.peer_has_closed();
            let start = plain.len();
            plain.resize(start + ready, 0);
            io::Read::read_exact(&mut tls.reader(), &mut plain[start..])?;
        }
        Ok(open)
    }

    /// TLS has something of its own to say (a key update, an alert).
    pub(super) fn tls_speaks(&self) -> bool {
        self.link
            .as_ref()
            .and_then(|l| l.tls.as_ref())
            .is_some_and(|tls| tls.wants_write())
    }

    /// Ends both directions; the ring's operations end soon after.
    pub(super) fn shut_down(&mut self) {
        self.state = State::Closing;
        if let Some(link) = &self.link {
            // Errors mean that it is down already. The socket's family does not matter to shutdown.
            let socket = link.fd.try_clone().map(std::net::TcpStream::from);
            let _ = socket.and_then(|socket| socket.shutdown(Shutdown::Both));
        }
    }

    /// Lets go of the socket once the ring has. True when it did.
    pub(super) fn settle(&mut self) -> bool {
        if self.state == State::Closing && !self.receiving && !self.send_waits {
            self.link = None;
            self.state = State::Down;
            return true;
        }
        false
    }
}
