//! [`Floor`]: a short measurement of what durable writes cost in the directory, and of what they
//! are made of.
//!
//! Two files without a name take all writes; nothing is left. Kinds of operations take turns in
//! short bursts, so that what others do on the machine meanwhile meets all of them. Each burst
//! begins when the device has settled.

use std::fs::File;
use std::hint::black_box;
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::fs::FallocateFlags;
use rustix::io::ReadWriteFlags;
use rustix::thread::set_current_timer_slack;
use uarr_uring::AlignedBuffer;

use super::probe::unnamed_file;

/// Size of each file.
pub const FILE_BYTES: u64 = 16 << 20;
/// Unit of preparing a file.
const FILL_BYTES: usize = 1 << 20;
const ROUND_COUNT: usize = 6;
const BURST: Duration = Duration::from_millis(40);
/// No burst begins later: a device that takes this long has few samples.
const DURATION_MAX: Duration = Duration::from_secs(3);
/// Fewer samples say nothing of a median.
const SAMPLE_COUNT_MIN: u64 = 5;
const SLEEP_COUNT: usize = 200;
const SLEEP: Duration = Duration::from_micros(200);
const CLOCK_READ_COUNT: u32 = 10_000;
/// The disks write so much more than is measured when others use them, too; what file systems add
/// stays below.
const BUSY_FACTOR: u64 = 4;
/// Longest time that is told apart.
const NS_MAX: u64 = 60_000_000_000;

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// One block written, then fdatasync.
    Durable,
    /// One block written with RWF_DSYNC.
    Through,
    /// One block written and not flushed.
    Unflushed,
    /// One block written to where nothing was written before, then fdatasync.
    Unwritten,
    /// One block read from a random place.
    Read,
}

impl Op {
    /// All of them, in the order in which they take turns.
    pub const ALL: [Self; 5] =
        [Self::Durable, Self::Through, Self::Unflushed, Self::Unwritten, Self::Read];

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Durable => "write and fdatasync",
            Self::Through => "write with RWF_DSYNC",
            Self::Unflushed => "write, not flushed",
            Self::Unwritten => "same as the first, extents not written before",
            Self::Read => "read at a random place",
        }
    }

    /// For programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Durable => "write_fdatasync",
            Self::Through => "write_dsync",
            Self::Unflushed => "write_unflushed",
            Self::Unwritten => "write_fdatasync_unwritten",
            Self::Read => "read_random",
        }
    }
}

/// How long something took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How often it was timed.
    pub count: u64,
    /// Median.
    pub p50_ns: u64,
    /// What one in a hundred exceeds.
    pub p99_ns: u64,
}

impl Times {
    fn of(histogram: &Histogram<u64>) -> Option<Self> {
        (histogram.len() >= SAMPLE_COUNT_MIN).then(|| Self {
            count: histogram.len(),
            p50_ns: histogram.value_at_quantile(0.5),
            p99_ns: histogram.value_at_quantile(0.99),
        })
    }
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Floor {
    /// Size of one write or read.
    pub block_bytes: usize,
    /// Whether the page cache was bypassed.
    pub is_direct: bool,
    /// In the order of [`Op::ALL`]; none where the file system cannot do it, or where it took too
    /// long to say anything.
    pub times: [Option<Times>; Op::ALL.len()],
    /// How much later than asked a sleeping thread ran again.
    pub wake: Option<Times>,
    /// What one reading of the clock takes.
    pub clock_ns: f64,
    /// How long all of it took.
    pub duration: Duration,
    /// Bytes written to measure.
    pub own_bytes: u64,
    /// Bytes that the disks below wrote meanwhile, for everybody; none if they do not count.
    pub disk_bytes: Option<u64>,
}

impl Floor {
    /// Measures in `dir` for some two seconds. `block_bytes` is the unit of the log;
    /// `may_be_direct` says whether direct I/O means anything there.
    pub fn measure(dir: &Path, block_bytes: usize, may_be_direct: bool) -> io::Result<Self> {
        let begun = Instant::now();
        let mut bench = Bench::prepare(dir, block_bytes)?;
        bench.is_direct &= may_be_direct;
        let mut histograms = Op::ALL.map(|_| histogram());
        'rounds: for _ in 0..ROUND_COUNT {
            for (op, histogram) in Op::ALL.into_iter().zip(&mut histograms) {
                if begun.elapsed() > DURATION_MAX {
                    break 'rounds;
                }
                bench.burst(op, histogram)?;
            }
        }
        Ok(Self {
            block_bytes,
            is_direct: bench.is_direct,
            times: histograms.each_ref().map(Times::of),
            wake: wake(),
            clock_ns: clock_ns(),
            duration: begun.elapsed(),
            own_bytes: bench.own_bytes,
            disk_bytes: None,
        })
    }

