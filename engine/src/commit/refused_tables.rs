//! [`RefusedTables`]: tables that take no writes any more, because somebody drops them.

use std::collections::BTreeMap;

use uarr_layout::frame::Frame;

use crate::error::{Error, ErrorKind, Result};
use crate::table_prefix::TablePrefix;

/// How many want each of them refused. Part of what the staging lock protects: what was staged
/// before a table got here has a lower LSN than what drops it.
#[derive(Clone, Debug, Default)]
pub(crate) struct RefusedTables {
    counts: BTreeMap<TablePrefix, usize>,
    /// How many drops are under way: handles of these tables do not report the drop yet.
    under_way_count: usize,
}

impl RefusedTables {
    /// Errors: one of `frames` is of such a table.
    #[inline]
    pub fn check(&self, frames: &[Frame<'_>]) -> Result<()> {
        if self.counts.is_empty() || !frames.iter().any(|frame| self.has_key(frame.key)) {
            return Ok(());
        }
        let message = "the table was dropped, or is being dropped; nothing was written: open the \
                       table again to begin a new one";
        Err(Error::new(ErrorKind::TableNotFound, message))
    }

    /// One more wants the table with `prefix` refused.
    pub fn add(&mut self, prefix: TablePrefix) {
        *self.counts.entry(prefix).or_default() += 1;
        self.under_way_count += 1;
    }

    /// One of those has dropped the table: it stays refused.
    pub fn keep(&mut self) {
        assert!(self.under_way_count > 0, "who drops a table was counted");
        self.under_way_count -= 1;
    }

    /// One of those does not want it any more.
    pub fn remove(&mut self, prefix: TablePrefix) {
        self.keep();
        let count = self.counts.get_mut(&prefix).expect("it was refused");
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&prefix);
        }
    }

    /// Whether a drop is under way that handles of the table do not report yet.
    pub fn is_under_way(&self) -> bool {
        self.under_way_count > 0
    }

    /// Whether the stored key `key` is of such a table.
    pub fn has_key(&self, key: &[u8]) -> bool {
        self.has(TablePrefix::of(key))
    }

    /// Whether the table with `prefix` is such a one; the default one never is.
    pub fn has(&self, prefix: Option<TablePrefix>) -> bool {
        prefix.is_some_and(|prefix| self.counts.contains_key(&prefix))
    }
}
