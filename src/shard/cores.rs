//! The shards as nodes of a Redis Cluster: `core-direct`.
//!
//! Each shard listens on a port of its own besides the common one. Who connects there speaks to one
//! node of a cluster whose nodes are the shards: a cluster-aware client asks CLUSTER SLOTS and sends
//! each key straight to the core that owns it. The common port stays what it is, a server without
//! cluster.
//!
//! # Node ids
//! 40 hexadecimal digits, as Redis's: the beginning of SHA-256 over a seed and the shard's number.
//! The seed is `core-direct-seed`, and without one the working directory at the start and the base of
//! the ports; so ids are the same after a restart, and those of two servers on one machine differ.
//!
//! # Addresses
//! The address that a client is told is the one that it connected to, whatever interface that was,
//! unless `cluster-announce-ip` says another. Ports follow from the base, or from
//! `core-direct-announce-ports` where something in between maps them.

use std::fmt::Write;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;

use sha2::{Digest, Sha256};

use crate::mesh::ShardId;
use crate::server::config::{Config, EndpointType};

/// Bytes of a node id; it is printed with two digits for each.
const ID_BYTES: usize = 20;

/// What never changes while the process runs: who the nodes are and where they listen.
#[derive(Debug)]
pub struct Cores {
    ids: Box<[String]>,
    ports: Box<[u16]>,
}

/// How the nodes are named to one client.
pub struct Announced {
    /// The address of all nodes.
    pub ip: String,
    /// `cluster-announce-hostname`.
    pub hostname: String,
    /// By which of them a client is told to find a node.
    pub endpoint: EndpointType,
    /// Port of each shard.
    pub ports: Vec<u16>,
}

/// The port of each shard, if the configuration wants any. The error is for the log.
pub fn core_ports(config: &Config) -> Result<Vec<u16>, String> {
    if !config.core_direct {
        return Ok(Vec::new());
    }
    let base = match (config.core_direct_port_base, config.port) {
        (0, 0) => {
            return Err("core-direct without a port needs core-direct-port-base".into());
        }
        (0, common) => u32::from(common) + 1,
        (base, _) => u32::from(base),
    };
    let ports = (base..base + config.shards).map(u16::try_from);
    let ports: Vec<u16> = ports.collect::<Result<_, _>>().map_err(|_| {
        format!(
            "core-direct needs {} ports from {base} on, and there are none above 65535",
            config.shards
        )
    })?;
    if config.port != 0 && ports.contains(&config.port) {
        return Err(format!(
            "core-direct needs the ports {base} to {}, and {} is the common one",
            base + config.shards - 1,
            config.port
        ));
    }
    Ok(ports)
}

/// The ports of `core-direct-announce-ports`: for one shard after the other, separated by commas.
pub fn parse_announced_ports(text: &[u8]) -> Option<Vec<u16>> {
    let port = |word: &[u8]| {
        let number: u16 = std::str::from_utf8(word).ok()?.trim().parse().ok()?;
        (number > 0).then_some(number)
    };
    match text {
        b"" => Some(Vec::new()),
        _ => text.split(|b| *b == b',').map(port).collect(),
    }
}

impl Cores {
    /// The nodes that a configuration makes of the shards; none without `core-direct`.
    pub fn of(config: &Config) -> Option<Self> {
        let ports = core_ports(config).ok().filter(|ports| !ports.is_empty())?;
        let seed = match &config.core_direct_seed[..] {
            b"" => {
                let mut seed = config.dir.0.as_os_str().as_bytes().to_vec();
                seed.extend_from_slice(format!(":{}", ports[0]).as_bytes());
                seed
            }
            seed => seed.to_vec(),
        };
        let id = |shard: usize| {
            let mut sum = Sha256::new();
            sum.update(b"ringdove node ");
            sum.update(shard.to_le_bytes());
            sum.update(&seed);
            let mut id = String::with_capacity(2 * ID_BYTES);
            for byte in &sum.finalize()[..ID_BYTES] {
                let _ = write!(id, "{byte:02x}"); // writing to a String cannot fail
            }
            id
        };
        Some(Self {
            ids: (0..ports.len()).map(id).collect(),
            ports: ports.into(),
        })
    }

    /// A shard's node id.
    pub fn id(&self, shard: ShardId) -> &str {
        &self.ids[shard.index()]
    }

    /// The shard that has a node id.
    pub fn find(&self, id: &[u8]) -> Option<ShardId> {
        let at = self.ids.iter().position(|own| own.as_bytes() == id)?;
        Some(ShardId(at as u16))
    }

