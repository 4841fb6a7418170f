//! What goes wrong is counted by kind, and told by the exit code.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::stub::{Act, Stub};
use crate::{Redis, free_port, load};

#[test]
fn a_refused_connection_ends_with_its_code() {
    let port = free_port();
    let done = load(&format!("-s 127.0.0.1 -p {port} -t 1 -c 1 -n 1")).expect(3);
    assert!(done.stderr.contains("refused"), "{}", done.stderr);
}

#[test]
fn wrong_command_lines_name_the_option() {
    let done = load("--no-such-option").expect(2);
    assert!(done.stderr.contains("--no-such-option"));
    let done = load("--data-import x").expect(2);
    assert!(done.stderr.contains("--data-import"));
}

#[test]
fn wrong_and_missing_passwords_are_told() {
    let redis = Redis::start(&["--requirepass", "secret"]);
    let port = redis.port;
    let done = load(&format!("-p {port} -t 1 -c 1 -n 1")).expect(3);
    assert!(
        done.stderr.contains("auth: ") && done.stderr.contains("NOAUTH"),
        "{}",
        done.stderr
    );
    let done = load(&format!("-p {port} -t 1 -c 1 -n 1 -a wrong")).expect(3);
    assert!(done.stderr.contains("auth: "), "{}", done.stderr);
    load(&format!("-p {port} -t 1 -c 1 -n 10 -a secret")).expect(0);
    load(&format!(
        "-p {port} -t 1 -c 1 -n 10 -a default:secret -P resp3"
    ))
    .expect(0);
}

#[test]
fn oom_replies_are_counted() {
    let redis = Redis::start(&["--maxmemory", "1mb", "--maxmemory-policy", "noeviction"]);
    let done = load(&format!(
        "-p {} -t 1 -c 2 -n 100 --ratio 1:0 -d 10000",
        redis.port
    ))
    .expect(1);
    assert!(done.errors("oom") > 50, "{}", done.run()["errors"]);
    assert!(done.stdout.contains("oom"));
    assert_eq!(done.count("Sets"), 200);
}

#[test]
fn a_server_of_another_protocol_is_told_apart() {
    let stub = Stub::start(|_| Act::Reply(b"HTTP/1.1 400 Bad Request\r\n".to_vec()));
    let done = load(&format!("-p {} -t 1 -c 3 -n 5", stub.port)).expect(5);
    assert_eq!(done.errors("protocol"), 3, "{}", done.run()["errors"]);
}

#[test]
fn a_vanished_server_ends_the_run() {
    let number = AtomicU64::new(0);
    let stub = Stub::start(move |_| match number.fetch_add(1, Ordering::SeqCst) {
        0..50 => Act::Reply(b"+OK\r\n".to_vec()),
        _ => Act::Close,
    });
    let done = load(&format!("-p {} -t 2 -c 2 -n 1000", stub.port)).expect(5);
    assert_eq!(
        done.errors("server-gone"),
        4,
        "one for each client: {}",
        done.run()["errors"]
    );
}

#[test]
fn reconnect_goes_on_after_losses() {
    let number = AtomicU64::new(0);
    let stub = Stub::start(move |_| match number.fetch_add(1, Ordering::SeqCst) % 50 {
        49 => Act::Close,
        _ => Act::Reply(b"+OK\r\n".to_vec()),
    });
    let done = load(&format!("-p {} -t 1 -c 2 -n 200 --reconnect", stub.port)).expect(1);
    let gone = done.errors("server-gone");
    assert!((6..=9).contains(&gone), "{gone}");
    assert_eq!(done.count("Totals") + gone, 400);
    assert!(done.run()["reconnects"].as_u64().is_some_and(|n| n >= 6));
}

#[test]
fn silence_is_a_timeout() {
    let number = AtomicU64::new(0);
    let stub = Stub::start(move |_| match number.fetch_add(1, Ordering::SeqCst) {
        0..10 => Act::Reply(b"+OK\r\n".to_vec()),
        _ => Act::Silence,
    });
    let done = load(&format!(
        "-p {} -t 1 -c 1 -n 100 --pipeline 5 --request-timeout 300",
        stub.port
    ))
    .expect(5);
    assert_eq!(done.errors("timeout"), 5, "{}", done.run()["errors"]);
    assert_eq!(done.count("Totals"), 10);
}

#[test]
fn reconnect_interval_spreads_requests_over_connections() {
    let redis = Redis::start(&[]);
    let done = load(&format!(
        "-p {} -t 1 -c 2 -n 100 --reconnect-interval 10",
        redis.port
    ))
    .expect(0);
    assert_eq!(done.count("Totals"), 200);
    assert_eq!(done.run()["reconnects"], 18);
}

#[test]
fn a_server_that_comes_back_is_used_again() {
    let mut redis = Redis::start(&[]);
    let port = redis.port;
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(400));
        redis.kill();
        std::thread::sleep(Duration::from_millis(300));
        let mut child = std::process::Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--save",
                "",
                "--bind",
                "127.0.0.1",
            ])
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("redis-server");
        std::thread::sleep(Duration::from_millis(1200));
        let _ = child.kill();
        let _ = child.wait();
    });
    let done = load(&format!(
        "-s 127.0.0.1 -p {port} -t 1 -c 4 --test-time 1.6 --reconnect"
    ));
    killer.join().expect("the other thread");
    assert_eq!(done.code, 1, "{}", done.stderr);
    assert!(
        done.errors("refused") > 0 && done.errors("server-gone") > 0,
        "{}",
        done.run()["errors"]
    );
    let points = done.run()["series"]["points"].as_array().expect("points");
    let last = points
        .iter()
        .rev()
        .find(|p| p["at"].as_f64() < Some(1.5))
        .expect("a point");
    assert!(
        last["rate"].as_f64() > Some(100.0),
        "requests again after the pause: {last}"
    );
}
