//! Repair: writes the records of a damaged database to a new one, and only reads the old one.
//!
//! Every version of a record stands in two places: as a frame in the log, until its segment is
//! recycled, and as a record in the data file. Either is enough.
//! 1. Read the log, every block of every segment: groups whose header and frame headers are as
//!    written prove their LSNs; of their frames take those with the right payload.
//! 2. Read the data file: take every record whose header and payload are as written, if something
//!    proves that it was durable (below).
//! 3. Compute again, from the version they name, patches whose result is not in the data file.
//! 4. Of each key the version with the highest LSN counts; if that is a deletion, the key is gone.
//!    At or below the LSN of the newest image that is whole, the image says which one counts, and
//!    which keys are gone (`rescue::baseline`).
//!
//! What *visible* means then. A group is in the log whole or not at all, and a batch lies in one
//! group, so frames of whole groups never show half of a batch. The data file alone may: its pages
//! reach the device at any time, in part. So a record from there counts only if its LSN is not
//! above one that a group or a checkpoint calls durable, or the log has its frame's header. LSNs
//! that an earlier recovery cut are named by the first group behind them, whose `previous_lsn` lies
//! before them: they never count. What was damaged in both places is lost, and with it an older
//! version of its key, or a deleted one, may come back: that is why damage is listed, with LSNs
//! where they are known.
//!
//! Tables whose name is lost get one: `recovered-` and their number.

use std::collections::BTreeMap;

use uarr_layout::frame::{Frame, FrameKind};
use uarr_layout::limits::EXPIRES_MS_MAX;
use uarr_layout::uarr::apply;
use uarr_uring::Storage;

use crate::api::db::Db;
use crate::data::scan::{DataReader, Window};
use crate::error::{Error, ErrorKind, Result};
use crate::expiry::{Expires, Expiry};
use crate::files::{DATA_FILE, segment_path};
use crate::key_space::KeySpace;
use crate::log::reader::Next;
use crate::rescue::evidence::{LogPlace, ProvenFrame, Rescue, ValuePlace, Version};
use crate::rescue::inspector::Inspector;
use crate::rescue::log::Kept;
use crate::structure::Structure;
use crate::table_prefix::TablePrefix;

pub use crate::rescue::repair_report::{RepairMode, RepairReport};

/// Writes what is left of `source` to `target`, a database without records.
///
/// Takes memory for every key, and some 100 bytes for each version of a record, replaced ones too.
///
/// Errors: `InvalidArgument` if the kinds of keys do not agree or `target` has records; damage, if
/// nothing says whose files these are; any error of writing to `target`.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use uarr::Db;
/// use uarr::inspect::Inspector;
/// use uarr::repair::{RepairMode, repair};
///
/// # let (dir, new_dir) = (tempfile::tempdir()?, tempfile::tempdir()?);
/// # let db = Db::open(&dir)?;
/// # db.put("a", b"1")?;
/// # db.close()?;
/// let source = Inspector::open(&dir)?; // damaged, and not open
/// let target = Db::open(&new_dir)?;
/// let report = repair(&source, &target, RepairMode::Tolerate)?;
/// assert_eq!((report.kept_count, report.damages.len()), (1, 0));
/// target.close()?;
/// # Ok(())
/// # }
/// ```
pub fn repair<S: Storage, T: Storage>(
    source: &Inspector<S>,
    target: &Db<T>,
    mode: RepairMode,
) -> Result<RepairReport> {
    let kind = target.key_kind();
    if let Some(found) = source.key_kind()
        && found != kind
    {
        let message = format!("the new database has {kind} keys, the damaged one {found} keys");
        return Err(Error::invalid(message));
    }
    // Also one whose tables were dropped would give out their numbers, or refuse them.
    if target.first()?.is_some() || target.has_had_tables()? {
        return Err(Error::invalid("the database to write to has, or had, records already"));
    }
    let (database, block_bytes) = source.identity()?;
    let mut report = RepairReport::default();
    let ceiling = ceiling(source, mode, &mut report)?;
    let mut rescue = Rescue::new(source, database, kind, ceiling);
    rescue.report = report;
    rescue.report_superblock();
    for number in source.segments() {
        rescue.read_segment(*number, block_bytes.into())?;
    }
    rescue.read_image()?;
    rescue.read_data_file()?;
    rescue.take_frames()?;
    rescue.follow_image()?;
    rescue.write(target)
}

