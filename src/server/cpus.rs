#![expect(
    unsafe_code,
    reason = "sched_getaffinity is a system call that std does not wrap"
)]
//! How many cores the process may use: what its affinity mask and its cgroup's CPU quota leave.
//!
//! A quota counts in whole cores, rounded up: a shard for a part of a core still helps, one without
//! any would only take turns with the others.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where the kernel shows the cgroup hierarchy.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// Number of cores that the process may use; at least 1.
///
/// Found out by the first call and kept: that is the start's, before any thread is pinned to a core
/// of its own and would see that one alone.
pub fn usable() -> usize {
    static USABLE: OnceLock<usize> = OnceLock::new();
    *USABLE.get_or_init(|| {
        let cores = affinity().len().max(1);
        match cgroup_quota() {
            Some(quota) => cores.min((quota.ceil() as usize).max(1)),
            None => cores,
        }
    })
}

/// The cores of the calling thread's affinity mask, in ascending order. Empty when the kernel does not
/// say.
pub fn affinity() -> Vec<usize> {
    // Room for 8192 cores, which is the most that a Linux kernel can be built for.
    const WORD_BITS: usize = usize::BITS as usize;
    let mut mask = [0_usize; 8192 / WORD_BITS];
    // SAFETY: the pointer is valid for writes of the size that is passed, and any bits are valid.
    let written = unsafe {
        libc::syscall(
            libc::SYS_sched_getaffinity,
            0,
            std::mem::size_of_val(&mask),
            mask.as_mut_ptr(),
        )
    };
    if written < 0 {
        return Vec::new();
    }
    (0..mask.len() * WORD_BITS)
        .filter(|cpu| mask[cpu / WORD_BITS] >> (cpu % WORD_BITS) & 1 == 1)
        .collect()
}

/// Cores' worth of CPU time that the cgroup of the process and those above it allow: the smallest of
/// their quotas. `None`: no quota.
pub fn cgroup_quota() -> Option<f64> {
    let membership = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    quota_of(Path::new(CGROUP_ROOT), &membership)
}

/// The same from the text of `/proc/self/cgroup` and a root, so that a test can give its own.
fn quota_of(root: &Path, membership: &str) -> Option<f64> {
    let mut least: Option<f64> = None;
    for line in membership.lines() {
        // hierarchy-ID:controller-list:cgroup-path
        let mut parts = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let found = if id == "0" && controllers.is_empty() {
            // Version 2 alone, or beside version 1 in the hybrid layout.
            smallest(root, path, read_v2).or_else(|| smallest(&root.join("unified"), path, read_v2))
        } else if controllers.split(',').any(|c| c == "cpu") {
            smallest(&root.join(controllers), path, read_v1)
                .or_else(|| smallest(&root.join("cpu"), path, read_v1))
        } else {
            None
        };
        least = match (least, found) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    least
}

/// The smallest quota from the group up to the root. In a container the path may name groups that
/// are not visible: then the root of the hierarchy is the container's own group.
fn smallest(root: &Path, path: &str, read: fn(&Path) -> Option<f64>) -> Option<f64> {
    let group: PathBuf = root.join(path.trim_start_matches('/'));
    let ancestors = group.ancestors().take_while(|dir| dir.starts_with(root));
    ancestors.filter_map(read).reduce(f64::min)
}

/// `cpu.max`: "max 100000" or "<quota> <period>" in microseconds.
fn read_v2(group: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(group.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    ratio(quota, period)
}

/// `cpu.cfs_quota_us` (-1: none) and `cpu.cfs_period_us`.
fn read_v1(group: &Path) -> Option<f64> {
    let quota = std::fs::read_to_string(group.join("cpu.cfs_quota_us")).ok()?;
    let period = std::fs::read_to_string(group.join("cpu.cfs_period_us")).ok()?;
    ratio(quota.trim(), period.trim())
}

fn ratio(quota: &str, period: &str) -> Option<f64> {
    let (quota, period) = (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn tree(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root =
            std::env::temp_dir().join(format!("ringdove-cgroup-{name}-{}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("a file stands in a folder"))
                .expect("temp folder");
            fs::write(path, text).expect("temp file");
        }
        root
    }

    #[test]
    fn there_is_a_core() {
        assert!(usable() >= 1);
        assert!(!affinity().is_empty());
    }

    #[test]
    fn version_2_takes_the_smallest_of_the_ancestors() {
        let root = tree(
            "v2",
            &[
                ("a/cpu.max", "150000 100000\n"),
                ("a/b/cpu.max", "max 100000\n"),
                ("c/cpu.max", "50000 100000\n"),
            ],
        );
        assert_eq!(quota_of(&root, "0::/a/b\n"), Some(1.5));
        assert_eq!(quota_of(&root, "0::/c\n"), Some(0.5));
        assert_eq!(quota_of(&root, "0::/\n"), None);
        fs::remove_dir_all(root).expect("clean up");
    }

    #[test]
    fn a_container_sees_its_own_group_as_the_root() {
        let root = tree("container", &[("cpu.max", "200000 100000\n")]);
        assert_eq!(
            quota_of(&root, "0::/system.slice/docker-123.scope\n"),
            Some(2.0)
        );
        fs::remove_dir_all(root).expect("clean up");
    }

    #[test]
    fn version_1() {
        let root = tree(
            "v1",
            &[
                ("cpu,cpuacct/x/cpu.cfs_quota_us", "250000\n"),
                ("cpu,cpuacct/x/cpu.cfs_period_us", "100000\n"),
                ("cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
                ("cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ],
        );
        assert_eq!(
            quota_of(&root, "5:memory:/x\n4:cpu,cpuacct:/x\n"),
            Some(2.5)
        );
        assert_eq!(quota_of(&root, "4:cpu,cpuacct:/\n"), None);
        fs::remove_dir_all(root).expect("clean up");
    }
}
