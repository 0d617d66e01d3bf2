//! What the files of a damaged database prove: versions of records, and which of them were durable.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use uarr_layout::chunk::ChunkOpening;
use uarr_layout::frame::{Frame, FrameKind, Frames};
use uarr_layout::geometry::{GROUP_HEADER_BYTES, align_up_u64};
use uarr_layout::group::GroupHeader;
use uarr_layout::header_sum::HeaderSum;
use uarr_layout::limits::SEGMENT_BYTES;
use uarr_layout::{DatabaseId, Defect};
use uarr_uring::Storage;

use crate::data::scan::{DataReader, Found, Spot, Window};
use crate::error::Result;
use crate::files::{DATA_FILE, segment_path};
use crate::key::KeyKind;
use crate::key_space::KeySpace;
use crate::limits::HOLE_BYTES;
use crate::rescue::baseline::Baseline;
use crate::rescue::inspector::Inspector;
use crate::rescue::owners::Owners;
use crate::rescue::repair_report::RepairReport;
use crate::structure::{MISSING, Structure};

/// A frame whose header the log proves.
pub(crate) struct ProvenFrame {
    pub lsn: u64,
    pub kind: FrameKind,
    pub expires_ms: u64,
    pub key: Vec<u8>,
    pub place: LogPlace,
}

/// Where a frame stands.
#[derive(Clone, Copy)]
pub(crate) struct LogPlace {
    pub segment: u64,
    pub offset: u64,
    pub bytes: usize,
}

/// Where the value of a version is.
#[derive(Clone, Copy)]
pub(crate) enum ValuePlace {
    Nowhere,
    Data(Spot),
    Log(LogPlace),
    /// Computed again: the LSN of the patch.
    Result(u64),
}

pub(crate) struct Version {
    pub lsn: u64,
    pub place: ValuePlace,
}

pub(crate) struct Rescue<'a, S: Storage> {
    pub source: &'a Inspector<S>,
    pub database: DatabaseId,
    pub kind: KeyKind,
    ceiling: u64,
    /// Everything up to it was durable, but for what is in `cut`.
    durable_lsn: u64,
    /// LSNs that an earlier recovery cut, or that no record ever got.
    cut: Vec<Range<u64>>,
    /// LSNs of frames whose headers are as written.
    proven: BTreeSet<u64>,
    pub frames: Vec<ProvenFrame>,
    pub newest: BTreeMap<Vec<u8>, Version>,
    /// LSNs of whole records in the data file that count, and where they are.
    pub records: BTreeMap<u64, Spot>,
    /// Chunk-open frames: LSN, address, and what they say.
    openings: Vec<(u64, u64, ChunkOpening)>,
    pub owners: Owners,
    /// What the newest whole image says; `None`: there is none.
    pub baseline: Option<Baseline>,
    /// Results of patches, by their LSNs, and when they expire.
    pub results: BTreeMap<u64, (Vec<u8>, u64)>,
    /// It was so late, in ms since 1970; 0: no record of the database has ever expired.
    pub expiry_floor_ms: u64,
    /// When the latest group was written, in ms since 1970.
    pub latest_group_ms: u64,
    /// A frame has a record that expires.
    pub has_expiring: bool,
    pub whole_lsns: BTreeSet<u64>,
    pub damaged_lsns: BTreeSet<u64>,
    pub report: RepairReport,
}

/// A group says how many records it has; if its frames are damaged, no more are believed.
const GROUP_RECORD_COUNT_MAX: usize = 1 << 20;

/// Whether the headers of all frames are as written. What is behind them is not looked at.
fn check_headers(header: &GroupHeader, body: &[u8]) -> std::result::Result<(), Defect> {
    let mut sum = HeaderSum::default();
    let mut count = 0u32;
    for (lsn, frame) in (header.first_lsn.get()..).zip(Frames::new(body)) {
        let frame = frame?;
        sum.add(&frame.header);
        let found = frame.header.lsn.get();
        if found != lsn {
            return Err(Defect::Position { expected: lsn, found });
        }
        count += 1;
    }
    let crc = sum.crc();
    match (crc == header.frames_crc.get(), count == header.frame_count.get()) {
        (false, _) => Err(Defect::Checksum { expected: crc, found: header.frames_crc.get() }),
        (true, false) => Err(Defect::Length),
        (true, true) => Ok(()),
    }
}

