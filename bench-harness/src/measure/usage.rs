//! What the process has used: processor time, and page faults that waited.

use std::fs;
use std::time::Duration;

use crate::measure::job::nanos;
use crate::measure::sample::Sample;

/// What the process has used so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// CPU time of all its threads.
    pub cpu_ns: u64,
    /// Page faults that waited for the device; 0 where /proc is not mounted.
    pub major_faults: u64,
}

impl Usage {
    /// Reads the counters.
    pub fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let cpu_ns = time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The second field is the name in parentheses and may hold blanks; major faults are field
        // 12.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let major_faults =
            rest.split_ascii_whitespace().nth(9).and_then(|field| field.parse().ok());
        Self { cpu_ns, major_faults: major_faults.unwrap_or(0) }
    }
}

impl Sample {
    /// What one lane did in `elapsed`, since `before`, whose operations were not timed one by one.
    pub fn since(before: Usage, op_count: u64, elapsed: Duration) -> Self {
        let after = Usage::now();
        Self {
            op_count,
            elapsed_ns: nanos(elapsed),
            threads: 1,
            cpu_ns: after.cpu_ns.saturating_sub(before.cpu_ns),
            major_faults: after.major_faults.saturating_sub(before.major_faults),
            ..Self::default()
        }
    }
}
