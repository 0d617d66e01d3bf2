//! Facts of the machine that a reader needs to judge a result. Every report has each of them; a
//! fact that the program cannot find is "unknown".

pub mod cache;
pub mod device;
pub mod folder;
pub mod memory_limit;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use uarr_uring::{Storage, System, SystemOptions};

use crate::error::BenchError;
use crate::machine::device::Device;

/// The value of a fact that the program cannot find.
const UNKNOWN: &str = "unknown";

/// Collects the facts of the machine, of the file system and the device below `dir`.
pub fn facts(dir: &Path) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    let mut add = |name: &str, value: Option<String>| {
        let value = value.filter(|value| !value.is_empty()).unwrap_or_else(|| UNKNOWN.to_owned());
        facts.insert(name.to_owned(), value);
    };
    processor(&mut add);
    file_system(dir, &mut add);
    device(dir, &mut add);
    limits(&mut add);
    uring(dir, &mut add);
    add("bench version", Some(env!("CARGO_PKG_VERSION").to_owned()));
    add("rustc", Some(env!("UARR_BENCH_RUSTC").to_owned()));
    add(
        "profile",
        Some(if cfg!(debug_assertions) { "with debug assertions" } else { "release" }.to_owned()),
    );
    add("git commit", git_commit());
    add("clock read ns", Some(format!("{:.0}", clock_ns())));
    facts
}

/// One of the facts.
pub fn fact<'f>(facts: &'f BTreeMap<String, String>, name: &str) -> &'f str {
    facts.get(name).map_or(UNKNOWN, String::as_str)
}

/// The facts without which no number means anything, in one line.
pub fn line(facts: &BTreeMap<String, String>) -> String {
    let fact = |name| fact(facts, name);
    let priority = match fact("nice") {
        "0" | UNKNOWN => String::new(),
        nice => format!(", at nice {nice}"),
    };
    format!(
        "{}, {} threads, kernel {}, {} on {} (write cache: {}, FUA: {}){priority}",
        fact("cpu model"),
        fact("cpu threads"),
        fact("kernel"),
        fact("file system"),
        fact("device"),
        fact("device write cache"),
        fact("device FUA"),
    )
}

/// Bytes free for this user on the file system of `dir`.
pub fn free_bytes(dir: &Path) -> Result<u64, BenchError> {
    let stat = rustix::fs::statvfs(dir)
        .map_err(|error| BenchError::at(dir, "cannot find the free space of", &error))?;
    Ok(stat.f_bavail * stat.f_frsize)
}

/// Processor time since boot, which shows how busy others were during a run.
#[derive(Clone, Copy, Debug)]
pub struct ProcessorTimes {
    /// Ticks of all processors, idle ones included.
    total: u64,
    /// Ticks in which any process, the kernel or the hypervisor worked.
    busy: u64,
    /// Ticks of this process and of its children that have ended.
    own: u64,
}

impl ProcessorTimes {
    /// The times now; `None` without /proc.
    pub fn now() -> Option<Self> {
        Self::parse(&read("/proc/stat")?, &read("/proc/self/stat")?)
    }

    fn parse(stat: &str, own_stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        // user nice system idle iowait irq softirq steal; guest time is within user time.
        let ticks: Vec<u64> =
            line.split_ascii_whitespace().take(8).map_while(|field| field.parse().ok()).collect();
        let [_, _, _, idle, waiting, ..] = ticks[..] else { return None };
        let total = ticks.iter().sum();
        // After the name in parentheses, utime stime cutime cstime are fields 12 to 15 of the rest.
        let (_, rest) = own_stat.rsplit_once(')')?;
        let fields = rest.split_ascii_whitespace().skip(11).take(4);
        let own = fields.map_while(|field| field.parse::<u64>().ok()).sum();
        Some(Self { total, busy: total - idle - waiting, own })
    }

    /// The share of all processors' time since `earlier` that others used, 0 to 1.
    pub fn others_since(self, earlier: Self) -> Option<f64> {
        let total = self.total.checked_sub(earlier.total).filter(|&total| total > 0)?;
        let busy = self.busy.saturating_sub(earlier.busy);
        let others = busy.saturating_sub(self.own.saturating_sub(earlier.own));
        Some(others as f64 / total as f64)
    }
}

type Add<'a> = dyn FnMut(&str, Option<String>) + 'a;

