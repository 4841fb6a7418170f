#![expect(
    unsafe_code,
    reason = "local time and syslog are only to be had from libc"
)]
//! The server's log, in Redis's format: `pid:role dd Mon yyyy hh:mm:ss.mmm * message`.
//!
//! Any thread may log. Lines are rare (a start, a warning, a failed accept), so that a line is
//! simply written where it arises, with one `write` each: lines of several threads never mix, and
//! there is no queue that could be full or be lost in a crash. What a hot path would say below the
//! configured level costs one relaxed load ([`enabled`]) and no formatting.
//!
//! A file is opened for each line, as Redis does: it may be moved away at any time (logrotate) and
//! the next line starts a new one.

use std::ffi::CString;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{OnceLock, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use super::config::{Config, LogLevel, SyslogFacility, as_path};

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// `.`
    Debug,
    /// `-`
    Verbose,
    /// `*`
    Notice,
    /// `#`
    Warning,
}

/// Who speaks: the letter behind the process id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `C`: before the server serves, as a child of Redis's would be.
    Child,
    /// `M`
    Master,
    /// `S`
    Replica,
}

/// Where lines go. Standard output until [`configure`] says otherwise.
struct Sink {
    /// `None`: standard output.
    file: Option<PathBuf>,
    syslog: bool,
}

static SINK: RwLock<Sink> = RwLock::new(Sink {
    file: None,
    syslog: false,
});
/// The least [`Level`] that is written; one above `Warning` for `nothing`.
static LEAST: AtomicU8 = AtomicU8::new(Level::Notice as u8);
static ROLE: AtomicU8 = AtomicU8::new(b'C');
/// syslog keeps the pointer, so the identity must live as long as the process.
static SYSLOG_IDENT: OnceLock<CString> = OnceLock::new();

/// Takes level, file and syslog from the configuration. Called at the start, and after a CONFIG SET
/// of `loglevel`. The working directory may change afterwards: the file's path is made absolute.
pub fn configure(config: &Config) {
    let least = match config.loglevel {
        LogLevel::Debug => Level::Debug as u8,
        LogLevel::Verbose => Level::Verbose as u8,
        LogLevel::Notice => Level::Notice as u8,
        LogLevel::Warning => Level::Warning as u8,
        LogLevel::Nothing => Level::Warning as u8 + 1,
    };
    LEAST.store(least, Ordering::Relaxed);
    let file = (!config.logfile.is_empty()).then(|| config.dir.0.join(as_path(&config.logfile)));
    if config.syslog_enabled {
        open_syslog(&config.syslog_ident, config.syslog_facility);
    }
    // A poisoned lock would mean a panic, after which the process is gone.
    if let Ok(mut sink) = SINK.write() {
        *sink = Sink {
            file,
            syslog: config.syslog_enabled,
        };
    }
}

/// Says who speaks from now on.
pub fn set_role(role: Role) {
    let letter = match role {
        Role::Child => b'C',
        Role::Master => b'M',
        Role::Replica => b'S',
    };
    ROLE.store(letter, Ordering::Relaxed);
}

/// Says whether lines of a level are written, for a caller that would have to work for its message.
#[inline]
pub fn enabled(level: Level) -> bool {
    level as u8 >= LEAST.load(Ordering::Relaxed)
}

/// Writes a line at level debug: `log::debug(format_args!("..."))`.
pub fn debug(message: fmt::Arguments<'_>) {
    write(Level::Debug, message);
}

/// Writes a line at level verbose.
pub fn verbose(message: fmt::Arguments<'_>) {
    write(Level::Verbose, message);
}

/// Writes a line at level notice.
pub fn notice(message: fmt::Arguments<'_>) {
    write(Level::Notice, message);
}

/// Writes a line at level warning.
pub fn warning(message: fmt::Arguments<'_>) {
    write(Level::Warning, message);
}

/// Writes a line, if its level is one that is written. A line that cannot be written is lost: there
/// is no place left to say so.
pub fn write(level: Level, message: fmt::Arguments<'_>) {
    if !enabled(level) {
        return;
    }
    let Ok(sink) = SINK.read() else { return };
    let role = char::from(ROLE.load(Ordering::Relaxed));
    let line = line(std::process::id(), role, SystemTime::now(), level, message);
    let _ = match &sink.file {
        None => std::io::stdout().write_all(line.as_bytes()),
        Some(path) => std::fs::File::options()
            .append(true)
            .create(true)
            .open(path)
            .and_then(|mut file| file.write_all(line.as_bytes())),
    };
    if sink.syslog {
        to_syslog(level, &message.to_string());
    }
}

