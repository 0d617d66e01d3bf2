//! [`MapPin`]: what a reader has while it looks at bytes of maps, and [`Grace`]: the wait until all
//! readers that have begun before are through.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_epoch::{self as epoch, Guard};

/// How often [`Grace::is_over`] looks before it says no, and how long it rests in between, after
/// some times. A reader is at work for a microsecond; or as long as the kernel takes to read a
/// page, or to let it run again.
const LOOK_COUNT_MAX: usize = 600;
const LOOK_COUNT_BEFORE_REST: usize = 100;
const REST: Duration = Duration::from_micros(200);

/// While it lives, bytes of maps that this thread looks at stay as they are. Nanoseconds: for one
/// lookup or a batch, not to be kept: nothing is given back meanwhile. What is to be kept is held,
/// see [`crate::DataMap::hold`].
#[must_use = "a pin lasts until it is dropped"]
pub struct MapPin {
    guard: Guard,
}

impl MapPin {
    /// Begins one. Inside of another one of this thread, or of an epoch of its index, nearly free.
    #[inline]
    pub fn enter() -> Self {
        Self { guard: epoch::pin() }
    }

    /// The same, for an index that frees its nodes through the default collector of
    /// `crossbeam-epoch`.
    #[inline]
    pub fn guard(&self) -> &Guard {
        &self.guard
    }
}

/// Is over when each pin that there was when it began has ended.
#[derive(Debug)]
pub struct Grace {
    is_over: Arc<AtomicBool>,
}

impl Grace {
    /// Begins one. What the caller stored before is seen by all later pins.
    pub fn begin() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&is_over);
        let guard = epoch::pin();
        guard.defer(move || ended.store(true, Ordering::Release));
        guard.flush();
        Self { is_over }
    }

    /// Whether it is over: then the caller sees what those readers stored. Waits for a moment,
    /// unless a reader takes longer, or the caller has a pin itself.
    pub fn is_over(&self) -> bool {
        for look in 0..LOOK_COUNT_MAX {
            if self.is_over.load(Ordering::Acquire) {
                return true;
            }
            epoch::pin().flush();
            if look < LOOK_COUNT_BEFORE_REST {
                std::thread::yield_now();
            } else {
                std::thread::sleep(REST);
            }
        }
        self.is_over.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grace_waits_for_pins_that_were_there_and_for_no_others() {
        let pin = MapPin::enter();
        let grace = Grace::begin();
        assert!(!grace.is_over());
        drop(pin);
        let grace_in_thread = std::thread::spawn(move || {
            let _later = MapPin::enter();
            grace.is_over.load(Ordering::Acquire);
            grace
        });
        assert!(grace_in_thread.join().unwrap().is_over());
    }
}
