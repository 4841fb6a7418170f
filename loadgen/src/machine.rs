//! What is known of both machines: the server's from INFO, this one's from /proc; and what a
//! process on this machine uses.

use std::fs;

use crate::dial::Control;
use crate::os;

/// Names with their values, in the order in which they are shown.
pub(crate) type Facts = Vec<(String, String)>;

/// INFO fields that tell what was measured.
const SERVER_FIELDS: [&str; 16] = [
    "redis_version",
    "valkey_version",
    "server_name",
    "ringdove_version",
    "redis_mode",
    "os",
    "arch_bits",
    "multiplexing_api",
    "gcc_version",
    "process_id",
    "tcp_port",
    "io_threads_active",
    "mem_allocator",
    "maxmemory_human",
    "aof_enabled",
    "role",
];

/// What the server says of itself; little if it has no INFO.
pub(crate) fn server_facts(address: &str, control: &mut Control) -> Facts {
    let mut facts = vec![("address".to_string(), address.to_string())];
    let Ok(reply) = control.ask(&[b"INFO"]) else {
        return facts;
    };
    let text = String::from_utf8_lossy(reply.bytes().unwrap_or_default()).into_owned();
    for line in text.lines() {
        if let Some((name, value)) = line.split_once(':')
            && SERVER_FIELDS.contains(&name)
        {
            facts.push((name.to_string(), value.trim().to_string()));
        }
    }
    facts
}

/// This machine.
pub(crate) fn client_facts() -> Facts {
    let mut facts = Facts::new();
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    if let Some(model) = cpuinfo.lines().find_map(|l| l.strip_prefix("model name")) {
        facts.push((
            "cpu".to_string(),
            model.trim_start_matches(['\t', ' ', ':']).to_string(),
        ));
    }
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    facts.push(("cpus".to_string(), cpus.to_string()));
    let memory = read("/proc/meminfo");
    let total_kib = memory
        .lines()
        .find_map(|l| l.strip_prefix("MemTotal:"))
        .and_then(|v| v.split_whitespace().next()?.parse::<u64>().ok());
    if let Some(kib) = total_kib {
        facts.push((
            "memory".to_string(),
            format!("{:.1} GiB", kib as f64 / 1048576.0),
        ));
    }
    facts.push((
        "kernel".to_string(),
        read("/proc/sys/kernel/osrelease").trim().to_string(),
    ));
    facts.push((
        "generator".to_string(),
        format!("ringdove-load {}", env!("CARGO_PKG_VERSION")),
    ));
    facts
}

/// What a process has used so far.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Usage {
    /// User and system time of all its threads.
    pub(crate) cpu_seconds: f64,
    pub(crate) rss_bytes: u64,
}

/// Reads /proc for a process; `None` if there is none of that id.
pub(crate) fn usage_of(pid: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold blanks; fields are counted from behind it.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    let user: u64 = fields.get(11)?.parse().ok()?;
    let system: u64 = fields.get(12)?.parse().ok()?;
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(Usage {
        cpu_seconds: (user + system) as f64 / os::clock_ticks_per_sec() as f64,
        rss_bytes: pages * os::page_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_process_has_a_usage() {
        let usage = usage_of(std::process::id()).expect("this process");
        assert!(usage.rss_bytes > 100_000);
        assert_eq!(usage_of(u32::MAX), None);
        assert!(client_facts().iter().any(|(name, _)| name == "kernel"));
    }
}
