//! The files of the logs ([`crate::log`] says what is in them): the directory and its lock, the
//! manifest, segments as they are prepared and read. Ordinary blocking calls, for threads that serve
//! nobody: at the start, at the end, and those that prepare segments. The writes of a running shard
//! go through its own ring.
//!
//! Redis keeps its log in a folder of the same name; its files are never touched.
//!
//! ```text
//! dir/appenddirname/
//!     ringdove.lock        locked while a server uses the directory
//!     ringdove.manifest    which logs there are; replaced as a whole
//!     2.base.rdb           base 2: the snapshot that the logs build on
//!     3-0-12.log           epoch 3, shard 0, segment 12
//!     *.spare              was a segment, and will be one again
//!     *.new                what was being made when a process ended; removed
//! ```
pub mod check;
pub mod directory;
pub mod folder;
pub mod loading;
pub mod preparing;
pub mod sequential;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::log::manifest;
use crate::log::recover::Damage;

/// What is being made has this at the end of its name.
pub const NEW: &str = "new";

/// Why the files cannot be used.
#[derive(Debug)]
pub enum Error {
    /// The system refused something.
    Io {
        /// What was to be done.
        operation: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another server uses the directory.
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The manifest is not one.
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        wrong: manifest::Wrong,
    },
    /// There are logs, and no manifest.
    NoManifest {
        /// The file that is missing.
        path: PathBuf,
    },
    /// Something that was certain to survive is not there.
    Damage {
        /// The segment.
        path: PathBuf,
        /// What and where.
        damage: Damage,
    },
}

/// Replaces a file, or makes it, by way of another one beside it: a crash leaves the old bytes or the
/// new ones. When this returns, the new ones are durable; what was made is removed when it fails.
pub fn replace_file(path: &Path, new: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = File::create(new).map_err(Error::io("create", new))?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(Error::io("write", new))
        .and_then(|()| fs::rename(new, path).map_err(Error::io("rename", new)));
    if written.is_err() {
        let _ = fs::remove_file(new); // the error is told already; the next attempt writes over it
    }
    written?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// Makes the names in a directory durable.
fn sync_directory(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(Error::io("sync", path))
}

impl Error {
    /// The system's number of the error; EIO for what the system did not say.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Io { source, .. } => source.raw_os_error().unwrap_or(libc::EIO),
            _ => libc::EIO,
        }
    }

    fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            operation,
            path: folder::shown(path),
            source,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io {
                operation,
                path,
                source,
            } => write!(f, "Can't {operation} {}: {source}", path.display()),
            Self::Locked { path } => {
                write!(f, "Another server uses the log in {}", path.display())
            }
            Self::Manifest { path, wrong } => {
                write!(f, "{} is damaged: {wrong}", path.display())
            }
            Self::NoManifest { path } => write!(
                f,
                "{} is missing, without which the logs beside it cannot be read. Bring it back, or \
                 move them away to begin without them.",
                path.display()
            ),
            Self::Damage { path, damage } => write!(f, "{}: {damage}", path.display()),
        }
    }
}

impl std::error::Error for Error {}
