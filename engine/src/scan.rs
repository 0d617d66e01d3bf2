//! Reading the log forward, group by group, and judging where it ends.
//!
//! A group counts if it is valid in its place, of no earlier life than the one before, and names that
//! one's last LSN as its `previous_lsn`: so neither stale nor missing groups go unnoticed. The log goes on in the
//! same segment or, with the same chain of LSNs, at the start of a later one.
//!
//! Where it ends, everything behind is looked at once more: a group that was written when the log was known
//! durable beyond the end proves that something acknowledged is missing. That is damage, not a torn tail.

use std::io;

use uarr_layout::frame::verify_group;
use uarr_layout::geometry::align_up_u64;
use uarr_layout::group::{GROUP_HEADER_BYTES, GroupHeader, SegmentHeader};
use uarr_layout::{DatabaseId, Defect};
use uarr_uring::{AlignedBuffer, OpenMode, Storage, StorageFile};

use crate::error::{Error, Result};
use crate::log::LogPosition;
use crate::segments::segment_path;

/// The first read is small, as most readers look at a place or two; later ones grow.
const READ_BYTES_FIRST: u64 = 64 << 10;
const READ_BYTES_MAX: u64 = 1 << 20;
/// How far into each segment behind a torn tail acknowledged groups are looked for, unless the mode is
/// strict: then everywhere.
const LOOK_BEHIND_BYTES: u64 = 16 << 20;

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
pub(crate) struct Group<'b> {
    pub header: GroupHeader,
    /// Its frames.
    pub body: &'b [u8],
    /// The place behind it.
    pub end: LogPosition,
}

