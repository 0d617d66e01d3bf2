//! The file system: its kind, its mount, its journal.

use std::path::Path;

use super::fact::Group;
use super::finding::{Finding, Severity};
use super::folder::Folder;
use super::mount::{Mount, quoted};
use super::report::Report;
use super::root::{Reading, Root};
use super::stack::Stack;

/// File systems in memory.
const IN_MEMORY: [&str; 4] = ["tmpfs", "ramfs", "devtmpfs", "rootfs"];
/// File systems of other machines, or of another kernel than this one.
const REMOTE: [&str; 12] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "ceph",
    "fuse",
    "fuseblk",
    "9p",
    "virtiofs",
    "glusterfs",
    "lustre",
    "afs",
];
/// File systems that write to another place than they read from.
pub const COPYING: [&str; 3] = ["btrfs", "zfs", "bcachefs"];

/// Reports the file system.
pub fn look(
    root: &Root,
    dir: &Path,
    mount: &Mount,
    stack: &Stack,
    folder: Option<&Folder>,
    report: &mut Report,
) {
    let facts = &mut report.facts;
    let mut fact =
        |name: &str, value: String| facts.add(Group::FileSystem, name, &mount.table, Ok(value));
    fact("type", mount.kind.clone());
    fact("mounted at", mount.point.to_string_lossy().into_owned());
    fact("mount options", mount.options.join(", "));
    let details = Details::read(root, mount, stack);
    let journal = match &details.journal {
        Ok((source, text)) => (source.as_str(), Ok(text.clone())),
        Err(why) => (mount.table.as_str(), Err(why.clone())),
    };
    report.facts.add(Group::FileSystem, "journal", journal.0, journal.1);
    direct(mount, folder, report);
    kind(dir, mount, folder, report);
    promises(mount, &details, report);
    details.judge(mount, report);
    costs(mount, &details, report);
}

/// What a file system says of itself outside of its mount.
struct Details {
    /// All options of ext4, those that are its default too.
    options: Reading,
    /// The errors ext4 has met since they were cleared.
    error_count: Reading,
    /// Whether there is a journal, and who says so.
    journal: Result<(String, String), String>,
}

impl Details {
    fn read(root: &Root, mount: &Mount, stack: &Stack) -> Self {
        let node = stack.node.as_deref().unwrap_or_default();
        let own = root.read(&format!("/sys/fs/ext4/{node}/journal_task"));
        let journal = match mount.kind.as_str() {
            "ext4" | "ext3" => match own.known() {
                Some("<none>") => Ok((own.source, "none".to_owned())),
                Some(_) => Ok((own.source, "yes".to_owned())),
                None => Err(own.text.map_or_else(|why| why.to_string(), |_| "empty".to_owned())),
            },
            "ext2" => Ok((mount.table.clone(), "none: ext2 has none".to_owned())),
            "xfs" | "jfs" => {
                Ok((mount.table.clone(), format!("yes: {} always has one", mount.kind)))
            }
            kind if COPYING.contains(&kind) || kind == "f2fs" => {
                Ok((mount.table.clone(), format!("{kind} writes anew instead")))
            }
            kind if IN_MEMORY.contains(&kind) => {
                Ok((mount.table.clone(), "none: memory".to_owned()))
            }
            kind => Err(format!("{kind} does not say")),
        };
        Self {
            options: root.read(&format!("/proc/fs/ext4/{node}/options")),
            error_count: root.read(&format!("/sys/fs/ext4/{node}/errors_count")),
            journal,
        }
    }

    /// Where an option is set, if it is: in the mount, or in what ext4 says.
    fn option(&self, mount: &Mount, names: &[&str]) -> Option<(String, String)> {
        if let Some(name) = names.iter().find(|name| mount.has(name)) {
            return Some((mount.table.clone(), (*name).to_owned()));
        }
        let own = self.options.known()?.lines().map(str::trim);
        let set = own.into_iter().find(|option| names.contains(option))?;
        Some((self.options.source.clone(), set.to_owned()))
    }

