//! Tests of the whole server over its sockets, a file for each family; every case runs with one
//! and with three shards.
//!
//! `RINGDOVE_TEST_SERVER=redis-server cargo test --test it` runs the same cases against Redis,
//! which is how each of them was first proven right. What only Ringdove has (shards) returns early
//! there.
mod blocking;
mod commands;
mod config;
mod connection;
mod cores;
mod expiry;
mod hostile;
mod info;
mod migrate;
mod migration;
mod moving;
mod pipelines;
mod placement;
mod protocol;
mod pubsub;
mod scan;
mod shards;
mod slots;
mod snapshot;
mod start_stop;
mod tracking;
mod transactions;

use ringdove_rig::{Kind, Options, Server};
use std::sync::RwLock;

/// Cases that measure time hold this for writing, so that they have the machine to themselves.
static MACHINE: RwLock<()> = RwLock::new(());

/// What a case is given: how to start a server.
pub(crate) struct Ctx {
    /// How many shards the server has.
    pub shards: usize,
}

impl Ctx {
    /// The options of this case's server.
    pub(crate) fn options(&self) -> Options {
        Options::new(env!("CARGO_BIN_EXE_ringdove"), self.shards)
    }

    /// Starts a server with the options that every test server gets.
    pub(crate) fn start(&self) -> Server {
        Server::start(&self.options())
    }

    /// Starts a server with more arguments on its command line.
    pub(crate) fn start_with(&self, args: &str) -> Server {
        Server::start(&self.options().with(args))
    }

    /// Whether the server under test is Redis: a case being proven, which has no shards.
    pub(crate) fn is_redis(&self) -> bool {
        self.options().kind == Kind::Redis
    }
}

/// Runs a case beside others.
pub(crate) fn run(shards: usize, case: fn(&Ctx)) {
    let _machine = MACHINE.read().unwrap_or_else(|e| e.into_inner());
    case(&Ctx { shards });
}

/// Runs a case alone.
pub(crate) fn run_alone(shards: usize, case: fn(&Ctx)) {
    let _machine = MACHINE.write().unwrap_or_else(|e| e.into_inner());
    case(&Ctx { shards });
}

/// Makes tests of functions that take a [`Ctx`]: each with one shard and with three.
#[macro_export]
macro_rules! cases {
    ($run:ident: $($name:ident),+ $(,)?) => {
        $(mod $name {
            #[test]
            fn one_shard() {
                $crate::$run(1, super::$name);
            }
            #[test]
            fn three_shards() {
                $crate::$run(3, super::$name);
            }
        })+
    };
}
