//! The structures that collections are made of. Pure: no clock, no random source, no shard; what
//! they need of these comes as arguments. The commands that use them are in [`crate::command`].
//!
//! | module | what |
//! | --- | --- |
//! | [`stream`] | blocks of entries with delta-coded IDs, and consumer groups |

pub mod stream;
