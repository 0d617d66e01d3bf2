//! Reading records: from the data file, or from the log where they are not durable there.

use std::io;

use uarr_layout::Defect;
use uarr_layout::frame::Frame;
use uarr_layout::record::Locator;
use uarr_layout::uarr::apply;
use uarr_uring::{OpenMode, Storage, StorageFile};

use crate::api::owned_record::OwnedRecord;
use crate::data::scan::{DataReader, Found, Spot, Window};
use crate::data::store::misnamed;
use crate::error::{Error, Result};
use crate::files::segment_path;
use crate::read_only::changes::{FramePlace, History, HistoryBase};
use crate::read_only::merged::{RecordSource, WantedKey};
use crate::read_only::view::View;
use crate::structure::Structure;

/// Records whose places lie so close are read at once, if what lies between is worth it.
const TOGETHER_BYTES: u64 = 256 << 10;
/// What a read of its own costs, as bytes that are read for nothing.
const APART_BYTES: u64 = 8 << 10;

/// A record in the data file that has to be read.
#[derive(Clone, Copy)]
struct Lying {
    /// Which of those that are wanted.
    index: usize,
    spot: Spot,
    locator: Locator,
    /// Its LSN, if that is known.
    lsn: Option<u64>,
}

impl<S: Storage> View<S> {
    /// The record of each of `wanted`, damage included; `None`: the key was deleted.
    pub fn fetch(&self, wanted: &[WantedKey]) -> Result<Vec<Result<Option<OwnedRecord>>>> {
        let mut found: Vec<_> = wanted.iter().map(|_| Ok(None)).collect();
        let mut lying = Vec::new();
        for (index, WantedKey { key, source }) in wanted.iter().enumerate() {
            let (locator, lsn) = match source {
                RecordSource::Record(locator) => (*locator, None),
                RecordSource::Changed(History {
                    base: HistoryBase::Record(locator, lsn),
                    patches,
                }) if patches.is_empty() => (*locator, Some(*lsn)),
                RecordSource::Changed(history) => {
                    found[index] = damage_stays(self.resolve(key, history))?;
                    continue;
                }
            };
            lying.push(Lying { index, spot: self.spot(locator)?, locator, lsn });
        }
        lying.sort_unstable_by_key(|lying| lying.spot.offset);
        let mut reader = self.data_reader()?;
        let mut read_end = 0;
        for (at, lies) in lying.iter().enumerate() {
            if lies.spot.offset >= read_end {
                let bytes = look_ahead(&lying[at..]);
                reader.look_ahead(bytes);
                read_end = lies.spot.offset + bytes as u64;
            }
            let key = &wanted[lies.index].key;
            let read = self.record(&mut reader, lies, key);
            found[lies.index] = damage_stays(read.map(Some))?;
        }
        Ok(found)
    }

