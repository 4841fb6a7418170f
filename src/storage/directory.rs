//! A directory of logs. Whoever holds a [`Directory`] is the only one who uses it.
#![expect(
    unsafe_code,
    reason = "flock: the standard library has it from Rust 1.89 on"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::folder::{Folder, shown};
use super::sequential::SequentialFile;
use super::{Error, NEW, replace_file, sync_directory};
use crate::log::block::{BLOCK_BYTES, Block, Found, Header, Place, examine};
use crate::log::manifest::{Extent, Generation, Manifest, Mark};
use crate::log::record::Record;
use crate::log::recover::{Damage, Reader, Tail};
use crate::log::{Identity, Lsn};
use crate::mesh::ShardId;

const LOCK: &str = "ringdove.lock";
const MANIFEST: &str = "ringdove.manifest";
/// What was a segment and may become one again has this at the end of its name.
const SPARE: &str = "spare";
/// So many spare segments are kept for each shard: it asks for the next while it fills one.
const SPARES_A_SHARD: usize = 4;
/// The largest manifest that is read: far above what a thousand shards and starts need.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// A directory of logs, locked.
#[derive(Debug)]
pub struct Directory {
    /// As it was named.
    name: PathBuf,
    folder: Folder,
    manifest: Manifest,
    /// Logs that are written and that the manifest does not name yet.
    beside: Option<Generation>,
    /// Locked as long as it is open.
    _lock: File,
}

/// A segment that can be written to.
#[derive(Debug)]
pub struct Segment {
    /// Open for reading and writing.
    pub file: File,
    /// Whether writes go past the page cache, which not every file system can do.
    pub direct: bool,
}

impl Directory {
    /// Opens the directory, which is made if it is not there, and removes what was left half made.
    pub fn open(path: &Path) -> Result<Self, Error> {
        fs::create_dir_all(path).map_err(Error::io("create", path))?;
        if let Some(parent) = path.parent().filter(|parent| *parent != Path::new("")) {
            sync_directory(parent)?; // the name of the directory itself
        }
        let name = path.to_owned();
        let folder = Folder::open(path).map_err(Error::io("open", path))?;
        let path = folder.path();
        let lock = lock(path)?;
        for entry in fs::read_dir(path).map_err(Error::io("read", path))? {
            let entry = entry.map_err(Error::io("read", path))?.path();
            if entry.extension().is_some_and(|extension| extension == NEW) {
                // Where logs were closed just now a segment may still be being prepared for them, and be
                // done at this very moment.
                remove(&entry)?;
            }
        }
        let manifest = read_manifest(&path.join(MANIFEST))?;
        if manifest.is_none() && has_segments(path)? {
            let path = shown(&path.join(MANIFEST));
            return Err(Error::NoManifest { path });
        }
        Ok(Self {
            name,
            folder,
            manifest: manifest.unwrap_or_default(),
            beside: None,
            _lock: lock,
        })
    }

