//! A server of the tests' own: it does what a test tells it, late, wrong or not at all.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// What to do with a request.
pub(crate) enum Act {
    Reply(Vec<u8>),
    ReplyLater(Duration, Vec<u8>),
    Close,
    Silence,
}

pub(crate) struct Stub {
    pub(crate) port: u16,
    stop: Arc<AtomicBool>,
}

impl Stub {
    /// Listens on a free port. `act` sees the words of each request; a thread for each connection.
    pub(crate) fn start(act: impl Fn(&[Vec<u8>]) -> Act + Send + Sync + 'static) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let stop = Arc::new(AtomicBool::new(false));
        let (act, stopped) = (Arc::new(act), Arc::clone(&stop));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let act = Arc::clone(&act);
                thread::spawn(move || serve(stream.expect("a connection"), &*act));
            }
        });
        Stub { port, stop }
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the listener; it may be gone already.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(mut stream: TcpStream, act: &(impl Fn(&[Vec<u8>]) -> Act + ?Sized)) {
    stream.set_nodelay(true).expect("an option");
    let mut received = Vec::new();
    let mut chunk = [0u8; 65536];
    loop {
        while let Some((words, used)) = request(&received) {
            received.drain(..used);
            // What generators ask before they begin.
            let reply = match words[0].to_ascii_uppercase().as_slice() {
                b"PING" => Act::Reply(b"+PONG\r\n".to_vec()),
                b"INFO" => Act::Reply(b"$0\r\n\r\n".to_vec()),
                _ => act(&words),
            };
            let bytes = match reply {
                Act::Reply(bytes) => bytes,
                Act::ReplyLater(delay, bytes) => {
                    thread::sleep(delay);
                    bytes
                }
                Act::Close => return,
                Act::Silence => continue,
            };
            if stream.write_all(&bytes).is_err() {
                return;
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(n) => received.extend_from_slice(&chunk[..n]),
        }
    }
}

/// The words of the first whole request, and its length.
fn request(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let mut at = 0;
    let line = |at: &mut usize| -> Option<usize> {
        let end = bytes[*at..].iter().position(|b| *b == b'\n')?;
        let text = std::str::from_utf8(&bytes[*at + 1..*at + end - 1]).expect("a number");
        *at += end + 1;
        Some(text.parse().expect("a number"))
    };
    if bytes.is_empty() {
        return None;
    }
    let count = line(&mut at)?;
    let mut words = Vec::new();
    for _ in 0..count {
        if at >= bytes.len() {
            return None;
        }
        let len = line(&mut at)?;
        words.push(bytes.get(at..at + len)?.to_vec());
        bytes.get(at + len + 1)?;
        at += len + 2;
    }
    Some((words, at))
}

/// A bulk string on the wire.
pub(crate) fn bulk(bytes: &[u8]) -> Vec<u8> {
    let mut wire = format!("${}\r\n", bytes.len()).into_bytes();
    wire.extend_from_slice(bytes);
    wire.extend_from_slice(b"\r\n");
    wire
}
