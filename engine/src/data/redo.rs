//! Computing again, when the log is replayed, what a patch led to.

use uarr_layout::frame::Frame;
use uarr_layout::uarr::{UArrBuf, apply};
use uarr_uring::DataMap;

use crate::data::applier::Target;
use crate::data::store::misnamed;
use crate::error::Error;

/// Why a patch cannot be computed again.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// The record that it builds upon is damaged.
    Damaged(Error),
    /// What it says contradicts the state that the log has led to, or what it led to before.
    Contradiction(String),
}

/// The value that the patch in `frame` led to when it was written, computed again. `target` is the
/// state that all frames in front of it lead to: it names the version that the patch builds upon.
//= WAL-13
pub(crate) fn redo<M: DataMap>(
    frame: &Frame<'_>,
    target: &Target<'_, M>,
) -> Result<UArrBuf, Unfit> {
    let (header, patch) = frame.patch().expect("the caller has a patch");
    let lsn = header.base.get();
    let not_there = |found: &str| {
        Err(Unfit::Contradiction(format!("a patch of version {lsn} of its key, which {found}")))
    };
    let newest = target.tables.newest(frame.key, target.reader);
    let Some(base) = newest.filter(|newest| !newest.is_tombstone()) else {
        return not_there("has none");
    };
    let view = target.reader.record_verified(base).map_err(Unfit::Damaged)?;
    if view.key() != frame.key {
        return Err(Unfit::Damaged(misnamed(base)));
    }
    if view.header.lsn.get() != lsn {
        return not_there(&format!("has version {}", view.header.lsn));
    }
    match apply(view.value(), patch) {
        Ok(result) if header.is_result(frame.key, &result) => Ok(result),
        Ok(_) => {
            let what = format!("the patch of version {lsn} led to another value before");
            Err(Unfit::Contradiction(what))
        }
        Err(error) => {
            let what = format!("the patch does not fit version {lsn} of its key: {error}");
            Err(Unfit::Contradiction(what))
        }
    }
}
