//! The kernel, and whether it allows io_uring.

use uarr_uring::Backend;

use super::fact::Group;
use super::finding::{Finding, Severity};
use super::folder::Folder;
use super::report::Report;
use super::root::{Reading, Root};

const SWITCH: &str = "/proc/sys/kernel/io_uring_disabled";
const PROBE: &str = "io_uring_setup";
/// What a commit without io_uring lacks.
const WITHOUT: &str = "Commits go by plain system calls, which are just as safe; but the writing \
    thread waits inside of the call, where it could copy records meanwhile, and no second group is \
    at the device.";
/// Why somebody may have forbidden it.
const RISK: &str = "io_uring widens what a program can ask of the kernel; weaknesses have been \
    found in it, and some security policies forbid it";

/// Reports the kernel.
pub fn look(root: &Root, folder: Option<&Folder>, report: &mut Report) {
    let switch = root.read(SWITCH);
    let group = root.read("/proc/sys/kernel/io_uring_group");
    let status = root.own("status");
    let filter = status.part(status.field("Seccomp"));
    let facts = &mut report.facts;
    facts.read(Group::Kernel, "release", &root.read("/proc/sys/kernel/osrelease"));
    facts.read(Group::Kernel, "io_uring_disabled", &switch);
    facts.read(Group::Kernel, "io_uring_group", &group);
    facts.read(Group::Kernel, "seccomp mode", &filter);
    let usable = match folder.map(|folder| (folder.engine.backend, &folder.engine.warning)) {
        None => Err("another machine cannot be asked".to_owned()),
        Some((_, Some(warning))) => Ok(format!("no: {warning}")),
        Some((Backend::Ring, None)) => Ok("yes".to_owned()),
        Some((_, None)) => Ok("no".to_owned()),
    };
    facts.add(Group::Kernel, "io_uring usable", PROBE, usable);
    // What this process is told says nothing of another.
    let asked = folder.filter(|_| !root.is_of_other());
    report.findings.extend(refusal(asked, &switch, &group, &status, &filter));
}

/// What keeps io_uring from this process, if something does.
fn refusal(
    folder: Option<&Folder>,
    switch: &Reading,
    group: &Reading,
    status: &Reading,
    filter: &Reading,
) -> Option<Finding> {
    let warning = match folder.map(|folder| &folder.engine.warning) {
        Some(None) => return None,
        Some(Some(warning)) => Some(warning.as_str()),
        None => None,
    };
    let seen = |finding: Finding| match warning {
        Some(warning) => finding.saw(PROBE, warning.split("; ").next().unwrap_or(warning)),
        None => finding,
    };
    match (switch.known(), warning) {
        (Some("2"), _) => {
            let title = "io_uring is switched off for all programs";
            let finding = Finding::new("io-uring-off", Severity::Warning, title).read(switch);
            let command = "sysctl kernel.io_uring_disabled=0";
            let finding = finding.change(command, RISK, "sysctl kernel.io_uring_disabled=2");
            let advice =
                "to keep it, put kernel.io_uring_disabled = 0 into a file in /etc/sysctl.d";
            Some(seen(finding).why(WITHOUT).advise(advice))
        }
        (Some("1"), _) if !is_member(status, group) => {
            let title = "io_uring is allowed to one group, and this process is not in it";
            let finding = Finding::new("io-uring-group", Severity::Warning, title);
            let finding = finding.read(switch).read(group);
            let command = "sysctl kernel.io_uring_disabled=0";
            let finding = finding.change(command, RISK, "sysctl kernel.io_uring_disabled=1");
            let advice =
                "or run the program in the group of kernel.io_uring_group (systemd: Group=)";
            Some(seen(finding).why(WITHOUT).advise(advice))
        }
        (_, Some(warning)) => {
            let id =
                if filter.known() == Some("2") { "io-uring-filtered" } else { "io-uring-refused" };
            let title = "io_uring is refused to this process";
            let finding = Finding::new(id, Severity::Warning, title);
            let remedy = warning.split(". Using plain").next().unwrap_or(warning);
            let remedy = remedy.split_once("; ").map_or(remedy, |(_, remedy)| remedy);
            let finding = finding.read(switch).saw(&filter.source, filtered(filter));
            let advice = format!("{remedy} (Docker: --security-opt seccomp=PROFILE.json)");
            Some(seen(finding).why(WITHOUT).advise(advice).risks(RISK))
        }
        (_, None) if filter.known() == Some("2") => {
            let title = "a system call filter is active; whether it lets io_uring pass is unknown";
            let finding = Finding::new("io-uring-filter", Severity::Note, title);
            let why = "The filters of containers often refuse io_uring. Files do not say what a \
                filter refuses; run the doctor in the container itself.";
            Some(finding.saw(&filter.source, filtered(filter)).why(why))
        }
        (_, None) => None,
    }
}

fn filtered(filter: &Reading) -> String {
    format!("Seccomp: {}", filter.known().unwrap_or("unknown"))
}

/// Whether a process may use io_uring where only a group may: it is in the group, or has
/// CAP_SYS_ADMIN.
fn is_member(status: &Reading, group: &Reading) -> bool {
    const CAP_SYS_ADMIN: u32 = 21;
    if has_capability(status, CAP_SYS_ADMIN) {
        return true;
    }
    let Some(group) = group.known() else { return false };
    let groups = ["Gid", "Groups"].map(|name| status.field(name).unwrap_or_default());
    groups.iter().flat_map(|line| line.split_ascii_whitespace()).any(|id| id == group)
}

/// Whether a process has a capability, by its status.
pub fn has_capability(status: &Reading, number: u32) -> bool {
    let bits = status.field("CapEff").and_then(|bits| u64::from_str_radix(bits, 16).ok());
    bits.is_some_and(|bits| bits >> number & 1 == 1)
}