    /// What the file system has recorded.
    fn judge(&self, mount: &Mount, report: &mut Report) {
        if let Some(count) = self.error_count.number().filter(|count| *count > 0) {
            let title = format!("the file system has recorded {count} errors");
            let device = &mount.source;
            let finding = Finding::new("errors-recorded", Severity::Critical, title)
                .read(&self.error_count)
                .why("Its structures may be damaged, and may damage files that it still accepts.")
                .advise(format!(
                    "dmesg and the files first_error_* beside this one say what happened; make a \
                     backup, end what uses the file system, and run e2fsck -f {device} unmounted",
                ))
                .risks("e2fsck may move damaged files to lost+found");
            report.find(finding);
        }
        if let Some((source, _)) = self.journal.as_ref().ok().filter(|(_, text)| text == "none") {
            report.find(no_journal(mount, source));
        }
    }
}

fn no_journal(mount: &Mount, source: &str) -> Finding {
    let (device, point) = (&mount.source, mount.shown_point());
    let (on, off) = ("tune2fs -O has_journal", "tune2fs -O ^has_journal");
    let risk = "the file system must not be in use; making and removing files takes longer";
    let title = "the file system has no journal";
    let finding = Finding::new("no-journal", Severity::Warning, title)
        .saw(source, "<none>")
        .why(
            "After a loss of power its maps of free space may be wrong. If it is mounted then \
             without e2fsck, it may give blocks of the database to other files.",
        )
        .advise("make sure that e2fsck runs after each crash, before it is mounted");
    match mount.point.parent() {
        // The root is always in use.
        None => finding.advise(format!("from a rescue system: {on} {device}")).risks(risk),
        Some(_) => {
            let whole = |part| format!("umount {point} && {part} {device} && mount {point}");
            finding.change(whole(on), risk, whole(off))
        }
    }
}

fn direct(mount: &Mount, folder: Option<&Folder>, report: &mut Report) {
    let source = "statx STATX_DIOALIGN";
    let Some(folder) = folder else {
        let why = "another machine cannot be asked".to_owned();
        report.facts.add(Group::FileSystem, "direct I/O alignment", source, Err(why));
        return;
    };
    let alignment = folder.alignment.clone().map(|(memory, offset)| match (memory, offset) {
        (0, 0) => "no direct I/O".to_owned(),
        (memory, offset) => format!("memory {memory}, offset {offset}"),
    });
    let shown = alignment.clone().unwrap_or_else(|why| why);
    report.facts.add(Group::FileSystem, "direct I/O alignment", source, alignment);
    let block = format!("{} bytes", folder.engine.block_bytes);
    report.facts.add(Group::FileSystem, "block of a new log", "uarr", Ok(block));
    let way = match (&folder.refusal, folder.engine.direct) {
        (Some(_), _) => Err("no file can be made there to try".to_owned()),
        (None, true) => Ok("yes".to_owned()),
        (None, false) => Ok("no: through the page cache".to_owned()),
    };
    report.facts.add(Group::FileSystem, "direct I/O", "uarr", way);
    // A mount that is read-only has a finding of its own.
    if let Some(refusal) = folder.refusal.as_ref().filter(|_| !mount.has("ro")) {
        let title = "no file can be made in the directory";
        let finding = Finding::new("not-writable", Severity::Critical, title)
            .saw("open O_TMPFILE", refusal)
            .why("A database writes its files there.")
            .advise("run the doctor as the user of the service; then give that user the directory");
        report.find(finding);
    } else if !folder.engine.direct
        && folder.refusal.is_none()
        && !IN_MEMORY.contains(&mount.kind.as_str())
    {
        let finding = Finding::new("direct-io-absent", Severity::Warning, "there is no direct I/O")
            .saw(source, shown)
            .why(
                "The log goes through the page cache: each write is copied, and each flush looks \
                 for what to write.",
            )
            .advise("a directory on ext4 or XFS");
        report.find(finding);
    }
}

