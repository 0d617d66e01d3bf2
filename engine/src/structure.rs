//! A structure on disk as errors name it: what it is, in which file it stands, and where there.
//!
//! [`Structure::record`] and its like say what and which; [`Structure::at`] and [`Structure::lsn`]
//! add what is known of the place; [`Structure::damage`] and [`Structure::defect`] make the error.

use std::fmt;

use uarr_layout::Defect;
use uarr_layout::limits::FORMAT_VERSION;

use crate::error::{Corruption, Error, ErrorKind};
use crate::files::{DATA_FILE, ROOT_FILE, image_path, segment_path};

/// What is wrong with a file that should be there.
pub(crate) const MISSING: &str = "the file is missing";

/// A structure in a file of the database.
#[derive(Clone, Debug)]
pub(crate) struct Structure {
    what: &'static str,
    file: String,
    offset: u64,
    /// What `offset` counts.
    unit: &'static str,
    lsn: Option<u64>,
}

impl Structure {
    fn new(what: &'static str, file: impl Into<String>) -> Self {
        Self { what, file: file.into(), offset: 0, unit: "offset", lsn: None }
    }

    /// A slot of the superblock, or all of it.
    pub fn superblock() -> Self {
        Self::new("superblock", ROOT_FILE)
    }

    /// A segment as a file.
    pub fn segment(number: u64) -> Self {
        Self::new("log segment", segment_path(number))
    }

    /// The header of a segment.
    pub fn segment_header(number: u64) -> Self {
        Self::new("segment header", segment_path(number))
    }

    /// The log, where it goes on or ends in a segment.
    pub fn log(segment: u64) -> Self {
        Self::new("log", segment_path(segment))
    }

    /// A group of the log.
    pub fn group(segment: u64) -> Self {
        Self::new("group", segment_path(segment))
    }

    /// A frame of a group.
    pub fn frame(segment: u64) -> Self {
        Self::new("frame", segment_path(segment))
    }

    /// The data file as a whole.
    pub fn data_file() -> Self {
        Self::new("data file", DATA_FILE)
    }

    /// The header of a chunk.
    pub fn chunk_header() -> Self {
        Self::new("chunk header", DATA_FILE)
    }

    /// The record at `address`.
    pub fn record(address: u64) -> Self {
        Self::new("record", DATA_FILE).at_address(address)
    }

    /// The index image of checkpoint `number`, or a piece of it.
    pub fn image(number: u64) -> Self {
        Self::new("index image", image_path(number))
    }

    /// How many entries the index image of checkpoint `number` has.
    pub fn entry_count(number: u64) -> Self {
        Self::new("number of entries", image_path(number))
    }

    /// It stands at this offset of its file.
    pub fn at(mut self, offset: u64) -> Self {
        self.offset = offset;
        self
    }

    /// It stands in the data file at this address, by which index and log name it.
    pub fn at_address(mut self, address: u64) -> Self {
        (self.offset, self.unit) = (address, "address");
        self
    }

    /// The LSN of its record, or of its first one, if that is known.
    pub fn lsn(mut self, lsn: impl Into<Option<u64>>) -> Self {
        self.lsn = lsn.into();
        self
    }

    /// It is damaged: `detail` says what was expected and what was found.
    pub fn damage(self, detail: impl fmt::Display) -> Error {
        let Self { what, file, offset, unit, lsn } = self;
        let detail = format!("{what}: {detail}");
        let at_lsn = lsn.map(|lsn| format!(", LSN {lsn}")).unwrap_or_default();
        let message = format!("damage in {file} at {unit} {offset}{at_lsn}: {detail}");
        Error::corrupt(message, Corruption { file, offset, lsn, detail })
    }

    /// It has this defect: damage, or another format.
    pub fn defect(self, defect: Defect) -> Error {
        match defect {
            Defect::Version { major, .. } => {
                let remedy = match major < FORMAT_VERSION.0 {
                    true => "copy its records with the program that wrote it",
                    false => "open it with a newer program",
                };
                let message = format!("{}: {defect}; {remedy}", self.file);
                Error::new(ErrorKind::OtherFormat, message)
            }
            defect => self.damage(defect),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_is_damaged_where() {
        let damage = Structure::frame(31).at(4096).lsn(7).damage("it changed");
        let text = "damage in wal/000000000000001f.wal at offset 4096, LSN 7: frame: it changed";
        assert_eq!((damage.kind(), damage.to_string().as_str()), (ErrorKind::Corruption, text));
        let corruption = damage.corruption().unwrap();
        assert_eq!((corruption.offset, corruption.lsn), (4096, Some(7)));
        assert_eq!(corruption.detail, "frame: it changed");

        let damage = Structure::record(64).lsn(None).defect(Defect::Length).to_string();
        assert!(
            damage.starts_with("damage in data/records.uarr at address 64: record: "),
            "{damage}"
        );

        for (major, what) in [(9, "newer"), (1, "older")] {
            let other = Structure::superblock().defect(Defect::Version { major, minor: 0 });
            assert_eq!(other.kind(), ErrorKind::OtherFormat);
            let said = format!("superblock: format version {major}.0 is {what} than");
            assert!(other.to_string().starts_with(&said), "{other}");
            assert!(other.corruption().is_none());
        }
    }
}
