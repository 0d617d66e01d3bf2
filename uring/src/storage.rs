//! The seam between the engine and the world: [`Storage`].
//!
//! Everything the engine asks of a disk, a clock or a random source goes through these traits, so
//! the same production code runs on io_uring, on plain system calls, and in memory with injected
//! faults.
//!
//! Paths are relative to the database directory, with `/` between their parts, and are never
//! interpreted further. All offsets and lengths are in bytes. An entry of another kind than
//! expected, a symbolic link above all, is an error of kind `InvalidData`, and the call changes
//! nothing.
//!
//! What an implementation promises about durability:
//! 1. [`LogWriter::complete`] returns `Ok` for a write only when its bytes survive a loss of power.
//! 2. [`StorageFile::make_durable`] covers every write that returned before it was called, and
//!    every byte stored through a map of the same file before it was called.
//! 3. A new, renamed or removed name is durable only after [`Storage::make_dir_durable`] of its
//!    directory.
//! 4. A failed call returns the error. No implementation repeats it as if nothing had happened.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::buffer::AlignedBuffer;
use crate::holder::Holder;
use crate::map::{ClosedChunk, Held, MapPin, MappedChunk, Pinned};
use crate::owner::Owner;

/// Files, maps, locks, time and randomness of one database directory.
pub trait Storage: Send + Sync + 'static {
    /// An open file.
    type File: StorageFile;
    /// The readable side of a mapped file, shared by all readers.
    type Map: DataMap;
    /// The only writer of a mapped file.
    type MapWriter: DataMapWriter;
    /// The way group commits reach the log.
    type Log: LogWriter<File = Self::File>;
    /// Holds the database directory for one opener: until it is dropped, and every log writer that
    /// was made under it has ended its last write; see [`Storage::log_writer`].
    type Lock: Send + Sync + 'static;

    /// What this directory's device wants and what the kernel allows.
    fn facts(&self) -> &Facts;

    /// Names of the entries of directory `path` ("" is the database directory), in no particular
    /// order. A directory that does not exist is an error of kind `NotFound`.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;
    /// Creates directory `path`; no error if it is there already. Not durable until its parent is
    /// made so.
    fn create_dir(&self, path: &str) -> io::Result<()>;
    /// Opens or creates a file.
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Self::File>;
    /// Renames a file, replacing `target` if it exists. Atomic for names, durable after
    /// `make_dir_durable`.
    fn rename(&self, source: &str, target: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Removes directory `path`, which is empty.
    fn remove_dir(&self, path: &str) -> io::Result<()>;
    /// Makes every name in directory `path` durable.
    fn make_dir_durable(&self, path: &str) -> io::Result<()>;
    /// Takes the directory for one opener; retries for `patience`, because the last write of
    /// a process that was just killed may still be on its way to the device, and holds the lock.
    fn lock(&self, path: &str, patience: Duration) -> Result<Self::Lock, LockError>;
    /// Who has the directory locked at this moment; `None`: no opener. Takes nothing and writes
    /// nothing.
    fn holder(&self, path: &str) -> io::Result<Option<Holder>>;

    /// Bytes that any process can still allocate, as far as the file system knows. What it keeps
    /// back for some, root as a rule, is not counted.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Maps a data file once, for its whole future: the map reserves `reserve_bytes` of address
    /// space, and the file grows beneath it ([`DataMapWriter::allocate`]). `chunk_bytes` (a power
    /// of two, 64 KiB to 1 GiB) divides the file into places, each for a chunk with a number and an
    /// end of its own; the map begins with `chunks`. No place is relied on to have space before it
    /// was allocated ([`DataMapWriter::allocate`]): the file may have holes. `OutOfMemory`
    /// if there is not so much address space.
    fn map(
        &self,
        file: &Self::File,
        reserve_bytes: u64,
        chunk_bytes: u64,
        chunks: &[MappedChunk],
    ) -> io::Result<(Self::Map, Self::MapWriter)>;

    /// Sets up the path of group commits: a ring with `options.buffer_count` registered buffers, or
    /// what the backend has instead.
    ///
    /// If the directory is locked through this storage, the writer shares the lock: however the
    /// process ends, the directory stays locked until the last write that was given to this writer
    /// has ended at the device. Otherwise the next opener could write where that write still lands,
    /// or read what it has not yet overwritten. So lock first; a writer made without a lock holds
    /// nothing.
    fn log_writer(&self, options: LogWriterOptions) -> io::Result<Self::Log>;

    /// The process that opened the storage, as far as it was opened in one.
    fn owner(&self) -> Owner {
        Owner::new()
    }

    /// Whether this process was forked off the one that opened the storage. It has none of its
    /// threads and rings, but shares its files and locks, so it must leave them alone.
    fn is_forked(&self) -> bool {
        !self.owner().is_here()
    }

    /// Monotonic time since some fixed moment.
    fn now(&self) -> Duration;
    /// Wall clock, nanoseconds since 1970-01-01T00:00:00Z.
    fn wall_ns(&self) -> i64;
    /// Unpredictable bits: identities, life numbers, hash keys.
    fn random(&self) -> u64;
}

