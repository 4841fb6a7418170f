//! What the process and its host say of themselves, for INFO. The engine does no I/O: the command
//! asks here.
#![expect(unsafe_code, reason = "getrusage and sysconf are called")]

use std::fs::read_to_string;

/// Seconds of processor time.
#[derive(Clone, Copy, Default, Debug)]
pub struct CpuTime {
    /// In the kernel.
    pub system: f64,
    /// In user space.
    pub user: f64,
}

/// The process's threads together.
pub fn cpu_of_process() -> CpuTime {
    usage(libc::RUSAGE_SELF)
}

/// The calling thread alone.
pub fn cpu_of_thread() -> CpuTime {
    usage(libc::RUSAGE_THREAD)
}

/// Children that have ended.
pub fn cpu_of_children() -> CpuTime {
    usage(libc::RUSAGE_CHILDREN)
}

fn usage(who: i32) -> CpuTime {
    // SAFETY: all zeros is a valid value of this plain structure.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is valid for the call; on failure the zeros stay.
    unsafe { libc::getrusage(who, &raw mut usage) };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    CpuTime {
        system: seconds(usage.ru_stime),
        user: seconds(usage.ru_utime),
    }
}

/// Bytes of the process that lie in memory; 0 where /proc does not say.
pub fn resident_bytes() -> u64 {
    // SAFETY: no memory is passed.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(0) as u64;
    let statm = read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok());
    pages.unwrap_or(0) * page
}

/// Bytes of memory that the host has; 0 where /proc does not say.
pub fn memory_of_host() -> u64 {
    let meminfo = read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"));
    let kib = total.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// The system's name, release and machine, as `uname -srm` prints them.
pub fn system() -> String {
    let read = |file: &str| {
        let text = read_to_string(format!("/proc/sys/kernel/{file}"));
        text.map_or_else(|_| "unknown".to_string(), |t| t.trim().to_string())
    };
    let (name, release) = (read("ostype"), read("osrelease"));
    format!("{name} {release} {}", std::env::consts::ARCH)
}

/// The path of the program.
pub fn executable() -> String {
    std::env::current_exe().map_or_else(|_| String::new(), |p| p.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_answers() {
        assert!(resident_bytes() > 0 && resident_bytes() < memory_of_host());
        assert!(system().starts_with("Linux "));
        assert!(!executable().is_empty());
        let (all, thread) = (cpu_of_process(), cpu_of_thread());
        assert!(all.user + all.system >= 0.0 && thread.user >= 0.0);
        assert!(cpu_of_children().user >= 0.0);
    }
}
