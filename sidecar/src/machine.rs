//! What the machine has.

use std::fs;

/// Where the limit of a container's memory is told, by version 2 and 1 of control groups.
const LIMITS: [&str; 2] = [
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
];

/// Bytes of memory of the machine, or those that this process's container may use. `None` where neither is told.
pub(crate) fn memory_bytes() -> Option<u64> {
    let limits = LIMITS.into_iter().map(fs::read_to_string);
    let limits = limits.filter_map(|limit| limit.ok()?.trim().parse().ok());
    limits.chain(total_bytes()).min()
}

/// Bytes of memory of the machine (proc_meminfo(5)).
fn total_bytes() -> Option<u64> {
    let told = fs::read_to_string("/proc/meminfo").ok()?;
    let kib = told
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = kib.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_memory() {
        let (usable, total) = (memory_bytes(), total_bytes());
        assert!(usable > Some(64 << 20), "{usable:?}");
        assert!(usable <= total, "{usable:?} of {total:?}");
    }
}