/// How [`Storage::open`] opens a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Must exist; read only, through the page cache.
    Read,
    /// Must exist; read only, past the page cache (O_DIRECT where the file system has it): what
    /// another process writes so is never missed.
    ReadDirect,
    /// Must exist; read and written, through the page cache (mapped files).
    Mapped,
    /// Must not exist; otherwise as `Mapped`.
    CreateMapped,
    /// Must exist; read and written past the page cache (O_DIRECT where the file system has it).
    Direct,
    /// Must not exist; otherwise as `Direct`.
    CreateDirect,
}

impl OpenMode {
    /// Whether the file may be written.
    pub fn is_writable(self) -> bool {
        !matches!(self, Self::Read | Self::ReadDirect)
    }

    /// Whether reads and writes go past the page cache, where the file system lets them.
    pub fn is_direct(self) -> bool {
        matches!(self, Self::ReadDirect | Self::Direct | Self::CreateDirect)
    }
}

/// One open file. Methods take `&self`: positions are explicit.
pub trait StorageFile: Send + Sync + 'static {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Allocates real space for `offset .. offset + len`, extending the file; new bytes read as
    /// zero. Holes are filled, and space that is shared with other files becomes the file's own, so
    /// that a later write to the range needs no room. Of a file that is mapped the neighbours get
    /// space, too, which the kernel takes with the range. `StorageFull` when there is none,
    /// `FileTooLarge` if the process may not write so far; the file then is as long as before.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Gives up the content of a range of whole pages before the end of the file: it reads as zero,
    /// and no earlier write to it, cached or failed, decides what becomes of later ones. The length
    /// stays; where a part of the range had no space, none of it may have any. Never called on a
    /// file that is mapped. Not durable before `make_durable`: until then a crash may bring any of
    /// the old content back. After an error the file may end at `offset`, if the range reaches to
    /// its end.
    ///
    /// After a failed write-back some file systems take pages for written that never were, and
    /// later flushes leave them out. This makes the kernel forget them.
    fn renew(&self, offset: u64, len: u64) -> io::Result<()>;
    /// How many bytes of the range, and of a mapped file of its neighbours, have no space of their
    /// own: what [`StorageFile::allocate`] would take. All of them where the file system does not
    /// say.
    fn missing_bytes(&self, offset: u64, len: u64) -> io::Result<u64>;
    /// What a mapped file gets and gives back at once: so many bytes, at a multiple of that, a
    /// power of two. 1: what is asked for.
    fn space_unit_bytes(&self) -> u64 {
        1
    }
    /// Gives the space of a range before the end of the file back, as far as that is whole pages:
    /// all of it reads as zero, and the length stays. Nothing is done where the file system cannot,
    /// or does not say which bytes have space. Never called on a file that is mapped. A crash may
    /// bring the old content back.
    fn give_back(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Where the bytes end that from `offset` on have space of their own that was written before,
    /// so that another write needs neither room nor a change of the file system's records;
    /// `offset` if the process may not write so long a file. The end of the file where the file
    /// system does not say.
    fn whole_end(&self, offset: u64) -> io::Result<u64>;
    /// Reads until `buffer` is full or the file ends; returns the bytes read. For direct files the
    /// buffer's address, its length and `offset` are multiples of the block size.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Where there may be other bytes than zeros at or behind `offset`; `None`: not before the end
    /// of the file. What cannot find holes answers with `offset`.
    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        Ok(Some(offset))
    }
    /// Writes all of `bytes`; not durable before `make_durable`. Alignment as for `read_at`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes content and length durable (fdatasync).
    fn make_durable(&self) -> io::Result<()>;
    /// Starts writing dirty cached pages of the range to the device without waiting and without any
    /// promise.
    fn start_write_back(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Writes dirty cached pages of the range to the device and waits until it has them; they may
    /// still be lost. An error is final, as one of `make_durable`, which may not report it again.
    fn write_back(&self, offset: u64, len: u64) -> io::Result<()>;
}

