//! `--check-system`: what this host offers, each line `ok`, or with the remedy.
//!
//! The io_uring features are tried on a real ring (`ring_probe`); the rest is read from /proc and
//! /sys, below a root that a test may give. Nothing is changed.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;

use super::cpus;
use super::process::{self, Resource};
use super::ring_probe;

/// How good a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// The server runs, but slower or with less than it could.
    Improve,
    /// The server does not run.
    Missing,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How good it is.
    pub verdict: Verdict,
    /// What it is about.
    pub name: String,
    /// What was found.
    pub found: String,
    /// What to do; empty when all is well.
    pub remedy: String,
}

impl Finding {
    fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        Finding {
            verdict: Verdict::Ok,
            name: name.into(),
            found: found.into(),
            remedy: String::new(),
        }
    }

    fn improve(
        name: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Finding {
            verdict: Verdict::Improve,
            name: name.into(),
            found: found.into(),
            remedy: remedy.into(),
        }
    }

    fn missing(
        name: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Finding {
            verdict: Verdict::Missing,
            name: name.into(),
            found: found.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Improve => "improve",
            Verdict::Missing => "MISSING",
        };
        write!(f, "{verdict:<8} {}: {}", self.name, self.found)?;
        if !self.remedy.is_empty() {
            write!(f, " -> {}", self.remedy)?;
        }
        Ok(())
    }
}

/// Prints all findings; gives the exit code: 1 when something is missing that the server needs.
pub fn run() -> i32 {
    let findings = all();
    let mut out = std::io::stdout().lock();
    for finding in &findings {
        // Whoever closes the pipe has seen enough; the exit code still counts.
        let _ = writeln!(out, "{finding}");
    }
    let worst = findings.iter().map(|finding| finding.verdict).max();
    i32::from(worst == Some(Verdict::Missing))
}

/// All findings, in the order in which they are printed.
pub fn all() -> Vec<Finding> {
    let host = Host {
        root: PathBuf::from("/"),
    };
    let mut findings = vec![kernel(&ring_probe::kernel_release())];
    findings.extend(io_uring());
    findings.extend(limits());
    findings.push(cores());
    findings.extend(host.findings());
    findings
}

fn kernel(release: &str) -> Finding {
    match ring_probe::kernel_version(release) {
        Some(version) if version >= (6, 1) => Finding::ok("kernel", release),
        _ => Finding::improve(
            "kernel",
            release,
            "6.1 or newer has everything that makes the server fast",
        ),
    }
}

fn io_uring() -> Vec<Finding> {
    let features = match ring_probe::features() {
        Ok(features) => features,
        Err(error) => {
            return vec![Finding::missing(
                "io_uring",
                "no ring",
                ring_probe::explain(&error),
            )];
        }
    };
    let mut findings = vec![Finding::ok("io_uring", "a ring can be set up")];
    for feature in features {
        let name = format!("io_uring {}", feature.name);
        findings.push(match feature.outcome {
            Ok(()) => Finding::ok(name, "works"),
            Err(error) => {
                let found = super::config::reason(&error);
                let remedy = format!("use kernel {} or newer", feature.since);
                match feature.required {
                    true => Finding::missing(name, found, remedy),
                    false => Finding::improve(name, found, remedy),
                }
            }
        });
    }
    if ring_probe::seccomp_is_on() {
        findings.push(Finding::ok(
            "seccomp",
            "a filter is on, and lets io_uring through",
        ));
    }
    findings
}

