//! The simulated disk: [`Memory`] lives in memory and can lose its power.
//!
//! For tests. Everything is repeatable: time, randomness and what a crash leaves follow from seeds.
//! The disk forgets what the rules of [`uarr_uring::Storage`] let it forget, and no more:
//! - file content and length are volatile until `make_durable`, or until a log write completes;
//! - names are volatile until `make_dir_durable`;
//! - bytes stored through a map are volatile until `make_durable` of the file, but any page of them
//!   may have reached the device before;
//! - a flush that failed leaves its bytes lost although readers may see them, and the next one does
//!   not say so;
//! - a log write ends at any later moment if its process is killed or its writer gives it up, and
//!   the directory is locked until then.
//!
//! With [`MemoryOptions::hostile`] it also does all that a device and a kernel may do at any time:
//! writes pages back unasked, completes log writes out of order, short or interrupted, leaves half
//! of what did not fit. [`Memory::die_at`] ends it before a chosen call; [`Memory::lie`] makes it
//! break its promises.
//!
//! | module | what it holds |
//! |---|---|
//! | `random` | repeatable randomness |
//! | `view` | the bytes of one file as one observer sees them |
//! | `cache` | what readers of a file see |
//! | `loss` | what readers see and no flush brings to the device |
//! | `device` | what the device has of a file, and where the cache differs |
//! | `flight` | log writes on their way |
//! | `remains` | what a loss of power leaves of a file |
//! | `content` | a file: all of the above |
//! | `names` | directory entries, live and durable |
//! | `process` | who uses the disk, and log writes that go on alone |
//! | `faults` | which calls are to fail |
//! | `lies` | how the disk breaks its promises |
//! | `power` | when it dies, and the trace of all calls |
//! | `disk` | what all handles share, and the gate of every call |
//! | `file` | files, open and mapped |
//! | `log` | the path of group commits |
//! | `lock` | the lock of the directory |
//! | `memory` | the disk as tests and the engine see it |
//! | `refuse` | what is taken away from a whole process, and a process doubled |

#![forbid(unsafe_code)]

mod answers;
mod cache;
mod content;
mod device;
mod disk;
mod faults;
mod file;
mod flight;
mod lies;
mod lock;
mod log;
mod loss;
mod memory;
mod names;
mod power;
mod process;
mod random;
pub mod refuse;
mod remains;
mod view;

pub use disk::MemoryOptions;
pub use faults::{Fault, FaultKind};
pub use file::{MemoryFile, MemoryMapWriter};
pub use lies::{Lie, ReadFilter};
pub use lock::MemoryLock;
pub use log::MemoryLog;
pub use memory::Memory;
pub use power::Death;
pub use random::Random;
