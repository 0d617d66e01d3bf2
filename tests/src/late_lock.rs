//! [`LateLock`]: a disk in memory whose lock is had later than it was asked for.

use std::io;
use std::sync::Mutex;
use std::time::Duration;

use uarr_disk_sim::Memory;
use uarr_uring::{
    Facts, FileMap, Holder, LockError, LogWriterOptions, MappedChunk, OpenMode, Storage,
};

/// What the one who has the lock does before it goes.
type Meanwhile = Box<dyn FnOnce() + Send>;

/// [`Memory`] as an opener finds it who waits for another to close.
pub struct LateLock {
    disk: Memory,
    meanwhile: Mutex<Option<Meanwhile>>,
}

impl LateLock {
    /// A handle of `disk`; the first who asks for its lock waits while `meanwhile` runs.
    pub fn new(disk: Memory, meanwhile: impl FnOnce() + Send + 'static) -> Self {
        Self { disk, meanwhile: Mutex::new(Some(Box::new(meanwhile))) }
    }
}

impl Storage for LateLock {
    type File = <Memory as Storage>::File;
    type Map = <Memory as Storage>::Map;
    type MapWriter = <Memory as Storage>::MapWriter;
    type Log = <Memory as Storage>::Log;
    type Lock = <Memory as Storage>::Lock;

    fn facts(&self) -> &Facts {
        self.disk.facts()
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.disk.list(path)
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Self::File> {
        Storage::open(&self.disk, path, mode)
    }

    fn rename(&self, source: &str, target: &str) -> io::Result<()> {
        self.disk.rename(source, target)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        self.disk.remove_dir(path)
    }

    fn make_dir_durable(&self, path: &str) -> io::Result<()> {
        self.disk.make_dir_durable(path)
    }

    fn lock(&self, path: &str, patience: Duration) -> Result<Self::Lock, LockError> {
        let meanwhile = self.meanwhile.lock().map_or(None, |mut waiting| waiting.take());
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        self.disk.lock(path, patience)
    }

    fn holder(&self, path: &str) -> io::Result<Option<Holder>> {
        self.disk.holder(path)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }

    fn map(
        &self,
        file: &Self::File,
        reserve_bytes: u64,
        chunk_bytes: u64,
        chunks: &[MappedChunk],
    ) -> io::Result<(FileMap, Self::MapWriter)> {
        self.disk.map(file, reserve_bytes, chunk_bytes, chunks)
    }

    fn log_writer(&self, options: LogWriterOptions) -> io::Result<Self::Log> {
        self.disk.log_writer(options)
    }

    fn now(&self) -> Duration {
        self.disk.now()
    }

    fn wall_ns(&self) -> i64 {
        self.disk.wall_ns()
    }

    fn random(&self) -> u64 {
        self.disk.random()
    }
}
