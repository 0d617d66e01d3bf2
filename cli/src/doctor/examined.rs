//! [`Examined`]: all parts of the doctor, put together.

use std::io;
use std::path::{Path, PathBuf};

use indicatif::BinaryBytes;
use serde_json::{Value, json};

use super::database::Database;
use super::fact::{Fact, Group};
use super::finding::{Finding, Severity, rank};
use super::floor::{FILE_BYTES, Floor, Op, Times};
use super::folder::Folder;
use super::place::Place;
use super::report::Report;
use super::root::Root;
use super::{disk, filesystem, kernel, layers, limits, memory, numa, processor, room};

/// Version of the JSON report. It rises when a field changes its meaning or goes; new fields may
/// come without.
const SCHEMA: u32 = 1;
/// Units that are measured are at least this long.
const BLOCK_BYTES_MIN: u32 = 4096;
/// Room that measuring leaves to others.
const ROOM_LEFT_BYTES: u64 = 128 << 20;

/// All that the doctor knows of a directory.
pub struct Examined {
    /// The directory, as it is called.
    pub directory: String,
    /// Where /proc and /sys were read, if not here.
    root: Option<PathBuf>,
    /// The process whose limits were read, if it is not the doctor.
    pid: Option<u32>,
    /// What was found of a database; none for a copy of another machine's files.
    database: Option<Database>,
    /// What was measured, or why it could not be; none if it was not asked for.
    pub floor: Option<Result<Floor, String>>,
    /// What was read, and what could be better.
    pub report: Report,
}

/// Whether the floor is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measuring {
    /// For some two seconds.
    Yes,
    /// Not at all.
    No,
}

impl Examined {
    /// Examines a directory of another machine by a copy of its files.
    pub fn copy(prefix: &Path, dir: &Path, pid: Option<u32>) -> Self {
        let root = Root::new(prefix, pid);
        let place = Place::find(&root, dir, None);
        let mut examined = Self {
            directory: dir.to_string_lossy().into_owned(),
            root: Some(prefix.to_path_buf()),
            pid,
            database: None,
            floor: None,
            report: Report::default(),
        };
        examined.look(&root, dir, &place, None);
        examined
    }

    /// Examines a directory of this machine, which must exist.
    pub fn here(dir: &Path, measuring: Measuring, pid: Option<u32>) -> io::Result<Self> {
        let root = Root::new("/", pid);
        let folder = Folder::ask(dir)?;
        let place = Place::find(&root, dir, Some(&folder));
        let database = Database::look_into(dir);
        let floor = match measuring {
            Measuring::Yes => Some(measure(&root, dir, &folder, &place, &database)),
            Measuring::No => None,
        };
        let mut examined = Self {
            directory: dir.to_string_lossy().into_owned(),
            root: None,
            pid,
            database: Some(database),
            floor,
            report: Report::default(),
        };
        examined.look(&root, dir, &place, Some(&folder));
        Ok(examined)
    }

    /// Reads and judges all parts of the machine.
    fn look(&mut self, root: &Root, dir: &Path, place: &Place, folder: Option<&Folder>) {
        let floor = self.floor.as_ref().and_then(|floor| floor.as_ref().ok());
        let report = &mut self.report;
        kernel::look(root, folder, report);
        limits::look(root, report);
        memory::look(root, report);
        processor::look(root, floor, report);
        let stack = &place.stack;
        match &place.mount {
            Some(mount) => {
                filesystem::look(root, dir, mount, stack, folder, report);
                room::look(mount, folder, report);
                layers::look(root, stack, report);
                disk::look(root, mount, stack, floor, report);
                let created = self.database.as_ref().and_then(Database::block_bytes);
                let block_bytes = created.or(folder.map(|folder| folder.engine.block_bytes));
                layers::sectors(root, stack, block_bytes, report);
                numa::look(root, stack, report);
            }
            None => report.facts.read(Group::FileSystem, "mount", &place.table_without_mount()),
        }
        if let Some(floor) = floor {
            busy(floor, report);
        }
        if let Some(database) = &self.database {
            database.report(floor, report);
        }
        rank(&mut report.findings);
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let facts: Vec<_> = self.report.facts.0.iter().map(Fact::to_json).collect();
        let findings: Vec<_> = self.report.findings.iter().map(Finding::to_json).collect();
        let (measured, unmeasured) = match &self.floor {
            Some(Ok(floor)) => (floor_to_json(floor), None),
            Some(Err(why)) => (Value::Null, Some(why.as_str())),
            None => (Value::Null, Some("it was not asked for")),
        };
        json!({
            "schema": SCHEMA,
            "uarr": env!("CARGO_PKG_VERSION"),
            "directory": self.directory,
            "root": self.root.as_ref().map(|root| root.to_string_lossy()),
            "pid": self.pid,
            "database": self.database.as_ref().map(Database::to_json),
            "measured": measured,
            "unmeasured": unmeasured,
            "facts": facts,
            "findings": findings,
        })
    }
}

fn measure(
    root: &Root,
    dir: &Path,
    folder: &Folder,
    place: &Place,
    database: &Database,
) -> Result<Floor, String> {
    if let Some(refusal) = &folder.refusal {
        return Err(refusal.clone());
    }
    if folder.room.available_bytes < 2 * FILE_BYTES + ROOM_LEFT_BYTES {
        return Err("there is too little room for files to measure with".to_owned());
    }
    let block_bytes = database.block_bytes().unwrap_or(0).max(folder.engine.block_bytes);
    let block_bytes = block_bytes.max(BLOCK_BYTES_MIN) as usize;
    let before = place.stack.written_bytes(root);
    let measured = Floor::measure(dir, block_bytes, folder.engine.direct);
    let mut floor = measured.map_err(|error| error.to_string())?;
    let after = place.stack.written_bytes(root);
    floor.disk_bytes = after.zip(before).map(|(after, before)| after.saturating_sub(before));
    Ok(floor)
}

/// Others used the disks while the floor was measured.
fn busy(floor: &Floor, report: &mut Report) {
    let Some(all) = floor.disk_bytes.filter(|_| floor.is_busy()) else { return };
    let shown = |bytes: u64| BinaryBytes(bytes).to_string();
    let finding = Finding::new("device-busy", Severity::Note, "others wrote to the disk meanwhile")
        .saw("stat of the disks", format!("{} written", shown(all)))
        .saw("measured here", format!("{} written", shown(floor.own_bytes)))
        .why("What was measured contains waiting for others: alone, the disk may be faster.")
        .advise("run the doctor again at a quiet time");
    report.find(finding);
}

fn floor_to_json(floor: &Floor) -> Value {
    let times = |times: Option<Times>| {
        times.map(|Times { count, p50_ns, p99_ns }| {
            json!({ "count": count, "p50_ns": p50_ns, "p99_ns": p99_ns })
        })
    };
    let mut value = json!({
        "block_bytes": floor.block_bytes,
        "direct": floor.is_direct,
        "seconds": floor.duration.as_secs_f64(),
        "wake": times(floor.wake),
        "clock_ns": floor.clock_ns,
        "own_bytes": floor.own_bytes,
        "disk_bytes": floor.disk_bytes,
    });
    for op in Op::ALL {
        value[op.word()] = json!(times(floor.of(op)));
    }
    value
}
