//! Ringdove: an in-memory data structure server, one shard for each core.
pub mod command;
pub mod keyspace;
pub mod mesh;
pub mod net;
pub mod reactor;
pub mod resp;
pub mod server;
pub mod shard;
pub mod stdx;
pub mod txn;
