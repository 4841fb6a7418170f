//! The command line: a table with one row for each option, and the parser that reads by it.

mod parse;
mod table;

pub(crate) use parse::{Asked, Named, help, parse};
pub(crate) use table::set_server;
