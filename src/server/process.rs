#![expect(
    unsafe_code,
    reason = "fork, resource limits and signals are only to be had from libc"
)]
//! What the process is to the system around it: daemon, pid file, supervisor, resource limits.
//!
//! Everything in here runs in the main thread at the start and at the end; [`daemonize`] before any
//! other thread exists. Messages are those of redis-server 7.0.15, for who searches for them.

use std::io;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use super::config::{Supervised, reason};
use super::log::{self, Level};

/// The pid file of a daemon whose configuration names none.
pub const DEFAULT_PID_FILE: &str = "/var/run/redis.pid";

/// Descriptors that each shard needs besides its clients: ring, listeners, doorbell, log files.
const DESCRIPTORS_PER_SHARD: u64 = 16;

/// Descriptors that the process needs besides (Redis's CONFIG_MIN_RESERVED_FDS).
const DESCRIPTORS_RESERVED: u64 = 32;

/// Bytes of memory that the process has resident; None where `/proc` does not tell.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Puts the process into the background: a new session, standard streams to /dev/null. The parent
/// exits. Must be called while the process has one thread, as a fork keeps only the calling one.
pub fn daemonize() -> io::Result<()> {
    // SAFETY: the process has one thread, so the child's memory is consistent.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {}
        _ => std::process::exit(0),
    }
    // SAFETY: setsid has no precondition on memory. A fresh child is no group leader: it succeeds.
    unsafe { libc::setsid() };
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    for stream in 0..=2 {
        // SAFETY: dup2 takes two descriptors; the standard ones are meant to be replaced.
        if unsafe { libc::dup2(null.as_raw_fd(), stream) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Writes the process id. The server runs without the file where it cannot be written.
pub fn write_pid_file(path: &Path) {
    if let Err(error) = std::fs::write(path, format!("{}\n", std::process::id())) {
        log::warning(format_args!("Failed to write PID file: {}", reason(&error)));
    }
}

/// Removes the pid file at the end.
pub fn remove_pid_file(path: &Path) {
    log::notice(format_args!("Removing the pid file."));
    // Gone already: what was wanted.
    let _ = std::fs::remove_file(path);
}

/// Who watches over the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supervisor {
    /// Nobody.
    None,
    /// systemd, which is told over a socket.
    Systemd,
}

/// Finds the supervisor. Under upstart, the process stops itself at once, which is the sign that
/// upstart waits for. A supervised process must not go to the background by itself.
pub fn supervise(mode: Supervised) -> Supervisor {
    let upstart = std::env::var_os("UPSTART_JOB").is_some();
    let systemd = std::env::var_os("NOTIFY_SOCKET").is_some();
    let mode = match mode {
        Supervised::Auto if upstart => Supervised::Upstart,
        Supervised::Auto if systemd => Supervised::Systemd,
        other => other,
    };
    match mode {
        Supervised::Upstart if upstart => {
            log::notice(format_args!(
                "supervised by upstart, will stop to signal readiness"
            ));
            // SAFETY: raise has no precondition; upstart continues the process.
            unsafe { libc::raise(libc::SIGSTOP) };
            Supervisor::None
        }
        Supervised::Upstart => {
            log::warning(format_args!(
                "upstart supervision requested, but UPSTART_JOB not found!"
            ));
            Supervisor::None
        }
        Supervised::Systemd if systemd => {
            log::notice(format_args!(
                "supervised by systemd. Please make sure you set appropriate values for \
                 TimeoutStartSec and TimeoutStopSec in your service unit."
            ));
            notify_systemd("STATUS=Ringdove is loading...\n");
            Supervisor::Systemd
        }
        Supervised::Systemd => {
            log::warning(format_args!(
                "systemd supervision requested or auto-detected, but NOTIFY_SOCKET not found!"
            ));
            Supervisor::None
        }
        Supervised::Auto | Supervised::No => Supervisor::None,
    }
}

/// Tells systemd that the server serves, or that it stops: `ready(true)`, `ready(false)`.
pub fn tell_supervisor(supervisor: Supervisor, ready: bool) {
    if supervisor == Supervisor::Systemd {
        notify_systemd(match ready {
            true => "STATUS=Ready to accept connections\nREADY=1\n",
            false => "STATUS=User requested shutdown...\nSTOPPING=1\n",
        });
    }
}

/// One datagram of sd_notify(3).
fn notify_systemd(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(error) = notify(socket.as_bytes(), state) {
        log::warning(format_args!("Can't notify systemd: {}", reason(&error)));
    }
}

/// A name that starts with `@` stands in the abstract namespace.
fn notify(socket: &[u8], state: &str) -> io::Result<()> {
    let address = match socket.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(super::config::as_path(socket))?,
    };
    UnixDatagram::unbound()?
        .send_to_addr(state.as_bytes(), &address)
        .map(drop)
}

