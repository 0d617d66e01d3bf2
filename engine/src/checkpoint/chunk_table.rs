//! The chunk table of an image, as it is written and as it is believed.

use std::collections::{BTreeSet, VecDeque};

use uarr_layout::Defect;
use uarr_layout::chunk::{ChunkEntry, ChunkState};
use uarr_layout::record::Locator;
use uarr_layout::superblock::Checkpoint;
use uarr_uring::CHUNK_SPAN;

/// What the entries of an image name in one chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct NamedLines {
    lines: u64,
    /// How many entries of the index lead there, those of deleted keys included.
    count: u64,
    /// The highest offset of a record.
    offset_max: u64,
}

/// Number of the chunk that `address` lies in, and the offset there. Images have many entries: no
/// division.
fn split(address: u64, chunk_shift: u32) -> (u64, u64) {
    (address >> chunk_shift, address & ((1 << chunk_shift) - 1))
}

/// What the entries of an image name, by chunk.
#[derive(Debug)]
pub(crate) struct NamedChunks {
    chunk_shift: u32,
    /// Number of the first chunk.
    first: u64,
    /// Those from the first on: keys may ascend where numbers descend.
    chunks: VecDeque<NamedLines>,
}

impl NamedChunks {
    pub fn new(chunk_bytes: u64) -> Self {
        assert!(chunk_bytes.is_power_of_two());
        let chunk_shift = chunk_bytes.trailing_zeros();
        Self { chunk_shift, first: 0, chunks: VecDeque::new() }
    }

    /// Notes an entry that names a record of a chunk within [`CHUNK_SPAN`] of the others.
    pub fn note(&mut self, locator: Locator) {
        let offset = split(locator.address(), self.chunk_shift).1;
        let named = self.slot(locator);
        named.count += 1;
        named.lines += locator.line_count();
        named.offset_max = named.offset_max.max(offset);
    }

    /// Notes an entry that the image leaves out, because it names a deletion.
    pub fn note_deleted(&mut self, locator: Locator) {
        self.slot(locator).count += 1;
    }

    fn slot(&mut self, locator: Locator) -> &mut NamedLines {
        let number = split(locator.address(), self.chunk_shift).0;
        if self.chunks.is_empty() {
            self.first = number;
        }
        while number < self.first {
            self.chunks.push_front(NamedLines::default());
            self.first -= 1;
        }
        let index = (number - self.first) as usize;
        if index >= self.chunks.len() {
            self.chunks.resize(index + 1, NamedLines::default());
        }
        &mut self.chunks[index]
    }

    fn of(&self, number: u64) -> NamedLines {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| self.chunks.get(index)).copied().unwrap_or_default()
    }

    /// Writes into `table` how much of each chunk is named. In quarantined ones nothing is: this
    /// proves, by a walk through all of the index, what was counted before.
    //= IMG-5
    pub fn note_live(&self, table: &mut [ChunkEntry]) {
        let mut left: u64 = self.chunks.iter().map(|named| named.lines).sum();
        for entry in table {
            let named = self.of(entry.number.get());
            let is_durable = named.offset_max < u64::from(entry.durable_bytes.get()).max(1);
            assert!(is_durable, "what an image names was there when the page was sealed");
            let is_evacuated = entry.state() == ChunkState::Quarantined;
            assert!(!is_evacuated || named.count == 0, "the index names nothing in quarantine");
            entry.live_lines = u32::try_from(named.lines).expect("chunks are small").into();
            left -= named.lines;
        }
        assert_eq!(left, 0, "what an image names lies in chunks of its table");
    }
}

/// Checks the chunk table of `checkpoint` in itself.
//= IMG-7
pub(crate) fn check_table(
    table: &[ChunkEntry],
    checkpoint: &Checkpoint,
    chunk_bytes: u64,
) -> Result<(), Defect> {
    let next_chunk = checkpoint.next_chunk.get();
    let mut before: Option<&ChunkEntry> = None;
    let mut places = BTreeSet::new();
    let mut open_count = 0;
    for entry in table {
        entry.check(chunk_bytes, next_chunk, checkpoint.number.get())?;
        let (number, place) = (entry.number.get(), entry.place.get());
        let ascends = before.is_none_or(|before| before.number.get() < number);
        open_count += u32::from(entry.state() == ChunkState::Open);
        if !ascends || !places.insert(place) || open_count > 1 {
            return Err(Defect::Field("chunk table"));
        }
        let goes_on = before.is_some_and(|before| {
            before.number.get() + 1 == number
                && before.place.get() + 1 == place
                && u64::from(before.durable_bytes.get()) == chunk_bytes
                && before.state() != ChunkState::Open
        });
        if entry.state() == ChunkState::Continued && !goes_on {
            return Err(Defect::Field("chunk table"));
        }
        before = Some(entry);
    }
    let first = table.first().map_or(next_chunk, |first| first.number.get());
    if next_chunk - first >= CHUNK_SPAN {
        return Err(Defect::Field("chunk table"));
    }
    Ok(())
}

