//! The server around the shards: configuration, log, process and what the host offers.
pub mod background;
pub mod boot;
pub mod check_rdb;
pub mod check_system;
pub mod config;
pub mod cpus;
pub mod export;
pub mod facts;
pub mod import;
pub mod load;
pub mod log;
pub mod migrate;
pub mod process;
pub mod ring_probe;
pub mod signals;
pub mod snapshot;
mod snapshot_file;
pub mod transfer;
