//! The log of a database that is not open, group by group.

use uarr_layout::frame::{Frame, Frames};
use uarr_layout::geometry::GROUP_HEADER_BYTES;
use uarr_layout::group::GroupHeader;
use uarr_uring::{OpenMode, Storage};

use crate::error::{Error, ErrorKind, Result};
use crate::files::segment_path;
use crate::log::position::{LogPosition, start_of};
use crate::log::reader::{LogReader, Next, Reach};
use crate::rescue::inspector::Inspector;

/// The log, read forward.
pub struct Log<'a, S: Storage> {
    reader: LogReader<'a, S>,
    start: LogPosition,
    durable_lsn: u64,
}

/// A whole group of the log.
pub struct Group<'a> {
    /// What it says of itself, its place included.
    pub header: GroupHeader,
    body: &'a [u8],
}

/// Where the log ends, and why.
#[derive(Clone, Debug)]
pub struct LogEnd {
    /// The segment file.
    pub file: String,
    /// Number of the segment.
    pub segment: u64,
    /// Where in it.
    pub offset: u64,
    /// The last LSN before.
    pub lsn: u64,
    /// What stands there: something that looks like a group and is not whole. `None`: nothing does.
    pub torn: Option<String>,
    /// Set if something proves that acknowledged records are missing behind the end.
    pub missing: Option<Error>,
}

impl<S: Storage> Log<'_, S> {
    /// Segment, offset and last LSN before the first group that is read.
    pub fn start(&self) -> (u64, u64, u64) {
        (self.start.segment, self.start.offset, self.start.lsn)
    }

    /// The next group, or the end; do not ask again behind it.
    #[expect(clippy::should_implement_trait, reason = "groups borrow the reader's buffer")]
    pub fn next(&mut self) -> Result<Next<Group<'_>, LogEnd>> {
        let (position, torn) = match self.reader.advance() {
            Ok(Next::Group(header)) => {
                let body = self.reader.body_of(&header);
                return Ok(Next::Group(Group { header, body }));
            }
            Ok(Next::End(end)) => (end.position, end.torn.map(|defect| defect.to_string())),
            // Its checksums fit, but this version does not know what it means.
            Err(error)
                if matches!(error.kind(), ErrorKind::Corruption | ErrorKind::OtherFormat) =>
            {
                (self.reader.position(), Some(error.to_string()))
            }
            Err(error) => return Err(error),
        };
        let missing = self.reader.missing(Reach::Everywhere)?;
        let missing = missing.or_else(|| position.ends_before(self.durable_lsn));
        let file = segment_path(position.segment);
        let LogPosition { segment, offset, lsn } = position;
        Ok(Next::End(LogEnd { file, segment, offset, lsn, torn, missing }))
    }
}

impl<'a> Group<'a> {
    /// Its frames, each with its offset in the segment.
    pub fn frames(&self) -> impl Iterator<Item = (u64, Frame<'a>)> + use<'a> {
        let mut offset = self.header.offset.get() + GROUP_HEADER_BYTES as u64;
        Frames::new(self.body).map_while(std::result::Result::ok).map(move |frame| {
            let start = offset;
            offset += frame.len_in_log() as u64;
            (start, frame)
        })
    }
}

/// Which of the two checkpoints that the superblock names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Newest,
    Older,
}

impl<S: Storage> Inspector<S> {
    /// The log from where the older of the two checkpoints begins to replay it, up to its end. If
    /// the superblock is lost, from the oldest segment on.
    ///
    /// Errors: damage, if nothing says whose log it is.
    pub fn log(&self) -> Result<Log<'_, S>> {
        self.log_since(Kept::Older)
    }

    /// The log from where `kept` begins to replay it.
    pub(crate) fn log_since(&self, kept: Kept) -> Result<Log<'_, S>> {
        let (database, block_bytes) = self.identity()?;
        let block_bytes = u64::from(block_bytes);
        let reader_at = |start| {
            let present = self.segments.as_slice();
            LogReader::new(&self.storage, database, block_bytes, present, start)
                .opening(OpenMode::Read)
        };
        let mut start = LogPosition { segment: 0, offset: 0, lsn: 0 };
        let mut durable_lsn = 0;
        if let Some(block) = self.superblock() {
            let mut all = block.checkpoints.iter().filter(|kept| kept.segment.get() > 0);
            let chosen = match kept {
                Kept::Newest => all.next(),
                Kept::Older => all.next_back(),
            };
            start = chosen.map_or(start, start_of);
            durable_lsn = block.checkpoints[0].end_lsn.get();
        } else {
            let mut reader = reader_at(start);
            for number in &self.segments {
                if let Some(found) = reader.start_of_segment(*number)? {
                    start = found;
                    break;
                }
            }
        }
        Ok(Log { reader: reader_at(start), start, durable_lsn })
    }
}
