//! [`Debts`]: log writes that have completed but were not asked to be durable.
//!
//! A durable write promises more than its own bytes: every write that completed before it was
//! submitted is durable with it. Its own flush does not always reach so far: a write that carries
//! its flush with it may bypass the device's cache (FUA) and leave older blocks in there, and
//! a flush of one file does not cover the metadata of another. So the older writes are remembered
//! as debts of their files, and a durable write pays them with a flush of each such file.
//!
//! Databases that make each group durable never have a debt.

use std::io;
use std::sync::Arc;

use crate::file::SystemFile;
use crate::storage::{GroupDone, GroupWrite, LogCounters, StorageFile};

/// Files with debts at most; one more, and the oldest is made durable at once.
const FILE_COUNT_MAX: usize = 16;

/// Files with completed writes that are not known to be durable.
#[derive(Debug, Default)]
pub(crate) struct Debts {
    /// The file, and the number of its latest such write. Oldest file first.
    files: Vec<(Arc<SystemFile>, u64)>,
    write_number: u64,
}

/// What a durable write has to flush besides its own bytes, as of its submission.
#[derive(Debug, Default)]
pub(crate) struct Dues {
    /// Whether the write's own file has older writes: its flush must be one of the whole file.
    pub own: bool,
    others: Vec<Arc<SystemFile>>,
    /// Debts up to this number are paid by it.
    write_number: u64,
}

impl Debts {
    /// What `write` has to flush. Nothing, unless it is durable and there are debts.
    pub fn dues(&self, write: &GroupWrite<SystemFile>) -> Dues {
        if !write.durable || self.files.is_empty() {
            return Dues::default();
        }
        let (own, others): (Vec<_>, Vec<_>) =
            self.files.iter().map(|(file, _)| file).partition(|file| file.same(&write.file));
        Dues {
            own: !own.is_empty(),
            others: others.into_iter().cloned().collect(),
            write_number: self.write_number,
        }
    }

    /// Takes note that `write` reached the device with `result`: pays its dues if it was durable,
    /// owes a flush if not.
    pub fn settle(
        &mut self,
        write: &GroupWrite<SystemFile>,
        dues: &Dues,
        result: io::Result<()>,
        counters: &mut LogCounters,
    ) -> io::Result<()> {
        result?;
        if !write.durable {
            return self.owe(&write.file, counters);
        }
        for file in &dues.others {
            counters.flush_count += 1;
            file.make_durable()?;
        }
        self.files.retain(|&(_, number)| number > dues.write_number);
        Ok(())
    }

    fn owe(&mut self, file: &Arc<SystemFile>, counters: &mut LogCounters) -> io::Result<()> {
        self.write_number += 1;
        let number = self.write_number;
        if let Some(debt) = self.files.iter_mut().find(|(owing, _)| owing.same(file)) {
            debt.1 = number;
            return Ok(());
        }
        self.files.push((Arc::clone(file), number));
        if self.files.len() > FILE_COUNT_MAX {
            let (oldest, _) = self.files.remove(0);
            counters.flush_count += 1;
            oldest.make_durable()?;
        }
        Ok(())
    }
}

/// The answer to a write that has been settled.
pub(crate) fn done(
    ticket: u64,
    write: GroupWrite<SystemFile>,
    result: io::Result<()>,
) -> GroupDone {
    GroupDone { ticket, buffer: write.buffer, result }
}
