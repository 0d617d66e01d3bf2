//! Repair: the records of a damaged database are written to a new one. The old one is only read.
//!
//! Every version of a record stands in two places: as a frame in the log, until its segment is
//! recycled, and as a record in the data file. Either is enough.
//! 1. The log is read, every block of every segment: groups whose header and frame headers are as
//!    written prove their LSNs; of their frames those with the right payload are taken.
//! 2. The data file is read without the index: every record whose header and payload are as written
//!    is taken, if something proves that it was durable (below).
//! 3. Patches whose result is not in the data file are computed again from the version they name.
//! 4. Of each key the version with the highest LSN counts; if that is a deletion, the key is gone.
//!
//! What *visible* means then. A group is in the log whole or not at all, and a batch lies in one
//! group, so frames of whole groups never tell half of a batch. The data file alone may: its pages
//! reach the device at any time, in part. So a record from there counts only if it lies before the
//! data tail of a checkpoint, or its LSN is not above one that a group or a checkpoint calls
//! durable, or the log has its frame's header. LSNs that an earlier recovery cut are named by the
//! first group behind them, whose `previous_lsn` lies before them: they never count. What was
//! damaged in both places is lost, and with it an older version of its key, or a deleted one, may
//! come back: that is why damage is listed, with LSNs where they are known.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use uarr_layout::checksum::extend;
use uarr_layout::frame::{Frame, FrameKind, Frames};
use uarr_layout::geometry::align_up_u64;
use uarr_layout::group::{GROUP_HEADER_BYTES, GroupHeader};
use uarr_layout::limits::SEGMENT_BYTES;
use uarr_layout::uarr::apply;
use uarr_layout::{DatabaseId, Defect};
use uarr_uring::Storage;
use zerocopy::IntoBytes;

use crate::api::db::Db;
use crate::data::scan::{DataReader, Found, Window};
use crate::error::{Error, ErrorKind, Result};
use crate::files::{DATA_FILE, segment_path};
use crate::key::KeyKind;
use crate::limits::{DAMAGE_COUNT_MAX, HOLE_BYTES};
use crate::rescue::inspect::{Inspector, Kept, Step};

/// A group says how many records it has; if its frames are damaged, no more are believed.
const GROUP_RECORD_COUNT_MAX: usize = 1 << 20;

/// What to give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairMode {
    /// Everything behind the place where the log can no longer be read in order: what is kept is
    /// the database as of one moment, but for damaged records.
    Tolerate,
    /// Only what is damaged itself: records behind a damaged part of the log are kept too. Where
    /// the log is not damaged, nothing behind its end counts, as for opening.
    Salvage,
}

/// What a repair kept and what it could not.
#[derive(Clone, Debug, Default)]
pub struct RepairReport {
    /// Records that were written to the new database.
    pub kept_count: u64,
    /// How many of them came from the log, because the data file does not have them.
    pub kept_from_log_count: u64,
    /// Keys whose newest version is a deletion.
    pub deleted_count: u64,
    /// Versions whose LSN is known and that are damaged wherever they stand. One that was replaced
    /// later is no loss.
    pub lost_count: u64,
    /// Versions that are whole and were left out, because nothing proves that they were durable or
    /// because they lie behind the end of the log.
    pub left_out_count: u64,
    /// Number of damaged places.
    pub damage_count: u64,
    /// The first 1000 of them.
    pub damages: Vec<Error>,
}

impl RepairReport {
    fn note(&mut self, damage: Error) {
        self.damage_count += 1;
        if self.damages.len() < DAMAGE_COUNT_MAX {
            self.damages.push(damage);
        }
    }
}

/// Writes what is left of `source` to `target`, a database without records.
///
/// Takes memory for every key, and some 100 bytes for each version of a record, replaced ones too.
///
/// Errors: `InvalidArgument` if the kinds of keys do not agree or `target` has records; damage, if
/// nothing tells whose files these are; whatever writing to `target` answers.
pub fn repair<S: Storage, T: Storage>(
    source: &Inspector<S>,
    target: &Db<T>,
    mode: RepairMode,
) -> Result<RepairReport> {
    let kind = target.key_kind();
    if source.key_kind().is_some_and(|found| found != kind) {
        let found = source.key_kind();
        let message = format!("the new database has {kind:?} keys, the damaged one {found:?}");
        return Err(Error::invalid(message));
    }
    if target.first()?.is_some() {
        return Err(Error::invalid("the database to write to has records already"));
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
    rescue.read_data_file()?;
    rescue.take_frames()?;
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
        if let Step::End(end) = log.next()? {
            break end;
        }
    };
    let torn = end.torn.map(|defect| {
        let what = format!("the log ends in a group that is not whole ({defect})");
        Error::corrupt(&end.file, end.offset, Some(end.lsn + 1), "log", what)
    });
    let is_sound = end.missing.is_none() && torn.is_none() && source.superblock().is_some();
    for damage in end.missing.into_iter().chain(torn) {
        report.note(damage);
    }
    let goes_on = mode == RepairMode::Salvage && !is_sound;
    Ok(if goes_on { u64::MAX } else { end.lsn.max(durable_lsn) })
}

