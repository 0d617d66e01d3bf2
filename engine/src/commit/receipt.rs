//! What the caller of a write gets.

/// Receipt of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Commit {
    /// Position of the write in the log; of its last record if it was a batch.
    pub lsn: u64,
    /// Whether the write survives a loss of power. Otherwise it was acknowledged in memory, and the
    /// rest is 0.
    pub is_durable: bool,
    /// How many commits shared the group.
    pub group_commit_count: u32,
    /// Nanoseconds from the call until its group was given to the device.
    pub queue_ns: u64,
    /// Nanoseconds until the group was durable.
    pub io_ns: u64,
    /// Nanoseconds from then until the caller was running again.
    pub wake_ns: u64,
}

impl Commit {
    pub(crate) fn in_memory(lsn: u64) -> Self {
        let (is_durable, group_commit_count) = (false, 0);
        Self { lsn, is_durable, group_commit_count, queue_ns: 0, io_ns: 0, wake_ns: 0 }
    }
}