/// The highest LSN that is taken: where the log ends for recovery, too. If it may have been cut
/// there by damage, salvage goes on behind, and says so.
fn ceiling<S: Storage>(
    source: &Inspector<S>,
    mode: RepairMode,
    report: &mut RepairReport,
) -> Result<u64> {
    let durable_lsn = source.superblock().map_or(0, |root| root.checkpoints[0].end_lsn.get());
    let mut log = source.log_since(Kept::Newest)?;
    let end = loop {
        if let Next::End(end) = log.next()? {
            break end;
        }
    };
    let torn = end.torn.map(|defect| {
        let what = format!("the log ends in a group that is not whole ({defect})");
        Structure::log(end.segment).at(end.offset).lsn(end.lsn + 1).damage(what)
    });
    let is_sound = end.missing.is_none() && torn.is_none() && source.superblock().is_some();
    for damage in end.missing.into_iter().chain(torn) {
        report.note(damage);
    }
    let goes_on = mode == RepairMode::Salvage && !is_sound;
    Ok(if goes_on { u64::MAX } else { end.lsn.max(durable_lsn) })
}

impl<'a, S: Storage> Rescue<'a, S> {
    /// What the log has and the data file does not.
    fn take_frames(&mut self) -> Result<()> {
        let mut frames = std::mem::take(&mut self.frames);
        frames.sort_unstable_by_key(|frame| frame.lsn);
        let places: BTreeMap<u64, LogPlace> = frames
            .iter()
            .filter(|frame| frame.kind == FrameKind::Put && self.counts(frame.lsn))
            .map(|frame| (frame.lsn, frame.place))
            .collect();
        for frame in &frames {
            if self.records.contains_key(&frame.lsn) {
                continue;
            }
            if !self.counts(frame.lsn) || !self.is_key(&frame.key) {
                self.report.left_out_count += 1;
                continue;
            }
            let place = match frame.kind {
                FrameKind::Put => ValuePlace::Log(frame.place),
                FrameKind::Delete => ValuePlace::Nowhere,
                FrameKind::ChunkOpen => unreachable!("it has no key"),
                FrameKind::Patch => match self.redo(frame, &places)? {
                    Some(result) => {
                        self.results.insert(frame.lsn, (result, frame.expires_ms));
                        ValuePlace::Result(frame.lsn)
                    }
                    None => continue,
                },
            };
            self.take(&frame.key, Version { lsn: frame.lsn, place });
        }
        Ok(())
    }

    /// The result of a patch; `None` if the version it builds upon is lost.
    fn redo(
        &mut self,
        frame: &ProvenFrame,
        places: &BTreeMap<u64, LogPlace>,
    ) -> Result<Option<Vec<u8>>> {
        let payload = self.value_in_log(frame.place, Part::Payload)?;
        let Some((payload, _)) = payload else { return Ok(None) };
        let whole = Frame::new(FrameKind::Patch, 0, &frame.key, &payload);
        let Some((header, patch)) = whole.patch() else { return Ok(None) };
        let base = header.base.get();
        let place = if let Some(spot) = self.records.get(&base) {
            ValuePlace::Data(*spot)
        } else if self.results.contains_key(&base) {
            ValuePlace::Result(base)
        } else {
            places.get(&base).map_or(ValuePlace::Nowhere, |place| ValuePlace::Log(*place))
        };
        let result = self.value(place)?.and_then(|(base, _)| apply(&base, patch).ok());
        match result.filter(|result| header.is_result(&frame.key, result)) {
            Some(result) => Ok(Some(result.to_vec())),
            // What the image names of the key is later.
            None if self.is_early(frame.lsn) => Ok(None),
            None => {
                let LogPlace { segment, offset, .. } = frame.place;
                let damaged = Structure::frame(segment).at(offset).lsn(frame.lsn);
                self.whole_lsns.remove(&frame.lsn);
                self.damaged_lsns.insert(frame.lsn);
                let what = format!("version {base}, which it patches, is lost");
                self.report.note(damaged.damage(what));
                Ok(None)
            }
        }
    }

