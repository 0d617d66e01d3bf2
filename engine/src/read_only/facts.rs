//! Numbers of a database that is only read.

use uarr_layout::chunk::{ChunkEntry, ChunkState};
use uarr_uring::{CommitStrategy, Storage, StorageFile};

use crate::error::{Error, ErrorKind, Result};
use crate::log::strategy::from_number;
use crate::read_only::handle::ReadOnly;

/// Bytes of the lines that live records are counted by.
const LINE_BYTES: u64 = 64;

/// What [`ReadOnly::stats`] knows. Counters of writes, the index in memory and what waits for
/// readers only an open database knows: [`crate::Stats`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReadOnlyStats {
    /// Keys of all tables, such as have expired and are not deleted yet included; those of tables
    /// whose record in the catalog is damaged are not.
    pub key_count: u64,
    /// The last record of the log.
    pub last_lsn: u64,
    /// Number of the checkpoint that reading starts from; 0: the empty database.
    pub checkpoint: u64,
    /// Keys that its image has.
    pub image_entry_count: u64,
    /// Length of its image.
    pub image_bytes: u64,
    /// Bytes that chunks of the data file took at the checkpoint, but for what the last one had
    /// left.
    pub data_bytes: u64,
    /// Bytes of records that keys led to at the checkpoint, in units of 64.
    pub live_bytes: u64,
    /// Bytes of others in chunks that were in use.
    pub dead_bytes: u64,
    /// Bytes of chunks that were evacuated and waited for their places to be free.
    pub waiting_bytes: u64,
    /// Length of the data file.
    pub data_file_bytes: u64,
    /// Unit of log writes.
    pub block_bytes: u32,
    /// The commit strategy that was the fastest when they were measured.
    pub strategy: CommitStrategy,
    /// Median commit of each strategy in ns, in the order of [`CommitStrategy`]; 0: not measured.
    pub strategy_ns: [u64; 3],
}

impl<S: Storage> ReadOnly<S> {
    /// Numbers of the database; counts its keys, which reads the index image.
    ///
    /// Errors: as for [`ReadOnly::get`].
    pub fn stats(&self) -> Result<ReadOnlyStats> {
        let mut of_tables = 0;
        for table in self.tables() {
            match table {
                Ok(table) => of_tables += table.key_count,
                // What damage hides of the catalog is not counted.
                Err(error) if error.kind() == ErrorKind::Corruption => {}
                Err(error) => return Err(error),
            }
        }
        let key_count = of_tables + self.of_default().count_keys()?;
        self.shared().read(|view| {
            let chunks = view.landing.chunks.values();
            let durable = |chunk: &ChunkEntry| u64::from(chunk.durable_bytes.get());
            let data_bytes = chunks.clone().map(|chunk| match chunk.state() {
                ChunkState::Open => durable(chunk),
                _ => view.landing.chunk_bytes,
            });
            let live = chunks.clone().map(|chunk| u64::from(chunk.live_lines.get()) * LINE_BYTES);
            let (data_bytes, live_bytes) = (data_bytes.sum::<u64>(), live.sum::<u64>());
            let places = &view.landing.places;
            let used_bytes = places.used_count() * view.landing.chunk_bytes;
            let waiting_bytes = places.frontier().taken_bytes - used_bytes;
            let data_file_bytes = view.data_file.len();
            let data_file_bytes = data_file_bytes
                .map_err(|error| Error::io("cannot look at the data file", error))?;
            let (block, checkpoint) = (&view.block, view.checkpoint());
            Ok(ReadOnlyStats {
                key_count,
                last_lsn: view.log.end.lsn,
                checkpoint: checkpoint.number.get(),
                image_entry_count: checkpoint.entry_count.get(),
                image_bytes: checkpoint.image_bytes.get(),
                data_bytes: data_bytes + waiting_bytes,
                live_bytes,
                dead_bytes: data_bytes.saturating_sub(live_bytes),
                waiting_bytes,
                data_file_bytes,
                block_bytes: block.block_bytes.get(),
                strategy: from_number(block.strategy.get()),
                strategy_ns: block.strategy_ns.map(|ns| ns.get()),
            })
        })
    }
}
