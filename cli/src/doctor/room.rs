//! Room: what the file system has left, and what it keeps back.

use indicatif::BinaryBytes;

use super::fact::Group;
use super::finding::{Finding, Severity};
use super::folder::Folder;
use super::mount::Mount;
use super::report::Report;

/// A new database takes 48 MiB, its log some more.
const BYTES_MIN: u64 = 64 << 20;
/// With less the log and the data file soon have no room to grow ahead.
const BYTES_GOOD: u64 = 1 << 30;
/// Less than one part in this many left is little.
const PARTS_LEFT: u64 = 20;
/// More than one part in this many kept back is much.
const PARTS_RESERVED: u64 = 20;
const FILES_MIN: u64 = 1000;
const SOURCE: &str = "statvfs";

/// Reports room.
pub fn look(mount: &Mount, folder: Option<&Folder>, report: &mut Report) {
    let Some(folder) = folder else {
        let why = "another machine cannot be asked".to_owned();
        report.facts.add(Group::FileSystem, "free", SOURCE, Err(why));
        return;
    };
    let room = folder.room;
    let shown = |bytes: u64| BinaryBytes(bytes).to_string();
    let mut fact = |name: &str, value| report.facts.add(Group::FileSystem, name, SOURCE, Ok(value));
    fact("size", shown(room.total_bytes));
    fact("free for all users", shown(room.available_bytes));
    fact("kept back", shown(room.reserved_bytes()));
    let available = room.available_bytes;
    let is_little = available < BYTES_GOOD || available < room.total_bytes / PARTS_LEFT;
    // Some file systems have no size.
    if is_little && room.total_bytes > 0 {
        let severity = if available < BYTES_MIN { Severity::Critical } else { Severity::Warning };
        let title = format!("only {} are free", shown(available));
        let finding = Finding::new("room-low", severity, title)
            .saw(SOURCE, format!("{available} of {} bytes", room.total_bytes))
            .why(
                "A database without room refuses writes (NoSpace) and goes on reading. Nearly full \
                 disks also write more slowly, and so do file systems.",
            )
            .advise("remove what is not needed, or enlarge the file system");
        report.find(finding);
    }
    let reserved = room.reserved_bytes();
    let is_ext = mount.kind.starts_with("ext");
    if is_ext && reserved > BYTES_GOOD && reserved > room.total_bytes / PARTS_RESERVED {
        let title = format!("{} are kept back for root or another user", shown(reserved));
        let count = reserved / room.block_bytes.max(1);
        let device = &mount.source;
        let finding = Finding::new("room-reserved", Severity::Note, title)
            .saw(SOURCE, format!("{count} blocks of {} bytes", room.block_bytes))
            .why("The engine does not count on space that only some users get.")
            .change(
                format!("tune2fs -m 1 {device}"),
                "a full disk leaves less to root for repairs",
                format!("tune2fs -r COUNT {device}"),
            )
            .advise("note the reserved block count, COUNT, of tune2fs -l first");
        report.find(finding);
    }
    if room.file_count_max > 0 && room.file_count_left < FILES_MIN {
        let title = format!("only {} more files can be made", room.file_count_left);
        let finding = Finding::new("files-low", Severity::Warning, title)
            .saw(SOURCE, format!("{} of {}", room.file_count_left, room.file_count_max))
            .why("The log makes files; without an inode there is no room for them.")
            .advise("remove files that are not needed");
        report.find(finding);
    }
}
