//! Finds the commit strategy that is fastest on this directory.

use std::io;
use std::sync::Arc;

use uarr_layout::superblock::Superblock;
use uarr_uring::{
    CommitStrategy, GroupWrite, LogWriter, LogWriterOptions, OpenMode, Storage, StorageFile,
};

use crate::files::{PROBE_FILE, remove_if_present};

/// Commits measured with each strategy, taking turns, when a database is created.
pub(crate) const ROUNDS_AT_CREATION: usize = 40;
const STRATEGIES: [CommitStrategy; 3] =
    [CommitStrategy::LinkedFdatasync, CommitStrategy::Dsync, CommitStrategy::Syscall];
/// The strategies by CPU time per commit, least first. One that costs more must be faster by more
/// than noise.
const THRIFTIEST_FIRST: [usize; 3] = [1, 0, 2];
/// The median of a costlier strategy is below this part of the other's.
const CLEARLY_FASTER: f64 = 0.97;

// Each strategy has its place in the order, once.
const _: () = assert!(THRIFTIEST_FIRST.len() == STRATEGIES.len());
const _: () = {
    let [first, second, third] = THRIFTIEST_FIRST;
    assert!(1 << first | 1 << second | 1 << third == 0b111);
};
const _: () = assert!(CLEARLY_FASTER < 1.0);

/// What the commit strategies take on the database's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommitTuning {
    /// What [`crate::CommitPath::Auto`] uses from now on.
    pub best: CommitStrategy,
    /// Median of a durable write of one block with linked fdatasync, ring dsync and system call, in
    /// ns; 0: cannot be used here.
    pub median_ns: [u64; 3],
}

impl CommitTuning {
    fn of(median_ns: [u64; 3]) -> Self {
        let mut best: Option<usize> = None;
        for which in THRIFTIEST_FIRST.into_iter().filter(|which| median_ns[*which] > 0) {
            let is_better = best.is_none_or(|best| {
                (median_ns[which] as f64) < median_ns[best] as f64 * CLEARLY_FASTER
            });
            if is_better {
                best = Some(which);
            }
        }
        assert!(best.is_none_or(|best| median_ns[best] > 0), "only what was measured is best");
        Self { best: best.map_or(CommitStrategy::Dsync, |which| STRATEGIES[which]), median_ns }
    }

    pub(crate) fn store(&self, block: &mut Superblock) {
        block.strategy = to_number(self.best).into();
        assert_eq!(from_number(block.strategy.get()), self.best);
        block.strategy_ns = self.median_ns.map(Into::into);
    }
}

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
pub(crate) fn measure<S: Storage>(storage: &S, rounds: usize) -> io::Result<CommitTuning> {
    assert!(rounds > 0);
    remove_if_present(storage, PROBE_FILE)?;
    let measured = measure_in_file(storage, rounds);
    storage.remove(PROBE_FILE)?;
    measured
}

fn measure_in_file<S: Storage>(storage: &S, rounds: usize) -> io::Result<CommitTuning> {
    let block_bytes = storage.facts().block_bytes as usize;
    let options =
        LogWriterOptions { strategy: CommitStrategy::Dsync, buffer_count: 1, buffer_bytes: 65_536 };
    let mut writer = storage.log_writer(options)?;
    let mut buffer = writer.buffer(block_bytes);
    let file = Arc::new(storage.open(PROBE_FILE, OpenMode::CreateDirect)?);
    let bytes = rounds * STRATEGIES.len() * block_bytes;
    file.allocate(0, bytes as u64)?;
    file.write_at(&uarr_uring::AlignedBuffer::new(bytes)[..bytes], 0)?;
    file.make_durable()?;

    let mut samples = [const { Vec::new() }; 3];
    for round in 0..rounds * STRATEGIES.len() {
        let which = round % STRATEGIES.len();
        if writer.set_strategy(STRATEGIES[which]).is_err() {
            continue;
        }
        let offset = (round * block_bytes) as u64;
        let begun = storage.now();
        let write = GroupWrite { file: file.clone(), offset, buffer, start: 0, len: block_bytes };
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
    Ok(CommitTuning::of(medians))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_costlier_strategy_must_be_clearly_faster() {
        let best = |median_ns| CommitTuning::of(median_ns).best;
        assert_eq!(best([100, 100, 98]), CommitStrategy::Dsync);
        assert_eq!(best([100, 100, 90]), CommitStrategy::Syscall);
        assert_eq!(best([90, 100, 89]), CommitStrategy::LinkedFdatasync);
        assert_eq!(best([0, 0, 500]), CommitStrategy::Syscall);
        assert_eq!(best([0, 0, 0]), CommitStrategy::Dsync);
    }
}
