//! [`Fault`]: which calls are to fail, how often, and with which error number.

use std::io;

/// A kind of call that a [`Fault`] makes fail.
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
    /// `StorageFile::allocate` and `DataMapWriter::allocate`.
    Allocate,
    /// `DataMapWriter::deallocate`.
    Deallocate,
    /// `StorageFile::make_durable`: what was not durable is lost, and the next call says "fine".
    MakeDurable,
    /// `Storage::make_dir_durable`.
    MakeDirDurable,
    /// `Storage::open`, `create_dir`, `rename` and `remove`.
    Name,
    /// Any of the above, counted together.
    Any,
    /// Not a call: so many calls of any kind from now on the kernel fails to write dirty pages of
    /// mapped files back, unasked. The next flush of such a file reports it. The call itself goes
    /// well.
    WriteBack,
    /// The writer of the log gets an error instead of the answer to its write, which goes on for an
    /// unknown time.
    LogAbandoned,
    /// The log takes no write: nothing of it reaches the device.
    LogRefused,
}

/// Calls that are to fail: by default one, with EIO.
///
/// ```
/// use uarr_disk_sim::{Fault, FaultKind, Memory};
///
/// let disk = Memory::new();
/// // The second flush of the data file, and the one after it, find no space (ENOSPC).
/// disk.fail(Fault::new(FaultKind::MakeDurable, 2).on("data/").errno(28).times(2));
/// ```
#[derive(Clone, Debug)]
pub struct Fault {
    kind: FaultKind,
    /// Calls of this kind until the first failure.
    left: u64,
    /// How many calls fail from then on.
    count: u64,
    errno: i32,
    path: &'static str,
}

impl Fault {
    /// The `nth` call of this kind from now on, counted from 1, is to fail with EIO.
    pub fn new(kind: FaultKind, nth: u64) -> Self {
        assert!(nth > 0, "calls are counted from 1");
        Self { kind, left: nth, count: 1, errno: libc::EIO, path: "" }
    }

    /// It fails with this error number.
    #[must_use]
    pub fn errno(mut self, errno: i32) -> Self {
        assert!(errno > 0, "{errno} is no error number");
        self.errno = errno;
        self
    }

    /// So many calls of this kind fail, one after the other.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        assert!(count > 0, "a fault that never happens");
        self.count = count;
        self
    }

    /// All later calls of this kind fail too, until [`crate::Memory::forget_faults`].
    #[must_use]
    pub fn lasting(self) -> Self {
        self.times(u64::MAX)
    }

    /// Only calls for paths that begin so are counted and fail.
    #[must_use]
    pub fn on(mut self, path: &'static str) -> Self {
        self.path = path;
        self
    }

    /// Counts a call. Whether it is to fail.
    fn strikes(&mut self, kind: FaultKind, path: &str) -> bool {
        let is_call =
            !matches!(kind, FaultKind::WriteBack | FaultKind::LogAbandoned | FaultKind::LogRefused);
        let counts = self.kind == kind || (is_call && self.kind == FaultKind::Any);
        if !counts || !path.starts_with(self.path) {
            return false;
        }
        self.left = self.left.saturating_sub(1);
        let strikes = self.left == 0 && self.count > 0;
        if strikes && self.count < u64::MAX {
            self.count -= 1;
        }
        strikes
    }
}

/// All calls that are to fail.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    pub fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that have not happened yet.
    pub fn waiting_count(&self) -> usize {
        self.0.iter().filter(|fault| fault.left > 0).count()
    }

    /// Counts a call; an error of the device if it is to fail.
    pub fn call(&mut self, kind: FaultKind, path: &str) -> io::Result<()> {
        let mut errno = None;
        for fault in &mut self.0 {
            if fault.strikes(kind, path) {
                errno.get_or_insert(fault.errno);
            }
        }
        self.0.retain(|fault| fault.count > 0);
        errno.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }
}

/// The number of an injected error.
pub(crate) fn errno(cause: &io::Error) -> i32 {
    cause.raw_os_error().unwrap_or(libc::EIO)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the calls fail, and how: 0 for those that do not.
    fn outcomes(faults: &mut Faults, calls: &[(FaultKind, &str)]) -> Vec<i32> {
        let call = |&(kind, path): &(FaultKind, &str)| match faults.call(kind, path) {
            Ok(()) => 0,
            Err(error) => error.raw_os_error().unwrap(),
        };
        calls.iter().map(call).collect()
    }

    #[test]
    fn the_nth_call_fails_once() {
        use FaultKind::{Any, Read, Write};
        let mut faults = Faults::default();
        faults.add(Fault::new(Write, 2));
        faults.add(Fault::new(Any, 4).errno(libc::EDQUOT));
        assert_eq!(faults.waiting_count(), 2);
        let calls = [Write, Read, Write, Read, Write].map(|kind| (kind, "a"));
        let expected = [0, 0, libc::EIO, libc::EDQUOT, 0];
        assert_eq!(outcomes(&mut faults, &calls), expected);
        assert_eq!(faults.waiting_count(), 0);
    }

    #[test]
    fn a_fault_strikes_as_often_as_asked_and_where_asked() {
        use FaultKind::{Read, Write};
        let check = |fault: Fault, expected: [bool; 6]| {
            let mut faults = Faults::default();
            faults.add(fault.errno(libc::ENOSPC));
            let calls = [Write, Write, Read, Write, Write, Write];
            let paths = ["a/1", "b/1", "a/1", "a/1", "a/2", "b/1"];
            let calls: Vec<_> = calls.into_iter().zip(paths).collect();
            let expected = expected.map(|fails| if fails { libc::ENOSPC } else { 0 });
            assert_eq!(outcomes(&mut faults, &calls), expected);
        };
        check(Fault::new(Write, 2), [false, true, false, false, false, false]);
        check(Fault::new(Write, 2).times(2), [false, true, false, true, false, false]);
        check(Fault::new(Write, 2).lasting(), [false, true, false, true, true, true]);
        check(Fault::new(Write, 2).on("a/"), [false, false, false, true, false, false]);
        check(Fault::new(Write, 1).on("b/").lasting(), [false, true, false, false, false, true]);
    }
}