    /// The port that a shard listens on.
    pub fn port(&self, shard: ShardId) -> u16 {
        self.ports[shard.index()]
    }

    /// How the nodes are named to a client that has connected to `own`.
    pub fn announced(&self, config: &Config, own: Option<IpAddr>) -> Announced {
        let ip = match &config.cluster_announce_ip[..] {
            b"" => own.map_or_else(String::new, |ip| ip.to_canonical().to_string()),
            ip => String::from_utf8_lossy(ip).into_owned(),
        };
        Announced {
            ip,
            hostname: String::from_utf8_lossy(&config.cluster_announce_hostname).into_owned(),
            endpoint: config.cluster_preferred_endpoint_type,
            ports: self.announced_ports(config),
        }
    }

    /// Shards beyond the ports that are given have the ports after the last of them.
    fn announced_ports(&self, config: &Config) -> Vec<u16> {
        let given = parse_announced_ports(&config.core_direct_announce_ports).unwrap_or_default();
        let Some(last) = given.len().checked_sub(1) else {
            return self.ports.to_vec();
        };
        let port = |shard: usize| match given.get(shard) {
            Some(port) => *port,
            None => given[last].saturating_add((shard - last) as u16),
        };
        (0..self.ports.len()).map(port).collect()
    }
}

impl Announced {
    /// What a client is to connect to; None: whatever it is connected to now, with another port.
    pub fn endpoint(&self) -> Option<&str> {
        match self.endpoint {
            EndpointType::Ip => Some(&self.ip),
            EndpointType::Hostname if self.hostname.is_empty() => Some("?"),
            EndpointType::Hostname => Some(&self.hostname),
            EndpointType::UnknownEndpoint => None,
        }
    }

    /// A shard's port.
    pub fn port(&self, shard: ShardId) -> u16 {
        self.ports[shard.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            core_direct: true,
            shards: 3,
            port: 7000,
            ..Config::default()
        }
    }

    #[test]
    fn ids_follow_from_the_seed_alone() {
        let cores = |config: &Config| Cores::of(config).expect("core-direct");
        let one = cores(&config());
        assert_eq!(one.ids, cores(&config()).ids, "after a restart");
        assert!(one.ids.iter().all(|id| id.len() == 2 * ID_BYTES));
        assert_eq!(one.find(one.id(ShardId(2)).as_bytes()), Some(ShardId(2)));
        let elsewhere = Config {
            port: 8000,
            ..config()
        };
        assert_ne!(one.ids, cores(&elsewhere).ids);
        let seeded = |port| Config {
            port,
            core_direct_seed: b"blue".to_vec(),
            ..config()
        };
        assert_eq!(cores(&seeded(7000)).ids, cores(&seeded(8000)).ids);
        let off = Config::default();
        assert!(Cores::of(&off).is_none());
    }

    #[test]
    fn ports_are_counted_from_a_base() {
        assert_eq!(core_ports(&config()), Ok(vec![7001, 7002, 7003]));
        let wrong = |port, core_direct_port_base| {
            core_ports(&Config {
                port,
                core_direct_port_base,
                ..config()
            })
            .is_err()
        };
        assert!(wrong(0, 0) && wrong(65534, 0) && wrong(7002, 7000));
        assert!(!wrong(65534, 7000) && !wrong(0, 7000));
    }

    #[test]
    fn announced_ports_may_be_others() {
        assert_eq!(parse_announced_ports(b"1, 65535"), Some(vec![1, 65535]));
        for text in ["0", "65536", "1,,2", "x", ","] {
            assert_eq!(parse_announced_ports(text.as_bytes()), None, "{text}");
        }
        let mut config = config();
        config.core_direct_announce_ports = b"31000,32005".to_vec();
        let cores = Cores::of(&config).expect("core-direct");
        let own = Some(IpAddr::from([127, 0, 0, 9]));
        let announced = cores.announced(&config, own);
        assert_eq!(announced.ports, [31000, 32005, 32006]);
        assert_eq!(announced.endpoint(), Some("127.0.0.9"));
        config.cluster_announce_ip = b"10.1.2.3".to_vec();
        assert_eq!(cores.announced(&config, own).endpoint(), Some("10.1.2.3"));
        config.cluster_preferred_endpoint_type = EndpointType::Hostname;
        assert_eq!(cores.announced(&config, own).endpoint(), Some("?"));
        config.cluster_preferred_endpoint_type = EndpointType::UnknownEndpoint;
        assert_eq!(cores.announced(&config, own).endpoint(), None);
    }
}
