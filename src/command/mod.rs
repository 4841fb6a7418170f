//! Commands: what a row of the command table says, and the families of commands.
pub mod spec;
