//! Reading a database without writing: no lock, no file changed, no more read than is asked for,
//! and a writer may go on beside.
//!
//! What a kept checkpoint needs stays as it is until a superblock that does not name it any more is
//! durable: its image, its part of the log, the durable bytes of its chunks. So a reader
//! 1. looks at the superblock, and decides as recovery does which checkpoint it starts from;
//! 2. reads the log behind it to its end, and notes what that changes: the *changes* of a key say
//!    where in the log its newest value stands; nothing is applied to any file;
//! 3. looks a key up in the changes, then in the pieces of the image, and reads its record;
//! 4. looks at the superblock again: if it still names the checkpoint, all that was read is right.
//!    Else a writer has *overtaken* the reader, and what was read does not count.
//!
//! All that an open handle shows is as of its opening. What recovery decides is decided by the same
//! functions ([`crate::recovery::start`], [`crate::recovery::tail`], [`crate::recovery::frames`]).

pub(crate) mod changes;
pub(crate) mod facts;
pub(crate) mod handle;
pub(crate) mod log_span;
pub(crate) mod merged;
pub(crate) mod opening;
pub(crate) mod range;
pub(crate) mod records;
pub(crate) mod shared;
pub(crate) mod tables;
pub(crate) mod verify;
pub(crate) mod view;
pub(crate) mod watch;
