//! The sockets that the process listens on, which CONFIG SET `port` and `bind` exchange while it
//! runs.
//!
//! The first shard accepts on all of them. Whoever changes them calls that shard, which then asks
//! for those that there are now. A socket that goes is shut down first: that ends the accept under
//! way and frees its address, though the ring still refers to it.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::listener::Listener;
use crate::server::config::{self, Config};
use crate::server::log;

/// A listening socket and its number, which is never given again.
pub type Port = (u32, Arc<Listener>);

/// How long a port that is still in use is tried again at the start: after a kill, the kernel takes
/// the ring down, and with it the old sockets, some milliseconds later.
const BUSY_PATIENCE: Duration = Duration::from_millis(200);

/// All listening sockets.
pub struct Ports {
    held: Mutex<Vec<Port>>,
    next: AtomicU32,
}

/// An address of `bind`; one with a dash in front need not exist.
struct Wanted {
    name: String,
    optional: bool,
}

fn wanted(config: &Config) -> Vec<Wanted> {
    if config.port == 0 {
        return Vec::new();
    }
    let texts = config
        .bind
        .0
        .iter()
        .map(|bind| String::from_utf8_lossy(bind));
    texts
        .map(|text| match text.strip_prefix('-') {
            Some(name) => Wanted {
                name: name.to_string(),
                optional: true,
            },
            None => Wanted {
                name: text.into_owned(),
                optional: false,
            },
        })
        .collect()
}

impl Ports {
    /// Listens as the configuration says. The error is a line with the remedy.
    pub fn open(config: &Config) -> Result<Self, String> {
        let ports = Self {
            held: Mutex::default(),
            next: AtomicU32::new(0),
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
            held.push(ports.number(listener.map_err(why)?));
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
        let names = wanted(config);
        let stays = |listener: &Listener| match listener.bound_to() {
            Some((name, port)) => port == config.port && names.iter().any(|w| w.name == name),
            None => true,
        };
        let (mut list, gone): (Vec<Port>, Vec<Port>) =
            held.iter().cloned().partition(|(_, l)| stays(l));
        gone.iter().for_each(|(_, listener)| listener.stop());
        let outcome = self.listen(config, &mut list, Duration::ZERO);
        if let Err(why) = &outcome {
            log::warning(format_args!("{why}"));
            list.retain(|(number, _)| held.iter().any(|(old, _)| old == number));
            for (name, port) in gone.iter().filter_map(|(_, listener)| listener.bound_to()) {
                match Listener::tcp(name, port, config.tcp_backlog, BUSY_PATIENCE) {
                    Ok(listener) => list.push(self.number(listener)),
                    Err(e) => log::warning(format_args!("{}", cannot_listen(name, port, &e))),
                }
            }
        }
        *held = list;
        outcome
    }

    /// Closes all sockets, once no shard serves any more.
    pub fn close(&self) {
        self.lock().clear();
    }

    /// Adds a socket for each wanted TCP address that has none in `list`.
    fn listen(
        &self,
        config: &Config,
        list: &mut Vec<Port>,
        patience: Duration,
    ) -> Result<(), String> {
        let port = config.port;
        for Wanted { name, optional } in wanted(config) {
            let same = |(_, l): &Port| l.bound_to() == Some((name.as_str(), port));
            if list.iter().any(same) {
                continue;
            }
            match Listener::tcp(&name, port, config.tcp_backlog, patience) {
                Ok(listener) => list.push(self.number(listener)),
                Err(e) if optional && is_unavailable(&e) => {}
                Err(e) => return Err(cannot_listen(&name, port, &e)),
            }
        }
        Ok(())
    }

    fn number(&self, listener: Listener) -> Port {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number, Arc::new(listener))
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
