//! Transport between shards, without words of the domain: for each ordered pair of shards one
//! bounded single-producer single-consumer ring of batches, and a flag that tells whether the
//! receiving shard sleeps.
//!
//! A batch is a buffer that the sender fills during one turn of its loop. It crosses as a pointer,
//! is read in place by the receiver and goes back to the sender empty through a second ring, so
//! memory is freed and reused where it was allocated.
pub mod ring;

#[cfg(loom)]
use loom::sync::{
    Arc,
    atomic::{AtomicBool, Ordering, fence},
};
#[cfg(not(loom))]
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering, fence},
};

use ring::{Consumer, Producer, ring};

/// The number of a shard, from 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct ShardId(pub u16);

impl ShardId {
    /// As an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Batches in flight from one shard to another, at most. When full, the sender goes on filling the
/// batch it has, and the connections that fill it are held back.
pub const BATCHES_MAX: usize = 64;
/// A returned batch buffer larger than this is freed instead of reused.
const REUSE_BYTES_MAX: usize = 256 * 1024;

/// One shard's end of the lane to one other shard, and of the lane back.
pub struct Lane {
    to_peer: Producer<Vec<u8>>,
    from_peer: Consumer<Vec<u8>>,
    /// Empty buffers coming home.
    home: Consumer<Vec<u8>>,
    /// Where the peer's buffers go home.
    give_back: Producer<Vec<u8>>,
    peer_asleep: Arc<AtomicBool>,
}

impl Lane {
    /// Hands `batch` over if there is room, and leaves an empty buffer in its place.
    /// Whether it was handed over.
    pub fn send(&mut self, batch: &mut Vec<u8>) -> bool {
        if !self.to_peer.has_room() {
            return false;
        }
        let fresh = self.home.pop().unwrap_or_default();
        let sent = self.to_peer.push(std::mem::replace(batch, fresh));
        assert!(sent.is_ok(), "room was there and nobody else pushes");
        true
    }

    /// Takes the next batch that the peer has handed over.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        self.from_peer.pop()
    }

    /// Sends a batch that was received back to its owner.
    pub fn give_back(&mut self, mut batch: Vec<u8>) {
        if batch.capacity() > REUSE_BYTES_MAX {
            return;
        }
        batch.clear();
        let _ = self.give_back.push(batch); // a full ring means that the owner has plenty
    }

    /// Whether a batch waits here.
    pub fn has_inbound(&self) -> bool {
        !self.from_peer.is_empty()
    }

    /// Whether the peer sleeps and must be woken; clears its flag, so only one doorbell rings.
    ///
    /// The fence pairs with the one in [`Bedside::going_to_sleep`]: either the peer sees the batch
    /// before it sleeps, or its flag is seen here.
    pub fn must_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.peer_asleep.load(Ordering::Relaxed) && self.peer_asleep.swap(false, Ordering::AcqRel)
    }
}

/// Where a shard says that it sleeps.
pub struct Bedside(Arc<AtomicBool>);

impl Bedside {
    /// To be called before the last look at the lanes.
    pub fn going_to_sleep(&self) {
        self.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// To be called when awake again.
    pub fn awake(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// What one shard needs of the mesh.
pub struct Endpoint {
    /// A lane to each other shard; none at the shard's own index.
    pub lanes: Vec<Option<Lane>>,
    /// The shard's own sleep flag.
    pub bedside: Bedside,
}

/// The ends of a mesh between `shards` shards, in order.
pub fn mesh(shards: usize) -> Vec<Endpoint> {
    let flags: Vec<_> = (0..shards)
        .map(|_| Arc::new(AtomicBool::new(false)))
        .collect();
    let mut grid: Vec<Vec<Option<Lane>>> = (0..shards)
        .map(|_| (0..shards).map(|_| None).collect())
        .collect();
    for a in 0..shards {
        for b in a + 1..shards {
            let (ab, ab_end) = ring(BATCHES_MAX);
            let (ba, ba_end) = ring(BATCHES_MAX);
            let (a_home, a_home_end) = ring(BATCHES_MAX);
            let (b_home, b_home_end) = ring(BATCHES_MAX);
            grid[a][b] = Some(Lane {
                to_peer: ab,
                from_peer: ba_end,
                home: a_home_end,
                give_back: b_home,
                peer_asleep: flags[b].clone(),
            });
            grid[b][a] = Some(Lane {
                to_peer: ba,
                from_peer: ab_end,
                home: b_home_end,
                give_back: a_home,
                peer_asleep: flags[a].clone(),
            });
        }
    }
    grid.into_iter()
        .zip(flags)
        .map(|(lanes, flag)| Endpoint {
            lanes,
            bedside: Bedside(flag),
        })
        .collect()
}

#[cfg(all(test, loom))]
mod interleavings {
    use super::*;
    use loom::thread;

    /// A shard that sees nothing on its last look and sleeps is woken by whoever sends.
    #[test]
    fn nobody_sleeps_over_a_batch() {
        loom::model(|| {
            let mut ends = mesh(2);
            let mut receiver = ends.pop().expect("two");
            let mut sender = ends.pop().expect("two");
            let sending = thread::spawn(move || {
                let lane = sender.lanes[1].as_mut().expect("a lane");
                assert!(lane.send(&mut vec![1]));
                lane.must_wake()
            });
            receiver.bedside.going_to_sleep();
            let lane = receiver.lanes[0].as_mut().expect("a lane");
            let sleeps = !lane.has_inbound();
            let woken = sending.join().expect("there is room");
            assert!(!sleeps || woken, "it sleeps and nobody wakes it");
            assert_eq!(lane.receive(), Some(vec![1]));
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn batches_cross_in_order_and_buffers_come_home() {
        let mut ends = mesh(2);
        let mut b = ends.pop().expect("two");
        let mut a = ends.pop().expect("two");
        let (to_b, to_a) = (
            a.lanes[1].as_mut().expect("lane"),
            b.lanes[0].as_mut().expect("lane"),
        );
        for round in 0..200u8 {
            let mut batch = vec![round];
            assert!(to_b.send(&mut batch));
            assert!(batch.is_empty());
            let got = to_a.receive().expect("sent");
            assert_eq!(got, [round]);
            to_a.give_back(got);
        }
        let mut full = 0;
        while to_b.send(&mut vec![1]) {
            full += 1;
        }
        assert_eq!(full, BATCHES_MAX);
    }

    #[test]
    fn a_sleeper_is_woken_once() {
        let ends = mesh(2);
        let lane = ends[0].lanes[1].as_ref().expect("lane");
        assert!(!lane.must_wake());
        ends[1].bedside.going_to_sleep();
        assert!(lane.must_wake());
        assert!(!lane.must_wake());
    }
}
