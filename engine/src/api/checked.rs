//! Values that callers give, once they are known to be allowed.

use uarr_uring::Storage;

use crate::core::Core;
use crate::error::Result;
use crate::expiry::{AsValue, Expiry};
use crate::limits::check_value;
use crate::versions::open_table::OpenTable;

/// A value that is allowed.
#[derive(Clone, Copy)]
pub(in crate::api) struct Checked<'v> {
    pub bytes: &'v [u8],
    /// In ms since 1970; 0: never.
    pub expires_ms: u64,
}

impl<S: Storage> Core<S> {
    /// `value`, if it is allowed, with the moment in which its record in `table` expires.
    pub(in crate::api) fn checked<'v, V: AsValue + ?Sized>(
        &self,
        table: Option<&OpenTable>,
        value: &'v V,
    ) -> Result<Checked<'v>> {
        let bytes = value.value_bytes();
        check_value(bytes)?;
        let of_table = || table.map_or(Expiry::Never, OpenTable::expiry);
        let expiry = value.value_expiry().unwrap_or_else(of_table);
        Ok(Checked { bytes, expires_ms: self.expires_ms(expiry) })
    }

    /// The moment that `expiry` says, in ms since 1970; 0: never.
    pub(in crate::api) fn expires_ms(&self, expiry: Expiry) -> u64 {
        expiry.ms(|| self.records().clock.now_ms())
    }
}
