//! A block device that loses power, delays, tears and fails, below a real file system of the
//! kernel.
//!
//! ```text
//! database  ->  ext4 or XFS  ->  loop device, direct I/O  ->  FUSE: one file, `image`  ->  Medium
//!                                                                   ^
//!                                      Faults: delay, hold, fail ---+
//! ```
//!
//! A FUSE file system, served by threads of the test, has one file: the image of the device. A loop
//! device with direct I/O passes each write of the file system on as one FUSE_WRITE, and each flush
//! as one FUSE_FSYNC; nothing is cached between, so delays and errors reach the file system as
//! those of a disk would.
//!
//! - [`Medium`] is the disk with its volatile cache: what was written since the last flush survives
//!   a power cut in any combination of sectors.
//! - [`Faults`] decide what happens to a request: it is answered later, held until it is released,
//!   or failed.
//! - [`Disk`] is all of it with a file system, mounted. [`Disk::cut_power`] makes an image of what
//!   a loss of power would leave at that moment, while the machine goes on; [`PowerCut::mount`] is
//!   the next boot: the file system replays its journal.
//!
//! Rules for a test:
//! - Its own process never uses a file on the disk, only child processes do: a thread that waits
//!   for the disk holds the process, and with it the threads that serve the disk.
//! - It runs in a mount namespace of its own ([`in_a_namespace`]), so that nothing stays mounted
//!   however it ends.
//!
//! All of it needs root, /dev/fuse and loop devices. If one is missing, the test prints which, and
//! ends.

mod client;
mod faults;
mod medium;
mod mount;
mod served;

pub use client::{Client, value};
pub use faults::{Action, Counts, Faults, On, Rule};
pub use medium::{Medium, SECTOR_BYTES};
pub use mount::{Disk, FileSystem, Mounted, PowerCut, in_a_namespace, run};
