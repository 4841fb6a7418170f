//! Which shard owns which slots, from one process to the next: a small file in `dir`
//! (`slot-placement-file`), as Redis Cluster has its `nodes.conf`. There is none before slots have moved.
//!
//! It is written whole, beside its name, made durable and renamed, by a thread of its own, before a
//! client hears that slots have moved; so what was acknowledged is found by the next start, however
//! this process ends. What could not be written is said to the client and tried again with the next
//! move, and when the server ends.
//!
//! The file never decides what is there, only where: the logs say by themselves of which slots each
//! of them tells ([`crate::shard::effects::slots`]), and a start deals what it reads as the map is that it
//! begins with, whichever that is. So the file may be older or newer than the logs. Without one, with
//! one for another number of shards and with one that is damaged or cannot be read, slots are dealt
//! evenly, and the log says why. (Redis refuses to start with a damaged `nodes.conf`, in which it also
//! keeps who it is; our node ids stand nowhere, [`crate::shard::cores`].)
//!
//! Text, like the logs' manifest:
//!
//! ```text
//! ringdove-slots 1          format
//! shards 3                  how many there were
//! 0-5461 0                  slots and their shard: all of them, in order
//! 5462-5462 2
//! 5463-16383 1
//! crc32c 1c291ca3           of everything before this line
//! ```

use std::fmt::Write;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::config::{Config, as_path, reason};
use super::log;
use crate::keyspace::SLOTS;
use crate::mesh::ShardId;
use crate::shard::node::Node;
use crate::shard::{SlotRange, even_slot_map, slot_ranges};
use crate::storage::{self, NEW, replace_file};

const FORMAT: &str = "ringdove-slots 1";
/// A larger file is none of ours: every slot has a line of at most 18 bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Who owns the slots of a process with so many shards.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Owners {
    shards: usize,
    map: Box<[ShardId; SLOTS]>,
}

/// What the next start would find, as far as is known.
#[derive(Debug)]
struct State {
    /// What it should find; None: what it finds, since no slots have moved.
    wanted: Option<Owners>,
    /// What it would, and where; None: a write has failed.
    kept: Option<(PathBuf, Owners)>,
}

/// See the head of the module.
#[derive(Debug)]
pub struct Placement {
    first: Owners,
    state: Mutex<State>,
}

impl Placement {
    /// Where slots are when the process begins.
    pub fn read(config: &Config) -> Self {
        let path = path(config);
        let shards = config.shards as usize;
        let even = || Owners {
            shards,
            map: even_slot_map(shards),
        };
        let found = match find(&path) {
            Ok(found) => found,
            Err(why) => {
                log::warning(format_args!(
                    "{why}. The slots are dealt evenly; when some are moved the file is written anew."
                ));
                None
            }
        };
        let first = match found {
            None => even(),
            Some(found) if found.shards == shards => {
                if found != even() {
                    log::notice(format_args!(
                        "The slots are placed as {} says",
                        path.display()
                    ));
                }
                found
            }
            Some(found) => {
                log::warning(format_args!(
                    "{} places the slots on {} shards, and there are {shards}: they are dealt evenly",
                    path.display(),
                    found.shards
                ));
                even()
            }
        };
        Self {
            state: Mutex::new(State {
                wanted: None,
                kept: Some((path, first.clone())),
            }),
            first,
        }
    }

    /// The owner of each slot when the process began.
    pub fn first(&self) -> &[ShardId; SLOTS] {
        &self.first.map
    }

    /// Whether that is not as they would be dealt.
    pub fn was_moved(&self) -> bool {
        self.first.map != even_slot_map(self.first.shards)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A thread that panics ends the process.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Slots have moved: whether the next start would find them elsewhere, so that it has to be
    /// [written](Self::write).
    pub fn moved(&self, config: &Config, map: &[ShardId; SLOTS]) -> bool {
        let mut state = self.state();
        state.wanted = Some(Owners {
            shards: self.first.shards,
            map: Box::new(*map),
        });
        !state.is_kept(&path(config))
    }

    /// Writes where slots have moved to, if the next start would not find it. The error names the file and
    /// the reason.
    pub fn write(&self, config: &Config) -> Result<(), String> {
        self.state().write(path(config))
    }

    /// The same when the server ends; where a write is still under way on a disk that does not answer,
    /// nobody waits for it.
    pub fn write_at_end(&self, config: &Config) -> Result<(), String> {
        match self.state.try_lock() {
            Ok(mut state) => state.write(path(config)),
            Err(TryLockError::Poisoned(state)) => state.into_inner().write(path(config)),
            Err(TryLockError::WouldBlock) => Err("it is still being written".into()),
        }
    }

    /// The same, on a thread of its own, which calls `wake` when it is done.
    pub fn write_aside(
        node: &Arc<Node>,
        wake: impl FnOnce() + Send + 'static,
    ) -> Receiver<Result<(), String>> {
        let (told, done) = channel();
        let (node, failed) = (node.clone(), told.clone());
        let thread = std::thread::Builder::new().name("placement".into());
        let started = thread.spawn(move || {
            let placement = node.placement.get();
            let written = placement.map_or(Ok(()), |p| p.write(&node.config()));
            // Nobody listens where the server has ended meanwhile.
            let _ = told.send(written);
            wake();
        });
        if let Err(error) = started {
            let _ = failed.send(Err(reason(&error))); // it is looked at below
        }
        done
    }
}

impl State {
    fn is_kept(&self, path: &Path) -> bool {
        match (&self.wanted, &self.kept) {
            (None, _) => true,
            (Some(wanted), Some((at, kept))) => at == path && kept == wanted,
            (Some(_), None) => false,
        }
    }

