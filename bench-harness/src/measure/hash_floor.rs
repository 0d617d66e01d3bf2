//! What a get takes from a hash map in memory: no order, no log, no other thread, no disk.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

use crate::error::BenchError;
use crate::measure::sample::Sample;
use crate::measure::usage::Usage;
use crate::measure::workload::{Random, VALUE_BYTES, fill, is_right, key_of};

/// Operations between two looks at the clock.
const BURST_OPS: u64 = 64;

/// The keys are random: one multiplication spreads them over the bits that the map looks at.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("all keys are u64");
    }

    #[inline]
    fn write_u64(&mut self, key: u64) {
        self.0 = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// A `HashMap` whose values are boxes of their own.
pub struct HashFloor {
    map: HashMap<u64, Box<[u8]>, BuildHasherDefault<KeyHasher>>,
}

impl HashFloor {
    /// Holds records `0 .. record_count`.
    pub fn new(record_count: u64) -> Self {
        let record = |number| {
            let mut value = vec![0; VALUE_BYTES].into_boxed_slice();
            fill(key_of(number), 0, &mut value);
            (key_of(number), value)
        };
        Self { map: (0..record_count).map(record).collect() }
    }

    /// Reads and checks records chosen uniformly for `duration`; only the whole is timed.
    pub fn measure(&self, duration: Duration, seed: u64) -> Result<Sample, BenchError> {
        let record_count = self.map.len() as u64;
        let mut random = Random::new(seed);
        let before = Usage::now();
        let start = Instant::now();
        let (deadline, mut end, mut op_count) = (start + duration, start, 0);
        while end < deadline {
            for _ in 0..BURST_OPS {
                let key = key_of(random.below(record_count));
                let value = self.map.get(&key);
                if !value.is_some_and(|value| is_right(key, value, VALUE_BYTES)) {
                    return Err(BenchError::WrongData("the hash map changed".to_owned()));
                }
            }
            op_count += BURST_OPS;
            end = Instant::now();
        }
        Ok(Sample::since(before, op_count, end - start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_it_holds_and_tells_what_it_does_not() {
        let mut floor = HashFloor::new(1000);
        let sample = floor.measure(Duration::from_millis(1), 1).unwrap();
        assert!(sample.op_count >= BURST_OPS && sample.threads == 1);
        floor.map.values_mut().for_each(|value| value[9] ^= 1);
        assert!(floor.measure(Duration::from_millis(1), 1).is_err());
    }
}