/// A frame whose header the log proves.
struct ProvenFrame {
    lsn: u64,
    address: u64,
    kind: FrameKind,
    key: Vec<u8>,
    place: LogPlace,
}

/// Where a frame stands.
#[derive(Clone, Copy)]
struct LogPlace {
    segment: u64,
    offset: u64,
    bytes: usize,
}

/// Where the value of a version is.
#[derive(Clone, Copy)]
enum Place {
    Nowhere,
    Data(u64),
    Log(LogPlace),
    /// Computed again: the address that the record had.
    Result(u64),
}

struct Version {
    lsn: u64,
    place: Place,
}

struct Rescue<'a, S: Storage> {
    source: &'a Inspector<S>,
    database: DatabaseId,
    kind: KeyKind,
    ceiling: u64,
    /// Everything before it was durable when a checkpoint was taken.
    data_tail: u64,
    /// Everything up to it was durable, but for what is in `cut`.
    durable_lsn: u64,
    /// LSNs that an earlier recovery cut, or that were never given out.
    cut: Vec<Range<u64>>,
    /// LSNs of frames whose headers are as written.
    proven: BTreeSet<u64>,
    frames: Vec<ProvenFrame>,
    newest: BTreeMap<Vec<u8>, Version>,
    /// Addresses and LSNs of whole records in the data file that count.
    records: BTreeMap<u64, u64>,
    /// Results of patches, by the address that the record had.
    results: BTreeMap<u64, Vec<u8>>,
    whole_lsns: BTreeSet<u64>,
    damaged_lsns: BTreeSet<u64>,
    report: RepairReport,
}

impl<'a, S: Storage> Rescue<'a, S> {
    fn new(source: &'a Inspector<S>, database: DatabaseId, kind: KeyKind, ceiling: u64) -> Self {
        let newest = source.superblock().map(|root| root.checkpoints[0]);
        Self {
            source,
            database,
            kind,
            ceiling,
            data_tail: newest.map_or(0, |newest| newest.data_tail.get()),
            durable_lsn: newest.map_or(0, |newest| newest.end_lsn.get()),
            cut: Vec::new(),
            proven: BTreeSet::new(),
            frames: Vec::new(),
            newest: BTreeMap::new(),
            records: BTreeMap::new(),
            results: BTreeMap::new(),
            whole_lsns: BTreeSet::new(),
            damaged_lsns: BTreeSet::new(),
            report: RepairReport::default(),
        }
    }

    fn report_superblock(&mut self) {
        for (_, slot) in self.source.slots() {
            if let Err(error) = slot {
                self.report.note(error.clone());
            }
        }
    }

    fn read_segment(&mut self, number: u64, block_bytes: u64) -> Result<()> {
        if let Err(damage) = self.source.segment(number)?.header {
            self.report.note(damage);
        }
        let path = segment_path(number);
        let Some(file) = self.source.open_file(&path)? else { return Ok(()) };
        let mut window = Window::new(&file)?;
        let mut offset = block_bytes;
        // No program makes longer segments, however long a sparse file is.
        let end = window.file_bytes().min(*SEGMENT_BYTES.end());
        while offset < end {
            // The last block of a file that was cut short may hold a whole group all the same.
            let len = block_bytes.min(window.file_bytes() - offset) as usize;
            let block = window.bytes(offset, len)?.unwrap_or_default();
            match GroupHeader::load(block, &self.database, number, offset) {
                Ok(header) => {
                    let group_bytes = header.group_bytes.get();
                    // What was cut off reads as zeros: frames before it may be whole.
                    let there = group_bytes.min(window.file_bytes() - offset) as usize;
                    let read = window.bytes(offset, there)?.unwrap_or_default();
                    let mut group = Vec::new();
                    if group.try_reserve_exact(group_bytes as usize).is_err() {
                        self.note_group(&header, Defect::Length);
                        offset += block_bytes;
                        continue;
                    }
                    group.extend_from_slice(read);
                    group.resize(group_bytes as usize, 0);
                    self.read_group(&header, &group[GROUP_HEADER_BYTES..]);
                    offset += align_up_u64(group_bytes, block_bytes);
                }
                // Frames of a group whose header is damaged, zeros, or groups of other places.
                Err(Defect::Magic | Defect::Position { .. } | Defect::Short) => {
                    offset += block_bytes;
                    if offset.is_multiple_of(HOLE_BYTES) {
                        offset = window.behind_hole(offset)? / block_bytes * block_bytes;
                    }
                }
                Err(defect) => {
                    let damage = Error::defect(&path, offset, None, "group", defect);
                    self.report.note(damage);
                    offset += block_bytes;
                }
            }
        }
        Ok(())
    }

