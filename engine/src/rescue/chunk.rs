//! A chunk of the data file of a database that is not open.

use uarr_layout::DatabaseId;
use uarr_layout::geometry::{CHUNK_HEADER_BYTES, record_bytes};
use uarr_layout::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use uarr_layout::record::ChunkHeader;
use uarr_uring::{Storage, StorageFile};

use crate::data::scan::{ChunkStart, DataReader, Found, KnownChunks, Spot, Window};
use crate::error::{Error, Result};
use crate::files::DATA_FILE;
use crate::limits::DAMAGE_COUNT_MAX;
use crate::rescue::inspector::Inspector;
use crate::structure::{MISSING, Structure};

/// A chunk of the data file.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Where in the data file it starts.
    pub offset: u64,
    /// Its address, by which index and log name what is in it: as the newest whole image, the log
    /// behind it, or its header says; `None` if none of them does.
    pub address: Option<u64>,
    /// Its length.
    pub bytes: u64,
    /// Its header, or what is wrong with it; `None` if it was never used, holds more of a record
    /// that begins in another, or what is left of an earlier chunk.
    pub header: Result<Option<ChunkHeader>>,
    /// Address of the record that runs on into this chunk from an earlier one.
    pub continues: Option<u64>,
    /// Records that begin in it, header and payload as written; replaced ones too.
    pub record_count: u64,
    /// How many of them are deletions.
    pub tombstone_count: u64,
    /// How many of them expire, replaced ones too.
    pub expiring_count: u64,
    /// When the first of these expires, in ms since 1970; 0: none does.
    pub first_expires_ms: u64,
    /// When the last of them does.
    pub last_expires_ms: u64,
    /// Bytes of their keys and values.
    pub record_bytes: u64,
    /// Places where the bytes are no record and no zeros; the first 1000. Only among what a
    /// checkpoint calls durable, if one can be read: behind it may stand what is left of an earlier
    /// chunk, and the log has what counts.
    pub damages: Vec<Error>,
}

impl Chunk {
    fn note(&mut self, found: &Found<'_>, is_durable: bool) {
        if let Found::Whole { header, expires_ms, key, value, .. } = found {
            if *expires_ms != 0 {
                let is_first = self.expiring_count == 0 || *expires_ms < self.first_expires_ms;
                self.first_expires_ms = if is_first { *expires_ms } else { self.first_expires_ms };
                self.last_expires_ms = self.last_expires_ms.max(*expires_ms);
                self.expiring_count += 1;
            }
            self.record_count += 1;
            self.tombstone_count += u64::from(header.is_tombstone());
            self.record_bytes += (key.len() + value.len()) as u64;
        }
        if is_durable && self.damages.len() < DAMAGE_COUNT_MAX {
            self.damages.extend(found.damage());
        }
    }
}

/// The record that runs on into the place at `offset`: where it begins, and its end in the file.
fn long_record<F: StorageFile>(
    reader: &mut DataReader<'_, F>,
    chunk_bytes: u64,
    offset: u64,
    known: &KnownChunks,
) -> Result<Option<(Spot, u64)>> {
    // No record reaches further.
    let reach = (record_bytes(KEY_BYTES_MAX, VALUE_BYTES_MAX) as u64).next_multiple_of(chunk_bytes);
    let here = reader.chunk_at(offset, known)?;
    let mut place = offset;
    while place > offset.saturating_sub(reach) {
        place -= chunk_bytes;
        let Some(chunk) = reader.chunk_at(place, known)? else { continue };
        let record = chunk.spot.behind(CHUNK_HEADER_BYTES);
        let header = reader.header(record)?;
        let end = header.map(|header| record.offset + header.record_bytes() as u64);
        let reaches = end.is_some_and(|end| end > offset);
        // A long record that is not needed any more may have left its places to others.
        if reaches && here.is_none_or(|here| here.spot == chunk.spot.behind(offset - place)) {
            return Ok(end.map(|end| (record, end)));
        }
        if reaches || chunk.has_header {
            return Ok(None);
        }
    }
    Ok(None)
}

