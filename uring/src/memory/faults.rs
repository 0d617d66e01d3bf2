//! [`Faults`]: which calls are to fail.

use std::io;

/// A kind of call that [`crate::Memory::fail_next`] makes fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// A log write: any part of it may reach the device.
    LogWrite,
    /// The flush of a durable log write, after the write itself.
    LogFlush,
    /// `StorageFile::read_at`.
    Read,
    /// `StorageFile::write_at`.
    Write,
    /// `StorageFile::allocate` and `DataMapWriter::grow`.
    Allocate,
    /// `StorageFile::make_durable`: what was not durable is lost, and the next call says "fine".
    MakeDurable,
    /// `Storage::make_dir_durable`.
    MakeDirDurable,
    /// `Storage::open`, `create_dir`, `rename` and `remove`.
    Name,
    /// Any of the above, counted together.
    Any,
}

/// Calls that are to fail.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Once each.
    waiting: Vec<(FaultKind, u64)>,
    /// From the counted call on, for ever.
    lasting: Vec<(FaultKind, u64)>,
}

impl Faults {
    /// The `nth` call of this kind from now on fails, counted from 1.
    pub fn add(&mut self, kind: FaultKind, nth: u64) {
        assert!(nth > 0, "calls are counted from 1");
        self.waiting.push((kind, nth));
    }

    /// The `nth` call of this kind from now on and all later ones fail, counted from 1.
    pub fn add_lasting(&mut self, kind: FaultKind, nth: u64) {
        assert!(nth > 0, "calls are counted from 1");
        self.lasting.push((kind, nth));
    }

    pub fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// Counts a call; an error of the device if it is to fail.
    pub fn call(&mut self, kind: FaultKind) -> io::Result<()> {
        let counts = |waiting: FaultKind| waiting == kind || waiting == FaultKind::Any;
        for (waiting, left) in self.waiting.iter_mut().chain(&mut self.lasting) {
            if counts(*waiting) {
                *left = left.saturating_sub(1);
            }
        }
        let before = self.waiting.len();
        self.waiting.retain(|&(_, left)| left > 0);
        let lasts = self.lasting.iter().any(|&(waiting, left)| counts(waiting) && left == 0);
        if lasts || self.waiting.len() < before {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_call_fails_once() {
        let mut faults = Faults::default();
        faults.add(FaultKind::Write, 2);
        faults.add(FaultKind::Any, 4);
        let calls = [FaultKind::Write, FaultKind::Read, FaultKind::Write, FaultKind::Read];
        let failed: Vec<_> = calls.iter().map(|&kind| faults.call(kind).is_err()).collect();
        assert_eq!(failed, [false, false, true, true]);
        assert_eq!(faults.waiting_count(), 0);
        assert!(faults.call(FaultKind::Write).is_ok());
    }

    #[test]
    fn a_lasting_fault_stays() {
        let mut faults = Faults::default();
        faults.add_lasting(FaultKind::Write, 2);
        let calls = [FaultKind::Write, FaultKind::Read, FaultKind::Write, FaultKind::Write];
        let failed: Vec<_> = calls.iter().map(|&kind| faults.call(kind).is_err()).collect();
        assert_eq!(failed, [false, false, true, true]);
    }
}
