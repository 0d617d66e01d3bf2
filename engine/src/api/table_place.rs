//! Which table a verb is about.

use uarr_uring::Storage;

use crate::core::Core;
use crate::data::key_index::KeyIndex;
use crate::versions::open_table::OpenTable;

/// The index of `table`; `None`: the default one.
#[inline]
pub(in crate::api) fn index_of<'a, S: Storage>(
    core: &'a Core<S>,
    table: Option<&'a OpenTable>,
) -> &'a KeyIndex {
    match table {
        None => &core.records().tables.default,
        Some(table) => table.index(),
    }
}