/// File systems that do not suit a database.
fn kind(dir: &Path, mount: &Mount, folder: Option<&Folder>, report: &mut Report) {
    let kind = mount.kind.as_str();
    let is_marked = folder.and_then(|folder| folder.is_in_place) == Some(true);
    let is_in_place = is_marked || mount.has("nodatacow");
    let found = |id, severity, title: String| {
        Finding::new(id, severity, title)
            .saw(&mount.table, format!("{kind} at {}", mount.point.display()))
    };
    if IN_MEMORY.contains(&kind) {
        let title = format!("{kind} lies in memory");
        let why = "All of the database is gone with the next loss of power or reboot, whatever was \
            acknowledged.";
        let finding = found("in-memory", Severity::Critical, title).why(why);
        report.find(finding.advise("a directory on a disk; keep this for tests"));
    } else if kind == "overlay" {
        let title = "the directory is a layer of a container".to_owned();
        let why = "What is written there goes with the container, and the first write to a file \
            of the image copies all of it.";
        let finding = found("overlay", Severity::Warning, title).why(why);
        report
            .find(finding.advise("a volume: docker run --volume NAME:DIR, or a mount of the host"));
    } else if REMOTE.contains(&kind) || kind.starts_with("fuse.") {
        let title = format!("{kind} is served by another machine or program");
        let why = "Whether a flush reaches a disk is for the server to keep; each costs a round \
            trip. Locks and maps of files may mean less than on a disk.";
        let finding = found("remote", Severity::Warning, title).why(why);
        report.find(finding.advise("a directory on ext4 or XFS of this machine"));
    } else if COPYING.contains(&kind) && !is_in_place {
        let title = format!("{kind} never writes where it has written before");
        let why = "Each commit gets new blocks, and changes the trees that lead to them; the log \
            scatters over the disk.";
        let mut finding = found("copy-on-write", Severity::Warning, title).why(why);
        let dir = quoted(&dir.to_string_lossy());
        finding = match kind {
            "btrfs" => finding.change(
                format!("chattr +C {dir}"),
                "works for files that are made afterwards, so the directory must be empty; they \
                 have no checksums of btrfs and are not compressed",
                format!("chattr -C {dir}"),
            ),
            _ => finding,
        };
        report.find(finding.advise("or a directory on ext4 or XFS"));
    }
}

/// Options that break a promise.
fn promises(mount: &Mount, details: &Details, report: &mut Report) {
    let point = mount.shown_point();
    if mount.has("ro") {
        let finding = Finding::new("read-only", Severity::Critical, "it is mounted read-only")
            .saw(&mount.table, "ro")
            .why("A database cannot be opened. A file system may have done this to itself: dmesg.")
            .change(
                format!("mount -o remount,rw {point}"),
                "if it was an error that made it read-only, check it first (fsck)",
                format!("mount -o remount,ro {point}"),
            );
        report.find(finding);
    }
    if let Some((source, option)) = details.option(mount, &["nobarrier", "barrier=0"]) {
        let title = "the file system does not flush the device";
        let finding = Finding::new("barriers-off", Severity::Critical, title)
            .saw(&source, option)
            .why(
                "A flush of a file does not empty the device's cache: a loss of power takes \
                 acknowledged writes with it, unless that cache is protected.",
            )
            .change(
                format!("mount -o remount,barrier {point}"),
                "each commit waits for the device, as it should",
                format!("mount -o remount,nobarrier {point}"),
            )
            .advise("to keep it, take the option out of /etc/fstab");
        report.find(finding);
    }
}

/// Options that cost time.
fn costs(mount: &Mount, details: &Details, report: &mut Report) {
    let point = mount.shown_point();
    if let Some((source, option)) = details.option(mount, &["data=journal"]) {
        let finding = Finding::new("data-journal", Severity::Warning, "data is written twice")
            .saw(&source, option)
            .why("All data goes through the journal first, and direct I/O is not direct.")
            .advise(
                "replace data=journal by data=ordered in /etc/fstab, and mount the file system \
                 anew: a remount cannot change it",
            );
        report.find(finding);
    }
    if let Some((source, option)) = details.option(mount, &["sync", "dirsync", "wsync"]) {
        let finding = Finding::new(
            "sync-mount",
            Severity::Warning,
            "every change waits for the disk",
        )
        .saw(&source, &option)
        .why("Also what the engine writes ahead or in the background, and flushes by itself.")
        .change(
            format!("mount -o remount,async {point}"),
            "other programs that rely on the option lose what they did not flush",
            format!("mount -o remount,{option} {point}"),
        );
        report.find(finding);
    }
    // `nodiscard` contains no such option, and btrfs calls its patient kind discard=async.
    if let Some((source, option)) = details.option(mount, &["discard", "discard=sync"]) {
        let finding = Finding::new(
            "online-discard",
            Severity::Note,
            "freed space is discarded at once",
        )
        .saw(&source, &option)
        .why(
            "Devices may stall while they discard. The engine frees space rarely: segments of \
                 the log are used again, index images are removed after checkpoints.",
        )
        .change(
            format!("mount -o remount,nodiscard {point} && systemctl enable --now fstrim.timer"),
            "freed space stays taken on the device until the weekly fstrim",
            format!("mount -o remount,{option} {point}"),
        );
        report.find(finding);
    }
}
