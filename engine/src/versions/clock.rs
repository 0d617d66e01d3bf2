//! [`Clock`]: what time it is, for records that expire. It never goes back, over restarts neither,
//! as far as the database has written down how late it was.
//!
//! It follows the wall clock, with three exceptions:
//! - where the wall clock is behind what was shown, this one goes on at half of its speed until the
//!   other one has come up;
//! - within ten minutes by the monotonic clock it follows by one minute more than these at most,
//!   in one step or in many: what is more is believed when it has lasted for ten minutes. A wall
//!   clock that is wrong for a moment does not take all sessions away;
//! - at open it begins where the database knows to have been.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use uarr_layout::limits::EXPIRES_MS_MAX;
use uarr_uring::Storage;

use crate::sync::{Rank, Ranked, lock};

/// So much more than the monotonic clock it may go ahead within [`BELIEVED_AFTER`].
const JUMP_MS: u64 = 60_000;
/// A step of the wall clock that a thread follows while another one looks at the steps.
const UNCHECKED_MS: u64 = 1000;
/// A jump that lasts so long is the time.
const BELIEVED_AFTER: Duration = Duration::from_mins(10);

/// The two clocks are read within so long, or once more, so often at most.
const READ_WITHIN: Duration = Duration::from_millis(1);
const READ_COUNT_MAX: u32 = 10;

/// The clock of a database.
pub(crate) struct Clock<S> {
    storage: Arc<S>,
    /// The latest time that was shown, in ms since 1970.
    shown_ms: AtomicU64,
    /// What the wall said then.
    wall_ms: AtomicU64,
    /// A thread looks at the clocks: others take what was shown.
    is_busy: AtomicBool,
    /// Whether there may be records that expire.
    is_used: AtomicBool,
    /// The last fencing token.
    token: AtomicU64,
    steps: Ranked<Steps>,
}

/// What was shown when, by the monotonic clock.
struct Steps {
    /// A moment in the last ten minutes, from which it may go ahead so much.
    from: Moment,
    last: Moment,
    /// Since when the wall clock is ahead of what can be.
    jumped_at: Option<Duration>,
}

#[derive(Clone, Copy)]
struct Moment {
    ms: u64,
    at: Duration,
}

impl Moment {
    /// What it is `later`, at the speed of the monotonic clock.
    fn steady_ms(self, later: Duration) -> u64 {
        self.ms.saturating_add(millis(later.saturating_sub(self.at)))
    }
}

impl Steps {
    /// What is shown now, when the wall says `wall_ms`.
    fn step(&mut self, wall_ms: u64, now: Duration) -> u64 {
        let steady_ms = self.last.steady_ms(now);
        let is_jump = wall_ms > self.from.steady_ms(now).saturating_add(JUMP_MS);
        if !is_jump {
            self.jumped_at = None;
        }
        let jumped_at = is_jump.then(|| *self.jumped_at.get_or_insert(now));
        let ms = match jumped_at {
            Some(jumped_at) if now.saturating_sub(jumped_at) < BELIEVED_AFTER => steady_ms,
            Some(_) => {
                self.jumped_at = None;
                self.from = Moment { ms: wall_ms, at: now };
                wall_ms
            }
            None if wall_ms >= self.last.ms => wall_ms,
            None => self.last.ms + (steady_ms - self.last.ms) / 2,
        };
        // Rests of a millisecond are not lost.
        if ms > self.last.ms {
            self.last = Moment { ms, at: now };
        }
        if now.saturating_sub(self.from.at) >= BELIEVED_AFTER && self.jumped_at.is_none() {
            self.from = self.last;
        }
        self.last.ms
    }
}

