//! What lies between the file system and the disks: device mapper, RAID, files as devices.

use super::fact::Group;
use super::finding::{Finding, Severity};
use super::mount::quoted;
use super::report::Report;
use super::root::Root;
use super::stack::{Kind, Layer, Stack};

/// Reports the layers.
pub fn look(root: &Root, stack: &Stack, report: &mut Report) {
    let names: Vec<_> = stack.layers.iter().map(|layer| layer.name.as_str()).collect();
    let source = "/sys/dev/block";
    let shown = match (&stack.unknown, names.is_empty()) {
        (Some(why), true) => Err(why.clone()),
        (Some(why), false) => Ok(format!("{} ({why})", names.join(" on "))),
        (None, _) => Ok(names.join(" on ")),
    };
    report.facts.add(Group::Device, "stack", source, shown);
    for layer in &stack.layers {
        match &layer.kind {
            Kind::Mapper(uuid) => mapper(root, layer, uuid, report),
            Kind::Raid(level) => raid(root, layer, level, report),
            Kind::Loop(file) => from_file(root, layer, file, report),
            Kind::Memory => in_memory(layer, report),
            Kind::Disk => {}
        }
    }
}

/// Reports disks whose sectors the devices above hide, so that blocks of the log are smaller.
pub fn sectors(root: &Root, stack: &Stack, block_bytes: Option<u32>, report: &mut Report) {
    let Some(block_bytes) = block_bytes else { return };
    let physical = |layer: &Layer| layer.read(root, "queue/physical_block_size");
    let larger = stack
        .layers
        .iter()
        .map(physical)
        .find(|sector| sector.number().is_some_and(|bytes| bytes > u64::from(block_bytes)));
    let Some(sector) = larger else { return };
    let title = "blocks of the log are smaller than sectors of the disk";
    let finding = Finding::new("sectors-hidden", Severity::Warning, title)
        .saw("uarr", format!("log blocks of {block_bytes} bytes"))
        .read(&sector)
        .why(
            "To change a block the disk writes a whole sector anew, with the block's neighbours. A \
             loss of power meanwhile may damage them, and they may have been acknowledged.",
        )
        .advise(
            "a device that shows its sectors (for a file: losetup --sector-size 4096), a new file \
             system on it, and a new database: blocks keep the size they were created with",
        );
    report.find(finding);
}

fn mapper(root: &Root, layer: &Layer, uuid: &str, report: &mut Report) {
    let name = layer.read(root, "dm/name");
    report.facts.read(Group::Device, &format!("{} name", layer.name), &name);
    let identity = layer.read(root, "dm/uuid");
    report.facts.read(Group::Device, &format!("{} uuid", layer.name), &identity);
    let shown = name.known().unwrap_or(&layer.name);
    if uuid.starts_with("CRYPT-") {
        let finding = Finding::new("encrypted", Severity::Note, format!("{shown} is encrypted"))
            .read(&identity)
            .why(
                "Encrypting takes processor time, and by default hands each request to threads of \
                 the kernel, which costs two changes of threads for each.",
            )
            .change(
                format!(
                    "cryptsetup refresh --perf-no_read_workqueue --perf-no_write_workqueue {}",
                    quoted(shown)
                ),
                "asks for the key; a program that writes much does all the encrypting itself",
                format!("cryptsetup refresh {}", quoted(shown)),
            )
            .advise("to keep it: the option --persistent, with LUKS2");
        report.find(finding);
    }
    if uuid.ends_with("-tpool") {
        let title = format!("space comes from the thin pool {shown}");
        let finding = Finding::new("thin-pool", Severity::Note, title)
            .read(&identity)
            .why(
                "The pool may run out of space while the file system shows some: then writes fail \
                 and the database has to be opened again. First writes to new space take longer.",
            )
            .advise(
                "watch data_percent and metadata_percent of lvs; have the pool extended in time",
            );
        report.find(finding);
    }
}