    fn write(&mut self, path: PathBuf) -> Result<(), String> {
        if self.is_kept(&path) {
            return Ok(());
        }
        let Some(owners) = self.wanted.clone() else {
            return Ok(());
        };
        // A write that fails may have replaced the file all the same.
        self.kept = None;
        let written = replace_file(&path, &beside(&path), owners.encode().as_bytes());
        written.map_err(|error| described(&path, &error))?;
        self.kept = Some((path, owners));
        Ok(())
    }
}

/// Where the file is.
fn path(config: &Config) -> PathBuf {
    config.dir.0.join(as_path(&config.slot_placement_file))
}

/// What is written until it is whole.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(NEW);
    name.into()
}

/// `writing ringdove.slots: No space left on device`: for clients, who see no paths.
fn described(path: &Path, error: &storage::Error) -> String {
    let name = path.file_name().unwrap_or_default().display();
    let why = match error {
        storage::Error::Io { source, .. } => reason(source),
        other => other.to_string(),
    };
    format!("writing {name}: {why}")
}

/// What the file says; None if there is none.
fn find(path: &Path) -> Result<Option<Owners>, String> {
    let shown = path.display();
    let cannot = |error: std::io::Error| format!("Cannot read {shown}: {}", reason(&error));
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(cannot)?,
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    let owners = Owners::decode(&bytes).map_err(|what| format!("{shown} is damaged: {what}"))?;
    Ok(Some(owners))
}

impl Owners {
    fn encode(&self) -> String {
        let mut text = format!("{FORMAT}\nshards {}\n", self.shards);
        for SlotRange { first, last, owner } in slot_ranges(&self.map) {
            assert!(owner.index() < self.shards);
            writeln!(text, "{first}-{last} {}", owner.0).expect("memory takes it");
        }
        let crc = crc32c::crc32c(text.as_bytes());
        writeln!(text, "crc32c {crc:08x}").expect("memory takes it");
        text
    }

    /// Reads a file. Any bytes may stand there.
    fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let text = str::from_utf8(bytes).map_err(|_| "it is not text")?;
        let whole = text.strip_suffix('\n').ok_or("its end is missing")?;
        let (_, last) = whole.rsplit_once('\n').ok_or("it is too short")?;
        let body = &text[..text.len() - last.len() - 1];
        if last != format!("crc32c {:08x}", crc32c::crc32c(body.as_bytes())) {
            return Err("the checksum is wrong");
        }
        let mut lines = body.lines();
        if lines.next() != Some(FORMAT) {
            return Err("it has another format");
        }
        let shards = lines.next().and_then(|line| line.strip_prefix("shards "));
        let shards = shards.and_then(|number| number.parse::<u16>().ok());
        let shards = shards
            .filter(|n| *n > 0)
            .ok_or("no number of shards")?
            .into();
        let mut map = Box::new([ShardId(0); SLOTS]);
        let mut next = 0;
        for line in lines {
            let (first, last, owner) = range(line).ok_or("a line that is no range of slots")?;
            if first != next || !(first..SLOTS).contains(&last) || owner.index() >= shards {
                return Err("slots that are not in order, or of no shard");
            }
            map[first..=last].fill(owner);
            next = last + 1;
        }
        if next < SLOTS {
            return Err("slots are missing");
        }
        Ok(Self { shards, map })
    }
}

