//! Signals: SIGTERM and SIGINT stop the server in order; a second one stops it at once, as on
//! Redis. They are blocked in every thread and taken by one that does nothing else.
#![expect(unsafe_code, reason = "signal masks are set with system calls")]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::log;
use crate::shard::node::{Ending, Node};

const STOPPING: [i32; 2] = [libc::SIGTERM, libc::SIGINT];

fn stopping_set() -> libc::sigset_t {
    // SAFETY: all zeros is a valid value of this plain structure.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours.
    unsafe { libc::sigemptyset(&raw mut set) };
    for signal in STOPPING {
        // SAFETY: the set is ours and the signal is one.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}

/// To be called before any thread is started: they inherit the mask. SIGHUP and SIGPIPE are
/// ignored, as on Redis; and SIGXFSZ, so that a write beyond the file size that the process is allowed
/// fails as one to a full disk does.
pub fn block() {
    let set = stopping_set();
    // SAFETY: a valid set; the old mask is not wanted.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    for signal in [libc::SIGHUP, libc::SIGPIPE, libc::SIGXFSZ] {
        // SAFETY: ignoring a signal runs no code.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Waits for signals on a thread of its own, for ever.
pub fn serve(node: Arc<Node>) {
    let wait = move || {
        let set = stopping_set();
        loop {
            let mut signal = 0;
            // SAFETY: a valid set and a place for the signal.
            if unsafe { libc::sigwait(&raw const set, &raw mut signal) } != 0 {
                continue;
            }
            let name = if signal == libc::SIGINT {
                "SIGINT"
            } else {
                "SIGTERM"
            };
            let ends = node.ending() != Ending::No || node.stopping.load(Ordering::Relaxed);
            if ends && signal == libc::SIGINT {
                log::warning(format_args!("You insist... exiting now."));
                std::process::exit(1);
            }
            log::warning(format_args!("Received {name} scheduling shutdown..."));
            if node.writes_first_base() {
                log::warning(format_args!(
                    "Writing initial AOF, can't exit: {name} received but errors trying to shut down the server"
                ));
                continue;
            }
            if node.stopping.load(Ordering::Relaxed) {
                continue;
            }
            if node.saves_first(None) {
                node.set_ending(Ending::Wanted);
                node.wake_all();
            } else {
                node.stop();
            }
        }
    };
    let started = std::thread::Builder::new()
        .name("signals".into())
        .spawn(wait);
    if let Err(error) = started {
        log::warning(format_args!(
            "Cannot start the thread that waits for signals: {error}"
        ));
    }
}
