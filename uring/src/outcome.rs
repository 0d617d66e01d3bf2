//! What the completions of one group mean: a pure function of their results.
//!
//! A group is a write that carries its flush, or is linked to one. The kernel cancels the flush
//! when the write fails *or is short*, and it may cancel either when the thread that submitted it
//! exits. The rules:
//! 1. a group is done only if all bytes were written and, where there is a flush, it succeeded
//!    after them;
//! 2. where a write did less than all, without an error, a waiter finishes it by system calls, and
//!    the flush then covers all of it;
//! 3. a flush that was *cancelled* never ran, so running it is a first attempt; no thread repeats a
//!    flush that *failed*. Cancelled says ECANCELED, or EFAULT where the submitting
//!    thread exited between the write and its linked flush. A flush itself cannot fail with EFAULT:
//!    it takes no memory.

/// How a group was given to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// A write linked to a flush of the file.
    WriteThenFlush,
    /// A write that carries its own flush.
    WriteThrough,
    /// Not at all: it is done by system calls.
    ByHand,
}

/// What the kernel answered so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// The result of the write.
    pub write: Option<i32>,
    /// The result of the flush.
    pub flush: Option<i32>,
    /// Whether write and flush reached the kernel in different submissions: the link is then
    /// broken, and the flush may have run before the write.
    pub split: bool,
}

/// What the writer must do about a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The kernel has not answered everything yet.
    Pending,
    /// All is as asked.
    Done,
    /// Write what is missing from this byte on, and flush the whole file.
    FinishByHand {
        /// Bytes that were written.
        written: usize,
    },
    /// The write failed with this error number.
    WriteFailed(i32),
    /// The flush failed with this error number.
    FlushFailed(i32),
}

/// Judges the answers for a group of `len` bytes, made of blocks of `unit_bytes`.
pub fn judge(route: Route, answers: Answers, len: usize, unit_bytes: usize) -> Verdict {
    if route == Route::ByHand {
        return Verdict::FinishByHand { written: 0 };
    }
    let (Some(write), flush) = (answers.write, answers.flush) else { return Verdict::Pending };
    if route == Route::WriteThenFlush && flush.is_none() {
        return Verdict::Pending;
    }
    // A flush that ran and failed outweighs everything: the device has lost something.
    if let Some(code) = flush.and_then(failure)
        && !matches!(code, libc::ECANCELED | libc::EFAULT)
    {
        return Verdict::FlushFailed(code);
    }
    let written = match failure(write) {
        None => write as usize,
        // Nothing was written, for a reason that says nothing about the device.
        Some(libc::EINTR | libc::EAGAIN | libc::ECANCELED) => 0,
        Some(code) => return Verdict::WriteFailed(code),
    };
    assert!(written <= len, "the kernel writes no more than asked");
    let flushed = match route {
        Route::WriteThenFlush => flush == Some(0) && !answers.split,
        Route::WriteThrough | Route::ByHand => true,
    };
    if written == len && flushed {
        return Verdict::Done;
    }
    let whole = if written == len { len } else { written - written % unit_bytes };
    Verdict::FinishByHand { written: whole }
}

/// The error number in a completion's result.
fn failure(result: i32) -> Option<i32> {
    (result < 0).then_some(-result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Route::{ByHand, WriteThenFlush, WriteThrough};
    use Verdict::{Done, FinishByHand, FlushFailed, Pending, WriteFailed};

    const LEN: usize = 8192;
    const UNIT: usize = 4096;
    const EIO: i32 = libc::EIO;
    const GONE: i32 = -libc::ECANCELED;

    fn check(route: Route, write: Option<i32>, flush: Option<i32>, expected: Verdict) {
        let answers = Answers { write, flush, split: false };
        assert_eq!(judge(route, answers, LEN, UNIT), expected, "{route:?} {answers:?}");
    }

    #[test]
    fn every_answer_has_its_verdict() {
        let by_hand = |written| FinishByHand { written };
        check(WriteThrough, None, None, Pending);
        check(WriteThrough, Some(8192), None, Done);
        check(WriteThrough, Some(5000), None, by_hand(4096));
        check(WriteThrough, Some(0), None, by_hand(0));
        check(WriteThrough, Some(-libc::EAGAIN), None, by_hand(0));
        check(WriteThrough, Some(-libc::EINTR), None, by_hand(0));
        check(WriteThrough, Some(-EIO), None, WriteFailed(EIO));
        check(WriteThenFlush, Some(8192), None, Pending);
        check(WriteThenFlush, None, Some(GONE), Pending);
        check(WriteThenFlush, Some(8192), Some(0), Done);
        check(WriteThenFlush, Some(4096), Some(GONE), by_hand(4096));
        check(WriteThenFlush, Some(4095), Some(GONE), by_hand(0));
        check(WriteThenFlush, Some(8192), Some(GONE), by_hand(8192));
        check(WriteThenFlush, Some(8192), Some(-libc::EFAULT), by_hand(8192));
        check(WriteThenFlush, Some(-libc::EFAULT), Some(GONE), WriteFailed(libc::EFAULT));
        check(WriteThenFlush, Some(GONE), Some(GONE), by_hand(0));
        check(WriteThenFlush, Some(-EIO), Some(GONE), WriteFailed(EIO));
        check(WriteThenFlush, Some(8192), Some(-EIO), FlushFailed(EIO));
        check(WriteThenFlush, Some(4096), Some(-EIO), FlushFailed(EIO));
        check(WriteThenFlush, Some(8192), Some(-libc::EINTR), FlushFailed(libc::EINTR));
        check(WriteThenFlush, Some(4096), Some(0), by_hand(4096));
        check(ByHand, None, None, by_hand(0));
    }

    #[test]
    fn a_flush_that_was_split_off_proves_nothing() {
        let answers = Answers { write: Some(8192), flush: Some(0), split: true };
        assert_eq!(judge(WriteThenFlush, answers, LEN, UNIT), FinishByHand { written: 8192 });
    }

    #[test]
    fn done_needs_every_byte_and_its_flush() {
        let results = [None, Some(0), Some(4096), Some(8192), Some(-EIO), Some(GONE), Some(-4)];
        for route in [WriteThenFlush, WriteThrough, ByHand] {
            for write in results {
                for flush in [None, Some(0), Some(-EIO), Some(GONE)] {
                    for split in [false, true] {
                        let answers = Answers { write, flush, split };
                        if judge(route, answers, LEN, UNIT) == Done {
                            assert_eq!(write, Some(8192));
                            assert!(route != WriteThenFlush || (flush == Some(0) && !split));
                            assert!(route != ByHand);
                        }
                    }
                }
            }
        }
    }
}