/// The readers' side of a mapped file. Cheap calls: no system call, no lock.
///
/// An address is the number of a chunk times the size of chunks, plus an offset in the chunk.
pub trait DataMap: Send + Sync + 'static {
    /// The bytes at `address .. address + len`, or `None` when any of them was never published, or
    /// is in a chunk that was closed. They do not change while the pin lives. A range may span
    /// chunks that were opened as one.
    fn bytes<'p>(&'p self, address: u64, len: usize, pin: &'p MapPin) -> Option<Pinned<'p>>;
    /// All bytes from `address` on that are published in its chunk; none if it lies behind them.
    fn bytes_from<'p>(&'p self, address: u64, pin: &'p MapPin) -> Pinned<'p>;
    /// The same, and asks the processor to fetch the first cache lines: at once, so that the later
    /// ones are on their way while the caller looks at the first.
    fn bytes_ahead<'p>(&'p self, address: u64, pin: &'p MapPin) -> Pinned<'p>;
    /// Keeps bytes of this map (asserted) for longer than the pin. Two stores and no call; a chunk
    /// of which bytes are held is not given back, others are.
    fn hold<'m>(&'m self, pinned: Pinned<'_>, pin: &MapPin) -> Held<'m>;
    /// Asks the processor to fetch the first cache lines from `address` on; any value is fine.
    fn prefetch(&self, address: u64);
    /// Bytes of the places that were allocated through this map.
    fn allocated_bytes(&self) -> u64;
    /// Brings the unpublished pages of a range of the file into memory, so that a later append
    /// takes no page fault. Takes as long as the kernel takes to zero them; appends go on
    /// meanwhile. Only a hint: failures are ignored. Returns how many bytes of the range lie before
    /// the first place that has no space of its own: nothing behind is looked at.
    fn prefault(&self, offset: u64, len: u64, append: Append) -> u64;
}

/// How bytes are appended to a mapped file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Append {
    /// With [`DataMapWriter::append`].
    Stored,
    /// With [`DataMapWriter::append_written`].
    Written,
}

/// The single writer of a mapped file: not `Clone`, every change needs `&mut`.
pub trait DataMapWriter: Send + 'static {
    /// Gives `places` of the file, counted from 0, real space of their own, and makes the file long
    /// enough. `StorageFull` or `FileTooLarge` if there is no room; `InvalidInput` beyond the
    /// reserved address space. Nothing is done for places that have it by this map.
    fn allocate(&mut self, places: Range<u64>) -> io::Result<()>;
    /// Gives the space of `places` back to the file system, if it takes it, or as soon as their
    /// neighbours need none either; their bytes are lost. After an error, too, they have to be
    /// allocated again before anything is written there.
    ///
    /// Panics if a chunk has one of them.
    fn deallocate(&mut self, places: Range<u64>) -> io::Result<()>;
    /// Gives the space behind the published bytes of chunk `number` back to the file system, if it
    /// takes it. The place has to be allocated again before more is written there.
    ///
    /// Panics if the chunk is not open.
    fn give_back_rest(&mut self, number: u64) -> io::Result<()>;
    /// Gives `count` new chunks, one behind the other in number and place, their places of the
    /// file, counted from 0. False if they have the places already. They are closed as one.
    ///
    /// Panics if another chunk has a place, or is numbered a multiple of [`crate::CHUNK_SPAN`]
    /// away.
    fn open_chunks(&mut self, number: u64, place: u64, count: u64) -> bool;
    /// From now on readers find nothing in chunk `number`, nor in those that were opened with it.
    /// Who has looked before goes on: the places stay the chunk's until
    /// [`DataMapWriter::is_given_back`].
    ///
    /// Panics if the chunk is not open.
    fn close_chunk(&mut self, number: u64) -> ClosedChunk;
    /// Whether no reader looks at the chunk any more: then its places may be given to others. Once
    /// true it stays so. Waits for pins for a moment, and for holds not at all.
    fn is_given_back(&mut self, closed: &mut ClosedChunk) -> bool;
    /// Stores `parts` one after the other at `address` and publishes them. Bytes between the
    /// chunk's readable end and `address` are zeroed and published too. A range that spans chunks
    /// fills them whole.
    ///
    /// Panics if the chunk is not open, if `address` lies before its readable end, or the range
    /// beyond the allocated file: all are errors of the caller, not of the disk.
    fn append(&mut self, address: u64, parts: &[&[u8]]);
    /// As [`DataMapWriter::append`], of bytes that begin at the chunk's readable end, by a write to
    /// the file: only the blocks that they lie in become dirty. Stores into the map make pages
    /// dirty, of up to 2 MiB. After an error none of them is published, and some may be written.
    ///
    /// Panics as `append`, and if `address` lies behind the readable end.
    fn append_written(&mut self, address: u64, bytes: &[u8]) -> io::Result<()>;
}

