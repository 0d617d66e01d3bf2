//! What structures on disk are checked for before their content counts, each check in one place.

use zerocopy::little_endian::{U16, U32, U64};

use crate::limits::FORMAT_VERSION;
use crate::{DatabaseId, Defect};

/// The stored checksum is that of the bytes.
#[inline]
pub(crate) fn checksum(expected: u32, found: U32) -> Result<(), Defect> {
    let found = found.get();
    if found == expected { Ok(()) } else { Err(Defect::Checksum { expected, found }) }
}

/// The checksum is right. Where it is not and the magic bytes are wrong too, something else stands
/// there.
pub(crate) fn sealed(has_magic: bool, expected: u32, found: U32) -> Result<(), Defect> {
    checksum(expected, found).map_err(|defect| if has_magic { defect } else { Defect::Magic })
}

/// This program reads the version.
pub(crate) fn version(major: U16, minor: U16) -> Result<(), Defect> {
    let (major, minor) = (major.get(), minor.get());
    let is_known = major == FORMAT_VERSION.0 && minor <= FORMAT_VERSION.1;
    if is_known { Ok(()) } else { Err(Defect::Version { major, minor }) }
}

/// The structure belongs to this database.
pub(crate) fn database(expected: &DatabaseId, found: &DatabaseId) -> Result<(), Defect> {
    if found == expected { Ok(()) } else { Err(Defect::Database) }
}

/// The structure belongs to the place where it was read.
pub(crate) fn position(expected: u64, found: U64) -> Result<(), Defect> {
    let found = found.get();
    if found == expected { Ok(()) } else { Err(Defect::Position { expected, found }) }
}
