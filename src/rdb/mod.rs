//! RDB, the format of Redis's snapshots: files of versions 1 to 12 (Redis until 8) and 80 (Valkey 9)
//! are read, version 10 (Redis 7.0) is written, and 12 where fields of hashes expire.
//!
//! Pure: bytes in, entries out ([`Reader`]), values in, bytes out ([`Encoder`]). No file, no clock, no
//! shard; who loads or saves drives it. Hostile bytes are refused with what is wrong and where: no
//! length in them is believed before the bytes are there.
//!
//! | module | what |
//! | --- | --- |
//! | [`format`](mod@format) | versions, types, opcodes |
//! | [`input`] | lengths, strings, numbers |
//! | [`blob`] | listpack, ziplist, zipmap |
//! | [`build`] | collections in the making |
//! | [`decode`], `stream` | values as they are read |
//! | [`encode`] | values as they are written |
//! | [`long`] | the same in parts |
//! | [`payload`] | DUMP and RESTORE |
//! | [`reader`] | files as they are read |
//! | [`lzf`], [`crc64`](mod@crc64) | compression, checksum |

pub mod blob;
pub mod build;
pub mod crc64;
pub mod decode;
pub mod encode;
pub mod error;
pub mod format;
pub mod input;
pub mod long;
pub mod lzf;
pub mod payload;
pub mod reader;
mod stream;

pub use build::{Built, Limits};
pub use encode::{Access, Encoder};
pub use error::{Bad, Error};
pub use payload::Payload;
pub use reader::{Entry, Item, Reader, Value};

#[cfg(test)]
mod tests;
