#![expect(
    unsafe_code,
    reason = "the calls to the C library that std has no name for"
)]
//! What is asked of the operating system outside the ring: CPU time, pinning, limits, timer slack.

use std::io;
use std::mem::zeroed;
use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_interrupt(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// From now on the first interrupt (Ctrl-C) only sets a flag, so that results are still shown;
/// the second one ends the process.
pub(crate) fn catch_interrupts() {
    // SAFETY: sigaction is plain data; all zeroes is a value of it.
    let mut action: libc::sigaction = unsafe { zeroed() };
    action.sa_sigaction = on_interrupt as *const () as usize;
    action.sa_flags = libc::SA_RESETHAND;
    // SAFETY: the handler only stores to an atomic, which is allowed in a signal handler; the
    // action is live.
    unsafe { libc::sigaction(libc::SIGINT, &action, std::ptr::null_mut()) };
}

/// Ctrl-C was pressed.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// CPU time of the calling thread, user and system, in nanoseconds.
pub(crate) fn thread_cpu_ns() -> u64 {
    // SAFETY: timespec is plain data; all zeroes is a value of it.
    let mut ts: libc::timespec = unsafe { zeroed() };
    // SAFETY: the pointer is to a live timespec that the call fills.
    let rc = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut ts) };
    assert_eq!(rc, 0, "the thread's CPU clock always exists");
    ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64
}

/// The largest resident set this process ever had, in KiB.
pub(crate) fn rss_max_kib() -> u64 {
    // SAFETY: rusage is plain data; all zeroes is a value of it.
    let mut usage: libc::rusage = unsafe { zeroed() };
    // SAFETY: the pointer is to a live rusage that the call fills.
    let rc = unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    assert_eq!(rc, 0, "getrusage of the own process cannot fail");
    usage.ru_maxrss as u64
}

/// Pins the calling thread to one CPU.
pub(crate) fn pin_to(cpu: usize) -> io::Result<()> {
    // SAFETY: cpu_set_t is a bit array; all zeroes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    if cpu >= 8 * size_of::<libc::cpu_set_t>() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: the set is live and `cpu` was just checked to be inside it.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set is live and its size is given.
    let rc = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes sleeps of the calling thread end when asked (Linux adds 50 us by default), so that an
/// open loop sends on time.
pub(crate) fn sharpen_timers() {
    // SAFETY: PR_SET_TIMERSLACK takes one number and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1, 0, 0, 0) };
}

/// Raises the limit of open files to the hard limit; answers the limit that holds now.
pub(crate) fn raise_open_files() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live rlimit that the call fills.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return 1024;
    }
    let wanted = libc::rlimit {
        rlim_cur: limit.rlim_max,
        rlim_max: limit.rlim_max,
    };
    // SAFETY: the pointer is to a live rlimit that the call only reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &wanted) } == 0 {
        wanted.rlim_cur
    } else {
        limit.rlim_cur
    }
}

/// Ticks for each second in `/proc/PID/stat`.
pub(crate) fn clock_ticks_per_sec() -> u64 {
    // SAFETY: sysconf takes a number and touches no memory.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).unwrap_or(100).max(1)
}

/// Bytes of a page, as `/proc/PID/statm` counts them.
pub(crate) fn page_bytes() -> u64 {
    // SAFETY: sysconf takes a number and touches no memory.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}
