//! A chunk of the data file of a database that is not open.

use uarr_layout::DatabaseId;
use uarr_layout::geometry::{CHUNK_HEADER_BYTES, record_bytes};
use uarr_layout::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use uarr_layout::record::ChunkHeader;
use uarr_uring::{Storage, StorageFile};

use crate::data::scan::{DataReader, Found, Window};
use crate::error::{Error, Result};
use crate::files::DATA_FILE;
use crate::limits::DAMAGE_COUNT_MAX;
use crate::rescue::inspector::Inspector;
use crate::structure::{MISSING, Structure};

/// A chunk of the data file.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Where in the data file it starts.
    pub address: u64,
    /// Its length.
    pub bytes: u64,
    /// Its header, or what is wrong with it; `None` if no record begins right behind it, as in a
    /// chunk that was never used.
    pub header: Result<Option<ChunkHeader>>,
    /// Address of the record that runs on into this chunk from an earlier one.
    pub continues: Option<u64>,
    /// Records that begin in it, header and payload as written; replaced ones too.
    pub record_count: u64,
    /// How many of them are deletions.
    pub tombstone_count: u64,
    /// Bytes of their keys and values.
    pub record_bytes: u64,
    /// Places where the bytes are no record and no zeros; the first 1000.
    pub damages: Vec<Error>,
}

impl Chunk {
    fn note(&mut self, found: &Found<'_>) {
        if let Found::Whole { header, key, value, .. } = found {
            self.record_count += 1;
            self.tombstone_count += u64::from(header.is_tombstone());
            self.record_bytes += (key.len() + value.len()) as u64;
        }
        if self.damages.len() < DAMAGE_COUNT_MAX {
            self.damages.extend(found.damage());
        }
    }
}

/// Address and end of a record that starts in a chunk before `address` and runs on beyond it.
fn long_record<F: StorageFile>(
    reader: &mut DataReader<'_, F>,
    database: &DatabaseId,
    chunk_bytes: u64,
    address: u64,
) -> Result<Option<(u64, u64)>> {
    // No record reaches further.
    let reach = (record_bytes(KEY_BYTES_MAX, VALUE_BYTES_MAX) as u64).next_multiple_of(chunk_bytes);
    let mut chunk = address;
    while chunk > address.saturating_sub(reach) {
        chunk -= chunk_bytes;
        let bytes = reader.bytes(chunk, CHUNK_HEADER_BYTES as usize)?;
        if bytes.is_some_and(|bytes| ChunkHeader::load(bytes, database, chunk).is_ok()) {
            let start = chunk + CHUNK_HEADER_BYTES;
            let header = reader.header(start)?;
            let end = header.map(|header| start + header.record_bytes() as u64);
            return Ok(end.filter(|end| *end > address).map(|end| (start, end)));
        }
    }
    Ok(None)
}

/// The header of the chunk at `address`, whose place a long record may have taken.
fn chunk_header<F: StorageFile>(
    reader: &mut DataReader<'_, F>,
    database: &DatabaseId,
    address: u64,
    is_taken: bool,
) -> Result<Result<Option<ChunkHeader>>> {
    let bytes = reader.bytes(address, CHUNK_HEADER_BYTES as usize)?.unwrap_or_default();
    if is_taken || bytes.iter().all(|byte| *byte == 0) {
        return Ok(Ok(None));
    }
    let loaded = ChunkHeader::load(bytes, database, address).map(Some);
    Ok(loaded.map_err(|defect| Structure::chunk_header(address).defect(defect)))
}

impl<S: Storage> Inspector<S> {
    /// Chunk `index` of the data file, counted from 0: its header, and every record in it. Reads
    /// the whole chunk.
    ///
    /// Errors: `InvalidArgument` if the data file ends before it; damage, if the superblock is
    /// lost, which says how large chunks are.
    pub fn chunk(&self, index: u64) -> Result<Chunk> {
        let root = self.superblock().ok_or_else(|| self.lost_superblock())?;
        let chunk_bytes = root.chunk_bytes.get();
        let Some(file) = self.open_file(DATA_FILE)? else {
            return Err(Structure::data_file().damage(MISSING));
        };
        let mut reader = DataReader::new(Window::new(&file)?, root.database);
        let address = index.checked_mul(chunk_bytes).filter(|start| *start < reader.file_bytes());
        let Some(address) = address else {
            let count = reader.file_bytes().div_ceil(chunk_bytes);
            let message =
                format!("there is no chunk {index}: the data file has {count}, from 0 on");
            return Err(Error::invalid(message));
        };
        // It looks back from chunk to chunk.
        let mut looker = DataReader::new(Window::here_and_there(&file)?, root.database);
        let before = long_record(&mut looker, &root.database, chunk_bytes, address)?;
        let header = chunk_header(&mut reader, &root.database, address, before.is_some())?;
        let end = (address + chunk_bytes).min(reader.file_bytes());
        let mut chunk = Chunk {
            address,
            bytes: end - address,
            header,
            continues: before.map(|(address, _)| address),
            record_count: 0,
            tombstone_count: 0,
            record_bytes: 0,
            damages: Vec::new(),
        };
        let start = before.map_or(address + CHUNK_HEADER_BYTES, |(_, end)| end);
        reader.scan(start..end, |found| {
            chunk.note(&found);
            Ok(())
        })?;
        Ok(chunk)
    }
}
