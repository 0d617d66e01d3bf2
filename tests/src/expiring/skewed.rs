//! [`Skewed`]: a directory of the real file system, with clocks that jump.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use uarr_uring::{
    Facts, FileMap, LockError, LogWriterOptions, MappedChunk, OpenMode, Owner, Storage, System,
    SystemFile, SystemLock, SystemLog, SystemMapWriter, SystemOptions,
};

const NS_PER_MS: i64 = 1_000_000;

/// [`System`], whose clocks are off. Clones share them.
#[derive(Clone, Debug)]
pub struct Skewed {
    system: Arc<System>,
    wall_ms: Arc<AtomicI64>,
    passed_ms: Arc<AtomicU64>,
}

impl Skewed {
    /// `directory`, which must exist; the wall clock is ahead by `wall_ms`.
    pub fn open(directory: &Path, wall_ms: i64, options: SystemOptions) -> io::Result<Self> {
        let system = Arc::new(System::open(directory, options)?);
        Ok(Self { system, wall_ms: Arc::new(wall_ms.into()), passed_ms: Arc::default() })
    }

    /// By how much the wall clock is ahead.
    pub fn ahead_ms(&self) -> i64 {
        self.wall_ms.load(Ordering::SeqCst)
    }

    /// Sets the wall clock.
    pub fn jump(&self, by_ms: i64) {
        self.wall_ms.fetch_add(by_ms, Ordering::SeqCst);
    }

    /// Time goes on by both clocks.
    pub fn advance(&self, ms: u64) {
        self.passed_ms.fetch_add(ms, Ordering::SeqCst);
        self.jump(ms.cast_signed());
    }
}

impl Storage for Skewed {
    type File = SystemFile;
    type Map = FileMap;
    type MapWriter = SystemMapWriter;
    type Log = SystemLog;
    type Lock = SystemLock;

    fn facts(&self) -> &Facts {
        self.system.facts()
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.system.list(path)
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.system.create_dir(path)
    }

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<SystemFile> {
        Storage::open(&*self.system, path, mode)
    }

    fn rename(&self, source: &str, target: &str) -> io::Result<()> {
        self.system.rename(source, target)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.system.remove(path)
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        self.system.remove_dir(path)
    }

    fn make_dir_durable(&self, path: &str) -> io::Result<()> {
        self.system.make_dir_durable(path)
    }

    fn holder(&self, path: &str) -> io::Result<Option<uarr_uring::Holder>> {
        self.system.holder(path)
    }

    fn lock(&self, path: &str, patience: Duration) -> Result<SystemLock, LockError> {
        self.system.lock(path, patience)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.system.free_bytes()
    }

    fn map(
        &self,
        file: &SystemFile,
        reserve_bytes: u64,
        chunk_bytes: u64,
        chunks: &[MappedChunk],
    ) -> io::Result<(FileMap, SystemMapWriter)> {
        self.system.map(file, reserve_bytes, chunk_bytes, chunks)
    }

    fn log_writer(&self, options: LogWriterOptions) -> io::Result<SystemLog> {
        self.system.log_writer(options)
    }

    fn owner(&self) -> Owner {
        self.system.owner()
    }

    fn now(&self) -> Duration {
        self.system.now() + Duration::from_millis(self.passed_ms.load(Ordering::SeqCst))
    }

    fn wall_ns(&self) -> i64 {
        self.system.wall_ns() + self.ahead_ms() * NS_PER_MS
    }

    fn random(&self) -> u64 {
        self.system.random()
    }
}
