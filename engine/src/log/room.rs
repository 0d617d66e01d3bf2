//! Room in the log, counted: what is staged, and whether it is sure to fit.
//!
//! Room is there before a group is staged. Everything staged and not submitted fits, in order, into
//! the active segment and the ready ones, because one of these holds ([`Room::holds`]):
//! - all of it fits into the active segment, or into one ready segment: the rest fits at every
//!   place where the log may move to the next one;
//! - there are two ready segments for each large group, and one more. Small groups between two
//!   large ones fit into one segment, as all small ones together do; so does each large group. This
//!   also bounds the ready ones: large groups gather only while the first condition holds for them,
//!   else there is one at a time.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use uarr_layout::limits::GROUP_BYTES_MAX;

use crate::sync::{Rank, holds};

/// Large groups, each in memory of its own, gather up to this many bytes.
const LARGE_STAGED_BYTES_MAX: u64 = 16 << 20;
/// The next segment is made when this part of the active one is used: a database that is written to
/// now and then needs none.
pub(crate) const BEGUN_PART: u64 = 8;

// A single group may be longer than all that gather: it is staged alone.
const _: () = assert!(LARGE_STAGED_BYTES_MAX <= GROUP_BYTES_MAX);

/// What is to find room in the log: a group, behind all that were staged before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    /// Bytes of the group, with a segment header before it.
    pub bytes: u64,
    /// Whether it is larger than a pooled buffer.
    pub is_large: bool,
}

/// What others than the leader may know of the active segment, and what is to find room in it or
/// behind it. Read without a lock on the commit path.
pub(crate) struct Room {
    regular_bytes: u64,
    ready_count: AtomicUsize,
    /// Bytes left in the active segment. Changed under the lock of the segments.
    active_bytes: AtomicU64,
    /// Bytes that were left in segments that grew old.
    left_bytes: AtomicU64,
    /// Bytes of groups that were staged, and of those that were then submitted or dropped. Both
    /// only grow.
    staged_bytes: AtomicU64,
    submitted_bytes: AtomicU64,
    /// Groups larger than a pooled buffer, and their bytes in memory, from staging until they are
    /// settled.
    large_count: AtomicUsize,
    large_bytes: AtomicU64,
}

impl Room {
    /// Of a log in which nothing is staged and no segment is ready; most have `regular_bytes`.
    pub fn new(regular_bytes: u64) -> Self {
        assert!(regular_bytes >= BEGUN_PART);
        Self {
            regular_bytes,
            ready_count: AtomicUsize::new(0),
            active_bytes: AtomicU64::new(0),
            left_bytes: AtomicU64::new(0),
            staged_bytes: AtomicU64::new(0),
            submitted_bytes: AtomicU64::new(0),
            large_count: AtomicUsize::new(0),
            large_bytes: AtomicU64::new(0),
        }
    }

    /// Size of most segments.
    pub fn regular_bytes(&self) -> u64 {
        self.regular_bytes
    }

    /// How many segments are ready.
    pub fn ready_count(&self) -> usize {
        self.ready_count.load(Ordering::Acquire)
    }

    /// Notes how many segments are ready. The caller holds the lock of the segments.
    pub fn note_ready_count(&self, count: usize) {
        assert!(holds(Rank::Leaf), "the count changes with the segments");
        self.ready_count.store(count, Ordering::Release);
    }

    /// Bytes left in the active segment.
    pub fn active_bytes(&self) -> u64 {
        self.active_bytes.load(Ordering::Acquire)
    }

    /// Notes how many bytes are left in the active segment.
    pub fn note_active_bytes(&self, bytes: u64) {
        self.active_bytes.store(bytes, Ordering::Release);
    }

    /// Bytes that were left in all segments that grew old since the database was opened.
    pub fn left_bytes(&self) -> u64 {
        self.left_bytes.load(Ordering::Relaxed)
    }

