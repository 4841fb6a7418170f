//! The structures that collections are made of. Pure: no clock, no random source, no shard; what
//! they need of these comes as arguments. The commands that use them are in [`crate::command`].
//!
//! | module | what |
//! | --- | --- |
//! | [`hash`] | fields, values and their expiries, small and large |
//! | [`hyperloglog`] | how many different elements there were, in 16 bytes to 12 KiB |
//! | [`members`] | the table of a large collection's members |
//! | [`packed`] | the one contiguous block of every small collection |

pub mod hash;
pub mod hyperloglog;
pub mod members;
pub mod packed;
