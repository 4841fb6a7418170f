//! Server processes: started on a free port in a folder of their own, awaited, killed and reaped.
use crate::os;
use crate::{Conn, Value, eventually, signal};
use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a start may take before the test fails with the log.
const START_SECONDS: u64 = 30;
/// How often a start is tried again when somebody else took the free port first.
const PORT_TRIES: usize = 5;

/// Which server is under test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Ours.
    Ringdove,
    /// A real redis-server: the reference, or a test being proven against it.
    Redis,
}

/// A folder of its own that goes away with this value.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes a new folder.
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringdove-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a new temporary folder");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Best effort: a server that just died may still be seen in it; the folder is in /tmp.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What to start and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whose command line this is.
    pub kind: Kind,
    binary: PathBuf,
    wrapper: Vec<OsString>,
    shards: usize,
    defaults: bool,
    args: Vec<OsString>,
    lines: Option<Vec<String>>,
    descriptors: Option<u64>,
}

impl Options {
    /// Ringdove at `binary` with `shards` shards, or what `RINGDOVE_TEST_SERVER` names.
    pub fn new(binary: &str, shards: usize) -> Self {
        let chosen = std::env::var_os("RINGDOVE_TEST_SERVER");
        let binary = chosen.map_or_else(|| binary.into(), PathBuf::from);
        let name = binary.file_name().unwrap_or_default().to_string_lossy();
        let kind = if name.contains("ringdove") {
            Kind::Ringdove
        } else {
            Kind::Redis
        };
        Self::of(kind, binary, shards)
    }

    /// The real redis-server: the one that `RINGDOVE_TEST_REDIS` names, else the one on the path.
    pub fn redis() -> Self {
        let binary = std::env::var_os("RINGDOVE_TEST_REDIS").unwrap_or("redis-server".into());
        Self::of(Kind::Redis, binary.into(), 1)
    }

    fn of(kind: Kind, binary: PathBuf, shards: usize) -> Self {
        Self {
            kind,
            binary,
            wrapper: Vec::new(),
            shards,
            defaults: true,
            args: Vec::new(),
            lines: None,
            descriptors: None,
        }
    }

    /// Adds arguments of the command line, written in one line with blanks between.
    pub fn with(mut self, args: &str) -> Self {
        self.args
            .extend(args.split_ascii_whitespace().map(OsString::from));
        self
    }

    /// Adds one argument as it stands, blanks and all.
    pub fn with_arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Gives a configuration file with this line in it as the first argument.
    pub fn with_line(mut self, line: impl Into<String>) -> Self {
        self.lines.get_or_insert_default().push(line.into());
        self
    }

    /// Lets the server open at most `count` descriptors.
    pub fn with_descriptors(mut self, count: u64) -> Self {
        self.descriptors = Some(count);
        self
    }

    /// Has another program start the server: the server's command line follows these words.
    pub fn inside(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(OsString::from).collect();
        self
    }

    /// Leaves out the options that every test server gets, but for port, folder and shards.
    pub fn without_defaults(mut self) -> Self {
        self.defaults = false;
        self
    }

    /// The command line for a server in `dir` on `port`, with its output going to `log`.
    fn command(&self, dir: &Path, port: u16, log: &Path) -> Command {
        let mut words = self.wrapper.clone();
        words.push(self.binary.clone().into());
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().expect("the binary at least"));
        command.args(words);
        if let Some(lines) = &self.lines {
            let file = dir.join("test.conf");
            fs::write(&file, lines.join("\n") + "\n").expect("a configuration file");
            command.arg(file);
        }
        command.arg("--port").arg(port.to_string());
        command.arg("--dir").arg(dir);
        if self.kind == Kind::Ringdove {
            command.arg("--shards").arg(self.shards.to_string());
        }
        if self.defaults {
            command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
            command.args(["--enable-debug-command", "yes"]);
        }
        command.args(&self.args);
        let out = File::create(log).expect("a log file");
        command.stdin(Stdio::null());
        command.stdout(out.try_clone().expect("a descriptor"));
        command.stderr(out);
        os::die_with_parent(&mut command, self.descriptors);
        command
    }

    fn spawn(&self, dir: &Path, port: u16, log: &Path) -> Child {
        match self.command(dir, port, log).spawn() {
            Ok(child) => child,
            Err(e) => panic!("{} cannot be started: {e}", self.binary.display()),
        }
    }

    /// Runs the server on `port` until it ends by itself, for starts that must fail; gives its
    /// exit status and everything that it printed.
    pub fn run_to_end(&self, port: u16) -> (ExitStatus, String) {
        let dir = Scratch::new();
        let log = dir.path().join("output.log");
        let mut child = self.spawn(dir.path(), port, &log);
        let status = wait(&mut child, START_SECONDS);
        let text = fs::read_to_string(&log).unwrap_or_default();
        match status {
            Some(status) => (status, text),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the start was to fail, and did not:\n{text}");
            }
        }
    }
}

fn wait(child: &mut Child, seconds: u64) -> Option<ExitStatus> {
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        if let Some(status) = child.try_wait().expect("our own child") {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    None
}

/// A port that is free on 127.0.0.1 right now.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound socket").port()
}

