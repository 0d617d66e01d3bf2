//! Memory: huge pages and swap.

use super::fact::Group;
use super::finding::{Finding, Severity};
use super::mount::quoted;
use super::report::Report;
use super::root::Root;

const HUGE_PAGES: &str = "/sys/kernel/mm/transparent_hugepage";

/// Reports memory.
pub fn look(root: &Root, report: &mut Report) {
    let memory = root.read("/proc/meminfo");
    for (fact, line) in [("total", "MemTotal"), ("available", "MemAvailable")] {
        report.facts.read(Group::Memory, fact, &memory.part(memory.field(line)));
    }
    huge_pages(root, report);
    swap(root, report);
}

fn huge_pages(root: &Root, report: &mut Report) {
    let enabled = root.read(&format!("{HUGE_PAGES}/enabled"));
    let defrag = root.read(&format!("{HUGE_PAGES}/defrag"));
    let status = root.own("status");
    let allowed = status.part(status.field("THP_enabled"));
    report.facts.read(Group::Memory, "huge pages", &enabled.part(enabled.choice()));
    report.facts.read(Group::Memory, "huge pages defrag", &defrag.part(defrag.choice()));
    if allowed.known() == Some("0") {
        let finding = Finding::new(
            "huge-pages-denied",
            Severity::Warning,
            "this process may not use huge pages",
        );
        let finding = finding.saw(&allowed.source, "THP_enabled: 0").why(
            "The data file is mapped with huge pages where the file system can; with small ones \
             each get of data that is spread widely waits for the tables of the map, too.",
        );
        let advice = "find who sets PR_SET_THP_DISABLE for this process or its parents, and do not";
        report.find(finding.advise(advice));
    }
    if enabled.choice() == Some("always") && defrag.choice() == Some("always") {
        let finding = Finding::new(
            "huge-pages-stall",
            Severity::Warning,
            "every program waits for huge pages to be put together",
        );
        let finding = finding.read(&enabled).read(&defrag).why(
            "Where memory is scattered, the first write to a new page moves others about until a \
             huge page is free: stalls of milliseconds in whatever thread comes first.",
        );
        let path = &defrag.source;
        report.find(finding.change(
            format!("echo madvise > {path}"),
            "programs that do not ask for huge pages get fewer",
            format!("echo always > {path}"),
        ));
    }
}

fn swap(root: &Root, report: &mut Report) {
    let swaps = root.read("/proc/swaps");
    let swappiness = root.read("/proc/sys/vm/swappiness");
    let lines = swaps.known().unwrap_or_default().lines().skip(1);
    let names = lines.filter_map(|line| line.split_ascii_whitespace().next());
    // Compressed memory answers in microseconds.
    let slow: Vec<&str> = names.clone().filter(|name| !name.contains("zram")).collect();
    let all: Vec<&str> = names.collect();
    let shown = if all.is_empty() { "none".to_owned() } else { all.join(" ") };
    report.facts.read(Group::Memory, "swap", &swaps.part(swaps.known().map(|_| &*shown)));
    report.facts.read(Group::Memory, "swappiness", &swappiness);
    if slow.is_empty() {
        return;
    }
    let devices: Vec<String> = slow.iter().map(|name| quoted(name)).collect();
    let devices = devices.join(" ");
    let memory = root.read("/proc/meminfo");
    let kilobytes = |name: &str| -> Option<u64> {
        memory.field(name)?.strip_suffix(" kB")?.trim().parse().ok()
    };
    let used = kilobytes("SwapTotal").zip(kilobytes("SwapFree"));
    let used = used.map(|(total, free)| total.saturating_sub(free));
    let (severity, title) = match used {
        Some(0) => (Severity::Note, "there is swap space on a disk, not in use".to_owned()),
        Some(used) => (Severity::Warning, format!("{used} kB lie in swap space on a disk")),
        None => (Severity::Note, "there is swap space on a disk".to_owned()),
    };
    let finding = Finding::new("swap-on", severity, title)
        .saw(&swaps.source, slow.join(" "))
        .read(&swappiness)
        .why(
            "The index lives in memory. A get that meets a part of it in swap space waits for a \
             read of the disk, and so does every write behind it.",
        )
        .change(
            format!("swapoff {devices}"),
            "what is in swap space must fit into memory; when memory runs out, the kernel ends a \
             process",
            format!("swapon {devices}"),
        )
        .advise("or keep swap from the service alone: MemorySwapMax=0 in its unit");
    report.find(finding);
}
