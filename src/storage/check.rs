//! `ringdove --check-aof [--fix] DIRECTORY`: looks at the logs of a server that is not running, says
//! what is in them, and cuts off what is damaged. Where there is a base, that is looked at first.
//!
//! A repair ends each log before its first damage, gives up what depends on something behind that,
//! and everything that later processes wrote. It changes the manifest alone: the files stay as they
//! are. Neither a base nor a manifest can be repaired.

use std::io::{self, Write};
use std::path::Path;

use super::Error;
use super::directory::{Directory, directory_of};
use super::folder::shown;
use crate::log::Lsn;
use crate::log::manifest::{Generation, Manifest};
use crate::log::record::{Kind, Record};
use crate::log::recover::{PartAt, Passed, Tail, cut, longest_cut};
use crate::mesh::ShardId;

/// What was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// All that was certain to survive is there.
    Whole,
    /// It is not, and nothing was changed.
    Damaged,
    /// It was not; the logs end before the damage now.
    Fixed,
}

/// Checks the logs in a directory, which may be named by the manifest in it, and with `fix` repairs
/// them. Says what it finds on `out`; `check_base` tells what is wrong with a base.
pub fn check(
    path: &Path,
    fix: bool,
    check_base: impl Fn(&Path) -> Result<(), String>,
    out: &mut impl Write,
) -> Result<Verdict, Error> {
    let say = |result: io::Result<()>| result.map_err(Error::io("write to", Path::new("output")));
    let path = directory_of(path);
    if !path.is_dir() {
        let missing = io::Error::from(io::ErrorKind::NotFound);
        return Err(Error::io("read", path)(missing));
    }
    let mut directory = Directory::open(path)?;
    let generations = directory.manifest().generations.clone();
    if generations.is_empty() {
        say(writeln!(out, "No log in {}", path.display()))?;
    }
    if let Some(number) = directory.manifest().base {
        let path = shown(&directory.base_path(number));
        if let Err(why) = check_base(&path) {
            say(writeln!(
                out,
                "{}: {why}\nThe base, on which the log builds, cannot be repaired.",
                path.display()
            ))?;
            return Ok(Verdict::Damaged);
        }
        say(writeln!(out, "Base {number} is whole."))?;
    }
    for (index, generation) in generations.iter().enumerate() {
        match examine(&directory, generation) {
            Ok(findings) => say(report(generation, &findings, out))?,
            Err(Error::Damage { path, damage }) => {
                say(writeln!(out, "{}: {damage}", path.display()))?;
                let cuts = salvage(&directory, generation)?;
                say(report_cuts(generation, &cuts, out))?;
                let later = generations.len() - index - 1;
                if later > 0 {
                    say(writeln!(out, "{later} later epochs would be given up"))?;
                }
                if !fix {
                    say(writeln!(out, "Run it with --fix to cut the log there."))?;
                    return Ok(Verdict::Damaged);
                }
                let manifest = cut_at(directory.manifest(), index, &cuts);
                directory.store_manifest(manifest)?;
                say(writeln!(out, "The log has been cut there."))?;
                return Ok(Verdict::Fixed);
            }
            Err(other) => return Err(other),
        }
    }
    say(writeln!(out, "The log is whole."))?;
    Ok(Verdict::Whole)
}

/// What a log holds.
#[derive(Clone, Copy, Default)]
struct Contents {
    records: u64,
    parts: u64,
    payload_bytes: u64,
}

impl Contents {
    fn add(&mut self, record: &Record<'_>) {
        self.records += 1;
        self.parts += u64::from(matches!(record.kind, Kind::Part { .. }));
        self.payload_bytes += record.payload.len() as u64;
    }
}

/// The contents of each log, its tail, and where it ends.
type Findings = Vec<(Contents, Tail, Lsn)>;

