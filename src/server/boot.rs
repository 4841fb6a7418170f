//! The order of the start and of the end.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use super::config::{self, Launch, Startup};
use super::log;
use crate::command::FAMILIES;
use crate::command::registry::Registry;
use crate::mesh::{ShardId, mesh};
use crate::net::engine::Engine;
use crate::reactor::listener::Listener;
use crate::reactor::run::{Reactor, Wiring};
use crate::reactor::{clock, socket};
use crate::shard::Shard;
use crate::shard::node::Node;

/// Does what the command line asks for.
pub fn main(args: &[OsString]) -> ExitCode {
    match config::load(args) {
        Ok(Startup::Run(launch)) => run(*launch),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(launch: Launch) -> ExitCode {
    let config = launch.config;
    log::configure(&config);
    let shards = config.shards as usize;
    let registry = Arc::new(Registry::new(FAMILIES, &[]).expect("rows"));
    let mut listeners = Vec::new();
    for bind in ["127.0.0.1"] {
        match Listener::tcp(bind, config.port, config.tcp_backlog) {
            Ok(l) => listeners.push(l),
            Err(e) => {
                log::warning(format_args!(
                    "Could not listen on {bind}:{}: {e}",
                    config.port
                ));
                return ExitCode::FAILURE;
            }
        }
    }
    let node = Arc::new(Node::new(
        shards,
        config,
        [1, 2],
        "x".repeat(40),
        clock::unix_us() / 1000,
    ));
    let rings: Arc<[AtomicI32]> = (0..shards).map(|_| AtomicI32::new(-1)).collect();
    let ticks = clock::calibrate();
    let mut threads = Vec::new();
    let cores = super::cpus::affinity();
    for (id, endpoint) in mesh(shards).into_iter().enumerate() {
        let calls = socket::event().expect("eventfd");
        let wiring = Wiring {
            endpoint,
            rings: rings.clone(),
            listeners: if id == 0 {
                listeners
                    .iter()
                    .map(|l| (l.fd(), l.path().map(String::from)))
                    .collect()
            } else {
                Vec::new()
            },
            calls,
        };
        let (node, registry) = (node.clone(), registry.clone());
        let core = cores[id % cores.len()];
        threads.push(
            std::thread::Builder::new()
                .name(format!("shard-{id}"))
                .spawn(move || {
                    core_affinity::set_for_current(core_affinity::CoreId { id: core });
                    let shard = Shard::new(ShardId(id as u16), node, registry, ticks);
                    let mut reactor = Reactor::new(Engine::new(shard), wiring).expect("ring");
                    reactor.run();
                })
                .expect("thread"),
        );
    }
    while rings.iter().any(|r| r.load(Ordering::Acquire) < 0) {
        std::thread::yield_now();
    }
    log::notice(format_args!("Ready to accept connections"));
    for thread in threads {
        let _ = thread.join();
    }
    ExitCode::SUCCESS
}