    /// The value at `place`, and when it expires, in ms since 1970; 0: never.
    fn value(&self, place: ValuePlace) -> Result<Option<(Vec<u8>, u64)>> {
        match place {
            ValuePlace::Nowhere => Ok(None),
            ValuePlace::Log(place) => self.value_in_log(place, Part::Value),
            ValuePlace::Result(lsn) => Ok(self.results.get(&lsn).cloned()),
            ValuePlace::Data(spot) => {
                let Some(file) = self.source.open_file(DATA_FILE)? else { return Ok(None) };
                let window = Window::here_and_there(&file)?;
                let mut reader = DataReader::new(window, self.database);
                reader.value(spot)
            }
        }
    }

    fn value_in_log(&self, place: LogPlace, part: Part) -> Result<Option<(Vec<u8>, u64)>> {
        let Some(file) = self.source.open_file(&segment_path(place.segment))? else {
            return Ok(None);
        };
        let mut window = Window::here_and_there(&file)?;
        let bytes = window.bytes(place.offset, place.bytes)?;
        let frame = bytes.and_then(|bytes| Frame::load(bytes).ok()).map(|(frame, _)| frame);
        let expected = if part == Part::Payload { FrameKind::Patch } else { FrameKind::Put };
        let frame = frame.filter(|frame| frame.verify() == Ok(expected));
        Ok(frame.map(|frame| (frame.value.to_vec(), frame.header.expires_ms.get())))
    }

    /// How late it was at least, in ms since 1970; 0: no record ever expired.
    //= SUP-10
    fn known_time_ms(&self) -> u64 {
        let latest_ms = self.latest_group_ms.min(EXPIRES_MS_MAX);
        match self.expiry_floor_ms > 0 || self.has_expiring {
            true => self.expiry_floor_ms.max(latest_ms),
            false => 0,
        }
    }

    fn write<T: Storage>(mut self, target: &Db<T>) -> Result<RepairReport> {
        let mut report = std::mem::take(&mut self.report);
        report.lost_count = self.damaged_lsns.difference(&self.whole_lsns).count() as u64;
        let mut failed = None;
        let floor_ms = self.known_time_ms();
        if floor_ms > 0 {
            target.core().records().clock.raise(floor_ms);
        }
        let records = self.newest.iter().filter_map(|(key, version)| {
            if matches!(version.place, ValuePlace::Nowhere) {
                report.deleted_count += 1;
                return None;
            }
            report.kept_from_log_count += u64::from(!matches!(version.place, ValuePlace::Data(_)));
            let space = KeySpace::of_stored(self.kind, key)?;
            Some(((space, self.kind.decode(key)), version.place))
        });
        let values = records.map_while(|(key, place)| match self.value(place) {
            Ok(Some((value, expires_ms))) => Some((key, value, expires_ms)),
            Ok(None) => {
                failed = Some(changed());
                None
            }
            Err(error) => {
                failed = Some(error);
                None
            }
        });
        let tables = self.newest.keys().filter_map(|key| TablePrefix::of(key)).collect();
        let mut over_count = 0;
        let is_left = |expires_ms: u64| expires_ms == 0 || expires_ms > floor_ms;
        let left = values.filter_map(|(key, value, expires_ms)| {
            over_count += u64::from(!is_left(expires_ms));
            is_left(expires_ms).then(|| {
                let (space, key) = key;
                (space, key, value.expiring(Expiry::of_ms(expires_ms)))
            })
        });
        report.kept_count = target.ingest_to(left)?;
        target.complete_catalog(&tables)?;
        // Marks of tables that were dropped came along.
        target.core().resume_removals()?;
        report.deleted_count += over_count;
        failed.map_or(Ok(report), Err)
    }
}

/// What is wanted of a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The value of a put.
    Value,
    /// Header and patch of a patch.
    Payload,
}

fn changed() -> Error {
    let message = "a file of the damaged database was changed while it was read";
    Error::new(ErrorKind::Io, message)
}
