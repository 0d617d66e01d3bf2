//! Finds the commit strategy that is fastest on this directory.

use std::io;
use std::sync::Arc;

use uarr_uring::{
    CommitStrategy, GroupWrite, LogWriter, LogWriterOptions, OpenMode, Storage, StorageFile,
};

const PROBE_FILE: &str = "wal/tune.new";
/// Commits measured with each strategy, taking turns.
const ROUND_COUNT: usize = 40;
const STRATEGIES: [CommitStrategy; 3] =
    [CommitStrategy::LinkedFdatasync, CommitStrategy::Dsync, CommitStrategy::Syscall];

/// Number of a strategy in the superblock; 0 is not measured.
pub(crate) fn to_number(strategy: CommitStrategy) -> u32 {
    match strategy {
        CommitStrategy::LinkedFdatasync => 1,
        CommitStrategy::Dsync => 2,
        CommitStrategy::Syscall => 3,
    }
}

/// The strategy with this number; what was not measured defaults to `Dsync`.
pub(crate) fn from_number(number: u32) -> CommitStrategy {
    let found = STRATEGIES.into_iter().find(|strategy| to_number(*strategy) == number);
    found.unwrap_or(CommitStrategy::Dsync)
}

/// Times one-block commits into a written file with each strategy the backend has, taking turns.
/// Returns the fastest and the medians in ns, 0 for those that cannot be used here.
pub(crate) fn measure<S: Storage>(storage: &S) -> io::Result<(CommitStrategy, [u64; 3])> {
    let measured = measure_in_file(storage);
    storage.remove(PROBE_FILE)?;
    measured
}

fn measure_in_file<S: Storage>(storage: &S) -> io::Result<(CommitStrategy, [u64; 3])> {
    let block_bytes = storage.facts().block_bytes as usize;
    let options =
        LogWriterOptions { strategy: CommitStrategy::Dsync, buffer_count: 1, buffer_bytes: 65_536 };
    let mut writer = storage.log_writer(options)?;
    let mut buffer = writer.buffer(block_bytes);
    let file = Arc::new(storage.open(PROBE_FILE, OpenMode::CreateDirect)?);
    let bytes = ROUND_COUNT * STRATEGIES.len() * block_bytes;
    file.allocate(0, bytes as u64)?;
    file.write_at(&uarr_uring::AlignedBuffer::new(bytes)[..bytes], 0)?;
    file.make_durable()?;

    let mut samples = [const { Vec::new() }; 3];
    for round in 0..ROUND_COUNT * STRATEGIES.len() {
        let which = round % STRATEGIES.len();
        if writer.set_strategy(STRATEGIES[which]).is_err() {
            continue;
        }
        let offset = (round * block_bytes) as u64;
        let begun = storage.now();
        let write = GroupWrite {
            file: file.clone(),
            offset,
            buffer,
            start: 0,
            len: block_bytes,
            durable: true,
        };
        writer.submit(write)?;
        let done = writer.complete().ok_or_else(|| io::Error::other("a commit was lost"))?;
        done.result?;
        buffer = done.buffer;
        let elapsed = storage.now().saturating_sub(begun).as_nanos();
        samples[which].push(u64::try_from(elapsed).unwrap_or(u64::MAX));
    }
    let medians = samples.map(|mut samples| {
        samples.sort_unstable();
        samples.get(samples.len() / 2).copied().unwrap_or(0)
    });
    let measured = STRATEGIES.into_iter().zip(medians).filter(|(_, median)| *median > 0);
    let best = measured.min_by_key(|(_, median)| *median).map(|(strategy, _)| strategy);
    Ok((best.unwrap_or(CommitStrategy::Dsync), medians))
}
