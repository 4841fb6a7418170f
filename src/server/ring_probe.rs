#![expect(
    unsafe_code,
    reason = "a ring's submissions and its buffer ring are memory that the kernel reads and writes"
)]
//! Tries what the reactor needs of io_uring, on a real ring: a feature is there when it has worked.
//!
//! `--check-system` prints the result; when a shard cannot set up its ring, [`explain`] says why and
//! what to do about it, in one line.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fd, SubmitArgs, Timespec};
use io_uring::{Builder, IoUring, Probe, cqueue, opcode, squeue};

use super::config::reason;
use super::process::{self, Resource};

/// Entries of the ring that is tried; the smallest will do.
const ENTRIES: u32 = 8;

/// How long a probe may wait for its completion, which in fact is there at once.
const PATIENCE: Timespec = Timespec::new().sec(2);

/// A feature that was tried.
#[derive(Debug)]
pub struct Feature {
    /// Its name in the kernel's words.
    pub name: &'static str,
    /// The first kernel that has it.
    pub since: &'static str,
    /// The server does not run without it; the others it does without at some cost.
    pub required: bool,
    /// `Ok` when it worked.
    pub outcome: io::Result<()>,
}

/// A setup flag, the first kernel that has it, and how it is asked for.
type SetupFlag = (&'static str, &'static str, fn(&mut Builder));

const SETUP_FLAGS: [SetupFlag; 4] = [
    ("IORING_SETUP_SUBMIT_ALL", "5.18", |b| {
        _ = b.setup_submit_all()
    }),
    ("IORING_SETUP_SINGLE_ISSUER", "6.0", |b| {
        _ = b.setup_single_issuer()
    }),
    // The kernel takes it together with SINGLE_ISSUER only.
    ("IORING_SETUP_DEFER_TASKRUN", "6.1", |b| {
        _ = b.setup_single_issuer().setup_defer_taskrun()
    }),
    ("IORING_SETUP_NO_SQARRAY", "6.6", |b| {
        _ = b.setup_no_sqarray()
    }),
];

/// Tries everything. Err: there is no ring to be had at all; [`explain`] has the remedy.
pub fn features() -> io::Result<Vec<Feature>> {
    IoUring::new(ENTRIES)?;
    let mut found = Vec::new();
    let mut builder = IoUring::builder();
    for (name, since, ask) in SETUP_FLAGS {
        let mut one = IoUring::builder();
        ask(&mut one);
        let outcome: io::Result<IoUring> = one.build(ENTRIES);
        if outcome.is_ok() {
            ask(&mut builder);
        }
        found.push(Feature {
            name,
            since,
            required: false,
            outcome: outcome.map(drop),
        });
    }
    let mut ring: IoUring = builder.build(ENTRIES)?;
    let mut add = |name, since, outcome| {
        found.push(Feature {
            name,
            since,
            required: true,
            outcome,
        })
    };
    add(
        "wait with a timeout (EXT_ARG)",
        "5.11",
        supported(ring.params().is_feature_ext_arg()),
    );
    add(
        "no completion is dropped (NODROP)",
        "5.5",
        supported(ring.params().is_feature_nodrop()),
    );
    for (name, since, code) in [
        ("send", "5.6", opcode::Send::CODE),
        ("write", "5.6", opcode::Write::CODE),
        ("fsync", "5.1", opcode::Fsync::CODE),
        ("timeout", "5.4", opcode::Timeout::CODE),
        ("asynchronous cancel", "5.5", opcode::AsyncCancel::CODE),
    ] {
        add(name, since, known(&ring, code));
    }
    add("message to a ring (MSG_RING)", "5.18", message(&mut ring));
    add("multishot accept", "5.19", multishot_accept(&mut ring));
    let buffers = BufferRing::register(&ring);
    add(
        "ring of provided buffers",
        "5.19",
        buffers.as_ref().map(drop).map_err(copy),
    );
    add(
        "multishot receive",
        "6.0",
        buffers.and_then(|buffers| multishot_receive(&mut ring, buffers)),
    );
    Ok(found)
}

