//! Verify mode finds what is planted, and nothing where nothing is.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::stub::{Act, Stub, bulk};
use crate::{Done, Folder, Redis, load};

fn faults(done: &Done, name: &str) -> u64 {
    done.json["ringdove-load"]["verify"][name]
        .as_u64()
        .expect("verify's counts")
}

#[test]
fn an_honest_server_has_no_faults() {
    let redis = Redis::start(&[]);
    let done = load(&format!(
        "-p {} -t 2 -c 4 -n 2000 --pipeline 8 --ratio 1:2 --verify --key-maximum 300 --data-size-range 1-500",
        redis.port
    ))
    .expect(0);
    for name in ["wrong", "stale", "lost", "invented"] {
        assert_eq!(faults(&done, name), 0, "{name}");
    }
    assert!(faults(&done, "checked") > 10_000);
}

/// A server that stores, but spoils every 40th GET in its way.
fn spoiling(spoil: impl Fn(&[Vec<u8>]) -> Option<Vec<u8>> + Send + Sync + 'static) -> Stub {
    let store: Mutex<HashMap<Vec<u8>, Vec<Vec<u8>>>> = Mutex::default();
    let gets = AtomicU64::new(0);
    Stub::start(move |words| {
        let mut store = store.lock().expect("the store");
        let versions = store.entry(words[1].clone()).or_default();
        if words[0] == b"SET" {
            versions.push(words[2].clone());
            return Act::Reply(b"+OK\r\n".to_vec());
        }
        let spoiled = gets.fetch_add(1, Ordering::SeqCst) % 40 == 39 && versions.len() > 1;
        let value = if spoiled {
            spoil(versions)
        } else {
            versions.last().cloned()
        };
        Act::Reply(value.map_or_else(|| b"$-1\r\n".to_vec(), |v| bulk(&v)))
    })
}

fn planted(name: &str, stub: &Stub) {
    let done = load(&format!(
        "-p {} -t 1 -c 3 -n 1000 --ratio 1:1 --verify --key-maximum 20 -d 64",
        stub.port
    ))
    .expect(4);
    assert!(
        faults(&done, name) >= 10,
        "{name}: {}",
        done.json["ringdove-load"]["verify"]
    );
    for other in ["wrong", "stale", "lost", "invented"] {
        assert!(other == name || faults(&done, other) == 0, "{other}");
    }
    assert!(
        done.stdout.contains(&format!("{name} key ")),
        "{}",
        done.stdout
    );
}

#[test]
fn stale_values_are_found() {
    planted(
        "stale",
        &spoiling(|versions| Some(versions[versions.len() - 2].clone())),
    );
}

#[test]
fn lost_values_are_found() {
    planted("lost", &spoiling(|_| None));
}

#[test]
fn flipped_bits_are_found() {
    planted(
        "wrong",
        &spoiling(|versions| {
            let mut value = versions[versions.len() - 1].clone();
            value[50] ^= 4;
            Some(value)
        }),
    );
}

#[test]
fn a_lost_acknowledged_write_shows_after_a_restart() {
    let redis = Redis::start(&[]);
    let folder = Folder::new();
    let state = folder.file("state");
    let common = format!(
        "-p {} -t 1 -c 2 --key-minimum 1 --key-maximum 100",
        redis.port
    );
    load(&format!(
        "{common} --verify --preload -n 50 --verify-state {state}"
    ))
    .expect(0);
    let done = load(&format!("{common} --verify-only --verify-state {state}")).expect(0);
    assert_eq!(faults(&done, "checked"), 100);
    redis.ask("DEL memtier-17");
    redis.ask("SET memtier-18 nonsense");
    let done = load(&format!("{common} --verify-only --verify-state {state}")).expect(4);
    assert_eq!((faults(&done, "lost"), faults(&done, "wrong")), (1, 1));
}