    /// How long `op` took.
    pub fn of(&self, op: Op) -> Option<Times> {
        let index = Op::ALL.iter().position(|other| *other == op)?;
        self.times[index]
    }

    /// By how many microseconds the median of `op` is above that of `other`; none if it is not.
    pub fn difference_us(&self, op: Op, other: Op) -> Option<f64> {
        let more = self.of(op)?.p50_ns.checked_sub(self.of(other)?.p50_ns)?;
        (more > 0).then_some(more as f64 / 1000.0)
    }

    /// Whether others wrote much to the disks meanwhile.
    pub fn is_busy(&self) -> bool {
        self.disk_bytes.is_some_and(|all| all / BUSY_FACTOR > self.own_bytes)
    }

    /// Median of the faster way to write durably.
    pub fn durable_ns(&self) -> Option<u64> {
        let ways = [Op::Durable, Op::Through].into_iter().filter_map(|op| self.of(op));
        ways.map(|times| times.p50_ns).min()
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, NS_MAX, 3).expect("the bounds are in order")
}

/// The files, and where the next operation goes.
struct Bench {
    written: File,
    /// Allocated, and written in order, each block once; none where that cannot be.
    unwritten: Option<File>,
    is_direct: bool,
    buffer: AlignedBuffer,
    next_block: u64,
    next_unwritten: u64,
    random: u64,
    own_bytes: u64,
}

impl Bench {
    fn prepare(dir: &Path, block_bytes: usize) -> io::Result<Self> {
        let (written, is_direct) = unnamed_file(dir)?;
        let mut fill = AlignedBuffer::new(FILL_BYTES);
        fill.fill(0x5a);
        for offset in (0..FILE_BYTES).step_by(FILL_BYTES) {
            written.write_all_at(&fill, offset)?;
        }
        written.sync_all()?;
        let unwritten = unnamed_file(dir).ok().and_then(|(file, _)| {
            rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES).ok()?;
            file.sync_all().ok()?;
            Some(file)
        });
        let mut buffer = AlignedBuffer::new(block_bytes);
        buffer.fill(0xa5);
        Ok(Self {
            written,
            unwritten,
            is_direct,
            buffer,
            next_block: 0,
            next_unwritten: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            own_bytes: FILE_BYTES,
        })
    }

    fn burst(&mut self, op: Op, histogram: &mut Histogram<u64>) -> io::Result<()> {
        self.written.sync_data()?;
        let begun = Instant::now();
        while begun.elapsed() < BURST {
            let Some(offset) = self.place(op) else { return Ok(()) };
            let start = Instant::now();
            match self.step(op, offset) {
                // Not every file system knows the flag.
                Err(error) if op == Op::Through && error.kind() == io::ErrorKind::Unsupported => {
                    return Ok(());
                }
                stepped => stepped?,
            }
            let ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(NS_MAX);
            histogram.saturating_record(ns.max(1));
            if op != Op::Read {
                self.own_bytes += self.buffer.len() as u64;
            }
        }
        Ok(())
    }

    /// Where the next operation goes; none if there is nothing to be timed.
    fn place(&mut self, op: Op) -> Option<u64> {
        let block_bytes = self.buffer.len() as u64;
        let block_count = FILE_BYTES / block_bytes;
        let block = match op {
            Op::Durable | Op::Through => {
                self.next_block += 1;
                self.next_block % block_count
            }
            // Without direct I/O these stay in memory and say nothing of the device.
            Op::Unflushed | Op::Read if !self.is_direct => return None,
            Op::Unflushed => {
                self.next_block += 1;
                self.next_block % block_count
            }
            Op::Unwritten => {
                self.unwritten.as_ref()?;
                self.next_unwritten += 1;
                (self.next_unwritten < block_count).then_some(self.next_unwritten)?
            }
            Op::Read => {
                self.random ^= self.random << 13;
                self.random ^= self.random >> 7;
                self.random ^= self.random << 17;
                self.random % block_count
            }
        };
        Some(block * block_bytes)
    }

    fn step(&mut self, op: Op, offset: u64) -> io::Result<()> {
        match op {
            Op::Durable => {
                self.written.write_all_at(&self.buffer, offset)?;
                self.written.sync_data()
            }
            Op::Through => {
                let parts = [IoSlice::new(&self.buffer)];
                let flags = ReadWriteFlags::DSYNC;
                let len = rustix::io::pwritev2(&self.written, &parts, offset, flags)?;
                if len == self.buffer.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
            }
            Op::Unflushed => self.written.write_all_at(&self.buffer, offset),
            Op::Unwritten => {
                let file = self.unwritten.as_ref().expect("it has a place");
                file.write_all_at(&self.buffer, offset)?;
                file.sync_data()
            }
            Op::Read => self.written.read_exact_at(&mut self.buffer, offset),
        }
    }
}

