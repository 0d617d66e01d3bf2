//! The data file as recovery finds it.

use std::io;
use std::ops::Range;

use uarr_layout::chunk::{ChunkEntry, ChunkState};
use uarr_uring::{OpenMode, Storage, StorageFile};

use crate::error::{Error, Result};
use crate::files::DATA_FILE;
use crate::structure::{MISSING, Structure};

/// Opens the data file in `mode`, which holds what is durable of `chunks`.
//= DAT-7
pub(crate) fn open_data_file<S: Storage>(
    storage: &S,
    mode: OpenMode,
    chunks: &[ChunkEntry],
    chunk_bytes: u64,
) -> Result<S::File> {
    let failed = |error| Error::io("cannot open the data file", error);
    let data_file = storage.open(DATA_FILE, mode).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Structure::data_file().damage(MISSING),
        _ => failed(error),
    })?;
    let durable_end = |chunk: &ChunkEntry| match chunk.durable_bytes.get() {
        0 => 0,
        bytes => u64::from(chunk.place.get()) * chunk_bytes + u64::from(bytes),
    };
    let needed = chunks.iter().map(durable_end).max().unwrap_or(0);
    let bytes = data_file.len().map_err(failed)?;
    if bytes < needed {
        let detail = format!("expected at least {needed} bytes, the file has {bytes}");
        return Err(Structure::data_file().at(bytes).damage(detail));
    }
    Ok(data_file)
}

/// Discards what is in no chunk of `chunks`, what stands behind the durable bytes of the others,
/// and what is in quarantine since checkpoint `older` or before: the log, which recovery has read
/// to its end, has all of it that counts. Otherwise a page whose write-back failed would pass for
/// written, and stay so under the next chunk that gets the place; and a record that recovery has
/// cut off would stay readable.
///
/// The lives since the checkpoint may have given the places of those chunks in quarantine to
/// others, and no kept checkpoint needs them. The older one may need what is there since.
//= DAT-6
pub(crate) fn renew_places<F: StorageFile>(
    data_file: &F,
    chunks: &[ChunkEntry],
    chunk_bytes: u64,
    older: u64,
) -> Result<()> {
    let failed = |error| Error::io("cannot renew a part of the data file", error);
    let file_end = data_file.len().map_err(failed)?;
    let mut kept: Vec<_> = chunks
        .iter()
        .map(|chunk| {
            let start = u64::from(chunk.place.get()) * chunk_bytes;
            let len = match chunk.state() {
                ChunkState::Quarantined if chunk.quarantined_since() <= older => 0,
                ChunkState::Quarantined => chunk_bytes,
                _ => chunk.durable_bytes.get().into(),
            };
            start..start + len
        })
        .collect();
    kept.sort_unstable_by_key(|kept| kept.start);
    kept.push(file_end..file_end);
    let mut cursor = 0;
    for Range { start, end } in kept {
        let start = start.min(file_end);
        // Each place by itself: those that are holes stay so, and the others keep their space.
        while cursor < start {
            let place_end = (cursor / chunk_bytes + 1) * chunk_bytes;
            let end = place_end.min(start);
            data_file.renew(cursor, end - cursor).map_err(failed)?;
            cursor = end;
        }
        cursor = cursor.max(end);
    }
    Ok(())
}
