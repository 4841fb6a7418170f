//! Commands: what a row of the command table says, and the families of commands.
pub mod bitmap;
pub mod connection;
pub mod context;
pub mod debug;
pub mod error;
#[cfg(test)]
pub(crate) mod fixture;
pub mod generic;
pub mod help;
pub mod keys;
pub mod memory;
pub mod pubsub;
pub mod registry;
pub mod server;
pub mod spec;
pub mod string;
pub mod transaction;

/// Every family's table.
pub const FAMILIES: &[&[spec::Spec]] = &[
    string::COMMANDS,
    bitmap::COMMANDS,
    connection::COMMANDS,
    generic::KEYS,
    generic::EXPIRY,
    generic::SCAN,
    generic::OBJECTS,
    generic::WHOLE,
    debug::COMMANDS,
    memory::COMMANDS,
    pubsub::COMMANDS,
    server::COMMANDS,
    transaction::COMMANDS,
];
