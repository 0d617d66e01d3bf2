//! Reading everything again and checking it, while writers and checkpoints go on.
//!
//! Verification holds no lock meanwhile, so the callback may call the database. Writers may replace
//! what it reads: it reports damage of a structure only if that is still in force afterwards.

use uarr_layout::geometry::CHUNK_HEADER_BYTES;
use uarr_layout::record::Locator;
use uarr_layout::superblock::Checkpoint;
use uarr_uring::{MapPin, Storage};

use crate::checkpoint::image::read_image;
use crate::core::Core;
use crate::data::key_index::KeyIndex;
use crate::data::store::misnamed;
use crate::error::{Error, ErrorKind, Result};
use crate::files::list_segments;
use crate::limits::DAMAGE_COUNT_MAX;
use crate::log::position::start_of;
use crate::log::reader::{LogReader, Next};
use crate::structure::Structure;
use crate::sync::lock;
use crate::versions::pins::Keeps;
use crate::versions::walk::Walk;

/// Records between two calls of the callback.
const PROGRESS_COUNT: u64 = 1024;
/// How often verification starts again at a later checkpoint because a newer one replaced the one
/// that it started from.
const LOG_ATTEMPT_COUNT_MAX: usize = 100;

/// What [`crate::Db::verify`] has read.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
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
    /// True if nothing is damaged.
    pub fn is_clean(&self) -> bool {
        self.damages.is_empty()
    }

    /// Keeps damage in the report; other errors end the verification.
    pub(crate) fn note(&mut self, error: Error) -> Result<()> {
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
    /// Reads and checks every record, the log since the older checkpoint, both images and both
    /// superblock slots. Calls `progress` with the number of records done, without holding a lock.
    pub fn verify(&self, mut progress: impl FnMut(u64)) -> Result<VerifyReport> {
        let mut report = VerifyReport::default();
        let (checkpoints, damaged_slots) = {
            let root = lock(&self.root);
            (root.block.checkpoints, root.verify())
        };
        damaged_slots.into_iter().try_for_each(|error| report.note(error))?;
        self.committer.with_places(|places, _| places.audit());
        for checkpoint in checkpoints.iter().filter(|kept| kept.number.get() > 0) {
            let database = &self.records().database();
            let (kind, chunk_bytes) = (self.records().key_kind(), self.records().chunk_bytes());
            match read_image(self.storage(), database, checkpoint, kind, chunk_bytes) {
                Ok(_) => report.image_count += 1,
                Err(error) if self.keeps(checkpoint) => report.note(error)?,
                Err(_) => {}
            }
        }
        self.verify_log(&mut report)?;
        self.verify_records(&mut report, &mut progress)?;
        Ok(report)
    }

    /// True if the superblock names `checkpoint`.
    fn keeps(&self, checkpoint: &Checkpoint) -> bool {
        lock(&self.root).block.checkpoints.contains(checkpoint)
    }

    fn verify_log(&self, report: &mut VerifyReport) -> Result<()> {
        for _ in 0..LOG_ATTEMPT_COUNT_MAX {
            let start = {
                let checkpoints = lock(&self.root).block.checkpoints;
                checkpoints[if checkpoints[1].segment.get() == 0 { 0 } else { 1 }]
            };
            match self.verify_log_since(&start) {
                Ok((group_count, damage)) if damage.is_none() || self.keeps(&start) => {
                    report.group_count = group_count;
                    return damage.map_or(Ok(()), |damage| report.note(damage));
                }
                Err(error) if self.keeps(&start) => return report.note(error),
                // Writers have recycled its segments meanwhile.
                _ => {}
            }
        }
        Ok(())
    }

    /// Number of readable groups up to the present end of the log, and the damage behind them.
    fn verify_log_since(&self, checkpoint: &Checkpoint) -> Result<(u64, Option<Error>)> {
        let start = start_of(checkpoint);
        let end = self.committer.log_end();
        let present = list_segments(self.storage())?;
        let block_bytes = self.committer.identity.block_bytes as u64;
        let database = self.records().database();
        let mut reader = LogReader::new(self.storage(), database, block_bytes, &present, start);
        let (mut reached, mut group_count) = (start.lsn, 0);
        while reached < end.lsn {
            match reader.next()? {
                Next::Group(group) => {
                    group_count += 1;
                    reached = group.header.last_lsn();
                }
                Next::End(stop) => {
                    let detail = format!(
                        "readable only up to LSN {reached}, but the log goes up to LSN {}{}",
                        end.lsn,
                        stop.torn.map(|defect| format!(" ({defect})")).unwrap_or_default()
                    );
                    return Ok((group_count, Some(stop.position.behind().damage(detail))));
                }
            }
        }
        Ok((group_count, None))
    }

    /// Walks the index of each table.
    fn verify_records(
        &self,
        report: &mut VerifyReport,
        progress: &mut impl FnMut(u64),
    ) -> Result<()> {
        let mut done_count = 0;
        // What the walk meets stays where it is.
        let _pin = self.records().pin(Keeps::Places, || self.storage().now());
        for index in self.records().tables.all() {
            let mut walk = Walk::default();
            while let Some(locator) = walk.next(self.records(), &index) {
                if let Err(error) = self.verify_record(locator, &index, &mut walk, report) {
                    walk.pass_over(locator);
                    report.note(error)?;
                }
                done_count += 1;
                if done_count % PROGRESS_COUNT == 0 {
                    progress(report.record_count);
                }
            }
        }
        progress(report.record_count);
        Ok(())
    }

    fn verify_record(
        &self,
        locator: Locator,
        index: &KeyIndex,
        walk: &mut Walk,
        report: &mut VerifyReport,
    ) -> Result<()> {
        let pin = MapPin::enter();
        let reader = self.records().reader(&pin);
        let view = reader.record_verified(locator)?;
        let address = locator.address();
        if !walk.reach_found(self.records(), index, view.key()) {
            return Err(misnamed(locator));
        }
        if !walk.is_found(index, view.key()) {
            let record = Structure::record(address).lsn(view.header.lsn.get());
            return Err(record.damage("its key is not found through the index"));
        }
        let chunk_start = address & !(self.records().chunk_bytes() - 1);
        if address == chunk_start + CHUNK_HEADER_BYTES {
            reader.verify_chunk(chunk_start, &self.records().database())?;
        }
        report.record_count += 1;
        report.record_bytes += (view.key().len() + view.value().len()) as u64;
        Ok(())
    }
}
