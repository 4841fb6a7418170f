//! A connection is named as the one that hears for another's cache while it is between two shards.

use std::sync::Arc;

use super::{SHARDS, World};
use crate::net::session::Peer;

/// The client that moves, and is to hear.
const TARGET: usize = 0;

impl World {
    /// Has the target leave for a shard where it does not arrive yet.
    fn send_off(&mut self, to: usize) {
        for engine in &mut self.engines {
            Arc::make_mut(&mut engine.shard.config).connection_migration = true;
            engine.migration.window = 4;
        }
        let gets = format!("GET {}\r\n", self.key_of(to)).repeat(4);
        for _ in 0..100 {
            self.set_clocks(self.engines[0].shard.now_ms + 200);
            self.send_text(TARGET, &gets);
            for (a, b) in (0..SHARDS * SHARDS).map(|n| (n / SHARDS, n % SHARDS)) {
                while !self.clients[TARGET].away && !self.lanes[a][b].is_empty() {
                    self.deliver(a, b);
                }
            }
            if self.clients[TARGET].away {
                self.clients[TARGET].received.clear();
                return;
            }
        }
        panic!("it goes where its keys are");
    }

    /// Delivers everything but what goes from the target's old shard to its new one.
    fn deliver_but(&mut self, from: usize, to: usize) {
        loop {
            (0..SHARDS).for_each(|at| self.end_turn(at));
            let all = (0..SHARDS * SHARDS).map(|n| (n / SHARDS, n % SHARDS));
            let lanes = &self.lanes;
            let next = all
                .filter(|lane| *lane != (from, to))
                .find(|(a, b)| !lanes[*a][*b].is_empty());
            let Some((a, b)) = next else { return };
            self.deliver(a, b);
        }
    }

    /// Delivers everything.
    fn deliver_all(&mut self) {
        self.deliver_but(SHARDS, SHARDS);
    }

    /// What a client was sent.
    fn heard(&mut self, at: usize) -> String {
        String::from_utf8(std::mem::take(&mut self.clients[at].received)).expect("text")
    }
}

/// Whoever names it, wherever the key is that changes: it hears of each change once, as soon as it is
/// there, and of what comes later at once. When it has gone, that is told.
#[test]
fn a_target_between_two_shards_is_found_and_hears() {
    for n in 0..2 * SHARDS * SHARDS * 2 {
        let (to, tracker_home, key_owner) = (1 + n % 2, n / 2 % SHARDS, n / 6 % SHARDS);
        let options = ["", "BCAST "][n / 18];
        let case = format!("to {to}, from {tracker_home}, key of {key_owner}, {options}");
        // The first three are at home on the three shards, and so are the others.
        let mut world = World::new(n as u64, 2 * SHARDS);
        let (tracker, other) = (SHARDS + tracker_home, 1);
        assert_eq!(world.clients[tracker].home, tracker_home);
        world.send_text(TARGET, "HELLO 3\r\n");
        let key = format!("{{{}}}tracked", world.key_of(key_owner));
        world.send_off(to);
        let id = world.clients[TARGET].id;
        world.send_text(
            tracker,
            &format!("CLIENT TRACKING ON {options}REDIRECT {id}\r\nGET {key}\r\n"),
        );
        world.deliver_but(0, to);
        let told = world.heard(tracker);
        // Who broadcasts hears it from all shards, and that may go the same way as the target.
        let asks_nobody = options.is_empty() || tracker_home != 0 && tracker_home != to;
        assert!(
            told.starts_with("+OK\r\n") || !asks_nobody,
            "{case}: {told}"
        );
        assert!(world.clients[TARGET].away, "{case}");
        world.send_text(other, &format!("SET {key} 1\r\n"));
        world.deliver_but(0, to);
        assert_eq!(world.heard(TARGET), "", "{case}: it is not there yet");
        world.deliver_all();
        assert!(!world.clients[TARGET].away && world.clients[TARGET].home == to);
        let push = format!(
            ">2\r\n$10\r\ninvalidate\r\n*1\r\n${}\r\n{key}\r\n",
            key.len()
        );
        let heard = world.heard(TARGET);
        // What the owner is told behind the target it may hear after the change.
        let is_late = tracker_home == 0 && key_owner == to && heard.is_empty();
        assert!(heard == push || is_late, "{case}: {heard}");
        for _ in 0..3 {
            world.send_text(tracker, &format!("GET {key}\r\n"));
            world.deliver_all();
            world.send_text(other, &format!("SET {key} 2\r\n"));
            world.deliver_all();
            assert_eq!(world.heard(TARGET), push, "{case}");
        }
        // It stays where it is, with all that it asks of another shard.
        let elsewhere = (to + 1) % SHARDS;
        let gets = format!("GET {}\r\n", world.key_of(elsewhere)).repeat(4);
        for _ in 0..20 {
            world.set_clocks(world.engines[0].shard.now_ms + 100_000);
            world.send_text(TARGET, &gets);
            world.deliver_all();
            world.heard(TARGET);
            assert!(world.clients[TARGET].home == to && !world.clients[TARGET].away);
        }
        let conn = world.clients[TARGET].conn.take().expect("it is there");
        world.engines[to].disconnected(conn);
        world.end_turn(to);
        world.send_text(tracker, &format!("GET {key}\r\n"));
        world.deliver_all();
        world.send_text(other, &format!("SET {key} 3\r\n"));
        world.deliver_all();
        let _ = world.heard(tracker);
        world.send_text(tracker, "CLIENT TRACKINGINFO\r\n");
        world.deliver_all();
        let info = world.heard(tracker);
        assert!(info.contains("broken_redirect"), "{case}: {info}");
    }
}

/// One that has gone is not found, between two shards or not.
#[test]
fn a_target_that_has_gone_is_not_found() {
    let mut world = World::new(1, 2 * SHARDS);
    world.send_off(1);
    world.deliver_all();
    let id = world.clients[TARGET].id;
    let conn = world.clients[TARGET].conn.take().expect("it is there");
    world.engines[1].disconnected(conn);
    world.end_turn(1);
    world.send_text(2, &format!("CLIENT TRACKING ON REDIRECT {id}\r\n"));
    world.deliver_all();
    let told = world.heard(2);
    assert!(told.contains("does not exist"), "{told}");
    // Those who come later are others.
    let conn = world.engines[1].connect(Peer::Unix("/late".into()), 3);
    assert_ne!(world.engines[1].session(conn).id, id);
}
