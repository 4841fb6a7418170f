//! The server around the shards: configuration, log, process and what the host offers.
pub mod config;
pub mod cpus;
