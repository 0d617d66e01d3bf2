//! Latencies over time in the `.hlog` format: a compressed histogram for each slice of time, which
//! the tools of HdrHistogram read and add up.
//!
//! Rounds follow each other without what lay between them. Values are nanoseconds; the column of
//! maxima has milliseconds, as usual. `tests/percentiles.py` adds the slices up with another
//! program: together they are the `.hgrm` beside them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;

use crate::error::BenchError;
use crate::measure::latencies::latencies;
use crate::measure::timeline::Slice;

/// What the column of maxima divides nanoseconds by.
const NS_PER_MS: f64 = 1e6;

/// The slices of a row so far, in little memory.
#[derive(Default)]
pub struct Log {
    slices: Vec<LoggedSlice>,
    end: Duration,
}

struct LoggedSlice {
    at: Duration,
    length: Duration,
    /// Values in nanoseconds with their counts.
    counts: Vec<(u64, u64)>,
}

impl Log {
    /// Adds a round.
    pub fn add(&mut self, slices: &[Slice]) {
        let begin = self.end;
        for slice in slices {
            let values = slice.latencies.iter_recorded();
            let counts = values.map(|step| (step.value_iterated_to(), step.count_at_value()));
            let (at, length) = (begin + slice.at, slice.length);
            self.slices.push(LoggedSlice { at, length, counts: counts.collect() });
            self.end = self.end.max(at + length);
        }
    }

    /// Writes the file `name`.hlog in `dir`.
    pub fn write(&self, dir: &Path, name: &str) -> Result<(), BenchError> {
        let path = dir.join(format!("{name}.hlog"));
        fs::write(&path, self.render(name))
            .map_err(|error| BenchError::at(&path, "cannot write", &error))
    }

    fn render(&self, name: &str) -> Vec<u8> {
        let mut text = Vec::new();
        let mut serializer = V2DeflateSerializer::new();
        let mut builder = IntervalLogWriterBuilder::new();
        builder.add_comment(&format!("{name}, ns; rounds end to end"));
        builder.with_max_value_divisor(NS_PER_MS);
        let mut log = builder
            .begin_log_with(&mut text, &mut serializer)
            .expect("writing to memory cannot fail");
        for slice in &self.slices {
            let mut all = latencies();
            for &(value, count) in &slice.counts {
                all.saturating_record_n(value, count);
            }
            log.write_histogram(&all, slice.at, slice.length, None)
                .expect("a histogram of latencies can be written to memory");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::*;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    #[test]
    fn slices_are_read_back_with_their_times() {
        let second = Duration::from_secs(1);
        let slice = |at, values: &[u64]| {
            let mut latencies = latencies();
            values.iter().for_each(|&value| latencies.record(value).unwrap());
            Slice { at, length: second, latencies }
        };
        let mut log = Log::default();
        log.add(&[slice(Duration::ZERO, &[5, 5, 70_000_000]), slice(second, &[])]);
        log.add(&[slice(Duration::ZERO, &[9])]);
        let text = log.render("get.uarr.read");
        assert!(String::from_utf8_lossy(&text).contains("#get.uarr.read, ns"));
        let read = IntervalLogIterator::new(&text).filter_map(|entry| match entry.unwrap() {
            LogEntry::Interval(entry) => Some(entry),
            _ => None,
        });
        let read: Vec<_> = read.collect();
        let begins: Vec<_> = read.iter().map(|entry| entry.start_timestamp().as_secs()).collect();
        assert_eq!(begins, [0, 1, 2]);
        assert!((read[0].max() - 70.0).abs() < 0.1);
        let decoded = |entry: &str| -> Histogram<u64> {
            let bytes = BASE64_STANDARD.decode(entry).unwrap();
            Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap()
        };
        let all = decoded(read[0].encoded_histogram());
        assert_eq!((all.len(), all.count_at(5), all.min()), (3, 2, 5));
        assert_eq!(decoded(read[2].encoded_histogram()).max(), 9);
    }
}
