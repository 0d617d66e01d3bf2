//! A limit of this process' memory, page cache included: a cgroup of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::BenchError;

/// The process is in the cgroup until this is dropped.
pub struct MemoryLimit {
    /// The cgroup with the limit.
    own: PathBuf,
    /// The one that the process came from.
    before: PathBuf,
    kind: Kind,
}

/// The version of cgroups that has the controller of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    One,
    Two,
}

impl Kind {
    const fn limit_file(self) -> &'static str {
        match self {
            Self::One => "memory.limit_in_bytes",
            Self::Two => "memory.max",
        }
    }

    const fn peak_file(self) -> &'static str {
        match self {
            Self::One => "memory.max_usage_in_bytes",
            Self::Two => "memory.peak",
        }
    }
}

impl MemoryLimit {
    /// Limits this process to so many MiB.
    pub fn enter(mib: u64) -> Result<Self, BenchError> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mut why = Vec::new();
        for (before, kind) in places(&mounts, &groups) {
            match Self::enter_below(&before, kind, mib << 20) {
                Ok(limit) => return Ok(limit),
                Err(error) => why.push(format!("{}: {error}", before.display())),
            }
        }
        if why.is_empty() {
            why.push("no cgroup with a controller of memory is mounted".to_owned());
        }
        Err(BenchError::Setup(format!(
            "cannot limit memory to {mib} MiB ({}): run as root, or without memory_mib under \
             `systemd-run --user --scope -p MemoryMax={mib}M`",
            why.join("; ")
        )))
    }

    fn enter_below(before: &Path, kind: Kind, bytes: u64) -> io::Result<Self> {
        let own = before.join(format!("uarr-bench-{}", std::process::id()));
        fs::create_dir(&own)?;
        // From here on it is removed, whatever happens.
        let limit = Self { own, before: before.to_owned(), kind };
        fs::write(limit.own.join(kind.limit_file()), bytes.to_string())?;
        fs::write(limit.own.join("cgroup.procs"), std::process::id().to_string())?;
        Ok(limit)
    }

    /// The most memory that was used, where the kernel says so.
    pub fn peak_bytes(&self) -> Option<u64> {
        let peak = fs::read_to_string(self.own.join(self.kind.peak_file())).ok()?;
        peak.trim().parse().ok()
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // It fails if the process never was in it.
        let _ = fs::write(self.before.join("cgroup.procs"), std::process::id().to_string());
        if let Err(error) = fs::remove_dir(&self.own) {
            eprintln!("uarr-bench: cannot remove {}: {error}", self.own.display());
        }
    }
}

/// Where a cgroup with a limit can be: below that of this process, or else at the top.
fn places(mounts: &str, groups: &str) -> Vec<(PathBuf, Kind)> {
    let group = |is_it: &dyn Fn(&str) -> bool| {
        let mut fields = groups.lines().map(|line| line.splitn(3, ':').skip(1));
        fields.find_map(|mut line| is_it(line.next()?).then(|| line.next()).flatten())
    };
    let mut places = Vec::new();
    for line in mounts.lines() {
        let Some((head, tail)) = line.split_once(" - ") else { continue };
        let (mut head, mut tail) = (head.split(' ').skip(4), tail.split(' '));
        let (Some(point), Some(kind)) = (head.next(), tail.next()) else { continue };
        let has_memory =
            tail.nth(1).is_some_and(|options| options.split(',').any(|one| one == "memory"));
        let (kind, group) = match kind {
            "cgroup" if has_memory => {
                (Kind::One, group(&|names: &str| names.split(',').any(|name| name == "memory")))
            }
            "cgroup2" => (Kind::Two, group(&str::is_empty)),
            _ => continue,
        };
        let point = Path::new(point);
        let below = group.map(|group| point.join(group.trim_start_matches('/')));
        let below = below.filter(|below| below != point);
        places.extend(below.map(|below| (below, kind)));
        places.push((point.to_owned(), kind));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_of_this_process_comes_first() {
        let mounts = "25 1 0:22 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
            26 1 0:23 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n\
            27 1 0:24 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
            28 1 0:25 / / rw - ext4 /dev/vda rw\n";
        let groups = "5:cpu,cpuacct:/a\n4:memory:/b/c\n0::/\n";
        let paths: Vec<_> = places(mounts, groups);
        let of = |path: &str, kind| (PathBuf::from(path), kind);
        assert_eq!(
            paths,
            [
                of("/sys/fs/cgroup/memory/b/c", Kind::One),
                of("/sys/fs/cgroup/memory", Kind::One),
                of("/sys/fs/cgroup/unified", Kind::Two),
            ]
        );
        assert!(places("", "").is_empty());
    }
}