fn limits() -> Vec<Finding> {
    let shards = u32::try_from(cpus::usable()).unwrap_or(u32::MAX);
    let wanted = process::descriptors_needed(10_000, shards);
    let nofile = match process::limit(Resource::Nofile) {
        Ok(limit) if limit.hard >= wanted => {
            Finding::ok("open files", shown(limit.soft, limit.hard))
        }
        Ok(limit) => Finding::improve(
            "open files",
            shown(limit.soft, limit.hard),
            format!(
                "10000 clients need {wanted}: LimitNOFILE={wanted} in the unit, or `ulimit -n {wanted}`"
            ),
        ),
        Err(error) => Finding::improve(
            "open files",
            super::config::reason(&error),
            "look at `ulimit -n`",
        ),
    };
    // Since 5.12 a ring's memory is charged to the cgroup, not to this limit; registered buffers are
    // charged to it still.
    const MEMLOCK: u64 = 8 << 20;
    let memlock = match process::limit(Resource::Memlock) {
        Ok(limit) if limit.hard >= MEMLOCK => {
            Finding::ok("locked memory", shown(limit.soft, limit.hard))
        }
        Ok(limit) => Finding::improve(
            "locked memory",
            shown(limit.soft, limit.hard),
            "LimitMEMLOCK=infinity in the unit, `ulimit -l unlimited`, or --ulimit memlock=-1 for a container",
        ),
        Err(error) => Finding::improve(
            "locked memory",
            super::config::reason(&error),
            "look at `ulimit -l`",
        ),
    };
    vec![nofile, memlock]
}

fn shown(soft: u64, hard: u64) -> String {
    let one = |limit: u64| {
        if limit == u64::MAX {
            "unlimited".to_string()
        } else {
            limit.to_string()
        }
    };
    format!("{} (the server may raise it to {})", one(soft), one(hard))
}

fn cores() -> Finding {
    let affinity = cpus::affinity().len();
    let usable = cpus::usable();
    match cpus::cgroup_quota() {
        None => Finding::ok(
            "cores",
            format!("{affinity} in the affinity mask, no cgroup quota: {usable} shards"),
        ),
        Some(quota) if quota >= affinity as f64 => Finding::ok(
            "cores",
            format!("{affinity} in the affinity mask, cgroup quota {quota}: {usable} shards"),
        ),
        // The kernel stops a shard that has used up its share until the period ends: that is what a
        // quota costs, and why cores given whole are better.
        Some(quota) => Finding::improve(
            "cores",
            format!("{affinity} in the affinity mask, cgroup quota {quota}: {usable} shards"),
            "a quota stops shards for up to a period of 100 ms: give whole cores (a cpuset) instead",
        ),
    }
}

/// What /proc and /sys below a root say.
struct Host {
    root: PathBuf,
}