/// `0-5461 0`.
fn range(line: &str) -> Option<(usize, usize, ShardId)> {
    let (slots, owner) = line.split_once(' ')?;
    let (first, last) = slots.split_once('-')?;
    Some((
        first.parse().ok()?,
        last.parse().ok()?,
        ShardId(owner.parse().ok()?),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners() -> Owners {
        let mut map = even_slot_map(3);
        map[7] = ShardId(2);
        map[SLOTS - 1] = ShardId(0);
        Owners { shards: 3, map }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut worst = owners();
        for (slot, owner) in worst.map.iter_mut().enumerate() {
            *owner = ShardId((slot % 3) as u16);
        }
        for owners in [owners(), worst] {
            let text = owners.encode();
            assert!((text.len() as u64) < FILE_BYTES_MAX);
            assert_eq!(Owners::decode(text.as_bytes()), Ok(owners));
        }
        let text = owners().encode();
        let head = "ringdove-slots 1\nshards 3\n0-6 0\n7-7 2\n8-5461 0\n";
        assert!(text.starts_with(head), "{text}");
    }

    /// A text with the checksum that it should have.
    fn sealed(body: &str) -> String {
        format!("{body}crc32c {:08x}\n", crc32c::crc32c(body.as_bytes()))
    }

    #[test]
    fn damage_is_told_and_nothing_else_comes_of_it() {
        let text = owners().encode();
        for end in 0..text.len() {
            assert!(Owners::decode(&text.as_bytes()[..end]).is_err(), "{end}");
        }
        for at in 0..text.len() {
            for bit in [0, 3, 7] {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                assert!(Owners::decode(&bytes).is_err(), "byte {at}, bit {bit}");
            }
        }
        for body in [
            "",
            "ringdove-slots 2\nshards 1\n0-16383 0\n",
            "ringdove-slots 1\n0-16383 0\n",
            "ringdove-slots 1\nshards 0\n0-16383 0\n",
            "ringdove-slots 1\nshards 65536\n0-16383 0\n",
            "ringdove-slots 1\nshards 2\n0-16383 2\n",
            "ringdove-slots 1\nshards 2\n0-16382 0\n",
            "ringdove-slots 1\nshards 2\n0-16384 0\n",
            "ringdove-slots 1\nshards 2\n0-18446744073709551615 0\n",
            "ringdove-slots 1\nshards 2\n0-5 0\n7-16383 1\n",
            "ringdove-slots 1\nshards 2\n0-5 0\n5-16383 1\n",
            "ringdove-slots 1\nshards 2\n5-0 0\n1-16383 1\n",
            "ringdove-slots 1\nshards 2\n0-16383 0\n0-16383 0\n",
            "ringdove-slots 1\nshards 2\n0-16383\n",
            "ringdove-slots 1\nshards 2\n0 0\n",
            "ringdove-slots 1\nshards 2\n\n0-16383 0\n",
        ] {
            assert!(Owners::decode(sealed(body).as_bytes()).is_err(), "{body}");
        }
        assert!(Owners::decode(b"\xff\xfe\n\n").is_err());
        let right = sealed("ringdove-slots 1\nshards 2\n0-16383 1\n");
        assert!(Owners::decode(right.as_bytes()).is_ok());
    }

    #[test]
    fn what_was_written_is_written_again_where_it_has_to_be() {
        let name = format!("ringdove-placement-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).expect("a temporary folder");
        let mut config = Config {
            shards: 3,
            ..Config::default()
        };
        config.dir.0 = dir.clone();
        let fresh = Placement::read(&config);
        assert!(!fresh.was_moved());
        assert_eq!(fresh.write(&config), Ok(()));
        assert!(!fresh.moved(&config, &even_slot_map(3)), "nothing is new");
        assert_eq!(fresh.write(&config), Ok(()));
        assert!(!path(&config).exists());

        let moved = owners().map;
        assert!(fresh.moved(&config, &moved));
        std::fs::create_dir(beside(&path(&config))).expect("in the way");
        let why = fresh.write(&config).expect_err("it cannot be made");
        assert_eq!(why, "writing ringdove.slots: Is a directory");
        assert!(fresh.moved(&config, &moved), "it is still to be written");
        std::fs::remove_dir(beside(&path(&config))).expect("out of the way");
        assert_eq!(fresh.write(&config), Ok(()));
        assert!(!fresh.moved(&config, &moved));

        let next = Placement::read(&config);
        assert!(next.was_moved() && *next.first() == *moved);
        assert!(!next.moved(&config, &moved));
        // Back to where they would be dealt is a move like others.
        assert!(next.moved(&config, &even_slot_map(3)));
        assert_eq!(next.write(&config), Ok(()));
        assert!(!Placement::read(&config).was_moved());

        // In another directory there is nothing yet.
        config.dir.0 = dir.join("other");
        std::fs::create_dir(&config.dir.0).expect("a folder");
        assert!(next.moved(&config, &moved));
        assert_eq!(next.write(&config), Ok(()));
        config.shards = 2;
        assert!(!Placement::read(&config).was_moved(), "of other shards");
        config.shards = 3;
        assert!(Placement::read(&config).was_moved());
        std::fs::write(path(&config), "").expect("writable");
        assert!(!Placement::read(&config).was_moved(), "it is empty");
        std::fs::remove_dir_all(&dir).expect("it is ours");
    }
}
