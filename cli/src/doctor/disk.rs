//! Disks: their caches, queues and schedulers.

use super::fact::Group;
use super::filesystem::COPYING;
use super::finding::{Cost, Finding, Severity};
use super::floor::{Floor, Op};
use super::mount::Mount;
use super::report::Report;
use super::root::{Reading, Root};
use super::stack::{Kind, Layer, Stack};

/// Attributes that are shown as they are read.
const SHOWN: [(&str, &str); 11] = [
    ("write_cache", "queue/write_cache"),
    ("fua", "queue/fua"),
    ("scheduler", "queue/scheduler"),
    ("nr_requests", "queue/nr_requests"),
    ("wbt_lat_usec", "queue/wbt_lat_usec"),
    ("io_poll", "queue/io_poll"),
    ("rotational", "queue/rotational"),
    ("max_sectors_kb", "queue/max_sectors_kb"),
    ("logical block", "queue/logical_block_size"),
    ("physical block", "queue/physical_block_size"),
    ("model", "device/model"),
];
/// Names in models of disks that a hypervisor or a network stands behind.
const VIRTUAL_MODELS: [&str; 8] = [
    "Elastic Block Store",
    "PersistentDisk",
    "nvme_card-pd",
    "MSFT NVMe Accelerator",
    "Virtual",
    "QEMU",
    "VBOX",
    "VMware",
];
const REQUESTS_MIN: u64 = 32;
/// No disk that turns has written durably in less: it has to wait for the place to come by.
const ROTATION_NS_MIN: u64 = 1_000_000;

/// Reports the disks.
pub fn look(root: &Root, mount: &Mount, stack: &Stack, floor: Option<&Floor>, report: &mut Report) {
    // What else a flush does there is not the disk's.
    let is_plain = !stack.layers.iter().any(|layer| matches!(layer.kind, Kind::Loop(_)));
    let is_plain = is_plain && !COPYING.contains(&mount.kind.as_str());
    let flush = floor.and_then(|floor| floor.difference_us(Op::Durable, Op::Unflushed));
    let flush = flush.filter(|_| is_plain);
    for disk in stack.disks() {
        let disk = Disk { root, layer: disk };
        disk.facts(report);
        disk.cache(flush, report);
        disk.motor(floor, report);
        disk.queue(report);
    }
    polling(root, stack, report);
}

struct Disk<'d> {
    root: &'d Root,
    layer: &'d Layer,
}

