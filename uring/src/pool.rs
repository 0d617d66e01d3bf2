//! [`BufferPool`]: the buffers of a log writer, made once.
//!
//! Invariants:
//! - the pool gives each buffer out once and zeroed; it belongs to its user from then on, and keeps
//!   its index however often it is used;
//! - with no buffer left, or none large enough, the pool makes one that belongs to no pool: an
//!   empty pool is slower, never an error.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::buffer::{AlignedBuffer, Registration};
use crate::error::invalid_input;
use crate::owner::Owner;
use crate::storage::{GroupWrite, LogWriterOptions};

/// Pooled buffers at most.
const BUFFER_COUNT_MAX: usize = 16;
/// All pooled buffers together: the usual limit of locked memory.
const POOL_BYTES_MAX: usize = 8 << 20;

/// Numbers the pools of a process, so that no ring takes another's buffer for its own.
static NEXT_POOL_ID: AtomicU64 = AtomicU64::new(0);

/// Zeroed buffers of one size, the last index first.
#[derive(Debug)]
pub struct BufferPool {
    id: u64,
    /// The process whose writes the buffers are for.
    owner: Owner,
    free: Vec<AlignedBuffer>,
    buffer_bytes: usize,
    block_bytes: usize,
}

impl BufferPool {
    /// Makes all buffers. `InvalidInput` for options beyond their limits.
    pub fn new(options: LogWriterOptions, block_bytes: u32) -> io::Result<Self> {
        let LogWriterOptions { buffer_count, buffer_bytes, .. } = options;
        let block_bytes = block_bytes as usize;
        if !(1..=BUFFER_COUNT_MAX).contains(&buffer_count) {
            return Err(invalid_input(format!(
                "{buffer_count} buffers; there can be 1 to {BUFFER_COUNT_MAX}"
            )));
        }
        if buffer_bytes == 0 || !buffer_bytes.is_multiple_of(block_bytes) {
            return Err(invalid_input(format!(
                "buffers of {buffer_bytes} bytes; the size must be a multiple of {block_bytes}"
            )));
        }
        if buffer_bytes > POOL_BYTES_MAX / buffer_count {
            return Err(invalid_input(format!(
                "{buffer_count} buffers of {buffer_bytes} bytes are more than {POOL_BYTES_MAX}"
            )));
        }
        let id = NEXT_POOL_ID.fetch_add(1, Ordering::Relaxed);
        let free = (0..buffer_count as u16)
            .map(|index| {
                let mut buffer = AlignedBuffer::new(buffer_bytes);
                buffer.set_registration(Some(Registration { pool_id: id, index }));
                buffer
            })
            .collect();
        Ok(Self { id, owner: Owner::new(), free, buffer_bytes, block_bytes })
    }

    /// The process whose writes the buffers are for.
    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }

    /// The buffers that are free now; right after `new`, all of them, by index.
    pub(crate) fn free_buffers(&self) -> &[AlignedBuffer] {
        &self.free
    }

    /// A zeroed buffer of at least `bytes`.
    pub fn take(&mut self, bytes: usize) -> Arc<AlignedBuffer> {
        if bytes <= self.buffer_bytes
            && let Some(buffer) = self.free.pop()
        {
            return Arc::new(buffer);
        }
        Arc::new(AlignedBuffer::new(bytes))
    }

    /// The index of a buffer of this pool.
    pub(crate) fn index_of(&self, buffer: &AlignedBuffer) -> Option<u16> {
        let registration = buffer.registration()?;
        (registration.pool_id == self.id).then_some(registration.index)
    }

    /// Refuses a write that is not made of whole blocks inside its buffer.
    pub fn check<F>(&self, write: &GroupWrite<F>) -> io::Result<()> {
        let GroupWrite { start, len, offset, .. } = *write;
        let inside = start.checked_add(len).is_some_and(|end| end <= write.buffer.len());
        let whole = [start, len].iter().all(|bytes| bytes.is_multiple_of(self.block_bytes))
            && offset.is_multiple_of(self.block_bytes as u64);
        if len > 0 && inside && whole && offset.checked_add(len as u64).is_some() {
            return Ok(());
        }
        Err(invalid_input(format!(
            "a log write of {len} bytes from {start} of {} to offset {offset}, in blocks of {}",
            write.buffer.len(),
            self.block_bytes
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::CommitStrategy;

    fn options(buffer_count: usize, buffer_bytes: usize) -> LogWriterOptions {
        LogWriterOptions { strategy: CommitStrategy::Syscall, buffer_count, buffer_bytes }
    }

    #[test]
    fn limits_are_kept() {
        for (buffer_count, buffer_bytes, fine) in [
            (1, 512, true),
            (16, 512 << 10, true),
            (1, 8 << 20, true),
            (0, 4096, false),
            (17, 4096, false),
            (1, 0, false),
            (1, 513, false),
            (2, 8 << 20, false),
            (16, usize::MAX - 511, false),
        ] {
            let pool = BufferPool::new(options(buffer_count, buffer_bytes), 512);
            assert_eq!(pool.is_ok(), fine, "{buffer_count} {buffer_bytes}");
        }
    }

    #[test]
    fn an_empty_pool_still_gives_buffers() {
        let mut pool = BufferPool::new(options(2, 8192), 4096).unwrap();
        let large = pool.take(8193);
        assert_eq!((large.len(), pool.index_of(&large)), (12288, None));
        let taken: Vec<_> = (0..3).map(|_| pool.take(100)).collect();
        let indexes: Vec<_> = taken.iter().map(|buffer| pool.index_of(buffer)).collect();
        assert_eq!(indexes, [Some(1), Some(0), None]);
        assert!(pool.free_buffers().is_empty());
        let mut other = BufferPool::new(options(1, 8192), 4096).unwrap();
        assert_eq!(pool.index_of(&other.take(1)), None);
    }

    #[test]
    fn only_whole_blocks_are_written() {
        let pool = BufferPool::new(options(1, 8192), 4096).unwrap();
        for (offset, start, len, fine) in [
            (0, 0, 4096, true),
            (4096, 4096, 4096, true),
            (0, 0, 8192, true),
            (0, 0, 0, false),
            (0, 4096, 8192, false),
            (0, usize::MAX - 4095, 4096, false),
            (512, 0, 4096, false),
            (0, 512, 4096, false),
            (0, 0, 4095, false),
            (u64::MAX - 4095, 0, 4096, false),
        ] {
            let buffer = Arc::new(AlignedBuffer::new(8192));
            let write = GroupWrite { file: Arc::new(()), offset, buffer, start, len };
            assert_eq!(pool.check(&write).is_ok(), fine, "{offset} {start} {len}");
        }
    }
}
