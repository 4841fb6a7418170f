//! Reads the configuration and runs the server.
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: ringdove::stdx::allocator::Mimalloc = ringdove::stdx::allocator::Mimalloc;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    ringdove::server::boot::main(&args)
}