impl Disk<'_> {
    fn read(&self, name: &str) -> Reading {
        self.layer.read(self.root, name)
    }

    fn name(&self) -> &str {
        &self.layer.name
    }

    fn facts(&self, report: &mut Report) {
        for (name, attribute) in SHOWN {
            let reading = self.read(attribute);
            // Virtual disks have no model, and no one misses it.
            if name == "model" && reading.known().is_none() {
                continue;
            }
            let reading = match name {
                "scheduler" => reading.part(reading.choice()),
                _ => reading,
            };
            report.facts.read(Group::Device, &format!("{} {name}", self.name()), &reading);
        }
        let cache = self.read("queue/write_cache");
        let protection = match (cache.known(), self.virtual_by().is_some()) {
            (Some("write through"), _) => {
                Ok("not needed: there is no cache that a flush would have to empty".to_owned())
            }
            (Some(_), true) => Err("the host does not say what it keeps where".to_owned()),
            (Some(_), false) => {
                Err("a device does not say whether its cache is protected".to_owned())
            }
            (None, _) => Err("the cache is unknown".to_owned()),
        };
        if let Some(own) = self.own_cache() {
            report.facts.read(Group::Device, &format!("{} cache_type", self.name()), &own);
        }
        let name = format!("{} power protection", self.name());
        report.facts.add(Group::Device, &name, &cache.source, protection);
    }

    /// What says that a hypervisor or a network stands behind the disk, if something does.
    fn virtual_by(&self) -> Option<String> {
        let driver =
            ["/virtio", "/xen", "/vbd-"].into_iter().find(|bus| self.layer.path.contains(bus));
        if let Some(driver) = driver {
            return Some(driver.trim_matches(['/', '-']).to_owned());
        }
        let model = self.read("device/model");
        let model = model.known()?;
        VIRTUAL_MODELS.iter().any(|name| model.contains(name)).then(|| model.to_owned())
    }

    fn cache(&self, flush_us: Option<f64>, report: &mut Report) {
        let cache = self.read("queue/write_cache");
        let fua = self.read("queue/fua");
        let own = self.own_cache();
        if cache.known() == Some("write through")
            && own.as_ref().and_then(Reading::known).is_some_and(|own| own.contains("write back"))
        {
            let title = format!("the kernel was told not to flush {}", self.name());
            let file = self.layer.attribute("queue/write_cache");
            let mut finding = Finding::new("flushes-off", Severity::Critical, title).read(&cache);
            finding = own.iter().fold(finding, Finding::read);
            report.find(
                finding
                    .why(
                        "The device has a volatile cache, and no flush is sent to it: a loss of \
                         power takes acknowledged writes with it, unless that cache is protected.",
                    )
                    .change(
                        format!("echo 'write back' > {file}"),
                        "each commit waits for the device, as it should",
                        format!("echo 'write through' > {file}"),
                    ),
            );
            return;
        }
        let host = self.virtual_by();
        if cache.known() == Some("write back") {
            let title = format!("{} has a cache that each commit flushes", self.name());
            let advice = match &host {
                Some(_) => {
                    "a kind of volume whose writes are durable when they end; do not tell \
                    the kernel to leave the flush out"
                }
                None => {
                    "a device with power-loss protection, which ends a flush at once; do not \
                    tell the kernel to leave the flush out"
                }
            };
            let cost = flush_us.map(|us| Cost::Measured { us, of: "commit" });
            let finding = Finding::new("write-cache", Severity::Note, title)
                .read(&cache)
                .read(&fua)
                .why(
                    "The cache is volatile as far as the device says: a commit is durable only \
                     behind a flush. With FUA (fua is 1) one write can ask for it by itself.",
                )
                .advise(advice)
                .costs(cost);
            report.find(finding);
        }
        if let Some(host) = host {
            let title = format!("{} is a disk of a host or a network", self.name());
            let finding = Finding::new("virtual-disk", Severity::Note, title)
                .saw(&self.layer.path, host)
                .read(&cache)
                .why(
                    "Whether a flush reaches a medium that keeps its content without power is for \
                     the host to keep; nothing in this machine can see it.",
                )
                .advise("look up what the host promises (for QEMU: not cache=unsafe)");
            report.find(finding);
        }
    }

    /// What the device itself says of its cache, where the kernel's own note may differ: virtio and
    /// SCSI disks, so SATA ones too.
    fn own_cache(&self) -> Option<Reading> {
        let own = self.read("cache_type");
        if own.known().is_some() {
            return Some(own);
        }
        let folder = format!("{}/device/scsi_disk", self.layer.path);
        let address = self.root.list(&folder).into_iter().next()?;
        Some(self.read(&format!("device/scsi_disk/{address}/cache_type")))
    }

    fn motor(&self, floor: Option<&Floor>, report: &mut Report) {
        let rotational = self.read("queue/rotational");
        if rotational.number() != Some(1) {
            return;
        }
        let limit = self.read("queue/wbt_lat_usec");
        let file = self.layer.attribute("queue/rotational");
        let limit_file = self.layer.attribute("queue/wbt_lat_usec");
        let fast = floor.and_then(Floor::durable_ns).filter(|ns| *ns < ROTATION_NS_MIN);
        let claim = format!("{} says that it turns", self.name());
        let (id, severity, title, why) = match (self.virtual_by(), fast) {
            (Some(_), _) => (
                "rotational-claim",
                Severity::Note,
                format!("{claim}, as virtual disks do that say nothing"),
                "The kernel takes it for a hard disk: it orders requests, and lets background \
                 writes delay reads for longer.",
            ),
            (None, Some(_)) => (
                "rotational-claim",
                Severity::Note,
                format!("{claim}, but writes durably without a turn"),
                "Either it does not turn, or a cache in front of it answers; that must keep its \
                 content without power.",
            ),
            (None, None) => (
                "rotational",
                Severity::Warning,
                format!("{claim}, as a hard disk does"),
                "On a hard disk each commit waits for its place to come by, some milliseconds; so \
                 does each read of data that is not in memory.",
            ),
        };
        let mut finding = Finding::new(id, severity, title).read(&rotational).read(&limit).why(why);
        if let Some(ns) = fast {
            finding = finding.saw("measured here", format!("{:.1} us", ns as f64 / 1000.0));
        }
        report.find(match id {
            "rotational" => finding.advise("a solid-state disk"),
            _ => {
                // A delay of -1 makes the kernel choose anew.
                let command = |value: u8, delay: &str| {
                    format!("echo {value} > {file} && echo {delay} > {limit_file}")
                };
                let risk = "none that is known, if it does not turn";
                let old = command(1, limit.known().unwrap_or("-1"));
                finding.change(command(0, "-1"), risk, old)
            }
        });
    }

    fn queue(&self, report: &mut Report) {
        let name = self.name();
        let scheduler = self.read("queue/scheduler");
        let rotational = self.read("queue/rotational");
        let is_hard = rotational.number() == Some(1) && self.virtual_by().is_none();
        if let Some(chosen) = scheduler.choice().filter(|chosen| *chosen != "none" && !is_hard) {
            // BFQ does much more for each request than the others.
            let severity = if chosen == "bfq" { Severity::Warning } else { Severity::Note };
            let file = self.layer.attribute("queue/scheduler");
            let title = format!("requests to {name} pass the scheduler {chosen}");
            let finding = Finding::new("scheduler", severity, title)
                .read(&scheduler)
                .why(
                    "A disk without moving parts gains nothing from an order of requests. The \
                     scheduler takes processor time for each, and a lock that all share.",
                )
                .change(
                    format!("echo none > {file}"),
                    "programs that write much in the background are no longer held back by it; \
                     weights and priorities of bfq and mq-deadline no longer count",
                    format!("echo {chosen} > {file}"),
                )
                .advise("to keep it: a udev rule with ATTR{queue/scheduler}=\"none\"");
            report.find(finding);
        }
        let requests = self.read("queue/nr_requests");
        if let Some(count) = requests.number().filter(|count| *count < REQUESTS_MIN) {
            let file = self.layer.attribute("queue/nr_requests");
            let title = format!("{name} takes {count} requests at a time");
            let finding = Finding::new("requests-few", Severity::Note, title)
                .read(&requests)
                .why("Background writes fill so short a queue, and commits wait for a place in it.")
                .change(
                    format!("echo 128 > {file}"),
                    "refused where the device takes fewer; slow ones answer late when more waits",
                    format!("echo {count} > {file}"),
                );
            report.find(finding);
        }
        let throttling = self.read("queue/wbt_lat_usec");
        if throttling.number() == Some(0) && scheduler.choice() != Some("bfq") {
            let file = self.layer.attribute("queue/wbt_lat_usec");
            let title = format!("background writes to {name} are not held back");
            let finding = Finding::new("throttling-off", Severity::Note, title)
                .read(&throttling)
                .why(
                    "Checkpoints write much at once. Throttling of write-back keeps room for reads \
                     meanwhile; without it a read may wait behind all of them.",
                )
                .change(
                    format!("echo -1 > {file}"),
                    "background writes may take longer while others read",
                    format!("echo 0 > {file}"),
                );
            report.find(finding);
        }
    }
}

