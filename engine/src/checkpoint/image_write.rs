//! What a checkpoint writes into its index image.
//!
//! Those of the default table come first, then those of all others, tables without order last. The
//! writer reads byte keys from the records. Where a record is damaged, it begins the image again
//! with the keys of all damaged records, so that no key is lost with its value: a get reports
//! the damage until a caller writes the key again.
//! 1. A record whose key is whole proves it: the index leads from its hash to the record.
//! 2. The other keys stand beside the locator in the images of the kept checkpoints, or in the log
//!    since then.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use uarr_layout::frame::Frames;
use uarr_layout::image::PieceKind;
use uarr_layout::record::Locator;
use uarr_layout::superblock::{Checkpoint, Superblock};
use uarr_uring::{MapPin, Storage};

use crate::checkpoint::image::{ImageWriter, LoadedImage, read_image};
use crate::data::key_index::KeyIndex;
use crate::data::store::misnamed;
use crate::data::tables::TableIndex;
use crate::error::{Error, ErrorKind, Result};
use crate::files::{image_path, list_segments};
use crate::key_space::KeySpace;
use crate::log::position::start_of;
use crate::log::reader::{LogReader, Next};
use crate::versions::records::Records;
use crate::versions::walk::Walk;

/// Entries of a table of integers fetched at once.
const WINDOW_COUNT: usize = 4096;

/// Stored keys of damaged records, and where these are.
type Damaged = BTreeMap<Vec<u8>, Locator>;

fn failed(error: io::Error) -> Error {
    Error::io("cannot write an index image", error)
}

/// The source of an image.
pub(crate) struct ImageSource<'a, S: Storage> {
    pub storage: &'a S,
    pub records: &'a Records<S>,
    /// Names the checkpoints that are kept.
    pub root: &'a Superblock,
}

