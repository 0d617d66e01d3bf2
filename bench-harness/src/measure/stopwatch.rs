//! Times single operations, one after the other or begun at a fixed rate.
//!
//! Where each operation begins when the last one is done (closed loop), a stall delays later
//! operations without being charged to them. At a fixed rate (open loop) each operation has a time
//! at which it should begin, even if those before are late: its *response* time counts from there,
//! its *service* time from its real begin.

use std::time::{Duration, Instant};

use crate::error::BenchError;
use crate::measure::job::{Job, Timing, nanos};
use crate::measure::sample::{Latencies, latencies};

/// A sleep may end late by less than this; the rest is waited for awake.
const AWAKE: Duration = Duration::from_micros(300);

/// The operations of one thread.
pub(crate) struct Stopwatch {
    pace: Option<Pace>,
    /// Response times, which are service times without a pace.
    pub response: Latencies,
    /// With a pace only.
    pub service: Option<Latencies>,
}

impl Stopwatch {
    /// For thread `number` of a job; `None` if its operations are not timed one by one.
    pub fn new(job: &Job, number: u32) -> Option<Self> {
        let pace = match job.timing {
            Timing::Whole => return None,
            Timing::Each => None,
            Timing::Paced { per_second } => Some(Pace::new(per_second, number, job.threads)),
        };
        let service = pace.is_some().then(latencies);
        Some(Self { pace, response: latencies(), service })
    }

    /// Runs one operation, when its time has come, and returns when it ended.
    pub fn time(
        &mut self,
        operation: impl FnOnce() -> Result<(), BenchError>,
    ) -> Result<Instant, BenchError> {
        let intended = self.pace.as_mut().map(Pace::wait);
        let begin = Instant::now();
        operation()?;
        let end = Instant::now();
        self.response.saturating_record(nanos(end - intended.unwrap_or(begin)));
        if let Some(service) = &mut self.service {
            service.saturating_record(nanos(end - begin));
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
    fn new(per_second: u32, number: u32, threads: u32) -> Self {
        assert!(per_second > 0);
        let step = Duration::from_secs(1) / per_second;
        Self { start: Instant::now() + step * number, gap: step * threads, begun_count: 0 }
    }

    /// Waits until the next operation should begin and returns that time; at once if it is past.
    fn wait(&mut self) -> Instant {
        let intended = self.start + self.gap * self.begun_count;
        self.begun_count += 1;
        let left = intended.saturating_duration_since(Instant::now());
        if left > AWAKE {
            std::thread::sleep(left - AWAKE);
        }
        while Instant::now() < intended {
            std::hint::spin_loop();
        }
        intended
    }
}