fn polling(root: &Root, stack: &Stack, report: &mut Report) {
    if stack.disks().any(|disk| disk.name.starts_with("nvme")) {
        let queues = root.read("/sys/module/nvme/parameters/poll_queues");
        report.facts.read(Group::Device, "NVMe poll queues", &queues);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::mount::Mounts;
    use super::*;

    /// A disk that says it turns and has a cache.
    fn disk(root: &Path) {
        let folder = root.join("sys/devices/pci0000:00/block/sda/queue");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("write_cache"), "write back\n").unwrap();
        fs::write(folder.join("rotational"), "1\n").unwrap();
        let links = root.join("sys/dev/block");
        fs::create_dir_all(&links).unwrap();
        std::os::unix::fs::symlink("../../devices/pci0000:00/block/sda", links.join("8:0"))
            .unwrap();
    }

    #[track_caller]
    fn check(kind: &str, floor: Option<&Floor>, cost: Option<f64>, turning: &str) {
        let dir = tempfile::tempdir().unwrap();
        disk(dir.path());
        let root = Root::new(dir.path(), None);
        let line = format!("1 0 8:0 / / rw - {kind} /dev/sda rw");
        let mounts = Mounts::parse(&Reading { source: String::new(), text: Ok(line) });
        let mount = mounts.by_id(1).unwrap();
        let stack = Stack::below(&root, &mounts, mount);
        let mut report = Report::default();
        look(&root, mount, &stack, floor, &mut report);
        let ids: Vec<_> = report.findings.iter().map(|finding| finding.id).collect();
        assert_eq!(ids, ["write-cache", turning]);
        let expected = cost.map(|us| Cost::Measured { us, of: "commit" });
        assert_eq!(report.findings[0].cost, expected.unwrap_or_default());
    }

    #[test]
    fn a_flush_costs_what_was_measured_where_nothing_else_flushes() {
        let fast = Floor::sample([90, 80, 30, 150, 70], 20, 30.0);
        let slow = Floor::sample([9000, 8000, 300, 9000, 7000], 20, 30.0);
        check("ext4", Some(&fast), Some(60.0), "rotational-claim");
        check("ext4", Some(&slow), Some(8700.0), "rotational");
        check("btrfs", Some(&fast), None, "rotational-claim");
        check("ext4", None, None, "rotational");
    }
}
