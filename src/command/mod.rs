//! Commands: what a row of the command table says, and the families of commands.
pub mod bitmap;
pub mod cluster;
pub mod connection;
pub mod context;
pub mod debug;
pub mod error;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod freeing_test;
pub mod generic;
pub mod geo;
pub mod hash;
pub mod help;
pub mod hyperloglog;
pub mod keys;
pub mod list;
pub mod member_scan;
pub mod memory;
pub mod pubsub;
pub mod registry;
pub mod ringdove;
pub mod server;
pub mod set;
pub mod sort;
pub mod spec;
pub mod stream;
pub mod string;
pub mod transaction;
pub mod wait;
pub mod zset;

/// Every family's table.
pub const FAMILIES: &[&[spec::Spec]] = &[
    string::COMMANDS,
    bitmap::COMMANDS,
    list::COMMANDS,
    set::COMMANDS,
    connection::COMMANDS,
    hash::COMMANDS,
    hyperloglog::COMMANDS,
    generic::KEYS,
    generic::EXPIRY,
    generic::SCAN,
    generic::OBJECTS,
    generic::WHOLE,
    cluster::COMMANDS,
    debug::COMMANDS,
    memory::COMMANDS,
    pubsub::COMMANDS,
    ringdove::COMMANDS,
    server::COMMANDS,
    transaction::COMMANDS,
    zset::COMMANDS,
    sort::COMMANDS,
    geo::COMMANDS,
    stream::COMMANDS,
];
