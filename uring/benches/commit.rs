//! What one durable block costs: each commit strategy beside the floor, a direct write and
//! fdatasync.
//!
//! `cargo bench -p uarr-uring --bench commit -- [directory] [rounds]`
//!
//! All write the same blocks of one file that was written before (so that no block is allocated on
//! the way), one after the other, in turns: each round is one write of each, in rotating order. The
//! file is deleted afterwards. Times are those of one thread that does nothing but wait.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run has nothing to say")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uarr_uring::{
    AlignedBuffer, CommitStrategy, GroupWrite, LogWriter, LogWriterOptions, OpenMode, Storage,
    StorageFile, System, SystemFile, SystemLog, SystemOptions,
};

/// Length of the file the blocks go to.
const FILE_BYTES: u64 = 64 << 20;
/// Rounds by default.
const ROUND_COUNT: usize = 3000;
/// Rounds that are not counted.
const WARM_UP_COUNT: usize = 200;

/// A way to make one block durable.
#[derive(Clone, Copy, Debug)]
enum Way {
    Floor,
    Log(CommitStrategy),
}

const WAYS: [Way; 4] = [
    Way::Floor,
    Way::Log(CommitStrategy::LinkedFdatasync),
    Way::Log(CommitStrategy::Dsync),
    Way::Log(CommitStrategy::Syscall),
];

struct Bench {
    file: Arc<SystemFile>,
    log: SystemLog,
    buffer: Arc<AlignedBuffer>,
    block: usize,
}

impl Bench {
    fn write(&mut self, way: Way, offset: u64) -> Duration {
        let start = Instant::now();
        match way {
            Way::Floor => {
                self.file.write_at(&self.buffer[..self.block], offset).unwrap();
                self.file.make_durable().unwrap();
            }
            Way::Log(strategy) => {
                self.log.set_strategy(strategy).unwrap();
                let file = Arc::clone(&self.file);
                let buffer = Arc::clone(&self.buffer);
                let len = self.block;
                let write = GroupWrite { file, offset, buffer, start: 0, len };
                self.log.submit(write).unwrap();
                self.log.complete().unwrap().result.unwrap();
            }
        }
        start.elapsed()
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let parent = arguments.next().map_or_else(|| ".".into(), PathBuf::from);
    let round_count = arguments.next().map_or(ROUND_COUNT, |text| text.parse().unwrap());
    let directory = tempfile::tempdir_in(parent).unwrap();
    let system = System::open(directory.path(), SystemOptions::default()).unwrap();
    println!("{:?}", system.facts());
    let block = system.facts().block_bytes as usize;

    let file = system.open("segment", OpenMode::CreateDirect).unwrap();
    file.allocate(0, FILE_BYTES).unwrap();
    let zeroes = AlignedBuffer::new(1 << 20);
    for offset in (0..FILE_BYTES).step_by(zeroes.len()) {
        file.write_at(&zeroes, offset).unwrap();
    }
    file.make_durable().unwrap();
    system.make_dir_durable("").unwrap();

    let strategy = CommitStrategy::Syscall;
    let mut log = system
        .log_writer(LogWriterOptions { strategy, buffer_count: 1, buffer_bytes: 64 << 10 })
        .unwrap();
    let mut buffer = log.buffer(block);
    Arc::get_mut(&mut buffer).unwrap()[..block].fill(0x5a);
    let mut bench = Bench { file: Arc::new(file), log, buffer, block };

    let mut times = [const { Vec::new() }; WAYS.len()];
    for round in 0..WARM_UP_COUNT + round_count {
        for turn in 0..WAYS.len() {
            let way_index = (round + turn) % WAYS.len();
            let block_index = (round * WAYS.len() + turn) as u64;
            let offset = block_index * block as u64 % FILE_BYTES;
            let time = bench.write(WAYS[way_index], offset);
            if round >= WARM_UP_COUNT {
                times[way_index].push(time);
            }
        }
    }
    report(&mut times);
}

fn report(times: &mut [Vec<Duration>]) {
    println!(
        "{:<24} {:>9} {:>9} {:>9} {:>9}  floor x",
        "us, one block", "p50", "p99", "p99.9", "max"
    );
    let mut floor = None;
    for (way, times) in WAYS.iter().zip(times) {
        times.sort_unstable();
        let at = |part: f64| {
            let index = ((times.len() - 1) as f64 * part) as usize;
            times[index].as_secs_f64() * 1e6
        };
        let median = at(0.5);
        let floor = *floor.get_or_insert(median);
        let name = format!("{way:?}");
        println!(
            "{name:<24} {median:>9.1} {:>9.1} {:>9.1} {:>9.1}  {:>7.2}",
            at(0.99),
            at(0.999),
            at(1.0),
            median / floor
        );
    }
}