    /// Which logs there are.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn segment_path(&self, identity: Identity, segment: u64) -> PathBuf {
        self.path().join(segment_name(identity, segment))
    }

    /// Where a base is, while the [folder](Self::folder) is held.
    pub fn base_path(&self, number: u64) -> PathBuf {
        self.path().join(format!("{number}.base.rdb"))
    }

    /// The error that a log is damaged.
    pub fn damaged(&self, damage: Damage) -> Error {
        let path = self.segment_path(damage.identity, damage.place.segment);
        Error::Damage {
            path: shown(&path),
            damage,
        }
    }

    /// Whether a folder has been used for logs.
    pub fn is_in(path: &Path) -> Result<bool, Error> {
        Ok(path.join(MANIFEST).exists() || path.is_dir() && has_segments(path)?)
    }

    /// Bytes of a log that may have to be read.
    pub fn log_bytes(&self, generation: &Generation, shard: ShardId) -> Result<u64, Error> {
        let mut bytes = 0;
        let first = generation.logs[shard.index()].segment;
        let segments = self.segments(generation.identity(shard))?;
        for segment in segments.into_iter().filter(|segment| *segment >= first) {
            let path = self.segment_path(generation.identity(shard), segment);
            bytes += fs::metadata(&path).map_err(Error::io("read", &path))?.len();
        }
        Ok(bytes)
    }

    /// The path by which it was opened.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// The directory itself.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces the manifest. When this returns, the new one is durable.
    pub fn store_manifest(&mut self, manifest: Manifest) -> Result<(), Error> {
        let path = self.path().join(MANIFEST);
        let new = path.with_extension(NEW);
        replace_file(&path, &new, manifest.encode().as_bytes())?;
        self.manifest = manifest;
        Ok(())
    }

    /// The segments of a log that are there, in order.
    pub fn segments(&self, identity: Identity) -> Result<Vec<u64>, Error> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(self.path()).map_err(Error::io("read", self.path()))? {
            let name = entry.map_err(Error::io("read", self.path()))?.file_name();
            let number = name.to_str().and_then(|name| {
                let number = name
                    .strip_suffix(".log")?
                    .rsplit_once('-')?
                    .1
                    .parse()
                    .ok()?;
                (segment_name(identity, number) == name).then_some(number)
            });
            segments.extend(number);
        }
        segments.sort_unstable();
        Ok(segments)
    }

    /// Reads the log of one shard; logs may be read by several threads. `replay` gets the records
    /// that are certain to survive.
    pub fn read_log(
        &self,
        generation: &Generation,
        shard: ShardId,
        mut replay: impl FnMut(&Record<'_>),
    ) -> Result<Tail, Error> {
        let identity = generation.identity(shard);
        let log = generation.logs[shard.index()];
        let reader = Reader::new(identity, generation.segment_blocks, log.from, log.to);
        let reader = reader.starting_in(log.segment);
        self.read_with(generation, reader, identity, &mut replay)
    }

    /// The same, with the first damage as the end of the log and every record before it as certain.
    pub fn salvage_log(
        &self,
        generation: &Generation,
        shard: ShardId,
        mut replay: impl FnMut(&Record<'_>),
    ) -> Result<Tail, Error> {
        let identity = generation.identity(shard);
        let log = generation.logs[shard.index()];
        let reader = Reader::new(identity, generation.segment_blocks, log.from, log.to);
        let reader = reader.starting_in(log.segment).salvaging();
        self.read_with(generation, reader, identity, &mut replay)
    }

    fn read_with(
        &self,
        generation: &Generation,
        mut reader: Reader,
        identity: Identity,
        replay: &mut impl FnMut(&Record<'_>),
    ) -> Result<Tail, Error> {
        let damaged = |damage| self.damaged(damage);
        let mut bytes = Vec::new();
        let first = generation.logs[identity.shard.index()].segment;
        let segments = self.segments(identity)?;
        for segment in segments.into_iter().filter(|segment| *segment >= first) {
            let path = self.segment_path(identity, segment);
            let size = u64::from(generation.segment_blocks) * BLOCK_BYTES as u64;
            bytes.clear();
            let there = std::fs::metadata(&path).map_or(0, |facts| facts.len());
            bytes.reserve(there.min(size) as usize + 1); // one more tells that it ends there
            File::open(&path)
                .and_then(|file| file.take(size).read_to_end(&mut bytes))
                .map_err(Error::io("read", &path))?;
            reader.segment(segment, &bytes, replay).map_err(damaged)?;
        }
        reader.finish().map_err(damaged)
    }

    /// Seals the logs of the last process at `cuts` and begins those of the next. When this returns,
    /// it is durable.
    pub fn begin(
        &mut self,
        cuts: &[Lsn],
        shards: u16,
        segment_blocks: u32,
    ) -> Result<&Generation, Error> {
        self.begin_from(self.manifest.base, cuts, shards, segment_blocks, false)
    }

    /// The same, where the logs are to build on a base that is there already, and is durable; whether
    /// slots have `moved` from where they would be dealt.
    pub fn begin_from(
        &mut self,
        base: Option<u64>,
        cuts: &[Lsn],
        shards: u16,
        segment_blocks: u32,
        moved: bool,
    ) -> Result<&Generation, Error> {
        let mut manifest = self.manifest.clone();
        manifest.base = base;
        manifest.seal(cuts);
        manifest.begin(shards, segment_blocks, moved);
        let begun = manifest.generations.last().expect("it was just begun");
        self.begin_segments(begun)?;
        self.store_manifest(manifest)?;
        self.recycle()?;
        Ok(self.manifest.generations.last().expect("it was just begun"))
    }

    /// Makes the first segment of each log, as far as its header: so a start knows that something is
    /// missing where it is not there. They are durable before a manifest names the logs.
    fn begin_segments(&mut self, generation: &Generation) -> Result<(), Error> {
        if !self.path().join(MANIFEST).exists() {
            self.store_manifest(self.manifest.clone())?; // segments without one are an error
        }
        for (shard, log) in (0..).map(ShardId).zip(&generation.logs) {
            let header = Header {
                first: log.from,
                blocks: generation.segment_blocks,
            };
            let identity = generation.identity(shard);
            let path = self.segment_path(identity, 0);
            let block = Block::header(identity, 0, header);
            File::create(&path)
                .and_then(|mut file| file.write_all(&block.0).and_then(|()| file.sync_all()))
                .map_err(Error::io("create", &path))?;
        }
        sync_directory(self.path())
    }

    /// Ends the logs of this process at `cuts`. When this returns, that is durable.
    pub fn seal(&mut self, cuts: &[Lsn]) -> Result<(), Error> {
        let mut manifest = self.manifest.clone();
        manifest.seal(cuts);
        self.store_manifest(manifest)
    }

    /// Takes an epoch for logs that are to [begin beside](Self::begin_beside) those that are named.
    /// When this returns, that is durable: nobody writes under this epoch again.
    pub fn reserve(&mut self) -> Result<(), Error> {
        let mut manifest = self.manifest.clone();
        manifest.reserve();
        self.store_manifest(manifest)
    }

    /// Begins logs that count only when they have a base ([`rebase`](Self::rebase)): until then a
    /// start reads those that are named. `firsts` are their first LSNs.
    pub fn begin_beside(
        &mut self,
        firsts: &[Lsn],
        segment_blocks: u32,
    ) -> Result<&Generation, Error> {
        assert!(self.manifest.used > 0, "an epoch was reserved");
        let log = |&from| Extent {
            from,
            segment: 0,
            to: None,
        };
        let generation = Generation {
            epoch: self.manifest.used,
            segment_blocks,
            moved: false,
            logs: firsts.iter().map(log).collect(),
        };
        self.begin_segments(&generation)?;
        Ok(self.beside.insert(generation))
    }

    /// Lets the running logs build on a base that is there and durable, and holds everything that the
    /// logs say before these marks, until which slots have `moved` or not. When this returns, that is durable, and what is not needed any
    /// more is gone or can be used again: all other logs, where the running ones began beside them.
    pub fn rebase(&mut self, base: u64, marks: &[Mark], moved: bool) -> Result<(), Error> {
        let mut manifest = self.manifest.clone();
        match &self.beside {
            Some(generation) => manifest.replace(generation.clone(), base, marks, moved),
            None => manifest.rebase(base, marks, moved),
        }
        self.store_manifest(manifest)?;
        self.beside = None;
        self.recycle()
    }

    /// The number of the next base.
    pub fn next_base(&self) -> u64 {
        self.manifest.base.map_or(1, |before| before + 1)
    }

    /// A base that is there and durable replaces all logs, none of which runs. When this returns, that is
    /// durable.
    pub fn replace_by_base(
        &mut self,
        base: u64,
        shards: u16,
        segment_blocks: u32,
    ) -> Result<(), Error> {
        let mut manifest = self.manifest.clone();
        manifest.replace_by_base(base, shards, segment_blocks);
        self.store_manifest(manifest)?;
        self.recycle()
    }

    /// Segments of which no log uses anything become spare: those prepared ahead, those behind a cut,
    /// and those whose effects are in the base. Their blocks tell their epoch, so nobody takes them
    /// for new ones. More than the shards may soon want are removed, those of another size than now,
    /// and bases that are not used.
    fn recycle(&self) -> Result<(), Error> {
        let last = self.manifest.generations.last();
        let bytes = last.map_or(0, |last| {
            u64::from(last.segment_blocks) * BLOCK_BYTES as u64
        });
        let mut room = last.map_or(0, |last| last.logs.len()) * SPARES_A_SHARD;
        let mut unused = Vec::new();
        for entry in fs::read_dir(self.path()).map_err(Error::io("read", self.path()))? {
            let entry = entry.map_err(Error::io("read", self.path()))?;
            let path = entry.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(name) = name else { continue };
            let is_segment_size = || entry.metadata().is_ok_and(|facts| facts.len() == bytes);
            if name.ends_with(SPARE) {
                if is_segment_size() && room > 0 {
                    room -= 1;
                } else {
                    remove(&path)?; // it may have been taken just now
                }
            } else if let Some(number) = name.strip_suffix(".base.rdb") {
                let number: Option<u64> = number.parse().ok();
                if number.is_some() && number != self.manifest.base {
                    fs::remove_file(&path).map_err(Error::io("remove", &path))?;
                }
            } else if let Some((epoch, shard, segment)) = parts_of(name)
                && !self.is_used(&path, epoch, shard, segment)?
            {
                unused.push((path, is_segment_size()));
            }
        }
        for (path, is_segment_size) in unused {
            if is_segment_size && room > 0 {
                room -= 1;
                fs::rename(&path, added(&path, SPARE)).map_err(Error::io("rename", &path))?;
            } else {
                fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Whether a log has something in a segment, or may get it there.
    fn is_used(&self, path: &Path, epoch: u32, shard: u16, segment: u64) -> Result<bool, Error> {
        let mut generations = self.manifest.generations.iter();
        let Some(generation) = generations.find(|generation| generation.epoch == epoch) else {
            return Ok(false);
        };
        let Some(log) = generation.logs.get(usize::from(shard)) else {
            return Ok(false);
        };
        match log.to {
            _ if segment < log.segment => Ok(false),
            None => Ok(true),
            Some(end) => begins_before(path, generation.identity(ShardId(shard)), segment, end),
        }
    }
}

/// The directory that a path means: itself, or where the manifest is that it names.
pub fn directory_of(path: &Path) -> &Path {
    let is_manifest = path.file_name().is_some_and(|name| name == MANIFEST);
    let parent = path.parent().filter(|_| is_manifest && path.is_file());
    match parent {
        Some(parent) if parent == Path::new("") => Path::new("."),
        parent => parent.unwrap_or(path),
    }
}

/// Removes a file that may be gone already.
fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(Error::io("remove", path)),
    }
}

/// Whether there are segments of any log.
fn has_segments(path: &Path) -> Result<bool, Error> {
    for entry in fs::read_dir(path).map_err(Error::io("read", path))? {
        let name = entry.map_err(Error::io("read", path))?.file_name();
        if name.to_str().and_then(parts_of).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Epoch, shard and number of a segment, of its name.
fn parts_of(name: &str) -> Option<(u32, u16, u64)> {
    let mut words = name.strip_suffix(".log")?.splitn(3, '-');
    let epoch = words.next()?.parse().ok()?;
    let shard = words.next()?.parse().ok()?;
    let segment = words.next()?.parse().ok()?;
    // Not what parses alike, such as a date.
    let is_so = format!("{epoch}-{shard}-{segment}.log") == name;
    is_so.then_some((epoch, shard, segment))
}

/// Whether a segment holds something of its log before `end`.
fn begins_before(path: &Path, identity: Identity, segment: u64, end: Lsn) -> Result<bool, Error> {
    let mut header = [0; BLOCK_BYTES];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut header, 0));
    match read {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        read => read.map_err(Error::io("read", path))?,
    }
    let place = Place {
        segment,
        position: 0,
    };
    Ok(matches!(examine(&header, identity, place), Found::Header(header) if header.first < end))
}

fn added(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

/// Prepares a segment of a log that begins at `first`, in the directory `path`: a spare file of the
/// right size, or a new one with zeros written to all of it, so that a write to it later changes
/// nothing but data. Whatever a spare file holds, its first block is as [`Block::prepared`] says.
/// Durable when this returns; what was made is removed when it fails, for want of space for example.
pub fn prepare(
    path: &Path,
    identity: Identity,
    segment: u64,
    header: Header,
) -> Result<Segment, Error> {
    let name = segment_name(identity, segment);
    let at = path.join(&name);
    let new = path.join(format!("{name}.{NEW}"));
    let made = make(
        path,
        &new,
        Block::prepared(identity, segment, header),
        header.blocks,
    )
    .and_then(|segment| {
        fs::rename(&new, &at)?;
        Ok(segment)
    });
    match made {
        Ok(segment) => {
            sync_directory(path)?;
            Ok(segment)
        }
        Err(source) => {
            let _ = fs::remove_file(&new); // it is removed at the next start otherwise
            Err(Error::io("prepare", &new)(source))
        }
    }
}

/// Makes the file `new` a segment that begins with the block `first`.
fn make(path: &Path, new: &Path, first: Block, blocks: u32) -> io::Result<Segment> {
    let bytes = u64::from(blocks) * BLOCK_BYTES as u64;
    if !take_spare(path, bytes, new)? {
        fill(new, bytes)?;
    }
    let segment = open_direct(new)?;
    segment.file.write_all_at(&first.0, 0)?;
    segment.file.sync_data()?;
    Ok(segment)
}

/// Gives a spare file of so many bytes the name `new`; whether there was one.
fn take_spare(path: &Path, bytes: u64, new: &Path) -> io::Result<bool> {
    while let Some(spare) = find_spare(path, bytes)? {
        match fs::rename(&spare, new) {
            // It has been taken, for logs that were closed just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => {
                renamed?;
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// A spare file of so many bytes.
fn find_spare(path: &Path, bytes: u64) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let spare = entry.path();
        let is_spare = spare
            .extension()
            .is_some_and(|extension| extension == SPARE);
        if !is_spare {
            continue;
        }
        match entry.metadata() {
            Ok(metadata) if metadata.len() == bytes => return Ok(Some(spare)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {} // it has just been taken
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Around the page cache: pages that stood there would have to be thrown out by the first writes to the
/// segment, which the shard's ring then hands to a thread of the kernel's.
fn fill(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = SequentialFile::create(path)?;
    file.write_zeros(bytes)?;
    file.finish()
}

fn open_direct(path: &Path) -> io::Result<Segment> {
    let open = |flags| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(flags);
        options.open(path)
    };
    match open(libc::O_DIRECT) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(Segment {
            file: open(0)?,
            direct: false,
        }),
        opened => Ok(Segment {
            file: opened?,
            direct: true,
        }),
    }
}

fn segment_name(identity: Identity, segment: u64) -> String {
    format!("{}-{}-{segment}.log", identity.epoch, identity.shard.0)
}

fn lock(directory: &Path) -> Result<File, Error> {
    let path = directory.join(LOCK);
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    let file = options.open(&path).map_err(Error::io("open", &path))?;
    // SAFETY: the descriptor is open for as long as the call takes.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        return Ok(file);
    }
    let error = io::Error::last_os_error();
    Err(match error.kind() {
        io::ErrorKind::WouldBlock => Error::Locked {
            path: shown(directory),
        },
        _ => Error::io("lock", &path)(error),
    })
}

fn read_manifest(path: &Path) -> Result<Option<Manifest>, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(MANIFEST_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(Error::io("read", path))?;
    let manifest = Manifest::decode(&bytes).map_err(|wrong| Error::Manifest {
        path: shown(path),
        wrong,
    })?;
    Ok(Some(manifest))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::log::record::Kind;
    use crate::log::writer::{How, Writer};

    pub(in crate::storage) const BLOCKS: u32 = 8;

    /// A temporary folder that goes with its test.
    pub(in crate::storage) struct Folder(pub(in crate::storage) PathBuf);

    impl Folder {
        pub(in crate::storage) fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ringdove-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a temporary folder");
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).expect("it is ours");
        }
    }

    /// Writes records to the log of a shard, each with a flush, as a shard would.
    pub(in crate::storage) fn write_log(
        directory: &Directory,
        shard: ShardId,
        records: &[(Kind, Vec<u8>)],
    ) {
        write_marked(directory, shard, records, 0);
    }

    /// The same; where the log stood before the record with this number.
    fn write_marked(
        directory: &Directory,
        shard: ShardId,
        records: &[(Kind, Vec<u8>)],
        marked: usize,
    ) -> Mark {
        let generation = directory.manifest().generations.last().expect("begun");
        let identity = generation.identity(shard);
        let from = generation.logs[shard.index()].from;
        let header = Header {
            first: from,
            blocks: BLOCKS,
        };
        let mut writer = Writer::new(identity, BLOCKS, from);
        let mut files = Vec::new();
        let mut mark = None;
        let mut records = records.iter().enumerate();
        loop {
            if let Some((at, (kind, payload))) = records.next() {
                if at == marked {
                    mark = Some(Mark {
                        lsn: writer.end(),
                        segment: writer.durable_segment(),
                    });
                }
                writer.append(0, kind, payload).expect("short");
            } else if !writer.is_dirty() {
                return mark.expect("there is such a record");
            }
            if writer.next_segment() < writer.segment() + 2 {
                let next = writer.next_segment();
                let segment = prepare(directory.path(), identity, next, header).expect("room");
                files.push(segment.file);
                writer.segment_prepared();
            }
            let Some(flush) = writer.begin(How::Sync, writer.durable()) else {
                continue;
            };
            for (position, range) in &flush.extents {
                for (at, block) in range.clone().enumerate() {
                    let at = (*position as usize + at) * BLOCK_BYTES;
                    files[flush.segment as usize]
                        .write_all_at(&flush.blocks[block].0, at as u64)
                        .expect("the file takes blocks");
                }
            }
            writer.ended(flush, Ok(()));
        }
    }

    pub(in crate::storage) fn effects(text: &str) -> (Kind, Vec<u8>) {
        (Kind::Effects, text.as_bytes().to_vec())
    }

    fn read(directory: &Directory, generation: usize) -> (Vec<String>, Vec<Lsn>) {
        let generation = &directory.manifest().generations[generation];
        let mut texts = Vec::new();
        let mut text = |record: &Record<'_>| {
            texts.push(String::from_utf8_lossy(record.payload).into_owned());
        };
        let mut ends = Vec::new();
        for shard in 0..generation.logs.len() as u16 {
            let tail = directory
                .read_log(generation, ShardId(shard), &mut text)
                .expect("nothing is damaged");
            tail.replay(tail.end(), &mut text);
            ends.push(tail.end());
        }
        (texts, ends)
    }

    #[test]
    fn logs_are_read_by_the_next_process_and_the_one_after() {
        let folder = Folder::new("directory-generations");
        let mut directory = Directory::open(&folder.0).expect("a new directory");
        directory.begin(&[], 2, BLOCKS).expect("it can be written");
        let long = "x".repeat(100_000);
        write_log(
            &directory,
            ShardId(0),
            &[effects("a"), effects(&long), effects("b")],
        );
        write_log(&directory, ShardId(1), &[effects("c")]);
        drop(directory);

        fs::write(folder.0.join("9-9-9.log.new"), "half made").expect("it can be written");
        let mut directory = Directory::open(&folder.0).expect("nobody else has it");
        assert!(!folder.0.join("9-9-9.log.new").exists());
        let wanted = ["a", &long, "b", "c"].map(str::to_owned).to_vec();
        let (texts, ends) = read(&directory, 0);
        assert!(texts == wanted);
        directory
            .begin(&ends, 1, BLOCKS)
            .expect("it can be written");
        write_log(&directory, ShardId(0), &[effects("d")]);
        drop(directory);

        let directory = Directory::open(&folder.0).expect("nobody else has it");
        assert!(read(&directory, 0) == (wanted, ends));
        assert_eq!(read(&directory, 1).0, ["d"]);
    }

    #[test]
    fn segments_that_are_not_used_are_used_again() {
        let folder = Folder::new("directory-spare");
        let mut directory = Directory::open(&folder.0).expect("a new directory");
        let mut cuts = Vec::new();
        for run in 0..4 {
            directory
                .begin(&cuts, 1, BLOCKS)
                .expect("it can be written");
            let spare = find_spare(&folder.0, u64::from(BLOCKS) * BLOCK_BYTES as u64);
            assert_eq!(
                spare.expect("readable").is_some(),
                run > 0,
                "one was prepared ahead"
            );
            write_log(&directory, ShardId(0), &[effects("some"), effects("more")]);
            let (texts, ends) = read(&directory, run);
            assert_eq!(texts, ["some", "more"]);
            cuts = ends;
        }
        let files = fs::read_dir(&folder.0).expect("a folder").count();
        // Lock, manifest, a segment that is used for each run, one that was prepared ahead.
        assert_eq!(files, 2 + 4 + 1);
    }

    #[test]
    fn what_a_new_base_holds_is_not_read_any_more() {
        let folder = Folder::new("directory-rebase");
        let mut directory = Directory::open(&folder.0).expect("a new directory");
        directory.begin(&[], 1, BLOCKS).expect("it can be written");
        write_log(&directory, ShardId(0), &[effects("old")]);
        let (_, ends) = read(&directory, 0);
        directory.begin(&ends, 2, BLOCKS).expect("writable");
        let records: Vec<_> = (0..40)
            .map(|n| effects(&format!("{n} {}", "x".repeat(3000))))
            .collect();
        let marks = [30, 0].map(|at| {
            let shard = ShardId(u16::from(at == 0));
            write_marked(&directory, shard, &records, at)
        });
        assert!(marks[0].segment > 1, "it has several segments");
        fs::write(directory.base_path(7), "a base").expect("writable");
        fs::write(directory.base_path(6), "an old one").expect("writable");
        directory.rebase(7, &marks, false).expect("writable");
        assert!(directory.base_path(7).exists() && !directory.base_path(6).exists());
        for reopened in [false, true] {
            if reopened {
                drop(directory);
                directory = Directory::open(&folder.0).expect("nobody else has it");
            }
            assert_eq!(directory.manifest().generations.len(), 1);
            let (texts, _) = read(&directory, 0);
            let numbers = texts.iter().map(|text| text.split(' ').next());
            let wanted: Vec<String> = (30..40).chain(0..40).map(|n| n.to_string()).collect();
            assert!(numbers.eq(wanted.iter().map(|n| Some(n.as_str()))));
        }
        let identity = directory.manifest().generations[0].identity(ShardId(0));
        let segments = directory.segments(identity).expect("readable");
        assert_eq!(segments.first(), Some(&marks[0].segment));
    }

    /// Three logs of one epoch: the first two have a few segments, the last one is empty.
    fn logs(name: &str) -> Folder {
        let folder = Folder::new(name);
        let mut directory = Directory::open(&folder.0).expect("a new directory");
        directory.begin(&[], 3, BLOCKS).expect("it can be written");
        for shard in 0..2 {
            let records: Vec<_> = (0..20).map(|_| effects(&"x".repeat(3000))).collect();
            write_log(&directory, ShardId(shard), &records);
        }
        folder
    }

    /// What reading the three logs gives: why not, or whether an end is torn.
    fn reading(folder: &Folder) -> Result<bool, String> {
        let told = |error: Error| error.to_string();
        let directory = Directory::open(&folder.0).map_err(told)?;
        let generation = &directory.manifest().generations[0];
        let mut torn = false;
        for shard in (0..3).map(ShardId) {
            let tail = directory.read_log(generation, shard, |_| {});
            torn |= tail.map_err(told)?.torn().is_some();
        }
        Ok(torn)
    }

    fn last_segment(folder: &Folder, shard: u16) -> (u64, PathBuf) {
        let used = (0..).map(|n| (n, folder.0.join(format!("1-{shard}-{n}.log"))));
        let used = used.take_while(|(_, path)| {
            fs::read(path).is_ok_and(|bytes| bytes[BLOCK_BYTES..].iter().any(|byte| *byte != 0))
        });
        used.last().expect("there is something")
    }

    #[test]
    fn what_no_crash_takes_away_is_missed() {
        assert_eq!(reading(&logs("directory-whole")), Ok(false));
        type Harm = fn(&Folder);
        let cases: [(&str, Harm, &str); 9] = [
            (
                "first",
                |f| remove_it(f, "1-0-0.log"),
                "1-0-0.log: the log of shard 0 (epoch 1) is damaged in segment 0 at offset 0: no file",
            ),
            (
                "empty log",
                |f| remove_it(f, "1-2-0.log"),
                "1-2-0.log: the log of shard 2 (epoch 1) is damaged in segment 0 at offset 0: no file",
            ),
            (
                "all",
                |f| {
                    let (last, _) = last_segment(f, 1);
                    (0..=last + 1).for_each(|n| remove_it(f, &format!("1-1-{n}.log")));
                },
                "1-1-0.log: the log of shard 1 (epoch 1) is damaged in segment 0 at offset 0: no file",
            ),
            (
                "emptied",
                |f| cut(&f.0.join("1-2-0.log"), 0),
                "in segment 0 at offset 0: the end of the file",
            ),
            (
                "cut to its header",
                |f| cut(&f.0.join("1-0-0.log"), 1),
                "in segment 0 at offset 0: the end of the file",
            ),
            (
                "last one cut",
                |f| cut(&last_segment(f, 0).1, 3),
                "offset 12288: the end of the file",
            ),
            (
                "last one gone",
                |f| fs::remove_file(last_segment(f, 0).1).expect("there"),
                "no file",
            ),
            (
                "exchanged",
                |f| exchange(&f.0.join("1-0-0.log"), &f.0.join("1-1-0.log")),
                "in segment 0 at offset 0: a block that belongs elsewhere",
            ),
            (
                "last ones exchanged",
                |f| exchange(&last_segment(f, 0).1, &last_segment(f, 1).1),
                "at offset 0: a block that belongs elsewhere",
            ),
        ];
        for (name, harm, wanted) in cases {
            let folder = logs("directory-lost");
            harm(&folder);
            let found = reading(&folder);
            let told = found.as_ref().is_err_and(|why| why.contains(wanted));
            assert!(told, "{name}: {found:?}");
        }
    }

    fn remove_it(folder: &Folder, name: &str) {
        fs::remove_file(folder.0.join(name)).expect("it is there");
    }

    fn cut(path: &Path, blocks: u64) {
        let file = OpenOptions::new().write(true).open(path);
        let cut = file.and_then(|file| file.set_len(blocks * BLOCK_BYTES as u64));
        cut.expect("it can be cut");
    }

    fn exchange(one: &Path, other: &Path) {
        let between = one.with_extension("between");
        for (from, to) in [(one, between.as_path()), (other, one), (&between, other)] {
            fs::rename(from, to).expect("it is there");
        }
    }

    #[test]
    fn logs_without_a_manifest_are_an_error() {
        let folder = logs("directory-no-manifest");
        remove_it(&folder, MANIFEST);
        assert!(Directory::is_in(&folder.0).expect("readable"));
        let why = reading(&folder).expect_err("no manifest");
        assert!(why.contains("ringdove.manifest is missing"), "{why}");
    }

    #[test]
    fn a_crash_before_logs_are_named_leaves_nothing() {
        let folder = Folder::new("directory-unnamed");
        for shards in [3, 2] {
            // As far as it comes before the manifest names them.
            let mut directory = Directory::open(&folder.0).expect("a new directory");
            let mut manifest = directory.manifest().clone();
            manifest.begin(shards, BLOCKS, false);
            let begun = directory.begin_segments(&manifest.generations[0]);
            begun.expect("it can be written");
        }
        let mut directory = Directory::open(&folder.0).expect("nothing is missing");
        directory.begin(&[], 1, BLOCKS).expect("it can be written");
        assert_eq!(read(&directory, 0), (Vec::new(), vec![Lsn(0)]));
        let left = directory.segments(directory.manifest().generations[0].identity(ShardId(1)));
        assert_eq!(left.expect("readable"), [] as [u64; 0]);
    }

    /// It looks as if a crash had torn it, even where it is alone.
    #[test]
    fn a_last_block_that_is_torn_is_told() {
        let folder = logs("directory-torn");
        let (_, path) = last_segment(&folder, 1);
        let mut bytes = fs::read(&path).expect("it is there");
        let last = bytes.iter().rposition(|byte| *byte != 0).expect("written");
        bytes[last] ^= 1;
        fs::write(&path, bytes).expect("writable");
        assert_eq!(reading(&folder), Ok(true));
    }

    #[test]
    fn two_servers_do_not_share_a_directory() {
        let folder = Folder::new("directory-lock");
        let first = Directory::open(&folder.0).expect("a new directory");
        let second = Directory::open(&folder.0);
        assert!(matches!(second, Err(Error::Locked { .. })), "{second:?}");
        drop(first);
        Directory::open(&folder.0).expect("it is free again");
    }

    #[test]
    fn a_damaged_manifest_is_an_error() {
        let folder = Folder::new("directory-manifest");
        let mut directory = Directory::open(&folder.0).expect("a new directory");
        directory.begin(&[], 2, BLOCKS).expect("it can be written");
        drop(directory);
        let path = folder.0.join(MANIFEST);
        let text = fs::read_to_string(&path).expect("it is there");
        fs::write(&path, text.replace("shard 1 from 0", "shard 1 from 5")).expect("writable");
        let opened = Directory::open(&folder.0);
        assert!(matches!(opened, Err(Error::Manifest { .. })), "{opened:?}");
    }

    #[test]
    fn what_was_not_prepared_leaves_nothing() {
        let folder = Folder::new("directory-prepare");
        let missing = folder.0.join("missing");
        let identity = Identity {
            shard: ShardId(0),
            shards: 1,
            epoch: 1,
        };
        let header = Header {
            first: Lsn(0),
            blocks: BLOCKS,
        };
        assert!(prepare(&missing, identity, 0, header).is_err());
        let segment = prepare(&folder.0, identity, 0, header).expect("room");
        let size = segment.file.metadata().expect("open").len();
        assert_eq!(size, u64::from(BLOCKS) * BLOCK_BYTES as u64);
        let names: Vec<_> = fs::read_dir(&folder.0).expect("a folder").collect();
        assert_eq!(names.len(), 1);
    }
}
