//! What the image names: the versions that count at or below the LSN of its checkpoint.

use std::collections::BTreeMap;

use uarr_layout::record::Locator;
use uarr_uring::{Storage, StorageFile};

use crate::data::scan::{DataReader, Window};
use crate::error::Result;
use crate::files::DATA_FILE;
use crate::rescue::evidence::{Rescue, ValuePlace, Version};

impl<S: Storage> Rescue<'_, S> {
    /// Of keys without a late version, leaves out those that the image does not have, and goes by
    /// what it names of the others. Where that is damaged, the newest of the early versions that
    /// were found stays.
    pub fn follow_image(&mut self) -> Result<()> {
        let Some(baseline) = self.baseline.take() else { return Ok(()) };
        let file = self.source.open_file(DATA_FILE)?;
        let window = file.as_ref().map(Window::here_and_there).transpose()?;
        let mut reader = window.map(|window| DataReader::new(window, self.database));
        let mut found = std::mem::take(&mut self.newest).into_iter().peekable();
        let mut newest = BTreeMap::new();
        let is_late = |version: &Version| version.lsn > baseline.lsn;
        let mut deleted_count = 0;
        let mut keep = |key, version: Version, newest: &mut BTreeMap<_, _>| {
            if is_late(&version) {
                newest.insert(key, version);
            } else {
                deleted_count += 1;
            }
        };
        for (key, bits) in baseline.entries() {
            while let Some((other, version)) = found.next_if(|(other, _)| *other < key) {
                keep(other, version, &mut newest);
            }
            let version = found.next_if(|(other, _)| *other == key).map(|(_, version)| version);
            let locator = Locator::from_bits(bits).expect("entries were checked");
            let version = match (version, &mut reader) {
                (Some(version), _) if is_late(&version) => Some(version),
                (version, Some(reader)) => self.named(reader, &key, locator, version)?,
                (version, None) => version,
            };
            newest.extend(version.map(|version| (key, version)));
        }
        found.for_each(|(key, version)| keep(key, version, &mut newest));
        (self.newest, self.report.deleted_count) = (newest, deleted_count);
        Ok(())
    }

    /// The version of `key` that the image names with `locator`, or `found` if that is damaged.
    fn named<F: StorageFile>(
        &self,
        reader: &mut DataReader<'_, F>,
        key: &[u8],
        locator: Locator,
        found: Option<Version>,
    ) -> Result<Option<Version>> {
        let spot = self.owners.spot(locator.address()).expect("the image was checked");
        if let Some(Version { place: ValuePlace::Data(place), .. }) = found
            && place == spot
        {
            return Ok(found);
        }
        let Some(header) = reader.header(spot)? else { return Ok(found) };
        let lsn = header.lsn.get();
        // Where a late one is named and damaged, an earlier one is what is left.
        if header.is_tombstone() || !self.counts(lsn) {
            return Ok(found);
        }
        // A record that was moved may be whole where it was before.
        for spot in [Some(&spot), self.records.get(&lsn)].into_iter().flatten() {
            if let Some(header) = reader.header(*spot)?
                && reader.is_whole(*spot, &header, key)?
            {
                return Ok(Some(Version { lsn, place: ValuePlace::Data(*spot) }));
            }
        }
        Ok(found)
    }
}
