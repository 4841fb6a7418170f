//! The manifest: which logs there are, and where they begin and end. It is replaced as a whole when
//! a process starts: then the logs of the one before it are sealed, and its own begin.
//!
//! Text, one thing on a line, so that people can read it in need:
//!
//! ```text
//! ringdove-log 1                       format
//! base 2                               a snapshot that the logs build on, if there is one
//! used 5                               epochs up to this one may have been written under, though they
//!                                      are not named here: logs that were to be turned on
//! epoch 3 blocks 16384 moved           a process, and the blocks of its segments; whether slots were
//!                                      elsewhere than dealt evenly when its logs begin
//! shard 0 from 500 segment 2 to 81236  its logs: first LSN, the segment that it lies in (0 is not
//! shard 1 from 0 to 977                written), and the LSN where they end
//! epoch 4 blocks 16384
//! shard 0 from 81236                   no end: the last process
//! crc32c 1c291ca3                      of everything before this line
//! ```

use std::fmt::{self, Write};

use super::writer::SEGMENT_BLOCKS_MIN;
use super::{Identity, Lsn};
use crate::mesh::ShardId;

/// Blocks of a segment, at most: 4 GiB.
pub const SEGMENT_BLOCKS_MAX: u32 = 1 << 20;
/// LSNs are below this: no log ever is as long, and sums stay within their type.
const LSN_MAX: u64 = 1 << 60;
const FORMAT: &str = "ringdove-log 1";

/// A place between two records of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Where the next record begins.
    pub lsn: Lsn,
    /// Everything from there on is in this segment and later ones.
    pub segment: u64,
}

/// One shard's log in one epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// Its first LSN that counts: what stands before it is in the base.
    pub from: Lsn,
    /// The first segment that holds something of that.
    pub segment: u64,
    /// Where it ends; `None` while its process runs, and until recovery has found out.
    pub to: Option<Lsn>,
}

/// The logs of one process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Generation {
    /// Its number; they rise.
    pub epoch: u32,
    /// Blocks of a segment.
    pub segment_blocks: u32,
    /// Whether slots were elsewhere than dealt evenly when the logs begin: keys may stand in any of them.
    pub moved: bool,
    /// The log of each shard.
    pub logs: Vec<Extent>,
}

impl Generation {
    /// Whose log that of a shard is.
    pub fn identity(&self, shard: ShardId) -> Identity {
        Identity {
            shard,
            shards: self.logs.len() as u16,
            epoch: self.epoch,
        }
    }

    /// Whether it is settled where every log ends.
    pub fn is_sealed(&self) -> bool {
        self.logs.iter().all(|log| log.to.is_some())
    }
}

/// What there is. All generations but the last are sealed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Manifest {
    /// The number of the snapshot that is loaded before the logs.
    pub base: Option<u64>,
    /// Segments of epochs up to this one may be there though no generation names them: none is used
    /// again. 0: of none.
    pub used: u32,
    /// In the order in which they are replayed.
    pub generations: Vec<Generation>,
}

