//! The floor: what the device, and the memory, take for the smallest unit of work, without any
//! store.
//!
//! The files lie in the same directory as the stores' and are as large as their data. The run
//! writes them in full before it measures, so that no measurement pays for allocating or
//! initialising extents: the floor is the best that any log on this file system can reach.
//!
//! Durable writes go round the file in order of their offset, as a log does; reads are at random
//! places.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::ReadWriteFlags;
use uarr_uring::{
    AlignedBuffer, DataMap, DataMapWriter, MapPin, OpenMode, Pinned, Storage, System, SystemOptions,
};

use crate::error::BenchError;
use crate::measure::job::{PATIENCE, nanos};
use crate::measure::latencies::samples_min;
use crate::measure::rows::Row;
use crate::measure::sample::Sample;
use crate::measure::timeline::Timeline;
use crate::measure::usage::Usage;
use crate::measure::workload::{Random, VALUE_BYTES, fill, is_right, key_of};

/// Unit of the device floors.
pub const BLOCK_BYTES: usize = 4096;
/// Unit in which the file is written beforehand.
const FILL_BYTES: usize = 1 << 20;
/// Name of the file of device floors in the run's directory.
const FILE_NAME: &str = "floor.device";
/// Name of the mapped file.
const MAP_NAME: &str = "floor.mapped";
/// Size of the map's chunks.
const CHUNK_BYTES: u64 = 64 << 20;
/// Bytes per slot: what an index of 16-byte entries takes that is seven tenths full.
const SLOT_BYTES: u64 = 24;
/// Operations between two looks at the clock where the operation is shorter than the look.
const BURST_OPS: u64 = 1024;

/// How long a floor is measured.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// For this long,
    pub duration: Duration,
    /// and until there are so many samples, but not for more than [`PATIENCE`] times as long.
    pub samples_min: u64,
}

impl Span {
    /// `duration`, and long enough for a median.
    pub fn of(duration: Duration) -> Self {
        Self { duration, samples_min: samples_min(0.5) }
    }
}

/// A file written in full, open past the page cache.
pub struct DeviceFloor {
    file: File,
    block_count: u64,
    next_block: u64,
    buffer: AlignedBuffer,
    /// True if the file system has direct I/O.
    pub is_direct: bool,
}

/// The operations of a [`DeviceFloor`].
#[derive(Clone, Copy)]
enum DeviceOp {
    WriteFdatasync,
    WriteDsync,
    Read,
}

impl DeviceFloor {
    /// Creates the file in `dir` and writes all of its `bytes`.
    pub fn create(dir: &Path, bytes: u64) -> Result<Self, BenchError> {
        let path = dir.join(FILE_NAME);
        let fail =
            |error: io::Error| BenchError::at(&path, "cannot prepare the floor's file", &error);
        let (file, is_direct) = open_direct(&path).map_err(fail)?;
        let mut fill = AlignedBuffer::new(FILL_BYTES);
        fill.fill(0x5a);
        let bytes = bytes.next_multiple_of(FILL_BYTES as u64);
        for offset in (0..bytes).step_by(FILL_BYTES) {
            file.write_all_at(&fill, offset).map_err(fail)?;
        }
        file.sync_all().map_err(fail)?;
        let mut buffer = AlignedBuffer::new(BLOCK_BYTES);
        buffer.fill(0xa5);
        let block_count = bytes / BLOCK_BYTES as u64;
        Ok(Self { file, block_count, next_block: 0, buffer, is_direct })
    }

    /// Measures one device floor.
    pub fn measure(&mut self, row: Row, span: Span, seed: u64) -> Result<Sample, BenchError> {
        let op = match row {
            Row::WriteFdatasync => DeviceOp::WriteFdatasync,
            Row::WriteDsync => DeviceOp::WriteDsync,
            Row::ReadDirect => DeviceOp::Read,
            other => unreachable!("{} is no floor of the device", other.name()),
        };
        let mut random = Random::new(seed);
        let before = Usage::now();
        let start = Instant::now();
        let (deadline, end_of_patience) = (start + span.duration, start + span.duration * PATIENCE);
        let mut timeline = Timeline::new(start, span.duration);
        let (mut end, mut op_count) = (start, 0);
        loop {
            let is_enough = end >= deadline && op_count >= span.samples_min;
            if op_count > 0 && (is_enough || end >= end_of_patience) {
                break;
            }
            let block = match op {
                DeviceOp::Read => random.below(self.block_count),
                DeviceOp::WriteFdatasync | DeviceOp::WriteDsync => {
                    self.next_block = (self.next_block + 1) % self.block_count;
                    self.next_block
                }
            };
            let begin = Instant::now();
            self.step(op, block * BLOCK_BYTES as u64)
                .map_err(|error| BenchError::Setup(format!("floor {}: {error}", row.name())))?;
            end = Instant::now();
            timeline.record(end, nanos(end - begin));
            op_count += 1;
        }
        let mut sample = Sample::since(before, op_count, end - start);
        sample.add_slices(timeline.into_slices());
        Ok(sample)
    }

