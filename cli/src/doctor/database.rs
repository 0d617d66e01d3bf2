//! The database in the directory, open or not: how it commits, and how its log lies on the medium.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use indicatif::BinaryBytes;
use rustix::fs::OFlags;
use serde_json::{Value, json};
use uarr::inspect::{Superblock, superblock};
use uarr::{Error, ErrorKind};
use uarr_uring::Extents;

use super::fact::Group;
use super::finding::{Cost, Finding, Severity};
use super::floor::{Floor, Op};
use super::mount::quoted;
use super::report::Report;
use crate::stats::STRATEGIES;

/// Files that are looked at, at most.
const FILE_COUNT_MAX: usize = 100_000;
const LOG: &str = "wal";
/// A floor that has moved by this factor since the strategies were measured may have another order.
const MOVED_BY: f64 = 2.0;

/// What was found of a database.
#[derive(Clone, Debug)]
pub struct Database {
    /// Its directory, for commands.
    dir: String,
    /// Its superblock, if there is a database; or what is wrong with it.
    root: Result<Option<Superblock>, Error>,
    /// The log.
    log: Log,
}

/// How the files of the log lie on the medium.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Log {
    segment_count: u64,
    /// The file system does not say for so many of them.
    silent_count: u64,
    /// Sums over the others.
    sum: Extents,
    /// The first that is not written in full.
    example: Option<String>,
    is_closed: bool,
}

impl Database {
    /// Looks into a directory, and changes nothing.
    pub fn look_into(dir: &Path) -> Self {
        let root = superblock(dir);
        let log = match &root {
            Ok(None) => Log::default(),
            Ok(Some(root)) => {
                Log { is_closed: root.closed.get() != 0, ..Log::read(&dir.join(LOG)) }
            }
            Err(_) => Log::read(&dir.join(LOG)),
        };
        Self { dir: quoted(&dir.to_string_lossy()), root, log }
    }

    /// Unit of the log's writes, if there is a database.
    pub fn block_bytes(&self) -> Option<u32> {
        Some(self.root.as_ref().ok()?.as_ref()?.block_bytes.get())
    }

    /// For programs; null if there is no database.
    pub fn to_json(&self) -> Value {
        let root = match &self.root {
            Ok(None) => return Value::Null,
            Ok(Some(root)) => Some(root),
            Err(_) => None,
        };
        let sum = &self.log.sum;
        json!({
            "error": self.root.as_ref().err().map(Error::to_string),
            "block_bytes": root.map(|root| root.block_bytes.get()),
            "strategy": root.and_then(strategy),
            "strategy_ns": root.map(|root| {
                let [linked, dsync, syscall] = root.strategy_ns.map(|ns| ns.get());
                json!({ STRATEGIES[0]: linked, STRATEGIES[1]: dsync, STRATEGIES[2]: syscall })
            }),
            "log": {
                "segments": self.log.segment_count,
                "segments_unknown": self.log.silent_count,
                "bytes": sum.file_bytes,
                "extents": sum.count,
                "unwritten_bytes": sum.unwritten_bytes,
                "missing_bytes": sum.missing_bytes,
                "shared_bytes": sum.shared_bytes,
                "encoded_bytes": sum.encoded_bytes,
            },
        })
    }

    /// Reports the database.
    pub fn report(&self, floor: Option<&Floor>, report: &mut Report) {
        let source = "superblock";
        let facts = &mut report.facts;
        let root = match &self.root {
            Ok(None) => return,
            Ok(Some(root)) => root,
            Err(error) => {
                facts.add(Group::Database, "commits by", source, Err(error.to_string()));
                report.findings.extend(unreadable(error));
                return self.log.report(floor, report);
            }
        };
        let shown = strategy(root).ok_or_else(|| "not measured yet".to_owned());
        facts.add(Group::Database, "commits by", source, shown.map(str::to_owned));
        let medians = root.strategy_ns.map(|ns| ns.get());
        for (name, ns) in STRATEGIES.iter().zip(medians) {
            let shown = match ns {
                0 => Err("cannot be used here, or not measured".to_owned()),
                ns => Ok(format!("{:.1} us when measured", ns as f64 / 1000.0)),
            };
            facts.add(Group::Database, name, source, shown);
        }
        stale(&self.dir, &medians, floor, report);
        self.log.report(floor, report);
    }
}

/// A superblock without which the database does not open. One that this user may not read says
/// nothing.
fn unreadable(error: &Error) -> Option<Finding> {
    if !matches!(error.kind(), ErrorKind::Corruption | ErrorKind::OtherFormat) {
        return None;
    }
    let finding = Finding::new("superblock", Severity::Critical, "the superblock cannot be used")
        .saw("superblock", error.to_string())
        .why("Without it the database does not open.");
    Some(finding.advise("uarr inspect superblock; then a backup, or what uarr repair can save"))
}

fn strategy(root: &Superblock) -> Option<&'static str> {
    let number = usize::try_from(root.strategy.get()).ok()?;
    STRATEGIES.get(number.checked_sub(1)?).copied()
}