    /// Notes that the log has moved on, although `bytes` are left in a segment.
    pub fn note_left(&self, bytes: u64) {
        self.left_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes that staged groups have grown by `bytes`. The caller holds the staging area.
    pub fn note_staged(&self, bytes: u64) {
        assert!(holds(Rank::Staging), "between finding room and taking it no thread takes it");
        self.staged_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes that a staged group of `bytes` was submitted, or will never be.
    pub fn note_unstaged(&self, bytes: u64) {
        let before = self.submitted_bytes.fetch_add(bytes, Ordering::Release);
        assert!(before + bytes <= self.staged_bytes.load(Ordering::Relaxed), "it was staged");
    }

    /// Notes that a large group takes `bytes` of memory. The caller holds the staging area.
    pub fn note_large(&self, bytes: u64) {
        assert!(holds(Rank::Staging), "the next writer counts it when it asks for room");
        assert!(bytes > 0);
        self.large_count.fetch_add(1, Ordering::Relaxed);
        self.large_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes that a large group is settled. The caller holds the staging area.
    pub fn note_large_settled(&self, bytes: u64) {
        assert!(holds(Rank::Staging), "count and bytes change together");
        let count = self.large_count.fetch_sub(1, Ordering::Relaxed);
        assert!(count > 0, "only a group that was noted is settled");
        let all_bytes = self.large_bytes.fetch_sub(bytes, Ordering::Relaxed);
        assert!(all_bytes >= bytes);
        assert_eq!(count == 1, all_bytes == bytes, "each large group has its bytes");
    }

    /// Whether any large group is staged or in flight.
    pub fn has_large(&self) -> bool {
        self.large_count.load(Ordering::Relaxed) > 0
    }

    /// Whether a large group of `bytes` may be staged now: alone, or with others while one segment
    /// holds them all with the `small_bytes_max` of small groups that may gather around them. The
    /// caller holds the staging area.
    pub fn admits_large(&self, bytes: u64, small_bytes_max: u64) -> bool {
        assert!(holds(Rank::Staging), "until the group is noted no other is admitted");
        assert!(small_bytes_max <= self.regular_bytes, "all small groups fit into one segment");
        let large_bytes = self.large_bytes.load(Ordering::Relaxed) + bytes;
        let all_bytes = self.unsubmitted_bytes() + bytes + small_bytes_max;
        !self.has_large()
            || (large_bytes <= LARGE_STAGED_BYTES_MAX && all_bytes <= self.regular_bytes)
    }

    /// Bytes that are staged and not submitted.
    fn unsubmitted_bytes(&self) -> u64 {
        // Read in this order the difference is never too small: what is submitted was staged
        // before.
        let submitted = self.submitted_bytes.load(Ordering::Acquire);
        let staged = self.staged_bytes.load(Ordering::Relaxed);
        assert!(staged >= submitted, "only what was staged is submitted");
        staged - submitted
    }

    /// Whether nothing is staged and no large group is in flight.
    pub fn is_at_rest(&self) -> bool {
        self.unsubmitted_bytes() == 0 && !self.has_large()
    }

    /// Whether `demand` is sure to find room by what is known without a lock. `false`: perhaps not.
    pub fn surely_holds(&self, demand: Demand) -> bool {
        assert!(demand.bytes > 0);
        let needed = self.unsubmitted_bytes() + demand.bytes;
        let is_small = !demand.is_large && !self.has_large();
        self.active_bytes() >= needed || (is_small && self.ready_count() > 0)
    }

    /// Whether `demand`, behind all that is staged, is sure to find room: in the active segment, or
    /// in the ready ones, whose sizes are `ready`. The caller holds the lock of the segments: what
    /// is read one after the other without it need not belong together.
    pub fn holds(&self, demand: Demand, ready: impl ExactSizeIterator<Item = u64>) -> bool {
        assert!(holds(Rank::Leaf), "the ready segments are the same ones throughout");
        let needed = self.unsubmitted_bytes() + demand.bytes;
        let large_count = self.large_count.load(Ordering::Relaxed) + usize::from(demand.is_large);
        let fits_many = demand.bytes <= self.regular_bytes && ready.len() > 2 * large_count;
        fits_many || self.active_bytes() >= needed || ready.into_iter().any(|bytes| bytes >= needed)
    }

    /// Whether the log has come so far that the next segment should be made. Behind segments that
    /// may be left for their age it is needed from their start.
    pub fn needs_next(&self, segment_age: Option<Duration>) -> bool {
        let begun_bytes = segment_age.map_or(self.regular_bytes / BEGUN_PART, |_| 1);
        self.ready_count() == 0
            && self.submitted_bytes.load(Ordering::Relaxed) > 0
            && self.active_bytes().saturating_add(begun_bytes) <= self.regular_bytes
    }
}
