//! The sockets that the process listens on, which CONFIG SET `port` and `bind` exchange while it
//! runs.
//!
//! The first shard accepts on the common ones and deals the connections; each shard accepts on its
//! own (`core-direct`) and keeps them. Whoever changes the sockets calls the shards, which then ask
//! for those that there are now. A socket that goes is shut down first: that ends the accept under
//! way and frees its address, though the ring still refers to it.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::listener::Listener;
use crate::mesh::ShardId;
use crate::server::config::{self, Config};
use crate::server::log;
use crate::shard::cores::core_ports;

/// A listening socket.
#[derive(Clone)]
pub struct Port {
    /// Its number, which is never given again.
    pub number: u32,
    /// The socket.
    pub listener: Arc<Listener>,
    /// The shard whose own it is; None: common to all.
    pub core: Option<ShardId>,
}

/// How long a port that is still in use is tried again at the start: after a kill, the kernel takes
/// the ring down, and with it the old sockets, some milliseconds later.
const BUSY_PATIENCE: Duration = Duration::from_millis(200);

/// All listening sockets.
pub struct Ports {
    held: Mutex<Vec<Port>>,
    next: AtomicU32,
    /// The port of each shard, which stay while the process runs; none without `core-direct`.
    cores: Vec<u16>,
}

/// A TCP socket to listen on.
struct Wanted {
    name: String,
    port: u16,
    core: Option<ShardId>,
    /// The address need not exist.
    optional: bool,
}

impl Ports {
    /// Listens as the configuration says. The error is a line with the remedy.
    pub fn open(config: &Config) -> Result<Self, String> {
        let ports = Self {
            held: Mutex::default(),
            next: AtomicU32::new(0),
            cores: core_ports(config)?,
        };
        let mut held = Vec::new();
        ports.listen(config, &mut held, BUSY_PATIENCE)?;
        if !config.unixsocket.is_empty() {
            let path = String::from_utf8_lossy(&config.unixsocket);
            let listener = Listener::unix(&path, config.unixsocketperm, config.tcp_backlog);
            let why = |e| {
                format!(
                    "Failed opening Unix socket: bind: {path}: {}",
                    config::reason(&e)
                )
            };
            held.push(ports.number(listener.map_err(why)?, None));
        }
        if held.is_empty() {
            return Err("Configured to not listen anywhere, exiting.".into());
        }
        *ports.lock() = held;
        Ok(ports)
    }

    /// The sockets as they are now.
    pub fn current(&self) -> Vec<Port> {
        self.lock().clone()
    }

    /// Listens on TCP as the configuration says now; on an error everything is as before. A socket
    /// that is still wanted stays, and connections stay in any case.
    pub fn change(&self, config: &Config) -> Result<(), String> {
        let mut held = self.lock();
        let wanted = self.wanted(config);
        let stays = |port: &Port| match port.listener.bound_to() {
            Some(bound) => wanted.iter().any(|w| (w.name.as_str(), w.port) == bound),
            None => true,
        };
        let (mut list, gone): (Vec<Port>, Vec<Port>) = held.iter().cloned().partition(stays);
        gone.iter().for_each(|port| port.listener.stop());
        let outcome = self.listen(config, &mut list, Duration::ZERO);
        if let Err(why) = &outcome {
            log::warning(format_args!("{why}"));
            list.retain(|port| held.iter().any(|old| old.number == port.number));
            let bound = gone
                .iter()
                .map(|port| (port.listener.bound_to(), port.core));
            for (name, port, core) in bound.filter_map(|(b, core)| b.map(|(n, p)| (n, p, core))) {
                match Listener::tcp(name, port, config.tcp_backlog, BUSY_PATIENCE) {
                    Ok(listener) => list.push(self.number(listener, core)),
                    Err(e) => log::warning(format_args!("{}", cannot_listen(name, port, &e))),
                }
            }
        }
        *held = list;
        outcome
    }

    /// Closes all sockets, once no shard serves any more. To close alone would not end them: the
    /// kernel lets go of what a ring had under way some milliseconds after the process.
    pub fn close(&self) {
        for port in self.lock().drain(..) {
            port.listener.stop();
        }
    }

    /// The TCP sockets that a configuration asks for: every address of `bind`, of which one with a
    /// dash in front need not exist, with the common port and each shard's.
    fn wanted(&self, config: &Config) -> Vec<Wanted> {
        let common = (config.port != 0).then_some((config.port, None));
        let cores = self.cores.iter().enumerate();
        let cores = cores.map(|(shard, port)| (*port, Some(ShardId(shard as u16))));
        let ports: Vec<_> = common.into_iter().chain(cores).collect();
        let binds = config.bind.0.iter();
        binds
            .map(|bind| String::from_utf8_lossy(bind))
            .flat_map(|text| {
                let optional = text.starts_with('-');
                let name = text.strip_prefix('-').unwrap_or(&text).to_string();
                ports.clone().into_iter().map(move |(port, core)| Wanted {
                    name: name.clone(),
                    port,
                    core,
                    optional,
                })
            })
            .collect()
    }

    /// Adds a socket for each wanted TCP address that has none in `list`.
    fn listen(
        &self,
        config: &Config,
        list: &mut Vec<Port>,
        patience: Duration,
    ) -> Result<(), String> {
        for wanted in self.wanted(config) {
            let (name, port) = (wanted.name.as_str(), wanted.port);
            let same = |other: &Port| other.listener.bound_to() == Some((name, port));
            if list.iter().any(same) {
                continue;
            }
            match Listener::tcp(name, port, config.tcp_backlog, patience) {
                Ok(listener) => list.push(self.number(listener, wanted.core)),
                Err(e) if wanted.optional && is_unavailable(&e) => {}
                Err(e) => return Err(cannot_listen(name, port, &e)),
            }
        }
        Ok(())
    }

    fn number(&self, listener: Listener, core: Option<ShardId>) -> Port {
        Port {
            number: self.next.fetch_add(1, Ordering::Relaxed),
            listener: Arc::new(listener),
            core,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Port>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_unavailable(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT | libc::ENOPROTOOPT | libc::EPROTONOSUPPORT)
    ) || error.kind() == io::ErrorKind::AddrNotAvailable
}

fn cannot_listen(name: &str, port: u16, error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => " Another server listens there: stop it, or use --port.",
        io::ErrorKind::PermissionDenied => " Ports below 1024 need CAP_NET_BIND_SERVICE.",
        io::ErrorKind::AddrNotAvailable => " No interface here has this address: see --bind.",
        _ => "",
    };
    let why = config::reason(error);
    format!("Could not create server TCP listening socket {name}:{port}: bind: {why}.{remedy}")
}