/// Checks that every one of `locators`, those of all entries, names a record among the durable
/// bytes of a chunk of `table`, which is checked, and that the table says how much they name.
//= IMG-5
pub(crate) fn check_entries(
    mut locators: impl Iterator<Item = u64>,
    table: &[ChunkEntry],
    chunk_bytes: u64,
) -> Result<(), Defect> {
    let first = table.first().map_or(0, |first| first.number.get());
    let span = table.last().map_or(0, |last| last.number.get() + 1 - first) as usize;
    let mut index_of: Vec<u32> = vec![u32::MAX; span];
    for (index, entry) in table.iter().enumerate() {
        index_of[(entry.number.get() - first) as usize] = index as u32;
    }
    let mut lines = vec![0u64; table.len()];
    let chunk_shift = chunk_bytes.trailing_zeros();
    let is_named = |bits: u64| {
        let locator = Locator::from_bits(bits).ok_or(Defect::Entry)?;
        let (number, offset) = split(locator.address(), chunk_shift);
        let index = number.checked_sub(first).and_then(|at| index_of.get(at as usize)).copied();
        let index = index.ok_or(Defect::Entry)? as usize;
        let entry = table.get(index).ok_or(Defect::Entry)?;
        if offset >= u64::from(entry.durable_bytes.get()) {
            return Err(Defect::Entry);
        }
        lines[index] += locator.line_count();
        Ok(())
    };
    locators.try_for_each(is_named)?;
    let is_live = |(entry, lines): (&ChunkEntry, &u64)| u64::from(entry.live_lines.get()) == *lines;
    match table.iter().zip(&lines).all(is_live) {
        true => Ok(()),
        false => Err(Defect::Field("live lines of a chunk")),
    }
}

#[cfg(test)]
mod tests {
    use uarr_layout::record::RecordKind;

    use super::*;

    const CHUNK: u64 = 1 << 16;

    fn entry(number: u64, place: u64, state: ChunkState, durable_bytes: u32) -> ChunkEntry {
        let mut entry = ChunkEntry::new(number, place, state);
        entry.durable_bytes = durable_bytes.into();
        entry
    }

    fn checkpoint(next_chunk: u64) -> Checkpoint {
        Checkpoint { number: 5.into(), next_chunk: next_chunk.into(), ..Checkpoint::default() }
    }

    const WHOLE: u32 = CHUNK as u32;

    //= test IMG-7
    #[test]
    fn tables_are_believed_only_if_a_data_file_can_be_so() {
        use ChunkState::{Continued, Full, Open};
        let sound = [
            entry(3, 9, Full, WHOLE),
            entry(4, 10, Continued, 4096),
            entry(7, 0, Open, 8192),
            entry(8, 1, Full, WHOLE),
            ChunkEntry::quarantined(9, 2, 5),
        ];
        let check = |table: &[ChunkEntry], next| check_table(table, &checkpoint(next), CHUNK);
        assert_eq!(check(&sound, 10), Ok(()));
        assert_eq!(check(&[], 0), Ok(()));
        for (what, table) in [
            ("numbers", &[sound[2], sound[0]][..]),
            ("the same number", &[sound[2], sound[2]]),
            ("the same place", &[sound[0], entry(5, 9, Full, 0)]),
            ("two open ones", &[sound[2], entry(8, 1, Open, 0)]),
            ("continues nothing", &[sound[1]]),
            ("continues elsewhere", &[sound[0], entry(4, 11, Continued, 0)]),
            ("continues what is not full", &[entry(3, 9, Full, 4096), sound[1]]),
            ("not given out", &[entry(9, 1, Full, 0)]),
            ("the place of one in quarantine", &[sound[2], ChunkEntry::quarantined(8, 0, 5)]),
            ("quarantined later", &[ChunkEntry::quarantined(8, 0, 6)]),
        ] {
            assert!(check(table, 9).is_err(), "{what}");
        }
        assert!(check(&sound, 3 + CHUNK_SPAN).is_err(), "too far apart");
    }

    //= test IMG-5
    #[test]
    fn entries_are_believed_only_if_they_name_what_is_durable() {
        let locator = |address: u64| Locator::new(address, 100, RecordKind::Value);
        let mut table = [entry(3, 9, ChunkState::Full, WHOLE), entry(7, 0, ChunkState::Open, 8192)];
        let mut named = NamedChunks::new(CHUNK);
        let sound = [locator(7 * CHUNK + 64), locator(3 * CHUNK + 640), locator(7 * CHUNK + 8000)];
        sound.iter().for_each(|locator| named.note(*locator));
        named.note_live(&mut table);
        assert_eq!(table.map(|entry| entry.live_lines.get()), [2, 4]);
        let check = |locators: &[Locator]| {
            check_entries(locators.iter().map(|locator| locator.bits()), &table, CHUNK)
        };
        assert_eq!(check(&sound), Ok(()));
        for address in [7 * CHUNK + 8192, 8 * CHUNK + 64, 4 * CHUNK + 64, 64] {
            let entries = [sound[0], sound[1], locator(address)];
            assert!(check(&entries).is_err(), "{address}");
        }
        assert!(check(&sound[..2]).is_err(), "the table says that more is named");
    }

    #[test]
    #[should_panic(expected = "there when the page was sealed")]
    fn an_image_names_nothing_behind_durable_bytes() {
        let mut table = [entry(0, 0, ChunkState::Open, 4096)];
        let mut named = NamedChunks::new(CHUNK);
        named.note(Locator::new(4096, 100, RecordKind::Value));
        named.note_live(&mut table);
    }

    #[test]
    #[should_panic(expected = "names nothing in quarantine")]
    fn a_chunk_to_which_a_deleted_key_leads_is_not_in_quarantine() {
        let mut table = [ChunkEntry::quarantined(0, 0, 1)];
        let mut named = NamedChunks::new(CHUNK);
        named.note_deleted(Locator::new(64, 100, RecordKind::Tombstone));
        named.note_live(&mut table);
    }
}
