//! DEBUG RELOAD: the dataset as a snapshot has it. Each shard reads what is its own; a transaction holds
//! every database at all of them meanwhile.
//!
//! Without options no file is written: every key is turned into what a file would have of it, and back.
//! NOSAVE reads the file that is there (`dir`, `dbfilename`). On Redis that may leave a log which does not
//! lead to what is in memory. Ours could not be replayed then, so it is told of what was read.

use std::fs::File;
use std::io::Read;

use crate::command::error::Error;
use crate::command::generic::scan::is_own;
use crate::keyspace::{CURSOR_END, Lookup};
use crate::net::engine::Engine;
use crate::rdb::encode::put_signature;
use crate::rdb::{Access, Encoder, Entry, Item, Limits, Reader};
use crate::server::{log, snapshot};
use crate::shard::Shard;

/// Redis says no more; the log says why.
const FAILED: Error = Error::fixed("ERR Error trying to load the RDB dump");
const UNKNOWN: Error =
    Error::fixed("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.");

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reload {
    /// It is of what is there now, and not of the file.
    save: bool,
    /// What is there now goes before.
    flush: bool,
    /// What is read takes the place of what is there under its key, which is a fault otherwise.
    merge: bool,
}

/// What a shard has read.
#[derive(Clone, Copy, Default)]
pub(super) struct Told {
    pub(super) keys: u64,
    pub(super) expired: u64,
}

impl Reload {
    pub(super) fn parse(options: &[&[u8]]) -> Result<Self, Error> {
        let mut reload = Self {
            save: true,
            flush: true,
            merge: false,
        };
        for option in options {
            match option.to_ascii_lowercase().as_slice() {
                b"merge" => reload.merge = true,
                b"noflush" => reload.flush = false,
                b"nosave" => reload.save = false,
                _ => return Err(UNKNOWN),
            }
        }
        Ok(reload)
    }

    /// A shard's part.
    pub(super) fn run(self, engine: &mut Engine) -> Result<Told, Error> {
        let shard = &mut engine.shard;
        let any = (0..shard.keyspace.databases()).any(|db| !shard.keyspace.db(db).is_empty());
        if self.save && !self.flush && !self.merge && any {
            log::warning(format_args!("DEBUG RELOAD: the keys are there already"));
            return Err(FAILED);
        }
        if self.flush {
            // Who watches a key finds it changed, even if it comes back as it was.
            let watched = shard.watched_and_there();
            shard.touch_watched(watched, |_| true);
            engine.flushed_for_trackers();
        }
        let shard = &mut engine.shard;
        if self.save {
            return Ok(there_and_back(shard));
        }
        if self.flush && any {
            for db in 0..shard.keyspace.databases() {
                shard.keyspace.db_mut(db).clear();
                shard.flushed(db as u16, 0);
            }
            shard.effect_on_databases(0, &[b"FLUSHALL"]);
            shard.effects.close();
        }
        self.read(shard).map_err(|why| {
            log::warning(format_args!("DEBUG RELOAD: {why}"));
            FAILED
        })
    }

    /// Reads the file as far as it is this shard's.
    fn read(self, shard: &mut Shard) -> Result<Told, String> {
        let limits = Limits::of(&shard.config, *shard.keyspace.hasher());
        let mut file = File::open(snapshot::path(&shard.config)).map_err(|e| e.to_string())?;
        let mut reader = Reader::new(&limits, shard.config.rdbchecksum);
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut told = Told::default();
        loop {
            let bytes = file.read(&mut chunk).map_err(|error| error.to_string())?;
            if bytes == 0 {
                reader.end().map_err(|error| error.to_string())?;
                return Ok(told);
            }
            reader.feed(&chunk[..bytes]);
            while let Some(item) = reader.next_item().map_err(|error| error.to_string())? {
                if let Item::Entry(entry) = item
                    && is_own(shard, entry.key)
                {
                    self.store(shard, entry, &mut told)?;
                }
            }
        }
    }

    fn store(self, shard: &mut Shard, entry: Entry<'_>, told: &mut Told) -> Result<(), String> {
        let databases = shard.keyspace.databases();
        let at = usize::try_from(entry.db).ok().filter(|db| *db < databases);
        let at = at.ok_or_else(|| format!("it has a key in database {}", entry.db))?;
        if entry.expiry.is_some_and(|at| at <= shard.now_ms) {
            told.expired += 1;
            return Ok(());
        }
        let (key, pos) = (entry.key, shard.pos(entry.key));
        let clock = shard.clock_of(entry.idle_seconds, entry.frequency);
        let clock = clock.unwrap_or_else(|| shard.access_clock());
        let now_ms = shard.now_ms;
        let db = shard.keyspace.db_mut(at);
        if !self.merge && matches!(db.lookup(pos, key, now_ms), Lookup::Live(_)) {
            return Err(format!(
                "there is a key '{}' already in database {at}",
                key.escape_ascii()
            ));
        }
        db.remove(pos, key);
        entry
            .value
            .store(|value| db.insert(pos, key, value, entry.expiry, clock));
        told.keys += 1;
        shard.effect_value(at as u16, pos, key);
        shard.effects.close();
        Ok(())
    }
}

/// Reads every key from what a snapshot would have of it. What has expired does not come back.
fn there_and_back(shard: &mut Shard) -> Told {
    let (clock, now) = (shard.access_clock(), shard.now_ms);
    let limits = Limits::of(&shard.config, *shard.keyspace.hasher());
    let mut encoder = Encoder::new(shard.config.rdbcompression);
    let mut told = Told::default();
    for at in 0..shard.keyspace.databases() {
        let db = shard.keyspace.db_mut(at);
        let mut bytes = Vec::new();
        put_signature(true, &mut bytes);
        db.scan(0, CURSOR_END, usize::MAX, now, |entry| {
            encoder.entry(&entry, Access::Unknown, &mut bytes);
        });
        db.clear();
        let mut reader = Reader::new(&limits, false);
        reader.feed(&bytes);
        while let Some(item) = reader.next_item().expect("it was just written") {
            if let Item::Entry(Entry {
                key, expiry, value, ..
            }) = item
            {
                let pos = db.hasher().pos(key);
                value.store(|value| db.insert(pos, key, value, expiry, clock));
                told.keys += 1;
            }
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_in_any_order_and_case() {
        let parse = |text: &str| {
            let words: Vec<&[u8]> = text.split_whitespace().map(str::as_bytes).collect();
            Reload::parse(&words).map(|how| (how.save, how.flush, how.merge))
        };
        assert_eq!(parse(""), Ok((true, true, false)));
        assert_eq!(parse("merge NoFlush NOSAVE"), Ok((false, false, true)));
        assert_eq!(parse("nosave nosave"), Ok((false, true, false)));
        assert_eq!(parse("nosave now"), Err(UNKNOWN));
    }
}
