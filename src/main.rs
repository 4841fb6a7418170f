//! Reads the configuration and runs the server.
fn main() {}
