//! Cluster mode: keys go to their nodes, redirections are followed.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::stub::{Act, Stub};
use crate::{Redis, load};

/// Two nodes, the first with a quarter of the slots, that know each other.
fn cluster_of_two() -> [Redis; 2] {
    let nodes = [
        Redis::start(&["--cluster-enabled", "yes"]),
        Redis::start(&["--cluster-enabled", "yes"]),
    ];
    assert_eq!(nodes[0].ask("CLUSTER ADDSLOTSRANGE 0 4095"), "+OK");
    assert_eq!(nodes[1].ask("CLUSTER ADDSLOTSRANGE 4096 16383"), "+OK");
    assert_eq!(nodes[1].ask("CLUSTER SET-CONFIG-EPOCH 2"), "+OK");
    meet(&nodes[0], &nodes[1]);
    wait_until("the cluster does not form", || {
        nodes.iter().all(|n| {
            n.ask("SET {probe} 1").starts_with(['+', '-'])
                && !n.ask("GET x").contains("CLUSTERDOWN")
        })
    });
    nodes
}

fn meet(one: &Redis, other: &Redis) {
    let line = format!("CLUSTER MEET 127.0.0.1 {}", other.port);
    assert_eq!(one.ask(&line), "+OK");
}

#[track_caller]
fn wait_until(otherwise: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !so() {
        assert!(Instant::now() < until, "{otherwise}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn keys_go_to_the_nodes_of_a_real_cluster() {
    let nodes = cluster_of_two();
    let done = load(&format!(
        "-s 127.0.0.1 -p {} --cluster-mode -t 2 -c 2 -n 1000 --pipeline 4 --ratio 1:1 --key-maximum 5000 --verify",
        nodes[0].port
    ))
    .expect(0);
    let by_node = done.run()["nodes"].as_object().expect("nodes");
    assert_eq!(by_node.len(), 2, "{by_node:?}");
    let share = by_node[&format!("127.0.0.1:{}", nodes[0].port)]
        .as_u64()
        .expect("a count");
    assert!(
        (700..1300).contains(&share),
        "a quarter of 4000, got {share}"
    );
    assert!(nodes.iter().all(|n| n.keys() > 100));
    assert!(done.stdout.contains("Node 127.0.0.1:"));
}

#[test]
fn a_dead_node_is_replaced_by_its_replica() {
    let [first, mut second] = cluster_of_two();
    let replica = Redis::start(&["--cluster-enabled", "yes"]);
    meet(&replica, &first);
    let second_id = second.ask_bulk("CLUSTER MYID");
    wait_until("the replica does not follow", || {
        replica.ask(&format!("CLUSTER REPLICATE {second_id}")) == "+OK"
    });
    wait_until("the replica does not follow", || {
        replica
            .ask_bulk("INFO replication")
            .contains("master_link_status:up")
    });
    wait_until("the first node does not hear of the replica", || {
        let slots = first.ask_bulk("CLUSTER NODES");
        slots.contains("slave") && !slots.contains("handshake")
    });
    let line = format!(
        "-s 127.0.0.1 -p {} --cluster-mode -t 1 -c 4 -n 5000 --rate 5000 --ratio 1:0 \
         --key-minimum 1 --key-maximum 500 --reconnect",
        first.port
    );
    let running = std::thread::spawn(move || load(&line));
    wait_until("no requests", || second.keys() > 10);
    second.kill();
    wait_until("no takeover", || {
        replica.ask("CLUSTER FAILOVER TAKEOVER") == "+OK"
    });
    // What was under way at the death is lost and counted.
    let done = running.join().expect("a run").expect(1);
    let lost = done.errors("server-gone");
    assert!(lost > 0, "{}", done.run()["errors"]);
    let sets = done.count("Sets");
    assert!((19_000..20_000).contains(&sets), "{sets} of 20000");
    // And the probe.
    assert_eq!(first.keys() + replica.keys(), 500 + 1);
    let by_node = done.run()["nodes"].as_object().expect("nodes");
    let by_replica = by_node[&format!("127.0.0.1:{}", replica.port)].as_u64();
    assert!(by_replica.is_some_and(|n| n > 1000), "{by_node:?}");
}

/// CRC16 of the key, bit by bit: the generator has a table, and must not test itself.
fn slot(key: &[u8]) -> u16 {
    let mut crc = 0u16;
    for byte in key {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 != 0 {
                (crc << 1) ^ 0x1021
            } else {
                crc << 1
            };
        }
    }
    crc % 16384
}

#[test]
fn moved_and_ask_are_followed() {
    let asked = Arc::new(Mutex::new(HashSet::new()));
    let keys_of_second = Arc::new(Mutex::new(0u64));
    let (asking, count) = (Arc::clone(&asked), Arc::clone(&keys_of_second));
    // The second node has the upper slots, and is about to get slots 0 to 4095.
    let second = Stub::start(move |words| {
        let thread = std::thread::current().id();
        if words[0] == b"ASKING" {
            asking.lock().expect("a set").insert(thread);
            return Act::Reply(b"+OK\r\n".to_vec());
        }
        let was_asked = asking.lock().expect("a set").remove(&thread);
        if slot(&words[1]) < 4096 && !was_asked {
            return Act::Reply(b"-ERR not mine, and nobody asked\r\n".to_vec());
        }
        *count.lock().expect("a count") += 1;
        Act::Reply(b"+OK\r\n".to_vec())
    });
    let to = second.port;
    let own_port = Arc::new(Mutex::new(0u16));
    let port_to_tell = Arc::clone(&own_port);
    // The first still says that it has all.
    let first = Stub::start(move |words| {
        if words[0] == b"CLUSTER" {
            let port = *port_to_tell.lock().expect("the port");
            let text = format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n");
            return Act::Reply(text.into_bytes());
        }
        let reply = match slot(&words[1]) {
            slot @ 0..4096 => format!("-ASK {slot} 127.0.0.1:{to}\r\n"),
            4096..8192 => "+OK\r\n".to_string(),
            slot => format!("-MOVED {slot} 127.0.0.1:{to}\r\n"),
        };
        Act::Reply(reply.into_bytes())
    });
    *own_port.lock().expect("the port") = first.port;
    let done = load(&format!(
        "-s 127.0.0.1 -p {} --cluster-mode -t 1 -c 3 -n 400 --pipeline 3 --ratio 1:0 --key-maximum 999",
        first.port
    ))
    .expect(0);
    assert_eq!(done.count("Sets"), 1200);
    let run = done.run();
    assert!(
        run["asked"].as_u64().is_some_and(|n| n > 200),
        "{}",
        run["asked"]
    );
    let moved = run["moved"].as_u64().expect("a count");
    assert!(
        (300..=700).contains(&moved),
        "each slot moves once for the thread, or a little more: {moved}"
    );
    let second_keys = *keys_of_second.lock().expect("a count");
    assert!(
        (800..1000).contains(&second_keys),
        "three quarters of 1200, got {second_keys}"
    );
}
