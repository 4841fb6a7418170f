//! The structures that collections are made of. Pure: no clock, no random source, no shard; what
//! they need of these comes as arguments. The commands that use them are in [`crate::command`].
//!
//! | module | what |
//! | --- | --- |
//! | [`members`] | the table of large sets and hashes |

pub mod members;
