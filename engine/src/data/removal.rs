//! [`Removal`]: how far the removal of a dropped table is.

use std::vec;

use uarr_layout::record::Locator;

use crate::table_prefix::TablePrefix;

/// A table that was dropped, and is not gone yet.
#[derive(Debug)]
pub(crate) struct Removal {
    pub prefix: TablePrefix,
    pub stage: RemovalStage,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum RemovalStage {
    /// Readers that may see the table have pinned this LSN, or a lower one: they are waited for.
    Readers { lsn: u64 },
    /// Its index is out of reach. These of its records still count as live.
    Records(vec::IntoIter<Locator>),
    /// Both kept checkpoints have to be later than this one: then none names a record of it.
    Checkpoints { number: u64 },
}
