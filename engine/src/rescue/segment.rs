//! A segment file of a database that is not open.

use uarr_layout::group::SegmentHeader;
use uarr_layout::{DatabaseId, Defect};
use uarr_uring::Storage;

use crate::error::{Error, Result};
use crate::files::segment_path;
use crate::rescue::inspector::{Inspector, claimed};
use crate::structure::Structure;

/// A segment file.
#[derive(Clone, Debug)]
pub struct SegmentContent {
    /// Its path in the database directory.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Its header, or what is wrong with it; `None` if it was prepared and never begun.
    pub header: Result<Option<SegmentHeader>>,
}

impl<S: Storage> Inspector<S> {
    /// The header of segment `number`.
    ///
    /// Errors: `InvalidArgument` if there is no such segment.
    pub fn segment(&self, number: u64) -> Result<SegmentContent> {
        let file = segment_path(number);
        if !self.segments.contains(&number) {
            return Err(Error::invalid(format!("there is no segment {number}: no file {file}")));
        }
        let (bytes, block) = self.first_block(number)?;
        let is_begun = block.iter().any(|byte| *byte != 0);
        let database = match self.superblock() {
            Some(root) => root.database,
            None => claimed(&block).map_or(DatabaseId([0; 16]), |header| header.database),
        };
        let header = match SegmentHeader::load(&block, &database, number) {
            Ok(header) => Ok(Some(header)),
            // A recycled segment keeps the header of its former life until it is begun.
            Err(Defect::Position { .. }) => Ok(None),
            Err(_) if !is_begun => Ok(None),
            Err(defect) => Err(Structure::segment_header(number).defect(defect)),
        };
        Ok(SegmentContent { file, bytes, header })
    }
}
