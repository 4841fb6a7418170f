//! How threads that only prepare and clean up stay out of the shards' way.
#![expect(
    unsafe_code,
    reason = "sched_setattr is a system call that std does not wrap"
)]

/// How much of a core that a shard wants all of a thread may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Share {
    /// A tenth: nobody waits for the thread just now, but it has to get on.
    Tenth,
    /// A seventieth, the least that there is among ordinary threads. Not SCHED_IDLE, under which a
    /// thread may not run for seconds while it holds the process's memory map.
    Least,
}

impl Share {
    fn nice(self) -> i32 {
        match self {
            Self::Tenth => 10,
            Self::Least => 19,
        }
    }
}

/// Nanoseconds for which the thread may keep a core from a shard that wants it: the shortest slice
/// that Linux has (6.12 and newer; older kernels go by the weight alone).
const SLICE_NS: u64 = 100_000;
/// SCHED_BATCH: does not preempt others when it wakes.
const BATCH: u32 = 3;

/// `struct sched_attr` in its first size, see sched_setattr(2).
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime_ns: u64,
    deadline_ns: u64,
    period_ns: u64,
}

const _: () = assert!(size_of::<Attributes>() == 48);

/// The calling thread gives way to all others, and for short pieces of time only takes a core from
/// them. Whether the kernel lets it.
pub fn give_way(share: Share) -> bool {
    let attributes = Attributes {
        size: size_of::<Attributes>() as u32,
        policy: BATCH,
        flags: 0,
        nice: share.nice(),
        priority: 0,
        runtime_ns: SLICE_NS,
        deadline_ns: 0,
        period_ns: 0,
    };
    // SAFETY: the pointer is to a structure of the size that it names, which the kernel reads.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    done == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_gives_way() {
        for (share, wanted) in [(Share::Tenth, "10"), (Share::Least, "19")] {
            let thread = std::thread::spawn(move || {
                assert!(give_way(share));
                std::fs::read_to_string("/proc/thread-self/stat").expect("Linux")
            });
            let stat = thread.join().expect("it asserts what it must");
            let after_name = stat.rsplit(')').next().expect("the name ends");
            let nice = after_name.split_whitespace().nth(16);
            assert_eq!(nice, Some(wanted), "{stat}");
        }
    }
}
