//! [`Power`]: when a disk dies, and the trace of all that was asked of it.
//!
//! Every call that reads or changes the disk is one *step*. At the step that was chosen the disk
//! dies *before* the call has any effect: its remains are made at that very moment, and users of
//! the dead disk get errors and change nothing. So a test can try each moment between two calls,
//! inside of recovery too. It also covers the moments within a call, whose writes are volatile
//! until it has returned.

use std::io;

/// How a disk, or the process that uses it, dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Power is lost: each sector and each name that was not durable survives or not.
    PowerLoss,
    /// The process is killed: all that its calls had written stays, log writes in flight land in
    /// part, and what was not durable still is not.
    Kill,
}

/// A fingerprint of every call, its arguments and the bytes that were written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trace(u64);

impl Trace {
    pub fn mix(&mut self, value: u64) {
        let mixed = (self.0.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 29);
    }

    pub fn mix_bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        rest.iter().for_each(|byte| self.mix(u64::from(*byte)));
        self.mix(bytes.len() as u64);
    }

    pub fn hash(self) -> u64 {
        self.0
    }
}

/// How long the disk lives.
#[derive(Default)]
pub(crate) struct Power {
    /// Calls so far.
    pub step_count: u64,
    /// The step, the way and the seed of the death to come.
    pub death: Option<(u64, Death, u64)>,
}

impl Power {
    pub fn dies_now(&mut self) -> Option<(Death, u64)> {
        let (step, death, seed) = self.death?;
        (self.step_count >= step).then(|| {
            self.death = None;
            (death, seed)
        })
    }
}

/// What a dead disk answers.
pub(crate) fn dead() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_depends_on_values_and_order() {
        let hash = |parts: &[&[u8]]| {
            let mut trace = Trace::default();
            parts.iter().for_each(|part| trace.mix_bytes(part));
            trace.hash()
        };
        assert_eq!(hash(&[b"abc", b"12345678"]), hash(&[b"abc", b"12345678"]));
        assert_ne!(hash(&[b"abc", b"12345678"]), hash(&[b"12345678", b"abc"]));
        assert_ne!(hash(&[b"abc"]), hash(&[b"ab", b"c"]));
    }
}
