//! What can be wrong with bytes that are said to be RDB.

use std::fmt;

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Bad {
    /// It does not begin as an RDB file does.
    Signature,
    /// A version that is newer than what is known here.
    Version(u32),
    /// No type or opcode has this number.
    UnknownType(u8),
    /// It belongs to a module.
    Module(String),
    /// Nothing that a server has written looks like this.
    Corrupt(&'static str),
    /// A collection without elements, which does not exist.
    Empty,
    /// The checksum is another one.
    Checksum {
        /// What the bytes give.
        computed: u64,
        /// What the file says.
        stored: u64,
    },
    /// It ends too early.
    Truncated,
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signature => f.write_str("wrong signature: this is no RDB file"),
            Self::Version(version) => write!(f, "RDB version {version} cannot be read"),
            Self::UnknownType(number) => write!(f, "unknown type or opcode {number}"),
            Self::Module(what) => write!(f, "{what}: modules are not supported"),
            Self::Corrupt(what) => f.write_str(what),
            Self::Empty => f.write_str("a collection has no elements"),
            Self::Checksum { computed, stored } => write!(
                f,
                "the checksum is {computed:016x}, and {stored:016x} was expected"
            ),
            Self::Truncated => f.write_str("the end is missing"),
        }
    }
}

/// What is wrong, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// Bytes from the start of the file to where it was noticed, about.
    pub offset: u64,
    /// The key whose value was being read.
    pub key: Option<Vec<u8>>,
    /// What it is.
    pub bad: Bad,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at offset {}: {}", self.offset, self.bad)?;
        match &self.key {
            Some(key) => write!(f, " (in the value of key '{}')", key.escape_ascii()),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
