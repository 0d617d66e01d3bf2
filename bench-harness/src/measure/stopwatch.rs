//! Times single operations, one after the other or begun at a fixed rate.
//!
//! Where each operation begins when the last one is done (closed loop), a stall delays later
//! operations without being charged to them. At a fixed rate (open loop) each operation has a time
//! at which it should begin, even if those before are late: its *response* time counts from there,
//! its *service* time from its real begin. What the generator of the load itself is late, once the
//! operation before is done, is its *lag*: it counts in the response, and belongs to no store.

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution, Exp1};

use crate::error::BenchError;
use crate::measure::clock::Clock;
use crate::measure::job::{Arrival, Job, Timing, nanos};
use crate::measure::latencies::{Latencies, latencies};
use crate::measure::phases::PhaseLatencies;
use crate::measure::timeline::Timeline;
use crate::measure::workload::mix;

/// The operations of one thread.
pub(crate) struct Stopwatch {
    pace: Option<Pace>,
    /// Response times, which are service times without a pace.
    pub response: Timeline,
    /// Where the time of durable puts went, if the store says so.
    pub phases: Option<PhaseLatencies>,
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
            Timing::Paced { per_second, arrival } => {
                let random = match arrival {
                    Arrival::Even => None,
                    Arrival::Poisson => {
                        Some(SmallRng::seed_from_u64(mix(job.seed) ^ u64::from(number)))
                    }
                };
                Some(Pace::new((per_second, random), number, job.threads, clock.now()))
            }
        };
        let paced = pace.is_some().then(|| Paced { service: latencies(), lag: latencies() });
        let response = Timeline::new(clock.now(), job.duration);
        Some(Self { pace, response, phases: None, paced })
    }

    /// Runs one operation, when its time has come, and returns when it really began, and ended.
    pub fn time(
        &mut self,
        clock: &impl Clock,
        operation: impl FnOnce() -> Result<(), BenchError>,
    ) -> Result<(Instant, Instant), BenchError> {
        let Some(pace) = &mut self.pace else {
            let begin = clock.now();
            operation()?;
            let end = clock.now();
            self.response.record(end, nanos(end - begin));
            return Ok((begin, end));
        };
        let (ready, intended) = (clock.now(), pace.next());
        clock.wait_until(intended);
        let begin = clock.now();
        operation()?;
        let end = clock.now();
        self.response.record(end, nanos(end - intended));
        if let Some(paced) = &mut self.paced {
            paced.service.saturating_record(nanos(end - begin));
            paced.lag.saturating_record(nanos(begin - intended.max(ready)));
        }
        Ok((begin, end))
    }
}

/// When operations should begin.
struct Pace {
    next: Instant,
    /// Between two of them, in the mean.
    gap: Duration,
    /// Chooses the gaps, if they differ.
    random: Option<SmallRng>,
}

impl Pace {
    /// The pace of thread `number` of `threads` that begin `per_second` operations a second
    /// together.
    fn new(
        (per_second, random): (u32, Option<SmallRng>),
        number: u32,
        threads: u32,
        now: Instant,
    ) -> Self {
        assert!(per_second > 0);
        let step = Duration::from_secs(1) / per_second;
        Self { next: now + step * number, gap: step * threads, random }
    }

    /// When the next operation should begin.
    fn next(&mut self) -> Instant {
        let intended = self.next;
        self.next += match &mut self.random {
            None => self.gap,
            Some(random) => self.gap.mul_f64(Distribution::<f64>::sample(&Exp1, random)),
        };
        intended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_arrive_keep_the_rate_and_differ_in_their_gaps() {
        const COUNT: u32 = 20_000;
        let start = Instant::now();
        let gaps = |random| {
            let mut pace = Pace::new((1000, random), 0, 2, start);
            let mut last = pace.next();
            let mut gap = || {
                let next = pace.next();
                nanos(next - std::mem::replace(&mut last, next)) as f64
            };
            (0..COUNT).map(|_| gap()).collect::<Vec<_>>()
        };
        let even = gaps(None);
        assert!(even.iter().all(|&ns| ns == 2e6));
        let random = gaps(Some(SmallRng::seed_from_u64(3)));
        let mean = random.iter().sum::<f64>() / f64::from(COUNT);
        assert!((mean / 2e6 - 1.0).abs() < 0.03, "{mean}");
        // Of exponential gaps, 1 - 1/e are below the mean.
        let short = random.iter().filter(|&&ns| ns < 2e6).count() as f64 / f64::from(COUNT);
        assert!((short - 0.632).abs() < 0.02, "{short}");
    }
}