    fn data_reader(&self) -> Result<DataReader<'_, S::File>> {
        let window = Window::here_and_there(&self.data_file)?;
        Ok(DataReader::new(window, self.block.database))
    }

    /// Where the record that `locator` names lies in the file, which is among the durable bytes of
    /// a chunk.
    //= IMG-5
    fn spot(&self, locator: Locator) -> Result<Spot> {
        let (address, chunk_bytes) = (locator.address(), self.landing.chunk_bytes);
        let (number, offset) = (address / chunk_bytes, address % chunk_bytes);
        let chunk = self.landing.chunks.get(&number);
        let chunk = chunk.filter(|chunk| offset < u64::from(chunk.durable_bytes.get()));
        let chunk = chunk.ok_or_else(|| {
            let image = Structure::image(self.checkpoint().number.get());
            image.defect(Defect::Entry)
        })?;
        Ok(Spot { offset: u64::from(chunk.place.get()) * chunk_bytes + offset, address })
    }

    /// The record of `key` that lies there.
    fn record(
        &self,
        reader: &mut DataReader<'_, S::File>,
        lies: &Lying,
        expected_key: &[u8],
    ) -> Result<OwnedRecord> {
        let mut record = None;
        reader.record(lies.spot, |found| {
            if let Some(damage) = found.damage() {
                return Err(damage);
            }
            let Found::Whole { header, expires_ms, key, value, .. } = found else { return Ok(()) };
            let lsn = header.lsn.get();
            if key != expected_key || !lies.locator.fits(header) {
                return Err(misnamed(lies.locator));
            }
            if lies.lsn.is_some_and(|expected| expected != lsn) || lsn > self.log.end.lsn {
                let what = "it is not the version that the log has put here";
                return Err(Structure::record(lies.spot.address).lsn(lsn).damage(what));
            }
            record = Some(OwnedRecord::of_parts(self.kind, key, value, (lsn, expires_ms)));
            Ok(())
        })?;
        record.ok_or_else(|| misnamed(lies.locator))
    }

    /// The record that `history` of `key` leads to.
    //= WAL-13
    fn resolve(&self, key: &[u8], history: &History) -> Result<Option<OwnedRecord>> {
        let mut record = match history.base {
            HistoryBase::Deleted => None,
            HistoryBase::Frame(place) => Some(self.frame(key, place, None)?),
            HistoryBase::Record(locator, lsn) => Some(self.single(key, locator, Some(lsn))?),
            HistoryBase::Image => match self.in_image(key)? {
                Some(locator) => Some(self.single(key, locator, None)?),
                None => None,
            },
        };
        for patch in &history.patches {
            record = Some(self.frame(key, *patch, record.as_ref())?);
        }
        Ok(record)
    }

    /// What the image names for `key`.
    pub fn in_image(&self, key: &[u8]) -> Result<Option<Locator>> {
        self.image.as_ref().map_or(Ok(None), |image| image.find(key))
    }

    fn single(&self, key: &[u8], locator: Locator, lsn: Option<u64>) -> Result<OwnedRecord> {
        let lies = Lying { index: 0, spot: self.spot(locator)?, locator, lsn };
        self.record(&mut self.data_reader()?, &lies, key)
    }

    /// The record that the frame at `place` stands for, which was verified when the log was read;
    /// `base` is the version before, which a patch builds upon.
    fn frame(
        &self,
        key: &[u8],
        place: FramePlace,
        base: Option<&OwnedRecord>,
    ) -> Result<OwnedRecord> {
        let bytes = self.frame_bytes(place)?;
        let damage = |what: &str| {
            Structure::frame(place.segment).at(place.offset).lsn(place.lsn).damage(what)
        };
        let frame = Frame::load(&bytes).and_then(|(frame, _)| frame.verify().map(|_| frame));
        let frame = frame.map_err(|defect| damage(&defect.to_string()))?;
        if frame.header.lsn.get() != place.lsn || frame.key != key {
            return Err(damage("it changed while it was read"));
        }
        let version = (place.lsn, frame.header.expires_ms.get());
        let Some((header, patch)) = frame.patch() else {
            return Ok(OwnedRecord::of_parts(self.kind, key, frame.value, version));
        };
        let base_lsn = header.base.get();
        let base = base.filter(|base| base.version() == base_lsn).ok_or_else(|| {
            damage(&format!("a patch of version {base_lsn} of its key, which is not there"))
        })?;
        match apply(base.bytes(), patch) {
            Ok(result) if header.is_result(key, &result) => {
                Ok(OwnedRecord::of_parts(self.kind, key, &result, version))
            }
            _ => Err(damage(&format!(
                "the patch of version {base_lsn} leads to another value than before"
            ))),
        }
    }

    fn frame_bytes(&self, place: FramePlace) -> Result<Vec<u8>> {
        let path = segment_path(place.segment);
        let failed = |error: io::Error| Error::io(format!("cannot read {path}"), error);
        // What others write past the page cache takes it out of there.
        let file = self.storage.open(&path, OpenMode::Read).map_err(failed)?;
        let mut bytes = Vec::new();
        let reserved = bytes.try_reserve_exact(place.bytes);
        reserved.map_err(|_| failed(io::ErrorKind::OutOfMemory.into()))?;
        bytes.resize(place.bytes, 0);
        let read = file.read_at(&mut bytes, place.offset).map_err(failed)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

/// Damage is an answer of its own; other errors end the reading.
fn damage_stays<T>(read: Result<T>) -> Result<Result<T>> {
    match read {
        Err(error) if error.corruption().is_none() => Err(error),
        read => Ok(read),
    }
}

/// How much to read from the first of `lying` on, which ascend.
fn look_ahead(lying: &[Lying]) -> usize {
    let first = lying[0].spot.offset;
    let near = lying.iter().take_while(|lies| lies.spot.offset - first < TOGETHER_BYTES);
    let mut worth = 0;
    for (count, lies) in (0..).zip(near) {
        let bytes = lies.spot.offset - first;
        if bytes <= count * APART_BYTES {
            worth = bytes;
        }
    }
    (worth + APART_BYTES / 2) as usize
}