/// Where the log ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogEnd {
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
        Self {
            storage,
            mode: OpenMode::Direct,
            database,
            block_bytes,
            present,
            position: start,
            life: 0,
            segment: None,
            buffer: AlignedBuffer::new(0),
            read_bytes: READ_BYTES_FIRST,
            window: 0..0,
        }
    }

    /// Opens files for reading only, as one does who may not write them.
    pub fn read_only(mut self) -> Self {
        self.mode = OpenMode::Read;
        self
    }

    /// The next group, or where and how the log ends.
    pub fn next(&mut self) -> Result<std::result::Result<Group<'_>, LogEnd>> {
        Ok(match self.advance()? {
            Ok(header) => Ok(Group { body: self.body_of(&header), header, end: self.position }),
            Err(end) => Err(end),
        })
    }

    /// As [`LogReader::next`]; of a group only the header.
    pub fn advance(&mut self) -> Result<std::result::Result<GroupHeader, LogEnd>> {
        let header = loop {
            match self.header_here()? {
                Ok(header) => break header,
                Err(torn) => {
                    if !self.go_on_elsewhere()? {
                        return Ok(Err(LogEnd { position: self.position, torn }));
                    }
                }
            }
        };
        self.life = header.life.get();
        self.position.offset += align_up_u64(header.group_bytes.get(), self.block_bytes);
        self.position.lsn = header.last_lsn();
        Ok(Ok(header))
    }

    /// The frames of the group that was read last.
    pub fn body_of(&self, header: &GroupHeader) -> &[u8] {
        let group_bytes = header.group_bytes.get() as usize;
        &self.bytes_at(header.offset.get())[GROUP_HEADER_BYTES..group_bytes]
    }

    /// The place behind the group that was read last.
    pub fn position(&self) -> LogPosition {
        self.position
    }

    /// Checks for a whole valid group at the position. Inner error: there is none, and what is wrong with what
    /// looks like one.
    fn header_here(&mut self) -> Result<std::result::Result<GroupHeader, Option<Defect>>> {
        let number = self.position.segment;
        if self.position.offset == 0 {
            if !self.read(number, 0, self.block_bytes)? {
                return Ok(Err(None));
            }
            match SegmentHeader::load(self.bytes_at(0), &self.database, number) {
                Ok(header) => {
                    // A group of an earlier life behind it was cut when it had no header of its segment.
                    if is_earlier_life(self.life, header.life.get()) {
                        self.life = header.life.get();
                    }
                    self.position.offset = self.block_bytes;
                }
                Err(Defect::Version { major, minor }) => {
                    let version = Defect::Version { major, minor };
                    let path = segment_path(number);
                    return Err(Error::defect(path, 0, None, "segment header", version));
                }
                Err(defect) => return Ok(Err(unless_stale(defect))),
            }
        }
        let offset = self.position.offset;
        if !self.read(number, offset, self.block_bytes)? {
            return Ok(Err(None));
        }
        let loaded = GroupHeader::load(self.bytes_at(offset), &self.database, number, offset);
        let header = match loaded {
            Ok(header) => header,
            Err(defect) => return Ok(Err(unless_stale(defect))),
        };
        if is_earlier_life(header.life.get(), self.life)
            || header.previous_lsn.get() != self.position.lsn
            || header.first_lsn.get() <= self.position.lsn
        {
            return Ok(Err(None));
        }
        let group_bytes = header.group_bytes.get();
        if !self.read(number, offset, align_up_u64(group_bytes, self.block_bytes))? {
            return Ok(Err(Some(Defect::Length)));
        }
        let body = &self.bytes_at(offset)[GROUP_HEADER_BYTES..group_bytes as usize];
        match verify_group(&header, body) {
            Ok(()) => Ok(Ok(header)),
            Err(Defect::Kind(kind)) => {
                let lsn = Some(header.first_lsn.get());
                let defect = Defect::Kind(kind);
                Err(Error::defect(segment_path(number), offset, lsn, "frame", defect))
            }
            Err(defect) => Ok(Err(Some(defect))),
        }
    }

    /// Moves to a later segment that continues the chain of LSNs. `false` if there is none.
    fn go_on_elsewhere(&mut self) -> Result<bool> {
        let start = self.position;
        let later = self.present.iter().copied().filter(|number| *number > start.segment);
        for number in later.collect::<Vec<_>>() {
            if self.first_group(number)?.is_some_and(|group| group.previous_lsn == start.lsn) {
                self.position = LogPosition { segment: number, offset: 0, lsn: start.lsn };
                return Ok(true);
            }
        }
        Ok(false)
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
        Ok(group.filter(|group| !is_earlier_life(group.life.get(), header.life.get())))
    }

    /// After the end: the first group behind it that proves that acknowledged records are missing.
    pub fn missing(&mut self, everywhere: bool) -> Result<Option<Error>> {
        let end = self.position;
        let later = self.present.iter().copied().filter(|number| *number >= end.segment);
        for number in later.collect::<Vec<_>>() {
            let start = if number == end.segment { end.offset } else { 0 };
            let stop = if everywhere { u64::MAX } else { start.saturating_add(LOOK_BEHIND_BYTES) };
            let mut offset = start;
            while offset < stop && self.read(number, offset, self.block_bytes)? {
                let bytes = self.bytes_at(offset);
                if let Ok(group) = GroupHeader::load(bytes, &self.database, number, offset)
                    && group.durable_lsn.get() > end.lsn
                {
                    let detail = format!(
                        "acknowledged records are missing: the log was durable up to LSN {} when the \
                         group at offset {offset} of {} was written, but can be read only up to LSN {}",
                        group.durable_lsn,
                        segment_path(number),
                        end.lsn
                    );
                    let (path, lsn) = (segment_path(end.segment), Some(end.lsn + 1));
                    return Ok(Some(Error::corrupt(path, end.offset, lsn, "log", detail)));
                }
                offset += self.block_bytes;
            }
        }
        Ok(None)
    }

    /// Brings `len` bytes at `offset` of segment `number` into the buffer. `false` if the file ends before
    /// or is not there.
    fn read(&mut self, number: u64, offset: u64, len: u64) -> Result<bool> {
        let what = || format!("cannot read {}", segment_path(number));
        if self.segment.as_ref().is_none_or(|segment| segment.number != number) {
            self.window = 0..0;
            let file = match self.storage.open(&segment_path(number), self.mode) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(Error::io(what(), error)),
            };
            let bytes = file.len().map_err(|error| Error::io(what(), error))?;
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
        let wanted = len.max(self.read_bytes.min(whole_blocks - offset));
        self.read_bytes = (4 * self.read_bytes).min(READ_BYTES_MAX);
        if wanted > self.buffer.len() as u64 {
            self.buffer = AlignedBuffer::new(wanted as usize);
        }
        let read = segment.file.read_at(&mut self.buffer[..wanted as usize], offset);
        let read = read.map_err(|error| Error::io(what(), error))?;
        self.window = offset..offset + read as u64;
        Ok(end <= self.window.end)
    }

    fn bytes_at(&self, offset: u64) -> &[u8] {
        let start = (offset - self.window.start) as usize;
        &self.buffer[start..(self.window.end - self.window.start) as usize]
    }
}

/// What is wrong with a structure; nothing if it is a valid one of another place or database, or none at all.
fn unless_stale(defect: Defect) -> Option<Defect> {
    match defect {
        Defect::Magic | Defect::Position { .. } | Defect::Database => None,
        other => Some(other),
    }
}

/// Whether a group was written in another open of the database than the later of those seen so far.
fn is_earlier_life(life: u64, latest: u64) -> bool {
    life >> 32 < latest >> 32 || (life >> 32 == latest >> 32 && life != latest)
}
