//! A bystander: one client that asks for a key again and again while something else goes on, and
//! says how long its answers took.
use crate::{Conn, Server, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A bystander waits for at least so many answers, however short the rest took.
const ANSWERS_MIN: usize = 20;

/// What a bystander saw.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// Requests answered.
    pub count: usize,
    /// Half of the answers came within this time.
    pub median: Duration,
    /// 99 of 100 answers came within this time.
    pub p99: Duration,
    /// The slowest answer.
    pub max: Duration,
}

/// A thread that sends GET and waits for the answer, with a millisecond between two.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Duration>>>,
}

impl Watch {
    /// Starts watching; `keys` are asked for in turn, so that every shard can be among them.
    pub fn start(server: &Server, keys: usize) -> Self {
        let mut conn = server.connect();
        for key in 0..keys {
            let name = format!("bystander:{key}");
            assert_eq!(conn.call(&["SET", &name, "here"]), Value::ok());
        }
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || watch(&mut conn, keys, &told));
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// Stops and says what was seen. Fails where an answer was wrong.
    pub fn stop(mut self) -> Latency {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("stopped once");
        let mut times = thread.join().expect("the bystander was served");
        assert!(!times.is_empty(), "the bystander was never answered");
        times.sort_unstable();
        let at = |share: usize| times[(times.len() - 1) * share / 100];
        Latency {
            count: times.len(),
            median: at(50),
            p99: at(99),
            max: *times.last().expect("not empty"),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn watch(conn: &mut Conn, keys: usize, stop: &AtomicBool) -> Vec<Duration> {
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) || times.len() < ANSWERS_MIN {
        let name = format!("bystander:{}", times.len() % keys);
        let start = Instant::now();
        let reply = conn.call(&["GET", &name]);
        times.push(start.elapsed());
        assert_eq!(reply, Value::bulk("here"), "the bystander's GET");
        std::thread::sleep(Duration::from_millis(1));
    }
    times
}
