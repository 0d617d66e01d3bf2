//! [`Clock`]: what time it is, for records that expire. It never goes back, over restarts neither,
//! as far as the database has written down how late it was.
//!
//! It follows the wall clock, with three exceptions:
//! - where the wall clock is behind what was shown, this one goes on at half of its speed until the
//!   other one has come up;
//! - a jump ahead of more than a minute, by the monotonic clock, is followed after ten minutes: a
//!   wall clock that is wrong for a moment does not take all sessions away;
//! - at open it begins where the database knows to have been.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use uarr_layout::limits::EXPIRES_MS_MAX;
use uarr_uring::Storage;

use crate::sync::{Rank, Ranked, lock};

/// More than this is a jump.
const JUMP: Duration = Duration::from_mins(1);
/// A jump that lasts so long is the time.
const BELIEVED_AFTER: Duration = Duration::from_mins(10);

/// The clock of a database.
pub(crate) struct Clock<S> {
    storage: Arc<S>,
    /// The latest time that was shown, in ns since 1970.
    shown_ns: AtomicU64,
    /// Whether there may be records that expire.
    is_used: AtomicBool,
    /// The last fencing token.
    token: AtomicU64,
    anchor: Ranked<Anchor>,
}

/// A moment by both clocks.
struct Anchor {
    shown_ns: u64,
    at: Duration,
    /// Since when the wall clock is ahead of what can be.
    jumped_at: Option<Duration>,
}

impl<S: Storage> Clock<S> {
    /// Begins at the wall clock's time, and behind `floor_ms`, if the database knows that it was so
    /// late; 0: no record of it has ever expired.
    pub fn new(storage: Arc<S>, floor_ms: u64) -> Self {
        let begin_ms = if floor_ms > 0 { floor_ms + 1 } else { 0 };
        let shown_ns = wall_ns(&*storage).max(begin_ms.saturating_mul(NS_PER_MS));
        let anchor = Anchor { shown_ns, at: storage.now(), jumped_at: None };
        Self {
            storage,
            shown_ns: AtomicU64::new(shown_ns),
            is_used: AtomicBool::new(floor_ms > 0),
            // Those that were given out before are of the floor's millisecond at the latest.
            token: AtomicU64::new(first_token(floor_ms + 1) - 1),
            anchor: Ranked::new(Rank::Leaf, anchor),
        }
    }

    /// There is a record that expires.
    pub fn note_used(&self) {
        if !self.is_used.load(Ordering::Relaxed) {
            self.is_used.store(true, Ordering::Release);
        }
    }

    /// Whether there may be records that expire, or have been some.
    pub fn is_used(&self) -> bool {
        self.is_used.load(Ordering::Acquire)
    }

    /// The time, in ms since 1970.
    pub fn now_ms(&self) -> u64 {
        (self.now_ns() / NS_PER_MS).min(EXPIRES_MS_MAX)
    }

    /// As `now_ms` for readers that stop the clock; 0 if no record expires.
    pub fn moment_ms(&self) -> u64 {
        if self.is_used() { self.now_ms() } else { 0 }
    }

    /// What the superblock is to say: the time, if it matters.
    pub fn floor_ms(&self) -> u64 {
        self.moment_ms()
    }

    /// What groups of the log are to say: the time of this clock if it matters, else of the wall.
    pub fn group_ns(&self) -> u64 {
        if self.is_used() { self.now_ns() } else { wall_ns(&*self.storage) }
    }

    /// A fencing token above all others, of earlier lives, too: the time, and a count within it.
    /// What is made durable with it says how late it was, so the next life begins behind it.
    pub fn next_token(&self) -> u64 {
        let least = first_token(self.now_ms());
        let raised = |last: u64| Some(least.max(last + 1));
        let before = self.token.fetch_update(Ordering::AcqRel, Ordering::Acquire, raised);
        let before = before.expect("it is raised in any case");
        let token = least.max(before + 1);
        assert!(token > before, "tokens rise");
        token
    }

    /// Whether a record that expires at `expires_ms` has expired; 0: it never does.
    #[inline]
    pub fn has_passed(&self, expires_ms: u64) -> bool {
        expires_ms != 0 && self.is_behind(expires_ms)
    }

    #[cold]
    fn is_behind(&self, expires_ms: u64) -> bool {
        expires_ms <= self.now_ms()
    }

    fn now_ns(&self) -> u64 {
        let (wall, shown) = (wall_ns(&*self.storage), self.shown_ns.load(Ordering::Acquire));
        let is_steady = wall >= shown && wall - shown <= nanos(JUMP);
        let now = if is_steady { wall } else { self.corrected(wall) };
        now.max(self.shown_ns.fetch_max(now, Ordering::AcqRel))
    }

    /// The time where the wall clock says something strange, or nobody has asked for long.
    #[cold]
    fn corrected(&self, wall: u64) -> u64 {
        let mut anchor = lock(&self.anchor);
        let (now, shown) = (self.storage.now(), self.shown_ns.load(Ordering::Acquire));
        let elapsed = nanos(now.saturating_sub(anchor.at));
        if wall < shown {
            // The anchor may be older than what was shown.
            let halved = anchor.shown_ns.saturating_add(elapsed / 2).max(shown);
            *anchor = Anchor { shown_ns: halved, at: now, jumped_at: None };
            return halved;
        }
        let expected = anchor.shown_ns.saturating_add(elapsed).max(shown);
        let is_jump = wall.saturating_sub(expected) > nanos(JUMP);
        let jumped_at = *anchor.jumped_at.get_or_insert(now);
        if is_jump && now.saturating_sub(jumped_at) < BELIEVED_AFTER {
            return expected;
        }
        *anchor = Anchor { shown_ns: wall, at: now, jumped_at: None };
        wall
    }
}

const NS_PER_MS: u64 = 1_000_000;
/// Room for tokens within a millisecond: for more than are given out.
const TOKEN_BITS: u32 = 22;

/// The first fencing token of a millisecond. From the year 2109 on the count goes on alone.
fn first_token(ms: u64) -> u64 {
    ms.min((1 << (63 - TOKEN_BITS)) - 1) << TOKEN_BITS
}

fn wall_ns(storage: &impl Storage) -> u64 {
    u64::try_from(storage.wall_ns()).unwrap_or(0)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
