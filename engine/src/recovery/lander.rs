//! [`Lander`]: brings the records of the log to the data file, each to the place that it had.
//!
//! It knows no keys: what they lead to is entered behind it ([`crate::recovery::enterer`]).

use std::io;

use uarr_layout::frame::Frame;
use uarr_uring::{DataMap, DataMapWriter};

use crate::data::appender::Appender;
use crate::data::applier::Replayed;
use crate::data::places::OpenChunk;
use crate::data::store::RecordStore;
use crate::error::{Error, Result};
use crate::recovery::frames::{Landing, LoggedFrame};

/// See [`self`].
pub(crate) struct Lander<W> {
    pub landing: Landing,
    pub appender: Appender<W>,
    /// The newest chunk that a replayed record lies in, and its end there.
    pub newest: Option<OpenChunk>,
    pub address_space_bytes: u64,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Landed {
    /// Its record is in the data file, or the chunk that it opens is open.
    Done,
    /// It is a patch whose record is not there: nothing was done, for want of what it leads to.
    LacksResult,
}

impl<W: DataMapWriter> Lander<W> {
    pub fn new(landing: Landing, appender: Appender<W>, address_space_bytes: u64) -> Self {
        Self { newest: landing.places.open(), landing, appender, address_space_bytes }
    }

    /// Brings the record of `logged`, the next frame, to its place, if it is not there. `result` is
    /// what a patch leads to.
    pub fn land<M: DataMap>(
        &mut self,
        store: &RecordStore<M>,
        logged: &LoggedFrame<'_>,
        result: Option<&[u8]>,
    ) -> Result<Landed> {
        if logged.frame.opens_chunk() {
            return self.open_chunk(logged);
        }
        let chunk_bytes = self.landing.chunk_bytes;
        let end_of = |number: u64| store.published_bytes(number * chunk_bytes);
        let record = self.landing.find(logged, end_of)?;
        let frame = Frame { result, ..logged.frame };
        let address = frame.header.address.get();
        let (number, offset) = (address / chunk_bytes, address % chunk_bytes);
        self.note_newest(number, (offset + frame.record_bytes() as u64).min(chunk_bytes));
        if record == Replayed::InFile {
            return Ok(Landed::Done);
        }
        self.allocate(number)?;
        let Some(whole) = frame.resolved() else { return Ok(Landed::LacksResult) };
        // It gets no link to the version before it, which is not known, and which no reader asks
        // for: all that is replayed is visible to each.
        self.appender.append(&whole, None);
        Ok(Landed::Done)
    }

    /// Opens the chunk that `logged` says to lie somewhere.
    fn open_chunk(&mut self, logged: &LoggedFrame<'_>) -> Result<Landed> {
        let chunk_bytes = self.landing.chunk_bytes;
        self.landing.open_chunk(logged, self.address_space_bytes / chunk_bytes)?;
        let address = logged.frame.header.address.get();
        self.allocate(address / chunk_bytes)?;
        self.appender.open(&logged.frame);
        Ok(Landed::Done)
    }

    /// Notes that a record of chunk `number` ends at `end`. Nothing is added to chunks that were
    /// complete.
    fn note_newest(&mut self, number: u64, end: u64) {
        if self.landing.is_full(number) {
            return;
        }
        self.newest = match self.newest {
            Some(newest) if newest.number > number => Some(newest),
            Some(newest) if newest.number == number => {
                Some(OpenChunk { number, end: newest.end.max(end) })
            }
            _ => Some(OpenChunk { number, end }),
        };
    }

    /// Gives the places of chunk `number` space of their own.
    fn allocate(&mut self, number: u64) -> Result<()> {
        let places = self.landing.places.places_of(number);
        self.appender.allocate(places).map_err(cannot_extend)
    }
}

pub(crate) fn cannot_extend(error: io::Error) -> Error {
    Error::io("cannot extend the data file", error)
}
