//! Computing again, when the log is replayed, what a patch led to.

use uarr_layout::frame::Frame;
use uarr_layout::geometry::RECORD_ALIGN_BYTES;
use uarr_layout::uarr::{UArrBuf, apply};
use uarr_uring::DataMap;

use crate::data::store::RecordStore;
use crate::error::Result;

/// The value that the patch in `frame` led to when it was written, computed again. The record it
/// builds upon is in the data file: in front of the checkpoint's data tail, or put there by replay.
///
/// Errors: damage of that record; inside, what contradicts what in the frame.
//= WAL-13
pub(crate) fn redo<M: DataMap>(
    frame: &Frame<'_>,
    store: &RecordStore<M>,
) -> Result<std::result::Result<UArrBuf, String>> {
    let (header, patch) = frame.patch().expect("the caller has a patch");
    let address = header.base.get();
    let is_possible = address > 0
        && address.is_multiple_of(RECORD_ALIGN_BYTES)
        && address < frame.header.address.get();
    if !is_possible {
        return Ok(Err(format!("a patch of the record at {address}, where none can be")));
    }
    let base = store.record_at(address)?;
    if base.key() != frame.key || base.header.is_tombstone() || base.header.lsn >= frame.header.lsn
    {
        return Ok(Err(format!(
            "the record at {address} is no earlier version of the patched key"
        )));
    }
    Ok(match apply(base.value(), patch) {
        Ok(result) if header.is_result(frame.key, &result) => Ok(result),
        Ok(_) => Err(format!("the patch of the record at {address} led to another value before")),
        Err(error) => Err(format!("the patch does not fit the record at {address}: {error}")),
    })
}