impl<S: Storage> Clock<S> {
    /// Begins at the wall clock's time, and behind `floor_ms`, if the database knows that it was so
    /// late; 0: no record of it has ever expired.
    pub fn new(storage: Arc<S>, floor_ms: u64) -> Self {
        let wall_ms = wall_ms(&*storage);
        let ms = wall_ms.max(floor_ms + 1).min(EXPIRES_MS_MAX);
        let begun = Moment { ms, at: storage.now() };
        Self {
            storage,
            shown_ms: AtomicU64::new(begun.ms),
            wall_ms: AtomicU64::new(wall_ms),
            is_busy: AtomicBool::new(false),
            is_used: AtomicBool::new(floor_ms > 0),
            // Those that were given out before are of the floor's millisecond at the latest.
            token: AtomicU64::new(first_token(floor_ms + 1) - 1),
            steps: Ranked::new(Rank::Leaf, Steps { from: begun, last: begun, jumped_at: None }),
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

    /// The time, in ms since 1970. No thread waits for another one.
    pub fn now_ms(&self) -> u64 {
        let read_wall_ms = || wall_ms(&*self.storage);
        let wall_ms = read_wall_ms();
        if wall_ms == self.wall_ms.load(Ordering::Acquire) {
            return self.shown_ms.load(Ordering::Acquire);
        }
        if self.is_busy.swap(true, Ordering::Acquire) {
            let shown_ms = self.shown_ms.load(Ordering::Acquire);
            let is_next = wall_ms > shown_ms && wall_ms - shown_ms <= UNCHECKED_MS;
            return if is_next { self.show(wall_ms) } else { shown_ms };
        }
        let mut steps = lock(&self.steps);
        let (wall_ms, now) = both_clocks(read_wall_ms, || self.storage.now());
        let ms = steps.step(wall_ms, now);
        drop(steps);
        let shown_ms = self.show(ms.min(EXPIRES_MS_MAX));
        self.wall_ms.store(wall_ms, Ordering::Release);
        self.is_busy.store(false, Ordering::Release);
        shown_ms
    }

    /// Shows `ms`, or what was shown, if that is later.
    fn show(&self, ms: u64) -> u64 {
        self.shown_ms.fetch_max(ms, Ordering::AcqRel).max(ms)
    }

    /// It was so late: nothing that had expired by then is shown, and no token that was given out
    /// by then is again.
    pub fn raise(&self, floor_ms: u64) {
        let mut steps = lock(&self.steps);
        let begun_ms = (floor_ms + 1).min(EXPIRES_MS_MAX);
        if begun_ms > steps.last.ms {
            let raised = Moment { ms: begun_ms, at: self.storage.now() };
            (steps.from, steps.last) = (raised, raised);
            self.show(begun_ms);
        }
        self.token.fetch_max(first_token(floor_ms + 1) - 1, Ordering::AcqRel);
        self.note_used();
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
        match self.is_used() {
            true => self.now_ms().saturating_mul(NS_PER_MS),
            false => self.storage.wall_ns().max(0).cast_unsigned(),
        }
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
}

const NS_PER_MS: u64 = 1_000_000;
/// Room for tokens within a millisecond: for more than are given out.
const TOKEN_BITS: u32 = 22;

/// The first fencing token of a millisecond. From the year 2109 on the count goes on alone.
fn first_token(ms: u64) -> u64 {
    ms.min((1 << (63 - TOKEN_BITS)) - 1) << TOKEN_BITS
}

/// The wall clock; before 1970 it stands.
fn wall_ms(storage: &impl Storage) -> u64 {
    (u64::try_from(storage.wall_ns()).unwrap_or(0) / NS_PER_MS).max(1)
}

/// Both clocks as of one moment, if the thread is not held up between them again and again: else
/// the monotonic clock is ahead, and a step of the wall clock taken for a smaller one.
fn both_clocks(wall_ms: impl Fn() -> u64, now: impl Fn() -> Duration) -> (u64, Duration) {
    let mut before = now();
    let mut both = (wall_ms(), now());
    for _ in 1..READ_COUNT_MAX {
        if both.1.saturating_sub(before) < READ_WITHIN {
            break;
        }
        before = both.1;
        both = (wall_ms(), now());
    }
    both
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Barrier;

    use uarr_disk_sim::Memory;

    use super::*;

    const DAY_MS: u64 = 86_400_000;

    fn begun() -> Steps {
        let begun = Moment { ms: DAY_MS, at: Duration::ZERO };
        Steps { from: begun, last: begun, jumped_at: None }
    }

    /// Steps by the monotonic clock and what the wall is ahead, in ms, and what is shown.
    fn check(steps: &mut Steps, cases: &[(u64, i64, u64)]) {
        for (now_ms, ahead_ms, shown_ms) in cases {
            let wall_ms = (DAY_MS + now_ms).saturating_add_signed(*ahead_ms);
            let shown = steps.step(wall_ms, Duration::from_millis(*now_ms)) - DAY_MS;
            assert_eq!(shown, *shown_ms, "at {now_ms}, {ahead_ms} ahead");
        }
    }

    /// A thread that is held up between the clocks reads both again: the time that it was held up
    /// for was lost when the wall jumped right behind its reading.
    #[test]
    fn both_clocks_are_read_as_of_one_moment() {
        for held_up_count in [0, 1, 5] {
            let (at_ms, left) = (Cell::new(0), Cell::new(held_up_count));
            let wall_ms = || {
                let wall_ms = DAY_MS + at_ms.get();
                if left.get() > 0 {
                    left.set(left.get() - 1);
                    at_ms.set(at_ms.get() + 40);
                }
                wall_ms
            };
            let now = || Duration::from_millis(at_ms.get());
            let expected = (DAY_MS + 40 * held_up_count, Duration::from_millis(40 * held_up_count));
            assert_eq!(both_clocks(wall_ms, now), expected);
        }
    }

    /// Threads ask without end while the wall clock is set and time goes on: to none of them the
    /// clock goes back, none is told a time that is not, and when it is quiet, it is right.
    #[test]
    fn many_ask_while_one_moves_it() {
        const STEP: Duration = Duration::from_millis(40);
        const STEP_COUNT: u32 = 2000;
        for jump_ms in [0i64, 500, -3_600_000, 86_400_000] {
            let disk = Memory::new();
            let clock = Clock::new(Arc::new(disk.clone()), 1);
            let (begun_ms, begun) = (clock.now_ms(), disk.now());
            let (is_over, all_begin) = (AtomicBool::new(false), Barrier::new(5));
            let asked = std::thread::scope(|scope| {
                let ask = || {
                    let (mut last_ms, mut last_token, mut count) = (0, 0, 0u64);
                    all_begin.wait();
                    while !is_over.load(Ordering::Acquire) || count == 0 {
                        let ms = clock.now_ms();
                        assert!(ms >= last_ms, "the clock goes back from {last_ms} to {ms}");
                        // Half a second is followed at once, a day is not.
                        let passed_ms = millis(disk.now() - begun);
                        assert!(ms <= begun_ms + passed_ms + 501, "{ms} has not been");
                        let token = clock.next_token();
                        assert!(token > last_token, "tokens rise");
                        (last_ms, last_token) = (ms, token);
                        count += 1;
                    }
                    (last_ms, count)
                };
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
                all_begin.wait();
                for step in 0..STEP_COUNT {
                    if step == 7 {
                        disk.shift_wall_ns(jump_ms * NS_PER_MS.cast_signed());
                    }
                    disk.advance(STEP);
                }
                is_over.store(true, Ordering::Release);
                let asked: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
                asked
            });
            assert!(!clock.is_busy.load(Ordering::SeqCst), "who moved it has left it");
            let now_ms = clock.now_ms();
            assert!(
                asked.iter().all(|(last_ms, _)| *last_ms <= now_ms),
                "it is as late as any was"
            );
            let passed_ms = millis(STEP * STEP_COUNT);
            let least_ms = if jump_ms < 0 { passed_ms / 2 } else { passed_ms };
            assert!(now_ms >= begun_ms + least_ms - 1, "{jump_ms}: {now_ms} from {begun_ms}");
        }
    }

    /// While a thread looks at the steps, others follow the wall by a second, and no further.
    #[test]
    fn who_asks_while_it_is_moved_is_not_told_of_a_jump() {
        let disk = Memory::new();
        let clock = Clock::new(Arc::new(disk.clone()), 1);
        let begun_ms = clock.now_ms();
        clock.is_busy.store(true, Ordering::Release);
        disk.advance(Duration::from_millis(UNCHECKED_MS));
        assert_eq!(clock.now_ms(), begun_ms + UNCHECKED_MS);
        disk.advance(Duration::from_millis(UNCHECKED_MS + 1));
        assert_eq!(clock.now_ms(), begun_ms + UNCHECKED_MS, "that is for who looks at the steps");
        disk.shift_wall_ns(-3_600_000 * NS_PER_MS.cast_signed());
        assert_eq!(clock.now_ms(), begun_ms + UNCHECKED_MS);
        clock.is_busy.store(false, Ordering::Release);
        let stepped_ms = clock.now_ms();
        assert!(stepped_ms >= begun_ms + UNCHECKED_MS, "what others were told was so");
        disk.shift_wall_ns(2 * 3_600_000 * NS_PER_MS.cast_signed());
        assert!(clock.now_ms() - stepped_ms <= UNCHECKED_MS, "a jump has to last");
    }

    /// What a repair has read says how late it was: a clock that is set back gives out no token
    /// again.
    #[test]
    fn tokens_go_on_behind_what_is_raised() {
        let disk = Memory::new();
        let before = Clock::new(Arc::new(disk.clone()), 1);
        let tokens: Vec<_> = (0..3).map(|_| before.next_token()).collect();
        disk.shift_wall_ns(-3_600_000 * NS_PER_MS.cast_signed());
        let after = Clock::new(Arc::new(disk), 0);
        after.raise(before.now_ms());
        assert!(after.next_token() > tokens[2]);
        assert!(after.has_passed(before.now_ms()));
    }

    #[test]
    fn small_steps_are_followed_up_to_a_minute_in_ten() {
        let steps = [(1, 0, 1), (1000, 50_000, 51_000), (2000, 100_000, 52_000)];
        let mut clock = begun();
        check(&mut clock, &steps);
        // Both go on, and later there is another minute.
        check(&mut clock, &[(3000, 60_000, 63_000), (700_000, 60_000, 760_000)]);
        check(&mut clock, &[(701_000, 110_000, 811_000), (702_000, 170_000, 812_000)]);
    }

    #[test]
    fn a_jump_is_believed_when_it_lasts_and_each_anew() {
        let day = DAY_MS as i64;
        let mut clock = begun();
        check(&mut clock, &[(1000, day, 1000), (2000, 0, 2000), (652_000, 0, 652_000)]);
        check(&mut clock, &[(653_000, day, 653_000), (1_252_999, day, 1_252_999)]);
        check(&mut clock, &[(1_253_000, day, 1_253_000 + DAY_MS)]);
    }

    #[test]
    fn behind_the_wall_it_goes_on_at_half_speed() {
        let mut clock = begun();
        check(&mut clock, &[(10_000, 0, 10_000), (12_000, -100_000, 11_000)]);
        let shown = |clock: &mut Steps, now_ms: u64| {
            clock.step(DAY_MS, Duration::from_millis(now_ms)) - DAY_MS
        };
        // However often it is asked.
        let last = (12_001..=14_000).map(|now_ms| shown(&mut clock, now_ms)).last();
        assert_eq!(last, Some(12_000));
    }
}