fn raid(root: &Root, layer: &Layer, level: &str, report: &mut Report) {
    let name = &layer.name;
    let (levels, degraded) = (layer.read(root, "md/level"), layer.read(root, "md/degraded"));
    let action = layer.read(root, "md/sync_action");
    for (fact, reading) in [("level", &levels), ("degraded", &degraded), ("sync_action", &action)] {
        report.facts.read(Group::Device, &format!("{name} {fact}"), reading);
    }
    if let Some(count) = degraded.number().filter(|count| *count > 0) {
        let title = format!("{name} lacks {count} of its disks");
        let finding = Finding::new("raid-degraded", Severity::Critical, title)
            .read(&degraded)
            .read(&levels)
            .why("It is slower, and one more failure may lose all of it.")
            .advise(format!("mdadm --detail /dev/{name}; then add a disk: mdadm --add"));
        report.find(finding);
    }
    if matches!(level, "raid4" | "raid5" | "raid6") {
        let title = format!("{name} computes parity ({level})");
        let finding = Finding::new("raid-parity", Severity::Warning, title)
            .read(&levels)
            .why(
                "Each small write, as every commit is one, has to read old data and parity first. \
                 A loss of power in between may damage data that was written long ago, unless the \
                 array has a journal.",
            )
            .advise("RAID 1 or 10 for the log; or a journal device (mdadm --write-journal)");
        report.find(finding);
    }
    if let Some(action) = action.known().filter(|action| !matches!(*action, "idle" | "frozen")) {
        let file = layer.attribute("md/sync_speed_max");
        let old = layer.read(root, "md/sync_speed_max");
        let speed = old.known().filter(|speed| speed.ends_with("(local)"));
        let old_speed = speed.and_then(|speed| speed.split(' ').next()).unwrap_or("system");
        let finding =
            Finding::new("raid-busy", Severity::Warning, format!("{name} is in {action}"))
                .saw(&format!("{}/md/sync_action", layer.path), action)
                .read(&old)
                .why("Its disks read or write all of their content; commits wait in between.")
                .change(
                    format!("echo 20000 > {file}"),
                    "the array takes longer until it is whole",
                    format!("echo {old_speed} > {file}"),
                )
                .advise("or wait: measure again when sync_action is idle");
        report.find(finding);
    }
}

fn from_file(root: &Root, layer: &Layer, file: &str, report: &mut Report) {
    let name = &layer.name;
    let backing = layer.read(root, "loop/backing_file");
    let direct = layer.read(root, "loop/dio");
    report.facts.read(Group::Device, &format!("{name} backing file"), &backing);
    report.facts.read(Group::Device, &format!("{name} direct I/O"), &direct);
    let finding = Finding::new("loop", Severity::Note, format!("{name} is a file: {file}"))
        .read(&backing)
        .why(
            "Each write and flush passes a thread of the kernel and a second file system; a flush \
             of the device flushes all of the file.",
        )
        .advise("a file system on a disk or a partition; good enough for tests");
    report.find(finding);
    if direct.number() == Some(0) {
        let title = format!("{name} goes through the page cache");
        let finding = Finding::new("loop-buffered", Severity::Warning, title)
            .read(&direct)
            .why(
                "What the log writes past the page cache lands in that of the file below, and is \
                 written to the disk when the flush comes: commits wait longer, memory holds twice \
                 what is read.",
            )
            .change(
                format!("losetup --direct-io=on /dev/{name}"),
                "fails where the file system below wants larger blocks than the device has",
                format!("losetup --direct-io=off /dev/{name}"),
            );
        report.find(finding);
    }
}

fn in_memory(layer: &Layer, report: &mut Report) {
    let title = format!("{} lies in memory", layer.name);
    let finding = Finding::new("device-in-memory", Severity::Critical, title)
        .saw(&layer.path, &*layer.name)
        .why("All of the database is gone with the next loss of power or reboot.")
        .advise("a directory on a disk; keep this for tests");
    report.find(finding);
}