/// The first of `count` ports in a row that are free on 127.0.0.1 right now.
///
/// They lie below the ports that the kernel hands out by itself, so that nobody else's connection
/// takes one in between, and each process looks in a place of its own first.
pub fn free_ports(count: u16) -> u16 {
    const FIRST: u32 = 20_000;
    const END: u32 = 32_000;
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let places = END - FIRST - u32::from(count);
    for _ in 0..places {
        let step = NEXT.fetch_add(u64::from(count), Ordering::Relaxed) as u32;
        let place = std::process::id().wrapping_mul(97).wrapping_add(step) % places;
        let first = (FIRST + place) as u16;
        let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if (first..first + count).all(is_free) {
            return first;
        }
    }
    panic!("no {count} free ports in a row");
}

/// A running server; killed and reaped when dropped, its log printed where the test failed.
pub struct Server {
    /// Which server it is.
    pub kind: Kind,
    child: Child,
    port: u16,
    dir: Scratch,
    log: PathBuf,
}

impl Server {
    /// Starts a server and waits until it answers. Fails with its log where it does not.
    #[track_caller]
    pub fn start(options: &Options) -> Self {
        for attempt in 1.. {
            let mut server = Self::spawn(options, free_port());
            match server.await_ready() {
                Ok(()) => return server,
                Err(why) => {
                    let log = server.log();
                    let taken = log.to_lowercase().contains("address already in use");
                    assert!(taken && attempt < PORT_TRIES, "{why}:\n{log}");
                }
            }
        }
        unreachable!("the loop ends by returning or by failing")
    }

    /// Starts a server on a port and does not wait.
    pub fn spawn(options: &Options, port: u16) -> Self {
        let dir = Scratch::new();
        let log = dir.path().join("output.log");
        let child = options.spawn(dir.path(), port, &log);
        Self {
            kind: options.kind,
            child,
            port,
            dir,
            log,
        }
    }

    /// Waits for the line that other tools wait for, too, and then for an answer.
    fn await_ready(&mut self) -> Result<(), String> {
        let end = Instant::now() + Duration::from_secs(START_SECONDS);
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                return Err(format!("the server ended at its start ({status})"));
            }
            if self.log().contains("Ready to accept connections") && self.answers() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(format!("the server was not ready in {START_SECONDS} s"))
    }

    fn answers(&self) -> bool {
        let Ok(mut conn) = Conn::tcp(self.address()) else {
            return false;
        };
        conn.try_send_bytes(b"PING\r\n").is_ok()
            && matches!(conn.try_receive(), Ok(Value::Simple(_) | Value::Error(_)))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Everything that it printed so far.
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A new connection to it.
    #[track_caller]
    pub fn connect(&self) -> Conn {
        Conn::tcp(self.address()).expect("the server accepts")
    }

    /// A new connection in RESP3.
    #[track_caller]
    pub fn connect_resp3(&self) -> Conn {
        let mut conn = self.connect();
        let hello = conn.run("HELLO 3");
        assert!(matches!(hello, Value::Map(_)), "HELLO 3: {hello:?}");
        conn
    }

    /// One field of INFO.
    #[track_caller]
    pub fn info(&self, field: &str) -> String {
        let text = self.connect().run("INFO everything").text();
        text.lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
            .unwrap_or_else(|| panic!("INFO has no {field}:\n{text}"))
            .to_owned()
    }

    /// One field of INFO that is a number.
    #[track_caller]
    pub fn info_number(&self, field: &str) -> u64 {
        let text = self.info(field);
        text.parse()
            .unwrap_or_else(|_| panic!("{field} is no number: {text}"))
    }

    /// Waits until a field of INFO is `wanted`.
    #[track_caller]
    pub fn await_info(&self, field: &str, wanted: u64) {
        let mut seen = 0;
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            seen = self.info_number(field);
            if seen == wanted {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{field} stays {seen}, {wanted} was expected");
    }

    /// Sends the process a signal.
    pub fn signal(&self, number: i32) {
        signal(self.pid(), number);
    }

    /// Waits until the process ends by itself.
    #[track_caller]
    pub fn await_end(&mut self) -> ExitStatus {
        wait(&mut self.child, 20)
            .unwrap_or_else(|| panic!("the server does not end:\n{}", self.log()))
    }

    /// Waits until its log holds `text`.
    #[track_caller]
    pub fn await_log(&self, text: &str) {
        eventually(&format!("the log says {text:?}"), 20, || {
            self.log().contains(text).then_some(())
        });
    }

    /// Processor time that the process has used so far, user and system.
    pub fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("alive");
        let rest = stat.rsplit(')').next().expect("the fields after the name");
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let ticks: u64 = [11, 12]
            .iter()
            .map(|&i| fields[i].parse::<u64>().expect("ticks"))
            .sum();
        // USER_HZ is 100 on every architecture that Linux runs this on.
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ended = self.child.try_wait().ok().flatten();
        if ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(8000);
            let tail = log.get(from..).unwrap_or(&log);
            eprintln!("--- the server's log (exit before the end: {ended:?}) ---\n{tail}---");
        }
    }
}
