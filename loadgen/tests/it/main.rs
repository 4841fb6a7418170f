//! The generator as a user runs it: the binary, against redis-server and against stub servers that
//! delay, lie and vanish on a known schedule.

mod cluster;
mod failures;
mod latency;
mod results;
mod stub;
mod verify;
mod workloads;

use std::io::{BufRead, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A folder of a test's own, gone at its end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let name = format!("ringdove-load-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a new folder");
        Folder(path)
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a path").to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// A redis-server of the test's own, ended with it.
pub(crate) struct Redis {
    child: Child,
    pub(crate) port: u16,
    _folder: Folder,
}

impl Redis {
    /// Starts with more options, and waits until it answers.
    pub(crate) fn start(more: &[&str]) -> Redis {
        let folder = Folder::new();
        // Another process may take the port in between: then try again.
        for _ in 0..5 {
            let port = free_port();
            let mut child = Command::new("redis-server")
                .args([
                    "--bind",
                    "127.0.0.1",
                    "::1",
                    "--save",
                    "",
                    "--appendonly",
                    "no",
                ])
                .args(["--port", &port.to_string()])
                .args(["--dir", folder.0.to_str().expect("a path")])
                .args(more)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("redis-server is installed");
            let until = Instant::now() + Duration::from_secs(10);
            while Instant::now() < until && child.try_wait().expect("a child").is_none() {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Redis {
                        child,
                        port,
                        _folder: folder,
                    };
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("redis-server does not start");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// One inline command; the first line of its reply.
    pub(crate) fn ask(&self, line: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        stream
            .write_all(format!("{line}\r\n").as_bytes())
            .expect("sent");
        let mut reply = Vec::new();
        let mut byte = [0u8; 1];
        while !reply.ends_with(b"\r\n") {
            stream.read_exact(&mut byte).expect("a reply");
            reply.push(byte[0]);
        }
        String::from_utf8_lossy(&reply[..reply.len() - 2]).into_owned()
    }

    /// One inline command; the bulk string of its reply.
    pub(crate) fn ask_bulk(&self, line: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        stream
            .write_all(format!("{line}\r\n").as_bytes())
            .expect("sent");
        let mut reader = std::io::BufReader::new(stream);
        let mut header = String::new();
        reader.read_line(&mut header).expect("a reply");
        let len = header.trim_start_matches('$').trim_end().parse();
        let mut body = vec![0; len.unwrap_or_else(|_| panic!("{line}: {header}"))];
        reader.read_exact(&mut body).expect("the whole reply");
        String::from_utf8(body).expect("text")
    }

    pub(crate) fn keys(&self) -> u64 {
        self.ask("DBSIZE")[1..].parse().expect("a number")
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a run of the generator left behind.
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The JSON file, if one was written.
    pub(crate) json: Value,
}

impl Done {
    /// Requests counted under a name of results.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.json["ALL STATS"][name]["Count"]
            .as_u64()
            .unwrap_or_else(|| panic!("{name}: {}", self.json))
    }

    /// The only run of ours.
    pub(crate) fn run(&self) -> &Value {
        &self.json["ringdove-load"]["runs"][0]
    }

    /// Failures of a kind.
    pub(crate) fn errors(&self, kind: &str) -> u64 {
        self.run()["errors"][kind]["count"].as_u64().unwrap_or(0)
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Done {
        assert_eq!(
            self.code, code,
            "stdout: {}\nstderr: {}",
            self.stdout, self.stderr
        );
        self
    }
}

/// Runs the generator with a line of options.
pub(crate) fn load(line: &str) -> Done {
    load_words(&line.split_whitespace().collect::<Vec<_>>())
}

pub(crate) fn load_words(words: &[&str]) -> Done {
    let folder = Folder::new();
    let json = folder.file("out.json");
    let output = Command::new(env!("CARGO_BIN_EXE_ringdove-load"))
        .args(words)
        .args(["--json-out-file", &json, "--quiet"])
        .output()
        .expect("the binary");
    let text = std::fs::read_to_string(&json).unwrap_or_default();
    Done {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        json: serde_json::from_str(&text).unwrap_or(Value::Null),
    }
}
