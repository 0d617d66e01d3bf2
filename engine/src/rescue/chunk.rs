//! A chunk of the data file of a database that is not open.

use uarr_layout::DatabaseId;
use uarr_layout::chunk::ChunkState;
use uarr_layout::geometry::{CHUNK_HEADER_BYTES, record_bytes};
use uarr_layout::limits::{ADDRESS_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};
use uarr_layout::record::ChunkHeader;
use uarr_uring::{Storage, StorageFile};

use crate::data::scan::{DataReader, Found, KnownChunks, Spot, Window};
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
    /// Its address, by which index and log name what is in it: as its header says, or the log's and
    /// the image's records of it; `None` if none of them says it.
    pub address: Option<u64>,
    /// Its length.
    pub bytes: u64,
    /// Its header, or what is wrong with it; `None` if it was never used, or holds more of a record
    /// that begins in another.
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

/// The record that runs on into the place at `offset`: where it begins, and its end in the file.
fn long_record<F: StorageFile>(
    reader: &mut DataReader<'_, F>,
    chunk_bytes: u64,
    offset: u64,
) -> Result<Option<(Spot, u64)>> {
    // No record reaches further.
    let reach = (record_bytes(KEY_BYTES_MAX, VALUE_BYTES_MAX) as u64).next_multiple_of(chunk_bytes);
    let mut place = offset;
    while place > offset.saturating_sub(reach) {
        place -= chunk_bytes;
        if let Some(address) = reader.chunk_header(place)? {
            let spot = Spot { offset: place, address }.behind(CHUNK_HEADER_BYTES);
            let header = reader.header(spot)?;
            let end = header.map(|header| spot.offset + header.record_bytes() as u64);
            return Ok(end.filter(|end| *end > offset).map(|end| (spot, end)));
        }
    }
    Ok(None)
}

/// The header at `offset`; `None` if the place was never used, or a long record is there.
fn chunk_header<F: StorageFile>(
    reader: &mut DataReader<'_, F>,
    database: &DatabaseId,
    offset: u64,
    is_taken: bool,
) -> Result<Result<Option<ChunkHeader>>> {
    let bytes = reader.bytes(offset, CHUNK_HEADER_BYTES as usize)?.unwrap_or_default();
    if is_taken || bytes.iter().all(|byte| *byte == 0) {
        return Ok(Ok(None));
    }
    let loaded = ChunkHeader::load_any(bytes, database).map(Some);
    Ok(loaded.map_err(|defect| Structure::chunk_header().at(offset).defect(defect)))
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
        // It looks back from chunk to chunk.
        let mut looker = DataReader::new(Window::here_and_there(&file)?, root.database);
        let before = long_record(&mut looker, chunk_bytes, offset)?;
        let header = chunk_header(&mut reader, &root.database, offset, before.is_some())?;
        let end = (offset + chunk_bytes).min(reader.file_bytes());
        let known = self.known_chunks(chunk_bytes)?;
        let said = match (&header, before) {
            (Ok(Some(header)), _) => Some(header.address.get()),
            (_, Some((spot, _))) => Some(spot.address + (offset - spot.offset)),
            _ => known.get(&offset).copied(),
        };
        let mut chunk = Chunk {
            offset,
            address: said,
            bytes: end - offset,
            header,
            continues: before.map(|(spot, _)| spot.address),
            record_count: 0,
            tombstone_count: 0,
            record_bytes: 0,
            damages: Vec::new(),
        };
        let start = Spot { offset, address: said.unwrap_or(offset) };
        let skipped = before.map_or(CHUNK_HEADER_BYTES, |(_, end)| end - offset);
        reader.scan(start.behind(skipped), end, &known, |found| {
            chunk.note(&found);
            Ok(())
        })?;
        Ok(chunk)
    }

    /// What the images say of chunks: the newest one that says something of a place counts.
    pub(crate) fn known_chunks(&self, chunk_bytes: u64) -> Result<KnownChunks> {
        let next_chunk = ADDRESS_MAX / chunk_bytes;
        let mut known = KnownChunks::new();
        for (number, expected) in self.named_images()? {
            for chunk in self.read_image(number, expected)?.chunks {
                let is_first = matches!(chunk.state(), ChunkState::Open | ChunkState::Full);
                if is_first && chunk.check(chunk_bytes, next_chunk, number).is_ok() {
                    let offset = u64::from(chunk.place.get()) * chunk_bytes;
                    known.entry(offset).or_insert(chunk.number.get() * chunk_bytes);
                }
            }
        }
        Ok(known)
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
        let known = inspector.known_chunks(CHUNK).unwrap();
        assert_eq!(known.into_iter().collect::<Vec<_>>(), [(0, 0)], "of the older one");
    }
}