fn supported(yes: bool) -> io::Result<()> {
    if yes {
        Ok(())
    } else {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn copy(error: &io::Error) -> io::Error {
    error
        .raw_os_error()
        .map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

fn known(ring: &IoUring, code: u8) -> io::Result<()> {
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    supported(probe.is_supported(code))
}

/// Submits and gives the first completion: its result and its flags.
fn complete(ring: &mut IoUring, entry: &squeue::Entry) -> io::Result<(i32, u32)> {
    // SAFETY: whatever the entries of this module refer to (sockets, buffers) is kept by the caller
    // until the ring has completed or cancelled them, or is gone.
    let pushed = unsafe { ring.submission().push(entry) };
    pushed.map_err(|_| io::Error::other("the submission queue is full"))?;
    next(ring)
}

fn next(ring: &mut IoUring) -> io::Result<(i32, u32)> {
    if let Some(entry) = ring.completion().next() {
        return Ok((entry.result(), entry.flags()));
    }
    ring.submitter()
        .submit_with_args(1, &SubmitArgs::new().timespec(&PATIENCE))?;
    let entry = ring.completion().next().ok_or(io::ErrorKind::TimedOut)?;
    Ok((entry.result(), entry.flags()))
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::from_raw_os_error(-result))
    } else {
        Ok(result)
    }
}

/// The ring sends itself a message: two completions, one of them the message.
fn message(ring: &mut IoUring) -> io::Result<()> {
    let to = Fd(ring.as_raw_fd());
    let (first, _) = complete(ring, &opcode::MsgRingData::new(to, 7, 1, None).build())?;
    check(first)?;
    let (second, _) = next(ring)?;
    supported(first.max(second) == 7)
}

fn multishot_accept(ring: &mut IoUring) -> io::Result<()> {
    let name = format!(
        "ringdove-probe-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    );
    let address = SocketAddr::from_abstract_name(name)?;
    let listener = UnixListener::bind_addr(&address)?;
    let _client = UnixStream::connect_addr(&address)?;
    let (result, flags) = complete(
        ring,
        &opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).build(),
    )?;
    let descriptor = check(result)?;
    // SAFETY: the kernel has just opened this descriptor for us, and nobody else knows it.
    drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    supported(cqueue::more(flags))?;
    cancel_all(ring)
}

/// Ends the multishot, so that its socket is not used any more when it is closed.
fn cancel_all(ring: &mut IoUring) -> io::Result<()> {
    // The entries of this module carry no user data, so zero names the one that is in flight.
    let (result, _) = complete(ring, &opcode::AsyncCancel::new(0).build().user_data(9))?;
    let (other, _) = next(ring)?;
    check(result.max(other)).map(drop)
}

/// A buffer ring of one buffer, in one allocation: the entry's page, then the buffer's.
struct BufferRing {
    memory: Box<[Page; 2]>,
}

#[repr(C, align(4096))]
struct Page([u8; 4096]);

impl BufferRing {
    const GROUP: u16 = 0;

    fn register(ring: &IoUring) -> io::Result<Self> {
        let mut memory = Box::new([Page([0; 4096]), Page([0; 4096])]);
        let buffer = memory[1].0.as_mut_ptr() as u64;
        let base = memory[0].0.as_mut_ptr().cast::<BufRingEntry>();
        // SAFETY: the page is aligned for the entry, large enough for it, zeroed (a valid entry), and
        // referred to by nobody else yet.
        let entry = unsafe { &mut *base };
        entry.set_addr(buffer);
        entry.set_len(4096);
        entry.set_bid(0);
        // SAFETY: the base points to one valid entry, in which the tail has its place.
        let tail = unsafe { BufRingEntry::tail(base) };
        // SAFETY: the tail is aligned, within the page, and shared with the kernel as an atomic only.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(1, Ordering::Release);
        // SAFETY: the pages stay where they are until the buffers have been unregistered or the ring is
        // gone: `multishot_receive` unregisters before it drops them, and an error registers nothing.
        unsafe {
            ring.submitter()
                .register_buf_ring_with_flags(base as u64, 1, Self::GROUP, 0)?
        };
        Ok(BufferRing { memory })
    }
}

fn multishot_receive(ring: &mut IoUring, buffers: BufferRing) -> io::Result<()> {
    let outcome = receive_once(ring, &buffers);
    ring.submitter().unregister_buf_ring(BufferRing::GROUP)?;
    outcome
}

fn receive_once(ring: &mut IoUring, buffers: &BufferRing) -> io::Result<()> {
    let (mut ours, theirs) = UnixStream::pair()?;
    io::Write::write_all(&mut ours, b"probe")?;
    let entry = opcode::RecvMulti::new(Fd(theirs.as_raw_fd()), BufferRing::GROUP).build();
    let (result, flags) = complete(ring, &entry)?;
    let length = check(result)?;
    supported(length == 5 && cqueue::buffer_select(flags) == Some(0))?;
    supported(&buffers.memory[1].0[..5] == b"probe")?;
    supported(cqueue::more(flags))?;
    // With its only buffer taken, the receive ends by itself when the peer closes.
    drop(ours);
    next(ring).map(drop)
}

/// Why a ring could not be set up, and the remedy, in one line.
pub fn explain(error: &io::Error) -> String {
    let sysctl = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    explain_with(error, sysctl.trim(), seccomp_is_on(), &kernel_release())
}

/// The kernel's release, such as `6.1.0-18-amd64`; empty when /proc does not show it.
pub fn kernel_release() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim().to_string()
}

