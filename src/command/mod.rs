//! Commands: what a row of the command table says, and the families of commands.
pub mod bitmap;
pub mod connection;
pub mod context;
pub mod error;
#[cfg(test)]
pub(crate) mod fixture;
pub mod keys;
pub mod registry;
pub mod spec;
pub mod string;

/// Every family's table.
pub const FAMILIES: &[&[spec::Spec]] = &[string::COMMANDS, bitmap::COMMANDS, connection::COMMANDS];