    fn note_group(&mut self, header: &GroupHeader, defect: Defect) {
        let (path, offset) = (segment_path(header.segment.get()), header.offset.get());
        let lsn = Some(header.first_lsn.get());
        let lsns = header.first_lsn.get()..=header.last_lsn();
        self.damaged_lsns.extend(lsns.take(GROUP_RECORD_COUNT_MAX));
        self.report.note(Error::defect(path, offset, lsn, "group", defect));
    }

    /// A group whose header is as written.
    fn read_group(&mut self, header: &GroupHeader, body: &[u8]) {
        let first_lsn = header.first_lsn.get();
        self.durable_lsn = self.durable_lsn.max(header.durable_lsn.get());
        if let Some(after) = header.previous_lsn.get().checked_add(1)
            && after < first_lsn
        {
            self.cut.push(after..first_lsn);
        }
        if let Err(defect) = check_headers(header, body) {
            return self.note_group(header, defect);
        }
        let mut offset = header.offset.get() + GROUP_HEADER_BYTES as u64;
        for frame in Frames::new(body).map_while(std::result::Result::ok) {
            let lsn = frame.header.lsn.get();
            self.proven.insert(lsn);
            let bytes = frame.len_in_log();
            let segment = header.segment.get();
            match frame.verify() {
                Ok(kind) => {
                    self.whole_lsns.insert(lsn);
                    self.frames.push(ProvenFrame {
                        lsn,
                        address: frame.header.address.get(),
                        kind,
                        key: frame.key.to_vec(),
                        place: LogPlace { segment, offset, bytes },
                    });
                }
                Err(defect) => {
                    self.damaged_lsns.insert(lsn);
                    let path = segment_path(segment);
                    let damage = Error::defect(path, offset, Some(lsn), "frame", defect);
                    self.report.note(damage);
                }
            }
            offset += bytes as u64;
        }
    }

    fn read_data_file(&mut self) -> Result<()> {
        let Some(file) = self.source.open_file(DATA_FILE)? else {
            let what = "the file is missing";
            self.report.note(Error::corrupt(DATA_FILE, 0, None, "data file", what));
            return Ok(());
        };
        let mut reader = DataReader::new(Window::new(&file)?, self.database);
        let end = reader.file_bytes();
        reader.scan(0..end, |found| {
            self.note_found(&found);
            Ok(())
        })
    }

    fn note_found(&mut self, found: &Found<'_>) {
        self.report_found(found);
        let Found::Whole { address, header, key, value } = found else { return };
        let lsn = header.lsn.get();
        self.whole_lsns.insert(lsn);
        let end = address + (header.value_offset() + value.len()) as u64;
        let is_durable =
            end <= self.data_tail || lsn <= self.durable_lsn || self.proven.contains(&lsn);
        if !is_durable || !self.counts(lsn) || !self.is_key(key) {
            self.report.left_out_count += 1;
            return;
        }
        self.records.insert(*address, lsn);
        let place = if header.is_tombstone() { Place::Nowhere } else { Place::Data(*address) };
        self.take(key, Version { lsn, place });
    }

    fn report_found(&mut self, found: &Found<'_>) {
        if let Found::Damaged { header, .. } = found {
            self.damaged_lsns.insert(header.lsn.get());
        }
        if let Some(damage) = found.damage() {
            self.report.note(damage);
        }
    }

    fn counts(&self, lsn: u64) -> bool {
        lsn <= self.ceiling && !self.cut.iter().any(|cut| cut.contains(&lsn))
    }

    fn is_key(&self, key: &[u8]) -> bool {
        !key.is_empty() && (!self.kind.is_int() || key.len() == 8)
    }

    /// Of the same version the first place that was found stays.
    fn take(&mut self, key: &[u8], version: Version) {
        match self.newest.get_mut(key) {
            Some(newest) if newest.lsn >= version.lsn => {}
            Some(newest) => *newest = version,
            None => drop(self.newest.insert(key.to_vec(), version)),
        }
    }

