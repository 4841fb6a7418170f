//! A folder that stays the same while it is used, whatever becomes of its name.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What stands before the number of a descriptor.
const DESCRIPTORS: &str = "/proc/self/fd";

/// A folder that is held open. Who moves it away, or puts another in its place, changes nothing for who
/// uses it: its files are found by way of its descriptor.
#[derive(Clone, Debug)]
pub struct Folder(Arc<Held>);

#[derive(Debug)]
struct Held {
    path: PathBuf,
    /// What `path` goes by.
    _file: File,
}

impl Folder {
    /// Opens it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let held = Path::new(DESCRIPTORS).join(file.as_raw_fd().to_string());
        // Where there is no /proc its name has to do.
        let path = if held.is_dir() { held } else { path.into() };
        Ok(Self(Arc::new(Held { path, _file: file })))
    }

    /// A way to it, as long as it is held. For people, see [`shown`].
    pub fn path(&self) -> &Path {
        &self.0.path
    }
}

/// A path in a [`Folder`] as people know it: by the name that the folder has now.
pub fn shown(path: &Path) -> PathBuf {
    let Some(inside) = path.strip_prefix(DESCRIPTORS).ok() else {
        return path.to_owned();
    };
    let mut parts = inside.components();
    let descriptor = parts.next();
    let name = descriptor.and_then(|number| Path::new(DESCRIPTORS).join(number).read_link().ok());
    let rest = parts.as_path();
    match name {
        Some(name) if rest == Path::new("") => name,
        Some(name) => name.join(rest),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::directory::tests::Folder as Temporary;
    use super::*;
    use std::fs;

    #[test]
    fn it_is_the_same_under_another_name() {
        let temporary = Temporary::new("folder");
        let [before, after] = ["before", "after"].map(|name| temporary.0.join(name));
        fs::create_dir(&before).expect("a new folder");
        let folder = Folder::open(&before).expect("it is there");
        assert_eq!(shown(folder.path()), before);
        fs::rename(&before, &after).expect("it is ours");
        fs::create_dir(&before).expect("the name is free");
        let file = folder.path().join("file");
        fs::write(&file, "x").expect("there is room");
        assert_eq!(fs::read(after.join("file")).expect("it is there"), b"x");
        assert_eq!(shown(&file), after.join("file"));
        assert_eq!(shown(&after), after);
    }
}
