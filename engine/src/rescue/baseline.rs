//! [`Baseline`]: the newest checkpoint whose image is whole. It says which keys there were.
//!
//! Deletions are forgotten: when no reader needs a deleted key's tombstone any more, the index lets
//! go of it, and its chunk may be given back while an older value of the key stands in one that
//! stays. So the highest LSN in the files is not always the newest version. But an image has, for
//! each key, the newest version at or below its checkpoint's LSN, or a later one (IMG-3), and no
//! deleted key (IMG-4); and all of the log behind that LSN is there. So of what is at or below it,
//! the image says what counts; of what is behind, the highest LSN does. The image may lack a key
//! because of a deletion behind its LSN: that one was durable before a superblock named the image.

use std::collections::BTreeMap;

use uarr_layout::chunk::ChunkEntry;
use uarr_layout::limits::BLOCK_BYTES;
use uarr_layout::superblock::Checkpoint;
use uarr_uring::Storage;

use crate::checkpoint::image::{LoadedImage, read_opened_image};
use crate::data::entries::{ByteEntries, Entries};
use crate::error::{Error, ErrorKind, Result};
use crate::files::image_path;
use crate::key::KeyKind;
use crate::rescue::inspector::Inspector;
use crate::structure::{MISSING, Structure};

/// The newest checkpoint whose image is whole.
pub(crate) struct Baseline {
    /// What is at or below it is *early*, the rest *late*.
    pub lsn: u64,
    pub entries: Entries,
    pub others: ByteEntries,
    /// Those of tables without order, by stored key.
    pub unordered: BTreeMap<Vec<u8>, u64>,
    pub chunks: Vec<ChunkEntry>,
}

impl Baseline {
    /// Stored keys of all tables, and bits of locators, in order: keys of other tables lie between
    /// those of the default one.
    pub fn entries(&self) -> impl Iterator<Item = (Vec<u8>, u64)> {
        let unordered = self.unordered.iter().map(|(key, bits)| (key.clone(), *bits));
        merged(merged(self.entries.iter(), self.others.iter()), unordered)
    }
}

/// Both, each in order, in order.
fn merged(
    first: impl Iterator<Item = (Vec<u8>, u64)>,
    second: impl Iterator<Item = (Vec<u8>, u64)>,
) -> impl Iterator<Item = (Vec<u8>, u64)> {
    let (mut first, mut second) = (first.peekable(), second.peekable());
    std::iter::from_fn(move || match (first.peek(), second.peek()) {
        (Some((key, _)), Some((other, _))) if other < key => second.next(),
        (None, _) => second.next(),
        _ => first.next(),
    })
}

impl<S: Storage> Inspector<S> {
    /// The newest checkpoint of which the image is whole, for keys of `kind`. What is wrong with
    /// others goes to `damages`.
    pub(crate) fn baseline(
        &self,
        kind: KeyKind,
        damages: &mut Vec<Error>,
    ) -> Result<Option<Baseline>> {
        let Some(root) = self.superblock() else { return Ok(None) };
        for checkpoint in &root.checkpoints {
            let image = if is_empty_database(checkpoint) {
                Ok(LoadedImage::empty(kind))
            } else if checkpoint.number.get() == 0 {
                continue;
            } else {
                self.load_image(checkpoint, kind, root.chunk_bytes.get())
            };
            match image {
                Ok(LoadedImage { entries, others, unordered, chunks }) => {
                    let (lsn, unordered) = (checkpoint.lsn.get(), unordered.iter().collect());
                    return Ok(Some(Baseline { lsn, entries, others, unordered, chunks }));
                }
                Err(error) if error.kind() == ErrorKind::Corruption => damages.push(error),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn load_image(
        &self,
        checkpoint: &Checkpoint,
        kind: KeyKind,
        chunk_bytes: u64,
    ) -> Result<LoadedImage> {
        let (database, _) = self.identity()?;
        let number = checkpoint.number.get();
        match self.open_file(&image_path(number))? {
            Some(file) => {
                // The device on which it was written may have had smaller ones.
                let block_bytes = *BLOCK_BYTES.start();
                read_opened_image(&file, block_bytes, &database, checkpoint, kind, chunk_bytes)
            }
            None => Err(Structure::image(number).damage(MISSING)),
        }
    }
}

/// Whether `checkpoint` is that of the empty database, which has no image.
pub(crate) fn is_empty_database(checkpoint: &Checkpoint) -> bool {
    (checkpoint.number.get(), checkpoint.segment.get()) == (0, 1)
}