impl Host {
    fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.root.join(path))
            .ok()
            .map(|text| text.trim().to_string())
    }

    fn names(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.join(path))
            .into_iter()
            .flatten()
            .flatten();
        let mut names: Vec<String> = entries
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = vec![
            self.numa(),
            self.huge_pages(),
            self.governor(),
            self.clock(),
            self.backlog(
                "somaxconn",
                "proc/sys/net/core/somaxconn",
                "net.core.somaxconn",
            ),
            self.backlog(
                "SYN backlog",
                "proc/sys/net/ipv4/tcp_max_syn_backlog",
                "net.ipv4.tcp_max_syn_backlog",
            ),
            self.overcommit(),
            self.swap(),
        ];
        findings.extend(self.interrupts());
        findings
    }

    fn numa(&self) -> Finding {
        let nodes = self.names("sys/devices/system/node");
        let is_node = |name: &&String| {
            name.strip_prefix("node")
                .is_some_and(|n| n.parse::<u32>().is_ok())
        };
        match nodes.iter().filter(is_node).count() {
            0 | 1 => Finding::ok("NUMA", "one node"),
            count => Finding::improve(
                "NUMA",
                format!("{count} nodes"),
                "memory of another node is slower: run one server for each node, with `numactl --cpunodebind=N \
                 --membind=N ringdove`",
            ),
        }
    }

    fn huge_pages(&self) -> Finding {
        let name = "transparent huge pages";
        match self.read("sys/kernel/mm/transparent_hugepage/enabled") {
            None => Finding::ok(name, "not in this kernel"),
            Some(text) if text.contains("[always]") => Finding::improve(
                name,
                "always",
                "they cost memory and stalls for compaction: `tuning/tune apply sysctl`, or `echo madvise > \
                 /sys/kernel/mm/transparent_hugepage/enabled`",
            ),
            Some(text) => Finding::ok(name, chosen(&text)),
        }
    }

    fn governor(&self) -> Finding {
        let name = "CPU governor";
        let cpus = self.names("sys/devices/system/cpu");
        let governors = cpus.iter().filter_map(|cpu| {
            let number = cpu.strip_prefix("cpu")?;
            number.parse::<u32>().ok()?;
            self.read(&format!(
                "sys/devices/system/cpu/{cpu}/cpufreq/scaling_governor"
            ))
        });
        let mut governors: Vec<String> = governors.collect();
        governors.sort();
        governors.dedup();
        match governors.as_slice() {
            [] => Finding::ok(name, "not shown by this machine (a virtual one)"),
            [one] if one == "performance" => Finding::ok(name, "performance"),
            others => Finding::improve(
                name,
                others.join(", "),
                "an idle core takes its time to speed up: `tuning/tune apply governor`",
            ),
        }
    }

    fn clock(&self) -> Finding {
        let name = "clock source";
        let path = "sys/devices/system/clocksource/clocksource0/current_clocksource";
        let source = self.read(path).unwrap_or_else(|| "unknown".into());
        match source.as_str() {
            "hpet" | "acpi_pm" | "jiffies" | "refined-jiffies" | "xen" => Finding::improve(
                name,
                source.clone(),
                format!(
                    "each look at the clock is a system call: if the machine has a stable TSC, `echo tsc > /{path}`"
                ),
            ),
            _ => Finding::ok(name, source.clone()),
        }
    }

    fn backlog(&self, name: &str, path: &str, sysctl: &str) -> Finding {
        // The default of `tcp-backlog`.
        const WANTED: u64 = 511;
        let value = self.read(path).and_then(|text| text.parse::<u64>().ok());
        match value {
            None => Finding::ok(name, "not shown here"),
            Some(value) if value >= WANTED => Finding::ok(name, value.to_string()),
            Some(value) => Finding::improve(
                name,
                value.to_string(),
                format!(
                    "tcp-backlog {WANTED} is cut to it: `tuning/tune apply sysctl`, or `sysctl -w {sysctl}=4096`"
                ),
            ),
        }
    }

    fn overcommit(&self) -> Finding {
        let name = "overcommit of memory";
        match self.read("proc/sys/vm/overcommit_memory").as_deref() {
            Some("2") => Finding::improve(
                name,
                "2",
                "the kernel may refuse memory that is free: `sysctl -w vm.overcommit_memory=0`",
            ),
            // There is no fork here, so that 0 does as well as the 1 that Redis asks for.
            Some(value) => Finding::ok(name, value),
            None => Finding::ok(name, "not shown here"),
        }
    }

    fn swap(&self) -> Finding {
        let areas = self
            .read("proc/swaps")
            .map_or(0, |text| text.lines().skip(1).count());
        let swappiness = self
            .read("proc/sys/vm/swappiness")
            .and_then(|text| text.parse::<u32>().ok());
        match (areas, swappiness) {
            (0, _) => Finding::ok("swap", "none"),
            (_, Some(value)) if value <= 10 => Finding::ok("swap", format!("swappiness {value}")),
            (_, value) => Finding::improve(
                "swap",
                format!(
                    "swappiness {}",
                    value.map_or("unknown".into(), |v| v.to_string())
                ),
                "a key that was swapped out stalls its shard: `tuning/tune apply sysctl`, or `sysctl -w vm.swappiness=1`",
            ),
        }
    }

    /// Network cards with one receive queue, and nothing that spreads their packets over the cores.
    fn interrupts(&self) -> Vec<Finding> {
        let cards = self.names("sys/class/net");
        let real = cards.iter().filter(|card| {
            self.root
                .join(format!("sys/class/net/{card}/device"))
                .exists()
        });
        let judge = |card: &String| {
            let name = format!("receive queues of {card}");
            let queues = self.names(&format!("sys/class/net/{card}/queues"));
            let queues: Vec<&String> = queues
                .iter()
                .filter(|queue| queue.starts_with("rx-"))
                .collect();
            let spread = queues.iter().any(|queue| {
                let mask = self
                    .read(&format!("sys/class/net/{card}/queues/{queue}/rps_cpus"))
                    .unwrap_or_default();
                mask.bytes().any(|b| b.is_ascii_hexdigit() && b != b'0')
            });
            if spread || queues.len() > 1 || cpus::usable() == 1 {
                return Finding::ok(
                    name,
                    format!(
                        "{}, RPS {}",
                        queues.len(),
                        if spread { "on" } else { "off" }
                    ),
                );
            }
            let remedy = "one core takes all packets of the network: `tuning/tune apply queues` spreads them";
            Finding::improve(name, format!("{}, RPS off", queues.len()), remedy)
        };
        real.map(judge).collect()
    }
}