/// A resource limit: soft and hard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What holds.
    pub soft: u64,
    /// What the process may raise it to by itself.
    pub hard: u64,
}

/// A resource that is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Open files.
    Nofile,
    /// Bytes of locked memory; kernels before 5.12 count rings against it.
    Memlock,
}

impl Resource {
    fn number(self) -> libc::__rlimit_resource_t {
        match self {
            Resource::Nofile => libc::RLIMIT_NOFILE,
            Resource::Memlock => libc::RLIMIT_MEMLOCK,
        }
    }
}

/// Reads a limit. No limit is `u64::MAX`.
pub fn limit(resource: Resource) -> io::Result<Limit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is valid for the call.
    match unsafe { libc::getrlimit(resource.number(), &mut limit) } {
        0 => Ok(Limit {
            soft: limit.rlim_cur,
            hard: limit.rlim_max,
        }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set_limit(resource: Resource, limit: Limit) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: limit.soft,
        rlim_max: limit.hard,
    };
    // SAFETY: the pointer is valid for the call.
    match unsafe { libc::setrlimit(resource.number(), &limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Raises the soft limit to `wanted`, the hard one too where the process may, or as far as it may.
/// Gives the limit that holds then, and the error that kept it below.
pub fn raise(resource: Resource, wanted: u64) -> io::Result<(u64, Option<io::Error>)> {
    let now = limit(resource)?;
    if now.soft >= wanted {
        return Ok((now.soft, None));
    }
    match set_limit(
        resource,
        Limit {
            soft: wanted,
            hard: now.hard.max(wanted),
        },
    ) {
        Ok(()) => Ok((wanted, None)),
        Err(error) => {
            // Up to the hard limit a process always may.
            let most = wanted.min(now.hard);
            set_limit(
                resource,
                Limit {
                    soft: most,
                    hard: now.hard,
                },
            )?;
            Ok((most, Some(error)))
        }
    }
}

/// How many descriptors the process needs for so many clients and shards.
pub fn descriptors_needed(maxclients: u32, shards: u32) -> u64 {
    u64::from(maxclients) + reserved(shards)
}

fn reserved(shards: u32) -> u64 {
    DESCRIPTORS_RESERVED + u64::from(shards) * DESCRIPTORS_PER_SHARD
}

/// What the limit on open files allows.
#[derive(Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// Clients that can be served: as wanted, or fewer.
    pub maxclients: u32,
    /// What the log should say.
    pub messages: Vec<(Level, String)>,
}

/// Raises the limit on open files for so many clients, as Redis does at the start and at CONFIG SET
/// maxclients. Err: not even one client fits; the text says what to do.
pub fn make_room_for_clients(maxclients: u32, shards: u32) -> Result<OpenFiles, String> {
    let wanted = descriptors_needed(maxclients, shards);
    let (before, result) = (limit(Resource::Nofile), raise(Resource::Nofile, wanted));
    match (before, result) {
        (Ok(before), Ok((now, error))) => {
            judge(maxclients, shards, before.soft, now, error.as_ref())
        }
        (Err(error), _) | (_, Err(error)) => {
            // Redis's assumption.
            let room = 1024_u64.saturating_sub(reserved(shards));
            let message = format!(
                "Unable to obtain the current NOFILE limit ({}), assuming 1024 and setting the max clients \
                 configuration accordingly.",
                reason(&error)
            );
            let maxclients = maxclients.min(u32::try_from(room).unwrap_or(u32::MAX).max(1));
            Ok(OpenFiles {
                maxclients,
                messages: vec![(Level::Warning, message)],
            })
        }
    }
}

fn judge(
    maxclients: u32,
    shards: u32,
    before: u64,
    now: u64,
    error: Option<&io::Error>,
) -> Result<OpenFiles, String> {
    let wanted = descriptors_needed(maxclients, shards);
    let mut messages = Vec::new();
    if now >= wanted {
        if now > before {
            let text = format!(
                "Increased maximum number of open files to {now} (it was originally set to {before})."
            );
            messages.push((Level::Notice, text));
        }
        return Ok(OpenFiles {
            maxclients,
            messages,
        });
    }
    let least = reserved(shards) + 1;
    if now < least {
        return Err(format!(
            "Your current 'ulimit -n' of {now} is not enough for the server to start. Please increase your open \
             file limit to at least {least}. Exiting."
        ));
    }
    let fewer = u32::try_from(now - reserved(shards)).unwrap_or(u32::MAX);
    messages.push((
        Level::Warning,
        format!("You requested maxclients of {maxclients} requiring at least {wanted} max file descriptors."),
    ));
    let error = error.map_or_else(|| "unknown".to_string(), reason);
    messages.push((
        Level::Warning,
        format!("Server can't set maximum open files to {wanted} because of OS error: {error}."),
    ));
    messages.push((
        Level::Warning,
        format!(
            "Current maximum open files is {now}. maxclients has been reduced to {fewer} to compensate for low \
             ulimit. If you need higher maxclients increase 'ulimit -n'."
        ),
    ));
    Ok(OpenFiles {
        maxclients: fewer,
        messages,
    })
}

/// Redis's reason for refusing a CONFIG SET maxclients.
pub fn too_many_clients(possible: u32) -> String {
    format!(
        "The operating system is not able to handle the specified number of clients, try with {possible}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_is_told_over_its_socket() {
        let path = std::env::temp_dir().join(format!("ringdove-notify-{}", std::process::id()));
        let socket = UnixDatagram::bind(&path).expect("bound");
        notify(path.as_os_str().as_bytes(), "READY=1\n").expect("told");
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).expect("a datagram");
        assert_eq!(&buffer[..length], b"READY=1\n");
        std::fs::remove_file(&path).expect("clean up");

        let name = format!("ringdove-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("an abstract name");
        let socket = UnixDatagram::bind_addr(&address).expect("bound");
        notify(format!("@{name}").as_bytes(), "STOPPING=1\n").expect("told");
        let length = socket.recv(&mut buffer).expect("a datagram");
        assert_eq!(&buffer[..length], b"STOPPING=1\n");
        assert!(notify(b"/nonexistent/socket", "READY=1").is_err());
    }

    #[test]
    fn room_for_clients() {
        let enough = judge(1000, 2, 2000, 2000, None).expect("enough");
        assert_eq!(
            enough,
            OpenFiles {
                maxclients: 1000,
                messages: vec![]
            }
        );
        let raised = judge(1000, 2, 512, 1064, None).expect("raised");
        assert_eq!(
            raised.messages,
            [(
                Level::Notice,
                "Increased maximum number of open files to 1064 (it was originally set to 512)."
                    .to_string()
            )]
        );
        let error = io::Error::from_raw_os_error(libc::EPERM);
        let fewer = judge(10_000, 2, 512, 1024, Some(&error)).expect("fewer");
        assert_eq!(fewer.maxclients, 1024 - 64);
        assert_eq!(
            fewer.messages[1].1,
            "Server can't set maximum open files to 10064 because of OS error: Operation not permitted."
        );
        let none = judge(10_000, 2, 40, 40, Some(&error)).expect_err("none");
        assert!(none.contains("at least 65."), "{none}");
    }

    #[test]
    fn a_limit_that_is_high_enough_is_left_alone() {
        let now = limit(Resource::Nofile).expect("a limit");
        let (soft, error) = raise(Resource::Nofile, 1).expect("nothing to do");
        assert!(error.is_none());
        assert_eq!(soft, now.soft);
        assert!(limit(Resource::Memlock).expect("a limit").hard > 0);
    }
}