fn examine(directory: &Directory, generation: &Generation) -> Result<Findings, Error> {
    let mut passed = Passed::default();
    let (mut all, mut tails) = (Vec::new(), Vec::new());
    for shard in (0..generation.logs.len() as u16).map(ShardId) {
        let mut contents = Contents::default();
        tails.push(directory.read_log(generation, shard, |record| {
            passed.saw(shard, record);
            contents.add(record);
        })?);
        all.push(contents);
    }
    let cuts = cut(&tails, &passed).map_err(|damage| directory.damaged(damage))?;
    for ((contents, tail), &cut) in all.iter_mut().zip(&tails).zip(&cuts) {
        tail.replay(cut, |record| contents.add(record));
    }
    let findings = all.into_iter().zip(tails).zip(cuts);
    Ok(findings.map(|((c, t), cut)| (c, t, cut)).collect())
}

fn report(generation: &Generation, findings: &Findings, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "Epoch {}, shards={}", generation.epoch, findings.len())?;
    for (shard, ((contents, tail, cut), log)) in findings.iter().zip(&generation.logs).enumerate() {
        writeln!(
            out,
            "  shard {shard}: LSN {} to {cut}, {} records, {} of them parts of transactions, {} bytes \
             of commands",
            log.from, contents.records, contents.parts, contents.payload_bytes
        )?;
        if let Some(torn) = tail.torn() {
            writeln!(
                out,
                "  shard {shard}: a write was cut off at LSN {}: {torn}, and {} bytes of the log \
                 behind it",
                torn.lsn, torn.bytes
            )?;
        }
        if *cut < tail.end() {
            let bytes = tail.end().since(*cut);
            writeln!(
                out,
                "  shard {shard}: {bytes} bytes behind a transaction that is not whole"
            )?;
        }
    }
    Ok(())
}

/// Where the logs end before the first damage.
fn salvage(directory: &Directory, generation: &Generation) -> Result<Vec<Lsn>, Error> {
    let (mut ends, mut logs) = (Vec::new(), Vec::new());
    for shard in (0..generation.logs.len() as u16).map(ShardId) {
        let mut parts: Vec<PartAt> = Vec::new();
        let tail = directory.salvage_log(generation, shard, |record| {
            if let Kind::Part { txn, participants } = &record.kind {
                parts.push((record.lsn, *txn, participants.clone()));
            }
        })?;
        ends.push(tail.end());
        logs.push(parts);
    }
    Ok(longest_cut(ends, &logs, |_, _| false))
}

fn report_cuts(generation: &Generation, cuts: &[Lsn], out: &mut impl Write) -> io::Result<()> {
    for (shard, (cut, log)) in cuts.iter().zip(&generation.logs).enumerate() {
        let lost = log.to.map_or(String::new(), |to| {
            format!(
                ", {} bytes of which are given up",
                to.since(log.from) - cut.since(log.from)
            )
        });
        writeln!(
            out,
            "  shard {shard}: LSN {} to {cut} can be kept{lost}",
            log.from
        )?;
    }
    Ok(())
}

/// The manifest with the logs of one generation cut, and nothing after them.
fn cut_at(manifest: &Manifest, index: usize, cuts: &[Lsn]) -> Manifest {
    let mut manifest = manifest.clone();
    let generations = &mut manifest.generations;
    for (log, &cut) in generations[index].logs.iter_mut().zip(cuts) {
        log.to = Some(cut);
    }
    // The epochs stay used: their files are still there.
    for log in generations[index + 1..]
        .iter_mut()
        .flat_map(|g| &mut g.logs)
    {
        log.to = Some(log.from);
    }
    manifest
}

#[cfg(test)]
mod tests {
    use super::super::directory::tests::{BLOCKS, Folder, effects, write_log};
    use super::*;
    use crate::log::block::BLOCK_BYTES;
    use crate::txn::TxnId;
    use std::fs;

    fn part(number: u64) -> (Kind, Vec<u8>) {
        let txn = TxnId {
            number,
            coordinator: ShardId(0),
        };
        let participants = [ShardId(0), ShardId(1)].into_iter().collect();
        (Kind::Part { txn, participants }, vec![b'p'; 3000])
    }

    fn run(path: &Path, fix: bool) -> (Verdict, String) {
        let mut out = Vec::new();
        let verdict = check(path, fix, |_| Ok(()), &mut out).expect("it can be read");
        (verdict, String::from_utf8(out).expect("text"))
    }

