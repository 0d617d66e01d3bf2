//! Looking into a database that is not open: its log, group by group, and its structures, field by
//! field. For people who want to know what is damaged, and for tools that save what is not.
//!
//! - Nothing here needs a successful open. An inspector writes only the lock file, where it may: it
//!   says which process looks. It opens all other files for reading only. [`superblock`] writes
//!   nothing at all, and looks at a database that is open, too.
//! - Damage is an answer, not a failure: it comes back as the [`crate::Error`] that names file and
//!   offset. Errors of a call mean that the operating system refused something.
//! - The structures are those of the format; `docs/FORMAT.md` says what their fields mean.
//!
//! The superblock says to which database a file belongs. If both of its slots are damaged, identity
//! and block size come from the first segment whose header is whole.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use uarr::inspect::{Inspector, Next};
//!
//! # let dir = tempfile::tempdir()?;
//! # let db = uarr::Db::open(&dir)?;
//! # db.put("a", b"1")?;
//! # db.close()?;
//! let database = Inspector::open(&dir)?;
//! let mut log = database.log()?;
//! while let Next::Group(group) = log.next()? {
//!     for (offset, frame) in group.frames() {
//!         println!("{offset}: LSN {}, key {:?}", frame.header.lsn, frame.key);
//!     }
//! }
//! # Ok(())
//! # }
//! ```

pub use uarr_layout::chunk::{ChunkEntry, ChunkOpening, ChunkState};
pub use uarr_layout::frame::{FLAG_BATCH_CONTINUES, Frame, FrameKind};
pub use uarr_layout::group::{GroupHeader, SegmentHeader};
pub use uarr_layout::image::PieceKind;
pub use uarr_layout::record::ChunkHeader;
pub use uarr_layout::superblock::{Checkpoint, Superblock};

pub use crate::log::reader::Next;
pub use crate::rescue::chunk::Chunk;
pub use crate::rescue::image::{Image, Piece};
pub use crate::rescue::inspector::{Inspector, superblock};
pub use crate::rescue::log::{Group, Log, LogEnd};
pub use crate::rescue::segment::SegmentContent;

use crate::table_prefix::TablePrefix;

/// Number of the table that the key of a frame or record, in its stored form, is of; 0: the default
/// one.
pub fn table_number(stored_key: &[u8]) -> u32 {
    TablePrefix::of(stored_key).map_or(0, TablePrefix::number)
}
