//! Kernel side of the uarr storage engine: rings, aligned buffers, files, maps, the [`Storage`] trait.
//!
//! The engine knows the world only through [`Storage`]. Two worlds are built here:
//! - [`System`]: a directory of a real file system, with io_uring where the kernel allows it and
//!   plain system calls where it does not;
//! - [`Memory`]: a disk of plain memory that forgets what was not made durable, for tests.
//!
//! Invariants of this crate:
//! - it has never heard of a record, a log position or a key;
//! - every unsafe operation of the storage side of the project is in here, one per block;
//! - a buffer that the kernel may read or write is owned by the operation until it has completed.

mod buffer;
mod futex;
mod storage;

pub use buffer::{AlignedBuffer, PAGE_BYTES};
pub use futex::Futex;
pub use storage::{
    Backend, CommitStrategy, DataMap, DataMapWriter, Facts, GroupDone, GroupWrite, LockError,
    LogCounters, LogWriter, LogWriterOptions, OpenMode, Storage, StorageFile,
};
