//! Reading the log forward, group by group, and judging where it ends.
//!
//! A group counts if it is valid in its place, of no earlier life than the one before, and names
//! that one's last LSN as its `previous_lsn`: so neither stale nor missing groups go unnoticed. The
//! log goes on in the same segment or, with the same chain of LSNs, at the start of a later one;
//! where both have a whole group, with the one that was written last ([`crate::log::chain`]).
//!
//! Where it ends, the reader looks at everything behind: a group that was written when the log was
//! known durable beyond the end proves that something acknowledged is missing. That is damage, not
//! a torn tail.

use std::collections::BTreeMap;
use std::io;

use uarr_layout::geometry::{GROUP_HEADER_BYTES, align_up_u64};
use uarr_layout::group::{GroupHeader, SegmentHeader, verify_group};
use uarr_layout::limits::{BLOCK_BYTES, SEGMENT_BYTES};
use uarr_layout::{DatabaseId, Defect};
use uarr_uring::{AlignedBuffer, OpenMode, Storage, StorageFile};

use crate::error::{Error, ErrorKind, Result};
use crate::files::segment_path;
use crate::limits::HOLE_BYTES;
use crate::log::chain::{Chain, in_force, is_earlier_life};
use crate::log::position::LogPosition;
use crate::structure::Structure;

/// The first read is small, as most readers look at a place or two; later ones grow. Opening waits
/// for each of them, and on a busy machine for a processor behind each; but what they bring should
/// stay in a processor's cache until it was looked at.
const READ_BYTES_FIRST: u64 = 64 << 10;
const READ_BYTES_MAX: u64 = 1 << 20;
/// How far into each segment behind a torn tail acknowledged groups are looked for, unless the mode
/// is strict: then everywhere.
const LOOK_BEHIND_BYTES: u64 = 16 << 20;
/// What devices count in: the smallest block.
const SECTOR_BYTES: usize = *BLOCK_BYTES.start() as usize;

// Reads grow, and are whole blocks of any size: where they are shorter than one, the block counts.
const _: () = assert!(READ_BYTES_FIRST <= READ_BYTES_MAX);
const _: () = assert!(READ_BYTES_MAX.is_multiple_of(*BLOCK_BYTES.end() as u64));

/// Reads groups from a position on.
pub(crate) struct LogReader<'a, S: Storage> {
    storage: &'a S,
    mode: OpenMode,
    database: DatabaseId,
    block_bytes: u64,
    /// Numbers of all segment files, ascending.
    present: &'a [u64],
    position: LogPosition,
    life: u64,
    /// The latest life seen, even in groups that do not count.
    latest_life: u64,
    /// The highest LSN that a group read so far calls durable.
    proven_lsn: u64,
    /// The segments behind the start, by the LSN that their first group goes on from; found when
    /// first needed.
    beginnings: Option<BTreeMap<u64, Vec<u64>>>,
    segment: Option<OpenSegment<S::File>>,
    buffer: AlignedBuffer,
    /// How much the next read takes at most, unless more is asked for.
    read_bytes: u64,
    /// Which bytes of the segment `buffer` holds.
    window: std::ops::Range<u64>,
}

struct OpenSegment<F> {
    number: u64,
    file: F,
    bytes: u64,
}

/// A group as read.
pub(crate) struct LoggedGroup<'b> {
    pub header: GroupHeader,
    /// Its frames.
    pub body: &'b [u8],
    /// The place behind it.
    pub end: LogPosition,
}

/// What comes next in the log.
#[derive(Debug)]
pub enum Next<G, E> {
    /// A whole group.
    Group(G),
    /// Its end.
    End(E),
}

/// How far behind the end of the log acknowledged groups are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// In the first 16 MiB of each segment.
    Near,
    Everywhere,
}

/// Where the log ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadEnd {
    pub position: LogPosition,
    /// What stands there instead of a group, if it looks like one that was not written completely.
    pub torn: Option<Defect>,
}

impl<'a, S: Storage> LogReader<'a, S> {
    /// Reads from `start`, the end of a group or the start of a segment. `present` ascends.
    pub fn new(
        storage: &'a S,
        database: DatabaseId,
        block_bytes: u64,
        present: &'a [u64],
        start: LogPosition,
    ) -> Self {
        assert!(block_bytes.is_power_of_two());
        assert!(start.offset.is_multiple_of(block_bytes));
        assert!(present.is_sorted());
        Self {
            storage,
            mode: OpenMode::Direct,
            database,
            block_bytes,
            present,
            position: start,
            life: 0,
            latest_life: 0,
            proven_lsn: 0,
            beginnings: None,
            segment: None,
            buffer: AlignedBuffer::new(0),
            read_bytes: READ_BYTES_FIRST,
            window: 0..0,
        }
    }