impl<'a, S: Storage> Rescue<'a, S> {
    pub fn new(
        source: &'a Inspector<S>,
        database: DatabaseId,
        kind: KeyKind,
        ceiling: u64,
    ) -> Self {
        let newest = source.superblock().map(|root| root.checkpoints[0]);
        Self {
            source,
            database,
            kind,
            ceiling,
            durable_lsn: newest.map_or(0, |newest| newest.end_lsn.get()),
            cut: Vec::new(),
            proven: BTreeSet::new(),
            frames: Vec::new(),
            newest: BTreeMap::new(),
            records: BTreeMap::new(),
            openings: Vec::new(),
            owners: Owners::default(),
            baseline: None,
            results: BTreeMap::new(),
            expiry_floor_ms: 0,
            latest_group_ms: 0,
            has_expiring: false,
            whole_lsns: BTreeSet::new(),
            damaged_lsns: BTreeSet::new(),
            report: RepairReport::default(),
        }
    }

    pub fn report_superblock(&mut self) {
        for (_, slot) in self.source.slots() {
            if let Ok(block) = slot {
                let floor_ms = block.as_ref().map_or(0, |block| block.expiry_floor_ms.get());
                self.expiry_floor_ms = self.expiry_floor_ms.max(floor_ms);
            }
            if let Err(error) = slot {
                self.report.note(error.clone());
            }
        }
    }