impl<S: Storage> ImageSource<'_, S> {
    /// Writes the entries of the image of checkpoint `number`.
    pub fn write(&self, number: u64) -> Result<ImageWriter<S>> {
        let is_kept = |kept: &Checkpoint| kept.number.get() >= number;
        assert!(!self.root.checkpoints.iter().any(is_kept), "no image that counts is replaced");
        let written = match self.write_image_pieces(number, &Damaged::new()) {
            Err(error) if error.kind() == ErrorKind::Corruption => {
                self.damaged_keys().and_then(|damaged| self.write_image_pieces(number, &damaged))
            }
            written => written,
        };
        written.inspect_err(|_| {
            // Best effort: the next checkpoint removes it in any case.
            let _ = self.storage.remove(&image_path(number));
        })
    }

    fn write_image_pieces(&self, number: u64, damaged: &Damaged) -> Result<ImageWriter<S>> {
        let mut image = ImageWriter::create(
            self.storage,
            self.records.database(),
            number,
            self.records.chunk_bytes(),
        )
        .map_err(failed)?;
        let tables = self.records.tables.all();
        let (ordered, unordered): (Vec<_>, Vec<_>) =
            tables.partition(|index| index.space.is_ordered());
        for index in &ordered {
            let kind = match index.space {
                KeySpace { prefix: Some(_), .. } => PieceKind::TableEntries,
                KeySpace { kind, .. } if kind.is_int() => PieceKind::IntEntries,
                _ => PieceKind::ByteEntries,
            };
            match index.space.kind.is_int() {
                true => write_int_entries(index, kind, &mut image).map_err(failed)?,
                false => self.write_byte_entries(index, kind, &mut image, damaged)?,
            }
            if kind != PieceKind::TableEntries {
                image.end_entries(kind).map_err(failed)?;
            }
        }
        image.end_entries(PieceKind::TableEntries).map_err(failed)?;
        for index in &unordered {
            self.write_unordered_entries(index, &mut image, damaged)?;
            image.end_entries(PieceKind::UnorderedEntries).map_err(failed)?;
        }
        Ok(image)
    }

    /// Entries of the table without order with `index`, those of `damaged` records among them.
    fn write_unordered_entries(
        &self,
        index: &KeyIndex,
        image: &mut ImageWriter<S>,
        damaged: &Damaged,
    ) -> Result<()> {
        let of_table = damaged.iter().filter(|(key, _)| index.is_own(key));
        let known: BTreeMap<Locator, &[u8]> =
            of_table.map(|(key, locator)| (*locator, key.as_slice())).collect();
        let mut walk = Walk::default();
        while let Some(locator) = walk.next(self.records, index) {
            if locator.is_tombstone() {
                image.leave_out(locator);
                continue;
            }
            let pin = MapPin::enter();
            let key = match known.get(&locator) {
                Some(key) => key,
                None => self.records.reader(&pin).record(locator)?.key(),
            };
            if !walk.reach(index, key) {
                return Err(misnamed(locator));
            }
            image.push_bytes(PieceKind::UnorderedEntries, key, locator).map_err(failed)?;
        }
        Ok(())
    }

    /// Entries of all readable records of the table with `index`, and between them, in key order,
    /// those of `damaged` ones.
    fn write_byte_entries(
        &self,
        index: &KeyIndex,
        kind: PieceKind,
        image: &mut ImageWriter<S>,
        damaged: &Damaged,
    ) -> Result<()> {
        let of_table = damaged.iter().filter(|(key, _)| index.is_own(key));
        let skipped: BTreeSet<Locator> = of_table.clone().map(|(_, locator)| *locator).collect();
        let mut between = of_table.peekable();
        let mut walk = Walk::default();
        while let Some(locator) = walk.next(self.records, index) {
            let is_deleted = locator.is_tombstone();
            let pin = MapPin::enter();
            let read = self.records.reader(&pin).record(locator);
            if is_deleted {
                image.leave_out(locator);
            }
            if skipped.contains(&locator) || (is_deleted && read.is_err()) {
                walk.pass_over(locator);
                continue;
            }
            let key = read?.key();
            if !walk.reach(index, key) {
                return Err(misnamed(locator));
            }
            while let Some((lower, damaged)) = between.next_if(|(lower, _)| lower.as_slice() < key)
            {
                image.push_bytes(kind, lower, *damaged).map_err(failed)?;
            }
            // A writer has replaced it meanwhile.
            between.next_if(|(same, _)| same.as_slice() == key);
            //= IMG-4
            if !is_deleted {
                image.push_bytes(kind, key, locator).map_err(failed)?;
            }
        }
        between.try_for_each(|(key, locator)| image.push_bytes(kind, key, *locator).map_err(failed))
    }

    /// The keys of all records that are damaged now. Fails with the first damage whose key stands
    /// nowhere.
    fn damaged_keys(&self) -> Result<Damaged> {
        let (mut damaged, mut unknown) = (Damaged::new(), BTreeMap::new());
        let has_byte_keys = |index: &TableIndex<'_>| !index.space.kind.is_int();
        for index in self.records.tables.all().filter(has_byte_keys) {
            self.find_damaged(&index, &mut damaged, &mut unknown);
        }
        for checkpoint in self.root.checkpoints.iter().filter(|kept| kept.number.get() > 0) {
            if unknown.is_empty() {
                break;
            }
            let database = &self.root.database;
            let kind = self.records.key_kind();
            let chunk_bytes = self.records.chunk_bytes();
            let read = read_image(self.storage, database, checkpoint, kind, chunk_bytes);
            let Ok(LoadedImage { entries, others, unordered, .. }) = read else { continue };
            for (key, bits) in entries.iter().chain(others.iter()).chain(unordered.iter()) {
                let locator = Locator::from_bits(bits).filter(|l| unknown.remove(l).is_some());
                damaged.extend(locator.map(|locator| (key, locator)));
            }
        }
        if !unknown.is_empty() {
            self.find_keys_in_log(&mut unknown, &mut damaged)?;
        }
        unknown.into_values().next().map_or(Ok(damaged), Err)
    }

    /// The damaged records of the table with `index`: those whose keys they show themselves, and
    /// the others.
    fn find_damaged(
        &self,
        index: &KeyIndex,
        damaged: &mut Damaged,
        unknown: &mut BTreeMap<Locator, Error>,
    ) {
        let mut walk = Walk::default();
        while let Some(locator) = walk.next(self.records, index) {
            let pin = MapPin::enter();
            let reader = self.records.reader(&pin);
            let error = match reader.record(locator) {
                Ok(view) if walk.reach_found(self.records, index, view.key()) => continue,
                Ok(_) => misnamed(locator),
                Err(error) => error,
            };
            walk.pass_over(locator);
            if locator.is_tombstone() {
                continue;
            }
            let seeming = reader.key_that_seems(locator.address());
            match seeming.filter(|key| index.leads_to(key, locator)) {
                Some(key) => drop(damaged.insert(key.to_vec(), locator)),
                None => drop(unknown.insert(locator, error)),
            }
        }
    }

    fn find_keys_in_log(
        &self,
        unknown: &mut BTreeMap<Locator, Error>,
        damaged: &mut Damaged,
    ) -> Result<()> {
        let present = list_segments(self.storage)?;
        let mut kept = self.root.checkpoints.iter().filter(|kept| kept.segment.get() > 0);
        let Some(oldest) = kept.next_back() else { return Ok(()) };
        let addresses: BTreeMap<u64, Locator> =
            unknown.keys().map(|locator| (locator.address(), *locator)).collect();
        let (database, block_bytes) =
            (self.records.database(), u64::from(self.root.block_bytes.get()));
        let start = start_of(oldest);
        let mut reader = LogReader::new(self.storage, database, block_bytes, &present, start);
        while let Next::Group(group) = reader.next()? {
            for frame in Frames::new(group.body).flatten() {
                if let Some(locator) = addresses.get(&frame.header.address.get())
                    && unknown.remove(locator).is_some()
                {
                    damaged.insert(frame.key.to_vec(), *locator);
                }
            }
        }
        Ok(())
    }
}

/// Entries of the table of integers with `index`.
fn write_int_entries<S: Storage>(
    index: &KeyIndex,
    kind: PieceKind,
    image: &mut ImageWriter<S>,
) -> io::Result<()> {
    let mut after = None;
    while let Some(entries) = index.int_entries(after, WINDOW_COUNT) {
        for (key, bits) in &entries {
            match (Locator::from_bits(*bits), kind) {
                (Some(locator), _) if locator.is_tombstone() => image.leave_out(locator),
                (Some(locator), PieceKind::IntEntries) => image.push_int(*key, locator)?,
                (Some(locator), _) => {
                    image.push_bytes(kind, index.stored(*key).as_ref(), locator)?;
                }
                (None, _) => {}
            }
        }
        match entries.last() {
            Some((key, _)) if entries.len() == WINDOW_COUNT => {
                assert!(after.is_none_or(|after| after < *key), "a walk comes to an end");
                after = Some(*key);
            }
            _ => break,
        }
    }
    Ok(())
}
