//! The structures that collections are made of. Pure: no clock, no random source, no shard; what
//! they need of these comes as arguments. The commands that use them are in [`crate::command`].
//!
//! | module | what |
//! | --- | --- |
//! | [`digest`] | what tells whether two datasets are equal |
//! | [`hash`] | fields, values and their expiries, small and large |
//! | [`hyperloglog`] | how many different elements there were, in 16 bytes to 12 KiB |
//! | [`list`] | lists in their two forms |
//! | [`members`] | the table of a large collection's members |
//! | [`packed`] | the one contiguous block of every small collection |
//! | [`set`] | sets in their three forms |
//! | [`spiral`] | which bucket a hash belongs to, in tables that grow bucket by bucket |
//! | [`stream`] | blocks of entries with delta-coded IDs, and consumer groups |
//! | [`zset`] | the large sorted set |

pub mod digest;
pub mod hash;
pub mod hyperloglog;
pub mod list;
pub mod members;
pub mod packed;
pub mod set;
pub mod spiral;
pub mod stream;
pub mod zset;