/// Why a text is no manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wrong {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: &'static str,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl Manifest {
    /// Ends the logs of the last generation at `cuts`.
    pub fn seal(&mut self, cuts: &[Lsn]) {
        let Some(last) = self.generations.last_mut() else {
            return assert!(cuts.is_empty(), "there is no log");
        };
        assert_eq!(last.logs.len(), cuts.len(), "a cut for each log");
        for (log, &cut) in last.logs.iter_mut().zip(cuts) {
            assert!(cut >= log.from && log.to.is_none_or(|to| to == cut));
            log.to = Some(cut);
        }
    }

    /// Begins the logs of the next process. Each goes on counting where the one of the same shard
    /// ended. `moved`: slots are elsewhere than dealt evenly.
    pub fn begin(&mut self, shards: u16, segment_blocks: u32, moved: bool) {
        let before = self.generations.last();
        assert!(
            before.is_none_or(Generation::is_sealed),
            "one runs at a time"
        );
        let epoch = self.next_epoch();
        let from = |shard: u16| {
            let log = before.and_then(|last| last.logs.get(usize::from(shard)));
            log.and_then(|log| log.to).unwrap_or_default()
        };
        let logs = (0..shards)
            .map(|shard| Extent {
                from: from(shard),
                segment: 0,
                to: None,
            })
            .collect();
        self.generations.push(Generation {
            epoch,
            segment_blocks,
            moved,
            logs,
        });
        self.used = 0;
    }

    /// The epoch of logs that begin now: nobody has written under it.
    fn next_epoch(&self) -> u32 {
        let last = self.generations.last().map_or(0, |last| last.epoch);
        last.max(self.used) + 1
    }

    /// Takes an epoch for logs that are to be written before they are named here.
    pub fn reserve(&mut self) {
        self.used = self.next_epoch();
    }

    /// Logs that were written under the epoch that was [reserved](Self::reserve) replace all others,
    /// with a base that holds what those say.
    pub fn replace(&mut self, generation: Generation, base: u64, marks: &[Mark], moved: bool) {
        assert_eq!(generation.epoch, self.used, "the epoch was reserved");
        self.generations = vec![generation];
        self.used = 0;
        self.rebase(base, marks, moved);
    }

    /// A base replaces all logs: what comes after it is logged nowhere. They are as many as there are
    /// shards, and empty.
    pub fn replace_by_base(&mut self, base: u64, shards: u16, segment_blocks: u32) {
        let log = Extent {
            from: Lsn(0),
            segment: 0,
            to: Some(Lsn(0)),
        };
        let generation = Generation {
            epoch: self.next_epoch(),
            segment_blocks,
            moved: false,
            logs: vec![log; usize::from(shards)],
        };
        *self = Self {
            base: Some(base),
            used: 0,
            generations: vec![generation],
        };
    }

    /// The logs build on a new base, which holds what they said before these marks: those of all
    /// processes but the last, and of its the part before. `moved`: slots have moved until then.
    pub fn rebase(&mut self, base: u64, marks: &[Mark], moved: bool) {
        let last = self.generations.pop();
        let mut last = last.expect("there are logs that were marked");
        assert_eq!(last.logs.len(), marks.len(), "a mark for each log");
        for (log, mark) in last.logs.iter_mut().zip(marks) {
            assert!(mark.lsn >= log.from && mark.segment >= log.segment);
            (log.from, log.segment) = (mark.lsn, mark.segment);
        }
        last.moved |= moved;
        self.base = Some(base);
        self.generations = vec![last];
    }

    /// As text.
    pub fn encode(&self) -> String {
        let mut text = format!("{FORMAT}\n");
        if let Some(base) = self.base {
            writeln!(text, "base {base}").expect("memory takes it");
        }
        if self.used > 0 {
            writeln!(text, "used {}", self.used).expect("memory takes it");
        }
        for generation in &self.generations {
            let (epoch, blocks) = (generation.epoch, generation.segment_blocks);
            let moved = if generation.moved { " moved" } else { "" };
            writeln!(text, "epoch {epoch} blocks {blocks}{moved}").expect("memory takes it");
            for (shard, log) in generation.logs.iter().enumerate() {
                write!(text, "shard {shard} from {}", log.from).expect("memory takes it");
                if log.segment > 0 {
                    write!(text, " segment {}", log.segment).expect("memory takes it");
                }
                if let Some(to) = log.to {
                    write!(text, " to {to}").expect("memory takes it");
                }
                text.push('\n');
            }
        }
        let crc = crc32c::crc32c(text.as_bytes());
        writeln!(text, "crc32c {crc:08x}").expect("memory takes it");
        text
    }

    /// Reads a manifest. Any bytes may stand there.
    pub fn decode(bytes: &[u8]) -> Result<Self, Wrong> {
        let wrong = |line, what| Wrong { line, what };
        let text = str::from_utf8(bytes).map_err(|_| wrong(1, "it is not text"))?;
        let whole = text.strip_suffix('\n');
        let whole = whole.ok_or(wrong(1, "its last line is cut off"))?;
        let (_, last) = whole.rsplit_once('\n').ok_or(wrong(1, "it is too short"))?;
        let body = &text[..text.len() - last.len() - 1];
        let lines = body.lines().count();
        let crc = format!("crc32c {:08x}", crc32c::crc32c(body.as_bytes()));
        if crc != last {
            return Err(wrong(lines + 1, "the checksum is wrong"));
        }
        let mut manifest = Self::default();
        for (at, line) in body.lines().enumerate() {
            match at {
                0 if line == FORMAT => {}
                0 => return Err(wrong(1, "it has another format")),
                _ => manifest.line(line).map_err(|what| wrong(at + 1, what))?,
            }
        }
        let check = |(at, generation): (usize, &Generation)| {
            let last = at + 1 == manifest.generations.len();
            let sealed = generation.is_sealed();
            !generation.logs.is_empty() && (sealed || last)
        };
        if !manifest.generations.iter().enumerate().all(check) {
            return Err(wrong(lines, "an epoch that is not the last has no end"));
        }
        Ok(manifest)
    }

    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["base", number] => {
                if self.base.is_some() || !self.generations.is_empty() {
                    return Err("a base that does not stand first");
                }
                self.base = Some(number.parse().map_err(|_| "no number of a base")?);
                Ok(())
            }
            ["used", epoch] => {
                if self.used > 0 || !self.generations.is_empty() {
                    return Err("used epochs that do not stand first");
                }
                self.used = epoch.parse().map_err(|_| "no epoch")?;
                if self.used == 0 || self.used >= u32::MAX - 1 {
                    return Err("no epoch");
                }
                Ok(())
            }
            ["epoch", epoch, "blocks", blocks, ref rest @ ..] => {
                if !matches!(rest, [] | ["moved"]) {
                    return Err("words that make no sense");
                }
                let epoch: u32 = epoch.parse().map_err(|_| "no epoch")?;
                let segment_blocks: u32 = blocks.parse().map_err(|_| "no number of blocks")?;
                if !(SEGMENT_BLOCKS_MIN..=SEGMENT_BLOCKS_MAX).contains(&segment_blocks) {
                    return Err("a number of blocks that no segment has");
                }
                let before = self.generations.last().map_or(0, |last| last.epoch);
                if epoch <= before || epoch == u32::MAX {
                    return Err("an epoch that is not later than the one before");
                }
                self.generations.push(Generation {
                    epoch,
                    segment_blocks,
                    moved: !rest.is_empty(),
                    logs: Vec::new(),
                });
                Ok(())
            }
            ["shard", shard, "from", from, ref rest @ ..] => {
                let from = lsn(from)?;
                let (segment, rest) = match *rest {
                    ["segment", segment, ref rest @ ..] => {
                        (segment.parse().map_err(|_| "no segment")?, rest)
                    }
                    _ => (0, rest),
                };
                let to = match *rest {
                    [] => None,
                    ["to", to] => Some(lsn(to)?),
                    _ => return Err("words that make no sense"),
                };
                if to.is_some_and(|to| to < from) {
                    return Err("a log that ends before it begins");
                }
                let logs = &mut self.generations.last_mut().ok_or("no epoch before")?.logs;
                if shard.parse() != Ok(logs.len()) || logs.len() >= usize::from(u16::MAX) {
                    return Err("a shard that is not the next one");
                }
                logs.push(Extent { from, segment, to });
                Ok(())
            }
            _ => Err("words that make no sense"),
        }
    }
}

