//! Commands: what a row of the command table says, and the families of commands.
pub mod connection;
pub mod context;
pub mod error;
pub mod keys;
pub mod registry;
pub mod server;
pub mod spec;
pub mod string;

/// Every family's table.
pub const FAMILIES: &[&[spec::Spec]] = &[string::COMMANDS, connection::COMMANDS, server::COMMANDS];
