//! What a start finds in a directory that Redis has used: which of its files hold the dataset, as
//! Redis would choose. They are read and never changed.
//!
//! | `appendonly` | the dataset |
//! | --- | --- |
//! | `no` | `dbfilename`, if it is there |
//! | `yes` | the log of several files that the manifest in `appenddirname` names (Redis 7), or the single file `appendfilename` in `dir` (before), or else `dbfilename` |
//!
//! Redis starts empty where `appendonly` is `yes` and there is a snapshot alone. That is how datasets
//! are lost on the day somebody turns the log on, so here the snapshot is loaded.
//!
//! A log is imported once: snapshots that are written afterwards tell by a field `ringdove-imported`
//! which state of which files they come from ([`Log::fingerprint`]), and are taken instead of them
//! as long as these are as they were. If Redis has written to them since, they are newer, and
//! imported again.

pub mod commands;
pub mod deal;
pub mod manifest;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::config::{Config, as_path};
use super::snapshot;
use crate::keyspace::Hasher;
use crate::rdb::{Item, Limits, Reader};
use manifest::Manifest;

/// The field of a snapshot that names the log that it comes from.
pub const IMPORTED: &str = "ringdove-imported";
/// More is no manifest: Redis has a line for each of a few files.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// The fields of a snapshot stand in its first bytes.
const HEAD_BYTES_MAX: u64 = 1 << 16;

/// Where the dataset is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// In a snapshot.
    Snapshot(PathBuf),
    /// In a log of Redis's.
    Log(Log),
}

/// A log of Redis's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Log {
    /// Its files in the order in which they are to be read. Only the last may be cut short.
    pub files: Vec<PathBuf>,
    /// Bytes of all of them.
    pub bytes: u64,
    /// The names and lengths of the files: a log that is appended to has another one.
    pub fingerprint: String,
}

impl Log {
    fn of(files: Vec<PathBuf>) -> Result<Self, String> {
        let (mut bytes, mut fingerprint) = (0, String::new());
        for path in &files {
            let facts = fs::metadata(path)
                .map_err(|error| format!("The AOF file {}: {error}", path.display()))?;
            bytes += facts.len();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            fingerprint.push_str(&format!("{name}:{};", facts.len()));
        }
        Ok(Self {
            files,
            bytes,
            fingerprint,
        })
    }
}

/// Looks for the dataset; None if there is none.
pub fn find(config: &Config) -> Result<Option<Source>, String> {
    let snapshot = snapshot::path(config);
    let log = match config.appendonly {
        true => find_log(config)?,
        false => None,
    };
    match log {
        Some(log) if imported_by(&snapshot).as_deref() != Some(log.fingerprint.as_bytes()) => {
            Ok(Some(Source::Log(log)))
        }
        _ => Ok(snapshot.exists().then_some(Source::Snapshot(snapshot))),
    }
}

/// Redis's log: that of several files, or else the single one.
fn find_log(config: &Config) -> Result<Option<Log>, String> {
    let name = as_path(&config.appendfilename);
    let single = config.dir.0.join(name);
    let folder = config.dir.0.join(as_path(&config.appenddirname));
    let mut manifest_name = name.as_os_str().to_owned();
    manifest_name.push(".manifest");
    let Some(manifest) = read_manifest(&folder.join(manifest_name))? else {
        let found = single.exists().then(|| Log::of(vec![single]));
        return found.transpose();
    };
    // An upgrade of Redis's that was interrupted leaves the single file where it was.
    let path_of = |name: &String| {
        let path = folder.join(as_path(name.as_bytes()));
        let in_place =
            path.exists() || as_path(name.as_bytes()) != single.file_name().unwrap_or_default();
        if in_place { path } else { single.clone() }
    };
    let files: Vec<_> = manifest.files.iter().map(path_of).collect();
    let found = (!files.is_empty()).then(|| Log::of(files));
    found.transpose()
}

fn read_manifest(path: &Path) -> Result<Option<Manifest>, String> {
    let failed =
        |why: &dyn std::fmt::Display| format!("The AOF manifest {}: {why}", path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&error)),
    };
    let mut text = Vec::new();
    file.take(MANIFEST_BYTES_MAX)
        .read_to_end(&mut text)
        .map_err(|error| failed(&error))?;
    Manifest::parse(&text).map(Some).map_err(|why| failed(&why))
}

/// Which log a snapshot comes from; None if it tells of none, or there is no snapshot that can be
/// read, of which its loading will tell.
fn imported_by(snapshot: &Path) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let file = File::open(snapshot).ok()?;
    file.take(HEAD_BYTES_MAX).read_to_end(&mut head).ok()?;
    // Positions are not looked at, so any seed will do.
    let limits = Limits::of(&Config::default(), Hasher::new([1, 2]));
    let mut reader = Reader::new(&limits, false);
    reader.feed(&head);
    while let Ok(Some(Item::Aux(name, value))) = reader.next_item() {
        if name == IMPORTED.as_bytes() {
            return Some(value);
        }
    }
    None
}
