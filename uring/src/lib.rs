//! Kernel side of the uarr storage engine: rings, aligned buffers, files, maps, the [`Storage`]
//! trait.
//!
//! The engine knows the world only through [`Storage`]. [`System`] is the real world: a directory
//! of a real file system, with io_uring where the kernel allows it and plain system calls where it
//! does not. The simulated one is the crate `uarr-disk-sim`, which uses `parts`.
//!
//! Map of the modules: `storage` is the seam. Of [`System`], `system` puts together `directory`
//! (names), `file`, `room` (space and limits), `extents`, `map`, `lock` with `holder` and `owner`
//! (one opener, forks), `device` (units), and the log: `ring` or `syscalls`, with `pool` and
//! `buffer`. A ring has `queues` and every `operation` on its way, `outcome` (what completions
//! mean) and `refusal` (why there is no ring). `futex` is a word to sleep on, `error` names files,
//! `fork` doubles the process of a test.
//!
//! Invariants of this crate:
//! - it has never heard of a record, a log position or a key;
//! - every unsafe operation of the storage side of the project is in here, one per block;
//! - an operation owns its buffer until the kernel has completed it.

mod buffer;
mod device;
mod directory;
mod error;
mod extents;
mod file;
mod fork;
mod futex;
mod holder;
mod lock;
mod map;
mod operation;
mod outcome;
mod owner;
mod pool;
mod queues;
mod refusal;
mod ring;
mod room;
mod storage;
mod syscalls;
mod system;
mod write_back;

pub use buffer::{AlignedBuffer, PAGE_BYTES};
pub use extents::Extents;
pub use file::SystemFile;
pub use futex::Futex;
pub use holder::Holder;
pub use lock::SystemLock;
pub use map::{CHUNK_SPAN, ClosedChunk, FileMap, Grace, Held, MapPin, MappedChunk, Pinned};
pub use owner::Owner;
pub use ring::RingLog;
pub use room::survive_file_size_limit;
pub use storage::{
    Append, Backend, CommitStrategy, DataMap, DataMapWriter, Facts, GroupDone, GroupWrite,
    LockError, LogCounters, LogWriter, LogWriterOptions, OpenMode, Storage, StorageFile,
};
pub use syscalls::SyscallLog;
pub use system::{BackendChoice, System, SystemLog, SystemMapWriter, SystemOptions};

/// What the simulated disk is made of: for the crate `uarr-disk-sim` alone, without any promise.
#[doc(hidden)]
pub mod parts {
    pub use crate::error::{invalid_input, with_path};
    pub use crate::fork::in_fork;
    pub use crate::map::{AnonymousFile, Appender, Chunks, MapOptions};
    pub use crate::outcome::{Answers, Route, Verdict, judge};
    pub use crate::pool::BufferPool;
    pub use crate::syscalls::WRITES_IN_FLIGHT_MAX;
}