    #[test]
    fn damage_is_named_and_cut_off() {
        let folder = Folder::new("check-damage");
        let mut directory = Directory::open(&folder.0).expect("a new directory");
        directory.begin(&[], 2, BLOCKS).expect("it can be written");
        let first: Vec<_> = (0..10).map(part).collect();
        write_log(&directory, ShardId(0), &first);
        write_log(&directory, ShardId(1), &first);
        drop(directory);
        let (verdict, text) = run(&folder.0, false);
        assert_eq!(verdict, Verdict::Whole, "{text}");
        assert!(text.contains("10 records, 10 of them parts"), "{text}");

        let path = folder.0.join("1-1-0.log");
        let mut bytes = fs::read(&path).expect("it is there");
        bytes[4 * BLOCK_BYTES + 700] ^= 1;
        fs::write(&path, bytes).expect("it can be written");
        let (verdict, text) = run(&folder.0, false);
        assert_eq!(verdict, Verdict::Damaged, "{text}");
        let wanted =
            "1-1-0.log: the log of shard 1 (epoch 1) is damaged in segment 0 at offset 16384";
        assert!(text.contains(wanted), "{text}");
        assert_eq!(run(&folder.0, false).1, text, "looking changes nothing");

        let (verdict, text) = run(&folder.0, true);
        assert_eq!(verdict, Verdict::Fixed, "{text}");
        let (verdict, text) = run(&folder.0, false);
        assert_eq!(verdict, Verdict::Whole, "{text}");
        // What the damaged log lacks is not in the other one either.
        assert_eq!(
            text.matches("3 records, 3 of them parts").count(),
            2,
            "{text}"
        );
    }

    #[test]
    fn what_later_processes_wrote_is_given_up() {
        let folder = Folder::new("check-later");
        let mut directory = Directory::open(&folder.0).expect("a new directory");
        directory.begin(&[], 1, BLOCKS).expect("it can be written");
        let long = "x".repeat(9000);
        write_log(&directory, ShardId(0), &[effects("a"), effects(&long)]);
        let generation = directory.manifest().generations[0].clone();
        let tail = directory
            .read_log(&generation, ShardId(0), |_| {})
            .expect("whole");
        directory
            .begin(&[tail.end()], 1, BLOCKS)
            .expect("it can be written");
        write_log(&directory, ShardId(0), &[effects("b")]);
        drop(directory);
        fs::remove_file(folder.0.join("1-0-0.log")).expect("it is there");
        let (verdict, text) = run(&folder.0, true);
        assert_eq!(verdict, Verdict::Fixed, "{text}");
        assert!(text.contains("1 later epochs would be given up"), "{text}");
        assert_eq!(run(&folder.0, false).0, Verdict::Whole);
        let mut directory = Directory::open(&folder.0).expect("nobody has it");
        let cuts: Vec<Lsn> = vec![directory.manifest().generations[1].logs[0].from];
        let epoch = directory.begin(&cuts, 1, BLOCKS).expect("writable").epoch;
        assert_eq!(epoch, 3, "an epoch is never used again");
    }

    #[test]
    fn a_base_is_looked_at_and_never_repaired() {
        let folder = Folder::new("check-base");
        let mut directory = Directory::open(&folder.0).expect("a new directory");
        let begun = directory.begin_from(Some(3), &[], 1, BLOCKS, false);
        begun.expect("it can be written");
        drop(directory);
        for (fix, right) in [(false, true), (false, false), (true, false)] {
            let base = |path: &Path| match right {
                true => Ok(()),
                false => Err(format!("no {}", path.display())),
            };
            let mut out = Vec::new();
            let manifest = folder.0.join("ringdove.manifest"); // it stands for its directory
            let verdict = check(&manifest, fix, base, &mut out).expect("it can be read");
            assert_eq!(verdict == Verdict::Whole, right);
            let text = String::from_utf8(out).expect("text");
            assert_eq!(text.contains("Base 3 is whole."), right, "{text}");
            assert_eq!(text.contains("cannot be repaired"), !right, "{text}");
        }
    }

    #[test]
    fn there_has_to_be_a_directory() {
        let missing = std::env::temp_dir().join("ringdove-check-missing");
        assert!(check(&missing, false, |_| Ok(()), &mut Vec::new()).is_err());
        assert!(!missing.exists());
    }
}
