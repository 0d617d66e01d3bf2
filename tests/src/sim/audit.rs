//! Whether the chunk tables of a database are those of its data file, as its files say without the
//! engine.

use std::collections::BTreeMap;

use uarr_layout::checksum::Seed;
use uarr_layout::chunk::{ChunkEntry, ChunkState};
use uarr_layout::geometry::PAGE_BYTES;
use uarr_layout::record::{ChunkHeader, Locator, RecordHeader};
use uarr_layout::superblock::Superblock;

use crate::files::{Files, files_of};
use crate::on_disk::{DATA_FILE, chunk_table, image_locators, superblocks};
use crate::violation::{Checked, violated};
use uarr_disk_sim::Memory;
use uarr_uring::Storage;

/// Both checkpoints of the slot in force must fit the data file, and each other: no place has two
/// chunks, and if it was given to another between them, the older one lists the first as not
/// needed.
pub(super) fn audit(disk: &Memory) -> Checked<()> {
    let names = disk.list("").unwrap_or_default();
    if !names.iter().any(|name| name == "superblock") {
        return Ok(());
    }
    let files = &files_of(disk);
    let in_force = superblocks(files).into_iter().flatten().max_by_key(|b| b.generation.get());
    let Some(block) = in_force else { violated!("no slot of the superblock can be read") };
    let mut newer = BTreeMap::new();
    for checkpoint in &block.checkpoints {
        let number = checkpoint.number.get();
        if number == 0 {
            continue;
        }
        let Some(table) = chunk_table(files, &block.database, number) else {
            violated!("image {number}, which a slot names, is not whole");
        };
        let mut owners = BTreeMap::new();
        for entry in &table {
            check_chunk(files, &block, entry)?;
            let (place, chunk) = (entry.place.get(), entry.number.get());
            if let Some(owner) = owners.insert(place, chunk) {
                violated!("chunks {owner} and {chunk} have place {place}");
            }
            let owner = newer.get(&place).copied().unwrap_or(chunk);
            if owner != chunk && entry.state() != ChunkState::Quarantined {
                violated!("chunk {owner} has the place of chunk {chunk}, which is still needed");
            }
        }
        newer = owners;
        let Some(locators) = image_locators(files, &block.database, number) else {
            violated!("the entries of image {number} are not whole");
        };
        check_entries(files, &block, &table, &locators)?;
    }
    Ok(())
}

/// Its durable bytes are whole pages inside of the file, and its header says its address.
fn check_chunk(files: &Files, block: &Superblock, entry: &ChunkEntry) -> Checked<()> {
    let (bytes, chunk_bytes) = (&files[DATA_FILE], block.chunk_bytes.get());
    let durable_bytes = u64::from(entry.durable_bytes.get());
    let start = u64::from(entry.place.get()) * chunk_bytes;
    let is_inside = durable_bytes <= chunk_bytes && start + durable_bytes <= bytes.len() as u64;
    if !is_inside || !durable_bytes.is_multiple_of(PAGE_BYTES) {
        violated!("a chunk cannot have so many durable bytes: {entry:?}");
    }
    if entry.state() == ChunkState::Continued || durable_bytes == 0 {
        return Ok(());
    }
    let header = ChunkHeader::load_any(&bytes[start as usize..], &block.database);
    let address = header.map(|header| header.address.get());
    if address != Ok(entry.number.get() * chunk_bytes) {
        violated!("the header of a chunk says address {address:?}: {entry:?}");
    }
    Ok(())
}

/// Each entry names a record where the table says, and the table how much they name.
fn check_entries(
    files: &Files,
    block: &Superblock,
    table: &[ChunkEntry],
    locators: &[Locator],
) -> Checked<()> {
    let (bytes, chunk_bytes) = (&files[DATA_FILE], block.chunk_bytes.get());
    let chunks: BTreeMap<u64, &ChunkEntry> =
        table.iter().map(|entry| (entry.number.get(), entry)).collect();
    let mut lines: BTreeMap<u64, u64> = chunks.keys().map(|number| (*number, 0)).collect();
    for locator in locators {
        let address = locator.address();
        let (number, offset) = (address / chunk_bytes, address % chunk_bytes);
        let durable = |entry: &&&ChunkEntry| offset < u64::from(entry.durable_bytes.get());
        let Some(entry) = chunks.get(&number).filter(durable) else {
            violated!("an entry names address {address}, which is not durable");
        };
        let at = u64::from(entry.place.get()) * chunk_bytes + offset;
        let record = &bytes[at as usize..];
        let header = RecordHeader::peek(record);
        let seed = Seed::new(&block.database);
        if header.is_none_or(|header| header.verify_header(record, seed, address).is_err()) {
            violated!("an entry names address {address}, where no record begins");
        }
        *lines.entry(number).or_default() += locator.line_count();
    }
    for (number, lines) in lines {
        let said = chunks[&number].live_lines.get();
        if u64::from(said) != lines {
            violated!("chunk {number} has {lines} live lines, but its table says {said}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::chunk_filters::{WrongTable, every_second_table_is};
    use crate::tiny;

    #[test]
    fn tables_that_are_not_those_of_the_file_are_seen() {
        let disk = Memory::new();
        let db = tiny().open_on(disk.clone()).expect("a new database");
        for key in 0u64..8 {
            db.put(key.to_be_bytes(), [7; 30_000]).expect("there is room");
        }
        db.checkpoint().expect("nothing fails");
        let files = disk.crash();
        assert!(audit(&files).is_ok());
        for (wrong, said) in
            [(WrongTable::OnePlaceTwice, "header"), (WrongTable::LacksChunk, "not durable")]
        {
            let disk = files.crash();
            disk.filter_reads(every_second_table_is(wrong));
            let seen = audit(&disk).expect_err("the table is wrong").0;
            assert!(seen.contains(said), "{wrong:?}: {seen}");
        }
    }
}
