//! [`Futex`]: one word that threads can sleep on.
//!
//! Invariant: `wait` never loses a wake-up. The kernel compares the word with the expected value
//! and falls asleep in one step, so a waker that first changes the word and then wakes is always
//! noticed.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A 32-bit atomic that threads of this process wait on. Costs no system call unless a thread
/// waits.
///
/// The pattern: change the word with [`Futex::store`] or [`Futex::compare_exchange`], then wake.
/// A wait may return for no reason, so callers loop around it.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Futex(AtomicU32);

impl Futex {
    /// A word with this first value.
    pub const fn new(value: u32) -> Self {
        Self(AtomicU32::new(value))
    }

    /// The value, with acquire ordering.
    pub fn load(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// Sets the value, with release ordering. Wakes no thread.
    pub fn store(&self, value: u32) {
        self.0.store(value, Ordering::Release);
    }

    /// Sets the value and returns the one before it (acquire and release). Wakes no thread.
    pub fn swap(&self, value: u32) -> u32 {
        self.0.swap(value, Ordering::AcqRel)
    }

    /// Adds, wrapping, and returns the value before (acquire and release). Wakes no thread.
    pub fn fetch_add(&self, value: u32) -> u32 {
        self.0.fetch_add(value, Ordering::AcqRel)
    }

    /// Sets `target` if the value is `expected`; otherwise `Err` of the present value.
    /// Acquire and release on success, acquire on failure. Wakes no thread.
    pub fn compare_exchange(&self, expected: u32, target: u32) -> Result<u32, u32> {
        self.0.compare_exchange(expected, target, Ordering::AcqRel, Ordering::Acquire)
    }

    /// Sleeps while the value is `expected`, until woken. May return early for no reason.
    pub fn wait(&self, expected: u32) {
        self.wait_until(expected, std::ptr::null());
    }

    /// As [`Futex::wait`], for at most `patience`. False if the time ran out.
    pub fn wait_for(&self, expected: u32, patience: Duration) -> bool {
        let timeout = libc::timespec {
            tv_sec: libc::time_t::try_from(patience.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        self.wait_until(expected, &raw const timeout)
    }

    /// False only when `timeout` (relative; null for none) ran out.
    fn wait_until(&self, expected: u32, timeout: *const libc::timespec) -> bool {
        // SAFETY: the word is a live, aligned u32 for the whole call (`&self`); `timeout` is null
        // or points to a timespec that outlives the call; FUTEX_WAIT reads no other argument.
        let status = unsafe {
            libc::syscall(
                libc::SYS_futex,
                self.0.as_ptr(),
                libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
                expected,
                timeout,
            )
        };
        // EAGAIN (another value) and EINTR (a signal) are ordinary early returns.
        status == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ETIMEDOUT)
    }

    /// Wakes one waiting thread; true if there was one.
    pub fn wake_one(&self) -> bool {
        self.wake(1) > 0
    }

    /// Wakes all waiting threads; returns how many there were.
    pub fn wake_all(&self) -> usize {
        self.wake(i32::MAX)
    }

    fn wake(&self, count_max: i32) -> usize {
        // SAFETY: the word is a live, aligned u32 for the whole call (`&self`); FUTEX_WAKE reads
        // only its address and the count.
        let woken = unsafe {
            libc::syscall(
                libc::SYS_futex,
                self.0.as_ptr(),
                libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
                count_max,
            )
        };
        usize::try_from(woken).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn another_value_does_not_sleep() {
        let futex = Futex::new(1);
        futex.wait(0);
        assert_eq!(futex.load(), 1);
    }

    #[test]
    fn patience_ends() {
        let futex = Futex::new(0);
        while futex.wait_for(0, Duration::from_millis(1)) {}
    }

    #[test]
    fn words_change_as_asked() {
        let futex = Futex::default();
        assert_eq!(futex.compare_exchange(0, 5), Ok(0));
        assert_eq!(futex.compare_exchange(0, 6), Err(5));
        assert_eq!(futex.swap(7), 5);
        assert_eq!(futex.fetch_add(2), 7);
        assert_eq!(futex.load(), 9);
        assert!(!futex.wake_one());
    }

    #[test]
    fn all_sleepers_are_woken() {
        let futex = Arc::new(Futex::new(0));
        let sleepers: Vec<_> = (0..4)
            .map(|_| {
                let futex = Arc::clone(&futex);
                std::thread::spawn(move || {
                    while futex.load() == 0 {
                        futex.wait(0);
                    }
                })
            })
            .collect();
        futex.store(1);
        futex.wake_all();
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
    }
}