/// Major and minor version of a kernel's release.
pub fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Says whether a seccomp filter is on this process, as a container's is.
pub fn seccomp_is_on() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| {
        line.strip_prefix("Seccomp:")
            .is_some_and(|mode| mode.trim() == "2")
    })
}

fn explain_with(error: &io::Error, disabled: &str, seccomp: bool, release: &str) -> String {
    const SECCOMP: &str = "a seccomp filter forbids it, as the default profiles of container runtimes do: start the \
                           container with --security-opt seccomp=unconfined, or with a profile that allows \
                           io_uring_setup, io_uring_enter and io_uring_register";
    let old = kernel_version(release).is_some_and(|version| version < (6, 0));
    let why = match (error.raw_os_error(), disabled) {
        (Some(libc::EPERM), "2") => {
            "the sysctl kernel.io_uring_disabled is 2: run `sysctl -w kernel.io_uring_disabled=0`".into()
        }
        (Some(libc::EPERM), "1") => "the sysctl kernel.io_uring_disabled is 1: run `sysctl -w \
                                     kernel.io_uring_disabled=0`, or add the server's user to the group of \
                                     kernel.io_uring_group"
            .into(),
        (Some(libc::EPERM | libc::EACCES | libc::ENOSYS), _) if seccomp => SECCOMP.into(),
        (Some(libc::EPERM | libc::EACCES), _) => {
            "this process may not use it: look at the security module (SELinux, AppArmor) and at the container's \
             profile"
                .into()
        }
        (Some(libc::ENOSYS), _) if old => format!("the kernel {release} is too old: 6.1 or newer is needed"),
        (Some(libc::ENOSYS), _) => format!("the kernel {release} was built without CONFIG_IO_URING: use another one"),
        (Some(libc::EINVAL), _) => format!("the kernel {release} lacks a feature: 6.1 or newer is needed"),
        (Some(libc::ENOMEM), _) => {
            let memlock = process::limit(Resource::Memlock).map_or(0, |limit| limit.soft);
            format!(
                "no memory that may be locked is left (limit {memlock} bytes): raise it with `ulimit -l unlimited`, \
                 LimitMEMLOCK=infinity in the systemd unit, or --ulimit memlock=-1 for a container"
            )
        }
        (Some(libc::EMFILE | libc::ENFILE), _) => {
            "no file descriptor is left: raise `ulimit -n`, or LimitNOFILE in the systemd unit".into()
        }
        _ => "see `ringdove --check-system`".into(),
    };
    format!("Can't set up io_uring ({}): {why}", reason(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(number: i32, disabled: &str, seccomp: bool, release: &str) -> String {
        explain_with(
            &io::Error::from_raw_os_error(number),
            disabled,
            seccomp,
            release,
        )
    }

    #[test]
    fn each_cause_has_its_remedy_in_one_line() {
        for (text, needle) in [
            (
                told(libc::EPERM, "2", false, "6.8.0"),
                "sysctl -w kernel.io_uring_disabled=0",
            ),
            (
                told(libc::EPERM, "1", false, "6.8.0"),
                "kernel.io_uring_group",
            ),
            (told(libc::EPERM, "0", true, "6.8.0"), "seccomp=unconfined"),
            (
                told(libc::ENOSYS, "", true, "5.4.0-100"),
                "seccomp=unconfined",
            ),
            (told(libc::EPERM, "0", false, "6.8.0"), "AppArmor"),
            (
                told(libc::ENOSYS, "", false, "4.19.0-20"),
                "4.19.0-20 is too old",
            ),
            (told(libc::ENOSYS, "", false, "6.8.0"), "CONFIG_IO_URING"),
            (
                told(libc::EINVAL, "0", false, "5.10.0"),
                "lacks a feature: 6.1",
            ),
            (
                told(libc::ENOMEM, "0", false, "5.10.0"),
                "LimitMEMLOCK=infinity",
            ),
            (told(libc::EMFILE, "0", false, "6.8.0"), "LimitNOFILE"),
        ] {
            assert!(text.contains(needle) && !text.contains('\n'), "{text}");
            assert!(text.starts_with("Can't set up io_uring ("), "{text}");
            assert!(!text.contains("  "), "{text}");
        }
    }

    #[test]
    fn versions() {
        assert_eq!(kernel_version("6.18.44-fc-v595"), Some((6, 18)));
        assert_eq!(kernel_version("5.10.0-28-amd64"), Some((5, 10)));
        assert_eq!(kernel_version(""), None);
    }

    #[test]
    fn what_the_server_needs_works_here() {
        let features = features().unwrap_or_else(|error| panic!("{}", explain(&error)));
        for feature in features.iter().filter(|feature| feature.required) {
            assert!(feature.outcome.is_ok(), "{feature:?}");
        }
    }
}
