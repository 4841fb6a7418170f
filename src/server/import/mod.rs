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
//! This is asked where we have no log of our own: with `appendonly yes` a log of ours begins with what
//! was imported, and is the dataset from then on ([`super::recovery`]), whatever Redis does in the
//! directory later. Its files stand beside Redis's in `appenddirname`, under other names.

pub mod commands;
pub mod deal;
pub mod manifest;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::config::{Config, as_path};
use super::snapshot;
use manifest::Manifest;

/// More is no manifest: Redis has a line for each of a few files.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;

/// Where the dataset is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// In a snapshot.
    Snapshot(PathBuf),
    /// In a log of Redis's.
    Log(Log),
}

impl Source {
    /// How much there is to read.
    pub fn bytes(&self) -> u64 {
        match self {
            // One that cannot be read is found out when it is.
            Self::Snapshot(path) => path.metadata().map_or(0, |facts| facts.len()),
            Self::Log(log) => log.bytes,
        }
    }
}

/// A log of Redis's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Log {
    /// Its files in the order in which they are to be read. Only the last may be cut short.
    pub files: Vec<PathBuf>,
    /// Bytes of all of them.
    pub bytes: u64,
}

impl Log {
    fn of(files: Vec<PathBuf>) -> Result<Self, String> {
        let mut bytes = 0;
        for path in &files {
            let facts = fs::metadata(path)
                .map_err(|error| format!("The AOF file {}: {error}", path.display()))?;
            bytes += facts.len();
        }
        Ok(Self { files, bytes })
    }
}

/// Looks for the dataset; None if there is none.
pub fn find(config: &Config) -> Result<Option<Source>, String> {
    let snapshot = snapshot::path(config);
    let log = match config.appendonly {
        true => find_log(config)?,
        false => None,
    };
    let snapshot = || snapshot.exists().then_some(Source::Snapshot(snapshot));
    Ok(log.map(Source::Log).or_else(snapshot))
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
