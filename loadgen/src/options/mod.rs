//! The command line: a table with one row for each option, and the parser that reads by it.

mod parse;
mod table;
mod value;

pub(crate) use parse::{Asked, Named, help, parse};
pub(crate) use value::set_server;
