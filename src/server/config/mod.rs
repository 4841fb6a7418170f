//! The configuration: one table of directives that the file, the command line and CONFIG GET, SET,
//! REWRITE and HELP are served from.
//!
//! [`Config`] is plain data: shards read its fields, nobody locks it. The boot code reads it once with
//! [`load`], the CONFIG command clones, changes and republishes it. Nothing in here talks to a socket
//! or to another thread; files are touched by [`load`] (reading), [`Config::rewrite`] and the check of
//! a directory in `dir` only.
//!
//! - `table`: the rows, and the struct that they make
//! - `shape`: what a row is; reading and printing of simple values
//! - `choice`: values that are one of a few words
//! - `compound`: values of several words
//! - `words`: splitting and quoting of a line
//! - `load`: command line and files
//! - `rewrite`: CONFIG REWRITE

mod choice;
mod compound;
mod load;
mod rewrite;
mod shape;
mod table;
pub mod words;

use std::sync::LazyLock;

pub use choice::*;
pub use compound::*;
pub use load::{HELP, Launch, Place, Rename, StartError, Startup, User, load};
pub use shape::{
    HIDDEN, IMMUTABLE, MULTI, Meaning, NOT_LOADING, PROTECTED, Row, SENSITIVE, parse_memory,
};
pub use table::{Config, DIRECTIVES};

use crate::log::block::BLOCK_BYTES;
use crate::stdx::glob;

/// The lines of CONFIG HELP between its heading and HELP itself.
pub const COMMAND_HELP: &[&str] = &[
    "GET <pattern>",
    "    Return parameters matching the glob-like <pattern> and their values.",
    "SET <directive> <value>",
    "    Set the configuration <directive> to <value>.",
    "RESETSTAT",
    "    Reset statistics reported by the INFO command.",
    "REWRITE",
    "    Rewrite the configuration file.",
];

/// Limits of `hz`, to which Redis moves what is outside.
const HZ_MIN: u32 = 1;
const HZ_MAX: u32 = 500;

/// Bytes of the smallest replication backlog (Redis's CONFIG_REPL_BACKLOG_MIN_SIZE).
const BACKLOG_BYTES_MIN: u64 = 16 << 10;

static DEFAULTS: LazyLock<Config> = LazyLock::new(Config::default);

/// The row of a directive by any of its names, whatever the case.
pub fn find(name: &[u8]) -> Option<&'static Row> {
    DIRECTIVES
        .iter()
        .find(|row| row.names().any(|n| n.as_bytes().eq_ignore_ascii_case(name)))
}

/// Says whether a directive's value is a secret that belongs into no log.
pub fn is_sensitive(name: &[u8]) -> bool {
    find(name).is_some_and(|row| row.has(SENSITIVE))
}

/// The answer of CONFIG SET when the server could not apply a value that was well-formed.
pub fn set_failed(name: &str, why: &str) -> String {
    format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")
}

/// The system's text of an error without Rust's number behind it, as `strerror` gives it.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(at) => text[..at].to_string(),
        None => text,
    }
}

/// The circumstances of a CONFIG SET.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setter {
    /// The client is on this host: `enable-protected-configs local` lets it.
    pub local: bool,
    /// The data set is loading.
    pub loading: bool,
}

impl Config {
    /// `log-segment-size` in blocks.
    pub fn segment_blocks(&self) -> u32 {
        (self.log_segment_size / BLOCK_BYTES as u64) as u32
    }

    /// CONFIG GET: names and values that match any of the patterns, each name once. A name without
    /// wildcards comes back as the client spelled it, as on Redis.
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for pattern in patterns {
            let exact = !glob::has_wildcards(pattern);
            for row in DIRECTIVES.iter().filter(|row| exact || !row.has(HIDDEN)) {
                for name in row.names() {
                    let hit = match exact {
                        true => name.as_bytes().eq_ignore_ascii_case(pattern),
                        false => glob::matches(pattern, name.as_bytes(), true),
                    };
                    if hit
                        && !found
                            .iter()
                            .any(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
                    {
                        let shown = if exact { pattern } else { name.as_bytes() };
                        found.push((shown.to_vec(), row.get(self)));
                    }
                }
            }
        }
        found
    }

    /// CONFIG SET of all pairs or of none. Gives the names of the directives whose value is another
    /// one now; the error is the whole reply. What the change means for sockets, limits and shards is
    /// the caller's to apply: it works on a clone, and on a failure drops the clone and answers
    /// [`set_failed`].
    pub fn set(
        &mut self,
        pairs: &[(&[u8], &[u8])],
        setter: Setter,
    ) -> Result<Vec<&'static str>, String> {
        let rows = self.settable(pairs, setter)?;
        let mut next = self.clone();
        for (row, (name, value)) in rows.iter().zip(pairs) {
            let words: Vec<&[u8]> = match row.has(MULTI) {
                true if value.is_empty() => Vec::new(),
                true => value.split(|b| *b == b' ').collect(),
                false => vec![value],
            };
            let put = row.put(&mut next, &words, Given::Set);
            put.map_err(|why| set_failed(spelled(row, name), &why))?;
        }
        next.settle();
        let changed = rows
            .iter()
            .filter(|row| row.get(self) != row.get(&next))
            .map(|row| row.name)
            .collect();
        *self = next;
        Ok(changed)
    }

    /// The rows of CONFIG SET's pairs, if all of them may be set.
    fn settable(
        &self,
        pairs: &[(&[u8], &[u8])],
        setter: Setter,
    ) -> Result<Vec<&'static Row>, String> {
        let mut rows: Vec<&'static Row> = Vec::with_capacity(pairs.len());
        for (name, _) in pairs {
            let Some(row) = find(name) else {
                // A line end would end the reply.
                let name = String::from_utf8_lossy(name).replace(['\r', '\n'], " ");
                return Err(format!(
                    "ERR Unknown option or number of arguments for CONFIG SET - '{name}'"
                ));
            };
            let refuse = |why: &str| Err(set_failed(spelled(row, name), why));
            if row.has(IMMUTABLE) {
                return refuse("can't set immutable config");
            }
            if row.has(PROTECTED) && !allows(self.enable_protected_configs, setter.local) {
                return refuse("can't set protected config");
            }
            if row.has(NOT_LOADING) && setter.loading {
                return Err("LOADING Redis is loading the dataset in memory".into());
            }
            if pairs[..rows.len()]
                .iter()
                .any(|(earlier, _)| earlier.eq_ignore_ascii_case(name))
            {
                return refuse("duplicate parameter");
            }
            rows.push(row);
        }
        Ok(rows)
    }

    /// Moves values to where Redis moves them.
    fn settle(&mut self) {
        self.hz = self.hz.clamp(HZ_MIN, HZ_MAX);
        self.repl_backlog_size = self.repl_backlog_size.max(BACKLOG_BYTES_MIN);
    }
}

/// Says whether a `yes | no | local` directive lets a client do it.
pub fn allows(allowed: Allowed, local: bool) -> bool {
    match allowed {
        Allowed::Yes => true,
        Allowed::Local => local,
        Allowed::No => false,
    }
}

/// The row's own spelling of a name that the client wrote in any case.
fn spelled(row: &Row, name: &[u8]) -> &'static str {
    row.names()
        .find(|n| n.as_bytes().eq_ignore_ascii_case(name))
        .unwrap_or(row.name)
}

#[cfg(test)]
mod tests;
