//! The clock that measurements are taken by: the machine's, or one that a test moves.
//!
//! With a clock of its own a test knows what each operation took, so it can ask for exact numbers,
//! and a busy machine changes none of them.

use std::time::{Duration, Instant};

/// A sleep may end late by less than this; the rest is waited for awake.
const AWAKE: Duration = Duration::from_micros(300);

/// Tells the time, and waits.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Instant;
    /// Returns at `time`, or at once if it is past.
    fn wait_until(&self, time: Instant);
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Monotonic;

impl Clock for Monotonic {
    #[inline]
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wait_until(&self, time: Instant) {
        let left = time.saturating_duration_since(Instant::now());
        if left > AWAKE {
            std::thread::sleep(left - AWAKE);
        }
        while Instant::now() < time {
            std::hint::spin_loop();
        }
    }
}

/// A clock that stands still until it is moved.
#[cfg(test)]
pub(crate) struct Moved {
    start: Instant,
    passed_ns: std::sync::atomic::AtomicU64,
    /// How late each wait ends.
    lateness: Duration,
}

#[cfg(test)]
impl Moved {
    /// A clock whose waits end this late.
    pub fn late_by(lateness: Duration) -> std::sync::Arc<Self> {
        let passed_ns = std::sync::atomic::AtomicU64::new(0);
        std::sync::Arc::new(Self { start: Instant::now(), passed_ns, lateness })
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        let ns = crate::measure::job::nanos(time);
        self.passed_ns.fetch_add(ns, std::sync::atomic::Ordering::Relaxed);
    }
}

#[cfg(test)]
impl Clock for std::sync::Arc<Moved> {
    fn now(&self) -> Instant {
        let passed_ns = self.passed_ns.load(std::sync::atomic::Ordering::Relaxed);
        self.start + Duration::from_nanos(passed_ns)
    }

    fn wait_until(&self, time: Instant) {
        let passed = (time + self.lateness).saturating_duration_since(self.start);
        let ns = crate::measure::job::nanos(passed);
        self.passed_ns.fetch_max(ns, std::sync::atomic::Ordering::Relaxed);
    }
}