/// The header of the chunk at `offset`, where `expected` begins; `None` if the place was never
/// used, or holds more of a record, or what is left of an earlier chunk.
fn chunk_header<F: StorageFile>(
    reader: &mut DataReader<'_, F>,
    database: &DatabaseId,
    offset: u64,
    expected: Option<ChunkStart>,
    is_durable: bool,
) -> Result<Result<Option<ChunkHeader>>> {
    let bytes = reader.bytes(offset, CHUNK_HEADER_BYTES as usize)?.unwrap_or_default();
    let has_header = expected.is_some_and(|chunk| chunk.has_header);
    if !has_header && (!is_durable || bytes.iter().all(|byte| *byte == 0)) {
        return Ok(Ok(None));
    }
    let loaded = match expected {
        Some(chunk) => ChunkHeader::load(bytes, database, chunk.spot.address),
        None => ChunkHeader::load_any(bytes, database),
    };
    Ok(loaded.map(Some).map_err(|defect| Structure::chunk_header().at(offset).defect(defect)))
}

impl<S: Storage> Inspector<S> {
    /// The chunk in place `index` of the data file, counted from 0: its header, and every record in
    /// it. Reads the whole chunk.
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
        let offset = index.checked_mul(chunk_bytes).filter(|start| *start < reader.file_bytes());
        let Some(offset) = offset else {
            let count = reader.file_bytes().div_ceil(chunk_bytes);
            let message =
                format!("there is no chunk {index}: the data file has {count}, from 0 on");
            return Err(Error::invalid(message));
        };
        let owners = self.owners(chunk_bytes)?;
        let known = owners.known();
        // It looks back from chunk to chunk.
        let mut looker = DataReader::new(Window::here_and_there(&file)?, root.database);
        let before = long_record(&mut looker, chunk_bytes, offset, known)?;
        let here = looker.chunk_at(offset, known)?;
        let said = match (before, here) {
            (Some((record, _)), _) => Some(record.address + (offset - record.offset)),
            (None, here) => here.map(|here| here.spot.address),
        };
        let start = Spot { offset, address: said.unwrap_or(offset) };
        let is_durable = owners.is_durable(start);
        let header = match before {
            Some(_) => Ok(None),
            None => chunk_header(&mut reader, &root.database, offset, here, is_durable)?,
        };
        let end = (offset + chunk_bytes).min(reader.file_bytes());
        let mut chunk = Chunk {
            offset,
            address: said,
            bytes: end - offset,
            header,
            continues: before.map(|(spot, _)| spot.address),
            record_count: 0,
            tombstone_count: 0,
            expiring_count: 0,
            first_expires_ms: 0,
            last_expires_ms: 0,
            record_bytes: 0,
            damages: Vec::new(),
        };
        let skipped = before.map_or(CHUNK_HEADER_BYTES, |(_, end)| end - offset);
        reader.scan(start.behind(skipped), end, known, |found| {
            chunk.note(&found, owners.is_durable(found.spot()));
            Ok(())
        })?;
        Ok(chunk)
    }
}

#[cfg(test)]
mod tests {
    use uarr_disk_sim::Memory;
    use uarr_uring::{OpenMode, Storage, StorageFile};

    use crate::Db;
    use crate::inspect::Inspector;

    /// Where the newest image was damaged, repair did not know which addresses lie where, although
    /// opening finds it in the older one.
    #[test]
    fn the_older_image_says_where_chunks_lie_if_the_newest_cannot() {
        const CHUNK: u64 = 1 << 16;
        let disk = Memory::new();
        let sizes = Db::builder("memory").segment_bytes(1 << 18).chunk_bytes(CHUNK);
        let db = sizes.address_space_bytes(1 << 26).open_on(disk.clone()).unwrap();
        for round in 0..2u64 {
            db.put(round.to_be_bytes(), [7; 50_000]).unwrap();
            db.checkpoint().unwrap();
        }
        let disk = disk.crash();
        drop(db);
        let images = disk.list("index").unwrap();
        let newest = images.iter().max().unwrap();
        let file = disk.open(&format!("index/{newest}"), OpenMode::Mapped).unwrap();
        file.write_at(&[1; 100], 0).unwrap();
        let inspector = Inspector::open_on(disk, "memory").unwrap();
        assert!(inspector.image().unwrap().unwrap().damage.is_some());
        let owners = inspector.owners(CHUNK).unwrap();
        let known: Vec<_> = owners.known().iter().map(|(at, known)| (*at, known.address)).collect();
        assert_eq!(known, [(0, 0), (CHUNK, CHUNK)], "of the older one, and of the log behind it");
    }
}