/// Strategies that were measured when the device was another, or busy.
fn stale(dir: &str, medians: &[u64; 3], floor: Option<&Floor>, report: &mut Report) {
    let best = medians.iter().filter(|ns| **ns > 0).min();
    // What is slow because others write is no other pace of the device.
    let floor = floor.filter(|floor| !floor.is_busy());
    let Some((best, now)) = best.copied().zip(floor.and_then(Floor::durable_ns)) else { return };
    let factor = now as f64 / best as f64;
    if factor < MOVED_BY && factor > 1.0 / MOVED_BY {
        return;
    }
    let shown = |ns: u64| format!("{:.1} us", ns as f64 / 1000.0);
    let title = "commit strategies were measured when the device had another pace";
    let finding = Finding::new("strategy-stale", Severity::Note, title)
        .saw("superblock", format!("fastest strategy: {}", shown(best)))
        .saw("measured here", format!("fastest durable write: {}", shown(now)))
        .why("Which strategy is fastest may have changed with it.")
        .change(
            format!("uarr --db {dir} tune"),
            "needs the database to itself, no other process may have it open; writes for a moment",
            "none is needed: the strategies promise the same",
        );
    report.find(finding);
}

impl Log {
    fn read(folder: &Path) -> Self {
        let mut log = Self::default();
        let Ok(entries) = fs::read_dir(folder) else { return log };
        for entry in entries.filter_map(Result::ok).take(FILE_COUNT_MAX) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.ends_with(".wal") {
                continue;
            }
            log.segment_count += 1;
            match extents(&entry.path()) {
                Ok(Some(extents)) => log.add(name, &extents),
                // Recycled meanwhile, or not for this user.
                _ => log.silent_count += 1,
            }
        }
        log
    }

    fn add(&mut self, name: String, extents: &Extents) {
        let sum = &mut self.sum;
        sum.file_bytes += extents.file_bytes;
        sum.count += extents.count;
        sum.missing_bytes += extents.missing_bytes;
        sum.unwritten_bytes += extents.unwritten_bytes;
        sum.shared_bytes += extents.shared_bytes;
        sum.encoded_bytes += extents.encoded_bytes;
        let is_written = extents.unwritten_bytes == 0 && extents.missing_bytes == 0;
        if self.example.is_none() && !is_written {
            self.example = Some(name);
        }
    }

    fn report(&self, floor: Option<&Floor>, report: &mut Report) {
        let source = "FIEMAP of wal/*.wal";
        let sum = &self.sum;
        let shown = |bytes: u64| BinaryBytes(bytes).to_string();
        let known = self.segment_count - self.silent_count;
        let extents = match known {
            0 => Err("the file system does not say".to_owned()),
            _ => Ok(format!(
                "{} extents of {} segments, {}: {} not written, {} missing",
                sum.count,
                known,
                shown(sum.file_bytes),
                shown(sum.unwritten_bytes),
                shown(sum.missing_bytes),
            )),
        };
        report.facts.add(Group::Database, "log on the medium", source, extents);
        let bytes = sum.unwritten_bytes + sum.missing_bytes;
        // A closed database has given back what only a later life needs.
        if bytes > 0 && !self.is_closed {
            let cost = floor.and_then(|floor| floor.difference_us(Op::Unwritten, Op::Durable));
            let title = format!("{} of the log were never written", shown(bytes));
            let finding = Finding::new("log-unwritten", Severity::Warning, title)
                .saw(source, self.example.clone().unwrap_or_default())
                .why(
                    "The engine writes each segment in full before it uses it. A copy or a backup \
                     may have holes: a first write to one changes the records of the file system, \
                     which each commit then waits for.",
                )
                .advise(
                    "it heals as the log goes on: the engine makes such segments anew instead of \
                     using them again when a checkpoint has freed them",
                )
                .costs(cost.map(|us| Cost::Measured { us, of: "commit there" }));
            report.find(finding);
        }
        if sum.shared_bytes > 0 {
            let title = format!("{} of the log share space with copies", shown(sum.shared_bytes));
            let finding = Finding::new("log-shared", Severity::Warning, title)
                .saw(source, format!("{} bytes shared", sum.shared_bytes))
                .why("Each first write to shared space is moved to new space first.")
                .advise("remove the copies that were made with cp --reflink or as snapshots");
            report.find(finding);
        }
        if sum.encoded_bytes > 0 {
            let title = format!("{} of the log are compressed", shown(sum.encoded_bytes));
            let finding = Finding::new("log-encoded", Severity::Warning, title)
                .saw(source, format!("{} bytes encoded", sum.encoded_bytes))
                .why(
                    "Direct I/O cannot write to what is compressed: it is written anew, elsewhere.",
                )
                .advise("mount it without compress=, or make the database anew under chattr +C");
            report.find(finding);
        }
    }
}

fn extents(path: &Path) -> io::Result<Option<Extents>> {
    // A link or a pipe in place of a segment is not followed or waited for.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    Extents::of(&file)
}
