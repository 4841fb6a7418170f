//! Verify mode: values that carry their key and version, and the record of what the server has
//! acknowledged, against which every reply is checked.
//!
//! A key has one writer: client `(key - min) % clients`. Its versions count up from 1. A reader,
//! whoever it is, must see a version that is no older than the last one acknowledged before it
//! asked, and no newer than the last one sent. That is linearizability for a register with one
//! writer, checked without a log of the run.
//!
//! A value:
//!
//! | bytes | content |
//! | --- | --- |
//! | 16 | key number, hexadecimal |
//! | 1 | `:` |
//! | 8 | version, hexadecimal |
//! | 1 | `:` |
//! | 8 | length of the whole value, hexadecimal |
//! | 1 | `:` |
//! | rest | filler that follows from key and version |
//!
//! The state file: the line `ringdove-load verify 1 MIN MAX\n`, then for each key two little-endian
//! u32: the last version acknowledged and the last one sent.

use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::keys::KeyRange;
use crate::rng::scramble;

const HEAD_BYTES: usize = 35;
/// The shortest value: shorter sizes are raised to it.
pub(crate) const VALUE_BYTES_MIN: usize = HEAD_BYTES + 5;
/// Faults that are told in full.
const SAMPLES_MAX: usize = 20;
const _: () = assert!(VALUE_BYTES_MIN as u64 == crate::config::VERIFY_BYTES_MIN);

/// What is wrong with a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(crate) enum Fault {
    /// Not the bytes that were written.
    Wrong,
    /// An older version than was acknowledged.
    Stale,
    /// Nothing, though a write was acknowledged.
    Lost,
    /// A version that was never sent.
    Invented,
}

impl Fault {
    pub(crate) const ALL: [Fault; 4] = [Fault::Wrong, Fault::Stale, Fault::Lost, Fault::Invented];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Fault::Wrong => "wrong",
            Fault::Stale => "stale",
            Fault::Lost => "lost",
            Fault::Invented => "invented",
        }
    }
}

/// What is known of all keys. Shared by all threads.
#[derive(Debug)]
pub(crate) struct Ledger {
    range: KeyRange,
    clients: u64,
    sent: Vec<AtomicU32>,
    acknowledged: Vec<AtomicU32>,
    checked: AtomicU64,
    faults: [AtomicU64; Fault::ALL.len()],
    samples: Mutex<Vec<String>>,
}

impl Ledger {
    pub(crate) fn new(range: KeyRange, clients: u64) -> Ledger {
        let zeroes = || (0..range.count()).map(|_| AtomicU32::new(0)).collect();
        Ledger {
            range,
            clients,
            sent: zeroes(),
            acknowledged: zeroes(),
            checked: AtomicU64::new(0),
            faults: Default::default(),
            samples: Mutex::new(Vec::new()),
        }
    }

    fn at(&self, key: u64) -> usize {
        assert!(key >= self.range.min && key <= self.range.max);
        (key - self.range.min) as usize
    }

    /// The key nearest to `key` that `client` writes.
    pub(crate) fn own_key(&self, key: u64, client: u64) -> u64 {
        let at = key - self.range.min;
        let own = at - at % self.clients + client;
        let own = if own < self.range.count() {
            own
        } else {
            own - self.clients
        };
        self.range.min + own
    }

    /// The keys that `client` writes, one after the other, over and over.
    pub(crate) fn nth_own_key(&self, n: u64, client: u64) -> u64 {
        let (keys, clients) = (self.range.count(), self.clients);
        let owned = keys / clients + u64::from(client < keys % clients);
        self.range.min + client + (n % owned) * clients
    }

    /// Whether `client` writes `key`.
    pub(crate) fn owns(&self, key: u64, client: u64) -> bool {
        (key - self.range.min) % self.clients == client
    }

    /// The version of the next write to `key`. Only the key's writer may ask.
    pub(crate) fn next_version(&self, key: u64) -> u32 {
        self.sent[self.at(key)]
            .fetch_add(1, Ordering::SeqCst)
            .wrapping_add(1)
    }

    /// A write was acknowledged.
    pub(crate) fn acknowledge(&self, key: u64, version: u32) {
        self.acknowledged[self.at(key)].fetch_max(version, Ordering::SeqCst);
    }

    /// The oldest version that a read asked for now may answer with.
    pub(crate) fn floor(&self, key: u64) -> u32 {
        self.acknowledged[self.at(key)].load(Ordering::SeqCst)
    }