    /// What the log has and the data file does not.
    fn take_frames(&mut self) -> Result<()> {
        let mut frames = std::mem::take(&mut self.frames);
        frames.sort_unstable_by_key(|frame| frame.lsn);
        let places: BTreeMap<u64, LogPlace> = frames
            .iter()
            .filter(|frame| frame.kind == FrameKind::Put && self.counts(frame.lsn))
            .map(|frame| (frame.address, frame.place))
            .collect();
        for frame in &frames {
            if self.records.get(&frame.address) == Some(&frame.lsn) {
                continue;
            }
            if !self.counts(frame.lsn) || !self.is_key(&frame.key) {
                self.report.left_out_count += 1;
                continue;
            }
            let place = match frame.kind {
                FrameKind::Put => Place::Log(frame.place),
                FrameKind::Delete => Place::Nowhere,
                FrameKind::Patch => match self.redo(frame, &places)? {
                    Some(result) => {
                        self.results.insert(frame.address, result);
                        Place::Result(frame.address)
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
        let Some(payload) = self.value_in_log(frame.place, Part::Payload)? else { return Ok(None) };
        let whole = Frame::new(FrameKind::Patch, 0, &frame.key, &payload);
        let Some((header, patch)) = whole.patch() else { return Ok(None) };
        let base = header.base.get();
        let place = if self.records.contains_key(&base) {
            Place::Data(base)
        } else if self.results.contains_key(&base) {
            Place::Result(base)
        } else {
            places.get(&base).map_or(Place::Nowhere, |place| Place::Log(*place))
        };
        let result = self.value(place)?.and_then(|base| apply(&base, patch).ok());
        match result.filter(|result| header.is_result(&frame.key, result)) {
            Some(result) => Ok(Some(result.to_vec())),
            None => {
                let path = segment_path(frame.place.segment);
                let what = format!("the record at {base} that it patches is lost");
                let (offset, lsn) = (frame.place.offset, Some(frame.lsn));
                self.whole_lsns.remove(&frame.lsn);
                self.damaged_lsns.insert(frame.lsn);
                self.report.note(Error::corrupt(path, offset, lsn, "frame", what));
                Ok(None)
            }
        }
    }

    fn value(&self, place: Place) -> Result<Option<Vec<u8>>> {
        match place {
            Place::Nowhere => Ok(None),
            Place::Log(place) => self.value_in_log(place, Part::Value),
            Place::Result(address) => Ok(self.results.get(&address).cloned()),
            Place::Data(address) => {
                let Some(file) = self.source.open_file(DATA_FILE)? else { return Ok(None) };
                let window = Window::here_and_there(&file)?;
                let mut reader = DataReader::new(window, self.database);
                reader.value(address)
            }
        }
    }

    fn value_in_log(&self, place: LogPlace, part: Part) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.source.open_file(&segment_path(place.segment))? else {
            return Ok(None);
        };
        let mut window = Window::here_and_there(&file)?;
        let bytes = window.bytes(place.offset, place.bytes)?;
        let frame = bytes.and_then(|bytes| Frame::load(bytes).ok()).map(|(frame, _)| frame);
        let expected = if part == Part::Payload { FrameKind::Patch } else { FrameKind::Put };
        let frame = frame.filter(|frame| frame.verify() == Ok(expected));
        Ok(frame.map(|frame| frame.value.to_vec()))
    }

    fn write<T: Storage>(mut self, target: &Db<T>) -> Result<RepairReport> {
        let mut report = std::mem::take(&mut self.report);
        report.lost_count = self.damaged_lsns.difference(&self.whole_lsns).count() as u64;
        let mut failed = None;
        let records = self.newest.iter().filter_map(|(key, version)| {
            if matches!(version.place, Place::Nowhere) {
                report.deleted_count += 1;
                return None;
            }
            report.kept_from_log_count += u64::from(!matches!(version.place, Place::Data(_)));
            Some((self.kind.decode(key), version.place))
        });
        let values = records.map_while(|(key, place)| match self.value(place) {
            Ok(Some(value)) => Some((key, value)),
            Ok(None) => {
                failed = Some(changed());
                None
            }
            Err(error) => {
                failed = Some(error);
                None
            }
        });
        let kept_count = target.ingest(values)?;
        report.kept_count = kept_count;
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

/// Whether the headers of all frames are as written. What is behind them is not looked at.
fn check_headers(header: &GroupHeader, body: &[u8]) -> std::result::Result<(), Defect> {
    let mut crc = 0;
    let mut count = 0u32;
    for (lsn, frame) in (header.first_lsn.get()..).zip(Frames::new(body)) {
        let frame = frame?;
        crc = extend(crc, frame.header.as_bytes());
        let found = frame.header.lsn.get();
        if found != lsn {
            return Err(Defect::Position { expected: lsn, found });
        }
        count += 1;
    }
    match (crc == header.frames_crc.get(), count == header.record_count.get()) {
        (false, _) => Err(Defect::Checksum { expected: crc, found: header.frames_crc.get() }),
        (true, false) => Err(Defect::Length),
        (true, true) => Ok(()),
    }
}

fn changed() -> Error {
    let message = "a file of the damaged database was changed while it was read";
    Error::new(ErrorKind::Io, message)
}
