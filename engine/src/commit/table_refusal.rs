//! [`TableRefusal`]: keeps writers from a table while somebody drops it.

use uarr_uring::Storage;

use crate::commit::committer::Committer;
use crate::commit::refused_tables::RefusedTables;
use crate::sync::lock;
use crate::table_prefix::TablePrefix;

/// As long as it lives, or for ever if it is kept, a table takes no writes.
#[must_use = "writes are refused as long as it lives"]
pub(crate) struct TableRefusal<'a, S: Storage> {
    committer: &'a Committer<S>,
    prefix: TablePrefix,
}

impl<S: Storage> TableRefusal<'_, S> {
    /// The table was dropped, and its handles report that.
    pub fn keep(self) {
        lock(&self.committer.staging).refused.keep();
        std::mem::forget(self);
    }
}

impl<S: Storage> Drop for TableRefusal<'_, S> {
    fn drop(&mut self) {
        lock(&self.committer.staging).refused.remove(self.prefix);
    }
}

impl<S: Storage> Committer<S> {
    /// From now on nothing is staged for the table with `prefix`.
    pub fn refuse_table(&self, prefix: TablePrefix) -> TableRefusal<'_, S> {
        lock(&self.staging).refused.add(prefix);
        TableRefusal { committer: self, prefix }
    }

    /// Those that are refused now.
    pub fn refused_tables(&self) -> RefusedTables {
        lock(&self.staging).refused.clone()
    }
}
