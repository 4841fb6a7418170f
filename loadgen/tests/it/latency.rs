//! Latencies against servers whose delays are known, coordinated omission included.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::load;
use crate::stub::{Act, Stub};

const OK: &[u8] = b"+OK\r\n";

/// Runs a check of times up to three times: a neighbour on the CPU can spoil one, but hardly three.
fn patiently(check: impl Fn() + std::panic::RefUnwindSafe) {
    for _ in 0..2 {
        if std::panic::catch_unwind(&check).is_ok() {
            return;
        }
    }
    check();
}

/// Milliseconds at a percentile of the totals.
fn percentile(done: &crate::Done, name: &str) -> f64 {
    let lines = done.run()["lines"].as_array().expect("lines");
    lines[lines.len() - 1]["percentiles"][name]
        .as_f64()
        .expect("a percentile")
}

#[test]
fn a_fixed_delay_is_what_is_reported() {
    patiently(|| {
        let stub = Stub::start(|_| Act::ReplyLater(Duration::from_millis(20), OK.to_vec()));
        let port = stub.port;
        let done = load(&format!(
            "-p {port} -t 1 -c 2 -n 25 --ratio 1:0 --print-percentiles 10,50,90"
        ))
        .expect(0);
        assert_eq!(done.count("Sets"), 50);
        for name in ["p10", "p50"] {
            let ms = percentile(&done, name);
            assert!((20.0..24.0).contains(&ms), "{name}: {ms} ms");
        }
    });
}

#[test]
fn known_shares_of_slow_requests_land_at_their_percentiles() {
    patiently(|| {
        // Nine in ten at once, one in ten after 30 ms: p85 is fast, p95 slow.
        let number = AtomicU64::new(0);
        let stub = Stub::start(move |_| match number.fetch_add(1, Ordering::SeqCst) % 10 {
            9 => Act::ReplyLater(Duration::from_millis(30), OK.to_vec()),
            _ => Act::Reply(OK.to_vec()),
        });
        let port = stub.port;
        let done = load(&format!(
            "-p {port} -t 1 -c 1 -n 300 --ratio 1:0 --print-percentiles 80,95"
        ))
        .expect(0);
        assert!(percentile(&done, "p80") < 10.0);
        let slow = percentile(&done, "p95");
        assert!((30.0..36.0).contains(&slow), "{slow} ms");
    });
}

/// Answers at once, but stands still for half a second at the 200th request.
fn stalling() -> Stub {
    let number = AtomicU64::new(0);
    Stub::start(move |_| match number.fetch_add(1, Ordering::SeqCst) {
        200 => Act::ReplyLater(Duration::from_millis(500), OK.to_vec()),
        _ => Act::Reply(OK.to_vec()),
    })
}

#[test]
fn a_stall_counts_for_all_requests_that_were_due() {
    patiently(|| {
        // 1000 per second for 1.5 s over one connection: a stall of 0.5 s delays the 500 that were due
        // in it, by 500 ms down to nothing. So about 400 of 1500 wait over 100 ms: p73 and above.
        let stub = stalling();
        let port = stub.port;
        let done = load(&format!(
        "-p {port} -t 1 -c 1 --rate 1000 --test-time 1.5 --ratio 1:0 --print-percentiles 60,80,90,100"
    ))
    .expect(0);
        let requests = done.count("Sets");
        assert!((1450..=1501).contains(&requests), "{requests}");
        assert!(
            percentile(&done, "p60") < 60.0,
            "{}",
            percentile(&done, "p60")
        );
        // The slowest 20 % wait from 500 ms down to 200, the slowest 10 % down to 350.
        let p80 = percentile(&done, "p80");
        assert!((150.0..270.0).contains(&p80), "p80 {p80}");
        let p90 = percentile(&done, "p90");
        assert!((300.0..420.0).contains(&p90), "p90 {p90}");
        assert!((495.0..560.0).contains(&percentile(&done, "p100")));
    });
}

#[test]
fn a_closed_loop_sees_the_stall_once() {
    patiently(|| {
        let stub = stalling();
        let port = stub.port;
        let done = load(&format!(
            "-p {port} -t 1 -c 1 -n 1500 --ratio 1:0 --print-percentiles 60,99,100"
        ))
        .expect(0);
        assert!(percentile(&done, "p99") < 50.0, "one slow request in 1500");
        assert!(percentile(&done, "p100") >= 500.0);
    });
}

#[test]
fn rates_are_kept_with_both_kinds_of_arrivals() {
    patiently(|| {
        let stub = Stub::start(|_| Act::Reply(OK.to_vec()));
        let port = stub.port;
        for arrivals in ["constant", "poisson"] {
            let done = load(&format!(
                "-p {port} -t 2 -c 4 --rate 2000 --arrivals {arrivals} --test-time 1 --ratio 1:0"
            ))
            .expect(0);
            let requests = done.count("Sets") as f64;
            let noise = if arrivals == "poisson" { 180.0 } else { 40.0 };
            assert!((requests - 2000.0).abs() < noise, "{arrivals}: {requests}");
        }
        let limited = load(&format!(
            "-p {port} -t 1 -c 4 --rate-limiting 100 --test-time 1"
        ))
        .expect(0);
        assert!(limited.count("Totals").abs_diff(400) < 12);
    });
}

#[test]
fn the_knee_of_a_server_with_a_known_limit_is_found() {
    patiently(|| {
        // One request at a time, 2 ms each: no more than 500 per second can be had.
        let turn = std::sync::Mutex::new(());
        let stub = Stub::start(move |_| {
            let _turn = turn.lock().expect("a turn");
            std::thread::sleep(Duration::from_millis(2));
            Act::Reply(OK.to_vec())
        });
        let port = stub.port;
        let done = load(&format!(
            "-p {port} -t 1 -c 8 --slo p90<40ms --rate-start 100 --step-time 0.4 --ratio 1:0"
        ))
        .expect(0);
        let search = &done.json["ringdove-load"]["search"];
        let best = search["highest rate"].as_f64().expect("a rate");
        assert!((200.0..=520.0).contains(&best), "{search}");
        assert!(done.stdout.contains("Highest rate"));
    });
}
