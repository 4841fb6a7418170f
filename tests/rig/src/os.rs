//! The few system calls that std has no name for.
#![expect(
    unsafe_code,
    reason = "signals, limits, socket options and the parent-death signal have no safe binding in std"
)]
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Sends `signal` (`libc::SIGTERM`'s number, say) to a process.
pub fn signal(pid: u32, signal: i32) {
    // SAFETY: kill takes two integers and touches no memory of ours.
    let rc = unsafe { libc::kill(pid as i32, signal) };
    assert_eq!(rc, 0, "kill {pid}: {}", io::Error::last_os_error());
}

/// Whether a process with this number exists and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Err(_) => false,
        Ok(stat) => !stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim_start().starts_with('Z')),
    }
}

/// Ends a process that is not our child and waits until it is gone. One already gone is fine.
pub fn end_process(pid: u32) {
    // SAFETY: kill takes two integers and touches no memory of ours.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
    crate::eventually("a killed process ends", 10, || {
        (!is_alive(pid)).then_some(())
    });
}

/// Resident memory of a process in bytes.
pub fn rss_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a live process");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("VmRSS");
    let kib: u64 = line
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number");
    kib * 1024
}

/// Lets this process hold at least `wanted` descriptors; fails where the hard limit is lower.
pub fn raise_descriptor_limit(wanted: u64) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live rlimit that getrlimit fills.
    let rc = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    assert_eq!(rc, 0, "getrlimit: {}", io::Error::last_os_error());
    if limit.rlim_cur >= wanted {
        return;
    }
    assert!(
        limit.rlim_max >= wanted,
        "this test needs {wanted} descriptors, the hard limit is {}: raise it (ulimit -Hn)",
        limit.rlim_max
    );
    limit.rlim_cur = wanted;
    // SAFETY: the pointer is to a live rlimit that setrlimit reads.
    let rc = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    assert_eq!(rc, 0, "setrlimit: {}", io::Error::last_os_error());
}

/// The child dies with the thread that starts it, so that an aborted test leaves no server; where
/// `descriptors` is given, that is its limit of open files, hard and soft.
pub(crate) fn die_with_parent(command: &mut Command, descriptors: Option<u64>) {
    let setup = move || {
        // SAFETY: prctl with PR_SET_PDEATHSIG takes integers only.
        let rc = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        if rc != 0 {
            return Err(io::Error::last_os_error());
        }
        if let Some(count) = descriptors {
            let limit = libc::rlimit {
                rlim_cur: count,
                rlim_max: count,
            };
            // SAFETY: the pointer is to a live rlimit that setrlimit reads.
            let rc = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
            if rc != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec only prctl and setrlimit run, which are plain system calls.
    unsafe { command.pre_exec(setup) };
}

/// Sets an integer socket option.
fn set_option<T>(socket: &impl AsRawFd, level: i32, option: i32, value: &T) {
    // SAFETY: the pointer and the length describe `value`, which lives through the call.
    let rc = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    assert_eq!(rc, 0, "setsockopt: {}", io::Error::last_os_error());
}

/// Closing this socket sends a reset instead of the orderly end.
pub(crate) fn close_with_reset(socket: &impl AsRawFd) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    set_option(socket, libc::SOL_SOCKET, libc::SO_LINGER, &linger);
}

/// The kernel keeps at most about this many received bytes for this socket.
pub(crate) fn receive_buffer(socket: &impl AsRawFd, bytes: i32) {
    set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, &bytes);
}