    /// Opens files so: for reading only, as one does who may not write them.
    pub fn opening(mut self, mode: OpenMode) -> Self {
        self.mode = mode;
        self
    }

    /// One that goes on where this one is, and reads nothing that this one has in memory. `present`
    /// ascends.
    pub fn anew<'b>(&self, present: &'b [u64]) -> LogReader<'b, S>
    where
        'a: 'b,
    {
        let Self { storage, mode, database, block_bytes, position, .. } = *self;
        let mut reader = LogReader::new(storage, database, block_bytes, present, position);
        (reader.mode, reader.life) = (mode, self.life);
        (reader.latest_life, reader.proven_lsn) = (self.latest_life, self.proven_lsn);
        reader
    }

    /// The next group, or where and how the log ends.
    pub fn next(&mut self) -> Result<Next<LoggedGroup<'_>, ReadEnd>> {
        Ok(match self.advance()? {
            Next::Group(header) => {
                let end = self.position;
                Next::Group(LoggedGroup { body: self.body_of(&header), header, end })
            }
            Next::End(end) => Next::End(end),
        })
    }

    /// As [`LogReader::next`]; of a group only the header.
    //= WAL-9
    pub fn advance(&mut self) -> Result<Next<GroupHeader, ReadEnd>> {
        let here = self.position;
        let in_place = self.header_at(here)?;
        let mut end = ReadEnd { position: here, torn: in_place.as_ref().err().cloned().flatten() };
        let mut groups = self.beginning_with(here)?;
        groups.extend(in_place.ok());
        let chosen = in_force(&mut groups, |group| {
            let Err(defect) = self.verify(group)? else { return Ok(true) };
            if end.torn.is_none() {
                let (segment, offset) = (group.segment.get(), group.offset.get());
                let position = LogPosition { segment, offset, lsn: here.lsn };
                end = ReadEnd { position, torn: Some(defect) };
            }
            Ok::<_, Error>(false)
        })?;
        let Some(header) = chosen else { return Ok(Next::End(end)) };
        assert_eq!(header.previous_lsn.get(), here.lsn, "no record is missing between two groups");
        assert!(header.life.get() >> 32 >= self.life >> 32, "lives follow each other");
        self.life = header.life.get();
        self.note_life(self.life);
        self.proven_lsn = self.proven_lsn.max(header.durable_lsn.get());
        self.position = LogPosition {
            segment: header.segment.get(),
            offset: header.offset.get() + align_up_u64(header.group_bytes.get(), self.block_bytes),
            lsn: header.last_lsn(),
        };
        assert!(self.position.lsn > here.lsn);
        assert!(self.position.segment >= here.segment, "a log goes on in later segments");
        assert!(self.position.offset.is_multiple_of(self.block_bytes));
        Ok(Next::Group(header.clone()))
    }

    /// The frames of the group that was read last.
    pub fn body_of(&self, header: &GroupHeader) -> &[u8] {
        let group_bytes = header.group_bytes.get() as usize;
        assert_eq!(header.last_lsn(), self.position.lsn, "the buffer holds one group");
        &self.bytes_at(header.offset.get())[GROUP_HEADER_BYTES..group_bytes]
    }

    /// The place behind the group that was read last.
    pub fn position(&self) -> LogPosition {
        self.position
    }

    /// The latest life of which something was seen, also behind the end.
    pub fn latest_life(&self) -> u64 {
        self.latest_life
    }

    /// The highest LSN that a group read so far calls durable.
    pub fn proven_lsn(&self) -> u64 {
        self.proven_lsn
    }

    fn note_life(&mut self, life: u64) {
        if self.latest_life >> 32 < life >> 32 {
            self.latest_life = life;
        }
    }

    fn chain(&self) -> Chain {
        Chain { life: self.life, lsn: self.position.lsn }
    }

    /// Header of a group at `place` that comes next in the chain; its frames are not looked at.
    /// Inner error: there is none, and what is wrong with what looks like one.
    fn header_at(
        &mut self,
        place: LogPosition,
    ) -> Result<std::result::Result<GroupHeader, Option<Defect>>> {
        let mut chain = self.chain();
        let (number, mut offset) = (place.segment, place.offset);
        if offset == 0 {
            if !self.read(number, 0, self.block_bytes)? {
                return Ok(Err(None));
            }
            match SegmentHeader::load(self.bytes_at(0), &self.database, number) {
                Ok(header) => {
                    // A group of an earlier life behind it was cut when it had no header of its
                    // segment.
                    if is_earlier_life(chain.life, header.life.get()) {
                        chain.life = header.life.get();
                    }
                    offset = self.block_bytes;
                }
                Err(Defect::Version { major, minor }) => {
                    let version = Defect::Version { major, minor };
                    return Err(Structure::segment_header(number).defect(version));
                }
                Err(defect) => return Ok(Err(unless_stale(defect))),
            }
        }
        if !self.read(number, offset, self.block_bytes)? {
            return Ok(Err(None));
        }
        let loaded = GroupHeader::load(self.bytes_at(offset), &self.database, number, offset);
        Ok(match loaded {
            Ok(header) if chain.goes_on_with(&header) => Ok(header),
            Ok(_) => Err(None),
            Err(defect) => Err(unless_stale(defect)),
        })
    }

    /// Reads the whole group of `header` and checks its frames.
    fn verify(&mut self, header: &GroupHeader) -> Result<std::result::Result<(), Defect>> {
        let (number, offset) = (header.segment.get(), header.offset.get());
        let group_bytes = header.group_bytes.get();
        let is_there = match group_bytes.checked_next_multiple_of(self.block_bytes) {
            Some(bytes) => self.read(number, offset, bytes)?,
            None => false,
        };
        if !is_there {
            return Ok(Err(Defect::Length));
        }
        let body = &self.bytes_at(offset)[GROUP_HEADER_BYTES..group_bytes as usize];
        match verify_group(header, body) {
            Err(defect @ (Defect::Kind(_) | Defect::Flags(_))) => {
                let first = Structure::frame(number).at(offset).lsn(header.first_lsn.get());
                Err(first.defect(defect))
            }
            verified => Ok(verified),
        }
    }

    /// Headers of the groups at the start of later segments that come next in the chain.
    fn beginning_with(&mut self, here: LogPosition) -> Result<Vec<GroupHeader>> {
        let beginnings = match self.beginnings.take() {
            Some(beginnings) => beginnings,
            None => self.find_beginnings()?,
        };
        let later = beginnings.get(&here.lsn).into_iter().flatten().copied();
        let later: Vec<_> = later.filter(|number| *number > here.segment).collect();
        self.beginnings = Some(beginnings);
        assert!(later.is_sorted());
        let mut groups = Vec::new();
        for segment in later {
            groups.extend(self.header_at(LogPosition { segment, offset: 0, lsn: here.lsn })?.ok());
        }
        Ok(groups)
    }

    fn find_beginnings(&mut self) -> Result<BTreeMap<u64, Vec<u64>>> {
        let mut beginnings = BTreeMap::<_, Vec<_>>::new();
        let start = self.position.segment;
        for number in self.present.iter().copied().filter(|number| *number > start) {
            if let Some(group) = self.first_group(number)? {
                beginnings.entry(group.previous_lsn.get()).or_default().push(number);
            }
        }
        Ok(beginnings)
    }

    /// Where segment `number` starts in the chain of LSNs, if it was begun.
    pub fn start_of_segment(&mut self, number: u64) -> Result<Option<LogPosition>> {
        let group = self.first_group(number)?;
        let position = |lsn| LogPosition { segment: number, offset: 0, lsn };
        Ok(group.map(|group| position(group.previous_lsn.get())))
    }

    /// Header of the first group of segment `number`, if it was begun.
    fn first_group(&mut self, number: u64) -> Result<Option<GroupHeader>> {
        if !self.read(number, 0, 2 * self.block_bytes)? {
            return Ok(None);
        }
        let (bytes, block) = (self.bytes_at(0), self.block_bytes);
        let Ok(header) = SegmentHeader::load(bytes, &self.database, number) else {
            return Ok(None);
        };
        let group = GroupHeader::load(&bytes[block as usize..], &self.database, number, block).ok();
        self.note_life(header.life.get());
        Ok(group.filter(|group| !is_earlier_life(group.life.get(), header.life.get())))
    }

    /// After the end: the first proof that acknowledged records are missing behind it.
    pub fn missing(&mut self, reach: Reach) -> Result<Option<Error>> {
        let end = self.position;
        let lost = |proof: String| {
            let detail = format!(
                "acknowledged records are missing: {proof}, but the log can be read only up to \
                 LSN {}",
                end.lsn
            );
            Ok(Some(end.behind().damage(detail)))
        };
        if self.proven_lsn > end.lsn {
            return lost(format!(
                "a group says that all up to LSN {} was durable",
                self.proven_lsn
            ));
        }
        let later = self.present.iter().copied().filter(|number| *number >= end.segment);
        for number in later.collect::<Vec<_>>() {
            // What went astray over the group behind the end may begin in the padding before it.
            let padding = end.offset.saturating_sub(self.block_bytes);
            let start = if number == end.segment { padding } else { 0 };
            let stop = match reach {
                Reach::Near => start.saturating_add(LOOK_BEHIND_BYTES),
                Reach::Everywhere => u64::MAX,
            };
            let mut offset = start;
            while offset < stop && self.read(number, offset, self.block_bytes)? {
                if let Some((place, group)) = self.proof_in(number, offset) {
                    return lost(format!(
                        "the group at offset {place} of {} goes on from LSN {} and says that all \
                         up to LSN {} was durable",
                        segment_path(number),
                        group.previous_lsn,
                        group.durable_lsn
                    ));
                }
                offset += self.block_bytes;
                if offset.is_multiple_of(HOLE_BYTES) {
                    offset = self.behind_hole(offset)?;
                }
            }
        }
        Ok(None)
    }

    /// The first group whose header stands in the block at `block` of segment `number`, read and
    /// behind the end, and proves that acknowledged records are missing. Devices count sectors: a
    /// write that went astray may begin at any of a block.
    fn proof_in(&self, number: u64, block: u64) -> Option<(u64, GroupHeader)> {
        let mut sectors = (block..block + self.block_bytes).step_by(SECTOR_BYTES);
        sectors.find_map(|place| Some((place, self.proof_at(number, place)?)))
    }

    /// The group whose header stands at `offset` of segment `number`, read and behind the end, if
    /// it proves that acknowledged records are missing. A write that went astray may have put it
    /// there, in the middle of the group that it follows.
    fn proof_at(&self, number: u64, offset: u64) -> Option<GroupHeader> {
        let group = GroupHeader::load_misplaced(self.bytes_at(offset), &self.database).ok()?;
        let (end, chain) = (self.position, self.chain());
        let is_in_place = (group.segment.get(), group.offset.get()) == (number, offset);
        let proves = chain.lacks_durable(&group)
            || is_in_place && chain.lacks_copy(end.segment, &group, self.block_bytes);
        proves.then_some(group)
    }

    /// Where the segment that was read last goes on at or behind `offset`, if there is a hole of
    /// the file system.
    fn behind_hole(&self, offset: u64) -> Result<u64> {
        let Some(segment) = &self.segment else { return Ok(offset) };
        let failed =
            |error| Error::io(format!("cannot read {}", segment_path(segment.number)), error);
        assert!(offset.is_multiple_of(self.block_bytes));
        let data = segment.file.next_data(offset).map_err(failed)?.unwrap_or(segment.bytes);
        Ok(data / self.block_bytes * self.block_bytes)
    }

    /// Brings `len` bytes at `offset` of segment `number` into the buffer. `false` if the file ends
    /// before or is not there.
    fn read(&mut self, number: u64, offset: u64, len: u64) -> Result<bool> {
        assert!(len > 0);
        assert!(len.is_multiple_of(self.block_bytes));
        assert!(offset.is_multiple_of(self.block_bytes));
        let what = || format!("cannot read {}", segment_path(number));
        if self.segment.as_ref().is_none_or(|segment| segment.number != number) {
            self.window = 0..0;
            let file = match self.storage.open(&segment_path(number), self.mode) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(Error::io(what(), error)),
            };
            // No program makes longer segments, however long a sparse file is.
            let len = file.len().map_err(|error| Error::io(what(), error))?;
            let bytes = len.min(*SEGMENT_BYTES.end());
            self.segment = Some(OpenSegment { number, file, bytes });
        }
        let Some(segment) = &self.segment else { return Ok(false) };
        let Some(end) = offset.checked_add(len).filter(|end| *end <= segment.bytes) else {
            return Ok(false);
        };
        if self.window.start <= offset && end <= self.window.end {
            return Ok(true);
        }
        let whole_blocks = segment.bytes / self.block_bytes * self.block_bytes;
        assert!(end <= whole_blocks, "whole blocks of it are asked for");
        let wanted = len.max(self.read_bytes.min(whole_blocks - offset));
        self.read_bytes = (4 * self.read_bytes).min(READ_BYTES_MAX);
        if wanted > self.buffer.len() as u64 {
            self.buffer = AlignedBuffer::try_new(wanted as usize).map_err(|_| {
                let message = format!("{}: there is no memory for a group of {len} bytes", what());
                Error::new(ErrorKind::Io, message)
            })?;
        }
        let read = segment.file.read_at(&mut self.buffer[..wanted as usize], offset);
        let read = read.map_err(|error| Error::io(what(), error))?;
        self.window = offset..offset + read as u64;
        Ok(end <= self.window.end)
    }

    fn bytes_at(&self, offset: u64) -> &[u8] {
        assert!(self.window.contains(&offset), "it was read");
        let start = (offset - self.window.start) as usize;
        &self.buffer[start..(self.window.end - self.window.start) as usize]
    }
}

/// What is wrong with a structure; nothing if it is a valid one of another place or database, or
/// none at all.
fn unless_stale(defect: Defect) -> Option<Defect> {
    match defect {
        Defect::Magic | Defect::Position { .. } | Defect::Database => None,
        other => Some(other),
    }
}
