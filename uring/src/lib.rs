//! Kernel side of the uarr storage engine: rings, aligned buffers, files, maps, the [`Storage`]
//! trait.
//!
//! The engine knows the world only through [`Storage`]. Two worlds are built here:
//! - [`System`]: a directory of a real file system, with io_uring where the kernel allows it and
//!   plain system calls where it does not;
//! - [`Memory`]: a disk of plain memory that forgets what was not made durable, for tests.
//!
//! Map of the modules: `storage` is the seam. Of [`System`], `system` puts together `directory`
//! (names), `file`, `room` (space and limits), `map`, `lock` with `holder` and `owner` (one opener,
//! forks), `device` (units), and the log: `ring` or `syscalls`, with `pool` and `buffer`, `outcome`
//! (what completions mean) and `refusal` (why there is no ring). `memory` is [`Memory`], `futex` a word to sleep on, `error` names files, `testing` takes
//! things away from a process.
//!
//! Invariants of this crate:
//! - it has never heard of a record, a log position or a key;
//! - every unsafe operation of the storage side of the project is in here, one per block;
//! - a buffer that the kernel may read or write is owned by the operation until it has completed.

mod buffer;
mod device;
mod directory;
mod error;
mod file;
mod futex;
mod holder;
mod lock;
mod map;
mod memory;
mod outcome;
mod owner;
mod pool;
mod refusal;
mod ring;
mod room;
mod storage;
mod syscalls;
mod system;
pub mod testing;

pub use buffer::{AlignedBuffer, PAGE_BYTES};
pub use file::SystemFile;
pub use futex::Futex;
pub use holder::Holder;
pub use lock::SystemLock;
pub use map::FileMap;
pub use memory::{
    Death, Fault, FaultKind, Lie, Memory, MemoryFile, MemoryLock, MemoryLog, MemoryMapWriter,
    MemoryOptions, ReadFilter,
};
pub use ring::RingLog;
pub use room::survive_file_size_limit;
pub use storage::{
    Backend, CommitStrategy, DataMap, DataMapWriter, Facts, GroupDone, GroupWrite, LockError,
    LogCounters, LogWriter, LogWriterOptions, OpenMode, Storage, StorageFile,
};
pub use syscalls::SyscallLog;
pub use system::{BackendChoice, System, SystemLog, SystemMapWriter, SystemOptions};
