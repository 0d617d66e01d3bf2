//! Writes of a log alone, past the engine but through its own way to the device: strategy, size,
//! writes in flight, and the space of the file are chosen.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use uarr_uring::{
    AlignedBuffer, CommitStrategy, GroupWrite, LogWriter, LogWriterOptions, OpenMode, Storage,
    StorageFile, System, SystemOptions,
};

use crate::error::BenchError;
use crate::measure::job::nanos;
use crate::measure::sample::Sample;
use crate::measure::store::Counters;
use crate::measure::timeline::Timeline;
use crate::measure::usage::Usage;

/// Size of the file; a measurement ends early if it has no space of the kind left.
const FILE_BYTES: u64 = 256 << 20;
const FILL_BYTES: usize = 1 << 20;
const FILE_NAME: &str = "log-floor.tmp";

/// The space of the file that is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extents {
    /// Allocated, and written before: a write changes nothing but data.
    Written,
    /// Allocated only: each write makes the file system note that it is written now.
    Unwritten,
    /// None: each write extends the file.
    None,
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct LogShape {
    /// How a write is made durable.
    pub strategy: CommitStrategy,
    /// Bytes of a write.
    pub block_bytes: usize,
    /// Writes in flight.
    pub queue_depth: usize,
    /// The space they go to.
    pub extents: Extents,
}

/// A log that is only written to.
pub struct LogFloor {
    shape: LogShape,
    system: System,
    path: PathBuf,
    log: <System as Storage>::Log,
    /// Buffers that no write has.
    buffers: Vec<Arc<AlignedBuffer>>,
    /// The file, where it serves for many measurements.
    file: Option<Arc<<System as Storage>::File>>,
    next_offset: u64,
}

impl LogFloor {
    /// A log in `dir`.
    pub fn create(dir: &Path, shape: LogShape) -> Result<Self, BenchError> {
        let failed = |error| BenchError::at(dir, "cannot prepare a log in", &error);
        let system = System::open(dir, SystemOptions::default()).map_err(failed)?;
        let options = LogWriterOptions {
            strategy: shape.strategy,
            buffer_count: shape.queue_depth,
            buffer_bytes: shape.block_bytes,
        };
        let mut log = system.log_writer(options).map_err(failed)?;
        let mut buffers = Vec::new();
        for _ in 0..shape.queue_depth {
            let mut buffer = log.buffer(shape.block_bytes);
            let bytes = Arc::get_mut(&mut buffer).expect("a new buffer has one owner");
            bytes.fill(0xa5);
            buffers.push(buffer);
        }
        let (path, next_offset) = (dir.join(FILE_NAME), 0);
        Ok(Self { shape, system, path, log, buffers, file: None, next_offset })
    }

    /// A file whose space is as the shape says.
    fn new_file(&self) -> Result<<System as Storage>::File, BenchError> {
        let failed = |error| BenchError::at(&self.path, "cannot prepare", &error);
        let file = self.system.open(FILE_NAME, OpenMode::CreateDirect).map_err(failed)?;
        if self.shape.extents == Extents::None {
            return Ok(file);
        }
        file.allocate(0, FILE_BYTES).map_err(failed)?;
        if self.shape.extents == Extents::Written {
            let mut fill = AlignedBuffer::new(FILL_BYTES);
            fill.fill(0x5a);
            for offset in (0..FILE_BYTES).step_by(FILL_BYTES) {
                file.write_at(&fill, offset).map_err(failed)?;
            }
        }
        file.make_durable().map_err(failed)?;
        Ok(file)
    }

    /// Writes one block after the other for `duration`.
    pub fn measure(&mut self, duration: Duration) -> Result<Sample, BenchError> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                self.next_offset = 0;
                Arc::new(self.new_file()?)
            }
        };
        let failed = |error: std::io::Error| BenchError::Setup(format!("writing a log: {error}"));
        let (usage, counters) = (Usage::now(), self.log.counters());
        let start = Instant::now();
        let mut timeline = Timeline::new(start, duration);
        // Writes may complete in any order; each is known by its buffer.
        let mut flight: Vec<(Arc<AlignedBuffer>, Instant)> = Vec::new();
        let (mut end, mut op_count) = (start, 0);
        loop {
            while end < start + duration && !self.buffers.is_empty() && self.has_space() {
                let buffer = self.buffers.pop().expect("there is one, as was just seen");
                let (offset, len) = (self.next_offset, self.shape.block_bytes);
                let shared = Arc::clone(&buffer);
                let write = GroupWrite { file: Arc::clone(&file), offset, buffer, start: 0, len };
                let begin = Instant::now();
                self.log.submit(write).map_err(failed)?;
                flight.push((shared, begin));
                self.next_offset += len as u64;
            }
            let Some(done) = self.log.complete() else { break };
            end = Instant::now();
            done.result.map_err(failed)?;
            let place = flight.iter().position(|(buffer, _)| Arc::ptr_eq(buffer, &done.buffer));
            let place = place.expect("a write that completes was submitted");
            let (buffer, begin) = flight.swap_remove(place);
            self.buffers.push(buffer);
            timeline.record(end, nanos(end - begin));
            op_count += 1;
        }
        let after = self.log.counters();
        let mut sample = Sample::since(usage, op_count, end - start);
        sample.add_slices(timeline.into_slices());
        sample.counters = Some(Counters {
            commit_count: op_count,
            flush_count: after.flush_count - counters.flush_count,
            write_count: after.write_count - counters.write_count,
        });
        if self.shape.extents == Extents::Written {
            self.file = Some(file);
        } else {
            self.remove_file()?;
        }
        Ok(sample)
    }

    /// Whether there is space for another write; where it was all written before, from the begin
    /// on again.
    fn has_space(&mut self) -> bool {
        let is_full = self.next_offset + self.shape.block_bytes as u64 > FILE_BYTES;
        if is_full && self.shape.extents == Extents::Written {
            self.next_offset = 0;
            return true;
        }
        !is_full
    }

    fn remove_file(&self) -> Result<(), BenchError> {
        let removed = self.system.remove(FILE_NAME);
        removed.map_err(|error| BenchError::at(&self.path, "cannot remove", &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_write_is_counted_flushed_and_where_it_belongs() {
        for extents in [Extents::Written, Extents::Unwritten, Extents::None] {
            for (strategy, queue_depth) in
                [(CommitStrategy::Dsync, 1), (CommitStrategy::LinkedFdatasync, 4)]
            {
                let dir = tempfile::tempdir().unwrap();
                let shape = LogShape { strategy, block_bytes: 8192, queue_depth, extents };
                let mut floor = LogFloor::create(dir.path(), shape).unwrap();
                let sample = floor.measure(Duration::from_millis(5)).unwrap();
                assert_eq!(sample.latencies.unwrap().len(), sample.op_count);
                assert!(sample.counters.unwrap().flush_count >= sample.op_count);
                assert_eq!(floor.buffers.len(), queue_depth);
                assert_eq!(floor.next_offset, sample.op_count * 8192);
                let is_kept = dir.path().join(FILE_NAME).exists();
                assert_eq!(is_kept, extents == Extents::Written);
                assert!(floor.measure(Duration::from_millis(5)).unwrap().op_count > 0);
            }
        }
    }
}