fn read(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn processor(add: &mut Add<'_>) {
    add("kernel", read("/proc/sys/kernel/osrelease"));
    let cpu = read("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpu.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    add("cpu model", field("model name"));
    let threads = std::thread::available_parallelism().ok().map(|count| count.to_string());
    add("cpu threads", threads);
    add("cpu governor", read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"));
    add("cpu smt", read("/sys/devices/system/cpu/smt/control"));
    let flags = field("flags").unwrap_or_default();
    let is_virtual = flags.split(' ').any(|flag| flag == "hypervisor");
    add("nice", read("/proc/self/stat").as_deref().and_then(nice));
    add("virtual machine", (!flags.is_empty()).then(|| yes_or_no(is_virtual)));
    add("clock source", read("/sys/devices/system/clocksource/clocksource0/current_clocksource"));
    let memory = read("/proc/meminfo").unwrap_or_default();
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    add("memory", total.map(|total| total.trim().to_owned()));
    add("transparent huge pages", read("/sys/kernel/mm/transparent_hugepage/enabled"));
}

/// The priority of this process, from its line in /proc.
fn nice(stat: &str) -> Option<String> {
    // After the name in parentheses it is field 17 of the rest.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(16).map(str::to_owned)
}

fn yes_or_no(is_so: bool) -> String {
    if is_so { "yes" } else { "no" }.to_owned()
}

fn file_system(dir: &Path, add: &mut Add<'_>) {
    let mounts = read("/proc/self/mountinfo").unwrap_or_default();
    let mount = fs::canonicalize(dir).ok().and_then(|dir| mount_of(&dir, &mounts));
    let (kind, options) = mount.unzip();
    add("file system", kind);
    add("mount options", options);
    let asked = StatxFlags::DIOALIGN;
    let alignment = statx(CWD, dir, AtFlags::empty(), asked).ok();
    // A directory has no alignment of its own; a file in it has.
    let alignment = alignment.and_then(|_| {
        let path = dir.join(".alignment");
        fs::write(&path, b"").ok()?;
        let facts = statx(CWD, &path, AtFlags::empty(), asked).ok();
        fs::remove_file(&path).ok()?;
        let facts = facts.filter(|facts| facts.stx_mask & asked.bits() != 0)?;
        Some(format!("memory {}, offset {}", facts.stx_dio_mem_align, facts.stx_dio_offset_align))
    });
    add("direct I/O alignment", alignment);
}

/// Type and options of the mount that holds `dir`: the last of the longest mount points that are
/// its prefix.
fn mount_of(dir: &Path, mounts: &str) -> Option<(String, String)> {
    let mut found: Option<(usize, String, String)> = None;
    for line in mounts.lines() {
        let Some((head, tail)) = line.split_once(" - ") else { continue };
        let head: Vec<&str> = head.split(' ').collect();
        let tail: Vec<&str> = tail.split(' ').collect();
        let (Some(&point), Some(&options)) = (head.get(4), head.get(5)) else { continue };
        let (Some(&kind), super_options) = (tail.first(), tail.get(2).copied().unwrap_or(""))
        else {
            continue;
        };
        let point = point.replace("\\040", " ");
        let is_longer = found.as_ref().is_none_or(|(len, ..)| point.len() >= *len);
        if is_longer && dir.starts_with(&point) {
            found = Some((point.len(), kind.to_owned(), format!("{options}; {super_options}")));
        }
    }
    found.map(|(_, kind, options)| (kind, options))
}

fn device(dir: &Path, add: &mut Add<'_>) {
    let device = Device::of(dir);
    let attribute = |name: &str| device.as_ref()?.attribute(name);
    add("device", device.as_ref().and_then(Device::name));
    for (fact, name) in [
        ("device model", "device/model"),
        ("device firmware", "device/firmware_rev"),
        ("device scheduler", "queue/scheduler"),
        ("device requests", "queue/nr_requests"),
        ("device write cache", "queue/write_cache"),
        ("device FUA", "queue/fua"),
        ("device logical block", "queue/logical_block_size"),
        ("device physical block", "queue/physical_block_size"),
        ("device rotational", "queue/rotational"),
        ("device max sectors KiB", "queue/max_sectors_kb"),
    ] {
        add(fact, attribute(name));
    }
}

fn limits(add: &mut Add<'_>) {
    let limits = read("/proc/self/limits").unwrap_or_default();
    for (fact, name) in [("limit memlock", "Max locked memory"), ("limit files", "Max open files")]
    {
        let line = limits.lines().find_map(|line| line.strip_prefix(name));
        let soft = line.and_then(|line| line.split_ascii_whitespace().next());
        add(fact, soft.map(str::to_owned));
    }
}

fn uring(dir: &Path, add: &mut Add<'_>) {
    let system = System::open(dir, SystemOptions::default()).ok();
    let facts = system.as_ref().map(Storage::facts);
    let backend = facts.map(|facts| match &facts.warning {
        None => format!("{:?}", facts.backend).to_lowercase(),
        Some(warning) => warning.clone(),
    });
    add("io_uring backend", backend);
    add("log block", facts.map(|facts| facts.block_bytes.to_string()));
    add("direct I/O", facts.map(|facts| yes_or_no(facts.direct)));
    add("io_uring disabled", read("/proc/sys/kernel/io_uring_disabled"));
}

/// The commit of the sources this program was built from, if they are still there.
fn git_commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let command = ["-C", env!("CARGO_MANIFEST_DIR")];
        let output = Command::new("git").args(command).args(arguments).output().ok()?;
        let text = output.status.success().then(|| String::from_utf8(output.stdout).ok())??;
        Some(text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let is_clean = git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(if is_clean { commit } else { format!("{commit} with changes") })
}

/// What one reading of the clock costs; every operation timed by itself contains one.
fn clock_ns() -> f64 {
    const READS: u32 = 10_000;
    let start = Instant::now();
    for _ in 0..READS {
        std::hint::black_box(Instant::now());
    }
    start.elapsed().as_nanos() as f64 / f64::from(READS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_of_its_own_is_part_of_the_line() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 20 -15 30";
        assert_eq!(nice(stat).as_deref(), Some("-15"));
        let of = |nice: &str| line(&BTreeMap::from([("nice".to_owned(), nice.to_owned())]));
        assert!(of("-15").ends_with(", at nice -15") && !of("0").contains("nice"));
    }

    #[test]
    fn every_fact_is_there_and_the_directory_stays_clean() {
        let dir = tempfile::tempdir().unwrap();
        let facts = facts(dir.path());
        for name in
            ["kernel", "cpu model", "memory", "mount options", "device FUA", "limit memlock"]
        {
            assert!(!facts[name].is_empty(), "{name}");
        }
        assert_ne!(facts["kernel"], UNKNOWN);
        assert_ne!(facts["file system"], UNKNOWN);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(free_bytes(dir.path()).unwrap() > 0);
        assert!(free_bytes(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn the_work_of_others_is_what_is_neither_idle_nor_ours() {
        let own = |ticks: &str| format!("7 (a (b) c) R 1 2 3 4 5 6 7 8 9 10 {ticks} 20 0");
        let stat = |line: &str| format!("cpu  {line}\ncpu0 1 2 3\n");
        let before = ProcessorTimes::parse(&stat("10 0 10 80 0 0 0 0 0 0"), &own("1 1 1 1"));
        let after = ProcessorTimes::parse(&stat("40 5 30 150 10 2 3 0 9 0"), &own("20 5 3 2"));
        // 140 ticks passed, 60 of them busy, 26 of those ours.
        let others = after.unwrap().others_since(before.unwrap()).unwrap();
        assert!((others - 34.0 / 140.0).abs() < 1e-9, "{others}");
        assert!(ProcessorTimes::parse("", &own("1 1 1 1")).is_none());
        let now = ProcessorTimes::now().unwrap();
        assert_eq!(now.others_since(now), None);
    }

    #[test]
    fn the_innermost_mount_counts() {
        let mounts = "21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard\n\
            22 21 0:5 / /data rw,noatime - tmpfs tmpfs rw,size=1g\n\
            23 21 0:6 / /data/a\\040b rw - xfs /dev/loop0 rw,attr2\n";
        let kind = |path: &str| mount_of(Path::new(path), mounts).unwrap().0;
        assert_eq!(kind("/work"), "ext4");
        assert_eq!(kind("/data/x"), "tmpfs");
        assert_eq!(kind("/data/a b/c"), "xfs");
        assert_eq!(kind("/database"), "ext4");
        assert_eq!(mount_of(Path::new("/data"), mounts).unwrap().1, "rw,noatime; rw,size=1g");
    }
}