/// How much later than asked a sleeping thread runs again, without the slack that the kernel gives
/// to timers.
fn wake() -> Option<Times> {
    set_current_timer_slack(NonZeroU64::new(1)).ok()?;
    let mut late = histogram();
    for _ in 0..SLEEP_COUNT {
        let begun = Instant::now();
        sleep(SLEEP);
        let ns = begun.elapsed().saturating_sub(SLEEP).as_nanos();
        late.saturating_record(u64::try_from(ns).unwrap_or(NS_MAX).max(1));
    }
    let _ = set_current_timer_slack(None);
    Times::of(&late)
}

fn clock_ns() -> f64 {
    let begun = Instant::now();
    for _ in 0..CLOCK_READ_COUNT {
        black_box(Instant::now());
    }
    begun.elapsed().as_nanos() as f64 / f64::from(CLOCK_READ_COUNT)
}

#[cfg(test)]
impl Floor {
    /// A floor with these medians in microseconds, in the order of [`Op::ALL`].
    pub fn sample(medians_us: [u64; Op::ALL.len()], wake_us: u64, clock_ns: f64) -> Self {
        let times = |us: u64| Some(Times { count: 1000, p50_ns: us * 1000, p99_ns: us * 3000 });
        Self {
            block_bytes: 4096,
            is_direct: true,
            times: medians_us.map(times),
            wake: times(wake_us),
            clock_ns,
            duration: Duration::from_secs(2),
            own_bytes: 32 << 20,
            disk_bytes: Some(64 << 20),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_does_what_it_says() {
        let dir = tempfile::tempdir().unwrap();
        let mut bench = Bench::prepare(dir.path(), 4096).unwrap();
        for op in Op::ALL {
            let Some(offset) = bench.place(op) else { continue };
            bench.step(op, offset).unwrap();
            let file = if op == Op::Unwritten { bench.unwritten.as_ref() } else { None };
            let file = file.unwrap_or(&bench.written);
            let mut block = AlignedBuffer::new(4096);
            file.read_exact_at(&mut block, offset).unwrap();
            let expected = if op == Op::Read { block[0] } else { 0xa5 };
            assert!(block.iter().all(|byte| *byte == expected), "{op:?}");
        }
        assert_eq!(bench.written.metadata().unwrap().len(), FILE_BYTES);
        // Each block of the other file is written once; then there is nothing left to measure.
        bench.next_unwritten = FILE_BYTES / 4096 - 1;
        assert_eq!(bench.place(Op::Unwritten), None);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_median_needs_samples() {
        let mut few = histogram();
        for _ in 1..SAMPLE_COUNT_MIN {
            few.record(100).unwrap();
        }
        assert_eq!(Times::of(&few), None);
        few.record(100).unwrap();
        assert_eq!(Times::of(&few).map(|times| (times.count, times.p50_ns)), Some((5, 100)));
    }

    #[test]
    fn what_follows_from_medians() {
        let mut floor = Floor::sample([90, 80, 30, 150, 70], 20, 30.0);
        assert_eq!(floor.difference_us(Op::Durable, Op::Unflushed), Some(60.0));
        assert_eq!(floor.difference_us(Op::Unflushed, Op::Durable), None);
        assert_eq!(floor.durable_ns(), Some(80_000));
        assert!(!floor.is_busy());
        floor.disk_bytes = Some(1 << 30);
        assert!(floor.is_busy());
        floor.times[2] = None;
        assert_eq!(floor.difference_us(Op::Durable, Op::Unflushed), None);
        floor.times = [None; Op::ALL.len()];
        floor.disk_bytes = None;
        assert!(floor.durable_ns().is_none() && !floor.is_busy());
    }
}
