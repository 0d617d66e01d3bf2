//! Limits of the process: the shell that runs the doctor passes its own on.

use indicatif::BinaryBytes;

use super::fact::Group;
use super::finding::{Finding, Severity};
use super::kernel::has_capability;
use super::report::Report;
use super::root::Root;

/// Locked memory that the registered buffers of one database take at most.
const LOCKED_BYTES: u64 = 8 << 20;
/// What a data file can grow to unless the process has less.
const ADDRESS_SPACE_BYTES: u64 = 1 << 40;
const FILE_BYTES: u64 = 1 << 40;
/// A service soon uses up fewer open files than this.
const OPEN_FILES_MIN: u64 = 1024;
const CAP_IPC_LOCK: u32 = 14;
const OF_SHELL: &str = "a service has limits of its own, from its unit; run the doctor as the \
    service runs";

/// A limit that matters.
struct Limit {
    id: &'static str,
    /// As in /proc/PID/limits.
    name: &'static str,
    least: u64,
    severity: Severity,
    why: &'static str,
    /// What `prlimit` calls it.
    option: &'static str,
    /// What systemd calls it.
    setting: &'static str,
}

const LIMITS_THAT_MATTER: [Limit; 4] = [
    Limit {
        id: "memlock-low",
        name: "Max locked memory",
        least: LOCKED_BYTES,
        severity: Severity::Warning,
        why: "Buffers of the log are registered with io_uring, which counts as locked memory. \
            Where they cannot be registered the kernel pins them anew for each commit.",
        option: "memlock",
        setting: "LimitMEMLOCK",
    },
    Limit {
        id: "address-space-low",
        name: "Max address space",
        least: ADDRESS_SPACE_BYTES,
        severity: Severity::Warning,
        why: "A database reserves the address space its data file may grow into, 1 TiB if it can \
            have it; with less the data file can grow to less.",
        option: "as",
        setting: "LimitAS",
    },
    Limit {
        id: "file-size-low",
        name: "Max file size",
        least: FILE_BYTES,
        severity: Severity::Warning,
        why: "The data file is one file: writes fail with \"no space\" when it reaches the limit.",
        option: "fsize",
        setting: "LimitFSIZE",
    },
    Limit {
        id: "open-files-low",
        name: "Max open files",
        least: OPEN_FILES_MIN,
        severity: Severity::Note,
        why: "Connections of a service soon use up so few; then its log cannot open a file.",
        option: "nofile",
        setting: "LimitNOFILE",
    },
];

/// Reports the limits.
pub fn look(root: &Root, report: &mut Report) {
    let limits = root.own("limits");
    let status = root.own("status");
    for limit in &LIMITS_THAT_MATTER {
        let soft = limits.known().and_then(|text| soft_limit(text, limit.name));
        let reading = limits.part(soft);
        report.facts.read(Group::Limits, limit.name.trim_start_matches("Max "), &reading);
        let is_exempt = limit.id == "memlock-low" && has_capability(&status, CAP_IPC_LOCK);
        if let Some(bytes) = reading.number().filter(|&bytes| bytes < limit.least && !is_exempt) {
            report.find(limit.finding(root, &limits.source, bytes));
        }
    }
    overcommit(root, report);
}

impl Limit {
    fn finding(&self, root: &Root, source: &str, soft: u64) -> Finding {
        let what = self.name.trim_start_matches("Max ");
        let shown = match self.option {
            "nofile" => soft.to_string(),
            _ => BinaryBytes(soft).to_string(),
        };
        let title = format!("the limit of {what} is {shown}");
        let command =
            |soft: u64| format!("prlimit --{}={soft}: --pid {}", self.option, root.shown_pid());
        let risk = "none for the machine; only root can go above the hard limit";
        let setting = format!("{}={}: {OF_SHELL}", self.setting, self.least);
        Finding::new(self.id, self.severity, title)
            .saw(source, format!("{}: {soft}", self.name))
            .why(self.why)
            .change(command(self.least), risk, command(soft))
            .advise(setting)
    }
}

/// The soft limit in a line of /proc/PID/limits; a number or `unlimited`.
fn soft_limit<'t>(limits: &'t str, name: &str) -> Option<&'t str> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()
}

fn overcommit(root: &Root, report: &mut Report) {
    let mode = root.read("/proc/sys/vm/overcommit_memory");
    report.facts.read(Group::Limits, "overcommit_memory", &mode);
    if mode.number() != Some(2) {
        return;
    }
    let memory = root.read("/proc/meminfo");
    let line = |name: &str| format!("{name}: {}", memory.field(name).unwrap_or("unknown"));
    let ratio = root.read("/proc/sys/vm/overcommit_ratio");
    let finding = Finding::new(
        "overcommit-strict",
        Severity::Note,
        "memory is never overcommitted",
    )
    .read(&mode)
    .saw(&memory.source, format!("{}, {}", line("CommitLimit"), line("Committed_AS")))
    .why(
        "The index lives in memory. When all programs together have asked for CommitLimit, it \
             gets no more, although memory may be free. Maps of files do not count.",
    )
    .change(
        "sysctl vm.overcommit_memory=0",
        "where memory runs out the kernel ends a process instead of refusing memory",
        "sysctl vm.overcommit_memory=2",
    );
    let ratio = ratio.known().unwrap_or("unknown");
    let advice = format!("or raise vm.overcommit_ratio, which is {ratio}");
    report.find(finding.advise(advice));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_from_their_line() {
        let line = |name: &str, soft: &str, hard: &str, unit: &str| {
            format!("{name:<26}{soft:<21}{hard:<21}{unit:<10}\n")
        };
        let limits = line("Limit", "Soft Limit", "Hard Limit", "Units")
            + &line("Max locked memory", "65536", "unlimited", "bytes")
            + &line("Max open files", "unlimited", "unlimited", "files");
        assert_eq!(soft_limit(&limits, "Max locked memory"), Some("65536"));
        assert_eq!(soft_limit(&limits, "Max open files"), Some("unlimited"));
        assert_eq!(soft_limit(&limits, "Max stack size"), None);
    }
}
