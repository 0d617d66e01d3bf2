//! Reading all of a database and checking it, without opening it.

use std::ops::Bound;

use uarr_layout::geometry::CHUNK_HEADER_BYTES;
use uarr_layout::limits::BLOCK_BYTES;
use uarr_layout::record::ChunkHeader;
use uarr_layout::superblock::Checkpoint;
use uarr_uring::{OpenMode, Storage, StorageFile};

use crate::checkpoint::image::read_opened_image;
use crate::data::key_index::Direction;
use crate::error::{Error, Result};
use crate::files::{image_path, list_segments};
use crate::key_space::KeySpace;
use crate::log::position::start_of;
use crate::log::reader::Next;
use crate::observe::verify::VerifyReport;
use crate::read_only::handle::ReadOnly;
use crate::read_only::merged::{COUNT_MAX, RecordSource, WantedKey};
use crate::read_only::view::View;
use crate::recovery::tail::LogSource;
use crate::structure::{MISSING, Structure};
use crate::table_prefix::TablePrefix;

impl<S: Storage> ReadOnly<S> {
    /// Reads and checks every record, the log since the older checkpoint and both images, as
    /// [`Db::verify`](crate::Db::verify). What opening would get around is in
    /// [`ReadOnly::recovery_report`], and not here. Calls `progress` with the number of records
    /// done.
    ///
    /// Errors: `Overtaken`, `Io`.
    pub fn verify(&self, mut progress: impl FnMut(u64)) -> Result<VerifyReport> {
        let mut report = VerifyReport::default();
        // Opening would use the older image where the newer one is damaged.
        self.shared().read(|view| match view.checkpoint().number.get() {
            0 => Ok(()),
            _ => view.check_image(view.checkpoint()),
        })?;
        let view = self.shared().view();
        let checked = view.check(&mut report, &mut progress);
        // Beside a writer damage counts only if what was read was still in force.
        view.confirmed(checked)?;
        Ok(report)
    }
}

impl<S: Storage> View<S> {
    fn check(&self, report: &mut VerifyReport, progress: &mut impl FnMut(u64)) -> Result<()> {
        let known: Vec<String> = self.report.notes.iter().map(Error::to_string).collect();
        let note = |report: &mut VerifyReport, error: Error| {
            if known.contains(&error.to_string()) { Ok(()) } else { report.note(error) }
        };
        for checkpoint in self.block.checkpoints.iter().filter(|kept| kept.number.get() > 0) {
            match self.check_image(checkpoint) {
                Ok(()) => report.image_count += 1,
                // A writer has given it up meanwhile.
                Err(_) if !self.keeps(checkpoint)? => {}
                Err(error) => note(report, error)?,
            }
        }
        let [newest, older] = self.block.checkpoints;
        let oldest = if older.segment.get() == 0 { newest } else { older };
        let mut checked = self.check_log(report, oldest);
        if checked.is_err() && !self.keeps(&oldest)? {
            report.group_count = 0;
            checked = self.check_log(report, newest);
        }
        if let Err(error) = checked {
            note(report, error)?;
        }
        for is_default in [true, false] {
            self.check_records(is_default, report, progress)?;
        }
        let mut place = None;
        while let Some(step) = self.unordered_step(None, place, COUNT_MAX)? {
            self.check_wanted(&step.wanted, report)?;
            progress(report.record_count);
            place = Some(step.behind);
        }
        progress(report.record_count);
        Ok(())
    }

    fn check_image(&self, checkpoint: &Checkpoint) -> Result<()> {
        let number = checkpoint.number.get();
        let opened = self.storage.open(&image_path(number), OpenMode::Read);
        let file = opened.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Structure::image(number).damage(MISSING),
            _ => Error::io("cannot open an index image", error),
        })?;
        let (database, chunk_bytes) = (&self.block.database, self.block.chunk_bytes.get());
        let least = *BLOCK_BYTES.start();
        read_opened_image(&file, least, database, checkpoint, self.kind, chunk_bytes).map(drop)
    }

    /// From `checkpoint` on, as far as the log was read when all began.
    fn check_log(&self, report: &mut VerifyReport, checkpoint: Checkpoint) -> Result<()> {
        let present = list_segments(&*self.storage)?;
        let mode = self.log.mode;
        let source = LogSource { storage: &*self.storage, present: &present, checkpoint, mode };
        let mut reader = source.reader(&self.block);
        let end = self.log.end.lsn;
        let mut reached = start_of(&checkpoint).lsn;
        while reached < end {
            match reader.next()? {
                Next::Group(group) => {
                    report.group_count += 1;
                    reached = group.header.last_lsn();
                }
                Next::End(stop) => {
                    let detail = format!(
                        "readable only up to LSN {reached}, but the log goes up to LSN {end}{}",
                        stop.torn.map(|defect| format!(" ({defect})")).unwrap_or_default()
                    );
                    return Err(stop.position.behind().damage(detail));
                }
            }
        }
        Ok(())
    }

    /// Walks the keys of the default table, or of all others: of those without order what the log
    /// has changed.
    fn check_records(
        &self,
        is_default: bool,
        report: &mut VerifyReport,
        progress: &mut impl FnMut(u64),
    ) -> Result<()> {
        // Those of tables begin all with the same two bytes, and are the only ones of their part.
        let space = match is_default {
            true => KeySpace::default_of(self.kind),
            false => crate::catalog::CATALOG,
        };
        let mut low = Bound::Unbounded;
        loop {
            let step = self.step(space, &(low, Bound::Unbounded), Direction::Forward)?;
            self.check_wanted(&step.wanted, report)?;
            progress(report.record_count);
            let Some(passed) = step.passed else { return Ok(()) };
            assert!(is_default || TablePrefix::of(&passed).is_some(), "keys stay in their part");
            low = Bound::Excluded(passed);
        }
    }

    /// Reads the records of `wanted`.
    fn check_wanted(&self, wanted: &[WantedKey], report: &mut VerifyReport) -> Result<()> {
        for (wanted, read) in wanted.iter().zip(self.fetch(wanted)?) {
            let checked = read.and_then(|record| {
                let Some(record) = record else { return Ok(()) };
                self.check_chunk(wanted)?;
                report.record_count += 1;
                report.record_bytes += (wanted.key.len() + record.bytes().len()) as u64;
                Ok(())
            });
            if let Err(error) = checked {
                report.note(error)?;
            }
        }
        Ok(())
    }

    /// The header of the chunk that begins with the record that is meant.
    fn check_chunk(&self, wanted: &WantedKey) -> Result<()> {
        let RecordSource::Record(locator) = wanted.source else { return Ok(()) };
        let chunk_bytes = self.landing.chunk_bytes;
        let (address, chunk) = (locator.address(), locator.address() / chunk_bytes);
        if address != chunk * chunk_bytes + CHUNK_HEADER_BYTES {
            return Ok(());
        }
        let Some(entry) = self.landing.chunks.get(&chunk) else { return Ok(()) };
        let mut header = [0; CHUNK_HEADER_BYTES as usize];
        let offset = u64::from(entry.place.get()) * chunk_bytes;
        let read = self.data_file.read_at(&mut header, offset);
        let read = read.map_err(|error| Error::io("cannot read the data file", error))?;
        let start = chunk * chunk_bytes;
        match ChunkHeader::load(&header[..read], &self.block.database, start) {
            Ok(_) => Ok(()),
            Err(defect) => Err(Structure::chunk_header().at_address(start).defect(defect)),
        }
    }
}