    fn step(&mut self, op: DeviceOp, offset: u64) -> io::Result<()> {
        match op {
            DeviceOp::WriteFdatasync => {
                self.file.write_all_at(&self.buffer, offset)?;
                self.file.sync_data()
            }
            DeviceOp::WriteDsync => {
                let parts = [IoSlice::new(&self.buffer)];
                let len = rustix::io::pwritev2(&self.file, &parts, offset, ReadWriteFlags::DSYNC)?;
                if len == BLOCK_BYTES { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
            }
            DeviceOp::Read => self.file.read_exact_at(&mut self.buffer, offset),
        }
    }
}

fn open_direct(path: &Path) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    let direct = OFlags::DIRECT.bits().cast_signed();
    match options.clone().custom_flags(direct).open(path) {
        Ok(file) => Ok((file, true)),
        // File systems without direct I/O say EINVAL, after creating the name.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            Ok((options.create_new(false).create(true).truncate(true).open(path)?, false))
        }
        Err(error) => Err(error),
    }
}

/// Values in a mapped file, all of it in memory: what a get costs when the index costs nothing but
/// the wait for one slot, or nothing at all.
pub struct MappedFloor {
    map: <System as Storage>::Map,
    record_count: u64,
    /// Where the slots lie, behind the values.
    slots_address: u64,
}

/// How a read finds the place of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// It follows from the number of the record: one wait for memory.
    Number,
    /// A slot at a random place names it: two waits, the second for what the first brings. No index
    /// that keeps its slots apart from the records does with less.
    Slot,
}

impl MappedFloor {
    /// Writes `record_count` values, and a slot for each, through a map of a new file in `dir`.
    pub fn create(dir: &Path, record_count: u64) -> Result<Self, BenchError> {
        let fail = |error: io::Error| BenchError::at(dir, "cannot map the floor's file in", &error);
        let system = System::open(dir, SystemOptions::default()).map_err(fail)?;
        let file = system.open(MAP_NAME, OpenMode::CreateMapped).map_err(fail)?;
        let slots_address = (record_count * VALUE_BYTES as u64).next_multiple_of(CHUNK_BYTES);
        let bytes = (slots_address + record_count * SLOT_BYTES).next_multiple_of(CHUNK_BYTES);
        let (map, mut writer) = system.map(&file, bytes, CHUNK_BYTES, &[]).map_err(fail)?;
        writer.allocate(0..bytes / CHUNK_BYTES).map_err(fail)?;
        for chunk in 0..bytes / CHUNK_BYTES {
            writer.open_chunks(chunk, chunk, 1);
        }
        let mut value = [0; VALUE_BYTES];
        for number in 0..record_count {
            fill(key_of(number), 0, &mut value);
            writer.append(number * VALUE_BYTES as u64, &[&value]);
        }
        for number in 0..record_count {
            let place = number * VALUE_BYTES as u64;
            writer.append(slots_address + number * SLOT_BYTES, &[&place.to_le_bytes()]);
        }
        Ok(Self { map, record_count, slots_address })
    }

    /// Reads and checks values at random places for `duration`; only the whole is timed.
    pub fn measure(&self, via: Via, duration: Duration, seed: u64) -> Result<Sample, BenchError> {
        let mut random = Random::new(seed);
        let before = Usage::now();
        let start = Instant::now();
        let deadline = start + duration;
        let mut end = start;
        let mut op_count = 0;
        while end < deadline {
            let mut right_count = 0;
            let pin = MapPin::enter();
            for _ in 0..BURST_OPS {
                let number = random.below(self.record_count);
                let value = self.value(via, number, &pin);
                right_count += u64::from(
                    value.is_some_and(|value| is_right(key_of(number), value, VALUE_BYTES)),
                );
            }
            if right_count != BURST_OPS {
                return Err(BenchError::WrongData("the mapped floor file changed".to_owned()));
            }
            op_count += BURST_OPS;
            end = Instant::now();
        }
        Ok(Sample::since(before, op_count, end - start))
    }

    #[inline]
    fn value<'p>(&'p self, via: Via, number: u64, pin: &'p MapPin) -> Option<&'p [u8]> {
        let place = match via {
            Via::Number => number * VALUE_BYTES as u64,
            Via::Slot => {
                let slot = self.map.bytes(self.slots_address + number * SLOT_BYTES, 8, pin)?;
                u64::from_le_bytes(*slot.bytes().as_array()?)
            }
        };
        self.map.bytes(place, VALUE_BYTES, pin).map(Pinned::bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_floor_does_what_it_counts() {
        let dir = tempfile::tempdir().unwrap();
        let mut device = DeviceFloor::create(dir.path(), 1).unwrap();
        let file = dir.path().join(FILE_NAME);
        assert_eq!(file.metadata().unwrap().len(), FILL_BYTES as u64);
        for row in [Row::WriteFdatasync, Row::WriteDsync, Row::ReadDirect] {
            // Patience ends before there are so many, and never before the first.
            let short = Span { duration: Duration::from_nanos(1), samples_min: 1_000_000 };
            let sample = device.measure(row, short, 1).unwrap();
            assert!((1..1_000_000).contains(&sample.op_count));
            assert_eq!(sample.latencies.unwrap().len(), sample.op_count);
        }
        let bytes = std::fs::read(&file).unwrap();
        assert!(bytes[BLOCK_BYTES..2 * BLOCK_BYTES].iter().all(|&byte| byte == 0xa5));
        assert!(bytes[..BLOCK_BYTES].iter().all(|&byte| byte == 0x5a), "offset 0 is written last");

        let mapped = MappedFloor::create(dir.path(), 1000).unwrap();
        for via in [Via::Number, Via::Slot] {
            let sample = mapped.measure(via, Duration::from_millis(1), 1).unwrap();
            assert!(sample.op_count >= BURST_OPS);
            let pin = MapPin::enter();
            let expected = mapped.map.bytes(999 * 128, 128, &pin).map(Pinned::bytes);
            assert_eq!(mapped.value(via, 999, &pin), expected);
        }
    }
}
