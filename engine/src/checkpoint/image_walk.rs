//! Entries of tables without order in an index image: they are looked for by going through all of a
//! table.

use uarr_layout::record::Locator;
use uarr_uring::StorageFile;

use crate::checkpoint::image_search::{ImagePart, ImageSearch, InImage};
use crate::error::Result;
use crate::table_prefix::TablePrefix;

/// A place among the entries of tables without order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryPlace {
    /// Offset of the piece.
    offset: u64,
    /// How many of its entries come before.
    count: usize,
}

/// An entry, and the place behind it.
pub(crate) struct PlacedEntry {
    pub key: Vec<u8>,
    pub locator: Locator,
    pub behind: EntryPlace,
}

impl<F: StorageFile> ImageSearch<F> {
    /// Where the entries of `table` begin, or those of all tables without order.
    pub fn first_unordered(&self, table: Option<TablePrefix>) -> Result<EntryPlace> {
        let key = table.map_or(Vec::new(), |table| table.as_bytes().to_vec());
        let place = InImage { part: ImagePart::Unordered, key };
        let offset = match self.last_piece(|head| *head < place)? {
            Some(before) => self.chained(before)?.next,
            None => 0,
        };
        Ok(EntryPlace { offset, count: 0 })
    }

    /// Up to `count_max` entries from `from` on, of `table`, or of all tables without order; fewer
    /// only at the end.
    pub fn unordered_entries(
        &self,
        table: Option<TablePrefix>,
        from: EntryPlace,
        count_max: usize,
    ) -> Result<Vec<PlacedEntry>> {
        let mut found = Vec::new();
        let mut place = from;
        loop {
            let piece = self.piece(place.offset)?;
            let InImage { part, key } = &piece.head.place;
            let is_other = table.is_some_and(|table| table.as_bytes() != key.as_slice());
            if *part != ImagePart::Unordered || is_other {
                return Ok(found);
            }
            let mut cursor = piece.content.unordered.cursor();
            let mut count = 0;
            while let Some(bits) = cursor.advance() {
                count += 1;
                if count <= place.count {
                    continue;
                }
                let locator = Locator::from_bits(bits).expect("entries were checked");
                let behind = EntryPlace { count, ..place };
                found.push(PlacedEntry { key: cursor.key().to_vec(), locator, behind });
                if found.len() == count_max {
                    return Ok(found);
                }
            }
            place = EntryPlace { offset: piece.head.next, count: 0 };
        }
    }

    /// The locator of `key`, of a table without order.
    pub(in crate::checkpoint) fn find_unordered(&self, key: &[u8]) -> Result<Option<Locator>> {
        let table = TablePrefix::of(key).expect("it is of a table without order");
        let mut offset = self.first_unordered(Some(table))?.offset;
        loop {
            let piece = self.piece(offset)?;
            let InImage { part, key: prefix } = &piece.head.place;
            if *part != ImagePart::Unordered || prefix != table.as_bytes() {
                return Ok(None);
            }
            let mut cursor = piece.content.unordered.cursor();
            while let Some(bits) = cursor.advance() {
                if cursor.key() == key {
                    return Ok(Locator::from_bits(bits));
                }
            }
            offset = piece.head.next;
        }
    }
}
