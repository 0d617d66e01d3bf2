//! Times single operations, one after the other or begun at a fixed rate.
//!
//! Where each operation begins when the last one is done (closed loop), a stall delays later
//! operations without being charged to them. At a fixed rate (open loop) each operation has a time
//! at which it should begin, even if those before are late: its *response* time counts from there,
//! its *service* time from its real begin. What the generator of the load itself is late, once the
//! operation before is done, is its *lag*: it counts in the response, and belongs to no store.

use std::time::{Duration, Instant};

use crate::error::BenchError;
use crate::measure::clock::Clock;
use crate::measure::job::{Job, Timing, nanos};
use crate::measure::sample::{Latencies, latencies};

/// The operations of one thread.
pub(crate) struct Stopwatch {
    pace: Option<Pace>,
    /// Response times, which are service times without a pace.
    pub response: Latencies,
    /// With a pace only.
    pub paced: Option<Paced>,
}

/// What else is known of operations that begin at a fixed rate.
pub(crate) struct Paced {
    pub service: Latencies,
    pub lag: Latencies,
}

impl Stopwatch {
    /// For thread `number` of a job; `None` if its operations are not timed one by one.
    pub fn new(job: &Job, number: u32, clock: &impl Clock) -> Option<Self> {
        let pace = match job.timing {
            Timing::Whole => return None,
            Timing::Each => None,
            Timing::Paced { per_second } => {
                Some(Pace::new(per_second, number, job.threads, clock.now()))
            }
        };
        let paced = pace.is_some().then(|| Paced { service: latencies(), lag: latencies() });
        Some(Self { pace, response: latencies(), paced })
    }

    /// Runs one operation, when its time has come, and returns when it ended.
    pub fn time(
        &mut self,
        clock: &impl Clock,
        operation: impl FnOnce() -> Result<(), BenchError>,
    ) -> Result<Instant, BenchError> {
        let Some(pace) = &mut self.pace else {
            let begin = clock.now();
            operation()?;
            let end = clock.now();
            self.response.saturating_record(nanos(end - begin));
            return Ok(end);
        };
        let (ready, intended) = (clock.now(), pace.next());
        clock.wait_until(intended);
        let begin = clock.now();
        operation()?;
        let end = clock.now();
        self.response.saturating_record(nanos(end - intended));
        if let Some(paced) = &mut self.paced {
            paced.service.saturating_record(nanos(end - begin));
            paced.lag.saturating_record(nanos(begin - intended.max(ready)));
        }
        Ok(end)
    }
}

/// When operations should begin.
struct Pace {
    start: Instant,
    gap: Duration,
    begun_count: u32,
}

impl Pace {
    /// The pace of thread `number` of `threads` that begin `per_second` operations a second
    /// together, evenly.
    fn new(per_second: u32, number: u32, threads: u32, now: Instant) -> Self {
        assert!(per_second > 0);
        let step = Duration::from_secs(1) / per_second;
        Self { start: now + step * number, gap: step * threads, begun_count: 0 }
    }

    /// When the next operation should begin.
    fn next(&mut self) -> Instant {
        let intended = self.start + self.gap * self.begun_count;
        self.begun_count += 1;
        intended
    }
}
