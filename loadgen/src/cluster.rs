//! Redis Cluster from the client's side: the slot of a key, who owns which slot, redirections.

use crate::reply::Reply;

/// Slots of a cluster.
pub(crate) const SLOTS: usize = 16384;

/// CRC16/XMODEM, as the cluster specification gives it (polynomial 0x1021, start 0).
fn crc16(bytes: &[u8]) -> u16 {
    const TABLE: [u16; 256] = {
        let mut table = [0u16; 256];
        let mut at = 0;
        while at < 256 {
            let mut crc = (at as u16) << 8;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 0x8000 != 0 {
                    (crc << 1) ^ 0x1021
                } else {
                    crc << 1
                };
                bit += 1;
            }
            table[at] = crc;
            at += 1;
        }
        table
    };
    bytes.iter().fold(0, |crc, byte| {
        (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)]
    })
}

/// The slot of a key: of what stands between the first `{` and the next `}`, if anything does.
pub(crate) fn slot_of(key: &[u8]) -> usize {
    let tag = key.iter().position(|b| *b == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter()
            .position(|b| *b == b'}')
            .filter(|len| *len > 0)
            .map(|len| &rest[..len])
    });
    usize::from(crc16(tag.unwrap_or(key))) % SLOTS
}

/// A node's address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NodeAddress {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Who owns which slot. Nodes are numbered from 0 and never renumbered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SlotMap {
    pub(crate) nodes: Vec<NodeAddress>,
    owners: Vec<u16>,
}

/// Nodes of a cluster, at most: Redis recommends no more than 1000.
const NODES_MAX: usize = 4096;
const NOBODY: u16 = u16::MAX;

impl SlotMap {
    /// From the reply to CLUSTER SLOTS; `seed` stands in for hosts that the server leaves empty.
    pub(crate) fn from_reply(reply: &Reply, seed: &str) -> Result<SlotMap, String> {
        let bad = || "CLUSTER SLOTS: not the reply that the specification describes".to_string();
        if let Reply::Error(text) = reply {
            return Err(format!("CLUSTER SLOTS: {}", String::from_utf8_lossy(text)));
        }
        let mut map = SlotMap {
            nodes: Vec::new(),
            owners: vec![NOBODY; SLOTS],
        };
        for range in reply.list().ok_or_else(bad)? {
            let [first, last, master, ..] = range.list().ok_or_else(bad)? else {
                return Err(bad());
            };
            let first = first
                .integer()
                .and_then(|n| usize::try_from(n).ok())
                .ok_or_else(bad)?;
            let last = last
                .integer()
                .and_then(|n| usize::try_from(n).ok())
                .ok_or_else(bad)?;
            let [host, port, ..] = master.list().ok_or_else(bad)? else {
                return Err(bad());
            };
            let host = match host.bytes() {
                Some(b"") | None => seed.to_string(),
                Some(host) => String::from_utf8_lossy(host).into_owned(),
            };
            let port = port
                .integer()
                .and_then(|n| u16::try_from(n).ok())
                .ok_or_else(bad)?;
            if first > last || last >= SLOTS {
                return Err(bad());
            }
            let node = map.node_number(NodeAddress { host, port })?;
            map.owners[first..=last].fill(node);
        }
        if map.nodes.is_empty() {
            return Err("CLUSTER SLOTS: no node owns a slot".to_string());
        }
        Ok(map)
    }

    /// The number of a node, a new one if need be.
    pub(crate) fn node_number(&mut self, address: NodeAddress) -> Result<u16, String> {
        if let Some(at) = self.nodes.iter().position(|n| *n == address) {
            return Ok(at as u16);
        }
        if self.nodes.len() >= NODES_MAX {
            return Err("more nodes than a cluster has".to_string());
        }
        self.nodes.push(address);
        Ok((self.nodes.len() - 1) as u16)
    }

    /// The node of a slot; node 0 for a slot that nobody owns (it answers CLUSTERDOWN).
    #[inline]
    pub(crate) fn owner(&self, slot: usize) -> u16 {
        match self.owners[slot] {
            NOBODY => 0,
            node => node,
        }
    }

    pub(crate) fn set_owner(&mut self, slot: usize, node: u16) {
        assert!(usize::from(node) < self.nodes.len());
        self.owners[slot] = node;
    }
}

/// `MOVED slot host:port` and `ASK slot host:port`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Redirection {
    pub(crate) ask: bool,
    pub(crate) slot: usize,
    pub(crate) to: NodeAddress,
}

impl Redirection {
    /// Reads an error reply's text; `from` stands in for a host that the server leaves empty.
    pub(crate) fn parse(text: &[u8], from: &str) -> Option<Redirection> {
        let text = std::str::from_utf8(text).ok()?;
        let mut words = text.split(' ');
        let ask = match words.next()? {
            "MOVED" => false,
            "ASK" => true,
            _ => return None,
        };
        let slot = words.next()?.parse().ok().filter(|slot| *slot < SLOTS)?;
        let (host, port) = words.next()?.rsplit_once(':')?;
        let host = if host.is_empty() || host == "?" {
            from
        } else {
            host
        };
        let to = NodeAddress {
            host: host.to_string(),
            port: port.parse().ok()?,
        };
        Some(Redirection { ask, slot, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_the_specifications() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"foo"), 12182);
        assert_eq!(
            slot_of(b"{user1000}.following"),
            slot_of(b"{user1000}.followers")
        );
        assert_eq!(
            slot_of(b"foo{}{bar}"),
            usize::from(crc16(b"foo{}{bar}")) % SLOTS
        );
        assert_eq!(
            slot_of(b"foo{{bar}}zap"),
            usize::from(crc16(b"{bar")) % SLOTS
        );
    }

    #[test]
    fn the_map_comes_from_cluster_slots() {
        let wire = b"*2\r\n*3\r\n:0\r\n:8191\r\n*2\r\n$0\r\n\r\n:7000\r\n*3\r\n:8192\r\n:16383\r\n\
            *2\r\n$9\r\n127.0.0.2\r\n:7001\r\n";
        let (reply, _) = Reply::parse(wire).expect("well formed").expect("whole");
        let map = SlotMap::from_reply(&reply, "seed").expect("a map");
        assert_eq!(
            map.nodes[0],
            NodeAddress {
                host: "seed".into(),
                port: 7000
            }
        );
        assert_eq!((map.owner(8191), map.owner(8192)), (0, 1));
        let error = Reply::Error(b"ERR cluster support disabled".to_vec());
        assert!(
            SlotMap::from_reply(&error, "s")
                .expect_err("an error")
                .contains("disabled")
        );
    }

    #[test]
    fn redirections_are_read() {
        let moved = Redirection::parse(b"MOVED 3999 127.0.0.1:6381", "h").expect("a redirection");
        assert!(!moved.ask && moved.slot == 3999 && moved.to.port == 6381);
        let ask = Redirection::parse(b"ASK 1 :6382", "h").expect("a redirection");
        assert!(ask.ask && ask.to.host == "h");
        assert_eq!(Redirection::parse(b"ERR no", "h"), None);
        assert_eq!(Redirection::parse(b"MOVED 99999 a:1", "h"), None);
    }
}
