//! What the machine has, and what of it this process may use.

use std::{fs, iter};

/// Where control groups of version 2 and 1 lie, and how the limit of their memory is called.
const GROUPS: [(&str, &str); 2] = [
    ("/sys/fs/cgroup", "memory.max"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
];

/// Whether this process may use less memory than the machine has. The page cache counts as its memory then (the kernel's documentation
/// of control groups, "Memory").
pub(crate) fn is_memory_limited() -> bool {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    // A container sees its own group at the root.
    let places = GROUPS
        .iter()
        .zip(own_groups(&own))
        .flat_map(|((root, limit), own)| {
            let paths = iter::once("").chain(own);
            paths.map(move |path| format!("{root}{path}/{limit}"))
        });
    let limits = places.filter_map(|place| fs::read_to_string(place).ok());
    let mut limits = limits.filter_map(|limit| limit.trim().parse::<u64>().ok());
    total_bytes().is_some_and(|total| limits.any(|limit| limit < total))
}

/// The groups of version 2 and 1 in which memory is counted, of `/proc/self/cgroup` (cgroups(7)).
fn own_groups(told: &str) -> [Option<&str>; 2] {
    let group = |is_it: fn(&str) -> bool| {
        told.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            is_it(controllers).then_some(path)
        })
    };
    let counts_memory = |controllers: &str| controllers.split(',').any(|one| one == "memory");
    [group(str::is_empty), group(counts_memory)]
}

/// Bytes of memory of the machine (proc_meminfo(5)).
fn total_bytes() -> Option<u64> {
    let told = fs::read_to_string("/proc/meminfo").ok()?;
    let total = told
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_memory() {
        assert!(total_bytes() > Some(64 << 20), "{:?}", total_bytes());
    }

    #[test]
    fn groups_are_found() {
        let both = "12:cpu,cpuacct:/a\n5:memory:/b/c\n0::/d:e\n";
        assert_eq!(own_groups(both), [Some("/d:e"), Some("/b/c")]);
        assert_eq!(own_groups("0::/\n"), [Some("/"), None]);
        assert_eq!(own_groups("nonsense\n\n"), [None, None]);
    }
}
