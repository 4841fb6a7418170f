//! The manifest of Redis 7's log of several files: which there are, and in which order.
//!
//! ```text
//! file appendonly.aof.1.base.rdb seq 1 type b        the base: a snapshot, or commands
//! file appendonly.aof.1.incr.aof seq 1 type i        what was done since; the sequence rises
//! file appendonly.aof.0.incr.aof seq 0 type h        not needed any more
//! # a comment
//! ```
//!
//! Words may be quoted as in the configuration; further pairs of words in a line are passed over.

use crate::server::config::words;

/// What a manifest says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// Names of the files that are to be read, in order; in the folder of the manifest.
    pub files: Vec<String>,
}

impl Manifest {
    /// Reads one; what is wrong with it, in Redis's words where it has some.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let (mut base, mut increments) = (None, Vec::new());
        let mut last = 0;
        for line in text.split(|byte| *byte == b'\n') {
            let line = words::trim(line);
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let entry = Entry::parse(line)?;
            match entry.kind {
                b'b' if base.is_some() => {
                    return Err("Found duplicate base file information".into());
                }
                b'b' => base = Some(entry.name),
                b'i' if entry.sequence <= last => {
                    return Err("Found a non-monotonic sequence number".into());
                }
                b'i' => {
                    last = entry.sequence;
                    increments.push(entry.name);
                }
                b'h' => {}
                _ => return Err("Unknown AOF file type".into()),
            }
        }
        let files = base.into_iter().chain(increments).collect();
        Ok(Self { files })
    }
}

struct Entry {
    name: String,
    sequence: u64,
    kind: u8,
}

impl Entry {
    fn parse(line: &[u8]) -> Result<Self, String> {
        let invalid = || "Invalid AOF manifest file format".to_string();
        let words = words::split(line).ok_or_else(invalid)?;
        if words.len() < 6 || !words.len().is_multiple_of(2) {
            return Err(invalid());
        }
        let (mut name, mut sequence, mut kind) = (None, None, None);
        for pair in words.chunks_exact(2) {
            let value = std::str::from_utf8(&pair[1]).map_err(|_| invalid())?;
            if pair[0].eq_ignore_ascii_case(b"file") {
                if value.is_empty() || value.contains('/') || value == ".." {
                    return Err("File can't be a path, just a filename".into());
                }
                name = Some(value.to_string());
            } else if pair[0].eq_ignore_ascii_case(b"seq") {
                sequence = Some(value.parse().map_err(|_| invalid())?);
            } else if pair[0].eq_ignore_ascii_case(b"type") {
                kind = value.as_bytes().first().copied();
            }
        }
        Ok(Self {
            name: name.ok_or_else(invalid)?,
            sequence: sequence.ok_or_else(invalid)?,
            kind: kind.ok_or_else(invalid)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str) -> Result<Vec<String>, String> {
        Manifest::parse(text.as_bytes()).map(|manifest| manifest.files)
    }

    #[test]
    fn the_base_comes_first_and_history_not_at_all() {
        let text = "# made by hand\nfile a.2.incr.aof seq 2 type i\nfile a.1.incr.aof seq 1 type h\n\
                    file \"a b.base.rdb\" seq 1 type b\nfile a.4.incr.aof seq 4 type i startoffset 9\n";
        let wanted = ["a b.base.rdb", "a.2.incr.aof", "a.4.incr.aof"];
        assert_eq!(files(text).expect("it is right"), wanted);
        assert_eq!(files("").expect("nothing is wrong"), Vec::<String>::new());
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for text in [
            "file a seq 1",
            "file a seq 1 type",
            "file a seq x type b",
            "file ../a seq 1 type b",
            "file .. seq 1 type b",
            "file a seq 1 type z",
            "file a seq 1 type b\nfile b seq 2 type b",
            "file a seq 2 type i\nfile b seq 2 type i",
            "file \"a seq 1 type b",
            "seq 1 type b name a",
        ] {
            assert!(files(text).is_err(), "{text}");
        }
    }
}