    /// Checks the reply to a read: `floor` is what `floor` answered when it was sent.
    pub(crate) fn check(&self, key: u64, floor: u32, value: Option<&[u8]>) {
        self.checked.fetch_add(1, Ordering::Relaxed);
        let sent = self.sent[self.at(key)].load(Ordering::SeqCst);
        let found = match value {
            None if floor == 0 => return,
            None => {
                return self.report(
                    Fault::Lost,
                    key,
                    format_args!("nothing, acknowledged: version {floor}"),
                );
            }
            Some(value) => version_of(key, value),
        };
        match found {
            // Left over from before this run, by a run that knew other versions.
            Ok(_) if sent == 0 => {}
            Ok(version) if version < floor => {
                self.report(
                    Fault::Stale,
                    key,
                    format_args!("version {version}, acknowledged: {floor}"),
                );
            }
            Ok(version) if version > sent => {
                // Before the first acknowledged write, an earlier run's value may still stand.
                if floor > 0 {
                    self.report(
                        Fault::Invented,
                        key,
                        format_args!("version {version}, sent: {sent}"),
                    );
                }
            }
            Ok(_) => {}
            Err(_) if floor == 0 => {}
            Err(why) => self.report(Fault::Wrong, key, format_args!("{why}")),
        }
    }

    /// A reply that is neither a value nor nothing.
    pub(crate) fn strange(&self, key: u64, what: &str) {
        self.checked.fetch_add(1, Ordering::Relaxed);
        self.report(Fault::Wrong, key, format_args!("{what}"));
    }

    fn report(&self, fault: Fault, key: u64, what: std::fmt::Arguments<'_>) {
        self.faults[fault as usize].fetch_add(1, Ordering::Relaxed);
        if let Ok(mut samples) = self.samples.lock()
            && samples.len() < SAMPLES_MAX
        {
            let mut text = String::new();
            // Writing to a String cannot fail.
            let _ = write!(text, "{} key {key}: {what}", fault.name());
            samples.push(text);
        }
    }

    /// Replies checked so far.
    pub(crate) fn checked(&self) -> u64 {
        self.checked.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, fault: Fault) -> u64 {
        self.faults[fault as usize].load(Ordering::Relaxed)
    }

    /// All faults together.
    pub(crate) fn faults(&self) -> u64 {
        Fault::ALL.into_iter().map(|fault| self.count(fault)).sum()
    }

    /// The first faults in words.
    pub(crate) fn samples(&self) -> Vec<String> {
        self.samples.lock().map(|s| s.clone()).unwrap_or_default()
    }

    /// Writes the state file.
    pub(crate) fn save(&self, path: &str) -> io::Result<()> {
        let mut file = io::BufWriter::new(std::fs::File::create(path)?);
        writeln!(
            file,
            "ringdove-load verify 1 {} {}",
            self.range.min, self.range.max
        )?;
        for (acknowledged, sent) in self.acknowledged.iter().zip(&self.sent) {
            file.write_all(&acknowledged.load(Ordering::SeqCst).to_le_bytes())?;
            file.write_all(&sent.load(Ordering::SeqCst).to_le_bytes())?;
        }
        file.flush()
    }

    /// Reads a state file for the same key range.
    pub(crate) fn load(path: &str, range: KeyRange, clients: u64) -> io::Result<Ledger> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.read_to_end(&mut bytes)?;
        let bad = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_string());
        let head = format!("ringdove-load verify 1 {} {}\n", range.min, range.max);
        let body = bytes
            .strip_prefix(head.as_bytes())
            .ok_or_else(|| bad("not a state file of this key range"))?;
        if body.len() as u64 != range.count() * 8 {
            return Err(bad("cut short"));
        }
        let ledger = Ledger::new(range, clients);
        for (at, pair) in body.chunks_exact(8).enumerate() {
            let number = |from: usize| {
                u32::from_le_bytes([pair[from], pair[from + 1], pair[from + 2], pair[from + 3]])
            };
            ledger.acknowledged[at].store(number(0), Ordering::SeqCst);
            ledger.sent[at].store(number(4), Ordering::SeqCst);
        }
        Ok(ledger)
    }
}

/// Writes the value of a key's version, `size` bytes (raised to `VALUE_BYTES_MIN`).
pub(crate) fn write_value(key: u64, version: u32, size: usize, out: &mut Vec<u8>) {
    let size = size.max(VALUE_BYTES_MIN);
    out.clear();
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{key:016x}:{version:08x}:{size:08x}:");
    assert_eq!(out.len(), HEAD_BYTES);
    let mut at = 0;
    while out.len() < size {
        let word = filler(key, version, at);
        let part = word.len().min(size - out.len());
        out.extend_from_slice(&word[..part]);
        at += 1;
    }
}