/// The whole line with its end.
fn line(
    pid: u32,
    role: char,
    now: SystemTime,
    level: Level,
    message: fmt::Arguments<'_>,
) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let tm = local_time(since.as_secs());
    let mark = match level {
        Level::Debug => '.',
        Level::Verbose => '-',
        Level::Notice => '*',
        Level::Warning => '#',
    };
    let month = usize::try_from(tm.tm_mon)
        .ok()
        .and_then(|m| MONTHS.get(m))
        .unwrap_or(&"???");
    let mut line = String::with_capacity(128);
    // Writing to a String cannot fail; a Display that does has said what it could.
    let _ = writeln!(
        line,
        "{pid}:{role} {:02} {month} {} {:02}:{:02}:{:02}.{:03} {mark} {message}",
        tm.tm_mday,
        tm.tm_year + 1900,
        tm.tm_hour,
        tm.tm_min,
        tm.tm_sec,
        since.subsec_millis(),
    );
    line
}

fn local_time(seconds: u64) -> libc::tm {
    let seconds = libc::time_t::try_from(seconds).unwrap_or(libc::time_t::MAX);
    let mut tm = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are valid for the call, and localtime_r keeps neither of them.
    let found = unsafe { libc::localtime_r(&seconds, tm.as_mut_ptr()) };
    debug_assert!(!found.is_null(), "a time of this era has a local form");
    // SAFETY: all bytes were zeroed, which is a valid `tm`, before localtime_r filled it in.
    unsafe { tm.assume_init() }
}

fn open_syslog(ident: &[u8], facility: SyslogFacility) {
    let facility = match facility {
        SyslogFacility::User => libc::LOG_USER,
        SyslogFacility::Local0 => libc::LOG_LOCAL0,
        SyslogFacility::Local1 => libc::LOG_LOCAL1,
        SyslogFacility::Local2 => libc::LOG_LOCAL2,
        SyslogFacility::Local3 => libc::LOG_LOCAL3,
        SyslogFacility::Local4 => libc::LOG_LOCAL4,
        SyslogFacility::Local5 => libc::LOG_LOCAL5,
        SyslogFacility::Local6 => libc::LOG_LOCAL6,
        SyslogFacility::Local7 => libc::LOG_LOCAL7,
    };
    let ident = SYSLOG_IDENT.get_or_init(|| CString::new(ident).unwrap_or_default());
    // SAFETY: the identity is a C string in a static, so it outlives every use that syslog makes.
    unsafe {
        libc::openlog(
            ident.as_ptr(),
            libc::LOG_PID | libc::LOG_NDELAY | libc::LOG_NOWAIT,
            facility,
        )
    };
}

fn to_syslog(level: Level, message: &str) {
    let priority = match level {
        Level::Debug => libc::LOG_DEBUG,
        Level::Verbose => libc::LOG_INFO,
        Level::Notice => libc::LOG_NOTICE,
        Level::Warning => libc::LOG_WARNING,
    };
    let Ok(message) = CString::new(message.replace('\0', " ")) else {
        return;
    };
    // SAFETY: the format takes exactly the one C string that is passed, and syslog copies both.
    unsafe { libc::syslog(priority, c"%s".as_ptr(), message.as_ptr()) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_line_is_redis_s() {
        let at = UNIX_EPOCH + Duration::from_millis(1_795_229_525_573);
        let line = line(
            4883,
            'M',
            at,
            Level::Notice,
            format_args!("Ready to accept {}", "connections"),
        );
        // The hour is local; in UTC it is 02.
        assert!(line.starts_with("4883:M 2"), "{line}");
        assert!(line.contains(" Nov 2026 "), "{line}");
        assert!(
            line.ends_with(":05.573 * Ready to accept connections\n"),
            "{line}"
        );
        assert_eq!(
            line.len(),
            "4883:M 21 Nov 2026 02:52:05.573 * Ready to accept connections\n".len()
        );
    }

    /// One test for everything that is global, because tests run in parallel.
    #[test]
    fn level_file_and_rotation() {
        let path = std::env::temp_dir().join(format!("ringdove-log-{}.log", std::process::id()));
        let mut config = Config {
            logfile: path.to_str().expect("utf-8").into(),
            loglevel: LogLevel::Warning,
            ..Config::default()
        };
        configure(&config);
        set_role(Role::Master);
        assert!(enabled(Level::Warning) && !enabled(Level::Notice));
        notice(format_args!("not written"));
        warning(format_args!("written {}", 1));
        let text = std::fs::read_to_string(&path).expect("the log");
        assert!(
            text.contains(":M ") && text.ends_with(" # written 1\n"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1);

        std::fs::remove_file(&path).expect("moved away");
        config.loglevel = LogLevel::Debug;
        configure(&config);
        debug(format_args!("again"));
        let text = std::fs::read_to_string(&path).expect("a new file");
        assert!(text.ends_with(" . again\n"), "{text}");

        config.loglevel = LogLevel::Nothing;
        configure(&config);
        assert!(!enabled(Level::Warning));
        configure(&Config::default());
        std::fs::remove_file(&path).expect("clean up");
    }
}
