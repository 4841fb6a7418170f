//! A bounded single-producer single-consumer ring.
//!
//! Each side keeps its own position and a cached copy of the other's on a cache line of its own;
//! the other's line is read only when the cached copy says full or empty.
#![expect(
    unsafe_code,
    reason = "slots are shared between two threads and handed over by position"
)]

#[cfg(loom)]
use loom::{
    cell::UnsafeCell,
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
};
use std::mem::MaybeUninit;
#[cfg(not(loom))]
use std::{
    cell::UnsafeCell,
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Two cache lines: the hardware prefetcher fetches them in pairs.
#[repr(align(128))]
struct Line<T>(T);

struct Shared<T> {
    /// Next position to be read; written by the consumer.
    head: Line<AtomicUsize>,
    /// Next position to be written; written by the producer.
    tail: Line<AtomicUsize>,
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: a slot is touched by the producer only while tail - head leaves it free, and by the
// consumer only after tail has passed it; the positions are released and acquired.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above; what the ring owns may move with it.
unsafe impl<T: Send> Send for Shared<T> {}

/// The writing end.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    tail: usize,
    head_seen: usize,
}

/// The reading end.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    head: usize,
    tail_seen: usize,
}

/// A ring of `capacity` elements, a power of two.
pub fn ring<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(capacity.is_power_of_two(), "positions are masked");
    let shared = Arc::new(Shared {
        head: Line(AtomicUsize::new(0)),
        tail: Line(AtomicUsize::new(0)),
        slots: (0..capacity)
            .map(|_| UnsafeCell::new(MaybeUninit::uninit()))
            .collect(),
    });
    (
        Producer {
            shared: shared.clone(),
            tail: 0,
            head_seen: 0,
        },
        Consumer {
            shared,
            head: 0,
            tail_seen: 0,
        },
    )
}

impl<T> Producer<T> {
    /// Whether a push will succeed.
    pub fn has_room(&mut self) -> bool {
        let capacity = self.shared.slots.len();
        if self.tail - self.head_seen < capacity {
            return true;
        }
        self.head_seen = self.shared.head.0.load(Ordering::Acquire);
        assert!(
            self.tail - self.head_seen <= capacity,
            "the consumer never passes the producer"
        );
        self.tail - self.head_seen < capacity
    }

    /// Appends `value`, or gives it back when the ring is full.
    pub fn push(&mut self, value: T) -> Result<(), T> {
        if !self.has_room() {
            return Err(value);
        }
        let slot = &self.shared.slots[self.tail & (self.shared.slots.len() - 1)];
        write_slot(slot, value);
        self.tail += 1;
        self.shared.tail.0.store(self.tail, Ordering::Release);
        Ok(())
    }
}

impl<T> Consumer<T> {
    /// Takes the oldest element.
    pub fn pop(&mut self) -> Option<T> {
        if self.head == self.tail_seen {
            self.tail_seen = self.shared.tail.0.load(Ordering::Acquire);
            if self.head == self.tail_seen {
                return None;
            }
        }
        assert!(
            self.tail_seen - self.head <= self.shared.slots.len(),
            "never more than fits"
        );
        let value = take_slot(&self.shared.slots[self.head & (self.shared.slots.len() - 1)]);
        self.head += 1;
        self.shared.head.0.store(self.head, Ordering::Release);
        Some(value)
    }

    /// Whether nothing waits now.
    pub fn is_empty(&self) -> bool {
        self.head == self.tail_seen && self.head == self.shared.tail.0.load(Ordering::Acquire)
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

#[cfg(not(loom))]
fn write_slot<T>(slot: &UnsafeCell<MaybeUninit<T>>, value: T) {
    // SAFETY: the position is free (checked by the caller) and only the one producer writes.
    unsafe { (*slot.get()).write(value) };
}

#[cfg(not(loom))]
fn take_slot<T>(slot: &UnsafeCell<MaybeUninit<T>>) -> T {
    // SAFETY: the producer has published this position and the one consumer reads it once.
    unsafe { (*slot.get()).assume_init_read() }
}

#[cfg(loom)]
fn write_slot<T>(slot: &UnsafeCell<MaybeUninit<T>>, value: T) {
    // SAFETY: as in the ordinary build; loom checks it.
    slot.with_mut(|p| unsafe { (*p).write(value) });
}

#[cfg(loom)]
fn take_slot<T>(slot: &UnsafeCell<MaybeUninit<T>>) -> T {
    // SAFETY: as in the ordinary build; loom checks it.
    slot.with(|p| unsafe { (*p).assume_init_read() })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn everything_arrives_once_and_in_order() {
        let (mut producer, mut consumer) = ring::<Box<usize>>(8);
        let sender = std::thread::spawn(move || {
            for n in 0..100_000 {
                let mut value = Box::new(n);
                while let Err(back) = producer.push(value) {
                    value = back;
                    std::thread::yield_now();
                }
            }
        });
        for n in 0..100_000 {
            let got = loop {
                match consumer.pop() {
                    Some(value) => break value,
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!(*got, n);
        }
        assert!(sender.join().is_ok());
    }

    #[test]
    fn what_was_not_taken_is_dropped() {
        let probe = Arc::new(());
        let (mut producer, consumer) = ring(4);
        for _ in 0..3 {
            assert!(producer.push(probe.clone()).is_ok());
        }
        drop(producer);
        drop(consumer);
        assert_eq!(Arc::strong_count(&probe), 1);
    }
}

#[cfg(all(test, loom))]
mod interleavings {
    use super::*;
    use loom::thread;

    /// Everything arrives once and in order however the two threads interleave, with a ring that
    /// gets full.
    #[test]
    fn what_is_pushed_arrives() {
        loom::model(|| {
            let (mut producer, mut consumer) = ring::<Box<usize>>(2);
            let sender = thread::spawn(move || {
                for n in 0..3 {
                    let mut value = Box::new(n);
                    while let Err(back) = producer.push(value) {
                        value = back;
                        thread::yield_now();
                    }
                }
            });
            for n in 0..3 {
                let got = loop {
                    match consumer.pop() {
                        Some(value) => break value,
                        None => thread::yield_now(),
                    }
                };
                assert_eq!(*got, n);
            }
            assert!(consumer.is_empty());
            sender.join().expect("it asserts nothing");
        });
    }

    /// What was pushed and not popped is dropped once, whoever goes first (loom counts the leaks).
    #[test]
    fn what_is_left_is_dropped() {
        loom::model(|| {
            let (mut producer, mut consumer) = ring::<Arc<()>>(2);
            let probe = Arc::new(());
            let pushed = probe.clone();
            let sender = thread::spawn(move || {
                assert!(producer.push(pushed.clone()).is_ok());
                assert!(producer.push(pushed).is_ok());
            });
            let popped = consumer.pop().is_some();
            sender.join().expect("there is room");
            assert_eq!(Arc::strong_count(&probe), if popped { 2 } else { 3 });
            drop(consumer);
            assert_eq!(Arc::strong_count(&probe), 1);
        });
    }
}