    pub fn read_segment(&mut self, number: u64, block_bytes: u64) -> Result<()> {
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
            // The last block of a file that was cut short may still hold a whole group.
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
                    self.report.note(Structure::group(number).at(offset).defect(defect));
                    offset += block_bytes;
                }
            }
        }
        Ok(())
    }

    fn note_group(&mut self, header: &GroupHeader, defect: Defect) {
        let group = Structure::group(header.segment.get()).at(header.offset.get());
        let lsns = header.first_lsn.get()..=header.last_lsn();
        self.damaged_lsns.extend(lsns.take(GROUP_RECORD_COUNT_MAX));
        self.report.note(group.lsn(header.first_lsn.get()).defect(defect));
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
        let written_ms = header.wall_ns.get() / 1_000_000;
        self.latest_group_ms = self.latest_group_ms.max(written_ms);
        let mut offset = header.offset.get() + GROUP_HEADER_BYTES as u64;
        for frame in Frames::new(body).map_while(std::result::Result::ok) {
            self.has_expiring |= frame.header.expires_ms.get() != 0;
            let lsn = frame.header.lsn.get();
            self.proven.insert(lsn);
            let bytes = frame.len_in_log();
            let segment = header.segment.get();
            match frame.verify() {
                Ok(FrameKind::ChunkOpen) => {
                    self.whole_lsns.insert(lsn);
                    self.note_opening(&frame);
                }
                Ok(kind) => {
                    self.whole_lsns.insert(lsn);
                    self.frames.push(ProvenFrame {
                        lsn,
                        kind,
                        expires_ms: frame.header.expires_ms.get(),
                        key: frame.key.to_vec(),
                        place: LogPlace { segment, offset, bytes },
                    });
                }
                Err(defect) => {
                    self.damaged_lsns.insert(lsn);
                    let frame = Structure::frame(segment).at(offset).lsn(lsn);
                    self.report.note(frame.defect(defect));
                }
            }
            offset += bytes as u64;
        }
    }

    fn note_opening(&mut self, frame: &Frame<'_>) {
        let Some(root) = self.source.superblock() else { return };
        let address = frame.header.address.get();
        if let Ok(opening) = ChunkOpening::load(frame.value, address, root.chunk_bytes.get()) {
            self.openings.push((frame.header.lsn.get(), address, opening));
        }
    }

    /// Reads the newest image that is whole, which says what was deleted.
    pub fn read_image(&mut self) -> Result<()> {
        let mut damages = Vec::new();
        self.baseline = self.source.baseline(self.kind, &mut damages)?;
        damages.into_iter().for_each(|damage| self.report.note(damage));
        self.report.may_revive_deleted = self.baseline.is_none();
        Ok(())
    }

    /// Whether the image says what became of the version with this LSN.
    pub fn is_early(&self, lsn: u64) -> bool {
        self.baseline.as_ref().is_some_and(|baseline| lsn <= baseline.lsn)
    }

    /// What image and log say of places.
    fn find_owners(&mut self) {
        let Some(root) = self.source.superblock() else { return };
        let table = self.baseline.as_ref().map(|baseline| baseline.chunks.as_slice());
        let mut owners = Owners::new(root.chunk_bytes.get(), table);
        for (lsn, address, opening) in std::mem::take(&mut self.openings) {
            if self.counts(lsn) && !self.is_early(lsn) {
                owners.note_opening(lsn, address, &opening);
            }
        }
        self.owners = owners;
    }

    /// Reads the data file; log and image were read before.
    pub fn read_data_file(&mut self) -> Result<()> {
        let Some(file) = self.source.open_file(DATA_FILE)? else {
            self.report.note(Structure::data_file().damage(MISSING));
            return Ok(());
        };
        let mut reader = DataReader::new(Window::new(&file)?, self.database);
        let end = reader.file_bytes();
        self.find_owners();
        let known = self.owners.known().clone();
        reader.scan(Spot { offset: 0, address: 0 }, end, &known, |found| {
            self.note_found(&found);
            Ok(())
        })
    }

    fn note_found(&mut self, found: &Found<'_>) {
        self.report_found(found);
        let Found::Whole { spot, header, key, .. } = found else { return };
        let lsn = header.lsn.get();
        self.whole_lsns.insert(lsn);
        let is_durable = lsn <= self.durable_lsn || self.proven.contains(&lsn);
        if !is_durable || !self.counts(lsn) || !self.is_key(key) {
            self.report.left_out_count += 1;
            return;
        }
        self.records.insert(lsn, *spot);
        // What is left of an earlier chunk: at most the base of a patch, or what a moved record was
        // copied from.
        if self.is_early(lsn) && !self.owners.is_durable(*spot) {
            return;
        }
        let place =
            if header.is_tombstone() { ValuePlace::Nowhere } else { ValuePlace::Data(*spot) };
        self.take(key, Version { lsn, place });
    }

    /// Notes damage, where bytes should be as they were written.
    fn report_found(&mut self, found: &Found<'_>) {
        let Some(damage) = found.damage() else { return };
        match found {
            Found::Damaged { spot, header, .. } => {
                let lsn = header.lsn.get();
                let is_in_log_alone = !self.is_early(lsn) && self.counts(lsn);
                let is_needed = is_in_log_alone && !self.whole_lsns.contains(&lsn);
                if !self.owners.is_durable(*spot) && !is_needed {
                    return;
                }
                self.damaged_lsns.insert(lsn);
            }
            Found::Strange { spot, .. } if !self.owners.is_durable(*spot) => return,
            Found::Strange { .. } | Found::Whole { .. } => {}
        }
        self.report.note(damage);
    }

    pub fn counts(&self, lsn: u64) -> bool {
        lsn <= self.ceiling && !self.cut.iter().any(|cut| cut.contains(&lsn))
    }

    pub fn is_key(&self, key: &[u8]) -> bool {
        KeySpace::of_stored(self.kind, key).is_some()
    }

    /// Of the same version the first place that was found stays.
    pub fn take(&mut self, key: &[u8], version: Version) {
        match self.newest.get_mut(key) {
            Some(newest) if newest.lsn >= version.lsn => {}
            Some(newest) => *newest = version,
            None => drop(self.newest.insert(key.to_vec(), version)),
        }
    }
}
