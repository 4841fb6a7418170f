//! What the tests stand on: server processes, a raw protocol client, a latency watch, a seeded
//! random source.
//!
//! Nothing here shares code with the server: a parser used on both sides would hide its own bugs.
//! Every test that uses a server takes it from [`Server::start`], which starts Ringdove, or the
//! server that the environment variable `RINGDOVE_TEST_SERVER` names (`redis-server`, a path):
//! so a test is first proven right against Redis itself.
mod os;
mod rng;
mod server;
mod watch;
mod wire;

pub use os::{end_process, is_alive, raise_descriptor_limit, rss_bytes, signal};
pub use rng::Rng;
pub use server::{Kind, Options, Scratch, Server, free_ports};
pub use watch::{Latency, Watch};
pub use wire::{Conn, Value, encode, inline_args};

/// Waits until `done` gives a value, or fails with `what` after `seconds`.
///
/// For what a server does by itself (a process that ends, a key that expires): the condition is
/// asked for, no length of time is trusted.
pub fn eventually<T>(what: &str, seconds: u64, mut done: impl FnMut() -> Option<T>) -> T {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(
            std::time::Instant::now() < end,
            "not within {seconds} s: {what}"
        );
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}