/// Options of [`Storage::log_writer`].
#[derive(Clone, Copy, Debug)]
pub struct LogWriterOptions {
    /// How a group is made durable.
    pub strategy: CommitStrategy,
    /// Number of pooled buffers (registered with the kernel where there is a ring): 1 to 16.
    pub buffer_count: usize,
    /// Size of each pooled buffer, a multiple of the block size. All together at most 8 MiB.
    pub buffer_bytes: usize,
}

/// How a group of log blocks is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommitStrategy {
    /// WRITE_FIXED, linked to FSYNC(DATASYNC), in one submission.
    LinkedFdatasync,
    /// One WRITE_FIXED with RWF_DSYNC.
    Dsync,
    /// pwritev2 with RWF_DSYNC, without a ring. Where there is a ring, writes of 64 KiB and more go
    /// through it as those of `Dsync` do: their caller has other work meanwhile.
    Syscall,
}

/// One write of the log.
#[derive(Debug)]
pub struct GroupWrite<F> {
    /// The segment.
    pub file: Arc<F>,
    /// Where in it, a multiple of the block size.
    pub offset: u64,
    /// The bytes: `buffer[start .. start + len]`, both multiples of the block size. Shared, because
    /// the owner goes on reading them while the kernel does; no thread can write to a shared
    /// buffer.
    pub buffer: Arc<AlignedBuffer>,
    /// First byte of the buffer to write.
    pub start: usize,
    /// How many bytes to write.
    pub len: usize,
}

/// The outcome of a [`GroupWrite`]; the buffer returns to its owner in every case.
#[derive(Debug)]
pub struct GroupDone {
    /// The ticket that `submit` gave.
    pub ticket: u64,
    /// The buffer, no longer used by the kernel: if the owner kept no clone, it can be written to
    /// again.
    pub buffer: Arc<AlignedBuffer>,
    /// Short writes are completed inside, by writing the rest and making all of it durable again;
    /// an error here means that any part of the group may or may not be on the device.
    pub result: io::Result<()>,
}

/// The path of group commits. One owner at a time; any thread may be it.
pub trait LogWriter: Send + 'static {
    /// Open file handles that writes can share.
    type File: StorageFile;

    /// A zeroed buffer of at least `bytes`: one of the `buffer_count` registered ones while they
    /// last and are large enough, else a new one. The caller keeps and reuses it; registered
    /// buffers stay registered.
    fn buffer(&mut self, bytes: usize) -> Arc<AlignedBuffer>;
    /// Starts a write, which is durable when it completes, and returns its ticket. The writer holds
    /// its clone of the buffer until [`LogWriter::complete`] returns it. On error nothing was
    /// started.
    fn submit(&mut self, write: GroupWrite<Self::File>) -> io::Result<u64>;
    /// Waits until one submitted write has completed. `None` if nothing is in flight.
    fn complete(&mut self) -> Option<GroupDone>;
    /// How many writes and cache flushes this writer has asked the device for so far.
    fn counters(&self) -> LogCounters;
    /// The strategy in use.
    fn strategy(&self) -> CommitStrategy;
    /// Changes the strategy for later writes; `Unsupported` if this backend cannot.
    fn set_strategy(&mut self, strategy: CommitStrategy) -> io::Result<()>;
}

/// Work that a [`LogWriter`] has asked the device for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounters {
    /// Write operations.
    pub write_count: u64,
    /// Flushes: fdatasync, or a write that carries its own flush.
    pub flush_count: u64,
    /// Bytes written.
    pub written_bytes: u64,
}

/// Why [`Storage::lock`] failed.
#[derive(Debug)]
pub enum LockError {
    /// Another opener has the database.
    Held(Holder),
    /// The lock file could not be made or read.
    Io(io::Error),
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(holder) => holder.fmt(f),
            Self::Io(error) => write!(f, "cannot lock: {error}"),
        }
    }
}

/// What a directory's device wants and what the kernel allows.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Unit of log writes: the larger of the direct-I/O alignment and the physical sector, at least
    /// 512.
    pub block_bytes: u32,
    /// Whether files opened as `Direct` bypass the page cache here.
    pub direct: bool,
    /// The backend in use.
    pub backend: Backend,
    /// Why io_uring is not used although it was asked for, with the remedy; `None` if all is well.
    pub warning: Option<String>,
}

/// Which way operations reach the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// io_uring.
    Ring,
    /// Plain system calls.
    Syscalls,
    /// No kernel: memory only, for tests.
    Memory,
}
