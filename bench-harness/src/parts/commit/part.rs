//! The parts of the commit path.

use crate::measure::rows::Metric;
use crate::parts::rounds::Part;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitPart {
    /// One thread with each commit strategy, beside the floor and the peers.
    Strategies,
    /// Many threads, and many tasks on two threads.
    Threads,
    /// What a new segment every second costs.
    Rotation,
    /// What writes wait for while the store takes a checkpoint.
    Checkpoint,
    /// Writes acknowledged in memory, one by one and in batches of 1000.
    Memory,
    /// Loading an empty store, in key order and not.
    Load,
    /// Durable writes at a fixed rate.
    Paced,
    /// Writes acknowledged in memory at a fixed rate.
    PacedMemory,
}

impl Part for CommitPart {
    const ALL: &'static [Self] = &[
        Self::Strategies,
        Self::Threads,
        Self::Rotation,
        Self::Checkpoint,
        Self::Memory,
        Self::Load,
        Self::Paced,
        Self::PacedMemory,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Strategies => "strategies",
            Self::Threads => "threads",
            Self::Rotation => "rotation",
            Self::Checkpoint => "checkpoint",
            Self::Memory => "memory",
            Self::Load => "load",
            Self::Paced => "paced",
            Self::PacedMemory => "paced-memory",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Strategies => "durable puts of one thread; ratio: p50 against the first row",
            Self::Threads => "durable puts of many; ratio: puts per second against the first row",
            Self::Rotation => "a new segment every second; ratio: p99.9 against the first row",
            Self::Checkpoint => {
                "durable puts of one thread into many records, and while the store takes a \
                 checkpoint or compacts; ratio: p99.9 against the first row"
            }
            Self::Memory => {
                "puts that are not waited for; ratio: per second against the first row, if both \
                 make one promise"
            }
            Self::Load => {
                "loading an empty store; all records of each are durable when the time ends; \
                 ratio: records per second against the first row"
            }
            Self::Paced => {
                "durable puts begun at a fixed rate, even if those before are late (open loop): \
                 response from when one was to begin, service from when it began; CPU with that of \
                 waiting awake; ratio: p99 against the first row"
            }
            Self::PacedMemory => {
                "puts that are not waited for, begun at fixed rates as in the part paced; ratio: \
                 p99.9 against the first row"
            }
        }
    }

    fn metric(self) -> Metric {
        match self {
            Self::Strategies => Metric::P50Ns,
            Self::Paced => Metric::P99Ns,
            Self::Rotation | Self::Checkpoint | Self::PacedMemory => Metric::P999Ns,
            Self::Threads | Self::Memory | Self::Load => Metric::OpsPerSecond,
        }
    }
}
