//! Reading everything again and checking it.

use std::ops::Bound;

use uarr_layout::record::{CHUNK_HEADER_BYTES, Locator};
use uarr_uring::Storage;

use crate::core::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::image::read_image;
use crate::lock;
use crate::log::LogPosition;
use crate::scan::LogReader;
use crate::segments::{WAL_DIR, segment_number, segment_path};
use crate::store::DATA_FILE;
use crate::table::Direction;

const WINDOW_COUNT: usize = 1024;
/// At most this many damages are listed; the first ones are enough to act on.
const DAMAGE_COUNT_MAX: usize = 1000;

/// What [`crate::Db::verify`] has read.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// Records whose header, key and value were checked.
    pub record_count: u64,
    /// Bytes of keys and values.
    pub record_bytes: u64,
    /// Groups of the log that were checked.
    pub group_count: u64,
    /// Index images that were checked.
    pub image_count: u64,
    /// What is damaged, at most 1000 places.
    pub damages: Vec<Error>,
}

impl VerifyReport {
    /// Whether nothing is damaged.
    pub fn is_clean(&self) -> bool {
        self.damages.is_empty()
    }

    /// Keeps damage in the report; other errors end the verification.
    fn note(&mut self, error: Error) -> Result<()> {
        if error.kind() != ErrorKind::Corruption {
            return Err(error);
        }
        if self.damages.len() < DAMAGE_COUNT_MAX {
            self.damages.push(error);
        }
        Ok(())
    }
}

impl<S: Storage> Core<S> {
    /// Reads and checks every record, the log since the older checkpoint, both images and both superblock slots.
    /// `progress` is told the number of records done.
    pub fn verify(&self, mut progress: impl FnMut(u64)) -> Result<VerifyReport> {
        let mut report = VerifyReport::default();
        // Checkpoints wait meanwhile, so that neither images nor segments go away.
        let root = lock(&self.root);
        for error in root.verify() {
            report.note(error)?;
        }
        for checkpoint in root.block.checkpoints {
            if checkpoint.number.get() > 0 {
                let is_int = self.table.kind.is_int();
                let database = &self.identity.database;
                match read_image(&self.storage, database, &checkpoint, is_int) {
                    Ok(_) => report.image_count += 1,
                    Err(error) => report.note(error)?,
                }
            }
        }
        let older = match root.block.checkpoints {
            [newest, older] if older.segment.get() == 0 => newest,
            [_, older] => older,
        };
        let start = LogPosition {
            segment: older.segment.get(),
            offset: older.offset.get(),
            lsn: older.lsn.get(),
        };
        self.verify_log(start, &mut report)?;
        self.verify_records(&mut report, &mut progress)?;
        Ok(report)
    }

    fn verify_log(&self, start: LogPosition, report: &mut VerifyReport) -> Result<()> {
        let end = self.log_end();
        let failed = |error| Error::io("cannot list the log", error);
        let names = self.storage.list(WAL_DIR).map_err(failed)?;
        let mut present: Vec<_> = names.iter().filter_map(|name| segment_number(name)).collect();
        present.sort_unstable();
        let block_bytes = self.identity.block_bytes as u64;
        let database = self.identity.database;
        let mut reader = LogReader::new(&self.storage, database, block_bytes, &present, start);
        let mut reached = start.lsn;
        while reached < end.lsn {
            match reader.next() {
                Ok(Ok(group)) => {
                    report.group_count += 1;
                    reached = group.header.last_lsn();
                }
                Ok(Err(stop)) => {
                    let detail = format!(
                        "readable only up to LSN {reached}, but the log goes up to LSN {}{}",
                        end.lsn,
                        stop.torn.map(|defect| format!(" ({defect})")).unwrap_or_default()
                    );
                    let (path, at) = (segment_path(stop.position.segment), stop.position.offset);
                    return report.note(Error::corrupt(path, at, Some(reached + 1), "log", detail));
                }
                Err(error) => return report.note(error),
            }
        }
        Ok(())
    }

    /// Walks the index in key order. Behind a damaged record the walk goes on from the last good key.
    fn verify_records(
        &self,
        report: &mut VerifyReport,
        progress: &mut impl FnMut(u64),
    ) -> Result<()> {
        let mut last: Option<&[u8]> = None;
        let mut damaged_count = 0;
        let mut locators: Vec<Locator> = Vec::with_capacity(WINDOW_COUNT);
        loop {
            locators.clear();
            let from = last.map_or(Bound::Unbounded, Bound::Excluded);
            let wanted = WINDOW_COUNT + damaged_count;
            let scanned =
                self.table.scan(Direction::Forward, from, wanted, &self.store, &mut locators);
            if let Err(error) = scanned {
                return report.note(error);
            }
            let is_end = locators.len() < wanted;
            locators.iter().for_each(|locator| self.store.prefetch(*locator));
            for locator in &locators[damaged_count.min(locators.len())..] {
                match self.verify_record(*locator, last, report) {
                    Ok(key) => (last, damaged_count) = (Some(key), 0),
                    Err(error) => {
                        report.note(error)?;
                        damaged_count += 1;
                    }
                }
            }
            progress(report.record_count);
            if is_end {
                return Ok(());
            }
        }
    }

    fn verify_record(
        &self,
        locator: Locator,
        last: Option<&[u8]>,
        report: &mut VerifyReport,
    ) -> Result<&[u8]> {
        let view = self.store.record_verified(locator)?;
        let address = locator.address();
        let lsn = Some(view.header.lsn.get());
        if last.is_some_and(|last| last >= view.key()) {
            let what = "the index leads here for another key";
            return Err(Error::corrupt(DATA_FILE, address, lsn, "record", what));
        }
        if self.table.get(view.key(), &self.store)?.is_none() {
            let what = "its key is not found through the index";
            return Err(Error::corrupt(DATA_FILE, address, lsn, "record", what));
        }
        let chunk_start = address & !(self.chunk_bytes - 1);
        if address == chunk_start + CHUNK_HEADER_BYTES {
            self.store.verify_chunk(chunk_start, &self.identity.database)?;
        }
        report.record_count += 1;
        report.record_bytes += (view.key().len() + view.value().len()) as u64;
        Ok(view.key())
    }
}
