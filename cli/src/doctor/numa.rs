//! NUMA: where the device is, and where this process may run.

use super::fact::Group;
use super::finding::{Finding, Severity};
use super::report::Report;
use super::root::{Reading, Root};
use super::stack::{Layer, Stack};

const NODES: &str = "/sys/devices/system/node";

/// Reports nodes.
pub fn look(root: &Root, stack: &Stack, report: &mut Report) {
    let online = root.read(&format!("{NODES}/online"));
    let status = root.own("status");
    let allowed = status.part(status.field("Cpus_allowed_list"));
    report.facts.read(Group::Processor, "NUMA nodes", &online);
    report.facts.read(Group::Processor, "allowed processors", &allowed);
    let is_one = online.known().is_none_or(|nodes| nodes.parse::<u32>().is_ok());
    for disk in stack.disks() {
        let node = node_of(root, disk);
        let name = format!("{} NUMA node", disk.name);
        match node.known() {
            Some("-1") => {
                let why = "the device belongs to no node".to_owned();
                report.facts.add(Group::Device, &name, &node.source, Err(why));
            }
            _ => report.facts.read(Group::Device, &name, &node),
        }
        let Some(number) = node.number().filter(|_| !is_one) else { continue };
        let near = root.read(&format!("{NODES}/node{number}/cpulist"));
        let Some((mine, theirs)) = allowed.known().zip(near.known()) else { continue };
        let theirs = numbers(theirs);
        if numbers(mine).iter().all(|cpu| theirs.contains(cpu)) {
            continue;
        }
        let title = format!("threads may run far from {}", disk.name);
        let finding = Finding::new("numa-far", Severity::Note, title)
            .read(&node)
            .read(&near)
            .saw(&allowed.source, format!("Cpus_allowed_list: {mine}"))
            .why(
                "Interrupts, buffers and the index cross the link between nodes when a thread runs \
                 on another node than the device.",
            )
            .change(
                format!("numactl --cpunodebind={number} --membind={number} PROGRAM"),
                "the program has that node's processors and memory only",
                "PROGRAM",
            )
            .advise("in a unit of systemd: CPUAffinity=, NUMAPolicy=bind and NUMAMask=");
        report.find(finding);
    }
}

/// The nearest file that names a node, from the device upward.
fn node_of(root: &Root, disk: &Layer) -> Reading {
    let mut folder = disk.path.as_str();
    let here = root.read(&format!("{folder}/device/numa_node"));
    if here.known().is_some() {
        return here;
    }
    while let Some((parent, _)) = folder.rsplit_once('/') {
        let file = root.read(&format!("{parent}/numa_node"));
        if file.known().is_some() {
            return file;
        }
        folder = parent;
    }
    here
}

/// The numbers of a list such as `0-3,8`; what is no number is left out.
fn numbers(list: &str) -> Vec<u32> {
    /// No machine has more processors.
    const NUMBER_MAX: u32 = 1 << 16;
    let part = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?);
        (last < NUMBER_MAX).then_some(first..=last)
    };
    list.split(',').filter_map(part).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors() {
        assert_eq!(numbers("0-2,8"), [0, 1, 2, 8]);
        assert_eq!(numbers("5"), [5]);
        assert_eq!(numbers(""), [0; 0]);
        assert_eq!(numbers("a,3-1,0-99999999999,7"), [7]);
    }
}