fn filler(key: u64, version: u32, at: u64) -> [u8; 8] {
    scramble(key ^ u64::from(version).rotate_left(32) ^ at.wrapping_mul(0x9e37_79b9)).to_le_bytes()
}

/// The version that a value of `key` carries, if every byte of it is right.
fn version_of(key: u64, value: &[u8]) -> Result<u32, &'static str> {
    let number = |from: usize, to: usize| {
        value
            .get(from..to)
            .and_then(|b| std::str::from_utf8(b).ok())
            .and_then(|t| u64::from_str_radix(t, 16).ok())
            .ok_or("not a value that verify wrote")
    };
    if number(0, 16)? != key {
        return Err("the value of another key");
    }
    let version = number(17, 25)? as u32;
    if number(26, 34)? != value.len() as u64 || value.len() < VALUE_BYTES_MIN {
        return Err("cut short or too long");
    }
    for (at, part) in value[HEAD_BYTES..].chunks(8).enumerate() {
        if filler(key, version, at as u64)[..part.len()] != *part {
            return Err("bytes that differ from what was written");
        }
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: KeyRange = KeyRange { min: 10, max: 109 };

    fn value(key: u64, version: u32, size: usize) -> Vec<u8> {
        let mut out = Vec::new();
        write_value(key, version, size, &mut out);
        out
    }

    #[test]
    fn values_carry_key_and_version() {
        for size in [0, 40, 41, 47, 100, 5000] {
            let bytes = value(12, 7, size);
            assert_eq!(bytes.len(), size.max(VALUE_BYTES_MIN));
            assert_eq!(version_of(12, &bytes), Ok(7));
            assert!(version_of(13, &bytes).is_err());
            let mut flipped = bytes.clone();
            *flipped.last_mut().expect("bytes") ^= 1;
            assert!(version_of(12, &flipped).is_err());
            assert!(version_of(12, &bytes[..bytes.len() - 1]).is_err());
        }
    }

    #[test]
    fn each_fault_is_named() {
        let ledger = Ledger::new(RANGE, 7);
        let key = ledger.own_key(50, 3);
        assert!(ledger.owns(key, 3));
        for _ in 0..3 {
            let version = ledger.next_version(key);
            ledger.acknowledge(key, version);
        }
        let floor = ledger.floor(key);
        ledger.check(key, floor, Some(&value(key, 3, 64)));
        assert_eq!(ledger.faults(), 0);
        ledger.check(key, floor, Some(&value(key, 2, 64)));
        ledger.check(key, floor, None);
        ledger.check(key, floor, Some(&value(key, 9, 64)));
        ledger.check(key, floor, Some(&value(key + 1, 3, 64)));
        for fault in Fault::ALL {
            assert_eq!(ledger.count(fault), 1, "{}", fault.name());
        }
        assert_eq!((ledger.checked(), ledger.samples().len()), (5, 4));
    }

    #[test]
    fn own_keys_stay_in_the_range() {
        let ledger = Ledger::new(RANGE, 33);
        for key in RANGE.min..=RANGE.max {
            for client in 0..33 {
                let own = ledger.own_key(key, client);
                assert!((RANGE.min..=RANGE.max).contains(&own) && ledger.owns(own, client));
            }
        }
    }

    #[test]
    fn walks_of_all_clients_cover_each_key_once() {
        let ledger = Ledger::new(RANGE, 33);
        let mut seen = vec![0; 100];
        for client in 0..33 {
            let owned = 100 / 33 + u64::from(client < 100 % 33);
            for n in 0..owned {
                let key = ledger.nth_own_key(n, client);
                assert!(ledger.owns(key, client));
                seen[(key - RANGE.min) as usize] += 1;
            }
        }
        assert_eq!(seen, [1; 100]);
    }

    #[test]
    fn the_state_survives_a_file() {
        let ledger = Ledger::new(RANGE, 2);
        ledger.next_version(10);
        ledger.acknowledge(10, 1);
        ledger.next_version(109);
        let name = format!("ringdove-load-verify-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let path = path.to_str().expect("a path");
        ledger.save(path).expect("saved");
        let again = Ledger::load(path, RANGE, 2).expect("loaded");
        assert!(Ledger::load(path, KeyRange { min: 0, max: 9 }, 2).is_err());
        std::fs::remove_file(path).expect("removed");
        assert_eq!(
            (again.floor(10), again.floor(109), again.next_version(109)),
            (1, 0, 2)
        );
    }
}
