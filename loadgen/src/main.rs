//! A load generator for servers that speak the Redis protocol.
//!
//! The way of a run: `options` read the command line into `config`; `workload` makes commands out
//! of it (`scenario` holds ready-made ones), with `keys`, `values` and `template` for their parts;
//! `bench` takes the phases of a run one after the other (preload, test, steps of rates, verify's
//! last look); `engine` runs a phase on a thread and a `ring` for each core; what they measured
//! goes as `stats` to `live`, `table`, `json`, `hgrm` and `report`. `compare` does all that with
//! two servers in turn. It shares no code with any server.

mod bench;
mod clock;
mod cluster;
mod compare;
mod config;
mod dial;
mod engine;
mod failure;
mod hgrm;
mod json;
mod keys;
mod knee;
mod live;
mod machine;
mod options;
mod os;
mod pace;
mod reply;
mod report;
mod results;
mod ring;
mod rng;
mod scenario;
mod significance;
mod stats;
mod table;
mod template;
mod tls;
mod values;
mod verify;
mod workload;

use std::process::ExitCode;

use options::Asked;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let code = match options::parse(&args) {
        Err(text) => {
            eprintln!("ringdove-load: {text}");
            failure::EXIT_USAGE
        }
        Ok(Asked::Help) => {
            print!("{}", options::help());
            failure::EXIT_CLEAN
        }
        Ok(Asked::Version) => {
            println!("ringdove-load {}", env!("CARGO_PKG_VERSION"));
            failure::EXIT_CLEAN
        }
        Ok(Asked::Scenarios) => {
            print!("{}", scenario::listing());
            failure::EXIT_CLEAN
        }
        Ok(Asked::Run(config)) => bench::run(&config),
        Ok(Asked::Compare(config, servers)) => compare::run(&config, &servers),
    };
    ExitCode::from(code)
}
