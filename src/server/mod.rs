//! The server around the shards: configuration, log, process and what the host offers.
pub mod boot;
pub mod config;
pub mod cpus;
pub mod log;
pub mod process;