/// The word in brackets: `always [madvise] never`.
fn chosen(text: &str) -> &str {
    let inner = text
        .split_once('[')
        .and_then(|(_, tail)| tail.split_once(']'));
    inner.map_or(text, |(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn host(name: &str, files: &[(&str, &str)]) -> Host {
        let root =
            std::env::temp_dir().join(format!("ringdove-host-{name}-{}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("a file stands in a folder"))
                .expect("temp folder");
            fs::write(path, text).expect("temp file");
        }
        Host { root }
    }

    #[test]
    fn a_well_kept_host_has_only_ok() {
        let host = host(
            "good",
            &[
                ("sys/devices/system/node/node0/cpulist", "0-7\n"),
                (
                    "sys/kernel/mm/transparent_hugepage/enabled",
                    "always [madvise] never\n",
                ),
                (
                    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
                    "performance\n",
                ),
                (
                    "sys/devices/system/clocksource/clocksource0/current_clocksource",
                    "tsc\n",
                ),
                ("proc/sys/net/core/somaxconn", "4096\n"),
                ("proc/sys/net/ipv4/tcp_max_syn_backlog", "4096\n"),
                ("proc/sys/vm/overcommit_memory", "0\n"),
                ("proc/swaps", "Filename\tType\n"),
                ("sys/class/net/eth0/device/vendor", "x\n"),
                ("sys/class/net/eth0/queues/rx-0/rps_cpus", "0000000f\n"),
            ],
        );
        for finding in host.findings() {
            assert_eq!(
                (finding.verdict, finding.remedy.as_str()),
                (Verdict::Ok, ""),
                "{finding}"
            );
        }
        fs::remove_dir_all(host.root).expect("clean up");
    }

    #[test]
    fn each_problem_has_a_remedy_in_one_line() {
        let host = host(
            "bad",
            &[
                ("sys/devices/system/node/node0/cpulist", "0-7\n"),
                ("sys/devices/system/node/node1/cpulist", "8-15\n"),
                (
                    "sys/kernel/mm/transparent_hugepage/enabled",
                    "[always] madvise never\n",
                ),
                (
                    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
                    "performance\n",
                ),
                (
                    "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor",
                    "powersave\n",
                ),
                (
                    "sys/devices/system/clocksource/clocksource0/current_clocksource",
                    "hpet\n",
                ),
                ("proc/sys/net/core/somaxconn", "128\n"),
                ("proc/sys/net/ipv4/tcp_max_syn_backlog", "256\n"),
                ("proc/sys/vm/overcommit_memory", "2\n"),
                ("proc/swaps", "Filename\tType\n/swap\tfile\n"),
                ("proc/sys/vm/swappiness", "60\n"),
            ],
        );
        let findings = host.findings();
        assert_eq!(findings.len(), 8);
        for finding in findings {
            let line = finding.to_string();
            assert!(
                line.starts_with("improve ") && line.contains(" -> ") && !line.contains('\n'),
                "{line}"
            );
            assert!(
                !line.contains("  ") || line.starts_with("improve  "),
                "{line}"
            );
        }
        fs::remove_dir_all(host.root).expect("clean up");
    }

    #[test]
    fn an_empty_host_is_no_problem() {
        let host = host("empty", &[]);
        assert!(
            host.findings()
                .iter()
                .all(|finding| finding.verdict == Verdict::Ok)
        );
    }

    #[test]
    fn this_host_can_run_the_server() {
        for finding in all() {
            assert_ne!(finding.verdict, Verdict::Missing, "{finding}");
        }
    }
}