fn lsn(word: &str) -> Result<Lsn, &'static str> {
    let number = word.parse().map_err(|_| "no LSN")?;
    if number < LSN_MAX {
        Ok(Lsn(number))
    } else {
        Err("no LSN")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let mut manifest = Manifest {
            base: Some(3),
            ..Manifest::default()
        };
        manifest.begin(2, 64, false);
        manifest.seal(&[Lsn(100), Lsn(7)]);
        manifest.begin(3, 128, true);
        manifest
    }

    #[test]
    fn what_is_written_is_read() {
        let manifest = manifest();
        let text = manifest.encode();
        assert_eq!(Manifest::decode(text.as_bytes()), Ok(manifest.clone()));
        let from = |log: &Extent| log.from.0;
        let last = &manifest.generations[1];
        assert_eq!((last.epoch, last.is_sealed()), (2, false));
        assert_eq!(last.logs.iter().map(from).collect::<Vec<_>>(), [100, 7, 0]);
    }

    #[test]
    fn a_new_base_replaces_what_it_holds() {
        let mut manifest = manifest();
        let mark = |lsn, segment| Mark {
            lsn: Lsn(lsn),
            segment,
        };
        manifest.rebase(4, &[mark(900, 2), mark(7, 0), mark(50, 1)], true);
        let text = manifest.encode();
        assert!(
            text.contains("shard 0 from 900 segment 2\nshard 1 from 7\n"),
            "{text}"
        );
        assert_eq!(Manifest::decode(text.as_bytes()), Ok(manifest.clone()));
        assert_eq!((manifest.base, manifest.generations.len()), (Some(4), 1));
        manifest.seal(&[Lsn(1000), Lsn(8), Lsn(50)]);
        manifest.begin(2, 64, false);
        let text = manifest.encode();
        assert!(text.contains("from 900 segment 2 to 1000"), "{text}");
        assert_eq!(Manifest::decode(text.as_bytes()), Ok(manifest));
    }

    #[test]
    fn logs_that_were_turned_on_replace_all_others() {
        let mut manifest = manifest();
        manifest.reserve();
        manifest.reserve(); // the first time a crash came in between
        assert_eq!(manifest.used, 4);
        let text = manifest.encode();
        assert!(text.contains("base 3\nused 4\nepoch 1 "), "{text}");
        assert_eq!(Manifest::decode(text.as_bytes()), Ok(manifest.clone()));
        let mut other = manifest.clone();
        other.seal(&[Lsn(100), Lsn(7), Lsn(0)]);
        other.begin(1, 64, false);
        assert_eq!((other.used, other.generations[2].epoch), (0, 5));
        let log = Extent {
            from: Lsn(20),
            segment: 0,
            to: None,
        };
        let generation = Generation {
            epoch: 4,
            segment_blocks: 64,
            moved: false,
            logs: vec![log],
        };
        let mark = Mark {
            lsn: Lsn(20),
            segment: 0,
        };
        manifest.replace(generation, 4, &[mark], false);
        assert_eq!((manifest.base, manifest.used), (Some(4), 0));
        assert_eq!(manifest.generations.len(), 1);
        let text = manifest.encode();
        assert_eq!(Manifest::decode(text.as_bytes()), Ok(manifest));
    }

    #[test]
    fn a_base_alone_is_what_the_next_logs_begin_with() {
        let mut manifest = manifest();
        manifest.reserve();
        manifest.replace_by_base(9, 2, 64);
        let text = manifest.encode();
        assert_eq!(Manifest::decode(text.as_bytes()), Ok(manifest.clone()));
        assert_eq!((manifest.base, manifest.generations[0].epoch), (Some(9), 4));
        manifest.begin(3, 64, false);
        assert_eq!(manifest.generations[1].epoch, 5);
    }

    #[test]
    fn no_change_passes() {
        let text = manifest().encode().into_bytes();
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut bad = text.clone();
                bad[at] ^= 1 << bit;
                assert!(Manifest::decode(&bad).is_err(), "byte {at}, bit {bit}");
            }
            assert!(Manifest::decode(&text[..at]).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for lines in [
            "shard 0 from 0",
            "epoch 0 blocks 64\nshard 0 from 0",
            "epoch 1 blocks 3\nshard 0 from 0",
            "epoch 1 blocks 64\nshard 1 from 0",
            "epoch 1 blocks 64\nshard 0 from 9 to 8",
            "epoch 1 blocks 64\nshard 0 from 9 segment x",
            "epoch 1 blocks 64\nshard 0 from 9 segment",
            "epoch 1 blocks 64\nshard 0 from 99999999999999999999",
            "epoch 1 blocks 64\nshard 0 from 0\nepoch 2 blocks 64\nshard 0 from 0",
            "epoch 1 blocks 64\nshard 0 from 0 to 1\nepoch 1 blocks 64\nshard 0 from 0",
            "epoch 1 blocks 64",
            "nonsense",
            "base x",
            "base 1\nbase 2",
            "used 0",
            "used 1\nused 2",
            "used 4294967294",
            "epoch 1 blocks 64\nshard 0 from 0\nused 2",
            "epoch 1 blocks 64\nshard 0 from 0\nbase 1",
        ] {
            let mut text = format!("{FORMAT}\n{lines}\n");
            let crc = crc32c::crc32c(text.as_bytes());
            writeln!(text, "crc32c {crc:08x}").expect("memory takes it");
            assert!(Manifest::decode(text.as_bytes()).is_err(), "{lines}");
        }
    }
}
