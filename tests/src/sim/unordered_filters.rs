//! Entries of tables without order that say something else, with right checksums, for readers of a
//! disk.

use uarr_disk_sim::ReadFilter;
use uarr_layout::image::PieceKind;
use uarr_layout::record::Locator;

use super::piece_filter::pieces_are;
use crate::on_disk::byte_entries;

/// In pieces of images with odd numbers the last entry has the key of the first one: its own is
/// lost, and counts and totals are right.
pub(super) fn a_key_is_there_twice() -> ReadFilter {
    entries_are(|image, entries| {
        if let ([first, .., last], 1) = (&mut entries[..], image % 2) {
            last.0.clone_from(&first.0);
        }
    })
}

/// The last entry of each piece is that of another key.
pub(super) fn a_key_is_another() -> ReadFilter {
    entries_are(|_, entries| {
        if let Some(last) = entries.last_mut().and_then(|(key, _)| key.last_mut()) {
            *last ^= 0x55;
        }
    })
}

/// A stored key and a locator.
type Entry = (Vec<u8>, Locator);

/// `edit` changes the entries of each piece, whose image it gets too.
fn entries_are(edit: impl Fn(u64, &mut Vec<Entry>) + Send + Sync + 'static) -> ReadFilter {
    pieces_are(PieceKind::UnorderedEntries, move |image, used| {
        let mut entries = byte_entries(used)?;
        edit(image, &mut entries);
        Some((encoded(&entries), entries.len()))
    })
}

/// As an image has them: what an entry shares with the one before is left out.
fn encoded(entries: &[Entry]) -> Vec<u8> {
    let (mut bytes, mut before): (Vec<u8>, &[u8]) = (Vec::new(), &[]);
    for (key, locator) in entries {
        let shared = before.iter().zip(key).take_while(|(a, b)| a == b).count();
        let suffix = &key[shared..];
        bytes.extend(locator.bits().to_le_bytes());
        bytes.extend((shared as u16).to_le_bytes());
        bytes.extend((suffix.len() as u16).to_le_bytes());
        bytes.extend(suffix);
        before = key;
    }
    bytes
}
